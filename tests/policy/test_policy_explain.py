"""``explain`` tells what ``decide`` does: the same code, the same winner, for everything there is to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from policy_cases import AGENT, HUMAN, SERVICE, policy_of

from governed_db import Connection, Governor
from governed_db.policy import Policy, Request, Verdict, preset
from governed_db.policy.explain import explain, precedence, why
from governed_db.policy.patterns import Match
from governed_db.statement import Unreadable, read
from governed_db.testing import EmbeddedPostgres

CORPUS = Path(__file__).parents[1] / "corpus"
IDENTITIES = (AGENT, HUMAN, SERVICE)


def texts(*names: str) -> list[str]:
    lines = [line for name in names for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]
    found = [json.loads(line)["sql"] for line in lines]
    return [text for sql in found for text in (sql if isinstance(sql, list) else [sql])]


def check(policy: Policy, request: Request) -> None:
    decision = policy.decide(request)
    parts = explain(policy, request)
    winners = [part for part in parts if part.wins]
    assert [(part.verdict, part.rule) for part in winners] == [(decision.verdict, decision.rule)]
    assert winners[0].part.effect == decision.effect
    for part in parts:
        surely = [look.rule for look in part.looks if look.match is Match.YES and not look.shadow]
        assert surely[1:] == []  # the search ends with it
        assert why(part)
    assert precedence(parts)


@pytest.mark.parametrize("name", ["standard", "readonly", "observe"])
def test_the_winner_is_the_decision_without_a_database(name: str) -> None:
    policy = preset(name)
    for sql in texts("policy_standard.jsonl", "attack_guard.jsonl", "attack_honest.jsonl"):
        try:
            statement = read(sql)
        except Unreadable:
            continue
        for identity in IDENTITIES:
            check(policy, Request(statement=statement, identity=identity))


@pytest.fixture(scope="module")
def shop(server: EmbeddedPostgres) -> Iterator[str]:
    conninfo = server.create_database("policy_explain")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute((CORPUS / "attack_schema.sql").read_bytes())
    yield conninfo
    server.drop_database("policy_explain")


def test_the_winner_is_the_decision_with_a_catalog(shop: str, tmp_path: Path) -> None:
    governor = Governor.preset("standard", state_dir=tmp_path)
    with Connection.connect(shop, governor=governor, identity=AGENT, autocommit=True) as connection:
        connection.execute("SELECT 1")
        for sql in texts("policy_standard.jsonl", "attack_guard.jsonl", "attack_honest.jsonl"):
            try:
                statement = read(sql)
            except Unreadable:
                continue
            if statement.commands:
                bound = governor.bind(statement, connection._seat)
                check(governor.policy, Request(statement=statement, identity=AGENT, bound=bound))
    governor.close()


OWN = """
extends = "standard"

[[rule]]
id = "payroll"
when = { relations = ["hr.*"] }
then = "block"
because = "it is for people of HR"

[[rule]]
id = "at-night"
when = { effects = ["delete"], time = { from = 20:00:00, to = 06:00:00 } }
then = "block"
because = "nobody watches at night"

[[rule]]
id = "watch-orders"
when = { relations = ["public.orders"] }
then = "block"
because = "to see what it would block"
shadow = true
"""


def explained(sql: str, **more: object) -> dict[str, tuple[Match, tuple[str, ...]]]:
    request = Request(statement=read(sql), identity=AGENT, **more)  # type: ignore[arg-type]
    policy = policy_of(OWN)
    check(policy, request)
    return {
        look.rule: (look.match, look.conditions) for part in explain(policy, request) for look in part.looks
    }


def test_what_cannot_be_told_is_named() -> None:
    looks = explained("SELECT * FROM employees")
    assert looks["payroll"] == (Match.MAYBE, ("relations",))
    assert looks["reads"] == (Match.YES, ())
    looks = explained("DELETE FROM public.t WHERE id = 1")
    assert looks["at-night"] == (Match.MAYBE, ("time",))


def test_a_condition_that_fails_is_named() -> None:
    looks = explained("DELETE FROM public.t WHERE id = 1", now=datetime(2026, 3, 2, 12, tzinfo=UTC))
    assert looks["at-night"] == (Match.NO, ("time",))
    assert looks["payroll"] == (Match.NO, ("relations",))
    assert set(looks["human-changes"][1]) == {"identity"}


def test_a_rule_in_shadow_is_looked_at_and_decides_nothing() -> None:
    request = Request(statement=read("SELECT * FROM public.orders"), identity=AGENT)
    (part,) = explain(policy_of(OWN), request)
    (shadow,) = [look for look in part.looks if look.shadow]
    assert (shadow.rule, shadow.match, part.rule) == ("watch-orders", Match.YES, "reads")


def test_what_no_rule_speaks_of_is_the_default() -> None:
    (part,) = explain(policy_of(""), Request(statement=read("SELECT 1"), identity=AGENT))
    assert (part.verdict, part.rule, part.looks, part.wins) == (Verdict.BLOCK, "default", (), True)
    assert "no rule" in why(part)


def test_explaining_leaves_no_trace_in_decisions() -> None:
    policy = policy_of(OWN)
    request = Request(statement=read("DELETE FROM public.orders WHERE id = 1"), identity=AGENT)
    before = policy.decide(request)
    explain(policy, request)
    assert policy.decide(request) == before

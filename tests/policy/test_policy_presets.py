import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import AGENT, HUMAN, SERVICE, K, ask, effect, policy_of

from governed_db.identity.model import NOBODY, Identity
from governed_db.policy import PRESETS, Verdict, preset
from governed_db.policy.rules import Then
from governed_db.statement.facts import Effect, EffectKind

A, Q, B = Verdict.ALLOW, Verdict.NEEDS_APPROVAL, Verdict.BLOCK
USERS = "defined in this database by users"
TRIGGER = "a trigger of the table runs"

NAMED = policy_of("extends = 'standard'\nservices = ['billing']")
"""``standard`` as an application configures it, in one line."""


def e(kind: EffectKind, target: str = "", **more: Any) -> Effect:
    return effect(kind, target, **more)


STANDARD = [
    # effect, (rule and answer for an agent), answer for a person, answer for a named service
    (e(K.EMPTY), ("empty", A), A, A),
    (e(K.SELECT, "public.orders"), ("reads", A), A, A),
    (e(K.SELECT, "pg_catalog.pg_class"), ("reads", A), A, A),
    (e(K.SELECT, "information_schema.tables"), ("reads", A), A, A),
    (e(K.SELECT, "pg_catalog.pg_authid", note="withheld: credentials"), ("withheld", B), B, B),
    (e(K.COPY_TO, "public.orders"), ("reads", A), A, A),
    (e(K.ROW_LOCK, "public.orders"), ("reads", A), A, A),
    (e(K.ROW_LOCK, "pg_catalog.pg_class"), ("system-catalog-writes", B), B, B),
    (e(K.EXPLAIN), ("reads", A), A, A),
    (e(K.SHOW, name="work_mem"), ("reads", A), A, A),
    (e(K.CURSOR, name="c"), ("cursors", A), A, A),
    (e(K.FETCH, name="c"), ("cursors", A), A, A),
    (e(K.CLOSE, name="c"), ("cursors", A), A, A),
    (e(K.SAVEPOINT, name="s"), ("savepoints", A), A, A),
    (e(K.INSERT, "public.orders", rows=1), ("small-inserts", A), A, A),
    (e(K.INSERT, "public.orders", rows=100), ("small-inserts", A), A, A),
    (e(K.INSERT, "public.orders", rows=101), ("small-inserts", Q), A, A),
    (e(K.INSERT, "public.orders", rows=1001), ("small-inserts", Q), Q, A),
    (e(K.INSERT, "public.orders"), ("small-inserts", A), A, A),
    (e(K.INSERT, "orders"), ("small-inserts", A), A, A),
    (e(K.INSERT, "pg_catalog.pg_class"), ("system-catalog-writes", B), B, B),
    (e(K.UPDATE, "public.orders", constrained=True), ("small-changes", A), A, A),
    (e(K.UPDATE, "public.orders", constrained=False), ("unconstrained-changes", Q), Q, A),
    (e(K.UPDATE, "public.orders"), ("default", B), B, A),  # a reader that does not say is not believed
    (e(K.UPDATE, "pg_class", constrained=True), ("system-catalog-writes", B), B, B),
    (e(K.DELETE, "public.orders", constrained=True), ("small-changes", A), A, A),
    (e(K.DELETE, "public.orders", constrained=False), ("unconstrained-changes", Q), Q, A),
    (e(K.MERGE, "public.orders"), ("bulk-writes", Q), Q, A),
    (e(K.COPY_FROM, "public.orders"), ("bulk-writes", Q), Q, A),
    (e(K.COPY_FILE, "public.orders"), ("server-files", B), B, B),
    (e(K.CREATE, "public.x", name="table"), ("schema-changes", Q), Q, A),
    (e(K.ALTER, "public.x", name="table"), ("schema-changes", Q), Q, A),
    (e(K.DROP, "public.x", name="table"), ("drop", B), B, A),
    (e(K.TRUNCATE, "public.x"), ("truncate", B), B, A),
    (e(K.PRIVILEGES, name="grant"), ("privileges", B), B, B),
    (e(K.LOCK, "public.x"), ("locks", B), B, A),
    (e(K.DO), ("code-blocks", B), B, Q),
    (e(K.CALL, name="public.p"), ("procedures", B), B, A),
    (e(K.LISTEN, name="c"), ("notifications", B), B, A),
    (e(K.NOTIFY, name="c"), ("notifications", B), B, A),
    (e(K.MAINTENANCE, "public.x", name="vacuum"), ("maintenance", B), B, A),
    (e(K.TRANSACTION, name="begin"), ("transactions-as-text", B), B, A),
    (e(K.MULTIPLE), ("one-statement", B), B, A),
    (e(K.UNKNOWN), ("unknown-command", B), B, B),
    (e(K.PREPARE, name="p"), ("prepare", A), A, A),
    (e(K.PREPARE, name="_pg3_0"), ("driver-statements", B), B, A),
    (e(K.DEALLOCATE, name="p"), ("prepare", A), A, A),
    (e(K.DEALLOCATE, name="_pg3_0"), ("driver-statements", B), B, A),
    (e(K.EXECUTE, name="p"), ("execute", B), B, A),
    (e(K.FUNCTION, name="pg_catalog.pg_read_file", note="reads files of the server"), ("functions", B), B, B),
    (e(K.FUNCTION, name="set_config", note="changes session settings"), ("set-config", A), A, A),
    (
        e(K.FUNCTION, name="set_config", note="changes session settings, through the view public.v"),
        ("functions", B),
        B,
        B,
    ),
    (e(K.MAINTENANCE, name="LOAD"), ("server-administration", B), B, B),
    (e(K.ALTER, name="SYSTEM"), ("server-administration", B), B, B),
    (e(K.CREATE, name="SERVER"), ("server-objects", B), B, B),
    (e(K.FUNCTION, name="public.dblink", note="from an extension"), ("functions", B), B, A),
    (e(K.FUNCTION, name="pg_catalog.nextval", note="changes a sequence"), ("functions", B), B, A),
    (
        e(K.FUNCTION, name="public.logs", note="a rule of the table rewrites the statement"),
        ("rewritten-writes", Q),
        Q,
        A,
    ),
    (
        e(K.FUNCTION, name="public.far", note="a foreign table: another server or a file is reached"),
        ("foreign-tables", Q),
        Q,
        A,
    ),
    (
        e(K.FUNCTION, name="public.f", note=f"{USERS}, through the view public.v"),
        ("functions-of-users", Q),
        Q,
        A,
    ),
    (e(K.FUNCTION, name="public.purge", note=USERS), ("functions-of-users", Q), Q, A),
    (e(K.FUNCTION, name="public.audit", note=TRIGGER), ("triggers", A), A, A),
    (e(K.FUNCTION, name="public.audit", note=f"{TRIGGER} code"), ("unknown-triggers", Q), Q, A),
    (e(K.FUNCTION, name="public.f", note="looked into: it is"), ("functions-looked-into", A), A, A),
    (e(K.INSERT, "public.log", note="in trigger t of public.orders"), ("small-inserts", A), A, A),
    (e(K.INSERT, "public.log", note="in function public.f"), ("writes-in-functions", Q), Q, A),
    (e(K.TRUNCATE, "public.log", note="in trigger t of public.orders"), ("truncate", B), B, A),
    (e(K.SET, name="timezone"), ("harmless-settings", A), A, A),
    (e(K.SET, name="TimeZone"), ("harmless-settings", A), A, A),
    (e(K.SET, name="datestyle"), ("harmless-settings", A), A, A),
    (e(K.SET, name="intervalstyle"), ("harmless-settings", A), A, A),
    (e(K.SET, name="extra_float_digits"), ("harmless-settings", A), A, A),
    (e(K.SET, name="bytea_output"), ("harmless-settings", A), A, A),
    (e(K.SET, name="application_name"), ("harmless-settings", A), A, A),
    (e(K.SET, name="enable_seqscan"), ("scan-order", B), B, A),
    (e(K.SET, name="enable_hashjoin"), ("harmless-settings", A), A, A),
    (e(K.SET, name="transform_null_equals"), ("guard-settings", B), B, B),
    (e(K.SET, name="client_min_messages"), ("session-state", B), B, A),
    (e(K.SET, name="statement_timeout"), ("timeouts", B), B, A),
    (e(K.SET, name="search_path"), ("search-path", B), B, A),
    (e(K.SET, name="Search_Path"), ("search-path", B), B, A),
    (e(K.SET, name="role"), ("guard-settings", B), B, B),
    (e(K.SET, name="session_authorization"), ("guard-settings", B), B, B),
    (e(K.SET, name="standard_conforming_strings"), ("guard-settings", B), B, B),
    (e(K.SET, name="row_security"), ("guard-settings", B), B, B),
    (e(K.SET, name="client_encoding"), ("guard-settings", B), B, B),
    (e(K.SET, name="governed_db.subject"), ("guard-settings", B), B, B),
    (e(K.SET, name="default_transaction_read_only"), ("session-state", B), B, A),
    (e(K.SET, name="work_mem"), ("session-state", B), B, A),
    (e(K.SET, name=""), ("session-state", B), B, A),
]


@pytest.mark.parametrize(("what", "agent", "human", "service"), STANDARD, ids=str)
def test_standard(what: Effect, agent: tuple[str, Verdict], human: Verdict, service: Verdict) -> None:
    request = ask(what, identity=AGENT)
    decision = NAMED.decide(request)
    assert (decision.rule, decision.verdict) == agent
    assert decision.masked
    assert NAMED.decide(ask(what, identity=HUMAN)).verdict is human
    trusted = NAMED.decide(ask(what, identity=SERVICE))
    assert (trusted.verdict, trusted.masked, trusted.row_cap) == (service, False, None)
    # Nobody, a service that is not named, and the preset without any file treat it like an agent's.
    for who in (NOBODY, Identity.service("other")):
        assert NAMED.decide(ask(what, identity=who)).verdict is agent[1]
    for who in (AGENT, SERVICE):
        plain = preset("standard").decide(ask(what, identity=who))
        assert ((plain.rule, plain.verdict), plain.masked) == (agent, True)
    observed = preset("observe").decide(request)
    assert (observed.rule, observed.verdict) == agent


def test_every_kind_of_effect_is_in_the_table() -> None:
    assert {what.kind for what, *_ in STANDARD} == set(EffectKind)


def test_row_caps_of_the_standard() -> None:
    for what in (e(K.INSERT, "public.o"), e(K.UPDATE, "public.o", constrained=True)):
        assert [NAMED.decide(ask(what, identity=w)).row_cap for w in (AGENT, HUMAN, SERVICE)] == [
            100,
            1000,
            None,
        ]
    assert [NAMED.caps(w) for w in (AGENT, HUMAN, NOBODY, SERVICE)] == [True, True, True, False]
    assert not preset("readonly").caps(AGENT)


READONLY = {K.EMPTY, K.SELECT, K.COPY_TO, K.EXPLAIN, K.SHOW, K.CURSOR, K.FETCH, K.CLOSE, K.SAVEPOINT}


@pytest.mark.parametrize("kind", EffectKind)
def test_readonly(kind: EffectKind) -> None:
    policy = policy_of("extends = 'readonly'\nidentity = 'service:billing'")
    for who in (AGENT, HUMAN, NOBODY, SERVICE):
        decision = policy.decide(ask(e(kind, "public.o", constrained=True, name="x"), identity=who))
        assert decision.verdict is (A if kind in READONLY else B)
        assert decision.masked is (who is not SERVICE)
    assert policy.decide(ask(e(K.SET, name="TimeZone"))).verdict is A
    assert policy.decide(ask(e(K.SELECT, note="withheld: statistics"))).verdict is B


@pytest.mark.parametrize("name", PRESETS)
def test_incomplete_statements_are_blocked_for_everybody(name: str) -> None:
    policy = policy_of(f"extends = '{name}'\nservices = ['billing']")
    for who in (AGENT, HUMAN, SERVICE, NOBODY):
        request = ask(e(K.SELECT), identity=who, complete=False, incomplete_because="an unknown clause")
        decision = policy.decide(request)
        assert (decision.verdict, decision.rule) == (B, "not-understood")
        assert "an unknown clause" in decision.reason


@pytest.mark.parametrize("name", PRESETS)
def test_every_refusal_teaches(name: str) -> None:
    """A rule that refuses says why in a clause that can stand after a colon, and what would pass."""
    for rule in preset(name).rules:
        assert not rule.because.endswith("."), rule.id
        assert re.match(r"[a-z{']|[A-Z]{2}|PostgreSQL", rule.because), rule.id
        if rule.then is not Then.ALLOW:
            assert rule.remedy.endswith("."), rule.id
            assert len(rule.remedy) > 20, rule.id
        assert re.fullmatch(r"[a-z][a-z-]*", rule.id)


def test_the_reason_of_an_unconstrained_delete() -> None:
    what = e(K.DELETE, "public.orders", constrained=False, location=0)
    decision = preset("standard").decide(ask(what, identity=AGENT))
    assert decision.reason == (
        "DELETE from public.orders at character 1 needs approval: it has no WHERE that provably restricts the"
        " rows of public.orders, so it could change all of them. No database was consulted: names were judged"
        " as they are written."
    )
    assert decision.remedy.startswith("Add a WHERE that compares a column of public.orders with a value")
    assert decision.retryable


@given(st.sampled_from(STANDARD), st.sampled_from([AGENT, HUMAN, SERVICE]), st.text(max_size=40))
def test_every_answer_of_a_preset_is_printable_and_bounded(
    case: tuple[Effect, *tuple[Any, ...]], who: Identity, note: str
) -> None:
    kind = case[0].kind
    for name in PRESETS:
        decision = preset(name).decide(
            ask(e(kind, "public.t", name="n", note=note, location=3), identity=who)
        )
        assert (decision.reason + decision.remedy).isprintable()
        assert "at character 4" in decision.reason
        assert decision.policy == preset(name).version
        assert decision.retryable is (decision.verdict is Q)
        assert bool(decision.remedy) is (decision.verdict is not A)

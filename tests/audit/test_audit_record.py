from __future__ import annotations

import itertools
import os
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governed_db.audit import record
from governed_db.audit.shorten import shorten
from governed_db.audit.template import Template, outcome
from governed_db.catalog.bound import Bound, Output, RelationUse, Source, Use
from governed_db.catalog.model import Column, Relation
from governed_db.identity import NOBODY, Identity
from governed_db.masking.model import ColumnMask, MaskPlan, Strategy, Treatment
from governed_db.policy.model import Decision, Verdict
from governed_db.statement.facts import Access, Effect, EffectKind, RelationName, Statement


def test_an_intent_has_every_section(template: Template, decision: Decision) -> None:
    key, payload = template.intent(
        decision, approval="apr-1", transaction="c-1.9", trace=(0xABC, 0xDEF), at=1_790_000_000_123_456_789
    )
    assert orjson.loads(payload) == {
        "v": 1,
        "kind": "intent",
        "id": key,
        "at": "2026-09-21T14:13:20.123456Z",
        "who": {
            "kind": "agent",
            "subject": "assistant",
            "verified": False,
            "on_behalf_of": [
                {"kind": "human", "subject": "anna", "verified": False},
                {"kind": "unknown", "subject": "board", "verified": False},
            ],
            "groups": ["eu", "support"],
            "session": "s-1",
            "tool_call": "call-7",
            "purpose": "answer a ticket",
            "role": "app",
            "client": "10.1.2.3",
        },
        "what": {
            "effects": [{"kind": "select", "target": "public.orders"}],
            "text": "SELECT id FROM public.orders WHERE card = $2 AND n = $1",
            "fingerprint": "ab" * 8,
            "summary": "SELECT public.orders",
            "tag": "SELECT",
            "relations": [{"name": "public.orders", "access": "read"}],
            "parameters": {"count": 1, "types": [23]},
        },
        "may": {
            "verdict": "allow",
            "rule": "agents.read",
            "policy": "p-1",
            "reason": "agents may read",
            "approval": "apr-1",
            "shadowed": [{"rule": "strict", "verdict": "block"}],
        },
        "where": {
            "host": "db",
            "port": 5432,
            "database": "shop",
            "backend_pid": 4711,
            "connection": "c-1",
            "transaction": "c-1.9",
            "span_id": f"{record.span_id(key):016x}",
            "trace_id": f"{0xABC:032x}",
            "parent_span_id": f"{0xDEF:016x}",
        },
    }


def test_no_literal_reaches_any_record(template: Template, decision: Decision, canary: str) -> None:
    key, intent = template.intent(decision)
    _, refusal = template.refusal(decision, "StatementBlocked")
    end = outcome(key, record.happened("error", duration_us=1, sqlstate="23505", error="UniqueViolation"))
    assert not [p for p in (intent, refusal, end) if canary.encode() in p]


def test_a_decision_that_differs_is_written_as_it_is(template: Template, decision: Decision) -> None:
    first = orjson.loads(template.intent(decision)[1])["may"]
    changes = [
        {"rule": "other"},
        {"policy": "p-2"},
        {"reason": "why"},
        {"row_cap": 5},
        {"approvers": ("dba",)},
    ]
    for change in changes:
        said = orjson.loads(template.intent(decision.replace(**change))[1])["may"]
        assert said != first
        assert said == record.may(decision.replace(**change))
    assert orjson.loads(template.intent(decision, approval="apr-2")[1])["may"]["approval"] == "apr-2"
    assert orjson.loads(template.intent(decision)[1])["may"] == first


@pytest.mark.parametrize("trace", [None, (0, 0), (1, 2)])
@pytest.mark.parametrize("transaction", ["", 'a "quoted" name'])
@pytest.mark.parametrize("where", [{}, {"host": "h"}])
@pytest.mark.parametrize("decided", [True, False])
def test_templates_write_json_whatever_is_missing(
    decision: Decision, where: dict[str, str], transaction: str, trace: tuple[int, int] | None, decided: bool
) -> None:
    template = Template(who=record.who(NOBODY), what=None, where=where)
    _, intent = template.intent(decision if decided else None, transaction=transaction, trace=trace)
    _, refusal = template.refusal(decision, "X", transaction=transaction, trace=trace)
    for payload in (intent, refusal):
        place = orjson.loads(payload)["where"]
        assert place.get("transaction", "") == transaction
        assert ("span_id" in place) is (trace is not None)
        assert ("trace_id" in place) is (trace == (1, 2))
        assert place.get("host") == where.get("host")
    assert ("may" in orjson.loads(intent)) is decided


@given(st.text(), st.text(), st.text())
def test_nothing_a_caller_says_of_itself_prevents_a_record(session: str, purpose: str, call: str) -> None:
    me = Identity.agent("bot", session=session + "\ud800", purpose=purpose, tool_call=call)
    payload = Template(who=record.who(me), what=None, where={}).intent(None)[1]
    assert b"\n" not in payload
    who = orjson.loads(payload)["who"]
    assert who["session"].endswith("\\ud800")
    assert who.get("tool_call", "") == call.encode("utf-8", "backslashreplace").decode()


def test_masked_columns_views_and_columns_read_are_named(statement: Statement) -> None:
    people = Relation(
        oid=10,
        schema="public",
        name="people",
        kind="r",
        columns=(Column(1, "id", 23, -1, True), Column(2, "mail", 25, -1, False)),
    )
    view = Relation(oid=11, schema="public", name="v", kind="v")
    bound = Bound(
        statement=statement,
        effects=(
            Effect(
                kind=EffectKind.UPDATE, target=RelationName("public", "people"), constrained=False, rows=3
            ),
        ),
        relations=(RelationUse(relation=people, access=Access.READ, location=1, via=view),),
        functions=(),
        outputs=(Output(name="m", sources=frozenset({Source(10, 2)}), plain=True),),
        uses=(Use(Source(10, 0), "WHERE", 3), Use(Source(99, 1), "WHERE", 3)),
        unknown=(),
        complete=False,
        incomplete_because="a name is not known",
    )
    plan = MaskPlan(
        masks=(
            ColumnMask(
                index=0,
                name="people.mail",
                label="EMAIL_ADDRESS",
                treatment=Treatment(strategy=Strategy.PARTIAL),
                sources=frozenset(),
            ),
        )
    )
    what = record.what(statement, bound, plan)
    assert what["relations"] == [{"name": "public.people", "access": "read", "via": "public.v"}]
    assert what["columns"] == ["99.1", "public.people.*", "public.people.mail"]
    assert what["masked"] == [{"column": "people.mail", "label": "EMAIL_ADDRESS", "strategy": "partial"}]
    assert what["effects"] == [{"kind": "update", "target": "public.people", "constrained": False, "rows": 3}]
    assert what["incomplete_because"] == "a name is not known"


def test_an_attempt_says_which_limit_and_how_long_and_no_more(agent: Identity) -> None:
    key, payload = record.attempt(
        who=record.who(agent), where={}, rule="statement.size", reason="longer than 1 MiB", size=2_000_000
    )
    said = orjson.loads(payload)
    assert (said["kind"], said["id"], said["what"]) == ("attempt", key, {"bytes": 2_000_000})
    assert said["may"] == {"verdict": "block", "rule": "statement.size", "reason": "longer than 1 MiB"}


def test_what_happened() -> None:
    assert record.happened(
        "ok", duration_us=5, rows_returned=0, rows_affected=2, batch_size=3, bytes_copied=0
    ) == {
        "status": "ok",
        "duration_us": 5,
        "rows_returned": 0,
        "rows_affected": 2,
        "batch_size": 3,
        "bytes_copied": 0,
    }
    for status in record.Status:
        assert record.happened(status, duration_us=1)["status"] == status.value
    with pytest.raises(ValueError, match="fine"):
        record.happened("fine", duration_us=1)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_ids_sort_and_a_child_has_its_own() -> None:
    ids = [record.new_id() for _ in range(300)]
    assert ids == sorted(ids)
    assert len({i.partition("-")[0] for i in ids}) == 1
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, record.new_id().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    assert child.partition("-")[0] != ids[0].partition("-")[0]


def test_span_ids_follow_from_record_ids_and_differ() -> None:
    ids = [record.new_id() for _ in range(5000)]
    spans = {record.span_id(i) for i in ids}
    assert len(spans) == 5000
    assert all(0 < s < 2**64 for s in spans)
    assert record.span_id(ids[0]) == record.span_id(ids[0])


def test_instants_have_microseconds_at_every_turn_of_the_second() -> None:
    for ns, text in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999_999_999, "1970-01-01T00:00:00.999999Z"),
        (1_000_000_000, "1970-01-01T00:00:01.000000Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
    ]:
        assert record.instant(ns) == text
    now = [record.instant() for _ in range(100)]
    assert now == sorted(now)
    assert all(a <= b for a, b in itertools.pairwise(now))
    assert record.instant()[:10] == time.strftime("%Y-%m-%d", time.gmtime())


@pytest.mark.parametrize("limit", [1024, 4096])
def test_a_record_over_the_cap_is_shortened_and_says_so(limit: int, decision: Decision) -> None:
    payload = record.encode(
        record.Record(
            kind=record.RecordKind.INTENT,
            id=record.new_id(),
            at=record.instant(),
            who={"subject": "s" * 3000, "on_behalf_of": [{"subject": "x" * 50}] * 400},
            what={"text": "SELECT " + "é" * 9000},
            details={f"k{i}": i for i in range(2000)},
        )
    )
    short = shorten(payload, limit)
    assert len(short) <= limit
    said, original = orjson.loads(short), orjson.loads(payload)
    assert said["truncated"] == len(payload)
    assert [said[k] for k in ("v", "kind", "id", "at")] == [original[k] for k in ("v", "kind", "id", "at")]


@given(st.binary(min_size=1100, max_size=3000))
def test_whatever_is_shortened_is_a_record_afterwards(payload: bytes) -> None:
    short = shorten(payload, 1024)
    assert len(short) <= 1024
    assert orjson.loads(short)["truncated"] == len(payload)


def test_every_kind_and_verdict_is_named_in_the_reference() -> None:
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "reference" / "journal.md").read_text()
    words = [*record.RecordKind, *record.Status, *Verdict, "damage", "running"]
    assert not [w for w in words if f"`{w}`" not in page]

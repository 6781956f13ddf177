"""Trails for tests of exports and reports: statements that really ran, and records with hostile values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import psycopg

import governed_db
from governed_db import Governor, Identity
from governed_db.audit import record
from governed_db.audit.journal import Journal
from tests.approvers import Person

ANNA = Identity.human("anna", groups=("sales",))
AGENT = Identity.agent(
    "bot", on_behalf_of=ANNA, session="talk-1", tool_call="call-7", purpose="answer ticket 4711"
)
SERVICE = Identity.service("shop")
APPROVER = Person("dora", "dba")
CANARY = "canary-4111111111111111"
POLICY = 'extends = "standard"\nservices = ["shop"]\n'

# Each is hostile to something: terminals, HTML, spreadsheets, log lines, readers from right to left.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "&lt;b&gt; &amp; \x00 nul",
    '=HYPERLINK("http://evil.example","x")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\uff1d1+1",
    "'quoted",
    'a,b\r\nc;"d"',
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\x9b2J\x7f\x08",
    "\u202etxt.exe\u2066",
    "line\nbreak\u2028more",
    "x" * 3_000,
    "\udc80surrogate",
    "名前 \U0001f600 ﷽",
)


def work(dsn: str, state: Path) -> Governor:
    """Let an agent and a service work on people and orders; return the closed governor."""
    policy = state / "policy.toml"
    state.mkdir(parents=True, exist_ok=True)
    policy.write_text(POLICY + APPROVER.as_toml())
    policy.chmod(0o600)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS people, orders")
        conn.execute("CREATE TABLE people (id int PRIMARY KEY, name text, email text, town text)")
        conn.execute(
            "INSERT INTO people SELECT n, 'Ann Lee', 'a' || n || '@example.org', 'Kiel'"
            " FROM generate_series(1, 40) n"
        )
        conn.execute("CREATE TABLE orders (id int PRIMARY KEY, person int, state text)")
        conn.execute("INSERT INTO orders SELECT n, n % 40 + 1, 'open' FROM generate_series(1, 300) n")
        conn.execute("ANALYZE")
    governor = Governor.load(policy, state_dir=state)
    with governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        conn.execute("SELECT id, email, upper(town) FROM people WHERE town = %s ORDER BY id", (CANARY,))
        conn.execute("SELECT count(*) FROM people")
        conn.execute("SELECT email FROM people").fetchall()
        conn.execute(f"UPDATE orders SET state = '{CANARY}' WHERE id = 7")
        with suppress(psycopg.errors.InsufficientPrivilege):
            conn.execute("DROP TABLE orders")
        with suppress(psycopg.errors.UniqueViolation):
            conn.execute("INSERT INTO orders VALUES (1, 1, 'x')")
        with suppress(governed_db.errors.GovernanceError):
            conn.execute("SELECT 'unfinished")
        try:
            conn.execute("UPDATE orders SET state = 'shut' WHERE person > 0")
        except governed_db.errors.ApprovalRequired as error:
            governor.approvals.approve(error.request.id, key=APPROVER.key)
            conn.execute("UPDATE orders SET state = 'shut' WHERE person > 0")
    with governed_db.connect(dsn, governor=governor, identity=SERVICE) as conn:
        conn.execute("SELECT name, email FROM people WHERE id = 1").fetchall()
        conn.commit()
    governor.close()
    return governor


def hostile(folder: Path) -> list[dict[str, Any]]:
    """Write a record of each sort with each hostile value in every field that a caller, a schema or a forger
    can fill; return the intents."""
    made = []
    with Journal.open(folder) as journal:
        for number, value in enumerate(HOSTILE):
            entry = _intent(f"{number:016x}-{number:012x}", value)
            made.append(entry)
            journal.append(record.dump(entry))
            journal.append(
                record.dump(
                    {
                        "v": 1,
                        "kind": "outcome",
                        "id": f"{number:016x}-{number + 99:012x}",
                        "of": entry["id"],
                        "at": "2026-01-31T12:00:01.000000Z",
                        "happened": {
                            "status": "ok",
                            "duration_us": 1,
                            "rows_returned": 2,
                            "sqlstate": value,
                            "error": value,
                        },
                    }
                )
            )
            refusal = entry | {"kind": "refusal", "id": f"{number:016x}-{number + 500:012x}"}
            refusal["may"] = entry["may"] | {"verdict": "block"}
            refusal["happened"] = {"status": "refused", "error": value}
            journal.append(record.dump(refusal))
            for name in (value, "approval.granted", "policy.changed", "journal.gap"):
                details = {
                    value: value,
                    "request": value,
                    "requester": value,
                    "statement": value,
                    "rule": value,
                }
                journal.append(
                    record.encode(
                        record.Record(
                            kind=record.RecordKind.EVENT,
                            id=record.new_id(),
                            at=record.instant(),
                            event=name,
                            who=entry["who"],
                            details=details | {"lost": 1, "before": value},
                        )
                    )
                )
        for shape in _misshapen():
            journal.append(orjson.dumps(shape))
    return made


def _intent(key: str, value: str) -> dict[str, Any]:
    person = {"kind": value, "subject": value, "issuer": value, "verified": False, "groups": [value]}
    return {
        "v": 1, "kind": "intent", "id": key, "at": "2026-01-31T12:00:00.000000Z",
        "who": person | {"on_behalf_of": [person, person], "session": value, "tool_call": value,
                         "purpose": value, "role": value, "client": value},
        "what": {
            "text": value, "summary": value, "tag": value, "fingerprint": value, "incomplete_because": value,
            "effects": [{"kind": value, "target": value, "name": value}],
            "relations": [{"name": value, "access": "read", "via": value}],
            "columns": [value, f"{value}.{value}"],
            "lineage": {"outputs": [[1, 0], [0, 1]], "uses": [[value, 1]]},
            "touched": {"read": [0, 1], "update": [value]},
            "masked": [{"column": value, "label": value, "strategy": value}],
        },
        "may": {"verdict": "allow", "rule": value, "reason": value, "policy": value, "approval": value,
                "approvers": [value]},
        "where": {"host": value, "port": 5432, "database": value, "connection": value, "transaction": value,
                  "environment": value, "trace_id": value, "span_id": value, "search_path": [value]},
    }  # fmt: skip


def _misshapen() -> Iterator[dict[str, Any]]:
    """Records that no writer makes: each field of another type."""
    for number, odd in enumerate((None, 7, True, "text", [1, [2]], {"kind": 1}, [], {}, 2**63)):
        base = {"v": 1, "id": f"ffffffffffffffff-{number:012x}", "at": "2026-02-01T00:00:00.000000Z"}
        sections = dict.fromkeys(("who", "what", "may", "where", "details", "event", "truncated"), odd)
        yield base | {"kind": "intent"} | sections
        inner = {
            name: dict.fromkeys(
                ("kind", "subject", "on_behalf_of", "groups", "text", "relations", "columns", "lineage",
                 "touched", "masked", "effects", "verdict", "rule", "approval", "approvers", "shadowed",
                 "port", "host", "search_path", "parameters"),
                odd,
            )
            for name in ("who", "what", "may", "where", "details")
        }  # fmt: skip
        yield base | {"id": f"eeeeeeeeeeeeeeee-{number:012x}", "kind": "refusal"} | inner
        yield base | {"id": f"dddddddddddddddd-{number:012x}", "kind": "event"} | sections
        yield base | {
            "id": f"cccccccccccccccc-{number:012x}",
            "kind": "start",
            "details": odd,
            "at": "not a time",
        }

"""A trail of any length, written by the real journal: ``python -m benchmarks.trail_records FOLDER``.

The records are those of a shop on ordinary days: an application, people, and agents that work for people in
sessions; a few dozen texts, most of them reads, some over masked columns; refusals, approvals, errors, and
statements whose outcome is missing. The same arguments make the same statements, whose ids alone differ.

:func:`write` is what benchmarks and tests share.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from attrs import evolve

from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.template import Template, outcome
from governed_db.identity import Identity
from governed_db.policy.model import Decision, Verdict
from governed_db.statement import read

END = datetime(2026, 11, 20, 18, tzinfo=UTC)
"""When the trail ends by default: a time in the past, so that "the last hour" is never half a trail."""

POLICIES = ("5d41402abc4b2a76", "7b52009b64fd0a2a", "b6589fc6ab0dc82c")
"""Versions of the policy, each in force for a third of the time."""

ONE_IN = {"refusal": 40, "approval": 400, "error": 120, "cancelled": 2000, "orphan": 20_000, "attempt": 5000}
"""How often something happens: once in so many statements."""

# text, relation, (columns of the result), (columns of the WHERE), rows; masked columns are in _MASKED.
_READS = (
    ("SELECT name, email FROM customers WHERE id = $1", "customers", ("name", "email"), ("id",), 1),
    ("SELECT id, name FROM customers WHERE country = $1", "customers", ("id", "name"), ("country",), 40),
    ("SELECT count(*) FROM customers WHERE tier = $1", "customers", (), ("tier",), 1),
    (
        "SELECT phone, date_of_birth FROM customers WHERE id = $1",
        "customers",
        ("phone", "date_of_birth"),
        ("id",),
        1,
    ),
    (
        "SELECT id, status, total FROM orders WHERE customer_id = $1 ORDER BY id",
        "orders",
        ("id", "status", "total"),
        ("customer_id",),
        12,
    ),
    ("SELECT status, count(*) FROM orders GROUP BY status", "orders", ("status",), (), 4),
    (
        "SELECT id, subject, body FROM support_tickets WHERE status = $1 LIMIT 20",
        "support_tickets",
        ("id", "subject", "body"),
        ("status",),
        20,
    ),
    (
        "SELECT iban, holder FROM payments.accounts WHERE customer_id = $1",
        "payments.accounts",
        ("iban", "holder"),
        ("customer_id",),
        2,
    ),
    (
        "SELECT id, amount, booked_at FROM payments.transfers WHERE account_id = $1",
        "payments.transfers",
        ("id", "amount", "booked_at"),
        ("account_id",),
        30,
    ),
    ("SELECT sku, price FROM products WHERE category = $1", "products", ("sku", "price"), ("category",), 60),
    (
        "SELECT employee_id, salary FROM hr.salaries WHERE employee_id = $1",
        "hr.salaries",
        ("employee_id", "salary"),
        ("employee_id",),
        1,
    ),
)
_WRITES = (
    ("UPDATE orders SET status = $1 WHERE id = $2", "orders", ("status",), ("id",), 1),
    ("UPDATE support_tickets SET status = $1 WHERE id = $2", "support_tickets", ("status",), ("id",), 1),
    ("INSERT INTO orders (customer_id, total) VALUES ($1, $2)", "orders", ("customer_id", "total"), (), 1),
    ("DELETE FROM cart_items WHERE cart_id = $1", "cart_items", (), ("cart_id",), 3),
)
_REFUSED = (
    ("DROP TABLE support_tickets", "schema-changes", "block", "agents may not drop tables"),
    ("TRUNCATE orders", "truncate", "block", "agents may not truncate"),
    ("GRANT SELECT ON customers TO public", "privileges", "block", "privileges are for people"),
    ("SELECT pg_read_file($1)", "dangerous-functions", "block", "it reads files of the server"),
    ("DELETE FROM support_tickets", "unconstrained", "needs_approval", "nothing restricts its rows"),
    ("UPDATE customers SET tier = $1", "unconstrained", "needs_approval", "nothing restricts its rows"),
    ("ALTER TABLE orders ADD COLUMN note text", "schema-changes", "needs_approval", "DDL needs approval"),
)
_MASKED = {
    "public.customers.name": ("PERSON_NAME", "partial"),
    "public.customers.email": ("EMAIL_ADDRESS", "partial"),
    "public.customers.phone": ("PHONE_NUMBER", "partial"),
    "public.customers.date_of_birth": ("DATE_OF_BIRTH", "generalise"),
    "public.support_tickets.body": ("FREE_TEXT", "redact"),
    "payments.accounts.iban": ("BANK_ACCOUNT_NUMBER", "pseudonym"),
    "payments.accounts.holder": ("PERSON_NAME", "partial"),
    "hr.salaries.salary": ("INCOME", "redact"),
}
_PEOPLE = ("anna", "ben", "chloe", "dieter", "emre", "fatima", "george", "hanna")
_AGENTS = ("support-assistant", "sales-copilot", "finance-bot", "report-writer")
_PURPOSES = ("answer ticket {}", "monthly report {}", "refund of order {}", "look into complaint {}")
_CATALOG = "2bee14f34644d11a506cf4b1392545812ca229dfc72bc145365c64272ba1d42e"

_SESSION = 40  # statements of one agent's session
_SHAPES = len(_READS) + len(_WRITES)


def write(
    folder: Path,
    records: int = 1_000_000,
    *,
    seed: int = 0,
    processes: int = 3,
    days: float = 7.0,
    end: datetime = END,
) -> Counter[str]:
    """Write a trail of ``records`` records to ``folder`` and return how many of each kind there are.

    Args:
        folder: the journal's; made if it is not there.
        records: how many there will be, start and stop of each journal included; a few more where a statement
            needs them.
        seed: another one makes another trail.
        processes: how many journals share them.
        days: the time they cover.
        end: when the last of them end, within a few minutes.
    """
    chance = random.Random(seed)
    first = int((end - timedelta(days=days)).timestamp() * 1e9)
    # Most statements leave two records, refusals and attempts one.
    step = int(days * 86_400e9 / max(1.0, records * 0.515))
    written: Counter[str] = Counter()
    with _clock(first) as clock:
        journals = []
        for _ in range(processes):
            journals.append(Journal.open(folder, on_failure="refuse"))
            clock.now += 1_000_000
        written["start"] += processes
        callers = _Callers(chance)
        open_outcomes: list[tuple[int, int, Journal, bytes]] = []
        order = itertools.count()

        def settle(until: int | None) -> None:
            while open_outcomes and (until is None or open_outcomes[0][0] <= until):
                at, _, journal, payload = heapq.heappop(open_outcomes)
                clock.now = max(clock.now, at)
                journal.append(payload)
                written["outcome"] += 1

        for number in itertools.count():
            if written.total() + len(open_outcomes) >= records - processes:
                break
            at = max(clock.now, first + number * step + chance.randrange(step + 1))
            settle(at)
            clock.now = at
            journal = journals[chance.randrange(processes)]
            policy = POLICIES[min(len(POLICIES) - 1, written.total() * len(POLICIES) // records)]
            if policy != callers.policy:
                if callers.policy:
                    journal.append(record.event("policy.changed", before=callers.policy, after=policy))
                    written["event"] += 1
                callers.policy = policy
            for kind, ends, payload in _statement(chance, callers, at):
                if kind == "outcome":
                    heapq.heappush(open_outcomes, (ends, next(order), journal, payload))
                else:
                    journal.append(payload)
                    written[kind] += 1
        settle(None)
        for journal in journals:
            journal.close()
        written["stop"] += processes
    return written


def _statement(chance: random.Random, callers: _Callers, at: int) -> Iterator[tuple[str, int, bytes]]:
    """Yield the records of one statement: kind, when it is to be written, bytes."""

    def happens(what: str) -> bool:
        return chance.randrange(ONE_IN[what]) == 0

    caller, place = callers.next()
    transaction = f"{place}.{chance.randrange(100_000)}"
    trace = (chance.getrandbits(128), chance.getrandbits(64))
    if happens("attempt"):
        payload = record.attempt(
            who=record.who(caller, "app"),
            where=_where(place),
            rule="limits.length",
            reason="the text is longer than 1000000 bytes",
            size=chance.randrange(1 << 20, 1 << 24),
        )[1]
        yield "attempt", at, payload
        return
    refused = caller.kind.value == "agent" and happens("refusal")
    if refused or happens("approval"):
        form, decision = callers.refused(caller, place, chance.randrange(len(_REFUSED)))
        approval = f"apr_{chance.getrandbits(64):016x}" if decision.verdict is Verdict.NEEDS_APPROVAL else ""
        error = "ApprovalRequired" if approval else "StatementBlocked"
        yield (
            "refusal",
            at,
            form.refusal(decision, error, approval=approval, transaction=transaction, trace=trace, at=at)[1],
        )
        if approval and chance.random() < 0.5:
            person = Identity.human("dba-anna", groups=("dba",))
            answer = record.event(
                "approval.granted",
                who=record.who(person),
                request=approval,
                requester=str(caller),
                statement=decision.statement.normalised,
                rule=decision.rule,
                expires="2026-11-20T18:00:00+00:00",
            )
            yield "event", at, answer
            agreed = evolve(decision, verdict=Verdict.ALLOW, reason=f"approved by {person}")
            key, payload = form.intent(agreed, approval=approval, transaction=transaction, trace=trace, at=at)
            yield "intent", at, payload
            happened = record.happened("ok", duration_us=4000, rows_affected=chance.randrange(101, 900))
            yield "outcome", at + 4_000_000, outcome(key, happened, at=at + 4_000_000)
        return
    shape = chance.randrange(_SHAPES) if chance.random() < 0.3 else chance.randrange(len(_READS))
    form, decision, rows = callers.allowed(caller, place, shape)
    key, payload = form.intent(decision, transaction=transaction, trace=trace, at=at)
    yield "intent", at, payload
    if happens("orphan"):
        return
    duration = int(chance.lognormvariate(7, 1.2))  # microseconds, 1.1 ms in the middle
    if happens("error"):
        happened = record.happened("error", duration_us=duration, sqlstate="23505", error="UniqueViolation")
    elif happens("cancelled"):
        happened = record.happened("cancelled", duration_us=duration, sqlstate="57014", error="QueryCanceled")
    elif shape < len(_READS):
        happened = record.happened("ok", duration_us=duration, rows_returned=rows)
    else:
        happened = record.happened("ok", duration_us=duration, rows_affected=rows)
    ends = at + duration * 1000
    yield "outcome", ends, outcome(key, happened, at=ends)


class _Callers:
    """Who sends, in which session, and what of their records is encoded already."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.policy = ""
        self._sessions: list[tuple[Identity, str, int]] = []
        self._forms: dict[tuple[object, ...], tuple[Template, dict[str, Decision]]] = {}
        self._numbers = itertools.count(1)

    def next(self) -> tuple[Identity, str]:
        """Return somebody and the connection they use."""
        chance = self.chance
        while len(self._sessions) < 12:
            self._sessions.append((self._somebody(), f"c-{next(self._numbers)}", _SESSION))
        slot = chance.randrange(len(self._sessions))
        caller, place, left = self._sessions[slot]
        if left <= 1:
            del self._sessions[slot]
        else:
            self._sessions[slot] = (caller, place, left - 1)
        return caller, place

    def _somebody(self) -> Identity:
        chance, number = self.chance, next(self._numbers)
        kind = chance.random()
        if kind < 0.3:
            return Identity.service("shop-api")
        person = _PEOPLE[chance.randrange(len(_PEOPLE))]
        if kind < 0.4:
            return Identity.human(person, groups=("support",))
        return Identity.agent(
            _AGENTS[chance.randrange(len(_AGENTS))],
            on_behalf_of=Identity.human(person),
            groups=("support",),
            session=f"conversation-{number}",
            tool_call=f"call_{number}",
            purpose=_PURPOSES[chance.randrange(len(_PURPOSES))].format(4000 + number % 50),
        )

    def allowed(self, caller: Identity, place: str, shape: int) -> tuple[Template, Decision, int]:
        """Return template, decision and usual rows of a statement that runs."""
        text, relation, result, where, rows = (_READS + _WRITES)[shape]
        sees_all = caller.kind.value == "service"
        form, decisions = self._form(
            (caller, place, shape), caller, place, _what(text, relation, result, where, sees_all)
        )
        return (
            form,
            self._decision(
                decisions, text, "agents.read", Verdict.ALLOW, "the policy allows it", not sees_all
            ),
            rows,
        )

    def refused(self, caller: Identity, place: str, shape: int) -> tuple[Template, Decision]:
        """Return template and decision of a statement that is refused."""
        text, rule, verdict, reason = _REFUSED[shape]
        form, decisions = self._form(
            (caller, place, -shape - 1), caller, place, lambda: record.what(read(text))
        )
        return form, self._decision(decisions, text, rule, Verdict(verdict), reason, True)

    def _form(
        self, key: tuple[object, ...], caller: Identity, place: str, what: Any
    ) -> tuple[Template, dict[str, Decision]]:
        known = self._forms.get(key)
        if known is None:
            if len(self._forms) > 5000:
                self._forms.clear()
            form = Template(who=record.who(caller, "app", "10.0.3.9"), what=what(), where=_where(place))
            known = self._forms[key] = (form, {})
        return known

    def _decision(
        self, made: dict[str, Decision], text: str, rule: str, verdict: Verdict, reason: str, masked: bool
    ) -> Decision:
        decision = made.get(self.policy)
        if decision is None:
            decision = made[self.policy] = Decision(
                verdict=verdict,
                rule=rule,
                reason=reason,
                statement=read(text),
                policy=self.policy,
                approvers=("dba",) if verdict is Verdict.NEEDS_APPROVAL else (),
                masked=masked,
            )
        return decision


def _what(text: str, relation: str, result: tuple[str, ...], where: tuple[str, ...], sees_all: bool) -> Any:
    def make() -> dict[str, Any]:
        section = record.what(read(text), parameter_types=(23,) * text.count("$"))
        qualified = relation if "." in relation else f"public.{relation}"
        columns = sorted({f"{qualified}.{name}" for name in (*result, *where)})
        place = {column: number for number, column in enumerate(columns)}
        section["relations"] = [{"name": qualified, "access": section["relations"][0]["access"]}]
        section["columns"] = columns
        reads = not text.startswith(("UPDATE", "INSERT", "DELETE"))
        used = [place[f"{qualified}.{name}"] for name in result]
        section["lineage"] = {
            "outputs": [[1, number] for number in used] if reads else [],
            "uses": [["WHERE", place[f"{qualified}.{name}"], None, "equality"] for name in where],
        }
        section["touched"] = {"read": [*range(len(columns))]} if reads else {"update": used}
        masked = [
            {"column": column, "label": _MASKED[column][0], "strategy": _MASKED[column][1]}
            for column in columns
            if column in _MASKED and place[column] in used
        ]
        if masked and reads and not sees_all:
            section["masked"] = masked
        return section

    return make


def _where(place: str) -> dict[str, Any]:
    section = record.where(
        record.Where(host="db.internal", port=5432, database="shop", backend_pid=4711, connection=place),
        None,
        _CATALOG,
        "production",
    )
    return section | {"search_path": ["pg_catalog", "public"]}


class _Clock:
    """A clock that goes as fast as records are written."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@contextmanager
def _clock(now: int) -> Iterator[_Clock]:
    # Segments are named by the time, and readers order journals by it.
    clock = _Clock(now)
    with mock.patch.object(time, "time_ns", clock):
        yield clock


def main() -> None:
    """Write a trail and say what it holds."""
    parser = argparse.ArgumentParser(prog="benchmarks.trail_records", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--days", type=float, default=7.0)
    options = parser.parse_args()
    before = time.perf_counter()
    written = write(
        options.folder, options.records, seed=options.seed, processes=options.processes, days=options.days
    )
    seconds = time.perf_counter() - before
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(written.items()))
    print(f"{written.total()} records in {seconds:.1f} s: {kinds}", file=sys.stderr)


if __name__ == "__main__":
    main()

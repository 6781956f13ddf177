"""What an auditor asks of a trail, counted in one pass: who touched what, what was refused, what is missing.

Everything that is kept has a bound, so that a report of ten million records takes the memory of one of a
thousand. Where a bound is reached, what does not fit is counted and the report says how much that is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from attrs import define, field

from governed_db.audit import view
from governed_db.audit.select import EVERYTHING, Selection
from governed_db.audit.view import Entry

PAIRS = 5000
"""Pairs of caller and relation that are told apart; some 1 KB each."""

NAMES = 2000
"""Callers, rules with their reasons, journals, hours and the like that are told apart, of each."""

LATEST = 200
"""Refusals, approvals, changes and damages that are kept one by one: the last ones of each."""

FEW = 50
"""Columns of one pair, and callers of one rule, that are kept by name."""

ANSWERS = ("approval.granted", "approval.denied")
GRANTS = ("grant.added", "grant.verified")
ENDS = ("grant.revoked", "grant.expired")
CHANGES = ("policy.changed", "policy.stale")
LOOKS = ("trail.read", "values.erased")
_OURS = "journal."

T = TypeVar("T")


class Table(Generic[T]):
    """Values by key, as many as fit; ``beyond`` counts how often one was asked for that did not."""

    def __init__(self, make: Callable[[], T], most: int) -> None:
        self.rows: dict[Any, T] = {}
        self.beyond = 0
        self._make = make
        self._most = most

    def at(self, key: Any) -> T | None:
        """Return the value for ``key``, made where there is none and room is left."""
        found = self.rows.get(key)
        if found is None:
            if len(self.rows) >= self._most:
                self.beyond += 1
                return None
            found = self.rows[key] = self._make()
        return found


@define
class Access:
    """What one caller did with one relation; ``look_ups``: nothing but what the library sent by itself."""

    look_ups: bool = True
    reads: int = 0
    writes: int = 0
    refused: int = 0
    rows_returned: int = 0
    rows_affected: int = 0
    masked: Counter[tuple[str, str]] = field(factory=Counter)  # column and strategy
    seen: set[str] = field(factory=set)  # columns that were read unmasked
    last: str = ""


@define
class Caller:
    """What one caller did at all."""

    verdicts: Counter[str] = field(factory=Counter)
    behalf: set[str] = field(factory=set)
    unmasked: int = 0
    last: str = ""


@define
class Refusal:
    """One rule that refused, for one reason."""

    count: int = 0
    callers: Counter[str] = field(factory=Counter)
    last: str = ""
    record: str = ""


@define
class Writer:
    """One journal: one process's."""

    host: str = ""
    pid: int | None = None
    first: str = ""
    last: str = ""
    statements: int = 0
    stopped: bool = False


@define
class Version:
    """One version of the policy."""

    first: str = ""
    last: str = ""
    statements: int = 0


@define
class Summary:
    """Counts over the entries that it was given, in the order of :func:`governed_db.audit.statements`."""

    statements: int = 0
    first: str = ""
    last: str = ""
    verdicts: Counter[str] = field(factory=Counter)
    statuses: Counter[str] = field(factory=Counter)
    events: Counter[str] = field(factory=Counter)
    unmasked: int = 0
    not_understood: int = 0
    lost: int = 0
    damaged: int = 0
    missing: int = 0
    lone_outcomes: int = 0
    hours: Table[Counter[str]] = field(factory=lambda: Table(Counter, 10 * NAMES))
    callers: Table[Caller] = field(factory=lambda: Table(Caller, NAMES))
    access: Table[Access] = field(factory=lambda: Table(Access, PAIRS))
    refusals: Table[Refusal] = field(factory=lambda: Table(Refusal, NAMES))
    journals: Table[Writer] = field(factory=lambda: Table(Writer, NAMES))
    policies: Table[Version] = field(factory=lambda: Table(Version, NAMES))
    approved: Table[Counter[str]] = field(factory=lambda: Table(Counter, NAMES))
    errors: Counter[tuple[str, str]] = field(factory=Counter)
    sensitive: dict[str, str] = field(factory=dict)
    latest_refusals: deque[Entry] = field(factory=lambda: deque(maxlen=LATEST))
    answers: deque[Entry] = field(factory=lambda: deque(maxlen=LATEST))
    granted: Table[Counter[str]] = field(factory=lambda: Table(Counter, NAMES))
    grants: dict[str, Entry] = field(factory=dict)  # by id: what puts a grant on record
    ended: dict[str, Entry] = field(factory=dict)
    answered: set[str] = field(factory=set, repr=False)
    changes: deque[Entry] = field(factory=lambda: deque(maxlen=LATEST))
    damages: deque[Entry] = field(factory=lambda: deque(maxlen=LATEST))
    incidents: deque[Entry] = field(factory=lambda: deque(maxlen=LATEST))
    looks: deque[Entry] = field(factory=lambda: deque(maxlen=LATEST))
    orphans: deque[Entry] = field(factory=lambda: deque(maxlen=LATEST))

    @property
    def refused(self) -> int:
        """Statements that were not sent, or were rolled back over a limit."""
        return self.statuses["refused"]

    def add(self, entry: Entry) -> None:
        """Count one entry."""
        at, kind = view.text(entry, "at"), view.text(entry, "kind")
        writer = self.journals.at(view.text(entry, "journal"))
        if writer is not None and at:
            writer.first = min(writer.first, at) if writer.first else at
            writer.last = max(writer.last, at)
        if at and kind != view.DAMAGE:
            self.first = min(self.first, at) if self.first else at
            self.last = max(self.last, at)
        if view.is_statement(entry):
            if writer is not None:
                writer.statements += 1
            self._statement(entry, at)
        elif kind == "event":
            self._event(entry)
        elif kind == "start":
            self.note(entry)
        elif kind == "stop" and writer is not None:
            writer.stopped = True
        elif kind == "outcome":
            self.lone_outcomes += 1
        elif kind == view.DAMAGE:
            self._damage(entry)

    def note(self, start: Entry) -> None:
        """Remember who writes a journal, by its start, which can be of a time that is not counted."""
        writer = self.journals.at(view.text(start, "journal"))
        if writer is not None:
            details = view.part(start, "details")
            writer.host, writer.pid = view.text(details, "host"), view.number(details, "pid")

    def _statement(self, entry: Entry, at: str) -> None:
        self.statements += 1
        may, what = view.part(entry, "may"), view.part(entry, "what")
        said, status = said_of(entry), view.status(entry)
        self.verdicts[said] += 1
        self.statuses[status or "unknown"] += 1
        self.not_understood += "incomplete_because" in what
        if (hour := self.hours.at(at[:13])) is not None:
            hour[said] += 1
        chain = view.callers(entry) or ["unknown"]
        caller = self.callers.at(chain[0])
        if caller is not None:
            caller.verdicts[said] += 1
            caller.last = max(caller.last, at)
            caller.unmasked += bool(may.get("unmasked"))
            if len(caller.behalf) < FEW:
                caller.behalf.update(chain[1:])
        self.unmasked += bool(may.get("unmasked"))
        if version := view.text(may, "policy"):
            self._policy(version, at)
        if status == "refused":
            self._refusal(entry, chain[0], at)
        elif approval := view.text(may, "approval"):
            runs = self.approved.at(approval)
            if runs is not None:
                runs[status] += 1
        for grant in view.strings(may, "grants"):
            runs = self.granted.at(grant)
            if runs is not None:
                runs[status] += 1
        if status == "unknown":
            self.orphans.append(entry)
        if status in ("error", "cancelled"):
            happened = view.part(entry, "happened")
            key = (view.text(happened, "sqlstate"), view.text(happened, "error"))
            if key in self.errors or len(self.errors) < NAMES:
                self.errors[key] += 1
        self._accesses(entry, chain[0], at, status)

    def _accesses(self, entry: Entry, caller: str, at: str, status: str) -> None:
        happened, unmasked = view.part(entry, "happened"), bool(view.part(entry, "may").get("unmasked"))
        masked = list(view.masked(entry))
        for column, label, _ in masked:
            if column in self.sensitive or len(self.sensitive) < PAIRS:
                self.sensitive[column] = label
        read = view.columns(entry, "read") if unmasked else []
        done: dict[str, bool] = {}
        for name, access in view.relations(entry):
            done[name] = done.get(name, False) or access not in ("read", "")
        for name, writes in done.items():
            pair = self.access.at((caller, name))
            if pair is None:
                continue
            pair.last = max(pair.last, at)
            pair.look_ups &= view.is_look_up(entry)
            if status == "refused":
                pair.refused += 1
                continue
            pair.reads += not writes
            pair.writes += writes
            pair.rows_returned += 0 if writes else view.number(happened, "rows_returned") or 0
            pair.rows_affected += (view.number(happened, "rows_affected") or 0) if writes else 0
            for column, _, strategy in masked:
                if belongs(column, name) and len(pair.masked) < FEW:
                    pair.masked[column, strategy] += 1
            if read and len(pair.seen) < FEW:
                pair.seen.update(column for column in read if belongs(column, name))

    def _refusal(self, entry: Entry, caller: str, at: str) -> None:
        may = view.part(entry, "may")
        self.latest_refusals.append(entry)
        key = (view.text(may, "rule"), view.text(may, "verdict"), view.text(may, "reason"))
        found = self.refusals.at(key)
        if found is None:
            return
        found.count += 1
        found.last, found.record = at, view.text(entry, "id")
        if caller in found.callers or len(found.callers) < FEW:
            found.callers[caller] += 1

    def _event(self, entry: Entry) -> None:
        name = view.text(entry, "event")
        if name in ANSWERS and self._known(entry):
            return  # whoever took it in and whoever used it have both put it on record
        if name in self.events or len(self.events) < NAMES:
            self.events[name] += 1
        if name in ANSWERS:
            self.answers.append(entry)
        elif name in GRANTS or name in ENDS:
            found = self.grants if name in GRANTS else self.ended
            if len(found) < NAMES:
                found.setdefault(view.text(view.part(entry, "details"), "grant"), entry)
        elif name in CHANGES:
            self.changes.append(entry)
        elif name in LOOKS:
            self.looks.append(entry)
        elif name.startswith(_OURS):
            self.incidents.append(entry)
            self.lost += _lost(view.part(entry, "details").get("lost"))

    def _known(self, entry: Entry) -> bool:
        answer = view.text(view.part(entry, "details"), "answer")
        if not answer or answer in self.answered:
            return bool(answer)
        if len(self.answered) < NAMES:
            self.answered.add(answer)
        return False

    def _damage(self, entry: Entry) -> None:
        self.damages.append(entry)
        first, last = view.number(entry, "first"), view.number(entry, "last")
        if first is not None and last is not None:
            self.missing += max(0, last - first + 1)
        else:
            self.damaged += 1

    def _policy(self, version: str, at: str) -> None:
        found = self.policies.at(version)
        if found is not None:
            found.first = min(found.first, at) if found.first else at
            found.last = max(found.last, at)
            found.statements += 1


def summarise(entries: Iterable[Entry], selection: Selection = EVERYTHING) -> Summary:
    """Count the statements that are wanted, and of what is about all of them what is of their time."""
    summary = Summary()
    for entry in entries:
        if selection.wants(entry) if view.is_statement(entry) else selection.timely(entry):
            summary.add(entry)
        elif entry.get("kind") == "start":
            summary.note(entry)
    return summary


def said_of(entry: Entry) -> str:
    """Return what was decided: ``allow``, ``approved``, ``needs_approval``, ``block``, or ``observed``.

    ``observed``: it was sent although the policy would have said otherwise, because it only observes.
    """
    said = view.verdict(entry) or "allow"
    if view.status(entry) == "refused":
        # Allowed, measured, and rolled back: it was blocked in the end.
        return "block" if said == "allow" else said
    if said != "allow":
        return "observed"
    return "approved" if view.part(entry, "may").get("approval") else "allow"


def belongs(column: str, relation: str) -> bool:
    """Whether ``column``, with schema or without, is one of ``relation``."""
    table = column.rpartition(".")[0]
    return bool(table) and (
        relation == table or relation.endswith(f".{table}") or table.endswith(f".{relation}")
    )


def uncovered(summary: Summary, pair: Access) -> Iterator[str]:
    """Yield the columns that were read as they are and are known to be sensitive from this very trail."""
    known = {
        column.rpartition(".")[0].rpartition(".")[2] + "." + column.rpartition(".")[2]
        for column in summary.sensitive
    }
    for column in sorted(pair.seen):
        table, _, name = column.rpartition(".")
        if f"{table.rpartition('.')[2]}.{name}" in known:
            yield column


def _lost(said: Any) -> int:
    """Return how many records an event of the journal says are lost: a number, or the first and the last."""
    if isinstance(said, dict):
        first, last = view.number(said, "first"), view.number(said, "last")
        return 0 if first is None or last is None else max(0, last - first + 1)
    return said if isinstance(said, int) and not isinstance(said, bool) else 0

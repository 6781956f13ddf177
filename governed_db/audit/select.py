"""Which entries of a trail are wanted: by time, caller, session, relation, decision and the like.

Every verb that reads the trail uses one :class:`Selection`, so that a list, an export and a report of the
same selection speak of the same statements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from pathlib import Path
from typing import Any

from attrs import field, frozen

from governed_db.audit import reader, view
from governed_db.audit.record import instant
from governed_db.audit.view import DAMAGE, Entry

DECISIONS = ("allow", "needs_approval", "block", "approved")
"""Verdicts, and ``approved``: it ran because people agreed."""

_AGO = re.compile(r"[-+]?(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(said: str, now: datetime | None = None) -> datetime:
    """Return the time that ``said`` means.

    ISO 8601 (``2026-01-31``, ``2026-01-31T12:00Z``; without a zone in UTC), so long ago (``1h``, ``-1h``:
    s, m, h, d, w), ``now``, ``today`` or ``yesterday`` (their first instant in UTC).

    Raises:
        ValueError: it means none.
    """
    now = now or datetime.now(UTC)
    if ago := _AGO.fullmatch(said):
        try:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise ValueError("that is before the calendar begins") from None
    if said == "now":
        return now
    if said in ("today", "yesterday"):
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day - timedelta(days=said == "yesterday")
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        raise ValueError(
            f"{said!r} is no time: 2026-01-31, 2026-01-31T12:00Z, or 30m, 12h, 7d, 2w ago"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@frozen
class Pattern:
    """A name in which ``*`` and ``?`` stand for any characters; letters differ by case."""

    said: str
    _match: Callable[[str], object] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # "[" means itself: generated names hold it, and nobody expects a class of letters.
        object.__setattr__(
            self, "_match", re.compile(translate(self.said.replace("[", "[[]")), re.DOTALL).match
        )

    def fits(self, name: str) -> bool:
        """Whether the whole name is meant."""
        return self._match(name) is not None


def _patterns(said: Iterable[str | Pattern]) -> tuple[Pattern, ...]:
    return tuple(one if isinstance(one, Pattern) else Pattern(one) for one in said)


@frozen(kw_only=True)
class Selection:
    """What an entry must be to be wanted. Of one field any value will do; all fields must hold.

    Attributes:
        since, until: when it began; ``until`` itself is out.
        subjects: the caller, as ``kind:name`` or ``name``.
        kinds: the caller's kind: human, agent, service, unknown.
        behalf: somebody the caller acts for, as ``kind:name`` or ``name``.
        sessions, purposes, databases: as the record has them.
        relations: a relation that it touched, with schema or without; also the view it was reached through.
        columns: a column that it touched or that was masked, as ``relation.column`` or with the schema too.
        decisions: verdicts, or ``approved`` (:data:`DECISIONS`).
        rules: the rule that spoke.
        statuses: what became of it: ok, error, cancelled, refused, unknown, running.
        records: its record's id, or the id of its outcome's intent.
    """

    since: datetime | None = None
    until: datetime | None = None
    subjects: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    kinds: frozenset[str] = field(default=frozenset(), converter=frozenset)
    behalf: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    sessions: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    purposes: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    databases: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    relations: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    columns: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    decisions: frozenset[str] = field(default=frozenset(), converter=frozenset)
    rules: tuple[Pattern, ...] = field(default=(), converter=_patterns)
    statuses: frozenset[str] = field(default=frozenset(), converter=frozenset)
    records: frozenset[str] = field(default=frozenset(), converter=frozenset)
    _tests: tuple[Callable[[Entry], bool], ...] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_tests", tuple(self._made()))

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not self._tests

    def wants(self, entry: Entry) -> bool:
        """Whether ``entry`` is wanted. Damage is, whenever its time is: nobody knows what stood there."""
        if entry.get("kind") == DAMAGE:
            return self.timely(entry)
        return all(test(entry) for test in self._tests)

    def timely(self, entry: Entry) -> bool:
        """Whether ``entry`` is of the time that is wanted, whatever else it is."""
        return all(test(entry) for test in self._times())

    def words(self) -> list[str]:
        """Return the fields that leave something out, in words for a reader of what was selected."""
        said = []
        for name, title in _WORDS.items():
            value = getattr(self, name)
            if isinstance(value, datetime):
                said.append(f"{title} {value.isoformat()}")
            elif value:
                shown = sorted(one.said if isinstance(one, Pattern) else one for one in value)
                said.append(f"{title} {' or '.join(shown)}")
        return said

    def _times(self) -> Iterator[Callable[[Entry], bool]]:
        if self.since is not None:
            least = _stamp(self.since)
            yield lambda entry: entry["at"] >= least
        if self.until is not None:
            most = _stamp(self.until)
            yield lambda entry: entry["at"] < most

    def _made(self) -> Iterator[Callable[[Entry], bool]]:
        yield from self._times()
        if self.records:
            yield lambda entry: entry.get("id") in self.records or entry.get("of") in self.records
        if self.kinds:
            yield lambda entry: view.part(entry, "who").get("kind") in self.kinds
        if self.subjects:
            yield lambda entry: _named(self.subjects, view.part(entry, "who"))
        if self.behalf:
            yield lambda entry: any(
                _named(self.behalf, one) for one in view.objects(view.part(entry, "who"), "on_behalf_of")
            )
        for wanted, section, name in (
            (self.sessions, "who", "session"),
            (self.purposes, "who", "purpose"),
            (self.databases, "where", "database"),
            (self.rules, "may", "rule"),
        ):
            if wanted:
                yield _field(wanted, section, name)
        if self.relations:
            relations = _stored(self.relations)
            yield lambda entry: any(_tail(relations, name) for name in _relations(entry))
        if self.columns:
            columns = _stored(self.columns)
            yield lambda entry: any(_tail(columns, name) for name in _columns(entry))
        if self.decisions:
            yield self._decided
        if self.statuses:
            yield lambda entry: view.status(entry) in self.statuses

    def _decided(self, entry: Entry) -> bool:
        may = view.part(entry, "may")
        if "approved" in self.decisions and may.get("approval") and entry.get("kind") == "intent":
            return True
        return may.get("verdict") in self.decisions


_WORDS = {
    "since": "since",
    "until": "before",
    "subjects": "by",
    "kinds": "by callers of kind",
    "behalf": "on behalf of",
    "sessions": "in session",
    "purposes": "for the purpose",
    "databases": "in database",
    "relations": "touching",
    "columns": "with column",
    "decisions": "decided",
    "rules": "under rule",
    "statuses": "with status",
    "records": "record",
}


EVERYTHING = Selection()
"""Leaves nothing out."""


def entries(folder: Path, selection: Selection, *, beside: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the statements of the trail that are wanted, and with ``beside`` the events, starts and stops.

    In the order of :func:`governed_db.audit.statements`; one entry is in memory at a time, and those without
    an outcome so far.

    Raises:
        OSError: the folder cannot be read.
    """
    found = reader.statements(folder, beside=beside)
    return found if selection.everything else (entry for entry in found if selection.wants(entry))


def _stamp(when: datetime) -> str:
    # Records compare as text: all are in UTC, to the microsecond.
    when = when.astimezone(UTC)
    return instant(int(when.replace(microsecond=0).timestamp()) * 1_000_000_000 + when.microsecond * 1000)


def _field(wanted: tuple[Pattern, ...], section: str, name: str) -> Callable[[Entry], bool]:
    def test(entry: Entry) -> bool:
        value = view.text(view.part(entry, section), name)
        return bool(value) and any(one.fits(value) for one in wanted)

    return test


def _named(wanted: tuple[Pattern, ...], who: Entry) -> bool:
    name, full = view.text(who, "subject"), view.principal(who)
    return bool(full) and any(one.fits(full) or one.fits(name) for one in wanted)


def _relations(entry: Entry) -> Iterator[str]:
    for name, _ in view.relations(entry):
        yield name
    for effect in view.objects(view.part(entry, "what"), "effects"):
        if target := view.text(effect, "target"):
            yield target


def _columns(entry: Entry) -> Iterator[str]:
    yield from view.columns(entry)
    for column, _, _ in view.masked(entry):
        yield column


def _stored(wanted: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    # Records have names as the catalog has them; people copy them from SQL, where quotes are around some.
    unquoted = (_QUOTED.sub(lambda found: found[1].replace('""', '"'), one.said) for one in wanted)
    return (*wanted, *(Pattern(name) for name in unquoted))


_QUOTED = re.compile(r'"((?:[^"]|"")+)"')


def _tail(wanted: tuple[Pattern, ...], name: str) -> bool:
    """Whether ``name`` is meant, whole or without what stands before one of its dots."""
    while True:
        if any(one.fits(name) for one in wanted):
            return True
        _, dot, name = name.partition(".")
        if not dot:
            return False

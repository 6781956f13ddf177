"""Reading the trail: all segments of a folder as one stream, and statements made of intents and outcomes.

Readers work beside writers, on a journal that is being written as well as on one whose writer was
killed. They hold one record per journal in memory, and for statements those still without an outcome.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from governed_db.audit.record import RecordKind, Status
from governed_db.audit.scan import Damage, Name, Stored, alive, begun, names, scan

_STATEMENTS = frozenset({RecordKind.REFUSAL, RecordKind.ATTEMPT})


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every record in ``folder``: by time between processes, by sequence within each.

    Each is the stored object with two fields more: ``journal`` (which writer's) and ``sequence`` (its
    number there). Objects of kind ``"damage"`` stand where bytes are damaged (``because``, ``segment``,
    ``offset``, ``bytes``) and where records are missing (``first`` and ``last`` of their sequence
    numbers). A segment that appears while reading may be missed.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: it cannot be read.
    """
    writers: dict[str, list[Name]] = {}
    for name in names(Path(folder)):
        writers.setdefault(name.journal, []).append(name)
    # By the time of the first segment: a journal is opened when the others have got there, so that
    # a folder with the journals of a thousand dead processes does not need a thousand open files.
    waiting = sorted(writers.values(), key=lambda w: w[0].created, reverse=True)
    heads: list[tuple[str, str, int, dict[str, Any], Iterator[dict[str, Any]]]] = []
    count = 0

    def advance(stream: Iterator[dict[str, Any]], least: str) -> None:
        nonlocal count
        entry = next(stream, None)
        if entry is not None:
            count += 1
            # A clock that is set back must not take records out of their sequence.
            heapq.heappush(heads, (max(entry["at"], least), entry["journal"], count, entry, stream))

    while waiting or heads:
        while waiting and (not heads or _iso(waiting[-1][0].created) <= heads[0][0]):
            writer = waiting.pop()
            advance(_one_journal(writer), _iso(writer[0].created))
        if heads:
            at, _, _, entry, stream = heapq.heappop(heads)
            yield entry
            advance(stream, at)


def statements(folder: Path, *, beside: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one object for each statement: its intent, or refusal, or attempt, with what happened to it.

    Statements come in the order in which they ended. ``happened`` is the outcome's, with ``ended`` (its
    time). Those without an outcome come last: ``happened.status`` is ``"unknown"`` where the writer is
    dead, ``"running"`` where it lives. An outcome whose intent is missing is an object of
    ``kind`` ``"outcome"`` as it was stored. Damage is passed on as :func:`read` yields it, and with
    ``beside`` so is what is not a statement: events, starts and stops.

    Raises:
        OSError: the folder cannot be read.
    """
    pending: dict[str, dict[str, Any]] = {}
    early: dict[str, dict[str, Any]] = {}
    for entry in read(folder):
        kind = entry["kind"]
        if kind == RecordKind.INTENT:
            outcome = early.pop(entry["id"], None)
            if outcome is None:
                pending[entry["id"]] = entry
            else:
                yield _ended(entry, outcome)
        elif kind == RecordKind.OUTCOME:
            intent = pending.pop(entry["of"], None)
            if intent is None:
                # A clock can put a child's or a finalizer's outcome before its intent.
                early[entry["of"]] = entry
            else:
                yield _ended(intent, entry)
        elif beside or kind in _STATEMENTS or kind == "damage":
            yield entry
    yield from early.values()
    living = _living(Path(folder), {entry["journal"] for entry in pending.values()})
    for intent in pending.values():
        status = "running" if intent["journal"] in living else Status.UNKNOWN.value
        yield intent | {"happened": {"status": status}}


def _ended(intent: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    return intent | {"happened": outcome["happened"] | {"ended": outcome["at"]}}


def _living(folder: Path, journals: set[str]) -> set[str]:
    living = set()
    wanted = [n for n in names(folder) if n.journal in journals]
    for journal, segments in groupby(sorted(wanted, key=lambda n: (n.journal, n.index)), lambda n: n.journal):
        for segment in segments:
            try:
                if alive(segment.path):
                    living.add(journal)
            except FileNotFoundError:
                continue
    return living


def _one_journal(segments: list[Name]) -> Iterator[dict[str, Any]]:
    journal = segments[0].journal
    last: int | None = None
    at = ""
    for name, found in _scan_all(segments):
        if isinstance(found, Damage):
            yield _damage(journal, at, name, found)
            continue
        if last is not None and found.sequence <= last:
            continue  # taken along to a new segment after somebody moved the old one
        if last is not None and found.sequence > last + 1:
            missing = {"first": last + 1, "last": found.sequence - 1}
            yield _damage(journal, at, name, "records are missing") | missing
        last = found.sequence
        entry = _record(found.payload)
        if entry is None:
            unread = Damage(found.offset, len(found.payload), "it is no record of this schema")
            yield _damage(journal, at, name, unread) | {"first": last, "last": last}
            continue
        at = entry["at"]
        yield entry | {"journal": journal, "sequence": last}


def _scan_all(segments: list[Name]) -> Iterator[tuple[Name, Stored | Damage]]:
    ordered = sorted(segments, key=lambda n: n.index)
    for at, name in enumerate(ordered):
        # Asked first: if the writer goes on to the next segment while this one is read, what it added here
        # after we passed by would look as if it were missing. What was not begun yet is for the next reader.
        more = any(begun(later.path) for later in ordered[at + 1 :])
        try:
            for found in scan(name.path):
                yield name, found
        except FileNotFoundError:
            continue  # retired between the listing and now
        if not more:
            return


def _record(payload: bytes) -> dict[str, Any] | None:
    entry: Any
    try:
        entry = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    strings = isinstance(entry, dict) and all(isinstance(entry.get(k), str) for k in ("kind", "id", "at"))
    if not strings or (entry["kind"] == RecordKind.OUTCOME and not isinstance(entry.get("of"), str)):
        return None
    if not isinstance(entry.get("happened", {}), dict):
        return None
    # A shortened outcome may have lost its section.
    known: dict[str, Any] = {"happened": {}} if entry["kind"] == RecordKind.OUTCOME else {}
    known.update(entry)
    return known


def _damage(journal: str, at: str, name: Name, damage: Damage | str) -> dict[str, Any]:
    entry = {"kind": "damage", "at": at, "journal": journal, "segment": name.path.name}
    if isinstance(damage, str):
        return entry | {"because": damage}
    return entry | {"because": damage.because, "offset": damage.offset, "bytes": damage.length}


def _iso(created: str) -> str:
    """Write the time in a file's name as records have it: 20260131T12... becomes 2026-01-31T12:..."""
    day, _, time = created.partition("T")
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}"

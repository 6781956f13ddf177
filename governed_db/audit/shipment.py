"""One look at all journals of a folder: what is new goes to the outbox, statements as soon as they are over.

Intents and outcomes meet here, also across segments and across journals. Nothing is held in memory but what
one batch brings; intents that wait for their outcome are places in the cursor.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from attrs import evolve

from governed_db.audit import otlp
from governed_db.audit.cursor import INTENT, OUTCOME, Place, Position, unusable
from governed_db.audit.layout import HEADER_SIZE
from governed_db.audit.outbox import STATEMENTS, Outbox
from governed_db.audit.record import RecordKind, Status, instant
from governed_db.audit.scan import Damage, Name, Stored
from governed_db.audit.tail import Gap, by_journal, ended, fetch, tail

SHARE = 20_000
"""Records of one journal in a row, before the others have their turn."""

_CHECKPOINTS = Path("log") / "checkpoints"
# A megabyte is thousands of checkpoints; the rest is for the next look.
_PIECE = 1 << 20
_DASH = "\N{EM DASH} ".encode()  # how each line of signatures begins

_Segments = Mapping[str, list[Name]]


class Shipment:
    """The way from the journals in ``folder`` to ``outbox``."""

    def __init__(self, folder: Path, outbox: Outbox) -> None:
        self._folder = folder
        self._out = outbox
        self._cursor = outbox.cursor
        self._early = bool(self._cursor.waiting(OUTCOME))

    def run(self) -> bool:
        """Read and send what is there; return whether that was all.

        Raises:
            Stopped, GaveUp: it was not sent. The cursor is where it was after the last answer.
            Unusable: the cursor cannot be kept.
            OSError: the journals cannot be read.
        """
        try:
            return self._look()
        except BaseException as error:
            self._cursor.rollback()
            self._out.forget()
            if isinstance(error, sqlite3.Error):
                raise unusable(self._cursor.path, str(error)) from None
            raise

    def _look(self) -> bool:
        segments = by_journal(self._folder)
        todo = {j: s for j, s in segments.items() if not self._done(j, s)}
        # Before anything is read: what they wrote last is then among what is read.
        dead = ended(self._folder, todo)
        before = [key for key, _ in self._cursor.waiting(OUTCOME)] if self._early else []
        complete = True
        for journal in todo:
            complete &= self._read(journal, segments)
        self._checkpoints()
        self._out.flush()
        if complete:
            self._orphans(before, segments)
            for journal in dead:
                self._unknown(journal, segments)
                self._end(journal, segments[journal])
            for journal in self._out.positions.keys() - segments.keys():
                self._vanished(journal)
            self._out.flush()
        return complete

    def _done(self, journal: str, segments: list[Name]) -> bool:
        position = self._out.positions.get(journal)
        return position is not None and position.done and segments[-1].index <= position.index

    def _end(self, journal: str, segments: list[Name]) -> None:
        position = self._out.positions.get(journal, Position())
        # Past segments that were prepared and never used.
        if segments[-1].index > position.index:
            position = evolve(position, index=segments[-1].index, offset=HEADER_SIZE)
        self._out.move(journal, evolve(position, done=True))

    # -- reading

    def _read(self, journal: str, segments: _Segments) -> bool:
        position = self._out.positions.get(journal, Position())
        for count, (name, found, after) in enumerate(tail(position, segments[journal])):
            if isinstance(found, Stored):
                place = Place(journal, name.index, found.offset, found.sequence)
                self._take(place, found.payload, after, segments)
            else:
                self._damaged(journal, name, found)
                self._out.move(journal, evolve(after, resource=self._out.resource_of(journal), done=False))
            self._out.flush_if_full()
            if count >= SHARE:
                return False
        return True

    def _take(self, place: Place, payload: bytes, after: Position, segments: _Segments) -> None:
        journal = place.journal
        entry = _entry(payload)
        kind = entry["kind"]
        starts = kind == RecordKind.START and isinstance(entry.get("details"), dict)
        position = Position(
            after.index,
            after.offset,
            after.sequence,
            stopped=kind == RecordKind.STOP,
            resource=otlp.resource(entry, journal) if starts else self._out.resource_of(journal),
        )
        self._out.move(journal, position)
        if kind == RecordKind.INTENT:
            self._intent(entry, place, segments)
        elif kind == RecordKind.OUTCOME:
            self._outcome(entry, place, segments)
        elif kind in STATEMENTS:
            self._out.statement(entry, journal)
        else:
            self._out.event(entry, journal, payload)

    def _intent(self, entry: dict[str, Any], place: Place, segments: _Segments) -> None:
        other = self._cursor.take(entry["id"], OUTCOME) if self._early else None
        outcome = None if other is None else self._fetch(other, segments)
        if outcome is not None:
            self._out.statement(_over(entry, outcome), place.journal)
        else:
            self._out.open[entry["id"]] = (entry, place)

    def _outcome(self, entry: dict[str, Any], place: Place, segments: _Segments) -> None:
        of: str = entry["of"]
        known = self._out.open.pop(of, None)
        if known is not None:
            intent, there = known
            self._out.statement(_over(intent, entry), there.journal)
            return
        waited = self._cursor.take(of, INTENT)
        if waited is None:
            self._cursor.wait_for(of, OUTCOME, place)
            self._early = True
            return
        fetched = self._fetch(waited, segments)
        if fetched is not None:
            self._out.statement(_over(fetched, entry), waited.journal)
        else:
            self._lose(of, waited, "the intent was removed or damaged before it was shipped")
            self._out.event(entry, place.journal)

    def _fetch(self, place: Place, segments: _Segments) -> dict[str, Any] | None:
        payload = fetch(place, segments.get(place.journal, ()))
        return None if payload is None else _entry(payload)

    # -- what is left over when everything was read

    def _orphans(self, before: list[str], segments: _Segments) -> None:
        """Send the outcomes that waited for their intent through a whole look: it is not there."""
        for key in before:
            place = self._cursor.take(key, OUTCOME)
            if place is None:
                continue  # they met meanwhile
            entry = self._fetch(place, segments)
            if entry is not None:
                self._out.event(entry, place.journal)
            else:
                self._lose(key, place, "the outcome was removed or damaged before it was shipped")
        self._early = bool(self._cursor.waiting(OUTCOME))

    def _unknown(self, journal: str, segments: _Segments) -> None:
        """Send what a dead writer began and said no more of."""
        while rows := self._cursor.waiting(INTENT, journal):
            for key, place in rows:
                self._cursor.take(key, INTENT)
                entry = self._fetch(place, segments)
                if entry is None:
                    self._lose(key, place, "the intent was removed or damaged before it was shipped")
                else:
                    self._out.statement(entry | {"happened": {"status": Status.UNKNOWN.value}}, journal)
            self._out.flush_if_full()

    def _vanished(self, journal: str) -> None:
        position = self._out.positions[journal]
        if position.gone:
            return
        whole = position.done or position.stopped
        while rows := self._cursor.waiting(INTENT, journal):
            whole = False
            for key, place in rows:
                self._cursor.take(key, INTENT)
                self._lose(key, place, "the intent was removed before it was shipped")
            self._out.flush_if_full()
        if whole:
            self._cursor.forget(journal)
            del self._out.positions[journal]
            return
        if not (position.done or position.stopped):
            because = "its segments were removed; what followed the last record that was read is unknown"
            self._out.loss(journal, f"{journal}-vanished", because, {"first": position.sequence + 1})
        self._out.move(journal, evolve(position, gone=True))

    def _damaged(self, journal: str, name: Name, found: Damage | Gap) -> None:
        if isinstance(found, Gap):
            key, count = f"{journal}-gap-{found.first}", found.last - found.first + 1
            self._out.loss(journal, key, found.because, {"first": found.first, "last": found.last}, count)
        else:
            details = {"segment": name.path.name, "offset": found.offset, "bytes": found.length}
            key = f"{journal}-damage-{name.index}-{found.offset}"
            self._out.loss(journal, key, found.because, details)

    def _lose(self, key: str, place: Place, because: str) -> None:
        self._out.loss(place.journal, f"{key}-lost", because, {"of": key, "first": place.sequence})

    def _checkpoints(self) -> None:
        """Send the checkpoints signed since the last look: kept outside, they tell what is newest."""
        name = str(_CHECKPOINTS)
        at = begun = self._cursor.file(name)
        try:
            with (self._folder / _CHECKPOINTS).open("rb") as file:
                if file.seek(0, os.SEEK_END) < at:
                    details = {"segment": name, "offset": at}
                    self._out.loss("", f"{name}-cut-{at}", "the file of checkpoints was cut", details)
                    at = 0
                file.seek(at)
                text = file.read(_PIECE)
        except FileNotFoundError:
            return
        for note in notes(text):
            origin, size, root, *_ = [*note.decode("utf-8", "replace").split("\n"), "", ""]
            entry = {
                "kind": RecordKind.EVENT.value,
                "event": "checkpoint",
                "id": f"checkpoint-{hashlib.sha256(note.strip()).hexdigest()[:32]}",
                "at": instant(),
                "details": {"origin": origin, "size": size, "root": root},
            }
            self._out.event(entry, "", note[:-1])
            at += len(note)
        if at != begun:
            self._out.move_file(name, at)


def notes(text: bytes) -> list[bytes]:
    """Split signed notes that lie one after the other, an empty line behind each; each keeps its empty line.

    A note is text, an empty line, and signatures, lines that begin with a dash (C2SP signed-note). What has
    no empty line behind it yet is left out.
    """
    found: list[bytes] = []
    start = at = 0
    signed = False
    for line in text.splitlines(keepends=True):
        at += len(line)
        if signed and line == b"\n":
            found.append(text[start:at])
            start, signed = at, False
        else:
            signed = line.startswith(_DASH)
    return found


def _entry(payload: bytes) -> dict[str, Any]:
    """Read a record; what is none is an entry of kind ``damage``."""
    try:
        entry = orjson.loads(payload)
    except orjson.JSONDecodeError:
        entry = None
    strings = isinstance(entry, dict) and all(isinstance(entry.get(k), str) for k in ("kind", "id", "at"))
    if strings and (entry["kind"] != RecordKind.OUTCOME or isinstance(entry.get("of"), str)):
        known: dict[str, Any] = entry
        return known
    key = hashlib.sha256(payload).hexdigest()[:32]
    because = "it is no record of this schema"
    return {"kind": "damage", "id": f"unreadable-{key}", "at": instant(), "because": because}


def _over(intent: dict[str, Any], outcome: Mapping[str, Any]) -> dict[str, Any]:
    # A shortened outcome may have lost its section.
    happened = outcome.get("happened")
    return intent | {"happened": {**(happened if isinstance(happened, dict) else {}), "ended": outcome["at"]}}

"""Holding the segments of a folder to what the log says of them.

:class:`Held` is told every entry of the log in order, with its leaves, and returns what differs. It keeps
where each segment stands, and nothing for each record: however long the log, its memory grows with the
number of files alone.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from attrs import define, frozen

from governed_db.audit.entry import Entry, Kind, record_hash
from governed_db.audit.frames import digest, header, records, surroundings
from governed_db.audit.layout import HEADER_SIZE, OPEN, SEALED
from governed_db.audit.regular import descriptor
from governed_db.audit.scan import Damage, Name, Stored, created, names, scan
from governed_db.audit.verdict import Finding, Report
from governed_db.audit.verdict import Kind as What

OPEN_FILES = 64
"""Segments that are kept open: the runs of so many processes that write at the same time."""

RETIRED = "journal.retired"
"""The event that retention leaves for segments that it takes away. Whoever can write to the folder can write
one: it is the log's own entry that counts."""

_MOST_PAIRS = 64  # records of a run that are compared with each other, to tell swapped ones from edited ones


@frozen
class Differs:
    """A leaf that what is in the segment does not give: its place among the entry's, and the hash that it
    gives."""

    place: int
    hash: bytes | None
    finding: Finding


@define
class Missing:
    """A segment that is not there: the records that the log took up from it."""

    journal: int
    first: int
    last: int
    count: int


class Again(NamedTuple):
    """Records that the log had already: ``number`` from ``first`` on, whose leaves begin at ``at``."""

    journal: int
    first: int
    number: int
    at: int
    segment: str


class Held:
    """What has been held to the log so far."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder = folder
        self.report = report
        self.covered: dict[str, int] = {}
        self.ended: set[str] = set()
        self.newest: dict[int, int] = {}
        self.following: dict[int, int] = {}
        self.missing: dict[str, Missing] = {}
        self.again: list[Again] = []
        self.announced: dict[str, tuple[int, int]] = {}
        self._claimed: dict[str, tuple[int, int]] = {}
        self._late: dict[str, tuple[int, int]] = {}
        self._bad: set[str] = set()
        self._cut: set[str] = set()  # of those, the ones without their end
        self._files: OrderedDict[str, int] = OrderedDict()
        self._index: tuple[str, dict[int, list[tuple[int, bytes]]]] = ("", {})

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])

    # -- entries

    def check(self, entry: Entry, leaves: bytes) -> list[Differs]:
        """Hold the segments to one entry; ``leaves`` are the hashes of the records that it is about."""
        match entry.kind:
            case Kind.KEY:
                return []
            case Kind.GAP:
                self.report.lost_records += entry.length
                self.following[entry.journal] = entry.first + entry.length
                return []
            case Kind.RUN:
                return self._run(entry, leaves)
            case Kind.DAMAGE:
                return self._damage(entry)
            case Kind.END:
                return self._end(entry)
            case Kind.RETIRED:
                self.announced[entry.segment] = (entry.first, entry.first + entry.length - 1)
                return []

    def _run(self, entry: Entry, leaves: bytes) -> list[Differs]:
        name = entry.segment
        known = self.following.get(entry.journal, 1)
        if entry.first < known:
            # A segment that was taken away was written again from memory; both are in the log.
            self.again.append(
                Again(entry.journal, entry.first, min(entry.count, known - entry.first), entry.at + 1, name)
            )
        self.following[entry.journal] = max(known, entry.first + entry.count)
        self.newest[entry.journal] = max(self.newest.get(entry.journal, 0), entry.index)
        fd = self._open(name)
        if fd is None:
            gone = self.missing.setdefault(name, Missing(entry.journal, entry.first, entry.first, 0))
            gone.last = max(gone.last, entry.first + entry.count - 1)
            gone.count += entry.count
            return []
        self.covered[name] = entry.offset + entry.length
        prefix, at, place = entry.journal, entry.first, 0
        end = entry.offset + entry.length
        last = entry.offset
        for sequence, payload, following in records(fd, entry.offset, end):
            if place >= entry.count or sequence != at + place:
                return self._explain(entry, leaves)
            if record_hash(prefix, sequence, payload) != leaves[place * 32 : place * 32 + 32]:
                return self._explain(entry, leaves)
            if b"journal.retired" in payload:
                self._retirement(payload, self._claimed)
            place += 1
            last = following
        return [] if place == entry.count and last == end else self._explain(entry, leaves)

    def _damage(self, entry: Entry) -> list[Differs]:
        self.report.lost_places += 1
        fd = self._open(entry.segment)
        if fd is None:
            self.missing.setdefault(entry.segment, Missing(entry.journal, 0, 0, 0))
            return []
        self.covered[entry.segment] = max(entry.offset + entry.length, HEADER_SIZE)
        if digest(fd, entry.offset, entry.length) == entry.data:
            return []
        text = (
            f"{entry.length} bytes at offset {entry.offset} were damaged when the log came by, and have been"
            " changed since"
        )
        return [Differs(0, None, self._finding(What.EDITED, text, entry))]

    def _end(self, entry: Entry) -> list[Differs]:
        self.ended.add(entry.segment)
        fd = self._open(entry.segment)
        if fd is None:
            self.missing.setdefault(entry.segment, Missing(entry.journal, 0, 0, 0))
            return []
        size, data = surroundings(fd, entry.offset)
        if (size, data) == (entry.length, entry.data):
            return []
        if entry.segment in self._bad and entry.segment not in self._cut:
            return []  # its records are not where they were, and so nor is its end
        text = "its header or what is behind its last record is not what it was when it was complete"
        kind = What.EDITED
        if any(True for _ in records(fd, entry.offset, size)):
            kind, text = What.INSERTED, "records were added to it after it was complete"
        elif size < entry.length:
            kind, text = What.TRUNCATED, f"it has {size} bytes and had {entry.length} when it was complete"
        return [Differs(0, None, self._finding(kind, text, entry))]

    def _retirement(self, payload: bytes, into: dict[str, tuple[int, int]]) -> None:
        try:
            record: Any = orjson.loads(payload)
            if record["kind"] != "event" or record["event"] != RETIRED:
                return
            one = record["details"]
            into[str(one["segment"])] = (int(one["first"]), int(one["last"]))
        except (ValueError, KeyError, TypeError):
            return

    # -- what differs

    def _explain(self, entry: Entry, leaves: bytes) -> list[Differs]:
        """Say which records of a run are not there as they were, and what became of them."""
        name = entry.segment
        self._bad.add(name)
        there = self._whole(name)
        found: list[Differs] = []
        odd: list[tuple[int, bytes]] = []
        wrong: dict[int, tuple[bytes, bytes]] = {}
        places: list[int] = []
        moved = ""
        for place in range(entry.count):
            sequence = entry.first + place
            expected = leaves[place * 32 : place * 32 + 32]
            stored = there.get(sequence, [])
            good = [(o, p) for o, p in stored if record_hash(entry.journal, sequence, p) == expected]
            if good:
                offset, payload = good[0]
                places.append(offset)
                if b"journal.retired" in payload:
                    self._retirement(payload, self._claimed)
            elif stored:
                wrong[place] = (stored[0][1], expected)
                odd.append((place, expected))
            else:
                text = f"record {sequence} of the journal is not in its segment, which should have it"
                found.append(Differs(place, None, self._finding(What.DELETED, text, entry, sequence)))
        if places != sorted(places):
            moved = f"the records {entry.first} to {entry.first + entry.count - 1} are not in their order"
        for place, (payload, _) in wrong.items():
            sequence = entry.first + place
            was = self._was(entry, payload, odd) if len(odd) <= _MOST_PAIRS else None
            given = record_hash(entry.journal, sequence, payload)
            if was is not None:
                text = f"what stands as record {sequence} is what was record {was}"
                kind = What.REORDERED
            else:
                kind, text = What.EDITED, f"record {sequence} is not what it was"
            found.append(Differs(place, given, self._finding(kind, text, entry, sequence, _id(payload))))
        if moved:
            found.append(Differs(0, leaves[:32], self._finding(What.REORDERED, moved, entry)))
        if not found:
            where = f"the records {entry.first} to {entry.first + entry.count - 1}"
            text = (
                f"{where} are not where they were, from offset {entry.offset} on: bytes were put in or"
                " taken out"
            )
            found.append(Differs(0, leaves[:32], self._finding(What.EDITED, text, entry)))
        return found

    def _was(self, entry: Entry, payload: bytes, odd: list[tuple[int, bytes]]) -> int | None:
        for place, expected in odd:
            if record_hash(entry.journal, entry.first + place, payload) == expected:
                return entry.first + place
        return None

    def _whole(self, name: str) -> dict[int, list[tuple[int, bytes]]]:
        """Return offset and payload of every good record of a segment by sequence. One segment is kept."""
        if self._index[0] != name:
            index: dict[int, list[tuple[int, bytes]]] = {}
            item: Stored | Damage | None = None
            for item in _stored(self.folder / name, HEADER_SIZE):
                if isinstance(item, Stored):
                    index.setdefault(item.sequence, []).append((item.offset, item.payload))
            if isinstance(item, Damage):
                self._cut.add(name)
            self._index = (name, index)
        return self._index[1]

    def _finding(
        self, kind: What, text: str, entry: Entry, sequence: int | None = None, record: str = ""
    ) -> Finding:
        return Finding(kind, text, f"{entry.journal:016x}", sequence, record, entry.segment)

    # -- the end

    def finish(self) -> None:
        """Look at what no entry is about: segments that are missing, records behind the last checkpoint."""
        listed = names(self.folder)
        for name in listed:
            self._rest(name)
        for segment, gone in sorted(self.missing.items()):
            self._gone(segment, gone)
        if self.report.lost_records or self.report.lost_places:
            self.report.remarks.append(
                f"when the log came by, {self.report.lost_records} records were missing and"
                f" {self.report.lost_places} stretches damaged (a power loss, or somebody who was"
                " faster than the"
                " log): they are in the log as such"
            )

    def _gone(self, segment: str, gone: Missing) -> None:
        if not gone.count:
            return  # it held no record
        said = self.announced.get(segment)
        if said is not None and said[0] <= gone.first and said[1] >= gone.last:
            self.report.retired += gone.count
            return
        journal = f"{gone.journal:016x}"
        if self._copied(gone):
            self.report.remarks.append(
                f"segment {segment} was taken away by somebody; the journal wrote its records again"
            )
            return
        text = f"segment {segment} with the records {gone.first} to {gone.last} is gone"
        if said is not None:
            text += f"; the log's entry that retires it names the records {said[0]} to {said[1]}"
        elif segment in self._claimed:
            text += "; an event names it as retired, and the log itself does not"
        elif segment in self._late:
            text += "; an event that no checkpoint is over yet retires it: verify again after the next one"
        else:
            text += ", and the log does not say that it was retired"
        self.report.found(Finding(What.DELETED, text, journal, gone.first, "", segment))

    def _copied(self, gone: Missing) -> bool:
        """Whether every record of a missing segment is in one that is there, which the log took up later."""
        following = gone.first
        for copy in sorted((a for a in self.again if a.journal == gone.journal), key=lambda a: a.first):
            if copy.first <= following and copy.segment not in self.missing:
                following = max(following, copy.first + copy.number)
        return following > gone.last

    def _rest(self, name: Name) -> None:
        segment = name.path.name
        journal = int(name.journal, 16)
        if segment in self._bad:
            self._strangers(segment, journal)
            return
        if segment in self.ended:
            return
        covered = self.covered.get(segment)
        try:
            found = header(name.path)
            start = HEADER_SIZE if covered is None else covered
            items = list(_counted(name.path, start, self._late_event))
        except FileNotFoundError:
            return
        where = (journal, segment)
        if found is None and covered is not None:
            self._wrong(What.EDITED, "its header is damaged", *where)
        elif found is not None and (found.journal, found.index, found.created) != (
            journal,
            name.index,
            created(name),
        ):
            self._wrong(What.EDITED, "its header is of another segment", *where)
        elif found is not None and found.state not in (OPEN, SEALED) and covered is not None:
            self._wrong(What.EDITED, "its header says that it was never used", *where)
        first, count, damaged = items[0] if items else (0, 0, 0)
        if name.index < self.newest.get(journal, -1):
            if count:
                text = f"{count} records from {first} on are in it, and the log knows that it had none there"
                self._wrong(What.INSERTED, text, *where)
            elif damaged and covered is not None:
                self._wrong(What.EDITED, f"{damaged} bytes behind its last record were changed", *where)
            return
        self.report.behind += count
        self.report.behind_damaged += damaged

    def _late_event(self, payload: bytes) -> None:
        self._retirement(payload, self._late)

    def _strangers(self, segment: str, journal: int) -> None:
        """Name records of a segment that differs which are in it twice, or that the log knows nothing of."""
        following = self.following.get(journal, 1)
        superseded = self.newest.get(journal, 0) > int(segment.rsplit("-", 1)[1].split(".", maxsplit=1)[0])
        for sequence, stored in sorted(self._whole(segment).items()):
            if len(stored) > 1:
                text = f"record {sequence} is {len(stored)} times in it"
                self._wrong(What.INSERTED, text, journal, segment, sequence)
            elif sequence >= following:
                if superseded or segment in self.ended:
                    text = f"record {sequence} is in it, and the log knows that it had none of that number"
                    self._wrong(What.INSERTED, text, journal, segment, sequence)
                else:
                    self.report.behind += 1

    def _wrong(self, kind: What, text: str, journal: int, segment: str, sequence: int | None = None) -> None:
        self.report.found(Finding(kind, text, f"{journal:016x}", sequence, "", segment))

    def _open(self, name: str) -> int | None:
        fd = self._files.pop(name, None)
        if fd is None:
            try:
                fd = descriptor(self.folder / name)
            except FileNotFoundError:
                return None
            while len(self._files) >= OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
        self._files[name] = fd
        return fd


def _stored(path: Path, start: int) -> Iterator[Stored | Damage]:
    try:
        yield from scan(path, start)
    except FileNotFoundError:
        return


def _counted(path: Path, start: int, tell: Any) -> Iterator[tuple[int, int, int]]:
    """Yield one triple for what is in a segment from ``start`` on: the first sequence, records, damaged
    bytes."""
    first = count = damaged = 0
    for item in scan(path, start):
        if isinstance(item, Damage):
            damaged += item.length if item.offset else 0
            continue
        if b"journal.retired" in item.payload:
            tell(item.payload)
        first = first or item.sequence
        count += 1
    yield first, count, damaged


def _id(payload: bytes) -> str:
    """Return the id that a record claims to have, "" if it has none that could be one."""
    try:
        found: Any = orjson.loads(payload)["id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return (
        found
        if isinstance(found, str) and len(found) <= 64 and found.isascii() and found.isprintable()
        else ""
    )

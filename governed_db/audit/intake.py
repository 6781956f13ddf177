"""Taking up into the log what the journals of a folder hold: of living writers, of dead ones, and what is
wrong with it.

Journals are taken in the order in which they began, each segment after the one before it. What the log has
of a segment is one stretch without holes: records, or damage said to be damage. The end of a segment is
taken up once nobody can write to it any more, and with it everything in the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from governed_db.audit.entry import MOST_RECORDS, Entry, Kind, record_hash
from governed_db.audit.frames import digest, header, records, surroundings
from governed_db.audit.layout import HEADER_SIZE, PREPARED, SEALED
from governed_db.audit.log import Log
from governed_db.audit.regular import unbuffered
from governed_db.audit.scan import Damage, Name, alive, begun, created, names, scan

SLICE = 16
"""Records that are hashed, in some 0.1 ms, before other threads get the interpreter's lock: what a
statement's own thread waits for it. Slices of 64 doubled how late one thread in a hundred woke up."""

PAUSE = 100e-6
"""Seconds of rest after a slice. Python hands its lock over only when somebody sleeps, or after 5 ms."""


class Budget:
    """How much may still be done: until when, and how many records; it also makes the pauses.

    Attributes:
        left: records.
    """

    def __init__(
        self, until: float, records: int, *, gently: bool, stop: Callable[[], bool] | None = None
    ) -> None:
        self.until = until
        self.stop = stop
        self.left = records
        self.gently = gently

    @property
    def spent(self) -> bool:
        """Whether it is used up."""
        return self.left <= 0 or time.monotonic() >= self.until or (self.stop is not None and self.stop())

    def pause(self) -> None:
        """Let others run."""
        if self.gently:
            time.sleep(PAUSE)


def take_up(log: Log, budget: Budget) -> bool:
    """Append to the log what the segments hold and it does not; return whether that was all.

    Raises:
        OSError: a segment cannot be read, or the log cannot be written.
    """
    for segments in _writers(log.folder):
        for at, name in enumerate(segments):
            if log.state.segments.get(name.path.name, (0, False))[1]:
                continue
            # Asked first: what is added to this segment while it is read belongs before the next one's.
            more = any(begun(later.path) for later in segments[at + 1 :])
            try:
                complete = _segment(log, name, budget)
            except FileNotFoundError:
                continue  # retired meanwhile; what was not taken up of it is a gap
            if not complete:
                return False
            if not more:
                break
    return True


def _writers(folder: Path) -> list[list[Name]]:
    listed = sorted(names(folder), key=lambda n: (n.journal, n.index))
    found = [list(segments) for _, segments in groupby(listed, key=lambda n: n.journal)]
    return sorted(found, key=lambda segments: segments[0].created)


def _segment(log: Log, name: Name, budget: Budget) -> bool:
    path = name.path
    living = alive(path)  # before anything is read: who dies meanwhile has finished what is found
    found = header(path)
    if (found is not None and found.state == PREPARED) or (found is None and living):
        return True
    place = Place(log, name)
    with unbuffered(path) as file:
        fd = file.fileno()
        if found is None and place.offset <= HEADER_SIZE and not place.seen:
            place.damage(fd, 0, HEADER_SIZE)
        while True:
            if not place.take(fd, budget):
                return False
            if not _step_over(place, fd, living=living):
                break
        if not living and (found is None or found.state == SEALED or not alive(path)):
            place.end(fd)
    return True


class Place:
    """How far one segment is taken up."""

    def __init__(self, log: Log, name: Name) -> None:
        self.log = log
        self.path = name.path
        self.journal = int(name.journal, 16)
        self.index = name.index
        self.created = created(name)
        self.seen = name.path.name in log.state.segments
        self.offset, _ = log.state.segments.get(name.path.name, (HEADER_SIZE, False))

    def take(self, fd: int, budget: Budget) -> bool:
        """Take up records for as long as there are good ones; return whether the budget was enough."""
        size = os.fstat(fd).st_size
        while not budget.spent:
            first, end, hashes = self._run(records(fd, self.offset, size), budget)
            if not hashes:
                return True
            known = self.log.following(self.journal, self.index)
            if first > known:
                self._append(Kind.GAP, first=known, length=first - known)
            self._append(
                Kind.RUN, b"".join(hashes), offset=self.offset, first=first, length=end - self.offset
            )
            self.offset = end
            budget.left -= len(hashes)
            budget.pause()
        return False

    def damage(self, fd: int, offset: int, length: int) -> None:
        """Put bytes that are no records into the log."""
        self._append(Kind.DAMAGE, offset=offset, length=length, data=digest(fd, offset, length))
        self.offset = max(offset + length, HEADER_SIZE)

    def end(self, fd: int) -> None:
        """Put the end of the segment into the log."""
        size, data = surroundings(fd, self.offset)
        following = self.log.following(self.journal, self.index)
        self._append(Kind.END, offset=self.offset, first=following, length=size, data=data)

    def _run(self, stream: Iterator[tuple[int, bytes, int]], budget: Budget) -> tuple[int, int, list[bytes]]:
        """Return the first sequence, where the last record ends, and the hashes of records without a jump."""
        first, end = 0, self.offset
        hashes: list[bytes] = []
        most = min(MOST_RECORDS, budget.left)
        for sequence, payload, following in stream:
            if not hashes:
                first = sequence
            elif sequence != first + len(hashes) or len(hashes) >= most:
                break  # it begins the next run
            hashes.append(record_hash(self.journal, sequence, payload))
            end = following
            if len(hashes) % SLICE == 0:
                budget.pause()
        return first, end, hashes

    def _append(
        self,
        kind: Kind,
        hashes: bytes = b"",
        *,
        offset: int = 0,
        first: int = 0,
        length: int = 0,
        data: bytes = bytes(32),
    ) -> None:
        entry = Entry(
            kind=kind,
            journal=self.journal,
            created=self.created,
            index=self.index,
            offset=offset,
            first=first,
            length=length,
            data=data,
        )
        self.log.append(entry, hashes)


def _step_over(place: Place, fd: int, *, living: bool) -> bool:
    """Put what is no record into the log, up to the next record; return whether there is one."""
    stream = scan(place.path, place.offset)
    item = next(stream, None)
    if isinstance(item, Damage) and item.offset == 0 and item.length and place.offset >= HEADER_SIZE:
        item = next(stream, None)  # of the header, which is in the log
    if item is None:
        return False
    if isinstance(item, Damage):
        following = next(stream, None)
        if following is None and living:
            return False  # how far it goes shows when the writer goes on, or is dead
        if item.length:
            place.damage(fd, item.offset, item.length)
        return following is not None
    if item.offset > place.offset:
        # Frames that are intact and of a type that nobody knows.
        place.damage(fd, place.offset, item.offset - place.offset)
        return True
    # Either it was stored just now, or it is intact and has bytes that no writer writes.
    if next(records(fd, place.offset, os.fstat(fd).st_size), None) is None:
        place.damage(fd, place.offset, item.end - place.offset)
    return True

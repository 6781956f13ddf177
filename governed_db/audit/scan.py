"""Reading one segment, whole or damaged, without ever mapping it: somebody else may be writing or cutting it.

:func:`scan` yields what is there and says what is not. It holds one frame in memory at a time.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from attrs import frozen

from governed_db.audit.layout import (
    FRAME_MAGIC,
    FRAME_SIZE,
    HEADER_SIZE,
    PREPARED,
    RECORD,
    SEAL,
    SEALED,
    Header,
    intact,
    padded,
    unframe,
)
from governed_db.audit.regular import unbuffered

_NAME = re.compile(r"([0-9]{8}T[0-9]{6}\.[0-9]{6}Z)-([0-9a-f]{16})-([0-9]{6,10})\.journal")
_CHUNK = 64 * 1024
_FIRST_READ = 2048
# A length is not to be trusted before its CRC is; no writer makes larger records.
_LARGEST_FRAME = 64 << 20


@frozen
class Name:
    """A segment's file, with what its name alone says."""

    path: Path
    created: str
    journal: str
    index: int


@frozen
class Stored:
    """One record as stored."""

    sequence: int
    payload: bytes
    offset: int

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + padded(len(self.payload))


@frozen
class Damage:
    """Bytes of a segment that are not what was written there."""

    offset: int
    length: int
    because: str


def names(folder: Path) -> list[Name]:
    """Return the segments in ``folder`` in order of creation, journal and index; nothing is opened.

    What is no regular file, or has a name that no header gives, is none.
    """
    with os.scandir(folder) as entries:
        found = ((entry, named(Path(entry.path))) for entry in entries)
        listed = [name for entry, name in found if name is not None and _regular(entry)]
    return sorted(listed, key=lambda n: (n.created, n.journal, n.index))


def named(path: Path) -> Name | None:
    """Return what a path says as the name of a segment, ``None`` where it is none."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    name = Name(path, match[1], match[2], int(match[3]))
    try:
        header = Header(
            journal=int(name.journal, 16), index=name.index, pid=0, first=0, created=created(name), capacity=0
        )
        # The log knows a segment by what its header says: two names for one would be two segments.
        same = header.created >= 0 and header.index < 1 << 32 and header.file_name == path.name
    except ValueError:  # no date
        return None
    return name if same else None


def _regular(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def created(name: Name) -> int:
    """Return a segment's time of creation, in microseconds since the Unix epoch, from its name.

    Raises:
        ValueError: it is no date.
    """
    at = datetime.strptime(name.created, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def alive(path: Path) -> bool:
    """Whether the process that writes this segment still runs (or one that it forked without telling us)."""
    with unbuffered(path) as file:
        return _locked(file)


def begun(path: Path) -> bool:
    """Whether records were ever to be stored in this segment; false for one that is prepared, or gone."""
    try:
        with unbuffered(path) as file:
            header = Header.unpack(file.read(HEADER_SIZE))
    except FileNotFoundError:
        return False
    return header is None or header.state != PREPARED


def scan(path: Path, start: int = HEADER_SIZE) -> Iterator[Stored | Damage]:
    """Yield a segment's records in order, with :class:`Damage` where there should be some and are not.

    ``start`` is where a frame begins (:attr:`Stored.offset`, or :attr:`Stored.end` of the last one read), for
    readers that come back for more.

    A writer that died leaves zeros behind its last record: that is the end, not damage. Nor is the
    unfinished end of a segment that is being written.

    Raises:
        OSError: the file cannot be read.
    """
    with unbuffered(path) as file:
        # Asked before anything is read: a writer that dies meanwhile has finished what we then find.
        living = _locked(file)
        fd = file.fileno()
        end = os.fstat(fd).st_size
        header = Header.unpack(os.pread(fd, HEADER_SIZE, 0))
        if header is not None and header.state == PREPARED:
            return
        if header is None:
            if living:
                return
            yield Damage(0, min(end, HEADER_SIZE), "the header is damaged")
        sealed = header is not None and header.state == SEALED
        offset = start
        while offset < end:
            found = _frame(fd, offset, end)
            if found is None and living:
                if not any(os.pread(fd, 8, offset)):
                    return  # nothing yet
                found = _frame(fd, offset, end)  # stored between the two looks
            if found is None:
                following = _resume(fd, offset + 8, end)
                if following is None:
                    break
                yield Damage(offset, following - offset, "bytes were changed or never reached the disk")
                offset = following
                continue
            stored, kind = found
            if kind == SEAL:
                return
            if kind == RECORD:
                yield stored
            offset += padded(len(stored.payload))
        last = _last_byte(fd, offset, end)
        if last > offset:
            yield Damage(offset, last - offset, "the last record is torn")
        elif sealed or (header is not None and not living and end < header.capacity):
            yield Damage(offset, 0, "the end of the file is missing")


def stored_at(path: Path, offset: int) -> Stored | None:
    """Return the record whose frame begins at ``offset``; ``None`` where there is none, or no such file.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with unbuffered(path) as file:
            found = _frame(file.fileno(), offset, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        return None
    return found[0] if found is not None and found[1] == RECORD else None


def _frame(fd: int, offset: int, end: int) -> tuple[Stored, int] | None:
    # Most records fit into the first read. Never buffered: a buffer filled while a record was being
    # stored would show it half done for ever.
    data = os.pread(fd, _FIRST_READ, offset)
    parts = unframe(data)
    if parts is None:
        return None
    length, kind, sequence, crc = parts
    if length > min(end - offset - FRAME_SIZE, _LARGEST_FRAME):
        return None
    while len(data) < FRAME_SIZE + length:
        more = os.pread(fd, FRAME_SIZE + length - len(data), offset + len(data))
        if not more:
            return None
        data += more
    payload = data[FRAME_SIZE : FRAME_SIZE + length]
    return (Stored(sequence, payload, offset), kind) if intact(data, payload, crc) else None


def _resume(fd: int, offset: int, end: int) -> int | None:
    """Return where the next good frame starts, ``None`` if there is none."""
    while offset < end:
        # The overlap: a frame's first 8 bytes may lie across the border of two chunks.
        chunk = os.pread(fd, _CHUNK + 8, offset)
        if len(chunk) < FRAME_SIZE:
            return None
        at = chunk.find(FRAME_MAGIC)
        while at >= 0:
            if (offset + at) % 8 == 0 and _frame(fd, offset + at, end) is not None:
                return offset + at
            at = chunk.find(FRAME_MAGIC, at + 1)
        offset += _CHUNK
    return None


def _last_byte(fd: int, offset: int, end: int) -> int:
    """Return the offset behind the last byte from ``offset`` that is not zero; ``offset`` if all are."""
    last = offset
    while offset < end and (chunk := os.pread(fd, _CHUNK, offset)):
        stripped = chunk.rstrip(b"\0")
        if stripped:
            last = offset + len(stripped)
        offset += len(chunk)
    return last


def _locked(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False

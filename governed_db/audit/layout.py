"""The bytes of one file of the journal, a segment.

Layout (format version 1; integers are little-endian and unsigned; times are microseconds since the Unix
epoch, UTC). A segment is a header of 256 bytes, then frames back to back, then zeros::

    offset  size  header
         0     8  magic: "GDBJRNL" and the format version, one byte, 1
         8     4  state: 0 prepared, 1 open, 2 sealed. A prepared segment has no frames and its header
                  is written once more when it is opened; after that only these bytes change
        12     4  CRC-32 of bytes 0 to 8 and 16 to 256
        16     8  journal: random, the same for all segments of one writer
        24     4  index: 0 for the journal's first segment, then 1, 2, ...
        28     4  pid of the writer, for people to read
        32     8  sequence of the first frame; 0 while prepared
        40     8  time of creation
        48     8  bytes preallocated
        56   200  zeros, reserved

    offset  size  frame, starting at a multiple of 8
         0     4  magic: ff 47 44 52. The byte ff is in no UTF-8 text, so no record can hold it
         4     4  CRC-32 of the payload followed by bytes 8 to 24 of the frame
         8     4  length of the payload
        12     2  type: 1 record (the payload is a JSON object), 2 seal
        14     2  zeros, reserved
        16     8  sequence: 1 for the journal's first record, one more for each after it, across segments
        24     n  payload
      24+n   0-7  zeros, to a multiple of 8

A seal is the last frame of a segment that was closed in good order. Its sequence is the one that the next
record gets; its payload is the sequence of the segment's first record (8 bytes), the number of its records
(8), the offset of the seal (8), the time of sealing (8) and 32 zeros, reserved. The file ends with it.
Readers skip frames of a type that they do not know.

How a store becomes a record. The frames of one append are built in private memory and stored in two
steps: everything but the first 8 bytes, then those. They read as zeros until the second step, so a process
that is killed at any instruction leaves a clean end, never half an append. The kernel owns the pages:
SIGKILL does not take them back. Power loss can: pages reach the disk in any order, and a frame that was
only partly written fails its CRC, with good frames possibly after it; sequences tell how many are missing.

Who writes: the process that holds a ``flock`` on the file. The kernel drops the lock when the writer
dies, however it dies, which is how readers tell a dead writer's segment from a living one's. A segment is
made under a name that readers ignore, locked, then renamed: nobody sees one without lock and header.
An open segment has the size that its header says; a smaller one was cut.

The name is ``<creation time>-<journal>-<index>.journal``, e.g.
``20260131T120000.000000Z-00ff00ff00ff00ff-000000.journal``: names sort by time.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from struct import Struct
from typing import Self

from attrs import frozen

FORMAT = 1
MAGIC = b"GDBJRNL" + bytes([FORMAT])
FRAME_MAGIC = b"\xffGDR"
SUFFIX = ".journal"
HEADER_SIZE = 256
FRAME_SIZE = 24
RECORD, SEAL = 1, 2
PREPARED, OPEN, SEALED = 0, 1, 2

STATE = Struct("<I")
STATE_AT = 8
_HEADER = Struct("<8sIIQIIQQQ")
_STATE_AND_CRC = Struct("<II")
_START = Struct("<4sI")
_REST = Struct("<IHHQ")
_SEAL = Struct("<QQQQ32x")
SEAL_SIZE = FRAME_SIZE + _SEAL.size

_PADDING = tuple(bytes(n) for n in range(8))


@frozen(kw_only=True)
class Header:
    """A segment's header, as values."""

    journal: int
    index: int
    pid: int
    first: int
    created: int
    capacity: int
    state: int = PREPARED

    @property
    def file_name(self) -> str:
        """The name that a segment with this header has."""
        seconds, rest = divmod(self.created, 1_000_000)
        at = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S")
        return f"{at}.{rest:06d}Z-{self.journal:016x}-{self.index:06d}{SUFFIX}"

    def pack(self) -> bytes:
        """Return the 256 bytes."""
        body = _HEADER.pack(
            MAGIC, 0, 0, self.journal, self.index, self.pid, self.first, self.created, self.capacity
        ).ljust(HEADER_SIZE, b"\0")
        crc = zlib.crc32(body[16:], zlib.crc32(MAGIC))
        return MAGIC + _STATE_AND_CRC.pack(self.state, crc) + body[16:]

    @classmethod
    def unpack(cls, data: bytes) -> Self | None:
        """Read 256 bytes; ``None`` if they are no header of this format, or a damaged one."""
        if len(data) < HEADER_SIZE or data[:8] != MAGIC:
            return None
        _, state, crc, journal, index, pid, first, created, capacity = _HEADER.unpack_from(data)
        if zlib.crc32(data[16:HEADER_SIZE], zlib.crc32(MAGIC)) != crc:
            return None
        return cls(
            journal=journal,
            index=index,
            pid=pid,
            first=first,
            created=created,
            capacity=capacity,
            state=state,
        )


def frame(payload: bytes, sequence: int, kind: int = RECORD) -> bytes:
    """Return one frame, padded."""
    rest = _REST.pack(len(payload), kind, 0, sequence)
    crc = zlib.crc32(rest, zlib.crc32(payload))
    return b"".join((_START.pack(FRAME_MAGIC, crc), rest, payload, _PADDING[-len(payload) % 8]))


def unframe(head: bytes) -> tuple[int, int, int, int] | None:
    """Read a frame's first 24 bytes: (length, type, sequence, CRC), or ``None`` if no frame starts there."""
    if len(head) < FRAME_SIZE or head[:4] != FRAME_MAGIC:
        return None
    _, crc = _START.unpack_from(head)
    length, kind, _, sequence = _REST.unpack_from(head, 8)
    return length, kind, sequence, crc


def intact(head: bytes, payload: bytes, crc: int) -> bool:
    """Whether a frame's CRC holds."""
    return zlib.crc32(head[8:FRAME_SIZE], zlib.crc32(payload)) == crc


def padded(length: int) -> int:
    """Return how many bytes a frame with a payload of that length takes."""
    return FRAME_SIZE + length + -length % 8


def seal(first: int, following: int, offset: int, now: int) -> bytes:
    """Return the seal of a segment that holds the records from ``first`` to before ``following``."""
    return frame(_SEAL.pack(first, following - first, offset, now), following, SEAL)

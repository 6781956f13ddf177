"""The bytes of a log's entries: what was taken up from which segment, in which order.

A log is a sequence of entries. Each is a leaf of the tree itself; one that takes up records is followed by
a leaf for each of them, so everything that the log says is under its root. The data of a leaf::

    record   01, journal (8 bytes), sequence (8), the payload as it is stored in the segment
    entry    02, the entry's 112 bytes

An entry (little-endian, unsigned; times in microseconds since the Unix epoch)::

    offset  size  field
         0     1  format, 1
         1     1  kind, see below
         2     2  zeros
         4     4  count: leaves of records that follow
         8     8  at: the index of the entry's own leaf
        16     8  journal
        24     8  created: the segment's time of creation; with journal and index it gives the file's name
        32     4  index of the segment
        36     4  CRC-32 of the hashes of the leaves that follow
        40     8  offset in the segment
        48     8  first: a sequence
        56     8  length
        64     8  when it was taken up
        72    32  data
       104     4  zeros
       108     4  CRC-32 of bytes 0 to 108

Kinds; what is not named is 0:

1. key: ``data`` is the public key that signs from here on. The first entry of a log.
2. run: ``count`` records, numbered from ``first``, are in the segment from ``offset`` on in ``length`` bytes.
3. damage: ``length`` bytes at ``offset`` were no record when the log came by; ``data`` is their SHA-256. A
repair would show.
4. gap: ``length`` records of the journal from ``first`` on were nowhere when the log came by.
5. end: the segment is complete. Its records end at ``offset``; the file has ``length`` bytes; ``data`` is
the SHA-256 of its header and of what
   is behind ``offset``, without zeros at the end; ``first`` is the sequence that comes next.
6. retired: the segment goes under retention, with ``length`` records from ``first`` on.
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from hashlib import sha256
from struct import Struct
from typing import Self

from attrs import evolve, frozen

from governed_db.audit.layout import Header

FORMAT = 1
ENTRY_SIZE = 112

MOST_RECORDS = 512
"""Records of one run: their hashes are held in memory and go into the tree at once, which takes 0.3 ms of
Python's lock. Larger runs would save entries, of which one has the size of three leaves and a half."""

LATEST = 253_402_300_799_999_999
"""The last microsecond of the year 9999: a segment's name has four digits for the year."""

_LARGEST = (1 << 63) - 1  # the largest offset that a file can have, and more records than anybody can store
_ENTRY = Struct("<BBHIQQQIIQQQQ32sI")
_CRC = Struct("<I")
_RECORD = Struct("<BQQ")
RECORD_LEAF, ENTRY_LEAF = 1, 2


class Kind(IntEnum):
    """What an entry says."""

    KEY = 1
    RUN = 2
    DAMAGE = 3
    GAP = 4
    END = 5
    RETIRED = 6


@frozen(kw_only=True)
class Entry:
    """One entry, as values; the module says what they mean."""

    kind: Kind
    at: int = 0
    count: int = 0
    journal: int = 0
    created: int = 0
    index: int = 0
    hashes_crc: int = 0
    offset: int = 0
    first: int = 0
    length: int = 0
    when: int = 0
    data: bytes = bytes(32)

    @property
    def segment(self) -> str:
        """The name of the segment's file."""
        return Header(
            journal=self.journal, index=self.index, pid=0, first=0, created=self.created, capacity=0
        ).file_name

    @property
    def end(self) -> int:
        """The index of the leaf behind this entry's."""
        return self.at + 1 + self.count

    def pack(self) -> bytes:
        """Return the 112 bytes."""
        body = _ENTRY.pack(
            FORMAT,
            self.kind,
            0,
            self.count,
            self.at,
            self.journal,
            self.created,
            self.index,
            self.hashes_crc,
            self.offset,
            self.first,
            self.length,
            self.when,
            self.data,
            0,
        )
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def unpack(cls, packed: bytes) -> Self | None:
        """Read 112 bytes; ``None`` if they are no entry of this format, or a damaged one."""
        if len(packed) != ENTRY_SIZE or _CRC.unpack_from(packed, ENTRY_SIZE - 4)[0] != zlib.crc32(
            packed[:-4]
        ):
            return None
        form, kind, _, count, at, journal, created, index, crc, *rest = _ENTRY.unpack_from(packed)
        offset, first, length, when, data, _ = rest
        if form != FORMAT or kind not in Kind._value2member_map_ or created > LATEST:
            return None
        if max(offset, first, length) > _LARGEST or offset + length > _LARGEST or first + length > _LARGEST:
            return None
        entry = cls(
            kind=Kind(kind),
            at=at,
            count=count,
            journal=journal,
            created=created,
            index=index,
            hashes_crc=crc,
            offset=offset,
            first=first,
            length=length,
            when=when,
            data=data,
        )
        # What the fields do not hold, the two places for zeros, is not there.
        return entry if entry.pack() == packed else None

    def placed(self, at: int, hashes: bytes, when: int) -> Self:
        """Return the entry with its place in the log and the hashes of the leaves that follow it."""
        return evolve(self, at=at, count=len(hashes) // 32, hashes_crc=zlib.crc32(hashes), when=when)


def record_prefix(journal: int, sequence: int) -> bytes:
    """Return what stands before the payload in the data of a record's leaf."""
    return _RECORD.pack(RECORD_LEAF, journal, sequence)


def record_of(leaf: bytes) -> tuple[int, int, bytes] | None:
    """Read the data of a record's leaf: journal, sequence, payload; ``None`` if it is another's."""
    if len(leaf) <= _RECORD.size or leaf[0] != RECORD_LEAF:
        return None
    _, journal, sequence = _RECORD.unpack_from(leaf)
    return journal, sequence, leaf[_RECORD.size :]


def record_hash(journal: int, sequence: int, payload: bytes) -> bytes:
    """Return the hash of a record's leaf."""
    return sha256(b"\0" + _RECORD.pack(RECORD_LEAF, journal, sequence) + payload).digest()


def entry_hash(packed: bytes) -> bytes:
    """Return the hash of an entry's leaf."""
    return sha256(bytes([0, ENTRY_LEAF]) + packed).digest()

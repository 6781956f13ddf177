"""Reading the frames of a segment in large pieces, for those who hash them.

:func:`records` stops at whatever is no record; :func:`governed_db.audit.scan.scan` says what that is. A
piece that was read while a record was being stored ends before that record: it is read again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from struct import Struct

from governed_db.audit.layout import (
    FRAME_MAGIC,
    FRAME_SIZE,
    HEADER_SIZE,
    RECORD,
    Header,
)
from governed_db.audit.regular import unbuffered

PIECE = 256 << 10
"""Bytes that are read at once: a quarter of a first segment, and no more than the largest record."""

_HEAD = Struct("<4sIIHHQ")
_LARGEST = 64 << 20  # as in scan: no length is believed that no writer makes


def records(fd: int, offset: int, end: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield (sequence, payload, offset of the next frame) for the intact records from ``offset`` on.

    Ends at the first frame that is none, or has bytes that no writer writes, or would go beyond ``end``.
    """
    data, at = b"", 0
    unpack, crc32 = _HEAD.unpack_from, zlib.crc32
    while True:
        left = len(data) - at
        if left < FRAME_SIZE:
            data, at = _more(fd, data, at, offset, end, FRAME_SIZE), 0
            if len(data) < FRAME_SIZE:
                return
        magic, crc, length, kind, zeros, sequence = unpack(data, at)
        if magic != FRAME_MAGIC or kind != RECORD or zeros or length > _LARGEST:
            return
        size = FRAME_SIZE + length + -length % 8
        if offset + size > end:
            return
        if len(data) - at < size:
            data, at = _more(fd, data, at, offset, end, size), 0
            if len(data) < size:
                return
        payload = data[at + FRAME_SIZE : at + FRAME_SIZE + length]
        if crc32(data[at + 8 : at + FRAME_SIZE], crc32(payload)) != crc:
            return
        if any(data[at + FRAME_SIZE + length : at + size]):
            return
        at += size
        offset += size
        yield sequence, payload, offset


def header(path: Path) -> Header | None:
    """Return the header of a segment; ``None`` if it is damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with unbuffered(path) as file:
        return Header.unpack(file.read(HEADER_SIZE))


def digest(fd: int, offset: int, length: int) -> bytes:
    """Return the SHA-256 of some bytes of a file, as many of them as there are."""
    hashed = sha256()
    for piece in _pieces(fd, offset, offset + length):
        hashed.update(piece)
    return hashed.digest()


def surroundings(fd: int, offset: int) -> tuple[int, bytes]:
    """Return a segment's size, and the SHA-256 of its header and of what is behind ``offset``.

    Zeros at the end do not count: a sealed segment has none, and one whose writer died any number.
    """
    size = os.fstat(fd).st_size
    hashed = sha256(os.pread(fd, HEADER_SIZE, 0))
    zeros = 0
    for piece in _pieces(fd, offset, size):
        kept = piece.rstrip(b"\0")
        if kept:
            hashed.update(bytes(zeros))
            hashed.update(kept)
            zeros = 0
        zeros += len(piece) - len(kept)
    return size, hashed.digest()


def _pieces(fd: int, offset: int, end: int) -> Iterator[bytes]:
    while offset < end and (piece := os.pread(fd, min(PIECE, end - offset), offset)):
        yield piece
        offset += len(piece)


def _more(fd: int, data: bytes, at: int, offset: int, end: int, wanted: int) -> bytes:
    """Return what is at ``offset``: what is left of ``data`` from ``at`` on, and a piece behind it."""
    left = data[at:]
    while len(left) < wanted:
        room = min(max(PIECE, wanted), end - offset) - len(left)
        piece = os.pread(fd, room, offset + len(left)) if room > 0 else b""
        if not piece:
            break
        left += piece
    return left

"""One segment while this process writes it: made, mapped, stored to, watched, sealed.

The file is preallocated: a store into a hole of a sparse mapping, on a full disk, is SIGBUS and the end
of the process. ``posix_fallocate`` reports the full disk as an error instead, before anything depends on
the space. (A file system that writes every page to a new place, such as ZFS, cannot promise that.)
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
import time
from pathlib import Path

from attrs import evolve

from governed_db.audit.layout import (
    HEADER_SIZE,
    MAGIC,
    OPEN,
    PREPARED,
    SEAL_SIZE,
    SEALED,
    STATE,
    STATE_AT,
    Header,
    seal,
)

# MADV_POPULATE_WRITE of Linux 5.14: make the pages present and writable now, in the thread that prepares
# the segment, instead of one fault for each page in the threads that append.
_POPULATE_WRITE = 23
_PIECE = 256 * 1024


class Tampered(Exception):  # noqa: N818 - it is caught next to where it is raised, and is no error of the caller's
    """The file under the mapping is not the one that was written to.

    ``whole``: whether the mapping still holds every record.
    """

    def __init__(self, reason: str, *, whole: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.whole = whole


class Segment:
    """A segment that this process writes. Not thread-safe: the journal's lock is around every call."""

    def __init__(self, folder: Path, header: Header) -> None:
        """Create, preallocate, lock and map the file of a prepared segment.

        Raises:
            OSError: any of it cannot be done; no file is left behind.
        """
        self.header = header
        self.path = folder / header.file_name
        self.used = HEADER_SIZE
        self.next = 0
        self.failed = ""  # what the device said when it was to be written back
        # Room for the seal is kept back: a full segment can always be closed.
        self.limit = header.capacity - SEAL_SIZE
        self._last_start = b""
        self._last_at = 0
        making = folder / f".{header.file_name}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self.fd = os.open(making, flags, 0o600)
        try:
            _allocate(self.fd, header.capacity)
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.map = mmap.mmap(self.fd, header.capacity)
            _populate(self.map)
            self.map[:HEADER_SIZE] = header.pack()
            self._inode = os.fstat(self.fd).st_ino
            os.rename(making, self.path)
        except BaseException:
            self.release()
            with contextlib.suppress(OSError):
                os.unlink(making)
            raise

    def begin(self, first: int) -> None:
        """Open a prepared segment: memory stores alone, so that whoever appends can afford it."""
        self.header = evolve(self.header, first=first, state=PREPARED)
        self.map[:HEADER_SIZE] = self.header.pack()
        # The state last: until then readers take the rest for what a prepared segment holds, nothing.
        self.map[STATE_AT : STATE_AT + 4] = STATE.pack(OPEN)
        self.next = first

    def fits(self, size: int) -> bool:
        """Whether frames of ``size`` bytes together still have room."""
        return self.used + size <= self.limit

    def store(self, frames: bytes, count: int) -> None:
        """Store ``count`` frames, all or none. The caller has asked :meth:`fits`."""
        start = self.used
        end = start + len(frames)
        try:
            self.map[start + 8 : end] = frames[8:]
            self.map[start : start + 8] = frames[:8]
        except BaseException:
            # An interrupt between the two stores: what was never acknowledged must not come back when
            # a shorter append takes its place.
            self.map[start:end] = bytes(end - start)
            raise
        self.used = end
        self.next += count
        self._last_at = start
        self._last_start = frames[:8]

    def check(self) -> None:
        """Look whether the file is still ours and whole.

        Raises:
            Tampered: it is not.
        """
        if self.failed:
            raise Tampered(self.failed, whole=True)
        held = os.fstat(self.fd)
        if held.st_size < self.header.capacity:
            # Nothing may touch the mapping behind the new end: that is SIGBUS.
            raise Tampered("truncated", whole=held.st_size >= self.used)
        if self.map[: len(MAGIC)] != MAGIC or (
            self._last_start and self.map[self._last_at : self._last_at + 8] != self._last_start
        ):
            raise Tampered("overwritten", whole=False)
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            raise Tampered("deleted" if held.st_nlink == 0 else "moved", whole=True) from None
        if named.st_ino != self._inode:
            raise Tampered("replaced", whole=True)

    def copy_from(self, other: Segment) -> None:
        """Take over every record of ``other``, whose mapping is whole. Both have the same first sequence."""
        # Not one byte more: a truncated file may end at ``used``, and a page behind its end is SIGBUS.
        self.map[HEADER_SIZE : other.used] = other.map[HEADER_SIZE : other.used]
        self.used, self.next = other.used, other.next
        self._last_at, self._last_start = other._last_at, other._last_start

    def seal(self) -> None:
        """Write the seal, cut the file to what is used, bring it to the disk and close it.

        Raises:
            OSError: the disk failed; the records are as safe as they were before.
        """
        data = seal(self.header.first, self.next, self.used, time.time_ns() // 1000)
        end = self.used + len(data)
        try:
            if os.fstat(self.fd).st_size >= end:
                self.map[self.used + 8 : end] = data[8:]
                self.map[self.used : self.used + 8] = data[:8]
                self.map[STATE_AT : STATE_AT + 4] = STATE.pack(SEALED)
                os.ftruncate(self.fd, end)
                os.fsync(self.fd)
        finally:
            self.release()

    def release(self) -> None:
        """Let go of the file without writing to it, and of its lock. May be called again."""
        if hasattr(self, "map"):
            self.map.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        # A journal that is dropped without close() must not look alive for as long as the process.
        if hasattr(self, "fd"):
            self.release()

    def discard(self) -> None:
        """Delete a segment that was prepared and never used."""
        self.release()
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def _allocate(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    # macOS has no posix_fallocate; written zeros are allocated blocks as well.
    block = bytes(64 * 1024)
    for offset in range(0, size, len(block)):
        os.pwrite(fd, block[: size - offset], offset)


def _populate(mapping: mmap.mmap) -> None:
    # In pieces: madvise holds the interpreter's lock, and 16 MiB at once would stop every thread for
    # milliseconds. Kernels without it fault page by page as the records come.
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        for offset in range(0, len(mapping), _PIECE):
            mapping.madvise(_POPULATE_WRITE, offset, min(_PIECE, len(mapping) - offset))

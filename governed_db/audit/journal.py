"""The journal: records on file before a statement is sent, at the price of a memory store.

:meth:`Journal.append` returns once its records lie in pages that the kernel owns. From then on they
survive the process: ``kill -9``, SIGTERM, ``os._exit``, an exhausted heap. They are not promised to
survive the machine before the kernel has written them back. :mod:`governed_db.audit.layout` has the bytes.

- *Threads, asyncio.* One lock, held for a few microseconds. The next segment is made by a helper thread
  when the current one is half full; only a burst that outruns the helper waits for a file.
- *fork.* A child never writes to its parent's segment: it lets go of it at once and opens its own with its
  first append. (``exec`` closes it anyway.) A fork waits for the helper thread.
- *Finalizers and signal handlers* may append in the middle of an append of the same thread; their
  records go to a small journal of their own beside this one. Readers merge them.
- *Power loss.* ``durability="disk"`` brings a record to the disk before :meth:`Journal.append` returns where
  the caller asks for it, "group" every record within :data:`governed_db.audit.commit.WINDOW` seconds.
- *Watching.* Once per ``watch_interval`` seconds (default 1: that is the window; a look costs some
  microseconds) an append looks whether its file is still there, whole and in place. A deleted, moved or
  replaced file is written again from the mapping, nothing lost, and an event tells. A file that was
  truncated or overwritten has lost records: an event names their range and one append raises. Whoever
  may truncate the file can, within the window, also end the process: a store behind the end of a mapped
  file is SIGBUS.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import platform
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import psycopg

from governed_db.audit import record
from governed_db.audit.commit import WINDOW, Committer, Durability, folder_to_disk, to_disk
from governed_db.audit.folder import settle, unavailable
from governed_db.audit.layout import HEADER_SIZE, SEAL_SIZE, frame, padded
from governed_db.audit.record import Record, RecordKind
from governed_db.audit.segment import Segment, Tampered
from governed_db.audit.shorten import shorten
from governed_db.audit.supply import Supply
from governed_db.errors import AuditUnavailable

FIRST_SEGMENT = 1 << 20
"""Bytes of a journal's first segment: some 800 statements. Small, since most processes are short, and each
leaves at most this much unused when it is killed; preallocating it takes well under a millisecond."""

LARGEST_SEGMENT = 16 << 20
"""Bytes that segments grow to, each four times the one before. Larger ones make sealing, recovery and
the space that a crash leaves unused dearer, and save nothing: 16 MiB are over 10,000 statements."""

MAX_RECORD = 256 << 10
"""Bytes above which a record is shortened: a quarter of the first segment, so that an intent, its
outcome and an event always fit together. Normalised texts are bounded well below."""

WATCH_INTERVAL = 1.0
"""Seconds between two looks at the file: the window in which its deletion goes unnoticed."""

_NESTED_SEGMENT = 64 << 10

_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


class Journal:
    """The writer of one process. Make one with :meth:`open`; many connections share it.

    Attributes:
        folder: where its segments are.
        lost: records that could not be stored under ``on_failure="continue"``.
        sequence: the sequence number of the last record.
    """

    id: int
    sequence: int
    lost: int
    _failures: int
    _told: int
    _lock: threading.Lock
    _owner: int
    _segment: Segment | None
    _supply: Supply
    _nested: Journal | None
    _next_look: float
    _committer: Committer

    on_begin: Callable[[], None] | None = None
    """Called when this process, or one forked from it, begins to write."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int,
        on_failure: Literal["refuse", "continue"],
        max_record_bytes: int,
        watch_interval: float,
        durability: Durability,
        window: float,
        parent: str = "",
    ) -> None:
        self.folder = folder
        self.on_failure = on_failure
        self.durability = durability
        self.max_record_bytes = min(max_record_bytes, segment_bytes // 4)
        self.watch_interval = watch_interval
        self._segment_bytes = segment_bytes
        self._window = window
        self._parent = parent
        self._renew()
        _journals.add(self)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        segment_bytes: int = FIRST_SEGMENT,
        on_failure: Literal["refuse", "continue"] = "refuse",
        max_record_bytes: int = MAX_RECORD,
        watch_interval: float = WATCH_INTERVAL,
        durability: Durability = "process",
        window: float = WINDOW,
    ) -> Self:
        """Open a journal in ``folder``, made with mode 0700 if it is not there, and write a start record.

        Args:
            folder: shared with the journals of other processes; on a local file system.
            segment_bytes: the size of the first segment, at least 16 KiB; later ones grow to 16 MiB.
            on_failure: "refuse" raises when a record cannot be stored; "continue" counts it in
                ``lost``, returns 0, and puts the number on record as soon as that works again.
            max_record_bytes: larger records are shortened; at most a quarter of the first segment.
            watch_interval: seconds between two looks at the file.
            durability: "process" leaves records to the kernel; "group" has each on the disk within
                ``window`` seconds; "disk" has it there before an append with ``durable`` returns.
            window: seconds, for "group" and for what nobody waits for.

        Raises:
            AuditUnavailable: under "refuse", no segment can be made; under both, the folder is not safe.
            ValueError: a size that no segment or record can have.
        """
        if segment_bytes < 16 << 10 or max_record_bytes < 1024:
            raise ValueError("a segment has at least 16 KiB, and a record may have at least 1 KiB")
        if on_failure not in ("refuse", "continue"):
            raise ValueError(f"on_failure is 'refuse' or 'continue', not {on_failure!r}")
        if durability not in ("process", "group", "disk"):
            raise ValueError(f"durability is 'process', 'group' or 'disk', not {durability!r}")
        journal = cls(
            Path(folder).absolute(),
            segment_bytes=segment_bytes,
            on_failure=on_failure,
            max_record_bytes=max_record_bytes,
            watch_interval=watch_interval,
            durability=durability,
            window=window,
        )
        journal.append()
        return journal

    def append(self, *payloads: bytes, durable: bool = True) -> int:
        """Store records, all of them or none, in one piece; return the sequence number of the first.

        Each payload is a record as :mod:`governed_db.audit.record` encodes it. ``durable``: whether to wait,
        under the durability "disk", until they are there.

        Raises:
            AuditUnavailable: they are not stored, or not known to be on the disk. Not under "continue", which
                returns 0.
        """
        me = threading.get_ident()
        if self._owner == me:
            return self._beside().append(*payloads, durable=durable)
        with self._lock:
            # First of all, and without a call: what runs in between and appends would wait for itself.
            self._owner = me
            try:
                first = self._append(payloads)
            except (OSError, Tampered) as error:
                return self._failed(error, len(payloads))
            finally:
                self._owner = 0
        if self.durability != "process":
            self._commit(wait=durable and self.durability == "disk")
        return first

    def close(self) -> None:
        """Write a stop record, seal the segment and bring it to the disk. A later append opens a new one.

        Never raises for the disk's sake: what was appended is as safe as it was.
        """
        me = threading.get_ident()
        if self._owner == me:
            return  # by a finalizer in the middle of an append; the end of the process closes it
        nested = self._nested
        if nested is not None:
            nested.close()
        with self._lock:
            self._owner = me
            try:
                if self._segment is not None:
                    self._next_look = 0.0
                    self._append((self._life(RecordKind.STOP),))
            except (OSError, Tampered):
                self._failures += 1
            finally:
                segment, self._segment = self._segment, None
                self._supply.close(segment)
                self._owner = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def failures(self) -> int:
        """How often something could not be done; sealing and preparing count, though nobody is refused."""
        return self._failures + self._supply.failures

    def __repr__(self) -> str:
        return f"<Journal {self.id:016x} in {self.folder}, {self.sequence} records>"

    # -- the disk ------------------------------------------------------------------------------------

    def _commit(self, *, wait: bool) -> None:
        if not wait:
            self._committer.soon()
            return
        try:
            self._committer.now(self.sequence)
        except OSError as error:
            self.not_on_disk(error)
            if self.on_failure == "refuse":
                raise unavailable(self.folder, error) from error

    def pin(self) -> tuple[int, int] | None:
        """Return what is to be brought to the disk: for :class:`~governed_db.audit.commit.Committer`."""
        me = threading.get_ident()
        with self._lock:
            self._owner = me
            try:
                # A descriptor of its own: a segment that is full is closed while the commit still runs.
                return None if self._segment is None else (os.dup(self._segment.fd), self.sequence)
            finally:
                self._owner = 0

    def not_on_disk(self, error: OSError) -> None:
        """Go on in another segment with the next record: for :class:`~governed_db.audit.commit.Committer`.

        A kernel that failed once to write a page calls it clean the next time.
        """
        self._failures += 1
        segment = self._segment
        if segment is not None:
            segment.failed = os.strerror(error.errno or errno.EIO)
            self._next_look = 0.0

    # -- under the lock ------------------------------------------------------------------------------

    def _append(self, payloads: tuple[bytes, ...]) -> int:
        segment = self._segment
        if segment is None:
            segment = self._begin()
        elif (now := time.monotonic()) >= self._next_look:
            segment = self._look(segment, now)
        if self.lost > self._told:
            return self._tell_gap(payloads)
        limit = self.max_record_bytes
        size = 0
        for payload in payloads:
            if len(payload) > limit:
                return self._append(tuple(p if len(p) <= limit else shorten(p, limit) for p in payloads))
            size += padded(len(payload))
        if not segment.fits(size):
            segment = self._rotate(segment, size)
        first = segment.next
        if len(payloads) == 1:
            segment.store(frame(payloads[0], first), 1)
        elif payloads:
            segment.store(b"".join([frame(p, first + i) for i, p in enumerate(payloads)]), len(payloads))
        self.sequence = segment.next - 1
        if segment.used > segment.limit >> 1 and not self._supply.asked:
            self._supply.prepare(self._grown(segment))
        return first

    def _begin(self) -> Segment:
        """Open the first segment: of a process, of a forked child, after a close or a failure."""
        settle(self.folder)
        segment = self._supply.make(self._segment_bytes)
        if self.durability != "process":
            folder_to_disk(self.folder.parent)
        self._name_to_disk()
        segment.begin(self.sequence + 1)
        segment.store(frame(self._life(RecordKind.START), segment.next), 1)
        self._segment = segment
        self.sequence = segment.next - 1
        self._next_look = time.monotonic() + self.watch_interval
        if self.on_begin is not None:
            self.on_begin()
        return segment

    def _look(self, segment: Segment, now: float) -> Segment:
        self._next_look = 0.0  # until all is well, every append looks again
        try:
            segment.check()
        except Tampered as tampered:
            segment = self._recover(segment, tampered)
            if not tampered.whole and self.on_failure == "refuse":
                raise
        self._next_look = now + self.watch_interval
        return segment

    def _recover(self, segment: Segment, tampered: Tampered) -> Segment:
        """Go on in a new segment; take along what the old mapping still holds.

        Raises:
            OSError: no segment can be made. The old one is kept, to be taken along once that works.
        """
        details: dict[str, Any] = {"segment": segment.path.name, "how": tampered.reason}
        # A spare was numbered before the new segment, and would be used after it.
        self._supply.discard()
        # 4 KiB more than the old one: what it held and the event always fit.
        fresh = self._supply.make(segment.header.capacity + 4096)
        self._name_to_disk()
        if tampered.whole:
            fresh.begin(segment.header.first)
            fresh.copy_from(segment)
        else:
            fresh.begin(segment.next)
            details["lost"] = {"first": segment.header.first, "last": segment.next - 1}
        fresh.store(frame(record.event("journal.tampered", **details), fresh.next), 1)
        self._segment = fresh
        self.sequence = fresh.next - 1
        segment.release()
        return fresh

    def _rotate(self, full: Segment, size: int) -> Segment:
        segment = self._supply.take(size)
        if segment is None:
            segment = self._supply.make(max(self._grown(full), size + HEADER_SIZE + SEAL_SIZE))
        if self.durability != "process":
            # A commit looks at the segment in use alone.
            to_disk(full.fd)
        self._name_to_disk()
        segment.begin(full.next)
        self._segment = segment
        self._next_look = 0.0  # a spare may have been deleted while it waited
        self._supply.retire(full)
        return segment

    def _name_to_disk(self) -> None:
        if self.durability != "process":
            folder_to_disk(self.folder)

    def _tell_gap(self, payloads: tuple[bytes, ...]) -> int:
        told, self._told = self._told, self.lost
        try:
            return self._append((record.event("journal.gap", lost=self.lost - told), *payloads)) + 1
        except BaseException:
            self._told = told
            raise

    def _failed(self, error: Exception, count: int) -> int:
        self._failures += 1
        if self.on_failure == "refuse":
            raise unavailable(self.folder, error) from error
        self.lost += count
        return 0

    def _grown(self, segment: Segment) -> int:
        return max(self._segment_bytes, min(segment.header.capacity * 4, LARGEST_SEGMENT))

    # -- lives ---------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Start as a writer with a name of its own."""
        self.id = int.from_bytes(os.urandom(8))
        self.sequence = 0
        self.lost = 0
        self._failures = 0
        self._told = 0
        self._lock = threading.Lock()
        self._owner = 0
        self._segment = None
        self._supply = Supply(self.folder, self.id)
        self._nested = None
        self._next_look = 0.0
        self._committer = Committer(self, self._window)

    def _beside(self) -> Journal:
        if self._nested is None:
            self._nested = Journal(
                self.folder,
                segment_bytes=_NESTED_SEGMENT,
                on_failure=self.on_failure,
                max_record_bytes=self.max_record_bytes,
                watch_interval=self.watch_interval,
                durability=self.durability,
                window=self._window,
                parent=f"{self.id:016x}",
            )
        return self._nested

    def _life(self, kind: RecordKind) -> bytes:
        details: dict[str, Any] = {"journal": f"{self.id:016x}", "pid": os.getpid()}
        if kind is RecordKind.START:
            # Not the command line: people put passwords there.
            details |= {
                "host": platform.node(),
                "uid": os.getuid(),
                "python": platform.python_version(),
                "psycopg": psycopg.__version__,
            }
            if self._parent:
                details["parent"] = self._parent
        return record.encode(Record(kind=kind, id=record.new_id(), at=record.instant(), details=details))

    def _before_fork(self) -> tuple[threading.Lock, ...]:
        """Wait until nobody is in the middle of anything; return the locks that were taken."""
        if self._owner == threading.get_ident():
            return ()
        # In the order in which a commit takes them. A descriptor that one holds would be the child's too.
        taken = (*self._committer.hold(), self._lock)
        self._lock.acquire()
        # A file that a helper has open would be open in the child as well, and with it the lock
        # that tells readers that the parent lives.
        self._supply.settle()
        return taken

    def _after_fork_in_child(self) -> None:
        for segment in (self._segment, self._supply.spare):
            if segment is not None:
                segment.release()
        self._parent = f"{self.id:016x}"
        self._renew()


_forking = threading.Lock()
_quiet: list[threading.Lock] = []
_still_here: list[Journal] = []


def _before_fork() -> None:
    _forking.acquire()  # two threads that fork at once share the lists
    _still_here[:] = _journals
    _quiet[:] = [held for journal in _still_here for held in journal._before_fork()]


def _after_fork_in_parent() -> None:
    for held in _quiet:
        held.release()
    _quiet.clear()
    _still_here.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    for journal in _still_here:
        journal._after_fork_in_child()
    _quiet.clear()
    _still_here.clear()
    _forking.release()


def _close_all() -> None:
    for journal in tuple(_journals):
        with contextlib.suppress(AuditUnavailable):
            journal.close()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
atexit.register(_close_all)

"""The thread that keeps the log: takes up records, signs checkpoints, hands them on.

It sleeps while nothing is appended in its process, and takes up the records of other processes, living or
dead, whenever it takes up its own. Nothing on the way of a statement waits for it.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from governed_db.audit.intake import Budget, take_up
from governed_db.audit.log import Contradicted, Log, OtherKey
from governed_db.audit.signing import KeyUnusable, Signer
from governed_db.errors import AuditUnavailable
from governed_db.policy.settings import CHECKPOINT_RECORDS, CHECKPOINT_SECONDS

if TYPE_CHECKING:
    from governed_db.audit.retention import Retired

INTERVAL = float(CHECKPOINT_SECONDS)
"""Seconds between two checkpoints while records come."""

RECORDS = CHECKPOINT_RECORDS
"""Records after which a checkpoint is signed at once."""

POLL = 1.0
"""Seconds between two looks at how much was appended: a comparison of two numbers."""

CLOSE = 5.0
"""Seconds that :meth:`Sequencer.close` takes at most for the last records; some 200,000 of them fit. What
is left over the next process takes up."""

LOCK = 2.0
"""Seconds that a scheduled checkpoint waits for another process's: that one takes up our records as well."""

_LONG = 3600.0

_logger = logging.getLogger("governed_db.audit")


class Sequencer:
    """Keeps the log of one folder, from one process. Safe with threads and forks.

    Args:
        folder: the journal's.
        signer: returns what signs (:func:`governed_db.audit.signing.find`); called by the thread.
        appended: returns how many records this process has appended; where it does not change, nothing is
            done.
        interval, records: a checkpoint is signed after so many seconds, or so many records if they come
            sooner.
        witnesses: files that get a copy of each checkpoint.
        on_checkpoint: called with each note, by whichever thread signed it; what it raises is counted.
        stamp: called with each note and the log's folder, for a time stamp; what it raises is counted.
        before_last: called when the interpreter ends, before the last checkpoint; closes the journal.
        origin: the log's name, where a new log is to have a certain one.

    Attributes:
        stopped_because: why nothing is signed any more; "" while all is well.
        failures: checkpoints that could not be signed or handed on.
    """

    _one: threading.Lock
    _ending: threading.Event
    _thread: threading.Thread | None
    _started: bool
    _done: int
    _next: float
    _until: float

    def __init__(
        self,
        folder: Path,
        signer: Callable[[], Signer],
        *,
        appended: Callable[[], int] | None = None,
        interval: float = INTERVAL,
        records: int = RECORDS,
        witnesses: tuple[Path, ...] = (),
        on_checkpoint: Callable[[bytes], None] | None = None,
        stamp: Callable[[bytes, Path], None] | None = None,
        before_last: Callable[[], None] | None = None,
        origin: str = "",
    ) -> None:
        if interval <= 0 or records <= 0:
            raise ValueError("an interval is longer than nothing, and a checkpoint is of some records")
        self.log = Log(folder, signer, witnesses=witnesses, origin=origin)
        self.interval = interval
        self.records = records
        self.stopped_because = ""
        self.failures = 0
        self.checkpoints = 0
        self._appended = appended
        self._on_checkpoint = on_checkpoint
        self._stamp = stamp
        self._before_last = before_last
        self._renew()
        _sequencers.add(self)

    def start(self) -> None:
        """Say that this process appends, and start the thread if it does not run; nearly free when it does.

        A forked child starts again with its first append, and so does who appends after :meth:`close`.
        """
        if self._thread is not None:
            return
        if self._ending.is_set():
            self._begin()
        self._started = True
        thread = threading.Thread(target=_run, args=(weakref.ref(self),), name="governed_db log", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # no more threads; close() takes everything up
            self._thread = None

    def checkpoint(
        self, timeout: float = CLOSE, *, gently: bool = False, retiring: Sequence[Retired] = ()
    ) -> bytes | None:
        """Take up everything and sign it now; return the newest checkpoint's note, ``None`` if there is none.

        Args:
            timeout: seconds after which it stops with what it has, which is signed.
            gently: whether other threads get the interpreter's lock in between.
            retiring: segments that go once this is signed; the log says so itself.

        Raises:
            TimeoutError: another process has had the log for all that time.
            Contradicted: the log is not what was signed; nothing was signed.
            KeyUnusable: there is nothing to sign with.
            OSError, AuditUnavailable: the log or a segment cannot be read or written.
        """
        return self._checkpoint(timeout, timeout, gently=gently, retiring=retiring)

    def close(self, timeout: float = CLOSE) -> None:
        """Sign everything that was appended, within ``timeout`` seconds, and end the thread. Never raises.

        Does nothing in a process that has not called :meth:`start`.
        """
        if self._ending.is_set() or not self._started:
            return
        self._until = time.monotonic() + timeout
        self._ending.set()
        thread, self._thread = self._thread, None
        if thread is None or thread is threading.current_thread():
            self._last()
            return
        # By the thread: a witness or a key on a mount that hangs must not hang who closes.
        thread.join(timeout + POLL)
        if thread.is_alive():
            self.failures += 1
            _logger.warning("The last checkpoint is not signed within %s s; the end does not wait.", timeout)

    def stats(self) -> dict[str, int]:
        """Return counters: checkpoints signed here, failures, checkpoints that a witness missed, and 1 if
        stopped."""
        return {
            "checkpoints": self.checkpoints,
            "checkpoint_failures": self.failures,
            "witness_failures": self.log.witness_failures,
            "log_stopped": int(bool(self.stopped_because)),
        }

    def __repr__(self) -> str:
        return f"<Sequencer of {self.log.place}, {self.checkpoints} checkpoints>"

    # -- parts

    def _renew(self) -> None:
        self._one = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        # The lock stays: a thread that close() did not wait for may still have it, and the log.
        self._ending = threading.Event()
        self._thread = None
        self._started = False
        self._done = 0  # records that had been appended when the last checkpoint was begun
        self._next = time.monotonic() + self.interval
        self._until = 0.0

    def _last(self) -> None:
        """Sign what is left when somebody closes; also where nothing is new: a child that was forked, or
        killed, may have left records."""
        if not self.stopped_because:
            left = max(self._until - time.monotonic(), POLL / 10)
            self._try(left, left, gently=False)

    def _tick(self) -> None:
        appended = 0 if self._appended is None else self._appended()
        if self.stopped_because or (self._appended is not None and appended == self._done):
            return
        if appended - self._done >= self.records or time.monotonic() >= self._next:
            # Under load it takes as long as it needs; only for the lock it does not wait long.
            self._try(LOCK, _LONG, gently=True)

    def _try(self, lock: float, timeout: float, *, gently: bool) -> None:
        so_far = 0 if self._appended is None else self._appended()
        try:
            self._checkpoint(lock, timeout, gently=gently)
        except TimeoutError:
            self.failures += 1
        except OtherKey as error:
            # Somebody rotates it, or has rotated it elsewhere: the next try asks for the key again.
            self.failures += 1
            _logger.warning("No checkpoint could be signed: %s %s", error, error.remedy)
        except (Contradicted, KeyUnusable) as error:
            self.failures += 1
            self.stopped_because = str(error)
            _logger.error("No more checkpoints are signed: %s %s", error, error.remedy)
        except (OSError, AuditUnavailable, ValueError) as error:
            self.failures += 1
            _logger.warning("No checkpoint could be signed: %s", error)
        except Exception as error:
            # A signer of somebody else's, or files that nobody foresaw: the next try may do better, and no
            # end of a process may fail of it. The name of its class alone: what it says may quote a secret.
            self.failures += 1
            _logger.warning("No checkpoint could be signed: %s", type(error).__name__)
        else:
            self._done = so_far
        self._next = time.monotonic() + self.interval

    def _checkpoint(
        self, lock: float, timeout: float, *, gently: bool, retiring: Sequence[Retired] = ()
    ) -> bytes | None:
        until = time.monotonic() + timeout
        # The thread stops early where somebody waits for its end, and leaves the rest to close().
        stop = self._ending.is_set if gently else None
        signed: list[bytes] = []
        if not self._one.acquire(timeout=lock):
            raise TimeoutError("another thread is sequencing the log")
        try:
            with self.log.hold(lock) as held:
                if not held:
                    raise TimeoutError("another process is sequencing the log")
                complete = False
                while not complete and time.monotonic() < until and not (stop and stop()):
                    complete = take_up(self.log, Budget(until, self.records, gently=gently, stop=stop))
                    made = self.log.sign()
                    if made is not None:
                        signed.append(made)
                if retiring:
                    self.log.retire(retiring)
                    made = self.log.sign()
                    if made is not None:
                        signed.append(made)
                newest = self.log.last_note
        finally:
            self._one.release()
        for made in signed:
            self._hand_on(made)
        return newest or None

    def _hand_on(self, signed: bytes) -> None:
        self.checkpoints += 1
        try:
            if self._on_checkpoint is not None:
                self._on_checkpoint(signed)
        except Exception as error:
            # Somebody else's code: the checkpoint is signed and on the disk.
            self._missed(error)
        try:
            if self._stamp is not None:
                self._stamp(signed, self.log.place)
        except Exception as error:
            self._missed(error)

    def _missed(self, error: Exception) -> None:
        self.failures += 1
        # The name of its class alone: what it says may quote an address with a password.
        _logger.warning("A checkpoint could not be handed on: %s", type(error).__name__)


def _run(reference: weakref.ref[Sequencer]) -> None:
    while (sequencer := reference()) is not None:
        ending, wait = sequencer._ending, min(POLL, sequencer.interval)
        del sequencer
        ended = ending.wait(wait)
        if (sequencer := reference()) is None:
            return
        if ended:
            sequencer._last()
            return
        sequencer._tick()


_sequencers: weakref.WeakSet[Sequencer] = weakref.WeakSet()


def _at_exit() -> None:
    for sequencer in list(_sequencers):
        with contextlib.suppress(Exception):
            if sequencer._before_last is not None:
                sequencer._before_last()
        sequencer.close()


def _after_fork_in_child() -> None:
    for sequencer in list(_sequencers):
        sequencer._renew()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)

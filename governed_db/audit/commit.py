"""When records reach the disk, for those who must not lose them with the machine's power.

A record that :meth:`~governed_db.audit.journal.Journal.append` took lies in pages of the kernel. A
:class:`Committer` has them written to the device: before the append returns ("disk"), or within a window
("group"). One ``fdatasync`` serves everybody who waits for one at that time: whoever finds one running
waits for its turn, and by then usually finds its record brought along.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import weakref
from pathlib import Path
from typing import Final, Literal, Protocol

from governed_db.policy.settings import GROUP_WINDOW_MS

Durability = Literal["process", "group", "disk"]
"""What a record survives on this machine: the process; the machine but for the last window; the machine."""

WINDOW: Final = GROUP_WINDOW_MS / 1000
"""Seconds within which "group" brings records to the disk."""

_IDLE: Final = 1.0
"""Seconds for which the thread waits for more work."""


class Writer(Protocol):
    """Whose records are brought to the disk."""

    def pin(self) -> tuple[int, int] | None:
        """Return a descriptor of the segment in use, to be closed by the caller, and its last sequence.

        ``None`` where no segment is open: closing one brings it to the disk.
        """

    def not_on_disk(self, error: OSError) -> None:
        """Be told that the device failed."""


class Committer:
    """Brings one journal's records to the disk.

    Args:
        writer: the journal. By a weak name: our thread must not keep alive what nobody has any more.
        window: seconds between an append and its commit where nobody waits for it.

    Attributes:
        reached: the sequence up to which all records are on the disk.
    """

    def __init__(self, writer: Writer, window: float = WINDOW) -> None:
        self.reached = 0
        self.window = window
        self._writer = weakref.proxy(writer)
        self._turn = threading.Lock()
        self._owner = 0
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def now(self, sequence: int) -> None:
        """Return once the record ``sequence`` is on the disk.

        Raises:
            OSError: the device failed, and it is not known what is on it.
        """
        me = threading.get_ident()
        if self._owner == me:
            return  # a finalizer in the middle of a commit of this thread: the next one takes it along
        with self._turn:
            self._owner = me
            try:
                if self.reached >= sequence:
                    return
                pinned = self._writer.pin()
                if pinned is None:
                    return  # closed meanwhile, which brings everything to the disk
                descriptor, last = pinned
                try:
                    to_disk(descriptor)
                finally:
                    os.close(descriptor)
                self.reached = last
            finally:
                self._owner = 0

    def soon(self) -> None:
        """Have everything that is stored by now brought to the disk within the window; never waits."""
        if not self._wanted.is_set():
            self._wanted.set()
        if self._thread is None:
            self._thread = thread = threading.Thread(
                target=self._work, name="governed_db-commit", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # out of threads, or the interpreter is going down: the next one tries
                self._thread = None

    def hold(self) -> tuple[threading.Lock, ...]:
        """Wait until no commit has a descriptor in hand; return the lock that keeps others from beginning."""
        if self._owner == threading.get_ident():
            return ()
        self._turn.acquire()
        return (self._turn,)

    def _work(self) -> None:
        pause = threading.Event()
        while True:
            while self._wanted.wait(_IDLE):
                pause.wait(self.window)
                self._wanted.clear()
                try:
                    self.now(self.reached + 1)
                except OSError as error:
                    self._writer.not_on_disk(error)
                except ReferenceError:
                    return  # the journal was dropped, and its segment closed with it
            self._thread = None
            if not self._wanted.is_set():
                return
            # Asked for between the two looks, by somebody who may have found us still there.
            self._thread = threading.current_thread()


def to_disk(descriptor: int) -> None:
    """Have the file's content, stores to its mapping included, written to the device.

    Raises:
        OSError: the device failed.
    """
    if hasattr(fcntl, "F_FULLFSYNC"):
        # On macOS fsync leaves the content in the drive's own cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def folder_to_disk(folder: Path) -> None:
    """Have the names in ``folder`` written to the device: a file without one is lost with the power.

    Raises:
        OSError: the device failed.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have nothing to do for a folder, and say so.
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise
    finally:
        os.close(descriptor)

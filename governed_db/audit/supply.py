"""Where a journal's segments come from and go to: made ahead of need and sealed behind, in threads."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from governed_db.audit.layout import Header
from governed_db.audit.segment import Segment


class Supply:
    """The segments of one journal besides the one in use. The journal's lock is around every call.

    Attributes:
        spare: the next segment, once it is prepared.
        failures: how often preparing or sealing failed.
    """

    def __init__(self, folder: Path, journal: int) -> None:
        self.folder = folder
        self.journal = journal
        self.spare: Segment | None = None
        self.failures = 0
        self._helper: threading.Thread | None = None
        self._sealing: list[threading.Thread] = []
        self._indexes = itertools.count()

    @property
    def asked(self) -> bool:
        """Whether a spare is there or being prepared."""
        return self._helper is not None or self.spare is not None

    def make(self, size: int) -> Segment:
        """Return a new prepared segment of ``size`` bytes.

        Raises:
            OSError: the file cannot be made, locked or mapped, or the disk is full.
        """
        header = Header(
            journal=self.journal,
            index=next(self._indexes),
            pid=os.getpid(),
            first=0,
            created=time.time_ns() // 1000,
            capacity=size + -size % 8,
        )
        return Segment(self.folder, header)

    def prepare(self, size: int) -> None:
        """Have a spare made by a thread."""

        def work() -> None:
            try:
                self.spare = self.make(size)
            except OSError:
                self.failures += 1  # the append that needs the space tries again, and raises

        self._helper = _aside(work)

    def take(self, size: int) -> Segment | None:
        """Return the spare if it has room for frames of ``size`` bytes."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.join()  # it is about to be done, and making a file here would take as long
        spare, self.spare = self.spare, None
        if spare is not None and not spare.fits(size):
            spare.discard()
            return None
        return spare

    def discard(self) -> None:
        """Delete the spare, if there is one."""
        spare = self.take(0)
        if spare is not None:
            spare.discard()

    def retire(self, segment: Segment) -> None:
        """Have a full segment sealed by a thread."""
        self._sealing = [t for t in self._sealing if t.is_alive()]
        thread = _aside(lambda: self._seal(segment))
        if thread is not None:
            self._sealing.append(thread)

    def settle(self) -> None:
        """Wait until no thread has a file in hand."""
        for thread in (*self._sealing, self._helper):
            if thread is not None:
                thread.join()

    def close(self, segment: Segment | None) -> None:
        """Seal ``segment``, wait for those that are being sealed, and give the spare's space back."""
        self.discard()
        if segment is not None:
            self._seal(segment)
        self.settle()

    def _seal(self, segment: Segment) -> None:
        try:
            segment.seal()
        except OSError:
            self.failures += 1  # the records stay readable; the segment counts as a dead writer's


def _aside(work: Callable[[], None]) -> threading.Thread | None:
    """Do ``work`` in a thread, off everybody's way; at once where no thread can be had."""
    thread = threading.Thread(target=work, name="governed_db-journal", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # out of threads, or the interpreter is going down
        work()
        return None
    return thread

"""A command on a terminal of its own (a pty), read and typed to as a person would."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 30.0
"""Seconds for which something is waited for that comes in one or two."""

# Makes the terminal the controlling one, so that Ctrl-C reaches the command.
_LAUNCHER = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)

_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[@-~]|\][^\x07]*\x07|[()].|[=>])")


class Terminal:
    """One process, its screen and its keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self._fd = fd
        self.raw = ""
        self._read = 0

    @property
    def text(self) -> str:
        """Everything that was shown so far, without what moves the cursor and chooses colours."""
        return _CONTROL.sub("", self.raw).replace("\r", "")

    def until(self, wanted: str) -> str:
        """Return what was shown since the last call, as soon as ``wanted`` is in it."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in (shown := self.text[self._read :]):
            if not self._more(deadline):
                raise AssertionError(f"{wanted!r} did not come; there is {shown!r}")
        self._read = self.text.index(wanted, self._read) + len(wanted)
        return shown

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._fd, b"\x03")

    def ends(self) -> int:
        """Return the exit status, once it has ended."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the other end is closed
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)


def environment() -> dict[str, str]:
    """Return an environment in which a command runs the code of this process."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def terminal(command: list[str], *, lines: int = 50, **variables: str) -> Iterator[Terminal]:
    """Run ``command`` on a terminal of ``lines`` lines and ``COLUMNS`` columns."""
    ours, theirs = pty.openpty()
    size = struct.pack("HHHH", lines, int(variables.get("COLUMNS", "100")), 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)

    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment(), "TERM": "xterm-256color", "LINES": str(lines), **variables},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)

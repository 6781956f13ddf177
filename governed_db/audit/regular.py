"""Opening files in a folder that others may have put something into: regular files alone, and never waiting.

A FIFO blocks whoever opens it until somebody writes, and a device need not end. What is no regular file
counts as not there: nothing of ours is one.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, FileIO
from pathlib import Path


def descriptor(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file; return its descriptor.

    Raises:
        FileNotFoundError: there is none, or something else is in its place.
        OSError: it cannot be opened.
    """
    try:
        opened = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP, errno.EISDIR):
            raise FileNotFoundError(errno.ENOENT, "there is no regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise FileNotFoundError(errno.ENOENT, "there is no regular file", str(path))
    return opened


def unbuffered(path: Path) -> FileIO:
    """Open a regular file for reading, without a buffer; raises as :func:`descriptor` does."""
    return FileIO(descriptor(path), "rb")


def buffered(path: Path) -> BufferedReader:
    """Open a regular file for reading; raises as :func:`descriptor` does."""
    return BufferedReader(unbuffered(path), 64 << 10)

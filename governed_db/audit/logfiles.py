"""Writing the files of a log. All of these raise OSError where the disk does not take it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from governed_db.audit.regular import descriptor

FOLDER = "log"
"""The name of the log's folder in the journal's."""


def write(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` at ``offset``."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def append(path: Path, data: bytes) -> None:
    """Append ``data`` to a file of mode 0600 and bring it to the disk."""
    new = not path.exists()
    opened = descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        if new:
            os.fchmod(opened, 0o600)
        size, wanted = os.fstat(opened).st_size, len(data)
        try:
            while data:  # a disk that is getting full takes a part, and says so the next time
                data = data[os.write(opened, data) :]
            os.fsync(opened)
        except OSError:
            # Half a note would run into the next one. Not where somebody else has written meanwhile.
            with contextlib.suppress(OSError):
                if os.fstat(opened).st_size == size + wanted - len(data):
                    os.ftruncate(opened, size)
            raise
    finally:
        os.close(opened)
    if new:
        sync(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Put ``data`` in place of a file: it is there whole, before or after."""
    making = path.with_name(f".{path.name}.new")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Bring the names in ``folder`` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

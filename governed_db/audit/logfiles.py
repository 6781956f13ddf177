"""Writing the files of a log. All of these raise OSError where the disk does not take it."""

from __future__ import annotations

import os
from pathlib import Path

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
    with path.open("ab", buffering=0) as file:
        if new:
            os.fchmod(file.fileno(), 0o600)
        file.write(data)
        os.fsync(file.fileno())
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

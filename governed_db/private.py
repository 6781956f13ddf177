"""Files of secrets: for this user alone, whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path


class NotPrivate(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """Others than this user can read or change the file. The message names the file, and what would help."""


def read(path: Path, most: int) -> bytes:
    """Return up to ``most`` bytes of a file that only this user, or root, can read and change.

    Raises:
        OSError: it cannot be read.
        NotPrivate: others can read or change it, or it is no regular file.
    """
    # O_NONBLOCK: a FIFO at that place must not hang the start. Checked through the descriptor, because a name
    # can be moved in between.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotPrivate(f"{path} is not a regular file")
        if found.st_uid not in (os.geteuid(), 0):
            raise NotPrivate(f"{path} belongs to another user; whoever owns it can change it")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise NotPrivate(f"Others than this user can use {path} (chmod 600 makes it private)")
        return file.read(most)


def make(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, which appears whole or not at all. A file that is there stays as it is.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never takes the place of what another process has just made.
        with contextlib.suppress(FileExistsError):
            os.link(making, path)
    finally:
        making.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

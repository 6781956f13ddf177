"""A file that appears whole or not at all, for its owner alone."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> object:
        """Write ``data``."""
        ...


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to; it gets the name ``path``, and replaces what had it, when all went well.

    Its mode is 0600: what is made of a trail says who did what. It is brought to the disk before it gets its
    name, so that no crash leaves half of it there. What is not a plain file (a pipe, /dev/stdout) is written
    to as it is.

    Raises:
        OSError: it cannot be written; what had the name before still has it.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as there:
            yield there
        return
    try:
        target = path.resolve()  # a link keeps pointing, to the new file
    except RuntimeError:  # so pathlib says it before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(6)}.part")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        error.filename = str(path)  # nobody has asked for the one beside it
        raise
    try:
        with open(descriptor, "wb", buffering=1 << 18) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    with contextlib.suppress(OSError):  # the file is whole; that its name lasts is the disk's affair
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

"""The journal's folder: whose it is, and what to say when it cannot be written to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from governed_db.errors import AuditUnavailable

RULE = "audit.journal"

_REMEDIES = {
    errno.ENOSPC: "free space on the journal's file system, or move the journal to another",
    errno.EDQUOT: "raise the quota of the journal's file system, or move the journal to another",
    errno.EFBIG: "raise the process's limit on file sizes (ulimit -f)",
    errno.EACCES: "make the journal's folder writable for this user",
    errno.EPERM: "make the journal's folder writable for this user",
    errno.EROFS: "move the journal to a file system that is mounted for writing",
    errno.ENOENT: "bring the journal's folder back",
    errno.EMFILE: "raise the process's limit on open files (ulimit -n)",
    errno.ENOLCK: "move the journal to a local file system, which has locks",
    errno.EOPNOTSUPP: "move the journal to a local file system, which has locks",
}


def settle(folder: Path) -> None:
    """Make sure that ``folder`` is there and that nobody else can put files into it or take them away.

    Raises:
        OSError: it cannot be made.
        AuditUnavailable: it belongs to another user (root excepted), or group or others may write to it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (os.geteuid(), 0):
        raise AuditUnavailable(
            f"Others than this user may write to the journal's folder {folder} [rule {RULE}].",
            rule=RULE,
            remedy=f"give the folder to this user alone: chown it and chmod 700 {folder}",
        )


def unavailable(folder: Path, error: Exception) -> AuditUnavailable:
    """Return the error for a record that could not be stored because of ``error``."""
    if isinstance(error, AuditUnavailable):
        return error
    if isinstance(error, OSError):
        number = error.errno or 0
        why = f"cannot take a record: {os.strerror(number) if number else type(error).__name__}"
        remedy = _REMEDIES.get(number, "make the journal's folder writable for this user")
    else:
        why = f"lost records: a segment was {error} by somebody else"
        remedy = "find out who changed the file; the loss is on record, and the next statement can go on"
    return AuditUnavailable(
        f"The journal in {folder} {why} [rule {RULE}]. The statement was not sent.",
        rule=RULE,
        remedy=remedy,
        retryable=True,
    )

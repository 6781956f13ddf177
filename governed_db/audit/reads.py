"""Who looked at the trail: reading it is on record too."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.scan import names
from governed_db.errors import AuditUnavailable

EVENT = "trail.read"

_SEGMENT = 16 << 10
"""Bytes: room for a start, a stop and the event, many times over."""


def reader() -> dict[str, Any]:
    """Return who runs this process, as the operating system knows them: section ``who`` of an event.

    The user that a ``sudo`` came from says more than root does.
    """
    uid = os.getuid()
    by_sudo = os.environ.get("SUDO_UID", "") if uid == 0 else ""
    known = int(by_sudo) if by_sudo.isdecimal() else uid
    try:
        subject = pwd.getpwuid(known).pw_name
    except KeyError:
        subject = str(known)
    # SUDO_UID is what root's environment says, which root may change.
    return {"kind": "human", "subject": subject, "issuer": "os", "verified": not by_sudo}


def noted(folder: Path, verb: str, **what: Any) -> bool:
    """Put on record that somebody reads the trail in ``folder``; return whether that was possible.

    It is not where the folder is a copy that this user cannot write to, or holds no journal: an auditor's
    look at files they were given changes nothing about them.

    Args:
        folder: the journal's.
        verb: what reads it, such as "export".
        what: which part of it: filters, as they were given. ``None`` is left out.
    """
    try:
        # No segment, no journal: a folder that was misspelt must not become one.
        if not names(folder) or not os.access(folder, os.W_OK):
            return False
        details = {key: value for key, value in what.items() if value is not None}
        with Journal.open(folder, segment_bytes=_SEGMENT) as journal:
            journal.append(record.event(EVENT, who=reader(), verb=verb, **details))
    except (OSError, AuditUnavailable):
        return False
    return True

"""``governed-db audit key``: the public key that verifies the trail, and its rotation."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from governed_db.cli import audit
from governed_db.cli.common import failed

LOCK = 10.0
"""Seconds that a new log is waited for, where another process is just making it."""


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "key",
        help="print the public key that verifies the trail, or rotate it",
        description="Prints the verifier key of the log. Keep it where who can change the trail cannot.",
    )
    audit.add_dir(parser)
    parser.add_argument(
        "--rotate",
        action="store_true",
        help="make a new key: the log names it in a checkpoint that the old one and the new one sign",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from governed_db import config
    from governed_db.audit import signing
    from governed_db.audit.log import Contradicted, Log, rotate
    from governed_db.errors import GovernanceError

    try:
        folder, state = audit.folder_of(arguments), config.state_dir()
        log = Log(folder, lambda: signing.find(state))
        if arguments.rotate:
            _rotate(log, state, rotate)
        else:
            log.in_force()
            if not log.origin:
                with log.hold(LOCK):  # it gives a new log its name
                    pass
            print(signing.find(state).named(log.origin).text)
    except (Contradicted, signing.KeyUnusable, GovernanceError, OSError, ValueError) as error:
        return failed("audit key", error)
    return 0


def _rotate(log: Any, state: Path, rotate: Any) -> None:
    from governed_db.audit import signing

    if os.environ.get(signing.VARIABLE):
        raise ValueError(
            f"the key is in {signing.VARIABLE}: rotate it where it is made (governed_db.audit.log.rotate)"
        )
    path, following = state / signing.FILE, state / f"{signing.FILE}.next"
    signing.find(state)
    signing.make(following)
    new = signing.of_file(following)
    if log.in_force() != new.public:  # else an earlier rotation was interrupted before its last step
        rotate(log, new)
    following.replace(path)
    print(new.named(log.origin).text)

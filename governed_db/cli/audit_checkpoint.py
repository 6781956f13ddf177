"""``governed-db audit checkpoint``: takes up what the journals hold, and signs it now."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from governed_db.cli import audit
from governed_db.cli.common import failed

TIMEOUT = 3600.0
"""Seconds that it takes at most: some 100 million records."""


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "checkpoint",
        help="sign the trail now",
        description="Takes up what the journals of all processes hold, signs it, and prints the checkpoint.",
    )
    audit.add_dir(parser)
    parser.add_argument(
        "--witness",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a file that gets a copy of the checkpoint; may be given again",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from governed_db import config
    from governed_db.audit import signing
    from governed_db.audit.log import Contradicted
    from governed_db.audit.sequencer import Sequencer
    from governed_db.errors import GovernanceError

    try:
        folder = audit.folder_of(arguments)
        if not folder.is_dir():
            raise FileNotFoundError(2, "there is no such folder", str(folder))
        state = config.state_dir()
        sequencer = Sequencer(folder, lambda: signing.find(state), witnesses=tuple(arguments.witness))
        note = sequencer.checkpoint(TIMEOUT)
    except (Contradicted, signing.KeyUnusable, GovernanceError, OSError, ValueError) as error:
        return failed("audit checkpoint", error)
    sys.stdout.write((note or b"").decode())
    if sequencer.log.witness_failures:
        return failed("audit checkpoint", OSError("a witness could not be written; the checkpoint is signed"))
    return 0

"""``governed-db audit prove``: a proof for one record, as a file for somebody who has nothing else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from governed_db.cli import audit
from governed_db.cli.common import failed


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "prove",
        help="write the proof that a record is in the log",
        description="Writes a proof that holds without the folder: governed-db audit verify --proof FILE"
        " --key VKEY. The proof contains the record.",
    )
    parser.add_argument("record", metavar="RECORD_ID", help="the record's id")
    audit.add_dir(parser)
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="the file (default: RECORD_ID.tlog-proof; '-' prints it)"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from governed_db.audit.prove import NotProven, prove
    from governed_db.errors import GovernanceError

    try:
        proof = prove(audit.folder_of(arguments), arguments.record)
        if arguments.out == Path("-"):
            sys.stdout.write(proof.dump().decode())
            return 0
        # By what the record is called in the log, not by what was typed: that may be a path.
        path = arguments.out or Path(f"{Path(arguments.record).name}.tlog-proof")
        path.write_bytes(proof.dump())
    except (NotProven, GovernanceError, OSError) as error:
        return failed("audit prove", error)
    print(f"{path}: leaf {proof.index} of {proof.signed()[0].size}")
    print(f"to verify it: governed-db audit verify --proof {path} --key VKEY")
    return 0

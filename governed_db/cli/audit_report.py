"""``governed-db audit report``: one page for an auditor."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli.audit import folder_of
from governed_db.cli.common import failed
from governed_db.cli.selecting import add_selection, selection_of
from governed_db.cli.trail import note_read

if TYPE_CHECKING:
    from governed_db.audit.proof import Verification

_COMMAND = "audit report"


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "report",
        help="write one HTML page for an auditor",
        description="Write one page of HTML: who touched what, refusals, approvals with their approvers,"
        " policies, coverage and verification. It needs nothing else, and prints.",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="where to; mode 0600")
    parser.add_argument(
        "--key", metavar="VKEY|FILE", help="the public key that the reader trusts, as for 'audit verify'"
    )
    for name, what in (
        ("witness", "checkpoints that were kept elsewhere"),
        ("checkpoint", "one such checkpoint"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="FILE",
            type=Path,
            action="append",
            default=[],
            help=f"{what}; may be given again",
        )
    parser.add_argument("--no-verify", action="store_true", help="do not check the proof; the report says so")
    add_selection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the report; return the exit status."""
    from datetime import UTC, datetime

    import governed_db
    from governed_db.audit.outfile import whole
    from governed_db.audit.page import About, page
    from governed_db.audit.reader import statements
    from governed_db.audit.summary import summarise
    from governed_db.errors import PolicyError

    try:
        folder = folder_of(arguments)
        selection = selection_of(arguments)
        verification = _verification(folder, arguments)
        # Behind it: this look itself is on record, and no checkpoint is over that yet.
        note_read(folder, "report", selection.words())
        summary = summarise(statements(folder, beside=True), selection)
        about = About(
            folder=folder.absolute(),
            selected=selection.words(),
            made=datetime.now(UTC),
            version=governed_db.__governed_version__,
            verification=verification,
        )
        with whole(arguments.out) as file:
            for piece in page(summary, about):
                file.write(piece.encode("utf-8", "backslashreplace"))
    except (OSError, PolicyError, ValueError) as error:
        return failed(_COMMAND, error)
    print(f"{arguments.out}: {summary.statements} statements, {verification.headline}", file=sys.stderr)
    return 0


def _verification(folder: Path, arguments: argparse.Namespace) -> Verification:
    """Check the proof as ``audit verify`` does; what keeps it from that is said in the report.

    Raises:
        ValueError, OSError: what was named for it cannot be used.
    """
    from governed_db.audit.logfiles import FOLDER
    from governed_db.audit.proof import unverified, verified
    from governed_db.audit.signing import KeyUnusable
    from governed_db.audit.verify import verify
    from governed_db.cli.audit_verify import keys_of

    if arguments.no_verify:
        return unverified("that was asked for")
    if not (folder / FOLDER).is_dir():
        # Whoever takes the log away gets this, not a report that looks right: it stands at the top.
        return unverified("the journal has no log beside it that could prove its records")
    try:
        keys, own = keys_of(arguments.key, folder)
    except (KeyUnusable, ValueError) as error:
        if arguments.key is not None:
            raise ValueError(str(error)) from error
        return unverified(str(error))
    report = verify(folder, keys, witnesses=arguments.witness, checkpoints=arguments.checkpoint)
    return verified(report, own_key=own)

"""``governed-db policy learn``: the least policy that would have allowed what the trail shows to have run."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from governed_db.cli.common import clean, failed
from governed_db.cli.trail import add_trail, entries, folder_of, in_force, note_read, shelf_of

if TYPE_CHECKING:
    from governed_db.policy.learn import Proposal


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "learn",
        help="propose the least policy that would have allowed what ran",
        description="Read the trail and propose the least policy that would have allowed what ran, with the "
        "matching GRANTs, and how often it would refuse what is still to come.",
        epilog="The policy goes to standard output or --out, all else to standard error. "
        "Exit status: 0, and 1 for usage errors and failures.",
    )
    add_trail(parser)
    parser.add_argument(
        "--subject",
        metavar="PATTERN",
        default="*",
        help="learn from these callers alone: a subject or KIND:SUBJECT; * and ? as in a shell",
    )
    parser.add_argument(
        "--hold-back",
        metavar="SHARE",
        type=float,
        default=0.2,
        help="the share of the trail to evaluate on (default: 0.2; 0: do not evaluate)",
    )
    parser.add_argument("--out", metavar="FILE", help="write the policy there; it must not exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Learn and print; return the exit status."""
    from governed_db.errors import PolicyError
    from governed_db.policy.learn import learn

    try:
        folder = folder_of(arguments)
        note_read(folder, "policy learn")
        proposal = learn(
            lambda: entries(folder, arguments.since),
            shelf_of(arguments, folder),
            subject=arguments.subject,
            hold_back=arguments.hold_back,
            base=in_force(),
        )
        if arguments.out is None:
            sys.stdout.write(proposal.text)
        else:
            _write(arguments.out, proposal.text)
    except (OSError, PolicyError, ValueError) as error:
        return failed("policy learn", error)
    for line in _report(proposal, arguments.out):
        print(clean(line), file=sys.stderr)
    return 0


def _write(path: str, text: str) -> None:
    # Others must not be able to write to a policy; and what is there is not ours to overwrite.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _report(proposal: Proposal, out: str | None) -> list[str]:
    lines = [
        f"learned from {proposal.statements} statements, {proposal.texts} texts, by"
        f" {', '.join(proposal.callers)}"
    ]
    if proposal.text_only:
        lines.append(f"{proposal.text_only} of them were recorded without a catalog")
    lines += [f"not learned from {count}: {why}" for why, count in proposal.not_replayed.items()]
    for found in proposal.evaluations:
        if not found.texts:
            lines.append(
                f"held back by {found.split}: nothing; the trail is too short to say how it would do"
            )
            continue
        lines.append(
            f"held back by {found.split}: {found.refused_texts} of {found.texts} texts would be refused"
            f" ({found.rate:.1%}; with 95 % confidence {found.low:.1%} to {found.high:.1%}),"
            f" {found.refused} of {found.statements} statements"
        )
    lines += ["", *proposal.cautions] if proposal.cautions else []
    lines += ["", "-- the same as privileges of the database:", *proposal.grants.splitlines()]
    if out is not None:
        lines += ["", f"written to {out}; next: governed-db policy simulate {out}"]
    return lines

"""``governed-db audit approvals``: whether people had agreed to what ran because they had."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from governed_db.cli import audit
from governed_db.cli.common import FAILED, add_policy, clean, failed, line, print_json


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "approvals",
        help="verify the signatures under which statements ran",
        description="Weighs once more the answers under which statements ran: who signed what, and whether"
        " in time, by the keys that the policy names. Ends with 1 where one does not bear its statement.",
    )
    audit.add_dir(parser)
    parser.add_argument(
        "--also",
        metavar="FOLDER",
        type=Path,
        action="append",
        default=[],
        help="the journal of another machine, whose records belong to it; may be given again",
    )
    add_policy(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from itertools import chain

    from attrs import asdict

    from governed_db.audit.agreement import agreements
    from governed_db.audit.reader import read
    from governed_db.cli.judging import find_policy
    from governed_db.cli.trail import note_read
    from governed_db.errors import GovernanceError

    try:
        folder = audit.folder_of(arguments)
        people = find_policy(arguments.policy).settings.approvals.people
        note_read(folder, "approvals")
        entries = chain.from_iterable(read(one) for one in (folder, *arguments.also))
        found = agreements(entries, people)
    except (GovernanceError, OSError) as error:
        return failed("audit approvals", error)
    bad = sum(bool(one.problems) for one in found)
    if arguments.json:
        print_json({"approvals": [asdict(one) for one in found], "problems": bad})
        return FAILED if bad else 0
    for one in found:
        print(f"{clean(one.request)}  {'PROBLEM' if one.problems else 'ok'}")
        line("used", one.at)
        line("asked by", one.asked_by)
        line("statement", one.statement)
        line("agreed", ", ".join(one.people))
        for problem in one.problems:
            line("problem", problem)
    print(f"{len(found)} approvals were used; {bad} of them do not bear what ran")
    if any("no key that the policy names" in problem for one in found for problem in one.problems):
        print("who has left the policy since is found in one that still has them: name it with --policy")
    return FAILED if bad else 0

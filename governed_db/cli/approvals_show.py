"""``governed-db approvals show``: everything that a person needs to judge a request."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from governed_db.cli import approvals
from governed_db.cli.common import line, print_json

if TYPE_CHECKING:
    from governed_db.approval.desk import Desk
    from governed_db.approval.store import Filed

_INDENT = 12


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "show",
        help="show one request whole",
        description="Show one request with all that a person needs to judge it: the statement with its"
        " values, what it touches, how many rows, who asks, on whose behalf, and what for.",
    )
    approvals.add_request(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=lambda arguments: approvals.attempt("show", lambda: run(arguments)))


def run(arguments: argparse.Namespace) -> int:
    """Show; return the exit status."""
    from governed_db.cli import requests

    with approvals.opened(arguments) as governor:
        desk = governor.approvals
        filed = desk.get(arguments.id)
        if arguments.json:
            now = datetime.now(UTC)
            standing = desk.stands(filed, now)
            print_json(requests.plain(filed, standing, requests.state(filed, standing, now)))
        else:
            show(desk, filed, governor.policy.version)
    return 0


def show(desk: Desk, filed: Filed, version: str) -> None:
    """Print a request as it stands now. ``version``: of the policy that this command goes by."""
    from governed_db.cli import requests

    now = datetime.now(UTC)
    standing = desk.stands(filed, now)
    word = requests.state(filed, standing, now)
    for label, text in requests.facts(filed, standing, word):
        line(label, text, indent=_INDENT)
    for title, lines in requests.texts(filed.request):
        if lines:
            print(f"\n{title}")
            for text in lines:
                print(f"  {text}".rstrip())
    print()
    for label, text in requests.details(filed, standing, word, now):
        line(label, text, indent=_INDENT)
    if filed.request.question.policy != version:
        line(
            "note",
            f"your policy is another one ({version}) than the caller asked under: if it goes by yours by"
            " now, it asks anew",
            indent=_INDENT,
        )

"""``governed-db approvals list``: what waits for people."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from governed_db.cli import approvals
from governed_db.cli.common import add_policy, print_json


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "list",
        help="list the requests that wait",
        description="List the requests that are open, oldest first: those that wait, and those that were"
        " answered and can still be used.",
    )
    parser.add_argument("--all", action="store_true", help="those as well that were used, expired, withdrawn")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_policy(parser)
    parser.set_defaults(run=lambda arguments: approvals.attempt("list", lambda: run(arguments)))


def run(arguments: argparse.Namespace) -> int:
    """List; return the exit status."""
    from governed_db.cli import requests

    with approvals.opened(arguments) as governor:
        desk = governor.approvals
        found = desk.listed(every=arguments.all)
    now = datetime.now(UTC)
    told = [(f, s, requests.state(f, s, now)) for f, s in found]
    if arguments.json:
        print_json({"requests": [requests.plain(*each) for each in told]})
        return 0
    if not told:
        print("nothing waits" if not arguments.all else "there is no request", file=sys.stderr)
        return 0
    for line in requests.table([requests.HEADINGS, *(requests.brief(*each, now) for each in told)]):
        print(line)
    return 0

"""``governed-db approvals withdraw``: close a request that nobody needs any more."""

from __future__ import annotations

import argparse
from typing import Any

from governed_db.cli import approvals
from governed_db.cli.common import clean


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "withdraw",
        help="close a request, answered or not",
        description="Close a request that is open, answered or not: nobody can use it then. It needs no key,"
        " because nothing runs by it; the caller can ask again.",
    )
    approvals.add_request(parser)
    parser.add_argument("--reason", default="", help="why, in your words; it goes on record")
    parser.set_defaults(run=lambda arguments: approvals.attempt("withdraw", lambda: run(arguments)))


def run(arguments: argparse.Namespace) -> int:
    """Withdraw; return the exit status."""
    from governed_db.audit.reads import reader
    from governed_db.identity import Identity

    with approvals.opened(arguments) as governor:
        # As the operating system knows whoever runs this.
        governor.approvals.withdraw(arguments.id, by=Identity(**reader()), reason=arguments.reason)
    print(clean(f"{arguments.id} is withdrawn"))
    return 0

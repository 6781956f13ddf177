"""``governed-db approvals deny``: no, and why."""

from __future__ import annotations

import argparse
from typing import Any

from governed_db.cli import approvals
from governed_db.cli.common import clean


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "deny",
        help="say no to a request",
        description="Say no to a request. One person's no is enough; the caller is told who, and why.",
    )
    approvals.add_request(parser)
    approvals.add_signing(parser)
    parser.set_defaults(run=lambda arguments: approvals.attempt("deny", lambda: run(arguments)))


def run(arguments: argparse.Namespace) -> int:
    """Deny; return the exit status."""
    if not arguments.reason.strip():
        raise ValueError("who asked is told why not: give --reason")
    with approvals.opened(arguments) as governor:
        desk = governor.approvals
        key = approvals.key_of(arguments.key, desk.settings.people, governor.policy.name)
        by = approvals.person_of(arguments, governor)
        standing = desk.deny(arguments.id, key=key, by=by, reason=arguments.reason, seal=arguments.seal)
        print(clean(f"{arguments.id} was denied by {approvals.signs_as(key, by, desk.settings.people)}"))
        print(clean(f"  {standing.request.summary}, asked by {standing.request.requester}"))
    return 0

"""``governed-db approvals approve``: yes, signed."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from governed_db.cli import approvals
from governed_db.cli.common import clean

if TYPE_CHECKING:
    from governed_db.approval import ApprovalRequest, ApproverKey, Person
    from governed_db.approval.standing import Standing
    from governed_db.approval.store import Filed
    from governed_db.governor import Governor
    from governed_db.identity import Identity


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "approve",
        help="agree to a request",
        description="Show a request and ask whether you agree; then sign it with your key. The caller can run"
        " the very same call once, as long as the answer holds.",
        epilog="Exit status: 0 signed, 1 usage error or failure, 2 you did not agree.",
    )
    approvals.add_request(parser)
    approvals.add_signing(parser)
    parser.add_argument("--yes", "-y", action="store_true", help="agree without being asked, for scripts")
    parser.add_argument(
        "--pattern",
        action="store_true",
        help="agree to this call, and by a grant for a while to others of its text with whatever values",
    )
    parser.add_argument(
        "--for", dest="lasts", metavar="SPAN", help="with --pattern: how long, such as 30m or 8h"
    )
    parser.add_argument(
        "--rows",
        type=int,
        metavar="N",
        help="with --pattern: rows that one such statement may write (default: as many as this one)",
    )
    parser.set_defaults(run=lambda arguments: approvals.attempt("approve", lambda: run(arguments)))


def run(arguments: argparse.Namespace) -> int:
    """Approve; return the exit status."""
    from governed_db.cli.approvals_show import show

    _belongs_together(arguments)
    with approvals.opened(arguments) as governor:
        desk = governor.approvals
        people = desk.settings.people
        key = approvals.key_of(arguments.key, people, governor.policy.name)
        by = approvals.person_of(arguments, governor)
        filed = desk.get(arguments.id)
        who = approvals.signs_as(key, by, people)
        # What was shown is what is signed, whatever is in the store by now.
        seal = arguments.seal or filed.request.seal()
        if arguments.pattern:
            _is_what_it_shows(filed.request)
        if not arguments.yes:
            _must_be_terminal()
            show(desk, filed, governor.policy.version)
            if arguments.pattern:
                print(f"\npattern, for {arguments.lasts}\n  {clean(filed.request.statement)}")
            if not _agrees(who):
                print("nothing was signed", file=sys.stderr)
                return approvals.DECLINED
        if arguments.pattern:
            print(clean(_granted(arguments, governor, filed.request, key, by)))
            if _has_agreed(governor, filed, key, by):
                return 0
        standing = desk.approve(arguments.id, key=key, by=by, reason=arguments.reason, seal=seal)
        print(clean(said(standing, who)))
        if filed.request.question.policy != governor.policy.version:
            print(
                "note: the caller asked under another policy than yours; if it goes by yours by now, it asks"
                " anew, and this answer is of no use",
                file=sys.stderr,
            )
    return 0


def said(standing: Standing, who: str) -> str:
    """Return in words what an answer has led to."""
    from governed_db.cli import requests

    request = standing.request
    if standing.denied is not None:
        return f"signed by {who}, but {standing.denied.identity} has denied {request.id}"
    if not standing.agreed:
        have = f"{len(standing.granted)} of {request.needed} people have agreed"
        return f"signed by {who}: {have} to {request.id}"
    until = "" if standing.expires is None else f" until {requests.when(standing.expires)}"
    return f"approved by {who}: {request.requester} can run {request.id} once{until}"


def _belongs_together(arguments: argparse.Namespace) -> None:
    if arguments.pattern:
        if arguments.lasts is None:
            raise ValueError("say how long the pattern holds: --for 1h")
        if not arguments.reason.strip():
            raise ValueError("a grant says why: give --reason")
    elif arguments.lasts is not None or arguments.rows is not None:
        raise ValueError("--for and --rows are for --pattern: an answer holds as long as the policy says")


def _is_what_it_shows(request: ApprovalRequest) -> None:
    """Refuse a request whose text is not of the pattern that it names.

    The caller's process makes its question anew before it believes an answer. A pattern it cannot make anew:
    who can write to the store could show one text to the person, and have them sign for another.
    """
    from governed_db.errors import GovernanceError
    from governed_db.statement import Unreadable, read

    try:
        found = read(request.statement).fingerprint
    except Unreadable:
        found = ""
    if not found or found != request.question.fingerprint:
        raise GovernanceError(
            f"the text of {request.id} cannot be held against the pattern that it names",
            rule="approval.pattern",
            remedy="approve this one call, without --pattern",
        )


def _granted(
    arguments: argparse.Namespace,
    governor: Governor,
    request: ApprovalRequest,
    key: ApproverKey,
    by: Identity | None,
) -> str:
    """Put a grant for statements like that of ``request`` into force; return what to say of it."""
    from governed_db.cli.grants import duration
    from governed_db.errors import GovernanceError
    from governed_db.grants.pattern import pattern_grant

    if arguments.seal and arguments.seal != request.seal():
        raise GovernanceError(
            f"the request {request.id} is not the one that was shown: it was altered since",
            rule="approval.altered",
            remedy="look at it as it is now",
        )
    person = _answering(governor, request, key, by)
    signed = pattern_grant(
        request,
        key,
        duration(arguments.lasts),
        arguments.reason,
        arguments.rows,
        by=person.identity,
    )
    governor.grants.hand_in(signed.note)
    return f"{signed.id} lets {request.requester} run statements like it for {arguments.lasts}"


def _answering(governor: Governor, request: ApprovalRequest, key: ApproverKey, by: Identity | None) -> Person:
    """Return who signs, if they could answer the request by themselves: its pattern is no smaller thing."""
    from governed_db.approval import Approver
    from governed_db.approval.people import may_not_answer
    from governed_db.errors import GovernanceError

    people = governor.approvals.settings.people
    owner = people.owner(key.public)
    whom = owner.identity() if by is None and isinstance(owner, Approver) else by
    person = (
        f"{key.public.name} signs for others: say for whom"
        if whom is None
        else people.speaking(key.public, whom)
    )
    why = person if isinstance(person, str) else may_not_answer(request, person.identity)
    if request.needed > 1:
        why = why or f"the rule asks for {request.needed} different people, and a grant is one person's word"
    if isinstance(person, str) or why:
        raise GovernanceError(
            f"the pattern of {request.id} cannot be approved: {why}",
            rule="approval.approver",
            remedy="approve this one call, without --pattern, or ask somebody else",
        )
    return person


def _has_agreed(governor: Governor, filed: Filed, key: ApproverKey, by: Identity | None) -> bool:
    from datetime import UTC, datetime

    from governed_db.approval.people import same_person

    person = _answering(governor, filed.request, key, by)
    standing = governor.approvals.stands(filed, datetime.now(UTC))
    return any(same_person(other.identity, person.identity) for other in standing.granted)


def _must_be_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError("nobody can be asked here: in a script, --yes agrees, and --seal says to what")


def _agrees(who: str) -> bool:
    try:
        answer = input(f"\n{clean(f'Approve as {who}?')} [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")

"""``governed-db harden``: the SQL that makes the server refuse what the policy refuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from governed_db.cli.common import add_policy, failed

if TYPE_CHECKING:
    from governed_db.cli.hardening.wanted import Wanted
    from governed_db.identity import Identity
    from governed_db.policy import Policy

ROLE = "governed_agent=agent"
"""The role made where none is named: agents are who most policies are about."""


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "harden",
        help="print the SQL that makes the server refuse what the policy refuses",
        description="Print roles and privileges that make the server itself refuse what the policy refuses,"
        " for whoever gets past governed_db. Nothing is executed: read it, then run it as a superuser.",
        epilog="Exit status: 0 printed, 1 usage error or failure.",
    )
    parser.add_argument("--dsn", required=True, help="the database, as a role that may read its catalog")
    add_policy(parser)
    parser.add_argument(
        "--role",
        action="append",
        metavar="NAME=KIND",
        help="a role and who connects with it: agent, human, unknown, or KIND:SUBJECT such as"
        f" service:billing; may be given several times (default: {ROLE})",
    )
    parser.add_argument(
        "--sensitive",
        choices=("withhold", "grant"),
        default="withhold",
        help="withhold: leave masked columns out of SELECT, so that this role cannot read them at all;"
        " grant: leave masking to governed_db (default: %(default)s)",
    )
    parser.add_argument(
        "--with-approvals",
        action="store_true",
        help="grant as well what people may agree to: without it the server refuses it even when they have",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask, print and return the exit status."""
    from psycopg import Error

    try:
        text = _script(arguments)
    except (Error, OSError, ValueError) as error:  # a PolicyError is an Error of psycopg
        return failed("harden", error)
    sys.stdout.write(text)
    return 0


def _roles(given: Sequence[str] | None) -> dict[str, Identity]:
    from governed_db.identity import Identity

    roles: dict[str, Identity] = {}
    for item in given or [ROLE]:
        name, equals, kind = item.partition("=")
        if not name or not equals:
            raise ValueError(f"--role takes NAME=KIND, such as {ROLE}; got {item!r}")
        if name in roles:
            raise ValueError(f"--role names {name!r} twice")
        # A kind alone is somebody of that kind whom no rule names. A role can be called what a caller cannot.
        somebody = "".join(c for c in name if c.isprintable())
        roles[name] = Identity.parse(kind if ":" in kind or kind == "unknown" else f"{kind}:{somebody}")
    return roles


def _script(arguments: argparse.Namespace) -> str:
    from governed_db.cli import judging
    from governed_db.cli.hardening import facts as server
    from governed_db.cli.hardening.asking import Asker
    from governed_db.cli.hardening.script import sections
    from governed_db.cli.hardening.text import render
    from governed_db.cli.hardening.wanted import wanted

    roles = _roles(arguments.role)
    policy = judging.find_policy(arguments.policy)
    facts = server.read(arguments.dsn, roles)
    with judging.judge(policy, arguments.dsn) as judge:
        judge.survey()
        wants = [
            wanted(
                Asker(judge, identity, arguments.with_approvals),
                facts,
                name,
                hide=arguments.sensitive == "withhold",
            )
            for name, identity in roles.items()
        ]
    budgets = {name: policy.budget(identity) for name, identity in roles.items()}
    return render(
        _opening(policy, wants, arguments), sections(facts, wants, budgets), _closing(policy, wants)
    )


def _opening(policy: Policy, wants: Sequence[Wanted], arguments: argparse.Namespace) -> Iterator[str]:
    yield "What makes this server refuse what the policy refuses: a second wall behind the first."
    yield "Made by governed-db harden; run it as a superuser: psql -v ON_ERROR_STOP=1 -f FILE. It can be run"
    yield "again at any time, and has to be made again when the policy, the tables or the functions change."
    yield f"Policy: {policy.name} (version {policy.version})"
    for want in wants:
        yield f"Role: {want.role}, for {want.identity}"
    yield "A comment before a statement names the rule that it stands for."
    if not policy.enforce:
        yield "The policy only records (enforce = false); the server would refuse all the same."
    if arguments.sensitive == "withhold":
        yield "Masked columns are left out: SELECT * is refused on their tables, columns have to be named."
    if not arguments.with_approvals:
        yield "What needs approval is refused by the server even when approved (--with-approvals grants it)."


def _closing(policy: Policy, wants: Sequence[Wanted]) -> Iterator[str]:
    from governed_db.cli.hardening.beyond import beyond

    yield "==== what a server cannot express; only governed_db holds these"
    for want in wants:
        for said in beyond(policy, want.identity):
            yield f"{want.role}: {said}"

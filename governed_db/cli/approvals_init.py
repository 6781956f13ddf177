"""``governed-db approvals init``: the tables of approvals in PostgreSQL."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from governed_db.cli.common import FAILED, add_policy, clean, failed

_COMMAND = "approvals init"


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "init",
        help="make or migrate the tables of approvals in PostgreSQL",
        description="Make the schema governed_db in a PostgreSQL database, or bring it to this release's"
        " version. Safe to run again, and by several at once.",
    )
    parser.add_argument(
        "--dsn",
        default="",
        help="the database and a role that may create a schema there (default: where the policy's store is);"
        " passwords belong in a private file (~/.pgpass), because other users can see a command's arguments",
    )
    parser.add_argument(
        "--application", metavar="ROLE", default="", help="give ROLE what governed processes need"
    )
    parser.add_argument("--approver", metavar="ROLE", default="", help="give ROLE what approvers need")
    parser.add_argument("--print", action="store_true", help="print the SQL, and connect to nothing")
    add_policy(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Install, or print what would be run; return the exit status."""
    from governed_db.approval.install import install, script
    from governed_db.approval.store import StoreUnavailable
    from governed_db.errors import PolicyError

    if arguments.print:
        application = arguments.application or "governed_db_application"
        approver = arguments.approver or "governed_db_approver"
        sys.stdout.write(script(application, approver))
        return 0
    try:
        before, after = install(
            arguments.dsn or _configured(arguments.policy),
            application=arguments.application,
            approver=arguments.approver,
        )
    except (PolicyError, StoreUnavailable) as error:
        return failed(_COMMAND, error)
    except ValueError as error:
        print(f"governed-db {_COMMAND}: {clean(str(error))}", file=sys.stderr)
        return FAILED
    print(f"version {after}" if before == after else f"from version {before} to {after}")
    for role in filter(None, (arguments.application, arguments.approver)):
        print(f"{clean(role)} has what it needs")
    return 0


def _configured(named: str | None) -> str:
    from governed_db.approval.stores import find_dsn
    from governed_db.cli.judging import find_policy

    return find_dsn(find_policy(named).settings.approvals)

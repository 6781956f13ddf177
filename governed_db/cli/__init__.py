"""The ``governed-db`` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from governed_db.cli import approvals, audit, check, classify, demo, grants, harden, keys, policy

FAILED = 1
"""Exit status of a usage error, and of anything that kept a command from doing its work."""

INTERRUPTED = 130
"""What shells report for a program ended by Ctrl-C (128 + SIGINT)."""


class _Parser(argparse.ArgumentParser):
    # argparse ends with 2 on a usage error; 2 says "block" here, and no script may take one for the other.
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (by default the process's) and return the exit status.

    0; for ``check`` 2 (block) and 3 (needs approval), for ``classify --check`` 3 (something changed), for
    ``approvals approve`` 2 (the person did not agree);
    :data:`FAILED` for usage errors and failures.
    """
    parser = _Parser(
        prog="governed-db",
        description="Attributes, judges, masks and records what callers send to PostgreSQL.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check.add(commands)
    demo.add(commands)
    policy.add(commands)
    harden.add(commands)
    classify.add(commands)
    keys.add(commands)
    approvals.add(commands)
    grants.add(commands)
    audit.add(commands)
    try:
        arguments = parser.parse_args(argv)
        return int(arguments.run(arguments))
    except SystemExit as end:  # argparse: --help, --version, usage errors
        return end.code if isinstance(end.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output left (`| head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _version() -> str:
    import psycopg

    import governed_db

    return f"governed-db {governed_db.__governed_version__} (psycopg {psycopg.__version__})"

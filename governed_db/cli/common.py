"""What commands have in common: arguments, and how they print. Nothing heavy is imported here."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

FAILED = 1
"""Exit status of a usage error, and of anything that kept a command from doing its work."""

LABEL = 10
"""The column in which values start."""

WIDTH = 100
"""The column at which text is wrapped."""


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add ``--policy``."""
    parser.add_argument(
        "--policy",
        metavar="FILE|PRESET",
        help="a policy file, or observe, standard or readonly (default: the one in force)",
    )


def add_question(parser: argparse.ArgumentParser) -> None:
    """Add what a question about one statement consists of: the text, the database, the caller."""
    parser.add_argument("sql", metavar="SQL", help="the statement; '-' reads it from standard input")
    parser.add_argument(
        "--dsn",
        help="a database whose catalog says what names mean and which columns are masked; "
        "without it the text alone is judged",
    )
    parser.add_argument(
        "--as",
        dest="identity",
        metavar="KIND:NAME",
        help="who asks: agent:NAME, human:NAME, service:NAME or unknown (default: as the policy says)",
    )
    add_policy(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def statement_of(argument: str) -> bytes:
    """Return the very bytes that were given: whether they are text is for the judge to say."""
    return sys.stdin.buffer.read() if argument == "-" else os.fsencode(argument)


def clean(text: str) -> str:
    """Return ``text`` fit for a terminal: a name in a statement may hold anything."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def failed(command: str, error: BaseException) -> int:
    """Print what kept ``command`` from its work, with what would help where that is known; return 1."""
    said, remedy = str(error), getattr(error, "remedy", "")
    # libpq puts a hint on a line of its own, behind a tab.
    text = "\n".join(clean(part.expandtabs(2)) for part in said.splitlines())
    print(f"governed-db {command}: {text}", file=sys.stderr)
    if remedy and remedy not in said:
        print(f"  {clean(remedy)}", file=sys.stderr)
    return FAILED


def line(label: str, text: str, *, indent: int = LABEL) -> None:
    """Print ``label`` and ``text``, wrapped under itself; nothing where there is no text."""
    if text:
        blank = " " * indent
        filled = textwrap.fill(
            clean(text), WIDTH, initial_indent=blank, subsequent_indent=blank, break_on_hyphens=False
        )
        print(f"{label:<{indent}}{filled[indent:]}")


def print_json(answer: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    import orjson

    sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())

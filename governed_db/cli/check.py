"""``governed-db check``: what would be decided about a statement, without running it."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from governed_db.driver.connection import Connection
    from governed_db.governor import Governor
    from governed_db.identity import Identity
    from governed_db.masking.model import ColumnMask
    from governed_db.policy.model import Decision

STATUS = {"allow": 0, "block": 2, "needs_approval": 3}
"""Exit status by verdict; 1 is for usage errors and failures."""

_FAILED = 1
_LABEL = 10  # the column in which values start
_WIDTH = 100


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "check",
        help="say what would be decided about a statement",
        description="Say what would be decided about a statement, and why. Nothing of it is run.",
        epilog="Exit status: 0 allow, 1 usage error or failure, 2 block, 3 needs approval.",
    )
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
    parser.add_argument(
        "--policy",
        metavar="FILE|PRESET",
        help="a policy file, or observe, standard or readonly (default: the one in force)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge and print; return the exit status."""
    from psycopg import Error

    from governed_db.identity import Identity

    try:
        identity = Identity.parse(arguments.identity) if arguments.identity is not None else None
        sql = _statement(arguments.sql)
        governor = _governor(arguments.policy)
        try:
            decision, masks, caller = _judge(governor, sql, identity, arguments.dsn)
        finally:
            governor.close()
    except (Error, OSError, ValueError) as error:  # a PolicyError is an Error of psycopg
        print(f"governed-db check: {error}", file=sys.stderr)
        return _FAILED
    if arguments.json:
        _print_json(decision, masks, caller)
    else:
        _print_text(decision, masks, caller)
    return STATUS[decision.verdict]


def _statement(argument: str) -> bytes:
    """The very bytes that were given: whether they are text is for the judge to say."""
    return sys.stdin.buffer.read() if argument == "-" else os.fsencode(argument)


def _governor(policy: str | None) -> Governor:
    from governed_db.governor import Governor
    from governed_db.policy import PRESETS

    if policy is None:
        return Governor.configured()
    return Governor.preset(policy) if policy in PRESETS else Governor.load(policy)


def _judge(
    governor: Governor, sql: bytes, identity: Identity | None, dsn: str | None
) -> tuple[Decision, tuple[ColumnMask, ...] | None, Identity]:
    """Return the decision, the masked columns (``None``: not known without a database), and the caller."""
    from governed_db.driver.connection import Connection

    if dsn is None:
        caller = identity or governor.default_identity
        return governor.check(sql, identity=caller), None, caller
    # The bytes of the command line are UTF-8, whatever the database stores.
    with Connection.connect(dsn, governor=governor, identity=identity, client_encoding="UTF8") as connection:
        decision = governor.check(sql, identity=connection.identity, connection=connection)
        return decision, _masks(governor, decision, connection), connection.identity


def _masks(governor: Governor, decision: Decision, connection: Connection[Any]) -> tuple[ColumnMask, ...]:
    seat = connection._seat
    if decision.verdict == "block" or not governor.masks(connection.identity):
        return ()
    if seat.catalog is None or not decision.statement.commands:
        return ()
    return governor.plan(governor.bind(decision.statement, seat), seat.catalog).masks


def _print_json(decision: Decision, masks: tuple[ColumnMask, ...] | None, caller: Identity) -> None:
    import orjson

    statement = decision.statement
    answer = {
        "verdict": decision.verdict,
        "rule": decision.rule,
        "reason": decision.reason,
        "remedy": decision.remedy,
        "retryable": decision.retryable,
        "identity": str(caller),
        "row_cap": decision.row_cap,
        "approvers": decision.approvers,
        "masked": None
        if masks is None
        else [{"column": m.name, "label": m.label, "strategy": m.strategy} for m in masks],
        "shadowed": [{"rule": s.rule, "verdict": s.verdict} for s in decision.shadowed],
        "statement": {
            "summary": statement.summary,
            "normalised": statement.normalised,
            "fingerprint": statement.fingerprint,
        },
        "policy": decision.policy,
    }
    sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())


def _print_text(decision: Decision, masks: tuple[ColumnMask, ...] | None, caller: Identity) -> None:
    _line("verdict", decision.verdict.replace("_", " "))
    _line("caller", str(caller))
    _line("rule", decision.rule)
    _line("reason", decision.reason)
    _line("remedy", decision.remedy)
    if decision.verdict == "allow" and decision.row_cap is not None:
        _line("rows", f"up to {decision.row_cap} may be written, more need approval")
    _line("approvers", ", ".join(decision.approvers))
    if masks:
        _line("masked", ", ".join(f"{m.name} ({m.label})" for m in masks))
    _line("shadowed", ", ".join(f"{s.rule} would say {s.verdict}" for s in decision.shadowed))
    if masks is None:
        _line("note", "with --dsn a database says what names mean, and which columns are masked")


def _line(label: str, text: str) -> None:
    if text:
        indent = " " * _LABEL
        # A name in the statement may hold anything, and this goes to a terminal.
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        filled = textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
        print(f"{label:<{_LABEL}}{filled[_LABEL:]}")

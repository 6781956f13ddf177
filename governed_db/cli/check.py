"""``governed-db check``: what would be decided about a statement, without running it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from governed_db.cli.common import add_question, failed, line, print_json, statement_of

if TYPE_CHECKING:
    from governed_db.cli.judging import Judged

STATUS = {"allow": 0, "block": 2, "needs_approval": 3}
"""Exit status by verdict; 1 is for usage errors and failures."""


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "check",
        help="say what would be decided about a statement",
        description="Say what would be decided about a statement, and why. Nothing of it is run.",
        epilog="Exit status: 0 allow, 1 usage error or failure, 2 block, 3 needs approval.",
    )
    add_question(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge and print; return the exit status."""
    from psycopg import Error

    from governed_db.cli import judging
    from governed_db.identity import Identity

    try:
        identity = Identity.parse(arguments.identity) if arguments.identity is not None else None
        sql = statement_of(arguments.sql)
        with judging.judge(judging.find_policy(arguments.policy), arguments.dsn) as judge:
            judged = judge.ask(sql, identity=identity)
    except (Error, OSError, ValueError) as error:  # a PolicyError is an Error of psycopg
        return failed("check", error)
    if arguments.json:
        _print_json(judged)
    else:
        _print_text(judged)
    return STATUS[judged.decision.verdict]


def _print_json(judged: Judged) -> None:
    from attrs import asdict

    from governed_db.cli.judging import spending

    decision, masks, request = judged.decision, judged.masks, judged.request
    statement = decision.statement
    estimate = request.estimate if request is not None else None
    print_json(
        {
            "verdict": decision.verdict,
            "rule": decision.rule,
            "reason": decision.reason,
            "remedy": decision.remedy,
            "retryable": decision.retryable,
            "identity": str(judged.caller),
            "row_cap": decision.row_cap,
            "approvers": decision.approvers,
            "masked": None
            if masks is None
            else [{"column": m.name, "label": m.label, "strategy": m.strategy} for m in masks],
            "redacted": [{"column": r.name, "label": r.label} for r in judged.redacted],
            "shadowed": [{"rule": s.rule, "verdict": s.verdict} for s in decision.shadowed],
            "budget": spending(decision),
            "estimate": None if estimate is None else asdict(estimate),
            "statement": {
                "summary": statement.summary,
                "normalised": statement.normalised,
                "fingerprint": statement.fingerprint,
            },
            "policy": decision.policy,
        }
    )


def _print_text(judged: Judged) -> None:
    from governed_db.cli.judging import estimate_text, spending_text

    decision = judged.decision
    line("verdict", decision.verdict.replace("_", " "))
    line("caller", str(judged.caller))
    line("rule", decision.rule)
    line("reason", decision.reason)
    line("remedy", decision.remedy)
    if decision.verdict == "allow" and decision.row_cap is not None:
        line("rows", f"up to {decision.row_cap} may be written, more need approval")
    line("estimate", estimate_text(judged.request, decision))
    line("budget", spending_text(decision))
    line("approvers", ", ".join(decision.approvers))
    if judged.masks:
        line("masked", ", ".join(f"{m.name} ({m.label})" for m in judged.masks))
    if judged.redacted:
        line("redacted", ", ".join(f"{r.name} ({r.label})" for r in judged.redacted))
    line("shadowed", ", ".join(f"{s.rule} would say {s.verdict}" for s in decision.shadowed))
    if judged.masks is None:
        line("note", "with --dsn a database says what names mean, and which columns are masked")

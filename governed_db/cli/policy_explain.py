"""``governed-db policy explain``: which rules are held against a statement, and why one of them wins."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import TYPE_CHECKING, Any

from governed_db.cli.common import add_question, failed, line, print_json, statement_of

if TYPE_CHECKING:
    from governed_db.cli.judging import Judged
    from governed_db.policy import Policy
    from governed_db.policy.explain import ExplainedPart, Look

_MATCH = ("no", "maybe", "yes")


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "explain",
        help="show which rules are held against a statement, and why one of them wins",
        description="Show the parts of a statement, the rules held against each from top to bottom, and"
        " why the winner wins. Nothing of the statement is run.",
        epilog="Exit status: 0 explained, whatever the verdict; 1 usage error or failure.",
    )
    add_question(parser)
    parser.add_argument("--on-behalf-of", metavar="KIND:NAME", help="whom the caller acts for; needs --as")
    parser.add_argument(
        "--group", action="append", default=[], metavar="NAME", help="a group of the caller; needs --as"
    )
    parser.add_argument(
        "--at",
        metavar="TIME",
        help="when it is asked, for rules with a time window: 2026-03-02T22:00:00+01:00 (default: now)",
    )
    parser.add_argument(
        "--environment", metavar="NAME", help="where it is asked, for rules with an environment"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge, explain and print; return the exit status."""
    from attrs import evolve
    from psycopg import Error

    from governed_db.cli import judging
    from governed_db.identity import Identity
    from governed_db.policy.explain import explain

    try:
        identity = Identity.parse(arguments.identity) if arguments.identity is not None else None
        if identity is None and (arguments.on_behalf_of or arguments.group):
            raise ValueError("--on-behalf-of and --group need --as, which says who asks")
        if identity is not None:
            principal = Identity.parse(arguments.on_behalf_of) if arguments.on_behalf_of else None
            identity = evolve(identity, on_behalf_of=principal, groups=frozenset(arguments.group))
        at = None if arguments.at is None else _moment(arguments.at)
        policy = judging.find_policy(arguments.policy)
        sql = statement_of(arguments.sql)
        with judging.judge(policy, arguments.dsn) as judge:
            judged = judge.ask(sql, identity=identity, at=at, environment=arguments.environment)
            parts = explain(judge.governor.policy, judged.request) if judged.request is not None else ()
    except (Error, OSError, ValueError) as error:  # a PolicyError is an Error of psycopg
        return failed("policy explain", error)
    if arguments.json:
        _print_json(policy, judged, parts)
    else:
        _print_text(policy, judged, parts)
    return 0


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("--at needs its offset from UTC, such as 2026-03-02T22:00:00+01:00")
    return moment


def _print_text(policy: Policy, judged: Judged, parts: tuple[ExplainedPart, ...]) -> None:
    from governed_db.cli.judging import estimate_text, spending_text
    from governed_db.policy.explain import precedence

    decision = judged.decision
    line("verdict", decision.verdict.replace("_", " "))
    line("caller", str(judged.caller))
    line("policy", f"{policy.name}{'' if policy.enforce else ' (only recorded: enforce = false)'}")
    line("rule", decision.rule)
    line("reason", decision.reason)
    for number, part in enumerate(parts, 1):
        _print_part(number, part)
    winner = next((p for p in parts if p.wins), None)
    print()
    if winner is not None:
        line("winner", f"{winner.rule}, for {winner.what}: {precedence(parts)}")
        if (winner.rule, winner.verdict) != (decision.rule, decision.verdict):
            line("after it", f"what comes behind the rules decided: {decision.rule}")
    if decision.row_cap is not None:
        line("rows", f"up to {decision.row_cap} may be written, more need approval")
    line("shadow", ", ".join(f"{s.rule} would say {s.verdict}" for s in decision.shadowed))
    line("estimate", estimate_text(judged.request, decision))
    line("budget", spending_text(decision))
    line("remedy", decision.remedy)
    if judged.masks is None:
        line("note", "no database was asked: names were judged as written, and masks are not known (--dsn)")
    else:
        masked = ", ".join(f"{m.name} ({m.label}, {m.strategy})" for m in judged.masks)
        line("masked", masked or "nothing")
        redacted = ", ".join(f"{r.name} ({r.label})" for r in judged.redacted)
        line("rewritten", f"it runs over redacted values of {redacted}" if redacted else "")


def _print_part(number: int, part: ExplainedPart) -> None:
    from governed_db.policy.explain import why

    print()
    line(f"part {number}", f"{part.what}{' (' + part.part.note + ')' if part.part.note else ''}")
    for look in part.looks:
        line("", f"{_MATCH[look.match]:<6} {look.rule}{_aside(look)}")
    if part.rule == "default":
        line("", "-      default")
    answer = part.verdict.replace("_", " ")
    more = (
        f"; the text writes {part.too_many} rows, above the rule's cap" if part.too_many is not None else ""
    )
    line("", f"so     {answer}, by {part.rule}: {why(part)}{more}")


def _aside(look: Look) -> str:
    shadow = "in shadow, " if look.shadow else ""
    if not look.match:
        return f": {' and '.join(look.conditions) or 'its case'} not met"
    if look.match == 1:
        return f": {shadow}{', '.join(look.conditions) or 'a condition'} cannot be told here"
    return f": {shadow}{look.verdict.replace('_', ' ')}, {look.because}"


def _print_json(policy: Policy, judged: Judged, parts: tuple[ExplainedPart, ...]) -> None:
    from attrs import asdict

    from governed_db.cli.judging import spending
    from governed_db.policy.explain import precedence, why

    decision, request, masks = judged.decision, judged.request, judged.masks
    estimate = request.estimate if request is not None else None
    print_json(
        {
            "verdict": decision.verdict,
            "rule": decision.rule,
            "reason": decision.reason,
            "remedy": decision.remedy,
            "identity": str(judged.caller),
            "policy": {"name": policy.name, "version": policy.version, "enforce": policy.enforce},
            "precedence": precedence(parts) if parts else "",
            "parts": [
                {
                    "what": part.what,
                    "note": part.part.note,
                    "verdict": part.verdict,
                    "rule": part.rule,
                    "why": why(part),
                    "wins": part.wins,
                    "rules": [
                        {
                            "rule": look.rule,
                            "origin": look.origin,
                            "match": _MATCH[look.match],
                            "verdict": look.verdict,
                            "shadow": look.shadow,
                            "conditions": look.conditions,
                        }
                        for look in part.looks
                    ],
                }
                for part in parts
            ],
            "row_cap": decision.row_cap,
            "shadowed": [{"rule": s.rule, "verdict": s.verdict} for s in decision.shadowed],
            "budget": spending(decision),
            "estimate": None if estimate is None else asdict(estimate),
            "wants_estimate": decision.wants_estimate,
            "masked": None
            if masks is None
            else [{"column": m.name, "label": m.label, "strategy": m.strategy} for m in masks],
            "redacted": [{"column": r.name, "label": r.label} for r in judged.redacted],
        }
    )

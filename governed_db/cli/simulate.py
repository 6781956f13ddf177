"""``governed-db policy simulate``: what another policy would have said of the statements of the trail."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from governed_db.cli.common import failed, line, print_json
from governed_db.cli.trail import add_trail, entries, folder_of, in_force, note_read, shelf_of

if TYPE_CHECKING:
    from governed_db.policy.simulate import Change, MaskChange, Simulation

CHANGES = 3
"""Exit status where something would change."""

SHOWN = 20
"""Changes of each sort that are printed by default; ``--all`` and ``--json`` print every one."""

_LABEL = 12
_TEXT = 300  # characters of a statement that are printed


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "simulate",
        help="say which verdicts and masks of the trail another policy would change",
        description="Judge the statements of the trail again under another policy, each with the catalog it "
        "ran on, and list every verdict and every mask that would change. Nothing is run.",
        epilog="Exit status: 0 nothing would change, 1 usage error or failure, 3 something would.",
    )
    parser.add_argument("policy", metavar="NEW", help="a policy file, or observe, standard or readonly")
    add_trail(parser)
    parser.add_argument(
        "--was",
        metavar="FILE",
        action="append",
        default=[],
        help="a policy that was in force when the trail was written (default: the one that is now): it tells "
        "what values the trail does not hold must have been",
    )
    parser.add_argument(
        "--all", action="store_true", help=f"print every change, not only {SHOWN} of each sort"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Simulate and print; return the exit status."""
    from governed_db.cli.judging import find_policy
    from governed_db.errors import PolicyError
    from governed_db.policy.simulate import simulate

    try:
        policy = find_policy(arguments.policy)
        then = [find_policy(was) for was in arguments.was] or [p for p in (in_force(),) if p is not None]
        folder = folder_of(arguments)
        note_read(folder, "policy simulate")
        found = simulate(entries(folder, arguments.since), policy, shelf_of(arguments, folder), then=then)
        if not found.statements:
            raise ValueError(f"{folder} holds no statement that could be judged again")
    except (OSError, PolicyError, ValueError) as error:
        return failed("policy simulate", error)
    if arguments.json:
        print_json(_plain(found))
    else:
        _print(found, None if arguments.all else SHOWN)
    return 0 if found.same else CHANGES


def _plain(found: Simulation) -> dict[str, Any]:
    from attrs import asdict

    return {
        "policy": found.policy,
        "version": found.version,
        "first": found.first,
        "last": found.last,
        "statements": found.statements,
        "replayed": found.replayed,
        "changed": found.changed,
        "changes": [asdict(change) for change in found.changes],
        "masks": [asdict(change) for change in found.masks],
        "not_replayed": found.not_replayed,
        "masks_untold": found.masks_untold,
        "text_only": found.text_only,
        "damage": found.damage,
    }


def _print(found: Simulation, shown: int | None) -> None:
    span = f", {found.first[:16]} to {found.last[:16]}" if found.first else ""
    _line("trail", f"{found.statements} statements{span}")
    _line("policy", f"{found.policy} (version {found.version})")
    _line("replayed", f"{found.replayed}")
    if found.text_only:
        _line("", f"{found.text_only} of them by their text alone: they were recorded without a catalog")
    for why, count in found.not_replayed.items():
        _line("", f"not {count}: {why}")
    for why, count in found.masks_untold.items():
        _line("", f"without masks {count}: {why}")
    if found.damage:
        _line("damage", f"{found.damage} places of the trail cannot be read")
    _line("verdicts", f"{found.changed} statements would be judged otherwise")
    _line("masks", f"{sum(m.count for m in found.masks)} times a column would be masked otherwise")
    for change in found.changes[:shown]:
        print()
        _change(change)
    _more(len(found.changes), shown, "texts whose verdict would change")
    for mask in found.masks[:shown]:
        print()
        _mask(mask)
    _more(len(found.masks), shown, "columns that would be masked otherwise")


def _more(count: int, shown: int | None, what: str) -> None:
    if shown is not None and count > shown:
        print(f"\n... and {count - shown} more {what} (--all)")


def _change(change: Change) -> None:
    words = [v.replace("_", " ") for v in (change.was, change.becomes)]
    _line("verdict", f"{words[0]} -> {words[1]}, {change.count} times")
    _line("rule", f"{change.was_rule} -> {change.rule}")
    _line("reason", change.reason)
    _line("callers", _callers(change.callers, change.count))
    _line("statement", _short(change.text))


def _mask(change: MaskChange) -> None:
    before, after = change.was or "not masked", change.becomes or "not masked"
    _line("mask", f"{change.column}: {before} -> {after}, {change.count} times")
    _line("callers", _callers(change.callers, change.count))
    _line("statement", _short(change.text))


def _callers(callers: dict[str, int], count: int) -> str:
    listed = ", ".join(f"{caller} ({n})" for caller, n in callers.items())
    others = count - sum(callers.values())
    return f"{listed}, others ({others})" if others else listed


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else text[:_TEXT] + " ..."


def _line(label: str, text: str) -> None:
    line(label, text, indent=_LABEL)

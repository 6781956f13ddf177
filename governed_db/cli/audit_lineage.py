"""``governed-db audit lineage``: which columns went to whom, and what for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli.audit import folder_of
from governed_db.cli.common import clean, failed
from governed_db.cli.selecting import Out, add_selection, selection_of
from governed_db.cli.trail import note_read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from governed_db.audit.flows import Flow, Way
    from governed_db.audit.outfile import Sink
    from governed_db.audit.view import Entry

SHOWN = 200
"""Flows that the table has by default; ``--all``, ``json`` and ``openlineage`` have every one."""

_COMMAND = "audit lineage"


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "lineage",
        help="say which columns went to which caller, for whom and for what purpose",
        description="Say which columns went to which caller, for whom, for what purpose, and masked how."
        " openlineage writes one run event a statement, with column lineage.",
    )
    parser.add_argument("--format", choices=("table", "json", "openlineage"), default="table")
    parser.add_argument("--out", metavar="FILE", type=Path, help="default: standard output")
    parser.add_argument("--all", action="store_true", help=f"every flow, not only {SHOWN}")
    add_selection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the flows; return the exit status."""
    from governed_db.audit.outfile import whole
    from governed_db.audit.select import entries
    from governed_db.errors import PolicyError

    try:
        folder, selection = folder_of(arguments), selection_of(arguments)
        note_read(folder, "lineage", selection.words())
        found = entries(folder, selection)
        if arguments.out is None:
            _write(found, arguments, Out())
            Out().flush()
        else:
            with whole(arguments.out) as file:
                _write(found, arguments, file)
    except BrokenPipeError:
        raise
    except (OSError, PolicyError) as error:
        return failed(_COMMAND, error)
    return 0


def _write(found: Iterable[Entry], arguments: argparse.Namespace, out: Sink) -> None:
    from governed_db.audit.export import line
    from governed_db.audit.flows import as_json, flows
    from governed_db.audit.openlineage import events

    if arguments.format == "openlineage":
        for event in events(found):
            out.write(line(event))
        return
    table = flows(found)
    ordered = sorted(table.rows.items(), key=lambda row: (row[0].column, -row[1].statements, row[0]))
    if arguments.format == "json":
        for way, flow in ordered:
            out.write(line(as_json(way, flow)))
    else:
        _print(ordered, None if arguments.all else SHOWN, out)
    if table.beyond:
        print(f"{table.beyond} statements of further flows are not told apart", file=sys.stderr)


def _print(ordered: list[tuple[Way, Flow]], shown: int | None, out: Sink) -> None:
    column = None
    for way, flow in ordered[:shown]:
        if way.column != column:
            out.write(f"{'' if column is None else chr(10)}{clean(way.column)}\n".encode())
            column = way.column
        who = f"{way.caller} for {way.behalf}" if way.behalf else way.caller
        how = f"{way.how}, masked by {way.mask}" if way.mask else way.how
        purpose = f", to {way.purpose}" if way.purpose else ""
        times = f"{flow.statements:,} statements" if flow.statements != 1 else "1 statement"
        said = f"{who}{purpose}: {how}; {times}, {flow.rows:,} rows, last {flow.last[:19]}"
        out.write(f"  {clean(said)}\n".encode())
    if shown is not None and len(ordered) > shown:
        out.write(f"\n... and {len(ordered) - shown:,} more flows (--all)\n".encode())

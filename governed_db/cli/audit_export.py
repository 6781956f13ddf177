"""``governed-db audit export``: the trail as OCSF, JSON lines, CSV or Parquet."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli.audit import folder_of
from governed_db.cli.common import FAILED, failed
from governed_db.cli.selecting import Out, add_selection, selection_of
from governed_db.cli.trail import note_read

if TYPE_CHECKING:
    from collections import Counter

_FORMATS = ("jsonl", "csv", "ocsf", "parquet")
_COMMAND = "audit export"


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "export",
        help="write the trail as JSON lines, CSV, OCSF events or Parquet",
        description="Write what is selected of the trail, in a format of others. A file appears when it is"
        " whole, readable by its owner alone, and replaces one of that name.",
    )
    parser.add_argument("--format", choices=_FORMATS, default="jsonl", help="default: jsonl")
    parser.add_argument("--out", metavar="FILE", type=Path, help="default: standard output (not for Parquet)")
    parser.add_argument(
        "--statements", action="store_true", help="leave out events, starts and stops of processes"
    )
    add_selection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export; return the exit status."""
    from governed_db.audit.export import export
    from governed_db.audit.outfile import whole
    from governed_db.audit.reader import statements
    from governed_db.errors import PolicyError

    form: str = arguments.format
    if form == "parquet" and arguments.out is None:
        print(f"governed-db {_COMMAND}: parquet needs --out FILE", file=sys.stderr)
        return FAILED
    try:
        folder = folder_of(arguments)
        selection = selection_of(arguments)
        note_read(folder, "export", [form, *selection.words()])
        found = statements(folder, beside=form == "ocsf" or not arguments.statements)
        if arguments.out is None:
            written = export(found, form, Out(), selection)
            Out().flush()
        else:
            with whole(arguments.out) as file:
                written = export(found, form, file, selection)
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        print(f"governed-db {_COMMAND}: this needs `pip install 'governed-db[parquet]'`", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        raise
    except (OSError, PolicyError, ValueError) as error:
        return failed(_COMMAND, error)
    _tell(written)
    return 0


def _tell(written: Counter[str]) -> None:
    statements = sum(written[kind] for kind in ("intent", "refusal", "attempt"))
    left_out, damage = written["left out"], written["damage"]
    said = [f"{statements} statements"]
    others = written.total() - statements - left_out - damage
    if others:
        said.append(f"{others} other records")
    if left_out:
        said.append(f"{left_out} records left out that are no statements")
    if damage:
        said.append(f"{damage} places where the trail is damaged")
    print(", ".join(said), file=sys.stderr)

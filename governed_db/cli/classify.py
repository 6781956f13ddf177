"""``governed-db classify``: which columns of a database are sensitive, why, and what has changed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from governed_db.cli.common import clean, failed, print_json

if TYPE_CHECKING:
    from governed_db.masking.report import Change, Entries, Entry, Path

DRIFT = 3
"""Exit status of ``--check`` where the database is not what the file says."""

_FILE = "governed-db-classification.toml"


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "classify",
        help="say which columns of a database are sensitive, and why",
        description="Say which columns of a database are sensitive, as what, how sure that is and why."
        " No value is ever shown.",
        epilog=f"Exit status: 0, and with --check {DRIFT} where something changed; 1 usage error or failure.",
    )
    parser.add_argument("dsn", metavar="DSN", help="the database, such as dbname=shop")
    parser.add_argument(
        "--sample",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look at a few rows of each table as well (default: yes)",
    )
    parser.add_argument(
        "--all", action="store_true", help="show as well the columns that were left plain, with why"
    )
    parser.add_argument(
        "--format", choices=("text", "json", "toml"), default="text", help="how to print (default: text)"
    )
    files = parser.add_mutually_exclusive_group()
    files.add_argument(
        "--write",
        nargs="?",
        const=_FILE,
        metavar="FILE",
        help=f"write a file to review (default: {_FILE}); what people decided in it is kept",
    )
    files.add_argument(
        "--check",
        nargs="?",
        const=_FILE,
        metavar="FILE",
        help=f"compare with that file, and end with {DRIFT} where something changed",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Classify, compare, write and print; return the exit status."""
    from psycopg import Error

    from governed_db.masking import report

    file = arguments.write or arguments.check
    try:
        before = None if file is None else _read(file, must_exist=arguments.write is None)
        entries, evidence, unsampled = _classify(arguments.dsn, before or {}, sample=arguments.sample)
        if before is not None and not arguments.sample:
            entries, evidence = report.unsampled(before, entries), report.unsampled(before, evidence)
        changes = None if before is None else report.compare(before, entries, evidence)
        entries = report.merged(before or {}, entries)
        if arguments.write is not None:
            _write(file, entries)
    except (Error, OSError, ValueError) as error:  # a PolicyError is an Error of psycopg
        return failed("classify", error)
    if arguments.format == "json":
        _print_json(entries, changes, unsampled)
    elif arguments.format == "toml":
        from governed_db.policy.classification import render

        sys.stdout.write(render(entries))
    else:
        closing = _closing(entries, changes, unsampled, arguments)
        for line in (*_table(entries, everything=arguments.all), *closing):
            print(clean(line))
    return DRIFT if arguments.check is not None and changes else 0


def _classify(
    dsn: str, before: Entries, *, sample: bool
) -> tuple[Entries, Entries, tuple[tuple[str, str], ...]]:
    """Return what is found, in the light of what people decided and without it, and what was not sampled."""
    from governed_db import masking
    from governed_db.cli import judging
    from governed_db.masking import inventory, reviewed
    from governed_db.policy import preset

    # No policy of the caller's: the file is about the database, and what it says goes into policies.
    with judging.judge(preset("standard"), dsn) as judge:
        assert judge.catalog is not None
        catalog = judge.catalog
        if sample:
            # Labels that nobody has looked at are found anew, and what hangs on them with them.
            decided = reviewed.said(before, catalog).overrides
            judge.survey()
        else:
            decided, _ = reviewed.overrides(catalog, {}, before)
        values = judge.governor.samples.sensitive(catalog)
        found = masking.classify(catalog, None, values)
        standing = masking.classify(catalog, decided, values)
        return (
            inventory.described(catalog, found, standing),
            inventory.described(catalog, found),
            judge.governor.samples.told(),
        )


def _read(file: str, *, must_exist: bool) -> Entries | None:
    """Return what the file says, ``None`` where there is none yet."""
    from pathlib import Path

    from governed_db.policy.classification import read

    try:
        text = Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise ValueError(f"there is no {file} to compare with; --write {file} makes one") from None
        return None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8, so it is no classification") from None
    return read(text, file)


def _write(file: str, entries: Entries) -> None:
    """Put the file there as a whole: a policy may be reading it."""
    from pathlib import Path
    from tempfile import NamedTemporaryFile

    from governed_db.policy.classification import render

    path = Path(file).resolve()
    with NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as beside:
        try:
            beside.write(render(entries))
            beside.flush()
            # It holds names and no values. Others must not write to what a policy trusts.
            os.fchmod(beside.fileno(), 0o644)
            os.fsync(beside.fileno())
            os.replace(beside.name, path)
        except BaseException:
            os.unlink(beside.name)
            raise


def _table(entries: Entries, *, everything: bool) -> Iterator[str]:
    shown = {p: e for p, e in entries.items() if e.label or e.given or (everything and e.because)}
    if not shown:
        return
    reviewed = any(e.decided != "auto" for e in shown.values())
    rows = [("column", "type", "label", "conf", "basis", *(("decided",) if reviewed else ()), "why")]
    rows += [_row(path, entry, reviewed) for path, entry in shown.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(path: Path, entry: Entry, reviewed: bool) -> tuple[str, ...]:
    return (
        ".".join(path),
        entry.type,
        entry.label or "-",
        f"{entry.confidence:.2f}" if entry.label else "-",
        entry.basis or "-",
        *((entry.decided,) if reviewed else ()),
        entry.because,
    )


def _closing(
    entries: Entries,
    changes: Sequence[Change] | None,
    unsampled: Sequence[tuple[str, str]],
    arguments: argparse.Namespace,
) -> Iterator[str]:
    from governed_db.policy.written import value

    masked = sum(bool(entry.given) for entry in entries.values())
    rejected = sum(entry.decided == "rejected" for entry in entries.values())
    close = sum(not e.label and not e.given and bool(e.because) for e in entries.values())
    if masked or close:
        yield ""
    tables = len({path[:2] for path in entries})
    said = f"{masked} of {len(entries)} columns in {tables} relations are sensitive"
    yield said + (f", {rejected} more were rejected" if rejected else "")
    if close and not arguments.all:
        yield f"{close} that look like it were left plain (--all shows them)"
    yield from (f"rows of {relation} were not looked at: {why}" for relation, why in unsampled)
    if changes is not None:
        yield ""
        yield _since(changes, arguments.write or arguments.check)
        yield from (f"  {change.kind}: {'.'.join(change.path)}: {change.said}" for change in changes)
    if arguments.write is not None:
        yield f"written to {arguments.write}; review it, and name it in a policy:"
        yield "  [masking]"
        yield f"  classification = {value(os.path.abspath(arguments.write))}"


def _since(changes: Sequence[Change], file: str) -> str:
    if not changes:
        return f"nothing changed since {file}"
    return f"{len(changes)} change{'s' * (len(changes) != 1)} since {file}:"


def _print_json(
    entries: Entries, changes: Sequence[Change] | None, unsampled: Sequence[tuple[str, str]]
) -> None:
    from attrs import asdict

    print_json(
        {
            "columns": [
                {"schema": path[0], "relation": path[1], "column": path[2], **asdict(entry)}
                for path, entry in entries.items()
            ],
            "changes": None
            if changes is None
            else [
                {"column": ".".join(change.path), "kind": change.kind, "said": change.said}
                for change in changes
            ],
            "unsampled": [{"relation": relation, "because": why} for relation, why in unsampled],
        }
    )

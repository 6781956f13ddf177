"""The trail in formats of others: one entry at a time, whatever its length.

- ``jsonl``: the entries as :func:`governed_db.audit.statements` has them, a JSON object a line: everything.
- ``csv``: :data:`governed_db.audit.flat.COLUMNS` by RFC 4180, safe to open in a spreadsheet.
- ``parquet``: the same columns with their types (needs the extra ``parquet``).
- ``ocsf``: statements as OCSF Datastore Activity, a JSON object a line.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import import_module
from typing import Any

import orjson

from governed_db.audit import flat, ocsf, view
from governed_db.audit.outfile import Sink
from governed_db.audit.select import EVERYTHING, Selection
from governed_db.audit.view import Entry

FORMATS = ("jsonl", "csv", "ocsf", "parquet")

CHUNK = 512
"""Rows of CSV that are put together before they are written: some 300 KB, and a tenth of the calls."""

# Characters that a terminal would obey, or that turn text around, as UTF-8: C0 but for what JSON's writer has
# escaped already, DEL, C1, and Unicode's marks of direction.
_OBEYED = re.compile(b"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
_OBEYED_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# What begins a formula for some spreadsheet, the wide forms that it folds, and the quote that says "text".
_FORMULA = frozenset("=+-@'\uff1d\uff0b\uff0d\uff20\uff07")


def export(entries: Iterable[Entry], form: str, out: Sink, selection: Selection = EVERYTHING) -> Counter[str]:
    """Write the ``entries`` that are wanted to ``out``; return how many of each kind were written.

    Under ``ocsf`` what is no statement is counted as ``left out``: the class has no place for it. The hosts
    that statements came from are told by the starts of processes, wanted or not.

    Raises:
        ValueError: the format is none of :data:`FORMATS`.
        ImportError: it needs an extra that is not installed.
        OSError: ``out`` cannot be written to.
    """
    written: Counter[str] = Counter()
    mapper = ocsf.Mapper()

    def wanted() -> Iterator[Entry]:
        for entry in entries:
            mapper.note(entry)
            if selection.wants(entry):
                written[view.text(entry, "kind")] += 1
                yield entry

    match form:
        case "jsonl":
            _jsonl(wanted(), out)
        case "csv":
            _csv(wanted(), out)
        case "ocsf":
            _ocsf(wanted(), out, mapper, written)
        case "parquet":
            # Loaded when it is wanted: pyarrow is an extra, and takes a third of a second.
            import_module("governed_db.audit.parquet").write(wanted(), out)
        case _:
            raise ValueError(f"there is no format {form!r}; known are {', '.join(FORMATS)}")
    return written


def cell(value: str) -> str:
    """Return ``value`` as a cell of CSV that no spreadsheet takes for a formula and no terminal obeys.

    A ``'`` stands before what begins, after blanks, with one of ``= + - @``, or with ``'`` itself: taking one
    away gives the text again. Control characters are written as ``\\u001b``; line breaks and tabs stay.
    """
    if _OBEYED_TEXT.search(value):
        value = _OBEYED_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    return f"'{value}" if value.lstrip()[:1] in _FORMULA and value.strip() else value


def line(entry: object) -> bytes:
    """Return one line of JSON without a character that a terminal would obey."""
    made = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
    return _OBEYED.sub(_escaped, made) if _OBEYED.search(made) else made


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(found[0].decode())


def _jsonl(entries: Iterable[Entry], out: Sink) -> None:
    for entry in entries:
        out.write(line(entry))


def _ocsf(entries: Iterable[Entry], out: Sink, mapper: ocsf.Mapper, written: Counter[str]) -> None:
    for entry in entries:
        mapped = mapper.event(entry)
        if mapped is None:
            written[view.text(entry, "kind")] -= 1
            written["left out"] += 1
        else:
            out.write(line(mapped))


def _csv(entries: Iterable[Entry], out: Sink) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([column.name for column in flat.COLUMNS])

    def spill() -> None:
        out.write(buffer.getvalue().encode("utf-8", "backslashreplace"))
        buffer.seek(0)
        buffer.truncate()

    for number, entry in enumerate(entries, start=1):
        writer.writerow([_plain(value) for value in flat.row(entry)])
        if number % CHUNK == 0:
            spill()
    spill()


def _plain(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return cell(value)
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case list():
            return cell(orjson.dumps(value).decode())
        case _:
            return str(value)

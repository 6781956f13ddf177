"""Entries of the trail as lines for people: coloured on a terminal, whole where they go to a file."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from governed_db.cli.common import clean

if TYPE_CHECKING:
    from governed_db.audit.view import Entry

NARROW = 110
"""Columns below which an entry takes two lines: what is fixed fills 45 of them."""

LEAST = 30
"""Columns that are assumed at the least; below them nothing could be read in any layout."""

_RESET = "\x1b[0m"
_STYLES = {"good": "\x1b[32m", "bad": "\x1b[1;31m", "wait": "\x1b[33m", "name": "\x1b[35m", "dim": "\x1b[2m"}
_VERDICTS = {
    "allow": ("allowed", "good"),
    "approved": ("approved", "good"),
    "needs_approval": ("approval", "wait"),
    "block": ("blocked", "bad"),
}
_CALM = frozenset({"ok", "running", ""})

Cells = list[tuple[str, str]]  # text, and the name of its style


class Lines:
    """Writes entries to ``out``.

    Args:
        out: where to.
        colour: whether to use colours; by default on a terminal, unless NO_COLOR is set or it is dumb.
    """

    def __init__(self, out: TextIO, colour: bool | None = None) -> None:
        self.out = out
        self.terminal = out.isatty()
        if colour is None:
            colour = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.colour = colour
        self._day = ""

    def write(self, entry: Entry) -> None:
        """Write one entry: a line, two on a narrow terminal; on a terminal days have a line of their own."""
        at = str(entry.get("at", ""))
        if not self.terminal:
            self.out.write(self._joined([(f"{at:<27}", "dim"), *_fixed(entry), *_free(entry)], None))
            return
        if at[:10] != self._day:
            self._day = at[:10]
            self.out.write(self._joined([(f"{self._day or 'no date'} (UTC)", "dim")], None))
        # Asked each time: windows change their size while they follow.
        width = max(LEAST, shutil.get_terminal_size().columns)
        when: Cells = [(f"{at[11:23]:<12}", "dim")]
        if width >= NARROW:
            self.out.write(self._joined([*when, *_fixed(entry), *_free(entry)], width))
        else:
            self.out.write(self._joined([*when, *_fixed(entry)], width))
            self.out.write(self._joined([(" ", ""), *_free(entry)], width))

    def _joined(self, cells: Cells, width: int | None) -> str:
        made, left = [], width
        for index, (text, style) in enumerate(c for c in cells if c[0]):
            shown = clean(text)
            gap = "  " if index else ""
            if left is not None:
                shown = fit(shown, left - len(gap))
                left -= len(gap) + cells_of(shown)
            if not shown:
                break
            made.append(gap + (f"{_STYLES[style]}{shown}{_RESET}" if style and self.colour else shown))
        return "".join(made).rstrip() + "\n"


def cells_of(text: str) -> int:
    """Return how many cells of a terminal ``text`` takes."""
    return sum(_cells(c) for c in text)


def fit(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` cells, with an ellipsis where something is cut off."""
    if cells_of(text) <= width:
        return text
    if width < 1:
        return ""
    taken, used = [], 1
    for c in text:
        used += _cells(c)
        if used > width:
            break
        taken.append(c)
    return "".join(taken).rstrip() + "…"


def caller(entry: Entry) -> str:
    """Return who it was, and on whose behalf."""
    from governed_db.audit import view

    return " for ".join(view.callers(entry))


def verdict(entry: Entry) -> tuple[str, str]:
    """Return what was decided, in a word, and the word's style."""
    from governed_db.audit import view

    said = view.verdict(entry)
    if said == "allow" and view.part(entry, "may").get("approval"):
        said = "approved"
    return _VERDICTS.get(said, (said, "wait"))


def _cells(c: str) -> int:
    if unicodedata.combining(c):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def _fixed(entry: Entry) -> Cells:
    from governed_db.audit import view

    if not view.is_statement(entry):
        kind = view.text(entry, "kind")
        return [(f"{kind:<17}", "bad" if kind == view.DAMAGE else "dim"), (" " * 18, "")]
    word, style = verdict(entry)
    status = view.status(entry)
    rows = view.rows(entry)
    duration = view.number(view.part(entry, "happened"), "duration_us")
    return [
        (f"{word:<8}", style),
        (f"{status:<9}", "" if status in _CALM else "bad" if status == "error" else "wait"),
        (f"{_milliseconds(duration):>9}", "dim"),
        (f"{'' if rows is None else _rows(rows):>11}", ""),
    ]


def _free(entry: Entry) -> Iterator[tuple[str, str]]:
    from governed_db.audit import view

    yield caller(entry), "name"
    yield view.summary(entry), ""
    may, happened = view.part(entry, "may"), view.part(entry, "happened")
    if state := view.text(happened, "sqlstate"):
        yield f"{view.text(happened, 'error')} {state}".strip(), "bad"
    if view.status(entry) == "refused":
        yield f"rule {view.text(may, 'rule')}: {view.text(may, 'reason')}", "wait"
    elif approval := view.text(may, "approval"):
        yield approval, "good"
    if granted := view.strings(may, "grants"):
        yield ", ".join(granted), "good"
    if masked := [view.short(column) for column, _, _ in view.masked(entry)]:
        yield f"masked {', '.join(dict.fromkeys(masked))}", "wait"
    if details := view.part(entry, "details"):
        yield ", ".join(f"{name} {value}" for name, value in details.items()), "dim"


def _milliseconds(duration: int | None) -> str:
    return "" if duration is None else f"{duration / 1000:,.1f} ms"


def _rows(rows: int) -> str:
    return f"{rows:,} row{'s' * (rows != 1)}"


def whole(entry: Entry) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the sections of one entry, each with its fields in words; fields that are empty are left out."""
    from governed_db.audit import view

    of, number = view.part, view.number
    who, what, may, where, happened = (of(entry, n) for n in ("who", "what", "may", "where", "happened"))
    yield (
        "record",
        [
            ("id", view.text(entry, "id")),
            ("kind", view.text(entry, "kind")),
            ("began", view.text(entry, "at")),
            ("ended", view.text(happened, "ended")),
            ("journal", f"{view.text(entry, 'journal')}, record {number(entry, 'sequence')}"),
            ("shortened", "" if number(entry, "truncated") is None else f"from {entry['truncated']:,} bytes"),
            ("event", view.text(entry, "event")),
        ],
    )
    verified = who.get("verified")
    yield (
        "who",
        [
            ("caller", view.principal(who)),
            ("vouched by", view.text(who, "issuer")),
            ("verified", "" if verified is None else "yes" if verified else "no, as the process says"),
            ("for", ", for ".join(view.callers(entry)[1:])),
            ("groups", ", ".join(view.strings(who, "groups"))),
            ("until", view.text(who, "expires")),
            ("session", view.text(who, "session")),
            ("MCP session", view.text(who, "mcp_session")),
            ("tool call", view.text(who, "tool_call")),
            ("purpose", view.text(who, "purpose")),
            ("role", view.text(who, "role")),
            ("client", view.text(who, "client")),
        ],
    )
    size = number(what, "bytes")
    yield (
        "what",
        [
            ("summary", view.summary(entry) if view.is_statement(entry) else ""),
            ("text", view.text(what, "text")),
            ("size", "" if size is None else f"{size:,} bytes"),
            ("effects", ", ".join(_effect(e) for e in view.objects(what, "effects"))),
            ("relations", ", ".join(f"{n} ({a})" for n, a in dict.fromkeys(view.relations(entry)))),
            ("reads", ", ".join(view.columns(entry, "read"))),
            ("sets", ", ".join(view.columns(entry, "insert", "update"))),
            ("masked", ", ".join(f"{c} ({label}) by {s}" for c, label, s in view.masked(entry))),
            ("rewritten", "sent over redacted values" if what.get("rewritten") else ""),
            ("not read", view.text(what, "incomplete_because")),
            ("prints as", view.text(what, "fingerprint")),
        ],
    )
    yield (
        "may",
        [
            ("verdict", verdict(entry)[0] if view.verdict(entry) else ""),
            ("rule", view.text(may, "rule")),
            ("because", view.text(may, "reason")),
            ("policy", view.text(may, "policy")),
            ("approval", view.text(may, "approval")),
            ("grants", ", ".join(view.strings(may, "grants"))),
            ("approvers", ", ".join(view.strings(may, "approvers"))),
            ("in shadow", ", ".join(_shadowed(s) for s in view.objects(may, "shadowed"))),
            ("unmasked", "sees sensitive columns as they are" if may.get("unmasked") else ""),
        ],
    )
    rows = view.rows(entry)
    yield (
        "happened",
        [
            ("status", view.status(entry)),
            ("took", _milliseconds(number(happened, "duration_us"))),
            ("rows", "" if rows is None else f"{rows:,}"),
            ("batch", str(happened.get("batch_size", ""))),
            ("copied", str(happened.get("bytes_copied", ""))),
            ("sqlstate", view.text(happened, "sqlstate")),
            ("error", view.text(happened, "error")),
        ],
    )
    address = ":".join(str(where[n]) for n in ("host", "port") if where.get(n))
    yield (
        "where",
        [
            ("server", f"{address}/{view.text(where, 'database')}".strip("/")),
            ("runs in", view.text(where, "environment")),
            ("connection", view.text(where, "connection")),
            ("transaction", view.text(where, "transaction")),
            ("path", ", ".join(view.strings(where, "search_path"))),
            ("trace", view.text(where, "trace_id")),
            ("span", view.text(where, "span_id")),
        ],
    )
    yield "details", [(name, str(value)) for name, value in of(entry, "details").items()]


def _effect(effect: dict[str, Any] | Entry) -> str:
    from governed_db.audit import view

    return f"{view.text(effect, 'kind')} {view.text(effect, 'target') or view.text(effect, 'name')}".strip()


def _shadowed(shadowed: Entry) -> str:
    from governed_db.audit import view

    return f"{view.text(shadowed, 'rule')} would say {view.text(shadowed, 'verdict')}"

"""The tables of the report. Each is bounded, and says how much more there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from governed_db.audit import view
from governed_db.audit.html import Markup, joined, tag
from governed_db.audit.summary import LOOKS, Access, Summary, uncovered
from governed_db.audit.view import Entry, part, text

ROWS = 100
"""Rows of a table: five pages of paper at the most. An export has them all."""

SHORT = 40
"""Rows of tables of single records, which are examples rather than the matter."""

_NAME = 26  # characters
_WORDS = {"block": "blocked", "needs_approval": "needed approval", "allow": "rolled back over a limit"}


def callers(summary: Summary) -> Markup:
    """Who called, for whom, and what was decided."""
    ordered = sorted(summary.callers.rows.items(), key=lambda row: (-row[1].verdicts.total(), row[0]))
    rows = (
        (
            _code(name),
            _inline(sorted(caller.behalf)),
            _number(caller.verdicts.total()),
            _number(caller.verdicts["needs_approval"] + caller.verdicts["block"]),
            _number(caller.verdicts["approved"]),
            _number(caller.unmasked),
            _time(caller.last),
        )
        for name, caller in ordered
    )
    heads = ("caller", "for", "#statements", "#refused", "#approved", "#unmasked", "last seen")
    return _table(heads, rows, len(ordered), ROWS, "callers", summary.callers.beyond)


def access(summary: Summary) -> Markup:
    """Subjects by relations, with sensitive columns and their masks."""
    ordered = sorted(
        summary.access.rows.items(),
        # What the library looked up by itself comes last: it is of every catalog there is, and nobody's work.
        key=lambda row: (row[1].look_ups, -(row[1].reads + row[1].writes + row[1].refused), row[0]),
    )
    rows = (
        (
            _code(caller),
            _code(relation),
            _number(pair.reads),
            _number(pair.writes),
            _number(pair.refused),
            _number(pair.rows_returned),
            _number(pair.rows_affected),
            _columns(summary, pair),
        )
        for (caller, relation), pair in ordered
    )
    heads = (
        "caller",
        "table or view",
        "#reads",
        "#writes",
        "#refused",
        "#rows read",
        "#rows changed",
        "sensitive columns",
    )
    said = tag(
        "p",
        "Rows of a statement count for each table that it touched. Columns are those that governed_db masked,"
        " with how and how often, and those of them that this caller read as they are.",
        class_="note",
    )
    return joined(
        said, _table(heads, rows, len(ordered), ROWS, "pairs of caller and table", summary.access.beyond)
    )


def rules(summary: Summary) -> Markup:
    """Why statements were refused."""
    ordered = sorted(summary.refusals.rows.items(), key=lambda row: (-row[1].count, row[0]))
    rows = (
        (
            _code(rule or "(none)"),
            _mark(said),
            reason,
            _number(found.count),
            _names([f"{who} ({count:,})" for who, count in found.callers.most_common(5)], len(found.callers)),
            _time(found.last),
        )
        for (rule, said, reason), found in ordered
    )
    heads = ("rule", "decision", "reason", "#times", "callers", "last")
    return _table(heads, rows, len(ordered), ROWS, "rules and reasons", summary.refusals.beyond)


def latest_refusals(summary: Summary) -> Markup:
    """The last refused statements one by one."""
    rows = (
        (
            _time(text(entry, "at")),
            _caller(entry),
            _code(text(part(entry, "what"), "text") or view.summary(entry)),
            _mark(view.verdict(entry)),
            _code(text(part(entry, "may"), "rule")),
            _code(text(entry, "id")),
        )
        for entry in reversed(summary.latest_refusals)
    )
    heads = ("when (UTC)", "caller", "statement", "decision", "rule", "record")
    return _table(heads, rows, summary.refused, SHORT, "refusals")


def answers(summary: Summary) -> Markup:
    """Who agreed to what, and what became of it."""
    rows = []
    for entry in reversed(summary.answers):
        details = part(entry, "details")
        runs = summary.approved.rows.get(text(details, "request"), Counter())
        rows.append(
            (
                _time(text(entry, "at")),
                _caller(entry),
                _mark(
                    "approved" if text(entry, "event").endswith("granted") else "block", text(entry, "event")
                ),
                _code(text(details, "requester")),
                _code(text(details, "statement")),
                _code(text(details, "rule")),
                _runs(runs),
            )
        )
    count = sum(summary.events[name] for name in ("approval.granted", "approval.denied"))
    if not count:
        return tag("p", "Nobody answered a request for approval in this period.")
    heads = ("when (UTC)", "answered by", "answer", "asked by", "statement", "rule", "what ran")
    return _table(heads, rows, count, SHORT, "answers")


def unanswered(summary: Summary) -> Markup:
    """Approvals that statements ran under and whose answer is not among the records read."""
    known = {text(part(entry, "details"), "request") for entry in summary.answers}
    strange = {a: runs for a, runs in summary.approved.rows.items() if a not in known}
    complete = sum(summary.events[n] for n in ("approval.granted", "approval.denied")) == len(summary.answers)
    if not strange or not complete:
        return Markup("")
    rows = ((_code(approval), _runs(runs)) for approval, runs in strange.items())
    said = tag("h3", "Statements that ran under approvals whose answer is not among these records")
    return joined(said, _table(("approval", "what ran"), rows, len(strange), SHORT, "approvals"))


def grants(summary: Summary) -> Markup:
    """Who allowed whom more for a while, and what became of it."""
    if not summary.grants and not summary.granted.rows:
        return Markup("")
    rows = []
    for grant in dict.fromkeys((*summary.grants, *summary.granted.rows)):
        entry = summary.grants.get(grant, {})
        details = part(entry, "details")
        end = summary.ended.get(grant, {})
        given = [v for name in ("clear", "rules", "on") for v in view.strings(details, name)]
        rows.append(
            (
                _code(grant),
                _caller(entry) if entry else "not among these records",
                _code(text(details, "to")),
                _inline([*given, *([f"{details['rows']} rows"] if "rows" in details else [])]),
                text(details, "because"),
                _time(text(end, "at") or text(details, "until")),
                text(end, "event").removeprefix("grant."),
                _runs(summary.granted.rows.get(grant, Counter())),
            )
        )
    heads = ("grant", "signed by", "to", "what", "because", "until (UTC)", "ended", "what ran")
    table = _table(heads, rows, len(rows), SHORT, "grants", summary.granted.beyond)
    return joined(tag("h3", "Grants"), table)


def policies(summary: Summary) -> Markup:
    """Versions of the policy by which statements were judged."""
    ordered = sorted(summary.policies.rows.items(), key=lambda row: (row[1].first, row[0]))
    rows = (
        (_code(version), _time(found.first), _time(found.last), _number(found.statements))
        for version, found in ordered
    )
    heads = ("version", "first used (UTC)", "last used (UTC)", "#statements")
    return _table(heads, rows, len(ordered), ROWS, "versions", summary.policies.beyond)


def changes(summary: Summary) -> Markup:
    """When another policy came into force."""
    rows = (
        (
            _time(text(entry, "at")),
            _code(text(entry, "event")),
            _details(entry),
            _code(text(entry, "journal")),
        )
        for entry in reversed(summary.changes)
    )
    count = sum(summary.events[name] for name in ("policy.changed", "policy.stale"))
    heads = ("when (UTC)", "event", "details", "journal")
    return _table(heads, rows, count, SHORT, "changes")


def looks(summary: Summary) -> Markup:
    """Who read the trail, or destroyed keys of its values."""
    rows = (
        (_time(text(entry, "at")), _caller(entry), _code(text(entry, "event")), _details(entry))
        for entry in reversed(summary.looks)
    )
    count = sum(summary.events[name] for name in LOOKS)
    return _table(("when (UTC)", "who", "event", "details"), rows, count, SHORT, "looks")


def errors(summary: Summary) -> Markup:
    """What the server or the driver said no to."""
    rows = (
        (_code(state), _code(name), _number(count)) for (state, name), count in summary.errors.most_common()
    )
    return _table(("SQLSTATE", "error", "#times"), rows, len(summary.errors), ROWS, "errors")


def journals(summary: Summary) -> Markup:
    """The writers."""
    ordered = sorted(summary.journals.rows.items(), key=lambda row: (row[1].first, row[0]))
    rows = (
        (
            _code(name or "(unknown)"),
            _code(writer.host),
            "" if writer.pid is None else str(writer.pid),
            _time(writer.first),
            _time(writer.last),
            _number(writer.statements),
            "in good order" if writer.stopped else "not on record",
        )
        for name, writer in ordered
        if writer.first
    )
    ordered = [row for row in ordered if row[1].first]  # the others have nothing of this time
    heads = ("journal", "host", "process", "first (UTC)", "last (UTC)", "#statements", "ended")
    return _table(heads, rows, len(ordered), ROWS, "journals", summary.journals.beyond)


def damages(summary: Summary) -> Markup:
    """Where the files do not hold what was written."""
    rows = (
        (
            _code(text(entry, "segment")),
            text(entry, "because"),
            _range(entry),
            _time(text(entry, "at")),
        )
        for entry in reversed(summary.damages)
    )
    # Missing numbers are counted by record, not by place.
    count = max(len(summary.damages), summary.damaged)
    return _table(("segment", "because", "where", "after (UTC)"), rows, count, SHORT, "places")


def incidents(summary: Summary) -> Markup:
    """Events of the journals themselves."""
    rows = (
        (
            _time(text(entry, "at")),
            _code(text(entry, "event")),
            _details(entry),
            _code(text(entry, "journal")),
        )
        for entry in reversed(summary.incidents)
    )
    count = sum(n for name, n in summary.events.items() if name.startswith("journal."))
    return _table(("when (UTC)", "event", "details", "journal"), rows, count, SHORT, "events")


def orphans(summary: Summary) -> Markup:
    """Statements without an outcome."""
    rows = (
        (
            _time(text(entry, "at")),
            _caller(entry),
            _code(text(part(entry, "what"), "text")),
            _code(text(entry, "id")),
        )
        for entry in reversed(summary.orphans)
    )
    heads = ("when (UTC)", "caller", "statement", "record")
    return _table(heads, rows, summary.statuses["unknown"], SHORT, "statements")


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], count: int, most: int, what: str, beyond: int = 0
) -> Markup:
    """Return a table of at most ``most`` of ``count`` rows. A head that begins with ``#`` is of numbers."""
    shown = [
        tag("tr", *(cell if _is_cell(cell) else tag("td", cell) for cell in row))
        for row in islice(rows, most)
    ]
    if not shown:
        return tag("p", "None.")
    head = tag(
        "tr",
        *(tag("th", h.lstrip("#"), scope="col", class_="number" if h[0] == "#" else None) for h in heads),
    )
    table = tag("div", tag("table", tag("thead", head), tag("tbody", *shown)), class_="scroll")
    more = []
    if count > len(shown):
        more.append(f"and {count - len(shown):,} more {what}")
    if beyond:
        more.append(f"{beyond:,} statements of further {what} that are not told apart")
    return joined(table, tag("p", f"… {', '.join(more)}.", class_="note") if more else None)


def _is_cell(cell: object) -> bool:
    return isinstance(cell, Markup) and cell.startswith("<td")


def _number(value: int) -> Markup:
    return tag("td", f"{value:,}" if value else "", class_="number")


def _time(stamp: str) -> Markup:
    return tag("td", f"{stamp[:10]} {stamp[11:19]}".strip(), class_="time")


def _code(value: str) -> Markup:
    # A name that fits is not broken; a long one is, anywhere, rather than widen the table.
    return tag("td", tag("code", value), class_="word" if len(value) <= _NAME else None)


def _mark(said: str, name: str = "") -> Markup:
    word = {"approval.granted": "granted", "approval.denied": "denied"}.get(name) or _WORDS.get(said, said)
    # A class is a word of ours, never one of a record.
    kind = said if said in ("block", "needs_approval", "approved") else "bad"
    return tag("td", tag("span", word, class_=f"mark {kind}"), class_="word")


def _names(names: Sequence[str], count: int | None = None) -> Markup:
    shown = names[:5]
    more = (len(names) if count is None else count) - len(shown)
    said: list[Any] = [tag("li", tag("code", one)) for one in shown]
    if more > 0:
        said.append(tag("li", f"and {more:,} more"))
    return tag("td", tag("ul", *said, class_="plain")) if said else tag("td", "")


def _inline(names: Sequence[str], most: int = 10) -> Markup:
    said: list[object] = []
    for name in names[:most]:
        said += [", " if said else "", tag("code", name)]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return tag("td", *said, more, class_="wide")


def _caller(entry: Entry) -> Markup:
    first, *others = view.callers(entry) or ["unknown"]
    return tag("td", tag("code", first), *(joined(" for ", tag("code", o)) for o in others))


def _columns(summary: Summary, pair: Access) -> Markup:
    masks = [
        tag("li", tag("code", view.short(column)), f" masked: {strategy} ({count:,})")
        for (column, strategy), count in sorted(pair.masked.items())
    ]
    plain = [
        tag(
            "li",
            tag("code", view.short(column)),
            " ",
            tag("span", "read as it is", class_="mark needs_approval"),
        )
        for column in uncovered(summary, pair)
    ]
    found = masks + plain
    if not found:
        return tag("td", "")
    more = [tag("li", f"and {len(found) - 8} more")] if len(found) > 8 else []
    return tag("td", tag("ul", *found[:8], *more, class_="plain"), class_="wide")


def _runs(runs: Counter[str]) -> str:
    return (
        ", ".join(f"{count:,} {status or 'unknown'}" for status, count in sorted(runs.items()))
        or "nothing on record"
    )


def _details(entry: Entry) -> Markup:
    said = ", ".join(f"{name} {value}" for name, value in part(entry, "details").items())
    return _code(said)


def _range(entry: Entry) -> str:
    first, last = view.number(entry, "first"), view.number(entry, "last")
    if first is not None and last is not None:
        return f"record {first:,}" if first == last else f"records {first:,} to {last:,}"
    offset, size = view.number(entry, "offset"), view.number(entry, "bytes")
    return "" if offset is None else f"byte {offset:,}, {size or 0:,} bytes"

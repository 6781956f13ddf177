"""Data lineage: which columns went to which caller, for whom and for what purpose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field, frozen

from governed_db.audit import view
from governed_db.audit.summary import Table
from governed_db.audit.view import Entry, part, text

FLOWS = 20_000
"""Flows that are told apart: some 600 bytes each. Further ones are counted."""

UNKNOWN = "(not known)"
"""Stands for columns of a statement that no catalog resolved, and of one that was not understood."""

_HANDED, _MADE, _USED = "handed out", "computed from", "used in"


@frozen(order=True)
class Way:
    """One column on its way to one caller for one purpose.

    Attributes:
        column: ``schema.relation.column``, or :data:`UNKNOWN` behind a relation's name.
        how: "handed out" (unchanged), "computed from" (in an expression of the result), or "used in" and the
            clause (WHERE, ORDER BY, ...), where it decides on rows and none of its values is in the result.
        mask: the strategy that replaced its values; "" where they went out as they are.
        caller, behalf, purpose: who got it; ``behalf`` is nearest first, joined by " for ".
    """

    column: str
    how: str
    mask: str
    caller: str
    behalf: str
    purpose: str


@define
class Flow:
    """How often, with how many rows of a result, and when."""

    statements: int = 0
    rows: int = 0
    first: str = ""
    last: str = ""
    record: str = field(default="")  # the last one's


def flows(entries: Iterable[Entry]) -> Table[Flow]:
    """Return the flows of statements that ran, and of those whose end is not known, by :class:`Way`."""
    found: Table[Flow] = Table(Flow, FLOWS)
    for entry in entries:
        at, rows = text(entry, "at"), view.number(part(entry, "happened"), "rows_returned") or 0
        # What failed handed nothing out, unless rows had come before.
        if not went(entry) or (view.status(entry) in ("error", "cancelled") and not rows):
            continue
        for way in ways(entry):
            flow = found.at(way)
            if flow is not None:
                flow.statements += 1
                flow.rows += rows
                flow.first = min(flow.first, at) if flow.first else at
                flow.last = max(flow.last, at)
                flow.record = text(entry, "id")
    return found


def went(entry: Entry) -> bool:
    """Whether a statement was sent and could have handed something out: also one whose end is not known."""
    return entry.get("kind") == "intent" and view.status(entry) not in ("refused",)


def ways(entry: Entry) -> Iterator[Way]:
    """Yield the ways of one statement's columns, each once."""
    caller, *behalf = view.callers(entry) or ["unknown"]
    purpose = text(part(entry, "who"), "purpose")
    masks = {column: strategy for column, _, strategy in view.masked(entry)}
    short = {view.short(column): strategy for column, strategy in masks.items()}
    for column, how in dict.fromkeys(_columns(entry)):
        mask = masks.get(column) or short.get(view.short(column), "")
        yield Way(column, how, mask, caller, " for ".join(behalf), purpose)


def outputs(entry: Entry) -> list[list[tuple[str, bool]]] | None:
    """Return of each column of the result what it is made of, and whether that is handed out unchanged.

    ``None`` where the result's columns could not be told.
    """
    what = part(entry, "what")
    names = view.strings(what, "columns")
    listed = part(what, "lineage").get("outputs")
    if not isinstance(listed, list):
        return None
    found: list[list[tuple[str, bool]]] = []
    for one in listed:
        if not isinstance(one, list) or not one:
            found.append([])
            continue
        plain, *places = one
        found.append([(column, bool(plain)) for p in places if (column := view.place_of(names, p))])
    return found


def uses(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield clause and column of each use beside the result."""
    what = part(entry, "what")
    names = view.strings(what, "columns")
    listed = part(what, "lineage").get("uses")
    for one in listed if isinstance(listed, list) else []:
        usable = isinstance(one, list) and len(one) >= 2 and isinstance(one[0], str)
        if usable and (column := view.place_of(names, one[1])):
            yield one[0], column


def _columns(entry: Entry) -> Iterator[tuple[str, str]]:
    made = outputs(entry)
    if made is None:
        # Without a catalog, or where the result could not be told: what is read may all have gone out.
        read = view.columns(entry, "read") or view.columns(entry)
        yield from ((column, _MADE) for column in read)
        if not read:
            for name, access in view.relations(entry):
                if access == "read":
                    yield f"{name}.{UNKNOWN}", _MADE
    else:
        for column in made:
            for name, plain in column:
                yield name, _HANDED if plain else _MADE
    for clause, name in uses(entry):
        yield name, f"{_USED} {clause}"


def as_json(way: Way, flow: Flow) -> dict[str, Any]:
    """Return one flow as plain values."""
    return {
        "column": way.column,
        "how": way.how,
        "mask": way.mask or None,
        "caller": way.caller,
        "on_behalf_of": way.behalf.split(" for ") if way.behalf else [],
        "purpose": way.purpose or None,
        "statements": flow.statements,
        "rows": flow.rows,
        "first": flow.first,
        "last": flow.last,
        "record": flow.record,
    }

"""What a record says of columns and calls, by names: numbers of the catalog mean nothing later."""

from __future__ import annotations

from typing import Any

from governed_db.catalog.bound import Bound, Source, Use
from governed_db.catalog.model import Relation


def lineage(bound: Bound) -> tuple[list[str], dict[str, Any]]:
    """Return the columns that ``bound`` depends on, and how: both by names, since numbers mean nothing later.

    ``outputs`` has a list per column of the result: 1 where it is handed out unchanged, else 0, then the
    places in the list of columns of what it is made of. ``uses`` has a clause and a place for each other use,
    and the place of the column that the value is stored in where nothing else becomes of it; for one that
    tells little, that or ``None``, and "nullness" or "equality".
    """
    relations = {u.relation.oid: u.relation for u in bound.relations}
    names: dict[Source, str] = {}

    def name(source: Source) -> str:
        known = names.get(source)
        if known is None:
            known = names[source] = _column(source, relations.get(source.relation))
        return known

    uses = dict.fromkeys(
        (u.clause, name(u.source), name(u.sink) if u.sink else None, _little(u)) for u in bound.uses
    )
    outputs = [(o.plain, sorted({name(s) for s in o.sources})) for o in bound.outputs or ()]
    columns = sorted(
        {*(n for _, sources in outputs for n in sources), *(n for _, *told, _ in uses for n in told if n)}
    )
    place = {column: index for index, column in enumerate(columns)}
    found: dict[str, Any] = {}
    if bound.outputs is not None:
        found["outputs"] = [[int(plain), *(place[n] for n in sources)] for plain, sources in outputs]
    if uses:
        found["uses"] = [
            [clause, place[source], *_more(None if sink is None else place[sink], little)]
            for clause, source, sink, little in uses
        ]
    return columns, found


def _little(use: Use) -> str:
    if use.nullness:
        return "nullness"
    return "equality" if use.operands else ""


def _more(sink: int | None, little: str) -> tuple[int | str | None, ...]:
    if little:
        return sink, little
    return () if sink is None else (sink,)


def functions(bound: Bound) -> list[str | list[str]]:
    """Return what each call can mean: a name, or a list of them where the arguments' types decide."""
    calls = {tuple(sorted({str(f) for f in use.candidates})) or (str(use.ref),) for use in bound.functions}
    return [names[0] if len(names) == 1 else list(names) for names in sorted(calls)]


def touched(bound: Bound, columns: list[str]) -> dict[str, list[str | int]] | None:
    """Return the columns that are read and set, by access; numbers are places in ``columns``."""
    if bound.columns is None:
        return None
    place = {column: index for index, column in enumerate(columns)}
    found: dict[str, dict[str, None]] = {}
    for use in bound.columns:
        found.setdefault(use.access.value, {})[f"{use.relation}.{use.column}"] = None
    return {access: [place.get(name, name) for name in names] for access, names in found.items()}


def _column(source: Source, relation: Relation | None) -> str:
    if relation is None:
        return f"{source.relation}.{source.column}"
    if source.column == 0:
        return f"{relation}.*"
    column = next((c.name for c in relation.columns if c.number == source.column), str(source.column))
    return f"{relation}.{column}"

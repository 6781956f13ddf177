"""What a reviewed classification says to one catalog: overrides, and which of them have had their day."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog, Column, Relation
from governed_db.masking.classify import classify
from governed_db.masking.inventory import below, type_of
from governed_db.masking.model import ANYTHING
from governed_db.masking.report import AUTO, KINDS, LINEAGE, REJECTED, Entries, Entry


@frozen(kw_only=True)
class Said:
    """What reviewed entries say to one catalog, by ``schema.relation.column``.

    Attributes:
        overrides: what people decided: a label, or ``None`` for "not sensitive".
        floor: labels of columns that nobody has looked at: they hold where nothing else is found.
        stale: rejections of columns that are no longer what they were, with why. They are masked.
    """

    overrides: Mapping[str, str | None] = field(factory=dict)
    floor: Mapping[str, str] = field(factory=dict)
    stale: tuple[tuple[str, str], ...] = ()


def said(entries: Entries, catalog: Catalog) -> Said:
    """Return what reviewed ``entries`` say to ``catalog``.

    What is decided about a column of a partitioned table, or of one with children, holds for the same
    column of those, unless an entry of its own says otherwise: the rows are the same.
    """
    overrides: dict[str, str | None] = {}
    floor: dict[str, str] = {}
    stale: list[tuple[str, str]] = []
    relations = {(r.schema, r.name): r for r in catalog.relations.values()}
    for path, entry in entries.items():
        name = ".".join(path)
        if entry.decided == AUTO:
            # What follows from another column is found again as long as that one is sensitive.
            if entry.label and entry.basis != LINEAGE:
                floor[name] = entry.label
            continue
        relation = relations.get(path[:2])
        column = relation.column(path[2]) if relation is not None else None
        if entry.decided != REJECTED:
            label: str | None = entry.given
        elif relation is None or column is None:
            label = None  # classify.stale() tells of it
        elif why := _outdated(entry, relation, column, catalog):
            stale.append((name, why))
            label = entry.label or ANYTHING
        else:
            label = None
        overrides[name] = label
        if relation is not None and column is not None:
            for child in below(catalog, relation):
                inner = (child.schema, child.name, path[2])
                if child.column(path[2]) is not None and inner not in entries:
                    overrides[".".join(inner)] = label
    return Said(overrides=overrides, floor=floor, stale=tuple(stale))


def _outdated(entry: Entry, relation: Relation, column: Column, catalog: Catalog) -> str:
    type_, of = type_of(column, catalog), KINDS.get(relation.kind, "relation")
    if entry.type != type_:
        return f"it was rejected as {entry.type or 'a column of no known type'} and is {type_} now"
    if entry.of and entry.of != of:
        return f"it was rejected in a {entry.of} and is in a {of} now"
    return ""


def overrides(
    catalog: Catalog, columns: Mapping[str, str | None], reviewed: Entries
) -> tuple[Mapping[str, str | None], Said]:
    """Return what :func:`~governed_db.masking.classify` has to be told of ``catalog``, and what was reviewed.

    Args:
        catalog: the snapshot.
        columns: the policy's own overrides, by ``schema.relation.column``. They win.
        reviewed: the entries of the file that the policy names.
    """
    if not reviewed:
        return columns, Said()
    told = said(reviewed, catalog)
    given = {**told.overrides, **columns}
    found = classify(catalog, given)
    # What the file has labelled unseen adds masks where nothing else is found, and takes none away.
    unfound = {
        name: told.floor[name]
        for relation in catalog.relations.values()
        for column in relation.columns
        if (name := f"{relation}.{column.name}") in told.floor
        and name not in given
        and Source(relation.oid, column.number) not in found
    }
    return {**unfound, **given}, told

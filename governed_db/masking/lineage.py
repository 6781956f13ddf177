"""What holds sensitive values because of where they come from: keys, definitions, triggers, relatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import evolve

from governed_db.catalog.bodies import stored_by, stored_by_rules
from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog
from governed_db.catalog.queries import LOCKED
from governed_db.catalog.views import closure
from governed_db.masking.matching import of_relation
from governed_db.masking.model import ANYTHING, Sensitivity

SYSTEM: Final = ("pg_catalog", "information_schema", "pg_toast")


def handed_on(catalog: Catalog, found: Mapping[Source, Sensitivity]) -> Iterator[tuple[Source, Sensitivity]]:
    """Yield what holds the values of columns in ``found``, one step on; columns may come twice."""
    yield from _inherited(catalog, found)
    yield from _referring(catalog, found)
    yield from _put_by(catalog, found)
    yield from _unread(catalog)


def _referring(catalog: Catalog, found: Mapping[Source, Sensitivity]) -> Iterator[tuple[Source, Sensitivity]]:
    """Yield what holds the values of a sensitive column because a foreign key says so."""
    for key in catalog.foreign_keys:
        for column, referenced in zip(key.columns, key.referenced_columns, strict=True):
            if (base := found.get(Source(key.referenced, referenced))) is not None:
                because = "a foreign key takes its values from a sensitive column"
                answer = evolve(base, because=because, basis="lineage")
                yield Source(key.relation, column), answer


def _put_by(catalog: Catalog, found: Mapping[Source, Sensitivity]) -> Iterator[tuple[Source, Sensitivity]]:
    """Yield what triggers and rules fill with values of sensitive columns: audit tables keep whole rows."""
    for relation in catalog.relations.values():
        fillings = [(f"the trigger {t}", stored_by(catalog, relation, t)) for t in relation.triggers]
        if relation.rules:
            fillings.append(("a rule", stored_by_rules(catalog, relation)))
        for what, pairs in fillings:
            for source, sink in pairs:
                if _any_of(catalog, source, found):
                    # Whatever it is made of: a part of a document may be all of a value.
                    because = f"{what} of {relation} puts values of sensitive columns into it"
                    yield sink, Sensitivity(label=ANYTHING, confidence=0.8, because=because, basis="lineage")


def _unread(catalog: Catalog) -> Iterator[tuple[Source, Sensitivity]]:
    """Yield the columns of views whose definitions are locked: a trigger may put what they show elsewhere."""
    for relation in catalog.relations.values():
        if relation.definition == LOCKED:
            because = "what the view is made of cannot be read while another session holds it"
            why = Sensitivity(label=ANYTHING, confidence=0.5, because=because, basis="lineage")
            for column in relation.columns:
                yield Source(relation.oid, column.number), why


def _any_of(catalog: Catalog, source: Source, found: Mapping[Source, Sensitivity]) -> bool:
    sources = [source]
    relation = catalog.relations.get(source.relation)
    if not source.column and relation is not None:
        sources += [Source(relation.oid, c.number) for c in relation.columns]
    # A body may read a view, whose columns have no names that give them away.
    return any(not found.keys().isdisjoint(closure(catalog, each)) for each in sources)


def _inherited(catalog: Catalog, found: Mapping[Source, Sensitivity]) -> Iterator[tuple[Source, Sensitivity]]:
    """Yield what holds a sensitive value by its definition: generated columns, and rows as values."""
    rows: dict[int, Sensitivity | None] = {}
    for relation in catalog.relations.values():
        if relation.schema.startswith(SYSTEM):
            continue
        for column in relation.columns:
            for number in column.generated:
                if (base := found.get(Source(relation.oid, number))) is not None:
                    answer = evolve(base, because="it is generated from a sensitive column", basis="lineage")
                    yield Source(relation.oid, column.number), answer
                    break
            else:
                if (inner := _in_row(column.type_oid, catalog, found, rows)) is not None:
                    answer = evolve(inner, because="its type has a sensitive attribute", basis="lineage")
                    yield Source(relation.oid, column.number), answer


def _in_row(
    oid: int, catalog: Catalog, found: Mapping[Source, Sensitivity], rows: dict[int, Sensitivity | None]
) -> Sensitivity | None:
    """Return what is sensitive inside a composite type, its arrays and its domains included."""
    if oid in rows:
        return rows[oid]
    rows[oid] = None  # a type that contains itself says nothing new
    type_ = catalog.types.get(oid)
    if type_ is None or type_.schema.startswith(SYSTEM):
        return None
    for inner in (type_.base, type_.element):
        if inner and (answer := _in_row(inner, catalog, found, rows)) is not None:
            rows[oid] = answer
            return answer
    row = catalog.relations.get(type_.relation) if type_.relation else None
    if row is not None:
        own: dict[Source, Sensitivity] = {s: a for s, a in found.items() if s.relation == row.oid}
        if row.kind == "c":
            own |= {Source(row.oid, n): a for n, a in of_relation(row, catalog).items()}
        inside = [
            own.get(Source(row.oid, c.number)) or _in_row(c.type_oid, catalog, found, rows)
            for c in row.columns
        ]
        rows[oid] = next((answer for answer in inside if answer is not None), None)
    return rows[oid]

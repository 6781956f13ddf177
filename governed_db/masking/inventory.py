"""Every column of a database as an entry to review: its type, its verdict and where that comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from governed_db.catalog.bound import Source
from governed_db.catalog.context import memo
from governed_db.catalog.model import Catalog, Column, Relation
from governed_db.catalog.views import closure
from governed_db.masking.kinds import holds, kind_of
from governed_db.masking.model import Sensitivity
from governed_db.masking.names import tokens
from governed_db.masking.report import KINDS, LINEAGE, Entry, Path
from governed_db.masking.spans import matches

_SYSTEM: Final = ("pg_catalog", "information_schema", "pg_toast", "pg_temp")

# PostgreSQL's internal names to those people write (PostgreSQL's format_type.c).
_SPOKEN: Final[Mapping[str, str]] = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "bpchar": "char",
    "varbit": "bit varying",
}


def described(
    catalog: Catalog,
    found: Mapping[Source, Sensitivity],
    decided: Mapping[Source, Sensitivity] | None = None,
) -> dict[Path, Entry]:
    """Return an entry for every column of every relation of users, sorted.

    Partitions and inheritance children have entries for columns of their own alone: a column that they
    inherit is that of the table they belong to. Temporary tables are left out.

    Args:
        catalog: the snapshot.
        found: its sensitive columns, as the evidence says.
        decided: the same, with what people decided. What comes from other columns follows these.
    """
    standing = found if decided is None else decided
    entries: dict[Path, Entry] = {}
    for relation in catalog.relations.values():
        if relation.kind not in KINDS or relation.schema.startswith(_SYSTEM):
            continue
        inherited = {c.name for parent in _above(catalog, relation) for c in parent.columns}
        for column in relation.columns:
            if column.name not in inherited:
                path = (relation.schema, relation.name, column.name)
                entries[path] = _entry(catalog, relation, column, found, standing)
    return dict(sorted(entries.items()))


def _entry(
    catalog: Catalog,
    relation: Relation,
    column: Column,
    found: Mapping[Source, Sensitivity],
    standing: Mapping[Source, Sensitivity],
) -> Entry:
    plain = Entry(type=type_of(column, catalog), of=KINDS[relation.kind])
    why = _verdict(catalog, relation, column, found)
    if why is None or why.basis == LINEAGE:
        why = _verdict(catalog, relation, column, standing)
        why = why if why is not None and why.basis == LINEAGE else None
    if why is None:
        return evolve(plain, because=passed_over(catalog, column))
    return evolve(
        plain,
        label=why.label,
        confidence=round(why.confidence, 2),
        basis=why.basis,
        because=why.because,
    )


def _verdict(
    catalog: Catalog, relation: Relation, column: Column, found: Mapping[Source, Sensitivity]
) -> Sensitivity | None:
    own = Source(relation.oid, column.number)
    if own in found:
        return found[own]
    for child in below(catalog, relation):
        inner = child.column(column.name)
        if inner is not None and (why := found.get(Source(child.oid, inner.number))) is not None:
            return evolve(why, basis=LINEAGE, because=f"{child} holds rows of it: {why.because}")
    for source in sorted(closure(catalog, own) - {own}):
        base = catalog.relations.get(source.relation)
        if base is None or base.oid == relation.oid:
            continue
        inner = next((c for c in base.columns if c.number == source.column), None)
        if inner is None:
            continue
        family = (base, *_above(catalog, base), *below(catalog, base))
        for member in family:
            same = member.column(inner.name)
            why = found.get(Source(member.oid, same.number)) if same is not None else None
            if why is not None:
                return evolve(why, basis=LINEAGE, because=f"it is made of {base}.{inner.name}")
    return None


def _above(catalog: Catalog, relation: Relation) -> tuple[Relation, ...]:
    """Return the tables whose rows those of ``relation`` are too, nearest first."""
    found: dict[int, Relation] = {}
    todo = list(relation.parents)
    while todo:
        parent = catalog.relations.get(todo.pop(0))
        if parent is not None and parent.oid not in found:
            found[parent.oid] = parent
            todo += parent.parents
    return tuple(found.values())


def below(catalog: Catalog, relation: Relation) -> tuple[Relation, ...]:
    """Return the partitions and children of ``relation``, and theirs."""
    found: dict[int, Relation] = {}
    todo = list(memo(catalog).children.get(relation.oid, ()))
    while todo:
        child = todo.pop(0)
        if child.oid not in found:
            found[child.oid] = child
            todo += memo(catalog).children.get(child.oid, ())
    return tuple(found.values())


def passed_over(catalog: Catalog, column: Column) -> str:
    """Return why a column that was left plain looked like more, "" where it did not."""
    kind = kind_of(column.type_oid, catalog.types)
    parts = tokens(column.name)
    labels: dict[str, bool] = {}
    for match in matches(parts):
        can = holds(kind, match.label, parts[match.start : match.end])
        labels[match.label] = labels.get(match.label, False) or can
    cannot = [label for label, can in labels.items() if not can]
    if cannot:
        return f"named like {cannot[0]}, but a column of type {type_of(column, catalog)} holds none"
    if labels:
        return f"named like {next(iter(labels))}, but not in a table about people"
    for part in parts:
        if inner := matches((part,)):
            return f"named like {inner[0].label}, but the words beside it make it something else"
    return ""


def type_of(column: Column, catalog: Catalog) -> str:
    """Return the type of ``column`` as SQL writes it, with the length of a text."""
    name = _type_name(column.type_oid, catalog)
    # varchar and bpchar keep the length plus four bytes of header in it (PostgreSQL's varchar.c).
    if column.type_oid in (1042, 1043) and column.type_modifier > 4:
        return f"{name}({column.type_modifier - 4})"
    return name


def _type_name(oid: int, catalog: Catalog) -> str:
    type_ = catalog.types.get(oid)
    if type_ is None:
        return f"type {oid}"
    if type_.element and type_.category == "A":
        return f"{_type_name(type_.element, catalog)}[]"
    if type_.schema == "pg_catalog":
        return _SPOKEN.get(type_.name, type_.name)
    return f"{type_.schema}.{type_.name}"

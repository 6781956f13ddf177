"""What may be asked of a catalog by name: columns of relations, what foreign keys refer to, what is one."""

from __future__ import annotations

from collections.abc import Iterator

from governed_db.catalog.model import Catalog, Relation, Session
from governed_db.statement.facts import RelationName
from governed_db.statement.sources import Columns, Key


def known_columns(catalog: Catalog, session: Session) -> Columns:
    """Return the answers of ``catalog`` as ``session`` reads names."""

    def of(name: RelationName) -> frozenset[str] | None:
        relation = catalog.relation(name.schema, name.name, session)
        return None if relation is None else frozenset(c.name for c in relation.columns)

    def parents(name: RelationName, column: str) -> Iterator[Key]:
        relation = catalog.relation(name.schema, name.name, session)
        if relation is None:
            return
        number = next((c.number for c in relation.columns if c.name == column), None)
        for key in catalog.foreign_keys:
            if key.relation != relation.oid or number not in key.columns:
                continue
            parent = catalog.relations.get(key.referenced)
            if parent is not None:
                referenced = key.referenced_columns[key.columns.index(number)]
                yield RelationName(parent.schema, parent.name), _name(parent, referenced)

    return Columns(of, parents)


def is_name(catalog: Catalog, text: str) -> bool:
    """Return whether something in ``catalog`` that an error can be about is called ``text``."""
    for relation in catalog.relations.values():
        if text in (relation.name, relation.schema) or relation.column(text) is not None:
            return True
        if text in {c.name for c in relation.constraints} | {t.name for t in relation.triggers}:
            return True
    return any(k.name == text for k in catalog.foreign_keys) or any(
        text in (t.name, t.schema) for t in catalog.types.values()
    )


def _name(relation: Relation, number: int) -> str:
    return next((c.name for c in relation.columns if c.number == number), "")

"""What proofs over the text may ask a catalog: columns of relations, and what foreign keys refer to."""

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


def _name(relation: Relation, number: int) -> str:
    return next((c.name for c in relation.columns if c.number == number), "")

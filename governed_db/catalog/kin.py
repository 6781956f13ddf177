"""Relations that hold each other's rows: partitions, inheritance children, and what they belong to."""

from __future__ import annotations

from governed_db.catalog.context import memo
from governed_db.catalog.model import Catalog, Relation
from governed_db.statement.facts import RelationName


def kin(catalog: Catalog, relation: Relation) -> tuple[RelationName, ...]:
    """Return the relations below ``relation``, whose rows are its rows too, and those above it.

    Its siblings are not among them: they share no row with it.
    """
    known = memo(catalog)
    found = known.kin.get(relation.oid)
    if found is None:
        names = (*_below(catalog, relation), *_above(catalog, relation))
        found = known.kin[relation.oid] = tuple(dict.fromkeys(names))
    return found


def _below(catalog: Catalog, relation: Relation) -> list[RelationName]:
    children = memo(catalog).children
    found: dict[int, RelationName] = {}
    todo = [relation.oid]
    while todo:
        for child in children.get(todo.pop(), ()):
            if child.oid not in found:
                found[child.oid] = RelationName(child.schema, child.name)
                todo.append(child.oid)
    return list(found.values())


def _above(catalog: Catalog, relation: Relation) -> list[RelationName]:
    found: dict[int, RelationName] = {}
    todo = list(relation.parents)
    while todo:
        parent = catalog.relations.get(todo.pop())
        if parent is not None and parent.oid not in found:
            found[parent.oid] = RelationName(parent.schema, parent.name)
            todo += parent.parents
    return list(found.values())

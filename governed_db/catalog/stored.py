"""What a trigger puts by: values of NEW and OLD that an INSERT in its body stores in a column elsewhere.

Such a value is not read out by whoever sets the trigger off. It rests in the column it was put into, and is
as well guarded as that column is: an audit table is the usual case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from governed_db.catalog import reach
from governed_db.catalog.bound import Source
from governed_db.catalog.context import Context
from governed_db.catalog.expressions import project, strings
from governed_db.catalog.model import Column, Relation
from governed_db.catalog.scope import Col, Scope

Tree = Mapping[str, Any]

# Nothing but what stands in VALUES decides what is stored, and nothing of it comes back.
_MORE = frozenset({"onConflictClause", "returningList", "withClause"})
_PUT = {"ParamRef": {"number": 1, "location": -1}}


class Stored(NamedTuple):
    """A value made of ``sources`` goes into the column ``sink``, and nowhere else."""

    sink: Source
    sources: frozenset[Source]


def apart(ctx: Context, tree: Tree, around: Context) -> tuple[Tree, tuple[Stored, ...]]:
    """Return ``tree`` without the values that it only stores, and those; an INSERT of VALUES has some.

    Args:
        ctx: what ``tree`` was bound in.
        tree: a statement of a trigger's body.
        around: an empty context with the same names in force, to look at the values in.
    """
    node = tree.get("InsertStmt")
    query = node.get("selectStmt", {}).get("SelectStmt", {}) if node is not None else {}
    if node is None or _MORE & node.keys() or "withClause" in query or "valuesLists" not in query:
        return tree, ()
    name = node.get("relation", {})
    target = ctx.catalog.relation(name.get("schemaname"), name.get("relname", ""), ctx.session)
    if target is None or not keeps(ctx, target):
        return tree, ()
    listed = node.get("cols")
    names = [n.get("ResTarget", {}) for n in listed] if listed else [{"name": c.name} for c in target.columns]
    told = keys(ctx, target)
    found: list[Stored] = []
    rows = []
    for row in query["valuesLists"]:
        cells = list(row.get("List", {}).get("items", ()))
        for place, (entry, cell) in enumerate(zip(names, cells, strict=False)):
            column = target.column(entry.get("name", ""))
            if column is None or column.number in told or "indirection" in entry or not _computes(ctx, cell):
                continue
            with around.inner_uses() as uses:
                value = project(around, Scope([], around.top), cell, "VALUES")
            sources = value.sources.union(use.source for use in uses)
            if sources and not around.incomplete:
                found.append(Stored(Source(target.oid, column.number), sources))
                cells[place] = _PUT
        rows.append({"List": {**row.get("List", {}), "items": cells}})
    if not found:
        return tree, ()
    rest = {**node, "selectStmt": {"SelectStmt": {**query, "valuesLists": rows}}}
    return {**tree, "InsertStmt": rest}, tuple(found)


def _computes(ctx: Context, cell: Any) -> bool:
    """Return whether nothing in ``cell`` is code that could do more with a value than compute with it."""
    todo = [cell]
    while todo:
        current = todo.pop()
        if type(current) is list:
            todo += current
        elif type(current) is dict:
            if "FuncCall" in current:
                functions, _ = ctx.candidates(current["FuncCall"])
                if not functions or any(reach.reason(ctx.memo, f) is not None for f in functions):
                    return False
            names = strings(current.get("A_Expr", {}).get("name", ()))
            # In a body v.f may be f(v): a field of NEW or OLD is told from a call where both are looked at.
            if (
                "SubLink" in current
                or "A_Indirection" in current
                or not ctx.catalog.operators.keys().isdisjoint(names[-1:])
            ):
                return False
            todo += current.values()
    return True


def keeps(ctx: Context, relation: Relation) -> bool:
    """Return whether what is stored in ``relation`` goes no further: it sets nothing off."""
    plain = relation.kind == "r" and relation.persistence != "t" and not relation.parents
    busy = relation.triggers or relation.has_rules or relation.hidden or relation.row_security
    return plain and not busy and relation.oid not in ctx.memo.children


def keys(ctx: Context, relation: Relation) -> frozenset[int]:
    """Return the columns of ``relation`` that say by an error, or its absence, what else has their value."""
    pointing = (key.columns for key in ctx.catalog.foreign_keys if key.relation == relation.oid)
    return frozenset().union(*relation.keys, *(c.columns for c in relation.constraints), *pointing)


def rests(ctx: Context, relation: Relation, column: Column, value: Col) -> bool:
    """Return whether ``value``, a column's as it is, rests in ``column`` and no error can tell of it."""
    if (
        not value.plain
        or column.generated
        or column.number in keys(ctx, relation)
        or not keeps(ctx, relation)
    ):
        return False
    return all(_shaped(ctx, source) == (column.type_oid, column.type_modifier) for source in value.sources)


def _shaped(ctx: Context, source: Source) -> tuple[int, int] | None:
    relation = ctx.catalog.relations.get(source.relation)
    columns = relation.columns if relation is not None else ()
    return next(((c.type_oid, c.type_modifier) for c in columns if c.number == source.column), None)

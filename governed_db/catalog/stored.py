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
from governed_db.catalog.setoff import Runs
from governed_db.statement.facts import Access

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


def unseen(ctx: Context, relation: Relation, column: Column) -> bool:
    """Return whether nothing that writing ``relation`` sets off looks at what goes into ``column``.

    A trigger is read as if an UPDATE set it off: there a value of NEW is no longer the caller's own.
    """
    from governed_db.catalog.bodies import body_facts  # noqa: PLC0415 - binding a body needs this module

    for each in (relation, *ctx.descendants(relation)):
        own = each.column(column.name)
        if each.kind not in "rp" or each.has_rules or own is None or _held_against(each, own):
            return False
        for trigger in each.triggers:
            if trigger.enabled == "D" or trigger.events.isdisjoint(_STORING):
                continue
            if trigger.definition is not None:
                return False  # its WHEN, or its arguments, may name the column
            runs = Runs(trigger.function, ctx.session.search_path, each.oid, Access.UPDATE)
            facts = body_facts(ctx.catalog, ctx.session, runs)
            looked_at = facts.sources.union(source for source, _ in facts.stored)
            if facts.why or not looked_at.isdisjoint({Source(each.oid, own.number), Source(each.oid, 0)}):
                return False
    return True


def unopposed(ctx: Context, relation: Relation, column: Column) -> bool:
    """Return whether a value of ``column``, put into another row, is held against nothing there.

    Beside other values, of the caller's choice, a check, a key or a trigger would answer for it.
    """
    return unseen(ctx, relation, column) and all(
        _alone(ctx, each, column.name) for each in (relation, *ctx.descendants(relation))
    )


def _alone(ctx: Context, relation: Relation, name: str) -> bool:
    """Return whether whatever looks at a column of ``relation`` looks at no other one."""
    column = relation.column(name)
    if column is None:
        return False
    own = {column.number, *(c.number for c in relation.columns if column.number in c.generated)}
    together = [constraint.columns for constraint in relation.constraints]
    together += [key.columns for key in ctx.catalog.foreign_keys if key.relation == relation.oid]
    return all(own.isdisjoint(columns) or own.issuperset(columns) for columns in together)


def _held_against(relation: Relation, column: Column) -> bool:
    """Return whether the server holds a value of ``column`` against another one that the caller may choose.

    A check over two columns, or a partition's bounds, would answer for the one that the caller cannot see.
    """
    own = {column.number, *(c.number for c in relation.columns if column.number in c.generated)}
    if own & {*relation.partitioned_by} or 0 in relation.partitioned_by:
        return True
    return any(own & {*c.columns} and {*c.columns} - own for c in relation.constraints if c.kind in "cxge")


_STORING = frozenset({Access.INSERT, Access.UPDATE})


def _shaped(ctx: Context, source: Source) -> tuple[int, int] | None:
    relation = ctx.catalog.relations.get(source.relation)
    columns = relation.columns if relation is not None else ()
    return next(((c.type_oid, c.type_modifier) for c in columns if c.number == source.column), None)

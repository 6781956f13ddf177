"""INSERT, UPDATE, DELETE and MERGE: what flows into which column, and what RETURNING hands out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from governed_db.catalog import suggest
from governed_db.catalog.bound import Source, Stored
from governed_db.catalog.bounds import inserted_rows, matched_rows, quiet
from governed_db.catalog.comparing import operand
from governed_db.catalog.context import Context, Node, Write
from governed_db.catalog.expressions import consume, project, strings
from governed_db.catalog.model import Column, Relation
from governed_db.catalog.partial import certain
from governed_db.catalog.ranges import from_clause, from_item, table
from governed_db.catalog.scope import NOTHING, Col, Item, Rows, Scope
from governed_db.catalog.selects import select, targets, values, with_clause
from governed_db.catalog.stored import rests, unopposed, unseen
from governed_db.statement.facts import Access

RETURNING = "an expression in RETURNING"


def insert(ctx: Context, node: Node, outer: Scope) -> Rows:
    """Bind an InsertStmt; return what its RETURNING hands out."""
    ctes = with_clause(ctx, node, outer)
    target = ctx.relation(node.get("relation", {}), Access.INSERT)
    query = node.get("selectStmt", {}).get("SelectStmt")
    surroundings = Scope([], outer, ctes)
    if query is None:
        given = Rows(())
    elif "valuesLists" in query and not query.get("withClause"):
        given = values(ctx, query, surroundings)
        consume(
            ctx, surroundings, [query.get(k) for k in ("sortClause", "limitCount", "limitOffset")], "VALUES"
        )
    else:
        given = select(ctx, query, surroundings)
    if target is None:
        return Rows((), NOTHING)
    columns = _target_columns(ctx, target, node.get("cols"))
    _consume_places(ctx, surroundings, node.get("cols"))
    _note_set(
        ctx,
        target,
        columns if "cols" in node or given.rest is not None else columns[: len(given.columns)],
        Access.INSERT,
    )
    _note_inflow(ctx, target, columns, given)
    _note_types(ctx, columns, given, query or {})
    plain = [n.get("ResTarget", {}).get("indirection") is None for n in node.get("cols") or ()]
    for row in (query or {}).get("valuesLists", ()):
        cells = row.get("List", {}).get("items", ())
        if plain:  # more values than columns are the server's to refuse
            cells = [cell if whole else {} for cell, whole in zip(cells, plain, strict=False)]
        _note_stored(ctx, target, columns, cells)
    item = _target(ctx, target, node)
    conflict = node.get("onConflictClause")
    if conflict is not None:
        _on_conflict(ctx, target, item, conflict, surroundings)
    alone = quiet(ctx, target, Access.INSERT)
    if conflict is not None and conflict.get("action") == "ONCONFLICT_UPDATE":
        alone = alone and quiet(ctx, target, Access.UPDATE, _set(target, conflict))
    rows = inserted_rows(ctx, query) if alone else None
    ctx.writes.append(Write(target, Access.INSERT, rows))
    return _returning(ctx, target, node, Scope([item], outer, ctes))


def _target(ctx: Context, target: Relation, node: Node) -> Item:
    alias = node.get("relation", {}).get("alias")
    return table(ctx, target, alias.get("aliasname") if alias else None)


def _target_columns(ctx: Context, target: Relation, listed: Sequence[Node] | None) -> list[Column | None]:
    if not listed:
        return list(target.columns)
    return [_column(ctx, target, n.get("ResTarget", {}).get("name", "")) for n in listed]


def _consume_places(ctx: Context, scope: Scope, listed: Sequence[Node] | None) -> None:
    """Bind the subscripts of ``words[(SELECT ...)]`` in a list of columns: an array says where it begins."""
    for node in listed or ():
        entry = node.get("ResTarget", {})
        if "indirection" in entry:
            consume(ctx, scope, entry["indirection"], f"the subscript of {entry.get('name', '')}")


def _column(ctx: Context, target: Relation, name: str) -> Column | None:
    found = target.column(name)
    if found is None:
        hint = partial(suggest.hint, name, [c.name for c in target.columns])
        ctx.missing(f"{target}.{name}", "column", -1, hint)
    return found


def _note_set(ctx: Context, target: Relation, columns: Sequence[Column | None], access: Access) -> None:
    ctx.columns_set += [(target, column, access) for column in columns if column is not None]


def _note_inflow(ctx: Context, target: Relation, columns: Sequence[Column | None], given: Rows) -> None:
    for column, value in zip(columns, given.columns, strict=False):
        if column is not None:
            ctx.inflows.append((Source(target.oid, column.number), value.sources))
        if column is not None and value.sources:
            _copied(ctx, target, column, value, f"INSERT into {target}.{column.name}")
    if given.rest:
        ctx.use(given.rest, f"INSERT into {target}", -1)


def _note_types(ctx: Context, columns: Sequence[Column | None], given: Rows, query: Node) -> None:
    """Note the types of what an INSERT stores; constants in VALUES take that of their column."""
    rows = [entry.get("List", {}).get("items", ()) for entry in query.get("valuesLists", ())]
    for place, (column, value) in enumerate(zip(columns, given.columns, strict=False)):
        cells = [row[place] for row in rows if place < len(row)]
        if column is None or (cells and all(_UNTYPED & cell.keys() for cell in cells)):
            continue
        # One row's value may be of another type than the next one's.
        ctx.assigned.add((column.type_oid, value.type_oid if len(rows) < 2 else 0))
    if given.rest is not None:
        ctx.assigned.update((c.type_oid, 0) for c in columns if c is not None)


def _note_stored(
    ctx: Context, target: Relation, columns: Sequence[Column | None], cells: Sequence[Node]
) -> None:
    """Note which values of the caller are written as they are, and into which columns."""
    if ctx.text is None:
        return
    for column, cell in zip(columns, cells, strict=False):
        for given in operand(ctx, cell, column.type_oid) if column is not None else ():
            assert column is not None
            sink = Source(target.oid, column.number)
            if sink not in ctx.unseen:  # a list of VALUES asks for each row
                ctx.unseen[sink] = unseen(ctx, target, column)
            ctx.stored.append(Stored(sink, given, ctx.unseen[sink]))


# Parameters are sent without a type, or with one that the function of a cast may be looked up by.
_UNTYPED = frozenset({"A_Const", "SetToDefault"})


def _copied(ctx: Context, target: Relation, column: Column, value: Col, clause: str) -> None:
    # A value put back into the column it came from stays as well guarded as it was, unless it comes to
    # stand beside values of the caller's that it is held against.
    own = Source(target.oid, column.number)
    if not value.plain or value.sources != frozenset((own,)) or not unopposed(ctx, target, column):
        ctx.use(value.sources, clause, -1, own if rests(ctx, target, column, value) else None)


def _on_conflict(ctx: Context, target: Relation, item: Item, node: Node, around: Scope) -> None:
    scope = Scope([table(ctx, target, "excluded"), item], around)
    infer = node.get("infer", {})
    updates = node.get("action") == "ONCONFLICT_UPDATE"
    alone = Scope([table(ctx, target)], around)
    consume(ctx, alone, infer.get("whereClause"), "ON CONFLICT")
    for entry in infer.get("indexElems", ()):
        element = entry.get("IndexElem", {})
        consume(ctx, alone, element.get("expr"), "ON CONFLICT")
        column = _column(ctx, target, element["name"]) if "name" in element else None
        if column is not None and updates:
            # The key's value decides which row is changed; DO NOTHING tells no more than a plain INSERT.
            ctx.use(frozenset((Source(target.oid, column.number),)), "ON CONFLICT", infer.get("location", 0))
    if infer.get("conname") and updates:
        # The columns of an exclusion constraint with expressions are 0, which is the whole row.
        named = next((c for c in target.constraints if c.name == infer["conname"]), None)
        keys = set(named.columns) if named else {number for key in target.keys for number in key}
        ctx.use(frozenset(Source(target.oid, n) for n in keys), "ON CONFLICT", infer.get("location", 0))
    _assign(ctx, target, node.get("targetList", ()), scope, anew=True)
    if "whereClause" in node:
        consume(ctx, scope, node["whereClause"], "ON CONFLICT ... WHERE")
    if updates:
        ctx.relations[target.oid, Access.UPDATE, node.get("location", 0)] = target


def _set(target: Relation, node: Node) -> frozenset[int] | None:
    """Return the numbers of the columns that a SET list names, ``None`` where they cannot all be told."""
    names = [n.get("ResTarget", {}).get("name", "") for n in node.get("targetList", ())]
    columns = [target.column(name) for name in names]
    return frozenset(c.number for c in columns if c is not None) if all(columns) else None


def _is_excluded(node: Node) -> bool:
    fields = strings(node.get("ColumnRef", {}).get("fields", ()))
    return len(fields) == 2 and fields[0] == "excluded"


def _assign(
    ctx: Context, target: Relation, nodes: Sequence[Node], scope: Scope, *, anew: bool = False
) -> None:
    """Note what a SET list copies into which column.

    ``anew``: it is that of an ON CONFLICT. What ``excluded`` holds was noted where the INSERT was given it.
    """
    settled: dict[int, str] = {}
    ctx.settled.append((target.oid, settled))
    for node in nodes:
        entry = node.get("ResTarget", {})
        name = entry.get("name", "")
        column = _column(ctx, target, name)
        clause = f"SET {name}"
        consume(ctx, scope, entry.get("indirection"), clause)
        value = _assigned(ctx, scope, entry.get("val", {}), clause)
        if column is not None:
            ctx.inflows.append((Source(target.oid, column.number), value.sources))
            _note_set(ctx, target, [column], Access.UPDATE)
            if not _UNTYPED & entry.get("val", {}).keys():
                ctx.assigned.add((0 if entry.get("indirection") else column.type_oid, value.type_oid))
            if entry.get("indirection"):
                ctx.use(value.sources, clause, -1)
            else:
                given = _assigned_node(entry.get("val", {}))
                if "SetToDefault" in given:
                    ctx.defaulted.add(Source(target.oid, column.number))
                settled[column.number] = certain(ctx, column, given)
                if not (anew and _is_excluded(given)):
                    _copied(ctx, target, column, value, clause)
                _note_stored(ctx, target, [column], [given])


def _assigned_node(node: Node) -> Node:
    """Return what one column of a SET is given, also where ``(a, b) = (1, 2)`` sets several."""
    multi = node.get("MultiAssignRef")
    if multi is None:
        return node
    parts = multi.get("source", {}).get("RowExpr", {}).get("args", ())
    place: int = multi.get("colno", 1) - 1
    part: Node = parts[place] if place < len(parts) == multi.get("ncolumns") else {}
    return part


def _assigned(ctx: Context, scope: Scope, node: Node, clause: str) -> Col:
    multi = node.get("MultiAssignRef")
    if multi is None:
        return project(ctx, scope, node, clause)
    source: Node = multi.get("source", {})
    place: int = multi.get("colno", 1) - 1
    parts = source.get("RowExpr", {}).get("args", ())
    if place < len(parts) == multi.get("ncolumns"):
        return project(ctx, scope, parts[place], clause)
    link = source.get("SubLink", {})
    if link.get("subLinkType") == "EXPR_SUBLINK":
        rows = ctx.query(ctx, link.get("subselect", {}), scope)
        if rows.rest is None and place < len(rows.columns):
            return rows.columns[place]
    return Col("", consume(ctx, scope, source, clause))


def update(ctx: Context, node: Node, outer: Scope) -> Rows:
    """Bind an UpdateStmt; return what its RETURNING hands out."""
    return _change(ctx, node, outer, Access.UPDATE, "fromClause")


def delete(ctx: Context, node: Node, outer: Scope) -> Rows:
    """Bind a DeleteStmt; return what its RETURNING hands out."""
    return _change(ctx, node, outer, Access.DELETE, "usingClause")


def _change(ctx: Context, node: Node, outer: Scope, access: Access, sources: str) -> Rows:
    ctes = with_clause(ctx, node, outer)
    written = node.get("relation", {})
    target = ctx.relation(written, access)
    item = _target(ctx, target, node) if target is not None else Item(None, (), rest=NOTHING)
    scope = Scope([item], outer, ctes)
    from_clause(ctx, node.get(sources, ()), scope)
    if target is not None:
        _assign(ctx, target, node.get("targetList", ()), scope)
    if "whereClause" in node:
        consume(ctx, scope, node["whereClause"], "WHERE")
    if target is None:
        return Rows((), NOTHING)
    rows = matched_rows(ctx, target, item, scope, node.get("whereClause"), only=not written.get("inh"))
    ctx.writes.append(Write(target, access, rows if quiet(ctx, target, access, _set(target, node)) else None))
    return _returning(ctx, target, node, scope)


def merge(ctx: Context, node: Node, outer: Scope) -> Rows:
    """Bind a MergeStmt; return what its RETURNING hands out."""
    ctes = with_clause(ctx, node, outer)
    kinds = [w.get("MergeWhenClause", {}) for w in node.get("mergeWhenClauses", ())]
    accesses = {_MERGED[k["commandType"]] for k in kinds if k.get("commandType") in _MERGED}
    target = None
    for access in sorted(accesses) or [Access.READ]:
        target = ctx.relation(node.get("relation", {}), access)
    around = Scope([], outer, ctes)
    given = from_item(ctx, node.get("sourceRelation", {}), [], around)
    if target is None:
        return Rows((), NOTHING)
    item = _target(ctx, target, node)
    both = Scope([*given, item], outer, ctes)
    consume(ctx, both, node.get("joinCondition"), "MERGE ... ON")
    for when in kinds:
        matched = when.get("matchKind", "MERGE_WHEN_MATCHED")
        scope = {
            "MERGE_WHEN_NOT_MATCHED_BY_TARGET": Scope(given, outer, ctes),
            "MERGE_WHEN_NOT_MATCHED_BY_SOURCE": Scope([item], outer, ctes),
        }.get(matched, both)
        consume(ctx, scope, when.get("condition"), "WHEN")
        if when.get("commandType") == "CMD_UPDATE":
            _assign(ctx, target, when.get("targetList", ()), scope)
        elif when.get("commandType") == "CMD_INSERT":
            columns = _target_columns(ctx, target, when.get("targetList"))
            _consume_places(ctx, scope, when.get("targetList"))
            cells = tuple(project(ctx, scope, v, "MERGE ... INSERT") for v in when.get("values", ()))
            _note_set(ctx, target, columns if "targetList" in when else columns[: len(cells)], Access.INSERT)
            _note_inflow(ctx, target, columns, Rows(cells))
            _note_stored(ctx, target, columns, when.get("values", ()))
    for access in accesses:
        ctx.writes.append(Write(target, access, None))
    return _returning(ctx, target, node, both)


_MERGED = {"CMD_INSERT": Access.INSERT, "CMD_UPDATE": Access.UPDATE, "CMD_DELETE": Access.DELETE}


def _returning(ctx: Context, target: Relation, node: Node, scope: Scope) -> Rows:
    nodes = node.get("returningList")
    if not nodes:
        return Rows(())
    if ctx.catalog.server_version >= 180000:
        # RETURNING old.x and new.x, from 18 on, unless a table or an alias is called so.
        for name in ("old", "new"):
            if scope.item(name) is None:
                scope.items.append(Item(name, ctx.columns(target), system=target.oid, by_column=False))
    return targets(ctx, nodes, scope, RETURNING)

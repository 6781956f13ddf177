"""Queries: SELECT, VALUES, set operations and WITH (analyze.c, parse_cte.c), down to their columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from governed_db.catalog import determined
from governed_db.catalog.bound import Source
from governed_db.catalog.context import SELECT_LIST, Context, Node
from governed_db.catalog.expressions import (
    consume,
    item_of,
    named,
    project,
    reference,
    starred,
    strings,
)
from governed_db.catalog.ranges import bound_cte, from_clause
from governed_db.catalog.scope import NOTHING, Ambiguous, Col, Cte, Item, Rows, Scope, renamed, union

# A recursion reaches its fixed point within as many rounds as it has columns times sources; far fewer in
# anything a person would write. Beyond this the lineage counts as not understood.
_MAX_ROUNDS = 50


def select(ctx: Context, node: Node, outer: Scope) -> Rows:
    """Return the columns of a SelectStmt whose surroundings are ``outer``."""
    ctes = with_clause(ctx, node, outer)
    if node.get("op", "SETOP_NONE") != "SETOP_NONE":
        rows = _set_operation(ctx, node, Scope([], outer, ctes))
        scope = Scope([Item(None, rows.columns, rest=rows.rest)], outer, ctes)
    elif "valuesLists" in node:
        rows = values(ctx, node, Scope([], outer, ctes))
        scope = Scope([Item(None, rows.columns)], outer, ctes)
    else:
        scope = Scope([], outer, ctes)
        rows = _plain_select(ctx, node, scope)
    for key in node.get("sortClause", ()):
        _sort_key(ctx, scope, key.get("SortBy", {}).get("node", {}), rows, "ORDER BY")
    if "limitCount" in node:
        consume(ctx, scope, node["limitCount"], "LIMIT")
    if "limitOffset" in node:
        consume(ctx, scope, node["limitOffset"], "OFFSET")
    if "intoClause" in node:
        ctx.use(rows.every(), "SELECT INTO", -1)
    return rows


def _plain_select(ctx: Context, node: Node, scope: Scope) -> Rows:
    if "fromClause" in node:
        if (inner := determined.counted(ctx, node)) is not None:
            ctx.counted.append(inner)
        from_clause(ctx, node["fromClause"], scope)
    for window in node.get("windowClause", ()):
        value = window.get("WindowDef", {})
        sources = consume(ctx, scope, _without(value, "name", "refname"), "WINDOW")
        scope.windows[value.get("name", "")] = sources | scope.window(value.get("refname", ""))
    rows = targets(ctx, node.get("targetList", ()), scope)
    if "whereClause" in node:
        consume(ctx, scope, node["whereClause"], "WHERE")
    fixed = determined.grouped(ctx, scope, node) if "groupClause" in node else {}
    for place, key in enumerate(node.get("groupClause", ())):
        if place in fixed:
            ctx.operand(Rows((fixed[place],)))
            ctx.use(fixed[place].sources, "GROUP BY", -1, nullness=True)
        else:
            _group_key(ctx, scope, key, rows)
    if "havingClause" in node:
        consume(ctx, scope, node["havingClause"], "HAVING")
    for key in node.get("distinctClause", ()):
        if key:
            _sort_key(ctx, scope, key, rows, "DISTINCT ON")
        else:
            ctx.operand(rows)
            _distinct(ctx, scope, node, rows)  # DISTINCT alone is a list of one empty node
    return rows


def _distinct(ctx: Context, scope: Scope, node: Node, rows: Rows) -> None:
    counted = any(node is each for each in ctx.counted)
    fixed = determined.distinct(ctx, scope, node, counted=counted) if rows.rest is None else frozenset()
    loose = [column for place, column in enumerate(rows.columns) if place not in fixed]
    ctx.use(union(loose) | (rows.rest or NOTHING), "DISTINCT", -1)
    ctx.use(union([rows.columns[place] for place in fixed]) - union(loose), "DISTINCT", -1, nullness=True)


def _without(node: Node, *names: str) -> dict[str, Any]:
    return {k: v for k, v in node.items() if k not in names}


def targets(ctx: Context, nodes: Iterable[Node], scope: Scope, clause: str = SELECT_LIST) -> Rows:
    """Return the columns of a select or RETURNING list, stars expanded (parse_target.c)."""
    columns: list[Col] = []
    rest: frozenset[Source] | None = None
    for node in nodes:
        target = node.get("ResTarget", {})
        value = target.get("val", {})
        star = _star(ctx, scope, value, clause)
        if star is None:
            column = named(ctx, scope, value, clause)
            name = target.get("name")
            columns.append(column if name is None or name == column.name else column._replace(name=name))
            continue
        columns += star.columns
        if star.rest is not None:
            rest = (rest or NOTHING) | star.rest
    return Rows(tuple(columns), rest)


def _star(ctx: Context, scope: Scope, value: Node, clause: str) -> Rows | None:
    """Return what ``*``, ``t.*`` or ``(x).*`` stands for, ``None`` if ``value`` is none of them."""
    ref = value.get("ColumnRef")
    if ref is not None:
        fields = ref.get("fields", ())
        if not starred(fields):
            return None
        if len(fields) > 1:
            item = item_of(ctx, scope, strings(fields))
            if item is None:
                if fields[0].get("String", {}).get("sval") not in ctx.variables:
                    ctx.missing(".".join(strings(fields)), "table")
                return Rows((), NOTHING)
            return Rows(item.columns, item.rest)
        shown = [i for i in scope.items if i.by_column]
        rests = [i.rest for i in shown if i.rest is not None]
        if not shown:
            ctx.gap("* without a FROM")
        return Rows(tuple(c for i in shown for c in i.columns), NOTHING.union(*rests) if rests else None)
    indirection = value.get("A_Indirection")
    if indirection is None or not starred(indirection.get("indirection", ())):
        return None
    steps = indirection["indirection"][:-1]
    arg = indirection.get("arg", {})
    whole = arg.get("ColumnRef")
    if whole is not None and not steps:
        column = reference(ctx, scope, whole)
        if column.row is not None and not column.plain:
            return Rows(column.row)  # (t).* is t.*
    inner = project(
        ctx, scope, {"A_Indirection": {"arg": arg, "indirection": steps}} if steps else arg, clause
    )
    ctx.use(inner.sources, clause, -1)
    return Rows((), inner.sources) if inner.row is None else Rows(inner.row)


def values(ctx: Context, node: Node, scope: Scope, clause: str = "VALUES") -> Rows:
    """Return the columns of a VALUES list: each is what its rows have in that place."""
    rows: list[tuple[Col, ...]] = []
    for entry in node.get("valuesLists", ()):
        cells: list[Col] = []
        for cell in entry.get("List", {}).get("items", ()):
            star = _star(ctx, scope, cell, clause)
            cells += star.columns if star is not None else (project(ctx, scope, cell, clause),)
        rows.append(tuple(cells))
    if not rows:
        return Rows(())
    merged = rows[0]
    for row in rows[1:]:
        merged = tuple(either(a, b) for a, b in zip(merged, row, strict=False))
    return Rows(tuple(c._replace(name=f"column{i}") for i, c in enumerate(merged, 1)))


def either(a: Col, b: Col) -> Col:
    """Return the column that is ``a`` in some rows and ``b`` in others; constants change nothing."""
    if not b.sources and (b.row is None or b.row == a.row):
        return a
    if not a.sources:
        return b._replace(name=a.name)
    return Col(
        a.name, a.sources | b.sources, a.plain and b.plain, a.type_oid, a.row if a.row == b.row else None
    )


def _set_operation(ctx: Context, node: Node, scope: Scope) -> Rows:
    # The left arm of UNION ALL chains nests as deep as the chain is long: walk it, do not recurse.
    arms: list[tuple[Node, Node]] = []
    left = node
    while True:
        arms.append((left, left.get("rarg", {})))
        left = left.get("larg", {})
        if left.get("op", "SETOP_NONE") == "SETOP_NONE" or not _bare(left):
            break
    rows = select(ctx, left, scope)
    for operation, right in reversed(arms):
        rows = _combine(ctx, operation, rows, select(ctx, right, scope))
    return rows


def _bare(node: Node) -> bool:
    return not any(k in node for k in ("withClause", "sortClause", "limitCount", "limitOffset", "intoClause"))


def _combine(ctx: Context, operation: Node, left: Rows, right: Rows) -> Rows:
    if operation["op"] != "SETOP_UNION" or not operation.get("all"):
        ctx.use(left.every() | right.every(), operation["op"].removeprefix("SETOP_"), -1)
    ctx.operand(left)
    ctx.operand(right)
    rest = None if left.rest is None and right.rest is None else left.every() | right.every()
    if operation["op"] == "SETOP_EXCEPT" and rest is None:
        return left  # what comes out is always a row of the left side
    columns = tuple(either(a, b) for a, b in zip(left.columns, right.columns, strict=False))
    return Rows(columns, rest)


def _group_key(ctx: Context, scope: Scope, node: Node, rows: Rows) -> None:
    grouping = node.get("GroupingSet")
    if grouping is not None:
        for inner in grouping.get("content", ()):
            _group_key(ctx, scope, inner, rows)
        return
    fields = node.get("ColumnRef", {}).get("fields", ())
    names = strings(fields)
    if len(fields) == 1 and names:
        try:
            own = scope.own_column(names[0])
        except Ambiguous:
            own = (None, NOTHING)
        if own != (None, None):  # GROUP BY prefers a column of FROM, ORDER BY one of the result
            consume(ctx, scope, node, "GROUP BY")
            return
    _sort_key(ctx, scope, node, rows, "GROUP BY")


def _sort_key(ctx: Context, scope: Scope, node: Node, rows: Rows, clause: str) -> None:
    """Note the use of one sort or group key: an output's name or number, else an expression."""
    ref = node.get("ColumnRef")
    if ref is not None and len(ref.get("fields", ())) == 1 and not starred(ref["fields"]):
        name = strings(ref["fields"])[0]
        hits = [c for c in rows.columns if c.name == name]
        for column in hits:
            ctx.use(column.sources, clause, ref.get("location", 0))
        ctx.operand(Rows(tuple(hits)))
        if rows.rest is not None:
            ctx.use(rows.rest, clause, ref.get("location", 0))
        if hits or rows.rest is not None:
            return
    constant = node.get("A_Const")
    if constant is not None:
        position = constant.get("ival", {}).get("ival", 0)
        if rows.rest is not None:
            ctx.use(rows.every(), clause, constant.get("location", 0))
        elif 0 < position <= len(rows.columns):
            ctx.use(rows.columns[position - 1].sources, clause, constant.get("location", 0))
            ctx.operand(Rows(rows.columns[position - 1 : position]))
        return
    consume(ctx, scope, node, clause)


def with_clause(ctx: Context, node: Node, outer: Scope) -> Mapping[str, Cte]:
    """Return the WITH queries in force below ``node``, its own added to those around it."""
    clause = node.get("withClause")
    if clause is None:
        return outer.ctes
    inside = dict(outer.ctes)
    made: list[Cte] = []
    for entry in clause.get("ctes", ()):
        value = entry.get("CommonTableExpr", {})
        cte = Cte(value, tuple(strings(value.get("aliascolnames", ()))))
        # Without RECURSIVE a query sees those before it; with it, all of them and itself.
        cte.scope = Scope([], outer, inside if clause.get("recursive") else dict(inside))
        inside[value.get("ctename", "")] = cte
        made.append(cte)
    for cte in made:
        bound_cte(ctx, cte)  # one that writes runs whether or not it is named again
    return inside


def with_query(ctx: Context, cte: Cte, outer: Scope) -> Rows:
    """Return the columns of one WITH query, repeating a recursive one until nothing new flows in."""
    query = cte.node.get("ctequery", {})
    body = query.get("SelectStmt")
    if (
        body is None
        or body.get("op") != "SETOP_UNION"
        or outer.ctes.get(cte.node.get("ctename", "")) is not cte
    ):
        rows = ctx.query(ctx, query, outer)
        return _searched(ctx, cte, Rows(renamed(rows.columns, cte.names), rows.rest))
    inner = Scope([], outer, with_clause(ctx, body, outer))
    cte.rows = select(ctx, body.get("larg", {}), inner)
    for _ in range(_MAX_ROUNDS):
        before = cte.rows
        step = select(ctx, body.get("rarg", {}), inner)
        cte.rows = _combine(ctx, body, before, step)
        if cte.rows == before:
            break
    else:
        ctx.gap("a recursive WITH query whose columns could not be followed")
    rows = cte.rows
    scope = Scope([Item(None, rows.columns, rest=rows.rest)], outer)
    for key in body.get("sortClause", ()):
        _sort_key(ctx, scope, key.get("SortBy", {}).get("node", {}), rows, "ORDER BY")
    consume(ctx, scope, [body.get("limitCount"), body.get("limitOffset")], "LIMIT")
    return _searched(ctx, cte, Rows(renamed(rows.columns, cte.names), rows.rest))


def _searched(ctx: Context, cte: Cte, rows: Rows) -> Rows:
    """Return ``rows`` with the columns that SEARCH and CYCLE add."""
    added: list[Col] = []
    search, cycle = cte.node.get("search_clause"), cte.node.get("cycle_clause")
    if search is not None:
        sources = _listed(ctx, rows, search.get("search_col_list", ()), "SEARCH")
        added.append(Col(search.get("search_seq_column", ""), sources))
    if cycle is not None:
        sources = _listed(ctx, rows, cycle.get("cycle_col_list", ()), "CYCLE")
        added.append(Col(cycle.get("cycle_mark_column", ""), sources))
        added.append(Col(cycle.get("cycle_path_column", ""), sources))
    return Rows(rows.columns + tuple(added), rows.rest)


def _listed(ctx: Context, rows: Rows, names: Iterable[Node], clause: str) -> frozenset[Source]:
    wanted = set(strings(list(names)))
    sources = NOTHING.union(*(c.sources for c in rows.columns if c.name in wanted))
    ctx.use(sources, clause, -1)
    return sources

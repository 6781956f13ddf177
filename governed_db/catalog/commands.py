"""Top-level commands: where their result comes from, and what the ones that are no query use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from governed_db.catalog.bound import Operand, Source, Stored
from governed_db.catalog.context import Context, Node
from governed_db.catalog.expressions import consume, strings
from governed_db.catalog.names import tagged
from governed_db.catalog.ranges import table
from governed_db.catalog.scope import NOTHING, Col, Item, Rows, Scope
from governed_db.catalog.selects import select, with_query
from governed_db.catalog.stored import unseen
from governed_db.catalog.writes import delete, insert, merge, update
from governed_db.statement.facts import Access

UNTOLD = Rows((), NOTHING)
"""A result whose columns cannot be told from the text."""

NO_ROWS = Rows(())

_QUERIES: dict[str, Callable[[Context, Node, Scope], Rows]] = {
    "SelectStmt": select,
    "InsertStmt": insert,
    "UpdateStmt": update,
    "DeleteStmt": delete,
    "MergeStmt": merge,
}


def query(ctx: Context, node: Node, scope: Scope) -> Rows:
    """Bind one query node, as it stands in FROM, WITH, a subselect or alone."""
    if "cte" in node:
        return with_query(ctx, node["cte"], scope)
    tag, value = tagged(node)
    binder = _QUERIES.get(tag)
    if binder is None:
        ctx.gap(f"{tag or 'nothing'} where a query belongs")
        return UNTOLD
    return binder(ctx, value, scope)


def command(ctx: Context, node: Node) -> Rows:
    """Bind one command; return the columns of the rows it returns.

    For DECLARE and PREPARE these are the columns that FETCH and EXECUTE will hand out.
    """
    tag, value = tagged(node)
    if tag in _QUERIES:
        rows = query(ctx, node, ctx.top)
        if tag == "SelectStmt" and _into(value):
            ctx.use(rows.every(), "SELECT INTO", -1)
            return NO_ROWS
        return rows
    special = _COMMANDS.get(tag)
    if special is not None:
        return special(ctx, value)
    _definition(ctx, tag, value)
    # Only CALL, EXECUTE, EXPLAIN, FETCH and SHOW return rows (utility.c, UtilityReturnsTuples).
    return NO_ROWS


def _into(node: Node) -> bool:
    while node.get("op", "SETOP_NONE") != "SETOP_NONE":
        node = node.get("larg", {})
    return "intoClause" in node


def _copy(ctx: Context, node: Node) -> Rows:
    if "query" in node:
        rows = command(ctx, node["query"])
        return NO_ROWS if node.get("is_from") else rows
    access = Access.INSERT if node.get("is_from") else Access.READ
    relation = ctx.relation(node.get("relation", {}), access)
    if relation is None:
        return UNTOLD
    item = table(ctx, relation)
    consume(ctx, Scope([item]), node.get("whereClause"), "COPY ... WHERE")
    names = strings(node.get("attlist", ()))
    columns = []
    for name in names:
        found = item.find(name)
        if found is None:
            ctx.missing(f"{relation}.{name}", "column")
        columns.append(found or Col(name))
    if node.get("is_from"):
        given = [c for c in relation.columns if not c.generated]
        if names:
            given = [c for n in names if (c := relation.column(n)) is not None]
        ctx.columns_set += [(relation, c, Access.INSERT) for c in given]
        if ctx.text is not None:
            places = [(Source(relation.oid, c.number), unseen(ctx, relation, c)) for c in given]
            ctx.stored += [Stored(sink, Operand(0, -1), apart) for sink, apart in places]
        return NO_ROWS
    if not names:
        # COPY of a table leaves out what is generated, unless it is named (CopyGetAttnums, copy.c).
        left_out = {c.name for c in relation.columns if c.generated}
        columns = [c for c in item.columns if c.name not in left_out]
    return Rows(tuple(columns))


def _explain(ctx: Context, node: Node) -> Rows:
    command(ctx, node.get("query", {}))
    return Rows((Col("QUERY PLAN"),))


def _later(ctx: Context, node: Node) -> Rows:
    return command(ctx, node.get("query", {}))


_MADE = {"OBJECT_TABLE": "CREATE TABLE AS", "OBJECT_MATVIEW": "CREATE MATERIALIZED VIEW"}


def _create_as(ctx: Context, node: Node) -> Rows:
    rows = command(ctx, node.get("query", {}))
    if "ExecuteStmt" in node.get("query", {}):
        return rows  # what a prepared statement copies into the table is not in this text
    ctx.use(rows.every(), _MADE.get(node.get("objtype", ""), "CREATE ... AS"), -1)
    return NO_ROWS


def _view(ctx: Context, node: Node) -> Rows:
    ctx.use(command(ctx, node.get("query", {})).every(), "CREATE VIEW", -1)
    return NO_ROWS


def _execute(ctx: Context, node: Node) -> Rows:
    consume(ctx, ctx.top, node.get("params"), "EXECUTE")
    return UNTOLD


def _fetch(_ctx: Context, node: Node) -> Rows:
    return NO_ROWS if node.get("ismove") else UNTOLD


def _show(_ctx: Context, node: Node) -> Rows:
    name = node.get("name", "")
    names = ("name", "setting", "description") if name == "all" else (name,)
    return Rows(tuple(Col(n) for n in names))


def _call(ctx: Context, node: Node) -> Rows:
    consume(ctx, ctx.top, {"FuncCall": node.get("funccall", {})}, "CALL")
    return UNTOLD


_COMMANDS: dict[str, Callable[[Context, Node], Rows]] = {
    "CallStmt": _call,
    "CopyStmt": _copy,
    "CreateTableAsStmt": _create_as,
    "DeclareCursorStmt": _later,
    "ExecuteStmt": _execute,
    "ExplainStmt": _explain,
    "FetchStmt": _fetch,
    "PrepareStmt": _later,
    "VariableShowStmt": _show,
    "ViewStmt": _view,
}


def _definition(ctx: Context, tag: str, node: Node) -> None:
    """Note the columns that a definition (an index, a rule, ALTER TABLE ...) computes with or renames."""
    clause = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", tag.removesuffix("Stmt")).upper()
    before, ctx.lenient = ctx.lenient, True
    ctx.walked = False
    try:
        items: list[Item] = []
        for named in _tables(node):
            found = ctx.catalog.relation(named.get("schemaname"), named.get("relname", ""), ctx.session)
            if found is not None:
                items.append(table(ctx, found))
                if tag in ("RuleStmt", "CreateTrigStmt"):
                    items += [table(ctx, found, "old"), table(ctx, found, "new")]
                    items[-1].by_column = items[-2].by_column = False
                if tag == "RenameStmt" and node.get("subname"):
                    _renamed(ctx, items[-1], node["subname"])
        consume(ctx, Scope(items), node, clause)
    finally:
        ctx.lenient = before


def _tables(node: Node) -> Iterator[Node]:
    for key in ("relation", "table"):
        if isinstance(node.get(key), dict) and "relname" in node[key]:
            yield node[key]
    for entry in node.get("relations", ()):
        if isinstance(entry, dict) and "RangeVar" in entry:
            yield entry["RangeVar"]


def _renamed(ctx: Context, item: Item, name: str) -> None:
    # A masked column under another name may no longer be recognised as one.
    found = item.find(name)
    sources: frozenset[Source] = found.sources if found is not None else NOTHING
    ctx.use(sources, "RENAME", -1)

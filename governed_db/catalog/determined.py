"""What a primary key beside it determines: GROUP BY c.id, c.email makes the groups of GROUP BY c.id.

PostgreSQL drops such keys of GROUP BY itself (planner.c, remove_useless_groupby_columns), and neither sorts
nor hashes them. Those of DISTINCT it does hash, so that rows without an order come as their hashes have it;
an ORDER BY that leaves no two rows alike takes that away. Nothing is so told of their values but that they
are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from governed_db.catalog.context import Context, Node
from governed_db.catalog.expressions import item_of, starred, strings
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.catalog.scope import Ambiguous, Col, Item, Scope

_ANY_KEY = 180_000
"""From this version on, the server may keep the columns of another unique index than the primary key's
(release notes of PostgreSQL 18, optimizer)."""


# What a SELECT count(*) FROM (...) is made of, and the call in it (SelectStmt and FuncCall in parsenodes.h).
_COUNTING = frozenset({"targetList", "fromClause", "limitOption", "op"})
_COUNT_ALL = frozenset({"funcname", "agg_star", "funcformat", "location"})


@frozen
class _Own:
    """A column of a table that stands in FROM at this very level: the entry, and the column there."""

    item: Item
    column: Col

    @property
    def number(self) -> int:
        (source,) = self.column.sources
        return source.column


def grouped(ctx: Context, scope: Scope, query: Node) -> dict[int, Col]:
    """Return the keys of GROUP BY that others determine, by their places."""
    keys: Sequence[Node] = query.get("groupClause", ())
    if len(keys) < 2 or any("GroupingSet" in key for key in keys):
        return {}
    owned = [_own(ctx, scope, _meant(scope, query, key)) for key in keys]
    found: dict[int, Col] = {}
    for item, numbers in _by_item(owned).items():
        primary = _primary_key(ctx, item)
        if not primary or not primary <= numbers:
            continue
        others = (key for key in _keys(ctx, item) if key != primary and key <= numbers)
        if ctx.catalog.server_version >= _ANY_KEY and any(len(key) <= len(primary) for key in others):
            continue
        for place, own in enumerate(owned):
            if own is not None and own.item is item and own.number > 0 and own.number not in primary:
                found[place] = own.column
    return found


def counted(ctx: Context, query: Node) -> Node | None:
    """Return the subselect in FROM of which ``query`` says nothing but how many rows it has."""
    entries = query.get("fromClause", ())
    listed = query.get("targetList", ())
    if len(entries) != 1 or len(listed) != 1 or not query.keys() <= _COUNTING:
        return None
    call = listed[0].get("ResTarget", {}).get("val", {}).get("FuncCall", {})
    inner: Node = entries[0].get("RangeSubselect", {}).get("subquery", {}).get("SelectStmt", {})
    if not call.get("agg_star") or not call.keys() <= _COUNT_ALL:
        return None
    if any(clause in inner for clause in ("limitCount", "limitOffset")):
        return None  # which rows are left then depends on the order they come in
    functions, name = ctx.candidates(call)
    own = functions and all(f.oid < FIRST_USER_OID for f in functions)
    return inner if name == "count" and own else None


def distinct(ctx: Context, scope: Scope, query: Node, *, counted: bool = False) -> frozenset[int]:
    """Return which columns of a SELECT DISTINCT are determined by others, by their places.

    There are none where rows could come in an order that depends on them, unless they are only ``counted``.
    """
    listed: list[tuple[str, _Own | None]] = []
    for target in query.get("targetList", ()):
        value = target.get("ResTarget", {}).get("val", {})
        fields = value.get("ColumnRef", {}).get("fields", ())
        if starred(fields):
            item = item_of(ctx, scope, strings(fields)) if len(fields) > 1 else None
            if item is None or item.rest is not None:
                return frozenset()
            listed += [(column.name, _owned_by(scope, item, column.name)) for column in item.columns]
        else:
            listed.append((_called(target.get("ResTarget", {})), _own(ctx, scope, value)))
    owned = [own for _, own in listed]
    if counted:
        given = _by_item(owned)
        keys = {item: _primary_key(ctx, item) for item in given}
        return frozenset(
            place
            for place, own in enumerate(owned)
            if own is not None
            and own.number > 0
            and own.number not in keys[own.item]
            and keys[own.item]
            and keys[own.item] <= given[own.item]
        )
    sorted_by: dict[Item, set[int]] = {}
    for key in query.get("sortClause", ()):
        own = _sorted(ctx, scope, listed, key.get("SortBy", {}).get("node", {}))
        if own is not None:
            sorted_by.setdefault(own.item, set()).add(own.number)
    found: set[int] = set()
    for place, own in enumerate(owned):
        if own is None:
            return frozenset()
        numbers = sorted_by.get(own.item, set())
        if own.number in numbers:
            continue
        primary = _primary_key(ctx, own.item)
        if not primary or not primary <= numbers or own.number < 0:
            return frozenset()
        found.add(place)
    return frozenset(found)


def _by_item(owned: Sequence[_Own | None]) -> Mapping[Item, set[int]]:
    found: dict[Item, set[int]] = {}
    for own in owned:
        if own is not None:
            found.setdefault(own.item, set()).add(own.number)
    return found


def _meant(scope: Scope, query: Node, key: Node) -> Node:
    """Return what a key of GROUP BY means: a column of FROM before one of the result (parse_clause.c)."""
    targets = [target.get("ResTarget", {}) for target in query.get("targetList", ())]
    if any(starred(t.get("val", {}).get("ColumnRef", {}).get("fields", ())) for t in targets):
        targets = []  # their places are others
    place = key.get("A_Const", {}).get("ival", {}).get("ival", 0)
    if 0 < place <= len(targets):
        meant: Node = targets[place - 1].get("val", {})
        return meant
    names = strings(key.get("ColumnRef", {}).get("fields", ()))
    if len(names) == 1:
        try:
            if scope.own_column(names[0])[0] is not None:
                return key
        except Ambiguous:
            return {}
        hits: list[Node] = [t.get("val", {}) for t in targets if t.get("name") == names[0]]
        return hits[0] if len(hits) == 1 else {}
    return key


def _sorted(ctx: Context, scope: Scope, listed: Sequence[tuple[str, _Own | None]], key: Node) -> _Own | None:
    """Return the column that a key of ORDER BY means: one of the result before one of FROM."""
    place: int = key.get("A_Const", {}).get("ival", {}).get("ival", 0)
    if 0 < place <= len(listed):
        return listed[place - 1][1]
    fields = key.get("ColumnRef", {}).get("fields", ())
    hits = [own for name, own in listed if len(fields) == 1 and name == strings(fields)[0]]
    if hits:
        return hits[0] if len(hits) == 1 else None
    return _own(ctx, scope, key)


def _called(target: Node) -> str:
    fields = strings(target.get("val", {}).get("ColumnRef", {}).get("fields", ()))
    return str(target.get("name") or (fields[-1] if fields else ""))


def _own(ctx: Context, scope: Scope, value: Node) -> _Own | None:
    fields = value.get("ColumnRef", {}).get("fields", ())
    names = strings(fields)
    if not names or starred(fields) or len(names) != len(fields):
        return None
    if len(names) > 1:
        item = item_of(ctx, scope, names[:-1])
        return _owned_by(scope, item, names[-1]) if item is not None else None
    shown = [item for item in scope.items if item.by_column]
    if any(item.rest is not None for item in shown):
        return None
    return next((own for item in shown if (own := _owned_by(scope, item, names[0])) is not None), None)


def _owned_by(scope: Scope, item: Item, name: str) -> _Own | None:
    if not item.system or not any(item is own for own in scope.items):
        return None
    try:
        column = item.find(name)
    except Ambiguous:
        return None
    if column is None or not column.plain or len(column.sources) != 1:
        return None
    (source,) = column.sources
    return _Own(item, column) if source.relation == item.system else None


def _keys(ctx: Context, item: Item) -> tuple[frozenset[int], ...]:
    relation = ctx.catalog.relations.get(item.system)
    return relation.keys if relation is not None else ()


def _primary_key(ctx: Context, item: Item) -> frozenset[int]:
    """Return the columns of a primary key that holds at once and for every row; empty for none."""
    relation = ctx.catalog.relations.get(item.system)
    for constraint in relation.constraints if relation is not None else ():
        columns = frozenset(constraint.columns)
        if constraint.kind == "p" and relation is not None and columns in relation.keys:
            return columns
    return frozenset()

"""What a statement would come to mean with a subselect in the place of a table, where that is something else.

A subselect has no system columns, no row type of its own and no primary key. The functions here return why a
statement needs one of them, in words, or "".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from governed_db.catalog.model import Catalog, Relation, Session
from governed_db.catalog.scope import SYSTEM_COLUMNS
from governed_db.statement.nodes import strings

Node = Mapping[str, Any]

_MAX_COLUMNS_NAMED = 3


@frozen(kw_only=True)
class Entry:
    """A reference to a relation with masked columns, in a FROM clause.

    ``alias`` is what the statement calls it by, ``names`` what its columns are called there, in order.
    """

    relation: Relation
    node: Node
    alias: str
    names: tuple[str, ...]


def nodes(node: Any, kind: str) -> Iterator[Node]:
    """Yield every node of ``kind`` at or below ``node``."""
    stack = [node]
    while stack:
        current = stack.pop()
        if type(current) is list:
            stack.extend(current)
        elif type(current) is dict:
            for tag, value in current.items():
                if tag == kind:
                    yield value
                stack.append(value)


def names_in(stmt: Node, entries: Sequence[Entry]) -> frozenset[str] | None:
    """Return every name in a statement, ``None`` where columns are meant without being named.

    A column whose name stands nowhere is not read, and a role may have no right to read it.
    """
    joins = [join["alias"] for join in nodes(stmt, "JoinExpr") if "alias" in join]
    if any(alias.get("colnames") for alias in (*joins, *(entry.node.get("alias", {}) for entry in entries))):
        return None
    rows = {entry.alias for entry in entries} | {alias.get("aliasname", "") for alias in joins}
    of_others = _stars_of_others(stmt, entries, rows)
    found: set[str] = set()
    stack: list[Any] = [stmt]
    while stack:
        current = stack.pop()
        if type(current) is list:
            stack.extend(current)
        elif type(current) is dict:
            if id(current) in of_others:
                continue
            if "A_Star" in current or current.get("isNatural"):
                return None
            fields = strings(current.get("ColumnRef", {}).get("fields"))
            if len(fields) == 1 and fields[0] in rows:
                return None
            found.add(current.get("String", {}).get("sval", ""))
            stack.extend(current.values())
    return frozenset(found)


def _stars_of_others(stmt: Node, entries: Sequence[Entry], rows: Collection[str]) -> set[int]:
    """Return which of the ``*`` in select lists, by identity, stand for columns of none of ``entries``."""
    replaced = {id(entry.node) for entry in entries}
    found: set[int] = set()
    for query in nodes(stmt, "SelectStmt"):
        among = any(id(node) in replaced for node, _ in from_clause(query))
        for target in query.get("targetList", ()):
            value = target.get("ResTarget", {}).get("val", {})
            fields = value.get("ColumnRef", {}).get("fields", ())
            owner = strings(fields)[-1:]
            if fields and "A_Star" in fields[-1] and not (owner[0] in rows if owner else among):
                found.add(id(value))
    return found


def current_query(stmt: Node) -> str:
    """Say that the text of the statement is read by itself."""
    for call in nodes(stmt, "FuncCall"):
        if strings(call.get("funcname"))[-1:] == ("current_query",):
            return "current_query() would show another text than the one that was asked"
    return ""


def system_column(stmt: Node, entries: Sequence[Entry]) -> str:
    """Say that a column is read which every table has and no subselect."""
    aliases = {entry.alias for entry in entries}
    for node in nodes(stmt, "ColumnRef"):
        names = strings(node.get("fields"))
        if names[-1:] and names[-1] in SYSTEM_COLUMNS and (len(names) == 1 or names[-2] in aliases):
            return f"a redacted row has no {names[-1]}"
    return ""


def whole_row(stmt: Node, entries: Sequence[Entry], catalog: Catalog, session: Session) -> str:
    """Say that a row is handed on whole, as a value of the table's own type."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.alias, []).append(entry)
    for node in nodes(stmt, "ColumnRef"):
        names = strings(node.get("fields"))
        if len(names) < 2 or len(names) < len(node.get("fields", ())) or names[-1] in SYSTEM_COLUMNS:
            continue
        owners = [e for e in found.get(names[-2], ()) if len(names) == 2 or e.relation.schema == names[-3]]
        if owners and all(names[-1] not in entry.names for entry in owners):
            return f"{names[-2]}.{names[-1]} calls a function with a row of {owners[0].relation}"
    stack: list[tuple[Any, bool]] = [(stmt, False)]
    while stack:
        current, fine = stack.pop()
        if type(current) is list:
            stack.extend((item, fine) for item in current)
        elif type(current) is dict:
            row = None if fine else _row_of(current, found)
            if row is not None:
                return f"{row.alias} would be a row without a type of its own"
            for tag, value in current.items():
                if tag == "FuncCall" and (why := _given_row(value, found, catalog, session)):
                    return why
                stack.append((value, _looks_into_rows(tag, value, fine)))
    return ""


# Where a row is only looked into, so that its type does not matter. Of other expressions it is the result.
_LOOKS_INTO_ROWS = frozenset(
    {
        "A_Expr", "A_Indirection", "BooleanTest", "FuncCall", "JsonArrayConstructor", "JsonObjectConstructor",
        "JsonValueExpr", "NullTest", "SortBy", "TypeCast", "XmlExpr",
        "distinctClause", "groupClause", "partitionClause", "testexpr",
    }
)  # fmt: skip
_AS_AROUND = frozenset({"GroupingSet", "JsonAggConstructor", "JsonKeyValue", "List", "NamedArgExpr"})


def _looks_into_rows(tag: str, value: Any, around: bool) -> bool:
    """Return whether whole rows may stand in ``value``: the node ``tag``, or a field of one called so."""
    if tag == "A_Expr":
        return bool(value.get("kind") != "AEXPR_NULLIF")
    if tag in _LOOKS_INTO_ROWS:
        return True
    return around and (tag in _AS_AROUND or tag[:1].islower())  # tags of nodes begin with a capital


def _given_row(call: Node, entries: Mapping[str, Sequence[Entry]], catalog: Catalog, session: Session) -> str:
    """Say that a function is given a row whose type it would return or look at."""
    entry = next((e for a in call.get("args", ()) if (e := _row_of(a, entries)) is not None), None)
    if entry is None or _takes_any_row(call, catalog, session):
        return ""
    name = ".".join(strings(call.get("funcname")))
    return f"{name}() is given a row of {entry.relation}, which would have no type of its own"


def _row_of(value: Node, entries: Mapping[str, Sequence[Entry]]) -> Entry | None:
    """Return the entry that ``value`` is a whole-row reference to; a column of that name comes first."""
    fields = value.get("ColumnRef", {}).get("fields", ())
    names = strings(fields)
    if len(fields) != 1 or not names:
        return None
    return next((e for e in entries.get(names[0], ()) if names[0] not in e.names), None)


def _takes_any_row(call: Node, catalog: Catalog, session: Session) -> bool:
    """Return whether a call is of PostgreSQL's own functions alone, and its result has one known type."""
    names = strings(call.get("funcname"))
    if names[-1] == "pg_typeof":
        return False
    found = list(catalog.candidates(names[-2] if len(names) > 1 else None, names[-1], session))
    return bool(found) and all(
        f.schema == "pg_catalog" and (type_ := catalog.types.get(f.returns)) is not None and type_.kind != "p"
        for f in found
    )


def depends_on_key(stmt: Node, entries: Sequence[Entry], catalog: Catalog, session: Session) -> str:
    """Say that columns stand beside GROUP BY only because a primary key determines them."""
    for query in nodes(stmt, "SelectStmt"):
        if "groupClause" not in query:
            continue
        level = {id(node): {*joins, _called(node)} for node, joins in from_clause(query)}
        for entry in entries:
            called = level.get(id(entry.node))
            if called is None:
                continue
            keys = _grouped(query, entry, called)
            if not any(key and key <= keys for key in _primary_keys(entry)):
                continue
            loose = [n for n in _ungrouped(query, entry, called, catalog, session) if n not in keys]
            if loose:
                listed = ", ".join(f"{entry.alias}.{n}" for n in dict.fromkeys(loose[:_MAX_COLUMNS_NAMED]))
                return (
                    f"GROUP BY the primary key of {entry.relation} determines {listed}, and redacted rows"
                    " have no key; name every selected column in GROUP BY"
                )
    return ""


def from_clause(query: Node) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """Yield the relations in FROM of this very level, and what joins around them are called."""
    stack: list[tuple[Node, tuple[str, ...]]] = [(item, ()) for item in query.get("fromClause", ())]
    while stack:
        item, joins = stack.pop()
        for tag, value in item.items():
            if tag == "RangeVar":
                yield value, joins
            elif tag == "JoinExpr":
                around = (value["alias"].get("aliasname", ""), *joins) if "alias" in value else joins
                stack += [(value.get("larg", {}), around), (value.get("rarg", {}), around)]


def _called(node: Node) -> str:
    name: str = node.get("alias", {}).get("aliasname") or node.get("relname", "")
    return name


def _primary_keys(entry: Entry) -> Iterator[set[str]]:
    by_number = {c.number: n for c, n in zip(entry.relation.columns, entry.names, strict=True)}
    for constraint in entry.relation.constraints:
        if constraint.kind == "p":
            yield {by_number.get(number, "") for number in constraint.columns}


def _grouped(query: Node, entry: Entry, called: Collection[str]) -> set[str]:
    """Return the columns of ``entry``, which goes by the names ``called``, that are keys of GROUP BY."""
    targets = [t.get("ResTarget", {}) for t in query.get("targetList", ())]
    found: set[str] = set()
    stack = list(query["groupClause"])
    while stack:
        key = stack.pop()
        if "GroupingSet" in key:
            stack.extend(key["GroupingSet"].get("content", ()))
            continue
        place = key.get("A_Const", {}).get("ival", {}).get("ival", 0)
        if 0 < place <= len(targets):
            key = targets[place - 1].get("val", {})
        names = strings(key.get("ColumnRef", {}).get("fields"))
        if len(names) == 1 and names[0] not in entry.names:
            named: Node = next((t.get("val", {}) for t in targets if t.get("name") == names[0]), {})
            names = strings(named.get("ColumnRef", {}).get("fields"))
        if names and (len(names) == 1 or names[-2] in called) and names[-1] in entry.names:
            found.add(names[-1])
    return found


def _ungrouped(
    query: Node, entry: Entry, called: Collection[str], catalog: Catalog, session: Session
) -> Iterator[str]:
    """Yield the columns of ``entry`` that are looked at beside GROUP BY, outside of aggregates."""
    parts = ("targetList", "havingClause", "windowClause")
    stack: list[tuple[Any, bool]] = [(query.get(part), False) for part in parts]
    stack += [(key, False) for key in _keys_of_their_own(query)]
    while stack:
        current, inside = stack.pop()
        if type(current) is list:
            stack.extend((item, inside) for item in current)
        elif type(current) is dict:
            for tag, value in current.items():
                if tag == "ColumnRef":
                    yield from _referred(value, entry, called, inside)
                elif tag != "FuncCall" or "over" in value or not _aggregates(value, catalog, session):
                    stack.append((value, inside or tag == "SubLink"))


def _keys_of_their_own(query: Node) -> Iterator[Any]:
    """Yield the keys of ORDER BY and DISTINCT ON that are not the name of a selected column."""
    named = {t.get("ResTarget", {}).get("name") for t in query.get("targetList", ())}
    for key in (*query.get("sortClause", ()), *query.get("distinctClause", ())):
        value = key.get("SortBy", {}).get("node", key)
        fields = value.get("ColumnRef", {}).get("fields", ())
        if len(fields) != 1 or strings(fields)[:1] not in [(name,) for name in named]:
            yield value


def _referred(node: Node, entry: Entry, called: Collection[str], inside: bool) -> Iterator[str]:
    fields = node.get("fields", ())
    names = strings(fields)
    star = len(names) < len(fields)
    owner = names[-1:] if star else names[-2:-1]
    if star:
        if not owner or owner[0] in called:
            yield from entry.names
    elif owner:
        if owner[0] in called and names[-1] in entry.names:
            yield names[-1]
    elif not inside and names[0] in entry.names:
        yield names[0]
    elif names[0] in called:
        yield from entry.names


def _aggregates(call: Node, catalog: Catalog, session: Session) -> bool:
    names = strings(call.get("funcname"))
    schema = names[-2] if len(names) > 1 else None
    return any(f.kind == "a" for f in catalog.candidates(schema, names[-1], session)) if names else False

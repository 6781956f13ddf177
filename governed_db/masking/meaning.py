"""What a statement would come to mean with a subselect in the place of a table, where that is something else.

A subselect has no system columns, no row type of its own and no primary key. The functions here return why a
statement needs one of them, in words, or "".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    aliases = {entry.alias for entry in entries}
    found: set[str] = set()
    stack: list[Any] = [stmt]
    while stack:
        current = stack.pop()
        if type(current) is list:
            stack.extend(current)
        elif type(current) is dict:
            if "A_Star" in current or current.get("isNatural") or current.get("colnames"):
                return None
            fields = strings(current.get("ColumnRef", {}).get("fields"))
            if len(fields) == 1 and fields[0] in aliases:
                return None
            found.add(current.get("String", {}).get("sval", ""))
            stack.extend(current.values())
    return frozenset(found)


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
    found = {entry.alias: entry for entry in entries}
    for target in nodes(stmt, "ResTarget"):
        entry = _row_of(target.get("val", {}), found)
        if entry is not None:
            return f"{entry.alias} would be a row without a type of its own"
    for node in nodes(stmt, "ColumnRef"):
        names = strings(node.get("fields"))
        entry = found.get(names[-2]) if len(names) > 1 else None
        if entry is not None and names[-1] not in entry.names and names[-1] not in SYSTEM_COLUMNS:
            return f"{names[-2]}.{names[-1]} calls a function with a row of {entry.relation}"
    for call in nodes(stmt, "FuncCall"):
        entry = next((e for a in call.get("args", ()) if (e := _row_of(a, found)) is not None), None)
        if entry is not None and not _takes_any_row(call, catalog, session):
            name = ".".join(strings(call.get("funcname")))
            return f"{name}() is given a row of {entry.relation}, which would have no type of its own"
    return ""


def _row_of(value: Node, entries: Mapping[str, Entry]) -> Entry | None:
    """Return the entry that ``value`` is a whole-row reference to; a column of that name comes first."""
    fields = value.get("ColumnRef", {}).get("fields", ())
    names = strings(fields)
    if len(fields) != 1 or not names:
        return None
    entry = entries.get(names[0])
    return entry if entry is not None and names[0] not in entry.names else None


def _takes_any_row(call: Node, catalog: Catalog, session: Session) -> bool:
    """Return whether a call is of PostgreSQL's own functions alone, and its result has one known type."""
    names = strings(call.get("funcname"))
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
        level = {id(node) for node in _from(query)}
        for entry in entries:
            if id(entry.node) not in level:
                continue
            keys = _grouped(query, entry)
            if not any(key and key <= keys for key in _primary_keys(entry)):
                continue
            loose = [n for n in _ungrouped(query, entry, catalog, session) if n not in keys]
            if loose:
                listed = ", ".join(f"{entry.alias}.{n}" for n in dict.fromkeys(loose[:_MAX_COLUMNS_NAMED]))
                return (
                    f"GROUP BY the primary key of {entry.relation} determines {listed}, and redacted rows"
                    " have no key; name every selected column in GROUP BY"
                )
    return ""


def _from(query: Node) -> Iterator[Node]:
    """Yield the relations in FROM of this very level."""
    stack = list(query.get("fromClause", ()))
    while stack:
        for tag, value in stack.pop().items():
            if tag == "RangeVar":
                yield value
            elif tag == "JoinExpr":
                stack += [value.get("larg", {}), value.get("rarg", {})]


def _primary_keys(entry: Entry) -> Iterator[set[str]]:
    by_number = {c.number: n for c, n in zip(entry.relation.columns, entry.names, strict=True)}
    for constraint in entry.relation.constraints:
        if constraint.kind == "p":
            yield {by_number.get(number, "") for number in constraint.columns}


def _grouped(query: Node, entry: Entry) -> set[str]:
    """Return the columns of ``entry`` that are keys of GROUP BY."""
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
        if names and (len(names) == 1 or names[-2] == entry.alias) and names[-1] in entry.names:
            found.add(names[-1])
    return found


def _ungrouped(query: Node, entry: Entry, catalog: Catalog, session: Session) -> Iterator[str]:
    """Yield the columns of ``entry`` that are looked at beside GROUP BY, outside of aggregates."""
    parts = ("targetList", "havingClause", "sortClause", "distinctClause", "windowClause")
    stack: list[tuple[Any, bool]] = [(query.get(part), False) for part in parts]
    while stack:
        current, inside = stack.pop()
        if type(current) is list:
            stack.extend((item, inside) for item in current)
        elif type(current) is dict:
            for tag, value in current.items():
                if tag == "ColumnRef":
                    yield from _referred(value, entry, inside)
                elif tag != "FuncCall" or "over" in value or not _aggregates(value, catalog, session):
                    stack.append((value, inside or tag == "SubLink"))


def _referred(node: Node, entry: Entry, inside: bool) -> Iterator[str]:
    fields = node.get("fields", ())
    names = strings(fields)
    star = len(names) < len(fields)
    owner = names[-1:] if star else names[-2:-1]
    if star:
        if not owner or owner[0] == entry.alias:
            yield from entry.names
    elif owner:
        if owner[0] == entry.alias:
            yield names[-1]
    elif not inside and names[0] in entry.names:
        yield names[0]
    elif names[0] == entry.alias:
        yield from entry.names


def _aggregates(call: Node, catalog: Catalog, session: Session) -> bool:
    names = strings(call.get("funcname"))
    schema = names[-2] if len(names) > 1 else None
    return any(f.kind == "a" for f in catalog.candidates(schema, names[-1], session)) if names else False

"""A statement over redacted values: each reference to a relation with masked columns becomes a subselect.

``FROM customers c`` becomes ``FROM (SELECT "id", CASE WHEN "email" IS NULL THEN ... END AS "email", ... FROM
"public"."customers") c``, at the places that PostgreSQL's grammar names; all other text stays as it is. The
server then carries the redacted values through every expression, join and order. Other columns are handed
through, so that the planner pulls the subselect up and uses the indexes it would have used.

This module only writes text. Whether the result means what it should is for
:mod:`governed_db.masking.redact` to see, which reads it again as if a caller had sent it. What would come to
mean something else is refused here, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from governed_db.catalog.bound import Bound
from governed_db.catalog.model import Catalog, Relation, Session
from governed_db.masking.literals import identifier, redacted, typed_null
from governed_db.masking.meaning import (
    Entry,
    Node,
    current_query,
    depends_on_key,
    from_clause,
    names_in,
    nodes,
    system_column,
    whole_row,
)
from governed_db.masking.plan import Hidden, Labels
from governed_db.statement import lexer
from governed_db.statement.facts import Access, EffectKind
from governed_db.statement.nodes import strings, unwrap


class Unspliceable(Exception):  # noqa: N818 - it says what the statement is, and never leaves masking/
    """The statement would mean something else, or cannot be written; the message says why, in words."""


@frozen
class _Edit:
    start: int
    end: int
    text: str


# What can be run again from another text and leaves nothing behind that keeps the text: a view would show
# redacted values to everybody, for good.
_QUERIES = frozenset({"SelectStmt", "InsertStmt"})
_AROUND = {
    "ExplainStmt": "EXPLAIN",
    "DeclareCursorStmt": "DECLARE",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "CopyStmt": "COPY",
}
_CHANGES = {EffectKind.UPDATE: "UPDATE", EffectKind.DELETE: "DELETE", EffectKind.MERGE: "MERGE"}


def splice(
    bound: Bound, catalog: Catalog, session: Session, labels: Labels, place: Callable[[int], int]
) -> str:
    """Return the text of ``bound`` over redacted values.

    Args:
        bound: one statement against ``catalog``.
        catalog: the snapshot it was bound against.
        session: what it was bound in.
        labels: what is masked.
        place: turns the grammar's offsets, which are bytes, into characters.

    Raises:
        Unspliceable: it would mean something else, or cannot be written.
    """
    statement = bound.statement
    if statement.commands != 1 or len(statement.tree) != 1:
        raise Unspliceable("it is more than one statement")
    stmt = statement.tree[0].get("stmt", {})
    _check_kind(stmt, bound)
    text = statement.text
    surgery = _Surgery(text, place)
    copied = stmt.get("CopyStmt", {})
    if "relation" in copied:
        relation = _copied(copied, bound, place)
        surgery.copy(copied, relation, _columns(catalog, relation, labels(relation)))
        return surgery.done()
    read = {
        use.location: use.relation
        for use in bound.relations
        if use.access is Access.READ and use.via is None and not use.within
    }
    entries: list[Entry] = []
    for node, sampled in _ranges(stmt):
        found = read.get(place(node.get("location", 0)))
        if found is None or not labels(found):
            continue
        if sampled:
            raise Unspliceable(f"TABLESAMPLE takes its sample of {found} itself, before anything is redacted")
        entries.append(_entry(found, node))
    if not entries:
        raise Unspliceable("no reference in it to a relation with masked columns can be replaced")
    _check_meaning(stmt, entries, catalog, session)
    named = names_in(stmt, entries)
    for entry in entries:
        columns = _columns(catalog, entry.relation, labels(entry.relation))
        if named is not None:
            columns = {name: text for name, text in columns.items() if name in named}
        surgery.replace(entry, columns)
    for node in _qualified(stmt, entries):
        surgery.shorten(node)
    return surgery.done()


def _check_kind(stmt: Node, bound: Bound) -> None:
    kind, body = unwrap(dict(stmt))
    while kind in _AROUND:
        if kind == "CopyStmt" and body.get("is_from"):
            raise Unspliceable("COPY FROM reads nothing that could be redacted")
        if kind == "CreateTableAsStmt" and body.get("objtype") != "OBJECT_TABLE":
            raise Unspliceable("a materialised view would keep the redacted values for everybody")
        if "query" not in body:
            break
        kind, body = unwrap(body["query"])
    if kind not in _QUERIES and kind not in _AROUND:
        changed = {"UpdateStmt": "UPDATE", "DeleteStmt": "DELETE", "MergeStmt": "MERGE"}.get(kind)
        if changed is not None:
            raise Unspliceable(_changes(changed))
        raise Unspliceable("it is kept, or run by other statements, which would then see redacted values")
    for effect in bound.statement.effects:
        if effect.kind in _CHANGES:
            raise Unspliceable(_changes(_CHANGES[effect.kind]))


def _changes(command: str) -> str:
    return f"which rows {command} changes, and to what, must not depend on redacted values"


def _copied(node: Node, bound: Bound, place: Callable[[int], int]) -> Relation:
    at = place(node["relation"].get("location", 0))
    found = next((u.relation for u in bound.relations if u.location == at and u.via is None), None)
    if found is None:
        raise Unspliceable("the relation it copies cannot be told")
    if found.kind != "r":
        raise Unspliceable(f"COPY does not read {found}, which is no table")
    return found


def _ranges(node: Any) -> Iterator[tuple[Node, bool]]:
    """Yield the relations named in FROM clauses, and whether a sample of them is taken."""
    stack: list[tuple[Any, bool]] = [(node, False)]
    while stack:
        current, sampled = stack.pop()
        if type(current) is list:
            stack.extend((item, sampled) for item in current)
        elif type(current) is dict:
            for tag, value in current.items():
                if tag == "RangeVar":
                    yield value, sampled
                elif tag == "RangeTableSample":
                    stack.append((value.get("relation"), True))
                    stack.append(({k: v for k, v in value.items() if k != "relation"}, False))
                elif tag != "LockingClause":  # FOR UPDATE OF names aliases
                    stack.append((value, False))


def _entry(relation: Relation, node: Node) -> Entry:
    alias = node.get("alias", {})
    names = [c.name for c in relation.columns]
    given = strings(alias.get("colnames"))
    names[: len(given)] = given
    return Entry(
        relation=relation,
        node=node,
        alias=alias.get("aliasname") or node.get("relname", ""),
        names=tuple(names),
    )


def _check_meaning(stmt: Node, entries: Sequence[Entry], catalog: Catalog, session: Session) -> None:
    because = (
        current_query(stmt)
        or _same_name(stmt, entries)
        or system_column(stmt, entries)
        or whole_row(stmt, entries, catalog, session)
        or depends_on_key(stmt, entries, catalog, session)
    )
    if because:
        raise Unspliceable(because)


def _same_name(stmt: Node, entries: Sequence[Entry]) -> str:
    """Say that a table stands beside one of the same name, and only their schemas tell them apart."""
    replaced = {id(entry.node) for entry in entries if not entry.node.get("alias")}
    for query in nodes(stmt, "SelectStmt"):
        bare = [node for node, _ in from_clause(query) if not node.get("alias")]
        names = [node.get("relname", "") for node in bare]
        for node, name in zip(bare, names, strict=True):
            if id(node) in replaced and names.count(name) > 1:
                return f"two entries of FROM are called {name} in different schemas; give them aliases"
    return ""


def _qualified(stmt: Node, entries: Sequence[Entry]) -> Iterator[Node]:
    """Yield the column references that name a replaced table with its schema, which a subselect has not."""
    bare: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.node.get("alias"):
            bare.setdefault(entry.alias, []).append(entry)
    called: list[str] | None = None
    for node in nodes(stmt, "ColumnRef"):
        parts = len(node.get("fields", ()))
        if parts < 3:
            continue
        *_, schema, name = strings(node["fields"])[: parts - 1]
        same = [e for e in bare.get(name, ()) if schema in (e.relation.schema, "pg_temp")]
        if not same:
            continue
        called = list(_called(stmt)) if called is None else called
        if called.count(name) > len(same):
            raise Unspliceable(f"{schema}.{name} could not be told from another entry called {name}")
        yield node


def _called(stmt: Node) -> Iterator[str]:
    """Yield what the entries of FROM clauses are called."""
    yield from (n.get("relname", "") for n, _ in _ranges(stmt) if not n.get("alias"))
    for kind in ("alias", "join_using_alias"):
        yield from (n.get("aliasname", "") for n in nodes(stmt, kind))


def _columns(catalog: Catalog, relation: Relation, labels: Mapping[int, Hidden]) -> dict[str, str]:
    """Return the select list over ``relation``, by the names of its columns."""
    found: dict[str, str] = {}
    for column in relation.columns:
        name = identifier(column.name)
        if column.number not in labels:
            found[column.name] = name
            continue
        hidden = labels[column.number]
        value, null = redacted(catalog, column, hidden.label)
        if hidden.nullness and not null:
            value = f"CASE WHEN {name} IS NULL THEN {typed_null(catalog, column)} ELSE {value} END"
        found[column.name] = f"{value} AS {name}"
    return found


class _Surgery:
    """Changes of one text, made at once when all are known."""

    def __init__(self, text: str, place: Callable[[int], int]) -> None:
        self.text = text
        self.place = place
        self.tokens = lexer.tokens(text)
        self.at = {token.start: number for number, token in enumerate(self.tokens)}
        self.edits: list[_Edit] = []

    def word(self, number: int) -> str:
        """Return the token of that number in capitals, "" where there is none."""
        if not 0 <= number < len(self.tokens):
            return ""
        token = self.tokens[number]
        return self.text[token.start : token.end].upper()

    def number(self, location: int) -> int:
        """Return the number of the token at the grammar's ``location``."""
        found = self.at.get(self.place(location)) if location >= 0 else None
        if found is None:
            raise Unspliceable("a name in it cannot be found again in its text")
        return found

    def name(self, location: int) -> tuple[int, int]:
        """Return the numbers of the first and the last token of the qualified name at ``location``."""
        first = last = self.number(location)
        while self.word(last + 1) == ".":
            last += 2
        if any(self.tokens[n].kind not in (lexer.NAME, lexer.QUOTED_NAME) for n in range(first, last + 1, 2)):
            raise Unspliceable("a name in it is written in a way that cannot be replaced")
        return first, last

    def replace(self, entry: Entry, columns: Mapping[str, str]) -> None:
        """Put the subselect in the place of ``entry``; its alias stays where it is."""
        first, last = self.name(entry.node.get("location", -1))
        only = not entry.node.get("inh")
        if only:
            if self.word(first - 1) == "(":
                first, last = first - 1, last + 1
            first -= 1
            if self.word(first) != "ONLY":
                raise Unspliceable("ONLY in it cannot be found again in its text")
        elif self.word(last + 1) == "*":
            last += 1
        start, end = self.tokens[first].start, self.tokens[last].end
        made = f"({_select(entry.relation, columns, only=only)})"
        if not entry.node.get("alias"):
            made += f" AS {identifier(entry.alias)}"
        if self.word(first - 1) == "TABLE":
            start, made = self.tokens[first - 1].start, f"SELECT * FROM {made}"  # noqa: S608 - as in _select
        self.edits.append(_Edit(start, end, made))

    def shorten(self, node: Node) -> None:
        """Take the schema out of the column reference ``node``."""
        first = self.number(node.get("location", -1))
        kept = first + 2 * (len(node.get("fields", ())) - 2)
        if any(self.word(n) != "." for n in range(first + 1, kept, 2)):
            raise Unspliceable("a name in it is written in a way that cannot be replaced")
        self.edits.append(_Edit(self.tokens[first].start, self.tokens[kept].start, ""))

    def copy(self, node: Node, relation: Relation, columns: Mapping[str, str]) -> None:
        """Put a query in the place of the table and the columns that a COPY names."""
        first, last = self.name(node["relation"].get("location", -1))
        if self.word(first - 1) != "COPY":
            raise Unspliceable("COPY BINARY is written in a way that takes no query")
        listed = strings(node.get("attlist"))
        if listed:
            if self.word(last + 1) != "(":
                raise Unspliceable("the columns of COPY cannot be found again in its text")
            while self.word(last) != ")":
                last += 1
            if not set(listed) <= columns.keys():
                raise Unspliceable("COPY names a column that is not there")
        else:
            # COPY of a table leaves out what is generated.
            listed = tuple(c.name for c in relation.columns if not c.generated)
        query = _select(relation, {name: columns[name] for name in listed}, only=True)
        self.edits.append(_Edit(self.tokens[first].start, self.tokens[last].end, f"({query})"))

    def done(self) -> str:
        """Return the text with all changes made."""
        parts: list[str] = []
        end = 0
        for edit in sorted(self.edits, key=lambda each: each.start):
            if edit.start < end:
                raise Unspliceable("two of its names cannot be told apart in its text")
            # A word must not run into the one before it.
            parts += [self.text[end : edit.start], edit.text]
            end = edit.end
        return "".join((*parts, self.text[end:]))


def _select(relation: Relation, columns: Mapping[str, str], *, only: bool) -> str:
    name = f"{identifier(relation.schema)}.{identifier(relation.name)}"
    return f"SELECT {', '.join(columns.values())} FROM {'ONLY ' if only else ''}{name}"  # noqa: S608 - names of the catalog, quoted

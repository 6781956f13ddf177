"""A SELECT that counts the rows a write would touch, put together from the write's own text.

The WHERE, FROM or USING and WITH of the write are taken over character by character; nothing is deparsed.
What was cut out is parsed once more and held against the tree it came from: a text that was cut in the
wrong place is never sent. What cannot be asked by a SELECT that only reads (data-modifying CTEs, row locks,
WHERE CURRENT OF, MERGE) has no probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import field, frozen

from governed_db.statement.facts import EffectKind, Statement
from governed_db.statement.lexer import NAME, PARAMETER, PUNCTUATION, tokens
from governed_db.statement.limits import Unreadable
from governed_db.statement.nodes import Body, strings, unwrap
from governed_db.statement.reader import read
from governed_db.statement.reading import Locations

Span = tuple[int, int]

_KINDS = {"UpdateStmt": "fromClause", "DeleteStmt": "usingClause"}
_OPENING = {"UpdateStmt": "update", "DeleteStmt": "delete"}


@frozen
class Touched:
    """What an UPDATE or DELETE says about its rows, as text; or the query of an INSERT.

    Attributes:
        kind: "UpdateStmt", "DeleteStmt" or "InsertStmt".
        ctes: the WITH clause, with the word, or "".
        sources: what stands after FROM or USING, or "".
        where: what stands after WHERE, or "".
        query: the SELECT of an INSERT, or "".
        only: whether the target is written with ONLY.
        name: what the target is called in the statement: its alias, else its own name.
        assigned: the columns that an UPDATE sets.
        spans: where in the text these parts stand, in characters.
        parameters: the numbers of the ``$n`` in these parts.
    """

    kind: str
    ctes: str = field(repr=False)
    sources: str = field(repr=False)
    where: str = field(repr=False)
    query: str = field(repr=False)
    only: bool
    name: str
    assigned: tuple[str, ...]
    spans: tuple[Span, ...]
    parameters: frozenset[int]


def touched(statement: Statement, *, values: bool = False) -> Touched | None:
    """Take the parts of a write that say which rows it is about, or ``None`` where no SELECT can ask.

    ``values``: a list of VALUES is a query like any other; it need not be asked to be counted.
    """
    if statement.commands != 1:
        return None
    kind, body = unwrap(statement.tree[0].get("stmt", {}))
    try:
        if kind in _KINDS:
            return _of_change(statement.text, kind, body)
        listed = "valuesLists" in body.get("selectStmt", {}).get("SelectStmt", {})
        if kind == "InsertStmt" and (values or not listed):
            return _of_insert(statement.text, body)
    except (LookupError, RecursionError, Unreadable):
        pass  # not where it was looked for: then there is nothing to ask with
    return None


def quoted(*names: str) -> str:
    """Return names as a qualified, quoted identifier."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def target(parts: Touched, schema: str, name: str) -> str:
    """Return the FROM list of a SELECT over the rows of ``parts`` in the table ``schema.name``.

    The name is always qualified: a CTE of the same name would answer in the table's place.
    """
    written = f"{'ONLY ' if parts.only else ''}{quoted(schema, name)}"
    if parts.name != name:  # behind an alias, schema.table.column means nothing any more
        written += f" AS {quoted(parts.name)}"
    return f"{written}, {parts.sources}" if parts.sources else written


def matching(parts: Touched) -> str:
    """Return the WHERE clause, with the word and on a line of its own, or ""."""
    return f"\nWHERE {parts.where}\n" if parts.where else ""


class Words:
    """A command's tokens, and which of them stand outside of all brackets.

    ``all`` are the tokens, ``outer`` the places among them of those outside of brackets.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.all = tokens(text)
        self.outer: list[int] = []  # indexes of tokens outside of brackets
        depth = 0
        for index, token in enumerate(self.all):
            sign = text[token.start : token.end] if token.kind == PUNCTUATION else ""
            if sign in (")", "]"):
                depth -= 1
            if depth == 0:
                self.outer.append(index)
            if sign in ("(", "["):
                depth += 1

    def word(self, index: int) -> str:
        """Return the keyword at ``index``, in lower case; "" for anything else, and after a dot."""
        token = self.all[index]
        if token.kind != NAME or (index and self.sign(index - 1) == "."):
            return ""
        return self.text[token.start : token.end].lower()

    def sign(self, index: int) -> str:
        """Return the punctuation mark at ``index``; "" for anything else."""
        token = self.all[index]
        return self.text[token.start : token.end] if token.kind == PUNCTUATION else ""

    def find(self, word: str, start: int, end: int) -> int | None:
        """Return where the first ``word`` outside of brackets stands, of the tokens from ``start`` on."""
        for index in self.outer:
            if start <= index < end and self.word(index) == word:
                # The one FROM that an expression has outside of brackets.
                if word == "from" and self.word(index - 1) == "distinct":
                    continue
                return index
        return None

    def end(self) -> int:
        """Return how many tokens there are before a semicolon at the end."""
        count = len(self.all)
        while count and self.sign(count - 1) == ";":
            count -= 1
        return count

    def at(self, character: int) -> int:
        """Return the index of the token that starts at ``character``."""
        return next(i for i, token in enumerate(self.all) if token.start >= character)

    def span(self, start: int, end: int) -> Span:
        """Return the characters from token ``start`` up to token ``end``, without it."""
        return self.all[start].start, self.all[end - 1].end

    def parameters(self, spans: Sequence[Span]) -> frozenset[int]:
        """Return the numbers of the parameters inside of ``spans``."""
        return frozenset(
            int(self.text[t.start + 1 : t.end])
            for t in self.all
            if t.kind == PARAMETER and any(start <= t.start < end for start, end in spans)
        )


def _of_change(text: str, kind: str, body: Body) -> Touched | None:
    relation = body["relation"]
    where, sources = body.get("whereClause", {}), body.get(_KINDS[kind], [])
    if "CurrentOfExpr" in where or not reads_only(body.get("withClause", {}), where, sources):
        return None
    found = Words(text)
    place = Locations(text).characters
    here = found.at(place(relation.get("location", 0)))
    opening = next(i for i in range(here - 1, -1, -1) if found.word(i) == _OPENING[kind])
    end = found.end()
    start = here + 1
    if kind == "UpdateStmt":
        start = found.at(place(body["targetList"][0]["ResTarget"].get("location", 0)))
    clauses: dict[str, Span] = {}
    if body.get("withClause"):
        clauses["ctes"] = found.span(0, opening)
    returning = found.find("returning", start, end) or end
    filtered = found.find("where", start, returning) if where else None
    if sources:
        opened = found.find("from" if kind == "UpdateStmt" else "using", start, filtered or returning)
        if opened is None:
            return None
        clauses["sources"] = found.span(opened + 1, filtered or returning)
    if where:
        if filtered is None:
            return None
        clauses["where"] = found.span(filtered + 1, returning)
    spans = tuple(clauses.values())
    alias = relation.get("alias", {}).get("aliasname")
    parts = Touched(
        kind=kind,
        **_cut(text, clauses),
        only=not relation.get("inh"),
        name=alias or relation["relname"],
        assigned=tuple(n["ResTarget"].get("name", "") for n in body.get("targetList", ()))
        if kind == "UpdateStmt"
        else (),
        spans=spans,
        parameters=found.parameters(spans),
    )
    again = parsed(f"{parts.ctes}\nSELECT FROM {target(parts, 's', 't')}\n{matching(parts)}")
    right = (
        same(again.get("withClause"), body.get("withClause"))
        and same(again.get("fromClause", [])[1:], sources)
        and same(again.get("whereClause", {}), where)
        and again.keys() <= _PLAIN
    )
    return parts if right else None


def _cut(text: str, clauses: dict[str, Span]) -> dict[str, Any]:
    return {name: text[slice(*clauses[name])] if name in clauses else "" for name in _TEXTS}


Stored = Callable[[str, bool], bool]
"""Whether a column holds a value of each row's own; the flag: and enough of them that a list is not all."""


def changes(tree: Any) -> list[Body]:
    """Return every UPDATE and DELETE in ``tree``, those in CTEs and below EXPLAIN included."""
    return [body for kind, body in _below(tree) if kind in _KINDS]


def compares(body: Body, stored: Stored) -> bool:
    """Return whether the WHERE of an UPDATE or DELETE asks for given values of a column of its target.

    That is ``=``, IN or ``= ANY`` of constants and parameters: it restricts whatever rows there are.
    """
    relation = body["relation"]
    own = relation.get("alias", {}).get("aliasname") or relation["relname"]
    alone = not (body.get("fromClause") or body.get("usingClause"))

    def column(node: Body, several: bool) -> bool:
        names = strings(node.get("ColumnRef", {}).get("fields"))
        mine = alone if len(names) == 1 else len(names) == 2 and names[0] == own
        return mine and stored(names[-1], several)

    return _compares(body.get("whereClause", {}), column, several=False)


def _compares(condition: Body, column: Callable[[Body, bool], bool], *, several: bool) -> bool:
    kind, body = unwrap(condition)
    if kind == "BoolExpr":
        both = body.get("boolop") == "OR_EXPR"
        arguments = [_compares(each, column, several=several or both) for each in body.get("args", ())]
        return all(arguments) if both else body.get("boolop") == "AND_EXPR" and any(arguments)
    if kind != "A_Expr" or body.get("kind") not in ("AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY"):
        return False
    if strings(body.get("name")) != ("=",):
        return False
    left, right = body.get("lexpr", {}), body.get("rexpr", {})
    several = several or body["kind"] == "AEXPR_OP_ANY" or len(right.get("List", {}).get("items", ())) > 1
    return (column(left, several) and _given(right)) or (column(right, several) and _given(left))


def _given(node: Body) -> bool:
    """Return whether ``node`` is a value that the text or its parameters give, or a list of such."""
    kind, body = unwrap(node)
    if kind == "TypeCast":
        return _given(body.get("arg", {}))
    if kind == "List":
        return all(_given(item) for item in body.get("items", ()))
    if kind == "A_ArrayExpr":
        return all(_given(item) for item in body.get("elements", ()))
    return kind in ("A_Const", "ParamRef")


_TEXTS = ("ctes", "sources", "where", "query")
_PLAIN = {"withClause", "fromClause", "whereClause", "limitOption", "op"}


def _of_insert(text: str, body: Body) -> Touched | None:
    query = body.get("selectStmt", {}).get("SelectStmt")
    if not query or not reads_only(body.get("withClause", {}), query):
        return None
    found = Words(text)
    place = Locations(text).characters
    here = found.at(place(body["relation"].get("location", 0)))
    opening = next(i for i in range(here - 1, -1, -1) if found.word(i) == "insert")
    clauses: dict[str, Span] = {}
    if body.get("withClause"):
        clauses["ctes"] = found.span(0, opening)
    outer = [i for i in found.outer if i > here]
    listed = bool(body.get("cols"))
    start = None
    for index in outer:
        bracket = text[found.all[index].start] == "("
        if bracket and listed:
            listed = False  # the list of columns
        elif bracket or found.word(index) in ("select", "with", "table", "values"):
            start = index
            break
    if start is None:
        return None
    ends = [found.end()]
    if returning := found.find("returning", start, ends[0]):
        ends = [returning]
    if body.get("onConflictClause"):
        # ON can belong to a JOIN as well, and a column can be called conflict.
        ends = [
            i
            for i in outer
            if start < i < ends[0] and found.word(i) == "on" and found.word(i + 1) == "conflict"
        ]
    for end in ends:
        clauses["query"] = found.span(start, end)
        spans = tuple(clauses.values())
        parts = Touched(
            kind="InsertStmt",
            **_cut(text, clauses),
            only=False,
            name="",
            assigned=(),
            spans=spans,
            parameters=found.parameters(spans),
        )
        try:
            again = parsed(f"{parts.ctes}\nSELECT FROM (\n{parts.query}\n) AS q")
        except Unreadable:
            continue
        (source,) = again.get("fromClause", [{}])
        inner = source.get("RangeSubselect", {}).get("subquery", {}).get("SelectStmt")
        if (
            same(inner, query)
            and same(again.get("withClause"), body.get("withClause"))
            and again.keys() <= _PLAIN
        ):
            return parts
    return None


def parsed(text: str) -> Body:
    """Return the tree of a text that is put together from parts: a plain SELECT, or one that equals nothing.

    Raises:
        Unreadable: it cannot be parsed.
    """
    again = read(text)
    if again.commands != 1 or any(e.kind is not EffectKind.SELECT for e in again.effects):
        return {"not": "a plain SELECT"}
    kind, body = unwrap(again.tree[0].get("stmt", {}))
    return body if kind == "SelectStmt" else {"not": "a SELECT"}


def reads_only(*nodes: Any) -> bool:
    """Return whether nothing below ``nodes`` writes or locks rows."""
    return not any(kind in _WRITING or "lockingClause" in body for kind, body in _below(nodes))


_WRITING = frozenset(
    {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "IntoClause", "LockingClause", "SetToDefault"}
)


def _below(nodes: Any) -> Iterator[tuple[str, Body]]:
    stack = [nodes]
    while stack:
        node = stack.pop()
        if isinstance(node, list | tuple):
            stack.extend(node)
        elif isinstance(node, dict):
            for kind, body in node.items():
                if isinstance(body, dict):
                    yield kind, body
                if isinstance(body, dict | list):
                    stack.append(body)


def same(one: Any, other: Any) -> bool:
    """Compare two trees without what says where in the text they stand."""
    stack = [(one, other)]
    while stack:
        left, right = stack.pop()
        if type(left) is not type(right):
            return False
        if isinstance(left, dict):
            names = (left.keys() | right.keys()) - _PLACES
            if not names <= left.keys() or not names <= right.keys():
                return False
            stack.extend((left[name], right[name]) for name in names)
        elif isinstance(left, list):
            if len(left) != len(right):
                return False
            stack.extend(zip(left, right, strict=True))
        elif left != right:
            return False
    return True


_PLACES = {"location", "rexpr_list_start", "rexpr_list_end", "list_start", "list_end"}

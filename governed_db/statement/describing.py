"""What a write would make of its rows, cut out of its own text: the expressions of SET, the query of INSERT.

As in :mod:`governed_db.statement.probing`, nothing is deparsed: spans between tokens are taken over and
parsed once more, and a span that does not read as the tree it came from is not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import evolve, field, frozen

from governed_db.statement.facts import Statement
from governed_db.statement.lexer import OPERATOR
from governed_db.statement.limits import Unreadable
from governed_db.statement.nodes import Body, unwrap
from governed_db.statement.probing import Span, Touched, Words, parsed, same, touched
from governed_db.statement.reading import Locations

PREFIX: Final = "governed_db_e_"
"""How every name begins that a describing SELECT adds to those of the statement."""

STATEMENTLY: Final = (
    "have whoever keeps the policy let people agree to the statement instead (binds = 'statement' in its"
    " rule)"
)
"""What helps where rows cannot be shown."""


class Undescribed(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """The rows that a write would make cannot be told before it runs.

    ``reason`` continues "but ...", and holds no values. ``retryable``: the same call may do later.
    """

    def __init__(self, reason: str, remedy: str = STATEMENTLY, *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.retryable = retryable


@frozen(kw_only=True)
class Assigned:
    """What an UPDATE sets one column to: an expression that a SELECT from its rows can compute.

    Attributes:
        column: its name.
        text: the expression; "" where it is the column's DEFAULT.
    """

    column: str
    text: str = field(repr=False)


@frozen(kw_only=True)
class Described:
    """An INSERT, UPDATE or DELETE as far as its text says what becomes of its rows.

    Attributes:
        rows: which rows, or the query of an INSERT.
        assigned: for an UPDATE, in order.
        laterals: sub-selects that are assigned to several columns at once, as items of FROM.
        columns: the columns that an INSERT names; ``None``: the table's first.
        lists: the cells of an INSERT of VALUES: each becomes what its column is, not what those above are.
        listed: these look at no table.
        made: where in the text values are made, in characters.
        moments: where in the text such a value is made by what the clock says.
        calls: where in the text functions are called for such values, with nothing given to them.
    """

    rows: Touched
    assigned: tuple[Assigned, ...] = ()
    laterals: tuple[str, ...] = field(default=(), repr=False)
    columns: tuple[str, ...] | None = None
    lists: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    listed: bool = False
    made: tuple[Span, ...] = ()
    moments: tuple[str, ...] = ()
    calls: frozenset[int] = frozenset()

    @property
    def kind(self) -> str:
        """The grammar's name of the statement: "UpdateStmt", "DeleteStmt" or "InsertStmt"."""
        return self.rows.kind

    @property
    def parameters(self) -> frozenset[int]:
        """The numbers of the ``$n`` that stand in what is taken over."""
        return self.rows.parameters


def described(statement: Statement) -> Described:
    """Take a write apart.

    Raises:
        Undescribed: its text does not say what becomes of which rows.
    """
    if statement.commands != 1:
        raise Undescribed("it is more than one statement", "send them one by one")
    kind, body = unwrap(statement.tree[0].get("stmt", {}))
    if kind not in ("InsertStmt", "UpdateStmt", "DeleteStmt"):
        raise Undescribed(
            f"a SELECT cannot tell what becomes of which rows by {statement.tag}",
            f"write it as INSERT, UPDATE or DELETE, or {STATEMENTLY}",
        )
    if PREFIX in statement.text.lower():
        raise Undescribed(f"it has names that begin with {PREFIX}", "use other names")
    if kind == "InsertStmt":
        _check_insert(body)
    rows = touched(statement, values=True)
    if rows is None:
        raise Undescribed(
            "which rows it is about cannot be asked by a SELECT that only reads (a WITH that writes, row"
            " locks, WHERE CURRENT OF)",
            f"write it without these, or {STATEMENTLY}",
        )
    try:
        if kind == "UpdateStmt":
            return _update(statement.text, body, rows)
        return _insert(statement.text, body, rows) if kind == "InsertStmt" else Described(rows=rows)
    except (LookupError, RecursionError, Unreadable):
        raise Undescribed(
            "its text cannot be taken apart", f"write it more simply, or {STATEMENTLY}"
        ) from None


# -- INSERT


def _check_insert(body: Body) -> None:
    query = body.get("selectStmt", {}).get("SelectStmt")
    if not query:
        raise Undescribed("INSERT ... DEFAULT VALUES gives no values", "give values")
    if body.get("onConflictClause"):
        raise Undescribed(
            "with ON CONFLICT it depends on the moment whether a row is added, changed or left out",
            f"write it without ON CONFLICT, or {STATEMENTLY}",
        )
    if body.get("override", "OVERRIDING_NOT_SET") != "OVERRIDING_NOT_SET":
        raise Undescribed("OVERRIDING says that values which are given may not count", "write it without")
    if any("SetToDefault" in c for row in query.get("valuesLists", ()) for c in row["List"].get("items", ())):
        raise Undescribed("DEFAULT in VALUES is made when it runs", "leave the column out, or give a value")


def _insert(text: str, body: Body, rows: Touched) -> Described:
    query = body["selectStmt"]["SelectStmt"]
    targets = [node["ResTarget"] for node in body.get("cols", ())]
    if any(target.get("indirection") for target in targets):
        raise _in_part()
    lists = query.get("valuesLists")
    values: list[Any] = list(lists) if lists else list(_results(query))
    plain = lists is not None and not any(kind == "SubLink" for kind, _ in _walk(lists))
    # With a WITH, an ORDER BY or a LIMIT of their own they stay the query that they are.
    cells = tuple(_lists(rows.query, lists)) if lists and _ROWS_ALONE.isdisjoint(query) else ()
    return Described(
        rows=rows,
        columns=tuple(target["name"] for target in targets) or None,
        lists=cells,
        listed=plain and not body.get("withClause") and not query.get("withClause"),
        made=rows.spans,
        **_by_the_clock(text, values),
    )


_ROWS_ALONE = frozenset({"withClause", "sortClause", "limitCount", "limitOffset"})


def _lists(text: str, lists: Sequence[Body]) -> Iterator[tuple[str, ...]]:
    words = Words(text)
    found = []
    for index in words.outer:
        if words.sign(index) == "(":
            start = words.all[index].start
        elif words.sign(index) == ")":
            cells = _cells(words, (start, words.all[index].end))
            found.append(tuple(text[slice(*cell)].strip() for cell in cells))
    rows = ", ".join("(" + ", ".join(f"(\n{cell}\n)" for cell in row) + ")" for row in found)
    if not same(parsed(f"VALUES {rows}").get("valuesLists"), list(lists)):
        raise LookupError("VALUES")
    yield from found


def _results(query: Body) -> Iterator[Any]:
    """Yield the select lists of a query and of those that it is a UNION of."""
    yield query.get("targetList", ())
    for side in ("larg", "rarg"):
        if side in query:
            yield from _results(query[side])


# -- UPDATE


def _update(text: str, body: Body, rows: Touched) -> Described:
    targets = [node["ResTarget"] for node in body["targetList"]]
    if any(target.get("indirection") for target in targets):
        raise _in_part()
    words = Words(text)
    place = Locations(text).characters
    groups = list(_groups(targets))
    pieces = list(_pieces(words, *_clause(words, body, words.at(place(targets[0].get("location", 0))))))
    if len(groups) != len(pieces):
        raise Undescribed("its SET clause cannot be taken apart", "set one column after the other")
    assigned: list[Assigned] = []
    laterals: list[str] = []
    spans: list[Span] = []
    for group, (first, last) in zip(groups, pieces, strict=True):
        start = _behind_equals(words, first, last)
        span = (start, words.all[last - 1].end)
        spans.append(span)
        made = _assignment(words, group, span, len(laterals) + 1)
        assigned += made[0]
        laterals += made[1]
    taken = (*rows.spans, *spans)
    return Described(
        rows=evolve(rows, spans=taken, parameters=words.parameters(taken)),
        assigned=tuple(assigned),
        laterals=tuple(laterals),
        made=tuple(spans),
        **_by_the_clock(text, [target.get("val") for target in targets]),
    )


def _groups(targets: Sequence[Body]) -> Iterator[list[Body]]:
    """Yield the targets of each assignment: one, or several that a row or a sub-select gives values to."""
    place = 0
    while place < len(targets):
        several = targets[place].get("val", {}).get("MultiAssignRef", {}).get("ncolumns", 1)
        yield list(targets[place : place + several])
        place += several


def _clause(words: Words, body: Body, start: int) -> tuple[int, int]:
    """Return where the assignments stand, in tokens: up to FROM, WHERE, RETURNING or the end."""
    end = words.find("returning", start, words.end()) or words.end()
    if body.get("whereClause"):
        end = words.find("where", start, end) or end
    if body.get("fromClause"):
        end = words.find("from", start, end) or end
    return _opening(words, start), end


def _opening(words: Words, start: int) -> int:
    # The grammar places "(a, b) = ..." at the a.
    return start - 1 if words.sign(start - 1) == "(" else start


def _pieces(words: Words, start: int, end: int) -> Iterator[tuple[int, int]]:
    for index in words.outer:
        if start <= index < end and words.sign(index) == ",":
            yield start, index
            start = index + 1
    yield start, end


def _behind_equals(words: Words, first: int, last: int) -> int:
    for index in words.outer:
        token = words.all[index]
        # The lexer takes "=-1" for one operator; PostgreSQL's ends before the sign.
        if first <= index < last and token.kind == OPERATOR and words.text[token.start] == "=":
            return token.start + 1
    raise LookupError("=")


def _assignment(words: Words, group: list[Body], span: Span, number: int) -> tuple[list[Assigned], list[str]]:
    text = words.text[slice(*span)].strip()
    value = group[0].get("val", {})
    names = [target["name"] for target in group]
    if "MultiAssignRef" not in value:
        return [Assigned(column=names[0], text=_checked(text, value))], []
    source = value["MultiAssignRef"]["source"]
    kind, inner = unwrap(source)
    if kind == "RowExpr":
        cells = [words.text[slice(*cell)].strip() for cell in _cells(words, span)]
        if len(cells) != len(names) or len(inner.get("args", ())) != len(names):
            raise LookupError("row")
        return [
            Assigned(column=name, text=_checked(cell, node))
            for name, cell, node in zip(names, cells, inner["args"], strict=True)
        ], []
    if kind == "SubLink" and inner.get("subLinkType") == "EXPR_SUBLINK":
        _checked(text, source)
        alias = f'"{PREFIX}s{number}"'
        columns = [f'"{PREFIX}{number}_{place}"' for place in range(1, len(names) + 1)]
        lateral = f"LEFT JOIN LATERAL\n{text}\nAS {alias} ({', '.join(columns)}) ON TRUE"
        return [
            Assigned(column=name, text=f"{alias}.{column}")
            for name, column in zip(names, columns, strict=True)
        ], [lateral]
    raise Undescribed("several columns are set at once to something other than a row or a sub-select")


def _cells(words: Words, span: Span) -> Iterator[Span]:
    """Yield where the cells of ``ROW(...)`` or ``(...)`` stand."""
    inside = [i for i, token in enumerate(words.all) if span[0] <= token.start and token.end <= span[1]]
    opening = next(i for i in inside if words.sign(i) == "(")
    depth, start = 0, words.all[opening].end
    for index in inside:
        sign = words.sign(index)
        if sign in ("(", "["):
            depth += 1
        elif sign in (")", "]"):
            depth -= 1
        if (sign == "," and depth == 1) or (sign == ")" and depth == 0):
            yield start, words.all[index].start
            start = words.all[index].end


def _checked(text: str, node: Body) -> str:
    """Return the text of an expression, "" for DEFAULT, once it is seen to be that."""
    if "SetToDefault" in node:
        return ""
    (target,) = parsed(f"SELECT (\n{text}\n)").get("targetList", [{}])
    if not same(target.get("ResTarget", {}).get("val"), node):
        raise LookupError("expression")
    return text


def _in_part() -> Undescribed:
    return Undescribed(
        "an element of an array or a field of a row is set, and what the whole becomes is not said",
        "set the whole column",
    )


# -- values that the moment makes


_CLOCK = ("SVFOP_CURRENT_TIME", "SVFOP_LOCALTIME")  # CURRENT_TIMESTAMP and LOCALTIMESTAMP begin alike
_ELSEWHERE = frozenset({"whereClause", "havingClause", "fromClause"})


def _by_the_clock(text: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return what of ``values`` is another one whenever it is asked for, as far as the text says so."""
    place = Locations(text).characters
    moments: list[str] = []
    calls: set[int] = set()
    for kind, body in _walk(values):
        if kind == "SQLValueFunction" and str(body.get("op", "")).startswith(_CLOCK):
            moments.append(str(body["op"]).removeprefix("SVFOP_").removesuffix("_N"))
        elif kind == "FuncCall" and not body.get("args"):
            calls.add(place(body.get("location", 0)))
    return {"moments": tuple(moments), "calls": frozenset(calls)}


def _walk(nodes: Any) -> Iterator[tuple[str, Body]]:
    """Yield the nodes that values are made of; what only chooses among rows is left out."""
    stack = [nodes]
    while stack:
        node = stack.pop()
        if isinstance(node, list | tuple):
            stack.extend(node)
        elif isinstance(node, dict):
            for name, body in node.items():
                if name in _ELSEWHERE:
                    continue
                if isinstance(body, dict):
                    yield name, body
                if isinstance(body, dict | list):
                    stack.append(body)

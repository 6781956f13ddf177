"""Functions, procedures, DO blocks and rules: from the text that defines them to the SQL they run.

What PL/pgSQL runs is found by :mod:`governed_db.statement.plpgsql`, what SQL functions run by the grammar
alone. Everything is read here once for one text; what the names mean is for ``catalog/`` to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from attrs import evolve, field, frozen

from governed_db.statement import lexer
from governed_db.statement.facts import Statement
from governed_db.statement.limits import Unreadable
from governed_db.statement.nodes import everything, literal, strings, unwrap
from governed_db.statement.plpgsql import read_block
from governed_db.statement.plpgsql_tokens import NotUnderstood, Piece
from governed_db.statement.reader import facts_of, read

DYNAMIC = "it runs SQL that it puts together (EXECUTE)"
"""Why a body with dynamic SQL is not understood."""

_KEPT = 2048  # bodies kept after they were read: more than most schemas have functions


@frozen
class Part:
    """One SQL text of a body: where it stands, and what the grammar says of it."""

    piece: Piece
    statement: Statement = field(repr=False)


@frozen(kw_only=True)
class Body:
    """What a body runs.

    Attributes:
        parts: its SQL, in order.
        variables: names that can stand where a column could: variables, parameters, labels, NEW and OLD.
        column_types: types of variables written ``table.column%TYPE``, as dotted names.
        why: why it is not understood, "" where it is. The parts are then what could be told of it.
        qualified: every name has its schema, save those of pg_catalog (bodies that PostgreSQL wrote).
        defaults: the expressions that stand for arguments left out, every name of them qualified.
        event: for a rule, the command it is for: "CMD_DELETE".
        hands_on: every RETURN of a block says NEW or NULL, and NEW is set by nothing but by that name, in an
            assignment or after INTO.
    """

    parts: tuple[Part, ...] = ()
    variables: frozenset[str] = frozenset()
    column_types: tuple[tuple[str, ...], ...] = ()
    why: str = ""
    qualified: bool = False
    defaults: tuple[Part, ...] = ()
    event: str = ""
    hands_on: bool = False


@lru_cache(maxsize=_KEPT)
def read_routine(definition: str) -> Body:
    """Return what a function or procedure runs, from the text of ``pg_get_functiondef``."""
    try:
        statement = read(definition)
    except Unreadable:
        return Body(why="its definition cannot be read")
    kind, node = unwrap(statement.tree[0].get("stmt", {})) if statement.commands == 1 else ("", {})
    if kind != "CreateFunctionStmt":
        return Body(why="its definition cannot be read")
    options = {n["DefElem"].get("defname"): n["DefElem"].get("arg", {}) for n in node.get("options", ())}
    language = unwrap(options.get("language", {}))[1].get("sval", "sql").lower()
    parameters = frozenset(
        n["FunctionParameter"]["name"] for n in node.get("parameters", ()) if "name" in n["FunctionParameter"]
    )
    named = parameters | set(strings(node.get("funcname"))[-1:])
    texts = strings(options.get("as", {}).get("List", {}).get("items"))
    if "sql_body" in node:
        body = _written_out(definition, named)
    elif len(texts) != 1:
        body = Body(why="it is not written in SQL")
    elif language == "sql":
        body = _body([Piece(texts[0], "SQL")], named)
    elif language == "plpgsql":
        body = _block(texts[0], named)
    else:
        body = Body(why=f"it is written in {language}")
    defaults = tuple(
        _expression(definition, statement, n["FunctionParameter"]["defexpr"])
        for n in node.get("parameters", ())
        if "defexpr" in n["FunctionParameter"]
    )
    return evolve(body, defaults=defaults) if defaults else body


@lru_cache(maxsize=_KEPT)
def read_code(text: str, language: str) -> Body:
    """Return what a DO block runs."""
    return _block(text, frozenset()) if language == "plpgsql" else Body(why=f"it is written in {language}")


@lru_cache(maxsize=_KEPT)
def read_rule(definition: str) -> Body:
    """Return what a rule runs, from the text of ``pg_get_ruledef``."""
    try:
        statement = read(definition)
    except Unreadable:
        return Body(why="its definition cannot be read")
    kind, node = unwrap(statement.tree[0].get("stmt", {})) if statement.commands == 1 else ("", {})
    if kind != "RuleStmt":
        return Body(why="its definition cannot be read")
    actions = node.get("actions", ())
    if any(k != "String" and "returningList" in b for action in actions for k, b in [unwrap(action)]):
        # What the statement's own RETURNING hands out is then made by the rule.
        return Body(why="it has a RETURNING list of its own")
    if any(unwrap(action)[0] == "SelectStmt" for action in actions):
        return Body(why="it answers with rows of its own")
    # Each action is judged as a statement; the rule's text stands for its place.
    parts = [_inner(definition, statement, action) for action in actions if action]
    if "whereClause" in node:
        parts.append(_expression(definition, statement, node["whereClause"]))
    unknown = next((p.statement.incomplete_because for p in parts if not p.statement.complete), "")
    return Body(
        parts=tuple(parts),
        variables=frozenset({"new", "old"}),
        why=unknown,
        qualified=True,
        event=str(node.get("event", "")),
    )


def _inner(definition: str, statement: Statement, command: dict[str, Any]) -> Part:
    return Part(Piece(definition, "RULE"), facts_of(statement, command))


def _expression(definition: str, statement: Statement, value: dict[str, Any]) -> Part:
    command = {"SelectStmt": {"targetList": [{"ResTarget": {"val": value}}]}}
    return Part(Piece(definition, "DEFAULT"), facts_of(statement, command))


def _written_out(definition: str, variables: frozenset[str]) -> Body:
    """Read BEGIN ATOMIC ... END or RETURN ..., which PostgreSQL has written in its own words."""
    tokens = lexer.tokens(definition)
    words = [definition[t.start : t.end].lower() for t in tokens]
    depth = 0
    start = -1
    for at, word in enumerate(words):
        depth += (word in "([") - (word in ")]") if len(word) == 1 else 0
        if depth == 0 and at > 0 and word in ("return", "atomic") and words[at - 1] != ".":
            if word == "atomic" and words[at - 1] != "begin":
                continue
            start = at
            break
    if start < 0:
        return Body(why="its body cannot be found", qualified=True)
    if words[start] == "return":
        text = definition[tokens[start].end :].strip().rstrip(";")
        return evolve(_body([Piece(f"SELECT {text}", "RETURN")], variables), qualified=True)
    if words[-1] == ";":
        tokens, words = tokens[:-1], words[:-1]
    if words[-1] != "end":
        return Body(why="its body cannot be found", qualified=True)
    pieces = []
    first = start + 1
    for at in range(start + 1, len(tokens)):
        if words[at] == ";" or at == len(tokens) - 1:
            if at > first:
                text = definition[tokens[first].start : tokens[at - 1].end]
                if words[first] == "return":
                    text = f"SELECT {text[len('return') :]}"
                pieces.append(Piece(text, "SQL"))
            first = at + 1
    return evolve(_body(pieces, variables), qualified=True)


def _block(text: str, variables: frozenset[str]) -> Body:
    try:
        block = read_block(text)
    except NotUnderstood as error:
        return Body(why=f"its PL/pgSQL is not understood ({error})")
    except RecursionError:
        return Body(why="it nests too deeply")
    body = _body(block.pieces, variables | block.variables)
    returned = all(p.text.lower().split() in _HANDED_ON for p in block.pieces if p.what == "RETURN")
    words = {text[token.start : token.end].lower() for token in lexer.tokens(text)}
    hands_on = returned and words.isdisjoint(_OTHERWISE)
    return evolve(body, column_types=block.column_types, hands_on=hands_on)


_HANDED_ON = (["select", "new"], ["select", "null"])
# What gives NEW another name, or variables a value that is no target of a piece.
_OTHERWISE = frozenset({"alias", "for", "foreach", "fetch", "move", "get", "call"})


def _body(pieces: Iterable[Piece], variables: frozenset[str]) -> Body:
    parts: list[Part] = []
    why = ""
    for piece in pieces:
        try:
            statement = read(piece.text)
        except Unreadable:
            why = why or f"an SQL text in it cannot be read ({piece.what})"
            continue
        if not statement.complete:
            why = why or statement.incomplete_because
        if not statement.commands and piece.what != "SQL":
            why = why or f"an SQL text in it is empty ({piece.what})"
        parts.append(Part(piece, statement))
        if piece.dynamic:
            ran = _constant(statement)
            if ran is None:
                why = why or DYNAMIC
                continue
            try:
                inner = read(ran)
            except Unreadable:
                why = why or DYNAMIC
                continue
            why = why or inner.incomplete_because
            # Dynamic SQL does not see variables, only $1, $2 ... of its USING.
            parts.append(Part(Piece(ran, "EXECUTE"), inner))
    return Body(parts=tuple(parts), variables=variables, why=why)


def _constant(statement: Statement) -> str | None:
    """Return the text that ``SELECT 'text'`` gives, ``None`` where it is more than a constant."""
    select = statement.tree[0].get("stmt", {}).get("SelectStmt", {}) if statement.commands == 1 else {}
    targets = select.get("targetList", ())
    if len(targets) != 1 or set(select) - {"targetList", "limitOption", "op"}:
        return None
    value = targets[0].get("ResTarget", {}).get("val", {})
    return literal(value) if "A_Const" in value else None


def without(node: Any, names: frozenset[str]) -> Any:
    """Return a tree with parameters in the place of references to variables called one of ``names``.

    The tree itself is not changed; what needs no change is shared with it.
    """
    if type(node) is list:
        items = [without(item, names) for item in node]
        return items if any(a is not b for a, b in zip(items, node, strict=True)) else node
    if type(node) is not dict:
        return node
    reference = node.get("ColumnRef")
    if type(reference) is dict:
        fields = reference.get("fields", ())
        first = fields[0].get("String", {}).get("sval") if fields else None
        if first in names:
            return {"ParamRef": {"number": 1, "location": reference.get("location", 0)}}
        return node
    changed = None
    for key, value in node.items():
        if type(value) is dict or type(value) is list:
            other = without(value, names)
            if other is not value:
                changed = changed or dict(node)
                changed[key] = other
    return node if changed is None else changed


_NAMING = re.compile(r"(?:alias|cte|rel|col)?name|aliascolnames|colnames|search_seq_column|cycle_\w+_column")


def own_names(statement: Statement) -> frozenset[str]:
    """Return every name that the text itself gives to relations, rows and columns."""
    found: set[str] = set()
    for raw in statement.tree:
        for kind, body in everything(raw.get("stmt", {})):
            for key, value in body.items():
                if not _NAMING.fullmatch(key):
                    continue
                if type(value) is str:
                    found.add(value)
                elif type(value) is list:
                    found.update(strings(value))
            if kind == "FuncCall":
                found.update(strings(body.get("funcname"))[-1:])  # a column that is given no name
    return frozenset(found)

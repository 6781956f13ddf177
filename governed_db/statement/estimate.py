"""How deep and how large the tree of a text can become, estimated from above by its tokens."""

from __future__ import annotations

from governed_db.statement.lexer import NAME, OPERATOR, PUNCTUATION, Token

_BRACKET = 8
_JOIN = 2
_SET_OPERATION = 1

# Levels of libpg_query's JSON that each of these can add to the expression it stands in, at most.
_CHAIN = {
    "not": 3,
    "is": 3,
    "isnull": 2,
    "notnull": 2,
    "collate": 2,
    "at": 3,
    "like": 3,
    "ilike": 3,
    "escape": 3,
    "similar": 6,
    "between": 5,
    "in": 5,
    "overlaps": 3,
    "operator": 2,
    "any": 2,
    "some": 2,
    "all": 2,
    "distinct": 2,
}
_WORDS = {*_CHAIN, "and", "or", "case", "when", "then", "else", "end", "join", "on"} | {
    "union",
    "intersect",
    "except",
}


class _Level:
    """One bracket (or CASE) and what has been seen in it.

    Operators in a row make a tree as deep as the row is long, whichever end is the deep one, and any
    of them may hold the deepest bracket: so a row counts as its length plus the deepest thing in it.
    Rows of JOIN hold rows of operators, rows of UNION hold rows of JOIN.
    """

    __slots__ = ("betweens", "case", "child", "join_child", "joins", "row", "set_child", "sets")

    def __init__(self, *, case: bool) -> None:
        self.case = case
        self.row = self.child = self.joins = self.join_child = self.sets = self.set_child = 0
        self.betweens = 0

    def end_row(self) -> None:
        deep = self.row + self.child
        self.join_child = max(self.join_child, deep)
        self.row = self.child = 0

    def end_joins(self) -> None:
        self.end_row()
        deep = self.joins + self.join_child
        self.set_child = max(self.set_child, deep)
        self.joins = self.join_child = self.betweens = 0

    def depth(self) -> int:
        self.end_joins()
        return self.sets + self.set_child


def estimate_depth(text: str, tokens: list[Token]) -> int:  # noqa: PLR0912 - one branch per token
    """Return an upper bound of the levels of JSON that libpg_query needs for the tree of ``text``.

    A row of operators ends only where the grammar cannot carry an expression on: at a comma, at AND
    and OR (which the grammar flattens into lists; not the AND of a BETWEEN, because ``a BETWEEN b AND
    NOT c BETWEEN ...`` nests), at ON, at the parts of a CASE. A keyword after a dot is a column's name.
    """
    level = _Level(case=False)
    stack: list[_Level] = []
    after_dot = False
    for kind, start, end in tokens:
        if kind == NAME:
            word = text[start:end].lower() if end - start < 10 else ""
            if word in _WORDS and not after_dot:
                level = _keyword(word, level, stack)
            after_dot = False
        elif kind == OPERATOR:
            length = end - start
            # The lexer leaves "+-+-" in one piece; the grammar would see four signs.
            level.row += 2 if length == 1 or text[end - 1] not in "+-" else 2 * length
            after_dot = False
        elif kind == PUNCTUATION:
            sign = text[start:end]
            after_dot = sign == "."
            if sign == ",":
                level.end_joins()
            elif sign in ("(", "["):
                stack.append(level)
                level = _Level(case=False)
            elif sign in (")", "]"):
                while level.case and stack:  # a CASE without END is no CASE
                    level = _close(level, stack)
                if stack:
                    level = _close(level, stack)
            elif sign == "::":
                level.row += 2
            elif sign == ";":
                level.end_joins()
                level.set_child = max(level.set_child, level.sets + level.set_child)
                level.sets = 0
        else:
            after_dot = False
    while stack:
        level = _close(level, stack)
    return level.depth()


def _close(level: _Level, stack: list[_Level]) -> _Level:
    deep = level.depth() + _BRACKET
    outer = stack.pop()
    outer.child = max(outer.child, deep)
    return outer


def _keyword(word: str, level: _Level, stack: list[_Level]) -> _Level:
    if word == "and" and level.betweens:
        level.betweens -= 1
    elif word in ("and", "or", "on"):
        level.end_row()
    elif word in _CHAIN:
        level.row += _CHAIN[word]
        level.betweens += word == "between"
    elif word == "join":
        level.end_row()
        level.joins += _JOIN
    elif word in ("union", "intersect", "except"):
        level.end_joins()
        level.sets += _SET_OPERATION
    elif word == "case":
        stack.append(level)
        return _Level(case=True)
    elif level.case:
        if word == "end":
            return _close(level, stack)
        level.end_row()
    return level


class _Clause:
    """A bracket level, for :func:`estimate_size`."""

    __slots__ = ("assigns", "base", "copies", "items", "pending", "setting")

    def __init__(self, base: int, *, assigns: bool) -> None:
        self.base = self.copies = base
        self.assigns = assigns  # this bracket is the (a, b) of SET (a, b) = ...
        self.items = 1
        self.pending = 0
        self.setting = False


def estimate_size(text: str, tokens: list[Token], limit: int) -> int:
    """Return how many tokens the grammar makes of ``tokens``, or some number over ``limit``.

    In ``SET (a, b) = source`` each column gets a copy of the source (MultiAssignRef), and a source can
    hold another such SET in a CTE: the tree grows with the square of the text, or with a power.
    """
    if "set" not in text.lower():
        return len(tokens)
    level = _Clause(1, assigns=False)
    stack: list[_Clause] = []
    total = 0
    before = ""
    for kind, start, end in tokens:
        total += level.copies
        if total > limit:
            return total
        pending, level.pending = level.pending, 0
        sign = text[start:end] if kind in (PUNCTUATION, OPERATOR) else ""
        word = text[start:end].lower() if kind == NAME and end - start < 10 and before != "." else ""
        if sign in ("(", "["):
            assigns = level.setting and before in ("set", ",")
            stack.append(level)
            level = _Clause(level.copies, assigns=assigns)
        elif sign in (")", "]"):
            if stack:
                closed, level = level, stack.pop()
                level.pending = closed.items if closed.assigns else 0
        elif sign == ",":
            level.items += 1
            level.copies = level.base
        elif sign.startswith("=") and pending:
            level.copies = level.base * pending
        elif word == "set":
            level.setting = True
        elif word in ("where", "returning") or sign == ";":
            level.setting = False
            level.copies = level.base
        before = sign or word
    return total

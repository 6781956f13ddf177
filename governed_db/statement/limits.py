"""How large a text may be before the grammar is asked about it, and the refusal when it may not.

Why there are limits at all: libpg_query writes its tree with a C function that calls itself once per
level, without looking at the stack. ``select 1+1+1...`` with 200,000 terms ends the process; 4,000 terms
end a thread with 512 KiB of stack. Python's JSON decoder counts levels against the recursion limit. So
the depth of the tree is bounded from the tokens, before anything recurses over it.
"""

from __future__ import annotations

from attrs import Attribute, field, frozen

from governed_db.statement import lexer
from governed_db.statement.lexer import NAME, OPERATOR, PUNCTUATION, Token

DEPTH_CEILING = 900
"""No setting goes over this: CPython's recursion limit is 1,000, and a JSON level costs one of it."""


class Unreadable(Exception):
    """The text cannot be read, and so nobody can say what it would do.

    Attributes:
        rule: "statement.max_bytes", "statement.max_tokens", "statement.max_depth", "statement.nul",
            "statement.encoding", "statement.syntax" or "statement.no_parser".
        reason: what is wrong, with the limit and the figure; holds nothing of the text's literals.
        remedy: what would pass instead.
        position: characters from the start of the text, -1 where there is none.
    """

    def __init__(self, rule: str, reason: str, remedy: str, position: int = -1) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason
        self.remedy = remedy
        self.position = position

    def __reduce__(self) -> tuple[type[Unreadable], tuple[str, str, str, int]]:
        return type(self), (self.rule, self.reason, self.remedy, self.position)


def _positive(_: object, attribute: Attribute[int], value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number of at least 1")


def _shallow(_: object, attribute: Attribute[int], value: int) -> None:
    if value > DEPTH_CEILING:
        raise ValueError(f"{attribute.name} can be at most {DEPTH_CEILING}")


@frozen(kw_only=True)
class Limits:
    """What a text may cost. Limits count what the text has; none of them depends on the machine.

    Attributes:
        max_bytes: of the text in UTF-8. The default holds an INSERT of 20,000 rows; the tree of a text
            takes some 50 to 150 times its size in memory.
        max_tokens: tokens, comments and white space apart. A megabyte of commas is a million tokens.
            The default lets a list of 150,000 constants pass and keeps reading under two seconds.
        max_depth: levels of the tree that the tokens could make, estimated from above: 8 for a bracket
            or CASE, 2 to 5 for an operator in a row of operators, 2 for a JOIN, 1 for a UNION. AND, OR
            and commas start a new row: lists do not nest. The default allows 100 nested brackets or
            400 chained operators.
    """

    max_bytes: int = field(default=1 << 20, validator=_positive)
    max_tokens: int = field(default=300_000, validator=_positive)
    max_depth: int = field(default=800, validator=[_positive, _shallow])


DEFAULT = Limits()


@frozen
class Measured:
    """A text that is within its limits: its tokens and an upper bound of its tree's depth."""

    tokens: list[Token] = field(repr=False)
    depth: int


def measure(text: str, limits: Limits = DEFAULT) -> Measured:
    """Check ``text`` against ``limits``.

    Raises:
        Unreadable: it is over one of them, holds a NUL character, or cannot be written in UTF-8.
    """
    size = len(text)
    if size <= limits.max_bytes and not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise Unreadable(
                "statement.encoding",
                f"the statement has a lone surrogate at character {error.start + 1}, which UTF-8 cannot hold",
                "send text that can be encoded in UTF-8",
                error.start,
            ) from None
    if size > limits.max_bytes:
        raise Unreadable(
            "statement.max_bytes",
            f"the statement has {size} bytes or more; statement.max_bytes is {limits.max_bytes}",
            "send fewer rows at a time, or use executemany() or COPY",
        )
    nul = text.find("\0")
    if nul >= 0:
        raise Unreadable(
            "statement.nul",
            f"the statement has a NUL character at character {nul + 1}; PostgreSQL's protocol ends a text there",
            "remove the NUL character",
            nul,
        )
    tokens = lexer.tokens(text, limits.max_tokens)
    if len(tokens) > limits.max_tokens:
        raise Unreadable(
            "statement.max_tokens",
            f"the statement has more than {limits.max_tokens} tokens, which is statement.max_tokens",
            "pass long lists as one array parameter (= ANY(%s)), or send fewer rows at a time",
        )
    depth = estimate_depth(text, tokens)
    if depth > limits.max_depth:
        raise too_deep(depth, limits)
    return Measured(tokens, depth)


def too_deep(depth: int | None, limits: Limits) -> Unreadable:
    """Return the refusal for a tree of about ``depth`` levels (``None``: more than could be counted)."""
    figure = "more levels than this process can read" if depth is None else f"up to {depth} levels"
    return Unreadable(
        "statement.max_depth",
        f"the statement nests brackets or operators to {figure}; statement.max_depth is {limits.max_depth}",
        "nest less: use IN or = ANY(array) for chains, concat() or string_agg() for ||, CTEs for sub-selects",
    )


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


def estimate_depth(text: str, tokens: list[Token]) -> int:
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

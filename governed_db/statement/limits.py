"""How large a text may be before the grammar is asked about it, and the refusal when it may not.

Why there are limits at all: libpg_query writes its tree with a C function that calls itself once per
level, without looking at the stack. ``select 1+1+1...`` with 200,000 terms ends the process; 4,000 terms
end a thread with 512 KiB of stack. Python's JSON decoder counts levels against the recursion limit. So
the depth of the tree is bounded from the tokens, before anything recurses over it.
"""

from __future__ import annotations

import re

from attrs import Attribute, field, frozen

from governed_db.statement import lexer
from governed_db.statement.estimate import estimate_depth, estimate_size
from governed_db.statement.lexer import Token

DEPTH_CEILING = 900
"""No setting goes over this: CPython's recursion limit is 1,000, and a JSON level costs one of it."""


class Unreadable(Exception):  # noqa: N818 - it says what the text is; the error callers see is raised from it
    """The text cannot be read, and so nobody can say what it would do.

    Attributes:
        rule: "statement.max_bytes", "statement.max_tokens", "statement.max_depth", "statement.nul",
            "statement.encoding", "statement.syntax" or "statement.no_parser".
        reason: what is wrong, with the limit and the figure; holds nothing of the text's literals.
        remedy: what would pass instead.
        position: characters from the start of the text, -1 where there is none.
        retryable: whether the same text can pass later, on another connection or in another transaction.
    """

    def __init__(
        self, rule: str, reason: str, remedy: str, position: int = -1, retryable: bool = False
    ) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason
        self.remedy = remedy
        self.position = position
        self.retryable = retryable

    def __reduce__(self) -> tuple[type[Unreadable], tuple[str, str, str, int, bool]]:
        return type(self), (self.rule, self.reason, self.remedy, self.position, self.retryable)


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
            The default lets a list of 150,000 constants pass. What stands after ``SET (a, b) =`` counts
            once for each column, because the grammar copies it: 4 KB of that can make a tree of 1 GB.
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
            f"the statement has a NUL character at character {nul + 1}; PostgreSQL ends a text there",
            "remove the NUL character",
            nul,
        )
    again = _read_again(text)
    if again > _AGAIN:
        raise Unreadable(
            "statement.max_tokens",
            f"openings of comments among other operator characters make the grammar read {again} characters"
            f" again and again; it may be asked for {_AGAIN}",
            "put spaces around comments",
        )
    tokens = lexer.tokens(text, limits.max_tokens)
    if len(tokens) > limits.max_tokens:
        raise Unreadable(
            "statement.max_tokens",
            f"the statement has more than {limits.max_tokens} tokens, which is statement.max_tokens",
            "pass long lists as one array parameter (= ANY(%s)), or send fewer rows at a time",
        )
    if estimate_size(text, tokens, limits.max_tokens) > limits.max_tokens:
        raise Unreadable(
            "statement.max_tokens",
            "the grammar copies what stands after SET (a, b, ...) = for each column, which makes more than"
            f" {limits.max_tokens} tokens of the statement; statement.max_tokens is {limits.max_tokens}",
            "assign the columns one by one, or from a FROM",
        )
    depth = estimate_depth(text, tokens)
    if depth > limits.max_depth:
        raise too_deep(depth, limits)
    return Measured(tokens, depth)


_AGAIN = 20_000_000  # characters; about a twentieth of a second
_RUN = re.compile(r"[-+*/<>=~!@#%^&|`?]{200,}+")


def _read_again(text: str) -> int:
    """Return how many characters PostgreSQL's scanner reads in vain.

    Its rule for the start of a comment takes all operator characters that follow, and then gives all but
    two of them back: ``/**//**//**/...`` costs the square of its length, minutes for a megabyte.
    """
    if "/*" not in text:
        return 0
    return sum(len(run[0]) * run[0].count("/*") for run in _RUN.finditer(text))


def too_deep(depth: int | None, limits: Limits) -> Unreadable:
    """Return the refusal for a tree of about ``depth`` levels (``None``: more than could be counted)."""
    figure = "more levels than this process can read" if depth is None else f"up to {depth} levels"
    return Unreadable(
        "statement.max_depth",
        f"the statement nests brackets or operators to {figure}; statement.max_depth is {limits.max_depth}",
        "nest less: use IN or = ANY(array) for chains, concat() or string_agg() for ||, CTEs for sub-selects",
    )

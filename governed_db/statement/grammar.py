"""PostgreSQL's own grammar, by libpg_query: the one place that calls ``pgparse``."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from attrs import field, frozen

from governed_db.locks import lock
from governed_db.statement import hints
from governed_db.statement.lexer import KIND_NAMES, NAME, Token
from governed_db.statement.limits import Unreadable
from governed_db.statement.nodes import words

P = ParamSpec("P")
R = TypeVar("R")

INLINE_DEPTH = 200
"""Trees up to this many levels are read on the caller's own stack: they take some 40 KiB of it."""

_STACK_BYTES = 16 << 20  # address space, not memory; the default of a musl libc would be 128 KiB
_stack_size_lock = lock(sys.modules[__name__], "_stack_size_lock")


@frozen
class Tree:
    """What libpg_query made of a text: ``RawStmt`` nodes, and its fingerprint in hexadecimal."""

    commands: tuple[dict[str, Any], ...] = field(repr=False)
    fingerprint: str


def parse(text: str, tokens: list[Token]) -> Tree:
    """Read ``text``, which :func:`governed_db.statement.limits.measure` has let pass.

    Raises:
        Unreadable: it is not PostgreSQL's SQL, or there is no pgparse on this machine.
        RecursionError: the caller's stack was too deep; see :func:`on_fresh_stack`.
    """
    try:
        import pgparse  # noqa: PLC0415 - no wheel for some platforms, where observing works without it
    except ImportError:
        raise Unreadable(
            "statement.no_parser",
            "pgparse, which reads statements, cannot be imported on this platform",
            "install pgparse (it has wheels for Linux and for macOS on arm64), or use the preset 'observe'",
        ) from None
    failure: Any = None
    try:
        # libpg_query's scanner hands comments on as tokens, and its look-ahead stumbles over them: it cannot
        # read NOT /* x */ IN, which PostgreSQL can. The second attempt has spaces for comments.
        for attempt in (text, _without_comments(text, tokens)):
            try:
                return Tree(tuple(pgparse.parse(attempt)), pgparse.fingerprint(attempt) if tokens else "")
            except pgparse.PGQueryError as error:
                failure = failure or error
                if "--" not in text and "/*" not in text:
                    break
        raise _syntax(failure.message, failure.position - 1, text, tokens) from None
    except ValueError:
        # libpg_query answers in JSON; an answer that is none is not to be trusted with anything.
        raise Unreadable(
            "statement.syntax",
            "the grammar's answer about the statement cannot be read",
            "write it another way",
        ) from None


def _without_comments(text: str, tokens: list[Token]) -> str:
    """Return ``text`` with spaces for comments, as many as they have bytes: offsets stay what they are."""
    parts = []
    end = 0
    for token in (*tokens, Token(0, len(text), len(text))):
        between = text[end : token.start]
        parts += [" " * len(between.encode()), text[token.start : token.end]]
        end = token.end
    return "".join(parts)


def on_fresh_stack(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call ``function`` in a thread of its own and return what it returns, or raise what it raises.

    A thread starts with an empty stack and a recursion count of zero, however deep the caller is. It
    lives for one call, so that there is nothing to restart after a fork.
    """
    outcome: list[R] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function(*args, **kwargs))
        except BaseException as error:
            raised.append(error)

    with _stack_size_lock:
        before = threading.stack_size(_STACK_BYTES)
        try:
            thread = threading.Thread(target=run, name="governed_db-statement", daemon=True)
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if raised:
        # Without the thread's frames: they hold the text and would live as long as the exception does.
        raise raised[0].with_traceback(None)
    return outcome[0]


_QUOTED = re.compile(r"""["'0-9:].*""", re.DOTALL)


def _syntax(message: str, position: int, text: str, tokens: list[Token]) -> Unreadable:
    # The parser repeats the token it stumbled over, which may be a value: keep its words up to there.
    said = _QUOTED.sub("", message).removesuffix(" at or near ").strip() or "syntax error"
    here = next((t for t in tokens if t.start <= position < t.end), None)
    near = "the end of the text" if position >= len(text.rstrip()) else "this place"
    if here is not None:
        word = text[here.start : here.end].upper()
        near = word if here.kind == NAME and word in RESERVED else KIND_NAMES[here.kind]
    where = f" at character {position + 1}, near {near}" if position >= 0 else ""
    if "\n" in text and position >= 0:
        where += f" ({hints.line_and_column(text, position)})"
    other = hints.dialect(text, position, tokens) if position >= 0 else ""
    return Unreadable(
        "statement.syntax",
        f"PostgreSQL's grammar cannot read the statement: {said}{where}",
        f"correct the statement{': ' + other if other else ''}; only text that can be read can be judged",
        position,
    )


RESERVED = words(
    """ALL ALTER ANALYSE ANALYZE AND ANY ARRAY AS ASC ASYMMETRIC AUTHORIZATION BEGIN BETWEEN BINARY BOTH
    BY CALL CASCADE CASE CAST CHECK COLLATE COLUMN COMMENT COMMIT CONCURRENTLY CONSTRAINT COPY CREATE
    CROSS CURRENT CURSOR DEFAULT DELETE DESC DISTINCT DO DROP ELSE END EXCEPT EXECUTE EXISTS EXPLAIN
    FALSE FETCH FOR FOREIGN FREEZE FROM FULL FUNCTION GRANT GROUP HAVING ILIKE IN INDEX INNER INSERT
    INTERSECT INTO IS ISNULL JOIN KEY LATERAL LEFT LIKE LIMIT LOCK MERGE NATURAL NOT NOTNULL NULL
    OFFSET ON ONLY OR ORDER OUTER OVER OVERLAPS PLACING PRIMARY REFERENCES RETURNING RIGHT ROLLBACK
    ROW SELECT SET SHOW SIMILAR SOME SYMMETRIC TABLE TABLESAMPLE THEN TO TRAILING TRUE TRUNCATE UNION
    UNIQUE UPDATE USER USING VALUES VERBOSE VIEW WHEN WHERE WINDOW WITH"""
)
"""Keywords that a message about a syntax error may repeat (SQL Key Words, PostgreSQL 17, appendix C)."""

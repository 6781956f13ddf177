"""Where in a text the grammar stopped, and what writers of other dialects probably meant there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from governed_db.statement.lexer import NAME, Token

_SIGNS = {
    "`": "identifiers take double quotes in PostgreSQL, not backticks",
    "[": "identifiers take double quotes in PostgreSQL, not brackets",
    "?": "a parameter is written %s or %(name)s, and its value passed beside the statement",
    ":": "a parameter is written %s or %(name)s, and its value passed beside the statement",
    "@": "PostgreSQL has no @variables; pass values as parameters, written %s",
    "#": "a comment begins with --",
}
"""What MySQL, SQL Server, SQLite and other drivers write with a sign that SQL uses otherwise."""

_WORDS = {
    "TOP": "PostgreSQL writes LIMIT n at the end of the SELECT instead of TOP",
    "AUTO_INCREMENT": "PostgreSQL writes GENERATED ALWAYS AS IDENTITY",
    "REPLACE": "PostgreSQL writes INSERT ... ON CONFLICT (...) DO UPDATE instead of REPLACE",
    "IGNORE": "PostgreSQL writes INSERT ... ON CONFLICT DO NOTHING instead of INSERT IGNORE",
    "SEPARATOR": "PostgreSQL writes string_agg(value, separator)",
    "DESCRIBE": "read information_schema.columns instead of DESCRIBE",
    "DATABASES": "read pg_database instead of SHOW DATABASES",
    "TABLES": "read information_schema.tables instead of SHOW TABLES",
    "USE": "a connection belongs to one database; write the schema before the name",
    "REGEXP": "PostgreSQL writes ~ instead of REGEXP",
    "RLIKE": "PostgreSQL writes ~ instead of RLIKE",
}
"""Words of other dialects that PostgreSQL's grammar stumbles over, with its own."""


def line_and_column(text: str, position: int) -> str:
    """Return where a character stands, counting both from 1."""
    before = text[:position]
    return f"line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}"


def dialect(text: str, position: int, tokens: Sequence[Token]) -> str:
    """Return what to write instead, where the text is another dialect's at ``position``; else ""."""
    index = bisect_left(tokens, position, key=lambda token: token.end - 1)
    near = [*tokens[index : index + 1], *reversed(tokens[max(0, index - 2) : index])]
    for token in near:
        word = text[token.start : token.end]
        if word.endswith("%") and text[token.end : token.end + 1] in ("s", "("):
            return "values for %s are passed beside the statement, and none were"
        hint = _WORDS.get(word.upper()) if token.kind == NAME else _SIGNS.get(word[:1])
        if hint:
            return hint
    return ""

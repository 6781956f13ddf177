"""Names in policies: shell-style patterns, and the three answers a comparison can have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from fnmatch import fnmatchcase, translate
from functools import lru_cache

from governed_db.statement.facts import RelationName


class Match(IntEnum):
    """Whether a condition holds. ``MAYBE``: what is at hand does not tell; see policy/decide.py."""

    NO = 0
    MAYBE = 1
    YES = 2


# A part of a relation pattern: quoted as in SQL (then it is a name, not a pattern) or bare.
_PART = r'("(?:[^"]|"")+"|[^."\s]+)'
_RELATION = re.compile(rf"{_PART}\.{_PART}")
_COLUMN = re.compile(rf"{_PART}\.{_PART}\.{_PART}")


def _literal(part: str) -> str:
    return part[1:-1].replace('""', '"')


def folded(name: str) -> str:
    """Return a bare name as PostgreSQL reads it: letters of ASCII fold to lower case, no others.

    (scansup.c, downcase_identifier; letters beyond ASCII fold only in databases of single-byte encodings.)
    """
    return "".join(c.lower() if c.isascii() else c for c in name)


@lru_cache(maxsize=4096)
def _regex(part: str) -> re.Pattern[str]:
    # Bare names fold to lower case, as they do in SQL.
    return re.compile(re.escape(_literal(part)) if part.startswith('"') else translate(folded(part)))


@lru_cache(maxsize=4096)
def split_relation(pattern: str) -> tuple[str, str]:
    """Return the schema part and the name part of ``schema.name``.

    Raises:
        ValueError: it is not two parts. A bare name would mean another relation wherever the search_path
            says so, which is why a pattern has to say the schema (``*.orders`` for any).
    """
    found = _RELATION.fullmatch(pattern)
    if found is None:
        raise ValueError(
            "a relation is written schema.name, such as 'public.orders', 'audit.*' or '*.orders';"
            f" got {pattern!r}"
        )
    return found[1], found[2]


@lru_cache(maxsize=4096)
def split_column_pattern(pattern: str) -> tuple[str, str, str]:
    """Return the three parts of ``schema.relation.column``, of which each can be a pattern.

    Raises:
        ValueError: it is not three parts.
    """
    found = _COLUMN.fullmatch(pattern)
    if found is None:
        raise ValueError(
            "a column is written schema.relation.column, such as 'public.customers.email' or"
            f" '*.*.salary'; got {pattern!r}"
        )
    return found[1], found[2], found[3]


def split_column(name: str) -> tuple[str, str, str]:
    """Return schema, relation and column of ``schema.relation.column``; names, no patterns.

    Raises:
        ValueError: it is not three parts, or holds a pattern.
    """
    found = _COLUMN.fullmatch(name)
    parts = found.groups() if found else ()
    if len(parts) != 3 or any(not p.startswith('"') and re.search(r"[*?\[\]]", p) for p in parts):
        raise ValueError(
            f"a column is written schema.relation.column, such as 'public.customers.email'; got {name!r}"
        )
    schema, relation, column = (_literal(p) if p.startswith('"') else folded(p) for p in parts)
    return schema, relation, column


def match_relation(pattern: str, relation: RelationName) -> Match:
    """Hold one relation against one pattern."""
    schema, name = split_relation(pattern)
    if not _regex(name).fullmatch(relation.name):
        return Match.NO
    return _match_schema(schema, relation)


def match_columns(patterns: Iterable[str], relations: tuple[RelationName, ...], column: str | None) -> Match:
    """Hold one column of what a name can mean against patterns, as :func:`match_relations` does."""
    best = [max((match_column(p, r, column) for p in patterns), default=Match.NO) for r in relations]
    if not best or max(best) is Match.NO:
        return Match.NO
    return Match.YES if min(best) is Match.YES else Match.MAYBE


def match_column(pattern: str, relation: RelationName, column: str | None) -> Match:
    """Hold one column of ``relation`` against one pattern.

    ``column``: "" where the part is about no column; ``None`` where it is about columns that are not
    known, which may be any.
    """
    schema, name, wanted = split_column_pattern(pattern)
    if column == "" or not _regex(name).fullmatch(relation.name):
        return Match.NO
    if column is not None and not _regex(wanted).fullmatch(column):
        return Match.NO
    match = _match_schema(schema, relation)
    return match if column is not None else min(match, Match.MAYBE)


def match_functions(patterns: Iterable[str], functions: tuple[RelationName, ...]) -> Match:
    """Hold what a call can mean against patterns: YES when each meaning matches one of them.

    Without its schema a name can mean any function of that name: nobody's path is known then.
    """
    best = [max((_match_function(p, f) for p in patterns), default=Match.NO) for f in functions]
    if not best or max(best) is Match.NO:
        return Match.NO
    return Match.YES if min(best) is Match.YES else Match.MAYBE


def _match_function(pattern: str, function: RelationName) -> Match:
    schema, name = split_relation(pattern)
    if not _regex(name).fullmatch(function.name):
        return Match.NO
    if function.schema is None:
        return Match.YES if schema == "*" else Match.MAYBE
    return Match.YES if _regex(schema).fullmatch(function.schema) else Match.NO


def _match_schema(schema: str, relation: RelationName) -> Match:
    """Hold the schema of a relation against the schema part of a pattern.

    Where the schema is not known (no database was asked) only the name can say no. PostgreSQL reserves
    names that begin with ``pg_`` for its own relations and looks for them in pg_catalog first;
    information_schema is on nobody's search_path unless put there.
    """
    if relation.schema is not None:
        return Match.YES if _regex(schema).fullmatch(relation.schema) else Match.NO
    if schema == "*":
        return Match.YES
    if relation.name.startswith("pg_"):
        return Match.YES if _regex(schema).fullmatch("pg_catalog") else Match.MAYBE
    return Match.NO if schema in {"pg_catalog", "information_schema"} else Match.MAYBE


def match_relations(patterns: Iterable[str], relations: tuple[RelationName, ...]) -> Match:
    """Hold what a name can mean against patterns: YES when each meaning matches one of them."""
    best = [max((match_relation(p, r) for p in patterns), default=Match.NO) for r in relations]
    if not best or max(best) is Match.NO:
        return Match.NO
    return Match.YES if min(best) is Match.YES else Match.MAYBE


def match_text(patterns: Iterable[str], text: str, *, fold: bool = False) -> bool:
    """Return whether one of the shell-style patterns matches the whole of ``text``."""
    if fold:
        return any(fnmatchcase(text.lower(), p.lower()) for p in patterns)
    return any(fnmatchcase(text, p) for p in patterns)


def covers(general: str, special: str, *, split: Callable[[str], tuple[str, ...]] | None = None) -> bool:
    """Return whether everything that ``special`` matches is provably matched by ``general``.

    ``split`` takes patterns of several parts apart; without it they are plain text.
    """
    if split is None:
        return general in {special, "*"} or (not _wild(special) and fnmatchcase(special, general))
    return all(map(_part_covers, split(general), split(special)))


def _part_covers(general: str, special: str) -> bool:
    if general in {special, "*"}:
        return True
    if special.startswith('"'):
        return _regex(general).fullmatch(_literal(special)) is not None
    return not _wild(special) and _regex(general).fullmatch(folded(special)) is not None


def _wild(pattern: str) -> bool:
    return re.search(r"[*?\[]", pattern) is not None

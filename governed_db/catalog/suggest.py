"""What a name that does not exist was probably meant to be, in words for whoever wrote it.

Only names that a statement of the caller could use as they stand are told: those of the schemas in the
search_path, of the schema that was written, of the columns in reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher

MOST = 3
"""Names suggested: more would be a list to search, not an answer."""

LISTED = 12
"""Where nothing is similar, up to so many names are listed in full: an agent then picks by meaning."""

SIMILAR = 0.7
"""How alike names must be, from 0 to 1 (difflib's ratio): one slip in four letters still counts."""

WORSE = 0.15
"""How much less alike than the best another suggestion may be, before it only distracts from it."""

_LONG = 64  # NAMEDATALEN: PostgreSQL cuts names there, and longer ones only cost time to compare

ELSEWHERE: Mapping[str, str] = {
    "charindex": "strpos()",
    "curdate": "CURRENT_DATE",
    "dateadd": "+ interval",
    "datediff": "subtraction of dates",
    "date_format": "to_char()",
    "getdate": "now()",
    "group_concat": "string_agg()",
    "ifnull": "coalesce()",
    "iif": "CASE WHEN",
    "instr": "strpos()",
    "isnull": "coalesce()",
    "json_extract": "the operators -> and ->>",
    "len": "length()",
    "listagg": "string_agg()",
    "median": "percentile_cont(0.5) WITHIN GROUP (ORDER BY ...)",
    "month": "extract(month FROM ...)",
    "newid": "gen_random_uuid()",
    "nvl": "coalesce()",
    "rand": "random()",
    "str_to_date": "to_date()",
    "strftime": "to_char()",
    "sysdate": "now()",
    "truncate": "trunc()",
    "uuid": "gen_random_uuid()",
    "year": "extract(year FROM ...)",
}
"""Functions of MySQL, SQL Server, Oracle and SQLite (their manuals) with what PostgreSQL calls them."""


def similar(name: str, names: Iterable[str]) -> list[str]:
    """Return up to :data:`MOST` of ``names`` that are most like ``name``, the most similar first."""
    wanted = _bare(name)
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    found: list[tuple[float, str]] = []
    for candidate in dict.fromkeys(names):
        other = _bare(candidate)
        if other == wanted:
            score = 1.0
        elif _has_word(other, wanted) or _has_word(wanted, other):
            score = 0.9
        elif abs(len(other) - len(wanted)) > max(2, len(wanted) // 2):
            continue
        else:
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() < SIMILAR or matcher.quick_ratio() < SIMILAR:
                continue
            score = matcher.ratio()
        if score >= SIMILAR:
            found.append((-score, candidate))
    found.sort()
    return [candidate for score, candidate in found[:MOST] if score <= found[0][0] + WORSE]


def hint(name: str, names: Iterable[str], *, lists: bool = True) -> str:
    """Return a few words about what ``name`` may have been meant to be, "" where nothing can be said.

    Args:
        name: as it was written, without its qualifier.
        names: what could stand in its place.
        lists: whether the names are listed where none is similar and they are few.
    """
    known = sorted(dict.fromkeys(names))
    close = offered(similar(name, known))
    if close:
        return close
    return f"there are {', '.join(known)}" if lists and 0 < len(known) <= LISTED else ""


def offered(names: Sequence[str]) -> str:
    """Return the question whether one of ``names`` was meant, "" where there are none."""
    if not names:
        return ""
    return f"did you mean {', '.join(names[:-1])}{' or ' if len(names) > 1 else ''}{names[-1]}?"


def _bare(name: str) -> str:
    return name.casefold()[:_LONG]


def _has_word(name: str, word: str) -> bool:
    # customer_email has the word email; two letters are found in too many names to mean anything.
    return len(word) > 2 and f"_{word}_" in f"_{name}_"

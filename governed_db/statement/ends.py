"""Bounds that leave nothing out: the ends of a type, and the numbers and dates people write for "no limit".

``id > 0``, ``made_at < '9999-12-31'`` and ``extract(hour FROM t) <= 23`` have the form of a restriction and
restrict nothing. What they hold of in one table only its rows could tell; here they count as no proof.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from governed_db.statement.constants import bare, integer
from governed_db.statement.nodes import Body, literal, strings, unwrap

KEY_BOUND = 100_000
"""An upper bound on a key from here on says nothing: a table it restricts is larger than any row cap."""

_KEY = re.compile(r"(?:.*_)?(?:id|pk|oid|uid)|.*[a-z]I[dD]|rowid")
"""Names of columns that count from 1."""

_LARGE = 10**12
"""No count, amount or key that is compared with a constant is as large (int4 ends at 2 * 10**9)."""

_INTEGER_ENDS = frozenset({2**31 - 1, 2**31 - 2, 2**63 - 1})

# Before and after these years nothing was recorded (pg_timestamp's own ends are 4713 BC and 294276).
_FIRST_YEAR, _LAST_YEAR = 1900, 2200

# The least value of a time, uuid, macaddr, bit string or pg_lsn: nothing but zeros, two or more of them.
_ZEROS = re.compile(r"b?[0\W_]*0[0\W_]*0[0\W_]*")
_LAST = re.compile(r"(?:f[\W_]?){12,}|b1{2,}|24:00(?::00)?|23:59(?::59(?:\.9+)?)?", re.IGNORECASE)
_DATE = re.compile(r"(-?)(\d{4,6})-\d{1,2}-\d{1,2}")
_NUMBER = re.compile(r"\$?\s*([-+]?)\s*\$?(\d+)(?:\.\d*)?(?:[eE]\+?(\d+))?")
_NUMBER_OF = re.compile(
    r"([-+]?)(\d{5,})\s*(?:years?|mons?|months?|days?|hours?|centur\w+|decades?|millenni\w+)"
)

# timestamp.c, timestamp_part: what each field of a date can be; years from the first to the last.
FIELDS = {
    "hour": (0, 23),
    "minute": (0, 59),
    "minutes": (0, 59),
    "second": (0, 59),
    "seconds": (0, 59),
    "day": (1, 31),
    "dow": (0, 6),
    "isodow": (1, 7),
    "doy": (1, 365),
    "week": (1, 52),
    "month": (1, 12),
    "quarter": (1, 4),
    "year": (_FIRST_YEAR, _LAST_YEAR),
    "isoyear": (_FIRST_YEAR, _LAST_YEAR),
    "century": (20, 22),
    "epoch": (0, 7 * 10**9),
}


def leaves_all(sign: str, column: str, here: Body, there: Body) -> bool:
    """Say whether ``here sign there`` holds of whatever may stand in the column.

    Args:
        sign: ``<``, ``<=``, ``>`` or ``>=``.
        column: the name of the column that ``here`` follows.
        here: the expression with the column in it.
        there: what it is compared with.
    """
    number = _number(there)
    span = field_span(here)
    if span is not None and number is not None:
        low, high = span
        return {">": number < low, ">=": number <= low, "<": number > high, "<=": number >= high}[sign]
    upper = sign[0] == "<"
    if number is not None:
        of_key = _KEY.fullmatch(column) is not None and "ColumnRef" in here
        if of_key and (number >= KEY_BOUND if upper else number <= (0 if sign == ">" else 1)):
            return True
        size = number if upper else -number
        return size >= _LARGE or size in _INTEGER_ENDS or -number - 1 in _INTEGER_ENDS
    text = literal(there)
    if text is None:
        text = _bits(there)
    return (
        text is not None and _is_last(text.strip()) if upper else text is not None and _is_first(text.strip())
    )


def field_span(here: Body) -> tuple[int, int] | None:
    """Return the least and greatest value of ``extract(field FROM ...)`` or ``date_part``."""
    kind, body = unwrap(here)
    while kind == "TypeCast":
        kind, body = unwrap(body.get("arg", {}))
    if kind != "FuncCall" or strings(body.get("funcname"))[-1:] not in (("extract",), ("date_part",)):
        return None
    arguments = body.get("args", ())
    name = literal(arguments[0]) if arguments else None
    return FIELDS.get(name.lower()) if name is not None else None


def lists_span(here: Body, items: Iterable[Body]) -> bool:
    """Say whether a list names every value that a field of a date, or a truth that was cast, can have."""
    span = field_span(here)
    low, high = (0, 1) if span is None and "TypeCast" in here else span or (0, -1)
    return high >= low and set(range(low, high + 1)) <= {integer(item) for item in items}


def _is_first(text: str) -> bool:
    date = _DATE.match(text)
    if date is not None:
        return int(date[2]) <= _FIRST_YEAR or "BC" in text.upper()
    size = _NUMBER_OF.match(text)
    if size is not None:
        return size[1] == "-"
    return text in (r"\x", "") or _ZEROS.fullmatch(text) is not None


def _is_last(text: str) -> bool:
    date = _DATE.match(text)
    if date is not None:
        return int(date[2]) >= _LAST_YEAR
    size = _NUMBER_OF.match(text)
    if size is not None:
        return size[1] != "-"
    return _LAST.fullmatch(text) is not None


def _bits(node: Body) -> str | None:
    value = bare(node).get("bsval")
    return None if value is None else str(value.get("bsval", ""))


def _number(node: Body) -> int | None:
    """Return the whole part of a number, also one in a string, also after a sign or below a cast."""
    kind, body = unwrap(node)
    if kind == "A_Expr" and strings(body.get("name")) == ("-",) and "lexpr" not in body:
        inner = _number(body.get("rexpr", {}))
        return None if inner is None else -inner
    constant = bare(node)
    if "ival" in constant:
        return int(constant["ival"].get("ival", 0))
    text = constant["fval"].get("fval", "") if "fval" in constant else literal(node)
    text = str(text or "").strip()
    found = _NUMBER.fullmatch(text)
    if found is None or (_ZEROS.fullmatch(text) and "fval" not in constant):
        return None
    # An exponent of three digits is as good as infinity, and must not be computed.
    value = int(found[2][:40]) * int(10 ** min(int(found[3] or 0), 99))
    return -value if found[1] == "-" else value

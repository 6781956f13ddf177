"""How a name falls apart into words, so that names of any style and language compare."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
# Letters that NFKD does not take apart, and the apostrophe, which divides no word of ours.
_LETTERS: Final = str.maketrans(
    {
        "ß": "ss",
        "ł": "l",
        "Ł": "L",
        "ø": "o",
        "Ø": "O",
        "đ": "d",
        "æ": "ae",
        "œ": "oe",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
        "'": "",
        "\N{RIGHT SINGLE QUOTATION MARK}": "",
    }
)
# Words that end in s in the singular.
_SINGULAR: Final = frozenset(
    {
        "access",
        "addres",
        "address",
        "adres",
        "analysis",
        "apellidos",
        "as",
        "aws",
        "basis",
        "bonus",
        "bus",
        "business",
        "campus",
        "canvas",
        "census",
        "class",
        "das",
        "des",
        "diagnosis",
        "diagnostics",
        "dns",
        "dos",
        "gas",
        "gps",
        "has",
        "illness",
        "ios",
        "iris",
        "is",
        "les",
        "news",
        "nos",
        "pass",
        "pays",
        "plus",
        "process",
        "progress",
        "series",
        "sis",
        "sms",
        "species",
        "ssn",
        "status",
        "us",
        "virus",
        "wireless",
    }
)

# Old schemas shorten words, and every language has its own "number".
_ABBREVIATIONS: Final = {
    **dict.fromkeys(("no", "nr", "nbr", "num", "numero", "nummer", "numer", "nro"), "number"),
    "acct": "account",
    "acc": "account",
    "accts": "account",
    "cust": "customer",
    "emp": "employee",
    "empl": "employee",
    "usr": "user",
    "mbr": "member",
    "nm": "name",
    "dt": "date",
    "cd": "code",
    "addr": "address",
    "desc": "description",
    "msg": "message",
    "reg": "registration",
    "licence": "license",
    "lic": "license",
    "qty": "count",
    "dte": "date",
    "ts": "timestamp",
    "stat": "status",
    "typ": "type",
    "amt": "amount",
    "hm": "home",
    "wk": "work",
    "wrk": "work",
    "yr": "year",
    "mth": "month",
    "mo": "month",
    "cnt": "count",
    "ind": "flag",
    "flg": "flag",
    "pct": "percent",
    "prod": "product",
    "dept": "department",
    "mgr": "manager",
    "ctry": "country",
    "cntry": "country",
    "pt": "patient",
    "pat": "patient",
    "dr": "doctor",
    "pwd": "password",
    "passwd": "password",
}


@lru_cache(maxsize=16384)
def tokens(name: str) -> tuple[str, ...]:
    """Split a name at its underscores, spaces, camel humps and digits; fold accents, case and plurals."""
    plain = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return tuple(normal(w.lower()) for w in _WORD.findall(plain))


def normal(word: str) -> str:
    """Return a word written out, in the singular."""
    return _ABBREVIATIONS.get(word) or singular(word)


def singular(word: str) -> str:
    """Return the singular of an English plural; a word of another language may lose its s as well."""
    if (
        len(word) < 4
        or word in _SINGULAR
        or not word.endswith("s")
        or word.endswith(("ss", "us", "is", "adres"))
    ):
        return word
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1]


def phrases(text: str) -> tuple[tuple[str, ...], ...]:
    """Read phrases separated by commas, as the data modules write them."""
    return tuple(tuple(normal(w) for w in p.split()) for p in text.split(",") if p.strip())


def words(text: str) -> frozenset[str]:
    """Read words separated by spaces, as the data modules write them."""
    return frozenset(normal(w) for w in text.split())

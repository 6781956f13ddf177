"""``[[issuer]]``: whose tokens are believed, and how their claims are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from attrs import evolve

from governed_db.identity import jwks
from governed_db.identity.issuer import Issuer, Unusable
from governed_db.identity.mapping import Condition, KindRule, Mapped
from governed_db.identity.mapping import Path as ClaimPath
from governed_db.identity.model import Kind
from governed_db.identity.providers import PROVIDERS
from governed_db.policy.read_rules import string, strings, typed
from governed_db.policy.source import Document, Path

_CONDITION = frozenset({"where", "present", "absent"})
_FILES = ("ca", "bearer_file")
# From and to, in seconds. Less than a second of keys' lifetime would ask the issuer for each token; more than
# a day of it, or than a week without the issuer, would make nothing of a key's withdrawal.
_NUMBERS = {
    "leeway": (0, 600),
    "max_age": (1, 31_536_000),
    "keys_lifetime": (1, 86_400),
    "keys_stale": (0, 604_800),
    "timeout": (0.1, 60),
}
_MAPPED = frozenset({"subject", "groups", "kind", "kinds", "actor", "actors"})
_OTHERS = frozenset({"url", "provider", "audience", "algorithms", "typ", "azp", "jwks"})
_KEYS = _OTHERS | _MAPPED | _CONDITION | _NUMBERS.keys() | set(_FILES)


def read_issuers(doc: Document, base: tuple[Issuer, ...]) -> tuple[Issuer, ...]:
    """Return ``base`` and the issuers that the file names.

    Raises:
        PolicyError: a key is unknown, of the wrong type, or asks for what is not there.
    """
    tables = typed(doc, ("issuer",), doc.data.get("issuer", []), list, "an array of tables: write [[issuer]]")
    found = list(base)
    for place, table in enumerate(tables):
        issuer = _issuer(doc, ("issuer", place), table)
        if any(other.url == issuer.url for other in found):
            doc.fail(("issuer", place, "url"), "this issuer is named twice")
        found.append(issuer)
    return tuple(found)


def _issuer(doc: Document, path: Path, value: Any) -> Issuer:
    table: Mapping[str, Any] = typed(doc, path, value, dict, "a table: write [[issuer]]")
    doc.known_keys(path, table, _KEYS)
    for key in ("url", "audience"):
        if key not in table:
            doc.fail(path, f"the issuer has no '{key}'")
    given = {"url": string(doc, (*path, "url"), table["url"]), **_plain(doc, path, table)}
    if "jwks" in table:
        given["jwks"] = _keys(doc, (*path, "jwks"), table["jwks"])
    given["require"] = _condition(doc, path, table)
    given["mapped"] = _mapped(doc, path, table, PROVIDERS[given.get("provider", "")].mapped)
    try:
        issuer = Issuer(**given)
        if isinstance(issuer.jwks, Mapping) and not jwks.of(issuer.jwks, issuer.uses).keys:
            doc.fail((*path, "jwks"), "none of these keys can check the signature of a token")
    except Unusable as error:
        doc.fail((*path, error.key), str(error))
    except ValueError as error:
        doc.fail((*path, "jwks"), str(error))
    return issuer


def _plain(doc: Document, path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """Read what is handed on as it stands."""
    given: dict[str, Any] = {}
    if "provider" in table:
        given["provider"] = string(doc, (*path, "provider"), table["provider"])
        if given["provider"] not in PROVIDERS:
            known = ", ".join(filter(None, PROVIDERS))
            doc.fail((*path, "provider"), f"unknown provider '{given['provider']}'; known here: {known}")
    for key, name in (("audience", "audience"), ("algorithms", "algorithms"), ("azp", "parties")):
        if key in table:
            given[name] = _one_or_more(doc, (*path, key), table[key])
    if "typ" in table:
        types = _one_or_more(doc, (*path, "typ"), table["typ"])
        given["types"] = tuple(one.lower().removeprefix("application/") for one in types)
    for key, (least, most) in _NUMBERS.items():
        if key in table:
            given[key] = _seconds(doc, (*path, key), table[key], least, most)
    for key in _FILES:
        if key in table:
            given[key] = FilePath(string(doc, (*path, key), table[key])).expanduser()
    return given


def _one_or_more(doc: Document, path: Path, value: Any) -> tuple[str, ...]:
    return (string(doc, path, value),) if isinstance(value, str) else strings(doc, path, value)


def _seconds(doc: Document, path: Path, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        doc.fail(path, f"'{path[-1]}' takes seconds from {least} to {most}")
    return float(value)


def _keys(doc: Document, path: Path, value: Any) -> str | FilePath | Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    text = string(doc, path, value)
    return text if "://" in text else FilePath(text).expanduser()


def _mapped(doc: Document, path: Path, table: Mapping[str, Any], base: Mapped) -> Mapped:
    changes: dict[str, Any] = {}
    for key in ("subject", "actor"):
        if key in table:
            changes[key] = _claim(doc, (*path, key), table[key])
    if "groups" in table:
        changes["groups"] = _claims(doc, (*path, "groups"), table["groups"])
    if "kind" in table and "kinds" in table:
        doc.fail((*path, "kind"), "'kind' is for all tokens of the issuer, and 'kinds' for some: take one")
    if "kind" in table:
        changes["kinds"] = (KindRule(kind=_kind(doc, (*path, "kind"), table["kind"])),)
    for key, provided in (("kinds", base.kinds), ("actors", base.actors)):
        if key in table:
            items = typed(doc, (*path, key), table[key], list, "an array of tables with 'kind' and 'where'")
            own = tuple(_kind_rule(doc, (*path, key, place), item) for place, item in enumerate(items))
            changes[key] = (*own, *provided)
    return evolve(base, **changes)


def _kind_rule(doc: Document, path: Path, value: Any) -> KindRule:
    table = typed(doc, path, value, dict, "a table such as { kind = 'service', where = { gty = 'x' } }")
    doc.known_keys(path, table, _CONDITION | {"kind"})
    if "kind" not in table:
        doc.fail(path, "it says no 'kind'")
    return KindRule(kind=_kind(doc, (*path, "kind"), table["kind"]), when=_condition(doc, path, table))


def _kind(doc: Document, path: Path, value: Any) -> Kind:
    word = string(doc, path, value)
    if word not in {*Kind}:
        doc.fail(path, f"unknown word '{word}' for 'kind'; known here: {', '.join(Kind)}")
    return Kind(word)


def _condition(doc: Document, path: Path, table: Mapping[str, Any]) -> Condition:
    where: tuple[Any, ...] = ()
    if "where" in table:
        wanted = typed(doc, (*path, "where"), table["where"], dict, "a table such as { hd = 'acme.example' }")
        where = tuple(_wanted(doc, (*path, "where"), wanted, ()))
    present, absent = (
        _claims(doc, (*path, key), table[key]) if key in table else () for key in ("present", "absent")
    )
    return Condition(where=where, present=present, absent=absent)


def _wanted(
    doc: Document, path: Path, table: Mapping[str, Any], above: ClaimPath
) -> Iterator[tuple[ClaimPath, tuple[str | int | bool, ...]]]:
    if not table:
        doc.fail(path, "a condition without a claim holds always; leave the key out to say so")
    for key, value in table.items():
        here = (*path, key)
        if isinstance(value, dict):
            yield from _wanted(doc, here, value, (*above, key))
            continue
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str | int) for one in values):
            doc.fail(
                here, "a claim is compared with text, a whole number, true or false, or with one of several"
            )
        yield (*above, key), tuple(values)


def _claim(doc: Document, path: Path, value: Any) -> ClaimPath:
    """Read one claim: a path with dots, or its keys one by one (which may hold dots themselves)."""
    if isinstance(value, str):
        parts = tuple(string(doc, path, value).split("."))
        if not all(parts):
            doc.fail(path, "a claim is written a.b, or as a list of its keys")
        return parts
    return strings(doc, path, value)


def _claims(doc: Document, path: Path, value: Any) -> tuple[ClaimPath, ...]:
    """Read one claim, or a list of lists of keys for several."""
    if isinstance(value, list) and value and all(isinstance(one, list) for one in value):
        return tuple(_claim(doc, (*path, place), one) for place, one in enumerate(value))
    return (_claim(doc, path, value),)

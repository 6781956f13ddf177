"""``[callers]``: what has to be known of who asks, and what the server is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from governed_db.identity.issuer import MOST_LEEWAY
from governed_db.policy.read_rules import read_identity, string, typed
from governed_db.policy.settings import ANNOUNCE_IN, ANNOUNCEMENTS, REQUIRE, CallersSettings
from governed_db.policy.source import Document

KEYS = frozenset({"announce", "announce_in", "require", "verified", "leeway"})


def read_callers(doc: Document, base: CallersSettings) -> CallersSettings:
    """Return ``base`` with what the file says on top of it.

    Raises:
        PolicyError: a key is unknown, of the wrong type, or asks for what is not there.
    """
    table: Mapping[str, Any] = typed(
        doc, ("callers",), doc.data.get("callers", {}), dict, "a table: write [callers]"
    )
    doc.known_keys(("callers",), table, KEYS)
    changes: dict[str, Any] = {}
    if "announce" in table:
        where = ("callers", "announce")
        ways = typed(doc, where, table["announce"], list, "an array of words, empty for none")
        changes["announce"] = frozenset(
            _word(doc, (*where, place), string(doc, (*where, place), way), ANNOUNCEMENTS)
            for place, way in enumerate(ways)
        )
    if "announce_in" in table:
        path = ("callers", "announce_in")
        changes["announce_in"] = _word(doc, path, string(doc, path, table["announce_in"]), ANNOUNCE_IN)
    if "require" in table:
        path = ("callers", "require")
        changes["require"] = _word(doc, path, string(doc, path, table["require"]), REQUIRE)
    if "verified" in table:
        where = ("callers", "verified")
        items = typed(doc, where, table["verified"], list, "an array of identity tables")
        added = tuple(read_identity(doc, (*where, i), item) for i, item in enumerate(items))
        changes["verified"] = (*base.verified, *added)
    if "leeway" in table:
        value = table["leeway"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_LEEWAY:
            doc.fail(("callers", "leeway"), f"'leeway' takes seconds from 0 to {MOST_LEEWAY:.0f}")
        changes["leeway"] = float(value)
    return evolve(base, **changes)


def _word(doc: Document, path: tuple[str | int, ...], word: str, known: tuple[str, ...]) -> str:
    if word not in known:
        doc.fail(path, f"unknown word '{word}' for '{path[1]}'; known here: {', '.join(known)}")
    return word

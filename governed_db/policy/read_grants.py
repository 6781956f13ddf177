"""``[grants]``: who may allow whom more for a while, and what nobody may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve

from governed_db.policy.patterns import split_column_pattern
from governed_db.policy.read_rules import string, typed
from governed_db.policy.settings import GrantSettings
from governed_db.policy.source import Document

KEYS: Final = frozenset({"enabled", "signers", "longest_seconds", "never"})

MOST_SECONDS: Final = 31 * 86_400
"""What `longest_seconds` can be at most. Whoever needs something for more than a month needs a rule."""


def read_grants(doc: Document, base: GrantSettings) -> GrantSettings:
    """Return ``base`` with what the file says on top of it; a list takes the place of the one before.

    Raises:
        PolicyError: a key is unknown, of the wrong type, or asks for what is not there.
    """
    table: Mapping[str, Any] = typed(
        doc, ("grants",), doc.data.get("grants", {}), dict, "a table: write [grants]"
    )
    doc.known_keys(("grants",), table, KEYS)
    changes: dict[str, Any] = {}
    if "enabled" in table:
        changes["enabled"] = typed(doc, ("grants", "enabled"), table["enabled"], bool, "true or false")
    if "signers" in table:
        changes["signers"] = _names(doc, "signers", table["signers"])
    if "longest_seconds" in table:
        path = ("grants", "longest_seconds")
        seconds = typed(doc, path, table["longest_seconds"], int, "a number")
        if isinstance(seconds, bool) or not 1 <= seconds <= MOST_SECONDS:
            doc.fail(path, f"'longest_seconds' takes a number from 1 to {MOST_SECONDS}")
        changes["longest_seconds"] = seconds
    if "never" in table:
        names = _names(doc, "never", table["never"])
        changes["never_columns"] = tuple(name for name in names if _is_column(name))
        changes["never"] = names  # a rule's id can look like a column's name: it is protected as both
    return evolve(base, **changes)


def check_never(doc: Document, settings: GrantSettings, rules: frozenset[str]) -> None:
    """See that every rule that no grant waives is there: a slip would protect nothing.

    Raises:
        PolicyError: one is not.
    """
    for name in settings.never:
        if name not in rules and name not in settings.never_columns:
            doc.fail(
                ("grants", "never"),
                f"'{name}' is neither the id of a rule of this policy nor a column (schema.relation.column)",
            )


def _names(doc: Document, key: str, value: Any) -> tuple[str, ...]:
    # Empty as well: it takes back what the preset says.
    items = typed(doc, ("grants", key), value, list, "an array of strings")
    return tuple(string(doc, ("grants", key, place), item) for place, item in enumerate(items))


def _is_column(name: str) -> bool:
    try:
        split_column_pattern(name)
    except ValueError:
        return False
    return True

"""What an entry of the trail says, whatever it looks like.

Readers hand on what was stored: a record can be shortened, of a later version, or forged by somebody who
can write to the folder. These functions never raise for its shape; what has another type than the schema
gives it counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from governed_db.audit.record import RecordKind

Entry = Mapping[str, Any]
"""One object of :func:`governed_db.audit.statements` or :func:`governed_db.audit.read`."""

STATEMENTS = frozenset({RecordKind.INTENT, RecordKind.REFUSAL, RecordKind.ATTEMPT})
"""The kinds of entries that are about a statement."""

LOOK_UPS = "governed_db."
"""How the rules begin under which the library sends what nobody asked for."""

DAMAGE = "damage"
"""The kind of an entry that stands where records cannot be read."""


def part(entry: Entry, name: str) -> Mapping[str, Any]:
    """Return a section, or any object within one; empty where there is none."""
    found = entry.get(name)
    return found if isinstance(found, Mapping) else {}


def text(section: Entry, name: str) -> str:
    """Return a string, "" where there is none."""
    found = section.get(name)
    return found if isinstance(found, str) else ""


def number(section: Entry, name: str) -> int | None:
    """Return a whole number, ``None`` where there is none."""
    found = section.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def strings(section: Entry, name: str) -> list[str]:
    """Return the strings of a list."""
    found = section.get(name)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def objects(section: Entry, name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list."""
    found = section.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def is_statement(entry: Entry) -> bool:
    """Whether the entry is about a statement: sent, refused, or unreadable."""
    return entry.get("kind") in STATEMENTS


def is_look_up(entry: Entry) -> bool:
    """Whether the library sent it by itself, to judge or mask what somebody asked."""
    # No rule of a policy may be called so (policy.read_rules.RESERVED). A refusal is of what somebody asked.
    return entry.get("kind") == RecordKind.INTENT and text(part(entry, "may"), "rule").startswith(LOOK_UPS)


def principal(who: Entry) -> str:
    """Return somebody as ``kind:subject``; the kind alone for one without a name."""
    return f"{text(who, 'kind')}:{text(who, 'subject')}".strip(":")


def callers(entry: Entry) -> list[str]:
    """Return the caller and those it acts for, nearest first."""
    who = part(entry, "who")
    chain = [principal(who), *(principal(p) for p in objects(who, "on_behalf_of"))]
    return [one for one in chain if one]


def relations(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield each relation with its access, views that others were reached through included."""
    for one in objects(part(entry, "what"), "relations"):
        if name := text(one, "name"):
            yield name, text(one, "access")
        if view := text(one, "via"):
            yield view, text(one, "access")


def columns(entry: Entry, *access: str) -> list[str]:
    """Return the columns that the statement touched, or those touched with one of ``access``.

    ``access`` is "read", "insert" or "update". Without a catalog nobody knew them: then there are none.
    """
    what = part(entry, "what")
    known = what.get("columns")
    names = known if isinstance(known, list) else []
    touched = part(what, "touched")
    found: dict[str, None] = {} if access else dict.fromkeys(strings(what, "columns"))
    for kind, places in touched.items():
        if (access and kind not in access) or not isinstance(places, list):
            continue
        found.update(dict.fromkeys(one for one in (place_of(names, p) for p in places) if one))
    return list(found)


def place_of(names: list[Any], place: object) -> str:
    """Return the column that a place of ``lineage`` or ``touched`` means: in ``names``, or a name itself."""
    if isinstance(place, bool):
        return ""
    if isinstance(place, int):
        place = names[place] if 0 <= place < len(names) else ""
    return place if isinstance(place, str) else ""


def masked(entry: Entry) -> Iterator[tuple[str, str, str]]:
    """Yield column, label and strategy of each mask."""
    for one in objects(part(entry, "what"), "masked"):
        yield text(one, "column"), text(one, "label"), text(one, "strategy")


def verdict(entry: Entry) -> str:
    """Return ``allow``, ``needs_approval`` or ``block``; "" where nobody was asked."""
    return text(part(entry, "may"), "verdict")


def status(entry: Entry) -> str:
    """Return what became of a statement, ``refused`` for text that could not be read; "" for what is none."""
    if entry.get("kind") == RecordKind.ATTEMPT:
        return "refused"
    return text(part(entry, "happened"), "status")


def rows(entry: Entry) -> int | None:
    """Return the rows that it returned; where it returned none, those it changed."""
    happened = part(entry, "happened")
    returned, affected = number(happened, "rows_returned"), number(happened, "rows_affected")
    return affected if affected is not None and not returned else returned


def summary(entry: Entry) -> str:
    """Return a few words on what the entry is about. They can hold any character: clean them."""
    kind = text(entry, "kind")
    if kind == RecordKind.ATTEMPT:
        size = number(part(entry, "what"), "bytes")
        return "unreadable text" if size is None else f"unreadable text of {size:,} bytes"
    if is_statement(entry):
        what = part(entry, "what")
        return text(what, "summary") or text(what, "tag") or text(what, "text") or "(unknown)"
    if kind == RecordKind.EVENT:
        return text(entry, "event") or kind
    return f"damage: {text(entry, 'because')}" if kind == DAMAGE else kind


def short(column: str) -> str:
    """Return a column without its schema, as a reader would call it."""
    return column.removeprefix("public.")

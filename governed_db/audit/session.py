"""One session of the trail, in the order in which its statements began."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import orjson
from attrs import define, field, frozen

from governed_db.audit import flat, view
from governed_db.audit.values import opened
from governed_db.audit.view import Entry, part, text
from governed_db.statement import Statement, Unreadable, read

STEPS = 20_000
"""Statements of one session that are walked through; a session that has more is cut, and the walk says so. A
session is put into the order of its beginnings, so it is held in memory: some 2 KB a statement."""


_OURS = ("driver.", "governed_db.")
"""How the rules begin under which the library and the driver send what nobody asked for (``audit.trail``)."""


@define
class Session:
    """Statements with one session, connection or transaction id.

    Attributes:
        name: the id that was asked for.
        steps: its statements, by the time at which they began.
        beyond: how many there were behind :data:`STEPS`.
        journals: the writers. The ids of connections and transactions are unique in one of them only.
        by_session: whether the caller's own session id was meant.
        damage: places of the trail that could not be read; statements can be missing.
    """

    name: str
    steps: list[dict[str, Any]] = field(factory=list)
    beyond: int = 0
    journals: set[str] = field(factory=set)
    by_session: bool = False
    damage: int = 0

    @property
    def ambiguous(self) -> bool:
        """Whether the id is one of connections or transactions of several processes."""
        return len(self.journals) > 1 and not self.by_session


def find(entries: Iterable[dict[str, Any]], name: str) -> Session:
    """Return the statements of the session ``name``: of a caller, a connection or a transaction.

    ``JOURNAL/c-1`` is a connection or transaction of one process, where several have one of that name.
    """
    found = Session(name)
    journal, slash, inner = name.rpartition("/")
    for entry in entries:
        if entry.get("kind") == view.DAMAGE:
            found.damage += 1
        if not view.is_statement(entry):
            continue
        who, where = part(entry, "who"), part(entry, "where")
        mine = text(who, "session") == name
        ids = (text(where, "connection"), text(where, "transaction"))
        if not mine and name not in ids and not (slash and entry.get("journal") == journal and inner in ids):
            continue
        found.by_session |= mine
        found.journals.add(text(entry, "journal"))
        if len(found.steps) < STEPS:
            found.steps.append(entry)
        else:
            found.beyond += 1
    found.steps.sort(key=lambda e: (text(e, "at"), text(e, "journal"), view.number(e, "sequence") or 0))
    return found


def offset(first: Entry, entry: Entry) -> timedelta | None:
    """Return how long after ``first`` the statement began."""
    start, here = flat.time(text(first, "at")), flat.time(text(entry, "at"))
    return None if start is None or here is None else here - start


def readable(entry: Entry) -> tuple[Statement | None, str]:
    """Return what a recorded text is, and why it cannot be run again as it stands; "" where it can.

    The journal has the normalised text: literals and parameters are ``$1``, ``$2``, ...; what had any cannot
    be run without the values, which no record holds.
    """
    said = text(part(entry, "what"), "text")
    if text(part(entry, "may"), "rule").startswith(_OURS):
        return None, "governed_db or the driver sent it by itself"
    if not said:
        return None, "its text is not on record"
    if "truncated" in entry or said.endswith("…"):
        return None, "its text was shortened when it was recorded"
    if view.status(entry) == "refused":
        return None, "it was not sent then either"
    try:
        statement = read(said)
    except Unreadable as error:
        return None, f"its text cannot be read: {error.reason}"
    if statement.parameters:
        values = "a value" if statement.parameters == 1 else f"{statement.parameters} values"
        if "sealed" in part(entry, "values"):
            return statement, f"it needs {values} that the journal holds encrypted: --reveal uses them"
        return statement, f"it needs {values} that the journal does not hold"
    return statement, ""


@frozen
class Revealed:
    """What was sent, as it was put on record encrypted."""

    text: str = field(repr=False)
    parameters: tuple[str | None, ...] = field(repr=False)


def revealed(entry: Entry, secret: Callable[[str], bytes | None]) -> Revealed | str:
    """Return what was sent, or why that cannot be had; ``secret`` returns the key of a name."""
    values = part(entry, "values")
    name, sealed = text(values, "key"), text(values, "sealed")
    if not sealed:
        return "its values are not on record encrypted"
    if (view.number(part(entry, "happened"), "batch_size") or 1) > 1 or "left_out" in values:
        return "not all of its values are on record"
    found = secret(name)
    if found is None:
        return "the key of its values was destroyed"
    try:
        held: Any = orjson.loads(opened(found, name, sealed))
        said, given = held["text"], tuple(held["parameters"])
    except (ValueError, KeyError, TypeError):
        return "its values do not open under their key"
    if not isinstance(said, str) or not all(one is None or isinstance(one, str) for one in given):
        return "its values are not as they are written"
    # Types that were sent in binary, other than those that have a plain text, are bytes.
    if any(one is not None and ("\\x" in one or not one.replace("\n", "").isprintable()) for one in given):
        return "a value is on record in binary only"
    return Revealed(said, given)

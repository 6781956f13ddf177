"""What the server says on the side: errors, notices and notifications that can carry masked values.

A check constraint quotes the whole failing row, a trigger can raise anything. While a caller sees
columns masked, an error in a transaction that touched such a column (a deferred constraint speaks at
COMMIT) keeps its class, its SQLSTATE and the names of what it is about, and loses its text. A name that the
catalog does not have is no name: ``RAISE ... USING COLUMN = old.email`` can put anything in its place.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import psycopg
from psycopg import Notify, pq
from psycopg._connection_base import BaseConnection

from governed_db.catalog.known import is_name
from governed_db.errors import GovernanceError

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

_CODES = (
    pq.DiagnosticField.SEVERITY,
    pq.DiagnosticField.SEVERITY_NONLOCALIZED,
    pq.DiagnosticField.SQLSTATE,
    pq.DiagnosticField.STATEMENT_POSITION,
)
_NAMES = (
    pq.DiagnosticField.SCHEMA_NAME,
    pq.DiagnosticField.TABLE_NAME,
    pq.DiagnosticField.COLUMN_NAME,
    pq.DiagnosticField.DATATYPE_NAME,
    pq.DiagnosticField.CONSTRAINT_NAME,
)
"""Diagnostic fields that name objects, where the catalog has the name; the others are free text."""


def scrub(error: psycopg.Error, seat: Seat) -> psycopg.Error | None:
    """Return a safe stand-in for ``error``, or ``None`` where the original may pass."""
    if isinstance(error, GovernanceError) or not seat.quotes():
        return None
    if error._info is None:
        return None  # psycopg's own words, not the server's
    source: Any = error._info
    kept: dict[int, bytes | None] = {}
    for name in (*_CODES, *_NAMES):
        if seat.rewrote and name is pq.DiagnosticField.STATEMENT_POSITION:
            continue  # a place in a text that the caller has not written
        value = source.get(int(name)) if isinstance(source, dict) else source.error_field(name)
        if value is not None and (name in _CODES or _known(value, seat)):
            kept[int(name)] = value
    sqlstate = error.sqlstate or ""
    about = [
        f"{label} {kept[int(name)].decode('utf-8', 'replace')}"  # type: ignore[union-attr]
        for label, name in (
            ("table", pq.DiagnosticField.TABLE_NAME),
            ("column", pq.DiagnosticField.COLUMN_NAME),
            ("constraint", pq.DiagnosticField.CONSTRAINT_NAME),
        )
        if kept.get(int(name))
    ]
    message = (
        f"{type(error).__name__} (SQLSTATE {sqlstate}{': ' if about else ''}{', '.join(about)});"
        " the server's text is withheld because it can quote masked columns"
    )
    kept[int(pq.DiagnosticField.MESSAGE_PRIMARY)] = message.encode()
    return type(error)(message, info=kept, encoding="utf-8")


def _known(name: bytes, seat: Seat) -> bool:
    catalog = seat.catalog
    return catalog is not None and is_name(catalog, name.decode(seat.pgconn._encoding, "replace"))


def guard_notices(connection: BaseConnection[Any]) -> None:
    """Withhold notices while the statement that runs could put masked values into them."""
    weak = ref(connection)
    pass_on = partial(BaseConnection._notice_handler, weak)

    def handler(result: pq.abc.PGresult) -> None:
        me = weak()
        if me is None:
            return
        if not me._seat.quotes():  # type: ignore[attr-defined]
            pass_on(result)

    connection._pgconn.notice_handler = handler  # type: ignore[attr-defined]


def guard_notifications(connection: BaseConnection[Any]) -> None:
    """Withhold from the connection's handlers what a notification says to somebody else than the caller."""
    weak = ref(connection)
    pass_on = partial(BaseConnection._notify_handler, weak)

    def handler(notification: pq.PGnotify) -> None:
        me = weak()
        if me is None:
            return
        # What is only put by is looked at when somebody takes it out: see notifies().
        if me._notify_handlers and me._seat.overhears(notification.relname.decode(me._pgconn._encoding)):  # type: ignore[attr-defined]
            notification = notification._replace(extra=b"")
        pass_on(notification)

    connection._pgconn.notify_handler = handler  # type: ignore[attr-defined]


def heard(notification: Notify, seat: Seat) -> Notify:
    """Return ``notification`` as the caller may hear it: without what it says, if it is for somebody else."""
    return notification._replace(payload="") if seat.overhears(notification.channel) else notification

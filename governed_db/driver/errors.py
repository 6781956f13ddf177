"""What the server says on the side: errors and notices that can carry masked values.

A check constraint quotes the whole failing row, a trigger can raise anything. While a caller sees
columns masked, an error in a transaction that touched such a column (a deferred constraint speaks at
COMMIT) keeps its class, its SQLSTATE and the names of what it is about, and loses its text.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import psycopg
from psycopg import pq
from psycopg._connection_base import BaseConnection

from governed_db.errors import GovernanceError

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

_NAMES = (
    pq.DiagnosticField.SEVERITY,
    pq.DiagnosticField.SEVERITY_NONLOCALIZED,
    pq.DiagnosticField.SQLSTATE,
    pq.DiagnosticField.SCHEMA_NAME,
    pq.DiagnosticField.TABLE_NAME,
    pq.DiagnosticField.COLUMN_NAME,
    pq.DiagnosticField.DATATYPE_NAME,
    pq.DiagnosticField.CONSTRAINT_NAME,
    pq.DiagnosticField.STATEMENT_POSITION,
)
"""Diagnostic fields that name objects; the others are free text."""


def scrub(error: psycopg.Error, seat: Seat) -> psycopg.Error | None:
    """Return a safe stand-in for ``error``, or ``None`` where the original may pass."""
    if isinstance(error, GovernanceError) or not seat.quotes():
        return None
    if error._info is None:
        return None  # psycopg's own words, not the server's
    source: Any = error._info
    kept: dict[int, bytes | None] = {}
    for name in _NAMES:
        value = source.get(int(name)) if isinstance(source, dict) else source.error_field(name)
        if value is not None:
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

"""What psycopg sends by itself: recognised by what it does, recorded, and followed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from psycopg import errors as e
from psycopg import pq

from governed_db.run import Run
from governed_db.statement import EffectKind, Statement, Unreadable

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from governed_db.driver.seat import Seat

_OWN = frozenset(
    {
        EffectKind.TRANSACTION,
        EffectKind.SAVEPOINT,
        EffectKind.FETCH,
        EffectKind.CLOSE,
        EffectKind.DEALLOCATE,
    }
)
"""What psycopg's internal commands do: Connection.commit() and its kin, transaction(), two-phase commit,
server-side cursors, the prepared statement cache."""

_BEGIN = frozenset({"BEGIN", "START TRANSACTION"})
_HOLD = 0x20  # CURSOR_OPT_HOLD (src/include/nodes/parsenodes.h)
_FINISH = frozenset({"COMMIT PREPARED", "ROLLBACK PREPARED"})
_END = frozenset({"COMMIT", "ROLLBACK", "PREPARE TRANSACTION"})


def recognise(command: bytes, seat: Seat) -> Statement | None:
    """Return what one of psycopg's own commands does, or ``None`` for anything else."""
    try:
        statement = seat.governor.read(command, seat)
    except Unreadable:
        return None
    if statement.commands != 1 or not all(effect.kind in _OWN for effect in statement.effects):
        return None
    if statement.tag in _FINISH and not _own_transaction(seat):
        return None  # somebody else's prepared transaction: what it holds was never seen here
    return statement


def _own_transaction(seat: Seat) -> bool:
    connection = seat.connection()
    return connection is not None and connection._tpc is not None


def begins(statement: Statement) -> bool:
    """Whether ``statement`` opens a transaction block."""
    return statement.tag in _BEGIN


def holds(statement: Statement) -> bool:
    """Whether ``statement`` opens a cursor WITH HOLD."""
    declared = (command.get("stmt", {}).get("DeclareCursorStmt", {}) for command in statement.tree)
    return any(each.get("options", 0) & _HOLD for each in declared)


def note(run: Run, seat: Seat) -> None:
    """Follow the transaction that ``run`` opens or ends."""
    if run.statement is None:
        return
    tag = run.statement.tag
    if tag in _BEGIN:
        seat.transaction = f"{seat.id}.{secrets.token_hex(4)}"
    elif tag in _END and is_statement(run.statement, EffectKind.TRANSACTION):  # not ROLLBACK TO
        seat.transaction_ended()
    elif is_statement(run.statement, EffectKind.SAVEPOINT, EffectKind.FETCH):
        if seat.settings_moved or seat.timeouts.moved:
            seat.session_stale = True
        if seat.settings_moved or (seat.announced.moved and tag == "ROLLBACK"):
            seat.announced.doubt()


class Awaited:
    """Stands in a pipeline's result queue for one of psycopg's own commands and closes its record."""

    def __init__(self, connection: Any, run: Run) -> None:
        self._conn = connection
        self._run = run

    def _check_results(self, results: list[PGresult]) -> None:
        (result,) = results
        if result.status == pq.ExecStatus.FATAL_ERROR:
            error = e.error_from_result(result, encoding=self._conn._pgconn._encoding)
            self._run.fail(error)
            self._conn._seat.announced.forget()
            raise error
        if result.status == pq.ExecStatus.PIPELINE_ABORTED:
            self._run.finish("cancelled")
            self._conn._seat.announced.forget()
            raise e.PipelineAborted("pipeline aborted")

    def _set_results(self, results: list[PGresult]) -> None:
        self._run.finish()


def is_statement(statement: Statement | None, *kinds: EffectKind) -> bool:
    """Whether ``statement`` does any of ``kinds``."""
    return statement is not None and any(effect.kind in kinds for effect in statement.effects)

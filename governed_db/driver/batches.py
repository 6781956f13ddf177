"""Runs that are counted as one: executemany, and writes that are rolled back when they touch too much."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, field
from psycopg import pq
from psycopg._queries import PostgresQuery
from psycopg.abc import Params, PQGen, Query

from governed_db import pipeline
from governed_db.errors import StatementBlocked
from governed_db.run import Call, Run

if TYPE_CHECKING:
    from governed_db.driver.cursor import GovernedCursor

MAX_BATCH = 10_000
"""Parameter sets of one executemany that a caller with a row cap may send: all of them are held in memory
to be counted, and digested when people have to agree."""

GUARD = b"governed_db_guard"
"""The savepoint around a write whose rows are counted."""

IDLE = pq.TransactionStatus.IDLE
OK = pq.ConnStatus.OK


@define(eq=False)
class Batch:
    """The runs of one executemany: one per distinct text and parameter types."""

    runs: dict[tuple[bytes, tuple[int, ...]], Run] = field(factory=dict)

    def add(self, pgq: PostgresQuery, run: Run) -> None:
        """Take ``run`` in; it stays open until the batch is over."""
        run.open_ended = True
        run.guard = None  # the batch counts for all its runs
        self.runs[pgq.query, pgq.types] = run


def run(
    cursor: GovernedCursor,
    generator: Callable[[Query, Iterable[Params], bool], PQGen[None]],
    query: Query,
    params_seq: Iterable[Params],
    returning: bool,
) -> PQGen[None]:
    """Run psycopg's executemany as one batch: one record per text, one row cap over all of it."""
    seat = cursor._seat
    state = cursor._state
    batch = state.batch = Batch()
    state.plans.clear()
    try:
        guard: int | None = None
        if seat.governor.caps(seat.caller()):
            params_seq = list(islice(params_seq, MAX_BATCH + 1))
            if len(params_seq) > MAX_BATCH:
                raise StatementBlocked(
                    f"executemany() got more than {MAX_BATCH} parameter sets; this caller's writes are"
                    " counted before they are sent [rule limits.max_batch]. Send them in several calls.",
                    rule="limits.max_batch",
                    remedy="send them in several calls",
                )
            guard = yield from _clear_batch(cursor, batch, query, params_seq)
        sending = generator(query, params_seq, returning)
        if guard is None:
            yield from sending
        else:
            yield from guarded(cursor, list(batch.runs.values()), guard, sending)
    except BaseException as error:
        for each in batch.runs.values():
            each.fail(error)
        raise
    finally:
        # In a pipeline results are still to come: the last of them finishes its run.
        for each in batch.runs.values():
            each.open_ended = False
            if not each.outstanding:
                each.finish()
        state.batch = None


def _clear_batch(
    cursor: GovernedCursor, batch: Batch, query: Query, params_seq: list[Params]
) -> PQGen[int | None]:
    """Clear the whole batch before any of it is sent; return the row cap to watch over it, if any."""
    if not params_seq:
        return None
    seat = cursor._seat
    yield from cursor._start_query(query)
    groups: dict[tuple[bytes, tuple[int, ...]], list[Any]] = {}
    pgq: PostgresQuery | None = None
    for params in params_seq:
        if pgq is None:
            pgq = cursor._convert_query(query, params)
        else:
            pgq.dump(params)
        groups.setdefault((pgq.query, pgq.types), []).append(list(pgq.params or ()))
    guard: int | None = None
    for (text, types), sets in groups.items():
        call = Call(text, types, [v for values in sets for v in values], executions=len(params_seq))
        cleared = yield from pipeline.clear(call, seat)
        if cleared.guard is not None:
            guard = cleared.guard if guard is None else min(guard, cleared.guard)
        cleared.open_ended = True
        cleared.guard = None
        batch.runs[text, types] = cleared
    return guard


def guarded(cursor: GovernedCursor, runs: list[Run], cap: int, sending: PQGen[None]) -> PQGen[None]:
    """Run ``sending`` inside a savepoint (a transaction in autocommit) and undo it above ``cap`` rows.

    Raises:
        ApprovalRequired: it touched more; everything it did is rolled back.
    """
    conn = cursor._conn
    seat = cursor._seat
    if conn._pipeline:
        yield from seat.drain()
    opened = conn.pgconn.transaction_status == IDLE
    keep = opened and not conn._autocommit  # the caller's transaction starts here and stays open
    yield from conn._exec_command(conn._get_tx_start_command() if opened else b"SAVEPOINT " + GUARD)
    try:
        yield from sending
        if conn._pipeline:
            yield from conn._pipeline._sync_gen()
    except BaseException:
        # In the caller's own transaction the server has aborted it already, as it does without us.
        if opened and not keep and conn.pgconn.status == OK:
            yield from _all(conn, b"ROLLBACK")
        raise
    rows = sum(each.rows_affected for each in runs)
    if rows > cap:
        yield from _all(conn, *((b"ROLLBACK",) if opened else (b"ROLLBACK TO " + GUARD, b"RELEASE " + GUARD)))
    elif not keep:
        yield from _all(conn, b"COMMIT" if opened else b"RELEASE " + GUARD)
    for each in runs:
        each.open_ended = False
        each.finish("ok" if rows <= cap else "refused")
    if rows > cap:
        cursor._reset()
        raise pipeline.over_cap(runs[0], rows, cap, seat)


def _all(conn: Any, *commands: bytes) -> PQGen[None]:
    for command in commands:
        yield from conn._exec_command(command)
    if conn._pipeline:
        yield from conn._pipeline._sync_gen()

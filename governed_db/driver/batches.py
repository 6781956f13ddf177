"""Runs that are counted as one: executemany, and writes that are rolled back when they touch too much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
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

Key = tuple[bytes, tuple[int, ...]]


@define(eq=False)
class Batch:
    """The runs of one executemany: one per distinct text and parameter types.

    ``closed``: all of it was cleared before any was sent; nothing can join.
    """

    runs: dict[Key, Run] = field(factory=dict)
    closed: bool = False

    def add(self, key: Key, run: Run) -> None:
        """Take ``run`` in; it stays open until the batch is over."""
        run.open_ended = True
        self.runs[key] = run


@frozen
class Block:
    """What a guarded write runs in: a savepoint, or a transaction that was opened for it.

    ``keep``: the transaction is the caller's, which starts with this write and stays open after it.
    """

    opened: bool
    keep: bool


@frozen
class _Set:
    """One set of parameters as it was dumped, judged, and will be sent."""

    query: bytes
    params: Sequence[Any] | None
    types: tuple[int, ...]
    formats: Sequence[Any] | None

    @property
    def key(self) -> Key:
        return self.query, self.types


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
        if seat.governor.caps(seat.caller()):
            yield from _run_capped(cursor, batch, query, params_seq, returning)
        else:
            yield from generator(query, params_seq, returning)
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


def _run_capped(
    cursor: GovernedCursor, batch: Batch, query: Query, params_seq: Iterable[Params], returning: bool
) -> PQGen[None]:
    """Clear the whole batch before any of it is sent, then send exactly what was cleared."""
    seat = cursor._seat
    given = list(islice(params_seq, MAX_BATCH + 1))
    if len(given) > MAX_BATCH:
        raise StatementBlocked(
            f"executemany() got more than {MAX_BATCH} parameter sets; this caller's writes are counted"
            " before they are sent [rule limits.max_batch]. Send them in several calls.",
            rule="limits.max_batch",
            remedy="send them in several calls",
        )
    yield from cursor._start_query(query)
    pgq: PostgresQuery | None = None
    sets: list[_Set] = []
    for params in given:
        if pgq is None:
            pgq = cursor._convert_query(query, params)
        else:
            pgq.dump(params)
        text = bytes(memoryview(pgq.query))
        values = None if pgq.params is None else [_frozen(v) for v in pgq.params]
        sets.append(_Set(text, values, pgq.types, pgq.formats))
    if pgq is None:
        return
    groups: dict[Key, list[Any]] = {}
    for each in sets:
        groups.setdefault(each.key, []).extend(each.params or ())
    calls = [Call(*key, params, executions=len(sets)) for key, params in groups.items()]
    runs, limit, whole = yield from pipeline.clear_all(calls, seat)
    block = yield from open_block(cursor) if limit is not None else begin(cursor)
    try:
        for key, each_run in zip(groups, runs, strict=True):
            seat.governor.trail.intent(each_run, seat)
            batch.add(key, each_run)
    except BaseException:
        yield from undo(cursor, block)
        raise
    batch.closed = True
    sending = _send(cursor, pgq, sets, query, returning)
    if limit is None or block is None:
        yield from sending
    else:
        yield from guarded(cursor, block, runs, limit, whole, sending)


def _frozen(value: Any) -> Any:
    # What was judged and digested must be what is sent, whatever a dumper keeps hold of.
    return None if value is None else bytes(memoryview(value))


def begin(cursor: GovernedCursor) -> PQGen[Block | None]:
    """Send the BEGIN that a statement waits for; return what to undo if it is not sent after all."""
    idle = cursor._pgconn.transaction_status == IDLE
    yield from cursor._begin()
    return Block(opened=True, keep=True) if idle and not cursor._conn._autocommit else None


def _send(
    cursor: GovernedCursor, pgq: PostgresQuery, sets: list[_Set], query: Query, returning: bool
) -> PQGen[None]:
    conn = cursor._conn
    if not returning:
        cursor._rowcount = 0
    cursor._execmany_returning = returning
    for each in sets:
        pgq.query, pgq.params, pgq.types, pgq.formats = each.query, each.params, each.types, each.formats
        yield from cursor._maybe_prepare_gen(pgq, prepare=True)
        if conn._pipeline:
            yield from conn._pipeline._communicate_gen()
    cursor._last_query = query
    if returning and conn._pipeline:
        yield from conn._pipeline._fetch_gen(flush=True)
    yield from conn._prepared.maintain_gen(conn)


def open_block(cursor: GovernedCursor) -> PQGen[Block]:
    """Open what a guarded write is rolled back to."""
    conn = cursor._conn
    if conn._pipeline:
        yield from cursor._seat.drain()
    opened = conn.pgconn.transaction_status == IDLE
    yield from conn._exec_command(conn._get_tx_start_command() if opened else b"SAVEPOINT " + GUARD)
    return Block(opened, opened and not conn._autocommit)


def undo(cursor: GovernedCursor, block: Block | None) -> PQGen[None]:
    """Leave nothing open that was opened for a statement that is not sent after all."""
    conn = cursor._conn
    if conn.pgconn.status != OK or conn.pgconn.transaction_status == IDLE:
        return
    if block is not None:
        commands = (b"ROLLBACK",) if block.opened else (b"ROLLBACK TO " + GUARD, b"RELEASE " + GUARD)
        yield from _all(conn, *commands)


def guarded(
    cursor: GovernedCursor, block: Block, runs: list[Run], cap: int, whole: Call, sending: PQGen[None]
) -> PQGen[None]:
    """Run ``sending`` inside ``block`` and undo it above ``cap`` rows.

    Raises:
        ApprovalRequired: it touched more; everything it did is rolled back.
    """
    conn = cursor._conn
    try:
        yield from sending
        if conn._pipeline:
            yield from conn._pipeline._sync_gen()
    except BaseException:
        # In the caller's own transaction the server has aborted it already, as it does without us.
        if block.opened and not block.keep and conn.pgconn.status == OK:
            yield from _all(conn, b"ROLLBACK")
        raise
    rows = sum(each.rows_affected for each in runs)
    if rows > cap:
        yield from undo(cursor, block)
    elif not block.keep:
        yield from _all(conn, b"COMMIT" if block.opened else b"RELEASE " + GUARD)
    for each in runs:
        each.open_ended = False
        each.finish("ok" if rows <= cap else "refused")
    if rows > cap:
        cursor._reset()
        raise pipeline.over_cap(runs[0], whole, rows, cap, cursor._seat)


def _all(conn: Any, *commands: bytes) -> PQGen[None]:
    for command in commands:
        yield from conn._exec_command(command)
    if conn._pipeline:
        yield from conn._pipeline._sync_gen()

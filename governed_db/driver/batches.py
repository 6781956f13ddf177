"""executemany: runs that are cleared, sent, counted and rolled back as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from psycopg._queries import PostgresQuery
from psycopg.abc import Params, PQGen, Query

from governed_db import pipeline, refusing
from governed_db.driver import comment, guards, probe
from governed_db.driver.patience import patiently
from governed_db.run import NO_CAP, Call, Run

if TYPE_CHECKING:
    from governed_db.driver.cursor import GovernedCursor
    from governed_db.driver.seat import Seat

MAX_BATCH = 10_000
"""Parameter sets of one executemany that a caller with a row cap may send: all of them are held in memory
to be counted, and digested when people have to agree."""

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
        if seat.governor.announces_apart:
            yield from seat.drain()  # whether a transaction is open is certain then
        if seat.governor.caps(seat.caller()) or _withholds(seat, returning) or guards.is_apart(cursor):
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
    cursor._say()


def _run_capped(
    cursor: GovernedCursor, batch: Batch, query: Query, params_seq: Iterable[Params], returning: bool
) -> PQGen[None]:
    """Clear the whole batch before any of it is sent, then send exactly what was cleared."""
    seat = cursor._seat
    given = list(islice(params_seq, MAX_BATCH + 1))
    if len(given) > MAX_BATCH:
        raise refusing.refused(
            Call(query if isinstance(query, bytes) else b""),
            seat.caller(),
            seat,
            "limits.max_batch",
            f"executemany() got more than {MAX_BATCH} parameter sets, and this caller's are judged and"
            " counted before any is sent",
            "send them in several calls",
        )
    yield from cursor._start_query(query)
    pgq, sets = _dumped(cursor, query, given)
    if pgq is None:
        return
    groups: dict[Key, list[Any]] = {}
    formats: dict[Key, list[Any]] = {}
    for each in sets:
        groups.setdefault(each.key, []).extend(each.params or ())
        formats.setdefault(each.key, []).extend(each.formats or ())
    calls = [
        Call(*key, params, executions=len(sets), formats=formats[key] or None)
        for key, params in groups.items()
    ]

    def attempt() -> PQGen[None]:
        batch.runs.clear()
        batch.closed = False
        yield from _run_sets(cursor, batch, query, returning, pgq, sets, calls)

    yield from patiently(seat, attempt)


def _run_sets(
    cursor: GovernedCursor,
    batch: Batch,
    query: Query,
    returning: bool,
    pgq: PostgresQuery,
    sets: list[_Set],
    calls: list[Call],
) -> PQGen[None]:
    seat = cursor._seat
    keys = list(dict.fromkeys(each.key for each in sets))
    places = {key: place for place, key in enumerate(keys)}
    runs, limit, whole = yield from pipeline.clear_all(calls, seat, [places[each.key] for each in sets])
    if limit is None and any(guards.withholds(each) or guards.apart(cursor, each) for each in runs):
        limit = NO_CAP
    budget = guards.budget_of(runs[0])
    block: guards.Block | None
    if limit is not None:
        by_key = dict(zip(keys, runs, strict=True))
        asked = [(by_key[each.key], _values(by_key[each.key], each, seat)) for each in sets]
        block = yield from guards.enter(cursor, asked, limit, whole)
    else:
        block = yield from guards.begin(cursor, budget)
        yield from guards.hold(cursor, budget)
    try:
        for key, each_run in zip(keys, runs, strict=True):
            seat.governor.trail.intent(each_run, seat)
            each_run.comment = comment.of(seat)
            batch.add(key, each_run)
    except BaseException:
        yield from guards.undo(cursor, block)
        raise
    batch.closed = True
    sending = _send(cursor, pgq, sets, query, returning)
    if limit is None or block is None:
        yield from sending
    else:
        yield from guards.guarded(cursor, block, runs, limit, whole, sending)


def _values(run: Run, each: _Set, seat: Seat) -> probe.Values:
    """Return the values that one execution is sent with."""
    if run.plan.given is not None:
        call = Call(each.query, each.types, each.params, formats=each.formats)
        sending = pipeline.sending(run, call, seat)
        if sending is not None and sending.params is not None:
            return sending.params, sending.types, sending.formats
    return each.params, each.types, each.formats


def _dumped(
    cursor: GovernedCursor, query: Query, given: Sequence[Params]
) -> tuple[PostgresQuery | None, list[_Set]]:
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
    return pgq, sets


def _withholds(seat: Seat, returning: bool) -> bool:
    """Return whether a batch may have to be rolled back for the rows it returns."""
    return returning and seat.governor.enforce and guards.refuses(seat.governor.policy.budget(seat.caller()))


def _frozen(value: Any) -> Any:
    # What was judged and digested must be what is sent, whatever a dumper keeps hold of.
    return None if value is None else bytes(memoryview(value))


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

"""Guarded runs: measured by a SELECT first, then run inside of what they can be rolled back to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from psycopg import errors as e
from psycopg import pq
from psycopg.abc import PQGen

from governed_db import measured
from governed_db.driver import announce, counting, effects, probe, returned, sparing
from governed_db.driver.timeouts import commands, guarding
from governed_db.errors import GovernanceError
from governed_db.policy.model import UNLIMITED, Budget
from governed_db.run import NO_CAP, Call, Run, writes_later
from governed_db.statement.describing import Undescribed

if TYPE_CHECKING:
    from governed_db.driver.cursor import GovernedCursor

GUARD = b"governed_db_guard"
"""The savepoint around a write whose rows are counted."""

IDLE = pq.TransactionStatus.IDLE
OK = pq.ConnStatus.OK

Asked = Sequence[tuple[Run, probe.Values]]
"""What is about to be sent: runs, each with the parameters of one execution."""


@frozen
class Block:
    """What a guarded write runs in: a savepoint, or a transaction that was opened for it.

    Attributes:
        opened: it is a transaction.
        keep: the transaction is the caller's, which starts with this write and stays open after it.
        timeouts: those that were set in the transaction before it; a savepoint puts them back.
        written: rows the session had written when it was opened, where rows beside are to be counted.
        targets: what must not be changed as a whole, where no SELECT could tell whether it will be.
        expected: the very rows that people have agreed to, where they have.
    """

    opened: bool
    keep: bool
    timeouts: tuple[tuple[int, int], ...] = ()
    written: int | None = None
    targets: tuple[sparing.Target, ...] = ()
    expected: effects.Expected | None = None


def budget_of(run: Run) -> Budget:
    """Return what the caller of ``run`` may spend."""
    return UNLIMITED if run.decision is None else run.decision.budget


def apart(cursor: GovernedCursor, run: Run) -> bool:
    """Return whether ``run`` gets a transaction of its own in autocommit, to announce its caller in.

    Behind a pooler that lends sessions by the transaction, nothing can be said outside of one. What does more
    than read and write rows stays as it is: some of it runs outside of transactions alone (VACUUM).
    """
    statement = run.statement
    return statement is not None and statement.commands == 1 and statement.tag in _ROWS and is_apart(cursor)


_ROWS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "EXPLAIN"})


def is_apart(cursor: GovernedCursor) -> bool:
    """Return whether what ``cursor`` sends is outside of any transaction."""
    seat = cursor._seat
    return (
        seat.governor.announces_apart
        and bool(seat.governor.announces)
        and cursor._conn._autocommit
        and not cursor._state.streams
        and not seat.inside()
    )


def refuses(budget: Budget) -> bool:
    """Return whether ``budget`` refuses results that are too large."""
    limited = budget.rows_returned is not None or budget.rows_returned_per_session is not None
    return limited and budget.over == "refuse"


def withholds(run: Run) -> bool:
    """Return whether ``run`` writes, and what it returns may have to be refused: then so is what it wrote."""
    if run.known is None or not run.known.writes or not refuses(budget_of(run)):
        return False
    return run.bound is None or run.bound.outputs is None or bool(run.bound.outputs)


def begin(cursor: GovernedCursor, budget: Budget) -> PQGen[Block | None]:
    """Send the BEGIN that a statement waits for; return what to undo if it is not sent after all."""
    if cursor._conn._autocommit:
        return None
    idle = cursor._pgconn.transaction_status == IDLE
    seat = cursor._seat
    seat.budget = budget
    try:
        yield from cursor._begin()
    finally:
        seat.budget = None
    return Block(opened=True, keep=True) if idle else None


def hold(cursor: GovernedCursor, budget: Budget) -> PQGen[None]:
    """Put the timeouts of ``budget`` in force for the statement that follows, and its caller."""
    seat = cursor._seat
    timeouts = seat.timeouts
    connection: Any = cursor._conn
    if budget is not UNLIMITED or timeouts.applied or timeouts.local or announce.needed(seat) is not None:
        yield from connection._hold_to(budget)


def enter(cursor: GovernedCursor, asked: Asked, cap: int, whole: Call) -> PQGen[Block]:
    """Open a block for what is ``asked``, once it is measured not to touch more than ``cap`` rows.

    Raises:
        ApprovalRequired: it would touch more; nothing of it was sent, and no block is open.
    """
    first = asked[0][0]
    if first.approval is not None and first.approval.question.binds == "effect":
        return (yield from _hold_rows(cursor, asked, whole))
    budget = budget_of(first)
    # What people have agreed to is no trial: it is held to the rows that they were told of, and no more.
    trial = first.approval is None
    counted = cap != NO_CAP or any(withholds(run) for run, _ in asked)
    block = yield from _open(cursor, budget, trial=trial and counted)
    beside = trial and cap != NO_CAP and any(run.known is not None and run.known.beside for run, _ in asked)
    try:
        stays = block.keep or not block.opened
        if (
            trial
            and cap != NO_CAP
            and stays
            and any(r.bound is not None and writes_later(r.bound) for r, _ in asked)
        ):
            raise (yield from measured.would_write_later(first, whole, cursor._seat))
        if cap != NO_CAP:
            block, told = yield from _measured(cursor, block, asked, cap, whole)
            if trial:
                block = yield from _looked(cursor, block, asked, cap, measured=told)
        if beside:
            written = yield from counting.written(cursor._seat, first.identity)
            block = evolve(block, written=written)
    except BaseException as error:
        yield from leave(cursor, block, error)
        raise
    return block


def _hold_rows(cursor: GovernedCursor, asked: Asked, whole: Call) -> PQGen[Block]:
    """Open a block in which the rows that people have agreed to are locked, and are those still.

    Raises:
        ApprovalRequired: they are not; the request is about the rows as they are now.
        StatementBlocked: people were not shown them.
    """
    seat, run = cursor._seat, asked[0][0]
    assert run.approval is not None
    agreed = run.approval.effect
    if agreed is None:  # whoever can write to the store may have left it out before people saw it
        raise measured.not_shown(run, whole, Undescribed("the request that they answered shows none"), seat)
    block = yield from _open(cursor, budget_of(run), trial=False)
    try:
        try:
            expected = yield from effects.lock(seat, asked, agreed)
            # Also where nothing seems to write beside it: a trigger may have come since.
            if all(each.known is not None and each.known.counts for each, _ in asked):
                block = evolve(block, written=(yield from counting.written(seat, run.identity)))
        except Undescribed as why:
            raise measured.not_shown(run, whole, why, seat) from None
        except e.DataError as error:  # its words are about values that the caller has not asked to see
            no = Undescribed(f"the server does not show them any more (SQLSTATE {error.sqlstate})")
            raise measured.not_shown(run, whole, no, seat) from None
    except BaseException as error:
        yield from leave(cursor, block, error)
        raise
    if expected.effect != agreed:
        # Nothing stays locked while the store is asked.
        yield from undo(cursor, block)
        raise (yield from measured.rows_changed(run, whole, seat))
    return evolve(block, expected=expected)


def _open(cursor: GovernedCursor, budget: Budget, *, trial: bool) -> PQGen[Block]:
    conn: Any = cursor._conn
    seat = cursor._seat
    yield from seat.drain()
    opened = conn.pgconn.transaction_status == IDLE
    before = tuple(seat.timeouts.local.items())
    limits = conn._limits(guarding(budget) if trial else budget)
    if opened:
        yield from conn._begin_with((conn._get_tx_start_command(),), limits, announce.needed(seat))
    else:
        yield from conn._announce()  # before the savepoint, which would take it back
        yield from conn._exec_together((b"SAVEPOINT " + GUARD,), limits)
    yield from seat.drain()
    return Block(opened, opened and not conn._autocommit, before)


def _looked(cursor: GovernedCursor, block: Block, asked: Asked, cap: int, *, measured: bool) -> PQGen[Block]:
    """Note in ``block`` what its targets have, for :func:`guarded` to compare."""
    seat = cursor._seat
    targets = sparing.targets_of([run for run, _ in asked], seat.catalog, measured=measured)
    if targets:
        targets = yield from sparing.look(seat, asked[0][0], targets, cap)
    return evolve(block, targets=targets)


def _measured(
    cursor: GovernedCursor, block: Block, asked: Asked, cap: int, whole: Call
) -> PQGen[tuple[Block, bool]]:
    """Measure what is ``asked``; return the block, another one after a failure, and whether it could be.

    Raises:
        ApprovalRequired: it would touch too many rows, or every one.
    """
    seat = cursor._seat
    if len(asked) > probe.MAX_PROBED_SETS:
        return block, False
    probes = []
    for run, values in asked:
        # A token in the text is a parameter by now, and the SELECT would not find what it stands for.
        moved = len(values[1]) > len(run.call.types)
        made = None if run.known is None or moved else probe.of(run.known, seat)
        if made is None:
            return block, False
        probes.append((made, values))
    total = 0
    first = asked[0][0]
    for made, values in probes:
        rows = yield from probe.measure(seat, made, first.identity, values, cap)
        if rows is None:
            # The SELECT failed, and took with it what it ran in.
            yield from undo(cursor, block)
            return (yield from _open(cursor, budget_of(first), trial=first.approval is None)), False
        total += rows
        if total > cap:
            raise (yield from measured.would_exceed(first, whole, cap, seat))
        if first.decision is not None and first.decision.restricts:
            spares = yield from probe.spares(seat, made, first.identity, values, cap)
            if spares is None:
                yield from undo(cursor, block)
                return (yield from _open(cursor, budget_of(first), trial=first.approval is None)), False
            if not spares:
                raise (yield from measured.would_touch_every_row(first, whole, made.target, seat))
    return block, True


def undo(cursor: GovernedCursor, block: Block | None) -> PQGen[None]:
    """Leave nothing open that was opened for a statement that is not sent after all."""
    conn: Any = cursor._conn
    if conn.pgconn.status != OK or conn.pgconn.transaction_status == IDLE or block is None:
        return
    if block.opened:
        yield from conn._exec_together((b"ROLLBACK",))
    else:
        yield from conn._exec_together((b"ROLLBACK TO " + GUARD, b"RELEASE " + GUARD))
        timeouts = cursor._seat.timeouts
        timeouts.local.clear()
        timeouts.local.update(block.timeouts)
    yield from cursor._seat.drain()


def _close(cursor: GovernedCursor, block: Block) -> PQGen[None]:
    """Let what ran in ``block`` stand."""
    if block.keep:
        return
    conn: Any = cursor._conn
    if block.opened:
        yield from conn._exec_together((b"COMMIT",))
    else:
        timeouts = cursor._seat.timeouts
        before = dict(block.timeouts)
        changed = tuple(
            (
                index,
                before.get(
                    index, timeouts.own.get(index, timeouts.applied.get(index, timeouts.session[index]))
                ),
            )
            for index, value in timeouts.local.items()
            if before.get(index) != value
        )
        yield from conn._exec_together((b"RELEASE " + GUARD, *commands(changed, in_transaction=True)))
    yield from cursor._seat.drain()


def leave(cursor: GovernedCursor, block: Block, error: BaseException) -> PQGen[None]:
    """Leave ``block`` as its failure says: a refusal of ours undoes it, an error is the server's to keep."""
    if isinstance(error, GeneratorExit):
        return  # given up in the middle of an answer: nothing more can be sent, and nothing may be waited for
    conn: Any = cursor._conn
    try:
        if isinstance(error, GovernanceError):
            yield from undo(cursor, block)
        elif block.opened and not block.keep and conn.pgconn.status == OK:
            # In the caller's own transaction the server has aborted it already, as it does without us.
            yield from conn._exec_together((b"ROLLBACK",))
            yield from cursor._seat.drain()
    except e.OperationalError:
        if conn.pgconn.status == OK:
            raise
        # The connection is gone, and the block with it: the caller hears why, not that we noticed.


def guarded(
    cursor: GovernedCursor, block: Block, runs: list[Run], cap: int, whole: Call, sending: PQGen[None]
) -> PQGen[None]:
    """Run ``sending`` inside ``block`` and undo it above ``cap`` rows. Nobody sees a row before that.

    Raises:
        ApprovalRequired: it touched more; everything it did is rolled back.
        StatementBlocked: it returned more than the caller's budget allows, or did something else than people
            have agreed to; likewise.
    """
    seat, state = cursor._seat, cursor._state
    held: list[tuple[Run, list[pq.abc.PGresult]]] = []
    state.holding = held
    try:
        yield from sending
        yield from seat.drain()
        rows = yield from count(cursor, block, runs)
        refusal = yield from _over(cursor, block, runs[0], whole, rows, cap)
        for run, results in held if refusal is None else ():
            if cursor._execmany_returning is not False:
                returned.judge(state, run, results, state.held, seat)
            state.held += len(results)
    except BaseException as error:
        state.holding = None
        refused = isinstance(error, GovernanceError)
        _finish(runs, "refused") if refused else _fail(runs, error)
        yield from leave(cursor, block, error)
        if refused:
            cursor._reset()
        raise
    state.holding = None
    if refusal is not None:
        # Before the store is asked: nothing stays locked, and people are shown the rows as they are without.
        yield from _refused(cursor, block, runs)
        raise (yield from refusal())
    try:
        yield from _close(cursor, block)
    except BaseException as error:
        # A COMMIT whose answer never came may have happened.
        _fail(runs, error) if getattr(error, "sqlstate", None) else _finish(runs, "unknown")
        raise
    for run, results in held:
        cursor._deliver(run, results)
    _finish(runs, "ok")
    if state.batch is None:
        cursor._say()


Refusal = Callable[[], PQGen[GovernanceError]]
"""Makes the error, once what ran is undone."""


def _over(
    cursor: GovernedCursor, block: Block, run: Run, whole: Call, rows: int, cap: int
) -> PQGen[Refusal | None]:
    """Return how a run that wrote so many rows is refused, ``None`` where it may stand."""
    seat = cursor._seat
    if block.expected is not None:
        beside = run.rows_beside > 0
        what = yield from effects.outcome(seat, run, block.expected, rows)
        what = "other rows were written as well" if beside else what
        if what == effects.MORE:
            return partial(measured.rows_changed, run, whole, seat, sent=True)
        return partial(measured.did_otherwise, run, whole, what, seat) if what else None
    if rows > cap:
        return partial(measured.over_cap, run, whole, rows, cap, seat)
    if block.targets and (name := (yield from sparing.all_of(seat, run, block.targets))):
        return partial(measured.touched_every_row, run, whole, name, seat)
    return None


def _refused(cursor: GovernedCursor, block: Block, runs: Sequence[Run]) -> PQGen[None]:
    try:
        yield from undo(cursor, block)
    except BaseException as error:
        _fail(runs, error)
        raise
    _finish(runs, "refused")
    cursor._reset()


def count(cursor: GovernedCursor, block: Block, runs: Sequence[Run]) -> PQGen[int]:
    """Return the rows that ``runs`` have written, those beside included where they are to be counted."""
    told = rows = sum(each.rows_affected for each in runs)
    if block.written is not None:
        if block.opened and not block.keep:
            # What would run at the COMMIT that follows has to have run when it is counted.
            conn: Any = cursor._conn
            yield from conn._exec_together((b"SET CONSTRAINTS ALL IMMEDIATE",))
        after = yield from counting.written(cursor._seat, runs[0].identity)
        rows = max(rows, after - block.written)
        runs[0].rows_beside = rows - told
    return rows


def settle(cursor: GovernedCursor, run: Run, whole: Call) -> PQGen[None]:
    """End the block of a COPY FROM that is over: undone above the cap.

    Raises:
        ApprovalRequired: it wrote more than the cap; everything it did is rolled back.
    """
    block: Block = run.block
    assert run.guard is not None
    try:
        rows = yield from count(cursor, block, [run])
        if rows > run.guard:
            raise (yield from measured.over_cap(run, whole, rows, run.guard, cursor._seat))
    except BaseException as error:
        yield from leave(cursor, block, error)
        raise
    yield from _close(cursor, block)


def _fail(runs: Sequence[Run], error: BaseException) -> None:
    for each in runs:
        each.fail(error)


def _finish(runs: Sequence[Run], status: str) -> None:
    for each in runs:
        each.open_ended = False
        each.finish(status)

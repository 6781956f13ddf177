"""Governed cursors: every way a cursor can send SQL, cleared first and recorded after.

The mixin overrides psycopg's generators, so sync and async cursors share it. It adds no slots: an
ungoverned cursor that was constructed around a governed connection can be adopted by changing its class
(see :mod:`governed_db.driver.adopt`). What has to be remembered lives in :class:`~.seat.CursorState`.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, cast

from psycopg import errors as e
from psycopg import generators, pq
from psycopg._capabilities import capabilities
from psycopg._compat import Template
from psycopg._cursor_base import BaseCursor
from psycopg._queries import PostgresClientQuery, PostgresQuery
from psycopg.abc import Params, PQGen, Query

from governed_db import pipeline, refusing
from governed_db.driver import announce, batches, comment, guards, masked, returned
from governed_db.driver.commands import is_statement
from governed_db.driver.patience import patiently
from governed_db.driver.seat import CursorState, Seat
from governed_db.errors import GovernanceError, StatementBlocked
from governed_db.policy import forging
from governed_db.policy.model import Budget
from governed_db.run import NO_CAP, Call, Run
from governed_db.statement import EffectKind

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

TUPLES_OK = pq.ExecStatus.TUPLES_OK
COMMAND_OK = pq.ExecStatus.COMMAND_OK
IDLE = pq.TransactionStatus.IDLE
INERROR = pq.TransactionStatus.INERROR
_STREAMED = (pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_CHUNK)

_SENDERS = "this text was not cleared by the pipeline"


# To the type checker the mixins are cursors. In fact they are plain mixins: a class that an ungoverned
# cursor is given (see adopt) must have the same layout, whatever class it had.
if TYPE_CHECKING:
    _Cursor = BaseCursor[Any, Any]
else:
    _Cursor = object


class GovernedCursor(_Cursor):
    """What all governed cursors have in common. See the module's docstring."""

    __slots__ = ()

    @property
    def _seat(self) -> Seat:
        seat: Seat = self._conn._seat
        return seat

    @property
    def _state(self) -> CursorState:
        """What is remembered of this cursor; the classes in :mod:`~.cursors` keep it in a slot instead."""
        return self._seat.of(self)

    # -- clearing

    def _start_query(self, query: Query | None = None) -> PQGen[None]:
        """Prepare the cursor, but leave BEGIN until the statement behind it is cleared."""
        seat = self._seat
        state = self._state
        if state.current is not None and not state.current.finished and not state.pending:
            state.current.finish("unknown")  # a stream or COPY that was abandoned
        if state.batch is None:
            state.plans.clear()
        state.handed = state.held = 0
        state.over = state.truncated = False
        state.holding = None
        if state.cuts:
            state.cuts.clear()
        if state.ahead:
            state.ahead.clear()
        seat.new_statement()
        seat.beginning = "later" if seat.governor.enforce else "now"
        try:
            yield from super()._start_query(query)
        finally:
            seat.beginning = ""

    def _begin(self) -> PQGen[None]:
        """Send the BEGIN that waited for the statement to be cleared, if one is owed."""
        seat = self._seat
        seat.beginning = "now"
        try:
            yield from self._conn._start_query()
        finally:
            seat.beginning = ""

    def _clear(self, pgq: PostgresQuery, *, copies: bool = False) -> PQGen[Run]:
        """Take a converted query along the way, as far as its intent on record."""
        seat = self._seat
        if type(pgq.query) is not bytes:
            # A subclass could read one way to us and lie another way on the wire.
            pgq.query = bytes(memoryview(pgq.query))
        call = Call(
            pgq.query, pgq.types, pgq.params, copies, streams=self._state.streams, formats=pgq.formats
        )
        if not seat.governor.enforce:
            run = pipeline.watch(call, seat)
            seat.governor.trail.intent(run, seat)
            self._cleared(pgq, run)
            return run
        run = yield from pipeline.clear(call, seat)
        budget = guards.budget_of(run)
        if seat.governor.announces_apart:
            yield from seat.drain()  # whether a transaction is open is certain then
        if run.guard is None and (guards.withholds(run) or guards.apart(self, run)):
            run.guard = NO_CAP
        if seat.governor.announces:
            self._check_ending(run)
        run.comment = comment.of(seat)
        if not self._can_follow(run, copies):
            assert run.known is not None
            assert run.decision is not None
            seat.governor.trail.refusal(
                call, run.identity, run.known, run.decision, seat, StatementBlocked.__name__
            )
            raise _unguardable(run)
        opened: guards.Block | None = None  # what there would be to undo
        if run.guard is not None:
            sent = self._sent(run, pgq)
            values = (sent.params, sent.types, sent.formats)
            opened = run.block = yield from guards.enter(self, [(run, values)], run.guard, call)
        else:
            if not self._conn._autocommit:
                opened = yield from guards.begin(self, budget)
            if (
                run.statement is None or run.statement.commands
            ):  # a pool asks with "" whether anybody is there
                yield from guards.hold(self, budget)
        try:
            seat.governor.trail.intent(run, seat)
        except BaseException:
            # No record, no statement: and no transaction left open for the sake of one.
            yield from guards.undo(self, opened)
            raise
        self._cleared(pgq, run)
        return run

    def _check_ending(self, run: Run) -> None:
        """Refuse a text that ends the transaction it is sent in and goes on, without anybody announced."""
        statement = run.statement
        if statement is None or statement.commands < 2:
            return
        seat = self._seat
        if self._conn._autocommit and not seat.inside():
            return  # what was said holds for the session
        # In a transaction that has failed nobody can be told of, until ROLLBACK TO.
        unsaid = seat.pgconn.transaction_status == INERROR and announce.needed(seat) is not None
        if forging.goes_on(statement, moved=seat.announced.moved or unsaid):
            raise refusing.refused(
                run.call,
                run.identity,
                seat,
                "callers.transaction",
                "this text ends the transaction and goes on: the server would not know any more who asks",
                "send what follows COMMIT or ROLLBACK as a statement of its own",
            )

    def _can_follow(self, run: Run, copies: bool) -> bool:
        """Return whether the rows of ``run``, in and out, can be counted on the way it was called."""
        state = self._state
        if run.guard is not None and (copies or state.streams):
            return state.lazily and is_statement(run.statement, EffectKind.COPY_FROM)
        return not copies or state.lazily or returned.limited(run) is None

    def _cleared(self, pgq: PostgresQuery, run: Run) -> None:
        state = self._state
        text = pgq.query if run.sending is None else run.sending.text
        state.cleared = (text + run.comment if run.comment else text, run)
        state.current = run
        self._seat.follow(run)

    def _sent(self, run: Run, pgq: PostgresQuery) -> PostgresQuery:
        """Return what goes to the server in the place of ``pgq``, which the cursor goes on showing."""
        sending = run.sending
        if run.plan.given is not None and self._state.batch is not None:
            # Each execution of a batch has values of its own.
            call = Call(pgq.query, pgq.types, pgq.params, formats=pgq.formats)
            sending = pipeline.sending(run, call, self._seat)
        if sending is None and not run.comment:
            self._state.asked = None
            return pgq
        self._state.asked = pgq
        sent = copy(pgq)
        sent.query = (pgq.query if sending is None else sending.text) + run.comment
        if sending is not None and sending.params is not None:
            sent.params, sent.types = sending.params, sending.types
            sent.formats = [pq.Format(f) for f in sending.formats or ()]
        return sent

    def _gate(self, text: bytes) -> None:
        """Refuse to send anything but the text that was cleared last: the last line of defence."""
        cleared = self._state.cleared
        if cleared is None or (cleared[0] is not text and cleared[0] != text):
            raise self._unsent(text, "send SQL through the cursor's public methods")

    def _unsent(self, text: bytes, remedy: str) -> GovernanceError:
        seat = self._seat
        return refusing.refused(Call(text), seat.caller(), seat, "driver.gate", _SENDERS, remedy)

    # -- execute, executemany

    def _execute_gen(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> PQGen[None]:
        self._state.batch = None
        yield from super()._execute_gen(query, params, prepare=prepare, binary=binary)

    def _executemany_gen_pipeline(
        self, query: Query, params_seq: Iterable[Params], returning: bool
    ) -> PQGen[None]:
        yield from batches.run(self, super()._executemany_gen_pipeline, query, params_seq, returning)

    def _executemany_gen_no_pipeline(
        self, query: Query, params_seq: Iterable[Params], returning: bool
    ) -> PQGen[None]:
        yield from batches.run(self, super()._executemany_gen_no_pipeline, query, params_seq, returning)

    def _maybe_prepare_gen(
        self, pgq: PostgresQuery, *, prepare: bool | None = None, binary: bool | None = None
    ) -> PQGen[None]:
        batch = self._state.batch
        if batch is None:
            yield from patiently(self._seat, lambda: self._send_gen(pgq, prepare=prepare, binary=binary))
        else:
            run = yield from self._clear_in(batch, pgq)
            yield from self._send_cleared_gen(run, pgq, prepare=prepare, binary=binary)

    def _send_gen(self, pgq: PostgresQuery, *, prepare: bool | None, binary: bool | None) -> PQGen[None]:
        run = yield from self._clear(pgq)
        yield from self._send_cleared_gen(run, pgq, prepare=prepare, binary=binary)

    def _send_cleared_gen(
        self, run: Run, pgq: PostgresQuery, *, prepare: bool | None, binary: bool | None
    ) -> PQGen[None]:
        sent = self._sent(run, pgq)
        if sent is not pgq:
            self._state.cleared = (sent.query, run)
        sending = self._run(run, super()._maybe_prepare_gen(sent, prepare=prepare, binary=binary))
        if run.guard is None:
            yield from sending
        else:
            yield from guards.guarded(self, run.block, [run], run.guard, run.call, sending)

    def _clear_in(self, batch: batches.Batch, pgq: PostgresQuery) -> PQGen[Run]:
        """Clear one execution of a batch: the first of its text and types stands for the others."""
        key = (pgq.query, pgq.types)
        run = batch.runs.get(key)
        if run is None:
            if batch.closed:
                raise self._unsent(pgq.query, "send parameters that do not change while they are read")
            run = yield from self._clear(pgq)
            batch.add((pgq.query, pgq.types), run)
        elif run.approval is not None and not batch.closed:
            raise refusing.refused(
                Call(pgq.query),
                run.identity,
                self._seat,
                "approval.batch",
                "people have agreed to the first set of parameters, and to no other",
                "send the sets one by one, with execute()",
            )
        self._cleared(pgq, run)
        return run

    def _run(self, run: Run, sending: PQGen[None]) -> PQGen[None]:
        """Send one execution of ``run``; its results come back through :meth:`_check_results`."""
        state = self._state
        state.pending.append(run)
        run.executions += 1
        run.outstanding += 1
        try:
            yield from sending
        except BaseException as error:
            if run in state.pending:
                state.pending.remove(run)
                run.outstanding -= 1
            run.fail(error)
            raise
        finally:
            self._seat.ran(run)

    # -- results

    def _make_row_maker(self) -> Any:
        """Mask before anybody's row factory sees the cursor."""
        state = self._state
        run = state.plans[self._iresult] if self._iresult < len(state.plans) else state.current
        if run is not None and self.pgresult is not None:
            masked.apply(self, run, self.pgresult, state.format)
        return super()._make_row_maker()

    def _check_result_for_fetch(self) -> Any:
        run = self._state.current
        if run is not None:
            self._seat.check_reader(run)
        return super()._check_result_for_fetch()

    def _check_results(self, results: list[PGresult]) -> None:
        state = self._state
        run = state.pending.pop(0) if state.pending else None
        if run is None:
            super()._check_results(results)
            return
        state.current = run
        run.outstanding -= 1
        try:
            super()._check_results(results)
        except BaseException as error:
            run.fail(error)
            raise

    def _set_results(self, results: list[PGresult]) -> None:
        state = self._state
        run = state.current
        if run is None:
            super()._set_results(results)
            return
        for result in results:
            if result.status == TUPLES_OK:
                run.rows_returned += result.ntuples
            if run.statement is None or run.statement.writes:
                run.rows_affected += result.command_tuples or 0
        self._seat.succeeded(run)
        if state.holding is not None:
            state.holding.append((run, results))  # nobody sees a row of it before it is judged
            return
        try:
            if returned.limited(run) is not None and self._execmany_returning is not False:
                base = 0 if self._execmany_returning is None else len(self._results)
                returned.judge(state, run, results, base, self._seat)
            self._deliver(run, results)
        except GovernanceError as error:
            if state.over:
                self._reset()
                self._execmany_returning = False  # results that still come are dropped
            run.fail(error)
            raise
        if not run.outstanding and not run.open_ended and run.guard is None:
            run.finish()
        if state.truncated and state.batch is None:
            self._say()

    def _deliver(self, run: Run, results: list[PGresult]) -> None:
        """Hand results to psycopg, which makes the first of them the cursor's."""
        state = self._state
        if self._execmany_returning is None:
            state.plans[:] = [run] * len(results)
        else:
            state.plans.extend([run] * len(results))
        super()._set_results(results)

    def _say(self) -> None:
        """Warn about a result that was cut."""
        run = self._state.current
        budget = returned.limited(run)
        if self._state.truncated and run is not None and budget is not None:
            returned.say(budget, run)

    @property
    def truncated(self) -> bool:
        """Whether a budget of the policy let fewer rows through than the last statement had."""
        return self._state.truncated

    @property
    def redacted(self) -> tuple[str, ...]:
        """The columns that the last statement read redacted, so that its answer is about marks."""
        run = self._state.current
        return () if run is None else tuple(column.name for column in run.plan.redacted)

    def _select_current_result(self, i: int, format: pq.Format | None = None) -> None:
        state = self._state
        state.format = format
        super()._select_current_result(i, format)
        if i in state.cuts and self.pgresult is not None:
            self._rowcount = state.cuts[i]
            self.pgresult = cast("PGresult", returned.Cut(self.pgresult, state.cuts[i]))
        if state.copying and not state.lazily and state.current is not None and state.current.open_ended:
            state.copying = False  # psycopg selects the result once more when a COPY's block is over
            self._finish_copy()

    # -- the last gate

    def _execute_send(
        self, query: PostgresQuery, *, force_extended: bool = False, binary: bool | None = None
    ) -> None:
        self._gate(query.query)
        if isinstance(query, PostgresClientQuery) and query.types:
            # A token in the text has become a parameter, which a client cursor would not send.
            BaseCursor._execute_send(self, query, force_extended=True, binary=False)
        else:
            super()._execute_send(query, force_extended=force_extended, binary=binary)
        if self._state.asked is not None:
            self._query = self._state.asked  # psycopg notes here what was sent

    def _send_prepare(self, name: bytes, query: PostgresQuery) -> None:
        self._gate(query.query)
        super()._send_prepare(name, query)

    def _send_query_prepared(self, name: bytes, pgq: PostgresQuery, *, binary: bool | None = None) -> None:
        self._gate(pgq.query)
        super()._send_query_prepared(name, pgq, binary=binary)

    # -- stream

    def _stream_send_gen(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int
    ) -> PQGen[None]:
        # psycopg sends before it looks at the size; looking first is the only difference, so that a
        # call with a bad size leaves no intent without an outcome.
        if size < 1:
            raise ValueError("size must be >= 1")
        if size > 1:
            capabilities.has_stream_chunked(check=True)
        state = self._state
        state.batch = None
        yield from self._start_query(query)
        pgq = self._convert_query(query, params)
        state.streams = True
        try:
            with self._seat.opened_by(state.opener):
                run = yield from patiently(self._seat, lambda: self._clear(pgq))
        finally:
            state.streams = False
        run.executions = 1
        run.open_ended = True
        try:
            self._execute_send(self._sent(run, pgq), binary=binary, force_extended=True)
            if size == 1:
                self._pgconn.set_single_row_mode()
            else:
                self._pgconn.set_chunked_rows_mode(size)
            self._last_query = query
            yield from generators.send(self._pgconn)
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            self._seat.ran(run)

    def _stream_fetchone_gen(self, first: bool) -> PQGen[PGresult | None]:
        run = self._state.current
        try:
            result: PGresult | None
            if run is not None and not run.finished:
                yield from self._check_stream_gen(run)
            budget = returned.limited(run)
            if budget is None or run is None or run.finished:
                result = yield from super()._stream_fetchone_gen(first)
            else:
                return (yield from self._stream_limited_gen(first, run, budget))
        except BaseException as error:
            if run is not None:
                run.fail(error)
            raise
        if run is None:
            return result
        if result is None:
            run.finish()
        else:
            run.rows_returned += result.ntuples
            masked.cover(self, run, result)
        return result

    def _check_stream_gen(self, run: Run) -> PQGen[None]:
        """Refuse a stream to anybody but whoever opened it; what is left of it is received and dropped."""
        try:
            self._seat.check_reader(run)
        except GovernanceError as error:
            run.fail(error)
            yield from self._drop_gen()
            raise

    def _stream_limited_gen(self, first: bool, run: Run, budget: Budget) -> PQGen[PGresult | None]:
        """Fetch the next rows of a stream whose caller may not have any number of them.

        Where the budget refuses, nothing is handed out before it is known that all of it may be: as many
        rows are kept here as the caller may have. What is too much is received and dropped, because
        cancelling would take the caller's transaction with it.
        """
        state, seat = self._state, self._seat
        if first and budget.over == "refuse":
            yield from self._receive_all_gen(run, budget)
        result = state.ahead.popleft() if state.ahead else (yield from generators.fetch(self._pgconn))
        if result is None or result.status not in _STREAMED:
            if result is not None and result.status != TUPLES_OK:
                if result.status != COMMAND_OK:
                    self._raise_for_result(result)
                yield from self._drop_gen()
                raise e.ProgrammingError("the operation in stream() didn't produce a result")
            yield from self._drop_gen()
            run.finish()
            return None
        granted = returned.grant(budget, run, state.handed, result.ntuples, seat)
        if granted < result.ntuples and budget.over == "refuse":
            yield from self._drop_gen()  # somebody else of the session took what was left
            raise returned.refused(budget, run, seat)
        state.handed += granted
        run.rows_returned += granted
        if granted < result.ntuples:
            state.truncated = run.truncated = True
            yield from self._drop_gen()
            run.finish()
            returned.say(budget, run)
            if not granted:
                return None
        self.pgresult = result
        self._tx.set_pgresult(result, set_loaders=first)
        if first:
            self._make_row = self._make_row_maker()
        masked.cover(self, run, result)
        if granted < result.ntuples:
            self.pgresult = cast("PGresult", returned.Cut(self.pgresult, granted))
            return self.pgresult
        return result

    def _receive_all_gen(self, run: Run, budget: Budget) -> PQGen[None]:
        received = 0
        ahead, seat = self._state.ahead, self._seat
        room = returned.left(budget, run, 0, seat)
        while (result := (yield from generators.fetch(self._pgconn))) is not None:
            if result.status not in _STREAMED:
                ahead.append(result)
                break
            received += result.ntuples
            if received <= room:
                ahead.append(result)
        if received > room:
            ahead.clear()
            yield from self._drop_gen()
            raise returned.refused(budget, run, seat)

    def _drop_gen(self) -> PQGen[None]:
        """Receive what is left of a result, and forget it."""
        while (yield from generators.fetch(self._pgconn)) is not None:
            pass

    # -- copy

    def _start_copy_gen(self, statement: Query, params: Params | None = None) -> PQGen[None]:
        if self._conn._pipeline:
            raise e.NotSupportedError("COPY cannot be used in pipeline mode")
        self._state.batch = None
        yield from self._start_query()
        if params or isinstance(statement, Template):
            merged = PostgresClientQuery(self._tx)
            merged.convert(statement, params)
            statement = merged.query
        pgq = self._convert_query(statement)
        with self._seat.opened_by(self._state.opener):
            run = yield from patiently(self._seat, lambda: self._clear(pgq, copies=True))
        run.executions = 1
        run.open_ended = True
        try:
            self._execute_send(self._sent(run, pgq), binary=False)
            results = yield from generators.execute(self._pgconn)
            if len(results) != 1:
                raise e.ProgrammingError("COPY cannot be mixed with other operations")
            self._check_copy_result(results[0])
            super()._set_results(results)
            self._state.copying = True
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            self._seat.ran(run)

    def _finish_copy(self, error: BaseException | None = None) -> None:
        """Close the record of a COPY whose block is over."""
        run = self._state.current
        self._state.copying = False
        if run is None or run.finished:
            return
        run.open_ended = False
        run.rows_affected = max(self._rowcount, 0)
        if error is None:
            run.finish()
        else:
            run.fail(error)

    def _end_copy_gen(self, error: BaseException | None = None) -> PQGen[None]:
        """End a COPY whose block is over: one that was guarded stands, or is undone above its cap."""
        run = self._state.current
        if run is not None and run.guard is not None and not run.finished:
            run.rows_affected = max(self._rowcount, 0)
            try:
                if error is None:
                    yield from guards.settle(self, run, run.call)
                else:
                    yield from guards.leave(self, run.block, error)
            except BaseException as failure:
                self._finish_copy(failure)
                raise
        self._finish_copy(error)


def _unguardable(run: Run) -> GovernanceError:
    assert run.decision is not None
    return StatementBlocked(
        f"stream() and copy() cannot count the rows a write touches before they are handed out"
        f" [rule {run.decision.rule}]. Use execute().",
        decision=run.decision,
        remedy="use execute()",
    )

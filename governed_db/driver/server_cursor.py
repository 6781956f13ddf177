"""Governed server-side cursors: DECLARE is judged, FETCH comes back masked, to whoever opened them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from psycopg import errors as e
from psycopg import generators, pq, sql
from psycopg._server_cursor_base import ServerCursorMixin
from psycopg.abc import Params, PQGen, Query

from governed_db import admission, refusing
from governed_db.audit import record
from governed_db.driver import masked, returned
from governed_db.driver.announcement import MAX_NAME
from governed_db.driver.cursor import GovernedCursor
from governed_db.identity import standing
from governed_db.policy.model import Budget
from governed_db.run import Call, Run

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

COMMAND_OK = pq.ExecStatus.COMMAND_OK

# A plain mixin, for the reason that GovernedCursor is one.
if TYPE_CHECKING:
    _ServerCursor = ServerCursorMixin[Any, Any]
else:
    _ServerCursor = object


class GovernedServerCursor(GovernedCursor, _ServerCursor):
    """What governed server-side cursors add: DECLARE is judged, FETCH comes back masked."""

    __slots__ = ()

    @property
    def _key(self) -> str:
        """The name as the server keeps it, which cuts long ones."""
        return self._name.encode()[:MAX_NAME].decode(errors="ignore")

    def _declare_gen(
        self, query: Query, params: Params | None = None, binary: bool | None = None
    ) -> PQGen[None]:
        query = self._make_declare_statement(query)
        if self._described:
            yield from self._close_gen()
            self._described = False
        self._iter_rows = None
        yield from self._start_query(query)
        pgq = self._convert_query(query, params)
        run = yield from self._clear(pgq)
        run.executions = 1
        try:
            self._execute_send(self._sent(run, pgq), force_extended=True)
            results = yield from generators.execute(self._conn.pgconn)
            if results[-1].status != COMMAND_OK:
                self._raise_for_result(results[-1])
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            self._seat.ran(run)
        self._seat.succeeded(run)
        run.finish()
        self._format = self.format if binary is None else (pq.Format.BINARY if binary else pq.Format.TEXT)
        yield from self._describe_gen()

    def _describe_gen(self) -> PQGen[None]:
        state = self._state
        opened = self._seat.declared.get(self._key)
        if opened is None or state.current is not opened:
            # Reading a cursor by its name that another one, or a function, opened.
            self._check_opener(opened)
            state.current = opened
        pending, state.pending = state.pending, []
        try:
            yield from super()._describe_gen()
        finally:
            state.pending = pending

    def _fetch_gen(self, num: int | None) -> PQGen[list[Any]]:
        if self._described:
            self._check_opener(self._state.current)
        elif not self.closed and self._seat.governor.enforce:
            # Read by its name alone: whose it is, and under which budget, has to be known before.
            yield from self._start_query()
            yield from self._describe_gen()
        run = self._state.current
        budget = returned.limited(run)
        if budget is not None and run is not None:
            return (yield from self._fetch_limited_gen(num, run, budget))
        rows = yield from super()._fetch_gen(num)
        run = self._state.current
        if run is not None:
            run.rows_returned += len(rows)
            if self.pgresult is not None:
                masked.check(self, run, self.pgresult)
                masked.cover(self, run, self.pgresult)
        return rows

    def _fetch_limited_gen(self, num: int | None, run: Run, budget: Budget) -> PQGen[list[Any]]:
        """Fetch no more than the budget leaves, and one row to know whether there are more."""
        if self.closed:
            raise e.InterfaceError("the cursor is closed")
        state, seat = self._state, self._seat
        if state.truncated:
            return []
        room = returned.left(budget, run, run.rows_returned, seat)
        wanted = room + 1 if num is None else min(num, room + 1)
        query = sql.SQL("FETCH FORWARD {} FROM {}").format(sql.Literal(wanted), sql.Identifier(self._name))
        connection: Any = self._conn
        result = yield from connection._exec_command(query, result_format=self._format)
        masked.check(self, run, result)
        granted = returned.grant(budget, run, run.rows_returned, result.ntuples, seat)
        if granted < result.ntuples and budget.over == "refuse":
            raise returned.refused(budget, run, seat)
        run.rows_returned += granted
        self.pgresult = result
        self._tx.set_pgresult(result, set_loaders=False)
        masked.cover(self, run, result)
        if granted < result.ntuples:
            state.truncated = run.truncated = True
            self.pgresult = cast("PGresult", returned.Cut(self.pgresult, granted))
            seat.governor.trail.event(
                "result.truncated",
                who=record.who(run.identity),
                rule=budget.rule("rows_returned"),
                rows_returned=run.rows_returned,
            )
            returned.say(budget, run)
        return self._tx.load_rows(0, granted, self._make_row)

    def _scroll_gen(self, value: int, mode: str) -> PQGen[None]:
        opened = self._seat.declared.get(self._key)
        if opened is not None:
            self._check_opener(opened)
        yield from super()._scroll_gen(value, mode)

    def _check_opener(self, opened: Run | None) -> None:
        """Refuse a masked caller the rows of a cursor that was not opened, as it is now, by itself."""
        seat = self._seat
        caller = seat.caller()
        if opened is not None:
            # Rows are read anew with each FETCH. Behind the end of its block nobody says who reads, and it is
            # whoever opened it.
            reader = opened.identity if caller == seat.governor.default_identity else caller
            admission.unexpired(opened.call, reader, seat)
        if not seat.governor.masks(caller):
            seat.check_opener(opened)
            return
        mine = opened is not None and standing(opened.identity) == standing(caller)
        if not mine or seat.declared.get(self._key) is not opened:
            raise refusing.refused(
                Call(b"") if opened is None else opened.call,
                caller,
                seat,
                "masking.cursor",
                "this server-side cursor was not opened, as it is now, by this caller through this"
                " connection, so its columns cannot be masked",
                "execute the query on a server-side cursor of your own",
            )
        if not seat.still_cleared(opened, caller):
            raise refusing.refused(
                Call(b"") if opened is None else opened.call,
                caller,
                seat,
                "grant.over",
                "the grant under which this server-side cursor was opened does not hold any more",
                "close it and execute the query again; columns are masked then, unless they are granted anew",
            )

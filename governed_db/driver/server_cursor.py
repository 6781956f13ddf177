"""Governed server-side cursors: DECLARE is judged, FETCH comes back masked, to whoever opened them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import generators, pq
from psycopg._server_cursor_base import ServerCursorMixin
from psycopg.abc import Params, PQGen, Query

from governed_db.driver import masked
from governed_db.driver.cursor import GovernedCursor
from governed_db.errors import StatementBlocked
from governed_db.identity import standing
from governed_db.run import Run

COMMAND_OK = pq.ExecStatus.COMMAND_OK

# A plain mixin, for the reason that GovernedCursor is one.
if TYPE_CHECKING:
    _ServerCursor = ServerCursorMixin[Any, Any]
else:
    _ServerCursor = object


class GovernedServerCursor(GovernedCursor, _ServerCursor):
    """What governed server-side cursors add: DECLARE is judged, FETCH comes back masked."""

    __slots__ = ()

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
            self._execute_send(pgq, force_extended=True)
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
        opened = self._seat.declared.get(self._name)
        if state.current is not opened:
            # Reading a cursor by its name that another one opened.
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
        rows = yield from super()._fetch_gen(num)
        run = self._state.current
        if run is not None:
            run.rows_returned += len(rows)
            if self.pgresult is not None:
                masked.check(self, run, self.pgresult)
                masked.cover(self, run, self.pgresult)
        return rows

    def _check_opener(self, opened: Run | None) -> None:
        """Refuse a masked caller the rows of a cursor that was not opened, as it is now, by itself."""
        seat = self._seat
        caller = seat.caller()
        if not seat.governor.masks(caller):
            return
        mine = opened is not None and standing(opened.identity) == standing(caller)
        if not mine or seat.declared.get(self._name) is not opened:
            raise StatementBlocked(
                "this server-side cursor was not opened, as it is now, by this caller through this"
                " connection, so its columns cannot be masked [rule masking.cursor]. Execute the query on a"
                " server-side cursor of your own.",
                rule="masking.cursor",
                remedy="execute the query on a server-side cursor of your own",
            )

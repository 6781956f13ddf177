"""Governed connections, sync and async: psycopg's, with a seat on the way of a statement."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any, Self
from weakref import ref

import psycopg
from psycopg import ConnectionInfo, Notify, generators, pq
from psycopg._connection_base import BaseConnection
from psycopg.abc import RV, AdaptContext, ConnParam, PQGen, QueryNoTemplate
from psycopg.rows import AsyncRowFactory, Row, RowFactory
from psycopg.sql import Composable

from governed_db import pipeline
from governed_db.driver import commands, cursors, errors, pauses, raw, settings, timeouts
from governed_db.driver.adopt import adopt
from governed_db.driver.seat import Seat
from governed_db.governor import Governor, default_governor
from governed_db.identity import Identity
from governed_db.policy.model import Budget
from governed_db.run import Call, Run

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

TEXT = pq.Format.TEXT


class GovernedConnection(BaseConnection[Row]):
    """What sync and async governed connections share: the seat, and the generators that send."""

    _seat: Seat
    _pgconn: PGconn

    @property
    def pgconn(self) -> PGconn:
        """The libpq connection.

        Under an enforcing policy only psycopg and this library get the real one: anybody else gets its
        state, without the methods that would send SQL past the policy.
        """
        return raw.pgconn(self._pgconn, self._seat)

    @pgconn.setter
    def pgconn(self, value: PGconn) -> None:
        self._pgconn = value
        if (seat := getattr(self, "_seat", None)) is None:
            self._seat = Seat(governor=default_governor(), pgconn=value, connection=ref(self))
        else:
            seat.pgconn = value

    @property
    def info(self) -> ConnectionInfo:
        """See :attr:`psycopg.Connection.info`."""
        return ConnectionInfo(raw.shown(self._pgconn, self._seat))

    @property
    def identity(self) -> Identity:
        """Who a statement sent now would be attributed to."""
        return self._seat.caller()

    @property
    def governor(self) -> Governor:
        """The governor that decides for this connection."""
        return self._seat.governor

    def _take_seat(self, governor: Governor | None, identity: Identity | None) -> PQGen[None]:
        """Bind the connection to a governor and an owner, and learn what names mean on it."""
        seat = self._seat
        if governor is not None and not isinstance(governor, Governor):
            raise TypeError(f"governor takes a Governor, got {type(governor).__name__}")
        if identity is not None and not isinstance(identity, Identity):
            raise TypeError(f"identity takes an Identity, got {type(identity).__name__}")
        if governor is not None:
            seat.governor = governor
        seat.own = identity
        if seat.governor.enforce:
            yield from seat.keep_up()
            settings.check_connection(seat)

    def _start_query(self) -> PQGen[None]:
        seat = self._seat
        if seat.beginning == "later":
            return
        if not seat.beginning and seat.governor.enforce:
            # Only a cursor asks for this, and a governed one says so: whoever else asks would send next.
            raise pipeline.refused(
                Call(b""),
                seat.caller(),
                seat,
                "driver.gate",
                "this cursor's statement has not been judged",
                "use a cursor class of governed_db, and override only public methods of it",
            )
        yield from super()._start_query()

    def _exec_command(
        self, command: QueryNoTemplate, result_format: pq.Format = TEXT
    ) -> PQGen[PGresult | None]:
        """Send one of psycopg's own commands (BEGIN, SAVEPOINT, FETCH, ...), on record like any other."""
        self._check_connection_ok()
        if isinstance(command, str):
            command = command.encode(self._pgconn._encoding)
        elif isinstance(command, Composable):
            command = command.as_bytes(self)
        seat = self._seat
        if type(command) is not bytes:
            command = bytes(memoryview(command))
        own = commands.recognise(command, seat)
        if own is not None and seat.governor.enforce and commands.begins(own):
            # Before the record of BEGIN: records stand in the order of sending.
            yield from seat.keep_up()
            limits = self._limits(seat.budget or seat.governor.policy.budget(seat.caller()))
            if limits:
                return (yield from self._exec_together((command,), limits))
        if own is not None:
            run = seat.governor.trail.command(command, seat.caller(), seat, statement=own)
        else:  # not one of psycopg's: whoever calls this private method is judged like anybody
            run = yield from self._clear(Call(command))
        try:
            result = yield from super()._exec_command(command, result_format)
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            commands.note(run, seat)
        if self._pipeline:
            # psycopg's queue says "nobody's result" there; the stand-in checks it the same way and
            # closes the record.
            self._pipeline.result_queue[-1] = (commands.Awaited(self, run), None)  # type: ignore[assignment]
        else:
            if result is not None and result.status == pq.ExecStatus.TUPLES_OK:
                run.rows_returned = result.ntuples
            run.finish()
        return result

    def _clear(self, call: Call) -> PQGen[Run]:
        seat = self._seat
        if seat.governor.enforce:
            run = yield from pipeline.clear(call, seat)
            if run.guard is not None:
                raise pipeline.refused(
                    call,
                    run.identity,
                    seat,
                    "driver.gate",
                    "this private method cannot count the rows that a statement writes",
                    "use execute()",
                )
        else:
            run = pipeline.watch(call, seat)
        seat.governor.trail.intent(run, seat)
        return run

    def _limits(self, budget: Budget) -> timeouts.Needed:
        """Return the timeouts to set in the transaction that is open or about to be."""
        return self._seat.timeouts.needed(budget, in_transaction=True)

    def _exec_together(
        self, texts: tuple[bytes, ...], limits: timeouts.Needed = (), *, in_transaction: bool = True
    ) -> PQGen[PGresult | None]:
        """Send commands of ours and the timeouts after them: one message, on record as it is sent.

        In a pipeline, which takes one command a message, they follow one another without waiting.
        """
        self._check_connection_ok()
        seat = self._seat
        texts += timeouts.commands(limits, in_transaction=in_transaction)
        trail = seat.governor.trail
        first: PGresult | None = None
        if self._pipeline:
            for text in texts:
                run = trail.command(text, seat.caller(), seat)
                yield from super()._exec_command(text)
                self._pipeline.result_queue[-1] = (commands.Awaited(self, run), None)  # type: ignore[assignment]
                commands.note(run, seat)
        else:
            text = b"; ".join(texts)
            run = trail.command(text, seat.caller(), seat)
            try:
                self._pgconn.send_query(text)
                results = yield from generators.execute(self._pgconn)
                for result in results:
                    if result.status != pq.ExecStatus.COMMAND_OK:
                        raise psycopg.errors.error_from_result(result, encoding=self._pgconn._encoding)
                first = results[0]
            except BaseException as error:
                run.fail(error)
                raise
            finally:
                commands.note(run, seat)
            run.finish()
        seat.timeouts.set(limits, in_transaction=in_transaction)
        return first

    def _hold_to(self, budget: Budget) -> PQGen[None]:
        """Put the timeouts of ``budget`` in force where no BEGIN carries them, and take back another's."""
        seat = self._seat
        status = self._pgconn.transaction_status
        inside = bool(seat.transaction) or status == pq.TransactionStatus.INTRANS
        if status == pq.TransactionStatus.INERROR or (not inside and not self._autocommit):
            return
        needed = seat.timeouts.needed(budget, in_transaction=inside)
        if not needed:
            return
        if inside:
            seat.timeouts.moved = True
            yield from self._exec_together((), needed)
            return
        # In a pipeline everything up to the next sync is one transaction, which can roll a SET back.
        yield from seat.drain()
        yield from self._exec_together((), needed, in_transaction=False)
        yield from seat.drain()


class Connection(GovernedConnection[Row], psycopg.Connection[Row]):
    """A :class:`psycopg.Connection` whose every statement is attributed, judged, masked and recorded."""

    __module__ = "governed_db"

    def __init__(self, pgconn: PGconn, *args: Any, **kwargs: Any) -> None:
        super().__init__(pgconn, *args, **kwargs)
        self.cursor_factory = cursors.Cursor
        self.server_cursor_factory = cursors.ServerCursor
        errors.guard_notices(self)
        errors.guard_notifications(self)

    @classmethod
    def connect(  # type: ignore[override]  # two keywords more, which psycopg would hand on to libpq
        cls,
        conninfo: str = "",
        *,
        governor: Governor | None = None,
        identity: Identity | None = None,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: RowFactory[Row] | None = None,
        cursor_factory: type[psycopg.Cursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect as :meth:`psycopg.Connection.connect` does, under a governor.

        Args:
            governor: what decides and records; ``None``: the process's (:func:`governed_db.configure`).
            identity: whose connection it is, where no :func:`~governed_db.acting_as` says otherwise.
        """
        connection = super().connect(
            conninfo,
            autocommit=autocommit,
            prepare_threshold=prepare_threshold,
            context=context,
            row_factory=row_factory,
            cursor_factory=cursor_factory,
            **kwargs,
        )
        try:
            connection.wait(connection._take_seat(governor, identity))
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """See :meth:`psycopg.Connection.close`."""
        super().close()
        if self.closed:
            self._seat.abandon()

    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> Generator[Notify]:
        """See :meth:`psycopg.Connection.notifies`."""
        with closing(super().notifies(timeout=timeout, stop_after=stop_after)) as heard:
            for notification in heard:
                yield errors.heard(notification, self._seat)

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """See :meth:`psycopg.Connection.pipeline`."""
        with super().pipeline() as pipeline:
            raw.fence(pipeline)
            yield pipeline

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """See :meth:`psycopg.Connection.wait`. Every generator that sends anything comes through here."""
        try:
            result: RV = super().wait(adopt(gen), *args, **kwargs)
            return result
        except psycopg.Error as error:
            if self.closed:
                self._seat.abandon()
            safe = errors.scrub(error, self._seat)
            if safe is None:
                raise
        # Outside of the except block: the original must not travel along as the context.
        raise safe


class AsyncConnection(GovernedConnection[Row], psycopg.AsyncConnection[Row]):
    """A :class:`psycopg.AsyncConnection` whose every statement is attributed, judged, masked and recorded."""

    __module__ = "governed_db"

    def __init__(self, pgconn: PGconn, *args: Any, **kwargs: Any) -> None:
        super().__init__(pgconn, *args, **kwargs)
        self.cursor_factory = cursors.AsyncCursor
        self.server_cursor_factory = cursors.AsyncServerCursor
        errors.guard_notices(self)
        errors.guard_notifications(self)

    @classmethod
    async def connect(  # type: ignore[override]  # two keywords more, which psycopg would hand on to libpq
        cls,
        conninfo: str = "",
        *,
        governor: Governor | None = None,
        identity: Identity | None = None,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect as :meth:`psycopg.AsyncConnection.connect` does, under a governor.

        Args:
            governor: what decides and records; ``None``: the process's (:func:`governed_db.configure`).
            identity: whose connection it is, where no :func:`~governed_db.acting_as` says otherwise.
        """
        connection = await super().connect(
            conninfo,
            autocommit=autocommit,
            prepare_threshold=prepare_threshold,
            context=context,
            row_factory=row_factory,
            cursor_factory=cursor_factory,
            **kwargs,
        )
        try:
            await connection.wait(connection._take_seat(governor, identity))
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """See :meth:`psycopg.AsyncConnection.close`."""
        await super().close()
        if self.closed:
            self._seat.abandon()

    async def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> AsyncGenerator[Notify]:
        """See :meth:`psycopg.AsyncConnection.notifies`."""
        async with aclosing(super().notifies(timeout=timeout, stop_after=stop_after)) as heard:
            async for notification in heard:
                yield errors.heard(notification, self._seat)

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[psycopg.AsyncPipeline]:
        """See :meth:`psycopg.AsyncConnection.pipeline`."""
        async with super().pipeline() as pipeline:
            raw.fence(pipeline)
            yield pipeline

    async def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """See :meth:`psycopg.AsyncConnection.wait`. Every generator that sends comes through here."""
        try:
            if self._seat.governor.counsel is None:
                return await super().wait(adopt(gen), *args, **kwargs)
            waiter = super().wait
            return await pauses.wait(lambda part: waiter(part, *args, **kwargs), adopt(gen))
        except psycopg.Error as error:
            if self.closed:
                self._seat.abandon()
            safe = errors.scrub(error, self._seat)
            if safe is None:
                raise
        # Outside of the except block: the original must not travel along as the context.
        raise safe

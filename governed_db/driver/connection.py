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

from governed_db import pipeline, refusing
from governed_db.driver import (
    announce,
    announcement,
    commands,
    cursors,
    errors,
    pauses,
    raw,
    settings,
    timeouts,
)
from governed_db.driver.adopt import adopt
from governed_db.driver.announcement import Announcement
from governed_db.driver.commands import is_statement
from governed_db.driver.seat import Seat
from governed_db.governor import Governor, default_governor
from governed_db.identity import NOBODY, Identity
from governed_db.policy.model import Budget
from governed_db.run import Call, Run
from governed_db.statement import EffectKind, Statement, Unreadable

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
            raise refusing.refused(
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
        if own is not None and seat.governor.enforce:
            if commands.begins(own):
                # Before the record of BEGIN: records stand in the order of sending.
                yield from seat.keep_up()
                limits = self._limits(seat.budget or seat.governor.policy.budget(seat.caller()))
                return (yield from self._begin_with((command,), limits, announce.needed(seat)))
            if is_statement(own, EffectKind.FETCH):
                yield from self._announce(seat.opener_of(own))
            elif own.tag == "COMMIT" and seat.announced.held:
                yield from self._announce(next(iter(seat.announced.held.values())))
        return (yield from self._send_command(command, own, result_format))

    def _send_command(
        self, command: bytes, own: Statement | None, result_format: pq.Format
    ) -> PQGen[PGresult | None]:
        seat = self._seat
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
                raise refusing.refused(
                    call,
                    run.identity,
                    seat,
                    "driver.gate",
                    "this private method cannot count the rows that a statement writes",
                    "use execute()",
                )
            yield from self._announce()
        else:
            run = pipeline.watch(call, seat)
        seat.governor.trail.intent(run, seat)
        return run

    def _limits(self, budget: Budget) -> timeouts.Needed:
        """Return the timeouts to set in the transaction that is open or about to be."""
        return self._seat.timeouts.needed(budget, in_transaction=True)

    def _begin_with(
        self, texts: tuple[bytes, ...], limits: timeouts.Needed, wanted: Announcement | None
    ) -> PQGen[PGresult | None]:
        """Send a BEGIN with what has to be in force behind it; where that fails, nothing stays open."""
        idle = self._pgconn.transaction_status == pq.TransactionStatus.IDLE
        try:
            return (yield from self._exec_together(texts, limits, wanted=wanted))
        except psycopg.Error:
            failed = self._pgconn.transaction_status == pq.TransactionStatus.INERROR
            if idle and failed and not self._pipeline:
                yield from self._exec_together((b"ROLLBACK",))
            raise

    def _exec_together(
        self,
        texts: tuple[bytes, ...],
        limits: timeouts.Needed = (),
        *,
        in_transaction: bool = True,
        wanted: Announcement | None = None,
    ) -> PQGen[PGresult | None]:
        """Send commands of ours, and behind them the timeouts and the caller: one message, on record.

        In a pipeline, which takes one command a message, they follow one another without waiting.

        Raises:
            StatementBlocked: the server cannot be told of the caller.
        """
        self._check_connection_ok()
        seat = self._seat
        texts += timeouts.commands(limits, in_transaction=in_transaction)
        outline = texts
        before = len(texts)
        if wanted is not None:
            texts += announce.texts(seat, wanted, local=in_transaction)
            outline += announcement.outline(wanted.names, local=in_transaction)
            if in_transaction:
                seat.announced.doubt()
            else:
                seat.announced.forget()
        first: PGresult | None = None
        if self._pipeline:
            for text, shown in zip(texts, outline, strict=True):
                run = self._own(text, shown)
                yield from super()._exec_command(text)
                self._pipeline.result_queue[-1] = (commands.Awaited(self, run), None)  # type: ignore[assignment]
                commands.note(run, seat)
        else:
            run = self._own(b"; ".join(texts), b"; ".join(outline))
            try:
                self._pgconn.send_query(run.call.text)
                results = yield from generators.execute(self._pgconn)
                for place, result in enumerate(results):
                    if result.status != pq.ExecStatus.COMMAND_OK:
                        error = psycopg.errors.error_from_result(result, encoding=self._pgconn._encoding)
                        said = wanted is not None and place >= before and announce.is_about(error)
                        if said or (wanted is not None and announce.is_unsayable(error)):
                            raise announce.unsaid(seat, error) from None
                        raise error
                first = results[0]
            except BaseException as error:
                run.fail(error)
                raise
            finally:
                commands.note(run, seat)
            run.finish()
        seat.timeouts.set(limits, in_transaction=in_transaction)
        if wanted is not None:
            announce.follow(seat, wanted, local=in_transaction)
        return first

    def _own(self, text: bytes, outline: bytes) -> Run:
        """Put commands of ours on record, by an outline without the values that they set."""
        seat = self._seat
        try:
            statement = seat.governor.read(outline, seat)
        except Unreadable:
            statement = None
        return seat.governor.trail.command(text, seat.caller(), seat, statement=statement)

    def _announce(self, caller: Identity | None = None) -> PQGen[None]:
        """Tell the server of ``caller`` (the one in force) where no BEGIN has done so."""
        if announce.needed(self._seat, caller) is not None:
            yield from self._hold_to(None, caller)

    def _hold_to(self, budget: Budget | None, caller: Identity | None = None) -> PQGen[None]:
        """Put in force what no BEGIN carries: the timeouts of ``budget``, and whom the server is told of.

        What another caller had is taken back.
        """
        seat = self._seat
        wanted = announce.needed(seat, caller)
        if wanted is not None:
            yield from seat.drain()  # behind a sync it is certain whether a transaction is open
        status = self._pgconn.transaction_status
        if status == pq.TransactionStatus.INERROR:
            return
        inside = status == pq.TransactionStatus.INTRANS
        if wanted is None and self._pipeline:
            inside = inside or bool(seat.transaction)  # a BEGIN may wait to be sent
        if wanted is not None and not inside and seat.governor.announces_apart:
            # Under another policy something may have been, which is taken back.
            wanted = announce.needed(seat, NOBODY) if seat.announced.outside else None
        if wanted is not None and inside:
            announce.check_held(seat, caller or seat.caller())
        needed: timeouts.Needed = ()
        if budget is not None and (inside or self._autocommit):
            needed = seat.timeouts.needed(budget, in_transaction=inside)
        if not needed and wanted is None:
            return
        if inside:
            seat.timeouts.moved = seat.timeouts.moved or bool(needed)
            seat.announced.moved = seat.announced.moved or wanted is not None
            yield from self._exec_together((), needed, wanted=wanted)
            return
        # In a pipeline everything up to the next sync is one transaction, which can roll a SET back.
        yield from seat.drain()
        yield from self._exec_together((), needed, in_transaction=False, wanted=wanted)
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
            if not self._seat.governor.enforce:  # nothing but the server is asked
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

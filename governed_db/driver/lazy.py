"""stream() and copy(): what is called now and sent later, attributed to who called it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import TYPE_CHECKING, Any

from psycopg import AsyncCopy, Copy
from psycopg.abc import Params, Query
from psycopg.copy import AsyncWriter, Writer

from governed_db.driver import copying
from governed_db.driver.cursor import GovernedCursor

if TYPE_CHECKING:
    from contextlib import _AsyncGeneratorContextManager, _GeneratorContextManager


class SyncLazy(GovernedCursor):
    """For sync cursors."""

    __slots__ = ()

    def stream(self, query: Query, params: Params | None = None, **kwargs: Any) -> Iterator[Any]:
        """See :meth:`psycopg.Cursor.stream`."""
        self._state.opener = self._seat.caller()
        rows: Iterator[Any] = super().stream(query, params, **kwargs)  # type: ignore[misc]
        return rows

    def copy(
        self, statement: Query, params: Params | None = None, *, writer: Writer | None = None
    ) -> _GeneratorContextManager[Copy]:
        """See :meth:`psycopg.Cursor.copy`."""
        self._state.opener = self._seat.caller()
        self._state.lazily = True
        return self._copy(super().copy(statement, params, writer=writer))  # type: ignore[misc]

    @contextmanager
    def _copy(self, block: AbstractContextManager[Copy]) -> Iterator[Copy]:
        try:
            with block as copy:
                copying.watch(copy, self)
                yield copy
        except BaseException as error:
            self._end_copy(error)
            raise
        self._end_copy()

    def _end_copy(self, error: BaseException | None = None) -> None:
        self._state.lazily = False
        if not copying.is_guarded(self):
            self._finish_copy(error)
            return
        connection: Any = self._conn
        with connection.lock:
            connection.wait(self._end_copy_gen(error))


class AsyncLazy(GovernedCursor):
    """For async cursors."""

    __slots__ = ()

    def stream(self, query: Query, params: Params | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """See :meth:`psycopg.AsyncCursor.stream`."""
        self._state.opener = self._seat.caller()
        rows: AsyncIterator[Any] = super().stream(query, params, **kwargs)  # type: ignore[misc]
        return rows

    def copy(
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> _AsyncGeneratorContextManager[AsyncCopy]:
        """See :meth:`psycopg.AsyncCursor.copy`."""
        self._state.opener = self._seat.caller()
        self._state.lazily = True
        return self._copy(super().copy(statement, params, writer=writer))  # type: ignore[misc]

    @asynccontextmanager
    async def _copy(self, block: AbstractAsyncContextManager[AsyncCopy]) -> AsyncIterator[AsyncCopy]:
        try:
            async with block as copy:
                copying.watch(copy, self)
                yield copy
        except BaseException as error:
            await self._end_copy(error)
            raise
        await self._end_copy()

    async def _end_copy(self, error: BaseException | None = None) -> None:
        self._state.lazily = False
        if not copying.is_guarded(self):
            self._finish_copy(error)
            return
        connection: Any = self._conn
        async with connection.lock:
            await connection.wait(self._end_copy_gen(error))

"""The cursor classes themselves: each of psycopg's with the governed mixin in front."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg.abc import Params, Query
from psycopg.copy import AsyncWriter, Writer
from psycopg.rows import Row

from governed_db.driver.cursor import GovernedCursor, GovernedServerCursor
from governed_db.driver.seat import CursorState


class _Slotted(GovernedCursor):
    """Keeps the cursor's state in a slot, which our own classes can have and adopted ones cannot."""

    __slots__ = ()
    _held: CursorState

    @property
    def _state(self) -> CursorState:
        try:
            return self._held
        except AttributeError:
            self._held = CursorState()
            return self._held


class _SyncCopy(_Slotted):
    __slots__ = ()

    @contextmanager
    def copy(
        self, statement: Query, params: Params | None = None, *, writer: Writer | None = None
    ) -> Iterator[psycopg.Copy]:
        """See :meth:`psycopg.Cursor.copy`."""
        try:
            with super().copy(statement, params, writer=writer) as copy:  # type: ignore[misc]
                yield copy
        except BaseException as error:
            self._finish_copy(error)
            raise
        self._finish_copy()


class _AsyncCopy(_Slotted):
    __slots__ = ()

    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> AsyncIterator[psycopg.AsyncCopy]:
        """See :meth:`psycopg.AsyncCursor.copy`."""
        try:
            async with super().copy(statement, params, writer=writer) as copy:  # type: ignore[misc]
                yield copy
        except BaseException as error:
            self._finish_copy(error)
            raise
        self._finish_copy()


class Cursor(_SyncCopy, psycopg.Cursor[Row]):
    """A governed :class:`psycopg.Cursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class ClientCursor(_SyncCopy, psycopg.ClientCursor[Row]):
    """A governed :class:`psycopg.ClientCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class RawCursor(_SyncCopy, psycopg.RawCursor[Row]):
    """A governed :class:`psycopg.RawCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class ServerCursor(_SyncCopy, GovernedServerCursor, psycopg.ServerCursor[Row]):
    """A governed :class:`psycopg.ServerCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class RawServerCursor(_SyncCopy, GovernedServerCursor, psycopg.RawServerCursor[Row]):
    """A governed :class:`psycopg.RawServerCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncCursor(_AsyncCopy, psycopg.AsyncCursor[Row]):
    """A governed :class:`psycopg.AsyncCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncClientCursor(_AsyncCopy, psycopg.AsyncClientCursor[Row]):
    """A governed :class:`psycopg.AsyncClientCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncRawCursor(_AsyncCopy, psycopg.AsyncRawCursor[Row]):
    """A governed :class:`psycopg.AsyncRawCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncServerCursor(_AsyncCopy, GovernedServerCursor, psycopg.AsyncServerCursor[Row]):
    """A governed :class:`psycopg.AsyncServerCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncRawServerCursor(_AsyncCopy, GovernedServerCursor, psycopg.AsyncRawServerCursor[Row]):
    """A governed :class:`psycopg.AsyncRawServerCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


ALL: tuple[type[Any], ...] = (
    Cursor, ClientCursor, RawCursor, ServerCursor, RawServerCursor,
    AsyncCursor, AsyncClientCursor, AsyncRawCursor, AsyncServerCursor, AsyncRawServerCursor,
)  # fmt: skip

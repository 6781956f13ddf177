"""The cursor classes themselves: each of psycopg's with the governed mixin in front."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import Row

from governed_db.driver.cursor import GovernedCursor
from governed_db.driver.lazy import AsyncLazy, SyncLazy
from governed_db.driver.seat import CursorState
from governed_db.driver.server_cursor import GovernedServerCursor


class Slotted(GovernedCursor):
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


class Cursor(SyncLazy, Slotted, psycopg.Cursor[Row]):
    """A governed :class:`psycopg.Cursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class ClientCursor(SyncLazy, Slotted, psycopg.ClientCursor[Row]):
    """A governed :class:`psycopg.ClientCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class RawCursor(SyncLazy, Slotted, psycopg.RawCursor[Row]):
    """A governed :class:`psycopg.RawCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class ServerCursor(SyncLazy, Slotted, GovernedServerCursor, psycopg.ServerCursor[Row]):
    """A governed :class:`psycopg.ServerCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class RawServerCursor(SyncLazy, Slotted, GovernedServerCursor, psycopg.RawServerCursor[Row]):
    """A governed :class:`psycopg.RawServerCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncCursor(AsyncLazy, Slotted, psycopg.AsyncCursor[Row]):
    """A governed :class:`psycopg.AsyncCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncClientCursor(AsyncLazy, Slotted, psycopg.AsyncClientCursor[Row]):
    """A governed :class:`psycopg.AsyncClientCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncRawCursor(AsyncLazy, Slotted, psycopg.AsyncRawCursor[Row]):
    """A governed :class:`psycopg.AsyncRawCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncServerCursor(AsyncLazy, Slotted, GovernedServerCursor, psycopg.AsyncServerCursor[Row]):
    """A governed :class:`psycopg.AsyncServerCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


class AsyncRawServerCursor(AsyncLazy, Slotted, GovernedServerCursor, psycopg.AsyncRawServerCursor[Row]):
    """A governed :class:`psycopg.AsyncRawServerCursor`."""

    __module__ = "governed_db"
    __slots__ = ("_held",)


ALL: tuple[type[Any], ...] = (
    Cursor, ClientCursor, RawCursor, ServerCursor, RawServerCursor,
    AsyncCursor, AsyncClientCursor, AsyncRawCursor, AsyncServerCursor, AsyncRawServerCursor,
)  # fmt: skip

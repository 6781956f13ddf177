"""One test text for sync and async: what a test calls is awaited where there is something to await."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import governed_db


class Flavour:
    """The classes of one flavour, and how to wait for what they return."""

    def __init__(self, name: str) -> None:
        self.name = name
        prefix = "Async" if name == "async" else ""
        self.Connection: Any = getattr(governed_db, f"{prefix}Connection")
        self.Cursor: Any = getattr(governed_db, f"{prefix}Cursor")
        self.ClientCursor: Any = getattr(governed_db, f"{prefix}ClientCursor")
        self.RawCursor: Any = getattr(governed_db, f"{prefix}RawCursor")
        self.ServerCursor: Any = getattr(governed_db, f"{prefix}ServerCursor")

    @asynccontextmanager
    async def connect(self, dsn: str, **kwargs: Any) -> AsyncIterator[Any]:
        conn = await do(self.Connection.connect(dsn, **kwargs))
        try:
            yield conn
        finally:
            await do(conn.close())


async def do(value: Any) -> Any:
    """Return ``value``, awaited if it can be."""
    return await value if inspect.isawaitable(value) else value


@asynccontextmanager
async def within(manager: Any) -> AsyncIterator[Any]:
    """Enter a context manager of either flavour."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def each(iterable: Any) -> AsyncIterator[Any]:
    """Iterate over an iterable of either flavour."""
    if hasattr(iterable, "__aiter__"):
        async for item in iterable:
            yield item
    else:
        for item in iterable:
            yield item

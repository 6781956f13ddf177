"""Cursors that were made without us around a connection of ours: adopted before they send anything.

``psycopg.Cursor(conn)``, ``TypeInfo.fetch`` and frameworks that construct cursors themselves skip
``cursor_factory``. All of them hand a generator of theirs to ``conn.wait()`` before it has begun: there
the cursor's class is exchanged for its governed twin, and the generator for the twin's.
"""

from __future__ import annotations

from functools import cache
from types import GeneratorType
from typing import Any

import psycopg
from psycopg._cursor_base import BaseCursor
from psycopg._server_cursor_base import ServerCursorMixin

from governed_db.driver.cursor import GovernedCursor
from governed_db.driver.lazy import AsyncLazy, SyncLazy
from governed_db.driver.server_cursor import GovernedServerCursor

_ENTRIES = (
    BaseCursor._execute_gen,
    BaseCursor._executemany_gen_pipeline,
    BaseCursor._executemany_gen_no_pipeline,
    BaseCursor._stream_send_gen,
    BaseCursor._stream_fetchone_gen,
    BaseCursor._start_copy_gen,
    ServerCursorMixin._declare_gen,
    ServerCursorMixin._fetch_gen,
)
"""psycopg's generators that a governed cursor overrides: seeing one at wait() gives a stranger away."""

# By identity: comparing code objects compares their bytecode, and this runs for every statement.
_FOREIGN = {id(entry.__code__) for entry in _ENTRIES}


@cache
def governed(cls: type) -> type:
    """Return the governed twin of an ungoverned cursor class; it has the same layout and the same name."""
    lazy: type = SyncLazy if issubclass(cls, psycopg.Cursor) else AsyncLazy
    mixin = GovernedServerCursor if issubclass(cls, ServerCursorMixin) else GovernedCursor
    return type(cls.__name__, (lazy, mixin, cls), {"__slots__": (), "__module__": cls.__module__})


def adopt(gen: Any) -> Any:
    """Return ``gen``, or the governed generator in its place if it belongs to an ungoverned cursor."""
    if id(getattr(gen, "gi_code", None)) not in _FOREIGN or not isinstance(gen, GeneratorType):
        return gen
    frame = gen.gi_frame
    if frame is None:
        return gen
    arguments = dict(frame.f_locals)
    cursor = arguments.pop("self")
    if isinstance(cursor, GovernedCursor):
        return gen
    name = gen.__name__
    gen.close()
    plain: type = type(cursor)
    cursor.__class__ = governed(plain)
    return getattr(cursor, name)(**arguments)

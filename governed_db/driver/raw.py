"""Keeping ``conn.pgconn`` from being a way around by accident.

Whoever holds the object that psycopg sends with can send anything. Python offers no wall inside one
process, so this is a railing, not a wall: code outside of psycopg, psycopg_pool and this package gets
the connection's state, and an error that says what to do instead where it reaches for a method.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import psycopg

from governed_db.errors import GovernanceError

if TYPE_CHECKING:
    from psycopg._pipeline_base import BasePipeline
    from psycopg.pq.abc import PGconn

    from governed_db.driver.seat import Seat

_INSIDERS = frozenset({"psycopg", "psycopg_pool", "psycopg_c", "psycopg_binary", "governed_db"})

_STATE = frozenset(
    {
        "backend_pid", "db", "fileno", "full_protocol_version", "host", "hostaddr", "info", "needs_password",
        "password", "nonblocking", "options", "parameter_status", "pipeline_status", "port",
        "protocol_version", "server_version", "socket", "ssl_in_use", "status", "transaction_status", "tty",
        "used_gssapi", "used_password", "user", "_encoding", "finish", "pgconn_ptr",
    }
)  # fmt: skip


_WORDS = frozenset({"error_message", "get_error_message"})
"""What the server said last, as long as it quotes nothing masked."""


WITHHELD = "the server's text is withheld because it can quote masked columns"


class GuardedPGconn:
    """A libpq connection's state, without the methods that send."""

    __slots__ = ("_read",)

    def __init__(self, pgconn: PGconn, seat: Seat) -> None:
        def read(name: str) -> Any:
            value = getattr(pgconn, name)
            if name in _WORDS and seat.mumbles():
                return (lambda encoding="": WITHHELD) if callable(value) else WITHHELD.encode()
            return value

        self._read = read

    def __getattr__(self, name: str) -> Any:
        if name in _STATE or name in _WORDS:
            return self._read(name)
        raise GovernanceError(
            f"conn.pgconn.{name} goes around the policy and the trail",
            rule="driver.pgconn",
            remedy="use conn.execute(), a cursor, or conn.notifies(); for deliberate raw access open a plain"
            " psycopg connection",
        )


_KEEPERS = frozenset({"psycopg.transaction"})
"""Modules that keep what they get in a public attribute, and need no more than the connection's state."""


def pgconn(real: PGconn, seat: Seat) -> PGconn:
    """Return ``real`` to psycopg, to us, and to everybody under ``observe``; its state to anybody else."""
    if not seat.governor.enforce:
        return real
    # 2: this function, the property, and the frame that reads it.
    caller = sys._getframe(2).f_globals.get("__name__", "")
    if caller.partition(".")[0] in _INSIDERS and caller not in _KEEPERS:
        return real
    return cast("PGconn", GuardedPGconn(real, seat))


# To the type checker a pipeline; in fact a mixin, because there is one for each flavour.
if TYPE_CHECKING:
    _Pipeline = BasePipeline
else:
    _Pipeline = object


class _Fenced(_Pipeline):
    """A pipeline whose ``pgconn`` is shown as the connection's is."""

    @property
    def pgconn(self) -> PGconn:
        return pgconn(vars(self)["pgconn"], self._conn._seat)  # type: ignore[attr-defined]

    @pgconn.setter
    def pgconn(self, value: PGconn) -> None:
        vars(self)["pgconn"] = value


class Pipeline(_Fenced, psycopg.Pipeline):
    """A :class:`psycopg.Pipeline` of a governed connection."""

    __module__ = "psycopg"  # what its repr says of it


class AsyncPipeline(_Fenced, psycopg.AsyncPipeline):
    """A :class:`psycopg.AsyncPipeline` of a governed connection."""

    __module__ = "psycopg"  # what its repr says of it


def fence(pipeline: BasePipeline) -> None:
    """Put the fence around the ``pgconn`` of a pipeline that psycopg has made."""
    if isinstance(pipeline, psycopg.Pipeline):
        pipeline.__class__ = Pipeline
    elif isinstance(pipeline, psycopg.AsyncPipeline):
        pipeline.__class__ = AsyncPipeline


def shown(real: PGconn, seat: Seat) -> PGconn:
    """Return what ``conn.info`` may read from."""
    return cast("PGconn", GuardedPGconn(real, seat)) if seat.governor.enforce else real

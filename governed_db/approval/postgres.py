"""Approvals of many machines: tables in the schema ``governed_db`` of a PostgreSQL database.

Nothing of a caller's statement is run here, its text is a value.

Each call is one short transaction, told to the server whole with its limits, so that a pooler may stand in
between. A transaction that met a broken connection is run once more, and the second run recognises the first
(:mod:`governed_db.approval.tables`).
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import psycopg

from governed_db.approval import postgres_link as link
from governed_db.approval.rows import Again, Transaction
from governed_db.approval.schema import VERSION
from governed_db.approval.store import StoreUnavailable
from governed_db.approval.tables import TableStore

CONNECTIONS: Final = 4
"""Connections of one process. A call takes a few milliseconds, and most are a look each half second."""

# serialization_failure, deadlock_detected: run it again, says the manual.
_RETRY = frozenset({"40001", "40P01"})
_PAUSE = 0.01  # seconds, doubled each time, with jitter: those who collided do not do so again

T = TypeVar("T")

_stores: weakref.WeakSet[PostgresStore]
_inherited: list[Any] = []

# The search path keeps what other schemas hold out of these statements; the idle timeout ends the locks of a
# client that is frozen.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED;"  # noqa: S608 - constants of this module
    f" SET LOCAL statement_timeout = {link.STATEMENT_MS};"
    f" SET LOCAL idle_in_transaction_session_timeout = {2 * link.STATEMENT_MS};"
    f" SET LOCAL search_path = {link.SCHEMA};"
    f" SELECT version FROM {link.SCHEMA}.installed"
)


class PostgresStore(TableStore):
    """Requests, answers and grants in the database that ``dsn`` names.

    ``governed-db approvals init`` makes the tables.

    Raises:
        ValueError: ``dsn`` cannot be read. The message holds nothing of it.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.place = link.place(dsn)
        self._begin_anew()
        _stores.add(self)

    def __repr__(self) -> str:
        return f"PostgresStore({self.place})"

    def _begin_anew(self) -> None:
        self._idle: list[link.Connection] = []
        self._open: set[link.Connection] = set()
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(CONNECTIONS)

    def close(self) -> None:
        """Close the connections that nobody uses; the next call opens them again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for conn in idle:
            self._let_go(conn)

    def _look(self, work: Callable[[Transaction], T], nothing: T) -> T:
        return self._keep(work)

    def _change(self, work: Callable[[Transaction], T], nothing: T) -> T:
        return self._keep(work)

    def _keep(self, work: Callable[[Transaction], T]) -> T:
        deadline = time.monotonic() + link.ANSWER_SECONDS
        pause, doubtful = _PAUSE, False
        while True:
            with self._connection(deadline, fresh=doubtful) as conn:
                try:
                    return self._run(conn, work, doubtful=doubtful)
                except Again:
                    _roll_back(conn)
                except psycopg.Error as error:
                    broken = conn.closed
                    if isinstance(error, link.TooLate) or (broken and doubtful):
                        raise link.unavailable(self.place, error) from None
                    if broken:
                        # One more time, and with a new connection: the others of this process stood beside.
                        doubtful = True
                        continue
                    _roll_back(conn)
                    if error.sqlstate not in _RETRY:
                        raise link.unavailable(self.place, error) from None
            if time.monotonic() + pause > deadline:
                raise StoreUnavailable(
                    f"The approval store {self.place} is too busy: others were always faster.",
                    remedy="try again",
                )
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter, no secret
            pause *= 2

    def _run(self, conn: link.Connection, work: Callable[[Transaction], T], *, doubtful: bool) -> T:
        cursor = conn.execute(_BEGIN)
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        if row is None or row[0] != VERSION:
            _roll_back(conn)
            raise link.other_version(self.place, None if row is None else int(row[0]))
        result = work(_Transaction(conn, doubtful))
        conn.execute("COMMIT")
        return result

    @contextlib.contextmanager
    def _connection(self, deadline: float, *, fresh: bool) -> Iterator[link.Connection]:
        """Lend a connection; one that is not usable afterwards is closed."""
        free = self._free
        if not free.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise StoreUnavailable(
                f"The approval store {self.place} is too busy: {CONNECTIONS} calls from here wait for it.",
                remedy="try again",
            )
        try:
            if fresh:
                self.close()
            conn = (None if fresh else self._take()) or self._connect()
            conn.deadline = deadline
            try:
                yield conn
            finally:
                if not conn.closed and conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                    with self._lock:
                        self._idle.append(conn)
                else:
                    self._let_go(conn)
        finally:
            free.release()

    def _take(self) -> link.Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _connect(self) -> link.Connection:
        try:
            conn = link.connect(self._dsn)
        except psycopg.Error as error:
            raise self._unreachable(error) from None
        self._open.add(conn)
        return conn

    def _let_go(self, conn: link.Connection) -> None:
        self._open.discard(conn)
        conn.close()

    def _unreachable(self, error: psycopg.Error) -> StoreUnavailable:
        # libpq's words hold the user's name, and more where the DSN is wrong.
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            how = f"did not answer within {link.CONNECT_SECONDS} s"
        else:
            how = "lets nobody in: it is down, out of reach, or does not accept user and password"
        return StoreUnavailable(
            f"The approval store {self.place} {how}.",
            remedy="bring the database back; psql with the same DSN says more",
        )


def _roll_back(conn: link.Connection) -> None:
    with contextlib.suppress(psycopg.Error):  # it is not idle then, and gets closed
        conn.execute("ROLLBACK")


class _Transaction:
    def __init__(self, conn: link.Connection, doubtful: bool) -> None:
        self._conn = conn
        self.doubtful = doubtful

    def rows(self, statement: str, *values: bytes | str | int) -> list[tuple[Any, ...]]:
        return self._conn.execute(statement.replace("?", "%s"), values).fetchall()

    def change(self, statement: str, *values: bytes | str | int) -> int:
        return self._conn.execute(statement.replace("?", "%s"), values).rowcount


_stores = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Leave the parent's connections to the parent, without a word to the server."""
    for store in list(_stores):
        for conn in store._open:
            # Only the descriptor: closing the connection would end the parent's session. Kept for good,
            # because nothing may finish what the descriptor's number stands for later.
            _inherited.append(conn)
            with contextlib.suppress(OSError, psycopg.Error):
                os.close(conn.fileno())
        store._begin_anew()


os.register_at_fork(after_in_child=_after_fork_in_child)

"""Approvals of one machine: one SQLite file, for this user alone.

A connection lives for one transaction, and the process has one at a time. That costs a fraction of a
millisecond, and makes a fork harmless: SQLite's connections must not be carried into a child, nor its locks,
and here there is none to carry (:func:`_before_fork`). SQLite's rollback journal and not its write-ahead
log: a reader needs no right to write, and what a process leaves that is killed the next one clears up.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from governed_db import private
from governed_db.approval.rows import Again, Transaction
from governed_db.approval.schema import MIGRATIONS, VERSION
from governed_db.approval.store import StoreUnavailable
from governed_db.approval.tables import TableStore

BUSY_SECONDS: Final = 5.0
"""How long a call waits for others to finish. Fifty that come at once are done in a fraction of a second."""

APPLICATION: Final = 0x67644150
"""SQLite's ``application_id`` of these files ("gdAP"): tells them from any other database."""

T = TypeVar("T")

_lock = threading.Lock()
_forking = threading.local()
_torn = False


class SQLiteStore(TableStore):
    """Requests, answers and grants in the file ``path``, which the first request makes.

    Looking makes nothing: while there is no file, a look costs one ``lstat``. Safe with threads, processes,
    ``kill -9`` and fork.
    """

    def __init__(self, path: Path, *, busy: float = BUSY_SECONDS) -> None:
        """``busy``: seconds that a call waits for others."""
        self.path = path.absolute()
        self._busy = busy

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    def close(self) -> None:
        """Do nothing: no connection outlives its call."""

    def _look(self, work: Callable[[Transaction], T], nothing: T) -> T:
        return self._transact("BEGIN", work, nothing) if self._is_there() else nothing

    def _change(self, work: Callable[[Transaction], T], nothing: T) -> T:
        return self._transact("BEGIN IMMEDIATE", work, nothing) if self._is_there() else nothing

    def _keep(self, work: Callable[[Transaction], T]) -> T:
        if not self._is_there():
            try:
                # Whole or not there: an empty file is a database without tables. Closed before it gets its
                # name: closing any descriptor of a database drops the locks this process has on it.
                private.make(self.path, b"")
            except OSError as error:
                raise self._unwritable(error) from error
            self._is_there()

        def in_tables(tx: Transaction) -> T:
            _migrate(tx)
            return work(tx)

        return self._transact("BEGIN IMMEDIATE", in_tables, None, makes=True)

    def _is_there(self) -> bool:
        """Return whether there is a file; refuse one that others can change or read.

        By name and not through a descriptor, see above; nobody else can move names in its folder.
        """
        try:
            found = self.path.lstat()
            folder = self.path.parent.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreUnavailable(
                f"The approval store {self.path} cannot be looked at: {error.strerror}.",
                remedy="let this user into the folder of the state",
                retryable=False,
            ) from error
        if not stat.S_ISREG(found.st_mode):
            raise self._untrusted("is a link, or no regular file", f"remove {self.path}")
        mine = (os.geteuid(), 0)
        if found.st_uid not in mine:
            raise self._untrusted(
                "belongs to another user", "use a state folder of your own, or PostgreSQL for many users"
            )
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise self._untrusted("can be used by others than this user", f"chmod 600 {self.path}")
        if folder.st_uid not in mine or folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise self._untrusted(
                "is in a folder in which others can replace it",
                f"give the folder to this user alone: chmod 700 {self.path.parent}",
            )
        return True

    def _transact(
        self, begin: str, work: Callable[[Transaction], T], nothing: Any, *, makes: bool = False
    ) -> T:
        with self._alone() as left:
            try:
                with contextlib.closing(self._connect(left)) as connection:
                    tx = _Transaction(connection)
                    connection.execute(begin)
                    if not makes and not self._has_tables(tx):
                        return nothing  # type: ignore[no-any-return]  # T, or None where makes is set
                    if makes:
                        self._has_tables(tx)
                    result = work(tx)
                    connection.execute("COMMIT")
                    return result
            except sqlite3.Error as error:
                # SQLite's own words can hold parts of rows: its number says enough.
                raise self._unavailable(error) from None
            except (
                Again
            ):  # nobody else writes between BEGIN IMMEDIATE and COMMIT: only a changed table does it
                raise self._damaged("holds rows that contradict each other") from None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[float]:
        """Keep other threads out, and yield how many seconds are left to wait for other processes."""
        if _torn:
            raise StoreUnavailable(
                "The approval store cannot be used in this process: it was forked in the middle of a call.",
                remedy="start processes by exec, or fork while no thread asks the store",
                retryable=False,
            )
        since = time.monotonic()
        held = _lock
        if not held.acquire(timeout=self._busy):
            raise self._locked()
        try:
            yield max(self._busy - (time.monotonic() - since), 0.0)
        finally:
            held.release()

    def _connect(self, busy: float) -> sqlite3.Connection:
        # rw, never rwc: it is made by private.make alone. SQLite opens it for reading where it cannot write.
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, timeout=busy, isolation_level=None
        )
        try:
            # Bytes that are no UTF-8 must not keep the rows beside them from being read.
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.execute("PRAGMA foreign_keys = ON")
            # With less, a claim can be undone by a power failure, and be claimed again.
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves the file
        except BaseException:
            connection.close()
            raise
        return connection

    def _has_tables(self, tx: Transaction) -> bool:
        """Return whether there is something to read.

        Raises:
            StoreUnavailable: it is somebody else's database, or one of a later version.
        """
        ((application,),) = tx.rows("PRAGMA application_id")
        ((version,),) = tx.rows("PRAGMA user_version")
        if not application and not version and not tx.rows("SELECT 1 FROM sqlite_master LIMIT 1"):
            return False
        if application != APPLICATION:
            raise StoreUnavailable(
                f"The approval store {self.path} is a database of another program.",
                remedy="move it away, or name another state folder",
                retryable=False,
            )
        if not 0 < version <= VERSION:
            raise StoreUnavailable(
                f"The approval store {self.path} is of version {version}; this release knows {VERSION}.",
                remedy="use the release that has made it, or a later one",
                retryable=False,
            )
        return True

    def _untrusted(self, why: str, remedy: str) -> StoreUnavailable:
        return StoreUnavailable(f"The approval store {self.path} {why}.", remedy=remedy, retryable=False)

    def _locked(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"The approval store {self.path} was in use by others for longer than {self._busy:g} s.",
            remedy="try again; if it goes on, find the process that holds the file (fuser)",
        )

    def _damaged(self, how: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The approval store {self.path} {how}.",
            remedy="move the file away: a new one is made, and people are asked again",
            retryable=False,
        )

    def _unwritable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(
            f"The approval store {self.path} cannot be made: {error.strerror}.",
            remedy="make the state folder writable for this user, with room on its disk",
        )

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        # The low byte is the primary code, https://www.sqlite.org/rescode.html
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._locked()
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged("is damaged, or no database")
        if code == sqlite3.SQLITE_ERROR:
            return self._damaged("is not laid out as its version says")
        what, remedy = _TROUBLE.get(code, ("does not work", "look at its disk and its folder"))
        name = getattr(error, "sqlite_errorname", "")
        return StoreUnavailable(
            f"The approval store {self.path} {what}{f' ({name})' if name else ''}.", remedy=remedy
        )


_TROUBLE: Final = {
    sqlite3.SQLITE_FULL: ("has no room: its disk is full", "free space on the disk of the state folder"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "look at its disk: full, over a quota, or failing"),
    sqlite3.SQLITE_READONLY: ("cannot be written", "make the state folder writable for this user"),
    sqlite3.SQLITE_PERM: ("cannot be used by this user", "make the state folder writable for this user"),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "make the state folder writable for this user; raise the limit on open files (ulimit -n)",
    ),
}


class _Transaction:
    doubtful = False  # whether it was committed is always known: there is nobody in between

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, *values: bytes | str | int) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, *values: bytes | str | int) -> int:
        return self._connection.execute(statement, values).rowcount


def _migrate(tx: Transaction) -> None:
    ((version,),) = tx.rows("PRAGMA user_version")
    if version == VERSION:
        return
    for migration in MIGRATIONS[version:]:
        for statement in migration:
            tx.change(statement.replace("bytea", "blob"))
    # PRAGMA takes no parameters. Both are in the file's header, and come with the transaction.
    tx.change(f"PRAGMA user_version = {VERSION:d}")
    tx.change(f"PRAGMA application_id = {APPLICATION:d}")


def _before_fork() -> None:
    """Wait until no thread is in SQLite: a child would believe in locks that it does not have."""
    # A signal handler may fork in the thread that holds the lock; it must not wait for itself for ever.
    _forking.quiet = _lock.acquire(timeout=BUSY_SECONDS + 1)


def _after_fork_in_parent() -> None:
    if _forking.quiet:
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock, _torn  # noqa: PLW0603 - of the process, as SQLite's own state is
    _torn = _torn or not _forking.quiet
    _lock = threading.Lock()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)

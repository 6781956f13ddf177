"""A private PostgreSQL server for tests and for the demo, gone without a trace when it is no longer needed.

It listens on a Unix socket alone, in a folder of mode 0700: whoever may enter the folder (its owner, root)
may log in, nobody else reaches it.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from governed_db.testing import binaries, process
from governed_db.testing.binaries import ServerError

PORT = 5432
"""PostgreSQL's default; no other server can be in the way of a socket in a folder of its own."""

# Nothing here has to survive a crash of the machine.
_SETTINGS: Mapping[str, str | int | bool] = {
    "listen_addresses": "",
    "port": PORT,
    "fsync": False,
    "synchronous_commit": False,
    "full_page_writes": False,
    "autovacuum": False,
    "shared_buffers": "32MB",
    "max_connections": 60,
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "lc_messages": "C",
}
_PREFIX = re.compile(r"\S+ \S+ UTC \[\d+\] (?:\S*@(?P<database>\S*) )?")
_EXECUTED = re.compile(r"LOG:  (?:statement|execute [^\n:]*|execute fetch from [^\n:]*): ")


class _Message(NamedTuple):
    """One message of the log: of which database (``None``: the server's own), and what was run, if so."""

    text: str
    database: str | None
    statement: str | None

    @classmethod
    def of(cls, text: str) -> _Message:
        prefix = _PREFIX.match(text)
        body = text if prefix is None else text[prefix.end() :]
        found = _EXECUTED.match(body)
        return cls(text, prefix and prefix["database"], body[found.end() :] if found else None)


class EmbeddedPostgres:
    """One server with its own data, in a temporary folder.

    Use it in a ``with`` block, or call :meth:`start` and :meth:`stop`. It is stopped and removed in any
    case: at the end of the block, when the object is collected, at exit, and, through a small process that
    waits for ours to end, when we are killed. A forked child leaves its parent's server alone.

    Args:
        bin_folder: where ``postgres`` and ``initdb`` are; see :func:`governed_db.testing.binaries.find`.
        log_statements: have every statement logged (``log_statement = all``), for :meth:`statements`.
        settings: further settings, as in postgresql.conf.

    Raises:
        ServerError: from :meth:`start` and ``with``: no programs, no folder, or the server does not come up.
    """

    def __init__(
        self,
        bin_folder: str | os.PathLike[str] | None = None,
        *,
        log_statements: bool = False,
        settings: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self._asked = bin_folder
        self._settings = {
            **_SETTINGS,
            **({"log_statement": "all"} if log_statements else {}),
            **(settings or {}),
        }
        self._process: process.ServerProcess | None = None
        self._messages: list[_Message] = []
        self._read = 0  # bytes of the log
        self._remove: weakref.finalize[Any, Any] | None = None

    @property
    def folder(self) -> Path:
        """A folder of ours that is removed with the server; there is room in it for what a test writes."""
        return self._running.folder

    @property
    def private_folder(self) -> Path:
        """The server's own folder, with its data and its socket. Nobody but its owner and root enters it."""
        return self._running.private

    @property
    def _running(self) -> process.ServerProcess:
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process

    def start(self) -> Self:
        """Create the data and start the server; returns once it answers. A second call does nothing."""
        if self._process is not None:
            return self
        programs = binaries.find(self._asked)
        running = process.ServerProcess.prepare()
        self._remove = weakref.finalize(self, running.end)
        try:
            running.start(programs, self._settings)
        except BaseException as error:  # KeyboardInterrupt too: nothing may stay behind
            self._remove()
            if isinstance(error, OSError):
                raise ServerError(f"the programs in {programs} cannot be run: {error}") from error
            raise
        self._process = running
        self._messages, self._read = [], 0
        return self

    def stop(self) -> None:
        """Stop the server (fast shutdown first) and remove everything it wrote. May be called twice."""
        self._process = None
        if self._remove is not None:
            self._remove()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres {self._process.folder if self._process else 'stopped'}>"

    def conninfo(self, dbname: str = "postgres", **parameters: Any) -> str:
        """Return a libpq connection string; ``parameters`` are libpq's and override the defaults."""
        # The port is the socket's name, and PGPORT would have another; PGHOSTADDR would lead away from it.
        defaults = {
            "host": str(self.private_folder),
            "hostaddr": "",
            "port": PORT,
            "user": process.SUPERUSER,
            "dbname": dbname,
        }
        return make_conninfo(**{**defaults, **parameters})

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database and return its conninfo."""
        self._administer(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return self.conninfo(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists; sessions still in it are ended."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            connection.execute(statement)

    def log_lines(self, database: str | None = None) -> list[str]:
        """Return the messages logged so far, oldest first, those of one ``database`` if given.

        A message is one item, however many lines its text has; DETAIL, HINT and STATEMENT are messages.
        """
        self._read_log()
        return [each.text for each in self._messages if database is None or each.database == database]

    def _read_log(self) -> None:
        """Take in what was logged since the last time: a log of a long run is large."""
        fresh = self._running.log(self._read)
        whole = fresh[: fresh.rfind(b"\n") + 1]  # a line that is being written waits
        self._read += len(whole)
        lines: list[str] = []
        for line in whole.decode("utf-8", errors="surrogateescape").split("\n"):
            # PostgreSQL starts every further line of a message with a tab.
            if line.startswith("\t") and (lines or self._messages):
                lines = lines or [self._messages.pop().text]
                lines.append(line[1:])
            elif line:
                if lines:
                    self._messages.append(_Message.of("\n".join(lines)))
                lines = [line]
        if lines:
            self._messages.append(_Message.of("\n".join(lines)))

    def statements(self, database: str | None = None) -> list[str]:
        """Return the text of every statement run so far, in order; needs ``log_statements=True``.

        PREPARE by protocol does not appear (PostgreSQL logs no Parse), what it prepared does when it runs.
        """
        self._read_log()
        return [
            each.statement
            for each in self._messages
            if each.statement is not None and (database is None or each.database == database)
        ]

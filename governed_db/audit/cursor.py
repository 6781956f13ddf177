"""How far a destination has the journals of a folder: the shipper's memory, on disk.

One SQLite file for each destination. What is read between two answers of the collector is one transaction,
committed (and on disk) once all of it was accepted. So nothing counts as sent that was not, and what was sent
and not committed is sent again with the same ids.

In it: a position in each journal, intents whose outcome has not come yet, outcomes that came before their
intent (a finalizer's, in a journal beside), and what the collector refused, which is tried again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any, Self

import orjson
from attrs import frozen

from governed_db.audit.layout import HEADER_SIZE

FORMAT = 1
"""The layout's version, SQLite's ``user_version``."""

_SCHEMA = """
CREATE TABLE journals (
    journal TEXT PRIMARY KEY, idx INTEGER NOT NULL, at INTEGER NOT NULL, sequence INTEGER NOT NULL,
    stopped INTEGER NOT NULL, done INTEGER NOT NULL, gone INTEGER NOT NULL, resource BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE waiting (
    id TEXT NOT NULL, kind TEXT NOT NULL, journal TEXT NOT NULL, idx INTEGER NOT NULL, at INTEGER NOT NULL,
    sequence INTEGER NOT NULL, PRIMARY KEY (id, kind)
) WITHOUT ROWID;
CREATE INDEX waiting_of ON waiting (journal, kind, sequence);
CREATE TABLE refused (
    id TEXT PRIMARY KEY, signal TEXT NOT NULL, journal TEXT NOT NULL, entry BLOB NOT NULL, body BLOB NOT NULL,
    why TEXT NOT NULL, tries INTEGER NOT NULL, due REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE files (name TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

INTENT, OUTCOME = "intent", "outcome"


class Busy(Exception):  # noqa: N818 - no failure: another process does the work
    """Another process ships to this destination."""


class Unusable(Exception):  # noqa: N818 - the message is the whole of it
    """The memory cannot be kept: ``str()`` says why, ``remedy`` what would help."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@frozen
class Place:
    """Where a record is stored."""

    journal: str
    index: int
    offset: int
    sequence: int


@frozen
class Position:
    """How far one journal was read.

    Attributes:
        index, offset: the segment, and where in it the next frame begins.
        sequence: of the last record read.
        stopped: whether that was the record of its end.
        done: the writer is dead and everything was read: only a segment with a higher index would be news.
        gone: its segments are gone, and that was said.
        resource: the attributes of its resource.
    """

    index: int = 0
    offset: int = HEADER_SIZE
    sequence: int = 0
    stopped: bool = False
    done: bool = False
    gone: bool = False
    resource: dict[str, Any] | None = None


@frozen
class Refusal:
    """One thing that the collector refused."""

    id: str
    signal: str
    journal: str
    entry: dict[str, Any]
    body: bytes
    why: str
    tries: int


class Cursor:
    """The memory about one destination, opened for one shipper."""

    def __init__(self, folder: Path, name: str) -> None:
        """Open it, made if it is not there.

        Raises:
            Busy: another shipper has it.
            Unusable: it cannot be read or written.
        """
        self.path = folder / f"{name}.sqlite"
        self._lock = -1
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._unlock()
            raise Busy(f"another process ships to {name}") from None
        except OSError as error:
            self._unlock()
            raise unusable(self.path, error.strerror or "") from None
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            self._unlock()
            raise unusable(self.path, getattr(error, "strerror", None) or str(error)) from None
        except BaseException:
            self._unlock()
            raise

    def _prepare(self) -> None:
        # EXTRA also brings the folder's entry to disk when the rollback journal is deleted.
        self._db.execute("PRAGMA synchronous = EXTRA")
        self._db.execute("BEGIN IMMEDIATE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for command in filter(str.strip, _SCHEMA.split(";")):
                self._db.execute(command)
            self._db.execute(f"PRAGMA user_version = {FORMAT}")
            self._db.execute("COMMIT")
            self._db.execute("BEGIN IMMEDIATE")
        elif version != FORMAT:
            raise Unusable(
                f"{self.path} was written by another version of governed-db",
                "ship with that version, or remove the file: all is sent again then, with the same ids",
            )

    def commit(self) -> None:
        """Bring to disk what has changed since the last time.

        Raises:
            Unusable: it cannot be. Everything since the last commit is forgotten, and will be read again.
        """
        try:
            self._db.execute("COMMIT")
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.rollback()
            raise unusable(self.path, str(error)) from None

    def rollback(self) -> None:
        """Forget what has changed since the last commit."""
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._db.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Let go of it; what was not committed is forgotten."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._unlock()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's lock without a word to SQLite, which must not notice."""
        _not_ours.append(self._db)
        self._unlock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- journals

    def positions(self) -> dict[str, Position]:
        """Return how far each journal was read.

        Raises:
            Unusable: the file is damaged where SQLite does not notice.
        """
        try:
            return {row[0]: _position(row[1:]) for row in self._db.execute("SELECT * FROM journals")}
        except (ValueError, TypeError):
            raise self._damaged() from None

    def move(self, journal: str, position: Position) -> None:
        """Remember how far ``journal`` was read."""
        self._db.execute(
            "INSERT OR REPLACE INTO journals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                journal,
                position.index,
                position.offset,
                position.sequence,
                position.stopped,
                position.done,
                position.gone,
                orjson.dumps(position.resource or {}),
            ),
        )

    def forget(self, journal: str) -> None:
        """Forget a journal whose segments are gone."""
        self._db.execute("DELETE FROM journals WHERE journal = ?", (journal,))

    # -- halves of statements

    def wait_for(self, id: str, kind: str, place: Place) -> None:
        """Remember an intent without its outcome, or an outcome (``id``: its intent's) without its intent."""
        values = (id, kind, place.journal, place.index, place.offset, place.sequence)
        self._db.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?, ?)", values)

    def take(self, id: str, kind: str) -> Place | None:
        """Return where that half is and stop waiting; ``None`` if nobody waited."""
        row = self._db.execute(
            "DELETE FROM waiting WHERE id = ? AND kind = ? RETURNING journal, idx, at, sequence", (id, kind)
        ).fetchone()
        return None if row is None else Place(*row)

    def waiting(self, kind: str, journal: str = "", *, after: str = "") -> list[tuple[str, Place]]:
        """Return 100 halves of that kind, of one journal or of all, with ids behind ``after``."""
        rows = self._db.execute(
            "SELECT id, journal, idx, at, sequence FROM waiting"
            " WHERE kind = ? AND (journal = ? OR ? = '') AND id > ? ORDER BY id LIMIT 100",
            (kind, journal, journal, after),
        )
        return [(row[0], Place(*row[1:])) for row in rows.fetchall()]

    def count_waiting(self) -> int:
        """Return how many statements have no outcome so far."""
        found = self._db.execute("SELECT count(*) FROM waiting WHERE kind = ?", (INTENT,)).fetchone()
        return int(found[0])

    # -- what was refused

    def refuse(self, refusal: Refusal, due: float) -> None:
        """Remember something that was refused, to be tried again at ``due``, in seconds since 1970."""
        self._db.execute(
            "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                refusal.id,
                refusal.signal,
                refusal.journal,
                orjson.dumps(refusal.entry),
                refusal.body,
                refusal.why,
                refusal.tries,
                due,
            ),
        )

    def accepted(self, id: str) -> None:
        """Forget a refusal: the collector took it after all."""
        self._db.execute("DELETE FROM refused WHERE id = ?", (id,))

    def refused(self, *, due: float | None = None, limit: int = 100) -> list[Refusal]:
        """Return what was refused, at most ``limit``; with ``due``, what is to be tried by then.

        Raises:
            Unusable: the file is damaged where SQLite does not notice.
        """
        rows = self._db.execute(
            "SELECT id, signal, journal, entry, body, why, tries FROM refused WHERE ? IS NULL OR due <= ?"
            " ORDER BY due, id LIMIT ?",
            (due, due, limit),
        )
        try:
            return [Refusal(i, s, j, orjson.loads(e), b, why, tries) for i, s, j, e, b, why, tries in rows]
        except (ValueError, TypeError):
            raise self._damaged() from None

    def count_refused(self) -> int:
        """Return how many refusals there are."""
        return int(self._db.execute("SELECT count(*) FROM refused").fetchone()[0])

    # -- the rest

    def file(self, name: str) -> int:
        """Return how many bytes of a file beside the journals were read."""
        row = self._db.execute("SELECT at FROM files WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def move_file(self, name: str, at: int) -> None:
        """Remember how many bytes of that file were read."""
        self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (name, at))

    def count(self, name: str, more: int) -> None:
        """Add to a counter that outlives the process."""
        self._db.execute(
            "INSERT INTO counts VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, more),
        )

    def counts(self) -> dict[str, int]:
        """Return the counters."""
        return dict(self._db.execute("SELECT name, value FROM counts").fetchall())

    def _damaged(self) -> Unusable:
        return unusable(self.path, "its content is malformed")

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


_not_ours: list[sqlite3.Connection] = []


def unusable(path: Path, why: str) -> Unusable:
    """Return the error for a memory that cannot be kept."""
    broken = any(said in why for said in ("malformed", "not a database", "Could not decode"))
    return Unusable(
        f"{path}, which remembers what was sent, cannot be kept: {why.lower()}",
        "remove the file: all is sent again then, with the same ids"
        if broken
        else "give the shipper a folder that it can write to, with --state; or free space on the disk",
    )


def acknowledged(folder: Path) -> dict[str, dict[str, int]]:
    """Return up to which record each destination has each journal, by name and journal.

    ``folder`` is the shipper's. For whoever removes old segments: what no destination lacks can go. Read
    without the shipper's lock, so it can be a moment old. A statement that still runs counts as lacking, and
    so does all that follows it.
    """
    found: dict[str, dict[str, int]] = {}
    for path in sorted(folder.glob("*.sqlite")):
        try:
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
                rows = db.execute(
                    "SELECT j.journal, min(j.sequence, coalesce(min(w.sequence) - 1, j.sequence))"
                    " FROM journals j LEFT JOIN waiting w ON w.journal = j.journal GROUP BY j.journal"
                )
                found[path.stem] = dict(rows.fetchall())
        except (sqlite3.Error, ValueError):
            found[path.stem] = {}  # nobody knows, so it lacks everything
    return found


def _position(row: tuple[Any, ...]) -> Position:
    index, at, sequence, stopped, done, gone, resource = row
    return Position(
        index, at, sequence, bool(stopped), bool(done), bool(gone), orjson.loads(resource) or None
    )

"""Running a session's statements again on another database, governed and on record, and comparing.

Reads run in a session that the server itself holds to reading (``default_transaction_read_only``). Writes run
only where that is asked for; then everything runs in one transaction that is rolled back, each statement in a
savepoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Literal

from attrs import frozen
from psycopg import Error
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from governed_db.audit import view
from governed_db.audit.session import Revealed, readable, revealed
from governed_db.audit.view import Entry, part
from governed_db.driver.cursors import RawCursor, RawServerCursor
from governed_db.errors import GovernanceError
from governed_db.statement import Statement

READS = frozenset({"SELECT", "SHOW"})
"""Command tags that are run as reads. What a function does that a SELECT calls is for the policy to say, and
for the server, which refuses writes."""

DURATION = 10.0
"""How many times slower counts as a difference; another machine, or a cold cache, makes for less."""

LEAST = 50_000
"""Microseconds that a statement must take now for its duration to count as a difference."""

BATCH = 1000
"""Rows that are fetched at a time where a result is large."""

LARGE = 10_000
"""Rows then from which a result is fetched in batches through a cursor of the server, not held whole."""

Verdict = Literal["same", "differs", "not run"]


@frozen(kw_only=True)
class Step:
    """One statement, then and now.

    Attributes:
        entry: as it is on record.
        verdict: "same", "differs", or "not run".
        because: what differs, or why it was not run.
        rows: now, where it ran; duration_us: now.
    """

    entry: Entry
    verdict: Verdict
    because: str = ""
    rows: int | None = None
    duration_us: int | None = None


def conninfo(dsn: str, path: Sequence[str], *, writes: bool) -> str:
    """Return ``dsn`` with the search path that names were resolved by then, and held to reading.

    Raises:
        psycopg.ProgrammingError: ``dsn`` is none.
    """
    given = str(conninfo_to_dict(dsn).get("options") or "")
    added = [] if writes else ["-c default_transaction_read_only=on"]
    # pg_catalog comes first by itself; temporary schemas belong to a session that is gone.
    schemas = [s for s in path if s != "pg_catalog" and not s.startswith("pg_temp")]
    if schemas:
        listed = ",".join('"{}"'.format(s.replace('"', '""')) for s in schemas)
        # PostgreSQL takes the backslash of options away again, before a space and before itself.
        added.append("-c search_path=" + "".join(f"\\{c}" if c in "\\ \t\n" else c for c in listed))
    return make_conninfo(dsn, options=" ".join(filter(None, (given, *added))))


def by_path(steps: Iterable[Entry]) -> Iterator[tuple[list[str], Sequence[Entry]]]:
    """Yield each search path with the steps in a row whose names were resolved by it.

    A step without one (nothing had been resolved yet) goes with those before it.
    """
    path: list[str] = []
    held: list[Entry] = []
    for entry in steps:
        own = view.strings(part(entry, "where"), "search_path")
        if own and path and own != path:
            yield path, held
            held = []
        path = own or path
        held.append(entry)
    if held:
        yield path, held


def rerun(
    connection: Any,
    steps: Iterable[Entry],
    *,
    writes: bool,
    secret: Callable[[str], bytes | None] | None = None,
    path: Sequence[str] = (),
) -> Iterator[Step]:
    """Run what can be run on ``connection``, governed and in autocommit, and compare.

    ``secret`` returns the key of a name; with it, what is on record encrypted is run with its values.
    With ``path``, what was resolved by another search path is not run: its names could mean something else.
    With ``writes`` the whole runs in a transaction that is rolled back when the last step is taken, or when
    nobody takes another.

    Raises:
        psycopg.Error: the connection is lost.
    """
    if not writes:
        # Of each transaction, beside the session's default: a statement that is run can change the default.
        connection.read_only = True
    with connection.transaction(force_rollback=True) if writes else nullcontext():
        for entry in steps:
            statement, because = readable(entry)
            asked = Revealed(view.text(part(entry, "what"), "text"), ())
            if because and statement is not None and secret is not None:
                found = revealed(entry, secret)
                because = found if isinstance(found, str) else ""
                asked = asked if isinstance(found, str) else found
            if not because and statement is not None:
                because = _unwanted(statement, writes)
            own = view.strings(part(entry, "where"), "search_path")
            if not because and path and own and own != list(path):
                because = "its names were resolved by another search_path than those before it"
            if because:
                yield Step(entry=entry, verdict="not run", because=because)
                continue
            yield _run(connection, entry, asked)


def _unwanted(statement: Statement, writes: bool) -> str:
    if statement.writes:
        return "" if writes else "it writes: --writes runs it in a transaction that is rolled back"
    if statement.tag not in READS:
        return f"{statement.tag or 'it'} is no query, and nothing that a transaction surely takes back"
    return ""


def _run(connection: Any, entry: Entry, asked: Revealed) -> Step:
    then = view.rows(entry)
    started = time.monotonic_ns()
    try:
        with connection.transaction():
            rows = _count(connection, asked, (then or 0) > LARGE)
        status, said = "ok", ""
    except GovernanceError as error:
        rows, status, said = None, "refused", f"refused now by rule {error.rule}"
    except Error as error:
        if connection.closed:
            raise
        # Never the server's message: it quotes values.
        rows, status, said = (
            None,
            "error",
            f"fails now: {type(error).__name__} {error.sqlstate or ''}".strip(),
        )
    duration = (time.monotonic_ns() - started) // 1000
    differences = _differences(entry, status, said, rows, duration)
    return Step(
        entry=entry,
        verdict="differs" if differences else "same",
        because="; ".join(differences),
        rows=rows,
        duration_us=duration,
    )


def _count(connection: Any, asked: Revealed, large: bool) -> int | None:
    # A recorded text has PostgreSQL's own placeholders, and its "%" is an operator.
    if large and not asked.parameters:
        with RawServerCursor(connection, "governed_db_replay") as cursor:
            cursor.execute(asked.text.encode())
            count = 0
            while rows := cursor.fetchmany(BATCH):
                count += len(rows)
            return count
    with RawCursor(connection) as cursor:
        cursor.execute(asked.text.encode(), asked.parameters or None)
        return cursor.rowcount if cursor.rowcount >= 0 else None


def _differences(entry: Entry, status: str, said: str, rows: int | None, duration: int) -> list[str]:
    found = []
    before = view.status(entry)
    if status != before:
        ended = f"it was {before or 'without an outcome'} then"
        found.append(f"{said}, {ended}" if said else f"runs now, {ended}")
    then = view.rows(entry)
    if status == "ok" and then is not None and rows is not None and then != rows:
        found.append(f"{rows:,} rows, {then:,} then")
    took = view.number(part(entry, "happened"), "duration_us")
    if status == before and took is not None and duration > LEAST and duration > DURATION * max(took, 1):
        found.append(f"{duration / 1000:,.1f} ms, {took / 1000:,.1f} ms then")
    return found

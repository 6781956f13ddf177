"""The schema ``governed_db`` in PostgreSQL: made, brought to this release's version, and shown."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from governed_db.approval import postgres_link as link
from governed_db.approval.schema import MIGRATIONS, VERSION
from governed_db.approval.store import StoreUnavailable

APPLICATION: Final = (
    "GRANT USAGE ON SCHEMA governed_db TO {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA governed_db TO {role}",
    # What ended can be added, and neither changed nor taken back: an approval is used once.
    "GRANT INSERT ON governed_db.requesters, governed_db.requests, governed_db.ends, governed_db.notices"
    " TO {role}",
    "GRANT UPDATE (filed) ON governed_db.requesters TO {role}",
    "GRANT UPDATE (open_digest) ON governed_db.requests TO {role}",
    "GRANT UPDATE (due, attempts) ON governed_db.notices TO {role}",
    "GRANT DELETE ON governed_db.requesters, governed_db.requests, governed_db.grants, governed_db.notices"
    " TO {role}",
)
"""What processes need whose statements are governed, and what tells approvers of requests."""

APPROVER: Final = (
    "GRANT USAGE ON SCHEMA governed_db TO {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA governed_db TO {role}",
    # An end, too: to withdraw. It cannot make anything run.
    "GRANT INSERT ON governed_db.answers, governed_db.grants, governed_db.ends TO {role}",
    "GRANT UPDATE (answers) ON governed_db.requests TO {role}",
)
"""What commands need that people answer and grant with."""

_TRIES = 3  # two that install at once: the second finds the work of the first
_MET = frozenset({"23505", "40001", "40P01", "42P06", "42P07", "42710"})


def script(application: str, approver: str) -> str:
    """Return the SQL of an installation from nothing, and the privileges of two roles."""
    lines = [
        "CREATE SCHEMA governed_db",
        "SET search_path = governed_db",
        _INSTALLED,
        *(statement for migration in MIGRATIONS for statement in migration),
        f"INSERT INTO installed (version) VALUES ({VERSION:d})",  # noqa: S608 - a number of ours
    ]
    parts = ["-- Version " + str(VERSION), *(f"{line};" for line in lines)]
    for title, role, grants in (
        ("Processes whose statements are governed", application, APPLICATION),
        ("People who answer and grant", approver, APPROVER),
    ):
        parts += ["", f"-- {title}", *(f"{line};" for line in _for(role, grants))]
    return "\n".join(parts) + "\n"


def install(dsn: str, *, application: str = "", approver: str = "") -> tuple[int, int]:
    """Make the tables, or bring them to :data:`~governed_db.approval.schema.VERSION`.

    Args:
        dsn: the database, and a role that may create a schema in it (later: the schema's owner).
        application, approver: roles that get what they need; they have to exist.

    Returns:
        The versions before (0: there was none) and after.

    Raises:
        ValueError: ``dsn`` cannot be read.
        StoreUnavailable: it cannot be done; nothing is changed then.
    """
    where = link.place(dsn)
    try:
        conn = link.connect(dsn)
    except psycopg.Error:
        raise StoreUnavailable(
            f"The database for approvals {where} lets nobody in.",
            remedy="psql with the same DSN says why",
        ) from None
    try:
        for left in reversed(range(_TRIES)):
            try:
                with conn.transaction():
                    return _install(conn, where, application, approver)
            except psycopg.Error as error:
                if not left or error.sqlstate not in _MET:
                    raise _unfit(where, error) from None
        raise AssertionError("the last try returns or raises")
    finally:
        conn.close()


_INSTALLED: Final = "CREATE TABLE installed (version int8 NOT NULL PRIMARY KEY)"


def _install(conn: link.Connection, where: str, application: str, approver: str) -> tuple[int, int]:
    conn.execute("SET LOCAL search_path = pg_catalog")
    if conn.execute("SELECT current_setting('server_encoding')").fetchone() != ("UTF8",):
        raise StoreUnavailable(
            f"The database for approvals {where} is not in UTF-8.",
            remedy="CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0 makes one that is",
            retryable=False,
        )
    owned = conn.execute(
        "SELECT nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
        " FROM pg_namespace WHERE nspname = %s",
        (link.SCHEMA,),
    ).fetchone()
    if owned == (False,):
        # Whoever owns a schema can put other tables into it than those that are put there now.
        raise StoreUnavailable(
            f"The schema {link.SCHEMA} {where} belongs to another role.",
            remedy="run governed-db approvals init as that role, or drop a schema nobody here has made",
            retryable=False,
        )
    if owned is None:
        conn.execute(f"CREATE SCHEMA {link.SCHEMA}")
    conn.execute(f"SET LOCAL search_path = {link.SCHEMA}")
    before = _version(conn, where)
    if before is None:
        conn.execute(_INSTALLED)
        conn.execute("INSERT INTO installed (version) VALUES (%s)", (0,))
        before = 0
    if before > VERSION:
        raise link.other_version(where, before)
    for migration in MIGRATIONS[before:]:
        for statement in migration:
            conn.execute(statement.encode())
    conn.execute("UPDATE installed SET version = %s", (VERSION,))
    for role, grants in ((application, APPLICATION), (approver, APPROVER)):
        for statement in _for(role, grants) if role else ():
            conn.execute(statement.encode())
    return before, VERSION


def _version(conn: link.Connection, where: str) -> int | None:
    there = conn.execute(
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = 'installed'",
        (link.SCHEMA,),
    ).fetchone()
    if there is None:
        return None
    # The second of two waits here for the first.
    row = conn.execute("SELECT version FROM installed FOR UPDATE").fetchone()
    if row is None:
        raise StoreUnavailable(
            f"The approval store {where} does not say which version it is of.",
            remedy=f"INSERT INTO {link.SCHEMA}.installed what it said before, or drop the schema",
            retryable=False,
        )
    return int(row[0])


def _for(role: str, grants: tuple[str, ...]) -> list[str]:
    return [sql.SQL(line).format(role=sql.Identifier(role)).as_string() for line in grants]


def _unfit(where: str, error: psycopg.Error) -> StoreUnavailable:
    if error.sqlstate == "42704":
        return StoreUnavailable(
            f"The database for approvals {where} has no such role; nothing was changed.",
            remedy="CREATE ROLE makes it",
            retryable=False,
        )
    if error.sqlstate == "42501":
        return StoreUnavailable(
            f"The database for approvals {where} does not let this role make the schema.",
            remedy="GRANT CREATE ON DATABASE, or have its owner run what --print shows",
            retryable=False,
        )
    return link.unavailable(where, error)

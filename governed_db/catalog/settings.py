# ruff: noqa: S608 - every text is put together from constants of this module, none from input
"""Settings that would turn a session against its guard, and what a long snapshot no longer shows.

A setting matters here when it makes the server understand a text otherwise than the grammar does, or keeps
from running what the catalog says will run. Who connects can put any of them in force (options, PGOPTIONS,
a service file, ALTER ROLE or ALTER DATABASE ... SET), so they are read and not assumed.

Settings that are left alone, and why:

- ``backslash_quote`` differs from the grammar's reading only in client encodings that are refused anyway.
- ``row_security = off`` makes the server raise an error where a policy would filter; it shows nothing more.
- ``search_path``, ``role`` and ``session_authorization`` are part of :class:`~.model.Session`: names are
  resolved by what is in force.
- ``DateStyle``, ``IntervalStyle``, ``TimeZone``, ``array_nulls``, ``xmloption`` and their like change how a
  value is read or written, and neither which rows nor which columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from governed_db.catalog.queries import FIRST_USER_OID

READABLE_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
"""Client encodings (Python's names) in which no byte of a longer character can be mistaken for a quote or a
backslash, so that the grammar and the server see the same tokens."""


@frozen(kw_only=True)
class Danger:
    """A setting in force under which statements cannot be judged.

    Attributes:
        name: the setting.
        value: what it is.
        safe: what it has to be.
        because: what is wrong with it, to follow the name and the value.
        everybody: whether no caller's statement can be judged; else only those of callers who see columns
            masked or whose rows are counted.
        source: pg_settings.source, "" where the server does not say.
    """

    name: str
    value: str
    safe: str
    because: str
    everybody: bool = True
    source: str = ""

    @property
    def rule(self) -> str:
        """The rule that a refusal names."""
        return f"session.{self.name}"

    @property
    def reason(self) -> str:
        """What is wrong, and where the value came from."""
        where = _SOURCES.get(self.source, ("", ""))[0]
        return f"{self.name} is {self.value} on this connection{where}: {self.because}"

    @property
    def remedy(self) -> str:
        """What would pass."""
        undo = _SOURCES.get(self.source, ("", ""))[1].format(name=self.name)
        option = f'connect with options="-c {self.name}={self.safe}"'
        return f"{undo}, or {option}" if undo else option


_SOURCES: Mapping[str, tuple[str, str]] = {
    "client": (
        " (from the connection's own parameters)",
        "take {name} out of options=, PGOPTIONS and the service file",
    ),
    "database": (" (from ALTER DATABASE ... SET)", "run ALTER DATABASE ... RESET {name}"),
    "user": (" (from ALTER ROLE ... SET)", "run ALTER ROLE ... RESET {name}"),
    "database user": (
        " (from ALTER ROLE ... IN DATABASE ... SET)",
        "run ALTER ROLE ... IN DATABASE ... RESET {name}",
    ),
    "global": (" (from ALTER ROLE ALL SET)", "run ALTER ROLE ALL RESET {name}"),
    "configuration file": (
        " (from the server's configuration)",
        "change it in the server's configuration",
    ),
    "command line": (" (from the server's command line)", "change it where the server is started"),
    "session": (
        " (set by something that ran on it)",
        "close this connection and use a new one",
    ),
}
"""pg_settings.source (GucSource_Names in src/backend/utils/misc/guc_tables.c): words, and what undoes it."""

SETTINGS = b"""SELECT pg_catalog.current_setting('standard_conforming_strings'),
    pg_catalog.current_setting('transform_null_equals'),
    pg_catalog.current_setting('session_replication_role'),
    pg_catalog.current_setting('transaction_isolation')"""
"""One row for :func:`in_force`."""


@frozen(kw_only=True)
class InForce:
    """What was in force when the session was last read.

    Attributes:
        dangers: settings under which statements cannot be judged.
        moved: what the server has by now that this transaction's snapshot does not show, or "".
        frozen_snapshot: whether the catalog's tables show what they were when the transaction began, while
            the server resolves names by what they are now (REPEATABLE READ and SERIALIZABLE).
    """

    dangers: tuple[Danger, ...] = ()
    moved: str = ""
    frozen_snapshot: bool = field(default=False, eq=False)  # of the transaction it was read in


def in_force(row: Sequence[str | None], encoding: str) -> InForce:
    """Read the row of :data:`SETTINGS`; ``encoding`` is the client's, by Python's name.

    Raises:
        ValueError: the row is not one of that query.
    """
    if len(row) != 4:
        raise ValueError("the server's answer to the settings query has an unexpected shape")
    strings, null_equals, replication_role, isolation = (str(value) for value in row)
    found = []
    if strings != "on":
        found.append(
            Danger(
                name="standard_conforming_strings",
                value=strings,
                safe="on",
                because="a backslash then means something else to the server than to the grammar that"
                " judges the text",
            )
        )
    if null_equals != "off":
        found.append(
            Danger(
                name="transform_null_equals",
                value=null_equals,
                safe="off",
                because="'x = NULL' then means 'x IS NULL' to the server, and other rows than the text says",
            )
        )
    if encoding not in READABLE_ENCODINGS:
        found.append(
            Danger(
                name="client_encoding",
                value=encoding,
                safe="UTF8",
                because="in this encoding a byte of a longer character can be read as a quote or a backslash",
            )
        )
    if replication_role == "replica":
        found.append(
            Danger(
                name="session_replication_role",
                value=replication_role,
                safe="origin",
                because="triggers and foreign keys then do not run as the catalog says they do",
                everybody=False,
            )
        )
    return InForce(dangers=tuple(found), frozen_snapshot=isolation in ("repeatable read", "serializable"))


def source_query(names: Sequence[str]) -> bytes:
    """Return the query for the name and source of each of ``names``, which are setting names of ours."""
    listed = ", ".join(f"'{name}'" for name in names)
    return (
        "SELECT s.name, s.source FROM pg_catalog.pg_settings AS s"
        f" WHERE s.name OPERATOR(pg_catalog.=) ANY (ARRAY[{listed}])"
    ).encode()


# Temporary relations of other sessions come and go all the time and cannot be reached from this one.
_RELATIONS = f"""(
    SELECT c.oid, c.ctid FROM pg_catalog.pg_class AS c
    WHERE c.oid OPERATOR(pg_catalog.>=) {FIRST_USER_OID}::pg_catalog.oid
        AND c.relkind OPERATOR(pg_catalog.<>) 't'
        AND (c.relpersistence OPERATOR(pg_catalog.<>) 't'
            OR c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())
)"""


def _newer(table: str, source: str) -> str:
    # currtid2 follows a row to its newest version by a snapshot of now, whatever the transaction's own shows.
    return f"""EXISTS (SELECT FROM {source}
        WHERE pg_catalog.currtid2('pg_catalog.{table}', t.ctid) OPERATOR(pg_catalog.<>) t.ctid)"""


def _parts(table: str, column: str) -> str:
    return f"pg_catalog.{table} AS t JOIN relations AS r ON r.oid OPERATOR(pg_catalog.=) t.{column}"


_FUNCTIONS = f"""(SELECT p.oid, p.ctid FROM pg_catalog.pg_proc AS p
    WHERE p.oid OPERATOR(pg_catalog.>=) {FIRST_USER_OID}::pg_catalog.oid)"""

# pg_table_is_visible and pg_function_is_visible look an object up as it is now: NULL where it is gone.
# And what this snapshot finds first in the search_path must still be found first. (What
# stands behind a name of pg_catalog never was.)
_QUERY = f"""WITH relations AS MATERIALIZED {_RELATIONS}
SELECT CASE
    WHEN {_newer("pg_class", "relations AS t")} OR {_newer("pg_rewrite", _parts("pg_rewrite", "ev_class"))}
        OR {_newer("pg_attribute", _parts("pg_attribute", "attrelid"))} THEN 'a table or view was changed'
    WHEN {_newer("pg_proc", f"{_FUNCTIONS} AS t")} THEN 'a function was changed'
    WHEN EXISTS (SELECT FROM relations AS c WHERE pg_catalog.pg_table_is_visible(c.oid) IS NULL)
        THEN 'a table or view was dropped'
    WHEN EXISTS (SELECT FROM {_FUNCTIONS} AS p
        WHERE pg_catalog.pg_function_is_visible(p.oid) IS NULL) THEN 'a function was dropped'
    WHEN EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON (c.relname::pg_catalog.text) c.oid, n.nspname
            FROM ROWS FROM (pg_catalog.unnest(pg_catalog.current_schemas(true)))
                WITH ORDINALITY AS p(nspname, place)
            JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) p.nspname
            JOIN pg_catalog.pg_class AS c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid
            ORDER BY c.relname::pg_catalog.text, p.place
        ) AS found
        WHERE found.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'
            AND NOT pg_catalog.pg_table_is_visible(found.oid)
    ) THEN 'a table or view now stands before another of its name'
END"""
MOVED = " ".join(_QUERY.split()).encode()
"""One row, one column: what has changed since this transaction's snapshot was taken, or NULL.

For transactions above READ COMMITTED. Changes and drops of what the snapshot shows are found, and relations
that now stand before others of their name; an additional overload of a function or an additional trigger of
a table that has some is not.
"""

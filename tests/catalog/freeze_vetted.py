"""Write governed_db/catalog/functions.txt or extensions.txt: what the rules let through on real servers.

    python tests/catalog/freeze_vetted.py CONNINFO [CONNINFO ...]
    python tests/catalog/freeze_vetted.py --extensions CONNINFO [CONNINFO ...]

Give one server of each supported major version (13 to 18), each with a database that nobody has changed;
with ``--extensions``, databases in which the extensions can be created, which is done and undone.
Then read the difference line by line: every new line is a function that callers may use unasked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg

from governed_db.catalog import extensions, queries, snapshot, vetting
from governed_db.catalog.model import Catalog

FILE = Path(vetting.__file__).with_name("functions.txt")
HEADER = """\
# PostgreSQL's own functions that may be called, and relations that may be read, without asking.
# Written by tests/catalog/freeze_vetted.py from PostgreSQL {versions}; never edited by hand.
# Functions: volatility (i immutable, s stable, v volatile), name, OIDs of the argument types.
# Relations: r, name.
"""


EXTENSIONS_FILE = Path(extensions.__file__).with_name("extensions.txt")
EXTENSIONS_HEADER = """\
# Functions of extensions that may be called without asking.
# Written by tests/catalog/freeze_vetted.py from {versions}; never edited by hand.
# Volatility (i immutable, s stable, v volatile), extension, name, argument types: OIDs of PostgreSQL's own,
# ~ for any other.
"""


def load(connection: psycopg.Connection) -> Catalog:
    """Take a snapshot by plain psycopg, the way the driver does."""
    rows = [read(connection, queries.DIGEST)[0], *read(connection, queries.SNAPSHOT)]
    return snapshot.build(rows[1:], str(rows[0][0][0]), connection.info.server_version)


def read(connection: psycopg.Connection, text: bytes) -> list[list[tuple[str | None, ...]]]:
    """Run one message by the simple query protocol; return each result's rows as text."""
    connection.pgconn.send_query(text)
    results = []
    problem = ""
    while (result := connection.pgconn.get_result()) is not None:
        problem = problem or result.get_error_message() * bool(result.error_message)
        results.append(
            [
                tuple(
                    None if (value := result.get_value(row, column)) is None else value.decode()
                    for column in range(result.nfields)
                )
                for row in range(result.ntuples)
            ]
        )
    if problem:
        raise RuntimeError(problem)
    return results


def lines(catalog: Catalog) -> set[str]:
    """Return what one server contributes."""
    functions = {
        vetting.signature(f)
        for same_name in catalog.functions.values()
        for f in same_name
        if f.extension is None and vetting.by_rule(f) is None
    }
    relations = {
        f"r {r}"
        for r in catalog.relations.values()
        if r.schema in vetting.SYSTEM_SCHEMAS
        and r.oid < queries.FIRST_USER_OID
        and r.kind in "rv"
        and r.name not in vetting.WITHHELD[r.schema]
    }
    return functions | relations


def extension_lines(catalog: Catalog) -> set[str]:
    """Return what the extensions of one database contribute."""
    return {
        extensions.signature(f)
        for same_name in catalog.functions.values()
        for f in same_name
        if f.extension is not None and extensions.by_rule(f) is None
    }


def with_extensions(connection: psycopg.Connection) -> tuple[set[str], set[str]]:
    """Return what every extension that a server offers contributes, and their names and versions."""
    offered = connection.execute(
        "SELECT name, default_version FROM pg_available_extensions WHERE name = ANY (%s) ORDER BY name",
        [sorted(extensions.EXTENSIONS)],
    ).fetchall()
    version = connection.info.server_version // 10000
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL client_min_messages = 'error'")
        for name, _ in offered:
            connection.execute(f'CREATE EXTENSION IF NOT EXISTS "{name}" CASCADE')
        known = read(connection, queries.DIGEST)[0][0][0]
        catalog = snapshot.build(
            read(connection, queries.SNAPSHOT_IN_TRANSACTION), str(known), connection.info.server_version
        )
    others = {f"{name} {v}" for name, v in offered if name in ("postgis", "postgis_sfcgal", "vector")}
    return extension_lines(catalog), {f"PostgreSQL {version}", *others}


def freeze_extensions(conninfos: list[str]) -> None:
    """Ask each server for its extensions."""
    found: set[str] = set()
    versions: set[str] = set()
    for conninfo in conninfos:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            more, named = with_extensions(connection)
        found |= more
        versions |= named
    text = EXTENSIONS_HEADER.format(versions=", ".join(sorted(versions)))
    ordered = sorted(found, key=lambda line: line.split(" ", 1)[1])
    EXTENSIONS_FILE.write_text(text + "".join(f"{line}\n" for line in ordered), "utf-8")


def main() -> None:
    """Ask each server named on the command line."""
    if sys.argv[1:2] == ["--extensions"]:
        freeze_extensions(sys.argv[2:])
        return
    found: set[str] = set()
    versions = []
    for conninfo in sys.argv[1:]:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            catalog = load(connection)
        found |= lines(catalog)
        versions.append(str(catalog.server_version // 10000))
    text = HEADER.format(versions=", ".join(versions)) + "".join(f"{line}\n" for line in sorted(found))
    FILE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

"""A schema that is as new for every test, and is made anew only where a test has changed it.

To make one takes some ten milliseconds, and then every governor has to read the catalog again, which takes
a hundred. So what was made stays while the catalog says that it is the same, and tables that a test wrote to
get their first rows back.
"""

from __future__ import annotations

from typing import Any, Self

import psycopg
from attrs import define, field
from psycopg import sql

from governed_db import catalog

# What a snapshot holds, and what else a test could leave behind: whatever depends on something, statistics,
# settings, rights on schemas.
_MARK = (
    catalog.DIGEST.decode()
    + """;
    SELECT count(*), sum(hashtid(ctid)::bigint), sum(xmin::text::bigint) FROM pg_catalog.pg_depend;
    SELECT count(*), sum(hashtid(ctid)::bigint), sum(xmin::text::bigint) FROM pg_catalog.pg_statistic;
    SELECT count(*), sum(hashtid(ctid)::bigint) FROM pg_catalog.pg_largeobject_metadata;
    SELECT sum(reltuples::numeric) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'm');
    SELECT array_agg(row(s.*)::text) FROM pg_catalog.pg_db_role_setting AS s;
    SELECT array_agg(row(n.nspname, n.nspowner, n.nspacl)::text) FROM pg_catalog.pg_namespace AS n"""
)
_TABLES = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2
"""


@define(eq=False)
class Layout:
    """What one database holds when a test begins; ``conn`` is of its owner and commits by itself."""

    conn: psycopg.Connection[Any]
    _script: str | None = field(default=None, init=False)
    _mark: list[Any] = field(factory=list, init=False)
    _rows: dict[str, list[bytes]] = field(factory=dict, init=False)
    _count: str = field(default="", init=False)
    _counted: dict[str, tuple[int, int]] = field(factory=dict, init=False)
    _sequences: dict[str, tuple[int, bool]] = field(factory=dict, init=False)

    @classmethod
    def of(cls, dsn: str) -> Self:
        return cls(psycopg.connect(dsn, autocommit=True, options="-c lock_timeout=10s"))

    def close(self) -> None:
        self.conn.close()

    def lay(self, script: str) -> None:
        """Run ``script``, which removes what it makes, unless what it made is there or can be restored."""
        if script != self._script or not self.restored():
            self.make(script)

    def make(self, script: str) -> None:
        """Run ``script`` in any case: for a test to which pages matter that deleted rows were in."""
        self._script = None
        self.conn.execute("SET client_min_messages = error")
        self.conn.execute(script)
        self.take()
        self._script = script

    def take(self) -> None:
        """Remember what there is now."""
        names = [sql.Identifier(*name).as_string(self.conn) for name in self.conn.execute(_TABLES).fetchall()]
        self._rows = {}
        for name in names:
            with self.conn.cursor().copy(f"COPY {name} TO STDOUT") as copy:
                self._rows[name] = [bytes(line) for line in copy]
        self._count = " UNION ALL ".join(
            f"SELECT {place}, count(*), sum(pg_catalog.hashtid(ctid)::bigint) FROM ONLY {name}"
            for place, name in enumerate(names)
        )
        self._counted = self._contents()
        self._sequences = self._numbers()
        self._mark = self._look()

    def restored(self) -> bool:
        """Give every table its rows and every sequence its number back; say whether that is all there was."""
        if self._look() != self._mark:
            return False
        changed = [name for name, found in self._contents().items() if found != self._counted[name]]
        if changed:
            with self.conn.transaction():
                # No trigger, no rule, no foreign key.
                self.conn.execute("SET LOCAL session_replication_role = replica")
                for name in changed:
                    self.conn.execute(f"DELETE FROM ONLY {name}")
                    with self.conn.cursor().copy(f"COPY {name} FROM STDIN") as copy:
                        for line in self._rows[name]:
                            copy.write(line)
            self._counted = self._contents()
        for name, (last, called) in self._numbers().items():
            if self._sequences[name] != (last, called):
                self.conn.execute("SELECT pg_catalog.setval(%s, %s, %s)", (name, *self._sequences[name]))
        return True

    def _look(self) -> list[Any]:
        cursor = self.conn.execute(_MARK)
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
        return found

    def _contents(self) -> dict[str, tuple[int, int]]:
        if not self._count:
            return {}
        rows = self.conn.execute(self._count).fetchall()
        names = list(self._rows)
        return {names[place]: (count, places) for place, count, places in rows}

    def _numbers(self) -> dict[str, tuple[int, bool]]:
        asked = self.conn.execute("SELECT seqrelid::regclass::text FROM pg_catalog.pg_sequence").fetchall()
        found = {}
        for (name,) in asked:
            row = self.conn.execute(f"SELECT last_value, is_called FROM {name}").fetchone()
            assert row is not None
            found[name] = (row[0], row[1])
        return found

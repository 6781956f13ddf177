"""Show that every attempt in masking.jsonl reveals something on bare psycopg, and every pair tells its guess.

Run it after changing the corpus or the schema, once for each server to support::

    python tests/corpus/verify_masking.py [--only ID]
    GOVERNED_DB_POSTGRES_BIN=/usr/lib/postgresql/15/bin python tests/corpus/verify_masking.py

An attempt reveals something where a canary shows, where the answers of two databases differ that have
nothing but different sensitive values, or where one of them takes its time over it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import masked_values as mv  # noqa: E402 - a script finds what lies beside it only now

from governed_db.testing import EmbeddedPostgres  # noqa: E402

SLOW = 0.2
"""Seconds that a sleep in an attempt takes at least."""


def databases(server: EmbeddedPostgres, name: str = "masked") -> list[Bare]:
    """Make the two databases and return a way to look into each."""
    with psycopg.connect(server.create_database(name), autocommit=True) as conn:
        conn.execute(mv.schema()[0])  # type: ignore[arg-type]
    found = []
    for seed in mv.SEEDS:
        server.create_database(f"{name}_{seed}", template=name)
        found.append(
            server.conninfo(
                f"{name}_{seed}", options=f"-c search_path={mv.SEARCH_PATH} -c statement_timeout=10s"
            )
        )
        with psycopg.connect(server.conninfo(f"{name}_{seed}"), autocommit=True) as conn:
            mv.fill(conn, seed)
    with psycopg.connect(found[0]) as one, psycopg.connect(found[1]) as other:
        canaries = mv.Canaries.between(mv.contents(one), mv.contents(other))
        plain = mv.Plain.of(one, canaries)
    return [Bare(dsn, canaries, plain) for dsn in found]


class Bare:
    """A connection that nobody guards."""

    def __init__(self, dsn: str, canaries: mv.Canaries, plain: mv.Plain) -> None:
        self.dsn = dsn
        self.canaries = canaries
        self.plain = plain
        with psycopg.connect(dsn) as conn:
            self.version = conn.info.server_version
            built = conn.execute("SELECT setting FROM pg_config() WHERE name = 'CONFIGURE'").fetchone()
            self.built = built[0] if built is not None else ""
        self.conn: Any = None
        self.heard: list[str] = []

    def has(self, entry: dict[str, Any]) -> bool:
        """Say whether the server has what the line uses: not every one is built with libxml."""
        return (
            entry.get("from", 0) <= self.version < entry.get("below", 1_000_000)
            and entry.get("needs", "") in self.built
        )

    def run(self, entry: dict[str, Any], guess: str = "") -> tuple[mv.Seen, bool]:
        """Send a line and undo it; return what it showed, and whether it took its time."""
        if self.conn is None or self.conn.closed:
            self.conn = psycopg.connect(self.dsn)
            mv.listen(self.conn, self.heard)
        begun = time.monotonic()
        seen = asyncio.run(mv.send(self.conn, psycopg, entry, self.heard, guess))
        slow = time.monotonic() - begun > SLOW
        seen.said.append(f"left behind: {self.plain.after(self.conn.pgconn)}")
        if not self.conn.closed:
            self.conn.rollback()
        if "PREPARE" in str(entry["sql"]) or "LISTEN" in str(entry["sql"]):
            self.conn.close()
        return seen, slow

    def ask(self, query: str) -> str:
        """Return the value that a pair guesses."""
        with psycopg.connect(self.dsn) as conn:
            row = conn.execute(query).fetchone()  # type: ignore[call-overload]
            assert row is not None
            return str(row[0])


def reveals(entry: dict[str, Any], north: Bare, south: Bare) -> bool:
    """Say whether a line gives anything away where nobody guards it."""
    if entry["kind"] == "pair":
        guess = north.ask(entry["true"])
        (true, slow), (false, quick) = north.run(entry, guess), north.run(entry, entry["false"])
        texts = mv.comparable(true.text(), guess), mv.comparable(false.text(), entry["false"])
        return texts[0] != texts[1] or slow != quick
    (one, slow), (other, quick) = north.run(entry), south.run(entry)
    if north.canaries.in_text(one.text()):
        return True
    return slow != quick or mv.comparable(one.text()) != mv.comparable(other.text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one line, by its id")
    parser.add_argument("--show", action="store_true", help="print what it showed")
    options = parser.parse_args()
    bad = 0
    with EmbeddedPostgres() as server:
        north, south = databases(server)
        possible = [
            entry
            for kind in ("attempt", "pair", "honest")
            for entry in mv.lines(kind)
            if north.has(entry) and options.only in (None, entry["id"])
        ]
        chosen = [entry for entry in possible if entry["kind"] != "honest"]
        honest = [entry for entry in possible if entry["kind"] == "honest"]
        for entry in chosen:
            if not reveals(entry, north, south):
                bad += 1
                seen, _ = north.run(entry, "x@example.org")
                print(f"reveals nothing: {entry['id']} {entry['sql']!r}: {seen.error or ''}")
                if options.show:
                    print(seen.text())
        for entry in honest:
            seen, _ = north.run(entry)
            if seen.error is not None:
                bad += 1
                print(f"fails: {entry['id']} {entry['sql']!r}: {seen.error}")
        for each in (north, south):
            if each.conn is not None:
                each.conn.close()
    checked = f"{len(chosen)} attempts and pairs, {len(honest)} honest lines"
    print(f"{checked}, {bad} of them bad, on PostgreSQL {north.version // 10000}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

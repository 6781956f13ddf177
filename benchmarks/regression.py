"""How much of PostgreSQL's own regression suite is understood: ``python -m benchmarks.regression FOLDER``.

FOLDER holds ``.sql`` files as psql reads them (libpg_query's repository carries them in ``test/sql``). Each
statement is read by itself; with ``--bind`` it is also run on a server of our own, and bound just before
that to the catalog it finds there. What counts is what the server runs: the suite is full of statements
that are to fail.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from governed_db.catalog import queries
from governed_db.catalog.bind import bind
from governed_db.catalog.model import Catalog, Session
from governed_db.catalog.snapshot import build
from governed_db.statement import EffectKind, Statement, Unreadable, lexer, read
from governed_db.testing import EmbeddedPostgres

_COPY = re.compile(r"copy\b.*\bfrom\s+stdin\b.*;\s*(?:--.*)?$", re.IGNORECASE)
_NO_CATALOG = frozenset(
    {EffectKind.SELECT, EffectKind.INSERT, EffectKind.UPDATE, EffectKind.DELETE, EffectKind.EXPLAIN}
    | {EffectKind.SHOW, EffectKind.MERGE, EffectKind.FETCH, EffectKind.CURSOR, EffectKind.CLOSE}
)
"""Effects after which the catalog is what it was (but for functions that change it, which are rare there)."""


def statements(script: str) -> Iterator[str]:
    """Yield the statements that psql would send; its own commands and the data of COPY are left out."""
    lines: list[str] = []
    data = False
    for line in script.splitlines():
        if data:
            data = line != "\\."
        elif line.startswith("\\"):
            continue
        else:
            # What \gset and its kin end stands where a semicolon would.
            lines.append(re.sub(r"\\(?:gset|gexec|gdesc|gx|g|crosstabview|watch|;|bind).*$", ";", line))
            data = _COPY.search(line) is not None
    text = "\n".join(lines)
    start, depth, atomic = 0, 0, False
    before = ""
    for token in lexer.tokens(text):
        word = text[token.start : token.end].lower()
        if word == "(":
            depth += 1
        elif word == ")":
            depth = max(depth - 1, 0)
        elif (before, word) == ("begin", "atomic"):
            atomic = True
        elif word == "end" and atomic and before == ";":
            atomic = False
        elif word == ";" and not depth and not atomic:
            if text[start : token.start].strip():
                yield text[start : token.start].strip()
            start = token.end
        before = word


class Figures:
    """What is counted."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.incomplete: Counter[str] = Counter()
        self.unbound: Counter[str] = Counter()
        self.crashes: list[str] = []

    def print(self) -> None:
        """Print shares and reasons."""
        known = self.read["read"]
        print(f"{self.read['statements']} statements, {known} of which PostgreSQL's grammar can read")
        print(f"fully understood: {self.read['complete']} ({self.read['complete'] / known:.2%})")
        print(f"crashes: {len(self.crashes)}")
        for crash in self.crashes:
            print(f"    {crash}")
        if self.read["ran"]:
            share = self.read["bound"] / self.read["ran"]
            print(
                f"run by the server: {self.read['ran']}; bound completely: {self.read['bound']} ({share:.2%})"
            )
        parts = (
            ("not read", self.unreadable),
            ("not understood", self.incomplete),
            ("not bound", self.unbound),
        )
        for label, reasons in parts:
            for reason, times in reasons.most_common(15):
                print(f"{label}: {times} x {reason}")


def read_one(text: str, figures: Figures, where: str) -> Statement | None:
    """Read a statement and count how that went."""
    figures.read["statements"] += 1
    try:
        statement = read(text)
    except Unreadable as unreadable:
        figures.unreadable[unreadable.rule] += 1
        return None
    except Exception as crash:  # anything else is what this looks for
        figures.crashes.append(f"{where}: {type(crash).__name__}: {text[:80]!r}")
        return None
    figures.read["read"] += 1
    figures.read["complete"] += statement.complete
    if not statement.complete:
        figures.incomplete[statement.incomplete_because] += 1
    return statement


class Place:
    """A database that statements run in, with its catalog kept up to date."""

    def __init__(self, dsn: str) -> None:
        self.conn = psycopg.connect(dsn, autocommit=True, options="-c statement_timeout=3s")
        self.known: tuple[Session, Catalog] | None = None

    def catalog(self) -> tuple[Session, Catalog] | None:
        """Return the session and catalog; none in a failed transaction or without the right to read it."""
        if self.known is None and self.conn.info.transaction_status.name in ("IDLE", "INTRANS"):
            try:
                session = queries.session(self.send(queries.SESSION)[0][0])
                digest = str(self.send(queries.DIGEST)[0][0][0])
                rows = self.send(queries.SNAPSHOT)
            except psycopg.Error:
                return None
            self.known = session, build(rows, digest, self.conn.info.server_version)
        return self.known

    def send(self, text: bytes) -> list[list[tuple[str | None, ...]]]:
        """Send several commands in one message and return their results as text."""
        self.conn.pgconn.send_query(text)
        results = []
        failed = ""
        while (result := self.conn.pgconn.get_result()) is not None:
            failed = failed or result.error_message.decode() if result.error_message else failed
            fields = range(result.nfields)
            values = [[result.get_value(row, f) for f in fields] for row in range(result.ntuples)]
            results.append([tuple(v.decode() if v is not None else None for v in row) for row in values])
        if failed:
            raise psycopg.DatabaseError(failed)
        return results

    def run(self, text: str, statement: Statement) -> bool:
        """Send one statement; return whether the server ran it."""
        if not {effect.kind for effect in statement.effects} <= _NO_CATALOG:
            self.known = None
        try:
            self.send(text.encode())
        except psycopg.Error:
            return False
        return True


def bind_one(text: str, statement: Statement, place: Place, figures: Figures, where: str) -> None:
    """Bind a statement to the catalog as it is, run it, and count it if the server did."""
    if any(effect.kind in (EffectKind.COPY_FROM, EffectKind.COPY_TO) for effect in statement.effects):
        return
    known = place.catalog()
    bound: Any = None
    if known is not None:
        try:
            bound = bind(statement, known[1], known[0])
        except Exception as crash:
            figures.crashes.append(f"{where}: bind: {type(crash).__name__}: {text[:80]!r}")
    if place.run(text, statement) and bound is not None:
        figures.read["ran"] += 1
        figures.read["bound"] += bound.complete
        if not bound.complete:
            figures.unbound[re.sub(r"\d+", "N", bound.incomplete_because)[:70]] += 1


def main() -> None:
    """Go through a folder and print the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.regression", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bind", action="store_true", help="run and bind them as well (takes minutes)")
    options = parser.parse_args()
    files = sorted(options.folder.rglob("*.sql"))
    figures = Figures()
    if not options.bind:
        for file in files:
            for text in statements(file.read_text("utf-8", "replace")):
                read_one(text, figures, file.name)
        figures.print()
        return
    # Every file of the suite starts from what test_setup.sql makes.
    first = [file for file in files if file.name == "test_setup.sql"]
    with EmbeddedPostgres(settings={"max_prepared_transactions": 5}) as server:
        setup = Place(server.create_database("regress_setup"))
        for file in first:
            for text in statements(file.read_text("utf-8", "replace")):
                statement = read_one(text, Figures(), file.name)
                if statement is not None:
                    setup.run(text, statement)
        setup.conn.close()
        for number, file in enumerate(files):
            place = Place(server.create_database(f"regress_{number}", template="regress_setup"))
            for text in statements(file.read_text("utf-8", "replace")):
                statement = read_one(text, figures, file.name)
                if statement is not None and not place.conn.closed:
                    bind_one(text, statement, place, figures, file.name)
            place.conn.close()
    figures.print()


if __name__ == "__main__":
    main()

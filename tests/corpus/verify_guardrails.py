"""Show that every attack in guardrails.jsonl does the harm it says, on bare psycopg and a real server.

Run it after changing the corpus, the schema or ``tests/harm.py``, once for each server to support::

    python tests/corpus/verify_guardrails.py [--every N]
    GOVERNED_DB_POSTGRES_BIN=/usr/lib/postgresql/15/bin python tests/corpus/verify_guardrails.py
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import guardrails  # noqa: E402 - a script finds what lies beside it only now
from harm import harm, state  # noqa: E402

from governed_db.testing import EmbeddedPostgres  # noqa: E402

PATIENCE_MS = 300
"""How long an attack that never ends is waited for: a statement that harms otherwise takes a few ms."""

# What may have ended the transaction that was to be rolled back.
_ENDS = re.compile("COMMIT|PREPARE TRANSACTION|END WORK|CALL", re.IGNORECASE)
# A rolled back transaction holds locks because it was one, which is no harm of the statement.
_OF_TRANSACTIONS = {"session locks", "session transaction"}


class Bench:
    """One server, and databases made from the schema: a new one after each attack that left something."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self.folder = server.folder / "written"
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o777)
        self.template = "guardrails"
        self.number = 0
        self.database = ""
        with psycopg.connect(server.create_database(self.template), autocommit=True) as conn:
            conn.execute(guardrails.SCHEMA.read_text("utf-8"))

    @contextmanager
    def connected(self, timeout_ms: int) -> Iterator[psycopg.Connection[Any]]:
        if not self.database:
            self.number += 1
            self.database = f"{self.template}_{self.number}"
            self.server.create_database(self.database, template=self.template)
        options = f"-c statement_timeout={timeout_ms}"
        with psycopg.connect(self.server.conninfo(self.database, options=options), autocommit=True) as conn:
            yield conn

    def discard(self) -> None:
        with psycopg.connect(self.server.conninfo(self.database), autocommit=True) as conn:
            for (gid,) in conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
                conn.execute(f"ROLLBACK PREPARED '{gid}'")
            for (name,) in conn.execute("SELECT subname FROM pg_subscription").fetchall():
                conn.execute(f'ALTER SUBSCRIPTION "{name}" DISABLE')
                conn.execute(f'ALTER SUBSCRIPTION "{name}" SET (slot_name = NONE)')
                conn.execute(f'DROP SUBSCRIPTION "{name}"')
        with psycopg.connect(self.server.conninfo(), autocommit=True) as conn:
            for statement in guardrails.CLEAN:
                with suppress(psycopg.Error):  # most attacks left nothing of it
                    conn.execute(statement)
            if not conn.execute("SELECT FROM pg_roles WHERE rolname = 'guardrail_guest'").rowcount:
                conn.execute("CREATE ROLE guardrail_guest")
        self.server.drop_database(self.database)
        self.database = ""

    def observe(self, entry: dict[str, Any]) -> tuple[list[str], str]:
        """Run an attack; return what it changed or otherwise did, and the error it ended in."""
        if not entry.get("transaction"):
            changed, error = self._run(entry, kept=False)
            changed = [part for part in changed if part not in _OF_TRANSACTIONS]
            if changed:
                return changed, error
        return self._run(entry, kept=True)

    def _run(self, entry: dict[str, Any], *, kept: bool) -> tuple[list[str], str]:
        patience = PATIENCE_MS if "hangs" in entry else 20_000
        shared = entry.get("transaction", False)
        seen, failure = "", None
        with self.connected(patience) as conn:
            before = {} if shared else state(conn)
            conn.autocommit = kept and not shared
            if shared:
                conn.execute("SELECT 1")
                before = state(conn)
            try:
                seen = asyncio.run(guardrails.send(psycopg, conn, entry, self.folder))
            except psycopg.Error as error:
                failure = error
            if conn.info.transaction_status.name == "INERROR":
                conn.rollback()
            changed = harm(before, state(conn))
            if not kept:
                conn.rollback()
        if (kept and changed) or _ENDS.search(str(entry["sql"])):
            self.discard()
        text = f"{type(failure).__name__}: {failure}".splitlines()[0] if failure is not None else ""
        return changed + self._beside(entry, seen, failure), text

    def _beside(self, entry: dict[str, Any], seen: str, failure: Exception | None) -> list[str]:
        if "shows" in entry and failure is None and re.search(entry["shows"], seen):
            return ["shows"]
        if "hangs" in entry and isinstance(failure, psycopg.errors.QueryCanceled):
            return ["hangs"]
        if "writes" in entry and (self.folder / entry["writes"]).exists():
            (self.folder / entry["writes"]).unlink()
            return ["writes"]
        return []


def expected(entry: dict[str, Any]) -> set[str]:
    """Return the parts by which an attack shows itself."""
    return set(entry.get("harm", ())) | {kind for kind in ("shows", "hangs", "writes") if kind in entry}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every Nth attack")
    options = parser.parse_args()
    attacks = [entry for entry in guardrails.lines() if entry["kind"] == "attack"]
    bad = 0
    settings = {"max_prepared_transactions": 10}
    with EmbeddedPostgres(settings=settings) as server:
        bench = Bench(server)
        with psycopg.connect(server.conninfo()) as conn:
            version = conn.info.server_version
            chosen = [entry for entry in attacks[:: options.every] if guardrails.possible(entry, conn)]
        for entry in chosen:
            changed, error = bench.observe(entry)
            if not expected(entry) & set(changed):
                bad += 1
                print(f"no harm: {entry['sql']!r}: {error or changed}")
    print(f"{len(chosen) - bad} of {len(chosen)} attacks do harm on PostgreSQL {version // 10000}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""How the lines of ``tests/corpus/guardrails.jsonl`` are sent, by bare psycopg and by governed_db alike.

A line has ``sql`` (one text, or steps of one connection) and where it needs them:

- ``params``; ``compose``: names for the ``{}`` of a ``sql.SQL``; ``times``: executemany with so many rows;
- ``via``: "client", "raw", "server" (cursors), "stream", "copy" (out), "copy_in" (``data`` goes in);
- ``transaction``: the steps share one;
- ``from``, ``below``: the versions of the server that have it; ``needs``: what it must be built with.

What makes an attack one: ``harm``, the parts of ``harm.state`` that it changes on a bare connection;
``shows``, a regular expression for what comes back; ``writes``, a file it leaves in ``{folder}``; ``hangs``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg
from flavours import do, each, within
from psycopg import sql

CORPUS = Path(__file__).parent / "corpus"
SCHEMA = CORPUS / "guardrails_schema.sql"

# What belongs to the server and outlives a database that is dropped.
CLEAN = (
    "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin",
    "ALTER ROLE ALL RESET ALL",
    "DROP ROLE IF EXISTS guardrail_zz",
    "ALTER ROLE guardrail_guest NOSUPERUSER NOBYPASSRLS PASSWORD NULL VALID UNTIL 'infinity'",
    "ALTER ROLE guardrail_guest RESET ALL",
    "REVOKE pg_read_server_files, postgres FROM guardrail_guest",
    "REVOKE guardrail_guest FROM postgres",
)


def lines() -> Iterator[dict[str, Any]]:
    """Read the corpus."""
    for line in (CORPUS / "guardrails.jsonl").read_bytes().splitlines():
        yield orjson.loads(line)


def fits(entry: dict[str, Any], server_version: int) -> bool:
    """Say whether a server of this version has what the line uses."""
    return bool(entry.get("from", 0) <= server_version < entry.get("below", 1_000_000))


def possible(entry: dict[str, Any], conn: psycopg.Connection[Any]) -> bool:
    """Say whether a statement can run on this server at all: not every one is built with libxml."""
    if not fits(entry, conn.info.server_version):
        return False
    if "needs" not in entry:
        return True
    built = conn.execute("SELECT setting FROM pg_config() WHERE name = 'CONFIGURE'").fetchone()
    return built is not None and entry["needs"] in built[0]


async def send(db: Any, conn: Any, entry: dict[str, Any], folder: Path) -> str:
    """Send every step of a line on ``conn``, of the module or flavour ``db``; return all that came back."""
    steps = entry["sql"] if isinstance(entry["sql"], list) else [entry["sql"]]
    return "\n".join([await _step(db, conn, entry, step.replace("{folder}", str(folder))) for step in steps])


async def _step(db: Any, conn: Any, entry: dict[str, Any], step: str) -> str:
    query: Any = step
    if "compose" in entry:
        query = sql.SQL(step).format(*map(sql.Identifier, entry["compose"]))
    params, via = entry.get("params"), entry.get("via", "")
    if via == "server":
        async with _in_transaction(conn), within(conn.cursor("named")) as cursor:
            await do(cursor.execute(query, params))
            return repr(await do(cursor.fetchall()))
    classes = {"client": "ClientCursor", "raw": "RawCursor"}
    made = getattr(db, classes[via])(conn) if via in classes else conn.cursor()
    async with within(made) as cursor:
        if "times" in entry:
            rows = [entry.get("row", [n + 1]) for n in range(entry["times"])]
            await do(cursor.executemany(query, rows))
            return ""
        if via == "stream":
            return repr([row async for row in each(cursor.stream(query, params))])
        if via == "copy":
            async with within(cursor.copy(query, params)) as copy:
                return repr([bytes(part) async for part in each(copy)])
        if via == "copy_in":
            async with within(cursor.copy(query, params)) as copy:
                await do(copy.write(entry["data"]))
            return ""
        await do(cursor.execute(query, params))
        seen = []
        more = True
        while more:
            if cursor.description:
                seen.append(repr(await do(cursor.fetchall())))
            more = cursor.nextset()
        return "\n".join(seen)


@asynccontextmanager
async def _in_transaction(conn: Any) -> AsyncIterator[None]:
    async with within(conn.transaction()):
        yield

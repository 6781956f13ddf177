"""Each strategy on each way that rows are read, in both flavours: the same masks, of the column's type."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from governed_db.rows import dict_row

from governed_db import Governor, Identity
from governed_db.masking.keys import Keyring
from governed_db.masking.model import Strategy
from tests.flavours import Flavour, do, each, within

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot")
KEYS = Keyring({1: bytes(range(32))})
CANARIES = ("canary", "4711")
LABELS = {
    "email": "EMAIL_ADDRESS",
    "born": "DATE_OF_BIRTH",
    "number": "NATIONAL_ID",
    "guid": "ACCOUNT",
    "mails": "EMAIL_ADDRESS",
    "doc": "JSON_PII",
    "short": "PHONE_NUMBER",
}
TYPES = {
    "email": str, "born": dt.date, "number": int, "guid": uuid.UUID, "mails": list, "doc": dict, "short": str,
}  # fmt: skip
QUERY = f"SELECT id, {', '.join(LABELS)} FROM masks ORDER BY id"
PATHS = ["fetchall", "fetchone", "iterate", "binary", "dict", "stream", "server", "pipeline", "returning"]


@pytest.fixture(scope="module")
def masks(server: Any) -> Iterator[str]:
    conninfo = server.create_database("driver_masks")
    with psycopg.connect(conninfo) as conn:
        conn.execute(
            "CREATE DOMAIN mail AS varchar(60);"
            "CREATE TABLE masks (id int PRIMARY KEY, email mail, born date, number int, guid uuid,"
            " mails text[], doc jsonb, short varchar(12))"
        )
        conn.execute(
            "INSERT INTO masks VALUES (1, 'canary@example.com', '1984-07-11', 1234711,"
            " '47114711-4711-4711-4711-471147114711', '{canary@example.com,NULL}', '{\"email\": \"canary\"}',"
            " '+49 30 4711'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
        )
    yield conninfo
    server.drop_database("driver_masks")


async def read(conn: Any, path: str) -> list[Any]:
    match path:
        case "fetchone":
            cur = await do(conn.execute(QUERY))
            return [await do(cur.fetchone()) for _ in range(2)]
        case "iterate":
            return [row async for row in each(await do(conn.execute(QUERY)))]
        case "binary":
            return await do((await do(conn.execute(QUERY, binary=True))).fetchall())
        case "dict":
            cur = conn.cursor(row_factory=dict_row)
            await do(cur.execute(QUERY))
            return [tuple(row.values()) for row in await do(cur.fetchall())]
        case "stream":
            return [row async for row in each(conn.cursor().stream(QUERY))]
        case "server":
            async with within(conn.cursor("pages")) as cur:
                await do(cur.execute(QUERY))
                return [row async for row in each(cur)]
        case "pipeline":
            async with within(conn.pipeline()):
                cur = await do(conn.execute(QUERY))
                return await do(cur.fetchall())
        case "returning":
            names = ", ".join(LABELS)
            cur = await do(conn.execute(f"UPDATE masks SET id = id WHERE id IN (1, 2) RETURNING id, {names}"))
            return sorted(await do(cur.fetchall()))
        case _:
            return await do((await do(conn.execute(QUERY))).fetchall())


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("name", ["sync", "async"])
async def test_masks_are_the_same_on_every_way(
    masks: str, tmp_path: Path, strategy: Strategy, name: str
) -> None:
    path = tmp_path / "policy.toml"
    columns = "".join(f'"public.masks.{column}" = "{label}"\n' for column, label in LABELS.items())
    strategies = "".join(f'{label} = "{strategy}"\n' for label in set(LABELS.values()))
    path.write_text(f'extends = "standard"\n[masking.columns]\n{columns}[masking.strategies]\n{strategies}')
    governor = Governor.load(path, state_dir=tmp_path, keys=KEYS)
    seen = []
    try:
        async with Flavour(name).connect(masks, governor=governor, identity=AGENT) as conn:
            for way in PATHS:
                rows = await read(conn, way)
                seen.append(rows)
                await do(conn.rollback())
    finally:
        governor.close()
    for way, rows in zip(PATHS, seen, strict=True):
        assert rows == seen[0], way
    assert not any(canary in repr(seen) for canary in CANARIES)
    first, empty = seen[0]
    assert empty == (2, *[None] * len(LABELS))
    for (column, kind), value in zip(TYPES.items(), first[1:], strict=True):
        assert value is None if strategy is Strategy.NULLIFY else type(value) is kind, column
    if strategy not in (Strategy.NULLIFY, Strategy.TOKEN):
        assert len(first[1]) <= 60
        assert len(first[-1]) <= 12
        assert list(first[6]) == ["email"]
        assert first[5][1] is None

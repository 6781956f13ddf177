"""Many callers over few connections: every statement is its own caller's, on record and for the server."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import psycopg_pool
import pytest

import governed_db
from governed_db import Governor, Identity, acting_as, carry
from governed_db.audit import reader

CALLERS = 200
CONNECTIONS = 20
ROUNDS = 2

SHOP = Identity.service("shop")
MINE = "SELECT %s::int, current_setting('governed_db.on_behalf_of'), string_agg(owner, ',') FROM letters"
"""The first value is the caller's number."""


@pytest.fixture(scope="module")
def limited(dsn: str) -> Iterator[str]:
    """The conninfo of a role that row-level security binds; each caller owns one row."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"""
            CREATE TABLE letters (id int PRIMARY KEY, owner text);
            INSERT INTO letters SELECT n, 'u-' || n FROM generate_series(0, {CALLERS - 1}) n;
            ALTER TABLE letters ENABLE ROW LEVEL SECURITY;
            ALTER TABLE letters FORCE ROW LEVEL SECURITY;
            CREATE POLICY own ON letters USING (owner = current_setting('governed_db.on_behalf_of', true));
            DROP ROLE IF EXISTS many_callers;
            CREATE ROLE many_callers LOGIN;
            GRANT SELECT, UPDATE ON letters TO many_callers;
        """)
    yield psycopg.conninfo.make_conninfo(dsn, user="many_callers")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP OWNED BY many_callers; DROP ROLE many_callers")


@pytest.fixture
def governor(tmp_path: Path) -> Iterator[Governor]:
    path = tmp_path / "governed-db.toml"
    path.write_text('extends = "standard"\nservices = ["shop"]\n[masking]\nmode = "off"\n')
    path.chmod(0o600)
    made = Governor.load(path, state_dir=tmp_path)
    yield made
    made.close()


def caller(number: int) -> Identity:
    return Identity.agent(f"agent-{number}", on_behalf_of=f"u-{number}")


def check(folder: Path, found: list[tuple[int, str, str]]) -> None:
    """Hold what the server saw and what is on record against who asked."""
    assert Counter(number for number, _, _ in found) == dict.fromkeys(range(CALLERS), ROUNDS)
    assert all(who == owner == f"u-{number}" for number, who, owner in found)
    asked: Counter[str] = Counter()
    for entry in reader.statements(folder / "journal"):
        if "string_agg(owner" in entry["what"].get("text", ""):
            number = entry["who"]["subject"].removeprefix("agent-")
            assert entry["who"]["on_behalf_of"][0]["subject"] == f"u-{number}"
            assert entry["happened"]["status"] == "ok"
            asked[number] += 1
    assert asked == {str(number): ROUNDS for number in range(CALLERS)}


@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "transactions"])
def test_200_threads_over_20_connections(limited, governor, tmp_path, autocommit):
    found: list[tuple[int, str, str]] = []
    failed: list[BaseException] = []
    start = threading.Barrier(CALLERS)
    with psycopg_pool.ConnectionPool(
        limited,
        connection_class=governed_db.Connection,
        kwargs={"governor": governor, "autocommit": autocommit},
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        timeout=60,
    ) as pool:
        pool.wait(60)

        def work(number: int) -> None:
            try:
                start.wait(60)
                for _ in range(ROUNDS):
                    with acting_as(caller(number)), pool.connection() as conn:
                        row = conn.execute(MINE, (number,)).fetchone()
                        assert row is not None
                        found.append(row)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        with pool.connection() as conn:
            # Nobody, and never the last one.
            assert conn.execute("SELECT count(*) FROM letters").fetchone() == (0,)
    governor.close()
    check(tmp_path, found)


async def test_200_tasks_over_20_connections(limited, governor, tmp_path):
    async with psycopg_pool.AsyncConnectionPool(
        limited,
        connection_class=governed_db.AsyncConnection,
        kwargs={"governor": governor},
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        timeout=60,
        open=False,
    ) as pool:
        await pool.wait(60)

        async def work(number: int) -> list[tuple[int, str, str]]:
            rows = []
            for _ in range(ROUNDS):
                with acting_as(caller(number)):
                    async with pool.connection() as conn:
                        await asyncio.sleep(0)
                        rows.append(await (await conn.execute(MINE, (number,))).fetchone())
            return rows

        found = [row for rows in await asyncio.gather(*map(work, range(CALLERS))) for row in rows]
        async with pool.connection() as conn:
            assert await (await conn.execute("SELECT count(*) FROM letters")).fetchone() == (0,)
    governor.close()
    check(tmp_path, found)


def test_threads_and_executors_are_nobody_unless_it_is_carried(limited, governor):
    with governed_db.connect(limited, governor=governor, autocommit=True) as conn:

        def count() -> int:
            row = conn.execute("SELECT count(*) FROM letters").fetchone()
            assert row is not None
            return int(row[0])

        with acting_as(caller(1)), ThreadPoolExecutor(1) as executor:
            assert count() == 1
            assert executor.submit(count).result() == 0
            assert executor.submit(carry(count)).result() == 1
            assert executor.submit(count).result() == 0
        assert count() == 0


async def test_to_thread_and_nested_blocks_follow(limited, governor):
    with governed_db.connect(limited, governor=governor) as conn:

        def mine() -> list[str]:
            return [owner for (owner,) in conn.execute("SELECT owner FROM letters").fetchall()]

        with acting_as(caller(1)):
            assert await asyncio.to_thread(mine) == ["u-1"]
            with acting_as(caller(2)):
                assert await asyncio.to_thread(mine) == ["u-2"]
                assert mine() == ["u-2"]
            assert mine() == ["u-1"]
        assert mine() == []


@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "transactions"])
def test_a_pool_that_resets_its_connections_forgets_nobody(limited, governor, autocommit):
    def reset(conn: governed_db.Connection) -> None:
        conn.execute("RESET ALL")
        conn.commit()

    with psycopg_pool.ConnectionPool(
        limited,
        connection_class=governed_db.Connection,
        kwargs={"governor": governor, "autocommit": autocommit, "identity": SHOP,
            "options": "-c governed_db.on_behalf_of=u-9"},
        min_size=1,
        max_size=1,
        reset=reset,
        check=psycopg_pool.ConnectionPool.check_connection,
    ) as pool:  # fmt: skip
        for number in (1, 2, 1):
            with acting_as(caller(number)), pool.connection() as conn:
                assert conn.execute("SELECT owner FROM letters").fetchall() == [(f"u-{number}",)]
        with pool.connection() as conn:
            assert conn.execute("SELECT owner FROM letters").fetchall() == []

        def lose_the_connection() -> None:
            with pool.connection() as conn:
                with psycopg.connect(limited) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
                conn.execute("SELECT 1")

        with pytest.raises(psycopg.OperationalError):
            lose_the_connection()
        with acting_as(caller(3)), pool.connection() as conn:
            assert conn.execute("SELECT owner FROM letters").fetchall() == [("u-3",)]


def test_an_agent_changes_its_users_rows_alone(limited, governor):
    with governed_db.connect(limited, governor=governor, autocommit=True) as conn, acting_as(caller(5)):
        assert conn.execute("UPDATE letters SET owner = 'u-5' WHERE id < 50").rowcount == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            conn.execute("UPDATE letters SET owner = 'u-6' WHERE id = 5")

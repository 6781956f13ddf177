"""Timeouts of a budget: in force for each statement of its caller, never raised, gone for the next one."""

from __future__ import annotations

import psycopg
import pytest

from governed_db import Governor, Identity, acting_as
from governed_db.driver.timeouts import Timeouts, commands, guarding
from governed_db.policy.model import UNLIMITED, Budget
from tests.flavours import Flavour, do, within

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot")
SERVICE = Identity.service("billing")

flavours = pytest.mark.parametrize("name", ["sync", "async"])

POLICY = """
extends = "standard"
services = ["billing"]

[catalog]
max_age = 3600.0  # statements are counted: a slow machine must not add a look at the catalog

[[budget]]
id = "short"
who = { kind = ["agent"] }
statement_timeout = "4s"
lock_timeout = "2s"
idle_timeout = "30s"
"""

SHOW = (
    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
    " current_setting('idle_in_transaction_session_timeout')"
)


@pytest.fixture
def governor(tmp_path):
    path = tmp_path / "governed-db.toml"
    path.write_text(POLICY)
    made = Governor.load(path, state_dir=tmp_path)
    yield made
    made.close()


async def shown(conn) -> tuple:
    return await do((await do(conn.execute(SHOW))).fetchone())


@flavours
async def test_begin_carries_them(server, dsn, governor, name):
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        before = len(server.statements())
        assert await shown(conn) == ("4s", "2s", "30s")
        assert await shown(conn) == ("4s", "2s", "30s")
        await do(conn.commit())
        sent = server.statements()[before:]
        assert len(sent) == 4
        assert sent[0].startswith("BEGIN; SET LOCAL statement_timeout = 4000; SET LOCAL lock_timeout = 2000;")
        async with within(conn.transaction()):
            assert await shown(conn) == ("4s", "2s", "30s")
            async with within(conn.transaction()):
                assert await shown(conn) == ("4s", "2s", "30s")
        await do(conn.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE))
        assert await shown(conn) == ("4s", "2s", "30s")
        cur = await do(conn.execute("SHOW transaction_isolation"))
        assert await do(cur.fetchone()) == ("serializable",)


@flavours
async def test_two_phase_commit_and_pipelines_carry_them_too(dsn, governor, name):
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        await do(conn.tpc_begin(conn.xid(1, "timeouts", name)))
        assert await shown(conn) == ("4s", "2s", "30s")
        await do(conn.tpc_rollback())
        async with within(conn.pipeline()):
            assert await shown(conn) == ("4s", "2s", "30s")
            await do(conn.commit())
            async with within(conn.transaction()):
                assert await shown(conn) == ("4s", "2s", "30s")


@flavours
async def test_a_statement_that_takes_too_long_is_cancelled(dsn, tmp_path, name):
    path = tmp_path / "governed-db.toml"
    path.write_text(POLICY.replace('"4s"', '"50ms"'))
    governor = Governor.load(path, state_dir=tmp_path)
    slow = "SELECT count(*) FROM generate_series(1, 100000000)"
    for autocommit in (True, False):
        async with Flavour(name).connect(
            dsn, governor=governor, identity=AGENT, autocommit=autocommit
        ) as conn:
            with pytest.raises(psycopg.errors.QueryCanceled):
                await do(conn.execute(slow))
    governor.close()


@flavours
async def test_in_autocommit_they_are_set_once_and_taken_back(server, dsn, governor, name):
    async with Flavour(name).connect(
        dsn, governor=governor, identity=AGENT, autocommit=True, options="-c statement_timeout=9000"
    ) as conn:
        before = len(server.statements())
        assert await shown(conn) == ("4s", "2s", "0")
        assert await shown(conn) == ("4s", "2s", "0")
        assert len(server.statements()[before:]) == 3
        with acting_as(SERVICE):
            assert await shown(conn) == ("9s", "0", "0")
            assert await shown(conn) == ("9s", "0", "0")
        assert len(server.statements()[before:]) == 6
        async with within(conn.pipeline()):
            assert await shown(conn) == ("4s", "2s", "0")
        with acting_as(SERVICE):
            async with within(conn.transaction()):
                assert await shown(conn) == ("9s", "0", "0")


@flavours
async def test_the_next_caller_in_a_transaction_has_its_own(dsn, governor, name):
    async with Flavour(name).connect(dsn, governor=governor, identity=SERVICE) as conn:
        assert await shown(conn) == ("0", "0", "0")
        with acting_as(AGENT):
            assert await shown(conn) == ("4s", "2s", "30s")
        assert await shown(conn) == ("0", "0", "0")
        await do(conn.execute("SAVEPOINT s"))
        with acting_as(AGENT):
            assert await shown(conn) == ("4s", "2s", "30s")
            await do(conn.execute("ROLLBACK TO s"))
            assert await shown(conn) == ("4s", "2s", "30s")
        await do(conn.commit())
        assert await shown(conn) == ("0", "0", "0")


@flavours
async def test_they_only_lower(dsn, governor, name):
    async with Flavour(name).connect(
        dsn, governor=governor, identity=AGENT, options="-c statement_timeout=1000 -c lock_timeout=3000"
    ) as conn:
        assert await shown(conn) == ("1s", "2s", "30s")


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
async def test_what_text_raises_is_lowered_again(dsn, governor, name, autocommit):
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT, autocommit=autocommit) as conn:
        await do(conn.execute("SET statement_timeout = '30s'"))
        assert (await shown(conn))[0] == "4s"
        await do(conn.execute("SET statement_timeout = '25s'"))
        assert (await shown(conn))[0] == "4s"
        await do(conn.execute("SET statement_timeout = '1s'"))
        assert (await shown(conn))[0] == "1s"
        await do(conn.commit())
        assert (await shown(conn))[0] == "1s"


@flavours
async def test_a_rolled_back_set_is_forgotten(dsn, governor, name):
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("SET statement_timeout = '1s'"))
        assert (await shown(conn))[0] == "1s"
        await do(conn.rollback())
        assert (await shown(conn))[0] == "4s"


@flavours
async def test_a_guarded_write_has_them_and_puts_them_back(server, dsn, governor, name):
    with psycopg.connect(dsn, autocommit=True) as plain:
        plain.execute("DROP TABLE IF EXISTS guarded")
        plain.execute("CREATE TABLE guarded (id int PRIMARY KEY, n int)")
        plain.execute("INSERT INTO guarded SELECT n, n FROM generate_series(1, 50) AS n")
    person = Identity.human("anna")
    for autocommit in (True, False):
        async with Flavour(name).connect(
            dsn, governor=governor, identity=person, autocommit=autocommit
        ) as conn:
            await do(conn.execute("SELECT n FROM guarded"))
            before = len(server.statements())
            await do(conn.execute("UPDATE guarded SET n = 0 WHERE id < 10"))
            sent = server.statements()[before:]
            assert "SET LOCAL statement_timeout = 300000; SET LOCAL lock_timeout = 10000" in sent[0]
            assert (await shown(conn))[:2] == ("0", "0")
            with pytest.raises(psycopg.errors.DivisionByZero):
                await do(conn.execute("UPDATE guarded SET n = 0 WHERE id < 10 AND 1 / (n - n) > 0"))
            await do(conn.rollback())
            assert (await shown(conn))[:2] == ("0", "0")


@flavours
async def test_observe_touches_nothing(server, dsn, tmp_path, name):
    governor = Governor.preset("observe", state_dir=tmp_path)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        before = len(server.statements())
        await do(conn.execute("SELECT 1"))
        assert server.statements()[before:] == ["BEGIN", "SELECT 1"]
    governor.close()


def test_needed_is_what_differs():
    timeouts = Timeouts()
    timeouts.observe((0, 5000, 0), in_transaction=False)
    short = Budget(id="b", statement_timeout=4000, lock_timeout=9000, idle_timeout=100)
    assert timeouts.needed(UNLIMITED, in_transaction=True) == ()
    assert timeouts.needed(short, in_transaction=False) == ((0, 4000),)
    needed = timeouts.needed(short, in_transaction=True)
    assert needed == ((0, 4000), (2, 100))
    assert commands(needed, in_transaction=True)[1] == b"SET LOCAL idle_in_transaction_session_timeout = 100"
    timeouts.set(needed, in_transaction=True)
    assert timeouts.needed(short, in_transaction=True) == ()
    assert timeouts.needed(UNLIMITED, in_transaction=True) == ((0, 0), (2, 0))
    timeouts.observe((7000, 5000, 100), in_transaction=True)
    assert timeouts.needed(short, in_transaction=True) == ((0, 4000),)
    timeouts.ended()
    assert timeouts.in_force(0) == 0
    assert guarding(short) is short
    assert guarding(UNLIMITED).lock_timeout == 10_000

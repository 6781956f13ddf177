"""Rows handed out under a budget: refused or cut, on every way a row can take."""

from __future__ import annotations

import threading
import warnings

import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from governed_db.policy.model import Budget
from governed_db.spending import Spending
from tests.flavours import Flavour, do, each, within
from tests.layout import Layout

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot", session="s-1")
flavours = pytest.mark.parametrize("name", ["sync", "async"])

PATHS = [
    "fetchall", "fetchmany", "fetchone", "iterate", "binary", "stream", "chunks", "server", "server pages",
    "server iterate", "server stolen", "copy", "copy rows", "copy binary", "pipeline", "returning", "scroll",
]  # fmt: skip


@pytest.fixture
def things(dsn: str, layout: Layout) -> str:
    layout.lay(
        """
        DROP TABLE IF EXISTS things;
        CREATE TABLE things (id int PRIMARY KEY);
        INSERT INTO things SELECT generate_series(1, 100);
        """
    )
    return dsn


@pytest.fixture
def governors(tmp_path):
    made = []

    def make(limits: str, **kwargs) -> Governor:
        path = tmp_path / f"{len(made)}.toml"
        path.write_text(
            'extends = "standard"\n[[budget]]\nid = "few"\nwho = { kind = ["agent"] }\n' + limits + "\n"
        )
        made.append(Governor.load(path, state_dir=tmp_path / str(len(made)), **kwargs))
        return made[-1]

    yield make
    for each_made in made:
        each_made.close()


async def read(conn, path: str, rows: int) -> list:
    query = f"SELECT id FROM things WHERE id <= {rows} ORDER BY id"
    match path:
        case "fetchall":
            return await do((await do(conn.execute(query))).fetchall())
        case "fetchmany":
            cur = await do(conn.execute(query))
            found = []
            while some := await do(cur.fetchmany(3)):
                found += some
            return found
        case "fetchone":
            cur = await do(conn.execute(query))
            found = []
            while (row := await do(cur.fetchone())) is not None:
                found.append(row)
            return found
        case "iterate":
            return [row async for row in each(await do(conn.execute(query)))]
        case "binary":
            return await do((await do(conn.execute(query, binary=True))).fetchall())
        case "scroll":
            cur = await do(conn.execute(query))
            with pytest.raises(IndexError):
                await do(cur.scroll(20, "absolute"))
            return await do(cur.fetchall())
        case "stream":
            return [row async for row in each(conn.cursor().stream(query))]
        case "chunks":
            if not psycopg.capabilities.has_stream_chunked():
                pytest.skip("this libpq has no chunked rows")
            return [row async for row in each(conn.cursor().stream(query, size=7))]
        case "server" | "server pages" | "server iterate" | "server stolen":
            async with within(conn.cursor("c")) as cur:
                await do(cur.execute(query))
                if path == "server":
                    return await do(cur.fetchall())
                if path == "server stolen":
                    return await do(conn.cursor("c").fetchall())
                if path == "server iterate":
                    cur.itersize = 4
                    return [row async for row in each(cur)]
                found = []
                while some := await do(cur.fetchmany(4)):
                    found += some
                return found
        case "copy" | "copy rows" | "copy binary":
            options = " (FORMAT binary)" if path == "copy binary" else ""
            async with within(conn.cursor().copy(f"COPY ({query}) TO STDOUT{options}")) as copy:
                if path == "copy":
                    return [bytes(line) async for line in each(copy)]
                copy.set_types(["int4"])
                return [row async for row in each(copy.rows())]
        case "pipeline":
            async with within(conn.pipeline()):
                cur = await do(conn.execute(query))
                return await do(cur.fetchall())
        case "returning":
            cur = conn.cursor()
            statement = "UPDATE things SET id = id WHERE id = %s RETURNING id"
            await do(cur.executemany(statement, [(n,) for n in range(1, rows + 1)], returning=True))
            found = []
            while True:
                found += await do(cur.fetchall())
                if not cur.nextset():
                    return found


@flavours
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("path", PATHS)
async def test_over_the_budget_it_is_refused(things, governors, name, path, autocommit):
    if autocommit and path.startswith("server"):
        pytest.skip("a cursor needs a transaction")
    governor = governors("rows_returned = 10")
    async with Flavour(name).connect(
        things, governor=governor, identity=AGENT, autocommit=autocommit
    ) as conn:
        handed: list = []
        with pytest.raises(errors.StatementBlocked, match="more rows than allowed") as refused:
            handed = await read(conn, path, 30)
        assert handed == []
        assert refused.value.rule == "budget.few"
        assert "LIMIT of at most 10" in refused.value.remedy
        if path != "pipeline":  # psycopg's pipeline is aborted by any error
            assert conn.info.transaction_status in (
                psycopg.pq.TransactionStatus.IDLE,
                psycopg.pq.TransactionStatus.INTRANS,
            )
        if path != "scroll":
            assert len(await read(conn, path, 10)) == 10


@flavours
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("path", PATHS)
async def test_over_the_budget_it_is_cut_and_says_so(things, governors, name, path):
    governor = governors('rows_returned = 10\nover = "truncate"')
    async with Flavour(name).connect(things, governor=governor, identity=AGENT) as conn:
        with pytest.warns(governed_db.ResultTruncated, match="cut to 10 rows"):
            rows = await read(conn, path, 30)
        assert len(rows) == 10
        with warnings.catch_warnings():
            warnings.simplefilter("error", governed_db.ResultTruncated)
            if path != "scroll":
                assert len(await read(conn, path, 10)) == 10
        await do(conn.rollback())
    governor.close()
    outcomes = [e for e in reader.read(governor.trail.folder) if e["kind"] == "outcome"]
    cut = [e for e in outcomes if e["happened"].get("truncated")]
    if not path.startswith("server"):
        assert len(cut) == 1
        assert cut[0]["happened"]["rows_returned"] == 10


@flavours
async def test_the_cursor_says_so(things, governors, name):
    governor = governors('rows_returned = 10\nover = "truncate"')
    async with Flavour(name).connect(things, governor=governor, identity=AGENT) as conn:
        with pytest.warns(governed_db.ResultTruncated):
            cur = await do(conn.execute("SELECT id FROM things"))
        assert cur.truncated
        assert cur.rowcount == 10
        assert cur.pgresult.ntuples == 10
        assert cur.pgresult.get_value(10, 0) is None
        assert len(await do(cur.fetchall())) == 10
        await do(cur.execute("SELECT 1"))
        assert not cur.truncated


@flavours
async def test_a_write_whose_rows_are_refused_is_rolled_back(things, governors, name):
    governor = governors("rows_returned = 10")
    for autocommit in (True, False):
        async with Flavour(name).connect(
            things, governor=governor, identity=AGENT, autocommit=autocommit
        ) as conn:
            with pytest.raises(errors.StatementBlocked, match="more rows than allowed"):
                await do(conn.execute("UPDATE things SET id = id + 1000 WHERE id <= 20 RETURNING id"))
            with pytest.raises(errors.StatementBlocked, match="more rows than allowed"):
                await do(
                    conn.cursor().executemany(
                        "UPDATE things SET id = id + 1000 WHERE id = %s RETURNING id",
                        [(n,) for n in range(1, 20)],
                        returning=True,
                    )
                )
            cur = await do(conn.execute("SELECT count(*) FROM things WHERE id > 1000"))
            assert await do(cur.fetchone()) == (0,)
            await do(conn.commit())


@flavours
@pytest.mark.parametrize("over", ["refuse", "truncate"])
async def test_a_session_has_one_account_for_all_connections(things, governors, name, over):
    governor = governors(f'rows_returned_per_session = 25\nover = "{over}"')
    flavour = Flavour(name)
    async with (
        flavour.connect(things, governor=governor, identity=AGENT) as one,
        flavour.connect(things, governor=governor, identity=AGENT) as two,
    ):
        assert len(await read(one, "fetchall", 10)) == 10
        assert len(await read(two, "stream", 10)) == 10
        if over == "refuse":
            with pytest.raises(errors.StatementBlocked, match="5 are left"):
                await read(one, "fetchall", 10)
            assert len(await read(two, "copy", 5)) == 5
            with pytest.raises(errors.StatementBlocked, match="0 are left"):
                await read(one, "fetchall", 1)
        else:
            with pytest.warns(governed_db.ResultTruncated):
                assert len(await read(one, "fetchall", 10)) == 5
            with pytest.warns(governed_db.ResultTruncated):
                assert await read(two, "stream", 10) == []
    other = Identity.agent("copilot", session="s-2")
    async with flavour.connect(things, governor=governor, identity=other) as conn:
        assert len(await read(conn, "fetchall", 20)) == 20


def test_spending_is_exact_with_threads():
    spending = Spending()
    budget = Budget(id="b", rows_returned_per_session=1000, over="truncate", statements_per_minute=500)
    taken: list[int] = []
    waits: list[float | None] = []

    def work():
        taken.append(sum(spending.returned(AGENT, budget, 3) for _ in range(100)))
        waits.extend(spending.attempt(AGENT, budget, 100.0) for _ in range(100))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1000
    assert sum(wait is None for wait in waits) == 500
    assert all(wait is None or 60 <= wait <= 61 for wait in waits)
    assert spending.attempt(AGENT, budget, 160.9) is not None
    assert spending.attempt(AGENT, budget, 161.0) is None


def test_rows_written_make_the_next_statement_wait():
    spending = Spending()
    budget = Budget(id="b", rows_written_per_minute=100)
    assert spending.may_write(AGENT, budget, 5.0) == 100
    spending.wrote(AGENT, 60, 5.5)
    assert spending.attempt(AGENT, budget, 6.0) is None
    spending.wrote(AGENT, 60, 7.0)
    assert spending.may_write(AGENT, budget, 7.0) == 0
    assert spending.attempt(AGENT, budget, 7.5) == pytest.approx(58.5)
    assert spending.attempt(AGENT, budget, 66.0) is None
    assert spending.attempt(Identity.agent("other"), budget, 7.5) is None

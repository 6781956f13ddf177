"""Conditions on cost and rows: asked of the planner where a rule needs it, and never by running anything."""

from __future__ import annotations

import psycopg
import pytest

from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from governed_db.driver.estimate import read_plan
from governed_db.policy.model import Estimate
from tests.flavours import Flavour, do, each, within

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot")
HUMAN = Identity.human("u-1")

flavours = pytest.mark.parametrize("name", ["sync", "async"])

POLICY = """
extends = "standard"

[[rule]]
id = "expensive"
when = { effects = ["select"], cost_over = 100, identity = { kind = ["agent"] } }
then = "block"
because = "it is too much for this server"
remedy = "Ask for fewer rows."

[[rule]]
id = "wide-writes"
when = { effects = ["insert", "update", "delete", "merge"], rows_over = 5, identity = { kind = ["agent"] } }
then = "approve"
approvers = ["dba"]
count = 2
because = "it writes more than a few rows"
"""


@pytest.fixture(scope="module")
def things(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE things (id int PRIMARY KEY, n int, email text)")
        conn.execute("INSERT INTO things SELECT g, g, g || '@x.test' FROM generate_series(1, 20000) g")
        conn.execute("CREATE TABLE traces (n int)")
        conn.execute("ANALYZE things")
        conn.execute(
            "CREATE FUNCTION leaves_trace() RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
            " $$ BEGIN INSERT INTO traces VALUES (1); RETURN 1; END $$"
        )
    return dsn


@pytest.fixture
def governor(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(POLICY)
    path.chmod(0o600)
    made = Governor.load(path, state_dir=tmp_path)
    yield made
    made.close()


def explained(server, before: int) -> list[str]:
    return [s for s in server.statements()[before:] if "EXPLAIN" in s and "things" in s]


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("path", ["execute", "stream", "pipeline", "server"])
async def test_cost_is_told_by_the_values_that_are_bound(server, things, governor, name, autocommit, path):
    if path == "server" and autocommit:
        pytest.skip("server-side cursors live in transactions")

    async def send(conn, low: int) -> None:
        text, values = "SELECT n FROM things WHERE id > %s", (low,)
        if path == "stream":
            async for _ in each(conn.cursor().stream(text, values)):
                pass
        elif path == "pipeline":
            async with within(conn.pipeline()):
                await do(conn.execute("SELECT 1"))
                await do(conn.execute(text, values))
        elif path == "server":
            async with within(conn.cursor("c")) as cur:
                await do(cur.execute(text, values))
                assert len(await do(cur.fetchall())) == 10
        else:
            await do(conn.execute(text, values))

    async with Flavour(name).connect(
        things, governor=governor, identity=AGENT, autocommit=autocommit
    ) as conn:
        await send(conn, 19990)
        before = len(server.statements())
        with pytest.raises(errors.StatementBlocked, match="more than a cost of 100") as refused:
            await send(conn, 0)
        assert refused.value.rule == "expensive"
        assert refused.value.decision.wants_estimate is False
        assert len(explained(server, before)) == 1
        sent = [s for s in server.statements()[before:] if "FROM things" in s and "EXPLAIN" not in s]
        assert not sent
        await send(conn, 19990)  # nothing is aborted
    records = [r for r in reader.statements(governor.trail.folder) if r.get("may", {}).get("rule")]
    assert "governed_db.estimate" in {r["may"]["rule"] for r in records}


@flavours
async def test_rows_of_a_write_are_those_it_writes(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        for text in (
            "UPDATE things SET n = 0 WHERE id > 100 AND id < 200",
            "DELETE FROM things WHERE id < 50",
            "WITH d AS (DELETE FROM things WHERE id < 50 RETURNING id) SELECT count(*) FROM d",
            "INSERT INTO things SELECT id + 100000, n FROM things WHERE id < 50",
        ):
            with pytest.raises(errors.ApprovalRequired) as asked:
                await do(conn.execute(text))
            assert asked.value.rule == "wide-writes"
            assert asked.value.request.needed == 2
        assert (await do(conn.execute("UPDATE things SET n = 0 WHERE id = 7"))).rowcount == 1


@flavours
async def test_the_estimates_of_a_batch_add_up(things, governor, name):
    write = "UPDATE things SET n = 1 WHERE id = %s"
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        cursor = conn.cursor()
        await do(cursor.executemany(write, [(n,) for n in range(1, 6)]))
        with pytest.raises(errors.ApprovalRequired):
            await do(cursor.executemany(write, [(n,) for n in range(1, 7)]))
        with pytest.raises(errors.ApprovalRequired, match="more than 20 parameter sets"):
            await do(cursor.executemany(write, [(n,) for n in range(1, 30)]))


@flavours
async def test_only_who_and_what_a_rule_is_about_is_explained(server, things, governor, name):
    connect = Flavour(name).connect
    async with connect(things, governor=governor, identity=HUMAN, autocommit=True) as conn:
        before = len(server.statements())
        await do(conn.execute("SELECT n FROM things"))
        assert not explained(server, before)
    async with connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        before = len(server.statements())
        await do(conn.execute("SET TIME ZONE 'UTC'"))
        with pytest.raises(errors.StatementBlocked):
            await do(conn.execute("DROP TABLE things"))
        assert not explained(server, before)
        # Its own EXPLAIN runs nothing, and costs nothing.
        await do(conn.execute("EXPLAIN SELECT n FROM things"))
        assert len(explained(server, before)) == 1


@flavours
async def test_a_function_that_is_not_vetted_is_not_planned(things, governor, name):
    """The planner would run it: it says that it is immutable."""
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises((errors.StatementBlocked, errors.ApprovalRequired)):
            await do(conn.execute("SELECT n FROM things WHERE n = leaves_trace()"))
    with psycopg.connect(things) as plain:
        assert plain.execute("SELECT count(*) FROM traces").fetchone() == (0,)


@flavours
async def test_what_the_planner_expects_does_not_tell_of_masked_values(server, things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        before = len(server.statements())
        for value in ("1@x.test", "~"):
            with pytest.raises(errors.MaskedColumnRefused):
                await do(conn.execute("SELECT n FROM things WHERE email < %s", (value,)))
        assert not explained(server, before)


async def send(conn, text: str) -> None:
    if not text.startswith("COPY"):
        await do(conn.execute(text))
        return
    async with within(conn.cursor().copy(text)):
        pass


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize(
    "text", ["SELECT n FROM things WHERE id = 1/0", "COPY (SELECT n FROM things) TO STDOUT"]
)
async def test_what_cannot_be_told_is_the_severest(things, governor, name, autocommit, text):
    connect = Flavour(name).connect
    async with connect(things, governor=governor, identity=AGENT, autocommit=autocommit) as conn:
        await do(conn.execute("SELECT 1"))
        with pytest.raises(errors.StatementBlocked, match="is not known"):
            await send(conn, text)
        await do(conn.execute("SELECT 1"))


@flavours
async def test_nothing_runs_behind_explain(things, governor, name):
    """Two commands in one text would: EXPLAIN takes the first of them only."""
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        for text in ("SELECT 1; INSERT INTO traces VALUES (1)", "SELECT n FROM things; DELETE FROM traces"):
            with pytest.raises(errors.StatementBlocked):
                await do(conn.execute(text))
        with pytest.raises((errors.StatementBlocked, errors.ApprovalRequired)):
            await do(conn.execute("EXPLAIN ANALYZE UPDATE things SET n = 99999 WHERE id > 10"))
    with psycopg.connect(things) as plain:
        assert plain.execute("SELECT count(*) FROM things WHERE n = 99999").fetchone() == (0,)
        assert plain.execute("SELECT count(*) FROM traces").fetchone() == (0,)


@flavours
async def test_check_asks_as_well_and_says_where_it_cannot(things, governor, name):
    check = governor.check if name == "sync" else governor.acheck
    text = "SELECT n FROM things WHERE id > %s"
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        assert (await do(check(text, (0,), identity=AGENT, connection=conn))).rule == "expensive"
        assert (await do(check(text, (19999,), identity=AGENT, connection=conn))).rule == "reads"
    blind = await do(check(text, (19999,), identity=AGENT))
    assert (blind.verdict, blind.rule) == ("block", "expensive")
    assert "not known (it was not asked)" in blind.reason


PLANS = [
    ([{"Plan": {"Node Type": "Seq Scan", "Total Cost": 5.5, "Plan Rows": 7}}], Estimate(cost=5.5, rows=7)),
    (
        [
            {
                "Plan": {
                    "Node Type": "ModifyTable",
                    "Total Cost": 9,
                    "Plan Rows": 0,
                    "Plans": [
                        {"Node Type": "Result", "Parent Relationship": "InitPlan", "Plan Rows": 99},
                        {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Plan Rows": 4},
                    ],
                }
            },
            {"Plan": {"Node Type": "Seq Scan", "Total Cost": 1, "Plan Rows": 50}},
        ],
        Estimate(cost=10, rows=4),
    ),
]


@pytest.mark.parametrize(("document", "expected"), PLANS)
def test_plans_are_read(document, expected):
    assert read_plan(document) == expected


def test_what_is_no_plan_is_no_estimate():
    for document in ([], [{"Utility Statement": 1}], [{"Plan": {}}]):
        with pytest.raises((KeyError, TypeError)):
            read_plan(document)

"""How far a write reaches: measured before it runs, counted while it runs, rolled back if it is too far."""

from __future__ import annotations

from contextlib import nullcontext

import psycopg
import pytest

from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from tests.flavours import Flavour, do, within
from tests.layout import Layout

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot", on_behalf_of="u-1")

flavours = pytest.mark.parametrize("name", ["sync", "async"])
modes = pytest.mark.parametrize("mode", ["autocommit", "transaction", "block", "pipeline"])

SCHEMA = """
DROP FUNCTION IF EXISTS note() CASCADE;
DROP TABLE IF EXISTS grandchildren, children, parents, noted, notes, nodes, parts CASCADE;
CREATE TABLE parents (id int PRIMARY KEY, label text, n int);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE);
CREATE TABLE grandchildren (id int PRIMARY KEY, child int REFERENCES children ON DELETE SET NULL);
INSERT INTO parents SELECT n, 'l' || n % 10, n FROM generate_series(1, 300) AS n;
INSERT INTO children SELECT n, n % 30 + 1 FROM generate_series(1, 300) AS n;
INSERT INTO grandchildren SELECT n, n % 10 + 1 FROM generate_series(1, 900) AS n;
CREATE TABLE notes (id int);
CREATE TABLE noted (id int PRIMARY KEY, label text);
INSERT INTO noted SELECT n, 'l' FROM generate_series(1, 300) AS n;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO notes SELECT OLD.id FROM generate_series(1, 20); RETURN NEW; END $$;
CREATE TRIGGER note AFTER UPDATE ON noted FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE nodes (id int PRIMARY KEY, parent int REFERENCES nodes ON DELETE CASCADE);
INSERT INTO nodes SELECT n, CASE WHEN n > 1 THEN n - 1 END FROM generate_series(1, 60) AS n;
"""


@pytest.fixture
def db(dsn: str, layout: Layout) -> str:
    layout.lay(SCHEMA)
    return dsn


@pytest.fixture
def governor(tmp_path):
    path = tmp_path / "governed-db.toml"
    path.write_text(
        'extends = "standard"\n[masking]\nmode = "off"\n[[rule]]\nid = "mine"\n'
        'when = { effects = ["function"], notes = ["a trigger*", "*defined in this database*"] }\n'
        'then = "allow"\nbecause = "tests"\n'
    )
    made = Governor.load(path, state_dir=tmp_path)
    yield made
    made.close()


def journal(governor: Governor) -> list[dict]:
    return list(reader.statements(governor.trail.folder))


def facts(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as conn:
        return conn.execute(query).fetchone()[0]


async def send(conn, mode: str, statement: str, params: tuple = ()) -> None:
    if mode == "pipeline":
        async with within(conn.pipeline()):
            await do(conn.execute(statement, params))
    else:
        await do(conn.execute(statement, params))


OVER = {
    "update": "UPDATE parents SET n = n + %s WHERE id > %s",
    "with alias": "UPDATE ONLY parents AS p SET n = p.n + %s WHERE p.id > %s",
    "with cte": "WITH big AS (SELECT id FROM parents WHERE id > 3) UPDATE parents SET n = n + %s"
    " WHERE id IN (SELECT id FROM big) AND id > %s",
    "named as its cte": "WITH parents AS (SELECT 1 AS id) UPDATE public.parents SET n = n + %s WHERE id > %s",
    "from": "UPDATE parents SET n = parents.n + %s FROM children AS c WHERE c.parent = parents.id"
    " AND c.id > %s AND parents.id > 0",
    "cascade": "DELETE FROM parents WHERE n + %s > 0 AND id < 20 AND id > %s",
    "insert": "INSERT INTO parents SELECT id + 1000, 'x', %s FROM parents WHERE id > %s",
}


@flavours
@modes
@pytest.mark.parametrize("what", [w for w in OVER if w != "from"])
async def test_over_the_cap_nothing_of_the_statement_is_sent(server, db, governor, name, mode, what):
    statement = OVER[what]
    flavour = Flavour(name)
    alone = mode == "autocommit"
    async with flavour.connect(db, governor=governor, identity=AGENT, autocommit=alone) as conn:
        if mode == "block":
            await do(conn.execute("INSERT INTO parents VALUES (5000, 'kept', 1)"))
        before = len(server.statements())
        with pytest.raises(errors.ApprovalRequired) as refused:
            await send(conn, mode, statement, (1, 0))
        assert "would touch more than 100 rows" in str(refused.value)
        assert "measured by a SELECT, nothing was run" in str(refused.value)
        sent = server.statements()[before:]
        head = statement.partition("%s")[0].partition("WITH big")[0] or "IN (SELECT id FROM big) AND"
        assert not any(s.startswith(head) for s in sent if not s.lstrip().startswith("WITH"))
        assert any("governed_db_probe" in s for s in sent)
        status = conn.info.transaction_status
        idle, inside = psycopg.pq.TransactionStatus.IDLE, psycopg.pq.TransactionStatus.INTRANS
        assert status == (inside if mode == "block" else idle)
        assert await do((await do(conn.execute("SELECT 1"))).fetchone()) == (1,)
        await do(conn.commit())
    assert facts(db, "SELECT count(*) FROM parents WHERE n <> id OR id > 300") == (mode == "block")
    refusals = [e for e in journal(governor) if e["kind"] == "refusal"]
    assert len(refusals) == 1
    probes = [
        e for e in journal(governor) if "governed_db_probe" in e.get("what", {}).get("text", "").lower()
    ]
    # Once against the cap, and once for the people who are asked then.
    assert [e["who"]["subject"] for e in probes] == ["governed_db"] * 2
    assert probes[0]["who"]["on_behalf_of"][0]["subject"] == "copilot"


@flavours
async def test_a_join_counts_rows_of_the_target_once(db, governor, name):
    async with Flavour(name).connect(db, governor=governor, identity=AGENT) as conn:
        cur = await do(conn.execute(OVER["from"], (1, 0)))  # 300 pairs, 30 rows
        assert cur.rowcount == 30


@flavours
@modes
async def test_under_the_cap_it_runs(db, governor, name, mode):
    flavour = Flavour(name)
    alone = mode == "autocommit"
    async with flavour.connect(db, governor=governor, identity=AGENT, autocommit=alone) as conn:
        statement = "UPDATE parents SET label = %s WHERE id < %s RETURNING id"
        if mode == "pipeline":
            async with within(conn.pipeline()):
                cur = await do(conn.execute(statement, ("changed", 50)))
                assert len(await do(cur.fetchall())) == 49
        else:
            cur = await do(conn.execute(statement, ("changed", 50)))
            assert len(await do(cur.fetchall())) == 49
        await do(conn.commit())
    assert facts(db, "SELECT count(*) FROM parents WHERE label = 'changed'") == 49


@flavours
async def test_a_probe_that_fails_hides_nothing_and_aborts_nothing(db, governor, name):
    async with Flavour(name).connect(db, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("INSERT INTO parents VALUES (5000, 'kept', 1)"))
        with pytest.raises(psycopg.errors.DivisionByZero):
            await do(conn.execute("UPDATE parents SET n = 0 WHERE id < 5 AND 1 / (n - n) > 0"))
        await do(conn.rollback())
        cur = await do(conn.execute("UPDATE parents SET n = 0 WHERE id < 5"))
        assert cur.rowcount == 4


@flavours
async def test_cascades_under_the_cap_run(db, governor, name):
    async with Flavour(name).connect(db, governor=governor, identity=AGENT, autocommit=True) as conn:
        cur = await do(conn.execute("DELETE FROM parents WHERE id = 25"))  # 10 children, no grandchildren
        assert cur.rowcount == 1
        with pytest.raises(errors.ApprovalRequired, match="would touch more than 100"):
            await do(conn.execute("DELETE FROM parents WHERE id = 2"))  # 10 children, 90 grandchildren
    assert facts(db, "SELECT count(*) FROM children") == 290


@flavours
async def test_a_cycle_of_foreign_keys_is_counted_once(db, governor, name):
    async with Flavour(name).connect(db, governor=governor, identity=AGENT, autocommit=True) as conn:
        cur = await do(conn.execute("DELETE FROM nodes WHERE id >= 5"))
        assert cur.rowcount >= 1
    assert facts(db, "SELECT count(*) FROM nodes") == 4


@flavours
@modes
async def test_rows_that_triggers_write_count(db, governor, name, mode):
    async with Flavour(name).connect(
        db, governor=governor, identity=AGENT, autocommit=mode == "autocommit"
    ) as conn:
        if mode == "block":
            await do(conn.execute("INSERT INTO parents VALUES (5000, 'kept', 1)"))
        with pytest.raises(errors.ApprovalRequired, match="touched 210 rows"):
            await send(conn, mode, "UPDATE noted SET label = 'x' WHERE id <= 10")
        cur = await do(conn.execute("UPDATE noted SET label = 'x' WHERE id <= 4"))
        assert cur.rowcount == 4
        await do(conn.commit())
    assert facts(db, "SELECT count(*) FROM notes") == 80
    assert facts(db, "SELECT count(*) FROM parents WHERE id = 5000") == (mode == "block")


@flavours
async def test_rows_of_deferred_triggers_count_in_autocommit(db, governor, name):
    with psycopg.connect(db, autocommit=True) as plain:
        plain.execute(
            "CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON parents DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION note()"
        )
    async with Flavour(name).connect(db, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired, match="touched 210 rows"):
            await do(conn.execute("UPDATE parents SET label = 'x' WHERE id <= 10"))
    assert facts(db, "SELECT count(*) FROM notes") == 0


@flavours
@pytest.mark.parametrize(
    "statement",
    [
        "WITH d AS (UPDATE parents SET n = 0 WHERE id <= {} RETURNING id) SELECT count(*) FROM d",
        "WITH d AS (DELETE FROM parents WHERE id > 300 - {} RETURNING id)"
        " INSERT INTO notes SELECT id FROM d WHERE id < 0",
        "EXPLAIN ANALYZE UPDATE parents SET n = 0 WHERE id <= {}",
    ],
)
async def test_writes_that_no_tag_counts_are_counted(db, governor, name, statement):
    async with Flavour(name).connect(db, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired, match="touched 150 rows"):
            await do(conn.execute(statement.format(150)))
        assert facts(db, "SELECT count(*) FROM parents WHERE n = id") == 300
        await do(conn.execute(statement.format(20)))
    assert facts(db, "SELECT count(*) FROM parents WHERE n = id") == 280


@flavours
async def test_where_the_server_does_not_count_it_takes_an_approval(db, governor, name):
    async with Flavour(name).connect(
        db, governor=governor, identity=AGENT, autocommit=True, options="-c track_counts=off"
    ) as conn:
        with pytest.raises(errors.ApprovalRequired, match="does not report how many rows"):
            await do(
                conn.execute("WITH d AS (UPDATE parents SET n = 0 WHERE id < 5 RETURNING id) SELECT FROM d")
            )


@flavours
@pytest.mark.parametrize("mode", ["autocommit", "transaction", "block", "pipeline"])
async def test_executemany_adds_up_and_goes_back_as_one(db, governor, name, mode):
    async with Flavour(name).connect(
        db, governor=governor, identity=AGENT, autocommit=mode == "autocommit"
    ) as conn:
        if mode == "block":
            await do(conn.execute("INSERT INTO parents VALUES (5000, 'kept', 1)"))
        cur = conn.cursor()
        sets = [(n * 40, n * 40 + 40) for n in range(4)]  # 160 rows, 40 at a time
        statement = "UPDATE parents SET n = 0 WHERE id > %s AND id <= %s"

        async def send(sets):
            if mode == "pipeline":
                async with within(conn.pipeline()):
                    await do(cur.executemany(statement, sets))
            else:
                await do(cur.executemany(statement, sets))

        with pytest.raises(errors.ApprovalRequired, match="would touch more than 100 rows"):
            await send(sets)
        await send(sets[:2])
        assert cur.rowcount == 80
        await do(conn.commit())
    assert facts(db, "SELECT count(*) FROM parents WHERE n = 0") == 80
    assert facts(db, "SELECT count(*) FROM parents WHERE id = 5000") == (mode == "block")


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_long_batch_is_counted_while_it_runs(db, governor, name, autocommit):
    async with Flavour(name).connect(db, governor=governor, identity=AGENT, autocommit=autocommit) as conn:
        cur = conn.cursor()
        with pytest.raises(errors.ApprovalRequired, match="touched 150 rows"):
            await do(cur.executemany("UPDATE parents SET n = 0 WHERE id <= %s AND id >= %s", _pairs(150)))
        assert facts(db, "SELECT count(*) FROM parents WHERE n = 0") == 0


def _pairs(count: int) -> list[tuple[int, int]]:
    return [(n, n) for n in range(1, count + 1)]


@flavours
@pytest.mark.parametrize("many", [False, True])
async def test_nobody_sees_a_row_of_a_write_that_is_rolled_back(db, governor, name, many):
    seen: list[object] = []

    def factory(cursor):
        seen.append(cursor.description and cursor.pgresult)

        def make(values):
            seen.append(values)
            return tuple(values)

        return make

    async with Flavour(name).connect(db, governor=governor, identity=AGENT, autocommit=True) as conn:
        cur = conn.cursor(row_factory=factory)
        statement = "UPDATE noted SET label = 'x' WHERE id <= %s RETURNING id"
        sending = cur.executemany if many else cur.execute
        arguments = ([(10,)],) if many else ((10,),)
        with pytest.raises(errors.ApprovalRequired, match="touched"):
            await do(sending(statement, *arguments, **({"returning": True} if many else {})))
        assert [s for s in seen if s is not None] == []


def test_timeouts_of_a_guarded_write_do_not_outlive_it(db, governor):
    boss = Identity.human("boss")
    with Flavour("sync").Connection.connect(db, governor=governor, identity=boss) as conn:
        conn.execute("SELECT 1")
        conn.execute("UPDATE parents SET n = 0 WHERE id < 5")
        assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)
        conn.rollback()
        conn.execute("UPDATE parents SET n = 0 WHERE id < 5")
        assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)


@flavours
async def test_copy_in_stops_at_the_cap(db, tmp_path, name):
    path = tmp_path / "copy.toml"
    path.write_text(
        'extends = "standard"\n[[rule]]\nid = "copy"\nwhen = { effects = ["copy_from"] }\n'
        'then = "allow"\nrows = 100\nbecause = "tests"\n'
    )
    governor = Governor.load(path, state_dir=tmp_path)
    for autocommit in (True, False):
        async with Flavour(name).connect(
            db, governor=governor, identity=AGENT, autocommit=autocommit
        ) as conn:
            for rows in (50, 101, 150):
                with pytest.raises(errors.ApprovalRequired) if rows > 100 else nullcontext():
                    await _copy_in(conn, rows)
            cur = await do(conn.execute("SELECT count(*) FROM notes"))
            assert await do(cur.fetchone()) == ((50,) if autocommit else (100,))
            await do(conn.commit())
    governor.close()


async def _copy_in(conn, rows: int) -> None:
    async with within(conn.cursor().copy("COPY notes FROM STDIN")) as copy:
        await do(copy.write("".join(f"{n}\n" for n in range(rows))))


EVERY = {
    "range": ("UPDATE noted SET label = label WHERE id < %s", (9999,)),
    "sub-select": ("DELETE FROM noted WHERE label IN (SELECT label FROM noted AS n WHERE n.id > %s)", (0,)),
    "other table": ("DELETE FROM noted AS t USING parents AS p WHERE p.id = t.id AND p.n < %s", (9999,)),
}


@flavours
@pytest.mark.parametrize("what", EVERY)
async def test_a_where_that_leaves_out_no_row_restricts_nothing(server, db, governor, name, what):
    with psycopg.connect(db, autocommit=True) as owner:
        owner.execute("DELETE FROM noted WHERE id > 3")
    statement, params = EVERY[what]
    async with Flavour(name).connect(db, governor=governor, identity=AGENT) as conn:
        with pytest.raises(errors.ApprovalRequired, match=r"every row of public\.noted|no WHERE that prov"):
            await do(conn.execute(statement, params))
        assert facts(db, "SELECT count(*) FROM noted WHERE label = 'l'") == 3
        with psycopg.connect(db, autocommit=True) as owner:  # with one row that is left out, it restricts
            owner.execute("INSERT INTO noted VALUES (20000, 'other')")
        if "sub-select" not in what:
            await do(conn.execute(statement, params))


@flavours
async def test_values_asked_of_a_column_restrict_whatever_rows_there_are(db, governor, name):
    async with Flavour(name).connect(db, governor=governor, identity=AGENT) as conn:
        with psycopg.connect(db, autocommit=True) as owner:
            owner.execute("DELETE FROM noted WHERE id > 3")
        cur = await do(conn.execute("UPDATE noted SET id = id WHERE label IN (%s, 'm')", ("l",)))
        assert cur.rowcount == 3


SPARED = """
DROP TABLE IF EXISTS sparing, setting_off, later, many CASCADE;
CREATE TABLE sparing (
  id int PRIMARY KEY, n int, flag bool DEFAULT true, twice int GENERATED ALWAYS AS (n * 0) STORED
);
INSERT INTO sparing SELECT n, n FROM generate_series(1, 10) AS n;
CREATE VIEW constants AS SELECT id, n, 1 AS one FROM sparing;
CREATE TABLE setting_off (id int PRIMARY KEY);
CREATE OR REPLACE FUNCTION one_by_one() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT id FROM sparing LOOP DELETE FROM sparing WHERE id = r.id; END LOOP;
  RETURN NULL;
END $$;
CREATE TRIGGER each AFTER INSERT ON setting_off FOR EACH ROW EXECUTE FUNCTION one_by_one();
CREATE TABLE many (id int PRIMARY KEY);
INSERT INTO many SELECT generate_series(1, 200);
CREATE TABLE later (id int PRIMARY KEY);
CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT id FROM many LOOP DELETE FROM many WHERE id = r.id; END LOOP;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER last AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION at_commit();
"""


@pytest.fixture
def spared(dsn: str, layout: Layout) -> str:
    layout.lay(SCHEMA + SPARED)
    return dsn


UNSPARING = {
    "volatile": ("DELETE FROM sparing WHERE id > floor(random())", None),
    "a sequence of times": ("DELETE FROM sparing WHERE id < extract(epoch FROM clock_timestamp())", None),
    "two halves": (
        "WITH a AS (DELETE FROM sparing WHERE id <= 5), b AS (DELETE FROM sparing WHERE id > 5) SELECT 1",
        None,
    ),
    "explain": ("EXPLAIN (ANALYZE) UPDATE sparing SET n = 0 WHERE id > -9 AND id < 99", None),
    "a constant of a view": ("UPDATE constants SET n = 0 WHERE one = 1", None),
    "a generated column": ("UPDATE sparing SET n = 1 WHERE twice = 0", None),
    "both flags": ("UPDATE sparing SET n = 0 WHERE flag IN (%s, %s)", (True, False)),
    "either flag": ("UPDATE sparing SET n = 0 WHERE flag = %s OR flag = %s", (True, False)),
    "a trigger's loop": ("INSERT INTO setting_off VALUES (1)", None),
}


@flavours
@pytest.mark.parametrize("what", UNSPARING)
async def test_what_no_select_can_measure_is_rolled_back_when_it_left_out_no_row(
    spared, governor, name, what
):
    statement, params = UNSPARING[what]
    count = "SELECT count(*) FROM sparing WHERE n = id"
    async with Flavour(name).connect(spared, governor=governor, identity=AGENT) as conn:
        with pytest.raises(errors.ApprovalRequired, match=r"every row of|no WHERE that provably"):
            await do(conn.execute(statement, params))
        await do(conn.commit())
    assert facts(spared, count) == 10


@flavours
async def test_a_change_without_a_probe_that_leaves_out_a_row_runs(spared, governor, name):
    async with Flavour(name).connect(spared, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("DELETE FROM sparing WHERE id > 1 + floor(random())"))
        await do(conn.commit())
    assert facts(spared, "SELECT count(*) FROM sparing") == 1


@flavours
async def test_what_a_trigger_writes_at_the_commit_is_asked_for_before(spared, governor, name):
    async with Flavour(name).connect(spared, governor=governor, identity=AGENT) as conn:
        with pytest.raises(errors.ApprovalRequired, match="writes at the COMMIT"):
            await do(conn.execute("INSERT INTO later VALUES (1)"))
        await do(conn.commit())
    assert facts(spared, "SELECT count(*) FROM many") == 200

"""Values are sampled before rows are released, within bounds, and nothing of the caller's is disturbed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from governed_db.driver import sampling
from governed_db.masking.sampled import Verdict
from tests.flavours import Flavour, do, within
from tests.layout import Layout

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("bot")
SHOP = Identity.service("shop")
SECRET = "canary.person@mail.example"

_SCHEMA = f"""
    DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC;
    CREATE TABLE t (id int PRIMARY KEY, c1 text, c2 text);
    INSERT INTO t SELECT g, 'n' || g || '.{SECRET}', 'order ' || g FROM generate_series(1, 60) g;
    CREATE TABLE plain (id int, c1 text);
    INSERT INTO plain SELECT g, 'word ' || g FROM generate_series(1, 60) g;
    CREATE TABLE empty (id int, c1 text);
    CREATE VIEW looking AS SELECT id, c1 AS handle FROM t;
    CREATE MATERIALIZED VIEW kept AS SELECT id, upper(c1) AS x FROM t;
    CREATE TABLE measured (id int, c1 text) PARTITION BY RANGE (id);
    CREATE TABLE measured_1 PARTITION OF measured FOR VALUES FROM (0) TO (100);
    INSERT INTO measured SELECT id, c1 FROM t;
    CREATE TABLE documents (id int, d jsonb, raw text, tags text[]);
    INSERT INTO documents SELECT id, jsonb_build_object('a', id, 'z', c1), '{{"k": "' || c1 || '"}}',
        ARRAY['x', c1] FROM t;
    CREATE TABLE facts (entity int, attribute text, value text);
    INSERT INTO facts VALUES (1, 'color', 'red'), (1, 'email', 'hidden'), (2, 'ssn', 'hidden too');
    CREATE TABLE choices (entity int, attribute text, value text);
    INSERT INTO choices VALUES (1, 'color', 'red'), (1, 'size', 'xl');
    CREATE TABLE large (id int, c1 text);
    INSERT INTO large SELECT g, 'n' || g || '.{SECRET}' FROM generate_series(1, 100000) g; ANALYZE large;
"""


@pytest.fixture(scope="module", autouse=True)
def _role(server: Any) -> Iterator[None]:
    with psycopg.connect(server.conninfo(), autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS sampled_reader")
        conn.execute("CREATE ROLE sampled_reader LOGIN")
    yield
    with psycopg.connect(server.conninfo(), autocommit=True) as conn:
        conn.execute("ALTER ROLE sampled_reader NOLOGIN")


@pytest.fixture(autouse=True)
def schema(layout: Layout) -> None:
    layout.lay(_SCHEMA)


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


def made(folder: Path, masking: str = "", more: str = "") -> Governor:
    policy = folder / "policy.toml"
    head = 'extends = "standard"\nservices = ["shop"]\n[masking]\nunmasked = [{kind = ["service"]}]'
    policy.write_text(f"{head}\n{masking}\n{more}")
    policy.chmod(0o600)
    return Governor.load(policy, state_dir=folder)


@pytest.fixture
def governor(tmp_path: Path) -> Iterator[Governor]:
    made_ = made(tmp_path, "sample_again = 0")
    yield made_
    made_.close()


def admin(dsn: str, text: str) -> None:
    with psycopg.connect(dsn, autocommit=True, options="-c lock_timeout=10s") as conn:
        conn.execute(text)


async def rows(conn: Any, text: str, params: Any = None, **kw: Any) -> list[Any]:
    return await do((await do(conn.execute(text, params, **kw))).fetchall())


def sent(server: Any, dsn: str) -> list[str]:
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    return [text for text in server.statements(str(name)) if "pg_catalog.left" in text and "AS r" in text]


@asynccontextmanager
async def agent(flavour: Flavour, dsn: str, governor: Governor, **kw: Any) -> Any:
    async with flavour.connect(dsn, governor=governor, identity=AGENT, **kw) as conn:
        yield conn


READS = {
    "a column": ("SELECT c1 FROM t", 0),
    "a star": ("SELECT * FROM t", 1),
    "a view": ("SELECT handle FROM looking", 0),
    "a materialised view": ("SELECT x FROM kept", 0),
    "a partitioned table": ("SELECT c1 FROM measured", 0),
    "a partition": ("SELECT c1 FROM measured_1", 0),
    "a document": ("SELECT d->>'z' FROM documents", None),
    "a document as text": ("SELECT raw FROM documents", 0),
    "an array": ("SELECT tags FROM documents", 0),
    "attributes": ("SELECT value FROM facts", 0),
    "what is returned": ("UPDATE t SET c2 = 'x' WHERE id = 1 RETURNING c1", 0),
    "a large table": ("SELECT c1 FROM large LIMIT 5", 0),
}


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("name", READS)
async def test_no_row_is_released_before_its_values_are_known(dsn, governor, flavour, name, autocommit):
    text, place = READS[name]
    async with agent(flavour, dsn, governor, autocommit=autocommit) as conn:
        if place is None:
            with pytest.raises(errors.MaskedColumnRefused):
                await rows(conn, text)
            return
        found = await rows(conn, text)
        assert found
        shown = repr([row[place] for row in found])
        assert "[" in shown
        assert "canary" not in shown.lower()
        assert "hidden" not in shown


async def test_what_is_plain_stays_plain(dsn, governor, flavour):
    async with agent(flavour, dsn, governor) as conn:
        assert (await rows(conn, "SELECT c2 FROM t WHERE id = 7")) == [("order 7",)]
        assert (await rows(conn, "SELECT c1 FROM plain WHERE id = 7")) == [("word 7",)]
        assert ("red",) in await rows(conn, "SELECT value FROM choices")


async def test_a_predicate_over_it_is_refused(dsn, governor, flavour):
    async with agent(flavour, dsn, governor) as conn:
        for text in ("SELECT count(*) FROM t WHERE c1 LIKE 'n1%'", "UPDATE t SET c2 = '' WHERE c1 > 'a'"):
            with pytest.raises(errors.MaskedColumnRefused, match=r"public\.t\.c1"):
                await rows(conn, text)


async def test_a_pipeline_goes_on(dsn, governor, flavour):
    async with agent(flavour, dsn, governor, autocommit=True) as conn, within(conn.pipeline()):
        first = await do(conn.execute("SELECT 1"))
        second = await do(conn.execute("SELECT c1 FROM t"))
        third = await do(conn.execute("SELECT c2 FROM t WHERE id = 3"))
        assert await do(first.fetchall()) == [(1,)]
        assert SECRET not in repr(await do(second.fetchall()))
        assert await do(third.fetchall()) == [("order 3",)]


@pytest.mark.parametrize("begin", ["autocommit", "transaction", "own"])
async def test_the_transaction_of_the_caller_is_as_it_was(dsn, governor, flavour, begin):
    async with agent(flavour, dsn, governor, autocommit=begin == "autocommit") as conn:
        if begin != "autocommit":
            await do(conn.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ))
            await do(conn.set_read_only(True))
        if begin == "own":
            await rows(conn, "SELECT 1")
        before = await settings(conn)
        assert SECRET not in repr(await rows(conn, "SELECT c1 FROM t"))
        assert await settings(conn) == before
        if begin == "own":
            assert before[0][:2] == ("repeatable read", "on")
            # One snapshot from the first statement on, sampling or not.
            admin(dsn, "UPDATE plain SET c1 = 'later' WHERE id = 1")
            assert await rows(conn, "SELECT c1 FROM plain WHERE id = 1") == [("word 1",)]
        await do(conn.rollback())
        if begin == "autocommit":
            await do(conn.execute("INSERT INTO empty VALUES (1, 'x')"))
        else:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                await do(conn.execute("INSERT INTO empty VALUES (1, 'x')"))


async def settings(conn: Any) -> list[Any]:
    return await rows(
        conn,
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),"
        " current_setting('statement_timeout'), current_setting('lock_timeout')",
    )


async def test_a_cursor_that_is_open_goes_on(dsn, governor, flavour):
    async with agent(flavour, dsn, governor) as conn, within(conn.cursor("c")) as named:
        await do(named.execute("SELECT id FROM plain ORDER BY id"))
        assert await do(named.fetchone()) == (1,)
        assert SECRET not in repr(await rows(conn, "SELECT c1 FROM t"))
        assert await do(named.fetchone()) == (2,)


async def test_random_numbers_are_the_callers_own(dsn, governor, flavour):
    async with agent(flavour, dsn, governor, autocommit=True) as conn:
        await rows(conn, "SELECT setseed(0.5)")
        expected = [await rows(conn, "SELECT random()") for _ in range(3)]
        await rows(conn, "SELECT setseed(0.5)")
        found = [await rows(conn, "SELECT random()")]
        await rows(conn, "SELECT c1 FROM large LIMIT 1")
        found += [await rows(conn, "SELECT random()") for _ in range(2)]
        assert found == expected


async def test_an_empty_table_is_looked_at_again(dsn, governor, flavour):
    async with agent(flavour, dsn, governor) as conn:
        assert await rows(conn, "SELECT c1 FROM empty") == []
        admin(dsn, f"INSERT INTO empty SELECT 1, 'n{SECRET}'")
        assert await rows(conn, "SELECT c1 FROM empty") == [("[EMAIL_ADDRESS]",)]


async def test_how_soon_is_for_the_policy_to_say(dsn, server, tmp_path, flavour, layout):
    layout.make(_SCHEMA)
    slow = made(tmp_path, "sample_again = 3600")
    async with agent(flavour, dsn, slow) as conn:
        before = len(sent(server, dsn))
        for _ in range(3):
            await rows(conn, "SELECT c1 FROM empty")
            await rows(conn, "SELECT c1 FROM plain")
        assert len(sent(server, dsn)) <= before + 1  # what has no pages is not read at all
    slow.close()


async def test_a_new_column_is_looked_at_before_its_first_row(dsn, governor, flavour):
    async with agent(flavour, dsn, governor, autocommit=True) as conn:
        assert (await rows(conn, "SELECT * FROM plain WHERE id = 1")) == [(1, "word 1")]
        admin(dsn, f"ALTER TABLE plain ADD c2 text; UPDATE plain SET c2 = '{SECRET}'")
        conn._seat.catalog_stale = True  # what max_age does two seconds later
        (found,) = await rows(conn, "SELECT * FROM plain WHERE id = 1")
        assert found == (1, "word 1", "[EMAIL_ADDRESS]")


async def test_connections_share_what_is_known(dsn, server, tmp_path, flavour):
    governor = made(tmp_path)
    async with agent(flavour, dsn, governor) as one, agent(flavour, dsn, governor) as two:
        # Understood before: dropped when somebody else learns more.
        admin(dsn, "DELETE FROM plain")
        assert await rows(two, "SELECT c1 FROM plain") == []
        await rows(one, "SELECT c1 FROM t")
        before = len(sent(server, dsn))
        assert SECRET not in repr(await rows(two, "SELECT c1, c2 FROM t"))
        assert len(sent(server, dsn)) == before
    governor.close()


async def test_what_another_connection_learnt_counts_at_once(dsn, tmp_path, flavour):
    governor = made(tmp_path, "sample_again = 3600")
    async with agent(flavour, dsn, governor) as one, agent(flavour, dsn, governor) as two:
        assert await rows(one, "SELECT c1 FROM empty") == []
        admin(dsn, f"INSERT INTO empty VALUES (1, '{SECRET}')")
        await do(two.wait(sampling.survey(two._seat)))
        await do(one.rollback())
        assert await rows(one, "SELECT c1 FROM empty") == [("[EMAIL_ADDRESS]",)]
    governor.close()


async def test_nobody_else_is_sampled_for(dsn, server, tmp_path, flavour):
    governor = made(tmp_path)
    before = len(sent(server, dsn))
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        assert SECRET in repr(await rows(conn, "SELECT c1 FROM t"))
    governor.close()
    watching = Governor.preset("observe", state_dir=tmp_path / "watching")
    async with agent(flavour, dsn, watching) as conn:
        assert SECRET in repr(await rows(conn, "SELECT c1 FROM t"))
    watching.close()
    off = made(tmp_path, 'sample = "off"')
    async with agent(flavour, dsn, off) as conn:
        assert SECRET in repr(await rows(conn, "SELECT c1 FROM t"))
    off.close()
    assert len(sent(server, dsn)) == before


async def test_what_is_refused_by_name_is_not_sampled(dsn, server, governor, flavour):
    admin(dsn, "ALTER TABLE t ADD email text")
    before = len(sent(server, dsn))
    async with agent(flavour, dsn, governor) as conn:
        with pytest.raises(errors.MaskedColumnRefused):
            await rows(conn, "SELECT c1 FROM t WHERE email = 'x'")
    assert len(sent(server, dsn)) == before


async def test_only_what_the_role_may_read_is_read(dsn, governor, flavour):
    admin(dsn, "GRANT SELECT (id, c1) ON t TO sampled_reader; GRANT SELECT ON kept TO sampled_reader")
    async with agent(flavour, dsn, governor, user="sampled_reader", autocommit=True) as conn:
        assert SECRET not in repr(await rows(conn, "SELECT c1 FROM t"))
        assert SECRET not in repr(await rows(conn, "SELECT x FROM kept"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await rows(conn, "SELECT c1 FROM plain")
        assert await rows(conn, "SELECT 1") == [(1,)]
    governor.flush()
    told = [(e["relation"], e["reason"]) for e in events(governor)]
    assert ("public.t", "the role may not read all of its columns") in told
    assert ("public.plain", "the role may not read any of its columns") in told


async def test_row_security_holds_and_says_nothing_for_others(dsn, governor, flavour):
    admin(
        dsn,
        "GRANT SELECT ON t TO sampled_reader; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY none ON t FOR SELECT TO sampled_reader USING (false)",
    )
    async with agent(flavour, dsn, governor, user="sampled_reader") as conn:
        assert await rows(conn, "SELECT c1 FROM t") == []
    async with agent(flavour, dsn, governor) as conn:
        assert SECRET not in repr(await rows(conn, "SELECT c1 FROM t"))


async def test_a_function_behind_row_security_is_not_run_for_a_sample(dsn, server, governor, flavour):
    admin(
        dsn,
        "CREATE FUNCTION mine(int) RETURNS bool LANGUAGE plpgsql VOLATILE AS"
        " $$ BEGIN PERFORM pg_notify('ran', ''); RETURN true; END $$;"
        " GRANT SELECT ON t TO sampled_reader; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY p ON t FOR SELECT USING (mine(id))",
    )
    before = len(sent(server, dsn))
    async with agent(flavour, dsn, governor, user="sampled_reader") as conn:
        with pytest.raises(errors.StatementBlocked):
            await rows(conn, "SELECT c1 FROM t")
    assert len(sent(server, dsn)) == before


async def test_a_lock_is_not_waited_for_long(dsn, tmp_path, flavour):
    governor = made(tmp_path, "sample_timeout_ms = 50\nsample_again = 0")
    with psycopg.connect(dsn) as blocker:
        blocker.execute("LOCK TABLE plain IN ACCESS EXCLUSIVE MODE")
        async with agent(flavour, dsn, governor) as conn:
            await rows(conn, "SELECT 1")
            await do(conn.wait(sampling.survey(conn._seat, [relation(conn, "plain")])))
            blocker.rollback()
            assert len(await rows(conn, "SELECT c1 FROM plain")) == 60
    assert {e["reason"] for e in events(governor)} == {
        "it is locked for longer than half of masking.sample_timeout_ms"
    }
    governor.close()


@pytest.mark.parametrize("autocommit", [True, False])
async def test_nothing_is_released_that_a_lock_kept_from_being_looked_at(dsn, tmp_path, flavour, autocommit):
    governor = made(tmp_path, "sample_timeout_ms = 50")
    with psycopg.connect(dsn) as blocker:
        blocker.execute("LOCK TABLE large IN ACCESS EXCLUSIVE MODE")
        async with agent(flavour, dsn, governor) as conn:
            await do(conn.set_autocommit(autocommit))
            await rows(conn, "SELECT 1")
            with pytest.raises(errors.StatementBlocked) as caught:
                await rows(conn, "SELECT c1 FROM large WHERE id < 9")
            assert (caught.value.rule, caught.value.retryable) == ("masking.unsampled", True)
            decision = governor.check if flavour.name == "sync" else governor.acheck
            answer = await do(decision("SELECT c1 FROM large WHERE id < 9", connection=conn))
            assert (answer.verdict, answer.rule) == ("block", "masking.unsampled")
            blocker.rollback()
            assert SECRET not in repr(await rows(conn, "SELECT c1 FROM large WHERE id < 9"))
    assert "masking.unsampled" in [r.get("may", {}).get("rule") for r in records(governor)]
    governor.close()


async def test_values_are_looked_at_whatever_the_encoding_of_the_session(dsn, governor, flavour):
    admin(dsn, "UPDATE t SET c2 = chr(26085)")  # Latin-1 does not have it
    async with agent(flavour, f"{dsn} client_encoding=LATIN1", governor) as conn:
        assert SECRET not in repr(await rows(conn, "SELECT c1 FROM t"))
        assert await rows(conn, "SHOW client_encoding") == [("LATIN1",)]
    assert not events(governor)


def relation(conn: Any, name: str) -> Any:
    return next(r for r in conn._seat.catalog.relations.values() if r.name == name)


async def test_a_sample_is_a_sample(dsn, server, governor, flavour):
    async with agent(flavour, dsn, governor) as conn:
        assert SECRET not in repr(await rows(conn, "SELECT c1 FROM large LIMIT 1"))
    text = sent(server, dsn)[-1]
    assert "TABLESAMPLE" in text
    assert "LIMIT 200" in text
    assert "ONLY" in text


async def test_a_document_is_masked_by_its_keys(dsn, governor, flavour):
    admin(
        dsn, f"""UPDATE documents SET d = '{{"email": "{SECRET}", "note": "x", "items": [{{"phone": 1}}]}}'"""
    )
    async with agent(flavour, dsn, governor) as conn:
        (found,) = await rows(conn, "SELECT d FROM documents LIMIT 1")
    assert found[0] == {"email": "[EMAIL_ADDRESS]", "note": "[JSON_PII]", "items": [{"phone": 0}]}


async def test_what_is_left_in_a_large_file_is_found(dsn, governor, flavour):
    admin(
        dsn,
        "CREATE TABLE left_over (id int, c1 text); INSERT INTO left_over SELECT g, repeat('n', 300)"
        " FROM generate_series(1, 20000) g; ANALYZE left_over; DELETE FROM left_over WHERE id > 5;"
        f" UPDATE left_over SET c1 = '{SECRET}'",
    )
    async with agent(flavour, dsn, governor) as conn:
        assert SECRET not in repr(await rows(conn, "SELECT c1 FROM left_over"))


async def test_rows_domains_and_words_are_read(dsn, governor, flavour):
    admin(
        dsn,
        "DROP DOMAIN IF EXISTS dm; CREATE DOMAIN dm AS text; CREATE TYPE pt AS (a int, b text);"
        " CREATE TABLE odd (d dm, ds dm[], v varchar(60)[], p pt, w tsvector);"
        f" INSERT INTO odd VALUES ('{SECRET}', ARRAY['{SECRET}']::dm[], ARRAY['{SECRET}'],"
        f" ROW(1, '{SECRET}')::pt, to_tsvector('simple', '{SECRET}'))",
    )
    async with agent(flavour, dsn, governor) as conn:
        assert "canary" not in repr(await rows(conn, "SELECT * FROM odd"))


async def test_one_row_in_a_hundred_bytes_and_partitions_in_the_middle_are_seen(dsn, governor, flavour):
    admin(
        dsn,
        f"CREATE TABLE rare (c1 text); INSERT INTO rare SELECT CASE WHEN g % 100 = 7 THEN '{SECRET}'"
        " ELSE 'word ' || g END FROM generate_series(1, 200) g; CREATE TABLE raw (b bytea, image bytea);"
        f""" INSERT INTO raw SELECT convert_to('{{"k": "' || g || '{SECRET}"}}', 'UTF8'),"""
        " decode(md5(g::text) || '00', 'hex') FROM generate_series(1, 60) g;"
        " CREATE TABLE split (part int, c1 text) PARTITION BY LIST (part); DO $$ BEGIN FOR n IN 1..20 LOOP"
        " EXECUTE format('CREATE TABLE split_%s PARTITION OF split FOR VALUES IN (%s)', n, n);"
        " END LOOP; END $$;"
        f" INSERT INTO split SELECT 1 + g % 20, CASE WHEN g % 20 = 9 THEN '{SECRET}' ELSE 'word' || g END"
        " FROM generate_series(1, 400) g; CREATE TABLE born (first_name text, d timestamp);"
        " INSERT INTO born SELECT 'x' || g, timestamp '1950-01-01' + g * interval '300 days'"
        " FROM generate_series(1, 40) g",
    )
    async with agent(flavour, dsn, governor) as conn:
        assert "canary" not in repr(await rows(conn, "SELECT * FROM rare"))
        assert "canary" not in repr(await rows(conn, "SELECT b FROM raw"))
        assert all((await rows(conn, "SELECT image FROM raw LIMIT 1"))[0])
        assert "canary" not in repr(await rows(conn, "SELECT * FROM split"))
        assert {d.year for (d,) in await rows(conn, "SELECT d FROM born")} == {1970}


async def test_names_need_their_quotes(dsn, governor, flavour):
    admin(dsn, f"""CREATE TABLE "Odd ""one" ("The ü" text); INSERT INTO "Odd ""one" VALUES ('{SECRET}')""")
    async with agent(flavour, dsn, governor) as conn:
        assert await rows(conn, 'SELECT * FROM "Odd ""one"') == [("[EMAIL_ADDRESS]",)]


async def test_no_value_is_kept_or_told(dsn, governor, flavour):
    async with agent(flavour, dsn, governor) as conn:
        await rows(conn, "SELECT c1 FROM t")
        verdicts = governor.samples.verdicts(conn._seat.catalog)
    governor.flush()
    governor.close()
    assert all(isinstance(v, Verdict) and v.evidence for v in verdicts.values())
    written = b"".join(f.read_bytes() for f in governor.trail.folder.rglob("*") if f.is_file())
    assert b"canary" not in written
    assert "canary" not in repr(verdicts)
    assert "canary" not in repr(governor.samples)


async def test_it_is_on_the_trail_and_costs_no_budget(dsn, tmp_path, flavour):
    more = '[[budget]]\nid = "few"\nstatements_per_minute = 2\n'
    governor = made(tmp_path, "", more)
    async with agent(flavour, dsn, governor, autocommit=True) as conn:
        await rows(conn, "SELECT c1 FROM t")
        await rows(conn, "SELECT c1 FROM plain")
        with pytest.raises(errors.StatementBlocked, match="minute"):
            await rows(conn, "SELECT 1")
    governor.flush()
    governor.close()
    ours = [r for r in records(governor) if r.get("may", {}).get("rule") == sampling.RULE]
    assert ours


def records(governor: Governor) -> list[dict[str, Any]]:
    return [dict(r) for r in reader.read(governor.trail.folder)]


def events(governor: Governor) -> list[dict[str, Any]]:
    return [r["details"] for r in records(governor) if r.get("event") == "masking.unsampled"]


async def test_a_survey_says_what_values_say(dsn, governor, flavour):
    async with agent(flavour, dsn, governor) as conn:
        found = await do(conn.wait(sampling.survey(conn._seat)))
        catalog = conn._seat.catalog
    by_name = {
        f"{catalog.relations[s.relation].name}.{s.column}": (v.label, v.evidence) for s, v in found.items()
    }
    assert by_name["t.2"] == ("EMAIL_ADDRESS", "60 of 60 sampled values (100%) are mail addresses")
    assert by_name["documents.2"][0] == "JSON_PII"
    assert by_name["facts.3"][0] == "PII"
    assert not any(name.startswith(("plain", "choices")) for name in by_name)


async def test_a_sample_that_takes_long_is_given_up(dsn, governor, flavour, monkeypatch):
    monkeypatch.setattr(
        sampling, "_select", lambda seat, wanted, *_: (wanted, b"SELECT pg_catalog.pg_sleep(30)", "")
    )
    timed = made(governor.trail.folder.parent, "sample_timeout_ms = 100")
    async with agent(flavour, dsn, timed) as conn:
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(errors.StatementBlocked) as caught:
                await rows(conn, "SELECT c1 FROM plain")
            assert (caught.value.rule, caught.value.retryable) == ("masking.unsampled", True)
        assert time.monotonic() - started < 20
        assert {e["reason"] for e in events(timed)} == {"it took longer than masking.sample_timeout_ms"}
        assert await rows(conn, "SELECT 1") == [(1,)]
    timed.close()

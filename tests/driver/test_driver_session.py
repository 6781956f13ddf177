"""The session cannot be turned against the guard: by text, by connection options, by what ran before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import governed_db
from governed_db import Governor, Identity, acting_as, errors
from governed_db.audit import reader
from tests.flavours import Flavour, do, within
from tests.layout import Layout

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("bot")
SHOP = Identity.service("shop")
SECRET = "alice.secret@example.com"

_SCHEMA = f"""
    DROP SCHEMA IF EXISTS public, aside CASCADE; CREATE SCHEMA public; CREATE SCHEMA aside;
    CREATE TABLE customers (id int PRIMARY KEY, email text, city text);
    INSERT INTO customers VALUES (1, '{SECRET}', 'c1'), (2, 'b@example.com', 'c2');
    CREATE VIEW places AS SELECT id, city AS label FROM customers;
    CREATE TABLE notes (id int PRIMARY KEY, label text UNIQUE);
    INSERT INTO notes SELECT n, 'l' || n FROM generate_series(1, 5) n;
    CREATE TABLE aside.notes (id int PRIMARY KEY, email text);
    INSERT INTO aside.notes VALUES (1, '{SECRET}');
    CREATE FUNCTION turn(name text, value text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RETURN set_config(name, value, false); END $$;
    CREATE FUNCTION shadow() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'CREATE TEMP VIEW notes AS SELECT id, email AS label FROM public.customers'; END $$;
"""


@pytest.fixture(autouse=True)
def schema(layout: Layout) -> None:
    layout.lay(_SCHEMA)


def _governor(folder: Path, max_age: float, more: str = "") -> Governor:
    policy = folder / "policy.toml"
    # Where callers are announced by settings, a function that sets what it is told the name of is refused.
    told = '[callers]\nannounce = ["application_name"]\n'
    policy.write_text(
        f'extends = "standard"\nservices = ["shop"]\n{told}[catalog]\nmax_age = {max_age}\n{more}'
    )
    policy.chmod(0o600)
    return Governor.load(policy, state_dir=folder)


@pytest.fixture
def governor(tmp_path: Path) -> Iterator[Governor]:
    """Believes what it has read until something tells it otherwise."""
    made = _governor(tmp_path, 3600.0)
    yield made
    made.close()


@pytest.fixture
def doubting(tmp_path: Path) -> Iterator[Governor]:
    """Reads anew before each statement."""
    made = _governor(tmp_path, 0.0)
    yield made
    made.close()


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


async def rows(conn: Any, text: str, params: Any = None) -> list[Any]:
    return await do((await do(conn.execute(text, params))).fetchall())


# -- what is in force when the connection is made

FOR_EVERYBODY = {
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
}


@pytest.mark.parametrize("name", FOR_EVERYBODY)
async def test_a_connection_that_reads_texts_otherwise_is_refused(dsn, governor, flavour, name, monkeypatch):
    for how in ("options", "environment"):
        options = f"-c {name}={FOR_EVERYBODY[name]}"
        if how == "environment":
            monkeypatch.setenv("PGOPTIONS", options)
        kwargs = {"options": options} if how == "options" else {}
        with pytest.raises(errors.GovernanceError) as refused:
            await do(flavour.Connection.connect(dsn, governor=governor, identity=SHOP, **kwargs))
        assert refused.value.rule == f"session.{name}"
        assert "from the connection's own parameters" in str(refused.value)
        assert "PGOPTIONS" in refused.value.remedy
        safe = {"on": "off", "off": "on"}[FOR_EVERYBODY[name]]
        assert f'options="-c {name}={safe}"' in refused.value.remedy


async def test_the_refusal_says_who_set_it_and_its_remedy_works(server, governor, flavour):
    dsn = server.create_database("turned")
    try:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("ALTER DATABASE turned SET standard_conforming_strings = off")
        with pytest.raises(errors.GovernanceError, match="ALTER DATABASE"):
            await do(flavour.Connection.connect(dsn, governor=governor, identity=AGENT))
        fixed = {"options": "-c standard_conforming_strings=on"}
        async with flavour.connect(dsn, governor=governor, identity=AGENT, **fixed) as conn:
            assert await rows(conn, r"SELECT 'a\b'") == [("a\\b",)]
        # Under observe nothing is looked up and nothing refused.
        watching = Governor.preset("observe", state_dir=governor.trail.folder.parent / "observe")
        async with flavour.connect(dsn, governor=watching, identity=AGENT) as conn:
            assert await rows(conn, r"SELECT 'a\\b'") == [("a\\b",)]
        watching.close()
    finally:
        server.drop_database("turned")


async def test_a_service_file_cannot_bring_it_in(dsn, governor, flavour, tmp_path, monkeypatch):
    parts = {**conninfo_to_dict(dsn), "options": "-c transform_null_equals=on"}
    file = tmp_path / "services"
    file.write_text("[turned]\n" + "".join(f"{key}={value}\n" for key, value in parts.items()))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    with pytest.raises(errors.GovernanceError, match="service file"):
        await do(flavour.Connection.connect("service=turned", governor=governor, identity=AGENT))


@pytest.mark.parametrize("encoding", ["SJIS", "BIG5", "GBK", "GB18030"])
async def test_an_encoding_that_hides_quotes_is_refused(dsn, governor, flavour, encoding):
    with pytest.raises(errors.GovernanceError) as refused:
        await do(flavour.Connection.connect(dsn, governor=governor, identity=AGENT, client_encoding=encoding))
    assert refused.value.rule == "session.client_encoding"


async def test_silenced_triggers_are_refused_to_callers_who_are_judged(dsn, governor, flavour):
    silent = {"options": "-c session_replication_role=replica"}
    async with flavour.connect(dsn, governor=governor, identity=SHOP, **silent) as conn:
        assert await rows(conn, "SELECT 1") == [(1,)]
        with acting_as(AGENT), pytest.raises(errors.StatementBlocked) as refused:
            await do(conn.execute("SELECT 1"))
        assert refused.value.rule == "session.session_replication_role"
        assert not refused.value.retryable
        assert await rows(conn, "SELECT 2") == [(2,)]
    attempts = [e for e in reader.statements(governor.trail.folder) if e["kind"] == "attempt"]
    assert [a["who"]["subject"] for a in attempts] == ["bot"]


@pytest.mark.parametrize(
    "options", ["-c row_security=off", "-c backslash_quote=on", "-c DateStyle=SQL,DMY", "-c array_nulls=off"]
)
async def test_settings_that_mislead_nobody_are_let_alone(dsn, governor, flavour, options):
    async with flavour.connect(dsn, governor=governor, identity=AGENT, options=options) as conn:
        assert await rows(conn, "SELECT id FROM notes WHERE id = %s", [1]) == [(1,)]


# -- what is in force decides what names mean, whoever set it

HIDDEN = "SELECT id, email FROM notes"


async def test_search_path_of_the_connection_decides(dsn, governor, flavour):
    async with flavour.connect(
        dsn, governor=governor, identity=AGENT, options="-c search_path=aside,public"
    ) as conn:
        found = await rows(conn, HIDDEN)
        assert found[0][0] == 1
        assert found[0][1] != SECRET


@pytest.mark.parametrize("back", ["rollback", "rollback to", "transaction()", "RESET", "DISCARD ALL"])
async def test_what_moves_back_is_read_again(dsn, governor, flavour, back):
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        await do(conn.set_autocommit(back in ("RESET", "DISCARD ALL", "transaction()")))
        if back == "transaction()":
            async with within(conn.transaction()):
                await do(conn.execute("SET search_path = aside"))
                await _sees(conn, "aside")
                raise psycopg.Rollback
        else:
            await do(conn.execute("SELECT 1"))
            await do(conn.execute("SAVEPOINT s") if back == "rollback to" else conn.execute("SELECT 2"))
            await do(conn.execute("SET search_path = aside"))
            await _sees(conn, "aside")
            if back == "rollback":
                await do(conn.rollback())
            elif back == "rollback to":
                await do(conn.execute("ROLLBACK TO s"))
            else:
                await do(conn.execute("RESET search_path" if back == "RESET" else back))
        await _sees(conn, "public")
        await do(conn.rollback())


async def _sees(conn: Any, schema: str) -> None:
    """As the agent: names mean those of ``schema``, to us and to the server."""
    with acting_as(AGENT):
        found = await rows(conn, "SELECT * FROM notes WHERE id = 1")
    assert conn._seat.session.search_path[-1] == schema
    assert found[0][1] != SECRET
    assert (found[0][1] == "l1") is (schema == "public")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT turn('search_path', 'aside')",
        "DO $$ BEGIN PERFORM set_config('search_path', 'aside', false); END $$",
        "PREPARE p AS SELECT public.turn('search_path', 'aside'); EXECUTE p",
        "PREPARE q(text) AS SELECT set_config('search_path', $1, false); EXECUTE q('aside')",
    ],
)
async def test_code_that_moves_a_setting_is_followed(dsn, tmp_path, flavour, text):
    governor = _governor(
        tmp_path,
        3600.0,
        '[[rule]]\nid = "code"\nwhen = { effects = ["do", "execute", "function"] }\n'
        'then = "allow"\nbecause = "tests do"\n',
    )
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True) as conn:
        await _sees(conn, "public")
        for each in text.split("; ") if text.startswith("PREPARE") else [text]:
            await do(conn.execute(each))
        await _sees(conn, "aside")
    governor.close()


async def test_a_function_behind_a_cursor_moves_a_setting_when_it_is_fetched(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        await _sees(conn, "public")
        async with within(conn.cursor("lazy")) as cur:
            await do(cur.execute("SELECT turn('search_path', 'aside')"))
            await _sees(conn, "public")
            await do(cur.fetchall())
            await _sees(conn, "aside")
        await do(conn.execute("SET search_path = public"))
        await do(conn.execute("DECLARE slow CURSOR FOR SELECT turn('search_path', 'aside')"))
        await _sees(conn, "public")
        await do(conn.execute("FETCH slow"))
        await _sees(conn, "aside")
        await do(conn.rollback())
        await _sees(conn, "public")
        await do(conn.rollback())


@pytest.mark.parametrize("name", FOR_EVERYBODY)
async def test_a_setting_that_code_turned_is_refused_at_the_next_statement(dsn, governor, flavour, name):
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True) as conn:
        for who in (SHOP, AGENT):
            with acting_as(who):
                await do(conn.execute("SELECT 1"))  # known from here on
        await do(conn.execute(f"SELECT turn('{name}', '{FOR_EVERYBODY[name]}')"))
        for who in (SHOP, AGENT):
            with acting_as(who), pytest.raises(errors.StatementBlocked) as refused:
                await do(conn.execute("SELECT 1"))
            assert refused.value.rule == f"session.{name}"
            assert "close this connection" in refused.value.remedy


# -- temporary objects that stand before others

BY_TEXT = "CREATE TEMP VIEW notes AS SELECT id, email AS label FROM public.customers"
INTO = "CREATE TEMP TABLE notes AS SELECT id, email FROM public.customers"
LABELS = "SELECT * FROM notes WHERE id = 1"


@pytest.mark.parametrize("text", [BY_TEXT, INTO, "SELECT shadow()"])
async def test_a_temporary_shadow_is_seen(dsn, governor, flavour, text):
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True) as conn:
        with acting_as(AGENT):
            assert await rows(conn, LABELS) == [(1, "l1")]
        await do(conn.execute(text))
        with acting_as(AGENT):
            for name in ("notes", "pg_temp.notes"):
                try:
                    found = await rows(conn, f"SELECT * FROM {name} WHERE id = 1")
                except errors.GovernanceError:
                    continue  # a view may be refused as such; what it shows may not pass
                assert found[0][1] != SECRET
        await do(conn.execute("DISCARD TEMP"))
        with acting_as(AGENT):
            assert await rows(conn, LABELS) == [(1, "l1")]


async def test_an_agent_makes_no_shadow_by_itself(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        for text in (BY_TEXT, INTO, "SELECT * INTO TEMP notes FROM customers", "SELECT shadow()"):
            with pytest.raises((errors.ApprovalRequired, errors.StatementBlocked)):
                await do(conn.execute(text))


async def test_pg_temp_in_the_search_path_stands_where_it_was_put(dsn, governor, flavour):
    async with flavour.connect(
        dsn, governor=governor, identity=SHOP, autocommit=True, options="-c search_path=public,pg_temp"
    ) as conn:
        await do(conn.execute(BY_TEXT))
        with acting_as(AGENT):
            assert await rows(conn, LABELS) == [(1, "l1")]
            found = await rows(conn, "SELECT label FROM pg_temp.notes WHERE id = 1")
            assert found[0][0] != SECRET


async def test_a_temporary_function_is_judged_by_its_qualified_name(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True) as conn:
        await do(
            conn.execute(
                "CREATE FUNCTION pg_temp.peek() RETURNS text LANGUAGE plpgsql AS"
                " $$ BEGIN EXECUTE 'CREATE TABLE public.made ()'; RETURN 'x'; END $$"
            )
        )
        with acting_as(AGENT), pytest.raises((errors.ApprovalRequired, errors.StatementBlocked)) as refused:
            await do(conn.execute("SELECT pg_temp.peek()"))
        assert "peek" in str(refused.value)
        assert refused.value.rule != "unknown-names"


async def test_what_was_prepared_before_is_not_run_by_an_agent(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        await do(conn.execute("PREPARE mine AS SELECT email FROM customers"))
        await do(conn.execute("DECLARE mine CURSOR FOR SELECT email FROM customers"))
        with acting_as(AGENT):
            for text in (
                "EXECUTE mine",
                "EXPLAIN ANALYZE EXECUTE mine",
                "CREATE TEMP TABLE x AS EXECUTE mine",
            ):
                with pytest.raises(errors.GovernanceError):
                    await do(conn.execute(text))
            for text in ("FETCH ALL FROM mine", "FETCH mine"):
                try:
                    found = await rows(conn, text)
                except errors.GovernanceError:
                    continue
                assert SECRET not in str(found)
        await do(conn.rollback())


# -- settings by text, by rule: every setting of this server

HARMLESS = {
    "timezone",
    "datestyle",
    "intervalstyle",
    "extra_float_digits",
    "bytea_output",
    "application_name",
    "client_min_messages",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "jit",
}


def test_every_other_setting_is_refused_in_every_spelling(dsn, governor):
    with psycopg.connect(dsn) as conn:
        names = [r[0] for r in conn.execute("SELECT name FROM pg_settings ORDER BY 1")]
    names += ["role", "session_authorization", "my.own", "plpgsql.variable_conflict", "governed_db.subject"]
    loose = []
    with governed_db.connect(dsn, governor=governor, identity=AGENT) as conn:
        for name in names:
            spellings = [
                f"SET {_quoted(name)} TO DEFAULT",
                f"SET LOCAL {_quoted(name.upper(), fold=True)} = '0'",
                f"RESET {_quoted(name)}",
                f"SELECT pg_catalog.set_config('{name.upper()}', 'x', true)",
                f"ALTER ROLE CURRENT_USER SET {_quoted(name)} = '0'",
                f"ALTER FUNCTION turn(text, text) SET {_quoted(name)} = '0'",
            ]
            for text in spellings:
                decision = governor.check(text, identity=AGENT, connection=conn)
                scans = name.startswith("enable_") and not name.endswith("scan")
                harmless = name.lower() in HARMLESS or scans
                if decision.verdict == "allow" and not harmless:
                    loose.append(text)
                if name.lower() in HARMLESS and text.startswith(("ALTER",)) and decision.verdict == "allow":
                    loose.append(text)
    assert loose == []


def _quoted(name: str, *, fold: bool = False) -> str:
    parts = name.split(".")
    return ".".join(parts if fold else [f'"{part}"' for part in parts])


@pytest.mark.parametrize(
    "text",
    [
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "START TRANSACTION READ ONLY",
        "RESET ALL",
        "DISCARD ALL",
        "DISCARD TEMP",
        "SET SCHEMA 'aside'",
        "SET NAMES 'SJIS'",
        "SET XML OPTION DOCUMENT",
        "SET SESSION AUTHORIZATION DEFAULT",
        "ALTER DATABASE postgres SET search_path = aside",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = aside AS 'SELECT 1'",
    ],
)
def test_other_ways_to_say_it_are_refused(dsn, governor, text):
    with governed_db.connect(dsn, governor=governor, identity=AGENT) as conn:
        assert governor.check(text, identity=AGENT, connection=conn).verdict != "allow"


async def test_rows_do_not_come_in_the_order_of_a_masked_column(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        with pytest.raises(errors.StatementBlocked) as refused:
            await do(conn.execute("SET enable_seqscan = off"))
        assert refused.value.rule == "scan-order"
        await do(conn.execute("SET enable_seqscan = on"))
        await do(conn.execute("SET enable_hashjoin = off"))


# -- transactions that show the catalog as it was

ISOLATION = {
    "REPEATABLE READ": psycopg.IsolationLevel.REPEATABLE_READ,
    "SERIALIZABLE": psycopg.IsolationLevel.SERIALIZABLE,
}
MEANWHILE = {
    "a view": "CREATE OR REPLACE VIEW places AS SELECT id, email AS label FROM customers",
    "a view anew": "DROP VIEW places; CREATE VIEW places AS SELECT id, email AS label FROM customers",
    "a shadow": "CREATE VIEW aside.places AS SELECT id, email AS label FROM customers",
    "a function": "CREATE OR REPLACE FUNCTION shadow() RETURNS void LANGUAGE sql AS ''",
}


@pytest.mark.parametrize("level", ISOLATION)
@pytest.mark.parametrize("what", MEANWHILE)
async def test_a_catalog_that_moved_on_under_a_long_snapshot_is_noticed(dsn, doubting, flavour, level, what):
    options = "-c search_path=aside,public"
    async with flavour.connect(dsn, governor=doubting, identity=AGENT, options=options) as conn:
        await do(conn.set_isolation_level(ISOLATION[level]))
        await rows(conn, "SELECT city FROM customers")
        with psycopg.connect(dsn, autocommit=True) as other:
            for each in MEANWHILE[what].split("; "):
                other.execute(each)
        with pytest.raises(errors.StatementBlocked) as refused:
            await rows(conn, "SELECT id, label FROM places")
        assert refused.value.rule == "session.snapshot"
        assert refused.value.retryable
        await do(conn.rollback())
        found = await rows(conn, "SELECT id, label FROM places WHERE id = 1")
        assert found[0][1] != SECRET
        await do(conn.rollback())


async def test_a_long_snapshot_over_a_catalog_at_rest_goes_on(dsn, doubting, flavour):
    async with flavour.connect(dsn, governor=doubting, identity=AGENT) as conn:
        await do(conn.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ))
        with psycopg.connect(dsn, autocommit=True) as other:
            for _ in range(3):
                assert len(await rows(conn, "SELECT id, label FROM places")) == 2
                other.execute("CREATE TEMP TABLE passing (a int); DROP TABLE passing; ANALYZE notes")
        await do(conn.rollback())


# -- what a pool's callbacks set


async def test_what_a_pools_callbacks_set_is_in_force_for_the_agent(dsn, governor, flavour):
    pool = pytest.importorskip("psycopg_pool")

    async def configure(conn: Any) -> None:
        await do(conn.execute("SET search_path = aside"))
        await do(conn.commit())

    def configure_sync(conn: Any) -> None:
        conn.execute("SET search_path = aside")
        conn.commit()

    async def reset(conn: Any) -> None:
        await do(conn.execute("RESET ALL"))
        await do(conn.commit())

    def reset_sync(conn: Any) -> None:
        conn.execute("RESET ALL")
        conn.commit()

    is_async = flavour.name == "async"
    made = (pool.AsyncConnectionPool if is_async else pool.ConnectionPool)(
        dsn,
        connection_class=flavour.Connection,
        kwargs={"governor": governor, "identity": SHOP},
        configure=configure if is_async else configure_sync,
        reset=reset if is_async else reset_sync,
        min_size=1,
        max_size=1,
        open=False,
    )
    async with _opened(made):
        async with within(made.connection()) as conn:
            await _sees(conn, "aside")
        async with within(made.connection()) as conn:
            await _sees(conn, "public")


@asynccontextmanager
async def _opened(pool: Any) -> Any:
    await do(pool.open())
    try:
        yield pool
    finally:
        await do(pool.close())

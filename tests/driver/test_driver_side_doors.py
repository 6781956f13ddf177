"""Ways by which a masked value, or a yes or no about one, could leave beside the rows: each stays shut.

Every pair in :data:`PAIRS` is a true and a false guess that an agent must not be able to tell apart.
"""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from governed_db import Governor, Identity, acting_as
from governed_db.errors import GovernanceError, MaskedColumnRefused, StatementBlocked
from tests.flavours import Flavour, do, each, within

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("bot")
OTHER = Identity.agent("another")
SHOP = Identity.service("shop")
CANARY = "canary"

_SCHEMA = """
    DROP SCHEMA public CASCADE; CREATE SCHEMA public;
    CREATE TABLE regions (code text PRIMARY KEY, title text);
    INSERT INTO regions SELECT 'r' || g, 't' || g FROM generate_series(1, 9) g;
    CREATE TABLE customers (
        id int PRIMARY KEY, email text UNIQUE, city text, n int, phone text, salary int, bonus int DEFAULT 0,
        region text REFERENCES regions ON UPDATE CASCADE ON DELETE SET NULL,
        key_of text GENERATED ALWAYS AS (lower(email)) STORED,
        CONSTRAINT bonus_below CHECK (bonus < salary), CONSTRAINT region_known CHECK (region <> 'bad'),
        CONSTRAINT city_free CHECK (city <> key_of)
    );
    INSERT INTO customers (id, email, city, n, phone, salary, region)
        SELECT g, 'canary' || g || '@x.org', 'c' || g, g, '+49canary' || g, 1000 + g, 'r' || g % 9 + 1
        FROM generate_series(1, 40) g;
    CREATE UNIQUE INDEX some_of ON customers (n) WHERE email LIKE 'canary1%';
    CREATE UNIQUE INDEX both_of ON customers (n, lower(phone));
    CREATE VIEW clients AS SELECT id, bonus AS extra, n AS number, city FROM customers;
    CREATE TABLE logins (id int PRIMARY KEY, email text REFERENCES customers (email), note text);
    INSERT INTO logins SELECT g, 'canary' || g || '@x.org', 'n' FROM generate_series(1, 5) g;
    CREATE FUNCTION known(pattern text) RETURNS boolean LANGUAGE sql STABLE AS
        $$SELECT EXISTS (SELECT FROM public.customers WHERE email LIKE pattern)$$;
    CREATE DOMAIN known_pattern AS text CHECK (known(VALUE));
    CREATE TABLE wishes (id int PRIMARY KEY, pattern text CHECK (known(pattern)));
    CREATE TABLE hopes (id int PRIMARY KEY, pattern known_pattern);
    CREATE TABLE history (id serial PRIMARY KEY, what text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN INSERT INTO public.history (what) VALUES ('changed'); RETURN NEW; END$$;
    CREATE TABLE people (id int PRIMARY KEY, email text, city text, lim int, salary int);
    INSERT INTO people SELECT g, 'canary' || g || '@x.org', 'c', 5, 1000 + g FROM generate_series(1, 9) g;
    CREATE TABLE whole (LIKE people); INSERT INTO whole SELECT * FROM people;
    CREATE TABLE quiet (LIKE people); INSERT INTO quiet SELECT * FROM people;
    CREATE TRIGGER moved AFTER UPDATE ON people FOR EACH ROW
        WHEN (OLD.email IS DISTINCT FROM NEW.email OR OLD.city <> NEW.city) EXECUTE FUNCTION note();
    CREATE TRIGGER above AFTER UPDATE ON people FOR EACH ROW
        WHEN (NEW.lim > OLD.salary) EXECUTE FUNCTION note();
    CREATE TRIGGER rich AFTER UPDATE ON people FOR EACH ROW WHEN (OLD.salary > 5000) EXECUTE FUNCTION note();
    CREATE TRIGGER moved AFTER UPDATE ON whole FOR EACH ROW
        WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION note();
    CREATE TRIGGER same BEFORE UPDATE ON quiet FOR EACH ROW
        EXECUTE FUNCTION suppress_redundant_updates_trigger();
    CREATE TABLE patients (id int, date_of_birth date, ward text) PARTITION BY RANGE (date_of_birth);
    CREATE TABLE patients_old PARTITION OF patients FOR VALUES FROM ('1900-01-01') TO ('1980-01-01');
    CREATE TABLE patients_new PARTITION OF patients FOR VALUES FROM ('1980-01-01') TO ('2030-01-01');
    INSERT INTO patients SELECT g, date '1960-01-01' + g * 1000, 'w' FROM generate_series(1, 20) g;
    CREATE TABLE events (id int, at date, kind text) PARTITION BY RANGE (at);
    CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    INSERT INTO events VALUES (1, '2024-02-03', 'k');
    CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE found text;
        BEGIN EXECUTE concat('SELECT ', 'email', ' FROM public.people WHERE id = 1') INTO found;
            RAISE EXCEPTION 'no' USING COLUMN = found, TABLE = found, CONSTRAINT = found, DATATYPE = found,
                SCHEMA = found, DETAIL = found, HINT = found; END$$;
    CREATE TABLE loud (id int PRIMARY KEY, email text, city text);
    INSERT INTO loud VALUES (1, 'canary1@x.org', 'c');
    CREATE TABLE docs (id int PRIMARY KEY, email text, title text, words tsvector, digest text, told text,
        via text, said text, used text, slug text, changed timestamptz);
    CREATE TABLE copies (id int, info text, at timestamptz);
    CREATE TABLE updated (id int, info text); INSERT INTO updated VALUES (1, '');
    CREATE TABLE ruled (id int, info text);
    CREATE TRIGGER a_words BEFORE INSERT OR UPDATE ON docs FOR EACH ROW
        EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.simple', title, email);
    CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE v text := NEW.email; w text; plain text := NEW.title; r record;
        BEGIN
            w := md5(v);
            NEW.digest := md5(NEW.email);
            NEW.via := w;
            SELECT md5(NEW.email) INTO NEW.told;
            FOR r IN SELECT NEW.email AS e LOOP NEW.said := md5(r.e); END LOOP;
            EXECUTE 'SELECT md5($1)' INTO NEW.used USING NEW.email;
            NEW.slug := lower(plain);
            NEW.changed := '2024-01-01';
            INSERT INTO public.copies SELECT NEW.id, md5(NEW.email), '2024-01-01';
            UPDATE public.updated SET info = md5(v) WHERE id = NEW.id;
            RETURN NEW;
        END$$;
    CREATE TRIGGER b_fill BEFORE INSERT ON docs FOR EACH ROW EXECUTE FUNCTION fill();
    CREATE RULE also AS ON INSERT TO docs DO ALSO INSERT INTO ruled VALUES (NEW.id, md5(NEW.email));
    INSERT INTO docs (id, email, title) VALUES (1, 'canary1@x.org', 'Title');
    CREATE FUNCTION found(i int) RETURNS SETOF customers LANGUAGE plpgsql AS
        $$BEGIN RETURN QUERY EXECUTE concat('SELECT * FROM ', 'customers WHERE id = ', i); END$$;
    CREATE TRIGGER shouts BEFORE UPDATE ON loud FOR EACH ROW EXECUTE FUNCTION shout();
"""
# Whether a code is 'bad' is asked of rows of customers, which the error quotes.
CASCADE = "UPDATE regions SET code = 'bad' WHERE code = 'r4'"


@pytest.fixture(scope="module", autouse=True)
def schema(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(_SCHEMA)


@pytest.fixture
def governor(tmp_path: Path) -> Iterator[Governor]:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'extends = "standard"\nservices = ["shop"]\n'
        '[[rule]]\nid = "our-triggers"\nthen = "allow"\nbecause = "we wrote them"\n'
        'when = { effects = ["function"], notes = ["a trigger of the table runs *"] }\n'
        '[[rule]]\nid = "our-functions"\nthen = "allow"\nbecause = "we wrote it"\n'
        'when = { effects = ["function"], names = ["public.found"] }\n'
        '[[rule]]\nid = "listeners"\nthen = "allow"\nbecause = "it may listen"\n'
        'when = { effects = ["listen"], identity = { subject = ["bot"] } }\n'
    )
    policy.chmod(0o600)
    made = Governor.load(policy, state_dir=tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


@pytest.fixture
async def agent(flavour: Flavour, dsn: str, governor: Governor) -> AsyncIterator[Any]:
    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        yield conn
        await do(conn.rollback())


@pytest.fixture
async def shared(flavour: Flavour, dsn: str, governor: Governor) -> AsyncIterator[Any]:
    """A connection of the service, on which an agent acts now and then."""
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True) as conn:
        yield conn


async def observed(conn: Any, *steps: str) -> str:
    """Return everything that an agent sees of ``steps``, the guesses in the text left out."""
    seen: list[Any] = []
    try:
        for step in steps:
            cursor = await do(conn.execute(step))
            rows = await do(cursor.fetchall()) if cursor.description else None
            seen.append((cursor.rowcount, cursor.statusmessage, rows))
    except psycopg.Error as error:
        seen.append((type(error), error.sqlstate, str(error), error.diag.constraint_name))
    await do(conn.rollback())
    return repr(seen)


# What is sent with one guess and with the other: name, statement, true, false.
PAIRS = [
    ("check", "UPDATE customers SET bonus = {} WHERE id = 3", "1002", "1003"),
    ("check in a view", "UPDATE clients SET extra = {} WHERE id = 3", "1002", "1003"),
    ("check of a generated column", "UPDATE customers SET city = {} WHERE id = 3", "'canary3@x.org'", "'x'"),
    (
        "check on conflict",
        "INSERT INTO customers (id) VALUES (3) ON CONFLICT (id) DO UPDATE SET bonus = {}",
        "1002",
        "1003",
    ),
    ("foreign key", "UPDATE customers SET email = {} WHERE id = 3", "'canary3@x.org'", "'x'"),
    ("partial index", "UPDATE customers SET n = 10 WHERE id = {}", "11", "21"),
    ("partial index in a view", "UPDATE clients SET number = 10 WHERE id = {}", "11", "21"),
    ("function of a check", "INSERT INTO wishes VALUES (1, {})", "'canary%'", "'x%'"),
    ("function of a domain", "INSERT INTO hopes VALUES (1, {})", "'canary%'", "'x%'"),
    ("trigger on change", "UPDATE people SET email = {} WHERE id = 3", "'canary3@x.org'", "'x'"),
    ("trigger on an order", "UPDATE people SET lim = {} WHERE id = 3", "1003", "1004"),
    ("trigger on rows", "UPDATE whole SET email = {} WHERE id = 3", "'canary3@x.org'", "'x'"),
    ("suppressed", "UPDATE quiet SET email = {} WHERE id = 3", "'canary3@x.org'", "'x'"),
    ("partition", "SELECT count(*) FROM patients_old WHERE id = {}", "3", "13"),
    ("partition written", "UPDATE patients_old SET ward = 'v' WHERE id = {}", "3", "13"),
    ("tableoid", "SELECT tableoid FROM patients WHERE id = {}", "3", "13"),
    ("tableoid by name", "SELECT tableoid::regclass FROM patients WHERE id = {}", "3", "13"),
]


@pytest.mark.parametrize(("name", "sql", "true", "false"), PAIRS)
async def test_a_true_guess_looks_like_a_false_one(
    agent: Any, name: str, sql: str, true: str, false: str
) -> None:
    history = "SELECT count(*) FROM history"
    seen = await observed(agent, sql.format(true), history)
    assert seen == await observed(agent, sql.format(false), history), name


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE customers SET bonus = 3, salary = 2000 WHERE id = 3",
        "UPDATE customers SET phone = '+1' WHERE id = 30",
        "UPDATE people SET city = 'y' WHERE id = 3",
        "UPDATE people SET salary = 3 WHERE id = 3",
        "UPDATE whole SET city = 'y' WHERE id = 3",
        "UPDATE quiet SET city = 'y' WHERE id = 3",
        "UPDATE logins SET note = 'y' WHERE id = 3",
        "UPDATE regions SET title = 'y' WHERE code = 'r3'",
        "UPDATE regions SET code = 'r33' WHERE code = 'r3'",
        "DELETE FROM customers WHERE id = 30",
        "INSERT INTO customers (id, email, salary) VALUES (99, 'new@x.org', 5)",
        "SELECT id, date_of_birth FROM patients ORDER BY id",
        "SELECT tableoid::regclass, id FROM events",
        "SELECT * FROM events_2024",
    ],
)
async def test_ordinary_writes_and_reads_go_on(agent: Any, sql: str) -> None:
    cursor = await do(agent.execute(sql))
    assert cursor.rowcount > 0


async def test_a_refusal_says_what_would_tell_and_what_passes(agent: Any) -> None:
    with pytest.raises(MaskedColumnRefused) as caught:
        await do(agent.execute("UPDATE customers SET bonus = 1002 WHERE id = 3"))
    assert "the check constraint bonus_below of public.customers" in str(caught.value)
    assert "set salary to a value as well" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "sql",
    [
        *(f"SELECT {column} FROM docs" for column in ("words", "digest", "via", "told", "said", "used")),
        *(f"SELECT info FROM {table}" for table in ("copies", "updated", "ruled")),
    ],
)
async def test_what_triggers_make_of_a_masked_value_is_masked(agent: Any, dsn: str, sql: str) -> None:
    with psycopg.connect(dsn) as owner:
        true = owner.execute(sql).fetchone()
    cursor = await do(agent.execute(sql))
    shown = await do(cursor.fetchone())
    assert true is not None
    assert true[0] not in (None, "", shown[0])


async def test_what_triggers_make_of_other_values_is_not(agent: Any) -> None:
    cursor = await do(agent.execute("SELECT slug, changed::date::text, title FROM docs"))
    assert await do(cursor.fetchone()) == ("title", "2024-01-01", "Title")
    cursor = await do(agent.execute("SELECT id, at::date::text FROM copies"))
    assert await do(cursor.fetchone()) == (1, "2024-01-01")


async def test_rows_of_a_function_that_was_allowed_unread_are_masked_by_their_type(agent: Any) -> None:
    cursor = await do(agent.execute("SELECT id, email, f.city FROM found(3) AS f"))
    assert await do(cursor.fetchone()) == (3, "[EMAIL_ADDRESS]", "c3")
    cursor = await do(agent.execute("SELECT * FROM found(3) AS f (a, b)"))
    assert CANARY not in repr(await do(cursor.fetchall()))
    for sql in (
        "SELECT found(3)",
        "SELECT (found(3)).email",
        "SELECT row_to_json(found(3))",
        "SELECT f FROM found(3) AS f",
        "SELECT upper(email) FROM found(3)",
        "SELECT id FROM found(3) WHERE email LIKE 'c%'",
    ):
        with pytest.raises(MaskedColumnRefused):
            await do(agent.execute(sql))


# -- what the server says


def said(error: BaseException | None) -> str:
    """Return every text that an error leads to: its own, its diagnostics', its chain's, its frames'."""
    words: list[str] = []
    while error is not None:
        words += [str(error), repr(error), repr(error.__dict__)]
        if isinstance(error, psycopg.Error):
            copy = pickle.loads(pickle.dumps(error))
            for diag in (error.diag, copy.diag):
                words += [str(getattr(diag, name)) for name in dir(diag) if not name.startswith("_")]
            words += [str(error.pgconn), str(error.pgresult)]
        step = error.__traceback__
        while step is not None:
            words += [repr(value) for value in step.tb_frame.f_locals.values() if value is not words]
            step = step.tb_next
        error = error.__cause__ or error.__context__
    return "\n".join(words)


async def test_an_error_of_a_cascade_quotes_no_row(agent: Any) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        await do(agent.execute(CASCADE))
    assert caught.value.sqlstate == "23514"
    assert caught.value.diag.constraint_name == "region_known"
    assert CANARY not in said(caught.value)


async def test_names_that_the_catalog_does_not_have_are_withheld(agent: Any) -> None:
    with pytest.raises(psycopg.errors.RaiseException) as caught:
        await do(agent.execute("UPDATE loud SET city = 'x' WHERE id = 1"))
    diag = caught.value.diag
    assert [diag.column_name, diag.table_name, diag.constraint_name, diag.datatype_name] == [None] * 4
    assert CANARY not in said(caught.value)


async def test_an_error_in_a_pipeline_quotes_no_row(agent: Any) -> None:
    await do(agent.set_autocommit(True))
    with pytest.raises(psycopg.errors.CheckViolation) as caught:  # noqa: PT012 - it is raised when the block ends
        async with within(agent.pipeline()):
            await do(agent.execute(CASCADE))
            await do(agent.execute("SELECT 1"))
    assert CANARY not in said(caught.value)
    assert CANARY not in agent.info.error_message
    await do(agent.set_autocommit(False))


async def test_last_words_stay_withheld_when_nothing_was_sent_since(agent: Any, shared: Any) -> None:
    await do(agent.set_autocommit(True))
    for _ in range(2):
        with pytest.raises(StatementBlocked):
            await do(agent.execute("SET search_path = x"))
        with pytest.raises(psycopg.errors.CheckViolation):
            await do(agent.execute(CASCADE))
        assert CANARY not in agent.info.error_message
        with pytest.raises(StatementBlocked):
            await do(agent.execute("SET search_path = x"))
        assert CANARY not in agent.info.error_message
        assert CANARY.encode() not in agent.pgconn.error_message
        assert CANARY not in agent.pgconn.get_error_message()
    await do(agent.set_autocommit(False))
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        await do(shared.execute("SELECT email::int FROM customers WHERE id = 1"))
    assert CANARY in shared.info.error_message
    with acting_as(AGENT):
        assert CANARY not in shared.info.error_message


# -- what leads to the connection


async def test_pipelines_and_transactions_show_no_way_to_send(agent: Any) -> None:
    async with within(agent.transaction()) as transaction:
        assert transaction.pgconn.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        for name in ("exec_", "send_query", "get_result", "trace", "notice_handler", "copy_end"):
            with pytest.raises(GovernanceError):
                getattr(transaction.pgconn, name)
    async with within(agent.pipeline()) as pipeline:
        async with within(agent.pipeline()) as nested:
            assert nested is pipeline
            cursor = await do(agent.execute("SELECT email FROM customers WHERE id = 1"))
        assert isinstance(pipeline, (psycopg.Pipeline, psycopg.AsyncPipeline))
        assert pipeline.status == psycopg.pq.PipelineStatus.ON
        with pytest.raises(GovernanceError):
            pipeline.pgconn.send_query_params(b"SELECT email FROM customers", None)
        await do(pipeline.sync())
        assert CANARY not in repr(await do(cursor.fetchall()))


# -- notifications


async def test_a_notification_for_another_says_nothing(shared: Any, dsn: str) -> None:
    heard: list[psycopg.Notify] = []
    await do(shared.execute("LISTEN news"))
    with psycopg.connect(dsn, autocommit=True) as owner:
        for _ in range(2):
            owner.execute("NOTIFY news, 'canary'")
    with acting_as(OTHER):
        await do(shared.execute("SELECT 1"))  # they are received, and kept for whoever asks
        heard = [n async for n in each(shared.notifies(timeout=0.5, stop_after=1))]
    assert [(n.channel, n.payload) for n in heard] == [("news", ""), ("news", "")]
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("NOTIFY news, 'canary'")
    heard = [n async for n in each(shared.notifies(timeout=0.5, stop_after=1))]
    assert [n.payload for n in heard] == ["canary"]


async def test_a_handler_hears_nothing_for_another(shared: Any, dsn: str) -> None:
    heard: list[str] = []
    shared.add_notify_handler(lambda n: heard.append(n.payload))
    await do(shared.execute("LISTEN news"))
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("NOTIFY news, 'canary'")
    with acting_as(OTHER):
        await do(shared.execute("SELECT 1"))
    assert heard == [""]


async def test_who_may_listen_hears(agent: Any, dsn: str) -> None:
    await do(agent.execute("LISTEN news"))
    await do(agent.commit())
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("NOTIFY news, 'hello'")
    heard = [n.payload async for n in each(agent.notifies(timeout=0.5, stop_after=1))]
    assert heard == ["hello"]
    with pytest.raises(StatementBlocked), acting_as(OTHER):
        await do(agent.execute("LISTEN news"))


# -- the order of rows


@pytest.mark.parametrize("name", ["enable_sort", "enable_incremental_sort", "enable_seqscan"])
async def test_what_decides_the_order_of_equals_cannot_be_switched_off(agent: Any, name: str) -> None:
    with pytest.raises(StatementBlocked) as caught:
        await do(agent.execute(f"SET {name} = off"))
    assert caught.value.rule == "scan-order"
    await do(agent.execute(f"SET {name} = on"))

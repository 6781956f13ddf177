"""What somebody tries who has a yes for one call and wants another one to run, or wants people misled."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest
from attrs import evolve
from psycopg.types.numeric import Int4, Int8

import governed_db
from governed_db import Governor, Identity, errors
from governed_db.approval.shown import SENT_LATER, shown
from governed_db.run import Call
from governed_db.statement import read
from governed_db.statement.lexer import tokens
from tests.approvers import ANNA, BEN
from tests.flavours import Flavour, do, within

flavours = pytest.mark.parametrize("name", ["sync", "async"])
BOT = Identity.agent("bot", on_behalf_of=Identity.human("u-1"))

POLICY = """extends = "standard"
[approvals]
poll_seconds = 0.05
[catalog]
max_age = {max_age}
[[rule]]
id = "writes"
when = {{ effects = ["insert", "update", "delete", "copy_from", "function", "do"] }}
then = "approve"
because = "somebody has to look"
[[rule]]
id = "pay"
when = {{ effects = ["select"], relations = ["public.salaries"] }}
then = "approve"
because = "nobody's business"
"""

SCHEMA = """
CREATE TABLE log (id int, note text);
CREATE FUNCTION helper(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION numbered() RETURNS int LANGUAGE sql AS 'SELECT helper(1)';
CREATE FUNCTION holds(i int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE DOMAIN small AS int CHECK (holds(VALUE));
CREATE TABLE items (id int PRIMARY KEY, label text, n int DEFAULT numbered(), d small, at timestamptz);
CREATE TRIGGER stamp BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TABLE plain (id int PRIMARY KEY, label text DEFAULT 'a', n int CHECK (n >= 0));
ALTER TABLE plain ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON plain USING (holds(id));
CREATE VIEW few AS SELECT id, label FROM plain WHERE id < 5;
CREATE TABLE parted (id int, label text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE FUNCTION wipe(i int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM log WHERE id = i; END $$;
CREATE TABLE salaries (name text, amount int);
INSERT INTO salaries VALUES ('bob', 5000);
CREATE ROLE attacked_owner;
"""

INTO_ITEMS = "INSERT INTO items (id) VALUES (50)"
UPDATE_ITEMS = "UPDATE items SET label = 'x' WHERE id = 1"

REDEFINED = {
    "trigger": (UPDATE_ITEMS, "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN NEW.label := 'evil'; RETURN NEW; END $$"),
    "default": ("INSERT INTO plain (id) VALUES (50)", "ALTER TABLE plain ALTER label SET DEFAULT 'evil'"),
    "default function": (
        INTO_ITEMS, "CREATE OR REPLACE FUNCTION numbered() RETURNS int LANGUAGE sql AS 'SELECT helper(2)'"),
    "what a default function calls": (
        INTO_ITEMS, "CREATE OR REPLACE FUNCTION helper(i int) RETURNS int LANGUAGE sql IMMUTABLE"
        " AS 'SELECT i * 2'"),
    "check": ("UPDATE plain SET n = 1 WHERE id = 1", "ALTER TABLE plain DROP CONSTRAINT plain_n_check,"
              " ADD CONSTRAINT plain_n_check CHECK (n >= -9)"),
    "domain": ("UPDATE items SET d = 1 WHERE id = 1", "CREATE OR REPLACE FUNCTION holds(i int) RETURNS bool"
               " LANGUAGE sql IMMUTABLE AS 'SELECT i < 9'"),
    "policy": ("DELETE FROM plain WHERE id > 0", "CREATE POLICY others ON plain USING (true)"),
    "policy function": ("DELETE FROM plain WHERE id > 0", "CREATE OR REPLACE FUNCTION holds(i int)"
                        " RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT i < 99'"),
    "view owner": ("UPDATE few SET label = 'x' WHERE id = 1", "ALTER VIEW few OWNER TO attacked_owner"),
    "partition": ("DELETE FROM parted WHERE id = 1",
                  "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20)"),
    "in a body": ("DO $$ BEGIN PERFORM wipe(1); END $$", "CREATE OR REPLACE FUNCTION wipe(i int) RETURNS void"
                  " LANGUAGE plpgsql AS $$ BEGIN DELETE FROM log; END $$"),
}  # fmt: skip


@pytest.fixture
def shop(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP ROLE IF EXISTS attacked_owner")
        conn.execute(SCHEMA)
    yield dsn
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP ROLE attacked_owner")


@pytest.fixture
def govern(tmp_path):
    made = []

    def load(max_age=0):
        (tmp_path / "policy.toml").write_text(POLICY.format(max_age=max_age) + ANNA.as_toml() + BEN.as_toml())
        made.append(Governor.load(tmp_path / "policy.toml", state_dir=tmp_path / "state"))
        return made[-1]

    yield load
    for governor in made:
        governor.close()


async def asked(call):
    with pytest.raises(errors.ApprovalRequired) as waiting:
        await do(call())
    return waiting.value.request


def agree(governor, request, who=ANNA):
    return governor.approvals.approve(request.id, key=who.key)


def bare(dsn, sql):
    with psycopg.connect(dsn, autocommit=True) as conn:
        return conn.execute(sql)


@flavours
async def test_what_runs_with_it_is_part_of_what_was_agreed_to(shop, govern, name):
    governor = govern()
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        for what, (sql, ddl) in REDEFINED.items():
            request = await asked(lambda sql=sql: conn.execute(sql))
            agree(governor, request)
            bare(shop, ddl)
            assert (await asked(lambda sql=sql: conn.execute(sql))).id != request.id, what
        bare(shop, "INSERT INTO items (id) VALUES (1)")
        request = await asked(lambda: conn.execute(UPDATE_ITEMS))
        agree(governor, request)
        bare(shop, "CREATE TABLE unrelated (id int); TRUNCATE log; ANALYZE items")
        assert (await do(conn.execute(UPDATE_ITEMS))).rowcount == 1


@flavours
@pytest.mark.parametrize(
    ("setting", "before", "after", "sql"),
    [
        ("TimeZone", "UTC", "Asia/Tokyo", "DELETE FROM items WHERE at < '2026-01-02 00:00'"),
        ("DateStyle", "ISO, MDY", "ISO, DMY", "DELETE FROM items WHERE at < '02/03/2026'"),
        (
            "IntervalStyle",
            "postgres",
            "sql_standard",
            "DELETE FROM items WHERE at < now() + interval '-1 2:03'",
        ),
    ],
)
async def test_a_text_that_means_something_else_by_now(shop, govern, name, setting, before, after, sql):
    governor = govern()
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        await do(conn.execute(f"SET {setting} = '{before}'"))
        request = await asked(lambda: conn.execute(sql))
        agree(governor, request)
        await do(conn.execute(f"SET {setting} = '{after}'"))
        assert (await asked(lambda: conn.execute(sql))).id != request.id
        await do(conn.execute(f"SET {setting} = '{before}'"))
        assert (await do(conn.execute(sql))).rowcount == 0


@flavours
async def test_a_catalog_of_some_moments_ago_is_looked_at_again(shop, govern, name):
    governor = govern(max_age=600)
    sql = "DELETE FROM log WHERE id = 1"
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        request = await asked(lambda: conn.execute(sql))
        agree(governor, request)
        bare(shop, 'CREATE SCHEMA "postgres"; CREATE TABLE "postgres".log (id int)')
        try:
            again = await asked(lambda: conn.execute(sql))
        finally:
            bare(shop, 'DROP SCHEMA "postgres" CASCADE')
        assert again.question.relations == ("postgres.log",)


@flavours
async def test_a_batch_runs_in_the_order_that_was_shown(shop, govern, name):
    governor = govern()
    sql = "UPDATE items SET n = %s WHERE id = 1"
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        cur = conn.cursor()
        sets = [(Int4(1),), (Int8(2),), (Int4(3),)]
        request = await asked(lambda: cur.executemany(sql, sets))
        assert request.question.values == ("1: $1 = 1", "2: $1 = 2", "3: $1 = 3")
        agree(governor, request)
        for other in ([sets[0], sets[2], sets[1]], [(Int4(1),), (Int8(2),), (Int8(3),)]):
            assert (await asked(lambda other=other: cur.executemany(sql, other))).id != request.id
        await do(cur.executemany(sql, sets))
        assert cur.rowcount == 0


@flavours
async def test_every_text_of_a_batch_is_shown(shop, govern, name):
    flavour, governor = Flavour(name), govern()
    sql = "UPDATE items SET n = n + %s WHERE id = 1"
    async with flavour.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        cur = flavour.ClientCursor(conn)
        request = await asked(lambda: cur.executemany(sql, [(1,), (1000,), (1,)]))
        assert "run in this order: 1 2 1" in request.question.sql
        assert "n + 1\n" in request.question.sql
        assert "n + 1000\n" in request.question.sql
        agree(governor, request)
        other = await asked(lambda: cur.executemany(sql, [(1,), (1000,), (1000,)]))
        assert other.id != request.id
        await do(cur.executemany(sql, [(1,), (1000,), (1,)]))


@flavours
async def test_rows_that_nobody_has_seen_are_said_to_be_that(shop, govern, name):
    governor = govern()
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:

        async def copied():
            async with within(conn.cursor().copy("COPY log (id) FROM STDIN")) as copy:
                await do(copy.write_row((1,)))

        request = await asked(copied)
        assert request.question.values == (SENT_LATER,)
        assert (request.rows, request.ceiling) == (None, None)


@flavours
async def test_a_count_answers_no_question_that_needs_people(shop, govern, name):
    governor = govern()
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        for amount in (100, 10_000):
            sql = f"DELETE FROM plain WHERE EXISTS (SELECT FROM salaries WHERE amount > {amount})"
            request = await asked(lambda sql=sql: conn.execute(sql))
            assert (request.rows, request.ceiling, request.rows_more) == (None, None, False)
            assert governor.approvals.get(request.id).request.rows == 0
        assert (await asked(lambda: conn.execute("DELETE FROM plain WHERE n > 1"))).rows == 0


@pytest.mark.parametrize(
    "lie", [{"ceiling": None}, {"ceiling": 10_000}, {"rows": None, "ceiling": None}, {"rows": 1}]
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_numbers_that_somebody_puts_into_the_store(shop, govern, lie, elsewhere):
    """People sign what they are shown; who asked knows what that was, and others what cannot be."""
    governor = govern()
    bare(shop, "INSERT INTO log SELECT n FROM generate_series(1, 50) AS n")
    sql = "DELETE FROM log WHERE id > 0"
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute(sql)
        store, now = governor.approvals.store, datetime.now(UTC)
        request = store.get(waiting.value.request.id).request
        store.withdraw(request.id, now=now)
        kept_id = f"apr_{'f' * 16}" if elsewhere else request.id
        forged = evolve(request, id=kept_id, **lie)
        if elsewhere:
            assert store.file(forged, now=now, most=10) == forged
            agree(governor, forged)
        else:
            assert governor.approvals._is_altered(forged)
            return
        believed = elsewhere and "rows" in lie  # what anybody could have counted, and people have signed
        if believed and lie["rows"] is None:
            assert not governor.approvals._is_altered(forged)
            return
        with pytest.raises(errors.ApprovalRequired) as again:
            conn.execute(sql)
        assert again.value.request.id != forged.id
    assert bare(shop, "SELECT count(*) FROM log").fetchone() == (50,)


@flavours
async def test_a_no_that_the_store_has_lost(shop, govern, name, monkeypatch):
    governor = govern()
    sql = "DELETE FROM log WHERE id > 0"
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        request = await asked(lambda: conn.execute(sql))
        agree(governor, request)
        governor.approvals.deny(request.id, key=BEN.key, reason="no")
        store = governor.approvals.store
        find = type(store).find

        def without_no(self, digest, **kwargs):
            filed = find(self, digest, **kwargs)
            return filed and evolve(filed, answers=tuple(a for a in filed.answers if a.answer.granted))

        monkeypatch.setattr(type(store), "find", without_no)
        assert (await asked(lambda: conn.execute(sql))).id != request.id


MISLEADING = [
    "UPDATE docs SET t = 'x''\nWHERE id = 1\n' WHERE true",
    "UPDATE docs SET t = $$x\nWHERE id = 1$$",
    'UPDATE docs AS "d\nWHERE id = 1 --" SET t = 1',
    "UPDATE docs SET t = '\\' , id = 5 WHERE t = ' or  1=1'",
    "UPDATE docs SET n = 5 # 3, t = '  a   b '",
]


@pytest.mark.parametrize("sql", MISLEADING)
def test_what_people_read_is_what_is_sent(sql):
    statement = read(sql)
    text, _ = shown(Call(sql.encode()), statement, None, (), clear=True)
    assert "\nWHERE id = 1" not in text
    as_sent = [sql[start:stop].replace("\n", "\\u000a") for _, start, stop in tokens(sql)]
    assert [text[start:stop] for _, start, stop in tokens(text)] == as_sent


def test_the_end_of_a_long_text_is_shown():
    sql = f"UPDATE docs SET t = 'x' WHERE id IN ({', '.join(map(str, range(9000)))}) OR true"
    text, _ = shown(Call(sql.encode()), read(sql), None, (), clear=True)
    assert text.startswith("UPDATE docs")
    assert text.endswith("OR true")


def test_a_value_keeps_to_its_line():
    statement = read("UPDATE docs SET t = $1 WHERE id = $2")
    call = Call(b"", (25, 23), [b"x\n$2 = 1", b"5"])
    assert shown(call, statement, None, (), clear=True)[1] == ("$1 = x\\u000a$2 = 1", "$2 = 5")

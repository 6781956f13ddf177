"""Refusals teach: what a missing name was meant to be, what another dialect's text should say, and where."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from bind_cases import Shop, open_shop
from hypothesis import given
from hypothesis import strategies as st

import governed_db
from governed_db import Governor, Identity, errors
from governed_db.catalog import suggest
from governed_db.catalog.bind import bind
from governed_db.catalog.versions import SYNTAX_SINCE, is_syntax
from governed_db.statement import Unreadable, read
from governed_db.statement.facts import EffectKind
from tests.flavours import Flavour, do

AGENT = Identity.agent("bot")

MEANT = [
    ("SELECT * FROM custmers", "relation custmers at character 15 (did you mean customers?)"),
    ("SELECT * FROM public.ordres", "relation public.ordres at character 15 (did you mean orders?)"),
    ('SELECT * FROM "Customers"', "relation Customers at character 15 (did you mean customers?)"),
    ("SELECT emial FROM customers", "column emial at character 8 (did you mean email?)"),
    ("SELECT c.emial FROM customers c", "column c.emial at character 8 (did you mean email?)"),
    ("SELECT customer FROM orders", "column customer at character 8 (did you mean customer_id?)"),
    ("SELECT customers.id FROM customers c", "column customers.id at character 8 (there are c)"),
    ("SELECT o.wrong FROM orders o", "column o.wrong at character 8 (there are customer_id, id, total)"),
    (
        'SELECT id FROM orders WHERE id = "paid"',
        "column paid at character 34 (double quotes name a column; a text value takes single quotes)",
    ),
    ("SELECT lenght(name) FROM customers", "function lenght at character 8 (did you mean length?)"),
    ("SELECT nvl(name, 'x') FROM customers", "function nvl at character 8 (PostgreSQL has coalesce())"),
    ("SELECT intials(c) FROM customers c", "function intials at character 8 (did you mean initials?)"),
    ("SELECT pg_read_fil('x')", "function pg_read_fil at character 8"),
    ("INSERT INTO orders (id, totl) VALUES (1, 2)", "column public.orders.totl (did you mean total?)"),
    ("UPDATE orders SET totl = 1 WHERE id = 1", "column public.orders.totl (did you mean total?)"),
    ("SELECT 'ä', 'ö', emial FROM customers", "column emial at character 18 (did you mean email?)"),
    ("SELECT 'ä', lenght('x')", "function lenght at character 13 (did you mean length?)"),
]


@pytest.fixture(scope="module")
def shop(dsn: str) -> Iterator[Shop]:
    shop = open_shop(dsn)
    yield shop
    shop.connection.close()


@pytest.mark.parametrize(("sql", "said"), MEANT)
def test_a_missing_name_comes_with_its_place_and_what_it_may_mean(shop: Shop, sql: str, said: str) -> None:
    assert shop.bind(sql).incomplete_because == f"not in this database: {said}"


def test_no_name_of_another_schema_is_told(shop: Shop) -> None:
    shop.connection.execute("CREATE SCHEMA hidden; CREATE TABLE hidden.payroll (id int, pay int)")
    assert "payroll" not in shop.bind("SELECT * FROM payrol").incomplete_because
    assert "payroll" not in shop.bind("SELECT * FROM public.payrol").incomplete_because


@given(st.text(max_size=80), st.lists(st.text(max_size=80), max_size=20))
def test_only_names_there_are_get_suggested(name: str, names: list[str]) -> None:
    found = suggest.similar(name, names)
    assert len(found) <= suggest.MOST
    assert set(found) <= set(names)
    folded = [n for n in names if n.casefold()[:64] == name.casefold()[:64]]
    assert not folded or set(found) & set(folded)


DIALECTS = [
    ("SELECT `id` FROM orders", "double quotes"),
    ("SELECT [id] FROM orders", "double quotes"),
    ("SELECT * FROM orders WHERE id = ?", "%s"),
    ("SELECT * FROM orders WHERE id = :id", "%(name)s"),
    ("SELECT * FROM orders WHERE id = %s", "passed beside"),
    ("SELECT * FROM orders WHERE id = %(id)s", "passed beside"),
    ("SELECT TOP 10 * FROM orders", "LIMIT"),
    ("REPLACE INTO orders VALUES (1)", "ON CONFLICT"),
    ("INSERT IGNORE INTO orders VALUES (1)", "DO NOTHING"),
    ("DESCRIBE orders", "information_schema.columns"),
    ("SELECT a FROM t WHERE a REGEXP 'x'", "~"),
    ("SELECT group_concat(a SEPARATOR ',') FROM t", "string_agg"),
]


@pytest.mark.parametrize(("sql", "said"), DIALECTS)
def test_text_of_another_dialect_is_told_ours(sql: str, said: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read(sql)
    assert refused.value.rule == "statement.syntax"
    assert said in refused.value.remedy


def test_a_syntax_error_says_line_and_column() -> None:
    with pytest.raises(Unreadable, match=r"at character 23, near a name \(line 3, column 6\)") as refused:
        read("SELECT id\nFROM t\nWHER x = 'top secret'")
    assert "secret" not in f"{refused.value.reason} {refused.value.remedy}"


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_the_agent_reads_the_same_lesson_every_time(dsn, shop, tmp_path, name) -> None:
    governor = Governor.preset("standard", state_dir=tmp_path)
    said = set()
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        for _ in range(3):
            with pytest.raises(errors.StatementBlocked) as refused:
                await do(conn.execute("SELECT emial FROM customers WHERE name = 'Ada Lovelace'"))
            said.add(str(refused.value))
            assert isinstance(refused.value, psycopg.ProgrammingError)
            assert refused.value.sqlstate == "42501"
            assert not refused.value.retryable
    governor.close()
    (message,) = said
    assert "did you mean email?" in message
    assert "character 8" in message
    assert "Lovelace" not in message


# -- what the grammar reads as a construct and an older server as a call

CALLS = {
    "json": "json(1)",
    "json_array": "json_array(1, 2)",
    "json_scalar": "json_scalar(1)",
    "json_serialize": "json_serialize('{}')",
    "json_exists": "json_exists('{}', '$')",
    "json_query": "json_query('{}', '$')",
    "json_value": "json_value('{}', '$')",
    "json_object": "json_object()",
    "merge_action": "merge_action()",
}


@pytest.fixture(scope="module")
def disguised(server) -> Iterator[str]:
    """Users' functions by the names of constructs, as far as this server lets anybody make them."""
    dsn = server.create_database("disguised")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE public.ran (name text)")
        for name in CALLS:
            for arguments in ("", "int", "text", "text, text", "int, int"):
                conn.execute(
                    f'CREATE FUNCTION public."{name}"({arguments}) RETURNS text LANGUAGE plpgsql AS'
                    f" $$ BEGIN INSERT INTO public.ran VALUES ('{name}'); RETURN '{{}}'; END $$"
                )
    yield dsn
    server.drop_database("disguised")


@pytest.mark.parametrize("name", CALLS)
def test_a_construct_is_what_this_server_makes_of_it(disguised: str, name: str) -> None:
    sql = f"SELECT {CALLS[name]}"
    with psycopg.connect(disguised) as conn:
        try:
            conn.execute(sql)
            called = bool(conn.execute("SELECT 1 FROM public.ran").fetchall())
            failed = False
        except psycopg.Error:
            called, failed = False, True
        conn.rollback()
        assert called is not (failed or is_syntax(name, conn.info.server_version))
    with governed_db.connect(disguised, governor=Governor.preset("standard"), identity=AGENT) as conn:
        bound = bind(read(sql), conn._seat.catalog, conn._seat.session)
        conn.governor.close()
    effects = {e.kind for e in bound.effects}
    assert called is (EffectKind.FUNCTION in effects) or failed


def test_every_word_that_became_syntax_is_known(dsn: str) -> None:
    """By rule: what the grammar reserves and this server does not is on the list, with the right release."""
    with psycopg.connect(dsn) as conn:
        here = dict(conn.execute("SELECT word, catcode FROM pg_get_keywords()").fetchall())
        version = conn.info.server_version
    for word in {*here, *SYNTAX_SINCE}:
        reserved_here = here.get(word, "U") in "CTR"
        if word in SYNTAX_SINCE:
            assert reserved_here is is_syntax(word, version), word
        elif _reserved(word) and word != "like":  # (like t) is a table's LIKE clause
            assert reserved_here, word


def _reserved(word: str) -> bool:
    for text in (f"CREATE TABLE t ({word} int)", f"CREATE FUNCTION {word}() RETURNS int LANGUAGE sql AS ''"):
        try:
            read(text)
        except Unreadable:
            return True
    return False


def test_an_older_server_has_a_column_where_the_grammar_has_a_keyword(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        older = conn.info.server_version < 160000
    with governed_db.connect(dsn, governor=Governor.preset("standard"), identity=AGENT) as conn:
        seat = conn._seat
        for sql in ("SELECT system_user", "SELECT * FROM system_user", "SELECT 1 WHERE system_user = 'x'"):
            assert bind(read(sql), seat.catalog, seat.session).complete is not older
        conn.governor.close()

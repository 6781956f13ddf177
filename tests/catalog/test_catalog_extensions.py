"""Functions, operators and operator classes of extensions: what passes unasked, on a server that has them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from attrs import evolve
from bind_cases import load
from freeze_vetted import extension_lines, with_extensions

from governed_db.catalog import Catalog, Function, Session, bind, extensions, unvetted
from governed_db.statement import read

CONTRIB = (
    "pg_trgm", "citext", "ltree", "hstore", "btree_gin", "btree_gist", "pgcrypto", "unaccent", "tablefunc",
    "fuzzystrmatch", "earthdistance", "dblink", "pageinspect", "uuid-ossp", "xml2",
)  # fmt: skip

TABLES = """
    CREATE TABLE things (id int PRIMARY KEY, word text, fold citext, tree ltree, bag hstore);
    CREATE INDEX ON things USING gin (word gin_trgm_ops);
    CREATE INDEX ON things USING gin (id);
    CREATE INDEX ON things USING gist (id);
    CREATE INDEX ON things (fold);
"""


@pytest.fixture(scope="module")
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def offered(connection: psycopg.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM pg_available_extensions")}


@pytest.fixture(scope="module")
def contrib(connection: psycopg.Connection, offered: set[str]) -> tuple[Catalog, Session]:
    if missing := [name for name in CONTRIB if name not in offered]:
        pytest.skip(f"this server does not have {', '.join(missing)}")
    for name in CONTRIB:
        connection.execute(f'CREATE EXTENSION "{name}" CASCADE')
    connection.execute(TABLES)
    session, catalog = load(connection)
    return catalog, session


def test_the_frozen_list_is_what_the_rule_says_of_this_server(connection: psycopg.Connection) -> None:
    here, _ = with_extensions(connection)
    assert not here - extensions.vetted(), "the rule lets through what nobody has read"


def test_nothing_on_the_list_takes_what_only_the_server_can_make() -> None:
    for line in extensions.vetted():
        arguments = line.split("(", 1)[1].rstrip(")").split(",")
        assert "2281" not in arguments or line.split()[2].startswith(("system_rows", "system_time"))
        assert line.split()[1] in extensions.EXTENSIONS


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT similarity(word, 'x') FROM things",
        "SELECT * FROM things WHERE word % 'x' ORDER BY word <-> 'x'",
        "SELECT unaccent(word), soundex(word), levenshtein(word, 'x') FROM things",
        "SELECT fold = 'x', max(fold), replace(fold, 'a', 'b') FROM things GROUP BY fold ORDER BY fold",
        "SELECT tree <@ 'a.b', nlevel(tree), subpath(tree, 0, 1) FROM things ORDER BY tree",
        "SELECT bag -> 'a', akeys(bag), bag ? 'a', each(bag) FROM things",
        "SELECT digest(word, 'sha256'), gen_salt('bf'), gen_random_bytes(8), crypt(word, 'x') FROM things",
        "SELECT uuid_generate_v4(), uuid_generate_v5(uuid_ns_dns(), 'x')",
        "SELECT earth_distance(ll_to_earth(1, 2), ll_to_earth(3, 4))",
        "SELECT DISTINCT id FROM things ORDER BY id",
        "INSERT INTO things (id, word, fold, bag) VALUES (1, 'a', 'b', 'a=>b')",
        "UPDATE things SET fold = word WHERE id = 1",
        "SELECT * FROM things WHERE id = 1 AND fold = word",
        "SELECT normal_rand(3, 0, 1)",
    ],
)
def test_honest_calls_pass(sql: str, contrib: tuple[Catalog, Session]) -> None:
    bound = bind(read(sql), *contrib)
    assert not [f"{u.ref}: {u.note}" for u in bound.functions if not u.vetted]
    assert bound.complete, bound.incomplete_because
    assert not [e for e in bound.effects if e.note.startswith(("from an extension", "defined"))]


@pytest.mark.parametrize(
    "call",
    [
        "crosstab('SELECT 1,2,3')",
        "connectby('t', 'a', 'b', 'c', 0)",
        "dblink('', 'SELECT 1')",
        "dblink_exec('', 'SELECT 1')",
        "get_raw_page('things', 0)",
        "xpath_table('a', 'b', 'things', '/x', 'true')",
        "xslt_process('<a/>', '<b/>')",
        "set_limit(0.1)",
        "gtrgm_consistent(NULL, NULL, 1::int2, 1, NULL)",
    ],
)
def test_what_runs_sql_or_reaches_out_does_not(call: str, contrib: tuple[Catalog, Session]) -> None:
    bound = bind(read(f"SELECT * FROM {call}"), *contrib)
    assert [u.note.split(",")[0] for u in bound.functions if not u.vetted] == ["from an extension"]


def test_indexes_of_extensions_hide_nothing(contrib: tuple[Catalog, Session]) -> None:
    catalog, session = contrib
    things = catalog.relation(None, "things", session)
    assert things is not None
    assert things.hidden == ()


@pytest.mark.parametrize(
    "change",
    [
        {"language": "plpgsql"},
        {"volatility": "v"},
        {"security_definer": True},
        {"arguments": (25, 25, 25)},
        {"name": "other"},
        {"extension": "somebodys"},
        {"returns": 2281},
        {"kind": "p"},
    ],
)
def test_each_mark_of_another_function_is_enough(
    change: dict[str, object], contrib: tuple[Catalog, Session]
) -> None:
    (similarity,) = contrib[0].functions["similarity"]
    assert unvetted(similarity) is None
    assert "from an extension" in str(unvetted(evolve(similarity, **change)))


def test_pgvector(connection: psycopg.Connection, offered: set[str]) -> None:
    if "vector" not in offered:
        pytest.skip("this server does not have vector")
    connection.execute("CREATE EXTENSION vector; CREATE TABLE items (id int PRIMARY KEY, v vector(3))")
    connection.execute("CREATE INDEX ON items USING hnsw (v vector_cosine_ops)")
    session, catalog = load(connection)
    assert extension_lines(catalog) <= extensions.vetted()
    for sql in (
        "SELECT id, 1 - (v <=> '[1,2,3]') AS score FROM items ORDER BY v <=> '[1,2,3]'::vector LIMIT 5",
        "SELECT avg(v), cosine_distance(v, v), l2_norm(v) FROM items GROUP BY v",
        "INSERT INTO items VALUES (1, ARRAY[1, 2, 3]::real[])",
        "UPDATE items SET v = ARRAY[1, 2, 3]::real[] WHERE id = 1",
    ):
        bound = bind(read(sql), catalog, session)
        assert not [f"{u.ref}: {u.note}" for u in bound.functions if not u.vetted], sql
    assert not [r for r in catalog.relations.values() if r.oid >= 16384 and r.hidden]


def test_a_function_below_the_first_oid_of_users_is_of_no_listed_extension() -> None:
    function = Function(
        oid=12000, schema="public", name="similarity", arguments=(25, 25), defaults=0, variadic=False,
        volatility="i", language="c", kind="f", returns=700, returns_set=False, security_definer=False,
        extension="pg_trgm",
    )  # fmt: skip
    assert unvetted(function) == "from an extension"
    assert unvetted(evolve(function, oid=20000)) is None

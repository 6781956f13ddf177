from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from freeze_vetted import load, read
from hypothesis import given
from hypothesis import strategies as st

from governed_db.catalog import Catalog, Relation, Session, TornSnapshot, build, queries, session
from governed_db.testing import EmbeddedPostgres

DIGESTS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "corpus" / "catalog_digest.jsonl").read_text().splitlines()
]
# Where a query's rows stand in a snapshot.
PLACE = {n: queries.PARTS.index(queries._sql(getattr(queries, n))) for n in ("_VIEWS", "_FUNCTIONS")}
ODD = 'odd "name", (with) {all} \\of; it\n and ü 名 \' $$'

QUOTED = '"' + ODD.replace('"', '""') + '"'

SCHEMA = f"""
CREATE SCHEMA app;
CREATE SCHEMA {QUOTED};
SET search_path = app, public;
CREATE TABLE plain (id int PRIMARY KEY, name varchar(30) NOT NULL, gone int, note text);
ALTER TABLE plain DROP COLUMN gone;
COMMENT ON TABLE plain IS 'a "table", with, commas
and lines';
COMMENT ON COLUMN plain.note IS 'sensitive: yes';
CREATE TABLE {QUOTED}.{QUOTED} ({QUOTED} int);

CREATE TABLE keyed (a int, b int, c int, d text, e text, f int, g int);
CREATE UNIQUE INDEX ON keyed (a);
CREATE UNIQUE INDEX ON keyed (b, c) INCLUDE (d);
CREATE UNIQUE INDEX ON keyed ((f + 1));
CREATE UNIQUE INDEX ON keyed (f) WHERE f > 0;
ALTER TABLE keyed ADD UNIQUE (g) DEFERRABLE;
CREATE INDEX ON keyed (d);
CREATE UNIQUE INDEX ON keyed (d text_pattern_ops);
CREATE UNIQUE INDEX ON keyed (e COLLATE "C");

CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted DEFAULT;
CREATE TABLE owner (id int PRIMARY KEY);
CREATE TABLE owned (id int REFERENCES owner ON DELETE CASCADE, pid int REFERENCES plain);

CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER audit BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION tr();
CREATE TABLE ruled (id int);
CREATE RULE hush AS ON DELETE TO ruled DO INSTEAD NOTHING;
CREATE TABLE secured (id int);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE VIEW look AS SELECT p.id, p.name, c.relname FROM plain p, pg_class c;
CREATE MATERIALIZED VIEW kept AS SELECT upper(name) AS shout FROM plain;
CREATE SEQUENCE counter;
CREATE UNLOGGED TABLE fast (id int);

CREATE FUNCTION many(a int, b text DEFAULT 'x', VARIADIC c int[] DEFAULT '{{}}') RETURNS SETOF int
    STABLE SECURITY DEFINER LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION outs(IN a int, OUT "b, ""c"" e" int, INOUT d text) LANGUAGE sql AS 'SELECT 1, $2';
CREATE FUNCTION unnamed(IN int, OUT int, OUT text) LANGUAGE sql AS 'SELECT 1, NULL::text';
CREATE FUNCTION tabular() RETURNS TABLE (x int, y int) LANGUAGE sql AS 'SELECT 1, 2';
CREATE PROCEDURE proc() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (l int, r int);
CREATE FUNCTION as_int(mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE CAST (mood AS int) WITH FUNCTION as_int(mood) AS ASSIGNMENT;
CREATE FUNCTION near(text, int) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR <~> (FUNCTION = near, LEFTARG = text, RIGHTARG = int);
RESET search_path;
"""

# Everything a caller could put in PostgreSQL's way, given a schema of its own.
HOSTILE = """
CREATE SCHEMA hostile;
CREATE TABLE hostile.pg_class (LIKE pg_catalog.pg_class);
CREATE TABLE hostile.pg_proc (LIKE pg_catalog.pg_proc);
CREATE TABLE hostile.pg_namespace (LIKE pg_catalog.pg_namespace);
CREATE TABLE hostile.pg_roles (rolname name, rolsuper bool);
CREATE DOMAIN hostile.oid AS text;
CREATE DOMAIN hostile.text AS int;
CREATE FUNCTION hostile.never(oid, pg_catalog.oid) RETURNS bool LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION hostile.never(name, name) RETURNS bool LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION hostile.never("char", "char") RETURNS bool LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION hostile.never(int, int) RETURNS bool LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION hostile.never(smallint, int) RETURNS bool LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION hostile.current_setting(pg_catalog.text) RETURNS pg_catalog.text
    LANGUAGE sql AS $$SELECT 'x'$$;
CREATE FUNCTION hostile.pg_get_viewdef(pg_catalog.oid) RETURNS pg_catalog.text
    LANGUAGE sql AS $$SELECT 'x'$$;
CREATE FUNCTION hostile.set_config(pg_catalog.text, pg_catalog.text, bool) RETURNS pg_catalog.text
    LANGUAGE sql AS $$SELECT 'x'$$;
""" + "".join(
    f"CREATE OPERATOR hostile.{name} (FUNCTION = hostile.never, LEFTARG = {left}, RIGHTARG = {right});\n"
    for name in ("=", "<>", ">=")
    for left, right in (
        ("pg_catalog.oid", "pg_catalog.oid"),
        ("name", "name"),
        ('"char"', '"char"'),
        ("int", "int"),
        ("smallint", "int"),
    )
)


@pytest.fixture(scope="module")
def database(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
    return dsn


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def catalog(database: str) -> Catalog:
    with psycopg.connect(database, autocommit=True) as connection:
        return load(connection)


def digest(connection: psycopg.Connection) -> str:
    return str(read(connection, queries.DIGEST)[0][0][0])


def standing(connection: psycopg.Connection) -> Session:
    return session(read(connection, queries.SESSION)[0][0])


def at(catalog: Catalog, name: str, schema: str = "app") -> Relation:
    found = catalog.relation(schema, name, Session(database="", role="", session_user="", search_path=()))
    assert found is not None
    return found


# -- relations


def test_columns_without_dropped_ones(catalog: Catalog) -> None:
    plain = at(catalog, "plain")
    assert [(c.number, c.name, c.type_oid, c.type_modifier, c.not_null) for c in plain.columns] == [
        (1, "id", 23, -1, True),
        (2, "name", 1043, 34, True),
        (4, "note", 25, -1, False),
    ]


def test_comments_and_odd_names_arrive_unchanged(catalog: Catalog) -> None:
    assert at(catalog, "plain").comment == 'a "table", with, commas\nand lines'
    assert [c.comment for c in at(catalog, "plain").columns] == [None, None, "sensitive: yes"]
    assert [c.name for c in at(catalog, ODD, ODD).columns] == [ODD]


def test_only_keys_that_prove_one_row_count(catalog: Catalog) -> None:
    # Not: INCLUDE columns, expressions, predicates, deferrable ones, other operator classes or collations.
    assert sorted(map(sorted, at(catalog, "keyed").keys)) == [[1], [2, 3]]
    assert at(catalog, "parted").keys == (frozenset({1}),)
    assert at(catalog, "child").keys == (frozenset({1}),)
    assert at(catalog, "parent").keys == ()  # the rows of child are rows of parent too


def test_what_hangs_on_a_relation(catalog: Catalog) -> None:
    assert [t.name for t in at(catalog, "plain").triggers] == ["audit"]
    assert at(catalog, "owned").triggers == ()  # those of foreign keys are PostgreSQL's own
    assert at(catalog, "ruled").has_rules
    assert not at(catalog, "look").has_rules
    assert at(catalog, "secured").row_security
    assert not at(catalog, "plain").row_security
    assert at(catalog, "child").parents == (at(catalog, "parent").oid,)
    assert at(catalog, "part").parents == (at(catalog, "parted").oid,)
    assert at(catalog, "owner").cascades
    assert not at(catalog, "plain").cascades
    assert at(catalog, "fast").persistence == "u"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("plain", "r"),
        ("parted", "p"),
        ("look", "v"),
        ("kept", "m"),
        ("counter", "S"),
        ("pair", "c"),
        ("plain_pkey", "i"),
    ],
)
def test_kinds(name: str, kind: str, catalog: Catalog) -> None:
    assert at(catalog, name).kind == kind


def test_definitions_name_every_schema(catalog: Catalog) -> None:
    look = " ".join(str(at(catalog, "look").definition).split())
    assert look == "SELECT p.id, p.name, c.relname FROM app.plain p, pg_class c;"
    assert "FROM app.plain" in str(at(catalog, "kept").definition)
    assert at(catalog, "plain").definition is None
    assert at(catalog, "pg_tables", "pg_catalog").definition is None


def test_system_relations_are_there_with_columns_and_toast_is_not(catalog: Catalog) -> None:
    assert at(catalog, "pg_class", "pg_catalog").column("relname") is not None
    assert at(catalog, "columns", "information_schema").column("table_name") is not None
    assert not [r for r in catalog.relations.values() if r.schema.startswith("pg_toast")]


# -- functions, types, operators, casts


def test_functions(catalog: Catalog) -> None:
    (many,) = catalog.functions["many"]
    assert (many.arguments, many.defaults, many.variadic) == ((23, 25, 1007), 2, True)
    assert (many.volatility, many.language, many.kind, many.returns) == ("s", "sql", "f", 23)
    assert many.returns_set
    assert many.security_definer
    assert many.extension is None
    assert catalog.functions["proc"][0].kind == "p"
    assert catalog.functions["total"][0].kind == "a"
    assert [f.kind for f in catalog.functions["row_number"]] == ["w"]
    assert catalog.functions["plpgsql_call_handler"][0].extension == "plpgsql"
    assert catalog.function(many.oid) is many
    assert catalog.function(0) is None


def test_names_of_outputs(catalog: Catalog) -> None:
    assert catalog.functions["outs"][0].outputs == ('b, "c" e', "d")
    assert catalog.functions["unnamed"][0].outputs == ("column1", "column2")
    assert catalog.functions["tabular"][0].outputs == ("x", "y")
    assert catalog.functions["many"][0].outputs == ()


def test_types(catalog: Catalog) -> None:
    by_name = {(t.schema, t.name): t for t in catalog.types.values()}
    assert (by_name["app", "positive"].kind, by_name["app", "positive"].base) == ("d", 23)
    assert by_name["app", "mood"].kind == "e"
    assert by_name["app", "pair"].relation == at(catalog, "pair").oid
    assert by_name["app", "_mood"].element == by_name["app", "mood"].oid
    assert catalog.types[25].name == "text"


def test_only_operators_and_casts_that_somebody_added(catalog: Catalog) -> None:
    assert list(catalog.operators) == ["<~>"]
    (near,) = catalog.operators["<~>"]
    assert (near.schema, near.left, near.right, near.result) == ("app", 25, 23, 16)
    function = catalog.function(near.function)
    assert function is not None
    assert str(function) == "app.near"
    ((target, (cast,)),) = catalog.casts.items()
    assert (target, cast.method, cast.context) == (23, "f", "a")
    assert str(catalog.function(cast.function)) == "app.as_int"


# -- the same answer whoever asks, and wherever


def test_no_schema_answers_in_postgresqls_place(connection: psycopg.Connection) -> None:
    connection.execute(HOSTILE)
    try:
        honest, calm = load(connection), standing(connection)
        connection.execute("SET search_path = hostile, app, pg_catalog")
        assert load(connection) == honest
        misled = standing(connection)
        assert (misled.role, misled.superuser) == (calm.role, calm.superuser)
        assert misled.search_path == ("hostile", "app", "pg_catalog")
        assert misled.client_encoding == "UTF8"
    finally:
        connection.execute("RESET search_path")
        connection.execute("DROP SCHEMA hostile CASCADE")


def test_an_ordinary_role_sees_the_same(connection: psycopg.Connection, catalog: Catalog) -> None:
    connection.execute("CREATE ROLE catalog_reader")
    try:
        connection.execute("SET ROLE catalog_reader")
        seen = load(connection)
        assert (seen.relations, seen.functions, seen.types) == (
            catalog.relations,
            catalog.functions,
            catalog.types,
        )
        mine = standing(connection)
        assert (mine.role, mine.role_setting, mine.superuser) == ("catalog_reader", "catalog_reader", False)
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP ROLE catalog_reader")


def test_in_a_transaction_nothing_is_left_behind(connection: psycopg.Connection) -> None:
    known = digest(connection)
    with connection.transaction():
        connection.execute("SET LOCAL search_path = app, public")
        connection.execute("SET lock_timeout = '7s'")
        results = read(connection, queries.SNAPSHOT_IN_TRANSACTION)
        inside = build(results, known, connection.info.server_version)
        assert connection.execute("SHOW search_path").fetchone() == ("app, public",)
        assert connection.execute("SHOW lock_timeout").fetchone() == ("7s",)
        locks = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'app.plain'::regclass"
        )
        assert locks.fetchone() == (0,)
        assert connection.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)
    assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
    assert connection.execute("SHOW lock_timeout").fetchone() == ("7s",)
    assert inside == load(connection)
    assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_a_snapshot_that_fails_gives_the_transaction_back(
    connection: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = queries.SNAPSHOT_IN_TRANSACTION.replace(b"'2s'", b"'50ms'")
    with psycopg.connect(database) as other:
        # What rules do is waited for.
        other.execute("LOCK TABLE app.ruled IN ACCESS EXCLUSIVE MODE")
        with connection.transaction():
            connection.execute("SET LOCAL search_path = app")
            with pytest.raises(RuntimeError, match="lock timeout"):
                read(connection, impatient)
            read(connection, queries.RECOVER)
            assert connection.execute("SHOW search_path").fetchone() == ("app",)


def test_nobody_waits_for_a_view_whose_table_is_locked(
    connection: psycopg.Connection, database: str, catalog: Catalog
) -> None:
    whole = load(connection)
    impatient = queries.SNAPSHOT.replace(b"'2s'", b"'50ms'")
    with psycopg.connect(database) as other, psycopg.connect(database, autocommit=True) as third:
        other.execute("LOCK TABLE app.plain IN ACCESS EXCLUSIVE MODE")
        known = digest(connection)
        partial = build(read(connection, impatient), known, connection.info.server_version)
        own = standing(connection)
        left_out = {r.name for r in partial.relations.values() if r.definition == queries.LOCKED}
        assert "look" in left_out
        assert known == whole.version != partial.version  # or it would be taken for the whole one afterwards
        assert build(read(third, impatient), known, third.info.server_version).version == partial.version
        assert partial.relation("app", "plain", own) == whole.relation("app", "plain", own)
    assert load(connection) == whole


def test_a_change_while_reading_is_noticed(connection: psycopg.Connection) -> None:
    before = digest(connection)
    connection.execute("CREATE TABLE app.sudden (id int)")
    try:
        results = read(connection, queries.SNAPSHOT)
        with pytest.raises(TornSnapshot) as torn:
            build(results, before, 160000)
        assert torn.value.digest == digest(connection)
        again = build(results, torn.value.digest, 160000)
        assert again.version == torn.value.digest
        assert again.server_version == 160000
    finally:
        connection.execute("DROP TABLE app.sudden")


def test_temporary_relations_are_those_of_the_session_alone(
    connection: psycopg.Connection, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        connection.execute("CREATE TEMP TABLE plain (mine int)")
        mine = standing(connection)
        assert mine.temp_schema is not None
        assert mine.search_path == (mine.temp_schema, "pg_catalog", "public")
        connection.execute("SET search_path = app")
        seen, path = load(connection), standing(connection)
        assert str(seen.relation(None, "plain", path)) == f"{mine.temp_schema}.plain"
        assert str(seen.relation("pg_temp", "plain", path)) == f"{mine.temp_schema}.plain"
        assert seen.relation(mine.temp_schema, "plain", path).persistence == "t"  # type: ignore[union-attr]
        theirs = load(other)
        assert standing(other).temp_schema is None
        assert theirs.relation(mine.temp_schema, "plain", standing(other)) is None


# -- the session


def test_session_settings(connection: psycopg.Connection) -> None:
    quiet = standing(connection)
    assert quiet == Session(
        database=connection.info.dbname,
        role=connection.info.user,
        session_user=connection.info.user,
        search_path=("pg_catalog", "public"),
        superuser=True,
    )
    connection.execute(
        "SET standard_conforming_strings = off; SET backslash_quote = on; SET row_security = off;"
        "SET session_replication_role = replica; SET client_encoding = 'LATIN1'"
    )
    loud = standing(connection)
    assert not loud.standard_conforming_strings
    assert not loud.row_security
    assert (loud.backslash_quote, loud.replication_role, loud.client_encoding) == ("on", "replica", "LATIN1")


def test_a_search_path_of_odd_names_is_not_taken_apart(connection: psycopg.Connection) -> None:
    connection.execute("SELECT set_config('search_path', quote_ident(%s) || ', app, nowhere', false)", [ODD])
    assert standing(connection).search_path == ("pg_catalog", ODD, "app")


@pytest.mark.parametrize("row", [(), ("a",) * 11, ("a", "b", "c", None, *"defghijk")])
def test_a_row_of_something_else_is_no_session(row: tuple[str | None, ...]) -> None:
    with pytest.raises(ValueError, match="unexpected shape"):
        session(row)


# -- the digest

SETTING = """
    DISCARD ALL;
    DROP SCHEMA IF EXISTS public, d_s, d_s2, d_s3 CASCADE;
    CREATE EXTENSION IF NOT EXISTS plpgsql;
    CREATE SCHEMA public; CREATE SCHEMA d_s;
    CREATE TABLE d_old (id int); CREATE TABLE d_t (a int, v varchar(10)); CREATE SEQUENCE d_seq;
    CREATE TABLE d_k (x int PRIMARY KEY); CREATE TABLE d_p (x int); CREATE TABLE d_c (x int);
    CREATE TABLE d_fk (x int CONSTRAINT d_fk_x REFERENCES d_k ON DELETE CASCADE);
    CREATE VIEW d_v AS SELECT 'x'::varchar(10) AS x; CREATE TYPE d_e AS ENUM ('a');
    CREATE FUNCTION d_f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION d_ef(d_e) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION d_tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER d_old_tr AFTER INSERT ON d_t FOR EACH ROW EXECUTE FUNCTION d_tr();
    CREATE DOMAIN d_dm AS int; CREATE OPERATOR FAMILY d_fam USING btree;
"""


@pytest.fixture(scope="module")
def two(server: EmbeddedPostgres) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    dsn = server.create_database("digests")
    with psycopg.connect(dsn, autocommit=True) as one, psycopg.connect(dsn, autocommit=True) as other:
        one.prepare_threshold = None  # DISCARD ALL takes prepared statements away
        yield one, other
    server.drop_database("digests")


@pytest.mark.parametrize("case", DIGESTS, ids=lambda case: case["sql"])
def test_the_digest_tells_what_others_changed(
    case: dict[str, object], two: tuple[psycopg.Connection, psycopg.Connection]
) -> None:
    one, other = two
    for statement in SETTING.split(";\n"):
        one.execute(statement)
    before = digest(other)
    assert digest(other) == before
    one.execute(str(case["sql"]))
    assert (digest(other) != before) == case["changes"]


def test_the_digest_follows_a_transaction(connection: psycopg.Connection, database: str) -> None:
    before = digest(connection)
    with psycopg.connect(database, autocommit=True) as other:
        theirs = digest(other)
        with connection.transaction(force_rollback=True):
            connection.execute("ALTER TABLE app.plain RENAME COLUMN note TO remark")
            first = digest(connection)
            connection.execute("ALTER TABLE app.plain RENAME COLUMN remark TO phrase")
            second = digest(connection)
            assert len({before, first, second}) == 3
            assert digest(other) == theirs
        assert digest(connection) == before


def test_the_digest_knows_the_sessions_own_temporary_tables(connection: psycopg.Connection) -> None:
    before = digest(connection)
    connection.execute("CREATE TEMP TABLE passing (id int)")
    assert digest(connection) != before


def test_databases_alike_are_told_apart(server: EmbeddedPostgres) -> None:
    digests = set()
    for name in ("alike_1", "alike_2"):
        with psycopg.connect(server.create_database(name), autocommit=True) as connection:
            digests.add(digest(connection))
        server.drop_database(name)
    assert len(digests) == 2


# -- results that were made up


@pytest.mark.parametrize("count", [0, 1, len(queries.PARTS) + 2, len(queries.PARTS) + 9])
def test_results_of_something_else_are_no_catalog(count: int) -> None:
    with pytest.raises(ValueError, match="unexpected shape"):
        build([[]] * count, "d", 150000)


def test_results_without_a_digest_are_no_catalog() -> None:
    with pytest.raises(ValueError, match="unexpected shape"):
        build([[]] * len(queries.PARTS), "d", 150000)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=63)


@given(NAMES, NAMES, NAMES, st.none() | NAMES, NAMES, st.lists(NAMES))
def test_any_name_survives(
    schema: str, relation: str, column: str, comment: str | None, definition: str, outputs: list[str]
) -> None:
    results: list[list[tuple[str | None, ...]]] = [[] for _ in queries.PARTS]
    results[0] = [("16384", schema, relation, "v", "p", "f", comment, None)]
    results[1] = [("16384", "1", column, "25", "-1", "t", comment, None)]
    results[PLACE["_VIEWS"]] = [("16384", definition)]
    modes = "{" + ",".join(["i", *("o" for _ in outputs)]) + "}"
    names = json.dumps(["", *outputs])
    results[PLACE["_FUNCTIONS"]] = [
        ("16385", schema, relation, "25 23", "0", "0", "v", "sql", "f", "2249", "f", "f", modes, names)
    ]
    results[-1] = [("d",)]
    catalog = build(results, "d", 150000)
    found = catalog.relation(schema, relation, Session(database="", role="", session_user="", search_path=()))
    assert found is not None
    assert (found.definition, found.comment) == (definition, comment)
    assert [(c.name, c.comment) for c in found.columns] == [(column, comment)]
    assert catalog.functions[relation][0].outputs == tuple(outputs)
    assert catalog.functions[relation][0].arguments == (25, 23)

"""What a snapshot holds of triggers, constraints, rules, functions, and of what runs without being named."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from bind_cases import load

from governed_db.catalog import Catalog, Relation, Session, bind
from governed_db.catalog.scope import Rows
from governed_db.statement import read
from governed_db.statement.facts import Access

SCHEMA = """
CREATE SCHEMA app;
SET search_path = app;
CREATE FUNCTION bad(anyelement) RETURNS bool LANGUAGE plpgsql AS $$BEGIN RETURN true; END$$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE FUNCTION made() RETURNS int LANGUAGE sql SET search_path = app, pg_temp SET work_mem = '1MB'
    AS 'SELECT 1';
CREATE FUNCTION calm(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN $1; END$$;
CREATE PROCEDURE work(INOUT a int) LANGUAGE plpgsql AS $$BEGIN a := 1; END$$;
CREATE FUNCTION step(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION done(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(int) (SFUNC = step, STYPE = int, FINALFUNC = done, MSFUNC = step, MINVFUNC = step,
    MSTYPE = int, PARALLEL = SAFE);
CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same);
CREATE DOMAIN checked AS text CHECK (app.bad(VALUE));
CREATE DOMAIN twice AS checked;
CREATE TYPE inner_row AS (a int, b twice);
CREATE TYPE cash AS (amount int);
CREATE FUNCTION cash_lt(cash, cash) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION cash_cmp(cash, cash) RETURNS int LANGUAGE sql AS 'SELECT 0';
CREATE OPERATOR <<< (LEFTARG = cash, RIGHTARG = cash, FUNCTION = cash_lt);
CREATE OPERATOR CLASS cash_ops DEFAULT FOR TYPE cash USING btree
    AS OPERATOR 1 <<<, FUNCTION 1 cash_cmp(cash, cash);

CREATE TABLE t (id serial PRIMARY KEY, "Odd" int UNIQUE, c int CONSTRAINT positive CHECK (c > 0), gone int,
    d text, EXCLUDE USING btree (d WITH =));
ALTER TABLE t DROP COLUMN gone;
CREATE TRIGGER b AFTER UPDATE OF d, c ON t FOR EACH STATEMENT EXECUTE FUNCTION stamp();
CREATE TRIGGER a BEFORE INSERT OR DELETE ON t FOR EACH ROW WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION stamp();
CREATE TRIGGER off AFTER TRUNCATE ON t EXECUTE FUNCTION stamp();
ALTER TABLE t DISABLE TRIGGER off;
CREATE TABLE child (a int, b int, t_id int REFERENCES t ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT odd FOREIGN KEY (b) REFERENCES t ("Odd"));
CREATE VIEW v AS SELECT id FROM t;
CREATE TRIGGER i INSTEAD OF DELETE ON v FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE RULE quiet AS ON UPDATE TO child WHERE old.a > 1 DO ALSO INSERT INTO t (c) VALUES (1);

CREATE TABLE defaulted (id serial, a bool DEFAULT bad(1), b timestamptz DEFAULT now(), c int DEFAULT 1);
CREATE TABLE slow (a text DEFAULT pg_sleep(0)::text);
CREATE TABLE generated (a int, b int GENERATED ALWAYS AS (calm(a)) STORED);
CREATE TABLE checking (a int CHECK (bad(a)));
CREATE TABLE operated (a int CHECK (a === 1));
CREATE TABLE indexed (a int);
CREATE INDEX ON indexed (calm(a));
CREATE TABLE partly (a int);
CREATE INDEX ON partly (a) WHERE calm(a) = 1;
CREATE TABLE guarded (a int, b int);
CREATE POLICY p ON guarded USING (bad(a));
CREATE POLICY q ON guarded FOR INSERT WITH CHECK (same(a, 1));
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE TABLE unguarded (a int);
CREATE POLICY p ON unguarded USING (bad(a));
CREATE TABLE fired (a int);
CREATE TRIGGER f AFTER INSERT ON fired FOR EACH ROW WHEN (bad(new.a)) EXECUTE FUNCTION stamp();
CREATE TABLE parted (a int) PARTITION BY RANGE (calm(a));
CREATE TABLE domained (a int, b checked, c twice[], d inner_row);
CREATE TABLE casting (a int, b text CHECK (b::checked IS NOT NULL));
CREATE TABLE priced (a int, m cash);
CREATE UNIQUE INDEX ON priced (m);
CREATE TABLE plain (a int DEFAULT 1 CHECK (a > 0), b int GENERATED ALWAYS AS (a + 1) STORED,
    c text DEFAULT md5('x'), d int GENERATED ALWAYS AS IDENTITY, e serial);
CREATE INDEX ON plain (lower(c)) WHERE a > 1;
CREATE TABLE computing (a int, b int, c text, d text, f varchar(9),
    sum int GENERATED ALWAYS AS (a + b) STORED, twice int GENERATED ALWAYS AS (a * 2) STORED,
    named text GENERATED ALWAYS AS (coalesce(c, '{') || ' ' || upper(d)) STORED,
    words tsvector GENERATED ALWAYS AS (to_tsvector('simple'::regconfig, c || d)) STORED,
    short varchar(9) GENERATED ALWAYS AS (c || d) STORED,
    through int GENERATED ALWAYS AS ((c || d)::int) STORED,
    less bool GENERATED ALWAYS AS (a < b AND c > d) STORED);
CREATE INDEX ON computing (c, (a / (b - 1)), lower(d)) WHERE a > b;
CREATE INDEX ON computing (a, lower(d), (c || d));
CREATE INDEX ON computing (a) WHERE c::int > b;
RESET search_path;
"""


@pytest.fixture(scope="module")
def loaded(dsn: str) -> Iterator[tuple[Catalog, Session]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
        session, catalog = load(connection)
        yield catalog, session


@pytest.fixture(scope="module")
def catalog(loaded: tuple[Catalog, Session]) -> Catalog:
    return loaded[0]


def at(catalog: Catalog, name: str) -> Relation:
    found = catalog.relation("app", name, Session(database="", role="", session_user="", search_path=()))
    assert found is not None
    return found


def test_triggers_say_when_they_run(catalog: Catalog) -> None:
    told = {
        t.name: (t.timing, t.each_row, set(t.events), t.columns, t.enabled)
        for t in (*at(catalog, "t").triggers, *at(catalog, "v").triggers)
    }
    assert told == {
        "a": ("before", True, {Access.INSERT, Access.DELETE}, (), "O"),
        "b": ("after", False, {Access.UPDATE}, (5, 3), "O"),
        "off": ("after", False, {Access.TRUNCATE}, (), "D"),
        "i": ("instead", True, {Access.DELETE}, (), "O"),
    }
    assert {str(catalog.function(t.function)) for t in at(catalog, "t").triggers} == {"app.stamp"}


def test_constraints_by_name(catalog: Catalog) -> None:
    assert {k.name: (k.kind, k.columns) for k in at(catalog, "t").constraints} == {
        "t_pkey": ("p", (1,)),
        "t_Odd_key": ("u", (2,)),
        "positive": ("c", (3,)),
        "t_d_excl": ("x", (5,)),
    }


def test_a_place_that_nobody_bound_is_a_gap(
    loaded: tuple[Catalog, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the grammar has and the binder does not look at must not pass for understood.
    text = "INSERT INTO app.t (id) SELECT id FROM app.t WHERE id IN (SELECT id FROM app.computing)"
    catalog, session = loaded
    assert bind(read(text), catalog, session).incomplete_because == ""
    monkeypatch.setattr("governed_db.catalog.writes.select", lambda *_: Rows(()))
    assert "not looked into" in bind(read(text), catalog, session).incomplete_because


def test_what_computes_with_several_columns_and_may_fail(catalog: Catalog) -> None:
    # Joining and comparing texts does not fail; arithmetic, casts and limits of length do.
    assert sorted((k.kind, k.name, k.columns) for k in at(catalog, "computing").constraints) == [
        ("e", "", (1, 2)),
        ("e", "", (2, 3)),
        ("g", "short", (3, 4)),
        ("g", "sum", (1, 2)),
        ("g", "through", (3, 4)),
    ]


def test_foreign_keys_say_what_follows(catalog: Catalog) -> None:
    child, t = at(catalog, "child").oid, at(catalog, "t").oid
    assert {
        k.name: (k.relation, k.columns, k.referenced, k.referenced_columns, k.on_delete, k.on_update)
        for k in catalog.foreign_keys
    } == {
        "child_t_id_fkey": (child, (3,), t, (1,), "n", "c"),
        "odd": (child, (2,), t, (2,), "a", "a"),
    }


def test_rules_name_every_schema(catalog: Catalog) -> None:
    (rule,) = at(catalog, "child").rules
    assert "INSERT INTO app.t" in rule
    assert at(catalog, "v").rules == ()


def test_definitions_and_settings_of_functions(catalog: Catalog) -> None:
    (made,) = catalog.functions["made"]
    assert made.settings == ("search_path=app, pg_temp", "work_mem=1MB")
    assert "FUNCTION app.made()" in str(made.definition)
    assert "CREATE OR REPLACE PROCEDURE app.work" in str(catalog.functions["work"][0].definition)
    assert catalog.functions["total"][0].definition is None
    assert all(f.definition is None for f in catalog.functions["lower"])
    assert "RETURN true" not in repr(catalog.functions["bad"][0])


def test_a_body_that_was_parsed_at_creation_has_a_definition(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.info.server_version < 140000:
            pytest.skip("BEGIN ATOMIC came with PostgreSQL 14")
        connection.execute(
            "CREATE TABLE atoms (a int);"
            "CREATE FUNCTION atom() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM atoms; END"
        )
        _, catalog = load(connection)
    assert "DELETE FROM public.atoms" in str(catalog.functions["atom"][0].definition)


def test_what_an_aggregate_is_made_of(catalog: Catalog) -> None:
    (total,) = catalog.functions["total"]
    assert {str(catalog.function(oid)) for oid in total.made_of} == {"app.step", "app.done"}
    assert catalog.functions["count"][0].made_of == ()


def test_operator_classes_of_users(catalog: Catalog) -> None:
    ((type_oid, (money,)),) = catalog.operator_classes.items()
    assert catalog.types[type_oid].name == "cash"
    assert (money.method, money.default) == ("btree", True)
    assert {str(catalog.function(oid)) for oid in money.functions} == {"app.cash_lt", "app.cash_cmp"}


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ("defaulted", [("app.bad", "a column default", 2, False, True)]),
        ("slow", [("pg_catalog.pg_sleep", "a column default", 1, False, True)]),
        ("generated", [("app.calm", "a generated column", 2, False, True)]),
        ("checking", [("app.bad", "a check constraint", 0, False, True)]),
        ("operated", [("app.same", "a check constraint", 0, False, True)]),
        ("indexed", [("app.calm", "an index", 0, False, True)]),
        ("partly", [("app.calm", "an index", 0, False, True)]),
        (
            "guarded",
            [
                ("app.bad", "a row security policy", 0, True, True),
                ("app.same", "a row security policy", 0, False, True),
            ],
        ),
        ("unguarded", []),
        ("fired", [("app.bad", "a trigger's condition", 0, False, True)]),
        ("parted", [("app.calm", "a partition key", 0, True, True)]),
        (
            "domained",
            [
                ("app.bad", "a domain's check", 2, False, True),
                ("app.bad", "a domain's check", 3, False, True),
                ("app.bad", "a domain's check", 4, False, True),
            ],
        ),
        ("casting", [("app.bad", "a check constraint", 0, False, True)]),
        (
            "priced",
            [
                ("app.cash_cmp", "an index", 0, True, True),
                ("app.cash_lt", "an index", 0, True, True),
            ],
        ),
        ("plain", []),
        ("t", []),
    ],
)
def test_what_runs_without_being_named(
    catalog: Catalog, relation: str, expected: list[tuple[object, ...]]
) -> None:
    hidden = [
        (str(catalog.function(h.function)), h.where, h.column, h.reads, h.writes)
        for h in at(catalog, relation).hidden
    ]
    assert sorted(hidden) == expected


def test_a_virtual_column_runs_when_it_is_read(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.info.server_version < 180000:
            pytest.skip("virtual generated columns came with PostgreSQL 18")
        connection.execute("CREATE TABLE virtually (a int, b text GENERATED ALWAYS AS (a::text) VIRTUAL)")
        _, catalog = load(connection)
    nobody = Session(database="", role="", session_user="", search_path=())
    found = catalog.relation("public", "virtually", nobody)
    assert found is not None
    assert found.columns[1].generated == (1,)


@pytest.mark.parametrize(
    ("sql", "withheld"),
    [
        ("SELECT oid, srvname FROM pg_foreign_server WHERE srvname = 'x'", False),
        ("SELECT s.srvname FROM pg_foreign_table t JOIN pg_foreign_server s ON s.oid = t.ftserver", False),
        ("SELECT subname, subenabled FROM pg_subscription", False),
        ("SELECT * FROM pg_foreign_server", True),
        ("SELECT srvoptions FROM pg_foreign_server", True),
        ("SELECT s FROM pg_foreign_server s", True),
        ("SELECT s::text FROM pg_foreign_server s", True),
        ("SELECT row_to_json(s) FROM pg_foreign_server s", True),
        ("SELECT 1 FROM pg_foreign_server WHERE srvoptions::text LIKE '%x%'", True),
        ("SELECT count(*) FROM pg_foreign_server GROUP BY srvoptions", True),
        ("SELECT x FROM (SELECT srvoptions AS x FROM pg_foreign_server) s", True),
        ("SELECT subconninfo FROM pg_subscription", True),
        ("COPY pg_foreign_server TO STDOUT", True),
        ("COPY (SELECT srvoptions FROM pg_foreign_server) TO STDOUT", True),
        ("DECLARE c CURSOR FOR SELECT srvoptions FROM pg_foreign_server", True),
        ("CREATE TABLE x AS SELECT srvoptions FROM pg_foreign_server", True),
        ("TABLE pg_foreign_server", True),
        ("SELECT rolname FROM pg_authid", True),
    ],
)
def test_servers_and_subscriptions_are_withheld_by_column(
    sql: str, withheld: bool, loaded: tuple[Catalog, Session]
) -> None:
    bound = bind(read(sql), *loaded)
    assert any(e.note.startswith("withheld") for e in bound.effects) == withheld


def test_postgresqls_own_operators_call_only_vetted_functions(dsn: str) -> None:
    # Why hidden functions are looked for behind the operators of users alone.
    from governed_db.catalog import unvetted

    with psycopg.connect(dsn, autocommit=True) as connection:
        behind = connection.execute("SELECT DISTINCT oprcode::oid::int FROM pg_operator WHERE oid < 16384")
        oids = [row[0] for row in behind]
        _, catalog = load(connection)
    functions = [catalog.function(oid) for oid in oids if oid]
    assert [str(f) for f in functions if f is None or unvetted(f)] == []


@pytest.mark.parametrize(
    ("sql", "called"),
    [
        ("SELECT max(m) FROM app.priced", True),
        ("SELECT DISTINCT m FROM app.priced", True),
        ("SELECT * FROM app.priced ORDER BY m", True),
        ("SELECT * FROM app.priced ORDER BY 2", True),
        ("SELECT count(*) FROM app.priced GROUP BY m", True),
        ("SELECT m FROM app.priced UNION SELECT m FROM app.priced", True),
        ("SELECT greatest(m, m) FROM app.priced", True),
        ("SELECT rank() OVER (ORDER BY m) FROM app.priced", True),
        ("SELECT p FROM app.priced p ORDER BY p", True),
        ("SELECT * FROM app.priced ORDER BY ROW(a, m)", True),
        ("SELECT max(x.m) FROM (SELECT m FROM app.priced) x", True),
        ("SELECT max(x) FROM (SELECT ROW(1)::app.cash AS x) s", True),
        ("SELECT max(x) FROM (SELECT ARRAY[ROW(1)::app.cash] AS x) s", True),
        ("SELECT * FROM app.priced JOIN app.priced q USING (m)", True),
        ("SELECT 1 FROM app.priced WHERE m IN (SELECT m FROM app.priced)", True),
        ("SELECT m FROM app.priced", False),
        ("SELECT (m).amount FROM app.priced ORDER BY a", False),
        ("SELECT max(a) FROM app.priced GROUP BY a", False),
        ("INSERT INTO app.priced VALUES (1, ROW(1)::app.cash)", False),
        ("UPDATE app.priced SET m = ROW(2)::app.cash WHERE a = 1", False),
    ],
)
def test_comparing_calls_the_operator_class_of_the_type(
    sql: str, called: bool, loaded: tuple[Catalog, Session]
) -> None:
    bound = bind(read(sql), *loaded)
    names = {str(f) for use in bound.functions for f in use.candidates}
    assert ("app.cash_cmp" in names) == called

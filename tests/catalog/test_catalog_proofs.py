"""Which writes are proven to touch their own rows and nothing else, and which casts they call unsaid."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from attrs import evolve
from bind_cases import load

from governed_db.catalog import Catalog, Session, bind
from governed_db.statement import read

SCHEMA = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TABLE partial (id int PRIMARY KEY, a int, b int, g int GENERATED ALWAYS AS (a + 1) STORED);
CREATE TRIGGER of_a AFTER UPDATE OF a ON partial FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TABLE derived (id int PRIMARY KEY, a int, b int, g int GENERATED ALWAYS AS (a + 1) STORED);
CREATE TRIGGER of_g AFTER UPDATE OF g ON derived FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TABLE gone (id int PRIMARY KEY, a int);
CREATE TRIGGER del AFTER DELETE ON gone FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TABLE silent (id int PRIMARY KEY, a int);
CREATE TRIGGER off AFTER INSERT OR UPDATE OR DELETE ON silent FOR EACH ROW EXECUTE FUNCTION stamp();
ALTER TABLE silent DISABLE TRIGGER off;
CREATE TABLE replicated (id int PRIMARY KEY, a int);
CREATE TRIGGER r AFTER UPDATE ON replicated FOR EACH ROW EXECUTE FUNCTION stamp();
ALTER TABLE replicated ENABLE REPLICA TRIGGER r;
CREATE TABLE whole (id int PRIMARY KEY, code text UNIQUE, a int);
CREATE TABLE on_delete (id int PRIMARY KEY, w int REFERENCES whole ON DELETE CASCADE);
CREATE TABLE on_update (id int PRIMARY KEY, w text REFERENCES whole (code) ON UPDATE SET NULL);
CREATE TABLE parted (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 (gone int, a int, id int NOT NULL);
ALTER TABLE part_2 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20);
CREATE TRIGGER on_part AFTER INSERT ON part_2 FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TABLE split (id int PRIMARY KEY, a int, b int) PARTITION BY RANGE (id);
CREATE TABLE split_1 (gone int, b int, a int, id int NOT NULL);
ALTER TABLE split_1 DROP COLUMN gone;
ALTER TABLE split ATTACH PARTITION split_1 DEFAULT;
CREATE TRIGGER of_b AFTER UPDATE OF b ON split_1 FOR EACH ROW EXECUTE FUNCTION stamp();

CREATE TYPE price AS (amount numeric, currency text);
CREATE FUNCTION price_text(price) RETURNS text LANGUAGE sql AS $$SELECT 'x'$$;
CREATE CAST (price AS text) WITH FUNCTION price_text(price) AS IMPLICIT;
CREATE FUNCTION text_price(text) RETURNS price LANGUAGE sql AS $$SELECT NULL::price$$;
CREATE CAST (text AS price) WITH FUNCTION text_price(text) AS ASSIGNMENT;
CREATE TABLE priced (id int PRIMARY KEY, name text, pr price, prs price[]);
CREATE TABLE bare (id int PRIMARY KEY, name text, size int);
"""


@pytest.fixture(scope="module")
def loaded(dsn: str) -> Iterator[tuple[Catalog, Session]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
        session, catalog = load(connection)
        yield catalog, session


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("UPDATE partial SET a = 1 WHERE id = 1", None),
        ("UPDATE partial SET b = 1 WHERE id = 1", 1),
        ("UPDATE partial SET (b, a) = (1, 2) WHERE id = 1", None),
        ("INSERT INTO partial (id) VALUES (1), (2)", 2),
        ("INSERT INTO partial (id) VALUES (1) ON CONFLICT DO NOTHING", 1),
        ("INSERT INTO partial (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET b = 1", 1),
        ("INSERT INTO partial (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1", None),
        ("DELETE FROM partial WHERE id = 1", 1),
        ("UPDATE derived SET a = 1 WHERE id = 1", None),
        ("UPDATE derived SET b = 1 WHERE id = 1", 1),
        ("UPDATE gone SET a = 1 WHERE id = 1", 1),
        ("DELETE FROM gone WHERE id = 1", None),
        ("UPDATE silent SET a = 1 WHERE id = 1", 1),
        ("DELETE FROM silent WHERE id = 1", 1),
        ("UPDATE replicated SET a = 1 WHERE id = 1", 1),
        ("UPDATE whole SET a = 1 WHERE id = 1", 1),
        ("UPDATE whole SET id = 2 WHERE id = 1", 1),
        ("UPDATE whole SET code = 'x' WHERE id = 1", None),
        ("DELETE FROM whole WHERE id = 1", None),
        ("INSERT INTO whole (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET code = 'x'", None),
        ("INSERT INTO whole (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 2", 1),
        # A row that moves is inserted into the other partition.
        ("UPDATE parted SET id = 12 WHERE id = 1", None),
        ("INSERT INTO parted VALUES (1)", None),
        ("DELETE FROM parted WHERE id = 1", 1),
        ("INSERT INTO part_1 VALUES (1)", 1),
        # Columns of partitions have numbers of their own.
        ("UPDATE split SET a = 1 WHERE id = 1", 1),
        ("UPDATE split SET b = 1 WHERE id = 1", None),
    ],
)
def test_only_what_fires_and_follows_disturbs_a_proof(
    sql: str, rows: int | None, loaded: tuple[Catalog, Session]
) -> None:
    assert bind(read(sql), *loaded).rows == rows


def test_a_replica_fires_triggers_of_replicas(loaded: tuple[Catalog, Session]) -> None:
    catalog, session = loaded
    statement = read("UPDATE replicated SET a = 1 WHERE id = 1")
    assert bind(statement, catalog, evolve(session, replication_role="replica")).rows is None


@pytest.mark.parametrize(
    ("sql", "casts"),
    [
        ("SELECT length(pr) FROM priced", {"price_text"}),
        ("SELECT pr LIKE 'x' FROM priced", {"price_text"}),
        ("SELECT coalesce(pr, 'x'::text) FROM priced", {"price_text"}),
        ("SELECT pr FROM priced UNION ALL SELECT name FROM priced", {"price_text"}),
        ("SELECT upper(ROW(1, 'x')::price)", {"price_text"}),
        ("SELECT upper(x) FROM (SELECT ROW(1, 'x')::price AS x) s", {"price_text"}),
        ("UPDATE priced SET pr = name WHERE id = 1", {"text_price"}),
        ("UPDATE priced SET (id, pr) = (1, name) WHERE id = 1", {"text_price"}),
        ("UPDATE priced SET pr = upper('x') WHERE id = 1", {"text_price"}),
        ("UPDATE priced SET prs[1] = name WHERE id = 1", {"text_price"}),
        ("INSERT INTO priced (id, pr) SELECT 1, name FROM bare", {"text_price"}),
        ("INSERT INTO priced (id, pr) VALUES (1, lower('x'))", {"text_price"}),
        ("INSERT INTO priced (id, pr) VALUES (1, '(1,x)'), (2, lower('x'))", {"text_price"}),
        ("INSERT INTO bare (id, name) SELECT id, pr FROM priced", {"price_text"}),
        ("UPDATE bare SET name = p.pr FROM priced p WHERE bare.id = 1", {"price_text"}),
        ("SELECT pr, prs FROM priced WHERE id = 1", set()),
        ("SELECT (pr).amount FROM priced WHERE id = 1", set()),
        ("SELECT name || 'x' FROM priced ORDER BY name", set()),
        ("UPDATE priced SET name = upper(name) WHERE id = 1", set()),
        ("UPDATE priced SET pr = '(1,EUR)' WHERE id = 1", set()),
        ("UPDATE priced SET pr = ROW(1, 'EUR')::price WHERE id = 1", set()),
        ("INSERT INTO priced (id, name, pr) VALUES (1, 'x', '(1,EUR)'), (2, 'y', DEFAULT)", set()),
        ("INSERT INTO bare SELECT id, name, length(name) FROM bare", set()),
    ],
)
def test_silent_casts_are_calls(sql: str, casts: set[str], loaded: tuple[Catalog, Session]) -> None:
    bound = bind(read(sql), *loaded)
    # What the text names has a place in it.
    unsaid = [use for use in bound.functions if use.ref.location < 0]
    assert {f.name for use in unsaid for f in use.candidates} == casts


def test_a_named_constraint_uses_its_own_columns_alone(loaded: tuple[Catalog, Session]) -> None:
    catalog, session = loaded
    bound = bind(
        read("INSERT INTO whole VALUES (1) ON CONFLICT ON CONSTRAINT whole_code_key DO UPDATE SET a = 1"),
        catalog,
        session,
    )
    assert {u.source.column for u in bound.uses if u.clause == "ON CONFLICT"} == {2}

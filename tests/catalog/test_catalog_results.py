"""Types of operands: what this database's own operators, classes and casts are reckoned with for, and not."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from bind_cases import load

from governed_db.catalog.bind import bind
from governed_db.catalog.model import Catalog, Session
from governed_db.statement import read

SCHEMA = """
CREATE TYPE pair AS (a int, b int);
CREATE TABLE t (id int PRIMARY KEY, city text, p pair, span int4range);
CREATE VIEW v AS SELECT id + 1 AS next, p AS other FROM t;
CREATE FUNCTION same(pair, pair) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';
CREATE FUNCTION cmp(pair, pair) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 0';
CREATE OPERATOR = (LEFTARG = pair, RIGHTARG = pair, FUNCTION = same);
CREATE OPERATOR < (LEFTARG = pair, RIGHTARG = pair, FUNCTION = same);
CREATE OPERATOR <= (LEFTARG = pair, RIGHTARG = pair, FUNCTION = same);
CREATE OPERATOR >= (LEFTARG = pair, RIGHTARG = pair, FUNCTION = same);
CREATE OPERATOR > (LEFTARG = pair, RIGHTARG = pair, FUNCTION = same);
CREATE OPERATOR CLASS pair_ops DEFAULT FOR TYPE pair USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 cmp(pair, pair);
CREATE FUNCTION made() RETURNS pair LANGUAGE sql IMMUTABLE AS 'SELECT ROW(1, 2)::pair';
CREATE FUNCTION size(pair) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE CAST (pair AS int) WITH FUNCTION size(pair) AS IMPLICIT;
CREATE FUNCTION initcap(int) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT ''x''';
"""


@pytest.fixture(scope="module")
def known(dsn: str) -> Iterator[tuple[Session, Catalog]]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA)
        yield load(conn)


def own(known: tuple[Session, Catalog], sql: str) -> set[str]:
    session, catalog = known
    bound = bind(read(sql), catalog, session)
    assert not bound.unknown
    return {f.name for use in bound.functions for f in use.candidates if f.schema == "public"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t WHERE id = 1",
        "SELECT id FROM t WHERE id = $1 AND city = $2",
        "SELECT id FROM t WHERE id = length(city) OR id > abs(-4) AND city = upper('x')",
        "SELECT id FROM t WHERE id = (SELECT max(id) FROM t)",
        "SELECT count(*) > 1, max(id) < 5 FROM t",
        "SELECT id FROM t WHERE id BETWEEN 1 AND 3 OR id IN (4, 5)",
        "SELECT key, value FROM t, jsonb_each('{}') WHERE id = 1 ORDER BY key",
        "SELECT g FROM generate_series(1, 2) g JOIN t ON t.id = g ORDER BY g",
        "SELECT coalesce(city, '-'), count(*) FROM t GROUP BY 1 ORDER BY 2",
        "SELECT CASE WHEN id > 1 THEN 'a' ELSE 'b' END AS c FROM t ORDER BY c",
        "SELECT next FROM v WHERE next = 2",
        "SELECT 'a' WHERE current_user <> session_user UNION SELECT city FROM t",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r"
        " ORDER BY n",
        "SELECT c.relname FROM pg_class c WHERE c.tableoid = 5 ORDER BY c.relname",
        "SELECT upper(span), initcap('x'), initcap(city) FROM t",
        "UPDATE t SET id = id * 2 WHERE city = 'x'",
    ],
)
def test_values_of_postgresqls_types_need_nothing_of_this_databases(
    known: tuple[Session, Catalog], sql: str
) -> None:
    assert own(known, sql) == set()


@pytest.mark.parametrize(
    ("sql", "function"),
    [
        ("SELECT id FROM t WHERE p = p", "same"),
        ("SELECT id FROM t WHERE p = '(1,2)'", "same"),
        ("SELECT id FROM t WHERE p = $1", "same"),
        ("SELECT id FROM t WHERE made() = made()", "same"),
        ("SELECT id FROM v, t WHERE other = p", "same"),
        ("SELECT id FROM t WHERE id + p > 1", "size"),
        ("SELECT id FROM t WHERE id = p", "size"),
        ("SELECT abs(p) FROM t", "size"),
        ("SELECT x + 1 FROM (SELECT p AS x FROM t) s", "size"),
        ("SELECT id FROM t ORDER BY p", "cmp"),
        ("SELECT max(p) FROM t", "cmp"),
        ("SELECT DISTINCT made()", "cmp"),
        ("SELECT id FROM t ORDER BY coalesce(p, p)", "cmp"),
        ("SELECT id FROM t ORDER BY CASE WHEN true THEN p END", "cmp"),
        ("SELECT id FROM t ORDER BY (SELECT p)", "cmp"),
        ("SELECT x FROM (SELECT coalesce(p, p) AS x FROM t) s ORDER BY x", "cmp"),
        ("SELECT x FROM (SELECT (ARRAY[p])[1] AS x FROM t) s GROUP BY x", "cmp"),
        ("SELECT x FROM (SELECT first_value(p) OVER () AS x FROM t) s GROUP BY x", "cmp"),
        ("SELECT u FROM unnest(ARRAY(SELECT p FROM t)) u ORDER BY u", "cmp"),
        ("SELECT array_agg(p) FROM t ORDER BY 1", "cmp"),
        ("SELECT t FROM t ORDER BY t", "cmp"),
        ("SELECT ROW(1, 2)::pair AS x UNION SELECT made()", "cmp"),
        ("SELECT other FROM v GROUP BY other", "cmp"),
        ("SELECT '{}'::pair[] AS x UNION SELECT '{}'", "cmp"),
        ("SELECT initcap(5)", "initcap"),
        ("SELECT initcap($1)", "initcap"),
        ("SELECT initcap(id) FROM t", "initcap"),
    ],
)
def test_values_of_this_databases_types_bring_its_functions(
    known: tuple[Session, Catalog], sql: str, function: str
) -> None:
    assert function in own(known, sql)

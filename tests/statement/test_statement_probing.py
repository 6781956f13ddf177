"""The parts of a write that say which rows it is about, cut out of its text."""

from __future__ import annotations

import pytest

from governed_db.statement import read
from governed_db.statement.probing import touched

FOUND = [
    ("DELETE FROM t", "", "", "", "t"),
    ("DELETE FROM t WHERE id = $1 RETURNING id AS where;", "", "", "id = $1", "t"),
    ("UPDATE t SET a = 1 /* WHERE */ WHERE x = 'WHERE' -- y\n ;;", "", "", "x = 'WHERE'", "t"),
    ('UPDATE t SET a = 1 WHERE "from" > 3 RETURNING a', "", "", '"from" > 3', "t"),
    ("UPDATE t AS x SET a = b IS DISTINCT FROM c FROM u WHERE x.id = u.id", "", "u", "x.id = u.id", "x"),
    ("UPDATE t SET (a, b) = (SELECT 1, 2 FROM v WHERE c) WHERE a.where = 2", "", "", "a.where = 2", "t"),
    (
        "DELETE FROM ONLY t USING b JOIN c USING (id) WHERE t.é = b.é",
        "",
        "b JOIN c USING (id)",
        "t.é = b.é",
        "t",
    ),
    ("WITH update AS (SELECT 1) UPDATE t SET a = 1 WHERE b", "WITH update AS (SELECT 1)", "", "b", "t"),
]
QUERIES = [
    ("INSERT INTO t (a) (SELECT 1) ON CONFLICT DO NOTHING", "(SELECT 1)"),
    (
        "INSERT INTO t SELECT a FROM b JOIN c ON conflict ON CONFLICT DO NOTHING RETURNING 1",
        "SELECT a FROM b JOIN c ON conflict",
    ),
    ("INSERT INTO t WITH z AS (SELECT 1) SELECT * FROM z", "WITH z AS (SELECT 1) SELECT * FROM z"),
    ("INSERT INTO t TABLE b", "TABLE b"),
]
NONE = [
    "WITH d AS (DELETE FROM x RETURNING *) DELETE FROM t WHERE id IN (SELECT id FROM d)",
    "DELETE FROM t WHERE CURRENT OF c",
    "UPDATE t SET a = 1 WHERE id IN (SELECT id FROM t FOR UPDATE)",
    "INSERT INTO t SELECT 1 FROM x FOR SHARE",
    "INSERT INTO t VALUES (1), (2)",
    "INSERT INTO t DEFAULT VALUES",
    "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE",
    "DELETE FROM t WHERE a; DELETE FROM t WHERE b",
    "SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM t WHERE a",
]


@pytest.mark.parametrize(("text", "ctes", "sources", "where", "name"), FOUND)
def test_parts_of_a_change(text, ctes, sources, where, name):
    parts = touched(read(text))
    assert parts is not None
    assert (parts.ctes, parts.sources, parts.where, parts.name) == (ctes, sources, where, name)
    assert parts.only == ("ONLY" in text)


@pytest.mark.parametrize(("text", "query"), QUERIES)
def test_the_query_of_an_insert(text, query):
    parts = touched(read(text))
    assert parts is not None
    assert parts.query == query


@pytest.mark.parametrize("text", NONE)
def test_what_no_select_can_ask(text):
    assert touched(read(text)) is None


def test_only_parameters_of_those_parts_are_needed():
    parts = touched(read("UPDATE t SET a = $1, b = $3 WHERE c = $2 AND d > $4 RETURNING $5"))
    assert parts is not None
    assert parts.parameters == {2, 4}

"""Which uses of a column tell no more than whether it is NULL, or equals what a caller gives."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from attrs import evolve
from bind_cases import SENSITIVE, TERMS, Shop, load, open_shop

from governed_db.catalog.bound import Source
from governed_db.masking.model import Sensitivity, Strategy, Terms, Treatment
from governed_db.masking.plan import plan


@pytest.fixture(scope="module")
def shop(dsn: str) -> Iterator[Shop]:
    shop = open_shop(dsn)
    shop.connection.execute(
        "CREATE VIEW public.reachable AS SELECT id, email IS NOT NULL AS yes FROM customers"
    )
    shop.connection.execute("CREATE TYPE public.mood AS ENUM ('good', 'bad')")
    shop.connection.execute("CREATE DOMAIN public.mail AS text")
    shop.connection.execute(
        "CREATE TABLE public.moods (id int, mood public.mood, mail public.mail, tags text[])"
    )
    shop.connection.close()
    shop = open_again(dsn)
    yield shop
    shop.connection.close()


def open_again(dsn: str) -> Shop:
    """Read the catalog once more, with what was made since."""
    connection = psycopg.connect(dsn, autocommit=True)
    session, catalog = load(connection)
    sources = {
        f"{r.schema}.{r.name}.{c.name}": Source(r.oid, c.number)
        for r in catalog.relations.values()
        for c in r.columns
    }
    sensitive = {
        sources[name]: Sensitivity(label=label, confidence=1.0, because="the test says so")
        for name, label in SENSITIVE.items()
        if name in sources
    }
    return Shop(connection, session, catalog, sources, {}, sensitive)


def told(shop: Shop, sql: str, column: str) -> set[str]:
    """Return what is told of a column: "value", "nullness", or with what it is compared."""
    source = shop.sources[f"public.{column}"]
    return {
        "nullness" if use.nullness else ",".join(str(o.parameter) for o in use.operands) or "value"
        for use in shop.bind(sql).uses
        if use.source == source
    }


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("email IS NULL", {"nullness"}),
        ("NOT (c.email IS NOT NULL) OR id = 1", {"nullness"}),
        ("(email || 'x') IS NULL", {"value"}),
        ("(email, id) IS NULL", {"value"}),
        ("c IS NULL", {"value"}),
        ("coalesce(email) IS NULL", {"value"}),
        ("email = $1", {"1"}),
        ("'x' = email", {"0"}),
        ("email = $1::text", {"1"}),
        ("email = CAST($1 AS varchar(3))", {"1"}),
        ("email IN ($1, 'x', $2)", {"1,0,2"}),
        ("email NOT IN ($1, $2)", {"1,2"}),
        ("email = ANY ($1)", {"1"}),
        ("email = ANY ($1::text[])", {"1"}),
        ("email <> ALL (ARRAY[$1, 'x'])", {"1,0"}),
        ("(email, id) = ($1, 2)", {"1"}),
        ("(id, email) IN ((1, $1), (2, $2))", {"1,2"}),
        ("email IS DISTINCT FROM $1", {"1"}),
        ("email OPERATOR(pg_catalog.=) $1", {"1"}),
        ("email = $1 AND email LIKE 'a%'", {"1", "value"}),
        ("email = name", {"value"}),
        ("email = lower($1)", {"value"}),
        ("email = $1 || 'x'", {"value"}),
        ("lower(email) = $1", {"value"}),
        ("email IN (SELECT $1)", {"value"}),
        ("email IN ($1, name)", {"value"}),
        ("email < $1", {"value"}),
        ("(email, id) < ($1, 2)", {"value"}),
        ("email ~ $1", {"value"}),
        ("email === $1", {"value"}),
        ("email BETWEEN $1 AND $1", {"value"}),
        ("nullif(email, $1) IS NULL", {"value"}),
        ("email COLLATE \"C\" = $1", {"value"}),
        ("email::varchar = $1", {"value"}),
        ("email = $1::public.upper_text", {"value"}),
    ],
)  # fmt: skip
def test_conditions(shop: Shop, condition: str, expected: set[str]) -> None:
    assert told(shop, f"SELECT id FROM customers c WHERE {condition}", "customers.email") == expected


@pytest.mark.parametrize(
    ("sql", "column", "expected"),
    [
        ("SELECT count(email) FROM customers", "customers.email", {"nullness"}),
        ("SELECT count(email) FILTER (WHERE email = $1) OVER (PARTITION BY id) FROM customers",
         "customers.email", {"nullness", "1"}),
        ("SELECT count(DISTINCT email) FROM customers", "customers.email", {"value"}),
        ("SELECT count(email ORDER BY email) FROM customers", "customers.email", {"nullness", "value"}),
        ("SELECT max(email) FROM customers", "customers.email", {"value"}),
        ("SELECT count(c) FROM customers c", "customers.email", {"value"}),
        ("SELECT home IS NULL FROM customers", "customers.home", {"value"}),
        ("SELECT id FROM mailing WHERE address = $1", "mailing.address", {"1"}),
        ("SELECT id FROM domains WHERE domain = $1", "domains.domain", {"value"}),
        ("SELECT id FROM domains WHERE domain IS NULL", "domains.domain", {"value"}),
        ("SELECT id FROM (SELECT id, email AS e FROM customers UNION ALL SELECT id, phone FROM customers) s"
         " WHERE s.e = $1", "customers.phone", {"1"}),
        ("SELECT id FROM moods WHERE mood = $1", "moods.mood", {"1"}),
        ("SELECT id FROM moods WHERE mail = $1", "moods.mail", {"1"}),
        ("SELECT id FROM moods WHERE mail = $1::public.mail", "moods.mail", {"1"}),
        ("SELECT id FROM moods WHERE $1 = ANY (tags)", "moods.tags", {"1"}),
        ("UPDATE customers SET name = 'x' WHERE email = $1", "customers.email", {"1"}),
        ("DELETE FROM customers WHERE email = $1", "customers.email", {"1"}),
        ("SELECT a.id FROM customers a JOIN people b ON a.email = b.email", "people.email", {"value"}),
        ("SELECT a.id FROM customers a JOIN people b ON a.email = $1 AND b.id = a.id",
         "customers.email", {"1"}),
        ("MERGE INTO people p USING (VALUES ($1)) v(e) ON p.email = v.e WHEN MATCHED THEN DELETE",
         "people.email", {"value"}),
    ],
)  # fmt: skip
def test_statements(shop: Shop, sql: str, column: str, expected: set[str]) -> None:
    assert told(shop, sql, column) == expected


def test_what_only_tells_little_is_not_sensitive(shop: Shop) -> None:
    for sql in ("SELECT email IS NULL FROM customers", "SELECT yes FROM reachable"):
        bound = shop.bind(sql)
        made = plan(bound, shop.catalog, shop.sensitive, TERMS)
        assert (made.masks, made.refusals) == ((), ())
        nullified = Terms(treatments={"EMAIL_ADDRESS": Treatment(strategy=Strategy.NULLIFY)})
        assert plan(bound, shop.catalog, shop.sensitive, nullified).refusals


def test_equality_is_for_labels_that_the_policy_names(shop: Shop) -> None:
    terms = evolve(TERMS, equality=frozenset({"EMAIL_ADDRESS"}))
    for sql, passes in (
        ("SELECT email = $1 FROM customers", True),
        ("SELECT EXISTS (SELECT 1 FROM customers WHERE email = $1)", True),
        ("SELECT phone = $1 FROM customers", False),
        ("SELECT email = $1 AND email > 'b' FROM customers", False),
        ("SELECT id FROM customers ORDER BY email = $1, email", False),
    ):
        assert (not plan(shop.bind(sql), shop.catalog, shop.sensitive, terms).refusals) is passes, sql


def test_places_are_characters(shop: Shop) -> None:
    sql = "SELECT 'é' FROM customers WHERE email = $1"
    (use,) = shop.bind(sql).uses
    assert sql[use.operands[0].location :] == "$1"
    (stored,) = shop.bind("INSERT INTO people VALUES (1, 'é'), (2, $1)").stored[-1:]
    assert (stored.operand.parameter, stored.sink) == (1, shop.sources["public.people.email"])

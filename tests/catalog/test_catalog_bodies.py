"""Bodies of functions, triggers, rules, defaults and aggregates, against PostgreSQL itself.

Every case of ``bind_bodies.jsonl`` is defined on a server and judged for an agent under ``standard``. Where
a case names a query under "harm", the statement is also run bare, and has to change the query's answer (or,
for "leak", to hand out the masked value): a case that does no harm proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from attrs import evolve, frozen
from bind_cases import cases, load

from governed_db import Identity
from governed_db.catalog.bind import bind
from governed_db.catalog.bodies import MAX_BODIES
from governed_db.catalog.bound import Bound, Source
from governed_db.catalog.model import Catalog, Session
from governed_db.masking.model import Sensitivity, Terms
from governed_db.masking.plan import plan
from governed_db.policy import preset
from governed_db.policy.model import Decision, Request
from governed_db.statement import read

BODIES = cases("bind_bodies.jsonl")
CANARY = "canary@x.org"
SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, total numeric);
CREATE TABLE items (id int PRIMARY KEY, order_id int, qty int);
CREATE TABLE customers (id int PRIMARY KEY, name text, email text, country text);
CREATE TABLE audit (id bigserial PRIMARY KEY, what text);
INSERT INTO orders VALUES (1, 1);
INSERT INTO items VALUES (1, 1, 1), (2, 1, 2);
INSERT INTO customers VALUES (1, 'n', 'canary@x.org', 'FR');
"""
SENSITIVE = Sensitivity(label="EMAIL_ADDRESS", confidence=1.0, because="the test says so")
AGENT = Identity.agent("bot")
STANDARD = preset("standard")


@frozen
class Database:
    connection: psycopg.Connection[Any]
    session: Session
    catalog: Catalog
    sensitive: dict[Source, Sensitivity]

    def bind(self, sql: str) -> Bound:
        return bind(read(sql), self.catalog, self.session)

    def decide(self, bound: Bound) -> Decision:
        return STANDARD.decide(Request(statement=bound.statement, identity=AGENT, bound=bound))

    def verdict(self, bound: Bound) -> str:
        verdict = str(self.decide(bound).verdict.value)
        if verdict == "allow" and plan(bound, self.catalog, self.sensitive, Terms()).refusals:
            return "masked"
        return verdict


def opened(dsn: str, schema: str) -> Database:
    connection = psycopg.connect(dsn, autocommit=True)
    connection.execute(schema)
    session, catalog = load(connection)
    sensitive = {
        Source(r.oid, c.number): SENSITIVE
        for r in catalog.relations.values()
        for c in r.columns
        if r.schema == "public" and c.name == "email"
    }
    return Database(connection, session, catalog, sensitive)


@pytest.fixture(scope="module")
def database(dsn: str) -> Iterator[Database]:
    database = opened(dsn, ";\n".join([SCHEMA, *(case["define"] for case in BODIES)]))
    yield database
    database.connection.close()


@pytest.mark.parametrize("case", BODIES, ids=lambda c: c["sql"])
def test_verdicts(database: Database, case: dict[str, Any]) -> None:
    bound = database.bind(case["sql"])
    found = database.verdict(bound)
    if case["verdict"] is None:
        assert found != "allow"
    else:
        assert found == case["verdict"], database.decide(bound).reason


@pytest.mark.parametrize("case", [c for c in BODIES if "effects" in c], ids=lambda c: c["sql"])
def test_effects(database: Database, case: dict[str, Any]) -> None:
    bound = database.bind(case["sql"])
    own = set(bound.statement.effects)
    text = [[str(e), e.note] for e in bound.effects if (e not in own and e.location >= 0) or e.note]
    mine = {(str(e), e.note) for e in own}
    assert [pair for pair in text if tuple(pair) not in mine] == case["effects"]


@pytest.mark.parametrize("case", [c for c in BODIES if "harm" in c], ids=lambda c: c["sql"])
def test_the_harm_is_real(database: Database, case: dict[str, Any]) -> None:
    assert case["verdict"] != "allow"
    connection = database.connection
    with connection.transaction(force_rollback=True):
        if case["harm"] == "leak":
            assert CANARY in str(connection.execute(case["sql"]).fetchall())
            return
        before = connection.execute(case["harm"]).fetchall()
        connection.execute(case["sql"])
        assert connection.execute(case["harm"]).fetchall() != before


def test_honest_statements_run_on_the_server(database: Database) -> None:
    for case in BODIES:
        if case["verdict"] == "allow":
            with database.connection.transaction(force_rollback=True):
                database.connection.execute(case["sql"])


def test_rows_written_beside_the_command(database: Database) -> None:
    """The command tag of these counts less than is written, and no proof from the text holds."""
    assert database.bind("INSERT INTO t_audit VALUES (1, 'x')").writes_beside
    assert database.bind("INSERT INTO t_audit VALUES (1, 'x')").rows is None
    assert database.bind("SELECT w_ins('x')").writes_beside
    assert database.bind("SELECT w_dyn('x')").writes_beside
    assert database.bind("DELETE FROM t_parent WHERE id = 1").writes_beside
    assert database.bind("DELETE FROM u_soft WHERE id = 1").writes_beside
    assert not database.bind("UPDATE t_stamp SET v = 'x' WHERE id = 1").writes_beside
    assert not database.bind("SELECT r_sum(1)").writes_beside
    assert not database.bind("INSERT INTO h_ser (v) VALUES ('x')").writes_beside


def test_what_a_body_touches_is_said(database: Database) -> None:
    bound = database.bind("SELECT r_sum(1)")
    assert [(str(u.relation), u.within) for u in bound.relations] == [
        ("public.items", "in function public.r_sum")
    ]
    bound = database.bind("SELECT r_nested()")
    assert [str(f.candidates[0]) for f in bound.functions] == ["public.r_nested", "public.r_nested_in"]


def test_a_function_means_the_tables_of_its_own_search_path(database: Database) -> None:
    session = evolve(database.session, search_path=("pg_catalog", "hidden_path", "public"))
    bound = bind(read("SELECT w_path()"), database.catalog, session)
    assert "public.items" in {str(u.relation) for u in bound.relations}
    bound = bind(read("SELECT w_wipe()"), database.catalog, session)
    assert "hidden_path.items" in {str(u.relation) for u in bound.relations}


def test_a_replica_sets_off_the_triggers_for_replicas(database: Database) -> None:
    connection = database.connection
    with connection.transaction(force_rollback=True):
        connection.execute("ALTER TABLE t_trunc ENABLE REPLICA TRIGGER t_trunc_f")
    assert database.verdict(database.bind("INSERT INTO t_trunc VALUES (1)")) == "block"


def test_too_many_bodies_are_not_understood(dsn: str) -> None:
    count = MAX_BODIES + 1
    functions = [
        f"CREATE FUNCTION step{n}() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN step{n + 1}(); END'"
        for n in range(count)
    ]
    functions.append(f"CREATE FUNCTION step{count}() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    database = opened(dsn, ";".join(functions))
    try:
        assert database.verdict(database.bind("SELECT step0()")) == "needs_approval"
        assert database.verdict(database.bind("SELECT step2()")) == "allow"
    finally:
        database.connection.close()


def test_named_services_run_their_own_code(database: Database) -> None:
    service = Identity.service("shop")
    settings = evolve(STANDARD.settings, services=frozenset({"shop"}))
    policy = evolve(STANDARD, settings=settings)
    for sql in (
        "SELECT w_dyn('x')",
        "SELECT b_trunc()",
        "INSERT INTO t_trunc VALUES (1)",
        "SELECT w_ins('x')",
    ):
        bound = database.bind(sql)
        decision = policy.decide(Request(statement=bound.statement, identity=service, bound=bound))
        assert decision.verdict.value == "allow", (sql, decision.reason)

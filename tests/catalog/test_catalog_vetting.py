from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from attrs import evolve
from freeze_vetted import lines, load

from governed_db.catalog import Catalog, Function, unvetted, vetting, withheld

CORPUS = Path(__file__).parents[1] / "corpus"
FUNCTIONS = [json.loads(line) for line in (CORPUS / "catalog_functions.jsonl").read_text().splitlines()]
RELATIONS = [json.loads(line) for line in (CORPUS / "catalog_relations.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def catalog(dsn: str) -> Catalog:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE FUNCTION public.lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
        connection.execute(
            "CREATE FUNCTION pg_catalog.lower(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'"
        )
        connection.execute("CREATE FUNCTION in_extension() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        connection.execute("ALTER EXTENSION plpgsql ADD FUNCTION in_extension()")
        return load(connection)


@pytest.mark.parametrize("case", FUNCTIONS, ids=lambda case: case["function"])
def test_a_function_is_vetted_or_says_why_not(case: dict[str, str | None], catalog: Catalog) -> None:
    system = [
        f for f in catalog.functions[str(case["function"])] if f.schema == "pg_catalog" and f.oid < 16384
    ]
    assert system
    assert {unvetted(f) for f in system} == {case["why"]}


def test_an_overload_that_runs_sql_does_not_condemn_its_namesakes(catalog: Catalog) -> None:
    verdicts = {len(f.arguments): unvetted(f) for f in catalog.functions["ts_rewrite"]}
    assert verdicts[3] is None
    assert "runs SQL" in str(verdicts[2])


def test_functions_of_users_are_not_vetted_whatever_they_are_called(catalog: Catalog) -> None:
    made = [f for f in catalog.functions["lower"] if f.oid >= 16384]
    assert {f.schema for f in made} == {"public", "pg_catalog"}
    assert {unvetted(f) for f in made} == {"defined in this database by users"}


def test_functions_of_extensions_are_not_vetted(catalog: Catalog) -> None:
    (function,) = catalog.functions["in_extension"]
    assert unvetted(function) == "from an extension"
    # plpgsql's own come with the server, below the first OID of users.
    assert unvetted(catalog.functions["plpgsql_call_handler"][0]) == "from an extension"


def test_a_function_that_a_newer_server_brings_is_not_vetted(catalog: Catalog) -> None:
    (md5,) = [f for f in catalog.functions["sha256"] if f.schema == "pg_catalog"]
    assert unvetted(md5) is None
    assert "newer" in str(unvetted(evolve(md5, name="sha3")))
    assert "newer" in str(unvetted(evolve(md5, arguments=(25,))))


@pytest.mark.parametrize(
    "change", [{"language": "plpgsql"}, {"schema": "public"}, {"oid": 16384}, {"extension": "x"}]
)
def test_each_mark_of_a_foreign_function_is_enough(change: dict[str, object], catalog: Catalog) -> None:
    (sha256,) = [f for f in catalog.functions["sha256"] if f.schema == "pg_catalog"]
    assert unvetted(evolve(sha256, **change)) is not None


def test_a_vetted_function_that_became_volatile_is_looked_at_again(catalog: Catalog) -> None:
    (sha256,) = [f for f in catalog.functions["sha256"] if f.schema == "pg_catalog"]
    assert unvetted(evolve(sha256, volatility="v")) == "volatile and not vetted"


def test_the_frozen_list_is_what_the_rule_says_of_this_server(catalog: Catalog) -> None:
    known = vetting.vetted()
    here = lines(catalog)
    assert not here - known, "the rule lets through what nobody has read: run freeze_vetted.py and read"
    # The other way round: nothing on the list is something the rule refuses today.
    every = {vetting.signature(f): f for fs in catalog.functions.values() for f in fs if f.oid < 16384}
    refused = {s: vetting.by_rule(f) for s, f in every.items() if s in known and vetting.by_rule(f)}
    assert not refused


def test_what_is_excluded_by_name_is_nowhere_on_the_list() -> None:
    names = {line.split(".", 1)[1].split("(")[0] for line in vetting.vetted() if not line.startswith("r ")}
    assert not names & set(vetting._WHY_NOT)
    of_families = {n for n in names if n.startswith(tuple(prefix for prefix, _ in vetting._FAMILIES))}
    assert of_families == set()


def test_nothing_on_the_list_takes_what_only_the_server_can_make(catalog: Catalog) -> None:
    for functions in catalog.functions.values():
        for f in functions:
            if unvetted(f) is None and f.name not in ("bernoulli", "system"):
                assert 2281 not in (*f.arguments, f.returns), f
                assert f.kind in "faw"


@pytest.mark.parametrize("case", RELATIONS, ids=lambda case: f"{case['schema']}.{case['name']}")
def test_a_relation_is_introspection_or_says_why_not(case: dict[str, str | None]) -> None:
    assert withheld(str(case["schema"]), str(case["name"])) == case["why"]


def test_every_relation_that_postgresql_keeps_from_the_public_is_withheld(dsn: str) -> None:
    # PostgreSQL's own judgement: no SELECT, or not of every column, for everybody.
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE ROLE nobody_at_all")
        kept = connection.execute(
            """
            SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'v')
                AND NOT has_table_privilege('nobody_at_all', c.oid, 'SELECT') AND c.oid < 16384
            """
        ).fetchall()
        connection.rollback()
    assert ("pg_catalog", "pg_authid") in kept
    harmless = {
        ("pg_catalog", "pg_replication_origin_status"),  # positions in the log
        ("pg_catalog", "pg_shmem_allocations"),  # sizes
        ("pg_catalog", "pg_shmem_allocations_numa"),
        ("information_schema", "transforms"),  # an oversight of PostgreSQL's: nobody was ever granted it
        ("pg_catalog", "pg_backend_memory_contexts"),  # this session's own
    }
    leaky = {(schema, name) for schema, name in kept if withheld(schema, name) is None}
    # Tables behind the information_schema's own views.
    assert {
        r for r in leaky if not (r[0] == "information_schema" and r[1].startswith(("_pg", "sql_")))
    } <= harmless


def test_looking_a_function_up_leaves_no_value_in_the_reason(catalog: Catalog) -> None:
    odd = Function(
        oid=20000,
        schema="secret-schema",
        name="secret-name",
        arguments=(),
        defaults=0,
        variadic=False,
        volatility="v",
        language="plpgsql",
        kind="f",
        returns=23,
        returns_set=False,
        security_definer=False,
    )
    assert "secret" not in str(unvetted(odd))

"""bind() against PostgreSQL itself: names, lineage, effects and proven row bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from attrs import evolve
from bind_cases import Shop, cases, load, open_shop, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from governed_db.catalog import views
from governed_db.catalog.bind import bind
from governed_db.catalog.bound import Bound, Source
from governed_db.catalog.model import Relation
from governed_db.catalog.names import figure
from governed_db.statement import read
from governed_db.statement.facts import Access, EffectKind, Statement

LINEAGE = cases("bind_lineage.jsonl")
EFFECTS = cases("bind_effects.jsonl")
ROWS = cases("bind_rows.jsonl")

# The protocol answers these in another way than with rows described up front.
NOT_COMPARED = ("COPY", "DECLARE", "PREPARE", "FETCH", "EXECUTE", "CREATE TABLE n AS EXECUTE")


@pytest.fixture(scope="module")
def shop(dsn: str) -> Iterator[Shop]:
    shop = open_shop(dsn)
    yield shop
    shop.connection.close()


@pytest.mark.parametrize("case", LINEAGE, ids=lambda c: c["sql"])
def test_lineage(shop: Shop, case: dict[str, object]) -> None:
    assert written(shop, shop.bind(str(case["sql"]))) == case["outputs"]


def described(shop: Shop, sql: str) -> list[tuple[str, Source]] | None:
    """Return the server's own account of the columns, ``None`` where it does not run the statement."""
    pgconn = shop.connection.pgconn
    prepared = pgconn.prepare(b"", sql.encode())
    if prepared.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"0A000":
        pytest.skip("this build of the server has no XML")
    if prepared.error_message:
        return None
    result = pgconn.describe_prepared(b"")
    fields = range(result.nfields)
    return [
        (str((result.fname(i) or b"").decode()), Source(result.ftable(i), result.ftablecol(i)))
        for i in fields
    ]


def agrees(bound: Bound, server: list[tuple[str, Source]]) -> None:
    """Fail where the server names other columns than we do, or an origin that we do not know of."""
    assert bound.outputs is not None
    assert [name for name, _ in server] == [output.name for output in bound.outputs]
    for (name, origin), output in zip(server, bound.outputs, strict=True):
        if origin.relation == 0:
            continue
        whole = {Source(source.relation, 0) for source in output.sources}
        allowed = output.sources if output.plain else output.sources | whole
        assert origin in allowed, name


@pytest.mark.parametrize("case", LINEAGE, ids=lambda c: c["sql"])
def test_lineage_agrees_with_the_server(shop: Shop, case: dict[str, object]) -> None:
    sql = str(case["sql"])
    if sql.startswith(NOT_COMPARED) or case["outputs"] is None:
        pytest.skip("the server describes no rows for it, or nothing was told")
    server = described(shop, sql)
    bound = shop.bind(sql)
    if server is None:
        # What the server cannot even analyse is nothing that we may claim to understand.
        assert not bound.complete or not sql.startswith("SELECT"), sql
        return
    assert bound.complete, bound.incomplete_because
    agrees(bound, server)


@pytest.mark.parametrize("case", EFFECTS, ids=lambda c: c["sql"])
def test_effects_that_only_the_catalog_shows(shop: Shop, case: dict[str, object]) -> None:
    bound = shop.bind(str(case["sql"]))
    own = set(bound.statement.effects)
    assert [[str(e), e.note] for e in bound.effects if e not in own] == case["effects"]


@pytest.mark.parametrize("case", ROWS, ids=lambda c: c["sql"])
def test_proven_rows(shop: Shop, case: dict[str, object]) -> None:
    assert shop.bind(str(case["sql"])).rows == case["rows"]


def test_relations_say_how_and_through_what(shop: Shop) -> None:
    bound = shop.bind("INSERT INTO orders (id) SELECT id FROM mailing")
    touched = [(str(u.relation), u.access, str(u.via) if u.via else None) for u in bound.relations]
    assert touched == [
        ("public.orders", Access.INSERT, None),
        ("public.mailing", Access.READ, None),
        ("public.directory", Access.READ, "public.mailing"),
        ("public.customers", Access.READ, "public.mailing"),
    ]


def test_a_write_of_a_view_reaches_the_table_behind(shop: Shop) -> None:
    bound = shop.bind("UPDATE directory SET name = 'x'")
    assert ("customers", Access.UPDATE) in {(u.relation.name, u.access) for u in bound.relations}


def test_functions_carry_every_candidate(shop: Shop) -> None:
    (use,) = shop.bind("SELECT lower('A')").functions
    assert use.vetted
    assert len(use.candidates) > 1  # text and anyrange
    (use,) = shop.bind("SELECT public.initials(c) FROM customers c").functions
    assert use.vetted  # its body only computes
    (use,) = shop.bind("SELECT * FROM public.lookup(1)").functions
    assert not use.vetted
    assert use.note


def test_uncertain_calls_are_kept_only_where_they_are_calls(shop: Shop) -> None:
    assert shop.bind("SELECT c.name, (c).name FROM customers c").functions == ()
    assert [str(f.ref) for f in shop.bind("SELECT c.initials FROM customers c").functions] == ["initials"]
    assert [str(f.ref) for f in shop.bind("SELECT ('x'::text).lower").functions] == ["lower"]


@pytest.mark.parametrize(
    ("sql", "unknown"),
    [
        ("SELECT * FROM nosuch", ("nosuch",)),
        ("SELECT nosuch FROM customers", ("nosuch",)),
        ("SELECT c.nosuch FROM customers c", ("c.nosuch",)),
        ("SELECT nosuch()", ("nosuch",)),
        ("INSERT INTO customers (nosuch) VALUES (1)", ("public.customers.nosuch",)),
        ("UPDATE customers SET nosuch = 1", ("public.customers.nosuch",)),
        ("DELETE FROM nosuch", ("nosuch",)),
        ("TRUNCATE nosuch", ("nosuch",)),
        ("LOCK TABLE nosuch", ("nosuch",)),
        ("COPY nosuch TO STDOUT", ("nosuch",)),
        ("SELECT * FROM elsewhere.public.customers", ("elsewhere.public.customers",)),
    ],
)
def test_unknown_names_make_it_incomplete(shop: Shop, sql: str, unknown: tuple[str, ...]) -> None:
    bound = shop.bind(sql)
    assert bound.unknown[:1] == unknown
    assert not bound.complete
    assert unknown[0].rpartition(".")[2] in bound.incomplete_because


@pytest.mark.parametrize(
    "sql", ["DROP TABLE IF EXISTS nosuch", "CREATE TABLE n (a int CHECK (a > 0), b text DEFAULT 'x')"]
)
def test_definitions_may_name_what_is_not_there(shop: Shop, sql: str) -> None:
    bound = shop.bind(sql)
    assert bound.complete
    assert bound.unknown == ()


def test_locations_are_characters(shop: Shop) -> None:
    sql = "SELECT 'éé' FROM customers WHERE 'é' = email"
    (use,) = shop.bind(sql).uses
    assert sql[use.location :].startswith("email")
    (relation,) = shop.bind(sql).relations
    assert sql[relation.location :].startswith("customers")


def test_deep_but_readable_text_is_bound(shop: Shop) -> None:
    sql = "SELECT email FROM customers"
    for _ in range(25):
        sql = f"SELECT * FROM ({sql}) x"
    (output,) = shop.bind(sql).outputs or ()
    assert output.plain
    arms = " UNION ALL ".join(["SELECT email FROM customers"] * 40)
    (output,) = shop.bind(arms).outputs or ()
    assert [shop.name(s) for s in output.sources] == ["customers.email"]


def test_a_view_that_cannot_be_read_makes_it_incomplete(shop: Shop) -> None:
    view = shop.catalog.relation("public", "directory", shop.session)
    assert view is not None
    relations = {**shop.catalog.relations, view.oid: evolve(view, definition=None)}
    bound = bind(read("SELECT id FROM mailing"), evolve(shop.catalog, relations=relations), shop.session)
    assert not bound.complete
    assert "public.directory" in bound.incomplete_because


def test_a_view_that_reads_itself_ends(shop: Shop) -> None:
    view = shop.catalog.relation("public", "directory", shop.session)
    assert view is not None
    looped = evolve(view, definition="SELECT id, name, contact FROM public.directory")
    catalog = evolve(shop.catalog, relations={**shop.catalog.relations, view.oid: looped})
    assert not bind(read("SELECT * FROM directory"), catalog, shop.session).complete


def test_catalogs_do_not_share_what_is_known_of_views(shop: Shop, dsn: str) -> None:
    before = shop.bind("SELECT contact FROM directory")
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "CREATE OR REPLACE VIEW public.directory AS SELECT id, name, phone AS contact FROM customers"
        )
        try:
            session, catalog = load(other)
            after = bind(read("SELECT contact FROM directory"), catalog, session)
        finally:
            other.execute(
                "CREATE OR REPLACE VIEW public.directory AS SELECT id, name, email AS contact FROM customers"
            )
    assert before.outputs == after.outputs  # as named: the view's column
    assert shop.plan(before).masks[0].label == "EMAIL_ADDRESS"
    assert evolve(shop, catalog=catalog, session=session).plan(after).masks[0].label == "PHONE_NUMBER"


def test_old_and_new_in_returning_from_18_on(shop: Shop) -> None:
    sql = "UPDATE customers SET email = 'x' WHERE id = 1 RETURNING old.email, new.email"
    assert not shop.bind(sql).complete
    newer = bind(read(sql), evolve(shop.catalog, server_version=180000), shop.session)
    assert newer.complete
    assert written(shop, newer) == ["email = customers.email", "email = customers.email"]


def test_an_older_server_may_call_a_function_where_the_grammar_has_a_node(shop: Shop) -> None:
    functions = dict(shop.catalog.functions)
    (mine,) = functions["initials"]
    functions["json_scalar"] = (evolve(mine, name="json_scalar", definition=None),)
    bound = bind(read("SELECT json_scalar(1)"), evolve(shop.catalog, functions=functions), shop.session)
    assert EffectKind.FUNCTION in {e.kind for e in bound.effects}


def test_texts_that_hold_nothing(shop: Shop) -> None:
    bound = shop.bind(" -- nothing\n")
    assert bound.complete
    assert bound.outputs == ()


# -- random queries: the server's own account of names and origins is the oracle

TABLES = {
    "customers": ("id", "name", "email", "phone", "country"),
    "orders": ("id", "customer_id", "total"),
    "directory": ("id", "name", "contact"),
    "events": ("id", "phone", "kind"),
}


@st.composite
def relations(draw: st.DrawFn, depth: int) -> tuple[str, list[str]]:
    """Draw something for FROM with the columns it has."""
    kind = draw(st.integers(0, 3 if depth else 0))
    if kind <= 1:
        table = draw(st.sampled_from(sorted(TABLES)))
        return table, list(TABLES[table])
    inner, names = draw(queries(depth - 1))
    if kind == 2:
        return f"({inner})", names
    renamed = [f"r{i}" for i in range(len(names))]
    return f"(WITH w ({', '.join(renamed)}) AS ({inner}) SELECT * FROM w)", renamed


@st.composite
def queries(draw: st.DrawFn, depth: int = 2) -> tuple[str, list[str]]:
    """Draw a query whose output names are all different."""
    parts = []
    columns = []
    for place in range(draw(st.integers(1, 2))):
        text, names = draw(relations(depth))
        lateral = "LATERAL " if text.startswith("(") and draw(st.booleans()) else ""
        parts.append(f"{lateral}{text} t{place}{depth}")
        columns += [(f"t{place}{depth}", name) for name in dict.fromkeys(names)]
    chosen = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=4))
    targets = []
    for i, (table, column) in enumerate(chosen):
        form = draw(
            st.sampled_from(
                [
                    "{t}.{c}",
                    "({t}).{c}",
                    "(SELECT {t}.{c})",
                    "{t}.{c}::text",
                    "coalesce({t}.{c})",
                    "{t}.{c} IS NULL",
                ]
            )
        )
        targets.append(f"{form.format(t=table, c=column)} AS c{i}")
    names = [f"c{i}" for i in range(len(chosen))]
    text = f"SELECT {', '.join(targets)} FROM {', '.join(parts)}"
    if draw(st.integers(0, 4)) == 0:
        text = f"SELECT * FROM ({text}) q UNION ALL SELECT * FROM ({text}) q"
    return text, names


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries())
def test_random_queries_agree_with_the_server(shop: Shop, query: tuple[str, list[str]]) -> None:
    sql, names = query
    server = described(shop, sql)
    assert server is not None, sql
    bound = shop.bind(sql)
    assert bound.complete, (sql, bound.incomplete_because)
    assert [o.name for o in bound.outputs or ()] == names
    agrees(bound, server)


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("1", "?column?"), ("a.b", "b"), ("f(1)", "f"), ("x.f(1)", "f"), ("1::int", "int4"), ("a::int", "a"),
        ("(a).b", "b"), ("a[1]", "a"), ("CASE WHEN true THEN 1 END", "case"),
        ("CASE WHEN true THEN 1 ELSE a END", "a"), ("CASE WHEN true THEN 1 ELSE 1::int END", "case"),
        ("NULLIF(1, 2)", "nullif"), ("COALESCE(1)", "coalesce"), ("GREATEST(1)", "greatest"),
        ("CURRENT_TIMESTAMP(3)", "current_timestamp"), ("EXISTS (SELECT 1)", "exists"),
        ("ARRAY(SELECT 1)", "array"), ("ARRAY[1]", "array"), ("ROW(1)", "row"), ("a COLLATE \"C\"", "a"),
        ("XMLELEMENT(NAME a)", "xmlelement"), ("'x' LIKE 'y'", "?column?"), ("NOT a", "?column?"),
    ],
)  # fmt: skip
def test_names_of_columns_without_one(expression: str, name: str) -> None:
    target = read(f"SELECT {expression}").tree[0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    assert figure(target) == name


def test_threads_that_meet_a_view_for_the_first_time_together(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = read("SELECT address FROM mailing")
    catalog = evolve(shop.catalog)  # a copy, of which nothing is known yet
    both = threading.Barrier(2, timeout=10)
    definition = views._definition

    def slow(view: Relation) -> Statement | None:
        if view.name == "mailing":
            both.wait()
        return definition(view)

    monkeypatch.setattr(views, "_definition", slow)
    with ThreadPoolExecutor(2) as pool:
        bounds = list(pool.map(lambda c: bind(statement, c, shop.session), [catalog] * 2))
    assert all(b.complete for b in bounds)

"""What is sent in the place of a call: on every path, with the caller's own text everywhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity
from governed_db.audit import reader
from governed_db.cli import main
from tests.flavours import Flavour, do, each, within

pytestmark = pytest.mark.usefixtures("catalogs_shared")

MARK = "[EMAIL_ADDRESS]"
SQL = "SELECT id, email || '!' FROM customers WHERE email <> %s AND id <= %s ORDER BY id"
ROWS = [(1, MARK + "!"), (2, MARK + "!")]


@pytest.fixture(scope="module", autouse=True)
def _customers(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE customers (id int PRIMARY KEY, email text, country text)")
        conn.execute("CREATE TABLE plain (id int PRIMARY KEY, note text)")
        conn.execute(
            "INSERT INTO customers SELECT g, 'canary' || g || '@example.com', 'DE'"
            " FROM generate_series(1, 5000) AS g"
        )
        conn.execute("CREATE INDEX ON customers (country, id)")
        conn.execute("ANALYZE customers")


@pytest.fixture
def governor(tmp_path: Path, state_dir: Path) -> Iterator[Governor]:
    file = tmp_path / "redact.toml"
    file.write_text('extends = "standard"\n[masking]\nderived = "redact"\n', encoding="utf-8")
    governor = Governor.load(file)
    yield governor
    governor.close()


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


def connected(flavour: Flavour, dsn: str, governor: Governor, **kwargs: Any) -> Any:
    return flavour.connect(dsn, governor=governor, identity=Identity.agent("copilot"), **kwargs)


async def executed(flavour: Flavour, conn: Any) -> Any:
    cursor = conn.cursor()
    await do(cursor.execute(SQL, ("x", 2)))
    return cursor, await do(cursor.fetchall())


async def prepared(flavour: Flavour, conn: Any) -> Any:
    cursor = conn.cursor()
    for _ in range(3):
        await do(cursor.execute(SQL, ("x", 2), prepare=True))
    return cursor, await do(cursor.fetchall())


async def binary(flavour: Flavour, conn: Any) -> Any:
    cursor = conn.cursor(binary=True)
    await do(cursor.execute(SQL, ("x", 2)))
    return cursor, await do(cursor.fetchall())


async def by_client(flavour: Flavour, conn: Any) -> Any:
    cursor = flavour.ClientCursor(conn)
    await do(cursor.execute(SQL, ("x", 2)))
    return cursor, await do(cursor.fetchall())


async def raw(flavour: Flavour, conn: Any) -> Any:
    cursor = flavour.RawCursor(conn)
    await do(cursor.execute(SQL.replace("%s", "$1", 1).replace("%s", "$2"), ("x", 2)))
    return cursor, await do(cursor.fetchall())


async def streamed(flavour: Flavour, conn: Any) -> Any:
    cursor = conn.cursor()
    return cursor, [row async for row in each(cursor.stream(SQL, ("x", 2)))]


async def by_server(flavour: Flavour, conn: Any) -> Any:
    cursor = conn.cursor("rows")
    await do(cursor.execute(SQL, ("x", 2)))
    rows = [await do(cursor.fetchone()), *await do(cursor.fetchmany(5))]
    await do(cursor.close())
    return cursor, rows


async def many(flavour: Flavour, conn: Any) -> Any:
    cursor = conn.cursor()
    rows = []
    await do(cursor.executemany(SQL.replace("<=", "="), [("x", 1), ("y", 2)], returning=True))
    while True:
        rows += await do(cursor.fetchall())
        if not cursor.nextset():
            return cursor, rows


async def piped(flavour: Flavour, conn: Any) -> Any:
    cursor = conn.cursor()
    async with within(conn.pipeline()):
        await do(cursor.execute(SQL, ("x", 2)))
        return cursor, await do(cursor.fetchall())


async def copied(flavour: Flavour, conn: Any) -> Any:
    cursor = conn.cursor()
    rows = []
    async with within(cursor.copy(f"COPY ({SQL}) TO STDOUT", ("x", 2))) as copy:
        copy.set_types(["int4", "text"])
        async for row in each(copy.rows()):
            rows.append(row)
    return cursor, rows


PATHS = [executed, prepared, binary, by_client, raw, streamed, by_server, many, piped, copied]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_every_path_sends_the_rewritten_text_and_shows_the_callers(
    flavour: Flavour,
    dsn: str,
    governor: Governor,
    server: Any,
    path: Callable[[Flavour, Any], Awaitable[tuple[Any, list[Any]]]],
) -> None:
    async with connected(flavour, dsn, governor) as conn:
        cursor, rows = await path(flavour, conn)
        assert rows == ROWS
        shown = getattr(cursor, "_query", None)
        if shown is not None:
            assert b"CASE" not in shown.query
        assert "CASE" not in str(cursor._last_query)
        assert cursor.redacted == ("public.customers.email",)
    governor.flush()
    entries = [e for e in reader.statements(governor.trail.folder) if e["who"]["subject"] == "copilot"]
    told = [e["what"] for e in entries if "FROM customers" in e.get("what", {}).get("text", "")]
    assert told
    for what in told:
        assert "CASE" not in what["text"]
        assert what.get("rewritten") is True, what
        assert {m["column"] for m in what["masked"]} == {"public.customers.email"}


async def test_a_prepared_statement_is_what_is_sent(flavour: Flavour, dsn: str, governor: Governor) -> None:
    async with connected(flavour, dsn, governor) as conn:
        for _ in range(4):
            await do(conn.execute(SQL, ("x", 2), prepare=True))
        (key,) = conn._prepared._names
        assert b"CASE" in key[0]


async def test_an_error_says_nothing_of_the_text_that_was_sent(
    flavour: Flavour, dsn: str, governor: Governor
) -> None:
    async with connected(flavour, dsn, governor, autocommit=True) as conn:
        for sql in (
            "SELECT 1 / (length(email) - length(email)) FROM customers",
            "SELECT email::int FROM customers",
            "SELECT email + 1 FROM customers",
        ):
            with pytest.raises(psycopg.Error) as caught:
                await do(conn.execute(sql))
            diag = caught.value.diag
            assert diag.sqlstate
            assert diag.statement_position is diag.internal_query is diag.context is None
            assert "CASE" not in str(caught.value)
            assert MARK not in str(caught.value)
        with pytest.raises(psycopg.errors.UndefinedFunction) as caught:
            await do(conn.execute("SELECT 1 WHERE 1 = 'x'::text"))
        assert caught.value.diag.statement_position == "18"


async def test_other_columns_keep_their_indexes(flavour: Flavour, dsn: str, governor: Governor) -> None:
    async with connected(flavour, dsn, governor, autocommit=True) as conn:
        for sql, index in (
            ("EXPLAIN SELECT upper(email) FROM customers WHERE id = 7", "customers_pkey"),
            ("EXPLAIN SELECT max(email) FROM customers WHERE country = 'DE' AND id = 7", "Index"),
            (
                "EXPLAIN SELECT a.id FROM customers a JOIN customers b ON b.id = a.id AND b.email > ''"
                " WHERE a.id = 7",
                "Index",
            ),
            ("EXPLAIN SELECT email || id FROM customers ORDER BY id LIMIT 3", "customers_pkey"),
        ):
            rows = await do((await do(conn.execute(sql))).fetchall())
            assert index in str(rows), rows
            assert "Seq Scan" not in str(rows)


async def test_a_cursor_of_text_hands_out_what_its_query_saw(
    flavour: Flavour, dsn: str, governor: Governor
) -> None:
    async with connected(flavour, dsn, governor) as conn:
        await do(conn.execute("DECLARE c CURSOR FOR SELECT upper(email) FROM customers WHERE id < 3"))
        assert await do((await do(conn.execute("FETCH ALL FROM c"))).fetchall()) == [(MARK,), (MARK,)]


async def test_redacted_values_may_be_written_where_nothing_sensitive_is(
    flavour: Flavour, dsn: str, tmp_path: Path, state_dir: Path
) -> None:
    file = tmp_path / "wide.toml"
    file.write_text(
        'extends = "standard"\n[[rule]]\nid = "t"\nwhen = { effects = ["create"] }\nthen = "allow"\n'
        'because = "a test"\n[masking]\nderived = "redact"\n[masking.columns]\n"public.plain.note" = false\n',
        encoding="utf-8",
    )
    governor = Governor.load(file)
    async with connected(flavour, dsn, governor) as conn:
        await do(conn.execute("INSERT INTO plain SELECT id, lower(email) FROM customers WHERE id < 3"))
        await do(
            conn.execute("CREATE TEMP TABLE t AS SELECT id, email FROM customers WHERE email > '' AND id < 3")
        )
        await do(conn.execute("SELECT id, email || '' AS e INTO TEMP u FROM customers WHERE id < 3"))
        for sql in ("SELECT note FROM plain", "SELECT lower(email) FROM t", "SELECT lower(e) FROM u"):
            rows = await do((await do(conn.execute(sql))).fetchall())
            assert rows == [(MARK.lower(),)] * 2
        await do(conn.rollback())
    governor.close()


async def test_copy_is_redacted_where_other_statements_are_refused(
    flavour: Flavour, dsn: str, state_dir: Path
) -> None:
    governor = Governor.preset("standard")
    async with connected(flavour, dsn, governor) as conn:
        async with within(
            conn.cursor().copy("COPY (SELECT email FROM customers WHERE id < 3) TO STDOUT")
        ) as copy:
            assert [bytes(part) async for part in each(copy)] == [MARK.encode() + b"\n"] * 2
        with pytest.raises(governed_db.MaskedColumnRefused):
            async with within(conn.cursor().copy("COPY (SELECT upper(email) FROM customers) TO STDOUT")):
                pass
    governor.close()


def test_what_is_checked_is_what_would_be_sent(dsn: str, governor: Governor) -> None:
    with governed_db.connect(dsn, governor=governor, identity=Identity.agent("copilot")) as conn:
        assert governor.check("SELECT upper(email) FROM customers", connection=conn).verdict == "allow"
        decision = governor.check("SELECT ctid, upper(email) FROM customers", connection=conn)
        assert decision.rule == "masking.derived"
        assert "a redacted row has no ctid" in decision.reason


def test_a_role_needs_no_right_to_columns_that_are_not_named(dsn: str, governor: Governor) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE redact_reader LOGIN")
        admin.execute("GRANT SELECT (id, email) ON customers TO redact_reader")
        try:
            with governed_db.connect(
                dsn, governor=governor, identity=Identity.agent("copilot"), user="redact_reader"
            ) as conn:
                found = conn.execute("SELECT upper(email) FROM customers WHERE id = 1").fetchall()
                assert found == [(MARK,)]
                for other in (  # a * that stands for none of its columns
                    "WITH w AS (SELECT upper(email) FROM customers WHERE id = 1) SELECT * FROM w",
                    "SELECT q.* FROM (SELECT upper(email) FROM customers WHERE id = 1) AS q",
                    "SELECT q.u FROM (SELECT upper(email) FROM customers WHERE id = 1) AS q (u)",
                    "SELECT upper(email) FROM customers WHERE id = 1 AND EXISTS (SELECT * FROM pg_class)",
                ):
                    assert conn.execute(other).fetchall() == [(MARK,)]
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute("SELECT upper(email), country FROM customers WHERE id = 1")
        finally:
            admin.execute("DROP OWNED BY redact_reader")
            admin.execute("DROP ROLE redact_reader")


def test_explain_says_that_it_runs_over_redacted_values(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "redact.toml"
    file.write_text('extends = "standard"\n[masking]\nderived = "redact"\n', encoding="utf-8")
    question = [
        "policy",
        "explain",
        "SELECT upper(email) FROM customers",
        "--policy",
        str(file),
        "--dsn",
        dsn,
    ]
    assert main(question) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "it runs over redacted values of public.customers.email (EMAIL_ADDRESS)" in said

"""Statements over redacted values, held against a twin of the database that really holds marks for values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed_db import Connection, Governor, Identity, MaskedColumnRefused
from governed_db.statement import EffectKind
from governed_db.testing import EmbeddedPostgres
from tests.flavours import Flavour, do, each, within

pytestmark = pytest.mark.usefixtures("catalogs_shared")

CORPUS = Path(__file__).parents[1] / "corpus"
LINES = [json.loads(line) for line in (CORPUS / "masking_redact.jsonl").read_text("utf-8").splitlines()]
HONEST = [line for line in LINES if "refused" not in line]
REFUSED = [line for line in LINES if "refused" in line]
PATH = '"$user", shop, public'

POLICY = """
extends = "standard"
[[rule]]
id = "all"
when = { effects = [EFFECTS] }
then = "allow"
because = "the tests ask for all of it"
[masking]
derived = "redact"
[masking.columns]
"""
LABELS = {
    "shop.people": {
        "name": "PERSON_NAME", "email": "EMAIL_ADDRESS", "alias": "EMAIL_ADDRESS",
        "code": "US_SOCIAL_SECURITY_NUMBER", "short": "PERSON_NAME", "born": "DATE_OF_BIRTH",
        "seen": "DATE_OF_BIRTH", "pay": "SALARY", "age": "AGE", "score": "SALARY", "member": "SALARY",
        "token": "SECRET", "ip": "IP_ADDRESS", "picture": "SECRET", "tags": "PERSON_NAME",
        "phones": "PHONE_NUMBER", "doc": "PII", "level": "SALARY", "home": "STREET_ADDRESS", "years": "AGE",
        "country": False,
    },
    "shop.orders": {"email": "EMAIL_ADDRESS", "country": False},
    "shop.accounts": {"iban": "IBAN_CODE", "place": "IBAN_CODE"},
    "shop.base": {"email": "EMAIL_ADDRESS"},
    "shop.staff": {"email": "EMAIL_ADDRESS", "salary": "SALARY"},
    "shop.visits": {"phone": "PHONE_NUMBER"},
    '"Über uns"."Kund""in"': {'"E-Mail"': "EMAIL_ADDRESS", "größe": "AGE", "select": False},
    "public.people": {"email": "EMAIL_ADDRESS"},
    "shop.plain": {"note": False},
    "shop.modified": {
        "nick": "PERSON_NAME", "nicks": "PERSON_NAME", "grade": "PERSON_NAME", "at": "DATE_OF_BIRTH",
        "span": "AGE", "mask": "SECRET",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def twins(server: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    """The conninfo of the database, and of its twin that holds the marks."""
    made = []
    for name, files in (("redact_true", ("schema",)), ("redact_marks", ("schema", "marks"))):
        made.append(dsn := server.create_database(name))
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(f"ALTER DATABASE {name} SET search_path = {PATH}")
            for each_file in files:
                conn.execute((CORPUS / f"masking_redact_{each_file}.sql").read_text("utf-8"))
    yield made[0], made[1]
    for name in ("redact_true", "redact_marks"):
        server.drop_database(name)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that labels the columns, lets everything run, and redacts."""
    lines = [
        f"'{table}.{column}' = {json.dumps(label)}"
        for table, columns in LABELS.items()
        for column, label in columns.items()
    ]
    file = tmp_path_factory.mktemp("policy") / "redact.toml"
    effects = json.dumps([str(kind) for kind in EffectKind])
    text = POLICY.replace("[EFFECTS]", effects)
    file.write_text(text + "\n".join(lines), encoding="utf-8")
    return file


def governed_connection(twins: tuple[str, str], governor: Governor, **kwargs: Any) -> Any:
    return Connection.connect(twins[0], governor=governor, identity=Identity.agent("a"), **kwargs)


@pytest.fixture
def governor(policy: Path, state_dir: Path) -> Iterator[Governor]:
    governor = Governor.load(policy)
    yield governor
    governor.close()


async def came(module: Any, conn: Any, line: dict[str, Any]) -> tuple[list[str] | None, list[Any]]:
    """Run a line of the corpus; return the names of the columns and the rows."""
    if "path" in line:
        await do(conn.execute(f"SET search_path = {line['path']}"))
    try:
        async with within(conn.cursor()) as cursor:
            if line.get("via") == "copy":
                async with within(cursor.copy(line["sql"])) as copy:
                    return None, [b"".join([bytes(part) async for part in each(copy)])]
            await do(cursor.execute(line["sql"], line.get("params")))
            rows = await do(cursor.fetchall())
            return [f"{c.name} {c.precision} {c.scale}" for c in cursor.description], rows
    finally:
        await do(conn.rollback())


def sorted_as(line: dict[str, Any], rows: list[Any]) -> list[Any]:
    return rows if line.get("ordered") else sorted(rows, key=repr)


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_results_are_those_of_a_database_that_holds_marks(
    twins: tuple[str, str], governor: Governor, name: str
) -> None:
    flavour = Flavour(name)
    wrong = []
    with psycopg.connect(twins[1]) as bare:
        async with flavour.connect(twins[0], governor=governor, identity=Identity.agent("a")) as conn:
            for line in HONEST:
                expected = await came(psycopg, bare, line)
                try:
                    found = await came(flavour, conn, line)
                except psycopg.Error as error:
                    await do(conn.rollback())
                    wrong.append((line["sql"], str(error)))
                    continue
                if (found[0], sorted_as(line, found[1])) != (expected[0], sorted_as(line, expected[1])):
                    wrong.append((line["sql"], found, expected))
    assert not wrong, "\n".join(map(repr, wrong))


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: line["sql"])
async def test_what_would_mean_something_else_is_refused_by_name(
    twins: tuple[str, str], governor: Governor, line: dict[str, Any]
) -> None:
    with governed_connection(twins, governor) as conn, pytest.raises(MaskedColumnRefused) as caught:
        await came(None, conn, line)
    assert line["refused"] in str(caught.value)


# What can stand where, by type. {t} is the alias of an entry of FROM.
TEXTS = ("{t}.name", "{t}.email", "{t}.alias", "{t}.country", "{t}.code", "'[EMAIL_ADDRESS]'", "'x'")
NUMBERS = ("{t}.id", "{t}.age", "{t}.pay", "{t}.boss", "1")
TESTS = (
    "{a} LIKE '[%'", "{a} = {b}", "{a} < {b}", "{a} IS NULL", "{n} > {m}", "{n} + {m} = {n}", "{t}.member",
    "{t}.tags && ARRAY['[PERSON_NAME]']", "{t}.born < '1999-01-01'", "isempty({t}.years)",
    "EXISTS (SELECT 1 FROM shop.orders o WHERE o.person_id = {t}.id AND o.email >= {a})",
    "{a} IN (SELECT email FROM shop.orders)", "{t} IS NOT NULL", "({t}.doc -> 'x') IS NULL",
)  # fmt: skip
VALUES = (
    "upper({a})", "{a} || {b}", "{a}", "{n} * {m}", "coalesce({a}, {b})", "length({t}.picture)",
    "CASE WHEN {a} > {b} THEN {a} ELSE {b} END", "to_jsonb({t}) ->> 'email'", "{t}.tags[1]", "{t}.born + 1",
    "(SELECT max(o.email) FROM shop.orders o WHERE o.person_id = {t}.id)", "{t}.seen - interval '1 day'",
    "rank() OVER (ORDER BY {a}, {t}.id)", "greatest({n}, {m})", "{t}.level::text", "{t}::text",
    "md5({t}.token::text)",
)  # fmt: skip
TOTALS = (
    "count({a})",
    "max({a})",
    "sum({n})",
    "count(DISTINCT {n})",
    "bool_and({t}.member)",
    "min({t}.born)",
)
LATERAL = "LATERAL (SELECT * FROM shop.people x WHERE x.boss = a.id AND x.pay = a.pay)"
FROMS = (
    ("shop.people AS a", "a"),
    ("ONLY shop.people a", "a"),
    ("(SELECT * FROM shop.people WHERE email > '') AS a", "a"),
    ("shop.people a JOIN shop.orders o ON o.person_id = a.id AND o.id < 20", "a"),
    ("shop.orders o RIGHT JOIN shop.people a ON o.email = a.email", "a"),
    ("shop.people a LEFT JOIN shop.people b ON b.id = a.id + 30 AND b.name > a.alias", "ab"),
    ("shop.people a JOIN shop.people b USING (boss)", "ab"),
    (f"shop.people a CROSS JOIN {LATERAL} b", "ab"),
)


@st.composite
def selects(draw: st.DrawFn) -> str:
    """Return a SELECT that computes with masked columns."""
    source, aliases = draw(st.sampled_from(FROMS))

    def filled(forms: tuple[str, ...]) -> str:
        def name(options: tuple[str, ...]) -> str:
            return draw(st.sampled_from(options)).format(t=draw(st.sampled_from(aliases)))

        return draw(st.sampled_from(forms)).format(
            t=draw(st.sampled_from(aliases)), a=name(TEXTS), b=name(TEXTS), n=name(NUMBERS), m=name(NUMBERS)
        )

    grouped = draw(st.booleans())
    keys = [filled(("{a}", "upper({a})", "{n}", "{t}.born"))] if grouped else []
    values = [filled(TOTALS if grouped else VALUES) for _ in range(draw(st.integers(0, 3)))]
    values.append(filled(("max({t}.name)",) if grouped else ("length({t}.name)",)))  # so that it is rewritten
    where = " AND ".join(filled(TESTS) for _ in range(draw(st.integers(0, 2))))
    text = f"SELECT {', '.join([f'{key} AS k' for key in keys] + values)} FROM {source}"
    if where:
        text += f" WHERE {draw(st.sampled_from(('', 'NOT ')))}({where})"
    if grouped:
        text += " GROUP BY k" + draw(st.sampled_from(("", f" HAVING {filled(TOTALS)} IS NOT NULL")))
    return text


def answer(conn: Any, sql: str) -> Any:
    """Return names and rows, or the class of the error."""
    try:
        cursor = conn.execute(sql)
        return [column.name for column in cursor.description], sorted(cursor.fetchall(), key=repr)
    except MaskedColumnRefused:
        raise
    except psycopg.Error as error:
        return error.sqlstate
    finally:
        conn.rollback()


@pytest.fixture(scope="module")
def pair(
    twins: tuple[str, str], policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any]]:
    """A governed connection to the database, and a bare one to its twin."""
    governor = Governor.load(policy, state_dir=tmp_path_factory.mktemp("state"))
    with psycopg.connect(twins[1]) as bare, governed_connection(twins, governor) as conn:
        yield conn, bare
    governor.close()


@settings(max_examples=200)
@given(data=st.data())
def test_any_select_is_answered_as_over_marks(pair: tuple[Any, Any], data: st.DataObject) -> None:
    conn, bare = pair
    sql = data.draw(selects())
    around = data.draw(
        st.sampled_from(("{}", "SELECT count(*) FROM ({}) q", "WITH q AS ({}) SELECT * FROM q"))
    )
    sql = around.format(sql)
    assert answer(conn, sql) == answer(bare, sql)

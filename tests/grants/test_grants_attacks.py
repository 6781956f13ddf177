"""What a grantee tries in order to get more than was granted."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from tests.approvers import ANNA, BEN
from tests.flavours import Flavour, do

flavours = pytest.mark.parametrize("name", ["sync", "async"])
BOT = Identity.agent("bot")
HOUR = timedelta(hours=1)
POLICY = 'extends = "standard"\n[approvals]\npoll_seconds = 0.05\n[masking]\nsample = "off"\n'
MAIL, PHONE = "ann@example.org", "+49 30 123456"


@pytest.fixture(scope="module")
def folk(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        for name in ("folk", "staff"):
            conn.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, email text, phone text)")
            conn.execute(f"INSERT INTO {name} VALUES (1, '{MAIL}', '{PHONE}')")
        conn.execute("CREATE VIEW everybody AS SELECT email FROM folk UNION ALL SELECT email FROM staff")
        conn.execute("CREATE SCHEMA other")
        conn.execute("CREATE TABLE other.folk AS TABLE folk")
        conn.execute("CREATE FUNCTION phone_of(folk) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.phone'")
        conn.execute("CREATE TABLE owners (id int PRIMARY KEY)")
        conn.execute("CREATE TABLE pets (id int PRIMARY KEY, owner int REFERENCES owners)")
        conn.execute("CREATE TABLE toys (id int PRIMARY KEY, pet int REFERENCES pets)")
        conn.execute("CREATE TABLE alone (id int PRIMARY KEY, next int REFERENCES alone)")
        conn.execute("CREATE VIEW owned AS SELECT id FROM owners")
    return dsn


def opened(folder, more=""):
    policy = folder / "policy.toml"
    policy.write_text(POLICY + more + ANNA.as_toml() + BEN.as_toml())
    return Governor.load(policy, state_dir=folder / "state")


@pytest.fixture
def governor(tmp_path):
    made = opened(tmp_path)
    yield made
    made.close()


def give(governor, by=ANNA, **what):
    signed = governor.grants.give("agent:bot", key=by.key, lasts=HOUR, because="a test", **what)
    governor.approvals.look()
    return signed


# -- columns

OTHER_COLUMNS = [
    "SELECT phone FROM folk",
    "SELECT folk FROM folk",
    "SELECT (folk).phone FROM folk",
    "SELECT to_jsonb(folk) FROM folk",
    "SELECT phone_of(folk) FROM folk",
    "SELECT email FROM (SELECT phone AS email FROM folk) AS folk",
    "WITH folk AS (SELECT phone AS email FROM public.folk) SELECT email FROM folk",
    "SELECT email FROM folk UNION SELECT phone FROM folk",
    "SELECT coalesce(NULL, phone, email) FROM folk",
    "SELECT email FROM folk WHERE phone LIKE '+49%'",
    "SELECT email FROM folk ORDER BY phone",
    "SELECT DISTINCT ON (phone) email FROM folk",
    "SELECT folk.email FROM staff AS folk",
    "SELECT email FROM other.folk",
    "SELECT email FROM everybody",
    "SELECT s.email FROM folk f JOIN staff s USING (email)",
    "UPDATE folk SET email = phone WHERE id = 1 RETURNING email",
    "INSERT INTO folk VALUES (1) ON CONFLICT (id) DO UPDATE SET email = folk.phone RETURNING email",
]


@flavours
@pytest.mark.parametrize("derived", ["refuse", "redact"])
async def test_one_column_and_no_other(folk, tmp_path, name, derived):
    governor = opened(tmp_path, f'derived = "{derived}"\n')
    give(governor, clear=["public.folk.email"])
    async with Flavour(name).connect(folk, governor=governor, identity=BOT) as conn:
        for sql in OTHER_COLUMNS:
            rows = ""
            with suppress(errors.MaskedColumnRefused):
                rows = repr(await do((await do(conn.execute(sql))).fetchall()))
            assert PHONE not in rows, sql
            assert MAIL not in rows or (derived == "redact" and "FROM folk" in sql), sql
            await do(conn.rollback())
        assert await do((await do(conn.execute("SELECT max(email) FROM folk"))).fetchall()) == [(MAIL,)]
    governor.close()


TOGETHER = [
    "SELECT email FROM folk UNION ALL SELECT email FROM staff",
    "SELECT email FROM everybody",
    "SELECT f.email || s.email FROM folk f, staff s UNION ALL SELECT 'x'",
]


@flavours
@pytest.mark.parametrize("ended", [0, 1])
@pytest.mark.parametrize("sql", TOGETHER)
async def test_what_rests_on_two_grants_ends_with_either(folk, governor, name, ended, sql):
    async with Flavour(name).connect(folk, governor=governor, identity=BOT) as conn:
        grants = (
            give(governor, clear=["public.folk.email"]),
            give(governor, BEN, clear=["public.staff.email"]),
        )
        cur = conn.cursor(name="c")
        await do(cur.execute(sql))
        assert MAIL in (await do(cur.fetchone()))[0]
        governor.grants.revoke(grants[ended].id, key=BEN.key)
        governor.approvals.look()
        with pytest.raises(errors.StatementBlocked) as refused:
            await do(cur.fetchone())
        assert refused.value.rule == "grant.over"
        await do(cur.close())
    resting = [
        e["may"]["grants"] for e in reader.read(governor.trail.folder) if e.get("may", {}).get("grants")
    ]
    assert resting[0] == sorted(each.id for each in grants)


def test_grants_that_give_the_same_are_all_named(folk, governor):
    same = [give(governor, by, clear=["public.folk.email"]).id for by in (ANNA, BEN)]
    other = give(governor, clear=["public.staff.email"]).id
    with governed_db.connect(folk, governor=governor, identity=BOT, autocommit=True) as conn:
        conn.execute("SELECT email FROM everybody")
    (resting,) = [
        e["may"]["grants"] for e in reader.read(governor.trail.folder) if e.get("may", {}).get("grants")
    ]
    assert resting == sorted([*same, other])


# -- relations


@pytest.mark.parametrize(
    ("sql", "on", "verdict"),
    [
        ("TRUNCATE owners CASCADE", ["public.owners"], "block"),
        ("TRUNCATE owners CASCADE", ["public.owners", "public.pets"], "block"),
        ("TRUNCATE owners CASCADE", ["public.owners", "public.pets", "public.toys"], "allow"),
        ("TRUNCATE toys", ["public.toys"], "allow"),
        ("TRUNCATE alone CASCADE", ["public.alone"], "allow"),
        ("TRUNCATE folk", ["public.folk"], "allow"),
        ("DROP TABLE owners", ["public.owners"], "allow"),
        ("DROP TABLE owners CASCADE", ["public.owners"], "block"),
        ("ALTER TABLE owners DROP COLUMN id", ["public.owners"], "allow"),
        ("ALTER TABLE owners DROP COLUMN id CASCADE", ["public.owners"], "block"),
        ("DROP TABLE owners CASCADE", [], "allow"),
        ("TRUNCATE owners CASCADE", [], "allow"),
    ],
)
def test_what_goes_with_a_relation_is_not_granted_with_it(folk, governor, sql, on, verdict):
    give(governor, rules=["truncate", "drop", "schema-changes"], on=on)
    with governed_db.connect(folk, governor=governor, identity=BOT, autocommit=True) as conn:
        assert governor.check(sql, connection=conn).verdict == verdict


def test_a_truncate_that_cascades_is_one_of_each_table(folk, governor):
    with governed_db.connect(folk, governor=governor, identity=BOT, autocommit=True) as conn:
        give(governor, rules=["truncate"], on=["public.owners"])
        with pytest.raises(errors.StatementBlocked, match=r"public\.(pets|toys)"):
            conn.execute("TRUNCATE owners CASCADE")


# -- patterns

DEFINITIONS = [
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "'SELECT 1'", "'SELECT 2'"),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$SELECT 1$$", "SELECT 1", "SELECT 2"),
    ("CREATE VIEW v AS SELECT id FROM folk WHERE id < 5", "5", "500"),
    ("ALTER TABLE folk ALTER phone SET DEFAULT 'x'", "'x'", "'y'"),
    ("CREATE TABLE t (a int CHECK (a > 5))", "5", "50"),
]


@pytest.mark.parametrize(("sql", "old", "new"), DEFINITIONS)
@pytest.mark.parametrize("texts", [True, False])
def test_the_values_of_a_definition_are_no_values(folk, governor, sql, old, new, texts):
    read = governor.check(sql, identity=BOT).statement
    other = governor.check(sql.replace(old, new), identity=BOT).statement
    assert (read.fingerprint, read.normalised) == (other.fingerprint, other.normalised)
    text = {"statement": read.normalised} if texts else {}
    give(governor, fingerprint=read.fingerprint, rows=0, **text)
    for each in (sql, sql.replace(old, new)):
        assert governor.check(each, identity=BOT).verdict == "needs_approval"


@flavours
@pytest.mark.parametrize(
    ("sql", "offered"),
    [("ALTER TABLE folk ADD extra int DEFAULT 5", False), ("CREATE TABLE more (a int)", True)],
)
async def test_nobody_is_offered_a_pattern_of_a_definition(folk, governor, name, sql, offered):
    async with Flavour(name).connect(folk, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as asked:
            await do(conn.execute(sql))
    request = governor.approvals.get(asked.value.request.id).request
    refused = pytest.raises(errors.GovernanceError, match="part of what it defines")
    with nullcontext() if offered else refused:
        governor.grants.give(request=request, key=ANNA.key, lasts=HOUR, because="a test")


# -- the policy


def test_a_rule_that_is_called_like_a_column_is_protected(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[grants]\nnever = ["acme.rows.delete"]\n[[rule]]\nid = "acme.rows.delete"\n'
        'when = { effects = ["delete"] }\nthen = "block"\nbecause = "no"\n' + ANNA.as_toml()
    )
    governor = Governor.load(policy, state_dir=tmp_path / "state")
    with pytest.raises(errors.GovernanceError, match="no grant waives the rule"):
        give(governor, rules=["acme.rows.delete"])
    governor.close()


# -- the store


def test_a_store_that_is_filled_hands_out_as_much_as_is_read(governor, monkeypatch):
    monkeypatch.setattr("governed_db.approval.tables.MOST_GRANTS", 3)
    store = governor.approvals.store
    ends = datetime.now(UTC) + HOUR
    store.add_grant("huge", b"x" * (64 * 1024 + 1), expires=ends)
    for number in range(6):
        store.add_grant(f"n{number}", b"rubbish %d" % number, expires=ends)
    assert store.view(now=datetime.now(UTC)).grants == tuple(b"rubbish %d" % n for n in range(4))


def test_a_rule_that_allows_has_nothing_to_waive(governor):
    with pytest.raises(errors.GovernanceError, match="allows already") as refused:
        give(governor, rules=["small-changes"])
    assert refused.value.rule == "grant.rule"
    give(governor, rules=["small-changes"], rows=500)

"""A grant from its signature to the statement that rests on it, through a real store and a real server."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from governed_db.cli import main
from governed_db.grants import register
from tests.approvers import ANNA, BEN
from tests.flavours import Flavour, do, each, within

flavours = pytest.mark.parametrize("name", ["sync", "async"])
BOT = Identity.agent("bot", on_behalf_of=Identity.human("u-1"))
OTHER = Identity.agent("other")
HOUR = timedelta(hours=1)
EMAIL = "SELECT email FROM people ORDER BY id"


@pytest.fixture(scope="module")
def things(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE things (id int PRIMARY KEY, label text)")
        conn.execute("CREATE TABLE others (id int PRIMARY KEY)")
        conn.execute("CREATE TABLE people (id int PRIMARY KEY, email text, phone text)")
        conn.execute("INSERT INTO people VALUES (1, 'ann@example.org', '+49 30 123456')")
        conn.execute("CREATE VIEW contacts AS SELECT id, email, lower(email) AS small FROM people")
    return dsn


@pytest.fixture(autouse=True)
def _filled(things):
    with psycopg.connect(things, autocommit=True) as conn:
        conn.execute("TRUNCATE things, others")
        conn.execute("INSERT INTO things SELECT n, 'old' FROM generate_series(1, 300) AS n")


POLICY = 'extends = "standard"\n[approvals]\npoll_seconds = 0.05\n[masking]\nsample = "off"\n'


@pytest.fixture
def governor(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY + ANNA.as_toml() + BEN.as_toml())
    made = Governor.load(policy, state_dir=tmp_path / "state")
    yield made
    made.close()


def give(governor, to="agent:bot", by=ANNA, lasts=HOUR, **what):
    signed = governor.grants.give(to, key=by.key, lasts=lasts, because="a test", **what)
    governor.approvals.look()
    return signed


def events(governor):
    return [
        e["event"] for e in reader.read(governor.trail.folder) if str(e.get("event", "")).startswith("grant.")
    ]


def resting(governor):
    """The grants that each statement on record rests on, where there are any."""
    entries = reader.read(governor.trail.folder)
    return [e["may"]["grants"] for e in entries if e.get("may", {}).get("grants")]


async def one(conn, sql=EMAIL, **kwargs):
    return (await do((await do(conn.execute(sql, **kwargs))).fetchone()))[0]


@flavours
async def test_cleared_columns_are_read_unmasked_by_the_grantee_alone(things, governor, name):
    flavour = Flavour(name)
    async with (
        flavour.connect(things, governor=governor, identity=BOT, autocommit=True) as conn,
        flavour.connect(things, governor=governor, identity=OTHER, autocommit=True) as other,
    ):
        assert await one(conn) != "ann@example.org"
        grant = give(governor, clear=["public.people.email"])
        assert await one(conn) == "ann@example.org"
        assert await one(conn, "SELECT lower(email) FROM people") == "ann@example.org"
        assert await one(conn, "SELECT phone FROM people") != "+49 30 123456"
        assert await one(conn, "SELECT email FROM contacts") == "ann@example.org"
        with pytest.raises(errors.MaskedColumnRefused):
            await one(conn, "SELECT small, lower(phone) FROM contacts, people")
        assert await one(other) != "ann@example.org"
        governor.grants.revoke(grant.id, key=BEN.key, because="done")
        governor.approvals.look()
        assert await one(conn) != "ann@example.org"
    assert events(governor) == ["grant.added", "grant.verified", "grant.revoked", "grant.revoked"]
    assert resting(governor) == [[grant.id]] * 3


class Later(datetime):
    """The clock on the wall, an hour ahead."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + HOUR


@flavours
@pytest.mark.parametrize("prepare", [None, True])
async def test_it_ends_at_its_time_for_statements_that_are_prepared(
    things, governor, name, prepare, monkeypatch
):
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        give(governor, clear=["public.people.email"])
        assert await one(conn, prepare=prepare) == "ann@example.org"
        assert await one(conn, prepare=prepare) == "ann@example.org"
        monkeypatch.setattr(register, "datetime", Later)
        assert await one(conn, prepare=prepare) != "ann@example.org"
    assert events(governor) == ["grant.added", "grant.verified", "grant.expired"]


@flavours
async def test_a_server_side_cursor_is_not_read_on_after_the_grant(things, governor, name):
    flavour = Flavour(name)
    async with flavour.connect(things, governor=governor, identity=BOT) as conn:
        grant = give(governor, clear=["public.people.*"])
        named = conn.cursor(name="c")
        await do(named.execute("SELECT email FROM people UNION ALL SELECT 'x'"))
        await do(conn.execute("DECLARE d CURSOR FOR SELECT email FROM people UNION ALL SELECT 'x'"))
        client = await do(conn.execute(EMAIL))
        assert (await do(named.fetchone()))[0] == "ann@example.org"
        assert await one(conn, "FETCH 1 FROM d") == "ann@example.org"
        governor.grants.revoke(grant.id, key=ANNA.key)
        governor.approvals.look()
        with pytest.raises(errors.StatementBlocked, match="does not hold any more") as refused:
            await do(named.fetchone())
        assert refused.value.rule == "grant.over"
        with pytest.raises(errors.MaskedColumnRefused):
            await do(conn.execute("FETCH 1 FROM d"))
        # These rows were here before.
        assert (await do(client.fetchone()))[0] == "ann@example.org"
        await do(named.close())


@flavours
async def test_a_rule_is_waived_for_what_the_grant_is_about(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        grant = give(governor, rules=["truncate"], on=["public.things"])
        decision = await do(
            governor.check("TRUNCATE things", connection=conn)
            if name == "sync"
            else governor.acheck("TRUNCATE things", connection=conn)
        )
        assert decision.verdict == "allow"
        assert decision.grants == (grant.id,)
        assert f"grant {grant.id}, signed by anna, until" in decision.reason
        await do(conn.execute("TRUNCATE things"))
        for other in ("TRUNCATE others", "TRUNCATE things, others", "DROP TABLE things"):
            with pytest.raises(errors.StatementBlocked):
                await do(conn.execute(other))
    assert resting(governor) == [[grant.id]]


@flavours
async def test_a_cap_is_raised(things, governor, name):
    update = "UPDATE things SET label = 'x' WHERE id <= %s"
    insert = "INSERT INTO others SELECT generate_series(1, 150)"
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired):
            await do(conn.execute(update, (150,)))
        give(governor, rows=200, on=["public.things"])
        assert (await do(conn.execute(update, (150,)))).rowcount == 150
        for more in ((update, (250,)), (insert, None), ("DELETE FROM things", None)):
            with pytest.raises(errors.ApprovalRequired):
                await do(conn.execute(*more))
        cur = conn.cursor()
        sets = [(n, "m") for n in range(1000, 1150)]
        await do(cur.executemany("INSERT INTO things VALUES (%s, %s)", sets))
        assert cur.rowcount == 150


@flavours
async def test_a_waived_rule_can_have_a_cap(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        give(governor, rules=["unconstrained-changes"], rows=299, on=["public.things"])
        with pytest.raises(errors.ApprovalRequired, match="may write 299 without approval"):
            await do(conn.execute("DELETE FROM things"))
        await do(conn.execute("DELETE FROM things WHERE id = 1"))
        assert (await do(conn.execute("DELETE FROM things"))).rowcount == 299


@flavours
async def test_a_pattern(things, governor, name):
    like = "DELETE FROM things WHERE id > 150 OR label = 'z'"
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as asked:
            await do(conn.execute(like))
        grant = governor.grants.give(request=asked.value.request, key=ANNA.key, lasts=HOUR, because="test")
        assert grant.said.rows == asked.value.request.ceiling == 165
        governor.approvals.look()
        assert (await do(conn.execute(like.replace("150", "140")))).rowcount == 160
        with psycopg.connect(things, autocommit=True) as admin:
            admin.execute("INSERT INTO things SELECT n, 'old' FROM generate_series(500, 800) n")
        with pytest.raises(errors.ApprovalRequired, match="may write 165 without approval"):
            await do(conn.execute(like))
        for other in ("DELETE FROM things WHERE id >= 650 OR label = 'z'", "DELETE FROM things"):
            with pytest.raises(errors.ApprovalRequired):
                await do(conn.execute(other))
    async with Flavour(name).connect(
        things, governor=governor, identity=Identity.agent("bot"), autocommit=True
    ) as conn:
        with pytest.raises(errors.ApprovalRequired):
            await do(conn.execute(like.replace("150", "1")))
    assert resting(governor)[0] == [grant.id]


@flavours
async def test_what_asks_for_approval_runs_as_a_pattern(things, governor, name):
    like = "DELETE FROM things WHERE label = label"
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as asked:
            await do(conn.execute(like))
        give(governor, None, request=asked.value.request)
        assert (await do(conn.execute(like))).rowcount == 300
        with pytest.raises(errors.ApprovalRequired):
            await do(conn.execute("DELETE FROM things"))


@flavours
async def test_what_else_hands_out_columns(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        grant = give(governor, clear=["public.people.email"])
        cur = conn.cursor()
        async with within(cur.copy("COPY people (email) TO STDOUT")) as copy:
            assert b"".join([bytes(block) async for block in each(copy)]) == b"ann@example.org\n"
        assert [row async for row in each(cur.stream(EMAIL))] == [("ann@example.org",)]
        await do(cur.executemany("SELECT email FROM people WHERE id = %s", [(1,), (1,)], returning=True))
        assert await do(cur.fetchone()) == ("ann@example.org",)
        update = "UPDATE people SET phone = phone WHERE email = %s RETURNING email"
        assert await one(conn, update, params=("ann@example.org",)) == "ann@example.org"
        async with within(conn.pipeline()):
            first = await do(conn.execute(EMAIL))
            second = await do(conn.execute("SELECT phone FROM people"))
            assert await do(first.fetchone()) == ("ann@example.org",)
            assert await do(second.fetchone()) != ("+49 30 123456",)
        governor.grants.revoke(grant.id, key=ANNA.key)
        governor.approvals.look()
        with pytest.raises(errors.MaskedColumnRefused):
            await do(conn.execute(update, ("ann@example.org",)))
        async with within(cur.copy("COPY people (email) TO STDOUT")) as copy:
            assert b"ann" not in b"".join([bytes(block) async for block in each(copy)])
        async with within(conn.pipeline()):
            assert await one(conn) != "ann@example.org"


@flavours
async def test_rows_under_a_grant_are_not_for_the_next_caller(things, governor, name):
    agents = Identity.agent("a"), Identity.agent("b")
    async with Flavour(name).connect(things, governor=governor, autocommit=True) as conn:
        give(governor, "agent:a", clear=["public.people.*"])
        with governed_db.acting_as(agents[0]):
            cur = await do(conn.execute(EMAIL))
        with governed_db.acting_as(agents[1]), pytest.raises(errors.StatementBlocked):
            await do(cur.fetchone())
        with governed_db.acting_as(agents[1]):
            assert await one(conn) != "ann@example.org"
        with governed_db.acting_as(agents[0]):
            assert await do(cur.fetchone()) == ("ann@example.org",)
            assert await one(conn) == "ann@example.org"


@pytest.mark.parametrize(
    ("clear", "read", "shown"),
    [
        (["public.parts.email"], "parts", True),
        (["public.parts.email"], "parts_1", True),
        (["public.parts_1.email"], "parts_1", False),  # the same rows can be read as those of the whole
        (["public.parts_view.email"], "parts_view", False),
        (["public.parts.email"], "parts_view", True),
        (["public.p*.e*"], "parts_view", True),
        (['public.parts."Email"'], "parts", False),
        (["other.parts.email"], "parts", False),
    ],
)
def test_partitions_and_views(parts, governor, clear, read, shown):
    with governed_db.connect(parts, governor=governor, identity=BOT, autocommit=True) as conn:
        give(governor, clear=clear)
        assert (conn.execute(f"SELECT email FROM {read}").fetchone() == ("ann@example.org",)) is shown


@pytest.fixture(scope="module")
def parts(things):
    with psycopg.connect(things, autocommit=True) as conn:
        conn.execute("CREATE TABLE parts (id int, email text) PARTITION BY LIST (id)")
        conn.execute("CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)")
        conn.execute("INSERT INTO parts VALUES (1, 'ann@example.org')")
        conn.execute("CREATE VIEW parts_view AS SELECT id, email FROM parts")
    return things


def test_what_is_never_cleared_stays_masked(things, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY + '[grants]\nnever = ["public.people.phone"]\n' + ANNA.as_toml())
    governor = Governor.load(policy, state_dir=tmp_path / "state")
    with governed_db.connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        give(governor, clear=["public.people.*"])
        email, phone = conn.execute("SELECT email, phone FROM people").fetchone()
        assert email == "ann@example.org"
        assert phone != "+49 30 123456"
    governor.close()


def test_redacted_statements_keep_the_other_masks(things, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY + 'derived = "redact"\n' + ANNA.as_toml())
    governor = Governor.load(policy, state_dir=tmp_path / "state")
    with governed_db.connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        give(governor, clear=["public.people.email"])
        both = conn.execute("SELECT upper(email), upper(phone) FROM people").fetchone()
        assert both[0] == "ANN@EXAMPLE.ORG"
        assert "123456" not in both[1]
    governor.close()


@flavours
async def test_an_approval_does_not_outlive_the_grant_beside_it(things, governor, name):
    both = "WITH gone AS (DELETE FROM things RETURNING 1) DELETE FROM others"
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        grant = give(governor, rules=["unconstrained-changes"], on=["public.things"])
        with pytest.raises(errors.ApprovalRequired) as asked:
            await do(conn.execute(both))
        governor.approvals.approve(asked.value.request.id, key=BEN.key)
        governor.grants.revoke(grant.id, key=BEN.key)
        governor.approvals.look()
        with pytest.raises(errors.ApprovalRequired) as again:
            await do(conn.execute(both))
        assert again.value.request.id != asked.value.request.id
        governor.approvals.approve(again.value.request.id, key=BEN.key)
        await do(conn.execute(both))
        assert await one(conn, "SELECT count(*) FROM things") == 0


def test_the_record_comes_before_the_grant_counts(things, governor, monkeypatch):
    with governed_db.connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        give(governor, clear=["public.people.email"])
        with monkeypatch.context() as patch:
            patch.setattr(governor.register, "on_event", _unavailable)
            with pytest.raises(errors.AuditUnavailable):
                conn.execute(EMAIL)
        assert conn.execute(EMAIL).fetchone() == ("ann@example.org",)
    assert events(governor) == ["grant.added", "grant.verified"]


def _unavailable(*_, **__):
    raise errors.AuditUnavailable("the disk is full", rule="audit")


def test_the_report_lists_them(things, governor, tmp_path):
    with governed_db.connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        grant = give(governor, clear=["public.people.email"])
        conn.execute(EMAIL)
    governor.close()
    page = tmp_path / "report.html"
    assert main(["audit", "report", "--out", str(page), "--dir", str(governor.trail.folder)]) == 0
    text = page.read_text()
    assert grant.id in text
    assert "public.people.email" in text
    assert "1 ok" in text


def test_a_question_about_the_policy_knows_no_grants(things, governor, tmp_path, capsys):
    give(governor, rules=["locks"])
    check = ["check", "LOCK TABLE things", "--as", "agent:bot", "--policy", str(tmp_path / "policy.toml")]
    assert main(check) == 2

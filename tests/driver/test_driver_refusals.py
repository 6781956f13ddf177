"""What a refusal leaves behind: nothing in the server's log, a record, and a usable connection."""

from __future__ import annotations

import psycopg
import pytest

from governed_db import Governor, Identity, acting_as, errors
from governed_db.audit import reader
from governed_db.driver import sampling
from tests.approvers import ANNA, Person
from tests.flavours import Flavour, do, each, within
from tests.layout import Layout

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot", on_behalf_of="u-1")

flavours = pytest.mark.parametrize("name", ["sync", "async"])

BAD = {
    "nul": (b"SELECT 1\0; DROP TABLE things", "statement.nul"),
    "not utf-8": (b"SELECT '\xff'", "statement.encoding"),
    "too long": (b"SELECT '" + b"x" * (1 << 20) + b"'", "statement.max_bytes"),
    "too many tokens": (b"SELECT " + b"," * 400_000, "statement.max_tokens"),
    "chained operators": (b"SELECT 1" + b"+1" * 200_000, "statement.max_"),
    "brackets": (b"SELECT " + b"(" * 100_000 + b"1" + b")" * 100_000, "statement.max_depth"),
    "no grammar": (b"SELEC 1", "statement.syntax"),
}


@pytest.fixture
def things(dsn: str, layout: Layout) -> str:
    layout.lay(
        """
        DROP TABLE IF EXISTS things;
        CREATE TABLE things (id int PRIMARY KEY, email text CHECK (email <> ''), label text);
        INSERT INTO things SELECT n, 'canary' || n || '@x.test', 'l' FROM generate_series(1, 500) n;
        """
    )
    return dsn


PRINCIPAL = Person("u-1")


@pytest.fixture
def governor(tmp_path):
    made = Governor.preset("standard", state_dir=tmp_path, approvers=[ANNA.approver, PRINCIPAL.approver])
    yield made
    made.close()


def journal(governor: Governor) -> list[dict]:
    return list(reader.statements(governor.trail.folder))


async def send(conn, statement: str, path: str) -> None:
    match path:
        case "execute":
            await do(conn.execute(statement))
        case "executemany":
            await do(conn.cursor().executemany(statement, [()]))
        case "stream":
            async for _ in each(conn.cursor().stream(statement)):
                pass
        case "server":
            async with within(conn.cursor("c")) as cur:
                await do(cur.execute(statement))
        case "pipeline":
            async with within(conn.pipeline()):
                await do(conn.execute(statement))


LOOKS = (
    "BEGIN",
    "SET LOCAL ",
    "SAVEPOINT ",
    "EXPLAIN ",
    "SELECT pg_catalog.count(*)",
    "WITH RECURSIVE touched (",  # the definitions that people agree to
    "RELEASE",
    "ROLLBACK",
)


@flavours
@pytest.mark.parametrize(
    "statement", ["DROP TABLE things", "DELETE FROM things", "SELECT pg_ls_dir('.')", "BEGIN"]
)
@pytest.mark.parametrize("path", ["execute", "executemany", "stream", "server", "pipeline"])
async def test_a_refusal_by_text_leaves_no_trace_in_the_servers_log(
    server, things, governor, name, statement, path
):
    flavour = Flavour(name)
    async with flavour.connect(things, governor=governor, identity=AGENT) as conn:
        before = len(server.statements())
        with pytest.raises((errors.StatementBlocked, errors.ApprovalRequired)) as refused:
            await send(conn, statement, path)
        assert refused.value.rule
        assert refused.value.remedy
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        sent = server.statements()[before:]
        if isinstance(refused.value, errors.ApprovalRequired):
            # What people are asked about is planned and counted; nothing of it is run.
            sent = [text for text in sent if not text.startswith(LOOKS)]
        assert sent == []
        assert (await do((await do(conn.execute("SELECT 1"))).fetchone())) == (1,)
        await do(conn.rollback())
    refusals = [e for e in journal(governor) if e["kind"] in ("refusal", "attempt")]
    assert len(refusals) == 1
    assert refusals[0]["who"]["subject"] == "copilot"


@flavours
async def test_a_refusal_leaves_the_transaction_usable(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=AGENT) as conn:
        async with within(conn.transaction()):
            await do(conn.execute("UPDATE things SET label = 'kept' WHERE id = 1"))
            with pytest.raises(errors.StatementBlocked):
                await do(conn.execute("TRUNCATE things"))
            with pytest.raises(errors.ApprovalRequired):
                await do(conn.execute("UPDATE things SET label = 'all' WHERE id > 0"))
            assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        cur = await do(conn.execute("SELECT count(*), max(label) FROM things WHERE label <> 'l'"))
        assert await do(cur.fetchone()) == (1, "kept")


@flavours
@pytest.mark.parametrize("bad", BAD)
async def test_bad_input_is_refused_by_name_and_recorded(server, things, governor, name, bad):
    text, rule = BAD[bad]
    flavour = Flavour(name)
    async with flavour.connect(things, governor=governor, identity=AGENT) as conn, within(conn.transaction()):
        before = len(server.statements())
        with pytest.raises(errors.StatementBlocked) as refused:
            await do(conn.execute(text))
        assert refused.value.rule.startswith(rule)
        assert server.statements()[before:] == []
        cur = await do(conn.execute("SELECT 1"))
        assert await do(cur.fetchone()) == (1,)
    (attempt,) = [e for e in journal(governor) if e["kind"] == "attempt"]
    assert attempt["may"]["rule"].startswith(rule)
    assert attempt["what"]["bytes"] == len(text)


@flavours
@pytest.mark.parametrize("bad", ["nul", "not utf-8", "no grammar", "brackets"])
async def test_under_observe_bad_input_does_what_psycopg_does(things, tmp_path, name, bad):
    text, rule = BAD[bad]

    async def attempt(connection_class, **kwargs):
        conn = await do(connection_class.connect(things, autocommit=True, **kwargs))
        try:
            cur = await do(conn.execute(text))
            return await do(cur.fetchall())
        except psycopg.Error as error:
            return type(error), error.sqlstate
        finally:
            await do(conn.close())

    governor = Governor.preset("observe", state_dir=tmp_path)
    plain = getattr(psycopg, Flavour(name).Connection.__name__)
    assert await attempt(Flavour(name).Connection, governor=governor) == await attempt(plain)
    governor.close()
    recorded = [e for e in journal(governor) if e["kind"] == "attempt"]
    assert [e["may"]["rule"] for e in recorded] == [
        r for r in [recorded[0]["may"]["rule"]] if r.startswith(rule)
    ]


@flavours
@pytest.mark.parametrize("text", ["", ";", "-- nothing", "/* nothing */ ;"])
async def test_empty_text_passes(things, governor, name, text):
    async with Flavour(name).connect(things, governor=governor, identity=AGENT) as conn:
        await do(conn.execute(text))


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_write_over_the_cap_is_rolled_back_and_waits_for_approval(
    things, governor, name, autocommit, pipelined
):
    update = "UPDATE things SET label = %s WHERE id <= %s"
    async with Flavour(name).connect(
        things, governor=governor, identity=AGENT, autocommit=autocommit
    ) as conn:

        async def run():
            if not pipelined:
                return await do(conn.execute(update, ("new", 101)))
            async with within(conn.pipeline()):
                return await do(conn.execute(update, ("new", 101)))

        with pytest.raises(errors.ApprovalRequired) as waiting:
            await run()
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with psycopg.connect(things) as other:
            assert other.execute("SELECT count(*) FROM things WHERE label = 'new'").fetchone() == (0,)
        with pytest.raises(errors.GovernanceError, match="requester"):
            governor.approvals.approve(waiting.value.request.id, key=PRINCIPAL.key)
        governor.approvals.approve(waiting.value.request.id, key=ANNA.key)
        with pytest.raises(errors.ApprovalRequired):  # other values are another statement
            await do(conn.execute(update, ("other", 102)))
        assert (await run()).rowcount == 101
        await do(conn.commit())
        with pytest.raises(errors.ApprovalRequired):  # an approval is for once
            await run()
        cur = await do(conn.execute(update, ("few", 100)))
        assert cur.rowcount == 100
        await do(conn.rollback())
    granted = [e for e in reader.read(governor.trail.folder) if e.get("event") == "approval.granted"]
    assert [e["who"]["subject"] for e in granted] == ["anna"]


@flavours
async def test_executemany_counts_over_the_whole_batch(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        cur = conn.cursor()
        insert = "INSERT INTO things (id, label) VALUES (%s, 'm')"
        with pytest.raises(errors.ApprovalRequired):
            await do(cur.executemany(insert, [(n,) for n in range(1000, 1101)]))
        await do(cur.executemany(insert, [(n,) for n in range(1000, 1100)]))
        assert cur.rowcount == 100
        update = "UPDATE things SET label = 'u' WHERE id BETWEEN %s AND %s"
        with pytest.raises(errors.ApprovalRequired):
            await do(cur.executemany(update, [(1, 60), (61, 120)]))
        await do(cur.executemany(update, [(1, 40), (41, 90)]))
        assert cur.rowcount == 90
    with psycopg.connect(things) as conn:
        assert conn.execute("SELECT count(*) FROM things WHERE label = 'u'").fetchone() == (90,)
        assert conn.execute("SELECT count(*) FROM things WHERE id >= 1000").fetchone() == (100,)


@flavours
async def test_server_errors_lose_what_they_quote_of_masked_columns(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=AGENT) as conn:
        with pytest.raises(psycopg.errors.NotNullViolation) as failed:
            await do(conn.execute("UPDATE things SET id = NULL WHERE id = 7"))
        error = failed.value
        text = f"{error} {error.diag.message_detail} {error.diag.message_primary} {error.__context__}"
        assert "canary" not in text
        assert error.sqlstate == "23502"
        assert error.diag.table_name == "things"
        await do(conn.rollback())


@flavours
async def test_the_caller_of_a_statement_is_whoever_acts_then(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("SELECT 1"))
        with acting_as(Identity.human("anna")):
            await do(conn.execute("SELECT 2"))
        await do(conn.execute("SELECT 3"))
    said = [(e["who"]["subject"], e["what"]["text"]) for e in journal(governor) if e["kind"] == "intent"]
    mine = [(who, text.partition(";")[0]) for who, text in said if who != "governed_db"]
    assert [s for s in mine if not s[1].startswith("SET LOCAL")] == [
        ("copilot", "BEGIN"),
        ("copilot", "SELECT $1"),
        ("anna", "SELECT $1"),
        ("copilot", "SELECT $1"),
    ]


def test_pgconn_shows_state_and_refuses_to_send(things, governor):
    from governed_db import Connection

    with Connection.connect(things, governor=governor, identity=AGENT) as conn:
        assert conn.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with pytest.raises(errors.GovernanceError, match="goes around"):
            conn.pgconn.exec_(b"SELECT 1")
        assert "postgres" not in repr(conn.pgconn)


@flavours
async def test_a_write_that_stream_cannot_count_is_refused_on_record(server, things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=AGENT) as conn:
        await do(conn.wait(sampling.survey(conn._seat)))  # else what it could show is looked at first
        before = len(server.statements())
        with pytest.raises(errors.StatementBlocked, match="stream"):
            await send(conn, "UPDATE things SET label = 'x' WHERE id > 5 RETURNING id", "stream")
        assert server.statements()[before:] == []
    assert [e["kind"] for e in journal(governor) if e["who"]["subject"] == "copilot"] == ["refusal"]


@flavours
async def test_a_check_is_not_answered_by_another_governors_policy(things, governor, tmp_path, name):
    other = Governor.preset("readonly", state_dir=tmp_path / "other")
    async with Flavour(name).connect(things, governor=governor, identity=AGENT) as conn:
        ask = other.check if name == "sync" else other.acheck
        with pytest.raises(ValueError, match="another governor"):
            await do(ask("SELECT 1", connection=conn))
    other.close()

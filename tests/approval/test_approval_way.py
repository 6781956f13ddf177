"""A call that people have to agree to, from the refusal to the run, by a real store and a real server."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time

import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from governed_db.audit.trail import Trail
from governed_db.driver import pauses
from tests.approvers import ANNA, BEN
from tests.flavours import Flavour, do, each, within

flavours = pytest.mark.parametrize("name", ["sync", "async"])
BOT = Identity.agent("bot", on_behalf_of=Identity.human("u-1"), session="s-1", tool_call="c-1")
IDLE = psycopg.pq.TransactionStatus.IDLE


@pytest.fixture(scope="module")
def things(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE things (id int PRIMARY KEY, label text)")
        conn.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
    return dsn


@pytest.fixture(autouse=True)
def _filled(things):
    with psycopg.connect(things, autocommit=True) as conn:
        conn.execute("TRUNCATE things")
        conn.execute("INSERT INTO things SELECT n, 'old' FROM generate_series(1, 300) AS n")


@pytest.fixture
def governor(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'extends = "standard"\n[approvals]\npoll_seconds = 0.05\n[catalog]\nmax_age = 0\n'
        + ANNA.as_toml()
        + BEN.as_toml()
    )
    made = Governor.load(policy, state_dir=tmp_path / "state")
    yield made
    made.close()


def agree(governor, request, person=ANNA, **kwargs):
    return governor.approvals.approve(request.id, key=person.key, **kwargs)


DELETE = "DELETE FROM things"


async def asked(conn, sql=DELETE, params=None):
    with pytest.raises(errors.ApprovalRequired) as waiting:
        await do(conn.execute(sql, params))
    return waiting.value.request


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
async def test_the_same_call_runs_once(things, governor, name, autocommit):
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=autocommit) as conn:
        request = await asked(conn)
        assert conn.info.transaction_status == IDLE
        assert (request.rows, request.ceiling, request.rows_more) == (300, 330, False)
        assert governor.approvals.get(request.id).request.cost > 0
        assert request.cost is None  # it follows from values that the caller may see masked
        assert request.question.sql == "DELETE\nFROM things"
        assert request.question.relations == ("public.things",)
        assert (await asked(conn)).id == request.id
        standing = agree(governor, request, reason="spring cleaning")
        assert standing.agreed
        assert (await do(conn.execute(DELETE))).rowcount == 300
        await do(conn.commit())
        assert (await asked(conn)).id != request.id
    entries = list(reader.read(governor.trail.folder))
    events = [e["event"] for e in entries if str(e.get("event", "")).startswith("approval.")]
    asked_twice = ["approval.requested", "approval.granted", "approval.verified", "approval.requested"]
    assert events == asked_twice
    ran = next(e for e in entries if e.get("may", {}).get("approval") and e["kind"] == "intent")
    assert ran["may"]["approval"] == request.id


@flavours
async def test_rows_that_come_meanwhile_need_a_new_answer(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
        request = await asked(conn)
        agree(governor, request)
        with psycopg.connect(things, autocommit=True) as other:
            other.execute("INSERT INTO things SELECT n, 'new' FROM generate_series(301, 331) AS n")
        again = await asked(conn)
        assert again.id != request.id
        assert (again.rows, again.ceiling) == (331, 365)
        agree(governor, again)
        assert (await do(conn.execute(DELETE))).rowcount == 331


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_write_over_its_cap(things, governor, name, autocommit):
    update = "UPDATE things SET label = %s WHERE id <= %s"
    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=autocommit) as conn:
        request = await asked(conn, update, ("x", 150))
        assert request.rows == 150
        assert request.question.values == ("$1 = x", "$2 = 150")
        agree(governor, request)
        assert (await do(conn.execute(update, ("x", 150)))).rowcount == 150
        await do(conn.commit())
        request = await asked(conn, update, ("x", 150))


@flavours
async def test_it_waits_and_goes_on(things, governor, name):
    def answer():
        while not (waiting := governor.approvals.pending()):
            time.sleep(0.01)
        agree(governor, waiting[0])

    person = threading.Thread(target=answer)
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        person.start()
        with governed_db.wait_for_approval(20):
            cur = await do(conn.execute(DELETE))
        assert cur.rowcount == 300
        await do(conn.commit())
        with governed_db.wait_for_approval(0.1), pytest.raises(errors.ApprovalRequired):
            await do(conn.execute(DELETE))
        await do(conn.execute("SELECT 1"))
        with governed_db.wait_for_approval(20), pytest.raises(errors.ApprovalRequired):
            await do(conn.execute(DELETE))  # not with a transaction open
    person.join()


@flavours
async def test_executemany_waits_as_one(things, governor, name):
    def answer():
        while not (waiting := governor.approvals.pending()):
            time.sleep(0.01)
        assert waiting[0].rows == 150
        agree(governor, waiting[0])

    person = threading.Thread(target=answer)
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        person.start()
        with governed_db.wait_for_approval(20):
            cur = conn.cursor()
            await do(
                cur.executemany("INSERT INTO things VALUES (%s, %s)", [(n, "m") for n in range(1000, 1150)])
            )
        assert cur.rowcount == 150
    person.join()


async def test_a_waiting_task_can_be_cancelled(things, governor):
    async with Flavour("async").connect(things, governor=governor, identity=BOT) as conn:

        async def patient():
            with governed_db.wait_for_approval(6):
                await conn.execute(DELETE)

        task = asyncio.create_task(patient())
        while not await asyncio.to_thread(governor.approvals.pending):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await (await conn.execute("SELECT 1")).fetchone()) == (1,)


@flavours
async def test_a_denial_ends_it(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        request = await asked(conn)
        governor.approvals.deny(request.id, key=BEN.key, reason="not today")
        with pytest.raises(errors.ApprovalDenied, match=r"human:ben denied .*: not today") as denied:
            await do(conn.execute(DELETE))
        assert "Ask whoever denied it" in str(denied.value)
        assert str(denied.value).endswith("Trying the same again will not help.")
        assert denied.value.rule == "unconstrained-changes"


@flavours
async def test_inside_of_a_transaction_nobody_waits_and_the_error_says_why(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        await do(conn.execute("SELECT 1"))
        with governed_db.wait_for_approval(600), pytest.raises(errors.ApprovalRequired) as required:
            await do(conn.execute(DELETE))
        assert ["transaction" in note for note in required.value.__notes__] == [True]
        await do(conn.rollback())
        assert not hasattr((await _refused(conn)), "__notes__")


async def _refused(conn):
    with pytest.raises(errors.ApprovalRequired) as required:
        await do(conn.execute(DELETE))
    return required.value


@flavours
async def test_definitions_that_change_need_a_new_answer(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        request = await asked(conn)
        agree(governor, request)
        with psycopg.connect(things, autocommit=True) as other:
            other.execute("ALTER TABLE things ADD COLUMN more int")
        try:
            assert (await asked(conn)).id != request.id
        finally:
            with psycopg.connect(things, autocommit=True) as other:
                other.execute("ALTER TABLE things DROP COLUMN more")


MASKED = "'<masked>'"


@flavours
async def test_approvers_see_values_as_the_policy_lets_them(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        # Who writes to a sensitive column may name a person; what provably stays elsewhere is shown.
        request = await asked(conn, "UPDATE people SET email = %s /* nothing special */", ("c@example.org",))
        assert request.question.values == (f"$1 = {MASKED}",)
        request = await asked(conn, "UPDATE people SET email = 'c@example.org', id = 7")
        assert "c@example" not in request.dump().decode()
        assert MASKED in request.question.sql
        assert "id = 7" in request.question.sql
        request = await asked(conn, "UPDATE things SET label = 'x' -- approved by anna\n")
        assert "label = 'x'" in request.question.sql
        assert "approved by" not in request.question.sql


@flavours
async def test_what_is_not_a_write_of_rows_runs_once_as_well(things, governor, name):
    create = "CREATE TABLE made (id int)"
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        request = await asked(conn, create)
        assert (request.rows, request.ceiling) == (None, None)
        agree(governor, request)
        await do(conn.execute(create))
        await do(conn.rollback())
        await asked(conn, create)


@flavours
async def test_copy_from_waits_as_well(things, governor, name):
    copy = "COPY things FROM STDIN"
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:

        async def send():
            async with within(conn.cursor().copy(copy)) as into:
                await do(into.write_row((1000, "copied")))

        with pytest.raises(errors.ApprovalRequired) as waiting:
            await send()
        agree(governor, waiting.value.request)
        await send()
        with pytest.raises(errors.ApprovalRequired):
            await send()
        await do(conn.rollback())


CHANGES = {
    "text": ({"sql": "DELETE FROM things "}, {}),
    "caller": ({}, {"identity": Identity.agent("bot", on_behalf_of=Identity.human("u-2"))}),
    "kind": ({}, {"identity": Identity.human("bot", on_behalf_of=Identity.human("u-1"))}),
    "search_path": ({}, {"options": "-c search_path=pg_temp,public"}),
    "encoding": ({}, {"client_encoding": "latin1"}),
}


@flavours
@pytest.mark.parametrize("changed", CHANGES)
async def test_anything_else_is_another_question(things, governor, name, changed):
    call, connect = CHANGES[changed]
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        request = await asked(conn)
    agree(governor, request)
    given = {"identity": BOT} | connect
    async with Flavour(name).connect(things, governor=governor, **given) as conn:
        assert (await asked(conn, **call)).id != request.id
    # The next tool call of the next session is the same caller.
    again = Identity.agent("bot", on_behalf_of=Identity.human("u-1"), session="s-2", tool_call="c-9")
    async with Flavour(name).connect(things, governor=governor, identity=again) as conn:
        assert (await do(conn.execute(DELETE))).rowcount == 300


@flavours
async def test_a_policy_that_changes_needs_a_new_answer(things, governor, name, tmp_path):
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        request = await asked(conn)
        agree(governor, request)
        policy = tmp_path / "policy.toml"
        policy.write_text(policy.read_text() + "[limits]\nmax_depth = 77\n")
        governor.reload()
        assert (await asked(conn)).id != request.id


@flavours
async def test_a_request_that_was_altered_in_the_store_is_asked_anew(things, governor, name, state_dir):
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        request = await asked(conn)
        with sqlite3.connect(governor.trail.state / "approvals.sqlite") as store:
            (kept,) = store.execute("SELECT body FROM requests").fetchone()
            harmless = bytes(kept).replace(b"DELETE\\nFROM things", b"SELECT\\n1")
            assert harmless != bytes(kept)
            store.execute("UPDATE requests SET body = ?", (harmless,))
        store.close()
        shown = governor.approvals.get(request.id).request
        assert shown.question.sql == "SELECT\n1"
        agree(governor, shown)
        assert (await asked(conn)).id != request.id
    told = [e for e in reader.read(governor.trail.folder) if e.get("event") == "approval.refused"]
    assert ["altered" in e["details"]["reason"] for e in told] == [True]


@flavours
async def test_where_the_policy_names_nobody_the_error_says_so(things, tmp_path, governor, name):
    unnamed = Governor.preset("standard", state_dir=tmp_path / "unnamed")
    try:
        async with Flavour(name).connect(things, governor=unnamed, identity=BOT) as conn:
            assert "names nobody yet who could answer" in str(await _refused(conn))
    finally:
        unnamed.close()
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        assert "names nobody" not in str(await _refused(conn))


@flavours
async def test_nobody_could_ever_answer(things, tmp_path, name):
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'extends = "standard"\n[[rule]]\nid = "mine"\nwhen = { effects = ["delete"] }\nthen = "approve"\n'
        'because = "rows go"\napprovers = ["security"]\n' + ANNA.as_toml()
    )
    governor = Governor.load(policy, state_dir=tmp_path / "state")
    try:
        async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
            with pytest.raises(errors.StatementBlocked, match="nobody whom the policy names") as refused:
                await do(conn.execute(DELETE))
            assert refused.value.rule == "approval.nobody"
            assert not refused.value.retryable
    finally:
        governor.close()


@flavours
async def test_a_store_that_is_gone_refuses(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        await asked(conn)
        governor.approvals.close()
        (governor.trail.state / "approvals.sqlite").write_bytes(b"no database" * 1000)
        with pytest.raises(errors.ApprovalsUnavailable) as refused:
            await do(conn.execute(DELETE))
        assert not refused.value.retryable  # damaged is damaged
        assert refused.value.rule == "approval.store"
        assert conn.info.transaction_status == IDLE
        await do(conn.execute("SELECT 1"))
    last = [e for e in reader.read(governor.trail.folder) if e.get("happened", {}).get("error")]
    assert last[-1]["happened"]["error"] == "ApprovalsUnavailable"


@flavours
async def test_one_caller_cannot_bury_the_others(things, tmp_path, name):
    policy = tmp_path / "policy.toml"
    policy.write_text('extends = "standard"\n[approvals]\nmost_open = 2\n' + ANNA.as_toml())
    governor = Governor.load(policy, state_dir=tmp_path / "state")
    try:
        async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
            for n in range(2):
                await asked(conn, f"UPDATE things SET label = '{n}'")
            with pytest.raises(errors.StatementBlocked, match="2 requests open already") as refused:
                await do(conn.execute("UPDATE things SET label = 'more'"))
            assert refused.value.rule == "approval.many"
            assert refused.value.retryable
        other = Identity.agent("other")
        async with Flavour(name).connect(things, governor=governor, identity=other) as conn:
            await asked(conn)
    finally:
        governor.close()


def test_one_of_many_takes_the_approval(things, governor):
    """Twelve connections of one caller send the same call at once: it runs once."""
    with (
        governed_db.connect(things, governor=governor, identity=BOT) as conn,
        pytest.raises(errors.ApprovalRequired) as waiting,
    ):
        conn.execute(DELETE)
    agree(governor, waiting.value.request)
    together = threading.Barrier(12)
    ran, waited = [], []

    def attempt():
        with governed_db.connect(things, governor=governor, identity=BOT, autocommit=True) as conn:
            together.wait()
            try:
                ran.append(conn.execute(DELETE).rowcount)
            except errors.ApprovalRequired as error:
                waited.append(error.request.id)

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ran == [300]
    assert len(set(waited)) == 1
    assert waited[0] != waiting.value.request.id


@flavours
async def test_a_store_that_is_put_back_gives_nothing_out_twice(things, governor, name):
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        request = await asked(conn)
        agree(governor, request)
        file = governor.trail.state / "approvals.sqlite"
        governor.approvals.close()
        before = file.read_bytes()
        await do(conn.execute(DELETE))
        await do(conn.rollback())
        governor.approvals.close()
        file.write_bytes(before)
        assert (await asked(conn)).id != request.id
    told = [e for e in reader.read(governor.trail.folder) if e.get("event") == "approval.refused"]
    assert ["put back" in e["details"]["reason"] for e in told] == [True]


class Slow:
    """A store that answers when somebody on the event loop lets it."""

    def __init__(self, store):
        self.store = store
        self.asked, self.let = threading.Event(), threading.Event()

    def __getattr__(self, name):
        return getattr(self.store, name)

    def find(self, digest, *, now):
        self.asked.set()
        assert self.let.wait(20), "the event loop was held up"
        return self.store.find(digest, now=now)


async def test_a_slow_store_does_not_hold_up_the_event_loop(things, governor):
    slow = governor.approvals.store = Slow(governor.approvals.store)
    async with Flavour("async").connect(things, governor=governor, identity=BOT) as conn:
        call = asyncio.create_task(asked(conn))
        while not slow.asked.is_set():
            await asyncio.sleep(0.01)
        slow.let.set()
        assert (await call).summary


@flavours
async def test_a_stream_does_not_use_up_what_it_cannot_keep_to(things, governor, name):
    returning = "DELETE FROM things RETURNING id"
    async with Flavour(name).connect(things, governor=governor, identity=BOT) as conn:
        request = await asked(conn, returning)
        agree(governor, request)
        with pytest.raises(errors.StatementBlocked, match=r"[Uu]se execute") as refused:
            async for _ in each(conn.cursor().stream(returning)):
                pass
        assert refused.value.rule == "approval.uncountable"
        assert conn.info.transaction_status == IDLE
        assert (await do(conn.execute(returning))).rowcount == 300


async def test_a_store_that_never_answers_refuses_and_is_not_asked_later(things, governor, monkeypatch):
    monkeypatch.setattr(pauses, "SECONDS", 0.2)
    slow = governor.approvals.store = Slow(governor.approvals.store)
    try:
        async with Flavour("async").connect(things, governor=governor, identity=BOT) as conn:
            with pytest.raises(errors.ApprovalsUnavailable, match="has not answered") as refused:
                await conn.execute(DELETE)
            assert refused.value.retryable
            assert conn.info.transaction_status == IDLE
            assert (await (await conn.execute("SELECT 1")).fetchone()) == (1,)
    finally:
        slow.let.set()
    assert not governor.approvals.pending()


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_journal_that_takes_no_more_once_it_is_taken_leaves_nothing_open(
    things, governor, name, autocommit, monkeypatch
):
    intent = Trail.intent

    def full(self, run, seat, **kwargs):
        if run.approval is not None:
            raise errors.AuditUnavailable("no space left", rule="audit.unavailable")
        intent(self, run, seat, **kwargs)

    async with Flavour(name).connect(things, governor=governor, identity=BOT, autocommit=autocommit) as conn:
        agree(governor, await asked(conn))
        monkeypatch.setattr(Trail, "intent", full)
        with pytest.raises(errors.AuditUnavailable):
            await do(conn.execute(DELETE))
        monkeypatch.undo()
        assert conn.info.transaction_status == IDLE
        assert (await do((await do(conn.execute("SELECT count(*) FROM things"))).fetchone())) == (300,)
        await do(conn.rollback())
        await asked(conn)  # it is used up: nobody can tell any more that it was not

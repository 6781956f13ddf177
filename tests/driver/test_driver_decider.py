"""A decider of the organisation's own: its answers stand, and its failures allow nothing."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import psycopg
import pytest

from governed_db import Governor, Identity, acting_as, errors
from governed_db.audit import reader
from governed_db.identity import acting
from governed_db.policy import Decision, Verdict, decider, preset
from governed_db.policy.model import Request
from governed_db.statement import EffectKind
from tests.flavours import Flavour, do, within

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot")

flavours = pytest.mark.parametrize("name", ["sync", "async"])


@pytest.fixture(scope="module")
def things(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE things (id int PRIMARY KEY, email text)")
        conn.execute("INSERT INTO things SELECT n, 'canary' || n || '@x.test' FROM generate_series(1, 50) n")
    return dsn


def answer(request: Request, verdict: Verdict = Verdict.ALLOW, **more: object) -> Decision:
    given = {"rule": "org.rule", "reason": "the organisation says so", "statement": request.statement}
    return Decision(verdict=verdict, **(given | more))


class Asked:
    """A decider that does what it is told, and remembers what it was asked."""

    def __init__(self, function=answer) -> None:
        self.function = function
        self.requests: list[Request] = []
        self.seen: list[object] = []

    def decide(self, request: Request) -> Decision:
        self.requests.append(request)
        self.seen.append((acting(), threading.current_thread() is threading.main_thread()))
        return self.function(request)


@pytest.fixture
def govern(tmp_path):
    made: list[Governor] = []

    def with_decider(function=answer, *, policy: str = "standard", **kw) -> Governor:
        asked = function if hasattr(function, "decide") else Asked(function)
        made.append(Governor.preset(policy, decider=asked, state_dir=tmp_path, **kw))
        return made[-1]

    yield with_decider
    for governor in made:
        governor.close()


def policy_of_writes(request: Request) -> Decision:
    """Allow what only reads, ask about the rest: the whole of a small policy engine."""
    if all(effect.kind in (EffectKind.SELECT, EffectKind.FUNCTION) for effect in request.effects):
        return answer(request)
    return answer(request, Verdict.NEEDS_APPROVAL, rule="org.writes", approvers=("dba",), approvals_needed=2)


@flavours
async def test_its_answer_stands_where_the_rules_stand_and_masks_stay(things, govern, name):
    governor = govern(policy_of_writes)
    async with Flavour(name).connect(things, governor=governor, autocommit=True) as conn:
        with acting_as(AGENT):
            # standard blocks calls like this one; the decider has the word
            await do(conn.execute("SELECT pg_backend_pid(), pg_advisory_lock(7)"))
            cursor = await do(conn.execute("SELECT email FROM things WHERE id = 1"))
            assert "canary" not in str(await do(cursor.fetchall()))
            with pytest.raises(errors.MaskedColumnRefused):
                await do(conn.execute("SELECT id FROM things WHERE email = 'canary1@x.test'"))
            with pytest.raises(errors.ApprovalRequired) as asked:
                await do(conn.execute("UPDATE things SET id = id WHERE id = 1"))
    assert asked.value.rule == "org.writes"
    assert asked.value.request.needed == 2
    assert "2 different people of dba" in str(asked.value)
    assert asked.value.decision.policy == governor.policy.version
    assert {who for who, _ in governor.counsel.decider.seen} == {AGENT}
    assert not any(main for _, main in governor.counsel.decider.seen)
    request = governor.counsel.decider.requests[0]
    assert request.policy is governor.policy
    assert request.now is not None
    recorded = [r for r in reader.statements(governor.trail.folder) if "may" in r]
    assert {"org.rule", "org.writes"} <= {r["may"]["rule"] for r in recorded}


def hang(request: Request) -> Decision:
    time.sleep(0.6)
    return answer(request)


def explode(request: Request) -> Decision:
    raise SystemExit("secret of the decider")


def other_statement(request: Request) -> Decision:
    return answer(request, statement=preset("standard") and _OTHER)


_OTHER = Governor.preset("standard").check("SELECT 2").statement

BAD = {
    "raises": (explode, "decider.failed", False),
    "hangs": (hang, "decider.timeout", True),
    "nothing": (lambda r: None, "decider.nonsense", False),
    "a coroutine": (lambda r: asyncio.sleep, "decider.nonsense", False),
    "another statement": (other_statement, "decider.nonsense", False),
    "a verdict in words": (lambda r: answer(r, "allow"), "decider.nonsense", False),
    "no rule": (lambda r: answer(r, rule=" "), "decider.nonsense", False),
    "a cap in words": (lambda r: answer(r, row_cap="5"), "decider.nonsense", False),
    "true for a cap": (lambda r: answer(r, row_cap=True), "decider.nonsense", False),
    "one approver as text": (lambda r: answer(r, approvers="dba"), "decider.nonsense", False),
    "nobody to agree": (lambda r: answer(r, approvals_needed=0), "decider.nonsense", False),
    "no reason": (lambda r: answer(r, reason=None), "decider.nonsense", False),
}


@flavours
@pytest.mark.parametrize("case", BAD)
async def test_a_bad_decider_has_allowed_nothing(server, things, govern, name, case):
    function, rule, retryable = BAD[case]
    governor = govern(function, decider_timeout=0.1 if case == "hangs" else 5.0)
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        before = len(server.statements())
        with pytest.raises(errors.StatementBlocked) as refused:
            await do(conn.execute("SELECT 41 AS marked"))
        with pytest.raises(errors.StatementBlocked):
            await do(conn.cursor().executemany("SELECT %s AS marked", [(1,), (2,)]))
        assert not [s for s in server.statements()[before:] if "marked" in s]
        assert (refused.value.rule, refused.value.retryable) == (rule, retryable)
        assert refused.value.remedy
        assert "secret" not in str(refused.value)
        governor.counsel.decider.function = answer
        assert await do((await do(conn.execute("SELECT 1"))).fetchone()) == (1,)
    refusals = [r for r in reader.statements(governor.trail.folder) if r.get("may", {}).get("rule") == rule]
    assert refusals


@flavours
async def test_what_was_not_understood_is_not_the_deciders_alone(things, govern, name):
    governor = govern()
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(errors.StatementBlocked) as refused:
            await do(conn.execute("SELECT nope FROM things"))
    assert refused.value.rule == "unknown-names"


async def test_the_event_loop_goes_on_while_the_decider_thinks(things, govern):
    gate = threading.Event()

    def slow(request: Request) -> Decision:
        gate.wait(5)
        return answer(request)

    governor = govern(slow, decider_timeout=10)
    turns = 0
    async with Flavour("async").connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        waiting = asyncio.create_task(conn.execute("SELECT 5"))
        while turns < 100:
            await asyncio.sleep(0)
            turns += 1
        assert not waiting.done()
        gate.set()
        assert await (await waiting).fetchone() == (5,)


@pytest.mark.parametrize("piped", [False, True])
async def test_a_cancelled_task_leaves_a_usable_connection(things, govern, piped):
    gate = threading.Event()
    governor = govern(lambda r: gate.wait(5) and answer(r), decider_timeout=10)
    async with Flavour("async").connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:

        async def send() -> None:
            if piped:
                async with conn.pipeline():
                    await conn.execute("SELECT 5")
            else:
                await conn.execute("SELECT 5")

        task = asyncio.create_task(send())
        while not governor.counsel.decider.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        assert await (await conn.execute("SELECT 6")).fetchone() == (6,)
        gc.collect()


@flavours
async def test_deciders_that_hang_do_not_pile_up(things, govern, name, monkeypatch):
    monkeypatch.setattr(decider, "MAX_WORKERS", 2)
    gate = threading.Event()
    governor = govern(lambda r: gate.wait(30) and answer(r), decider_timeout=0.05)
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        for _ in range(5):
            with pytest.raises(errors.StatementBlocked) as refused:
                await do(conn.execute("SELECT 5"))
            assert refused.value.rule == "decider.timeout"
        assert len(governor.counsel.decider.requests) == 2
        asked = governor.counsel.ask(governor.counsel.decider.requests[0])
        assert asked.cancelled()  # at once
        gate.set()
        while governor.counsel._open:
            time.sleep(0.001)
        assert await do((await do(conn.execute("SELECT 6"))).fetchone()) == (6,)


@flavours
async def test_every_path_asks_the_decider(things, govern, name):
    governor = govern(lambda r: answer(r, Verdict.BLOCK, remedy="do not"))
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(errors.StatementBlocked):
            async with within(conn.cursor().copy("COPY things TO STDOUT")):
                pass
        with pytest.raises(errors.StatementBlocked):
            async with within(conn.pipeline()):
                await do(conn.execute("SELECT 1"))
        check = governor.check if name == "sync" else governor.acheck
        assert (await do(check("SELECT 1", identity=AGENT, connection=conn))).rule == "org.rule"
        assert (await do(check("SELECT 1", identity=AGENT))).rule == "org.rule"
    assert {r.identity for r in governor.counsel.decider.requests} == {AGENT}


@flavours
async def test_it_may_ask_for_the_planners_estimate(things, govern, name):
    def by_cost(request: Request) -> Decision:
        if request.estimate is None:
            return answer(request, Verdict.BLOCK, wants_estimate=True)
        return answer(request, Verdict.BLOCK if request.estimate.rows > 10 else Verdict.ALLOW)

    governor = govern(by_cost)
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        await do(conn.execute("SELECT id FROM things WHERE id = %s", (3,)))
        with pytest.raises(errors.StatementBlocked):
            await do(conn.execute("SELECT id FROM things"))


@flavours
async def test_under_observe_it_is_not_asked(things, govern, name):
    governor = govern(explode, policy="observe")
    async with Flavour(name).connect(things, governor=governor, autocommit=True) as conn:
        assert await do((await do(conn.execute("SELECT 1"))).fetchone()) == (1,)
    assert not governor.counsel.decider.requests


def test_what_cannot_decide_is_said_at_once(tmp_path):
    for bad in (object(), lambda r: r):
        with pytest.raises(TypeError, match="decide"):
            Governor.preset("standard", decider=bad, state_dir=tmp_path)
    for seconds in (0, -1, True, "1", 600):
        with pytest.raises(ValueError, match="seconds"):
            Governor.preset("standard", decider=Asked(), decider_timeout=seconds, state_dir=tmp_path)

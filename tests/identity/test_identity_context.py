"""Whose statement it is: acting_as, and where it goes and does not go."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from attrs import evolve

from governed_db import Identity, acting_as, carry
from governed_db.identity import NOBODY, acting, standing
from governed_db.identity.model import MAX_CHAIN, MAX_NAME

ANNA = Identity.human("anna")
BOT = Identity.agent("bot", on_behalf_of=ANNA, session="s", tool_call="c", purpose="p")

free_threaded = getattr(sys.flags, "thread_inherit_context", 0)


def test_blocks_nest_and_end():
    assert acting() is None
    with acting_as(ANNA):
        with acting_as(BOT):
            assert acting() == BOT
        assert acting() == ANNA
    assert acting() is None


def test_only_an_identity_can_act():
    with pytest.raises(TypeError), acting_as("anna"):  # type: ignore[arg-type]
        pass


def test_a_block_that_fails_ends_too():
    with pytest.raises(ZeroDivisionError), acting_as(ANNA):
        raise ZeroDivisionError
    assert acting() is None


@pytest.mark.skipif(free_threaded, reason="this interpreter lets threads inherit the context")
def test_threads_and_executors_start_empty_unless_carried():
    seen = []
    with acting_as(ANNA):
        thread = threading.Thread(target=lambda: seen.append(acting()))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as executor:
            seen.append(executor.submit(acting).result())
            seen.append(executor.submit(carry(acting)).result())
            seen.append(executor.submit(acting).result())
    assert seen == [None, None, ANNA, None]


async def test_it_follows_tasks_and_to_thread_and_not_siblings():
    async def who(identity: Identity) -> Identity | None:
        with acting_as(identity):
            await asyncio.sleep(0.001)
            assert await asyncio.to_thread(acting) == identity
            task = asyncio.create_task(asyncio.sleep(0, result=None))
            await task
            return acting()

    people = [Identity.human(f"p{n}") for n in range(20)]
    assert await asyncio.gather(*map(who, people)) == people
    assert acting() is None


async def test_it_follows_task_groups_and_each_task_has_its_own():
    seen: dict[str, Identity | None] = {}

    async def inner(name: str, own: Identity | None) -> None:
        if own is None:
            await asyncio.sleep(0)
            seen[name] = acting()
            return
        with acting_as(own):
            await asyncio.sleep(0)
            seen[name] = acting()

    with acting_as(ANNA):
        async with asyncio.TaskGroup() as group:
            group.create_task(inner("inherits", None))
            group.create_task(inner("its own", BOT))
        seen["after"] = acting()
        group = None
    async with asyncio.TaskGroup() as group:
        group.create_task(inner("outside", None))
    assert seen == {"inherits": ANNA, "its own": BOT, "after": ANNA, "outside": None}


async def test_callbacks_and_executors_of_a_loop():
    loop = asyncio.get_running_loop()
    seen = []
    done = asyncio.Event()
    with acting_as(ANNA), ThreadPoolExecutor(1) as executor:
        loop.call_soon(lambda: (seen.append(acting()), done.set()))
        await done.wait()
        seen.append(await loop.run_in_executor(executor, carry(acting)))
        if not free_threaded:
            seen.append(await loop.run_in_executor(executor, acting))
    assert seen == [ANNA, ANNA, None][: len(seen)]


def test_carry_takes_who_acts_now_for_many_at_once_and_leaves_nothing_behind():
    with acting_as(ANNA):
        carried = carry(acting)
    nothing = carry(acting)
    with acting_as(BOT):
        assert (carried(), nothing(), acting()) == (ANNA, None, BOT)
    with ThreadPoolExecutor(8) as executor:
        assert set(executor.map(lambda _: carried(), range(100))) == {ANNA}
        assert set(executor.map(lambda _: acting(), range(100))) == {None}

    def fails() -> None:
        raise ZeroDivisionError

    with acting_as(ANNA):
        failing = carry(fails)
    with pytest.raises(ZeroDivisionError):
        failing()
    assert acting() is None


def test_a_generator_that_is_abandoned_inside_of_a_block_takes_it_along():
    def pages():
        with acting_as(ANNA):
            yield acting()
            yield acting()

    # A generator runs in its caller's context: between two values the block is its caller's as well.
    reading = pages()
    assert next(reading) == ANNA
    assert acting() == ANNA
    reading.close()
    assert acting() is None


async def test_an_async_generator_closed_by_another_task_ends_without_an_error():
    async def pages():
        with acting_as(ANNA):
            yield acting()
            yield acting()

    reading = pages()
    assert await asyncio.create_task(anext(reading)) == ANNA
    assert acting() is None  # the block was entered in the task, and stays there
    await asyncio.create_task(reading.aclose())
    assert acting() is None


def test_a_block_left_in_another_context_leaves_nobody_in_either():
    block = acting_as(ANNA)
    entered = contextvars.copy_context()
    entered.run(block.__enter__)
    with acting_as(BOT):
        block.__exit__(None, None, None)
        assert acting() == BOT
    assert acting() is None


def test_blocks_of_generators_end_in_any_order():
    def pages(who):
        with acting_as(who):
            yield
            assert acting() == who

    first, second = pages(ANNA), pages(BOT)
    next(first)
    next(second)
    first.close()
    assert acting() == BOT
    assert list(second) == []
    assert acting() is None


async def test_a_task_that_outlives_the_block_keeps_its_caller():
    async def later() -> Identity | None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return acting()

    with acting_as(ANNA):
        task = asyncio.create_task(later())
    assert acting() is None
    assert await task == ANNA


NEVER = datetime(2999, 1, 1, tzinfo=UTC)


def test_standing_leaves_out_the_token_and_the_session_of_the_protocol():
    verified = Identity(kind="agent", subject="bot", issuer="https://i.example", verified=True)
    now = evolve(verified, expires=NEVER, mcp_session="m-1")
    assert standing(now) == verified
    assert standing(evolve(BOT, on_behalf_of=now)).on_behalf_of == verified


def test_during_adds_what_is_known_of_a_call_and_changes_nobody():
    who = Identity(kind="agent", subject="bot", issuer="https://i.example", verified=True, expires=NEVER)
    during = who.during(session="s", tool_call="c", purpose="why", mcp_session="m")
    assert (during.session, during.tool_call, during.purpose, during.mcp_session) == ("s", "c", "why", "m")
    assert evolve(during, session=None, tool_call=None, purpose=None, mcp_session=None) == who
    assert during.during(tool_call="c-2").session == "s"
    assert who.during() is who


@pytest.mark.parametrize(
    "name", ["a\0b", "a\nb", "\x1b[2J", "a\x7f", "a\x85", "a\u2028b", "\u202eb", "\ud800"]
)
@pytest.mark.parametrize("where", ["subject", "issuer", "group", "principal"])
def test_names_that_would_deceive_a_reader_are_refused(name, where):
    given = {"group": {"groups": [name]}, "principal": {"on_behalf_of": name}}.get(where, {where: name})
    with pytest.raises(ValueError, match=r"holds an invisible or control character at position \d") as caught:
        Identity(**{"kind": "human", **given})
    assert name not in str(caught.value)


def test_names_and_chains_have_an_end():
    assert Identity.human("a" * MAX_NAME)
    for bad in ({"subject": "a" * (MAX_NAME + 1)}, {"issuer": "a" * (MAX_NAME + 1)}):
        with pytest.raises(ValueError, match="longer than"):
            Identity(**{"kind": "human", **bad})
    with pytest.raises(ValueError, match="longer than"):
        Identity.human("anna", groups=["g" * (MAX_NAME + 1)])
    who = Identity.human("0")
    for n in range(1, MAX_CHAIN):
        who = Identity.agent(str(n), on_behalf_of=who)
    with pytest.raises(ValueError, match="acts for at most"):
        Identity.agent("one too many", on_behalf_of=who)


@pytest.mark.parametrize("bad", [{"subject": 7}, {"issuer": None}, {"groups": [7]}])
def test_names_are_text(bad):
    with pytest.raises(TypeError):
        Identity(**{"kind": "human", **bad})


def test_an_expiry_says_in_which_zone():
    with pytest.raises(ValueError, match="time zone"):
        Identity(kind="human", expires=datetime(2999, 1, 1))


@pytest.mark.parametrize("make", [Identity.agent, Identity.human, Identity.service])
@pytest.mark.parametrize("claim", ["verified", "issuer", "expires"])
def test_nobody_vouches_for_itself(make, claim):
    with pytest.raises(TypeError):
        make("x", **{claim: True})
    assert not make("x").verified


def test_standing_leaves_out_what_changes_from_call_to_call():
    assert standing(BOT) == Identity.agent("bot", on_behalf_of=ANNA)
    assert hash(standing(BOT)) == hash(Identity.agent("bot", on_behalf_of=ANNA))


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("agent:sales-copilot", Identity.agent("sales-copilot")),
        ("human:anna:berg", Identity.human("anna:berg")),
        ("service:billing", Identity.service("billing")),
        ("unknown", NOBODY),
    ],
)
def test_parse(text: str, identity: Identity):
    assert Identity.parse(text) == identity


@pytest.mark.parametrize("text", ["", "anna", "agent", "agent:", "root:anna", "AGENT:x"])
def test_parse_refuses_what_says_nothing(text: str):
    with pytest.raises(ValueError, match="kind:subject"):
        Identity.parse(text)


def test_groups_are_names_and_not_letters():
    assert Identity.human("a", groups=("dba",)).groups == {"dba"}
    with pytest.raises(TypeError):
        Identity.human("a", groups="dba")


def test_a_bare_principal_is_not_taken_for_a_person():
    assert Identity.agent("bot", on_behalf_of="u-1").on_behalf_of == Identity(kind="unknown", subject="u-1")
    assert str(Identity.agent("bot", on_behalf_of="u-1")) == "agent:bot for unknown:u-1"

"""Whose statement it is: acting_as, and where it goes and does not go."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from governed_db import Identity, acting_as, carry
from governed_db.identity import NOBODY, acting, standing

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

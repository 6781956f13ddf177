"""Waiting for something else than the server, without holding up an event loop.

psycopg's generators yield to wait for the socket and for nothing else. A generator on an async connection
that has to wait for a future yields a :class:`Pause` instead. :func:`wait` takes it out of the hands of
psycopg's own loop, awaits the future, and goes on where the generator stopped: nothing polls, and no
result of the socket is lost, because nobody reads from it meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from attrs import frozen
from psycopg.abc import PQGen

RV = TypeVar("RV")


@frozen(eq=False)
class Pause:
    """Wait until ``future`` is done, ``seconds`` at most."""

    future: Future[Any]
    seconds: float


@frozen(eq=False)
class _Done:
    value: Any


def _until_pause(gen: Any) -> Any:
    """Go on with ``gen`` up to its next pause, or its end."""
    ready = None
    while True:
        try:
            wanted = gen.send(ready)
        except StopIteration as stop:
            return _Done(stop.value)
        if isinstance(wanted, Pause):
            return wanted
        ready = yield wanted


async def wait(waiter: Callable[[PQGen[Any]], Awaitable[Any]], gen: PQGen[RV]) -> RV:
    """Consume ``gen`` by ``waiter`` (psycopg's), and await its pauses."""
    while True:
        try:
            step = await waiter(_until_pause(gen))
            if isinstance(step, _Done):
                value: RV = step.value
                return value
            await until(step.future, step.seconds)
        except BaseException:
            # A cancelled task leaves nothing waiting behind, and nothing it has set for its statement.
            gen.close()
            raise


async def until(future: Future[Any], seconds: float) -> None:
    """Wait for ``future`` on the running event loop, ``seconds`` at most; never raises what it holds."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    try:
        await asyncio.wait_for(done.wait(), seconds)
    except TimeoutError:
        pass
    except BaseException:
        future.cancel()
        raise

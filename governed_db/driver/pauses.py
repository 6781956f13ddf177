"""Waiting for something else than the server, without holding up an event loop.

psycopg's generators yield to wait for the socket and for nothing else. A generator on an async connection
that has to wait for a future yields a :class:`Pause` instead. :func:`wait` takes it out of the hands of
psycopg's own loop, awaits the future, and goes on where the generator stopped: nothing polls, and no
result of the socket is lost, because nobody reads from it meanwhile.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

from attrs import frozen
from psycopg.abc import PQGen

from governed_db.locks import lock

RV = TypeVar("RV")

WORKERS: Final = 8
"""Threads that wait for stores in the place of event loops. Each question takes milliseconds."""

SECONDS: Final = 60.0
"""What a question may take here; stores have shorter limits of their own."""


@frozen(eq=False)
class Pause:
    """Wait until ``future`` is done, ``seconds`` at most."""

    future: Future[Any]
    seconds: float


class TookTooLong(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """A question had no answer within :data:`SECONDS`."""


_workers: tuple[int, ThreadPoolExecutor] | None = None
_starting: threading.Lock = lock(sys.modules[__name__], "_starting")


def _pool() -> ThreadPoolExecutor:
    global _workers  # noqa: PLW0603 - the process has one, and a child of it another
    with _starting:
        if _workers is None or _workers[0] != os.getpid():
            _workers = os.getpid(), ThreadPoolExecutor(WORKERS, "governed_db-store")
        return _workers[1]


def elsewhere(question: Callable[[], RV], *, blocking: bool) -> PQGen[RV]:
    """Return the answer to a question that is not for the server.

    Args:
        question: what waits.
        blocking: whether to wait here; otherwise a thread does, and the event loop goes on.

    Raises:
        TookTooLong: the thread did not come back.
    """
    if blocking:
        return question()
    # The thread stands in for the caller: who acts, and the span it is in, go along.
    future = _pool().submit(contextvars.copy_context().run, question)
    yield Pause(future, SECONDS)  # type: ignore[misc]  # resumed by wait()
    if not future.done():
        future.cancel()  # what has not begun by now must not happen when nobody waits for it
        raise TookTooLong
    return future.result()


def sleep(seconds: float, *, blocking: bool) -> PQGen[None]:
    """Let some time pass."""
    if blocking:
        time.sleep(seconds)
    else:
        yield Pause(Future(), seconds)  # type: ignore[misc]  # resumed by wait()


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
        # Not wait_for(): before Python 3.12 it loses a cancellation that comes together with the end.
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        pass
    except BaseException:
        future.cancel()
        raise

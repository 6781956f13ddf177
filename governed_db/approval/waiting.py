"""How long a call waits for people where it needs them: said for a block of code, as who asks is."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

_waiting: contextvars.ContextVar[float | None] = contextvars.ContextVar("governed_db_waiting", default=None)


@contextmanager
def wait_for_approval(timeout: float) -> Iterator[None]:
    """Have every call in this block wait up to ``timeout`` seconds for people, where it needs their word.

    A call that is answered in time goes on as if nothing had been; one that is not answered raises
    :exc:`ApprovalRequired`. Outside of a block the policy's ``wait_seconds`` holds. It follows tasks
    as :func:`~governed_db.acting_as` does. While it waits no transaction is open: a call inside of one that
    has begun raises at once.

    Raises:
        ValueError: ``timeout`` is negative.
    """
    if not timeout >= 0:
        raise ValueError("wait_for_approval() takes seconds from 0")
    token = _waiting.set(float(timeout))
    try:
        yield
    finally:
        _waiting.reset(token)


def waits(otherwise: float) -> float:
    """Return how many seconds a call waits here and now; ``otherwise``: what the policy says."""
    said = _waiting.get()
    return otherwise if said is None else said

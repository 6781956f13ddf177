"""Which identity is in force here and now: PEP 567 context, so that it follows asyncio tasks."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from governed_db.identity.model import Identity

P = ParamSpec("P")
R = TypeVar("R")

_acting: contextvars.ContextVar[Identity | None] = contextvars.ContextVar(
    "governed_db_identity", default=None
)


@contextmanager
def acting_as(identity: Identity) -> Iterator[Identity]:
    """Make ``identity`` the caller of every statement in this block, over any connection's own.

    It follows asyncio tasks started in the block and :func:`asyncio.to_thread`. Threads and executors
    start empty; :func:`carry` takes it along.
    """
    if not isinstance(identity, Identity):
        raise TypeError(f"acting_as() takes an Identity, got {type(identity).__name__}")
    token = _acting.set(identity)
    try:
        yield identity
    finally:
        _acting.reset(token)


def acting() -> Identity | None:
    """Return the identity of the innermost :func:`acting_as` block, or ``None`` outside of any."""
    return _acting.get()


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Bind the identity in force now to ``function``, for use in a thread or an executor.

    Unlike :func:`contextvars.copy_context` it takes the identity alone and can run many times at once.
    """
    identity = _acting.get()

    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _acting.set(identity)
        try:
            return function(*args, **kwargs)
        finally:
            _acting.reset(token)

    return carried

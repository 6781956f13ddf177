"""Which identity is in force here and now: PEP 567 context, so that it follows asyncio tasks."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from governed_db.identity.model import Identity

P = ParamSpec("P")
R = TypeVar("R")


class _Block:
    """One acting_as() block, told from others by identity: two may be about the same caller."""

    __slots__ = ("identity",)

    def __init__(self, identity: Identity) -> None:
        self.identity = identity


# The open blocks of this context, the innermost last. No tokens: blocks in generators end in any order, and
# sometimes in another context, where resetting one fails or brings a caller back who is gone.
_blocks: contextvars.ContextVar[tuple[_Block, ...]] = contextvars.ContextVar(
    "governed_db_identity", default=()
)


@contextmanager
def acting_as(identity: Identity) -> Iterator[Identity]:
    """Make ``identity`` the caller of every statement in this block, over any connection's own.

    It follows asyncio tasks started in the block and :func:`asyncio.to_thread`. Threads and executors
    start empty; :func:`carry` takes it along. A generator that yields inside of the block hands the identity
    to whoever iterates over it, until it goes on or is closed: yield outside of it.
    """
    if not isinstance(identity, Identity):
        raise TypeError(f"acting_as() takes an Identity, got {type(identity).__name__}")
    block = _Block(identity)
    _blocks.set((*_blocks.get(), block))
    try:
        yield identity
    finally:
        _blocks.set(tuple(other for other in _blocks.get() if other is not block))


def acting() -> Identity | None:
    """Return the identity of the innermost :func:`acting_as` block, or ``None`` outside of any."""
    blocks = _blocks.get()
    return blocks[-1].identity if blocks else None


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Bind the identity in force now to ``function``, for use in a thread or an executor.

    Unlike :func:`contextvars.copy_context` it takes the identity alone and can run many times at once.
    """
    identity = acting()
    carried_along = () if identity is None else (_Block(identity),)

    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _blocks.set(carried_along)
        try:
            return function(*args, **kwargs)
        finally:
            _blocks.reset(token)

    return carried

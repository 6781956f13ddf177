"""Locks that a fork does not leave locked: a child has none of the threads that would have released them."""

from __future__ import annotations

import os
import threading
from weakref import WeakKeyDictionary

_held: WeakKeyDictionary[object, set[str]] = WeakKeyDictionary()


def lock(owner: object, name: str = "_lock") -> threading.Lock:
    """Return a new lock for the attribute ``name`` of ``owner`` (an object or a module), renewed in a child.

    What the lock guards has to be usable as it was in the middle of a change: counts may be off by one.
    """
    _held.setdefault(owner, set()).add(name)
    return threading.Lock()


def _after_fork_in_child() -> None:
    for owner, names in list(_held.items()):
        for name in names:
            setattr(owner, name, threading.Lock())


os.register_at_fork(after_in_child=_after_fork_in_child)

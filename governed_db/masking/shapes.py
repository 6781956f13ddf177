"""What holds other values keeps its shape: lists, documents, rows, composites, leaf by leaf."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any

from governed_db.masking.names import tokens
from governed_db.masking.words import JSON_KEYS

Leaf = Callable[[Any], Any]
"""From a value that is neither ``None``, an enum, nor a container, to its mask."""


def shaped(value: Any, leaf: Leaf, under: Callable[[str], Leaf | None] | None = None) -> Any:
    """Return ``value`` with each leaf masked. ``None`` stays ``None``; an enum, which has no neutral member
    and may be a str or an int, becomes ``None``. ``under``: how leaves under a key of a document are masked,
    where that is known better.
    """
    if value is None or isinstance(value, Enum):
        return None
    if isinstance(value, list):
        return [shaped(v, leaf, under) for v in value]
    if isinstance(value, dict):
        if under is None:
            return {_key(k, n): shaped(v, leaf) for n, (k, v) in enumerate(value.items(), 1)}
        return {
            _key(k, n): shaped(v, (isinstance(k, str) and under(k)) or leaf, under)
            for n, (k, v) in enumerate(value.items(), 1)
        }
    if isinstance(value, tuple):
        return _row(value, leaf)
    return leaf(value)


def _row(value: tuple[Any, ...], leaf: Leaf) -> Any:
    fields = [shaped(v, leaf) for v in value]
    if type(value) is tuple:
        return tuple(fields)
    # psycopg makes named tuples of registered composites; other subclasses may compute from their items.
    make = getattr(type(value), "_make", None)
    return None if make is None else make(fields)


def _key(key: Any, position: int) -> str:
    """Keep a key that names a field; number one that may itself be data (``{"alice": {...}}``).

    A name of a person looks like an identifier, so looking like one is not enough: every word of the
    key must be one that fields are called by.
    """
    return key if isinstance(key, str) and _names_a_field(key) else f"[KEY {position}]"


@lru_cache(maxsize=4096)
def _names_a_field(key: str) -> bool:
    if len(key) > 64 or not key.isidentifier() or not key.isascii():
        return False
    words = tokens(key)
    # Digits beyond a short counter (line1, address_2) can be a number of somebody.
    return bool(words) and all(w in JSON_KEYS or (w.isdigit() and len(w) == 1) for w in words)

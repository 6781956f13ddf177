"""attrs values as bytes of JSON, and back.

A value is written as the list of its fields, and the names of each class's fields once for all. So fields
that a class got later are read as their defaults, and fields that it does not have any more are passed over.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import orjson

T = TypeVar("T")


def pack(value: Any) -> bytes:
    """Return ``value``, of attrs, as JSON.

    Raises:
        TypeError: something in it has no plain form.
    """
    written: dict[str, tuple[str, ...]] = {}

    def plain(held: Any) -> Any:
        if isinstance(held, frozenset):
            return sorted(held)
        names, getter = _fields(type(held))  # type: ignore[arg-type]  # a class is hashable
        written[type(held).__name__] = names
        return getter(held)

    content = orjson.dumps(value, default=plain, option=orjson.OPT_NON_STR_KEYS)
    return b'{"fields":%b,"value":%b}' % (orjson.dumps(written), content)


def unpack(kind: type[T], packed: bytes) -> T:
    """Return the ``kind`` that :func:`pack` made ``packed`` of.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it did not.
    """
    stored = orjson.loads(packed)
    value: T = _Reader(stored["fields"]).of(kind)(stored["value"])
    return value


@cache
def _fields(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    if not attrs.has(kind):
        raise TypeError(f"no plain form is known for {kind.__name__}")
    names = tuple(a.name for a in attrs.fields(kind) if a.init)
    getter = attrgetter(*names)
    return names, getter if len(names) > 1 else lambda held: (getter(held),)


class _Reader:
    """Makes, for each type, what reads its plain form; ``written`` has the fields as they were written."""

    def __init__(self, written: Mapping[str, Sequence[str]]) -> None:
        self.written = written
        self.made: dict[Any, Callable[[Any], Any]] = {}

    def of(self, hint: Any) -> Callable[[Any], Any]:
        found = self.made.get(hint)
        if found is None:
            found = self.made[hint] = self._make(hint)
        return found

    def _make(self, hint: Any) -> Callable[[Any], Any]:
        origin, arguments = get_origin(hint), get_args(hint)
        if isinstance(hint, type) and hint in _SCALARS:
            return _scalar(hint)
        if isinstance(hint, type) and attrs.has(hint):
            return self._attrs(hint)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return hint
        if origin in (Union, types.UnionType):
            (inner,) = (self.of(a) for a in arguments if a is not type(None))
            return lambda plain: None if plain is None else inner(plain)
        if origin is tuple and arguments[1:] == (...,):
            item = self.of(arguments[0])
            return lambda plain: tuple([item(each) for each in plain])
        if origin is frozenset:
            item = self.of(arguments[0])
            return lambda plain: frozenset([item(each) for each in plain])
        if isinstance(origin, type) and issubclass(origin, Mapping):
            # JSON has no numbers for keys.
            key, item = int if arguments[0] is int else self.of(arguments[0]), self.of(arguments[1])
            return lambda plain: {key(k): item(v) for k, v in plain.items()}
        raise TypeError(f"values of {hint} cannot be read")

    def _attrs(self, kind: Any) -> Callable[[Any], Any]:
        names = self.written.get(kind.__name__, ())
        hints = get_type_hints(kind)
        fields = {a.name: a.alias or a.name for a in attrs.fields(kind) if a.init}
        readers = [(place, fields[n], self.of(hints[n])) for place, n in enumerate(names) if n in fields]
        width = len(names)

        def read(plain: Any) -> Any:
            if not isinstance(plain, list) or len(plain) != width:
                raise TypeError(f"this is no {kind.__name__}")
            return kind(**{name: reader(plain[place]) for place, name, reader in readers})

        return read


_SCALARS = (str, int, bool, float)


def _scalar(kind: type) -> Callable[[Any], Any]:
    def read(plain: Any) -> Any:
        if not isinstance(plain, kind):
            raise TypeError(f"expected {kind.__name__}, found {type(plain).__name__}")
        return plain

    return read

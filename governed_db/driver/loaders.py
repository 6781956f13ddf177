"""Loaders that mask: psycopg turns a result into Python, and the raw value never leaves this module.

A masked column gets a loader of its own under a synthetic OID above 2**32, where PostgreSQL, whose OIDs
have 32 bits, can never put a type. :meth:`psycopg.adapt.Transformer.set_loader_types` installs it, so
rows stay at psycopg's own speed and every row factory gets masked values only.

Two things this module must never do: subclass a C loader (the C transformer calls its C function and
ignores an overriding ``load``), and call ``register_loader`` on a cursor's map (that copies the map and
makes the cursor start over with a transformer that does not mask).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from functools import cache
from types import MethodType
from typing import Any, Final

import psycopg
from psycopg import postgres, pq
from psycopg.abc import AdaptContext, Buffer, Loader, Transformer
from psycopg.adapt import AdaptersMap
from psycopg.adapt import Loader as BaseLoader
from psycopg.adapt import Transformer as _Transformer
from psycopg.types import TypesRegistry

from governed_db.locks import lock
from governed_db.masking.keys import Keyring
from governed_db.masking.model import KEYED, ColumnMask, Strategy, Treatment
from governed_db.masking.neutral import TEXT_OIDS, WIRE
from governed_db.masking.transforms import DEPENDS, constant, mask_value
from governed_db.masking.wire import FromWire, Quicker, from_wire

SYNTHETIC: Final = 2**32
"""The first OID that no PostgreSQL type can have (``Oid`` is an unsigned 32-bit integer)."""

_UNKNOWN: Final = 0  # InvalidOid: psycopg keeps the loader of types it does not know under it

_Key = tuple[Treatment, str, int, int, str, pq.Format, type[Loader] | None]
_entries: dict[_Key, tuple[int, type[Loader]]] = {}
_lock = lock(sys.modules[__name__])


def masking_loader(mask: ColumnMask, base: type[Loader], keys: Keyring | None = None) -> type[Loader]:
    """Return a loader class that yields the masked value of what ``base`` would load.

    ``mask.type_oid`` is the type of the values; the class has the format of ``base``. Where every value
    gets the same mask, psycopg's own loader is not called at all. A loader that the application registered is
    given the mask to load instead of the value, for text and wherever every value gets the same mask; what
    it cannot load is ``None`` then. For other types and strategies it sees the value, inside this process.

    The loader raises :class:`psycopg.DataError` where ``base`` raises anything over a value, without the
    value, the error of ``base`` or a frame that holds either.
    """
    return _entry(mask, mask.type_oid, base.format, base, keys)[1]


def install(
    tx: Transformer,
    adapters: AdaptersMap,
    result_types: Sequence[int],
    format: pq.Format,
    masks: Sequence[ColumnMask],
    keys: Keyring | None = None,
) -> None:
    """Make ``tx`` load the columns of ``masks`` masked, and the others as ``adapters`` says.

    Call it after each ``Transformer.set_pgresult`` that sets loaders, and before a row is loaded.

    Args:
        tx: the cursor's transformer, C or Python.
        adapters: the map ``tx`` was made with: the cursor's.
        result_types: the type OID of each column of the result, as libpq reports it.
        format: the format of the result.
        masks: at most one for each column.
        keys: for the strategies that need one; without it they redact.

    Raises:
        psycopg.InterfaceError: a mask is for no column of this result, or two are for the same one.
            No loader is installed then: the result must be thrown away.
    """
    if not masks:
        return
    format = pq.Format(format)
    types = list(result_types)
    loaders = adapters._loaders[format]
    for mask in masks:
        if not 0 <= mask.index < len(types) or types[mask.index] >= SYNTHETIC:
            raise psycopg.InterfaceError(
                f"the mask of {mask.name} is for column {mask.index} of a result of {len(types)}"
                " which it does not have or which is masked already"
            )
        real = types[mask.index]
        base = adapters.get_loader(real, format) or adapters.get_loader(_UNKNOWN, format)
        if base is None:
            raise psycopg.InterfaceError(f"no loader for type {real}, masked as {mask.label}")
        oid, loader = _entry(mask, real, format, base, keys)
        # The dict may be shared with other cursors' maps. An entry means the same in all of them, so
        # adding it in place is safe and saves each cursor a copy of the whole map.
        if loaders.get(oid) is not loader:
            loaders[oid] = loader
        types[mask.index] = oid
    tx.set_loader_types(types, format)


def _entry(
    mask: ColumnMask, oid: int, format: pq.Format, base: type[Loader], keys: Keyring | None
) -> tuple[int, type[Loader]]:
    treatment, label, max_length = mask.treatment, mask.label, mask.max_length
    fingerprint = "" if keys is None or mask.strategy not in KEYED else keys.fingerprint
    whole = (treatment, label, max_length, oid, fingerprint, format)
    own = treatment.strategy is Strategy.NULLIFY or _reference().get_loader(oid, format) is base
    # Constants do not depend on the base, so that bases made anew for each connection do not add up.
    if (found := _entries.get((*whole, base)) or (_entries.get((*whole, None)) if own else None)) is not None:
        return found
    value = constant(treatment, label, oid, keys=keys, max_length=max_length)
    key: _Key = (*whole, None if own and value is not DEPENDS else base)
    if value is not DEPENDS and own:
        loader = _constant(value, label, format)
    elif value is not DEPENDS:
        # The connection loads this type as something else than psycopg's own.
        wire = value.encode() if isinstance(value, str) else WIRE[oid][format]
        loader = _loading(lambda _: wire, oid, label, base)
    else:
        masked = mask_value(treatment, label, oid, keys=keys, max_length=max_length)
        if own or oid not in TEXT_OIDS:
            binary = format == pq.Format.BINARY
            quickly = from_wire(treatment, label, oid, keys, max_length, binary=binary) if own else None
            loader = _transforming(masked, oid, label, base, quickly)
        else:
            loader = _loading(masked, oid, label, base)
    with _lock:
        return _entries.setdefault(key, (SYNTHETIC + len(_entries), loader))


@cache
def _reference() -> AdaptersMap:
    """Return psycopg's own choice of loaders, whatever was registered globally since."""
    context = AdaptersMap(types=TypesRegistry())
    postgres.register_default_types(context.types)
    postgres.register_default_adapters(context)
    return context


def _constant(value: Any, label: str, format: pq.Format) -> type[Loader]:
    # next() bound to an endless repeat() ignores its argument as its default and enters no Python frame:
    # 25 ns a value where a lambda takes 40 (CPython 3.11).
    forget: Callable[[Buffer], Any] = MethodType(next, itertools.repeat(value))
    wire = format

    class ConstantLoader(BaseLoader):
        format = wire

        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            answer = forget
            # psycopg loads text as bytes where the client encoding is SQL_ASCII.
            if isinstance(value, str) and _Transformer.from_context(context).encoding == "ascii":
                answer = MethodType(next, itertools.repeat(value.encode()))
            # In the instance, over the method: called without binding a method for each value.
            vars(self)["load"] = answer

        def load(self, data: Buffer) -> Any:
            raise NotImplementedError  # never seen: __init__ covers it

    ConstantLoader.__qualname__ = ConstantLoader.__name__ = f"Masked[{label}]"
    return ConstantLoader


def _transforming(
    masked: Callable[[Any], Any],
    type_oid: int,
    label: str,
    base: type[Loader],
    quickly: Quicker | None,
) -> type[Loader]:
    """Return a loader that masks what ``base`` loads, or the bytes themselves where that is possible."""
    wire = base.format

    class MaskingLoader(BaseLoader):
        format = wire

        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            load = _guarded(base(type_oid, context).load, masked, label)
            if quickly is not None and _Transformer.from_context(context).encoding == "utf-8":
                load = quickly(load)
            vars(self)["load"] = load  # over the method: as in ConstantLoader

        def load(self, data: Buffer) -> Any:
            raise NotImplementedError  # never seen: __init__ covers it

    MaskingLoader.__qualname__ = MaskingLoader.__name__ = f"Masking[{label}]"
    return MaskingLoader


def _guarded(load: Callable[[Buffer], Any], masked: Callable[[Any], Any], label: str) -> FromWire:
    def guarded(data: Buffer) -> Any:
        try:
            return masked(load(data))
        except Exception:  # noqa: S110 - whatever a loader of the application raises; answered below
            pass
        # Raised outside of any except block, so that no __context__ leads to the error of the base,
        # whose text and frames hold the value (UnicodeDecodeError.object, JSONDecodeError.doc).
        del data
        raise psycopg.DataError(f"a value masked as {label} could not be loaded")

    return guarded


def _loading(
    masked: Callable[[str], str | bytes], type_oid: int, label: str, base: type[Loader]
) -> type[Loader]:
    """Return a loader that has the application's ``base`` load masks: it never sees a value.

    ``masked`` makes, of a text, the mask as text, or as bytes the way PostgreSQL would send it.
    """
    wire = base.format

    class LoadingLoader(BaseLoader):
        format = wire

        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            encoding = _Transformer.from_context(context).encoding
            encoding = "utf-8" if encoding == "ascii" else encoding  # psycopg's name for "not known"

            def decoded(data: Buffer) -> str:
                return str(bytes(data), encoding, "surrogateescape")

            self._mask = _guarded(decoded, masked, label)
            self._encoding = encoding
            self._base = base(type_oid, context)

        def load(self, data: Buffer) -> Any:
            mask = self._mask(data)
            del data
            if isinstance(mask, str):
                mask = mask.encode(self._encoding, "surrogateescape")
            try:
                return self._base.load(mask)
            except Exception:
                return None  # it loads values of the application's own kind, and a mask is none

    LoadingLoader.__qualname__ = LoadingLoader.__name__ = f"Masking[{label}]"
    return LoadingLoader


def _check() -> None:
    """Refuse to load where AdaptersMap does not keep its loaders the way :func:`install` relies on."""
    probe = AdaptersMap()
    loaders = getattr(probe, "_loaders", None)
    if not (isinstance(loaders, list) and [type(m) for m in loaders] == [dict, dict]):
        raise ImportError("psycopg's AdaptersMap has changed: masks could not be installed")


_check()

"""What an approval is bound to, as one digest: change any of it and nobody has agreed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import attrs

from governed_db.catalog.bound import Bound
from governed_db.catalog.model import Catalog
from governed_db.identity.model import Identity


def bind(
    text: bytes,
    params: Iterable[bytes | bytearray | memoryview | None],
    types: Iterable[int],
    requester: Identity,
    policy: str,
    standing: Iterable[str],
    *,
    formats: Sequence[int] = (),
    definitions: bytes = b"",
    binds: str = "statement",
    order: Sequence[int] = (),
) -> bytes:
    """Digest what an approval holds for.

    The tool call, the session and the purpose of the requester are left out: an agent that asks again after
    the approval does so in another tool call.

    Args:
        text: the bytes that would be sent.
        params, types, formats: the values bound, their types, and how they are written (0: text).
        requester: who asks, and on whose behalf.
        policy: the version of the policy that asked.
        standing: where, and what names mean there: server, database, role, search path, settings.
        definitions: of what the statement touches (:func:`definitions`).
        binds: "statement" or "effect".
        order: of an executemany with several texts or types of values: which of them each execution has.
    """
    digest = hashlib.sha256(b"governed_db approval v1\n")

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)

    add(text)
    for value in params:
        # A NULL and an empty string must not digest alike.
        add(b"-" if value is None else b"+" + bytes(value))
    add(",".join(map(str, types)).encode())
    add(",".join(str(int(f)) for f in formats).encode() if any(formats) else b"")
    principal: Identity | None = requester
    while principal is not None:
        # What is verified today and claimed tomorrow is not the same caller.
        verified = "verified" if principal.verified else "claimed"
        for part in (principal.kind, principal.issuer, principal.subject, verified):
            add(part.encode())
        principal = principal.on_behalf_of
    add(policy.encode())
    add(definitions)
    add(binds.encode())
    add(",".join(map(str, order)).encode())
    for name in standing:
        add(name.encode())
    return digest.digest()


def definitions(bound: Bound | None, catalog: Catalog | None) -> bytes:
    """Digest the definitions of what a statement touches: relations, functions, types, keys that point there.

    A column that is added, a trigger that is changed, a view that is made anew: people agreed to something
    else. What the statement does not touch may change.
    """
    if bound is None:
        return b""
    digest = hashlib.sha256()
    oids = {use.relation.oid for use in bound.relations}
    parts: list[Any] = [
        [(use.relation, use.access, use.within, use.via) for use in bound.relations],
        [(use.candidates, use.vetted, use.reaches) for use in bound.functions],
        bound.effects,
        bound.complete,
        bound.incomplete_because,
    ]
    if catalog is not None:
        parts.append([key for key in catalog.foreign_keys if oids & {key.relation, key.referenced}])
        reached = {oid for use in bound.functions for oid in use.reaches}
        parts.append(sorted(reached))
        columns = {c.type_oid for use in bound.relations for c in use.relation.columns}
        parts.append([catalog.types[oid] for oid in sorted(columns) if oid in catalog.types])
    for part in parts:
        _feed(digest, part)
    return digest.digest()


def _feed(digest: Any, value: Any) -> None:
    """Put ``value`` into ``digest``, one way of writing it whatever the order in which sets are walked."""
    if attrs.has(type(value)):
        digest.update(b"(" + type(value).__name__.encode())
        for attribute in attrs.fields(type(value)):
            if attribute.init:
                _feed(digest, getattr(value, attribute.name))
        digest.update(b")")
    elif isinstance(value, Enum):
        digest.update(b"e" + str(value.value).encode() + b";")
    elif isinstance(value, frozenset | set):
        digest.update(b"{")
        for item in sorted(_digest(each) for each in value):
            digest.update(item)
        digest.update(b"}")
    elif isinstance(value, dict):
        _feed(digest, frozenset((k, _digest(v)) for k, v in value.items()))
    elif isinstance(value, list | tuple):
        digest.update(b"[")
        for each in value:
            _feed(digest, each)
        digest.update(b"]")
    else:
        text = repr(value).encode("utf-8", "backslashreplace")
        digest.update(b"%s%d:" % (type(value).__name__.encode(), len(text)) + text)


def _digest(value: Any) -> bytes:
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.digest()

"""What of a statement's values is on record: nothing, keyed digests, or the values themselves, encrypted.

The journal never holds a value in the clear. A digest answers "was this value used?" for whoever has the key
and a guess, and nothing else: equal values have equal digests, whatever their type and wherever they stand.
Against whoever has the key it protects nothing that can be guessed: telephone numbers are. What is encrypted
can be read, and run again, for as long as its key exists.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Callable, Iterator
from hashlib import blake2s
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import field, frozen

from governed_db.audit.record import dump
from governed_db.run import Call
from governed_db.statement import Statement

if TYPE_CHECKING:
    from psycopg.abc import Buffer

MAX_VALUES: Final = 1000
"""Values of one statement that are on record: a digest takes some 35 bytes, and a record at most 256 KiB."""

MAX_SEALED: Final = 64 << 10
"""Bytes that are encrypted for one statement, a quarter of the largest record. What is longer is left out."""

DIGEST_SIZE: Final = 16
"""Bytes of a digest: two values out of 2 ** 32 have the same one with a probability of 2 ** -65."""

_INTEGERS: Final = frozenset({20, 21, 23, 26})  # int8, int2, int4, oid (pg_type.dat)
_BOOL, _UUID = 16, 2950


class Values(Protocol):
    """Makes the section ``values`` of records."""

    def fixed(self, statement: Statement | None) -> list[str | None]:
        """Return what the section says of a statement's text, the same for each of its runs."""

    def section(self, call: Call, fixed: list[str | None], who: str) -> dict[str, Any] | None:
        """Return the section for a call of ``who``, ``None`` where there is nothing to say.

        Raises:
            AuditUnavailable: there is no key.
        """


@frozen
class Digests:
    """Puts digests of values on record.

    Attributes:
        name: tells one key from another, and nothing of it.
    """

    name: str
    _key: bytes = field(repr=False)

    def digest(self, value: Buffer) -> str:
        """Return the digest of a value: of the text that PostgreSQL has for it."""
        return blake2s(value, key=self._key, digest_size=DIGEST_SIZE).hexdigest()

    def fixed(self, statement: Statement | None) -> list[str | None]:
        """Return the digests of the constants in a statement's text, in their order."""
        return [None if value is None else self.digest(value) for value in constants(statement)]

    def section(self, call: Call, fixed: list[str | None], who: str) -> dict[str, Any] | None:
        """Return the digests of a call's parameters, and those of the constants in its text."""
        del who  # one key for all: who used a value is what the digests are to tell
        if not (call.params or fixed):
            return None
        out: dict[str, Any] = {"key": self.name}
        said = 0
        if call.params:
            digest = self.digest
            out["parameters"] = [
                None if value is None else digest(value) for value in given(call, MAX_VALUES)
            ]
            said = len(out["parameters"])
        if fixed:
            out["constants"] = fixed[:MAX_VALUES]
        return _with_left_out(out, call, said, len(fixed) - MAX_VALUES)


@frozen
class Sealed:
    """Puts text and values on record, encrypted: AES-256-GCM (NIST SP 800-38D), random nonces of 96 bits.

    One key serves one caller for one month, far below the 2 ** 32 messages that such nonces allow. Its name
    is the associated data, so that what one key sealed cannot be passed off as another's.

    Args:
        key: returns name and secret of the key for a caller, at this moment.
    """

    key: Callable[[str], tuple[str, bytes]] = field(repr=False)

    def fixed(self, statement: Statement | None) -> list[str | None]:
        """Return nothing: the text is encrypted with each call."""
        del statement
        return []

    def section(self, call: Call, fixed: list[str | None], who: str) -> dict[str, Any] | None:
        """Return text and values of a call, encrypted."""
        del fixed
        name, secret = self.key(who)
        values = [
            None if v is None else bytes(v).decode("utf-8", "backslashreplace")
            for v in given(call, MAX_VALUES)
        ]
        text = call.text.decode("utf-8", "backslashreplace")
        plain = dump({"text": text, "types": call.types, "parameters": values})
        if len(plain) > MAX_SEALED:
            return {"key": name, "too_long": len(plain)}
        return _with_left_out({"key": name, "sealed": seal(secret, name, plain)}, call, len(values), 0)


def seal(secret: bytes, name: str, plain: bytes) -> str:
    """Return ``plain`` encrypted: nonce and ciphertext, in base64."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - loaded where it is used

    nonce = os.urandom(12)
    return base64.b64encode(nonce + AESGCM(secret).encrypt(nonce, plain, name.encode())).decode()


def opened(secret: bytes, name: str, sealed: str) -> bytes:
    """Return what :func:`seal` encrypted.

    Raises:
        ValueError: it was not sealed with this key, or was changed.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    try:
        data = base64.b64decode(sealed, validate=True)
        return AESGCM(secret).decrypt(data[:12], data[12:], name.encode())
    except (InvalidTag, ValueError):
        raise ValueError(f"it was not sealed with the key {name}, or was changed") from None


def given(call: Call, most: int) -> list[Buffer | None]:
    """Return the first values of a call's parameters, as PostgreSQL's text where they were sent in binary."""
    values = list((call.params or ())[:most])
    formats = call.formats
    if formats and any(formats):
        width = len(call.types)
        for at, (value, binary) in enumerate(zip(values, formats, strict=False)):
            if binary and value is not None:
                values[at] = as_text(value, call.types[at % width] if width else 0)
    return values


def _with_left_out(out: dict[str, Any], call: Call, said: int, more: int) -> dict[str, Any]:
    left_out = len(call.params or ()) - said + max(more, 0)
    return out | {"left_out": left_out} if left_out else out


def as_text(value: Buffer, oid: int) -> bytes:
    """Return a value that was sent in binary as the text that PostgreSQL has for it, where that is simple."""
    data = bytes(value)
    if oid in _INTEGERS:
        return str(int.from_bytes(data, "big", signed=oid != 26)).encode()
    if oid == _BOOL:
        return b"t" if data == b"\1" else b"f"
    if oid == _UUID and len(data) == 16:
        return str(uuid.UUID(bytes=data)).encode()
    return data


def constants(statement: Statement | None) -> Iterator[bytes | None]:
    """Yield the constants in a statement's text, in their order."""
    if statement is None:
        return
    found: list[tuple[int, bytes | None]] = []
    waiting: list[Any] = list(statement.tree)
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            constant = node.get("A_Const")
            if isinstance(constant, dict):
                found.append((constant.get("location", 0), _constant(constant)))
            else:
                waiting.extend(node.values())
        elif isinstance(node, list | tuple):
            waiting.extend(node)
    for _, value in sorted(found, key=lambda each: each[0]):
        yield value


def _constant(node: dict[str, Any]) -> bytes | None:
    # libpg_query leaves out what is zero, false or empty.
    if "isnull" in node:
        return None
    if "ival" in node:
        return str(node["ival"].get("ival", 0)).encode()
    if "boolval" in node:
        return b"t" if node["boolval"].get("boolval") else b"f"
    for kind in ("sval", "fval", "bsval"):
        if kind in node:
            return str(node[kind].get(kind, "")).encode("utf-8", "backslashreplace")
    return b""

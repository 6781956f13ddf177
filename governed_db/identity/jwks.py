"""An issuer's keys (RFC 7517), and the signatures that they check. PyJWT and cryptography do the work."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from governed_db.identity.compact import strict_json
from governed_db.identity.issuer import FAMILIES

if TYPE_CHECKING:
    from jwt import PyJWK

MAX_SET: Final = 512 * 1024
"""Bytes of a set of keys. Entra's, with a chain of certificates for each key, have some 20,000."""

MAX_KEYS: Final = 200
"""Keys of a set that are looked at. Issuers have a handful; a bundle one for each authority."""

MIN_RSA: Final = 2048
"""Bits of an RSA key (RFC 7518, section 3.3)."""

MAX_TRIED: Final = 8
"""Keys that are tried on a token that does not say which one has signed it."""


@define(eq=False)
class Key:
    """One public key. ``algorithm`` is the only one it is for, "" where the set does not say."""

    id: str
    kind: str
    curve: str
    algorithm: str
    jwk: Mapping[str, Any] = field(repr=False)
    _ready: dict[str, PyJWK] = field(factory=dict, repr=False, init=False)

    def fits(self, algorithm: str) -> bool:
        """Return whether signatures of ``algorithm`` are made with keys like this one."""
        kind, curves = FAMILIES[algorithm]
        # RFC 9864 calls EdDSA by its curves; "alg" of a key may do so already.
        own = "EdDSA" if self.algorithm in ("Ed25519", "Ed448") else self.algorithm
        return self.kind == kind and self.curve in curves and own in ("", algorithm)

    def signed(self, text: str, algorithm: str) -> bool:
        """Return whether this key has signed a token with ``algorithm``, which :meth:`fits`."""
        from jwt import PyJWK, PyJWS  # noqa: PLC0415 - cryptography is loaded when the first token comes
        from jwt.exceptions import PyJWTError  # noqa: PLC0415 - the same

        try:
            ready = self._ready.get(algorithm)
            if ready is None:
                ready = self._ready[algorithm] = PyJWK(dict(self.jwk), algorithm)
            PyJWS().decode_complete(
                text,
                ready,
                algorithms=[algorithm],
                options={"verify_signature": True, "enforce_minimum_key_length": True},
            )
        except (PyJWTError, ValueError, TypeError):
            # What cryptography cannot read is a ValueError, and no signature.
            return False
        return True


@define(eq=False)
class Keys:
    """The keys of one issuer, as they were at one moment."""

    keys: tuple[Key, ...]

    def named(self, key_id: str | None) -> tuple[Key, ...]:
        """Return the keys that a token can mean; all, where it names none."""
        return self.keys if key_id is None else tuple(k for k in self.keys if k.id == key_id)


def read(data: bytes, uses: tuple[str, ...]) -> Keys:
    """Read a set of keys; those that sign no tokens are passed over.

    Args:
        data: the document.
        uses: which ``use`` is for tokens, "" where a key says none.

    Raises:
        ValueError: it is none, or too large. The message quotes nothing of it.
    """
    if len(data) > MAX_SET:
        raise ValueError(f"its set of keys is larger than {MAX_SET} bytes")
    try:
        document = strict_json(data)
    except ValueError as error:
        raise ValueError(f"its set of keys {error}") from None
    return of(document, uses)


def of(document: Any, uses: tuple[str, ...]) -> Keys:
    """Do what :func:`read` does with a document that is read already.

    Raises:
        ValueError: it is no set of keys.
    """
    entries = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(entries, list | tuple):
        raise ValueError("its set of keys has no list 'keys'")
    if len(entries) > MAX_KEYS:
        raise ValueError(f"its set has more than {MAX_KEYS} keys")
    return Keys(tuple(key for entry in entries if (key := _key(entry, uses)) is not None))


def _key(entry: Any, uses: tuple[str, ...]) -> Key | None:
    if not isinstance(entry, Mapping):
        return None
    named = {name: entry.get(name, "") for name in ("kid", "kty", "crv", "alg", "use")}
    if not all(isinstance(value, str) for value in named.values()):
        return None
    operations = entry.get("key_ops", ("verify",))
    if named["use"] not in uses or not isinstance(operations, list | tuple) or "verify" not in operations:
        return None
    # Who publishes a private key has let everybody sign.
    if named["kty"] not in ("RSA", "EC", "OKP") or "d" in entry:
        return None
    if named["kty"] == "RSA" and _bits(entry.get("n")) < MIN_RSA:
        return None
    curve = "" if named["kty"] == "RSA" else named["crv"]
    return Key(named["kid"], named["kty"], curve, named["alg"], entry)


def _bits(modulus: Any) -> int:
    try:
        found = base64.urlsafe_b64decode(f"{modulus}{'=' * (-len(modulus) % 4)}")
    except (TypeError, ValueError, binascii.Error):
        return 0
    return int.from_bytes(found).bit_length()

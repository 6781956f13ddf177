"""Tokens: a value that a caller may carry and give back, and cannot read.

AES-SIV (RFC 5297) with a 512-bit key derived for the class: deterministic, so that equal values of one class
have equal tokens, and authenticated, so that nobody makes a token up, changes one, or passes a token of one
class or key version for one of another (both are associated data). A token tells how long the value is,
and whether two values are equal; nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from governed_db.masking.keys import Keyring

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

PREFIX: Final = "tok_"
PURPOSE: Final = "token"

_TOKEN: Final = re.compile(r"tok_([A-Z][A-Z0-9_]*)_([1-9][0-9]{0,5})_((?:[0-9a-f]{2}){16,})", re.IGNORECASE)
_KEY_BYTES: Final = 64  # AES-256-SIV: two keys of 32


class UnknownToken(ValueError):  # noqa: N818 - named for what is the case, as all errors here
    """A token that was not issued under these keys for this class. The message holds nothing of it."""


def issue(keys: Keyring, label: str, text: str) -> str:
    """Return the token for ``text`` under the current version of the keys."""
    return issuer(keys, label)(text)


def issuer(keys: Keyring, label: str) -> Callable[[str], str]:
    """Return the function that issues tokens of one class."""
    issue_bytes = byte_issuer(keys, label)
    return lambda text: issue_bytes(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=256)  # classes, a few dozen
def byte_issuer(keys: Keyring, label: str) -> Callable[[bytes], str]:
    """Return the function that issues tokens of one class for text in UTF-8."""
    version = keys.current
    encrypt = _cipher(keys, label, version).encrypt
    head = f"{PREFIX}{label}_{version}_"
    bound = _bound(label, version)

    def token(text: bytes) -> str:
        return head + encrypt(text, bound).hex()

    return token


def resolve(keys: Keyring, label: str, token: str) -> str:
    """Return the text that ``token`` stands for. White space around it does not count, nor does case.

    Raises:
        UnknownToken: it is no token, one of another class or of another keyring, or was changed.
    """
    # Imported when the first token comes in: most processes never see one.
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415

    found = _TOKEN.fullmatch(token.strip())
    if found is None:
        raise UnknownToken("this is not a token")
    version = int(found[2])
    if found[1].upper() != label:
        raise UnknownToken(f"the token is not one of {label}")
    if version not in keys.versions:
        raise UnknownToken(f"the token was made with version {version} of the keys, which is not here")
    try:
        decrypted = _cipher(keys, label, version).decrypt(bytes.fromhex(found[3]), _bound(label, version))
        return decrypted.decode("utf-8", "surrogatepass")
    except (InvalidTag, ValueError):
        pass
    # Outside of the except block: no __context__ leads to frames that hold the token.
    raise UnknownToken(f"the token is not one that these keys made for {label}")


def _bound(label: str, version: int) -> list[bytes]:
    return [label.encode(), str(version).encode()]


@lru_cache(maxsize=256)  # classes times versions, a few dozen
def _cipher(keys: Keyring, label: str, version: int) -> AESSIV:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # noqa: PLC0415 - as in resolve()

    return AESSIV(keys.key(PURPOSE, label, version, _KEY_BYTES))

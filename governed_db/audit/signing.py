"""The key that signs checkpoints: Ed25519, from the environment, a file, or a service that keeps it to
itself.

The first of: a :class:`Signer` given in code (a KMS or an HSM: :meth:`Signer.by`), GOVERNED_DB_AUDIT_KEY (a
private key in PEM, or its 32 bytes in base64), the file ``audit.key`` in the state folder (PKCS #8 in PEM,
mode 0600), which the first of all processes makes.

No repr, message or log has a private key. The library is loaded where it is used: importing it takes 30 ms.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from governed_db import private
from governed_db.note import VerifierKey, decode64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VARIABLE = "GOVERNED_DB_AUDIT_KEY"
FILE = "audit.key"

_SEED_SIZE = 32


class KeyUnusable(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """There is no key to sign with.

    Attributes:
        remedy: what would help.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@frozen
class Signer:
    """Something that signs, and the public key that its signatures hold under."""

    public: bytes
    sign: Callable[[bytes], bytes] = field(repr=False, eq=False)

    @classmethod
    def by(cls, public: bytes, sign: Callable[[bytes], bytes]) -> Signer:
        """Return a signer that asks ``sign``, as of a key management service, for a signature of 64 bytes.

        ``public`` has the 32 bytes of the Ed25519 public key. Every signature is verified before it is used.
        """
        return cls(public, sign)

    def named(self, name: str) -> VerifierKey:
        """Return the public key under ``name``, the log's origin."""
        return VerifierKey(name, self.public)


def find(state: Path) -> Signer:
    """Return the signer of the environment, else that of ``audit.key`` in ``state``, made if it is not there.

    Raises:
        KeyUnusable: what is there is no key, or others can read it, or none can be made.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return _signer(_given(given))
    path = state / FILE
    try:
        return of_file(path)
    except FileNotFoundError:
        make(path)
        return of_file(path)


def existing(state: Path) -> Signer | None:
    """Return what :func:`find` would, ``None`` where there is no key: none is made.

    Raises:
        KeyUnusable: what is there is no key, or others can read it.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return _signer(_given(given))
    try:
        return of_file(state / FILE)
    except FileNotFoundError:
        return None


def of_file(path: Path, what: str = "the key that signs the trail") -> Signer:
    """Return the signer with the private key in ``path``; ``what`` it is, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        KeyUnusable: it holds no Ed25519 key in PEM, cannot be read, or others can read it.
    """
    try:
        data = private.read(path, 4096)
    except FileNotFoundError:
        if os.path.islink(path):  # one that leads nowhere; a file may have been made just now
            raise KeyUnusable(
                f"{path} is no regular file", remedy="move it away; if it was a key, bring that back"
            ) from None
        raise
    except private.NotPrivate as error:
        raise KeyUnusable(
            f"{error} ({what})",
            remedy=f"give it to this user alone (chmod 600 {path}), and rotate it: others may have read it",
        ) from None
    except OSError as error:
        raise KeyUnusable(
            f"{path} cannot be read: {error.strerror}", remedy="make it readable for this user"
        ) from error
    return _signer(_pem(data, str(path)))


def make(path: Path) -> None:
    """Write a new key to ``path``, which appears whole or not at all. One that is there stays.

    Raises:
        KeyUnusable: it cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        private.make(path, pem)
    except OSError as error:
        raise KeyUnusable(
            f"The signing key {path} cannot be made: {error.strerror}",
            remedy=f"make {path.parent} writable for this user, or give the key in {VARIABLE}",
        ) from error


def _given(text: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    if "-----BEGIN" in text:
        return _pem(text.encode(), VARIABLE)
    try:
        seed = decode64(text.strip())
    except ValueError:
        seed = b""
    if len(seed) != _SEED_SIZE:
        raise KeyUnusable(
            f"{VARIABLE} holds no Ed25519 key", remedy="give it in PEM, or its 32 bytes in base64"
        )
    return Ed25519PrivateKey.from_private_bytes(seed)


def _pem(data: bytes, where: str) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        # From nothing: the library's error may quote what it could not read.
        raise KeyUnusable(
            f"{where} holds no Ed25519 private key in PEM without a passphrase",
            remedy="openssl genpkey -algorithm ed25519 makes one",
        ) from None
    return key


def _signer(key: Ed25519PrivateKey) -> Signer:
    return Signer(key.public_key().public_bytes_raw(), key.sign)

"""What approvers and authorities sign with: Ed25519 keys in private files.

A file holds the key alone. Under which name it signs is the policy's to say: it names the public key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from governed_db.approval.answer import ApproverKey
from governed_db.audit.signing import KeyUnusable, Signer, make, of_file
from governed_db.note import VerifierKey, speakable

if TYPE_CHECKING:
    from governed_db.approval.people import People

__all__ = ["KeyUnusable", "make", "new", "read", "unnamed"]

_WHAT = "the key that signs answers"


def new(name: str) -> ApproverKey:
    """Return a new key that signs as ``name`` and lives in this process alone.

    Raises:
        ValueError: it cannot be a key's name: empty, or with spaces or plus signs.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - loaded where it is used
        Ed25519PrivateKey,
    )

    if not speakable(name):
        raise ValueError("a key's name has no spaces and no plus signs")
    key = Ed25519PrivateKey.generate()
    return ApproverKey(VerifierKey(name, key.public_key().public_bytes_raw()), key.sign)


def unnamed(path: Path) -> Signer:
    """Return the key in ``path``, whoever's it is.

    Raises:
        FileNotFoundError: there is no such file.
        KeyUnusable: it holds no key, or others can read it.
    """
    return of_file(path, _WHAT)


def read(path: Path, people: People, policy: str = "") -> ApproverKey:
    """Return the key in ``path`` under the name that the policy has for it.

    Args:
        path: the private key.
        people: those whom the policy names.
        policy: the policy's name, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        KeyUnusable: it holds no key, others can read it, or the policy does not name it.
    """
    signer = of_file(path, _WHAT)
    for key in people.keys:
        if key.public == signer.public:
            return ApproverKey(key, signer.sign)
    raise KeyUnusable(
        f"the policy{policy and f' {policy}'} names nobody whose key {path} is",
        remedy="put the key into the policy that callers go by: [[approver]] subject, groups, keys"
        " (governed-db approvals key prints it); where that is another file, name it with --policy or"
        " GOVERNED_DB_CONFIG",
    )

"""The keys that values are on record under: files of their own, so that destroying one is enough.

``values.key`` in the state folder is for digests. ``values/<month>-<caller>.key`` is what one caller's values
of one month are encrypted with; ``<caller>`` is a digest of who they are. To forget a person, or a month, is
to destroy such files: records, hashes and signatures stay as they are, and nobody can read what they held.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import blake2s
from pathlib import Path
from typing import Final

from attrs import define, field

from governed_db import private
from governed_db.audit.values import Digests, Sealed, Values
from governed_db.errors import AuditUnavailable

DIGEST_FILE: Final = "values.key"
FOLDER: Final = "values"

_SECRET: Final = 32
_MOST: Final = 4096
_RULE: Final = "audit.values"


def find(mode: str, state: Path) -> Values | None:
    """Return what puts values on record in this mode: "none", "digest" or "encrypted".

    Raises:
        AuditUnavailable: there is no key, and none can be made.
    """
    if mode == "digest":
        return digests(state)
    if mode == "encrypted":
        return Sealed(Keys(state / FOLDER).current)
    return None


def digests(state: Path) -> Digests:
    """Return what makes digests under the key in ``state``, which is made where there is none.

    Raises:
        AuditUnavailable: the key cannot be used or made.
    """
    secret = _secret(state / DIGEST_FILE)
    # A name that says whether two records are under the same key.
    return Digests(blake2s(b"name", key=secret, digest_size=4).hexdigest(), secret)


def caller_name(who: str) -> str:
    """Return what a caller is called in names of keys: a digest, because a name is personal as well."""
    return blake2s(who.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


@define(eq=False)
class Keys:
    """The keys that values are encrypted with. Safe with threads and many processes."""

    folder: Path
    clock: Callable[[], float] = time.time
    _held: dict[str, bytes] = field(factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def current(self, who: str) -> tuple[str, bytes]:
        """Return name and secret of the key for a caller at this moment, made where there is none.

        Raises:
            AuditUnavailable: the key cannot be used or made.
        """
        month = time.strftime("%Y-%m", time.gmtime(self.clock()))
        name = f"{month}-{caller_name(who)}"
        secret = self._held.get(name)
        # A destroyed key must not live on in a process: one look at the file for each statement.
        if secret is None or not (self.folder / f"{name}.key").exists():
            with self._lock:
                secret = _secret(self.folder / f"{name}.key")
                # Those of months that are over are forgotten.
                self._held = {k: v for k, v in self._held.items() if k.startswith(month)} | {name: secret}
        return name, secret

    def named(self, name: str) -> bytes | None:
        """Return the key of that name, ``None`` where it was destroyed.

        Raises:
            AuditUnavailable: it is there and cannot be used.
        """
        path = self.folder / f"{name}.key"
        if not path.name.removesuffix(".key").replace("-", "").isalnum():
            return None  # a name out of a record must not lead elsewhere
        return _secret(path) if path.exists() else None

    def destroy(self, *, who: str | None = None, month: str | None = None) -> Iterator[str]:
        """Destroy the keys of a caller, of a month, or of a caller in a month; yield their names.

        Overwritten, then removed. A file system with snapshots, and a backup, have copies of their own.

        Raises:
            ValueError: neither is given: that would be every key.
            OSError: a file cannot be removed.
        """
        if who is None and month is None:
            raise ValueError("name a caller or a month")
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.key")):
            name = path.name.removesuffix(".key")
            if (who is None or name.endswith(f"-{caller_name(who)}")) and (
                month is None or name.startswith(f"{month}-")
            ):
                with contextlib.suppress(FileNotFoundError):
                    with path.open("r+b") as file:
                        file.write(bytes(os.fstat(file.fileno()).st_size))
                        file.flush()
                        os.fsync(file.fileno())
                    path.unlink()
                    yield name


def _secret(path: Path) -> bytes:
    """Return the secret in ``path``, made if it is not there."""
    try:
        try:
            data = private.read(path, _MOST)
        except FileNotFoundError:
            private.make(path, base64.b64encode(secrets.token_bytes(_SECRET)) + b"\n")
            data = private.read(path, _MOST)
        secret = base64.b64decode(data.strip(), validate=True)
    except (OSError, private.NotPrivate, binascii.Error) as error:
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise AuditUnavailable(
            f"The key {path} for values on record cannot be used: {why} [rule {_RULE}]. The statement was not"
            " sent.",
            rule=_RULE,
            remedy=f'make {path.parent} writable for this user alone, or set [audit] values = "none"',
        ) from None
    if len(secret) != _SECRET:
        raise AuditUnavailable(
            f"The key {path} for values on record has not {_SECRET} bytes [rule {_RULE}]. The statement was"
            " not sent.",
            rule=_RULE,
            remedy="bring the file back from a copy, or move it away: a new one is made",
        )
    return secret

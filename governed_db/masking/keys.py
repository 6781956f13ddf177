"""Keys for masks that need one: numbered versions, and a key of its own for each purpose and class.

A keyring holds secrets of at least 32 bytes, numbered from 1. The highest number is used for new masks; the
others still resolve tokens that were handed out under them. What encrypts or hashes is never a secret itself
but derived from it (HKDF-SHA256, RFC 5869) for one purpose ("pseudonym", "token", ...) and one class
("EMAIL_ADDRESS"): what one class gives away says nothing of another, and equal values of one class have equal
masks wherever they stand.

A keyring comes from a file that only its owner can read, from the environment, or from a callable that asks
a key service. All three give the same text, ``VERSION:BASE64`` separated by white space, with comments from
``#`` to the end of a line; a callable may give a mapping of numbers to bytes instead.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from governed_db.errors import PolicyError

VARIABLE: Final = "GOVERNED_DB_MASKING_KEYS"
"""The environment variable with the keys themselves, where the policy names no file."""

SECRET_BYTES: Final = 32
"""Bytes that a secret has at least: as many as HKDF-SHA256 puts out, so that it is never the weaker part."""

MAX_VERSION: Final = 999_999
"""The highest number of a version: it stands in each pseudonym and token, which should stay short."""

MAX_FILE_BYTES: Final = 64 * 1024
"""More is no file of keys: a version takes some 50 bytes."""

TIMEOUT: Final = 10.0
"""Seconds that a callable may take: more than a key service needs, less than an operator waits."""

KeySource = Callable[[], "Mapping[int, bytes] | str | Keyring"]


class Keyring:
    """Versions of a secret, and the keys derived from them. Immutable; shows and pickles none of them.

    Args:
        secrets: by version, from 1.

    Raises:
        PolicyError: there are none, a number is out of range, or a secret is shorter than
            :data:`SECRET_BYTES`.
    """

    __slots__ = ("_derive", "current", "fingerprint", "versions")

    _derive: Callable[[int, str, str, int], bytes]
    current: int
    """The version for new masks: the highest."""
    versions: tuple[int, ...]
    fingerprint: str
    """Names this keyring without telling of its secrets: derived from all of them."""

    def __init__(self, secrets: Mapping[int, bytes]) -> None:
        held = _checked(secrets)
        known: dict[tuple[int, str, str, int], bytes] = {}

        # In a closure: nothing that walks over the attributes of an object comes by the secrets.
        def derive(version: int, purpose: str, label: str, length: int) -> bytes:
            asked = (version, purpose, label, length)
            if (key := known.get(asked)) is None:
                key = known[asked] = _hkdf(held[version], purpose, label, length)
            return key

        set_ = super().__setattr__
        set_("_derive", derive)
        set_("versions", tuple(sorted(held)))
        set_("current", max(held))
        set_("fingerprint", "+".join(f"{v}:{derive(v, 'fingerprint', '', 16).hex()}" for v in self.versions))

    def key(self, purpose: str, label: str, version: int | None = None, length: int = 32) -> bytes:
        """Return the key for one purpose and one class; of :attr:`current` where no version is asked for.

        Raises:
            KeyError: there is no such version.
        """
        return self._derive(self.current if version is None else version, purpose, label, length)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a keyring does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a keyring does not change")

    def __repr__(self) -> str:
        return f"<Keyring of {len(self.versions)} versions, current {self.current}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a keyring is not pickled: its secrets would leave the process")


def of_text(text: str, where: str) -> Keyring:
    """Return the keyring that ``text`` writes out.

    Raises:
        PolicyError: it cannot be read; the message names ``where`` and the line, never what it says.
    """
    found: dict[int, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        for entry in line.partition("#")[0].split():
            version, _, encoded = entry.partition(":")
            secret = _decoded(encoded)
            numbered = version.isascii() and version.isdigit() and len(version) <= len(str(MAX_VERSION))
            if not numbered or secret is None or int(version) in found:
                raise PolicyError(
                    f"{where}, line {number}: not a key that can be used",
                    rule="masking.keys",
                    remedy="each version is written once, as VERSION:BASE64",
                )
            found[int(version)] = secret
    return _named(where, found)


def of_file(path: Path) -> Keyring:
    """Return the keyring in ``path``.

    Raises:
        PolicyError: it cannot be read, others can read or change it, or it holds no keys.
    """
    try:
        # O_NONBLOCK: a FIFO at that place must not hang the start. Checked through the descriptor, because
        # a name can be moved in between.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PolicyError(
            f"the file of masking keys {path} cannot be read: {error.strerror}",
            rule="masking.keys",
            remedy=f"make it readable for this user, or make one: governed-db keys new {path}",
        ) from None
    text = raw.decode("ascii", "replace")
    if len(raw) > MAX_FILE_BYTES:
        raise PolicyError(f"{path} is too large for a file of masking keys", rule="masking.keys")
    return of_text(text, str(path))


def of_environment() -> Keyring | None:
    """Return the keyring that :data:`VARIABLE` holds, ``None`` where it is not set.

    Raises:
        PolicyError: it is set and cannot be used.
    """
    text = os.environ.get(VARIABLE)
    return None if text is None else of_text(text, VARIABLE)


def of_callable(source: KeySource, timeout: float = TIMEOUT) -> Keyring:
    """Return the keyring that ``source`` gives, asked in a thread of its own.

    Raises:
        PolicyError: it raises, takes longer than ``timeout`` seconds, or gives no keys. What it raised is
            named by its class alone: a message of a key service can hold a key.
    """
    answer: list[Any] = []
    failed: list[str] = []

    def ask() -> None:
        try:
            answer.append(source())
        except BaseException as error:  # whatever ends the thread has to be told of
            failed.append(type(error).__name__)

    # A daemon: a service that never answers must not keep the process from ending.
    thread = threading.Thread(target=ask, name="governed_db keys", daemon=True)
    thread.start()
    thread.join(timeout)
    if not answer:
        what = f"raised {failed[0]}" if failed else f"gave no answer within {timeout:g} s"
        raise PolicyError(
            f"the source of masking keys {what}",
            rule="masking.keys",
            remedy="let it answer: without keys nothing that needs one is masked, so nothing is started",
            retryable=True,
        )
    given = answer[0]
    where = "the source of masking keys"
    if isinstance(given, Keyring):
        return given
    return of_text(given, where) if isinstance(given, str) else _named(where, given)


def find(given: Keyring | KeySource | None, path: Path | None) -> Keyring | None:
    """Return the keyring of a process, ``None`` where nobody names one.

    Args:
        given: what the application's code gives: a keyring, or what asks a key service for one. It wins.
        path: the file that the policy names. Where there is neither, the environment is looked at.

    Raises:
        PolicyError: what is named cannot be used. Nothing falls back to the next.
    """
    if isinstance(given, Keyring):
        return given
    try:
        if given is not None:
            return of_callable(given)
        return of_environment() if path is None else of_file(path)
    except PolicyError as error:
        failed = error
    # Without the frames that read the keys: what reports errors with local variables would report secrets.
    failed.__context__ = None
    raise failed.with_traceback(None)


def new_secret() -> bytes:
    """Return a new secret from the operating system's generator."""
    return secrets.token_bytes(SECRET_BYTES)


def written(version: int, secret: bytes) -> str:
    """Return the line that :func:`of_text` reads."""
    return f"{version}:{base64.b64encode(secret).decode()}\n"


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _named(where: str, held: Any) -> Keyring:
    try:
        return Keyring(held)
    except PolicyError as error:
        raise PolicyError(f"{where}: {error}", rule=error.rule, remedy=error.remedy) from None


def _checked(secrets: Any) -> dict[int, bytes]:
    remedy = "make one with: governed-db keys new FILE"
    if not isinstance(secrets, Mapping) or not secrets:
        raise PolicyError("there are no masking keys", rule="masking.keys", remedy=remedy)
    for version, secret in secrets.items():
        if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= MAX_VERSION:
            raise PolicyError(
                f"versions of masking keys are numbers from 1 to {MAX_VERSION}", rule="masking.keys"
            )
        if not isinstance(secret, bytes) or len(secret) < SECRET_BYTES:
            raise PolicyError(
                f"version {version} of the masking keys has less than {SECRET_BYTES} bytes",
                rule="masking.keys",
                remedy=remedy,
            )
        if len(set(secret)) == 1:
            raise PolicyError(
                f"version {version} of the masking keys is one byte over and over, which anybody can guess",
                rule="masking.keys",
                remedy=remedy,
            )
    return dict(secrets)


def _hkdf(secret: bytes, purpose: str, label: str, length: int) -> bytes:
    # Imported when the first key is asked for: most processes mask without one.
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    # A newline is in neither of them, so that no two pairs have the same info.
    info = f"governed_db masking\n{purpose}\n{label}".encode()
    return HKDF(SHA256(), length, salt=None, info=info).derive(secret)


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PolicyError(f"the file of masking keys {path} is not a regular file", rule="masking.keys")
    if os.name != "posix":  # elsewhere the mode bits say nothing about who may read
        return
    if status.st_uid != os.geteuid():
        raise PolicyError(
            f"the file of masking keys {path} belongs to another user",
            rule="masking.keys",
            remedy=f"make it this user's own: chown {os.geteuid()} {path}",
        )
    if status.st_mode & 0o077:
        raise PolicyError(
            f"the file of masking keys {path} can be read or changed by other users"
            f" (mode {stat.S_IMODE(status.st_mode):04o})",
            rule="masking.keys",
            remedy=f"chmod 600 {path}; if others may have read it, rotate: governed-db keys rotate {path}",
        )

"""A token as text: JWS in compact form (RFC 7515, section 7.1) taken apart, strictly; nothing is believed."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from attrs import field, frozen

from governed_db.identity.refused import refused

MAX_TOKEN = 16 * 1024
"""Characters of a token. Entra's with 200 groups have some 10,000; servers cut headers off at 8 to 16 KiB."""

_PART = re.compile(r"[A-Za-z0-9_-]*")
_SIGNED, _ENCRYPTED = 3, 5
_SHOWN = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")


@frozen(kw_only=True)
class Compact:
    """What a token says, whether it is true or not.

    Attributes:
        text: the token.
        header, claims: what it holds.
        key_id: ``kid`` of the header, ``None`` where it names none.
    """

    text: str = field(repr=False)
    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    key_id: str | None = field(repr=False)

    @property
    def shown_key(self) -> str:
        """The key it names, as far as it can be put into records: nobody vouches for it yet."""
        return shown(self.key_id)


def shown(name: object) -> str:
    """Return a name out of a token or a set of keys as records may hold it, "" where they may not."""
    return name if isinstance(name, str) and _SHOWN.fullmatch(name) else ""


def read(token: str | bytes) -> Compact:
    """Take a token apart.

    Raises:
        TokenRefused: it is not one, is too long, or is encrypted.
        TypeError: ``token`` is neither text nor bytes.
    """
    if not isinstance(token, str | bytes):
        raise TypeError(f"a token is text, not {type(token).__name__}")
    if len(token) > MAX_TOKEN:
        raise refused(
            "oversized",
            f"the token has {len(token)} characters, and at most {MAX_TOKEN} are read",
            "have the issuer put less into it, groups above all",
        )
    text = token.decode("latin-1") if isinstance(token, bytes) else token
    parts = text.split(".")
    if len(parts) == _ENCRYPTED and all(map(_PART.fullmatch, parts)):
        raise refused(
            "encrypted",
            "the token is encrypted, and has to be signed",
            "decrypt it, or have the issuer sign tokens without encrypting them",
        )
    if len(parts) != _SIGNED:
        malformed("it is not three parts with dots between them")
    header = _object(_decoded(parts[0], "header"), "header")
    if header.get("alg") != "none":  # whose refusal says more than that the signature is missing
        _decoded(parts[2], "signature")
    claims = _object(_decoded(parts[1], "payload"), "payload")
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        malformed("'kid' of its header is no text")
    return Compact(text=text, header=header, claims=claims, key_id=key_id)


def malformed(why: str) -> NoReturn:
    """Refuse a token that is none.

    Raises:
        TokenRefused: always.
    """
    raise refused(
        "malformed", f"the token cannot be read: {why}", "hand over the token alone, as the issuer gave it"
    )


def _decoded(part: str, name: str) -> bytes:
    # Only the one spelling that the issuer signed: base64 has others for the same bytes.
    if not _PART.fullmatch(part):
        malformed(f"its {name} is not base64url without padding")
    try:
        found = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        malformed(f"its {name} is not base64url")
    if base64.urlsafe_b64encode(found).rstrip(b"=") != part.encode():
        malformed(f"its {name} is not base64url as it has to be written")
    return found


def _object(data: bytes, name: str) -> Mapping[str, Any]:
    try:
        found = strict_json(data)
    except ValueError as error:
        malformed(f"its {name} {error}")
    if not isinstance(found, dict):
        malformed(f"its {name} is no JSON object")
    return found


def strict_json(data: bytes) -> Any:
    """Read JSON that two readers cannot read differently: no key twice in an object, no NaN, UTF-8.

    Raises:
        ValueError: it is something else; the message quotes nothing of it.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except _Twice:
        why = "names a key twice"
    except (ValueError, RecursionError):
        why = "is not JSON"
    # Not inside of the handlers: their errors hold the document, and would hang on this one.
    raise ValueError(why)


class _Twice(Exception):  # noqa: N818 - never leaves this module
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError

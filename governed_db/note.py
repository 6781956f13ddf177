"""Signed notes: text, a blank line, and a line for each signature (C2SP signed-note, Ed25519 alone)::

    trail.example/3f0c
    1024
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — trail.example/3f0c Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe...

A key is known by its name and four bytes of a hash of itself; as text it is ``name+id+base64``, a *vkey*.
Lines of keys that are not known, as of witnesses that signed as well, are kept and say nothing. A line of a
known key that does not hold makes the whole note bad.

Format: https://c2sp.org/signed-note. Whatever it does not allow is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Self

from attrs import field, frozen

MAX_NOTE = 64 << 10
"""Bytes of a note. The format asks for room for 16 signatures, of which post-quantum ones take 5 kB in
base64."""

MAX_SIGNATURES = 64
"""Signatures of a note: the log's, two where a key is changed, and witnesses'. The format asks for 16."""

ED25519 = 1
"""The signature type byte of Ed25519 signatures over a note's text."""

SIGNATURE_SIZE = 64
PUBLIC_SIZE = 32

_LINE = re.compile(r"\u2014 ([^ ]+) ([A-Za-z0-9+/]+={0,2})")
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")


class BadNote(ValueError):  # noqa: N818 - named for what has happened, as the errors of the package are
    """It is no note, or no key that is known has signed it, or a signature does not hold. The text says
    which."""


@frozen
class VerifierKey:
    """A public key with the name that its signatures carry."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell this key from others of the same name."""
        return sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.public).digest()[:4]

    @property
    def text(self) -> str:
        """The key as a vkey."""
        return f"{self.name}+{self.id.hex()}+{encode64(bytes([ED25519]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a vkey.

        Raises:
            ValueError: it is none, or not one of Ed25519.
        """
        match = _VKEY.fullmatch(text)
        if match is None or not speakable(match[1]):
            raise ValueError("a verifier key is written NAME+ID+BASE64")
        material = decode64(match[3])
        if len(material) != 1 + PUBLIC_SIZE or material[0] != ED25519:
            raise ValueError("the verifier key is not one of Ed25519")
        key = cls(match[1], material[1:])
        if key.id.hex() != match[2]:
            raise ValueError("the verifier key's ID does not belong to its name and key: a letter is wrong")
        return key

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` is this key's over ``message``."""
        # Loaded where it is used: it costs an import of 30 ms.
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PublicKey,
        )

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@frozen
class Signature:
    """One line of signature: whose, by name and id, and its bytes."""

    name: str
    id: bytes
    data: bytes = field(repr=False)

    @property
    def line(self) -> str:
        """The line, without its end."""
        return f"\u2014 {self.name} {encode64(self.id + self.data)}"


@frozen
class Note:
    """A text, which ends with a line break, and the signatures under it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a note; nothing is verified.

        Raises:
            BadNote: it is none.
        """
        if len(data) > MAX_NOTE:
            raise BadNote(f"a note has at most {MAX_NOTE} bytes")
        try:
            whole = data.decode()
        except UnicodeDecodeError:
            raise BadNote("it is not UTF-8") from None
        if any(c < " " and c != "\n" for c in whole):
            raise BadNote("it holds control characters")
        text, blank, below = whole.rpartition("\n\n")
        if not blank or not below.endswith("\n") or not text:
            raise BadNote("there is no blank line with signatures under it")
        lines = below[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise BadNote(f"a note has at most {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(_signature(line) for line in lines))

    def dump(self) -> bytes:
        """Return the note's bytes."""
        lines = "".join(f"{signature.line}\n" for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()

    def signers(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Return those of ``keys`` that signed; none where no line is of a known key.

        Raises:
            BadNote: a line carries a known key's name and id, and does not hold.
        """
        known = {(key.name, key.id): key for key in keys}
        found: dict[VerifierKey, None] = {}
        message = self.text.encode()
        for signature in self.signatures:
            key = known.get((signature.name, signature.id))
            if key is None:
                continue
            if not key.holds(signature.data, message):
                raise BadNote(f"the signature of {key.name}+{key.id.hex()} does not hold")
            found[key] = None
        return tuple(found)


def sign(text: str, *signers: tuple[VerifierKey, Callable[[bytes], bytes]]) -> Note:
    """Return ``text`` as a note with a signature by each of ``signers``: a key, and what signs with it.

    Raises:
        BadNote: the text cannot be a note's, or what a signer returned does not hold under its key.
    """
    message = text.encode()
    made = []
    for key, signer in signers:
        data = signer(message)
        if len(data) != SIGNATURE_SIZE or not key.holds(data, message):
            raise BadNote(f"what was to sign for {key.name}+{key.id.hex()} returned no signature of that key")
        made.append(Signature(key.name, key.id, data))
    note = Note(text, tuple(made))
    if Note.parse(note.dump()) != note:
        raise BadNote("the text cannot be a note's")
    return note


def speakable(name: str) -> bool:
    """Whether ``name`` can be a key's name, or a log's: not empty, without spaces, plus and control
    characters."""
    return bool(name) and not any(c.isspace() or c == "+" or c < " " for c in name)


def encode64(data: bytes) -> str:
    """Return ``data`` in base64."""
    return base64.b64encode(data).decode()


def decode64(text: str) -> bytes:
    """Return what ``text`` says in base64.

    Raises:
        ValueError: it is not base64 as :func:`encode64` writes it, so that no two texts say the same.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("it is not base64") from None
    if encode64(data) != text:
        raise ValueError("it is not base64 as it has to be written")
    return data


def _signature(line: str) -> Signature:
    match = _LINE.fullmatch(line)
    if match is None or not speakable(match[1]):
        raise BadNote("a line under the text is no signature")
    try:
        data = decode64(match[2])
    except ValueError as error:
        raise BadNote(f"a signature cannot be read: {error}") from None
    if len(data) <= 4:
        raise BadNote("a signature is too short")
    return Signature(match[1], data[:4], data[4:])

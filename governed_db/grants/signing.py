"""Grants and revocations as signed notes: text that stands wherever it is kept.

As with answers (:mod:`governed_db.approval.answer`), who may write to the store can lose a note, and cannot
make one or change one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

import orjson
from attrs import field, frozen

from governed_db.approval.answer import ApproverKey
from governed_db.approval.request import moment, plain_identity, read_identity
from governed_db.grants.model import MAX_BECAUSE, TITLE, Grant
from governed_db.identity.model import Identity
from governed_db.note import BadNote, Note, VerifierKey, sign

_REVOKED: Final = "governed_db grant revocation v1"


@frozen(kw_only=True)
class Revocation:
    """The end of a grant before its time.

    Attributes:
        grant: the id of the grant.
        until: when the grant would have ended; kept no longer than that.
        at: when it was revoked.
        because: why.
        by: who revokes it.
    """

    grant: str
    until: datetime
    at: datetime
    because: str = ""
    by: Identity

    @property
    def id(self) -> str:
        """Names it in the store."""
        return f"rvk_{sha256(self.text().encode()).hexdigest()[:24]}"

    def text(self) -> str:
        """Return what is signed."""
        body = {
            "grant": self.grant,
            "until": self.until.astimezone(UTC).isoformat(),
            "at": self.at.astimezone(UTC).isoformat(),
            "because": self.because,
            "by": plain_identity(self.by),
        }
        return f"{_REVOKED}\n{orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()}\n"

    @classmethod
    def read(cls, body: str) -> Revocation:
        """Read the second line of :meth:`text`.

        Raises:
            ValueError, KeyError, TypeError, AttributeError, OverflowError: it is not that.
        """
        data = orjson.loads(body)
        words = {name: data[name] for name in ("grant", "because")}
        if not all(isinstance(word, str) for word in words.values()) or len(words["because"]) > MAX_BECAUSE:
            raise TypeError("not a text")
        read = cls(until=moment(data["until"]), at=moment(data["at"]), by=read_identity(data["by"]), **words)
        if read.text() != f"{_REVOKED}\n{body}\n":
            raise ValueError("it is not written as revocations are")
        return read


@frozen
class Signed:
    """A grant or a revocation with its signature. ``note`` is the whole of it, as it is kept."""

    said: Grant | Revocation
    note: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The id of what is signed."""
        return self.said.id

    def signer(self, keys: tuple[VerifierKey, ...]) -> VerifierKey | None:
        """Return which of ``keys`` has signed it; ``None`` where none has."""
        try:
            signers = Note.parse(self.note).signers(keys)
        except BadNote:
            return None
        return signers[0] if signers else None


def sign_grant(said: Grant | Revocation, key: ApproverKey) -> Signed:
    """Sign a grant or a revocation.

    Raises:
        governed_db.note.BadNote: the key does not sign, or there is more text than a note holds.
    """
    return Signed(said, sign(said.text(), (key.public, key.sign)).dump())


def read_note(note: bytes) -> Signed:
    """Read a grant or a revocation as it is kept; no signature is verified.

    Raises:
        ValueError: it is neither.
    """
    try:
        title, body, end = Note.parse(bytes(note)).text.split("\n")
        if end or title not in (TITLE, _REVOKED):
            raise ValueError("it is no grant")
        said: Grant | Revocation = Grant.read(body) if title == TITLE else Revocation.read(body)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise ValueError("it cannot be read as a grant") from None
    return Signed(said, bytes(note))

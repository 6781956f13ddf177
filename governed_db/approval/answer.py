"""Somebody's yes or no to one request, signed: text that stands wherever it is kept.

An answer is a signed note (C2SP signed-note, Ed25519; :mod:`governed_db.note`) about the request's
seal, so that it holds for everything the person was shown and for nothing else. Who may write to the store
can lose an answer, and cannot make one, change one, or move it to another request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import orjson
from attrs import field, frozen

from governed_db.approval.request import ApprovalRequest, moment, plain_identity, read_identity
from governed_db.identity.model import Identity
from governed_db.note import BadNote, Note, VerifierKey, sign

_TITLE: Final = "governed_db approval answer v1"

MAX_REASON: Final = 2000
"""Characters of a reason; it is on record with each answer."""


@frozen(kw_only=True)
class Answer:
    """A yes or no.

    Attributes:
        request: the id of the request.
        seal: of the request as it was shown (:meth:`ApprovalRequest.seal`).
        granted: yes, or no.
        by: who answers.
        reason: why, in their words.
        answered, expires: when, and until when it holds, in UTC.
    """

    request: str
    seal: str
    granted: bool
    by: Identity
    reason: str = ""
    answered: datetime
    expires: datetime

    def text(self) -> str:
        """Return what is signed."""
        body = {
            "request": self.request,
            "seal": self.seal,
            "granted": self.granted,
            "by": plain_identity(self.by),
            "reason": self.reason,
            "answered": self.answered.astimezone(UTC).isoformat(),
            "expires": self.expires.astimezone(UTC).isoformat(),
        }
        # Escaped, a reason is one line whatever it holds.
        return f"{_TITLE}\n{orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()}\n"


@frozen
class ApproverKey:
    """What somebody signs with: the public key under its name, and what makes signatures."""

    public: VerifierKey
    sign: Callable[[bytes], bytes] = field(repr=False, eq=False)


@frozen
class SignedAnswer:
    """An answer with its signature. ``note`` is the whole of it, as it is kept."""

    answer: Answer
    note: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Names it among the answers to a request."""
        return sha256(self.note).hexdigest()[:16]

    def signer(self, keys: tuple[VerifierKey, ...]) -> VerifierKey | None:
        """Return which of ``keys`` has signed it; ``None`` where none has."""
        try:
            signers = Note.parse(self.note).signers(keys)
        except BadNote:
            return None
        return signers[0] if signers else None


def sign_answer(
    request: ApprovalRequest,
    key: ApproverKey,
    *,
    by: Identity,
    granted: bool,
    reason: str = "",
    now: datetime | None = None,
) -> SignedAnswer:
    """Answer ``request`` with ``key``.

    Raises:
        ValueError: the reason is too long.
        governed_db.note.BadNote: the key does not sign.
    """
    if len(reason) > MAX_REASON:
        raise ValueError(f"a reason has at most {MAX_REASON} characters")
    now = now or datetime.now(UTC)
    answer = Answer(
        request=request.id,
        seal=request.seal(),
        granted=granted,
        by=by,
        reason=reason,
        answered=now,
        expires=now + timedelta(seconds=request.question.valid_seconds),
    )
    return SignedAnswer(answer, sign(answer.text(), (key.public, key.sign)).dump())


def read_answer(note: bytes) -> SignedAnswer:
    """Read an answer as it is kept; no signature is verified.

    Raises:
        ValueError: it is none.
    """
    try:
        title, body, end = Note.parse(bytes(note)).text.split("\n")
        if title != _TITLE or end:
            raise ValueError("it is no answer")
        answer = _read(orjson.loads(body))
        # One way of writing it: what is signed is what was read.
        if answer.text() != f"{title}\n{body}\n":
            raise ValueError("it is not written as answers are")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise ValueError("the answer cannot be read") from None
    return SignedAnswer(answer, bytes(note))


def _read(data: Mapping[str, Any]) -> Answer:
    if not isinstance(data["granted"], bool):
        raise TypeError("neither yes nor no")
    return Answer(
        request=str(data["request"]),
        seal=str(data["seal"]),
        granted=data["granted"],
        by=read_identity(data["by"]),
        reason=str(data["reason"]),
        answered=moment(data["answered"]),
        expires=moment(data["expires"]),
    )

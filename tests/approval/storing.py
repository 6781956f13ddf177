"""What the tests of stores need: requests and answers as they come, and empty stores."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governed_db.approval.answer import ApproverKey, SignedAnswer, sign_answer
from governed_db.approval.request import ApprovalRequest, Question, ask
from governed_db.identity.model import Identity, standing
from governed_db.note import VerifierKey

NOW = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
BOT = Identity.agent("bot", session="s-1", tool_call="c-1")
ANNA = Identity.human("anna")

_private = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = ApproverKey(VerifierKey("anna", _private.public_key().public_bytes_raw()), _private.sign)
_numbers = itertools.count(1)


def request(text: str = "", who: Identity = BOT, lasts: timedelta = HOUR, **more) -> ApprovalRequest:
    """A request for the statement ``text``; for one of its own where there is none."""
    text = text or f"DELETE FROM t{os.getpid()}_{next(_numbers)}"
    question = Question(
        digest=sha256(text.encode()).digest(), requester=standing(who), statement=text, **more
    )
    return ask(question, who, lasts=lasts, now=NOW)


def yes(to: ApprovalRequest, reason: str = "") -> SignedAnswer:
    """A signed yes."""
    return sign_answer(to, KEY, by=ANNA, granted=True, reason=reason, now=NOW)


TABLES = ("notices", "answers", "ends", "requests", "requesters", "grants")

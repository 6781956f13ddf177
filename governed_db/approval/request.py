"""What people are asked to agree to, bound to exactly one call by exactly one caller."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from attrs import field, frozen

from governed_db.identity.model import Identity
from governed_db.policy.model import Decision


@frozen(kw_only=True)
class ApprovalRequest:
    """One question to people.

    Attributes:
        id: names the request to approvers; says nothing about its content.
        digest: SHA-256 over everything the approval is bound to (:func:`bind`).
        requester: who asks. Neither the requester nor whom it acts for can approve.
        statement: the normalised text: no literal, no parameter.
        summary: operation and targets in a few words.
        rule, reason: why people are asked.
        approvers: groups of which the approver must be a member; empty for anyone else than the requester.
        needed: how many different people have to agree.
        requested: when, in UTC.
    """

    id: str
    digest: bytes = field(repr=False)
    requester: Identity
    statement: str
    summary: str
    rule: str
    reason: str
    approvers: tuple[str, ...] = ()
    needed: int = 1
    requested: datetime


def bind(
    text: bytes,
    params: Iterable[bytes | bytearray | memoryview | None],
    types: Iterable[int],
    requester: Identity,
    decision: Decision,
    standing: Iterable[str],
) -> bytes:
    """Digest what an approval holds for: the bytes sent, the values bound and their types, who asks,
    the policy that asked, and ``standing`` (database, role, search path).

    The tool call and the session of the requester are left out: an agent that asks again after the
    approval does so in another tool call.
    """
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)

    add(text)
    for value in params:
        # A NULL and an empty string must not digest alike.
        add(b"-" if value is None else b"+" + bytes(value))
    add(",".join(map(str, types)).encode())
    principal: Identity | None = requester
    while principal is not None:
        add(f"{principal.kind}:{principal.issuer}:{principal.subject}".encode())
        principal = principal.on_behalf_of
    add(decision.policy.encode())
    for part in standing:
        add(part.encode())
    return digest.digest()


def ask(
    digest: bytes,
    requester: Identity,
    decision: Decision,
    *,
    now: datetime | None = None,
) -> ApprovalRequest:
    """Make the request for a decision that needs approval."""
    statement = decision.statement
    return ApprovalRequest(
        id=f"apr_{secrets.token_hex(8)}",
        digest=digest,
        requester=requester,
        statement=statement.normalised,
        summary=statement.summary or statement.tag,
        rule=decision.rule,
        reason=decision.reason,
        approvers=decision.approvers,
        needed=decision.approvals_needed,
        requested=now or datetime.now(UTC),
    )

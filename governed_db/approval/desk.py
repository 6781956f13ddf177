"""Where requests wait for people, and approvals for the call they were given for.

:class:`Approvals` is the seam: anything with its methods can stand here. :class:`ProcessApprovals`
keeps requests in this process only: they end with it and other processes do not see them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from attrs import frozen

from governed_db.approval.request import ApprovalRequest
from governed_db.errors import GovernanceError
from governed_db.identity.model import Identity
from governed_db.locks import lock

TIME_TO_LIVE = timedelta(minutes=15)
"""How long an answer holds: long enough for a person and a retry, short enough that the data the
approver looked at is still the data."""

MAX_REQUESTS = 1000
"""How many requests wait at once; the oldest leaves first. An agent in a loop must not fill memory."""


@frozen(kw_only=True)
class Approval:
    """Somebody's yes or no to one request.

    ``also``: those who had agreed before, where the request asks for several people.
    """

    request: ApprovalRequest
    by: Identity
    granted: bool
    reason: str = ""
    expires: datetime
    also: tuple[Identity, ...] = ()


class Approvals(Protocol):
    """Holds requests and gives each approval out once."""

    def file(self, request: ApprovalRequest) -> ApprovalRequest:
        """Keep ``request``; return the one already waiting for the same digest, if there is one."""
        ...

    def claim(self, digest: bytes) -> Approval | None:
        """Take the answer for ``digest``, if there is one that has not expired. An approval is given once."""
        ...


class ProcessApprovals:
    """Requests and approvals of this process. Safe with threads."""

    def __init__(
        self,
        time_to_live: timedelta = TIME_TO_LIVE,
        on_answer: Callable[[Approval], None] = lambda _: None,
    ) -> None:
        """``on_answer`` is told of every answer before it counts; what it raises keeps it from counting."""
        self._lock = lock(self)
        self._on_answer = on_answer
        self._time_to_live = time_to_live
        self._requests: OrderedDict[bytes, ApprovalRequest] = OrderedDict()
        self._answers: dict[bytes, Approval] = {}
        self._partial: dict[bytes, list[Approval]] = {}  # where more people have to agree

    def file(self, request: ApprovalRequest) -> ApprovalRequest:
        """Keep ``request``; return the one already waiting for the same digest, if there is one."""
        with self._lock:
            if (waiting := self._requests.get(request.digest)) is not None:
                return waiting
            while len(self._requests) >= MAX_REQUESTS:
                oldest, _ = self._requests.popitem(last=False)
                self._answers.pop(oldest, None)
                self._partial.pop(oldest, None)
            self._requests[request.digest] = request
            return request

    def claim(self, digest: bytes) -> Approval | None:
        """Take the answer for ``digest``, if there is one that has not expired. An approval is given once."""
        with self._lock:
            answer = self._answers.get(digest)
            if answer is None:
                return None
            expired = answer.expires <= datetime.now(UTC)
            # A denial stays until it expires, so that asking again at once does not ask people again.
            if expired or answer.granted:
                del self._answers[digest]
                self._requests.pop(digest, None)
            return None if expired else answer

    def pending(self) -> list[ApprovalRequest]:
        """Return the requests nobody has answered, oldest first."""
        with self._lock:
            return [r for d, r in self._requests.items() if d not in self._answers]

    def approve(self, request_id: str, *, by: Identity, reason: str = "") -> Approval:
        """Agree to a request, once, until it expires.

        Where the request asks for several people it runs when the last of them has agreed, while the word
        of all of them still holds; a denial by any of them ends it.

        Raises:
            GovernanceError: no such request, or ``by`` may not answer it.
        """
        return self._answer(request_id, by, granted=True, reason=reason)

    def deny(self, request_id: str, *, by: Identity, reason: str = "") -> Approval:
        """Say no to a request.

        Raises:
            GovernanceError: no such request, or ``by`` may not answer it.
        """
        return self._answer(request_id, by, granted=False, reason=reason)

    def _answer(self, request_id: str, by: Identity, *, granted: bool, reason: str) -> Approval:
        with self._lock:
            request = next((r for r in self._requests.values() if r.id == request_id), None)
            if request is None:
                raise GovernanceError(f"no approval request {request_id} is waiting", rule="approval.unknown")
            if why := may_not_answer(request, by):
                raise GovernanceError(
                    f"{by} cannot answer {request_id}: {why}",
                    rule="approval.approver",
                    remedy="ask somebody else in " + (", ".join(request.approvers) or "your organisation"),
                )
            now = datetime.now(UTC)
            before = [a for a in self._partial.get(request.digest, ()) if a.expires > now]
            if granted and any(a.by.subject == by.subject for a in before):
                raise GovernanceError(
                    f"{by} has agreed to {request_id} already, and it asks for {request.needed}"
                    " different people",
                    rule="approval.approver",
                    remedy="ask somebody else in " + (", ".join(request.approvers) or "your organisation"),
                )
            approval = Approval(
                request=request,
                by=by,
                granted=granted,
                reason=reason,
                expires=min([now + self._time_to_live, *(a.expires for a in before)]),
                also=tuple(a.by for a in before) if granted else (),
            )
            self._on_answer(approval)
            if granted and len(before) + 1 < request.needed:
                self._partial[request.digest] = [*before, approval]
            else:
                self._partial.pop(request.digest, None)
                self._answers[request.digest] = approval
            return approval


def may_not_answer(request: ApprovalRequest, by: Identity) -> str:
    """Return why ``by`` may not answer ``request``, or ``""``: four eyes, people only, in the right group."""
    if by.kind != "human":
        return "only people approve"
    asking: Identity | None = request.requester
    while asking is not None:
        # Subjects compare across kinds: whom an agent acts for is often named without saying "human".
        if asking.subject == by.subject:
            return "it is the requester, or whom the requester acts for"
        asking = asking.on_behalf_of
    if request.approvers and by.groups.isdisjoint(request.approvers):
        return f"the rule asks for a member of {', '.join(request.approvers)}"
    return ""

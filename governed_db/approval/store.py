"""Where requests, answers and grants are kept: the contract, the same for every store.

A store is not trusted. It can lose what it was given, and a caller is refused then. It cannot make anybody
agree: whoever takes something out of it holds it against the policy's keys and against the call
(:mod:`governed_db.approval.desk`). What only a store can do is to give an approval out once, to one of many
processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from attrs import field, frozen

from governed_db.approval.answer import SignedAnswer
from governed_db.approval.request import ApprovalRequest

MOST_GRANTS: Final = 10_000
"""Grants and revocations of which a process takes note. A store hands out one more at the most, by which
whoever reads them knows that there are too many."""


class StoreUnavailable(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """The store cannot be asked, or does not answer in time. The message says which store, and no secret.

    ``remedy``: what would help. ``retryable``: whether the same call can succeed later without it.
    """

    def __init__(self, message: str, *, remedy: str = "", retryable: bool = True) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.retryable = retryable


@frozen(kw_only=True)
class Filed:
    """A request as a store has it.

    Attributes:
        request: what is asked.
        answers: every answer that was handed in, forged ones included, oldest first.
        used: when the approval was taken, ``None`` while it was not.
        withdrawn: when somebody closed it, ``None`` where nobody has.
    """

    request: ApprovalRequest
    answers: tuple[SignedAnswer, ...] = field(default=(), repr=False)
    used: datetime | None = None
    withdrawn: datetime | None = None

    def over(self, now: datetime) -> str:
        """Return in a word what became of a request that can no longer be answered, "" where it can."""
        if self.used is not None:
            return "used"
        if self.withdrawn is not None:
            return "withdrawn"
        return "expired" if self.request.expires <= now else ""


@frozen(kw_only=True)
class View:
    """What a process looks at between two polls: digests that somebody has asked about, and grants.

    ``grants`` are signed notes as they were added, revocations among them; the reader verifies them.
    """

    open: frozenset[bytes] = field(default=frozenset(), repr=False)
    grants: tuple[bytes, ...] = field(default=(), repr=False)


@frozen(kw_only=True)
class Notice:
    """One request that one notifier has to be told about. ``attempts``: how often that has failed."""

    request: str
    notifier: str
    attempts: int = 0


class Store(Protocol):
    """Holds requests and gives each approval out once. Safe with threads and processes.

    Every method raises :class:`StoreUnavailable` where the store cannot be asked. Times are in UTC, given by
    the caller, so that stores need no clock.
    """

    def file(
        self, request: ApprovalRequest, *, now: datetime, notifiers: Sequence[str] = (), most: int
    ) -> ApprovalRequest | None:
        """Keep ``request``, and a notice of it for each of ``notifiers``, in one transaction.

        Returns the one that is open for the same digest, if there is one: filing is idempotent. Open is
        what is neither used nor expired nor withdrawn. ``None``: the same requester (kind, issuer and
        subject) has ``most`` open ones already, and nothing was kept.
        """
        ...

    def find(self, digest: bytes, *, now: datetime) -> Filed | None:
        """Return the open request for ``digest`` with its answers."""
        ...

    def get(self, request_id: str) -> Filed | None:
        """Return a request, open or not."""
        ...

    def listed(self, *, now: datetime, every: bool = False, limit: int = 1000) -> list[Filed]:
        """Return open requests, or ``every`` one that is still kept; oldest first, ``limit`` at most."""
        ...

    def answer(self, signed: SignedAnswer, *, most: int) -> bool:
        """Keep an answer beside those that are there; the same one twice is kept once.

        Returns whether it is kept now: not where the request is unknown, or has ``most`` answers.
        """
        ...

    def claim(self, request_id: str, *, by: str, now: datetime) -> bool:
        """Take the approval: True for exactly one of all claimants there will ever be.

        ``by`` names the claimant (a connection) for people. Also False where the request is not open.
        """
        ...

    def withdraw(self, request_id: str, *, now: datetime) -> bool:
        """Close a request that is open, unanswered or not; nobody can use it then."""
        ...

    def view(self, *, now: datetime) -> View:
        """Return the digests of open requests, and the grants that are kept."""
        ...

    def add_grant(self, grant_id: str, note: bytes, *, expires: datetime) -> bool:
        """Keep a signed grant, or the revocation of one; False where that id is kept already."""
        ...

    def due(
        self, *, now: datetime, lease: float, limit: int = 10, notifiers: Sequence[str] | None = None
    ) -> list[Notice]:
        """Take up to ``limit`` notices that are due, for ``lease`` seconds, so that nobody else does.

        Notices of requests that are no longer open are dropped. ``notifiers``: for these alone; the others
        stay for processes that have them.
        """
        ...

    def told(self, notice: Notice) -> None:
        """Forget a notice that was delivered."""
        ...

    def again(self, notice: Notice, *, at: datetime) -> None:
        """Keep a notice that could not be delivered for another attempt, and count this one."""
        ...

    def purge(self, *, before: datetime) -> int:
        """Forget requests, answers and grants that ended before; return how many requests."""
        ...

    def close(self) -> None:
        """Let go of files and connections; the next call opens them again."""
        ...

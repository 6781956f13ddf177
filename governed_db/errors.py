"""psycopg's exceptions, and ours beside them.

``governed_db.errors`` holds every name of :mod:`psycopg.errors` and adds the ones below. Code that
catches psycopg's classes keeps working: a refusal is a :class:`psycopg.DatabaseError`, a block is also
the error PostgreSQL itself raises for a missing privilege (SQLSTATE 42501).

::

    psycopg.DatabaseError
    └── GovernanceError                      anything this library refuses or cannot promise
        ├── StatementBlocked                 the policy says no     (also errors.InsufficientPrivilege)
        │   └── MaskedColumnRefused          a masked column is used where no mask can follow it
        ├── ApprovalRequired                 people have to agree first; ``.request`` says to what
        ├── ApprovalDenied                   people were asked and said no
        ├── IdentityRequired                 the policy wants to know who asks, and nobody said
        │   └── TokenRefused                 a token that is not to be believed; ``.rule`` says why
        │       └── KeysUnavailable          its issuer's keys cannot be had now (also OperationalError)
        ├── ApprovalsUnavailable             nobody can be asked to agree (also OperationalError)
        ├── AuditUnavailable                 the trail cannot be written (also OperationalError)
        └── PolicyError                      the policy or the configuration cannot be used

    UserWarning
    └── ResultTruncated                      a budget let fewer rows through than there are
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import errors as _psycopg_errors
from psycopg.errors import *  # noqa: F403 - the whole of psycopg.errors is re-exported, as promised
from psycopg.errors import DatabaseError, InsufficientPrivilege, OperationalError

if TYPE_CHECKING:
    from governed_db.approval.request import ApprovalRequest
    from governed_db.policy.model import Decision

__all__ = [  # noqa: PLE0604 - the tail is psycopg's own list
    "ApprovalDenied",
    "ApprovalRequired",
    "ApprovalsUnavailable",
    "AuditUnavailable",
    "GovernanceError",
    "IdentityRequired",
    "KeysUnavailable",
    "MaskedColumnRefused",
    "PolicyError",
    "ResultTruncated",
    "StatementBlocked",
    "TokenRefused",
    *(name for name in dir(_psycopg_errors) if not name.startswith("_")),
]


def __getattr__(name: str) -> Any:
    """Answer the names that psycopg.errors keeps out of a star import (``_NO_TRACEBACK``, ...)."""
    return getattr(_psycopg_errors, name)


class GovernanceError(DatabaseError):
    """A statement was refused, or could not be run as safely as the policy asks.

    Attributes:
        decision: the :class:`~governed_db.policy.model.Decision` behind the refusal, or ``None`` where
            the refusal came before there was one (no audit, no identity, a broken policy).
        rule: the id of the rule that spoke.
        remedy: what would pass instead, in one sentence.
        retryable: whether the same call can succeed later without being changed.
    """

    __module__ = "governed_db.errors"

    def __init__(
        self,
        message: str = "",
        *,
        decision: Decision | None = None,
        rule: str = "",
        remedy: str = "",
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.decision = decision
        self.rule = rule or (decision.rule if decision is not None else "")
        self.remedy = remedy or (decision.remedy if decision is not None else "")
        self.retryable = decision.retryable if decision is not None else retryable


class StatementBlocked(GovernanceError, InsufficientPrivilege):
    """The policy blocks this statement for this caller; nothing of it was sent."""

    __module__ = "governed_db.errors"


class MaskedColumnRefused(StatementBlocked):
    """A masked column is used where its value would show without being projected."""

    __module__ = "governed_db.errors"


class ApprovalRequired(GovernanceError):
    """The statement runs once people have agreed to it; ``request`` is what they are asked."""

    __module__ = "governed_db.errors"

    def __init__(self, message: str = "", *, request: ApprovalRequest | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.request = request


class ApprovalDenied(GovernanceError):
    """People were asked and said no."""

    __module__ = "governed_db.errors"


class IdentityRequired(GovernanceError):
    """The policy wants to know who asks, and nobody said."""

    __module__ = "governed_db.errors"


class TokenRefused(IdentityRequired):
    """A token that is not to be believed. Nothing of it is quoted.

    Attributes:
        issuer: the configured issuer it claims to be from, "" where there is no such.
        key_id: the key it names, "" where it names none, or none that can be shown.
    """

    __module__ = "governed_db.errors"

    def __init__(self, message: str = "", *, issuer: str = "", key_id: str = "", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.issuer = issuer
        self.key_id = key_id


class KeysUnavailable(TokenRefused, OperationalError):
    """The keys of a token's issuer cannot be had now, so that nobody can tell whether it is genuine."""

    __module__ = "governed_db.errors"


class ApprovalsUnavailable(GovernanceError, OperationalError):
    """The store of approvals cannot be asked, and the statement needs somebody's word; nothing was sent."""

    __module__ = "governed_db.errors"


class AuditUnavailable(GovernanceError, OperationalError):
    """The journal cannot take the record that must precede the statement; nothing was sent."""

    __module__ = "governed_db.errors"


class PolicyError(GovernanceError):
    """The policy or the configuration cannot be used; the message names the file and the line."""

    __module__ = "governed_db.errors"


class ResultTruncated(UserWarning):
    """A budget let fewer rows through than there are; the cursor's ``truncated`` says so as well."""

    __module__ = "governed_db.errors"

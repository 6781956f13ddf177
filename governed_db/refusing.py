"""Refusing: every statement that is not sent goes on record first, and then its caller hears why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from governed_db import refusals
from governed_db.approval.request import ApprovalRequest
from governed_db.errors import ApprovalRequired, GovernanceError, MaskedColumnRefused, StatementBlocked
from governed_db.identity.model import Identity
from governed_db.policy.model import Decision
from governed_db.run import Call, Known
from governed_db.statement import Unreadable

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat


def refused(
    call: Call,
    caller: Identity,
    seat: Seat,
    rule: str,
    reason: str,
    remedy: str,
    *,
    retryable: bool = False,
) -> StatementBlocked:
    """Put a refusal that no decision is behind on record, and return the error to raise."""
    unreadable = Unreadable(rule, f"{reason[:1].upper()}{reason[1:]}", remedy, retryable=retryable)
    return unread(call, caller, seat, unreadable)


def unread(call: Call, caller: Identity, seat: Seat, unreadable: Unreadable) -> StatementBlocked:
    """Put a text that cannot be judged on record, and return the error to raise."""
    seat.governor.trail.attempt(call, caller, seat, unreadable)
    remedy = unreadable.remedy[:1].upper() + unreadable.remedy[1:]
    again = "" if unreadable.retryable else " Trying the same again will not help."
    return StatementBlocked(
        f"{unreadable.reason} [rule {unreadable.rule}]. {remedy}.{again}",
        rule=unreadable.rule,
        remedy=unreadable.remedy,
        retryable=unreadable.retryable,
    )


def refuse(
    call: Call,
    caller: Identity,
    known: Known,
    decision: Decision,
    seat: Seat,
    request: ApprovalRequest | None,
) -> NoReturn:
    """Put a statement that is not sent on record, and raise.

    Raises:
        ApprovalRequired: where there is a ``request`` that people can answer.
        MaskedColumnRefused: a mask is why.
        StatementBlocked: anything else is.
    """
    error: GovernanceError
    if request is not None:
        told = request.for_requester(counts=seat.may_count(known, shows=request.question.binds == "effect"))
        named = seat.governor.approvals.settings.people.named_any
        why = refusals.sentence(decision, request, named=named)
        error = ApprovalRequired(why, decision=decision, request=told)
    elif decision.rule.startswith("masking."):
        error = MaskedColumnRefused(refusals.sentence(decision), decision=decision)
    else:
        error = StatementBlocked(refusals.sentence(decision), decision=decision)
    seat.governor.trail.refusal(
        call,
        caller,
        known,
        decision,
        seat,
        type(error).__name__,
        approval="" if request is None else request.id,
    )
    raise error

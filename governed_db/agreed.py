"""AGREED: what people have said to a call, or the request by which they are asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from psycopg.abc import PQGen

from governed_db import refusals
from governed_db.approval.request import ApprovalRequest, Question
from governed_db.approval.standing import Standing
from governed_db.asked import question
from governed_db.errors import ApprovalDenied, ApprovalsUnavailable, GovernanceError
from governed_db.identity.model import Identity
from governed_db.policy.model import Decision, Verdict
from governed_db.refusing import refuse
from governed_db.run import Call, Known
from governed_db.statement import EffectKind
from governed_db.statement.describing import Undescribed

if TYPE_CHECKING:
    from governed_db.driver.reckoning import Reckoning
    from governed_db.driver.seat import Seat

REQUEST_FIELDS: Final = ("rows", "rows_more", "ceiling", "cost", "effect")
"""What a reckoning says, and a request carries."""


class Moved(Exception):  # noqa: N818 - nothing has failed
    """Names may mean something else than they did when the call was judged: it is judged anew."""


def agreed(
    call: Call, caller: Identity, known: Known, decision: Decision, seat: Seat
) -> PQGen[tuple[Decision, ApprovalRequest | None]]:
    """Return the decision that an approval turned into an allow, with the approval, or refuse.

    Raises:
        StatementBlocked, MaskedColumnRefused: the policy says no; people are not asked.
        ApprovalRequired: people have not answered yet.
        ApprovalDenied: they said no.
        ApprovalsUnavailable: nobody can be asked now.
    """
    desk = seat.governor.approvals
    if decision.verdict is Verdict.BLOCK:
        refuse(call, caller, known, decision, seat, None)
    if decision.verdict is Verdict.ALLOW:
        # Under a row cap it runs without anybody's word; only what somebody has asked about is looked up.
        if desk.stale():
            yield from seat.elsewhere(desk.look)
        if not desk.view.open:
            return decision, None
    yield from seat.define(call.parts or (known,))
    asking = question(call, caller, known, decision, seat)
    if decision.verdict is Verdict.ALLOW and asking.digest not in desk.view.open:
        return decision, None
    try:
        standing = yield from seat.elsewhere(partial(desk.standing, asking))
        if standing is not None and standing.agreed:
            if (yield from _taken(call, caller, known, decision, standing, seat)):
                return agreed_to(decision, standing), standing.request
            standing = None  # somebody else has taken it: this call needs an approval of its own
        if standing is not None and standing.denied is not None:
            raise _denied(call, caller, known, decision, seat, standing)
        if decision.verdict is Verdict.ALLOW:
            return decision, None
        if standing is None:
            request = yield from filed(call, caller, known, decision, asking, seat)
        else:
            request = standing.request
    except ApprovalsUnavailable as error:
        seat.governor.trail.refusal(call, caller, known, decision, seat, type(error).__name__)
        raise
    refuse(call, caller, known, decision, seat, request)


def _uncountable(call: Call, known: Known, request: ApprovalRequest) -> bool:
    """Return whether the rows of an approved write could not be held to what people were told of."""
    if not (call.streams or call.copies) or not known.writes:
        return False
    if any(effect.kind is EffectKind.COPY_FROM for effect in known.statement.effects):
        return False
    return request.ceiling is not None or request.effect is not None


def _taken(
    call: Call, caller: Identity, known: Known, decision: Decision, standing: Standing, seat: Seat
) -> PQGen[bool]:
    """Take what was agreed to; return whether it is this call's.

    Raises:
        StatementBlocked: on this way nobody could hold the call to it; it is not used up.
        Moved: what the call was judged by is not what there is now.
    """
    if _uncountable(call, known, standing.request):
        refuse(call, caller, known, refusals.uncountable(decision), seat, None)
    if not (yield from seat.is_still()):
        raise Moved
    return (yield from seat.elsewhere(partial(seat.governor.approvals.claim, standing, by=seat.id)))


def agreed_to(decision: Decision, standing: Standing) -> Decision:
    """Return ``decision`` as people have made it: allowed, up to the rows that they were told of."""
    people = " and ".join(str(person.identity) for person in standing.granted)
    return decision.replace(
        verdict=Verdict.ALLOW,
        reason=f"approved by {people} ({standing.request.id})",
        row_cap=standing.request.ceiling,
        restricts=False,
        remedy="",
    )


def _denied(
    call: Call, caller: Identity, known: Known, decision: Decision, seat: Seat, standing: Standing
) -> ApprovalDenied:
    assert standing.denied is not None
    request = standing.request
    seat.governor.trail.refusal(
        call, caller, known, decision, seat, ApprovalDenied.__name__, approval=request.id
    )
    because = f": {standing.because}" if standing.because else ""
    said = decision.replace(
        reason=f"{standing.denied.identity} denied {request.id}{because}",
        remedy="ask whoever denied it, or do without it",
        retryable=False,
    )
    return ApprovalDenied(refusals.sentence(said), decision=said)


def filed(
    call: Call,
    caller: Identity,
    known: Known,
    decision: Decision,
    asking: Question,
    seat: Seat,
    reckoned: Reckoning | None = None,
) -> PQGen[ApprovalRequest]:
    """Ask people about ``call``: count what it would touch, unless it is ``reckoned``, and file the request.

    Raises:
        StatementBlocked: nobody whom the policy names could ever answer it.
        ApprovalsUnavailable: the store cannot be asked.
    """
    desk = seat.governor.approvals
    nobody = desk.settings.people.nobody(asking.approvers, asking.needed, caller)
    if nobody:
        refuse(call, caller, known, refusals.nobody(decision, nobody), seat, None)
    if reckoned is None:
        try:
            reckoned = yield from seat.reckon(call, known, decision)
        except Undescribed as why:
            refuse(call, caller, known, refusals.undescribed(decision, why), seat, None)
    details = {field: getattr(reckoned, field) for field in REQUEST_FIELDS}
    try:
        return (yield from seat.elsewhere(partial(desk.file, asking, caller, **details)))
    except GovernanceError as error:
        if error.rule != "approval.many":
            raise
        refuse(call, caller, known, refusals.many(decision, error), seat, None)

"""Writes that were measured and found too large: what turns a measurement into a request for approval.

The driver measures, before a write runs (nothing of it was sent then) or while it runs guarded (it was
rolled back). Each function files the request and makes the error that carries it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from psycopg.abc import PQGen

from governed_db import agreed, refusals
from governed_db.approval.effect import Effect
from governed_db.asked import question
from governed_db.driver.reckoning import Reckoning, counted, effect_of
from governed_db.errors import ApprovalRequired, ApprovalsUnavailable, GovernanceError, StatementBlocked
from governed_db.policy.model import Decision, Verdict
from governed_db.run import Call, Run
from governed_db.statement.describing import Undescribed

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat


def would_exceed(run: Run, whole: Call, cap: int, seat: Seat) -> PQGen[ApprovalRequired]:
    """A SELECT says that the write would touch more than ``cap`` rows."""
    found = f"would touch more than {cap} rows, and {_allowed(run, cap)}{_SELECT}"
    return (yield from _before(run, whole, found, _narrow(cap), seat))


def would_touch_every_row(run: Run, whole: Call, target: str, seat: Seat) -> PQGen[ApprovalRequired]:
    """A SELECT says that the WHERE of the write leaves out no row of ``target``."""
    found = f"would touch every row of {target}: its WHERE leaves none of them out{_SELECT}"
    return (yield from _before(run, whole, found, _compare(target), seat))


def would_write_later(run: Run, whole: Call, seat: Seat) -> PQGen[ApprovalRequired]:
    """A deferrable trigger of the write would write at the COMMIT, where nobody counts."""
    found = "sets off a deferrable trigger that writes at the COMMIT, where its rows are not counted"
    remedy = "run it in autocommit, outside of a transaction, or have the request approved and run it again"
    return (yield from _before(run, whole, found, remedy, seat))


def rows_changed(run: Run, whole: Call, seat: Seat, *, sent: bool = False) -> PQGen[ApprovalRequired]:
    """What the write would do to which rows is not what people have agreed to; nothing of it stands.

    ``sent``: it did that, and was rolled back.
    """
    found = "would do something else than people have agreed to: rows have changed, come or gone since"
    remedy = "have the new request approved, which shows the rows as they are now, and run it again"
    return (yield from (_asked if sent else _before)(run, whole, found, remedy, seat))


def not_shown(run: Run, whole: Call, why: Undescribed, seat: Seat) -> StatementBlocked:
    """People were not shown its rows, or could not be now; nothing of it stands."""
    assert run.decision is not None
    decision = refusals.undescribed(run.decision, why)
    error = StatementBlocked(refusals.sentence(decision), decision=decision)
    _record(run, whole, decision, seat, error)
    return error


def did_otherwise(run: Run, whole: Call, what: str, seat: Seat) -> PQGen[GovernanceError]:
    """The run did something else than people have agreed to, and was rolled back.

    Where that is because rows have changed under it, people are asked about those.
    """
    assert run.decision is not None
    assert run.known is not None
    assert run.approval is not None
    assert run.approval.effect is not None
    now: Effect | None = None
    with suppress(Undescribed):
        now = yield from effect_of(seat, whole, run.known, run.decision, run.approval.effect.salt)
    if now != run.approval.effect:
        return (yield from rows_changed(run, whole, seat, sent=True))
    seat.governor.trail.told("approval.refused", who=run.identity, request=run.approval.id, reason=what)
    decision = refusals.otherwise(run.decision, what)
    return StatementBlocked(refusals.sentence(decision), decision=decision)


def over_cap(run: Run, whole: Call, rows: int, cap: int, seat: Seat) -> PQGen[ApprovalRequired]:
    """The guarded run touched ``rows`` rows and was rolled back."""
    set_off = run.known is not None and run.known.beside and run.approval is None
    beside = ", those that it set off elsewhere included" if set_off else ""
    found = f"touched {rows} rows{beside}; {_allowed(run, cap)}{_UNDONE}"
    headroom = seat.governor.policy.settings.approvals.headroom_percent
    assert run.decision is not None
    reckoned = None if run.decision.binds == "effect" else counted(rows, headroom)
    return (yield from _asked(run, whole, found, _narrow(cap), seat, reckoned))


def touched_every_row(run: Run, whole: Call, target: str, seat: Seat) -> PQGen[ApprovalRequired]:
    """The guarded run left out no row of ``target`` and was rolled back."""
    found = f"touched every row of {target}: it left none of them out{_UNDONE}"
    return (yield from _asked(run, whole, found, _compare(target), seat))


_SELECT = " (measured by a SELECT, nothing was run)"
_UNDONE = ". It was rolled back"


def _allowed(run: Run, cap: int) -> str:
    if run.approval is not None:
        return f"people have agreed to up to {cap}"
    return f"this caller may write {cap} without approval"


def _narrow(cap: int) -> str:
    return f"narrow the WHERE to at most {cap} rows, or have the request approved and run it again"


def _compare(target: str) -> str:
    return (
        f"compare a column of {target} with a value, best its key, or have the request approved and run it"
        " again"
    )


def _decided(run: Run, found: str, remedy: str) -> Decision:
    assert run.decision is not None
    assert run.statement is not None
    return run.decision.replace(
        verdict=Verdict.NEEDS_APPROVAL,
        reason=f"{run.statement.tag} {found}",
        remedy=remedy,
        retryable=True,
    )


def _before(run: Run, whole: Call, found: str, remedy: str, seat: Seat) -> PQGen[ApprovalRequired]:
    # A guarded run has an outcome that says "refused"; what was never sent has a record of its own.
    try:
        error = yield from _asked(run, whole, found, remedy, seat)
    except ApprovalsUnavailable as unavailable:
        _record(run, whole, _decided(run, found, remedy), seat, unavailable)
        raise
    assert error.decision is not None
    _record(run, whole, error.decision, seat, error)
    return error


def _asked(
    run: Run, whole: Call, found: str, remedy: str, seat: Seat, reckoned: Reckoning | None = None
) -> PQGen[ApprovalRequired]:
    """File the request for a run that is not let stand, and make the error that carries it."""
    assert run.known is not None
    assert run.decision is not None
    if run.approval is None:
        yield from seat.define(whole.parts or (run.known,))
    # What people had agreed to, and has turned out to be more, is the same question once again.
    asking = (
        question(whole, run.identity, run.known, run.decision, seat)
        if run.approval is None
        else run.approval.question
    )
    decision = _decided(run, found, remedy)
    request = yield from agreed.filed(whole, run.identity, run.known, decision, asking, seat, reckoned)
    named = seat.governor.approvals.settings.people.named_any
    why = refusals.sentence(decision, request, named=named)
    return ApprovalRequired(why, decision=decision, request=request.for_requester())


def _record(run: Run, whole: Call, decision: Decision, seat: Seat, error: GovernanceError) -> None:
    assert run.known is not None
    request = getattr(error, "request", None)
    seat.governor.trail.refusal(
        whole,
        run.identity,
        run.known,
        decision,
        seat,
        type(error).__name__,
        approval="" if request is None else request.id,
    )

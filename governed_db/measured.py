"""Writes that were measured and found too large: what turns a measurement into a request for approval.

The driver measures, before a write runs (nothing of it was sent then) or while it runs guarded (it was
rolled back). Each function files the request and makes the error that carries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from governed_db import pipeline
from governed_db.errors import ApprovalRequired
from governed_db.policy.model import Decision, Verdict
from governed_db.run import Call, Run

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat


def would_exceed(run: Run, whole: Call, cap: int, seat: Seat) -> ApprovalRequired:
    """A SELECT says that the write would touch more than ``cap`` rows."""
    return _before(
        run,
        whole,
        f"would touch more than {cap} rows, and this caller may write {cap} without approval{_SELECT}",
        _narrow(cap),
        seat,
    )


def would_touch_every_row(run: Run, whole: Call, target: str, seat: Seat) -> ApprovalRequired:
    """A SELECT says that the WHERE of the write leaves out no row of ``target``."""
    found = f"would touch every row of {target}: its WHERE leaves none of them out{_SELECT}"
    return _before(run, whole, found, _compare(target), seat)


def would_write_later(run: Run, whole: Call, seat: Seat) -> ApprovalRequired:
    """A deferrable trigger of the write would write at the COMMIT, where nobody counts."""
    return _before(
        run,
        whole,
        "sets off a deferrable trigger that writes at the COMMIT, where its rows are not counted",
        "run it in autocommit, outside of a transaction, or have the request approved and run it again",
        seat,
    )


def over_cap(run: Run, whole: Call, rows: int, cap: int, seat: Seat) -> ApprovalRequired:
    """The guarded run touched ``rows`` rows and was rolled back."""
    set_off = run.known is not None and run.known.beside
    beside = ", those that it set off elsewhere included" if set_off else ""
    found = f"touched {rows} rows{beside}; this caller may write {cap} without approval{_UNDONE}"
    return pipeline.required(whole, run.identity, _decided(run, found, _narrow(cap)), seat)


def touched_every_row(run: Run, whole: Call, target: str, seat: Seat) -> ApprovalRequired:
    """The guarded run left out no row of ``target`` and was rolled back."""
    found = f"touched every row of {target}: it left none of them out{_UNDONE}"
    return pipeline.required(whole, run.identity, _decided(run, found, _compare(target)), seat)


_SELECT = " (measured by a SELECT, nothing was run)"
_UNDONE = ". It was rolled back"


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


def _before(run: Run, whole: Call, found: str, remedy: str, seat: Seat) -> ApprovalRequired:
    # A guarded run has an outcome that says "refused"; what was never sent has a record of its own.
    assert run.known is not None
    decision = _decided(run, found, remedy)
    error = pipeline.required(whole, run.identity, decision, seat)
    seat.governor.trail.refusal(
        whole,
        run.identity,
        run.known,
        decision,
        seat,
        type(error).__name__,
        approval=error.request.id if error.request is not None else "",
    )
    return error

"""Why a call does not go on, in words that its caller can act on.

Every refusal says which part of the statement, which rule, what would pass instead, and whether trying
again can help: agents read these, and correct themselves instead of looping.
"""

from __future__ import annotations

from governed_db.approval.request import ApprovalRequest
from governed_db.policy.model import Decision, Verdict
from governed_db.run import Call, Known


def sentence(decision: Decision, request: ApprovalRequest | None = None) -> str:
    """One message: which part, which rule, what would pass, whether trying again can help."""
    parts = [f"{decision.reason.rstrip('.')} [rule {decision.rule}]."]
    if decision.remedy:
        parts.append(f"{decision.remedy[:1].upper()}{decision.remedy[1:].rstrip('.')}.")
    if request is not None:
        who = f" by {' or '.join(request.approvers)}" if request.approvers else ""
        parts.append(f"Approval request {request.id} waits to be answered{who}.")
    if not decision.retryable:
        parts.append("Trying the same again will not help.")
    return " ".join(parts)


def masked(decision: Decision, known: Known) -> Decision:
    """Block: a masked column is used where no mask can follow it."""
    first = known.plan.refusals[0]
    others = len(known.plan.refusals) - 1
    where = f" at character {first.location + 1}" if first.location >= 0 else ""
    more = f" (and {others} more)" if others else ""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="masking.derived",
        reason=f"{first.column} holds {first.label} and is masked for this caller, but {first.clause}"
        f" uses its value{where}{more}",
        remedy=f"select {first.column.rpartition('.')[2]} itself (it comes back masked) and filter, join,"
        " group or compute with columns that are not masked, such as the key",
        retryable=False,
    )


def not_copied(decision: Decision) -> Decision:
    """Block: COPY through a method that cannot follow its rows."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="driver.copy",
        reason="COPY hands rows in and out beside the result, which execute() and stream() cannot follow",
        remedy="use cursor.copy()",
        retryable=False,
    )


def copied(decision: Decision, known: Known) -> Decision:
    """Block: COPY of a masked column."""
    names = ", ".join(m.name for m in known.plan.masks)
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="masking.copy",
        reason=f"COPY hands out raw bytes, and {names} is masked for this caller",
        remedy="read it with SELECT, which masks it, or COPY (SELECT ...) without the masked columns",
        retryable=False,
    )


def capped(decision: Decision, call: Call, known: Known) -> Decision:
    """Ask people where more rows are certain than the caller may write, or nobody could count them."""
    cap = decision.row_cap
    statement = known.statement
    rows = known.bound.rows if known.bound is not None else None
    proven = statement.rows_listed if rows is None else rows
    if cap is None or not statement.writes:
        return decision
    if proven is None and not statement.countable:
        return decision.replace(
            verdict=Verdict.NEEDS_APPROVAL,
            reason=f"{statement.tag} writes in a place where the server does not report how many rows it"
            f" touches, and this caller may write {cap} without approval",
            remedy="write with one plain INSERT, UPDATE or DELETE per statement, or have the request"
            " approved and run it again",
            retryable=True,
        )
    if proven is None or proven * call.executions <= cap:
        return decision
    return decision.replace(
        verdict=Verdict.NEEDS_APPROVAL,
        reason=f"{known.statement.tag} writes up to {proven * call.executions} rows; this caller may write"
        f" {cap} without approval",
        remedy=f"write at most {cap} rows at a time, or have the request approved and run it again",
        retryable=True,
    )

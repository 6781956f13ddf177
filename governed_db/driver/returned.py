"""Rows handed out: what a budget allows of a result, refused or cut, on every way a row can take.

A result that is over the budget is refused before a row of it is loaded, or cut, and then it says so: by
``cursor.truncated``, by a warning (:class:`governed_db.ResultTruncated`) and in the trail.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import pq

from governed_db.errors import ResultTruncated, StatementBlocked
from governed_db.policy.model import Budget, Verdict

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from governed_db.driver.seat import CursorState, Seat
    from governed_db.run import Run

_ROWS = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_CHUNK)


def limited(run: Run | None) -> Budget | None:
    """Return the budget that limits what ``run`` hands out, or ``None``."""
    if run is None or run.decision is None:
        return None
    budget = run.decision.budget
    unlimited = budget.rows_returned is None and budget.rows_returned_per_session is None
    return None if unlimited else budget


def left(budget: Budget, run: Run, handed: int, seat: Seat) -> int:
    """Return how many rows may still be handed out, of a statement that has handed out ``handed``."""
    session = seat.governor.spending.left(run.identity, budget)
    counts = [n for n in (session, budget.rows_returned) if n is not None]
    if budget.rows_returned is not None:
        counts[-1] = max(budget.rows_returned - handed, 0)
    return min(counts)


def grant(budget: Budget, run: Run, handed: int, rows: int, seat: Seat) -> int:
    """Return how many of ``rows`` more may be handed out, and count them as spent.

    Fewer than ``rows`` under a budget that refuses means none: nothing is counted then.
    """
    allowed = rows
    if budget.rows_returned is not None:
        allowed = min(rows, max(budget.rows_returned - handed, 0))
    if allowed < rows and budget.over == "refuse":
        return allowed
    return seat.governor.spending.returned(run.identity, budget, allowed)


def judge(state: CursorState, run: Run, results: Sequence[PGresult], base: int, seat: Seat) -> None:
    """Decide what of ``results`` is handed out; ``base`` is the number of the first one.

    Raises:
        StatementBlocked: more than the budget allows, and it refuses; nothing is handed out.
    """
    budget = limited(run)
    if budget is None:
        return
    rows = sum(result.ntuples for result in results if result.status in _ROWS)
    granted = 0 if state.over else grant(budget, run, state.handed, rows, seat)
    if granted < rows and budget.over != "truncate":
        state.over = True
        run.rows_returned = 0
        raise refused(budget, run, seat)
    state.handed += granted
    run.rows_returned += granted - rows
    if granted == rows:
        return
    state.truncated = run.truncated = True
    for number, result in enumerate(results, base):
        if result.status in _ROWS:
            state.cuts[number] = min(result.ntuples, granted)
            granted -= state.cuts[number]


def refused(budget: Budget, run: Run, seat: Seat) -> StatementBlocked:
    """Make the error for a result that is larger than ``budget`` allows; it is not handed out."""
    assert run.decision is not None
    spent = seat.governor.spending.left(run.identity, budget)
    if budget.rows_returned is not None and (spent is None or spent >= budget.rows_returned):
        rule = budget.rule("rows_returned")
        limit = f"a statement may return {budget.rows_returned} rows to this caller"
        remedy = f"add a LIMIT of at most {budget.rows_returned}, or aggregate in SQL"
    else:
        rule = budget.rule("rows_returned_per_session")
        limit = (
            f"the statements of a session may return {budget.rows_returned_per_session} rows to this caller"
            f" all together, and {spent or 0} are left"
        )
        remedy = (
            f"add a LIMIT of at most {spent}, or aggregate in SQL" if spent else "ask for a larger budget"
        )
    decision = run.decision.replace(
        verdict=Verdict.BLOCK, rule=rule, reason=f"the result has more rows: {limit}", remedy=remedy
    )
    capital = remedy[:1].upper() + remedy[1:]
    return StatementBlocked(
        f"the result was withheld, because it has more rows than allowed: {limit} [rule {rule}]. {capital}."
        " Trying the same again will not help.",
        decision=decision,
    )


def say(budget: Budget, run: Run) -> None:
    """Warn that fewer rows are handed out than there are."""
    limit = "rows_returned" if budget.rows_returned is not None else "rows_returned_per_session"
    warnings.warn(
        f"the result was cut to {run.rows_returned} rows; there are more [rule {budget.rule(limit)}]",
        ResultTruncated,
        stacklevel=2,
    )


class Cut:
    """What ``cursor.pgresult`` is of a result that is handed out in part."""

    __slots__ = ("_read",)

    def __init__(self, result: Any, rows: int) -> None:
        def get_value(row: int, column: int) -> Any:
            return result.get_value(row, column) if row < rows else None

        def read(name: str) -> Any:
            if name == "ntuples":
                return rows
            if name == "pgresult_ptr":
                raise AttributeError(name)
            return get_value if name == "get_value" else getattr(result, name)

        self._read = read

    def __getattr__(self, name: str) -> Any:
        return self._read(name)

    def __bool__(self) -> bool:
        return True

"""WHO, judged: whether enough is known of the caller, and what its budget leaves of this minute."""

from __future__ import annotations

import time
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, NoReturn

from attrs import evolve

from governed_db import refusals
from governed_db.errors import IdentityRequired
from governed_db.identity.model import Identity
from governed_db.policy.demands import Unmet, over, unmet
from governed_db.policy.model import Budget, Decision, Verdict
from governed_db.refusing import refused
from governed_db.run import Call, Known
from governed_db.statement import Unreadable

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat
    from governed_db.governor import Governor
    from governed_db.spending import Spending


def admitted(call: Call, caller: Identity, seat: Seat) -> None:
    """See whether as much is known of the caller as the policy demands, and still holds.

    Raises:
        IdentityRequired: it is not; the refusal is on record.
    """
    governor = seat.governor
    settings = governor.policy.settings
    missing = unmet(caller, settings.callers, settings.services, governor.withdrawn)
    if missing is not None:
        _unknown(call, caller, seat, missing)


def unexpired(call: Call, caller: Identity, seat: Seat) -> None:
    """See whether what an issuer said of the caller still holds, where no new statement says who asks.

    Raises:
        IdentityRequired: it does not; the refusal is on record.
    """
    governor = seat.governor
    ended = over(caller, governor.policy.settings.callers, governor.withdrawn) if governor.enforce else None
    if ended is not None:
        _unknown(call, caller, seat, ended)


def _unknown(call: Call, caller: Identity, seat: Seat, missing: Unmet) -> NoReturn:
    refusal = Unreadable(missing.rule, f"{missing.reason[:1].upper()}{missing.reason[1:]}", missing.remedy)
    seat.governor.trail.attempt(call, caller, seat, refusal)
    raise IdentityRequired(
        f"{refusal.reason} [rule {refusal.rule}]. {refusal.remedy[:1].upper()}{refusal.remedy[1:]}."
        " Trying the same again will not help.",
        rule=refusal.rule,
        remedy=refusal.remedy,
    )


def within_rate(call: Call, caller: Identity, seat: Seat) -> None:
    """Count one statement of ``caller``.

    Raises:
        StatementBlocked: it has sent as many in this minute as its budget allows. Retryable.
    """
    governor = seat.governor
    budget = governor.policy.budget(caller)
    if budget.statements_per_minute is None:
        return
    seconds = governor.spending.attempt(caller, _statements_of(budget), time.monotonic())
    if seconds is None:
        return
    rule = budget.rule("statements_per_minute")
    reason = f"this caller may send {budget.statements_per_minute} statements in a minute, and has"
    remedy = f"try again in {ceil(seconds)} seconds"
    raise refused(call, caller, seat, rule, reason, remedy, retryable=True)


@lru_cache(maxsize=1024)
def _statements_of(budget: Budget) -> Budget:
    # What a caller has written keeps it from writing, and not from reading.
    return evolve(budget, rows_written_per_minute=None)


@lru_cache(maxsize=1024)
def _rows_of(budget: Budget) -> Budget:
    return evolve(budget, statements_per_minute=None)


def within_rows(known: Known, decision: Decision, governor: Governor) -> Decision:
    """Cap a write by the rows its caller may still write in this minute."""
    caller, budget, now = known.request.identity, decision.budget, time.monotonic()
    left = governor.spending.may_write(caller, budget, now)
    if left is None or decision.verdict is Verdict.BLOCK:
        return decision
    if left <= 0:
        seconds = governor.spending.attempt(caller, _rows_of(budget), now)
        return refusals.written(decision, ceil(seconds or 1.0))
    if decision.row_cap is not None and decision.row_cap <= left:
        return decision
    # What is over this cap is over the budget, and the refusal has to name it.
    rule = budget.rule("rows_written_per_minute")
    return decision.replace(row_cap=left, rule=rule if decision.verdict is Verdict.ALLOW else decision.rule)


def charge(caller: Identity, spending: Spending, rows: int) -> None:
    """Count rows that ``caller`` has written."""
    spending.wrote(caller, rows, time.monotonic())

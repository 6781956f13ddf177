"""What callers have spent of their budgets: one account for all connections of a governor.

An account belongs to a subject (its kind and name at its issuer), whatever connection, thread or task it
comes through; rows returned belong to a subject's session. Nothing here waits and nothing is sent: who
asks is told what is left, or how long to wait.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from attrs import define, field

from governed_db.identity.model import Identity
from governed_db.locks import lock
from governed_db.policy.model import Budget

WINDOW = 60.0
"""Seconds over which the rates of a budget are counted: they are "per minute"."""

SLOT = 1.0
"""Seconds for which attempts are counted as one: an account then holds some sixty numbers however busy it
is. An attempt counts until the whole second it fell into is over ``WINDOW``, so never too short."""

MAX_SUBJECTS = 10_000
"""Accounts of rates that are kept. Above it, the one that was used longest ago goes, and starts over; a
process that meets more callers than this in a minute wants its rates in a shared store."""

MAX_SESSIONS = 10_000
"""Accounts of rows returned that are kept; above it, the one that was used longest ago goes."""

Subject = tuple[str, str, str]


@define(eq=False)
class _Rate:
    """Counts by slot of time, the oldest first."""

    slots: deque[list[float]] = field(factory=deque)
    total: float = 0

    def expire(self, now: float) -> None:
        """Forget what is older than the window."""
        slots = self.slots
        while slots and slots[0][0] + SLOT + WINDOW <= now:
            self.total -= slots.popleft()[1]

    def add(self, amount: float, now: float) -> None:
        """Count ``amount`` at ``now``."""
        slots = self.slots
        if slots and now < slots[-1][0] + SLOT:
            slots[-1][1] += amount
        else:
            slots.append([now // SLOT * SLOT, amount])
        self.total += amount

    def wait(self, limit: int, now: float) -> float:
        """Return the seconds until the total is below ``limit``: 0 where it is."""
        if self.total < limit:
            return 0.0
        left = self.total
        for start, amount in self.slots:
            left -= amount
            if left < limit:
                return max(start + SLOT + WINDOW - now, 0.001)
        return WINDOW


@define(eq=False)
class _Account:
    statements: _Rate = field(factory=_Rate)
    rows: _Rate = field(factory=_Rate)


class Spending:
    """The accounts of one governor. Safe with threads; memory is bounded by the constants above."""

    def __init__(self) -> None:
        self._lock = lock(self)
        self._rates: OrderedDict[Subject, _Account] = OrderedDict()
        self._returned: OrderedDict[tuple[Subject, str | None], int] = OrderedDict()

    def attempt(self, identity: Identity, budget: Budget, now: float) -> float | None:
        """Count one statement of ``identity``, or say how long it has to wait.

        Args:
            budget: whose ``statements_per_minute`` and ``rows_written_per_minute`` hold.
            now: seconds of a clock that never goes back (``time.monotonic()``).

        Returns:
            ``None``: it may go on, and has been counted. Otherwise the seconds after which it could; a
            statement that has to wait is not counted, so that asking again does not prolong the wait.
        """
        statements, rows = budget.statements_per_minute, budget.rows_written_per_minute
        if statements is None and rows is None:
            return None
        with self._lock:
            account = self._account(identity, now)
            wait = 0.0
            if statements is not None:
                wait = account.statements.wait(statements, now)
            if rows is not None:
                wait = max(wait, account.rows.wait(rows, now))
            if wait:
                return wait
            if statements is not None:
                account.statements.add(1, now)
            return None

    def wrote(self, identity: Identity, rows: int, now: float) -> None:
        """Count ``rows`` that ``identity`` has written. ``now`` as for :meth:`attempt`.

        A write that goes over the budget has happened: the next statements wait.
        """
        if rows > 0:
            with self._lock:
                self._account(identity, now).rows.add(rows, now)

    def may_write(self, identity: Identity, budget: Budget, now: float) -> int | None:
        """Return how many rows ``identity`` may still write in this window; ``None``: as many as it likes."""
        limit = budget.rows_written_per_minute
        if limit is None:
            return None
        with self._lock:
            return max(limit - int(self._account(identity, now).rows.total), 0)

    def returned(self, identity: Identity, budget: Budget, rows: int) -> int:
        """Count ``rows`` about to be handed out to a session of ``identity``; return how many may be.

        The answer is ``rows`` where they fit ``rows_returned_per_session``. Where they do not, it is what
        was left, which may be 0: counted as spent where ``budget.over`` is "truncate", and not counted
        where it is "refuse" (then nothing is handed out). Callers that name no session have one for as
        long as the process lives.
        """
        limit = budget.rows_returned_per_session
        if limit is None or rows <= 0:
            return max(rows, 0)
        key = (_subject(identity), identity.session)
        with self._lock:
            spent = self._returned.pop(key, 0)
            granted = min(rows, max(limit - spent, 0))
            if granted == rows or budget.over == "truncate":
                spent += granted
            self._returned[key] = spent
            if len(self._returned) > MAX_SESSIONS:
                self._returned.popitem(last=False)
        return granted

    def left(self, identity: Identity, budget: Budget) -> int | None:
        """Return how many rows may still be handed out to the session; ``None``: as many as there are."""
        limit = budget.rows_returned_per_session
        if limit is None:
            return None
        with self._lock:
            return max(limit - self._returned.get((_subject(identity), identity.session), 0), 0)

    def _account(self, identity: Identity, now: float) -> _Account:
        key = _subject(identity)
        account = self._rates.get(key)
        if account is None:
            account = self._rates[key] = _Account()
            if len(self._rates) > MAX_SUBJECTS:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(key)
        account.statements.expire(now)
        account.rows.expire(now)
        return account


def _subject(identity: Identity) -> Subject:
    return identity.kind.value, identity.issuer, identity.subject

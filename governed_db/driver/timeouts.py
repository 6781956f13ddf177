"""What a session's timeouts are, and what a caller's budget makes of them.

A budget only lowers: in force is the smaller of what the session has and what the budget says. In a
transaction that is ``SET LOCAL``, inside BEGIN's own message; outside of one ``SET``, sent only where what
is in force differs, and taken back before the next statement of a caller without such a budget.

A caller may lower a timeout with SET. Where text raises one, what is in force is read anew before the next
statement (the driver does that after every SET) and lowered again: a raised timeout holds for no statement.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field

from governed_db.policy.model import UNLIMITED, Budget

NAMES = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
"""PostgreSQL's settings, in the order of :attr:`governed_db.catalog.Session.timeouts`."""

IDLE_TIMEOUT = 2
"""The index of the one that means nothing outside of a transaction."""

GUARD_LOCK_TIMEOUT = 10_000
"""Milliseconds a guarded write waits for a lock where no budget says less: it runs on trial, and whoever
waits behind it should not wait for a trial."""

GUARD_STATEMENT_TIMEOUT = 300_000
"""Milliseconds a guarded write may run where no budget says less: it is about few rows by the policy, but
may have to look for them in a large table without an index."""

Needed = tuple[tuple[int, int], ...]
"""Settings to change: the index into :data:`NAMES`, and milliseconds (0: none)."""


def guarding(budget: Budget) -> Budget:
    """Return ``budget`` with the timeouts of a guarded write where it has none."""
    if budget.lock_timeout is not None and budget.statement_timeout is not None:
        return budget
    return evolve(
        budget,
        lock_timeout=GUARD_LOCK_TIMEOUT if budget.lock_timeout is None else budget.lock_timeout,
        statement_timeout=(
            GUARD_STATEMENT_TIMEOUT if budget.statement_timeout is None else budget.statement_timeout
        ),
    )


@define(eq=False)
class Timeouts:
    """The three timeouts of one session, in milliseconds, 0 for none: what is in force, and by whom.

    ``session`` is what holds outside of transactions without us, ``applied`` what we have set in its place.
    In a transaction, ``own`` is what its statements have set, ``local`` what we have put on top.
    """

    session: tuple[int, ...] = (0, 0, 0)
    applied: dict[int, int] = field(factory=dict)
    own: dict[int, int] = field(factory=dict)
    local: dict[int, int] = field(factory=dict)
    moved: bool = False  # something was set in this transaction after it began

    def in_force(self, index: int) -> int:
        """Return what the server applies now."""
        for layer in (self.local, self.own, self.applied):
            if index in layer:
                return layer[index]
        return self.session[index]

    def observe(self, values: Sequence[int], *, in_transaction: bool) -> None:
        """Note what the server says is in force."""
        for index, value in enumerate(values):
            if value == self.in_force(index):
                continue
            if in_transaction:
                self.local.pop(index, None)
                self.own[index] = value
            else:
                self.applied.pop(index, None)
                self.session = (*self.session[:index], value, *self.session[index + 1 :])

    def needed(self, budget: Budget, *, in_transaction: bool) -> Needed:
        """Return what has to be set so that no more than ``budget`` is in force, and no less than that."""
        if budget is UNLIMITED and not self.applied and not self.local:
            return ()
        limits = (budget.statement_timeout, budget.lock_timeout, budget.idle_timeout)
        needed = []
        for index, limit in enumerate(limits):
            if index == IDLE_TIMEOUT and not in_transaction:
                continue
            wanted = self.own.get(index, self.session[index])
            if limit is not None and (wanted == 0 or limit < wanted):
                wanted = limit
            if wanted != self.in_force(index):
                needed.append((index, wanted))
        return tuple(needed)

    def set(self, needed: Needed, *, in_transaction: bool) -> None:
        """Note that ``needed`` is in force now."""
        layer = self.local if in_transaction else self.applied
        for index, value in needed:
            layer[index] = value
            if not in_transaction and value == self.session[index]:
                del layer[index]

    def ended(self) -> None:
        """Note that the transaction is over: what was set in it holds no longer."""
        self.own.clear()
        self.local.clear()
        self.moved = False


def commands(needed: Needed, *, in_transaction: bool) -> tuple[bytes, ...]:
    """Return the SET commands for ``needed``."""
    word = "SET LOCAL" if in_transaction else "SET SESSION"
    return tuple(f"{word} {NAMES[index]} = {value}".encode() for index, value in needed)

"""MAY: what is asked of a policy and what it answers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, field, frozen

from governed_db.catalog.bound import Bound
from governed_db.identity.model import Identity
from governed_db.statement.facts import Effect, Statement

if TYPE_CHECKING:
    from governed_db.grants.model import Granted


class Verdict(StrEnum):
    """The three answers, from mild to severe in this order."""

    ALLOW = "allow"
    NEEDS_APPROVAL = "needs_approval"
    BLOCK = "block"


@frozen(kw_only=True)
class Budget:
    """What one caller may spend, from a ``[[budget]]`` of the policy. ``None``: not limited.

    Attributes:
        id: the budget's name; refusals name it as the rule ``budget.<id>``.
        statement_timeout, lock_timeout, idle_timeout: milliseconds; PostgreSQL's statement_timeout,
            lock_timeout and idle_in_transaction_session_timeout. They only ever lower what is in force.
        rows_returned: rows that one statement may hand out.
        rows_returned_per_session: rows that all statements of one session of the caller may hand out.
        over: what becomes of rows above these: "refuse", or "truncate" (the result says so).
        statements_per_minute: statements that the caller may send in any 60 seconds.
        rows_written_per_minute: rows that the caller may write in any 60 seconds.
        origins: limit to the id of the ``[[budget]]`` that set it, where several were put together.
    """

    id: str = ""
    statement_timeout: int | None = None
    lock_timeout: int | None = None
    idle_timeout: int | None = None
    rows_returned: int | None = None
    rows_returned_per_session: int | None = None
    over: str = "refuse"
    statements_per_minute: int | None = None
    rows_written_per_minute: int | None = None
    origins: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def rule(self, limit: str) -> str:
        """Return the rule that a refusal over ``limit`` (a name above) names."""
        return f"budget.{dict(self.origins).get(limit, self.id)}"


UNLIMITED = Budget()
"""The budget of callers whom no budget of the policy is about."""


@frozen(kw_only=True)
class Estimate:
    """What PostgreSQL's planner expects of a statement with its bound values (EXPLAIN, nothing runs).

    ``cost`` is in the planner's units, ``rows`` the rows the statement is expected to return or write.
    """

    cost: float
    rows: float


@frozen(kw_only=True)
class Request:
    """One question.

    ``bound`` is ``None`` where no database was at hand (``governed-db check`` without --dsn).
    ``estimate`` is ``None`` until a decision asks for one (:attr:`Decision.wants_estimate`).
    ``policy`` is the policy in force, for a decider that wants its opinion:
    ``request.policy.decide(request)``.
    ``grants`` are those that hold for the caller at this moment; they were verified.
    """

    statement: Statement
    identity: Identity
    bound: Bound | None = None
    now: datetime | None = None
    database: str = ""
    estimate: Estimate | None = None
    policy: Decider | None = field(default=None, eq=False, repr=False)
    grants: tuple[Granted, ...] = ()

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The effects to judge: the catalog's view where there is one, else the grammar's."""
        return self.statement.effects if self.bound is None else self.bound.effects


@frozen(kw_only=True)
class Shadowed:
    """What a rule in shadow would have said."""

    rule: str
    verdict: Verdict


@frozen(kw_only=True)
class Decision:
    """One answer.

    Attributes:
        verdict: allow, needs_approval or block.
        rule: the id of the rule that spoke.
        reason: which part of the statement, and why (one or two sentences, no literal of the statement).
        remedy: what would pass instead.
        retryable: whether the same call can pass later without being changed.
        statement: what was judged.
        effect: the effect that decided, or ``None`` where the statement as a whole did.
        row_cap: rows the statement may write before it needs approval; ``None``: no cap.
        restricts: it was allowed because its WHERE restricts the rows (``constrained = true``): where no key
            proves that, it is measured too, and a WHERE that leaves out no row restricts nothing.
        masked: whether this caller sees sensitive columns masked.
        approvers: groups of which somebody must agree, for needs_approval.
        approvals_needed: how many different people have to agree, for needs_approval.
        binds: what they agree to: "statement", or "effect", the very rows as they are and will be.
        shadowed: what rules in shadow would have said.
        policy: the version (digest) of the policy that answered.
        budget: what this caller may spend.
        wants_estimate: a condition was looked at that only the planner can tell; the answer stands for
            "not known", and asking again with ``Request.estimate`` may give a milder one.
        estimate: what the planner expected, where it was asked; for the record.
        grants: ids of the grants that it rests on.
    """

    verdict: Verdict
    rule: str
    reason: str
    remedy: str = ""
    retryable: bool = False
    statement: Statement = field(repr=False)
    effect: Effect | None = None
    row_cap: int | None = None
    restricts: bool = False
    masked: bool = True
    approvers: tuple[str, ...] = ()
    approvals_needed: int = 1
    binds: str = "statement"
    shadowed: tuple[Shadowed, ...] = ()
    policy: str = ""
    budget: Budget = UNLIMITED
    wants_estimate: bool = False
    estimate: Estimate | None = None
    grants: tuple[str, ...] = ()

    def replace(self, **changes: Any) -> Decision:
        """Return a copy with ``changes``."""
        return evolve(self, **changes)


class Decider(Protocol):
    """Anything that can stand where the policy stands."""

    def decide(self, request: Request) -> Decision:
        """Answer one request; may raise, which means refuse."""
        ...

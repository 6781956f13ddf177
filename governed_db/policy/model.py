"""MAY: what is asked of a policy and what it answers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from attrs import evolve, field, frozen

from governed_db.catalog.bound import Bound
from governed_db.identity.model import Identity
from governed_db.statement.facts import Effect, Statement


class Verdict(StrEnum):
    """The three answers, from mild to severe in this order."""

    ALLOW = "allow"
    NEEDS_APPROVAL = "needs_approval"
    BLOCK = "block"


@frozen(kw_only=True)
class Request:
    """One question.

    ``bound`` is ``None`` where no database was at hand (``governed-db check`` without --dsn).
    """

    statement: Statement
    identity: Identity
    bound: Bound | None = None
    now: datetime | None = None
    database: str = ""

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
        masked: whether this caller sees sensitive columns masked.
        approvers: groups of which somebody must agree, for needs_approval.
        shadowed: what rules in shadow would have said.
        policy: the version (digest) of the policy that answered.
    """

    verdict: Verdict
    rule: str
    reason: str
    remedy: str = ""
    retryable: bool = False
    statement: Statement = field(repr=False)
    effect: Effect | None = None
    row_cap: int | None = None
    masked: bool = True
    approvers: tuple[str, ...] = ()
    shadowed: tuple[Shadowed, ...] = ()
    policy: str = ""

    def replace(self, **changes: Any) -> Decision:
        """Return a copy with ``changes``."""
        return evolve(self, **changes)


class Decider(Protocol):
    """Anything that can stand where the policy stands."""

    def decide(self, request: Request) -> Decision:
        """Answer one request; may raise, which means refuse."""
        ...

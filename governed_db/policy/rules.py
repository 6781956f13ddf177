"""Rules as values: what a policy file says, checked and ready to be compiled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time
from enum import StrEnum
from zoneinfo import ZoneInfo

from attrs import field, frozen

from governed_db.identity.model import Identity, Kind
from governed_db.policy.model import Verdict
from governed_db.policy.patterns import Match, covers, match_text, split_column_pattern, split_relation
from governed_db.statement.facts import EffectKind

Names = tuple[str, ...] | None
"""Patterns of which one has to match; ``None``: the condition is not made."""


class Then(StrEnum):
    """What a rule answers. The values are the words of policy files."""

    ALLOW = "allow"
    APPROVE = "approve"
    BLOCK = "block"

    @property
    def verdict(self) -> Verdict:
        """The answer as a decision carries it."""
        return Verdict.NEEDS_APPROVAL if self is Then.APPROVE else Verdict(self.value)


@frozen(kw_only=True)
class IdentityCondition:
    """Who a rule is about; every part that is made has to hold.

    ``named_service`` is a caller of kind service whom the policy's ``services`` (or ``identity``) names and
    who does not act for an agent: what an agent decides stays an agent's statement, whoever passes it on.
    ``on_behalf_of`` holds when any principal of the chain fits.
    """

    kind: frozenset[Kind] | None = None
    subject: Names = None
    group: Names = None
    issuer: Names = None
    verified: bool | None = None
    named_service: bool | None = None
    on_behalf_of: IdentityCondition | None = None

    def holds(self, who: Identity, services: frozenset[str]) -> bool:
        """Return whether ``who`` fits, where ``services`` are the subjects the policy names."""
        return (
            (self.kind is None or who.kind in self.kind)
            and (self.subject is None or match_text(self.subject, who.subject))
            and (self.group is None or any(match_text(self.group, group) for group in who.groups))
            and (self.issuer is None or match_text(self.issuer, who.issuer))
            and (self.verified is None or who.verified is self.verified)
            and (self.named_service is None or is_named_service(who, services) is self.named_service)
            and (
                self.on_behalf_of is None
                or any(self.on_behalf_of.holds(principal, services) for principal in principals(who))
            )
        )

    def covers(self, other: IdentityCondition) -> bool:
        """Return whether everybody who fits ``other`` provably fits this one."""
        return (
            (self.kind is None or (other.kind is not None and other.kind <= self.kind))
            and names_cover(self.subject, other.subject)
            and names_cover(self.group, other.group)
            and names_cover(self.issuer, other.issuer)
            and self.verified in {None, other.verified}
            and self.named_service in {None, other.named_service}
            and (
                self.on_behalf_of is None
                or (other.on_behalf_of is not None and self.on_behalf_of.covers(other.on_behalf_of))
            )
        )


def principals(who: Identity) -> tuple[Identity, ...]:
    """Return those whom ``who`` acts for, nearest first."""
    chain = []
    principal = who.on_behalf_of
    while principal is not None:
        chain.append(principal)
        principal = principal.on_behalf_of
    return tuple(chain)


def is_named_service(who: Identity, services: frozenset[str]) -> bool:
    """Return whether ``who`` is a service the policy names, acting for no agent."""
    return (
        who.kind is Kind.SERVICE
        and who.subject in services
        and all(principal.kind is not Kind.AGENT for principal in principals(who))
    )


def names_cover(
    general: Names, special: Names, *, split: Callable[[str], tuple[str, ...]] | None = None
) -> bool:
    """Return whether every name that fits ``special`` provably fits ``general``.

    ``split`` takes patterns of several parts apart; without it they are plain text.
    """
    if general is None:
        return True
    if special is None:
        return False
    return all(any(covers(g, s, split=split) for g in general) for s in special)


@frozen(kw_only=True)
class TimeWindow:
    """When a rule is about: days of the week (0 is Monday) and a span of the day in ``zone``.

    A span whose end is not after its start runs past midnight and belongs to the day it starts on.
    """

    days: frozenset[int]
    start: time
    end: time
    zone: str = "UTC"

    def holds(self, now: datetime | None) -> Match:
        """Hold the time of a request against the window; a time without a zone tells nothing."""
        if now is None or now.tzinfo is None:
            return Match.MAYBE
        here = now.astimezone(ZoneInfo(self.zone))
        clock, today = here.time(), here.weekday()
        if self.start < self.end:
            inside = today in self.days and self.start <= clock < self.end
        else:
            evening = today in self.days and clock >= self.start
            morning = (today - 1) % 7 in self.days and clock < self.end
            inside = evening or morning
        return Match.YES if inside else Match.NO


@frozen(kw_only=True)
class When:
    """The conditions of a rule; all that are made have to hold.

    Attributes:
        incomplete: the rule is about statements that were not understood completely, as a whole. It is
            then held against no single effect.
        effects, relations, names, notes, constrained: about one effect; see Effect.
        values: SET sets the setting to one of these, in plain text.
        up_to_ms: SET sets a setting that is a span of time to a constant from 1 to so many milliseconds.
        identity, window: about the caller and the time.
        functions: a function that the statement calls, vetted or not, as ``schema.name``.
        columns: a column that the statement reads or writes, as ``schema.relation.column``.
        environment, database: about where it would run.
        cost_over, rows_over: PostgreSQL's planner expects more than so many units of cost, or rows.
    """

    incomplete: bool = False
    effects: frozenset[EffectKind] | None = None
    relations: Names = None
    names: Names = None
    notes: Names = None
    constrained: bool | None = None
    values: Names = None
    up_to_ms: int | None = None
    identity: IdentityCondition | None = None
    window: TimeWindow | None = None
    functions: Names = None
    columns: Names = None
    environment: Names = None
    database: Names = None
    cost_over: float | None = None
    rows_over: float | None = None

    @property
    def estimated(self) -> bool:
        """Whether only the planner can tell if it holds."""
        return self.cost_over is not None or self.rows_over is not None

    def covers(self, other: When) -> bool:
        """Return whether whatever fits ``other`` provably fits this."""
        return (
            self.incomplete is other.incomplete
            and (self.effects is None or (other.effects is not None and other.effects <= self.effects))
            and names_cover(self.relations, other.relations, split=split_relation)
            and names_cover(self.names, other.names)
            and names_cover(self.notes, other.notes)
            and self.constrained in {None, other.constrained}
            and names_cover(self.values, other.values)
            and (self.up_to_ms is None or (other.up_to_ms is not None and other.up_to_ms <= self.up_to_ms))
            and (
                self.identity is None or (other.identity is not None and self.identity.covers(other.identity))
            )
            and self.window in {None, other.window}
            and names_cover(self.functions, other.functions, split=split_relation)
            and names_cover(self.columns, other.columns, split=split_column_pattern)
            and names_cover(self.environment, other.environment)
            and names_cover(self.database, other.database)
            and _under(self.cost_over, other.cost_over)
            and _under(self.rows_over, other.rows_over)
        )


def _under(general: float | None, special: float | None) -> bool:
    """Return whether whatever is over ``special`` is over ``general`` as well."""
    return general is None or (special is not None and general <= special)


@frozen(kw_only=True)
class Rule:
    """One ``[[rule]]``. ``origin`` (file, line, column) is for people and no part of the rule.

    ``count``: how many different people have to agree, where it asks for approval; ``binds``: to what,
    "statement" or "effect".
    """

    id: str
    when: When
    then: Then
    because: str
    remedy: str = ""
    retryable: bool = False
    rows: int | None = None
    approvers: tuple[str, ...] = ()
    count: int = 1
    binds: str = "statement"
    shadow: bool = False
    origin: str = field(default="", eq=False)

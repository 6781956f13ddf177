"""Whether the conditions of a rule hold for one part of a statement."""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING

from attrs import define, field

from governed_db.identity.model import Identity
from governed_db.policy.model import Estimate, Verdict
from governed_db.policy.parts import Part, milliseconds
from governed_db.policy.patterns import (
    Match,
    match_columns,
    match_functions,
    match_relations,
    match_text,
)
from governed_db.policy.rules import Rule, When
from governed_db.policy.settings import Settings
from governed_db.statement.facts import Effect, EffectKind, Statement

if TYPE_CHECKING:
    from governed_db.grants.model import Granted

_FOLDED = frozenset({EffectKind.SET, EffectKind.SHOW})  # PostgreSQL folds the case of setting names


@define(eq=False)
class Sitting:
    """The state of one judgement."""

    identity: Identity
    now: datetime | None
    shadowed: dict[str, tuple[int, Verdict]] = field(factory=dict)
    momentary: bool = False  # whether a condition was looked at that depends on the moment
    database: str = ""
    estimate: Estimate | None = None
    estimating: bool = False  # whether a condition was looked at that only the planner can tell
    looked: list[tuple[Part, int, Rule, Match]] | None = None  # every rule looked at, for who explains
    grants: tuple[Granted, ...] = ()
    statement: Statement | None = None  # as written, for grants of a pattern


def holds(when: When, part: Part, sitting: Sitting, settings: Settings) -> Match:
    """Hold ``part`` against conditions. The momentary ones come last and only where the rest holds."""
    effect = part.effect
    if when.identity is not None and not when.identity.holds(sitting.identity, settings.services):
        return Match.NO
    match = Match.YES
    if when.notes is not None and not match_text(when.notes, part.note):
        return Match.NO
    if effect is not None:
        match = _of_effect(when, part, effect)
    if when.environment is not None and match is not Match.NO:
        match = min(match, _told(when.environment, settings.environment))
    if when.database is not None and match is not Match.NO:
        match = min(match, _told(when.database, sitting.database))
    if when.window is not None and match is not Match.NO:
        sitting.momentary = True
        match = min(match, when.window.holds(sitting.now))
    if when.estimated and match is not Match.NO:
        sitting.momentary = sitting.estimating = True
        match = min(match, _over(when, sitting.estimate))
    return match


def _of_effect(when: When, part: Part, effect: Effect) -> Match:
    if when.constrained is not None and effect.constrained is not when.constrained:
        return Match.NO
    if when.names is not None and not match_text(when.names, effect.name, fold=effect.kind in _FOLDED):
        return Match.NO
    if when.values is not None and not (
        part.constants and all(match_text(when.values, value, fold=True) for value in part.constants)
    ):
        return Match.NO
    if when.up_to_ms is not None and not 1 <= (milliseconds(part.constants) or 0) <= when.up_to_ms:
        return Match.NO
    match = Match.YES
    if when.relations is not None:
        match = match_relations(when.relations, part.relations)
        if part.beside is not None:
            match = max(match, match_relations(when.relations, (part.beside,)))
    if when.columns is not None and match is not Match.NO:
        columns = match_columns(when.columns, part.relations, part.column)
        if part.beside is not None:
            columns = max(columns, match_columns(when.columns, (part.beside,), part.column))
        match = min(match, columns)
    if when.functions is not None and match is not Match.NO:
        match = min(match, match_functions(when.functions, part.calls))
    return match


def _told(patterns: tuple[str, ...], name: str) -> Match:
    if not name:
        return Match.MAYBE
    return Match.YES if match_text(patterns, name) else Match.NO


def _over(when: When, estimate: Estimate | None) -> Match:
    """Hold the planner's expectation against ``when``. What is not a number is not known."""
    if estimate is None or not (isfinite(estimate.cost) and isfinite(estimate.rows)):
        return Match.MAYBE
    over = (when.cost_over is None or estimate.cost > when.cost_over) and (
        when.rows_over is None or estimate.rows > when.rows_over
    )
    return Match.YES if over else Match.NO

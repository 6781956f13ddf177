"""What grants change in the answer of one rule about one part of a statement.

Nobody grants what they could not agree to if they were asked: where a rule asks for members of a group, or
for several people, as many grants by such people are needed as the rule asks for. What is no rule (the
default, a refusal by the library itself) and a statement that was not understood cannot be waived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from attrs import evolve

from governed_db.approval.people import folded
from governed_db.policy.answers import Answer, writes
from governed_db.policy.model import Verdict
from governed_db.policy.patterns import Match, match_relations
from governed_db.policy.rules import Rule, Then
from governed_db.statement.facts import DEPENDENTS, EffectKind, Statement

if TYPE_CHECKING:
    from governed_db.grants.model import Granted

MOST_COMPARED: Final = 4096
"""Characters of a statement that are there to be compared (statement/normalise.py)."""

_OF_ROWS: Final = frozenset(
    {
        EffectKind.EMPTY,
        EffectKind.SELECT,
        EffectKind.INSERT,
        EffectKind.UPDATE,
        EffectKind.DELETE,
        EffectKind.MERGE,
        EffectKind.ROW_LOCK,
        EffectKind.COPY_TO,
        EffectKind.COPY_FROM,
        EffectKind.EXPLAIN,
        EffectKind.CURSOR,
        EffectKind.FUNCTION,
        EffectKind.CALL,
    }
)
"""Effects of statements whose values say which rows, and not what is done: a pattern leaves these open."""

_ELSEWHERE: Final = frozenset({EffectKind.EXECUTE, EffectKind.FETCH})
"""Effects of statements whose text does not say what they do: the same name can mean another query."""


def patterned(statement: Statement) -> bool:
    """Whether a pattern says what ``statement`` does, whatever its values are.

    The values of a definition are part of it: bodies of functions, defaults, the WHERE of a view.
    """
    kinds = {effect.kind for effect in statement.effects}
    if not kinds.isdisjoint(_ELSEWHERE):
        return False
    return kinds <= _OF_ROWS or not (
        "$" in statement.normalised or len(statement.normalised) >= MOST_COMPARED
    )


def under(
    answer: Answer, grants: Sequence[Granted], statement: Statement | None, never: Sequence[str]
) -> Answer:
    """Return ``answer`` as it is under ``grants``, which hold for the caller at this moment.

    Args:
        answer: of a rule that is not in shadow.
        grants: what was granted.
        statement: what is judged.
        never: ids of rules that no grant waives, nor the cap of one.
    """
    rule = answer.rule
    if rule is None or answer.part.effect is None or rule.id in never:
        return answer
    fit = [each for each in grants if _covers(each, answer, statement)]
    if not fit:
        return answer
    if answer.verdict is not Verdict.ALLOW and answer.too_many is None:
        waiving = _agreed(rule, [g for g in fit if _waives(g, rule)])
        if not waiving:
            return answer
        return evolve(
            answer,
            verdict=Verdict.ALLOW,
            waived=True,
            raised=_cap(waiving),
            grants=tuple(waiving),
            patterned=all(g.grant.fingerprint for g in waiving),
        )
    if answer.cap is None or not writes(answer.part):
        return answer
    larger = [g for g in fit if g.grant.rows is not None and _pattern_fits(g, rule)]
    raising = _agreed(rule, larger)
    rows = _cap(raising) if raising else None
    if rows is None or rows <= answer.cap:
        return answer
    if answer.too_many is not None and answer.too_many > rows:
        return evolve(answer, raised=rows)
    return evolve(
        answer,
        verdict=Verdict.ALLOW,
        too_many=None,
        raised=rows,
        grants=tuple(raising),
        patterned=all(g.grant.fingerprint for g in raising),
    )


def _covers(granted: Granted, answer: Answer, statement: Statement | None) -> bool:
    """Return whether a grant is about this part of this statement."""
    grant = granted.grant
    if grant.fingerprint:
        if statement is None or statement.fingerprint != grant.fingerprint or not patterned(statement):
            return False
        if grant.statement and statement.normalised != grant.statement:
            return False
    if not grant.on:
        return True
    relations = answer.part.relations
    if not relations:
        # Of a statement that was granted as it stands, the parts without a relation are granted as well.
        return bool(grant.fingerprint)
    effect = answer.part.effect
    if effect is not None and effect.note == DEPENDENTS and not grant.fingerprint:
        return False  # nobody has named what goes with it
    return match_relations(grant.on, relations) is Match.YES


def _waives(granted: Granted, rule: Rule) -> bool:
    grant = granted.grant
    if grant.rules:
        return rule.id in grant.rules
    return bool(grant.fingerprint) and rule.then is Then.APPROVE and _pattern_fits(granted, rule)


def _pattern_fits(granted: Granted, rule: Rule) -> bool:
    # Where people agree to the very rows, a pattern says nothing of them.
    return not granted.grant.fingerprint or rule.binds != "effect"


def _agreed(rule: Rule, grants: Iterable[Granted]) -> list[Granted]:
    """Return those of ``grants`` that count for ``rule``; none where there are too few of them."""
    counting: dict[str, Granted] = {}
    asks = rule.then is Then.APPROVE or rule.rows is not None
    for each in sorted(grants, key=_reach, reverse=True):
        if asks and rule.approvers and each.by.groups.isdisjoint(rule.approvers):
            continue
        counting.setdefault(folded(each.by.subject), each)
    needed = rule.count if asks else 1
    return list(counting.values())[:needed] if len(counting) >= needed else []


def _reach(granted: Granted) -> float:
    rows = granted.grant.rows
    return float("inf") if rows is None else rows


def _cap(grants: Sequence[Granted]) -> int | None:
    """Return the rows that all of ``grants`` agree to, ``None`` where none of them says."""
    return min((g.grant.rows for g in grants if g.grant.rows is not None), default=None)

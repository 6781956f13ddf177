"""What rules say about the parts of a statement, in the order in which it counts."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from governed_db.policy.model import Request, Verdict
from governed_db.policy.parts import Part
from governed_db.policy.reasons import APPROVAL_REMEDY, NO_RULE_REMEDY, fill
from governed_db.policy.rules import Rule
from governed_db.statement.facts import CAPPED, EffectKind

SEVERITY = {Verdict.ALLOW: 0, Verdict.NEEDS_APPROVAL: 1, Verdict.BLOCK: 2}
"""Verdicts from mild to severe."""


@frozen
class Answer:
    """What one rule (``None``: the default) says about one part."""

    part: Part
    rule: Rule | None
    rank: int  # the rule's place from the top
    verdict: Verdict
    too_many: int | None = None
    certain: bool = True  # whether all conditions of the rule are known to hold

    def order(self) -> tuple[Any, ...]:
        """Severest first; then as the module says; the rest only makes it a total order."""
        e = self.part.effect
        place: tuple[Any, ...] = (-2, "", "", "", 0, "")  # the statement as a whole comes before its parts
        if e is not None:
            place = (e.location, str(e), e.name, e.note, e.rows or 0, str(e.constrained))
        place = (*place, str(self.part.column), str(self.part.calls))
        capped = self.rule is not None and self.rule.rows is not None
        # What is allowed is best called by what the statement is about: its write, else what no other
        # effect brought with it.
        about = (not capped, bool(self.part.note), place) if self.verdict is Verdict.ALLOW else ()
        return (-SEVERITY[self.verdict], not self.certain, about, self.rank, self.too_many is None, place)


def estimable(answers: list[Answer], request: Request) -> bool:
    """Return whether an estimate can change the answer, and may be asked for.

    The planner runs functions that are declared immutable or stable to estimate with their values. So
    nothing is planned that calls a function outside the vetted list, unless all but the estimate allows it.
    """
    mildest: dict[Part, int] = {}
    for answer in answers:
        severity = SEVERITY[answer.verdict]
        mildest[answer.part] = min(severity, mildest.get(answer.part, severity))
    if request.estimate is not None:
        return False
    best = max(mildest.values())
    if best >= SEVERITY[Verdict.BLOCK]:
        return False
    return best == SEVERITY[Verdict.ALLOW] or all(e.kind is not EffectKind.FUNCTION for e in request.effects)


def of_capping(answers: list[Answer]) -> int:
    """Return how many people have to agree to what turns out to be over a row cap."""
    # What is measured while it runs turns into a request for approval, by the smallest cap's rule.
    counts = [a.rule.count for a in answers if a.rule and a.rule.rows is not None and writes(a.part)]
    return max(counts, default=1)


def writes(part: Part) -> bool:
    """Whether ``part`` writes rows that caps count."""
    return part.effect is not None and part.effect.kind in CAPPED


def answer_of(part: Part, rule: Rule, rank: int, *, certain: bool = True) -> Answer:
    """Return what ``rule`` says about ``part``, which its conditions fit."""
    rows = part.effect.rows if part.effect and part.effect.kind is EffectKind.INSERT else None
    if rule.rows is not None and rows is not None and rows > rule.rows:
        return Answer(part, rule, rank, Verdict.NEEDS_APPROVAL, too_many=rows, certain=certain)
    return Answer(part, rule, rank, rule.then.verdict, certain=certain)


def remedy_of(answer: Answer) -> str:
    """Return what would pass instead."""
    if answer.verdict is Verdict.ALLOW:
        return ""
    if answer.rule is None:
        return NO_RULE_REMEDY
    if answer.too_many is not None:
        return f"Send at most {answer.rule.rows} rows in a statement, or ask for approval."
    if answer.rule.remedy or answer.verdict is Verdict.BLOCK:
        return fill(answer.rule.remedy, answer.part)
    return APPROVAL_REMEDY

"""What rules say about the parts of a statement, in the order in which it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from governed_db.policy.model import Request, Verdict
from governed_db.policy.parts import Part
from governed_db.policy.reasons import APPROVAL_REMEDY, NO_RULE_REMEDY, fill
from governed_db.policy.rules import Rule
from governed_db.statement.facts import CAPPED, EffectKind

if TYPE_CHECKING:
    from governed_db.grants.model import Granted

SEVERITY = {Verdict.ALLOW: 0, Verdict.NEEDS_APPROVAL: 1, Verdict.BLOCK: 2}
"""Verdicts from mild to severe."""


@frozen
class Answer:
    """What one rule (``None``: the default) says about one part.

    ``grants`` have changed it: ``waived`` the rule, ``raised`` its cap (of what is waived: the only one), or,
    where it is ``patterned``, agreed to the statement as it stands.
    """

    part: Part
    rule: Rule | None
    rank: int  # the rule's place from the top
    verdict: Verdict
    too_many: int | None = None
    certain: bool = True  # whether all conditions of the rule are known to hold
    waived: bool = False
    raised: int | None = None
    grants: tuple[Granted, ...] = ()
    patterned: bool = False

    @property
    def cap(self) -> int | None:
        """The rows that the part may write without people, ``None`` where nothing limits them."""
        rows = self.rule.rows if self.rule is not None else None
        if self.waived or self.raised is not None:
            return self.raised
        return rows

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
    counts = [a.rule.count for a in answers if a.rule and a.cap is not None and writes(a.part)]
    return max(counts, default=1)


def strictest(answers: list[Answer]) -> str:
    """Return what people agree to: "effect" where one of the rules that ask them, or may, says so."""
    asking = (
        a.rule
        for a in answers
        if a.rule and (a.verdict is Verdict.NEEDS_APPROVAL or (a.cap is not None and writes(a.part)))
    )
    return "effect" if any(rule.binds == "effect" for rule in asking) else "statement"


def asked_by_capping(answers: list[Answer]) -> Rule | None:
    """Return the rule whose cap is reached first: it says whom to ask about more."""
    capping = [a for a in answers if a.rule and a.cap is not None and writes(a.part)]
    return min(capping, key=lambda a: a.cap or 0).rule if capping else None


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
        return f"Send at most {answer.cap} rows in a statement, or ask for approval."
    if answer.rule.remedy or answer.verdict is Verdict.BLOCK:
        return fill(answer.rule.remedy, answer.part)
    return APPROVAL_REMEDY

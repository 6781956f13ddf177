"""Why a policy answers as it does: every part of a statement, every rule that was looked at for it.

Nothing is decided here. The rules are held against the parts by the very code that decides
(:mod:`governed_db.policy.decide`), which notes what it looks at on the way.
"""

from __future__ import annotations

from attrs import evolve, fields, frozen

from governed_db.policy.answers import Answer
from governed_db.policy.decide import Policy
from governed_db.policy.holding import Sitting
from governed_db.policy.model import Request, Verdict
from governed_db.policy.parts import Part
from governed_db.policy.patterns import Match
from governed_db.policy.reasons import NO_RULE, fill, phrase
from governed_db.policy.rules import Rule, When

_STRUCTURE = frozenset({"incomplete", "effects"})
"""Conditions by which rules are sorted beforehand: a rule that was looked at meets them."""

CONDITIONS = {"constrained": "constrained", "window": "time"}
"""What policy files call a condition where the value here has another name."""


@frozen(kw_only=True)
class Look:
    """One rule as it was held against one part.

    Attributes:
        rule: its id.
        origin: ``file:line:column`` of the rule.
        match: whether its conditions hold; MAYBE where something at hand does not tell.
        verdict: what it says; for a rule that does not match, what it would.
        shadow: it is only noted, and never decides.
        conditions: for NO the conditions that fail, for MAYBE those that cannot be told.
        because: its words, filled in for this part.
    """

    rule: str
    origin: str
    match: Match
    verdict: Verdict
    shadow: bool = False
    conditions: tuple[str, ...] = ()
    because: str = ""


@frozen(kw_only=True)
class ExplainedPart:
    """One part of a statement and what the rules say of it.

    Attributes:
        part: the part.
        what: how a person would call it, with its place in the text.
        looks: the rules looked at, from top to bottom; the search ends with the first that surely holds.
        verdict: the answer for the part: the severest of those found.
        rule: the id of the rule that gave it, "default" where none speaks of the part.
        too_many: rows the text itself writes, where they are above the rule's cap.
        wins: this part's answer is the statement's.
    """

    part: Part
    what: str
    looks: tuple[Look, ...]
    verdict: Verdict
    rule: str
    too_many: int | None = None
    wins: bool = False


def explain(policy: Policy, request: Request) -> tuple[ExplainedPart, ...]:
    """Return how ``policy`` comes to its answer to ``request``, part by part; no I/O."""
    sitting = policy._sit(request)
    looked: list[tuple[Part, int, Rule, Match]] = []
    sitting.looked = looked
    judged = tuple(dict.fromkeys(policy.parts(request)))
    answers = policy._weighed(judged, sitting)
    explained = []
    for part in judged:
        severest = next((a for a in answers if a.part == part), None)
        if severest is None:
            continue  # a part that is there for rules which do not speak of it
        explained.append(
            ExplainedPart(
                part=part,
                what=phrase(part),
                looks=tuple(
                    _look(policy, request, part, rule, match) for p, _, rule, match in looked if p == part
                ),
                verdict=severest.verdict,
                rule=_id(severest),
                too_many=severest.too_many,
                wins=part == answers[0].part,
            )
        )
    return tuple(explained)


def _id(answer: Answer) -> str:
    return answer.rule.id if answer.rule else "default"


def _look(policy: Policy, request: Request, part: Part, rule: Rule, match: Match) -> Look:
    return Look(
        rule=rule.id,
        origin=rule.origin,
        match=match,
        verdict=rule.then.verdict,
        shadow=rule.shadow,
        conditions=() if match is Match.YES else _conditions(policy, request, part, rule.when, match),
        because=fill(rule.because, part),
    )


def _conditions(policy: Policy, request: Request, part: Part, when: When, wanted: Match) -> tuple[str, ...]:
    """Return the conditions of ``when`` that alone come out as ``wanted``, by the code that decides."""
    names = [f.name for f in fields(When) if f.name not in _STRUCTURE and getattr(when, f.name) != f.default]
    found = []
    for name in names:
        alone = evolve(When(), **{name: getattr(when, name)})
        sitting: Sitting = policy._sit(request)
        if policy._match(alone, part, sitting) is wanted:
            found.append(CONDITIONS.get(name, name))
    return tuple(found)


def why(part: ExplainedPart) -> str:
    """Return in a sentence why the answer of ``part`` is what it is."""
    spoke = next((look for look in part.looks if look.rule == part.rule and not look.shadow), None)
    if spoke is None:
        return NO_RULE
    if spoke.match is Match.MAYBE:
        untold = " and ".join(spoke.conditions) or "a condition"
        return f"{untold} cannot be told here, so the severest of the answers found stands"
    if any(look.match is Match.MAYBE and not look.shadow for look in part.looks):
        return "rules above it may hold or not, and no answer among them is severer"
    return "the first rule from the top whose conditions all hold"


def precedence(parts: tuple[ExplainedPart, ...]) -> str:
    """Return in a sentence why the winning part is the one that speaks for the statement."""
    winner = next(p for p in parts if p.wins)
    if len(parts) == 1:
        return "it is the only part"
    if any(p.verdict is not winner.verdict for p in parts):
        equals = sum(p.verdict is winner.verdict for p in parts)
        if equals == 1:
            return "it has the severest answer of all parts"
        return (
            f"{equals} parts have the severest answer; of their rules this one stands highest in the policy"
        )
    if winner.verdict is Verdict.ALLOW:
        return "every part is allowed, and this one is what the statement is about"
    return "all parts have the same answer; of their rules this one stands highest"

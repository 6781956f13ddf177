"""MAY: one policy, compiled, answering requests.

Precedence, the whole of it:

1. A statement is a set of parts: each of its effects, each relation it touches that no effect names, and,
   where it was not understood completely, the statement as a whole.
2. Each part is held against the rules from top to bottom. A file's own rules stand above those of the
   preset it extends. The first rule whose conditions all hold speaks for the part. Where no rule does, the
   part is blocked by the rule "default".
3. The severest answer over all parts is the verdict: block, then needs_approval, then allow. Among equals
   the rule that stands higher is named, then the part that comes first in the text; where all is allowed,
   the rule of the statement's own command.
4. A condition that cannot be told (the schema of a name when no database was asked, the time when nobody
   said it) may hold or not: the rule's answer is noted and the search goes on below it, and the
   severest of the answers found stands for the part. Not knowing never makes an answer milder.
5. A rule in shadow is noted with what it would have said, and passed over.
6. A rule with ``rows`` allows up to so many rows. What the text itself shows to be more needs approval at
   once; the rest is measured when it runs, against the smallest cap of the rules that spoke.

The answer to a request depends on the statement, the catalog's view of it, the caller's standing and the
policy. It is kept for the next time unless a condition was looked at that also depends on the moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import define, field, frozen

from governed_db.identity.model import Identity
from governed_db.masking.model import Strategy
from governed_db.policy.model import Decision, Request, Shadowed, Verdict
from governed_db.policy.parts import Part, milliseconds, parts
from governed_db.policy.patterns import Match, match_relations, match_text
from governed_db.policy.reasons import APPROVAL_REMEDY, NO_RULE_REMEDY, fill, reason
from governed_db.policy.rules import Rule, When
from governed_db.policy.settings import AuditSettings, CatalogSettings, MaskingSettings, Settings
from governed_db.statement.facts import WRITES, EffectKind

SEVERITY = {Verdict.ALLOW: 0, Verdict.NEEDS_APPROVAL: 1, Verdict.BLOCK: 2}
"""Verdicts from mild to severe."""

_KEPT = 8192  # answers kept; each is a reference and a key, statements are shared with their own cache
_FOLDED = frozenset({EffectKind.SET, EffectKind.SHOW})  # PostgreSQL folds the case of setting names


@frozen
class _Answer:
    part: Part
    rule: Rule | None
    rank: int  # the rule's place from the top
    verdict: Verdict
    too_many: int | None = None

    def order(self) -> tuple[Any, ...]:
        """Severest first; then as the module says; the rest only makes it a total order."""
        e = self.part.effect
        place = () if e is None else (e.location, str(e), e.name, e.note, e.rows or 0, str(e.constrained))
        capped = self.rule is not None and self.rule.rows is not None
        # What is allowed is best called by what the statement is about: its write, else what no other
        # effect brought with it.
        about = (not capped, bool(self.part.note), place) if self.verdict is Verdict.ALLOW else ()
        return (-SEVERITY[self.verdict], about, self.rank, self.too_many is None, place)


@define(eq=False)
class _Sitting:
    """The state of one judgement."""

    identity: Identity
    now: datetime | None
    shadowed: dict[str, tuple[int, Verdict]] = field(factory=dict)
    momentary: bool = False  # whether a condition was looked at that depends on the moment


@frozen(eq=False, kw_only=True)
class Policy:
    """Rules and settings, ready to answer. Made by :func:`governed_db.policy.load` or ``preset``.

    Attributes:
        name: the file or the preset it is from.
        rules: all rules in the order of precedence.
        settings: everything else the file says.
        version: a digest of what it says, presets included; comments and layout do not count.
    """

    name: str
    rules: tuple[Rule, ...] = field(repr=False)
    settings: Settings = field(repr=False)
    version: str
    _by_kind: Mapping[EffectKind | None, tuple[tuple[int, Rule], ...]] = field(init=False, repr=False)
    _kept: dict[tuple[Any, ...], tuple[object, Decision]] = field(init=False, repr=False, factory=dict)

    @_by_kind.default
    def _sort_by_kind(self) -> dict[EffectKind | None, tuple[tuple[int, Rule], ...]]:
        ranked = tuple(enumerate(self.rules))
        table: dict[EffectKind | None, tuple[tuple[int, Rule], ...]] = {
            kind: tuple(
                (rank, rule)
                for rank, rule in ranked
                if not rule.when.incomplete and (rule.when.effects is None or kind in rule.when.effects)
            )
            for kind in EffectKind
        }
        table[None] = tuple((rank, rule) for rank, rule in ranked if rule.when.incomplete)
        return table

    @property
    def enforce(self) -> bool:
        """Whether answers bind; where not, they are only recorded."""
        return self.settings.enforce

    @property
    def identity(self) -> Identity | None:
        """The caller where nobody says otherwise, or ``None``."""
        return self.settings.identity

    @property
    def masking(self) -> MaskingSettings:
        """The ``[masking]`` section."""
        return self.settings.masking

    @property
    def limits(self) -> Mapping[str, int]:
        """The ``[limits]`` section; keys it does not name keep the reader's defaults."""
        return self.settings.limits

    @property
    def audit(self) -> AuditSettings:
        """The ``[audit]`` section."""
        return self.settings.audit

    @property
    def catalog(self) -> CatalogSettings:
        """The ``[catalog]`` section."""
        return self.settings.catalog

    @property
    def strategies(self) -> Mapping[str, Strategy]:
        """Label to masking strategy, as far as the policy says."""
        return self.settings.masking.strategies

    @property
    def momentary(self) -> bool:
        """Whether some rule asks for the time; requests then have to carry the ``now`` of their call."""
        return any(rule.when.window is not None for rule in self.rules)

    def caps(self, identity: Identity) -> bool:
        """Return whether a rule with a row cap can speak about a write of ``identity``."""
        services = self.settings.services
        for kind in WRITES:
            for _, rule in self._by_kind[kind]:
                when = rule.when
                if rule.shadow or not (when.identity is None or when.identity.holds(identity, services)):
                    continue
                if rule.rows is not None:
                    return True
                if When(effects=when.effects, identity=when.identity) == when:
                    break  # it takes every write of this kind, and so nothing below it speaks
        return False

    def masks(self, identity: Identity) -> bool:
        """Return whether ``identity`` sees sensitive columns masked."""
        masking = self.settings.masking
        return masking.on and not any(c.holds(identity, self.settings.services) for c in masking.unmasked)

    def decide(self, request: Request) -> Decision:
        """Answer ``request``; no I/O. Whether the answer binds is for ``enforce`` to say."""
        statement = request.statement
        subject = statement if request.bound is None else request.bound
        who = request.identity
        # By identity of the object, which the kept answer holds on to: hashing its facts costs more
        # than judging them.
        key = (id(subject), who.kind, who.subject, who.groups, who.verified, who.issuer, who.on_behalf_of)
        kept = self._kept.get(key)
        if kept is not None and kept[0] is subject and kept[1].statement is statement:
            return kept[1]
        sitting = _Sitting(who, request.now)
        decision = self._judge(request, sitting)
        if not sitting.momentary:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = (subject, decision)
        return decision

    def _judge(self, request: Request, sitting: _Sitting) -> Decision:
        judged = parts(request) or (Part(None, note="nothing in it says what it does"),)
        answers = [answer for part in judged for answer in self._answers(part, sitting)]
        answers.sort(key=_Answer.order)
        first = answers[0]
        caps = [a.rule.rows for a in answers if a.rule and a.rule.rows is not None and _writes(a.part)]
        said = {first.part: ""}
        for a in answers:
            if a.verdict is first.verdict:
                said.setdefault(a.part, a.rule.id if a.rule else "default")
        del said[first.part]
        rule = first.rule
        return Decision(
            verdict=first.verdict,
            rule=rule.id if rule else "default",
            reason=reason(
                first.part,
                rule,
                first.verdict,
                others=tuple(said.items()),
                too_many=first.too_many,
                consulted=request.bound is not None,
            ),
            remedy=_remedy(first),
            retryable=first.verdict is Verdict.NEEDS_APPROVAL or (rule is not None and rule.retryable),
            statement=request.statement,
            effect=first.part.effect,
            row_cap=min(caps, default=None),
            masked=self.masks(request.identity),
            approvers=rule.approvers if rule and first.verdict is Verdict.NEEDS_APPROVAL else (),
            shadowed=tuple(
                Shadowed(rule=name, verdict=verdict)
                for name, (_, verdict) in sorted(sitting.shadowed.items(), key=lambda item: item[1][0])
            ),
            policy=self.version,
        )

    def _answers(self, part: Part, sitting: _Sitting) -> list[_Answer]:
        """Return what rules say about ``part``: one answer, and before it those that may be meant."""
        found: list[_Answer] = []
        for rank, rule in self._by_kind[part.effect.kind if part.effect else None]:
            match = self._match(rule.when, part, sitting)
            if match is Match.NO:
                continue
            answer = _answer(part, rule, rank)
            if rule.shadow:
                before = sitting.shadowed.get(rule.id, (rank, Verdict.ALLOW))[1]
                sitting.shadowed[rule.id] = (rank, max(before, answer.verdict, key=SEVERITY.__getitem__))
                continue
            found.append(answer)
            if match is Match.YES:
                return found
        found.append(_Answer(part, None, len(self.rules), Verdict.BLOCK))
        return found

    def _match(self, when: When, part: Part, sitting: _Sitting) -> Match:
        """Hold ``part`` against conditions. The momentary ones come last and only where the rest holds."""
        effect = part.effect
        if when.identity is not None and not when.identity.holds(sitting.identity, self.settings.services):
            return Match.NO
        match = Match.YES
        if when.notes is not None and not match_text(when.notes, part.note):
            return Match.NO
        if effect is not None:
            if when.constrained is not None and effect.constrained is not when.constrained:
                return Match.NO
            if when.names is not None and not match_text(
                when.names, effect.name, fold=effect.kind in _FOLDED
            ):
                return Match.NO
            if when.values is not None and not (
                part.constants and all(match_text(when.values, value, fold=True) for value in part.constants)
            ):
                return Match.NO
            if when.up_to_ms is not None and not 1 <= (milliseconds(part.constants) or 0) <= when.up_to_ms:
                return Match.NO
            if when.relations is not None:
                match = match_relations(when.relations, part.relations)
        if when.window is not None and match is not Match.NO:
            sitting.momentary = True
            match = min(match, when.window.holds(sitting.now))
        return match


def _writes(part: Part) -> bool:
    return part.effect is not None and part.effect.kind in WRITES


def _answer(part: Part, rule: Rule, rank: int) -> _Answer:
    rows = part.effect.rows if part.effect and part.effect.kind is EffectKind.INSERT else None
    if rule.rows is not None and rows is not None and rows > rule.rows:
        return _Answer(part, rule, rank, Verdict.NEEDS_APPROVAL, too_many=rows)
    return _Answer(part, rule, rank, rule.then.verdict)


def _remedy(answer: _Answer) -> str:
    if answer.verdict is Verdict.ALLOW:
        return ""
    if answer.rule is None:
        return NO_RULE_REMEDY
    if answer.too_many is not None:
        return f"Send at most {answer.rule.rows} rows in a statement, or ask for approval."
    if answer.rule.remedy or answer.verdict is Verdict.BLOCK:
        return fill(answer.rule.remedy, answer.part)
    return APPROVAL_REMEDY

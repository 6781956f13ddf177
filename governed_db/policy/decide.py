"""MAY: one policy, compiled, answering requests.

Precedence, the whole of it:

1. A statement is a set of parts: each of its effects, each relation it touches that no effect names, and,
   where it was not understood completely, the statement as a whole.
2. Each part is held against the rules from top to bottom. A file's own rules stand above those of the
   preset it extends. The first rule whose conditions all hold speaks for the part. Where no rule does, the
   part is blocked by the rule "default".
3. The severest answer over all parts is the verdict: block, then needs_approval, then allow. Among equals
   a rule whose conditions are known to hold is named before one that may hold, then the rule that stands
   higher, then the part that comes first in the text; where all is allowed, the rule of the statement's
   own command.
4. A condition that cannot be told (the schema of a name when no database was asked, the time when nobody
   said it, the planner's estimate before anybody asked for one) may hold or not: the rule's answer is
   noted and the search goes on below it, and the severest of the answers found stands for the part. Not
   knowing never makes an answer milder.
5. A rule in shadow is noted with what it would have said, and passed over.
6. A rule with ``rows`` allows up to so many rows. What the text itself shows to be more needs approval at
   once; the rest is measured when it runs, against the smallest cap of the rules that spoke.
7. Where a rule of the policy is about ``columns``, a part about a relation is one part for each of its
   columns that the statement reads or sets. Where one is about ``functions``, every call is a part as
   well, vetted or not; and so is every column that a write reads of its own target. Those further parts
   are for such rules alone: no other rule refuses them, one that allows them ends the search, and where
   no rule speaks of them nothing has to.
8. A partition or child is a part too where a statement touches what it belongs to, and the other way
   round: the rows are the same. Rules about relations and columns alone speak of it, and they know it by
   both names: what allows the relation that the statement touches ends the search.
9. Where several people have to agree, the largest ``count`` of the rules that ask for approval holds.
10. A grant that holds for the caller turns the answer of a rule that it names into allow, or raises its cap,
    for the parts that it is about (:mod:`governed_db.policy.waiving`). What stands below such a rule is not
    looked at.
11. A budget limits what a caller may spend whatever the rules say. Each limit is that of the first
    ``[[budget]]`` that is about the caller and sets it, the file's own above those of the preset.

The answer to a request depends on the statement, the catalog's view of it, the caller's standing and the
policy. It is kept for the next time unless a condition was looked at that also depends on the moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from governed_db.identity.model import Identity, standing
from governed_db.masking.model import Terms, Treatment
from governed_db.policy.answers import (
    SEVERITY,
    Answer,
    answer_of,
    asked_by_capping,
    estimable,
    of_capping,
    remedy_of,
    strictest,
    writes,
)
from governed_db.policy.budgets import BudgetRule, allowance
from governed_db.policy.examples import Suite
from governed_db.policy.holding import Sitting, holds
from governed_db.policy.model import UNLIMITED, Budget, Decision, Request, Shadowed, Verdict
from governed_db.policy.parts import Part, parts
from governed_db.policy.patterns import Match, match_relations, split_column_pattern
from governed_db.policy.reasons import by_grants, name_service, reason
from governed_db.policy.rules import Rule, Then, When, is_named_service
from governed_db.policy.settings import AuditSettings, CatalogSettings, MaskingSettings, Settings
from governed_db.policy.waiving import under
from governed_db.statement.facts import WRITES, EffectKind, RelationName

_NAMING = 32  # services a policy does not name and that ask all the same: a handful, or a mistake
_KEPT = 8192  # answers kept; each is a reference and a key, statements are shared with their own cache


@frozen(eq=False, kw_only=True)
class Policy:
    """Rules and settings, ready to answer. Made by :func:`governed_db.policy.load` or ``preset``.

    Attributes:
        name: the file or the preset it is from.
        rules: all rules in the order of precedence.
        settings: everything else the file says.
        budgets: what callers may spend, in the order of precedence.
        version: a digest of what it says, presets included; comments, layout and examples do not count.
        suite: the file's own examples.
    """

    name: str
    rules: tuple[Rule, ...] = field(repr=False)
    settings: Settings = field(repr=False)
    version: str
    budgets: tuple[BudgetRule, ...] = field(default=(), repr=False)
    suite: Suite = field(default=Suite(), repr=False)
    _by_kind: Mapping[EffectKind | None, tuple[tuple[int, Rule], ...]] = field(init=False, repr=False)
    _kept: dict[tuple[Any, ...], tuple[object, Decision]] = field(init=False, repr=False, factory=dict)

    _naming: dict[str, Policy] = field(init=False, repr=False, factory=dict)
    _spending: dict[Identity, Budget] = field(init=False, repr=False, factory=dict)
    _by_column: bool = field(init=False, repr=False)
    _by_function: bool = field(init=False, repr=False)

    _relations: tuple[str, ...] = field(init=False, repr=False)
    _named: dict[RelationName, bool] = field(init=False, repr=False, factory=dict)

    @_relations.default
    def _has_relations(self) -> tuple[str, ...]:
        patterns = {p: None for rule in self.rules for p in rule.when.relations or ()}
        for rule in self.rules:
            for pattern in rule.when.columns or ():
                schema, name, _ = split_column_pattern(pattern)
                patterns[f"{schema}.{name}"] = None
        return tuple(patterns)

    def _names(self, relation: RelationName) -> bool:
        """Return whether a rule is about ``relation``, or can be."""
        found = self._named.get(relation)
        if found is None:
            if len(self._named) >= _KEPT:
                self._named.clear()
            found = self._named[relation] = match_relations(self._relations, (relation,)) is not Match.NO
        return found

    @_by_column.default
    def _has_columns(self) -> bool:
        return any(rule.when.columns is not None for rule in self.rules)

    @_by_function.default
    def _has_functions(self) -> bool:
        return any(rule.when.functions is not None for rule in self.rules)

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

    def terms(self, caller: Identity) -> Terms:
        """Return what the policy says to ``caller`` about masked columns."""
        return self.settings.masking.terms(caller, self.settings.services)

    @property
    def strategies(self) -> Mapping[str, Treatment]:
        """Label to masking strategy, as far as the policy says."""
        return self.settings.masking.strategies

    @property
    def rated(self) -> bool:
        """Whether some budget limits how many statements a caller may send."""
        return any(budget.limits.get("statements_per_minute") is not None for budget in self.budgets)

    @property
    def estimated(self) -> bool:
        """Whether some rule asks for the planner's estimate."""
        return any(rule.when.estimated for rule in self.rules)

    @property
    def momentary(self) -> bool:
        """Whether some rule asks for the time; requests then have to carry the ``now`` of their call."""
        return any(rule.when.window is not None for rule in self.rules)

    @property
    def environment(self) -> str:
        """Where this runs ("production", ...), "" where nobody said it."""
        return self.settings.environment

    def in_environment(self, name: str) -> Policy:
        """Return the policy as it holds in the environment ``name``, unless the policy itself names one."""
        if not name or self.settings.environment:
            return self
        return evolve(self, settings=evolve(self.settings, environment=name))

    def budget(self, identity: Identity) -> Budget:
        """Return what ``identity`` may spend."""
        if not self.budgets:
            return UNLIMITED
        who = standing(identity)
        found = self._spending.get(who)
        if found is None:
            if len(self._spending) >= _KEPT:
                self._spending.clear()
            found = self._spending[who] = allowance(self.budgets, who, self.settings.services)
        return found

    def caps(self, identity: Identity) -> bool:
        """Return whether the rows that ``identity`` writes can be capped, by a rule, a budget or people."""
        if self.budget(identity).rows_written_per_minute is not None:
            return True
        services = self.settings.services
        for kind in WRITES:
            for _, rule in self._by_kind[kind]:
                when = rule.when
                if rule.shadow or not (when.identity is None or when.identity.holds(identity, services)):
                    continue
                # What people are asked about is all of a batch, and not the first of its sets.
                if rule.rows is not None or rule.then is Then.APPROVE:
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
        key = (
            id(subject), who.kind, who.subject, who.groups, who.verified, who.issuer, who.on_behalf_of,
            request.database,
        )  # fmt: skip
        kept = self._kept.get(key)
        if kept is not None and kept[0] is subject and kept[1].statement is statement and not request.grants:
            return kept[1]
        sitting = self._sit(request)
        decision = self._judge(request, sitting)
        if not sitting.momentary:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = (subject, decision)
        return decision

    def _sit(self, request: Request) -> Sitting:
        return Sitting(
            request.identity,
            request.now,
            # They hold for a moment, and so does the answer.
            momentary=bool(request.grants),
            database=request.database,
            estimate=request.estimate,
            grants=request.grants,
            statement=request.statement,
        )

    def parts(self, request: Request) -> tuple[Part, ...]:
        """Return what the rules have to speak of: never nothing."""
        judged = parts(
            request,
            columns=self._by_column,
            functions=self._by_function,
            named=self._names if self._relations else None,
        )
        return judged or (Part(None, note="nothing in it says what it does"),)

    def _judge(self, request: Request, sitting: Sitting) -> Decision:
        judged = self.parts(request)
        answers = self._weighed(judged, sitting)
        first = answers[0]
        caps = [a.cap for a in answers if a.cap is not None and writes(a.part)]
        granted = {g.id: g for a in answers for g in a.grants} if first.verdict is not Verdict.BLOCK else {}
        said = {first.part: ""}
        for a in answers:
            if a.verdict is first.verdict:
                said.setdefault(a.part, a.rule.id if a.rule else "default")
        del said[first.part]
        rule = first.rule
        asking = rule if first.verdict is Verdict.NEEDS_APPROVAL else asked_by_capping(answers)
        return Decision(
            verdict=first.verdict,
            rule=rule.id if rule else "default",
            reason=by_grants(
                reason(
                    first.part,
                    rule,
                    first.verdict,
                    others=tuple(said.items()),
                    too_many=first.too_many,
                    cap=first.cap,
                    waived=first.waived,
                    consulted=request.bound is not None,
                ),
                map(str, granted.values() if first.verdict is Verdict.ALLOW else ()),
            ),
            remedy=self._teach(first, judged, request),
            retryable=first.verdict is Verdict.NEEDS_APPROVAL or (rule is not None and rule.retryable),
            statement=request.statement,
            effect=first.part.effect,
            row_cap=min(caps, default=None),
            restricts=any(
                a.rule is not None and a.rule.when.constrained is True and not a.patterned for a in answers
            ),
            masked=self.masks(request.identity),
            approvals_needed=max(
                (a.rule.count for a in answers if a.rule and a.verdict is Verdict.NEEDS_APPROVAL),
                default=of_capping(answers),
            ),
            budget=self.budget(request.identity),
            wants_estimate=sitting.estimating and estimable(answers, request),
            approvers=asking.approvers if asking else (),
            binds=strictest(answers),
            shadowed=tuple(
                Shadowed(rule=name, verdict=verdict)
                for name, (_, verdict) in sorted(sitting.shadowed.items(), key=lambda item: item[1][0])
            ),
            policy=self.version,
            grants=tuple(sorted(granted)),
        )

    def as_naming(self, who: Identity) -> Policy | None:
        """Return the policy as it were if it named the service ``who``; ``None`` where that is no way out."""
        services = self.settings.services | {who.subject}
        if (
            not who.subject
            or is_named_service(who, self.settings.services)
            or not is_named_service(who, services)
        ):
            return None
        naming = self._naming.get(who.subject)
        if naming is None:
            if len(self._naming) >= _NAMING:
                self._naming.clear()
            settings = evolve(self.settings, services=services)
            naming = self._naming[who.subject] = evolve(self, settings=settings)
        return naming

    def _teach(self, first: Answer, judged: tuple[Part, ...], request: Request) -> str:
        remedy = remedy_of(first)
        naming = None if first.verdict is Verdict.ALLOW else self.as_naming(request.identity)
        if naming is not None:
            then = naming._weighed(judged, naming._sit(request))[0].verdict
            if SEVERITY[then] < SEVERITY[first.verdict]:
                return name_service(remedy, request.identity.subject)
        return remedy

    def _match(self, when: When, part: Part, sitting: Sitting) -> Match:
        return holds(when, part, sitting, self.settings)

    def _weighed(self, judged: tuple[Part, ...], sitting: Sitting) -> list[Answer]:
        """Return what rules say about every part, the answer that stands for the statement first."""
        return sorted(
            (answer for part in judged for answer in self._answers(part, sitting)), key=Answer.order
        )

    def _answers(self, part: Part, sitting: Sitting) -> list[Answer]:
        """Return what rules say about ``part``: one answer, and before it those that may be meant."""
        found: list[Answer] = []
        for rank, rule in self._by_kind[part.effect.kind if part.effect else None]:
            match = self._match(rule.when, part, sitting)
            if sitting.looked is not None:
                sitting.looked.append((part, rank, rule, match))
            if match is Match.NO:
                continue
            about = rule.when.columns is not None or rule.when.functions is not None
            about = about or (part.beside is not None and rule.when.relations is not None)
            # Of what is there for others, a shadow would only say what it says of the part itself.
            if part.aside and rule.shadow and not about:
                continue
            answer = answer_of(part, rule, rank, certain=match is Match.YES)
            if rule.shadow:
                before = sitting.shadowed.get(rule.id, (rank, Verdict.ALLOW))[1]
                sitting.shadowed[rule.id] = (rank, max(before, answer.verdict, key=SEVERITY.__getitem__))
                continue
            if sitting.grants:
                answer = under(answer, sitting.grants, sitting.statement, self.settings.grants.never)
            if part.aside and not about:
                if match is Match.YES and answer.verdict is Verdict.ALLOW:
                    return found
                continue
            found.append(answer)
            if match is Match.YES:
                return found
        if part.aside:
            return found
        found.append(Answer(part, None, len(self.rules), Verdict.BLOCK))
        return found

"""Recorded statements under a policy: the rules, the mask plan and the row cap, as the pipeline holds them.

What only literals tell (the value that a SET gives) is not in the trail; it is recovered from what was
decided when the statement ran, see :func:`worlds`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from attrs import define, evolve, frozen

from governed_db import masking, pipeline
from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog
from governed_db.errors import PolicyError
from governed_db.masking import reviewed
from governed_db.masking.model import OPEN, MaskPlan, Sensitivity
from governed_db.policy.decide import Policy
from governed_db.policy.model import Decision, Estimate, Request
from governed_db.policy.recorded import Facts, NotReplayable, Recorded
from governed_db.run import Call, Known
from governed_db.statement.facts import EffectKind

MAX_WORLDS = 32
"""Values that are tried for a SET whose value the trail does not hold; each comes from a rule about values,
and policies have a handful of those."""

UNESTIMATED = "the policy asks what the planner expects, and it was not asked then"


@define(kw_only=True, eq=False)
class _Known(Known):
    """What is known of a recorded statement."""

    @property
    def writes(self) -> bool:
        return self.statement.writes

    @property
    def beside(self) -> bool:
        assert isinstance(self.statement, Recorded)
        return not self.statement.told_countable

    @property
    def counted(self) -> bool:
        return False


@frozen(kw_only=True)
class Judged:
    """What a policy says of a recorded statement.

    ``plan`` is ``None`` where masks cannot be told; ``masks_untold`` then says why.
    """

    decision: Decision
    plan: MaskPlan | None
    masks_untold: str = ""


class Bench:
    """One policy, judging recorded statements."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._sensitive: dict[str, Mapping[Source, Sensitivity]] = {}
        self._values: dict[str, str] = {}
        self._elsewhere: dict[str, Bench] = {}

    def judge(
        self,
        known: Facts,
        *,
        now: datetime | None = None,
        executions: int = 1,
        copies: bool = True,
        estimate: Estimate | None = None,
    ) -> Judged:
        """Judge one statement as the pipeline would: the rules, then the mask plan, then the row cap.

        Args:
            known: what the record says.
            now: when it ran.
            executions: sets of parameters it came with.
            copies: whether it came through ``copy()``.
            estimate: what the planner expected, where it was asked.

        Raises:
            NotReplayable: the policy asks for an estimate that was not made then.
        """
        here = self._in(known.environment)
        plan, untold = here.plan(known)
        request = Request(
            statement=known.statement,
            identity=known.identity,
            bound=known.bound,
            now=now,
            database=known.database,
            estimate=estimate,
        )
        decision = here.policy.decide(request)
        if decision.wants_estimate:
            raise NotReplayable(UNESTIMATED)
        held = _Known(statement=known.statement, bound=known.bound, plan=plan or OPEN, request=request)
        call = Call(b"", copies=copies, executions=executions)
        return Judged(decision=pipeline.held(call, held, decision), plan=plan, masks_untold=untold)

    def _in(self, environment: str) -> Bench:
        found = self._elsewhere.get(environment)
        if found is None:
            there = self.policy.in_environment(environment)
            found = self._elsewhere[environment] = self if there is self.policy else Bench(there)
        return found

    def plan(self, known: Facts) -> tuple[MaskPlan | None, str]:
        """Return what would be masked, or ``None`` and why that cannot be told."""
        if not self.policy.masks(known.identity):
            return OPEN, ""
        if known.masks_untold:
            return None, known.masks_untold
        if known.bound is None or known.catalog is None:
            return OPEN, ""
        catalog = known.catalog
        settings = self.policy.settings.masking
        if settings.sample and (new := dict(known.values).items() - self._values.items()):
            self._values.update(new)
            self._sensitive.clear()
        sensitive = self._sensitive.get(catalog.version)
        if sensitive is None:
            try:
                given, _ = reviewed.overrides(catalog, settings.columns, settings.reviewed)
                sensitive = masking.classify(catalog, given, self._sampled(catalog))
            except PolicyError:
                return None, "the policy names a column that the database did not have then"
            self._sensitive[catalog.version] = sensitive
        terms = self.policy.terms(known.identity)
        plan = masking.plan(known.bound, catalog, sensitive, terms)
        if plan.refusals and terms.redacts:
            return None, "whether it can run over redacted values is told by its text, which was not kept"
        return plan, ""

    def _sampled(self, catalog: Catalog) -> dict[Source, Sensitivity]:
        """Return what samples had told, as far as the records read so far say."""
        return {
            Source(relation.oid, column.number): Sensitivity(
                label=label, confidence=1.0, because="its values said so then", basis="values"
            )
            for relation in catalog.relations.values()
            for column in relation.columns
            if self._values and (label := self._values.get(f"{relation}.{column.name}"))
        }


def worlds(known: Facts, policies: Sequence[Policy]) -> Iterator[Facts]:
    """Yield ``known`` for each value that its SET can have had, as far as ``policies`` tell values apart.

    The trail does not hold the value. The rules ask whether it is one of some, or a span of time up to some
    length: one value for each of these, and one for none of them, stand for all there are.
    """
    yield known
    if known.statement.tag != "SET" or not any(e.kind is EffectKind.SET for e in known.statement.effects):
        return
    values: dict[str, None] = {}
    for policy in policies:
        for rule in policy.rules:
            for pattern in rule.when.values or ():
                values[_example(pattern)] = None
            if rule.when.up_to_ms is not None:
                values[str(rule.when.up_to_ms)] = None
    for value in list(values)[:MAX_WORLDS]:
        constant = {"A_Const": {"sval": {"sval": value}}}
        tree = ({"stmt": {"VariableSetStmt": {"kind": "VAR_SET_VALUE", "args": [constant]}}},)
        statement = evolve(known.statement, tree=tree)
        bound = None if known.bound is None else evolve(known.bound, statement=statement)
        yield evolve(known, statement=statement, bound=bound)


def _example(pattern: str) -> str:
    """Return a text that a shell-style pattern matches."""
    return re.sub(r"\[!?(\]?[^\]]*)\]", lambda m: m[1][0], pattern).replace("*", "").replace("?", "x")

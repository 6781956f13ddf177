"""Asking the policy about statements that nobody sends: one for each privilege."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from governed_db.cli.judging import Judge
from governed_db.identity import Identity
from governed_db.policy import Verdict


@frozen
class Answer:
    """What the policy says of the statement tried: whether the privilege is granted, and by which rule."""

    granted: bool
    rule: str
    verdict: Verdict


@frozen
class Asker:
    """Asks the policy about statements of one caller.

    ``approvals``: whether what people may agree to counts as allowed.
    """

    judge: Judge
    identity: Identity
    approvals: bool

    @property
    def by_column(self) -> bool:
        """Whether the policy has rules about columns."""
        return any(rule.when.columns is not None for rule in self.judge.policy.rules)

    def ask(self, *texts: str) -> Answer:
        """Return the mildest answer to ``texts``: one of them is enough to need the privilege."""
        answers = [self._one(text) for text in texts]
        return min(answers, key=lambda a: (not a.granted, a.verdict is Verdict.BLOCK))

    def _one(self, text: str) -> Answer:
        judged = self.judge.ask(text, identity=self.identity)
        # The rules alone: caps and masks are looked at where they can be granted column by column.
        decision = judged.decision
        if judged.request is not None:
            decision = self.judge.governor.policy.decide(judged.request)
        allowed = {Verdict.ALLOW, Verdict.NEEDS_APPROVAL} if self.approvals else {Verdict.ALLOW}
        return Answer(decision.verdict in allowed, decision.rule, decision.verdict)

    def sensitive(self, text: str) -> Mapping[int, str] | None:
        """Return the masked columns of the result by index; ``None`` where a mask cannot follow them."""
        governor, catalog = self.judge.governor, self.judge.catalog
        if not governor.policy.masks(self.identity):
            return {}
        self.judge.ask(text, identity=self.identity)
        request = governor.asked
        if request is None or request.bound is None or catalog is None:
            return None
        plan = governor.plan(request.bound, catalog, self.identity)
        return None if plan.refusals else {mask.index: mask.label for mask in plan.masks}


def quote(*names: str) -> str:
    """Return ``names`` as one qualified identifier, always quoted."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)

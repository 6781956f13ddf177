"""The trail under another policy: every verdict and every mask that would change.

Statements are judged again from what the trail holds of them (:mod:`governed_db.policy.replay`), with the
catalog they ran on. Rates and sums over time (budgets) are not replayed: what a budget refused is counted
apart.
A policy with ``enforce = false`` is simulated as if it were enforced: by what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson
from attrs import define, field, frozen

from governed_db.identity.model import Identity
from governed_db.masking.model import MaskPlan
from governed_db.policy.decide import Policy
from governed_db.policy.load import PRESETS, preset
from governed_db.policy.model import Estimate, Verdict
from governed_db.policy.recorded import Facts, NotReplayable, Shelf, facts
from governed_db.policy.replay import Bench, Judged, worlds
from governed_db.statement.facts import EffectKind

OWN_RULES = ("driver.command", "governed_db.")
"""Rules by which the driver and the library send something of their own (BEGIN, reading the catalog)."""

COUNTED_TO_A_CAP = "its rows were counted only up to the cap that refused it"
VALUE_UNKNOWN = "the value it sets is not in the trail, and the policy asks for it"
BUDGET = "a budget had been spent, which depends on what ran before"
GRANTED = "it ran under a grant, and the trail does not say what would have become of it without"

MAX_CALLERS = 20
"""Callers that a change lists by name; the others are only counted."""

# Of who asks, what no decision depends on (governed_db.identity.standing).
_OF_A_CALL = frozenset({"session", "tool_call", "purpose", "client"})


@define(kw_only=True)
class Change:
    """One text whose verdict would change.

    Attributes:
        was, becomes: the verdicts.
        was_rule, rule: the ids of the rules that spoke.
        reason: the new decision's.
        text, summary, fingerprint: normalised; no literal is in any of them.
        count: how often it is in the trail.
        callers: who sent it, as ``kind:subject``, at most :data:`MAX_CALLERS`.
    """

    was: Verdict
    becomes: Verdict
    was_rule: str
    rule: str
    reason: str
    text: str
    summary: str
    fingerprint: str
    count: int = 0
    callers: dict[str, int] = field(factory=dict)


@define(kw_only=True)
class MaskChange:
    """One column of one text that would be masked otherwise: by another strategy, or by none ("")."""

    column: str
    was: str
    becomes: str
    text: str
    fingerprint: str
    count: int = 0
    callers: dict[str, int] = field(factory=dict)


@define(kw_only=True)
class Simulation:
    """What would change.

    Attributes:
        policy, version: the policy that was simulated.
        statements: judged statements that were looked at.
        replayed: those of them whose verdict could be told.
        changes, masks: what would change, most frequent first.
        not_replayed: reason to count, for statements whose verdict could not be told.
        masks_untold: reason to count, for statements that would run, whose masks could not be told.
        text_only: replayed statements that were judged by their text alone.
        damage: damaged places of the trail.
        first, last: times of the first and the last statement, "" where there is none.
    """

    policy: str
    version: str
    statements: int = 0
    replayed: int = 0
    changes: list[Change] = field(factory=list)
    masks: list[MaskChange] = field(factory=list)
    not_replayed: dict[str, int] = field(factory=dict)
    masks_untold: dict[str, int] = field(factory=dict)
    text_only: int = 0
    damage: int = 0
    first: str = ""
    last: str = ""

    @property
    def changed(self) -> int:
        """Statements whose verdict would change."""
        return sum(change.count for change in self.changes)

    @property
    def same(self) -> bool:
        """Whether nothing would change, as far as it could be told."""
        return not self.changes and not self.masks


def simulate(
    entries: Iterable[Mapping[str, Any]], policy: Policy, shelf: Shelf, *, then: Sequence[Policy] = ()
) -> Simulation:
    """Judge the statements of a trail under ``policy``.

    Args:
        entries: as :func:`governed_db.audit.statements` yields them.
        policy: the policy to simulate.
        shelf: the catalogs of the trail.
        then: policies that may have been in force. Where one was, it tells what a value that the trail
            does not hold must have been; the presets and ``policy`` itself are always among them.
    """
    return _Run(policy, shelf, then).over(entries)


def judged(entries: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the statements of callers that somebody judged: not what the driver sends by itself."""
    for entry in entries:
        rule = entry.get("may", {}).get("rule", "")
        if entry["kind"] in {"intent", "refusal", "attempt"} and rule and not rule.startswith(OWN_RULES):
            yield entry


def verdict_then(entry: Mapping[str, Any]) -> Verdict:
    """Return what became of a statement at the gate: the record's verdict, and what was measured after it."""
    said = Verdict(entry["may"]["verdict"])
    happened = entry.get("happened", {})
    if said is not Verdict.ALLOW:
        return said
    if entry["kind"] == "refusal":
        # Allowed up to so many rows: over it somebody was asked; through stream() nobody could have counted.
        return Verdict.BLOCK if happened.get("error") == "StatementBlocked" else Verdict.NEEDS_APPROVAL
    if "approval" in entry["may"] or happened.get("status") == "refused":
        return Verdict.NEEDS_APPROVAL
    return said


@frozen
class _Answer:
    """What stays the same for every statement of a group."""

    judged: Judged | None
    not_replayed: str = ""
    text_only: bool = False
    masked: tuple[tuple[str, str], ...] = ()
    proven: int | None = None
    then: Verdict | None = None  # of the policy that was in force, before rows were counted; None: not known


class _Run:
    def __init__(self, policy: Policy, shelf: Shelf, then: Sequence[Policy]) -> None:
        self.bench = Bench(policy)
        self.shelf = shelf
        known = [policy, *then, *(preset(name) for name in PRESETS)]
        self.then = {p.version: Bench(p) for p in reversed(known)}
        self.found = Simulation(policy=policy.name, version=policy.version)
        self.answers: dict[bytes, _Answer] = {}
        self.changes: dict[tuple[Any, ...], Change] = {}
        self.masks: dict[tuple[Any, ...], MaskChange] = {}

    def over(self, entries: Iterable[Mapping[str, Any]]) -> Simulation:
        found = self.found
        for entry in self._counted(entries):
            found.statements += 1
            found.first = found.first or entry["at"]
            found.last = max(found.last, entry["at"])
            why = self._one(entry)
            if why:
                found.not_replayed[why] = found.not_replayed.get(why, 0) + 1
            else:
                found.replayed += 1
        found.changes = sorted(self.changes.values(), key=lambda c: (-c.count, c.text, c.rule))
        found.masks = sorted(self.masks.values(), key=lambda c: (-c.count, c.column, c.text))
        return found

    def _counted(self, entries: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        def without_damage() -> Iterator[Mapping[str, Any]]:
            for entry in entries:
                if entry["kind"] == "damage":
                    self.found.damage += 1
                else:
                    yield entry

        return judged(without_damage())

    def _one(self, entry: Mapping[str, Any]) -> str:
        """Replay one statement; return why it cannot be, "" where it can."""
        if _spent(entry):
            return BUDGET
        if entry["may"].get("grants"):
            return GRANTED
        answer = self._answer(entry)
        if answer.judged is None:
            return answer.not_replayed
        was = verdict_then(entry)
        becomes = self._measured(entry, answer)
        if becomes is None:
            return COUNTED_TO_A_CAP
        self.found.text_only += answer.text_only
        if was is not becomes:
            self._changed(entry, was, becomes, answer.judged)
        elif becomes is not Verdict.BLOCK:
            if answer.judged.plan is None:
                why = answer.judged.masks_untold
                self.found.masks_untold[why] = self.found.masks_untold.get(why, 0) + 1
            else:
                self._masked(entry, answer.masked, answer.judged.plan)
        return ""

    def _answer(self, entry: Mapping[str, Any]) -> _Answer:
        if self.bench.policy.momentary or self.bench.policy.estimated:
            return self._judge(entry)
        may, happened = entry["may"], entry.get("happened", {})
        said = orjson.dumps(
            [
                {k: v for k, v in entry["who"].items() if k not in _OF_A_CALL},
                entry.get("what"),
                [entry.get("where", {}).get(k) for k in ("catalog", "database", "environment")],
                [may["verdict"], may["rule"], may.get("policy"), "truncated" in entry],
                happened.get("batch_size", 1),
            ]
        )
        key = blake2b(said, digest_size=16).digest()  # a trail has many texts, and records are long
        found = self.answers.get(key)
        if found is None:
            found = self.answers[key] = self._judge(entry)
        return found

    def _judge(self, entry: Mapping[str, Any]) -> _Answer:
        try:
            known = facts(entry, self.shelf)
        except NotReplayable as why:
            return _Answer(None, str(why))
        given = {
            "now": datetime.fromisoformat(entry["at"]),
            "executions": entry.get("happened", {}).get("batch_size", 1),
            "copies": entry["may"]["rule"] != "driver.copy",
        }
        if "estimate" in entry["may"]:
            given["estimate"] = Estimate(**entry["may"]["estimate"])
        try:
            told, then = self._told(entry, known, given)
        except NotReplayable as why:
            return _Answer(None, str(why))
        if told is None:
            return _Answer(None, VALUE_UNKNOWN)
        return _Answer(
            told,
            text_only=known.bound is None and known.statement.commands > 0,
            masked=known.masked,
            proven=None if known.bound is None else known.bound.rows,
            then=then,
        )

    def _told(
        self, entry: Mapping[str, Any], known: Facts, given: dict[str, Any]
    ) -> tuple[Judged | None, Verdict | None]:
        """Return what the policy says, and what the one in force said.

        The first is ``None`` where it hangs on a value that nothing tells, the second where that policy is
        not known.
        """
        may = entry["may"]
        before = self.then.get(may.get("policy", ""))
        policies = [self.bench.policy, *([before.policy] if before is not None else [])]
        possible = []
        then = None
        for world in worlds(known, policies):
            if before is not None:
                decision = before.judge(world, **given).decision
                then = decision.verdict
                if (decision.verdict, decision.rule) != (verdict_said(may), may["rule"]):
                    continue
            possible.append(self.bench.judge(world, **given))
        if not possible:  # what was decided then rested on something else: all worlds are as likely
            possible = [self.bench.judge(world, **given) for world in worlds(known, policies)]
        if len({(j.decision.verdict) for j in possible}) > 1:
            return None, then
        return possible[0], then

    def _measured(self, entry: Mapping[str, Any], answer: _Answer) -> Verdict | None:
        """Return the new verdict after the rows were counted, ``None`` where the count is not on record."""
        assert answer.judged is not None
        decision = answer.judged.decision
        happened, may = entry.get("happened", {}), entry["may"]
        if decision.verdict is not Verdict.ALLOW:
            return decision.verdict
        cap, proven = decision.row_cap, answer.proven
        copied = any(e.kind is EffectKind.COPY_FROM for e in decision.statement.effects)
        if cap is None or not (decision.statement.writes or copied):
            return Verdict.ALLOW
        if proven is not None and proven * happened.get("batch_size", 1) <= cap:
            return Verdict.ALLOW
        if entry["kind"] == "refusal" and may["verdict"] == Verdict.ALLOW:
            if happened.get("error") == "StatementBlocked":
                return Verdict.BLOCK  # through stream() or copy(), where nobody could have counted
            return Verdict.NEEDS_APPROVAL
        rows = happened.get("rows_affected", 0)
        # It was asked about for its rows alone where the rules had allowed it.
        allowed_then = may["rule"] == decision.rule if answer.then is None else answer.then is Verdict.ALLOW
        over_then = happened.get("status") == "refused" and (
            entry["kind"] == "intent" or (allowed_then and "row_cap" in may)
        )
        if over_then and rows <= cap:
            return Verdict.NEEDS_APPROVAL if cap <= may.get("row_cap", -1) else None
        return Verdict.NEEDS_APPROVAL if rows > cap else Verdict.ALLOW

    def _changed(self, entry: Mapping[str, Any], was: Verdict, becomes: Verdict, judged: Judged) -> None:
        what, decision = entry.get("what", {}), judged.decision
        key = (was, becomes, entry["may"]["rule"], decision.rule, what.get("text"), what.get("fingerprint"))
        change = self.changes.get(key)
        if change is None:
            over = becomes is Verdict.NEEDS_APPROVAL and decision.verdict is Verdict.ALLOW
            change = self.changes[key] = Change(
                was=was,
                becomes=becomes,
                was_rule=entry["may"]["rule"],
                rule=decision.rule,
                reason=f"it wrote more than {decision.row_cap} rows" if over else decision.reason,
                text=what.get("text", ""),
                summary=what.get("summary", ""),
                fingerprint=what.get("fingerprint", ""),
            )
        change.count += 1
        _count_caller(change.callers, entry)

    def _masked(self, entry: Mapping[str, Any], before: tuple[tuple[str, str], ...], plan: MaskPlan) -> None:
        after = tuple((m.name, m.strategy.value) for m in plan.masks)
        if after == before:
            return
        was, becomes = dict(before), dict(after)
        for column in {**was, **becomes}:
            pair = (was.get(column, ""), becomes.get(column, ""))
            if pair[0] == pair[1]:
                continue
            text = entry["what"].get("text", "")
            change = self.masks.setdefault(
                (column, pair, text),
                MaskChange(
                    column=column,
                    was=pair[0],
                    becomes=pair[1],
                    text=text,
                    fingerprint=entry["what"].get("fingerprint", ""),
                ),
            )
            change.count += 1
            _count_caller(change.callers, entry)


def _spent(entry: Mapping[str, Any]) -> bool:
    """Return whether a budget kept the statement from running, or from handing out what it returned."""
    happened = entry.get("happened", {})
    if entry["may"]["rule"].startswith("budget."):
        return bool(entry["kind"] != "intent" or happened.get("status") == "refused")
    return bool(entry["kind"] == "intent" and happened.get("error") == "StatementBlocked")


def verdict_said(may: Mapping[str, Any]) -> Verdict:
    """Return the verdict of the rules, before people were asked."""
    asked = "approval" in may or "grants" in may
    return Verdict.NEEDS_APPROVAL if asked else Verdict(may["verdict"])


def _count_caller(callers: dict[str, int], entry: Mapping[str, Any]) -> None:
    who = entry["who"]
    caller = str(Identity(kind=who["kind"], subject=who["subject"]))
    if caller in callers or len(callers) < MAX_CALLERS:
        callers[caller] = callers.get(caller, 0) + 1

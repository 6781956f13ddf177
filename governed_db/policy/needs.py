"""What the statements of a trail needed: the raw material of a policy that would have allowed them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from attrs import define, evolve, field, frozen

from governed_db.identity.model import Kind
from governed_db.policy.decide import Policy
from governed_db.policy.load import PRESETS, load_bytes, preset
from governed_db.policy.model import Request, Verdict
from governed_db.policy.parts import UNVETTED, Part
from governed_db.policy.recorded import Facts, NotReplayable, Shelf, facts
from governed_db.policy.replay import Bench
from governed_db.policy.rules import When
from governed_db.policy.simulate import judged, verdict_then
from governed_db.statement.facts import WRITES, EffectKind, RelationName

MASKING_ON = load_bytes(b'[masking]\nmode = "on"\n', "masking")
"""A policy of which only the masks count: whom it matters to that they read unmasked."""

WITHHELD, THROUGH = "withheld", "through"


@frozen(order=True)
class Caller:
    """Whom a rule is about."""

    kind: str
    subject: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.subject}" if self.subject else self.kind


@frozen
class Need:
    """One thing that a caller's statements did, as far as rules tell things apart.

    Attributes:
        kind: the effect; ``None`` for a statement that was not understood completely.
        relation: what it was done to; a schema of ``None`` where no catalog said which.
        name: what else was named.
        constrained: for UPDATE and DELETE.
        how: :data:`WITHHELD`, :data:`THROUGH` (a view); the note, for calls and for statements that were not
            understood; else "".
        values, up_to_ms: for SET, what the rule that allowed it asks of the value, which is not in the trail.
    """

    kind: EffectKind | None
    relation: RelationName | None = None
    name: str = ""
    constrained: bool | None = None
    how: str = ""
    values: tuple[str, ...] | None = None
    up_to_ms: int | None = None


@define
class Seen:
    """How often a need was seen, and with what."""

    count: int = 0
    allowed: int = 0  # without anybody's approval
    rows: int = 0
    uncounted: bool = False  # in a place where the server does not report the rows written
    approvers: dict[str, None] = field(factory=dict)
    notes: dict[str, None] = field(factory=dict)


@define
class Needs:
    """Everything that was needed, by caller.

    Attributes:
        by_caller: what each caller's statements did.
        unmasked: callers whose statements read, unmasked, what would otherwise be masked.
        entries: one record per text, caller and catalog, for the privileges that they need.
        statements: how many there were; ``texts``: the distinct ones.
        text_only: how many of them were recorded without a catalog.
        not_replayed: reason to count, for those that say too little.
    """

    by_caller: dict[Caller, dict[Need, Seen]] = field(factory=dict)
    unmasked: set[Caller] = field(factory=set)
    entries: list[Mapping[str, Any]] = field(factory=list)
    statements: int = 0
    texts: set[str] = field(factory=set)
    text_only: int = 0
    not_replayed: dict[str, int] = field(factory=dict)


def ran(entries: Iterable[Mapping[str, Any]], subject: str = "*") -> Iterator[Mapping[str, Any]]:
    """Yield the statements that ran to their end, of callers whose subject or ``kind:subject`` fits."""
    for entry in judged(entries):
        if entry["kind"] == "intent" and entry.get("happened", {}).get("status") == "ok":
            caller = caller_of(entry)
            if fnmatchcase(caller.subject, subject) or fnmatchcase(str(caller), subject):
                yield entry


def caller_of(entry: Mapping[str, Any]) -> Caller:
    """Return who sent the statement."""
    return Caller(Kind(entry["who"]["kind"]).value, entry["who"]["subject"])


def text_of(entry: Mapping[str, Any]) -> str:
    """Return what tells one text from another: its fingerprint, else the normalised text."""
    what = entry.get("what", {})
    return str(what.get("fingerprint") or what.get("text", ""))


def gather(entries: Iterable[Mapping[str, Any]], shelf: Shelf, base: Policy | None = None) -> Needs:
    """Return what ``entries`` (as :func:`ran` yields them) needed.

    ``base`` is a policy that may have been in force then, beside the presets: its rules tell what the
    values must have been that a SET gave.
    """
    return _Gathering(shelf, base).over(entries)


class _Gathering:
    def __init__(self, shelf: Shelf, base: Policy | None) -> None:
        self.shelf = shelf
        then = [preset(name) for name in PRESETS] + ([] if base is None else [base])
        self.rules = {(p.version, r.id): r.when for p in then for r in p.rules}
        self.masks = Bench(MASKING_ON)
        self.found = Needs()
        self.known: dict[str, tuple[tuple[tuple[Need, str], ...], Facts | None, str, bool]] = {}

    def over(self, entries: Iterable[Mapping[str, Any]]) -> Needs:
        found = self.found
        for entry in entries:
            found.statements += 1
            found.texts.add(text_of(entry))
            needs, known, why, sensitive = self._known(entry)
            if known is None:
                found.not_replayed[why] = found.not_replayed.get(why, 0) + 1
                continue
            found.text_only += known.bound is None and known.statement.commands > 0
            caller = caller_of(entry)
            if sensitive and entry["may"].get("unmasked"):
                found.unmasked.add(caller)
            self._add(found.by_caller.setdefault(caller, {}), needs, entry, known)
        return found

    def _known(
        self, entry: Mapping[str, Any]
    ) -> tuple[tuple[tuple[Need, str], ...], Facts | None, str, bool]:
        key = repr(
            (
                entry["who"]["kind"],
                entry["who"]["subject"],
                entry.get("what"),
                entry.get("where", {}).get("catalog"),
            )
        )
        answer = self.known.get(key)
        if answer is None:
            try:
                known = facts(entry, self.shelf)
            except NotReplayable as why:
                answer = ((), None, str(why), False)
            else:
                self.found.entries.append(entry)
                request = Request(
                    statement=known.statement,
                    identity=known.identity,
                    bound=known.bound,
                    now=datetime.fromisoformat(entry["at"]),
                    database=known.database,
                )
                when = self.rules.get((entry["may"].get("policy", ""), entry["may"]["rule"]))
                asked = when if known.statement.tag == "SET" else None
                needs = tuple(
                    dict.fromkeys(n for part in MASKING_ON.parts(request) for n in _needs(part, asked))
                )
                plan, _ = self.masks.plan(known)
                answer = (needs, known, "", plan is not None and bool(plan.masks or plan.refusals))
            self.known[key] = answer
        return answer

    def _add(
        self,
        seen: dict[Need, Seen],
        needs: tuple[tuple[Need, str], ...],
        entry: Mapping[str, Any],
        known: Facts,
    ) -> None:
        happened, may = entry["happened"], entry["may"]
        batch = happened.get("batch_size", 1)
        proven = known.statement.rows_listed
        rows = max(happened.get("rows_affected", 0), (proven or 0) * batch)
        for need, note in needs:
            one = seen.setdefault(need, Seen())
            one.count += 1
            agreed = "grants" in may or ("approval" in may and verdict_then(entry) is Verdict.NEEDS_APPROVAL)
            one.allowed += not agreed
            if note:
                one.notes[note] = None
            if need.kind in WRITES:
                one.rows = max(one.rows, rows)
                one.uncounted = one.uncounted or (proven is None and not known.statement.told_countable)
            one.approvers.update(dict.fromkeys(may.get("approvers", ())))


def _needs(part: Part, asked: When | None) -> Iterator[tuple[Need, str]]:
    effect = part.effect
    if effect is None:
        yield Need(None, how=part.note), part.note
        return
    how = next((word for word in (WITHHELD, THROUGH) if part.note.startswith(word)), "")
    if effect.kind is EffectKind.FUNCTION and part.note != UNVETTED:
        how = part.note  # the same function can be called harmlessly here and without bounds there
    for relation in part.relations or (None,):
        # What a relation is called beside its own name adds nothing.
        name = "" if relation is not None else effect.name
        need = Need(effect.kind, relation, name, effect.constrained, how)
        if asked is not None and effect.kind is EffectKind.SET:
            need = evolve(need, values=asked.values, up_to_ms=asked.up_to_ms)
        yield need, part.note

"""The words of a decision: which part of the statement, and why. The rule's id stands beside them.

Agents read these and correct themselves. Nothing here holds a literal of the statement: names, notes and
positions only, printable and bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from governed_db.policy.model import Verdict
from governed_db.policy.parts import Part
from governed_db.policy.rules import Rule
from governed_db.statement.facts import Effect, EffectKind

NO_RULE = "no rule of the policy speaks of it, and what no rule allows does not run"
NO_RULE_REMEDY = "Ask whoever keeps the policy for a rule that allows it."
APPROVAL_REMEDY = "Have it approved and send the same call again."
NAME_SERVICE = "If this service is the application itself, name it in the policy: services = [{subject}]."
NO_DATABASE = "No database was consulted: names were judged as they are written."

_ANSWERS = {
    Verdict.ALLOW: "is allowed",
    Verdict.NEEDS_APPROVAL: "needs approval",
    Verdict.BLOCK: "is blocked",
}
# What stands before the object. Kinds that are not here are called by their SQL word.
_PHRASES = {
    EffectKind.EMPTY: "an empty statement",
    EffectKind.SELECT: "reading",
    EffectKind.INSERT: "INSERT into",
    EffectKind.UPDATE: "UPDATE of",
    EffectKind.DELETE: "DELETE from",
    EffectKind.MERGE: "MERGE into",
    EffectKind.TRUNCATE: "TRUNCATE of",
    EffectKind.COPY_TO: "COPY TO STDOUT of",
    EffectKind.COPY_FROM: "COPY FROM STDIN into",
    EffectKind.COPY_FILE: "COPY of",
    EffectKind.ROW_LOCK: "a row lock",
    EffectKind.LOCK: "LOCK TABLE",
    EffectKind.PRIVILEGES: "a change of privileges or roles",
    EffectKind.SET: "setting",
    EffectKind.TRANSACTION: "transaction control",
    EffectKind.CURSOR: "DECLARE",
    EffectKind.MAINTENANCE: "maintenance",
    EffectKind.FUNCTION: "calling",
    EffectKind.MULTIPLE: "more than one statement in a call",
    EffectKind.UNKNOWN: "a command that is not understood",
}
# Effects whose name is the command itself ("VACUUM", "FOR UPDATE", "GRANT").
_NAMED_BY_COMMAND = frozenset(
    {
        EffectKind.LOCK,
        EffectKind.MAINTENANCE,
        EffectKind.PRIVILEGES,
        EffectKind.ROW_LOCK,
        EffectKind.SAVEPOINT,
        EffectKind.TRANSACTION,
    },
)
# Effects whose name adds nothing to the word.
_NAMELESS = frozenset({EffectKind.TRUNCATE, EffectKind.COPY_FILE, EffectKind.MULTIPLE})
_NAME_LIMIT = 160  # two identifiers of PostgreSQL's 63 bytes, quoted, with room
_NOTE_LIMIT = 240
_OTHERS = 3  # how many further parts a reason lists before it only counts them


def clean(text: str, limit: int = _NAME_LIMIT) -> str:
    """Return ``text`` printable and no longer than ``limit`` characters."""
    shown = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def phrase(part: Part) -> str:
    """Return how a person would call ``part``, with its position (from 1, as PostgreSQL counts)."""
    effect = part.effect
    if effect is None:
        return "the statement as a whole"
    word = _PHRASES.get(effect.kind, effect.kind.value.upper().replace("_", " "))
    if effect.kind is EffectKind.FUNCTION and part.note.startswith("a "):
        word = "using"  # a trigger, a rule, a domain, a foreign table: it calls without being called
    target, name = str(_target(part) or ""), effect.name
    if effect.kind in _NAMED_BY_COMMAND and name:
        word, name = clean(name), ""
    elif effect.kind in _NAMELESS or name == target:
        name = ""
    called = " ".join(clean(w) for w in (name, target) if w)
    if not called and effect.kind is EffectKind.SELECT:
        called = "rows"
    if not called and effect.kind is EffectKind.SET:
        called = "what the text does not name"
    if not called:
        word = word.removesuffix(" of").removesuffix(" into").removesuffix(" from")
    place = f" at character {effect.location + 1}" if effect.location >= 0 else ""
    return f"{word} {called}".strip() + place


def _target(part: Part) -> object:
    if len(part.relations) == 1:
        return f"{part.relations[0]}.{part.column}" if part.column else part.relations[0]
    return part.effect.target if part.effect else None


def name_service(remedy: str, subject: str) -> str:
    """Return ``remedy`` with what helps a service that the policy does not name."""
    return f"{remedy} {NAME_SERVICE.format(subject=json.dumps(clean(subject)))}".strip()


def fill(template: str, part: Part) -> str:
    """Return ``template`` with {effect}, {target}, {name} and {note} filled in from ``part``."""
    effect = part.effect or Effect(kind=EffectKind.UNKNOWN)
    return template.format(
        effect=effect.kind.value.replace("_", " ") if part.effect else "statement",
        target=clean(str(_target(part) or "the relation")),
        name=clean(effect.name or "it"),
        note=clean(part.note or "no more is known", _NOTE_LIMIT),
    )


def by_grants(text: str, grants: Iterable[str]) -> str:
    """Return a reason with the grants that the answer rests on."""
    named = "; ".join(clean(grant, _NOTE_LIMIT) for grant in grants)
    return f"{text} By {named}." if named else text


def reason(
    part: Part,
    rule: Rule | None,
    verdict: Verdict,
    *,
    others: Sequence[tuple[Part, str]] = (),
    too_many: int | None = None,
    cap: int | None = None,
    waived: bool = False,
    consulted: bool = True,
) -> str:
    """Return the reason of a decision.

    Args:
        part: the part that decided.
        rule: the rule that spoke, ``None`` for the default.
        verdict: the answer.
        others: further parts with an answer as severe, and the id of the rule that gave it.
        too_many: rows that the text writes, where that is what made it need approval.
        cap: rows that would not.
        waived: whether the rule would have said otherwise, and a grant waives it.
        consulted: whether a database was.
    """
    subject = phrase(part)
    said = fill(rule.because, part) if rule is not None else NO_RULE
    if too_many is not None and rule is not None:
        said = f"it writes {too_many} rows, and up to {cap} run without approval"
    if waived:
        said = "the rule that would have stopped it is waived"
    if rule is not None and too_many is None and rule.when.estimated:
        cost, rows = rule.when.cost_over, rule.when.rows_over
        over = [f"a cost of {cost:g}"] if cost is not None else []
        over += [f"{rows:g} rows"] if rows is not None else []
        said = f"{said.rstrip('.')} (the rule is about more than {' and '.join(over)})"
    note = part.note
    aside = (
        f" ({clean(note, _NOTE_LIMIT)})" if note and "{note}" not in (rule.because if rule else "") else ""
    )
    text = f"{subject[0].upper()}{subject[1:]}{aside} {_ANSWERS[verdict]}: {said.rstrip('.')}."
    if others and verdict is not Verdict.ALLOW:
        listed = "; ".join(f"{phrase(p)} (rule '{r}')" for p, r in others[:_OTHERS])
        more = f"; and {len(others) - _OTHERS} more" if len(others) > _OTHERS else ""
        text += f" The same goes for {listed}{more}."
    return text if consulted else f"{text} {NO_DATABASE}"

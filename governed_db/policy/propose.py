"""From what was seen to the text of a policy file: the least that allows it, generalised in small steps.

The steps, and no others:

- a caller that reads :data:`SCHEMA_AFTER` or more relations of one schema may read all of it;
- a row cap is the largest count seen, rounded up to 1, 2 or 5 times a power of ten;
- callers of one kind are taken as one where there are more than :data:`MAX_SUBJECTS` of them;
- savepoints, cursors, prepared statements and SHOW are allowed by whatever name.

Everything else is allowed by the names that were seen. What could do harm carries a comment that begins with
``CAUTION``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from governed_db.policy import carried
from governed_db.policy.decide import Policy
from governed_db.policy.needs import THROUGH, WITHHELD, Caller, Need, Needs, Seen
from governed_db.policy.parts import UNVETTED
from governed_db.policy.written import Written, literally, quoted, toml, value
from governed_db.statement.facts import WRITES, EffectKind, RelationName

SCHEMA_AFTER = 3
"""Relations of one schema that a caller has to have read before it may read the others: two can be chance."""

MAX_SUBJECTS = 20
"""Callers of one kind that get rules of their own. More are people or jobs who come and go."""

CAUTION = "CAUTION"

_ANY_NAME = frozenset(
    {
        EffectKind.EMPTY,
        EffectKind.EXPLAIN,
        EffectKind.SHOW,
        EffectKind.SAVEPOINT,
        EffectKind.PREPARE,
        EffectKind.EXECUTE,
        EffectKind.DEALLOCATE,
        EffectKind.CURSOR,
        EffectKind.FETCH,
        EffectKind.CLOSE,
        EffectKind.MULTIPLE,
        EffectKind.DO,
    }
)
_DANGER = {
    EffectKind.MERGE: "MERGE decides row by row what it inserts, changes and deletes",
    EffectKind.TRUNCATE: "TRUNCATE removes every row",
    EffectKind.COPY_FROM: "COPY writes as many rows as it is sent",
    EffectKind.COPY_FILE: "it reads or writes files, or runs programs, on the database server",
    EffectKind.LOCK: "it makes others wait",
    EffectKind.CREATE: "it changes the schema",
    EffectKind.ALTER: "it changes the schema",
    EffectKind.DROP: "it removes what it names, with its data",
    EffectKind.PRIVILEGES: "it changes who may do what",
    EffectKind.SET: "it changes settings of the session; which values, the trail does not say",
    EffectKind.TRANSACTION: "it ends or begins transactions behind the driver's back",
    EffectKind.DO: "it runs code that cannot be looked into",
    EffectKind.CALL: "it runs a procedure",
    EffectKind.LISTEN: "it reaches other sessions",
    EffectKind.NOTIFY: "it reaches other sessions",
    EffectKind.MAINTENANCE: "it can hold locks and take long",
    EffectKind.FUNCTION: "a function that is not vetted",
    EffectKind.MULTIPLE: "several statements in one call",
    EffectKind.UNKNOWN: "a command whose effects are not known",
}
_HARMLESS_SETTINGS = frozenset(
    {"timezone", "datestyle", "intervalstyle", "extra_float_digits", "bytea_output", "application_name"}
)
_ONE_STEP = (1, 2, 5)


def propose(needs: Needs, base: Policy | None = None) -> tuple[str, list[str]]:
    """Return the text of a policy file, and its cautions, each with the rule it is about.

    Args:
        needs: what has to be allowed.
        base: the policy in force, whose default identity and sensitive columns are taken over.
    """
    rules: list[Written] = []
    for caller, identity, seen in _callers(needs):
        rules += _rules(caller, identity, seen)
    withheld = [rule for rule in rules if "notes" in rule.when and rule.when["notes"] == [f"{WITHHELD}*"]]
    others = [rule for rule in rules if rule not in withheld]
    block = Written(
        id="withheld",
        when={"notes": [f"{WITHHELD}*"]},
        then="block",
        because="it holds credentials, sampled values or other sessions' statements ({note})",
        comments=["Of PostgreSQL's own relations, not these."],
    )
    ordered = _numbered([*withheld, block, _driver_statements(), *others])
    text = [_HEADER, *_settings(needs, base), *(toml(rule) for rule in ordered)]
    cautions = [f"{rule.id}: {c}" for rule in ordered for c in rule.comments if c.startswith(CAUTION)]
    cautions += [f"masking.unmasked: {CAUTION}: {caller} reads unmasked" for caller in sorted(needs.unmasked)]
    return "\n".join(text), cautions


def _driver_statements() -> Written:
    return Written(
        id="driver-statements",
        when={"effects": ["prepare", "execute", "deallocate"], "names": ["_pg3_*"]},
        then="block",
        because="{name} is a name of the driver's own prepared statements",
        comments=["Names of prepared statements are allowed below, but for these."],
    )


_HEADER = """\
# Proposed by `governed-db policy learn`: the least that allows what the trail shows to have run. What no rule
# below speaks of is blocked. Read every line that says CAUTION before you use it.
"""


def _callers(needs: Needs) -> Iterator[tuple[str, dict[str, Any], dict[Need, Seen]]]:
    kinds: dict[str, list[Caller]] = {}
    for caller in sorted(needs.by_caller):
        kinds.setdefault(caller.kind, []).append(caller)
    for kind, callers in kinds.items():
        if len(callers) > MAX_SUBJECTS:
            merged: dict[Need, Seen] = {}
            for caller in callers:
                for need, seen in needs.by_caller[caller].items():
                    _merge(merged.setdefault(need, Seen()), seen)
            yield f"every {kind}", {"kind": [kind]}, merged
            continue
        for caller in callers:
            identity: dict[str, Any] = {"kind": [kind]}
            if caller.subject:
                identity["subject"] = [literally(caller.subject)]
            yield str(caller), identity, needs.by_caller[caller]


def _merge(into: Seen, seen: Seen) -> None:
    into.count += seen.count
    into.allowed += seen.allowed
    into.rows = max(into.rows, seen.rows)
    into.uncounted = into.uncounted or seen.uncounted
    into.approvers.update(seen.approvers)
    into.notes.update(seen.notes)


def _rules(caller: str, identity: dict[str, Any], seen: Mapping[Need, Seen]) -> Iterator[Written]:
    by_kind: dict[EffectKind | None, dict[Need, Seen]] = {}
    for need, how in seen.items():
        by_kind.setdefault(need.kind, {})[need] = how
    for kind in (None, *EffectKind):
        if kind in by_kind:
            yield from _of_kind(caller, identity, kind, by_kind[kind])


def _of_kind(
    caller: str, identity: dict[str, Any], kind: EffectKind | None, seen: Mapping[Need, Seen]
) -> Iterator[Written]:
    if kind is None:
        notes = sorted({literally(need.how) for need in seen})
        yield Written(
            id=f"{caller} not-understood",
            when={"complete": False, "notes": notes, "identity": identity},
            then=_then(seen.values()),
            because="statements that were not understood for this reason have run before",
            comments=[f"{CAUTION}: these statements were not understood completely.", _often(seen.values())],
            approvers=_approvers(seen.values()),
        )
        return
    word = kind.value
    groups: dict[tuple[Any, ...], dict[Need, Seen]] = {}
    for need, how in seen.items():
        named = need.relation is not None or (bool(need.name) and kind not in _ANY_NAME)
        asked = (need.values, need.up_to_ms)
        free = how.allowed > 0
        group = (need.relation is not None, named, need.how, need.constrained, how.uncounted, free, asked)
        groups.setdefault(group, {})[need] = how
    bare = [g for g in groups if not g[1]]
    # What asks least of its rule comes last, and what asks for approval after what does not.
    for group in sorted((g for g in groups if g[1]), key=repr, reverse=True):
        yield _rule(caller, identity, kind, group, groups[group])
    if bare:
        if kind not in _ANY_NAME:
            about = {"effects": [word], "identity": identity}
            because = "only what was named above is allowed to this caller"
            if kind is not EffectKind.SET:
                yield Written(f"{caller} other-{word}", {**about, "relations": ["*.*"]}, "block", because, [])
            if kind is not EffectKind.SELECT:
                yield Written(f"{caller} other-{word}", {**about, "names": ["?*"]}, "block", because, [])
        together: dict[Need, Seen] = {}
        for group in bare:
            together.update(groups[group])
        constrained = {need.constrained for need in together}
        only = constrained.pop() if len(constrained) == 1 else None
        group = (False, False, "", only, True, True, (None, None))
        yield _rule(caller, identity, kind, group, together)


def _rule(
    caller: str,
    identity: dict[str, Any],
    kind: EffectKind,
    group: tuple[Any, ...],
    seen: Mapping[Need, Seen],
) -> Written:
    related, named, how, constrained, uncounted, _, (values, up_to_ms) = group
    when: dict[str, Any] = {"effects": [kind.value]}
    if related:
        when["relations"] = _relations(kind, [need.relation for need in seen if need.relation is not None])
    elif named:
        when["names"] = sorted({name for need, one in seen.items() for name in _names(need.name, one)})
    if constrained is not None:
        when["constrained"] = constrained
    if how:
        when["notes"] = [f"{how}*" if how in (WITHHELD, THROUGH) else literally(how)]
    if values is not None:
        when["values"] = list(values)
    if up_to_ms is not None:
        when["up_to_ms"] = up_to_ms
    when["identity"] = identity
    then = _then(seen.values())
    comments = [*_cautions(kind, group, seen), _often(seen.values())]
    rows = None
    if kind in WRITES and then == "allow" and related:
        if uncounted:
            comments.insert(
                0,
                f"{CAUTION}: without a cap, since the server does not report how many rows it writes there.",
            )
        else:
            most = max(one.rows for one in seen.values())
            rows = round_up(most)
            comments.append(f"At most {most} rows in a statement were seen.")
    return Written(
        id=f"{caller} {kind.value}" + (f"-{how}" if how in (WITHHELD, THROUGH) else ""),
        when=when,
        then=then,
        because=_said(caller),
        comments=comments,
        rows=rows,
        approvers=_approvers(seen.values()) if then == "approve" or rows is not None else (),
    )


def _said(caller: str) -> str:
    # Braces are places to fill in there.
    return f"{caller} has done so before".replace("{", "(").replace("}", ")")


def _cautions(kind: EffectKind, group: tuple[Any, ...], seen: Mapping[Need, Seen]) -> list[str]:
    _, _, how, constrained, _, _, asked = group
    found = []
    if how == WITHHELD:
        found.append("credentials, sampled values or other sessions' statements")
    if constrained is False:
        found.append("no WHERE that provably restricts the rows")
    danger = _DANGER.get(kind)
    harmless = all(need.name.lower() in _HARMLESS_SETTINGS for need in seen)
    if kind is EffectKind.SET and (harmless or asked != (None, None)):
        danger = None
    if danger and kind is EffectKind.FUNCTION:
        notes = sorted({note for one in seen.values() for note in one.notes})
        danger += f" ({'; '.join(notes[:3])})" if notes else ""
    if danger:
        found.append(danger)
    return [f"{CAUTION}: {reason}." for reason in found]


def _often(seen: Iterable[Seen]) -> str:
    count = sum(one.count for one in seen)
    return f"Seen {count} times." if count != 1 else "Seen once."


def _then(seen: Iterable[Seen]) -> str:
    return "allow" if any(one.allowed for one in seen) else "approve"


def _approvers(seen: Iterable[Seen]) -> tuple[str, ...]:
    return tuple(sorted({group for one in seen for group in one.approvers}))


def _relations(kind: EffectKind, relations: Sequence[RelationName]) -> list[str]:
    schemas: dict[str | None, set[str]] = {}
    for relation in relations:
        schemas.setdefault(relation.schema, set()).add(relation.name)
    found = set()
    for schema, names in schemas.items():
        if schema is None:
            found |= {f"*.{quoted(name)}" for name in names}
        elif schema.startswith("pg_temp"):
            found.add("pg_temp*.*")  # each session's own, under a number
        elif kind is EffectKind.SELECT and len(names) >= SCHEMA_AFTER:
            found.add(f"{quoted(schema)}.*")
        else:
            found |= {f"{quoted(schema)}.{quoted(name)}" for name in names}
    return sorted(found)


def _names(name: str, seen: Seen) -> Iterator[str]:
    yield literally(name)
    if UNVETTED in seen.notes and "." not in name:
        yield f"*.{literally(name)}"  # no catalog said in which schema it is


def round_up(rows: int) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50, ... that is not below ``rows``."""
    power = 1
    while True:
        for step in _ONE_STEP:
            if step * power >= rows:
                return step * power
        power *= 10


def _settings(needs: Needs, base: Policy | None) -> Iterator[str]:
    if needs.text_only:
        yield (
            f"# {needs.text_only} of the statements were recorded without a catalog, as under observe:\n"
            "# relations in their rules have no schema, and what only a catalog tells is not in them.\n"
        )
    if base is not None and base.identity is not None:
        yield f"identity = {value(str(base.identity))}\n"
    yield "[masking]"
    yield 'mode = "on"'
    if base is not None:
        yield from carried.scalars(base.masking)
    if needs.unmasked:
        yield f"# {CAUTION}: these callers have read sensitive columns unmasked."
        table = [
            {"kind": [c.kind]} | ({"subject": [literally(c.subject)]} if c.subject else {})
            for c in sorted(needs.unmasked)
        ]
        yield f"unmasked = {value(table)}"
    if base is not None:
        yield from carried.tables(base.masking)
    yield ""


def _numbered(rules: list[Written]) -> list[Written]:
    taken: dict[str, int] = {}
    for rule in rules:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", rule.id).strip("-")[:80]
        taken[name] = taken.get(name, 0) + 1
        rule.id = name if taken[name] == 1 else f"{name}-{taken[name]}"
    return rules

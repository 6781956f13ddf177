"""Which values of a caller matter to a plan: those that meet masked columns, or could end up in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from governed_db.catalog.bind import characters
from governed_db.catalog.bound import Bound, Operand, Source, Stored, Use
from governed_db.masking.model import ANYTHING, Refusal, Strategy, Terms
from governed_db.masking.phrases import LABELS
from governed_db.masking.recognise import contains, stub
from governed_db.masking.slots import Given, Rows, Slot
from governed_db.statement.facts import Access

if TYPE_CHECKING:
    from governed_db.masking.plan import _Teller

RESOLVED_IN = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "DECLARE CURSOR"})
"""Statements in which a token becomes its value. EXPLAIN would show it among its constants; others keep their
text, or take no parameters."""

_MARKS = frozenset(LABELS) | {ANYTHING}
_WRITTEN = frozenset({Access.INSERT, Access.UPDATE})
_CUTTING = frozenset({18, 19})  # pg_type.dat: "char" and name hold a part of what is put into them
NO_LOOKUPS = "is not resolved for this caller, whom the policy allows no look-ups"
_NOT_TEXT = "stands for text, and this column holds none"
_CUT = "would be cut or converted by the cast around it"
_SEEN = "is not resolved where a trigger, a rule or a generated column looks at it"
_SAMPLED = "is not resolved where nothing but the values that are there now tells what the column holds"
_ELSEWHERE = "is resolved in SELECT, INSERT, UPDATE, DELETE and MERGE alone"


def slots_of(use: Use, bound: Bound, tell: _Teller, terms: Terms) -> tuple[Slot, ...]:
    """Return the places of a comparison with values of the caller, ``()`` where it may not be told at all."""
    found = tell.reasons(use.source)
    labels = frozenset(why.label for _, why in found)
    if not use.operands or not labels:
        return ()
    raw = labels <= terms.equality
    nullifies = any(terms.treatment(label).strategy is Strategy.NULLIFY for label in labels)
    made = []
    for operand in use.operands:
        why = _unresolved(bound, tell, terms, use.source, operand)
        if why and not raw:
            return ()
        made.append(
            Slot(
                operand=operand,
                column=tell.name(found[0][0]),
                labels=labels,
                raw=raw,
                null=raw or not nullifies,
                resolves=not why,
                why=why,
            )
        )
    return tuple(made)


def given(bound: Bound, compared: list[Slot], tell: _Teller, terms: Terms) -> Given | None:
    """Return what matters of the values that ``bound`` is given, ``None`` where nothing does."""
    written = next(
        (u.relation for u in bound.relations if u.access in _WRITTEN and tell.guarded(u.relation)), None
    )
    if written is None and not compared:
        return None
    marks = _MARKS | {why.label for why in tell.sensitive.values()}
    slots = list(compared)
    plain = set()
    copied: list[Slot | None] = []
    for stored in bound.stored:
        slot = _stored(stored, bound, tell, terms)
        if stored.operand.location < 0:
            copied.append(slot)
        elif slot is None:
            plain.add(stored.operand.location)
        else:
            slots.append(slot)
    statement = bound.statement
    place = characters(statement.text)
    occurrences: dict[int, set[int]] = {}
    kept = {slot.operand.location for slot in slots if slot.stored}
    constants = {}
    for tag, node in _leaves(statement.tree):
        at = place(node.get("location", 0))
        if tag == "ParamRef":
            occurrences.setdefault(node.get("number", 0), set()).add(at)
        elif contains(text := node["sval"].get("sval", ""), marks) is not None or (at in kept and stub(text)):
            constants[at] = text
    return Given(
        slots=tuple(slots),
        plain=frozenset(plain),
        occurrences={n: frozenset(places) for n, places in occurrences.items()},
        constants=constants,
        text=statement.text,
        written="" if written is None else str(written),
        marks=marks,
        rows=Rows(columns=tuple(copied), options=_options(bound)) if any(copied) else None,
    )


def _stored(stored: Stored, bound: Bound, tell: _Teller, terms: Terms) -> Slot | None:
    """Return the place of a value that is written into a masked column, ``None`` where it is a plain one."""
    found = tell.reasons(stored.sink)
    if not found:
        return None
    why = _unresolved(bound, tell, terms, stored.sink, stored.operand)
    if not why and not (stored.unseen and _settled(stored.sink, tell)):
        why = _SEEN
    if not why and any(reason.basis == "values" for _, reason in found):
        why = _SAMPLED
    return Slot(
        operand=stored.operand,
        column=tell.name(found[0][0]),
        labels=frozenset(reason.label for _, reason in found),
        stored=True,
        resolves=not why,
        why=why,
    )


def overwritten(bound: Bound, tell: _Teller) -> Iterator[Refusal]:
    """Yield the masked columns that ``bound`` writes, for callers who may not write what they read masked."""
    for use in bound.relations:
        label = tell.guarded(use.relation) if use.access in _WRITTEN else ""
        if not label or use.within.startswith(("in trigger", "in rule")):
            continue
        relation = use.relation
        if use.within or bound.columns is None:
            clause = f"a write of {use.within.removeprefix('in ') or 'this statement'}"
            yield Refusal(column=f"{relation}.*", label=label, clause=clause, location=-1)
            continue
        named = {
            c.column
            for c in bound.columns
            if c.access in _WRITTEN
            and (c.relation.schema, c.relation.name) == (relation.schema, relation.name)
        }
        for column in relation.columns:
            hit = tell.why(Source(relation.oid, column.number)) if column.name in named else None
            if hit is not None:
                yield Refusal(
                    column=f"{relation}.{column.name}", label=hit[1].label, clause=OVERWRITES, location=-1
                )


OVERWRITES = "a write of a column that this caller reads masked"


def _unresolved(bound: Bound, tell: _Teller, terms: Terms, source: Source, operand: Operand) -> str:
    """Return why a token in this place is not resolved, "" where it is."""
    if not terms.resolves:
        return NO_LOOKUPS
    type_ = tell.catalog.types.get(tell.type_oid(source))
    if type_ is None or type_.category != "S" or type_.oid in _CUTTING:
        return _NOT_TEXT
    if not operand.exact:
        return _CUT
    if operand.location < 0:
        return ""  # a row of COPY
    if bound.statement.tag not in RESOLVED_IN or bound.statement.commands != 1:
        return _ELSEWHERE
    return ""


def _settled(sink: Source, tell: _Teller) -> bool:
    """Return whether what is generated from a column is masked like it."""
    relation = tell.catalog.relations[sink.relation]
    return all(
        tell.reasons(Source(relation.oid, column.number))
        for column in relation.columns
        if sink.column in column.generated
    )


# Copy options that say how rows are written, or what becomes of rows that are read rightly.
_WRITTEN_SO = frozenset({"format", "delimiter", "quote", "escape"})
_HARMLESS = frozenset(
    {"null", "header", "force_null", "force_not_null", "freeze", "default", "on_error", "log_verbosity"}
)


def _options(bound: Bound) -> Mapping[str, str] | None:
    """Return how the rows of a COPY FROM are written."""
    copy = bound.statement.tree[0].get("stmt", {}).get("CopyStmt", {})
    found: dict[str, str] = {}
    for node in copy.get("options", ()):
        option = node.get("DefElem", {})
        name, value = option.get("defname", ""), option.get("arg", {}).get("String", {}).get("sval", "")
        if name in _WRITTEN_SO:
            found[name] = value
        elif name not in _HARMLESS:
            return None
    return found


def _leaves(tree: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every parameter and every constant text of a statement."""
    todo = [tree]
    while todo:
        current = todo.pop()
        if isinstance(current, list | tuple):
            todo += current
        elif isinstance(current, dict):
            for tag, value in current.items():
                if tag == "ParamRef" or (tag == "A_Const" and "sval" in value):
                    yield tag, value
                else:
                    todo.append(value)

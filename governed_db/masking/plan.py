"""What has to be masked in the rows of one statement, and what cannot be masked and is refused.

A plan rests on lineage (:mod:`governed_db.catalog.bind`): a sensitive column that is handed out plainly is
masked where it comes out; any other use of it is refused, because its value would show in a form no mask
can follow: computed, compared, sorted, counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import frozen

from governed_db.catalog.bound import Bound, Output, Source
from governed_db.catalog.context import memo
from governed_db.catalog.model import Catalog, Relation
from governed_db.catalog.scope import SYSTEM_COLUMNS
from governed_db.catalog.views import closure, is_view, unchanged, view_facts
from governed_db.masking.expected import given, overwritten, slots_of
from governed_db.masking.literals import LENGTHS
from governed_db.masking.model import (
    ANYTHING,
    REDACTED,
    ColumnMask,
    MaskPlan,
    Refusal,
    Sensitivity,
    Strategy,
    Terms,
)
from governed_db.masking.slots import Slot
from governed_db.statement.facts import Access, EffectKind

UNTOLD = "a result whose columns cannot be told"

# From the one that shows least: what a column with several labels is masked by.
_STRICTEST = (
    Strategy.NULLIFY, Strategy.REDACT, Strategy.TOKEN, Strategy.PSEUDONYM, Strategy.FAKE,
    Strategy.FORMAT_PRESERVING, Strategy.DATE_SHIFT, Strategy.BUCKET, Strategy.GENERALISE, Strategy.PARTIAL,
)  # fmt: skip
_SHOWS_NOTHING = frozenset({Strategy.NULLIFY, Strategy.REDACT})


def plan(
    bound: Bound,
    catalog: Catalog,
    sensitive: Mapping[Source, Sensitivity],
    terms: Terms,
) -> MaskPlan:
    """Return the plan for ``bound``.

    ``origins`` holds, per output, every (table OID, column number) that libpq may report for it: the
    columns it can come from, as the statement names them (a view's own column for a view). libpq may
    report none (OID 0) for any column; a report outside the set means that the server understood the
    statement otherwise, and the result has to be withheld. ``None`` as a whole: there is no account of
    the result's columns, and libpq must report nothing sensitive.

    Args:
        bound: a statement against ``catalog``.
        catalog: the snapshot it was bound against.
        sensitive: columns of tables, and of views where a view's own column was recognised.
        terms: what the policy says to the caller.
    """
    if not sensitive:
        return MaskPlan(origins=_origins(bound))
    tell = _Teller(catalog, sensitive)
    touched = any(tell.guarded(use.relation) for use in bound.relations)
    masks: list[ColumnMask] = []
    refusals: dict[Refusal, None] = {}
    for index, output in enumerate(bound.outputs or ()):
        labelled = tell.of(output)
        if not labelled:
            continue
        if output.plain:
            masks.append(_mask(index, output, labelled, tell, terms))
        else:
            refusals.update(dict.fromkeys(_computed(output, labelled, tell)))
    used: dict[Refusal, None] = {}
    compared: list[Slot] = []
    for use in bound.uses:
        if use.operands and (slots := slots_of(use, bound, tell, terms)):
            compared += slots
            continue
        for base, why in tell.reasons(use.source):
            if use.sink is not None and _hidden(use.sink, why, tell, terms):
                continue
            if use.nullness and terms.treatment(why.label).strategy is not Strategy.NULLIFY:
                continue  # a mask leaves NULL what is NULL: that much comes with every row
            used[
                Refusal(column=tell.name(base), label=why.label, clause=use.clause, location=use.location)
            ] = None
    # A use names the clause and its place; what is computed from it needs no second word.
    spoken = {r.column for r in used}
    used.update((r, None) for r in refusals if r.column not in spoken)
    used.update((r, None) for r in _parted(bound, tell))
    used.update((r, None) for r in _planned(bound, tell))
    used.update((r, None) for r in _untold(bound, touched, tell))
    used.update((r, None) for r in _nullified(bound, tell, terms))
    if not terms.writes:
        used.update((r, None) for r in overwritten(bound, tell))
    return MaskPlan(
        masks=tuple(masks),
        refusals=tuple(used),
        origins=_origins(bound),
        scrub_errors=touched
        or not bound.complete
        or bound.outputs is None
        or _opaque(bound)
        or _reaches(bound, tell),
        given=given(bound, compared, tell, terms),
    )


@frozen
class Hidden:
    """A masked column. ``label`` is what its redacted value shows, ``None`` where it becomes NULL.

    ``nullness``: NULL stays NULL. In what a view has computed, being NULL can tell of a value.
    """

    label: str | None
    nullness: bool


Labels = Callable[[Relation], Mapping[int, Hidden]]
"""The masked columns of a relation, by number; empty for a relation that has none."""


def labels(catalog: Catalog, sensitive: Mapping[Source, Sensitivity], terms: Terms) -> Labels:
    """Return what says of a relation which of its columns are masked, through views and inheritance."""
    tell = _Teller(catalog, sensitive)
    known: dict[int, Mapping[int, Hidden]] = {}

    def of(relation: Relation) -> Mapping[int, Hidden]:
        if relation.oid not in known:
            found: dict[int, Hidden] = {}
            for column in relation.columns:
                source = Source(relation.oid, column.number)
                reasons = tell.reasons(source)
                if reasons:
                    _, why = min(reasons, key=lambda hit: (_strictness(hit[1], terms), hit[0]))
                    gone = terms.treatment(why.label).strategy is Strategy.NULLIFY
                    label = None if gone else why.label
                    found[column.number] = Hidden(label, unchanged(catalog, source))
            known[relation.oid] = found
        return known[relation.oid]

    return of


def _origins(bound: Bound) -> tuple[frozenset[tuple[int, int]] | None, ...] | None:
    if bound.outputs is None:
        return None
    found: list[frozenset[tuple[int, int]]] = []
    for output in bound.outputs:
        columns = {(s.relation, s.column) for s in output.sources}
        if not output.plain:
            columns |= {(s.relation, 0) for s in output.sources}  # libpq's account of a whole-row reference
        found.append(frozenset(columns))
    return tuple(found)


def _strictness(why: Sensitivity, terms: Terms) -> int:
    return _STRICTEST.index(terms.treatment(why.label).strategy)


def _mask(
    index: int,
    output: Output,
    labelled: list[tuple[Source, Source, Sensitivity]],
    tell: _Teller,
    terms: Terms,
) -> ColumnMask:
    handed, base, why = min(labelled, key=lambda entry: (_strictness(entry[2], terms), entry[1]))
    chosen = terms.treatment(why.label)
    if chosen.strategy is not Strategy.NULLIFY and not all(
        unchanged(tell.catalog, source) for source, _, _ in labelled
    ):
        chosen = REDACTED  # what a view computed has another shape: a part of it may be all of it
    return ColumnMask(
        index=index,
        name=tell.name(base),
        label=why.label,
        treatment=chosen,
        sources=output.sources,
        type_oid=tell.type_oid(handed),
        max_length=tell.max_length(handed),
        basis=why.basis,
    )


def _hidden(sink: Source, stored: Sensitivity, tell: _Teller, terms: Terms) -> bool:
    """Return whether ``sink`` is known to hold what is stored in it, and shows none of it, however made."""
    labels = {why.label for _, why in tell.reasons(sink)}
    if stored.label not in labels and ANYTHING not in labels:
        return False
    return all(terms.treatment(label).strategy in _SHOWS_NOTHING for label in labels)


def _computed(
    output: Output, labelled: list[tuple[Source, Source, Sensitivity]], tell: _Teller
) -> Iterator[Refusal]:
    for _, base, why in labelled:
        clause = f"the computed column {output.name}"
        yield Refusal(column=tell.name(base), label=why.label, clause=clause, location=-1)


def _untold(bound: Bound, touched: bool, tell: _Teller) -> Iterator[Refusal]:
    kinds = {effect.kind for effect in bound.effects}
    if bound.outputs is None and kinds & {EffectKind.FETCH, EffectKind.EXECUTE}:
        # What a cursor or a prepared statement hands out was said elsewhere; who knows it makes the plan.
        yield Refusal(column="a column of an earlier statement", label="UNKNOWN", clause=UNTOLD, location=-1)
    elif bound.outputs is None and touched:
        relation = next(u.relation for u in bound.relations if tell.guarded(u.relation))
        yield Refusal(column=f"{relation}.*", label=tell.guarded(relation), clause=UNTOLD, location=-1)
    if not bound.complete:
        first = next((u.relation for u in bound.relations if tell.guarded(u.relation)), None)
        column = "a column that is not known" if first is None else f"{first}.*"
        label = "UNKNOWN" if first is None else tell.guarded(first)
        clause = f"a statement that is not understood ({bound.incomplete_because})"
        yield Refusal(column=column, label=label, clause=clause, location=-1)


def _parted(bound: Bound, tell: _Teller) -> Iterator[Refusal]:
    """Yield the masked partition keys that naming a partition would be a condition on."""
    for use in bound.relations:
        if use.via is None and not use.within and use.access in _ASKS and use.relation.parents:
            clause = f"naming the partition {use.relation}"
            for base, why in tell.parting(use.relation):
                yield Refusal(column=tell.name(base), label=why.label, clause=clause, location=use.location)


def _planned(bound: Bound, tell: _Teller) -> Iterator[Refusal]:
    """Yield the masked partition keys that EXPLAIN would tell of: it shows each partition with its rows."""
    if not any(effect.kind is EffectKind.EXPLAIN for effect in bound.effects):
        return
    for use in bound.relations:
        if use.relation.partitioned_by:
            clause = f"EXPLAIN, which shows how many rows of {use.relation} each partition has,"
            for base, why in tell.parting(use.relation, within=True):
                yield Refusal(column=tell.name(base), label=why.label, clause=clause, location=use.location)


_ASKS = frozenset({Access.READ, Access.UPDATE, Access.DELETE})
# Each partition counts its own rows: the next one begins again at (0,1).
_WHERE_A_ROW_IS = frozenset({SYSTEM_COLUMNS["tableoid"], SYSTEM_COLUMNS["ctid"]})


def _nullified(bound: Bound, tell: _Teller, terms: Terms) -> Iterator[Refusal]:
    """Yield the columns of which a view hands out whether they are NULL, where not even that may be told."""
    for use in bound.relations:
        if not is_view(use.relation) or use.access is not Access.READ:
            continue
        for source in sorted(view_facts(tell.catalog, use.relation).nullness):
            for base, why in tell.reasons(source):
                if terms.treatment(why.label).strategy is Strategy.NULLIFY:
                    clause = f"the view {use.relation}"
                    yield Refusal(
                        column=tell.name(base), label=why.label, clause=clause, location=use.location
                    )


def _opaque(bound: Bound) -> bool:
    """Return whether something runs whose errors may speak of other tables: a function, a trigger, a rule."""
    return any(
        effect.kind in (EffectKind.FUNCTION, EffectKind.CALL, EffectKind.DO) for effect in bound.effects
    )


def _reaches(bound: Bound, tell: _Teller) -> bool:
    """Return whether a foreign key leads from what is changed to a guarded table, whose rows errors quote."""
    todo = [use.relation.oid for use in bound.relations if use.access in (Access.UPDATE, Access.DELETE)]
    seen = set(todo)
    while todo:
        oid = todo.pop()
        pointing = [key.relation for key in tell.memo.referencing.get(oid, ())]
        children = [child.oid for child in tell.memo.children.get(oid, ())]
        for other in {*pointing, *children} - seen:
            relation = tell.catalog.relations.get(other)
            if relation is None or tell.guarded(relation):
                return True
            seen.add(other)
            todo.append(other)
    return False


class _Teller:
    """Says what is sensitive, through views and inheritance, and remembers it while one plan is made."""

    def __init__(self, catalog: Catalog, sensitive: Mapping[Source, Sensitivity]) -> None:
        self.catalog = catalog
        self.sensitive = sensitive
        self.memo = memo(catalog)
        self.known: dict[Source, list[tuple[Source, Sensitivity]]] = {}
        self.labels: dict[int, str] = {}

    def of(self, output: Output) -> list[tuple[Source, Source, Sensitivity]]:
        """Return the sensitive sources of ``output``: as named, the column that is sensitive, and why."""
        return [(source, *hit) for source in sorted(output.sources) for hit in self.reasons(source)]

    def why(self, source: Source) -> tuple[Source, Sensitivity] | None:
        """Return the sensitive column that ``source`` is or, first of several, comes from, with why."""
        return next(iter(self.reasons(source)), None)

    def reasons(self, source: Source) -> list[tuple[Source, Sensitivity]]:
        """Return every sensitive column that ``source`` is or comes from, with why."""
        if source not in self.known:
            reached = sorted(closure(self.catalog, source), key=lambda s: (s != source, s))
            self.known[source] = [hit for s in reached if (hit := self._inherited(s)) is not None]
        return self.known[source]

    def _inherited(self, source: Source) -> tuple[Source, Sensitivity] | None:
        if source.column == 0:
            return self._any_of(source.relation)
        direct = self.sensitive.get(source)
        if direct is not None:
            return source, direct
        relation = self.catalog.relations.get(source.relation)
        if source.column in _WHERE_A_ROW_IS and relation is not None:
            return next(iter(self.parting(relation, within=True)), None)
        if relation is None or not (relation.parents or relation.oid in self.memo.children):
            return None
        name = next((c.name for c in relation.columns if c.number == source.column), None)
        for member in self._family(relation):
            column = member.column(name) if name is not None else None
            if (
                column is not None
                and (hit := self.sensitive.get(Source(member.oid, column.number))) is not None
            ):
                return Source(member.oid, column.number), hit
        return None

    def parting(self, relation: Relation, *, within: bool = False) -> list[tuple[Source, Sensitivity]]:
        """Return the sensitive columns whose values say which partition a row is in.

        Args:
            relation: a partition; what says that a row is in it, and not in another one.
            within: what says where in ``relation`` a row is, as well.
        """
        found: list[tuple[Source, Sensitivity]] = []
        if not (relation.parents or (within and relation.partitioned_by)):
            return found
        for member in self._family(relation):
            if member.partitioned_by and (within or member is not relation):
                keys = (0,) if 0 in member.partitioned_by else member.partitioned_by
                found += [hit for key in keys if (hit := self.why(Source(member.oid, key))) is not None]
        return found

    def _any_of(self, oid: int) -> tuple[Source, Sensitivity] | None:
        relation = self.catalog.relations.get(oid)
        columns = relation.columns if relation is not None else ()
        return next((hit for c in columns if (hit := self.why(Source(oid, c.number))) is not None), None)

    def _family(self, relation: Relation) -> list[Relation]:
        """Return every table that shares rows with ``relation``: parents, children, theirs, sorted."""
        found = {relation.oid: relation}
        todo = [relation]
        while todo:
            current = todo.pop()
            parents = (self.catalog.relations.get(p) for p in current.parents)
            for other in (*parents, *self.memo.children.get(current.oid, ())):
                if other is not None and other.oid not in found:
                    found[other.oid] = other
                    todo.append(other)
        return [found[oid] for oid in sorted(found)]

    def guarded(self, relation: Relation) -> str:
        """Return the label of a sensitive column of ``relation``, "" if it has none."""
        if relation.oid not in self.labels:
            hit = self._any_of(relation.oid)
            self.labels[relation.oid] = "" if hit is None else hit[1].label
        return self.labels[relation.oid]

    def name(self, source: Source) -> str:
        """Return ``schema.relation.column``."""
        relation = self.catalog.relations[source.relation]
        column = next((c.name for c in relation.columns if c.number == source.column), "*")
        return f"{relation}.{column}"

    def max_length(self, source: Source) -> int:
        """Return how many characters a column holds, or an element where it is an array of such.

        0 stands for any number, and for types that hold no text.
        """
        oid, modifier = self._base(source)
        if oid in LENGTHS:
            return LENGTHS[oid]
        # varchar and bpchar keep the length plus four bytes of header in it (PostgreSQL's varchar.c).
        return modifier - 4 if modifier > 4 and oid in _WITH_LENGTH else 0

    def type_oid(self, source: Source) -> int:
        """Return the type of a column, the base type of a domain; 0 where it is not known."""
        return self._base(source)[0]

    def _base(self, source: Source) -> tuple[int, int]:
        """Return the type and the modifier of a column, of a domain those it is over."""
        relation = self.catalog.relations.get(source.relation)
        columns = relation.columns if relation is not None else ()
        column = next((c for c in columns if c.number == source.column), None)
        if column is None:
            return 0, -1
        oid, modifier = column.type_oid, column.type_modifier
        for _ in range(32):  # domains over domains
            type_ = self.catalog.types.get(oid)
            if type_ is None or type_.kind != "d":
                break
            oid, modifier = type_.base, type_.modifier
        return oid, modifier


_WITH_LENGTH = frozenset({1042, 1043, 1014, 1015})
"""bpchar and varchar, and the arrays of them."""

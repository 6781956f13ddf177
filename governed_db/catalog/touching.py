"""What a statement touches, and what each touch reaches and sets off: views, partitions, foreign keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from attrs import evolve

from governed_db.catalog import reach
from governed_db.catalog.bound import RelationUse
from governed_db.catalog.context import Context
from governed_db.catalog.model import Relation
from governed_db.catalog.setoff import SetOff, Touch, set_off, spread
from governed_db.catalog.views import is_view, through, view_facts
from governed_db.statement.facts import Access, Effect, EffectKind, Statement


class Touched(NamedTuple):
    """What touching one relation amounts to."""

    relations: list[RelationUse]
    effects: list[Effect]
    set_off: list[SetOff]
    calls: tuple[int, ...]  # functions that the view calls
    gap: str


def touches(
    ctx: Context, statement: Statement, place: Callable[[int], int] = int
) -> Iterator[tuple[Touch, int]]:
    """Yield what ``statement`` touches, as ``ctx`` has bound it, with where its text says so.

    ``place`` turns the grammar's offsets into characters.
    """
    found: dict[tuple[int, Access, int], Relation] = {
        (oid, access, place(location)): relation
        for (oid, access, location), relation in ctx.relations.items()
    }
    bound = {(oid, location) for oid, _, location in found}
    for ref in statement.relations:
        relation = ctx.catalog.relation(ref.name.schema, ref.name.name, ctx.session)
        if relation is not None:
            if ctx.walked and ref.access is Access.READ and (relation.oid, ref.location) not in bound:
                # What is computed from it there, nobody has followed.
                ctx.gap(f"{relation} is read in a place that is not looked into")
            found.setdefault((relation.oid, ref.access, ref.location), relation)
        elif ref.access is not Access.DEFINE and not ctx.walked:
            ctx.missing(str(ref.name), "relation")
    for (_, access, location), relation in found.items():
        given = _set_by(ctx, relation, access)
        defaults = frozenset(s.column for s in ctx.defaulted if s.relation == relation.oid)
        touch = Touch(relation=relation, access=access, columns=given, defaults=defaults)
        yield touch, location


def _set_by(ctx: Context, relation: Relation, access: Access) -> frozenset[int] | None:
    if access is not Access.UPDATE:
        return None
    return frozenset(c.number for r, c, a in ctx.columns_set if r.oid == relation.oid and a is access) or None


def touched(ctx: Context, touch: Touch, location: int = -1) -> Touched:
    """Say what touching a relation reaches and sets off."""
    relation, access = touch.relation, touch.access
    path, role = ctx.session.search_path, ctx.session.replication_role
    relations = [RelationUse(relation=relation, access=access, location=location)]
    effects: list[Effect] = []
    offs: dict[SetOff, None] = {}
    calls: tuple[int, ...] = ()
    gap = ""
    starts = [(touch, False)]
    if access is not Access.DEFINE and is_view(relation):
        facts = view_facts(ctx.catalog, relation)
        calls, gap = facts.calls, facts.gap
        effects += through(facts.effects, relation, location)
        for behind in facts.relations:
            relations.append(RelationUse(relation=behind, access=access, location=location, via=relation))
            # Which columns of the tables are meant is not followed: it may be any.
            defaults = frozenset(c.number for c in behind.columns) if touch.defaults else frozenset()
            starts.append((Touch(relation=behind, access=access, defaults=defaults), True))
    for first, behind_view in starts:
        reached, cascades = spread(ctx.memo, ctx.catalog, first)
        effects += (evolve(e, location=location) for e in cascades)
        for each in reached:
            found: Iterable[Effect] = reach.relation_effects(each.relation, each.access, location)
            if behind_view:
                # What reading them means, the view has said.
                found = through(found, relation, location) if access is not Access.READ else ()
            elif each is not first:
                found = (e for e in found if e.kind is EffectKind.FUNCTION)
            effects += found
            offs.update((off, None) for off in set_off(ctx.catalog, each, path, role))
    return Touched(relations, effects, list(offs), calls, gap)

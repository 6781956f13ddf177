"""WHAT, in one database: a statement with its names resolved and every output column traced.

Lineage says where values come from. A column that is handed out unchanged is an output and nothing
else; every other mention of it is a :class:`~governed_db.catalog.bound.Use`. What is not understood makes
the result incomplete, never smaller.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate

from attrs import evolve

from governed_db.catalog.bound import Bound, FunctionUse, Output, RelationUse, Use
from governed_db.catalog.commands import UNTOLD, command, query
from governed_db.catalog.context import Context
from governed_db.catalog.model import Catalog, Relation, Session
from governed_db.catalog.reach import function_uses, relation_effects
from governed_db.catalog.scope import Rows
from governed_db.catalog.views import is_view, through, view_facts
from governed_db.statement.facts import Access, Effect, EffectKind, RelationName, Statement
from governed_db.statement.grammar import on_fresh_stack
from governed_db.statement.reader import reread


def bind(statement: Statement, catalog: Catalog, session: Session) -> Bound:
    """Resolve the names of ``statement`` as PostgreSQL would in ``session``.

    Unknown names and everything that was not understood make the result incomplete. Never raises for what
    a statement says.
    """
    try:
        return _bind(statement, catalog, session)
    except RecursionError:
        pass  # the caller's stack may be the deep one
    try:
        return on_fresh_stack(_bind, statement, catalog, session)
    except RecursionError:
        return _too_deep(statement, catalog)


def _bind(statement: Statement, catalog: Catalog, session: Session) -> Bound:
    ctx = Context(catalog, session, query)
    rows = Rows(())
    for raw in statement.tree:
        rows = command(ctx, raw.get("stmt", {}))
    if len(statement.tree) > 1:
        rows = UNTOLD  # each command has a result of its own, and may change what the next one means
    functions = function_uses(ctx, statement)
    relations, effects = _reached(ctx, statement)
    place = _characters(statement.text)
    once = ONCE if _no_rows_read(ctx, functions) else ""
    called = (
        Effect(
            kind=EffectKind.FUNCTION,
            name=_called(use),
            note=f"{use.note}{once}" if use.note == SEQUENCE else use.note,
            location=use.ref.location,
        )
        for use in functions
        if not use.vetted
    )
    outputs = None
    if rows.rest is None:
        outputs = tuple(Output(name=c.name, sources=c.sources, plain=c.plain) for c in rows.columns)
    return Bound(
        statement=statement,
        effects=(*_counted(ctx, statement), *dict.fromkeys((*called, *effects))),
        relations=relations,
        functions=functions,
        outputs=outputs,
        uses=tuple(Use(u.source, u.clause, place(u.location)) for u in ctx.uses),
        unknown=tuple(ctx.unknown),
        complete=statement.complete and not ctx.incomplete,
        incomplete_because=statement.incomplete_because or ctx.incomplete,
        rows=_proven(ctx),
        catalog_version=catalog.version,
    )


SEQUENCE = "changes a sequence"
ONCE = ", as often as the text says"


def _no_rows_read(ctx: Context, functions: tuple[FunctionUse, ...]) -> bool:
    """Return whether nothing multiplies what the text calls: no relation is read, no set is returned."""
    read = any(access is Access.READ for _, access, _ in ctx.relations)
    return not read and not any(f.returns_set for use in functions for f in use.candidates)


def _called(use: FunctionUse) -> str:
    # The function, where it is one and known; else what the text calls it.
    names = {str(f) for f in use.candidates}
    return names.pop() if len(names) == 1 else str(use.ref)


def _reached(ctx: Context, statement: Statement) -> tuple[tuple[RelationUse, ...], list[Effect]]:
    """Return the relations touched, those behind views included, and what touching them sets off."""
    place = _characters(statement.text)
    touched: dict[tuple[int, Access, int], Relation] = {
        (oid, access, place(location)): relation
        for (oid, access, location), relation in ctx.relations.items()
    }
    for ref in statement.relations:
        relation = ctx.catalog.relation(ref.name.schema, ref.name.name, ctx.session)
        if relation is not None:
            touched.setdefault((relation.oid, ref.access, ref.location), relation)
        elif ref.access is not Access.DEFINE and not ctx.walked:
            ctx.missing(str(ref.name), "relation")
    uses: list[RelationUse] = []
    effects: list[Effect] = []
    for (_, access, location), relation in touched.items():
        uses.append(RelationUse(relation=relation, access=access, location=location))
        effects += relation_effects(relation, access, location)
        for child in ctx.descendants(relation):
            effects += (e for e in relation_effects(child, access, location) if e.kind is EffectKind.FUNCTION)
        if is_view(relation) and access is not Access.DEFINE:
            facts = view_facts(ctx.catalog, relation)
            if facts.gap:
                ctx.gap(facts.gap)
            uses += (
                RelationUse(relation=r, access=access, location=location, via=relation)
                for r in facts.relations
            )
            effects += through(facts.effects, relation, location)
            if access is not Access.READ:
                for behind in facts.relations:
                    effects += through(relation_effects(behind, access, location), relation, location)
    return tuple(uses), effects


def _counted(ctx: Context, statement: Statement) -> tuple[Effect, ...]:
    """Return the statement's effects as the catalog makes them: WHERE clauses proven by the columns there
    are, row bounds only where nothing in the catalog disproves them."""
    proven = {(w.access.value, w.relation.name): w.rows for w in ctx.writes}

    def columns(name: RelationName) -> frozenset[str] | None:
        relation = ctx.catalog.relation(name.schema, name.name, ctx.session)
        return None if relation is None else frozenset(c.name for c in relation.columns)

    return tuple(
        evolve(e, rows=None)
        if e.rows is not None
        and e.target is not None
        and proven.get((e.kind.value, e.target.name), e.rows) is None
        else e
        for e in (_doubted(ctx, each) for each in reread(statement, columns))
    )


def _doubted(ctx: Context, effect: Effect) -> Effect:
    """Return ``effect`` without a proof that rests on another relation which is the target after all.

    The grammar tells relations apart by name: a view of the target, its partitions, parents and children
    hand out the target's own rows. What a whole key restricts needs no such proof.
    """
    if not effect.constrained or effect.target is None or _proven(ctx) is not None:
        return effect
    target = ctx.catalog.relation(effect.target.schema, effect.target.name, ctx.session)
    if target is None:
        return effect
    family = {r.oid for r in _family(ctx, target)}
    for (oid, access, _), relation in ctx.relations.items():
        if access is not Access.READ or oid == target.oid:
            continue
        behind = {r.oid for r in view_facts(ctx.catalog, relation).relations} if is_view(relation) else {oid}
        if behind & family:
            return evolve(effect, constrained=False)
    return effect


def _family(ctx: Context, relation: Relation) -> list[Relation]:
    found = {relation.oid: relation}
    todo = [relation]
    while todo:
        current = todo.pop()
        parents = (ctx.catalog.relations.get(p) for p in current.parents)
        for other in (*parents, *ctx.memo.children.get(current.oid, ())):
            if other is not None and other.oid not in found:
                found[other.oid] = other
                todo.append(other)
    return list(found.values())


def _proven(ctx: Context) -> int | None:
    total = 0
    for write in ctx.writes:
        if write.rows is None:
            return None
        total += write.rows
    return total if ctx.writes else None


def _characters(text: str) -> Callable[[int], int]:
    """Return what turns the grammar's offsets, which are bytes of UTF-8, into characters."""
    if text.isascii():
        return lambda location: location
    ends = list(accumulate(len(c.encode("utf-8", "surrogatepass")) for c in text))
    return lambda location: location if location < 0 else bisect_left(ends, location + 1)


def _too_deep(statement: Statement, catalog: Catalog) -> Bound:
    return Bound(
        statement=statement,
        effects=statement.effects,
        relations=(),
        functions=(),
        outputs=None,
        uses=(),
        unknown=(),
        complete=False,
        incomplete_because="it nests too deeply for its columns to be traced",
        catalog_version=catalog.version,
    )

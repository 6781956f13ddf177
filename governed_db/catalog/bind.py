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

from governed_db.catalog.bound import Bound, ColumnUse, Output, RelationUse, Use
from governed_db.catalog.columns import column_uses
from governed_db.catalog.commands import UNTOLD, command, query
from governed_db.catalog.consequences import consequences
from governed_db.catalog.context import Context
from governed_db.catalog.kin import kin
from governed_db.catalog.known import known_columns
from governed_db.catalog.model import Catalog, Relation, Session
from governed_db.catalog.scope import Rows
from governed_db.catalog.vetting import SECRET_COLUMNS
from governed_db.catalog.views import is_view, view_facts
from governed_db.statement.facts import Access, Effect, EffectKind, Statement
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
    ctx.text = statement.text
    rows = Rows(())
    for raw in statement.tree:
        rows = command(ctx, raw.get("stmt", {}))
    if len(statement.tree) > 1:
        rows = UNTOLD  # each command has a result of its own, and may change what the next one means
    place = characters(statement.text)
    found = consequences(ctx, statement, place)
    outputs = None
    if rows.rest is None:
        outputs = tuple(Output(name=c.name, sources=c.sources, plain=c.plain) for c in rows.columns)
    columns = column_uses(ctx, rows) if len(statement.tree) == 1 else None
    # Where the rows go to the caller and nowhere else, every column that is looked at is known.
    told = columns if statement.tag == "SELECT" else None
    return Bound(
        statement=statement,
        effects=(*_counted(ctx, statement), *(e for e in found.effects if not _spared(e, told))),
        relations=tuple(_with_kin(catalog, use) for use in found.relations),
        functions=tuple(found.functions),
        outputs=outputs,
        uses=tuple(_placed(u, place) for u in ctx.uses),
        unknown=tuple(ctx.unknown),
        complete=statement.complete and not ctx.incomplete,
        incomplete_because=statement.incomplete_because or ctx.incomplete,
        rows=None if found.written else _proven(ctx),
        writes_beside=found.written,
        catalog_version=catalog.version,
        columns=columns,
        stored=tuple(
            evolve(s, operand=evolve(s.operand, location=place(s.operand.location))) for s in ctx.stored
        ),
    )


def _placed(use: Use, place: Callable[[int], int]) -> Use:
    operands = tuple(evolve(o, location=place(o.location)) for o in use.operands)
    return evolve(use, location=place(use.location), operands=operands)


def _with_kin(catalog: Catalog, use: RelationUse) -> RelationUse:
    related = kin(catalog, use.relation)
    return evolve(use, kin=related) if related else use


def _spared(effect: Effect, columns: tuple[ColumnUse, ...] | None) -> bool:
    """Return whether ``effect`` reads a withheld relation and nothing of it that is worth withholding."""
    secret = SECRET_COLUMNS.get(str(effect.target))
    if secret is None or columns is None or not effect.note.startswith("withheld"):
        return False
    return not any(use.column in secret and use.relation == effect.target for use in columns)


def _read(effect: Effect, note: str) -> Effect:
    """Return the effect of a DO with ``note`` where its program was understood, any other as it is."""
    return evolve(effect, note=note) if note and effect.kind is EffectKind.DO else effect


def _counted(ctx: Context, statement: Statement) -> tuple[Effect, ...]:
    """Return the statement's effects as the catalog makes them: WHERE clauses proven by the columns there
    are, row bounds only where nothing in the catalog disproves them."""
    proven = {(w.access.value, w.relation.name): w.rows for w in ctx.writes}
    columns = known_columns(ctx.catalog, ctx.session)
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
    if is_view(target):
        family |= {r.oid for r in view_facts(ctx.catalog, target).relations}
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


def characters(text: str) -> Callable[[int], int]:
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

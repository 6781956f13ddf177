"""Views: which columns of which tables each of their columns is made from, and what else they reach.

A view is bound like any query, from the definition PostgreSQL itself gives, with nothing but pg_catalog
in the search path; once per catalog.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from governed_db.catalog.bound import Source
from governed_db.catalog.context import Context, memo
from governed_db.catalog.model import Catalog, Relation, Session
from governed_db.catalog.queries import LOCKED
from governed_db.catalog.scope import NOTHING, Scope
from governed_db.statement.facts import Effect, EffectKind

if TYPE_CHECKING:
    from governed_db.statement.facts import Statement

# What PostgreSQL brings has no definition in the catalog; vetting says which of it is withheld.
_SYSTEM = frozenset({"pg_catalog", "information_schema"})


# What a view leaves out is for its owner to say.
_FILTERS = frozenset({"WHERE", "HAVING", "JOIN ... ON"})

# The views that this thread is in the middle of reading; the memo, which all threads share, cannot say.
_reading: ContextVar[frozenset[int]] = ContextVar("governed_db_views_being_read", default=frozenset())


@frozen(kw_only=True)
class ViewFacts:
    """What one view is made of.

    Attributes:
        columns: by place, the sources of each column, one step down.
        plain: by place, whether the column hands its sources on unchanged.
        relations: everything it reads, views behind it and their tables included.
        effects: calls of PostgreSQL's functions that are not vetted and reads of withheld relations,
            anywhere below.
        calls: OIDs of the functions of users and extensions that it calls, likewise.
        nullness: columns of which it hands out whether they are NULL.
        gap: what was not understood, "" if nothing.
    """

    columns: tuple[frozenset[Source], ...] = ()
    plain: tuple[bool, ...] = ()
    relations: tuple[Relation, ...] = ()
    effects: tuple[Effect, ...] = ()
    calls: tuple[int, ...] = ()
    nullness: frozenset[Source] = NOTHING
    gap: str = ""


def view_facts(catalog: Catalog, view: Relation) -> ViewFacts:
    """Return what ``view`` is made of."""
    known = memo(catalog).views
    facts = known.get(view.oid)
    if facts is not None:
        return facts
    reading = _reading.get()
    if view.oid in reading:
        return ViewFacts(gap=f"the view {view} refers to itself")
    token = _reading.set(reading | {view.oid})
    try:
        facts = known[view.oid] = _read(catalog, view)
    finally:
        _reading.reset(token)
    return facts


def is_view(relation: Relation) -> bool:
    """Return whether the columns of ``relation`` come from elsewhere and can be followed there."""
    return relation.kind in "vm" and (relation.definition is not None or relation.schema not in _SYSTEM)


def _read(catalog: Catalog, view: Relation) -> ViewFacts:
    from governed_db.catalog.commands import query  # noqa: PLC0415 - binding a query may need views again
    from governed_db.catalog.reach import (  # noqa: PLC0415 - likewise
        function_uses,
        of_users,
        reason,
        relation_effects,
    )

    statement = _definition(view)
    if statement is None:
        locked = ", while another session holds what it reads" if view.definition == LOCKED else ""
        return ViewFacts(gap=f"the definition of the view {view} cannot be read{locked}")
    # PostgreSQL leaves out the schema of what an empty search_path finds: pg_catalog and, before it, the
    # session's own temporary schema.
    temp = memo(catalog).temp
    path = ("pg_catalog",) if temp is None else (temp, "pg_catalog")
    session = Session(database="", role="", session_user="", search_path=path, temp_schema=temp)
    ctx = Context(catalog, session, query)
    rows = query(ctx, statement.tree[0].get("stmt", {}), Scope([]))
    effects: list[Effect] = []
    calls: dict[int, None] = {}
    for use in function_uses(ctx, statement):
        if use.vetted:
            continue
        calls.update(dict.fromkeys((*(f.oid for f in use.candidates if of_users(f)), *use.reaches)))
        if any(not of_users(f) and reason(ctx.memo, f) for f in use.candidates) or not (
            use.candidates or use.reaches
        ):
            effects.append(Effect(kind=EffectKind.FUNCTION, name=str(use.ref), note=use.note))
    relations: dict[int, Relation] = {}
    gaps = [ctx.incomplete] if ctx.incomplete else []
    for (oid, access, _), relation in ctx.relations.items():
        relations[oid] = relation
        effects += relation_effects(relation, access, -1)
        if is_view(relation):
            below = view_facts(catalog, relation)
            relations.update((r.oid, r) for r in below.relations)
            effects += below.effects
            calls.update(dict.fromkeys(below.calls))
            gaps += [below.gap] if below.gap else []
    columns = tuple(c.sources for c in rows.columns)
    if rows.rest is not None or len(columns) != len(view.columns):
        gaps.append("its columns cannot be told")
    return ViewFacts(
        columns=columns,
        plain=tuple(c.plain for c in rows.columns),
        relations=tuple(relations.values()),
        effects=tuple(effects),
        calls=tuple(calls),
        nullness=frozenset(u.source for u in ctx.uses if u.nullness and u.clause not in _FILTERS),
        gap=f"the view {view}: {gaps[0]}" if gaps else "",
    )


def _definition(view: Relation) -> Statement | None:
    from governed_db.statement import Unreadable, read  # noqa: PLC0415 - only views need the grammar here

    if view.definition is None:
        return None
    try:
        statement = read(view.definition)
    except Unreadable:
        return None
    return statement if statement.complete and statement.commands == 1 else None


def through(effects: Iterable[Effect], view: Relation, location: int) -> tuple[Effect, ...]:
    """Return a view's own effects as those of a statement that names it at ``location``."""
    return tuple(
        evolve(e, note=f"{e.note}, through the view {view}", location=location, constrained=None)
        for e in effects
    )


def closure(catalog: Catalog, source: Source) -> frozenset[Source]:
    """Return ``source`` and every column its value comes from, down through views to tables."""
    found = {source}
    todo = [source]
    while todo:
        below, _ = _below(catalog, todo.pop())
        todo.extend(below - found)
        found |= below
    return frozenset(found)


def unchanged(catalog: Catalog, source: Source) -> bool:
    """Return whether ``source`` hands on values of tables as they are, through however many views."""
    seen = {source}
    todo = [source]
    while todo:
        below, plain = _below(catalog, todo.pop())
        if not plain:
            return False
        todo.extend(below - seen)
        seen |= below
    return True


def _below(catalog: Catalog, source: Source) -> tuple[frozenset[Source], bool]:
    """Return the sources of a view's column and whether it is one of them unchanged; a table's has none."""
    relation = catalog.relations.get(source.relation)
    if relation is None or not is_view(relation):
        return NOTHING, True
    facts = view_facts(catalog, relation)
    place = next((i for i, c in enumerate(relation.columns) if c.number == source.column), None)
    if place is None or place >= len(facts.columns):
        return NOTHING.union(*facts.columns), False
    return facts.columns[place], facts.plain[place]

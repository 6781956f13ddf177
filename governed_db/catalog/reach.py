"""What only the catalog shows of a statement: functions behind names, triggers, rules, withheld relations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from governed_db.catalog import vetting
from governed_db.catalog.bound import FunctionUse
from governed_db.catalog.context import Context
from governed_db.catalog.functions import takes
from governed_db.catalog.model import Function, Relation
from governed_db.statement.facts import Access, Effect, EffectKind, FunctionRef, RelationName, Statement

_WRITING = frozenset({Access.INSERT, Access.UPDATE, Access.DELETE, Access.TRUNCATE})

DOMAIN = "a cast to a domain defined in this database by users, whose checks may call functions"


def function_uses(ctx: Context, statement: Statement) -> tuple[FunctionUse, ...]:
    """Return every call of ``statement`` with what it can reach.

    Operators and casts appear only where this database has ones of its own under the name.
    """
    found: list[FunctionUse] = []
    for ref in statement.functions:
        if ref.how == "operator":
            found += _own(ctx, ref, _operators(ctx, ref))
        elif ref.how == "cast":
            found += _casts(ctx, ref)
        else:
            use = _call(ctx, ref)
            if use is not None:
                found.append(use)
    return tuple(found)


def _call(ctx: Context, ref: FunctionRef) -> FunctionUse | None:
    candidates = tuple(ctx.catalog.candidates(ref.schema, ref.name, ctx.session))
    if not candidates:
        return _no_function(ctx, ref)
    if not ref.certain and ref.name not in ctx.called:
        return None  # alias.f or (x).f, and every f is a column
    if ref.arguments >= 0:
        # The arguments of an ordered-set aggregate stand in two places; it is never ruled out by number.
        candidates = tuple(f for f in candidates if f.kind == "a" or takes(f, ref.arguments)) or candidates
    if ref.how == "tablesample" and all(f.schema == "pg_catalog" for f in candidates):
        return FunctionUse(ref=ref, candidates=candidates, vetted=True)
    reason = _reason(ctx, candidates)
    return FunctionUse(ref=ref, candidates=candidates, vetted=reason is None, note=reason or "")


def _reason(ctx: Context, functions: Sequence[Function]) -> str | None:
    known = ctx.memo.unvetted
    for function in functions:
        if function.oid not in known:
            known[function.oid] = vetting.unvetted(function)
        if known[function.oid]:
            return known[function.oid]
    return None


def _no_function(ctx: Context, ref: FunctionRef) -> FunctionUse | None:
    """Answer for a name that is no function: f(t) may be a column, text(x) a cast, (x).f a field."""
    if not ref.certain or ref.how == "default" or _projected(ctx, ref.name):
        return None
    schemas = (ref.schema,) if ref.schema else ctx.session.search_path
    if any((s, ref.name) in ctx.memo.types for s in schemas):
        casts = _casts(ctx, ref)
        return casts[0] if casts else None
    ctx.missing(str(ref), "function")
    return FunctionUse(ref=ref, candidates=(), vetted=False, note="not known in this database")


def _operators(ctx: Context, ref: FunctionRef) -> list[Function]:
    named = ctx.catalog.operators.get(ref.name, ())
    schemas = (ref.schema,) if ref.schema else ctx.session.search_path
    reached = (ctx.catalog.function(o.function) for o in named if o.schema in schemas)
    return [f for f in reached if f is not None]


def _own(ctx: Context, ref: FunctionRef, functions: list[Function]) -> list[FunctionUse]:
    if not functions:
        return []
    reason = _reason(ctx, functions)
    return [FunctionUse(ref=ref, candidates=tuple(functions), vetted=reason is None, note=reason or "")]


def _casts(ctx: Context, ref: FunctionRef) -> list[FunctionUse]:
    schemas = (ref.schema,) if ref.schema else ctx.session.search_path
    type_ = next((t for s in schemas if (t := ctx.memo.types.get((s, ref.name)))), None)
    if type_ is None:
        return []
    if type_.kind == "d" and type_.schema not in ("pg_catalog", "information_schema"):
        return [FunctionUse(ref=ref, candidates=(), vetted=False, note=DOMAIN)]
    reached = (ctx.catalog.function(c.function) for c in ctx.catalog.casts.get(type_.oid, ()) if c.function)
    return _own(ctx, ref, [f for f in reached if f is not None])


def relation_effects(relation: Relation, access: Access, location: int) -> Iterator[Effect]:
    """Yield what touching ``relation`` sets off beyond what the text says."""
    name = RelationName(relation.schema, relation.name)
    if access is not Access.DEFINE:
        withheld = vetting.withheld(relation.schema, relation.name)
        if withheld:
            yield Effect(kind=EffectKind.SELECT, target=name, note=f"withheld: {withheld}", location=location)
    if relation.kind == "f":
        yield _sets_off(str(relation), "a foreign table: another server or a file is reached", location)
    if access not in _WRITING:
        return
    for trigger in relation.triggers:
        yield _sets_off(trigger, "a trigger of the table runs", location)
    if relation.has_rules:
        yield _sets_off(str(relation), "a rule of the table rewrites the statement", location)


def _sets_off(name: str, note: str, location: int) -> Effect:
    return Effect(kind=EffectKind.FUNCTION, name=name, note=note, location=location)


def _projected(ctx: Context, name: str) -> bool:
    # f(t) without a function f is the column t.f; the whole of t was noted as used where it stood.
    return name in ctx.projected and any(r.column(name) is not None for r in ctx.relations.values())

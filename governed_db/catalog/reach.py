"""What only the catalog shows of a statement: functions behind names, triggers, rules, withheld relations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from governed_db.catalog import vetting
from governed_db.catalog.bound import FunctionUse
from governed_db.catalog.context import Context
from governed_db.catalog.functions import takes
from governed_db.catalog.model import Function, Relation
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.statement.facts import Access, Effect, EffectKind, FunctionRef, RelationName, Statement

_WRITING = frozenset({Access.INSERT, Access.UPDATE, Access.DELETE, Access.TRUNCATE})

DOMAIN = "a cast to a domain defined in this database by users, whose checks may call functions"


def function_uses(ctx: Context, statement: Statement) -> tuple[FunctionUse, ...]:
    """Return every call of ``statement`` with what it can reach.

    Operators and casts appear only where this database has ones of its own under the name.
    """
    found: list[FunctionUse] = []
    types = _present(ctx, statement) if ctx.catalog.operators or ctx.catalog.casts else frozenset()
    for ref in statement.functions:
        if ref.how == "operator":
            found += _own(ctx, ref, _operators(ctx, ref, types))
        elif ref.how == "cast":
            found += _casts(ctx, ref, types)
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
        casts = _casts(ctx, ref, None)
        return casts[0] if casts else None
    ctx.missing(str(ref), "function")
    return FunctionUse(ref=ref, candidates=(), vetted=False, note="not known in this database")


def _operators(ctx: Context, ref: FunctionRef, types: frozenset[int]) -> list[Function]:
    named = ctx.catalog.operators.get(ref.name, ())
    schemas = (ref.schema,) if ref.schema else ctx.session.search_path
    reached = (
        ctx.catalog.function(o.function)
        for o in named
        if o.schema in schemas and types.issuperset(t for t in (o.left, o.right) if t >= FIRST_USER_OID)
    )
    return [f for f in reached if f is not None and not _of_an_extension(f)]


def _of_an_extension(function: Function) -> bool:
    # Operators and casts as an administrator's CREATE EXTENSION brings them (citext, hstore, pg_trgm,
    # vector): compiled, and by their own word free of side effects.
    return function.extension is not None and function.language == "c" and function.volatility in "is"


def _present(ctx: Context, statement: Statement) -> frozenset[int]:
    """Return every type of this database's own that a value in ``statement`` can have.

    An operator or a cast is chosen by its operands' types: one for a type that nothing here has, names or
    returns cannot be meant.
    """
    memo = ctx.memo
    todo = [c.type_oid for r in ctx.relations.values() for c in r.columns]
    for ref in statement.functions:
        schemas = (ref.schema,) if ref.schema else ctx.session.search_path
        if ref.how == "cast":
            todo += [t.oid for s in schemas if (t := memo.types.get((s, ref.name)))]
        elif ref.how != "operator":
            for function in ctx.catalog.candidates(ref.schema, ref.name, ctx.session):
                todo.append(function.returns)
    found: set[int] = set()
    while todo:
        oid = todo.pop()
        type_ = ctx.catalog.types.get(oid)
        if oid in found or type_ is None:
            continue
        found.add(oid)
        todo += [t for t in (type_.base, type_.element) if t]
        if type_.relation and (row := ctx.catalog.relations.get(type_.relation)):
            todo += [c.type_oid for c in row.columns]
    return frozenset(found)


def _own(ctx: Context, ref: FunctionRef, functions: list[Function]) -> list[FunctionUse]:
    if not functions:
        return []
    reason = _reason(ctx, functions)
    return [FunctionUse(ref=ref, candidates=tuple(functions), vetted=reason is None, note=reason or "")]


def _casts(ctx: Context, ref: FunctionRef, types: frozenset[int] | None) -> list[FunctionUse]:
    schemas = (ref.schema,) if ref.schema else ctx.session.search_path
    type_ = next((t for s in schemas if (t := ctx.memo.types.get((s, ref.name)))), None)
    if type_ is None:
        return []
    if _checks(ctx, type_.oid):
        return [FunctionUse(ref=ref, candidates=(), vetted=False, note=DOMAIN)]
    reached = (
        ctx.catalog.function(c.function)
        for c in ctx.catalog.casts.get(type_.oid, ())
        if c.function and (types is None or c.source < FIRST_USER_OID or c.source in types)
    )
    return _own(ctx, ref, [f for f in reached if f is not None and not _of_an_extension(f)])


def _checks(ctx: Context, oid: int) -> bool:
    """Return whether making a value of type ``oid`` can run the checks of a domain of this database."""
    todo, seen = [oid], set()
    while todo:
        type_ = ctx.catalog.types.get(todo.pop())
        if type_ is None or type_.oid in seen:
            continue
        seen.add(type_.oid)
        if type_.kind == "d" and type_.schema not in ("pg_catalog", "information_schema"):
            return True
        todo += [t for t in (type_.base, type_.element) if t]
        if type_.relation and type_.kind == "c" and (row := ctx.catalog.relations.get(type_.relation)):
            todo += [c.type_oid for c in row.columns]
    return False


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

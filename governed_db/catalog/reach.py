"""What only the catalog shows of a statement: functions behind names, withheld relations, foreign tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from governed_db.catalog import vetting
from governed_db.catalog.absent import function_hint
from governed_db.catalog.bound import FunctionUse
from governed_db.catalog.context import Context, Memo
from governed_db.catalog.functions import takes
from governed_db.catalog.model import Catalog, Function, Operator, Relation
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.catalog.results import choose
from governed_db.catalog.unsaid import unsaid
from governed_db.catalog.versions import is_syntax, release
from governed_db.statement.facts import Access, Effect, EffectKind, FunctionRef, RelationName, Statement

DOMAIN = "a cast to a domain defined in this database by users, whose checks may call functions"


def function_uses(ctx: Context, statement: Statement) -> tuple[FunctionUse, ...]:
    """Return every call of ``statement`` with what it can reach.

    Operators and casts appear only where this database has ones of its own under the name.
    """
    found: list[FunctionUse] = []
    meant: list[Operator] = []
    types = _present(ctx, statement) if ctx.catalog.operators or ctx.catalog.casts else frozenset()
    for ref in statement.functions:
        if ref.how == "operator":
            for operator in _operators(ctx, ref, types, statement.text):
                meant.append(operator)
                function = ctx.catalog.function(operator.function)
                if function is not None and not _of_an_extension(function):
                    found += _own(ctx, ref, [function])
        elif ref.how == "cast":
            found += _casts(ctx, ref, types)
        else:
            use = _call(ctx, ref, statement.text)
            if use is not None:
                found.append(use)
    for unwritten, functions in unsaid(ctx, statement, meant):
        found += _own(ctx, unwritten, [f for f in functions if not _of_an_extension(f)])
    return tuple(found)


def _call(ctx: Context, ref: FunctionRef, text: str) -> FunctionUse | None:
    constructor = ref.how == "constructor"
    if constructor and is_syntax(ref.name, ctx.catalog.server_version):
        return None
    candidates = tuple(ctx.catalog.candidates(ref.schema, ref.name, ctx.session))
    if not candidates:
        return _no_function(ctx, ref)
    if not ref.certain and not constructor and ref.name not in ctx.called:
        return None  # alias.f or (x).f, and every f is a column
    if ref.arguments >= 0:
        # The arguments of an ordered-set aggregate stand in two places; it is never ruled out by number.
        candidates = tuple(f for f in candidates if f.kind == "a" or takes(f, ref.arguments)) or candidates
    if ref.how == "call" and any(f.oid >= FIRST_USER_OID for f in candidates):
        passed = ctx.passed.get(_byte(text, ref.location), ())
        if len(passed) == ref.arguments:
            candidates = tuple(choose(candidates, passed, ctx.memo.strings))
    if ref.how == "tablesample" and all(f.schema == "pg_catalog" for f in candidates):
        return FunctionUse(ref=ref, candidates=candidates, vetted=True)
    reason = _reason(ctx, candidates)
    return FunctionUse(ref=ref, candidates=candidates, vetted=reason is None, note=reason or "")


def reason(memo: Memo, function: Function) -> str | None:
    """Return why ``function`` is not on the list of those that anybody may call, ``None`` where it is."""
    known = memo.unvetted
    if function.oid not in known:
        known[function.oid] = vetting.unvetted(function)
    return known[function.oid]


def _reason(ctx: Context, functions: Sequence[Function]) -> str | None:
    return next((why for f in functions if (why := reason(ctx.memo, f))), None)


def of_users(function: Function) -> bool:
    """Return whether ``function`` is one whose body says what it does, or nobody does."""
    return function.oid >= FIRST_USER_OID and (
        function.extension is None or function.definition is not None or bool(function.made_of)
    )


def type_checks(catalog: Catalog, oid: int) -> tuple[int, ...]:
    """Return the functions, less the vetted ones, that making a value of a type runs; 0 is one unknown."""
    if catalog.checks is not None:
        return catalog.checks.get(oid, ())
    return (0,) if _checks(catalog, oid) else ()


def _no_function(ctx: Context, ref: FunctionRef) -> FunctionUse | None:
    """Answer for a name that is no function: f(t) may be a column, text(x) a cast, (x).f a field."""
    if ref.how == "default" and not is_syntax(ref.name, ctx.catalog.server_version):
        # What the grammar takes for a call is a column or a table on this server.
        ctx.gap(f"{ref.name.upper()} is a name and no keyword before PostgreSQL {release(ref.name)}")
        return None
    if ref.how != "constructor" and (not ref.certain or ref.how == "default" or _projected(ctx, ref.name)):
        return None
    schemas = ctx.session.schemas(ref.schema)
    if any((s, ref.name) in ctx.memo.types for s in schemas):
        casts = _casts(ctx, ref, None)
        return casts[0] if casts else None
    at = len((ctx.text or "")[: ref.location].encode()) if ref.location >= 0 else -1
    ctx.missing(str(ref), "function", at, partial(function_hint, ctx, ref.schema, ref.name))
    return FunctionUse(ref=ref, candidates=(), vetted=False, note="not known in this database")


def _operators(ctx: Context, ref: FunctionRef, types: frozenset[int], text: str) -> list[Operator]:
    named = ctx.catalog.operators.get(ref.name, ())
    if not named:
        return []
    sides = ctx.compared.get(_byte(text, ref.location), ())
    schemas = ctx.session.schemas(ref.schema)
    return [
        o
        for o in named
        if o.schema in schemas
        and types.issuperset(t for t in (o.left, o.right) if t >= FIRST_USER_OID)
        and all(_goes(ctx, t, wanted) for t, wanted in zip(sides, (o.left, o.right), strict=False))
    ]


def _goes(ctx: Context, given: int, wanted: int) -> bool:
    """Return whether a value of type ``given`` (0: not known) may stand where ``wanted`` is taken."""
    if not 0 < given < FIRST_USER_OID or wanted < FIRST_USER_OID:
        return True
    return any(c.context == "i" and c.source == given for c in ctx.catalog.casts.get(wanted, ()))


def _byte(text: str, location: int) -> int:
    return len(text[:location].encode()) if location >= 0 else -1


def _of_an_extension(function: Function) -> bool:
    # Operators and casts of citext, hstore, pg_trgm, vector, ... are not worth a word.
    return function.extension is not None and vetting.unvetted(function) is None


def _present(ctx: Context, statement: Statement) -> frozenset[int]:
    """Return every type of this database's own that a value in ``statement`` can have.

    An operator or a cast is chosen by its operands' types: one for a type that nothing here has, names or
    returns cannot be meant.
    """
    memo = ctx.memo
    todo = [c.type_oid for r in ctx.relations.values() for c in r.columns]
    for ref in statement.functions:
        schemas = ctx.session.schemas(ref.schema)
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
    schemas = ctx.session.schemas(ref.schema)
    type_ = next((t for s in schemas if (t := ctx.memo.types.get((s, ref.name)))), None)
    if type_ is None:
        return []
    checks = type_checks(ctx.catalog, type_.oid)
    if checks:
        return [FunctionUse(ref=ref, candidates=(), vetted=False, note=DOMAIN, reaches=checks)]
    reached = (
        ctx.catalog.function(c.function)
        for c in ctx.catalog.casts.get(type_.oid, ())
        if c.function and (types is None or c.source < FIRST_USER_OID or c.source in types)
    )
    return _own(ctx, ref, [f for f in reached if f is not None and not _of_an_extension(f)])


def _checks(catalog: Catalog, oid: int) -> bool:
    """Return whether making a value of type ``oid`` can run the checks of a domain of this database."""
    todo, seen = [oid], set()
    while todo:
        type_ = catalog.types.get(todo.pop())
        if type_ is None or type_.oid in seen:
            continue
        seen.add(type_.oid)
        if type_.kind == "d" and type_.schema not in ("pg_catalog", "information_schema"):
            return True
        todo += [t for t in (type_.base, type_.element) if t]
        if type_.relation and type_.kind == "c" and (row := catalog.relations.get(type_.relation)):
            todo += [c.type_oid for c in row.columns]
    return False


def relation_effects(relation: Relation, access: Access, location: int) -> Iterator[Effect]:
    """Yield what is to be said of touching ``relation`` by its name and kind alone."""
    name = RelationName(relation.schema, relation.name)
    if access is not Access.DEFINE:
        withheld = vetting.withheld(relation.schema, relation.name)
        if withheld:
            yield Effect(kind=EffectKind.SELECT, target=name, note=f"withheld: {withheld}", location=location)
    if relation.kind == "f":
        yield _sets_off(str(relation), "a foreign table: another server or a file is reached", location)


def _sets_off(name: str, note: str, location: int) -> Effect:
    return Effect(kind=EffectKind.FUNCTION, name=name, note=note, location=location)


def _projected(ctx: Context, name: str) -> bool:
    # f(t) without a function f is the column t.f; the whole of t was noted as used where it stood.
    return name in ctx.projected and any(r.column(name) is not None for r in ctx.relations.values())

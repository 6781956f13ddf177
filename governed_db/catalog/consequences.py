"""What a statement does beyond its own text: by the functions it calls and by what its writes set off."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve, field

from governed_db.catalog import reach
from governed_db.catalog.bodies import LOOKED_INTO, USERS, BodyFacts, body_facts, code_facts
from governed_db.catalog.bound import FunctionUse, RelationUse
from governed_db.catalog.context import Context
from governed_db.catalog.setoff import Runs, SetOff
from governed_db.catalog.telling import told
from governed_db.catalog.touching import touched, touches
from governed_db.statement.facts import WRITES, Access, Effect, EffectKind, FunctionRef, Statement
from governed_db.statement.nodes import strings, unwrap

SEQUENCE = "changes a sequence"
ONCE = ", as often as the text says"


@define(eq=False)
class Consequences:
    """What was found, in the order of the text.

    ``written``: rows are or may be written by something other than the command itself. ``read``: the note of
    a DO whose program was understood.
    """

    functions: list[FunctionUse] = field(factory=list)
    effects: dict[Effect, None] = field(factory=dict)
    relations: dict[RelationUse, None] = field(factory=dict)
    beneath: dict[FunctionUse, None] = field(factory=dict)
    written: bool = False
    read: str = ""


def consequences(ctx: Context, statement: Statement, place: Callable[[int], int]) -> Consequences:
    """Return what ``statement``, bound in ``ctx``, calls, touches and sets off.

    Columns that are read on the way are noted in ``ctx`` as used. ``place`` turns bytes into characters.
    """
    found = Consequences()
    # Of a plain EXPLAIN nothing runs but what planning itself calls.
    explained = statement.tag == "EXPLAIN" and not statement.writes
    uses = reach.function_uses(ctx, statement)
    once = ONCE if _no_rows_read(ctx, uses) else ""
    for use in uses:
        found.functions.append(use if use.vetted else _called(ctx, use, once, found))
    for effect in statement.effects:
        if effect.kind is EffectKind.DO:
            _code(ctx, statement, effect, found)
    for touch, location in touches(ctx, statement, place):
        access = Access.READ if explained and touch.access is not Access.DEFINE else touch.access
        for sources, clause in told(ctx, evolve(touch, access=access)):
            ctx.use(sources, clause, -1)
        more = touched(ctx, evolve(touch, access=access), location)
        if more.gap:
            ctx.gap(more.gap)
        for each in more.relations:
            found.relations[evolve(each, access=touch.access)] = None
        found.effects.update((e, None) for e in more.effects)
        found.written = found.written or any(e.kind in WRITES for e in more.effects)
        for oid in more.calls:
            _through_view(ctx, oid, more.relations[0], location, found)
        for off in more.set_off:
            _set_off(ctx, off, location, found)
    found.functions += found.beneath
    return found


def _no_rows_read(ctx: Context, functions: tuple[FunctionUse, ...]) -> bool:
    """Return whether nothing multiplies what the text calls: no relation is read, no set is returned."""
    read = any(access is Access.READ for _, access, _ in ctx.relations)
    return not read and not any(f.returns_set for use in functions for f in use.candidates)


def _name(use: FunctionUse) -> str:
    # The function, where it is one and known; else what the text calls it.
    names = {str(f) for f in use.candidates}
    return names.pop() if len(names) == 1 else str(use.ref)


def _call_effect(use: FunctionUse, note: str, name: str = "") -> Effect:
    return Effect(kind=EffectKind.FUNCTION, name=name or _name(use), note=note, location=use.ref.location)


def _called(ctx: Context, use: FunctionUse, once: str, found: Consequences) -> FunctionUse:
    """Add what one call can do; return it as vetted where all of it only computes."""
    location = use.ref.location
    bodies = [(f.oid, str(f)) for f in use.candidates if reach.reason(ctx.memo, f) and reach.of_users(f)]
    bodies += [(oid, f"a check of the domain {use.ref}") for oid in use.reaches]
    others = [f for f in use.candidates if reach.reason(ctx.memo, f) and not reach.of_users(f)]
    computes = not others and bool(bodies)
    note = use.note
    if others:
        note = reach.reason(ctx.memo, others[0]) or use.note
    if others or not bodies:
        found.effects[_call_effect(use, f"{note}{once}" if note == SEQUENCE else note)] = None
    for oid, name in bodies:
        facts = body_facts(ctx.catalog, ctx.session, Runs(oid, ctx.session.search_path))
        if facts.computes:
            continue
        computes = False
        if facts.why:
            note = f"{use.note}, and not looked into: {facts.why}"
            found.effects[_call_effect(use, note)] = None
        else:
            found.effects[_call_effect(use, LOOKED_INTO, "" if use.reaches else name)] = None
        where = name if oid in use.reaches else _where(ctx, oid)
        _add(ctx, facts, where, location, found, own=name)
    return evolve(use, vetted=computes, note="" if computes else note)


def _where(ctx: Context, oid: int) -> str:
    function = ctx.catalog.function(oid)
    owner = ", with its owner's rights" if function is not None and function.security_definer else ""
    return f"function {function or 'of a domain'}{owner}"


def _through_view(ctx: Context, oid: int, view: RelationUse, location: int, found: Consequences) -> None:
    function = ctx.catalog.function(oid)
    name = str(function) if function is not None else f"a check of a domain in {view.relation}"
    facts = body_facts(ctx.catalog, ctx.session, Runs(oid, ctx.session.search_path))
    if facts.computes:
        return
    through = f"through the view {view.relation}"
    note = LOOKED_INTO
    if facts.why:
        why = function is not None and reach.reason(ctx.memo, function)
        note = f"{why or USERS}, and not looked into: {facts.why}"
    effect = Effect(kind=EffectKind.FUNCTION, name=name, note=f"{note}, {through}", location=location)
    found.effects[effect] = None
    _add(ctx, facts, f"{_where(ctx, oid)}, {through}", location, found, own=name)


def _set_off(ctx: Context, off: SetOff, location: int, found: Consequences) -> None:
    """Add a trigger, a rule, or a function that the relation itself runs."""
    facts = body_facts(ctx.catalog, ctx.session, off.runs)
    if facts.why:
        users = "" if off.unknown.startswith("defined") else f", {USERS}"
        note = f"{off.unknown}{users}: {facts.why}, in {off.where}"
    else:
        note = off.known
    if note and not (facts.computes and off.runs.rule >= 0):
        effect = Effect(kind=EffectKind.FUNCTION, name=off.name, note=note, location=location)
        found.effects[effect] = None
    function = ctx.catalog.function(off.runs.oid)
    own = f"a {off.where}" if function is None else str(function)
    _add(ctx, facts, off.where, location, found, own=own, silent=off.silent)


def _code(ctx: Context, statement: Statement, effect: Effect, found: Consequences) -> None:
    """Add what a DO block does."""
    for raw in statement.tree:
        node = raw.get("stmt", {}).get("DoStmt")
        if node is None:
            continue
        options = {n["DefElem"].get("defname"): n["DefElem"].get("arg", {}) for n in node.get("args", ())}
        texts = [a["String"].get("sval", "") for a in [options.get("as", {})] if "String" in a]
        texts += strings(options.get("as", {}).get("List", {}).get("items"))
        language = unwrap(options.get("language", {}))[1].get("sval", "plpgsql").lower()
        facts = code_facts(ctx.catalog, ctx.session, "".join(texts), language)
        if facts.why:
            note = f"not looked into: {facts.why}, in a DO block"
            found.effects[evolve(effect, kind=EffectKind.FUNCTION, name="DO", note=note)] = None
        else:
            found.read = "what it does is judged beside it"
        _add(ctx, facts, "a DO block", effect.location, found, own="DO")


def _add(
    ctx: Context,
    facts: BodyFacts,
    where: str,
    location: int,
    found: Consequences,
    *,
    own: str,
    silent: bool = False,
) -> None:
    """Add what a body does, as something that the statement does ``where``."""
    for leaf, effect in facts.effects:
        inside = f"in {where}" if leaf in (own, "") else f"in {where} ({leaf})"
        note = f"{effect.note}, {inside}" if effect.note else inside
        found.effects[evolve(effect, note=note, location=location)] = None
    for relation, access in facts.relations:
        found.relations[
            RelationUse(relation=relation, access=access, location=location, within=f"in {where}")
        ] = None
    clause = where if where.startswith(("a ", "an ")) else f"the {where}"
    if not silent:
        ctx.use(facts.sources, clause, -1)
    for source, sink in facts.stored:
        ctx.use(frozenset((source,)), clause, -1, sink)
    for function in facts.functions:
        ref = FunctionRef(function.schema, function.name, -1, "body", location)
        if str(function) != own:
            found.beneath[FunctionUse(ref=ref, candidates=(function,), vetted=True)] = None
    found.written = found.written or facts.writes

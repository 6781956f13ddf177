"""What is held against the rules: the parts of one statement, each with what its names can mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from attrs import evolve, frozen

from governed_db.catalog import vetting
from governed_db.catalog.bound import RelationUse
from governed_db.policy.model import Request
from governed_db.statement.facts import WRITES, Access, Effect, EffectKind, RelationName, Statement

TIMEOUTS = frozenset(
    {
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "lock_timeout",
        "statement_timeout",
        "transaction_timeout",
    },
)
"""Settings that are spans of time in milliseconds, 0 turning them off (guc_tables.c, GUC_UNIT_MS)."""

UNVETTED = "no vetted function of PostgreSQL has this name"
"""The note of a call that was judged by its name alone."""

# guc.c, time_unit_conversion_table; case matters there too.
_MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(us|ms|s|min|h|d)?\s*")
_WRITING = {
    Access.INSERT: EffectKind.INSERT,
    Access.UPDATE: EffectKind.UPDATE,
    Access.DELETE: EffectKind.DELETE,
    Access.TRUNCATE: EffectKind.TRUNCATE,
    Access.LOCK: EffectKind.LOCK,
}


@frozen
class Part:
    """One thing to judge. ``effect`` is ``None`` for the statement as a whole.

    ``relations`` holds what the effect's target can mean: one name where it is known.
    ``constants`` are the values a SET gives in plain text, ``None`` where it gives none or something else.

    ``column``: the one column the part is about; "" where it is about none, ``None`` where it is about
    columns that cannot be told. ``calls``: what a call can mean. ``aside``: the part is there for rules
    about ``columns`` or ``functions`` alone; where no such rule speaks of it, nothing has to.

    ``beside``: the relation that the statement touches, where the part is about another one that holds rows
    of it (a partition, a child, what it is itself a partition of). Rules about relations speak of such a part
    under both names.
    """

    effect: Effect | None
    relations: tuple[RelationName, ...] = ()
    constants: tuple[str, ...] | None = None
    note: str = ""
    column: str | None = ""
    calls: tuple[RelationName, ...] = ()
    aside: bool = False
    beside: RelationName | None = None


def parts(
    request: Request,
    *,
    columns: bool = False,
    functions: bool = False,
    named: Callable[[RelationName], bool] | None = None,
) -> tuple[Part, ...]:
    """Return everything of ``request`` that a rule has to speak of, in the order of the text.

    Args:
        request: what is judged.
        columns: whether to make a part of each column, for policies that have rules about columns.
        functions: whether to say which functions are called, for policies that have rules about them.
        named: whether some rule of the policy names a relation, for those that hold rows of the statement's.
    """
    statement, bound = request.statement, request.bound
    known = {} if bound is None else _meanings(statement, bound.relations)
    found: list[Part] = []
    if not statement.complete:
        found.append(Part(None, note=statement.incomplete_because))
    elif bound is not None and not bound.complete:
        found.append(Part(None, note=bound.incomplete_because))
    constants = _constants(statement)
    for effect in request.effects:
        meant = () if effect.target is None else known.get(effect.target, (effect.target,))
        found.append(Part(effect, meant, constants if effect.kind is EffectKind.SET else None, effect.note))
    spoken = {relation for part in found for relation in part.relations}
    reached = [(e, e.target) for e in _reached(request) if e.target is not None]
    if any(e.kind is EffectKind.SELECT for e, _ in reached):
        # "Rows are read" says less than the relations they are read from, which are parts themselves.
        found = [part for part in found if not _bare_read(part)]
    found += [Part(e, (name,), note=e.note) for e, name in reached if name not in spoken]
    if bound is None:
        found += [
            Part(e, () if e.target is None else (e.target,), note=e.note) for e in _by_name_alone(statement)
        ]
    if named is not None and bound is not None:
        found += _beside(found, bound.relations, named)
    if columns:
        found = _by_column(found, request)
    if functions:
        found = [_with_calls(part) for part in found] + list(_calls(request))
    return tuple(found)


# Of a write, the columns it sets; of everything else that touches rows, the columns it reads.
_SETS = {
    EffectKind.INSERT: (Access.INSERT,),
    EffectKind.UPDATE: (Access.UPDATE,),
    EffectKind.MERGE: (Access.INSERT, Access.UPDATE),
    EffectKind.COPY_FROM: (Access.INSERT,),
}
_READS = frozenset({EffectKind.SELECT, EffectKind.COPY_TO, EffectKind.ROW_LOCK, EffectKind.EXPLAIN})


def _beside(
    found: list[Part], uses: tuple[RelationUse, ...], named: Callable[[RelationName], bool]
) -> list[Part]:
    """Return a part for each relation that holds rows of one that a part is about."""
    related = {RelationName(u.relation.schema, u.relation.name): u.kin for u in uses if u.kin}
    if not related:
        return []
    about = {relation for part in found for relation in part.relations}
    more: dict[Part, None] = {}
    for part in found:
        for relation in part.relations if part.effect is not None else ():
            note = (
                f"{part.note}, with the rows of {relation}" if part.note else f"with the rows of {relation}"
            )
            for other in related.get(relation, ()):
                if part.effect is not None and other not in about and named(other):
                    effect = evolve(part.effect, target=other)
                    beside = evolve(part, effect=effect, relations=(other,), note=note)
                    more[evolve(beside, aside=True, beside=relation)] = None
    return list(more)


def _by_column(found: list[Part], request: Request) -> list[Part]:
    """Split each part about a relation by the columns of it that the statement reads or sets."""
    touched = request.bound.columns if request.bound is not None else None
    split: list[Part] = []
    read: set[RelationName] = set()
    for part in found:
        kind = part.effect.kind if part.effect is not None else None
        accesses = (Access.READ,) if kind in _READS else _SETS.get(kind) if kind is not None else None
        if part.effect is None or accesses is None:
            split.append(part)
        elif touched is None or len(part.relations) != 1:
            split.append(evolve(part, column=None) if part.relations else part)
        else:
            relation = part.beside or part.relations[0]
            if kind in _READS:
                read.add(relation)
            names = [c.column for c in touched if c.relation == relation and c.access in accesses]
            split += [evolve(part, column=name) for name in names] or [part]
    for column in touched or ():
        # What a write reads of its own target (in WHERE, RETURNING ...) no part speaks of yet.
        if column.access is Access.READ and column.relation not in read:
            effect = Effect(kind=EffectKind.SELECT, target=column.relation)
            split.append(Part(effect, (column.relation,), column=column.column, aside=True))
    if touched is None:
        for part in found:
            if part.effect is not None and part.effect.kind in WRITES | _SETS.keys() and part.relations:
                effect = Effect(kind=EffectKind.SELECT, target=part.effect.target)
                split.append(Part(effect, part.relations, column=None, aside=True))
    return split


def _named(name: str) -> RelationName:
    schema, _, bare = name.rpartition(".")
    return RelationName(schema or None, bare)


def _with_calls(part: Part) -> Part:
    effect = part.effect
    if effect is None or effect.kind not in (EffectKind.FUNCTION, EffectKind.CALL) or not effect.name:
        return part
    return evolve(part, calls=(_named(effect.name),))


def _calls(request: Request) -> Iterator[Part]:
    """Yield a part for each call, vetted or not."""
    if request.bound is None:
        for ref in request.statement.functions:
            if ref.how in {"call", "tablesample"}:
                effect = Effect(kind=EffectKind.FUNCTION, name=str(ref), location=ref.location)
                yield Part(effect, calls=(RelationName(ref.schema, ref.name),), aside=True)
        return
    for use in request.bound.functions:
        meant = {RelationName(f.schema, f.name): None for f in use.candidates}
        effect = Effect(kind=EffectKind.FUNCTION, name=str(use.ref), location=use.ref.location)
        yield Part(effect, calls=tuple(meant) or (RelationName(use.ref.schema, use.ref.name),), aside=True)


def _bare_read(part: Part) -> bool:
    effect = part.effect
    return (
        effect is not None and effect.kind is EffectKind.SELECT and effect.target is None and not effect.note
    )


def _meanings(
    statement: Statement, uses: tuple[RelationUse, ...]
) -> dict[RelationName, tuple[RelationName, ...]]:
    written = {ref.location: ref.name for ref in statement.relations if ref.location >= 0}
    meanings: dict[RelationName, dict[RelationName, None]] = {}
    for use in uses:
        name = RelationName(use.relation.schema, use.relation.name)
        own = use.via is None and not use.within  # of the text itself, which can leave the schema out
        spellings = {name, RelationName(None, name.name)} if own else {name}
        if own and use.location in written:
            spellings.add(written[use.location])
        for spelling in spellings:
            meanings.setdefault(spelling, {})[name] = None
    return {spelling: tuple(names) for spelling, names in meanings.items()}


def _reached(request: Request) -> Iterator[Effect]:
    """Yield an effect for each relation that is touched, so that rules about relations see all of them."""
    if request.bound is None:
        for ref in request.statement.relations:
            if ref.access is Access.READ:
                yield Effect(kind=EffectKind.SELECT, target=ref.name, location=ref.location)
        return
    explained = request.statement.tag == "EXPLAIN" and not request.statement.writes
    restricted: dict[EffectKind, bool] = {}
    for effect in request.effects:
        if effect.constrained is not None:
            restricted[effect.kind] = effect.constrained and restricted.get(effect.kind, True)
    for use in request.bound.relations:
        kind = EffectKind.SELECT if use.access is Access.READ else _WRITING.get(use.access)
        if explained and kind is not None:
            kind = EffectKind.SELECT  # its plan is shown; nothing is written
        if kind is not None:
            yield Effect(
                kind=kind,
                target=RelationName(use.relation.schema, use.relation.name),
                constrained=restricted.get(kind),
                note=use.within if use.via is None else f"through {use.via}",
                location=use.location,
            )


def _by_name_alone(statement: Statement) -> Iterator[Effect]:
    """Yield what a catalog would add, as far as PostgreSQL's own names tell it."""
    for relation in statement.relations:
        name = relation.name
        why = vetting.withheld(
            name.schema or ("pg_catalog" if name.name.startswith("pg_") else ""), name.name
        )
        if why and relation.access is not Access.DEFINE:
            yield Effect(
                kind=EffectKind.SELECT, target=name, note=f"withheld: {why}", location=relation.location
            )
    for call in statement.functions:
        # Operators and casts are named by what no list of functions holds; an uncertain call is a column
        # unless the catalog says otherwise. Both are for the database to tell.
        if call.certain and call.how in {"call", "tablesample"} and str(call) not in _vetted_names():
            yield Effect(kind=EffectKind.FUNCTION, name=str(call), note=UNVETTED, location=call.location)


@cache
def _vetted_names() -> frozenset[str]:
    """Return the names of all vetted functions, with their schema and, for pg_catalog, without.

    Overloads cannot be told apart without the types that only a database knows.
    """
    qualified = {line.split(" ", 1)[1].partition("(")[0] for line in vetting.vetted() if line[:2] != "r "}
    return frozenset(
        qualified | {name.removeprefix("pg_catalog.") for name in qualified} | {"bernoulli", "system"}
    )


def _constants(statement: Statement) -> tuple[str, ...] | None:
    if statement.commands != 1 or not statement.tree:
        return None
    node = statement.tree[0].get("stmt", {}).get("VariableSetStmt", {})
    if node.get("kind") != "VAR_SET_VALUE":
        return None
    values = [_constant(argument) for argument in node.get("args", ())]
    return tuple(v for v in values if v is not None) if values and None not in values else None


def _constant(argument: dict[str, Any]) -> str | None:
    literal = argument.get("A_Const", {})
    if "sval" in literal:
        return str(literal["sval"].get("sval", ""))
    if "ival" in literal:
        return str(literal["ival"].get("ival", 0))  # protobuf leaves out a zero
    return None


def milliseconds(constants: tuple[str, ...] | None) -> float | None:
    """Return the span of time that one constant of a setting in :data:`TIMEOUTS` means, or ``None``."""
    found = _SPAN.fullmatch(constants[0]) if constants and len(constants) == 1 else None
    return float(found[1]) * _MILLISECONDS[found[2] or "ms"] if found else None

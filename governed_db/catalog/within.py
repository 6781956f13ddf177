"""One body, bound: its SQL with variables told from columns, and NEW and OLD from the rows they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from attrs import evolve, frozen

from governed_db.catalog import reach
from governed_db.catalog.bound import Source
from governed_db.catalog.commands import command, query
from governed_db.catalog.context import Context
from governed_db.catalog.filling import Flow, filled, sinks, variables_in
from governed_db.catalog.known import known_columns
from governed_db.catalog.model import Catalog, Function, Relation, Session
from governed_db.catalog.scope import NOTHING, Col, Item, Rows
from governed_db.catalog.setoff import Runs
from governed_db.catalog.stored import apart
from governed_db.catalog.telling import told
from governed_db.catalog.touching import touched, touches
from governed_db.statement.facts import Access, Effect, EffectKind, RelationName, Statement
from governed_db.statement.reader import reread
from governed_db.statement.routine import Body, Part, own_names, without


@frozen(kw_only=True)
class Direct:
    """What one body does by itself; what it calls and sets off is only named.

    Attributes:
        effects: with targets by schema and name. The note of a call of PostgreSQL's own or an extension's
            function that is not vetted says why.
        relations: what it touches, views' tables included.
        sources: columns that its result, its writes, its messages or its behaviour can depend on.
        stored: columns of the row at hand whose values it stores, each with the column it stores them in.
        filled: every column whose values it makes others of, each with the column they go into.
        runs: what it calls and sets off.
        why: why it is not understood, "" where it is.
    """

    name: str = ""
    effects: tuple[Effect, ...] = ()
    relations: tuple[tuple[Relation, Access], ...] = ()
    sources: frozenset[Source] = NOTHING
    stored: frozenset[tuple[Source, Source]] = frozenset()
    filled: frozenset[tuple[Source, Source]] = frozenset()
    runs: tuple[Runs, ...] = ()
    why: str = ""


class _Gathered(NamedTuple):
    effects: dict[Effect, None]
    relations: dict[tuple[int, Access], tuple[Relation, Access]]
    sources: set[Source]
    stored: set[tuple[Source, Source]]
    runs: dict[Runs, None]
    flows: set[Flow]


def bound_body(
    catalog: Catalog, session: Session, name: str, body: Body, runs: Runs, relation: Relation | None
) -> Direct:
    """Return what ``body`` does by itself in ``session``; ``relation`` is whose NEW and OLD rows it sees."""
    found = _Gathered({}, {}, set(), set(), {}, set())
    why = body.why
    trigger = relation is not None and runs.rule < 0
    for part in body.parts:
        if trigger and part.piece.what == "RETURN" and _hands_back(part.statement):
            continue
        gap = _part(catalog, session, body, part, runs, relation, found)
        why = why or gap
    for names in body.column_types:
        checks = _column_type(catalog, session, names)
        if checks is None:
            why = why or "a variable's type cannot be told"
        else:
            found.runs.update((Runs(oid, session.search_path), None) for oid in checks)
    return Direct(
        name=name,
        effects=tuple(found.effects),
        relations=tuple(found.relations.values()),
        sources=frozenset(found.sources),
        stored=frozenset(found.stored),
        filled=filled(found.flows, frozenset(found.sources).union(s for s, _ in found.stored)),
        runs=tuple(found.runs),
        why=why,
    )


def _hands_back(statement: Statement) -> bool:
    """Return whether a trigger's RETURN gives NEW, OLD or NULL as they are."""
    targets = statement.tree[0].get("stmt", {}).get("SelectStmt", {}).get("targetList", ())
    value = targets[0].get("ResTarget", {}).get("val", {}) if len(targets) == 1 else {}
    fields = value.get("ColumnRef", {}).get("fields", ())
    return len(fields) == 1 and fields[0].get("String", {}).get("sval") in ("new", "old")


def _part(
    catalog: Catalog,
    session: Session,
    body: Body,
    part: Part,
    runs: Runs,
    relation: Relation | None,
    found: _Gathered,
) -> str:
    """Bind one SQL text of a body into ``found``; return why it is not understood, or ""."""
    statement = part.statement
    taken = _columns_in_reach(catalog, session, statement)
    variables = body.variables if part.piece.what != "EXECUTE" else frozenset()
    plain = variables - taken
    rows = {"new", "old"} & variables if relation is not None else set()
    around = _new_and_old(relation, catalog, runs.access)

    def fresh() -> Context:
        return Context(catalog, session, query, variables=variables, around=around)

    ctx = fresh()
    outputs: list[Rows] = []
    uses = ctx.uses
    for raw in statement.tree:
        tree = _compared(without(raw.get("stmt", {}), plain - rows), runs, relation)
        outputs.append(command(ctx, tree))
        rest, puts = apart(ctx, tree, fresh()) if relation is not None and runs.rule < 0 else (tree, ())
        if puts and len(statement.tree) == 1:
            command(bare := fresh(), rest)
            uses = bare.uses
            found.stored.update((_settled(s, runs), put.sink) for put in puts for s in put.sources)
    facts = evolve(
        statement, tree=tuple({**raw, "stmt": without(raw.get("stmt", {}), plain)} for raw in statement.tree)
    )
    if relation is not None:
        _flows(ctx, body, part, relation, outputs, found)
    gap = _reached(ctx, facts, part, runs, found)
    own = _own_column(relation, part.piece.target)
    for use in uses:
        if use.source != own:
            found.sources.add(_settled(use.source, runs))
    for each in outputs:
        if part.piece.what in ("DECLARE",) and not part.piece.target:
            continue  # a type
        for source in each.every():
            if source != own:
                found.sources.add(_settled(source, runs))
    if any(o.rest is not None for o in outputs):
        found.sources.update(Source(r.oid, 0) for r in ctx.relations.values())
    found.sources.discard(_DROPPED)
    found.stored.difference_update([pair for pair in found.stored if pair[0] == _DROPPED])
    return gap or ctx.incomplete


def _flows(
    ctx: Context,
    body: Body,
    part: Part,
    relation: Relation,
    outputs: list[Rows],
    found: _Gathered,
) -> None:
    """Add what a statement of a trigger or a rule assigns and writes, and what that is made of."""
    variables = variables_in(part.statement.tree, body.variables)
    if part.piece.what == "EXECUTE":
        variables |= {""}  # what USING gives it is not told from what it reads
    handed = frozenset().union(*(each.every() for each in outputs), (use.source for use in ctx.uses))
    targets = sinks(relation, [part.piece.target, *part.piece.into])
    flows = [(sink, handed) for sink in targets] + [*ctx.inflows]
    for sink, sources in flows:
        # Whatever sets it off: what a caller gives to an INSERT is somebody else's to read afterwards.
        made = frozenset(s if s.relation > 0 else Source(-s.relation, s.column) for s in sources)
        found.flows.add(Flow(sink, made, variables))


_DROPPED = Source(0, 0)


def _settled(source: Source, runs: Runs) -> Source:
    """Return what a column of NEW or OLD is: a stored value, or what the caller itself has given."""
    if source.relation >= 0:
        return source
    return _DROPPED if runs.access is Access.INSERT else Source(-source.relation, source.column)


def _own_column(relation: Relation | None, target: tuple[str, ...]) -> Source | None:
    # NEW.email := lower(NEW.email): the value stays in the column that it came from.
    if relation is None or len(target) != 2 or target[0] != "new":
        return None
    column = relation.column(target[1])
    return Source(-relation.oid, column.number) if column is not None else None


def _new_and_old(relation: Relation | None, catalog: Catalog, access: Access | None) -> tuple[Item, ...]:
    """Return NEW and OLD as entries of a FROM around the body.

    Columns of NEW come from the table's number with a minus: for an INSERT they are the caller's own. There
    OLD has nothing in it: what a body that serves several events says of it is about the others.
    """
    if relation is None:
        return ()
    items = []
    old = -relation.oid if access is Access.INSERT else relation.oid
    for name, oid in (("new", -relation.oid), ("old", old)):
        columns = tuple(
            Col(c.name, frozenset((Source(oid, c.number),)), False, c.type_oid) for c in relation.columns
        )
        items.append(Item(name, columns, by_column=False))
    return tuple(items)


_COMPARING = frozenset({"=", "<>", "!="})


def _compared(tree: Mapping[str, Any], runs: Runs, relation: Relation | None) -> Mapping[str, Any]:
    """Return ``tree`` without comparisons of NEW.x and OLD.x where the statement does not set x.

    They say whether the statement changes the column, and nothing of what is in it.
    """
    if relation is None or runs.access is not Access.UPDATE or runs.columns is None:
        return tree
    unset = {c.name for c in relation.columns if c.number not in relation.changed(runs.columns)}
    pruned: Mapping[str, Any] = _pruned(tree, unset)
    return pruned


def _pruned(node: Any, unset: set[str]) -> Any:
    if type(node) is list:
        return [_pruned(n, unset) for n in node]
    if type(node) is not dict:
        return node
    expression = node.get("A_Expr")
    if type(expression) is dict and _same_column(expression, unset):
        return {"ParamRef": {"number": 1, "location": -1}}
    return {k: _pruned(v, unset) for k, v in node.items()}


def _same_column(expression: Mapping[str, Any], unset: set[str]) -> bool:
    kind = expression.get("kind")
    names = [n["String"].get("sval", "") for n in expression.get("name", ()) if "String" in n]
    if kind not in ("AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT") and (
        kind != "AEXPR_OP" or len(names) != 1 or names[0] not in _COMPARING
    ):
        return False
    sides = []
    for side in ("lexpr", "rexpr"):
        fields = expression.get(side, {}).get("ColumnRef", {}).get("fields", ())
        sides.append([f.get("String", {}).get("sval", "") for f in fields])
    return (
        all(len(s) == 2 for s in sides)
        and {s[0] for s in sides} == {"new", "old"}
        and sides[0][1] == sides[1][1]
        and sides[0][1] in unset
    )


def _columns_in_reach(catalog: Catalog, session: Session, statement: Statement) -> frozenset[str]:
    """Return every name that can mean a column, a row or a relation in ``statement``."""
    names = set(own_names(statement))
    for ref in statement.relations:
        relation = catalog.relation(ref.name.schema, ref.name.name, session)
        if relation is not None:
            names.update(c.name for c in relation.columns)
    for call in statement.functions:
        if call.how == "call":
            for function in catalog.candidates(call.schema, call.name, session):
                names.update(function.outputs)
                type_ = catalog.types.get(function.returns)
                row = catalog.relations.get(type_.relation) if type_ is not None and type_.relation else None
                names.update(c.name for c in row.columns) if row is not None else None
    return frozenset(names - {"new", "old"})


def _column_type(catalog: Catalog, session: Session, names: tuple[str, ...]) -> tuple[int, ...] | None:
    if len(names) not in (2, 3):
        return () if len(names) == 1 else None  # the type of another variable, which has been looked at
    relation = catalog.relation(names[-3] if len(names) == 3 else None, names[-2], session)
    column = relation.column(names[-1]) if relation is not None else None
    return reach.type_checks(catalog, column.type_oid) if column is not None else None


# Ends of a statement inside of a body: what a Statement says of its whole.
_NOT_OF_BODIES = frozenset({EffectKind.MULTIPLE, EffectKind.EMPTY})


def _reached(ctx: Context, statement: Statement, part: Part, runs: Runs, found: _Gathered) -> str:
    """Add what a bound text does, touches, calls and sets off; return why that is not understood."""
    catalog, session, path = ctx.catalog, ctx.session, ctx.session.search_path
    gap = ""

    for effect in reread(statement, known_columns(catalog, session)):
        if effect.kind is EffectKind.DO:
            gap = gap or "it has a DO block in it"
        if effect.kind in _NOT_OF_BODIES or (effect.kind is EffectKind.SELECT and part.piece.what != "SQL"):
            continue
        target = effect.target
        if target is not None:
            relation = catalog.relation(target.schema, target.name, session)
            if relation is not None:
                target = RelationName(relation.schema, relation.name)
        elif effect.kind is EffectKind.SELECT:
            continue  # the relations say what is read
        found.effects[evolve(effect, target=target, rows=None, location=-1)] = None
    for use in reach.function_uses(ctx, statement):
        if not (use.vetted or use.candidates or use.reaches):
            gap = gap or use.note
        called = [f.oid for f in use.candidates if reach.reason(ctx.memo, f) is not None and not _sets(f)]
        found.runs.update((Runs(oid, path), None) for oid in (*called, *use.reaches))
    for touch, _ in touches(ctx, statement):
        for sources, _ in told(ctx, touch):
            found.sources.update(sources)
        more = touched(ctx, touch)
        gap = gap or more.gap
        found.effects.update((e, None) for e in more.effects)
        for each in more.relations:
            found.relations[each.relation.oid, each.access] = (each.relation, each.access)
        found.runs.update((off.runs, None) for off in more.set_off)
        found.runs.update((Runs(oid, path), None) for oid in more.calls)
    return gap


def _sets(function: Function) -> bool:
    # What set_config() sets is an effect of its own.
    return str(function) == "pg_catalog.set_config"

"""Functions in FROM: the columns they bring (parse_relation.c, addRangeTableEntryForFunction)."""

from __future__ import annotations

from governed_db.catalog.bound import Source
from governed_db.catalog.context import Context, Node
from governed_db.catalog.expressions import reference, row_types
from governed_db.catalog.model import Function, Type
from governed_db.catalog.names import figure, tagged
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.catalog.results import COMPUTED
from governed_db.catalog.scope import NOTHING, Col, Rows, Scope

_Shape = tuple[tuple[str, int], ...] | None  # names and type OIDs; None where only the call itself decides


def function_columns(
    ctx: Context, scope: Scope, node: Node, alias: str | None, sources: frozenset[Source]
) -> Rows:
    """Return the columns of one call in FROM, all made from ``sources``.

    Where the functions it can reach disagree, or none says, the columns stay open.
    """
    call = node.get("FuncCall")
    if call is None:
        return Rows((Col(alias or figure(node), sources),))
    candidates, name = ctx.candidates(call)
    count = len(call.get("args", ()))
    fitting = [f for f in candidates if takes(f, count) and _fits(ctx, scope, f, call)]
    shapes = {_shape(ctx, scope, f, alias or name, call) for f in fitting}
    names = {tuple(n for n, _ in shape) for shape in shapes if shape is not None}
    if len(names) != 1 or None in shapes:
        return Rows((), sources)
    shape = next(iter(shapes)) or ()
    if len(shapes) > 1:
        shape = tuple((n, COMPUTED) for n, _ in shape)  # alike in names; the types depend on the call
    held: dict[str, frozenset[Source]] = {}
    for relation in row_types(ctx, fitting):
        for column in relation.columns:
            held[column.name] = held.get(column.name, NOTHING) | {Source(relation.oid, column.number)}
    return Rows(
        tuple(
            Col(
                n,
                sources | held.get(n, NOTHING),
                n in held,
                oid,
                ctx.fields(oid, sources | held.get(n, NOTHING)) if oid > 0 else None,
            )
            for n, oid in shape
        )
    )


def takes(function: Function, count: int) -> bool:
    """Return whether ``function`` can be called with ``count`` arguments."""
    most = len(function.arguments)
    if function.variadic:
        return count >= most - 1 - function.defaults
    return most - function.defaults <= count <= most


# Parameters that an array can be passed to without being one themselves.
_TAKES_ARRAYS = frozenset({"any", "anyarray", "anycompatible", "anycompatiblearray", "anyelement"})


def _fits(ctx: Context, scope: Scope, function: Function, call: Node) -> bool:
    """Return whether every argument that is certain to be an array can go where it stands."""
    for node, oid in zip(call.get("args", ()), function.arguments, strict=False):
        type_ = ctx.catalog.types.get(oid)
        if type_ is None or type_.category == "A" or type_.name in _TAKES_ARRAYS:
            continue
        if _array(ctx, scope, node):
            return False
    return True


def _array(ctx: Context, scope: Scope, node: Node) -> bool:
    tag, value = tagged(node)
    if tag == "TypeCast":
        return bool(value.get("typeName", {}).get("arrayBounds"))
    if tag == "ColumnRef":
        found = ctx.catalog.types.get(reference(ctx, scope, value).type_oid)
        return found is not None and found.category == "A"
    return tag == "A_ArrayExpr"


def _shape(ctx: Context, scope: Scope, function: Function, name: str, call: Node) -> _Shape:
    outputs = function.outputs
    if len(outputs) > 1:
        return tuple((n, COMPUTED if function.oid < FIRST_USER_OID else 0) for n in outputs)
    type_ = ctx.catalog.types.get(function.returns)
    if type_ is None:
        return None
    if type_.relation:
        relation = ctx.catalog.relations.get(type_.relation)
        return None if relation is None else tuple((c.name, c.type_oid) for c in relation.columns)
    if type_.kind != "p":
        return ((outputs[0] if outputs else name, type_.oid),)
    if type_.name == "record":
        return None  # with one OUT column or none, only a column definition list can say
    if type_.name in ("void", "trigger", "event_trigger"):
        return ((name, COMPUTED),)
    # anyelement and its like: the type of the arguments decides, and a composite one brings its fields.
    args = call.get("args", ())
    if args and all(_scalar(ctx, scope, a) for a in args):
        made = len(args) if function.name == "unnest" else 1  # unnest(a, b) is a column for each
        return ((outputs[0] if outputs else name, COMPUTED),) * made
    return None


def _scalar(ctx: Context, scope: Scope, node: Node) -> bool:
    """Return whether a value is certain to be no composite and no array of composites."""
    tag, value = tagged(node)
    if tag == "A_Const":
        return True
    if tag == "A_ArrayExpr":
        return all(_scalar(ctx, scope, e) for e in value.get("elements", ()))
    if tag == "TypeCast":
        names = value.get("typeName", {})
        type_ = ctx.type({k: v for k, v in names.items() if k != "arrayBounds"})
        return type_ is not None and not _composite(ctx, type_)
    if tag == "FuncCall":
        candidates, _ = ctx.candidates(value)
        returned = [ctx.catalog.types.get(f.returns) for f in candidates]
        return bool(returned) and all(
            t is not None and t.kind != "p" and not _composite(ctx, t) for t in returned
        )
    if tag == "ColumnRef":
        found = ctx.catalog.types.get(reference(ctx, scope, value).type_oid)
        return found is not None and not _composite(ctx, found)
    return False


def _composite(ctx: Context, type_: Type) -> bool:
    seen = 0
    while seen < 32:  # domains and arrays over one another
        if type_.relation or type_.kind in "cp":
            return True
        inner = ctx.catalog.types.get(type_.base or type_.element)
        if inner is None:
            return False
        type_, seen = inner, seen + 1
    return True

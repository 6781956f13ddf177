"""Functions that the types of values bring along: behind sorting and comparing, and behind silent casts.

``ORDER BY``, ``DISTINCT``, ``max()`` compare by the operator class of the type; a value of one type where
another is wanted is cast without the text saying so. Which of them PostgreSQL would choose depends on the
types of all operands; what is reckoned with here is every one that the types at hand can bring.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from governed_db.catalog import extensions
from governed_db.catalog.context import Context
from governed_db.catalog.model import Function, Operator
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.statement.facts import FunctionRef, Statement

# Other access methods serve searches by operators, which the text names.
_COMPARING = frozenset({"btree", "hash"})


def unsaid(
    ctx: Context, statement: Statement, operators: Iterable[Operator] = ()
) -> Iterator[tuple[FunctionRef, list[Function]]]:
    """Yield what the operands and assignments that ``ctx`` has gathered can call unsaid.

    ``operators``: those of this database's own that the statement can mean.

    Only what PostgreSQL did not bring: its own casts and operator classes are harmless.
    """
    if not (ctx.catalog.operator_classes or ctx.catalog.casts):
        return
    operands = _with_parts(ctx, ctx.operands)
    # A value whose type is not known may be of any type that the statement names or makes.
    made = (
        _with_parts(ctx, _made(ctx, statement, operators))
        if ctx.catalog.casts or 0 in ctx.operands
        else frozenset()
    )
    if 0 in ctx.operands:
        operands |= made
    for oid in operands:
        for each in ctx.catalog.operator_classes.get(oid, ()):
            if each.default and each.method in _COMPARING:
                for ref, functions in _reached(ctx, "operator", each.functions):
                    if not extensions.supports(functions[0]):
                        yield ref, functions
    involved = operands | made | _with_parts(ctx, (target for target, _ in ctx.assigned))
    for casts in ctx.catalog.casts.values():
        for cast in casts:
            if cast.context == "i" and cast.source in operands:
                # From a type of PostgreSQL's own only towards one that is there: text is everywhere.
                if cast.source >= FIRST_USER_OID or cast.target in involved:
                    yield from _reached(ctx, "cast", (cast.function,))
            elif cast.context != "e" and any(
                _assigns(ctx, cast.source, cast.target, operands | made, *each) for each in ctx.assigned
            ):
                yield from _reached(ctx, "cast", (cast.function,))


def _assigns(
    ctx: Context, source: int, target: int, at_hand: frozenset[int], column: int, value: int
) -> bool:
    """Return whether storing a value of type ``value`` in a column of type ``column`` can use a cast.

    A value whose type is not known was made of those ``at_hand``, or is of a type of PostgreSQL's own.
    """
    if column == value != 0:
        return False
    if column != 0 and target not in _with_parts(ctx, (column,)):
        return False
    if value <= 0:
        return source < FIRST_USER_OID or source in at_hand
    return source in _with_parts(ctx, (value,))


def _reached(
    ctx: Context, how: str, functions: Iterable[int]
) -> Iterator[tuple[FunctionRef, list[Function]]]:
    for oid in functions:
        function = ctx.catalog.function(oid)
        if function is not None:
            ref = FunctionRef(schema=function.schema, name=function.name, arguments=-1, how=how, location=-1)
            yield ref, [function]


def _made(ctx: Context, statement: Statement, operators: Iterable[Operator]) -> Iterator[int]:
    """Yield the types of values that the statement makes by casts and calls, and that its calls take."""
    for operator in operators:
        yield from (operator.left, operator.right, operator.result)
    for ref in statement.functions:
        schemas = ctx.session.schemas(ref.schema)
        if ref.how == "cast":
            yield from (t.oid for s in schemas if (t := ctx.memo.types.get((s, ref.name))))
        elif ref.how != "operator":
            for function in ctx.catalog.candidates(ref.schema, ref.name, ctx.session):
                if function.oid >= FIRST_USER_OID:
                    yield from (function.returns, *function.arguments)


def _with_parts(ctx: Context, oids: Iterable[int]) -> frozenset[int]:
    """Return ``oids`` and the types that their values are made of or are taken for."""
    binary: dict[int, list[int]] = {}
    for casts in ctx.catalog.casts.values():
        for cast in casts:
            if cast.method == "b":
                binary.setdefault(cast.source, []).append(cast.target)
    found: set[int] = set()
    todo = list(oids)
    while todo:
        oid = todo.pop()
        type_ = ctx.catalog.types.get(oid)
        if oid in found or type_ is None:
            continue
        found.add(oid)
        todo += binary.get(oid, ())
        todo += (t for t in (type_.base, type_.element, type_.subtype) if t)
        if type_.relation and (row := ctx.catalog.relations.get(type_.relation)):
            todo += (c.type_oid for c in row.columns)
    return frozenset(found)

"""Which columns a statement reads and sets, by name: for policies with rules about columns."""

from __future__ import annotations

from collections.abc import Iterable

from governed_db.catalog.bound import ColumnUse
from governed_db.catalog.context import Context
from governed_db.catalog.model import Column, Relation
from governed_db.catalog.scope import Rows
from governed_db.catalog.views import closure
from governed_db.statement.facts import Access, RelationName


def column_uses(ctx: Context, rows: Rows) -> tuple[ColumnUse, ...] | None:
    """Return the columns read and set by what ``ctx`` has gathered, ``None`` where they cannot be told.

    Read is what the result's values come from and what is used in any clause, down through views to the
    columns of their tables.
    """
    if rows.rest is not None or ctx.incomplete or not ctx.walked:
        return None
    read = {use.source for use in ctx.uses}
    for column in rows.columns:
        read |= column.sources
    found: dict[ColumnUse, None] = {}
    for source in sorted({each for one in read for each in closure(ctx.catalog, one)}):
        relation = ctx.catalog.relations.get(source.relation)
        if relation is not None:
            found.update((_use(relation, c, Access.READ), None) for c in _meant(relation, source.column))
    found.update((_use(relation, c, access), None) for relation, c, access in ctx.columns_set)
    return tuple(found)


def _meant(relation: Relation, number: int) -> Iterable[Column]:
    # 0 is the whole row; system columns (ctid, xmin ...) hold nothing that anybody put there.
    return (c for c in relation.columns if number in (0, c.number))


def _use(relation: Relation, column: Column, access: Access) -> ColumnUse:
    return ColumnUse(RelationName(relation.schema, relation.name), column.name, access)

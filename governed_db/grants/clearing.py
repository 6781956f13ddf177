"""Which columns are sensitive to a caller to whom some were cleared. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog, Relation
from governed_db.catalog.views import closure, is_view, unchanged
from governed_db.masking.model import Sensitivity
from governed_db.policy.patterns import Match, match_column
from governed_db.statement.facts import RelationName


def without(
    catalog: Catalog,
    sensitive: Mapping[Source, Sensitivity],
    clear: Iterable[str],
    never: Sequence[str] = (),
) -> dict[Source, Sensitivity]:
    """Return ``sensitive`` without the columns that are cleared.

    What is cleared of a table is cleared of its partitions and children: their rows are its rows. A view's
    column that hands on cleared columns as they are has nothing of its own to hide; what the view computes
    keeps the mask it has.

    Args:
        catalog: where the columns are.
        sensitive: all sensitive columns.
        clear: patterns of those that are cleared, as ``schema.relation.column``.
        never: patterns of columns that stay masked whatever is cleared.
    """
    patterns = tuple(clear)
    kept = {source for source in sensitive if _named(catalog, source, never)}
    cleared = {source for source in sensitive if source not in kept and _named(catalog, source, patterns)}
    for source in sensitive:
        relation = catalog.relations.get(source.relation)
        if source in kept or source in cleared or relation is None or not is_view(relation):
            continue
        below = closure(catalog, source) - {source}
        handed = [each for each in below if each in sensitive]
        if handed and all(each in cleared for each in handed) and unchanged(catalog, source):
            cleared.add(source)
    return {source: why for source, why in sensitive.items() if source not in cleared}


def _named(catalog: Catalog, source: Source, patterns: Sequence[str]) -> bool:
    """Return whether a pattern names the column, or the same column of what its relation is a part of."""
    relation = catalog.relations.get(source.relation)
    if relation is None or not patterns:
        return False
    column = next((c.name for c in relation.columns if c.number == source.column), None)
    if column is None:
        return False
    return any(
        match_column(pattern, RelationName(each.schema, each.name), column) is Match.YES
        for each in _whole(catalog, relation)
        for pattern in patterns
    )


def _whole(catalog: Catalog, relation: Relation) -> Iterator[Relation]:
    """Yield ``relation`` and what it is a partition or child of, at any distance."""
    seen = {relation.oid}
    todo = [relation]
    while todo:
        each = todo.pop()
        yield each
        for oid in each.parents:
            parent = catalog.relations.get(oid)
            if parent is not None and oid not in seen:
                seen.add(oid)
                todo.append(parent)

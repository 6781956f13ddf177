"""A catalog from the rows of :mod:`governed_db.catalog.queries`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from sys import intern
from typing import TypeAlias, TypeVar

import orjson

from governed_db.catalog.model import Cast, Catalog, Column, Function, Operator, Relation, Type
from governed_db.catalog.queries import PARTS

K = TypeVar("K")
V = TypeVar("V")
Row: TypeAlias = tuple[str | None, ...]
Rows: TypeAlias = Sequence[Row]

# How many results come before and after those of PARTS, by how many there are in all.
_AROUND = {len(PARTS): 0, len(PARTS) + 1: 1, len(PARTS) + 4: 2}


class TornSnapshot(Exception):  # noqa: N818 - it names a condition to try again on, not a fault
    """The catalog changed while it was being read. ``digest`` is the one to try again with."""

    def __init__(self, digest: str) -> None:
        super().__init__("the catalog changed while it was being read")
        self.digest = digest


def build(results: Sequence[Rows], digest: str, server_version: int) -> Catalog:
    """Return the catalog that one snapshot's results describe.

    Args:
        results: the results of ``queries.SNAPSHOT``, of ``queries.SNAPSHOT_IN_TRANSACTION`` or of each of
            ``queries.PARTS``, in order, text format; those without rows as empty sequences.
        digest: what ``queries.DIGEST`` answered before; it becomes the catalog's version.
        server_version: as libpq's ``PQserverVersion`` reports it (150004).

    Raises:
        TornSnapshot: somebody changed the catalog since ``digest`` was taken.
        ValueError: the results are not those of a snapshot.
    """
    before = _AROUND.get(len(results))
    if before is None:
        raise ValueError("the server's answer to the catalog queries has an unexpected shape")
    (
        relations,
        columns,
        keys,
        parents,
        triggers,
        cascades,
        rules,
        views,
        functions,
        extensions,
        types,
        operators,
        casts,
        after,
    ) = results[before : before + len(PARTS)]
    if len(after) != 1 or after[0][0] is None:
        raise ValueError("the server's answer to the catalog queries has an unexpected shape")
    if after[0][0] != digest:
        raise TornSnapshot(after[0][0])
    return Catalog(
        version=digest,
        server_version=server_version,
        relations=_relations(
            relations,
            columns=_columns(columns),
            keys=_keys(keys),
            parents=_grouped(parents),
            inherited={row[1] for row in parents},
            triggers=_grouped(triggers),
            cascades={row[0] for row in cascades},
            rules={row[0] for row in rules},
            views={row[0]: row[1] for row in views},
        ),
        functions=_functions(functions, {row[0]: row[1] for row in extensions}),
        types=_types(types),
        operators=_operators(operators),
        casts=_casts(casts),
    )


def _int(value: str | None) -> int:
    # pg_catalog declares every column that is read this way NOT NULL.
    return int(value)  # type: ignore[arg-type]


def _str(value: str | None) -> str:
    # Interned: a few hundred names make up most of the thousands of values.
    return intern(value)  # type: ignore[arg-type]


def _gathered(pairs: Iterable[tuple[K, V]]) -> dict[K, tuple[V, ...]]:
    groups: dict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return {key: tuple(values) for key, values in groups.items()}


def _grouped(rows: Rows) -> dict[str | None, tuple[str, ...]]:
    return _gathered((key, _str(value)) for key, value in rows)


def _columns(rows: Rows) -> dict[str | None, tuple[Column, ...]]:
    return _gathered(
        (
            relation,
            Column(
                _int(number),
                _str(name),
                _int(type_oid),
                _int(modifier),
                not_null == "t",
                comment,
                tuple(map(int, generated.split())) if generated else (),
            ),
        )
        for relation, number, name, type_oid, modifier, not_null, comment, generated in rows
    )


def _keys(rows: Rows) -> dict[str | None, tuple[frozenset[int], ...]]:
    return _gathered(
        # The columns of INCLUDE come after those of the key and are not unique.
        (relation, frozenset(map(int, _str(numbers).split()[: _int(count)])))
        for relation, count, numbers in rows
    )


def _relations(
    rows: Rows,
    *,
    columns: Mapping[str | None, tuple[Column, ...]],
    keys: Mapping[str | None, tuple[frozenset[int], ...]],
    parents: Mapping[str | None, tuple[str, ...]],
    inherited: set[str | None],
    triggers: Mapping[str | None, tuple[str, ...]],
    cascades: set[str | None],
    rules: set[str | None],
    views: Mapping[str | None, str | None],
) -> dict[int, Relation]:
    relations = {}
    for oid, schema, name, kind, persistence, row_security, comment in rows:
        number = _int(oid)
        relations[number] = Relation(
            oid=number,
            schema=_str(schema),
            name=_str(name),
            kind=_str(kind),
            persistence=_str(persistence),
            columns=columns.get(oid, ()),
            definition=views.get(oid),
            # An index of a table that others inherit from knows nothing of the rows in those; one of a
            # partitioned table (kind p) covers every partition.
            keys=() if kind == "r" and oid in inherited else keys.get(oid, ()),
            has_rules=oid in rules,
            triggers=triggers.get(oid, ()),
            parents=tuple(map(int, parents.get(oid, ()))),
            row_security=row_security == "t",
            comment=comment,
            cascades=oid in cascades,
        )
    return relations


def _functions(rows: Rows, extensions: Mapping[str | None, str | None]) -> dict[str, tuple[Function, ...]]:
    # Thousands of functions share some hundred argument lists.
    lists: dict[str | None, tuple[int, ...]] = {}
    functions = []
    for row in rows:
        (
            oid,
            schema,
            name,
            arguments,
            defaults,
            variadic,
            volatility,
            language,
            kind,
            returns,
            returns_set,
            definer,
            modes,
            names,
        ) = row
        types = lists.get(arguments)
        if types is None:
            types = lists[arguments] = tuple(map(int, _str(arguments).split()))
        functions.append(
            Function(
                oid=_int(oid),
                schema=_str(schema),
                name=_str(name),
                arguments=types,
                defaults=_int(defaults),
                variadic=variadic != "0",
                volatility=_str(volatility),
                language=_str(language),
                kind=_str(kind),
                returns=_int(returns),
                returns_set=returns_set == "t",
                security_definer=definer == "t",
                extension=extensions.get(oid),
                outputs=_outputs(modes, names) if modes else (),
            )
        )
    return _gathered((f.name, f) for f in functions)


def _outputs(modes: str, names: str | None) -> tuple[str, ...]:
    # pg_proc.proargmodes is written {i,o,t}; o OUT, b INOUT, t TABLE. Unnamed ones are called by their place
    # among the outputs (build_function_result_tupdesc_d in src/backend/utils/fmgr/funcapi.c).
    letters = modes[1:-1].split(",")
    given = orjson.loads(names) if names else [""] * len(letters)
    outputs = [name for letter, name in zip(letters, given, strict=True) if letter in "obt"]
    return tuple(name or f"column{place}" for place, name in enumerate(outputs, 1))


def _types(rows: Rows) -> dict[int, Type]:
    types = (
        Type(
            oid=_int(oid),
            schema=_str(schema),
            name=_str(name),
            kind=_str(kind),
            category=_str(category),
            base=_int(base),
            element=_int(element),
            relation=_int(relation),
        )
        for oid, schema, name, kind, category, base, element, relation in rows
    )
    return {t.oid: t for t in types}


def _operators(rows: Rows) -> dict[str, tuple[Operator, ...]]:
    operators = (
        Operator(
            oid=_int(oid),
            schema=_str(schema),
            name=_str(name),
            left=_int(left),
            right=_int(right),
            result=_int(result),
            function=_int(function),
        )
        for oid, schema, name, left, right, result, function in rows
    )
    return _gathered((o.name, o) for o in operators)


def _casts(rows: Rows) -> dict[int, tuple[Cast, ...]]:
    casts = (
        Cast(
            source=_int(source),
            target=_int(target),
            function=_int(function),
            method=_str(method),
            context=_str(context),
        )
        for source, target, function, method, context in rows
    )
    return _gathered((c.target, c) for c in casts)

"""A catalog from the rows of :mod:`governed_db.catalog.queries`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from sys import intern
from typing import TypeAlias, TypeVar

import orjson

from governed_db.catalog.failing import failing
from governed_db.catalog.hidden import hidden
from governed_db.catalog.model import (
    Cast,
    Catalog,
    Column,
    Constraint,
    ForeignKey,
    Function,
    Hidden,
    Operator,
    OperatorClass,
    Relation,
    Trigger,
    Type,
)
from governed_db.catalog.partial import needs
from governed_db.catalog.queries import LOCKED, PARTS
from governed_db.statement.facts import Access

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
        digest: what ``queries.DIGEST`` answered before; it becomes the catalog's version, unless
            definitions could not be read because somebody holds a lock.
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
        constraints,
        foreign_keys,
        rules,
        expressions,
        compared,
        views,
        functions,
        definitions,
        aggregates,
        extensions,
        types,
        ranges,
        operators,
        casts,
        operator_classes,
        after,
    ) = results[before : before + len(PARTS)]
    if len(after) != 1 or after[0][0] is None:
        raise ValueError("the server's answer to the catalog queries has an unexpected shape")
    if after[0][0] != digest:
        raise TornSnapshot(after[0][0])
    columns_of = _columns(columns)
    types_by_oid = _types(types, {row[0]: _int(row[1]) for row in ranges})
    functions_by_name = _functions(
        functions,
        extensions={row[0]: row[1] for row in extensions},
        definitions={row[0]: (row[1], row[2]) for row in definitions},
        made_of=_grouped(aggregates),
    )
    classes = _operator_classes(operator_classes)
    keys_to = _foreign_keys(foreign_keys)
    by_oid = {f.oid: f for same_name in functions_by_name.values() for f in same_name}
    by_relation = {_int(relation): c for relation, c in columns_of.items()}
    found, checks = hidden(
        expressions,
        compared,
        columns=by_relation,
        secured={_int(row[0]) for row in relations if row[5] == "t"},
        types=types_by_oid,
        functions=by_oid,
        operators=operators,
        classes=classes,
    )
    return Catalog(
        version=_version(digest, (triggers, views)),
        server_version=server_version,
        relations=_relations(
            relations,
            columns=columns_of,
            keys=_keys(keys),
            parents=_grouped(parents),
            inherited={row[1] for row in parents},
            triggers=_triggers(triggers),
            constraints=_constraints(constraints),
            cascades={
                k.referenced for k in keys_to if k.cascades(Access.DELETE) or k.cascades(Access.UPDATE)
            },
            rules=_grouped(rules),
            views={row[0]: row[1] for row in views},
            hidden=found,
            failing=failing(expressions, by_oid, by_relation),
        ),
        functions=functions_by_name,
        types=types_by_oid,
        operators=_operators(operators),
        casts=_casts(casts),
        foreign_keys=keys_to,
        operator_classes=_gathered((c.type_oid, c) for c in classes),
        checks=checks,
    )


def _version(digest: str, parts: Iterable[Rows]) -> str:
    """Return ``digest``, or another where definitions were locked: the catalog is then read again."""
    locked = [f"{row[0]} {row[1]}" for part in parts for row in part if LOCKED in row]
    return sha256("\n".join((digest, *locked)).encode()).hexdigest() if locked else digest


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
    triggers: Mapping[str | None, tuple[Trigger, ...]],
    constraints: Mapping[str | None, tuple[Constraint, ...]],
    cascades: set[int],
    rules: Mapping[str | None, tuple[str, ...]],
    views: Mapping[str | None, str | None],
    hidden: Mapping[int, tuple[Hidden, ...]],
    failing: Mapping[int, tuple[Constraint, ...]],
) -> dict[int, Relation]:
    relations = {}
    for oid, schema, name, kind, persistence, row_security, comment, partitioned_by in rows:
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
            rules=rules.get(oid, ()),
            triggers=triggers.get(oid, ()),
            constraints=(*constraints.get(oid, ()), *failing.get(number, ())),
            hidden=hidden.get(number, ()),
            parents=tuple(map(int, parents.get(oid, ()))),
            partitioned_by=tuple(map(int, (partitioned_by or "").split())),
            row_security=row_security == "t",
            comment=comment,
            cascades=number in cascades,
        )
    return relations


# Bits of pg_trigger.tgtype (src/include/catalog/pg_trigger.h).
_ROW, _BEFORE, _INSTEAD = 1, 2, 64
_EVENTS = ((4, Access.INSERT), (8, Access.DELETE), (16, Access.UPDATE), (32, Access.TRUNCATE))


def _triggers(rows: Rows) -> dict[str | None, tuple[Trigger, ...]]:
    def trigger(
        name: str | None,
        function: str | None,
        bits: int,
        columns: str | None,
        on: str,
        definition: str | None,
        *,
        deferrable: bool,
    ) -> Trigger:
        return Trigger(
            name=_str(name),
            function=_int(function),
            events=frozenset(event for bit, event in _EVENTS if bits & bit),
            each_row=bool(bits & _ROW),
            timing="instead" if bits & _INSTEAD else "before" if bits & _BEFORE else "after",
            columns=tuple(map(int, _str(columns).split())),
            enabled=on,
            deferrable=deferrable,
            definition=definition,
        )

    return _gathered(
        (
            relation,
            trigger(name, function, _int(bits), columns, _str(on), definition, deferrable=deferrable == "t"),
        )
        for relation, name, function, bits, columns, on, deferrable, definition in rows
    )


def _numbers(array: str | None) -> tuple[int, ...]:
    # smallint[] is written {1,2}; CHECK (false) has no columns, and NULL.
    inside = (array or "{}")[1:-1]
    return tuple(map(int, inside.split(","))) if inside else ()


def _constraints(rows: Rows) -> dict[str | None, tuple[Constraint, ...]]:
    return _gathered(
        (
            relation,
            Constraint(
                name=_str(name),
                kind=_str(kind),
                columns=_numbers(columns),
                needs=needs(predicate or ""),
                ranges=_numbers(ranges),
            ),
        )
        for relation, name, kind, columns, predicate, ranges in rows
    )


def _foreign_keys(rows: Rows) -> tuple[ForeignKey, ...]:
    return tuple(
        ForeignKey(
            name=_str(name),
            relation=_int(relation),
            columns=_numbers(columns),
            referenced=_int(referenced),
            referenced_columns=_numbers(referenced_columns),
            on_delete=_str(on_delete),
            on_update=_str(on_update),
        )
        for name, relation, columns, referenced, referenced_columns, on_delete, on_update in rows
    )


def _functions(
    rows: Rows,
    *,
    extensions: Mapping[str | None, str | None],
    definitions: Mapping[str | None, tuple[str | None, str | None]],
    made_of: Mapping[str | None, tuple[str, ...]],
) -> dict[str, tuple[Function, ...]]:
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
        definition, settings = definitions.get(oid, (None, None))
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
                definition=definition,
                settings=tuple(orjson.loads(settings)) if settings else (),
                made_of=tuple(map(int, made_of.get(oid, ()))),
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


def _types(rows: Rows, subtypes: Mapping[str | None, int]) -> dict[int, Type]:
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
            subtype=subtypes.get(oid, 0),
            modifier=_int(modifier),
        )
        for oid, schema, name, kind, category, base, element, relation, modifier in rows
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


def _operator_classes(rows: Rows) -> tuple[OperatorClass, ...]:
    functions = _gathered((row[0], _int(row[4])) for row in rows if row[4] is not None)
    # One row for each function; any of them tells the rest.
    first = {row[0]: row for row in reversed(rows)}
    return tuple(
        OperatorClass(
            oid=_int(oid),
            type_oid=_int(type_oid),
            method=_str(method),
            default=default == "t",
            functions=functions.get(oid, ()),
        )
        for oid, type_oid, method, default, _ in first.values()
    )

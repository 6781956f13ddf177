# ruff: noqa: S608 - parts of the caller's own text, cut at its tokens, and quoted names of the catalog
"""The SELECT that counts what a write would touch in one database: its own rows, and those of cascades.

It also tells whether the write would touch every row there is: whether its WHERE, whatever it looks like,
leaves out none.

It counts distinct rows by their place (tableoid, ctid), so that a join, a cycle of foreign keys or two ways
to the same child do not count a row twice. It only ever stops a write early: whatever it misses (triggers,
rows that row-level security hides from the caller, deeper cascades) is counted when the write has run
guarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen

from governed_db.catalog.bound import Bound
from governed_db.catalog.model import Catalog, ForeignKey, Relation
from governed_db.statement.facts import Access, EffectKind
from governed_db.statement.nodes import Body
from governed_db.statement.probing import (
    Span,
    Touched,
    changes,
    compares,
    matching,
    quoted,
    target,
    touched,
)

MAX_DEPTH = 8
"""Foreign keys that are followed one after another. Each level nests one sub-select deeper, and a cycle
of foreign keys is walked as often; deeper cascades are left to the guarded run."""

MAX_BRANCHES = 24
"""Ways through foreign keys that one probe asks about, the nearest first; the others are left to the
guarded run. Each is a sub-select of the probe, planned on every use."""

_CHANGES = frozenset("cnd")  # CASCADE, SET NULL, SET DEFAULT
_BESIDE = ("a trigger of the table", "a rule of the table")


@frozen
class Probe:
    """One count. ``text`` lacks the number of rows to count up to: see :meth:`up_to`.

    Attributes:
        parameters: the numbers of the ``$n`` in it.
        every: a second SELECT: 1 where the write would touch all of two rows or more that its target has,
            else 0. "" where its WHERE compares a column of the target with values, which restricts
            whatever rows there are, and where there is no WHERE.
        target: the relation that is written.
    """

    text: str
    parameters: frozenset[int]
    every: str = ""
    target: str = ""

    def up_to(self, rows: int) -> str:
        """Return the SELECT that counts no further than ``rows`` per table."""
        return self.text.replace(_LIMIT, f"LIMIT {rows}")

    def every_up_to(self, rows: int) -> str:
        """Return ``every`` for a write that touches fewer than ``rows`` rows."""
        return self.every.replace(_LIMIT, f"LIMIT {rows}")


_LIMIT = "LIMIT /*governed_db*/ 0"


def probe(bound: Bound, catalog: Catalog) -> Probe | None:
    """Return what counts the rows that ``bound`` would write, or ``None`` where nothing safe can."""
    parts = touched(bound.statement)
    if parts is None or not bound.complete or not _harmless(bound, parts.spans):
        return None
    if _LIMIT in bound.statement.text:
        return None
    if parts.kind == "InsertStmt":
        counted = f"SELECT 1 FROM (\n{parts.query}\n) AS q {_LIMIT}"
        return Probe(_counting(parts, (counted,)), parts.parameters)
    written = _target(bound, parts)
    if written is None or written.kind not in "rpv" or written.has_rules:
        return None
    branches = [] if written.kind == "v" else list(_cascades(parts, written, catalog))
    name = quoted(parts.name)
    own = f"SELECT 1 FROM {_rows(parts, written)} {_LIMIT}"
    if branches or parts.sources:
        if written.kind == "v":
            return None  # the rows of a view have no place to tell them apart by
        own = f"SELECT DISTINCT {name}.tableoid, {name}.ctid FROM {_rows(parts, written)} {_LIMIT}"
    every = "" if not parts.where or asks_for_values(bound, catalog) else _every(parts, written, own)
    return Probe(_counting(parts, (own, *branches)), parts.parameters, every, str(written))


def asks_for_values(bound: Bound, catalog: Catalog) -> bool:
    """Return whether each UPDATE and DELETE in ``bound`` asks for given values of a column of its target.

    Two of one table are never said to: what the first leaves out the second may take. Nor is one of a view,
    whose columns can be constants, or one by what a column is generated from: all rows may agree in it.
    """
    uses = [u for u in bound.relations if u.access in _CHANGED and u.via is None and not u.within]
    written = {u.relation.name: u.relation for u in uses}
    found = changes([raw.get("stmt", {}) for raw in bound.statement.tree])
    names = [body["relation"]["relname"] for body in found]
    if len(set(names)) < len(names):
        return False

    def one(body: Body) -> bool:
        relation = written.get(body["relation"]["relname"])
        if relation is None or relation.kind not in "rp":
            return False

        def stored(name: str, several: bool) -> bool:
            column = relation.column(name)
            if column is None or column.generated:
                return False
            # A list can hold every value of a flag or an enumeration.
            return not (several and few(catalog, column.type_oid))

        return compares(body, stored)

    return bool(found) and all(one(body) for body in found)


_BOOL = 16
_CHANGED = frozenset({Access.UPDATE, Access.DELETE})


def few(catalog: Catalog, oid: int) -> bool:
    """Return whether a type has so few values that a list can hold them all: boolean, enumerations."""
    type_ = catalog.types.get(oid)
    while type_ is not None and type_.kind == "d":
        oid, type_ = type_.base, catalog.types.get(type_.base)
    return oid == _BOOL or (type_ is not None and type_.kind == "e")


def _every(parts: Touched, written: Relation, own: str) -> str:
    """Return the SELECT that says whether ``own`` leaves out no row of ``written``."""
    only = "ONLY " if parts.only else ""
    there = f"SELECT 1 FROM {only}{quoted(written.schema, written.name)} {_LIMIT}"
    return (
        f"{parts.ctes}\nSELECT CASE WHEN t.rows OPERATOR(pg_catalog.>) 1"
        " AND o.rows OPERATOR(pg_catalog.=) t.rows THEN 1 ELSE 0 END"
        f" FROM (SELECT pg_catalog.count(*) AS rows FROM (\n{own}\n) AS o) AS o,"
        f" (SELECT pg_catalog.count(*) AS rows FROM (\n{there}\n) AS t) AS t"
    ).lstrip()


def _counting(parts: Touched, branches: Iterable[str]) -> str:
    counted = "\nUNION\n".join(f"({branch})" for branch in branches)
    return f"{parts.ctes}\nSELECT pg_catalog.count(*) FROM (\n{counted}\n) AS governed_db_probe".lstrip()


def _rows(parts: Touched, written: Relation) -> str:
    return f"{target(parts, written.schema, written.name)}{matching(parts)}"


def _target(bound: Bound, parts: Touched) -> Relation | None:
    access = Access.UPDATE if parts.kind == "UpdateStmt" else Access.DELETE
    found = {u.relation.oid: u.relation for u in bound.relations if u.access is access and u.via is None}
    return next(iter(found.values())) if len(found) == 1 else None


def _harmless(bound: Bound, spans: tuple[Span, ...]) -> bool:
    """Return whether running what stands in ``spans`` twice does nothing, and gives the same both times."""

    def inside(location: int) -> bool:
        return location < 0 or any(start <= location < end for start, end in spans)

    for use in bound.functions:
        if inside(use.ref.location):
            volatile = any(f.volatility == "v" for f in use.candidates)
            if not use.vetted or volatile:
                return False
    return not any(
        effect.kind is EffectKind.FUNCTION and not effect.note.startswith(_BESIDE) and inside(effect.location)
        for effect in bound.effects
    )


def _cascades(parts: Touched, written: Relation, catalog: Catalog) -> Iterator[str]:
    """Yield a SELECT for each table whose rows change along, the nearest first."""
    if not catalog.foreign_keys:
        return
    keys = _Keys(catalog)
    assigned = frozenset(parts.assigned)
    whole = parts.kind == "DeleteStmt"
    name = quoted(parts.name)
    todo: list[tuple[int, Relation, bool, frozenset[str], str, str]] = [
        (1, written, whole, assigned, name, _rows(parts, written))
    ]
    found = 0
    while todo:
        depth, parent, deletes, changed, called, rows = todo.pop(0)
        for key in keys.to(parent):
            action = key.on_delete if deletes else key.on_update
            child = catalog.relations.get(key.relation)
            referenced = keys.names(key.referenced, key.referenced_columns)
            columns = keys.names(key.relation, key.columns)
            if action not in _CHANGES or child is None or not referenced or not columns:
                continue
            if not deletes and not changed.intersection(referenced):
                continue
            if any(parent.column(column) is None for column in referenced):
                continue
            if found >= MAX_BRANCHES:
                return
            found += 1
            alias = quoted(f"governed_db_{found}")
            only = "" if child.kind == "p" else "ONLY "
            mine = ", ".join(f"{alias}.{quoted(c)}" for c in columns)
            theirs = ", ".join(f"{called}.{quoted(c)}" for c in referenced)
            inner = (
                f"{only}{quoted(child.schema, child.name)} AS {alias}\n"
                f"WHERE ({mine}) IN (SELECT {theirs} FROM {rows})"
            )
            yield f"SELECT {alias}.tableoid, {alias}.ctid FROM {inner} {_LIMIT}"
            if depth < MAX_DEPTH:
                gone = deletes and action == "c"
                todo.append((depth + 1, child, gone, frozenset(columns), alias, inner))


class _Keys:
    """Foreign keys by what they point at, one for each that somebody wrote."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._by_target: dict[int, list[ForeignKey]] = {}
        for key in catalog.foreign_keys:
            self._by_target.setdefault(key.referenced, []).append(key)
        self._children: dict[int, list[int]] = {}
        for relation in catalog.relations.values():
            for parent in relation.parents:
                self._children.setdefault(parent, []).append(relation.oid)

    def to(self, relation: Relation) -> list[ForeignKey]:
        """Return the keys that rows of ``relation``, or of its partitions and children, are pointed at by.

        PostgreSQL keeps a copy of a key for each partition on either side; the one of the root stands for
        all of them.
        """
        family = [relation.oid, *self._up(relation.oid), *self._down(relation.oid)]
        found: dict[tuple[int, tuple[str, ...], tuple[str, ...]], ForeignKey] = {}
        for oid in family:
            for key in self._by_target.get(oid, ()):
                names = self.names(key.relation, key.columns)
                same = (key.relation, names, self.names(key.referenced, key.referenced_columns))
                found.setdefault(same, key)
        return [
            key
            for (child, names, theirs), key in found.items()
            if not any((parent, names, theirs) in found for parent in self._up(child))
        ]

    def names(self, relation: int, columns: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of ``columns``; ``()`` where one is not known."""
        table = self._catalog.relations.get(relation)
        by_number = {} if table is None else {c.number: c.name for c in table.columns}
        names = tuple(by_number[number] for number in columns if number in by_number)
        return names if len(names) == len(columns) else ()

    def _up(self, oid: int) -> list[int]:
        found: list[int] = []
        todo = [oid]
        while todo:
            relation = self._catalog.relations.get(todo.pop())
            for parent in relation.parents if relation is not None else ():
                if parent not in found:
                    found.append(parent)
                    todo.append(parent)
        return found

    def _down(self, oid: int) -> list[int]:
        found: list[int] = []
        todo = [oid]
        while todo:
            for child in self._children.get(todo.pop(), ()):
                if child not in found:
                    found.append(child)
                    todo.append(child)
        return found

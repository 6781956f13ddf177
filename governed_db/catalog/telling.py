"""What the outcome of an UPDATE tells of values that stay where they are.

Whoever sets one column learns from success or failure how the new value stands to those that the server
holds it against: a CHECK over two columns, a generated column or an index that computes with two, a unique
index over two, a foreign key that still points at the old value, a trigger that fires only where something
has changed. Each new value is a guess, and each answer brings the next one closer. Where everything that is
compared comes from the caller, nothing is told.

What the owner of a table asks of its rows by itself (``WHEN (old.balance > 0)``) is the owner's own question:
it has one answer, however often it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from attrs import evolve

from governed_db.catalog.bound import Source
from governed_db.catalog.context import Context
from governed_db.catalog.model import Catalog, ForeignKey, Relation, Trigger
from governed_db.catalog.partial import leaves
from governed_db.catalog.setoff import Touch, spread, vetted_trigger
from governed_db.catalog.views import closure, is_view, view_facts
from governed_db.statement.facts import Access

Numbers = frozenset[int]
Told = tuple[frozenset[Source], str]

_KINDS = {
    "c": "the check constraint ",
    "p": "the primary key ",
    "u": "the unique constraint ",
    "x": "the exclusion constraint ",
    "i": "the index ",
    "g": "the generated column ",
    "e": "an index expression",
}
# It drops the update of a row that would stay as it is, and the command tag counts one less.
_DROPS_EQUALS = "suppress_redundant_updates_trigger"


def told(ctx: Context, touch: Touch) -> Iterator[Told]:
    """Yield columns that the outcome of ``touch`` tells of, with what would tell."""
    if touch.access not in (Access.INSERT, Access.UPDATE):
        return
    if touch.access is Access.INSERT:
        set_here = (c.number for r, c, a in ctx.columns_set if r is touch.relation and a is Access.INSERT)
        touch = evolve(touch, columns=frozenset(set_here) or None)
    for start in _behind(ctx.catalog, touch):
        for each in spread(ctx.memo, ctx.catalog, start)[0]:
            yield from _overlapped(each)
            if each.access is Access.UPDATE:
                yield from _of_one(ctx, each.relation, each.columns)


def _overlapped(touch: Touch) -> Iterator[Told]:
    """Yield the columns in which a row of the caller's choice may overlap, or be near, what is stored.

    That somebody has a value is told by every key. Whether anybody is in a range halves with each try what is
    left.
    """
    relation = touch.relation
    if touch.access not in (Access.INSERT, Access.UPDATE):
        return
    # What the expressions of an exclusion constraint are made of, its index knows.
    indexed = {c.name: frozenset(c.columns) for c in relation.constraints if c.kind == "i"}
    for constraint in relation.constraints:
        if not constraint.ranges:
            continue
        named, ranges = frozenset(constraint.columns), frozenset(constraint.ranges)
        if 0 in named:
            every = _base(relation, named - {0} | indexed.get(constraint.name, named))
        else:
            every = _base(relation, named)
        compared = _base(relation, ranges) if 0 not in ranges else every - (named - ranges)
        if touch.columns is None or not touch.columns.isdisjoint(every):
            clause = f"what the exclusion constraint {constraint.name} of {relation} compares"
            yield frozenset(Source(relation.oid, n) for n in compared), clause


def _behind(catalog: Catalog, touch: Touch) -> Iterator[Touch]:
    """Yield ``touch``, of a view the same of the tables whose columns it sets."""
    relation = touch.relation
    if not is_view(relation):
        yield touch
        return
    numbers = frozenset(c.number for c in relation.columns) if touch.columns is None else touch.columns
    sources = [s for number in numbers for s in closure(catalog, Source(relation.oid, number))]
    for behind in view_facts(catalog, relation).relations:
        columns = frozenset(s.column for s in sources if s.relation == behind.oid)
        if columns and not is_view(behind):
            yield Touch(relation=behind, access=touch.access, columns=columns)


def _of_one(ctx: Context, relation: Relation, columns: Numbers | None) -> Iterator[Told]:
    every = frozenset(c.number for c in relation.columns)
    given = every if columns is None else columns

    def sources(numbers: Numbers) -> frozenset[Source]:
        return frozenset(Source(relation.oid, n) for n in numbers)

    for constraint in relation.constraints:
        # The columns of an exclusion constraint's expressions are those of its index.
        columns_of = tuple(n for n in constraint.columns if n or constraint.kind != "x")
        if (kept := _kept(relation, columns_of, given)) and not leaves(ctx, relation, constraint):
            yield sources(kept), f"{_KINDS[constraint.kind]}{constraint.name} of {relation}"
    for key in ctx.catalog.foreign_keys:
        if key.relation == relation.oid and (kept := _kept(relation, key.columns, given)):
            yield sources(kept), f"the foreign key {key.name} of {relation}"
    for key in ctx.memo.referencing.get(relation.oid, ()):
        # Only where the new value differs from the old one does the key look for rows that point at it, and
        # refuse or change them. Those that follow it (CASCADE) hold nothing that is not as well guarded.
        if key.on_update != "c" and (kept := given.intersection(key.referenced_columns)):
            yield sources(kept), f"the foreign key {key.name} of {_name(ctx.catalog, key)}"
    changed = relation.changed(given)
    for trigger in relation.triggers:
        if trigger.fires(Access.UPDATE, None if columns is None else changed, ctx.session.replication_role):
            kept = _held_against(ctx, relation, trigger, given)
            if kept:
                yield sources(kept), f"what the trigger {trigger} of {relation} compares"


def _name(catalog: Catalog, key: ForeignKey) -> str:
    relation = catalog.relations.get(key.relation)
    return str(relation) if relation is not None else "another table"


def _kept(relation: Relation, columns: tuple[int, ...], given: Numbers) -> Numbers:
    """Return which of ``columns`` stay as they are while others of them are given; none where no other is."""
    base = _base(relation, columns)
    return base - given if base & given else frozenset()


def _base(relation: Relation, columns: tuple[int, ...] | Numbers) -> Numbers:
    """Return ``columns``, generated ones replaced by what they are computed from; 0 is every column."""
    found: set[int] = set()
    for column in relation.columns:
        if column.number in columns or 0 in columns:
            found.update(column.generated or (column.number,))
    return frozenset(found)


def _held_against(ctx: Context, relation: Relation, trigger: Trigger, given: Numbers) -> Numbers:
    function = ctx.catalog.function(trigger.function)
    if function is not None and function.name == _DROPS_EQUALS and vetted_trigger(function):
        return given
    if trigger.definition is None:
        return frozenset()
    understood, condition = _condition(trigger.definition)
    if not understood:
        return frozenset(c.number for c in relation.columns)
    return _compared(relation, condition, given)


@lru_cache(maxsize=1024)  # as many triggers with a WHEN as a large schema has
def _condition(definition: str) -> tuple[bool, Any]:
    """Return whether a trigger's definition can be read, and the tree of its WHEN."""
    from governed_db.statement import Unreadable, read  # noqa: PLC0415 - few tables have such triggers

    try:
        statement = read(definition)
    except Unreadable:
        return False, None
    return True, statement.tree[0].get("stmt", {}).get("CreateTrigStmt", {}).get("whenClause")


def _compared(relation: Relation, condition: Any, given: Numbers) -> Numbers:
    """Return the stored columns that ``condition`` holds against the ones that are given."""
    numbers = {c.name: frozenset((c.number,)) for c in relation.columns}
    numbers[""] = frozenset(c.number for c in relation.columns)  # old.*
    pairs: Numbers = frozenset()
    stored: Numbers = frozenset()
    takes_given = False
    todo = [condition]
    while todo:
        node = todo.pop()
        if type(node) is list:
            todo += node
        if type(node) is not dict:
            continue
        for tag, value in node.items():
            sides = _sides(value) if tag == "A_Expr" else None
            if sides is not None:
                # OLD.x and NEW.x differ or not: of a column that is not given, they do not.
                pairs |= _base(relation, numbers.get(sides, numbers[""])) & given
            elif tag == "ColumnRef":
                row, name = _field(value)
                columns = _base(relation, numbers.get(name, numbers[""]))
                takes_given = takes_given or (row == "new" and bool(columns & given))
                stored |= columns if row == "old" else columns - given
            else:
                todo.append(value)
    return pairs | stored if takes_given else pairs


_COMPARING = frozenset({"=", "<>"})
_WRAPPED = {"TypeCast": "arg", "CollateClause": "arg"}


def _sides(expression: Mapping[str, Any]) -> str | None:
    """Return the column of which OLD and NEW are compared, "" for whole rows, ``None`` for anything else."""
    kind = expression.get("kind")
    names = [n["String"].get("sval", "") for n in expression.get("name", ()) if "String" in n]
    if kind not in ("AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT") and (
        kind != "AEXPR_OP" or not _COMPARING.issuperset(names[-1:])
    ):
        return None
    found = [_field(_unwrapped(expression.get(side))) for side in ("lexpr", "rexpr")]
    rows = {row for row, _ in found}
    same = found[0][1] == found[1][1]
    return found[0][1] if rows == {"old", "new"} and same else None


def _unwrapped(node: Any) -> Mapping[str, Any]:
    while type(node) is dict and (tag := next(iter(node), "")) in _WRAPPED:
        node = node[tag].get(_WRAPPED[tag])
    inner = node.get("ColumnRef") if type(node) is dict else None
    return inner if type(inner) is dict else {}


def _field(reference: Mapping[str, Any]) -> tuple[str, str]:
    """Return the row and the column that ``old.x`` names; ("old", "") for the whole row."""
    fields = [f.get("String", {}).get("sval", "") for f in reference.get("fields", ())]
    return (fields[0], fields[1] if len(fields) > 1 else "") if fields else ("", "")

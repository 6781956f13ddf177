"""Whether people can be shown what becomes of which rows by a write, before it runs: and if not, why not.

What is shown has to be what will happen. So there is no describing of what the moment decides (a clock, a
sequence, ON CONFLICT), of what else than the write itself would write, or of rows that nobody could tell
apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import evolve, frozen

from governed_db.catalog.bound import Bound
from governed_db.catalog.context import memo
from governed_db.catalog.model import Cast, Catalog, Column, Relation, Trigger
from governed_db.catalog.setoff import Touch, spread, vetted_trigger
from governed_db.catalog.vetting import unvetted
from governed_db.statement.describing import STATEMENTLY, Described, Undescribed, described
from governed_db.statement.facts import WRITES, Access, EffectKind
from governed_db.statement.routine import read_routine

_ACCESS: Final = {"UpdateStmt": Access.UPDATE, "DeleteStmt": Access.DELETE, "InsertStmt": Access.INSERT}
_TEXT = 25
_BESIDE = ("a trigger of the table", "a rule of the table")

# pg_type.dat. A stable function of nothing that returns one of these reads the clock. A date holds for a day.
MOMENTS: Final = frozenset({1083, 1114, 1184, 1266})
"""time, timestamp, and both with a zone."""


@frozen(kw_only=True)
class Describable:
    """A write whose rows can be shown.

    Attributes:
        parts: its text, taken apart.
        access: what it does.
        relation: the table.
        key: what its rows are told apart by; () for an INSERT that does not give it.
        columns: what is agreed to of each row: all but generated columns, or what an INSERT gives.
        shown: what people are shown: what is set, given, or goes.
        casting: types whose values would be cast by a function that somebody wrote.
    """

    parts: Described
    access: Access
    relation: Relation
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    shown: tuple[Column, ...]
    casting: frozenset[int] = frozenset()

    @property
    def assigned(self) -> tuple[Column, ...]:
        """The columns that an UPDATE sets, as they stand among :attr:`columns`."""
        names = {each.column for each in self.parts.assigned}
        return tuple(c for c in self.columns if c.name in names) if self.access is Access.UPDATE else ()


def describable(bound: Bound, catalog: Catalog, replication_role: str = "origin") -> Describable:
    """Return how the rows of a write are shown.

    Raises:
        Undescribed: they cannot be: not before it runs, or not so that they are what will happen.
    """
    parts = described(bound.statement)
    if not bound.complete:
        raise Undescribed(f"not everything in it is understood: {bound.incomplete_because}")
    _check_computing(bound, parts)
    access = _ACCESS[parts.kind]
    relation = _written(bound, access)
    key = _key(relation)
    if access is Access.INSERT:
        columns = shown = _given(bound, parts, relation)
        missing = not key or not set(key) <= set(columns)
        key = () if missing else key
        if missing and not parts.listed:
            raise Undescribed(
                f"its rows come without the key of {relation}, so that nobody could tell them from others"
                " afterwards",
                "give the key as well, or write the rows as VALUES",
            )
    else:
        if not key:
            raise Undescribed(
                f"{relation} has no primary key and no other that is never NULL, so that its rows cannot be"
                " told apart",
                f"give the table a primary key, or {STATEMENTLY}",
            )
        columns = tuple(c for c in relation.columns if not c.generated)
        names = {each.column for each in parts.assigned}
        shown = columns if access is Access.DELETE else tuple(c for c in columns if c.name in names)
    found = Describable(parts=parts, access=access, relation=relation, key=key, columns=columns, shown=shown)
    found = _check_casts(bound, catalog, found)
    _check_beside(bound, found)
    _check_triggers(catalog, found, replication_role)
    _check_moving(catalog, found)
    return found


# -- what cannot be shown


def _check_computing(bound: Bound, parts: Described) -> None:
    """See that asking does nothing, and that the answer is the same when the write runs."""

    def inside(location: int) -> bool:
        return location < 0 or any(start <= location < end for start, end in parts.rows.spans)

    if parts.moments:
        raise changing(parts.moments[0])
    for use in bound.functions:
        if not inside(use.ref.location):
            continue
        if any(f.volatility == "v" for f in use.candidates):
            raise changing(f"{use.ref}()")
        if not use.vetted:
            raise Undescribed(f"{use.ref}() does more than compute, or is not known to")
        if use.ref.location in parts.calls and any(
            f.volatility == "s" and f.returns in MOMENTS for f in use.candidates
        ):
            raise changing(f"{use.ref}()")
    for effect in bound.effects:
        # Wherever it stands: what checks a domain runs when a value is cast to it.
        if effect.kind is EffectKind.FUNCTION and not effect.note.startswith(_BESIDE):
            raise Undescribed(f"{effect.name}() does more than compute, or is not known to")


def changing(what: str) -> Undescribed:
    """Return the refusal of a value that the moment makes."""
    return Undescribed(
        f"{what} gives another value when it runs than when people are asked",
        f"give the value itself, or {STATEMENTLY}",
    )


def _written(bound: Bound, access: Access) -> Relation:
    uses = [u for u in bound.relations if u.access is access and u.via is None and not u.within]
    found = {u.relation.oid: u.relation for u in uses}
    if len(found) != 1:
        raise Undescribed("it is not plain which table it writes")
    (relation,) = found.values()
    if relation.kind not in "rp":
        kinds = {"v": "a view", "f": "a table of another server", "m": "a materialized view"}
        raise Undescribed(
            f"{relation} is {kinds.get(relation.kind, 'no table')}, and what becomes of the rows behind it"
            " cannot be shown",
            f"write the table itself, or {STATEMENTLY}",
        )
    if relation.has_rules:
        raise Undescribed(f"a rule of {relation} rewrites the statement")
    return relation


def _key(relation: Relation) -> tuple[Column, ...]:
    """Return the primary key, else the shortest other one that is never NULL."""
    columns = {c.number: c for c in relation.columns if not c.generated}
    primary = {frozenset(c.columns) for c in relation.constraints if c.kind == "p"}
    keys = [k for k in relation.keys if k and all(n in columns and columns[n].not_null for n in k)]
    best = min(keys, key=lambda k: (k not in primary, len(k), sorted(k)), default=frozenset[int]())
    return tuple(columns[number] for number in sorted(best))


def _given(bound: Bound, parts: Described, relation: Relation) -> tuple[Column, ...]:
    if parts.columns is None:
        names = {
            c.column
            for c in bound.columns or ()
            if c.access is Access.INSERT and c.relation.name == relation.name
        }
        columns = relation.columns[: len(names)]
        if not names or {c.name for c in columns} != names:
            raise Undescribed("which columns it fills is not plain", "name them: INSERT INTO t (a, b) ...")
    else:
        found = [relation.column(name) for name in parts.columns]
        columns = tuple(c for c in found if c is not None)
        if len(columns) != len(found):
            raise Undescribed("it fills columns that are not known")
    if any(len(row) != len(columns) for row in parts.lists):
        raise Undescribed("its rows have more values than columns, or fewer", "give one for each column")
    if any(c.generated for c in columns):
        raise Undescribed("it names a generated column", "leave it out")
    return columns


def _check_casts(bound: Bound, catalog: Catalog, found: Describable) -> Describable:
    """See that no cast that the SELECT makes, and the statement may not, runs what somebody wrote.

    What a parameter is, only its call says: :attr:`Describable.casting` is for that.
    """
    held = {oid for c in (*found.columns, *found.key) for oid in _types(catalog, c.type_oid)}
    for cast in catalog.casts.get(_TEXT, ()):
        if cast.source in held and _runs(catalog, cast):
            raise _casts(str(catalog.function(cast.function) or "not known"))
    if found.access is Access.DELETE:
        return found
    into = {oid for c in found.shown for oid in _types(catalog, c.type_oid)}
    casting = frozenset(c.source for oid in into for c in catalog.casts.get(oid, ()) if _runs(catalog, c))
    named = {use.ref.name for use in bound.functions if use.ref.how == "cast"}
    mentioned = {
        oid for use in bound.relations for c in use.relation.columns for oid in _types(catalog, c.type_oid)
    }
    mentioned |= {
        oid for use in bound.functions for f in use.candidates for oid in _types(catalog, f.returns)
    }
    for oid in casting:
        source = catalog.types.get(oid)
        if source is None or source.schema == "pg_catalog" or oid in mentioned or source.name in named:
            raise _casts("from " + ("a type" if source is None else source.name))
    return evolve(found, casting=casting)


def _casts(which: str) -> Undescribed:
    return Undescribed(f"a cast that somebody has defined ({which}) would run")


def _runs(catalog: Catalog, cast: Cast) -> bool:
    function = catalog.function(cast.function)
    return bool(cast.function) and (function is None or unvetted(function) is not None)


def _types(catalog: Catalog, oid: int) -> Iterator[int]:
    """Yield a type, what a domain is made of, and what an array has for elements."""
    while oid:
        yield oid
        type_ = catalog.types.get(oid)
        if type_ is None:
            return
        oid = type_.base if type_.kind == "d" else type_.element


def _check_beside(bound: Bound, found: Describable) -> None:
    """See that nothing else than the write itself writes rows."""
    if not bound.writes_beside:
        return
    notes = [e.note for e in bound.effects if e.kind in WRITES and e.note]
    what = f" ({notes[0]})" if notes else ""
    raise Undescribed(
        f"writing {found.relation} may write other rows as well{what}, and those cannot be shown",
        f"write those rows by a statement of their own first, or {STATEMENTLY}",
    )


def _check_triggers(catalog: Catalog, found: Describable, replication_role: str) -> None:
    numbers = frozenset(c.number for c in found.shown) if found.access is Access.UPDATE else None
    touch = Touch(relation=found.relation, access=found.access, columns=numbers)
    for each in spread(memo(catalog), catalog, touch)[0]:
        changed = None if each.columns is None else each.relation.changed(each.columns)
        for trigger in each.relation.triggers:
            before = trigger.timing == "before" and trigger.each_row
            if not before or not trigger.fires(each.access, changed, replication_role):
                continue
            # A row that is told by its key is looked at again when it is written; what an INSERT leaves out
            # is not.
            whole = found.access is not Access.INSERT or _gives_all(found)
            if not found.key or _alters(catalog, trigger, whole=whole):
                raise Undescribed(
                    f"the trigger {trigger} of {each.relation} makes other rows of those that are written",
                    f"set what it sets yourself and have it leave that alone, or {STATEMENTLY}",
                )


def _gives_all(found: Describable) -> bool:
    given = {c.number for c in found.columns}
    return all(c.generated or c.number in given for c in found.relation.columns)


def _alters(catalog: Catalog, trigger: Trigger, *, whole: bool) -> bool:
    """Return whether a trigger's function says that it changes the row, or cannot be read.

    ``whole``: each column is compared when it has run. Otherwise it must be plain that it hands on the row.
    """
    function = catalog.function(trigger.function)
    if function is None or function.definition is None:
        # suppress_redundant_updates_trigger and the like: what they do is seen when they have done it.
        return function is None or (vetted_trigger(function) and function.name in _ALTERING)
    body = read_routine(function.definition)
    sets = any("new" in names for part in body.parts for names in (part.piece.target, *part.piece.into))
    return bool(body.why) or sets or not (whole or body.hands_on)


_ALTERING = frozenset(
    {"tsvector_update_trigger", "tsvector_update_trigger_column", "moddatetime", "insert_username"}
)


def _check_moving(catalog: Catalog, found: Describable) -> None:
    """See that no row can move to another partition: that is a DELETE and an INSERT, with their triggers."""
    names = {c.name for c in found.shown}
    if found.access is not Access.UPDATE or found.relation.kind != "p":
        return
    todo = [found.relation]
    while todo:
        relation = todo.pop()
        todo += memo(catalog).children.get(relation.oid, ())
        columns = {c.number: c.name for c in relation.columns}
        if any(number not in columns or columns[number] in names for number in relation.partitioned_by):
            raise Undescribed(
                f"it sets what {relation} is partitioned by, and rows may move to another partition",
                f"delete the rows and insert them anew, or {STATEMENTLY}",
            )

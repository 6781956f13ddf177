"""What touching a relation sets off: triggers, rules, cascades, functions in defaults, checks and policies.

Nothing is looked into here. Each thing that runs is named by a :class:`Runs`; ``bodies.py`` says what it
does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from attrs import frozen

from governed_db.catalog.context import Memo
from governed_db.catalog.model import Catalog, Function, Relation
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.statement.facts import Access, Effect, EffectKind, RelationName

TRIGGER = "a trigger of the table runs"
RULE = "a rule of the table rewrites the statement"

# Compiled trigger functions that change nothing but the row at hand, by what brings them: PostgreSQL itself
# (src/backend/utils/adt/trigfuncs.c, tsvector_op.c, commands/constraint.c) and contrib/spi.
VETTED_TRIGGERS = frozenset(
    {
        (None, "suppress_redundant_updates_trigger"),
        (None, "tsvector_update_trigger"),
        (None, "tsvector_update_trigger_column"),
        (None, "unique_key_recheck"),
        ("moddatetime", "moddatetime"),
        ("insert_username", "insert_username"),
    }
)


class Runs(NamedTuple):
    """Something that runs: a function (``oid``), a trigger's function on ``relation``, or a rule of it.

    ``path`` is the search_path it starts under. ``access`` and ``columns`` are those of the write that sets
    off a trigger; ``rule`` is the rule's place among those of ``relation``, -1 for functions.
    """

    oid: int
    path: tuple[str, ...]
    relation: int = 0
    access: Access | None = None
    columns: frozenset[int] | None = None
    rule: int = -1


@frozen(kw_only=True)
class SetOff:
    """One thing that a statement sets off without its text saying so.

    Attributes:
        runs: what runs.
        where: how it comes to run, after "in": "trigger stamp of public.orders".
        name: what a policy knows it by.
        known: the note of the effect where it is understood; "" for none.
        unknown: the note's beginning where it is not.
        silent: what it reads cannot come out through it: it answers yes or no to its owner's own question.
    """

    runs: Runs
    where: str
    name: str
    known: str = ""
    unknown: str = "defined in this database by users"
    silent: bool = False


@frozen(kw_only=True)
class Touch:
    """A relation and how a command touches it, with the columns that an UPDATE sets (``None``: any).

    ``defaults`` are those that it sets to their DEFAULT.
    """

    relation: Relation
    access: Access
    columns: frozenset[int] | None = None
    defaults: frozenset[int] = frozenset()


_WRITING = frozenset({Access.INSERT, Access.UPDATE, Access.DELETE, Access.TRUNCATE})


def spread(memo: Memo, catalog: Catalog, touch: Touch) -> tuple[list[Touch], list[Effect]]:
    """Return ``touch`` with what it reaches further: partitions, children, and rows by foreign keys.

    The effects are those of foreign keys. They say that the WHERE constrains: which rows a key reaches is
    for the rows it starts from to say, and these have an effect of their own.
    """
    found: list[Touch] = []
    effects: list[Effect] = []
    # A table can be reached twice by UPDATE, and other columns be set: keys of a table to itself do that.
    seen: set[tuple[int, Access, frozenset[int] | None, frozenset[int]]] = set()
    todo = [touch]
    while todo:
        each = todo.pop()
        this = (each.relation.oid, each.access, each.columns, each.defaults)
        if this in seen:
            continue
        seen.add(this)
        found.append(each)
        for child in memo.children.get(each.relation.oid, ()):
            accesses = [each.access]
            if each.access is Access.UPDATE and each.relation.kind == "p":
                accesses += [Access.DELETE, Access.INSERT]  # a row that moves to another partition
            todo += [
                Touch(
                    relation=child,
                    access=a,
                    columns=_same(each.relation, child, each.columns),
                    defaults=_same(each.relation, child, each.defaults) or frozenset(),
                )
                for a in accesses
            ]
        if each.access is Access.TRUNCATE:
            # With CASCADE; without it the server refuses, whatever the keys do when rows are deleted.
            for key in memo.referencing.get(each.relation.oid, ()):
                pointing = catalog.relations.get(key.relation)
                if pointing is None or pointing is each.relation:
                    continue
                todo.append(Touch(relation=pointing, access=Access.TRUNCATE))
                effects.append(
                    Effect(
                        kind=EffectKind.TRUNCATE,
                        target=RelationName(pointing.schema, pointing.name),
                        note=f"by a foreign key to {each.relation}",
                    )
                )
        if each.access not in (Access.UPDATE, Access.DELETE):
            continue
        columns = each.relation.changed(each.columns) if each.columns is not None else None
        for key in memo.referencing.get(each.relation.oid, ()):
            pointing = catalog.relations.get(key.relation)
            if pointing is None or not key.cascades(each.access, columns):
                continue
            how = key.on_delete if each.access is Access.DELETE else key.on_update
            deletes = each.access is Access.DELETE and how == "c"
            access = Access.DELETE if deletes else Access.UPDATE
            todo.append(
                Touch(
                    relation=pointing,
                    access=access,
                    columns=None if deletes else frozenset(key.columns),
                    defaults=frozenset(key.columns if how == "d" else ()),
                )
            )
            effects.append(
                Effect(
                    kind=EffectKind.DELETE if deletes else EffectKind.UPDATE,
                    target=RelationName(pointing.schema, pointing.name),
                    constrained=True,
                    note=f"by a foreign key to {each.relation}",
                )
            )
    return found, effects


def _same(parent: Relation, child: Relation, columns: frozenset[int] | None) -> frozenset[int] | None:
    if columns is None:
        return None
    found = [child.column(c.name) for c in parent.columns if c.number in columns]
    return frozenset(c.number for c in found if c is not None) if all(found) else None


def set_off(catalog: Catalog, touch: Touch, path: tuple[str, ...], role: str) -> Iterator[SetOff]:
    """Yield what touching this one relation runs; ``role`` is :attr:`Session.replication_role`."""
    relation, access = touch.relation, touch.access
    writes = access in _WRITING
    for hidden in relation.hidden:
        if not (hidden.writes if writes else hidden.reads and access is Access.READ):
            continue
        defaulted = access is Access.INSERT or hidden.column in touch.defaults
        if hidden.where == "a column default" and not defaulted:
            continue
        function = catalog.function(hidden.function)
        article, _, thing = hidden.where.partition(" ")
        # The owner of the table chose what a policy asks, and of whom. A check asks it of the caller's value.
        silent = thing == "row security policy"
        yield SetOff(
            runs=Runs(hidden.function, path),
            where=f"{article} {thing} of {relation}",
            name=str(function or relation),
            silent=silent,
        )
    if not writes:
        return
    columns = touch.columns
    if access is Access.UPDATE and columns is not None:
        columns = relation.changed(columns)
    for trigger in relation.triggers:
        if trigger.fires(access, columns, role):
            yield SetOff(
                runs=Runs(trigger.function, path, relation.oid, access, touch.columns),
                where=f"trigger {trigger} of {relation}",
                name=str(trigger),
                known=TRIGGER,
                unknown=f"{TRIGGER} code that is not known here",
            )
    if relation.has_rules:
        # Which rules are for which command only their texts say; one without a text is not understood.
        for place in range(max(1, len(relation.rules))):
            yield SetOff(
                runs=Runs(0, path, relation.oid, access, None, place),
                where=f"rule of {relation}",
                name=str(relation),
                known=f"looked into: {RULE}",
                unknown=f"{RULE}, and what it does is not known here",
            )


def vetted_trigger(function: Function) -> bool:
    """Return whether a trigger that calls ``function`` changes nothing but the row at hand."""
    if function.extension is None and (function.schema != "pg_catalog" or function.oid >= FIRST_USER_OID):
        return False
    return (function.extension, function.name) in VETTED_TRIGGERS and function.language in ("c", "internal")

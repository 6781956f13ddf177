"""What the policy wants a role to be able to do: PostgreSQL's privileges, one statement tried for each.

Nobody writes here what a rule means. For every privilege on every object there is a statement that needs
it; the policy is asked about that statement as it is when somebody sends it, catalog and all.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from governed_db import statement as statements
from governed_db.catalog import Catalog, unvetted
from governed_db.cli.hardening.asking import Answer, Asker, quote
from governed_db.cli.hardening.facts import Facts, Reach, Routine
from governed_db.cli.hardening.relations import WRITING, OnRelation, lend_sequences, on_relation
from governed_db.identity import Identity
from governed_db.policy import Verdict

NOT_BY_EXECUTE = frozenset({"set_config", "pg_notify", "nextval", "setval", "currval", "lastval"})
"""Functions of which EXECUTE is left alone: SET and NOTIFY do the same and cannot be taken away, and
sequences have privileges of their own."""


@frozen(kw_only=True)
class Wanted:
    """Everything the policy wants of one role."""

    role: str
    identity: Identity
    relations: Mapping[int, OnRelation]
    routines: Mapping[int, Answer]
    needed: frozenset[int]  # routines that statements which are allowed call without naming them
    create_in: Mapping[str, Answer]  # by schema
    temporary: Answer
    create_schema: Answer
    do: Answer
    reaches: Mapping[tuple[str, str, str], Answer]  # by kind, name and privilege, as in Facts.reaches
    new_functions: Answer  # functions that do not exist yet
    reads_only: bool


def wanted(asker: Asker, facts: Facts, role: str, *, hide: bool) -> Wanted:
    """Ask for everything; ``hide``: leave sensitive columns out of SELECT."""
    asker.ask("SELECT 1")  # reads the catalog
    catalog = asker.judge.catalog
    assert catalog is not None
    relations = {
        relation.oid: found
        for relation in sorted(catalog.relations.values(), key=str)
        if (found := on_relation(asker, facts, relation, hide=hide)) is not None
    }
    lend_sequences(relations, facts)
    routines = _routines(asker, facts, catalog, relations)
    return Wanted(
        role=role,
        identity=asker.identity,
        relations=relations,
        routines=routines,
        needed=_needed(relations),
        create_in={s: asker.ask(f"CREATE TABLE {quote(s, _NEW)} (a integer)") for s in facts.schemas},
        temporary=asker.ask(f"CREATE TEMPORARY TABLE {_NEW} (a integer)"),
        create_schema=asker.ask(f"CREATE SCHEMA {_NEW}"),
        do=asker.ask("DO 'BEGIN END'"),
        reaches={
            (each.kind, each.name, each.privilege): asker.ask(_reaching(each)) for each in facts.reaches
        },
        new_functions=_unborn(facts, routines),
        reads_only=not any(
            set(found.granted) & WRITING for found in relations.values() if found.relation.kind != "S"
        ),
    )


_NEW = "governed_db_not_there_yet"


def _reaching(reach: Reach) -> str:
    if reach.kind == "PARAMETER":
        return f"{'ALTER SYSTEM ' * (reach.privilege != 'SET')}SET {quote(*reach.name.split('.'))} TO DEFAULT"
    if reach.kind == "FOREIGN SERVER":
        return f"CREATE USER MAPPING FOR CURRENT_USER SERVER {quote(reach.name)}"
    return f"CREATE SERVER {_NEW} FOREIGN DATA WRAPPER {quote(reach.name)}"


def _needed(relations: Mapping[int, OnRelation]) -> frozenset[int]:
    """Return routines that run unnamed (CHECKs, defaults, indexes, row security) where rows are touched."""
    needed = set()
    for found in relations.values():
        reads, writes = "SELECT" in found.granted, bool(WRITING & set(found.granted))
        for hidden in found.relation.hidden:
            if (reads and hidden.reads) or (writes and hidden.writes):
                needed.add(hidden.function)
    return frozenset(needed)


def _routines(
    asker: Asker, facts: Facts, catalog: Catalog, relations: Mapping[int, OnRelation]
) -> dict[int, Answer]:
    kept = NOT_BY_EXECUTE | _called_by_views(facts, relations)
    answers: dict[tuple[str, str, int, str], Answer] = {}
    found = {}
    for routine in facts.routines:
        if routine.internal or (routine.system and (routine.name in kept or _vetted(catalog, routine))):
            continue
        key = (routine.schema, routine.name, routine.arguments, routine.kind)
        if key not in answers:
            answers[key] = asker.ask(_call(routine))
        found[routine.oid] = answers[key]
    return found


def _vetted(catalog: Catalog, routine: Routine) -> bool:
    function = catalog.function(routine.oid)
    return function is not None and unvetted(function) is None


def _call(routine: Routine) -> str:
    values = ", ".join(f"${n}" for n in range(1, routine.arguments + 1))
    called = f"{quote(routine.schema, routine.name)}({values})"
    if routine.kind == "p":
        return f"CALL {called}"
    return f"SELECT {called}{' OVER ()' if routine.kind == 'w' else ''}"


def _called_by_views(facts: Facts, relations: Mapping[int, OnRelation]) -> frozenset[str]:
    """Return the functions of PostgreSQL's own views that may be read: they run as whoever reads."""
    names: set[str] = set()
    for oid, text in facts.view_texts.items():
        if oid in relations and relations[oid].privileges["SELECT"].granted:
            try:
                names |= {call.name for call in statements.read(text).functions}
            except statements.Unreadable:
                continue
    return frozenset(names)


def _unborn(facts: Facts, routines: Mapping[int, Answer]) -> Answer:
    """Return what holds for functions nobody has written yet: the severest of what there is."""
    own = [routines[r.oid] for r in facts.routines if r.oid in routines and not r.system]
    return min(own, key=lambda a: a.granted, default=Answer(False, "default", Verdict.BLOCK))

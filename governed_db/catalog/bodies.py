"""What functions, triggers and rules of this database do: their bodies bound like any statement.

Each body is bound once for a catalog and a search_path, and notes what it calls and sets off without
following it. What one call does in the end is the sum over everything it can reach, so that recursion ends
by itself and depth costs nothing. What is not understood makes the whole unknown, never smaller.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, field, frozen

from governed_db.catalog import reach
from governed_db.catalog.bound import Source
from governed_db.catalog.context import memo
from governed_db.catalog.filling import indexed
from governed_db.catalog.model import Catalog, Function, Relation, Session, Trigger
from governed_db.catalog.scope import NOTHING
from governed_db.catalog.setoff import Runs, vetted_trigger
from governed_db.catalog.within import Direct, bound_body
from governed_db.statement.facts import WRITES, Access, Effect, EffectKind
from governed_db.statement.routine import Body, read_code, read_routine, read_rule

MAX_BODIES = 300
"""Functions, triggers and rules that one call may reach; past that it counts as not understood. Far above
what people write, and a quarter of a second of work at worst, once for a catalog."""

USERS = "defined in this database by users"
LOOKED_INTO = "looked into: what it does is judged beside it"
"""The note of a call of a function of users that is understood and does more than compute."""

# Settings under which the server reads the body's text, or whose word decides what it may do: a function
# that has one of these for itself is another one than the text says.
_READ_OTHERWISE = frozenset(
    {"standard_conforming_strings", "backslash_quote", "role", "session_authorization", "row_security",
     "session_replication_role", "check_function_bodies"}
)  # fmt: skip


@frozen(kw_only=True)
class BodyFacts:
    """What a call, a trigger or a rule does, everything it reaches included.

    ``why``: why it is not understood. ``effects`` carry no word yet of how they come about.
    """

    effects: tuple[tuple[str, Effect], ...] = ()
    relations: tuple[tuple[Relation, Access], ...] = ()
    sources: frozenset[Source] = field(default=NOTHING, repr=False)
    stored: frozenset[tuple[Source, Source]] = field(default=frozenset(), repr=False)
    filled: frozenset[tuple[Source, Source]] = field(default=frozenset(), repr=False)
    functions: tuple[Function, ...] = ()
    why: str = ""

    @property
    def computes(self) -> bool:
        """Whether it is understood and does nothing but compute."""
        return not (self.why or self.effects or self.relations or self.sources or self.stored)

    @property
    def writes(self) -> bool:
        """Whether rows are written."""
        return bool(self.why) or any(e.kind in WRITES for _, e in self.effects)


def body_facts(catalog: Catalog, session: Session, runs: Runs) -> BodyFacts:
    """Return what ``runs`` does in ``session``."""
    known = memo(catalog).bodies
    key = ("all", runs, session.replication_role)
    facts: BodyFacts | None = known.get(key)
    if facts is None:
        facts = known[key] = _sum(catalog, session, runs)
    return facts


def _sum(catalog: Catalog, session: Session, first: Runs) -> BodyFacts:
    found: dict[Runs, Direct] = {}
    todo = [first]
    why = ""
    while todo:
        runs = todo.pop()
        if runs in found:
            continue
        if len(found) >= MAX_BODIES:
            why = f"it reaches more than {MAX_BODIES} other functions, triggers and rules"
            break
        direct = found[runs] = _direct(catalog, session, runs)
        todo += direct.runs
    for direct in found.values():
        if direct.why and not why:
            why = direct.why if direct is found[first] else f"{direct.name}: {direct.why}"
    return BodyFacts(
        effects=tuple(dict.fromkeys((d.name, e) for d in found.values() for e in d.effects)),
        relations=tuple({(r.oid, a): (r, a) for d in found.values() for r, a in d.relations}.values()),
        sources=NOTHING.union(*(d.sources for d in found.values())),
        stored=frozenset[tuple[Source, Source]]().union(*(d.stored for d in found.values())),
        filled=frozenset[tuple[Source, Source]]().union(*(d.filled for d in found.values())),
        functions=tuple(f for r in found if r.oid and (f := catalog.function(r.oid)) is not None),
        why=why,
    )


def _direct(catalog: Catalog, session: Session, runs: Runs) -> Direct:
    known = memo(catalog).bodies
    key = ("one", runs, session.replication_role)
    direct: Direct | None = known.get(key)
    if direct is None:
        direct = known[key] = _of_rule(catalog, session, runs) if runs.rule >= 0 else _under_settings(
            catalog, _of_function(catalog, session, runs), runs
        )  # fmt: skip
    return direct


def _under_settings(catalog: Catalog, direct: Direct, runs: Runs) -> Direct:
    """Add what the function sets while it runs, where that says who asks."""
    function = catalog.function(runs.oid)
    names = () if function is None else (s.partition("=")[0].lower() for s in function.settings)
    sets = tuple(
        Effect(kind=EffectKind.SET, name=name, note=f"while {direct.name} runs")
        for name in names
        if name.startswith("governed_db.")
    )
    return evolve(direct, effects=(*direct.effects, *sets)) if sets else direct


def _of_function(catalog: Catalog, session: Session, runs: Runs) -> Direct:
    function = catalog.function(runs.oid)
    if function is None:
        return Direct(name="a function", why="it cannot be seen in this catalog")
    name = str(function)
    if runs.relation and vetted_trigger(function):
        return Direct(name=name)
    reason = reach.reason(memo(catalog), function)
    if reason is None:
        return Direct(name=name)
    if function.kind == "a" and function.made_of:
        return Direct(name=name, runs=tuple(Runs(oid, runs.path) for oid in function.made_of))
    if function.definition is None:
        if reach.of_users(function):
            return Direct(name=name, why=f"it is written in {function.language}, which is not looked into")
        return Direct(effects=(Effect(kind=EffectKind.FUNCTION, name=name, note=reason),))
    for setting in function.settings:
        if setting.partition("=")[0].lower() in _READ_OTHERWISE:
            return Direct(name=name, why=f"it runs under a {setting.partition('=')[0]} of its own")
    body = read_routine(function.definition)
    path, why = path_of(function, runs.path, session)
    if body.qualified:
        path = _pinned(catalog)
    relation = catalog.relations.get(runs.relation)
    direct = bound_body(catalog, evolve(session, search_path=path), name, body, runs, relation)
    if body.defaults:
        given = Body(
            parts=body.defaults,
            why=next((p.statement.incomplete_because for p in body.defaults if not p.statement.complete), ""),
        )
        direct = _both(
            direct,
            bound_body(catalog, evolve(session, search_path=_pinned(catalog)), name, given, runs, None),
        )
    if function.security_definer and not why and not body.qualified:
        why = _other_schemas(catalog, path, function, body)
    checks = tuple(
        Runs(oid, path)
        for t in (*function.arguments, function.returns)
        for oid in reach.type_checks(catalog, t)
    )
    return evolve(direct, runs=direct.runs + checks, why=direct.why or why)


def _both(one: Direct, other: Direct) -> Direct:
    return evolve(
        one,
        effects=tuple(dict.fromkeys((*one.effects, *other.effects))),
        relations=(*one.relations, *other.relations),
        sources=one.sources | other.sources,
        stored=one.stored | other.stored,
        filled=one.filled | other.filled,
        runs=(*one.runs, *other.runs),
        why=one.why or other.why,
    )


def _of_rule(catalog: Catalog, session: Session, runs: Runs) -> Direct:
    relation = catalog.relations[runs.relation]
    name = f"a rule of {relation}"
    if runs.rule >= len(relation.rules):
        return Direct(name=name, why="its definition is not known")
    body = read_rule(relation.rules[runs.rule])
    if not body.why and _EVENTS.get(body.event) is not runs.access:
        return Direct(name=name)
    here = evolve(session, search_path=_pinned(catalog))
    return bound_body(catalog, here, name, body, runs, relation)


_EVENTS = {"CMD_INSERT": Access.INSERT, "CMD_UPDATE": Access.UPDATE, "CMD_DELETE": Access.DELETE}


def code_facts(catalog: Catalog, session: Session, text: str, language: str) -> BodyFacts:
    """Return what a DO block does."""
    body = read_code(text, language)
    direct = bound_body(catalog, session, "DO", body, Runs(0, session.search_path), None)
    below = [body_facts(catalog, session, runs) for runs in direct.runs]
    return BodyFacts(
        effects=(*(("DO", e) for e in direct.effects), *(e for facts in below for e in facts.effects)),
        relations=(*direct.relations, *(r for facts in below for r in facts.relations)),
        sources=direct.sources.union(*(facts.sources for facts in below)),
        stored=direct.stored.union(*(facts.stored for facts in below)),
        why=direct.why or next((facts.why for facts in below if facts.why), ""),
    )


def _pinned(catalog: Catalog) -> tuple[str, ...]:
    # What PostgreSQL writes out under an empty search_path: see views.py.
    temp = memo(catalog).temp
    return ("pg_catalog",) if temp is None else (temp, "pg_catalog")


def path_of(function: Function, path: tuple[str, ...], session: Session) -> tuple[tuple[str, ...], str]:
    """Return the search_path inside of ``function`` called under ``path``, and why it cannot be told."""
    own = next((s.partition("=")[2] for s in function.settings if s.lower().startswith("search_path=")), None)
    if own is None:
        return path, ""
    names = []
    for part in own.split(","):
        word = part.strip()
        name = word[1:-1].replace('""', '"') if word.startswith('"') and word.endswith('"') else word.lower()
        if name == "$user":
            if function.security_definer:
                return path, "its search_path depends on who owns it"
            name = session.role
        if name == "pg_temp":
            if session.temp_schema is None:
                continue
            name = session.temp_schema
        if name:
            names.append(name)
    if "pg_catalog" not in names:
        names.insert(0, "pg_catalog")
    if session.temp_schema is not None and session.temp_schema not in names:
        names.insert(0, session.temp_schema)
    return tuple(names), ""


def _other_schemas(catalog: Catalog, path: tuple[str, ...], function: Function, body: Body) -> str:
    """Say whether names in a SECURITY DEFINER body can mean something else to its owner.

    A search_path with "$user" in it, which is the server's default, then begins with the owner's schema.
    """
    if any(s.lower().startswith("search_path=") for s in function.settings):
        return ""
    bare = {r.name.name for p in body.parts for r in p.statement.relations if r.name.schema is None}
    for relation in catalog.relations.values():
        if relation.name in bare and relation.schema not in path and relation.kind in "rpvmf":
            return (
                f"it has its owner's rights and no search_path of its own, and {relation.name} is ambiguous"
            )
    return ""


def stored_by(catalog: Catalog, relation: Relation, trigger: Trigger) -> Iterable[tuple[Source, Source]]:
    """Return which columns' values ``trigger`` makes others of, as it is seen from its table's schema.

    Taken as an UPDATE of all columns, in which both NEW and OLD hold what is in the table.
    """
    function = catalog.function(trigger.function)
    if function is not None and vetted_trigger(function):
        return indexed(relation, trigger, function)
    path = tuple(dict.fromkeys(("pg_catalog", relation.schema, "public")))
    session = Session(database="", role="", session_user="", search_path=path)
    facts = body_facts(catalog, session, Runs(trigger.function, path, relation.oid, Access.UPDATE))
    return facts.stored | facts.filled


def stored_by_rules(catalog: Catalog, relation: Relation) -> Iterable[tuple[Source, Source]]:
    """Return the same of the rules of ``relation``."""
    session = Session(database="", role="", session_user="", search_path=("pg_catalog",))
    found: set[tuple[Source, Source]] = set()
    for place in range(len(relation.rules)):
        for access in _EVENTS.values():
            runs = Runs(0, ("pg_catalog",), relation.oid, access, None, place)
            found |= body_facts(catalog, session, runs).filled
    return found

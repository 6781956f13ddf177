"""GRANT and REVOKE for relations and routines, and for those that do not exist yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from governed_db.cli.hardening.asking import Answer
from governed_db.cli.hardening.facts import Facts, Routine
from governed_db.cli.hardening.relations import SYSTEM_SCHEMAS, OnRelation
from governed_db.cli.hardening.text import KEPT, Step, because, ident, names, taken
from governed_db.cli.hardening.wanted import Wanted
from governed_db.policy import Verdict

_LISTED = 8  # objects on one line of a statement that names many


def on_public_relations(facts: Facts, wants: Sequence[Wanted]) -> Iterator[Step]:
    """Take from PUBLIC what one of the roles must not have, and give it to everybody else."""
    everywhere = {oid: f for w in wants for oid, f in w.relations.items()}
    for oid, found in sorted(everywhere.items(), key=lambda item: str(item[1].relation)):
        name = _object(found)
        for privilege in sorted(facts.public_relations.get(oid, ())):
            refused = _refusing(wants, oid, privilege)
            if refused:
                yield Step(f"REVOKE {privilege} ON {name} FROM PUBLIC", because(refused))
                if facts.others:
                    yield Step(
                        f"GRANT {privilege} ON {name} TO {names(facts.others)}",
                        KEPT,
                    )
        for privilege, columns in sorted(facts.public_columns.get(oid, {}).items()):
            refused = _refusing(wants, oid, privilege)
            if refused:
                some = f"{privilege} ({', '.join(map(ident, columns))})"
                yield Step(f"REVOKE {some} ON {name} FROM PUBLIC", because(refused))
                if facts.others:
                    yield Step(f"GRANT {some} ON {name} TO {names(facts.others)}", KEPT)


def _refusing(wants: Sequence[Wanted], oid: int, privilege: str) -> dict[str, Answer]:
    refused = {}
    for want in wants:
        found = want.relations.get(oid)
        answer = found.privileges.get(privilege) if found is not None else None
        if found is None or answer is None:
            refused[want.role] = Answer(False, "default", Verdict.BLOCK)
        if found is None or (answer is None and found.relation.schema in SYSTEM_SCHEMAS):
            continue  # what can be written there is a view over settings, which SET reaches as well
        if answer is None:
            refused[want.role] = Answer(False, "default", Verdict.BLOCK)
        elif not answer.granted:
            refused[want.role] = answer
        elif found.without.get(privilege):
            refused[want.role] = Answer(False, "some of its columns", Verdict.BLOCK)
    return refused


def _object(found: OnRelation) -> str:
    kind = "SEQUENCE" if found.relation.kind == "S" else "TABLE"
    return f"{kind} {ident(found.relation.schema, found.relation.name)}"


def on_relations(facts: Facts, want: Wanted, wants: Sequence[Wanted]) -> Iterator[Step]:
    """Give one role what the policy wants of it, after everything it had is taken away."""
    role = ident(want.role)
    for schema in facts.schemas:
        for kind in ("TABLES", "SEQUENCES"):
            yield Step(
                f"REVOKE ALL ON ALL {kind} IN SCHEMA {ident(schema)} FROM {role}",
                "default: what no rule allows is refused",
            )
    for oid, holder in facts.system_grants:
        if holder == want.role and oid in want.relations:
            yield Step(
                f"REVOKE ALL ON {_object(want.relations[oid])} FROM {role}",
                "default: what no rule allows is refused",
            )
    for oid, found in want.relations.items():
        # Of PostgreSQL's own relations only those are granted that are taken from PUBLIC for another role.
        if found.relation.schema in SYSTEM_SCHEMAS and not _refusing(wants, oid, "SELECT"):
            continue
        listed = [_privilege(found, p) for p in found.granted]
        granted = [text for text in listed if text]
        if granted:
            yield Step(f"GRANT {', '.join(granted)} ON {_object(found)} TO {role}", _reasons(found))


def _privilege(found: OnRelation, privilege: str) -> str:
    without = found.without.get(privilege)
    if not without:
        return privilege
    columns = [c for c in found.relation.columns if c.name not in without]
    if privilege != "SELECT":
        columns = [c for c in columns if not c.generated]
    return f"{privilege} ({', '.join(ident(c.name) for c in columns)})" if columns else ""


def _reasons(found: OnRelation) -> str:
    granted: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    for privilege, answer in found.privileges.items():
        (granted if answer.granted else refused).setdefault(answer.rule, []).append(privilege)
    text = "; ".join(f"{rule}: {', '.join(words)}" for rule, words in granted.items())
    if refused:
        text += "; not " + "; not ".join(f"{', '.join(words)} ({rule})" for rule, words in refused.items())
    for privilege, columns in found.without.items():
        listed = ", ".join(f"{column} ({why})" for column, why in columns.items())
        text += f"; {privilege} without {listed}"
    return text


def on_routines(facts: Facts, wants: Sequence[Wanted]) -> Iterator[Step]:
    """Take EXECUTE from PUBLIC and the roles where the policy refuses the call, and grant it where not."""
    roles = names(w.role for w in wants)
    for schema in facts.schemas:
        yield Step(
            f"REVOKE ALL ON ALL ROUTINES IN SCHEMA {ident(schema)} FROM {roles}",
            "default: what no rule allows is refused",
        )
    lost: dict[tuple[str, tuple[str, ...], bool], list[Routine]] = {}
    given: dict[tuple[str, str], list[Routine]] = {}
    for routine in facts.routines:
        answers = {w.role: w.routines[routine.oid] for w in wants if routine.oid in w.routines}
        refused = {
            w.role: answers[w.role]
            for w in wants
            if w.role in answers and not answers[w.role].granted and routine.oid not in w.needed
        }
        if refused:
            key = (because(refused), tuple(refused), routine.public)
            lost.setdefault(key, []).append(routine)
        for want in wants:
            if want.role not in answers:
                continue
            if answers[want.role].granted:
                given.setdefault((want.role, answers[want.role].rule), []).append(routine)
            elif routine.oid in want.needed:
                given.setdefault((want.role, "needed by a statement that is allowed"), []).append(routine)
    for (why, losing, public), routines in lost.items():
        losers = f"PUBLIC, {names(losing)}" if public else names(losing)
        yield Step(f"REVOKE EXECUTE ON ROUTINE {_signatures(routines)} FROM {losers}", why)
        if public and facts.others:
            yield Step(
                f"GRANT EXECUTE ON ROUTINE {_signatures(routines)} TO {names(facts.others)}",
                KEPT,
            )
    for (role, rule), routines in given.items():
        yield Step(f"GRANT EXECUTE ON ROUTINE {_signatures(routines)} TO {ident(role)}", f"{rule}: allowed")


def _signatures(routines: Sequence[Routine]) -> str:
    rows = [routines[i : i + _LISTED] for i in range(0, len(routines), _LISTED)]
    return ",\n    ".join(", ".join(r.signature for r in row) for row in rows)


def defaults(facts: Facts, wants: Sequence[Wanted]) -> Iterator[Step]:
    """Let what is created later start without privileges for the roles."""
    refused = {w.role: w.new_functions for w in wants if not w.new_functions.granted}
    if refused:
        for owner in facts.owners:
            start = f"ALTER DEFAULT PRIVILEGES FOR ROLE {ident(owner)}"
            yield Step(f"{start} REVOKE EXECUTE ON ROUTINES FROM PUBLIC", because(refused))
            if owner in facts.open_owners and facts.others:
                yield Step(
                    f"{start} GRANT EXECUTE ON ROUTINES TO {names(facts.others)}",
                    KEPT,
                )
            for want in wants:
                if want.new_functions.granted:
                    yield Step(
                        f"{start} GRANT EXECUTE ON ROUTINES TO {ident(want.role)}",
                        f"{want.new_functions.rule}: allowed",
                    )
    for owner, schema, objects, role, privileges in facts.defaults:
        inside = f" IN SCHEMA {ident(schema)}" if schema else ""
        start = f"ALTER DEFAULT PRIVILEGES FOR ROLE {ident(owner)}{inside}"
        yield Step(
            f"{start} REVOKE ALL ON {objects} FROM {ident(role) if role else 'PUBLIC'}",
            "default: what comes new is granted when harden has seen it",
        )
        if not role and facts.others:
            yield Step(f"{start} GRANT {privileges} ON {objects} TO {names(facts.others)}", KEPT)


def handed_on(facts: Facts) -> Iterator[Step]:
    """Put grants that are not the owner's into the owner's name, or take them away.

    A REVOKE that a superuser sends counts as the owner's, and takes back what the owner has granted alone.
    """
    roles = {role.name for role in facts.roles}
    for each in facts.handed:
        some = f"{each.privilege} ({each.column})" if each.column else each.privilege
        to = ident(each.grantee) if each.grantee else "PUBLIC"
        said = f"default: {each.grantor} granted it, and only {each.grantor} can take it back"
        yield Step(f"SET LOCAL ROLE {ident(each.grantor)}", said)
        yield Step(f"REVOKE {some} ON {each.what} FROM {to}", said)
        yield Step("SET LOCAL ROLE NONE", said)
        if each.grantee not in roles:
            more = " WITH GRANT OPTION" if each.grantable else ""
            yield Step(f"GRANT {some} ON {each.what} TO {to}{more}", KEPT)


def on_reaches(facts: Facts, wants: Sequence[Wanted]) -> Iterator[Step]:
    """Take settings and foreign servers from who must not have them."""
    seen: dict[tuple[str, str, str], set[str]] = {}
    for each in facts.reaches:
        seen.setdefault((each.kind, each.name, each.privilege), set()).add(each.grantee)
    for (kind, name, privilege), holders in seen.items():
        # A setting of an extension has two parts.
        called = ".".join(map(ident, name.split("."))) if kind == "PARAMETER" else ident(name)
        yield from taken(
            facts,
            privilege,
            f"{kind} {called}",
            {w.role: w.reaches[kind, name, privilege] for w in wants},
            public="" in holders,
        )

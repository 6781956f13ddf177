"""From what the policy wants to the SQL that makes the server want the same. Text only; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from governed_db.cli.hardening.facts import Facts, Role
from governed_db.cli.hardening.grants import (
    defaults,
    handed_on,
    on_public_relations,
    on_reaches,
    on_relations,
    on_routines,
)
from governed_db.cli.hardening.text import Section, Step, ident, literal, taken
from governed_db.cli.hardening.wanted import Wanted
from governed_db.policy import Budget

_SETTINGS = (
    ("statement_timeout", "statement_timeout"),
    ("lock_timeout", "lock_timeout"),
    ("idle_in_transaction_session_timeout", "idle_timeout"),
)


def sections(facts: Facts, wants: Sequence[Wanted], budgets: Mapping[str, Budget]) -> Iterator[Section]:
    """Yield what makes the server agree with ``wants``, in an order in which it can run."""
    yield Section("the roles", tuple(s for role in facts.roles for s in _role(role)))
    yield Section("what was granted by others than the owner", tuple(handed_on(facts)))
    yield Section("what they start a session with", tuple(_settings(facts, wants, budgets)))
    yield Section("the database and its schemas", tuple(_schemas(facts, wants)))
    yield Section("what PUBLIC may read and write", tuple(on_public_relations(facts, wants)))
    for want in wants:
        yield Section(f"tables, views and sequences for {want.role}", tuple(on_relations(facts, want, wants)))
    yield Section(
        "functions (PostgreSQL's own need a superuser to run this)", tuple(on_routines(facts, wants))
    )
    yield Section("settings and foreign servers", tuple(on_reaches(facts, wants)))
    yield Section("what is created later", tuple(defaults(facts, wants)))


def _role(role: Role) -> Iterator[Step]:
    name = ident(role.name)
    body = (
        f"BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal(role.name)}) "
        f"THEN CREATE ROLE {name} LOGIN; END IF; END"
    )
    yield Step(
        f"DO {literal(body)}",
        "default: a role of its own, without a password; give it one, or a line in pg_hba.conf",
    )
    if role.attributes:
        yield Step(f"ALTER ROLE {name} {' '.join(role.attributes)}", "privileges: it keeps to its privileges")
    for parent, grantor in role.member_of:
        yield Step(
            f"REVOKE {ident(parent)} FROM {name}{f' GRANTED BY {ident(grantor)}' if grantor else ''}",
            "guard-settings: SET ROLE, and what that role may do",
        )
    if role.owns:
        yield Step(
            "SELECT 1",
            f"WARNING: {role.name} owns {len(role.owns)} objects ({role.owns[0]}, ...): no REVOKE keeps"
            " an owner from changing or dropping them. Give them away: REASSIGN OWNED BY",
        )


def _settings(facts: Facts, wants: Sequence[Wanted], budgets: Mapping[str, Budget]) -> Iterator[Step]:
    for want in wants:
        budget = budgets[want.role]
        where = f"ALTER ROLE {ident(want.role)} IN DATABASE {ident(facts.database)}"
        for setting, field in _SETTINGS:
            value = getattr(budget, field)
            if value is not None:
                yield Step(f"{where} SET {setting} = {int(value)}", f"budget.{budget.id}: milliseconds")
        if want.reads_only:
            yield Step(
                f"{where} SET default_transaction_read_only = on",
                "no rule of the policy lets it write without asking",
            )


def _schemas(facts: Facts, wants: Sequence[Wanted]) -> Iterator[Step]:
    database = ident(facts.database)
    for want in wants:
        yield Step(f"GRANT CONNECT ON DATABASE {database} TO {ident(want.role)}", "default: it works here")
    for word, answers in (
        ("TEMPORARY", {w.role: w.temporary for w in wants}),
        ("CREATE", {w.role: w.create_schema for w in wants}),
    ):
        yield from taken(facts, word, f"DATABASE {database}", answers, public=word in facts.public_database)
    for schema in facts.schemas:
        used = [w for w in wants if _uses(facts, w, schema)]
        for want in used:
            yield Step(
                f"GRANT USAGE ON SCHEMA {ident(schema)} TO {ident(want.role)}", "what follows is in it"
            )
        yield from taken(
            facts,
            "CREATE",
            f"SCHEMA {ident(schema)}",
            {w.role: w.create_in[schema] for w in wants},
            public=schema in facts.public_create,
        )
    for language in facts.languages:
        yield from taken(
            facts,
            "USAGE",
            f"LANGUAGE {ident(language)}",
            {w.role: w.do for w in wants},
            public=language in facts.public_languages,
        )


def _uses(facts: Facts, want: Wanted, schema: str) -> bool:
    if any(f.granted for f in want.relations.values() if f.relation.schema == schema):
        return True
    return any(
        r.schema == schema and (r.oid in want.needed or want.routines[r.oid].granted)
        for r in facts.routines
        if r.oid in want.routines
    )

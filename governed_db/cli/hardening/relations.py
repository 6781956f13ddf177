"""What the policy wants a role to be able to do with tables, views and sequences."""
# ruff: noqa: S608 - the statements made here are judged, and never run

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, field, frozen

from governed_db.catalog import Relation
from governed_db.catalog.vetting import SECRET_COLUMNS
from governed_db.cli.hardening.asking import Answer, Asker, quote
from governed_db.cli.hardening.facts import Facts
from governed_db.policy import Verdict

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})

WRITING = frozenset({"INSERT", "UPDATE", "DELETE", "TRUNCATE"})
"""Privileges with which rows can be changed."""

_TABLES = frozenset("rpvmf")


@frozen(kw_only=True)
class OnRelation:
    """What a role may do with one relation.

    ``privileges`` holds an answer for each privilege that was tried; ``without``, by privilege, the columns
    that are left out where it is granted column by column, with the reason: a label, or a rule.
    """

    relation: Relation
    privileges: Mapping[str, Answer]
    without: Mapping[str, Mapping[str, str]] = field(factory=dict)

    @property
    def granted(self) -> tuple[str, ...]:
        """The privileges to grant."""
        return tuple(p for p, answer in self.privileges.items() if answer.granted)


def on_relation(asker: Asker, facts: Facts, relation: Relation, *, hide: bool) -> OnRelation | None:
    """Ask about one relation; ``None`` where there is nothing to grant or to take."""
    if relation.persistence == "t" or relation.schema.startswith(("pg_toast", "pg_temp")):
        return None
    name = quote(relation.schema, relation.name)
    if relation.schema in SYSTEM_SCHEMAS:
        granted = {oid for oid, _ in facts.system_grants} | facts.public_columns.keys()
        # Of one with a secret column PUBLIC may have lost the others to an earlier script, for another role.
        if (
            "SELECT" not in facts.public_relations.get(relation.oid, ())
            and relation.oid not in granted
            and f"{relation.schema}.{relation.name}" not in SECRET_COLUMNS
        ):
            return None
        return _system(asker, relation, name)
    if relation.kind == "S":
        literal = "'" + name.replace("'", "''") + "'"
        return OnRelation(
            relation=relation,
            privileges={
                "USAGE": asker.ask(f"SELECT nextval({literal})"),
                "SELECT": asker.ask(f"SELECT last_value FROM {name}"),
                "UPDATE": asker.ask(f"SELECT setval({literal}, 1)"),
            },
        )
    if relation.kind not in _TABLES:
        return None
    return _table(asker, relation, name, hide=hide)


def _system(asker: Asker, relation: Relation, name: str) -> OnRelation:
    answer = asker.ask(f"SELECT * FROM {name}")
    secret = SECRET_COLUMNS.get(f"{relation.schema}.{relation.name}")
    others = [column.name for column in relation.columns if secret and column.name not in secret]
    if answer.granted or secret is None or not others:
        return OnRelation(relation=relation, privileges={"SELECT": answer})
    without = dict.fromkeys(sorted(secret), f"rule {answer.rule}")
    answer = asker.ask(f"SELECT {', '.join(map(quote, others))} FROM {name}")
    return OnRelation(
        relation=relation,
        privileges={"SELECT": answer},
        without={"SELECT": without} if answer.granted else {},
    )


def _table(asker: Asker, relation: Relation, name: str, *, hide: bool) -> OnRelation:
    columns = [column.name for column in relation.columns]
    listed = ", ".join(map(quote, columns))
    privileges = {"SELECT": asker.ask(f"SELECT {listed} FROM {name}")}
    if relation.kind != "m" and columns:
        privileges |= {p: asker.ask(*texts) for p, texts in _writes(name, relation, columns)}
    without: dict[str, dict[str, str]] = {}
    if asker.by_column:
        for privilege, texts in _column_by_column(name, relation, columns):
            if privilege in privileges and not privileges[privilege].granted:
                answers = {column: asker.ask(text) for column, text in texts.items()}
                allowed = [answer for answer in answers.values() if answer.granted]
                if allowed:
                    privileges[privilege] = allowed[0]
                    without[privilege] = {c: f"rule {a.rule}" for c, a in answers.items() if not a.granted}
    if hide and privileges["SELECT"].granted:
        read = [column for column in columns if column not in without.get("SELECT", {})]
        sensitive = asker.sensitive(f"SELECT {', '.join(map(quote, read))} FROM {name}")
        if sensitive is None:
            privileges["SELECT"] = Answer(False, "masking.derived", Verdict.BLOCK)
        elif sensitive:
            without.setdefault("SELECT", {}).update({read[i]: label for i, label in sensitive.items()})
    return OnRelation(relation=relation, privileges=privileges, without=without)


def _column_by_column(
    name: str, relation: Relation, columns: list[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    key = quote(columns[0]) if columns else ""
    yield "SELECT", {c: f"SELECT {quote(c)} FROM {name}" for c in columns}
    settable = [c.name for c in relation.columns if not c.generated]
    yield "INSERT", {c: f"INSERT INTO {name} ({quote(c)}) VALUES (NULL)" for c in settable}
    yield "UPDATE", {c: f"UPDATE {name} SET {quote(c)} = NULL WHERE {key} = $1" for c in settable}


def _writes(name: str, relation: Relation, columns: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    key = next(iter(relation.keys), frozenset())
    of_key = [column.name for column in relation.columns if column.number in key] or columns[:1]
    where = " AND ".join(f"{quote(column)} = ${n}" for n, column in enumerate(of_key, 1))
    settable = [c.name for c in relation.columns if not c.generated] or columns
    nulls = ", ".join(["NULL"] * len(settable))
    sets = ", ".join(f"{quote(c)} = NULL" for c in settable)
    yield (
        "INSERT",
        (
            f"INSERT INTO {name} ({', '.join(map(quote, settable))}) VALUES ({nulls})",
            f"INSERT INTO {name} DEFAULT VALUES",
            f"COPY {name} FROM STDIN",
        ),
    )
    yield "UPDATE", (f"UPDATE {name} SET {sets} WHERE {where}", f"UPDATE {name} SET {sets}")
    yield "DELETE", (f"DELETE FROM {name} WHERE {where}", f"DELETE FROM {name}")
    if relation.kind in "rpf":
        yield "TRUNCATE", (f"TRUNCATE {name}",)


def lend_sequences(relations: dict[int, OnRelation], facts: Facts) -> None:
    """Let who may insert into a table use the sequences that its columns default to."""
    for oid, tables in facts.sequences_of.items():
        found = relations.get(oid)
        for table in tables:
            inserts = relations[table].privileges.get("INSERT") if table in relations else None
            if found is not None and inserts is not None and inserts.granted:
                relations[oid] = found = evolve(found, privileges={**found.privileges, "USAGE": inserts})

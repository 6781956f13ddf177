"""Which columns of a database are sensitive, told from its catalog alone: no row is read.

Evidence, strongest first: what the owner of the column wrote in a comment, its type (inet, a domain named
``email_address``), its name, then its name in the light of its table (``name`` of customers is a person's,
``name`` of products is not). A type that cannot hold the thing (a boolean ``email_verified``) overrules a
name. ``confidence`` says which of these spoke; it is an order, not a measured probability.

Cities, countries, user agents, time zones and surrogate keys are not sensitive by themselves here: hiding
them would cost most reports and hide nobody. A policy can say otherwise for a column by an override.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import evolve, frozen

from governed_db.catalog.bodies import stored_by
from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog, Column, Relation
from governed_db.masking import phrases as p
from governed_db.masking import words as w
from governed_db.masking.comments import from_comment, says_personal
from governed_db.masking.kinds import Kind, holds, kind_of
from governed_db.masking.matching import ALONE, Words, matches
from governed_db.masking.model import ANYTHING, Sensitivity
from governed_db.masking.names import tokens, words

_SYSTEM: Final = ("pg_catalog", "information_schema", "pg_toast")
_RELKINDS: Final = frozenset("rpvmf")  # what can stand in FROM; sequences and indexes hold no data of people

_PERSONAL: Final = frozenset(
    {
        "EMAIL_ADDRESS", "PHONE_NUMBER", "FIRST_NAME", "LAST_NAME", "DATE_OF_BIRTH", "NATIONAL_ID",
        "US_SOCIAL_SECURITY_NUMBER", "PASSWORD", "GENDER", "MEDICAL_RECORD_NUMBER", "IMSI_ID", "PASSPORT",
    }
)  # fmt: skip
"""Labels that make their table one about people, whatever it is called."""

_DEMOGRAPHIC: Final = frozenset(
    {
        "GENDER",
        "ETHNIC_GROUP",
        "RELIGION",
        "NATIONALITY",
        "STREET_ADDRESS",
        "POSTAL_CODE",
        "AGE",
        "DATE_OF_BIRTH",
    }
)
"""Labels that things, places and organisations have as well, and then they are nobody's."""

_GENERIC: Final = words("number value address key secret hash digest expiry expiration data")
_FREE_TEXT_WORDS: Final = w.PERSON | w.FREE_TEXT | w.FREE_TEXT_BESIDE | p.TAIL


@frozen(kw_only=True)
class _Table:
    """What a column's table says about it."""

    words: Words
    of_people: bool  # its rows are people: "customers", "user_accounts"
    about_people: bool  # people are in it: "orders" with a customer's phone, "tickets"
    things: bool  # its rows are places, organisations, products
    own: bool  # its rows have an email, a birth date, ... of their own ("email", not "owner_email")
    spoken: bool  # its name speaks of people or of what they say
    linked: bool  # a column refers to a person
    said: bool  # its comment says that it is personal


def classify(
    catalog: Catalog, overrides: Mapping[str, str | None] | None = None
) -> dict[Source, Sensitivity]:
    """Return the sensitive columns of ``catalog`` with why.

    Args:
        catalog: the snapshot to look at; PostgreSQL's own schemas are left out.
        overrides: by ``schema.table.column``, a label, or ``None`` for "not sensitive". They win. One that
            names no column is told of by :func:`stale`. Where its relation is there without the column, the
            column has another name by now, and nobody here knows which: every column of that relation has
            the label then, but for those that another override settles. All else works as before.
    """
    found: dict[Source, Sensitivity] = {}
    for relation in catalog.relations.values():
        if relation.kind in _RELKINDS and not relation.schema.startswith(_SYSTEM):
            _classify_relation(relation, catalog, found)
    columns = _columns(catalog) if overrides else {}
    given = {path: columns.get(path) for path in overrides or ()}
    for each in stale(catalog, overrides):
        if each.relation is None or each.label is None:
            continue
        for column in each.relation.columns:
            found[Source(each.relation.oid, column.number)] = Sensitivity(
                label=each.label,
                confidence=1.0,
                because=f"the policy says so of {each.path}, which is not there, so any column may be it",
            )
    for path, label in (overrides or {}).items():
        source = given[path]
        if source is None:
            continue
        if label is None:
            found.pop(source, None)
        else:
            found[source] = Sensitivity(label=label, confidence=1.0, because="the policy says so")
    cleared = {given[path] for path, label in (overrides or {}).items() if label is None}
    # What was inherited is handed on in its turn: a foreign key to a generated column, to a foreign key, ...
    while more := {
        source: answer
        for source, answer in (
            *_inherited(catalog, found),
            *_referring(catalog, found),
            *_put_by(catalog, found),
        )
        if source not in found and source not in cleared
    }:
        found.update(more)
    return found


def _referring(catalog: Catalog, found: Mapping[Source, Sensitivity]) -> Iterator[tuple[Source, Sensitivity]]:
    """Yield what holds the values of a sensitive column because a foreign key says so."""
    for key in catalog.foreign_keys:
        for column, referenced in zip(key.columns, key.referenced_columns, strict=True):
            if (base := found.get(Source(key.referenced, referenced))) is not None:
                answer = evolve(base, because="a foreign key takes its values from a sensitive column")
                yield Source(key.relation, column), answer


def _put_by(catalog: Catalog, found: Mapping[Source, Sensitivity]) -> Iterator[tuple[Source, Sensitivity]]:
    """Yield what triggers fill with values of sensitive columns: audit tables keep whole rows."""
    for relation in catalog.relations.values():
        if not relation.triggers or not any(
            Source(relation.oid, c.number) in found for c in relation.columns
        ):
            continue
        for trigger in relation.triggers:
            for source, sink in stored_by(catalog, relation, trigger):
                numbers = [c.number for c in relation.columns] if source.column == 0 else [source.column]
                if any(Source(source.relation, number) in found for number in numbers):
                    # Whatever it is made of: a part of a document may be all of a value.
                    because = f"the trigger {trigger} of {relation} puts values of sensitive columns into it"
                    yield sink, Sensitivity(label=ANYTHING, confidence=0.8, because=because)


def _inherited(catalog: Catalog, found: Mapping[Source, Sensitivity]) -> Iterator[tuple[Source, Sensitivity]]:
    """Yield what holds a sensitive value by its definition: generated columns, and rows as values."""
    rows: dict[int, Sensitivity | None] = {}
    for relation in catalog.relations.values():
        if relation.schema.startswith(_SYSTEM):
            continue
        for column in relation.columns:
            for number in column.generated:
                if (base := found.get(Source(relation.oid, number))) is not None:
                    answer = evolve(base, because="it is generated from a sensitive column")
                    yield Source(relation.oid, column.number), answer
                    break
            else:
                if (inner := _in_row(column.type_oid, catalog, found, rows)) is not None:
                    answer = evolve(inner, because="its type has a sensitive attribute")
                    yield Source(relation.oid, column.number), answer


def _in_row(
    oid: int, catalog: Catalog, found: Mapping[Source, Sensitivity], rows: dict[int, Sensitivity | None]
) -> Sensitivity | None:
    """Return what is sensitive inside a composite type, its arrays and its domains included."""
    if oid in rows:
        return rows[oid]
    rows[oid] = None  # a type that contains itself says nothing new
    type_ = catalog.types.get(oid)
    if type_ is None or type_.schema.startswith(_SYSTEM):
        return None
    for inner in (type_.base, type_.element):
        if inner and (answer := _in_row(inner, catalog, found, rows)) is not None:
            rows[oid] = answer
            return answer
    row = catalog.relations.get(type_.relation) if type_.relation else None
    if row is not None:
        own: dict[Source, Sensitivity] = {s: a for s, a in found.items() if s.relation == row.oid}
        if row.kind == "c":
            _classify_relation(row, catalog, own)
        inside = [
            own.get(Source(row.oid, c.number)) or _in_row(c.type_oid, catalog, found, rows)
            for c in row.columns
        ]
        rows[oid] = next((answer for answer in inside if answer is not None), None)
    return rows[oid]


@frozen(kw_only=True)
class Stale:
    """An override that names no column of a catalog.

    ``relation`` is the relation it names, where that is there; ``nearest`` the column whose name is most
    like the one it names, "" where there is none.
    """

    path: str
    label: str | None
    relation: Relation | None
    nearest: str

    def __str__(self) -> str:
        hint = f"; the nearest is {self.nearest}" if self.nearest else ""
        kept = self.relation is not None and self.label is not None
        closed = f". Every column of {self.relation} is masked until then" if kept else ""
        return f"the masking override '{self.path}' names no column of this database{hint}{closed}"


def stale(catalog: Catalog, overrides: Mapping[str, str | None] | None) -> tuple[Stale, ...]:
    """Return the overrides that name no column of ``catalog``."""
    found: list[Stale] = []
    if not overrides:
        return ()
    columns = _columns(catalog)
    for path, label in overrides.items():
        if path in columns:
            continue
        # Names may hold dots, so the path is compared, not taken apart.
        relation = next((r for r in catalog.relations.values() if path.startswith(f"{r}.")), None)
        nearest = difflib.get_close_matches(path, columns, n=1, cutoff=0.0)
        found.append(Stale(path=path, label=label, relation=relation, nearest="".join(nearest)))
    return tuple(found)


def _columns(catalog: Catalog) -> Mapping[str, Source]:
    return {
        f"{relation}.{column.name}": Source(relation.oid, column.number)
        for relation in catalog.relations.values()
        for column in relation.columns
    }


def _classify_relation(relation: Relation, catalog: Catalog, found: dict[Source, Sensitivity]) -> None:
    kinds = [kind_of(c.type_oid, catalog.types) for c in relation.columns]
    table = _table(relation, kinds)
    for column, kind in zip(relation.columns, kinds, strict=True):
        answer = _classify_column(column, kind, table, catalog)
        if answer is not None:
            found[Source(relation.oid, column.number)] = answer


def _table(relation: Relation, kinds: list[Kind]) -> _Table:
    name = tokens(relation.name)
    first, last = name[:1], name[-1:]
    things = not w.THINGS.isdisjoint(last) or (not w.THINGS.isdisjoint(first) and len(name) == 1)
    # English puts the head last ("bank_customers"), Romance languages first ("clientes_activos").
    of_people = not things and not w.PERSON.isdisjoint((*first, *last))
    of_people = of_people and p.VETO_TAIL.isdisjoint(last)
    spoken = not w.PERSON.isdisjoint(name) or (not w.SPEECH.isdisjoint(name) and p.VETO_TAIL.isdisjoint(last))
    said = says_personal(relation.comment)
    personal = own = linked = False
    for column, kind in zip(relation.columns, kinds, strict=True):
        parts = tokens(column.name)
        linked = linked or (len(parts) > 1 and parts[-1] == "id" and not w.PERSON.isdisjoint(parts[:-1]))
        if match := next((m for m in matches(parts) if m.label in _PERSONAL and holds(kind, m.label)), None):
            personal = True
            own = own or match.start == 0
    return _Table(
        words=name,
        of_people=of_people,
        about_people=said or spoken or (personal and not things),
        own=own and not things,
        spoken=said or spoken,
        things=things,
        linked=linked,
        said=said,
    )


def _classify_column(column: Column, kind: Kind, table: _Table, catalog: Catalog) -> Sensitivity | None:
    if column.comment and (label := from_comment(column.comment)):
        return Sensitivity(label=label, confidence=1.0, because="its comment says so")
    if kind in (Kind.INET, Kind.MAC):
        label = "IP_ADDRESS" if kind is Kind.INET else "MAC_ADDRESS"
        return Sensitivity(label=label, confidence=0.9, because="its type holds nothing else")
    if label := _by_type_name(column, kind, catalog):
        return Sensitivity(label=label, confidence=0.95, because="its type is named so")
    parts = tokens(column.name)
    return (
        _by_person_name(parts, kind, table)
        or _by_phrase(parts, kind, table)
        or _by_whole_name(parts, kind, table)
        or _by_table_and_name(parts, kind, table)
        or _by_content(parts, kind, table)
    )


def _by_type_name(column: Column, kind: Kind, catalog: Catalog) -> str | None:
    declared = catalog.types.get(column.type_oid)
    if declared is None or declared.schema == "pg_catalog" or declared.kind not in "de":
        return None
    parts = tokens(declared.name)
    return next((m.label for m in matches(parts) if m.certain and holds(kind, m.label)), None)


def _by_phrase(parts: Words, kind: Kind, table: _Table) -> Sensitivity | None:
    for match in matches(parts):
        if not holds(kind, match.label, parts[match.start : match.end]):
            continue
        whole = match.end - match.start == len(parts)
        if match.label in _DEMOGRAPHIC and table.things and w.PERSON.isdisjoint(parts):
            continue
        if parts[match.start : match.end] in p.NEEDS_PERSON and not (table.about_people or table.linked):
            continue
        if not match.certain and kind not in (Kind.TEXT, Kind.JSON, Kind.OTHER):
            continue
        confidence = 0.95 if whole else 0.9 if match.certain else 0.6
        return Sensitivity(label=match.label, confidence=confidence, because="its name says so")
    return None


def _by_person_name(parts: Words, kind: Kind, table: _Table) -> Sensitivity | None:
    if not holds(kind, "PERSON_NAME"):
        return None
    at = next((i for i, part in enumerate(parts) if part in w.NAME or _glued_name(part)), None)
    if at is None:
        if len(parts) == 1 and parts[0] in w.PERSON_VALUE and kind is Kind.TEXT and not table.of_people:
            return Sensitivity(label="PERSON_NAME", confidence=0.55, because="it is called after a person")
        return None
    if any(m.start <= at < m.end for m in matches(parts)) or (parts in p.WHOLE_PERSON and table.of_people):
        return None  # a longer phrase says it better: first_name, user_name
    if parts[at] not in w.NAME:
        return Sensitivity(label="PERSON_NAME", confidence=0.85, because="its name is a person's name")
    beside = [part for i, part in enumerate(parts) if i != at]
    if not all(part in w.NAME_BESIDE or part in w.PERSON for part in beside):
        return None
    if not w.NAME_PERSON.isdisjoint(beside) or not w.PERSON.isdisjoint(beside):
        return Sensitivity(label="PERSON_NAME", confidence=0.9, because="its name is a person's name")
    if table.of_people:
        return Sensitivity(label="PERSON_NAME", confidence=0.9, because="its table is of people")
    if table.own and _names_rows(table) and w.NAME_BESIDE_WEAK.issuperset(beside):
        return Sensitivity(label="PERSON_NAME", confidence=0.65, because="its table is about people")
    return None


def _names_rows(table: _Table) -> bool:
    # user_roles.name is the role's: a table named after a person and something else names the latter.
    return w.PERSON.isdisjoint(table.words) and p.VETO_TAIL.isdisjoint(table.words)


def _glued_name(word: str) -> bool:
    return any(
        word.endswith(n) and word[: -len(n)] in w.PERSON for n in ("name", "naam") if len(word) > len(n)
    )


def _by_whole_name(parts: Words, kind: Kind, table: _Table) -> Sensitivity | None:
    core = _strip(parts)
    whose = table.about_people or not w.PERSON.isdisjoint(parts)
    for phrase in dict.fromkeys((parts, core, _strip_place(parts))):
        label = ALONE.get(phrase)
        needs_person = phrase in p.ALONE_PERSON
        if label is None and (label := p.WHOLE_PERSON.get(phrase)):
            needs_person = True
        if label is None:
            continue
        if needs_person and (
            table.things or not (whose or (table.linked and label == "LOCATION_COORDINATES"))
        ):
            continue
        if phrase in p.ROWS_ONLY and not table.of_people:
            continue
        if holds(kind, label, phrase):
            because = "its whole name says so" + (", in a table about people" if needs_person else "")
            return Sensitivity(label=label, confidence=0.7, because=because)
    return None


def _strip(parts: Words) -> Words:
    """Drop whose it is in front, and words that change nothing behind."""
    start, end = 0, len(parts)
    while start < end - 1 and (parts[start] in w.PERSON or parts[start] in p.TAIL):
        start += 1
    while end - 1 > start and parts[end - 1] in p.TAIL:
        end -= 1
    return parts[start:end]


def _strip_place(parts: Words) -> Words:
    """Drop which place it is: ``pickup_lat``."""
    return parts[-1:] if len(parts) > 1 and w.WHERE_BESIDE.issuperset(parts[:-1]) else parts


def _by_table_and_name(parts: Words, kind: Kind, table: _Table) -> Sensitivity | None:
    if not parts or not table.words:
        return None
    # The key of a session row is the session: who knows it, has it. As a uuid or a number it is a surrogate.
    if kind is Kind.TEXT and "session" in table.words[-1:] and parts in w.SESSION_KEYS:
        return Sensitivity(label="AUTH_TOKEN", confidence=0.65, because="it is the key of a session")
    if (
        kind in (Kind.TEXT, Kind.JSON)
        and parts in w.MAIL_FIELDS
        and not w.MAIL_TABLES.isdisjoint(table.words)
    ):
        return Sensitivity(
            label="EMAIL_ADDRESS", confidence=0.65, because="it is a field of a message's header"
        )
    if parts[0] not in _GENERIC:
        return None
    joined = table.words + (parts[1:] if parts[0] == table.words[-1] else parts)
    for match in matches(joined):
        if match.certain and holds(kind, match.label, joined[match.start : match.end]):
            if match.label in _DEMOGRAPHIC:
                continue
            return Sensitivity(
                label=match.label, confidence=0.8, because="it is the value its table is named for"
            )
    return None


def _by_content(parts: Words, kind: Kind, table: _Table) -> Sensitivity | None:
    if kind in (Kind.JSON, Kind.OTHER):
        if table.about_people and not w.PROFILE.isdisjoint(parts) and not table.things:
            return Sensitivity(label="JSON_PII", confidence=0.7, because="details of people in a document")
    elif kind is Kind.TEXT:
        noun = next((part for part in reversed(parts) if part in w.FREE_TEXT), None)
        plain = noun in w.ASIDE or _FREE_TEXT_WORDS.union(table.words).issuperset(parts)
        people = table.about_people and not table.things
        if noun in w.ABOUT_ROWS:
            people = people and (table.spoken or table.own)
        if noun == "subject":  # of a mail; a teacher's is something else
            people = people and not w.SPEECH.isdisjoint(table.words)
        aside = table.linked and noun in w.ASIDE
        if noun and plain and (people or aside or not w.PERSON.isdisjoint(parts)):
            return Sensitivity(label="FREE_TEXT", confidence=0.6, because="people write about people in it")
    if (
        table.said
        and kind in (Kind.TEXT, Kind.JSON, Kind.OTHER, Kind.BYTES)
        and p.VETO_TAIL.isdisjoint(parts[-1:])
    ):
        return Sensitivity(label="PII", confidence=0.5, because="the comment of its table says so")
    return None

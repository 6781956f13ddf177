"""What a column's name means in its table: the rules, strongest first.

A phrase that says it wherever it stands (``email``), a person's name (``name`` where the rows are people), a
whole name too short to be trusted inside a longer one (``pin``), the value that a table is named for, and at
last what people write in: free text and documents. A type that cannot hold the thing overrules each of them.
"""

from __future__ import annotations

from typing import Final

from governed_db.catalog.model import Catalog, Column, Relation
from governed_db.masking import phrases as p
from governed_db.masking import words as w
from governed_db.masking.comments import from_comment
from governed_db.masking.context import PERSON, UNTOLD, Table, table_of
from governed_db.masking.kinds import Kind, holds, kind_of
from governed_db.masking.model import Sensitivity
from governed_db.masking.names import words
from governed_db.masking.spans import ALONE, Words, matches
from governed_db.masking.spelling import read, unprefixed

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

_GENERIC: Final = words("identifier number value address key secret hash digest expiry expiration data")
_CLINICAL_KINDS: Final = frozenset({Kind.TEXT, Kind.JSON})
_NO_TEXT: Final = words("date number key code hash day month year success format count")
_FREE_TEXT_WORDS: Final = w.PERSON | w.FREE_TEXT | w.FREE_TEXT_BESIDE | p.TAIL


def of_relation(relation: Relation, catalog: Catalog) -> dict[int, Sensitivity]:
    """Return what is sensitive among the columns of ``relation``, by their numbers."""
    names = [read(name) for name in unprefixed([c.name for c in relation.columns], relation.name)]
    kinds = [kind_of(c.type_oid, catalog.types) for c in relation.columns]
    table = table_of(relation, names, kinds)
    return {
        column.number: answer
        for column, parts, kind in zip(relation.columns, names, kinds, strict=True)
        if (answer := _of_column(column, parts, kind, table, catalog)) is not None
    }


def label_of(name: str, *, people: bool = False, kind: Kind = Kind.TEXT) -> str | None:
    """Return what a key of a document, or the name of an attribute, says of its value; ``None``: nothing.

    The rules and vetoes are those for columns: ``customer.email`` says it, ``email_verified`` does not.
    ``people``: what has the key is a person, so that ``name`` is a person's name. ``kind``: what the value
    is, where that is known; a text can hold anything.
    """
    answer = _meaning(read(name), kind, PERSON if people else UNTOLD)
    return None if answer is None else answer.label


def _of_column(
    column: Column, parts: Words, kind: Kind, table: Table, catalog: Catalog
) -> Sensitivity | None:
    if column.comment and (label := from_comment(column.comment)):
        return Sensitivity(label=label, confidence=1.0, because="its comment says so", basis="comment")
    if kind in (Kind.INET, Kind.MAC):
        label = "IP_ADDRESS" if kind is Kind.INET else "MAC_ADDRESS"
        because = "its type holds nothing else"
        return Sensitivity(label=label, confidence=0.9, because=because, basis="type")
    if label := _by_type_name(column, kind, catalog):
        return Sensitivity(label=label, confidence=0.95, because="its type is named so", basis="type")
    return _meaning(parts, kind, table)


def _meaning(parts: Words, kind: Kind, table: Table) -> Sensitivity | None:
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
    parts = read(declared.name)
    return next((m.label for m in matches(parts) if m.certain and holds(kind, m.label)), None)


def _by_phrase(parts: Words, kind: Kind, table: Table) -> Sensitivity | None:
    for match in matches(parts):
        if not holds(kind, match.label, parts[match.start : match.end]):
            continue
        whole = match.end - match.start == len(parts)
        if match.label in _DEMOGRAPHIC and table.things and w.PERSON.isdisjoint(parts):
            continue
        phrase = parts[match.start : match.end]
        sick = match.label == "HEALTH" and not w.CLINICAL.isdisjoint(table.words)
        if phrase in p.NEEDS_PERSON and not (table.about_people or table.linked or sick):
            continue
        if phrase in p.TEXT_ONLY and kind is not Kind.TEXT:
            continue
        if not match.certain and kind not in (Kind.TEXT, Kind.JSON, Kind.OTHER):
            continue
        confidence = 0.95 if whole else 0.9 if match.certain else 0.6
        return Sensitivity(label=match.label, confidence=confidence, because="its name says so")
    return None


def _by_person_name(parts: Words, kind: Kind, table: Table) -> Sensitivity | None:
    if not holds(kind, "PERSON_NAME"):
        return None
    at = next((i for i, part in enumerate(parts) if part in w.NAME or _glued_name(part)), None)
    if at is None:
        role = _head(parts)
        known = role in w.PERSON_VALUE or (role in w.SAYS_SO and table.about_people and not table.things)
        sort = len(parts) > 1 and parts[0] in w.SORTS  # Romance languages put first what it is: tipo_cliente
        if known and kind is Kind.TEXT and not _of_thing(parts) and parts[0] not in w.KEYS and not sort:
            because = "it is called after a person"
            return Sensitivity(label="PERSON_NAME", confidence=0.55, because=because)
        return None
    if any(m.start <= at < m.end for m in matches(parts)) or (parts in p.WHOLE_PERSON and table.of_people):
        return None  # a longer phrase says it better: first_name, user_name
    if parts[at] not in w.NAME:
        if parts[0] in p.VETO_FIRST or not p.VETO_TAIL.isdisjoint(parts[at + 1 :]):
            return None
        return Sensitivity(label="PERSON_NAME", confidence=0.85, because="its name is a person's name")
    beside = [part for i, part in enumerate(parts) if i != at]
    # Whatever else is said of them: the joint holder's name, el nombre del cliente.
    whose = parts[at - 1] if at else parts[1] if len(parts) > 1 else ""
    if parts[at] == "name" and whose in w.NO_PERSON_IN_ENGLISH:
        return None
    if whose in w.PERSON and p.VETO_TAIL.isdisjoint(parts[at + 1 :]) and not _of_thing(parts[:at]):
        return Sensitivity(label="PERSON_NAME", confidence=0.9, because="its name is a person's name")
    if not all(part in w.NAME_BESIDE or part in w.PERSON for part in beside):
        return None
    if not w.NAME_PERSON.isdisjoint(beside) or not w.PERSON.isdisjoint(beside):
        return Sensitivity(label="PERSON_NAME", confidence=0.9, because="its name is a person's name")
    if table.of_people:
        # cognome and nome, apellidos y nombre: beside a family name it is the other one.
        label = "FIRST_NAME" if table.surnamed and not beside and parts[at] != "name" else "PERSON_NAME"
        return Sensitivity(label=label, confidence=0.9, because="its table is of people", basis="table")
    if table.own and _names_rows(table) and w.NAME_BESIDE_WEAK.issuperset(beside):
        because = "its table is about people"
        return Sensitivity(label="PERSON_NAME", confidence=0.65, because=because, basis="table")
    return None


def _head(parts: Words) -> str:
    """Return the noun that a name ends in, whatever number follows: ``ordering_physician``."""
    return next((part for part in reversed(parts) if not part.isdigit()), "")


def _of_thing(parts: Words) -> bool:
    # user_client and smtp_user are programs and accounts; is_customer is a question.
    return not w.NOT_OF_PERSON.isdisjoint(parts[:-1])


def _names_rows(table: Table) -> bool:
    # user_roles.name is the role's: a table named after a person and something else names the latter.
    return (
        w.PERSON.isdisjoint(table.words) and p.VETO_TAIL.isdisjoint(table.words) and not matches(table.words)
    )


def _glued_name(word: str) -> bool:
    return any(
        word.endswith(n) and word[: -len(n)] in w.PERSON for n in ("name", "naam") if len(word) > len(n)
    )


def _by_whole_name(parts: Words, kind: Kind, table: Table) -> Sensitivity | None:
    if parts in p.HARMLESS:
        return None
    core = _strip(parts)
    whose = table.about_people or not w.PERSON.isdisjoint(parts)
    for phrase in dict.fromkeys((parts, core, _strip_place(parts, table))):
        label = ALONE.get(phrase)
        if phrase in p.TEXT_ONLY and kind is not Kind.TEXT:
            continue
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
        if phrase == ("location",) and kind is Kind.TEXT and not (table.of_people and parts == phrase):
            continue  # where it happened or one works, in words; as a point it is where somebody was
        if holds(kind, label, phrase):
            because = "its whole name says so" + (", in a table about people" if needs_person else "")
            basis = "table" if needs_person else "name"
            return Sensitivity(label=label, confidence=0.7, because=because, basis=basis)
    return None


def _strip(parts: Words) -> Words:
    """Drop whose it is in front, and words that change nothing behind."""
    start, end = 0, len(parts)
    while start < end - 1 and (
        parts[start] in w.PERSON or parts[start] in p.TAIL or (start and parts[start].isdigit())
    ):
        start += 1
    while end - 1 > start and (parts[end - 1] in p.TAIL or parts[end - 1].isdigit()):
        end -= 1
    return parts[start:end]


def _strip_place(parts: Words, table: Table) -> Words:
    """Drop which place it is: ``pickup_lat``."""
    return (
        parts[-1:]
        if len(parts) > 1 and w.WHERE_BESIDE.union(w.PERSON, table.words).issuperset(parts[:-1])
        else parts
    )


def _by_table_and_name(parts: Words, kind: Kind, table: Table) -> Sensitivity | None:
    if not parts or not table.words:
        return None
    # The key of a session row is the session: who knows it, has it. As a uuid or a number it is a surrogate.
    if kind is Kind.TEXT and "session" in table.words[-1:] and parts in w.SESSION_KEYS:
        because = "it is the key of a session"
        return Sensitivity(label="AUTH_TOKEN", confidence=0.65, because=because, basis="table")
    if kind is Kind.TEXT and table.secured and parts in w.LOGINS:
        because = "it stands beside a password"
        return Sensitivity(label="USERNAME", confidence=0.6, because=because, basis="table")
    if (
        kind in (Kind.TEXT, Kind.JSON)
        and parts in w.MAIL_FIELDS
        and (table.mail or not w.MAIL_TABLES.isdisjoint(table.words))
    ):
        because = "it is a field of a message's header"
        return Sensitivity(label="EMAIL_ADDRESS", confidence=0.65, because=because, basis="table")
    if (
        kind in _CLINICAL_KINDS
        and not w.CLINICAL.isdisjoint(table.words)
        and not table.things
        and not w.CLINICAL_FIELDS.isdisjoint(parts[-1:])
        and w.CLINICAL_FIELDS.union(table.words, w.CLINICAL).issuperset(parts)
    ):
        because = "its table is of what patients have"
        return Sensitivity(label="HEALTH", confidence=0.6, because=because, basis="table")
    if kind is Kind.GEO and table.of_people:
        because = "a place in a table of people"
        return Sensitivity(label="LOCATION_COORDINATES", confidence=0.6, because=because, basis="table")
    if parts[0] not in _GENERIC:
        return None
    joined = table.words + (parts[1:] if parts[0] == table.words[-1] else parts)
    for match in matches(joined):
        if match.certain and holds(kind, match.label, joined[match.start : match.end]):
            if match.label in _DEMOGRAPHIC:
                continue
            because = "it is the value its table is named for"
            return Sensitivity(label=match.label, confidence=0.8, because=because, basis="table")
    return None


def _by_content(parts: Words, kind: Kind, table: Table) -> Sensitivity | None:
    if kind in (Kind.JSON, Kind.OTHER):
        if table.about_people and not w.PROFILE.isdisjoint(parts) and not table.things:
            because = "details of people in a document"
            return Sensitivity(label="JSON_PII", confidence=0.7, because=because, basis="table")
    elif kind is Kind.TEXT:
        noun = next((part for part in reversed(parts) if part in w.FREE_TEXT), None)
        if not _NO_TEXT.isdisjoint(parts[-1:]):
            noun = None
        plain = (
            noun in w.ASIDE
            or (table.heads and parts[-1:] == (noun,))
            or _FREE_TEXT_WORDS.union(table.words).issuperset(parts)
        )
        people = table.about_people and not table.things
        if noun in w.ABOUT_ROWS:
            people = people and (table.spoken or table.own)
        if noun == "subject":  # of a mail; a teacher's is something else
            people = people and not w.SPEECH.isdisjoint(table.words)
        aside = table.linked and noun in w.ASIDE
        if noun and plain and (people or aside or not w.PERSON.isdisjoint(parts)):
            because = "people write about people in it"
            return Sensitivity(label="FREE_TEXT", confidence=0.6, because=because, basis="table")
    if (
        table.said
        and kind in (Kind.TEXT, Kind.JSON, Kind.OTHER, Kind.BYTES)
        and p.VETO_TAIL.isdisjoint(parts[-1:])
    ):
        because = "the comment of its table says so"
        return Sensitivity(label="PII", confidence=0.5, because=because, basis="comment")
    return None

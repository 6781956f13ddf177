"""What a table says about its columns: whether its rows are people, things or messages."""

from __future__ import annotations

from typing import Final

from attrs import evolve, frozen

from governed_db.catalog.model import Relation
from governed_db.masking import phrases as p
from governed_db.masking import words as w
from governed_db.masking.comments import says_personal
from governed_db.masking.kinds import Kind, holds
from governed_db.masking.spans import ALONE, Match, Words, matches
from governed_db.masking.spelling import read

_PERSONAL: Final = frozenset(
    {
        "EMAIL_ADDRESS", "PHONE_NUMBER", "FIRST_NAME", "LAST_NAME", "DATE_OF_BIRTH", "NATIONAL_ID",
        "US_SOCIAL_SECURITY_NUMBER", "PASSWORD", "GENDER", "MEDICAL_RECORD_NUMBER", "IMSI_ID", "PASSPORT",
    }
)  # fmt: skip
"""Labels that make their table one about people, whatever it is called."""

_HUMAN: Final = frozenset(
    {
        "MARITAL_STATUS", "US_SOCIAL_SECURITY_NUMBER", "RELIGION", "FIRST_NAME", "LAST_NAME",
    }
)  # fmt: skip
"""Labels that nothing but a person has, where they begin the column's name."""
_LIVING: Final = frozenset({"DATE_OF_BIRTH", "ETHNIC_GROUP"})
"""Labels that horses have as well, but that make other rows people."""


@frozen(kw_only=True)
class Table:
    """What a column's table says about it."""

    words: Words
    of_people: bool  # its rows are people: "customers", "user_accounts"
    about_people: bool  # people are in it: "orders" with a customer's phone, "tickets"
    things: bool  # its rows are places, organisations, products
    own: bool  # its rows have an email, a birth date, ... of their own ("email", not "owner_email")
    spoken: bool  # its name speaks of people or of what they say
    linked: bool  # a column refers to a person
    said: bool  # its comment says that it is personal
    heads: bool  # its name ends in what people are, or its rows have what only people have
    secured: bool  # its rows have a password
    mail: bool  # its rows have the header of a message
    surnamed: bool  # its rows have a family name and nothing called a first one


UNTOLD: Final = Table(
    words=(),
    of_people=False,
    about_people=False,
    things=False,
    own=False,
    spoken=False,
    linked=False,
    said=False,
    heads=False,
    secured=False,
    mail=False,
    surnamed=False,
)
PERSON: Final = evolve(UNTOLD, of_people=True, about_people=True, own=True, spoken=True, heads=True)
"""Of what stands alone, and of a person."""


def table_of(relation: Relation, names: list[Words], kinds: list[Kind]) -> Table:
    """Return what ``relation`` says; ``names`` and ``kinds`` are of its columns, in order."""
    name = _bare(read(relation.name))
    first, last = name[:1], name[-1:]
    labels = [_labels(parts, kind) for parts, kind in zip(names, kinds, strict=True)]
    every = {m.label for found in labels for m in found}
    human = {m.label for found in labels for m in found if m.start == 0} & (_HUMAN | _LIVING)
    if ("is", "company") in names:
        human.add("FIRST_NAME")  # those that are no companies
    things = not w.THINGS.isdisjoint(last) or (not w.THINGS.isdisjoint(first) and len(name) == 1)
    things = things and human.isdisjoint(_HUMAN) and w.SPEECH.isdisjoint(name)
    # A client that has a secret and no birthday is a program.
    program = name == ("client",) and not human and any(m.label == "SECRET" for f in labels for m in f)
    things = things or program
    # English puts the head last ("bank_customers"), Romance languages first ("clientes_activos").
    if len(name) > 1 and first[0] in w.ADJECTIVES:
        first = ()
    of_people = not things and (bool(human) or not w.PERSON.isdisjoint((*first, *last)))
    of_people = of_people and p.VETO_TAIL.isdisjoint(last)
    spoken = not w.PERSON.isdisjoint(name) or (not w.SPEECH.isdisjoint(name) and p.VETO_TAIL.isdisjoint(last))
    said = says_personal(relation.comment)
    personal = own = linked = False
    for parts, found in zip(names, labels, strict=True):
        key = len(parts) > 1 and not w.KEYS.isdisjoint((parts[0], parts[-1]))
        linked = linked or (key and not w.PERSON.isdisjoint(parts))
        if match := next((m for m in found if m.label in _PERSONAL), None):
            personal = True
            own = own or match.start == 0
    return Table(
        words=name,
        of_people=of_people,
        about_people=said or spoken or (personal and not things),
        own=own and not things,
        spoken=said or spoken,
        things=things,
        linked=linked,
        said=said,
        heads=of_people and (bool(human) or not w.PERSON.isdisjoint(last)),
        surnamed="LAST_NAME" in every and "FIRST_NAME" not in every,
        mail=len(w.MAIL_HEADER.intersection(names)) > 1,
        secured=any(m.label == "PASSWORD" for f in labels for m in f),
    )


def _labels(parts: Words, kind: Kind) -> list[Match]:
    found = [m for m in matches(parts) if holds(kind, m.label, parts[m.start : m.end])]
    if (
        not found
        and parts not in p.ALONE_PERSON
        and (label := ALONE.get(parts))
        and holds(kind, label, parts)
    ):
        return [Match(0, len(parts), label, certain=True)]
    return found


def _bare(name: Words) -> Words:
    """Drop what says how a table is kept, not what is in it: ``tbl_customer_mstr``."""
    start, end = 0, len(name)
    while end - start > 1 and (name[end - 1] in w.TABLE_AFFIX or name[end - 1].isdigit()):
        end -= 1
    while end - start > 1 and (name[start] in w.TABLE_AFFIX or len(name[start]) == 1):
        start += 1
    return name[start:end]

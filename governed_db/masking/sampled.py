"""What a governor knows from sampled values: which columns are looked at, what they said, when to look again.

Only columns are looked at that names, types and comments left undecided, and whose type can hold anything. A
verdict that a column is sensitive stands until its relation's columns change. That it is not stands for
:data:`SETTLED` seconds, and where the sample was too small to say so, for as long as the policy says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from threading import Lock
from typing import Final, TypeAlias

from attrs import define, evolve, field, frozen

from governed_db.catalog.bound import Source
from governed_db.catalog.context import memo
from governed_db.catalog.model import Catalog, Column, Relation
from governed_db.locks import lock
from governed_db.masking import detect, documents
from governed_db.masking import words as w
from governed_db.masking.detect import Context, Verdict
from governed_db.masking.kinds import Kind, kind_of
from governed_db.masking.lineage import SYSTEM
from governed_db.masking.model import Sensitivity
from governed_db.masking.names import tokens

__all__ = ["Held", "Judged", "Samples", "Verdict", "Wanted", "judge", "wanted"]

SETTLED: Final = 3600.0
"""Seconds after which a column that was found to hold nothing sensitive is looked at again: data changes, and
a few milliseconds an hour are nothing."""

ENOUGH: Final = 20
"""Distinct values that settle a verdict. With few, the weaker detectors could not have spoken (a check digit
needs three), and a column of which a tenth is somebody's shows it in 20 with a probability of .88."""

SHORTEST: Final = 6
"""Characters below which no class fits: ``a@b.cd`` has six."""

MAX_PARTS: Final = 64
"""Partitions or children that one sample reads from: a millisecond or less for each. What is left out lies in
the middle of their order of creation."""

SEPARATOR: Final = "\x1f"
"""Between the elements of an array: ASCII's unit separator, which people do not type."""

_SAMPLED: Final = frozenset("rpm")  # tables, partitioned tables, materialised views: what TABLESAMPLE takes
_STORED: Final = frozenset("rm")
_PEOPLE: Final = frozenset(
    {
        "EMAIL_ADDRESS", "PHONE_NUMBER", "FIRST_NAME", "LAST_NAME", "PERSON_NAME", "DATE_OF_BIRTH",
        "NATIONAL_ID", "US_SOCIAL_SECURITY_NUMBER", "PASSWORD", "GENDER", "PASSPORT", "MEDICAL_RECORD_NUMBER",
    }
)  # fmt: skip
"""Labels that make their table one about people."""


UNSEEN: Final = "masking.unsampled"
"""The rule that refuses what reads a relation whose values the server could not show for the moment."""


class Held(Enum):
    """How the values of a column are read."""

    TEXT = auto()
    NUMBER = auto()
    DATE = auto()
    MOMENT = auto()
    BYTES = auto()
    DOCUMENT = auto()
    ARRAY = auto()
    NAME = auto()  # only beside others: it may say what attribute they are


@frozen
class Asked:
    """A column to sample, and how."""

    column: Column
    held: Held


@frozen(kw_only=True)
class Wanted:
    """A relation to sample.

    Attributes:
        relation: the relation as a statement names it.
        columns: those to judge.
        beside: those that may say what the others are.
        parts: where its rows are stored: itself, partitions, children.
        personal: whether other columns of it are somebody's.
    """

    relation: Relation
    columns: tuple[Asked, ...]
    beside: tuple[Asked, ...] = ()
    parts: tuple[Relation, ...] = ()
    personal: bool = False


@frozen
class Judged:
    """What was seen of one column: ``None`` for "nothing sensitive", and how many distinct values."""

    verdict: Verdict | None
    distinct: int


def wanted(catalog: Catalog, relation: Relation, sensitive: Mapping[Source, Sensitivity]) -> Wanted | None:
    """Return what of ``relation`` values could still tell, or ``None`` where that is nothing."""
    if relation.kind not in _SAMPLED or relation.schema.startswith(SYSTEM):
        return None
    personal = _personal(relation, sensitive)
    columns: list[Asked] = []
    beside: list[Asked] = []
    for column in relation.columns:
        held = _held(column, catalog)
        decided = Source(relation.oid, column.number) in sensitive
        if held is not None and held is not Held.NAME and not decided:
            columns.append(Asked(column, held))
        if held in (Held.NAME, Held.TEXT) and documents.names_attributes(column.name):
            beside.append(Asked(column, Held.NAME))
    if not columns:
        return None
    if not any(documents.holds_values(asked.column.name) for asked in columns):
        beside = []
    return Wanted(
        relation=relation,
        columns=tuple(columns),
        beside=tuple(beside),
        parts=_parts(catalog, relation),
        personal=personal,
    )


def _personal(relation: Relation, sensitive: Mapping[Source, Sensitivity]) -> bool:
    if not w.THINGS.isdisjoint(tokens(relation.name)[-1:]):
        return False
    labels = {
        why.label
        for column in relation.columns
        if (why := sensitive.get(Source(relation.oid, column.number))) is not None
    }
    return not labels.isdisjoint(_PEOPLE)


_INTEGERS: Final = frozenset({20, 23, 1700})  # int8, int4, numeric: what holds eight digits or more
_TSVECTOR: Final = 3614  # words of a text, kept as they were written
_TEXTS_OF_LENGTH: Final = frozenset({1042, 1043})


def _held(column: Column, catalog: Catalog) -> Held | None:
    kind = kind_of(column.type_oid, catalog.types)
    oid, array = _base(column.type_oid, catalog)
    if any(cast.source in (oid, column.type_oid) and cast.function for cast in catalog.casts.get(25, ())):
        return None  # turning it into text would run a function of somebody's
    if array:
        return Held.ARRAY if kind in (Kind.TEXT, Kind.JSON) else None
    if kind is Kind.TEXT:
        length = column.type_modifier - 4
        return None if oid == 18 or (oid in _TEXTS_OF_LENGTH and 0 < length < SHORTEST) else Held.TEXT
    if kind is Kind.JSON:
        return Held.DOCUMENT
    row = catalog.types.get(oid)
    if oid == _TSVECTOR or (row is not None and row.kind == "c"):
        return Held.TEXT
    if kind is Kind.ENUM:
        return Held.NAME
    if kind is Kind.DATE:
        return Held.DATE if detect.says_nothing(column.name) else None
    if kind is Kind.MOMENT:
        return Held.MOMENT if detect.says_nothing(column.name) else None
    if kind is Kind.BYTES:
        return Held.BYTES
    if oid in _INTEGERS:
        # numeric(p,s) keeps its scale in the lower half, plus four (numeric.c): money has one, ids have none.
        scaled = oid == 1700 and column.type_modifier > 4 and (column.type_modifier - 4) & 0x7FF
        return None if scaled else Held.NUMBER
    return None


def _base(oid: int, catalog: Catalog) -> tuple[int, bool]:
    """Return the type under all domains, and whether it is an array."""
    for _ in range(32):
        declared = catalog.types.get(oid)
        if declared is None or declared.kind != "d" or not declared.base:
            break
        oid = declared.base
    return oid, (declared is not None and declared.category == "A") or oid in _ARRAYS


_ARRAYS: Final = frozenset({1002, 1003, 1009, 1014, 1015, 143, 199, 3807})  # of texts and documents


def _parts(catalog: Catalog, relation: Relation) -> tuple[Relation, ...]:
    found = {relation.oid: relation}
    todo = [relation]
    children = memo(catalog).children
    while todo:
        for child in children.get(todo.pop().oid, ()):
            if child.oid not in found:
                found[child.oid] = child
                todo.append(child)
    stored = sorted((r for r in found.values() if r.kind in _STORED), key=lambda r: r.oid)
    # The first and the last: what was there from the start, and what comes in now.
    half = MAX_PARTS // 2
    return tuple(stored if len(stored) <= MAX_PARTS else (*stored[:half], *stored[-half:]))


def judge(wanted: Wanted, rows: Sequence[Sequence[str | None]]) -> dict[int, Judged]:
    """Return what ``rows`` say of each column in ``wanted.columns``, by its number.

    Args:
        wanted: what was asked for.
        rows: the values as text, of ``wanted.columns`` and then ``wanted.beside``.
    """
    found = _judge(wanted, rows, wanted.personal)
    labels = {each.verdict.label for each in found.values() if each.verdict is not None}
    things = not w.THINGS.isdisjoint(tokens(wanted.relation.name)[-1:])
    if not wanted.personal and not things and not labels.isdisjoint(_PEOPLE):
        again = _judge(wanted, rows, True)
        found = {number: each if each.verdict else again[number] for number, each in found.items()}
    return found


def _judge(wanted: Wanted, rows: Sequence[Sequence[str | None]], personal: bool) -> dict[int, Judged]:
    width = len(wanted.columns)
    beside = [[row[at] or "" for row in rows] for at in range(width, width + len(wanted.beside))]
    attributes = [
        (names, verdict) for names in beside if (verdict := documents.attributes(names, people=personal))
    ]
    found: dict[int, Judged] = {}
    for at, asked in enumerate(wanted.columns):
        values = [value for row in rows if (value := row[at]) is not None]
        context = Context(name=asked.column.name, personal=personal, number=asked.held is Held.NUMBER)
        verdict = next(
            (
                said
                for names, said in attributes
                if values and documents.of_attributes(asked.column.name, names, values)
            ),
            None,
        )
        verdict = verdict or _of_values(asked.held, values, context)
        found[asked.column.number] = Judged(verdict, len(set(values)))
    return found


_BINARY: Final = re.compile(r"\\000|[\x01-\x08\x0e-\x1f]")
"""What no text has, and images, archives and cipher text have early, as encode()'s "escape" writes it."""


def _of_values(held: Held, values: list[str], context: Context) -> Verdict | None:
    if held is Held.ARRAY:
        values = [part for value in values for part in value.split(SEPARATOR)]
    if held is Held.BYTES:
        values = [value for value in values if _BINARY.search(value) is None]
    if held is Held.NUMBER:
        values = [digits for value in values if (digits := value.removesuffix(".0"))]
    if held is Held.DOCUMENT or (
        held in (Held.TEXT, Held.ARRAY, Held.BYTES) and documents.looks_like(values)
    ):
        verdict = documents.judge(values, context)
        if verdict is not None or held is Held.DOCUMENT:
            return verdict
    return detect.judge(values, context)


# -- what is remembered

_Fingerprint: TypeAlias = tuple[int, str, str, tuple[tuple[int, str, int], ...]]


def _fingerprint(relation: Relation) -> _Fingerprint:
    columns = tuple((c.number, c.name, c.type_oid) for c in relation.columns)
    return (relation.oid, relation.schema, relation.name, columns)


@define(eq=False)
class Samples:
    """What sampled values said, for every database of a governor. Safe with threads.

    ``version`` changes whenever something is known to be sensitive that was not before.
    """

    version: int = 0
    _due: dict[tuple[tuple[object, ...], _Fingerprint], dict[int, float]] = field(factory=dict)
    _verdicts: dict[_Fingerprint, dict[int, Verdict]] = field(factory=dict)
    _told: set[tuple[str, str]] = field(factory=set)
    _lock: Lock = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lock = lock(self)

    def due(self, where: tuple[object, ...], wanted: Wanted, now: float) -> Wanted | None:
        """Return what of ``wanted`` has to be looked at, ``None`` for nothing.

        Args:
            where: the database, and the role where the relation shows rows by role.
            wanted: what could be looked at.
            now: of the monotonic clock.
        """
        known = self._due.get((where, _fingerprint(wanted.relation)), {})
        columns = tuple(a for a in wanted.columns if known.get(a.column.number, -math.inf) <= now)
        return evolve(wanted, columns=columns) if columns else None

    def until(self, where: tuple[object, ...], wanted: Wanted) -> float:
        """Return when something of ``wanted`` has to be looked at again, by the monotonic clock."""
        known = self._due.get((where, _fingerprint(wanted.relation)), {})
        return min((known.get(a.column.number, -math.inf) for a in wanted.columns), default=math.inf)

    def learn(
        self,
        where: tuple[object, ...],
        wanted: Wanted,
        found: Mapping[int, Judged],
        now: float,
        again: float,
    ) -> None:
        """Remember what was seen; columns that ``found`` lacks could not be looked at.

        Args:
            where: as for :meth:`due`.
            wanted: what was asked for.
            found: by column number.
            now: of the monotonic clock.
            again: seconds after which what is not settled is looked at again.
        """
        print_ = _fingerprint(wanted.relation)
        with self._lock:
            due = self._due.setdefault((where, print_), {})
            verdicts = self._verdicts.setdefault(print_, {})
            for asked in wanted.columns:
                number = asked.column.number
                judged = found.get(number)
                settled = judged is not None and judged.distinct >= ENOUGH
                due[number] = now + (max(SETTLED, again) if settled else again)
                if judged is not None and judged.verdict is not None and number not in verdicts:
                    verdicts[number] = judged.verdict
                    self.version += 1

    def verdicts(self, catalog: Catalog) -> dict[Source, Verdict]:
        """Return what is known of the columns of ``catalog``.

        Two databases of the same definitions, OIDs included, are copies of one template: what is sensitive
        in one of them counts in both.
        """
        found: dict[Source, Verdict] = {}
        for print_, columns in list(self._verdicts.items()):
            relation = catalog.relations.get(print_[0])
            if relation is not None and _fingerprint(relation) == print_:
                found.update((Source(relation.oid, n), v) for n, v in list(columns.items()))
        return found

    def sensitive(self, catalog: Catalog) -> dict[Source, Sensitivity]:
        """Return the same as :func:`governed_db.masking.classify` takes it."""
        return {
            source: Sensitivity(label=v.label, confidence=v.confidence, because=v.evidence, basis="values")
            for source, v in self.verdicts(catalog).items()
        }

    def first_told(self, relation: Relation, because: str) -> bool:
        """Return whether this is the first time that ``because`` is said of ``relation``."""
        key = (str(relation), because)
        with self._lock:
            if key in self._told:
                return False
            self._told.add(key)
            return True

    def told(self) -> tuple[tuple[str, str], ...]:
        """Return the relations that could not be looked at, each with why, sorted."""
        return tuple(sorted(self._told))

    def forget(self, relations: Iterable[Relation]) -> None:
        """Have ``relations`` looked at again when they are next read."""
        oids = {relation.oid for relation in relations}
        with self._lock:
            for key in [k for k in self._due if k[1][0] in oids]:
                del self._due[key]

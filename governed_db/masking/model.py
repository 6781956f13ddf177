"""MASK: what is sensitive, and what is done about it in one result."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen

from governed_db.catalog.bound import Source
from governed_db.masking.slots import Given


class Strategy(StrEnum):
    """What becomes of a value."""

    REDACT = "redact"
    NULLIFY = "nullify"
    PARTIAL = "partial"
    PSEUDONYM = "pseudonym"
    TOKEN = "token"  # noqa: S105 - the name of a strategy
    DATE_SHIFT = "date_shift"
    GENERALISE = "generalise"
    BUCKET = "bucket"
    FAKE = "fake"
    FORMAT_PRESERVING = "format_preserving"


KEYED = frozenset(
    {Strategy.PSEUDONYM, Strategy.TOKEN, Strategy.DATE_SHIFT, Strategy.FAKE, Strategy.FORMAT_PRESERVING}
)
"""Strategies that need a key. A policy that asks for one is refused where there is none."""


@frozen(kw_only=True)
class Treatment:
    """A strategy with what it needs to know.

    Attributes:
        strategy: what becomes of a value.
        days: of DATE_SHIFT: how far a date may move, either way.
        width: of BUCKET: how wide a bucket is, in the column's own unit.
        keep: of GENERALISE: how much is kept: leading characters of a text, digits of a number, or
            the part of a date ("year", "month") as 1 or 2.
        locale: of FAKE: Faker's name of the language.
    """

    strategy: Strategy = Strategy.REDACT
    days: int = 30
    width: int = 10
    keep: int = 1
    locale: str = "en_US"


REDACTED = Treatment()


@frozen(kw_only=True)
class Terms:
    """What a policy says to one caller about columns that are masked for it.

    Attributes:
        treatments: by label; labels that are not in it are redacted.
        redacts: whether a statement that computes with a masked column runs over redacted values;
            otherwise it is refused.
        equality: labels whose columns may be compared for equality with values that the caller gives.
        resolves: whether tokens that the caller gives back become the values they stand for.
        writes: whether columns that the caller reads masked may be written at all.
    """

    treatments: Mapping[str, Treatment] = field(factory=dict)
    redacts: bool = False
    equality: frozenset[str] = frozenset()
    resolves: bool = False
    writes: bool = True

    def treatment(self, label: str) -> Treatment:
        """Return what becomes of values of ``label``."""
        return self.treatments.get(label, REDACTED)


@frozen(kw_only=True)
class Sensitivity:
    """Why a column counts as sensitive. ``label`` is a Google DLP infoType or one of ours ("SECRET").

    ``basis`` says which evidence spoke: "policy", "comment", "type", "name", "table", "lineage", "values".
    """

    label: str
    confidence: float
    because: str
    basis: str = "name"


ANYTHING = "PII"
"""The label of a column that can hold values of any kind: documents, what triggers put by."""


@frozen(kw_only=True)
class ColumnMask:
    """One masked column of a result."""

    index: int
    name: str  # relation.column, for records and messages
    label: str
    treatment: Treatment
    sources: frozenset[Source] = field(repr=False)
    type_oid: int = 0  # of the source column, base type of a domain
    max_length: int = 0  # characters of a varchar(n) or char(n); 0: no limit
    basis: str = ""  # as of Sensitivity

    @property
    def strategy(self) -> Strategy:
        """What becomes of its values."""
        return self.treatment.strategy


@frozen(kw_only=True)
class Refusal:
    """A sensitive column used where no mask can follow it."""

    column: str  # relation.column
    label: str
    clause: str
    location: int


@frozen(kw_only=True)
class Redacted:
    """A column whose values a statement never had: it ran over redacted ones."""

    name: str  # relation.column
    label: str


@frozen(kw_only=True)
class MaskPlan:
    """What to do with the rows of one statement.

    Attributes:
        masks: by output index.
        refusals: uses that forbid running it at all; empty for a plan that can be run.
        origins: per output index the (table OID, column number) libpq must report for a column that the
            plan took for plain, or ``None`` where it may report none. A result that disagrees is withheld.
        scrub_errors: whether the server's error text can hold sensitive values.
        redacted: what the statement reads redacted; not empty: it is sent in the place of another.
        unredacted: why it cannot run over redacted values, where that was wanted.
        given: what matters of the values that the caller gives, ``None`` where nothing does.
    """

    masks: tuple[ColumnMask, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    origins: tuple[frozenset[tuple[int, int]] | None, ...] | None = None
    scrub_errors: bool = False
    redacted: tuple[Redacted, ...] = ()
    unredacted: str = ""
    given: Given | None = None


OPEN = MaskPlan()
"""The plan for callers who see everything."""

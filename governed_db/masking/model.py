"""MASK: what is sensitive, and what is done about it in one result."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from governed_db.catalog.bound import Source


class Strategy(StrEnum):
    """What becomes of a value."""

    REDACT = "redact"
    NULLIFY = "nullify"
    PARTIAL = "partial"


@frozen(kw_only=True)
class Sensitivity:
    """Why a column counts as sensitive. ``label`` is a Google DLP infoType or one of ours ("SECRET")."""

    label: str
    confidence: float
    because: str


ANYTHING = "PII"
"""The label of a column that can hold values of any kind: documents, what triggers put by."""


@frozen(kw_only=True)
class ColumnMask:
    """One masked column of a result."""

    index: int
    name: str  # relation.column, for records and messages
    label: str
    strategy: Strategy
    sources: frozenset[Source] = field(repr=False)
    type_oid: int = 0  # of the source column, base type of a domain


@frozen(kw_only=True)
class Refusal:
    """A sensitive column used where no mask can follow it."""

    column: str  # relation.column
    label: str
    clause: str
    location: int


@frozen(kw_only=True)
class MaskPlan:
    """What to do with the rows of one statement.

    Attributes:
        masks: by output index.
        refusals: uses that forbid running it at all; empty for a plan that can be run.
        origins: per output index the (table OID, column number) libpq must report for a column that the
            plan took for plain, or ``None`` where it may report none. A result that disagrees is withheld.
        scrub_errors: whether the server's error text can hold sensitive values.
    """

    masks: tuple[ColumnMask, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    origins: tuple[frozenset[tuple[int, int]] | None, ...] | None = None
    scrub_errors: bool = False


OPEN = MaskPlan()
"""The plan for callers who see everything."""

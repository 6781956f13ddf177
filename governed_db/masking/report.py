"""A classification as people review it: one entry a column, what they decided, what has changed since.

Decisions are of people, verdicts are found anew each time. An entry that nobody has looked at never takes a
mask away; one that somebody rejected does, as long as the column is what it was when they looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from attrs import evolve, field, frozen

AUTO: Final = "auto"
CONFIRMED: Final = "confirmed"
REJECTED: Final = "rejected"
DECISIONS: Final = (AUTO, CONFIRMED, REJECTED)
"""What ``decided`` can say; anything else there is the label that a person gave."""

LINEAGE: Final = "lineage"
"""The basis of a verdict that follows from that of another column."""

VALUES: Final = "values"
"""The basis of a verdict that sampled values alone tell."""

Path: TypeAlias = tuple[str, str, str]
"""Schema, relation and column, unquoted."""

KINDS: Final[Mapping[str, str]] = {
    "r": "table",
    "p": "table",  # whether a table has partitions says nothing of what its columns hold
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
"""What the relations that hold data are called, by pg_class.relkind."""


@frozen(kw_only=True)
class Entry:
    """One column.

    Attributes:
        type: its type as SQL writes it; "" where a person wrote the entry without it.
        of: what it is a column of: "table", "view", "materialized view" or "foreign table"; "" likewise.
        label: what it was found to hold, "" for nothing sensitive.
        confidence, basis, because: as of :class:`~governed_db.masking.model.Sensitivity`. A column left
            plain although it looked like something has a ``because`` alone.
        decided: :data:`AUTO`, :data:`CONFIRMED`, :data:`REJECTED`, or the label that a person gave.
        note: what people want to say about it.
    """

    type: str = ""
    of: str = ""
    label: str = ""
    confidence: float = 0.0
    basis: str = ""
    because: str = ""
    decided: str = AUTO
    note: str = ""

    @property
    def given(self) -> str:
        """The label it is masked under as far as this entry says, "" for none."""
        if self.decided == REJECTED:
            return ""
        return self.label if self.decided in (AUTO, CONFIRMED) else self.decided

    def describes(self, other: Entry) -> bool:
        """Return whether ``other`` is of the same type, in the same kind of relation."""
        return self.type == other.type and self.of == other.of


Entries: TypeAlias = Mapping[Path, Entry]


class Kind(StrEnum):
    """In what a column differs from last time."""

    NEW = "new"
    GONE = "gone"
    TYPE = "type"
    VERDICT = "verdict"


@frozen(kw_only=True)
class Change:
    """One difference between two classifications. ``said`` is the difference in words, without the column."""

    path: Path
    kind: Kind
    said: str
    before: Entry | None = field(default=None, repr=False)
    after: Entry | None = field(default=None, repr=False)


def compare(before: Entries, after: Entries, evidence: Entries | None = None) -> tuple[Change, ...]:
    """Return what differs, sorted by column.

    Args:
        before: the last classification, with what people have decided since.
        after: what was found now, in the light of these decisions.
        evidence: what was found without them: a verdict that only a decision about another column has
            changed is no change.
    """
    changes = [
        change
        for path in sorted({*before, *after})
        if (change := _change(path, before.get(path), after.get(path))) is not None
        and not (change.kind is Kind.VERDICT and evidence and evidence[path].label == before[path].label)
    ]
    return tuple(changes)


def _change(path: Path, old: Entry | None, new: Entry | None) -> Change | None:
    if new is None:
        assert old is not None
        lost = "" if old.decided == AUTO else f", and with it the decision {old.decided!r}"
        return Change(path=path, kind=Kind.GONE, said=f"gone, it was {_called(old)}{lost}", before=old)
    if old is None:
        said = f"new: {_called(new)}" + (f", {new.because}" if new.because else "")
        return Change(path=path, kind=Kind.NEW, said=said, after=new)
    if (old.type and old.type != new.type) or (old.of and old.of != new.of):
        what = (
            f"its type was {old.type} and is {new.type}"
            if old.type != new.type
            else f"it was of a {old.of} and is of a {new.of}"
        )
        void = ", so the rejection no longer holds" if old.decided == REJECTED else ""
        if old.label != new.label and (old.label or old.decided == AUTO):
            what += f", and it was {_called(old)} and is {_called(new)}"
        return Change(path=path, kind=Kind.TYPE, said=what + void, before=old, after=new)
    if old.label != new.label and (old.label or old.decided == AUTO):
        said = f"it was {_called(old)} and is {_called(new)}" + (f": {new.because}" if new.because else "")
        held = "" if old.decided == AUTO else f"; the decision {old.decided!r} holds"
        return Change(path=path, kind=Kind.VERDICT, said=said + held, before=old, after=new)
    return None


def _called(entry: Entry) -> str:
    return entry.label or "plain"


def merged(before: Entries, after: Entries) -> dict[Path, Entry]:
    """Return ``after`` with what people decided and noted in ``before``.

    A rejection of a column that is no longer what it was becomes :data:`AUTO`; a confirmation of a label
    that is no longer found becomes that label.
    """
    kept: dict[Path, Entry] = {}
    for path, found in after.items():
        old, new = before.get(path), found
        if old is not None:
            # Another sample counts otherwise and says the same: that is no difference to review.
            same = (old.label, old.basis, old.type) == (new.label, VALUES, new.type)
            new = evolve(_evidence(old, new) if same else new, decided=_decision(old, new), note=old.note)
        kept[path] = new
    return dict(sorted(kept.items()))


def _decision(old: Entry, new: Entry) -> str:
    if old.decided == REJECTED:
        return REJECTED if old.describes(new) else AUTO
    if old.decided == CONFIRMED and old.label != new.label:
        return old.label
    return old.decided


def unsampled(before: Entries, after: Entries) -> dict[Path, Entry]:
    """Return ``after``, found without a look at rows, with what only rows had told in ``before``."""
    return {
        path: _evidence(old, new)
        if (old := before.get(path)) is not None
        and old.basis == VALUES
        and not new.label
        and old.describes(new)
        else new
        for path, new in after.items()
    }


def _evidence(old: Entry, new: Entry) -> Entry:
    return evolve(new, label=old.label, confidence=old.confidence, basis=old.basis, because=old.because)

"""Where values that a caller gives meet masked columns, as a plan knows it before it sees the values."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from governed_db.catalog.bound import Operand


@frozen(kw_only=True)
class Slot:
    """One place where a value of the caller meets a masked column.

    Attributes:
        operand: which value, and where it stands.
        column: schema.relation.column, for messages.
        labels: the classes of values that the column holds.
        stored: it is written into the column; otherwise it is compared with what is there.
        raw: whether a value of the caller's own may stand here, or only a token.
        null: whether NULL may.
        resolves: whether a token becomes the value that it stands for.
        why: where not, why: the end of a sentence that begins with "a token".
    """

    operand: Operand
    column: str
    labels: frozenset[str]
    stored: bool = False
    raw: bool = True
    null: bool = True
    resolves: bool = False
    why: str = ""


@frozen(kw_only=True)
class Rows:
    """The columns of a COPY FROM, in order, ``None`` for plain ones, and how its rows are written.

    ``options`` are those of the statement, ``None`` where one of them is not known here.
    """

    columns: tuple[Slot | None, ...]
    options: Mapping[str, str] | None


@frozen(kw_only=True)
class Given:
    """What matters of the values that a statement is given.

    Attributes:
        slots: places where one meets a masked column.
        plain: places (in characters of the text) from where a value goes into a plain column and nowhere
            else.
        occurrences: the places of each parameter.
        constants: texts of constants that hold a mask, by place.
        text: the statement's.
        written: a relation with masked columns that is written, "" for none: no mask may come into it.
        marks: what may stand in a redaction mark.
        rows: of a COPY FROM into such a relation.
    """

    slots: tuple[Slot, ...] = ()
    plain: frozenset[int] = frozenset()
    occurrences: Mapping[int, frozenset[int]] = field(factory=dict)
    constants: Mapping[int, str] = field(factory=dict, repr=False)
    text: str = field(default="", repr=False)
    written: str = ""
    marks: frozenset[str] = frozenset()
    rows: Rows | None = None

"""What the SELECTs of an effect answer: the rows as they are and will be, and whether they became that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import field, frozen

from governed_db.catalog.effects import Asking
from governed_db.statement.describing import Undescribed
from governed_db.statement.facts import Access


@frozen(kw_only=True)
class Row:
    """One row of an answer: keys as bytes in hexadecimal, values as digests, texts for people.

    ``place`` is where it lay, "" for a row that comes. ``after`` is of all columns that are agreed to, () for
    a row that goes; ``new_key`` is its key then.
    """

    place: str
    key: tuple[str, ...] = field(repr=False)
    new_key: tuple[str, ...] = field(repr=False)
    before: tuple[str | None, ...] = field(repr=False)
    after: tuple[str | None, ...] = field(repr=False)
    texts: tuple[tuple[str | None, ...], ...] = field(repr=False)


def rows_of(asked: Asking, answer: Sequence[Sequence[str | None]]) -> list[Row]:
    """Read what the SELECT says, each row once.

    Raises:
        Undescribed: two rows of its answer are about one row of the table, and say different things.
    """
    found = asked.found
    inserts = found.access is Access.INSERT
    seen: dict[tuple[str, ...], Row] = {}
    rows: list[Row] = []
    for values in answer:
        row = _row(asked, list(values))
        if inserts and not found.key:
            rows.append(row)
            continue
        other = seen.setdefault(row.key, row)
        if other is row:
            rows.append(row)
        elif inserts or other.after != row.after:
            raise Undescribed(
                f"a row of {found.relation} is found more than once, with different values to set",
                "join so that each row is found once",
            )
    return rows


def _row(asked: Asking, values: list[str | None]) -> Row:
    found = asked.found
    takes = _taker(values)
    inserts, deletes = found.access is Access.INSERT, found.access is Access.DELETE
    (place,) = takes(1)
    key = tuple(v or "" for v in takes(len(found.key)))
    new_key = tuple(v or "" for v in takes(len(found.key))) if asked.rekeys else key
    before = () if inserts else takes(len(found.columns))
    given = found.columns if inserts else found.assigned
    hashes = takes(len(given))
    if inserts:
        after = hashes
    elif deletes:
        after = ()
    else:
        made = dict(zip((c.number for c in given), hashes, strict=True))
        after = tuple(made.get(c.number, b) for c, b in zip(found.columns, before, strict=True))
    key_texts = takes(len(found.key))
    before_texts = () if inserts else takes(len(found.shown))
    return Row(
        place=place or "",
        key=key,
        new_key=new_key,
        before=before,
        after=after,
        texts=(key_texts, before_texts, takes(len(given))),
    )


class _taker:  # noqa: N801 - a function with a place
    def __init__(self, values: list[str | None]) -> None:
        self._values: Iterator[str | None] = iter(values)

    def __call__(self, count: int) -> tuple[str | None, ...]:
        return tuple(next(self._values) for _ in range(count))


def differs(asked: Asking, rows: Sequence[Row], answer: Sequence[Sequence[str | None]]) -> str:
    """Return what is otherwise than described when the write has run, "" where nothing is.

    ``answer`` is that of :meth:`Asking.again` for the keys that the rows have then.
    """
    found = asked.found
    width = len(found.key)
    there = {tuple(v or "" for v in values[1 : width + 1]): values for values in answer}
    if found.access is Access.DELETE:
        return "rows that were to go are there" if there else ""
    for row in rows:
        values = there.get(row.new_key)
        if values is None:
            return "a row is not there"
        if values[0] == row.place:
            return "a row was left as it is"
        if tuple(values[width + 1 :]) != row.after:
            return "a row has other values than those that were shown"
    return ""

"""Rows of COPY FROM on their way into masked columns: no mask is written over a true value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from psycopg._copy_base import BaseCopy
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat

from governed_db import refusals
from governed_db.errors import MaskedColumnRefused
from governed_db.masking.copied import Feed, reader
from governed_db.masking.given import UNREADABLE, Refused, row_text, row_value
from governed_db.masking.slots import Given, Rows
from governed_db.run import Run

if TYPE_CHECKING:
    from governed_db.driver.cursor import GovernedCursor


def look_into(copy: BaseCopy[Any], cursor: GovernedCursor, run: Run) -> None:
    """Have each row that goes into ``copy`` looked at before it is sent, where masked columns are written."""
    given = run.plan.given
    if given is None or given.rows is None or run.decision is None or not run.decision.masked:
        return
    watched = _Watched(copy, cursor, run, given, given.rows)
    formatter: Any = copy.formatter
    watched.pass_row, watched.pass_raw = formatter.write_row, formatter.write
    formatter.write_row, formatter.write = watched.write_row, watched.write


class _Watched:
    """One COPY FROM."""

    pass_row: Any
    pass_raw: Any

    def __init__(
        self, copy: BaseCopy[Any], cursor: GovernedCursor, run: Run, given: Given, rows: Rows
    ) -> None:
        self._copy = copy
        self._cursor = cursor
        self._run = run
        self._given = given
        self._rows = rows
        self._feed: Feed | None = None if rows.options is None else reader(rows.options)

    def write_row(self, row: Sequence[Any]) -> Buffer:
        made: list[Any] = list(row)
        for place, (slot, value) in enumerate(zip(self._rows.columns, made, strict=False)):
            if slot is None or value is None:
                continue
            if isinstance(value, str):
                seat = self._cursor._seat
                new = row_value(slot, self._given, seat.governor.keys, value, seat.pgconn._encoding)
                if isinstance(new, Refused):
                    raise self._refused(new)
                made[place] = value if new is None else new
                continue
            dumper = self._copy.formatter.transformer.get_dumper(value, PyFormat.TEXT)
            text = bytes(dumper.dump(value) or b"").decode("latin-1")
            self._check(row_text(slot, self._given, text))
        done: Buffer = self.pass_row(made)
        return done

    def write(self, data: Buffer | str) -> Buffer:
        made: Buffer = self.pass_raw(data)
        if self._feed is None:
            raise self._refused(UNREADABLE)
        for fields in self._feed(bytes(memoryview(made))):
            self._look(fields)
        return made

    def _look(self, fields: Iterable[str | None]) -> None:
        for slot, text in zip(self._rows.columns, fields, strict=False):
            if slot is not None and text is not None:
                self._check(row_text(slot, self._given, text))

    def _check(self, no: Refused | None) -> None:
        if no is not None:
            raise self._refused(no)

    def _refused(self, no: Refused) -> MaskedColumnRefused:
        run, seat = self._run, self._cursor._seat
        assert run.decision is not None
        assert run.known is not None
        decision = refusals.let_in(run.decision, no)
        error = MaskedColumnRefused(refusals.sentence(decision), decision=decision)
        seat.governor.trail.refusal(run.call, run.identity, run.known, decision, seat, type(error).__name__)
        return error

"""Rows of COPY, counted on their way: out under a budget, in under a row cap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psycopg import pq
from psycopg._copy_base import BaseCopy
from psycopg.abc import Buffer, PQGen

from governed_db.driver import copy_rows, returned
from governed_db.errors import ApprovalRequired
from governed_db.policy.model import Budget
from governed_db.run import Run
from governed_db.statement import Statement

if TYPE_CHECKING:
    from governed_db.driver.cursor import GovernedCursor
    from governed_db.driver.seat import Seat

COPY_IN = pq.ExecStatus.COPY_IN


def is_guarded(cursor: GovernedCursor) -> bool:
    """Return whether the COPY of ``cursor`` runs in a block that has to be ended."""
    run = cursor._state.current
    return run is not None and run.guard is not None and not run.finished


def watch(copy: BaseCopy[Any], cursor: GovernedCursor) -> None:
    """Count the rows that go through ``copy``, where the policy limits them."""
    run = cursor._state.current
    if run is None:
        return
    _belongs(copy, run, cursor._seat)
    if copy._direction == COPY_IN:
        copy_rows.look_into(copy, cursor, run)
        if run.guard is not None:
            _count_in(copy, run, run.guard)
        return
    budget = returned.limited(run)
    if budget is not None:
        source = _Source(copy, cursor, run, budget)
        copy._read_gen = source.read  # type: ignore[method-assign]  # of this one COPY


def _belongs(copy: BaseCopy[Any], run: Run, seat: Seat) -> None:
    """Keep a COPY to whoever opened it, row by row."""
    if not seat.governor.enforce:
        return
    formatter: Any = copy.formatter
    fetch, write_row, write = copy._read_gen, formatter.write_row, formatter.write
    drop = copy._end_copy_out_gen
    over = False

    def read() -> PQGen[Buffer]:
        if not over:
            seat.check_reader(run)
        return (yield from fetch())

    def dropping() -> PQGen[None]:
        nonlocal over
        over = True  # psycopg reads what is left so that the connection can go on: nobody gets it
        yield from drop()

    def writing_row(row: Any) -> Any:
        seat.check_reader(run)
        return write_row(row)

    def writing(data: Buffer | str) -> Any:
        seat.check_reader(run)
        return write(data)

    if copy._direction == COPY_IN:
        formatter.write_row, formatter.write = writing_row, writing
    else:
        copy._read_gen = read  # type: ignore[method-assign]  # of this one COPY
        copy._end_copy_out_gen = dropping  # type: ignore[method-assign]  # likewise


def _count_in(copy: BaseCopy[Any], run: Run, cap: int) -> None:
    """Stop a COPY FROM as soon as more rows than its cap are certain; the final count is the server's."""
    counted = 0

    def count(rows: int) -> None:
        nonlocal counted
        counted += rows
        if counted > cap:
            assert run.decision is not None
            raise ApprovalRequired(
                f"COPY was stopped after {cap} rows, which is what this caller may write without approval; it"
                f" is rolled back [rule {run.decision.rule}]. Write at most {cap} rows at a time.",
                decision=run.decision,
                remedy=f"write at most {cap} rows at a time, or have the COPY approved",
            )

    formatter: Any = copy.formatter
    write_row, write = formatter.write_row, formatter.write

    def counting_row(row: Any) -> Buffer:
        count(1)
        made: Buffer = write_row(row)
        return made

    def counting(data: Buffer | str) -> Buffer:
        made: Buffer = write(data)
        if plain:
            # Every row ends with a line break that stands for itself; one in a value is escaped.
            count(bytes(made).count(b"\n"))
        return made

    plain = _is_plain_text(run.statement, formatter.format)
    formatter.write_row, formatter.write = counting_row, counting


def _is_plain_text(statement: Statement | None, format: pq.Format) -> bool:
    """Return whether lines are rows: COPY's text format without a header, as its options say."""
    if statement is None or format != pq.Format.TEXT:
        return False
    copy = statement.tree[0].get("stmt", {}).get("CopyStmt", {})
    return not copy.get("options")


class _Source:
    """What a COPY TO reads from, under a budget."""

    def __init__(self, copy: BaseCopy[Any], cursor: GovernedCursor, run: Run, budget: Budget) -> None:
        self._fetch: Callable[[], PQGen[Buffer]] = copy._read_gen
        self._cursor = cursor
        self._run = run
        self._budget = budget
        self._ahead: deque[Buffer] | None = None
        self._skipped = not _has_header(run.statement)  # a line of column names is no row
        self._over = False

    def read(self) -> PQGen[Buffer]:
        """Return the next row, or nothing where there is none (left).

        Raises:
            StatementBlocked: more rows than the budget allows, and it refuses; none was handed out.
        """
        run, budget, seat = self._run, self._budget, self._cursor._seat
        state = self._cursor._state
        if self._over:
            return b""
        if budget.over == "refuse":
            return (yield from self._read_all_or_none())
        data = yield from self._fetch()
        if not self._is_row(data):
            return data
        if not returned.grant(budget, run, state.handed, 1, seat):
            self._over = state.truncated = run.truncated = True
            while (yield from self._fetch()):
                pass
            returned.say(budget, run)
            return b""
        state.handed += 1
        run.rows_returned += 1
        return data

    def _read_all_or_none(self) -> PQGen[Buffer]:
        run, budget, seat = self._run, self._budget, self._cursor._seat
        if self._ahead is None:
            self._ahead = deque()
            rows = 0
            room = returned.left(budget, run, 0, seat)
            while data := (yield from self._fetch()):
                rows += self._is_row(data)
                if rows <= room:
                    self._ahead.append(bytes(data))  # libpq's own buffer goes with the next row
            if rows > room or returned.grant(budget, run, 0, rows, seat) < rows:
                self._ahead.clear()
                self._over = True
                raise returned.refused(budget, run, seat)
            run.rows_returned += rows
        return self._ahead.popleft() if self._ahead else b""

    def _is_row(self, data: Buffer) -> bool:
        if not data or bytes(data[:2]) == b"\xff\xff":  # the trailer of the binary format
            return False
        if not self._skipped:
            self._skipped = True
            return False
        return True


def _has_header(statement: Statement | None) -> bool:
    if statement is None:
        return False
    options = statement.tree[0].get("stmt", {}).get("CopyStmt", {}).get("options", ())
    for option in options:
        element = option.get("DefElem", {})
        if element.get("defname") == "header":
            value = str(element.get("arg", "true")).lower()
            return not any(word in value for word in ("false", "off", "'ival': 0", "no"))
    return False

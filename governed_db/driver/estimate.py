"""What PostgreSQL's planner expects of one statement, with its values, before any of it runs.

EXPLAIN without ANALYZE plans and does not run: no row is read or written. Planning does work out functions
that are declared immutable or stable where all their arguments are known, which is why the policy asks only
for statements that call vetted functions or are allowed but for the estimate (policy/decide.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen
from psycopg import errors as e
from psycopg import generators, pq
from psycopg.abc import PQGen

from governed_db.driver.lookups import OURSELVES
from governed_db.policy.model import Estimate
from governed_db.run import Call
from governed_db.statement import EffectKind, Statement

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

PREFIX = b"EXPLAIN (FORMAT JSON) "

SAVEPOINT = b"governed_db_estimate"
"""The savepoint around the question inside of a transaction: an error of the planner must not abort it."""

MAX_SETS = 20
"""Parameter sets of one executemany of which each is planned, some milliseconds altogether; what more would
cost is taken as not known."""

EXPLAINABLE = frozenset(
    {
        "SelectStmt",
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "DeclareCursorStmt",
        "CreateTableAsStmt",
    }
)
"""What can stand behind EXPLAIN (gram.y, ExplainableStmt), but for EXECUTE, whose text says nothing."""

NOTHING = Estimate(cost=0.0, rows=0.0)

IDLE = pq.TransactionStatus.IDLE
INTRANS = pq.TransactionStatus.INTRANS
_TEXT = pq.Format.TEXT


@frozen
class Unknown:
    """No estimate, and why in a few words."""

    because: str
    sqlstate: str = ""  # what the planner has answered with, where it has


def estimate(seat: Seat, call: Call, statement: Statement) -> PQGen[Estimate | Unknown]:
    """Ask the planner about ``call``; what it cannot tell is :class:`Unknown`, never a guess.

    Raises:
        psycopg.errors.QueryCanceled: somebody cancelled it, or a timeout of the session did.
        psycopg.OperationalError: the connection is gone.
        AuditUnavailable: the question cannot be put on record.
    """
    if any(effect.kind is EffectKind.EXPLAIN for effect in statement.effects) and not statement.writes:
        return NOTHING  # it shows a plan itself and runs nothing
    # Behind EXPLAIN a second command would run: one command, and by a protocol that takes no more than one.
    if statement.commands != 1 or len(statement.tree) != 1:
        return Unknown("it is not one statement")
    if not EXPLAINABLE & statement.tree[0].get("stmt", {}).keys():
        return Unknown(f"EXPLAIN does not take {statement.tag or 'it'}")
    sets = _sets(call)
    if sets is None:
        return Unknown("its values cannot be told apart")
    if len(sets) > MAX_SETS:
        return Unknown(f"executemany() has more than {MAX_SETS} parameter sets")
    piped = seat.pgconn.pipeline_status != pq.PipelineStatus.OFF
    if piped:
        yield from seat.drain()
    if seat.pgconn.transaction_status not in (IDLE, INTRANS):
        return Unknown("the transaction is aborted")
    if piped:
        seat.pgconn.exit_pipeline_mode()
    try:
        total = NOTHING
        for values, formats in sets:
            found = yield from _ask(seat, call, values, formats)
            if isinstance(found, Unknown):
                return found
            total = Estimate(cost=total.cost + found.cost, rows=total.rows + found.rows)
        return total
    finally:
        if piped and seat.pgconn.status == pq.ConnStatus.OK:
            seat.pgconn.enter_pipeline_mode()


def _sets(call: Call) -> list[tuple[list[Any], list[int] | None]] | None:
    """Return the values and formats of each execution, or ``None``."""
    values = list(call.params or ())
    formats = None if call.formats is None else [int(f) for f in call.formats]
    width = len(call.types)
    if not width:
        # Of a batch in several texts nobody knows here which share is this one's: all of it, at most.
        return None if values else [([], None)] * call.executions
    if len(values) % width or (formats is not None and len(formats) != len(values)):
        return None
    return [
        (values[at : at + width], None if formats is None else formats[at : at + width])
        for at in range(0, len(values), width)
    ] or None


def _ask(seat: Seat, call: Call, values: list[Any], formats: list[int] | None) -> PQGen[Estimate | Unknown]:
    inside = seat.pgconn.transaction_status == INTRANS
    if inside:
        yield from _plain(seat, b"SAVEPOINT " + SAVEPOINT)
    text = PREFIX + call.text
    run = seat.governor.trail.command(text, OURSELVES, seat, rule="governed_db.estimate")
    try:
        seat.pgconn.send_query_params(
            text, values, param_types=call.types, param_formats=formats, result_format=_TEXT
        )
        results = yield from generators.execute(seat.pgconn)
    except BaseException as error:
        run.fail(error)
        raise
    failed = next((r for r in results if r.status == pq.ExecStatus.FATAL_ERROR), None)
    if failed is None:
        run.finish()
        if inside:
            yield from _plain(seat, b"RELEASE " + SAVEPOINT)
        return _read(results)
    refused = e.error_from_result(failed, encoding=seat.pgconn._encoding)
    run.fail(refused)
    if seat.pgconn.status != pq.ConnStatus.OK:
        raise refused
    if inside:
        yield from _plain(seat, b"ROLLBACK TO " + SAVEPOINT)
        yield from _plain(seat, b"RELEASE " + SAVEPOINT)
    if isinstance(refused, e.QueryCanceled):
        raise refused
    return Unknown(f"the planner answered with SQLSTATE {refused.sqlstate}", refused.sqlstate or "")


def _plain(seat: Seat, text: bytes) -> PQGen[None]:
    run = seat.governor.trail.command(text, OURSELVES, seat, rule="governed_db.estimate")
    try:
        seat.pgconn.send_query(text)
        results = yield from generators.execute(seat.pgconn)
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise e.error_from_result(result, encoding=seat.pgconn._encoding)
    except BaseException as error:
        run.fail(error)
        raise
    run.finish()


def _read(results: Sequence[pq.abc.PGresult]) -> Estimate | Unknown:
    lines: list[str] = []
    for result in results:
        for row in range(result.ntuples):
            lines.append(bytes(result.get_value(row, 0) or b"").decode("utf-8", "replace"))
    try:
        return read_plan(json.loads("\n".join(lines)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Unknown("the planner's answer cannot be read")


def read_plan(document: Sequence[Mapping[str, Any]]) -> Estimate:
    """Return what EXPLAIN's JSON says: several plans where a rule rewrites the statement.

    Rows are those written where anything is written (a ModifyTable node is expected to return none without
    RETURNING; what it writes comes from the plan below it), else those returned.

    Raises:
        KeyError, TypeError: it is not what EXPLAIN answers.
    """
    plans = [entry["Plan"] for entry in document if "Plan" in entry]
    if not plans:
        raise KeyError("Plan")
    written = [float(rows) for plan in plans for rows in _written(plan)]
    return Estimate(
        cost=sum(float(plan["Total Cost"]) for plan in plans),
        rows=sum(written) if written else sum(float(plan["Plan Rows"]) for plan in plans),
    )


def _written(plan: Mapping[str, Any]) -> Iterator[float]:
    below = plan.get("Plans", ())
    if plan["Node Type"] == "ModifyTable":
        yield sum(float(p["Plan Rows"]) for p in below if p.get("Parent Relationship") in ("Outer", "Member"))
    for each in below:
        yield from _written(each)

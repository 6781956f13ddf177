"""What people are told of a call before they agree to it: its rows, its cost, and where asked, each row.

Nothing of it runs: rows are counted by a SELECT, cost is the planner's. Each question is one that can fail
without harm, inside of what it can be rolled back to; where nobody can tell, that is the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen
from psycopg import errors as e
from psycopg import pq
from psycopg.abc import PQGen

from governed_db.approval.effect import Effect
from governed_db.approval.request import ceiling
from governed_db.catalog.describable import Describable
from governed_db.catalog.effects import own_words
from governed_db.driver import announce, effects, probe, timeouts
from governed_db.masking.given import each
from governed_db.policy.model import Decision, Estimate
from governed_db.run import SET_OFF, Call, Known, only_reads
from governed_db.statement import EffectKind
from governed_db.statement.describing import Undescribed

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

SAVEPOINT = b"governed_db_reckoning"

STATEMENT_TIMEOUT = timeouts.NAMES.index("statement_timeout")

IDLE = pq.TransactionStatus.IDLE
INTRANS = pq.TransactionStatus.INTRANS
INERROR = pq.TransactionStatus.INERROR
OK = pq.ConnStatus.OK

Answered = TypeVar("Answered")


@frozen(kw_only=True)
class Reckoning:
    """What can be said of a call; the fields are those of an approval request."""

    rows: int | None = None
    rows_more: bool = False
    ceiling: int | None = None
    cost: float | None = None
    effect: Effect | None = None


def reckon(seat: Seat, call: Call, known: Known, decision: Decision) -> PQGen[Reckoning]:
    """Return what ``call`` would touch and cost.

    Raises:
        Undescribed: people have to agree to the very rows, and cannot be shown them.
        psycopg.errors.QueryCanceled: somebody cancelled it.
        psycopg.OperationalError: the connection is gone.
        AuditUnavailable: a question cannot be put on record.
    """
    settings = seat.governor.policy.settings.approvals
    # Whether the rows can be shown at all is told without asking anything.
    shows = decision.binds == "effect" and not only_reads(known)
    found = effects.shown_of(known, seat) if shows else None
    proven = _proven(call, known)
    opened = yield from _open(seat, settings.probe_timeout_ms)
    if opened is None:
        if found is not None:
            raise _aborted()
        return counted(proven, settings.headroom_percent)

    def asking() -> PQGen[Reckoning]:
        if found is not None:
            try:
                effect = yield from _described(seat, call, known, decision, found)
            except effects.Untold:
                return Reckoning()  # whether people are asked must not say what the rows hold
            cost, sqlstate = yield from _cost(seat, call, known)
            if sqlstate:  # a SELECT casts what an assignment does not: it could be shown, and cannot run
                raise Undescribed(
                    f"the server does not take it (SQLSTATE {sqlstate})", "see that it is right"
                )
            return Reckoning(rows=effect.rows, ceiling=effect.rows, cost=cost, effect=effect)
        cost, _ = yield from _cost(seat, call, known)
        rows, more = proven, False
        if rows is None and known.writes:
            rows, more = yield from _rows(seat, call, known, settings.probe_rows)
        return counted(rows, settings.headroom_percent, more=more, cost=cost)

    return (yield from _within(seat, opened, asking()))


def effect_of(seat: Seat, call: Call, known: Known, decision: Decision, salt: str) -> PQGen[Effect]:
    """Return what ``call`` would do to which rows now, to be compared with an effect of that ``salt``.

    Raises:
        Undescribed: people cannot be shown it, or not now.
    """
    found = effects.shown_of(known, seat)
    opened = yield from _open(seat, seat.governor.policy.settings.approvals.probe_timeout_ms)
    if opened is None:
        raise _aborted()
    return (yield from _within(seat, opened, _described(seat, call, known, decision, found, salt)))


def _aborted() -> Undescribed:
    return Undescribed("the transaction is aborted", "end it with ROLLBACK", retryable=True)


def _described(
    seat: Seat, call: Call, known: Known, decision: Decision, found: Describable, salt: str = ""
) -> PQGen[Effect]:
    try:
        return (yield from effects.describe(seat, call, known, decision, found, salt))
    except e.QueryCanceled:
        timeout_ms = seat.governor.policy.settings.approvals.probe_timeout_ms
        raise Undescribed(
            f"its rows were not found within {timeout_ms} ms ([approvals] probe_timeout_ms)",
            "narrow it, by its key if you can",
            retryable=True,
        ) from None
    except e.Error as error:
        if not effects.is_refusal(error):
            raise
        raise Undescribed(
            f"the server does not show its rows (SQLSTATE {error.sqlstate})",
            "see that the statement is right, and that this role may read every column of the table",
        ) from None


def _cost(seat: Seat, call: Call, known: Known) -> PQGen[tuple[float | None, str]]:
    """Return what the planner expects, or the SQLSTATE that it answers with."""
    if not _plans_harmlessly(known):
        return None, ""
    try:
        estimate = yield from seat.estimate(call, known.statement)
    except e.QueryCanceled:
        return None, ""  # planning waits for locks
    return (estimate.cost, "") if isinstance(estimate, Estimate) else (None, estimate.sqlstate)


def _plans_harmlessly(known: Known) -> bool:
    """Return whether planning runs nothing that somebody wrote.

    The planner computes what is declared immutable or stable, casts and domain checks included. What a
    trigger or a rule does beside the statement it does not run.
    """
    bound = known.bound
    return (
        bound is not None
        and bound.complete
        and all(use.vetted for use in bound.functions if use.ref.how != "body")
        and not any(e.kind is EffectKind.FUNCTION and not e.note.startswith(SET_OFF) for e in bound.effects)
    )


def counted(
    rows: int | None, headroom_percent: int, *, more: bool = False, cost: float | None = None
) -> Reckoning:
    """Return a reckoning for so many rows, with the ceiling that follows from them."""
    most = ceiling(rows, headroom_percent, more=more)
    return Reckoning(rows=rows, rows_more=more, ceiling=most, cost=cost)


def _proven(call: Call, known: Known) -> int | None:
    if not known.writes or known.bound is None or known.bound.rows is None:
        return None
    return known.bound.rows * call.executions


def _rows(seat: Seat, call: Call, known: Known, most: int) -> PQGen[tuple[int | None, bool]]:
    if known.sent.plan.given is not None or known.rewritten is not None:
        return None, False  # what is sent is another text, made for each set of values
    sets = each(call)
    made = probe.of(known, seat)
    if made is None or len(sets) > probe.MAX_PROBED_SETS or call.text != known.statement.text.encode():
        return None, False
    total = 0
    try:
        for one in sets:
            caller = known.request.identity
            values = (one.params, one.types, one.formats)
            found = yield from probe.measure(seat, made, caller, values, most - total)
            if found is None:
                return None, False  # the SELECT failed
            total += found
            if total > most:
                break
    except e.QueryCanceled:
        return None, False  # it took too long: nobody counted
    return min(total, most), total > most


def may_count(seat: Seat, known: Known, *, shows: bool = False) -> bool:
    """Return whether the policy lets the caller run the SELECT that counts what ``known`` would touch.

    Where it does not, the number would answer a question that people have not agreed to. ``shows``: so would
    whether its rows can be shown, which what is in them can prevent.
    """
    made = None if known.bound is None or known.bound.rows is not None else probe.of(known, seat)
    # Without one, what it would touch follows from its text.
    if made is not None and not effects.may_ask(seat, known, made.up_to(1)):
        return False
    if not shows or only_reads(known):
        return True
    try:
        found = effects.shown_of(known, seat)
    except Undescribed:
        return False
    return effects.may_ask(seat, known, own_words(found))


@frozen
class _Opened:
    """What the count runs in: a transaction of its own, or a savepoint of the caller's."""

    inside: bool
    timeouts: tuple[tuple[int, int], ...]


def _open(seat: Seat, timeout_ms: int) -> PQGen[_Opened | None]:
    conn: Any = seat.connection()
    yield from seat.drain()
    status = seat.pgconn.transaction_status
    if status not in (IDLE, INTRANS):
        return None
    inside = status == INTRANS
    opened = _Opened(inside, tuple(seat.timeouts.local.items()))
    in_force = seat.timeouts.in_force(STATEMENT_TIMEOUT)
    limits = () if 0 < in_force <= timeout_ms else ((STATEMENT_TIMEOUT, timeout_ms),)
    if inside:
        yield from conn._announce()
        yield from conn._exec_together((b"SAVEPOINT " + SAVEPOINT,), limits)
    else:
        yield from conn._begin_with((b"BEGIN READ ONLY",), limits, announce.needed(seat))
    yield from seat.drain()
    return opened


def _within(seat: Seat, opened: _Opened, asking: PQGen[Answered]) -> PQGen[Answered]:
    """Ask inside of what is ``opened``, and leave nothing of it behind, whatever becomes of the question."""
    try:
        answer = yield from asking
    except GeneratorExit:
        raise  # given up in the middle of an answer: nothing more can be sent
    except BaseException:
        if seat.pgconn.status == OK and seat.pgconn.transaction_status in (INTRANS, INERROR):
            yield from _close(seat, opened)
        raise
    yield from _close(seat, opened)
    return answer


def _close(seat: Seat, opened: _Opened) -> PQGen[None]:
    conn: Any = seat.connection()
    if opened.inside:
        yield from conn._exec_together((b"ROLLBACK TO " + SAVEPOINT, b"RELEASE " + SAVEPOINT))
        seat.timeouts.local.clear()
        seat.timeouts.local.update(opened.timeouts)
    else:
        yield from conn._exec_together((b"ROLLBACK",))
    yield from seat.drain()

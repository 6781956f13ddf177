"""What would be decided, for applications that ask: the way of a statement, as far as its decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.abc import Params, PQGen, Query

from governed_db import masking, pipeline
from governed_db import statement as statements
from governed_db.driver.convert import convert
from governed_db.errors import GovernanceError
from governed_db.identity import Identity, acting, standing
from governed_db.policy.demands import Unmet
from governed_db.policy.forging import forges
from governed_db.policy.model import Decision, Request, Verdict
from governed_db.run import Call, Known
from governed_db.statement import Unreadable

if TYPE_CHECKING:
    from governed_db.driver.connection import AsyncConnection, Connection
    from governed_db.governor import Governor


def on_connection(
    governor: Governor,
    sql: Query,
    params: Params | None,
    identity: Identity | None,
    connection: Connection[Any] | AsyncConnection[Any],
) -> PQGen[Decision]:
    """Say what would be decided about a text on ``connection``, by its catalog.

    Raises:
        ValueError: the connection belongs to another governor.
    """
    seat = connection._seat
    if seat.governor is not governor:
        raise ValueError("the connection belongs to another governor, whose policy would answer")
    text, types, values, formats = convert(sql, params, connection)
    call = Call(text, types, values, copies=True, formats=formats)
    caller = identity or seat.caller()
    if missing := governor.missing(caller):
        return _unread(call.text, missing, governor.policy.version)
    try:
        if governor.register.stale():
            yield from seat.elsewhere(governor.approvals.look)
        known = yield from pipeline.what(call, caller, seat)
    except GovernanceError as error:
        if error.decision is not None:
            return error.decision
        return _unread(call.text, error, governor.policy.version)
    if not governor.enforce:
        return pipeline.may(call, known, governor)
    decision = yield from pipeline.judged(call, known, seat)
    if known.due and decision.verdict is Verdict.ALLOW:
        try:
            known = yield from seat.look(call, known, caller)
        except GovernanceError as error:
            return _unread(call.text, error, governor.policy.version)
        decision = pipeline.held(call, known, decision)
    return pipeline.cleared(decision, known)


def by_text(
    governor: Governor, sql: Query, params: Params | None, identity: Identity | None
) -> Known | Decision:
    """Return what the grammar alone says of a text, or the decision where that is enough."""
    call = Call(*convert(sql, params)[:3], copies=True)
    caller = identity or acting() or governor.default_identity
    if missing := governor.missing(caller):
        return _unread(call.text, missing, governor.policy.version)
    try:
        statement = statements.read(call.text.decode(), governor.limits)
    except (Unreadable, UnicodeDecodeError) as error:
        return _unread(call.text, error, governor.policy.version)
    return Known(
        statement=statement,
        bound=None,
        plan=masking.OPEN,
        request=Request(
            statement=statement, identity=standing(caller), grants=governor.register.of(caller, "")
        ),
        forged=forges(statement, None) if "settings" in governor.announces else "",
    )


def decided(governor: Governor, known: Known, decision: Decision | None = None) -> Decision:
    """Return the decision about what is known by its text; ``decision``: a decider's, which is held to it."""
    call = Call(known.statement.text.encode(), copies=True)
    return pipeline.may(call, known, governor) if decision is None else pipeline.held(call, known, decision)


async def without_waiting(gen: PQGen[Any]) -> Any:
    """Consume a generator that has no connection to wait for."""
    try:
        next(gen)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("there is no connection to wait for")


def _unread(text: bytes, error: BaseException | Unmet, version: str) -> Decision:
    rule = getattr(error, "rule", "statement.encoding")
    return Decision(
        verdict=Verdict.BLOCK,
        rule=rule,
        reason=getattr(error, "reason", str(error)),
        remedy=getattr(error, "remedy", "send text in the client encoding"),
        statement=statements.unread(text),
        policy=version,
    )

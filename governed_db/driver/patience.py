"""Waiting for people: the call is given up until they have answered, and judged anew then.

Nothing is open meanwhile: no transaction, no lock of the server, no place in a pipeline. Definitions, the
policy and the rows may change while people think, so that what they agreed to is looked up by what the call
means then, and not by what it meant when they were asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from psycopg import pq
from psycopg.abc import PQGen

from governed_db.approval.waiting import waits
from governed_db.driver import pauses
from governed_db.errors import ApprovalRequired

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

T = TypeVar("T")

IDLE = pq.TransactionStatus.IDLE

_NOT_WAITED = (
    "It was not waited for: the call is inside of a transaction (any earlier statement begins one, unless the"
    " connection is in autocommit) or a pipeline. Commit before it, or send it on a connection of its own."
)


def patiently(seat: Seat, attempt: Callable[[], PQGen[T]]) -> PQGen[T]:
    """Return what ``attempt`` returns; where it needs people, wait for them as long as the caller says.

    Raises:
        ApprovalRequired: they have not answered in time, or the call may not wait: it is inside of a
            transaction or a pipeline.
    """
    if not seat.governor.enforce:
        return (yield from attempt())
    deadline: float | None = None
    while True:
        try:
            return (yield from attempt())
        except ApprovalRequired as required:
            if deadline is None:
                seconds = waits(seat.governor.policy.settings.approvals.wait_seconds)
                deadline = time.monotonic() + seconds
            waited = required
        if not _may_wait(seat):
            if deadline > time.monotonic():
                waited.add_note(_NOT_WAITED)
            raise waited
        if not (yield from _answered(seat, waited, deadline)):
            raise waited


def _may_wait(seat: Seat) -> bool:
    connection = seat.connection()
    pipeline = None if connection is None else connection._pipeline
    under_way = pipeline is not None and bool(pipeline.command_queue or pipeline.result_queue)
    return seat.pgconn.transaction_status == IDLE and not under_way


def _answered(seat: Seat, required: ApprovalRequired, deadline: float) -> PQGen[bool]:
    """Wait until the request is answered one way or the other; return whether it was."""
    request = required.request
    assert request is not None
    desk = seat.governor.approvals
    blocking = seat.blocking()
    while (left := deadline - time.monotonic()) > 0:
        yield from pauses.sleep(min(left, desk.settings.poll_seconds), blocking=blocking)
        filed = yield from seat.elsewhere(lambda: desk.get(request.id))
        now = datetime.now(UTC)
        if filed.over(now):
            return True  # not by this call: judged anew, it asks again
        standing = desk.stands(filed, now)
        if standing.agreed or standing.denied is not None:
            return True
    return False

"""One call on its way: what is wanted, what is known of it, and the run between intent and outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from psycopg.abc import Buffer

from governed_db.catalog.bound import Bound, Source
from governed_db.errors import QueryCanceled
from governed_db.identity.model import Identity
from governed_db.masking.model import OPEN, MaskPlan, Sensitivity
from governed_db.policy.model import Decision, Request
from governed_db.statement import Statement


@define(eq=False)
class Call:
    """What a caller wants sent: the very bytes, and the values bound to them. Never changed once made.

    (Not frozen: attrs makes frozen values three times slower, and there is one for every statement.)
    """

    text: bytes
    types: tuple[int, ...] = ()
    params: Sequence[Buffer | None] | None = field(default=None, repr=False)
    copies: bool = False  # through copy(): only there can rows travel outside of results
    executions: int = 1  # parameter sets known to follow (executemany)


@define(kw_only=True, eq=False)
class Known:
    """What stays true of one text for one standing: cached, because none of it depends on the moment.

    ``template`` is the trail's: what its records of this text by one caller have in common. ``settled``:
    nothing the statement does can change what names mean, so that there is nothing to follow.
    """

    statement: Statement
    bound: Bound | None
    plan: MaskPlan
    sensitive: Mapping[Source, Sensitivity] = field(factory=dict, repr=False)
    request: Request
    template: tuple[Identity, Any] | None = None
    settled: bool = False


@define(eq=False)
class Run:
    """One statement between its intent and its outcome."""

    call: Call
    identity: Identity
    statement: Statement | None
    decision: Decision | None
    plan: MaskPlan = OPEN
    sensitive: Mapping[Source, Sensitivity] = field(factory=dict, repr=False)
    bound: Bound | None = None
    approval_id: str = ""
    guard: int | None = None  # rows it may write before it is rolled back; None: proven or unlimited
    known: Known | None = field(default=None, repr=False)
    block: Any = None  # what a guarded write runs inside of
    intent: object = None  # the trail's own handle
    started: int = field(factory=time.monotonic_ns)
    rows_returned: int = 0
    rows_affected: int = 0
    executions: int = 0
    outstanding: int = 0  # results still to come
    settled: bool = False  # as Known.settled
    open_ended: bool = False  # more executions may follow (executemany), or rows (stream, copy)
    finished: bool = False
    seat: Any = field(default=None, repr=False)  # the connection it runs on, while it is open
    on_finish: Callable[[Run, str, BaseException | None], None] | None = field(default=None, repr=False)

    def finish(self, status: str = "ok", error: BaseException | None = None) -> None:
        """Put the outcome on record, once. ``status``: ok, error, cancelled, refused, unknown."""
        if self.finished:
            return
        self.finished = True
        if self.on_finish is not None:
            self.on_finish(self, status, error)

    def fail(self, error: BaseException) -> None:
        """Put the outcome of a run that ended in ``error`` on record."""
        cancelled = isinstance(error, (QueryCanceled, KeyboardInterrupt, GeneratorExit))
        self.open_ended = False
        self.finish("cancelled" if cancelled else "error", error)

"""One call on its way: what is wanted, what is known of it, and the run between intent and outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from attrs import define, field
from psycopg.abc import Buffer

from governed_db.approval.request import ApprovalRequest
from governed_db.catalog.bound import Bound, Source
from governed_db.errors import QueryCanceled
from governed_db.identity.model import Identity
from governed_db.masking.model import OPEN, MaskPlan, Sensitivity
from governed_db.masking.sampled import Wanted
from governed_db.policy.model import Decision, Request
from governed_db.statement import WRITES, EffectKind, Statement
from governed_db.statement.facts import Access

UNMADE = object()
"""Stands for what has not been made yet, where None is an answer."""

NO_CAP = 2**62
"""The cap of a run that is guarded for another reason than the rows it writes."""


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
    formats: Sequence[int] | None = field(default=None, repr=False)  # of the values; None: all text
    # Of calls that people are asked about as one: what is known of each, and which each execution is, by
    # its place among them.
    parts: Sequence[Known] = field(default=(), repr=False)
    order: Sequence[int] = field(default=(), repr=False)
    streams: bool = False  # through stream(): rows are handed out before it has ended


@define(eq=False)
class Sending:
    """What is sent in the place of a call: the same meaning over masked values, or with tokens resolved.

    It can hold values that nobody may see, so that it is no part of records, messages or approvals. Where
    ``params`` is not ``None``, ``types`` and ``formats`` are theirs: there can be more than the call has.
    """

    text: bytes = field(repr=False)
    params: Sequence[Buffer | None] | None = field(default=None, repr=False)
    types: tuple[int, ...] = ()
    formats: Sequence[int] | None = field(default=None, repr=False)


@define(kw_only=True, eq=False)
class Rewritten:
    """What is sent of a statement that runs over redacted values: its text, and what is known of that.

    ``text`` is in the encoding of the connection.
    """

    text: bytes = field(repr=False)
    bound: Bound
    plan: MaskPlan
    probe: Any = field(default=UNMADE, repr=False)  # as Known.probe


@define(kw_only=True, eq=False)
class Known:
    """What stays true of one text for one standing: cached, because none of it depends on the moment.

    ``template`` is the trail's: what its records of this text by one caller have in common. ``settled``:
    nothing the statement does can change what names mean, so that there is nothing to follow. ``rewritten``:
    it is sent over redacted values.
    """

    statement: Statement
    bound: Bound | None
    plan: MaskPlan
    sensitive: Mapping[Source, Sensitivity] = field(factory=dict, repr=False)
    request: Request
    template: tuple[Identity, Any] | None = None
    settled: bool = False
    forged: str = ""  # which setting of ours it would change, or may: it is not sent
    counts: bool = True  # whether the server counts rows that no command tag tells of (track_counts)
    probe: Any = field(default=UNMADE, repr=False)  # the SELECT that counts what it would touch, once made
    rewritten: Rewritten | None = None
    # What was known from samples (their version; -1: any), until when that holds, and what has to be looked
    # at before it is sent.
    sampled: int = -1
    until: float = inf
    due: tuple[Wanted, ...] = field(default=(), repr=False)
    definitions: bytes | None = field(default=None, repr=False)  # of what it touches, once digested
    # Grants that clear columns: those that held when this was made, and those of them that it rests on.
    clearing: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()

    @property
    def sent(self) -> Known | Rewritten:
        """What is known of the text that is sent."""
        return self.rewritten or self

    @property
    def refused(self) -> bool:
        """Whether masked columns are used where no mask can follow, so that it does not run at all."""
        return bool(self.plan.refusals) and self.rewritten is None

    @property
    def beside(self) -> bool:
        """Whether it can write rows that the command tag does not count."""
        if self.bound is None:
            return not self.statement.countable
        return bool(getattr(self.bound, "writes_beside", False)) or (
            self.writes and not (self.statement.countable and _alone(self.bound))
        )

    @property
    def counted(self) -> bool:
        """Whether the server can say how many rows it wrote where the command tag does not."""
        if not self.counts or self.bound is None:
            return False
        # Rows of other servers are not counted, nor is what a statement of another kind writes later.
        foreign = any(use.relation.kind == "f" for use in self.bound.relations if use.access in _WRITTEN)
        return not foreign and self.statement.commands == 1 and self.statement.tag in _RUN_NOW

    @property
    def writes(self) -> bool:
        """Whether it writes rows, by itself or through what it sets off."""
        if self.statement.writes or self.bound is None:
            return self.statement.writes
        return bool(getattr(self.bound, "writes_beside", False)) or any(
            e.kind in WRITES for e in self.bound.effects
        )


def only_reads(known: Known) -> bool:
    """Return whether a statement has no effect that could be shown, because it changes nothing."""
    effects = known.statement.effects if known.bound is None else known.bound.effects
    return bool(effects) and all(effect.kind is EffectKind.SELECT for effect in effects)


def writes_later(bound: Bound) -> bool:
    """Return whether a deferrable trigger writes: in a transaction that stays open, uncounted."""
    later = tuple(
        f"in trigger {trigger.name} of "
        for use in bound.relations
        if use.access in _WRITTEN
        for trigger in use.relation.triggers
        if trigger.deferrable
    )
    return bool(later) and any(e.kind in WRITES and e.note.startswith(later) for e in bound.effects)


def _alone(bound: Bound) -> bool:
    """Return whether nothing hangs on the relations written that could write further rows."""
    if any(e.kind is EffectKind.FUNCTION and e.note.startswith(SET_OFF) for e in bound.effects):
        return False
    return not any(
        use.relation.triggers
        or use.relation.has_rules
        or use.relation.cascades
        or use.relation.kind not in "r"
        for use in bound.relations
        if use.access in _WRITTEN
    )


SET_OFF = ("a trigger of the table", "a rule of the table")
"""How effects begin that stand beside the statement itself."""

_RUN_NOW = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "SELECT", "EXPLAIN"})
_WRITTEN = frozenset({Access.INSERT, Access.UPDATE, Access.DELETE})


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
    approval: ApprovalRequest | None = None  # what people have agreed to, and this run has taken
    guard: int | None = None  # rows it may write before it is rolled back; None: proven or unlimited
    known: Known | None = field(default=None, repr=False)
    block: Any = None  # what a guarded write runs inside of
    intent: object = None  # the trail's own handle
    sending: Sending | None = field(default=None, repr=False)  # None: what was asked for
    comment: bytes = field(default=b"", repr=False)  # sent behind its text
    started: int = field(factory=time.monotonic_ns)
    rows_returned: int = 0
    rows_affected: int = 0
    rows_beside: int = 0  # written, and told of by no command tag (triggers, cascades, CTEs)
    truncated: bool = False  # fewer rows were handed out than there were
    executions: int = 0
    outstanding: int = 0  # results still to come
    settled: bool = False  # as Known.settled
    open_ended: bool = False  # more executions may follow (executemany), or rows (stream, copy)
    finished: bool = False
    seat: Any = field(default=None, repr=False)  # the connection it runs on, while it is open
    charge: Callable[[int], None] | None = field(default=None, repr=False)  # told of the rows written
    on_finish: Callable[[Run, str, BaseException | None], None] | None = field(default=None, repr=False)

    @property
    def approval_id(self) -> str:
        """The id of what people have agreed to, "" where nobody was asked."""
        return "" if self.approval is None else self.approval.id

    def finish(self, status: str = "ok", error: BaseException | None = None) -> None:
        """Put the outcome on record, once. ``status``: ok, error, cancelled, refused, unknown."""
        if self.finished:
            return
        self.finished = True
        if self.charge is not None and status == "ok":
            self.charge(self.rows_affected + self.rows_beside)
        if self.on_finish is not None:
            self.on_finish(self, status, error)

    def fail(self, error: BaseException) -> None:
        """Put the outcome of a run that ended in ``error`` on record."""
        cancelled = isinstance(error, (QueryCanceled, KeyboardInterrupt, GeneratorExit))
        self.open_ended = False
        self.finish("cancelled" if cancelled else "error", error)

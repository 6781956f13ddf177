"""What the pipeline calls: every record of a statement's way is made here, and every span starts here."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import define, field

from governed_db.audit import record, template, value_keys
from governed_db.audit.archive import Archive
from governed_db.audit.journal import Journal
from governed_db.audit.keeper import Keeper
from governed_db.audit.spans import Finished, SpanBuilder, parent
from governed_db.audit.template import Template
from governed_db.audit.values import Values
from governed_db.driver.address import client_address
from governed_db.errors import AuditUnavailable
from governed_db.identity import Identity
from governed_db.locks import lock
from governed_db.masking.model import OPEN
from governed_db.policy.model import Decision, Verdict
from governed_db.run import Call, Known, Run
from governed_db.statement import Statement, Unreadable

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from governed_db.driver.seat import Seat
    from governed_db.policy import Policy

_FORMS = 64  # of one connection: BEGIN with and without what follows, COMMIT, ROLLBACK, a few savepoints

LAST_SPANS = 1.0
"""Seconds for which close() waits for spans: they are a copy, the journal has everything."""


class Intent(NamedTuple):
    """The trail's handle on one statement that has been sent."""

    id: str
    template: Template
    parent: Any
    started_at: int  # nanoseconds since the Unix epoch
    transaction: str


@define(eq=False)
class Trail:
    """The journal and the spans of one governor. Safe with threads."""

    folder: Path
    policy: Policy
    on_failure: str = "refuse"
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    archive: Archive | None = None
    state: Path | None = None
    unrecorded: int = 0
    refused: int = 0
    _journal: Journal | None = field(default=None, init=False)
    _opening: threading.Lock = field(init=False)
    _spans: SpanBuilder = field(init=False)
    _values: Values | None = field(default=None, init=False)
    _mode: str = field(default="none", init=False)
    _keeper: Keeper | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._keeper = self._kept()
        self._spans = SpanBuilder(self.tracer_provider, meter_provider=self.meter_provider)
        self._opening = lock(self, "_opening")

    # -- records of statements

    def intent(self, run: Run, seat: Seat, *, ours: bool = False) -> None:
        """Put the intent of ``run`` on record; its outcome follows when the run finishes.

        ``ours``: the text is the library's or the driver's, whose values are nobody's.

        Raises:
            AuditUnavailable: the journal cannot take it, and the policy does not say to continue.
        """
        form = self._form(run, seat) if ours else self._template(run, seat, run.known)
        caller_span = parent()
        now = time.time_ns()
        key, payload = form.intent(
            run.decision,
            approval=run.approval_id,
            transaction=seat.transaction,
            trace=_trace(caller_span),
            at=now,
            values=None if ours else self._valued(run.call, form, run.statement, run.identity),
        )
        self._append(payload)
        self._acknowledged(key, payload, must_run=ours and _ends(run.statement))
        run.intent = Intent(key, form, caller_span, now, seat.transaction)
        seat.open[run] = None
        run.seat = seat
        run.on_finish = self._outcome

    def _outcome(self, run: Run, status: str, error: BaseException | None) -> None:
        intent = run.intent
        assert isinstance(intent, Intent)
        if run.seat is not None:
            run.seat.open.pop(run, None)
            run.seat = None
        duration = time.monotonic_ns() - run.started
        happened = record.happened(
            status,
            duration_us=duration // 1000,
            rows_returned=run.rows_returned,
            rows_affected=run.rows_affected,
            batch_size=run.executions if run.executions != 1 else None,
            sqlstate=getattr(error, "sqlstate", None) or "",
            error=type(error).__name__ if error is not None else "",
            truncated=run.truncated,
        )
        ended = intent.started_at + duration
        try:
            # It has happened already: nobody waits for the disk, and the next intent takes it along.
            self._append(template.outcome(intent.id, happened, at=ended), durable=False)
        except AuditUnavailable:
            # The statement has run: its caller must learn what it returned. The intent stays on record
            # as "unknown", and the next statement is refused.
            self.unrecorded += 1
        if self._spans.wanted():
            self._spans.add(
                Finished(
                    id=intent.id,
                    template=intent.template,
                    decision=run.decision,
                    happened=happened,
                    started=intent.started_at,
                    ended=ended,
                    parent=intent.parent,
                    approval=run.approval_id,
                    transaction=intent.transaction,
                )
            )

    def refusal(
        self,
        call: Call,
        caller: Identity,
        known: Known,
        decision: Decision,
        seat: Seat,
        error: str,
        *,
        approval: str = "",
    ) -> None:
        """Put a statement that was judged and not sent on record.

        ``error`` is the class of the error that the caller gets, ``approval`` the request that people can
        answer, or have.
        """
        self.refused += 1
        run = Run(
            call=call,
            identity=caller,
            statement=known.statement,
            decision=decision,
            plan=known.plan,
            bound=known.bound,
        )
        form = self._template(run, seat, known)
        caller_span = parent()
        now = time.time_ns()
        key, payload = form.refusal(
            decision,
            error,
            approval=approval,
            transaction=seat.transaction,
            trace=_trace(caller_span),
            at=now,
            batch_size=call.executions,
            values=self._valued(call, form, known.statement, caller),
        )
        self._append(payload)
        self._spans.add(
            Finished(
                id=key,
                template=form,
                decision=decision,
                happened={"status": "refused", "error": error, "batch_size": call.executions},
                started=now,
                ended=now,
                parent=caller_span,
                approval=approval,
                transaction=seat.transaction,
            )
        )

    def attempt(self, call: Call, caller: Identity, seat: Seat, unreadable: Unreadable) -> None:
        """Put text that cannot be read on record."""
        _, payload = record.attempt(
            who=self._who(caller, seat),
            where=self._where(seat),
            rule=unreadable.rule,
            reason=unreadable.reason,
            size=len(call.text),
        )
        self._append(payload)

    def command(
        self,
        text: bytes,
        caller: Identity,
        seat: Seat,
        *,
        statement: Statement | None = None,
        rule: str = "driver.command",
    ) -> Run:
        """Put something that the driver or the library sends by itself on record, and return its run."""
        if statement is None:
            try:
                statement = seat.governor.read(text, seat)
            except Unreadable:
                statement = None
        decision = (
            None
            if statement is None
            else Decision(
                verdict=Verdict.ALLOW,
                rule=rule,
                reason="sent by the driver itself",
                statement=statement,
                policy=self.policy.version,
            )
        )
        run = Run(call=Call(text), identity=caller, statement=statement, decision=decision)
        run.executions = 1
        try:
            self.intent(run, seat, ours=True)
        except AuditUnavailable:
            if not _ends(statement):
                raise
            # A transaction must be able to end when the journal is gone: what it did is on record.
            self.unrecorded += 1
        return run

    def told(self, name: str, *, who: Identity | None = None, **details: Any) -> None:
        """Put something that somebody has done on record, other than a statement."""
        said = {key: value for key, value in details.items() if value not in (None, "", [])}
        self.event(name, who=None if who is None else record.who(who), **said)

    def event(self, name: str, *, who: dict[str, Any] | None = None, **details: Any) -> None:
        """Put something that is not a statement on record."""
        self._append(record.event(name, who=who, **details))

    # -- life

    def policy_changed(self, policy: Policy) -> None:
        """Note that another policy is in force."""
        before, self.policy = self.policy, policy
        self.on_failure = policy.settings.audit.on_failure
        self.event("policy.changed", before=before.version, after=policy.version)
        if _how(before) != _how(policy):
            keeper = self._kept()  # before anything is closed: it may refuse
            self._end()
            self._keeper = keeper  # the next record opens a journal that keeps the new promises

    def flush(self, timeout: float) -> bool:
        """Wait until the spans of every finished statement are handed over."""
        return self._spans.flush(timeout)

    def close(self) -> None:
        """Seal the segment; the next record opens another."""
        self._spans.flush(LAST_SPANS)
        self._end()
        if self.archive is not None:
            self.archive.close()

    def stats(self) -> dict[str, int]:
        """Return counters."""
        lost = self._journal.lost if self._journal is not None else 0
        kept = {} if self._keeper is None else self._keeper.stats()
        return {"refused": self.refused, "unrecorded": self.unrecorded + lost, **self._spans.stats(), **kept}

    # -- parts

    def _append(self, payload: bytes, *, durable: bool = True) -> None:
        try:
            # Once, by a local name: another policy may close it at any moment, and it opens again by itself.
            journal = self._journal or self._open()
            journal.append(payload, durable=durable)
        except AuditUnavailable:
            if self.on_failure == "refuse" and self.policy.enforce:
                raise
            self.unrecorded += 1

    def _acknowledged(self, key: str, payload: bytes, *, must_run: bool) -> None:
        """Wait until a collector has an intent, where the policy wants that; else its statement is not sent.

        But for the end of a transaction (``must_run``): what it did is on record already.
        """
        if self._keeper is None:
            return
        journal = (
            self._journal
        )  # another policy may have closed it since: the collector is asked all the same
        try:
            self._keeper.acknowledge(payload, "" if journal is None else f"{journal.id:016x}")
        except AuditUnavailable as error:
            if self.on_failure == "refuse" and self.policy.enforce and not must_run:
                said = {"status": "refused", "error": type(error).__name__}
                self._append(template.outcome(key, said), durable=False)
                raise
            self.unrecorded += 1

    def _open(self) -> Journal:
        with self._opening:
            if self._journal is None:
                strict = self.on_failure == "refuse" and self.policy.enforce
                settings = self.policy.settings.audit
                self._journal = Journal.open(
                    self.folder,
                    on_failure="refuse" if strict else "continue",
                    # What is with a collector first needs less of the disk.
                    durability="process" if settings.durability == "remote" else settings.durability,
                    window=settings.group_window_ms / 1000,
                )
                if self._keeper is not None:
                    self._journal.on_begin = self._keeper.start
                    self._keeper.start()
            return self._journal

    def _kept(self) -> Keeper | None:
        """Return what keeps the log of this trail; ``None`` where there is no place for a key."""
        if self.state is None:
            return None
        return Keeper(
            folder=self.folder,
            state=self.state,
            settings=self.policy.settings.audit,
            appended=lambda: 0 if self._journal is None else self._journal.sequence,
            close_journal=self._close_journal,
            note=lambda segment: self.event("journal.retired", **segment.details()),
        )

    def _close_journal(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def _end(self) -> None:
        self._close_journal()
        if self._keeper is not None:
            self._keeper.close()

    def _form(self, run: Run, seat: Seat) -> Template:
        """Return the template of a command of ours: the same few come with every transaction."""
        statement = run.statement
        if statement is None:
            return self._template(run, seat, None)
        here = (run.identity, seat.session, seat.catalog, seat.pgconn, self.policy)
        kept = seat.forms.get(id(statement))
        # The caller by its value, the others by identity: they are large, and made anew where they change.
        if (
            kept is not None
            and kept[0] is statement
            and kept[1][0] == run.identity
            and all(a is b for a, b in zip(kept[1][1:], here[1:], strict=True))
        ):
            form: Template = kept[2]
            return form
        form = self._template(run, seat, None)
        if len(seat.forms) >= _FORMS:
            seat.forms.clear()
        seat.forms[id(statement)] = (statement, here, form)
        return form

    def _template(self, run: Run, seat: Seat, known: Known | None) -> Template:
        if known is not None and known.template is not None:
            caller, kept = known.template
            if caller == run.identity:
                assert isinstance(kept, Template)
                return kept
        what = (
            None
            if run.statement is None
            else record.what(
                run.statement,
                run.bound,
                run.plan if run.plan is not OPEN else None,
                run.call.types,
                writes=None if known is None else known.writes,
                countable=None if known is None else known.counted or not known.beside,
            )
        )
        form = Template(who=self._who(run.identity, seat), what=what, where=self._where(seat))
        if known is not None:
            known.template = (run.identity, form)
        return form

    def _valued(
        self, call: Call, form: Template, statement: Statement | None, caller: Identity
    ) -> dict[str, Any] | None:
        """Return what is on record of a call's values."""
        mode = self.policy.settings.audit.values
        if mode == "none" or self.state is None:
            return None
        try:
            values = self._values
            if values is None or self._mode != mode:
                values = self._values = value_keys.find(mode, self.state)
                self._mode = mode
            assert values is not None
            if form.fixed is None or form.fixed[0] is not values:
                form.fixed = (values, values.fixed(statement))
            return values.section(call, form.fixed[1], f"{caller.kind}:{caller.issuer}:{caller.subject}")
        except AuditUnavailable:
            if self.on_failure == "refuse" and self.policy.enforce:
                raise
            self.unrecorded += 1
            return {"unavailable": True}

    def _who(self, caller: Identity, seat: Seat) -> dict[str, Any]:
        role = seat.session.role if seat.session is not None else seat.pgconn.user.decode(errors="replace")
        return record.who(caller, role=role, client=client_address(seat.pgconn))

    def _where(self, seat: Seat) -> dict[str, Any]:
        pgconn = seat.pgconn
        catalog = seat.catalog
        environment = self.policy.settings.environment
        if catalog is not None and self.archive is not None:
            audit = self.policy.settings.audit
            if audit.catalogs == "keep":
                self.archive.keep(catalog, audit.catalogs_kept)
        port = pgconn.port.decode(errors="replace")
        return record.where(
            record.Where(
                host=pgconn.host.decode(errors="replace"),
                port=int(port) if port.isdigit() else None,
                database=pgconn.db.decode(errors="replace"),
                backend_pid=pgconn.backend_pid,
                connection=seat.id,
            ),
            seat.session,
            "" if catalog is None else catalog.version,
            environment,
        )


def _ends(statement: Statement | None) -> bool:
    """Whether this is the end of a transaction, which must be able to end."""
    return statement is not None and statement.tag in ("ROLLBACK", "COMMIT")


def _how(policy: Policy) -> tuple[object, ...]:
    """Return what a journal is opened with, and its log kept."""
    return policy.enforce, policy.settings.audit


def _trace(caller_span: Any) -> tuple[int, int] | None:
    return None if caller_span is None else (caller_span.trace_id, caller_span.span_id)

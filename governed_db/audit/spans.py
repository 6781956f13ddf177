"""OpenTelemetry spans, made of what is on record already, in a thread of their own.

Spans are how the trail travels, not where it lives: the journal has everything, so a span may be dropped
(and counted) but never keeps a statement waiting. :mod:`governed_db.audit.shape` says what a span is made of;
:mod:`governed_db.audit.ship` sends the same spans from the journal, and drops none.

Nothing of OpenTelemetry is imported before the application has: without its API in memory there can be
neither a parent nor a provider.
"""

from __future__ import annotations

import atexit
import copy
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from governed_db.audit import record
from governed_db.audit.metrics import Meters
from governed_db.audit.shape import SCHEMA_URL, SCOPE, Shape, shape
from governed_db.audit.template import Template
from governed_db.policy.model import Decision

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import SpanContext, Tracer, TracerProvider

QUEUE = 10_000
"""Spans that may wait: at some 35 us each the thread is then a third of a second behind."""

LINGER = 0.1
"""Seconds for which the thread lets spans collect: waking it up for each would cost the caller the
interpreter's lock."""


@frozen
class Finished:
    """One statement that is over, or was refused.

    Attributes:
        id: of its intent or refusal.
        template: whose sections say who, what and where.
        decision: ``None`` where nobody was asked.
        happened: the section of its outcome, as :func:`governed_db.audit.record.happened` makes it.
        started, ended: nanoseconds since the Unix epoch.
        parent: the caller's span when the statement began (:func:`parent`).
        approval: the id of the approval that the decision rests on.
        transaction: our own id of the transaction it ran in.
    """

    id: str
    template: Template
    decision: Decision | None
    happened: Mapping[str, Any]
    started: int
    ended: int
    parent: SpanContext | None = None
    approval: str = ""
    transaction: str = ""


def parent() -> SpanContext | None:
    """Return the span that the caller is in, ``None`` outside of any. Costs a fraction of a microsecond."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    context: SpanContext = api.get_current_span().get_span_context()
    return context if context.is_valid else None


class SpanBuilder:
    """Makes spans and measurements of finished statements through the application's providers.

    Attributes:
        made, dropped: how many spans were handed to the provider, and how many statements found the queue
            full (and are in no metric either).
        failed: how many a provider raised on.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        queue_size: int = QUEUE,
    ) -> None:
        """Use these providers; without them, the global ones, looked up when a statement has finished."""
        self._given = tracer_provider
        self._meters = Meters(meter_provider)
        self._size = queue_size
        self.made = self.dropped = self.failed = 0
        self._renew()
        _builders.add(self)

    def add(self, finished: Finished) -> None:
        """Have ``finished`` told; never waits, never raises. Without a real provider, nothing."""
        if not self.wanted():
            return
        if len(self._queue) >= self._size:
            self.dropped += 1
            return
        self._queue.append(finished)
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def wanted(self) -> bool:
        """Whether anybody takes spans or metrics: an application that set up a provider."""
        return self._provider is not None or self._find_provider() or self._meters.wanted()

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until the provider has every span; return whether it has."""
        deadline = time.monotonic() + timeout
        self._hurry.set()
        self._wake.set()
        while self._queue or self._busy:
            if time.monotonic() >= deadline or self._thread is None or not self._thread.is_alive():
                return not (self._queue or self._busy)
            time.sleep(0.001)
        return True

    def stats(self) -> dict[str, int]:
        """Return counters, and how many spans wait."""
        return {
            "spans": self.made,
            "spans_dropped": self.dropped,
            "spans_failed": self.failed,
            "spans_waiting": len(self._queue),
        }

    def _renew(self) -> None:
        self._queue: deque[Finished] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    def _find_provider(self) -> bool:
        api = sys.modules.get("opentelemetry.trace")
        if api is None:
            return False
        provider = self._given if self._given is not None else api.get_tracer_provider()
        if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
            return False  # nobody set one up, so far
        self._provider = provider
        return True

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="governed_db-spans", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # out of threads, or the interpreter is going down
                self.dropped += len(self._queue)
                self._queue.clear()
                return
            self._thread = thread
            # Now, not at import: what was registered last runs first, and the provider registered its
            # shutdown when it was made. In an order of its own, the last spans would find it closed.
            atexit.register(_drain, weakref.ref(self))

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._hurry.wait(LINGER)
            self._hurry.clear()
            self._wake.clear()
            self._busy = True
            try:
                while self._queue:
                    self._make(self._queue.popleft())
                    # Threads that come back from the server wait for the interpreter's lock: one
                    # span long at most.
                    time.sleep(0)
            finally:
                self._busy = False

    def _make(self, finished: Finished) -> None:
        try:
            made = shape(entry_of(finished))
            if self._meters.wanted():
                self._meters.add(made)
            if self._provider is None:
                return
            if self._tracer is None:
                self._tracer = _tracer(self._provider)
            _span(self._tracer, made, finished.parent)
            self.made += 1
        except Exception:  # noqa: BLE001,RUF100 - a processor's bug must not end the thread
            self.failed += 1


class _Ids:
    """Span ids that follow from record ids; trace ids too where the application draws them at random."""

    def __init__(self, theirs: Any, *, random: bool) -> None:
        self._theirs = theirs
        self._random = random
        self.next: Shape | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def generate_span_id(self) -> int:
        return self.next.span_id if self.next is not None else int(self._theirs.generate_span_id())

    def generate_trace_id(self) -> int:
        # Other generators mean something by their trace ids; AWS X-Ray wants the time in them.
        if self.next is not None and self._random:
            return self.next.trace_id
        return int(self._theirs.generate_trace_id())


def _tracer(provider: TracerProvider) -> Tracer:
    tracer = provider.get_tracer(SCOPE, schema_url=SCHEMA_URL)
    theirs = getattr(tracer, "id_generator", None)
    if theirs is None:
        return tracer  # not the SDK's: ids are the provider's affair
    # A copy: get_tracer() hands the same one to everybody who asks for this scope.
    tracer = copy.copy(tracer)
    random = type(theirs).__name__ == "RandomIdGenerator"
    tracer.id_generator = _Ids(theirs, random=random)  # type: ignore[attr-defined]  # the SDK's, not the API's
    return tracer


def _span(tracer: Tracer, shape: Shape, parent: SpanContext | None) -> None:
    # In memory already, or there would be no provider: see the module's docstring.
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import (  # noqa: PLC0415
        NonRecordingSpan,
        SpanKind,
        Status,
        StatusCode,
        set_span_in_context,
    )

    context = Context()
    if parent is not None:
        context = set_span_in_context(NonRecordingSpan(parent), context)
    ids = getattr(tracer, "id_generator", None)
    if isinstance(ids, _Ids):
        ids.next = shape
    span = tracer.start_span(
        shape.name,
        context=context,
        kind=SpanKind[shape.kind.upper()],
        attributes=shape.attributes,
        start_time=shape.started,
    )
    if shape.failed:
        span.set_status(Status(StatusCode.ERROR, shape.description or None))
    span.end(end_time=shape.ended)


def entry_of(finished: Finished) -> dict[str, Any]:
    """Return ``finished`` as readers of the trail see it: one object, with what became of it."""
    form, decision = finished.template, finished.decision
    happened = dict(finished.happened)
    if "duration_us" in happened:
        happened["ended"] = record.instant(finished.ended)
    sections: dict[str, Any] = {
        "who": form.who,
        "what": form.what,
        "may": None if decision is None else record.may(decision, finished.approval),
        "where": form.where,
        "happened": happened,
    }
    if finished.transaction:
        sections["where"] = {**form.where, "transaction": finished.transaction}
    if finished.parent is not None:
        sections["where"] = {
            **sections["where"],
            "trace_id": f"{finished.parent.trace_id:032x}",
            "parent_span_id": f"{finished.parent.span_id:016x}",
        }
    return {"id": finished.id, "at": record.instant(finished.started), **sections}


_builders: weakref.WeakSet[SpanBuilder] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The parent's thread is not here, and its queue is the parent's to send.
    for builder in tuple(_builders):
        builder._renew()


def _drain(builder: weakref.ref[SpanBuilder]) -> None:
    alive = builder()
    if alive is not None:
        alive.flush(1.0)


os.register_at_fork(after_in_child=_after_fork_in_child)

"""OpenTelemetry spans, made of what is on record already, in a thread of their own.

Spans are how the trail travels, not where it lives: the journal has everything, so a span may be dropped
(and counted) but never keeps a statement waiting. A span's attributes are those of OpenTelemetry's stable
database conventions (1.33), ``user.id``, ``session.id``, ``gen_ai.*`` and ours under ``governed_db.``.

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

from governed_db.audit.record import span_id
from governed_db.audit.template import Template
from governed_db.policy.model import Decision

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, Tracer, TracerProvider

QUEUE = 10_000
"""Spans that may wait: at some 35 us each the thread is then a third of a second behind."""

LINGER = 0.1
"""Seconds for which the thread lets spans collect: waking it up for each would cost the caller the
interpreter's lock."""

_SCOPE = "governed_db"
_SCHEMA = "https://opentelemetry.io/schemas/1.33.0"


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
    """

    id: str
    template: Template
    decision: Decision | None
    happened: Mapping[str, Any]
    started: int
    ended: int
    parent: SpanContext | None = None
    approval: str = ""


def parent() -> SpanContext | None:
    """Return the span that the caller is in, ``None`` outside of any. Costs a fraction of a microsecond."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    context: SpanContext = api.get_current_span().get_span_context()
    return context if context.is_valid else None


class SpanBuilder:
    """Makes spans of finished statements through the application's tracer provider.

    Attributes:
        made, dropped: how many spans were handed to the provider, and how many found the queue full.
        failed: how many the provider raised on.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None, *, queue_size: int = QUEUE) -> None:
        """Use ``tracer_provider``; without one, the global one, looked up when a statement has finished."""
        self._given = tracer_provider
        self._size = queue_size
        self.made = self.dropped = self.failed = 0
        self._renew()
        _builders.add(self)

    def add(self, finished: Finished) -> None:
        """Have a span made of ``finished``; never waits, never raises. Without a real provider, nothing."""
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
        """Whether anybody takes spans: an application that set up a provider."""
        return self._provider is not None or self._find_provider()

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
            if self._tracer is None and self._provider is not None:
                self._tracer = _tracer(self._provider)
            assert self._tracer is not None
            _span(self._tracer, finished)
            self.made += 1
        except Exception:  # noqa: BLE001,RUF100 - a processor's bug must not end the thread
            self.failed += 1


class _Ids:
    """Span ids that follow from record ids; trace ids as the application makes them."""

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        self.next = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def generate_span_id(self) -> int:
        return self.next or int(self._theirs.generate_span_id())


def _tracer(provider: TracerProvider) -> Tracer:
    tracer = provider.get_tracer(_SCOPE, schema_url=_SCHEMA)
    theirs = getattr(tracer, "id_generator", None)
    if theirs is None:
        return tracer  # not the SDK's: span ids are the provider's affair
    # A copy: get_tracer() hands the same one to everybody who asks for this scope.
    tracer = copy.copy(tracer)
    tracer.id_generator = _Ids(theirs)  # type: ignore[attr-defined]  # the SDK's, not the API's
    return tracer


def _span(tracer: Tracer, finished: Finished) -> None:
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
    if finished.parent is not None:
        context = set_span_in_context(NonRecordingSpan(finished.parent), context)
    ids = getattr(tracer, "id_generator", None)
    if isinstance(ids, _Ids):
        ids.next = span_id(finished.id)
    values = attributes(finished)
    span = tracer.start_span(
        span_name(finished),
        context=context,
        kind=SpanKind.CLIENT,
        attributes=values,
        start_time=finished.started,
    )
    if "error.type" in values:
        # No description: the server's message quotes values.
        span.set_status(Status(StatusCode.ERROR))
    span.end(end_time=finished.ended)


def span_name(finished: Finished) -> str:
    """Return ``db.query.summary``, or what the conventions name next where there is none."""
    what = finished.template.what or {}
    name: str = (
        what.get("summary") or what.get("tag") or finished.template.where.get("database") or "postgresql"
    )
    return name


def attributes(finished: Finished) -> dict[str, Any]:
    """Return a span's attributes."""
    who, where = finished.template.who, finished.template.where
    what = finished.template.what or {}
    happened, decision = finished.happened, finished.decision
    collections = {r["name"] for r in what.get("relations", ())}
    batch = happened.get("batch_size", 0)
    values = {
        "db.system.name": "postgresql",
        "db.namespace": where.get("database"),
        "db.query.text": what.get("text"),
        "db.query.summary": what.get("summary"),
        "db.operation.name": what.get("tag"),
        "db.operation.batch.size": batch if batch > 1 else None,
        "db.collection.name": collections.pop() if len(collections) == 1 else None,
        "db.response.status_code": happened.get("sqlstate"),
        "server.address": where.get("host"),
        "server.port": where.get("port"),
        "error.type": _error_type(happened),
        "user.id": who.get("subject"),
        "session.id": who.get("session"),
        "gen_ai.agent.id": who.get("subject") if who.get("kind") == "agent" else None,
        "gen_ai.tool.call.id": who.get("tool_call"),
        "governed_db.identity.kind": who.get("kind"),
        "governed_db.on_behalf_of": _chain(who.get("on_behalf_of", ())),
        "governed_db.columns.masked": [m["column"] for m in what.get("masked", ())],
        "governed_db.approval.id": finished.approval,
    }
    if decision is not None:
        values["governed_db.decision"] = decision.verdict.value
        values["governed_db.rule"] = decision.rule
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _error_type(happened: Mapping[str, Any]) -> str | None:
    if happened.get("status") == "ok":
        return None
    # "_OTHER" is the conventions' word for an error without a name.
    return happened.get("error") or happened.get("sqlstate") or "_OTHER"


def _chain(principals: Any) -> str:
    return " for ".join(f"{p['kind']}:{p['subject']}" if p["subject"] else p["kind"] for p in principals)


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

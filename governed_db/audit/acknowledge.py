"""Durability ``remote``: a record is with the collector before its statement is sent.

For processes whose disk dies with them. What is acknowledged is the record itself, as a log record in the
trace that its statement will have; the span follows when the journal is shipped, under the same record id.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from governed_db.audit import otlp
from governed_db.audit.collector import Answer, Collector, Verdict
from governed_db.audit.destination import Destination
from governed_db.errors import AuditUnavailable

RULE = "audit.remote"

TIMEOUT = 5.0
"""Seconds that a statement waits for the collector: enough for one behind a load balancer to be replaced,
shorter than what callers wait for a statement."""

IDLE = 16
"""Connections that are kept open while nobody uses them; threads that wait at once have one each."""


class Acknowledger:
    """Sends records; returns once a collector has them. Safe with threads; a forked child connects anew."""

    def __init__(
        self,
        destination: Destination,
        *,
        events: Literal["auto", "logs", "spans"] = "auto",
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Send to ``destination``; the rest is as for :class:`governed_db.audit.ship.Shipper`."""
        self.destination = destination
        self._signal = otlp.TRACES if events == "spans" else otlp.LOGS
        self._spans_will_do = events == "auto"
        self._service = otlp.service(environment) | {"process.pid": os.getpid()}
        self._idle: list[Collector]
        self._renew()
        _acknowledgers.add(self)

    def __repr__(self) -> str:
        return f"<Acknowledger {self.destination}>"

    def acknowledge(self, *payloads: bytes, journal: str = "", timeout: float = TIMEOUT) -> None:
        """Return once the collector has accepted ``payloads``, all of them. Blocks for a round trip.

        What fails is not tried again, except over a connection that the collector had closed while it was
        idle: the statement is refused, and its caller may try again.

        Args:
            payloads: records, as they are stored.
            journal: their writer's id, sixteen hexadecimal digits.
            timeout: seconds, for the whole of it.

        Raises:
            AuditUnavailable: the collector did not, or does not want them.
        """
        deadline = time.monotonic() + timeout
        items = [otlp.event(orjson.loads(p), journal, signal=self._signal, body=p) for p in payloads]
        with self._lock:
            collector = self._idle.pop() if self._idle else Collector(self.destination)
        try:
            answer = self._send(collector, items, journal, deadline)
        except BaseException:
            collector.close()
            raise
        with self._lock:
            kept = len(self._idle) < IDLE
            if kept:
                self._idle.append(collector)
        if not kept:
            collector.close()
        if answer.verdict is not Verdict.ACCEPTED:
            raise AuditUnavailable(
                f"The collector {self.destination} has not acknowledged the record: {answer.why}"
                f" [rule {RULE}]. The statement was not sent.",
                rule=RULE,
                remedy="bring the collector back, or choose another durability for the trail",
                retryable=True,
            )

    def _send(self, collector: Collector, items: list[otlp.Item], journal: str, deadline: float) -> Answer:
        signal = self._signal
        body = otlp.request(items, {journal: self._resource(journal)})
        answer = collector.send(signal, body, timeout=max(0.0, deadline - time.monotonic()))
        if answer.verdict is Verdict.ABSENT and self._spans_will_do and signal == otlp.LOGS:
            self._signal = otlp.TRACES
            return self._send(collector, [otlp.as_span(i) for i in items], journal, deadline)
        return answer

    def close(self) -> None:
        """Close the connections that nobody uses. A later record opens another."""
        with self._lock:
            idle = self._idle
            self._idle = []
        for collector in idle:
            collector.close()

    def _resource(self, journal: str) -> dict[str, Any]:
        return self._service | (otlp.resource(None, journal) if journal else {})

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._idle = []


_acknowledgers: weakref.WeakSet[Acknowledger] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for one in tuple(_acknowledgers):
        # The parent's connections: what a child sends there lands in the middle of the parent's requests.
        one._renew()
        one._service["process.pid"] = os.getpid()


os.register_at_fork(after_in_child=_after_fork_in_child)

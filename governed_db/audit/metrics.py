"""Metrics of statements: how long they took, and what was decided about them.

Through the application's meter provider, in the thread that makes spans; nothing of OpenTelemetry is
imported before the application has.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from governed_db.audit.shape import SCHEMA_URL, SCOPE, Shape

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, MeterProvider

BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""Seconds: the boundaries that the conventions give for ``db.client.operation.duration``."""

_OF_DURATION = (
    "db.system.name",
    "db.namespace",
    "db.collection.name",
    "db.operation.name",
    "db.query.summary",
    "db.response.status_code",
    "error.type",
    "server.address",
    "server.port",
)
# Without who asked: a metric has one time series for each combination of values.
_OF_DECISIONS = (
    "db.system.name",
    "db.namespace",
    "server.address",
    "server.port",
    "governed_db.decision",
    "governed_db.rule",
    "governed_db.identity.kind",
)


class Meters:
    """The instruments of one governor."""

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        """Use ``meter_provider``; without one, the global one, looked up when a statement has finished."""
        self._given = meter_provider
        self._instruments: tuple[Histogram, Counter] | None = None

    def wanted(self) -> bool:
        """Whether anybody takes metrics: an application that set up a provider."""
        return self._instruments is not None or self._find()

    def add(self, shape: Shape) -> None:
        """Count one statement. One that was not sent (it has no duration) counts as a decision only."""
        if not self.wanted():
            return
        assert self._instruments is not None
        duration, decisions = self._instruments
        values = shape.attributes
        if shape.ended > shape.started:
            duration.record((shape.ended - shape.started) / 1e9, _some(values, _OF_DURATION))
        if "governed_db.decision" in values:
            decisions.add(1, _some(values, _OF_DECISIONS))

    def _find(self) -> bool:
        api: Any = sys.modules.get("opentelemetry.metrics")
        if api is None:
            return False
        provider = self._given if self._given is not None else api.get_meter_provider()
        # The API's stand-in until somebody sets a provider; its class is not public.
        if isinstance(provider, api.NoOpMeterProvider) or type(provider).__name__ == "_ProxyMeterProvider":
            return False
        meter = provider.get_meter(SCOPE, schema_url=SCHEMA_URL)
        self._instruments = (
            meter.create_histogram(
                "db.client.operation.duration",
                unit="s",
                description="Duration of database client operations.",
                explicit_bucket_boundaries_advisory=BUCKETS,
            ),
            meter.create_counter(
                "governed_db.decisions",
                unit="{decision}",
                description="Decisions about statements, by verdict and rule.",
            ),
        )
        return True


def _some(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}

"""Spans of the process and spans of the journal are the same, on a real server."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import governed_db
from governed_db import Governor, Identity
from governed_db.audit import statements
from governed_db.audit.shape import shape

AGENT = Identity.agent(
    "bot", on_behalf_of=Identity.human("anna"), session="s-1", tool_call="c-1", groups=["g"]
)
TEXTS = (
    "SELECT 1",
    "CREATE TABLE parity (id int PRIMARY KEY, email text)",
    "SELECT id, email FROM parity WHERE id = 1",
    "DROP TABLE parity",
    "DELETE FROM parity",
    "SELECT nothing FROM parity",
    "SELECT 1/0",
)


@pytest.mark.parametrize("preset", ["observe", "standard"])
def test_each_statement_has_one_span_and_it_is_the_same_both_ways(
    preset: str, tmp_path: Path, dsn: str
) -> None:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    governor = Governor.preset(preset, state_dir=tmp_path, tracer_provider=provider, meter_provider=meters)
    with governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        for text in TEXTS:
            with contextlib.suppress(governed_db.Error):
                conn.execute(text)
        with provider.get_tracer("app").start_as_current_span("request"):
            conn.execute("SELECT 2")
        with contextlib.suppress(governed_db.Error):
            conn.cursor().executemany("INSERT INTO parity VALUES (%s)", [(1,), (2,)])
    governor.flush(5)
    governor.close()
    made = {
        str(s.attributes["governed_db.record.id"]): s
        for s in exporter.get_finished_spans()
        if s.name != "request"
    }
    found = {e["id"]: shape(e) for e in statements(governor.trail.folder) if e["kind"] != "attempt"}
    assert sorted(made) == sorted(found)
    for key, span in made.items():
        other = found[key]
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in span.attributes.items()}
        assert values == other.attributes
        assert (span.name, span.start_time, span.end_time) == (other.name, other.started, other.ended)
        assert (span.context.trace_id, span.context.span_id) == (other.trace_id, other.span_id)
        assert (span.status.description or "") == other.description
    assert reader.get_metrics_data() is not None
    meters.shutdown()

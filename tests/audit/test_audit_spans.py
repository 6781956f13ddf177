from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from governed_db.audit import record
from governed_db.audit.shape import SCHEMA_URL, SCOPE, attributes, trace_id
from governed_db.audit.spans import Finished, SpanBuilder, entry_of, parent
from governed_db.audit.template import Template
from governed_db.identity import NOBODY, Identity
from governed_db.policy.model import Decision, Verdict


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def _finished(template: Template, decision: Decision | None, **changes: Any) -> Finished:
    values: dict[str, Any] = {
        "id": record.new_id(),
        "template": template,
        "decision": decision,
        "happened": record.happened("ok", duration_us=5, rows_returned=1),
        "started": 1_000_000_000,
        "ended": 1_000_005_000,
    }
    return Finished(**values | changes)


def _attributes(finished: Finished) -> dict[str, Any]:
    return attributes(entry_of(finished))


def _one(builder: SpanBuilder, exporter: InMemorySpanExporter, finished: Finished) -> ReadableSpan:
    builder.add(finished)
    assert builder.flush(5)
    (span,) = exporter.get_finished_spans()
    return span


def test_a_statement_becomes_a_span_with_the_stable_conventions(
    provider: TracerProvider,
    exporter: InMemorySpanExporter,
    template: Template,
    decision: Decision,
    canary: str,
) -> None:
    finished = _finished(template, decision, approval="apr-1", transaction="c-1.4")
    span = _one(SpanBuilder(provider), exporter, finished)
    assert span.name == "SELECT public.orders"
    assert span.kind is SpanKind.CLIENT
    assert (span.start_time, span.end_time) == (1_000_000_000, 1_000_005_000)
    assert span.status.status_code is StatusCode.UNSET
    assert span.context.span_id == record.span_id(finished.id)
    assert dict(span.attributes or {}) == {
        db_attributes.DB_SYSTEM_NAME: "postgresql",
        db_attributes.DB_NAMESPACE: "shop",
        db_attributes.DB_QUERY_TEXT: "SELECT id FROM public.orders WHERE card = $2 AND n = $1",
        db_attributes.DB_QUERY_SUMMARY: "SELECT public.orders",
        db_attributes.DB_OPERATION_NAME: "SELECT",
        db_attributes.DB_COLLECTION_NAME: "public.orders",
        server_attributes.SERVER_ADDRESS: "db",
        server_attributes.SERVER_PORT: 5432,
        "client.address": "10.1.2.3",
        "user.id": "assistant",
        "user.roles": ("eu", "support"),
        "session.id": "s-1",
        "gen_ai.agent.id": "assistant",
        "gen_ai.agent.name": "assistant",
        "gen_ai.tool.call.id": "call-7",
        "governed_db.record.id": finished.id,
        "governed_db.outcome": "ok",
        "governed_db.decision": "allow",
        "governed_db.rule": "agents.read",
        "governed_db.reason": "agents may read",
        "governed_db.policy": "p-1",
        "governed_db.shadowed": ("strict: block",),
        "governed_db.on_behalf_of": "human:anna for unknown:board",
        "governed_db.on_behalf_of.verified": False,
        "governed_db.purpose": "answer a ticket",
        "governed_db.identity.kind": "agent",
        "governed_db.identity.verified": False,
        "governed_db.role": "app",
        "governed_db.approval.id": "apr-1",
        "governed_db.effects": ("select",),
        "governed_db.relations": ("public.orders",),
        "governed_db.fingerprint": "ab" * 8,
        "governed_db.rows.returned": 1,
        "governed_db.connection": "c-1",
        "governed_db.transaction": "c-1.4",
    }
    assert canary not in span.to_json()


def test_errors_refusals_and_batches(template: Template, decision: Decision) -> None:
    failed = record.happened("error", duration_us=1, sqlstate="23505", error="UniqueViolation", batch_size=3)
    values = _attributes(_finished(template, decision, happened=failed))
    assert values[db_attributes.DB_RESPONSE_STATUS_CODE] == "23505"
    assert values[error_attributes.ERROR_TYPE] == "UniqueViolation"
    assert values[db_attributes.DB_OPERATION_BATCH_SIZE] == 3
    single = record.happened("unknown", duration_us=1, batch_size=1)
    values = _attributes(_finished(template, decision, happened=single))
    assert db_attributes.DB_OPERATION_BATCH_SIZE not in values
    assert values[error_attributes.ERROR_TYPE] == "_OTHER"
    only_state = record.happened("error", duration_us=1, sqlstate="57014")
    assert _attributes(_finished(template, decision, happened=only_state))["error.type"] == "57014"


def test_a_refusal_is_a_span_with_an_error(
    provider: TracerProvider, exporter: InMemorySpanExporter, template: Template, decision: Decision
) -> None:
    blocked = decision.replace(verdict=Verdict.BLOCK, rule="agents.ddl")
    span = _one(
        SpanBuilder(provider),
        exporter,
        _finished(template, blocked, happened={"status": "refused", "error": "StatementBlocked"}),
    )
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "agents may read"
    assert (span.attributes or {})["error.type"] == "StatementBlocked"
    assert (span.attributes or {})["governed_db.decision"] == "block"


def test_nothing_is_made_up_where_nothing_is_known() -> None:
    bare = Template(who=record.who(NOBODY), what=None, where={"database": "shop"})
    finished = _finished(bare, None)
    assert _attributes(finished) == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "governed_db.record.id": finished.id,
        "governed_db.outcome": "ok",
        "governed_db.identity.kind": "unknown",
        "governed_db.identity.verified": False,
        "governed_db.rows.returned": 1,
    }
    person = Template(
        who=record.who(Identity.human("anna")),
        what={
            "relations": [{"name": "a", "access": "read"}, {"name": "b", "access": "read"}],
            "masked": [{"column": "a.mail"}, {"column": "b.mail"}],
        },
        where={},
    )
    values = _attributes(_finished(person, None))
    assert values["user.id"] == "anna"
    assert values["governed_db.columns.masked"] == ["a.mail", "b.mail"]
    assert not {"gen_ai.agent.id", "db.collection.name", "db.query.text", "server.port"} & set(values)


def test_the_agent_is_the_nearest_of_those_acted_for() -> None:
    helper = Identity.service("tools", on_behalf_of=Identity.agent("planner", on_behalf_of="anna"))
    values = _attributes(_finished(Template(who=record.who(helper), what=None, where={}), None))
    assert (values["user.id"], values["gen_ai.agent.id"]) == ("tools", "planner")


def test_a_span_joins_the_callers_trace(
    provider: TracerProvider, exporter: InMemorySpanExporter, template: Template, decision: Decision
) -> None:
    assert parent() is None
    with provider.get_tracer("app").start_as_current_span("request") as request:
        captured = parent()
    assert captured == request.get_span_context()
    builder = SpanBuilder(provider)
    builder.add(_finished(template, decision, parent=captured))
    assert builder.flush(5)
    mine = exporter.get_finished_spans()[-1]
    assert mine.context.trace_id == request.get_span_context().trace_id
    assert mine.parent == captured


def test_without_a_parent_each_statement_is_a_trace_of_its_own(
    provider: TracerProvider, exporter: InMemorySpanExporter, template: Template, decision: Decision
) -> None:
    builder = SpanBuilder(provider)
    with provider.get_tracer("app").start_as_current_span("elsewhere"):
        for _ in range(3):
            builder.add(_finished(template, decision))
        assert builder.flush(5)
    made = [s for s in exporter.get_finished_spans() if s.name != "elsewhere"]
    assert len({s.context.trace_id for s in made}) == 3
    # Those that are shipped from the journal have the same.
    ids = [str((s.attributes or {})["governed_db.record.id"]) for s in made]
    assert [s.context.trace_id for s in made] == [trace_id(i) for i in ids]
    assert [s.parent for s in made] == [None, None, None]


def test_span_ids_of_the_application_are_left_alone(
    provider: TracerProvider, exporter: InMemorySpanExporter, template: Template, decision: Decision
) -> None:
    shared: Any = provider.get_tracer(SCOPE, schema_url=SCHEMA_URL)
    before = shared.id_generator
    builders = [SpanBuilder(provider), SpanBuilder(provider)]
    finished = [_finished(template, decision) for _ in range(20)]
    for n, one in enumerate(finished):
        builders[n % 2].add(one)
    assert all(b.flush(5) for b in builders)
    made = {s.context.span_id for s in exporter.get_finished_spans()}
    assert made == {record.span_id(f.id) for f in finished}
    assert shared.id_generator is before


class _Dated(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        return 0x5759E988BD862E3FE1BE46A994272793


def test_trace_ids_that_mean_something_stay_the_applications(
    exporter: InMemorySpanExporter, template: Template, decision: Decision
) -> None:
    provider = TracerProvider(id_generator=_Dated(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = _one(SpanBuilder(provider), exporter, _finished(template, decision))
    assert span.context.trace_id == _Dated().generate_trace_id()


def test_the_applications_sampler_decides(template: Template, decision: Decision) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    builder = SpanBuilder(provider)
    builder.add(_finished(template, decision))
    assert builder.flush(5)
    assert exporter.get_finished_spans() == ()
    assert builder.stats()["spans_failed"] == 0


class _Stuck(SpanProcessor):
    def __init__(self) -> None:
        self.go = threading.Event()

    def on_end(self, span: ReadableSpan) -> None:
        self.go.wait(10)


def test_a_slow_exporter_never_keeps_a_statement_waiting(template: Template, decision: Decision) -> None:
    stuck = _Stuck()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(stuck)
    builder = SpanBuilder(provider, queue_size=50)
    started = time.monotonic()
    for _ in range(500):
        builder.add(_finished(template, decision))
    assert not builder.flush(0.2)
    assert time.monotonic() - started < 5
    stats = builder.stats()
    assert stats["spans_dropped"] >= 449
    stuck.go.set()
    assert builder.flush(5)
    stats = builder.stats()
    assert stats["spans"] + stats["spans_dropped"] == 500
    assert stats["spans_waiting"] == 0


class _Broken(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("processor is broken")


def test_a_broken_processor_does_not_end_the_thread(template: Template, decision: Decision) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Broken())
    builder = SpanBuilder(provider)
    for _ in range(3):
        builder.add(_finished(template, decision))
        assert builder.flush(5)
    assert builder.stats()["spans_failed"] == 3


def test_without_a_provider_nothing_happens(template: Template, decision: Decision) -> None:
    threads = threading.active_count()
    for builder in (SpanBuilder(), SpanBuilder(trace.NoOpTracerProvider())):
        builder.add(_finished(template, decision))
        assert builder.flush(0)
        assert set(builder.stats().values()) == {0}
    assert threading.active_count() == threads


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_makes_its_own_spans(
    provider: TracerProvider, exporter: InMemorySpanExporter, template: Template, decision: Decision
) -> None:
    builder = SpanBuilder(provider)
    builder.add(_finished(template, decision))
    assert builder.flush(5)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = len(exporter.get_finished_spans())
        builder.add(_finished(template, decision))
        done = builder.flush(5)
        os.write(write, b"%d %d" % (done, len(exporter.get_finished_spans()) - before))
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 20) == b"1 1"
    os.close(read)
    os.close(write)


LATE = """
import sys
from governed_db.audit.spans import Finished, SpanBuilder, parent
from governed_db.audit.template import Template
assert not [m for m in sys.modules if m.startswith("opentelemetry")], "imported too early"
builder = SpanBuilder()
form = Template(who={"kind": "human", "subject": "anna"}, what=None, where={"database": "shop"})
def finished(n):
    return Finished(f"00000000000000ab-{n:012x}", form, None, {"status": "ok"}, 1, 2, parent())
builder.add(finished(1))
assert not [m for m in sys.modules if m.startswith("opentelemetry")], "imported by a statement"
import opentelemetry.trace
builder.add(finished(2))
assert "opentelemetry.sdk" not in sys.modules
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, BatchSpanProcessor
provider = TracerProvider()
exporter = ConsoleSpanExporter(formatter=lambda s: f"{s.context.span_id:x}\\n")
provider.add_span_processor(BatchSpanProcessor(exporter))
opentelemetry.trace.set_tracer_provider(provider)
builder.add(finished(3))
from governed_db.audit.record import span_id
sys.stderr.write(f"{span_id(finished(3).id):x}")
"""


def test_a_provider_set_late_is_found_and_the_last_spans_leave_before_it_closes(
    process: Callable[..., Popen[str]],
) -> None:
    run = process(LATE)
    output, errors = run.communicate(timeout=30)
    assert run.returncode == 0, errors
    assert output.split() == [errors]

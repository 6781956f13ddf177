"""A record as a span, by OpenTelemetry's conventions: names, batches, ids and times."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from governed_db.audit import record
from governed_db.audit.metrics import BUCKETS, Meters
from governed_db.audit.shape import LONGEST_LIST, attributes, nanoseconds, shape, trace_id
from governed_db.audit.spans import Finished, SpanBuilder
from governed_db.audit.template import Template
from governed_db.policy.model import Decision

ID = "f26d353e271a5719-00000001d4c0"


def _entry(**sections: Any) -> dict[str, Any]:
    return {"kind": "intent", "id": ID, "at": "2026-11-21T06:26:10.914053Z", **sections}


@pytest.mark.parametrize(
    ("sections", "name"),
    [
        ({"what": {"summary": "SELECT customers", "tag": "SELECT"}}, "SELECT customers"),
        (
            {"what": {"tag": "SELECT", "relations": [{"name": "a"}]}, "where": {"database": "shop"}},
            "SELECT a",
        ),
        (
            {"what": {"tag": "BEGIN"}, "where": {"database": "shop", "search_path": ["pg_catalog", "app"]}},
            "BEGIN shop|app",
        ),
        ({"where": {"host": "db", "port": 5432}}, "db:5432"),
        ({"where": {"host": "db"}, "what": {"tag": "COMMIT"}}, "COMMIT db"),
        ({}, "postgresql"),
        (
            {"what": {"summary": "INSERT orders"}, "happened": {"status": "ok", "batch_size": 3}},
            "BATCH INSERT orders",
        ),
    ],
)
def test_the_name_is_the_summary_or_what_comes_next(sections: dict[str, Any], name: str) -> None:
    assert shape(_entry(**sections)).name == name


@pytest.mark.parametrize(("size", "said"), [(0, 0), (None, None), (1, None), (2, 2)])
def test_a_batch_is_two_sets_of_parameters_or_none_at_all(size: int | None, said: int | None) -> None:
    happened = {"status": "ok"} | ({} if size is None else {"batch_size": size})
    values = attributes(_entry(what={"tag": "INSERT"}, happened=happened))
    assert values.get("db.operation.batch.size") == said
    assert values["db.operation.name"] == ("INSERT" if said is None else "BATCH INSERT")


@pytest.mark.parametrize(
    ("where", "namespace"),
    [
        ({"database": "shop", "search_path": ["pg_catalog", "public"]}, "shop|public"),
        ({"database": "shop", "search_path": ["pg_temp_3", "pg_catalog", "app", "public"]}, "shop|app"),
        ({"database": "shop", "search_path": ["pg_catalog"]}, "shop"),
        ({"database": "shop"}, "shop"),
        ({}, None),
    ],
)
def test_the_namespace_is_database_and_current_schema(where: dict[str, Any], namespace: str | None) -> None:
    assert attributes(_entry(where=where)).get("db.namespace") == namespace


def test_times_and_ids_follow_from_the_record() -> None:
    made = shape(
        _entry(happened={"status": "ok", "duration_us": 1213, "ended": "2026-11-21T06:26:10.915266Z"})
    )
    assert made.started == nanoseconds("2026-11-21T06:26:10.914053Z")
    assert made.ended - made.started == 1_213_000
    assert (made.span_id, made.trace_id, made.parent_span_id) == (record.span_id(ID), trace_id(ID), 0)
    child = shape(_entry(where={"trace_id": "4b" * 16, "parent_span_id": "00f067aa0ba902b7"}))
    assert (child.trace_id, child.parent_span_id) == (int("4b" * 16, 16), 0xF067AA0BA902B7)
    assert len({trace_id(f"f26d353e271a5719-{n:012x}") & 0xFFFF for n in range(100)}) > 90


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (_entry(happened={"status": "ok"}), None),
        (_entry(happened={"status": "unknown"}), "_OTHER"),
        (
            _entry(happened={"status": "error", "sqlstate": "42P01", "error": "UndefinedTable"}),
            "UndefinedTable",
        ),
        (_entry(happened={"status": "cancelled", "sqlstate": "57014"}), "57014"),
        (_entry(kind="attempt", may={"verdict": "block", "rule": "statement.syntax"}), "statement.syntax"),
    ],
)
def test_what_did_not_end_well_is_an_error(entry: dict[str, Any], error: str | None) -> None:
    made = shape(entry)
    assert made.attributes.get("error.type") == error
    assert made.failed is (error is not None)
    assert made.description == ""


def test_a_refusal_says_why_and_a_servers_error_does_not() -> None:
    may = {"verdict": "block", "rule": "agents.drop", "reason": "it destroys an object"}
    refused = {"status": "refused", "error": "StatementBlocked"}
    assert shape(_entry(kind="refusal", may=may, happened=refused)).description == "it destroys an object"
    failed = {"status": "error", "sqlstate": "42P01"}
    assert shape(_entry(may=may, happened=failed)).description == ""


def test_of_several_commands_none_is_the_operation() -> None:
    what = {
        "tag": "SELECT",
        "relations": [{"name": "a"}],
        "effects": [{"kind": "select"}, {"kind": "multiple"}],
    }
    assert not {"db.operation.name", "db.collection.name"} & set(attributes(_entry(what=what)))


def test_columns_are_named_and_long_lists_cut() -> None:
    columns = [f"public.wide.c{n}" for n in range(LONGEST_LIST + 5)]
    touched = {"read": [*range(len(columns) - 1), "public.other.x"]}
    said = attributes(_entry(what={"columns": columns, "touched": touched}))["governed_db.columns.read"]
    assert said[0] == "public.wide.c0"
    assert said[LONGEST_LIST:] == ["... and 5 more"]


def test_the_mcp_session_is_sent_once_a_record_has_one() -> None:
    assert attributes(_entry(who={"kind": "agent", "mcp_session": "m-1"}))["mcp.session.id"] == "m-1"


def _finished(template: Template, decision: Decision | None, **changes: Any) -> Finished:
    values: dict[str, Any] = {
        "id": record.new_id(),
        "template": template,
        "decision": decision,
        "happened": record.happened("ok", duration_us=2000),
        "started": 1_000_000_000,
        "ended": 1_002_000_000,
    }
    return Finished(**values | changes)


def test_metrics_have_the_conventions_buckets_and_count_decisions(
    template: Template, decision: Decision
) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    # Metrics alone: no tracer provider was set up.
    builder = SpanBuilder(meter_provider=provider)
    builder.add(_finished(template, decision))
    builder.add(_finished(template, decision))
    refused = {"status": "refused", "error": "StatementBlocked"}
    builder.add(_finished(template, decision, happened=refused, ended=1_000_000_000))
    assert builder.flush(5)
    data = reader.get_metrics_data()
    assert data is not None
    (metrics,) = [scope.metrics for one in data.resource_metrics for scope in one.scope_metrics]
    found = {m.name: m for m in metrics}
    duration = found["db.client.operation.duration"]
    assert duration.unit == "s"
    (point,) = duration.data.data_points
    assert (point.count, point.sum) == (2, 0.004)
    assert point.explicit_bounds == BUCKETS
    assert (point.attributes or {})["db.query.summary"] == "SELECT public.orders"
    assert "user.id" not in (point.attributes or {})
    decisions = found["governed_db.decisions"].data.data_points
    assert sum(p.value for p in decisions) == 3
    assert {(p.attributes or {})["governed_db.rule"] for p in decisions} == {"agents.read"}
    provider.shutdown()


def test_without_a_meter_provider_nothing_is_measured() -> None:
    assert not Meters().wanted()

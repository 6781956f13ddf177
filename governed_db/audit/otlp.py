"""The trail in OpenTelemetry's protocol: spans of statements, log records of everything else.

Messages are those of ``opentelemetry-proto``, the extra ``otlp``: import this module where something is sent.
The SDK's exporter is not used: it drops what it cannot send after a few seconds, keeps no cursor,
and takes an answer with rejections for success.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import orjson
from attrs import frozen
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from governed_db.audit.record import RecordKind, span_id
from governed_db.audit.shape import SCHEMA_URL, SCOPE, attributes, nanoseconds, shape, trace_id

TRACES, LOGS = "traces", "logs"
"""The signals, as they are named in a collector's paths (``/v1/traces``)."""

SAMPLED = 1
"""The W3C's trace flag: whatever the caller's sampler said of its own spans, this one is sent."""

_INFO, _WARN, _ERROR = 9, 13, 17  # SeverityNumber of OpenTelemetry's log data model
_SEVERITY = {
    "damage": _ERROR,
    "journal.tampered": _ERROR,
    "journal.gap": _WARN,
    "policy.stale": _WARN,
    "identity.refused": _WARN,
}
_SEVERITY_TEXT = {_INFO: "INFO", _WARN: "WARN", _ERROR: "ERROR"}
# They are about statements, and an event is none.
_NOT_OF_EVENTS = frozenset({"db.system.name", "error.type"})


@frozen
class Item:
    """One thing to send.

    Attributes:
        key: the record's id; the same each time it is sent.
        signal: :data:`TRACES` or :data:`LOGS`.
        journal: whose resource it belongs to.
        entry: what it was made of.
        message: a ``Span`` or a ``LogRecord``.
        size: bytes of the message.
        body: the record as it is stored, where the message holds it.
    """

    key: str
    signal: str
    journal: str
    entry: Mapping[str, Any]
    message: Any
    size: int
    body: bytes = b""


def statement(entry: Mapping[str, Any], journal: str) -> Item:
    """Return the span of a statement.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is no record of this schema.
    """

    made = shape(entry)
    span = Span(
        trace_id=made.trace_id.to_bytes(16),
        span_id=made.span_id.to_bytes(8),
        parent_span_id=made.parent_span_id.to_bytes(8) if made.parent_span_id else b"",
        flags=SAMPLED,
        name=made.name,
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=made.started,
        end_time_unix_nano=made.ended,
        attributes=_attributes(made.attributes),
        status=Status(code=Status.STATUS_CODE_ERROR, message=made.description) if made.failed else None,
    )
    return Item(entry["id"], TRACES, journal, entry, span, span.ByteSize())


def event(entry: Mapping[str, Any], journal: str, *, signal: str = LOGS, body: bytes = b"") -> Item:
    """Return what is not a statement as a log record, whose body is the whole record as JSON.

    ``body`` is the record as it is stored, where it is: what the log's proofs are about. With ``signal``
    :data:`TRACES` the event is a span without length instead, for collectors that take no logs.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is no record of this schema.
    """
    name = f"governed_db.{event_name(entry)}"
    at = nanoseconds(entry["at"])
    text = (body or orjson.dumps(entry)).decode()
    values = _of_event(entry)
    severity = _SEVERITY.get(event_name(entry), _INFO)
    message: LogRecord | Span
    if signal == TRACES:
        key = entry["id"]
        message = Span(
            trace_id=trace_id(key).to_bytes(16),
            span_id=trace_id(key + "/event").to_bytes(16)[8:],
            flags=SAMPLED,
            name=name,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=at,
            end_time_unix_nano=at,
            attributes=_attributes(values | {"governed_db.record": text}),
            status=Status(code=Status.STATUS_CODE_ERROR) if severity == _ERROR else None,
        )
    else:
        message = _log(name, at, severity, text, values, entry)
    return Item(entry["id"], signal, journal, entry, message, message.ByteSize(), body)


def as_span(item: Item) -> Item:
    """Return an event that was to go out as a log record as a span."""
    if item.signal == TRACES:
        return item
    return event(item.entry, item.journal, signal=TRACES, body=item.body)


def event_name(entry: Mapping[str, Any]) -> str:
    """Return what happened: an event's own name, or the kind of the record."""
    kind: str = entry["kind"]
    if kind == RecordKind.EVENT:
        return str(entry.get("event", kind))
    if kind in (RecordKind.START, RecordKind.STOP):
        return f"journal.{kind}"
    return kind


def request(items: Sequence[Item], resources: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return the body of a request for ``items``, which are of one signal.

    ``resources`` has the attributes of each journal's resource.
    """
    grouped: dict[str, list[Any]] = {}
    for item in items:
        grouped.setdefault(item.journal, []).append(item.message)
    sources = [(Resource(attributes=_attributes(resources[j])), made) for j, made in grouped.items()]
    scope = InstrumentationScope(name=SCOPE)
    message: ExportTraceServiceRequest | ExportLogsServiceRequest
    if items[0].signal == TRACES:
        message = ExportTraceServiceRequest(
            resource_spans=[
                ResourceSpans(
                    resource=source,
                    scope_spans=[ScopeSpans(scope=scope, spans=made, schema_url=SCHEMA_URL)],
                )
                for source, made in sources
            ]
        )
    else:
        message = ExportLogsServiceRequest(
            resource_logs=[
                ResourceLogs(
                    resource=source,
                    scope_logs=[ScopeLogs(scope=scope, log_records=made, schema_url=SCHEMA_URL)],
                )
                for source, made in sources
            ]
        )
    body: bytes = message.SerializeToString()
    return body


def rejections(signal: str, body: bytes) -> tuple[int, str]:
    """Read a collector's answer: how many items it rejected, and its message.

    Raises:
        ValueError: the body is no such answer.
    """

    answer: Any = ExportTraceServiceResponse() if signal == TRACES else ExportLogsServiceResponse()
    try:
        answer.ParseFromString(body)
    except DecodeError as error:
        raise ValueError("the answer is not one of OTLP") from error
    partial = answer.partial_success
    count = partial.rejected_spans if signal == TRACES else partial.rejected_log_records
    return count, partial.error_message


def rejections_in_json(signal: str, body: bytes) -> tuple[int, str]:
    """Read an answer in OTLP's JSON, which some collectors give whatever they were asked in.

    Raises:
        ValueError: the body is no such answer.
    """
    answer = orjson.loads(body)
    partial = _field(answer, "partialSuccess", "partial_success") or {} if isinstance(answer, dict) else None
    if not isinstance(partial, dict):
        raise ValueError("the answer is not one of OTLP")
    names = (
        ("rejectedSpans", "rejected_spans")
        if signal == TRACES
        else ("rejectedLogRecords", "rejected_log_records")
    )
    count = _field(partial, *names) or 0
    if not isinstance(count, str | int | float):
        raise ValueError("the answer is not one of OTLP")
    return int(count), str(_field(partial, "errorMessage", "error_message") or "")


def _field(found: Mapping[str, Any], name: str, original: str) -> Any:
    # protobuf's JSON mapping: parsers take the lowerCamelCase name and that of the message's definition.
    return found.get(name, found.get(original))


def resource(start: Mapping[str, Any] | None, journal: str) -> dict[str, Any]:
    """Return the attributes of a journal's resource, from its start record where that was read."""
    details = (start or {}).get("details") or {}
    found = {
        "service.instance.id": journal,
        "governed_db.journal": journal,
        "host.name": details.get("host"),
        "process.pid": details.get("pid"),
        "process.runtime.name": "cpython" if "python" in details else None,
        "process.runtime.version": details.get("python"),
    }
    return {key: value for key, value in found.items() if isinstance(value, str | int)}


def service(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes that OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME give every resource."""
    found: dict[str, Any] = {"service.name": "governed_db"}
    for pair in environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, equals, value = pair.partition("=")
        if equals and key.strip():
            found[unquote(key.strip())] = unquote(value.strip())
    if environment.get("OTEL_SERVICE_NAME"):
        found["service.name"] = environment["OTEL_SERVICE_NAME"]
    return found


def _log(
    name: str, at: int, severity: int, body: str, values: Mapping[str, Any], entry: Mapping[str, Any]
) -> LogRecord:

    where = entry.get("where") or {}
    of_statement = entry["kind"] == RecordKind.INTENT
    return LogRecord(
        time_unix_nano=at,
        observed_time_unix_nano=at,
        severity_number=severity,  # type: ignore[arg-type]  # an enum's value, whose wrapper takes any
        severity_text=_SEVERITY_TEXT[severity],
        event_name=name,
        body=AnyValue(string_value=body),
        attributes=_attributes(values),
        # An intent belongs to the span that its statement will have.
        trace_id=(int(where.get("trace_id") or "0", 16) or trace_id(entry["id"])).to_bytes(16)
        if of_statement
        else b"",
        span_id=span_id(entry["id"]).to_bytes(8) if of_statement else b"",
        flags=SAMPLED if of_statement else 0,
    )


def _of_event(entry: Mapping[str, Any]) -> dict[str, Any]:
    values = {k: v for k, v in attributes(entry).items() if k not in _NOT_OF_EVENTS}
    values["governed_db.event"] = event_name(entry)
    if "of" in entry:
        values["governed_db.of"] = entry["of"]
    details = entry.get("details") or {}
    if entry["kind"] == "damage":
        details = {k: v for k, v in entry.items() if k not in ("kind", "id", "at", "journal")}
    for key, value in details.items():
        if isinstance(value, str | int | bool):
            values[f"governed_db.details.{key}"] = value
    return values


def _attributes(values: Mapping[str, Any]) -> Iterable[KeyValue]:

    return [_pair(k, tuple(v) if isinstance(v, list) else v) for k, v in values.items()]


# Names, texts and callers repeat from statement to statement; a copy costs a fraction of a new message.
@lru_cache(maxsize=4096, typed=True)  # True and 1 are equal
def _pair(key: str, value: Any) -> KeyValue:
    return KeyValue(key=key, value=_value(value))


def _value(value: Any) -> AnyValue:

    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return AnyValue(int_value=value)
    if isinstance(value, tuple):
        return AnyValue(array_value=ArrayValue(values=[_value(v) for v in value]))
    return AnyValue(string_value=str(value))

"""A collector on the loopback: it decodes real OTLP, keeps what it accepted, and fails as it is told to."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Misbehave = Callable[["Collecting", BaseHTTPRequestHandler, list[Any]], bool]


class Collecting:
    """What a collector has received.

    Attributes:
        spans, logs: everything accepted, in the order of arrival, as (resource attributes, message).
        requests: (path, headers, decompressed size) of each request that was read whole.
        misbehave: asked before a request is accepted; returns whether it has answered (or not) itself.
    """

    def __init__(self, port: int = 0) -> None:
        self.spans: list[tuple[dict[str, Any], Any]] = []
        self.logs: list[tuple[dict[str, Any], Any]] = []
        self.requests: list[tuple[str, dict[str, str], int]] = []
        self.misbehave: Misbehave | None = None
        self.lock = threading.Lock()
        self.connections: list[socket.socket] = []
        mine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                mine.handle(self)

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None: ...  # clients are killed here

            def process_request(self, request: Any, client_address: Any) -> None:
                mine.connections.append(request)
                super().process_request(request, client_address)

        self.server = Server(("127.0.0.1", port), Handler)
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        assert handler.headers["content-type"] == "application/x-protobuf"
        if handler.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        traces = handler.path.partition("?")[0].endswith("/v1/traces")
        found = _spans(body) if traces else _logs(body)
        with self.lock:
            said = {k.lower(): v for k, v in handler.headers.items()}
            self.requests.append((handler.path, said, len(body)))
            if self.misbehave is not None and self.misbehave(self, handler, found):
                return
            (self.spans if traces else self.logs).extend(found)
        reply(handler, ExportTraceServiceResponse() if traces else ExportLogsServiceResponse())

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:  # one that is kept open would go on serving
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # -- what tests ask

    def statements(self) -> dict[str, list[dict[str, Any]]]:
        """Return the attributes of every span received, by record id."""
        found: dict[str, list[dict[str, Any]]] = {}
        with self.lock:
            for _, span in self.spans:
                values = attributes(span)
                found.setdefault(values["governed_db.record.id"], []).append(values)
        return found

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return name and attributes of every log record received."""
        with self.lock:
            return [(log.event_name, attributes(log)) for _, log in self.logs]


def reply(handler: BaseHTTPRequestHandler, message: Any = b"", status: int = 200, **headers: str) -> None:
    body = message if isinstance(message, bytes) else message.SerializeToString()
    handler.send_response(status)
    handler.send_header("content-type", "application/x-protobuf")
    handler.send_header("content-length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def rejected(handler: BaseHTTPRequestHandler, found: list[Any], count: int, why: str = "") -> None:
    """Answer 200 with a partial success."""
    traces = handler.path.partition("?")[0].endswith("/v1/traces")
    message: Any = ExportTraceServiceResponse() if traces else ExportLogsServiceResponse()
    if traces:
        message.partial_success.rejected_spans = count
    else:
        message.partial_success.rejected_log_records = count
    message.partial_success.error_message = why
    reply(handler, message)


def reset(handler: BaseHTTPRequestHandler, said: bytes = b"") -> None:
    """Reset the connection, after ``said``."""
    handler.wfile.write(said)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def attributes(message: Any) -> dict[str, Any]:
    return {a.key: _value(a.value) for a in message.attributes}


@contextmanager
def collecting(port: int = 0) -> Iterator[Collecting]:
    collector = Collecting(port)
    try:
        yield collector
    finally:
        collector.close()


def until(condition: Callable[[], bool], timeout: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _spans(body: bytes) -> list[Any]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        (attributes(r.resource), span)
        for r in request.resource_spans
        for s in r.scope_spans
        for span in s.spans
    ]


def _logs(body: bytes) -> list[Any]:
    request = ExportLogsServiceRequest.FromString(body)
    return [
        (attributes(r.resource), log)
        for r in request.resource_logs
        for s in r.scope_logs
        for log in s.log_records
    ]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(v) for v in value.array_value.values]
    return getattr(value, kind)

"""Shipping, as parts of ``python -m benchmarks.trail ship acknowledge``.

The collector is a process of its own that decompresses and parses what it gets, and keeps counts alone.
"""

from __future__ import annotations

import gzip
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def _serve(pipe: Connection) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # type: ignore[assignment]  # a class attribute that the stubs miss

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path.endswith("/v1/traces"):
                request = ExportTraceServiceRequest.FromString(body)
                received[0] += sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.recv()
    pipe.send(received[0])


@contextmanager
def _collector() -> Iterator[tuple[str, Any]]:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    port = mine.recv()

    def count() -> int:
        mine.send(None)
        found: int = mine.recv()
        return found

    yield f"http://127.0.0.1:{port}", count
    process.kill()
    process.join()


def ship(folder: Path) -> str:
    """Ship every statement and event to a collector on the loopback."""
    from governed_db.audit.destination import Destination
    from governed_db.audit.ship import Shipper

    with _collector() as (url, count), tempfile.TemporaryDirectory() as state:
        shipper = Shipper(folder, Destination.of(url, environment={}), state=Path(state))
        begun = time.perf_counter()
        report = shipper.once(600)
        took = time.perf_counter() - begun
        assert count() == report.spans
    return f"{report.spans:,} spans and {report.events:,} events, {report.spans / took:,.0f} spans/s"


def acknowledge(_: Path) -> str:
    """Have one record after another acknowledged by a collector on the loopback: durability "remote"."""
    from governed_db.audit.acknowledge import Acknowledger
    from governed_db.audit.destination import Destination
    from governed_db.audit.template import Template

    form = Template(
        who={"kind": "agent", "subject": "assistant", "session": "s-1"},
        what={"text": "SELECT name, email FROM customers WHERE id = $1", "tag": "SELECT"},
        where={"host": "db", "port": 5432, "database": "shop"},
    )
    took = []
    with _collector() as (url, _):
        acknowledger = Acknowledger(Destination.of(url, environment={}))
        for _ in range(2000):
            _, payload = form.intent(None)
            begun = time.perf_counter()
            acknowledger.acknowledge(payload)
            took.append((time.perf_counter() - begun) * 1e6)
        acknowledger.close()
    quantiles = statistics.quantiles(took, n=100)
    return f"median {statistics.median(took):,.0f} us, 99 % under {quantiles[98]:,.0f} us"

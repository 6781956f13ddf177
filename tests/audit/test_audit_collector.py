"""One destination: how it is named, what its answers mean, and that its secrets stay secret."""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from governed_db.audit import otlp, record
from governed_db.audit.acknowledge import Acknowledger
from governed_db.audit.collector import Collector, Verdict
from governed_db.audit.destination import Destination, DestinationError, header
from governed_db.audit.journal import Journal
from governed_db.audit.ship import Shipper
from governed_db.audit.template import Template
from governed_db.errors import AuditUnavailable
from governed_db.policy import load_bytes
from tests.audit.collecting import Collecting, attributes, collecting, free_port, rejected, reply

SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def collector() -> Iterator[Collecting]:
    with collecting() as found:
        yield found


def _of(to: str = "", **environment: str) -> Destination:
    return Destination.of(to, environment=environment)


@pytest.mark.parametrize(
    ("destination", "traces", "logs"),
    [
        (_of("http://c:4318"), "http://c:4318/v1/traces", "http://c:4318/v1/logs"),
        (_of("http://c:4318/"), "http://c:4318/v1/traces", "http://c:4318/v1/logs"),
        (_of("http://c/base/v1/traces"), "http://c/base/v1/traces", "http://c/base/v1/logs"),
        (_of("http://[::1]:4318"), "http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/logs"),
        (_of(OTEL_EXPORTER_OTLP_ENDPOINT="http://c"), "http://c/v1/traces", "http://c/v1/logs"),
        (
            _of(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://t/v1/traces"),
            "http://t/v1/traces",
            "http://t/v1/logs",
        ),
        (
            _of(OTEL_EXPORTER_OTLP_ENDPOINT="http://c", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://t/whole"),
            "http://t/whole",
            "http://c/v1/logs",
        ),
    ],
)
def test_addresses(destination: Destination, traces: str, logs: str) -> None:
    assert dict(destination.urls) == {"traces": traces, "logs": logs}


@pytest.mark.parametrize(
    "to",
    [
        "",
        "collector:4317",
        "grpc://c:4317",
        "http://",
        "http://c:port",
        "file:///x",
        "http://c/ä",
        "http://c/a b",
    ],
)
def test_what_is_no_address_is_refused(to: str) -> None:
    with pytest.raises(DestinationError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        _of(to)


def test_headers_come_from_the_argument_and_the_environment() -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20abc, x-tenant = a",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "x-tenant=logs",
    }
    found = Destination.of("http://c", headers={"X-More": "1"}, environment=environment)
    assert found.headers["traces"] == {"authorization": "Bearer abc", "x-tenant": "a", "x-more": "1"}
    assert found.headers["logs"] == {"x-tenant": "logs", "x-more": "1"}
    assert header("Api-Key: x=y") == header("api-key=x=y") == ("api-key", "x=y")


@pytest.mark.parametrize("text", ["", "novalue", "a b=c", "x=a\nb", "x=a\rb", "x=ä", "=v", SECRET])
def test_a_bad_header_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(DestinationError) as caught:
        header(text)
    assert SECRET not in str(caught.value)
    with pytest.raises(DestinationError):
        _of("http://c", OTEL_EXPORTER_OTLP_HEADERS=SECRET)
    with pytest.raises(DestinationError):
        _of("http://c", OTEL_EXPORTER_OTLP_HEADERS="x=a%0D%0Ab")


def test_secrets_are_in_no_repr_and_no_file_name() -> None:
    destination = Destination.of(
        f"https://user:{SECRET}@otel.example/x?key={SECRET}",
        headers={"authorization": f"Bearer {SECRET}", "x-key": SECRET},
        environment={},
    )
    shipper = Shipper(Path("/nowhere"), destination)
    said = [
        repr(destination),
        str(destination),
        destination.name,
        repr(Collector(destination)),
        repr(shipper),
    ]
    assert SECRET not in "".join(said)
    assert str(destination) == "https://otel.example/x"
    assert destination.urls["traces"] == f"https://otel.example/x/v1/traces?key={SECRET}"


def test_no_repr_of_a_policy_holds_an_address() -> None:
    address = f"https://me:{SECRET}@c?k={SECRET}"
    text = f'extends = "standard"\n[audit]\nship = "{address}"\ntimestamp = "{address}"\n'
    policy = load_bytes(text.encode(), "policy.toml")
    assert policy.settings.audit.ship == address
    assert SECRET not in repr(policy)


def test_a_user_in_the_address_is_a_header() -> None:
    found = _of(f"http://me:{SECRET}@c:1")
    assert (
        found.headers["traces"]["authorization"]
        == "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
    )
    assert found.urls["traces"] == "http://c:1/v1/traces"


def test_destinations_have_different_names() -> None:
    names = {_of(u).name for u in ("http://a", "http://b", "http://a:1", "https://a", "http://a/x")}
    assert len(names) == 5
    assert _of("http://a").name == _of("http://a/").name
    assert Destination.of("http://a", name="tenant-1", environment={}).name == "tenant-1"


def _send(collector: Collecting, headers: dict[str, str] | None = None) -> Any:
    body = otlp.request([otlp.event({"kind": "stop", "id": "x-1", "at": record.instant()}, "")], {"": {}})
    with Collector(Destination.of(collector.url, headers=headers, environment={})) as mine:
        return mine.send("logs", body)


@pytest.mark.parametrize(
    ("status", "body", "kind", "verdict"),
    [
        (200, b"", "application/x-protobuf", Verdict.ACCEPTED),
        (202, b"", "text/plain", Verdict.ACCEPTED),
        (200, b"{}", "application/json", Verdict.ACCEPTED),
        (200, b'{"partialSuccess":{"rejectedLogRecords":"1"}}', "application/json", Verdict.REJECTED),
        (200, b'{"partial_success":{"rejected_log_records":1}}', "application/json", Verdict.REJECTED),
        (200, b'{"partialSuccess":{"rejectedLogRecords":-1}}', "application/json", Verdict.REJECTED),
        (200, b'{"partialSuccess":{"rejectedLogRecords":[1]}}', "application/json", Verdict.HELD),
        (200, b'{"partialSuccess":{"errorMessage":"careful"}}', "application/json", Verdict.ACCEPTED),
        (200, b"\x0a\x02\x08\x01", "application/x-protobuf", Verdict.REJECTED),
        (200, b"\x0a\x04\x12\x02hm", "application/x-protobuf", Verdict.ACCEPTED),
        (200, b"<html>", "text/html", Verdict.HELD),
        (200, b"welcome", "", Verdict.HELD),
        (200, b"[]", "application/json", Verdict.HELD),
        (200, b"\xff\xff", "application/x-protobuf", Verdict.HELD),
        (302, b"", "", Verdict.HELD),
        (400, b"", "", Verdict.BAD),
        (401, b"", "", Verdict.HELD),
        (404, b"", "", Verdict.ABSENT),
        (405, b"", "", Verdict.ABSENT),
        (408, b"", "", Verdict.LATER),
        (413, b"", "", Verdict.TOO_LARGE),
        (422, b"", "", Verdict.BAD),
        (429, b"", "", Verdict.LATER),
        (500, b"", "", Verdict.LATER),
        (501, b"", "", Verdict.ABSENT),
        (503, b"", "", Verdict.LATER),
        (504, b"", "", Verdict.LATER),
    ],
)
def test_what_an_answer_means(
    collector: Collecting, status: int, body: bytes, kind: str, verdict: Verdict
) -> None:
    def answers(_: Collecting, handler: Any, __: list[Any]) -> bool:
        handler.send_response(status)
        if kind:
            handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    collector.misbehave = answers
    assert _send(collector).verdict is verdict


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(collector: Collecting, text: str, seconds: float | None) -> None:
    collector.misbehave = lambda _, handler, __: reply(handler, status=503, retry_after=text) is None
    assert _send(collector).after == seconds


def test_a_collectors_message_is_passed_on_without_secrets(collector: Collecting) -> None:
    why = f"no room for Bearer {SECRET}\x1b[31m" + "x" * 1000
    collector.misbehave = lambda _, handler, found: rejected(handler, found, 1, why) is None
    answer = _send(collector, {"authorization": f"Bearer {SECRET}"})
    assert "no room for" in answer.why
    assert SECRET not in answer.why
    assert answer.why.isprintable()
    assert len(answer.why) < 300


@pytest.mark.parametrize("quoted", [SECRET, f"me:{SECRET}", "abc%2Fdef", "abc/def"])
def test_what_an_address_holds_is_not_passed_on(collector: Collecting, quoted: str) -> None:
    collector.misbehave = lambda _, handler, found: rejected(handler, found, 1, f"no {quoted}!") is None
    url = f"http://me:{SECRET}@127.0.0.1:{collector.port}?key=abc%2Fdef"
    body = otlp.request([otlp.event({"kind": "stop", "id": "x-1", "at": record.instant()}, "")], {"": {}})
    with Collector(Destination.of(url, environment={})) as mine:
        assert mine.send("logs", body).why == "it rejected 1 of them: no ***!"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n",
        b"HTTP/9 hello\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_none(collector: Collecting, answer: bytes) -> None:
    def answers(_: Collecting, handler: Any, __: list[Any]) -> bool:
        handler.wfile.write(answer)
        handler.close_connection = True
        return True

    collector.misbehave = answers
    assert _send(collector).verdict is Verdict.LATER


def test_nothing_secret_is_logged(
    folder: Path, collector: Collecting, caplog: pytest.LogCaptureFixture
) -> None:
    collector.misbehave = lambda _, handler, __: reply(handler, status=401) is None
    destination = Destination.of(
        f"http://me:{SECRET}@127.0.0.1:{collector.port}?k={SECRET}", headers={"x": SECRET}, environment={}
    )
    with caplog.at_level(logging.DEBUG), Journal.open(folder):
        shipper = Shipper(folder, destination, interval=0.01)
        shipper.start()
        shipper.flush(0.3)
        shipper.close(0.1)
    assert "401" in caplog.text
    assert "credentials" in shipper.trouble
    assert SECRET not in caplog.text + shipper.trouble


def test_a_connection_serves_many_requests_and_is_renewed_when_it_was_closed(collector: Collecting) -> None:
    body = otlp.request([otlp.event({"kind": "stop", "id": "x-1", "at": record.instant()}, "")], {"": {}})
    mine = Collector(_of(collector.url))
    for _ in range(2):
        assert mine.send("logs", body).verdict is Verdict.ACCEPTED
    first = mine._connections["logs"]
    assert first.sock is not None
    first.sock.shutdown(2)  # as an idle connection is closed by the other side
    assert mine.send("logs", body).verdict is Verdict.ACCEPTED
    assert mine._connections["logs"] is not first
    mine.close()


@pytest.mark.parametrize("status", [400, 415])
def test_a_receiver_that_takes_no_gzip_gets_it_plain(collector: Collecting, status: int) -> None:
    def refuses(_: Collecting, handler: Any, __: list[Any]) -> bool:
        packed = "content-encoding" in handler.headers
        if packed:
            reply(handler, status=status)
        return packed

    collector.misbehave = refuses
    body = otlp.request([otlp.event({"kind": "stop", "id": "x-1", "at": record.instant()}, "")], {"": {}})
    with Collector(_of(collector.url)) as mine:
        for _ in range(3):
            assert mine.send("logs", body).verdict is Verdict.ACCEPTED
    assert len(collector.requests) == 4, "it is asked once"
    with Collector(_of(collector.url, OTEL_EXPORTER_OTLP_COMPRESSION="none")) as mine:
        assert mine.send("logs", body).verdict is Verdict.ACCEPTED
    assert len(collector.requests) == 5


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "c.pem", folder / "k.pem"


def test_a_server_has_to_be_trusted(collector: Collecting, certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    collector.server.socket = context.wrap_socket(collector.server.socket, server_side=True)
    body = otlp.request([otlp.event({"kind": "stop", "id": "x-1", "at": record.instant()}, "")], {"": {}})
    url = f"https://localhost:{collector.port}"
    with Collector(_of(url)) as mine:
        answer = mine.send("logs", body)
    assert answer.verdict is Verdict.HELD
    assert "not trusted" in answer.why
    known = _of(url, OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificate[0]))
    mine = Collector(known)
    assert mine.send("logs", body).verdict is Verdict.ACCEPTED
    mine.close()
    other = _of(f"https://127.0.0.1:{collector.port}", OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificate[0]))
    assert Collector(other).send("logs", body).verdict is Verdict.HELD, "another name than the certificate's"
    with pytest.raises(DestinationError, match="certificates"):
        _of(url, OTEL_EXPORTER_OTLP_CERTIFICATE="/no/such/file")


# -- durability "remote"


# -- proxies


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[socket.socket], None]], None]]:
    """Return what makes HTTPS_PROXY a proxy that does with its connections what it is given."""
    listening = socket.create_server(("127.0.0.1", 0))

    def start(serve: Callable[[socket.socket], None]) -> None:
        def work() -> None:
            with suppress(OSError):
                client, _ = listening.accept()
                with client:
                    serve(client)

        threading.Thread(target=work, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)

    yield start
    listening.close()


def _asked(client: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += client.recv(1)
    return said


def test_tls_goes_through_a_proxy(
    collector: Collecting,
    certificate: tuple[Path, Path],
    proxy: Callable[[Callable[[socket.socket], None]], None],
) -> None:
    path, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    collector.server.socket = context.wrap_socket(collector.server.socket, server_side=True)
    asked: list[bytes] = []

    def relay(client: socket.socket) -> None:
        asked.append(_asked(client))
        with socket.create_connection(("127.0.0.1", collector.port)) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n")
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)

    proxy(relay)
    assert _send_tls(f"https://localhost:{collector.port}", path).verdict is Verdict.ACCEPTED
    assert asked[0].startswith(f"CONNECT localhost:{collector.port} HTTP/1.1\r\n".encode())
    token = base64.b64encode(f"me:{SECRET}".encode())
    assert b"proxy-authorization: Basic " + token in asked[0]


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


def _drip(client: socket.socket) -> None:
    _asked(client)
    while True:
        client.sendall(b"H")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (lambda c: c.sendall(b"HTTP/1.1 407 Who?\r\n\r\n" if _asked(c) else b""), "its proxy answered 407"),
        (lambda c: c.sendall(b"220 smtp\r\n\r\n" if _asked(c) else b""), "does not answer in HTTP"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n" if _asked(c) else b""), "does not end"),
        (_drip, "no answer in time"),
    ],
)
def test_a_proxy_that_does_not_do_is_told(
    serve: Callable[[socket.socket], None],
    why: str,
    proxy: Callable[[Callable[[socket.socket], None]], None],
) -> None:
    proxy(serve)
    answer = _send_tls("https://collector.example:4318", None, timeout=0.3)
    assert answer.verdict is Verdict.LATER
    assert why in answer.why


def _send_tls(url: str, authority: Path | None, timeout: float = 10) -> Any:
    environment = {} if authority is None else {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority)}
    body = otlp.request([otlp.event({"kind": "stop", "id": "x-1", "at": record.instant()}, "")], {"": {}})
    with Collector(Destination.of(url, environment=environment)) as mine:
        return mine.send("logs", body, timeout=timeout)


def test_a_record_is_acknowledged_before_its_statement(collector: Collecting, template: Template) -> None:
    key, payload = template.intent(None, trace=(int("4b" * 16, 16), 7))
    acknowledger = Acknowledger(_of(collector.url))
    acknowledger.acknowledge(payload, journal="00000000000000ab")
    acknowledger.close()
    ((resource, log),) = collector.logs
    assert log.event_name == "governed_db.intent"
    assert log.body.string_value.encode() == payload
    assert log.trace_id.hex() == "4b" * 16
    assert int.from_bytes(log.span_id) == record.span_id(key)
    assert attributes(log)["governed_db.record.id"] == key
    assert resource["governed_db.journal"] == "00000000000000ab"


def test_a_collector_without_logs_acknowledges_a_span(collector: Collecting, template: Template) -> None:
    collector.misbehave = lambda _, handler, __: (
        handler.path == "/v1/logs" and reply(handler, status=405) is None
    )
    acknowledger = Acknowledger(_of(collector.url))
    for _ in range(3):
        acknowledger.acknowledge(template.intent(None)[1])
    acknowledger.close()
    assert [span.name for _, span in collector.spans] == ["governed_db.intent"] * 3
    assert len(collector.requests) == 4, "it is asked once"


@pytest.mark.parametrize("way", ["down", "503", "rejected", "slow"])
def test_without_the_collectors_word_the_statement_is_refused(
    way: str, collector: Collecting, template: Template
) -> None:
    _, payload = template.intent(None)
    url = f"http://127.0.0.1:{free_port()}" if way == "down" else collector.url

    def misbehave(_: Collecting, handler: Any, found: list[Any]) -> bool:
        if way == "503":
            reply(handler, status=503)
        elif way == "rejected":
            rejected(handler, found, 1)
        else:
            time.sleep(0.4)
            handler.close_connection = True
        return True

    collector.misbehave = misbehave
    acknowledger = Acknowledger(_of(url))
    with pytest.raises(AuditUnavailable, match="not acknowledged") as caught:
        acknowledger.acknowledge(payload, timeout=0.2)
    acknowledger.close()
    assert caught.value.retryable
    assert caught.value.rule == "audit.remote"


def test_threads_do_not_wait_for_each_other(collector: Collecting, template: Template) -> None:
    acknowledger = Acknowledger(_of(collector.url))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                acknowledger.acknowledge(template.intent(None)[1])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(collector.logs) == 40
    acknowledger.close()


def test_the_command_says_which_library_is_missing(tmp_path: Path) -> None:
    import sys

    script = (
        "import sys; sys.modules['opentelemetry.proto'] = None\n"
        "from governed_db.cli import main\n"
        "sys.exit(main(['audit', 'ship', '--to', 'http://c', '--dir', sys.argv[1]]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1
    assert "governed-db[otlp]" in run.stderr

"""Where keys come from: a real issuer over HTTP that is well, rotates, lies, hangs and goes away; files."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from governed_db import Issuer, KeysUnavailable, OperationalError, TokenRefused, Verifier
from governed_db.identity import fetching, jwks, key_source
from governed_db.testing import TokenIssuer
from governed_db.testing.issuer import AUDIENCE, DISCOVERY, send


class Troubled(TokenIssuer):
    """An issuer whose answers a test chooses: by path, a function that answers."""

    def __init__(self, path: str = "") -> None:
        super().__init__(path)
        self.answers: dict[str, Any] = {}
        self.headers: list[dict[str, str]] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.headers.append({k.lower(): v for k, v in handler.headers.items()})
        other = self.answers.get(handler.path)
        if other is None:
            super().answer(handler)
        else:
            other(handler)


@pytest.fixture
def issuer():
    with Troubled() as running:
        yield running


def verifier(issuer: TokenIssuer, **changes: Any) -> Verifier:
    return Verifier(Issuer(**{"url": issuer.url, "audience": AUDIENCE, **changes}))


def rule_of(verifier: Verifier, token: str) -> str:
    with pytest.raises(TokenRefused) as caught:
        verifier.verify(token)
    return caught.value.rule.removeprefix("identity.token.")


def test_keys_are_discovered_once_and_kept(issuer):
    believes = verifier(issuer)
    for n in range(20):
        assert believes.verify(issuer.token(f"u-{n}")).issuer == issuer.url
    assert issuer.requests == [DISCOVERY, "/keys"]


def test_nothing_is_fetched_for_tokens_that_cannot_be_believed_anyway(issuer):
    believes = verifier(issuer)
    assert rule_of(believes, issuer.token("u", iss="https://other.example")) == "issuer"
    assert rule_of(believes, "a.b.c") == "malformed"
    assert issuer.requests == []


def test_oauth_servers_without_openid_connect_are_discovered_as_well():
    with Troubled("/tenants/one") as issuer:
        issuer.answers[f"/tenants/one{DISCOVERY}"] = lambda h: send(h, {}, status=404)
        issuer.answers["/.well-known/oauth-authorization-server/tenants/one"] = lambda h: send(
            h, {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
        )
        assert verifier(issuer).verify(issuer.token("u")).subject == "u"


def test_an_issuer_whose_name_ends_with_a_slash():
    with Troubled("/") as issuer:
        issuer.answers[DISCOVERY] = lambda h: send(h, {"issuer": issuer.url, "jwks_uri": f"{issuer.url}keys"})
        issuer.answers["/keys"] = lambda h: send(h, issuer.jwks())
        assert issuer.url.endswith("/")
        assert verifier(issuer).verify(issuer.token("u")).subject == "u"


def test_an_address_of_keys_needs_no_discovery(issuer):
    assert verifier(issuer, jwks=f"{issuer.url}/keys").verify(issuer.token("u"))
    assert issuer.requests == ["/keys"]


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("location", "/keys")
    handler.send_header("content-length", "0")
    handler.end_headers()


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"keys": []')
    handler.close_connection = True


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def never(handler: BaseHTTPRequestHandler) -> None:
    handler.server.stuck = True  # type: ignore[attr-defined]
    threading.Event().wait(2)
    handler.close_connection = True


def drop_by_drop(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    pause = threading.Event()
    try:
        for _ in range(40):
            handler.wfile.write(b" ")
            pause.wait(0.05)
    except OSError:
        pass


def says(document: Any, status: int = 200) -> Any:
    return lambda handler: send(handler, document, status=status)


LIES = {
    "the discovery of another issuer": (
        DISCOVERY,
        says({"issuer": "https://evil.example"}),
        "another issuer",
    ),
    "a discovery without an issuer": (DISCOVERY, says({"jwks_uri": "https://x.example/k"}), "another issuer"),
    "a discovery that is a list": (DISCOVERY, says([]), "no JSON object"),
    "a discovery that is a page": (DISCOVERY, says(b"<html>"), "not JSON"),
    "a discovery that is too large": (DISCOVERY, says(b" " * (fetching.MAX_DOCUMENT + 1)), "larger than"),
    "a discovery that leads elsewhere": (DISCOVERY, redirect, "redirections are not followed"),
    "a discovery that fails": (DISCOVERY, says({}, 500), "answered 500"),
    "no discovery at all": (DISCOVERY, says({}, 404), "no discovery document"),
    "keys that are a page": ("/keys", says(b"<html>"), "not JSON"),
    "keys that are none": ("/keys", says({"error": "x"}), "no list 'keys'"),
    "keys that are text": ("/keys", says({"keys": "x"}), "no list 'keys'"),
    "keys said twice": ("/keys", says(b'{"keys": [], "keys": []}'), "twice"),
    "keys without end": ("/keys", says({"keys": [{}] * (jwks.MAX_KEYS + 1)}), "more than"),
    "keys that are too large": ("/keys", says(b" " * (jwks.MAX_SET + 1)), "larger than"),
    "keys that are elsewhere": ("/keys", redirect, "redirections are not followed"),
    "keys that nobody may see": ("/keys", says({}, 401), "answered 401"),
    "keys that are cut off": ("/keys", cut_off, "cut off"),
    "a connection that ends": ("/keys", hang_up, "closed the connection"),
    "an answer that does not come": ("/keys", never, "did not answer in 0.3 seconds"),
    "an answer that does not end": ("/keys", drop_by_drop, "did not answer in 0.3 seconds"),
}


@pytest.mark.parametrize("name", LIES)
def test_an_issuer_that_lies_or_fails_is_not_believed(issuer, name):
    path, answer, words = LIES[name]
    issuer.answers[path] = answer
    believes = verifier(issuer, timeout=0.3)
    with pytest.raises(KeysUnavailable) as caught:
        believes.verify(issuer.token("u"))
    error = caught.value
    assert words in str(error)
    assert (error.rule, error.retryable, error.issuer) == (
        "identity.token.keys_unavailable",
        True,
        issuer.url,
    )
    assert isinstance(error, OperationalError)
    assert "evil" not in str(error)
    # Nobody waits for it again so soon.
    asked = len(issuer.requests)
    assert rule_of(believes, issuer.token("u")) == "keys_unavailable"
    assert len(issuer.requests) == asked


@pytest.mark.parametrize(
    "elsewhere", ["http://evil.example/keys", "file:///etc/passwd", "ftp://x", "keys", 7, "https://u:p@x/k"]
)
def test_keys_are_fetched_over_https_alone(issuer, elsewhere):
    issuer.answers[DISCOVERY] = says({"issuer": issuer.url, "jwks_uri": elsewhere})
    assert rule_of(verifier(issuer), issuer.token("u")) == "keys_unavailable"


def test_no_proxy_stands_between_us_and_an_issuer_on_this_machine(issuer, monkeypatch):
    with Troubled() as proxy:
        proxy.answers[f"{issuer.url}{DISCOVERY}"] = says(
            {"issuer": issuer.url, "jwks_uri": f"{proxy.url}/keys"}
        )
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert verifier(issuer).verify(issuer.token("u"))
        assert proxy.requests == []


def test_an_issuer_that_is_down():
    with Troubled() as issuer:
        token = issuer.token("u")
    with pytest.raises(KeysUnavailable, match="refused"):
        verifier(issuer).verify(token)


def test_a_new_key_is_fetched_and_a_withdrawn_one_forgotten(issuer, monkeypatch):
    monkeypatch.setattr(key_source, "INTERVAL", 0.0)
    believes = verifier(issuer)
    before = issuer.token("u")
    assert believes.verify(before)
    issuer.rotate(keep=True)
    assert believes.verify(issuer.token("u"))
    assert believes.verify(before)
    issuer.rotate()
    assert believes.verify(issuer.token("u"))
    assert rule_of(believes, before) == "key"


def test_invented_keys_do_not_make_anybody_hammer_the_issuer(issuer):
    believes = verifier(issuer)
    assert believes.verify(issuer.token("u"))
    real = issuer.token("u").split(".")
    for n in range(50):
        head = jwks_header({"alg": "ES256", "kid": f"invented-{n}"})
        with pytest.raises(TokenRefused) as caught:
            believes.verify(".".join([head, *real[1:]]))
        assert (caught.value.rule, caught.value.retryable) == ("identity.token.key", True)
    assert issuer.requests == [DISCOVERY, "/keys"]
    assert believes.verify(issuer.token("u"))


def jwks_header(header: dict[str, str]) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()


def test_old_keys_serve_while_the_issuer_is_down_and_not_for_ever(issuer, monkeypatch):
    monkeypatch.setattr(key_source, "INTERVAL", 0.0)
    patient = verifier(issuer, keys_lifetime=0.0, keys_stale=600.0)
    strict = verifier(issuer, keys_lifetime=0.0, keys_stale=0.0)
    for one in (patient, strict):
        assert one.verify(issuer.token("u"))
    issuer.answers["/keys"] = says({}, 503)
    assert patient.verify(issuer.token("u"))
    assert rule_of(strict, issuer.token("u")) == "keys_unavailable"
    issuer.answers.clear()
    issuer.rotate()
    assert patient.verify(issuer.token("u"))


def test_many_threads_fetch_once(issuer):
    believes = verifier(issuer)
    started = threading.Barrier(20)

    def one(n: int) -> str:
        started.wait()
        return believes.verify(issuer.token(f"u-{n}")).subject

    with ThreadPoolExecutor(20) as executor:
        assert list(executor.map(one, range(20))) == [f"u-{n}" for n in range(20)]
    assert issuer.requests == [DISCOVERY, "/keys"]


async def test_many_tasks_fetch_once_and_the_loop_goes_on(issuer):
    believes = verifier(issuer)
    gate = threading.Event()

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        assert gate.wait(10)
        send(handler, issuer.jwks())

    issuer.answers["/keys"] = slowly
    tasks = [asyncio.create_task(believes.averify(issuer.token(f"u-{n}"))) for n in range(30)]
    while "/keys" not in issuer.requests:
        await asyncio.sleep(0.001)  # a loop that is held up never comes to the next line
    tasks[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [who.subject for who in found[1:]] == [f"u-{n}" for n in range(1, 30)]
    assert issuer.requests == [DISCOVERY, "/keys"]


async def test_async_says_that_keys_cannot_be_had(issuer):
    issuer.answers["/keys"] = says({}, 500)
    with pytest.raises(KeysUnavailable):
        await verifier(issuer).averify(issuer.token("u"))


def test_keys_in_a_file_are_read_again_when_they_change(issuer, tmp_path, monkeypatch):
    monkeypatch.setattr(key_source, "INTERVAL", 0.0)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(issuer.jwks()))
    believes = verifier(issuer, jwks=file)
    assert believes.verify(issuer.token("u"))
    issuer.rotate()
    assert rule_of(believes, issuer.token("u")) == "key"
    file.write_text(json.dumps(issuer.jwks()))
    assert believes.verify(issuer.token("u"))
    assert issuer.requests == []


@pytest.mark.parametrize("trouble", ["missing", "pipe", "folder", "everybody's", "large", "empty"])
def test_a_file_that_cannot_be_relied_on(issuer, tmp_path, trouble):
    file = tmp_path / "keys.json"
    match trouble:
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "everybody's":
            file.write_text(json.dumps(issuer.jwks()))
            file.chmod(0o666)
        case "large":
            file.write_bytes(b" " * (jwks.MAX_SET + 1))
        case "empty":
            file.touch()
    assert rule_of(verifier(issuer, jwks=file), issuer.token("u")) == "keys_unavailable"


def test_who_asks_for_the_keys_can_show_a_token(issuer, tmp_path):
    file = tmp_path / "token"
    file.write_text("service-account-token\n")
    assert verifier(issuer, bearer_file=file).verify(issuer.token("u"))
    assert [h["authorization"] for h in issuer.headers] == ["Bearer service-account-token"] * 2
    file.write_text("two\r\nx-evil: 1")
    assert rule_of(verifier(issuer, bearer_file=file), issuer.token("u")) == "keys_unavailable"


def certificate(tmp_path) -> tuple[Any, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer of a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, private = tmp_path / "ca.pem", tmp_path / "key.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file, private


def test_tls_is_verified_and_an_own_authority_can_be_named(tmp_path):
    file, private = certificate(tmp_path)
    with Troubled() as issuer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, private)
        issuer._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        issuer._server.socket = context.wrap_socket(issuer._server.socket, server_side=True)
        issuer.url = issuer.url.replace("http:", "https:")
        assert rule_of(verifier(issuer), issuer.token("u")) == "keys_unavailable"
        assert verifier(issuer, ca=file).verify(issuer.token("u")).issuer == issuer.url
        assert rule_of(verifier(issuer, ca=tmp_path / "none"), issuer.token("u")) == "keys_unavailable"

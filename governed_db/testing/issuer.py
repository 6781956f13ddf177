"""An issuer of tokens on the loopback, for tests of policies and applications: real keys, real HTTP."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DISCOVERY: Final = "/.well-known/openid-configuration"
AUDIENCE: Final = "governed-db"
"""The audience of tokens that name no other."""

LIFETIME: Final = 300
"""Seconds for which tokens hold that say nothing else."""


class TokenIssuer:
    """An OpenID Connect issuer: discovery, keys (ES256) and tokens; a context manager.

    It stops with its block. It believes whoever asks, so it is for tests only.

    Args:
        path: of its address, for issuers that have several in one place (Keycloak's realms).

    Attributes:
        url: ``iss`` of its tokens.
        requests: the paths it was asked for, in order.
    """

    def __init__(self, path: str = "") -> None:
        self.requests: list[str] = []
        self._keys: dict[str, EllipticCurvePrivateKey] = {}
        self._made = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                issuer.requests.append(self.path)
                issuer.answer(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.path = path
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{path}"
        self.rotate()

    def __enter__(self) -> Self:
        # Polls often: that is how long shutting it down takes.
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rotate(self, *, keep: bool = False) -> str:
        """Sign with a new key from now on, and return its name; ``keep``: old ones are still published."""
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - loaded when needed

        if not keep:
            self._keys.clear()
        self._made += 1
        name = f"key-{self._made}"
        self._keys[name] = ec.generate_private_key(ec.SECP256R1())
        return name

    def token(self, subject: str, *, key: str = "", **claims: Any) -> str:
        """Return a signed token.

        Args:
            subject: ``sub``.
            key: the name of the key; by default the newest one's.
            claims: what else it says, in the place of what it would say; ``None`` leaves a claim out.
        """
        import jwt  # noqa: PLC0415 - cryptography is loaded when it is needed

        now = int(time.time())
        said = {"iss": self.url, "sub": subject, "aud": AUDIENCE, "iat": now, "exp": now + LIFETIME, **claims}
        name = key or list(self._keys)[-1]
        return jwt.encode(
            {claim: value for claim, value in said.items() if value is not None},
            self._keys[name],
            "ES256",
            headers={"kid": name},
        )

    def jwks(self) -> dict[str, Any]:
        """Return its public keys."""
        from jwt.algorithms import ECAlgorithm  # noqa: PLC0415 - cryptography is loaded when it is needed

        return {
            "keys": [
                {
                    **ECAlgorithm.to_jwk(key.public_key(), as_dict=True),
                    "kid": name,
                    "use": "sig",
                    "alg": "ES256",
                }
                for name, key in self._keys.items()
            ]
        }

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request; tests override it."""
        if handler.path == f"{self.path}{DISCOVERY}":
            send(handler, {"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
        elif handler.path == f"{self.path}/keys":
            send(handler, self.jwks())
        else:
            send(handler, {}, status=404)


def send(handler: BaseHTTPRequestHandler, document: Any, *, status: int = 200) -> None:
    """Answer with a JSON document, or with bytes as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)

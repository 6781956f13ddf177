"""Where the trail is sent: addresses, headers and certificates of one OTLP/HTTP destination.

Headers are in no message and no repr; neither are user, password and query of an address.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import ssl
from collections.abc import Mapping
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

from governed_db.bounded_http import basic

_VARIABLE = "OTEL_EXPORTER_OTLP"
_PATHS = {"traces": "/v1/traces", "logs": "/v1/logs"}


class DestinationError(ValueError):
    """The destination is named in a way that cannot be used."""


@frozen(kw_only=True)
class Destination:
    """Where to send, and with what.

    Attributes:
        urls: the address of each signal, "traces" and "logs".
        name: tells the cursors of one journal apart; follows from the address by default.
        headers: sent with each request, by signal.
        tls: how the server is verified.
        compress: whether requests are compressed (gzip).
    """

    urls: Mapping[str, str] = field(repr=False)
    name: str
    headers: Mapping[str, Mapping[str, str]] = field(repr=False, factory=dict)
    tls: ssl.SSLContext | None = field(repr=False, default=None)
    compress: bool = True

    @classmethod
    def of(
        cls,
        to: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        name: str = "",
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """Return the destination ``to``, a collector's base address such as ``https://otel.example:4318``.

        Without ``to`` the one of OTEL_EXPORTER_OTLP_ENDPOINT, or of OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, which are whole addresses. OTEL_EXPORTER_OTLP_HEADERS (and _TRACES_
        and _LOGS_HEADERS), _COMPRESSION, _CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY are honoured
        either way; a user and password in the address become a header.

        Args:
            to: the base address; a path of one signal at its end is taken away.
            headers: more headers, before those of the environment.
            name: what the cursors are called; where two destinations differ in headers alone (tenants),
                each needs one.
            environment: where variables are looked up.

        Raises:
            DestinationError: no address, or one that is not http or https; the certificates cannot be read.
        """
        base = to or environment.get(f"{_VARIABLE}_ENDPOINT", "")
        urls = {signal: _joined(base, path) if base else "" for signal, path in _PATHS.items()}
        if not to:
            urls |= {s: u for s in _PATHS if (u := environment.get(f"{_VARIABLE}_{s.upper()}_ENDPOINT", ""))}
            if not urls["logs"] and urls["traces"].endswith(_PATHS["traces"]):
                urls["logs"] = _joined(urls["traces"], _PATHS["logs"])
        sent = {}
        for signal in _PATHS:
            own = environment.get(f"{_VARIABLE}_{signal.upper()}_HEADERS")
            common = _headers(own if own is not None else environment.get(f"{_VARIABLE}_HEADERS", ""))
            sent[signal] = common | {k.lower(): v for k, v in (headers or {}).items()}
        for signal, url in urls.items():
            urls[signal] = _without_user(url, sent[signal])
        tls = _tls(environment) if any(u.startswith("https:") for u in urls.values()) else None
        compress = environment.get(f"{_VARIABLE}_COMPRESSION", "gzip") != "none"
        return cls(urls=urls, name=name or _name(urls["traces"]), headers=sent, tls=tls, compress=compress)

    def secrets(self) -> list[str]:
        """Return what a collector was given and may quote, longest first: none of it is to be shown."""
        found = set()
        for headers in self.headers.values():
            for value in headers.values():
                # "Bearer abc" must not come back as "abc".
                found |= {value, *value.split()}
                if value.startswith("Basic "):
                    user = _decoded(value.removeprefix("Basic "))
                    found |= {user, user.partition(":")[2]}
        for url in self.urls.values():
            query = urlsplit(url).query
            found |= {query, *(text for _, text in parse_qsl(query))}
            found |= {pair.partition("=")[2] for pair in query.split("&")}
        return sorted(filter(None, found), key=lambda secret: (-len(secret), secret))

    def __str__(self) -> str:
        """Return the address without what may be secret in it: user, password and query."""
        return shown(self.urls["traces"]).removesuffix(_PATHS["traces"])


def shown(url: str) -> str:
    """Return ``url`` without user, password, query and fragment."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{_host(parts.hostname)}{port}{parts.path}"


def _headers(text: str) -> dict[str, str]:
    """Read OTEL_EXPORTER_OTLP_HEADERS: ``key=value,key=value``, values percent-encoded as in W3C baggage."""
    found = {}
    for pair in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = pair.partition("=")
        name = unquote(key).strip().lower()
        if not equals or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value := unquote(value).strip()):
            raise DestinationError(f"{_VARIABLE}_HEADERS is not key=value,key=value")
        found[name] = value
    return found


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[ -~\t]*")


def header(text: str) -> tuple[str, str]:
    """Read one header, written ``name=value`` or ``name: value``.

    Raises:
        DestinationError: it is not written like that. The message does not repeat it.
    """
    match = re.fullmatch(r"([^=:]+?)\s*[=:]\s*(.*)", text.strip())
    if match is None or not _TOKEN.fullmatch(match[1]) or not _VALUE.fullmatch(match[2]):
        raise DestinationError("a header is written name=value")
    return match[1].lower(), match[2]


def _without_user(url: str, headers: dict[str, str]) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise DestinationError(
            "name the collector by an address that begins with http:// or https://, with --to or in"
            f" {_VARIABLE}_ENDPOINT"
        )
    token = basic(parts.username, parts.password)
    if token:
        headers.setdefault("authorization", token)
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=_host(parts.hostname) + port, fragment="").geturl()


def _joined(base: str, path: str) -> str:
    head, mark, query = base.partition("?")
    for known in _PATHS.values():
        head = head.removesuffix(known)
    return head.rstrip("/") + path + mark + query


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token).decode()
    except ValueError:
        return ""


def _host(name: str | None) -> str:
    return f"[{name}]" if name and ":" in name else name or ""


def _name(url: str) -> str:
    # Readable, and different for addresses that differ anywhere; a query may hold a key, a digest does not.
    host = re.sub(r"[^a-z0-9.-]", "_", (urlsplit(url).hostname or "").lower())
    return f"{host}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def _tls(environment: Mapping[str, str]) -> ssl.SSLContext:
    authority = environment.get(f"{_VARIABLE}_CERTIFICATE") or None
    certificate = environment.get(f"{_VARIABLE}_CLIENT_CERTIFICATE") or None
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate is not None:
            context.load_cert_chain(certificate, environment.get(f"{_VARIABLE}_CLIENT_KEY") or None)
    except OSError as error:  # ssl.SSLError is one
        raise DestinationError(f"the certificates of {_VARIABLE} cannot be read: {error.strerror}") from None
    return context

"""A connection to where the trail is sent, and what the answers mean.

Nothing but the standard library's HTTP: one connection that stays open, TLS that is verified, no redirects
(headers with secrets are for the host that was named), the environment's proxies, and a limit in time for the
whole of a request, so that a collector that answers a byte a second is a slow one.
"""

from __future__ import annotations

import contextlib
import gzip
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, IncompleteRead
from typing import Self
from urllib.parse import urlsplit

from attrs import frozen

from governed_db.audit.destination import Destination
from governed_db.bounded_http import Bounded, Proxied, connect, of_network

TIMEOUT = 10.0
"""Seconds for one request, from the connection to the last byte of the answer: OTLP exporters' default."""

LARGEST_ANSWER = 4 << 20
"""Bytes of an answer that are read: the OTLP specification's recommendation."""

LONGEST_REASON = 200
"""Characters of a collector's message that are passed on to people."""

_OK, _REDIRECTIONS, _SERVER = 200, 300, 500
# About the data: 400 says so, 422 is what some send instead.
_BAD = frozenset({400, 422})
_TOO_LARGE = 413
_NOT_PACKED = frozenset({400, 415})
_ABSENT = frozenset({404, 405, 501})
# About the moment. The specification retries 429, 502, 503 and 504 and drops the rest; a trail drops nothing.
_LATER = frozenset({408, 425, 429})


_Found = tuple[int, bytes, Mapping[str, str]]


class Verdict(StrEnum):
    """What an answer means for what was sent."""

    ACCEPTED = "accepted"  # all of it: a 2xx without rejections
    REJECTED = "rejected"  # a part of it, and the answer does not say which
    BAD = "bad"  # the collector cannot read it
    TOO_LARGE = "too large"
    LATER = "later"  # the collector is down, slow or busy
    ABSENT = "absent"  # it has nothing at this address: it may not take this signal
    HELD = "held"  # somebody has to change something: credentials, the address, the collector's settings


@frozen
class Answer:
    """An answer. ``why`` holds nothing secret; ``after`` is what Retry-After asks for, in seconds."""

    verdict: Verdict
    why: str = ""
    after: float | None = None


class Collector:
    """A destination with a connection to it. Not safe with threads."""

    def __init__(self, destination: Destination, *, timeout: float = TIMEOUT) -> None:
        self.destination = destination
        self.timeout = timeout
        self._connections: dict[str, HTTPConnection] = {}
        self._packs = destination.compress

    def __repr__(self) -> str:
        return f"<Collector {self.destination}>"

    def send(self, signal: str, body: bytes, *, timeout: float | None = None) -> Answer:
        """Send ``body``, the protobuf message of a request, and say what became of it. Never raises."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            status, found, headers = self._request(signal, body, deadline, packed=self._packs)
            if self._packs and status in _NOT_PACKED:
                # Every receiver of OTLP has to take gzip; some do not, and say no more than that it is bad.
                status, found, headers = self._request(signal, body, deadline, packed=False)
                self._packs = not _OK <= status < _REDIRECTIONS
        except TimeoutError:
            self._drop(signal)
            return Answer(Verdict.LATER, "no answer in time")
        except ssl.SSLCertVerificationError as error:
            self._drop(signal)
            return Answer(Verdict.HELD, f"its certificate is not trusted: {error.verify_message}")
        except (OSError, HTTPException, ValueError) as error:
            # http.client lets the ValueError of an answer through that says its own length wrong.
            self._drop(signal)
            return Answer(Verdict.LATER, of_network(error))
        except BaseException:
            self._drop(signal)
            raise
        return self._judge(signal, status, found, headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later request opens another."""
        for signal in list(self._connections):
            self._drop(signal)

    def _request(self, signal: str, body: bytes, deadline: float, *, packed: bool) -> _Found:
        # The fastest level: names repeat, and compress six-fold already.
        sent = gzip.compress(body, 1) if packed else body
        reused = signal in self._connections
        try:
            return self._exchange(signal, sent, deadline, packed=packed)
        except (ConnectionError, HTTPException):
            if not reused:
                raise
            # A server may close a connection that waited; that says nothing about the next one.
            self._drop(signal)
            return self._exchange(signal, sent, deadline, packed=packed)

    def _exchange(self, signal: str, sent: bytes, deadline: float, *, packed: bool) -> _Found:
        url = self.destination.urls[signal]
        connection = self._connections.get(signal)
        if connection is None:
            connection = connect(url, self.destination.tls, deadline)
            self._connections[signal] = connection
        assert connection.sock is not None
        bounded = connection.sock
        assert isinstance(bounded, Bounded)
        bounded.deadline = deadline
        parts = urlsplit(url)
        target = url if isinstance(connection, Proxied) else parts.path or "/"
        if parts.query and target is not url:
            target = f"{target}?{parts.query}"
        headers = {
            **self.destination.headers.get(signal, {}),
            "content-type": "application/x-protobuf",
            "user-agent": "governed-db",
        }
        if packed:
            headers["content-encoding"] = "gzip"
        connection.request("POST", target, sent, headers)
        response = connection.getresponse()
        found = response.read(LARGEST_ANSWER + 1)
        if response.length and len(found) <= LARGEST_ANSWER:
            # Cut off, maybe before the rejections: read() with a limit says nothing of it.
            raise IncompleteRead(found, response.length)
        said = {k.lower(): v for k, v in response.getheaders()}
        # Where the server keeps it open, an answer that was read to its end leaves it fit for the next.
        if response.will_close or len(found) > LARGEST_ANSWER or connection.sock is None:
            self._drop(signal)
        return response.status, found, said

    def _drop(self, signal: str) -> None:
        connection = self._connections.pop(signal, None)
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def _judge(self, signal: str, status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
        after = _seconds(headers.get("retry-after", ""))
        if _OK <= status < _REDIRECTIONS:
            return self._accepted(signal, body, headers)
        if status in _BAD:
            return Answer(Verdict.BAD, f"it answered {status}, which says that it cannot read what was sent")
        if status == _TOO_LARGE:
            return Answer(Verdict.TOO_LARGE, f"it answered {status}")
        if status in _LATER or (status >= _SERVER and status not in _ABSENT):
            return Answer(Verdict.LATER, f"it answered {status}", after)
        verdict = Verdict.ABSENT if status in _ABSENT else Verdict.HELD
        return Answer(verdict, f"it answered {status}{_REMEDIES.get(status, '')}", after)

    def _accepted(self, signal: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        # What else answers 200: a proxy's page for signing in, a web server at the wrong port.
        from governed_db.audit import otlp  # noqa: PLC0415 - an extra

        if len(body) > LARGEST_ANSWER:
            return Answer(Verdict.HELD, "its answer is too long to be one of OTLP")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            read = otlp.rejections_in_json if kind == "application/json" else otlp.rejections
            if body and kind not in ("application/json", "application/x-protobuf", ""):
                raise ValueError(f"the answer is of type {kind}")
            count, message = read(signal, body) if body else (0, "")
        except ValueError:
            return Answer(Verdict.HELD, "its answer is not one of OTLP: something else listens there")
        if count == 0:
            return Answer(Verdict.ACCEPTED)
        return Answer(Verdict.REJECTED, f"it rejected {count} of them{self._scrubbed(message)}")

    def _scrubbed(self, message: str) -> str:
        for secret in self.destination.secrets():
            if len(secret) >= _LEAST_SECRET:
                message = message.replace(secret, "***")
        text = "".join(c if c.isprintable() else " " for c in message)[:LONGEST_REASON]
        return f": {text}" if text else ""


_LEAST_SECRET = 4
_REMEDIES = {
    301: ": give the address that it redirects to",
    302: ": give the address that it redirects to",
    307: ": give the address that it redirects to",
    308: ": give the address that it redirects to",
    401: ": the header with its credentials is missing or wrong",
    403: ": these credentials may not write there",
    404: ": it has no such path",
    405: ": it takes nothing there",
    415: ": it does not take protobuf, gzip or this signal",
}


def _seconds(text: str) -> float | None:
    """Read a Retry-After: seconds, or a date."""
    if text.isdigit() and text.isascii():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None

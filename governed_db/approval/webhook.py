"""Telling an address of requests, as https://www.standardwebhooks.com (version 1) has it: a signed POST.

The body is JSON::

    {"type": "approval.requested", "timestamp": "2026-01-31T12:00:00Z",
     "data": {"request": {...}, "seal": "..."}}

``request`` is everything that approvers are shown, as :meth:`ApprovalRequest.dump` writes it, and ``seal``
its digest, which answers are about.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson
from attrs import field, frozen

from governed_db.approval import secret as secrets
from governed_db.approval.notifier import NotReady, Undelivered
from governed_db.approval.request import MAX_REQUEST, ApprovalRequest
from governed_db.bounded_http import Proxied, connect, of_network
from governed_db.policy.settings import NOTIFY_TIMEOUT, NotifySettings

VARIABLE: Final = "GOVERNED_DB_WEBHOOK_SECRET_"
"""Followed by the notifier's name in capitals: the environment variable of its secret."""

PREFIX: Final = "whsec_"
"""What a secret in base64 begins with, by the specification."""

LEAST_SECRET, MOST_SECRET = 24, 64
"""Bytes of a secret, by the specification."""

TOLERANCE: Final = 300
"""Seconds that a message's time may differ from the receiver's: what the specification's libraries allow."""

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are read. Nothing in it counts; it is read so that the connection ends well."""

MAX_BODY: Final = MAX_REQUEST + 4096
"""Bytes of a message: a request, and what is around it."""

_TYPE: Final = "approval.requested"
_OK, _REDIRECTED = 200, 300


class Unbelievable(ValueError):  # noqa: N818 - named for what has happened, as the errors of the package are
    """A message is not one of ours, or not one of now. The message quotes nothing of it."""


def key_of(text: str) -> bytes:
    """Return the key that a secret in base64 stands for.

    Raises:
        ValueError: it is none.
    """
    try:
        encoded = text.removeprefix(PREFIX)
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not LEAST_SECRET <= len(key) <= MOST_SECRET:
        raise ValueError(
            f"a webhook's secret is {PREFIX} and {LEAST_SECRET} to {MOST_SECRET} bytes in base64"
        )
    return key


def sign(key: bytes, message: str, timestamp: int, body: bytes) -> str:
    """Return the signature header of ``body``: HMAC-SHA256 over id, time and body."""
    mac = hmac.digest(key, f"{message}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(mac).decode()


def body_of(request: ApprovalRequest, now: datetime) -> bytes:
    """Return the message about ``request``."""
    return orjson.dumps(
        {
            "type": _TYPE,
            "timestamp": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "data": {"request": orjson.loads(request.dump()), "seal": request.seal()},
        }
    )


def read(body: bytes, headers: Mapping[str, str], key: bytes, *, now: float | None = None) -> ApprovalRequest:
    """Return the request that a message is about: what its receiver calls.

    Args:
        body: as it was received, to the byte.
        headers: of the POST, in any case.
        key: as :func:`key_of` returns it.
        now: seconds since 1970; by default the clock's.

    Raises:
        governed_db.approval.webhook.Unbelievable: it was not signed with ``key``, not within the last five
            minutes, or is no such message.
    """
    if len(body) > MAX_BODY:
        raise Unbelievable(f"a message has at most {MAX_BODY} bytes")
    said = {name.lower(): value for name, value in headers.items()}
    message, stamp = said.get("webhook-id", ""), said.get("webhook-timestamp", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise Unbelievable("it has no time")
    expected = sign(key, message, int(stamp), body).encode()
    signatures = said.get("webhook-signature", "").encode("utf-8", "replace").split(b" ")
    if not any(hmac.compare_digest(expected, one) for one in signatures):
        raise Unbelievable("it is not signed with this secret")
    if abs((time.time() if now is None else now) - int(stamp)) > TOLERANCE:
        raise Unbelievable("it was not signed within the last five minutes")
    try:
        data = orjson.loads(body)
        if data["type"] != _TYPE:
            raise Unbelievable("it is about something else")
        request = ApprovalRequest.load(orjson.dumps(data["data"]["request"], option=orjson.OPT_SORT_KEYS))
        if request.seal() != data["data"]["seal"]:
            raise Unbelievable("its seal is another request's")
    except (KeyError, TypeError, ValueError) as error:
        raise error if isinstance(error, Unbelievable) else Unbelievable("it cannot be read") from None
    return request


@frozen(kw_only=True)
class WebhookNotifier:
    """Posts each request to an address. Redirects are not followed.

    Attributes:
        name: on record.
        url: where.
        timeout: seconds from the connection to the last byte of the answer.
    """

    name: str
    url: str = field(repr=False)
    timeout: float = NOTIFY_TIMEOUT
    _key: bytes = field(repr=False)

    @classmethod
    def of(cls, settings: NotifySettings) -> Self:
        """Return what the policy names.

        Raises:
            NotReady: its secret is not here.
        """
        text = secrets.find(settings.secret_file, VARIABLE + settings.name.upper(), "secret_file")
        try:
            key = key_of(text)
        except ValueError as error:
            raise NotReady(str(error)) from None
        return cls(name=settings.name, url=settings.webhook, timeout=settings.timeout, key=key)

    def tell(self, request: ApprovalRequest) -> None:
        """Post ``request``; any 2xx is a receipt.

        Raises:
            Undelivered: there was none in time.
        """
        now = datetime.now(UTC)
        body, stamp = body_of(request, now), int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "governed-db",
            # The same for each attempt, so that a receiver knows what it has already.
            "webhook-id": request.id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": sign(self._key, request.id, stamp, body),
        }
        status, after = self._post(body, headers)
        if not _OK <= status < _REDIRECTED:
            raise Undelivered(f"it answered {status}", after=_seconds(after))

    def _post(self, body: bytes, headers: Mapping[str, Any]) -> tuple[int, str]:
        deadline = time.monotonic() + self.timeout
        parts = urlsplit(self.url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        try:
            connection = connect(self.url, tls, deadline)
            try:
                query = f"?{parts.query}" if parts.query else ""
                target = self.url if isinstance(connection, Proxied) else f"{parts.path or '/'}{query}"
                connection.request("POST", target, body, dict(headers))
                response = connection.getresponse()
                response.read(MAX_ANSWER)
                return response.status, response.getheader("retry-after") or ""
            finally:
                connection.close()
        except TimeoutError:
            raise Undelivered(f"it did not answer in {self.timeout:g} seconds") from None
        except (OSError, HTTPException, ValueError) as error:
            raise Undelivered(of_network(error)) from None


def _seconds(text: str) -> float | None:
    """Read a Retry-After (RFC 9110, section 10.2.3): seconds, or a date."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None

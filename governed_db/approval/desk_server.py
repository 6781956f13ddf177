"""A small HTTP server for answers: Slack's callbacks, and notes that somebody has signed elsewhere.

Three paths and nothing else. It speaks plain HTTP: what is reached from elsewhere stands behind something
that ends TLS. What comes in is bounded in size, time and number, and counts for nothing until its signature
holds.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from governed_db.approval.answer import MAX_REASON, read_answer
from governed_db.approval.desk import Desk
from governed_db.approval.store import StoreUnavailable
from governed_db.bounded_http import Bounded
from governed_db.errors import ApprovalsUnavailable, AuditUnavailable, GovernanceError

if TYPE_CHECKING:
    from governed_db.approval.slack import SlackApp

SECONDS: Final = 10.0
"""For one request, from its first byte to its last. Slack and signing tools send theirs at once."""

MOST_AT_ONCE: Final = 32
"""Requests that are worked on at a time; more are turned away. People press buttons, not machines."""

MAX_NOTE: Final = 16 * 1024 + 8 * MAX_REASON
"""Bytes of a signed answer: some hundreds, and its reason, each character of which takes up to six."""

MOST_REFUSED: Final = 60
"""Answers without a signature of the policy's, in a minute, before the others have to wait: each costs a look
at the store, and may cost a record. Those with one never wait for them."""

_MAX_BODY: Final = 512 * 1024

_log = logging.getLogger("governed_db.approval")


@define
class Limit:
    """Counts what happens within a minute. Safe with threads."""

    most: int
    _since: float = field(factory=time.monotonic, init=False)
    _count: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def reached(self) -> bool:
        """Whether it was counted as often as it may be."""
        with self._lock:
            if time.monotonic() > self._since + 60:
                self._since, self._count = time.monotonic(), 0
            return self._count >= self.most

    def count(self) -> None:
        """Count one."""
        with self._lock:
            self._count += 1


class DeskServer(ThreadingHTTPServer):
    """Serves ``POST /slack``, ``POST /answers`` and ``GET /healthz``.

    Args:
        address: host and port to listen at; port 0 takes a free one.
        desk: where requests are answered.
        app: what takes Slack's callbacks; ``None``: nothing does.
        seconds: for one request.
    """

    daemon_threads = True
    block_on_close = False
    # socketserver's 5 lets a handful of others delay Slack by the second after which TCP tries again.
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], desk: Desk, app: SlackApp | None = None, *, seconds: float = SECONDS
    ) -> None:
        if ":" in address[0]:
            import socket  # noqa: PLC0415 - for its name of IPv6

            self.address_family = socket.AF_INET6
        self.desk = desk
        self.app = app
        self.seconds = seconds
        self.refusals = Limit(MOST_REFUSED)
        self._room = threading.Semaphore(MOST_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Work on a request in a thread, where there is room for one."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Work on a request, and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the class of what went wrong: what it says may quote what was sent."""
        import sys  # noqa: PLC0415 - rarely

        _log.warning("A request failed with %s", getattr(sys.exc_info()[0], "__name__", "an error"))


class _Handler(BaseHTTPRequestHandler):
    server: DeskServer
    server_version = "governed-db"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        # A limit for the whole of it: a byte each second would be in time for ever.
        self.rfile = Bounded(self.request, time.monotonic() + self.server.seconds).makefile("rb")

    def log_message(self, *arguments: Any) -> None:
        _log.debug(*arguments)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (TimeoutError, ConnectionError, BrokenPipeError):
            self.close_connection = True

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._health()
        else:
            self._says(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        known: dict[str, tuple[int, Callable[[bytes], None]]] = {"/answers": (MAX_NOTE, self._answer)}
        if self.server.app is not None:
            known["/slack"] = (_MAX_BODY, self._slack)
        if self.path not in known:
            self._says(HTTPStatus.NOT_FOUND)
            return
        most, work = known[self.path]
        length = self.headers.get("content-length", "")
        if "transfer-encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self._says(HTTPStatus.LENGTH_REQUIRED)
        elif len(length) > 9 or int(length) > most:
            self._says(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            body = self.rfile.read(int(length))
            if len(body) != int(length):
                self._says(HTTPStatus.BAD_REQUEST)
                return
            try:
                work(body)
            except (ApprovalsUnavailable, AuditUnavailable) as error:
                self._says(HTTPStatus.SERVICE_UNAVAILABLE, _told(error), after=5)

    def _health(self) -> None:
        try:
            self.server.desk.store.find(b"", now=datetime.now(UTC))
        except StoreUnavailable as error:
            self._says(HTTPStatus.SERVICE_UNAVAILABLE, {"status": str(error)})
        else:
            self._says(HTTPStatus.OK, {"status": "ok"})

    def _slack(self, body: bytes) -> None:
        from governed_db.approval.slack import answer  # noqa: PLC0415 - an extra, and it is installed

        assert self.server.app is not None
        reply = answer(self.server.desk, body, dict(self.headers.items()), app=self.server.app)
        self._sends(reply.status, reply.body, reply.content_type)
        # Slack has its answer; what it waits for no longer is said in the channel.
        self._finish_early()
        reply.then()

    def _answer(self, body: bytes) -> None:
        try:
            signed = read_answer(body)
        except ValueError as error:
            said = {"rule": "approval.answer", "message": str(error), "remedy": "send the signed note alone"}
            self._says(HTTPStatus.BAD_REQUEST, said)
            return
        if signed.signer(self.server.desk.settings.people.keys) is None:
            # The desk refuses it, and puts that on record.
            if self.server.refusals.reached():
                self._says(HTTPStatus.TOO_MANY_REQUESTS, after=60)
                return
            self.server.refusals.count()
        try:
            standing = self.server.desk.hand_in(signed)
        except (ApprovalsUnavailable, AuditUnavailable):
            raise
        except GovernanceError as error:
            unknown = error.rule == "approval.unknown"
            self._says(HTTPStatus.NOT_FOUND if unknown else HTTPStatus.FORBIDDEN, _told(error))
            return
        told = {
            "request": standing.request.id,
            "agreed": standing.agreed,
            "denied": standing.denied is not None,
            "granted": len(standing.granted),
            "needed": standing.request.needed,
        }
        self._says(HTTPStatus.OK, told)

    def _finish_early(self) -> None:
        import socket  # noqa: PLC0415 - for its name of a direction

        self.wfile.flush()
        try:
            self.request.shutdown(socket.SHUT_WR)
        except OSError:
            return  # Slack has gone

    def _says(self, status: HTTPStatus, told: dict[str, Any] | None = None, *, after: int = 0) -> None:
        said = {"status": status.phrase} if told is None else told
        self._sends(int(status), json.dumps(said).encode() + b"\n", "application/json", after=after)

    def _sends(self, status: int, body: bytes, kind: str, *, after: int = 0) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.send_header("connection", "close")
        if after:
            self.send_header("retry-after", str(after))
        self.end_headers()
        self.wfile.write(body)


def _told(error: GovernanceError) -> dict[str, Any]:
    return {
        "rule": error.rule,
        "message": str(error),
        "remedy": error.remedy,
        "retryable": error.retryable,
    }

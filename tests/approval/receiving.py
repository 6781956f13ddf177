"""What receives on loopback: an address for webhooks, and as much of Slack as an app meets."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from governed_db import Governor, Identity
from governed_db.approval.courier import Pace
from governed_db.approval.request import Question
from governed_db.identity.model import standing
from tests.approvers import ANNA

BOT = Identity.agent("bot")
PACE = Pace(poll=0.05, lease=1.0, patience=0.3, first=0.02, most=0.1)
PATIENCE = 20.0
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TOKEN = "xoxb-loopback"


def question(text: str = "DELETE FROM t", **more: Any) -> Question:
    digest = sha256(text.encode()).digest()
    return Question(**{"digest": digest, "requester": standing(BOT), "statement": text, "sql": text, **more})


def opened(folder: Path, toml: str = "", **kwargs: Any) -> Governor:
    """A governor with a policy in ``folder``, and notices without long pauses."""
    policy = folder / "policy.toml"
    policy.write_text('extends = "standard"\n' + toml + ANNA.as_toml())
    governor = Governor.load(policy, state_dir=folder / "state", **kwargs)
    governor.notices.pace = PACE
    return governor


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted; answers as it is told: ``statuses`` one after the other, and 200 then."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[tuple[int, dict[str, str]]] = []
        self.answers: dict[str, Any] = {}
        self.slow = threading.Event()
        self.slow.set()
        self.came = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def until(self, number: int, path: str = "") -> list[tuple[str, dict[str, str], bytes]]:
        """Return what was posted to ``path``, as soon as it is ``number``."""

        def found():
            return [p for p in self.posted if p[0].startswith(path)]

        with self.came:
            assert self.came.wait_for(lambda: len(found()) >= number, PATIENCE), [p[0] for p in self.posted]
            return found()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.came:
            status, headers = self.server.statuses.pop(0) if self.server.statuses else (200, {})
            self.server.posted.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.server.came.notify_all()
        self.server.slow.wait(PATIENCE)
        answer = json.dumps(self.server.answers.get(self.path, {"ok": status == 200, "ts": "1.2"})).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.slow.set()
        server.shutdown()
        thread.join()
        server.server_close()


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Post as anybody could."""
    sent = urllib.request.Request(url, body, headers or {}, method="POST")
    try:
        with urllib.request.urlopen(sent, timeout=PATIENCE) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def signed(
    payload: Any, *, secret: str = SIGNING_SECRET, at: float | None = None
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a callback, as Slack makes them
    (https://docs.slack.dev/authentication/verifying-requests-from-slack)."""
    body = urllib.parse.urlencode({"payload": json.dumps(payload)}).encode()
    stamp = str(int(time.time() if at is None else at))
    mac = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={mac}",
    }


def press(message: dict[str, Any], label: str, user: str, url: str, **more: Any) -> dict[str, Any]:
    """Return what Slack sends when ``user`` presses the button ``label`` of ``message``."""
    buttons = next(b for b in message["blocks"] if b["type"] == "actions")["elements"]
    button = next(b for b in buttons if b["text"]["text"] == label)
    return {
        "type": "block_actions",
        "user": {"id": user, "username": "x", "team_id": "T1"},
        "trigger_id": "13345224609.738474920.8088930838d88f008e0",
        "response_url": url,
        "actions": [
            {"type": "button", "action_id": button["action_id"], "value": button["value"], "block_id": "b"}
        ],
        **more,
    }


def submit(view: dict[str, Any], reason: str | None, user: str) -> dict[str, Any]:
    """Return what Slack sends when ``user`` submits a form."""
    (block,) = view["blocks"]
    typed = {
        block["block_id"]: {block["element"]["action_id"]: {"type": "plain_text_input", "value": reason}}
    }
    kept = {"callback_id": view["callback_id"], "private_metadata": view["private_metadata"]}
    return {
        "type": "view_submission",
        "user": {"id": user},
        "view": {**kept, "type": "modal", "state": {"values": typed}},
    }

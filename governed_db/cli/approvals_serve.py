"""``governed-db approvals serve``: takes answers over HTTP, and tells people of requests that others left."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from governed_db.cli.approvals import attempt, key_of, opened
from governed_db.cli.common import add_policy

if TYPE_CHECKING:
    from governed_db.approval.desk_server import DeskServer
    from governed_db.approval.slack import SlackApp
    from governed_db.governor import Governor

LISTEN: Final = "127.0.0.1:8787"
"""Where it listens: on this machine alone, behind what ends TLS."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "serve",
        help="take answers over HTTP (Slack's buttons, signed notes), and tell people of requests",
        description="Serve POST /slack (the buttons of messages in Slack), POST /answers (answers that were"
        " signed elsewhere) and GET /healthz, and tell people of the requests of all processes that share the"
        " store. It speaks plain HTTP: put it behind something that ends TLS.",
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=_address,
        default=_address(LISTEN),
        help=f"where to listen (default: {LISTEN}); port 0 takes a free one",
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        help="the key of an [[authority]], which signs for those who press a button in Slack",
    )
    add_policy(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until somebody ends it; return the exit status."""

    def work() -> int:
        with opened(arguments) as governor:
            return _serve(governor, arguments)

    return attempt("serve", work)


def _serve(governor: Governor, arguments: argparse.Namespace) -> int:
    from attrs import evolve

    from governed_db.approval.desk_server import DeskServer

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    app = _app(governor, arguments.key)
    server = DeskServer(arguments.listen, governor.approvals, app)
    host, port = server.server_address[:2]
    if host not in _LOOPBACK:
        print("this is plain HTTP, and others than this machine reach it", file=sys.stderr)
    _tell(governor, app)
    # The last line before it works: who waits for it knows where.
    print(f"listening at http://{_bracketed(str(host))}:{port}", file=sys.stderr, flush=True)
    pace = governor.notices.pace
    governor.notices.pace = evolve(pace, poll=governor.approvals.settings.poll_seconds)
    governor.notices.start()
    _until_ended(server)
    return 0


def _app(governor: Governor, key: Path | None) -> SlackApp | None:
    """Return what takes Slack's callbacks, ``None`` where no key is given to sign with.

    Raises:
        ValueError: it lacks something.
    """
    from governed_db.approval.notifier import NotReady

    if key is None:
        return None
    settings = next((one for one in governor.policy.settings.notify if one.slack), None)
    if settings is None:
        raise ValueError(
            '--key signs for those who press a button in Slack: the policy has no [[notify]] slack = "..."'
        )
    try:
        from governed_db.approval.slack import SlackApp
    except ImportError as error:
        if error.name is None or not error.name.startswith("slack_sdk"):
            raise
        raise ValueError("slack-sdk is missing: pip install 'governed-db[slack]'") from None
    signs = key_of(key, governor.approvals.settings.people, governor.policy.name)
    try:
        return SlackApp.of(settings, signs, governor.approvals)
    except NotReady as error:
        raise ValueError(str(error)) from None


def _tell(governor: Governor, app: SlackApp | None) -> None:
    found = governor.notices.notifiers
    for name in found.here:
        print(f"tells {name}", file=sys.stderr)
    for name, why in found.lacking.items():
        print(f"cannot tell {name}: {why}", file=sys.stderr)
    if app is None:
        print("takes no answers from Slack: no --key", file=sys.stderr)


def _until_ended(server: DeskServer) -> None:
    def stop(*_: object) -> None:
        # In a thread: shutdown() waits for the loop that this interrupts.
        threading.Thread(target=server.shutdown, daemon=True).start()

    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise argparse.ArgumentTypeError("an address is HOST:PORT, as in 127.0.0.1:8787")
    return host, int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

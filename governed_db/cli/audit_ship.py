"""``governed-db audit ship``: the trail sent to a collector of OpenTelemetry, at least once."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli.audit import add_dir, folder_of
from governed_db.cli.common import FAILED, clean, failed

if TYPE_CHECKING:
    from governed_db.audit.ship import Report, Shipper

_COMMAND = "audit ship"


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "ship",
        help="send the trail to an OpenTelemetry collector",
        description="Send every statement on record as a span, every event as a log record, by OTLP/HTTP, at"
        " least once: what the collector has not accepted is sent again, also by a later run.",
    )
    parser.add_argument(
        "--to",
        metavar="URL",
        default="",
        help="the collector's address, as in https://otel.example:4318 (else OTEL_EXPORTER_OTLP_ENDPOINT)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="send what there is, and end (the default)")
    how.add_argument("--follow", action="store_true", help="go on until it is stopped (SIGTERM, Ctrl-C)")
    parser.add_argument(
        "--header",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a header to send; secrets belong in OTEL_EXPORTER_OTLP_HEADERS or --header-file, because other"
        " users can see a command's arguments",
    )
    parser.add_argument("--header-file", metavar="FILE", type=Path, help="headers, one NAME=VALUE on a line")
    parser.add_argument(
        "--events",
        choices=("auto", "logs", "spans"),
        default="auto",
        help="how events are sent; auto (the default): as logs, or as spans where nothing takes logs",
    )
    parser.add_argument(
        "--state", metavar="FOLDER", type=Path, help="where the cursor is (default: 'ship' in the journal)"
    )
    parser.add_argument("--name", default="", help="the cursor's name (default: from the address)")
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="for one request (default: 10)")
    parser.add_argument(
        "--patience",
        metavar="SECONDS",
        type=_seconds,
        help="how long --once goes on trying before it fails (default: 60)",
    )
    add_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ship; return the exit status."""
    try:
        from governed_db.audit import ship
        from governed_db.audit.collector import TIMEOUT
        from governed_db.audit.destination import Destination, DestinationError, header
    except ImportError as error:
        if error.name is None or not error.name.startswith(("opentelemetry.proto", "google")):
            raise
        print(f"governed-db {_COMMAND}: opentelemetry-proto is missing", file=sys.stderr)
        print("  install it with pip install 'governed-db[otlp]'", file=sys.stderr)
        return FAILED
    from governed_db.errors import PolicyError

    try:
        headers = [header(text) for text in _written(arguments)]
        destination = Destination.of(arguments.to, headers=dict(headers), name=arguments.name)
        shipper = ship.Shipper(
            folder_of(arguments),
            destination,
            state=arguments.state,
            events=arguments.events,
            timeout=arguments.timeout or TIMEOUT,
        )
    except (DestinationError, PolicyError) as error:
        return failed(_COMMAND, error)
    except (OSError, UnicodeDecodeError) as error:
        print(f"governed-db {_COMMAND}: the file of headers cannot be read", file=sys.stderr)
        return failed(_COMMAND, error) if isinstance(error, OSError) else FAILED
    return _follow(shipper) if arguments.follow else _once(shipper, arguments.patience)


def _once(shipper: Shipper, patience: float | None) -> int:
    from governed_db.audit import ship
    from governed_db.audit.cursor import Unusable
    from governed_db.audit.deliver import GaveUp, Stopped

    try:
        with _stopping(shipper):
            report = shipper.once(ship.PATIENCE if patience is None else patience)
    except GaveUp as error:
        print(f"governed-db {_COMMAND}: {shipper.destination}: {clean(str(error))}", file=sys.stderr)
        print("  nothing is lost: the next run goes on from there", file=sys.stderr)
        return FAILED
    except Stopped:
        print("stopped; the next run goes on from there", file=sys.stderr)
        return FAILED
    except (Unusable, OSError) as error:
        return failed(_COMMAND, error)
    return _tell(shipper, report)


@contextmanager
def _stopping(shipper: Shipper) -> Iterator[None]:
    """Let signals end the work between two requests instead of in the middle of one."""

    def stop(*_: object) -> None:
        # In a thread: what is interrupted may hold the lock that stop() needs.
        threading.Thread(target=shipper.stop, daemon=True).start()

    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(shipper: Shipper, report: Report) -> int:
    stats = shipper.stats()
    spans, events = stats["shipped_spans"], stats["shipped_events"]
    print(f"sent {spans} statements and {events} events to {shipper.destination}")
    if report.running:
        print(f"{report.running} statements still run, and are sent when they are over")
    if report.refused:
        print(
            f"{report.refused} records are refused by the collector and tried again by each run:"
            f" {clean(report.trouble)}",
            file=sys.stderr,
        )
    if stats["ship_lost"]:
        print(
            f"{stats['ship_lost']} records were removed or damaged before they were shipped; events of kind"
            " damage say which",
            file=sys.stderr,
        )
    return FAILED if report.refused or stats["ship_lost"] else 0


def _follow(shipper: Shipper) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    with _stopping(shipper):
        shipper.follow()
    stats = shipper.stats()
    print(f"sent {stats['shipped_spans']} statements and {stats['shipped_events']} events", file=sys.stderr)
    return 0


def _written(arguments: argparse.Namespace) -> list[str]:
    found: list[str] = []
    if arguments.header_file is not None:
        lines = arguments.header_file.read_text("utf-8").splitlines()
        found = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    return found + list(arguments.header)


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError("a number of seconds above 0")
    return number

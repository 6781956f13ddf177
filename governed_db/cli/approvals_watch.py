"""``governed-db approvals watch``: what waits, as it comes; on a terminal a page on which it is answered."""

from __future__ import annotations

import argparse
import codecs
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli import approvals
from governed_db.cli.common import add_policy, clean, failed

if TYPE_CHECKING:
    from governed_db.approval import ApproverKey
    from governed_db.approval.desk import Desk
    from governed_db.cli.watching import Asked, Entry, Page


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "watch",
        help="see requests as they come, and answer them",
        description="On a terminal: a page of what waits, on which requests are opened and answered."
        " Elsewhere: a line for each request, and for each change of one. Goes on until Ctrl-C.",
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        help=f"what to sign with (default: {approvals.KEY_VARIABLE}, else {approvals.KEY_FILE} in your"
        " configuration folder); without one it only shows",
    )
    parser.add_argument("--lines", action="store_true", help="lines on a terminal as well")
    add_policy(parser)
    parser.set_defaults(run=lambda arguments: approvals.attempt("watch", lambda: run(arguments)))


def run(arguments: argparse.Namespace) -> int:
    """Watch until the person leaves; return the exit status."""
    with approvals.opened(arguments) as governor:
        governor.notices.start()  # tells others of what a process has left that died
        desk = governor.approvals
        if arguments.lines or not (sys.stdin.isatty() and sys.stdout.isatty()):
            _lines(desk)
        elif find_spec("rich") is None:
            print(
                "the page that answers needs `pip install 'governed-db[terminal]'`; here are lines",
                file=sys.stderr,
            )
            _lines(desk)
        else:
            _page(desk, arguments.key)
    return 0


# -- lines


def _lines(desk: Desk) -> None:
    """Print what changes, until somebody ends it."""
    from governed_db.cli import requests
    from governed_db.errors import ApprovalsUnavailable

    told: dict[str, str] = {}
    complained = False
    while True:
        try:
            now = datetime.now(UTC)
            found = {filed.request.id: (filed, standing) for filed, standing in desk.listed()}
            for gone in [key for key in told if key not in found]:
                del told[gone]
                print(_ended(desk, gone), flush=True)
            for key, (filed, standing) in found.items():
                word = requests.progress(requests.state(filed, standing, now), standing)
                if told.get(key) != word:
                    told[key] = word
                    brief = requests.brief(filed, standing, requests.state(filed, standing, now), now)
                    print(f"{requests.when(now)}  {'  '.join(filter(None, brief))}", flush=True)
            complained = False
        except ApprovalsUnavailable as error:
            # It comes back, or somebody ends this.
            if not complained:
                failed("approvals watch", error)
            complained = True
        time.sleep(desk.settings.poll_seconds)


def _ended(desk: Desk, request_id: str) -> str:
    from governed_db.cli import requests
    from governed_db.errors import ApprovalsUnavailable, GovernanceError

    now = datetime.now(UTC)
    try:
        filed = desk.get(request_id)
    except ApprovalsUnavailable:
        raise
    except GovernanceError:  # it is not kept any more
        return f"{requests.when(now)}  {clean(request_id)}  gone"
    word = requests.state(filed, desk.stands(filed, now), now)
    return f"{requests.when(now)}  {clean(request_id)}  {word}"


# -- the page


def _page(desk: Desk, key_file: Path | None) -> None:
    from rich.console import Console
    from rich.live import Live

    from governed_db.cli.watching import Drawn, Page, keys, pressed

    key, hint = _key(desk, key_file)
    signer = "" if key is None else approvals.signs_as(key, None, desk.settings.people)
    page = _looked(Page(signer=signer, hint=hint), desk)
    console = Console(highlight=False)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with (
        _key_by_key(),
        Live(Drawn(page, datetime.now(UTC)), console=console, screen=True, auto_refresh=False) as live,
    ):
        due = time.monotonic() + desk.settings.poll_seconds
        while not page.leaves:
            live.update(Drawn(page, datetime.now(UTC)), refresh=True)
            ready, _, _ = select.select([sys.stdin], [], [], max(due - time.monotonic(), 0))
            if ready:
                data = os.read(sys.stdin.fileno(), 4096)
                if not data:  # the terminal is gone
                    return
                for each in keys(decoder.decode(data)):
                    page, asked = pressed(page, each)
                    if asked is not None and key is not None:
                        page = _looked(_answered(page, desk, key, asked), desk)
            if time.monotonic() >= due:
                page = _looked(page, desk)
                due = time.monotonic() + desk.settings.poll_seconds


def _key(desk: Desk, named: Path | None) -> tuple[ApproverKey | None, str]:
    """Return the key to sign with, or why nothing can be answered here."""
    from governed_db.approval import Approver
    from governed_db.approval.keys import KeyUnusable

    try:
        key = approvals.key_of(named, desk.settings.people)
    except KeyUnusable as error:
        return None, f"{error}: {error.remedy}"
    if not isinstance(desk.settings.people.owner(key.public), Approver):
        return None, "this key is an authority's, which signs for others: governed-db approvals approve --by"
    return key, ""


def _looked(page: Page, desk: Desk) -> Page:
    from attrs import evolve

    from governed_db.cli.watching import renewed
    from governed_db.errors import ApprovalsUnavailable

    try:
        return renewed(page, _entries(desk))
    except ApprovalsUnavailable as error:
        return evolve(page, message=str(error))


def _entries(desk: Desk) -> list[Entry]:
    from governed_db.cli import requests
    from governed_db.cli.watching import Entry

    now = datetime.now(UTC)
    return [Entry(f, s, requests.state(f, s, now)) for f, s in desk.listed()]


def _answered(page: Page, desk: Desk, key: ApproverKey, asked: Asked) -> Page:
    from attrs import evolve

    from governed_db.cli.approvals_approve import said
    from governed_db.errors import GovernanceError

    act = desk.approve if asked.granted else desk.deny
    try:
        standing = act(asked.request, key=key, reason=asked.reason, seal=asked.seal)
    except GovernanceError as error:
        remedy = f". {error.remedy}" if error.remedy else ""
        return evolve(page, opened=None, message=f"{error}{remedy}")
    told = said(standing, page.signer) if asked.granted else f"{asked.request} was denied by {page.signer}"
    return evolve(page, opened=None, scroll=0, message=told)


@contextmanager
def _key_by_key() -> Iterator[None]:
    """Have the terminal hand over keys as they are pressed, and as it was afterwards."""
    import termios
    import tty

    where = sys.stdin.fileno()
    before = termios.tcgetattr(where)
    try:
        tty.setcbreak(where)
        yield
    finally:
        termios.tcsetattr(where, termios.TCSADRAIN, before)

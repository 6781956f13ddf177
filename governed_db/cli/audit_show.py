"""``governed-db audit show``: the statements of the trail, one whole record, or what happens right now."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from governed_db.cli.audit import folder_of
from governed_db.cli.common import FAILED, clean, failed, line
from governed_db.cli.selecting import Out, add_selection, selection_of
from governed_db.cli.trail import note_read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from governed_db.audit.select import Selection
    from governed_db.audit.view import Entry

SHOWN = 50
"""Entries that are shown by default, the last ones: what fills a screen, of a trail of any length."""

POLL = 0.5
"""Seconds between two looks at a journal that is followed; a look at one that nobody writes to takes some
microseconds a segment."""

_COMMAND = "audit show"
_LABEL = 14


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "show",
        help="list statements, show one record, or follow live",
        description="List the statements of the trail with what was decided and what became of them;"
        " with RECORD, show one of them whole.",
    )
    parser.add_argument("id", metavar="RECORD", nargs="?", help="the id of a record")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument(
        "--last", metavar="N", type=_count, default=SHOWN, help=f"how many of them (default: {SHOWN})"
    )
    parser.add_argument(
        "--all", action="store_true", help="all of them, and what governed_db looked up by itself"
    )
    parser.add_argument("--lives", action="store_true", help="show starts and stops of processes as well")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: auto")
    add_selection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show; return the exit status."""
    from governed_db.errors import PolicyError

    try:
        folder = folder_of(arguments)
        if arguments.id is not None:
            note_read(folder, "show", [f"record {arguments.id}"])
            return _one(folder, arguments.id, arguments.json)
        selection = selection_of(arguments)
        note_read(folder, "show", selection.words())
        show = _printer(arguments)
        if arguments.follow:
            _follow(folder, selection, arguments, show)
        else:
            _list(folder, selection, arguments, show)
    except BrokenPipeError:
        raise
    except (OSError, PolicyError) as error:
        return failed(_COMMAND, error)
    return 0


def _count(said: str) -> int:
    found = int(said)
    if found < 0:
        raise argparse.ArgumentTypeError("a number from 0 on")
    return found


def _printer(arguments: argparse.Namespace) -> Any:
    if arguments.json:
        from governed_db.audit.export import line as json_line

        def show(entry: Entry) -> None:
            Out().write(json_line(entry))

        return show
    from governed_db.cli.trail_lines import Lines

    colour = {"always": True, "never": False}.get(arguments.color)
    return Lines(sys.stdout, colour).write


def _shown(entry: Entry, selection: Selection, lives: bool) -> bool:
    return (lives or entry.get("kind") not in ("start", "stop")) and selection.wants(entry)


def _list(folder: Path, selection: Selection, arguments: argparse.Namespace, show: Any) -> None:
    from governed_db.audit.reader import statements
    from governed_db.audit.view import is_look_up

    count = look_ups = 0

    def counted() -> Iterable[Entry]:
        nonlocal count, look_ups
        for entry in statements(folder, beside=True):
            if not _shown(entry, selection, arguments.lives):
                continue
            if is_look_up(entry) and not arguments.all:
                look_ups += 1
            else:
                count += 1
                yield entry

    if arguments.all:
        for entry in counted():
            show(entry)
        return
    last = deque(counted(), maxlen=arguments.last)
    for entry in last:
        show(entry)
    said = [f"the last {len(last)} of {count:,}"] if count > len(last) else []
    if look_ups:
        said.append(f"{look_ups:,} look-ups of governed_db itself left out")
    if said:
        sys.stdout.flush()
        print(f"{', '.join(said)} (--all shows every one)", file=sys.stderr)


def _follow(folder: Path, selection: Selection, arguments: argparse.Namespace, show: Any) -> None:
    from governed_db.audit.follow import Follower
    from governed_db.audit.view import is_look_up

    follower = Follower(folder)

    def wants(entry: Entry) -> bool:
        return _shown(entry, selection, arguments.lives) and (arguments.all or not is_look_up(entry))

    for entry in follower.last(sys.maxsize if arguments.all else arguments.last, wants):
        show(entry)
    while True:
        sys.stdout.flush()
        time.sleep(POLL)
        for entry in sorted(filter(wants, follower.more()), key=lambda e: str(e.get("at"))):
            show(entry)


def _one(folder: Path, wanted: str, as_json: bool) -> int:
    from governed_db.audit.export import line as json_line
    from governed_db.audit.reader import statements
    from governed_db.cli.trail_lines import whole

    found = next((e for e in statements(folder, beside=True) if wanted in (e.get("id"), e.get("of"))), None)
    if found is None:
        print(
            f"governed-db {_COMMAND}: {folder} holds no statement or event {clean(wanted)};"
            ' an outcome is part of its statement, whose id is the outcome\'s "of"',
            file=sys.stderr,
        )
        return FAILED
    if as_json:
        Out().write(json_line(found))
        return 0
    first = True
    for title, fields in whole(found):
        present = [(name, value) for name, value in fields if value]
        if not present:
            continue
        print(f"{'' if first else chr(10)}{title}")
        first = False
        for name, value in present:
            line(f"  {clean(name)[: _LABEL - 3]}", value, indent=_LABEL)
    return 0

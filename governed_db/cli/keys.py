"""``governed-db keys``: makes and rotates the file of keys for masks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from governed_db.cli.common import clean, failed

if TYPE_CHECKING:
    import argparse

_HEADER = """\
# Keys for masks (pseudonyms, tokens, shifted dates, ...). Whoever has this file can turn tokens back.
# The highest number is in use; the others still resolve tokens that were handed out under them.
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to ``commands``."""
    parser = commands.add_parser("keys", help="make or rotate the file of keys for masks")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new = verbs.add_parser("new", help="make a file with one new key, for its owner alone (mode 0600)")
    new.add_argument("file", metavar="FILE", type=Path)
    new.set_defaults(run=_new)
    rotate = verbs.add_parser("rotate", help="add a new key, which is used from the next reload on")
    rotate.add_argument("file", metavar="FILE", type=Path)
    rotate.set_defaults(run=_rotate)


def _new(arguments: argparse.Namespace) -> int:
    from governed_db.masking import keys

    path: Path = arguments.file
    try:
        # Never over a file that is there: the values it masks by would be lost with it.
        with _made(path) as file:
            file.write((_HEADER + keys.written(1, keys.new_secret())).encode())
    except FileExistsError:
        return _failed("new", f"{path} is there already", f"To add a version: governed-db keys rotate {path}")
    except OSError as error:
        return _failed("new", f"{path} cannot be made: {error.strerror}", "Name a file in a folder of yours.")
    print(f"{clean(str(path.absolute()))}: version 1, readable by its owner alone")
    print("name it in the policy:")
    print(f"  [masking]\n  keys = {json.dumps(str(path.absolute()), ensure_ascii=False)}")
    print("keep a copy in a safe place: without it tokens cannot be resolved and pseudonyms change")
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    from governed_db.errors import PolicyError
    from governed_db.masking import keys

    # The file itself: a new one in the place of a link to it would leave it without the new version.
    path = Path(os.path.realpath(arguments.file))
    beside = path.with_name(f"{path.name}.new")
    try:
        # Made before the old one is read: a second rotation would lose what the first has added.
        with _made(beside) as file:
            version = keys.of_file(path).current + 1
            text = path.read_bytes().rstrip(b"\n") + b"\n" + keys.written(version, keys.new_secret()).encode()
            file.write(text)
            file.flush()
            keys.of_file(beside)  # what could not be used is not put in the place of what can
        beside.replace(path)
    except PolicyError as error:
        return failed("keys rotate", error)
    except FileExistsError:
        return _failed(
            "rotate",
            f"{beside} is there already: another rotation is under way, or was cut off",
            f"If none is under way, remove it and try again: rm {beside}",
        )
    except OSError as error:
        return _failed("rotate", f"{path} cannot be written anew: {error.strerror}", "It is as it was.")
    print(f"{clean(str(path))}: version {version} is used once governors reload or start")
    print("pseudonyms, shifted dates and fakes change with it; tokens of earlier versions still resolve")
    return 0


@contextmanager
def _made(path: Path) -> Iterator[IO[bytes]]:
    """Make ``path`` for its owner alone, and have it on the disk, or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _failed(verb: str, what: str, remedy: str) -> int:
    from governed_db.errors import PolicyError

    return failed(f"keys {verb}", PolicyError(what, rule="masking.keys", remedy=remedy))

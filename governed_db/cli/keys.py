"""``governed-db keys``: makes and rotates the file of keys for masks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli.common import FAILED

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
    text = _HEADER + keys.written(1, keys.new_secret())
    try:
        # Never over a file that is there: the values it masks by would be lost with it.
        _write(path, text)
    except FileExistsError:
        return _failed(f"{path} is there already; to add a version: governed-db keys rotate {path}")
    except OSError as error:
        return _failed(f"{path} cannot be made: {error.strerror}")
    print(f"{path.absolute()}: version 1, readable by its owner alone")
    print("name it in the policy:")
    print(f'  [masking]\n  keys = "{path.absolute()}"')
    print("keep a copy in a safe place: without it tokens cannot be resolved and pseudonyms change")
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    from governed_db.errors import PolicyError
    from governed_db.masking import keys

    path: Path = arguments.file
    beside = path.with_name(f"{path.name}.new")
    try:
        version = keys.of_file(path).current + 1
        text = path.read_text("ascii")
        if not text.endswith("\n"):
            text += "\n"
        _write(beside, text + keys.written(version, keys.new_secret()))
        beside.replace(path)
    except PolicyError as error:
        return _failed(f"{error}\n{error.remedy}" if error.remedy else str(error))
    except OSError as error:
        return _failed(f"{beside} cannot be made: {error.strerror}")
    print(f"{path.absolute()}: version {version} is used once governors reload or start")
    print("pseudonyms, shifted dates and fakes change with it; tokens of earlier versions still resolve")
    return 0


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _failed(message: str) -> int:
    print(message, file=sys.stderr)
    return FAILED

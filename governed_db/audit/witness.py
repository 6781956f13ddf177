"""Files of checkpoints: the log's own, and copies kept where who can change the log cannot change them.

Each is a sequence of notes with an empty line behind each. A witness may hold the checkpoints of many logs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from governed_db.audit import logfiles
from governed_db.audit.checkpoint import Checkpoint
from governed_db.audit.regular import buffered
from governed_db.note import MAX_NOTE, Note

LOOK_BACK = 1 << 20
"""Bytes at a witness's end in which the last checkpoint of a log is looked for: some 4,000 checkpoints."""

_DASH = "\u2014 ".encode()


def append(path: Path, note: bytes) -> None:
    """Append a note to a file and bring it to the disk.

    Raises:
        OSError: it cannot be written.
    """
    logfiles.append(path, note + b"\n")


def last_note(path: Path, look_back: int) -> tuple[bytes, int]:
    """Return the last whole note of a file, and where it and its empty line end; ``b""`` and 0 if there is
    none.

    Raises:
        OSError: the file cannot be read.
    """
    with buffered(path) as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - look_back)
        file.seek(start)
        data = file.read()
    end = data.rfind(b"\n\n")
    while end >= 0:
        # What ends here is a text or its signatures, which begin with a dash.
        before = data.rfind(b"\n\n", 0, end)
        if data.startswith(_DASH, before + 2 if before >= 0 else 0) and before >= 0:
            text = data.rfind(b"\n\n", 0, before)
            return data[text + 2 if text >= 0 else 0 : end + 1], start + end + 2
        end = before
    return b"", 0


def newest(path: Path, origin: str) -> Checkpoint | None:
    """Return the last checkpoint of the log ``origin`` at the end of a file; ``None`` if there is none.

    No signature is verified: who may write here could as well have changed the log.

    Raises:
        OSError: the file cannot be read; one that is not there has none.
    """
    try:
        with buffered(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOOK_BACK))
            data = file.read()
    except FileNotFoundError:
        return None
    name = origin.encode() + b"\n"
    at = data.rfind(b"\n" + name)
    at = at + 1 if at >= 0 else 0
    if not data.startswith(name, at):
        return None
    try:
        return Checkpoint.parse(data[at:].partition(b"\n\n")[0].decode() + "\n")
    except ValueError:
        return None


def notes(path: Path) -> Iterator[tuple[int, Note | str]]:
    """Yield the notes of a file with their numbers, from 1; text in place of one that cannot be read.

    A single note without an empty line behind it will do. One note at a time is in memory.

    Raises:
        OSError: the file cannot be read.
    """
    number = 0
    text = b""
    piece = b""
    with buffered(path) as file:
        for line in file:
            if line != b"\n" and len(piece) <= MAX_NOTE:
                piece += line
                continue
            if line != b"\n":
                number += 1
                yield number, f"a note has at most {MAX_NOTE} bytes"
                return
            if not text:
                if not piece:
                    continue  # empty lines between notes mean nothing
                text, piece = piece, b""
                continue
            number += 1
            yield number, _note(text, piece)
            text = piece = b""
    if text and piece:
        yield number + 1, _note(text, piece)
    elif text or piece:
        yield number + 1, "it is cut"


def _note(text: bytes, signatures: bytes) -> Note | str:
    try:
        return Note.parse(text + b"\n" + signatures)
    except ValueError as error:
        return str(error)

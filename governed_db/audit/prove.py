"""A proof that one record is in the log, as a file that needs nothing beside it but the log's key."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import orjson

from governed_db.audit import tree, witness
from governed_db.audit.checkpoint import Checkpoint, Proof
from governed_db.audit.entry import (
    ENTRY_SIZE,
    Entry,
    Kind,
    record_hash,
    record_prefix,
)
from governed_db.audit.frames import records
from governed_db.audit.logfiles import FOLDER
from governed_db.audit.regular import buffered, unbuffered
from governed_db.note import MAX_NOTE, Note

_PIECE = 4096  # leaves that are read and hashed at once


class NotProven(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """There is no proof for the record.

    Attributes:
        remedy: what would help.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def prove(folder: Path, record_id: str) -> Proof:
    """Return the proof that the record is under the log's last checkpoint.

    Raises:
        NotProven: no checkpoint is over a record with that id, or the log does not give its last
        checkpoint's root. OSError: a file cannot be read.
    """
    place = folder / FOLDER
    try:
        signed, _ = witness.last_note(place / "checkpoints", 4 * MAX_NOTE)
        checkpoint = Checkpoint.parse(Note.parse(signed).text)
    except (FileNotFoundError, ValueError):
        raise NotProven(
            f"{folder} has no checkpoint", remedy="governed-db audit checkpoint signs one"
        ) from None
    index, leaf = _find(folder, place, checkpoint.size, record_id)
    with unbuffered(place / "leaves") as file:
        hashes = tuple(
            _root(file.fileno(), start, end) for start, end in tree.inclusion_ranges(index, checkpoint.size)
        )
    proof = Proof(leaf, index, hashes, signed)
    if not proof.holds():
        raise NotProven(
            "the log does not give the root of its last checkpoint",
            remedy="governed-db audit verify says why",
        )
    return proof


def _find(folder: Path, place: Path, size: int, record_id: str) -> tuple[int, bytes]:
    """Return index and bytes of the leaf of a record."""
    wanted = b'"id":"' + record_id.encode() + b'"'
    with buffered(place / "entries") as entries:
        while (entry := Entry.unpack(entries.read(ENTRY_SIZE))) is not None and entry.at < size:
            if entry.kind is not Kind.RUN:
                continue
            with (
                contextlib.suppress(FileNotFoundError),
                unbuffered(folder / entry.segment) as file,
            ):
                for sequence, payload, _ in records(file.fileno(), entry.offset, entry.offset + entry.length):
                    if wanted in payload and _id(payload) == record_id:
                        at = entry.at + 1 + sequence - entry.first
                        leaf = record_prefix(entry.journal, sequence) + payload
                        return _stored(place, at, record_hash(entry.journal, sequence, payload), leaf)
    raise NotProven(
        f"no checkpoint is over a record {record_id}",
        remedy="where it is younger than the last one: governed-db audit checkpoint",
    )


def _stored(place: Path, at: int, expected: bytes, leaf: bytes) -> tuple[int, bytes]:
    with unbuffered(place / "leaves") as file:
        if os.pread(file.fileno(), tree.HASH_SIZE, at * tree.HASH_SIZE) != expected:
            raise NotProven(
                "the record is not what the log took up", remedy="governed-db audit verify says more"
            )
    return at, leaf


def _root(fd: int, start: int, end: int) -> bytes:
    known = tree.Range()
    while start < end:
        data = os.pread(fd, min(_PIECE, end - start) * tree.HASH_SIZE, start * tree.HASH_SIZE)
        if not data:
            raise NotProven("the log's leaves end early", remedy="governed-db audit verify says more")
        known = tree.extend(known, [data[at : at + 32] for at in range(0, len(data), 32)])
        start += len(data) // 32
    return tree.root(known)


def _id(payload: bytes) -> str:
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return ""
    return str(found.get("id", "")) if isinstance(found, dict) else ""

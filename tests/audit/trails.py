"""Trails to tamper with: small, of several writers, with everything that a log can have taken up."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governed_db.audit import record
from governed_db.audit.entry import ENTRY_SIZE, Entry, Kind
from governed_db.audit.journal import Journal
from governed_db.audit.layout import FRAME_SIZE, HEADER_SIZE, RECORD, frame, padded, unframe
from governed_db.audit.scan import names
from governed_db.audit.sequencer import Sequencer
from governed_db.audit.signing import Signer
from governed_db.audit.verdict import Report
from governed_db.audit.verify import verify
from governed_db.note import VerifierKey

SEGMENT = 16 << 10
Frames = list[tuple[int, int, bytes]]


def signer(name: str = "the log's") -> Signer:
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    return Signer(key.public_key().public_bytes_raw(), key.sign)


def sequencer(folder: Path, by: Signer | None = None, **options: object) -> Sequencer:
    made = by or signer()
    return Sequencer(folder, lambda: made, **options)  # type: ignore[arg-type]


def write(folder: Path, count: int, note: str = "n", *, close: bool = True) -> Journal:
    journal = Journal.open(folder, segment_bytes=SEGMENT)
    for n in range(count):
        journal.append(record.event("test.event", number=n, note=note * 8))
    if close:
        journal.close()
    return journal


def origin(folder: Path) -> str:
    return (folder / "log" / "origin").read_text().strip()


def key(folder: Path, by: Signer | None = None) -> VerifierKey:
    return (by or signer()).named(origin(folder))


def checked(folder: Path, *keys: VerifierKey, **outside: object) -> Report:
    return verify(folder, keys or [key(folder)], **outside)  # type: ignore[arg-type]


def kinds(report: Report) -> set[str]:
    return {finding.kind.value for finding in report.findings}


def segments(folder: Path) -> list[Path]:
    return [name.path for name in names(folder)]


def frames(path: Path) -> Frames:
    """Return (type, sequence, payload) of each frame."""
    data = path.read_bytes()
    found, at = [], HEADER_SIZE
    while (head := unframe(data[at : at + FRAME_SIZE])) is not None:
        length, kind, sequence, _ = head
        found.append((kind, sequence, data[at + FRAME_SIZE : at + FRAME_SIZE + length]))
        at += padded(length)
    return found


def rewrite(path: Path, change: Callable[[Frames], Frames]) -> None:
    """Write a segment anew, every CRC right, as who knows the format would."""
    data = path.read_bytes()
    body = b"".join(frame(payload, sequence, kind) for kind, sequence, payload in change(frames(path)))
    whole = data[:HEADER_SIZE] + body
    living = len(data) > len(whole) and not any(data[-8:])
    path.write_bytes(whole.ljust(len(data), b"\0") if living else whole)


def is_record(one: tuple[int, int, bytes]) -> bool:
    return one[0] == RECORD


def entries(folder: Path) -> list[Entry]:
    data = (folder / "log" / "entries").read_bytes()
    found = [Entry.unpack(data[at : at + ENTRY_SIZE]) for at in range(0, len(data), ENTRY_SIZE)]
    return [entry for entry in found if entry is not None]


def entry_of(folder: Path, kind: Kind) -> int:
    """Return the number, from 0, of the first entry of that kind."""
    return next(n for n, entry in enumerate(entries(folder)) if entry.kind is kind)


def flip(path: Path, offset: int, by: int = 1) -> None:
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ by]), offset)

"""What a log has taken up, and the file ``state`` in which the next sequencer finds it.

The file is only a help: it is believed where it is signed with the key in force, and gives the root of the
last checkpoint or leads to it. (The root says nothing of how far each segment is taken up: whoever could
write that could keep the log from taking up any more.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from attrs import define, field

from governed_db import note
from governed_db.audit import tree, witness
from governed_db.audit.checkpoint import Checkpoint
from governed_db.audit.entry import Entry, Kind
from governed_db.audit.layout import HEADER_SIZE
from governed_db.audit.logfiles import FOLDER, replace
from governed_db.audit.regular import buffered
from governed_db.audit.signing import Signer
from governed_db.note import VerifierKey

FILE = "state"


@define
class State:
    """What has been taken up.

    Attributes:
        known: the tree's range.
        entries: their number.
        key: the public key in force.
        journals: the sequence that comes next, by journal.
        segments: by file name, the offset up to which it is taken up, and whether that was its end.
    """

    known: tree.Range = field(factory=tree.Range)
    entries: int = 0
    key: bytes = b""
    journals: dict[int, int] = field(factory=dict)
    segments: dict[str, tuple[int, bool]] = field(factory=dict)

    def apply(self, entry: Entry) -> None:
        """Note what ``entry`` says."""
        if entry.kind is Kind.KEY:
            self.key = entry.data
        elif entry.kind is Kind.GAP:
            self.journals[entry.journal] = entry.first + entry.length
        elif entry.kind is Kind.RETIRED:
            pass  # it is as it was until its file is gone
        elif entry.kind is Kind.END:
            self.segments[entry.segment] = (entry.offset, True)
        else:
            self.segments[entry.segment] = (max(entry.offset + entry.length, HEADER_SIZE), False)
            if entry.kind is Kind.RUN:
                following = entry.first + entry.count
                self.journals[entry.journal] = max(self.journals.get(entry.journal, 1), following)


def keep(folder: Path, origin: str, state: State, signer: Signer) -> None:
    """Write the state of the log in ``folder``, signed; what it says of files that are gone is forgotten."""
    for name in [n for n in state.segments if not (folder / n).exists()]:
        del state.segments[name]
    there = {name.split("-")[1] for name in state.segments}
    state.journals = {j: n for j, n in state.journals.items() if f"{j:016x}" in there}
    kept_: dict[str, Any] = {
        "v": 2,
        "origin": origin,
        "size": state.known.size,
        "hashes": [h.hex() for h in state.known.hashes],
        "entries": state.entries,
        "key": state.key.hex(),
        "journals": {f"{j:016x}": n for j, n in state.journals.items()},
        "segments": state.segments,
    }
    # Without it the next one reads more: no reason to fail.
    with contextlib.suppress(Exception):
        data = orjson.dumps(kept_)
        replace(folder / FOLDER / FILE, signer.sign(_message(data)).hex().encode() + b"\n" + data)


def kept(folder: Path, origin: str, key: VerifierKey | None) -> State:
    """Return the state of the log ``origin`` in ``folder``, an empty one where none can be read.

    ``key``: what it must be signed with; ``None`` for whoever does not rely on it.
    """
    try:
        with buffered(folder / FOLDER / FILE) as file:
            signature, _, data = file.read().partition(b"\n")
        if key is not None and not key.holds(bytes.fromhex(signature.decode()), _message(data)):
            return State()
        found = orjson.loads(data)
        state = State(
            known=tree.Range(int(found["size"]), tuple(bytes.fromhex(h) for h in found["hashes"])),
            entries=int(found["entries"]),
            key=bytes.fromhex(found["key"]),
            journals={int(j, 16): int(n) for j, n in found["journals"].items()},
            segments={str(n): (int(o), bool(e)) for n, (o, e) in found["segments"].items()},
        )
        same = found["origin"] == origin and state.entries >= 0
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return State()
    return state if same and tree.fits(state.known) else State()


def _message(data: bytes) -> bytes:
    # No note holds a byte 0: what is signed here can never be passed off as a checkpoint.
    return b"governed_db log state\0" + sha256(data).digest()


def covered(folder: Path) -> Callable[[str], bool]:
    """Return what says of a segment, by its file's name, whether the last checkpoint is over all of it.

    Of a log without a checkpoint, or one whose state is not that of the last, nothing is covered.
    """
    try:
        last, _ = witness.last_note(folder / FOLDER / "checkpoints", 4 * note.MAX_NOTE)
        checkpoint = Checkpoint.parse(note.Note.parse(last).text)
    except (OSError, ValueError):
        return lambda _: False
    state = kept(folder, checkpoint.origin, None)  # Log.retire looks again
    if state.known.size != checkpoint.size or tree.root(state.known) != checkpoint.root:
        return lambda _: False
    return lambda name: state.segments.get(name, (0, False))[1]

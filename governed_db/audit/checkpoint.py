"""Checkpoints, what a log signs: its name, its size and its root. And proofs that a record is under one.

The text of a checkpoint is three lines: the origin, which names the log; the number of leaves; the root of
the tree over them in base64. It is signed as a :mod:`note <governed_db.note>`. Lines that follow are
kept and say nothing.

A proof is a file that needs nothing beside it but the log's key: the leaf itself, its index, the hashes
from the leaf up to the root, and the checkpoint.

Formats: https://c2sp.org/tlog-checkpoint and https://c2sp.org/tlog-proof.
"""

from __future__ import annotations

import re
from typing import Self

from attrs import frozen

from governed_db.audit import tree
from governed_db.note import Note, decode64, encode64

MAX_PROOF = 4 << 20
"""Bytes of a proof: a record has at most 256 KiB, and base64 takes a third more; the rest is small."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_HEADER = "c2sp.org/tlog-proof@v1"


@frozen
class Checkpoint:
    """What is signed: the tree of ``size`` leaves of the log ``origin`` has that root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text of the note."""
        return f"{self.origin}\n{self.size}\n{encode64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a note's text.

        Raises:
            ValueError: it is no checkpoint's.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise ValueError("a checkpoint has three lines or more, none of them empty")
        if _NUMBER.fullmatch(lines[1]) is None:
            raise ValueError("the size of a checkpoint is a number without leading zeros")
        root = decode64(lines[2])
        if len(root) != tree.HASH_SIZE:
            raise ValueError("the root of a checkpoint has 32 bytes")
        return cls(lines[0], int(lines[1]), root)


@frozen
class Proof:
    """That the leaf with these bytes is number ``index`` of the tree under ``checkpoint``, a note's bytes."""

    leaf: bytes
    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def dump(self) -> bytes:
        """Return the proof as a file."""
        hashes = "".join(f"{encode64(h)}\n" for h in self.hashes)
        head = f"{_HEADER}\nextra {encode64(self.leaf)}\nindex {self.index}\n{hashes}\n"
        return head.encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a proof; nothing is verified.

        Raises:
            ValueError: it is none, or one without the leaf.
        """
        if len(data) > MAX_PROOF:
            raise ValueError(f"a proof has at most {MAX_PROOF} bytes")
        head, blank, note = data.partition(b"\n\n")
        lines = head.decode().split("\n")
        if not blank or len(lines) < 3 or lines[0] != _HEADER:
            raise ValueError("it is no proof of the format tlog-proof@v1")
        if not lines[1].startswith("extra ") or not lines[2].startswith("index "):
            raise ValueError("the record or its index is missing")
        number = lines[2].removeprefix("index ")
        if _NUMBER.fullmatch(number) is None:
            raise ValueError("the index is a number without leading zeros")
        hashes = tuple(decode64(line) for line in lines[3:])
        if any(len(h) != tree.HASH_SIZE for h in hashes):
            raise ValueError("a hash has 32 bytes")
        return cls(decode64(lines[1].removeprefix("extra ")), int(number), hashes, note)

    def signed(self) -> tuple[Checkpoint, Note]:
        """Return the checkpoint and the note it is in; no signature is verified.

        Raises:
            ValueError: it is none.
        """
        note = Note.parse(self.checkpoint)
        return Checkpoint.parse(note.text), note

    def holds(self) -> bool:
        """Whether the leaf is under the checkpoint. Who signed that is for the caller to ask.

        Raises:
            ValueError: there is no checkpoint.
        """
        at, _ = self.signed()
        return tree.includes(tree.leaf_hash(self.leaf), self.index, at.size, self.hashes, at.root)

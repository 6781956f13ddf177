"""Verifying a trail from its files and a public key alone, in one pass and constant memory.

The leaves of the log are hashed to the root of every checkpoint, the log's own and those kept outside, and
each leaf is held to what is in the segments. So a finding can say which side was changed: where the leaves
give the signed root, the record was; where what is in the segments gives it, the log was.

Trust comes from outside: a verifier key that the reader got from somebody else than this folder. The keys
that the log names itself count once a checkpoint that holds under a key given proves the part of the tree
in which they are named.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from governed_db.audit import tree, witness
from governed_db.audit.checkpoint import Checkpoint
from governed_db.audit.feed import Feed
from governed_db.audit.logfiles import FOLDER
from governed_db.audit.regular import buffered
from governed_db.audit.verdict import Finding, Report
from governed_db.audit.verdict import Kind as What
from governed_db.note import MAX_NOTE, BadNote, Note, VerifierKey, speakable


@frozen
class Boundary:
    """A checkpoint: at ``size`` leaves the tree should have its root. ``where`` names it for people."""

    checkpoint: Checkpoint
    note: Note
    where: str
    outside: bool


def verify(
    folder: Path,
    keys: Iterable[VerifierKey],
    *,
    witnesses: Sequence[Path] = (),
    checkpoints: Sequence[Path] = (),
) -> Report:
    """Return what the files in ``folder`` prove under ``keys``.

    Args:
        folder: the journal's.
        keys: verifier keys that the reader trusts; those of other logs do not matter.
        witnesses: files of checkpoints that were kept elsewhere, also of other logs.
        checkpoints: files with a checkpoint of this log.

    Raises:
        OSError: a file cannot be read.
    """
    report = Report()
    place = Path(folder) / FOLDER
    if not place.is_dir():
        report.found(Finding(What.DELETED, f"there is no log in {folder}: nothing proves these records"))
        return report
    pass_ = _Pass(Path(folder), place, tuple(keys), report)
    try:
        pass_.run(witnesses, checkpoints)
    finally:
        pass_.close()
    return report


class _Pass:
    """One pass over a log."""

    def __init__(self, folder: Path, place: Path, keys: tuple[VerifierKey, ...], report: Report) -> None:
        self.place = place
        self.report = report
        self.given = keys
        self.trusted: list[VerifierKey] = []
        self.feed = Feed(folder, report)
        self.accepted = 1  # keys that the checkpoints so far vouch for; the log begins with one
        self.broken = False
        self.anchored = False

    def close(self) -> None:
        self.feed.close()

    def run(self, witnesses: Sequence[Path], checkpoints: Sequence[Path]) -> None:
        report = self.report
        report.origin = self._origin()
        if not report.origin:
            return
        self.trusted = [key for key in self.given if key.name == report.origin]
        if self.given and not self.trusted:
            text = (
                f"the log is {report.origin}, and the key is of"
                f" {', '.join(sorted({k.name for k in self.given}))}"
            )
            report.found(Finding(What.SWAPPED, text))
        streams = [self._own()]
        streams += [self._outside(path, shared=True) for path in witnesses]
        streams += [self._outside(path, shared=False) for path in checkpoints]
        for boundary in heapq.merge(*streams, key=lambda b: b.checkpoint.size):
            self._hold(boundary)
        self.feed.settle(right=not self.broken)
        self.feed.compare_twice()
        self.feed.held.finish()
        self._conclude()

    # -- the checkpoints

    def _origin(self) -> str:
        try:
            with buffered(self.place / "origin") as file:
                name = file.read(MAX_NOTE).decode()
        except (FileNotFoundError, UnicodeDecodeError):
            name = ""
        if not name.endswith("\n") or not speakable(name[:-1]):
            self.report.found(
                Finding(What.FORGED, "the log has no name: its file 'origin' is gone or changed")
            )
            return ""
        return name[:-1]

    def _own(self) -> Iterator[Boundary]:
        path = self.place / "checkpoints"
        try:
            yield from self._stream(path, outside=False, shared=False)
        except FileNotFoundError:
            return

    def _outside(self, path: Path, *, shared: bool) -> Iterator[Boundary]:
        others: set[str] = set()
        count = 0
        for boundary in self._stream(path, outside=True, shared=shared, others=others):
            count += 1
            yield boundary
        if count == 0:
            known = f"; it knows {', '.join(sorted(others)[:5])}" if others else ""
            text = f"{path} has no checkpoint of the log {self.report.origin}{known}"
            self.report.found(Finding(What.SWAPPED, text))

    def _stream(
        self, path: Path, *, outside: bool, shared: bool, others: set[str] | None = None
    ) -> Iterator[Boundary]:
        largest = -1
        for number, note in witness.notes(path):
            where = f"checkpoint {number} in {path.name}"
            try:
                if isinstance(note, str):
                    raise BadNote(note)
                checkpoint = Checkpoint.parse(note.text)
            except ValueError as error:
                self.report.found(Finding(What.FORGED, f"{where} is no checkpoint: {error}"))
                continue
            if checkpoint.origin != self.report.origin:
                if others is not None:
                    others.add(checkpoint.origin)
                if not shared:
                    text = f"{where} is of the log {checkpoint.origin}, and this is {self.report.origin}"
                    self.report.found(Finding(What.SWAPPED, text))
                continue
            if checkpoint.size < largest:
                text = f"{where} is over {checkpoint.size} leaves, and one before it over {largest}"
                self.report.found(Finding(What.ROLLED_BACK, text))
                continue
            largest = checkpoint.size
            yield Boundary(checkpoint, note, where, outside)

    def _hold(self, boundary: Boundary) -> None:
        report, checkpoint = self.report, boundary.checkpoint
        if not self.feed.advance(checkpoint.size):
            if boundary.outside:
                text = (
                    f"{boundary.where}, kept outside, is over {checkpoint.size} leaves, and the log ends at"
                    f" {self.feed.known.size}"
                )
                report.found(Finding(What.ROLLED_BACK, text))
            else:
                text = (
                    f"{boundary.where} is over {checkpoint.size} leaves, and the log's files end at"
                    f" {self.feed.known.size}"
                )
                report.found(Finding(What.TRUNCATED, text))
            self._signed(boundary)
            return
        signers = self._signed(boundary)
        if tree.root(self.feed.known) == checkpoint.root:
            self.feed.settle(right=True)
        elif self.feed.other is not None and tree.root(self.feed.other) == checkpoint.root:
            self.feed.settle(right=False)
        else:
            self._mismatch(boundary)
            return
        if not signers:
            return
        # Only now: a signature over another tree says nothing of the keys that this one names.
        self.anchored = self.anchored or any(key in self.trusted for key in signers)
        report.size = max(report.size, checkpoint.size)
        report.records = self.feed.records
        if boundary.outside:
            report.outside += 1
            report.newest_outside = max(report.newest_outside, checkpoint.size)
        else:
            report.checkpoints += 1

    def _mismatch(self, boundary: Boundary) -> None:
        size = boundary.checkpoint.size
        if boundary.outside:
            if not self.broken:
                text = (
                    f"{boundary.where}, kept outside, has another root for {size} leaves: this log"
                    " has other records"
                    " than the one that was signed then"
                )
                self.report.found(Finding(What.FORKED, text))
            return
        if not self.broken:
            text = (
                f"the first {size} leaves do not have the root of {boundary.where}: the log's leaves"
                " or entries"
                f" were changed behind leaf {self.report.size}, or the checkpoint was"
            )
            self.report.found(Finding(What.FORGED, text))
        self.broken = True
        self.feed.settle(right=True)

    def _signed(self, boundary: Boundary) -> tuple[VerifierKey, ...]:
        """Return who signed a checkpoint; nobody where it is not signed by the key in force, and by a new
        one."""
        known = dict.fromkeys([*self.trusted, *self.feed.keys])
        try:
            signers = boundary.note.signers(known)
        except BadNote as error:
            self.report.found(Finding(What.FORGED, f"{boundary.where}: {error}"))
            return ()
        if not signers:
            names = sorted({f"{s.name}+{s.id.hex()}" for s in boundary.note.signatures})
            mine = [n for n in names if n.startswith(f"{self.report.origin}+")]
            text = f"{boundary.where} is signed by no key of the log"
            kind = What.KEY if mine else What.STRIPPED
            if mine:
                text += f", but by {', '.join(mine)}"
            self.report.found(Finding(kind, text))
            return ()
        if boundary.outside:
            return signers
        # The key in force so far, and each that was named since.
        keys = self.feed.keys
        needed = set(keys[max(self.accepted - 1, 0) :])
        self.accepted = max(len(keys), 1)
        lacking = sorted(key.id.hex() for key in needed.difference(signers))
        if lacking:
            text = f"{boundary.where} is not signed by all keys that it needs: {', '.join(lacking)}"
            self.report.found(Finding(What.KEY, text))
            return ()
        return signers

    def _conclude(self) -> None:
        report = self.report
        report.signers = [key.text for key in self.feed.keys]
        if report.checkpoints + report.outside == 0 and not report.findings:
            report.found(Finding(What.STRIPPED, "the log has no checkpoint: nothing is proven"))
        if not self.given:
            report.found(Finding(What.KEY, "no key was given: anybody can have signed this"))
        if self.trusted and not self.anchored and report.checkpoints:
            ids = ", ".join(key.id.hex() for key in self.trusted)
            others = ", ".join(key.id.hex() for key in self.feed.keys)
            text = (
                f"no checkpoint is signed by the key given, {ids}; the log names as its own"
                f" {others or 'none'}"
            )
            report.found(Finding(What.KEY, text))
        if report.newest_outside > 0 and not report.checkpoints:
            report.found(Finding(What.STRIPPED, "the log's own checkpoints are gone"))

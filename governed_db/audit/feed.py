"""Feeding a log's leaves to the tree, entry by entry, while the segments are held to each."""

from __future__ import annotations

import os
from pathlib import Path

from governed_db.audit import tree
from governed_db.audit.entry import ENTRY_SIZE, MOST_RECORDS, Entry, Kind, entry_hash
from governed_db.audit.held import Differs, Held
from governed_db.audit.logfiles import FOLDER
from governed_db.audit.regular import descriptor
from governed_db.audit.verdict import MAX_FINDINGS, Finding, Report
from governed_db.audit.verdict import Kind as What
from governed_db.note import VerifierKey


class Feed:
    """The leaves of the log in ``folder``, as far as they have been fed.

    Attributes:
        known: the tree over the leaves.
        other: the tree over what the segments give, from the first leaf on that they do not give.
        records: of records that have been read, their number.
        keys: the keys that the entries name, oldest first.
        held: what the segments have been held to.
    """

    def __init__(self, folder: Path, report: Report) -> None:
        self.report = report
        self.held = Held(folder, report)
        self.entries = _opened(folder / FOLDER / "entries")
        self.leaves = _opened(folder / FOLDER / "leaves")
        self.number = 0  # entries read
        self.size = 0  # leaves that entries have been read for
        self.records = 0
        self.known = tree.Range()
        self.other: tree.Range | None = None
        self.queue: list[bytes] = []
        self.other_queue: list[bytes] = []
        self.doubts: list[Differs] = []
        self.unkept = 0
        self.keys: list[VerifierKey] = []

    def close(self) -> None:
        """Close the files."""
        self.held.close()
        for fd in (self.entries, self.leaves):
            if fd is not None:
                os.close(fd)

    def advance(self, size: int) -> bool:
        """Feed the leaves up to ``size``; return whether there are so many."""
        while self.known.size < size:
            if not self.queue and not self._load():
                return False
            count = min(len(self.queue), size - self.known.size)
            self.known = tree.extend(self.known, self.queue[:count])
            del self.queue[:count]
            if self.other is not None:
                self.other = tree.extend(self.other, self.other_queue[:count])
                del self.other_queue[:count]
        return True

    def _load(self) -> bool:
        """Read the next entry and its leaves, and hold the segments to it."""
        packed = _read(self.entries, ENTRY_SIZE, self.number * ENTRY_SIZE)
        if len(packed) < ENTRY_SIZE:
            return False
        self.number += 1
        entry = Entry.unpack(packed)
        if entry is None or entry.at != self.size or entry.count > MOST_RECORDS:
            return self._skip()
        wanted = (1 + entry.count) * tree.HASH_SIZE
        data = _read(self.leaves, wanted, entry.at * tree.HASH_SIZE)
        hashes = [data[at : at + 32] for at in range(0, len(data) - len(data) % 32, 32)]
        if len(data) < wanted:
            self.queue = hashes
            self.other_queue = list(hashes)
            self.size += len(hashes)
            return bool(hashes)
        self.size = entry.end
        self.records += entry.count
        given = list(hashes)
        if hashes[0] != entry_hash(packed):
            given[0] = entry_hash(packed)
            text = f"entry {self.number} of the log, {entry.kind.name.lower()}, is not what it was"
            self._doubt(Differs(0, given[0], Finding(What.FORGED, text)))
        if entry.kind is Kind.KEY:
            self.keys.append(VerifierKey(self.report.origin, entry.data))
        for differs in self.held.check(entry, data[32:]):
            if differs.hash is not None and entry.count:
                given[1 + differs.place] = differs.hash
            self._doubt(differs)
        if self.other is None and given != hashes:
            # Everything before the queue was as the leaves say.
            self.other = self.known
        self.queue, self.other_queue = hashes, given
        return True

    def _skip(self) -> bool:
        """Go on behind an entry that cannot be read, with the leaves up to the next one that can."""
        bad = self.number
        following: Entry | None = None
        while following is None:
            packed = _read(self.entries, ENTRY_SIZE, self.number * ENTRY_SIZE)
            if len(packed) < ENTRY_SIZE:
                break
            found = Entry.unpack(packed)
            if found is not None and found.at > self.size:
                following = found
            else:
                self.number += 1
        text = f"entry {bad} of the log's file 'entries' was changed"
        self.report.found(Finding(What.FORGED, text))
        limit = self.size + MOST_RECORDS + 1 if following is None else following.at
        data = _read(self.leaves, (limit - self.size) * tree.HASH_SIZE, self.size * tree.HASH_SIZE)
        self.queue = [data[at : at + 32] for at in range(0, len(data) - len(data) % 32, 32)]
        self.other_queue = list(self.queue)
        self.size += len(self.queue)
        return bool(self.queue)

    def _doubt(self, differs: Differs) -> None:
        if len(self.doubts) < MAX_FINDINGS:
            self.doubts.append(differs)
        else:
            self.unkept += 1

    def settle(self, *, right: bool) -> None:
        """Say what differs: the segments where the leaves are ``right``, else the leaves.

        After the latter what the segments give goes on, also for what is left of an entry.
        """
        if not right and self.other is not None:
            self.known, self.queue = self.other, list(self.other_queue)
        for differs in self.doubts:
            finding = differs.finding
            if not right and differs.hash is not None:
                where = f" for record {finding.sequence}" if finding.sequence is not None else ""
                text = (
                    f"a leaf of the log's file 'leaves'{where} was changed; what it stands for is as it"
                    " was signed"
                )
                finding = Finding(
                    What.FORGED, text, finding.journal, finding.sequence, finding.record, finding.segment
                )
            self.report.found(finding)
        self.report.more += self.unkept
        self.doubts, self.unkept, self.other = [], 0, None

    def compare_twice(self) -> None:
        """Compare the records that the log took up again with those that it had."""
        again = self.held.again
        number = 0
        while again and (entry := Entry.unpack(_read(self.entries, ENTRY_SIZE, number * ENTRY_SIZE))):
            number += 1
            if entry.kind is not Kind.RUN:
                continue
            for journal, first, count, at, _ in again:
                start = max(first, entry.first)
                size = min(first + count, entry.first + entry.count) - start
                if journal != entry.journal or size <= 0 or entry.at >= at:
                    continue
                had = _read(self.leaves, size * 32, (entry.at + 1 + start - entry.first) * 32)
                if had != _read(self.leaves, size * 32, (at + start - first) * 32):
                    text = (
                        f"the records {start} to {start + size - 1} were taken up twice, and are not the same"
                    )
                    self.report.found(Finding(What.EDITED, text, f"{journal:016x}", start))


def _opened(path: Path) -> int | None:
    try:
        return descriptor(path)
    except FileNotFoundError:
        return None


def _read(fd: int | None, size: int, offset: int) -> bytes:
    return b"" if fd is None else os.pread(fd, size, offset)

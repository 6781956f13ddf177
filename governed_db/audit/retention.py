"""Retention: old segments go, whole, and the trail says which.

A segment may go when it was closed, its last record is older than the policy keeps records (or the folder
holds more than it may), and the log's last checkpoint covers it: what is gone is then still provable, by the
hashes that stay. First an event ``journal.retired`` is on record that names the segment and its records, and
the log has an entry that says the same and is signed: an event alone can be written by whoever can write to
the folder. Then the file is removed. Whoever is stopped in between leaves a file that the next one retires
again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from governed_db.audit.scan import Name, Stored, alive, names, scan


@frozen(kw_only=True)
class Keep:
    """How long, and how much: ``days`` of records, ``bytes`` of segments; 0 says that it does not matter."""

    days: int = 0
    bytes: int = 0


@frozen(kw_only=True)
class Retired:
    """One segment that goes: its records from ``first`` to ``last``, and ``because`` of age or size."""

    path: Path
    journal: str
    first: int
    last: int
    bytes: int
    because: str

    def details(self) -> dict[str, Any]:
        """Return what the event says."""
        return {
            "segment": self.path.name,
            "writer": self.journal,
            "first": self.first,
            "last": self.last,
            "bytes": self.bytes,
            "because": self.because,
        }


Covered = Callable[[str], bool]
"""Whether a segment, by its file's name, is under the log's last checkpoint to its end."""


class Sign(Protocol):
    """What has the log say that segments go: :meth:`governed_db.audit.sequencer.Sequencer.checkpoint`."""

    def __call__(self, *, retiring: Sequence[Retired]) -> object:
        """Put into the log that these go, and sign it."""


def due(folder: Path, keep: Keep, covered: Covered, now: float) -> Iterator[Retired]:
    """Yield the segments that are to go, oldest first. Nothing is changed.

    Args:
        folder: the journal's.
        keep: what stays.
        covered: asked for each segment.
        now: seconds since the Unix epoch.

    Raises:
        OSError: the folder cannot be read.
    """
    present = [(name, _size(name.path)) for name in names(folder)]
    excess = sum(size for _, size in present) - keep.bytes if keep.bytes else 0
    oldest = now - keep.days * 86_400 if keep.days else 0.0
    for name, size in present:
        too_old = _written(name.path) < oldest
        if not (too_old or excess > 0):
            continue
        span = _span(name) if covered(name.path.name) else None
        if span is None:
            continue
        excess -= size
        yield Retired(
            path=name.path,
            journal=name.journal,
            first=span[0],
            last=span[1],
            bytes=size,
            because="age" if too_old else "size",
        )


def retire(
    folder: Path,
    keep: Keep,
    covered: Covered,
    now: float,
    note: Callable[[Retired], None],
    sign: Sign,
) -> list[Retired]:
    """Put what is due on record by ``note``, have it signed for by ``sign``, remove it, and return it.

    In that order: who verifies meanwhile finds no segment missing that no signed record accounts for.

    Raises:
        AuditUnavailable: by ``note`` or ``sign``; everything is still there.
        OSError: the folder cannot be read, or a file in it not removed.
        TimeoutError: by ``sign``; everything is still there.
    """
    going = list(due(folder, keep, covered, now))
    for segment in going:
        note(segment)
    if going:
        sign(retiring=going)
    for segment in going:
        with contextlib.suppress(FileNotFoundError):  # by another process, which has noted it as well
            os.unlink(segment.path)
    return going


def _span(name: Name) -> tuple[int, int] | None:
    """Return the sequences of a closed segment's first and last record; ``None`` for what must stay."""
    try:
        if alive(name.path):
            return None
        first = last = 0
        for found in scan(name.path):
            if not isinstance(found, Stored):
                return None  # damage is evidence
            first, last = first or found.sequence, found.sequence
    except FileNotFoundError:
        return None
    return (first, last) if last else None


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _written(path: Path) -> float:
    """Return when the segment was last written to, as the file system knows it."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return float("inf")

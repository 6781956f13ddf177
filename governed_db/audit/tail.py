"""Reading one journal on from where somebody stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from governed_db.audit.cursor import Place, Position
from governed_db.audit.layout import HEADER_SIZE
from governed_db.audit.scan import Damage, Name, Stored, alive, begun, names, scan, stored_at

REMOVED = "segments were removed before they were shipped"
MISSING = "records are missing"


@frozen
class Gap:
    """Records that should be there and are not, by their sequence numbers."""

    first: int
    last: int
    because: str


def tail(
    position: Position, segments: Iterable[Name]
) -> Iterator[tuple[Name, Stored | Damage | Gap, Position]]:
    """Yield what follows ``position`` in a journal's segments, each with the position behind it.

    A record that lies in two segments (somebody moved one, and its writer wrote it again) comes once.

    Raises:
        OSError: a segment cannot be read.
    """
    ordered = sorted((n for n in segments if n.index >= position.index), key=lambda n: n.index)
    # Where the segment that was read last is gone, and with it what may have followed there.
    because = REMOVED if ordered and ordered[0].index > position.index else MISSING
    for at, name in enumerate(ordered):
        # Asked before the segment is read: what its writer adds there after we passed by comes next time.
        more = any(begun(later.path) for later in ordered[at + 1 :])
        same = name.index == position.index
        start = position.offset if same else HEADER_SIZE
        try:
            for found in scan(name.path, start):
                if isinstance(found, Damage):
                    if found.offset == 0 and same and start > HEADER_SIZE:
                        continue  # the header; said when the segment was begun
                    end = max(start, found.offset + found.length)
                    position = evolve(position, index=name.index, offset=end)
                    yield name, found, position
                    continue
                last = position.sequence
                if found.sequence <= last:
                    position = evolve(position, index=name.index, offset=found.end)
                    continue
                if found.sequence > last + 1:
                    position = Position(
                        name.index, found.offset, found.sequence - 1, resource=position.resource
                    )
                    yield name, Gap(last + 1, found.sequence - 1, because), position
                because = MISSING
                position = Position(name.index, found.end, found.sequence, resource=position.resource)
                yield name, found, position
        except FileNotFoundError:
            because = REMOVED  # between the listing and now
        if not more:
            return


def fetch(place: Place, segments: Iterable[Name]) -> bytes | None:
    """Return the payload of the record at ``place``; ``None`` if its journal no longer has it.

    Raises:
        OSError: a segment cannot be read.
    """
    listed = sorted(segments, key=lambda n: n.index)
    for name in listed:
        if name.index == place.index:
            found = stored_at(name.path, place.offset)
            if found is not None and found.sequence == place.sequence:
                return found.payload
    # Written again in another segment after somebody had moved the one it was in.
    for name in listed:
        try:
            for other in scan(name.path):
                if isinstance(other, Stored) and other.sequence == place.sequence:
                    return other.payload
        except FileNotFoundError:
            continue
    return None


def by_journal(folder: Path) -> dict[str, list[Name]]:
    """Return the segments of each journal, the journal that began first at the front; nothing is opened.

    Raises:
        OSError: the folder cannot be read.
    """
    found: dict[str, list[Name]] = {}
    for name in names(folder):
        found.setdefault(name.journal, []).append(name)
    return found


def ended(folder: Path, segments: Mapping[str, Sequence[Name]]) -> set[str]:
    """Return which of these journals have no writer any more.

    Raises:
        OSError: a segment cannot be opened.
    """
    # From the last one on: of a journal that is written, that is the one, or the spare behind it.
    silent = {journal for journal, listed in segments.items() if not any(map(_written, reversed(listed)))}
    if not silent:
        return silent
    # Since the listing a writer can have sealed all that was listed and gone on to another.
    known = {n.path for journal in silent for n in segments[journal]}
    return silent - {n.journal for n in names(folder) if n.journal in silent and n.path not in known}


def _written(segment: Name) -> bool:
    try:
        return alive(segment.path)
    except FileNotFoundError:
        return False

"""Statements as they end: what a journal gains while somebody watches."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from governed_db.audit import view
from governed_db.audit.record import RecordKind
from governed_db.audit.scan import Damage, alive, names, scan

OPEN = 100_000
"""Statements without an outcome that are remembered. Those of writers that were killed never get one; the
oldest are forgotten, and their outcome, should it come, is not shown."""


class Follower:
    """Reads each record of a folder once, in as many calls of :meth:`more` as it takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read_to: dict[str, int] = {}  # by the segment's name
        self._done: set[str] = set()
        self._last: dict[str, int] = {}  # a moved segment is written again: its records come twice
        self._open: dict[str, dict[str, Any]] = {}
        self._at: dict[str, str] = {}  # by journal: damage has the time of what stands before it

    def more(self) -> Iterator[dict[str, Any]]:
        """Yield what has come since the last call: statements that ended, events, damage.

        By journal, and within each in order; sort what is shown.

        Raises:
            OSError: the folder cannot be read.
        """
        for name in names(self.folder):
            key = name.path.name
            if key in self._done:
                continue
            try:
                # Asked first: what a writer stores before it goes is then found by this very scan.
                living = alive(name.path)
                start = self._read_to.get(key)
                for found in scan(name.path) if start is None else scan(name.path, start):
                    if isinstance(found, Damage):
                        if not living:
                            yield self._damage(name.journal, key, found)
                        continue
                    self._read_to[key] = found.end
                    if found.sequence <= self._last.get(name.journal, 0):
                        continue
                    self._last[name.journal] = found.sequence
                    entry = self._entry(found.payload, name.journal, found.sequence)
                    if entry is not None:
                        yield entry
            except FileNotFoundError:
                living = False  # moved or retired; a new segment has what it held
            if not living:
                self._done.add(key)
                self._read_to.pop(key, None)

    def last(self, count: int, wants: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Read all there is so far, and return the last ``count`` entries that are wanted, by time."""
        found = ((_time(e), n, e) for n, e in enumerate(self.more()) if wants(e))
        return [entry for *_, entry in sorted(heapq.nlargest(count, found, key=lambda f: f[:2]))]

    def _entry(self, payload: bytes, journal: str, sequence: int) -> dict[str, Any] | None:
        try:
            entry: Any = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(entry, dict) or not isinstance(entry.get("at"), str):
            return None
        entry |= {"journal": journal, "sequence": sequence}
        self._at[journal] = entry["at"]
        match entry.get("kind"):
            case RecordKind.INTENT:
                while len(self._open) >= OPEN:
                    del self._open[next(iter(self._open))]
                self._open[view.text(entry, "id")] = entry
                return None
            case RecordKind.OUTCOME:
                intent = self._open.pop(view.text(entry, "of"), None)
                if intent is None:
                    return None
                return intent | {"happened": {**view.part(entry, "happened"), "ended": entry["at"]}}
            case _:
                return entry

    def _damage(self, journal: str, segment: str, damage: Damage) -> dict[str, Any]:
        return {
            "kind": view.DAMAGE,
            "at": self._at.get(journal, ""),
            "journal": journal,
            "segment": segment,
            "because": damage.because,
            "offset": damage.offset,
            "bytes": damage.length,
        }


def _time(entry: dict[str, Any]) -> str:
    return view.text(view.part(entry, "happened"), "ended") or view.text(entry, "at")

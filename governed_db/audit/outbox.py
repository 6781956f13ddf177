"""What waits to be sent, and how far that is: one batch and one transaction of the cursor."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import orjson
from attrs import evolve

from governed_db.audit import otlp
from governed_db.audit.collector import Verdict
from governed_db.audit.cursor import INTENT, Cursor, Place, Position, Refusal
from governed_db.audit.deliver import Backoff, Delivery
from governed_db.audit.otlp import Item
from governed_db.audit.record import RecordKind, instant

_log = logging.getLogger("governed_db.ship")

BATCH = 512
"""Items in one request: as many as the SDK's own batch processor sends."""

BATCH_BYTES = 1 << 20
"""Bytes of one request before compression. Collectors take 4 MiB and more, proxies often just 1 MiB."""

MOST_REFUSED = 1000
"""Refused records that are kept for another try. With more, the collector is at fault: the cursor waits."""

STATEMENTS = frozenset({RecordKind.INTENT, RecordKind.REFUSAL, RecordKind.ATTEMPT})
"""Kinds of records that are about a statement, and go out as spans."""

_AGAIN = Backoff(first=5.0, most=3600.0)  # between two tries of what was refused
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


class Outbox:
    """Collects what is to be sent; :meth:`flush` sends it and commits what it was read from.

    Attributes:
        positions: how far each journal was read.
        open: intents whose outcome has not come yet, since the last flush.
    """

    def __init__(
        self,
        cursor: Cursor,
        delivery: Delivery,
        *,
        events: str,
        service: Mapping[str, Any],
        counts: dict[str, int],
    ) -> None:
        """Send through ``delivery``.

        Args:
            cursor: what is remembered.
            delivery: brings batches to the collector.
            events: the signal that carries what is not a statement.
            service: the attributes that every resource gets.
            counts: counts what is committed: by signal, and ``lost``.
        """
        self.cursor = cursor
        self.counts = counts
        self._delivery = delivery
        self._events = events
        self._service = service
        self.forget()

    def forget(self) -> None:
        """Go back to what was committed last."""
        self.positions = self.cursor.positions()
        self._clear()

    def _clear(self) -> None:
        self.open: dict[str, tuple[dict[str, Any], Place]] = {}
        self._items: list[Item] = []
        self._size = 0
        self._lost = 0
        self._moved: set[str] = set()
        self._touched = False

    def move(self, journal: str, position: Position) -> None:
        """Note how far ``journal`` was read."""
        self.positions[journal] = position
        self._moved.add(journal)

    def move_file(self, name: str, at: int) -> None:
        """Note how far a file beside the journals was read."""
        self.cursor.move_file(name, at)
        self._touched = True

    # -- what is sent

    def statement(self, entry: dict[str, Any], journal: str) -> None:
        """Send the span of a statement."""
        try:
            self._add(otlp.statement(entry, journal))
        except _UNREADABLE:
            self._unreadable(entry, journal)

    def event(self, entry: dict[str, Any], journal: str, body: bytes = b"") -> None:
        """Send what is not a statement; ``body`` is the record as it is stored."""
        try:
            self._add(otlp.event(entry, journal, signal=self._events, body=body))
        except _UNREADABLE:
            self._unreadable(entry, journal)

    def loss(self, journal: str, key: str, because: str, details: Mapping[str, Any], count: int = 1) -> None:
        """Say that ``count`` records cannot be sent any more; ``key`` is the same each time it is found."""
        entry = {"kind": "damage", "id": key, "at": instant(), "because": because, **details}
        self._add(otlp.event(entry, journal, signal=self._events))
        self._lost += count
        _log.error("a part of the trail cannot be shipped: journal %s: %s", journal, because)

    def _unreadable(self, entry: Mapping[str, Any], journal: str) -> None:
        # Whoever can write to the folder can store what no writer of ours does; it must not stop the rest.
        key = hashlib.sha256(orjson.dumps(entry)).hexdigest()[:32]
        self.loss(journal, f"unreadable-{key}", "a record is none of this schema", {})

    def _add(self, item: Item) -> None:
        self._items.append(item)
        self._size += item.size

    def flush_if_full(self) -> None:
        """Flush what makes a full batch."""
        if len(self._items) >= BATCH or self._size >= BATCH_BYTES or len(self.open) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what was collected, and remember how far that is.

        Raises:
            Stopped, GaveUp: not all of it was accepted.
            Unusable: the cursor cannot be kept.
        """
        items, cursor = self._items, self.cursor
        if not (items or self._moved or self._touched):
            return
        sent = {otlp.TRACES: 0, otlp.LOGS: 0}
        if items:
            room = MOST_REFUSED - cursor.count_refused()
            refused = dict.fromkeys(i.key for i in self._refuse(items, room))
            for item in items:
                if item.key not in refused:
                    sent[_counted(item)] += 1
        for key, (_, place) in self.open.items():
            cursor.wait_for(key, INTENT, place)
        for journal in self._moved:
            cursor.move(journal, self.positions[journal])
        self._commit({**sent, "lost": self._lost})
        self._clear()

    def _refuse(self, items: list[Item], room: int) -> list[Item]:
        """Deliver, remember what is refused, and return it."""
        found = self._delivery.deliver(items, _Resources(self), room)
        for item, why in found:
            refusal = Refusal(item.key, item.signal, item.journal, dict(item.entry), item.body, why, tries=1)
            self.cursor.refuse(refusal, time.time() + _AGAIN.pause(1))
            _log.error("the collector refuses record %s, which is tried again: %s", item.key, why)
        return [item for item, _ in found]

    def _commit(self, counts: Mapping[str, int]) -> None:
        for name, more in counts.items():
            if more:
                self.cursor.count(name, more)
        self.cursor.commit()
        for name, more in counts.items():
            self.counts[name] += more

    # -- what was refused

    def retry(self, *, due: float | None) -> int:
        """Try again what was refused (all of it, or what is ``due``); return how many refusals are left.

        Raises:
            Stopped, GaveUp, Unusable: as :meth:`flush`.
        """
        for refusal in self.cursor.refused(due=due, limit=MOST_REFUSED):
            item = self._again(refusal)
            answer = self._delivery.once(item, _Resources(self))
            if answer.verdict is Verdict.ACCEPTED:
                self.cursor.accepted(refusal.id)
                self._commit({_counted(item): 1})
            else:
                tries = refusal.tries + 1
                again = evolve(refusal, why=answer.why, tries=tries)
                self.cursor.refuse(again, time.time() + _AGAIN.pause(tries))
                self._commit({})
        return self.cursor.count_refused()

    def _again(self, refusal: Refusal) -> Item:
        if refusal.entry["kind"] in STATEMENTS:
            return otlp.statement(refusal.entry, refusal.journal)
        return otlp.event(refusal.entry, refusal.journal, signal=refusal.signal, body=refusal.body)

    # -- resources

    def resource_of(self, journal: str) -> dict[str, Any]:
        """Return the attributes of a journal's resource, as far as they are known."""
        position = self.positions.get(journal)
        return (position.resource if position is not None else None) or otlp.resource(None, journal)

    def whole_resource(self, journal: str) -> dict[str, Any]:
        """Return them with the service's; a checkpoint belongs to no journal."""
        return {**self._service, **(self.resource_of(journal) if journal else {})}


class _Resources(dict[str, Mapping[str, Any]]):
    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def __missing__(self, journal: str) -> Mapping[str, Any]:
        return self._outbox.whole_resource(journal)


def _counted(item: Item) -> str:
    # Events that travel as spans are events all the same.
    return otlp.TRACES if item.entry["kind"] in STATEMENTS else otlp.LOGS

"""Bringing a batch to a collector: again and again until it is there, and in halves where a part is refused.

OTLP's specification has a client drop what a collector rejects, and what it answers with most errors. A trail
drops nothing, so this differs from it on purpose: what failed for a reason that can pass is sent again for as
long as it takes, and what a collector refuses is narrowed down to single records, which are handed back for
another day. Ids are the same each time, so a collector can tell what it has already.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, frozen

from governed_db.audit import otlp
from governed_db.audit.collector import Answer, Collector, Verdict
from governed_db.audit.otlp import Item

SUSPICIOUS = 8
"""Single records refused, with none accepted, after which it is the collector that is at fault and not the
records: then nothing counts as refused, and the batch waits."""

LONGEST_PAUSE = 600.0
"""Seconds of a Retry-After that are honoured. A clock that is wrong must not stop a trail for a year."""


class Stopped(Exception):  # noqa: N818 - no failure: somebody asked for it
    """Told to stop while a batch was on its way."""


class GaveUp(Exception):  # noqa: N818 - the message is the whole of it
    """The collector did not take it within the time that there was. ``str()`` says why."""


@frozen
class Backoff:
    """How long to wait between tries, in seconds: ``first``, twice as long each time, at most ``most``.

    Half a second lets a restarted collector come back unharmed; after a minute without one, a try a minute
    finds it soon enough. Each is shortened at random by up to half, so that many processes spread out.
    """

    first: float = 0.5
    most: float = 60.0

    def pause(self, failures: int) -> float:
        """Return how long to wait after so many failures."""
        whole: float = min(self.most, self.first * 2 ** min(failures - 1, 30))
        return whole * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, hides nothing


@define
class Delivery:
    """Sends batches through ``collector``.

    Attributes:
        wait: waits so many seconds; returns whether to stop.
        deadline: of the monotonic clock, when to give up; ``None``: never.
        tell: told of each answer that is not an acceptance, and of ``None`` when one is, after such.
        spans_will_do: whether events go out as spans to a collector that has nothing where logs go.
        tries: requests sent.
    """

    collector: Collector
    backoff: Backoff
    wait: Callable[[float], bool]
    tell: Callable[[Answer | None], None]
    deadline: float | None = None
    spans_will_do: bool = False
    tries: int = 0
    _failures: int = 0
    _no_logs: bool = False

    def deliver(
        self, items: Sequence[Item], resources: Mapping[str, Mapping[str, Any]], room: int
    ) -> list[tuple[Item, str]]:
        """Send ``items``; return what the collector refuses for good, with the reason.

        Args:
            items: of any signals.
            resources: the attributes of each journal's resource.
            room: how many may be refused.

        Raises:
            Stopped, GaveUp: not all of them are delivered; nobody says which.
        """
        refused: list[tuple[Item, str]] = []
        for signal in (otlp.TRACES, otlp.LOGS):
            part = [i for i in items if i.signal == signal]
            if part:
                refused += self._all(part, resources, room - len(refused))
        return refused

    def once(self, item: Item, resources: Mapping[str, Mapping[str, Any]]) -> Answer:
        """Send one item and return the answer that is about it, after waiting through all others."""
        return self._settle([item], resources)

    def _all(
        self, items: Sequence[Item], resources: Mapping[str, Mapping[str, Any]], room: int
    ) -> list[tuple[Item, str]]:
        for failures in itertools.count(1):
            found = self._narrow(items, resources, room)
            if found is not None:
                return found
            self._pause(Answer(Verdict.HELD, "it refuses everything, or too much"), failures)
        raise AssertionError("counting does not end")

    def _narrow(
        self, items: Sequence[Item], resources: Mapping[str, Mapping[str, Any]], room: int
    ) -> list[tuple[Item, str]] | None:
        refused: list[tuple[Item, str]] = []
        taken = 0
        parts: list[Sequence[Item]] = [items]
        while parts:
            part = parts.pop()
            answer = self._settle(part, resources)
            if answer.verdict is Verdict.ACCEPTED:
                taken += len(part)
            elif len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
            else:
                refused.append((part[0], answer.why))
                if len(refused) > room or (not taken and len(refused) >= SUSPICIOUS):
                    return None
        return refused

    def _settle(self, items: Sequence[Item], resources: Mapping[str, Mapping[str, Any]]) -> Answer:
        """Send until the answer is about what was sent, and not about the collector."""
        while True:
            if self._no_logs:
                items = [otlp.as_span(i) for i in items]
            self.tries += 1
            answer = self.collector.send(items[0].signal, otlp.request(items, resources))
            if answer.verdict is Verdict.ABSENT and self.spans_will_do and items[0].signal == otlp.LOGS:
                self._no_logs = True
                continue
            if answer.verdict not in (Verdict.LATER, Verdict.HELD, Verdict.ABSENT):
                if self._failures:
                    self._failures = 0
                    self.tell(None)
                if answer.verdict is not Verdict.ACCEPTED:
                    self.tell(answer)
                return answer
            self._failures += 1
            self._pause(answer, self._failures)

    def _pause(self, answer: Answer, failures: int) -> None:
        self.tell(answer)
        pause = max(self.backoff.pause(failures), min(answer.after or 0.0, LONGEST_PAUSE))
        if self.deadline is not None and time.monotonic() + pause > self.deadline:
            raise GaveUp(answer.why)
        if self.wait(pause):
            raise Stopped

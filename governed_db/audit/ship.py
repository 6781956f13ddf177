"""Shipping: the journal's statements as spans, everything else as events, at least once, to one collector.

What is sent is read from the journal, by whoever ships: samplers, an SDK that is switched off, an unsampled
caller and a full queue do not come near it. A collector that is down for a day costs a day: what was not
accepted is read again, from the cursor, in constant memory.

- A statement goes out when it is over. Those that still run wait in the cursor and keep nobody else waiting;
  those whose writer died without an outcome go out as ``unknown``.
- One shipper at a time works for a destination; others stand by and take over.
- What cannot be sent any more, because it was removed or damaged, is said: to the collector as an event of
  kind ``damage``, and in the counts.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from attrs import frozen

from governed_db.audit import otlp
from governed_db.audit.collector import TIMEOUT, Answer, Collector
from governed_db.audit.cursor import Busy, Cursor, Unusable, unusable
from governed_db.audit.deliver import Backoff, Delivery, GaveUp, Stopped
from governed_db.audit.destination import Destination
from governed_db.audit.outbox import Outbox
from governed_db.audit.shipment import Shipment

_log = logging.getLogger("governed_db.ship")

INTERVAL = 1.0
"""Seconds between two looks at the journals once all was sent."""

STANDBY = 5.0
"""Seconds between two attempts to take over from another shipper."""

LAST = 2.0
"""Seconds for which close() goes on sending: nothing is lost then, the next shipper goes on from there."""

PATIENCE = 60.0
"""Seconds for which a single run goes on trying before it fails."""

FOLDER = "ship"
"""The folder of the cursors, in the journal's."""


@frozen
class Report:
    """What became of the trail so far, for one destination.

    Attributes:
        spans, events: sent since the cursor was made.
        refused: what the collector refused and is tried again.
        running: statements without an outcome, whose writer lives.
        lost: records that could not be sent any more: removed or damaged before they were shipped.
        trouble: what went wrong last, "" if nothing has since.
    """

    spans: int = 0
    events: int = 0
    refused: int = 0
    running: int = 0
    lost: int = 0
    trouble: str = ""


class Shipper:
    """Ships the journals of one folder to one destination.

    ``once`` sends what there is; ``follow`` goes on until ``stop``; ``start`` follows in a thread.
    """

    def __init__(
        self,
        folder: Path,
        destination: Destination,
        *,
        state: Path | None = None,
        events: Literal["auto", "logs", "spans"] = "auto",
        interval: float = INTERVAL,
        timeout: float = TIMEOUT,
        backoff: Backoff | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Ship the journals in ``folder``.

        Args:
            folder: the journals'.
            destination: where to.
            state: the folder of the cursor; by default ``ship`` in ``folder``.
            events: what is not a statement goes out as log records ("logs"), as spans without length
                ("spans"), or as such spans where the collector has nothing at the address of logs ("auto").
            interval: seconds between two looks at the journals.
            timeout: seconds for one request.
            backoff: how long to wait between tries.
            environment: where OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are looked up.
        """
        self.folder = Path(folder)
        self.destination = destination
        self.state = self.folder / FOLDER if state is None else Path(state)
        self.interval = interval
        self.backoff = Backoff() if backoff is None else backoff
        self._signal = otlp.TRACES if events == "spans" else otlp.LOGS
        self._spans_will_do = events == "auto"
        self._timeout = timeout
        self._service = otlp.service(environment)
        self._thread: threading.Thread | None
        self._cursor: Cursor | None
        self._renew()
        _shippers.add(self)

    def __repr__(self) -> str:
        return f"<Shipper of {self.folder} to {self.destination}>"

    def once(self, patience: float = PATIENCE) -> Report:
        """Send everything that there is, and what was refused earlier, and return what came of it.

        Raises:
            GaveUp: the collector did not take it within ``patience`` seconds, or another shipper is at work.
            Unusable: the cursor cannot be kept.
            Stopped: :meth:`stop` was called.
            OSError: the journals cannot be read.
        """
        deadline = time.monotonic() + patience
        self.folder.stat()  # the cursor must not make the journal's folder
        while True:
            try:
                with Cursor(self.state, self.destination.name) as cursor:
                    return self._once(cursor, deadline)
            except sqlite3.Error as error:
                raise unusable(self.state, str(error)) from None
            except Busy as busy:
                if time.monotonic() + self.backoff.first > deadline:
                    raise GaveUp(f"{busy}: it sends what there is") from None
                if self._stopping.wait(self.backoff.first):
                    raise Stopped from None

    def follow(self) -> None:
        """Ship until :meth:`stop` is called. What goes wrong is logged, counted, and tried again."""
        failures = 0
        while not self._stopping.is_set():
            pause = STANDBY
            try:
                self.folder.stat()
                with Cursor(self.state, self.destination.name) as cursor:
                    self._cursor = cursor
                    self._follow(cursor)
                failures = 0
            except Busy:
                self._trouble("")  # no trouble: another process does it
            except Stopped:
                return
            except FileNotFoundError:
                self._trouble(f"nobody has written to {self.folder} yet")
                pause = self.interval
            except (Unusable, OSError, sqlite3.Error) as error:
                failures += 1
                said = f"the journals cannot be read: {error}" if isinstance(error, OSError) else str(error)
                self._trouble(said)
                pause = self.backoff.pause(failures)
            except Exception as error:  # noqa: BLE001,RUF100 - the trail must outlive a mistake of ours
                failures += 1
                # No message: it could quote what was being sent.
                self._trouble(f"{type(error).__name__} in the shipper")
                pause = self.backoff.pause(failures)
            finally:
                self._cursor = None
            self._stopping.wait(pause)

    def start(self) -> None:
        """Follow in a thread of its own. A forked child has none: its parent's sees the child's journals."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.follow, name="governed_db-ship", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Have :meth:`follow` return, soon. Not in a signal handler: a thread that it starts can."""
        self._stopping.set()
        self._hurry.set()

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until all that was on record is sent; return whether it is.

        Always false in a process that stands by while another one ships.
        """
        deadline = time.monotonic() + timeout
        # The pass that is under way may have gone by what was recorded just now.
        wanted = self._begun + 1
        while self._finished < wanted:
            self._hurry.set()
            if time.monotonic() >= deadline or self._thread is None or not self._thread.is_alive():
                return False
            time.sleep(0.005)
        return True

    def close(self, timeout: float = LAST) -> None:
        """Send what can be sent in ``timeout`` seconds, and stop."""
        if self._thread is not None and self._cursor is not None:
            self.flush(timeout)
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None

    def stats(self) -> dict[str, int]:
        """Return counters, from this process's work."""
        return {
            "shipped_spans": self._counts[otlp.TRACES],
            "shipped_events": self._counts[otlp.LOGS],
            "ship_lost": self._counts["lost"],
            "ship_refused": self._refused,
            "ship_failures": self._failures,
        }

    @property
    def trouble(self) -> str:
        """What went wrong last, "" if nothing has since."""
        return self._last

    # -- passes

    def _renew(self) -> None:
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._thread = None
        self._cursor = None
        self._begun = self._finished = 0
        self._counts = {otlp.TRACES: 0, otlp.LOGS: 0, "lost": 0}
        self._refused = self._failures = 0
        self._last = ""

    def _once(self, cursor: Cursor, deadline: float) -> Report:
        collector = Collector(self.destination, timeout=self._timeout)
        outbox = self._outbox(cursor, collector, deadline)
        try:
            shipment = Shipment(self.folder, outbox)
            while not shipment.run():
                pass
            tries = 0
            while outbox.retry(due=None):
                tries += 1
                pause = self.backoff.pause(tries)
                if time.monotonic() + pause > deadline:
                    break
                if self._stopping.wait(pause):
                    raise Stopped
            return self._report(cursor)
        finally:
            collector.close()

    def _follow(self, cursor: Cursor) -> None:
        collector = Collector(self.destination, timeout=self._timeout)
        outbox = self._outbox(cursor, collector, None)
        try:
            shipment = Shipment(self.folder, outbox)
            while not self._stopping.is_set():
                self._hurry.clear()
                self._begun += 1
                began = self._begun
                if shipment.run():
                    self._refused = outbox.retry(due=time.time())
                    if not self._refused:
                        self._trouble("")
                    self._finished = began
                    self._hurry.wait(self.interval)
        finally:
            collector.close()

    def _outbox(self, cursor: Cursor, collector: Collector, deadline: float | None) -> Outbox:
        wait = self._stopping.wait
        delivery = Delivery(collector, self.backoff, wait, self._told, deadline, self._spans_will_do)
        return Outbox(cursor, delivery, events=self._signal, service=self._service, counts=self._counts)

    def _report(self, cursor: Cursor) -> Report:
        counts = cursor.counts()
        return Report(
            spans=counts.get(otlp.TRACES, 0),
            events=counts.get(otlp.LOGS, 0),
            lost=counts.get("lost", 0),
            refused=cursor.count_refused(),
            running=cursor.count_waiting(),
            trouble=self._last,
        )

    def _told(self, answer: Answer | None) -> None:
        if answer is None:
            self._trouble("")
        else:
            self._failures += 1
            self._trouble(f"{answer.verdict}: {answer.why}")

    def _trouble(self, said: str) -> None:
        if said and said != self._last:
            _log.warning("the trail is not shipped to %s: %s", self.destination, said)
        elif self._last and not said:
            _log.info("the trail is shipped to %s again", self.destination)
        self._last = said


_shippers: weakref.WeakSet[Shipper] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for shipper in tuple(_shippers):
        if shipper._cursor is not None:
            shipper._cursor.abandon()
        shipper._renew()


os.register_at_fork(after_in_child=_after_fork_in_child)

"""What goes on behind a trail: the log is kept, old segments go, a collector gets its copy.

Nothing on the way of a statement waits for any of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field

from governed_db.audit import logstate, retention, signing
from governed_db.audit.retention import Keep, Retired
from governed_db.audit.scan import Stored, scan
from governed_db.audit.sequencer import CLOSE, Sequencer
from governed_db.errors import AuditUnavailable, PolicyError
from governed_db.policy.settings import AuditSettings

if TYPE_CHECKING:
    from governed_db.audit.acknowledge import Acknowledger
    from governed_db.audit.ship import Shipper

RETIRE_EVERY: Final = 3600.0
"""Seconds between two looks for segments that are to go: days are what retention is counted in."""

_logger = logging.getLogger("governed_db.audit")


@define(eq=False)
class Keeper:
    """Keeps one folder's log, from one process, and does what the policy says of old records and of copies.

    Args:
        folder: the journal's.
        state: where the signing key is.
        settings: the policy's.
        appended: returns how many records this process has appended.
        close_journal: closes the journal, when the interpreter ends.
        note: puts on record that a segment goes.

    Raises:
        PolicyError: a time stamp authority or a collector is named that cannot be asked.
    """

    folder: Path
    state: Path
    settings: AuditSettings
    appended: Callable[[], int]
    close_journal: Callable[[], None]
    note: Callable[[Retired], None]
    _sequencer: Sequencer = field(init=False)
    _shipper: Shipper | None = field(init=False)
    _acknowledger: Acknowledger | None = field(default=None, init=False)
    _next_retirement: float = field(default=0.0, init=False)
    _retiring: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self._shipper = _shipper(self.folder, settings.ship) if settings.ship else None
        if self._shipper is not None and settings.durability == "remote":
            self._acknowledger = _acknowledger(self._shipper)
        self._sequencer = Sequencer(
            self.folder,
            lambda: signing.find(self.state),
            appended=self.appended,
            interval=settings.checkpoint_seconds,
            records=settings.checkpoint_records,
            witnesses=() if settings.witness is None else (settings.witness,),
            stamp=_stamper(settings.timestamp) if settings.timestamp else None,
            on_checkpoint=self._checkpointed,
            before_last=self.close_journal,
        )

    def start(self) -> None:
        """Begin, or go on in a forked child; nearly free where it is under way."""
        self._sequencer.start()
        if self._shipper is not None:
            self._shipper.start()

    def acknowledge(self, payload: bytes, journal: str) -> None:
        """Return once the collector has a record, under the durability "remote"; at once under another.

        ``journal`` is its writer's id, "" where that is not known any more.

        Blocks for a round trip, on an event loop as well.

        Raises:
            AuditUnavailable: the collector did not take it.
        """
        if self._acknowledger is not None:
            self._acknowledger.acknowledge(payload, journal=journal)

    def close(self, timeout: float = CLOSE) -> None:
        """Sign what was appended, send what can be sent, and end; within ``timeout`` seconds for either."""
        self._sequencer.close(timeout)
        if self._shipper is not None:
            self._shipper.close()
        if self._acknowledger is not None:
            self._acknowledger.close()

    def stats(self) -> dict[str, int]:
        """Return counters."""
        shipped = {} if self._shipper is None else self._shipper.stats()
        return {**self._sequencer.stats(), **shipped}

    # -- in the thread of the sequencer

    def _checkpointed(self, _: bytes) -> None:
        keep = Keep(days=self.settings.keep_days, bytes=self.settings.keep_mb << 20)
        if keep == Keep() or self._retiring or time.monotonic() < self._next_retirement:
            return
        self._next_retirement = time.monotonic() + RETIRE_EVERY
        self._retiring = True  # the checkpoint over its own records comes by here again
        try:
            retention.retire(
                self.folder, keep, self._done_with(), time.time(), self.note, self._sequencer.checkpoint
            )
        except (OSError, AuditUnavailable, TimeoutError) as error:
            _logger.warning("Old segments stay for now: %s", error)
        finally:
            self._retiring = False

    def _done_with(self) -> retention.Covered:
        """Return what says of a segment whether nothing needs it any more."""
        signed = logstate.covered(self.folder)
        if self._shipper is None:
            return signed
        sent = _sent(self.folder)
        return lambda name: signed(name) and sent(name)


def _sent(folder: Path) -> retention.Covered:
    """Return what says of a segment whether every destination has all of it."""
    from governed_db.audit import cursor, ship  # noqa: PLC0415 - an extra's, for who ships

    destinations = cursor.acknowledged(folder / ship.FOLDER)
    if not destinations:
        return lambda _: False  # our own shipper has not begun

    def sent(name: str) -> bool:
        journal = name.split("-")[1]
        last = max((s.sequence for s in scan(folder / name) if isinstance(s, Stored)), default=0)
        return all(journals.get(journal, 0) >= last for journals in destinations.values())

    return sent


def _shipper(folder: Path, url: str) -> Shipper:
    try:
        from governed_db.audit.destination import Destination, DestinationError  # noqa: PLC0415
        from governed_db.audit.ship import Shipper  # noqa: PLC0415 - an extra's
    except ImportError:
        raise _missing("ship", "otlp") from None
    try:
        return Shipper(folder, Destination.of(url))
    except DestinationError as error:
        raise PolicyError(f"[audit] ship: {error}", rule="audit.ship") from None


def _acknowledger(shipper: Shipper) -> Acknowledger:
    from governed_db.audit.acknowledge import Acknowledger  # noqa: PLC0415 - an extra's

    return Acknowledger(shipper.destination)


def _stamper(url: str) -> Callable[[bytes, Path], None]:
    from governed_db.audit.stamp import stamper  # noqa: PLC0415 - an extra's

    try:
        return stamper(url)
    except ImportError:
        raise _missing("timestamp", "timestamp") from None
    except ValueError as error:
        raise PolicyError(f"[audit] timestamp: {error}", rule="audit.timestamp") from None


def _missing(setting: str, extra: str) -> PolicyError:
    return PolicyError(
        f"[audit] {setting} needs the extra '{extra}', which is not installed",
        rule=f"audit.{setting}",
        remedy=f"pip install 'governed-db[{extra}]'",
    )

"""Taking notices of requests to those who are to be told, in a thread that nobody waits for.

A notice is kept in the store, in the transaction of its request, and goes when it was delivered: at least
once, by this process or by another one that has the same notifier. Each notifier has a thread of its own
while it works, so that one that hangs keeps nobody else waiting.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from attrs import define, field, frozen

from governed_db.approval.notifier import Notifiers, Undelivered
from governed_db.approval.request import ApprovalRequest
from governed_db.approval.store import Filed, Notice, Store, StoreUnavailable
from governed_db.errors import GovernanceError

LAST: Final = 2.0
"""Seconds for which the end of a process waits for notices: what is left, another process takes."""

LONGEST_AFTER: Final = 3600.0
"""Seconds of a Retry-After that are honoured. A clock that is wrong must not keep people from being told."""

BATCH: Final = 10
"""Notices that one notifier gets at a time."""

_MOMENT = 0.02

_log = logging.getLogger("governed_db.approval")


@frozen(kw_only=True)
class Pace:
    """How notices are delivered, in seconds.

    Attributes:
        poll: between two looks for what other processes have left; a look is one small SELECT.
        lease: for which a notice is this process's alone: longer than telling people takes, and what a
            notice waits for when its process dies.
        patience: after which a notifier that has not come back counts as failed.
        first, most: before the next attempt after a failure: the first, twice as long each time, at most so
            long. Each is shortened at random by up to half, so that many processes spread out.
    """

    poll: float = 5.0
    lease: float = 60.0
    patience: float = 15.0
    first: float = 1.0
    most: float = 300.0

    def pause(self, failures: int, after: float | None = None) -> float:
        """Return how long to wait after so many failures, and for ``after`` seconds at the least."""
        whole: float = min(self.most, self.first * 2 ** min(max(failures - 1, 0), 30))
        asked = min(after or 0.0, LONGEST_AFTER)
        return max(whole * (0.5 + random.random() / 2), asked)  # noqa: S311 - spreads load, hides nothing


class Asking(Protocol):
    """What a courier needs of a desk."""

    store: Store
    on_event: Callable[..., None]

    def stands(self, filed: Filed, now: datetime) -> Any:
        """Weigh the answers to a request."""
        ...


@define
class _Round:
    """Notices that one notifier is being told of."""

    notices: list[Notice]
    began: float  # of the one that is under way, monotonic
    taken: float
    late: bool = False
    current: Notice | None = None


@define(eq=False)
class Courier:
    """Delivers the notices of one desk, from one process. Safe with threads and forks.

    Attributes:
        desk: whose requests.
        notifiers: who is told.
        pace: how often and for how long.
    """

    desk: Asking
    notifiers: Notifiers = field(factory=Notifiers)
    pace: Pace = field(factory=Pace)
    told: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    _busy: dict[str, _Round] = field(init=False, repr=False)
    _failing: dict[tuple[str, str], tuple[float, int, str]] = field(init=False, repr=False)
    _quiet: dict[str, float] = field(init=False, repr=False)
    _lock: Any = field(init=False, repr=False)
    _wake: threading.Event = field(init=False, repr=False)
    _ending: threading.Event = field(init=False, repr=False)
    _thread: threading.Thread | None = field(init=False, repr=False)
    _next: float = field(init=False, repr=False)
    _trouble: bool = field(default=False, init=False, repr=False)
    _complained: set[str] = field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._renew()
        _couriers.add(self)

    def filed(self, _: ApprovalRequest) -> None:
        """Have people told of what was just filed, by whom this process can; never raises."""
        lacking = self.notifiers.lacking
        for name in lacking.keys() - self._complained:
            self._complained.add(name)
            _log.warning("%s is left to other processes to tell of requests: %s", name, lacking[name])
        self.start()

    def start(self) -> None:
        """Look for notices now, and from now on. Never raises, and waits for nobody."""
        if not self.notifiers.here:
            return
        self._next = 0.0
        self._wake.set()
        with self._lock:
            if self._thread is not None and self._thread.is_alive() and not self._ending.is_set():
                return
            self._ending = threading.Event()
            self._thread = threading.Thread(
                target=_run, args=(weakref.ref(self), self._ending), name="governed_db notices", daemon=True
            )
            _at_exit_once()
            try:
                self._thread.start()
            except RuntimeError:  # no more threads: another process, or the next request, delivers
                self._thread = None

    def flush(self, timeout: float) -> bool:
        """Wait ``timeout`` seconds until nothing is due and nobody is being told; return whether it is so."""
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                told = all(round_.late for round_ in self._busy.values())
                idle = told and not self._wake.is_set() and self._next > time.monotonic()
                alive = self._thread is not None and self._thread.is_alive()
            if idle or not alive:
                return idle
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)

    def close(self, timeout: float = LAST) -> None:
        """Deliver what is due within ``timeout`` seconds, and end the thread. Never raises.

        Does nothing in a process that has not called :meth:`start`; a later :meth:`start` begins anew.
        """
        thread = self._thread
        if thread is None:
            return
        self.flush(timeout)
        self._ending.set()
        self._wake.set()
        thread.join(timeout)
        self._thread = None

    def stats(self) -> dict[str, int]:
        """Return counters: notices delivered here, attempts that failed, notifiers that cannot work here."""
        return {
            "notices_told": self.told,
            "notices_failed": self.failed,
            "notifiers_lacking": len(self.notifiers.lacking),
        }

    # -- in the thread

    def _renew(self) -> None:
        self._busy = {}
        self._failing = {}
        self._quiet = {}  # until when who has asked for it is left alone
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread = None
        self._next = 0.0

    def _tick(self) -> None:
        """Take what is due for those who are free, and have them told."""
        self._wake.clear()
        now = time.monotonic()
        self._overdue(now)
        with self._lock:
            self._quiet = {name: until for name, until in self._quiet.items() if until > now}
            free = [n for n in self.notifiers.here if n not in self._busy and n not in self._quiet]
        following = now + self.pace.poll
        taken: list[Notice] = []
        try:
            if free:
                taken = self.desk.store.due(
                    now=_utc(), lease=self.pace.lease, limit=BATCH * len(free), notifiers=free
                )
            self._given_up(now)
            self._trouble = False
        except StoreUnavailable as error:
            if not self._trouble:
                _log.warning("People cannot be told of requests: %s", error)
            self._trouble = True
        for name in free:
            notices = [notice for notice in taken if notice.notifier == name]
            if notices:
                self._have_told(name, notices, now)
        with self._lock:
            # The store's clock is not this one: what is not quite due yet is asked for again in a moment.
            retries = [max(at, now + _MOMENT) for at, _, _ in self._failing.values() if at > now - 1]
            limits = [round_.began + self.pace.patience for round_ in self._busy.values() if not round_.late]
            # A full batch: there may be more.
            more = [now] if free and len(taken) >= BATCH * len(free) else []
            self._next = min([following, *retries, *limits, *self._quiet.values(), *more])

    def _have_told(self, name: str, notices: list[Notice], now: float) -> None:
        round_ = _Round(notices=notices, began=now, taken=now)
        with self._lock:
            self._busy[name] = round_
        thread = threading.Thread(
            target=self._tell, args=(name, round_), name=f"governed_db {name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads: their lease runs out
            with self._lock:
                self._busy.pop(name, None)

    def _tell(self, name: str, round_: _Round) -> None:
        """Tell one notifier of its notices, one after the other."""
        try:
            for notice in round_.notices:
                if time.monotonic() > round_.taken + self.pace.lease / 2:
                    break  # somebody else may have the others soon
                left = self._quiet.get(name, 0.0) - time.monotonic()
                if left > 0:
                    self.desk.store.again(notice, at=_utc() + timedelta(seconds=left))
                    continue
                round_.began, round_.current, round_.late = time.monotonic(), notice, False
                try:
                    self._one(name, notice)
                except StoreUnavailable:
                    raise
                except Exception as error:
                    # Somebody has written to the outbox; the notices behind this one are as good as ever.
                    # No message: it could quote what was being sent.
                    _log.warning("A notice of %s stays in the outbox: %s", name, type(error).__name__)
        except StoreUnavailable as error:
            _log.warning("A notice of %s stays in the outbox: %s", name, error)
        except Exception as error:
            _log.warning("Notices of %s stay in the outbox: %s", name, type(error).__name__)
        finally:
            with self._lock:
                self._busy.pop(name, None)
            self._next = 0.0
            self._wake.set()

    def _one(self, name: str, notice: Notice) -> None:
        store, key = self.desk.store, (notice.request, name)
        request = self._waiting(notice.request)
        if request is None or not self.notifiers.wants(name, request):
            store.told(notice)
            self._over(key)
            return
        try:
            asked = self.notifiers.here[name].tell(request)
            if inspect.iscoroutine(asked):
                import asyncio  # noqa: PLC0415 - for who has an async hook

                asyncio.run(asked)
        except BaseException as error:
            # A hook that ends itself (SystemExit, a task that was cancelled) has told nobody, either.
            self._missed(notice, error)
            return
        self.told += 1
        store.told(notice)
        with self._lock:
            self._failing.pop(key, None)
        self._record("approval.told", request=notice.request, notifier=name, attempts=notice.attempts + 1)

    def _waiting(self, request_id: str) -> ApprovalRequest | None:
        """Return a request that somebody can still answer, ``None`` where nobody can."""
        kept, now = self.desk.store.get(request_id), _utc()
        if kept is None:
            return None
        # Only what is open is found by its digest: neither used nor expired nor withdrawn.
        filed = self.desk.store.find(kept.request.digest, now=now)
        if filed is None or filed.request.id != request_id:
            return None
        standing = self.desk.stands(filed, now)
        return filed.request if standing.denied is None and not standing.agreed else None

    def _missed(self, notice: Notice, error: BaseException) -> None:
        self.failed += 1
        failures = max(0, min(notice.attempts, 1 << 20)) + 1
        pause = self.pace.pause(failures, error.after if isinstance(error, Undelivered) else None)
        said = type(error).__name__
        why = str(error) if isinstance(error, Undelivered) else said
        with self._lock:
            if isinstance(error, Undelivered) and error.after:
                self._quiet[notice.notifier] = time.monotonic() + pause
            first = (notice.request, notice.notifier) not in self._failing and failures == 1
            self._failing[notice.request, notice.notifier] = (time.monotonic() + pause, failures, said)
        _log.log(
            logging.WARNING if first else logging.INFO,
            "%s was not told of %s, and is told again: %s",
            notice.notifier,
            notice.request,
            why,
        )
        self.desk.store.again(notice, at=_utc() + timedelta(seconds=pause))
        if first:
            self._record(
                "approval.notice_failed",
                request=notice.request,
                notifier=notice.notifier,
                error=said,
                attempts=1,
            )

    def _overdue(self, now: float) -> None:
        """Say of those who do not come back that they have failed; the lease of their notices runs out."""
        with self._lock:
            late = [
                (name, round_)
                for name, round_ in self._busy.items()
                if not round_.late and now >= round_.began + self.pace.patience
            ]
            for _, round_ in late:
                round_.late = True
        for name, round_ in late:
            self.failed += 1
            _log.warning("%s does not come back from being told; others are told meanwhile", name)
            self._record(
                "approval.notice_failed",
                request=round_.current.request if round_.current is not None else "",
                notifier=name,
                error="TimeoutError",
                attempts=round_.current.attempts + 1 if round_.current is not None else 1,
            )

    def _given_up(self, now: float) -> None:
        """Put on record who was never told of a request that is over: the store has dropped its notice."""
        with self._lock:
            late = [key for key, (at, _, _) in self._failing.items() if now > at + self.pace.first]
        for key in late:
            if self._waiting(key[0]) is None:
                self._over(key)
            elif now > self._failing.get(key, (now, 0, ""))[0] + self.pace.lease:
                # Another process has it.
                with self._lock:
                    self._failing.pop(key, None)

    def _over(self, key: tuple[str, str]) -> None:
        with self._lock:
            known = self._failing.pop(key, None)
        if known is not None:
            _, failures, said = known
            self._record(
                "approval.notice_failed",
                request=key[0],
                notifier=key[1],
                error=said,
                attempts=failures,
                final=True,
            )

    def _record(self, event: str, **details: Any) -> None:
        if self._ending.is_set():
            return  # a hook that came back late: the journal is closed, and stays so
        # What is told is no evidence: a journal that is gone must not keep people from being asked.
        with contextlib.suppress(GovernanceError):
            self.desk.on_event(event, **details)


def _run(reference: weakref.ref[Courier], ending: threading.Event) -> None:
    while (courier := reference()) is not None:
        try:
            courier._tick()
        except Exception as error:
            # The thread must outlive a mistake of ours. No message: it could quote what is in the store.
            _log.warning("People cannot be told of requests: %s", type(error).__name__)
            courier._next = time.monotonic() + courier.pace.poll
        wake, left = courier._wake, courier._next - time.monotonic()
        del courier
        if ending.is_set():
            return
        wake.wait(max(left, 0.0))
        if ending.is_set():
            return


def _utc() -> datetime:
    return datetime.now(UTC)


_couriers: weakref.WeakSet[Courier] = weakref.WeakSet()
_registered = False


def _at_exit_once() -> None:
    # With the first start and not with the import: what was registered later ends sooner, and the journal has
    # to outlive the last notice.
    global _registered  # noqa: PLW0603 - the interpreter ends once
    if not _registered:
        _registered = True
        atexit.register(_at_exit)


def _at_exit() -> None:
    for courier in list(_couriers):
        with contextlib.suppress(Exception):
            courier.close()


def _after_fork_in_child() -> None:
    for courier in list(_couriers):
        courier._renew()


os.register_at_fork(after_in_child=_after_fork_in_child)

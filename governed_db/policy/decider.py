"""MAY, asked elsewhere: a decider of the organisation's own (OPA, Cedar, a function), with a time limit.

A decider is any object with ``decide(request) -> Decision``. Its answer stands where the policy's rules
stand. What it cannot change: masks, budgets and the version on record stay the policy's; and a statement
that was not understood completely, or does what is not known here, is never allowed by a decider alone:
of its answer and the policy's the severer stands, because the facts it was asked about are not the whole
truth then. A decider that raises, takes too long or answers nonsense has not allowed anything.

It runs in a thread of its own, so that nobody waits longer than the limit and no event loop is held up. What
the caller's context holds (:func:`~governed_db.acting_as`, OpenTelemetry's span) goes along. Python cannot
end a thread: a decider that hangs keeps it. :data:`MAX_WORKERS` bounds them, and when all of them hang,
statements are refused at once.
"""

from __future__ import annotations

import contextvars
import os
import queue
import threading
import time
from concurrent.futures import Future
from typing import Any

from attrs import define, evolve, field

from governed_db.locks import lock
from governed_db.policy.answers import SEVERITY
from governed_db.policy.decide import Policy
from governed_db.policy.model import Decider, Decision, Request, Shadowed, Verdict
from governed_db.policy.reasons import clean
from governed_db.statement.facts import Effect, EffectKind

TIMEOUT = 1.0
"""Seconds a decider may take where nobody says otherwise: a service in the same data centre answers in some
milliseconds, and whoever waits for a second waits for something that is broken."""

MAX_WORKERS = 32
"""Questions that can be open at once; more wait for their turn within their time. A thread that hangs costs
some 100 KB for good, so a decider that always hangs costs a few megabytes and not the process."""

MAX_TIMEOUT = 60.0
"""Seconds; more would make a connection look dead, and is likely milliseconds by mistake."""

_LONGEST = 2000  # characters of a reason or remedy; it is shown to a model and stored with each record
_NAME = 200  # characters of a rule's name


_deciding: contextvars.ContextVar[tuple[int, ...]] = contextvars.ContextVar("deciding", default=())
"""The deciders that the current context is an answer of."""


class Reentered(Exception):  # noqa: N818 - its name is what the refusal says
    """A decider has sent a statement that it would have to decide about."""


@define(eq=False)
class _Question:
    request: Request
    context: contextvars.Context
    future: Future[object]


@define(eq=False)
class Counsel:
    """One decider and the threads that ask it. Safe with threads; survives a fork by starting anew."""

    decider: Decider
    timeout: float = TIMEOUT
    _lock: threading.Lock = field(init=False)
    _questions: queue.SimpleQueue[_Question] = field(factory=queue.SimpleQueue, init=False)
    _busy: dict[int, float] = field(factory=dict, init=False)  # by worker: when its question is overdue
    _workers: int = field(default=0, init=False)
    _open: int = field(default=0, init=False)  # questions put and not done with
    _pid: int = field(factory=os.getpid, init=False)

    def __attrs_post_init__(self) -> None:
        self._lock = lock(self)
        if not callable(getattr(self.decider, "decide", None)):
            raise TypeError(
                f"decider takes an object with decide(request), got {type(self.decider).__name__}"
            )
        seconds = self.timeout
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 < seconds <= MAX_TIMEOUT
        ):
            raise ValueError(f"decider_timeout takes seconds above 0 and up to {MAX_TIMEOUT:.0f}")

    def ask(self, request: Request) -> Future[object]:
        """Put ``request`` to the decider; the future holds what it answers or raises.

        Where every worker hangs, or the process cannot start one, it is cancelled at once; and one of its
        own statements that the decider asks about raises :class:`Reentered`.
        """
        future: Future[object] = Future()
        if id(self) in _deciding.get():
            future.set_exception(Reentered())
            return future
        with self._lock:
            if self._pid != os.getpid():  # the threads stayed in the parent
                self._pid, self._workers, self._open = os.getpid(), 0, 0
                self._questions, self._busy = queue.SimpleQueue(), {}
            now = time.monotonic()
            overdue = sum(due < now for due in self._busy.values())
            if overdue >= MAX_WORKERS:
                future.cancel()
                return future
            if self._workers < min(self._open + 1, MAX_WORKERS):
                # A daemon: a decider that hangs must not keep the process from ending.
                worker = threading.Thread(
                    target=self._work, args=(self._questions,), name="governed_db-decider", daemon=True
                )
                try:
                    worker.start()
                except RuntimeError:  # the system has no thread left
                    if not self._workers:
                        future.cancel()
                        return future
                else:
                    self._workers += 1
            self._questions.put(_Question(request, contextvars.copy_context(), future))
            self._open += 1
        return future

    def _work(self, questions: queue.SimpleQueue[_Question]) -> None:
        me = threading.get_ident()
        while True:
            question = questions.get()
            if question.future.set_running_or_notify_cancel():  # else nobody waits for it any more
                with self._lock:
                    self._busy[me] = time.monotonic() + self.timeout
                try:
                    answer = question.context.run(self._decide, question.request)
                except BaseException as error:  # an answer like any other: it allows nothing
                    question.future.set_exception(error)
                else:
                    question.future.set_result(answer)
                    del answer
            with self._lock:
                self._busy.pop(me, None)
                self._open -= 1
            del question  # a thread that waits for the next one holds on to nothing

    def _decide(self, request: Request) -> object:
        _deciding.set((*_deciding.get(), id(self)))
        return self.decider.decide(request)

    def settle(self, future: Future[object], request: Request, policy: Policy) -> Decision:
        """Return the decision that ``future`` leads to, which is a refusal unless it holds a good answer."""
        if not future.done() or future.cancelled():
            future.cancel()
            return _refused(
                request,
                policy,
                "decider.timeout",
                f"the organisation's decider did not answer within {self.timeout:g} s",
                "try again in a while; if it goes on, tell whoever runs the decider",
                retryable=True,
            )
        error = future.exception()
        if error is not None:
            return _refused(
                request,
                policy,
                "decider.failed",
                f"the organisation's decider failed with {type(error).__name__}",
                "tell whoever runs the decider",
            )
        answer = future.result()
        wrong = nonsense(answer, request)
        if wrong:
            return _refused(
                request,
                policy,
                "decider.nonsense",
                f"the organisation's decider gave an answer that cannot be used ({wrong})",
                "tell whoever runs the decider",
            )
        assert isinstance(answer, Decision)
        return _in_force(answer, request, policy)


def nonsense(answer: object, request: Request) -> str:
    """Return what is wrong with ``answer``, "" where nothing is."""
    if not isinstance(answer, Decision):
        return f"a {type(answer).__name__} and not a Decision"
    if answer.statement is not request.statement:
        return "it is about another statement"
    if type(answer.verdict) is not Verdict:
        return "its verdict is no Verdict"
    if not isinstance(answer.rule, str) or not answer.rule.strip():
        return "it names no rule"
    checks: dict[str, Any] = {
        "reason": isinstance(answer.reason, str),
        "remedy": isinstance(answer.remedy, str),
        "retryable": isinstance(answer.retryable, bool),
        "effect": answer.effect is None or isinstance(answer.effect, Effect),
        "row_cap": answer.row_cap is None or _count(answer.row_cap, 0),
        "approvers": _all(answer.approvers, str),
        "approvals_needed": _count(answer.approvals_needed, 1),
        "shadowed": _all(answer.shadowed, Shadowed),
        "wants_estimate": isinstance(answer.wants_estimate, bool),
    }
    return ", ".join(f"its {name} is of the wrong kind" for name, right in checks.items() if not right)


def _count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _all(value: object, kind: type) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, kind) for item in value)


def _in_force(answer: Decision, request: Request, policy: Policy) -> Decision:
    """Return ``answer`` with what stays the policy's, or the policy's own where that has to be heard."""
    bound = request.bound
    blind = (
        not request.statement.complete
        or (bound is not None and not bound.complete)
        or any(effect.kind is EffectKind.UNKNOWN for effect in request.effects)
    )
    if blind:
        own = policy.decide(request)
        if SEVERITY[own.verdict] > SEVERITY[answer.verdict]:
            return own
    return evolve(
        answer,
        rule=clean(answer.rule, _NAME),
        reason=clean(answer.reason, _LONGEST),
        remedy=clean(answer.remedy, _LONGEST),
        masked=policy.masks(request.identity),
        budget=policy.budget(request.identity),
        policy=policy.version,
        wants_estimate=answer.wants_estimate and request.estimate is None,
    )


def _refused(
    request: Request, policy: Policy, rule: str, reason: str, remedy: str, *, retryable: bool = False
) -> Decision:
    return Decision(
        verdict=Verdict.BLOCK,
        rule=rule,
        reason=f"{reason}, and what nobody has allowed does not run",
        remedy=remedy,
        retryable=retryable,
        statement=request.statement,
        masked=policy.masks(request.identity),
        budget=policy.budget(request.identity),
        policy=policy.version,
    )

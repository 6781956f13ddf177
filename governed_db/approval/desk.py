"""Where the pipeline asks people, and where people answer: one store, the policy's people, and the trail.

What comes out of the store is held against the call and against the policy's keys each time it is used. An
answer that does not hold is put on record once and counts for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from attrs import define, field

from governed_db.approval.answer import ApproverKey, SignedAnswer, sign_answer
from governed_db.approval.people import EXPIRED, Person, may_not_answer, not_valid, same_person
from governed_db.approval.request import (
    ApprovalRequest,
    Question,
    ask,
    ceiling_of,
    plain_identity,
    same_question,
)
from governed_db.approval.standing import Standing, weigh
from governed_db.approval.store import Filed, Store, StoreUnavailable, View
from governed_db.errors import ApprovalsUnavailable, GovernanceError
from governed_db.identity.model import Identity
from governed_db.locks import lock
from governed_db.note import BadNote
from governed_db.policy.settings import ApprovalSettings

Answered = TypeVar("Answered")
Key = TypeVar("Key")
Value = TypeVar("Value")

MAX_ANSWERS = 100
"""Answers that are kept for one request: more than any rule asks for, forged ones included."""

PURGE_SECONDS = 3600.0
"""How often a process that files requests has the store forget what ended long ago."""

AFTER_FAILURE = 10
"""How many times as long as a look took to fail nobody looks again. A store that is slow to fail would delay
every statement; so it takes a tenth of the time at most."""

MOST_BLIND = 30.0
"""Seconds for which nobody looks at most. Nothing is granted meanwhile."""

_KEPT = 10_000  # requests and answers that are remembered; some 100 bytes each


@define(eq=False)
class Desk:
    """Requests and answers of one governor. Safe with threads.

    Attributes:
        store: where they are kept.
        settings: the policy's ``[approvals]``, people included.
        on_event: puts what happens here on record, before it counts: what it raises keeps it from counting.
        notifiers: the names of those who are told of each request.
        on_filed: told when a request was filed, so that whoever delivers notices wakes up.
    """

    store: Store
    settings: ApprovalSettings
    on_event: Callable[..., None]
    notifiers: Sequence[str] = ()
    on_filed: Callable[[ApprovalRequest], None] = lambda _: None
    _view: View = field(factory=View, init=False)
    _viewed: float = field(default=float("-inf"), init=False)
    _told: dict[tuple[str, str], None] = field(factory=dict, init=False)
    _spent: dict[str, None] = field(factory=dict, init=False)
    _sealed: dict[str, str] = field(factory=dict, init=False)  # by id: seals of what was asked here
    _denied: dict[str, datetime] = field(factory=dict, init=False)  # by id: until when a no holds
    _purged: float = field(default=float("-inf"), init=False)
    _lock: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lock = lock(self)

    # -- what the pipeline asks

    def stale(self) -> bool:
        """Whether the view is older than one poll."""
        return time.monotonic() > self._viewed + self.settings.poll_seconds

    def look(self) -> View:
        """Look at the store; what cannot be seen is not there.

        A grant that nobody can confirm gives nothing, and an open request that is not seen leaves a
        statement under the cap it has without anybody's word.
        """
        viewed = time.monotonic()
        try:
            view = self.store.view(now=_now())
        except StoreUnavailable:
            view, now = View(), time.monotonic()
            viewed = now + min(AFTER_FAILURE * (now - viewed), MOST_BLIND)
        with self._lock:
            self._view, self._viewed = view, viewed
        return view

    @property
    def view(self) -> View:
        """What :meth:`look` saw last."""
        return self._view

    def standing(self, question: Question) -> Standing | None:
        """Return how the open request for ``question`` stands; ``None`` where there is none.

        A request that asks something else than its call does was altered in the store: it is withdrawn.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
            AuditUnavailable: an answer that does not hold cannot be put on record.
        """
        now = _now()
        filed = self._ask(lambda: self.store.find(question.digest, now=now))
        if filed is None:
            return None
        why = ""
        if not same_question(filed.request, question) or self._is_altered(filed.request):
            why = "the request in the store is not the one that its call makes: it was altered"
        elif filed.request.id in self._spent:
            why = "it was used already by this process, and the store says that it was not: it was put back"
        elif now < self._denied.get(filed.request.id, now) and all(a.answer.granted for a in filed.answers):
            why = "somebody has denied it, and the store has lost that"
        if why:
            self._ask(lambda: self.store.withdraw(filed.request.id, now=now))
            self.on_event("approval.refused", request=filed.request.id, reason=why)
            return None
        standing = self.stands(filed, now)
        if standing.agreed or standing.denied is not None:
            said = standing.granted if standing.denied is None else (standing.denied,)
            for signed, person in zip(standing.answers, said, strict=True):
                self._answered(signed, person, filed.request)
        for signed, why in standing.ignored:
            self._once(
                signed,
                "approval.refused",
                request=filed.request.id,
                answer=signed.id,
                reason=why,
            )
        return standing

    def stands(self, filed: Filed, now: datetime) -> Standing:
        """Weigh the answers to a request. No I/O."""
        return weigh(filed, self.settings.people, now)

    def claim(self, standing: Standing, *, by: str) -> bool:
        """Take what was agreed to, once; return whether it is ours.

        The evidence goes on record first: who agreed, and what they signed.

        Raises:
            ApprovalsUnavailable: the store cannot be asked, so that nobody knows whose it is.
            AuditUnavailable: the evidence cannot be put on record.
        """
        request = standing.request
        self.on_event(
            "approval.verified",
            request=request.id,
            seal=request.seal(),
            people=[plain_identity(person.identity) for person in standing.granted],
            keys=[person.key.text for person in standing.granted],
            answers=[signed.note.decode() for signed in standing.answers],
        )
        taken = self._ask(lambda: self.store.claim(request.id, by=by, now=_now()))
        if taken:
            with self._lock:
                if request.id in self._spent:
                    return False  # a store that gives it out twice
                _keep(self._spent, request.id, None)
                self._view = View(open=self._view.open - {request.digest}, grants=self._view.grants)
        return taken

    def file(self, question: Question, requester: Identity, **reckoned: Any) -> ApprovalRequest:
        """Ask people; return the request that is open for the same question already, where there is one.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
            AuditUnavailable: the request cannot be put on record.
            GovernanceError: this caller has too many open requests (rule ``approval.many``).
        """
        now = _now()
        made = ask(
            question, requester, lasts=timedelta(seconds=self.settings.ask_seconds), now=now, **reckoned
        )
        self.on_event(
            "approval.requested",
            who=requester,
            request=made.id,
            seal=made.seal(),
            digest=question.digest.hex(),
            statement=question.statement,
            rule=question.rule,
            binds=question.binds,
            rows=made.rows,
            ceiling=made.ceiling,
            cost=made.cost,
            needed=made.needed,
            approvers=list(made.approvers),
            requested=made.requested.isoformat(),
            expires=made.expires.isoformat(),
            valid_seconds=made.valid_seconds,
        )
        kept = self._ask(
            lambda: self.store.file(made, now=now, notifiers=self.notifiers, most=self.settings.most_open)
        )
        if kept is None:
            raise GovernanceError(
                f"{requester} has {self.settings.most_open} requests open already, and people cannot answer"
                " more",
                rule="approval.many",
                remedy="wait until they are answered, or withdraw some",
                retryable=True,
            )
        with self._lock:
            self._view = View(open=self._view.open | {kept.digest}, grants=self._view.grants)
        if kept.id == made.id:
            with self._lock:
                _keep(self._sealed, made.id, made.seal())
            self.on_filed(kept)
        self._purge(now)
        return kept

    # -- what people ask

    def pending(self) -> list[ApprovalRequest]:
        """Return the requests that can be answered, oldest first.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
        """
        now = _now()
        stood = (self.stands(filed, now) for filed in self._ask(lambda: self.store.listed(now=now)))
        return [s.request for s in stood if s.denied is None and not s.agreed]

    def listed(self, *, every: bool = False) -> list[tuple[Filed, Standing]]:
        """Return open requests, or ``every`` one that is kept, with how they stand; oldest first.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
        """
        now = _now()
        found = self._ask(lambda: self.store.listed(now=now, every=every))
        return [(filed, self.stands(filed, now)) for filed in found]

    def get(self, request_id: str) -> Filed:
        """Return one request.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
            GovernanceError: there is no such request (rule ``approval.unknown``).
        """
        found = self._ask(lambda: self.store.get(request_id))
        if found is None:
            raise GovernanceError(
                f"there is no approval request {request_id}",
                rule="approval.unknown",
                remedy="governed-db approvals list shows those that wait",
            )
        return found

    def approve(
        self,
        request_id: str,
        *,
        key: ApproverKey,
        by: Identity | None = None,
        reason: str = "",
        seal: str = "",
    ) -> Standing:
        """Agree to a request with a key that the policy names; return how it stands then.

        Args:
            request_id: which.
            key: of an approver, or of an authority that signs for ``by``.
            by: who agrees; by default the approver whose key it is.
            reason: why, for the record.
            seal: of the request as the person was shown it (:meth:`ApprovalRequest.seal`), where they were
                shown it earlier: what was altered since is not agreed to.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
            GovernanceError: no such request, or it may not be answered so; the rule says which.
        """
        return self._answer(request_id, key, by, granted=True, reason=reason, seal=seal)

    def deny(
        self,
        request_id: str,
        *,
        key: ApproverKey,
        by: Identity | None = None,
        reason: str = "",
        seal: str = "",
    ) -> Standing:
        """Say no to a request; see :meth:`approve`."""
        return self._answer(request_id, key, by, granted=False, reason=reason, seal=seal)

    def withdraw(self, request_id: str, *, by: Identity, reason: str = "") -> None:
        """Close a request: nobody can answer or use it then, and the caller can ask again.

        It needs no key: nothing runs because of it, and who may write to the store can lose what is there.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
            GovernanceError: there is no such request, or it is not open (rule ``approval.closed``).
        """
        filed, now = self.get(request_id), _now()
        _must_be_open(filed, now)
        request = filed.request
        self.on_event(
            "approval.withdrawn",
            who=by,
            request=request.id,
            requester=str(request.requester),
            statement=request.statement,
            rule=request.rule,
            reason=reason,
        )
        if not self._ask(lambda: self.store.withdraw(request_id, now=now)):
            _must_be_open(self.get(request_id), now)

    def _answer(
        self,
        request_id: str,
        key: ApproverKey,
        by: Identity | None,
        *,
        granted: bool,
        reason: str,
        seal: str,
    ) -> Standing:
        filed, now = self.get(request_id), _now()
        request = filed.request
        if seal and seal != request.seal():
            raise GovernanceError(
                f"the request {request_id} is not the one that was shown: it was altered since",
                rule="approval.altered",
                remedy="look at it as it is now; who can write to the store has changed it",
            )
        _must_be_open(filed, now)
        people = self.settings.people
        owner = people.owner(key.public)
        if owner is None:
            raise GovernanceError(
                f"the policy names nobody whose key {key.public.name}+{key.public.id.hex()} is",
                rule="approval.key",
                remedy="put the key into the policy: [[approver]] subject, groups, keys"
                " (governed-db approvals key prints it)",
            )
        if by is None:
            named = next((a for a in people.approvers if a is owner), None)
            if named is None:
                raise GovernanceError(
                    f"{key.public.name} signs for others: say for whom",
                    rule="approval.key",
                    remedy="give by= (in the command: --by or --token-file)",
                )
            by = named.identity()
        person = people.speaking(key.public, by)
        why = person if isinstance(person, str) else may_not_answer(request, person.identity)
        if isinstance(person, str) or why:
            raise GovernanceError(
                f"{by} cannot answer {request_id}: {why}",
                rule="approval.approver",
                remedy="ask somebody else in " + (", ".join(request.approvers) or "your organisation"),
            )
        before = self.stands(filed, now)
        if granted and any(same_person(p.identity, person.identity) for p in before.granted):
            raise GovernanceError(
                f"{by} has agreed to {request_id} already"
                + (f", and it asks for {request.needed} different people" if request.needed > 1 else ""),
                rule="approval.approver",
                remedy="ask somebody else in " + (", ".join(request.approvers) or "your organisation"),
            )
        try:
            signed = sign_answer(request, key, by=person.identity, granted=granted, reason=reason, now=now)
        except (ValueError, BadNote) as error:
            raise GovernanceError(str(error), rule="approval.answer", remedy="shorten the reason") from None
        return self.hand_in(signed)

    def hand_in(self, signed: SignedAnswer) -> Standing:
        """Take in an answer that was signed elsewhere; return how its request stands then.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
            GovernanceError: it does not hold (rule ``approval.answer``), and the refusal is on record; or the
                request is not open any more (rule ``approval.closed``).
        """
        now = _now()
        filed = self.get(signed.answer.request)
        _must_be_open(filed, now)
        person, why = not_valid(signed, filed.request, self.settings.people, now)
        if person is None:
            why = "its time is over" if why == EXPIRED else why
            self._once(signed, "approval.refused", request=filed.request.id, answer=signed.id, reason=why)
            raise GovernanceError(
                f"the answer to {filed.request.id} does not count: {why}",
                rule="approval.answer",
                remedy="look at the request as it is now, and sign again",
            )
        self._answered(signed, person, filed.request)
        if not self._ask(lambda: self.store.answer(signed, most=MAX_ANSWERS)):
            raise GovernanceError(
                f"{filed.request.id} takes no more answers",
                rule="approval.closed",
                remedy="the caller has to ask again",
            )
        return self.stands(self.get(filed.request.id), now)

    def close(self) -> None:
        """Let go of the store's files and connections."""
        self.store.close()

    # -- parts

    def _is_altered(self, request: ApprovalRequest) -> bool:
        """Whether what nobody can make anew of a request is not as this library makes it.

        Who can write to the store could raise the ceiling, or keep from people how many rows there are. What
        this process has asked itself it knows; of others it knows how a ceiling follows from rows.
        """
        known = self._sealed.get(request.id)
        if known is not None:
            return known != request.seal()
        lasts = timedelta(seconds=self.settings.ask_seconds)
        return (
            request.ceiling != ceiling_of(request, self.settings.headroom_percent)
            or request.expires - request.requested != lasts
        )

    def _answered(self, signed: SignedAnswer, person: Person, request: ApprovalRequest) -> None:
        """Put an answer that counts on record, by whoever meets it first: who takes it in, or who uses it.

        Between the two there can be another machine, whose journal an auditor of this one does not have.
        """
        answer = signed.answer
        self._once(
            signed,
            "approval.granted" if answer.granted else "approval.denied",
            who=person.identity,
            request=request.id,
            answer=signed.id,
            key=f"{person.key.name}+{person.key.id.hex()}",
            via=person.via,
            requester=str(request.requester),
            statement=request.statement,
            rule=request.rule,
            reason=answer.reason,
            expires=answer.expires.isoformat(),
        )
        if not answer.granted:
            with self._lock:
                _keep(self._denied, request.id, answer.expires)

    def _once(self, signed: SignedAnswer, event: str, **details: Any) -> None:
        """Put something about an answer on record, once in this process."""
        if event == "approval.refused" and details.get("reason") == EXPIRED:
            event = "approval.expired"
        with self._lock:
            if (signed.id, event) in self._told:
                return
        self.on_event(event, **details)
        with self._lock:
            _keep(self._told, (signed.id, event), None)

    def _purge(self, now: datetime) -> None:
        if time.monotonic() < self._purged + PURGE_SECONDS:
            return
        self._purged = time.monotonic()
        with suppress(StoreUnavailable):  # the next one does it
            self.store.purge(before=now - timedelta(days=self.settings.keep_days))

    def _ask(self, question: Callable[[], Answered]) -> Answered:
        try:
            return question()
        except StoreUnavailable as error:
            remedy = error.remedy or "try again when the store of approvals can be reached"
            again = "" if error.retryable else " Trying the same again will not help."
            raise ApprovalsUnavailable(
                f"{str(error).rstrip('.')}; what people have to agree to does not run while nobody can be"
                f" asked [rule approval.store]. {remedy[:1].upper()}{remedy[1:].rstrip('.')}.{again}",
                rule="approval.store",
                remedy=remedy,
                retryable=error.retryable,
            ) from None


def _keep(known: dict[Key, Value], key: Key, value: Value) -> None:
    known[key] = value
    while len(known) > _KEPT:
        known.pop(next(iter(known)))


def _must_be_open(filed: Filed, now: datetime) -> None:
    """Refuse what nobody can answer any more.

    Raises:
        GovernanceError: its rule is ``approval.closed``.
    """
    if over := filed.over(now):
        became = "has expired" if over == "expired" else f"was {over}"
        raise GovernanceError(
            f"the request {filed.request.id} {became}: it is not open any more",
            rule="approval.closed",
            remedy="the caller has to ask again",
        )


def _now() -> datetime:
    return datetime.now(UTC)

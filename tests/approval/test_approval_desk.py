"""The desk: what an approval is bound to, who can give one, and what a store cannot make of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from governed_db import Identity
from governed_db.approval import Question, SignedAnswer
from governed_db.approval import desk as desks
from governed_db.approval.answer import sign_answer
from governed_db.approval.binding import bind
from governed_db.approval.desk import Desk
from governed_db.approval.people import People
from governed_db.approval.request import ApprovalRequest
from governed_db.approval.sqlite import SQLiteStore
from governed_db.approval.store import StoreUnavailable
from governed_db.errors import ApprovalsUnavailable, AuditUnavailable, GovernanceError
from governed_db.identity.model import standing
from governed_db.note import BadNote
from governed_db.policy.settings import ApprovalSettings
from tests import approvers
from tests.approvers import ANNA, BEN, CARL, Person

MARIA = Identity.human("maria")
BOT = Identity.agent("bot", on_behalf_of=MARIA, session="s-1", tool_call="c-1", purpose="tidy")
BOTH = Person("maria")
PORTAL = approvers.Desk("portal")
LOGIN = approvers.Desk("login", issuer="https://login.example")
NAMED = (ANNA, BEN, CARL, BOTH)

# -- what it is bound to


def digest(**changes: Any) -> bytes:
    given: dict[str, Any] = {
        "text": b"DELETE FROM t WHERE x = $1",
        "params": [b"1"],
        "types": (21,),
        "requester": BOT,
        "policy": "p-1",
        "standing": ("server", "db", "role", "public"),
        "definitions": b"d",
    }
    return bind(**given | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": b"DELETE FROM t WHERE x = $1 "},
        {"params": [b"2"]},
        {"params": [None]},
        {"params": [b""]},
        {"params": [b"1", b""]},
        {"params": [b"", b"1"]},
        {"types": (23,)},
        {"types": (21, 21)},
        {"formats": (1,)},
        {"requester": Identity.agent("bot")},
        {"requester": Identity.agent("bot", on_behalf_of=Identity.human("ben"))},
        {"requester": Identity.agent("bot", on_behalf_of=Identity.agent("maria"))},
        {"requester": Identity.human("bot", on_behalf_of=MARIA)},
        {"requester": evolve(BOT, verified=True)},
        {"requester": evolve(BOT, issuer="https://login.example")},
        {"requester": evolve(BOT, on_behalf_of=evolve(MARIA, verified=True))},
        {"policy": "p-2"},
        {"definitions": b"e"},
        {"binds": "effect"},
        {"standing": ("server", "db", "role", "other")},
        {"standing": ("server", "db", "rolepublic")},
        {"standing": ("server", "db", "role", "public", "")},
    ],
    ids=str,
)
def test_every_part_counts(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()


def test_the_next_tool_call_is_the_same_caller() -> None:
    again = Identity.agent("bot", on_behalf_of=MARIA, session="s-2", tool_call="c-2", purpose="else")
    assert digest(requester=again) == digest()


# -- the desk


class Told(list[tuple[str, dict[str, Any]]]):
    """What was put on record; ``fails``: names of what cannot be."""

    fails: frozenset[str] = frozenset()

    def __call__(self, name: str, **details: Any) -> None:
        if name in self.fails:
            raise AuditUnavailable("no journal")
        self.append((name, details))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def desk(tmp_path: Path, told: Told) -> Iterator[Desk]:
    people = People(
        approvers=tuple(person.approver for person in NAMED), authorities=(PORTAL.authority, LOGIN.authority)
    )
    made = Desk(SQLiteStore(tmp_path / "state" / "approvals.sqlite"), ApprovalSettings(people=people), told)
    yield made
    made.close()


def asking(**changes: Any) -> Question:
    given: dict[str, Any] = {
        "digest": digest(),
        "requester": standing(BOT),
        "statement": "DELETE FROM t WHERE x = $1",
        "sql": "DELETE FROM t WHERE x = 'secret-value'",
        "values": ("$1 = secret-value",),
        "rule": "unconstrained-changes",
        "policy": "p-1",
    }
    return Question(**given | changes)


QUESTION = asking()


@contextmanager
def refused(rule: str, says: str) -> Iterator[None]:
    """What must not pass raises this, and says so."""
    with pytest.raises(GovernanceError, match=says) as caught:
        yield
    assert caught.value.rule == rule


def test_a_yes_is_taken_once_among_many(desk: Desk, told: Told) -> None:
    request = desk.file(QUESTION, BOT, rows=3, ceiling=4)
    assert desk.approve(request.id, key=ANNA.key, reason="fine").agreed
    standing_ = desk.standing(QUESTION)
    assert standing_ is not None
    got: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(desk.claim(standing_, by=str(n)))) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(True) == 1
    assert desk.standing(QUESTION) is None
    # What somebody signed is in the trail: an auditor needs no store.
    evidence = told[told.names.index("approval.verified")][1]
    assert "governed_db approval answer v1" in evidence["answers"][0]
    assert evidence["seal"] == request.seal()
    assert "secret-value" not in str(told)
    with refused("approval.closed", "was used"):
        desk.approve(request.id, key=BEN.key)


def test_asking_twice_is_one_request(desk: Desk) -> None:
    first = desk.file(QUESTION, BOT)
    assert desk.file(QUESTION, evolve(BOT, tool_call="c-2")).id == first.id
    assert [request.id for request in desk.pending()] == [first.id]
    assert desk.file(asking(digest=digest(params=[b"2"])), BOT).id != first.id


@pytest.mark.parametrize(
    ("key", "by", "says"),
    [
        (BOTH.key, None, "whom the requester acts for"),
        (PORTAL.key, Identity.human("MARIA"), "not vouch for people whom the policy does not name"),
        (LOGIN.key, Identity.human("bot"), "not vouch"),
        (ANNA.key, Identity.human("ben"), "signs for anna alone"),
        (ANNA.key, Identity.agent("anna"), "only people"),
        (ANNA.key, Identity.service("anna"), "only people"),
        (CARL.key, None, "member of dba"),
        (PORTAL.key, Identity.human("carl", groups=("dba",)), "member of dba"),
    ],
    ids=lambda value: str(getattr(value, "public", value))[:20],
)
def test_who_may_not_answer(desk: Desk, key: Any, by: Identity | None, says: str) -> None:
    request = desk.file(asking(approvers=("dba",)), BOT)
    for act in (desk.approve, desk.deny):
        with refused("approval.approver", says):
            act(request.id, key=key, by=by)
    assert not desk.get(request.id).answers


def test_a_key_that_the_policy_does_not_name(desk: Desk) -> None:
    request = desk.file(QUESTION, BOT)
    with refused("approval.key", "nobody whose key"):
        desk.approve(request.id, key=Person("anna", "dba").key)
    with refused("approval.key", "say for whom"):
        desk.approve(request.id, key=PORTAL.key)


def test_an_authority_speaks_for_whom_it_may(desk: Desk) -> None:
    request = desk.file(asking(approvers=("dba",), needed=2), BOT)
    desk.approve(request.id, key=PORTAL.key, by=Identity.human("anna"))
    dora = evolve(Identity.human("dora", groups=("dba",)), issuer="https://login.example")
    found = desk.approve(request.id, key=LOGIN.key, by=dora)
    assert found.agreed
    assert [(person.identity.subject, person.via) for person in found.granted] == [
        ("anna", "portal"),
        ("dora", "login"),
    ]


def test_several_people_are_several_people(desk: Desk) -> None:
    request = desk.file(asking(needed=3), BOT)
    desk.approve(request.id, key=ANNA.key)
    for key, by in ((ANNA.key, None), (PORTAL.key, Identity.human("anna"))):
        with refused("approval.approver", "asks for 3 different people"):
            desk.approve(request.id, key=key, by=by)
    # Straight into the store: it counts once all the same.
    again = sign_answer(request, PORTAL.key, by=ANNA.approver.identity(), granted=True, reason="again")
    assert desk.store.answer(again, most=10)
    assert len(desk.stands(desk.get(request.id), datetime.now(UTC)).granted) == 1
    assert not desk.approve(request.id, key=BEN.key).agreed
    assert desk.approve(request.id, key=CARL.key).agreed


def test_one_no_is_enough_and_says_why(desk: Desk, told: Told) -> None:
    request = desk.file(asking(needed=2), BOT)
    desk.approve(request.id, key=ANNA.key)
    desk.deny(request.id, key=BEN.key, reason="that is every order")
    for _ in range(2):
        found = desk.standing(asking(needed=2))
        assert found is not None
        assert found.denied is not None
        assert (found.denied.identity.subject, found.because) == ("ben", "that is every order")
    assert not desk.approve(request.id, key=CARL.key).agreed
    assert desk.pending() == []
    assert told[told.names.index("approval.denied")][1]["who"].subject == "ben"


def test_an_answer_holds_for_its_time(desk: Desk, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    request = desk.file(asking(valid_seconds=60), BOT)
    desk.approve(request.id, key=ANNA.key)
    now = datetime.now(UTC)
    monkeypatch.setattr(desks, "_now", lambda: now + timedelta(seconds=61))
    for _ in range(2):
        found = desk.standing(asking(valid_seconds=60))
        assert found is not None
        assert not found.agreed
    assert told.names.count("approval.expired") == 1
    # The request goes on, and can be answered again.
    assert desk.approve(request.id, key=ANNA.key).agreed
    monkeypatch.setattr(desks, "_now", lambda: now + timedelta(seconds=ApprovalSettings().ask_seconds + 1))
    assert desk.standing(asking(valid_seconds=60)) is None
    with refused("approval.closed", "has expired"):
        desk.approve(request.id, key=BEN.key)


def _forged(request: ApprovalRequest) -> Iterator[tuple[SignedAnswer, str]]:
    anna, stranger = ANNA.approver.identity(), Person("anna", "dba")
    yield sign_answer(request, stranger.key, by=anna, granted=True), "no key that the policy names"
    true = sign_answer(request, ANNA.key, by=anna, granted=False)
    lie = evolve(true.answer, granted=True)
    note = true.note.replace(b'"granted":false', b'"granted":true')
    yield SignedAnswer(lie, note), "no key that the policy names"
    other = evolve(request, id="apr_ffffffffffffffff")
    replayed = sign_answer(other, ANNA.key, by=anna, granted=True)
    yield evolve(replayed, answer=replayed.answer), "another request"
    altered = evolve(request, ceiling=10**9)
    yield sign_answer(altered, ANNA.key, by=anna, granted=True), "about another text"
    early = request.requested - timedelta(hours=1)
    yield sign_answer(request, ANNA.key, by=anna, granted=True, now=early), "not signed between"
    late = datetime.now(UTC) + timedelta(hours=1)
    yield sign_answer(request, ANNA.key, by=anna, granted=True, now=late), "not signed between"
    yield sign_answer(request, CARL.key, by=evolve(anna, subject="carl"), granted=True), "member of dba"
    yield sign_answer(request, BOTH.key, by=BOTH.approver.identity(), granted=True), "acts for"


@pytest.mark.parametrize("which", range(8))
def test_what_somebody_puts_into_the_store_is_no_approval(desk: Desk, told: Told, which: int) -> None:
    asked = asking(approvers=("dba",))
    request = desk.file(asked, BOT, rows=3, ceiling=4)
    signed, why = list(_forged(request))[which]
    if signed.answer.request == request.id:
        with refused("approval.answer", why):
            desk.hand_in(signed)
    inserted = evolve(signed, answer=evolve(signed.answer, request=request.id))
    assert desk.store.answer(inserted, most=10)
    told.clear()
    for _ in range(3):
        found = desk.standing(asked)
        assert found is not None
        assert not found.granted
    reasons = [details["reason"] for name, details in told if name == "approval.refused"]
    # Once on record, however often it is looked at; what was handed in and refused is on record already.
    assert len(reasons) <= 1
    assert all(why in reason for reason in reasons)
    assert desk.approve(request.id, key=ANNA.key).agreed


def test_a_request_that_was_altered_is_withdrawn(desk: Desk, told: Told) -> None:
    changed = asking(sql="DELETE FROM t WHERE x = 'something harmless'")
    request = desk.file(changed, BOT)  # under the digest of another call
    desk.approve(request.id, key=ANNA.key)
    assert desk.standing(QUESTION) is None
    assert "was altered" in told[told.names.index("approval.refused")][1]["reason"]
    assert desk.pending() == []


def test_what_was_shown_is_what_is_signed(desk: Desk) -> None:
    request = desk.file(QUESTION, BOT)
    for act in (desk.approve, desk.deny):
        with refused("approval.altered", "altered since"):
            act(request.id, key=ANNA.key, seal=evolve(request, rows=1).seal())
    assert desk.approve(request.id, key=ANNA.key, seal=request.seal()).agreed


@pytest.mark.parametrize(
    "event", ["approval.requested", "approval.granted", "approval.verified", "approval.withdrawn"]
)
def test_what_cannot_be_recorded_does_not_count(desk: Desk, told: Told, event: str) -> None:
    def all_of_it() -> None:
        request = desk.file(QUESTION, BOT)
        found = desk.approve(request.id, key=ANNA.key)
        desk.claim(found, by="me")

    told.fails = frozenset({event})
    if event == "approval.withdrawn":
        request = desk.file(QUESTION, BOT)
        with pytest.raises(AuditUnavailable):
            desk.withdraw(request.id, by=MARIA)
        assert desk.pending()
        return
    with pytest.raises(AuditUnavailable):
        all_of_it()
    found = desk.standing(QUESTION)
    filed = event != "approval.requested"
    assert (found is not None) == filed
    if found is not None:
        assert found.agreed == (event == "approval.verified")
        assert desk.get(found.request.id).used is None


def test_a_withdrawn_request_is_over(desk: Desk, told: Told) -> None:
    request = desk.file(QUESTION, BOT)
    desk.approve(request.id, key=ANNA.key)
    desk.withdraw(request.id, by=MARIA, reason="asked twice")
    assert told[-1][1]["reason"] == "asked twice"
    assert desk.standing(QUESTION) is None
    with refused("approval.closed", "not open any more"):
        desk.withdraw(request.id, by=MARIA)
    with refused("approval.closed", "was withdrawn"):
        desk.approve(request.id, key=BEN.key)
    assert "approval.granted" not in told.names[told.names.index("approval.withdrawn") :]
    with refused("approval.unknown", "there is no"):
        desk.withdraw("apr_0", by=MARIA)


def test_a_caller_in_a_loop_does_not_bury_the_others(desk: Desk) -> None:
    desk.settings = evolve(desk.settings, most_open=3)
    for n in range(3):
        desk.file(asking(digest=digest(text=b"%d" % n)), BOT)
    with refused("approval.many", "3 requests open"):
        desk.file(QUESTION, BOT)
    other = Identity.agent("other")
    assert desk.file(asking(digest=digest(requester=other), requester=other), other)


def test_a_reason_has_an_end_and_a_key_has_to_sign(desk: Desk) -> None:
    request = desk.file(QUESTION, BOT)
    with refused("approval.answer", "at most"):
        desk.approve(request.id, key=ANNA.key, reason="x" * 5000)
    broken = evolve(ANNA.key, sign=lambda _: bytes(64))
    with refused("approval.answer", "no signature"):
        desk.approve(request.id, key=broken)
    with pytest.raises(BadNote):
        sign_answer(request, broken, by=MARIA, granted=True)


class _Gone:
    def close(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        def gone(*_: Any, **__: Any) -> None:
            raise StoreUnavailable("the store is gone")

        return gone


def test_a_store_that_is_gone_agrees_to_nothing(desk: Desk) -> None:
    request = desk.file(QUESTION, BOT)
    found = desk.approve(request.id, key=ANNA.key)
    assert desk.look().open == {request.digest}
    desk.store = _Gone()  # type: ignore[assignment]  # every method of a store, and each of them fails
    assert desk.look().open == frozenset()
    for work in (
        lambda: desk.standing(QUESTION),
        lambda: desk.claim(found, by="me"),
        lambda: desk.file(asking(digest=b"2"), BOT),
        desk.pending,
        lambda: desk.approve(request.id, key=BEN.key),
        lambda: desk.withdraw(request.id, by=MARIA),
    ):
        with pytest.raises(ApprovalsUnavailable) as caught:
            work()
        assert caught.value.retryable
        assert caught.value.rule == "approval.store"

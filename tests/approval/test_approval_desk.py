"""Approvals: bound to one call by one caller, given once, by somebody else, in time."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from governed_db import Governor, Identity
from governed_db.approval import ProcessApprovals
from governed_db.approval.desk import MAX_REQUESTS
from governed_db.approval.request import ask, bind
from governed_db.errors import GovernanceError

BOT = Identity.agent("bot", on_behalf_of=Identity.human("anna"), session="s-1", tool_call="c-1")
BERT = Identity.human("bert", groups=("dba",))


@pytest.fixture(scope="module")
def decision(tmp_path_factory):
    governor = Governor.preset("standard", state_dir=tmp_path_factory.mktemp("state"))
    yield governor.check("DELETE FROM t", identity=BOT)
    governor.close()


def digest(decision, **changes) -> bytes:
    given = {
        "text": b"DELETE FROM t WHERE x = $1",
        "params": [b"1"],
        "types": (21,),
        "requester": BOT,
        "decision": decision,
        "standing": ("db", "role", "public"),
    } | changes
    return bind(**given)


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
        {"requester": Identity.agent("bot", on_behalf_of=Identity.human("bert"))},
        {"requester": Identity.agent("bot")},
        {"requester": Identity.human("bot", on_behalf_of=Identity.human("anna"))},
        {"standing": ("db", "role", "other")},
        {"standing": ("db", "rolepublic")},
    ],
)
def test_every_part_counts(decision, changes):
    assert digest(decision, **changes) != digest(decision)


def test_the_next_tool_call_is_the_same_caller(decision):
    again = Identity.agent("bot", on_behalf_of=Identity.human("anna"), session="s-2", tool_call="c-2")
    assert digest(decision, requester=again) == digest(decision)


def filed(decision, desk=None):
    desk = desk or ProcessApprovals()
    return desk, desk.file(ask(digest(decision), BOT, decision))


def test_an_approval_is_given_once_among_many_claimants(decision):
    desk, request = filed(decision)
    desk.approve(request.id, by=BERT)
    got = []
    threads = [threading.Thread(target=lambda: got.append(desk.claim(request.digest))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([a for a in got if a is not None]) == 1


def test_asking_twice_is_one_request(decision):
    desk, request = filed(decision)
    assert filed(decision, desk)[1] is request
    assert desk.pending() == [request]


@pytest.mark.parametrize(
    ("by", "why"),
    [
        (Identity.human("anna"), "requester"),
        (Identity.human("bot"), "requester"),
        (Identity.agent("bert"), "only people"),
        (Identity.service("bert"), "only people"),
    ],
)
def test_who_may_not_answer(decision, by, why):
    desk, request = filed(decision)
    with pytest.raises(GovernanceError, match=why):
        desk.approve(request.id, by=by)
    assert desk.claim(request.digest) is None


def test_the_group_counts(decision):
    desk, request = filed(decision.replace(approvers=("dba",)))
    with pytest.raises(GovernanceError, match="dba"):
        desk.approve(request.id, by=Identity.human("carl"))
    desk.approve(request.id, by=BERT)


def test_an_approval_expires(decision):
    desk, request = filed(decision, ProcessApprovals(time_to_live=timedelta(0)))
    desk.approve(request.id, by=BERT)
    assert desk.claim(request.digest) is None


def test_a_denial_stays_and_says_why(decision):
    desk, request = filed(decision)
    desk.deny(request.id, by=BERT, reason="no")
    for _ in range(2):
        answer = desk.claim(request.digest)
        assert answer is not None
        assert (answer.granted, answer.reason) == (False, "no")


def test_an_answer_that_cannot_be_recorded_does_not_count(decision):
    def broken(_):
        raise GovernanceError("no journal")

    desk, request = filed(decision, ProcessApprovals(on_answer=broken))
    with pytest.raises(GovernanceError):
        desk.approve(request.id, by=BERT)
    assert desk.claim(request.digest) is None


def test_a_loop_does_not_fill_memory(decision):
    desk = ProcessApprovals()
    for n in range(MAX_REQUESTS + 10):
        desk.file(ask(digest(decision, text=b"%d" % n), BOT, decision))
    assert len(desk.pending()) == MAX_REQUESTS


def test_a_request_shows_no_values(decision):
    _, request = filed(decision)
    assert request.statement == "DELETE FROM t"
    assert str(digest(decision)) not in repr(request)

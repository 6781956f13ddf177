"""Requests and answers as values: written one way, read back whole, and worth nothing once altered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from governed_db.approval import People, keys
from governed_db.approval.answer import read_answer, sign_answer
from governed_db.approval.effect import ChangedRow, Effect
from governed_db.approval.people import not_valid
from governed_db.approval.request import ApprovalRequest, Question
from governed_db.approval.shown import visible
from governed_db.identity.model import Identity, standing
from tests.approvers import ANNA, BEN, Desk

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORDS = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
NAMES = st.lists(WORDS, max_size=3).map(tuple)
SUBJECTS = st.text(alphabet="abcXYZ.-@", min_size=1, max_size=12)
IDENTITIES = st.builds(
    Identity.agent,
    SUBJECTS,
    on_behalf_of=st.none() | SUBJECTS,
    session=st.none() | WORDS,
    purpose=st.none() | WORDS,
)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
CELLS = st.lists(st.none() | WORDS, max_size=2).map(tuple)
EFFECTS = st.none() | st.builds(
    Effect,
    digest=WORDS,
    salt=WORDS,
    rows=st.integers(0, 9),
    relation=WORDS,
    key=NAMES,
    columns=NAMES,
    shown=st.lists(st.builds(ChangedRow, key=NAMES, before=CELLS, after=CELLS), max_size=2).map(tuple),
)
QUESTIONS = st.builds(
    Question,
    digest=st.binary(min_size=32, max_size=32),
    requester=IDENTITIES.map(standing),
    statement=WORDS,
    sql=WORDS,
    values=NAMES,
    reason=WORDS,
    relations=NAMES,
    columns=NAMES,
    search_path=NAMES,
    approvers=NAMES,
    needed=st.integers(1, 5),
)
REQUESTS = st.builds(
    ApprovalRequest,
    id=WORDS,
    question=QUESTIONS,
    requester=IDENTITIES,
    requested=TIMES,
    expires=TIMES,
    rows=st.none() | st.integers(0, 10**9),
    ceiling=st.none() | st.integers(0, 10**9),
    cost=st.none() | st.floats(0, 1e9),
    effect=EFFECTS,
)


def request(**changes) -> ApprovalRequest:
    question = Question(
        digest=b"d" * 32, requester=Identity.agent("bot", on_behalf_of="u-1"), statement="DELETE FROM t"
    )
    made = ApprovalRequest(
        id="apr_1",
        question=question,
        requester=Identity.agent("bot", on_behalf_of="u-1", session="s"),
        requested=NOW,
        expires=NOW + timedelta(days=1),
        rows=3,
        ceiling=4,
    )
    return evolve(made, **changes)


PEOPLE = People(approvers=(ANNA.approver, BEN.approver))


@given(REQUESTS)
def test_a_request_is_read_back_whole(made):
    again = ApprovalRequest.load(made.dump())
    assert again == made
    assert again.seal() == made.seal()


@given(REQUESTS, REQUESTS)
def test_other_requests_have_other_seals(one, other):
    assert (one.seal() == other.seal()) is (one.dump() == other.dump())


@given(st.binary(max_size=300))
def test_what_is_no_request_is_refused(data):
    with pytest.raises(ValueError, match="cannot be read"):
        ApprovalRequest.load(data)


SIGNED = sign_answer(request(), ANNA.key, by=ANNA.approver.identity(), granted=True, reason="fine", now=NOW)


@given(st.integers(0, len(SIGNED.note) - 1), st.integers(1, 255))
def test_any_altered_byte_of_an_answer_is_worth_nothing(place, change):
    note = bytearray(SIGNED.note)
    note[place] ^= change
    try:
        read = read_answer(bytes(note))
    except ValueError:
        return
    person, why = not_valid(read, request(), PEOPLE, NOW)
    assert person is None
    assert why


def test_the_answer_itself_counts():
    person, why = not_valid(read_answer(SIGNED.note), request(), PEOPLE, NOW)
    assert why == ""
    assert person.identity.subject == "anna"
    assert "dba" in person.identity.groups


OTHER = evolve(request().question, statement="DROP TABLE t")


@pytest.mark.parametrize(
    ("asked", "at", "people", "why"),
    [
        (request(id="apr_2"), NOW, PEOPLE, "another request"),
        (request(question=OTHER), NOW, PEOPLE, "altered"),
        (request(ceiling=10**6), NOW, PEOPLE, "altered"),
        (request(rows=None), NOW, PEOPLE, "altered"),
        (request(), NOW + timedelta(seconds=900), PEOPLE, "expired"),
        (request(), NOW - timedelta(minutes=2), PEOPLE, "between the request and now"),
        (request(), NOW, People(approvers=(BEN.approver,)), "no key that the policy names"),
    ],
)
def test_an_answer_is_to_one_request_at_one_time_by_one_person(asked, at, people, why):
    person, said = not_valid(SIGNED, asked, people, at)
    assert person is None
    assert why in said


@pytest.mark.parametrize(
    ("requester", "approvers", "why"),
    [
        (Identity.agent("anna"), (), "the requester"),
        (Identity.agent("bot", on_behalf_of="ANNA"), (), "the requester"),
        (Identity.agent("bot", on_behalf_of=Identity.service("x", on_behalf_of="anna")), (), "the requester"),
        (Identity.agent("bot"), ("security",), "a member of security"),
    ],
)
def test_who_may_not_answer(requester, approvers, why):
    asked = request(
        requester=requester, question=evolve(request().question, requester=requester, approvers=approvers)
    )
    signed = sign_answer(asked, ANNA.key, by=ANNA.approver.identity(), granted=True, now=NOW)
    person, said = not_valid(signed, asked, PEOPLE, NOW)
    assert person is None
    assert why in said


def test_nobody_signs_for_somebody_else():
    signed = sign_answer(request(), ANNA.key, by=BEN.approver.identity(), granted=True, now=NOW)
    assert not_valid(signed, request(), PEOPLE, NOW)[1] == "the key of anna signs for anna alone"


def test_nobody_brings_groups_of_their_own():
    asked = request(question=evolve(request().question, approvers=("security",)))
    boast = Identity.human("anna", groups=["security"])
    signed = sign_answer(asked, ANNA.key, by=boast, granted=True, now=NOW)
    assert "a member of security" in not_valid(signed, asked, PEOPLE, NOW)[1]


@pytest.mark.parametrize("by", [Identity.agent("anna"), Identity.service("anna"), Identity.parse("unknown")])
def test_only_people_answer(by):
    signed = sign_answer(request(), ANNA.key, by=by, granted=True, now=NOW)
    assert not_valid(signed, request(), PEOPLE, NOW)[1] == "only people approve"


def test_an_answer_cannot_hold_for_longer_than_was_asked():
    asked = request(question=evolve(request().question, valid_seconds=60))
    long = sign_answer(request(), ANNA.key, by=ANNA.approver.identity(), granted=True, now=NOW).answer
    from governed_db.approval.answer import SignedAnswer
    from governed_db.note import sign

    answer = evolve(long, seal=asked.seal())
    signed = SignedAnswer(answer, sign(answer.text(), (ANNA.key.public, ANNA.key.sign)).dump())
    assert "longer than the request allows" in not_valid(signed, asked, PEOPLE, NOW)[1]


def test_an_authority_vouches_for_whom_it_may():
    portal, stranger = Desk("portal"), Identity.human("zoe", groups=["dba"])
    people = People(approvers=(ANNA.approver,), authorities=(portal.authority,))
    named = sign_answer(
        request(), portal.key, by=Identity.human("anna", groups=["king"]), granted=True, now=NOW
    )
    person, _ = not_valid(named, request(), people, NOW)
    assert person.via == "portal"
    assert person.identity.groups == {"dba"}
    unnamed = sign_answer(request(), portal.key, by=stranger, granted=True, now=NOW)
    assert "may not vouch" in not_valid(unnamed, request(), people, NOW)[1]

    issuer = "https://login.example"
    sso = Desk("sso", issuer)
    people = People(authorities=(sso.authority,))
    employee = evolve(stranger, issuer=issuer)
    signed = sign_answer(request(), sso.key, by=employee, granted=True, now=NOW)
    person, why = not_valid(signed, request(), people, NOW)
    assert (why, person.identity.groups, person.identity.verified) == ("", {"dba"}, True)
    elsewhere = sign_answer(request(), sso.key, by=stranger, granted=True, now=NOW)
    assert "may not vouch" in not_valid(elsewhere, request(), people, NOW)[1]


def test_reprs_show_no_values_and_no_keys():
    shown = request(question=evolve(request().question, sql="SELECT 'secret'", values=("$1 = secret",)))
    assert "secret" not in repr(shown)
    assert repr(ANNA.key).count("sign=") == 0


def test_a_key_needs_a_name():
    with pytest.raises(ValueError, match="no spaces"):
        keys.new("a b")


def test_what_a_terminal_would_not_show_is_written_out():
    assert visible("a\u202eb\x1b[2J\nc") == "a\\u202eb\\u001b[2J\nc"

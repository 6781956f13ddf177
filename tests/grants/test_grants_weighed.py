"""What a grant covers and what it does not, whatever stands in the store. No server."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed_db import Governor, Identity
from governed_db.approval import Approver, People, StoreUnavailable, keys
from governed_db.approval.sqlite import SQLiteStore
from governed_db.audit import reader
from governed_db.errors import ApprovalsUnavailable, GovernanceError, PolicyError
from governed_db.grants import Grant, Grantee, register
from governed_db.grants.register import weighed
from governed_db.grants.signing import Revocation, read_note, sign_grant
from governed_db.policy import load, preset
from governed_db.policy.settings import GrantSettings
from tests.approvers import ANNA, BEN, CARL, Desk

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
DESK = Desk("portal", issuer="https://id.example.org")

POLICY = """
extends = "standard"
[approvals]
poll_seconds = 0.05
[grants]
signers = ["dba"]
longest_seconds = 7200
never = ["privileges", "public.people.ssn", "secret.*.*"]

[[rule]]
id = "two-people"
when = { effects = ["truncate"], relations = ["public.*"] }
then = "approve"
because = "it takes two"
count = 2
approvers = ["dba"]

[[rule]]
id = "others-ask"
when = { effects = ["drop"], relations = ["public.*"] }
then = "approve"
because = "security is asked"
approvers = ["security"]

[[rule]]
id = "the-rows"
when = { effects = ["delete"], relations = ["public.rows"] }
then = "approve"
because = "people look at the rows"
binds = "effect"
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    path.write_text(POLICY + ANNA.as_toml() + BEN.as_toml() + CARL.as_toml())
    return path


@pytest.fixture
def governor(policy, tmp_path):
    made = Governor.load(policy, state_dir=tmp_path / "state", approvers=[DESK.authority])
    yield made
    made.close()


def grant(to="agent:bot", by=ANNA, **what):
    said = {"starts": NOW, "until": NOW + HOUR, "signed": NOW, "because": "a test"} | what
    to = said.pop("grantee", None) or Grantee.parse(to)
    identity = said.pop("identity", None) or by.approver.identity()
    return Grant(to=to, by=identity, **said)


def put(governor, *notes, until=NOW + HOUR):
    """Write to the store as anybody could."""
    store = governor.approvals.store
    for number, note in enumerate(notes):
        store.add_grant(f"row{number}{hash(note)}", note, expires=until)
    governor.approvals.look()


def note(said, by=ANNA):
    return sign_grant(said, by.key).note


def refusals(governor):
    if not governor.trail.folder.exists():
        return []
    entries = reader.read(governor.trail.folder)
    return [e["details"]["reason"] for e in entries if e.get("event") == "grant.refused"]


def allows(governor, sql, identity):
    return governor.check(sql, identity=identity).verdict == "allow"


BOT = Identity.agent("bot")
LOCK = "LOCK TABLE public.things"
RULE = {"rules": ["locks"]}


@pytest.mark.parametrize(
    ("to", "caller", "covered"),
    [
        (Grantee.parse("agent:bot"), BOT, True),
        (Grantee.parse("agent:bot"), Identity.agent("bot", session="s", tool_call="t", purpose="p"), True),
        (Grantee.parse("agent:bot"), Identity.agent("bot", on_behalf_of="u-1"), True),
        (Grantee.parse("agent:bot"), Identity.agent("Bot"), False),
        (Grantee.parse("agent:bot"), Identity.agent("other"), False),
        (Grantee.parse("agent:bot"), Identity.human("bot"), False),
        (Grantee.parse("agent:bot"), Identity.agent("other", on_behalf_of=BOT), False),
        (Grantee.parse("group:ops"), Identity.agent("bot", groups=["ops"]), True),
        (Grantee.parse("group:ops"), Identity.agent("ops"), False),
        (
            Grantee.parse("group:ops"),
            Identity.agent("bot", on_behalf_of=Identity.human("u", groups=["ops"])),
            False,
        ),
        (
            Grantee.parse("agent:bot", on_behalf_of="human:u-1"),
            Identity.agent("bot", on_behalf_of=Identity.human("u-1")),
            True,
        ),
        (
            Grantee.parse("agent:bot", on_behalf_of="human:u-1"),
            Identity.agent("bot", on_behalf_of="u-1"),
            False,
        ),
        (
            Grantee.parse("agent:bot", on_behalf_of="u-1"),
            Identity.agent("bot", on_behalf_of=Identity.human("u-1")),
            True,
        ),
        (Grantee.parse("agent:bot", on_behalf_of="u-1"), Identity.agent("bot", on_behalf_of="u-2"), False),
        (
            Grantee.parse("agent:bot", on_behalf_of="human:u-1"),
            Identity.agent("bot", on_behalf_of="human:u-1"),  # of an unknown kind, and called so
            False,
        ),
        (
            Grantee.parse("agent:bot", on_behalf_of="urn:u-1"),
            Identity.agent("bot", on_behalf_of=Identity.human("urn:u-1")),
            True,
        ),
        (Grantee.parse("agent:bot", on_behalf_of="u-1"), BOT, False),
        (Grantee.parse("agent:bot", issuer="https://id"), BOT, False),
        (
            Grantee.parse("agent:bot", issuer="https://id"),
            Identity(kind="agent", subject="bot", issuer="https://id"),
            False,
        ),
        (
            Grantee.parse("agent:bot", issuer="https://id"),
            Identity(kind="agent", subject="bot", issuer="https://id", verified=True),
            True,
        ),
        (
            Grantee.parse("agent:bot", issuer="https://id"),
            Identity(kind="agent", subject="bot", issuer="https://di", verified=True),
            False,
        ),
        # Four eyes: never for the signer, nor for what acts for the signer, whatever kind and issuer it has.
        (Grantee.parse("group:ops"), Identity.human("anna", groups=["ops"]), False),
        (Grantee.parse("group:ops"), Identity.agent("ANNA", groups=["ops"]), False),
        (Grantee.parse("agent:bot"), Identity.agent("bot", on_behalf_of="anna"), False),
        (
            Grantee.parse("agent:bot"),
            Identity.agent("bot", on_behalf_of=Identity.agent("t", on_behalf_of="Anna")),
            False,
        ),
    ],
)
def test_who_is_meant(governor, to, caller, covered):
    put(governor, note(grant(grantee=to, **RULE)))
    assert allows(governor, LOCK, caller) is covered
    assert refusals(governor) == []


LIKE = {"fingerprint": "0" * 16, "rows": 10}


@pytest.mark.parametrize(
    ("what", "sql", "covered"),
    [
        (RULE, LOCK, True),
        (RULE, "VACUUM", False),
        (RULE | {"on": ["public.things"]}, LOCK, True),
        (RULE | {"on": ["public.th*"]}, LOCK, True),
        (RULE | {"on": ["*.things"]}, "LOCK TABLE public.things, public.others", False),
        (RULE | {"on": ["public.others"]}, LOCK, False),
        # Without a database nobody knows which schema a bare name means.
        (RULE | {"on": ["public.things"]}, "LOCK TABLE things", False),
        (RULE | {"database": "shop"}, LOCK, False),
        (RULE | {"starts": NOW + timedelta(minutes=45)}, LOCK, False),
        ({"rules": ["locks", "truncate"]}, "LOCK TABLE public.things; TRUNCATE public.things", False),
        ({"rules": ["schema-changes"]}, "CREATE TABLE public.t (a int)", True),
        ({"rules": ["schema-changes"]}, "CREATE TABLE public.t AS SELECT pg_read_file('/x')", False),
        ({"rules": ["schema-changes"], "on": ["public.t"]}, "CREATE TABLE public.t (a int)", True),
        ({"rows": 200}, LOCK, False),
        ({"rows": 3}, "INSERT INTO public.t VALUES " + ", ".join(["(1)"] * 101), False),
        ({"rows": 101}, "INSERT INTO public.t VALUES " + ", ".join(["(1)"] * 101), True),
        ({"rows": 101, "on": ["public.u"]}, "INSERT INTO public.t VALUES " + ", ".join(["(1)"] * 101), False),
        (LIKE, LOCK, False),
        # What is no rule, what is not understood, and what the policy never lets go.
        ({"rules": ["default"]}, LOCK, False),
        # Rules that people are asked by ask the signer's group and as many signers.
        ({"rules": ["two-people"]}, "TRUNCATE public.things", False),
        ({"rules": ["others-ask"]}, "DROP TABLE public.things", False),
    ],
)
def test_what_is_covered(governor, what, sql, covered):
    put(governor, note(grant(**what)))
    assert allows(governor, sql, BOT) is covered
    assert refusals(governor) == []


def fingerprint(governor, sql):
    return governor.check(sql, identity=BOT).statement.fingerprint


@pytest.mark.parametrize(
    ("sql", "what", "asked", "covered"),
    [
        ("CREATE TABLE public.t (a int)", {}, "CREATE TABLE public.t (a int)", True),
        ("CREATE TABLE public.t (a int)", {}, "CREATE TABLE public.u (a int)", False),
        (
            "CREATE TABLE public.t (a int)",
            {"statement": "CREATE TABLE public.t (a int)"},
            "CREATE TABLE public.t (a int)",
            True,
        ),
        (
            "CREATE TABLE public.t (a int)",
            {"statement": "CREATE TABLE public.t (b int)"},
            "CREATE TABLE public.t (a int)",
            False,
        ),
        # A pattern lets through what people would be asked about, and nothing that is blocked.
        ("LOCK TABLE public.things", {}, "LOCK TABLE public.things", False),
        ("LOCK TABLE public.things", {"rules": ["locks"]}, "LOCK TABLE public.things", True),
        ("LOCK TABLE public.things", {"rules": ["locks"]}, "LOCK TABLE public.others", False),
        ("DELETE FROM public.things", {"on": ["public.others"]}, "DELETE FROM public.things", False),
        ("DELETE FROM public.rows", {}, "DELETE FROM public.rows", False),
        ("TRUNCATE public.things", {}, "TRUNCATE public.things", False),
    ],
)
def test_patterns(governor, sql, what, asked, covered):
    put(governor, note(grant(fingerprint=fingerprint(governor, sql), rows=10, **what)))
    decision = governor.check(asked, identity=BOT)
    assert (decision.verdict == "allow") is covered
    assert decision.row_cap == (10 if covered and "DELETE" in sql else None)


def test_as_many_signers_as_people_who_would_be_asked(governor):
    put(governor, note(grant(rules=["two-people"], rows=7)))
    assert not allows(governor, "TRUNCATE public.things", BOT)
    put(governor, note(grant(rules=["two-people"], by=BEN), BEN))
    decision = governor.check("TRUNCATE public.things", identity=BOT)
    assert decision.verdict == "allow"
    assert len(decision.grants) == 2


WRONG = [
    ("no key that the policy names", lambda: note(grant(**RULE), STRANGER)),
    ("the key of ben signs for ben alone", lambda: note(grant(**RULE), BEN)),
    ("a member of dba", lambda: note(grant(by=CARL, **RULE), CARL)),
    ("lasts for longer", lambda: note(grant(until=NOW + timedelta(hours=3), **RULE))),
    (
        "starts more than 31 days",
        lambda: note(grant(starts=NOW + timedelta(days=40), until=NOW + timedelta(days=40, hours=1), **RULE)),
    ),
    ("no grant waives the rule privileges", lambda: note(grant(rules=["locks", "privileges"]))),
    ("no grant clears public.people.ssn", lambda: note(grant(clear=["public.people.ssn"], **RULE))),
    ("no grant clears secret.a.b", lambda: note(grant(clear=["secret.a.b"], **RULE))),
    ("it is for the signer", lambda: note(grant("human:anna", **RULE))),
    ("it is for the signer", lambda: note(grant("agent:ANNA", **RULE))),
    (
        "it is for the signer",
        lambda: note(grant(grantee=Grantee.parse("agent:bot", on_behalf_of="human:anna"), **RULE)),
    ),
    (
        "its time is over",
        lambda: note(grant(starts=NOW - HOUR, until=NOW - timedelta(seconds=1), signed=NOW - HOUR, **RULE)),
    ),
    ("it cannot be read", lambda: b"rubbish"),
    ("it cannot be read", lambda: note(grant(**RULE)).replace(b'"rules":["locks"]', b'"rules": ["locks"]')),
    ("no key that the policy names", lambda: note(grant(**RULE)).replace(b"agent", b"human")),
    (
        "portal may not vouch",
        lambda: note(grant(identity=Identity.human("eve", groups=["dba"]), **RULE), DESK),
    ),
    (
        "a member of dba",
        lambda: note(
            grant(identity=Identity(kind="human", subject="eve", issuer=DESK.authority.issuer), **RULE), DESK
        ),
    ),
]


class _Stranger:
    """Somebody whose key has the name of another's."""

    key = keys.new("anna")


STRANGER = _Stranger()


@pytest.mark.parametrize(("why", "made"), WRONG)
def test_what_counts_for_nothing_is_on_record_once(governor, why, made):
    put(governor, made())
    for caller in (BOT, Identity.agent("bot", on_behalf_of="anna"), Identity.human("anna")):
        assert not allows(governor, LOCK, caller)
    (reason,) = refusals(governor)
    assert why in reason
    with pytest.raises(GovernanceError) as refused:
        governor.grants.hand_in(made())
    assert refused.value.rule.startswith("grant.")
    assert why in str(refused.value)


def test_an_authority_signs_for_whom_it_knows(governor):
    eve = Identity(kind="human", subject="eve", issuer=DESK.authority.issuer, groups=["dba"])
    put(governor, note(grant(identity=eve, **RULE), DESK), note(grant("agent:other", **RULE), DESK))
    assert allows(governor, LOCK, BOT)
    assert allows(governor, LOCK, Identity.agent("other"))
    assert not allows(governor, LOCK, Identity.agent("bot", on_behalf_of="eve"))


def test_without_groups_whom_the_policy_names_signs(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text('extends = "standard"\n' + CARL.as_toml())
    with_desk = Governor.load(policy, state_dir=tmp_path / "state", approvers=[DESK.authority])
    eve = Identity(kind="human", subject="eve", issuer=DESK.authority.issuer, groups=["dba"])
    put(with_desk, note(grant(identity=eve, **RULE), DESK))
    assert not allows(with_desk, LOCK, BOT)
    put(with_desk, note(grant(by=CARL, **RULE), CARL))
    assert allows(with_desk, LOCK, BOT)
    policy.write_text('extends = "standard"\n[grants]\nenabled = false\n' + CARL.as_toml())
    with_desk.reload()
    assert not allows(with_desk, LOCK, BOT)
    with_desk.close()


@settings(max_examples=60)
@given(data=st.data())
def test_any_changed_byte_gives_nothing(data):
    people = People(approvers=(ANNA.approver, BEN.approver))
    whole = note(grant(**RULE))
    where = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[where]))
    altered = whole[:where] + bytes([byte]) + whole[where + 1 :]
    try:
        signed = read_note(altered)
    except ValueError:
        return
    assert isinstance(weighed(signed, people, GrantSettings()), str)


def test_a_revocation_by_anybody_ends_it_for_good(governor):
    first, second, third = (grant(rules=["locks"], because=str(n)) for n in range(3))
    put(governor, *(note(each) for each in (first, second, third)))
    assert len(governor.check(LOCK, identity=BOT).grants) == 1
    for number, each in enumerate((first, second)):
        governor.grants.revoke(each.id, key=BEN.key, because=f"no {number}")
    forged = Revocation(grant=third.id, until=third.until, at=NOW, by=ANNA.approver.identity())
    put(governor, note(forged, STRANGER))
    assert not allows(governor, LOCK, BOT)
    listed = {entry.id: entry for entry in governor.grants.listed()}
    assert [listed[each.id].standing for each in (first, second, third)] == ["revoked"] * 3
    assert listed[first.id].why == "by ben: no 0"
    # The store forgets the revocations: this process does not.
    (governor.approvals.store.path).unlink()
    put(governor, *(note(each) for each in (first, second, third)))
    assert not allows(governor, LOCK, BOT)


def test_a_store_that_is_gone_grants_nothing(governor):
    put(governor, note(grant(**RULE)))
    assert allows(governor, LOCK, BOT)
    path = governor.approvals.store.path
    path.chmod(0o644)  # others can read it: it is not used
    governor.approvals.look()
    assert not allows(governor, LOCK, BOT)
    with pytest.raises(ApprovalsUnavailable):
        governor.grants.listed()
    path.chmod(0o600)
    governor.approvals.look()
    assert allows(governor, LOCK, BOT)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({}, "gives nothing"),
        ({"rows": -1}, "from 0"),
        ({"rows": True}, "from 0"),
        ({"clear": ["email"]}, "schema.relation.column"),
        ({"rules": ["locks"], "on": ["things"]}, "schema.name"),
        ({"clear": ["a.b.c"], "on": ["a.b"]}, "'on' limits"),
        ({"fingerprint": "abc", "rows": 1}, "16 hexadecimal"),
        ({"fingerprint": "0" * 16, "rules": ["locks"]}, "needs 'rows'"),
        ({"fingerprint": "0" * 16, "rows": 1, "clear": ["a.b.c"]}, "of its own"),
        ({"rules": ["locks"], "because": " "}, "say why"),
        ({"rules": ["locks"], "until": NOW}, "before it starts"),
        ({"rules": ["x\n"]}, "control character"),
        ({"rules": [str(n) for n in range(101)]}, "at most 100"),
        ({"rules": ["locks"], "identity": BOT}, "people sign"),
        ({"rules": ["locks"], "starts": NOW.replace(tzinfo=None)}, "zone"),
    ],
)
def test_what_no_grant_can_say(what, why):
    with pytest.raises(ValueError, match=why):
        grant(**what)


@pytest.mark.parametrize("to", ["bot", "agent:", "group:", "robot:x", "", "unknown"])
def test_a_grant_is_for_somebody(to):
    with pytest.raises(ValueError, match="a grant is for"):
        Grantee.parse(to)


def test_what_is_given_is_taught(governor):
    give = governor.grants.give
    args = {"key": ANNA.key, "lasts": HOUR, "because": "a test"}
    for what, rule in (
        ({"rules": ["no-such-rule"]}, "grant.rule"),
        ({"rules": ["others-ask"]}, "grant.signer"),
        ({"rules": []}, "grant.bad"),
        ({"rules": ["locks"], "starts": NOW - 2 * HOUR}, "grant.expired"),
        ({"rules": ["locks"], "by": Identity.human("ben")}, "grant.signer"),
    ):
        with pytest.raises(GovernanceError) as refused:
            give("agent:bot", **args, **what)
        assert refused.value.rule == rule
        assert refused.value.remedy
    with pytest.raises(GovernanceError, match="signs for others"):
        give("agent:bot", **(args | {"key": DESK.key}), rules=["locks"])
    with pytest.raises(GovernanceError, match="names nobody"):
        give("agent:bot", **(args | {"key": STRANGER.key}), rules=["locks"])
    signed = give("agent:bot", **args, rules=["locks"])
    with pytest.raises(GovernanceError, match="is there already"):
        governor.grants.hand_in(signed.note)
    with pytest.raises(GovernanceError, match="there is no grant"):
        governor.grants.revoke("grt_0", key=ANNA.key)
    with pytest.raises(GovernanceError, match="cannot sign grants"):
        governor.grants.revoke(signed.id, key=CARL.key)


def test_nothing_is_looked_at_where_nobody_can_sign(tmp_path):
    class Gone(SQLiteStore):
        def view(self, *, now):
            raise StoreUnavailable("it is looked at")

    nobody = Governor.preset("standard", state_dir=tmp_path, store=Gone(tmp_path / "s.sqlite"))
    assert not nobody.register.possible
    assert not nobody.register.stale()
    nobody.close()
    somebody = Governor.preset(
        "standard", state_dir=tmp_path, approvers=[Approver(subject="anna", keys=(ANNA.key.public,))]
    )
    assert somebody.register.stale()
    somebody.close()


def test_many_threads_put_it_on_record_once(governor):
    put(governor, note(grant(**RULE)))
    barrier = threading.Barrier(20)
    found = []

    def ask():
        barrier.wait()
        found.append(allows(governor, LOCK, BOT))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [True] * 20
    told = [e for e in reader.read(governor.trail.folder) if e.get("event") == "grant.verified"]
    assert len(told) == 1
    (details,) = (e["details"] for e in told)
    # What an auditor needs: who signed what, verifiable without us.
    signed = read_note(details["note"].encode())
    assert signed.id == details["grant"]
    assert signed.signer((ANNA.key.public,)) == ANNA.key.public
    assert told[0]["who"]["subject"] == "anna"


def test_what_was_signed_later_than_now_waits(governor):
    later = NOW + timedelta(minutes=30)
    put(governor, note(grant(signed=later, **RULE)))
    assert not allows(governor, LOCK, BOT)
    (entry,) = governor.grants.listed()
    assert entry.standing == "to come"
    with pytest.raises(GovernanceError) as refused:
        governor.grants.hand_in(note(grant(signed=later, **RULE)))
    assert refused.value.rule == "grant.early"


def test_what_has_ended_here_stays_ended_whatever_the_clock_says(governor, monkeypatch):
    put(governor, note(grant(until=datetime.now(UTC) + timedelta(seconds=30), **RULE)))
    assert allows(governor, LOCK, BOT)

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(minutes=1)

    with monkeypatch.context() as patch:
        patch.setattr(register, "datetime", Later)
        assert not allows(governor, LOCK, BOT)
    assert not allows(governor, LOCK, BOT)
    events = [e["event"] for e in reader.read(governor.trail.folder) if e["kind"] == "event"]
    assert events == ["grant.verified", "grant.expired"]


def test_more_than_anybody_reads_is_nothing(governor, monkeypatch):
    monkeypatch.setattr(register, "MOST_NOTES", 2)
    put(governor, *(note(grant(because=str(n), **RULE)) for n in range(3)))
    assert not allows(governor, LOCK, BOT)
    (reason,) = refusals(governor)
    assert "more than 2" in reason


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('never = ["no-such-rule"]', "neither the id of a rule"),
        ("never = 7", "an array of strings"),
        ("longest_seconds = 0", "from 1 to"),
        ("longest_seconds = true", "a number"),
        ("longest_seconds = 99999999", "from 1 to"),
        ("signers = [7]", "takes a string"),
        ('enabled = "yes"', "true or false"),
        ("longest = 5", "longest"),
    ],
)
def test_mistakes_in_the_policy(tmp_path, line, why):
    path = tmp_path / "policy.toml"
    path.write_text(f'extends = "standard"\n[grants]\n{line}\n')
    with pytest.raises(PolicyError, match=why):
        load(path)


def test_what_the_presets_never_let_go():
    for name in ("standard", "readonly"):
        policy = preset(name)
        settings, ids = policy.settings.grants, {rule.id for rule in policy.rules}
        assert {"withheld", "not-understood", "functions"} <= {*settings.never} <= ids


@given(
    st.lists(st.text(min_size=1, max_size=20), max_size=3),
    st.text(max_size=50),
    st.none() | st.integers(0, 10**6),
    st.datetimes(timezones=st.timezones()),
)
def test_what_is_written_is_what_is_read(rules, because, rows, until):
    try:
        made = grant(rules=rules, because=because, rows=rows, until=until)
        text = made.text()
    except (ValueError, OverflowError):
        return
    body = text.split("\n")[1]
    assert Grant.read(body).text() == text
    assert Grant.read(body).id == made.id

"""`governed-db audit approvals`: what ran because people agreed is held against what they signed."""

from __future__ import annotations

import json

import psycopg
import pytest

from governed_db import Governor, Identity, connect, errors
from governed_db.audit import reader
from governed_db.audit.agreement import agreements
from governed_db.cli import main
from tests.approvers import ANNA, BEN, Person

BOT = Identity.agent("bot", on_behalf_of="u-1")
DELETE = "DELETE FROM things"


@pytest.fixture(scope="module")
def trail(dsn, tmp_path_factory):
    """A journal in which two people have agreed to one statement, and one has run twice under them."""
    folder = tmp_path_factory.mktemp("agreed")
    policy = folder / "policy.toml"
    policy.write_text(
        'extends = "standard"\n[[rule]]\nid = "two"\nwhen = { effects = ["delete"] }\nthen = "approve"\n'
        'because = "rows go"\napprovers = ["dba"]\ncount = 2\n' + ANNA.as_toml() + BEN.as_toml()
    )
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE things (id int)")
    governor = Governor.load(policy, state_dir=folder / "state")
    with connect(dsn, governor=governor, identity=BOT) as conn:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute(DELETE)
        for person in (ANNA, BEN):
            governor.approvals.approve(waiting.value.request.id, key=person.key)
        conn.execute(DELETE)
    governor.close()
    return policy, governor.trail.folder, waiting.value.request.id


def entries(trail):
    return list(reader.read(trail[1]))


def people(*named):
    from governed_db.approval import People

    return People(approvers=tuple(person.approver for person in named))


def test_what_two_people_signed_bears_it(trail, capsys):
    policy, folder, request = trail
    assert main(["audit", "approvals", "--policy", str(policy), "--dir", str(folder), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["approvals"]
    assert found["request"] == request
    assert found["people"] == ["human:anna", "human:ben"]
    assert found["asked_by"] == "agent:bot for unknown:u-1"
    assert main(["audit", "approvals", "--policy", str(policy), "--dir", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "1 approvals were used; 0 of them" in said
    assert "who has left" not in said


def test_who_has_left_the_policy_is_found_in_one_that_has_them(trail, tmp_path, capsys):
    _, folder, _ = trail
    today = tmp_path / "today.toml"
    today.write_text('extends = "standard"\n' + ANNA.as_toml())
    assert main(["audit", "approvals", "--policy", str(today), "--dir", str(folder)]) == 1
    assert "who has left the policy" in capsys.readouterr().out
    everybody = tmp_path / "everybody.toml"
    everybody.write_text(ANNA.as_toml() + BEN.as_toml())
    assert main(["audit", "approvals", "--policy", str(everybody), "--dir", str(folder)]) == 0


def forged(trail, change):
    """The same records with one of them changed, as somebody who can write to the folder would."""
    made = []
    for entry in entries(trail):
        copy = json.loads(json.dumps(entry, default=str))
        change(copy)
        made.append(copy)
    return made


def _reason(entry):
    if entry.get("event") == "approval.verified":
        entry["details"]["answers"] = [
            a.replace('"granted":true', '"granted":false') for a in entry["details"]["answers"]
        ]


def _one(entry):
    if entry.get("event") == "approval.verified":
        entry["details"]["answers"] = entry["details"]["answers"][:1] * 2


def _seal(entry):
    if entry.get("event") == "approval.requested":
        entry["details"]["seal"] = "0" * 64


def _gone(name):
    def change(entry):
        if entry.get("event") == name:
            entry["event"] = "other"

    return change


CASES = [
    (_reason, (ANNA, BEN), "no key that the policy names has signed it"),
    (_one, (ANNA, BEN), "1 of 2 people have agreed"),
    (_seal, (ANNA, BEN), "another text"),
    (_gone("approval.requested"), (ANNA, BEN), "its request is not among these records"),
    (_gone("approval.verified"), (ANNA, BEN), "nobody's signature"),
    (lambda entry: None, (ANNA,), "1 of 2 people"),
    (lambda entry: None, (ANNA, Person("ben", "dba")), "no key that the policy names"),
    (lambda entry: None, (ANNA, Person("u-1", "dba")), "1 of 2 people"),
]


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_bear_it_is_named(trail, case):
    change, named, why = case
    (found,) = agreements(forged(trail, change), people(*named))
    assert any(why in problem for problem in found.problems)


def test_an_approval_that_was_used_twice_is_named(trail):
    twice = entries(trail)
    used = next(e for e in twice if e.get("kind") == "intent" and e["may"].get("approval"))
    twice.append({**used, "where": {**used["where"], "connection": "another"}})
    (found,) = agreements(twice, people(ANNA, BEN))
    assert found.problems == ("it was used more than once",)


def test_an_answer_has_to_hold_when_it_is_used(trail):
    late = forged(trail, lambda entry: None)
    for entry in late:
        if entry.get("kind") == "intent" and entry["may"].get("approval"):
            entry["at"] = entry["at"].replace("20", "21", 1)
    (found,) = agreements(late, people(ANNA, BEN))
    assert any("expired" in problem for problem in found.problems)

"""People are asked in Slack, and press a button: a real desk (`approvals serve`), a Slack on loopback."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity, errors
from governed_db.approval import keys
from governed_db.approval.answer import read_answer, sign_answer
from governed_db.approval.slack_message import value_of
from governed_db.audit import reader
from tests.approval.receiving import (
    PATIENCE,
    SIGNING_SECRET,
    TOKEN,
    post,
    press,
    question,
    receiver,
    signed,
    submit,
)
from tests.approvers import ANNA, CARL
from tests.flavours import Flavour, do
from tests.terminals import environment

BOT = Identity.agent("bot", on_behalf_of=Identity.human("u-1"))
DELETE = "DELETE FROM parts"


@contextmanager
def serving(policy, state, *arguments, ready="listening at ", **variables):
    command = [sys.executable, "-m", "governed_db.cli", "approvals", "serve", "--policy", str(policy)]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "GOVERNED_DB_STATE_DIR": str(state), **variables},
    )
    try:
        said = ""
        while ready not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield said.rpartition(ready)[2].strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


class Office:
    """A policy, a desk that serves, and a Slack."""

    def __init__(self, folder, slack) -> None:
        self.slack = slack
        self.folder = folder
        self.state = folder / "state"
        self.key = folder / "desk.key"
        keys.make(self.key)
        desk = keys.unnamed(self.key).named("slack-desk").text
        self.policy = folder / "policy.toml"
        self.policy.write_text(
            'extends = "standard"\n[approvals]\npoll_seconds = 0.05\n[catalog]\nmax_age = 0\n'
            f'[[notify]]\nname = "dba"\nslack = "#dba"\napi = "{slack.url}/api/"\n'
            f'[[authority]]\nname = "slack-desk"\nkeys = ["{desk}"]\n'
            '[[approver]]\nsubject = "ben"\nslack = "UBEN"\n'
            '[[approver]]\nsubject = "u-1"\nslack = "UREQ"\n'
            '[[approver]]\nsubject = "eve"\nslack = "UTWO"\n[[approver]]\nsubject = "eva"\nslack = "UTWO"\n'
            + ANNA.as_toml()
            + 'slack = "UANNA"\n'
        )
        self.governor = Governor.load(self.policy, state_dir=self.state)
        self.url = ""
        self.numbers = 0

    def file(self, text: str = "", **more):
        self.numbers += 1
        asked = question(text or f"DELETE FROM t{self.numbers}", **{"requester": BOT, **more})
        return self.governor.approvals.file(asked, BOT, rows=7, ceiling=8)

    def message(self, request):
        """The message about ``request``, once it is in the channel."""
        wanted = value_of(request)

        def found():
            posts = [p for p in self.slack.posted if p[0] == "/api/chat.postMessage"]
            return next((json.loads(body) for _, _, body in posts if wanted in body.decode()), None)

        with self.slack.came:
            assert self.slack.came.wait_for(found, PATIENCE)
            return found()

    def pressed(self, request, label="Approve", user="UANNA", **more):
        """Press a button; return what Slack is told at once, and what it is told then."""
        self.numbers += 1
        path = f"/actions/{self.numbers}"
        sent = press(self.message(request), label, user, self.slack.url + path, **more)
        status, _ = post(self.url + "/slack", *signed(sent))
        assert status == 200
        if label == "Deny":
            return path
        ((_, _, body),) = self.slack.until(1, path)
        return json.loads(body)

    def form(self, request, user="UANNA"):
        """Press Deny; return the form that comes up, and where its answer is shown."""
        before = len([p for p in self.slack.posted if p[0] == "/api/views.open"])
        path = self.pressed(request, "Deny", user)
        _, headers, body = self.slack.until(before + 1, "/api/views.open")[-1]
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert json.loads(body)["trigger_id"]
        view = json.loads(body)["view"]
        return (json.loads(view) if isinstance(view, str) else view), path

    def granted(self, request):
        filed = self.governor.approvals.get(request.id)
        standing = self.governor.approvals.stands(filed, request.requested)
        return [p.identity.subject for p in standing.granted]

    def refusals(self, request=None):
        found = [
            e["details"]
            for e in reader.read(self.governor.trail.folder)
            if e.get("event") == "approval.refused"
        ]
        return [d for d in found if request is None or d.get("request") == request.id]


@pytest.fixture(autouse=True, scope="module")
def _no_secrets_here():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GOVERNED_DB_SLACK_TOKEN", "GOVERNED_DB_SLACK_SIGNING_SECRET"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def office(tmp_path_factory, _no_secrets_here):
    with receiver() as slack:
        made = Office(tmp_path_factory.mktemp("office"), slack)
        variables = {"GOVERNED_DB_SLACK_TOKEN": TOKEN, "GOVERNED_DB_SLACK_SIGNING_SECRET": SIGNING_SECRET}
        with (
            closing(made.governor),
            serving(made.policy, made.state, "--key", str(made.key), **variables) as at,
        ):
            made.url = at
            yield made


@pytest.fixture(scope="module")
def parts(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE parts (id int PRIMARY KEY)")
    return dsn


@pytest.fixture
def filled(parts):
    with psycopg.connect(parts, autocommit=True) as conn:
        conn.execute("TRUNCATE parts")
        conn.execute("INSERT INTO parts SELECT generate_series(1, 300)")
    return parts


def waiting(office):
    """Return what is asked next, as soon as it is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := [r for r in office.governor.approvals.pending() if r.statement == DELETE]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[-1]


# -- from the message to the run


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_approved_in_slack_the_waiting_call_runs(office, filled, name):
    pressing = asyncio.to_thread(lambda: office.pressed(waiting(office)))
    async with Flavour(name).connect(filled, governor=office.governor, identity=BOT, autocommit=True) as conn:
        with governed_db.wait_for_approval(PATIENCE):
            if name == "sync":
                answer, cursor = await asyncio.gather(pressing, asyncio.to_thread(conn.execute, DELETE))
            else:
                answer, cursor = await asyncio.gather(pressing, do(conn.execute(DELETE)))
    assert cursor.rowcount == 300
    assert answer["replace_original"] is True
    assert "Approved" in json.dumps(answer["blocks"])
    assert "actions" not in [block["type"] for block in answer["blocks"]]


def test_denied_in_slack_the_caller_learns_why(office, filled):
    with governed_db.connect(filled, governor=office.governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as required:
            conn.execute(DELETE)
        asked = office.governor.approvals.get(required.value.request.id).request
        view, path = office.form(asked)
        status, body = post(office.url + "/slack", *signed(submit(view, "not <today>", "UANNA")))
        assert (status, body) == (200, b"")
        ((_, _, update),) = office.slack.until(1, path)
        assert "Denied by `human:anna`" in update.decode()
        assert "not &lt;today&gt;" in update.decode()
        with pytest.raises(errors.ApprovalDenied, match="not <today>"):
            conn.execute(DELETE)


def test_what_is_posted(office):
    request = office.file(values=("$1 = 3",), relations=("public.t",), reason="it deletes")
    message = office.message(request)
    said = {k: v for k, v in message.items() if k not in ("blocks", "text")}
    assert said == {
        "channel": "#dba",
        "unfurl_links": False,
        "unfurl_media": False,
        "parse": "none",
        "link_names": False,
    }
    headers = next(h for p, h, b in office.slack.posted if request.id in b.decode())
    assert headers["authorization"] == f"Bearer {TOKEN}"
    shown = json.dumps(message["blocks"])
    for part in (
        "agent:bot for human:u-1",
        request.question.sql,
        "$1 = 3",
        "public.t",
        "it deletes",
        "at most 8",
    ):
        assert part in shown
    # The process that asked has no token: the desk has told people.
    assert office.governor.stats()["notifiers_lacking"] == 1


def test_two_people(office):
    request = office.file(needed=2)
    first = office.pressed(request, user="UANNA")
    assert "1 of 2 have agreed" in json.dumps(first["blocks"])
    assert "actions" in [block["type"] for block in first["blocks"]]
    again = office.pressed(request, user="UANNA")
    assert "has agreed" in again["text"]
    second = office.pressed(request, user="UBEN")
    assert "2 of 2" in json.dumps(second["blocks"])
    assert sorted(office.granted(request)) == ["anna", "ben"]


def test_the_answer_is_signed_by_the_desk_for_the_person(office):
    request = office.file()
    office.pressed(request)
    (person,) = office.governor.approvals.stands(
        office.governor.approvals.get(request.id), request.requested
    ).granted
    assert (person.identity.subject, person.via) == ("anna", "slack-desk")
    granted = [e for e in reader.read(office.governor.trail.folder) if e.get("event") == "approval.granted"]
    assert granted[-1]["details"]["via"] == "slack-desk"


# -- callbacks that are not to be believed


def _headers(headers, **changes):
    return {k: v for k, v in {**headers, **changes}.items() if v is not None}


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "another"},
        {"at": -301},
        {"at": 301},
        {"body": b"&x=1"},
        {"X-Slack-Signature": None},
        {"X-Slack-Signature": "v0="},
        {"X-Slack-Signature": "v0=\u00e9"},
        {"X-Slack-Request-Timestamp": None},
        {"X-Slack-Request-Timestamp": "now"},
        {"X-Slack-Request-Timestamp": "-1"},
        {"X-Slack-Request-Timestamp": "9" * 400},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_callback_that_is_not_slacks(office, change):
    request = office.file()
    payload = press(office.message(request), "Approve", "UANNA", office.slack.url + "/actions/forged")
    body, headers = signed(
        payload, secret=change.pop("secret", SIGNING_SECRET), at=time.time() + change.pop("at", 0)
    )
    body += change.pop("body", b"")
    status, said = post(office.url + "/slack", body, _headers(headers, **change))
    assert (status, said) == (401, b"")
    assert office.granted(request) == []
    assert any("callback of Slack" in refusal["reason"] for refusal in office.refusals())
    assert not [p for p in office.slack.posted if p[0] == "/actions/forged"]


def test_a_body_that_is_not_utf8(office):
    body, headers = signed({})
    assert post(office.url + "/slack", b"\xff" + body, headers)[0] == 401


def test_a_callback_is_taken_once(office):
    request = office.file()
    sent = signed(press(office.message(request), "Approve", "UANNA", office.slack.url + "/actions/once"))
    assert post(office.url + "/slack", *sent)[0] == 200
    assert post(office.url + "/slack", *sent)[0] == 401
    office.slack.until(1, "/actions/once")
    assert office.granted(request) == ["anna"]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        {},
        {"type": "block_actions"},
        {"type": "block_actions", "actions": []},
        {
            "type": "block_actions",
            "actions": [{"action_id": "governed_db.approve", "value": "x"}],
            "user": {"id": 1},
        },
        {
            "type": "block_actions",
            "actions": [{"action_id": "governed_db.approve", "value": 1}],
            "user": {"id": "U"},
        },
        {"type": "view_submission", "view": {"callback_id": "governed_db.deny", "private_metadata": "{"}},
        {"type": "view_submission", "view": {"callback_id": "governed_db.deny", "private_metadata": "[]"}},
    ],
    ids=str,
)
def test_what_slack_never_sends(office, payload):
    assert post(office.url + "/slack", *signed(payload))[0] == 400


def test_what_is_for_others(office):
    others = {"type": "block_actions", "actions": [{"action_id": "theirs"}], "user": {"id": "U"}}
    closed = {"type": "view_closed"}
    assert [post(office.url + "/slack", *signed(p)) for p in (others, closed)] == [(200, b"")] * 2


# -- answers that do not count


@pytest.mark.parametrize(
    ("user", "more", "why"),
    [
        ("USTRANGER", {}, "no approver has your member id"),
        ("", {}, "no approver has your member id"),
        ("UTWO", {}, "more than one approver"),
        ("UREQ", {}, "whom the requester acts for"),
        ("UBEN", {"approvers": ("dba",)}, "a member of dba"),
    ],
)
def test_who_may_not_answer(office, user, more, why):
    request = office.file(**more)
    said = office.pressed(request, user=user)
    assert said["response_type"] == "ephemeral"
    assert said["replace_original"] is False
    assert why in said["text"]
    assert office.granted(request) == []
    (refusal,) = office.refusals(request)
    assert refusal["rule"] == "approval.approver"
    assert refusal.get("slack", "") == user


def test_who_may_not_deny_learns_it_in_the_form(office):
    request = office.file()
    view, _ = office.form(request)
    _, body = post(office.url + "/slack", *signed(submit(view, "mine", "UREQ")))
    assert json.loads(body)["response_action"] == "errors"
    assert "whom the requester acts for" in json.loads(body)["errors"]["reason"]
    for reason in (None, " ", "x" * 1001):
        _, body = post(office.url + "/slack", *signed(submit(view, reason, "UANNA")))
        assert "1 to 1000" in json.loads(body)["errors"]["reason"]
    assert office.governor.approvals.get(request.id).answers == ()


def test_a_stranger_is_told_before_the_form(office):
    request = office.file()
    before = len(office.slack.posted)
    path = office.pressed(request, "Deny", "USTRANGER")
    ((_, _, body),) = office.slack.until(1, path)
    assert "no approver" in json.loads(body)["text"]
    assert not [p for p in office.slack.posted[before:] if p[0] == "/api/views.open"]


def test_the_button_of_another_request(office):
    one, other = office.file(), office.file()
    payload = press(office.message(one), "Approve", "UANNA", office.slack.url + "/actions/another")
    payload["actions"][0]["value"] = f"{other.id}.{one.seal()}"
    assert post(office.url + "/slack", *signed(payload))[0] == 200
    ((_, _, body),) = office.slack.until(1, "/actions/another")
    assert "altered" in json.loads(body)["text"]
    assert office.granted(one) == office.granted(other) == []
    assert [r["rule"] for r in office.refusals(other)] == ["approval.altered"]


def test_what_was_used_or_has_expired_or_is_unknown(office):
    used = office.file()
    office.message(used)
    office.governor.approvals.store.claim(used.id, by="x", now=used.requested)
    assert "was used" in office.pressed(used)["text"]
    policy = office.folder / "short.toml"
    policy.write_text(office.policy.read_text().replace("poll_seconds", "ask_seconds = 1\npoll_seconds"))
    with closing(Governor.load(policy, state_dir=office.state)) as short:
        expired = short.approvals.file(question("DELETE FROM short", requester=BOT), BOT)
    office.message(expired)
    time.sleep(max(0.0, expired.expires.timestamp() - time.time()))
    assert "has expired" in office.pressed(expired)["text"]
    payload = press(office.message(used), "Approve", "UANNA", office.slack.url + "/actions/unknown")
    payload["actions"][0]["value"] = "apr_0000000000000000." + "0" * 64
    post(office.url + "/slack", *signed(payload))
    assert "no approval request" in json.loads(office.slack.until(1, "/actions/unknown")[0][2])["text"]


@pytest.mark.parametrize("path", ["/elsewhere", "//evil.example/", "@evil.example/", ""])
def test_nothing_is_said_anywhere_else(office, path):
    with receiver() as elsewhere:
        request = office.file()
        url = elsewhere.url + path
        post(office.url + "/slack", *signed(press(office.message(request), "Approve", "UANNA", url)))
        post(office.url + "/slack", *signed(press(office.message(request), "Approve", "UANNA", url)))
        assert office.granted(request) == ["anna"]
        assert elsewhere.posted == []


# -- what is signed elsewhere, and who just knocks


def test_a_note_that_was_signed_elsewhere(office):
    request = office.file()
    note = sign_answer(request, ANNA.key, by=ANNA.approver.identity(), granted=True).note
    status, body = post(office.url + "/answers", note)
    assert status == 200
    assert json.loads(body) == {
        "request": request.id,
        "agreed": True,
        "denied": False,
        "granted": 1,
        "needed": 1,
    }
    assert read_answer(note).id in [a.id for a in office.governor.approvals.get(request.id).answers]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda note: note[:-8], 400),
        (lambda note: b"", 400),
        (lambda note: b"\xff\x00", 400),
        (lambda note: note.replace(b"true", b"false"), 403),
        (lambda note: sign_answer(REQUEST[0], CARL.key, by=CARL.approver.identity(), granted=True).note, 403),
        (lambda note: note.replace(b"apr_", b"apr_1"), 404),
    ],
)
def test_a_note_that_does_not_hold(office, change, status):
    request = office.file()
    REQUEST[:] = [request]
    note = sign_answer(request, ANNA.key, by=ANNA.approver.identity(), granted=True).note
    found, body = post(office.url + "/answers", change(note))
    assert found == status
    assert json.loads(body)["rule"].startswith("approval.")
    assert office.granted(request) == []


REQUEST: list = []


def test_who_knocks(office):
    from http.client import HTTPConnection

    def ask(method, path, body=None, **headers):
        with closing(HTTPConnection(office.url.removeprefix("http://"), timeout=PATIENCE)) as connection:
            connection.putrequest(method, path)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders(body)
            return connection.getresponse().status

    assert ask("GET", "/healthz") == 200
    assert ask("GET", "/") == ask("GET", "/slack") == ask("GET", "/../etc/passwd") == 404
    assert ask("POST", "/", content_length="0") == ask("POST", "/healthz", content_length="0") == 404
    assert ask("PUT", "/answers", content_length="0") == 501
    assert ask("POST", "/answers") == ask("POST", "/answers", content_length="-1") == 411
    assert ask("POST", "/answers", content_length="1", transfer_encoding="chunked") == 411
    assert ask("POST", "/slack", content_length="9999999") == 413
    assert ask("POST", "/answers", content_length="9" * 4000) == 413


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--key", "/nowhere/at/all"], "there is no key"),
        (["--listen", "127.0.0.1"], "HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "HOST:PORT"),
    ],
)
def test_what_cannot_be_served(office, arguments, why, capsys):
    from governed_db.cli import main

    assert main(["approvals", "serve", "--policy", str(office.policy), *arguments]) == 1
    assert why in capsys.readouterr().err


def test_a_desk_needs_its_secrets_and_an_authority(office, capsys, tmp_path, monkeypatch):
    from governed_db.cli import main

    def serve(policy=office.policy, key=office.key):
        # Nobody can listen at an address for documentation (RFC 5737): it ends in any case.
        command = ["approvals", "serve", "--listen", "192.0.2.1:1", "--policy", str(policy), "--key"]
        assert main([*command, str(key)]) == 1
        return capsys.readouterr().err

    assert "GOVERNED_DB_SLACK_SIGNING_SECRET" in serve()
    monkeypatch.setenv("GOVERNED_DB_SLACK_SIGNING_SECRET", SIGNING_SECRET)
    assert "GOVERNED_DB_SLACK_TOKEN" in serve()
    own = tmp_path / "own.key"
    keys.make(own)
    policy = tmp_path / "policy.toml"
    text = keys.unnamed(own).named("dora").text
    policy.write_text(office.policy.read_text() + f'[[approver]]\nsubject = "dora"\nkeys = ["{text}"]\n')
    assert "[[authority]]" in serve(policy, own)
    policy.write_text('extends = "standard"\n')
    assert "names nobody" in serve(policy, own) or "slack" in serve(policy, own)

"""People are told of each request, whatever becomes of those who tell them."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import orjson
import pytest
from attrs import evolve
from standardwebhooks import Webhook, WebhookVerificationError

from governed_db import Governor
from governed_db.approval import courier, notifier, webhook
from governed_db.approval.answer import read_answer, sign_answer
from governed_db.approval.courier import Pace
from governed_db.approval.install import install
from governed_db.approval.notifier import Undelivered
from governed_db.approval.postgres import PostgresStore
from governed_db.approval.request import ApprovalRequest
from governed_db.approval.sqlite import SQLiteStore
from governed_db.audit import reader
from governed_db.errors import AuditUnavailable, PolicyError
from governed_db.policy import load_bytes
from tests.approval.receiving import BOT, PATIENCE, opened, question, receiver
from tests.approvers import ANNA
from tests.terminals import environment

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def opening(tmp_path):
    made: list[Governor] = []

    def make(toml: str = "", **kwargs) -> Governor:
        made.append(opened(tmp_path, toml, **kwargs))
        return made[-1]

    yield make
    for governor in made:
        governor.close()


@pytest.fixture
def received():
    with receiver() as server:
        yield server


@pytest.fixture
def hooked(received, monkeypatch):
    """The policy of a webhook whose secret is in the environment."""
    monkeypatch.setenv("GOVERNED_DB_WEBHOOK_SECRET_DBA", SECRET)
    return f'[[notify]]\nname = "dba"\nwebhook = "{received.url}/in?x=1"\n'


def until(true, *arguments) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true(*arguments):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def events(governor, name: str) -> list[dict]:
    found = [e for e in reader.read(governor.trail.folder) if e.get("event") == name]
    return [{**e, **e["details"]} for e in found]


def outbox(governor) -> list:
    """What is left to tell, now and later."""
    store = governor.approvals.store
    return [] if not store.path.exists() else _rows(store.path, "SELECT notifier, attempts FROM notices")


def _rows(path, sql):
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


# -- webhooks


def test_a_webhook_gets_the_whole_request_signed(received, opening, hooked):
    governor = opening(hooked)
    request = governor.approvals.file(question(values=("$1 = é<",)), BOT, rows=3, cost=1.25)
    ((path, headers, body),) = received.until(1)
    assert path == "/in?x=1"
    assert Webhook(SECRET).verify(body, headers)["data"]["seal"] == request.seal()
    assert headers["webhook-id"] == request.id
    assert webhook.read(body, headers, KEY) == request
    until(lambda: events(governor, "approval.told"))
    assert outbox(governor) == []
    (told,) = events(governor, "approval.told")
    assert (told["request"], told["notifier"], told["attempts"]) == (request.id, "dba", 1)
    assert governor.stats()["notices_told"] == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"body": b" "}, "not signed"),
        ({"webhook-id": "other"}, "not signed"),
        ({"webhook-timestamp": "1"}, "not signed"),
        ({"webhook-timestamp": "x"}, "no time"),
        ({"webhook-timestamp": ""}, "no time"),
        ({"webhook-signature": ""}, "not signed"),
        ({"webhook-signature": "v1,é"}, "not signed"),
        ({"key": bytes(32)}, "not signed"),
        ({"now": 301.0}, "five minutes"),
        ({"now": -301.0}, "five minutes"),
    ],
)
def test_a_message_is_believed_as_it_was_sent(received, opening, hooked, change, why):
    opening(hooked).approvals.file(question(), BOT)
    ((_, headers, body),) = received.until(1)
    now = int(headers["webhook-timestamp"]) + change.pop("now", 0.0)
    given = {"body": body + change.pop("body", b""), "key": change.pop("key", KEY)}
    with pytest.raises(webhook.Unbelievable, match=why):
        webhook.read(given["body"], {**headers, **change}, given["key"], now=now)
    if change:
        with pytest.raises((WebhookVerificationError, ValueError)):
            Webhook(SECRET).verify(given["body"], {**headers, **change})


def test_a_message_about_an_altered_request_is_refused(received, opening, hooked):
    opening(hooked).approvals.file(question(), BOT)
    ((_, headers, body),) = received.until(1)
    said = orjson.loads(body)
    for change in ("seal", "sql", "type"):
        other = orjson.loads(body)
        if change == "seal":
            other["data"]["seal"] = "0" * 64
        elif change == "sql":
            other["data"]["request"]["question"]["sql"] = "SELECT 1"
        else:
            other["type"] = "else"
        sent = orjson.dumps(other)
        stamp = int(headers["webhook-timestamp"])
        signature = webhook.sign(KEY, headers["webhook-id"], stamp, sent)
        with pytest.raises(webhook.Unbelievable):
            webhook.read(sent, {**headers, "webhook-signature": signature}, KEY)
    assert said["data"]["request"]["question"]["sql"] == "DELETE FROM t"


def test_who_gets_the_message_can_answer_with_a_key_of_their_own(received, opening, hooked):
    governor = opening(hooked)
    governor.approvals.file(question(), BOT)
    ((_, headers, body),) = received.until(1)
    shown = webhook.read(body, headers, KEY)
    note = sign_answer(shown, ANNA.key, by=ANNA.approver.identity(), granted=True).note
    assert governor.approvals.hand_in(read_answer(note)).agreed


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_!!!!", "whsec_" + base64.b64encode(bytes(23)).decode(), "x"]
)
def test_a_secret_that_is_none(text):
    with pytest.raises(ValueError, match="whsec_"):
        webhook.key_of(text)


# -- receivers that do not work


@pytest.mark.parametrize("status", [500, 302, 404, 410])
def test_a_receiver_that_fails_is_told_again(received, opening, hooked, status):
    received.statuses += [(status, {"location": f"{received.url}/elsewhere"})] * 2
    governor = opening(hooked)
    request = governor.approvals.file(question(), BOT)
    tries = received.until(3)
    assert {path for path, _, _ in tries} == {"/in?x=1"}
    assert {headers["webhook-id"] for _, headers, _ in tries} == {request.id}
    until(lambda: outbox(governor) == [])
    (failed,) = events(governor, "approval.notice_failed")
    assert (failed["notifier"], failed["error"], failed["attempts"]) == ("dba", "Undelivered", 1)
    until(lambda: events(governor, "approval.told"))
    assert events(governor, "approval.told")[0]["attempts"] == 3
    assert governor.stats()["notices_failed"] == 2


def test_retry_after_is_respected(received, opening, hooked):
    received.statuses.append((429, {"retry-after": "1"}))
    governor = opening(hooked)
    began = time.monotonic()
    governor.approvals.file(question(), BOT)
    received.until(1)
    until(lambda: governor.stats()["notices_failed"])
    governor.approvals.file(question("DELETE FROM u"), BOT)  # nor is it told of others
    received.until(2)
    assert time.monotonic() - began >= 1
    received.until(3)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("120", 120, 120), ("Sat, 01 Jan 2000 00:00:00 GMT", 0, 0), ("999999999999", 1e8, 1e9)],
)
def test_a_retry_after_is_seconds_or_a_date(text, least, most):
    assert least <= webhook._seconds(text) <= most


@pytest.mark.parametrize("text", ["", "soon", "-1", "\u0661"])
def test_a_retry_after_that_is_none(text):
    assert webhook._seconds(text) is None


def test_how_long_it_waits():
    pace = Pace()
    assert pace.first / 2 <= pace.pause(1) <= pace.first
    assert pace.most / 2 <= pace.pause(10**6) <= pace.most
    assert pace.pause(1, 20.0) == 20.0
    assert pace.pause(1, 1e9) == courier.LONGEST_AFTER


def test_a_receiver_that_is_slow_or_gone(received, opening, hooked):
    received.slow.clear()
    governor = opening(hooked.rstrip() + "\ntimeout = 0.1\n")
    governor.approvals.file(question(), BOT)
    received.until(2)
    received.slow.set()
    until(lambda: outbox(governor) == [])


def test_nobody_listens(opening, monkeypatch, caplog):
    monkeypatch.setenv("GOVERNED_DB_WEBHOOK_SECRET_DBA", SECRET)
    with receiver() as gone:
        url = gone.url
    governor = opening(f'[[notify]]\nname = "dba"\nwebhook = "{url}/k3y"\n')
    request = governor.approvals.file(question(), BOT)
    until(lambda: governor.stats()["notices_failed"] >= 3)
    assert [n for n, _ in outbox(governor)] == ["dba"]
    governor.approvals.withdraw(request.id, by=BOT)
    until(lambda: len(events(governor, "approval.notice_failed")) == 2)
    first, last = events(governor, "approval.notice_failed")
    assert ("final" not in first, last["final"], last["attempts"] >= 3) == (True, True, True)
    assert "k3y" not in caplog.text + repr(governor.notices) + str(events(governor, "approval.notice_failed"))
    assert SECRET not in repr(governor.notices.notifiers)
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_what_is_answered_is_not_told_any_more(received, opening, hooked):
    received.statuses += [(500, {})] * 50
    governor = opening(hooked)
    request = governor.approvals.file(question(), BOT)
    received.until(1)
    governor.approvals.deny(request.id, key=ANNA.key)
    until(lambda: outbox(governor) == [])
    assert not events(governor, "approval.told")


# -- hooks


class Fails:
    """A hook that fails so many times."""

    def __init__(self, times: int, error: Exception) -> None:
        self.times, self.error, self.told = times, error, []
        self.name = "fails"

    def tell(self, request: ApprovalRequest) -> None:
        if self.times:
            self.times -= 1
            raise self.error
        self.told.append(request.id)


def test_hooks_are_called_and_one_that_raises_is_called_again(opening, caplog):
    told = []
    fails = Fails(2, RuntimeError("s3cret"))
    governor = opening(hooks=[told.append, fails])
    request = governor.approvals.file(question(), BOT)
    until(lambda: fails.told == [request.id])
    until(lambda: told == [request])
    until(lambda: outbox(governor) == [])
    assert [e["error"] for e in events(governor, "approval.notice_failed")] == ["RuntimeError"]
    assert "s3cret" not in caplog.text + str(list(reader.read(governor.trail.folder)))


def test_an_async_hook_is_run(opening):
    told = []

    async def tells(request):
        await asyncio.sleep(0)
        told.append(request.id)
        if len(told) == 1:
            raise RuntimeError

    governor = opening(hooks=[tells])
    request = governor.approvals.file(question(), BOT)
    until(lambda: told == [request.id] * 2)
    until(lambda: outbox(governor) == [])


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_a_hook_that_ends_itself_is_called_again(opening, how):
    fails = Fails(1, how("s3cret"))
    governor = opening(hooks=[fails])
    request = governor.approvals.file(question(), BOT)
    until(lambda: fails.told == [request.id])
    until(lambda: outbox(governor) == [])
    assert [e["error"] for e in events(governor, "approval.notice_failed")] == [how.__name__]


def test_an_outbox_that_was_written_to_keeps_the_others_told(opening):
    told = []

    def tells(request):
        told.append(request.id)
        if len(told) <= 3:
            raise RuntimeError

    governor = opening(hooks=[tells])
    governor.notices.pace = evolve(governor.notices.pace, lease=PATIENCE * 2)
    governor.approvals.on_filed = lambda _: None
    first, *others = [governor.approvals.file(question(f"DELETE FROM t{n}"), BOT) for n in range(3)]
    with closing(sqlite3.connect(governor.approvals.store.path)) as file, file:
        file.execute("UPDATE notices SET attempts = 'x' WHERE request_id = ?", (first.id,))
    governor.notices.start()
    until(lambda: {each.id for each in others} <= set(told[3:]))


def test_a_hook_that_hangs_keeps_nobody_waiting(opening):
    free, told = threading.Event(), []

    def hangs(_):
        free.wait(PATIENCE)

    governor = opening(hooks=[hangs, told.append])
    request = governor.approvals.file(question(), BOT)
    until(lambda: told == [request])
    until(lambda: events(governor, "approval.notice_failed"))
    (failed,) = events(governor, "approval.notice_failed")
    assert (failed["error"], failed["request"]) == ("TimeoutError", request.id)
    other = governor.approvals.file(question("DELETE FROM u"), BOT)
    until(lambda: told == [request, other])
    # One thread hangs, and not one for each request.
    assert len([t for t in threading.enumerate() if "hangs" in t.name]) == 1
    free.set()
    until(lambda: outbox(governor) == [])


def test_a_journal_that_is_gone_keeps_nobody_from_being_told(opening):
    told = []

    def gone(*_, **__):
        raise AuditUnavailable("no room", rule="audit")

    def tells(request):
        governor.approvals.on_event = gone
        told.append(request.id)
        if len(told) == 1:
            raise RuntimeError

    governor = opening(hooks=[tells])
    request = governor.approvals.file(question(), BOT)
    until(lambda: told == [request.id] * 2)
    until(lambda: outbox(governor) == [])


def test_a_hook_that_comes_back_late_leaves_the_journal_closed(opening):
    free, back = threading.Event(), threading.Event()

    def hangs(_):
        free.wait(PATIENCE)
        back.set()

    governor = opening(hooks=[hangs])
    governor.approvals.file(question(), BOT)
    until(lambda: [t for t in threading.enumerate() if "hangs" in t.name])
    governor.notices.close(0.05)
    governor.trail.close()
    free.set()
    assert back.wait(PATIENCE)
    until(lambda: not [t for t in threading.enumerate() if "hangs" in t.name])
    assert outbox(governor) == []
    assert not events(governor, "approval.told")


def test_notifiers_leave_their_thread_with_the_governor(opening):
    governor = opening(hooks=[Fails(0, RuntimeError())])
    governor.approvals.file(question(), BOT)
    governor.close()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("governed_db notices")])
    governor.approvals.file(question("DELETE FROM u"), BOT)  # begins anew
    until(lambda: outbox(governor) == [])


@pytest.mark.parametrize(
    ("hooks", "error"),
    [([1], TypeError), ([print, print], ValueError), ([notifier.Called("a\nb", print)], ValueError)],
)
def test_hooks_that_are_none(tmp_path, hooks, error):
    with pytest.raises(error):
        opened(tmp_path, hooks=hooks)


def test_routes(received, opening, hooked):
    governor = opening(hooked + 'rules = ["bulk-writes"]\napprovers = ["dba"]\n')
    governor.approvals.file(question("a", rule="drop", approvers=("dba",)), BOT)
    governor.approvals.file(question("b", rule="bulk-writes"), BOT)
    wanted = governor.approvals.file(question("c", rule="bulk-writes", approvers=("x", "dba")), BOT)
    received.until(1)
    until(lambda: outbox(governor) == [])
    assert [headers["webhook-id"] for _, headers, _ in received.posted] == [wanted.id]


# -- processes


def test_a_process_without_the_secret_leaves_it_to_others(opening, hooked, received, monkeypatch, caplog):
    monkeypatch.delenv("GOVERNED_DB_WEBHOOK_SECRET_DBA")
    asks = opening(hooked)
    request = asks.approvals.file(question(), BOT)
    assert "GOVERNED_DB_WEBHOOK_SECRET_DBA" in caplog.text
    assert asks.stats()["notifiers_lacking"] == 1
    assert outbox(asks) == [("dba", 0)]
    monkeypatch.setenv("GOVERNED_DB_WEBHOOK_SECRET_DBA", SECRET)
    tells = opening(hooked)
    tells.notices.start()
    ((_, headers, _),) = received.until(1)
    assert headers["webhook-id"] == request.id


def test_a_secret_that_others_can_read_is_none(opening, hooked, received, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("GOVERNED_DB_WEBHOOK_SECRET_DBA")
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o644)
    toml = hooked + f'secret_file = "{file}"\n'
    opening(toml).approvals.file(question(), BOT)
    assert "chmod 600" in caplog.text
    file.chmod(0o600)
    opening(toml).notices.start()
    received.until(1)


_ASKS = """
import sys
from tests.approval.receiving import BOT, opened, question
from pathlib import Path
governor = opened(Path(sys.argv[1]), sys.argv[2])
governor.approvals.file(question(), BOT)
"""


def test_a_process_killed_between_filing_and_telling(opening, hooked, received, tmp_path):
    received.slow.clear()
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            asks = opened(tmp_path, hooked)
            asks.approvals.file(question(), BOT)
            asks.approvals.file(question("DELETE FROM u"), BOT)
            os.write(writes, b"x")
            time.sleep(PATIENCE)
        finally:
            os._exit(1)
    os.read(reads, 1)
    received.until(1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reads)
    os.close(writes)
    received.slow.set()
    governor = opening(hooked)
    assert len(outbox(governor)) == 2
    governor.notices.start()
    until(lambda: outbox(governor) == [])  # once the dead process's lease is over
    told = [headers["webhook-id"] for _, headers, _ in received.posted]
    assert len(set(told)) == 2
    assert len(told) in (2, 3)


def test_a_process_that_ends_at_once_has_told(opening, hooked, received, tmp_path):
    received.slow.clear()
    command = [sys.executable, "-c", _ASKS, str(tmp_path), hooked]
    with subprocess.Popen(command, env=environment()) as process:
        received.until(1)
        time.sleep(0.3)  # more than it has to do else
        received.slow.set()
        assert process.wait(PATIENCE) == 0
    assert outbox(opening(hooked)) == []


def test_a_forked_child_tells_by_itself(opening, hooked, received):
    received.slow.clear()
    governor = opening(hooked)
    governor.approvals.file(question(), BOT)
    received.until(1)
    pid = os.fork()  # while the parent is busy telling
    if not pid:
        status = 1
        try:
            governor.approvals.file(question("DELETE FROM u"), BOT)
            status = 0 if governor.notices.flush(PATIENCE) else 2
        finally:
            os._exit(status)
    received.until(2)
    received.slow.set()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    governor.approvals.file(question("DELETE FROM v"), BOT)
    received.until(3)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_notices_are_for_those_who_have_the_notifier(tmp_path, kind, request):
    if kind == "sqlite":
        store = SQLiteStore(tmp_path / "s" / "approvals.sqlite")
    else:
        dsn = request.getfixturevalue("dsn")
        install(dsn)
        store = PostgresStore(dsn)
    with closing(store):
        _only_for_their_notifiers(store)


def _only_for_their_notifiers(store):
    from tests.approval.storing import NOW, request

    store.file(request(), now=NOW, most=9, notifiers=["a", "b"])
    assert store.due(now=NOW, lease=1, notifiers=[]) == []
    assert [n.notifier for n in store.due(now=NOW, lease=1, notifiers=["b", "c"])] == ["b"]
    assert [n.notifier for n in store.due(now=NOW, lease=1)] == ["a"]


def test_a_store_that_is_gone_is_waited_for(opening, hooked, received, caplog):
    governor = opening(hooked)
    governor.approvals.store.path.parent.mkdir(exist_ok=True)
    governor.approvals.store.path.mkdir()
    governor.notices.start()
    until(lambda: "cannot be told" in caplog.text)
    governor.approvals.store.path.rmdir()
    governor.approvals.file(question(), BOT)
    received.until(1)


# -- the policy


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('webhook = "https://x.example"', "'name'"),
        ('name = "A b"\nwebhook = "https://x.example"', "'name'"),
        ('name = "a"', "one of slack, webhook, plugin"),
        ('name = "a"\nslack = "#a"\nwebhook = "https://x.example"', "and this has 2"),
        ('name = "a"\nwebhook = "http://x.example/"', "https"),
        ('name = "a"\nwebhook = "http://127.0.0.1.x.example/"', "https"),
        ('name = "a"\nwebhook = "file:///etc/passwd"', "https"),
        ('name = "a"\nwebhook = "https://u:p@x.example/"', "without a user"),
        ('name = "a"\nwebhook = "https://[x/"', "no address"),
        ('name = "a"\nwebhook = "https://x.example"\ntoken_file = "/x"', "belongs to 'slack'"),
        ('name = "a"\nslack = "@anna"', "channel"),
        ('name = "a"\nslack = "#<!here>"', "channel"),
        ('name = "a"\nslack = "#a"\ntoken_file = "x"', "absolute"),
        ('name = "a"\nslack = "#a"\napi = "http://x.example/"', "https"),
        ('name = "a"\nslack = "#a"\ntimeout = 0', "0.1 to 10"),
        ('name = "a"\nslack = "#a"\ntoken = "xoxb-1"', "unknown key"),
        ('name = "a"\nslack = "#a"\nrules = ["bulk_writes"]', "did you mean 'bulk-writes'"),
        ('name = "a"\nplugin = "p"\noptions = { a = [1] }', "an option"),
        ('name = "a"\nslack = "#a"\n[[notify]]\nname = "a"\nslack = "#b"', "two of"),
    ],
)
def test_a_table_that_says_it_wrong(toml, why):
    with pytest.raises(PolicyError, match=why) as caught:
        load_bytes(f'extends = "standard"\n[[notify]]\n{toml}\n'.encode(), "p")
    assert "p:" in str(caught.value)


def test_a_plugin_that_is_not_installed(opening, caplog):
    governor = opening('[[notify]]\nname = "a"\nplugin = "nobody_has_it"\n')
    governor.approvals.file(question(), BOT)
    assert "nobody_has_it" in caplog.text
    assert outbox(governor) == [("a", 0)]


def test_a_plugin_of_another_package(opening, tmp_path, monkeypatch):
    package = tmp_path / "site"
    (package / "pager-1.dist-info").mkdir(parents=True)
    (package / "pager-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pager\nVersion: 1\n"
    )
    (package / "pager-1.dist-info" / "entry_points.txt").write_text(
        "[governed_db.notifiers]\npager = pager_of_tests:make\n"
    )
    (package / "pager_of_tests.py").write_text(
        "told = []\n"
        "class Pager:\n"
        "    def __init__(self, settings):\n"
        "        self.name, self.number = settings.name, settings.options['number']\n"
        "    def tell(self, request):\n"
        "        told.append((self.number, request.id))\n"
        "make = Pager\n"
    )
    monkeypatch.syspath_prepend(str(package))
    governor = opening('[[notify]]\nname = "p"\nplugin = "pager"\noptions = { number = 7 }\n')
    request = governor.approvals.file(question(), BOT)
    until(lambda: outbox(governor) == [])
    import pager_of_tests

    assert pager_of_tests.told == [(7, request.id)]


def test_another_policy_has_other_notifiers(tmp_path, received, hooked):
    governor = opened(tmp_path)
    try:
        assert governor.approvals.notifiers == ()
        (tmp_path / "policy.toml").write_text('extends = "standard"\n' + hooked + ANNA.as_toml())
        governor.reload()
        assert governor.approvals.notifiers == ("dba",)
        governor.approvals.file(question(), BOT)
        received.until(1)
    finally:
        governor.close()


def test_undelivered_says_when():
    assert Undelivered("x", after=3.0).after == 3.0

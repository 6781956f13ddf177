"""What is shown in Slack is text, within Slack's limits, and whole where somebody can agree to it."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed_db import Identity
from governed_db.approval import slack_message
from governed_db.approval.answer import ApproverKey, sign_answer
from governed_db.approval.courier import Courier
from governed_db.approval.desk import Desk
from governed_db.approval.desk_server import DeskServer
from governed_db.approval.effect import ChangedRow, Effect
from governed_db.approval.notifier import Undelivered
from governed_db.approval.people import People, Person
from governed_db.approval.request import ask
from governed_db.approval.slack import SlackApp
from governed_db.approval.slack_post import SlackNotifier
from governed_db.approval.sqlite import SQLiteStore
from governed_db.approval.standing import Standing
from governed_db.errors import AuditUnavailable
from governed_db.policy.settings import ApprovalSettings, NotifySettings
from tests.approval.receiving import PATIENCE, TOKEN, post, question, receiver
from tests.approvers import ANNA
from tests.approvers import Desk as Signing

HOUR = timedelta(hours=1)
names = st.sampled_from(["bot", "<!here>", "a`*b*", "&lt;!here&gt;", "x" * 300])
texts = st.text(max_size=400) | st.sampled_from(
    ["<!here>", "<!channel|x>", "<@UANNA>", "```", "`x`", "&lt;!here&gt;", "\u202eabc", "*b* _i_ ~s~", "\0"]
)


BOT = Identity.agent("bot")


def made(who: Identity, **more):
    reckoned = {key: more.pop(key) for key in ("rows", "cost", "ceiling", "effect") if key in more}
    return ask(question("x", **{"requester": who, **more}), who, lasts=HOUR, **reckoned)


def texts_of(block) -> list[dict]:
    return (
        [block["text"]] if "text" in block and block["type"] != "actions" else list(block.get("fields", []))
    )


def check(blocks) -> None:
    assert len(blocks) <= 50
    assert len(json.dumps(blocks, ensure_ascii=False)) < 20_000
    total = 0
    for block in blocks:
        for text in texts_of(block):
            most = {"header": 150, "section": 2000 if "fields" in block else 3000}[block["type"]]
            assert 1 <= len(text["text"]) <= most
            assert text["type"] != "mrkdwn" or text["verbatim"] is True
            total += len(text["text"])
            if text["type"] == "mrkdwn":
                # Nothing that Slack reads as a mention, a link or an entity of somebody's making.
                assert "<" not in text["text"]
                assert ">" not in text["text"]
                assert not re.search(r"&(?!amp;|lt;|gt;)", text["text"])
                assert text["text"].count("`") % 2 == 0
                assert all(c.isprintable() or c == "\n" for c in text["text"])
    assert total < 13_000


@settings(max_examples=60)
@given(st.data())
def test_text_stays_text(data):
    said = lambda: data.draw(texts)  # noqa: E731 - drawn anew each time
    who = Identity.agent(data.draw(names), on_behalf_of=data.draw(names), purpose=data.draw(names))
    request = made(
        who,
        sql=said(),
        values=(said(), said()),
        summary=said(),
        rule=said(),
        reason=said(),
        relations=(said(),),
        approvers=(said(),),
        database=said(),
        rows=3,
        effect=Effect(
            digest="d",
            salt="s",
            rows=3,
            relation=said(),
            key=("id",),
            columns=("a",),
            shown=(ChangedRow(key=(said(),), before=(said(),), after=(None,)),),
        ),
    )
    check(slack_message.blocks_of(request))
    line = slack_message.text_of(request)
    assert len(line) <= 700
    assert "<" not in line
    standing = Standing(
        request=request, denied=Person(identity=Identity.human("a"), key=ANNA.key.public), because=said()
    )
    check(slack_message.blocks_of(request, standing))


def test_a_value_is_no_null_and_no_row():
    rows = (
        ChangedRow(key=("1",), before=("NULL",), after=(None,)),
        ChangedRow(key=("2",), before=("x\nid = 3: a = 1",), after=("",)),
    )
    effect = Effect(digest="d", salt="s", rows=2, relation="t", key=("id",), columns=("a",), shown=rows)
    shown = json.dumps(slack_message.blocks_of(made(BOT, rows=2, effect=effect)))
    assert "id = 1: a = 'NULL' -&gt; a = NULL" in shown
    assert "id = 2: a = x\\\\u000aid = 3: a = 1 -&gt; a = ''" in shown


def actions(request) -> list[str]:
    blocks = slack_message.blocks_of(request)
    check(blocks)
    return [b["action_id"] for block in blocks if block["type"] == "actions" for b in block["elements"]]


BOTH = [slack_message.APPROVE, slack_message.DENY]


@pytest.mark.parametrize("length", [10, 2900, 3100, 7900])
def test_what_is_shown_whole_can_be_agreed_to(length):
    request = made(BOT, sql="x" * length)
    assert actions(request) == BOTH
    shown = "".join(
        text["text"].partition("```\n")[2].removesuffix("\n```")
        for block in slack_message.blocks_of(request)
        for text in texts_of(block)
    )
    assert shown == "x" * length


@pytest.mark.parametrize(
    "request_",
    [
        made(BOT, sql="x" * 8100),
        made(BOT, sql="<" * 2100),
        made(BOT, sql="x\n" * 5000),
        made(BOT, values=("v" * 400,) * 30),
        made(BOT, reason="r" * 800),
        made(BOT, relations=("public.r",) * 200),
        made(BOT, approvers=("g" * 300,)),
        made(Identity.agent("bot", purpose="p" * 900)),
        made(Identity.agent("b" * 300)),
    ],
    ids=range(9),
)
def test_what_is_not_shown_whole_can_only_be_denied(request_):
    assert actions(request_) == [slack_message.DENY]
    assert f"governed-db approvals show {request_.id}" in json.dumps(slack_message.blocks_of(request_))


@given(st.text("&<>;amplgt\nx", max_size=60), st.integers(6, 20))
def test_pieces_are_the_text(text, most):
    escaped = slack_message.escaped(text)
    pieces = slack_message._pieces(escaped, most)
    assert all(len(piece) <= most for piece in pieces)
    assert "".join(pieces).replace("\n", "") == escaped.replace("\n", "")
    assert not [p for p in pieces if re.search(r"&(?!amp;|lt;|gt;)", p)]


@pytest.mark.parametrize("value", [None, 1, "", "apr_1", "apr_1.", "apr_1." + "g" * 64, " apr_1." + "0" * 64])
def test_a_button_of_somebody_else(value):
    with pytest.raises(ValueError, match="none of ours"):
        slack_message.read_value(value)


# -- a Slack that does not work


@pytest.mark.parametrize(
    ("status", "headers", "answer", "why", "after"),
    [
        (429, {"retry-after": "7"}, {"ok": False, "error": "ratelimited"}, "ratelimited", 7.0),
        (429, {"retry-after": "x"}, {"ok": False, "error": "ratelimited"}, "ratelimited", None),
        (200, {}, {"ok": False, "error": "channel_not_found"}, "channel_not_found", None),
        (200, {}, {"ok": False, "error": "Bearer xoxb <secret>"}, "status 200", None),
        (500, {}, {}, "status 500", None),
        (200, {}, "not an object", "cannot be reached|status 200", None),
    ],
)
def test_what_slack_says(status, headers, answer, why, after, caplog, monkeypatch):
    monkeypatch.setenv("GOVERNED_DB_SLACK_TOKEN", TOKEN)
    caplog.set_level(0)
    with receiver() as slack:
        slack.statuses.append((status, headers))
        slack.answers["/api/chat.postMessage"] = answer
        settings = NotifySettings(name="dba", slack="#dba", api=f"{slack.url}/api/", timeout=5)
        notifier = SlackNotifier.of(settings)
        with pytest.raises(Undelivered, match=why) as caught:
            notifier.tell(made(BOT, sql="s3cret"))
    assert caught.value.after == after
    assert TOKEN not in caplog.text + str(caught.value) + repr(notifier)
    assert "s3cret" not in caplog.text + str(caught.value)


def test_a_slack_that_is_gone_or_slow(monkeypatch):
    monkeypatch.setenv("GOVERNED_DB_SLACK_TOKEN", TOKEN)
    with receiver() as slack:
        slack.slow.clear()
        settings = NotifySettings(name="dba", slack="#dba", api=f"{slack.url}/api/", timeout=0.1)
        with pytest.raises(Undelivered, match="cannot be reached"):
            SlackNotifier.of(settings).tell(made(BOT))
    with pytest.raises(Undelivered, match="cannot be reached"):
        SlackNotifier.of(settings).tell(made(BOT))


# -- addresses, and a server that is kept waiting


@pytest.fixture
def desk(tmp_path):
    signing = Signing("slack-desk")
    people = People(approvers=(ANNA.approver,), authorities=(signing.authority,))
    store = SQLiteStore(tmp_path / "s" / "approvals.sqlite")
    yield Desk(store, ApprovalSettings(people=people), lambda *_, **__: None), signing.key
    store.close()


def app_of(desk: Desk, key: ApproverKey, monkeypatch, **more) -> SlackApp:
    monkeypatch.setenv("GOVERNED_DB_SLACK_TOKEN", TOKEN)
    monkeypatch.setenv("GOVERNED_DB_SLACK_SIGNING_SECRET", "x")
    return SlackApp.of(NotifySettings(name="dba", slack="#dba", **more), key, desk)


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://hooks.slack.com/actions/T1/2/x", True),
        ("https://hooks.slack-gov.com/actions/T1/2/x", True),
        ("https://hooks.slack.com:443/x", True),
        ("http://hooks.slack.com/x", False),
        ("https://hooks.slack.com:8443/x", False),
        ("https://hooks.slack.com.evil.example/x", False),
        ("https://evil.example/hooks.slack.com", False),
        ("https://hooks.slack.com@evil.example/x", False),
        ("https://u:p@hooks.slack.com/x", False),
        ("https://127.0.0.1/x", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("file:///etc/passwd", False),
        ("https://[x", False),
        ("https://hooks.slack.com:x/", False),
        ("", False),
    ],
)
def test_where_answers_to_one_person_may_go(desk, monkeypatch, url, may):
    assert app_of(*desk, monkeypatch).may_post(url) is may


def test_a_loopback_slack_is_its_own_host_alone(desk, monkeypatch):
    app = app_of(*desk, monkeypatch, api="http://127.0.0.1:5555/api/")
    assert app.may_post("http://127.0.0.1:5555/actions/1")
    assert not app.may_post("http://127.0.0.1:5556/actions/1")
    assert not app.may_post("https://hooks.slack.com/x")


def test_secrets_are_in_no_repr(desk, monkeypatch):
    monkeypatch.setenv("GOVERNED_DB_SLACK_SIGNING_SECRET", "s3cret")
    app = app_of(*desk, monkeypatch)
    assert TOKEN not in repr(app)
    assert "s3cret" not in repr(app)


def test_who_sends_a_byte_now_and_then_is_cut_off(desk):
    with DeskServer(("127.0.0.1", 0), desk[0], seconds=0.3) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with socket.create_connection(server.server_address, timeout=PATIENCE) as slow:
                slow.sendall(b"POST /answers HTTP/1.0\r\ncontent-length: 1000\r\n\r\n")
                began = time.monotonic()
                try:
                    while time.monotonic() < began + PATIENCE:
                        slow.sendall(b"x")
                        slow.settimeout(0.05)
                        try:
                            if not slow.recv(1):
                                break
                        except TimeoutError:
                            continue
                except ConnectionError:
                    pass
                assert time.monotonic() < began + PATIENCE
        finally:
            server.shutdown()
            thread.join()


def test_forged_notes_have_to_wait_and_real_ones_do_not(desk, monkeypatch):
    from governed_db.approval import desk_server
    from tests.approvers import BEN

    monkeypatch.setattr(desk_server, "MOST_REFUSED", 2)
    request = desk[0].file(question(requester=BOT), BOT)
    with served(desk[0]) as url:
        forged = sign_answer(request, BEN.key, by=BEN.approver.identity(), granted=True).note
        assert [post(f"{url}/answers", forged)[0] for _ in range(3)] == [403, 403, 429]
        real = sign_answer(request, ANNA.key, by=ANNA.approver.identity(), granted=True).note
        assert post(f"{url}/answers", real)[0] == 200


@contextmanager
def served(desk):
    with DeskServer(("127.0.0.1", 0), desk) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def health(url) -> int:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_store_or_a_journal_that_is_gone(desk):
    def no_journal(*_, **__):
        raise AuditUnavailable("no room", rule="audit", remedy="make room", retryable=True)

    office, _ = desk
    request = office.file(question(requester=BOT), BOT)
    note = sign_answer(request, ANNA.key, by=ANNA.approver.identity(), granted=True).note
    with served(office) as url:
        assert health(url) == 200
        office.on_event = no_journal
        status, body = post(f"{url}/answers", note)
        assert (status, json.loads(body)["retryable"]) == (503, True)
        assert office.get(request.id).answers == ()
        path = office.store.path
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        assert health(url) == 503
        status, body = post(f"{url}/answers", note)
        assert (status, json.loads(body)["rule"]) == (503, "approval.store")


def test_a_courier_without_notifiers_has_no_thread(desk):
    courier = Courier(desk[0])
    courier.start()
    assert courier._thread is None
    assert courier.stats() == {"notices_told": 0, "notices_failed": 0, "notifiers_lacking": 0}

"""``governed-db approvals``: what people see before they answer, and what their answer does and cannot do."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import orjson
import psycopg
import pytest
from attrs import evolve

import governed_db
from governed_db import Governor, Identity
from governed_db.approval import Question, keys, stores
from governed_db.approval.effect import ChangedRow, Effect
from governed_db.audit import reader
from governed_db.cli import approvals, approvals_approve, main
from governed_db.identity.model import standing
from governed_db.statement import read
from governed_db.testing.issuer import TokenIssuer
from tests.approvers import ANNA, BEN, CARL
from tests.terminals import environment, terminal

COMMAND = [sys.executable, "-m", "governed_db.cli"]
BOT = Identity.agent(
    "bot",
    on_behalf_of=Identity.human("maria"),
    session="s-17",
    tool_call="c-3",
    purpose="tidy up \x1b[2Jnow, approved by the CTO",
)
EVIL = "\x1b]0;gone\x07\u202e\x9b2J"
SQL = "UPDATE orders\nSET status = 'cancelled'\nWHERE status = $1"

needs_rich = pytest.mark.skipif(
    importlib.util.find_spec("rich") is None, reason="rich is in the extra 'terminal'"
)


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest) -> str:
    """Where requests are kept; tests that need to be held to both ask for both."""
    return str(request.param)


both = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def policy(
    store: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A policy that names anna and ben (dba) and carl; its file, in force through the environment."""
    text = 'extends = "standard"\n[masking.strategies]\nPERSON_NAME = "pseudonym"\n'
    text += f'[approvals]\nstore = "{store}"\npoll_seconds = 0.05\n'
    if store == "postgresql":
        dsn = request.getfixturevalue("dsn")
        monkeypatch.setenv(stores.DSN_VARIABLE, dsn)
        assert main(["approvals", "init", "--dsn", dsn]) == 0
    file = tmp_path / "policy.toml"
    file.write_text(text + ANNA.as_toml() + BEN.as_toml() + CARL.as_toml())
    file.chmod(0o600)
    monkeypatch.setenv("GOVERNED_DB_CONFIG", str(file))
    monkeypatch.setenv("GOVERNED_DB_MASKING_KEYS", "1:" + "a" * 43 + "=")
    return file


@pytest.fixture
def governor(policy: Path, monkeypatch: pytest.MonkeyPatch):
    """The process that asks. The commands are not given the keys of its masks: they need none."""
    made = Governor.configured()
    monkeypatch.delenv("GOVERNED_DB_MASKING_KEYS")
    yield made
    for request in made.approvals.pending():
        made.approvals.withdraw(request.id, by=Identity.human("test"))
    made.close()


def key_file(folder: Path, person=ANNA) -> Path:
    """The person's key as a file."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = folder / f"{person.approver.subject}.key"
    private = person.key.sign.__self__
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


@pytest.fixture
def anna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Anna's key, in the environment."""
    path = key_file(tmp_path)
    monkeypatch.setenv(approvals.KEY_VARIABLE, str(path))
    return path


def ask(governor: Governor, sql: str = SQL, who: Identity = BOT, effect: Effect | None = None, **more):
    """File a request, as the pipeline does; return it."""
    question = Question(
        digest=sha256(orjson.dumps([sql, str(who), str(more)])).digest(),
        requester=standing(who),
        **{
            "statement": "UPDATE orders SET status = $2 WHERE status = $1",
            "sql": sql,
            "values": ("$1 = pending",),
            "summary": "UPDATE orders",
            "rule": "small-changes",
            "reason": "it touches more rows than this caller may write",
            "relations": ("public.orders",),
            "columns": ("public.orders.status",),
            "server": "db.example:5432",
            "database": "shop",
            "role": "app",
            "search_path": ("pg_catalog", "public"),
            "policy": governor.policy.version,
            **more,
        },
    )
    return governor.approvals.file(question, who, rows=239, ceiling=263, cost=45.12, effect=effect)


def events(governor: Governor) -> list[dict]:
    return [e for e in reader.read(governor.trail.folder) if str(e.get("event", "")).startswith("approval.")]


def stands(governor: Governor, request):
    return governor.approvals.stands(governor.approvals.get(request.id), datetime.now(UTC))


# -- looking


def test_a_look_makes_nothing(policy, state_dir, capsys, monkeypatch):
    monkeypatch.delenv("GOVERNED_DB_MASKING_KEYS")
    assert main(["approvals", "list"]) == 0
    assert main(["approvals", "list", "--all"]) == 0
    assert main(["approvals", "show", "apr_0000000000000000"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "nothing waits",
        "there is no request",
        "governed-db approvals show: there is no approval request apr_0000000000000000",
        "  governed-db approvals list shows those that wait",
    ]
    assert not state_dir.exists()


def test_what_a_person_needs_to_judge_is_shown(governor, capsys):
    effect = Effect(
        digest="00",
        salt="00",
        rows=3,
        relation="public.orders",
        key=("id",),
        columns=("status", "note"),
        shown=(
            ChangedRow(key=("7",), before=("pending", "<masked>"), after=("cancelled", "<masked>")),
            ChangedRow(key=("9",), before=("pending", "NULL"), after=("cancelled", None)),
        ),
    )
    request = ask(governor, effect=effect, approvers=("dba",), needed=2, binds="effect")
    governor.approvals.approve(request.id, key=BEN.key, reason="looks\nright")
    assert main(["approvals", "show", request.id]) == 0
    out = capsys.readouterr().out
    words = " ".join(out.split())
    for part in (
        f"{request.id}, waits, 1 of 2",
        "agent:bot (claimed) for human:maria (claimed)",
        "session s-17",
        "tool call c-3",
        "in its own words: tidy up",
        "it touches more rows than this caller may write [rule small-changes]",
        "touches public.orders",
        "columns public.orders.status",
        "239 counted by a SELECT; nothing was run; when it runs, rolled back beyond 263",
        "cost 45, as PostgreSQL's planner expects",
        "shop at db.example:5432",
        "runs as app",
        "2 different people of dba, never the requester or whom it acts for",
        "these very rows",
        "15 min after it was signed, once",
        "agreed human:ben (by a key of their own)",
        "$1 = pending",
        "public.orders: 3 rows",
        "id = 7 status pending cancelled note <masked> <masked> id = 9 status",
        "note 'NULL' NULL",
        "and 1 more",
    ):
        assert part in words, part
    assert "  UPDATE orders\n  SET status = 'cancelled'\n  WHERE status = $1\n" in out
    assert "your policy is another one" not in words


@pytest.mark.parametrize(("more", "says"), [
    ({"rows": None, "ceiling": None}, "no SELECT can tell how many; when it runs, however many"),
    ({"rows": 100_000, "rows_more": True, "ceiling": None}, "more than 100,000; when it runs, however many"),
])  # fmt: skip
def test_what_nobody_counted_is_not_called_counted(governor, capsys, more, says):
    request = ask(governor)
    from governed_db.cli import requests

    assert requests.rows(evolve(request, **more)) == says


def test_nothing_in_a_request_reaches_the_terminal_as_a_command(governor, capsys):
    texts = ("summary", "rule", "reason", "server", "database", "role", "policy")
    lists = ("relations", "columns", "values", "search_path", "approvers")
    hostile = dict.fromkeys(texts, EVIL) | dict.fromkeys(lists, (EVIL,))
    effect = Effect(
        digest="00",
        salt="00",
        rows=1,
        relation=EVIL,
        key=(EVIL,),
        columns=(EVIL,),
        shown=(ChangedRow(key=(EVIL,), before=(EVIL,), after=("x\ny",)),),
    )
    request = ask(governor, sql=f"SELECT 1\n{EVIL}", effect=effect, **hostile)
    assert main(["approvals", "list"]) == 0
    assert main(["approvals", "show", request.id]) == 0
    out = capsys.readouterr().out
    assert [c for c in out if not c.isprintable() and c != "\n"] == []
    assert "your policy is another one" in " ".join(out.split())


def test_programs_read_all_of_it(governor, capsys):
    request = ask(governor)
    assert main(["approvals", "show", request.id, "--json"]) == 0
    one = orjson.loads(capsys.readouterr().out)
    assert main(["approvals", "list", "--json"]) == 0
    (listed,) = orjson.loads(capsys.readouterr().out)["requests"]
    assert one == listed
    assert one["state"] == "waits"
    assert one["seal"] == request.seal()
    assert one["request"] == orjson.loads(request.dump())


def test_what_ended_is_listed_where_it_is_asked_for(governor, anna, capsys):
    used, gone, waits = (ask(governor, sql=f"DELETE FROM t{n}") for n in range(3))
    governor.approvals.approve(used.id, key=ANNA.key)
    assert governor.approvals.claim(stands(governor, used), by="test")
    assert main(["approvals", "withdraw", gone.id, "--reason", "not needed"]) == 0
    capsys.readouterr()
    assert main(["approvals", "list"]) == 0
    out = capsys.readouterr().out
    assert waits.id in out
    assert used.id not in out
    assert gone.id not in out
    assert main(["approvals", "list", "--all", "--json"]) == 0
    listed = orjson.loads(capsys.readouterr().out)["requests"]
    assert {each["id"]: each["state"] for each in listed} == {
        used.id: "used",
        gone.id: "withdrawn",
        waits.id: "waits",
    }
    assert main(["approvals", "show", gone.id]) == 0
    out = capsys.readouterr().out
    assert f"{gone.id}, withdrawn" in out
    assert "\nwithdrawn   2" in out


# -- answering


@both
def test_an_answer_is_signed_and_on_record(governor, anna, capsys):
    request = ask(governor)
    assert main(["approvals", "approve", request.id, "--yes", "--reason", "never paid"]) == 0
    assert f"agent:bot for human:maria can run {request.id} once until" in capsys.readouterr().out
    assert stands(governor, request).agreed
    (told,) = [e for e in events(governor) if e["event"] == "approval.granted"]
    assert told["who"]["subject"] == "anna"
    assert told["details"]["reason"] == "never paid"
    assert main(["approvals", "approve", request.id, "--yes"]) == 1
    assert "has agreed" in capsys.readouterr().err


@both
def test_a_no_has_a_reason(governor, anna, capsys):
    request = ask(governor)
    assert main(["approvals", "deny", request.id]) == 1
    assert "--reason" in capsys.readouterr().err
    assert main(["approvals", "deny", request.id, "--reason", "that is every order"]) == 0
    assert "denied by human:anna" in capsys.readouterr().out
    found = stands(governor, request)
    assert found.denied.identity.subject == "anna"
    assert found.because == "that is every order"


@both
def test_a_request_is_withdrawn_without_a_key(governor, capsys):
    request = ask(governor)
    assert main(["approvals", "withdraw", request.id, "--reason", "asked twice"]) == 0
    assert governor.approvals.pending() == []
    (told,) = [e for e in events(governor) if e["event"] == "approval.withdrawn"]
    assert told["who"]["issuer"] == "os"
    assert told["details"]["reason"] == "asked twice"
    assert main(["approvals", "withdraw", request.id]) == 1
    assert "not open any more" in capsys.readouterr().err


def test_two_people_are_two_people(governor, anna, tmp_path, capsys):
    request = ask(governor, needed=2, approvers=("dba",))
    assert main(["approvals", "approve", request.id, "--yes"]) == 0
    assert "1 of 2 people have agreed" in capsys.readouterr().out
    for key, why in ((anna, "has agreed"), (key_file(tmp_path, CARL), "member of dba")):
        assert main(["approvals", "approve", request.id, "--yes", "--key", str(key)]) == 1
        assert why in capsys.readouterr().err
    assert not stands(governor, request).agreed
    assert main(["approvals", "approve", request.id, "--yes", "--key", str(key_file(tmp_path, BEN))]) == 0
    assert stands(governor, request).agreed


@pytest.mark.parametrize(
    "who",
    [
        Identity.human("anna"),
        Identity.agent("bot", on_behalf_of=Identity.human("ANNA")),
        Identity.agent("bot", on_behalf_of="human:anna"),
    ],
    ids=str,
)
def test_nobody_agrees_to_their_own(governor, anna, capsys, who):
    request = ask(governor, who=who)
    for verb in (["approve", "--yes"], ["deny", "--reason", "x"]):
        assert main(["approvals", verb[0], request.id, *verb[1:]]) == 1
        assert "it is the requester, or whom the requester acts for" in capsys.readouterr().err


def test_in_a_script_nobody_is_asked(governor, anna, capsys, monkeypatch):
    request = ask(governor)
    assert main(["approvals", "approve", request.id]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--yes" in captured.err
    assert main(["approvals", "approve", request.id, "--yes", "--seal", "0" * 64]) == 1
    assert "it was altered since" in capsys.readouterr().err
    assert not stands(governor, request).granted
    assert main(["approvals", "approve", request.id, "--yes", "--seal", request.seal()]) == 0


def test_what_is_over_cannot_be_answered(governor, anna, capsys):
    governor.approvals.settings = evolve(governor.approvals.settings, ask_seconds=-1)
    request = ask(governor)
    assert main(["approvals", "approve", request.id, "--yes"]) == 1
    assert "has expired" in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["", "n", "yess", None])
def test_who_does_not_say_yes_has_signed_nothing(governor, anna, capsys, monkeypatch, typed):
    def answers(_: str) -> str:
        if typed is None:  # Ctrl-D
            raise EOFError
        return typed

    request = ask(governor)
    monkeypatch.setattr(approvals_approve, "_must_be_terminal", lambda: None)
    monkeypatch.setattr("builtins.input", answers)
    assert main(["approvals", "approve", request.id]) == approvals.DECLINED
    assert "nothing was signed" in capsys.readouterr().err
    assert not stands(governor, request).granted


def alter(state: Path, request) -> None:
    """Change a request in the store, as who can write to it may."""
    altered = evolve(request, question=evolve(request.question, sql="DELETE FROM orders"))
    with sqlite3.connect(state / stores.FILE) as database:
        database.execute("UPDATE requests SET body = ? WHERE id = ?", (altered.dump(), request.id))
    database.close()


def test_at_a_terminal_the_person_reads_and_decides(governor, anna, state_dir):
    request = ask(governor)
    with terminal([*COMMAND, "approvals", "approve", request.id]) as at:
        shown = at.until("Approve as human:anna? [y/N]")
        assert "WHERE status = $1" in shown
        assert shown.splitlines()[-1].startswith("Approve as human:anna?")
        alter(state_dir, request)
        at.type("y\r")
        assert at.ends() == 1
        assert "it was altered since" in at.text
    assert not stands(governor, request).granted


PATTERN = ["--pattern", "--for", "1h", "--reason", "the spring sale"]


def test_a_pattern_is_approved_for_a_while(governor, anna, dsn, capsys, monkeypatch):
    monkeypatch.setenv("GOVERNED_DB_MASKING_KEYS", "1:" + "a" * 43 + "=")
    with psycopg.connect(dsn, autocommit=True) as plain:
        plain.execute("DROP TABLE IF EXISTS sales; CREATE TABLE sales (id int, state text)")
        plain.execute("INSERT INTO sales SELECT n, 'new' FROM generate_series(1, 300) n")
    update = "UPDATE sales SET state = %s WHERE id > %s"
    with governed_db.connect(dsn, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(governed_db.ApprovalRequired) as waiting:
            conn.execute(update, ("old", 100))
        request = waiting.value.request
        for wrong, why in (
            (["--pattern"], "--for 1h"),
            (["--pattern", "--for", "1h"], "--reason"),
            (["--for", "1h"], "for --pattern"),
            (["--rows", "5"], "for --pattern"),
            ([*PATTERN, "--for", "soon"], "a span of time"),
            ([*PATTERN, "--seal", "0" * 64], "was altered"),
        ):
            assert main(["approvals", "approve", request.id, "--yes", *wrong]) == 1
            assert why in capsys.readouterr().err
        assert not stands(governor, request).granted
        assert main(["approvals", "approve", request.id, "--yes", *PATTERN]) == 0
        assert "run statements like it for 1h" in capsys.readouterr().out
        assert conn.execute(update, ("old", 100)).rowcount == 200
        time.sleep(0.1)  # one poll
        assert conn.execute(update, ("older", 120)).rowcount == 180
        with pytest.raises(governed_db.ApprovalRequired):  # as many rows as this one, and no more
            conn.execute(update, ("oldest", 0))
        with governed_db.acting_as(Identity.agent("other")), pytest.raises(governed_db.ApprovalRequired):
            conn.execute(update, ("older", 120))


@pytest.mark.parametrize(("more", "why"), [
    ({"needed": 2}, "one person's word"),
    ({"approvers": ("finance",)}, "member of finance"),
    ({"fingerprint": "0" * 16}, "cannot be held against the pattern"),
    ({"statement": "SELECT FROM WHERE"}, "cannot be held against the pattern"),
    # Whoever can write to the store shows one text, and means another.
    ({"fingerprint": read("DELETE FROM orders").fingerprint}, "cannot be held against the pattern"),
])  # fmt: skip
def test_a_pattern_is_no_smaller_thing_than_a_call(governor, anna, capsys, more, why):
    text = "UPDATE orders SET status = $2 WHERE status = $1"
    request = ask(governor, **{"fingerprint": read(text).fingerprint, **more})
    assert main(["approvals", "approve", request.id, "--yes", *PATTERN]) == 1
    assert why in capsys.readouterr().err
    assert governor.grants.listed() == []
    assert not stands(governor, request).granted


# -- keys


def test_a_key_is_made_once_and_for_its_owner(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(approvals.KEY_VARIABLE, raising=False)
    path = approvals.key_path(None)
    assert tmp_path in path.parents
    said = []
    for _ in range(2):
        assert main(["approvals", "key", "--as", 'dana "d" doe', "--group", "dba"]) == 0
        captured = capsys.readouterr()
        said.append(captured.out)
        assert str(path) in captured.err
    assert "is new" not in captured.err
    assert said[0] == said[1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (approver,) = tomllib.loads(said[0])["approver"]
    assert approver["subject"] == 'dana "d" doe'
    policy = tmp_path / "policy.toml"
    policy.write_text(f'extends = "standard"\n{said[0]}')
    governor = Governor.load(policy, state_dir=tmp_path)
    request = ask(governor, approvers=("dba",))
    key = keys.read(path, governor.approvals.settings.people)
    assert governor.approvals.approve(request.id, key=key).agreed
    governor.close()


def test_the_command_says_which_policy_gets_the_key(policy, tmp_path, monkeypatch, capsys):
    key = ["approvals", "key", "--as", "dana", "--key", str(tmp_path / "dana.key")]
    assert main(key) == 0
    assert f"in force here: {policy}" in capsys.readouterr().err
    monkeypatch.delenv("GOVERNED_DB_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(key) == 0
    assert "no file is in force here" in capsys.readouterr().err


def test_an_answer_under_another_policy_is_told_of(governor, anna, capsys):
    for asked_under, told in ((governor.policy.version, False), ("0123456789abcdef", True)):
        request = ask(governor, sql=f"SELECT '{asked_under}'", policy=asked_under)
        assert main(["approvals", "approve", request.id, "--yes"]) == 0
        assert ("under another policy than yours" in capsys.readouterr().err) is told


@pytest.mark.parametrize(
    "arguments",
    [[], ["--as", " "], ["--as", "human:dana"], ["--as", "x\x1b"], ["--as", "a", "--authority", "b"]],
)
def test_a_key_is_somebodys(arguments, tmp_path, capsys):
    file = tmp_path / "k"
    assert main(["approvals", "key", "--key", str(file), *arguments]) == 1
    assert capsys.readouterr().out == ""
    assert not file.exists()


def test_a_key_that_cannot_be_used_is_named_with_the_way_out(governor, tmp_path, monkeypatch, capsys):
    request = ask(governor)
    open_, strange, no_key = (tmp_path / name for name in ("open", "strange", "no"))
    keys.make(open_)
    open_.chmod(0o644)
    keys.make(strange)
    no_key.write_text("secret-but-no-key")
    no_key.chmod(0o600)
    for path, says in (
        (tmp_path / "none", "approvals key --as"),
        (open_, "(the key that signs answers)"),
        (open_, "chmod 600"),
        (strange, f"the policy {governor.policy.name} names nobody"),
        (strange, "[[approver]] subject"),
        (no_key, "openssl genpkey"),
    ):
        assert main(["approvals", "approve", request.id, "--yes", "--key", str(path)]) == 1
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") <= 2
        assert "secret-but" not in err
    monkeypatch.setenv(approvals.KEY_VARIABLE, "some.key")
    assert main(["approvals", "deny", request.id, "--reason", "x"]) == 1
    assert "absolute path" in capsys.readouterr().err
    assert not stands(governor, request).ignored


def test_an_authority_signs_for_people(policy, tmp_path, monkeypatch, capsys):
    desk = tmp_path / "desk.key"
    with TokenIssuer() as issuer:
        assert main(["approvals", "key", "--authority", "desk", "--key", str(desk)]) == 0
        block = capsys.readouterr().out
        policy.write_text(
            f'{policy.read_text()}[[issuer]]\nurl = "{issuer.url}"\naudience = "governed-db"\n'
            f'kind = "human"\ngroups = "groups"\n{block}issuer = "{issuer.url}"\n'
        )
        monkeypatch.setenv(approvals.KEY_VARIABLE, str(desk))
        governor = Governor.configured()
        request = ask(governor, needed=2, approvers=("dba",))
        yes = ["approvals", "approve", request.id, "--yes"]
        token = tmp_path / "token"
        token.write_text(issuer.token("dora", groups=["dba"]) + "\n")
        token.chmod(0o644)
        for arguments, why in (
            ([], "say for whom"),
            (["--by", "nobody"], "names no approver nobody"),
            (["--by", "carl"], "member of dba"),
            (["--by", "anna", "--token-file", str(token)], "give one of them"),
            (["--token-file", str(token)], "chmod 600"),
        ):
            assert main([*yes, *arguments]) == 1
            assert why in capsys.readouterr().err
        token.chmod(0o600)
        assert main([*yes, "--token-file", str(token)]) == 0
        assert main([*yes, "--by", "anna"]) == 0
        assert [(p.identity.subject, p.via) for p in stands(governor, request).granted] == [
            ("dora", "desk"),
            ("anna", "desk"),
        ]
        old = ask(governor, sql="other", approvers=("dba",))
        token.write_text(issuer.token("dora", groups=["dba"], exp=1))
        assert main(["approvals", "approve", old.id, "--yes", "--token-file", str(token)]) == 1
        err = capsys.readouterr().err
        assert "identity.token" in err
        assert not stands(governor, old).granted
        governor.close()


# -- watching


def test_without_a_terminal_changes_are_lines(governor, anna):
    first = ask(governor, sql="DELETE FROM a")
    with subprocess.Popen(
        [*COMMAND, "approvals", "watch"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:

        def line(request, word):
            said = process.stdout.readline()
            assert request.id in said
            assert word in said

        line(first, "waits")
        second = ask(governor, sql="DELETE FROM b", needed=2)
        line(second, "waits")
        governor.approvals.approve(second.id, key=ANNA.key)
        line(second, "waits, 1 of 2")
        governor.approvals.deny(second.id, key=BEN.key, reason="no")
        line(second, "denied")
        governor.approvals.approve(first.id, key=ANNA.key)
        line(first, "approved")
        governor.approvals.claim(stands(governor, first), by="test")
        line(first, "used")
        governor.approvals.withdraw(second.id, by=Identity.human("test"))
        line(second, "withdrawn")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == ""


@needs_rich
def test_on_a_terminal_it_is_a_page_that_answers(governor, anna):
    with terminal([*COMMAND, "approvals", "watch"], COLUMNS="120", lines=30) as at:
        at.until("Nothing waits")
        request = ask(governor, sql=f"{SQL}\n-- {EVIL}")
        at.until("1 waiting")
        at.until(request.id)
        at.until("239")  # the rows are in the list, whatever room there is
        at.type("\r")
        at.until("in its own words")
        at.until("y approves")
        at.type("y")
        at.until("Approve as human:anna?")
        at.type("never paid\r")
        at.until("approved by human:anna")
        found = stands(governor, request)
        assert found.agreed
        assert found.answers[0].answer.reason == "never paid"
        other = ask(governor, sql="DELETE FROM b")
        at.until(other.id)
        at.type("j\rn")
        at.until("Deny as human:anna?")
        at.type("\r")
        at.until("type a reason")
        at.type("no\x7fot this\r")
        at.until("was denied by")
        assert stands(governor, other).because == "not this"
        at.interrupt()
        assert at.ends() == 130
        assert "Traceback" not in at.text
        assert "\x1b]0;" not in at.raw
        assert at.raw.rindex("\x1b[?1049l") > at.raw.rindex("\x1b[?1049h")  # the screen is as it was before
    governor.approvals.withdraw(request.id, by=Identity.human("test"))
    governor.approvals.withdraw(other.id, by=Identity.human("test"))


@needs_rich
def test_without_a_key_the_page_shows_and_signs_nothing(governor, monkeypatch, tmp_path):
    monkeypatch.setenv(approvals.KEY_VARIABLE, str(tmp_path / "none"))
    request = ask(governor)
    with terminal([*COMMAND, "approvals", "watch"], COLUMNS="100", lines=24) as at:
        at.until(request.id)
        at.type("\ry")
        at.until("there is no key to sign with")
        at.type("qq")
        assert at.ends() == 0
    assert not stands(governor, request).granted


@needs_rich
def test_what_is_altered_while_it_is_read_is_closed(governor):
    from governed_db.cli import requests
    from governed_db.cli.watching import Drawn, Entry, Page, keys, pressed, renewed

    def entry(of):
        filed = evolve(governor.approvals.get(of.id), request=of)
        return Entry(filed, governor.approvals.stands(filed, datetime.now(UTC)), requests.WAITS)

    first, second = ask(governor), ask(governor, sql="DELETE FROM b")
    page = renewed(Page(signer="human:anna"), [entry(first), entry(second)])
    for key in keys("\x1b[B\x1b[A\x1bOBkj\r"):
        page, asked = pressed(page, key)
        assert asked is None
    assert page.opened.id == second.id
    altered = evolve(second, question=evolve(second.question, sql="DELETE FROM orders"))
    assert "altered" in renewed(page, [entry(altered)]).message
    assert "not open any more" in renewed(page, [entry(first)]).message
    for key in "y\x1b":
        page, asked = pressed(page, key)
        assert asked is None
    assert page.message == "nothing was signed"
    page, _ = pressed(page, "y")
    page, asked = pressed(page, "\r")
    assert (asked.request, asked.seal, asked.granted) == (second.id, second.seal(), True)

    from rich.console import Console

    long = evolve(second, question=evolve(second.question, sql="\n".join(map(str, range(100)))))
    console = Console(width=60, height=12, force_terminal=True)
    for scrolled in (0, 50, 10_000):
        shown = evolve(page, opened=entry(long), scroll=scrolled)
        with console.capture() as capture:
            console.print(Drawn(shown, datetime.now(UTC) + timedelta(seconds=1)), end="")
        drawn = capture.get()
        assert drawn.count("\n") == 11
        assert ("more lines below" in drawn) == (scrolled < 1000)


def test_a_store_that_is_gone_is_said_in_a_line(policy, state_dir, capsys, monkeypatch):
    state_dir.mkdir(mode=0o700)
    (state_dir / stores.FILE).write_text("no database")
    os.chmod(state_dir / stores.FILE, 0o600)
    monkeypatch.delenv("GOVERNED_DB_MASKING_KEYS")
    for arguments in (["list"], ["show", "apr_1"], ["withdraw", "apr_1"]):
        assert main(["approvals", *arguments]) == 1
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert str(state_dir / stores.FILE) in err

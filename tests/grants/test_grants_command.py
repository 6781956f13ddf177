"""``governed-db grants`` in processes of its own, beside one that sends statements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing

import psycopg
import pytest

from governed_db import Governor, Identity, connect
from governed_db.approval import keys
from governed_db.audit import reader
from governed_db.cli import main
from tests.approvers import BEN

BOT = Identity.agent("bot")
EMAIL = "SELECT email FROM people"
CLEAR = ("--to", "agent:bot", "--clear", "public.people.email", "--because", "ticket 7")


@pytest.fixture(scope="module")
def people(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
        conn.execute("INSERT INTO people VALUES (1, 'ann@example.org')")
    return dsn


@pytest.fixture
def key(tmp_path, monkeypatch):
    path = tmp_path / "anna.key"
    keys.make(path)
    monkeypatch.setenv("GOVERNED_DB_APPROVER_KEY", str(path))
    return keys.unnamed(path).named("anna")


@pytest.fixture
def policy(tmp_path, key, monkeypatch):
    path = tmp_path / "policy.toml"
    path.write_text(
        'extends = "standard"\n[approvals]\npoll_seconds = 0.05\n'
        f'[[approver]]\nsubject = "anna"\nkeys = ["{key.text}"]\n' + BEN.as_toml()
    )
    monkeypatch.setenv("GOVERNED_DB_CONFIG", str(path))
    return path


def run(*arguments):
    """Run the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "governed_db.cli", "grants", *arguments],
        check=False, capture_output=True, text=True, timeout=60, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(conn, wanted):
    """Send the statement until it shows what is wanted."""
    for _ in range(200):
        if (conn.execute(EMAIL).fetchone()[0] == "ann@example.org") is wanted:
            return
        time.sleep(0.02)
    pytest.fail("the process has not heard of it")


def test_a_running_process_hears_of_it(people, policy, capsys):
    with closing(Governor.load(policy)) as governor, connect(people, governor=governor, identity=BOT) as conn:
        conn.autocommit = True
        until(conn, wanted=False)
        said = run("add", *CLEAR, "--for", "30m")
        grant = said.split(":")[0]
        assert "for agent:bot: public.people.email is read unmasked; until " in said
        assert "within 0.05 s" in said
        until(conn, wanted=True)
        assert main(["grants", "list", "--json"]) == 0
        (listed,) = json.loads(capsys.readouterr().out)["grants"]
        assert (listed["id"], listed["standing"], listed["by"]) == (grant, "in force", "anna")
        run("revoke", grant, "--because", "done")
        until(conn, wanted=False)
    entries = list(reader.read(governor.trail.folder))
    told = [(e["event"], e["details"]["grant"]) for e in entries if str(e.get("event")).startswith("grant.")]
    names = ["grant.added", "grant.revoked", "grant.revoked", "grant.verified"]
    assert sorted(told) == [(name, grant) for name in names]
    ran = [e for e in entries if e.get("may", {}).get("grants")]
    assert ran
    assert all(e["may"]["grants"] == [grant] for e in ran)


def test_it_says_what_there_is(policy, capsys):
    assert main(["grants", "list"]) == 0
    assert capsys.readouterr().out == "nothing is granted\n"
    add = ["grants", "add", "--to", "group:ops", "--rule", "locks", "--on", "public.a", "--database", "shop"]
    assert (
        main([*add, "--rows", "5", "--from", "2090-01-01T00:00+01:00", "--for", "8h", "--because", "b"]) == 1
    )
    assert "starts more than 31 days after" in capsys.readouterr().err
    assert main([*add, "--rows", "5", "--for", "8h", "--because", "the \x1b[2J move"]) == 0
    grant = capsys.readouterr().out.split(":")[0]
    assert main(["grants", "list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(f"{grant} in force gives for group:ops: the rule locks does not hold; a statement")
    assert "writes up to 5 rows (on public.a in shop); until 2" in said
    assert "\x1b" not in said
    assert main(["grants", "revoke", grant]) == 0
    capsys.readouterr()
    assert main(["grants", "list"]) == 0
    assert f"{grant}  revoked (by anna)" in capsys.readouterr().out


def test_who_grants_alone_is_told_that_a_rule_asks_for_more(policy, capsys):
    policy.write_text(
        policy.read_text() + '[[rule]]\nid = "payouts"\nwhen = { relations = ["public.payments"] }\n'
        'then = "approve"\ncount = 2\nbecause = "money leaves"\n'
    )
    for rule, told in (("payouts", True), ("locks", False)):
        add = ["grants", "add", "--to", "agent:bot", "--rule", rule, "--for", "1h", "--because", "b"]
        assert main(add) == 0
        assert ("until 2 different people have granted this" in capsys.readouterr().out) is told


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((*CLEAR, "--for", "30"), "a span of time is written"),
        ((*CLEAR, "--for", "2d"), "lasts for longer than a grant may (86400 seconds)"),
        ((*CLEAR, "--for", "1h", "--from", "2030-01-01T00:00"), "with its zone"),
        ((*CLEAR, "--for", "1h", "--to", "human:anna"), "for the signer"),
        ((*CLEAR, "--for", "1h", "--to", "bot"), "kind:subject"),
        ((*CLEAR, "--for", "1h", "--rule", "privileges"), "no grant waives the rule privileges"),
        ((*CLEAR, "--for", "1h", "--key", "/nowhere"), "there is no key"),
        (("--clear", "a.b.c", "--because", "x", "--for", "1h"), "say to whom"),
        (("--like", "apr_1", "--because", "x", "--for", "1h"), "there is no approval request apr_1"),
        (("--like", "apr_1", "--on", "a.b", "--because", "x", "--for", "1h"), "leave --fingerprint"),
    ],
)
def test_what_cannot_be_granted(policy, capsys, arguments, why):
    assert main(["grants", "add", *arguments]) == 1
    assert why in capsys.readouterr().err


def test_statements_like_one_that_was_asked_for(people, policy, capsys, tmp_path):
    with closing(Governor.load(policy)) as governor, connect(people, governor=governor, identity=BOT) as conn:
        conn.autocommit = True
        with pytest.raises(psycopg.Error) as asked:
            conn.execute("DELETE FROM people")
        like = ["grants", "add", "--like", asked.value.request.id, "--for", "1h", "--because", "test"]
        assert main(like) == 1
        out, err = capsys.readouterr()
        assert "DELETE FROM people" in out
        assert "--yes signs" in err
        assert main([*like, "--yes", "--rows", "1"]) == 0
        assert "statements of the pattern" in capsys.readouterr().out
        governor.approvals.look()
        assert conn.execute("DELETE FROM people").rowcount == 1

"""``governed-db check``: verdicts as exit statuses, for people and for programs, and nothing is run."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import psycopg
import pytest

from governed_db.cli import main
from governed_db.testing import EmbeddedPostgres

AGENT = ("--as", "agent:sales-copilot")


@pytest.fixture(scope="module")
def people(server: EmbeddedPostgres) -> Iterator[str]:
    """The conninfo of a database with one table, in which ``email`` is recognised."""
    conninfo = server.create_database("cli_check")
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE people (id integer PRIMARY KEY, email text, country text)")
        connection.execute(
            "INSERT INTO people SELECT n, 'x@example.org', 'DE' FROM generate_series(1, 300) n"
        )
    yield conninfo
    server.drop_database("cli_check")


@pytest.mark.parametrize(
    ("sql", "status", "verdict", "rule"),
    [
        ("SELECT 1", 0, "allow", "reads"),
        ("", 0, "allow", "empty"),
        ("INSERT INTO t VALUES (1)", 0, "allow", "small-inserts"),
        ("DROP TABLE t", 2, "block", "drop"),
        ("SELECT 1; SELECT 2", 2, "block", "one-statement"),
        ("SELEC 1", 2, "block", ""),
        ("DELETE FROM t", 3, "needs approval", "unconstrained-changes"),
        ("CREATE TABLE t (a int)", 3, "needs approval", "schema-changes"),
    ],
)
def test_the_verdict_is_the_exit_status(
    sql: str, status: int, verdict: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", sql, *AGENT]) == status
    out = capsys.readouterr().out
    assert f"verdict   {verdict}\n" in out
    assert "caller    agent:sales-copilot\n" in out
    assert rule in out
    if status:
        assert "\nreason    " in out
        assert "\nremedy    " in out


def test_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "DELETE FROM customers", *AGENT, "--json"]) == 3
    answer = orjson.loads(capsys.readouterr().out)
    assert answer["verdict"] == "needs_approval"
    assert answer["rule"] == "unconstrained-changes"
    assert answer["identity"] == "agent:sales-copilot"
    assert answer["masked"] is None  # not known without a database
    assert answer["reason"]
    assert answer["remedy"]
    assert answer["policy"]
    assert answer["statement"]["normalised"] == "DELETE FROM customers"


def test_no_literal_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ([], ["--json"]):
        main(["check", "SELECT * FROM t WHERE a = 'anna@example.org' AND b = 4711", *AGENT, *form])
        out = capsys.readouterr().out
        assert "anna" not in out
        assert "4711" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["check"],
        ["check", "SELECT 1", "--nonsense"],
        ["nonsense"],
        ["check", "SELECT 1", "--as", "robot:x"],
        ["check", "SELECT 1", "--as", "agent:"],
        ["check", "SELECT 1", "--policy", "/nonexistent/policy.toml"],
        ["check", "SELECT 1", "--dsn", "host=/nonexistent password=hunter2"],
        ["check", "SELECT 1", "--dsn", "not a conninfo"],
    ],
)
def test_usage_errors_and_failures_are_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("governed-db") >= 1
    assert "hunter2" not in captured.err
    assert "Traceback" not in captured.err


def test_a_policy_that_cannot_be_used_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text('extends = "nothing"\n')
    assert main(["check", "SELECT 1", "--policy", str(broken)]) == 1
    assert str(broken) in capsys.readouterr().err
    monkeypatch.setenv("GOVERNED_DB_CONFIG", str(broken))
    assert main(["check", "SELECT 1"]) == 1


def test_a_failure_says_what_would_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVERNED_DB_CONFIG", "policy.toml")
    assert main(["check", "SELECT 1"]) == 1
    err = capsys.readouterr().err
    assert "holds a relative path" in err
    assert "Give GOVERNED_DB_CONFIG an absolute path." in err


def test_the_policy_can_be_named(tmp_path: Path) -> None:
    insert = "INSERT INTO t VALUES (1)"
    assert main(["check", insert, *AGENT, "--policy", "standard"]) == 0
    assert main(["check", insert, *AGENT, "--policy", "readonly"]) == 2
    own = tmp_path / "own.toml"
    own.write_text('extends = "readonly"\nservices = ["billing"]\n')
    assert main(["check", insert, *AGENT, "--policy", str(own)]) == 2


def test_standard_input_is_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"DROP TABLE t\n")))
    assert main(["check", "-", *AGENT]) == 2
    assert "rule      drop\n" in capsys.readouterr().out


@pytest.mark.parametrize("raw", [b"SELECT '\xff'", b"\xc3", b"SELECT 1\x00; DROP TABLE t"])
def test_bytes_that_are_no_text_are_blocked(
    raw: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert main(["check", "-"]) == 2
    assert "verdict   block\n" in capsys.readouterr().out


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", 'DROP TABLE "\x1b[2J\u202egone"', *AGENT])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "gone" in out


def test_the_database_says_what_is_masked(people: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "SELECT id, email FROM people", *AGENT, "--dsn", people, "--json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert [(m["column"], m["label"]) for m in answer["masked"]] == [("public.people.email", "EMAIL_ADDRESS")]
    assert main(["check", "SELECT id, email FROM people", *AGENT, "--dsn", people]) == 0
    assert "masked    public.people.email (EMAIL_ADDRESS)\n" in capsys.readouterr().out
    assert main(["check", "SELECT id FROM people WHERE email LIKE 'a%'", *AGENT, "--dsn", people]) == 2
    assert "rule      masking.derived\n" in capsys.readouterr().out
    assert main(["check", "SELECT id FROM people", *AGENT, "--dsn", people, "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["masked"] == []


def test_values_tell_what_names_do_not(people: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(people, autocommit=True) as connection:
        connection.execute("CREATE TABLE misc (a integer PRIMARY KEY, b text)")
        connection.execute("INSERT INTO misc SELECT n, n || 'x@example.org' FROM generate_series(1, 99) n")
    try:
        assert main(["check", "SELECT a, b FROM misc", *AGENT, "--dsn", people]) == 0
        assert "masked    public.misc.b (EMAIL_ADDRESS)\n" in capsys.readouterr().out
        assert main(["check", "SELECT a FROM misc WHERE b LIKE 'a%'", *AGENT, "--dsn", people]) == 2
        assert "rule      masking.derived\n" in capsys.readouterr().out
        # What the server is told to withhold is what a caller sees masked.
        assert main(["harden", "--dsn", people, "--policy", "standard"]) == 0
        (grant,) = (line for line in capsys.readouterr().out.splitlines() if '"misc" TO "governed' in line)
        assert 'SELECT ("a")' in grant
    finally:
        with psycopg.connect(people, autocommit=True) as connection:
            connection.execute("DROP TABLE misc")


def test_who_may_see_it_sees_nothing_masked(
    people: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('extends = "standard"\nservices = ["billing"]\n')
    arguments = ["--policy", str(policy), "--dsn", people, "--json", "--as"]
    for caller, masked in [("service:billing", 0), ("service:other", 1), ("agent:billing", 1)]:
        assert main(["check", "SELECT email FROM people", *arguments, caller]) == 0
        assert len(orjson.loads(capsys.readouterr().out)["masked"]) == masked


def test_nothing_of_the_statement_is_run(people: str, server: EmbeddedPostgres) -> None:
    for sql in ("DELETE FROM people WHERE country = 'DE'", "SELECT 'marker' FROM people", "TRUNCATE people"):
        main(["check", sql, *AGENT, "--dsn", people])
    sent = server.statements("cli_check")
    assert not [text for text in sent if "marker" in text or text.startswith(("DELETE", "TRUNCATE"))]
    with psycopg.connect(people) as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (300,)


def test_plain_text_needs_no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['rich'] = None\n"
         "from governed_db.cli import main; sys.exit(main(['check', 'DROP TABLE t']))"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout.startswith("verdict   block\n")


def test_a_reader_that_leaves_is_no_traceback() -> None:
    program = "import sys; from governed_db.cli import main; sys.exit(main(['check', 'SELECT 1', '--json']))"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 1


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert "psycopg" in capsys.readouterr().out
    for arguments in (["--help"], ["check", "--help"], ["demo", "--help"]):
        assert main(arguments) == 0
        assert "usage: governed-db" in capsys.readouterr().out

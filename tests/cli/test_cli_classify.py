"""``governed-db classify``: verdicts with reasons and without values, a file for people, drift for CI."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import orjson
import psycopg
import pytest

from governed_db import Governor, Identity, connect
from governed_db.cli import main
from governed_db.errors import PolicyError
from governed_db.policy.classification import DEFAULT_NAME, read
from governed_db.testing import EmbeddedPostgres

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot")
CANARY = "canary@example.org"
SCHEMA = f"""
    DROP TABLE IF EXISTS people CASCADE;
    CREATE TABLE people (id integer PRIMARY KEY, email text, email_verified boolean, plan text);
    INSERT INTO people VALUES (1, '{CANARY}', true, 'gold');
    CREATE VIEW contacts AS SELECT id, email AS reach FROM people;
"""


@pytest.fixture(scope="module")
def database(server: EmbeddedPostgres) -> Iterator[str]:
    yield server.create_database("cli_classify")
    server.drop_database("cli_classify")


@pytest.fixture
def people(database: str) -> str:
    run(database, SCHEMA)
    return database


def run(conninfo: str, sql: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.encode())


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


def decide(file: Path, column: str, decided: str) -> None:
    """Do what a person with an editor does."""
    head, found, tail = file.read_text(encoding="utf-8").partition(f'[column."{column}"]')
    assert found
    file.write_text(
        head + found + tail.replace('decided = "auto"', f'decided = "{decided}"', 1), encoding="utf-8"
    )


def test_the_table_says_what_and_why(people: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", people]) == 0
    out = capsys.readouterr().out
    email = next(line for line in out.splitlines() if line.startswith("public.people.email "))
    assert "EMAIL_ADDRESS" in email
    assert "text" in email
    assert "public.contacts.reach" in out
    assert "lineage" in out
    assert "email_verified" not in out
    assert "--all" in out
    assert "2 of 6 columns in 2 relations are sensitive" in out


def test_all_shows_what_looked_like_it_and_why_not(people: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", people, "--all"]) == 0
    line = next(
        x for x in capsys.readouterr().out.splitlines() if x.startswith("public.people.email_verified")
    )
    assert "EMAIL_ADDRESS" in line


@pytest.mark.parametrize("form", ["text", "json", "toml"])
@pytest.mark.parametrize("sample", ["--sample", "--no-sample"])
def test_no_value_is_shown(form: str, sample: str, people: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", people, "--all", "--format", form, sample]) == 0
    captured = capsys.readouterr()
    assert "people.email" in captured.out or '"email"' in captured.out
    assert CANARY not in captured.out + captured.err
    assert "gold" not in captured.out + captured.err


def test_programs_read_json_and_toml(people: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", people, "--format", "json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert answer["changes"] is None
    (email,) = (c for c in answer["columns"] if (c["relation"], c["column"]) == ("people", "email"))
    assert email["label"] == "EMAIL_ADDRESS"
    assert email["decided"] == "auto"
    assert 0 < email["confidence"] <= 1
    assert main(["classify", people, "--format", "toml"]) == 0
    entries = read(capsys.readouterr().out, "out")
    assert entries["public", "people", "email"].label == "EMAIL_ADDRESS"


def test_without_look_ups_of_rows_no_row_is_read(people: str, server: EmbeddedPostgres) -> None:
    before = len(server.statements("cli_classify"))
    assert main(["classify", people, "--no-sample"]) == 0
    sent = server.statements("cli_classify")[before:]
    assert sent
    assert not [text for text in sent if "people" in text]


def test_values_tell_what_names_do_not(
    people: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        people,
        "CREATE TABLE IF NOT EXISTS misc (a integer, b text); TRUNCATE misc; INSERT INTO misc"
        " SELECT n, 'person' || n || '@example.org' FROM generate_series(1, 200) n",
    )
    try:
        file = tmp_path / "c.toml"
        assert main(["classify", people, "--write", str(file)]) == 0
        out = capsys.readouterr().out
        line = next(line for line in out.splitlines() if line.startswith("public.misc.b "))
        assert "EMAIL_ADDRESS" in line
        assert "values" in line
        assert "person" not in out
        # What only values had told is not forgotten because nobody looked at them.
        assert main(["classify", people, "--no-sample", "--check", str(file)]) == 0
        assert main(["classify", people, "--no-sample", "--write", str(file)]) == 0
        assert read(file.read_text(), "f")["public", "misc", "b"].label == "EMAIL_ADDRESS"
    finally:
        run(people, "DROP TABLE misc")


def test_what_the_role_may_not_read_is_told(
    people: str, server: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    run(people, "DROP ROLE IF EXISTS classify_blind; CREATE ROLE classify_blind LOGIN")
    try:
        assert main(["classify", f"{people} user=classify_blind"]) == 0
        out = capsys.readouterr().out
        assert "EMAIL_ADDRESS" in out  # by its name
        assert "rows of public.people were not looked at: the role may not read" in out
    finally:
        run(people, "DROP ROLE classify_blind")


def test_the_file_has_a_name_of_its_own(
    people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["classify", people, "--write"]) == 0
    assert f"written to {DEFAULT_NAME}" in capsys.readouterr().out
    assert [f.name for f in tmp_path.iterdir() if f.is_file()] == [DEFAULT_NAME]
    assert stat.S_IMODE((tmp_path / DEFAULT_NAME).stat().st_mode) == 0o644
    assert main(["classify", people, "--check"]) == 0
    assert "nothing changed" in capsys.readouterr().out


def test_decisions_outlive_the_next_write(people: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    assert main(["classify", people, "--write", str(file)]) == 0
    first = file.read_bytes()
    assert main(["classify", people, "--write", str(file)]) == 0
    assert file.read_bytes() == first
    decide(file, "public.people.email", "rejected")
    assert main(["classify", people, "--check", str(file)]) == 0  # what people decide is no drift
    assert main(["classify", people, "--write", str(file)]) == 0
    edited = file.read_text()
    assert read(edited, "f")["public", "people", "email"].decided == "rejected"
    assert main(["classify", people, "--write", str(file)]) == 0
    assert file.read_text() == edited


DRIFT = [
    ("ALTER TABLE people ADD phone_number text", "public.people.phone_number: new: PHONE_NUMBER"),
    ("ALTER TABLE people ADD height integer", "public.people.height: new: plain"),
    ("ALTER TABLE people DROP plan", "public.people.plan: gone, it was plain"),
    ("ALTER TABLE people ALTER id TYPE bigint", None),
    (
        "ALTER TABLE people ALTER plan TYPE varchar(9)",
        "public.people.plan: its type was text and is varchar(9)",
    ),
    ("COMMENT ON COLUMN people.plan IS 'pii:username'", "public.people.plan: it was plain and is USERNAME"),
]


@pytest.mark.parametrize(("ddl", "said"), DRIFT)
def test_drift_ends_a_check_with_its_own_status(
    ddl: str, said: str | None, people: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(people, "DROP VIEW contacts")
    file = tmp_path / "c.toml"
    assert main(["classify", people, "--write", str(file)]) == 0
    run(people, ddl)
    before = file.read_bytes()
    capsys.readouterr()
    assert main(["classify", people, "--check", str(file)]) == 3
    out = capsys.readouterr().out
    assert "1 change since" in out
    assert said is None or said in out
    assert file.read_bytes() == before
    assert main(["classify", people, "--check", str(file), "--format", "json"]) == 3
    assert len(orjson.loads(capsys.readouterr().out)["changes"]) == 1
    assert main(["classify", people, "--write", str(file)]) == 0
    assert "1 change since" in capsys.readouterr().out
    assert main(["classify", people, "--check", str(file)]) == 0


def test_what_hangs_on_a_verdict_drifts_with_it(
    people: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(people, "CREATE TABLE IF NOT EXISTS misc (a integer, b text); TRUNCATE misc")
    run(people, "INSERT INTO misc SELECT n, 'p' || n || '@example.org' FROM generate_series(1, 40) n")
    run(people, "CREATE OR REPLACE VIEW shown AS SELECT a, b FROM misc")
    try:
        file = tmp_path / "c.toml"
        assert main(["classify", people, "--write", str(file)]) == 0
        run(people, "UPDATE misc SET b = 'word ' || a")
        capsys.readouterr()
        assert main(["classify", people, "--check", str(file)]) == 3
        out = capsys.readouterr().out
        assert "public.misc.b: it was EMAIL_ADDRESS and is plain" in out
        assert "public.shown.b: it was EMAIL_ADDRESS and is plain" in out
        assert main(["classify", people, "--write", str(file)]) == 0
        assert main(["classify", people, "--check", str(file)]) == 0
    finally:
        run(people, "DROP TABLE misc CASCADE")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--write"],
        ["dbname=x", "--write", "a", "--check", "a"],
        ["dbname=x", "--format", "yaml"],
        ["not a conninfo"],
        ["host=/nonexistent password=hunter2"],
    ],
)
def test_usage_errors_and_failures_are_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "governed-db classify" in captured.err
    assert "hunter2" not in captured.err
    assert "Traceback" not in captured.err


def test_a_file_that_is_none_is_left_alone(
    people: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    assert main(["classify", people, "--check", str(file)]) == 1
    assert "--write" in capsys.readouterr().err
    for content in (
        b"extends = 'standard'\n",
        b"\xff\xfe",
        b"format = 1\n[column.'a.b.c']\ndecided = 'no'\n",
    ):
        file.write_bytes(content)
        assert main(["classify", people, "--write", str(file)]) == 1
        assert str(file) in capsys.readouterr().err
        assert file.read_bytes() == content
    assert main(["classify", people, "--write", str(tmp_path / "none" / "c.toml")]) == 1


# -- a policy that names the file


@pytest.fixture
def reviewed(people: str, tmp_path: Path) -> tuple[Path, Path]:
    file, policy = tmp_path / "c.toml", tmp_path / "p.toml"
    run(people, "DROP VIEW contacts")
    assert main(["classify", people, "--write", str(file)]) == 0
    policy.write_text(f'extends = "standard"\n[masking]\nclassification = "{file}"\n', encoding="utf-8")
    policy.chmod(0o600)
    return file, policy


def seen(people: str, governor: Governor) -> tuple[object, ...]:
    with connect(people, governor=governor, identity=AGENT, autocommit=True) as connection:
        row = connection.execute("SELECT email, plan FROM people").fetchone()
        assert row is not None
        return tuple(row)


MASKED = "[EMAIL_ADDRESS]"


def test_decisions_hold_once_a_policy_names_the_file(people: str, reviewed: tuple[Path, Path]) -> None:
    file, policy = reviewed
    governor = Governor.load(policy)
    assert seen(people, governor) == (MASKED, "gold")
    decide(file, "public.people.email", "rejected")
    assert seen(people, governor) == (MASKED, "gold")  # not before somebody says so
    before = governor.policy.version
    governor.reload()
    assert governor.policy.version != before
    assert seen(people, governor) == (CANARY, "gold")
    with file.open("a") as end:
        end.write('[column."public.people.plan"]\ndecided = "USERNAME"\n')
    governor.reload()
    assert seen(people, governor) == (CANARY, "[USERNAME]")
    policy.write_text(policy.read_text() + '[masking.columns]\n"public.people.plan" = false\n')
    governor.reload()
    assert seen(people, governor) == (CANARY, "gold")
    governor.close()


def test_a_view_follows_what_is_decided_about_its_table(
    people: str, reviewed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file, policy = reviewed
    run(people, "CREATE VIEW contacts AS SELECT email AS reach FROM people")
    for decided, expected in (("rejected", CANARY), ("USERNAME", "[USERNAME]")):
        assert main(["classify", people, "--write", str(file)]) == 0
        decide(file, "public.people.email", decided)
        governor = Governor.load(policy)
        with connect(people, governor=governor, identity=AGENT) as connection:
            assert connection.execute("SELECT reach FROM contacts").fetchone() == (expected,)
        governor.close()
        assert main(["classify", people, "--write", str(file)]) == 0
        shown = read(file.read_text(), "f")["public", "contacts", "reach"]
        assert shown.label == ("USERNAME" if decided == "USERNAME" else "")
        edit(file, f'decided = "{decided}"', 'decided = "auto"')


def test_what_was_found_once_stays_masked(people: str, reviewed: tuple[Path, Path]) -> None:
    file, policy = reviewed
    edit(
        file,
        '"public.people.plan" = "text"\n',
        '[column."public.people.plan"]\nlabel = "USERNAME"\nbasis = "values"\n',
    )
    governor = Governor.load(policy)
    assert seen(people, governor) == (MASKED, "[USERNAME]")
    governor.close()


def test_a_rejection_does_not_outlive_the_type(
    people: str, reviewed: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    file, policy = reviewed
    decide(file, "public.people.email", "rejected")
    run(people, "ALTER TABLE people ALTER email TYPE varchar(80)")
    governor = Governor.load(policy)
    assert seen(people, governor) == (MASKED, "gold")
    (told,) = (r.getMessage() for r in caplog.records if "public.people.email" in r.getMessage())
    assert "rejected as text and is varchar(80) now" in told
    governor.close()


def test_a_rejection_holds_for_partitions_as_for_the_table(people: str, tmp_path: Path) -> None:
    run(
        people,
        """DROP TABLE people CASCADE;
        CREATE TABLE people (id integer, email text, plan text) PARTITION BY LIST (id);
        CREATE TABLE people_1 PARTITION OF people FOR VALUES IN (1);
        INSERT INTO people VALUES (1, 'hr@example.org', 'gold')""",
    )
    file, policy = tmp_path / "c.toml", tmp_path / "p.toml"
    assert main(["classify", people, "--write", str(file)]) == 0
    decide(file, "public.people.email", "rejected")
    policy.write_text(f'extends = "standard"\n[masking]\nclassification = "{file}"\n', encoding="utf-8")
    governor = Governor.load(policy)
    assert seen(people, governor) == ("hr@example.org", "gold")
    with connect(people, governor=governor, identity=AGENT) as connection:
        assert connection.execute("SELECT email FROM people_1").fetchone() == ("hr@example.org",)
    governor.close()


def test_a_file_that_cannot_be_used_is_an_error_and_the_old_policy_stays(
    people: str, reviewed: tuple[Path, Path]
) -> None:
    file, policy = reviewed
    governor = Governor.load(policy)
    edit(file, 'decided = "auto"', 'decided = "never mind"')
    with pytest.raises(PolicyError, match=rf"{file}:\d+:1: unknown decision"):
        governor.reload()
    assert seen(people, governor) == (MASKED, "gold")
    file.unlink()
    with pytest.raises(PolicyError, match="cannot be read"):
        governor.reload()
    governor.close()


@pytest.mark.skipif(os.name != "posix", reason="mode bits mean nothing elsewhere")
def test_a_file_that_others_can_write_is_not_believed(reviewed: tuple[Path, Path]) -> None:
    file, policy = reviewed
    file.chmod(0o666)
    with pytest.raises(PolicyError, match="can be written by other users"):
        Governor.load(policy)

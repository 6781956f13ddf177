"""``governed-db policy test`` and ``policy explain``, as a shell sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import psycopg
import pytest

from governed_db import Governor, Identity
from governed_db.cli import main
from governed_db.policy import PRESETS
from governed_db.testing import EmbeddedPostgres


@pytest.fixture(scope="module")
def people(server: EmbeddedPostgres) -> Iterator[str]:
    conninfo = server.create_database("cli_policy")
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE people (id integer PRIMARY KEY, email text, country text)")
    yield conninfo
    server.drop_database("cli_policy")


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_hold_what_they_say(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", name]) == 0
    assert "0 do not" in capsys.readouterr().out


OWN = """
extends = "standard"
services = ["billing"]

[[rule]]
id = "no-deletes-at-night"
when = { effects = ["delete"], time = { from = 20:00:00, to = 06:00:00 } }
then = "block"
because = "nobody watches at night"

[[rule]]
id = "support-may-truncate"
when = { effects = ["truncate"], identity = { group = ["support"] } }
then = "allow"
because = "support empties its own tables"

[[example]]
as = "agent:copilot"
at = 2026-03-02T22:00:00Z
sql = "DELETE FROM people WHERE id = %s"
params = [7]
expect = "block"
rule = "no-deletes-at-night"

[[example]]
as = "agent:copilot"
at = 2026-03-02T12:00:00Z
sql = "DELETE FROM people WHERE id = %(id)s"
params = { id = 7 }
expect = "allow"
rule = "small-changes"

[[example]]
as = "human:anna"
groups = ["support"]
sql = "TRUNCATE people"
expect = "allow"

[[example]]
as = "service:billing"
sql = "CREATE INDEX ON people (country)"
expect = "allow"
rule = "service"

[[example]]
as = "service:billing"
on_behalf_of = "agent:copilot"
sql = "CREATE INDEX ON people (country)"
expect = "approve"
"""


def test_time_parameters_groups_and_principals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", written(tmp_path, OWN)]) == 0, capsys.readouterr().out
    assert "by the grammar alone" in capsys.readouterr().out


def test_a_failure_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        'extends = "standard"\n[[example]]\nas = "agent:x"\n'
        'sql = "DROP TABLE t -- hunter2"\nexpect = "allow"\nrule = "reads"\nbecause = "why not"\n'
    )
    path = written(tmp_path, text)
    assert main(["policy", "test", path]) == 2
    out = capsys.readouterr().out
    assert f"{path}:4: expected allow by rule 'reads', got block by rule 'drop' (why not)\n" in out
    assert "1 examples judged" in out
    assert "hunter2" not in out
    assert main(["policy", "test", path, "--json"]) == 2
    (failure,) = orjson.loads(capsys.readouterr().out)["failures"]
    assert failure["line"] == 4


@pytest.mark.parametrize(
    "text", ['extends = "standard"\n', 'extends = "nothing"\n', '[[example]]\nsql = "SELECT 1"\n']
)
def test_nothing_to_test_or_a_broken_file_is_a_failure(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "test", written(tmp_path, text)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "governed-db policy test: " in captured.err


MASKED = """
extends = "standard"

[masking.columns]
"public.persons.nickname" = "PERSON_NAME"

[[rule]]
id = "payrol"
when = { relations = ["payroll.*"] }
then = "block"
because = "it is for people of HR"

[[example]]
as = "agent:copilot"
sql = "SELECT id, email FROM people"
expect = "allow"
masked = ["people.email"]

[[example]]
as = "agent:copilot"
sql = "SELECT email FROM people WHERE email LIKE 'a%'"
expect = "block"
rule = "masking.derived"

[[example]]
as = "agent:copilot"
sql = "SELECT id, email FROM people"
expect = "allow"
masked = ["country"]
"""


def test_a_database_tells_masks_and_names_that_are_not_there(
    people: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, MASKED)
    assert main(["policy", "test", path, "--dsn", people]) == 2
    out = capsys.readouterr().out
    assert "3 examples judged with the catalog of a database: 2 hold, 1 do not" in out
    assert "country comes back unmasked and public.people.email comes back masked" in out
    assert "rule 'payrol': no relation of the database matches 'payroll.*'" in out
    assert "the masking override 'public.persons.nickname' names no column" in out


def test_masks_are_not_judged_without_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", written(tmp_path, MASKED)]) == 2  # masking.derived is not known either
    assert "2 of them say what is masked" in capsys.readouterr().out


def test_a_schema_beside_the_policy_fills_a_throwaway_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "schema.sql").write_text("CREATE TABLE people (id int PRIMARY KEY, email text);")
    text = MASKED.replace('masked = ["country"]', 'masked = ["public.people.email"]')
    assert main(["policy", "test", written(tmp_path, text + '[test]\nschema = "schema.sql"\n')]) == 0
    assert "with the catalog of a database: 3 hold" in capsys.readouterr().out


def test_a_schema_that_does_not_run_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "schema.sql").write_text("CREATE TABLE people (id nonsense);")
    assert main(["policy", "test", written(tmp_path, MASKED + '[test]\nschema = "schema.sql"\n')]) == 1
    assert "schema.sql" in capsys.readouterr().err


def test_a_test_leaves_nothing_in_the_trail(people: str, tmp_path: Path, state_dir: Path) -> None:
    audit = tmp_path / "journal"
    text = MASKED + f'[audit]\ndir = "{audit}"\n'
    main(["policy", "test", written(tmp_path, text), "--dsn", people])
    assert not audit.exists()
    assert not state_dir.exists()


def test_services_that_the_trail_has_never_seen(
    people: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        'extends = "standard"\nservices = ["billing", "bilingual"]\n'
        '[[example]]\nsql = "SELECT 1"\nexpect = "allow"\n'
    )
    path = written(tmp_path, text)
    import governed_db

    governor = Governor.load(path, state_dir=tmp_path / "state")
    with governed_db.connect(people, governor=governor, identity=Identity.service("billing")) as connection:
        connection.execute("SELECT 1")
    governor.close()
    assert main(["policy", "test", path, "--trail", str(tmp_path / "state" / "journal")]) == 0
    out = capsys.readouterr().out
    assert "never seen 'bilingual'" in out
    assert "never seen 'billing'" not in out


def test_explain_says_which_rule_wins_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", "DELETE FROM a; DROP TABLE b", "--as", "agent:x"]) == 0
    out = capsys.readouterr().out
    assert "verdict   block\n" in out
    assert "part 1    DELETE from a at character 13\n" in out
    assert "yes    unconstrained-changes: needs approval" in out
    assert "winner    drop, for DROP TABLE b at character 16: 2 parts have the severest answer" in out
    assert "no database was asked" in out


def test_explain_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", "TRUNCATE t", "--as", "agent:x", "--json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    (part,) = answer["parts"]
    assert (part["rule"], part["verdict"], part["wins"]) == ("truncate", "block", True)
    assert part["rules"][-1]["match"] == "yes"
    assert answer["masked"] is None


def test_explain_with_a_database_says_what_comes_behind_the_rules(
    people: str, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "SELECT id FROM people WHERE email LIKE 'anna%'"
    assert main(["policy", "explain", query, "--as", "agent:x", "--dsn", people]) == 0
    out = capsys.readouterr().out
    assert "winner    reads" in out
    assert "what comes behind the rules decided: masking.derived" in out
    assert "anna" not in out
    assert main(["policy", "explain", "SELECT email FROM people", "--as", "agent:x", "--dsn", people]) == 0
    assert "masked    public.people.email (EMAIL_ADDRESS, redact)" in capsys.readouterr().out


def test_explain_takes_time_and_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["policy", "explain", "--policy", written(tmp_path, OWN), "--as", "human:anna"]
    delete = [*base, "DELETE FROM people WHERE id = 1"]
    assert main([*delete, "--at", "2026-03-02T23:00:00+01:00"]) == 0
    assert "rule      no-deletes-at-night" in capsys.readouterr().out
    assert main([*delete, "--at", "2026-03-02T12:00:00Z"]) == 0
    assert "rule      human-changes" in capsys.readouterr().out
    assert main([*base, "TRUNCATE people", "--group", "support"]) == 0
    assert "rule      support-may-truncate" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["policy"],
        ["policy", "explain"],
        ["policy", "explain", "SELECT 1", "--at", "noon"],
        ["policy", "explain", "SELECT 1", "--at", "2026-03-02T12:00:00"],
        ["policy", "explain", "SELECT 1", "--group", "x"],
        ["policy", "explain", "SELECT 1", "--as", "robot:x"],
        ["policy", "explain", "SELECT 1", "--policy", "/nonexistent.toml"],
        ["policy", "test", "/nonexistent.toml"],
        ["policy", "test", "standard", "--dsn", "host=/nonexistent password=hunter2"],
    ],
)
def test_usage_errors_and_failures_are_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hunter2" not in captured.err


def test_a_text_that_cannot_be_read_is_explained_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", "SELEC 1", "--as", "agent:x"]) == 0
    out = capsys.readouterr().out
    assert "verdict   block" in out
    assert "part 1" not in out


@pytest.mark.parametrize(
    ("sql", "caller", "hint"),
    [
        ("CREATE TABLE t (a int)", "service:billing", True),
        ("SELECT 1; SELECT 2", "service:billing", True),
        ("GRANT SELECT ON people TO x", "service:billing", False),  # naming it would not help
        ("CREATE TABLE t (a int)", "agent:billing", False),
        ("SELECT 1", "service:billing", False),
    ],
)
def test_a_service_that_nobody_named_is_told(
    sql: str, caller: str, hint: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", sql, "--as", caller, "--json"])
    remedy = orjson.loads(capsys.readouterr().out)["remedy"]
    assert ('services = ["billing"]' in remedy) is hint


def test_a_masked_service_is_told_as_well(people: str, tmp_path: Path) -> None:
    import governed_db

    governor = Governor.preset("standard", state_dir=tmp_path)
    query = "SELECT id FROM people WHERE email = 'x'"
    with governed_db.connect(people, governor=governor) as connection:
        for identity, hint in (
            (Identity.service("billing"), True),
            (Identity.service("billing", on_behalf_of=Identity.agent("x")), False),
            (Identity.agent("billing"), False),
        ):
            decision = governor.check(query, identity=identity, connection=connection)
            assert decision.rule == "masking.derived"
            assert ('services = ["billing"]' in decision.remedy) is hint
    governor.close()

"""``governed-db policy learn`` and ``simulate``: what they print, write and exit with."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import orjson
import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity
from governed_db.cli import main
from governed_db.policy import load

AGENT = Identity.agent("bot")
SECRET = "alice.secret@example.com"


@pytest.fixture(scope="module")
def written(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of an agent that has worked for a while under ``standard``; made once."""
    state: Path = tmp_path_factory.mktemp("written")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS people")
        conn.execute("CREATE TABLE people (id int PRIMARY KEY, email text, country text)")
        conn.execute("INSERT INTO people SELECT n, 'x@example.org', 'DE' FROM generate_series(1, 30) n")
    governor = Governor.preset("standard", state_dir=state)
    with governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        for _ in range(3):
            conn.execute("SELECT id, email FROM people WHERE country = %s", ("DE",))
        conn.execute(f"UPDATE people SET country = '{SECRET}' WHERE id = 3")
        conn.execute("SELECT id FROM people WHERE id = 1")
        with pytest.raises(governed_db.errors.StatementBlocked):
            conn.execute("DROP TABLE people")
    governor.close()
    return state


@pytest.fixture
def trail(written: Path, state_dir: Path) -> Path:
    """A copy of it where the commands look."""
    shutil.copytree(written, state_dir, dirs_exist_ok=True)
    return state_dir


def test_learn_writes_a_policy_that_simulate_finds_sufficient(
    trail: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "learned.toml"
    assert main(["policy", "learn", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "learned from 5 statements, 3 texts, by agent:bot" in printed.err
    assert "held back by text" in printed.err
    assert "held back by time" in printed.err
    assert 'GRANT SELECT ("country", "email", "id"), UPDATE ("country") ON "public"."people"' in printed.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert load(out).version
    assert main(["policy", "simulate", str(out)]) == 0
    assert "0 statements would be judged otherwise" in capsys.readouterr().out
    assert main(["policy", "learn", "--out", str(out)]) == 1  # it is not overwritten
    assert "exists" in capsys.readouterr().err


def test_learn_prints_the_policy_where_no_file_is_named(
    trail: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "learn", "--hold-back", "0", "--subject", "agent:b*"]) == 0
    printed = capsys.readouterr()
    (tmp_path / "p.toml").write_text(printed.out)
    assert load(tmp_path / "p.toml")
    assert "held back" not in printed.err


def test_simulate_lists_what_would_change(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "simulate", "standard"]) == 0
    same = capsys.readouterr().out
    assert "6 statements" in same
    assert main(["policy", "simulate", "readonly"]) == 3
    changed = capsys.readouterr().out
    assert "verdict     allow -> block, 1 times" in changed
    assert "rule        small-changes -> writes" in changed
    assert "statement   UPDATE people SET country = $1 WHERE id = $2" in changed
    assert "callers     agent:bot (1)" in changed


def test_simulate_speaks_json(trail: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "new.toml"
    policy.write_text('extends = "standard"\n[masking]\nmode = "off"\n')
    policy.chmod(0o600)
    assert main(["policy", "simulate", str(policy), "--json", "--trail", str(trail / "journal")]) == 3
    answer = orjson.loads(capsys.readouterr().out)
    assert (answer["statements"], answer["replayed"], answer["changed"]) == (6, 6, 0)
    (mask,) = answer["masks"]
    assert (mask["column"], mask["becomes"], mask["count"]) == ("public.people.email", "", 3)


def test_no_literal_is_printed(trail: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["policy", "learn"])
    main(["policy", "simulate", "readonly", "--all"])
    main(["policy", "simulate", "readonly", "--json"])
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err


def test_since_leaves_out_what_was_before(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "simulate", "readonly", "--since", "1h"]) == 3
    # Nothing was judged: that is no word for "nothing would change".
    assert main(["policy", "simulate", "readonly", "--since", "2999-01-01"]) == 1
    assert "no statement" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "nowhere.toml"],
        ["simulate", "standard", "--trail", "/nowhere/journal"],
        ["simulate", "standard", "--since", "soon"],
        ["simulate", "standard", "--since", "99999999999999d"],
        ["simulate"],
        ["learn", "--trail", "/nowhere/journal"],
        ["learn", "--hold-back", "1"],
        ["learn", "--hold-back", "much"],
        ["learn", "--subject", "nobody"],
    ],
)
def test_what_cannot_be_done_is_said_on_standard_error(
    trail: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "governed-db policy" in printed.err

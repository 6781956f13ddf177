"""``governed-db keys``: files that only their owner reads, and versions that outlive each other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from governed_db.cli import main
from governed_db.masking import tokens
from governed_db.masking.keys import of_file


def test_a_new_file_is_its_owners_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "masking.keys"
    assert main(["keys", "new", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert of_file(file).versions == (1,)
    captured = capsys.readouterr()
    assert str(file) in captured.out
    assert file.read_text().split(":")[1].strip() not in captured.out + captured.err


def test_what_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "masking.keys"
    assert main(["keys", "new", str(file)]) == 0
    before = file.read_bytes()
    assert main(["keys", "new", str(file)]) == 1
    assert "rotate" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_tokens_outlive_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "masking.keys"
    assert main(["keys", "new", str(file)]) == 0
    file.write_text("# ours\n" + file.read_text().rstrip("\n"))
    token = tokens.issue(of_file(file), "EMAIL_ADDRESS", "a@example.org")
    assert main(["keys", "rotate", str(file)]) == 0
    assert file.read_text().startswith("# ours\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    keys = of_file(file)
    assert keys.versions == (1, 2)
    assert keys.current == 2
    assert tokens.resolve(keys, "EMAIL_ADDRESS", token) == "a@example.org"
    assert tokens.issue(keys, "EMAIL_ADDRESS", "a@example.org") != token
    assert [f.name for f in tmp_path.iterdir() if f.is_file()] == ["masking.keys"]


@pytest.mark.parametrize(
    "command", [["new"], ["rotate"], ["new", "/nonexistent/k"], ["rotate", "/nonexistent/k"]]
)
def test_failures_are_1(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", *command]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="mode bits mean nothing elsewhere")
def test_a_file_that_others_read_is_not_rotated(tmp_path: Path) -> None:
    file = tmp_path / "masking.keys"
    assert main(["keys", "new", str(file)]) == 0
    file.chmod(0o644)
    assert main(["keys", "rotate", str(file)]) == 1
    assert file.read_text().count(":") == 1


def test_a_link_to_the_file_is_followed(tmp_path: Path) -> None:
    file, link = tmp_path / "masking.keys", tmp_path / "link"
    assert main(["keys", "new", str(file)]) == 0
    link.symlink_to(file)
    assert main(["keys", "rotate", str(link)]) == 0
    assert link.is_symlink()
    assert of_file(file).versions == (1, 2)


def test_a_comment_may_say_anything(tmp_path: Path) -> None:
    file = tmp_path / "masking.keys"
    assert main(["keys", "new", str(file)]) == 0
    with file.open("a", encoding="utf-8") as more:
        more.write("# für uns")
    assert main(["keys", "rotate", str(file)]) == 0
    assert of_file(file).versions == (1, 2)


@pytest.mark.parametrize("highest", ["999999", "0", "x"])
def test_what_could_not_be_used_leaves_the_file_as_it_was(tmp_path: Path, highest: str) -> None:
    file = tmp_path / "masking.keys"
    assert main(["keys", "new", str(file)]) == 0
    file.write_text(file.read_text().replace("\n1:", f"\n{highest}:"))
    before = file.read_bytes()
    assert main(["keys", "rotate", str(file)]) == 1
    assert file.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir() if f.is_file()] == ["masking.keys"]


def test_rotations_do_not_overtake_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "masking.keys"
    assert main(["keys", "new", str(file)]) == 0
    (tmp_path / "masking.keys.new").touch()
    assert main(["keys", "rotate", str(file)]) == 1
    assert "rm " in capsys.readouterr().err
    assert of_file(file).versions == (1,)


def test_messages_are_fit_for_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb, name in (("rotate", "no\x1b[31mne"), ("new", "no\x1b[31mne/k"), ("rotate", ".")):
        assert main(["keys", verb, str(tmp_path / name)]) == 1
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert captured.err.startswith("governed-db keys rotate: ")

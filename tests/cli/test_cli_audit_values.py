from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest

import governed_db
from governed_db.audit import read, value_keys
from governed_db.cli import main
from governed_db.policy import load_bytes

CANARY = "canary-7c1f"


def _run(dsn: str, mode: str) -> dict[str, Any]:
    text = f'extends = "standard"\nservices = ["billing"]\n[audit]\nvalues = "{mode}"\n'
    governor = governed_db.Governor(load_bytes(text.encode(), "p"))
    identity = governed_db.Identity.service("billing")
    with governed_db.connect(dsn, governor=governor, identity=identity, autocommit=True) as conn:
        conn.execute("SELECT %s::text", (CANARY,))
    governor.close()
    records = [e for e in read(governor.trail.folder) if e["kind"] == "intent" and "values" in e]
    return records[-1]


def test_a_guess_finds_its_record(
    dsn: str, state_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _run(dsn, "digest")
    assert main(["audit", "digest", CANARY]) == 0
    assert capsys.readouterr().out.strip() == record["values"]["parameters"][0]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CANARY.encode() + b"\n")))
    assert main(["audit", "digest", "-"]) == 0
    assert capsys.readouterr().out.strip() == record["values"]["parameters"][0]


def test_a_digest_makes_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "digest", CANARY, "--state", str(tmp_path)]) == 1
    assert "there is no key" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_values_are_revealed_on_record_until_they_are_erased(
    dsn: str, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = _run(dsn, "encrypted")
    assert main(["audit", "reveal", record["id"]]) == 0
    assert orjson.loads(capsys.readouterr().out)["parameters"] == [CANARY]
    (look,) = [e for e in read(state_dir / "journal") if e.get("event") == "trail.read"]
    assert look["details"] == {"verb": "reveal", "record": record["id"]}
    assert look["who"]["issuer"] == "os"
    assert main(["audit", "erase", "--caller", "service:billing"]) == 0
    assert "1 keys destroyed" in capsys.readouterr().out
    (erased,) = [e for e in read(state_dir / "journal") if e.get("event") == "values.erased"]
    assert erased["details"] == {"key": record["values"]["key"]}
    assert main(["audit", "reveal", record["id"]]) == 1
    assert "it was destroyed" in capsys.readouterr().err


def test_a_look_that_cannot_be_put_on_record_shows_nothing(
    dsn: str, state_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _run(dsn, "encrypted")
    (state_dir / "journal").chmod(0o777)  # the journal refuses a folder that others may write to
    assert main(["audit", "reveal", record["id"]]) == 1
    told = capsys.readouterr()
    assert "cannot be put on record" in told.err
    assert CANARY not in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["reveal", "0-0"], "there is no record"),
        (["erase"], "name --caller, --month or both"),
        (["erase", "--caller", "anna"], "KIND:SUBJECT"),
    ],
)
def test_what_cannot_be_says_so(
    dsn: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    _run(dsn, "digest")
    assert main(["audit", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_nothing_sealed_says_so(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    record = _run(dsn, "digest")
    assert main(["audit", "reveal", record["id"]]) == 1
    assert "nothing was sealed" in capsys.readouterr().err


def test_erasing_a_month_takes_everybody(
    dsn: str, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = _run(dsn, "encrypted")
    assert main(["audit", "erase", "--month", "1999-01"]) == 0
    assert "0 keys" in capsys.readouterr().out
    assert main(["audit", "erase", "--month", record["values"]["key"][:7]]) == 0
    assert value_keys.Keys(state_dir / value_keys.FOLDER).named(record["values"]["key"]) is None

from __future__ import annotations

import json
from pathlib import Path

import pytest

from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.scan import Stored, names, scan
from governed_db.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOVERNED_DB_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("GOVERNED_DB_AUDIT_KEY", raising=False)
    monkeypatch.delenv("GOVERNED_DB_CONFIG", raising=False)
    place = tmp_path / "journal"
    with Journal.open(place) as journal:
        for n in range(20):
            journal.append(record.event("test.event", number=n))
    return place


def vkey(folder: Path, capsys: Capture) -> str:
    capsys.readouterr()
    assert main(["audit", "key", "--dir", str(folder)]) == 0
    return capsys.readouterr().out.strip()


def test_a_trail_is_signed_and_verified(folder: Path, capsys: Capture) -> None:
    key = vkey(folder, capsys)
    assert main(["audit", "checkpoint"]) == 0
    note = capsys.readouterr().out
    assert note.startswith(key.partition("+")[0] + "\n")
    assert main(["audit", "verify", "--key", key]) == 0
    out = capsys.readouterr().out
    assert "valid to record 22" in out
    assert "nothing here proves that it is the newest" in out
    assert main(["audit", "verify"]) == 0
    assert "this machine's own" in capsys.readouterr().out


def test_what_was_changed_is_named_with_status_1(folder: Path, capsys: Capture) -> None:
    key = vkey(folder, capsys)
    main(["audit", "checkpoint"])
    (name,) = names(folder)
    third = [s for s in scan(name.path) if isinstance(s, Stored)][2]
    with name.path.open("r+b") as file:
        file.seek(third.offset + 60)
        file.write(b"#")
    capsys.readouterr()
    assert main(["audit", "verify", "--key", key]) == 1
    out = capsys.readouterr().out
    assert "TAMPERED: 1 finding" in out
    assert "sequence 3" in out
    assert name.path.name in out.replace("\n", "").replace(" " * 12, "")
    assert main(["audit", "verify", "--key", key, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is False
    assert report["findings"][0]["sequence"] == 3


def test_a_witness_says_that_it_is_the_newest(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    outside = tmp_path / "witness"
    assert main(["audit", "checkpoint", "--witness", str(outside)]) == 0
    capsys.readouterr()
    assert main(["audit", "verify", "--witness", str(outside)]) == 0
    out = capsys.readouterr().out
    assert "agrees with 1 checkpoint kept outside" in out
    assert "nothing here proves" not in out
    # A witness that cannot be written is said, and the checkpoint is signed all the same.
    with Journal.open(folder) as journal:
        journal.append(record.event("test.event"))
    assert main(["audit", "checkpoint", "--witness", str(tmp_path / "no" / "w")]) == 1
    assert "witness" in capsys.readouterr().err


def test_nothing_signed_and_no_log_are_status_1(folder: Path, capsys: Capture) -> None:
    assert main(["audit", "verify"]) == 1
    assert "there is no log" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--key", "no-such-file"],
        ["--key", "a+b+c"],
        ["--witness", "no-such-file"],
        ["--bogus"],
        ["--dir", "no-such-folder"],
        ["--proof", "x"],
    ],
)
def test_what_cannot_be_verified_is_status_2(folder: Path, capsys: Capture, arguments: list[str]) -> None:
    main(["audit", "checkpoint"])
    assert main(["audit", "verify", *arguments]) == 2
    assert capsys.readouterr().err


def test_a_record_is_proven_without_the_folder(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    key = vkey(folder, capsys)
    main(["audit", "checkpoint"])
    (name,) = names(folder)
    one = [s for s in scan(name.path) if isinstance(s, Stored)][7]
    found = json.loads(one.payload)
    proof = tmp_path / "proof"
    assert main(["audit", "prove", found["id"], "--out", str(proof)]) == 0
    keys = tmp_path / "keys"
    keys.write_text(f"# the trail's\n{key}\n")
    name.path.unlink()
    capsys.readouterr()
    assert main(["audit", "verify", "--proof", str(proof), "--key", str(keys)]) == 0
    assert found["id"] in capsys.readouterr().out
    assert main(["audit", "verify", "--proof", str(proof), "--key", key, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"] == found
    assert main(["audit", "prove", "0-0", "--out", str(proof)]) == 1
    assert "no checkpoint is over a record 0-0" in capsys.readouterr().err
    text = proof.read_text()
    proof.write_text(text.replace("index 9", "index 10"))
    assert main(["audit", "verify", "--proof", str(proof), "--key", key]) == 1
    assert "NOT PROVEN" in capsys.readouterr().out
    proof.write_text(text)
    # Under another's key it is nobody's.
    theirs = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    assert main(["audit", "verify", "--proof", str(proof), "--key", theirs]) == 1


def test_a_rotated_key_verifies_what_was_signed_before_and_after(
    folder: Path, capsys: Capture, tmp_path: Path
) -> None:
    old = vkey(folder, capsys)
    main(["audit", "checkpoint"])
    capsys.readouterr()
    assert main(["audit", "key", "--rotate"]) == 0
    new = capsys.readouterr().out.strip()
    assert new == vkey(folder, capsys) != old
    with Journal.open(folder) as journal:
        journal.append(record.event("test.event"))
    assert main(["audit", "checkpoint"]) == 0
    for key in (old, new):
        assert main(["audit", "verify", "--key", key]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audit.key", "journal"]


def test_a_rotation_that_was_interrupted_is_finished(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    main(["audit", "checkpoint"])
    path = tmp_path / "audit.key"
    kept = path.read_bytes()
    assert main(["audit", "key", "--rotate"]) == 0
    # As it was just before the last step.
    path.rename(tmp_path / "audit.key.next")
    path.write_bytes(kept)
    path.chmod(0o600)
    assert main(["audit", "checkpoint"]) == 1
    assert "--rotate" in capsys.readouterr().err
    assert main(["audit", "key", "--rotate"]) == 0
    assert main(["audit", "checkpoint"]) == 0
    assert main(["audit", "verify"]) == 0


def test_a_key_from_the_environment_is_not_rotated_here(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVERNED_DB_AUDIT_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    assert main(["audit", "key", "--rotate"]) == 1
    assert "GOVERNED_DB_AUDIT_KEY" in capsys.readouterr().err

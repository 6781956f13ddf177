"""Exports: every format of a trail of statements that really ran, and of records with hostile values."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from benchmarks import trail_records
from governed_db.audit import flat
from governed_db.audit.export import FORMATS, cell, export, line
from governed_db.audit.outfile import whole
from governed_db.audit.reader import statements
from governed_db.audit.select import Selection
from governed_db.cli import main
from tests import evidence

CORPUS = Path(__file__).parents[1] / "corpus"
OCSF = Draft202012Validator(orjson.loads((CORPUS / "ocsf_datastore_activity.json").read_bytes()))


@pytest.fixture(scope="module")
def worked(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence.work(dsn, tmp_path_factory.mktemp("worked")).trail.folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "journal"
    evidence.hostile(folder)
    return folder


def exported(folder: Path, form: str, selection: Selection | None = None) -> bytes:
    out = io.BytesIO()
    export(statements(folder, beside=True), form, out, selection or Selection())
    return out.getvalue()


def lines(data: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(one) for one in data.splitlines()]


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))


def test_jsonl_is_what_the_reader_yields(worked: Path) -> None:
    assert lines(exported(worked, "jsonl")) == list(statements(worked, beside=True))


def test_ocsf_events_are_valid_and_say_what_happened(worked: Path) -> None:
    events = lines(exported(worked, "ocsf"))
    for event in events:
        OCSF.validate(event)
    agent = {e["message"]: e for e in events if e["actor"]["user"]["name"] == "bot"}
    assert len(events) == sum(e["kind"] in ("intent", "refusal", "attempt") for e in statements(worked))
    read = next(
        e for e in events if e.get("query_info", {}).get("query_string", "").startswith("SELECT id, email")
    )
    assert (read["activity_name"], read["status"], read["action"]) == ("Query", "Success", "Allowed")
    assert read["class_uid"] == 6005
    assert read["type_uid"] == 600504
    assert read["table"] == {"name": "public.people"}
    assert read["actor"]["session"]["uid"] == "talk-1"
    assert read["unmapped"]["governed_db"]["on_behalf_of"] == ["human:anna"]
    assert read["unmapped"]["governed_db"]["purpose"] == "answer ticket 4711"
    assert {"category_id": 1, "category": "Personal"} in read["database"]["data_classifications"]
    assert read["actor"]["process"]["pid"] == os.getpid()
    dropped = next(m for m in agent if m.startswith("DROP"))
    assert (agent[dropped]["action"], agent[dropped]["disposition"]) == ("Denied", "Blocked")
    assert agent[dropped]["is_alert"] is True
    assert agent[dropped]["status_detail"]
    failed = next(e for e in events if e["activity_name"] == "Create")
    assert (failed["status"], failed["status_code"]) == ("Failure", "23505")
    assert sorted(e["disposition"] for e in events if e["activity_name"] == "Update" and "message" in e)[
        0
    ] in (
        "Allowed",
        "Approved",
    )
    assert [e["disposition"] for e in events].count("Approved") == 1


def test_every_status_and_verdict_makes_a_valid_event() -> None:
    base = {"v": 1, "id": "a-1", "at": "2026-01-01T00:00:00.000000Z", "journal": "j", "sequence": 1}
    made = [
        base
        | {"kind": kind, "may": {"verdict": verdict, "rule": "r", "policy": "p"}}
        | {"happened": {"status": status, "duration_us": 5}}
        for kind in ("intent", "refusal", "attempt")
        for verdict in ("allow", "needs_approval", "block", "")
        for status in ("ok", "error", "cancelled", "refused", "unknown", "running", "odd")
    ]
    out = io.BytesIO()
    export(made, "ocsf", out)
    for event in lines(out.getvalue()):
        OCSF.validate(event)


def test_csv_has_a_row_for_each_entry(worked: Path) -> None:
    found = rows(exported(worked, "csv"))
    entries = list(statements(worked, beside=True))
    assert [r["record_id"] for r in found] == [e["id"] for e in entries]
    assert list(found[0]) == [column.name for column in flat.COLUMNS]
    read = next(r for r in found if r["text"].startswith("SELECT id, email"))
    assert read["caller"] == "bot"
    assert orjson.loads(read["on_behalf_of"]) == ["human:anna"]
    assert "public.people.email=redact" in orjson.loads(read["masked"])
    assert read["rows_returned"] == "0"
    assert any(r["kind"] == "event" and "approval.granted" in r["summary"] for r in found)


def test_parquet_has_the_same_rows_with_types(worked: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "trail.parquet"
    path.write_bytes(exported(worked, "parquet"))
    table = parquet.read_table(path)
    assert table.column_names == [column.name for column in flat.COLUMNS]
    plain = rows(exported(worked, "csv"))
    assert table["record_id"].to_pylist() == [r["record_id"] for r in plain]
    assert [v or 0 for v in table["rows_returned"].to_pylist()] == [
        int(r["rows_returned"] or 0) for r in plain
    ]
    assert str(table.schema.field("started_at").type) == "timestamp[us, tz=UTC]"
    (read,) = (r for r in table.to_pylist() if (r["text"] or "").startswith("SELECT id, email"))
    assert "public.people.email=redact" in read["masked"]


def test_parquet_comes_in_groups_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from governed_db.audit import parquet as ours

    monkeypatch.setattr(ours, "BATCH", 4)
    monkeypatch.setattr(ours, "GROUP", 8)
    out = io.BytesIO()
    export(({"kind": "event", "id": str(n), "at": ""} for n in range(21)), "parquet", out)
    read = parquet.ParquetFile(io.BytesIO(out.getvalue()))
    assert [read.metadata.row_group(n).num_rows for n in range(read.num_row_groups)] == [8, 8, 5]
    assert read.read()["record_id"].to_pylist() == [str(n) for n in range(21)]


def test_an_export_of_nothing_is_a_valid_file() -> None:
    for form in FORMATS:
        out = io.BytesIO()
        assert not export([], form, out)
        if form == "csv":
            assert rows(out.getvalue()) == []


def test_no_literal_is_exported(worked: Path) -> None:
    for form in ("jsonl", "csv", "ocsf"):
        assert evidence.CANARY.encode() not in exported(worked, form)


def test_a_selection_holds_in_every_format(worked: Path) -> None:
    wanted = Selection(subjects=["shop"])
    callers = {e["actor"]["user"]["name"] for e in lines(exported(worked, "ocsf", wanted))}
    assert callers == {"shop"}
    assert {r["caller"] for r in rows(exported(worked, "csv", wanted))} == {"shop"}
    # The hosts come from records that are not selected.
    assert all("hostname" in e["src_endpoint"] for e in lines(exported(worked, "ocsf", wanted)))


# -- hostile values


@pytest.mark.parametrize("form", ["jsonl", "csv", "ocsf"])
def test_nothing_that_a_terminal_obeys_is_written(hostile: Path, form: str) -> None:
    text = exported(hostile, form).decode()
    obeyed = {c for c in text if not c.isprintable()} - {"\n", "\r", "\t", "\u2028"}
    assert obeyed == set()


def test_hostile_events_are_valid(hostile: Path) -> None:
    events = lines(exported(hostile, "ocsf"))
    assert len(events) > 2 * len(evidence.HOSTILE)
    for event in events:
        OCSF.validate(event)


def test_hostile_values_come_back_whole_from_jsonl(hostile: Path) -> None:
    subjects = {
        e["who"]["subject"] for e in lines(exported(hostile, "jsonl")) if e.get("event") == "approval.granted"
    }
    assert subjects == {v.encode("utf-8", "backslashreplace").decode() for v in evidence.HOSTILE}


def test_no_cell_of_a_hostile_trail_is_a_formula(hostile: Path) -> None:
    found = rows(exported(hostile, "csv"))
    assert len(found) > 5 * len(evidence.HOSTILE)
    for row in found:
        for name, value in row.items():
            column = next(c for c in flat.COLUMNS if c.name == name)
            if column.type != "integer":
                assert not value.strip().startswith(("=", "+", "-", "@", "\uff1d")), (name, value[:40])


def test_hostile_values_fit_parquet(hostile: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(io.BytesIO(exported(hostile, "parquet")))
    assert set(table["caller"].to_pylist()) >= {v for v in evidence.HOSTILE if v != "\udc80surrogate"}


texts = st.text(st.characters(), max_size=40)  # lone surrogates included


@given(texts)
def test_a_cell_is_never_a_formula_and_says_what_was_said(text: str) -> None:
    made = cell(text)
    first = made.lstrip()[:1]
    assert first not in set("=+-@\uff1d\uff0b\uff0d\uff20")
    assert not any(c < " " and c not in "\t\r\n" for c in made)
    # RFC 4180: what a reader gets back is the cell, whatever is in it.
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(["a", made, "b"])
    assert next(csv.reader(io.StringIO(out.getvalue(), newline=""))) == ["a", made, "b"]
    if text.isprintable():
        assert (made[1:] if made.startswith("'") else made) == text


@given(
    st.recursive(
        texts.filter(lambda t: t.isprintable() or t.isascii()),
        lambda s: st.lists(s) | st.dictionaries(texts, s),
    )
)
def test_a_line_of_json_is_one_line_and_means_the_same(value: Any) -> None:
    try:
        orjson.dumps(value)
    except TypeError:
        return  # a lone surrogate: no record holds one
    made = line(value)
    assert made.count(b"\n") == 1
    assert orjson.loads(made) == value
    assert not any(0x7F <= ord(c) < 0xA0 for c in made.decode())


# -- files


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "trail.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError):
        _fail_half_way(path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["trail.csv"]
    with whole(path) as file:
        file.write(b"all")
        assert path.read_text() == "before"
    assert path.read_text() == "all"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _fail_half_way(path: Path) -> None:
    with whole(path) as file:
        file.write(b"half")
        raise RuntimeError


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with whole(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"
    with whole(Path(os.devnull)) as file:
        file.write(b"x")
    assert Path(os.devnull).is_char_device()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", tmp_path / "none" / "file", tmp_path):
        with pytest.raises(OSError, match=re.escape(f"'{path}'")), whole(path):
            pass


# -- the command


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_writes_each_format(
    worked: Path, out: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "export", "--dir", str(worked), "--format", form, "--out", str(out)]) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    told = capsys.readouterr()
    assert told.out == ""
    assert "statements" in told.err
    if form != "parquet":
        assert out.read_bytes() == exported(worked, form)


def test_what_cannot_be_exported_leaves_no_file(
    worked: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "export", "--dir", "/nowhere/at/all", "--out", str(out)]) == 1
    assert not out.exists()
    assert main(["audit", "export", "--dir", str(worked), "--format", "parquet"]) == 1
    assert main(["audit", "export", "--dir", str(worked), "--since", "soon"]) == 1
    assert "is no time" in capsys.readouterr().err


def test_damage_is_exported_and_told(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "journal"
    copy.mkdir()
    for path in worked.glob("*.journal"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        (copy / path.name).write_bytes(data)
    assert main(["audit", "export", "--dir", str(copy), "--out", str(tmp_path / "x")]) == 0
    assert "damaged" in capsys.readouterr().err
    assert any(e["kind"] == "damage" for e in lines((tmp_path / "x").read_bytes()))


@pytest.mark.parametrize("form", ["jsonl", "csv", "ocsf"])
def test_memory_does_not_grow_with_the_trail(tmp_path: Path, form: str) -> None:
    peaks = []
    for records in (1500, 6000):
        folder = tmp_path / str(records)
        trail_records.write(folder, records, processes=1)
        with Path(os.devnull).open("wb") as out:
            tracemalloc.start()
            try:
                export(statements(folder, beside=True), form, out)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]

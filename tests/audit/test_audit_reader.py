from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from governed_db.audit import reader, record
from governed_db.audit import scan as scan_module
from governed_db.audit.journal import Journal
from governed_db.audit.layout import FRAME_SIZE
from governed_db.audit.reader import read, statements
from governed_db.audit.scan import Stored, names, scan
from governed_db.audit.template import Template, outcome
from governed_db.policy.model import Decision

WRITER = """
import os, sys, time
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.template import Template, outcome
journal = Journal.open(Path(sys.argv[1]), segment_bytes=16 << 10)
form = Template(who={"kind": "agent", "subject": sys.argv[2]}, what={"text": "SELECT 1"}, where={})
for n in range(int(sys.argv[3])):
    key, payload = form.intent(None)
    journal.append(payload)
    journal.append(outcome(key, record.happened("ok", duration_us=n)))
    time.sleep(0.0005)
key, payload = form.intent(None)
journal.append(payload)
print("ready", flush=True)
sys.stdin.read() if sys.argv[4] == "wait" else None
os._exit(0)
"""
Start = Callable[..., "Popen[str]"]


def test_an_empty_folder_has_no_records(tmp_path: Path) -> None:
    assert list(read(tmp_path)) == []
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "x.journal").write_text("not ours either")
    assert list(statements(tmp_path)) == []
    with pytest.raises(FileNotFoundError):
        list(read(tmp_path / "nowhere"))


def test_journals_of_several_processes_are_merged_by_time(folder: Path, process: Start) -> None:
    writers = [process(WRITER, folder, f"w{i}", 150, "go") for i in range(3)]
    for writer in writers:
        writer.communicate(timeout=30)
    entries = list(read(folder))
    assert {e["who"]["subject"] for e in entries if "who" in e} == {"w0", "w1", "w2"}
    times = [e["at"] for e in entries]
    assert times == sorted(times)
    for journal in {e["journal"] for e in entries}:
        own = [e["sequence"] for e in entries if e["journal"] == journal]
        assert own == list(range(1, len(own) + 1))
        assert len(own) == 302


def test_a_clock_that_is_set_back_does_not_change_the_sequence(folder: Path) -> None:
    with Journal.open(folder) as journal:
        for ns in (5_000_000_000, 3_000_000_000, 9_000_000_000, 1_000_000_000):
            journal.append(outcome("x-1", {}, at=ns))
    with Journal.open(folder):
        pass
    mine = [e for e in read(folder) if e["journal"] == f"{journal.id:016x}"]
    assert [e["sequence"] for e in mine] == [1, 2, 3, 4, 5, 6]


def test_an_orphan_of_a_dead_process_is_unknown_and_of_a_living_one_running(
    folder: Path, process: Start
) -> None:
    dead = process(WRITER, folder, "dead", 3, "go")
    dead.communicate(timeout=20)
    living = process(WRITER, folder, "living", 3, "wait")
    assert living.stdout is not None
    living.stdout.readline()
    found = list(statements(folder))
    by_status = {(s["who"]["subject"], s["happened"]["status"]) for s in found}
    assert by_status == {("dead", "ok"), ("dead", "unknown"), ("living", "ok"), ("living", "running")}
    assert len(found) == 8
    assert all("ended" in s["happened"] for s in found if s["happened"]["status"] == "ok")
    living.communicate("", timeout=20)
    assert {s["happened"]["status"] for s in statements(folder)} == {"ok", "unknown"}


def test_a_living_journal_reads_whole_at_any_moment(folder: Path, process: Start) -> None:
    writer = process(WRITER, folder, "w", 1500, "go")
    lengths = []
    while writer.poll() is None:
        entries = list(read(folder)) if folder.exists() else []
        assert not [e for e in entries if e["kind"] == "damage"]
        assert [e["sequence"] for e in entries] == list(range(1, len(entries) + 1))
        lengths.append(len(entries))
    _, errors = writer.communicate()
    assert errors == ""
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 2


def test_a_writer_that_goes_on_to_the_next_segment_meanwhile_leaves_no_gap(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(folder, segment_bytes=16 << 10)
    while not journal._supply.asked:
        journal.append(record.event("test", fill="x" * 500))
    journal._supply.settle()
    assert len(names(folder)) == 2

    def scan_then_rotate(path: Path) -> Iterator[Any]:
        yield from scan(path)
        while len(names(folder)) == 2:
            journal.append(record.event("test", fill="x" * 500))

    monkeypatch.setattr(reader, "scan", scan_then_rotate)
    assert not [e for e in read(folder) if e["kind"] == "damage"]
    monkeypatch.undo()
    journal.close()
    assert not [e for e in read(folder) if e["kind"] == "damage"]


def test_a_record_stored_between_two_looks_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(folder)
    whole = scan_module._frame
    added = False

    def frame_then_append(*where: int) -> Any:
        nonlocal added
        found = whole(*where)
        if found is None and not added:
            added = True
            journal.append(record.event("test"), record.event("test"))
        return found

    monkeypatch.setattr(scan_module, "_frame", frame_then_append)
    assert [e["kind"] for e in read(folder)] == ["start", "event", "event"]
    monkeypatch.undo()
    journal.close()


def test_refusals_and_attempts_are_statements_without_an_outcome(
    folder: Path, template: Template, decision: Decision
) -> None:
    with Journal.open(folder) as journal:
        refused, payload = template.refusal(decision, "StatementBlocked", approval="apr-9")
        tried, attempt = record.attempt(who={}, where={}, rule="statement.nul", reason="a NUL byte", size=3)
        journal.append(payload, attempt)
        first, one = template.intent(decision)
        second, two = template.intent(decision)
        journal.append(one)
        journal.append(two)
        journal.append(outcome(second, record.happened("error", duration_us=2, sqlstate="42601")))
        journal.append(outcome(first, record.happened("ok", duration_us=9)))
        journal.append(outcome("gone-1", record.happened("ok", duration_us=1)))
    found = list(statements(folder))
    assert [(s["kind"], s["id"]) for s in found[:4]] == [
        ("refusal", refused),
        ("attempt", tried),
        ("intent", second),
        ("intent", first),
    ]
    assert found[0]["happened"] == {"status": "refused", "error": "StatementBlocked"}
    assert found[0]["may"]["approval"] == "apr-9"
    assert found[2]["happened"]["sqlstate"] == "42601"
    assert (found[4]["kind"], found[4]["of"]) == ("outcome", "gone-1")


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_changed_byte_is_told_with_what_is_missing(folder: Path) -> None:
    with Journal.open(folder) as journal:
        for n in range(5):
            journal.append(record.event("test", n=n))
    (segment,) = names(folder)
    third = [s for s in scan(segment.path) if isinstance(s, Stored)][3]
    _overwrite(segment.path, third.offset + FRAME_SIZE + 5, b"!")
    entries = list(read(folder))
    damage = [e for e in entries if e["kind"] == "damage"]
    assert [e["details"]["n"] for e in entries if e.get("event") == "test"] == [0, 1, 3, 4]
    assert (damage[0]["offset"], damage[0]["segment"]) == (third.offset, segment.path.name)
    assert (damage[1]["first"], damage[1]["last"]) == (4, 4)
    assert [e for e in statements(folder) if e["kind"] == "damage"] == damage


def test_a_missing_segment_is_told(folder: Path) -> None:
    with Journal.open(folder, segment_bytes=16 << 10) as journal:
        for n in range(600):
            journal.append(record.event("test", n=n, fill="x" * 200))
    segments = names(folder)
    assert len(segments) >= 3
    lost = [s.sequence for s in scan(segments[1].path) if isinstance(s, Stored)]
    segments[1].path.unlink()
    (damage,) = [e for e in read(folder) if e["kind"] == "damage"]
    assert (damage["first"], damage["last"]) == (lost[0], lost[-1])


def test_a_record_that_is_none_is_told_and_passed_over(folder: Path) -> None:
    with Journal.open(folder) as journal:
        journal.append(b"not json", b"[1]", b'{"kind":"outcome","id":"a-1","at":"x"}', record.event("test"))
    entries = list(read(folder))
    assert [e["kind"] for e in entries] == ["start", "damage", "damage", "damage", "event", "stop"]
    assert [e["first"] for e in entries if e["kind"] == "damage"] == [2, 3, 4]


def test_a_damaged_header_does_not_hide_the_records(folder: Path) -> None:
    with Journal.open(folder) as journal:
        journal.append(record.event("test", n=1))
    (segment,) = names(folder)
    _overwrite(segment.path, 20, os.urandom(8))
    entries = list(read(folder))
    assert [e["kind"] for e in entries] == ["damage", "start", "event", "stop"]
    assert {e["journal"] for e in entries} == {f"{journal.id:016x}"}


def test_reading_takes_the_memory_of_a_record_not_of_a_segment(folder: Path) -> None:
    with Journal.open(folder, segment_bytes=4 << 20) as journal:
        for n in range(3000):
            journal.append(record.event("test", n=n, fill="x" * 1000))
    tracemalloc.start()
    assert sum(1 for _ in read(folder)) == 3002
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


def test_a_thousand_dead_journals_do_not_need_a_thousand_files(folder: Path) -> None:
    import resource

    for _ in range(40):
        Journal.open(folder, segment_bytes=16 << 10).close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else soft - 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, hard))
    try:
        kinds: list[Any] = [e["kind"] for e in read(folder)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert kinds == ["start", "stop"] * 40

"""``governed-db audit show``: lists, one record, following, colours and narrow terminals."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from benchmarks import trail_records
from governed_db.audit import follow, record
from governed_db.audit.follow import Follower
from governed_db.audit.journal import Journal
from governed_db.audit.reader import statements
from governed_db.audit.template import Template, outcome
from governed_db.audit.view import is_look_up
from governed_db.cli import main
from governed_db.cli.trail_lines import Lines, cells_of, fit
from tests import evidence

COMMAND = "import sys; from governed_db.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def worked(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence.work(dsn, tmp_path_factory.mktemp("shown")).trail.folder


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert main(["audit", "show", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(entries: object, monkeypatch: pytest.MonkeyPatch, columns: int, colour: bool | None = False) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen()
    lines = Lines(screen, colour)
    for entry in entries:
        lines.write(entry)
    return screen.getvalue()


def test_a_line_says_who_when_what_and_what_became_of_it(
    worked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, "--dir", worked, "--kind", "agent")
    read = next(line for line in lines if "40 rows" in line)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z  allowed   ok +[\d.]+ ms +40 rows  ", read)
    assert "agent:bot for human:anna  SELECT" in read
    assert read.endswith("masked people.email")
    assert any("blocked   refused" in line and "rule " in line and "DROP TABLE" in line for line in lines)
    assert any("error" in line and "UniqueViolation 23505" in line for line in lines)
    assert any("approved  ok" in line and "300 rows" in line for line in lines)
    assert not any("start" in line for line in lines)
    assert any(" start " in line for line in shown(capsys, "--dir", worked, "--lives"))
    assert any("approval.granted" in line and "human:dora" in line for line in shown(capsys, "--dir", worked))


def test_look_ups_are_counted_and_shown_where_asked(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "show", "--dir", str(worked), "--last", "1000"]) == 0
    told = capsys.readouterr()
    assert "service:governed_db" not in told.out
    assert (left_out := re.search(r"([\d,]+) look-ups of governed_db itself left out", told.err))
    every = [line for line in shown(capsys, "--dir", worked, "--all") if "trail.read" not in line]
    few = [line for line in told.out.splitlines() if "trail.read" not in line]
    assert len(every) - len(few) == int(left_out[1])


@pytest.mark.parametrize(
    ("kind", "rule", "is_one"),
    [
        ("intent", "governed_db.catalog", True),
        ("intent", "governed_db", False),
        ("intent", "driver.command", False),
        ("refusal", "governed_db.sample", False),
        ("attempt", "governed_db.sample", False),
        ("damage", "governed_db.sample", False),
    ],
)
def test_what_is_a_look_up(kind: str, rule: str, is_one: bool) -> None:
    assert is_look_up({"kind": kind, "may": {"rule": rule}}) is is_one


def test_the_last_ones_are_shown_and_the_rest_is_told(
    worked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "show", "--dir", str(worked), "--last", "2"]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert re.search(r"the last 2 of \d+", told.err)
    assert main(["audit", "show", "--dir", str(worked), "--all"]) == 0
    assert capsys.readouterr().err == ""


def test_since_takes_a_time_ago_with_and_without_its_dash(
    worked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dash, none = (
        [line for line in shown(capsys, "--dir", worked, "--since", said) if "trail.read" not in line]
        for said in ("-1h", "1h")
    )
    assert dash == none != []
    assert shown(capsys, "--dir", worked, "--until", "-1h") == []
    assert shown(capsys, "--dir", worked, "--since=-90m") != []


def test_json_is_what_the_reader_yields(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "--dir", worked, "--json", "--all", "--lives")
    assert [orjson.loads(line) for line in lines] == list(statements(worked, beside=True))


def test_one_record_is_shown_whole(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(e for e in statements(worked) if e.get("what", {}).get("text") == "SELECT email FROM people")
    text = "\n".join(shown(capsys, "--dir", worked, entry["id"]))
    for said in (
        "agent:bot",
        "human:anna",
        "talk-1",
        "call-7",
        "answer ticket 4711",
        "SELECT email FROM people",
        "public.people.email (EMAIL_ADDRESS) by redact",
        entry["may"]["rule"],
        entry["where"]["connection"],
    ):
        assert said in text, said
    (line,) = shown(capsys, "--dir", worked, "--json", entry["id"])
    assert orjson.loads(line) == entry
    assert main(["audit", "show", "--dir", str(worked), "no-such-id"]) == 1
    assert "holds no statement" in capsys.readouterr().err


def test_nothing_recorded_reaches_the_terminal_as_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = list(evidence.hostile(tmp_path / "journal") and statements(tmp_path / "journal", beside=True))
    for columns in (40, 200):
        text = drawn(entries, monkeypatch, columns)
        assert {c for c in text if not c.isprintable()} == {"\n"}
        # With colours, only ours.
        coloured = re.sub("\x1b\\[[0-9;]*m", "", drawn(entries, monkeypatch, columns, colour=True))
        assert coloured == text
    for entry in entries:
        if entry["kind"] != "damage":
            text = "\n".join(shown(capsys, "--dir", tmp_path / "journal", entry["id"]))
            assert {c for c in text if not c.isprintable()} <= {"\n"}


@pytest.mark.parametrize("columns", [20, 30, 44, 80, 109, 110, 200])
def test_a_line_never_is_wider_than_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    evidence.hostile(tmp_path / "journal")
    trail_records.write(tmp_path / "journal", 300)
    text = drawn(statements(tmp_path / "journal", beside=True), monkeypatch, columns)
    assert max(cells_of(line) for line in text.splitlines()) <= max(columns, 30)


def test_narrow_terminals_get_two_lines_and_days_a_line_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail_records.write(tmp_path, 60, days=0.1)
    entries = [e for e in statements(tmp_path) if e["kind"] == "intent"]
    wide, narrow = (drawn(entries, monkeypatch, n).splitlines() for n in (200, 80))
    days = {e["at"][:10] for e in entries}
    assert len(wide) == len(entries) + len(days)
    assert len(narrow) == 2 * len(entries) + len(days)


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("名前名前", 5, "名前…"),
        ("名前", 4, "名前"),
        ("é" * 3, 2, "é…"),
        ("x", 0, ""),
    ],
)
def test_text_is_cut_by_cells(text: str, width: int, cut: str) -> None:
    assert fit(text, width) == cut


def test_colours_are_for_terminals_alone(
    worked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "\x1b" not in "".join(shown(capsys, "--dir", worked))
    assert "\x1b" in "".join(shown(capsys, "--dir", worked, "--color", "always"))
    entries = list(statements(worked))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in drawn(entries, monkeypatch, 120, colour=None)
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert "\x1b[" not in drawn(entries, monkeypatch, 120, colour=None)


# -- following


def write(journal: Journal, text: str, status: str = "ok") -> str:
    key, payload = Template(who={"kind": "agent", "subject": "b"}, what={"text": text}, where={}).intent(None)
    journal.append(payload)
    if status:
        journal.append(outcome(key, record.happened(status, duration_us=1)))
    return key


def test_a_follower_reads_each_record_once_and_statements_when_they_end(tmp_path: Path) -> None:
    with Journal.open(tmp_path, segment_bytes=16 << 10) as journal:
        follower = Follower(tmp_path)
        assert [e["kind"] for e in follower.more()] == ["start"]
        ids = [write(journal, f"SELECT {n}") for n in range(5)]
        assert [e["id"] for e in follower.more()] == ids
        assert list(follower.more()) == []
        key, payload = Template(who={}, what={"text": "SELECT 7"}, where={}).intent(None)
        journal.append(payload)
        assert list(follower.more()) == []
        journal.append(outcome(key, record.happened("error", duration_us=1)))
        (ended,) = follower.more()
        assert (ended["id"], ended["happened"]["status"]) == (key, "error")
        # Over many segments.
        ids = [write(journal, f"SELECT {n} {'x' * 500}") for n in range(100)]
        assert [e["id"] for e in follower.more()] == ids
    assert [e["kind"] for e in follower.more()] == ["stop"]
    with Journal.open(tmp_path) as another:
        key = write(another, "SELECT 1")
        assert [e["kind"] for e in follower.more()] == ["start", "intent"]


def test_a_follower_begins_with_the_last_ones(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        ids = [write(journal, f"SELECT {n}") for n in range(30)]
        follower = Follower(tmp_path)
        assert [e["id"] for e in follower.last(3, lambda e: True)] == ids[-3:]
        assert follower.last(3, lambda e: True) == []


def test_a_follower_forgets_statements_that_never_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "OPEN", 10)
    with Journal.open(tmp_path) as journal:
        follower = Follower(tmp_path)
        for n in range(50):
            write(journal, f"SELECT {n}", status="")
        list(follower.more())
        assert len(follower._open) == 10


def test_a_segment_that_is_written_again_is_not_shown_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path, watch_interval=0) as journal:
        follower = Follower(tmp_path)
        ids = [write(journal, "SELECT 1")]
        found = list(follower.more())
        for path in tmp_path.glob("*.journal"):
            path.unlink()
        ids += [write(journal, "SELECT 2")]
        found += follower.more()
        assert [e["id"] for e in found if e["kind"] == "intent"] == ids
        assert "journal.tampered" in {e.get("event") for e in found}


def test_the_command_follows_what_another_process_writes(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with Journal.open(folder) as journal:
        write(journal, "SELECT 1")
        terminal, theirs = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
        environment.pop("NO_COLOR", None)
        command = [sys.executable, "-c", COMMAND, "audit", "show", "--follow", "--dir", str(folder)]
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
            try:
                os.close(theirs)
                said = _until(terminal, "SELECT 1")
                write(journal, "SELECT 'later'")
                said += _until(terminal, "SELECT 'later'")
                assert said.count("SELECT 1") == 1
                assert "\x1b[" in said
                process.send_signal(2)
                assert process.wait(20) == 130
            finally:
                process.kill()
                os.close(terminal)


def _until(terminal: int, wanted: str) -> str:
    said = ""
    deadline = time.monotonic() + 30
    while wanted not in said and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            said += os.read(terminal, 65536).decode()
    assert wanted in said
    return said


def test_a_follower_tells_of_damage_once(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        for n in range(5):
            write(journal, f"SELECT {n}")
    (path,) = tmp_path.glob("*.journal")
    data = bytearray(path.read_bytes())
    data[data.index(b"SELECT 2")] ^= 1
    path.write_bytes(data)
    follower = Follower(tmp_path)
    (damage,) = (e for e in follower.more() if e["kind"] == "damage")
    assert damage["at"]
    assert list(follower.more()) == []

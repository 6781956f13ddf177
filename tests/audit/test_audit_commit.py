"""What is on the disk, asked of the kernel: which pages of a segment wait to be written back."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import governed_db
from governed_db.audit import commit, record
from governed_db.audit.commit import Durability
from governed_db.audit.journal import Journal
from governed_db.audit.reader import read
from governed_db.audit.scan import begun, names
from governed_db.errors import AuditUnavailable, PolicyError
from governed_db.policy import load_bytes
from tests.flavours import Flavour, do

Start = Callable[..., "subprocess.Popen[str]"]

_SLEEPS = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


def _event(n: int) -> bytes:
    return record.event("test", n=n)


def _numbers(folder: Path) -> list[int]:
    return [r["details"]["n"] for r in read(folder) if r.get("event") == "test"]


def _waiting(folder: Path) -> int:
    """Return how many kB of the segments that hold records of this process are not on the disk."""
    total = 0
    ours = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            path = line.split(maxsplit=5)[-1]
            ours = path.startswith(str(folder)) and begun(Path(path))
        elif ours and line.startswith(("Shared_Dirty:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total


def _writes_back(folder: Path) -> bool:
    """Whether the file system has a device, asked without what is tested here."""
    with Journal.open(folder) as probe:
        probe.append(_event(0))
        for segment in names(folder):
            descriptor = os.open(segment.path, os.O_RDONLY)
            os.fdatasync(descriptor)
            os.close(descriptor)
        return _waiting(folder) == 0


@pytest.fixture
def device(folder: Path) -> Path:
    """The folder, where it lies on something that can be written back to."""
    if not _writes_back(folder):
        pytest.skip("the file system is in memory: nothing is ever written back")
    return folder


def test_an_append_that_waits_has_its_record_on_the_disk(device: Path) -> None:
    with Journal.open(device, durability="disk") as journal:
        for n in range(20):
            journal.append(_event(n))
            assert _waiting(device) == 0


def test_an_append_leaves_its_record_to_the_kernel_unless_asked(device: Path) -> None:
    with Journal.open(device) as journal:
        journal.append(_event(1))
        assert _waiting(device) > 0


def test_what_nobody_waits_for_is_on_the_disk_within_the_window(device: Path) -> None:
    with Journal.open(device, durability="group") as journal:
        for n in range(20):
            journal.append(_event(n))
        _until(lambda: _waiting(device) == 0)
    with Journal.open(device, durability="disk") as journal:
        journal.append(_event(1), durable=False)
        _until(lambda: _waiting(device) == 0)


def test_records_are_on_the_disk_across_segments(device: Path) -> None:
    with Journal.open(device, durability="disk", segment_bytes=16 << 10) as journal:
        for n in range(300):
            journal.append(_event(n))
            if n % 50 == 0:
                assert _waiting(device) == 0
    assert _numbers(device) == [0, *range(300)]


def test_a_commit_serves_everybody_who_waits(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def slow(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.02)
        os.fdatasync(descriptor)

    monkeypatch.setattr(commit, "to_disk", slow)
    with Journal.open(device, durability="disk") as journal:
        calls = 0
        threads = [threading.Thread(target=journal.append, args=(_event(n),)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert _waiting(device) == 0
    assert 2 <= calls <= 8


@pytest.mark.parametrize("durability", ["disk", "group"])
def test_a_device_that_fails_refuses_and_nothing_is_lost(
    device: Path, monkeypatch: pytest.MonkeyPatch, durability: Durability
) -> None:
    with Journal.open(device, durability=durability) as journal:
        journal.append(_event(1))
        failing = True

        def broken(descriptor: int) -> None:
            if failing:
                raise OSError(errno.EIO, "no")
            os.fdatasync(descriptor)

        monkeypatch.setattr(commit, "to_disk", broken)
        if durability == "disk":
            with pytest.raises(AuditUnavailable, match="Input/output error") as refused:
                journal.append(_event(2))
            assert refused.value.retryable
        else:
            journal.append(_event(2))
            _until(lambda: journal.failures > 0)
        failing = False
        journal.append(_event(3))
        assert _waiting(device) == 0 or durability == "group"
    entries = list(read(device))
    assert [e["details"]["n"] for e in entries if e.get("event") == "test"] == [0, 1, 2, 3]
    # It went on in another file: the kernel calls pages clean that it could not write.
    (told,) = [e["details"] for e in entries if e.get("event") == "journal.tampered"]
    assert told["how"] == "Input/output error"


def test_under_continue_a_device_that_fails_is_counted(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "no")

    with Journal.open(device, durability="disk", on_failure="continue") as journal:
        monkeypatch.setattr(commit, "to_disk", broken)
        journal.append(_event(1))
        assert journal.failures == 1
        monkeypatch.undo()
    assert _numbers(device) == [0, 1]


FORKS = """
import os, sys, threading
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
journal = Journal.open(Path(sys.argv[1]), durability=sys.argv[2])
def burst(by, count):
    for n in range(count):
        journal.append(record.event("test", by=by, n=n))
threads = [threading.Thread(target=burst, args=(f"thread {t}", 100)) for t in range(3)]
for thread in threads:
    thread.start()
children = []
for child in range(5):
    pid = os.fork()
    if pid == 0:
        burst(f"child {child}", 20)
        os._exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
for thread in threads:
    thread.join()
journal.close()
"""


@pytest.mark.parametrize("durability", ["disk", "group"])
def test_a_fork_in_the_middle_of_commits_neither_hangs_nor_loses(
    folder: Path, process: Start, durability: str
) -> None:
    forks = process(FORKS, folder, durability)
    _, errors = forks.communicate(timeout=60)
    assert forks.returncode == 0, errors
    by = [r["details"]["by"] for r in read(folder) if r.get("event") == "test"]
    assert {name: by.count(name) for name in by} == {
        **{f"thread {t}": 100 for t in range(3)},
        **{f"child {c}": 20 for c in range(5)},
    }


SIGNALS = """
import signal, sys
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
journal = Journal.open(Path(sys.argv[1]), durability="disk")
signal.signal(signal.SIGALRM, lambda *_: journal.append(record.event("test", n=-1)))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for n in range(400):
    journal.append(record.event("test", n=n))
signal.setitimer(signal.ITIMER_REAL, 0)
journal.close()
"""


def test_signal_handlers_may_append_in_the_middle_of_a_commit(folder: Path, process: Start) -> None:
    signalled = process(SIGNALS, folder)
    _, errors = signalled.communicate(timeout=60)
    assert signalled.returncode == 0, errors
    numbers = _numbers(folder)
    assert [n for n in numbers if n >= 0] == list(range(400))
    assert -1 in numbers


def test_a_durability_that_does_not_exist_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="'process', 'group' or 'disk'"):
        Journal.open(folder, durability="tape")  # type: ignore[arg-type]  # what a caller might write


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


@pytest.mark.parametrize("durability", ["disk", "process"])
async def test_an_intent_is_on_the_disk_before_its_statement_runs(
    dsn: str, state_dir: Path, flavour: Flavour, durability: Durability
) -> None:
    folder = state_dir / "journal"
    if not _writes_back(folder):
        pytest.skip("the file system is in memory: nothing is ever written back")
    text = f'extends = "standard"\nservices = ["billing"]\n[audit]\ndurability = "{durability}"\n'
    governor = governed_db.Governor(load_bytes(text.encode(), "p"))
    waiting: list[int] = []

    with psycopg.connect(dsn, autocommit=True) as bare:

        def look() -> None:
            _until(lambda: bare.execute(_SLEEPS).fetchone() is not None)
            waiting.append(_waiting(folder))
            bare.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
            )

        watcher = threading.Thread(target=look)
        watcher.start()
        identity = governed_db.Identity.service("billing")
        async with flavour.connect(dsn, governor=governor, identity=identity, autocommit=True) as conn:
            with pytest.raises(psycopg.errors.QueryCanceled):
                await do(conn.execute("SELECT pg_sleep(30)"))
        watcher.join()
    governor.close()
    assert [bool(kb) for kb in waiting] == [durability == "process"]


async def test_another_policy_may_promise_more(dsn: str, state_dir: Path, flavour: Flavour) -> None:
    texts = iter(['extends = "standard"\n', 'extends = "standard"\n[audit]\ndurability = "disk"\n'])
    governor = governed_db.Governor(
        load_bytes(next(texts).encode(), "p"), source=lambda: load_bytes(next(texts).encode(), "p")
    )
    async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
        await do(conn.execute("SELECT 1"))
        governor.reload()
        await do(conn.execute("SELECT 2"))
    governor.close()
    kinds = [(e["kind"], e.get("event", "")) for e in read(state_dir / "journal")]
    assert kinds.count(("start", "")) == 2
    # In order: the change is on record in the old journal, which then ends.
    assert kinds.index(("event", "policy.changed")) < kinds.index(("stop", ""))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('durability = "tape"', "unknown word 'tape'"),
        ("group_window_ms = 0", "from 1 to 1000"),
        ("group_window_ms = 1001", "from 1 to 1000"),
        ("group_window_ms = 1.5", "takes a number"),
    ],
)
def test_a_promise_that_cannot_be_is_an_error(line: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        load_bytes(f"[audit]\n{line}\n".encode(), "p")


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.002)

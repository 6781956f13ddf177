from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from governed_db.audit import journal as journal_module
from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.layout import HEADER_SIZE, Header
from governed_db.audit.reader import read
from governed_db.audit.scan import alive, names
from governed_db.audit.segment import Segment
from governed_db.errors import AuditUnavailable

SMALL = 16 << 10
Start = Callable[..., "subprocess.Popen[str]"]


def _event(n: int, fill: int = 0) -> bytes:
    return record.event("test", n=n, fill="x" * fill)


def _numbers(folder: Path) -> list[int]:
    return [r["details"]["n"] for r in read(folder) if r.get("event") == "test"]


def _damage(folder: Path) -> list[dict[str, Any]]:
    return [r for r in read(folder) if r["kind"] == "damage"]


def test_a_journal_begins_with_start_and_ends_with_stop(folder: Path) -> None:
    with Journal.open(folder) as journal:
        assert journal.append(_event(1)) == 2
        assert journal.append(_event(2), _event(3)) == 3
        assert journal.append(_event(4)) == 5
        assert journal.sequence == 5
    entries = list(read(folder))
    assert [e["kind"] for e in entries] == ["start", "event", "event", "event", "event", "stop"]
    assert [e["sequence"] for e in entries] == [1, 2, 3, 4, 5, 6]
    assert {e["journal"] for e in entries} == {f"{journal.id:016x}"}
    assert entries[0]["details"]["pid"] == os.getpid()
    (segment,) = names(folder)
    header = Header.unpack(segment.path.read_bytes()[:HEADER_SIZE])
    assert header is not None
    assert (header.state, header.pid, header.first) == (2, os.getpid(), 1)
    assert segment.path.stat().st_size < 4096


def test_files_and_folder_are_for_their_owner_alone(folder: Path) -> None:
    with Journal.open(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (segment,) = names(folder)
        assert stat.S_IMODE(segment.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
@pytest.mark.parametrize("on_failure", ["refuse", "continue"])
def test_a_folder_that_others_can_write_is_refused(folder: Path, mode: int, on_failure: Any) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(AuditUnavailable) as caught:
        Journal.open(folder, on_failure=on_failure)
    assert caught.value.rule == "audit.journal"
    assert "chmod 700" in caught.value.remedy
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "sizes", [{"segment_bytes": 1000}, {"max_record_bytes": 10}, {"on_failure": "shrug"}], ids=str
)
def test_settings_that_cannot_work_are_refused(folder: Path, sizes: Any) -> None:
    with pytest.raises(ValueError, match=r"16 KiB|on_failure"):
        Journal.open(folder, **sizes)


def test_segments_follow_one_another_without_a_gap_and_are_sealed(folder: Path) -> None:
    with Journal.open(folder, segment_bytes=SMALL) as journal:
        for n in range(600):
            journal.append(_event(n, 200), _event(-n))
    entries = list(read(folder))
    assert [e["sequence"] for e in entries] == list(range(1, 1203))
    assert not _damage(folder)
    segments = names(folder)
    assert len(segments) >= 3
    for segment in segments:
        header = Header.unpack(segment.path.read_bytes()[:HEADER_SIZE])
        assert header is not None
        assert header.state == 2
        assert segment.path.stat().st_size <= header.capacity
    assert not [p for p in folder.iterdir() if p.suffix != ".journal"]
    assert journal.failures == 0


def test_an_append_is_all_or_nothing_across_a_segments_end(folder: Path) -> None:
    with Journal.open(folder, segment_bytes=SMALL, max_record_bytes=4096) as journal:
        for n in range(30):
            journal.append(*(_event(n, 1800) for _ in range(5)))
    batches = [
        {r["details"]["n"] for r in read_one if r.get("event") == "test"} for read_one in _by_segment(folder)
    ]
    for one in batches:
        for other in batches:
            assert one is other or not one & other


def _by_segment(folder: Path) -> Iterator[list[dict[str, Any]]]:
    from governed_db.audit.scan import Stored, scan

    for name in names(folder):
        yield [orjson.loads(s.payload) for s in scan(name.path) if isinstance(s, Stored)]


def test_an_append_larger_than_any_segment_gets_one_of_its_own(folder: Path) -> None:
    with Journal.open(folder, segment_bytes=SMALL) as journal:
        journal.append(*(_event(n, 3000) for n in range(40)))
        journal.append(_event(40))
    assert _numbers(folder) == list(range(41))


def test_a_record_over_the_cap_is_stored_shortened(folder: Path) -> None:
    with Journal.open(folder, max_record_bytes=2048) as journal:
        assert journal.append(_event(1, 50_000)) == 2
        assert journal.append(_event(2)) == 3
    stored = [r for r in read(folder) if r.get("event") == "test"]
    assert [r["details"]["n"] for r in stored] == [1, 2]
    assert stored[0]["truncated"] > 50_000
    assert "truncated" not in stored[1]


def test_a_journal_that_was_closed_opens_again(folder: Path) -> None:
    journal = Journal.open(folder)
    journal.append(_event(1))
    journal.close()
    journal.close()
    journal.append(_event(2))
    journal.close()
    entries = list(read(folder))
    assert [e["kind"] for e in entries] == ["start", "event", "stop", "start", "event", "stop"]
    assert [e["sequence"] for e in entries] == [1, 2, 3, 4, 5, 6]


def test_eight_threads_leave_no_gap(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=256 << 10)
    numbers: list[list[int]] = [[] for _ in range(8)]

    def work(me: int) -> None:
        for n in range(5000):
            numbers[me].append(journal.append(record.event("test", t=me, n=n)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert sorted(n for own in numbers for n in own) == list(range(2, 40_002))
    entries = [e for e in read(folder) if e.get("event") == "test"]
    assert [e["sequence"] for e in entries] == list(range(2, 40_002))
    for me in range(8):
        mine = [(e["details"]["n"], e["sequence"]) for e in entries if e["details"]["t"] == me]
        assert mine == list(enumerate(numbers[me]))


async def test_tasks_append_without_waiting(folder: Path) -> None:
    journal = Journal.open(folder)

    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return journal.append(_event(n))

    assert sorted(await asyncio.gather(*(work(n) for n in range(200)))) == list(range(2, 202))
    journal.close()


BURST = """
import sys
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=64 << 10)
n = 0
while True:
    journal.append(record.event("test", n=n, fill="x" * (n % 700)))
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
    n += 1
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("after", [1, 700])
def test_what_was_acknowledged_survives_the_death_of_the_process(
    folder: Path, process: Start, how: signal.Signals, after: int
) -> None:
    burst = process(BURST, folder)
    assert burst.stdout is not None
    for _ in range(after):
        burst.stdout.readline()
    burst.send_signal(how)
    rest = burst.stdout.read()
    burst.wait(20)
    acknowledged = after + rest.count("\n")
    numbers = _numbers(folder)
    assert len(numbers) >= acknowledged
    # The last one may be on record without having been acknowledged, never the other way round.
    assert numbers == list(range(len(numbers)))
    assert len(numbers) <= acknowledged + 1
    assert not _damage(folder)
    assert not any(alive(n.path) for n in names(folder))


FORKS = """
import os, sys
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=32 << 10)
for n in range(200):
    journal.append(record.event("test", by="parent", n=n))
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        for n in range(500):
            journal.append(record.event("test", by=child, n=n))
        os._exit(0)
    children.append(pid)
    journal.append(record.event("test", by="parent", n=200 + child))
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
journal.close()
"""


def test_forked_children_write_segments_of_their_own(folder: Path, process: Start) -> None:
    forks = process(FORKS, folder)
    _, errors = forks.communicate(timeout=30)
    assert (forks.returncode, errors) == (0, "")
    entries = list(read(folder))
    assert not [e for e in entries if e["kind"] == "damage"]
    for who, count in [("parent", 204), (0, 500), (1, 500), (2, 500), (3, 500)]:
        own = [e for e in entries if e.get("event") == "test" and e["details"]["by"] == who]
        assert [e["details"]["n"] for e in own] == list(range(count))
        assert len({e["journal"] for e in own}) == 1
    starts = {e["journal"]: e["details"] for e in entries if e["kind"] == "start"}
    assert len(starts) == 5
    assert len({d["pid"] for d in starts.values()}) == 5
    (parent,) = [j for j, d in starts.items() if "parent" not in d]
    assert {d["parent"] for d in starts.values() if "parent" in d} == {parent}


FORK_AMONG_THREADS = """
import os, sys, threading
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=16 << 10)
done = threading.Event()
def work():
    while not done.is_set():
        journal.append(record.event("busy", fill="x" * 500))
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
for n in range(15):
    pid = os.fork()
    if pid == 0:
        journal.append(record.event("test", n=n))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
done.set()
for t in threads: t.join()
journal.close()
"""


def test_a_fork_while_other_threads_append_neither_hangs_nor_tears(folder: Path, process: Start) -> None:
    forks = process(FORK_AMONG_THREADS, folder)
    _, errors = forks.communicate(timeout=60)
    assert (forks.returncode, errors) == (0, "")
    assert sorted(_numbers(folder)) == list(range(15))
    assert not _damage(folder)


PARENT = """
import os, sys, time
from pathlib import Path
from governed_db.audit import record, segment
from governed_db.audit.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=16 << 10)
if sys.argv[2] == "preparing":
    segment._populate = lambda mapping: time.sleep(0.5)
    while not journal._supply.asked:
        journal.append(record.event("test", fill="x" * 500))
if os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(30)
    os._exit(0)
os._exit(0)
"""


@pytest.mark.parametrize("when", ["idle", "preparing"])
def test_a_parents_death_shows_though_its_child_lives(folder: Path, process: Start, when: str) -> None:
    parent = process(PARENT, folder, when)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.wait(10)
    try:
        assert [alive(s.path) for s in names(folder)] == ([False] if when == "idle" else [False, False])
    finally:
        os.kill(child, signal.SIGKILL)
        parent.communicate()


def test_multiprocessing_children_are_on_record(folder: Path, process: Start) -> None:
    script = """
import multiprocessing, sys
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
def work(n):
    journal.append(record.event("test", n=n))
if __name__ == "__main__":
    journal = Journal.open(Path(sys.argv[1]))
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.map(work, range(60), chunksize=5)
"""
    run = process(script, folder)
    _, errors = run.communicate(timeout=30)
    assert (run.returncode, errors) == (0, "")
    assert sorted(_numbers(folder)) == list(range(60))


def test_the_end_of_the_interpreter_closes_the_journal(folder: Path, process: Start) -> None:
    script = """
import sys
from pathlib import Path
from governed_db.audit.journal import Journal
journal = Journal.open(Path(sys.argv[1]))
"""
    run = process(script, folder)
    assert run.wait(20) == 0
    run.communicate()
    assert [e["kind"] for e in read(folder)] == ["start", "stop"]


FULL = """
import sys
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.errors import AuditUnavailable
import resource
if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
journal = None
n = 0
try:
    journal = Journal.open(Path(sys.argv[1]), segment_bytes=64 << 10)
    while n < 100_000:
        journal.append(record.event("test", n=n, fill="x" * 400))
        n += 1
except AuditUnavailable as error:
    assert error.rule == "audit.journal" and error.remedy and error.retryable
    print(n, error.remedy)
else:
    print("never full")
"""


def test_a_full_disk_refuses_and_never_kills(tmp_path: Path, process: Start) -> None:
    small = tmp_path / "small"
    small.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a file system is not permitted here; the limit on file sizes is tested instead")
    try:
        run = process(FULL, small, 0)
        output, errors = run.communicate(timeout=60)
        assert (run.returncode, errors) == (0, "")
        acknowledged, _, remedy = output.partition(" ")
        assert "free space" in remedy
        assert _numbers(small) == list(range(int(acknowledged)))
        assert int(acknowledged) > 500
        assert not [p for p in small.iterdir() if p.name.startswith(".")]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_limit_on_file_sizes_refuses_and_never_kills(folder: Path, process: Start) -> None:
    run = process(FULL, folder, 300 << 10)
    output, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (0, "")
    acknowledged, _, remedy = output.partition(" ")
    assert "ulimit -f" in remedy
    assert _numbers(folder) == list(range(int(acknowledged)))


def test_a_read_only_folder_refuses(tmp_path: Path, process: Start) -> None:
    # Another user's process where this one is root: root may write anywhere.
    script = """
import os, sys
from pathlib import Path
from governed_db.audit.journal import Journal
from governed_db.errors import AuditUnavailable
folder = Path(sys.argv[1])
os.umask(0)
import orjson, platform, psycopg  # while their files can be read
if os.geteuid() == 0:
    os.chmod(folder.parent, 0o755)
    os.mkdir(folder, 0o500)
    os.chown(folder, 65534, 65534)
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
else:
    os.mkdir(folder, 0o500)
os.chdir("/")
try:
    Journal.open(folder)
except AuditUnavailable as error:
    print(error.remedy)
"""
    root = Path("/tmp") / f"governed_db-{os.getpid()}-{time.monotonic_ns()}"
    root.mkdir()
    try:
        run = process(script, root / "journal")
        output, errors = run.communicate(timeout=20)
        assert (run.returncode, errors) == (0, "")
        assert "writable" in output
    finally:
        shutil.rmtree(root)


def test_under_continue_what_is_lost_is_counted_and_told_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(folder, on_failure="continue", segment_bytes=SMALL)
    journal.append(_event(1))
    with monkeypatch.context() as patched:
        patched.setattr(journal._supply, "make", _no_space)
        patched.setattr(journal._supply, "take", lambda size: None)
        numbers = [journal.append(_event(100 + n, 3000)) for n in range(10)]
    assert numbers[-1] == 0
    assert journal.lost == numbers.count(0)
    assert journal.append(_event(2)) > 0
    journal.close()
    (gap,) = [e for e in read(folder) if e.get("event") == "journal.gap"]
    assert gap["details"] == {"lost": numbers.count(0)}
    assert _numbers(folder) == [1, *(100 + n for n, s in enumerate(numbers) if s), 2]


def _no_space(size: int) -> Segment:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_file_taken_away_is_noticed_and_written_again(folder: Path, how: str) -> None:
    journal = Journal.open(folder, watch_interval=0.05)
    for n in range(20):
        journal.append(_event(n))
    (segment,) = names(folder)
    if how == "deleted":
        segment.path.unlink()
    elif how == "moved":
        segment.path.rename(folder.parent / "elsewhere")
    else:
        shutil.copy(segment.path, folder / "copy")
        os.replace(folder / "copy", segment.path)
    journal.append(_event(20))
    time.sleep(0.06)
    journal.append(_event(21))
    journal.close()
    assert _numbers(folder) == list(range(22))
    (event,) = [e for e in read(folder) if e.get("event") == "journal.tampered"]
    assert event["details"] == {"segment": segment.path.name, "how": how}
    assert not _damage(folder)


def test_a_file_taken_away_just_before_the_end_is_noticed_by_close(folder: Path) -> None:
    journal = Journal.open(folder, watch_interval=3600)
    journal.append(_event(1))
    names(folder)[0].path.unlink()
    journal.close()
    assert _numbers(folder) == [1]


def test_a_truncated_file_is_told_and_refuses_once(folder: Path) -> None:
    journal = Journal.open(folder, watch_interval=0.0)
    for n in range(20):
        journal.append(_event(n))
    (segment,) = names(folder)
    os.truncate(segment.path, 600)
    with pytest.raises(AuditUnavailable, match="truncated") as caught:
        journal.append(_event(20))
    assert caught.value.retryable
    journal.append(_event(21))
    journal.close()
    (event,) = [e for e in read(folder) if e.get("event") == "journal.tampered"]
    assert event["details"]["lost"] == {"first": 1, "last": 21}
    assert _numbers(folder)[-1] == 21
    assert any("missing" in d["because"] for d in _damage(folder))


def test_an_overwritten_file_is_told_and_refuses_once(folder: Path) -> None:
    journal = Journal.open(folder, watch_interval=0.0)
    journal.append(_event(1))
    (segment,) = names(folder)
    size = segment.path.stat().st_size
    os.truncate(segment.path, 0)
    os.truncate(segment.path, size)
    with pytest.raises(AuditUnavailable, match="overwritten"):
        journal.append(_event(2))
    journal.append(_event(3))
    journal.close()
    assert _numbers(folder) == [3]


def test_a_folder_that_is_gone_refuses_until_it_is_back_and_loses_nothing(folder: Path) -> None:
    journal = Journal.open(folder, watch_interval=0.0)
    journal.append(_event(1))
    shutil.rmtree(folder)
    for _ in range(2):
        with pytest.raises(AuditUnavailable) as caught:
            journal.append(_event(2))
        assert "folder back" in caught.value.remedy
    folder.mkdir(mode=0o700)
    journal.append(_event(3))
    journal.close()
    assert _numbers(folder) == [1, 3]


def test_a_deletion_goes_unnoticed_for_no_longer_than_the_window(folder: Path) -> None:
    with Journal.open(folder) as journal:
        assert journal.watch_interval == journal_module.WATCH_INTERVAL == 1.0


def test_an_append_in_the_middle_of_an_append_is_on_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(folder)
    whole = Segment.store
    inside = False

    def store(self: Segment, frames: bytes, count: int) -> None:
        nonlocal inside
        if not inside:
            inside = True
            journal.append(_event(2))  # what a finalizer does when the collector runs here
        whole(self, frames, count)

    monkeypatch.setattr(Segment, "store", store)
    journal.append(_event(1))
    journal.append(_event(3))
    monkeypatch.undo()
    journal.close()
    assert sorted(_numbers(folder)) == [1, 2, 3]
    assert not _damage(folder)
    assert len({e["journal"] for e in read(folder)}) == 2


def test_signal_handlers_may_append_at_any_moment(folder: Path) -> None:
    journal = Journal.open(folder)
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        journal.append(record.event("signal"))
        handled += 1

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.004)
    try:
        for n in range(20_000):
            journal.append(_event(n))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    journal.close()
    assert handled > 5
    assert _numbers(folder) == list(range(20_000))
    assert sum(e.get("event") == "signal" for e in read(folder)) == handled
    assert not _damage(folder)


def test_an_interrupt_in_the_middle_leaves_no_half_append(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(folder)
    segment = journal._segment
    assert segment is not None
    mapping = segment.map

    class Interrupting:
        def __setitem__(self, where: slice, data: bytes) -> None:
            mapping[where] = data
            if len(data) == 8 and any(data):
                raise KeyboardInterrupt

    monkeypatch.setattr(segment, "map", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        journal.append(_event(1, 500), _event(2, 500))
    monkeypatch.setattr(segment, "map", mapping)
    journal.append(_event(3))
    # Before the segment is sealed: that would cut off what an interrupted append left behind.
    assert _numbers(folder) == [3]
    assert not _damage(folder)
    journal.close()
    assert _numbers(folder) == [3]
    assert not _damage(folder)


def test_a_writer_holds_the_lock_that_tells_readers_that_it_lives(folder: Path) -> None:
    journal = Journal.open(folder)
    (segment,) = names(folder)
    assert alive(segment.path)
    with segment.path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    journal.close()
    assert not alive(segment.path)


def test_a_journal_that_is_dropped_does_not_look_alive(folder: Path) -> None:
    journal = Journal.open(folder)
    (segment,) = names(folder)
    del journal
    assert not alive(segment.path)

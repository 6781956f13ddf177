"""The log: taken up once and in order by whoever comes, whole after any crash, never signed over."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import orjson
import pytest
from attrs import evolve

from governed_db import note
from governed_db.audit import log as log_module
from governed_db.audit import logstate, record, tree, witness
from governed_db.audit import sequencer as sequencing
from governed_db.audit.checkpoint import Checkpoint
from governed_db.audit.entry import ENTRY_SIZE, Entry, Kind
from governed_db.audit.intake import Budget, take_up
from governed_db.audit.journal import Journal
from governed_db.audit.layout import HEADER_SIZE, SEALED, Header, frame
from governed_db.audit.log import Contradicted, Log, rotate
from governed_db.audit.logstate import covered
from governed_db.audit.sequencer import Sequencer
from governed_db.audit.signing import KeyUnusable, Signer, find
from tests.audit.trails import (
    checked,
    entries,
    entry_of,
    flip,
    frames,
    is_record,
    key,
    kinds,
    segments,
    sequencer,
    signer,
    write,
)

Start = Callable[..., "Popen[str]"]

WRITER = """
import sys
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=16 << 10)
for n in range(int(sys.argv[2])):
    journal.append(record.event("test.event", number=n))
print("ready", flush=True)
sys.stdin.read()
"""

KEEPER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.audit.trails import sequencer
keeper = sequencer(Path(sys.argv[1]), records=40)
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    keeper.checkpoint(30)
"""

ROOT = Path(__file__).parents[2]


def stored(folder: Path) -> int:
    return sum(len([f for f in frames(p) if is_record(f)]) for p in segments(folder))


def taken(folder: Path) -> int:
    return sum(e.count for e in entries(folder))


def last(folder: Path) -> Checkpoint:
    found, _ = witness.last_note(folder / "log" / "checkpoints", 1 << 20)
    return Checkpoint.parse(note.Note.parse(found).text)


# -- taking up


def test_records_of_living_and_killed_writers_are_taken_up_by_whoever_comes(
    folder: Path, process: Start
) -> None:
    writers = [process(WRITER, folder, 120) for _ in range(3)]
    for one in writers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    writers[0].kill()
    writers[0].wait()
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert (report.records, report.behind) == (3 * 121, 0)
    # The killed writer's segment has its end in the log; those of the living have not.
    ended = {e.journal for e in entries(folder) if e.kind is Kind.END and e.length > 16000}
    assert len(ended) >= 1
    for one in writers[1:]:
        one.kill()
        one.wait()
    sequencer(folder).checkpoint()
    assert checked(folder).valid
    assert taken(folder) == stored(folder)


def test_nothing_is_taken_up_twice_and_nothing_new_signs_nothing(folder: Path) -> None:
    journal = write(folder, 20, close=False)
    keeper = sequencer(folder)
    first = keeper.checkpoint()
    assert keeper.checkpoint() == first
    assert sequencer(folder).checkpoint() == first
    journal.append(record.event("test.event"))
    assert keeper.checkpoint() != first
    journal.close()
    sequencer(folder).checkpoint()
    assert taken(folder) == stored(folder) == 23
    assert checked(folder).valid


def test_a_segment_being_written_grows_in_the_log(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=16 << 10)
    keeper = sequencer(folder)
    for n in range(300):
        journal.append(record.event("test.event", number=n))
        if n % 7 == 0:
            keeper.checkpoint()
    journal.close()
    keeper.checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.records == 302
    assert report.checkpoints > 40


def test_damage_and_gaps_from_before_are_in_the_log_and_a_repair_shows(folder: Path) -> None:
    write(folder, 500)
    first, second, third, *_ = segments(folder)
    assert third
    whole = first.read_bytes()
    flip(first, HEADER_SIZE + 1000)
    deleted = second.read_bytes()
    second.unlink()
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.lost_places == 1
    # One was hit; of the segment that is gone all but the seal were records.
    assert report.lost_records == 1 + deleted.count(b"\xffGDR") - 1
    assert "missing" in report.remarks[0]
    # Who puts things right afterwards is seen: nobody can know that they were so.
    first.write_bytes(whole)
    assert kinds(checked(folder)) == {"edited"}
    flip(first, HEADER_SIZE + 1000)
    assert checked(folder).valid
    second.write_bytes(deleted)
    assert kinds(checked(folder)) == {"inserted"}


def test_a_torn_end_and_a_damaged_header_of_a_dead_writer_are_taken_up(folder: Path, process: Start) -> None:
    writer = process(WRITER, folder, 20)
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.kill()
    writer.wait()
    (path,) = segments(folder)
    end = sum(len(p) + 24 + -len(p) % 8 for _, _, p in frames(path)) + HEADER_SIZE
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xffGDRtorn", end)
    flip(path, 20)
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.lost_places == 2
    assert report.records == 21


def test_a_segment_written_again_after_somebody_took_it_away_is_no_loss(folder: Path) -> None:
    journal = Journal.open(folder, watch_interval=0.0)
    for n in range(20):
        journal.append(record.event("test.event", number=n))
    keeper = sequencer(folder)
    keeper.checkpoint()
    (path,) = segments(folder)
    path.unlink()
    journal.append(record.event("test.event"))
    journal.close()
    keeper.checkpoint()
    report = checked(folder)
    assert report.valid
    assert "wrote its records again" in report.remarks[0]
    (again,) = segments(folder)
    again.unlink()
    assert kinds(checked(folder)) == {"deleted"}


def test_a_segment_written_again_is_no_gap_although_its_journal_had_no_file_for_a_while(folder: Path) -> None:
    journal = Journal.open(folder, segment_bytes=16 << 10, watch_interval=0.0)
    for n in range(150):
        journal.append(record.event("test.event", number=n))
    keeper = sequencer(folder)
    keeper.checkpoint()
    for path in segments(folder):
        path.unlink()
    write(folder, 1)
    keeper.checkpoint()  # the state forgets the journal
    journal.append(record.event("test.event"))
    journal.close()
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert kinds(report) == {"deleted"}  # the segments before the last one, which nobody wrote again
    assert report.lost_records == 0


def test_a_segment_is_covered_once_a_checkpoint_is_over_its_end(folder: Path) -> None:
    assert not covered(folder)("x")
    journal = write(folder, 300, close=False)
    sequencer(folder).checkpoint()
    living = next(e.segment for e in reversed(entries(folder)) if e.kind is Kind.RUN)
    assert not covered(folder)(living)
    journal.close()
    assert not covered(folder)(living)
    sequencer(folder).checkpoint()
    assert all(covered(folder)(p.name) for p in segments(folder))
    (folder / "log" / "checkpoints").write_bytes(b"")
    assert not covered(folder)(living)


# -- one at a time, and crashes


def test_many_processes_sequence_one_folder(folder: Path, process: Start) -> None:
    writers = [process(WRITER, folder, 100) for _ in range(2)]
    keepers = [process(KEEPER, folder, 15, ROOT) for _ in range(3)]
    for one in keepers:
        _, error = one.communicate(timeout=60)
        assert one.returncode == 0, error
    for one in writers:
        one.communicate("")
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.records == stored(folder) == taken(folder)


def test_a_sequencer_killed_anywhere_leaves_a_log_that_the_next_carries_on(
    folder: Path, process: Start
) -> None:
    write(folder, 1500, "x")
    clock = random.Random(7)
    for _ in range(8):
        keeper = process(KEEPER, folder, 1, ROOT)
        assert keeper.stdout is not None
        keeper.stdout.readline()
        threading.Event().wait(clock.uniform(0.0, 0.03))
        keeper.kill()
        keeper.wait()
        shutil.rmtree(folder.parent / "copy", ignore_errors=True)
        shutil.copytree(folder, folder.parent / "copy")
        if (folder / "log" / "checkpoints").exists():
            assert checked(folder.parent / "copy").valid
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.records == stored(folder) == taken(folder)


@pytest.mark.parametrize("cut", [1, 31, 32, 33, 200, 3000])
@pytest.mark.parametrize("name", ["leaves", "entries"])
def test_what_no_checkpoint_is_over_may_be_torn(folder: Path, name: str, cut: int) -> None:
    write(folder, 20)
    sequencer(folder).checkpoint()
    signed = last(folder)
    write(folder, 100)
    log = Log(folder, signer)
    with log.hold(1) as held:
        assert held
        take_up(log, Budget(1e18, 1 << 40, gently=False))
    least = signed.size * 32 if name == "leaves" else 0
    path = folder / "log" / name
    with path.open("r+b") as file:
        file.truncate(
            max(
                path.stat().st_size - cut,
                least,
                sum(e.end <= signed.size for e in entries(folder)) * ENTRY_SIZE,
            )
        )
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.records == stored(folder) == taken(folder)


def test_leaves_that_never_reached_the_disk_are_taken_up_again(folder: Path) -> None:
    write(folder, 20)
    sequencer(folder).checkpoint()
    size = last(folder).size
    write(folder, 100)
    log = Log(folder, signer)
    with log.hold(1):
        take_up(log, Budget(1e18, 1 << 40, gently=False))
    path = folder / "log" / "leaves"
    with path.open("r+b") as file:
        file.seek((size + 10) * 32)
        file.write(bytes(32))
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.records == stored(folder)


def test_a_torn_checkpoint_is_cut_back(folder: Path) -> None:
    write(folder, 20)
    sequencer(folder).checkpoint()
    path = folder / "log" / "checkpoints"
    good = path.read_bytes()
    path.write_bytes(good + good[:100])
    write(folder, 5)
    sequencer(folder).checkpoint()
    assert path.read_bytes().startswith(good)
    assert checked(folder).valid


def test_the_state_is_only_a_help(folder: Path) -> None:
    write(folder, 20)
    sequencer(folder).checkpoint()
    path = folder / "log" / "state"
    good = path.read_bytes()
    for bad in (
        b"",
        b"{}",
        b"[1]",
        good.replace(b'"hashes":["', b'"hashes":["00'),
        good.replace(b'"entries":', b'"entries":1'),
    ):
        path.write_bytes(bad)
        write(folder, 3)
        sequencer(folder).checkpoint()
    path.unlink()
    write(folder, 3)
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.records == stored(folder) == taken(folder)


# -- never signed over


def test_a_log_that_contradicts_its_checkpoint_is_never_signed_again(folder: Path) -> None:
    write(folder, 60)
    sequencer(folder).checkpoint()
    kept = folder.parent / "kept"
    shutil.copytree(folder / "log", kept)

    def cut(name: str, size: int) -> None:
        with (folder / "log" / name).open("r+b") as file:
            file.truncate((folder / "log" / name).stat().st_size - size)

    def changed_leaf() -> None:
        (folder / "log" / "state").unlink()
        flip(folder / "log" / "leaves", (entries(folder)[entry_of(folder, Kind.RUN)].at + 2) * 32)

    def lost_checkpoints() -> None:
        (folder / "log" / "checkpoints").write_bytes(b"")

    def other_origin() -> None:
        (folder / "log" / "origin").write_text("another\n")

    def forged() -> None:
        path = folder / "log" / "checkpoints"
        other = signer("a forger's")
        text = note.Note.parse(witness.last_note(path, 1 << 20)[0]).text
        name = text.partition("\n")[0]
        path.write_bytes(note.sign(text, (other.named(name), other.sign)).dump() + b"\n")

    for damage in (
        lambda: cut("leaves", 32),
        lambda: cut("entries", ENTRY_SIZE),
        changed_leaf,
        lost_checkpoints,
        other_origin,
        (folder / "log" / "origin").unlink,
        forged,
    ):
        damage()
        before = {
            p.name: p.read_bytes() for p in (folder / "log").iterdir() if p.name in ("leaves", "entries")
        }
        with pytest.raises(Contradicted):
            sequencer(folder).checkpoint()
        after = {
            p.name: p.read_bytes() for p in (folder / "log").iterdir() if p.name in ("leaves", "entries")
        }
        assert after == before
        shutil.rmtree(folder / "log")
        shutil.copytree(kept, folder / "log")
    sequencer(folder).checkpoint()
    assert checked(folder).valid


def test_a_log_behind_its_witness_is_never_signed_again(folder: Path) -> None:
    outside = folder.parent / "witness"
    write(folder, 20)
    sequencer(folder, witnesses=(outside,)).checkpoint()
    kept = folder.parent / "kept"
    shutil.copytree(folder / "log", kept)
    write(folder, 20)
    sequencer(folder, witnesses=(outside,)).checkpoint()
    shutil.rmtree(folder / "log")
    shutil.copytree(kept, folder / "log")
    with pytest.raises(Contradicted, match="rolled back"):
        sequencer(folder, witnesses=(outside,)).checkpoint()
    # Without its witness nobody can know.
    sequencer(folder).checkpoint()
    with pytest.raises(Contradicted, match=r"another root|rolled back"):
        sequencer(folder, witnesses=(outside,)).checkpoint()


def test_a_log_deleted_under_a_sequencer_is_not_begun_anew(folder: Path) -> None:
    journal = write(folder, 20, close=False)
    keeper = sequencer(folder)
    keeper.checkpoint()
    shutil.rmtree(folder / "log")
    journal.append(record.event("test.event"))
    with pytest.raises(Contradicted, match="lost its name"):
        keeper.checkpoint()
    journal.close()


# -- the thread


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen within 10 seconds")


def threaded(folder: Path, journal: Journal, **options: object) -> Sequencer:
    keeper = sequencer(folder, appended=lambda: journal.sequence, **options)
    keeper.start()
    return keeper


def test_the_thread_signs_on_schedule_and_rests_when_nothing_comes(folder: Path) -> None:
    journal = write(folder, 10, close=False)
    seen: list[bytes] = []
    keeper = threaded(folder, journal, interval=0.05, on_checkpoint=seen.append)
    wait_for(lambda: len(seen) == 1)
    threading.Event().wait(0.3)
    assert len(seen) == 1
    journal.append(record.event("test.event"))
    wait_for(lambda: len(seen) == 2)
    journal.close()
    keeper.close()
    assert len(seen) == 3
    report = checked(folder)
    assert report.valid
    assert report.behind == 0
    assert keeper.stats()["checkpoints"] == 3


def test_many_records_are_signed_before_the_interval_is_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencing, "POLL", 0.02)
    journal = write(folder, 10, close=False)
    keeper = threaded(folder, journal, records=50)
    for n in range(200):
        journal.append(record.event("test.event", number=n))
    wait_for(lambda: keeper.checkpoints >= 4)
    journal.close()
    keeper.close()


def test_what_hooks_and_witnesses_raise_keeps_no_checkpoint_back(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = write(folder, 10, close=False)

    def fails(_: bytes) -> None:
        raise RuntimeError("postgresql://user:secret@host")

    keeper = sequencer(
        folder, appended=lambda: journal.sequence, on_checkpoint=fails, witnesses=(folder / "no" / "w",)
    )
    keeper.start()
    keeper.close()
    journal.close()
    assert last(folder).size > 0
    assert keeper.stats() == {
        "checkpoints": 1,
        "checkpoint_failures": 1,
        "witness_failures": 1,
        "log_stopped": 0,
    }
    assert "secret" not in caplog.text


def test_a_contradiction_stops_the_thread_and_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = write(folder, 10, close=False)
    sequencer(folder).checkpoint()
    (folder / "log" / "origin").write_text("another\n")
    keeper = threaded(folder, journal, interval=0.05)
    journal.append(record.event("test.event"))
    wait_for(lambda: bool(keeper.stopped_because))
    assert "of another log" in keeper.stopped_because
    assert "No more checkpoints" in caplog.text
    journal.close()
    keeper.close()
    assert keeper.stats()["log_stopped"] == 1


def test_a_key_that_is_rotated_elsewhere_is_picked_up(folder: Path) -> None:
    journal = write(folder, 10, close=False)
    old, new = signer(), signer("the next")
    in_file = [old]
    keeper = Sequencer(folder, lambda: in_file[0], appended=lambda: journal.sequence, interval=0.05)
    keeper.start()
    wait_for(lambda: keeper.checkpoints == 1)
    rotate(Log(folder, lambda: old), new)
    journal.append(record.event("test.event"))
    wait_for(lambda: keeper.failures > 0)
    assert not keeper.stopped_because
    in_file[0] = new
    wait_for(lambda: keeper.checkpoints == 2)
    keeper.close()
    journal.close()
    assert checked(folder).valid


FORK = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from governed_db.audit import record
from governed_db.audit.journal import Journal
from tests.audit.trails import sequencer
folder = Path(sys.argv[1])
journal = Journal.open(folder)
keeper = sequencer(folder, appended=lambda: journal.sequence, before_last=journal.close, interval=0.05)
keeper.start()
for n in range(50):
    journal.append(record.event("test.event", number=n))
keeper.checkpoint()
child = os.fork()
for n in range(50):
    journal.append(record.event("test.event", number=n))
keeper.start()
if child:
    os.waitpid(child, 0)
else:
    keeper.checkpoint()
    os._exit(0)
"""


def test_a_forked_child_and_the_end_of_the_interpreter(folder: Path, process: Start) -> None:
    one = process(FORK, folder, ROOT)
    _, error = one.communicate(timeout=60)
    assert one.returncode == 0, error
    report = checked(folder)
    assert report.valid
    # Starts, stops and what both wrote: nobody closed anything by hand.
    assert (report.records, report.behind) == (stored(folder), 0)
    assert report.records == 50 + 50 + 50 + 2 + 1


def test_close_ends_in_time_while_another_process_has_the_log(folder: Path) -> None:
    journal = write(folder, 10, close=False)
    keeper = sequencer(folder, appended=lambda: journal.sequence)
    keeper.start()
    other = Log(folder, signer)
    with other.hold(1):
        keeper.close(0.2)
    journal.close()
    assert keeper.failures == 1
    keeper.close()  # again: nothing happens
    assert keeper.failures == 1


def test_who_never_appended_signs_nothing_and_who_goes_on_after_close_does(folder: Path) -> None:
    journal = write(folder, 10, close=False)
    keeper = sequencer(folder, appended=lambda: journal.sequence)
    keeper.close()
    assert not (folder / "log").exists()
    keeper.start()
    keeper.close()
    assert keeper.checkpoints == 1
    journal.append(record.event("test.event"))
    keeper.start()
    keeper.close()
    assert keeper.checkpoints == 2
    journal.close()


def test_a_range_kept_in_the_state_is_the_tree_of_all_leaves(folder: Path) -> None:
    write(folder, 77)
    sequencer(folder).checkpoint()
    data = (folder / "log" / "leaves").read_bytes()
    hashes = [data[at : at + 32] for at in range(0, len(data), 32)]
    assert tree.root(tree.extend(tree.Range(), hashes)) == last(folder).root


class Crash(BaseException):
    pass


@pytest.mark.parametrize("half", [True, False])
def test_a_crash_at_any_write_leaves_a_log_that_is_carried_on(
    folder: Path, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 60)
    countdown = 0

    def dying(name: str, data_at: int) -> None:
        real = getattr(log_module, name)

        def wrapper(*arguments: object) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown == 0:
                data = arguments[data_at]
                assert isinstance(data, bytes)
                if half and name != "replace":  # a rename is done or not
                    real(*(data[: len(data) // 2] if n == data_at else a for n, a in enumerate(arguments)))
                raise Crash
            real(*arguments)

        monkeypatch.setattr(log_module, name, wrapper)
        if name == "replace":
            monkeypatch.setattr(logstate, name, wrapper)

    for name, data_at in (("write", 1), ("append", 1), ("replace", 1)):
        dying(name, data_at)
    crashes = 0
    while True:
        countdown = 1 + crashes
        write(folder, 3)
        log = Log(folder, signer)
        try:
            with log.hold(1):
                take_up(log, Budget(1e18, 1 << 40, gently=False))
                log.sign()
        except Crash:
            crashes += 1
            log.release()
            if last_or_none(folder):
                assert set(kinds(checked(folder))) <= {"forged"}  # the torn checkpoint alone
            continue
        if countdown > 0:
            break
    assert crashes > 8
    countdown = 0
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert report.valid
    assert report.records == stored(folder) == taken(folder)


def test_a_change_of_key_that_is_stopped_before_it_is_signed_is_none(folder: Path) -> None:
    write(folder, 10)
    sequencer(folder).checkpoint()
    new = signer("the next")
    log = Log(folder, signer)
    with log.hold(1):
        log.append(Entry(kind=Kind.KEY, data=new.public))
    assert log.in_force() == signer().public
    sequencer(folder).checkpoint()
    rotate(Log(folder, signer), new)
    assert log.in_force() == new.public
    report = checked(folder)
    assert report.valid
    assert len(report.signers) == 2


def last_or_none(folder: Path) -> bytes:
    path = folder / "log" / "checkpoints"
    return witness.last_note(path, 1 << 20)[0] if path.exists() else b""


def test_a_trail_verifies_while_it_is_written_and_sequenced(folder: Path, process: Start) -> None:
    journal = write(folder, 5, close=False)
    sequencer(folder).checkpoint()
    keeper = process(KEEPER, folder, 60, ROOT)
    writer = process(WRITER, folder, 3000)
    checks = 0
    while keeper.poll() is None:
        report = checked(folder)
        assert report.valid, report.findings
        for _ in range(5):
            journal.append(record.event("test.event"))
        checks += 1
    _, error = keeper.communicate()
    assert keeper.returncode == 0, error
    assert checks
    writer.communicate("")
    journal.close()


# -- what somebody puts into the folder, and what hangs


_NAMES = (
    "99999999T999999.000000Z-000000000000004d-000000.journal",  # no date
    "19600101T000000.000000Z-000000000000004d-000000.journal",  # before the epoch
    "20200101T000000.000000Z-000000000000004d-9999999999.journal",  # an index that no header holds
    "20200101T000000.000000Z-000000000000004d-0000000.journal",  # another way to write an index
    "20200101T000000.00000\u0660Z-000000000000004d-000000.journal",  # a digit of another alphabet
)


@pytest.mark.parametrize("name", _NAMES)
def test_a_name_that_no_writer_gives_is_no_segment(folder: Path, name: str) -> None:
    write(folder, 20)
    header = Header(journal=77, index=0, pid=1, first=1, created=1, capacity=0, state=SEALED)
    (folder / name).write_bytes(header.pack() + frame(record.event("x"), 1))
    assert sequencer(folder).checkpoint() is not None
    assert checked(folder).valid


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "loop", "nowhere"])
def test_what_is_no_regular_file_is_no_segment(folder: Path, kind: str) -> None:
    write(folder, 20)
    path = folder / "20200101T000000.000000Z-000000000000004d-000000.journal"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case _:
            path.symlink_to(folder / "nowhere")
    assert sequencer(folder).checkpoint() is not None
    assert checked(folder).valid


def test_a_pipe_in_the_place_of_a_segment_is_a_deletion(folder: Path) -> None:
    write(folder, 20)
    sequencer(folder).checkpoint()
    (path,) = segments(folder)
    path.unlink()
    os.mkfifo(path)
    assert kinds(checked(folder)) == {"deleted"}


@pytest.mark.parametrize("name", ["entries", "leaves", "checkpoints", "origin"])
def test_a_pipe_in_the_place_of_a_file_of_the_log_hangs_nobody(folder: Path, name: str) -> None:
    write(folder, 20)
    sequencer(folder).checkpoint()
    mine = key(folder)
    (folder / "log" / name).unlink()
    os.mkfifo(folder / "log" / name)
    assert not checked(folder, mine).valid
    with pytest.raises((OSError, Contradicted)):
        sequencer(folder).checkpoint()


def test_a_witness_that_is_a_pipe_is_counted_and_hangs_nobody(folder: Path, tmp_path: Path) -> None:
    write(folder, 20)
    os.mkfifo(tmp_path / "witness")
    keeper = sequencer(folder, witnesses=(tmp_path / "witness",))
    assert keeper.checkpoint() is not None
    assert keeper.log.witness_failures == 1


def test_a_signing_key_that_is_a_pipe_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "audit.key")
    with pytest.raises(KeyUnusable):
        find(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"created": 1 << 62},
        {"offset": (1 << 64) - 1},
        {"length": (1 << 64) - 1},
        {"first": (1 << 64) - 1},
        {"kind": Kind.GAP, "count": 0, "first": 1 << 62, "length": 1 << 62},
    ],
)
def test_numbers_that_no_log_reaches_are_no_entry(change: dict[str, Any]) -> None:
    good = Entry(kind=Kind.RUN, journal=1, created=1, count=1, offset=256, first=1, length=64)
    assert Entry.unpack(good.pack()) == good
    assert Entry.unpack(evolve(good, **change).pack()) is None


def test_a_state_that_nobody_signed_keeps_nothing_out_of_the_log(folder: Path) -> None:
    """Who can write to the folder says that a living segment is taken up to its end."""
    journal = write(folder, 5, close=False)
    sequencer(folder).checkpoint()
    path = folder / "log" / "state"
    signature, _, data = path.read_bytes().partition(b"\n")
    held = orjson.loads(data)
    held["segments"] = {name: [1 << 20, True] for name in held["segments"]}
    path.write_bytes(signature + b"\n" + orjson.dumps(held))
    for n in range(10):
        journal.append(record.event("later", n=n))
    sequencer(folder).checkpoint()
    journal.close()
    sequencer(folder).checkpoint()
    report = checked(folder)
    assert (report.valid, report.behind, report.records) == (True, 0, 17)


def test_a_process_that_knows_a_newer_checkpoint_signs_nothing_older(folder: Path, tmp_path: Path) -> None:
    """Yesterday's log is put back whole, and a record of since then is changed."""
    keeper = sequencer(folder)
    journal = write(folder, 5, close=False)
    keeper.checkpoint()
    shutil.copytree(folder / "log", tmp_path / "yesterday")
    journal.append(record.event("since then"))
    keeper.checkpoint()
    shutil.rmtree(folder / "log")
    shutil.copytree(tmp_path / "yesterday", folder / "log")
    journal.append(record.event("later"))
    for _ in range(2):
        with pytest.raises(Contradicted, match="rolled back or forked"):
            keeper.checkpoint()
    journal.close()


def test_half_a_note_on_a_full_disk_is_taken_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "witness"
    keeper = sequencer(folder, witnesses=(outside,))
    write(folder, 5)
    keeper.checkpoint()
    before = outside.read_bytes()
    write_, calls = os.write, 0

    def full(descriptor: int, data: bytes) -> int:
        nonlocal calls
        if os.fstat(descriptor).st_ino != outside.stat().st_ino:
            return write_(descriptor, data)
        calls += 1
        if calls == 2:
            raise OSError(errno.ENOSPC, "full")
        return write_(descriptor, data[:20])

    write(folder, 5)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        keeper.checkpoint()
    assert (calls, outside.read_bytes()) == (2, before)
    write(folder, 5)
    keeper.checkpoint()
    assert checked(folder, witnesses=[outside]).valid


_HANGS = """
import sys, threading
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit import sequencer
from governed_db.audit.sequencer import Sequencer

sequencer.POLL = 0.1  # how long it waits beyond what it was given

def hangs():
    print("asked", flush=True)
    threading.Event().wait()

folder = Path(sys.argv[1])
journal = Journal.open(folder)
keeper = Sequencer(folder, hangs, appended=lambda: journal.sequence)
keeper.start()
journal.append(record.event("x"))
if sys.argv[2] == "close":
    keeper.close(0.2)
    keeper.start()
    keeper.close(0.2)
    print("closed", keeper.failures, flush=True)
else:
    keeper.close = lambda close=keeper.close: close(0.2)
"""


@pytest.mark.parametrize(("how", "said"), [("close", "asked\nclosed 2\n"), ("exit", "asked\n")])
def test_a_signer_that_hangs_holds_up_no_end(folder: Path, process: Start, how: str, said: str) -> None:
    """As a key or a witness on a mount that hangs: the thread may hang, and whoever ends does not."""
    running = process(_HANGS, folder, how)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (0, said), err


def test_a_signer_that_raises_whatever_ends_no_thread(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Signer:
        raise RuntimeError("canary-secret")

    write(folder, 5)
    keeper = Sequencer(folder, broken)
    keeper.start()
    keeper.close(5)
    assert keeper.failures == 1
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text

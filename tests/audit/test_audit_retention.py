"""Old segments go: which, in what order, and never before it is on record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.reader import read
from governed_db.audit.retention import Keep, Retired, due, retire
from governed_db.audit.scan import names
from governed_db.errors import AuditUnavailable

DAY = 86_400


def everything(_: str) -> bool:
    return True


def unsigned(**_: object) -> None:
    """Nobody asks the log here."""


@pytest.fixture
def closed(folder: Path) -> list[Path]:
    """Four closed segments, the oldest of them 40, 30, 20 and 10 days old."""
    for n in range(4):
        with Journal.open(folder) as journal:
            journal.append(record.event("test", n=n, fill="x" * 1000))
    paths = [name.path for name in names(folder)]
    for days, path in zip((40, 30, 20, 10), paths, strict=True):
        then = time.time() - days * DAY
        os.utime(path, (then, then))
    return paths


def _due(folder: Path, keep: Keep, covered: Callable[[str], bool] = everything) -> list[Path]:
    return [segment.path for segment in due(folder, keep, covered, time.time())]


def test_what_is_older_than_the_policy_keeps_goes(folder: Path, closed: list[Path]) -> None:
    assert _due(folder, Keep(days=25)) == closed[:2]
    assert _due(folder, Keep(days=60)) == []


def test_the_oldest_go_until_the_rest_fits(folder: Path, closed: list[Path]) -> None:
    size = closed[0].stat().st_size
    assert _due(folder, Keep(bytes=size * 4)) == []
    assert _due(folder, Keep(bytes=size * 3)) == closed[:1]
    assert _due(folder, Keep(bytes=1)) == closed


def test_without_a_limit_everything_stays(folder: Path, closed: list[Path]) -> None:
    assert closed
    assert _due(folder, Keep()) == []


def test_what_no_checkpoint_covers_stays(folder: Path, closed: list[Path]) -> None:
    assert _due(folder, Keep(days=1), lambda name: name == closed[1].name) == [closed[1]]


def test_what_is_written_stays(folder: Path) -> None:
    with Journal.open(folder) as journal:
        journal.append(record.event("test"))
        (segment,) = names(folder)
        os.utime(segment.path, (0, 0))
        assert _due(folder, Keep(days=1, bytes=1)) == []


def test_what_is_damaged_stays(folder: Path, closed: list[Path]) -> None:
    data = bytearray(closed[0].read_bytes())
    data[700] ^= 1
    closed[0].write_bytes(data)
    os.utime(closed[0], (0, 0))
    assert _due(folder, Keep(days=1)) == closed[1:]


def test_what_goes_is_on_record_first(folder: Path, closed: list[Path]) -> None:
    with Journal.open(folder) as journal:

        def note(segment: Retired) -> None:
            assert segment.path.exists()
            journal.append(record.event("journal.retired", **segment.details()))

        def sign(*, retiring: Sequence[Retired]) -> None:
            assert [segment.path for segment in retiring] == closed[:2]
            assert all(path.exists() for path in closed)
            assert sum(e.get("event") == "journal.retired" for e in read(folder)) == 2

        gone = retire(folder, Keep(days=25), everything, time.time(), note, sign)
    assert [segment.path for segment in gone] == closed[:2]
    assert not any(path.exists() for path in closed[:2])
    events = [e["details"] for e in read(folder) if e.get("event") == "journal.retired"]
    assert [e["segment"] for e in events] == [path.name for path in closed[:2]]
    assert [(e["first"], e["last"], e["because"]) for e in events] == [(1, 3, "age"), (1, 3, "age")]
    assert all(e["segment"].split("-")[1] == e["writer"] for e in events)


def test_what_cannot_be_noted_stays(folder: Path, closed: list[Path]) -> None:
    def note(_: Retired) -> None:
        raise AuditUnavailable("no", rule="audit.journal")

    with pytest.raises(AuditUnavailable):
        retire(folder, Keep(days=1), everything, time.time(), note, unsigned)
    assert all(path.exists() for path in closed)


def test_what_cannot_be_signed_for_stays(folder: Path, closed: list[Path]) -> None:
    def sign(**_: object) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        retire(folder, Keep(days=1), everything, time.time(), lambda _: None, sign)
    assert all(path.exists() for path in closed)


def test_two_that_retire_at_once_are_no_error(folder: Path, closed: list[Path]) -> None:
    def note(segment: Retired) -> None:
        segment.path.unlink()  # the other one was faster

    assert len(retire(folder, Keep(days=1), everything, time.time(), note, unsigned)) == len(closed)

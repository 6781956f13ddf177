"""Stores among processes: fifty at once, killed in the middle, forked."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time
import traceback

import pytest

from governed_db.approval import sqlite
from governed_db.approval.install import install
from governed_db.approval.postgres import PostgresStore
from governed_db.approval.sqlite import SQLiteStore
from governed_db.approval.store import StoreUnavailable
from tests.approval.storing import HOUR, NOW, request, yes

# Python 3.12 warns of every fork where there are threads; that forks work then is what is shown here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

PROCESSES = 50


@pytest.fixture(scope="module")
def installed(dsn: str) -> str:
    install(dsn)
    return dsn


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request, tmp_path):
    """What opens the store, as each process does for itself."""
    if request.param == "sqlite":
        return lambda: SQLiteStore(tmp_path / "state" / "approvals.sqlite")
    dsn = request.getfixturevalue("installed")
    return lambda: PostgresStore(dsn)


def forked(work) -> int:
    """Run ``work`` in a child; its truth is the exit status 1, its falsehood 0. Return the process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        status = int(work())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def statuses(pids: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def all_at_once(number: int, work) -> list[int]:
    reads, writes = os.pipe()

    def behind_the_gate(place: int):
        os.close(writes)
        os.read(reads, 1)  # until the parent closes its end
        return work(place)

    pids = [forked(lambda place=place: behind_the_gate(place)) for place in range(number)]
    os.close(writes)
    os.close(reads)
    return statuses(pids)


def test_fifty_processes_claim_and_one_has_it(opened):
    asked = request()
    store = opened()
    store.file(asked, now=NOW, most=9999)
    store.close()

    def claim(place: int) -> bool:
        mine = opened()
        done = mine.claim(asked.id, by=f"process {place}", now=NOW)
        mine.close()
        return done

    assert sorted(all_at_once(PROCESSES, claim)) == [0] * (PROCESSES - 1) + [1]
    assert store.get(asked.id).used == NOW
    store.close()


def test_fifty_processes_file_and_one_is_open(opened, tmp_path):
    """The first of them makes the file, or the table's rows, while the others do so, too."""
    name = f"DELETE FROM {tmp_path.name}"

    def file(place: int) -> bool:
        mine = opened()
        asked = request(name)
        kept = mine.file(asked, now=NOW, notifiers=("hook",), most=9999)
        mine.close()
        return kept.id == asked.id

    assert sorted(all_at_once(PROCESSES, file)) == [0] * (PROCESSES - 1) + [1]
    store = opened()
    assert len([each for each in store.listed(now=NOW) if each.request.statement == name]) == 1
    store.close()


def test_killed_at_any_moment(opened):
    """What was kept stays, what was claimed stays claimed, and the next process goes on."""
    store = opened()
    mark = store.file(request(), now=NOW, most=9999)

    def work() -> bool:
        mine = opened()
        while True:
            asked = request()
            mine.file(asked, now=NOW, most=9999)
            mine.answer(yes(asked), most=3)
            mine.claim(asked.id, by="c", now=NOW)

    for place in range(8):
        pid = forked(work)
        time.sleep(0.02 + 0.011 * place)
        os.kill(pid, signal.SIGKILL)
        assert statuses([pid]) == [-signal.SIGKILL]
        assert store.get(mark.id).request == mark
        for filed in store.listed(now=NOW, every=True):
            if filed.used:
                assert not store.claim(filed.request.id, by="c", now=NOW)
    assert store.file(request(), now=NOW, most=9999)
    store.close()


def test_killed_in_a_transaction(opened):
    """What a transaction has written half, its pages on the disk, is undone."""
    store = opened()
    asked = request()
    store.file(asked, now=NOW, most=9999)

    def work() -> bool:
        def half(tx):
            if isinstance(store, SQLiteStore):
                tx.rows("PRAGMA cache_size = 1")
            tx.change("DELETE FROM requests WHERE id = ?", asked.id)
            for number in range(50):
                tx.change(
                    "INSERT INTO grants (id, note, expires) VALUES (?, ?, ?)", f"g{number}", b"x" * 9000, 1
                )
            os.kill(os.getpid(), signal.SIGKILL)

        return opened()._keep(half)

    assert statuses([forked(work)]) == [-signal.SIGKILL]
    if isinstance(store, SQLiteStore):
        assert store.path.with_name("approvals.sqlite-journal").exists()  # pages had been written
    assert store.get(asked.id).request == asked
    assert store.claim(asked.id, by="c", now=NOW)
    store.close()


def test_forked_while_threads_ask(opened):
    """A child has a store that works, and leaves its parent's alone."""
    store = opened()
    asked = store.file(request(), now=NOW, most=9999)
    over = threading.Event()
    wrong: list[BaseException] = []

    def ask() -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                store.add_grant(f"{threading.get_ident()} {number}", b"note", expires=NOW + HOUR)
                assert store.get(asked.id).request == asked
            except BaseException as error:
                wrong.append(error)
                return

    def child() -> bool:
        assert store.get(asked.id).request == asked
        return store.claim(asked.id, by="child", now=NOW)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    pids = []
    for _ in range(10):
        pids.append(forked(child))
        time.sleep(0.01)
    assert sorted(statuses(pids)) == [0] * 9 + [1]
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store.get(asked.id).used == NOW
    if isinstance(store, SQLiteStore):
        with contextlib.closing(sqlite3.connect(store.path)) as conn:
            assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()


def test_forked_in_the_middle_of_a_call(tmp_path, monkeypatch):
    """As a signal handler can: the child's SQLite believes in locks that nobody holds, and is not asked."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", -0.95)
    store = SQLiteStore(tmp_path / "state" / "approvals.sqlite")
    asked = store.file(request(), now=NOW, most=9)

    def child() -> bool:
        try:
            store.claim(asked.id, by="child", now=NOW)
        except StoreUnavailable as error:
            return "forked in the middle" in str(error)
        return False

    pids: list[int] = []
    store._change(lambda tx: pids.append(forked(child)), None)
    assert statuses(pids) == [1]
    assert store.claim(asked.id, by="parent", now=NOW)

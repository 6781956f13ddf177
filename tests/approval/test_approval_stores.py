"""Where approvals are kept: one contract, two stores, and every way in which one can be gone."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import socket
import sqlite3
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg.conninfo import make_conninfo

from governed_db import Identity
from governed_db.approval import install as installing
from governed_db.approval import postgres, postgres_link, schema
from governed_db.approval.postgres import PostgresStore
from governed_db.approval.sqlite import SQLiteStore
from governed_db.approval.store import StoreUnavailable, View
from governed_db.approval.stores import DSN_VARIABLE, open_store
from governed_db.cli import approvals_init
from governed_db.errors import PolicyError
from governed_db.policy.settings import ApprovalSettings
from tests.approval.storing import BOT, HOUR, NOW, TABLES, request, yes

# Python 3.12 warns of every fork where there are threads; that forks work then is what is shown here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

OTHER = Identity.agent("other")
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def installed(dsn: str) -> str:
    assert installing.install(dsn) == (0, schema.VERSION)
    return dsn


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    made = make(request.param, tmp_path, request)
    yield made
    made.close()


def make(kind: str, folder: Path, pytest_request):
    if kind == "sqlite":
        return SQLiteStore(folder / "state" / "approvals.sqlite")
    dsn = pytest_request.getfixturevalue("installed")
    empty(dsn)
    return PostgresStore(dsn)


def empty(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"TRUNCATE {', '.join(f'governed_db.{name}' for name in TABLES)}")


def sql(store, statement: str, *values) -> list:
    """What somebody does who can write to the store."""
    if isinstance(store, SQLiteStore):
        with sqlite3.connect(store.path) as conn:
            rows = conn.execute(statement, values).fetchall()
        conn.close()
        return rows
    with psycopg.connect(store._dsn, autocommit=True) as conn:
        conn.execute("SET search_path = governed_db")
        cursor = conn.execute(statement.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []


def at_once(number: int, call):
    """The results of ``number`` threads that call at the same time."""
    gate = threading.Barrier(number)

    def one(place: int):
        gate.wait()
        return call(place)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def test_an_empty_store_has_nothing(store):
    asked = request()
    assert store.view(now=NOW) == View()
    assert store.find(asked.digest, now=NOW) is None
    assert store.get(asked.id) is None
    assert store.listed(now=NOW, every=True) == []
    assert store.due(now=NOW, lease=1) == []
    assert not store.answer(yes(asked), most=5)
    assert not store.claim(asked.id, by="c", now=NOW)
    assert not store.withdraw(asked.id, now=NOW)
    assert store.purge(before=NOW) == 0


def test_looking_makes_no_file(tmp_path):
    store = SQLiteStore(tmp_path / "state" / "approvals.sqlite")
    test_an_empty_store_has_nothing(store)
    assert not (tmp_path / "state").exists()
    store.file(request(), now=NOW, most=1)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in store.path.parent.iterdir()] == ["approvals.sqlite"]


def test_a_request_comes_back_as_it_was(store):
    asked = request(sql="DELETE FROM t\nWHERE a = '…'", values=("••••",), approvers=("dba",), needed=2)
    assert store.file(asked, now=NOW, most=5) == asked
    for found in (store.find(asked.digest, now=NOW), store.get(asked.id), *store.listed(now=NOW)):
        assert found.request == asked
        assert found.answers == ()
        assert found.used is None
    assert store.view(now=NOW) == View(open=frozenset({asked.digest}))


def test_one_question_has_one_open_request(store):
    first, second = request("DELETE FROM t"), request("DELETE FROM t")
    assert store.file(first, now=NOW, most=1) == first
    assert store.file(second, now=NOW, most=1) == first
    assert store.file(first, now=NOW, most=1) == first
    assert store.get(second.id) is None
    assert store.file(second, now=NOW + HOUR, most=1) == second  # the first has expired at that very moment


@pytest.mark.parametrize("end", ["claim", "withdraw", "expire"])
def test_what_ended_is_asked_anew(store, end):
    first, second = request("DELETE FROM t"), request("DELETE FROM t", lasts=2 * HOUR)
    store.file(first, now=NOW, most=1)
    later = NOW + HOUR if end == "expire" else NOW + SECOND
    if end == "claim":
        assert store.claim(first.id, by="c", now=NOW)
    elif end == "withdraw":
        assert store.withdraw(first.id, now=NOW)
    assert store.find(first.digest, now=later) is None
    assert store.view(now=later) == View()
    assert store.listed(now=later) == []
    assert [filed.request for filed in store.listed(now=later, every=True)] == [first]
    assert store.file(second, now=later, most=1) == second
    assert store.find(first.digest, now=later).request == second
    assert not store.claim(first.id, by="c", now=later)
    assert not store.withdraw(first.id, now=later)
    assert store.get(first.id).used == (NOW if end == "claim" else None)
    assert store.get(first.id).withdrawn == (NOW if end == "withdraw" else None)


def test_an_id_is_used_once(store):
    asked = request()
    store.file(asked, now=NOW, most=5)
    assert store.claim(asked.id, by="c", now=NOW)
    with pytest.raises(ValueError, match="used once"):
        store.file(asked, now=NOW, most=5)
    assert store.get(asked.id).used == NOW


def test_a_request_has_a_size(store):
    with pytest.raises(ValueError, match="at most"):
        store.file(request(sql="x" * (1 << 20)), now=NOW, most=5)


def test_a_caller_has_so_many_open_requests(store):
    mine = [request() for _ in range(3)]
    assert [store.file(each, now=NOW, most=2) for each in mine] == [mine[0], mine[1], None]
    assert store.get(mine[2].id) is None
    session = Identity.agent("bot", session="s-2")
    assert store.file(request(who=session), now=NOW, most=2) is None  # the same caller in another session
    assert store.file(request(who=OTHER), now=NOW, most=2)
    assert store.file(request(who=Identity.human("bot")), now=NOW, most=2)
    store.withdraw(mine[0].id, now=NOW)
    assert store.file(mine[2], now=NOW, most=2) == mine[2]


def test_answers_are_kept_in_their_order(store):
    asked = request()
    answers = [yes(asked, reason) for reason in ("one", "two", "three")]
    store.file(asked, now=NOW, most=5)
    assert [store.answer(each, most=2) for each in answers] == [True, True, False]
    assert store.answer(answers[0], most=2)
    assert store.find(asked.digest, now=NOW).answers == tuple(answers[:2])
    assert store.listed(now=NOW)[0].answers == tuple(answers[:2])
    assert not store.answer(yes(request()), most=2)


def test_lists_are_old_to_new_and_limited(store, monkeypatch):
    monkeypatch.setattr("governed_db.approval.tables.PAGE", 2)
    asked = [request() for _ in range(5)]
    for each in asked:
        store.file(each, now=NOW, most=9)
    same_moment = sorted(each.id for each in asked)
    assert [filed.request.id for filed in store.listed(now=NOW)] == same_moment
    assert [filed.request.id for filed in store.listed(now=NOW, limit=3)] == same_moment[:3]


@pytest.mark.parametrize("strange", ["", "nobody", "apr_\0", "\ud800", "x" * 10_000, "'; --"])
def test_ids_may_be_anything(store, strange):
    store.file(request(), now=NOW, most=1)
    assert store.get(strange) is None
    assert not store.claim(strange, by=strange, now=NOW)
    assert not store.withdraw(strange, now=NOW)


@pytest.mark.parametrize("by", ["a\0b", "\ud800", "ä" * 100])
def test_claimants_may_be_called_anything(store, by):
    asked = request()
    store.file(asked, now=NOW, most=1)
    assert store.claim(asked.id, by=by, now=NOW)


def test_notices_go_to_one_taker_at_a_time(store):
    asked, other = request(), request()
    store.file(asked, now=NOW, notifiers=("slack", "hook", "slack"), most=5)
    store.file(other, now=NOW, notifiers=("slack",), most=5)
    taken = store.due(now=NOW, lease=30)
    assert sorted((each.request, each.notifier) for each in taken) == sorted(
        [(asked.id, "slack"), (asked.id, "hook"), (other.id, "slack")]
    )
    assert store.due(now=NOW + 29 * SECOND, lease=30) == []
    hook = next(each for each in taken if each.notifier == "hook")
    store.again(hook, at=NOW + 60 * SECOND)
    store.told(next(each for each in taken if each.request == other.id))
    ((slack),) = store.due(now=NOW + 30 * SECOND, lease=30)
    assert (slack.notifier, slack.attempts) == ("slack", 0)
    store.told(slack)
    ((again),) = store.due(now=NOW + 60 * SECOND, lease=30)
    assert (again.notifier, again.attempts) == ("hook", 1)
    assert store.claim(asked.id, by="c", now=NOW)
    assert store.due(now=NOW + 90 * SECOND, lease=30) == []
    assert sql(store, "SELECT count(*) FROM notices") == [(0,)]


def test_as_many_notices_as_were_asked_for(store):
    for _ in range(5):
        store.file(request(), now=NOW, notifiers=("hook",), most=9)
    assert [len(store.due(now=NOW, lease=30, limit=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_grants_are_kept_until_they_expire(store):
    assert store.add_grant("g1", b"note \xff\x00", expires=NOW + HOUR)
    assert not store.add_grant("g1", b"other", expires=NOW + HOUR)
    assert not store.add_grant("g1", b"note \xff\x00", expires=NOW + HOUR)
    assert store.add_grant("g2", b"second", expires=NOW + SECOND)
    assert store.view(now=NOW).grants == (b"note \xff\x00", b"second")
    assert store.view(now=NOW + SECOND).grants == (b"note \xff\x00",)


def test_what_ended_can_be_forgotten(store):
    used, withdrawn, expired, waiting = (request(lasts=n * HOUR) for n in (9, 9, 1, 9))
    for each in (used, withdrawn, expired, waiting):
        store.file(each, now=NOW, notifiers=("hook",), most=9)
        store.answer(yes(each), most=1)
    store.claim(used.id, by="c", now=NOW)
    store.withdraw(withdrawn.id, now=NOW)
    store.add_grant("g1", b"note", expires=NOW + HOUR)
    assert store.purge(before=NOW) == 0
    assert store.purge(before=NOW + 2 * HOUR) == 3
    assert [each.request for each in store.listed(now=NOW, every=True)] == [waiting]
    assert sql(store, "SELECT count(*) FROM answers") == [(1,)]
    assert sql(store, "SELECT count(*) FROM ends") == [(0,)]
    assert store.view(now=NOW).grants == ()
    assert store.purge(before=NOW + 99 * HOUR) == 1
    assert sql(store, "SELECT count(*) FROM requesters") == [(0,)]


def test_fifty_claim_and_one_has_it(store):
    asked = request()
    store.file(asked, now=NOW, most=1)
    assert sum(at_once(50, lambda place: store.claim(asked.id, by=f"c{place}", now=NOW))) == 1
    assert store.get(asked.id).used == NOW


def test_fifty_file_and_one_is_open(store):
    filed = at_once(50, lambda _: store.file(request("DELETE FROM t"), now=NOW, most=3))
    assert len({each.id for each in filed}) == 1
    assert len(store.listed(now=NOW, every=True)) == 1


def test_two_callers_with_one_question_have_one_request(store):
    """The digest is what is unique, whoever the requesters are."""
    who = [Identity.agent(f"a{n}") for n in range(8)]
    filed = at_once(8, lambda n: store.file(request("DELETE FROM t", who=who[n]), now=NOW, most=3))
    assert len({each.id for each in filed}) == 1


def test_the_most_is_the_most_for_many_at_once(store):
    filed = at_once(20, lambda _: store.file(request(), now=NOW, most=3))
    assert sum(each is not None for each in filed) == 3
    asked = next(each for each in filed if each)
    assert sum(at_once(20, lambda n: store.answer(yes(asked, str(n)), most=4))) == 4
    assert len(store.get(asked.id).answers) == 4


def test_many_takers_share_the_notices(store):
    for _ in range(6):
        store.file(request(), now=NOW, notifiers=("slack", "hook"), most=9)
    taken = [each for part in at_once(12, lambda _: store.due(now=NOW, lease=9, limit=3)) for each in part]
    taken += store.due(now=NOW, lease=9, limit=99)
    assert len(taken) == len({(each.request, each.notifier) for each in taken}) == 12


TAMPERED = [
    "UPDATE requests SET body = ?",
    "UPDATE requests SET body = ? || body",
    "UPDATE requests SET expires = expires + 1000000, answers = length(?)",
    "UPDATE requests SET id = id || 'x', answers = length(?)",
]


@pytest.mark.parametrize("change", TAMPERED)
def test_rows_that_somebody_changed_are_not_there(store, change):
    asked, fine = request("DELETE FROM t"), request(lasts=timedelta(minutes=1), who=OTHER)
    store.file(asked, now=NOW, most=1)
    sql(store, change, b"\xff\xfe{")
    store.file(fine, now=NOW, most=1)
    assert store.find(asked.digest, now=NOW) is None
    assert [each.request for each in store.listed(now=NOW)] == [fine]
    assert store.get(asked.id) is None
    again = request("DELETE FROM t")
    assert store.file(again, now=NOW, most=2) == again
    assert store.find(asked.digest, now=NOW).request == again


def test_a_digest_that_was_moved_finds_nothing(store):
    asked, other = request("DELETE FROM a"), request("DELETE FROM b")
    store.file(asked, now=NOW, most=9)
    sql(store, "UPDATE requests SET digest = ?", other.digest)
    assert store.find(other.digest, now=NOW) is None
    for text in ("DELETE FROM a", "DELETE FROM b"):
        anew = request(text)
        assert store.file(anew, now=NOW, most=9) == anew
        assert store.find(anew.digest, now=NOW).request == anew


def test_ends_and_answers_that_make_no_sense(store):
    asked = request()
    store.file(asked, now=NOW, most=1)
    store.answer(yes(asked), most=3)
    sql(store, "INSERT INTO answers (request_id, id, place, note) VALUES (?, 'x', 0, ?)", asked.id, b"\xff")
    assert store.find(asked.digest, now=NOW).answers == (yes(asked),)
    huge = 2**62
    sql(
        store,
        f"INSERT INTO ends (request_id, how, ended, claimant, token) VALUES (?, 'used', {huge}, '', '')",
        asked.id,
    )
    assert store.get(asked.id) is None
    assert store.listed(now=NOW, every=True) == []
    assert not store.claim(asked.id, by="c", now=NOW)


def test_types_that_sqlite_lets_in(tmp_path):
    store = SQLiteStore(tmp_path / "state" / "approvals.sqlite")
    asked = request()
    store.file(asked, now=NOW, most=1)
    store.answer(yes(asked), most=3)
    for change in ("body = 'text'", "body = 7", "expires = x'00'", "requested = CAST(x'fffe' AS text)"):
        sql(store, f"UPDATE requests SET {change}")
        assert store.listed(now=NOW) in ([], store.listed(now=NOW))
        assert store.find(asked.digest, now=NOW) is None or change.startswith("requested")
    sql(store, "UPDATE answers SET note = 'text'")
    store.add_grant("g", b"note", expires=NOW + HOUR)
    sql(store, "UPDATE grants SET note = 5")
    assert store.view(now=NOW).grants == ()


class Model(RuleBasedStateMachine):
    """Any order of calls has the results that a dictionary would give."""

    store = None

    @initialize()
    def begin(self):
        self.now = NOW
        self.kept = []  # [request, ended]
        self.answers = {}

    def open(self):
        return [each for each in self.kept if each[1] is None and each[0].expires > self.now]

    @rule(seconds=st.sampled_from([1, 600, 3600]))
    def time_goes_by(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule(what=st.sampled_from("abc"), who=st.sampled_from([BOT, OTHER]), most=st.integers(1, 2))
    def file(self, what, who, most):
        asked = request(f"{what} {who.subject}", who=who, lasts=self.now - NOW + timedelta(minutes=30))
        same = [each[0] for each in self.open() if each[0].digest == asked.digest]
        mine = [each for each in self.open() if each[0].requester.subject == who.subject]
        expected = same[0] if same else asked if len(mine) < most else None
        assert self.store.file(asked, now=self.now, most=most) == expected
        if expected is asked:
            self.kept.append([asked, None])

    @rule(data=st.data(), used=st.booleans())
    def end(self, data, used):
        if self.kept:
            entry = data.draw(st.sampled_from(self.kept))
            call = (
                (lambda i: self.store.claim(i, by="c", now=self.now))
                if used
                else (lambda i: self.store.withdraw(i, now=self.now))
            )
            assert call(entry[0].id) is (entry in self.open())
            if entry in self.open():
                entry[1] = ("used" if used else "withdrawn", self.now)

    @rule(data=st.data(), reason=st.sampled_from("xyz"))
    def answer(self, data, reason):
        if self.kept:
            asked = data.draw(st.sampled_from(self.kept))[0]
            mine = self.answers.setdefault(asked.id, [])
            signed = yes(asked, reason)
            expected = signed in mine or len(mine) < 2
            assert self.store.answer(signed, most=2) is expected
            if expected and signed not in mine:
                mine.append(signed)

    @rule()
    def purge(self):
        ended = [e for e in self.kept if e[0].expires < self.now or (e[1] and e[1][1] < self.now)]
        assert self.store.purge(before=self.now) == len(ended)
        self.kept = [each for each in self.kept if each not in ended]

    @invariant()
    def is_what_the_model_says(self):
        found = {each.request.id: each for each in self.store.listed(now=self.now, every=True)}
        assert {*found} == {each[0].id for each in self.kept}
        for asked, end in self.kept:
            assert found[asked.id].answers == tuple(self.answers.get(asked.id, ()))
            assert found[asked.id].used == (end[1] if end and end[0] == "used" else None)
            assert found[asked.id].withdrawn == (end[1] if end and end[0] == "withdrawn" else None)
        assert self.store.view(now=self.now).open == {each[0].digest for each in self.open()}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_any_order_of_calls_is_what_a_model_says(kind, tmp_path, request):
    if kind == "postgresql":
        request.getfixturevalue("installed")
    numbers = iter(range(10_000))

    class OfThisStore(Model):
        def __init__(self):
            super().__init__()
            self.store = make(kind, tmp_path / str(next(numbers)), request)

        def teardown(self):
            self.store.close()

    run_state_machine_as_test(OfThisStore, settings=settings(max_examples=6, stateful_step_count=12))


def refused(call) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as caught:
        call()
    assert caught.value.remedy
    return caught.value


class TestFilesThatAreNoStore:
    @pytest.fixture
    def sqlite(self, tmp_path):
        store = SQLiteStore(tmp_path / "state" / "approvals.sqlite", busy=0.05)
        store.file(request(), now=NOW, most=9)
        return store

    def check(self, store, words: str) -> None:
        for call in (
            lambda: store.view(now=NOW),
            lambda: store.file(request(), now=NOW, most=99),
            lambda: store.claim("apr_1", by="c", now=NOW),
        ):
            assert re.search(words, str(refused(call)))

    def test_no_database(self, sqlite):
        sqlite.path.write_bytes(b"hello, world" * 1000)
        self.check(sqlite, "no database")

    def test_a_damaged_one(self, sqlite):
        raw = bytearray(sqlite.path.read_bytes())
        raw[100:] = b"\xaa" * (len(raw) - 100)
        sqlite.path.write_bytes(raw)
        self.check(sqlite, "damaged")

    def test_a_later_version(self, sqlite):
        sql(sqlite, "PRAGMA user_version = 99")
        self.check(sqlite, r"version 99; this release knows \d")

    def test_of_another_program(self, sqlite):
        sql(sqlite, "PRAGMA application_id = 7")
        self.check(sqlite, "another program")

    def test_without_a_table(self, sqlite):
        for table in ("answers", "notices", "ends"):
            sql(sqlite, f"DROP TABLE {table}")
        assert "not laid out" in str(refused(lambda: sqlite.claim("apr_1", by="c", now=NOW)))
        assert "not laid out" in str(refused(lambda: sqlite.view(now=NOW)))

    def test_locked_by_somebody(self, sqlite):
        conn = sqlite3.connect(sqlite.path, isolation_level=None)
        conn.execute("BEGIN EXCLUSIVE")
        self.check(sqlite, "in use by others for longer than 0.05 s")
        conn.close()

    def test_a_folder_in_the_way(self, sqlite):
        sqlite.path.unlink()
        sqlite.path.mkdir()
        self.check(sqlite, "no regular file")

    def test_a_link(self, sqlite, tmp_path):
        sqlite.path.rename(tmp_path / "elsewhere")
        sqlite.path.symlink_to(tmp_path / "elsewhere")
        self.check(sqlite, "is a link")

    def test_a_link_to_nowhere(self, sqlite, tmp_path):
        sqlite.path.unlink()
        sqlite.path.symlink_to(tmp_path / "elsewhere")
        self.check(sqlite, "is a link")
        assert not (tmp_path / "elsewhere").exists()

    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o640])
    def test_others_can_use_it(self, sqlite, mode):
        sqlite.path.chmod(mode)
        self.check(sqlite, "others than this user")

    def test_others_can_replace_it(self, sqlite):
        sqlite.path.parent.chmod(0o777)
        self.check(sqlite, "others can replace it")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_of_somebody_else(self, sqlite):
        os.chown(sqlite.path, 12345, 12345)
        self.check(sqlite, "another user")

    def test_an_empty_file_is_an_empty_store(self, sqlite):
        sqlite.path.write_bytes(b"")
        assert sqlite.view(now=NOW) == View()
        assert sqlite.file(request(), now=NOW, most=1)

    def test_a_folder_that_only_lets_read(self, sqlite):
        """The look works, the claim does not. Root, whom no mode keeps out, becomes somebody else for it."""
        place = Path(tempfile.mkdtemp(prefix="governed-db-", dir="/tmp"))  # where that somebody may go
        try:
            shutil.copy(sqlite.path, place)
            store = SQLiteStore(place / "approvals.sqlite")
            if os.geteuid() == 0:
                os.chown(place, 65534, 65534)
                os.chown(store.path, 65534, 65534)
            place.chmod(0o500)

            def child() -> bool:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                (kept,) = store.listed(now=NOW)
                said = refused(lambda: store.claim(kept.request.id, by="c", now=NOW))
                return "cannot be" in str(said) and store.due(now=NOW, lease=1) == []

            assert in_child(child)
        finally:
            place.chmod(0o700)
            shutil.rmtree(place)

    def test_a_disk_without_room(self, sqlite):
        """A limit on the size of files is met as a full disk is: by a write that fails."""

        def child() -> bool:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            said = refused(lambda: sqlite.file(request(sql="x" * 500_000), now=NOW, most=9))
            return "cannot be read or written" in str(said)

        assert in_child(child)
        assert len(sqlite.listed(now=NOW)) == 1


def in_child(work) -> bool:
    """Whether ``work``, run in a forked child, is true."""
    pid = os.fork()
    if not pid:
        status = 99
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class TestServersThatAreGone:
    SECRET = "hunter2-canary"

    def said(self, call) -> str:
        error = refused(call)
        text = f"{error} {error.remedy} {error!r} {error.__cause__!r}"
        assert self.SECRET not in text
        assert "somebody" not in text
        return str(error)

    def test_a_server_that_is_down(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            store = PostgresStore(f"postgresql://somebody:{self.SECRET}@127.0.0.1:{port}/shop")
            said = self.said(lambda: store.view(now=NOW))
        assert "lets nobody in" in said
        assert f"host 127.0.0.1, port {port}, database shop" in said
        assert self.SECRET not in repr(store)

    def test_a_server_that_never_answers(self, monkeypatch):
        monkeypatch.setitem(postgres_link.NETWORK, "connect_timeout", 1)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            store = PostgresStore(f"postgresql://somebody:{self.SECRET}@127.0.0.1:{port}/shop")
            assert "did not answer within" in self.said(lambda: store.claim("apr_1", by="c", now=NOW))

    def test_a_server_that_stops_answering(self, installed, monkeypatch):
        monkeypatch.setattr(postgres_link, "ANSWER_SECONDS", 0.3)
        with Between(installed) as between:
            store = PostgresStore(between.dsn)
            assert store.view(now=NOW) is not None
            between.silent = True
            assert "did not answer within 0.3 s" in self.said(lambda: store.view(now=NOW))
            store.close()

    def test_no_such_database_or_user(self, server):
        dsn = server.create_database("there")
        for change in ({"dbname": "nowhere"}, {"user": "somebody", "password": self.SECRET}):
            store = PostgresStore(make_conninfo(dsn, **change))
            assert "lets nobody in" in self.said(lambda s=store: s.view(now=NOW))

    def test_not_installed_and_of_another_version(self, server):
        dsn = server.create_database("bare")
        store = PostgresStore(dsn)
        assert "is not installed" in self.said(lambda: store.view(now=NOW))
        installing.install(dsn)
        assert store.view(now=NOW) == View()
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("UPDATE governed_db.installed SET version = 99")
        assert "version 99" in self.said(lambda: store.view(now=NOW))
        assert "version 99" in self.said(lambda: installing.install(dsn))
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("DELETE FROM governed_db.installed")
        assert "is not installed" in self.said(lambda: store.view(now=NOW))
        assert "does not say which version" in self.said(lambda: installing.install(dsn))
        store.close()

    def test_locked_for_too_long(self, installed, monkeypatch):
        monkeypatch.setattr(
            postgres,
            "_BEGIN",
            postgres._BEGIN.replace(f"timeout = {postgres_link.STATEMENT_MS}", "timeout = 100"),
        )
        empty(installed)
        store = PostgresStore(installed)
        with psycopg.connect(installed) as conn:
            conn.execute("LOCK governed_db.ends")
            said = self.said(lambda: store.claim("apr_1", by="c", now=NOW))
        assert "took longer than" in said
        assert store.view(now=NOW) == View()
        store.close()

    def test_a_table_that_is_gone(self, installed):
        store = PostgresStore(installed)
        with psycopg.connect(installed, autocommit=True) as conn:
            conn.execute("ALTER TABLE governed_db.ends RENAME TO other")
            try:
                assert "is not installed" in self.said(lambda: store.claim("apr_1", by="c", now=NOW))
            finally:
                conn.execute("ALTER TABLE governed_db.other RENAME TO ends")
        store.close()

    def test_a_database_that_is_read_only(self, installed):
        empty(installed)
        store = PostgresStore(f"{installed} options='-c default_transaction_read_only=on'")
        assert store.view(now=NOW) == View()
        assert "is read-only" in self.said(lambda: store.file(request(), now=NOW, most=1))
        store.close()

    @pytest.mark.parametrize("state", ["40001", "40P01"])
    def test_what_the_server_asks_to_run_again(self, installed, state):
        store = PostgresStore(installed)
        runs = []

        def work(tx) -> int:
            runs.append(tx.doubtful)
            if len(runs) < 3:
                tx.rows(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$")
            return len(runs)

        assert store._keep(work) == 3
        assert runs == [False] * 3
        store.close()

    def test_a_server_that_always_asks_again(self, installed, monkeypatch):
        monkeypatch.setattr(postgres_link, "ANSWER_SECONDS", 0.1)
        store = PostgresStore(installed)
        fails = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"
        assert "too busy" in self.said(lambda: store._keep(lambda tx: tx.rows(fails)))
        store.close()

    def test_a_child_has_connections_of_its_own(self, installed):
        store = PostgresStore(installed)

        def backend() -> int:
            return store._keep(lambda tx: tx.rows("SELECT pg_backend_pid()"))[0][0]

        before = backend()
        assert in_child(lambda: backend() != before)
        assert backend() == before
        store.close()

    def test_a_connection_that_was_cut_while_idle(self, installed):
        empty(installed)
        store = PostgresStore(installed)
        asked = request()
        store.file(asked, now=NOW, most=1)
        cut(installed)
        assert store.claim(asked.id, by="c", now=NOW)
        cut(installed)
        assert not store.claim(asked.id, by="c", now=NOW)
        store.close()

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("what", ["claim", "file", "answer", "withdraw", "add_grant"])
    def test_a_connection_that_breaks_at_commit(self, installed, when, what):
        """Whether COMMIT arrived is not known to the caller: each call is done once, and says so."""
        empty(installed)
        plain = PostgresStore(installed)
        asked = request()
        plain.file(asked, now=NOW, most=1)
        other = request(who=OTHER)
        with Between(installed, breaks=when) as between:
            store = PostgresStore(between.dsn)
            calls = {
                "claim": lambda: store.claim(asked.id, by="c", now=NOW),
                "file": lambda: store.file(other, now=NOW, most=1),
                "answer": lambda: store.answer(yes(asked), most=1),
                "withdraw": lambda: store.withdraw(asked.id, now=NOW),
                "add_grant": lambda: store.add_grant("g", b"note", expires=NOW + HOUR),
            }
            assert calls[what]()
            assert between.broken
            store.close()
        assert not plain.claim(asked.id, by="c", now=NOW) or what not in ("claim", "withdraw")
        plain.close()


def cut(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


class Between:
    """A line to the server that can fall silent, or break once before or after the first COMMIT arrives."""

    def __init__(self, dsn: str, breaks: str = "") -> None:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        self._to = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable")
        self.breaks, self.broken, self.silent = breaks, False, False
        self._withholds, self._answered = False, threading.Event()
        self._sockets: list[socket.socket] = []

    def __enter__(self):
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._end(*self._sockets)
        self._thread.join()

    @staticmethod
    def _end(*sockets):
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        threads = []
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                break
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._to)
            self._sockets += (client, server)
            for source, target in ((client, server), (server, client)):
                threads.append(threading.Thread(target=self._carry, args=(source, target, source is client)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _carry(self, source, target, asks):
        try:
            while data := source.recv(65536):
                if self.silent:
                    continue
                if self._withholds and not asks:
                    self._answered.set()
                    continue
                if asks and self.breaks and not self.broken and b"COMMIT\0" in data:
                    self.broken = True
                    if self.breaks == "after":
                        self._withholds = True
                        target.sendall(data)
                        assert self._answered.wait(5)
                    self._end(source, target)
                    self._withholds = False
                    return
                target.sendall(data)
        except OSError:
            return


@pytest.fixture(scope="module")
def roles(server):
    dsn = server.create_database("roles")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE ROLE app LOGIN")
        conn.execute('CREATE ROLE "the approver" LOGIN')
    installing.install(dsn, application="app", approver="the approver")
    return {user: make_conninfo(dsn, user=user) for user in ("app", "the approver")} | {"owner": dsn}


class TestWhoMayWhat:
    def test_each_does_its_work_and_not_the_others(self, roles):
        app, approver = PostgresStore(roles["app"]), PostgresStore(roles["the approver"])
        asked, second = request(), request()
        assert app.file(asked, now=NOW, notifiers=("hook",), most=5)
        assert app.file(second, now=NOW, notifiers=("hook",), most=5)
        assert "does not let" in str(refused(lambda: app.answer(yes(asked), most=3)))
        assert approver.listed(now=NOW)
        assert approver.answer(yes(asked), most=3)
        assert approver.add_grant("g", b"note", expires=NOW + HOUR)
        no = refused(lambda: approver.file(request(), now=NOW, most=5))
        assert "does not let" in str(no)
        assert "approvals init --application" in no.remedy
        (notice, other) = app.due(now=NOW, lease=1)
        app.again(notice, at=NOW)
        app.told(other)
        assert app.claim(asked.id, by="c", now=NOW)
        assert approver.withdraw(second.id, now=NOW)
        assert app.view(now=NOW).grants == (b"note",)
        third = app.file(request(), now=NOW, most=5)
        assert app.withdraw(third.id, now=NOW)
        for statement in (
            "DELETE FROM governed_db.ends",
            "UPDATE governed_db.ends SET how = 'withdrawn'",
            "UPDATE governed_db.requests SET expires = 0",
            "DELETE FROM governed_db.answers",
        ):
            with psycopg.connect(roles["app"]) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
        assert app.purge(before=NOW + 9 * HOUR) == 3
        app.close()
        approver.close()

    def test_a_schema_of_somebody_else_is_refused(self, server, roles):
        dsn = server.create_database("prepared")
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("CREATE SCHEMA governed_db AUTHORIZATION app")
        assert "another role" in str(refused(lambda: installing.install(dsn)))

    def test_who_may_not_make_a_schema(self, server, roles):
        dsn = server.create_database("closed")
        assert "does not let" in str(refused(lambda: installing.install(make_conninfo(dsn, user="app"))))

    def test_a_database_that_cannot_hold_every_text(self, dsn):
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("CREATE DATABASE stores_latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
        assert "not in UTF-8" in str(
            refused(lambda: installing.install(make_conninfo(dsn, dbname="stores_latin")))
        )

    def test_a_role_that_is_not_there(self, server):
        dsn = server.create_database("no_role")
        assert "no such role" in str(refused(lambda: installing.install(dsn, application="nobody_here")))
        assert installing.install(dsn) == (0, schema.VERSION)  # nothing was left of the first

    def test_many_install_at_once(self, server):
        dsn = server.create_database("at_once")
        results = at_once(4, lambda _: installing.install(dsn))
        assert sorted(results) == [(0, schema.VERSION)] + [(schema.VERSION, schema.VERSION)] * 3

    def test_what_is_printed_is_what_is_installed(self, server):
        dsn = server.create_database("printed")
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("CREATE ROLE printed_app")
            conn.execute('CREATE ROLE "printed approver"')
            conn.execute(installing.script("printed_app", "printed approver"))
        store = PostgresStore(dsn)
        assert store.file(request(), now=NOW, most=1)
        assert installing.install(dsn) == (schema.VERSION, schema.VERSION)
        store.close()


class TestTheCommand:
    def run(self, capsys, *words: str) -> tuple[int, str, str]:
        import argparse

        parser = argparse.ArgumentParser()
        approvals_init.add(parser.add_subparsers())
        arguments = parser.parse_args(["init", *words])
        status = arguments.run(arguments)
        return status, *capsys.readouterr()

    def test_init(self, capsys, server, monkeypatch):
        dsn = server.create_database("commanded")
        assert self.run(capsys, "--dsn", dsn) == (0, f"from version 0 to {schema.VERSION}\n", "")
        monkeypatch.setenv(DSN_VARIABLE, dsn)
        assert self.run(capsys) == (0, f"version {schema.VERSION}\n", "")

    def test_print_connects_to_nothing(self, capsys):
        status, out, _ = self.run(capsys, "--print", "--application", 'a"b')
        assert status == 0
        assert 'TO "a""b";' in out

    @pytest.mark.parametrize("dsn", ["hunter2-canary", "host=/nowhere password=hunter2-canary"])
    def test_a_dsn_that_cannot_be_used(self, capsys, dsn):
        status, _, err = self.run(capsys, "--dsn", dsn)
        assert status == 1
        assert "hunter2" not in err


class TestThePolicy:
    def test_a_file_is_the_default(self, tmp_path):
        store = open_store(ApprovalSettings(), tmp_path)
        assert isinstance(store, SQLiteStore)
        assert store.path == tmp_path / "approvals.sqlite"

    def test_postgresql_by_the_environment(self, installed, monkeypatch, tmp_path):
        monkeypatch.delenv(DSN_VARIABLE, raising=False)
        asks = ApprovalSettings(store="postgresql")
        with pytest.raises(PolicyError, match=DSN_VARIABLE):
            open_store(asks, tmp_path)
        monkeypatch.setenv(DSN_VARIABLE, "hunter2-canary")
        with pytest.raises(PolicyError, match="no connection string") as caught:
            open_store(asks, tmp_path)
        assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
        monkeypatch.setenv(DSN_VARIABLE, installed)
        store = open_store(asks, tmp_path)
        assert store.view(now=NOW) is not None
        store.close()

    def test_postgresql_by_a_private_file(self, installed, tmp_path):
        file = tmp_path / "dsn"
        asks = ApprovalSettings(store="postgresql", dsn_file=file)
        with pytest.raises(PolicyError, match="cannot be read"):
            open_store(asks, tmp_path)
        file.write_text("\n")
        file.chmod(0o644)
        with pytest.raises(PolicyError, match="not safe"):
            open_store(asks, tmp_path)
        file.chmod(0o600)
        with pytest.raises(PolicyError, match="does not say where"):
            open_store(asks, tmp_path)
        file.write_text(f"{installed}\n")
        store = open_store(asks, tmp_path)
        assert store.view(now=NOW) is not None
        store.close()

"""What is on record reaches the collector, whatever the collector does, once by record id."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from governed_db.audit import deliver, record, shipment, statements, witness
from governed_db.audit.cursor import Cursor, Unusable, acknowledged
from governed_db.audit.deliver import Backoff, GaveUp
from governed_db.audit.destination import Destination
from governed_db.audit.journal import Journal
from governed_db.audit.scan import names
from governed_db.audit.ship import Report, Shipper
from governed_db.audit.template import Template, outcome
from tests.audit.collecting import Collecting, collecting, free_port, rejected, reply, reset, until

QUICK = Backoff(first=0.02, most=0.05)


@pytest.fixture
def collector() -> Iterator[Collecting]:
    with collecting() as found:
        yield found


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    with Journal.open(folder, segment_bytes=16 << 10) as found:
        yield found


@pytest.fixture
def shipper(folder: Path, collector: Collecting) -> Iterator[Shipper]:
    found = Shipper(folder, Destination.of(collector.url), backoff=QUICK, interval=0.02, timeout=5)
    yield found
    found.close()


Write = Callable[..., list[str]]


@pytest.fixture
def write(journal: Journal, template: Template) -> Write:
    def write(count: int, *, over: bool = True) -> list[str]:
        keys = []
        for _ in range(count):
            key, payload = template.intent(None)
            journal.append(payload)
            if over:
                journal.append(outcome(key, record.happened("ok", duration_us=5)))
            keys.append(key)
        return keys

    return write


def _arrived(collector: Collecting, keys: list[str], *, twice: bool = False) -> None:
    found = collector.statements()
    assert sorted(found) == sorted(keys)
    for values in found.values():
        # Ids are the same each time, and so is everything else.
        assert all(v == values[0] for v in values)
    if not twice:
        assert sum(map(len, found.values())) == len(keys)


def test_everything_arrives_once(
    shipper: Shipper, collector: Collecting, write: Write, journal: Journal
) -> None:
    keys = write(1300)
    journal.append(record.event("approval.granted", who={"kind": "human", "subject": "eva"}, request="apr-7"))
    report = shipper.once(5)
    assert report == Report(spans=1300, events=2)
    _arrived(collector, keys)
    assert len({n.index for n in names(journal.folder)}) > 1, "over several segments"
    assert {path for path, _, _ in collector.requests} == {"/v1/traces", "/v1/logs"}
    granted = collector.events()[1]
    assert granted[0] == "governed_db.approval.granted"
    assert granted[1]["user.id"] == "eva"
    assert granted[1]["governed_db.details.request"] == "apr-7"
    more = write(3)
    shipper.once(5)
    _arrived(collector, keys + more)
    before = len(collector.requests)
    shipper.once(5)
    assert len(collector.requests) == before, "nothing new, nothing sent"


def test_the_span_is_the_one_that_the_process_makes(
    shipper: Shipper, collector: Collecting, write: Write, folder: Path, canary: str
) -> None:
    from governed_db.audit.shape import shape
    from tests.audit.collecting import attributes

    write(1)
    (entry,) = statements(folder)
    made = shape(entry)
    shipper.once(5)
    ((resource, span),) = collector.spans
    assert attributes(span) == made.attributes
    assert (span.name, span.start_time_unix_nano, span.end_time_unix_nano) == (
        made.name,
        made.started,
        made.ended,
    )
    assert int.from_bytes(span.trace_id) == made.trace_id
    assert int.from_bytes(span.span_id) == made.span_id
    assert span.flags == 1
    assert resource["service.name"] == "governed_db"
    assert resource["process.pid"] == os.getpid()
    assert canary not in str(collector.spans)


def test_an_event_carries_the_record_as_it_is_stored(
    shipper: Shipper, collector: Collecting, journal: Journal
) -> None:
    payload = record.event("policy.changed", before="a", after="b")
    journal.append(payload)
    shipper.once(5)
    assert collector.logs[-1][1].body.string_value.encode() == payload


def test_a_running_statement_waits_and_keeps_nobody_waiting(
    shipper: Shipper, collector: Collecting, write: Write, journal: Journal
) -> None:
    (running,) = write(1, over=False)
    later = write(700)  # its outcome will lie in another segment
    report = shipper.once(5)
    assert (report.spans, report.running) == (700, 1)
    _arrived(collector, later)
    journal.append(outcome(running, record.happened("ok", duration_us=9)))
    report = Shipper(journal.folder, shipper.destination).once(5)  # another process, for all it knows
    assert (report.spans, report.running) == (701, 0)
    _arrived(collector, [running, *later])
    assert collector.statements()[running][0]["governed_db.outcome"] == "ok"


DIES = """
import os, sys
from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.template import Template
from pathlib import Path
form = Template(who={"kind": "agent", "subject": "bot"}, what={"tag": "DELETE"}, where={"database": "shop"})
journal = Journal.open(Path(sys.argv[1]))
key, payload = form.intent(None)
journal.append(payload)
print(key)
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


def test_what_a_dead_writer_began_goes_out_as_unknown(
    shipper: Shipper, collector: Collecting, folder: Path, process: Any
) -> None:
    key = process(DIES, folder).communicate(timeout=30)[0].strip()
    report = shipper.once(5)
    assert (report.spans, report.running) == (1, 0)
    ((_, span),) = collector.spans
    said = collector.statements()[key][0]
    assert (said["governed_db.outcome"], said["error.type"]) == ("unknown", "_OTHER")
    assert span.status.code == 2


def test_an_outcome_in_another_journal_finds_its_intent(
    shipper: Shipper, collector: Collecting, write: Write, folder: Path
) -> None:
    # A finalizer's outcome, in the journal beside; named so that it is read first as well.
    with Journal.open(folder) as beside:
        (early,) = write(1, over=False)
        beside.append(outcome(early, record.happened("ok", duration_us=1)))
        report = shipper.once(5)
    _arrived(collector, [early])
    assert report.running == 0


def test_an_outcome_without_its_intent_is_an_event(
    shipper: Shipper, collector: Collecting, journal: Journal
) -> None:
    journal.append(outcome("00000000000000aa-000000000001", record.happened("ok", duration_us=1)))
    shipper.once(5)
    shipper.once(5)
    (orphan,) = [values for name, values in collector.events() if name == "governed_db.outcome"]
    assert orphan["governed_db.of"] == "00000000000000aa-000000000001"
    assert len(collector.events()) == 2


def test_refusals_and_attempts_are_statements(
    shipper: Shipper, collector: Collecting, journal: Journal, template: Template, decision: Any
) -> None:
    key, payload = template.refusal(decision, "StatementBlocked")
    journal.append(payload)
    tried, payload = record.attempt(
        who=template.who, where=template.where, rule="statement.syntax", reason="no", size=5
    )
    journal.append(payload)
    shipper.once(5)
    found = collector.statements()
    assert found[key][0]["governed_db.outcome"] == "refused"
    assert found[tried][0]["error.type"] == "statement.syntax"


# -- what collectors do


def _first(times: int, act: Callable[..., None]) -> Any:
    left = [times]

    def misbehave(_: Collecting, handler: Any, found: list[Any]) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        act(handler, found)
        return True

    return misbehave


WAYS: dict[str, Callable[..., None]] = {
    "503 with Retry-After": lambda h, _: reply(h, status=503, retry_after="0"),
    "429": lambda h, _: reply(h, status=429),
    "500": lambda h, _: reply(h, status=500),
    "401": lambda h, _: reply(h, status=401),
    "a page for signing in": lambda h, _: reply(h, b"<html>sign in</html>"),
    "a redirect": lambda h, _: reply(h, status=307, location="http://127.0.0.1:9/elsewhere"),
    "a reset": lambda h, _: reset(h),
    "a reset in the answer": lambda h, _: reset(h, b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nabc"),
    "all rejected": lambda h, found: rejected(h, found, len(found), "no"),
    "some rejected": lambda h, found: rejected(h, found, 1, "no"),
    "too large": lambda h, _: reply(h, status=413),
    "bad data": lambda h, _: reply(h, status=400),
}


@pytest.mark.parametrize("way", WAYS)
def test_everything_arrives_once_the_collector_is_well(
    way: str, shipper: Shipper, collector: Collecting, write: Write
) -> None:
    keys = write(600)
    collector.misbehave = _first(4, WAYS[way])
    report = shipper.once(10)
    assert (report.refused, report.lost) == (0, 0)
    _arrived(collector, keys)


def test_answers_that_were_lost_on_the_way_make_duplicates_with_the_same_ids(
    shipper: Shipper, collector: Collecting, write: Write
) -> None:
    keys = write(300)

    def accepts_and_hangs_up(handler: Any, found: list[Any]) -> None:
        collector.spans.extend(found)
        reset(handler)

    collector.misbehave = _first(2, accepts_and_hangs_up)
    shipper.once(10)
    _arrived(collector, keys, twice=True)
    ids = {(span.trace_id, span.span_id) for _, span in collector.spans}
    assert len(ids) == 300


def test_a_collector_that_is_down_costs_nothing_but_time(folder: Path, write: Write) -> None:
    port = free_port()
    destination = Destination.of(f"http://127.0.0.1:{port}")
    keys = write(50)
    with pytest.raises(GaveUp, match="connection refused"):
        Shipper(folder, destination, backoff=QUICK).once(0.1)
    keys += write(50)
    with collecting(port) as collector:
        Shipper(folder, destination, backoff=QUICK).once(5)
        _arrived(collector, keys)


def test_a_slow_collector_is_one_that_did_not_answer(
    folder: Path, collector: Collecting, write: Write
) -> None:
    keys = write(20)

    def dribbles(handler: Any, _: list[Any]) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(8):  # each byte comes well within any limit for one read
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)
        handler.close_connection = True

    collector.misbehave = _first(1, dribbles)
    shipper = Shipper(folder, Destination.of(collector.url), backoff=QUICK, timeout=0.2)
    assert shipper.once(5).spans == 20
    assert shipper.stats()["ship_failures"] >= 1
    _arrived(collector, keys)


def test_a_record_that_is_refused_keeps_nobody_waiting_and_is_tried_again(
    shipper: Shipper, collector: Collecting, write: Write, folder: Path
) -> None:
    keys = write(40)
    poison = keys[17]

    def refuses(_: Collecting, handler: Any, found: list[Any]) -> bool:
        bad = [s for _, s in found if poison in str(s)]
        if bad:
            rejected(handler, found, 1, "will not have it")
        return bool(bad)

    collector.misbehave = refuses
    report = shipper.once(0.3)
    assert (report.spans, report.refused) == (39, 1)
    assert "will not have it" in report.trouble
    with Cursor(shipper.state, shipper.destination.name) as cursor:
        (refusal,) = cursor.refused()
        assert (refusal.id, refusal.signal) == (poison, "traces")
    collector.misbehave = None
    report = shipper.once(5)
    assert (report.spans, report.refused) == (40, 0)
    _arrived(collector, keys)


def test_a_collector_that_refuses_everything_refuses_no_record(
    shipper: Shipper, collector: Collecting, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = write(100)
    collector.misbehave = lambda _, handler, found: rejected(handler, found, len(found)) is None
    with pytest.raises(GaveUp, match="refuses everything"):
        shipper.once(1)
    with Cursor(shipper.state, shipper.destination.name) as cursor:
        assert cursor.count_refused() == 0
        assert cursor.positions() == {}, "the cursor has not moved"
    collector.misbehave = None
    shipper.once(5)
    _arrived(collector, keys)


# -- what befalls the folder


def test_segments_that_were_removed_before_they_were_shipped_are_told(
    shipper: Shipper, collector: Collecting, write: Write, folder: Path
) -> None:
    shipped = write(10)
    shipper.once(5)
    gone = write(100)
    rest = write(300)
    for name in names(folder)[:2]:
        name.path.unlink()
    report = shipper.once(5)
    assert report.lost > 0
    arrived = set(collector.statements())
    assert set(shipped) <= arrived
    assert set(rest[200:]) <= arrived
    assert set(gone) - arrived
    told = [values for name, values in collector.events() if name == "governed_db.damage"]
    gap = next(t for t in told if "governed_db.details.last" in t)
    assert "removed" in gap["governed_db.details.because"]
    lost = gap["governed_db.details.last"] - gap["governed_db.details.first"] + 1
    assert report.lost >= lost > 1


def test_a_journal_that_vanished_is_told_once(
    shipper: Shipper, collector: Collecting, folder: Path, process: Any
) -> None:
    process(DIES, folder).communicate(timeout=30)
    with Journal.open(folder) as journal:
        journal.append(record.event("one"))
        shipper.once(5)
        for name in names(folder):
            name.path.unlink()
        shipper.once(5)
        shipper.once(5)
        journal._segment.release()  # type: ignore[union-attr]  # so that close() does not write it again
        journal._segment = None
    told = [v["governed_db.details.because"] for n, v in collector.events() if n == "governed_db.damage"]
    assert len(told) == 1
    assert "unknown" in told[0]


def test_damage_is_passed_on(shipper: Shipper, collector: Collecting, write: Write, folder: Path) -> None:
    keys = write(20)
    (name, *_) = names(folder)
    with name.path.open("r+b") as file:
        file.seek(3000)
        file.write(b"#")
    report = shipper.once(5)
    assert report.lost >= 1
    told = [v for n, v in collector.events() if n == "governed_db.damage"]
    assert told[0]["governed_db.details.segment"] == name.path.name
    assert len(set(keys) & set(collector.statements())) >= 18


def test_a_record_of_no_schema_does_not_stop_the_rest(
    shipper: Shipper, collector: Collecting, write: Write, journal: Journal
) -> None:
    for payload in (
        b"[]",
        b"no json",
        orjson.dumps({"kind": "intent", "id": "x", "at": "never", "who": 5}),
        orjson.dumps({"kind": "refusal", "id": "zz-zz", "at": "2026-01-01T00:00:00Z"}),
        orjson.dumps({"kind": "event", "id": "e", "at": "?", "details": []}),
        orjson.dumps({"kind": "start", "id": "s", "at": "2026-01-01T00:00:00Z", "details": {"host": {}}}),
        orjson.dumps(
            {
                "kind": "refusal",
                "id": "aa-01",
                "at": "2026-01-01T00:00:00Z",
                "where": {"trace_id": "f" * 40, "parent_span_id": "-1"},
            }
        ),
        b'{"kind": "event", "id": "x", "at": "\xff"}',
        orjson.dumps({"kind": "outcome", "id": "o", "of": "x", "at": "2026-01-01T00:00:00Z", "happened": 7}),
    ):
        journal.append(payload)
    keys = write(3)
    shipper.once(5)
    assert set(keys) <= set(collector.statements())
    assert len([n for n, _ in collector.events() if n == "governed_db.damage"]) == 7


def test_a_cursor_that_cannot_be_kept_is_told(
    folder: Path, collector: Collecting, write: Write, tmp_path: Path
) -> None:
    keys = write(2)
    (tmp_path / "file").write_text("")
    shipper = Shipper(folder, Destination.of(collector.url), state=tmp_path / "file" / "state")
    with pytest.raises(Unusable, match="cannot be kept") as caught:
        shipper.once(1)
    assert "--state" in caught.value.remedy
    Shipper(folder, Destination.of(collector.url), state=tmp_path / "elsewhere").once(5)
    _arrived(collector, keys)
    assert not (folder / "ship").exists()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE journals SET resource = x'7b22'",
        "UPDATE journals SET resource = 7",
        "UPDATE journals SET journal = CAST(x'ff' AS TEXT)",
        "INSERT INTO refused VALUES ('a', 'traces', 'b', x'7b', x'', '', 1, 0)",
    ],
)
def test_a_cursor_that_is_damaged_inside_says_what_helps(damage: str, shipper: Shipper, write: Write) -> None:
    import sqlite3

    write(1)
    shipper.once(5)
    (path,) = shipper.state.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(damage)
    with pytest.raises(Unusable, match="cannot be kept") as caught:
        shipper.once(1)
    assert "remove the file" in caught.value.remedy
    acknowledged(shipper.state)


def test_a_cursor_of_another_version_is_not_touched(folder: Path, shipper: Shipper, write: Write) -> None:
    import sqlite3

    write(1)
    shipper.once(5)
    (path,) = shipper.state.glob("*.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Unusable, match="another version"):
        shipper.once(1)


@pytest.mark.parametrize("where", [0, 4096 + 100])
def test_a_cursor_that_is_damaged_says_what_helps(
    where: int, folder: Path, shipper: Shipper, collector: Collecting, write: Write
) -> None:
    keys = write(1)
    shipper.once(5)
    (path,) = shipper.state.glob("*.sqlite")
    with path.open("r+b") as file:
        file.seek(where)
        file.write(b"\xff" * (path.stat().st_size - where))
    with pytest.raises(Unusable, match="cannot be kept") as caught:
        shipper.once(1)
    assert "remove the file" in caught.value.remedy
    path.unlink()
    shipper.once(5)
    _arrived(collector, keys, twice=True)


def test_a_mistake_of_ours_does_not_end_the_shipping(
    shipper: Shipper, collector: Collecting, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("with a value in its message")

    with monkeypatch.context() as patch:
        patch.setattr("governed_db.audit.otlp.statement", fails)
        keys = write(3)
        shipper.start()
        assert until(lambda: shipper.trouble == "RuntimeError in the shipper")
    assert until(lambda: len(collector.statements()) == 3)
    _arrived(collector, keys)


def test_a_shipper_waits_for_the_first_record(folder: Path, collector: Collecting) -> None:
    shipper = Shipper(folder, Destination.of(collector.url), backoff=QUICK, interval=0.02)
    shipper.start()
    assert until(lambda: "nobody has written" in shipper.trouble)
    assert not folder.exists()
    with Journal.open(folder):
        assert until(lambda: len(collector.logs) == 1)
        assert until(lambda: shipper.trouble == "")
    shipper.close()


def test_the_cursor_is_for_its_owner_alone(shipper: Shipper, write: Write) -> None:
    write(1)
    shipper.once(5)
    assert shipper.state.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in shipper.state.iterdir()} == {0o600}


def test_retention_can_ask_what_was_shipped(
    shipper: Shipper, write: Write, journal: Journal, folder: Path
) -> None:
    write(10)
    (running,) = write(1, over=False)
    at = journal.sequence
    write(10)
    shipper.once(5)
    name = shipper.destination.name
    key = f"{journal.id:016x}"
    assert acknowledged(shipper.state)[name][key] == at - 1
    journal.append(outcome(running, record.happened("ok", duration_us=1)))
    shipper.once(5)
    assert acknowledged(shipper.state)[name][key] == journal.sequence
    assert acknowledged(folder / "nothing") == {}


# -- several


def test_two_shippers_share_the_work_without_doing_it_twice(
    folder: Path, collector: Collecting, write: Write
) -> None:
    destination = Destination.of(collector.url)
    pair = [Shipper(folder, destination, backoff=QUICK, interval=0.01) for _ in range(2)]
    for one in pair:
        one.start()
    try:
        keys = [key for _ in range(20) for key in write(20)]
        assert until(lambda: len(collector.statements()) == 400)
    finally:
        for one in pair:
            one.close()
    _arrived(collector, keys)
    assert sum(one.stats()["shipped_spans"] for one in pair) == 400


def test_once_beside_a_shipper_at_work_says_so(folder: Path, shipper: Shipper, write: Write) -> None:
    write(1)
    shipper.start()
    assert shipper.flush(5)
    other = Shipper(folder, shipper.destination, backoff=QUICK)
    with pytest.raises(GaveUp, match="another process ships"):
        other.once(0.1)


def test_each_destination_has_a_cursor_of_its_own(folder: Path, collector: Collecting, write: Write) -> None:
    keys = write(5)
    with collecting() as second:
        for one in (collector, second):
            Shipper(folder, Destination.of(one.url)).once(5)
            _arrived(one, keys)


def test_a_thread_ships_what_comes_and_flush_waits_for_it(
    shipper: Shipper, collector: Collecting, write: Write
) -> None:
    shipper.start()
    keys: list[str] = []
    for _ in range(3):
        keys += write(5)
        assert shipper.flush(5)
        _arrived(collector, keys)
    assert shipper.stats()["shipped_spans"] == 15
    shipper.close()
    assert not shipper.flush(0)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_the_work_to_its_parent(
    shipper: Shipper, collector: Collecting, write: Write
) -> None:
    shipper.start()
    keys = write(3)
    assert shipper.flush(5)
    pid = os.fork()
    if pid == 0:
        quiet = shipper._thread is None
        os._exit(0 if quiet else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    keys += write(3)
    assert shipper.flush(5)
    _arrived(collector, keys)


# -- beside statements


NOTES = [f"example.org/log\n{n}\nAAAA\n\n\N{EM DASH} example.org/log c2lnbmVk\n".encode() for n in range(3)]


def test_checkpoints_are_shipped_as_they_are_signed(
    shipper: Shipper, collector: Collecting, journal: Journal, folder: Path
) -> None:
    (folder / "log").mkdir()
    path = folder / "log" / "checkpoints"
    path.write_bytes(NOTES[0] + b"\n" + NOTES[1])  # the second is not behind its empty line yet
    shipper.once(5)
    path.write_bytes(b"".join(note + b"\n" for note in NOTES))
    shipper.once(5)
    shipper.once(5)
    found = [log.body.string_value.encode() for _, log in collector.logs if "checkpoint" in log.event_name]
    assert found == NOTES
    sizes = [v["governed_db.details.size"] for n, v in collector.events() if "checkpoint" in n]
    assert sizes == ["0", "1", "2"]


def test_checkpoints_are_read_as_the_log_writes_them(
    shipper: Shipper, collector: Collecting, journal: Journal, folder: Path
) -> None:
    (folder / "log").mkdir()
    for note in NOTES:
        witness.append(folder / "log" / "checkpoints", note)
    shipper.once(5)
    found = [log.body.string_value.encode() for _, log in collector.logs if "checkpoint" in log.event_name]
    assert found == NOTES


@pytest.mark.parametrize(
    ("text", "count"),
    [(b"", 0), (NOTES[0], 0), (NOTES[0] + b"\n", 1), (NOTES[0] + b"\n" + NOTES[1][:30], 1), (b"\n\nx\n", 0)],
)
def test_a_note_counts_once_it_is_whole(text: bytes, count: int) -> None:
    assert len(shipment.notes(text)) == count


def test_events_go_out_as_spans_where_the_collector_takes_no_logs(
    folder: Path, collector: Collecting, journal: Journal
) -> None:
    journal.append(record.event("approval.denied"))
    destination = Destination.of(collector.url)
    collector.misbehave = lambda _, handler, __: (
        handler.path == "/v1/logs" and reply(handler, status=404) is None
    )
    with pytest.raises(GaveUp, match="404"):
        Shipper(folder, destination, backoff=QUICK, events="logs").once(0.1)
    for state, events in (("a", "auto"), ("b", "spans")):
        report = Shipper(folder, destination, state=folder / state, events=events).once(5)  # type: ignore[arg-type]
        assert (report.spans, report.events) == (0, 2)
    assert len(collector.requests) > 4
    assert collector.spans[:2] == collector.spans[2:]
    del collector.spans[2:]
    assert [span.name for _, span in collector.spans] == [
        "governed_db.journal.start",
        "governed_db.approval.denied",
    ]


def test_the_service_is_named_by_the_environment(folder: Path, collector: Collecting, write: Write) -> None:
    write(1)
    environment = {
        "OTEL_SERVICE_NAME": "shop-api",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod,team=a%20b",
    }
    Shipper(folder, Destination.of(collector.url), environment=environment).once(5)
    resource, _ = collector.spans[0]
    assert resource["service.name"] == "shop-api"
    assert (resource["deployment.environment.name"], resource["team"]) == ("prod", "a b")


def test_a_batch_is_bounded_in_bytes(
    shipper: Shipper, collector: Collecting, journal: Journal, folder: Path
) -> None:
    for _ in range(40):
        form = Template(who={"kind": "agent"}, what={"text": "x" * 100_000, "tag": "SELECT"}, where={})
        key, payload = form.intent(None)
        with Journal.open(folder) as big:
            big.append(payload)
            big.append(outcome(key, record.happened("ok", duration_us=1)))
    shipper.once(10)
    assert len(collector.spans) == 40
    assert max(size for _, _, size in collector.requests) < 1_200_000


def test_pauses_grow_and_are_bounded() -> None:
    backoff = Backoff(first=1, most=60)
    pauses = [backoff.pause(n) for n in range(1, 20)]
    assert all(0.5 <= p <= 60 for p in pauses)
    assert pauses[10] >= 30
    assert deliver.LONGEST_PAUSE == 600


def test_a_long_retry_after_is_waited_for(shipper: Shipper, collector: Collecting, write: Write) -> None:
    write(1)
    collector.misbehave = _first(1, lambda h, _: reply(h, status=503, retry_after="3600"))
    with pytest.raises(GaveUp, match="503"):
        shipper.once(2)

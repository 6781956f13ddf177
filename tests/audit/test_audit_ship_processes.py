"""The collector's half of the loss matrix: real processes that are killed, and real disks that are full."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from governed_db.audit import record, statements
from governed_db.audit.destination import Destination
from governed_db.audit.journal import Journal
from governed_db.audit.ship import Shipper
from tests.audit.collecting import Collecting, attributes, collecting, free_port, rejected, reply, until

BURST = 20_000

# Writes statements as fast as it can, and dies in the middle of one.
WRITER = """
import os, sys, time
from pathlib import Path
from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.template import Template, outcome
form = Template(
    who={"kind": "agent", "subject": "bot", "session": "s"},
    what={"text": "SELECT a FROM t WHERE id = $1", "summary": "SELECT t", "tag": "SELECT"},
    where={"host": "db", "port": 5432, "database": "shop"},
)
journal = Journal.open(Path(sys.argv[1]))
count, end = int(sys.argv[2]), sys.argv[3]
for n in range(count):
    key, payload = form.intent(None)
    journal.append(payload)
    if n < count - 1 or end == "close":
        journal.append(outcome(key, record.happened("ok", duration_us=5)))
print("written", flush=True)
if end == "wait":
    time.sleep(60)
elif end == "exit":
    os._exit(0)
elif end == "close":
    journal.close()
"""

SHIP = "import sys; from governed_db.cli import main; sys.exit(main(sys.argv[1:]))"


Start = Callable[..., Popen[str]]


@pytest.fixture
def collector() -> Iterator[Collecting]:
    with collecting() as found:
        yield found


def _written(process: Start, folder: Path, count: int, end: str) -> Popen[str]:
    writer = process(WRITER, folder, count, end)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    return writer


def _ship(process: Start, folder: Path, url: str, *more: str) -> Popen[str]:
    return process(SHIP, "audit", "ship", "--to", url, "--dir", folder, *more)


def _complete(collector: Collecting, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Assert that the collector has every statement on record, one each by record id, and return them."""
    expected = {entry["id"]: entry.get("happened", {}).get("status") for entry in statements(folder)}
    found = collector.statements()
    assert sorted(found) == sorted(expected)
    for key, said in found.items():
        assert all(s == said[0] for s in said), "what is sent twice is the same"
        assert said[0].get("governed_db.outcome") == expected[key]
    with collector.lock:
        ids = {(s.trace_id, s.span_id) for _, s in collector.spans}
    assert len(ids) == len(expected)
    return found


def test_a_burst_whose_writer_is_killed_arrives(process: Start, folder: Path, collector: Collecting) -> None:
    writer = _written(process, folder, BURST, "wait")
    writer.kill()
    writer.wait()
    run = _ship(process, folder, collector.url, "--once")
    output, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    assert output == f"sent {BURST} statements and 1 events to {collector.url}\n"
    found = _complete(collector, folder)
    assert len(found) == BURST
    assert sum(said[0]["governed_db.outcome"] == "unknown" for said in found.values()) == 1
    assert sum(map(len, found.values())) == BURST, "no retries, no duplicates"


@pytest.mark.parametrize("end", ["term", "exit"])
def test_writers_that_end_in_other_ways_leave_nothing_behind(
    end: str, process: Start, folder: Path, collector: Collecting
) -> None:
    writer = _written(process, folder, 300, "wait" if end == "term" else "exit")
    if end == "term":
        writer.terminate()
    writer.wait()
    assert _ship(process, folder, collector.url).wait(60) == 0
    assert len(_complete(collector, folder)) == 300


def test_a_collector_that_comes_back_gets_everything(process: Start, folder: Path) -> None:
    port = free_port()
    run = _ship(process, folder, f"http://127.0.0.1:{port}", "--follow")
    assert run.stderr is not None
    assert "nobody has written" in run.stderr.readline()
    _written(process, folder, 2000, "close").wait()
    assert "connection refused" in run.stderr.readline()
    with collecting(port) as collector:
        assert until(lambda: len(collector.statements()) == 2000)
    _written(process, folder, 500, "close").wait()
    with collecting(port) as again:
        assert until(lambda: len(again.statements()) >= 500)
        run.terminate()
        _, errors = run.communicate(timeout=30)
        assert run.returncode == 0
        both = collector.statements() | again.statements()
    assert set(both) == {entry["id"] for entry in statements(folder)}
    assert "Traceback" not in errors


def test_a_shipper_that_is_killed_in_mid_batch_is_taken_up_by_the_next(
    process: Start, folder: Path, collector: Collecting
) -> None:
    _written(process, folder, 3000, "close").wait()
    kills = 3
    runs: list[Popen[str]] = []

    def kills_its_client(_: Collecting, handler: Any, found: list[Any]) -> bool:
        nonlocal kills
        if not kills or not handler.path.endswith("traces"):
            return False
        if len(collector.requests) % 2:
            return False
        kills -= 1
        # What arrived counts, the answer does not: the client is gone before it can read it.
        collector.spans.extend(found)
        os.kill(runs[-1].pid, signal.SIGKILL)
        handler.close_connection = True
        return True

    collector.misbehave = kills_its_client
    while True:
        runs.append(_ship(process, folder, collector.url))
        if runs[-1].wait(60) == 0:
            break
        assert runs[-1].returncode == -signal.SIGKILL
    assert kills == 0
    found = _complete(collector, folder)
    assert sum(map(len, found.values())) > 3000, "some were sent twice, with the same ids"


def test_sigterm_ends_it_in_good_order(process: Start, folder: Path, collector: Collecting) -> None:
    _written(process, folder, 3000, "close").wait()
    collector.misbehave = lambda *_: time.sleep(0.1) is not None  # slow, and well
    run = _ship(process, folder, collector.url, "--follow")
    assert until(lambda: len(collector.spans) > 500)
    run.terminate()
    _, errors = run.communicate(timeout=30)
    assert run.returncode == 0, errors
    sent = sum(map(len, collector.statements().values()))
    collector.misbehave = None
    assert _ship(process, folder, collector.url).wait(60) == 0
    found = _complete(collector, folder)
    # A batch that was under way may come again, and no more than that.
    assert sum(map(len, found.values())) <= 3000 + 512
    assert sent > 500


def test_two_commands_at_once_send_nothing_twice(process: Start, folder: Path, collector: Collecting) -> None:
    runs = [_ship(process, folder, collector.url, "--follow") for _ in range(2)]
    _written(process, folder, 3000, "close").wait()
    assert until(lambda: len(collector.statements()) == 3000)
    for run in runs:
        run.terminate()
        run.communicate(timeout=30)
    found = _complete(collector, folder)
    assert sum(map(len, found.values())) == 3000


def test_another_one_takes_over_from_a_shipper_that_dies(
    process: Start, folder: Path, collector: Collecting
) -> None:
    first = _ship(process, folder, collector.url, "--follow")
    _written(process, folder, 50, "close").wait()
    assert until(lambda: len(collector.statements()) == 50)
    first.kill()
    first.wait()
    _written(process, folder, 50, "close").wait()
    assert _ship(process, folder, collector.url).wait(60) == 0
    assert len(_complete(collector, folder)) == 100


APPLICATION = """
import os, sys
os.environ["OTEL_SDK_DISABLED"] = "true"
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
trace.set_tracer_provider(TracerProvider(sampler=ALWAYS_OFF))
import governed_db
from governed_db import Governor, Identity
governor = Governor.preset("observe", state_dir=sys.argv[1])
agent = Identity.agent("bot", session="s-1")
parent = SpanContext(int("4b" * 16, 16), int("a7" * 8, 16), True, TraceFlags(0))
with trace.use_span(NonRecordingSpan(parent)):
    with governed_db.connect(sys.argv[2], governor=governor, identity=agent) as c:
        for _ in range(20):
            c.execute("SELECT 1")
governor.close()
"""


def test_samplers_and_a_disabled_sdk_lose_nothing(
    process: Start, tmp_path: Path, collector: Collecting, dsn: str
) -> None:
    run = process(APPLICATION, tmp_path, dsn)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    folder = tmp_path / "journal"
    assert _ship(process, folder, collector.url).wait(60) == 0
    _complete(collector, folder)
    selects = [s for _, s in collector.spans if attributes(s).get("db.query.text") == "SELECT $1"]
    assert len(selects) == 20
    for span in selects:
        assert span.trace_id.hex() == "4b" * 16, "in the caller's trace, sampled or not"
        assert span.parent_span_id.hex() == "a7" * 8
        assert attributes(span)["session.id"] == "s-1"


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from governed_db.cli import main
sys.exit(main(sys.argv[2:]))
"""


def test_no_space_for_the_cursor_is_told_and_loses_nothing(
    process: Start, folder: Path, collector: Collecting
) -> None:
    _written(process, folder, 700, "close").wait()
    # A limit on the size of files stands for the full disk: the same failing write, without a mount.
    run = process(FULL, 2048, "audit", "ship", "--to", collector.url, "--dir", folder)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "cannot be kept" in errors
    assert "--state" in errors
    assert "Traceback" not in errors
    assert _ship(process, folder, collector.url).wait(60) == 0
    assert len(_complete(collector, folder)) == 700


def test_a_disk_that_fills_up_under_the_cursor_stops_the_shipping(
    process: Start, folder: Path, collector: Collecting, tmp_path: Path
) -> None:
    for _ in range(40):  # each has a row of its own
        with Journal.open(folder, segment_bytes=16 << 10) as journal:
            for _ in range(2):
                journal.append(record.attempt(who={}, where={}, rule="r", reason="", size=1)[1])
    space = tmp_path / "small"
    space.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(space)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        (space / "ballast").write_bytes(b"x" * 8192)
        command = (folder, collector.url, "--state", str(space / "state"))
        run = _ship(process, *command)
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 1, "the table of journals, its index and its rollback journal do not fit"
        assert "full" in errors
    finally:
        subprocess.run(["umount", str(space)], check=True)
    assert _ship(process, folder, collector.url).wait(60) == 0
    assert len(_complete(collector, folder)) == 80


def test_a_folder_that_cannot_be_written_needs_another_for_the_cursor(
    folder: Path, collector: Collecting, process: Start, tmp_path: Path
) -> None:
    _written(process, folder, 5, "close").wait()
    command = [sys.executable, "-c", SHIP, "audit", "ship", "--to", collector.url, "--dir", str(folder)]
    if os.geteuid() == 0:
        # Permissions stop root as well once it has given up the right to ignore them.
        if shutil.which("setpriv") is None:
            pytest.skip("root ignores permissions")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    folder.chmod(0o500)
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "permission denied" in run.stderr
    assert "--state" in run.stderr
    command += ["--state", str(tmp_path / "elsewhere")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert len(_complete(collector, folder)) == 5


def test_bad_answers_of_all_kinds_in_turn(process: Start, folder: Path, collector: Collecting) -> None:
    _written(process, folder, 2000, "close").wait()
    turn = [0]

    def misbehaves(_: Collecting, handler: Any, found: list[Any]) -> bool:
        turn[0] += 1
        match turn[0] % 6:
            case 1:
                reply(handler, status=503, retry_after="0")
            case 2:
                rejected(handler, found, max(1, len(found) // 2), "half of it")
            case 3:
                reply(handler, status=429)
            case _:
                return False
        return True

    collector.misbehave = misbehaves
    run = _ship(process, folder, collector.url, "--patience", "120")
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    assert len(_complete(collector, folder)) == 2000


def test_memory_does_not_grow_with_the_journal(process: Start, folder: Path, collector: Collecting) -> None:
    # Not the collector's own: it runs in this process, and keeps everything.
    script = (
        "import resource, sys; from governed_db.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    peaks = []
    for count in (500, 10_000):
        _written(process, folder, count, "close").wait()
        run = process(script, "audit", "ship", "--to", collector.url, "--dir", folder)
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
        peaks.append(int(errors.split()[-1]))
    # In KiB (bytes on macOS); the longer one has 8 MiB more of journal.
    assert peaks[1] - peaks[0] < 6 * 1024 * (1024 if sys.platform == "darwin" else 1)


def test_a_receiver_that_is_not_ours_gets_all_of_it(folder: Path, process: Start) -> None:
    oteltap = pytest.importorskip("oteltap")
    _written(process, folder, 1000, "wait").kill()

    async def receive() -> tuple[list[Any], list[Any]]:
        port = free_port()
        settings = oteltap.OtelTapHttpProtobufReceiverSettings(http_port=port)
        async with oteltap.OtelTapHttpProtobufReceiver(settings) as receiver:
            spans: list[Any] = []
            logs: list[Any] = []

            async def collect(stream: Any, found: list[Any]) -> None:
                async for message in stream:
                    found.append(message)

            tasks = [
                asyncio.create_task(collect(receiver.stream_traces(), spans)),
                asyncio.create_task(collect(receiver.stream_logs(), logs)),
            ]
            await asyncio.sleep(0)
            shipper = Shipper(folder, Destination.of(f"http://127.0.0.1:{port}", environment={}))
            report = await asyncio.to_thread(shipper.once, 30)
            assert (report.spans, report.events) == (1000, 1)
            deadline = time.monotonic() + 60
            while (len(spans) < 1000 or not logs) and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return spans, logs

    spans, logs = asyncio.run(receive())
    expected = {entry["id"] for entry in statements(folder)}
    assert {attributes(s)["governed_db.record.id"] for s in spans} == expected
    assert len(spans) == 1000
    assert [log.event_name for log in logs] == ["governed_db.journal.start"]
    assert spans[0].name == "SELECT t"

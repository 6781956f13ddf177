"""A governor keeps its trail's log: signed, copied elsewhere, shipped, and cleared of what is old."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import governed_db
from governed_db.audit import read, sequencer, signing
from governed_db.audit.scan import names
from governed_db.audit.ship import Shipper
from governed_db.audit.trail import Trail
from governed_db.audit.verdict import Report
from governed_db.audit.verify import verify
from governed_db.errors import PolicyError
from governed_db.policy import load_bytes
from tests.audit.collecting import collecting, free_port, until
from tests.flavours import Flavour, do


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often, and does not try for long to reach a collector that is gone."""
    monkeypatch.setattr(sequencer, "POLL", 0.02)
    monkeypatch.setitem(Shipper.__init__.__kwdefaults__, "interval", 0.02)
    monkeypatch.setattr(Shipper.close, "__defaults__", (0.1,))


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


def _governor(lines: str = "") -> governed_db.Governor:
    return governed_db.Governor(load_bytes(f'extends = "standard"\n[audit]\n{lines}\n'.encode(), "p"))


async def _work(flavour: Flavour, dsn: str, governor: governed_db.Governor, count: int = 3) -> None:
    async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
        for n in range(count):
            await do(conn.execute(f"SELECT {n}"))


def _verified(state_dir: Path, **outside: Any) -> Report:
    folder = state_dir / "journal"
    signer = signing.existing(state_dir)
    assert signer is not None
    return verify(folder, [signer.named((folder / "log" / "origin").read_text().strip())], **outside)


async def test_what_a_governor_recorded_is_proven_once_it_is_closed(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    governor = _governor()
    await _work(flavour, dsn, governor)
    governor.close()
    report = _verified(state_dir)
    assert report.valid
    assert report.behind == 0
    assert report.records == sum(1 for _ in read(state_dir / "journal"))
    assert governor.stats()["checkpoints"] == 1
    assert governor.stats()["log_stopped"] == 0


async def test_checkpoints_come_while_records_do(dsn: str, state_dir: Path, flavour: Flavour) -> None:
    governor = _governor("checkpoint_records = 5")
    async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
        for n in range(10):
            await do(conn.execute(f"SELECT {n}"))
        assert until(lambda: governor.stats()["checkpoints"] >= 1)
        assert _verified(state_dir).valid
    governor.close()


async def test_a_witness_has_every_checkpoint_and_shows_a_rollback(
    dsn: str, state_dir: Path, tmp_path: Path, flavour: Flavour
) -> None:
    witness = tmp_path / "elsewhere" / "witness"
    witness.parent.mkdir(mode=0o700)
    lines = f'witness = "{witness}"'
    governor = _governor(lines)
    await _work(flavour, dsn, governor)
    governor.close()
    kept = {path: path.read_bytes() for path in (state_dir / "journal").rglob("*") if path.is_file()}
    governor = _governor(lines)
    await _work(flavour, dsn, governor)
    governor.close()
    assert _verified(state_dir, witnesses=[witness]).valid
    for path in (state_dir / "journal").rglob("*"):
        if path.is_file():
            path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)
    assert _verified(state_dir).valid
    assert not _verified(state_dir, witnesses=[witness]).valid


KILLED = """
import os, sys
import governed_db
conn = governed_db.connect(sys.argv[1], governor=governed_db.Governor.preset("standard"), autocommit=True)
for n in range(5):
    conn.execute(f"SELECT {n}")
print("there", flush=True)
os.kill(os.getpid(), 9)
"""

FORKED = """
import os, sys
import governed_db
governor = governed_db.Governor.preset("standard")
conn = governed_db.connect(sys.argv[1], governor=governor, autocommit=True)
conn.execute("SELECT 1")
if os.fork() == 0:
    with governed_db.connect(sys.argv[1], governor=governor, autocommit=True) as own:
        own.execute("SELECT 2")
    governor.close()
    os._exit(0)
assert os.wait()[1] == 0
conn.execute("SELECT 3")
"""


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
import governed_db
from governed_db.policy import load_bytes
try:
    governed_db.Governor(load_bytes(sys.argv[2].encode(), "p"))
except governed_db.PolicyError as refused:
    print(refused.remedy)
"""


ORPHANED = """
import os, sys, time
import governed_db
governor = governed_db.Governor.preset("standard")
conn = governed_db.connect(sys.argv[1], governor=governor, autocommit=True)
conn.execute("SELECT 1")
if os.fork():
    os._exit(0)
with governed_db.connect(sys.argv[1], governor=governor, autocommit=True) as own:
    own.execute("SELECT 2")
governor.close()
os._exit(0)
"""


def test_a_child_keeps_the_log_though_its_parent_is_gone(
    dsn: str, state_dir: Path, process: Callable[..., Any]
) -> None:
    orphaned = process(ORPHANED, dsn)
    _, errors = orphaned.communicate(timeout=60)  # until the child has closed its end as well
    assert not errors
    report = _verified(state_dir)
    assert report.valid
    assert report.behind == 0
    assert len({e["journal"] for e in read(state_dir / "journal")}) == 2


async def test_what_a_killed_process_left_is_taken_up_by_the_next(
    dsn: str, state_dir: Path, flavour: Flavour, process: Callable[..., Any]
) -> None:
    process(KILLED, dsn).communicate(timeout=60)
    governor = _governor()
    await _work(flavour, dsn, governor)
    governor.close()
    report = _verified(state_dir)
    assert report.valid
    assert report.behind == 0
    assert len({e["journal"] for e in read(state_dir / "journal")}) == 2


def test_parent_and_child_are_proven_without_a_close(
    dsn: str, state_dir: Path, process: Callable[..., Any]
) -> None:
    forked = process(FORKED, dsn)
    _, errors = forked.communicate(timeout=60)
    assert forked.returncode == 0, errors
    report = _verified(state_dir)
    assert report.valid
    assert report.behind == 0
    assert len({e["journal"] for e in read(state_dir / "journal")}) == 2


async def test_old_segments_go_and_the_rest_is_still_proven(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    governor = _governor()
    await _work(flavour, dsn, governor)
    governor.close()
    (old,) = [name.path for name in names(state_dir / "journal")]
    held = sum(1 for _ in read(state_dir / "journal"))
    then = time.time() - 10 * 86_400
    os.utime(old, (then, then))
    governor = _governor("keep_days = 5\ncheckpoint_records = 1")
    async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
        await do(conn.execute("SELECT 1"))
        assert until(lambda: not old.exists())
    governor.close()
    report = _verified(state_dir)
    assert report.valid
    assert report.retired == held
    (event,) = [e for e in read(state_dir / "journal") if e.get("event") == "journal.retired"]
    assert event["details"]["segment"] == old.name


async def test_what_a_collector_lacks_stays(dsn: str, state_dir: Path, flavour: Flavour) -> None:
    governor = _governor()
    await _work(flavour, dsn, governor)
    governor.close()
    (old,) = [name.path for name in names(state_dir / "journal")]
    os.utime(old, (0, 0))
    lines = f'keep_days = 5\ncheckpoint_records = 1\nship = "http://127.0.0.1:{free_port()}"'
    governor = _governor(lines)
    async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
        await do(conn.execute("SELECT 1"))
        assert until(lambda: governor.stats()["checkpoints"] >= 1)
        await do(conn.execute("SELECT 2"))
        assert until(lambda: governor.stats()["checkpoints"] >= 2)
        assert old.exists()
    governor.close()
    assert old.exists()


async def test_a_collector_gets_everything_when_it_is_back(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    with collecting() as collector:
        address = collector.url
        governor = _governor(f'ship = "{address}"\ncheckpoint_records = 1')
        await _work(flavour, dsn, governor)
        ids = {e["id"] for e in read(state_dir / "journal") if e["kind"] == "intent"}
        assert until(lambda: ids <= set(collector.statements()))
        governor.close()


async def test_remote_sends_nothing_that_the_collector_does_not_have(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    with collecting() as collector:
        governor = _governor(f'durability = "remote"\nship = "{collector.url}"')
        async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
            await do(conn.execute("SELECT 4711"))
            (intent,) = [
                e
                for e in read(state_dir / "journal")
                if e["kind"] == "intent" and e["what"]["text"] == "SELECT $1"
            ]
            # As a log record, at once: the span follows when the journal is shipped.
            assert intent["id"] in {said["governed_db.record.id"] for _, said in collector.events()}
            collector.close()
            for _ in range(2):
                with pytest.raises(governed_db.AuditUnavailable, match="has not acknowledged") as refused:
                    await do(conn.execute("SELECT 4712"))
                assert refused.value.retryable
        governor.close()
    of = {e["of"]: e["happened"]["status"] for e in read(state_dir / "journal") if e["kind"] == "outcome"}
    sent = [
        of[e["id"]]
        for e in read(state_dir / "journal")
        if e["kind"] == "intent" and e["what"]["text"] == "SELECT $1"
    ]
    assert sent == ["ok", "refused", "refused"]


async def test_remote_asks_the_collector_though_the_journal_was_closed_meanwhile(
    dsn: str, state_dir: Path, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Trail._append

    def closing(self: Trail, payload: bytes, *, durable: bool = True) -> None:
        append(self, payload, durable=durable)
        self._close_journal()  # as another thread does that brings another policy into force

    with collecting() as collector:
        governor = _governor(f'durability = "remote"\nship = "{collector.url}"')
        async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
            await do(conn.execute("SELECT 4711"))
            monkeypatch.setattr(Trail, "_append", closing)
            await do(conn.execute("SELECT 4712"))
            collector.close()
            with pytest.raises(governed_db.AuditUnavailable, match="has not acknowledged"):
                await do(conn.execute("SELECT 4713"))
        governor.close()


async def test_a_transaction_can_end_without_a_collector(dsn: str, state_dir: Path, flavour: Flavour) -> None:
    with collecting() as collector:
        governor = _governor(f'durability = "remote"\nship = "{collector.url}"')
        async with flavour.connect(dsn, governor=governor) as conn:
            await do(conn.execute("SELECT 4711"))
            collector.close()
            with pytest.raises(governed_db.AuditUnavailable):
                await do(conn.execute("SELECT 4712"))
            await do(conn.commit())
        governor.close()
    of = {e["of"]: e["happened"]["status"] for e in read(state_dir / "journal") if e["kind"] == "outcome"}
    ends = [
        of[e["id"]]
        for e in read(state_dir / "journal")
        if e["kind"] == "intent" and e["what"]["tag"] == "COMMIT"
    ]
    assert ends == ["ok"]


@pytest.mark.parametrize(
    ("line", "module", "extra"),
    [
        ('ship = "http://127.0.0.1:1"', "opentelemetry.proto", "otlp"),
        ('timestamp = "http://127.0.0.1:1"', "rfc3161_client", "timestamp"),
    ],
)
def test_what_needs_an_extra_says_so_at_start(
    process: Callable[..., Any], line: str, module: str, extra: str
) -> None:
    started = process(WITHOUT, module, f"[audit]\n{line}\n")
    said, errors = started.communicate(timeout=60)
    assert said.strip() == f"pip install 'governed-db[{extra}]'", errors


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("checkpoint_seconds = 0", "from 1 to 3600"),
        ("checkpoint_records = 1000001", "from 1 to 1000000"),
        ('witness = "w"', "absolute path"),
        ('ship = "collector:4318"', "https or http"),
        ('timestamp = "ftp://tsa"', "https or http"),
        ("keep_days = -1", "from 0"),
        ('durability = "remote"', "needs a collector"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(line: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        load_bytes(f"[audit]\n{line}\n".encode(), "p")


async def test_a_key_that_others_can_read_signs_nothing_and_says_so(
    dsn: str, state_dir: Path, flavour: Flavour, caplog: pytest.LogCaptureFixture
) -> None:
    signing.find(state_dir)
    (state_dir / signing.FILE).chmod(0o644)
    governor = _governor()
    await _work(flavour, dsn, governor)
    governor.close()
    assert governor.stats()["log_stopped"] == 1
    assert "No more checkpoints are signed" in caplog.text
    assert "PRIVATE" not in caplog.text

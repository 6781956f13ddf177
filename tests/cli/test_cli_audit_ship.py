"""``governed-db audit ship``: what it says, and its exit status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from governed_db.audit import record
from governed_db.audit.journal import Journal
from governed_db.audit.scan import names
from governed_db.audit.template import Template, outcome
from governed_db.cli import main
from tests.audit.collecting import Collecting, collecting, free_port, rejected, reply

SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def collector() -> Iterator[Collecting]:
    with collecting() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    form = Template(who={"kind": "agent", "subject": "bot"}, what={"tag": "SELECT"}, where={})
    with Journal.open(folder, segment_bytes=16 << 10) as journal:
        for _ in range(100):
            key, payload = form.intent(None)
            journal.append(payload)
            journal.append(outcome(key, record.happened("ok", duration_us=5)))
    return folder


def _ship(folder: Path, collector: Collecting | str, *more: str) -> int:
    url = collector if isinstance(collector, str) else collector.url
    return main(["audit", "ship", "--to", url, "--dir", str(folder), *more])


def test_it_sends_and_says_so(
    folder: Path, collector: Collecting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ship(folder, collector) == 0
    assert capsys.readouterr().out == f"sent 100 statements and 2 events to {collector.url}\n"
    assert _ship(folder, collector) == 0
    assert "sent 0 statements and 0 events" in capsys.readouterr().out


def test_the_environment_names_the_collector(
    folder: Path,
    collector: Collecting,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert main(["audit", "ship", "--dir", str(folder)]) == 1
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in capsys.readouterr().err
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-key={SECRET}")
    assert main(["audit", "ship", "--dir", str(folder)]) == 0
    assert {headers["x-key"] for _, headers, _ in collector.requests} == {SECRET}


def test_headers_come_from_a_file(folder: Path, collector: Collecting, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text(f"# of the collector\nauthorization: Bearer {SECRET}\n\n")
    assert _ship(folder, collector, "--header-file", str(file), "--header", "x-tenant=a") == 0
    _, headers, _ = collector.requests[0]
    assert (headers["authorization"], headers["x-tenant"]) == (f"Bearer {SECRET}", "a")


@pytest.mark.parametrize(
    "more",
    [["--header", SECRET], ["--header-file", "/no/such/file"], ["--once", "--follow"], ["--patience", "-1"]],
)
def test_what_cannot_be_used_is_refused(
    more: list[str], folder: Path, collector: Collecting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ship(folder, collector, *more) == 1
    assert SECRET not in capsys.readouterr().err
    assert not collector.requests


def test_a_collector_that_is_down_is_a_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _ship(folder, f"http://127.0.0.1:{free_port()}", "--patience", "0.1") == 1
    said = capsys.readouterr().err
    assert "connection refused" in said
    assert "nothing is lost" in said


def test_no_secret_is_in_what_it_says(
    folder: Path, collector: Collecting, capsys: pytest.CaptureFixture[str]
) -> None:
    collector.misbehave = lambda _, handler, __: reply(handler, status=403) is None
    url = f"http://me:{SECRET}@127.0.0.1:{collector.port}/?key={SECRET}"
    assert _ship(folder, url, "--patience", "0.1", "--header", f"x={SECRET}") == 1
    said = capsys.readouterr()
    assert "403" in said.err
    assert SECRET not in said.out + said.err


def test_what_is_refused_is_told_until_it_is_taken(
    folder: Path, collector: Collecting, capsys: pytest.CaptureFixture[str]
) -> None:
    poison = {"key": ""}

    def refuses(_: Collecting, handler: object, found: list[object]) -> bool:
        if "logs" in handler.path:  # type: ignore[attr-defined]
            return False
        if not poison["key"]:
            poison["key"] = str(found[0][1].span_id)  # type: ignore[index]
        bad = any(str(s.span_id) == poison["key"] for _, s in found)  # type: ignore[misc, attr-defined]
        if bad:
            rejected(handler, found, 1)  # type: ignore[arg-type]
        return bad

    collector.misbehave = refuses
    assert _ship(folder, collector, "--patience", "0.1") == 1
    assert "1 records are refused" in capsys.readouterr().err
    collector.misbehave = None
    assert _ship(folder, collector) == 0
    assert len(collector.statements()) == 100


def test_removed_segments_are_a_failure(
    folder: Path, collector: Collecting, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = names(folder)
    assert len(listed) > 1
    listed[0].path.unlink()
    assert _ship(folder, collector) == 1
    assert "were removed or damaged before they were shipped" in capsys.readouterr().err
    assert _ship(folder, collector) == 0, "it is said once"


def test_no_journal_is_a_failure(tmp_path: Path, collector: Collecting) -> None:
    assert _ship(tmp_path / "nothing", collector) == 1
    assert not (tmp_path / "nothing").exists()

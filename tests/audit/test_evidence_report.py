"""The report: what it counts, what it says, and that nothing recorded can be more than text in it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import stat
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import orjson
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

import governed_db
from benchmarks import trail_records
from governed_db import Governor
from governed_db.audit import charts, reads, summary
from governed_db.audit.export import export
from governed_db.audit.html import Markup, joined, quoted, tag
from governed_db.audit.page import About, page
from governed_db.audit.page_style import STYLE
from governed_db.audit.proof import unverified
from governed_db.audit.reader import statements
from governed_db.audit.select import Selection
from governed_db.audit.summary import Summary, summarise
from governed_db.cli import main
from tests import evidence

VOID = {"meta"}
ATTRIBUTES = {
    "html": {"lang"}, "meta": {"charset", "http-equiv", "content", "name"}, "a": {"href"}, "section": {"id"},
    "nav": {"aria-label"}, "svg": {"viewbox", "role", "aria-label"}, "th": {"scope", "class"},
    "rect": {"x", "y", "width", "height", "class"}, "text": {"x", "y", "class"},
    "line": {"x1", "x2", "y1", "y2", "class"},
}  # fmt: skip
KNOWN = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "dl", "dt", "dd",
    "nav", "ul", "li", "a", "main", "section", "b", "span", "svg", "text", "line", "rect", "div", "table",
    "thead", "tbody", "tr", "th", "td", "code", "footer",
}  # fmt: skip


class Strict(HTMLParser):
    """Knows the elements and attributes that the page is made of, and that they are closed in turn."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in KNOWN, tag
        for name, value in attrs:
            assert name in ATTRIBUTES.get(tag, {"class"}), (tag, name)
            if name == "href":
                assert value is not None
                assert re.fullmatch(r"#[a-z]+", value)
                self.links.add(value[1:])
            if name == "id":
                self.ids.add(value or "")
            if name == "class":
                assert re.fullmatch(r"[a-z_ ]+", value or ""), value
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def made(folder: Path, **more: object) -> tuple[str, Strict]:
    about = About(
        folder=folder,
        made=datetime(2026, 2, 1, tzinfo=UTC),
        version="1",
        verification=unverified("no log"),
        **more,
    )
    html = "".join(page(summarise(statements(folder, beside=True)), about))
    parser = Strict()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert parser.links <= parser.ids
    return html, parser


@pytest.fixture(scope="module")
def worked(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence.work(dsn, tmp_path_factory.mktemp("reported")).trail.folder


def test_the_page_says_who_did_what_and_who_agreed(worked: Path) -> None:
    _, parser = made(worked)
    text = " ".join(" ".join(parser.text).split())
    assert "agent:bot" in text
    assert "for human:anna" in text
    assert "people.email masked: redact (2)" in text
    assert "people.email read as it is" in text  # by the service
    assert "DROP TABLE orders" in text
    assert "human:dora granted agent:bot for human:anna" in text
    assert "1 ok" in text
    assert "23505 UniqueViolation" in text
    assert "not verified" in text
    assert "No record is known to be missing, damaged or lost." in text
    assert "in good order" in text


def test_look_ups_come_last_among_who_touched_what(worked: Path) -> None:
    _, parser = made(worked)
    text = " ".join(parser.text)
    touched = text[text.index("sensitive columns") :]
    assert 0 < touched.index("public.people") < touched.index("pg_catalog.pg_class")


def test_no_literal_is_in_the_page(worked: Path) -> None:
    html, _ = made(worked)
    assert evidence.CANARY not in html


def test_the_page_loads_nothing_and_runs_nothing(worked: Path) -> None:
    html, _ = made(worked)
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'" in html
    assert f"<style>{STYLE}</style>" in html
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert not re.search(
        r"(?i)<(script|img|iframe|object|embed|link|form|base)\b|https?:|javascript:| on\w+=|style=", html
    )
    assert "@media print" in STYLE
    assert "prefers-color-scheme: dark" in STYLE


def test_hostile_values_are_text(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    evidence.hostile(folder)
    html, parser = made(folder, selected=evidence.HOSTILE)
    assert "<script" not in html
    shown = "".join(parser.text)
    assert "<script>alert(1)</script>" in shown
    assert not any(c != "\n" and not c.isprintable() for c in html)
    # One value of thousands of characters does not make the page unreadable.
    assert max(map(len, parser.text)) < 1000


def test_an_empty_trail_has_a_report(tmp_path: Path) -> None:
    _, parser = made(tmp_path)
    assert "no records" in " ".join(parser.text)


def test_a_trail_with_holes_says_so_at_the_top(worked: Path, tmp_path: Path) -> None:
    for path in worked.glob("*.journal"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        (tmp_path / path.name).write_bytes(data)
    _, parser = made(tmp_path)
    text = " ".join(" ".join(parser.text).split())
    assert "The trail is not whole." in text
    assert "bytes were changed or never reached the disk" in text
    assert "No record is known to be missing" not in text


def test_what_is_kept_is_bounded_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(summary, "NAMES", 3)
    monkeypatch.setattr(summary, "PAIRS", 4)
    trail_records.write(tmp_path / "journal", 2000, processes=5)
    found = Summary()
    for entry in statements(tmp_path / "journal", beside=True):
        found.add(entry)
    assert len(found.callers.rows) == 3
    assert found.callers.beyond > 0
    assert (
        sum(c.verdicts.total() for c in found.callers.rows.values()) + found.callers.beyond
        == found.statements
    )
    assert len(found.access.rows) == 4
    assert found.access.beyond > 0
    about = About(folder=tmp_path, made=datetime.now(UTC), version="1", verification=unverified("x"))
    assert "further callers that are not told apart" in "".join(page(found, about))


def test_tables_say_how_much_more_there_is(tmp_path: Path) -> None:
    trail_records.write(tmp_path / "journal", 8000)
    found = summarise(statements(tmp_path / "journal", beside=True))
    assert found.refused > 40
    _, parser = made(tmp_path / "journal")
    assert f"… and {found.refused - 40:,} more refusals." in "".join(parser.text)


def test_counts_agree_with_the_records(tmp_path: Path) -> None:
    written = trail_records.write(tmp_path / "journal", 6000, processes=2)
    found = summarise(statements(tmp_path / "journal", beside=True))
    assert found.statements == written["intent"] + written["refusal"] + written["attempt"]
    assert found.refused == written["refusal"] + written["attempt"]
    assert found.statuses["unknown"] == written["intent"] - written["outcome"]
    assert sum(found.events.values()) == written["event"]
    assert len(found.journals.rows) == 2
    assert tuple(found.policies.rows) == trail_records.POLICIES
    assert sum(h.total() for h in found.hours.rows.values()) == found.statements


@pytest.mark.parametrize("hours", [1, 5, 100, 5000, 90_000])
def test_a_chart_has_as_many_bars_as_can_be_seen(hours: int) -> None:
    start = datetime(2020, 1, 1, 5, tzinfo=UTC).timestamp()
    counts = {
        datetime.fromtimestamp(start + n * 3600, UTC).strftime("%Y-%m-%dT%H"): Counter(
            {"allow": n % 7 + 1, "block": n % 2}
        )
        for n in range(0, hours, max(1, hours // 300))
    }
    drawn, size = charts.over_time(counts)
    bars = {m[1] for m in re.finditer(r'<rect x="([\d.]+)"', drawn)}
    assert 1 <= len(bars) <= charts.BARS + 1
    assert size
    for x, width in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn):
        assert 0 <= float(x) <= 960 - float(width) + 1


def test_charts_take_whatever_hours_there_are() -> None:
    assert charts.over_time({}) == ("", "")
    assert charts.over_time({"not an hour": Counter({"allow": 1})}) == ("", "")
    assert charts.by_name([]) == ""


@given(st.text(st.characters(), max_size=50))
def test_text_cannot_leave_its_element_or_attribute(text: str) -> None:
    html = str(tag("p", text, title=text))

    class One(HTMLParser):
        seen: list[object]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.seen.append((tag, dict(attrs)))

        def handle_data(self, data: str) -> None:
            self.seen.append(data)

    parser = One(convert_charrefs=True)
    parser.seen = []
    parser.feed(html.encode("utf-8", "strict").decode())
    parser.close()
    first, *rest = parser.seen
    shown = "".join(c if c.isprintable() else " " if re.match(r"\s", c) else "\ufffd" for c in text)
    assert first == ("p", {"title": shown})
    assert "".join(map(str, rest)) == shown


def test_markup_is_not_escaped_twice_and_text_always_once() -> None:
    assert tag("p", tag("b", "<"), "&") == "<p><b>&lt;</b>&amp;</p>"
    assert joined(Markup("<i></i>"), None, "<i>") == "<i></i>&lt;i&gt;"
    assert quoted('"') == "&quot;"
    assert tag("th", "x", class_=None, aria_label="y") == '<th aria-label="y">x</th>'


def test_the_command_writes_a_page_for_its_owner(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    assert (
        main(["audit", "report", "--dir", str(worked), "--out", str(out), "--kind", "agent", "--no-verify"])
        == 0
    )
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "not verified" in capsys.readouterr().err
    text = out.read_text()
    assert "by callers of kind agent" in text
    assert "service:shop" not in text
    assert main(["audit", "report", "--dir", "/nowhere", "--out", str(tmp_path / "x.html")]) == 1
    assert not (tmp_path / "x.html").exists()


def test_the_report_says_what_the_proof_says(
    tmp_path: Path, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out, note = state_dir / "journal", tmp_path / "report.html", tmp_path / "checkpoint"
    written = trail_records.write(folder, 400).total()
    looked = 3  # a start, the look, and a stop

    def report(*more: object) -> str:
        assert main(["audit", "report", "--out", str(out), *map(str, more)]) == 0
        capsys.readouterr()
        return out.read_text()

    page = report()
    assert '<li class="wait"><b>Verification.</b>not verified: the journal has no log' in page
    written += looked  # each report is on record
    assert main(["audit", "checkpoint"]) == 0
    capsys.readouterr()
    assert main(["audit", "key"]) == 0
    key = capsys.readouterr().out.strip()
    page = report()
    assert f'<li class="wait"><b>Verification.</b>valid to record {written:,}' in page
    assert "machine&#x27;s own" in page
    written += looked
    assert main(["audit", "checkpoint"]) == 0
    note.write_text(capsys.readouterr().out)
    page = report("--key", key, "--checkpoint", note)
    assert f'<li class="good"><b>Verification.</b>valid to record {written:,}</li>' in page
    segment = sorted(folder.glob("*.journal"))[0]
    data = bytearray(segment.read_bytes())
    data[data.index(b"shop-api")] ^= 1
    segment.write_bytes(data)
    page = report("--key", key)
    assert '<li class="bad"><b>Verification.</b>FAILED: ' in page
    assert main(["audit", "report", "--out", str(out), "--key", "no key"]) == 1


def test_who_read_the_trail_is_in_the_report(worked: Path, tmp_path: Path) -> None:
    for path in worked.glob("*.journal"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert reads.noted(tmp_path, "export", subject="bot")
    _, parser = made(tmp_path)
    text = " ".join(" ".join(parser.text).split())
    assert f"human:{reads.reader()['subject']} trail.read verb export, subject bot" in text


def test_what_a_policy_only_observed_is_told_apart(dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE seen (id int)")
    governor = Governor.preset("observe", state_dir=tmp_path)
    with governed_db.connect(dsn, governor=governor, identity=evidence.AGENT, autocommit=True) as conn:
        conn.execute("DROP TABLE seen")
    governor.close()
    found = summarise(statements(governor.trail.folder))
    assert found.verdicts["observed"] == 1
    assert found.refused == 0
    _, parser = made(governor.trail.folder)
    assert "1 statement ran although the policy would not have let them." in "".join(parser.text)
    out = io.BytesIO()
    export(statements(governor.trail.folder, beside=True), "ocsf", out)
    events = [orjson.loads(line) for line in out.getvalue().splitlines()]
    (event,) = (e for e in events if e["activity_name"].startswith("DROP"))
    assert (event["action"], event["disposition"], event["status"]) == ("Observed", "Logged", "Success")


def test_a_selection_of_statements_leaves_coverage_and_approvals_as_they_are(worked: Path) -> None:
    everything = summarise(statements(worked, beside=True))
    some = summarise(statements(worked, beside=True), Selection(subjects=["shop"]))
    assert set(some.callers.rows) == {"service:shop"}
    assert some.events == everything.events
    assert some.journals.rows.keys() == everything.journals.rows.keys()
    assert all(writer.host and writer.stopped for writer in some.journals.rows.values())
    none = summarise(statements(worked, beside=True), Selection(since=datetime(2999, 1, 1, tzinfo=UTC)))
    assert (none.statements, none.first, dict(none.events)) == (0, "", {})
    about = About(
        folder=worked,
        made=datetime.now(UTC),
        version="1",
        verification=unverified("x"),
        selected=("by shop",),
    )
    assert "0 journals." in "".join(page(none, about))
    assert "are those of the whole time" in "".join(page(some, about))

"""Lineage: which columns went to whom, as a table and as OpenLineage."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from governed_db.audit import flows as flows_module
from governed_db.audit.flows import Way, flows, ways
from governed_db.audit.openlineage import event, events
from governed_db.audit.reader import statements
from governed_db.cli import main
from tests import evidence

SCHEMAS = orjson.loads((Path(__file__).parents[1] / "corpus" / "openlineage.json").read_bytes())["schemas"]
REGISTRY = Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS)


def validator(reference: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": reference}, registry=REGISTRY, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def check(made: dict[str, Any]) -> None:
    """Hold an event to OpenLineage's schemas: itself, and each facet to the one that it names."""
    validator(made["schemaURL"]).validate(made)
    for facets in (
        made["run"]["facets"],
        made["job"]["facets"],
        *(d.get("facets", {}) for d in made["outputs"]),
    ):
        for facet in facets.values():
            validator(facet["_schemaURL"]).validate(facet)


@pytest.fixture(scope="module")
def worked(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence.work(dsn, tmp_path_factory.mktemp("flowed")).trail.folder


def by_column(folder: Path) -> dict[str, set[Way]]:
    found: dict[str, set[Way]] = {}
    for way in flows(statements(folder)).rows:
        found.setdefault(way.column, set()).add(way)
    return found


def test_which_columns_went_to_whom(worked: Path) -> None:
    found = by_column(worked)
    emails = {(w.how, w.mask, w.caller, w.behalf, w.purpose) for w in found["public.people.email"]}
    assert emails == {
        ("handed out", "redact", "agent:bot", "human:anna", "answer ticket 4711"),
        ("handed out", "", "service:shop", "", ""),
    }
    town = {w.how for w in found["public.people.town"]}
    assert town == {"computed from", "used in upper()", "used in WHERE"}
    assert "used in ORDER BY" in {w.how for w in found["public.people.id"]}


def test_what_was_refused_or_failed_went_nowhere(worked: Path) -> None:
    handed = {w.column for w in flows(statements(worked)).rows if w.how == "handed out"}
    assert not any(column.startswith("public.orders.") for column in handed)


def test_rows_and_statements_are_counted(worked: Path) -> None:
    (flow,) = (
        f
        for w, f in flows(statements(worked)).rows.items()
        if (w.column, w.caller, w.how) == ("public.people.email", "agent:bot", "handed out")
    )
    assert (flow.statements, flow.rows) == (2, 40)
    assert flow.first <= flow.last
    assert flow.record


def test_what_is_not_known_is_not_taken_for_nothing() -> None:
    base = {"kind": "intent", "who": {"kind": "agent", "subject": "b"}, "happened": {"status": "unknown"}}
    bare = base | {"what": {"relations": [{"name": "people", "access": "read"}]}}
    assert [w.column for w in ways(bare)] == ["people.(not known)"]
    no_outputs = base | {"what": {"columns": ["t.a"], "lineage": {}, "touched": {"read": [0, "t.b"]}}}
    assert [w.column for w in ways(no_outputs)] == ["t.a", "t.b"]


def test_flows_are_bounded(worked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows_module, "FLOWS", 2)
    found = flows(statements(worked))
    assert len(found.rows) == 2
    assert found.beyond > 0


def test_events_are_valid_openlineage(worked: Path) -> None:
    made = list(events(statements(worked)))
    for one in made:
        check(one)
    assert len({one["run"]["runId"] for one in made}) == len(made)
    read = next(
        e for e in made if e["job"]["facets"].get("sql", {}).get("query") == "SELECT email FROM people"
    )
    assert read["eventType"] == "COMPLETE"
    assert [d["name"].partition(".")[2] for d in read["inputs"]] == ["public.people"]
    (result,) = read["outputs"]
    (field,) = result["facets"]["columnLineage"]["fields"]["1"]["inputFields"]
    assert field["field"] == "email"
    assert field["transformations"] == [{"type": "DIRECT", "subtype": "TRANSFORMATION", "masking": True}]
    facet = read["run"]["facets"]["governed_db"]
    assert (facet["caller"], facet["onBehalfOf"], facet["purpose"]) == (
        "agent:bot", ["human:anna"], "answer ticket 4711",
    )  # fmt: skip
    write = next(e for e in made if e["job"]["facets"].get("sql", {}).get("query", "").startswith("UPDATE"))
    assert [d["name"].partition(".")[2] for d in write["outputs"] if "/" not in d["name"]] == [
        "public.orders"
    ]
    assert any(e["eventType"] == "FAIL" for e in made)
    assert not any("DROP" in e["job"]["facets"].get("sql", {}).get("query", "") for e in made)


def test_an_event_keeps_its_run_whenever_it_is_exported(worked: Path) -> None:
    entry = next(e for e in statements(worked) if e["kind"] == "intent")
    assert event(entry) == event(entry)
    uuid.UUID(event(entry)["run"]["runId"])


def test_hostile_records_make_valid_events(tmp_path: Path) -> None:
    evidence.hostile(tmp_path / "journal")
    made = list(events(statements(tmp_path / "journal")))
    assert len(made) >= len(evidence.HOSTILE)
    for one in made:
        if one["eventTime"].startswith("2026"):
            check(one)
    assert flows(statements(tmp_path / "journal")).rows


def test_the_command_prints_json_and_openlineage(
    worked: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["audit", "lineage", "--dir", str(worked)]
    assert main([*arguments, "--column", "people.email", "--kind", "agent"]) == 0
    printed = capsys.readouterr().out
    assert "public.people.email\n" in printed
    assert (
        "agent:bot for human:anna, to answer ticket 4711: handed out, masked by redact; 2 statements"
        in printed
    )
    out = tmp_path / "lineage.jsonl"
    assert main([*arguments, "--format", "openlineage", "--out", str(out)]) == 0
    for line in out.read_bytes().splitlines():
        check(orjson.loads(line))
    assert main([*arguments, "--format", "json", "--out", str(out)]) == 0
    assert {orjson.loads(line)["column"] for line in out.read_bytes().splitlines()} >= {"public.people.email"}


def test_no_control_character_reaches_the_terminal(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    evidence.hostile(tmp_path / "journal")
    for form in ("table", "json", "openlineage"):
        assert main(["audit", "lineage", "--dir", str(tmp_path / "journal"), "--format", form, "--all"]) == 0
        text = capfdbinary.readouterr().out.decode()
        assert {c for c in text if not c.isprintable()} <= {"\n", "\u2028"}

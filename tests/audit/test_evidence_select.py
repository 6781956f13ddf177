"""Selections: what each option leaves in, over statements that really ran."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from governed_db.audit.reader import statements
from governed_db.audit.select import Pattern, Selection, entries, moment
from tests import evidence

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def worked(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence.work(dsn, tmp_path_factory.mktemp("selected")).trail.folder


def texts(folder: Path, **wanted: Any) -> list[str]:
    return [e.get("what", {}).get("text", "") for e in entries(folder, Selection(**wanted))]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("-1h", NOW - timedelta(hours=1)),
        ("1h", NOW - timedelta(hours=1)),
        ("90s", NOW - timedelta(seconds=90)),
        ("2w", NOW - timedelta(weeks=2)),
        ("now", NOW),
        ("today", datetime(2026, 3, 4, tzinfo=UTC)),
        ("yesterday", datetime(2026, 3, 3, tzinfo=UTC)),
    ],
)
def test_moments(said: str, meant: datetime) -> None:
    assert moment(said, NOW) == meant


@pytest.mark.parametrize("said", ["", "soon", "1x", "-", "2026-13-01", "999999999w"])
def test_what_is_no_moment(said: str) -> None:
    with pytest.raises(ValueError, match=r"time|calendar"):
        moment(said, NOW)


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("anna", ["anna"], ["annas", "Anna", "an"]),
        ("a*a", ["anna", "aa", "a\nb a"], ["ab"]),
        ("a?", ["ab"], ["a", "abc"]),
        ("x[1]", ["x[1]"], ["x1"]),
        (".*", [".x"], ["x"]),
    ],
)
def test_patterns(pattern: str, fits: list[str], others: list[str]) -> None:
    for name in fits:
        assert Pattern(pattern).fits(name)
    for name in others:
        assert not Pattern(pattern).fits(name)


def test_everything_is_wanted_where_nothing_is_said(worked: Path) -> None:
    assert Selection().everything
    assert list(entries(worked, Selection())) == list(statements(worked))
    assert Selection().words() == []


def test_who_in_which_session_and_for_whom(worked: Path) -> None:
    for wanted in (
        {"subjects": ["bot"]},
        {"subjects": ["agent:b*"]},
        {"sessions": ["talk-1"]},
        {"behalf": ["anna"]},
        {"behalf": ["human:anna"]},
        {"purposes": ["answer*"]},
    ):
        callers = {e["who"]["subject"] for e in entries(worked, Selection(**wanted))}
        # What the library looks up for the agent is on behalf of the agent, and so of anna.
        assert callers - {"governed_db"} == {"bot"}, wanted
    # What the library looks up by itself is a service's.
    assert {e["who"]["kind"] for e in entries(worked, Selection(kinds=["service"]))} == {"service"}
    assert "SELECT name, email FROM people WHERE id = $1" in texts(worked, subjects=["shop"])
    assert texts(worked, subjects=["human:bot"]) == []


def test_what_was_touched(worked: Path) -> None:
    agent = {"kinds": ["agent"]}
    assert "SELECT email FROM people" in texts(worked, relations=["people"], **agent)
    assert "SELECT email FROM people" in texts(worked, relations=["public.people"], **agent)
    assert all("orders" in text for text in texts(worked, relations=["orders"], **agent))
    assert texts(worked, relations=["peopl"]) == []
    assert "SELECT email FROM people" in texts(worked, relations=['public."people"'], **agent)
    assert "SELECT email FROM people" in texts(worked, columns=['"people"."email"'], **agent)
    assert "SELECT email FROM people" in texts(worked, columns=["people.email"], **agent)
    assert "SELECT email FROM people" in texts(worked, columns=["email"], **agent)
    assert not any("count" in text for text in texts(worked, columns=["email"], **agent))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ('"we.ird ""T"" ä"', True),
        ('public."we.ird ""T"" ä"', True),
        ('we.ird "T" ä', True),
        ('"we.*', True),
        ('"we.ird ""T""', False),
        ('"', False),
        ('""', False),
    ],
)
def test_a_name_may_be_written_as_in_sql(wanted: str, found: bool) -> None:
    entry = {
        "kind": "intent",
        "at": "2026-03-04T05:06:07Z",
        "what": {
            "relations": [
                {"name": 'public.we.ird "T" ä', "access": "read"},
                {"name": 'x."we.x', "access": "read"},
            ]
        },
    }
    assert Selection(relations=[wanted]).wants(entry) is found


def test_what_was_decided_and_what_became_of_it(worked: Path) -> None:
    assert "DROP TABLE orders" in texts(worked, decisions=["block"])
    assert [t[:13] for t in texts(worked, decisions=["needs_approval"])] == ["UPDATE orders"]
    assert [t[:13] for t in texts(worked, decisions=["approved"])] == ["UPDATE orders"]
    assert all(e["happened"]["status"] == "error" for e in entries(worked, Selection(statuses=["error"])))
    assert len(texts(worked, statuses=["error"])) == 1
    assert {e["kind"] for e in entries(worked, Selection(statuses=["refused"]))} == {"refusal", "attempt"}
    (rule,) = {e["may"]["rule"] for e in entries(worked, Selection(decisions=["needs_approval"]))}
    assert len(texts(worked, rules=[rule], statuses=["refused"])) == 1


def test_when_and_which(worked: Path) -> None:
    all_ = [e for e in statements(worked) if e["who"]["kind"] == "agent"]
    third = all_[2]
    at = datetime.fromisoformat(third["at"])
    since = list(entries(worked, Selection(since=at, kinds=["agent"])))
    until = list(entries(worked, Selection(until=at, kinds=["agent"])))
    assert len(since) + len(until) == len(all_)
    assert third["id"] in {e["id"] for e in since}
    assert [e["id"] for e in entries(worked, Selection(records=[third["id"]]))] == [third["id"]]


def test_several_values_widen_and_several_fields_narrow(worked: Path) -> None:
    assert {e["who"]["subject"] for e in entries(worked, Selection(subjects=["bot", "shop"]))} == {
        "bot",
        "shop",
    }
    assert texts(worked, subjects=["bot"], kinds=["service"]) == []


def test_a_selection_says_what_it_is() -> None:
    said = Selection(since=NOW, subjects=["bot", "shop"], decisions=["block"]).words()
    assert said == ["since 2026-03-04T05:06:07+00:00", "by bot or shop", "decided block"]

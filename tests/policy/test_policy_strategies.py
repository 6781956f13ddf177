"""``[masking.strategies]`` and the keys: what is read, what is refused where, and what is written back."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from governed_db.errors import PolicyError
from governed_db.masking import fakes
from governed_db.masking.model import Strategy, Treatment
from governed_db.policy import load_bytes
from governed_db.policy.needs import Needs
from governed_db.policy.propose import propose

HEAD = "[masking.strategies]\n"

GOOD = [
    *((f"A = '{strategy}'", Treatment(strategy=strategy)) for strategy in Strategy),
    ("A = { strategy = 'pseudonym' }", Treatment(strategy=Strategy.PSEUDONYM)),
    ("A = { strategy = 'date_shift', days = 7 }", Treatment(strategy=Strategy.DATE_SHIFT, days=7)),
    ("A = { strategy = 'bucket', width = 5000 }", Treatment(strategy=Strategy.BUCKET, width=5000)),
    ("A = { strategy = 'generalise', keep = 3 }", Treatment(strategy=Strategy.GENERALISE, keep=3)),
    ("A = { strategy = 'fake', locale = 'de_DE' }", Treatment(strategy=Strategy.FAKE, locale="de_DE")),
    ("[masking.strategies.A]\nstrategy = 'bucket'\nwidth = 2", Treatment(strategy=Strategy.BUCKET, width=2)),
]

BAD = [
    ("A = 'shuffle'", "2:1", "unknown strategy"),
    ("A = 1", "2:1", "unknown strategy"),
    ("a = 'redact'", "2:1", "capitals"),
    ("A = {}", "2:1", "a strategy is missing"),
    ("A = { days = 3 }", "2:1", "a strategy is missing"),
    ("A = { strategy = 'shuffle' }", "2:7", "unknown strategy"),
    ("A = { strategy = ['redact'] }", "2:7", "unknown strategy"),
    ("A = { strategy = 'date_shift', day = 3 }", "2:32", "did you mean 'days'"),
    ("A = { strategy = 'date_shift', width = 3 }", "2:32", "its own is 'days'"),
    ("A = { strategy = 'redact', days = 3 }", "2:28", "it has none"),
    ("A = { strategy = 'redact', colour = 3 }", "2:28", "unknown key"),
    ("A = { strategy = 'date_shift', days = 0 }", "2:32", "from 1 to 3650"),
    ("A = { strategy = 'date_shift', days = 3651 }", "2:32", "from 1 to 3650"),
    ("A = { strategy = 'date_shift', days = true }", "2:32", "from 1 to 3650"),
    ("A = { strategy = 'date_shift', days = 3.0 }", "2:32", "from 1 to 3650"),
    ("A = { strategy = 'bucket', width = 1 }", "2:28", "from 2 to"),
    ("A = { strategy = 'generalise', keep = 33 }", "2:32", "from 1 to 32"),
    ("A = { strategy = 'fake', locale = 3 }", "2:26", "string"),
    ("A = { strategy = 'fake', locale = 'xx_XX' }", "2:1", "does not know the locale"),
    ("A = { strategy = 'fake', locale = '../x' }", "2:1", "does not know the locale"),
]


@pytest.mark.parametrize(("text", "treatment"), GOOD)
def test_a_treatment_is_read_and_written_back_whole(text: str, treatment: Treatment) -> None:
    text = text if text.startswith("[") else HEAD + text
    keys = "[masking]\nkeys = '/etc/masking.keys'\n"
    policy = load_bytes((keys + text).encode(), "p.toml")
    assert policy.strategies == {"A": treatment}
    assert policy.settings.masking.keys == Path("/etc/masking.keys")
    proposed, _ = propose(Needs(), policy)
    again = load_bytes(proposed.encode(), "proposed.toml")
    assert again.strategies == policy.strategies
    assert again.settings.masking.keys == policy.settings.masking.keys


@pytest.mark.parametrize(("text", "place", "words"), BAD)
def test_a_mistake_is_refused_at_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_bytes((HEAD + text).encode(), "p.toml")
    assert str(caught.value).startswith(f"p.toml:{place}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "library", "extra"), [("fake", "faker", "fake"), ("format_preserving", "ffx", "fpe")]
)
def test_a_strategy_without_its_library_is_refused(
    strategy: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes, "_held", threading.local())
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(PolicyError, match="not installed") as caught:
        load_bytes(f"{HEAD}A = {{ strategy = '{strategy}' }}".encode(), "p.toml")
    assert f"governed-db[{extra}]" in caught.value.remedy


def test_treatments_are_part_of_the_version() -> None:
    versions = {
        load_bytes((HEAD + text).encode(), "p.toml").version
        for text in ("A = { strategy = 'date_shift', days = 7 }", "A = 'date_shift'", "A = 'redact'")
    }
    assert len(versions) == 3

"""What the reference says of masks and of the keys of ``[masking]`` is what happens."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from attrs import fields_dict

from governed_db.errors import PolicyError
from governed_db.masking.keys import Keyring
from governed_db.masking.model import KEYED, Strategy, Treatment
from governed_db.masking.partial import BY_LABEL
from governed_db.masking.phrases import LABELS
from governed_db.masking.transforms import mask_value
from governed_db.policy import load_bytes
from governed_db.policy.settings import MaskingSettings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (REFERENCE / "masking.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)`(?:, `(\w+) = (\S+)`)? \|(.+)\| (yes|no) \|$", PAGE, re.MULTILINE)
VALUES: list[tuple[str, int, Any]] = [
    ("EMAIL_ADDRESS", 25, "anna.weber@example.org"),
    ("CREDIT_CARD_NUMBER", 25, "4111 1111 1111 1111"),
    ("DATE_OF_BIRTH", 1082, dt.date(1984, 5, 17)),
    ("INCOME", 23, 64250),
]
KEYS = Keyring({1: bytes(range(32))})


def test_every_strategy_has_a_row() -> None:
    assert sorted(row[0] for row in ROWS) == sorted(Strategy)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_shows_what_becomes_of_values(row: tuple[str, str, str, str, str]) -> None:
    name, option, given, cells, key = row
    assert (key == "yes") is (Strategy(name) in KEYED)
    options: dict[str, Any] = (
        {option: given.strip('"') if option == "locale" else int(given)} if option else {}
    )
    treatment = Treatment(strategy=Strategy(name), **options)
    for (label, oid, value), cell in zip(VALUES, cells.split("|"), strict=True):
        masked = mask_value(treatment, label, oid, keys=KEYS)(value)
        assert masked != value
        said = cell.strip()
        if said == "`NULL`":
            assert masked is None
        elif said == "1 to 30 days off":
            assert 1 <= abs((masked - value).days) <= 30
        elif said.startswith("`") and said.endswith("...`"):
            assert str(masked).startswith(said.strip("`.").rstrip("."))
        elif said.startswith("`"):
            assert str(masked) == said.strip("`")
        else:
            assert type(masked) is type(value)


def test_all_labels_are_listed() -> None:
    listed = PAGE.split("## Labels")[1]
    assert {*LABELS} == {*re.findall(r"\b[A-Z][A-Z_]{2,}\b", listed.split("Most are")[0])}
    partial = PAGE.split("`partial` shows something of")[1].split("nothing of other")[0]
    assert set(BY_LABEL) == {*re.findall(r"\b[A-Z][A-Z_]{2,}\b", partial)}


def test_every_key_of_the_section_is_in_the_reference() -> None:
    with pytest.raises(PolicyError) as caught:
        load_bytes(b"[masking]\nzzzzzz = 1\n", "p")
    known = re.findall(r"[a-z_]+", str(caught.value).partition("known here: ")[2])
    assert len(known) >= len(fields_dict(MaskingSettings)) - 1  # "reviewed" is what a file says
    listed = (REFERENCE / "policy.md").read_text(encoding="utf-8")
    assert [key for key in known if f"`masking.{key}`" not in listed] == []

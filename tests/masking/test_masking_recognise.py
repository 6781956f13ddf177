"""Masks that identify themselves are recognised, and ordinary values are not."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governed_db.masking import tokens
from governed_db.masking.keys import Keyring
from governed_db.masking.model import Strategy, Treatment
from governed_db.masking.phrases import LABELS
from governed_db.masking.recognise import (
    PARTIAL,
    PSEUDONYM,
    REDACTION,
    TOKEN,
    Recognised,
    contains,
    fitting,
    recognise,
)
from governed_db.masking.transforms import mask_value

KEYS = Keyring({1: bytes(range(32)), 12: bytes(range(32, 64))})
PSEUDONYMS = Treatment(strategy=Strategy.PSEUDONYM)

MASKS = [
    ("[EMAIL_ADDRESS]", Recognised(REDACTION, "EMAIL_ADDRESS")),
    (" [email_address]  ", Recognised(REDACTION, "EMAIL_ADDRESS")),
    ("[KEY 12]", Recognised(REDACTION, "")),
    ("[*]", Recognised(REDACTION, "")),
    (mask_value(PSEUDONYMS, "LAST_NAME", keys=KEYS)("x"), Recognised(PSEUDONYM, "LAST_NAME")),
    (mask_value(PSEUDONYMS, "OWN_2", keys=KEYS)("x").upper(), Recognised(PSEUDONYM, "OWN_2")),
    (mask_value(PSEUDONYMS, "LAST_NAME", keys=KEYS, max_length=21)("x"), Recognised(PSEUDONYM, "")),
    (mask_value(PSEUDONYMS, "L", keys=KEYS)(b"x").decode(), Recognised(PSEUDONYM, "L")),
    (str(mask_value(PSEUDONYMS, "L", keys=KEYS)(uuid.UUID(int=7))), Recognised(PSEUDONYM, "")),
    (mask_value(PSEUDONYMS, "L", keys=KEYS)(uuid.UUID(int=7)).hex, Recognised(PSEUDONYM, "")),
    (tokens.issue(KEYS, "IBAN_CODE", ""), Recognised(TOKEN, "IBAN_CODE")),
    (tokens.issue(KEYS, "IBAN_CODE", "x" * 300), Recognised(TOKEN, "IBAN_CODE")),
    (tokens.issue(KEYS, "IBAN_CODE", "x")[:30], Recognised(TOKEN, "IBAN_CODE")),
    (mask_value(PSEUDONYMS, "LAST_NAME", keys=KEYS)("x")[:-9], Recognised(PSEUDONYM, "LAST_NAME")),
    ("psn_LAST_NAME_1_" + "a" * 25, Recognised(PSEUDONYM, "LAST_NAME")),  # glued to what follows
    ("***@example.com", Recognised(PARTIAL, "")),
    ("****1234", Recognised(PARTIAL, "")),
]


@pytest.mark.parametrize(("text", "expected"), MASKS)
def test_a_mask_is_recognised_and_found(text: str, expected: Recognised) -> None:
    assert recognise(text) == expected
    assert contains(text) == expected


@pytest.mark.parametrize(("text", "expected"), [m for m in MASKS if m[1].kind != PARTIAL and m[0] != "[*]"])
def test_a_mask_is_found_in_what_holds_it(text: str, expected: Recognised) -> None:
    text = text.strip()
    for whole in (
        json.dumps({"a": [1, text]}),
        f"({text},5)",
        f"dear {text}.",
        f"{{{text},x}}",
        f"1\t{text}\n",
    ):
        assert recognise(whole) is None or whole == f"{{{text}}}"
        assert contains(whole) == expected


@pytest.mark.parametrize(("text", "expected"), [m for m in MASKS if m[1].kind in (TOKEN, PSEUDONYM)])
def test_a_mask_is_found_in_bytes_and_glued_to_words(text: str, expected: Recognised) -> None:
    written = "\\x" + text.encode().hex()
    assert recognise(written) == contains(written) == expected
    if "_" in text:
        assert contains(f"mailto{text}") == expected


def test_a_search_takes_linear_time() -> None:
    assert contains("psn_tok_" * 50_000) is None


@pytest.mark.parametrize("label", sorted(LABELS))
def test_each_label_has_a_mark(label: str) -> None:
    assert recognise(f"[{label}]") == Recognised(REDACTION, label)
    for length in range(1, 40):
        assert len(fitting(label, length)) <= length


ORDINARY = [
    "", "[]", "[1]", "[INFO] started", "[INFO]", "[a, b]", '["EMAIL"]', "[EMAIL]", "***", "****", "a****b",
    "tok_visa", "tok_1MqLQh2eZvKYlo2C", "tok_EMAIL_ADDRESS", "psn_1", "psn_1_abc", "psn_" + "a" * 40,
    "alice@example.com", "00000000-0000-0000-0000-000000000000", "018f4d2e-1b1a-8a00-8000-123456789abc",
    "x" * 10_000, "tok_EMAIL_ADDRESS_0_" + "a" * 40, "psn_NO_SUCH_LABEL_1_" + "a" * 23,
    "tok_NO_SUCH_LABEL_1_" + "a" * 23, "\\x", "\\xabc", "\\x" + b"ordinary".hex(), "*", "**",
]  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_values_are_no_masks(text: str) -> None:
    assert recognise(text) is None
    assert contains(text) is None


@given(st.text() | st.uuids().map(str) | st.from_regex(r"[a-z]{3}_[A-Z]{1,9}_[0-9a-f]{1,40}"))
def test_hardly_anything_is_a_mask(text: str) -> None:
    assert contains(text) is None


@given(st.from_regex(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", fullmatch=True))
def test_a_uuid_of_version_8_is_not_ours_by_its_version(text: str) -> None:
    assert recognise(text) is None


def test_labels_of_a_policy() -> None:
    assert recognise("[CASE_NUMBER]") is None
    assert recognise("[CASE_NUMBER]", {"CASE_NUMBER"}) == Recognised(REDACTION, "CASE_NUMBER")

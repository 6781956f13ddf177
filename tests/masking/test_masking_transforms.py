"""What each type of value becomes, and what PARTIAL may show."""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress
import json
import uuid
from collections import namedtuple
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.multirange import Multirange
from psycopg.types.range import Int4Range, Range

from governed_db.masking.model import Strategy, Treatment
from governed_db.masking.phrases import LABELS
from governed_db.masking.transforms import (
    DEFAULT_STRATEGIES,
    DEPENDS,
    constant,
    default_strategy,
    mask_value,
)

REDACT, PARTIAL, NULLIFY = Strategy.REDACT, Strategy.PARTIAL, Strategy.NULLIFY
T = {s: Treatment(strategy=s) for s in Strategy}
EAST = dt.timezone(dt.timedelta(hours=2))
Pair = namedtuple("Pair", "street number")


class Colour(enum.Enum):
    RED = "red"


class Mood(str, enum.Enum):  # noqa: UP042 - both bases are the point
    SAD = "sad"


class Sum(tuple[int, ...]):
    __slots__ = ()


NEUTRAL = [
    ("x", "[L]"),
    (7, 0),
    (True, False),
    (1.5, 0.0),
    (float("nan"), 0.0),
    (Decimal("1.50"), Decimal(0)),
    (dt.date(1980, 5, 5), dt.date(1970, 1, 1)),
    (dt.datetime(1980, 5, 5, 1), dt.datetime(1970, 1, 1)),
    (dt.datetime(1980, 5, 5, 1, tzinfo=EAST), dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
    (dt.time(5), dt.time(0)),
    (dt.time(5, tzinfo=EAST), dt.time(0, tzinfo=dt.UTC)),
    (dt.timedelta(5), dt.timedelta(0)),
    (uuid.UUID(int=5), uuid.UUID(int=0)),
    (b"x", b""),
    (bytearray(b"x"), b""),
    (memoryview(b"x"), b""),
    (ipaddress.ip_address("10.1.2.3"), ipaddress.ip_address("0.0.0.0")),
    (ipaddress.ip_address("2001:db8::5"), ipaddress.ip_address("::")),
    (ipaddress.ip_interface("10.1.2.3/8"), ipaddress.ip_interface("0.0.0.0")),
    (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("0.0.0.0/0")),
    (ipaddress.ip_network("2001:db8::/32"), ipaddress.ip_network("::/0")),
    (Range(1, 5), Range(empty=True)),
    (Int4Range(1, 5), Int4Range(empty=True)),
    (Multirange([Range(1, 5)]), Multirange()),
    (["x", None, ["y", 5]], ["[L]", None, ["[L]", 0]]),
    (("x", 5, None), ("[L]", 0, None)),
    (Pair("x", 5), Pair("[L]", 0)),
    ([Pair("x", None)], [Pair("[L]", None)]),
    (Colour.RED, None),
    (Mood.SAD, None),
    (Sum((1, 2)), None),
    (object(), None),
    ({"name": "x", "age": 5, "tags": ["a"], "active": True, "phone": None},
     {"name": "[L]", "age": 0, "tags": ["[L]"], "active": False, "phone": None}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"), NEUTRAL, ids=[f"{type(v).__name__}{n}" for n, (v, _) in enumerate(NEUTRAL)]
)
def test_redaction_keeps_the_type(value: Any, expected: Any) -> None:
    masked = mask_value(T[REDACT], "L")(value)
    assert masked == expected
    if masked is not None and not isinstance(value, bytearray | memoryview):
        assert type(masked) is type(value)


def test_null_stays_null() -> None:
    assert all(mask_value(T[s], "EMAIL_ADDRESS")(None) is None for s in Strategy)


def test_nullify_leaves_nothing() -> None:
    assert mask_value(T[NULLIFY], "L")(["x", {"a": 1}]) is None


def test_keys_that_may_be_data_are_numbered() -> None:
    value = {
        "first_name": 1,
        "alice": 2,
        "alice@example.com": 3,
        "phone_5551234": 4,
        "homeAddress": 5,
        "address2": 6,
    }
    assert list(mask_value(T[REDACT], "L")(value)) == [
        "first_name", "[KEY 2]", "[KEY 3]", "[KEY 4]", "homeAddress", "address2",
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return [shape(v) for v in value.values()]
    if isinstance(value, list):
        return [shape(v) for v in value]
    return type(value)


@given(JSON)
def test_documents_keep_their_shape_and_nothing_else(value: Any) -> None:
    masked = mask_value(T[REDACT], "JSON_PII")(value)
    assert shape(masked) == shape(value)
    assert mask_value(T[REDACT], "JSON_PII")(masked) == masked or "KEY" in json.dumps(masked)

    def leaves(node: Any) -> list[Any]:
        if isinstance(node, dict | list):
            return [leaf for v in (node.values() if isinstance(node, dict) else node) for leaf in leaves(v)]
        return [node]

    # Under a key that names a class the mark is of that class.
    marks = {f"[{label}]" for label in LABELS}
    assert all(leaf in marks or repr(leaf) in {"None", "False", "0", "0.0"} for leaf in leaves(masked))


@pytest.mark.parametrize(
    ("label", "value", "expected"),
    [
        ("CREDIT_CARD_NUMBER", "4111 1111 1111 1234", "****1234"),
        ("CREDIT_CARD_NUMBER", "4111", "[CREDIT_CARD_NUMBER]"),
        ("PHONE_NUMBER", "+1 (555) 010-9876", "****876"),
        ("PHONE_NUMBER", "112", "[PHONE_NUMBER]"),
        ("US_SOCIAL_SECURITY_NUMBER", "123-45-6789", "****789"),
        ("IBAN_CODE", "DE89 3704 0044 0532 0130 00", "****3000"),
        ("EMAIL_ADDRESS", "alice@example.com", "***@example.com"),
        ("EMAIL_ADDRESS", "Alice <alice@example.com>", "[EMAIL_ADDRESS]"),
        ("EMAIL_ADDRESS", "a@b@example.com", "[EMAIL_ADDRESS]"),
        ("EMAIL_ADDRESS", "alice", "[EMAIL_ADDRESS]"),
        ("EMAIL_ADDRESS", "a@x.com, b@y.com", "[EMAIL_ADDRESS]"),
        ("EMAIL_ADDRESS", "alice@example.com\n", "[EMAIL_ADDRESS]"),
        ("PERSON_NAME", "Alice Smith", "A. S."),
        ("PERSON_NAME", "Li Wu", "[PERSON_NAME]"),
        ("FIRST_NAME", "Zoë", "Z."),
        ("FIRST_NAME", "", "[FIRST_NAME]"),
        ("PASSWORD", "correct horse battery", "[PASSWORD]"),
        ("HEALTH", "measles", "[HEALTH]"),
    ],
)
def test_partial(label: str, value: str, expected: str) -> None:
    assert mask_value(T[PARTIAL], label, 25)(value) == expected


@given(st.sampled_from(LABELS), st.text(max_size=40))
def test_partial_shows_a_third_at_most_of_anything_but_a_mail_domain(label: str, value: str) -> None:
    masked = mask_value(T[PARTIAL], label, 25)(value)
    if label == "EMAIL_ADDRESS" or masked == f"[{label}]":
        return
    letters = sum(c.isalnum() for c in value if not c.isspace())
    assert sum(c.isalnum() for c in masked) * 3 <= max(letters, 1)


def test_partial_falls_back_where_a_value_is_no_plain_text() -> None:
    assert mask_value(T[PARTIAL], "PHONE_NUMBER", 20)(15550109876) == 0
    assert mask_value(T[PARTIAL], "EMAIL_ADDRESS", 90_001)('("alice@example.com",5)') == "[EMAIL_ADDRESS]"
    assert mask_value(T[PARTIAL], "EMAIL_ADDRESS")(["alice@example.com"]) == ["***@example.com"]


def test_constants_are_what_the_transform_makes_of_any_value() -> None:
    samples = {
        16: True,
        17: b"x",
        20: 5,
        25: "x",
        701: 1.5,
        1082: dt.date(2000, 1, 1),
        1083: dt.time(5),
        1114: dt.datetime(2000, 1, 1),
        1184: dt.datetime(2000, 1, 1, tzinfo=dt.UTC),
        1186: dt.timedelta(5),
        1266: dt.time(5, tzinfo=dt.UTC),
        1700: Decimal(5),
        2950: uuid.UUID(int=5),
    }
    for oid, value in samples.items():
        expected = constant(T[REDACT], "L", oid)
        assert expected is not DEPENDS
        assert mask_value(T[REDACT], "L", oid)(value) == expected
        assert constant(T[NULLIFY], "L", oid) is None
    assert constant(T[REDACT], "L", 3802) is DEPENDS
    assert constant(T[PARTIAL], "EMAIL_ADDRESS", 25) is DEPENDS
    assert constant(T[PARTIAL], "HEALTH", 25) == "[HEALTH]"


def test_default_strategies() -> None:
    assert set(DEFAULT_STRATEGIES) == set(LABELS)
    assert set(DEFAULT_STRATEGIES.values()) == {REDACT}
    assert default_strategy("OF_A_POLICY") is REDACT

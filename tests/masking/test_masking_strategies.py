"""Every strategy over every type: types hold, equal stays equal, and the value does not show."""

from __future__ import annotations

import datetime as dt
import ipaddress
import string
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from psycopg import pq

from governed_db.masking import preserving
from governed_db.masking.keys import Keyring
from governed_db.masking.model import KEYED, Strategy, Treatment
from governed_db.masking.partial import BY_LABEL
from governed_db.masking.permute import permutation
from governed_db.masking.recognise import PSEUDONYM, recognise
from governed_db.masking.transforms import mask_value
from governed_db.masking.wire import from_wire

KEYS = Keyring({1: bytes(range(32))})
OTHERS = Keyring({1: bytes(range(1, 33))})
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))
BY_VALUE = [s for s in Strategy if s not in (Strategy.REDACT, Strategy.NULLIFY)]

LETTERS = st.characters(exclude_categories=("Cs",))
TEXTS = st.text(LETTERS)
INT2, INT4, INT8 = (st.integers(-(2**n), 2**n - 1) for n in (15, 31, 63))
DATES = st.dates()
MOMENTS = st.datetimes() | st.datetimes(timezones=st.sampled_from([dt.UTC, EAST]))
NETWORKS = st.ip_addresses() | st.tuples(st.ip_addresses(), st.integers(0, 32)).map(
    lambda t: ipaddress.ip_interface(f"{t[0]}/{t[1]}")
)
NETS = NETWORKS.map(lambda v: v.network if hasattr(v, "network") else v)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    16: st.booleans(),
    17: st.binary(),
    20: INT8,
    21: INT2,
    23: INT4,
    25: TEXTS,
    701: st.floats(),
    1043: TEXTS,
    1082: DATES,
    1083: st.times(),
    1114: MOMENTS,
    1186: st.timedeltas(),
    1700: st.decimals(),
    869: NETWORKS,
    650: NETS,
    2950: st.uuids(),
}
ANY = st.sampled_from(sorted(SCALARS)).flatmap(lambda oid: st.tuples(st.just(oid), SCALARS[oid]))
NESTED = st.recursive(
    ANY.map(lambda pair: pair[1]) | st.none(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


def mask(
    strategy: Strategy | str, label: str = "EMAIL_ADDRESS", oid: int = 0, **more: Any
) -> Callable[[Any], Any]:
    keys = more.pop("keys", KEYS)
    length = more.pop("max_length", 0)
    treatment = Treatment(strategy=Strategy(strategy), **more)
    return mask_value(treatment, label, oid, keys=keys, max_length=length)


def same_kind(value: Any, masked: Any) -> bool:
    if isinstance(value, list | tuple):
        return (
            type(masked) is type(value) and len(value) == len(masked) and all(map(same_kind, value, masked))
        )
    if isinstance(value, dict):
        return isinstance(masked, dict) and all(map(same_kind, value.values(), masked.values()))
    return type(masked) is type(value)


@given(st.sampled_from(BY_VALUE), NESTED)
def test_types_and_shapes_hold(strategy: Strategy, value: Any) -> None:
    assert same_kind(value, mask(strategy)(value))


@given(st.sampled_from(BY_VALUE), st.sampled_from(["EMAIL_ADDRESS", "DATE_OF_BIRTH", "OWN"]), ANY)
def test_equal_values_have_equal_masks(strategy: Strategy, label: str, pair: tuple[int, Any]) -> None:
    oid, value = pair
    first = mask(strategy, label, oid)(value)
    assert mask(strategy, label, oid)(value) == first or first != first


@given(st.sampled_from([20, 21, 23, 25, 17, 2950, 1082, 869, 650, 1114]).flatmap(
    lambda oid: st.tuples(st.just(oid), st.lists(SCALARS[oid], min_size=2, max_size=8, unique=True))
))  # fmt: skip
def test_different_values_have_different_pseudonyms(pair: tuple[int, list[Any]]) -> None:
    oid, values = pair
    if oid == 1114:
        values = [v for v in values if 2 < v.year < 9999]  # a time zone can move the ends off the calendar
    masked = [mask("pseudonym", oid=oid)(value) for value in values]
    assert len({(type(m), m) for m in masked}) == len({(type(v), v) for v in values})


@given(INT4)
def test_int4_and_int8_join(value: int) -> None:
    masked = mask("pseudonym", oid=23)(value)
    assert masked == mask("pseudonym", oid=20)(value) == mask("pseudonym", oid=0)(value)
    assert -(2**31) <= masked < 2**31
    assert (masked < 0) == (value < 0)


@given(INT2)
def test_int2_stays_int2(value: int) -> None:
    masked = mask("pseudonym", oid=21)(value)
    assert -(2**15) <= masked < 2**15


@given(INT8)
def test_int8_stays_int8(value: int) -> None:
    masked = mask("pseudonym", oid=20)(value)
    assert -(2**63) <= masked < 2**63


@given(st.integers(0, 10**38 - 1), st.integers(1, 5))
def test_numbers_of_numeric_keep_their_digits(value: int, zeros: int) -> None:
    masked = mask("pseudonym")(Decimal(value))
    assert masked == int(masked)
    assert len(str(int(masked))) == len(str(value))
    assert mask("pseudonym")(Decimal(f"{value}.{'0' * zeros}")) == masked
    assert mask("pseudonym")(Decimal(value) + Decimal("0.5")) == 0 or value > 10**27


@pytest.mark.parametrize("size", [4, 5, 90, 1000, 2**10, 2**11])
def test_a_permutation_is_one(size: int) -> None:
    moved = [permutation(b"k" * 32, "p", size)(n) for n in range(size)]
    assert sorted(moved) == list(range(size))
    assert size < 20 or moved != sorted(moved)
    assert size < 20 or moved != [permutation(b"k" * 32, "q", size)(n) for n in range(size)]


@given(
    st.integers(33, 128).flatmap(
        lambda b: st.tuples(st.just(b), st.sets(st.integers(0, 2**b - 1), max_size=9))
    )
)
def test_wide_permutations_keep_numbers_apart(pair: tuple[int, set[int]]) -> None:
    bits, numbers = pair
    permute = permutation(b"k" * 32, "p", 2**bits)
    moved = {permute(n) for n in numbers}
    assert len(moved) == len(numbers)
    assert all(0 <= n < 2**bits for n in moved)


@given(st.text(string.ascii_letters + string.digits + "@.", min_size=4))
def test_nothing_of_a_text_is_in_what_hides_it(text: str) -> None:
    for strategy in ("redact", "pseudonym", "token", "date_shift", "bucket"):
        masked = mask(strategy, "OWN")(text)
        body = masked.removeprefix("psn_OWN_1_").removeprefix("tok_OWN_1_")
        assert text not in body


@pytest.mark.parametrize("strategy", sorted(KEYED - {Strategy.FAKE}))
def test_another_key_another_mask(strategy: Strategy) -> None:
    values = (
        [dt.date(1984, 5, day) for day in range(1, 20)] if strategy is Strategy.DATE_SHIFT else ["4711 0815"]
    )
    assert [mask(strategy)(v) for v in values] != [mask(strategy, keys=OTHERS)(v) for v in values]
    if strategy is not Strategy.DATE_SHIFT:
        assert mask(strategy, "A")("4711 0815") != mask(strategy, "B")("4711 0815")


@given(st.sampled_from([s for s in Strategy if s is not Strategy.TOKEN]), TEXTS, st.integers(1, 60),
       st.sampled_from(["EMAIL_ADDRESS", "PHONE_NUMBER", "PERSON_NAME"]))  # fmt: skip
def test_a_mask_fits_into_its_column(strategy: Strategy, text: str, length: int, label: str) -> None:
    assume(len(text) <= length)
    masked = mask(strategy, label, 1043, max_length=length)(text)
    assert masked is None or len(masked) <= length


def test_short_pseudonyms_begin_as_long_ones_do() -> None:
    whole = mask("pseudonym")("alice@example.com")
    short = mask("pseudonym", oid=1043, max_length=30)("alice@example.com")
    assert whole.split("_")[-1].startswith(short.split("_")[-1])
    assert recognise(short) is not None
    assert mask("pseudonym", oid=1043, max_length=19)("alice@example.com") == "[EMAIL_ADDRESS]"


def test_a_char_n_joins_with_a_text() -> None:
    assert mask("pseudonym", oid=1042)("ab   ") == mask("pseudonym", oid=25)("ab")
    assert mask("pseudonym", oid=25)("ab ") != mask("pseudonym", oid=25)("ab")
    assert mask("pseudonym", oid=25)("AB") != mask("pseudonym", oid=25)("ab")


@given(st.uuids())
def test_a_uuid_becomes_one_that_says_what_it_is(value: uuid.UUID) -> None:
    masked = mask("pseudonym")(value)
    assert (masked.version, masked.variant) == (8, uuid.RFC_4122)
    found = recognise(str(masked))
    assert found is not None
    assert found.kind == PSEUDONYM


@given(DATES, st.integers(1, 400))
def test_a_date_is_always_moved_and_never_far(value: dt.date, days: int) -> None:
    assume(days < value.toordinal() < dt.date.max.toordinal() - days)
    by = mask("date_shift", days=days)(value) - value
    assert 1 <= abs(by.days) <= days


@given(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)), st.sampled_from([None, dt.UTC, EAST]))
def test_a_timestamp_moves_as_its_day_does(value: dt.datetime, zone: dt.tzinfo | None) -> None:
    value = value.replace(tzinfo=zone)
    moved = mask("date_shift")(value)
    assert moved.tzinfo == value.tzinfo
    by = moved - value
    assert by == dt.timedelta(by.days)
    assert 1 <= abs(by.days) <= 30
    if zone is not None:
        assert mask("date_shift")(value.astimezone(dt.UTC)) == moved  # whatever the session's zone is
        assert mask("pseudonym")(value.astimezone(dt.UTC)) == mask("pseudonym")(value)
    else:
        assert moved.date() == mask("date_shift")(value.date())


@pytest.mark.parametrize(
    ("strategy", "option", "value", "expected"),
    [
        ("generalise", {"keep": 2}, "10115", "10***"),
        ("generalise", {"keep": 5}, "10115", "[EMAIL_ADDRESS]"),
        ("generalise", {"keep": 1}, 48231, 40000),
        ("generalise", {"keep": 1}, -48231, -40000),
        ("generalise", {"keep": 1}, 7, 0),
        ("generalise", {"keep": 2}, Decimal("48231.55"), Decimal(48000)),
        ("generalise", {"keep": 2}, Decimal("4.8"), Decimal(0)),
        ("generalise", {"keep": 1}, 481.5, 400.0),
        ("generalise", {"keep": 1}, dt.date(1984, 5, 17), dt.date(1984, 1, 1)),
        ("generalise", {"keep": 2}, dt.date(1984, 5, 17), dt.date(1984, 5, 1)),
        ("generalise", {"keep": 2}, dt.datetime(1984, 5, 17, 3), dt.datetime(1984, 5, 1)),
        ("generalise", {"keep": 2}, ipaddress.ip_address("10.1.2.3"), ipaddress.ip_address("10.1.0.0")),
        ("generalise", {"keep": 2}, ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("0.0.0.0/8")),
        ("generalise", {"keep": 1}, True, False),
        ("bucket", {"width": 10}, 37, 30),
        ("bucket", {"width": 10}, -37, -40),
        ("bucket", {"width": 5000}, Decimal("64250.99"), Decimal(60000)),
        ("bucket", {"width": 10}, 37.9, 30.0),
        ("bucket", {"width": 10}, float("nan"), 0.0),
        ("bucket", {"width": 7}, dt.date(1970, 1, 9), dt.date(1970, 1, 8)),
        ("bucket", {"width": 10}, "37", "[EMAIL_ADDRESS]"),
        ("date_shift", {}, "1984-05-17", "[EMAIL_ADDRESS]"),
        ("token", {}, 5, 0),
        ("format_preserving", {}, "12345", "[EMAIL_ADDRESS]"),
        ("format_preserving", {}, "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS} Example", "[EMAIL_ADDRESS]"),
        ("format_preserving", {}, 999_999, 0),
    ],
)  # fmt: skip
def test_what_is_left(strategy: str, option: dict[str, int], value: Any, expected: Any) -> None:
    masked = mask(strategy, **option)(value)
    assert masked == expected
    assert type(masked) is type(value)


@given(st.text(string.ascii_letters + string.digits + " -./", min_size=6, max_size=40))
def test_a_format_is_preserved(text: str) -> None:
    masked = mask("format_preserving")(text)

    def shape(value: str) -> list[str]:
        return [c if not c.isalnum() else "d" if c.isdigit() else "U" if c.isupper() else "l" for c in value]

    assert masked == "[EMAIL_ADDRESS]" or shape(masked) == shape(text)
    if sum(map(str.isdigit, text)) >= 6:
        assert shape(masked) == shape(text)


@given(st.lists(st.integers(10**6, 10**7 - 1), min_size=2, max_size=6, unique=True))
def test_formats_keep_values_apart(values: list[int]) -> None:
    masked = [mask("format_preserving", oid=23)(value) for value in values]
    assert len(set(masked)) == len(values)
    assert all(10**6 <= m < 10**7 for m in masked)
    assert mask("format_preserving", oid=23)(2**31 - 1) < 2**31


def test_fakes_look_right_and_are_consistent() -> None:
    fake = mask("fake")("alice@example.com")
    assert fake.endswith((".com", ".org", ".net"))
    assert "alice" not in fake
    assert mask("fake")("alice@example.com") == fake
    assert mask("fake", "OWN")("alice@example.com") == "[OWN]"
    born = mask("fake", "DATE_OF_BIRTH")(dt.date(1984, 5, 17))
    assert type(born) is dt.date
    assert mask("fake", "LAST_NAME", locale="de_DE")("Weber") == mask("fake", "LAST_NAME", locale="de_DE")(
        "Weber"
    )


@given(
    st.sampled_from(BY_VALUE),
    st.sampled_from([*BY_LABEL, "OWN"]),
    TEXTS
    | st.emails()
    | st.from_regex(r"[0-9 +-]{8,20}", fullmatch=True)
    | st.from_regex(r"[A-Za-z]+ [A-Za-z]+"),
    st.sampled_from([25, 1043, 1042, 19]),
    st.sampled_from([0, 8, 20, 30, 60]),
)
def test_masks_from_the_wire_are_those_of_loaded_values(
    strategy: Strategy, label: str, text: str, oid: int, length: int
) -> None:
    treatment = Treatment(strategy=strategy)
    slowly = mask_value(treatment, label, oid, keys=KEYS, max_length=length)

    def loaded(data: Any) -> Any:
        return slowly(bytes(data).decode())

    for binary in pq.Format:
        quicker = from_wire(treatment, label, oid, KEYS, length, binary=bool(binary))
        quickly = loaded if quicker is None else quicker(loaded)
        for _ in range(2):
            assert quickly(memoryview(text.encode())) == slowly(text)


@given(INT8)
def test_numbers_from_the_wire_are_those_of_loaded_values(value: int) -> None:
    treatment = Treatment(strategy=Strategy.PSEUDONYM)
    slowly = mask_value(treatment, "L", 20, keys=KEYS)
    for binary, sent in ((False, str(value).encode()), (True, value.to_bytes(8, "big", signed=True))):
        quicker = from_wire(treatment, "L", 20, KEYS, 0, binary=binary)
        assert quicker is not None
        assert quicker(lambda _: slowly(value))(memoryview(sent)) == slowly(value)


def test_the_cipher_of_formats_is_ff1() -> None:
    # Sample 1 of NIST's FF1 examples (AES-128, radix 10, no tweak): the library is the standard's.
    ffx = pytest.importorskip("ffx")
    key = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
    assert ffx.FF1(key, radix=10).encrypt("0123456789") == "2433477484"
    assert preserving.LEAST == 1_000_000

"""What values say: each class is found, what only looks like one stays plain, and no text makes it fail."""

from __future__ import annotations

import random
import string
import uuid
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha1, sha256, sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from governed_db.masking import contacts, credentials, detect, documents, national
from governed_db.masking.detect import Context, judge

PEOPLE = Context(name="c7", personal=True)
COUNT = 60


def several(make: Callable[[random.Random], str], count: int = COUNT) -> list[str]:
    generator = random.Random(4)
    return [make(generator) for _ in range(count)]


def label(values: Sequence[str], context: Context = detect.UNTOLD) -> str | None:
    verdict = judge(values, context)
    return None if verdict is None else verdict.label


def digits(r: random.Random, count: int) -> str:
    return "".join(r.choices(string.digits, k=count))


def letters(r: random.Random, count: int) -> str:
    return "".join(r.choices(string.ascii_letters, k=count))


def card(r: random.Random) -> str:
    number = r.choice(("4", "51", "2221", "6011")).ljust(15, "x").replace("x", "")
    number += digits(r, 15 - len(number))
    return number + luhn.calc_check_digit(number)


def iban(r: random.Random) -> str:
    account = digits(r, 18)
    return f"DE{mod_97_10.calc_check_digits(account + 'DE')}{account}"


def grouped(number: str) -> str:
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4))


def pesel(r: random.Random) -> str:
    front = f"{r.randrange(50, 99):02}{r.randrange(1, 13):02}{r.randrange(1, 29):02}{digits(r, 4)}"
    check = -sum(w * int(n) for w, n in zip((1, 3, 7, 9, 1, 3, 7, 9, 1, 3), front, strict=True)) % 10
    return f"{front}{check}"


def bsn(r: random.Random) -> str:
    while True:
        front = digits(r, 8)
        check = sum(w * int(n) for w, n in zip(range(9, 1, -1), front, strict=True)) % 11
        if check < 10 and front[0] != "0":
            return f"{front}{check}"


def cpf(r: random.Random) -> str:
    number = digits(r, 9)
    for _ in range(2):
        total = sum(w * int(n) for w, n in zip(range(len(number) + 1, 1, -1), number, strict=True))
        number += str((11 - total % 11) % 11 % 10)
    return f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"


FOUND = {
    "EMAIL_ADDRESS": lambda r: f"{r.choice(['ann', 'bo.lee', 'c+x'])}{r.randrange(99)}@mail.example",
    "PHONE_NUMBER": lambda r: f"+49 30 {digits(r, 7)}",
    "PHONE_NUMBER us": lambda r: f"(415) 555-{digits(r, 4)}",
    "PHONE_NUMBER fr": lambda r: f"06 {digits(r, 2)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}",
    "CREDIT_CARD_NUMBER": card,
    "CREDIT_CARD_NUMBER grouped": lambda r: grouped(card(r)),
    "IBAN_CODE": iban,
    "IBAN_CODE grouped": lambda r: grouped(iban(r)),
    "NATIONAL_ID pesel": pesel,
    "NATIONAL_ID bsn": bsn,
    "NATIONAL_ID cpf": cpf,
    "US_SOCIAL_SECURITY_NUMBER": lambda r: f"{r.randrange(101, 599)}-{r.randrange(10, 99)}-{digits(r, 4)}",
    "IP_ADDRESS": lambda r: ".".join(str(r.randrange(1, 255)) for _ in range(4)),
    "IP_ADDRESS v6": lambda r: "2001:db8::" + ":".join(f"{r.randrange(1, 65535):x}" for _ in range(4)),
    "MAC_ADDRESS": lambda r: ":".join(f"{r.randrange(256):02x}" for _ in range(6)),
    "AUTH_TOKEN": lambda r: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0." + letters(r, 43),
    "API_KEY": lambda r: "AKIA" + "".join(r.choices(string.ascii_uppercase + string.digits, k=16)),
    "API_KEY github": lambda r: "ghp_" + "".join(r.choices(string.ascii_letters, k=36)),
    "API_KEY stripe": lambda r: "sk_" + "live_" + "".join(r.choices(string.ascii_letters, k=24)),
    "API_KEY slack": lambda r: "xo" + "xb-" + digits(r, 12) + "-" + letters(r, 24),
    "API_KEY google": lambda r: "AI" + "za" + "".join(r.choices(string.ascii_letters + "-_", k=35)),
    "SECRET": lambda r: "".join(r.choices(string.ascii_letters + string.digits, k=43)) + "aA1",
    "SECRET login": lambda r: f"postgres://app:{digits(r, 8)}@db.internal/shop",
    "PASSWORD": lambda r: "$2b$12$" + "".join(r.choices(string.ascii_letters, k=53)),
    "PASSWORD argon": lambda r: "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$" + digits(r, 20),
    "PASSWORD django": lambda r: f"pbkdf2_sha256$600000${digits(r, 12)}${digits(r, 20)}=",
    "PASSWORD crypt": lambda r: f"$6$rounds=5000${digits(r, 8)}${digits(r, 40)}",
    "ENCRYPTION_KEY": lambda r: f"-----BEGIN RSA PRIVATE KEY-----\n{digits(r, 40)}\n-----END",
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_each_class_is_found_without_a_name(name: str) -> None:
    assert label(several(FOUND[name])) == name.split(maxsplit=1)[0]


IN_CONTEXT = {
    "LOCATION_COORDINATES": lambda r: f"{r.uniform(-80, 80):.5f}, {r.uniform(-170, 170):.5f}",
    "STREET_ADDRESS": lambda r: f"{r.randrange(1, 9999)} {r.choice(['Oak', 'Elm', 'Old Mill'])} Street",
    "STREET_ADDRESS de": lambda r: f"{r.choice(['Haupt', 'Garten', 'Berg'])}straße {r.randrange(1, 200)}",
    "STREET_ADDRESS fr": lambda r: f"{r.randrange(1, 99)}, rue {r.choice(['de la Paix', 'Hugo', 'Foch'])}",
    "DATE_OF_BIRTH": lambda r: f"{r.randrange(1940, 2008)}-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}",
}


@pytest.mark.parametrize("name", IN_CONTEXT)
def test_what_things_have_as_well_counts_beside_people_alone(name: str) -> None:
    values = several(IN_CONTEXT[name])
    assert label(values, PEOPLE) == name.split(maxsplit=1)[0]
    assert label(values) is None


PLAIN = {
    "order numbers": lambda r: f"ORD-{r.randrange(10**8)}",
    "numbers of orders": lambda r: str(4000_0000_0000_0000 + r.randrange(10**6)),
    "sixteen digits": lambda r: str(r.randrange(10**15, 10**16)),
    "eleven digits": lambda r: str(r.randrange(10**10, 10**11)),
    "ten digits": lambda r: str(r.randrange(10**9, 10**10)),
    "nine digits": lambda r: str(r.randrange(10**8, 10**9)),
    "seconds": lambda r: str(1_700_000_000 + r.randrange(10**7)),
    "milliseconds": lambda r: str(1_700_000_000_000 + r.randrange(10**10)),
    "times": lambda r: f"2024-0{r.randrange(1, 9)}-1{r.randrange(9)} 12:{r.randrange(10, 59)}:00+00",
    "uuids": lambda r: str(uuid.UUID(int=r.getrandbits(128))),
    "uuids without hyphens": lambda r: uuid.UUID(int=r.getrandbits(128)).hex,
    "sha-1": lambda r: sha1(digits(r, 9).encode(), usedforsecurity=False).hexdigest(),
    "sha-256": lambda r: sha256(digits(r, 9).encode()).hexdigest(),
    "sha-512": lambda r: sha512(digits(r, 9).encode()).hexdigest(),
    "subresource": lambda r: "sha256-" + b64encode(sha256(digits(r, 9).encode()).digest()).decode(),
    "EAN-13": lambda r: (
        (n := "400" + digits(r, 9)) + str(-sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(n)) % 10)
    ),
    "versions": lambda r: ".".join(str(r.randrange(20)) for _ in range(3)),
    "versions of four": lambda r: ".".join(str(r.randrange(20)) for _ in range(4)),
    "prices": lambda r: f"{r.uniform(1, 9999):.2f}",
    "words": lambda r: " ".join(r.choices(["blue", "lamp", "table", "oak", "large"], k=6)),
    "names": lambda r: f"{r.choice(['Ann', 'Bob'])} {r.choice(['Lee', 'Ray'])}",
    "addresses of pages": lambda r: f"https://shop.example/products/{r.randrange(10**6)}?page=2",
    "repositories": lambda r: f"git@github.com:acme/repo{r.randrange(99)}.git",
    "pictures": lambda r: f"icon{r.randrange(99)}@2x.png",
    "packages": lambda r: f"left-pad@{r.randrange(9)}.{r.randrange(9)}.1",
    "paths": lambda r: f"/var/lib/app/{r.randrange(10**6)}/data.bin",
    "identifiers": lambda r: f"customer_account_setting_value_{r.randrange(10**4)}",
    "country codes": lambda r: r.choice(["DE", "FR", "US"]),
    "tracking": lambda r: f"1Z999AA1{digits(r, 10)}",
    "invoices": lambda r: f"2024-{digits(r, 6)}",
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("context", [detect.UNTOLD, PEOPLE], ids=["alone", "beside people"])
def test_what_only_looks_like_one_stays_plain(name: str, context: Context) -> None:
    assert label(several(PLAIN[name], 200), context) is None


@pytest.mark.parametrize("name", ["sixteen digits", "eleven digits", "ten digits", "nine digits", "seconds"])
def test_numbers_stay_plain(name: str) -> None:
    for seed in range(10):
        r = random.Random(seed)
        values = [PLAIN[name](r) for _ in range(200)]
        assert label(values, Context(number=True)) is None


@pytest.mark.parametrize("called", ["ean", "order_number", "siren", "build_version", "file_hash", "sku"])
def test_a_name_of_things_overrules_a_check_digit(called: str) -> None:
    assert label(several(card), Context(name=called)) is None
    assert label(several(bsn), Context(name=called)) is None
    assert label(several(FOUND["SECRET"]), Context(name=called)) is None


def test_some_cards_are_enough_where_nothing_fails_their_check() -> None:
    words = several(PLAIN["words"], 300)
    cards = several(card, 12)
    assert label([*words, *cards]) == "CREDIT_CARD_NUMBER"
    orders = several(lambda r: f"4{digits(r, 15)}", 120)
    assert label([*words, *orders]) is None


@pytest.mark.parametrize(
    "street",
    [
        "141 Hodges Mountains", "344 Mathis Parkways Suite 907", "Flat 17\nJanet Meadows", "al. Leśna 74/39",
        "Callejón Desiderio Valbuena 77", "Lucasboulevard 7", "Storgränd 915", "Canale Micheletti, 30",
    ],
)  # fmt: skip
def test_streets_have_many_names(street: str) -> None:
    assert label([f"{street} {n}" for n in range(30)], PEOPLE) == "STREET_ADDRESS"


def test_names_of_attributes_are_used_again() -> None:
    keys = ["color", "email", "size"] * 5
    titles = [f"about {n}" for n in range(15)] + ["email"]
    assert documents.of_attributes("value", titles)
    assert documents.of_attributes("body", keys)
    assert not documents.of_attributes("body", titles)
    assert not documents.of_attributes("content_type", keys)
    events = ["login", "export"] * 5
    assert not documents.of_attributes("payload", events, ['{"source": "web"}', "{}"] * 5)
    assert documents.of_attributes("payload", events, ['"anna"'] * 10)
    assert documents.of_attributes("value", events, ['{"source": "web"}'] * 10)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.002, None), (0.01, "EMAIL_ADDRESS"), (1.0, "EMAIL_ADDRESS")]
)
def test_one_in_two_hundred_is_enough_for_what_is_unmistakable(share: float, expected: str | None) -> None:
    mails = several(FOUND["EMAIL_ADDRESS"], 400)
    words = several(PLAIN["words"], 400)
    mixed = [m if i < share * 400 else w for i, (m, w) in enumerate(zip(mails, words, strict=True))]
    assert label(mixed) == expected


def test_one_private_key_or_password_is_enough() -> None:
    for name in ("ENCRYPTION_KEY", "PASSWORD", "API_KEY"):
        assert label([*several(PLAIN["words"], 199), FOUND[name](random.Random(1))]) == name


def test_one_check_digit_says_nothing() -> None:
    assert label([bsn(random.Random(1))]) is None
    assert label([bsn(random.Random(1))] * 50) is None
    assert label(several(bsn, 5)) == "NATIONAL_ID"


@pytest.mark.parametrize(
    "text",
    [
        "please write to ann@mail.example when it is done",
        "the patient can be reached under +49 30 1234567 after six",
        "call me back at (415) 555-0132, thanks",
        "she paid with 4111 1111 1111 1111 and wants it back",
        "transfer it to DE89 3704 0044 0532 0130 00 by Friday please",
        "her number is 219-09-9998 according to the file we have",
    ],
)
def test_free_text_is_searched(text: str) -> None:
    assert label([text, *several(PLAIN["words"], 9)]) == "FREE_TEXT"


def test_verdicts_say_counts_and_never_values() -> None:
    for make in FOUND.values():
        values = several(make)
        verdict = judge(values)
        assert verdict is not None
        assert not any(value in repr(verdict) for value in values)
        assert "60 sampled values" in verdict.evidence


# -- properties

CHECKS: list[Callable[[str], object]] = [
    *(d.recognises for d in detect.DETECTORS), contacts.has_email, contacts.has_phone, contacts.regions,
    contacts.is_ip, credentials.opaque, lambda t: list(documents.leaves(t)),
    lambda t: list(documents.keys(t)),
    lambda t: [national.passes(s, t) for s in national.SCHEMES],
]  # fmt: skip


@given(st.text(max_size=200))
def test_no_text_makes_a_check_fail(text: str) -> None:
    for check in CHECKS:
        check(text)


MARKS = '0123456789 +-()./@:xX{}[]"\\<>=ABab$,\n\x00é'


@given(st.lists(st.text(alphabet=MARKS, max_size=80), max_size=6))
def test_no_values_make_a_verdict_fail(values: list[str]) -> None:
    for context in (detect.UNTOLD, PEOPLE, Context(number=True)):
        judge(values, context)
        documents.judge(values, context)


@given(st.text(alphabet="0123456789", min_size=15, max_size=15))
def test_a_changed_digit_is_no_card(front: str) -> None:
    number = "4" + front[1:]
    number += luhn.calc_check_digit(number)
    changed = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not detect.is_card(changed)
    assert detect.is_card(number) == (len(set(number)) > 1)


@given(st.text(alphabet=string.digits, min_size=18, max_size=18), st.integers(1, 96))
def test_an_iban_has_its_remainder(account: str, off: int) -> None:
    check = int(mod_97_10.calc_check_digits(account + "DE"))
    assert detect.is_iban(f"DE{check:02}{account}")
    wrong = (check - 2 + off) % 97 + 2
    assert not detect.is_iban(f"DE{wrong:02}{account}")


@given(st.integers(0, 2**128 - 1))
def test_a_uuid_is_nothing(number: int) -> None:
    for text in (str(uuid.UUID(int=number)), uuid.UUID(int=number).hex):
        assert not any(d.recognises(text) for d in detect.DETECTORS if d.label != "NATIONAL_ID")


@pytest.mark.parametrize(
    "text",
    ["1" * 1000, "1 " * 500, "a" * 1000, "a." * 500, "a@" * 500, "(1" * 400, "0 " * 500, "rue " * 250,
     "aB1" * 300, '{"a":' * 200, '"' * 1000, "\\" * 1000, "<a" * 500, "//:@" * 250, "eyJ" * 300],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    judge([text] * 3 + [f"{text}{n}" for n in range(20)], PEOPLE)
    documents.judge([text], PEOPLE)

"""What sampled values say of a column: pure functions over text, no I/O, no value in any answer.

Each detector recognises one class in a whole value. A column is of that class where two things hold:

* the share of its non-NULL sampled values that are recognised is at least ``share``. What is unmistakable
  (a private key, a bcrypt hash) needs a single one, because masking a column for it costs little and showing
  it costs all. What has a grammar of its own (a mail address) needs :data:`SOME`. What other values
  also look like needs :data:`MOST`;
* so many distinct values are recognised that it cannot be an accident: with ``chance`` for how often a value
  of another class, of the same shape, is recognised too, ``chance ** distinct`` is at most :data:`ACCIDENT`.

Long texts are searched for what stands inside of them. Orders, times as numbers, UUIDs, digests of files,
EANs and versions have no class: the shapes here leave them out, or their share does.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final

from attrs import frozen

from governed_db.masking import contacts, credentials, national
from governed_db.masking.names import tokens, words
from governed_db.masking.national import Scheme, library

ANY: Final = 0.0
"""One is enough."""
SOME: Final = 0.02
"""One in fifty: the rest of a column where one row in fifty shows somebody's telephone is not harmless."""
FEW: Final = 0.005
"""One in two hundred, which a sample has: a mail address is somebody's wherever it stands, and nothing else
looks like one. A column of which one row in a hundred shows one is found with a probability of .87."""
MOST: Final = 0.8
"""Four in five: columns typed by people hold a fifth of blanks, remarks and mistakes at the most."""

ACCIDENT: Final = 1e-3
"""The probability of recognising a class by accident that is accepted, for each class and column."""

FREE_TEXT_SHARE: Final = SOME

MAX_VALUE: Final = 1000
"""Characters of a value that are looked at."""


@frozen(kw_only=True)
class Context:
    """What is known of a column besides its values.

    Attributes:
        name: the column's own.
        personal: whether other columns of its table are somebody's, so that weaker evidence counts.
        number: whether its type is a number.
    """

    name: str = ""
    personal: bool = False
    number: bool = False


UNTOLD: Final = Context()


@frozen(kw_only=True)
class Verdict:
    """What the values of one column say.

    Attributes:
        label: the class.
        confidence: from 0 to 1; an order, not a measured probability.
        evidence: in words: counts and shares, never a value.
    """

    label: str
    confidence: float
    evidence: str


@frozen(kw_only=True)
class Detector:
    """How one class is recognised in a whole value; ``needs`` says what the context must grant.

    ``among``: what looks like the class. Where :data:`MOST` of that is of the class, ``share`` can be small:
    a tenth of a column are cards, and next to nothing in it fails their check digit.
    """

    label: str
    what: str
    recognises: Callable[[str], bool]
    share: float = MOST
    chance: float = 0.0
    needs: Callable[[Context], bool] | None = None
    among: Callable[[str], bool] | None = None

    @property
    def distinct(self) -> int:
        """How many distinct values have to be recognised."""
        return enough(self.chance)


def enough(chance: float) -> int:
    """Return how many distinct values of a shape must pass a check that others pass by ``chance``."""
    return 1 if chance <= ACCIDENT else math.ceil(math.log(ACCIDENT) / math.log(chance))


# -- what a name says against the values

_COUNTED: Final = frozenset(
    words(
        "ean gtin upc isbn issn sku asin barcode siren siret vat duns lei isin cusip sedol figi"
        " article product order invoice version release build revision commit checksum hash digest"
        " sha sha1 sha256 md5 etag crc fingerprint serial batch lot tracking shipment epoch"
        " timestamp millis sequence seq offset bytes size"
    )
)
"""Things that are numbered, and digests: numbers called so are theirs, whatever check digit they pass."""

_OPAQUE_NAME: Final = frozenset(
    words(
        "col column field attr attribute attrib value val data info c f x d t v text txt string str"
        " date custom extra misc other param prop property key item detail udf user defined char"
        " varchar num n a b slot misc content raw free"
    )
)
"""Words that say nothing: of a column called so, its values are the only account."""

_PAPERS: Final = frozenset(words("document doc identity travel paper papers identification credential"))


def says_nothing(name: str) -> bool:
    """Return whether ``name`` says nothing of what the column holds."""
    return all(part.isdigit() or len(part) == 1 or part in _OPAQUE_NAME for part in tokens(name))


def _uncounted(context: Context) -> bool:
    return _COUNTED.isdisjoint(tokens(context.name))


def _personal(context: Context) -> bool:
    return context.personal and _uncounted(context)


def _unsaid(context: Context) -> bool:
    return context.personal and says_nothing(context.name)


def _on_paper(context: Context) -> bool:
    return context.personal and not _PAPERS.isdisjoint(tokens(context.name))


# -- classes

_GROUPS: Final = re.compile(r"\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,7}|\d{13,19}|\d{4}([ -])\d{6}\2\d{4,5}")
_ISSUERS: Final = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11,16}|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|35(?:2[89]|[3-8]\d)\d{12,15}"
    r"|62\d{14,17}|(?:50|5[6-9]|6\d)\d{10,17}"
)
"""Issuer identification numbers and lengths of ISO/IEC 7812: Visa, Mastercard, American Express, Diners Club,
Discover, JCB, UnionPay, Maestro."""


def is_card(text: str) -> bool:
    """Return whether ``text`` is a payment card's number: its grouping, issuer, length and Luhn digit."""
    if _GROUPS.fullmatch(text) is None:
        return False
    digits = text.replace(" ", "").replace("-", "")
    return (
        _ISSUERS.fullmatch(digits) is not None
        and len(set(digits)) > 1
        and bool(library("luhn").is_valid(digits))
    )


def is_issued(text: str) -> bool:
    """Return whether ``text`` has the digits of a payment card's number, whatever its check digit."""
    return (
        _GROUPS.fullmatch(text) is not None
        and _ISSUERS.fullmatch(text.replace(" ", "").replace("-", "")) is not None
    )


def is_iban(text: str) -> bool:
    """Return whether ``text`` is an IBAN of ISO 13616: its country's length and structure, and mod 97."""
    # The national checks behind it are left out: banks of some countries do not keep them.
    return (
        text[:2].isalpha() and len(text) >= 15 and bool(library("iban").is_valid(text, check_country=False))
    )


def is_imei(text: str) -> bool:
    """Return whether ``text`` is the number of a mobile device (3GPP TS 23.003), with its Luhn digit."""
    return re.fullmatch(r"(?:01|35|86|99|45|49)\d{13}", text) is not None and bool(
        library("imei").is_valid(text)
    )


def is_vin(text: str) -> bool:
    """Return whether ``text`` is a vehicle's number with the check digit of 49 CFR 565.15."""
    if re.fullmatch(r"[A-HJ-NPR-Z0-9]{11}\d{6}|[A-HJ-NPR-Z0-9]{13}\d{4}", text) is None or text.isdigit():
        return False
    total = sum(_VIN_VALUE[c] * w for c, w in zip(text, _VIN_WEIGHTS, strict=True)) % 11
    return text[8] == ("X" if total == 10 else str(total))


_VIN_VALUE: Final = {str(n): n for n in range(10)} | dict(
    zip("ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "12345678123457923456789"), strict=True)
)
_VIN_WEIGHTS: Final = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)

_DATE: Final = re.compile(r"((?:19|20)\d\d)-(\d\d)-(\d\d)(?:[ T]00:00:00)?")
ADULT_YEARS: Final = 14
"""Nearly everybody in a database of customers, employees or patients who signed up is older than that."""


GENERATION: Final = 15
"""Years that dates of birth spread over at least; what a company dates lies closer together."""


def _born(text: str) -> bool:
    found = _DATE.fullmatch(text)
    return found is not None and int(found[1]) <= dt.datetime.now(dt.UTC).year - ADULT_YEARS


DETECTORS: Final = (
    Detector(
        label="ENCRYPTION_KEY", what="private keys", recognises=credentials.has_private_key, share=ANY
    ),
    Detector(
        label="PASSWORD", what="hashes of passwords", recognises=credentials.is_password_hash, share=ANY
    ),
    Detector(label="API_KEY", what="keys of known services", recognises=credentials.has_api_key, share=ANY),
    Detector(label="AUTH_TOKEN", what="JSON Web Tokens", recognises=credentials.is_jwt, share=ANY),
    Detector(label="SECRET", what="addresses with a password", recognises=credentials.has_login, share=ANY),
    Detector(label="EMAIL_ADDRESS", what="mail addresses", recognises=contacts.is_email, share=FEW),
    Detector(label="IBAN_CODE", what="IBANs", recognises=is_iban, share=SOME, chance=1 / 97),
    Detector(
        label="CREDIT_CARD_NUMBER", what="payment card numbers", recognises=is_card,
        share=0.3, chance=0.1 * 0.3, needs=_uncounted,
    ),
    Detector(
        label="CREDIT_CARD_NUMBER", what="payment card numbers", recognises=is_card, share=SOME, chance=0.1,
        needs=_uncounted, among=is_issued,
    ),
    Detector(
        label="IMEI_HARDWARE_ID", what="IMEIs", recognises=is_imei, chance=0.1 * 0.06, needs=_uncounted
    ),
    Detector(
        label="VEHICLE_IDENTIFICATION_NUMBER", what="vehicle identification numbers", recognises=is_vin,
        chance=1 / 11,
    ),
    Detector(
        label="NATIONAL_ID", what="British National Insurance numbers",
        recognises=lambda v: national.NINO.fullmatch(v) is not None, chance=1 / 10,
    ),
    Detector(
        label="MAC_ADDRESS", what="MAC addresses",
        recognises=lambda v: contacts.MAC.fullmatch(v) is not None, share=0.5,
    ),
    Detector(
        label="PHONE_NUMBER", what="telephone numbers", recognises=contacts.is_international, share=0.3,
        chance=0.02, needs=_uncounted,
    ),
    Detector(
        label="LOCATION_COORDINATES", what="coordinates", needs=_personal,
        recognises=lambda v: contacts.COORDINATES.fullmatch(v) is not None, chance=0.1,
    ),
    Detector(
        label="STREET_ADDRESS", what="street addresses", needs=_personal, share=0.6, chance=0.05,
        recognises=lambda v: len(v) <= 200 and contacts.STREET.fullmatch(v) is not None,
    ),
    Detector(
        label="PASSPORT", what="numbers of the form of a passport's", needs=_on_paper, chance=0.1,
        recognises=lambda v: re.fullmatch(r"[A-Z]{1,2}\d{6,8}|\d{9}|\d{2}[A-Z]{2}\d{5}", v) is not None,
    ),
    Detector(
        label="SECRET", what="random tokens", recognises=credentials.opaque, chance=0.3, needs=_uncounted
    ),
)  # fmt: skip
"""Strongest first: the first whose conditions hold gives the label."""

_NUMERIC: Final = frozenset({"CREDIT_CARD_NUMBER", "IMEI_HARDWARE_ID"})

_CARD_INSIDE: Final = re.compile(r"(?<![\w.-])\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,7}(?![\w-])")
_IBAN_INSIDE: Final = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?(?!\w)")
_SSN_INSIDE: Final = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_SSN: Final = next(s for s in national.SCHEMES if s.module == "us.ssn")


def _has_card(text: str) -> bool:
    return any(is_card(found[0]) for found in _CARD_INSIDE.finditer(text))


def _has_iban(text: str) -> bool:
    return any(is_iban(found[0]) for found in _IBAN_INSIDE.finditer(text))


def _has_ssn(text: str) -> bool:
    return any(national.passes(_SSN, found[0]) for found in _SSN_INSIDE.finditer(text))


_INSIDE: Final = (
    ("mail addresses", "EMAIL_ADDRESS", contacts.has_email),  # first: no number of a thing is one
    ("telephone numbers", "PHONE_NUMBER", contacts.has_phone),
    ("payment card numbers", "CREDIT_CARD_NUMBER", _has_card),
    ("IBANs", "IBAN_CODE", _has_iban),
    ("social security numbers", "US_SOCIAL_SECURITY_NUMBER", _has_ssn),
)


def judge(values: Sequence[str], context: Context = UNTOLD) -> Verdict | None:
    """Return what ``values`` of one column are, or ``None`` where they are nothing that is known here.

    Args:
        values: non-NULL values as text; blank ones do not count.
        context: what is known of the column besides.
    """
    texts = [text for value in values if (text := value[:MAX_VALUE].strip())]
    if not texts:
        return None
    sample = _Sample(texts)
    for detector in DETECTORS:
        if context.number and detector.label not in _NUMERIC:
            continue
        if detector.needs is not None and not detector.needs(context):
            continue
        if (verdict := sample.hold(detector)) is not None:
            return verdict
    if _uncounted(context) and (verdict := _national(sample, context)) is not None:
        return verdict
    if not context.number and _uncounted(context) and (verdict := _telephones(sample)) is not None:
        return verdict
    if not context.number and (verdict := _addresses_of_machines(sample, context)) is not None:
        return verdict
    if _unsaid(context) and (verdict := _births(sample)) is not None:
        return verdict
    return None if context.number else _inside(sample, context)


class _Sample:
    """The values of one column, counted."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.counts = Counter(texts)
        self.total = len(texts)

    def share(self, hits: Sequence[str]) -> float:
        return sum(self.counts[hit] for hit in hits) / self.total

    def hold(self, detector: Detector) -> Verdict | None:
        hits = [text for text in self.counts if detector.recognises(text)]
        if len(hits) < detector.distinct or self.share(hits) < detector.share:
            return None
        if detector.among is not None:
            alike = [text for text in self.counts if detector.among(text)]
            if self.share(hits) < MOST * self.share(alike) or len(hits) < MOST * len(alike):
                return None
        return self.verdict(detector.label, detector.what, hits)

    def verdict(self, label: str, what: str, hits: Sequence[str], *, inside: bool = False) -> Verdict:
        share, found = self.share(hits), sum(self.counts[hit] for hit in hits)
        verb = "hold" if inside else "are"
        # One value says less than twenty do; nothing that values say is as sure as a comment.
        confidence = round(0.6 + 0.3 * share * (1 - 0.5 ** len(hits)), 2)
        evidence = f"{found} of {self.total} sampled values ({share:.0%}) {verb} {what}"
        return Verdict(label=label, confidence=confidence, evidence=evidence)


def _national(sample: _Sample, context: Context) -> Verdict | None:
    found: list[tuple[int, float, Scheme, list[str]]] = []
    for scheme in national.possible(sample.counts):
        hits = [text for text in sample.counts if national.passes(scheme, text)]
        share = sample.share(hits)
        if len(hits) >= enough(scheme.chance) and share >= MOST:
            found.append((-len(hits), scheme.chance, scheme, hits))
    if not found:
        return None
    _, _, scheme, hits = min(found, key=lambda each: each[:2])
    if context.number and scheme.chance > ACCIDENT * 10 and not context.personal and len(hits) < _SURE:
        return None  # among numbers of any kind, a lone check digit needs more than accident allows
    return sample.verdict(scheme.label, f"personal numbers ({scheme.module.partition('.')[0]})", hits)


_SURE: Final = 8


def _telephones(sample: _Sample) -> Verdict | None:
    shaped = [text for text in sample.counts if contacts.is_grouped(text) or contacts.is_international(text)]
    if sample.share(shaped) < PHONES or len(shaped) < enough(0.05):
        return None
    tried = shaped[:TRIED]
    regions = Counter(chain.from_iterable(contacts.regions(text) or ("",) for text in tried))
    foreign = sum(map(contacts.is_international, tried))
    regions.pop("", None)
    best = max(regions.values(), default=0) + foreign
    if best < max(PHONES * len(tried), enough(0.05)):
        return None
    return sample.verdict("PHONE_NUMBER", "telephone numbers", shaped)


TRIED: Final = 40
"""Values that are read as telephone numbers of each country: half a millisecond each."""

PHONES: Final = 0.6
"""Share of values grouped like telephone numbers, and of these, of numbers valid in one country: other groups
of digits are valid in a country in a third of cases or less."""


def _addresses_of_machines(sample: _Sample, context: Context) -> Verdict | None:
    if not _uncounted(context):
        return None
    hits = [text for text in sample.counts if contacts.is_ip(text)]
    if not hits or sample.share(hits) < MOST:
        return None
    if sum(map(contacts.not_a_version, hits)) * 2 < len(hits):
        return None
    return sample.verdict("IP_ADDRESS", "IP addresses", hits)


def _births(sample: _Sample) -> Verdict | None:
    hits = [text for text in sample.counts if _born(text)]
    if sample.share(hits) < MOST or len(hits) < 5:
        return None
    years = [int(text[:4]) for text in hits]
    if max(years) - min(years) < GENERATION:
        return None
    return sample.verdict("DATE_OF_BIRTH", "dates of a generation ago, in a table about people", hits)


_WORD: Final = re.compile(r"[^\W\d_]{2,}")


def _inside(sample: _Sample, context: Context) -> Verdict | None:
    by_what: dict[str, list[str]] = {}
    labels: dict[str, str] = {}
    for text in sample.counts:
        if _WORD.search(text) is None:
            continue  # numbers alone are no text: they were judged as what they are
        for what, label, has in _INSIDE if _uncounted(context) else _INSIDE[:1]:
            if has(text):
                by_what.setdefault(what, []).append(text)
                labels[what] = label
    hits = list(dict.fromkeys(chain.from_iterable(by_what.values())))
    mails = by_what.get("mail addresses", ())
    if not hits or (sample.share(hits) < FREE_TEXT_SHARE and sample.share(mails) < FEW):
        return None
    prose = sum(len(_WORD.findall(contacts.EMAIL.sub(" ", text))) > 3 for text in hits)
    label = "FREE_TEXT" if prose * 2 >= len(hits) else labels[max(by_what, key=lambda w: len(by_what[w]))]
    return sample.verdict(label, " or ".join(sorted(by_what)), hits, inside=True)


def labels() -> Iterator[str]:
    """Yield every label that values can give."""
    yield from dict.fromkeys(
        (*(d.label for d in DETECTORS), *(s.label for s in national.SCHEMES), "IP_ADDRESS", "DATE_OF_BIRTH",
         "FREE_TEXT", "JSON_PII"),
    )  # fmt: skip

"""FAKE: values that look right and are invented, the same for equal ones (Faker; the extra ``fake``).

Faker is seeded with the keyed hash of the value, so that two processes with the same key, the same version
of Faker and the same locale invent the same. Different values can become the same fake. Fakes do not
identify themselves. Mail addresses are of the domains that RFC 2606 reserves; a phone number or an address
may be somebody's by chance.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from governed_db.errors import PolicyError
from governed_db.masking.keys import Keyring
from governed_db.masking.model import Treatment
from governed_db.masking.neutral import neutral
from governed_db.masking.recognise import fitting
from governed_db.masking.shapes import Leaf

if TYPE_CHECKING:
    from faker import Faker

PURPOSE: Final = "fake"

MAKERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "EMAIL_ADDRESS": "safe_email",
        "PERSON_NAME": "name",
        "FIRST_NAME": "first_name",
        "LAST_NAME": "last_name",
        "PHONE_NUMBER": "phone_number",
        "STREET_ADDRESS": "street_address",
        "POSTAL_CODE": "postcode",
        "CREDIT_CARD_NUMBER": "credit_card_number",
        "IBAN_CODE": "iban",
        "BANK_ACCOUNT_NUMBER": "bban",
        "IP_ADDRESS": "ipv4_private",
        "MAC_ADDRESS": "mac_address",
        "USERNAME": "user_name",
        "DATE_OF_BIRTH": "date_of_birth",
    }
)
"""The method of Faker for each class that it has one for; all others are redacted."""

_held = threading.local()


def check(treatment: Treatment) -> None:
    """Refuse a locale that is not there.

    Raises:
        PolicyError: Faker is not installed, or does not know the locale.
    """
    try:
        _faker(treatment.locale)
    except ImportError:
        raise PolicyError(
            "the strategy 'fake' needs Faker, which is not installed",
            rule="masking.fake",
            remedy="pip install 'governed-db[fake]'",
        ) from None
    except (AttributeError, ValueError):
        raise PolicyError(
            f"Faker does not know the locale '{treatment.locale}'",
            rule="masking.fake",
            remedy="name one of Faker's locales, such as en_US or de_DE",
        ) from None


def leaf(keys: Keyring, treatment: Treatment, label: str, max_length: int = 0) -> Leaf:
    """Return the function from a text, or the date of a birth, to an invented one."""
    mark = fitting(label, max_length)
    maker = MAKERS.get(label)
    key = keys.key(PURPOSE, label)

    def invented(canonical: bytes) -> Any:
        seed = int.from_bytes(hashlib.blake2s(canonical, key=key, digest_size=16).digest(), "big")
        faker = _faker(treatment.locale)
        faker.seed_instance(seed)
        return getattr(faker, maker)() if maker is not None else None

    def of_text(value: str) -> str:
        made = invented(value.encode("utf-8", "surrogatepass"))
        if made is None:
            return mark
        made = str(made)
        return made[:max_length] if max_length else made

    def of_date(value: dt.date) -> dt.date:
        made = invented(value.isoformat().encode())
        birth: dt.date = made if isinstance(made, dt.date) else neutral(value)
        return birth

    known: dict[type, Leaf] = {str: of_text, dt.date: of_date}

    def fake(value: Any) -> Any:
        return known.get(type(value), neutral)(value)

    return fake


def _faker(locale: str) -> Faker:
    # One for each thread: seeding and asking are two steps.
    known: dict[str, Faker] = _held.__dict__.setdefault("fakers", {})
    if locale not in known:
        from faker import Faker  # noqa: PLC0415 - an extra, and slow to load

        known[locale] = Faker(locale)
    return known[locale]

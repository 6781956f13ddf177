"""PARTIAL: the part of a text that people recognise it by, or nothing where no part is safe to show.

At most a third of the characters that matter is shown, so that the rest cannot be guessed. Of a mail address
the domain is shown and nothing of the mailbox, whose first letter would help guessing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

Show = Callable[[str], str | None]
"""From a text to what of it is shown; ``None``: nothing is."""

KEPT: Final = 4
"""Characters of a number that are shown: what receipts show of a card (PCI DSS 3.4.1 allows as many)."""

HIDDEN: Final = "****"
HIDDEN_MAILBOX: Final = "***@"

_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")


def tail(value: str) -> str | None:
    """Show the last four letters or digits, fewer where four would be more than a third."""
    if value.isalnum():
        kept, count = value, len(value)
    else:
        kept = "".join([c for c in value if c.isalnum()])
        count = len(kept)
    if count >= 3 * KEPT:
        return HIDDEN + kept[-KEPT:]
    shown = count // 3
    return HIDDEN + kept[-shown:] if shown >= 2 else None


@lru_cache(maxsize=4096)
def mail_domain(domain: str) -> str | None:
    """Return how a mail address of ``domain`` is shown; many addresses share one."""
    return HIDDEN_MAILBOX + domain if _DOMAIN.fullmatch(domain) else None


def mailbox(value: str) -> str | None:
    """Show the domain of one bare address."""
    name, _, domain = value.partition("@")
    return mail_domain(domain) if name else None


def initials(value: str) -> str | None:
    """Show the first letter of each word, where that is at most a third of the letters."""
    words = value.split()
    joined = "".join(words)
    letters = len(joined) if joined.isalnum() else sum(map(str.isalnum, joined))
    if not words or len(words) * 3 > letters or not all(w[0].isalpha() for w in words):
        return None
    return " ".join([f"{w[0]}." for w in words])


BY_LABEL: Final[Mapping[str, Show]] = MappingProxyType(
    {
        "EMAIL_ADDRESS": mailbox,
        "PERSON_NAME": initials,
        "FIRST_NAME": initials,
        "LAST_NAME": initials,
        **dict.fromkeys(
            (
                "PHONE_NUMBER",
                "CREDIT_CARD_NUMBER",
                "IBAN_CODE",
                "BANK_ACCOUNT_NUMBER",
                "US_SOCIAL_SECURITY_NUMBER",
            ),
            tail,
        ),
    }
)
"""What is shown of which class; of all others nothing."""

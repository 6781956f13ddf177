"""Which phrases a name holds, and whether the words around them leave their meaning as it is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from attrs import frozen

from governed_db.masking import phrases as p

Words = tuple[str, ...]

_CREDENTIAL: Final = frozenset({"AUTH_TOKEN", "API_KEY", "ENCRYPTION_KEY", "SECRET", "PASSWORD"})
_NAMED: Final = _CREDENTIAL | {"EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD_NUMBER", "IP_ADDRESS"}
"""Labels whose phrase with ``name`` behind it is what the thing is called (``secret_name``)."""

CODED: Final = frozenset({"GENDER", "ETHNIC_GROUP", "RELIGION", "MARITAL_STATUS", "NATIONALITY", "HEALTH"})
_VALUES: Final = frozenset({"status", "type", "group", "category", "code"})
"""Behind these labels the words are the value itself: a disability status, a blood group."""


_DOCUMENTS: Final = frozenset(
    {
        "US_SOCIAL_SECURITY_NUMBER", "NATIONAL_ID", "PASSPORT", "DRIVERS_LICENSE_NUMBER", "INSURANCE_NUMBER",
        "MEDICAL_RECORD_NUMBER",
    }
)  # fmt: skip
"""What is itself called an id."""


@frozen
class Match:
    """One phrase found: the words from ``start`` to ``end`` mean ``label``."""

    start: int
    end: int
    label: str
    certain: bool  # False where words follow that are not known to leave the meaning as it is


@lru_cache(maxsize=16384)
def matches(parts: Words) -> tuple[Match, ...]:
    """Return what the words may mean, the likeliest first: the longest phrases, from right to left."""
    spans: list[tuple[int, int, str]] = []
    blocked: set[int] = set()
    size = len(parts)
    for length in range(min(_LONGEST, size), 0, -1):
        for start in range(size - length + 1):
            span = range(start, start + length)
            if not blocked.isdisjoint(span):
                continue
            phrase = parts[start : start + length]
            if phrase in _HARMLESS:
                blocked.update(span)
            elif (label := PHRASES.get(phrase)) is not None or (
                length == 1 and (label := _compound(phrase[0])) is not None
            ):
                blocked.update(span)
                spans.append((start, start + length, label))
    spans.sort(reverse=True)
    return tuple(m for s in spans if (m := _in_place(parts, *s)) is not None)


def _in_place(parts: Words, start: int, end: int, label: str) -> Match | None:
    head, tail = parts[:start], parts[end:]
    if tail[-2:] == ("source", "value"):  # as the system before had it: race_source_value
        tail = tail[:-2]
    if head and head[0] in p.VETO_FIRST and label not in CODED:  # is_pregnant says it
        return None
    vetoes = p.VETO_TAIL - _VALUES if label in CODED else p.VETO_TAIL
    if label in _DOCUMENTS and tail[:1] == (
        "id",
    ):  # passport_id; as a number, kinds.holds takes it for a key
        end, tail = end + 1, tail[1:]
    if not vetoes.isdisjoint(tail) or (label in _NAMED and "name" in tail):
        return None
    if head and not p.VETO_HEAD.get(label, frozenset()).isdisjoint(head):
        return None
    return Match(
        start,
        end,
        label,
        certain=all(t.isdigit() or t in p.TAIL or (label in CODED and t in _VALUES) for t in tail),
    )


def _compound(word: str) -> str | None:
    """Read a word glued from two, by its head: ``privattelefon``, ``customeremail``."""
    if len(word) < 8 or word in p.NOT_COMPOUND:
        return None
    if word.endswith("nr") and (label := PHRASES.get((word[:-2] + "nummer",))):
        return label
    return next((p.COMPOUND[word[i:]] for i in range(len(word) - 4) if word[i:] in p.COMPOUND), None)


def tight(parts: Words) -> Words:
    """Return ``parts`` without the connectors between them: "fecha de nacimiento" loses its "de"."""
    if len(parts) < 3 or p.CONNECTORS.isdisjoint(parts[1:-1]):
        return parts
    return (parts[0], *(part for part in parts[1:-1] if part not in p.CONNECTORS), parts[-1])


def _index(data: Mapping[str, tuple[Words, ...]]) -> dict[Words, str]:
    index: dict[Words, str] = {}
    for label, phrases in data.items():
        for written in phrases:
            phrase = tight(written)
            index.setdefault(phrase, label)
            glued = "".join(phrase)
            # firstname, dateofbirth; shorter ones collide with other words.
            if len(phrase) > 1 and len(glued) >= 6:
                index.setdefault((glued,), label)
    return index


_HARMLESS: Final = frozenset(map(tight, p.HARMLESS))
PHRASES: Final = _index(p.STRONG)
ALONE: Final = _index(p.ALONE)
_LONGEST: Final = max(map(len, PHRASES))

"""One record of the trail, version 1.

A record is one JSON object, UTF-8, no line breaks. ``docs/reference/journal.md`` is its schema.
Six sections answer six questions: ``who``, ``what``, ``may``, ``where``, ``happened`` and, for what
is not a statement, ``details``. A section or field that has no value is left out, never null.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson
from attrs import frozen

from governed_db.audit.sections import Status, Where, happened, may, what, where, who

__all__ = [
    "VERSION",
    "Record",
    "RecordKind",
    "Status",
    "Where",
    "attempt",
    "dump",
    "encode",
    "event",
    "happened",
    "instant",
    "may",
    "new_id",
    "span_id",
    "what",
    "where",
    "who",
]

VERSION = 1
"""The schema's version. Fields may be added to a version; none is removed or changes its meaning."""

_MASK64 = 2**64 - 1
# Odd, so that multiplying by it is a bijection modulo 2**64; the fractional part of the golden ratio,
# so that neighbouring counters land far apart (Knuth, The Art of Computer Programming 3, 6.4).
_GOLDEN = 0x9E3779B97F4A7C15


class RecordKind(StrEnum):
    """What a record is about."""

    START = "start"  # a process begins to write
    STOP = "stop"  # it ends in good order
    INTENT = "intent"  # a statement is about to be sent
    OUTCOME = "outcome"  # what became of an intent, named by ``of``
    REFUSAL = "refusal"  # a statement was judged and not sent; it has no outcome
    ATTEMPT = "attempt"  # text that could not be read
    EVENT = "event"  # anything else, named by ``event``


@frozen(kw_only=True)
class Record:
    """One record. Sections are dicts as the functions of this module make them."""

    kind: RecordKind
    id: str
    at: str
    of: str | None = None
    event: str | None = None
    who: Mapping[str, Any] | None = None
    what: Mapping[str, Any] | None = None
    may: Mapping[str, Any] | None = None
    where: Mapping[str, Any] | None = None
    happened: Mapping[str, Any] | None = None
    details: Mapping[str, Any] | None = None


class _Ids:
    """The source of record ids of one process; a forked child starts over under a name of its own."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.prefix = os.urandom(8).hex()
        self.count = itertools.count(1)


_ids = _Ids()
os.register_at_fork(after_in_child=_ids.renew)


def new_id() -> str:
    """Return a record id: 16 hex digits drawn at random for the process, "-", a counter of 12.

    Ids of one process sort in the order they were made.
    """
    return f"{_ids.prefix}-{next(_ids.count):012x}"


def span_id(record_id: str) -> int:
    """Return the OpenTelemetry span id of the statement whose intent or refusal is ``record_id``.

    It follows from the id alone, so that a record and its span find each other without a table, and a
    span that is sent twice is recognised.
    """
    prefix, _, count = record_id.partition("-")
    # 0 is the one span id that OpenTelemetry calls invalid.
    return (int(prefix, 16) + int(count, 16) * _GOLDEN) & _MASK64 or 1


_second: tuple[int, str] = (-1, "")


def instant(ns: int | None = None) -> str:
    """Return a time as ISO 8601 in UTC, to the microsecond.

    ``ns`` is in nanoseconds since the Unix epoch; by default now.
    """
    global _second  # noqa: PLW0603 - one second's text serves thousands of records; a lost race costs a format
    seconds, rest = divmod(time.time_ns() if ns is None else ns, 1_000_000_000)
    known, text = _second
    if known != seconds:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _second = (seconds, text)
    return f"{text}.{rest // 1000:06d}Z"


_FIELDS = ("of", "event", "who", "what", "may", "where", "happened", "details")


def encode(record: Record) -> bytes:
    """Return the record's bytes, as they are stored, hashed and read."""
    out: dict[str, Any] = {"v": VERSION, "kind": record.kind.value, "id": record.id, "at": record.at}
    out.update((name, value) for name in _FIELDS if (value := getattr(record, name)) is not None)
    return dump(out)


def dump(value: object) -> bytes:
    """Return ``value`` as JSON. Text that UTF-8 cannot hold (a lone surrogate) is written with escapes.

    Names and purposes come from callers; one of them must not be able to keep a record from being made.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_speakable(value))


def event(name: str, *, who: Mapping[str, Any] | None = None, **details: Any) -> bytes:
    """Return a record of something that is not a statement ("approval.granted", "policy.changed", ...)."""
    return encode(
        Record(kind=RecordKind.EVENT, id=new_id(), at=instant(), event=name, who=who, details=details or None)
    )


def attempt(
    *,
    who: Mapping[str, Any],
    where: Mapping[str, Any],
    rule: str,
    reason: str,
    size: int,
) -> tuple[str, bytes]:
    """Return id and bytes of a record of text that could not be read.

    Args:
        who, where: sections made by the functions of those names.
        rule: the limit or the check that failed.
        reason: why, without any part of the text.
        size: the text's length in bytes.
    """
    record = Record(
        kind=RecordKind.ATTEMPT,
        id=new_id(),
        at=instant(),
        who=who,
        where=where,
        what={"bytes": size},
        may={"verdict": "block", "rule": rule, "reason": reason},
    )
    return record.id, encode(record)


def _speakable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case Mapping():
            return {str(_speakable(k)): _speakable(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_speakable(v) for v in value]
        case bool() | int() | float() | None:
            # orjson stops at 64 bits; a count that large is better said as text than not at all.
            return value if not isinstance(value, int) or -(2**63) <= value < 2**64 else str(value)
        case _:
            return str(type(value).__name__)

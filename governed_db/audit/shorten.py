"""A record that is too large is stored shortened and says so; it is never a reason to lose it."""

from __future__ import annotations

from typing import Any

import orjson

from governed_db.audit.record import VERSION, RecordKind, instant, new_id

KEPT = frozenset({"v", "kind", "id", "of", "at", "event"})


def shorten(payload: bytes, limit: int) -> bytes:
    """Return a record of at most ``limit`` bytes that says what ``payload`` says as far as it fits.

    The longest strings and lists are cut first. ``truncated`` holds the original's size in bytes.
    ``limit`` is at least 1024, which is more than the fields take that are never cut.
    """
    try:
        record = orjson.loads(payload)
    except orjson.JSONDecodeError:
        record = None
    if not isinstance(record, dict):
        record = {
            "v": VERSION,
            "kind": RecordKind.EVENT,
            "id": new_id(),
            "at": instant(),
            "event": "unreadable",
        }
    record["truncated"] = len(payload)
    length = limit // 2
    while length >= 16:
        cut = orjson.dumps(_cut(record, length))
        if len(cut) <= limit:
            return cut
        length //= 2
    bare = {k: v for k, v in record.items() if k in KEPT and len(orjson.dumps(v)) <= 100}
    return orjson.dumps(bare | {"truncated": len(payload)})


def _cut(value: Any, length: int) -> Any:
    """Cut every string to ``length`` characters, every list and object to as many entries by eights."""
    match value:
        case str():
            return value if len(value) <= length else value[:length] + "…"
        case list():
            return [_cut(v, length) for v in value[: max(1, length // 8)]]
        case dict():
            return {str(k)[:length]: _cut(v, length) for k, v in list(value.items())[: max(16, length // 8)]}
        case _:
            return value

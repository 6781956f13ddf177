"""From the rows that a SELECT has shown to what people agree to: a digest, and what they see of it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from governed_db.approval.effect import ChangedRow, Effect
from governed_db.approval.shown import visible
from governed_db.catalog.describable import Describable
from governed_db.catalog.effects import SHOWN_CHARACTERS
from governed_db.catalog.rows import Row

SHOWN_ROWS: Final = 50
"""Rows that people are shown one by one: more than anybody compares. The digest covers all of them."""

SHOWN_BYTES: Final = 200_000
"""Bytes of what people are shown of them: a fifth of what a request may have."""

_SALT_BYTES: Final = 16


def new_salt() -> str:
    """Return random bytes for one digest, in hexadecimal."""
    return secrets.token_hex(_SALT_BYTES)


def effect_of(found: Describable, rows: Sequence[Row], salt: str) -> Effect:
    """Return the effect of ``rows``; the same rows and salt give the same one."""
    return Effect(
        digest=_digest(found, rows, salt),
        salt=salt,
        rows=len(rows),
        relation=str(found.relation),
        key=tuple(c.name for c in found.key),
        columns=tuple(c.name for c in found.shown),
        shown=tuple(_shown(rows)),
    )


def _digest(found: Describable, rows: Iterable[Row], salt: str) -> str:
    digest = hashlib.sha256(b"governed_db approval effect v1\n" + bytes.fromhex(salt))
    digest.update(
        _joined(
            [
                found.access.value,
                found.relation.schema,
                found.relation.name,
                *(c.name for c in found.key),
                "",
                *(c.name for c in found.columns),
            ]
        )
    )
    # The order in which a server finds rows means nothing.
    for row in sorted(_joined([*row.key, "", *row.before, "", *row.after]) for row in rows):
        digest.update(len(row).to_bytes(8, "big"))
        digest.update(row)
    return digest.hexdigest()


def _joined(parts: Iterable[str | None]) -> bytes:
    encoded = [b"-" if part is None else b"+" + part.encode() for part in parts]
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)


def _shown(rows: Iterable[Row]) -> Iterable[ChangedRow]:
    left = SHOWN_BYTES
    for row in list(rows)[:SHOWN_ROWS]:
        key, before, after = (tuple(map(_text, texts)) for texts in row.texts)
        left -= sum(len(text.encode()) for text in (*key, *before, *after) if text is not None)
        if left < 0:
            return
        yield ChangedRow(key=tuple(text or "" for text in key), before=before, after=after)


def _text(text: str | None) -> str | None:
    if text is None:
        return None
    cut = f"{text[:SHOWN_CHARACTERS]} ..." if len(text) > SHOWN_CHARACTERS else text
    return visible(cut)

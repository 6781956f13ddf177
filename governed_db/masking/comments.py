"""What COMMENT ON says about sensitivity."""

from __future__ import annotations

import re
from typing import Final

from governed_db.masking.phrases import LABELS
from governed_db.masking.words import COMMENT_LABELS

_LABELLED: Final = re.compile(r"\bpii\s*[:=]\s*([A-Za-z_]+)", re.IGNORECASE)
# "case sensitive", "insensitive", "not pii", "no personal data", "non-sensitive" speak of something else.
_NEGATED: Final = r"(?<!\bno )(?<!\bnot )(?<!\bnon )(?<!\bnon-)(?<!\bnot a )(?<!\bwithout )(?<!\bfree of )"
_PII: Final = re.compile(
    _NEGATED + r"\b(?:pii|personal(?:ly identifiable)? (?:data|information)|gdpr|phi)\b", re.I
)
_SECRET: Final = re.compile(_NEGATED + r"\bsecrets?\b", re.I)
_SENSITIVE: Final = re.compile(
    _NEGATED + r"(?<!case )(?<!case-)(?<!time )(?<!time-)\b(?:sensitive|confidential)\b", re.I
)
_CLEARED: Final = frozenset({"no", "none", "false", "n"})


def from_comment(comment: str) -> str | None:
    """Return the label that a column's comment gives it, or ``None`` where it gives none.

    ``pii:email`` names a class or a label; ``pii``, ``secret``, ``sensitive`` stand alone. ``pii: none``
    gives no label and takes none away: the name of the column is still looked at.
    """
    if (found := _LABELLED.search(comment)) is not None:
        word = found[1].lower()
        if word in _CLEARED:
            return None
        return COMMENT_LABELS.get(word) or (word.upper() if word.upper() in LABELS else "PII")
    if _SECRET.search(comment):
        return "SECRET"
    if _PII.search(comment):
        return "PII"
    return "SENSITIVE" if _SENSITIVE.search(comment) else None


def says_personal(comment: str | None) -> bool:
    """Tell whether a relation's comment says that personal or secret data is in it."""
    return comment is not None and from_comment(comment) is not None

"""What a masked value turns into: functions over loaded Python values, no I/O.

A mask is decided by the label, the treatment and the type of the value, never by what the value says, but
for strategies that show a part of it on purpose. Text is replaced by the label in brackets
(``[EMAIL_ADDRESS]``), other values by the neutral one of their type (:mod:`governed_db.masking.neutral`);
documents, arrays and rows keep their shape (:mod:`governed_db.masking.shapes`); the other strategies say in
their modules what becomes of which type, and redact the rest. NULL stays NULL. Masks of text fit into a
varchar(n), but for tokens, which come back through here and never into the column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from governed_db.masking import coarse, fakes, partial, preserving, pseudonym, tokens
from governed_db.masking.keys import Keyring
from governed_db.masking.matching import label_of
from governed_db.masking.model import KEYED, REDACTED, Strategy, Treatment
from governed_db.masking.neutral import BY_OID, TEXT_ARRAY_OIDS, TEXT_OIDS, neutral
from governed_db.masking.phrases import LABELS
from governed_db.masking.recognise import fitting, mark
from governed_db.masking.shapes import Leaf, shaped

__all__ = ["DEFAULT_STRATEGIES", "DEPENDS", "constant", "default_strategy", "mark", "mask_value"]

Transform = Callable[[Any], Any]

DEFAULT_STRATEGIES: Final[Mapping[str, Strategy]] = MappingProxyType(dict.fromkeys(LABELS, Strategy.REDACT))
"""REDACT for every label. What PARTIAL shows (a mail domain, four digits of a card) is what support desks
accept as proof of identity, so showing it is for a policy to choose, never for a default."""

DEPENDS: Final[Any] = object()
"""What :func:`constant` answers where the mask cannot be told without the value."""

_READABLE: Final = TEXT_OIDS | TEXT_ARRAY_OIDS | {0}


def default_strategy(label: str) -> Strategy:
    """Return the strategy for a label no policy spoke about; labels of a policy's own are redacted too."""
    return DEFAULT_STRATEGIES.get(label, Strategy.REDACT)


def constant(
    treatment: Treatment, label: str, type_oid: int, *, keys: Keyring | None = None, max_length: int = 0
) -> Any:
    """Return the one value every non-NULL value of this type becomes, or :data:`DEPENDS`.

    It holds for psycopg's own Python types of ``type_oid``; a connection that loads the type as
    something else needs :func:`mask_value` on what it loaded.
    """
    strategy = _possible(treatment, label, type_oid, keys)
    if strategy is Strategy.NULLIFY:
        return None
    if strategy is Strategy.REDACT:
        return fitting(label, max_length) if type_oid in TEXT_OIDS else BY_OID.get(type_oid, DEPENDS)
    return DEPENDS


def mask_value(
    treatment: Treatment,
    label: str,
    type_oid: int = 0,
    *,
    keys: Keyring | None = None,
    max_length: int = 0,
) -> Transform:
    """Return the function from a loaded value to its mask; its results have the type of the value.

    Args:
        treatment: what the policy says.
        label: the class of the values.
        type_oid: their type, 0 where it is unknown. What decides is the Python value, because an application
            may load any type as it likes; the OID only chooses how wide an integer is, and whether a text
            may be read as one.
        keys: for the strategies in :data:`KEYED`.
        max_length: characters of a varchar(n), 0 for any number.
    """
    if treatment.strategy is Strategy.NULLIFY:
        return _nullify
    leaf = _leaf(treatment, label, type_oid, keys, max_length)
    by_key = treatment.strategy is Strategy.REDACT and label == DOCUMENT
    under = _under if by_key else None

    def masked(value: Any) -> Any:
        return leaf(value) if type(value) is str else shaped(value, leaf, under)

    return masked


@lru_cache(maxsize=4096)
def _under(key: str) -> Leaf | None:
    """Return the mark of what ``key`` says of its value, or ``None`` where it says nothing."""
    label = label_of(key) if len(key) <= MAX_KEY else None
    return None if label is None else _leaf(REDACTED, label, 0, None, 0)


DOCUMENT: Final = "JSON_PII"
MAX_KEY: Final = 100
"""Characters of a key that is read: names of fields are shorter, and what is longer is data."""


def _nullify(value: Any) -> None:
    """Forget the value."""


def _possible(treatment: Treatment, label: str, type_oid: int, keys: Keyring | None) -> Strategy:
    """Return the strategy, or REDACT where it has no key or nothing to show of this class or type."""
    strategy = treatment.strategy
    if strategy in KEYED and keys is None:  # refused before; here the last resort
        return Strategy.REDACT
    # Text of an unregistered type (a range, a row, a point) has a syntax of its own around the value.
    if strategy is Strategy.PARTIAL and not (label in partial.BY_LABEL and type_oid in _READABLE):
        return Strategy.REDACT
    if strategy is Strategy.TOKEN and type_oid in BY_OID:
        return Strategy.REDACT
    return strategy


def _leaf(treatment: Treatment, label: str, type_oid: int, keys: Keyring | None, max_length: int) -> Leaf:
    strategy = _possible(treatment, label, type_oid, keys)
    if strategy is Strategy.GENERALISE:
        return coarse.generalise(treatment, label, max_length)
    if strategy is Strategy.BUCKET:
        return coarse.bucket(treatment, label, max_length)
    if strategy is Strategy.PARTIAL:
        return _only_text(shown(label, max_length))
    if keys is not None and strategy in KEYED:
        if strategy is Strategy.PSEUDONYM:
            return pseudonym.leaf(keys, label, type_oid, max_length)
        if strategy is Strategy.TOKEN:
            return _only_text(tokens.issuer(keys, label))
        if strategy is Strategy.DATE_SHIFT:
            return coarse.date_shift(keys, treatment, label, max_length)
        if strategy is Strategy.FAKE:
            return fakes.leaf(keys, treatment, label, max_length)
        return preserving.leaf(keys, label, type_oid, max_length)
    text = fitting(label, max_length)
    return _only_text(lambda _: text)


def shown(label: str, max_length: int) -> Callable[[str], str]:
    """Return the function from a text to the part of it that is shown, or to the mark."""
    show = partial.BY_LABEL[label]
    text = fitting(label, max_length)
    limit = max_length or 2**31  # a field has less bytes than that

    def masked(value: str) -> str:
        part = show(value)
        return text if part is None or len(part) > limit else part

    return masked


def _only_text(text: Callable[[str], str]) -> Leaf:
    def masked(value: Any) -> Any:
        return text(value) if isinstance(value, str) else neutral(value)

    return masked

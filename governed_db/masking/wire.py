"""Masks made from the bytes that PostgreSQL sent: the same as those of the loaded value, sooner.

Text has the same bytes in both formats of the protocol. What is here takes UTF-8 and raises nothing: an input
that is out of the ordinary goes to the function that masks loaded values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from psycopg.abc import Buffer

from governed_db.masking import partial, pseudonym, tokens
from governed_db.masking.keys import Keyring
from governed_db.masking.model import Strategy, Treatment
from governed_db.masking.neutral import BY_OID, TEXT_OIDS
from governed_db.masking.recognise import DIGITS, fitting

FromWire = Callable[[Buffer], Any]
Quicker = Callable[[FromWire], FromWire]
"""From the function that masks by loading to a faster one with the same results."""

REMEMBERED: Final = 16_384
"""Masks that are kept: of the values of one result where a mask takes long, of mail domains for each class,
and of pairs of initials and endings of numbers for the process. A few MB at most of each."""

# Types whose values nothing can change once they are made: those of neutral values, inet and cidr.
_IMMUTABLE: Final = TEXT_OIDS | frozenset(BY_OID) - {17} | {650, 869}
_NUMBERS: Final = frozenset({20, 23})  # int8 and int4
_DATE: Final = 1082
_COSTLY: Final = frozenset({Strategy.PSEUDONYM, Strategy.FAKE, Strategy.FORMAT_PRESERVING})
# Quickly made, but there are so few dates that looking one up is quicker yet.
_COARSE: Final = frozenset({Strategy.DATE_SHIFT, Strategy.GENERALISE, Strategy.BUCKET})
_OTHERS: Final = bytes(b for b in range(128) if not chr(b).isalnum())


def from_wire(
    treatment: Treatment, label: str, type_oid: int, keys: Keyring | None, max_length: int, *, binary: bool
) -> Quicker | None:
    """Return what makes masking by loading faster, ``None`` where nothing does.

    The bytes that it is given are those of psycopg's own type for ``type_oid``, text in UTF-8.
    """
    strategy = treatment.strategy
    if strategy is Strategy.PARTIAL:
        return _partial(label, max_length) if type_oid in TEXT_OIDS else None
    if keys is not None and strategy is Strategy.PSEUDONYM:
        if type_oid in TEXT_OIDS - pseudonym.PADDED:
            return _pseudonym(keys, label, max_length)
        if type_oid in _NUMBERS:
            return _number(keys, label, binary)
    if keys is not None and strategy is Strategy.TOKEN and type_oid in TEXT_OIDS:
        return _token(keys, label)
    costly = strategy in _COSTLY and type_oid in _IMMUTABLE
    return _remembering if costly or (strategy in _COARSE and type_oid == _DATE) else None


def _remembering(slowly: FromWire) -> FromWire:
    class Masks(dict[bytes, Any]):
        def __missing__(self, data: bytes) -> Any:
            made = slowly(data)
            if len(self) < REMEMBERED:
                self[data] = made
            return made

    masks = Masks()  # of one result: values are kept no longer than that

    def remembered(data: Buffer) -> Any:
        return masks[bytes(data)]

    return remembered


def _partial(label: str, max_length: int) -> Quicker | None:
    show = partial.BY_LABEL.get(label)
    if show is partial.mailbox:
        return _mailbox(label, max_length)
    if show is partial.tail:
        return _tail
    return _initials if show is partial.initials and not max_length else None


def _mailbox(label: str, max_length: int) -> Quicker:
    mark = fitting(label, max_length)

    class Domains(dict[bytes, str]):
        def __missing__(self, domain: bytes) -> str:
            made = partial.mail_domain(domain.decode()) if domain.isascii() else None
            made = mark if made is None or len(made) > (max_length or len(made)) else made
            if len(self) < REMEMBERED:
                self[domain] = made
            return made

    domains = Domains()

    def mailbox(data: Buffer) -> str:
        name, _, domain = bytes(data).partition(b"@")
        return domains[domain] if name else mark

    return lambda slowly: mailbox


class _Endings(dict[bytes, str]):
    def __missing__(self, ending: bytes) -> str:
        made = partial.HIDDEN + ending.decode()
        if len(self) < REMEMBERED:
            self[ending] = made
        return made


class _Initials(dict[tuple[int, int], str]):
    def __missing__(self, letters: tuple[int, int]) -> str:
        made = self[letters] = " ".join([f"{chr(letter)}." for letter in letters])
        return made  # 2,704 pairs of letters at most


_endings: Final = _Endings()
_pairs: Final = _Initials()


def _tail(slowly: FromWire) -> FromWire:
    endings = _endings
    others = _OTHERS
    least = 3 * partial.KEPT
    kept = partial.KEPT

    def tail(data: Buffer) -> Any:
        raw = bytes(data).translate(None, others)
        # isalnum(): of bytes, ASCII alone.
        return endings[raw[-kept:]] if len(raw) >= least and raw.isalnum() else slowly(data)

    return tail


def _initials(slowly: FromWire) -> FromWire:
    pairs = _pairs

    def initials(data: Buffer) -> Any:
        first, _, last = bytes(data).partition(b" ")
        if first.isalpha() and last.isalpha() and len(first) + len(last) >= 6:
            return pairs[first[0], last[0]]
        return slowly(data)

    return initials


def _number(keys: Keyring, label: str, binary: bool) -> Quicker:
    permute = pseudonym.permuted_int4(keys, label)
    top = pseudonym.INT4

    def text(slowly: FromWire) -> FromWire:
        def number(data: Buffer) -> Any:
            value = int(bytes(data))
            return permute(value) if 0 <= value < top else slowly(data)

        return number

    def wire(slowly: FromWire) -> FromWire:
        def number(data: Buffer) -> Any:
            value = int.from_bytes(data, "big", signed=True)
            return permute(value) if 0 <= value < top else slowly(data)

        return number

    return wire if binary else text


def _pseudonym(keys: Keyring, label: str, max_length: int) -> Quicker | None:
    form = pseudonym.text_form(keys, label, max_length)
    if form is None:
        return None
    head, digits = form
    copy = pseudonym.hashed(keys, label).copy

    def whole(data: Buffer) -> str:
        hashed = copy()
        hashed.update(data)
        return head + hashed.hexdigest()

    def cut(data: Buffer) -> str:
        hashed = copy()
        hashed.update(data)
        return head + hashed.hexdigest()[:digits]

    return lambda slowly: whole if digits == DIGITS else cut


def _token(keys: Keyring, label: str) -> Quicker:
    issue = tokens.byte_issuer(keys, label)

    def token(data: Buffer) -> str:
        return issue(bytes(data))

    return lambda slowly: token

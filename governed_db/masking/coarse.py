"""Masks that keep a value's size and lose its detail: GENERALISE, BUCKET and DATE_SHIFT.

GENERALISE keeps the leading characters of a text, the leading digits of a number, the year or the month of a
date, the leading parts of an address; a text that is not longer than what is kept is redacted. BUCKET tells
into which of equal steps a number or a date falls (of a date: days). DATE_SHIFT moves a date by some days
that only the key tells, equal dates by as many, and never by none; the time of day stays.

None of them identifies itself, and all of them can be undone by who knows enough else: see the limitations.
Values that a strategy has no meaning for become neutral ones, texts the redaction mark.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any, Final

from governed_db.masking.keys import Keyring
from governed_db.masking.model import Treatment
from governed_db.masking.neutral import neutral
from governed_db.masking.recognise import fitting
from governed_db.masking.shapes import Leaf

PURPOSE: Final = "date_shift"

_STARS: Final = "***"
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_V4: Final = (IPv4Address, IPv4Interface, IPv4Network)
_V6: Final = (IPv6Address, IPv6Interface, IPv6Network)


def generalise(treatment: Treatment, label: str, max_length: int = 0) -> Leaf:
    """Return the function from a value to what is left of it when only its beginning is kept."""
    keep = treatment.keep
    mark = fitting(label, max_length)

    def of_text(value: str) -> str:
        if len(value.rstrip()) <= keep:
            return mark
        room = max_length - keep if max_length else len(_STARS)
        return value[:keep] + _STARS[:room]

    def of_date(value: dt.date) -> dt.date:
        return value.replace(month=1, day=1) if keep == 1 else value.replace(day=1)

    def of_moment(value: dt.datetime) -> dt.datetime:
        first = of_date(value.date())
        return dt.datetime(first.year, first.month, 1, tzinfo=value.tzinfo)

    def of_int(value: int) -> int:
        digits = len(str(abs(value)))
        unit = 10 ** (digits - keep)
        # What has no more digits than are kept would be shown whole.
        return 0 if digits <= keep else abs(value) // unit * unit * (1 if value > 0 else -1)

    def of_decimal(value: Decimal) -> Decimal:
        if not value.is_finite() or value.adjusted() < keep:
            return Decimal(0)
        unit = Decimal(1).scaleb(value.adjusted() - keep + 1)
        return Decimal(int((value / unit).to_integral_value(ROUND_DOWN)) * int(unit))

    def of_float(value: float) -> float:
        return float(of_int(int(value))) if abs(value) < _EXACT else 0.0

    return _by_type(
        {
            str: of_text,
            int: of_int,
            float: of_float,
            Decimal: of_decimal,
            dt.date: of_date,
            dt.datetime: of_moment,
            **dict.fromkeys(_V4, lambda v: _network(v, 8 * min(keep, 3))),
            **dict.fromkeys(_V6, lambda v: _network(v, 16 * min(keep, 4))),
        },
        mark,
    )


def bucket(treatment: Treatment, label: str, max_length: int = 0) -> Leaf:
    """Return the function from a number or a date to the lowest of its bucket."""
    width = treatment.width

    def of_int(value: int) -> int:
        return value - value % width

    def of_decimal(value: Decimal) -> Decimal:
        if not value.is_finite():
            return Decimal(0)
        try:
            return Decimal(of_int(int(value // 1)))
        except InvalidOperation:  # more digits than Python's decimals are set to
            return Decimal(0)

    def of_float(value: float) -> float:
        return float(of_int(int(value // 1))) if abs(value) < _EXACT else 0.0

    def of_date(value: dt.date) -> dt.date:
        day = _EPOCH + (value.toordinal() - _EPOCH) // width * width
        return dt.date.fromordinal(max(day, 1))

    def of_moment(value: dt.datetime) -> dt.datetime:
        return dt.datetime.combine(of_date(value.date()), dt.time(), value.tzinfo)

    return _by_type(
        {int: of_int, float: of_float, Decimal: of_decimal, dt.date: of_date, dt.datetime: of_moment},
        fitting(label, max_length),
    )


def date_shift(keys: Keyring, treatment: Treatment, label: str, max_length: int = 0) -> Leaf:
    """Return the function from a date or a timestamp to another, at most ``treatment.days`` away."""
    days = treatment.days
    copy = hashlib.blake2s(key=keys.key(PURPOSE, label), digest_size=8).copy

    def shift(day: dt.date) -> dt.timedelta:
        hashed = copy()
        hashed.update(day.toordinal().to_bytes(4, "big"))
        # Uniform to 2**-50 over what is allowed: one of the days before or one of those after, never 0.
        step = int.from_bytes(hashed.digest(), "big") % (2 * days)
        return dt.timedelta(step - days if step < days else step - days + 1)

    def of_date(value: dt.date) -> dt.date:
        by = shift(value)
        try:
            return value + by
        except OverflowError:  # at the ends of the calendar the other way is open
            return value - by

    def of_moment(value: dt.datetime) -> dt.datetime:
        try:
            # By the day in UTC: what the session's time zone is must not change the shift.
            at = value if value.tzinfo is None else value.astimezone(dt.UTC)
            moved = dt.datetime.combine(of_date(at.date()), at.time(), at.tzinfo)
            return moved if value.tzinfo is None else moved.astimezone(value.tzinfo)
        except OverflowError:
            return dt.datetime(1970, 1, 1, tzinfo=value.tzinfo and dt.UTC)

    return _by_type({dt.date: of_date, dt.datetime: of_moment}, fitting(label, max_length))


_EXACT: Final = 2.0**53
"""The numbers below are those that a float holds to the unit (IEEE 754); NaN and infinity are not below."""


def _by_type(known: dict[type, Callable[[Any], Any]], mark: str) -> Leaf:
    find = {str: lambda _: mark, **known}.get

    def masked(value: Any) -> Any:
        return find(type(value), neutral)(value)

    return masked


def _network(value: Any, kept: int) -> Any:
    kind = type(value)
    size = value.max_prefixlen
    is_address = kind in (IPv4Address, IPv6Address)
    is_network = kind in (IPv4Network, IPv6Network)
    prefix = size if is_address else value.prefixlen if is_network else value.network.prefixlen
    number = int(value.network_address if is_network else value)
    # A network whose whole prefix would be kept would be shown as it is.
    hosts = size - min(kept, prefix) if not is_network or prefix > kept else size
    number = number >> hosts << hosts
    return kind(number) if is_address else kind((number, prefix))

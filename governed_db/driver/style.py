"""How a session writes values as text, and how people read them whatever a session has set.

Callers may set these, and so say how people read what they are asked about: "1e+03" for 1414.21.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg.abc import PQGen

from governed_db.driver.asking import ask
from governed_db.driver.probe import TEXT_OID
from governed_db.identity import Identity

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

Style = tuple[str | None, ...]
"""DateStyle, extra_float_digits and bytea_output."""


def read(seat: Seat, caller: Identity, rule: str) -> PQGen[Style]:
    """Return what is in force."""
    return (
        yield from ask(
            seat,
            b"SELECT pg_catalog.current_setting('datestyle'),"
            b" pg_catalog.current_setting('extra_float_digits'),"
            b" pg_catalog.current_setting('bytea_output')",
            caller=caller,
            rule=rule,
        )
    )


def plain(style: Style) -> Style:
    """Return the one under which texts are whole and plain.

    The order of day and month stays: it says how the statement's own dates are read.
    """
    dates, digits, _ = style
    order = (dates or "").partition(", ")[2]
    return f"ISO, {order}", digits if int(digits or 0) > 0 else "1", "hex"


def put(seat: Seat, caller: Identity, rule: str, style: Sequence[str | None]) -> PQGen[None]:
    """Put ``style`` in force until the transaction ends, or what encloses it is rolled back."""
    yield from ask(
        seat,
        b"SELECT pg_catalog.set_config('datestyle', $1, true),"
        b" pg_catalog.set_config('extra_float_digits', $2, true),"
        b" pg_catalog.set_config('bytea_output', $3, true)",
        caller=caller,
        rule=rule,
        params=[(value or "").encode() for value in style],
        types=[TEXT_OID] * 3,
    )

"""Measuring a write before it runs: the rows it would touch, counted by a SELECT no further than needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import errors as e
from psycopg.abc import Buffer, PQGen

from governed_db.catalog.probes import Probe, probe
from governed_db.driver.asking import ask
from governed_db.run import UNMADE, Known

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat
    from governed_db.identity import Identity

MAX_PROBED_SETS = 100
"""Parameter sets of one executemany that are measured beforehand, each by a SELECT of its own. Above it the
batch goes straight to the guarded run, which counts all of it together."""

TEXT_OID = 25

Values = tuple[Sequence[Buffer | None] | None, Sequence[int], Sequence[Any] | None]
"""Parameters as they were dumped: values, type OIDs, formats."""


def of(known: Known, seat: Seat) -> Probe | None:
    """Return the probe of a statement, made once and kept with what else is known of it."""
    sent = known.sent
    if sent.bound is None or seat.catalog is None:
        return None
    if sent.probe is UNMADE:
        sent.probe = probe(sent.bound, seat.catalog)
    made: Probe | None = sent.probe
    return made


def measure(seat: Seat, asking: Probe, caller: Identity, values: Values, cap: int) -> PQGen[int | None]:
    """Return how many rows a write would touch, counted up to ``cap`` + 1; ``None`` where nobody can say.

    Raises: see :func:`_count`.
    """
    return (yield from _count(seat, asking.up_to(cap + 1), asking, caller, values))


def spares(seat: Seat, asking: Probe, caller: Identity, values: Values, cap: int) -> PQGen[bool | None]:
    """Return whether a write that touches up to ``cap`` rows leaves out some; ``None``: nobody can say.

    Raises: see :func:`_count`.
    """
    if not asking.every:
        return True
    every = yield from _count(seat, asking.every_up_to(cap + 1), asking, caller, values)
    return None if every is None else not every


def _count(seat: Seat, text_: str, asking: Probe, caller: Identity, values: Values) -> PQGen[int | None]:
    """Send one SELECT that only reads, with the very values of the write, and return its number.

    It is to be called inside of what its failure can be rolled back to; ``None`` says that it has to be.

    Raises:
        psycopg.errors.QueryCanceled: somebody cancelled it, or it ran into the statement timeout, as the
            write would have.
        psycopg.OperationalError: the connection is gone.
    """
    params, types, formats = values
    text = text_.encode(seat.pgconn._encoding)
    if not asking.parameters:
        # The condition uses none, or a client cursor has put the values into the text.
        params, types, formats = None, (), None
    elif params:
        # A parameter that only the rest of the statement uses is not sent; it needs a type all the same.
        used = asking.parameters
        params = [value if n in used else None for n, value in enumerate(params, 1)]
        types = [oid if n in used else oid or TEXT_OID for n, oid in enumerate(types, 1)]
    try:
        (count,) = yield from ask(
            seat,
            text,
            caller=caller,
            rule="governed_db.probe",
            params=params,
            types=types,
            formats=formats,
        )
    except (e.QueryCanceled, e.AdminShutdown, e.IdleInTransactionSessionTimeout):
        raise
    except e.Error as error:
        if error.sqlstate is None:
            raise  # not the server's word: the connection is gone
        return None  # what is wrong with the statement is for the statement itself to say
    return int(count or 0)

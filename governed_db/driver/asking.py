"""Questions of our own about a caller's statement: one query, its one result, on record as ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg import errors as e
from psycopg import generators, pq
from psycopg.abc import Buffer, PQGen

from governed_db.identity import Identity

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

TUPLES_OK = pq.ExecStatus.TUPLES_OK


def ask(
    seat: Seat,
    text: bytes,
    *,
    caller: Identity,
    rule: str,
    params: Sequence[Buffer | None] | None = None,
    types: Sequence[int] = (),
    formats: Sequence[int] | None = None,
) -> PQGen[tuple[str | None, ...]]:
    """Send one query as :func:`ask_all` does; return its first row."""
    rows = yield from ask_all(
        seat, text, caller=caller, rule=rule, params=params, types=types, formats=formats
    )
    return rows[0]


def ask_all(
    seat: Seat,
    text: bytes,
    *,
    caller: Identity,
    rule: str,
    params: Sequence[Buffer | None] | None = None,
    types: Sequence[int] = (),
    formats: Sequence[int] | None = None,
) -> PQGen[list[tuple[str | None, ...]]]:
    """Send one query, by the extended protocol, which takes no second one; return its rows as text.

    It is recorded as this library's, on behalf of ``caller``, whose statement it is about.

    Raises:
        psycopg.Error: what the server said.
    """
    pgconn = seat.pgconn
    ourselves = Identity.service("governed_db", on_behalf_of=caller, purpose="measuring a statement")
    run = seat.governor.trail.command(text, ourselves, seat, rule=rule)
    piped = pgconn.pipeline_status != pq.PipelineStatus.OFF
    try:
        if piped:
            yield from seat.drain()
            pgconn.exit_pipeline_mode()
        try:
            pgconn.send_query_params(text, params, param_types=types, param_formats=formats)
            results = yield from generators.execute(pgconn)
        finally:
            if piped and pgconn.status == pq.ConnStatus.OK:
                pgconn.enter_pipeline_mode()
        result = results[-1]
        if result.status != TUPLES_OK:
            raise e.error_from_result(result, encoding=pgconn._encoding)
    except BaseException as error:
        run.fail(error)
        raise
    run.rows_returned = result.ntuples
    run.finish()
    encoding = pgconn._encoding
    encoding = "utf-8" if encoding == "ascii" else encoding  # psycopg's name for "not known"
    return [
        tuple(
            None if value is None else value.decode(encoding, "backslashreplace")
            for value in (result.get_value(row, column) for column in range(result.nfields))
        )
        for row in range(result.ntuples)
    ]

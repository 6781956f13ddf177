"""Our own reading of the database, on the caller's connection, recorded like everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve
from psycopg import errors as e
from psycopg import generators, pq
from psycopg.abc import PQGen

from governed_db import catalog as cat
from governed_db.catalog import settings
from governed_db.catalog.settings import InForce
from governed_db.errors import GovernanceError
from governed_db.identity import Identity

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

OURSELVES = Identity.service("governed_db", purpose="reading the catalog")
"""Who the trail names for statements that the library itself sends."""

IDLE = pq.TransactionStatus.IDLE

SNAPSHOT_TRIES = 5
"""A snapshot takes some tens of milliseconds; DDL that hits five in a row is a migration under way."""


def session_and_digest(seat: Seat) -> PQGen[tuple[cat.Session, InForce, str]]:
    """Read the session's standing, the settings in force and the catalog's digest in one message."""
    text = b";\n".join((cat.SESSION, settings.SETTINGS, cat.DIGEST))
    session, row, digest = yield from _query(seat, text, expected=3)
    encoding = seat.pgconn._encoding  # that of the session; a snapshot sets its own
    found = settings.in_force(_rows(row, encoding)[0], encoding)
    if found.dangers:
        found = yield from _sources(seat, found)
    if found.frozen_snapshot and seat.pgconn.transaction_status != IDLE:
        (result,) = yield from _query(seat, settings.MOVED, expected=1)
        found = evolve(found, moved=_rows(result, encoding)[0][0] or "")
    return (
        cat.session(_rows(session, encoding)[0]),
        found,
        "".join(v or "" for v in _rows(digest, encoding)[0]),
    )


def _sources(seat: Seat, found: InForce) -> PQGen[InForce]:
    """Add where the dangerous settings came from, for the people who read about them."""
    names = [danger.name for danger in found.dangers]
    (result,) = yield from _query(seat, settings.source_query(names), expected=1)
    sources = {name: source or "" for name, source in _rows(result)}
    return evolve(found, dangers=tuple(evolve(d, source=sources.get(d.name, "")) for d in found.dangers))


def version(seat: Seat, text: bytes) -> PQGen[str]:
    """Return the one value that a query of ours answers with (:mod:`governed_db.catalog.definitions`)."""
    (result,) = yield from _query(seat, text, expected=1)
    return _rows(result)[0][0] or ""


def snapshot(seat: Seat, digest: str) -> PQGen[cat.Catalog]:
    """Read everything decisions need of the catalog; again where it changed while it was being read.

    Raises:
        GovernanceError: it cannot be read, or keeps changing.
    """
    for _ in range(SNAPSHOT_TRIES):
        idle = seat.pgconn.transaction_status == IDLE
        text = cat.SNAPSHOT if idle else cat.SNAPSHOT_IN_TRANSACTION
        try:
            results = yield from _query(seat, text)
        except GovernanceError:
            if not idle:
                yield from _query(seat, cat.RECOVER)
            raise
        try:
            return cat.build([_rows(r) for r in results], digest, seat.pgconn.server_version)
        except cat.TornSnapshot as torn:
            digest = torn.digest
    raise GovernanceError(
        f"the catalog changed {SNAPSHOT_TRIES} times while it was being read",
        rule="catalog.unavailable",
        remedy="run the statement again when the schema changes have come to an end",
        retryable=True,
    )


def _query(seat: Seat, text: bytes, expected: int = 0) -> PQGen[list[pq.abc.PGresult]]:
    pgconn = seat.pgconn
    run = seat.governor.trail.command(text, OURSELVES, seat, rule="governed_db.catalog")
    piped = pgconn.pipeline_status != pq.PipelineStatus.OFF
    try:
        if piped:
            yield from seat.drain()
            pgconn.exit_pipeline_mode()
        try:
            pgconn.send_query(text)
            results: list[pq.abc.PGresult] = yield from generators.execute(pgconn)
        finally:
            if piped and pgconn.status == pq.ConnStatus.OK:
                pgconn.enter_pipeline_mode()
    except BaseException as error:
        run.fail(error)
        raise
    problem = ""
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            if state == e.QueryCanceled.sqlstate:
                cancelled = e.error_from_result(result, encoding=pgconn._encoding)
                run.fail(cancelled)
                raise cancelled
            problem = f"SQLSTATE {state}"
    if not problem and expected and len(results) != expected:
        problem = f"{len(results)} results instead of {expected}"
    if problem:
        failure = GovernanceError(
            f"the catalog cannot be read ({problem}), so no statement can be judged",
            rule="catalog.unavailable",
            remedy="let this role read pg_catalog, or govern this connection with the preset observe",
            retryable=True,
        )
        run.fail(failure)
        raise failure
    run.finish()
    return results


def _rows(result: pq.abc.PGresult, encoding: str = "utf-8") -> Sequence[tuple[str | None, ...]]:
    fields = range(result.nfields)
    return [
        tuple(_text(result.get_value(row, column), encoding) for column in fields)
        for row in range(result.ntuples)
    ]


def _text(value: Any, encoding: str) -> str | None:
    return None if value is None else bytes(value).decode(encoding, "replace")

"""Putting a mask plan over a result: loaders changed, the raw result out of sight, origins checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import pq
from psycopg._cursor_base import BaseCursor

from governed_db.catalog.bound import Source
from governed_db.driver.loaders import install as install_loaders
from governed_db.errors import GovernanceError
from governed_db.run import Run

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

_ROWS = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_CHUNK)

_OPEN_NAMES = frozenset(
    {
        "status", "nfields", "ntuples", "fname", "ftype", "fmod", "fsize", "fformat", "ftable",
        "ftablecol", "binary_tuples", "command_status", "command_tuples", "nparams", "param_type",
        "oid_value",
    }
)  # fmt: skip


class MaskedResult:
    """What ``cursor.pgresult`` is while columns are masked: the shape of the result without its values."""

    __slots__ = ("_shape",)

    def __init__(self, result: PGresult) -> None:
        # Bound methods of the result would lead back to its values; a closure per name does not show it.
        def read(name: str) -> Any:
            return getattr(result, name)

        self._shape = read

    def __getattr__(self, name: str) -> Any:
        if name in _OPEN_NAMES:
            return self._shape(name)
        raise GovernanceError(
            f"pgresult.{name} would show masked columns raw",
            rule="masking.pgresult",
            remedy="read rows with the cursor's fetch methods, which mask them",
        )

    def __bool__(self) -> bool:
        return True


def apply(
    cursor: BaseCursor[Any, Any],
    run: Run,
    result: PGresult,
    format: pq.Format | None,
    *,
    install: bool = True,
) -> None:
    """Mask what ``cursor`` loads from ``result``, or withhold it where it is not what was planned.

    Raises:
        GovernanceError: the server's description of the result disagrees with the plan.
    """
    if not run.sensitive or (result.status not in _ROWS and not result.nfields):
        return
    if result.status in (pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_IN):
        return
    if install:
        check(cursor, run, result)
        if run.plan.masks:
            formats = result.fformat(0) if format is None else format
            install_loaders(
                cursor._tx,
                cursor._adapters,
                [result.ftype(i) for i in range(result.nfields)],
                pq.Format(formats),
                run.plan.masks,
                cursor._conn._seat.governor.keys,
            )
    cover(cursor, run, result)


def cover(cursor: BaseCursor[Any, Any], run: Run, result: PGresult) -> None:
    """Keep the raw values of a masked result out of ``cursor.pgresult``."""
    if run.plan.masks and not isinstance(result, MaskedResult):
        shape: Any = MaskedResult(result)
        cursor.pgresult = shape


def check(cursor: BaseCursor[Any, Any], run: Run, result: PGresult) -> None:
    """Hold libpq's account of where columns come from against the plan: the second, independent check."""
    covered = {mask.index for mask in run.plan.masks}
    origins = run.plan.origins
    if origins is not None and len(origins) != result.nfields:
        _withhold(cursor, f"{result.nfields} columns came back where {len(origins)} were planned")
    for index in range(result.nfields):
        if index in covered or not (table := result.ftable(index)):
            continue
        origin = (table, result.ftablecol(index))
        planned = None if origins is None else origins[index]
        if Source(*origin) in run.sensitive or (planned is not None and origin not in planned):
            _withhold(cursor, f"column {index + 1} comes from another column than was planned")


def _withhold(cursor: BaseCursor[Any, Any], why: str) -> None:
    cursor._results = []
    cursor.pgresult = None
    cursor._tx.set_pgresult(None)
    seat = cursor._conn._seat
    seat.catalog_stale = seat.session_stale = True
    raise GovernanceError(
        f"the result was withheld: {why}",
        rule="masking.provenance",
        remedy="run it again; the catalog is read anew",
        retryable=True,
    )

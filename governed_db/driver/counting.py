"""Counting rows that no command tag tells of: what triggers, cascades, CTEs and functions wrote beside.

PostgreSQL counts the rows that a session inserts, updates and deletes in each table, transaction by
transaction (``pg_stat_get_xact_tuples_inserted`` and its kin, the functions behind pg_stat_xact_all_tables).
Two readings inside of one transaction differ by what was written between them. Rolled-back subtransactions
count (more is counted then than stays), a row that moves to another partition counts twice. Rows of foreign
tables do not count, nor does TRUNCATE: the policy speaks of those by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.abc import PQGen

from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.driver.asking import ask
from governed_db.errors import GovernanceError

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat
    from governed_db.identity import Identity

_SUM = " OPERATOR(pg_catalog.+) ".join(
    f"pg_catalog.pg_stat_get_xact_tuples_{what}(c.oid)" for what in ("inserted", "updated", "deleted")
)
# Rows of TOAST tables are parts of rows that are counted already; the catalog's own are not rows of users.
WRITTEN = (
    f"SELECT pg_catalog.current_setting('track_counts'), pg_catalog.sum({_SUM})"  # noqa: S608 - constants
    " FROM pg_catalog.pg_class AS c"
    " WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,m}'::pg_catalog.\"char\"[])"
    f" AND (c.oid OPERATOR(pg_catalog.>=) {FIRST_USER_OID}::pg_catalog.oid)"
).encode()
"""One row: whether rows are counted at all, and how many this session has written, since whenever."""


def written(seat: Seat, caller: Identity) -> PQGen[int]:
    """Return how many rows this session has written so far, since whenever.

    Raises:
        GovernanceError: the server does not count (``track_counts`` is off).
        psycopg.Error: what else the server said.
    """
    counts, rows = yield from ask(seat, WRITTEN, caller=caller, rule="governed_db.count")
    require_counting(counts)
    return int(rows or 0)


def require_counting(track_counts: str | None) -> None:
    """Check the server's setting ``track_counts``.

    Raises:
        GovernanceError: it is off.
    """
    if track_counts != "on":
        raise GovernanceError(
            "the server does not count written rows (track_counts is off), so a write beside the statement's"
            " own cannot be limited",
            rule="limits.track_counts",
            remedy="turn track_counts on, or have the statement approved",
        )

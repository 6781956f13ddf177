"""Whether a write that no SELECT could measure beforehand left out any row: found out when it has run.

A WHERE with a volatile function, a change in a CTE, an EXPLAIN ANALYZE have no probe (see probe.py), and what
a trigger changes has none either: in a loop or through an array, a WHERE that compares a key can take every
row. Such targets are counted before, and what the server says the session has changed in each is compared
after. What foreign keys change along is not looked at: all children can belong to one parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from psycopg.abc import PQGen

from governed_db.catalog.model import Catalog, Relation
from governed_db.catalog.probes import asks_for_values
from governed_db.driver.asking import ask
from governed_db.driver.counting import require_counting
from governed_db.run import Run
from governed_db.statement.facts import Access
from governed_db.statement.probing import quoted

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

_CHANGED = frozenset({Access.UPDATE, Access.DELETE})
_TRIGGER = "in trigger "


@frozen
class Target:
    """A relation that is changed: the rows it has, and those the session has changed in it so far."""

    name: str
    tables: tuple[int, ...]
    rows: int = 0
    changed: int = 0


def targets_of(runs: Sequence[Run], catalog: Catalog | None, *, measured: bool) -> tuple[Target, ...]:
    """Return what has to be looked at again when ``runs`` have run.

    Args:
        runs: what is about to be sent.
        catalog: the names they were bound to.
        measured: whether a SELECT has told that their own targets keep some rows.
    """
    found: dict[str, Target] = {}
    for run in runs:
        if catalog is None or run.bound is None or run.decision is None or not run.decision.restricts:
            continue
        uses = [u for u in run.bound.relations if u.access in _CHANGED]
        below = tuple(u.relation.oid for u in uses if u.via is not None)
        settled = measured or asks_for_values(run.bound, catalog)
        for use in uses:
            if use.within.startswith(_TRIGGER) if use.within else not settled and use.via is None:
                tables = below if use.relation.kind == "v" else _family(use.relation, catalog)
                name = quoted(use.relation.schema, use.relation.name)
                found[name] = Target(name, tables)
    return tuple(target for target in found.values() if target.tables)


def _family(relation: Relation, catalog: Catalog) -> tuple[int, ...]:
    found = {relation.oid}
    while more := {r.oid for r in catalog.relations.values() if found.intersection(r.parents)} - found:
        found |= more
    return tuple(sorted(found))


def look(seat: Seat, run: Run, targets: tuple[Target, ...], cap: int) -> PQGen[tuple[Target, ...]]:
    """Return ``targets`` with their rows, counted up to ``cap`` + 1, and what was changed in them so far.

    Raises:
        GovernanceError: the server does not count (``track_counts`` is off).
        psycopg.Error: what else the server said.
    """
    columns = ["pg_catalog.current_setting('track_counts')"]
    for target in targets:
        some = f"SELECT 1 FROM {target.name} LIMIT {cap + 1}"  # noqa: S608 - a quoted name of the catalog
        columns.append(f"(SELECT pg_catalog.count(*) FROM ({some}) AS t)")  # noqa: S608 - likewise
        columns.append(_changed(target))
    text = f"SELECT {', '.join(columns)}".encode(seat.pgconn._encoding)
    counts, *numbers = yield from ask(seat, text, caller=run.identity, rule="governed_db.count")
    require_counting(counts)
    found = [int(number or 0) for number in numbers]
    return tuple(
        evolve(target, rows=found[2 * n], changed=found[2 * n + 1]) for n, target in enumerate(targets)
    )


def all_of(seat: Seat, run: Run, targets: tuple[Target, ...]) -> PQGen[str]:
    """Return the name of a target all of whose rows, two or more, were changed since; "" if there is none.

    Raises:
        psycopg.Error: what the server said.
    """
    text = f"SELECT {', '.join(map(_changed, targets))}".encode(seat.pgconn._encoding)
    after = yield from ask(seat, text, caller=run.identity, rule="governed_db.count")
    for target, changed in zip(targets, after, strict=True):
        if target.rows > 1 and int(changed or 0) - target.changed >= target.rows:
            return target.name
    return ""


def _changed(target: Target) -> str:
    return " OPERATOR(pg_catalog.+) ".join(
        f"pg_catalog.pg_stat_get_xact_tuples_{what}({oid}::pg_catalog.oid)"
        for oid in target.tables
        for what in ("updated", "deleted")
    )

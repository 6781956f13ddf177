"""What a statement touches as the server defines it at this moment: people agree to that, and to no other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from psycopg import pq
from psycopg.abc import PQGen

from governed_db.approval.binding import definitions
from governed_db.catalog.definitions import query
from governed_db.driver import lookups
from governed_db.run import Known
from governed_db.statement import EffectKind

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

INERROR = pq.TransactionStatus.INERROR

_OPAQUE = frozenset({EffectKind.DO, EffectKind.CALL, EffectKind.EXECUTE, EffectKind.UNKNOWN})


def define(seat: Seat, known: Iterable[Known]) -> PQGen[None]:
    """Note the definitions of what ``known`` touches, as the server has them now.

    Nothing is asked in a transaction that has failed: nothing runs there either.
    """
    if seat.pgconn.transaction_status == INERROR:
        return
    for each in known:
        server = yield from lookups.version(seat, query(*_touched(seat, each)))
        static = definitions(each.bound, seat.catalog)
        each.definitions = hashlib.sha256(static + server.encode()).digest()


def is_still(seat: Seat) -> PQGen[bool]:
    """Read session and catalog anew, if this call has not; return whether both are as they were.

    What is known of a call may be as old as ``[catalog] max_age``. People take longer than that, so that one
    more look costs nobody anything.
    """
    if seat._just_refreshed or seat.pgconn.transaction_status == INERROR:
        return True
    before = seat.session, seat.catalog, seat.in_force
    yield from seat.refresh()
    return before[0] == seat.session and before[1] is seat.catalog and before[2] == seat.in_force


def _touched(seat: Seat, known: Known) -> tuple[set[int], set[int], set[int]]:
    """Return the OIDs of relations, functions and types that a statement touches by itself."""
    bound, catalog = known.bound, seat.catalog
    if bound is None or catalog is None:
        return set(), set(), set()
    relations = {use.relation.oid for use in bound.relations}
    functions = {oid for use in bound.functions for oid in (*(f.oid for f in use.candidates), *use.reaches)}
    columns = {c.type_oid for use in bound.relations for c in use.relation.columns}
    opaque = not bound.complete or any(effect.kind in _OPAQUE for effect in bound.effects)
    words = known.statement.text.lower()
    if opaque:  # what stands in a body is text to the server as well
        relations |= {oid for oid, relation in catalog.relations.items() if relation.name.lower() in words}
        named = (same for name, same in catalog.functions.items() if name.lower() in words)
        functions |= {function.oid for same in named for function in same}
    # A cast to a domain names its type and nothing else of it.
    domains = (each for each in catalog.types.values() if each.kind == "d")
    columns |= {each.oid for each in domains if each.name.lower() in words}
    return relations, functions, columns

# ruff: noqa: S608 - every text is put together from constants, OIDs and quoted names of the catalog
"""Sampling values on the caller's connection, before rows of a relation are released to a masked caller.

Two messages: one for sizes and privileges, and for each relation one for some rows. Each is a transaction of
its own, or a savepoint that is rolled back inside of the caller's, with timeouts of its own that end with it.
What is read is bounded by pages, rows and characters. Values are kept only while they are judged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen
from psycopg import errors as e
from psycopg import generators, pq
from psycopg.abc import PQGen

from governed_db.catalog.bound import Bound
from governed_db.catalog.model import Relation
from governed_db.driver import announce, announcement
from governed_db.driver.lookups import OURSELVES, _rows
from governed_db.errors import GovernanceError
from governed_db.masking import sampled
from governed_db.masking.sampled import SEPARATOR, UNSEEN, Asked, Held, Judged, Verdict, Wanted
from governed_db.statement.facts import Access

if TYPE_CHECKING:
    from governed_db.catalog.bound import Source
    from governed_db.driver.seat import Seat
    from governed_db.policy.settings import MaskingSettings

RULE: Final = "governed_db.sample"
"""What the trail names for the statements that are sent here."""

PAGES: Final = 64
"""Pages of a relation that a sample reads, about: half a megabyte at PostgreSQL's 8 kB."""

SPREAD: Final = 8
"""How many times as many pages are read of a relation with partitions, over all of them: four megabytes."""

MORE: Final = 64
"""How many times as many pages are read where those had next to no rows in them: 32 megabytes, some tens of
milliseconds."""

MAX_TEXT: Final = 1000
"""Characters of a text that are fetched: an address or a number that stands further behind is not found."""

MAX_DOCUMENT: Final = 8000
"""Characters of a document that are fetched; its first fields tell most of it."""

MAX_STORED: Final = 100_000
"""Bytes of a document, as stored, above which it is not turned into text only to be looked at."""

SAVEPOINT: Final = b"governed_db_sample"

IDLE = pq.TransactionStatus.IDLE
INTRANS = pq.TransactionStatus.INTRANS
_BACK: Final = (b"ROLLBACK TO SAVEPOINT " + SAVEPOINT, b"RELEASE SAVEPOINT " + SAVEPOINT)


@frozen
class _Failed:
    """A sample that could not be taken, and why in a few words without values.

    ``lasting``: it is so by privileges and definitions, and will not be otherwise a moment later. Names alone
    decide then; otherwise nothing is released before it has been looked at.
    """

    because: str
    lasting: bool = False


@frozen
class _Part:
    """Where some rows of a relation are stored."""

    relation: Relation
    pages: float
    rows: float  # as ANALYZE last estimated them; negative: never
    readable: frozenset[int]  # column numbers


def due(seat: Seat, bound: Bound) -> tuple[tuple[Wanted, ...], float]:
    """Return what ``bound`` reads and nobody has looked at yet, and until when what is known besides holds.

    The time is that of the monotonic clock, infinity where nothing has to be looked at again.
    """
    catalog = seat.catalog
    if catalog is None or not seat.governor.policy.settings.masking.sample:
        return (), math.inf
    samples = seat.governor.samples
    sensitive = seat.governor.sensitive(catalog)
    now = time.monotonic()
    until = math.inf
    found: list[Wanted] = []
    for relation in _read(bound):
        wanted = sampled.wanted(catalog, relation, sensitive)
        if wanted is None:
            continue
        if (part := samples.due(_where(seat, relation), wanted, now)) is not None:
            found.append(part)
        else:
            until = min(until, samples.until(_where(seat, relation), wanted))
    return tuple(found), until


def sample(seat: Seat, wanted: Sequence[Wanted]) -> PQGen[float]:
    """Look at ``wanted``; return until when what is known then holds.

    The time is that of the monotonic clock, minus infinity where something could not be looked at now.

    Raises:
        GovernanceError: the server could not show it now (rule "masking.unsampled").
        psycopg.errors.QueryCanceled: somebody cancelled it.
        psycopg.OperationalError: the connection is gone.
        AuditUnavailable: it cannot be put on record.
    """
    unseen = yield from _sample(seat, wanted, seat.governor.policy.settings.masking)
    if unseen is not None:
        relation, because = unseen
        raise GovernanceError(
            f"whether values of {relation} are sensitive cannot be told now: {because}",
            rule=UNSEEN,
            remedy="try again later; who keeps the policy may label its columns in [masking.columns], raise"
            ' masking.sample_timeout_ms, or leave it to names with masking.sample = "off"',
            retryable=True,
        )
    samples = seat.governor.samples
    return min(samples.until(_where(seat, each.relation), each) for each in wanted)


def survey(seat: Seat, relations: Iterable[Relation] | None = None) -> PQGen[Mapping[Source, Verdict]]:
    """Sample ``relations``, or all of the database, anew; return what values say, by column.

    Run it with ``connection.wait(survey(connection._seat))`` on a governed connection of either flavour. Only
    columns that names, types and comments left undecided are looked at. What could not be looked at is told
    of on the trail.

    Raises:
        As :func:`sample`.
    """
    catalog = seat.catalog
    if catalog is None:
        return {}
    chosen = list(catalog.relations.values() if relations is None else relations)
    sensitive = seat.governor.sensitive(catalog)
    seat.governor.samples.forget(chosen)
    wanted = [each for r in chosen if (each := sampled.wanted(catalog, r, sensitive)) is not None]
    if wanted:
        yield from _sample(seat, wanted, seat.governor.policy.settings.masking)
    oids = {relation.oid for relation in chosen}
    found = seat.governor.samples.verdicts(catalog)
    return {source: verdict for source, verdict in found.items() if source.relation in oids}


def _read(bound: Bound) -> Iterable[Relation]:
    """Return the relations whose values the statement can show, in its rows or by what it does."""
    writes_only = bound.outputs == () and not bound.uses
    return {
        use.relation.oid: use.relation
        for use in bound.relations
        if not (writes_only and use.access is Access.INSERT)
    }.values()


def _where(seat: Seat, relation: Relation) -> tuple[object, ...]:
    # Row security may show one role nothing of what another one sees.
    role = seat.session.role if relation.row_security and seat.session is not None else ""
    return (*seat.governor.place(seat), role)


def _sample(
    seat: Seat, due: Sequence[Wanted], masking: MaskingSettings
) -> PQGen[tuple[Relation, str] | None]:
    """Look at ``due``; return the first relation that could not be looked at for now, and why."""
    samples = seat.governor.samples
    piped = seat.pgconn.pipeline_status != pq.PipelineStatus.OFF
    if piped:
        yield from seat.drain()
    if seat.pgconn.transaction_status not in (IDLE, INTRANS):
        for wanted in due:
            _tell(seat, wanted, "the transaction is aborted")
        return None
    if piped:
        seat.pgconn.exit_pipeline_mode()
    unseen: tuple[Relation, str] | None = None
    try:
        parts = yield from _parts(seat, due, masking)
        for wanted in due:
            found = yield from _judged(seat, wanted, parts, masking)
            if isinstance(found, _Failed):
                _tell(seat, wanted, found.because)
                if not found.lasting:
                    unseen = unseen or (wanted.relation, found.because)
                    continue
                found = {}
            where = _where(seat, wanted.relation)
            samples.learn(where, wanted, found, time.monotonic(), masking.sample_again)
    finally:
        if piped and seat.pgconn.status == pq.ConnStatus.OK:
            seat.pgconn.enter_pipeline_mode()
    return unseen


def _judged(
    seat: Seat, wanted: Wanted, parts: Mapping[int, _Part] | _Failed, masking: MaskingSettings
) -> PQGen[Mapping[int, Judged] | _Failed]:
    """Return what some rows of one relation say; columns that could not be looked at are not in it."""
    if isinstance(parts, _Failed):
        return parts
    asked, text, because = _select(seat, wanted, parts, masking)
    answer: Sequence[Sequence[str | None]] | _Failed = ()
    if because:
        answer = _Failed(because, lasting=True)
    elif text:
        answer = yield from _ask(seat, text, masking)
        if not isinstance(answer, _Failed) and len(answer) < sampled.ENOUGH and _thinned(parts, wanted):
            # Pages without rows, or fewer rows than ANALYZE saw.
            asked, text, because = _select(seat, wanted, parts, masking, more=MORE)
            answer = yield from _ask(seat, text, masking)
    if isinstance(answer, _Failed):
        return answer
    if len(asked.columns) < len(wanted.columns):
        _tell(seat, wanted, "the role may not read all of its columns")
    return sampled.judge(asked, answer)


def _tell(seat: Seat, wanted: Wanted, because: str) -> None:
    """Put on record, once for each reason, that names alone decide about a relation for now."""
    if seat.governor.samples.first_told(wanted.relation, because):
        seat.governor.trail.event("masking.unsampled", relation=str(wanted.relation), reason=because)


def _parts(
    seat: Seat, due: Sequence[Wanted], masking: MaskingSettings
) -> PQGen[Mapping[int, _Part] | _Failed]:
    """Return size and readable columns of everything that is about to be read, by OID."""
    stored = {part.oid: part for wanted in due for part in wanted.parts}
    if not stored:
        return {}
    values = ", ".join(f"({oid}::pg_catalog.oid)" for oid in stored)
    text = (
        "SELECT v.oid, pg_catalog.pg_relation_size(v.oid::pg_catalog.regclass)::pg_catalog.float8"
        " OPERATOR(pg_catalog./) pg_catalog.current_setting('block_size')::pg_catalog.float8,"
        " (SELECT c.reltuples FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) v.oid),"
        " pg_catalog.array_to_string(ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute AS a"
        " WHERE a.attrelid OPERATOR(pg_catalog.=) v.oid AND a.attnum OPERATOR(pg_catalog.>) 0"
        " AND NOT a.attisdropped AND pg_catalog.has_column_privilege(v.oid, a.attnum, 'SELECT')), ' ')"
        f" FROM (VALUES {values}) AS v(oid)"
    )
    rows = yield from _ask(seat, text.encode(), masking)
    if isinstance(rows, _Failed):
        return rows
    return {
        int(oid or 0): _Part(
            stored[int(oid or 0)],
            float(pages or 0),
            float(count or -1),
            frozenset(map(int, (numbers or "").split())),
        )
        for oid, pages, count, numbers in rows
    }


def _select(
    seat: Seat, wanted: Wanted, parts: Mapping[int, _Part], masking: MaskingSettings, more: int = 1
) -> tuple[Wanted, bytes, str]:
    """Return what can be asked for, the text that asks for it, and why there is none, where that is so."""
    hidden = [h for part in (wanted.relation, *wanted.parts) for h in part.hidden if h.reads]
    if any(not h.column for h in hidden):
        return wanted, b"", "reading it runs a function that is not vetted"
    readable = [parts[part.oid] for part in wanted.parts if part.oid in parts]
    if not readable:
        return wanted, b"", ""  # nothing is stored in it
    closed = {h.column for h in hidden}

    def open_(asked: Asked) -> bool:
        return asked.column.number not in closed and all(
            (column := part.relation.column(asked.column.name)) is not None and column.number in part.readable
            for part in readable
        )

    asked = evolve(
        wanted,
        columns=tuple(filter(open_, wanted.columns)),
        beside=tuple(filter(open_, wanted.beside)),
    )
    if not asked.columns:
        return asked, b"", "the role may not read any of its columns"
    filled = [part for part in readable if part.pages > 0]
    if not filled:
        return asked, b"", ""
    each = math.ceil(masking.sample_rows / len(filled))
    pages = _pages(len(filled)) * more
    selects = [_select_part(asked, part, each, pages, whole=more > 1) for part in filled]
    text = selects[0] if len(selects) == 1 else " UNION ALL ".join(f"({select})" for select in selects)
    try:
        return asked, text.encode(seat.pgconn._encoding), ""
    except UnicodeEncodeError:
        return asked, b"", "the client encoding cannot write its names"


def _thinned(parts: Mapping[int, _Part], wanted: Wanted) -> bool:
    """Return whether a sample leaves out rows of ``wanted`` other than by its limit."""
    filled = [p for r in wanted.parts if (p := parts.get(r.oid)) is not None and p.pages > 0]
    return any(p.pages > _pages(len(filled)) or p.rows > 0 for p in filled)


def _pages(filled: int) -> int:
    """Return how many pages are read of each of so many partitions."""
    return min(PAGES, max(1, PAGES * SPREAD // filled))


def _select_part(asked: Wanted, part: _Part, limit: int, pages: int, *, whole: bool) -> str:
    share = min(1.0, pages / part.pages)
    columns = ", ".join(_expression(each) for each in (*asked.columns, *asked.beside))
    sample = f" TABLESAMPLE pg_catalog.system ({share * 100:.6g})" if share < 1 else ""
    # So that rows come from all of the pages: by their place, because random() belongs to the caller, whose
    # setseed() would lose its meaning. A third more than the limit, for places that are not even.
    rows = part.rows * share
    keep = min(1.0, limit * 1.35 / rows) if rows > 0 and not whole else 1.0
    where = (
        f" WHERE pg_catalog.hashtext(r.ctid::pg_catalog.text) OPERATOR(pg_catalog.&) 1023"
        f" OPERATOR(pg_catalog.<) {math.ceil(keep * 1024)}"
        if keep < 1
        else ""
    )
    name = f"{_quoted(part.relation.schema)}.{_quoted(part.relation.name)}"
    return f"SELECT {columns} FROM ONLY {name} AS r{sample}{where} LIMIT {limit}"


def _expression(asked: Asked) -> str:
    column = f"r.{_quoted(asked.column.name)}"
    small = f"CASE WHEN pg_catalog.pg_column_size({column}) OPERATOR(pg_catalog.<=) {MAX_STORED} THEN"
    match asked.held:
        case Held.DATE:
            return f"pg_catalog.to_char({column}, 'YYYY-MM-DD')"
        case Held.MOMENT:
            return f"pg_catalog.to_char({column}, 'YYYY-MM-DD HH24:MI:SS')"
        case Held.BYTES:
            return f"pg_catalog.encode(pg_catalog.substring({column}, 1, {MAX_TEXT}), 'escape')"
        case Held.ARRAY:
            joined = f"pg_catalog.array_to_string({column}, pg_catalog.chr({ord(SEPARATOR)}))"
            return f"{small} pg_catalog.left({joined}, {MAX_DOCUMENT}) END"
        case Held.DOCUMENT:
            return f"{small} pg_catalog.left({column}::pg_catalog.text, {MAX_DOCUMENT}) END"
        case _:
            return f"pg_catalog.left({column}::pg_catalog.text, {MAX_TEXT})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _ask(
    seat: Seat, text: bytes, masking: MaskingSettings
) -> PQGen[Sequence[tuple[str | None, ...]] | _Failed]:
    """Send one SELECT within bounds of its own; return its rows."""
    inside = seat.pgconn.transaction_status == INTRANS
    # Row-level security shows a sample what it shows the caller.
    said: tuple[bytes, ...] = ()
    outline: tuple[bytes, ...] = ()
    if inside:
        connection: Any = seat.connection()
        yield from connection._announce()
    elif (wanted := announce.needed(seat)) is not None:
        said = announce.texts(seat, wanted, local=True)
        outline = announcement.outline(wanted.names, local=True)
    timeout = masking.sample_timeout_ms
    bounds = (
        b"SELECT pg_catalog.set_config('statement_timeout', '%dms', true),"
        b" pg_catalog.set_config('lock_timeout', '%dms', true),"
        b" pg_catalog.set_config('transaction_read_only', 'on', true),"
        # A value that the session's own encoding does not have would be an error.
        b" pg_catalog.set_config('client_encoding', 'UTF8', true)" % (timeout, max(1, timeout // 2))
    )
    asked = (b"SAVEPOINT " + SAVEPOINT, bounds, text, *_BACK) if inside else (bounds, text)
    started = time.monotonic()
    results = yield from _send(seat, b"; ".join((*said, *asked)), b"; ".join((*outline, *asked)))
    failed = next((r for r in results if r.status == pq.ExecStatus.FATAL_ERROR), None)
    if failed is None:
        return _rows(
            next(r for r in results[len(said) + 1 + inside :] if r.status == pq.ExecStatus.TUPLES_OK), "utf-8"
        )
    if seat.pgconn.status != pq.ConnStatus.OK:
        raise e.error_from_result(failed, encoding=seat.pgconn._encoding)
    if inside:
        back = b"; ".join(_BACK)
        yield from _send(seat, back, back)
    state = (failed.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    if state == e.QueryCanceled.sqlstate and time.monotonic() - started < masking.sample_timeout_ms / 1000:
        raise e.error_from_result(failed, encoding=seat.pgconn._encoding)  # somebody's, not our own timeout's
    because = _WHY.get(state, f"the server answered with SQLSTATE {state}")
    return _Failed(because, lasting=state == e.InsufficientPrivilege.sqlstate)


_WHY: Final = {
    e.QueryCanceled.sqlstate: "it took longer than masking.sample_timeout_ms",
    e.LockNotAvailable.sqlstate: "it is locked for longer than half of masking.sample_timeout_ms",
    e.InsufficientPrivilege.sqlstate: "the role may not read it",
}


def _send(seat: Seat, text: bytes, outline: bytes) -> PQGen[list[pq.abc.PGresult]]:
    """Send ``text``, on record by ``outline``, which leaves out the values that say who asks."""
    run = seat.governor.trail.command(outline, OURSELVES, seat, rule=RULE)
    try:
        seat.pgconn.send_query(text)
        results: list[pq.abc.PGresult] = yield from generators.execute(seat.pgconn)
    except BaseException as error:
        run.fail(error)
        raise
    failed = next((r for r in results if r.status == pq.ExecStatus.FATAL_ERROR), None)
    if failed is None:
        run.finish()
    else:
        run.fail(e.error_from_result(failed, encoding=seat.pgconn._encoding))
    return results

"""The rows that people agree to: asked for beforehand, locked and compared at the run, looked at afterwards.

Everything here is asked inside of what its failure can be rolled back to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from attrs import field, frozen
from psycopg import errors as e
from psycopg import pq
from psycopg.abc import PQGen

from governed_db.approval.described import effect_of, new_salt
from governed_db.approval.effect import Effect
from governed_db.asked import sees_all
from governed_db.catalog import rows as answers
from governed_db.catalog.describable import Describable, describable
from governed_db.catalog.effects import (
    DETAILS,
    MAX_PARAMETERS,
    Asking,
    asking,
    check_default,
    defaults,
    details,
    own_words,
)
from governed_db.driver import style
from governed_db.driver.asking import ask_all
from governed_db.driver.probe import MAX_PROBED_SETS, TEXT_OID, Values
from governed_db.errors import GovernanceError
from governed_db.masking.given import Refused, each, settle
from governed_db.policy.model import Decision, Request, Verdict
from governed_db.run import Call, Known, Run
from governed_db.statement import Unreadable
from governed_db.statement.describing import Undescribed
from governed_db.statement.facts import Access

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

RULE: Final = "governed_db.effect"
"""What the trail calls the questions that are asked here."""

BINARY: Final = int(pq.Format.BINARY)
OID: Final = 26


@frozen(kw_only=True)
class Expected:
    """What a run has to do, no more and no less.

    Attributes:
        effect: what the rows are now, and will be, in the words of a request.
        asked: how they were asked for.
        rows: the rows.
    """

    effect: Effect
    asked: Asking
    rows: tuple[answers.Row, ...] = field(repr=False)


def shown_of(known: Known, seat: Seat) -> Describable:
    """Return how the rows of a statement are shown; nothing is asked.

    Raises:
        Undescribed: they cannot be.
    """
    if known.bound is None or seat.catalog is None:
        raise Undescribed("it is not understood")
    if known.rewritten is not None:
        raise Undescribed("it runs over masked values, and people would be shown other ones")
    if known.beside and not known.counted:
        raise Undescribed("the server does not count what it writes (track_counts)", "turn track_counts on")
    role = "origin" if seat.session is None else seat.session.replication_role
    return describable(known.bound, seat.catalog, role)


def values_of(call: Call, known: Known, seat: Seat) -> list[Values]:
    """Return the values of each execution of ``call`` as they will be sent.

    Raises:
        Undescribed: nobody can tell them apart, or they are not those that the text asks for.
    """
    sets = each(call)
    if call.text != known.statement.text.encode(_encoding(seat)):
        raise Undescribed(
            "this executemany() is sent in several texts or types",
            "give the same types in each set of parameters",
        )
    if len(sets) > MAX_PROBED_SETS:
        raise Undescribed(
            f"an executemany() of more than {MAX_PROBED_SETS} sets is not asked about one by one",
            "send fewer sets in one call",
        )
    given = known.sent.plan.given
    found: list[Values] = []
    for one in sets:
        made = None if given is None else settle(one, given, seat.governor.keys, seat.pgconn._encoding)
        if isinstance(made, Refused) or (made is not None and made.text != one.text):
            raise Undescribed("a token in its text stands for a value", "give the token as a parameter")
        sent = one if made is None or made.params is None else made
        found.append((sent.params, sent.types, sent.formats))
    return found


def describe(
    seat: Seat, call: Call, known: Known, decision: Decision, found: Describable, salt: str = ""
) -> PQGen[Effect]:
    """Return what ``call`` would do to which rows; ``salt``: of an effect that this one is compared with.

    Raises:
        Undescribed: people cannot be shown it.
        psycopg.Error: what the server said otherwise.
    """
    values = values_of(call, known, seat)
    salt = salt or new_salt()
    caller = known.request.identity
    own = yield from style.read(seat, caller, RULE)
    if own == style.plain(own):
        return (yield from _expected(seat, known, decision, found, values, salt)).effect
    # What is computed from texts of values must not become another one by what people read.
    found_so = yield from _expected(seat, known, decision, found, values, salt)
    yield from style.put(seat, caller, RULE, style.plain(own))
    expected = yield from _expected(seat, known, decision, found, values, salt)
    if expected.effect.digest != found_so.effect.digest:
        raise Undescribed(
            "its values depend on how this session writes dates, floats or bytes",
            "leave DateStyle, extra_float_digits and bytea_output as PostgreSQL has them",
        )
    return expected.effect


def lock(seat: Seat, asked: Sequence[tuple[Run, Values]], agreed: Effect) -> PQGen[Expected]:
    """Lock the rows that are about to be written, and return what they are and will be now.

    Raises:
        Undescribed: people could not be shown it any more.
        psycopg.Error: what the server said otherwise.
    """
    run = asked[0][0]
    assert run.known is not None
    assert run.decision is not None
    if any(other is not run for other, _ in asked) or len(asked) > MAX_PROBED_SETS:
        raise Undescribed("this executemany() is sent in several texts or types")
    found = shown_of(run.known, seat)
    values = [values for _, values in asked]
    own = yield from style.read(seat, run.identity, RULE)
    plain = style.plain(own)
    if own != plain:
        yield from style.put(seat, run.identity, RULE, plain)
    expected = yield from _expected(seat, run.known, run.decision, found, values, agreed.salt, locks=True)
    if own != plain:
        yield from style.put(seat, run.identity, RULE, own)
    return expected


def outcome(seat: Seat, run: Run, expected: Expected, written: int) -> PQGen[str]:
    """Return what has happened otherwise than ``expected``, "" where nothing has.

    ``written``: the rows that were written. :data:`MORE` where there were more than expected.
    """
    found = expected.asked.found
    if written > len(expected.rows):
        return MORE
    if written < len(expected.rows):
        return "a row was left as it is"
    if not found.key or not expected.rows:
        return ""
    types = [c.type_oid for c in found.key] * len(expected.rows)
    params = [bytes.fromhex(part) for row in expected.rows for part in row.new_key]
    answer = yield from ask_all(
        seat,
        expected.asked.again(len(expected.rows)).encode(_encoding(seat)),
        caller=run.identity,
        rule=RULE,
        params=params,
        types=types,
        formats=[BINARY] * len(params),
    )
    return answers.differs(expected.asked, expected.rows, answer)


MORE: Final = "more rows"
"""What :func:`outcome` says where rows have come between the look and the run."""


def _expected(
    seat: Seat,
    known: Known,
    decision: Decision,
    found: Describable,
    sets: Sequence[Values],
    salt: str,
    *,
    locks: bool = False,
) -> PQGen[Expected]:
    most = seat.governor.policy.settings.approvals.effect_rows
    asked = yield from _asking(seat, known, decision, found)
    for _, types, _ in sets:
        if len(types) > known.statement.parameters:
            raise Undescribed("a token in its text stands for a value", "give the token as a parameter")
        if not found.casting.isdisjoint(types):
            raise Undescribed("a parameter would be cast by a function that somebody wrote")
    try:
        rows = yield from _found(seat, known, asked, sets, most, locks=locks)
    except (Undescribed, e.Error) as error:
        if isinstance(error, e.Error) and not is_refusal(error):
            raise
        if not locks and not may_ask(seat, known, own_words(found)):
            raise Untold("what its rows hold says that they cannot be shown") from None
        raise
    return Expected(effect=effect_of(found, rows, salt), asked=asked, rows=tuple(rows))


class Untold(Undescribed):
    """Rows cannot be shown because of what is in them, which the caller may not read: it is not told so."""


def may_ask(seat: Seat, known: Known, text: str) -> bool:
    """Return whether the policy lets the caller run the SELECT ``text`` without asking people."""
    governor, caller = seat.governor, known.request.identity
    if governor.counsel is not None:
        return False  # who decides is somewhere else
    try:
        statement = governor.read(text.encode(seat.pgconn._encoding), seat)
        bound = governor.bind(statement, seat)
    except (Unreadable, GovernanceError, UnicodeEncodeError):
        return False
    granted = seat.granted(caller)
    asking_ = Request(
        statement=statement, identity=caller, bound=bound, database=seat.database(), grants=granted
    )
    return governor.decide(asking_).verdict is Verdict.ALLOW


def _found(
    seat: Seat, known: Known, asked: Asking, sets: Sequence[Values], most: int, *, locks: bool
) -> PQGen[list[answers.Row]]:
    found = asked.found
    rows: list[answers.Row] = []
    seen: set[tuple[str, ...]] = set()
    for params, types, formats in sets:
        left = most - len(rows)
        text = asked.up_to(left + 1, lock=locks)
        answer = yield from _rows(seat, text, asked, known, (params, types, formats))
        # Before a row that is found twice counts once: there can be more behind the last one asked for.
        if len(answer) > left or (len(rows) + len(answer)) * len(found.key) > MAX_PARAMETERS:
            raise Undescribed(
                f"it is about more than {most} rows ([approvals] effect_rows), and nobody reads so many",
                "narrow it to fewer rows",
            )
        came = answers.rows_of(asked, answer)
        keys = {row.key for row in came if row.key}
        if not seen.isdisjoint(keys):
            raise Undescribed(
                "two sets of parameters are about one row, and the second finds what the first has left",
                "send one set for each row",
            )
        seen |= keys
        rows += came
    return rows


def _rows(
    seat: Seat, text: str, asked: Asking, known: Known, values: Values
) -> PQGen[list[tuple[str | None, ...]]]:
    params, types, formats = values
    if not asked.parameters:
        # It uses none, or a client cursor has put the values into the text.
        params, types, formats = None, (), None
    elif params:
        used = asked.parameters
        params = [value if n in used else None for n, value in enumerate(params, 1)]
        types = [oid if n in used else oid or TEXT_OID for n, oid in enumerate(types, 1)]
    return (
        yield from ask_all(
            seat,
            text.encode(_encoding(seat)),
            caller=known.request.identity,
            rule=RULE,
            params=params,
            types=types,
            formats=formats,
        )
    )


def _asking(seat: Seat, known: Known, decision: Decision, found: Describable) -> PQGen[Asking]:
    assert seat.catalog is not None
    caller = known.request.identity
    answer = yield from ask_all(
        seat,
        DETAILS,
        caller=caller,
        rule=RULE,
        params=[str(found.relation.oid).encode()],
        types=[OID],
    )
    read = details(answer, found, seat.catalog)
    for expression in defaults(found, read):
        try:
            statement = seat.governor.read(f"SELECT {expression}".encode(_encoding(seat)), seat)
            check_default(seat.governor.bind(statement, seat))
        except Unreadable:
            raise Undescribed("a DEFAULT cannot be read", "give the value itself") from None
    return asking(found, read, *_hidden(seat, known, decision, found))


def _hidden(
    seat: Seat, known: Known, decision: Decision, found: Describable
) -> tuple[frozenset[int], frozenset[int]]:
    """Return the columns whose values approvers see neither before nor after the write."""
    assert seat.catalog is not None
    assert known.bound is not None
    if sees_all(seat.governor.policy, decision.approvers):
        return frozenset(), frozenset()
    sensitive = seat.governor.sensitive(seat.catalog)
    oid = found.relation.oid
    before = frozenset(s.column for s in sensitive if s.relation == oid)
    relations = {s.relation for s in sensitive}

    def inside(location: int) -> bool:
        return location < 0 or any(start <= location < end for start, end in found.parts.made)

    copied = any(
        use.source in sensitive or (not use.source.column and use.source.relation in relations)
        for use in known.bound.uses
        if inside(use.location)
    )
    if not copied or found.access is Access.DELETE:
        return before, before
    # Something of a sensitive column goes into these: only what the caller has given is plain.
    given = {s.sink.column for s in known.bound.stored if s.sink.relation == oid}
    computed = frozenset(c.number for c in found.shown if c.number not in given or not found.parts.assigned)
    return before, before | computed


def _encoding(seat: Seat) -> str:
    encoding = seat.pgconn._encoding
    return "utf-8" if encoding == "ascii" else encoding


def is_refusal(error: e.Error) -> bool:
    """Return whether the server has said no to a question, and not that the connection is gone."""
    return error.sqlstate is not None and not isinstance(
        error, e.AdminShutdown | e.IdleInTransactionSessionTimeout
    )

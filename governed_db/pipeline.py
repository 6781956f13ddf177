"""The way of a statement, top to bottom.

Every path by which a caller can send SQL leads through :func:`clear`, and nothing is sent without the
:class:`~governed_db.run.Run` it returns::

    WHO    seat.caller()          the identity in force: acting_as, else the connection's, else the default
           admitted()             what the policy demands to know of it          (admission.py)
           within_rate()          what its budget leaves of this minute
    WHAT   what()                 facts from PostgreSQL's grammar, then from this database's catalog
    MAY    judged()               the policy's decision or the decider's, with the planner's estimate where
                                  a rule asks for it; the budget's and the mask plan's refusals
    AGREED agreed()               people, where the decision asks for them        (agreed.py)
    WHAT   looked()               values, sampled once, of columns that names left undecided
    NOTED  trail.intent()         on record BEFORE it is sent
    RUN    the driver             psycopg sends it; ``Run.guard`` says within which bounds
    MASK   ``Run.plan``           applied by the driver as values load
    NOTED  run.finish()           the outcome

These are generators only because the catalog (``seat.bind``) or the planner (``seat.estimate``) may have
to be asked on the caller's own connection, a decider elsewhere (``governor.consult``), or the store of
approvals and grants (``seat.elsewhere``); they wait for nothing else, and sync and async connections drive
the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve
from psycopg import AsyncConnection
from psycopg.abc import PQGen

from governed_db import refusals
from governed_db.admission import admitted, charge, within_rate, within_rows
from governed_db.agreed import Moved, agreed
from governed_db.approval.request import ApprovalRequest
from governed_db.errors import (
    GovernanceError,
    OperationalError,
    QueryCanceled,
)
from governed_db.identity.model import Identity, standing
from governed_db.masking.given import Refused, each, settle
from governed_db.masking.model import OPEN
from governed_db.masking.redact import copies
from governed_db.masking.sampled import UNSEEN
from governed_db.policy.demands import unmet
from governed_db.policy.model import Decision, Estimate, Request, Verdict
from governed_db.refusing import refuse, refused, unread
from governed_db.run import NO_CAP, Call, Known, Run, Sending, only_reads
from governed_db.statement import EffectKind, Unreadable

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat
    from governed_db.governor import Governor
    from governed_db.spending import Spending

COPIES = frozenset({EffectKind.COPY_TO, EffectKind.COPY_FROM})
"""Effects by which rows travel beside the result."""


def clear(call: Call, seat: Seat) -> PQGen[Run]:
    """Take one call through WHO, WHAT, MAY and AGREED, or refuse it with nothing sent.

    The run it returns is sent only after its intent is on record (``trail.intent``); what it has to run
    inside of (BEGIN, a savepoint) is opened in between, so that records stand in the order of sending.

    Raises:
        GovernanceError: one of its subclasses; the refusal is on record.
    """
    caller = seat.caller()
    admitted(call, caller, seat)
    if seat.governor.rated:
        within_rate(call, caller, seat)
    if seat.governor.register.stale():
        yield from seat.elsewhere(seat.governor.register.look)
    while True:
        try:
            return (yield from _cleared(call, caller, seat))
        except Moved:
            continue


def _cleared(call: Call, caller: Identity, seat: Seat) -> PQGen[Run]:
    known = seat.recall(call, caller) if seat.fresh() else None
    if known is None:
        known = yield from what(call, caller, seat)
    decision = yield from judged(call, known, seat)
    limit = guard(call, known, decision)
    approval = None
    if decision.verdict is not Verdict.ALLOW or limit is not None:
        decision, approval = yield from agreed(call, caller, known, decision, seat)
        limit = guard(call, known, decision, approval)
    if known.due:
        known = yield from looked(call, caller, known, decision, seat)
    run = _run(call, caller, known, decision, approval, limit, seat.governor.spending)
    if run.plan.given is not None:
        run.sending = sending(run, call, seat)
    return run


def clear_all(
    calls: Sequence[Call], seat: Seat, order: Sequence[int] = ()
) -> PQGen[tuple[list[Run], int | None, Call]]:
    """Do the same for calls that are sent as one (executemany): agreed to together or not at all.

    ``order`` says of each execution which of ``calls`` it is.

    Returns the runs, the row cap to watch over all of them, and the whole as one call, which is what
    people agree to.
    """
    caller = seat.caller()
    admitted(calls[0], caller, seat)
    if seat.governor.rated:
        within_rate(calls[0], caller, seat)
    if seat.governor.register.stale():
        yield from seat.elsewhere(seat.governor.register.look)
    while True:
        try:
            return (yield from _cleared_all(calls, caller, order, seat))
        except Moved:
            continue


def _cleared_all(
    calls: Sequence[Call], caller: Identity, order: Sequence[int], seat: Seat
) -> PQGen[tuple[list[Run], int | None, Call]]:
    known: list[Known] = []
    for call in calls:
        yield from seat.keep_up()
        known.append(seat.recall(call, caller) or (yield from what(call, caller, seat)))
    whole = (
        calls[0]
        if len(calls) == 1
        else Call(
            b"\0".join(call.text for call in calls),
            tuple(oid for call in calls for oid in call.types),
            [value for call in calls for value in call.params or ()],
            executions=calls[0].executions,
            formats=[f for call in calls for f in call.formats or ()] or None,
            parts=tuple(known),
            order=tuple(order),
        )
    )
    decisions: list[Decision] = []
    for call, k in zip(calls, known, strict=True):
        decisions.append((yield from judged(call, k, seat)))
    severest = max(range(len(calls)), key=lambda n: _SEVERITY[decisions[n].verdict])
    limits = [guard(call, k, d) for call, k, d in zip(calls, known, decisions, strict=True)]
    limit = min((each for each in limits if each is not None), default=None)
    approval = None
    worst = decisions[severest]
    if worst.verdict is not Verdict.ALLOW or limit is not None:
        answer, approval = yield from agreed(whole, caller, known[severest], worst, seat)
        if approval is not None:
            decisions = [
                answer.replace(statement=k.statement, grants=d.grants)
                for k, d in zip(known, decisions, strict=True)
            ]
            limit = guard(whole, known[severest], answer, approval)
    for place, (call, k, decision) in enumerate(zip(calls, known, decisions, strict=True)):
        if k.due:
            known[place] = yield from looked(call, caller, k, decision, seat)
    runs = [
        _run(call, caller, k, decision, approval, None, seat.governor.spending)
        for call, k, decision in zip(calls, known, decisions, strict=True)
    ]
    return runs, limit, whole


def looked(call: Call, caller: Identity, known: Known, decision: Decision, seat: Seat) -> PQGen[Known]:
    """Look at values that names left undecided, of what is about to be sent, and see whether it still holds.

    Raises:
        MaskedColumnRefused: the values are sensitive, and no mask can follow them.
        StatementBlocked: the server could not show them now. Retryable.
    """
    try:
        known = yield from seat.look(call, known, caller)
    except GovernanceError as error:
        if error.rule != UNSEEN:
            raise
        raise refused(call, caller, seat, UNSEEN, str(error), error.remedy, retryable=True) from None
    # Its rows are settled: by the cap before, or by people, who can have agreed to fewer than a proof allows.
    after = held(call, known, decision.replace(row_cap=None))
    if after.verdict is not Verdict.ALLOW:
        refuse(call, caller, known, after, seat, None)
    return known


_SEVERITY = {Verdict.ALLOW: 0, Verdict.NEEDS_APPROVAL: 1, Verdict.BLOCK: 2}


def _run(
    call: Call,
    caller: Identity,
    known: Known,
    decision: Decision,
    approval: ApprovalRequest | None,
    limit: int | None,
    spending: Spending,
) -> Run:
    if known.cleared:
        decision = cleared(decision, known)
    counting = None
    if decision.budget.rows_written_per_minute is not None:
        counting = partial(charge, caller, spending)
    return Run(
        charge=counting,
        call=call,
        identity=caller,
        statement=known.statement,
        decision=decision,
        plan=known.sent.plan,
        sensitive=known.sensitive,
        bound=known.bound,
        approval=approval,
        guard=limit,
        settled=known.settled,
        known=known,
        sending=None if known.rewritten is None else Sending(known.rewritten.text),
    )


def cleared(decision: Decision, known: Known) -> Decision:
    """Return ``decision`` with the grants by which it shows columns that this caller else sees masked."""
    if not known.cleared or decision.verdict is Verdict.BLOCK:
        return decision
    return decision.replace(grants=tuple(sorted({*decision.grants, *known.cleared})))


def watch(call: Call, seat: Seat) -> Run:
    """The way under ``observe``: nothing is looked up, refused or changed; what there is goes on record."""
    governor = seat.governor
    caller = seat.caller()
    known = seat.recall(call, caller)
    if known is None:
        try:
            statement = governor.read(call.text, seat)
        except Unreadable as unreadable:
            return _unjudged(call, caller, seat, unreadable)
        except Exception as error:
            return _unjudged(call, caller, seat, Unreadable("statement.failed", type(error).__name__, ""))
        request = Request(statement=statement, identity=standing(caller))
        known = Known(statement=statement, bound=None, plan=OPEN, request=request)
        seat.keep(call, caller, known)
    try:
        decision: Decision | None = _foreseen(governor.decide(known.request), caller, governor)
    except GovernanceError:
        decision = None
    return Run(call=call, identity=caller, statement=known.statement, decision=decision, known=known)


def _foreseen(decision: Decision, caller: Identity, governor: Governor) -> Decision:
    """Return what would be said of a caller of whom too little is known; nobody is refused for it."""
    settings = governor.policy.settings
    missing = unmet(caller, settings.callers, settings.services, governor.withdrawn)
    if missing is None:
        return decision
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule=missing.rule,
        reason=f"{missing.reason[:1].upper()}{missing.reason[1:]}",
        remedy=missing.remedy,
        retryable=False,
        effect=None,
        row_cap=None,
    )


def sending(run: Run, call: Call, seat: Seat) -> Sending | None:
    """Return what is sent in the place of one execution of ``run``, ``None`` where that is ``call`` itself.

    Raises:
        MaskedColumnRefused: a value of it is not let in; the refusal is on record.
    """
    known, decision = run.known, run.decision
    if known is None or decision is None:
        return None
    rewritten = None if known.rewritten is None else Sending(known.rewritten.text)
    if run.plan.given is None or not decision.masked:
        return rewritten
    made = settle(_planned(call, known), run.plan.given, seat.governor.keys, seat.pgconn._encoding)
    if isinstance(made, Refused):
        refuse(call, run.identity, known, refusals.let_in(decision, made), seat, None)
    return made or rewritten


def _unjudged(call: Call, caller: Identity, seat: Seat, unreadable: Unreadable) -> Run:
    seat.governor.trail.attempt(call, caller, seat, unreadable)
    return Run(call=call, identity=caller, statement=None, decision=None)


def what(call: Call, caller: Identity, seat: Seat) -> PQGen[Known]:
    """Understand the text: from the cache, else the grammar, else the catalog as well."""
    yield from seat.keep_up()
    known = seat.recall(call, caller)
    if known is not None:
        return known
    try:
        statement = seat.governor.read(call.text, seat)
        known = yield from seat.bind(statement, caller)
    except Unreadable as unreadable:
        raise unread(call, caller, seat, unreadable) from None
    except (GovernanceError, QueryCanceled, OperationalError):
        raise
    except Exception as error:
        # A mistake of ours in reading must never be a way past the policy, nor look like the caller's.
        failed = Unreadable(
            "statement.failed",
            f"the statement could not be analysed ({type(error).__name__})",
            "write it more simply, and report the statement as a defect of governed_db",
        )
        raise unread(call, caller, seat, failed) from error
    seat.keep(call, caller, known)
    return known


def may(call: Call, known: Known, governor: Governor) -> Decision:
    """Ask the policy alone; then hold the statement against its mask plan and the row cap."""
    decision = governor.decide(known.request)
    if decision.wants_estimate:
        decision = refusals.unestimated(decision, "it was not asked")
    return held(call, known, decision)


def judged(call: Call, known: Known, seat: Seat) -> PQGen[Decision]:
    """Ask the policy or the decider, and the planner where a rule depends on it; then see what holds."""
    governor, request = seat.governor, known.request
    granted = seat.granted(request.identity)
    if granted:
        request = evolve(request, grants=granted)
    if governor.counsel is None:  # without a generator in between: this is every statement's way
        decision = governor.decide(request)
    else:
        decision = yield from _answer(request, seat)
    given = known.sent.plan.given
    if given is not None and decision.masked and decision.verdict is not Verdict.BLOCK and not known.refused:
        # Before the planner is asked, or people: neither may tell a value that is there from one that is not.
        for one in each(_planned(call, known)):
            made = settle(one, given, governor.keys, seat.pgconn._encoding)
            if isinstance(made, Refused):
                return refusals.let_in(decision, made)
    if decision.wants_estimate:
        if decision.masked and known.refused:
            # It does not run in any case; and what the planner expects tells of the values behind the mask.
            return refusals.masked(decision, known)
        estimate = yield from seat.estimate(_planned(call, known), known.statement)
        if isinstance(estimate, Estimate):
            decision = yield from _answer(evolve(request, estimate=estimate), seat)
            decision = decision.replace(estimate=estimate)
        else:
            decision = refusals.unestimated(decision, estimate.because)
    if decision.budget.rows_written_per_minute is not None and known.statement.writes:
        decision = within_rows(known, decision, governor)
    return held(call, known, decision)


def _planned(call: Call, known: Known) -> Call:
    """Return what the planner is asked about: what would be sent."""
    return call if known.rewritten is None else evolve(call, text=known.rewritten.text)


def _answer(request: Request, seat: Seat) -> PQGen[Decision]:
    governor = seat.governor
    if governor.counsel is None:
        return governor.decide(request)
    return (yield from governor.consult(request, blocking=not isinstance(seat.connection(), AsyncConnection)))


def held(call: Call, known: Known, decision: Decision) -> Decision:
    """Hold a decision against what no policy can allow, the statement's mask plan and its row cap."""
    if known.forged:
        return refusals.forged(decision, known.forged)
    if decision.verdict is Verdict.BLOCK:
        return decision
    if decision.masked and known.refused:
        return refusals.masked(decision, known)
    if any(effect.kind in COPIES for effect in known.statement.effects) and not call.copies:
        return refusals.not_copied(decision)
    if decision.masked and known.plan.masks and known.rewritten is None and copies(known.statement):
        return refusals.copied(decision, known)
    if decision.verdict is Verdict.ALLOW and decision.row_cap is not None:
        return refusals.capped(decision, call, known)
    return decision


def guard(
    call: Call, known: Known, decision: Decision, approval: ApprovalRequest | None = None
) -> int | None:
    """Return the rows after which the run is rolled back, ``None`` where a proof or the policy needs none."""
    if approval is not None and approval.question.binds == "effect" and not only_reads(known):
        return NO_CAP if decision.row_cap is None else decision.row_cap
    if decision.verdict is not Verdict.ALLOW or decision.row_cap is None:
        return None
    if not known.writes and not (call.copies and _copies_in(known)):
        return None
    rows = known.bound.rows if known.bound is not None else None
    if rows is not None and rows * call.executions <= decision.row_cap:
        return None
    return decision.row_cap


def _copies_in(known: Known) -> bool:
    return any(effect.kind is EffectKind.COPY_FROM for effect in known.statement.effects)

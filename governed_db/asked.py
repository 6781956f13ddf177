"""AGREED, prepared: the question that people are asked about a call. A function of what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from governed_db.approval.binding import bind, definitions
from governed_db.approval.request import Question
from governed_db.approval.shown import shown
from governed_db.identity.model import Identity, Kind, standing
from governed_db.policy.model import Decision, Verdict
from governed_db.run import Call, Known

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat
    from governed_db.policy import Policy

TOO_MANY = "it touches more rows than this caller may write without approval, or every row of its target"
"""Why people are asked about a write that the policy allows up to a cap. Without numbers: the same call has
to make the same question again."""

EMPTY = "masked"


def question(call: Call, caller: Identity, known: Known, decision: Decision, seat: Seat) -> Question:
    """Return what people are asked about ``call``; the same call makes the same question again."""
    governor = seat.governor
    statement = known.statement
    settings = governor.policy.settings.approvals
    sensitive = {} if seat.catalog is None else governor.sensitive(seat.catalog)
    clear = sees_all(governor.policy, decision.approvers)
    sql, values = shown(call, statement, known.bound, sensitive, clear=clear)
    server = seat.server()
    where = seat.standing()
    parts = call.parts or (known,)
    bound = known.bound
    return Question(
        digest=bind(
            call.text,
            [None if v is None else bytes(memoryview(v)) for v in call.params or ()],
            call.types,
            caller,
            decision.policy,
            # What a grant has let pass people were not asked about: without it the question is another one.
            (server, *where, str(call.executions), str(call.copies), *_granted(decision, known)),
            order=call.order,
            formats=[int(f) for f in call.formats or ()],
            definitions=b"".join(each.definitions or definitions(each.bound, seat.catalog) for each in parts),
            binds=decision.binds,
        ),
        requester=standing(caller),
        statement=statement.normalised,
        sql=sql,
        values=values,
        summary=statement.summary or statement.tag,
        rule=decision.rule,
        reason=decision.reason if decision.verdict is Verdict.NEEDS_APPROVAL else TOO_MANY,
        fingerprint=statement.fingerprint,
        relations=tuple(sorted({str(use.relation) for use in bound.relations})) if bound is not None else (),
        columns=tuple(sorted({f"{c.relation}.{c.column}" for c in bound.columns or ()}))
        if bound is not None
        else (),
        server=server,
        database=seat.database(),
        role="" if seat.session is None else seat.session.role,
        search_path=() if seat.session is None else seat.session.search_path,
        policy=decision.policy,
        approvers=decision.approvers,
        needed=decision.approvals_needed,
        beside=any(each.writes and each.beside for each in parts),
        binds=decision.binds,
        valid_seconds=settings.valid_seconds,
    )


def _granted(decision: Decision, known: Known) -> list[str]:
    return sorted({*decision.grants, *known.cleared})


def sees_all(policy: Policy, groups: tuple[str, ...]) -> bool:
    """Return whether everybody who can be asked sees sensitive columns unmasked."""
    people = [Identity(kind=Kind.HUMAN, subject=EMPTY, groups=(group,)) for group in groups] or [
        Identity(kind=Kind.HUMAN, subject=EMPTY)
    ]
    return not any(policy.masks(person) for person in people)

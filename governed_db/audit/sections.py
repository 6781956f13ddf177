"""The sections of a record: who, what, may, where, happened.

Nothing here takes a literal, a parameter's value or a row: the functions read only
:attr:`Statement.normalised`, names, numbers and what the caller says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from attrs import frozen

from governed_db.catalog.bound import Bound, Source
from governed_db.identity.model import Identity
from governed_db.masking.model import MaskPlan
from governed_db.policy.model import Decision
from governed_db.statement.facts import Effect, Statement


class Status(StrEnum):
    """What became of a statement."""

    OK = "ok"
    ERROR = "error"  # the server or the driver said no
    CANCELLED = "cancelled"  # by the caller, or by a time limit
    REFUSED = "refused"  # measured while it ran, and rolled back by us
    UNKNOWN = "unknown"  # the process died, or the connection broke, before an answer


@frozen(kw_only=True)
class Where:
    """One connection.

    Attributes:
        host, port, database: the server; ``host`` is the folder of its socket for a local one.
        backend_pid: the server process.
        connection: our own name for the connection, unique in the process.
    """

    host: str = ""
    port: int | None = None
    database: str = ""
    backend_pid: int | None = None
    connection: str = ""


def who(identity: Identity, role: str = "", client: str = "") -> dict[str, Any]:
    """Return the caller: ``role`` is the database's role, ``client`` the address it connects from."""
    section: dict[str, Any] = _principal(identity)
    if identity.on_behalf_of is not None:
        section["on_behalf_of"] = [_principal(p) for p in _chain(identity.on_behalf_of)]
    if identity.groups:
        section["groups"] = sorted(identity.groups)
    _put(
        section,
        session=identity.session,
        tool_call=identity.tool_call,
        purpose=identity.purpose,
        role=role,
        client=client,
    )
    return section


def what(
    statement: Statement,
    bound: Bound | None = None,
    plan: MaskPlan | None = None,
    parameter_types: Iterable[int] = (),
) -> dict[str, Any]:
    """Return the statement; ``parameter_types`` are the OIDs the driver binds (0: left to the server)."""
    effects = statement.effects if bound is None else bound.effects
    section: dict[str, Any] = {"effects": [_effect(e) for e in effects]}
    _put(
        section,
        text=statement.normalised,
        fingerprint=statement.fingerprint,
        summary=statement.summary,
        tag=statement.tag,
        relations=_relations(statement, bound),
        columns=_columns(bound),
    )
    if plan is not None and plan.masks:
        section["masked"] = [
            {"column": m.name, "label": m.label, "strategy": m.strategy.value} for m in plan.masks
        ]
    if statement.parameters:
        section["parameters"] = {"count": statement.parameters, "types": list(parameter_types)}
    complete = statement if bound is None else bound
    if not complete.complete:
        section["incomplete_because"] = complete.incomplete_because or "not understood"
    return section


def may(decision: Decision, approval: str = "") -> dict[str, Any]:
    """Return the decision; ``approval`` is the id of the approval that it rests on."""
    section: dict[str, Any] = {"verdict": decision.verdict.value, "rule": decision.rule}
    _put(
        section,
        policy=decision.policy,
        reason=decision.reason,
        approval=approval,
        approvers=list(decision.approvers),
        row_cap=decision.row_cap,
        shadowed=[{"rule": s.rule, "verdict": s.verdict.value} for s in decision.shadowed],
    )
    return section


def where(place: Where) -> dict[str, Any]:
    """Return the connection; the transaction and the trace change with each statement and are added later."""
    section: dict[str, Any] = {}
    _put(
        section,
        host=place.host,
        port=place.port,
        database=place.database,
        backend_pid=place.backend_pid,
        connection=place.connection,
    )
    return section


def happened(
    status: str,
    *,
    duration_us: int,
    rows_returned: int | None = None,
    rows_affected: int | None = None,
    batch_size: int | None = None,
    bytes_copied: int | None = None,
    sqlstate: str = "",
    error: str = "",
) -> dict[str, Any]:
    """Return what became of a statement.

    Args:
        status: one of :class:`Status`.
        duration_us: from the intent to the end, by a monotonic clock, in microseconds.
        rows_returned, rows_affected: as counted; ``None`` where nobody could count.
        batch_size: sets of parameters, for executemany.
        bytes_copied: the data of COPY, both ways.
        sqlstate: the server's error code.
        error: the class of the error, never its message: a server's message quotes values.

    Raises:
        ValueError: the status is not one of :class:`Status`.
    """
    section: dict[str, Any] = {"status": _STATUS[status], "duration_us": duration_us}
    if rows_returned is not None:
        section["rows_returned"] = rows_returned
    if rows_affected is not None:
        section["rows_affected"] = rows_affected
    if batch_size is not None:
        section["batch_size"] = batch_size
    if bytes_copied is not None:
        section["bytes_copied"] = bytes_copied
    if sqlstate:
        section["sqlstate"] = sqlstate
    if error:
        section["error"] = error
    return section


class _Statuses(dict[str, str]):
    """A dict is what the hot path can afford; a word that is not a status raises as an enum would."""

    def __missing__(self, status: str) -> str:
        return Status(status).value


_STATUS = _Statuses({s.value: s.value for s in Status})


def _put(section: dict[str, Any], **fields: Any) -> None:
    section.update((k, v) for k, v in fields.items() if v is not None and v not in ("", []))


def _principal(identity: Identity) -> dict[str, Any]:
    section: dict[str, Any] = {"kind": identity.kind.value, "subject": identity.subject}
    if identity.issuer:
        section["issuer"] = identity.issuer
    section["verified"] = identity.verified
    return section


def _chain(identity: Identity | None) -> Iterable[Identity]:
    while identity is not None:
        yield identity
        identity = identity.on_behalf_of


def _effect(effect: Effect) -> dict[str, Any]:
    section: dict[str, Any] = {"kind": effect.kind.value}
    _put(
        section,
        target=str(effect.target or ""),
        name=effect.name,
        constrained=effect.constrained,
        rows=effect.rows,
        note=effect.note,
    )
    return section


def _relations(statement: Statement, bound: Bound | None) -> list[dict[str, str]]:
    # A table joined to itself is one relation that is read; a dict keeps the order of the text.
    if bound is None:
        return [
            {"name": n, "access": a}
            for n, a in dict.fromkeys((str(r.name), r.access.value) for r in statement.relations)
        ]
    seen = dict.fromkeys(
        (str(r.relation), r.access.value, str(r.via) if r.via is not None else "") for r in bound.relations
    )
    return [{"name": n, "access": a} | ({"via": v} if v else {}) for n, a, v in seen]


def _columns(bound: Bound | None) -> list[str]:
    if bound is None:
        return []
    sources = {s for o in bound.outputs or () for s in o.sources} | {u.source for u in bound.uses}
    relations = {u.relation.oid: u.relation for u in bound.relations}

    def name(source: Source) -> str:
        relation = relations.get(source.relation)
        if relation is None:
            return f"{source.relation}.{source.column}"
        if source.column == 0:
            return f"{relation}.*"
        column = next((c.name for c in relation.columns if c.number == source.column), str(source.column))
        return f"{relation}.{column}"

    return sorted({name(s) for s in sources})

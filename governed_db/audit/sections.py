"""The sections of a record: who, what, may, where, happened.

Nothing here takes a literal, a parameter's value or a row: the functions read only
:attr:`Statement.normalised`, names, numbers and what the caller says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from attrs import frozen

from governed_db.audit import lineage
from governed_db.catalog.bound import Bound
from governed_db.catalog.model import Relation, Session
from governed_db.identity.model import Identity
from governed_db.masking.model import MaskPlan
from governed_db.policy.model import Decision
from governed_db.statement.facts import WRITES, Effect, Statement


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
    _put(
        section,
        session=identity.session,
        mcp_session=identity.mcp_session,
        tool_call=identity.tool_call,
        purpose=identity.purpose,
        expires=None if identity.expires is None else identity.expires.isoformat(),
        role=role,
        client=client,
    )
    return section


def what(
    statement: Statement,
    bound: Bound | None = None,
    plan: MaskPlan | None = None,
    parameter_types: Iterable[int] = (),
    *,
    writes: bool | None = None,
    countable: bool | None = None,
) -> dict[str, Any]:
    """Return the statement.

    Args:
        statement, bound, plan: as they were judged.
        parameter_types: the OIDs the driver binds (0: left to the server).
        writes, countable: whether it writes rows, and whether somebody can count them; by default as the
            text alone tells.
    """
    effects = statement.effects if bound is None else bound.effects
    section: dict[str, Any] = {"effects": [_effect(e) for e in effects]}
    _put(
        section,
        text=statement.normalised,
        fingerprint=statement.fingerprint,
        summary=statement.summary,
        tag=statement.tag,
        relations=_relations(statement, bound),
        rows=_rows(statement, bound),
    )
    writes = statement.writes if writes is None else writes
    if writes and not (statement.countable if countable is None else countable):
        section["countable"] = False
    if writes is not any(e.kind in WRITES for e in effects):
        section["writes"] = writes
    if bound is not None:
        columns, section["lineage"] = lineage.lineage(bound)
        _put(
            section,
            columns=columns,
            functions=lineage.functions(bound),
            touched=lineage.touched(bound, columns),
        )
    else:
        called = [f for f in statement.functions if f.how in _BY_NAME]
        _put(
            section,
            functions=sorted({str(f) for f in called if f.certain}),
            functions_or_columns=sorted({str(f) for f in called if not f.certain}),
        )
    if plan is not None and (plan.masks or plan.redacted):
        masked = [
            # What values have told, no catalog can tell again.
            {"column": m.name, "label": m.label, "strategy": m.strategy.value}
            | ({"basis": m.basis} if m.basis == "values" else {})
            for m in plan.masks
        ]
        redacted = [{"column": r.name, "label": r.label, "strategy": "redact"} for r in plan.redacted]
        section["masked"] = masked + redacted
        if plan.redacted:
            section["rewritten"] = True
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
        grants=list(decision.grants),
        approvers=list(decision.approvers),
        row_cap=decision.row_cap,
        budget=decision.budget.id,
        shadowed=[{"rule": s.rule, "verdict": s.verdict.value} for s in decision.shadowed],
    )
    if decision.estimate is not None:
        section["estimate"] = {"cost": decision.estimate.cost, "rows": decision.estimate.rows}
    if not decision.masked:
        section["unmasked"] = True
    return section


def where(
    place: Where, session: Session | None = None, catalog: str = "", environment: str = ""
) -> dict[str, Any]:
    """Return the connection; the transaction and the trace change with each statement and are added later.

    ``session`` and ``catalog`` (a version) say what names meant on it: the search path, and of the settings
    that change what a text means or does those that are not as PostgreSQL has them by default.
    ``environment`` is the policy's word for where the process runs.
    """
    section: dict[str, Any] = {}
    _put(
        section,
        host=place.host,
        port=place.port,
        database=place.database,
        backend_pid=place.backend_pid,
        connection=place.connection,
        catalog=catalog,
        environment=environment,
    )
    if session is not None:
        section["search_path"] = list(session.search_path)
        if session.session_user != session.role:
            section["session_user"] = session.session_user
        unusual = {name: value for name, value, usual in _settings(session) if value != usual}
        if unusual:
            section["settings"] = unusual
    return section


def _settings(session: Session) -> tuple[tuple[str, str, str], ...]:
    return (
        ("standard_conforming_strings", "on" if session.standard_conforming_strings else "off", "on"),
        ("backslash_quote", session.backslash_quote, "safe_encoding"),
        ("row_security", "on" if session.row_security else "off", "on"),
        ("client_encoding", session.client_encoding, "UTF8"),
        ("session_replication_role", session.replication_role, "origin"),
    )


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
    truncated: bool = False,
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
        truncated: whether a budget let fewer rows through than there were.

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
    if truncated:
        section["truncated"] = True
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
    if identity.groups:
        section["groups"] = sorted(identity.groups)
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


_BY_NAME = frozenset({"call", "tablesample"})  # calls whose name says what is called


def _rows(statement: Statement, bound: Bound | None) -> int | None:
    if not statement.writes:
        return None
    proven = None if bound is None else bound.rows
    return statement.rows_listed if proven is None else proven


def _relations(statement: Statement, bound: Bound | None) -> list[dict[str, str]]:
    # A table joined to itself is one relation that is read; a dict keeps the order of the text.
    if bound is None:
        return [
            {"name": n, "access": a}
            for n, a in dict.fromkeys((str(r.name), r.access.value) for r in statement.relations)
        ]
    written = {r.location: str(r.name) for r in statement.relations if r.location >= 0}
    # What a trigger or a function touches has the place of what set it off, and is not written there.
    seen = dict.fromkeys(
        (str(r.relation), r.access.value, "", _spelling(written.get(r.location), r.relation), "")
        if r.via is None and not r.within
        else (str(r.relation), r.access.value, str(r.via or ""), "", r.within)
        for r in bound.relations
    )
    return [
        {"name": name, "access": access}
        | {key: said for key, said in (("via", via), ("written", text), ("within", within)) if said}
        for name, access, via, text, within in seen
    ]


def _spelling(written: str | None, relation: Relation) -> str:
    """Return how the text calls ``relation``, "" where that is its name, with its schema or without."""
    return "" if written is None or written in {str(relation), relation.name} else written

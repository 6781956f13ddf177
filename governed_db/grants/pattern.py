"""A grant for statements like one that people were asked about: "this, for an hour, without asking"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from governed_db.approval.answer import ApproverKey
from governed_db.approval.request import ApprovalRequest
from governed_db.grants.model import MAX_STATEMENT, Grant, Grantee
from governed_db.grants.signing import Signed, sign_grant
from governed_db.identity.model import Identity, Kind

_OF_ROWS = (
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "WITH",
    "VALUES",
    "TABLE",
    "COPY",
    "CALL",
    "EXPLAIN",
    "DECLARE",
)  # how statements begin of which policy/waiving.py takes a pattern with values; this says so in time


def pattern_grant(
    request: ApprovalRequest,
    key: ApproverKey,
    lasts: timedelta,
    because: str,
    rows: int | None = None,
    *,
    by: Identity,
    now: datetime | None = None,
) -> Signed:
    """Sign a grant for statements like that of ``request``, by its requester.

    It is bound to the requester (and its issuer, and whom it acts for), the text without its values, the
    relations that it touches and the database. The values, and which rows they mean, are open: ``rows``
    bounds how many.

    Args:
        request: what was asked.
        key: of the signer.
        lasts: how long it holds, from now.
        because: why.
        rows: rows that one such statement may write; by default as many as the request would have been let.
        by: who signs.
        now: by default now.

    Raises:
        ValueError: the request's requester or statement has nothing that a grant could be bound to, or the
            key does not sign.
    """
    now = now or datetime.now(UTC)
    what = like(request) | {"rows": (request.ceiling or 0) if rows is None else rows}
    return sign_grant(Grant(starts=now, until=now + lasts, signed=now, because=because, by=by, **what), key)


def like(request: ApprovalRequest) -> dict[str, Any]:
    """Return what binds a grant to statements like that of ``request``.

    Raises:
        ValueError: there is nothing that it could be bound to.
    """
    asked = request.question
    who = asked.requester
    if who.kind is Kind.UNKNOWN or not who.subject:
        raise ValueError("nobody said who asked: a grant is for somebody")
    if not asked.fingerprint:
        raise ValueError("the statement has no pattern")
    if len(asked.statement) >= MAX_STATEMENT:
        # Cut, it says nothing of what it was cut from; and nobody can look at what they sign for.
        raise ValueError("the statement is too long for a pattern")
    if "$" in asked.statement and not asked.statement.lstrip("( ").upper().startswith(_OF_ROWS):
        raise ValueError("its values are part of what it defines, and a pattern would leave them open")
    principal = who.on_behalf_of
    whom = "" if principal is None or not principal.subject else f"{principal.kind}:{principal.subject}"
    return {
        "to": Grantee(
            kind=who.kind,
            subject=who.subject,
            issuer=who.issuer if who.verified else "",
            on_behalf_of=whom,
        ),
        "on": tuple(_exactly(name) for name in asked.relations),
        "fingerprint": asked.fingerprint,
        "statement": asked.statement,
        "database": asked.database,
    }


def _exactly(name: str) -> str:
    """Return a pattern that means the relation called ``name`` alone."""
    schema, _, relation = name.partition(".")
    return f"{_quoted(schema)}.{_quoted(relation)}"


def _quoted(part: str) -> str:
    # A pattern's bare part folds and may hold wildcards; a quoted one is the name.
    return '"' + part.replace('"', '""') + '"'

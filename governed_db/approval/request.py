"""What people are asked to agree to: one call by one caller, and what a person needs to judge it.

A request has two parts. The *question* follows from the call, the policy and the catalog alone, so that
whoever runs the call later can make it anew and compare: what a person was shown is what was asked, whoever
may write to the store in between. The *moment* (who counted what, when) cannot be made anew; people sign for
it along with the question (:meth:`ApprovalRequest.seal`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import ceil
from typing import Any, Final

import orjson
from attrs import evolve, field, frozen

from governed_db.approval.effect import Effect
from governed_db.identity.model import Identity, standing

MAX_REQUEST: Final = 1 << 20
"""Bytes of a request as it is kept: more than anybody reads, and what a store takes in one row without a
thought."""


@frozen(kw_only=True)
class Question:
    """The part of a request that anybody who holds the same call, policy and catalog would write alike.

    Attributes:
        digest: SHA-256 over everything the approval is bound to (:func:`governed_db.approval.binding.bind`).
        requester: who asks, without session, tool call and purpose.
        statement: the normalised text: no literal, no parameter. This alone goes on record.
        sql: the text for people, laid out, with values only as the approvers may see them.
        values: the bound values, likewise, in the order of their numbers.
        summary: operation and targets in a few words.
        rule, reason: why people are asked.
        fingerprint: of the statement's pattern.
        relations, columns: what it touches, by qualified name.
        server, database, role, search_path: where, and what names mean there.
        policy: the version of the policy that asks.
        approvers: groups of which the approver must be a member; empty for anyone else than the requester.
        needed: how many different people have to agree.
        beside: triggers, rules, functions or foreign keys may write further rows; those are not counted when
            it runs.
        binds: "statement", or "effect" where the rows themselves are agreed to.
        valid_seconds: how long an answer holds.
    """

    digest: bytes = field(repr=False)
    requester: Identity
    statement: str
    sql: str = field(default="", repr=False)
    values: tuple[str, ...] = field(default=(), repr=False)
    summary: str = ""
    rule: str = ""
    reason: str = ""
    fingerprint: str = ""
    relations: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    server: str = ""
    database: str = ""
    role: str = ""
    search_path: tuple[str, ...] = ()
    policy: str = ""
    approvers: tuple[str, ...] = ()
    needed: int = 1
    beside: bool = False
    binds: str = "statement"
    valid_seconds: int = 900


@frozen(kw_only=True, repr=False)
class ApprovalRequest:
    """One question to people.

    Attributes:
        id: names the request to approvers; says nothing about its content.
        question: what is asked.
        requester: who asks, with session, tool call and purpose. Neither the requester nor whom it acts for
            can approve.
        requested, expires: when it was asked, and until when it can be answered, in UTC.
        rows: how many rows it would touch, counted by a SELECT; ``None`` where no SELECT can tell.
        rows_more: there are more than ``rows``; nobody counted further.
        ceiling: the rows it may touch when it runs; ``None``: however many.
        cost: what PostgreSQL's planner expects, in its units; ``None`` where it does not say.
        effect: the rows, where these are agreed to.
    """

    id: str
    question: Question
    requester: Identity
    requested: datetime
    expires: datetime
    rows: int | None = None
    rows_more: bool = False
    ceiling: int | None = None
    cost: float | None = None
    effect: Effect | None = field(default=None, repr=False)

    @property
    def digest(self) -> bytes:
        """What the approval is bound to."""
        return self.question.digest

    @property
    def statement(self) -> str:
        """The normalised text."""
        return self.question.statement

    @property
    def summary(self) -> str:
        """Operation and targets in a few words."""
        return self.question.summary

    @property
    def rule(self) -> str:
        """The rule that asks."""
        return self.question.rule

    @property
    def reason(self) -> str:
        """Why people are asked."""
        return self.question.reason

    @property
    def approvers(self) -> tuple[str, ...]:
        """Groups of which the approver must be a member."""
        return self.question.approvers

    @property
    def needed(self) -> int:
        """How many different people have to agree."""
        return self.question.needed

    @property
    def valid_seconds(self) -> int:
        """How long an answer holds."""
        return self.question.valid_seconds

    def seal(self) -> str:
        """Return the digest that answers are about: of everything a person is shown, in hexadecimal."""
        return sha256(b"governed_db approval request v1\n" + self.dump()).hexdigest()

    def dump(self) -> bytes:
        """Return the request as JSON, one way of writing it."""
        return orjson.dumps(_plain(self), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def load(cls, data: bytes) -> ApprovalRequest:
        """Read what :meth:`dump` wrote.

        Raises:
            ValueError: it is not that.
        """
        if len(data) > MAX_REQUEST:
            raise ValueError(f"a request has at most {MAX_REQUEST} bytes")
        try:
            read = _read(orjson.loads(data))
            if read.dump() != bytes(data):
                raise ValueError("it is not written as requests are")
            return read
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
            raise ValueError("the request cannot be read") from None

    def for_requester(self, *, counts: bool = True) -> ApprovalRequest:
        """Return what its requester may hold: without the rows that approvers are shown, and the planner's
        cost, which follows from values that it may see masked.

        ``counts``: it could count the rows itself. Otherwise their number tells of what it may not read.
        """
        if not counts:
            return evolve(self, effect=None, cost=None, rows=None, rows_more=False, ceiling=None)
        effect = None if self.effect is None else self.effect.without_rows()
        return evolve(self, effect=effect, cost=None)

    def __repr__(self) -> str:
        return f"<ApprovalRequest {self.id} by {self.requester}: {self.summary} (rule {self.rule})>"


def ask(
    question: Question,
    requester: Identity,
    *,
    lasts: timedelta,
    now: datetime | None = None,
    **reckoned: Any,
) -> ApprovalRequest:
    """Make the request for ``question``; ``reckoned``: rows, ceiling, cost, effect, as far as known."""
    now = now or datetime.now(UTC)
    return ApprovalRequest(
        id=f"apr_{secrets.token_hex(8)}",
        question=question,
        requester=requester,
        requested=now,
        expires=now + lasts,
        **reckoned,
    )


def ceiling(rows: int | None, headroom_percent: int, *, more: bool = False) -> int | None:
    """Return the rows that a call may touch when so many were counted; ``None``: however many."""
    return None if rows is None or more else rows + ceil(rows * headroom_percent / 100)


def ceiling_of(request: ApprovalRequest, headroom_percent: int) -> int | None:
    """Return the ceiling that a request has to have: rows that are agreed to one by one have no headroom."""
    headroom = headroom_percent if request.effect is None else 0
    return ceiling(request.rows, headroom, more=request.rows_more)


def same_question(kept: ApprovalRequest, made: Question) -> bool:
    """Return whether a request from a store asks what its call asks: nothing in it was changed since."""
    return kept.question == made and standing(kept.requester) == made.requester


def plain_identity(who: Identity) -> dict[str, Any]:
    """Return ``who`` as JSON holds it."""
    return {
        "kind": who.kind.value,
        "subject": who.subject,
        "issuer": who.issuer,
        "verified": who.verified,
        "groups": sorted(who.groups),
        "session": who.session,
        "tool_call": who.tool_call,
        "purpose": who.purpose,
        "on_behalf_of": None if who.on_behalf_of is None else plain_identity(who.on_behalf_of),
    }


_MAX_CHAIN = 16  # deeper than any delegation; a store's text must not recurse for ever


def read_identity(data: Mapping[str, Any], depth: int = 0) -> Identity:
    """Read what :func:`plain_identity` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is not that.
    """
    if depth > _MAX_CHAIN:
        raise ValueError("an identity acts for too many others")
    principal = data["on_behalf_of"]
    return Identity(
        kind=data["kind"],
        subject=_text(data["subject"]),
        issuer=_text(data["issuer"]),
        verified=_flag(data["verified"]),
        groups=[_text(group) for group in data["groups"]],
        session=_said(data["session"]),
        tool_call=_said(data["tool_call"]),
        purpose=_said(data["purpose"]),
        on_behalf_of=None if principal is None else read_identity(principal, depth + 1),
    )


def moment(text: str) -> datetime:
    """Read a time that carries its zone.

    Raises:
        ValueError: it is none.
    """
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError("a time without a zone")
    return read


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _count(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise TypeError("not a number of rows")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _cost(value: Any) -> float | None:
    if value is not None and type(value) not in (int, float):
        raise TypeError("not a number")
    return None if value is None else float(value)


def _said(value: Any) -> str | None:
    return None if value is None else _text(value)


def _plain(request: ApprovalRequest) -> dict[str, Any]:
    asked = request.question
    question = {
        "digest": asked.digest.hex(),
        "requester": plain_identity(asked.requester),
        "search_path": list(asked.search_path),
        "relations": list(asked.relations),
        "columns": list(asked.columns),
        "approvers": list(asked.approvers),
        "values": list(asked.values),
        "beside": asked.beside,
        **{name: getattr(asked, name) for name in _WORDS},
        **{name: getattr(asked, name) for name in _NUMBERS},
    }
    return {
        "id": request.id,
        "question": question,
        "requester": plain_identity(request.requester),
        "requested": request.requested.astimezone(UTC).isoformat(),
        "expires": request.expires.astimezone(UTC).isoformat(),
        "rows": request.rows,
        "rows_more": request.rows_more,
        "ceiling": request.ceiling,
        "cost": request.cost,
        "effect": None if request.effect is None else request.effect.plain(),
    }


_WORDS = (
    "statement", "sql", "summary", "rule", "reason", "fingerprint", "server", "database", "role", "policy",
    "binds",
)  # fmt: skip
_NUMBERS = ("needed", "valid_seconds")


def _read(data: Mapping[str, Any]) -> ApprovalRequest:
    asked = data["question"]
    words: dict[str, Any] = {name: _text(asked[name]) for name in _WORDS}
    numbers: dict[str, Any] = {name: int(asked[name]) for name in _NUMBERS}
    question = Question(
        digest=bytes.fromhex(asked["digest"]),
        requester=read_identity(asked["requester"]),
        search_path=tuple(map(_text, asked["search_path"])),
        relations=tuple(map(_text, asked["relations"])),
        columns=tuple(map(_text, asked["columns"])),
        approvers=tuple(map(_text, asked["approvers"])),
        values=tuple(map(_text, asked["values"])),
        beside=_flag(asked["beside"]),
        **words,
        **numbers,
    )
    effect = data["effect"]
    return ApprovalRequest(
        id=_text(data["id"]),
        question=question,
        requester=read_identity(data["requester"]),
        requested=moment(data["requested"]),
        expires=moment(data["expires"]),
        rows=_count(data["rows"]),
        rows_more=_flag(data["rows_more"]),
        ceiling=_count(data["ceiling"]),
        cost=_cost(data["cost"]),
        effect=None if effect is None else Effect.read(effect),
    )

"""What a grant says: to whom, what, from when until when, and because of what.

A grant is narrow by construction: it names one subject or one group, and each thing that it gives. It has no
number of uses: that could only be kept exactly by asking the store at each statement, and time is what
bounds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import orjson
from attrs import Attribute, field, frozen

from governed_db.approval.request import moment, plain_identity, read_identity
from governed_db.identity.model import Identity, Kind, unfit
from governed_db.policy.patterns import split_column_pattern, split_relation

TITLE: Final = "governed_db grant v1"

MAX_BECAUSE: Final = 2000
"""Characters of a reason; it is on record with the grant."""

MAX_LISTED: Final = 100
"""Columns, rules or relations in one grant. What needs more is a change of the policy."""

MAX_STATEMENT: Final = 4096
"""Characters of a pattern's text: as many as the reader of statements keeps (statement/normalise.py)."""

MAX_ROWS: Final = 2**53 - 1
"""Rows of a cap: the largest number that every reader of JSON takes as it is (RFC 8259, section 6)."""

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")  # libpg_query's, 64 bits


def _listed(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError("a collection of names, not one string")
    return tuple(dict.fromkeys(value))


def _texts(_: object, attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    if len(value) > MAX_LISTED:
        raise ValueError(f"a grant names at most {MAX_LISTED} {attribute.name}")
    for each in value:
        _text(_, attribute, each)
        if not each:
            raise ValueError(f"'{attribute.name}' of a grant holds an empty name")


def _text(_: object, attribute: Attribute[Any], value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} is text, not {type(value).__name__}")
    if why := unfit(value):
        raise ValueError(f"'{attribute.name}' of a grant {why}")


def _moment(_: object, attribute: Attribute[datetime], value: datetime) -> None:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"'{attribute.name}' of a grant is a time with its zone")


def _kind(value: Kind | str | None) -> Kind | None:
    return None if value is None else Kind(value)


@frozen(kw_only=True)
class Grantee:
    """To whom: exactly one subject, or exactly one group.

    Attributes:
        kind, subject: one caller; both, or neither.
        group: or the members of one group.
        issuer: who has to vouch for the caller, checked by us; "": anyone, or nobody.
        on_behalf_of: whom the caller has to act for, as ``kind:subject`` or a subject of any kind; "":
            anyone, or nobody.

    Raises:
        ValueError: it names nobody, or more than one.
    """

    kind: Kind | None = field(default=None, converter=_kind)
    subject: str = field(default="", validator=_text)
    group: str = field(default="", validator=_text)
    issuer: str = field(default="", validator=_text)
    on_behalf_of: str = field(default="", validator=_text)

    def __attrs_post_init__(self) -> None:
        if bool(self.subject) is bool(self.group) or bool(self.subject) is (self.kind is None):
            raise ValueError("a grant is for one subject (kind:subject) or for one group (group:name)")

    @classmethod
    def parse(cls, text: str, *, issuer: str = "", on_behalf_of: str = "") -> Grantee:
        """Read ``kind:subject`` or ``group:name``.

        Raises:
            ValueError: it is neither.
        """
        kind, colon, name = text.partition(":")
        if kind == "group" and colon:
            return cls(group=name, issuer=issuer, on_behalf_of=on_behalf_of)
        if not name or kind not in {*Kind}:
            raise ValueError(f"a grant is for kind:subject (kind: {', '.join(Kind)}) or for group:name")
        return cls(kind=Kind(kind), subject=name, issuer=issuer, on_behalf_of=on_behalf_of)

    def __str__(self) -> str:
        whom = f"group:{self.group}" if self.group else f"{self.kind}:{self.subject}"
        whom += f" of {self.issuer}" if self.issuer else ""
        return whom + (f" for {self.on_behalf_of}" if self.on_behalf_of else "")


@frozen(kw_only=True)
class Grant:
    """What one person allows one caller, or one group, for a while.

    Attributes:
        to: to whom.
        clear: columns that are read unmasked, as ``schema.relation.column``; each part can be a pattern, as
            in policies.
        rules: ids of rules whose answer becomes allow.
        on: relations (``schema.name``, patterns too) that ``rules``, ``rows`` and the pattern hold for;
            empty: any.
        rows: rows that one statement may write without asking, where a rule caps them lower.
        fingerprint: all of it holds for statements of this pattern alone, and what asks for approval runs.
        statement: the pattern's text (normalised) where it is known. The fingerprint alone is a hash of 64
            bits that was not made to withstand somebody who looks for another statement with the same.
        database: where; "": anywhere.
        starts, until: when it holds, the latter excluded.
        signed: when it was signed.
        because: why, in the signer's words.
        by: who signs.

    Raises:
        ValueError: it gives nothing, or says what no grant can say; the text says which.
    """

    to: Grantee
    clear: tuple[str, ...] = field(default=(), converter=_listed, validator=_texts)
    rules: tuple[str, ...] = field(default=(), converter=_listed, validator=_texts)
    on: tuple[str, ...] = field(default=(), converter=_listed, validator=_texts)
    rows: int | None = None
    fingerprint: str = field(default="", validator=_text)
    statement: str = ""
    database: str = field(default="", validator=_text)
    starts: datetime = field(validator=_moment)
    until: datetime = field(validator=_moment)
    signed: datetime = field(validator=_moment)
    because: str
    by: Identity

    def __attrs_post_init__(self) -> None:
        self._check_what()
        self._check_pattern()
        if not isinstance(self.because, str) or not self.because.strip():
            raise ValueError("say why: 'because' is on record")
        if len(self.because) > MAX_BECAUSE:
            raise ValueError(f"'because' has at most {MAX_BECAUSE} characters")
        if self.until <= self.starts:
            raise ValueError("it ends before it starts")
        if self.by.kind is not Kind.HUMAN or not self.by.subject:
            raise ValueError("people sign grants")

    def _check_what(self) -> None:
        for column in self.clear:
            split_column_pattern(column)
        for relation in self.on:
            split_relation(relation)
        if not (self.clear or self.rules or self.rows is not None):
            raise ValueError("it gives nothing: name columns, rules, rows or a pattern")
        if self.rows is not None and (type(self.rows) is not int or not 0 <= self.rows <= MAX_ROWS):
            raise ValueError(f"'rows' of a grant is a number from 0 to {MAX_ROWS}")
        if self.on and not (self.rules or self.rows is not None):
            raise ValueError("'on' limits rules and rows; a column names its relation itself")

    def _check_pattern(self) -> None:
        if not isinstance(self.statement, str) or len(self.statement) > MAX_STATEMENT:
            raise ValueError(f"the text of a pattern has at most {MAX_STATEMENT} characters")
        if not self.fingerprint:
            if self.statement:
                raise ValueError("a pattern has a fingerprint")
            return
        if _FINGERPRINT.fullmatch(self.fingerprint) is None:
            raise ValueError("a fingerprint has 16 hexadecimal digits")
        if self.clear:
            raise ValueError("columns cannot be cleared for a pattern: make that a grant of its own")
        if self.rows is None:
            raise ValueError("a pattern needs 'rows': how many one such statement may write")

    @property
    def id(self) -> str:
        """Names the grant, and no other: a hash of what it says."""
        return f"grt_{sha256(self.text().encode()).hexdigest()[:24]}"

    def text(self) -> str:
        """Return what is signed; one way of writing it."""
        return f"{TITLE}\n{orjson.dumps(_plain(self), option=orjson.OPT_SORT_KEYS).decode()}\n"

    @classmethod
    def read(cls, body: str) -> Grant:
        """Read the second line of :meth:`text`.

        Raises:
            ValueError, KeyError, TypeError, AttributeError, OverflowError: it is not that.
        """
        data = orjson.loads(body)
        grant = _read(data)
        if grant.text() != f"{TITLE}\n{body}\n":
            raise ValueError("it is not written as grants are")
        return grant


@frozen(kw_only=True)
class Granted:
    """A grant that holds for a caller at this moment.

    ``by`` is who has signed it, as the policy knows them and not as the grant says.
    """

    id: str
    grant: Grant = field(eq=False)
    by: Identity = field(eq=False)

    def __str__(self) -> str:
        until = self.grant.until.astimezone(UTC).isoformat(timespec="seconds")
        return f"grant {self.id}, signed by {self.by.subject}, until {until}"


_LISTS = ("clear", "rules", "on")
_WORDS = ("fingerprint", "statement", "database", "because")
_TIMES = ("starts", "until", "signed")
_TO = ("subject", "group", "issuer", "on_behalf_of")


def _plain(grant: Grant) -> dict[str, Any]:
    to = grant.to
    return {
        "to": {"kind": None if to.kind is None else to.kind.value, **{k: getattr(to, k) for k in _TO}},
        **{name: list(getattr(grant, name)) for name in _LISTS},
        **{name: getattr(grant, name) for name in _WORDS},
        **{name: getattr(grant, name).astimezone(UTC).isoformat() for name in _TIMES},
        "rows": grant.rows,
        "by": plain_identity(grant.by),
    }


def _read(data: Mapping[str, Any]) -> Grant:
    to = data["to"]
    lists: dict[str, Any] = {name: [_word(each) for each in data[name]] for name in _LISTS}
    words: dict[str, Any] = {name: _word(data[name]) for name in _WORDS}
    times: dict[str, Any] = {name: moment(data[name]) for name in _TIMES}
    return Grant(
        to=Grantee(kind=to["kind"], **{name: _word(to[name]) for name in _TO}),
        rows=data["rows"],
        by=read_identity(data["by"]),
        **lists,
        **words,
        **times,
    )


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value

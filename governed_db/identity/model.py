"""Who asks: the value that every decision, mask and record is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from attrs import Attribute, evolve, field, frozen

if TYPE_CHECKING:
    from governed_db.identity.verifier import Verifier

MAX_NAME = 2048
"""Characters of a subject, an issuer or a group: as long as a SPIFFE ID may be (SPIFFE-ID, section 2.3), and
eight times what OpenID Connect allows a subject."""

MAX_CHAIN = 10
"""Identities in one chain, the caller included. Delegations have two or three; each is in every record."""

MAX_PURPOSE = 16_384
"""Characters of a purpose. It is in every record of the caller, and a record holds 256 KiB; what people and
models write as a reason has some hundreds."""

# Control characters, line and paragraph separators, what turns the direction of a line round or shows as
# nothing (a name would read as another one), and halves of surrogate pairs, which no encoding carries. The
# joiners U+200C and U+200D stay: names in Persian and Indic scripts are spelled with them.
_UNFIT = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


class Kind(StrEnum):
    """What sort of caller an identity is. ``unknown`` is treated like an agent by every preset."""

    HUMAN = "human"
    AGENT = "agent"
    SERVICE = "service"
    UNKNOWN = "unknown"


def unfit(name: str) -> str:
    """Say why ``name`` cannot be a subject, an issuer or a group, "" where it can."""
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    found = _UNFIT.search(name)
    if found is not None:
        return f"holds an invisible or control character at position {found.start() + 1}"
    return "is nothing but space" if name.isspace() else ""


def _name(_: object, attribute: Attribute[str], value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} is text, not {type(value).__name__}")
    if why := unfit(value):
        raise ValueError(f"the {attribute.name} of an identity {why}")


def _detail(most: int) -> Callable[[object, Attribute[Any], str | None], None]:
    def check(_: object, attribute: Attribute[Any], value: str | None) -> None:
        if value is None:
            return
        if not isinstance(value, str):
            raise TypeError(f"{attribute.name} is text, not {type(value).__name__}")
        if len(value) > most:
            raise ValueError(f"the {attribute.name} of an identity is longer than {most} characters")

    return check


def _names(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TypeError("groups is a collection of names, not one string")
    names = frozenset(value)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"groups are names, not {type(name).__name__}")
        if why := unfit(name):
            raise ValueError(f"a group of an identity {why}")
    return names


def _moment(_: object, __: object, value: datetime | None) -> None:
    if value is not None and value.tzinfo is None:
        raise ValueError("the expiry of an identity needs a time zone")


def _short(_: object, __: object, value: Identity | None) -> None:
    length = 1
    while value is not None:
        length += 1
        if length > MAX_CHAIN:
            raise ValueError(f"an identity acts for at most {MAX_CHAIN - 1} others, one behind the other")
        value = value.on_behalf_of


def _principal(value: Identity | str | None) -> Identity | None:
    # A bare subject says nothing about what it is; guessing "human" would put a claim on record.
    if isinstance(value, str):
        return Identity(kind=Kind.UNKNOWN, subject=value)
    if value is not None and not isinstance(value, Identity):
        raise TypeError(f"on_behalf_of is an Identity or a subject, not {type(value).__name__}")
    return value


@frozen(kw_only=True, cache_hash=True)
class Identity:
    """One caller.

    Attributes:
        kind: human, agent, service or unknown.
        subject: the caller's name at its issuer (OIDC ``sub``, a service's name); empty for unknown.
        on_behalf_of: the principal the caller acts for (RFC 8693 ``act``, read outwards), or ``None``.
        groups: names that policies can address.
        session: the caller's conversation or work session.
        tool_call: the tool call that issued the statement (OpenTelemetry ``gen_ai.tool.call.id``).
        purpose: why, in the caller's words.
        issuer: who vouches for the identity; empty when the process merely says so.
        verified: whether the issuer's word was checked by us. Everything else is ``claimed``.
        expires: until when the issuer's word holds; ``None`` where nobody said.
        mcp_session: the session of the Model Context Protocol (OpenTelemetry ``mcp.session.id``).

    Raises:
        ValueError: a name holds control or invisible characters, is nothing but space, or is longer than 2048
            characters; so is the session or the tool call, or the purpose longer than 16384; the chain has
            more than 10 identities, or ``expires`` has no time zone.
    """

    kind: Kind = field(converter=Kind)
    subject: str = field(default="", validator=_name)
    on_behalf_of: Identity | None = field(default=None, converter=_principal, validator=_short)
    groups: frozenset[str] = field(default=frozenset(), converter=_names)
    session: str | None = field(default=None, validator=_detail(MAX_NAME))
    tool_call: str | None = field(default=None, validator=_detail(MAX_NAME))
    purpose: str | None = field(default=None, validator=_detail(MAX_PURPOSE))
    issuer: str = field(default="", validator=_name)
    verified: bool = False
    expires: datetime | None = field(default=None, validator=_moment)
    mcp_session: str | None = field(default=None, validator=_detail(MAX_NAME))

    @classmethod
    def from_token(cls, jwt: str | bytes, verifier: Verifier, **call: str | None) -> Identity:
        """Return the caller that a signed token names, verified.

        Args:
            jwt: the token alone, without "Bearer".
            verifier: whose tokens are believed, and how their claims are read.
            call: what is known of the call, as :meth:`during` takes it.

        Raises:
            TokenRefused: it is not a token to be believed; ``rule`` says why.
            KeysUnavailable: the issuer's keys cannot be had now. Retryable.
        """
        return verifier.verify(jwt).during(**call)

    @classmethod
    async def afrom_token(cls, jwt: str | bytes, verifier: Verifier, **call: str | None) -> Identity:
        """Do what :meth:`from_token` does; the event loop goes on while keys are fetched."""
        return (await verifier.averify(jwt)).during(**call)

    @classmethod
    def agent(
        cls,
        subject: str,
        *,
        on_behalf_of: Identity | str | None = None,
        groups: Iterable[str] = (),
        session: str | None = None,
        tool_call: str | None = None,
        purpose: str | None = None,
    ) -> Self:
        """Return an AI agent (or any program that decides by itself what to run)."""
        return cls(
            kind=Kind.AGENT,
            subject=subject,
            on_behalf_of=on_behalf_of,
            groups=groups,
            session=session,
            tool_call=tool_call,
            purpose=purpose,
        )

    @classmethod
    def human(
        cls,
        subject: str,
        *,
        on_behalf_of: Identity | str | None = None,
        groups: Iterable[str] = (),
        session: str | None = None,
        purpose: str | None = None,
    ) -> Self:
        """Return a person."""
        return cls(
            kind=Kind.HUMAN,
            subject=subject,
            on_behalf_of=on_behalf_of,
            groups=groups,
            session=session,
            purpose=purpose,
        )

    @classmethod
    def service(
        cls,
        subject: str,
        *,
        on_behalf_of: Identity | str | None = None,
        groups: Iterable[str] = (),
        session: str | None = None,
        purpose: str | None = None,
    ) -> Self:
        """Return an application whose statements its own developers wrote."""
        return cls(
            kind=Kind.SERVICE,
            subject=subject,
            on_behalf_of=on_behalf_of,
            groups=groups,
            session=session,
            purpose=purpose,
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kind:subject``, as the command line and configuration files write it.

        Raises:
            ValueError: the kind is not one of :class:`Kind`, or the subject is missing.
        """
        kind, _, subject = text.partition(":")
        if kind not in {*Kind} or (not subject and kind != Kind.UNKNOWN):
            kinds = ", ".join(Kind)
            raise ValueError(f"an identity is written kind:subject with kind one of {kinds}; got {text!r}")
        return cls(kind=kind, subject=subject)

    def during(
        self,
        *,
        session: str | None = None,
        tool_call: str | None = None,
        purpose: str | None = None,
        mcp_session: str | None = None,
    ) -> Self:
        """Return the same caller with what is known of this call; what is not given stays as it is."""
        given: dict[str, Any] = {
            "session": session,
            "tool_call": tool_call,
            "purpose": purpose,
            "mcp_session": mcp_session,
        }
        changes = {key: value for key, value in given.items() if value is not None}
        return evolve(self, **changes) if changes else self

    def __str__(self) -> str:
        me = f"{self.kind}:{self.subject}" if self.subject else str(self.kind)
        return f"{me} for {self.on_behalf_of}" if self.on_behalf_of else me


@lru_cache(maxsize=4096)
def standing(identity: Identity) -> Identity:
    """Return ``identity`` without what changes from call to call: sessions, tool call, purpose, expiry.

    Decisions and masks depend on this part alone, so what is known of a statement is kept by it.
    """
    principal = identity.on_behalf_of
    return evolve(
        identity,
        session=None,
        tool_call=None,
        purpose=None,
        expires=None,
        mcp_session=None,
        on_behalf_of=None if principal is None else standing(principal),
    )


NOBODY = Identity(kind=Kind.UNKNOWN)
"""Nobody said who asks."""

"""Who asks: the value that every decision, mask and record is about."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Self

from attrs import evolve, field, frozen


class Kind(StrEnum):
    """What sort of caller an identity is. ``unknown`` is treated like an agent by every preset."""

    HUMAN = "human"
    AGENT = "agent"
    SERVICE = "service"
    UNKNOWN = "unknown"


def _names(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TypeError("groups is a collection of names, not one string")
    return frozenset(value)


def _principal(value: Identity | str | None) -> Identity | None:
    # A bare subject says nothing about what it is; guessing "human" would put a claim on record.
    return Identity(kind=Kind.UNKNOWN, subject=value) if isinstance(value, str) else value


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
    """

    kind: Kind = field(converter=Kind)
    subject: str = ""
    on_behalf_of: Identity | None = field(default=None, converter=_principal)
    groups: frozenset[str] = field(default=frozenset(), converter=_names)
    session: str | None = None
    tool_call: str | None = None
    purpose: str | None = None
    issuer: str = ""
    verified: bool = False

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

    def __str__(self) -> str:
        me = f"{self.kind}:{self.subject}" if self.subject else str(self.kind)
        return f"{me} for {self.on_behalf_of}" if self.on_behalf_of else me


@lru_cache(maxsize=4096)
def standing(identity: Identity) -> Identity:
    """Return ``identity`` without what changes from call to call: session, tool call, purpose.

    Decisions and masks depend on this part alone, so what is known of a statement is kept by it.
    """
    principal = identity.on_behalf_of
    return evolve(
        identity,
        session=None,
        tool_call=None,
        purpose=None,
        on_behalf_of=None if principal is None else standing(principal),
    )


NOBODY = Identity(kind=Kind.UNKNOWN)
"""Nobody said who asks."""

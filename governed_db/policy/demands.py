"""What the least is that has to be known of a caller, and whether it is (``[callers]``)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from attrs import frozen

from governed_db.identity.model import Identity
from governed_db.policy.rules import principals
from governed_db.policy.settings import CallersSettings


@frozen
class Unmet:
    """What is missing: the rule that wants it, why, and what would do."""

    rule: str
    reason: str
    remedy: str
    retryable: bool = False


def over(
    caller: Identity, settings: CallersSettings, withdrawn: frozenset[str] = frozenset()
) -> Unmet | None:
    """Return why the word of an issuer does not hold any more for the caller, or for whom it acts.

    Args:
        caller: who asks.
        settings: what the policy demands.
        withdrawn: issuers that the policy has named before, and does not name now.
    """
    who: Identity | None = caller
    while who is not None:
        if who.expires is not None:
            late = datetime.now(UTC) - who.expires
            if late >= timedelta(seconds=settings.leeway):
                return _EXPIRED
        if who.verified and who.issuer in withdrawn:
            return _WITHDRAWN
        who = who.on_behalf_of
    return None


def unmet(
    caller: Identity,
    settings: CallersSettings,
    services: frozenset[str],
    withdrawn: frozenset[str] = frozenset(),
) -> Unmet | None:
    """Return what is missing of ``caller``, ``None`` where enough is known of it.

    Everybody it acts for counts: a name that a verified caller brings along is still a claim.

    Args:
        caller: who asks.
        settings: what the policy demands.
        services: the subjects the policy names.
        withdrawn: as in :func:`over`.
    """
    ended = over(caller, settings, withdrawn)
    if ended is not None:
        return ended
    chain = (caller, *principals(caller)) if caller.on_behalf_of is not None else (caller,)
    if settings.require == "nobody" and not settings.verified:
        return None
    if settings.require != "nobody" and not all(who.subject for who in chain):
        return _NOBODY
    demanded = settings.require == "verified" or any(c.holds(caller, services) for c in settings.verified)
    if not demanded:
        return _PRINCIPAL if settings.require == "principal" and not chain[-1].verified else None
    if all(who.verified for who in chain):
        return None
    return _BEHIND if caller.verified else _CLAIMED


_TOKEN = "make the identity of a token: Governor.identify(token), or Identity.from_token(token, verifier)"  # noqa: S105 - no secret

_EXPIRED = Unmet(
    "identity.expired",
    "the token that says who asks has expired",
    "get a new one from the issuer, and make the identity of it",
)
_WITHDRAWN = Unmet(
    "identity.withdrawn",
    "the issuer of the token that says who asks was taken out of the policy",
    "get a token from an issuer that the policy names, and make the identity of it",
)
_NOBODY = Unmet(
    "identity.required",
    "nobody said who asks, or for whom, and the policy wants to know",
    "name the caller with acting_as(), or where the connection is opened",
)
_PRINCIPAL = Unmet(
    "identity.required",
    "for whom this is done is only claimed, and the policy wants an issuer's word for it",
    "make the identity of the person (or service) of a token, and let the agent act for it (on_behalf_of)",
)
_CLAIMED = Unmet(
    "identity.required",
    "who asks is only claimed, and the policy wants an issuer's word for it",
    _TOKEN,
)
_BEHIND = Unmet(
    "identity.required",
    "the caller is verified, but for whom it acts is only claimed, and the policy wants both verified",
    "have the issuer name both in one token (RFC 8693, 'act')",
)

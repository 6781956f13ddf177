"""From claims to an identity: who a token is for, and who acts (RFC 8693, section 4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from governed_db.errors import TokenRefused
from governed_db.identity.claims import check_groups
from governed_db.identity.issuer import Issuer
from governed_db.identity.mapping import MISSING, Path, at, kind_of
from governed_db.identity.model import Identity, Kind, unfit
from governed_db.identity.refused import refused

MAX_ACTORS: Final = 8
"""Actors of one token. RFC 8693 sets no limit; real chains have one or two."""

MAX_GROUPS: Final = 1000
"""Groups of one token: each is in every record. Entra puts 200 into a token at most."""

# SPIFFE-ID, sections 2.1 and 2.2: one spelling of each name, so no dot segments, escapes or empty segments.
_SPIFFE_ID: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*")


def identity_of(claims: Mapping[str, Any], issuer: Issuer, expires: datetime) -> Identity:
    """Return the caller that the claims of a genuine token name.

    The subject is whom the token is for. ``act`` is who holds it, and ``act`` in it who held it before: the
    current actor acts for the one before, and the first of them for the subject. ``may_act`` says who could
    become an actor, and makes nobody one.

    Raises:
        TokenRefused: the claims name nobody, or nobody that can be told from others.
    """
    reads = issuer.reads
    check_groups(claims, reads.groups)
    subject = _name(at(claims, reads.subject), ".".join(reads.subject))
    workloads = issuer.spiffe or issuer.provider == "spiffe"
    if workloads:
        _check_domain(subject, issuer, "sub")
    _check_mail(claims, reads.subject)
    kind = kind_of(claims, reads.kinds)

    def known(kind: Kind, name: str, groups: frozenset[str], behind: Identity | None) -> Identity:
        return Identity(
            kind=kind,
            subject=name,
            groups=groups,
            issuer=issuer.url,
            verified=True,
            expires=expires,
            on_behalf_of=behind,
        )

    caller = known(kind, subject, _groups(claims, reads.groups), None)
    actors = list(_actors(claims, issuer.url))
    for actor in reversed(actors):
        name = _name(actor.get("sub", MISSING), "act.sub")
        if workloads:
            _check_domain(name, issuer, "act.sub")
        caller = known(kind_of(actor, reads.actors), name, _groups(actor, reads.groups), caller)
    if not actors and reads.actor and kind is Kind.HUMAN:
        client = at(claims, reads.actor)
        if client is not MISSING and client != subject:
            name = _name(client, ".".join(reads.actor))
            caller = known(kind_of({"sub": name}, reads.actors), name, frozenset(), caller)
    return caller


def _actors(claims: Mapping[str, Any], issuer: str) -> Iterator[Mapping[str, Any]]:
    """Yield the actors of a token, the current one first."""
    found: Mapping[str, Any] = claims
    for _ in range(MAX_ACTORS + 1):
        if "act" not in found:
            return
        actor = found["act"]
        if not isinstance(actor, Mapping):
            _unclear("its 'act' is no JSON object")
        # The issuer vouches for its own accounts; a name that it says another issuer has given is hearsay,
        # and would pass for that issuer's word.
        if actor.get("iss", issuer) != issuer:
            _unclear("its 'act' names an account of another issuer")
        yield actor
        found = actor
    _unclear(f"it names more than {MAX_ACTORS} actors")


def _unclear(why: str) -> NoReturn:
    raise refused(
        "actor",
        f"the token does not say who acts in a way that can be relied on: {why}",
        "have the issuer name the actor by an account of its own in 'act'",
    )


def _name(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise _nobody(f"its '{path}' is missing, or no text")
    if why := unfit(value):
        raise _nobody(f"its '{path}' {why}")
    return value


def _nobody(why: str) -> TokenRefused:
    return refused(
        "subject",
        f"the token names nobody: {why}",
        "have the issuer put an account's name there, or name another claim in 'subject' of the policy",
    )


def _check_domain(subject: str, issuer: Issuer, path: str) -> None:
    """Refuse what is no SPIFFE ID in the standard's one spelling, or is of another trust domain."""
    found = _SPIFFE_ID.fullmatch(subject)
    if found is None or (issuer.spiffe and f"spiffe://{found[1]}" != issuer.url):
        raise _nobody(f"its '{path}' is no SPIFFE ID of this trust domain")


def _check_mail(claims: Mapping[str, Any], path: Path) -> None:
    """Refuse an address that the issuer says it has not verified (OpenID Connect Core, section 5.1)."""
    if path[-1] == "email" and at(claims, (*path[:-1], "email_verified")) in (False, "false"):
        raise _nobody("the issuer has not verified the address in its 'email'")


def _groups(claims: Mapping[str, Any], paths: tuple[Path, ...]) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        value = at(claims, path)
        if value is MISSING or value is None:
            continue
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _no_groups(f"'{'.'.join(path)}' is no list of names")
        found.update(names)
    if len(found) > MAX_GROUPS:
        raise _no_groups(f"there are more than {MAX_GROUPS}")
    for name in found:
        if why := unfit(name):
            raise _no_groups(f"one {why}")
    return frozenset(filter(None, found))


def _no_groups(why: str) -> TokenRefused:
    return refused(
        "groups",
        f"the token's groups cannot be read: {why}",
        "have the issuer put names of groups there, or name another claim in 'groups' of the policy",
    )

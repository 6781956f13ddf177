"""What the tokens of well-known issuers look like, so that a policy need not say it.

Sources: Okta "Build a JWT for access tokens", Microsoft "Access token claims reference" and "Optional
claims", Auth0 "Access token profiles", Google "OpenID Connect", Keycloak "Server administration guide",
Kubernetes "Managing service accounts", SPIFFE "JWT-SVID". A token that none of its provider's rules fits is
of kind unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from governed_db.identity.mapping import Condition, KindRule, Mapped
from governed_db.identity.model import Kind

TYPES: Final = ("", "jwt", "at+jwt")
"""What ``typ`` says of tokens that say who somebody is: nothing, RFC 7519's or RFC 9068's. Others (logout
tokens, DPoP proofs, security events) can be signed with the same keys and say something else (RFC 8725,
section 3.11)."""


@frozen(kw_only=True)
class Provider:
    """``mapped``: how claims are read; ``uses``: of keys that sign tokens; ``types``: of tokens."""

    mapped: Mapped = field(factory=Mapped)
    uses: tuple[str, ...] = ("", "sig")
    types: tuple[str, ...] = TYPES


def _given(kind: Kind, **conditions: str) -> KindRule:
    return KindRule(
        kind=kind, when=Condition(where=tuple(((name,), (value,)) for name, value in conditions.items()))
    )


def _has(kind: Kind, *present: str, absent: str = "") -> KindRule:
    return KindRule(
        kind=kind,
        when=Condition(present=tuple((p,) for p in present), absent=((absent,),) if absent else ()),
    )


_SPIFFE = _given(Kind.SERVICE, sub="spiffe://*")
_ACCOUNT = _given(Kind.SERVICE, sub="system:serviceaccount:*:*")

PROVIDERS: Final[Mapping[str, Provider]] = {
    "": Provider(),
    "okta": Provider(
        mapped=Mapped(
            groups=(("groups",),),
            # "uid" is the user's; a client that asks for itself has "cid" alone.
            kinds=(_has(Kind.HUMAN, "uid"), _has(Kind.SERVICE, "cid", absent="uid")),
        )
    ),
    "entra": Provider(
        mapped=Mapped(
            # "sub" is another one for each application; "oid" is the account.
            subject=("oid",),
            groups=(("groups",), ("roles",)),
            # "scp" is what a user has delegated. Applications have none.
            kinds=(
                _given(Kind.SERVICE, idtyp="app"),
                _given(Kind.HUMAN, idtyp="user"),
                _has(Kind.HUMAN, "scp", absent="idtyp"),
            ),
        )
    ),
    "auth0": Provider(
        mapped=Mapped(
            kinds=(
                _given(Kind.SERVICE, gty="client-credentials"),
                # Before "@clients": what follows the bar may be a name that somebody has chosen elsewhere.
                _given(Kind.HUMAN, sub="?*|?*"),
                _given(Kind.SERVICE, sub="*@clients"),
            ),
        )
    ),
    "google": Provider(
        mapped=Mapped(
            kinds=(
                _given(Kind.SERVICE, email="*.gserviceaccount.com"),
                _has(Kind.HUMAN, "email"),
            ),
        )
    ),
    "keycloak": Provider(
        mapped=Mapped(
            groups=(("groups",), ("realm_access", "roles")),
            kinds=(
                _given(Kind.SERVICE, preferred_username="service-account-*"),
                _has(Kind.HUMAN, "preferred_username"),
            ),
        )
    ),
    "kubernetes": Provider(mapped=Mapped(kinds=(_ACCOUNT,), actors=(_ACCOUNT,))),
    "spiffe": Provider(
        mapped=Mapped(kinds=(_SPIFFE,), actors=(_SPIFFE,)),
        # A trust bundle has keys for certificates as well, which sign no tokens.
        uses=("jwt-svid",),
        types=("", "jwt", "jose"),
    ),
}
"""By the word of policies."""

"""Whether a token that is genuine is meant for us, now (RFC 7519, section 4.1; RFC 8725)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from governed_db.identity.compact import malformed
from governed_db.identity.issuer import Issuer
from governed_db.identity.refused import refused

LAST: Final = 253_402_300_799.0
"""The last second of the year 9999, which datetime ends with."""

_ANEW = "get a new token from the issuer"


def check_header(header: Mapping[str, Any], issuer: Issuer) -> str:
    """Return the algorithm a token is signed with.

    Keys that the header brings along or points to (jwk, jku, x5c, x5u) are never looked at.

    Raises:
        TokenRefused: the issuer does not sign like that, or not such tokens.
    """
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise refused(
            "algorithm",
            "the token is not signed with an algorithm that this issuer may use",
            f"have it signed with one of {', '.join(issuer.algorithms)}",
        )
    if "crit" in header or "b64" in header:
        raise refused(
            "critical",
            "the token's header asks for an extension of JWS, and none is understood here",
            "have it signed without",
        )
    kind = header.get("typ", "")
    known = issuer.token_types
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in known:
        raise refused(
            "type",
            "the token's 'typ' is not that of a token which says who somebody is",
            f"hand over one of type {' or '.join(repr(one) if one else 'none' for one in known)}",
        )
    return algorithm


def check_claims(claims: Mapping[str, Any], issuer: Issuer, now: float) -> datetime:
    """Return until when a genuine token holds.

    Args:
        claims: of the token.
        issuer: whose it is.
        now: seconds since the Unix epoch.

    Raises:
        TokenRefused: it does not hold now, or is meant for somebody else.
    """
    expires = _time(claims, "exp")
    if expires is None:
        malformed("it has no 'exp', and would hold for ever")
    if now >= expires + issuer.leeway:
        raise refused("expired", "the token has expired", _ANEW)
    begins, issued = _time(claims, "nbf"), _time(claims, "iat")
    if begins is not None and now < begins - issuer.leeway:
        raise refused(
            "early",
            "the token does not hold yet",
            "try again later; if it was issued just now, the issuer's clock and this one differ",
            retryable=True,
        )
    if issued is not None and now < issued - issuer.leeway:
        raise refused(
            "early",
            "the token says that it was issued in the future",
            "set the clocks; the issuer's and this one differ by more than 'leeway' allows",
            retryable=True,
        )
    ends = expires
    if issuer.max_age is not None:
        if issued is None:
            malformed("it does not say when it was issued ('iat'), and 'max_age' is limited")
        if now - issued > issuer.max_age + issuer.leeway:
            raise refused("age", f"the token is older than {issuer.max_age:g} seconds", _ANEW)
        # Else the identity would outlive what the policy lets its token live.
        ends = min(expires, issued + issuer.max_age)
    _check_audience(claims, issuer)
    if path := issuer.require.unmet(claims):
        raise refused(
            "claims",
            f"the token's claim '{path}' is not what the policy requires of this issuer's tokens",
            "use an account that the policy is about",
        )
    return datetime.fromtimestamp(ends, UTC)


def _check_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        malformed("it has no 'aud', or one that is not text")
    if not set(audiences) & set(issuer.audience):
        raise refused(
            "audience",
            "the token is meant for another application",
            f"ask the issuer for a token whose audience is {' or '.join(issuer.audience)}",
        )
    if issuer.parties and claims.get("azp") not in issuer.parties:
        raise refused(
            "party",
            "the token was issued to a client ('azp') that the policy does not name",
            "use a client that 'azp' of the issuer names in the policy",
        )


def check_groups(claims: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> None:
    """Refuse a token that has left groups out because they are too many: they would look like none.

    (OpenID Connect Core, section 5.6.2, distributed claims; Entra's ``hasgroups``.)

    Raises:
        TokenRefused: it has.
    """
    elsewhere = claims.get("_claim_names")
    names = {path[0] for path in paths}
    left_out = bool(names & elsewhere.keys()) if isinstance(elsewhere, Mapping) else elsewhere is not None
    if names and (left_out or ("groups" in names and claims.get("hasgroups") not in (None, False, "false"))):
        raise refused(
            "groups",
            "the token leaves its groups out because they are too many: nobody can tell which they are",
            "have the issuer put only the groups assigned to the application, or its roles, into tokens",
        )


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _representable(value):
        malformed(f"its '{name}' is no time")
    return float(value)


def _representable(value: float) -> bool:
    return 0 <= value <= LAST and math.isfinite(value)

"""One issuer of tokens: whose word is believed, about what, and how it is read."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen

from governed_db.identity.mapping import Condition, Mapped
from governed_db.identity.providers import PROVIDERS

FAMILIES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    **{f"{family}{bits}": ("RSA", ("",)) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "ES512": ("EC", ("P-521",)),
    "EdDSA": ("OKP", ("Ed25519", "Ed448")),
}
"""Algorithms, with the type and curves of their keys (RFC 7518, section 3.1; RFC 8037). Only asymmetric ones:
who can check a signature of the others can make one, and "none" is nobody's signature."""

LEEWAY: Final = 60.0
"""Seconds by which the clocks of an issuer and this machine may differ. RFC 7519 speaks of "a few minutes" at
most; synchronised clocks differ by less than a second."""

MOST_LEEWAY: Final = 600.0
"""Seconds. What is more keeps dead tokens alive."""

KEYS_LIFETIME: Final = 600.0
"""Seconds for which an issuer's keys are believed before it is asked again: how long a withdrawn key still
signs."""

KEYS_STALE: Final = 3600.0
"""Seconds for which keys that are older than that go on being used while the issuer cannot be reached."""

TIMEOUT: Final = 5.0
"""Seconds in which the issuer has to hand over its keys, from the connection to the last byte. They are some
kilobytes; whoever waits for a statement waits for them."""


_TRUST_DOMAIN = re.compile(r"spiffe://[a-z0-9._-]{1,255}")


class Unusable(ValueError):  # noqa: N818 - named for what it says
    """The description of an issuer cannot be used. ``key`` names the part of it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _strings(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@frozen(kw_only=True)
class Issuer:
    """An issuer whose tokens are believed.

    Attributes:
        url: ``iss`` of its tokens, exactly; or ``spiffe://trust-domain``, for SVIDs that name no issuer.
        audience: at least one of which has to be in ``aud``: the tokens that are meant for this application.
        provider: whose tokens they are, a word of ``governed_db.identity.providers``; "" for none of these.
        jwks: where its keys are: an address, the absolute path of a file, or the set itself; ``None``: where
            its discovery document says (OpenID Connect Discovery, RFC 8414).
        algorithms: that it may sign with.
        leeway: seconds by which clocks may differ.
        types: which ``typ`` its tokens may have, in lower case, "" for none.
        max_age: seconds after ``iat`` for which a token is taken; ``None``: until ``exp``.
        parties: clients of which one has to be the token's ``azp``; empty: whoever asked for it.
        require: what else has to hold of the claims.
        mapped: how they are read; by default as the provider's are.
        ca: a file of certificates that vouch for its address, instead of the system's.
        bearer_file: a file with a token to ask for the keys with (Kubernetes wants one). It is shown to the
            host of ``url`` (of ``jwks``, where that is an address); to others where ``ca`` vouches for them.
        keys_lifetime, keys_stale: seconds for which keys are used, and for which they are used further while
            the issuer cannot be reached.
        timeout: seconds in which it has to hand its keys over.

    Raises:
        ValueError: a part cannot be used; ``key`` of it names the part.
    """

    url: str
    audience: tuple[str, ...] = field(converter=_strings)
    provider: str = ""
    jwks: str | Path | Mapping[str, Any] | None = field(default=None, repr=False)
    algorithms: tuple[str, ...] = field(default=tuple(FAMILIES), converter=_strings)
    leeway: float = LEEWAY
    types: tuple[str, ...] = ()
    max_age: float | None = None
    parties: tuple[str, ...] = field(default=(), converter=_strings)
    require: Condition = field(factory=Condition)
    mapped: Mapped | None = None
    ca: Path | None = None
    bearer_file: Path | None = None
    keys_lifetime: float = KEYS_LIFETIME
    keys_stale: float = KEYS_STALE
    timeout: float = TIMEOUT

    def __attrs_post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            known = ", ".join(filter(None, PROVIDERS))
            raise Unusable("provider", f"there is no provider '{self.provider}'; there are {known}")
        if not self.audience or not all(self.audience):
            raise Unusable("audience", "an issuer signs for many applications: say which one this is")
        for algorithm in self.algorithms:
            if algorithm not in FAMILIES:
                raise Unusable(
                    "algorithms", f"tokens are signed with one of {', '.join(FAMILIES)}, and nothing else"
                )
        if not self.algorithms:
            raise Unusable("algorithms", "without an algorithm no token can be signed")
        if not 0 <= self.leeway <= MOST_LEEWAY:
            raise Unusable("leeway", f"'leeway' takes seconds from 0 to {MOST_LEEWAY:.0f}")
        self._check_addresses()

    def _check_addresses(self) -> None:
        if self.spiffe:
            if not _TRUST_DOMAIN.fullmatch(self.url) or self.jwks is None:
                raise Unusable(
                    "jwks" if self.jwks is None else "url",
                    "a trust domain is written spiffe://name, and its bundle named in 'jwks'",
                )
        elif problem := _unsafe(self.url, local=True):
            raise Unusable("url", f"'url' {problem}")
        if isinstance(self.jwks, str) and (problem := _unsafe(self.jwks, local=True, query=True)):
            raise Unusable("jwks", f"'jwks' {problem}, or the absolute path of a file")
        for key in ("jwks", "ca", "bearer_file"):
            path = getattr(self, key)
            if isinstance(path, Path) and not path.is_absolute():
                raise Unusable(key, f"'{key}' takes an absolute path: the working directory decides nothing")

    @property
    def spiffe(self) -> bool:
        """Whether it is a SPIFFE trust domain, whose tokens need not name an issuer."""
        return self.url.startswith("spiffe://")

    @property
    def reads(self) -> Mapped:
        """How its claims are read."""
        return PROVIDERS[self.provider].mapped if self.mapped is None else self.mapped

    @property
    def uses(self) -> tuple[str, ...]:
        """Which ``use`` of a key is for its tokens; "" where the key says none."""
        # An OpenID Connect issuer of SVIDs publishes its keys as such issuers do, or as bundles do.
        own = PROVIDERS[self.provider].uses
        return own if self.provider != "spiffe" or self.spiffe else (*own, "", "sig")

    @property
    def token_types(self) -> tuple[str, ...]:
        """Which ``typ`` its tokens may have."""
        return self.types or PROVIDERS[self.provider].types


def is_loopback(parts: SplitResult) -> bool:
    """Return whether an address is of this machine, where nobody is in between."""
    host = parts.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unsafe(url: str, *, local: bool, query: bool = False) -> str:
    """Say why keys cannot be fetched from ``url``, "" where they can; ``local``: http is fine on loopback."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is no address"
    if not url.isascii() or not url.isprintable() or " " in url or not parts.hostname:
        return "is no address"
    if parts.username is not None or parts.fragment or (parts.query and not query):
        return "has a user, a query or a fragment, which an issuer has not"
    if parts.scheme == "https" or (parts.scheme == "http" and local and is_loopback(parts)):
        return ""
    return "has to be an address of https (http only on this machine itself)"


def unsafe_keys(url: str, issuer: str) -> str:
    """Say why keys cannot be fetched from where an issuer's discovery document says, "" where they can."""
    return _unsafe(url, local=is_loopback(urlsplit(issuer)), query=True)

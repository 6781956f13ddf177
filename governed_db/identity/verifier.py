"""Tokens in, verified identities out: OpenID Connect, OAuth 2.0 (RFC 9068), Kubernetes, SPIFFE."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Generator
from concurrent.futures import Future
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from governed_db.errors import TokenRefused
from governed_db.identity import claims, compact, jwks
from governed_db.identity.compact import Compact
from governed_db.identity.delegation import identity_of
from governed_db.identity.issuer import Issuer
from governed_db.identity.key_source import KeySource
from governed_db.identity.model import Identity
from governed_db.identity.refused import refused

GRACE: Final = 1.0
"""Seconds beyond an issuer's time limit for which its answer is waited for: resolving its name has none."""


@frozen(kw_only=True)
class Verified:
    """What a genuine token says.

    Attributes:
        identity: the caller.
        issuer: whose word it is.
        key_id: the key that has signed it, "" where it has no name that can be shown.
        token_id: ``jti``, by which one use of a token can be told from the next; "" where it has none, or
            none that can be shown.
    """

    identity: Identity
    issuer: str
    key_id: str
    token_id: str


class Verifier:
    """Believes the tokens of some issuers. Safe with threads and asyncio; fetches keys when they are needed.

    Args:
        issuers: any number, each with an address of its own.

    Raises:
        ValueError: two are the same, or the keys that come with one cannot be read.
    """

    def __init__(self, *issuers: Issuer) -> None:
        self._known: dict[str, tuple[Issuer, KeySource]] = {}
        for issuer in issuers:
            if issuer.url in self._known:
                raise ValueError(f"the issuer {issuer.url} is named twice")
            self._known[issuer.url] = (issuer, KeySource(issuer))

    def __repr__(self) -> str:
        return f"<Verifier of {', '.join(self._known) or 'nobody'}>"

    @property
    def issuers(self) -> tuple[Issuer, ...]:
        """Those whose tokens are believed."""
        return tuple(issuer for issuer, _ in self._known.values())

    def verify(self, token: str | bytes) -> Identity:
        """Return the caller that ``token`` names.

        Raises:
            TokenRefused: it is not to be believed; ``rule`` says why.
            KeysUnavailable: its issuer's keys cannot be had now. Retryable.
        """
        return self.examine(token).identity

    async def averify(self, token: str | bytes) -> Identity:
        """Do what :meth:`verify` does; the event loop goes on while keys are fetched."""
        return (await self.aexamine(token)).identity

    def examine(self, token: str | bytes) -> Verified:
        """Return all that a genuine token says.

        Raises:
            TokenRefused, KeysUnavailable: as :meth:`verify`.
        """
        steps = self._steps(token)
        try:
            while True:
                # Not the result: what became of the fetch is for the steps to say.
                concurrent.futures.wait([next(steps)], self._patience)
        except StopIteration as done:
            found: Verified = done.value
            return found

    async def aexamine(self, token: str | bytes) -> Verified:
        """Do what :meth:`examine` does; the event loop goes on while keys are fetched."""
        steps = self._steps(token)
        try:
            while True:
                # wait() and not wait_for(): who stops waiting must not take the keys from the others.
                fetched = asyncio.wrap_future(next(steps))
                await asyncio.wait([fetched], timeout=self._patience)
        except StopIteration as done:
            found: Verified = done.value
            return found

    @property
    def _patience(self) -> float:
        return max(issuer.timeout for issuer, _ in self._known.values()) + GRACE

    def _steps(self, token: str | bytes) -> Generator[Future[None], None, Verified]:
        read = compact.read(token)
        name = ""
        unforeseen = ""
        try:
            issuer, source = self._issuer_of(read)
            name = issuer.url
            algorithm = claims.check_header(read.header, issuer)
            keys = yield from source.find(read.key_id)
            key = _signer(read, keys, algorithm)
            expires = claims.check_claims(read.claims, issuer, time.time())
            identity = identity_of(read.claims, issuer, expires)
        except TokenRefused as error:
            error.issuer, error.key_id = name, read.shown_key
            raise
        except Exception as error:  # a mistake of ours in reading is a refusal, and on record like the others
            unforeseen = type(error).__name__
        if unforeseen:  # not inside of the handler: its error may hold what the token says
            failed = refused(
                "malformed",
                f"the token could not be examined ({unforeseen})",
                "hand over the token alone, as the issuer gave it",
            )
            failed.issuer, failed.key_id = name, read.shown_key
            raise failed
        return Verified(
            identity=identity,
            issuer=issuer.url,
            key_id=compact.shown(key.id),
            token_id=compact.shown(read.claims.get("jti")),
        )

    def _issuer_of(self, read: Compact) -> tuple[Issuer, KeySource]:
        """Return whose word the token claims to be. Whether it is, its signature tells."""
        name = read.claims.get("iss")
        found = self._known.get(name) if isinstance(name, str) else None
        if found is None:
            subject = read.claims.get("sub")
            if isinstance(subject, str) and subject.startswith("spiffe://"):
                found = self._known.get(f"spiffe://{_domain(subject)}")
        if found is not None:
            return found
        raise refused(
            "issuer",
            "the token is of an issuer that the policy does not name"
            if self._known
            else "the policy names no issuer whose tokens could be believed",
            "have whoever keeps the policy name it in [[issuer]], exactly as 'iss' of its tokens does",
        )


def _domain(subject: str) -> str:
    try:
        return urlsplit(subject).netloc
    except ValueError:
        return ""


def _signer(read: Compact, keys: tuple[jwks.Key, ...], algorithm: str) -> jwks.Key:
    fitting = [key for key in keys if key.fits(algorithm)]
    if not fitting:
        raise refused(
            "algorithm",
            "the key that the token names is not for the algorithm that the token says",
            "get a new token from the issuer",
        )
    for key in fitting[: jwks.MAX_TRIED]:
        if key.signed(read.text, algorithm):
            return key
    raise refused(
        "signature",
        "the token's signature is not its issuer's: it was altered, or made by somebody else",
        "get a new token from the issuer, and hand it over unchanged",
    )

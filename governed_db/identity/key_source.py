"""The keys of one issuer, kept and renewed: one fetch at a time, not too often, old ones while it is down."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future
from typing import Final

from governed_db.errors import KeysUnavailable
from governed_db.identity import jwks
from governed_db.identity.fetching import Unfetched, fetch
from governed_db.identity.issuer import Issuer
from governed_db.identity.refused import refused
from governed_db.locks import lock

INTERVAL: Final = 10.0
"""Seconds between the starts of two fetches from one issuer. Tokens with invented keys, and an issuer that is
down, cost a fetch each time otherwise; and a key that is new is known after so long."""

Waiting = Generator["Future[None]", None, tuple[jwks.Key, ...]]
"""Yields what has to be done before it goes on; whoever drives it waits, in whichever way is his."""


class KeySource:
    """Safe with threads, asyncio and forks."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._lock = lock(self)
        self._keys: jwks.Keys | None = None
        self._fetched = self._started = float("-inf")  # time.monotonic()
        self._failure = ""
        self._pending: tuple[int, Future[None]] | None = None
        self._fixed = issuer.jwks is not None and not isinstance(issuer.jwks, str | os.PathLike)
        if self._fixed:
            self._keys = jwks.of(issuer.jwks, issuer.uses)

    def __repr__(self) -> str:
        return f"<KeySource of {self._issuer.url}>"

    def find(self, key_id: str | None) -> Waiting:
        """Return the keys that a token can mean, after a fetch where one is due.

        Raises:
            TokenRefused: there is no such key. Retryable where the issuer may have one soon.
            KeysUnavailable: the keys cannot be had. Retryable.
        """
        renewed = False
        longest = self._issuer.keys_lifetime + self._issuer.keys_stale
        if self._age() > self._issuer.keys_lifetime:
            if self._failure and self._age() <= longest:
                # The last fetch failed. Statements go on with the keys that are known while the next one is
                # tried, or a slow issuer would hold them up over and over.
                self._begin()
            else:
                renewed = yield from self._renew()
        keys = self._keys
        if keys is None or (not renewed and self._age() > longest):
            raise self._unavailable()
        found = keys.named(key_id)
        if found:
            return found
        # A key that is not known may be new.
        renewed = yield from self._renew()
        keys = self._keys
        found = keys.named(key_id) if keys is not None else ()
        if found:
            return found
        if self._fixed or renewed:
            why = (
                "names a key that its issuer does not have" if key_id is not None else "has no key to fit it"
            )
            raise refused("key", f"the token {why}", "get a new token from the issuer")
        raise refused(
            "key",
            "the token names a key that is not known here, and its issuer was asked a moment ago",
            f"try again in {INTERVAL:.0f} seconds, or get a new token from the issuer",
            retryable=True,
        )

    def _age(self) -> float:
        return 0.0 if self._fixed else time.monotonic() - self._fetched

    def _renew(self) -> Generator[Future[None], None, bool]:
        """Have the keys fetched, and return whether they were; not where that was done a moment ago."""
        pending = self._begin()
        if pending is None:
            return False
        yield pending
        return pending.done() and not self._failure

    def _begin(self) -> Future[None] | None:
        if self._fixed:
            return None
        with self._lock:
            now = time.monotonic()
            if self._pending is not None and not self._pending[1].done():
                if self._pending[0] == os.getpid():
                    return self._pending[1]
                # A thread of the parent is not in a forked child: that fetch will never be done here.
                self._started = float("-inf")
            if now - self._started < INTERVAL:
                return None
            self._started = now
            future: Future[None] = Future()
            self._pending = (os.getpid(), future)
            # A thread of its own: a name that nobody resolves must not hold up the caller's executor, and
            # every caller waits for the same answer.
            try:
                threading.Thread(
                    target=self._fetch, args=(future,), name="governed_db keys", daemon=True
                ).start()
            except RuntimeError:  # the interpreter is ending
                self._failure = "this process is ending"
                future.set_result(None)
            return future

    def _fetch(self, future: Future[None]) -> None:
        try:
            keys = fetch(self._issuer)
        except Unfetched as error:
            self._failure = str(error)
        except Exception as error:  # whatever it is, those who wait must learn of it
            self._failure = f"reading its keys failed ({type(error).__name__})"
        else:
            self._keys, self._fetched, self._failure = keys, time.monotonic(), ""
        future.set_result(None)

    def _unavailable(self) -> KeysUnavailable:
        why = f": {self._failure}" if self._failure else ""
        error = refused(
            "keys_unavailable",
            f"the keys of {self._issuer.url} cannot be had{why}",
            f"try again in {INTERVAL:.0f} seconds; if it stays so, tell whoever keeps the policy",
            retryable=True,
            kind=KeysUnavailable,
        )
        assert isinstance(error, KeysUnavailable)
        return error

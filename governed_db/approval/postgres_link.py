"""Connections to the database of approvals: how long they may take, and what is said where they do not work.

psycopg as it is, not governed: what asks people would otherwise ask itself whether it may.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from governed_db.approval.schema import VERSION
from governed_db.approval.store import StoreUnavailable

SCHEMA: Final = "governed_db"

CONNECT_SECONDS: Final = 5
"""How long one address may take to let us in. libpq's own default is for ever."""

STATEMENT_MS: Final = 5000
"""How long the server works on one statement, waiting for locks included: a thousand times what it takes."""

ANSWER_SECONDS: Final = 8.0
"""How long a call waits in all; more than :data:`STATEMENT_MS`, so that a server that can still speak says
itself what is the matter."""

_V = TypeVar("_V")

# What a DSN may say otherwise. Keepalives find a peer that is gone within 10 + 3 * 3 seconds,
# TCP_USER_TIMEOUT one that takes nothing.
NETWORK: dict[str, str | int] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": int(ANSWER_SECONDS * 1000),
    "fallback_application_name": "governed_db approvals",
}


class TooLate(psycopg.OperationalError):
    """The server has not answered in time. The connection is of no more use."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits until ``deadline`` (of the monotonic clock) and no longer."""

    deadline = float("inf")

    def __del__(self, *_: Any) -> None:
        """Say nothing: these connections are a store's, and end with it or with the program."""

    def wait(self, gen: PQGen[_V], *args: Any, **kwargs: Any) -> _V:
        """Consume ``gen``, as psycopg does.

        Raises:
            TooLate: it is not over by the deadline.
        """
        return super().wait(self._until(gen), *args, **kwargs)

    def _until(self, gen: PQGen[_V]) -> Generator[Any, Any, _V]:
        # psycopg sends at each interval, whether something is ready or not.
        waits = next(gen)
        while True:
            ready = yield waits
            if not ready and time.monotonic() >= self.deadline:
                raise TooLate("no answer in time")
            try:
                waits = gen.send(ready)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # what the generator returns is untyped


def place(dsn: str) -> str:
    """Return host, port and database that ``dsn`` names, and nothing else of it.

    Raises:
        ValueError: ``dsn`` cannot be read.
    """
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:
        raise ValueError("the DSN of the approval store is no connection string of PostgreSQL") from None
    names = (("host", "host"), ("port", "port"), ("dbname", "database"))
    said = ", ".join(f"{word} {parts[name]}" for name, word in names if parts.get(name))
    return f"in PostgreSQL ({said})" if said else "in PostgreSQL"


def connect(dsn: str) -> Connection:
    """Return a new connection with the limits of this module; what ``dsn`` says itself wins.

    Raises:
        psycopg.Error: there is none to be had.
    """
    said = conninfo_to_dict(dsn)
    limits: dict[str, Any] = {name: value for name, value in NETWORK.items() if not said.get(name)}
    if said.get("connect_timeout") in ("0", "-1"):  # for ever, to libpq
        limits["connect_timeout"] = CONNECT_SECONDS
    # Prepared statements are what poolers lose, and these are short. UTF-8, whatever the environment says.
    conn = Connection.connect(dsn, autocommit=True, prepare_threshold=None, client_encoding="UTF8", **limits)
    conn.deadline = time.monotonic() + ANSWER_SECONDS
    return conn


def unavailable(where: str, error: psycopg.Error) -> StoreUnavailable:
    """Return what is to be said of an error of the database ``where``; its own words can hold values."""
    if isinstance(error, TooLate):
        return StoreUnavailable(
            f"The approval store {where} did not answer within {ANSWER_SECONDS:g} s."
            " Whether it did what it was asked is not known; it counts as not done.",
            remedy="look at the database and the network in between; then try again",
        )
    state = error.sqlstate
    if state is None:
        return StoreUnavailable(f"The connection to the approval store {where} broke.", remedy="try again")
    what, remedy, retryable = _STATES.get(state) or _CLASSES.get(state[:2], _OTHERWISE)
    return StoreUnavailable(
        f"The approval store {where} {what} (SQLSTATE {state}).", remedy=remedy, retryable=retryable
    )


def other_version(where: str, found: int | None) -> StoreUnavailable:
    """Return the error for tables of version ``found``; ``None``: there are none."""
    if found is None:
        return StoreUnavailable(
            f"The approval store {where} is not installed.", remedy=_INIT, retryable=False
        )
    newer = found > VERSION
    return StoreUnavailable(
        f"The approval store {where} is of version {found}; this release works with {VERSION}.",
        remedy="use a later release of governed_db here" if newer else _INIT,
        retryable=False,
    )


_INIT: Final = "run governed-db approvals init as the owner of the schema"
_GRANT: Final = (
    "have the owner of the schema run governed-db approvals init --application ROLE (for who approves:"
    " --approver ROLE)"
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html; 3F000 and 42P01: undefined schema, table
_STATES: Final = {
    "3F000": ("is not installed", _INIT, False),
    "42P01": ("is not installed", _INIT, False),
    "42703": ("is not laid out as its version says", _INIT, False),
    "42501": ("does not let this role do that", _GRANT, False),
    "57014": (f"took longer than {STATEMENT_MS} ms", "look for locks and load there; then try again", True),
    "53100": ("has no room: the server's disk is full", "free space on the server", True),
    "25006": (
        "is read-only, as a standby is",
        "name the primary; target_session_attrs=read-write finds it among several hosts",
        True,
    ),
}
_CLASSES: Final = {
    "08": ("broke the connection", "try again", True),
    "53": ("is out of resources", "try again; look at the server's limits", True),
    "57": ("was stopped by its operator", "try again when the server is back", True),
    "58": ("has trouble with its files", "look at the server's log", True),
    "XX": ("is damaged, or failed within", "look at the server's log", False),
}
_OTHERWISE: Final = ("does not take it", "look at the server's log", False)

"""What is said of a caller to the server: settings, their values, and the commands that set them."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from attrs import field, frozen

from governed_db.identity import Identity

SETTINGS: Final = (
    "kind", "subject", "issuer", "verified", "on_behalf_of", "principals", "groups", "session",
)  # fmt: skip
"""The settings, each behind ``governed_db.``, in the order they are sent."""

MAX_NAME: Final = 63
"""Bytes of an application_name (NAMEDATALEN - 1 in src/include/pg_config_manual.h)."""

MAX_ANNOUNCED: Final = 65_536
"""Bytes of all values together. They travel with every transaction; some hundreds of groups take 16 kB."""

MAX_CALLERS: Final = 512
"""Callers whose announcements a process keeps: one takes some 2 kB, one with hundreds of groups 50."""


@frozen(cache_hash=True)
class Announcement:
    """Settings and their values, in the order they are sent."""

    values: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The settings."""
        return tuple(name for name, _ in self.values)

    @property
    def name(self) -> str | None:
        """The application_name, ``None`` where it is left alone."""
        return dict(self.values).get("application_name")


@lru_cache(maxsize=MAX_CALLERS)
def announcement(
    caller: Identity, told: frozenset[str], ever: frozenset[str] = frozenset(), base: str = ""
) -> Announcement:
    """Return what is said of ``caller``.

    Args:
        caller: who asks.
        told: what the policy wants told, of ``settings`` and ``application_name``.
        ever: what this session was told under another policy, which must not stay.
        base: the application's own application_name.
    """
    values: list[tuple[str, str]] = []
    if "settings" in told | ever:
        said = _said(caller) if "settings" in told else ("",) * len(SETTINGS)
        values += [(f"governed_db.{name}", value) for name, value in zip(SETTINGS, said, strict=True)]
    if "application_name" in told | ever:
        values.append(("application_name", shown(caller, base) if "application_name" in told else base))
    return Announcement(tuple(values))


def _said(caller: Identity) -> tuple[str, ...]:
    chain = []
    principal = caller.on_behalf_of
    while principal is not None:
        chain.append(principal)
        principal = principal.on_behalf_of
    return (
        str(caller.kind),
        caller.subject,
        caller.issuer,
        "true" if caller.verified else "false",
        chain[0].subject if chain else "",
        _array([f"{one.kind}:{one.subject}" for one in chain]),
        _array(sorted(caller.groups)),
        caller.session or "",
    )


def _array(items: list[str]) -> str:
    return json.dumps(items, ensure_ascii=False)


def shown(caller: Identity, base: str = "") -> str:
    """Return the application_name: ``base``, and who asks, in 63 printable ASCII characters.

    What else there is is written as ``\\xNN``, as PostgreSQL 16 does; older ones put a question mark.
    Where it is too long, ``base`` gives way first, and no character is cut in the middle.
    """
    who = f"{caller.kind}:{caller.subject}" if caller.subject else str(caller.kind)
    principal = caller.on_behalf_of
    while principal is not None:
        who += f" for {principal.subject or principal.kind}"
        principal = principal.on_behalf_of
    name = _fit(who, MAX_NAME)
    before = _fit(base, MAX_NAME - len(name) - 2)
    return f"{before}: {name}" if before else name


def _fit(text: str, room: int) -> str:
    cut = ""
    for character in text:
        plain = " " <= character <= "~"
        unit = character if plain else "".join(f"\\x{b:02x}" for b in character.encode("utf-8", "replace"))
        if len(cut) + len(unit) > room:
            break
        cut += unit
    return cut


@lru_cache(maxsize=MAX_CALLERS)
def commands(said: Announcement, encoding: str, server_encoding: str, *, local: bool) -> tuple[bytes, ...]:
    """Return the SET commands for ``said`` in the encodings of client and server (Python's names; "": any).

    Raises:
        UnicodeEncodeError: a value has a character that one of them does not have.
        ValueError: a value has a NUL, which PostgreSQL cannot hold.
        OverflowError: all of them together are longer than :data:`MAX_ANNOUNCED`.
    """
    found = []
    for name, value in said.values:
        if "\0" in value:
            raise ValueError("a NUL character")
        if server_encoding:
            value.encode(server_encoding)
        found.append(f"SET {_SCOPE[local]} {name} = {_literal(value)}".encode(encoding))
    if sum(map(len, found)) > MAX_ANNOUNCED:
        raise OverflowError
    return tuple(found)


_SCOPE = {True: "LOCAL", False: "SESSION"}


@lru_cache(maxsize=64)
def outline(names: tuple[str, ...], *, local: bool) -> tuple[bytes, ...]:
    """Return the same commands without the values: what they are, for the trail."""
    return tuple(f"SET {_SCOPE[local]} {name} = ''".encode() for name in names)


def _literal(value: str) -> str:
    # A backslash means itself in '...' only while standard_conforming_strings is on; in E'...' it never does.
    quoted = value.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"

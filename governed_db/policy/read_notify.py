"""``[[notify]]``: who is told that people are asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

from governed_db.policy.read_rules import string, strings, typed
from governed_db.policy.settings import NotifySettings
from governed_db.policy.source import Document, Path

_WAYS = ("slack", "webhook", "plugin")
_FILES = ("token_file", "secret_file")
_BELONGS = {
    "token_file": ("slack",),
    "api": ("slack",),
    "secret_file": ("slack", "webhook"),
    "options": ("plugin",),
}
_SETS = ("rules", "approvers")
_KEYS = frozenset({"name", *_WAYS, *_FILES, *_SETS, "options", "api", "timeout"})
# Of decisions that no rule of a file makes.
_OURS = "governed_db."
# A part of the name of an environment variable, of a notice in the store and of records.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# A channel's name has up to 80 characters; ids begin with C, G or D (https://docs.slack.dev).
_CHANNEL = re.compile(r"#[^\s<>&,@#]{1,80}|[CGD][A-Z0-9]{2,20}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
# A notice is one process's for a minute, and a few of them have to be tried in half of it.
_TIMEOUT = (0.1, 10.0)
_PLAIN = (str, int, float, bool)


def read_notify(doc: Document, base: tuple[NotifySettings, ...]) -> tuple[NotifySettings, ...]:
    """Return ``base`` and whom the file names.

    Raises:
        PolicyError: a key is unknown, of the wrong type, or says what cannot be used.
    """
    tables = typed(doc, ("notify",), doc.data.get("notify", []), list, "an array of tables: write [[notify]]")
    found = list(base)
    for place, value in enumerate(tables):
        here = ("notify", place)
        one = _notify(doc, here, typed(doc, here, value, dict, "a table: write [[notify]]"))
        if any(other.name == one.name for other in found):
            doc.fail((*here, "name"), f"two of [[notify]] have the name '{one.name}'")
        found.append(one)
    return tuple(found)


def check_rules(doc: Document, known: frozenset[str]) -> None:
    """Refuse ``rules`` that name a rule which the policy does not have: nobody would ever be told.

    Raises:
        PolicyError: one does.
    """
    for place, table in enumerate(doc.data.get("notify", [])):
        for number, rule in enumerate(table.get("rules", [])):
            if rule not in known and not rule.startswith(_OURS):
                near = get_close_matches(rule, known, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                doc.fail(("notify", place, "rules", number), f"there is no rule '{rule}'{hint}")


def _notify(doc: Document, here: Path, table: Mapping[str, Any]) -> NotifySettings:
    doc.known_keys(here, table, _KEYS)
    ways = [key for key in _WAYS if key in table]
    if len(ways) != 1:
        doc.fail(here, f"[[notify]] has one of {', '.join(_WAYS)}, and this has {len(ways) or 'none'}")
    for key, owners in _BELONGS.items():
        if key in table and ways[0] not in owners:
            doc.fail((*here, key), f"'{key}' belongs to {' and '.join(repr(way) for way in owners)}")
    given: dict[str, Any] = {"name": _name(doc, here, table), ways[0]: _way(doc, here, ways[0], table)}
    for key in _SETS:
        if key in table:
            given[key] = frozenset(strings(doc, (*here, key), table[key]))
    for key in _FILES:
        if key in table:
            given[key] = FilePath(string(doc, (*here, key), table[key])).expanduser()
            if not given[key].is_absolute():
                doc.fail(
                    (*here, key), f"'{key}' has to be an absolute path: the working directory decides nothing"
                )
    if "api" in table:
        given["api"] = _address(doc, (*here, "api"), table["api"])
    if "timeout" in table:
        given["timeout"] = _seconds(doc, (*here, "timeout"), table["timeout"])
    if "options" in table:
        given["options"] = _options(doc, (*here, "options"), table["options"])
    return NotifySettings(**given)


def _name(doc: Document, here: Path, table: Mapping[str, Any]) -> str:
    name: str = string(doc, (*here, "name"), table.get("name", ""))
    if not _NAME.fullmatch(name):
        doc.fail(
            here if "name" not in table else (*here, "name"),
            "[[notify]] has a 'name' of small letters, digits and _, such as 'dba_channel'",
        )
    return name


def _way(doc: Document, here: Path, key: str, table: Mapping[str, Any]) -> str:
    path = (*here, key)
    text: str = string(doc, path, table[key])
    if key == "webhook":
        return _address(doc, path, text)
    if key == "slack" and not _CHANNEL.fullmatch(text):
        doc.fail(path, "'slack' takes a channel: '#name', or its id such as 'C0123456789'")
    return text


def _address(doc: Document, path: Path, value: Any) -> str:
    address: str = string(doc, path, value)
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        doc.fail(path, f"'{path[-1]}' is no address")
    if parts.username is not None or parts.fragment:
        doc.fail(path, f"'{path[-1]}' takes an address without a user and without a fragment")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        # What goes there shows statements; only this machine can be told in the clear.
        doc.fail(path, f"'{path[-1]}' takes an address of https (or of http on this machine's loopback)")
    return address


def _seconds(doc: Document, path: Path, value: Any) -> float:
    least, most = _TIMEOUT
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        doc.fail(path, f"'{path[-1]}' takes seconds from {least:g} to {most:g}")
    return float(value)


def _options(doc: Document, path: Path, value: Any) -> Mapping[str, str | int | float | bool]:
    table = typed(doc, path, value, dict, "a table")
    for key, option in table.items():
        if not isinstance(option, _PLAIN):
            doc.fail((*path, key), "an option is a text, a number, true or false")
    return dict(table)

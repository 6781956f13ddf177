"""From TOML to who agrees and how: ``[approvals]``, ``[[approver]]`` and ``[[authority]]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from attrs import evolve

from governed_db.approval.people import Approver, Authority, People
from governed_db.note import VerifierKey, speakable
from governed_db.policy.read_rules import string, strings, typed
from governed_db.policy.settings import ApprovalSettings
from governed_db.policy.source import Document

_STORES = ("sqlite", "postgresql")

# From and to. An answer that holds for more than a week is a rule; a question that waits for more than a
# month has been forgotten; a poll below 50 ms is a load and above a minute a surprise.
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "valid_seconds": (1, 7 * 86_400),
    "ask_seconds": (1, 31 * 86_400),
    "wait_seconds": (0, 86_400),
    "poll_seconds": (0.05, 60),
    "headroom_percent": (0, 1000),
    "probe_rows": (1, 10_000_000),
    "probe_timeout_ms": (10, 60_000),
    "most_open": (1, 10_000),
    "keep_days": (1, 36_525),
    "effect_rows": (1, 10_000),
}
_FRACTIONS = frozenset({"poll_seconds", "wait_seconds"})


def read_approvals(doc: Document, base: ApprovalSettings) -> ApprovalSettings:
    """Return ``base`` with what the file says on top of it.

    Raises:
        PolicyError: a key is unknown or of the wrong type, or one key belongs to two people.
    """
    table = typed(doc, ("approvals",), doc.data.get("approvals", {}), dict, "a table: write [approvals]")
    doc.known_keys(("approvals",), table, frozenset({*_NUMBERS, "store", "dsn_file"}))
    changes: dict[str, Any] = {}
    for key, value in table.items():
        here = ("approvals", key)
        if key == "store":
            changes[key] = string(doc, here, value)
            if changes[key] not in _STORES:
                doc.fail(here, f"'store' is one of {', '.join(_STORES)}")
        elif key == "dsn_file":
            changes[key] = FilePath(string(doc, here, value)).expanduser()
            if not changes[key].is_absolute():
                doc.fail(here, "'dsn_file' has to be an absolute path: the working directory decides nothing")
        else:
            changes[key] = _number(doc, key, value)
    approvers = tuple(_approver(doc, place, item) for place, item in enumerate(_tables(doc, "approver")))
    authorities = tuple(_authority(doc, place, item) for place, item in enumerate(_tables(doc, "authority")))
    try:
        people = People(
            approvers=(*approvers, *base.people.approvers),
            authorities=(*authorities, *base.people.authorities),
        )
    except ValueError as error:
        doc.fail(("approver",), str(error))
    return evolve(base, people=people, **changes)


def _number(doc: Document, key: str, value: Any) -> float:
    least, most = _NUMBERS[key]
    whole = key not in _FRACTIONS
    fits = isinstance(value, int) or (not whole and isinstance(value, float))
    if isinstance(value, bool) or not fits or not least <= value <= most:
        doc.fail(("approvals", key), f"'{key}' takes a number from {least:g} to {most:g}")
    return int(value) if whole else float(value)


def _tables(doc: Document, name: str) -> list[Any]:
    return list(typed(doc, (name,), doc.data.get(name, []), list, f"an array of tables: write [[{name}]]"))


def _approver(doc: Document, place: int, value: Any) -> Approver:
    here = ("approver", place)
    table = typed(doc, here, value, dict, "a table: write [[approver]]")
    doc.known_keys(here, table, frozenset({"subject", "issuer", "groups", "keys", "slack"}))
    subject = _word(doc, here, table, "subject")
    if not subject:
        doc.fail(here, "an approver has a 'subject': who they are")
    return Approver(
        subject=subject,
        issuer=_word(doc, here, table, "issuer"),
        groups=frozenset(strings(doc, (*here, "groups"), table["groups"]) if "groups" in table else ()),
        keys=_keys(doc, here, table),
        slack=_word(doc, here, table, "slack"),
    )


def _authority(doc: Document, place: int, value: Any) -> Authority:
    here = ("authority", place)
    table = typed(doc, here, value, dict, "a table: write [[authority]]")
    doc.known_keys(here, table, frozenset({"name", "keys", "issuer"}))
    name = _word(doc, here, table, "name")
    if not speakable(name):
        doc.fail(here, "an authority has a 'name', without spaces and plus signs")
    keys = _keys(doc, here, table)
    if not keys:
        doc.fail(here, "an authority has 'keys': it signs for people", "governed-db approvals key makes one")
    return Authority(name=name, keys=keys, issuer=_word(doc, here, table, "issuer"))


def _word(doc: Document, here: tuple[str, int], table: Mapping[str, Any], key: str) -> str:
    return string(doc, (*here, key), table[key]) if key in table else ""


def _keys(doc: Document, here: tuple[str, int], table: Mapping[str, Any]) -> tuple[VerifierKey, ...]:
    path = (*here, "keys")
    found = []
    for place, text in enumerate(strings(doc, path, table["keys"]) if "keys" in table else ()):
        try:
            found.append(VerifierKey.parse(text))
        except ValueError as error:
            doc.fail((*path, place), f"{error}; governed-db approvals key prints one")
    return tuple(found)

"""What commands share that read the trail: where it is, from when on, and the catalogs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from governed_db.policy import Policy
    from governed_db.policy.recorded import Shelf

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_trail(parser: argparse.ArgumentParser) -> None:
    """Add ``--trail``, ``--catalogs`` and ``--since``."""
    parser.add_argument(
        "--trail",
        metavar="DIR",
        type=Path,
        help="the journal's folder (default: that of the policy in force)",
    )
    parser.add_argument(
        "--catalogs",
        metavar="DIR",
        type=Path,
        help="the folder of archived catalogs (default: 'catalogs' beside the journal, else in the state"
        " folder)",
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        type=moment,
        help="leave out what began earlier: 2026-01-31, 2026-01-31T12:00Z, or 12h, 7d, 2w ago",
    )


def moment(text: str) -> datetime:
    """Return the time that ``text`` says; without a zone it is in UTC.

    Raises:
        ValueError: it says none.
    """
    if text[-1:] in _UNITS and text[:-1].isdigit():
        try:
            return datetime.now(UTC) - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
        except OverflowError:
            raise ValueError("that is before the calendar begins") from None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def in_force() -> Policy | None:
    """Return the policy that environment and configuration name, ``None`` where it cannot be used."""
    from governed_db import config
    from governed_db.errors import PolicyError

    try:
        return config.find_policy()
    except PolicyError:
        return None


def folder_of(arguments: argparse.Namespace) -> Path:
    """Return the journal's folder.

    Raises:
        PolicyError: none is named, and the configuration cannot be used.
    """
    named: Path | None = arguments.trail
    return named if named is not None else journal_folder()


def journal_folder() -> Path:
    """Return the folder of the journal that the configuration names.

    Raises:
        PolicyError: the configuration cannot be used.
    """
    from governed_db import config

    return config.find_policy().settings.audit.directory or config.state_dir() / "journal"


def shelf_of(arguments: argparse.Namespace, folder: Path) -> Shelf:
    """Return the archive of catalogs that belongs to the journal in ``folder``."""
    from governed_db import config
    from governed_db.audit.archive import Archive
    from governed_db.policy.recorded import Shelf

    beside = folder.absolute().parent / "catalogs"
    named = arguments.catalogs or (beside if beside.is_dir() else config.state_dir() / "catalogs")
    return Shelf(Archive(named).load)


def entries(folder: Path, since: datetime | None) -> Iterator[dict[str, Any]]:
    """Yield the statements of the trail.

    Raises:
        OSError: there is no such folder, or it cannot be read.
    """
    from governed_db.audit import reader
    from governed_db.audit.record import instant

    least = "" if since is None else instant(int(since.timestamp() * 1_000_000) * 1000)
    for entry in reader.statements(folder):
        if entry["at"] >= least or entry["kind"] == "damage":
            yield entry


def note_read(folder: Path, verb: str, filters: list[str] | None = None) -> None:
    """Put on record in ``folder`` that somebody reads it.

    Where that is impossible it says so and goes on: an auditor's copy is read-only, or somebody else's.

    Args:
        folder: the journal's.
        verb: what reads it.
        filters: which part of it, as it was asked for.
    """
    import sys

    from governed_db.audit.reads import noted

    if folder.is_dir() and not noted(folder, verb, filters=filters or None):
        print(f"{folder} takes no records: this look is not on record", file=sys.stderr)

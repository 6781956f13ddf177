"""``governed-db audit``: the trail, verified, exported, reported, shipped."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

# One module for each group of verbs, ``governed_db.cli.audit_<name>``, each with ``add(verbs)``. They import
# what they need when they run.
_MODULES: tuple[str, ...] = (
    "approvals",
    "checkpoint",
    "export",
    "key",
    "lineage",
    "prove",
    "replay",
    "report",
    "ship",
    "show",
    "values",
    "verify",
)


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the group to argparse's ``commands``."""
    parser = commands.add_parser(
        "audit",
        help="verify, export, report or ship the trail",
        description="Work on the trail: the journal and the log that proves it.",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _MODULES:
        import_module(f"governed_db.cli.audit_{name}").add(verbs)


def add_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--dir``, the journal's folder."""
    from pathlib import Path

    parser.add_argument(
        "--dir",
        metavar="FOLDER",
        type=Path,
        help="the journal's folder (default: that of the policy in force)",
    )


def folder_of(arguments: argparse.Namespace) -> Path:
    """Return the journal's folder that ``--dir`` names, or the configuration.

    Raises:
        PolicyError: none is named, and the configuration cannot be used.
    """
    from governed_db.cli.trail import journal_folder

    named: Path | None = arguments.dir
    return named if named is not None else journal_folder()

"""The options by which the verbs of ``governed-db audit`` select entries of the trail."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from governed_db.audit.select import Selection

_STATUSES = ("ok", "error", "cancelled", "refused", "unknown", "running")
_KINDS = ("human", "agent", "service", "unknown")
_DECISIONS = ("allow", "needs_approval", "block", "approved")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add ``--dir`` and the options that select entries."""
    from governed_db.cli.audit import add_dir

    add_dir(parser)
    # "-1h" is a value here; argparse takes what begins with a dash and is no number for an option.
    parser._negative_number_matcher = re.compile(r"-\d+[smhdw]?$")
    group = parser.add_argument_group(
        "selection",
        "Each option can be given more than once: any of its values will do. In names * and ? stand for any"
        " characters.",
    )
    group.add_argument(
        "--since",
        metavar="WHEN",
        type=_moment,
        help="what began then or later: 2026-01-31, 2026-01-31T12:00Z, 30m, 12h, 7d, 2w ago (-12h is the"
        " same), today, yesterday",
    )
    group.add_argument("--until", metavar="WHEN", type=_moment, help="what began before")

    def many(option: str, meaning: str, **more: Any) -> None:
        group.add_argument(option, action="append", default=[], help=meaning, **more)

    many("--subject", "by this caller: NAME or KIND:NAME", metavar="NAME")
    many("--kind", "by callers of this kind", choices=_KINDS)
    many("--on-behalf-of", "for somebody: NAME or KIND:NAME", metavar="NAME")
    many("--session", "in this session of the caller", metavar="ID")
    many("--purpose", "for this purpose", metavar="TEXT")
    many("--database", "in this database", metavar="NAME")
    many("--relation", "touching this table or view", metavar="NAME")
    many("--column", "touching or masking this column", metavar="NAME")
    many("--decision", "decided so; approved: ran because people agreed", choices=_DECISIONS)
    many("--rule", "under this rule", metavar="NAME")
    many("--status", "with this outcome", choices=_STATUSES)
    many("--record", "the statement with this record id", metavar="ID")


def selection_of(arguments: argparse.Namespace) -> Selection:
    """Return what the options select."""
    from governed_db.audit.select import Selection

    return Selection(
        since=arguments.since,
        until=arguments.until,
        subjects=arguments.subject,
        kinds=arguments.kind,
        behalf=arguments.on_behalf_of,
        sessions=arguments.session,
        purposes=arguments.purpose,
        databases=arguments.database,
        relations=arguments.relation,
        columns=arguments.column,
        decisions=arguments.decision,
        rules=arguments.rule,
        statuses=arguments.status,
        records=arguments.record,
    )


class Out:
    """Standard output for bytes of UTF-8, also where somebody has put a stream of text in its place."""

    def write(self, data: bytes) -> None:
        """Write ``data``, in order with what is printed."""
        if (raw := getattr(sys.stdout, "buffer", None)) is None:
            sys.stdout.write(data.decode())
        else:
            raw.write(data)

    def flush(self) -> None:
        """Hand on what was written."""
        sys.stdout.flush()


def _moment(said: str) -> datetime:
    import argparse

    from governed_db.audit.select import moment

    try:
        return moment(said)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

"""``governed-db audit digest``, ``reveal`` and ``erase``: the values behind the trail."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from governed_db.cli.audit import add_dir, folder_of
from governed_db.cli.common import FAILED, clean, failed


def add(verbs: Any) -> None:
    """Add the verbs to argparse's ``verbs``."""
    digest = verbs.add_parser(
        "digest",
        help="print the digest that a value has on record",
        description="Print the digest that records have in the place of a value. A value given as '-' is read"
        " from standard input, so that no shell remembers it.",
    )
    digest.add_argument("value", metavar="VALUE", help="as PostgreSQL writes it; '-' reads standard input")
    _add_state(digest)
    digest.set_defaults(run=_digest)
    reveal = verbs.add_parser(
        "reveal",
        help="print the text and the values of a statement that were put on record encrypted",
        description="Print what was sealed in a record. Needs the key of its caller and month.",
    )
    reveal.add_argument("record", metavar="RECORD_ID")
    add_dir(reveal)
    _add_state(reveal)
    reveal.set_defaults(run=_reveal)
    erase = verbs.add_parser(
        "erase",
        help="destroy the keys of a caller or a month: what they sealed can never be read again",
        description="Destroy keys. Records, hashes and signatures stay valid; what was sealed under the keys"
        " is gone for good, but for copies of the keys in snapshots and backups.",
    )
    erase.add_argument(
        "--caller", metavar="KIND:SUBJECT", help="whose values, as human:anna or agent:copilot"
    )
    erase.add_argument("--issuer", default="", help="who vouched for the caller, where records name one")
    erase.add_argument("--month", metavar="YYYY-MM", help="of which month; without it, all months")
    add_dir(erase)
    _add_state(erase)
    erase.set_defaults(run=_erase)


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", metavar="FOLDER", type=Path, help="where the keys are (default: the state folder)"
    )


def _state(arguments: argparse.Namespace) -> Path:
    from governed_db import config

    return arguments.state or config.state_dir()


def _digest(arguments: argparse.Namespace) -> int:
    from governed_db.audit import value_keys
    from governed_db.errors import GovernanceError

    try:
        state = _state(arguments)
        if not (state / value_keys.DIGEST_FILE).exists():
            print(
                f"governed-db audit digest: there is no key in {state}: nothing was digested", file=sys.stderr
            )
            return FAILED
        value = sys.stdin.buffer.read().rstrip(b"\n") if arguments.value == "-" else arguments.value.encode()
        print(value_keys.digests(state).digest(value))
    except (OSError, GovernanceError) as error:
        return failed("audit digest", error)
    return 0


def _reveal(arguments: argparse.Namespace) -> int:
    import orjson

    from governed_db.audit import reader, value_keys
    from governed_db.audit.reads import noted
    from governed_db.audit.values import opened
    from governed_db.errors import GovernanceError

    try:
        folder = folder_of(arguments)
        record = next((e for e in reader.read(folder) if e.get("id") == arguments.record), None)
        if record is None:
            return _say("reveal", f"there is no record {clean(arguments.record)} in {folder}")
        section = record.get("values") or {}
        if "sealed" not in section:
            return _say("reveal", "nothing was sealed in this record")
        # Before it is shown: who looks at values is on record, or does not look.
        if not noted(folder, "reveal", record=arguments.record):
            return _say("reveal", f"this look cannot be put on record in {folder}, so that nothing is shown")
        secret = value_keys.Keys(_state(arguments) / value_keys.FOLDER).named(str(section.get("key", "")))
        if secret is None:
            return _say("reveal", f"the key {clean(str(section.get('key')))} is not there: it was destroyed")
        held = orjson.loads(opened(secret, section["key"], section["sealed"]))
    except (OSError, ValueError, GovernanceError) as error:
        return failed("audit reveal", error)
    print(orjson.dumps(held, option=orjson.OPT_INDENT_2).decode())
    return 0


def _erase(arguments: argparse.Namespace) -> int:
    from governed_db.audit import record, value_keys
    from governed_db.audit.journal import Journal
    from governed_db.audit.reads import reader
    from governed_db.errors import GovernanceError

    who = None
    if arguments.caller is not None:
        kind, _, subject = arguments.caller.partition(":")
        if not subject:
            return _say("erase", "a caller is written KIND:SUBJECT, such as human:anna")
        who = f"{kind}:{arguments.issuer}:{subject}"
    if who is None and arguments.month is None:
        return _say("erase", "name --caller, --month or both")
    try:
        folder, keys = folder_of(arguments), value_keys.Keys(_state(arguments) / value_keys.FOLDER)
        with Journal.open(folder) as journal:
            gone = []
            for name in keys.destroy(who=who, month=arguments.month):
                gone.append(name)
                journal.append(record.event("values.erased", who=reader(), key=name))
    except (OSError, GovernanceError) as error:
        return failed("audit erase", error)
    for name in gone:
        print(f"{name}: destroyed")
    print(f"{len(gone)} keys destroyed; what they sealed cannot be read any more")
    return 0


def _say(verb: str, message: str) -> int:
    print(f"governed-db audit {verb}: {message}", file=sys.stderr)
    return FAILED

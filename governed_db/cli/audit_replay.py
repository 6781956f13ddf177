"""``governed-db audit replay``: one session as it happened, and once more on another database."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli.audit import add_dir, folder_of
from governed_db.cli.common import FAILED, add_policy, clean, failed, line
from governed_db.cli.selecting import Out
from governed_db.cli.trail import note_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from governed_db.audit.rerun import Step
    from governed_db.audit.session import Session
    from governed_db.audit.view import Entry
    from governed_db.identity import Identity

DIFFERENT = 3
"""Exit status where something ended otherwise than it had."""

PAUSE = 5.0
"""Seconds between two statements from which the pause is told."""

_COMMAND = "audit replay"
_LABEL = 14


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "replay",
        help="walk through one session as it happened, or run it again elsewhere",
        description="Walk through one session step by step. With --against, run again what can be run without"
        " the values that the journal does not hold, and compare.",
        epilog="Exit status: 0, 1 usage error or failure, 3 something ended otherwise than it had.",
    )
    parser.add_argument(
        "session", metavar="SESSION", help="the id of a caller's session, a connection or a transaction"
    )
    parser.add_argument(
        "--against",
        metavar="DSN",
        help="run its reads again on this database, under the policy and on record, and compare",
    )
    parser.add_argument(
        "--writes", action="store_true", help="run writes too, all in one transaction that is rolled back"
    )
    parser.add_argument(
        "--reveal",
        action="store_true",
        help="run statements whose values are on record encrypted with those values; the look is on record",
    )
    parser.add_argument(
        "--state", metavar="FOLDER", type=Path, help="where their keys are (default: the state folder)"
    )
    parser.add_argument(
        "--as",
        dest="identity",
        metavar="KIND:NAME",
        help="who replays: agent:NAME, human:NAME, service:NAME (default: as the policy says)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a step")
    add_policy(parser)
    add_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replay; return the exit status."""
    import psycopg

    from governed_db.audit.reader import statements
    from governed_db.audit.session import find
    from governed_db.errors import GovernanceError, PolicyError

    if (arguments.writes or arguments.reveal) and arguments.against is None:
        print(f"governed-db {_COMMAND}: --writes and --reveal go with --against", file=sys.stderr)
        return FAILED
    try:
        folder = folder_of(arguments)
        note_read(folder, "replay", [f"session {arguments.session}"])
        session = find(statements(folder), arguments.session)
        if not session.steps:
            raise ValueError(f"{folder} holds no session, connection or transaction {arguments.session}")
        if session.ambiguous:
            names = ", ".join(f"{journal}/{arguments.session}" for journal in sorted(session.journals)[:20])
            raise ValueError(f"several processes have one of that name: give one of {names}")
        if arguments.against is None:
            _walk(session, arguments.json)
            return 0
        return _again(session, arguments)
    except BrokenPipeError:
        raise
    except (OSError, PolicyError, ValueError) as error:
        return failed(_COMMAND, error)
    except (GovernanceError, psycopg.Error) as error:
        return failed(_COMMAND, error)


def _walk(session: Session, as_json: bool) -> None:
    from governed_db.audit.export import line as json_line

    if as_json:
        for entry in session.steps:
            Out().write(json_line(entry))
        return
    _head(session)
    before: Entry | None = None
    for number, entry in enumerate(session.steps, start=1):
        _pause(before, entry)
        _step(session, number, entry)
        before = entry
    _tail(session)


def _again(session: Session, arguments: argparse.Namespace) -> int:
    from governed_db.audit.export import line as json_line

    counts: Counter[str] = Counter()
    if not arguments.json:
        _head(session)
    for number, step in enumerate(_steps(session, arguments), start=1):
        counts[step.verdict] += 1
        if arguments.json:
            Out().write(json_line(_plain(number, step)))
            continue
        _step(session, number, step.entry)
        took = "" if step.duration_us is None else f", {step.duration_us / 1000:,.1f} ms"
        rows = "" if step.rows is None else f", {step.rows:,} rows"
        said = f": {step.because}" if step.because else ""
        line("  now", f"{step.verdict}{rows}{took}{said}", indent=_LABEL)
    if not arguments.json:
        _tail(session)
        print(f"\n{counts['same']} same, {counts['differs']} differ, {counts['not run']} not run")
    return DIFFERENT if counts["differs"] else 0


def _steps(session: Session, arguments: argparse.Namespace) -> Iterator[Step]:
    import governed_db
    from governed_db import Governor
    from governed_db.audit.rerun import by_path, conninfo, rerun
    from governed_db.cli.judging import find_policy

    governor = Governor(find_policy(arguments.policy))
    try:
        identity = _replaying(_identity(arguments.identity) or governor.default_identity, session)
        secret = _secrets(session, arguments) if arguments.reveal else None
        groups = by_path(session.steps)
        if arguments.writes:
            # One transaction, so one connection, with the first path that there is.
            groups = iter([(next(groups)[0], session.steps)])
        for path, steps in groups:
            with governed_db.connect(
                conninfo(arguments.against, path, writes=arguments.writes),
                governor=governor,
                identity=identity,
                autocommit=True,
            ) as connection:
                yield from rerun(connection, steps, writes=arguments.writes, secret=secret, path=path)
    finally:
        governor.close()


def _secrets(session: Session, arguments: argparse.Namespace) -> Callable[[str], bytes | None]:
    """Return what finds the keys of encrypted values, once it is on record that they are used.

    Raises:
        ValueError: that cannot be put on record.
    """
    from governed_db import config
    from governed_db.audit import value_keys
    from governed_db.audit.reads import noted

    folder = folder_of(arguments)
    if not noted(folder, "replay", session=session.name, revealed=True):
        raise ValueError(f"the use of values cannot be put on record in {folder}, so that none is used")
    return value_keys.Keys((arguments.state or config.state_dir()) / value_keys.FOLDER).named


def _identity(said: str | None) -> Identity | None:
    from governed_db.identity import Identity

    return None if said is None else Identity.parse(said)


def _replaying(identity: Identity, session: Session) -> Identity:
    from attrs import evolve

    # So that the trail of the replay says what it was.
    return evolve(identity, session=f"replay of {session.name}", purpose=f"replay of {session.name}")


def _head(session: Session) -> None:
    from governed_db.audit import view
    from governed_db.cli.trail_lines import caller

    first, last = session.steps[0], session.steps[-1]
    callers = list(dict.fromkeys(caller(entry) for entry in session.steps))
    where = view.part(first, "where")
    line("session", session.name, indent=_LABEL)
    line("callers", ", ".join(callers[:10]), indent=_LABEL)
    line("purpose", view.text(view.part(first, "who"), "purpose"), indent=_LABEL)
    line("database", view.text(where, "database"), indent=_LABEL)
    line("from", view.text(first, "at"), indent=_LABEL)
    line("to", view.text(last, "at"), indent=_LABEL)
    line("statements", f"{len(session.steps) + session.beyond:,}", indent=_LABEL)


def _tail(session: Session) -> None:
    if session.beyond:
        print(f"\n... and {session.beyond:,} more statements that are not walked through")
    if session.damage:
        print(f"\nthe trail is damaged in {session.damage} places: statements can be missing here")


def _pause(before: Entry | None, entry: Entry) -> None:
    from governed_db.audit.session import offset

    waited = None if before is None else offset(before, entry)
    if waited is not None and waited.total_seconds() >= PAUSE:
        print(f"\n{'':{_LABEL}}... {waited.total_seconds():,.0f} s later")


def _step(session: Session, number: int, entry: Entry) -> None:
    from governed_db.audit import view
    from governed_db.audit.session import offset
    from governed_db.cli.trail_lines import verdict

    after = offset(session.steps[0], entry)
    when = "" if after is None else f"+{after.total_seconds():.3f} s"
    status, rows = view.status(entry), view.rows(entry)
    took = view.number(view.part(entry, "happened"), "duration_us")
    told = [verdict(entry)[0], status]
    told += [] if rows is None else [f"{rows:,} rows"]
    told += [] if took is None else [f"{took / 1000:,.1f} ms"]
    may, happened = view.part(entry, "may"), view.part(entry, "happened")
    if status == "refused":
        told.append(f"rule {view.text(may, 'rule')}: {view.text(may, 'reason')}")
    if state := view.text(happened, "sqlstate"):
        told.append(f"{view.text(happened, 'error')} {state}")
    masked = ", ".join(dict.fromkeys(view.short(column) for column, _, _ in view.masked(entry)))
    print(f"\n{f'{number}.':<6}{clean(when)}")
    line("  statement", view.text(view.part(entry, "what"), "text") or view.summary(entry), indent=_LABEL)
    line("  then", ", ".join(t for t in told if t), indent=_LABEL)
    line("  masked", masked, indent=_LABEL)
    line("  record", view.text(entry, "id"), indent=_LABEL)


def _plain(number: int, step: Step) -> dict[str, Any]:
    from governed_db.audit import view

    happened = view.part(step.entry, "happened")
    return {
        "step": number,
        "record": view.text(step.entry, "id"),
        "text": view.text(view.part(step.entry, "what"), "text"),
        "verdict": step.verdict,
        "because": step.because or None,
        "then": {
            "status": view.status(step.entry),
            "rows": view.rows(step.entry),
            "duration_us": view.number(happened, "duration_us"),
        },
        "now": None if step.verdict == "not run" else {"rows": step.rows, "duration_us": step.duration_us},
    }

"""``governed-db demo``: an agent at work on a shop's database, and the trail it leaves.

The server, the shop, the journal, the approver's key: everything is made for the demo and removed at its end.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from governed_db.cli.telling import Teller
    from governed_db.driver.connection import Connection
    from governed_db.errors import ApprovalRequired
    from governed_db.governor import Governor

PATIENCE: Final = 120
"""Seconds that the demo waits for a person: time to open a terminal, paste a line, read, and answer."""

SCRIPTED: Final = 30
"""Seconds that the scripted answer may take; it takes one."""

APPROVER: Final = "dba-anna"

_POLICY = """\
extends = "standard"

[approvals]
poll_seconds = 0.2

[[approver]]
subject = "{subject}"
groups = ["dba"]
keys = ["{key}"]
"""

_FAILED = 1


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "demo",
        help="watch an agent work on a database of its own",
        description="Start a PostgreSQL of its own, fill it with a shop, let a scripted agent work on it "
        "through governed_db, and show the trail. Nothing is left behind.",
    )
    parser.add_argument(
        "--scripted",
        action="store_true",
        help="let a script answer what needs a person; it does in any case where there is no terminal",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=PATIENCE,
        help=f"how long to wait for you to answer (default: {PATIENCE}); then the script does",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Tell the story; return the exit status."""
    if find_spec("rich") is None:
        print("governed-db demo: this needs `pip install 'governed-db[demo]'`", file=sys.stderr)
        return _FAILED
    from governed_db.cli.telling import Teller
    from governed_db.testing import EmbeddedPostgres, ServerError

    started = time.monotonic()
    tell = Teller()
    try:
        with tell.waiting("Starting a PostgreSQL of its own"):
            server = EmbeddedPostgres().start()
    except ServerError as error:
        print(f"governed-db demo: {error}", file=sys.stderr)
        return _FAILED
    scripted = arguments.scripted or not _at_terminal()
    with server:
        _story(server.create_database("shop"), server.folder, tell, 0 if scripted else arguments.wait)
    tell.end(time.monotonic() - started)
    return 0


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _seconds(said: str) -> int:
    found = int(said)
    if not 0 <= found <= 86_400:
        raise argparse.ArgumentTypeError("a number of seconds from 0 to 86400")
    return found


def _story(dsn: str, folder: Path, tell: Teller, patience: int) -> None:
    import psycopg

    from governed_db.cli import shop
    from governed_db.driver.connection import Connection
    from governed_db.governor import Governor
    from governed_db.identity import Identity

    with psycopg.connect(dsn) as owner:
        with tell.waiting("Filling it with a shop"):
            counts = shop.load(owner)
        maria = Identity.human("maria.keller")
        agent = Identity.agent("sales-copilot", on_behalf_of=maria, purpose="customer care, Monday")
        desk = _Desk.make(folder)
        governor = Governor.load(desk.policy, state_dir=desk.state)
        try:
            version = f"PostgreSQL {owner.info.server_version // 10000}"
            tell.opening(version, counts, str(agent), f"human:{APPROVER}")
            with Connection.connect(dsn, governor=governor, identity=agent, autocommit=True) as connection:
                _reads(connection, owner, tell)
                _refusals(connection, tell)
                _writes(connection, owner, desk, tell, patience)
            _trail(governor, tell)
        finally:
            governor.close()


def _reads(connection: Connection[Any], owner: Any, tell: Teller) -> None:
    tell.step("It reads a customer. Personal data comes back masked.")
    query = "SELECT name, email, phone, city, country, tier, notes, profile FROM customers WHERE id = %s"
    key = owner.execute(
        "SELECT min(id) FROM customers WHERE tier = 'gold' AND phone || notes > ''"
    ).fetchone()
    tell.says(query, key)
    cursor = connection.execute(query, key)
    row = cursor.fetchone()
    # What the masks hide is read past governed_db, by the owner of the database.
    stored = owner.execute(query, key).fetchone()
    tell.side_by_side([column.name for column in cursor.description or ()], stored, row)


def _refusals(connection: Connection[Any], tell: Teller) -> None:
    tell.step("It looks for a masked value by a detour. The refusal names the column and the way out.")
    _refused(connection, tell, "SELECT id, country FROM customers WHERE email LIKE %s", ["anna%"])
    tell.step("It does as told: it filters by a column that is not masked.")
    query = "SELECT count(*) FROM customers WHERE country = %s AND tier = %s"
    tell.says(query, ["DE", "gold"])
    tell.answers(connection.execute(query, ["DE", "gold"]).fetchone())
    tell.step("It wants to tidy up.")
    _refused(connection, tell, "DROP TABLE support_tickets")
    tell.step("It finds a WHERE that looks like one. What it does not restrict needs a person.")
    _refused(connection, tell, "DELETE FROM support_tickets WHERE status = status")


def _refused(connection: Connection[Any], tell: Teller, query: str, values: Sequence[Any] = ()) -> Any:
    from governed_db.errors import GovernanceError

    tell.says(query, values)
    try:
        connection.execute(query, values or None)
    except GovernanceError as error:
        tell.error(error)
        return error
    raise AssertionError(f"the demo expected a refusal of: {query}")


def _writes(connection: Connection[Any], owner: Any, desk: _Desk, tell: Teller, patience: int) -> None:
    tell.step("It ships an order: one row, found by its key.")
    query = "UPDATE orders SET status = 'shipped', shipped_at = now() WHERE id = %s AND status = 'paid'"
    order = owner.execute("SELECT max(id) FROM orders WHERE status = 'paid'").fetchone()
    tell.says(query, order)
    tell.done(connection.execute(query, order).rowcount)

    tell.step("It cancels what was never paid. A look shows more than 100 rows: it is not run, and waits.")
    query = "UPDATE orders SET status = 'cancelled' WHERE status = %s"
    error = _refused(connection, tell, query, ["pending"])
    _approval(connection, query, error, desk, tell, patience)


def _approval(
    connection: Connection[Any],
    query: str,
    error: ApprovalRequired,
    desk: _Desk,
    tell: Teller,
    patience: int,
) -> None:
    """Have the agent wait for a person in another terminal, or for the script that stands in for one."""
    from governed_db.approval.waiting import wait_for_approval
    from governed_db.errors import ApprovalDenied, ApprovalRequired

    assert error.request is not None
    command, agreeing = desk.command(error.request.id), ["--yes", "--reason", "never paid"]
    if patience:
        tell.asks(f"human:{APPROVER}", desk.shell(command), patience)
    for seconds in filter(None, (patience, SCRIPTED)):
        scripted = seconds != patience
        if scripted:
            tell.step(f"Nobody is there. A script answers as {APPROVER}, in a second process.")
            tell.says(f"governed-db {shlex.join([*command[:3], *agreeing])}")
        tell.step(f"The agent sends the same call again, and waits for the answer, up to {seconds} s.")
        tell.says(query, ["pending"])
        answering = desk.answering([*command, *agreeing], tell)
        try:
            with (
                answering if scripted else nullcontext(),
                tell.waiting(f"Waiting for {APPROVER}, up to {seconds} s"),
                wait_for_approval(seconds),
            ):
                rows = connection.execute(query, ["pending"]).rowcount
        except ApprovalDenied as denied:
            tell.error(denied)
            return
        except ApprovalRequired as again:
            if scripted:
                tell.error(again)
            continue
        tell.done(rows)
        return


@frozen
class _Desk:
    """Where the demo's approver sits: the policy that names them, their key, and the state they share."""

    policy: Path
    key: Path
    state: Path

    @classmethod
    def make(cls, folder: Path) -> _Desk:
        from governed_db.approval import keys

        desk = cls(folder / "demo.toml", folder / f"{APPROVER}.key", folder / "state")
        keys.make(desk.key)
        public = keys.unnamed(desk.key).named(APPROVER).text
        with open(desk.policy, "x", opener=_private) as file:
            file.write(_POLICY.format(subject=APPROVER, key=public))
        return desk

    def command(self, request: str) -> list[str]:
        """Return the words after ``governed-db`` that answer ``request``."""
        return ["approvals", "approve", request, "--policy", str(self.policy), "--key", str(self.key)]

    def shell(self, command: Sequence[str]) -> list[str]:
        """Return the lines to type into another terminal."""
        program = "governed-db" if shutil.which("governed-db") else f"{sys.executable} -m governed_db.cli"
        words = [
            f"GOVERNED_DB_STATE_DIR={shlex.quote(str(self.state))}",
            f"{program} {shlex.join(command[:3])}",
        ]
        options = iter(command[3:])
        words += [f"  {name} {shlex.quote(value)}" for name, value in zip(options, options, strict=True)]
        return [*(f"{word} \\" for word in words[:-1]), words[-1]]

    @contextmanager
    def answering(self, command: Sequence[str], tell: Teller) -> Iterator[None]:
        """Have a second process run ``command`` meanwhile, and show what it says."""
        # The code of this process, wherever it was loaded from; never the working directory's.
        path = os.pathsep.join(filter(None, sys.path))
        with subprocess.Popen(  # noqa: S603 - the words are the demo's own
            [sys.executable, "-P", "-m", "governed_db.cli", *command],
            env={**os.environ, "GOVERNED_DB_STATE_DIR": str(self.state), "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                yield
            finally:
                try:
                    said, _ = process.communicate(timeout=SCRIPTED)
                except subprocess.TimeoutExpired:
                    process.kill()
                    said, _ = process.communicate()
                tell.approver(said.strip())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _trail(governor: Governor, tell: Teller) -> None:
    from governed_db.audit import reader

    governor.close()  # seals the journal: what is read now is what an auditor would get
    tell.trail(reader.statements(governor.trail.folder))

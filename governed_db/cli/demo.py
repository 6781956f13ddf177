"""``governed-db demo``: an agent at work on a shop's database, and the trail it leaves.

The server, the shop, the journal: everything is made for the demo and removed at its end.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from governed_db.cli.telling import Teller
    from governed_db.driver.connection import Connection
    from governed_db.governor import Governor

_FAILED = 1


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "demo",
        help="watch an agent work on a database of its own",
        description="Start a PostgreSQL of its own, fill it with a shop, let a scripted agent work on it "
        "through governed_db, and show the trail. Nothing is left behind.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Tell the story; return the exit status."""
    del arguments
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
    with server:
        _story(server.create_database("shop"), server.folder, tell)
    tell.end(time.monotonic() - started)
    return 0


def _story(dsn: str, folder: Path, tell: Teller) -> None:
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
        governor = Governor.preset("standard", state_dir=folder / "state")
        try:
            version = f"PostgreSQL {owner.info.server_version // 10000}"
            tell.opening(version, counts, str(agent), governor.policy.name)
            with Connection.connect(dsn, governor=governor, identity=agent, autocommit=True) as connection:
                _reads(connection, owner, tell)
                _refusals(connection, tell)
                _writes(connection, owner, governor, tell)
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


def _writes(connection: Connection[Any], owner: Any, governor: Governor, tell: Teller) -> None:
    from governed_db.identity import Identity

    tell.step("It ships an order: one row, found by its key.")
    query = "UPDATE orders SET status = 'shipped', shipped_at = now() WHERE id = %s AND status = 'paid'"
    order = owner.execute("SELECT max(id) FROM orders WHERE status = 'paid'").fetchone()
    tell.says(query, order)
    tell.done(connection.execute(query, order).rowcount)

    tell.step("It cancels what was never paid. A look shows more than 100 rows: it is not run, and waits.")
    query = "UPDATE orders SET status = 'cancelled' WHERE status = %s"
    error = _refused(connection, tell, query, ["pending"])
    anna = Identity.human("dba-anna", groups=("dba",))
    governor.approvals.approve(error.request.id, by=anna)
    tell.approves(str(anna), error.request)
    tell.step("The agent sends the same call again.")
    tell.says(query, ["pending"])
    tell.done(connection.execute(query, ["pending"]).rowcount)


def _trail(governor: Governor, tell: Teller) -> None:
    from governed_db.audit import reader

    governor.close()  # seals the journal: what is read now is what an auditor would get
    tell.trail(reader.statements(governor.trail.folder))

"""Attacks that do harm on a bare connection, and honest statements, as an agent under ``standard``.

The lines are in ``tests/corpus/guardrails.jsonl``, how they are sent in ``tests/guardrails.py``. That each
attack does harm is for ``tests/corpus/verify_guardrails.py`` to show; a few of them are shown here, too.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import guardrails
import psycopg
import pytest
from attrs import define, field
from corpus import verify_guardrails
from flavours import Flavour, do
from harm import harm, state
from psycopg.conninfo import conninfo_to_dict

import governed_db
from governed_db.errors import GovernanceError
from governed_db.testing import EmbeddedPostgres

EVERY_ASYNC = 10
EVERY_HARM = 60
"""One attack in so many is shown to do harm: the whole takes a minute."""


def _params(kind: str, every: int = 1) -> list[Any]:
    """Return the lines of a kind. One with a "gap" is known to fail, and must until its gap is closed."""
    chosen = [entry for entry in guardrails.lines() if entry["kind"] == kind][::every]
    return [
        pytest.param(
            entry,
            id=f"{number}-{str(entry['sql'])[:60]}",
            marks=[pytest.mark.xfail(strict=True, reason=entry["gap"])] if "gap" in entry else [],
        )
        for number, entry in enumerate(chosen, 1)
    ]


# A transaction that writes takes the next number: where it has not moved, nobody on this server wrote.
_NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
_SESSION = """
    SELECT 'user' WHERE current_user <> session_user OR NOT current_setting('is_superuser')::bool
    UNION ALL SELECT name FROM pg_settings WHERE source = 'session'
        AND name !~ '_timeout$|^(enable_|TimeZone|DateStyle|IntervalStyle|application_name|transaction_)'
    UNION ALL SELECT 'locks' FROM pg_locks WHERE locktype = 'advisory'
    UNION ALL SELECT 'channels' FROM pg_listening_channels()
"""


@define(eq=False)
class Depot:
    """A database made from the schema, an agent's connection to it, and its owner's."""

    server: EmbeddedPostgres
    template: str
    governor: Any
    folder: Path
    _numbers: Iterator[int] = field(factory=itertools.count)
    name: str = ""
    owner: Any = None
    agent: Any = None
    before: dict[str, object] = field(factory=dict)
    written: str = ""

    def open(self) -> None:
        if self.owner is None:
            self.name = f"{self.template}_{next(self._numbers)}"
            dsn = self.server.create_database(self.name, template=self.template)
            self.owner = psycopg.connect(dsn, autocommit=True)
            self.before = state(self.owner, session=False)
            self.written = self.owner.execute(_NEXT_TRANSACTION).fetchone()[0]

    def changed(self) -> list[str]:
        """Return what is not as it was; what was changed is gone before the next line."""
        if self.owner.execute(_NEXT_TRANSACTION).fetchone()[0] == self.written:
            return []
        parts = harm(self.before, state(self.owner, session=False))
        self.close()
        return parts

    def close(self) -> None:
        self.leave()
        if self.owner is not None:
            self.owner.close()
            self.owner = None
            self.server.drop_database(self.name)

    def leave(self) -> None:
        """Close the connection that lines share."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    def arguments(self) -> dict[str, Any]:
        return {
            "conninfo": self.server.conninfo(self.name, options="-c statement_timeout=10s"),
            "governor": self.governor,
            "identity": governed_db.Identity.agent("mallory"),
            "autocommit": True,
        }

    def run(
        self, entry: dict[str, Any], flavour: str, *, rolled_back: bool = False
    ) -> tuple[Exception | None, list[str]]:
        """Send a line as an agent; return the error it ended in and what became of its session."""
        if flavour == "sync":
            if self.agent is None:
                self.agent = governed_db.connect(**self.arguments())
            failure, session = asyncio.run(self._run(self.agent, Flavour("sync"), entry, rolled_back))
            if session or self.agent.closed:
                self.leave()
            return failure, session
        return asyncio.run(self._run_async(entry))

    async def _run_async(self, entry: dict[str, Any]) -> tuple[Exception | None, list[str]]:
        conn = await governed_db.AsyncConnection.connect(**self.arguments())
        try:
            return await self._run(conn, Flavour("async"), entry, rolled_back=False)
        finally:
            await conn.close()

    async def _run(
        self, conn: Any, flavour: Flavour, entry: dict[str, Any], rolled_back: bool
    ) -> tuple[Exception | None, list[str]]:
        if entry.get("transaction") or rolled_back:
            await do(conn.set_autocommit(False))
            await do(conn.execute("SELECT 1"))
        failure: Exception | None = None
        session = []
        try:
            await guardrails.send(flavour, conn, entry, self.folder)
        except psycopg.Error as error:
            failure = error
        if not conn.closed and conn.info.transaction_status.name not in ("INERROR", "ACTIVE"):
            cursor = await do(conn.execute(_SESSION))
            session = [name for (name,) in await do(cursor.fetchall())]
        if not conn.closed:
            await do(conn.rollback())
            await do(conn.set_autocommit(True))
        return failure, session


@pytest.fixture(scope="module")
def shared(server: EmbeddedPostgres, dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depot]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(guardrails.SCHEMA.read_text("utf-8"))
    folder = server.folder / "guardrails"
    folder.mkdir()
    folder.chmod(0o777)
    governor = governed_db.Governor.preset("standard", state_dir=tmp_path_factory.mktemp("guardrails"))
    made = Depot(server, str(conninfo_to_dict(dsn)["dbname"]), governor, folder)
    yield made
    made.close()
    governor.close()


@pytest.fixture
def depot(shared: Depot) -> Depot:
    """The parcel service as the schema made it."""
    shared.open()
    return shared


def _skip_other_syntax(depot: Depot, entry: dict[str, Any]) -> None:
    if not guardrails.fits(entry, depot.owner.info.server_version):
        pytest.skip("this server has other syntax")


def _check_attack(depot: Depot, entry: dict[str, Any], flavour: str) -> None:
    _skip_other_syntax(depot, entry)
    failure, session = depot.run(entry, flavour)
    # A write that was measured and rolled back has used up numbers, as the server does for any.
    changed = [part for part in depot.changed() if not part.startswith("catalog sequence")]
    assert isinstance(failure, GovernanceError), (failure or "it ran", entry["why"], changed)
    first_steps = entry["sql"][:-1] if isinstance(entry["sql"], list) else []
    assert first_steps or not changed, changed
    assert not session
    assert not list(depot.folder.iterdir())


@pytest.mark.parametrize("entry", _params("attack"))
def test_an_attack_does_not_run_silently(depot: Depot, entry: dict[str, Any]) -> None:
    _check_attack(depot, entry, "sync")


@pytest.mark.parametrize("entry", _params("attack", EVERY_ASYNC))
def test_an_attack_does_not_run_silently_async(depot: Depot, entry: dict[str, Any]) -> None:
    _check_attack(depot, entry, "async")


@pytest.mark.parametrize("entry", _params("honest"))
def test_honest_work_is_not_refused(depot: Depot, entry: dict[str, Any]) -> None:
    _skip_other_syntax(depot, entry)
    failure, _ = depot.run(entry, "sync", rolled_back=True)
    assert failure is None, failure


@pytest.mark.parametrize("flavour", ["sync", "async"])
@pytest.mark.parametrize("entry", _params("honest", EVERY_ASYNC))
def test_honest_work_is_not_refused_in_autocommit(depot: Depot, entry: dict[str, Any], flavour: str) -> None:
    _skip_other_syntax(depot, entry)
    failure, _ = depot.run(entry, flavour)
    depot.changed()
    assert failure is None, failure


@pytest.mark.parametrize("entry", _params("masked"))
def test_what_would_show_a_masked_column_is_refused(depot: Depot, entry: dict[str, Any]) -> None:
    failure, _ = depot.run(entry, "sync")
    assert isinstance(failure, governed_db.MaskedColumnRefused), failure or "it ran"


@pytest.fixture(scope="module")
def bench(server: EmbeddedPostgres) -> Iterator[verify_guardrails.Bench]:
    made = verify_guardrails.Bench(server)
    yield made
    for name in (made.database, made.template):
        server.drop_database(name)


@pytest.mark.parametrize("entry", _params("attack", EVERY_HARM))
def test_the_attacks_do_harm_on_a_bare_connection(
    bench: verify_guardrails.Bench, shared: Depot, entry: dict[str, Any]
) -> None:
    with bench.connected(1000) as conn:
        if not guardrails.possible(entry, conn):
            pytest.skip("this server does not have it")
    changed, error = bench.observe(entry)
    assert verify_guardrails.expected(entry) & set(changed), error or changed

"""Attacks and honest work by SQL text alone, as an agent under ``standard``, on a shop of people.

The lines are in ``tests/corpus/attack_*.jsonl``: ``sql`` (one text, or steps of one connection), ``verdict``,
``why``, and where it matters ``below`` (servers older than that only), ``setup`` (run by the owner first)
and ``transaction`` (the steps share one). The verdicts: *refused* raises a governance error and changes
nothing; *hidden* may run or fail, but nothing sensitive may show; *allowed* runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from attrs import define, field
from psycopg.conninfo import conninfo_to_dict

import governed_db
from governed_db.errors import GovernanceError
from governed_db.testing import EmbeddedPostgres
from tests.layout import Layout

CORPUS = Path(__file__).parents[1] / "corpus"
# Every sensitive text of the schema holds this word, every sensitive date is of the first decade of 1900.
CANARY = "canary"
CANARY_DATES = "date(190"

_RELATIONS = """
    SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%' ORDER BY 1
"""
_OBJECTS = """
    SELECT (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_type), (SELECT count(*) FROM pg_trigger),
        (SELECT count(*) FROM pg_attribute), (SELECT count(*) FROM pg_largeobject_metadata),
        (SELECT string_agg(rolname || rolsuper, ',' ORDER BY rolname) FROM pg_roles),
        (SELECT md5(string_agg(coalesce(relacl::text, ''), ',' ORDER BY oid)) FROM pg_class)
"""
_SETTINGS = (
    "search_path", "role", "session_authorization", "standard_conforming_strings", "client_encoding",
    "backslash_quote", "row_security", "session_replication_role", "statement_timeout", "client_min_messages",
)  # fmt: skip


def _lines(name: str) -> list[Any]:
    """Read a corpus. A line with a "gap" is known to fail, and must go on failing until its gap is closed."""
    entries = [orjson.loads(line) for line in (CORPUS / f"attack_{name}.jsonl").read_bytes().splitlines()]
    return [
        pytest.param(
            entry,
            id=f"{number}-{str(entry['sql'])[:60]}",
            marks=[pytest.mark.xfail(strict=True, reason=entry["gap"])] if "gap" in entry else [],
        )
        for number, entry in enumerate(entries, 1)
    ]


# A transaction that writes takes the next number: where it has not moved, nobody on this server wrote.
_NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"


@define
class Outcome:
    """What one line showed to the agent."""

    error: Exception | None = None
    seen: list[str] = field(factory=list)

    def shows_canaries(self) -> bool:
        text = "\n".join([*self.seen, *_said(self.error)])
        return CANARY in text.lower() or CANARY_DATES in text


def _said(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield repr(error) + str(error)
        if isinstance(error, psycopg.Error):
            diag = error.diag
            yield repr([getattr(diag, name) for name in dir(diag) if not name.startswith("_")])
        error = error.__cause__ or error.__context__


@define(eq=False)
class Shop:
    """A database made from the schema, an agent in it, and an owner who looks what came of it."""

    server: EmbeddedPostgres
    template: str
    state_dir: Path
    _numbers: Iterator[int] = field(factory=itertools.count)
    name: str = ""
    owner: Any = None
    agent: Any = None
    before: object = None
    layout: Any = None
    _written: str = ""
    _contents: object = None
    notices: list[str] = field(factory=list)

    def open(self, setup: str = "") -> None:
        self.close()
        self.name = f"{self.template}_{next(self._numbers)}"
        dsn = self.server.create_database(self.name, template=self.template)
        self.owner = psycopg.connect(dsn, autocommit=True)
        if setup:
            try:
                self.owner.execute(setup)
            except psycopg.Error:
                self.owner.close()
                raise
        self.layout = Layout(self.owner)
        self.layout.take()
        self._written = ""
        self.before = self.contents()
        governor = governed_db.Governor.preset("standard", state_dir=self.state_dir / self.name)
        identity = governed_db.Identity.agent("mallory")
        self.agent = governed_db.Connection.connect(
            dsn, governor=governor, identity=identity, autocommit=True
        )
        self.agent.add_notice_handler(lambda diag: self.notices.append(f"{diag.message_primary}"))

    def close(self) -> None:
        if self.agent is None:
            return
        self.agent.close()
        self.agent.governor.close()
        self.owner.close()
        self.agent = self.owner = None
        self.server.drop_database(self.name)

    def contents(self) -> object:
        """Return what is in the database; looked at again only where somebody has written since."""
        written = self.owner.execute(_NEXT_TRANSACTION).fetchone()[0]
        if written != self._written:
            self._written, self._contents = written, self._look()
        return self._contents

    def as_before(self) -> bool:
        """Undo what somebody did to rows; say whether that was all."""
        return self.contents() == self.before or (self.layout.restored() and self.contents() == self.before)

    def _look(self) -> object:
        relations = self.owner.execute(_RELATIONS).fetchall()
        tables = " UNION ALL ".join(
            f"SELECT '{name}', count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM ONLY {name} t"
            for name, kind in relations
            if kind == "r"
        )
        return relations, self.owner.execute(tables).fetchall(), self.owner.execute(_OBJECTS).fetchone()

    def settings(self) -> tuple[str, ...]:
        asked = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
        return tuple(self.agent.execute(f"SELECT {asked}").fetchone())

    def run(self, entry: dict[str, Any]) -> Outcome:
        """Send every step as the agent; the first governance error ends it."""
        steps = entry["sql"] if isinstance(entry["sql"], list) else [entry["sql"]]
        outcome = Outcome()
        self.notices.clear()
        self.agent.autocommit = not entry.get("transaction", False)
        for step in steps:
            try:
                outcome.seen.append(self._send(step))
            except psycopg.Error as error:
                outcome.error = error
                outcome.seen += _said(error)
                if isinstance(error, GovernanceError):
                    break
        outcome.seen += self.notices
        self.agent.rollback()
        self.agent.autocommit = True
        return outcome

    def _send(self, step: str) -> str:
        with self.agent.cursor() as cursor:
            if step.startswith("COPY"):
                with cursor.copy(step) as copy:
                    return "".join(bytes(part).decode() for part in copy)
            cursor.execute(step)
            return repr(cursor.fetchall()) if cursor.description else ""


@pytest.fixture(scope="module")
def shop(server: EmbeddedPostgres, dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    template = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute((CORPUS / "attack_schema.sql").read_text("utf-8"))
    made = Shop(server, str(template), tmp_path_factory.mktemp("attacks"))
    yield made
    made.close()


@pytest.fixture
def fresh(shop: Shop) -> Iterator[Shop]:
    """The shop as the schema made it: opened anew after whoever changed more of it than rows."""
    if shop.agent is None or shop.agent.closed:
        shop.open()
    yield shop
    if shop.agent.closed or not shop.as_before():
        shop.close()


def _skip_newer(shop: Shop, entry: dict[str, Any]) -> None:
    if shop.owner.info.server_version >= entry.get("below", 1_000_000):
        pytest.skip("this server has the construct itself")


@pytest.mark.parametrize("entry", _lines("guard"))
def test_an_attack_is_refused_and_changes_nothing(fresh: Shop, entry: dict[str, Any]) -> None:
    _skip_newer(fresh, entry)
    settings = fresh.settings()
    outcome = fresh.run(entry)
    moved = not fresh.agent.closed and fresh.settings() != settings
    if moved:
        fresh.agent.close()
    assert isinstance(outcome.error, GovernanceError), outcome.error or f"it ran: {entry['why']}"
    assert fresh.contents() == fresh.before, entry["why"]
    assert not moved, entry["why"]
    assert not outcome.shows_canaries(), entry["why"]


@pytest.mark.parametrize("entry", _lines("masking"))
def test_no_masked_value_shows_or_decides(fresh: Shop, entry: dict[str, Any]) -> None:
    _skip_newer(fresh, entry)
    outcome = fresh.run(entry)
    assert not outcome.shows_canaries(), entry["why"]
    if entry["verdict"] == "refused":
        assert isinstance(outcome.error, GovernanceError), outcome.error or f"it ran: {entry['why']}"
        assert fresh.contents() == fresh.before, entry["why"]


@pytest.mark.parametrize("entry", _lines("honest"))
def test_honest_work_runs(fresh: Shop, entry: dict[str, Any]) -> None:
    if "setup" in entry:
        try:
            fresh.open(entry["setup"])
        except psycopg.errors.FeatureNotSupported as missing:
            fresh.open()
            pytest.skip(f"this server does not have it: {missing}")
    try:
        outcome = fresh.run(entry)
    finally:
        if "setup" in entry:
            fresh.agent.close()
    assert outcome.error is None
    assert not outcome.shows_canaries()

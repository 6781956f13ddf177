"""Rules about partitions and inheritance: the rows are the same, whatever relation they are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from governed_db import Connection, Governor, Identity
from governed_db.policy import load_bytes
from governed_db.testing import EmbeddedPostgres
from tests.flavours import Flavour
from tests.policy.trails import AGENT, policy, run, simulated

pytestmark = pytest.mark.usefixtures("catalogs_shared")

SCHEMA = """
    CREATE SCHEMA hr;
    CREATE SCHEMA elsewhere;
    CREATE TABLE hr.pay (id int, amount int) PARTITION BY RANGE (id);
    CREATE TABLE hr.pay_1 PARTITION OF hr.pay FOR VALUES FROM (0) TO (100);
    CREATE TABLE elsewhere.pay_2 PARTITION OF hr.pay FOR VALUES FROM (100) TO (200);
    CREATE VIEW public.seen AS SELECT id FROM elsewhere.pay_2;
    CREATE TABLE hr.staff (id int PRIMARY KEY, name text);
    CREATE TABLE public.boss (car text) INHERITS (hr.staff);
    CREATE TABLE hr."Übersicht" (id int);
"""
READ_PAY, READ_1, READ_2 = "SELECT * FROM hr.pay", "SELECT * FROM hr.pay_1", "SELECT * FROM elsewhere.pay_2"


@pytest.fixture(scope="module")
def database(server: EmbeddedPostgres) -> Iterator[str]:
    conninfo = server.create_database("policy_kin")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(SCHEMA)
    yield conninfo
    server.drop_database("policy_kin")


@pytest.fixture
def ask(database: str, tmp_path: Path) -> Callable[[str, str], str]:
    """Say what a policy answers to a statement."""

    def verdict(text: str, sql: str) -> str:
        governor = Governor(load_bytes(text.encode(), "p.toml"), state_dir=tmp_path)
        with Connection.connect(database, governor=governor, identity=AGENT) as connection:
            answer = governor.check(sql, identity=AGENT, connection=connection).verdict
        governor.close()
        return answer

    return verdict


def rule(when: str, then: str = "block") -> str:
    name = "".join(c for c in f"{then}-{when}" if c.isalnum())
    return f'[[rule]]\nid = "{name}"\nwhen = {{ {when} }}\nthen = "{then}"\nbecause = "b"\n'


@pytest.mark.parametrize(
    ("rules", "sql", "verdict"),
    [
        # A rule about the whole speaks of its parts, and one about a part of the whole.
        (rule('relations = ["hr.pay"]'), READ_1, "block"),
        (rule('relations = ["hr.pay"]'), READ_2, "block"),
        (rule('relations = ["hr.*"]'), "SELECT * FROM seen", "block"),
        (rule('relations = ["elsewhere.*"]'), READ_PAY, "block"),
        (rule('relations = ["hr.pay_1"]'), READ_2, "allow"),  # no row of the one is in the other
        (rule('relations = ["public.boss"]'), "SELECT * FROM hr.staff", "block"),
        (rule('relations = ["hr.staff"]'), "SELECT car FROM boss", "block"),
        (rule('columns = ["hr.pay.amount"]'), "SELECT amount FROM hr.pay_1", "block"),
        (rule('columns = ["hr.pay_1.amount"]'), "SELECT amount FROM hr.pay", "block"),
        (rule('columns = ["hr.pay.amount"]'), "SELECT id FROM hr.pay_1", "allow"),
        (
            rule('effects = ["delete"], relations = ["hr.pay_1"]'),
            "DELETE FROM hr.pay WHERE id = 1",
            "block",
        ),
        (rule('effects = ["delete"], relations = ["hr.pay_1"]'), READ_PAY, "allow"),
        # What allows the relation that is named is enough, from the top as always.
        (rule('relations = ["hr.pay"]', "allow") + rule('relations = ["hr.*"]'), READ_PAY, "allow"),
        (rule('relations = ["hr.pay_1"]', "allow") + rule('relations = ["hr.*"]'), READ_1, "allow"),
        (rule('relations = ["hr.pay_1"]') + rule('relations = ["hr.pay"]', "allow"), READ_PAY, "block"),
        # Letters beyond ASCII keep their case in SQL, and here.
        (rule('relations = ["hr.Übersicht"]'), "SELECT * FROM hr.Übersicht", "block"),
        (rule('relations = ["HR.PAY_1"]'), READ_1, "block"),
    ],
)
def test_rules_follow_the_rows(ask: Callable[[str, str], str], rules: str, sql: str, verdict: str) -> None:
    assert ask(f'extends = "standard"\n{rules}', sql) == verdict


@pytest.mark.parametrize(("allowed", "sql"), [("hr.pay", READ_PAY), ("hr.pay_1", READ_1)])
def test_nothing_has_to_be_allowed_twice(ask: Callable[[str, str], str], allowed: str, sql: str) -> None:
    """The part runs without the whole, or the whole without its parts; and nothing else does."""
    text = '[masking]\nmode = "off"\n' + rule(f'effects = ["select"], relations = ["{allowed}"]', "allow")
    assert (ask(text, sql), ask(text, READ_2)) == ("allow", "block")


async def test_a_simulation_knows_them_too(database, tmp_path):
    governor = Governor(policy(""), state_dir=tmp_path)
    await run(database, governor, Identity.agent("bot"), [READ_PAY, READ_1, READ_2], Flavour("sync"))
    governor.close()
    found = simulated(tmp_path, policy(rule('relations = ["elsewhere.pay_2"]')))
    assert sorted(c.text for c in found.changes) == [READ_2, READ_PAY]

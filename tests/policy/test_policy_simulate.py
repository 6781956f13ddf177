"""Simulation: the policy in force changes nothing; another one changes exactly what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from governed_db import Governor, Identity
from governed_db.audit import reader
from governed_db.policy import Policy, load_bytes, preset
from governed_db.policy.model import Verdict
from governed_db.policy.recorded import NotReplayable, facts
from tests.approvers import BEN
from tests.flavours import Flavour
from tests.policy.trails import (
    AGENT,
    CALLERS,
    CORPUS,
    HUMAN,
    POLICY,
    SERVICE,
    corpus,
    entries,
    policy,
    run,
    shelf,
    simulated,
)

pytestmark = pytest.mark.usefixtures("catalogs_shared")

ALLOW, ASK, BLOCK = Verdict.ALLOW, Verdict.NEEDS_APPROVAL, Verdict.BLOCK
PLAIN = [
    "SELECT id, email FROM customers WHERE id = 1",
    "SELECT id, country FROM customers WHERE country = 'DE'",
    "SELECT country FROM customers",
    "SELECT count(*) FROM orders",
    "UPDATE products SET stock = 1 WHERE id = 1",
    "UPDATE small SET name = 'x' WHERE id > 3",
    "DELETE FROM small WHERE id IN (1, 2, 3, 4, 5, 6, 7)",
    "DELETE FROM small",
    "SET statement_timeout = '4s'",
    "SET TimeZone = 'UTC'",
    "SET search_path = hr",
    "SELECT * FROM customers ORDER BY 2",
    "EXPLAIN SELECT id FROM orders",
    "SELECT lower(country) FROM customers WHERE id = 1",
    ("INSERT INTO ledger (entry) VALUES (%s)", [("a",), ("b",), ("c",)]),
]


@pytest.fixture(scope="module")
def database(server) -> Iterator[str]:
    dsn = server.create_database("simulate")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute((CORPUS / "attack_schema.sql").read_text())
    yield dsn
    with psycopg.connect(dsn, autocommit=True) as conn:  # a prepared transaction would keep it from going
        for (name,) in conn.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
            conn.execute(sql.SQL("ROLLBACK PREPARED {}").format(name))
    server.drop_database("simulate")


async def trail(dsn: str, state: Path, statements, in_force: Policy, *callers: Identity, name: str = "sync"):
    governor = Governor(in_force, state_dir=state)
    for who in callers or CALLERS:
        await run(dsn, governor, who, statements, Flavour(name))
    governor.close()


@pytest.mark.parametrize(("who", "name"), [(AGENT, "sync"), (HUMAN, "async"), (SERVICE, "sync")], ids=str)
async def test_the_policy_in_force_changes_nothing(database, tmp_path, who, name):
    texts = [*corpus("attack_guard"), *corpus("attack_honest"), *corpus("attack_masking")]
    # What would end the server, or wait for ever as somebody who may do everything, is not what is tested.
    if who is SERVICE:
        texts = [*corpus("attack_honest"), *corpus("attack_masking")]
    in_force = policy("")
    await trail(database, tmp_path, ["SET statement_timeout = '3s'", *texts], in_force, who, name=name)
    found = simulated(tmp_path, in_force)
    assert [(c.was, c.becomes, c.was_rule, c.rule, c.text) for c in found.changes] == []
    assert [(m.column, m.was, m.becomes, m.text) for m in found.masks] == []
    assert found.same
    assert found.statements > 0.9 * len(texts)
    assert found.not_replayed.keys() <= {"its text could not be read"}
    assert found.replayed > 0.95 * found.statements
    assert sum(found.masks_untold.values()) < 0.01 * found.statements


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_one_rule_changed_lists_exactly_the_statements_concerned(database, tmp_path, name):
    await trail(database, tmp_path, PLAIN, policy(""), AGENT, name=name)
    new = policy(
        '[[rule]]\nid = "no-plans"\nwhen = { effects = ["explain"] }\nthen = "block"\nbecause = "no plans"\n'
    )
    found = simulated(tmp_path, new, policy(""))
    (change,) = found.changes
    assert (change.was, change.becomes, change.rule, change.count) == (ALLOW, BLOCK, "no-plans", 1)
    assert change.text == "EXPLAIN SELECT id FROM orders"
    assert change.callers == {"agent:bot": 1}
    assert "no plans" in change.reason
    assert found.changed == 1
    assert found.masks == []
    assert found.not_replayed == {}
    assert found.replayed == found.statements == len(PLAIN)


async def test_rules_about_people_relations_and_columns_are_held_against_the_record(database, tmp_path):
    await trail(database, tmp_path, PLAIN, policy(""))
    country = {"SELECT id, country FROM customers WHERE country = $1", "SELECT country FROM customers"}
    lower = "SELECT lower(country) FROM customers WHERE id = $1"
    everything = "SELECT * FROM customers ORDER BY $1"
    for when, texts, callers in [
        ('identity = { group = ["dba"] }, effects = ["explain"]', {"EXPLAIN SELECT id FROM orders"}, {HUMAN}),
        (
            'identity = { on_behalf_of = { group = ["sales"] } }, relations = ["public.orders"]',
            {"SELECT count(*) FROM orders", "EXPLAIN SELECT id FROM orders"},
            {AGENT},
        ),
        ('columns = ["public.customers.country"]', {*country, lower, everything}, set(CALLERS)),
        ('functions = ["pg_catalog.lower"]', {lower}, set(CALLERS)),
    ]:
        rule = f'[[rule]]\nid = "x"\nwhen = {{ {when} }}\nthen = "block"\nbecause = "no"\n'
        found = simulated(tmp_path, policy(rule), policy(""))
        assert {c.rule for c in found.changes} == {"x"}, when
        assert {c.text for c in found.changes} == texts, when
        sent_by = {f"{who.kind}:{who.subject}" for who in callers}
        assert {caller for c in found.changes for caller in c.callers} == sent_by, when


async def test_masks_that_come_and_go_are_listed(database, tmp_path):
    await trail(database, tmp_path, PLAIN, policy(""), AGENT)
    off = simulated(tmp_path, policy('[masking]\nmode = "off"\n'), policy(""))
    assert {(m.column, m.becomes) for m in off.masks} >= {("public.customers.email", "")}
    more = simulated(
        tmp_path, policy('[masking.columns]\n"public.customers.country" = "SECRET"\n'), policy("")
    )
    assert ("public.customers.country", "", "redact") in {(m.column, m.was, m.becomes) for m in more.masks}
    refused = {c.text: c.rule for c in more.changes}
    assert refused["SELECT id, country FROM customers WHERE country = $1"] == "masking.derived"
    assert all(c.becomes is BLOCK for c in more.changes)
    less = simulated(tmp_path, policy('[masking.strategies]\nEMAIL_ADDRESS = "nullify"\n'), policy(""))
    assert {(m.column, m.becomes) for m in less.masks} >= {("public.customers.email", "nullify")}
    assert less.changes == []


async def test_who_reads_unmasked_would_be_masked(database, tmp_path):
    await trail(database, tmp_path, PLAIN[:1], policy(""), SERVICE)
    found = simulated(tmp_path, load_bytes(b'extends = "standard"\n', "p"), policy(""))
    assert [(m.column, m.was, m.callers) for m in found.masks] == [
        ("public.customers.email", "", {"service:app": 1})
    ]


CAP = """
[[rule]]
id = "cap"
when = { effects = ["delete", "insert"] }
then = "allow"
rows = %d
because = "so many"
"""


async def test_another_cap_is_held_against_the_rows_that_were_counted(database, tmp_path):
    texts = ["DELETE FROM small WHERE id >= 1 AND id <= 7", PLAIN[-1]]
    await trail(database, tmp_path, texts, policy(CAP % 50), AGENT)
    rows = [e["happened"].get("rows_affected") for e in entries(tmp_path) if "row_cap" in e.get("may", {})]
    assert rows == [7, 3]
    assert simulated(tmp_path, policy(CAP % 50)).same
    assert simulated(tmp_path, policy(CAP % 7), policy(CAP % 50)).same
    found = simulated(tmp_path, policy(CAP % 6), policy(CAP % 50))
    assert [(c.was, c.becomes, c.text.split()[0]) for c in found.changes] == [(ALLOW, ASK, "DELETE")]
    found = simulated(tmp_path, policy(CAP % 2), policy(CAP % 50))
    assert {c.text.split()[0] for c in found.changes} == {"DELETE", "INSERT"}


async def test_what_was_counted_only_up_to_its_cap_is_said_to_be_unknown(database, tmp_path):
    await trail(database, tmp_path, ["DELETE FROM small WHERE id >= 1"], policy(CAP % 5), AGENT)
    assert simulated(tmp_path, policy(CAP % 5)).same
    assert simulated(tmp_path, policy(CAP % 3), policy(CAP % 5)).same
    found = simulated(tmp_path, policy(CAP % 100_000), policy(CAP % 5))
    assert sum(found.not_replayed.values()) + found.changed == 1


async def test_a_value_that_decided_is_known_by_what_was_decided(database, tmp_path):
    await trail(
        database,
        tmp_path,
        ["SET statement_timeout = '4s'", "SET statement_timeout = '9h'"],
        policy(""),
        AGENT,
    )
    assert simulated(tmp_path, policy("")).same
    new = policy('[[rule]]\nid = "x"\nwhen = { effects = ["explain"] }\nthen = "block"\nbecause = "no"\n')
    assert simulated(tmp_path, new, policy("")).same
    assert simulated(tmp_path, new, policy("")).not_replayed == {}
    shorter = policy(
        '[[rule]]\nid = "short"\n'
        'when = { effects = ["set"], names = ["statement_timeout"], up_to_ms = 1000 }\n'
        'then = "approve"\nbecause = "ask"\n'
    )
    # Four seconds or less than one: the record does not say.
    assert sum(simulated(tmp_path, shorter, policy("")).not_replayed.values()) == 1


async def test_a_time_window_is_held_against_the_time_of_the_record(database, tmp_path):
    await trail(database, tmp_path, PLAIN[:2], policy(""), AGENT)
    for span, changed in (("00:00:00, to = 23:59:59.999999", 2), ("00:00:00, to = 00:00:00.000001", 0)):
        window = (
            '[[rule]]\nid = "hours"\n'
            'when = { effects = ["select"], time = { days = ["mon", "tue", "wed", "thu",'
            f' "fri", "sat", "sun"], from = {span} }} }}\nthen = "block"\nbecause = "not now"\n'
        )
        assert simulated(tmp_path, policy(window), policy("")).changed == changed


async def test_what_people_agreed_to_stays_a_question(database, tmp_path):
    governor = Governor(policy(""), state_dir=tmp_path, approvers=[BEN.approver])
    await run(database, governor, AGENT, ["DELETE FROM small"], Flavour("sync"))
    (request,) = governor.approvals.pending()
    governor.approvals.approve(request.id, key=BEN.key)
    await run(database, governor, AGENT, ["DELETE FROM small"], Flavour("sync"))
    governor.close()
    assert simulated(tmp_path, policy("")).same
    found = simulated(tmp_path, preset("readonly"), policy(""))
    assert [(c.was, c.becomes, c.count) for c in found.changes] == [(ASK, BLOCK, 2)]


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_under_observe_the_text_alone_is_judged_and_it_says_so(database, tmp_path, name):
    await trail(database, tmp_path, PLAIN, preset("observe"), AGENT, name=name)
    found = simulated(tmp_path, preset("observe"))
    assert found.same
    assert found.text_only == found.replayed == len(PLAIN)
    assert "text alone" in next(iter(found.masks_untold))
    assert simulated(tmp_path, preset("readonly")).changed > 0


async def test_without_its_catalog_verdicts_are_told_and_masks_are_not(database, tmp_path):
    await trail(database, tmp_path, PLAIN[:3], policy(""), AGENT)
    for file in (tmp_path / "catalogs").iterdir():
        file.unlink()
    found = simulated(tmp_path, policy(""))
    assert found.same
    assert found.replayed == 3
    assert found.masks_untold == {"the catalog it ran on is not in the archive": 3}


async def test_records_that_say_too_little_are_counted_by_reason(database, tmp_path):
    await trail(database, tmp_path, ["SELECT 1", "SELEC 2", "SELECT 3"], policy(""), AGENT)
    found = simulated(tmp_path, policy(""))
    assert found.not_replayed == {"its text could not be read": 1}
    kept = shelf(tmp_path)
    intent = next(e for e in entries(tmp_path) if e["kind"] == "intent" and e["may"]["rule"] == "reads")
    facts(intent, kept)
    for change in (
        {"truncated": 9},
        {"what": {}},
        {"what": {**intent["what"], "effects": [{"kind": "teleport"}]}},
        {"what": {**intent["what"], "lineage": {"outputs": [[1, 99]]}}},
        {"who": {"kind": "martian", "subject": "x"}},
    ):
        with pytest.raises(NotReplayable):
            facts({**intent, **change}, kept)


async def test_the_drivers_own_statements_are_no_statements(database, tmp_path):
    await trail(database, tmp_path, ["SELECT 1"], policy(""), AGENT)
    assert len(list(reader.statements(tmp_path / "journal"))) > 1
    assert simulated(tmp_path, policy("")).statements == 1
    assert POLICY


async def test_what_a_trigger_touches_is_not_what_the_text_names(server, tmp_path):
    dsn = server.create_database("simulate_trigger")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE log (id int); CREATE TABLE orders (id int PRIMARY KEY, s text)")
        conn.execute(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN INSERT INTO log VALUES (new.id); RETURN new; END'"
        )
        conn.execute("CREATE TRIGGER noted AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note()")
    governor = Governor(policy(""), state_dir=tmp_path)
    await run(dsn, governor, AGENT, ["INSERT INTO orders (id, s) VALUES (1, 'a')"], Flavour("sync"))
    governor.close()

    def becomes(column: str) -> list[Verdict]:
        when = f'when = {{ columns = ["{column}"] }}'
        new = policy(f'[[rule]]\nid = "c"\n{when}\nthen = "block"\nbecause = "b"\n')
        return [c.becomes for c in simulated(tmp_path, new).changes]

    assert becomes("public.*.email") == []
    assert becomes("public.orders.s") == [BLOCK]
    server.drop_database("simulate_trigger")


async def test_what_only_values_had_told_is_known_to_the_trail(server, tmp_path):
    dsn = server.create_database("simulate_values")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE misc (a integer PRIMARY KEY, b text)")
        conn.execute("INSERT INTO misc SELECT n, 'p' || n || '@example.org' FROM generate_series(1, 99) n")
    await trail(dsn, tmp_path, ["SELECT a, b FROM misc", "SELECT b FROM misc WHERE a = 1"], policy(""), AGENT)
    server.drop_database("simulate_values")
    (first, second) = [e for e in entries(tmp_path) if e["who"]["subject"] == "bot" and "masked" in e["what"]]
    for entry in (first, second):
        assert entry["what"]["masked"] == [
            {"column": "public.misc.b", "label": "EMAIL_ADDRESS", "strategy": "redact", "basis": "values"}
        ]
    assert simulated(tmp_path, policy("")).masks == []
    new = policy('[masking.strategies]\nEMAIL_ADDRESS = "partial"\n')
    assert {(m.column, m.was, m.becomes) for m in simulated(tmp_path, new).masks} == {
        ("public.misc.b", "redact", "partial")
    }
    blind = policy('[masking]\nsample = "off"\n')
    assert {(m.column, m.becomes) for m in simulated(tmp_path, blind).masks} == {("public.misc.b", "")}

"""Learning: what ran is allowed, what did not is not; harm is marked; the estimate is honest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governed_db import Governor, Identity
from governed_db.policy import Policy, load_bytes, preset
from governed_db.policy.learn import Proposal, learn, wilson
from governed_db.policy.model import Verdict
from governed_db.policy.needs import Caller, Need, Needs, Seen
from governed_db.policy.propose import CAUTION, propose, round_up
from governed_db.statement.facts import EffectKind, RelationName
from tests.approvers import BEN
from tests.flavours import Flavour
from tests.policy.trails import (
    AGENT,
    HUMAN,
    SERVICE,
    corpus,
    entries,
    policy,
    run,
    shelf,
    simulated,
)

pytestmark = pytest.mark.usefixtures("catalogs_shared")

SCHEMA = """
    CREATE TABLE customers (id int PRIMARY KEY, email text, country text);
    CREATE TABLE orders (id int PRIMARY KEY, customer int, total int);
    CREATE TABLE items (id int PRIMARY KEY, note text);
    CREATE TABLE other (id int PRIMARY KEY, note text);
    INSERT INTO customers SELECT n, 'x@example.org', 'DE' FROM generate_series(1, 60) n;
    INSERT INTO orders SELECT n, n, n FROM generate_series(1, 60) n;
    INSERT INTO items SELECT n, 'n' FROM generate_series(1, 60) n;
    CREATE VIEW totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 2 * $1; END';
    CREATE FUNCTION dynamic(t text) RETURNS void LANGUAGE plpgsql AS
        'BEGIN EXECUTE ''DELETE FROM '' || t || '' WHERE false''; END';
    CREATE SCHEMA "Odd one"; CREATE TABLE "Odd one"."x.y" ("A b" int);
"""
READS = ["SELECT id, country FROM customers WHERE id = 1", "SELECT count(*) FROM orders", "SELECT 1"]
WRITES = [
    "UPDATE orders SET total = 1 WHERE id <= 7",
    ("INSERT INTO items (id, note) VALUES (%s, 'n')", [(99,), (98,)]),
]
CHANGES = [*READS, *WRITES]


@pytest.fixture(scope="module")
def database(server) -> Iterator[str]:
    dsn = server.create_database("learn")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA)
    yield dsn
    server.drop_database("learn")


async def learned(
    dsn: str, state: Path, statements, *callers: Identity, in_force: Policy | None = None, name="sync", **kw
) -> Proposal:
    in_force = in_force or policy("")
    governor = Governor(in_force, state_dir=state)
    for who in callers or (AGENT,):
        await run(dsn, governor, who, statements, Flavour(name))
    governor.close()
    return learn(lambda: entries(state), shelf(state), base=in_force, **kw)


def verdicts(state: Path, new: Policy, *then: Policy) -> set[tuple[Verdict, Verdict, str]]:
    return {(c.was, c.becomes, c.text) for c in simulated(state, new, *then).changes}


def rules(proposal: Proposal) -> dict[str, dict]:
    return {rule["id"]: rule for rule in tomllib.loads(proposal.text)["rule"]}


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_what_ran_is_allowed_and_nothing_gets_milder(database, tmp_path, name):
    proposal = await learned(database, tmp_path, CHANGES, AGENT, HUMAN, name=name)
    found = simulated(tmp_path, proposal.policy, policy(""))
    assert found.same
    assert found.replayed == found.statements == 2 * len(CHANGES)
    assert proposal.statements == 2 * len(CHANGES)
    assert proposal.callers == ("agent:bot", "human:boss")


async def test_what_was_refused_teaches_nothing(database, tmp_path):
    refused = ["DROP TABLE other", "DELETE FROM orders", "SELECT pg_read_file('/etc/passwd')"]
    proposal = await learned(database, tmp_path, [*READS, *refused], AGENT)
    assert proposal.statements == len(READS)
    assert "public.other" not in proposal.text
    assert "delete" not in proposal.text
    assert {becomes for _, becomes, _ in verdicts(tmp_path, proposal.policy, policy(""))} == {Verdict.BLOCK}


@pytest.mark.parametrize("who", [AGENT, HUMAN, SERVICE], ids=str)
async def test_over_a_corpus_nothing_that_ran_is_refused_and_nothing_refused_is_allowed(
    server, tmp_path, who
):
    dsn = server.create_database("learn_corpus")
    try:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute((Path(__file__).parents[1] / "corpus" / "attack_schema.sql").read_text())
        texts = [*corpus("attack_honest"), *corpus("attack_masking")]
        texts += corpus("attack_guard") if who is not SERVICE else []
        proposal = await learned(dsn, tmp_path, ["SET statement_timeout = '3s'", *texts], who, hold_back=0.0)
        ok = {e["id"] for e in entries(tmp_path) if e["happened"].get("status") == "ok"}
        changes = []
        for entry in entries(tmp_path):
            if entry["kind"] in {"intent", "refusal"}:
                changes.append(entry)
        found = simulated(tmp_path, proposal.policy, policy(""))
        assert [c.text for c in found.changes if c.becomes is Verdict.ALLOW] == []
        refused = {c.text for c in found.changes if c.was is Verdict.ALLOW}
        assert refused.isdisjoint(e["what"].get("text") for e in changes if e["id"] in ok)
        assert found.masks == []
    finally:
        with psycopg.connect(dsn, autocommit=True) as conn:
            for (gid,) in conn.execute(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
            ):
                conn.execute(f"ROLLBACK PREPARED '{gid}'")
        server.drop_database("learn_corpus")


async def test_caps_are_what_was_seen_rounded_up(database, tmp_path):
    proposal = await learned(database, tmp_path, WRITES, AGENT)
    caps = {tuple(r["when"]["effects"]): r["rows"] for r in rules(proposal).values() if "rows" in r}
    assert caps == {("update",): 10, ("insert",): 2}
    assert "At most 7 rows" in proposal.text
    assert rules(proposal)["agent-bot-update"]["when"]["constrained"] is True


async def test_a_schema_is_opened_after_three_of_its_relations_and_only_for_reading(database, tmp_path):
    two = await learned(database, tmp_path / "a", READS, AGENT)
    assert rules(two)["agent-bot-select"]["when"]["relations"] == ["public.customers", "public.orders"]
    three = await learned(database, tmp_path / "b", [*CHANGES, "SELECT note FROM items"], AGENT)
    assert rules(three)["agent-bot-select"]["when"]["relations"] == ["public.*"]
    assert rules(three)["agent-bot-update"]["when"]["relations"] == ["public.orders"]


async def test_what_a_view_reads_is_not_open_beside_it(database, tmp_path):
    proposal = await learned(database, tmp_path, ["SELECT * FROM totals"], AGENT)
    await run(database, governor := Governor(policy(""), state_dir=tmp_path / "b"), AGENT,
              ["SELECT total FROM orders", "SELECT total FROM totals"], Flavour("sync"))  # fmt: skip
    governor.close()
    assert verdicts(tmp_path / "b", proposal.policy) == {
        (Verdict.ALLOW, Verdict.BLOCK, "SELECT total FROM orders")
    }


async def test_reading_without_a_relation_does_not_open_the_relations(database, tmp_path):
    proposal = await learned(database, tmp_path, ["SELECT 1"], AGENT)
    governor = Governor(policy(""), state_dir=tmp_path / "b")
    await run(database, governor, AGENT, ["SELECT 1", "SELECT id FROM orders"], Flavour("sync"))
    governor.close()
    assert verdicts(tmp_path / "b", proposal.policy) == {
        (Verdict.ALLOW, Verdict.BLOCK, "SELECT id FROM orders")
    }


DANGEROUS = [
    ("DELETE FROM items", "no WHERE"),
    ("CREATE TABLE fresh (a int)", "changes the schema"),
    ("DROP TABLE other", "removes what it names"),
    ("TRUNCATE items", "removes every row"),
    ("SELECT dynamic('items')", "not vetted"),
    ("SELECT pg_stat_file('base')", "not vetted"),
    ("DO 'BEGIN END'", "cannot be looked into"),
    ("GRANT SELECT ON items TO PUBLIC", "who may do what"),
    ("SET work_mem = '8MB'", "settings of the session"),
    ("SELECT rolpassword FROM pg_authid", "credentials"),
    ("LOCK TABLE items", "makes others wait"),
    ("NOTIFY x", "other sessions"),
    ("COPY items TO '/dev/null'", "files"),
]


@pytest.mark.parametrize(("sql", "says"), DANGEROUS, ids=lambda v: v[:20])
async def test_what_could_do_harm_is_marked(database, tmp_path, sql, says):
    everything = policy("", b'[[rule]]\nid = "all"\nwhen = {}\nthen = "allow"\nbecause = "all"\n')
    proposal = await learned(database, tmp_path, [*READS, sql], AGENT, in_force=everything)
    assert simulated(tmp_path, proposal.policy, everything).same
    assert [c for c in proposal.cautions if says in c], proposal.cautions
    marked = [line for line in proposal.text.splitlines() if CAUTION in line and says in line]
    assert marked
    assert all(line.startswith("# ") for line in marked)


async def test_harmless_reads_carry_no_mark(database, tmp_path):
    proposal = await learned(
        database, tmp_path, [*CHANGES, "SET TimeZone = 'UTC'", "SHOW search_path"], AGENT
    )
    assert proposal.cautions == ()


async def test_what_ran_by_approval_is_proposed_to_need_it_again(database, tmp_path):
    governor = Governor(policy(""), state_dir=tmp_path, approvers=[BEN.approver])
    await run(database, governor, AGENT, ["DELETE FROM items"], Flavour("sync"))
    (request,) = governor.approvals.pending()
    governor.approvals.approve(request.id, key=BEN.key)
    await run(database, governor, AGENT, ["DELETE FROM items", *READS], Flavour("sync"))
    governor.close()
    proposal = learn(lambda: entries(tmp_path), shelf(tmp_path), base=policy(""))
    (rule,) = [r for r in rules(proposal).values() if r["when"].get("effects") == ["delete"]]
    assert rule["then"] == "approve"
    assert simulated(tmp_path, proposal.policy, policy("")).same


async def test_masking_stays_and_who_read_unmasked_is_marked(database, tmp_path):
    texts = ["SELECT id, email FROM customers WHERE email = 'x'"]
    proposal = await learned(database, tmp_path, texts, SERVICE)
    assert tomllib.loads(proposal.text)["masking"]["unmasked"] == [{"kind": ["service"], "subject": ["app"]}]
    assert any("unmasked" in c for c in proposal.cautions)
    assert simulated(tmp_path, proposal.policy, policy("")).same
    plain = await learned(database, tmp_path / "b", ["SELECT id FROM orders"], SERVICE)
    assert "unmasked" not in tomllib.loads(plain.text)["masking"]


async def test_a_setting_keeps_the_condition_that_let_it_pass(database, tmp_path):
    proposal = await learned(database, tmp_path, ["SET statement_timeout = '4s'"], AGENT)
    (rule,) = [r for r in rules(proposal).values() if r["when"].get("effects") == ["set"]]
    assert rule["when"]["up_to_ms"] > 4000
    assert proposal.cautions == ()


async def test_callers_are_kept_apart_and_can_be_chosen(database, tmp_path):
    in_force = policy("")
    governor = Governor(in_force, state_dir=tmp_path)
    await run(database, governor, AGENT, ["SELECT id FROM orders"], Flavour("sync"))
    await run(database, governor, HUMAN, ["SELECT id FROM items"], Flavour("sync"))
    governor.close()
    both = learn(lambda: entries(tmp_path), shelf(tmp_path))
    for rule in both.policy.rules:
        about = rule.when.identity
        relations = rule.when.relations or ()
        assert "public.items" not in relations or (about is not None and about.subject == ("boss",))
    one = learn(lambda: entries(tmp_path), shelf(tmp_path), subject="human:*")
    assert one.callers == ("human:boss",)
    assert "orders" not in one.text
    with pytest.raises(ValueError, match="no statement"):
        learn(lambda: entries(tmp_path), shelf(tmp_path), subject="nobody")


async def test_grants_match_and_work(server, database, tmp_path):
    texts = [
        "SELECT id, country FROM customers WHERE id = 1",
        "UPDATE orders SET total = 1 WHERE id = 3",
        "SELECT total FROM totals",
        'SELECT "A b" FROM "Odd one"."x.y"',
        "SELECT twice(2)",
    ]
    in_force = policy("", b'[[rule]]\nid = "all"\nwhen = {}\nthen = "allow"\nbecause = "all"\n')
    proposal = await learned(database, tmp_path, texts, AGENT, in_force=in_force)
    assert 'SELECT ("country", "id") ON "public"."customers"' in proposal.grants
    assert "email" not in proposal.grants
    sql = proposal.grants.replace('TO "postgres"', "TO learned")
    with psycopg.connect(database) as conn:
        conn.execute("CREATE ROLE learned")
        conn.execute("REVOKE EXECUTE ON FUNCTION twice(int) FROM PUBLIC")
        conn.execute(sql)
        conn.execute("SET ROLE learned")
        for text in texts:
            conn.execute(text)
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute("SELECT email FROM customers")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute("UPDATE orders SET customer = 1 WHERE id = 3")
        conn.rollback()


async def test_the_estimate_counts_what_the_rest_did_not_show(database, tmp_path):
    texts = [f"SELECT {' + '.join(['id'] * (n + 1))} FROM orders" for n in range(40)] + [
        "SELECT note FROM items"
    ]
    proposal = await learned(database, tmp_path, texts, AGENT)
    by_text, by_time = proposal.evaluations
    assert (by_text.split, by_time.split) == ("text", "time")
    assert by_time.statements == by_time.texts == 8
    assert (by_time.refused, by_time.refused_texts) == (1, 1)  # nothing before it reads items
    assert by_time.low < by_time.rate < by_time.high
    assert 0 < by_text.texts < 41
    again = learn(lambda: entries(tmp_path), shelf(tmp_path), base=policy(""))
    assert (again.text, again.evaluations) == (proposal.text, proposal.evaluations)
    assert learn(lambda: entries(tmp_path), shelf(tmp_path), hold_back=0).evaluations == ()
    with pytest.raises(ValueError, match="hold back"):
        learn(lambda: entries(tmp_path), shelf(tmp_path), hold_back=1.0)


async def test_from_observe_relations_have_any_schema_and_it_says_so(database, tmp_path):
    proposal = await learned(database, tmp_path, ["SELECT id FROM orders"], AGENT, in_force=preset("observe"))
    assert "*.orders" in proposal.text
    assert "without a catalog" in proposal.text
    assert proposal.text_only == 1
    assert simulated(tmp_path, proposal.policy).same
    await learned(database, tmp_path / "b", ["SELECT id FROM orders"], AGENT)
    assert simulated(tmp_path / "b", proposal.policy).same  # and with a catalog it holds as well


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # R, binom::binom.confint(x, n, methods = "wilson")
    [(0, 10, 0.0, 0.2775), (1, 10, 0.0179, 0.4042), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_wilson(hits, of, low, high):
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("seen", "cap"), [(0, 1), (1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (101, 200), (5000, 5000)]
)
def test_round_up(seen, cap):
    assert round_up(seen) == cap


NAMES = st.text(min_size=1, max_size=12)


@given(NAMES, NAMES, NAMES, NAMES)
def test_whatever_the_names_are_the_file_loads_and_says_no_more_than_its_rules(subject, schema, name, note):
    relation = RelationName(schema, name)
    seen = {
        Need(EffectKind.SELECT, relation): Seen(count=1, allowed=1),
        Need(EffectKind.FUNCTION, None, name, how=note): Seen(count=1, allowed=1, notes={note: None}),
        Need(EffectKind.SET, None, name): Seen(count=1, allowed=1),
        Need(None, how=note): Seen(count=1, allowed=1),
    }
    text, _ = propose(Needs(by_caller={Caller("agent", subject): seen}))
    ids = [rule["id"] for rule in tomllib.loads(text)["rule"]]
    assert len(ids) == 2 + len(seen)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", each) for each in ids)
    if all(part.strip() for part in (subject, schema, name, note)) and '"' not in schema + name:
        load_bytes(text.encode("utf-8", "backslashreplace"), "proposed")


def test_everything_the_policy_in_force_says_of_masking_is_carried_over(tmp_path):
    from governed_db.policy import carried

    file = tmp_path / "c.toml"
    file.write_text("format = 1\n[column.'public.c.e']\ndecided = 'AGE'\n")
    text = f"""
[masking]
classification = "{file}"
keys = "/etc/governed-db/masking.keys"
derived = "redact"
sample = "off"
sample_rows = 50
sample_timeout_ms = 70
sample_again = 3.5
equality = ["EMAIL_ADDRESS", "PHONE_NUMBER"]
lookups = [{{ kind = ["agent"], subject = ["x"], on_behalf_of = {{ group = ["support"], verified = true }} }}]
write = "refuse"
[masking.columns]
"public.c.x" = "AGE"
"public.\\"C\\".y" = false
[masking.strategies]
EMAIL_ADDRESS = "token"
DATE_OF_BIRTH = {{ strategy = "date_shift", days = 9 }}
AGE = {{ strategy = "bucket", width = 5 }}
POSTAL_CODE = {{ strategy = "generalise", keep = 2 }}
"""
    masking = load_bytes(text.encode(), "p").masking
    again = "\n".join(["[masking]", *carried.scalars(masking), *carried.tables(masking)])
    assert load_bytes(again.encode(), "again").masking == masking
    assert list(carried.scalars(preset("standard").masking)) == []
    # Whoever adds a setting has to say here whether a proposal takes it over.
    of_its_own = {"on", "unmasked", "reviewed"}
    assert {a.name for a in attrs.fields(type(masking))} - of_its_own == {
        "derived", "columns", "strategies", "equality", "lookups", "write", "keys", "classification",
        "sample", "sample_rows", "sample_timeout_ms", "sample_again",
    }  # fmt: skip

"""What the governor makes of a policy: several approvers, stale overrides, reloads, refusals on record."""

from __future__ import annotations

import logging

import psycopg
import pytest

from governed_db import Governor, Identity, acting_as, errors
from governed_db.audit import reader
from governed_db.driver import batches
from tests.approvers import ANNA, BEN, CARL
from tests.flavours import Flavour, do, within

AGENT = Identity.agent("copilot")

flavours = pytest.mark.parametrize("name", ["sync", "async"])


@pytest.fixture(scope="module")
def things(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE things (id int PRIMARY KEY, label text)")
        conn.execute("CREATE TABLE others (id int PRIMARY KEY, label text)")
        conn.execute("INSERT INTO things VALUES (1, 'canary'); INSERT INTO others VALUES (1, 'plain')")
    return dsn


@pytest.fixture
def load(tmp_path):
    made: list[Governor] = []

    def of(text: str) -> Governor:
        (tmp_path / "p.toml").write_text(text)
        (tmp_path / "p.toml").chmod(0o600)
        people = [person.approver for person in (ANNA, BEN, CARL)]
        made.append(Governor.load(tmp_path / "p.toml", state_dir=tmp_path, approvers=people))
        return made[-1]

    yield of
    for governor in made:
        governor.close()


TWO = """
extends = "standard"
[[rule]]
id = "two"
when = { effects = ["delete"] }
then = "approve"
approvers = ["dba"]
count = 2
because = "two people look at it"
"""


@flavours
async def test_two_different_people_have_to_agree(things, load, name):
    governor = load(TWO)
    delete = "DELETE FROM things WHERE id = 7"
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired, match="2 different people of dba") as asked:
            await do(conn.execute(delete))
        request = asked.value.request
        with pytest.raises(errors.GovernanceError, match="member of dba"):
            governor.approvals.approve(request.id, key=CARL.key)
        governor.approvals.approve(request.id, key=ANNA.key)
        with pytest.raises(errors.ApprovalRequired) as still:
            await do(conn.execute(delete))
        assert still.value.request.id == request.id
        with pytest.raises(errors.GovernanceError, match="has agreed"):
            governor.approvals.approve(request.id, key=ANNA.key)
        assert governor.approvals.pending()
        last = governor.approvals.approve(request.id, key=BEN.key)
        assert [person.identity.subject for person in last.granted] == ["anna", "ben"]
        await do(conn.execute(delete))
        with pytest.raises(errors.ApprovalRequired):
            await do(conn.execute(delete))  # once
        request = governor.approvals.pending()[0]
        governor.approvals.approve(request.id, key=ANNA.key)
        governor.approvals.deny(request.id, key=BEN.key)
        with pytest.raises(errors.ApprovalDenied):
            await do(conn.execute(delete))


STALE = """
extends = "standard"
[masking.columns]
"public.things.nickname" = "PERSON_NAME"
"public.gone.x" = "SECRET"
"""


@flavours
async def test_a_stale_override_closes_its_relation_and_nothing_else(things, load, name, caplog):
    governor = load(STALE)
    with caplog.at_level(logging.WARNING, "governed_db"):
        async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
            for _ in range(2):
                cursor = await do(conn.execute("SELECT label FROM others"))
                assert await do(cursor.fetchall()) == [("plain",)]
                cursor = await do(conn.execute("SELECT label FROM things"))
                assert "canary" not in str(await do(cursor.fetchall()))
    assert [r.getMessage().count("public.things.nickname") for r in caplog.records] == [1, 0]
    told = [str(record) for record in reader.read(governor.trail.folder) if "policy.stale" in str(record)]
    assert [("things.nickname" in record, "gone.x" in record) for record in told] == [
        (True, False),
        (False, True),
    ]


@flavours
async def test_a_label_that_no_column_can_have_is_told_once(things, load, name, caplog):
    governor = load(
        """
        extends = "standard"
        [masking.strategies]
        EMAIL_ADRESS = "nullify"
        STAFF_CODE = "nullify"
        IBAN_CODE = "nullify"
        [masking.columns]
        "public.others.label" = "STAFF_CODE"
        """
    )
    with caplog.at_level(logging.WARNING, "governed_db"):
        async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
            for _ in range(2):
                await do(conn.execute("SELECT label FROM things"))
    (told,) = [r.getMessage() for r in caplog.records]
    assert "'EMAIL_ADRESS'" in told
    assert "the nearest is EMAIL_ADDRESS" in told


def test_a_reload_takes_all_of_a_file_or_nothing(tmp_path, load, monkeypatch):
    governor = load("extends = 'standard'")
    before = governor.policy
    path = tmp_path / "p.toml"
    for broken in ("extends = 'lax'", "[[budget]]\nid = 'a'", "[limits]\nmax_depth = 100000", "x = "):
        path.write_text(broken)
        with pytest.raises(errors.PolicyError, match=r"p\.toml:\d+:\d+"):
            governor.reload()
        assert governor.policy is before
        with pytest.raises(errors.PolicyError):
            Governor.load(path, state_dir=tmp_path)
    path.write_text("extends = 'readonly'")
    governor.reload()
    assert governor.check("INSERT INTO t VALUES (1)").verdict == "block"
    monkeypatch.setenv("GOVERNED_DB_CONFIG", str(path))
    configured = Governor.configured(state_dir=tmp_path)
    path.write_text("extends = 'standard'")
    configured.reload()
    assert configured.policy.version == before.version
    configured.close()


def rules_of(governor: Governor) -> list[str]:
    return [r["may"]["rule"] for r in reader.statements(governor.trail.folder) if "may" in r]


@flavours
async def test_refusals_without_a_decision_are_on_record_and_teach(things, load, name, monkeypatch):
    monkeypatch.setattr(batches, "MAX_BATCH", 2)
    governor = load(
        "extends = 'standard'\nservices = ['billing']\n[masking.columns]\n'public.things.label' = 'SECRET'"
    )
    flavour = Flavour(name)
    billing = Identity.service("billing")
    async with flavour.connect(things, governor=governor, identity=AGENT) as conn:
        with pytest.raises(errors.StatementBlocked) as refused:
            await do(conn.cursor().executemany("UPDATE things SET id = id WHERE id = %s", [(1,), (2,), (3,)]))
        assert refused.value.rule == "limits.max_batch"
        with acting_as(billing):
            cursor = await do(conn.execute("SELECT label FROM things"))
        with pytest.raises(errors.StatementBlocked) as reading:
            await do(cursor.fetchall())
        async with within(conn.cursor("c")) as named:
            with acting_as(billing):
                await do(named.execute("SELECT label FROM things"))
            with pytest.raises(errors.StatementBlocked):
                await do(named.fetchall())
        cursor = conn.cursor()
        with pytest.raises(errors.GovernanceError) as gate:
            cursor._gate(b"SELECT 1")
        for error in (refused.value, reading.value, gate.value):
            assert error.remedy
            assert f"[rule {error.rule}]" in str(error)
            assert "Trying the same again will not help" in str(error)
    said = rules_of(governor)
    assert {"limits.max_batch", "masking.cursor", "driver.gate"} <= set(said)
    assert said.count("masking.cursor") == 2

"""[[budget]]: what is read, whose limits hold, and what the pipeline does with rates."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import AGENT, HUMAN, SERVICE, policy_of

from governed_db import Governor, Identity, errors, spending
from governed_db.audit import reader
from governed_db.errors import PolicyError
from governed_db.identity.model import NOBODY
from governed_db.policy import UNLIMITED, preset
from tests.flavours import Flavour, do

flavours = pytest.mark.parametrize("name", ["sync", "async"])


def budget(more: str, head: str = "id = 'a'") -> str:
    return f"[[budget]]\n{head}\n{more}\n"


BAD = [
    ("[budget]\nid = 'a'", "1:1", "[[budget]]"),
    (budget("lock_timeout = '5s'", head=""), "1:1", "no 'id'"),
    (budget(""), "1:1", "no limit"),
    (budget("over = 'refuse'"), "1:1", "no limit"),
    (budget("lock_timeout = '5s'\nover = 'refuse'"), "4:1", "rows_returned"),
    (budget("lock_timeout = 5"), "3:1", "with its unit"),
    (budget("lock_timeout = true"), "3:1", "with its unit"),
    (budget("lock_timeout = '5'"), "3:1", "units are"),
    (budget("lock_timeout = '0s'"), "3:1", "from 1 ms"),
    (budget("lock_timeout = '25d'"), "3:1", "2147483647"),
    (budget("lock_timeouts = '5s'"), "3:1", "did you mean 'lock_timeout'"),
    (budget("rows_returned = 0"), "3:1", "above 0"),
    (budget("rows_returned = '5'"), "3:1", "above 0"),
    (budget("rows_returned = 5\nover = 'drop'"), "4:1", "unknown word 'drop'"),
    (budget("rows_returned = 5\nwho = {}"), "4:1", "fits everybody"),
    (budget("rows_returned = 5\nwho = { kinds = ['agent'] }"), "4:9", "did you mean 'kind'"),
    (budget("rows_returned = 5") + budget("lock_timeout = '1s'"), "5:1", "taken by the budget at p.toml:1:1"),
    ("extends = 'standard'\n" + budget("rows_returned = 5", "id = 'agents'"), "3:1", "standard.toml"),
    (
        budget("rows_returned = 5\nlock_timeout = '1s'")
        + budget("lock_timeout = '2s'\nwho = { kind = ['agent'] }", "id = 'b'"),
        "7:1",
        "'lock_timeout' of budget 'b' can never hold",
    ),
]


@pytest.mark.parametrize(("text", "place", "words"), BAD)
def test_a_mistake_is_an_error_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_of(text)
    assert str(caught.value).startswith(f"p.toml:{place}: ")
    assert words in str(caught.value)


def test_units() -> None:
    for written, milliseconds in {"250ms": 250, "30s": 30_000, "5 min": 300_000, "2h": 7_200_000}.items():
        assert policy_of(budget(f"lock_timeout = '{written}'")).budget(AGENT).lock_timeout == milliseconds


def test_each_limit_is_that_of_the_first_budget_that_sets_it_for_the_caller() -> None:
    policy = policy_of(
        "extends = 'standard'\n"
        + budget(
            "who = { subject = ['copilot'] }\nrows_returned = 9\nover = 'truncate'\nidle_timeout = false"
        )
        + budget("who = { kind = ['agent'] }\nrows_returned = 5\nstatement_timeout = '10s'", "id = 'b'")
    )
    mine = policy.budget(AGENT)
    assert (mine.id, mine.rows_returned, mine.over) == ("a", 9, "truncate")
    assert (mine.statement_timeout, mine.idle_timeout, mine.lock_timeout) == (10_000, None, 5_000)
    assert [mine.rule(n) for n in ("rows_returned", "statement_timeout", "lock_timeout")] == [
        "budget.a",
        "budget.b",
        "budget.agents",
    ]
    other = policy.budget(Identity.agent("x"))
    assert (other.id, other.rows_returned, other.over) == ("b", 5, "refuse")
    assert policy.budget(HUMAN) is UNLIMITED
    assert policy.budget(Identity.agent("x", session="s", tool_call="t")) is other  # standing, not the call
    assert policy.version != preset("standard").version


def test_the_standard_limits_time_for_agents_and_nobody_else() -> None:
    policy = preset("standard")
    for who in (AGENT, NOBODY):
        found = policy.budget(who)
        assert (found.statement_timeout, found.lock_timeout, found.idle_timeout) == (60_000, 5_000, 300_000)
        limits = (found.rows_returned, found.rows_returned_per_session)
        assert (*limits, found.statements_per_minute, found.rows_written_per_minute) == (None,) * 4
    for who in (HUMAN, SERVICE, Identity.service("x")):
        assert policy.budget(who) is UNLIMITED
    assert not policy.rated


@given(st.lists(st.tuples(st.sampled_from(["agent", "human"]), st.integers(1, 9)), min_size=1, max_size=5))
def test_one_more_budget_below_changes_no_limit_that_is_set_above(given_: list[tuple[str, int]]) -> None:
    text = ""
    for i, (kind, rows) in enumerate(given_):
        who = f"who = {{ kind = ['{kind}'], subject = ['?{i}', 'a1', 'b1'] }}"  # none covers the next
        text += budget(f"{who}\nrows_returned = {rows}", f"id = 'n{i}'")
    policy = policy_of(text)
    more = policy_of(text + budget("lock_timeout = '1s'", "id = 'last'"))
    for who in (Identity.agent("a1"), Identity.human("b1")):
        assert more.budget(who).rows_returned == policy.budget(who).rows_returned
        assert more.budget(who).lock_timeout == 1000


# -- what the pipeline does with rates


@pytest.fixture(scope="module")
def things(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE things (id int PRIMARY KEY, n int)")
        conn.execute("INSERT INTO things SELECT n, n FROM generate_series(1, 50) n")
    return dsn


@pytest.fixture
def govern(tmp_path):
    made: list[Governor] = []

    def with_budget(more: str, head: str = "extends = 'standard'") -> Governor:
        path = tmp_path / "p.toml"
        path.write_text(f"{head}\n{budget(more)}")
        path.chmod(0o600)
        made.append(Governor.load(path, state_dir=tmp_path))
        return made[-1]

    yield with_budget
    for governor in made:
        governor.close()


@flavours
async def test_statements_per_minute_are_counted_over_connections(server, things, govern, name):
    governor = govern("statements_per_minute = 2\nwho = { kind = ['agent'] }")
    connect = Flavour(name).connect
    async with (
        connect(things, governor=governor, identity=AGENT, autocommit=True) as one,
        connect(things, governor=governor, identity=AGENT, autocommit=True) as two,
    ):
        await do(one.execute("SELECT 1"))
        await do(two.execute("SELECT 1"))
        before = len(server.statements())
        for conn in (one, two):
            with pytest.raises(errors.StatementBlocked, match="Try again in ") as refused:
                await do(conn.execute("SELECT 1"))
            assert (refused.value.rule, refused.value.retryable) == ("budget.a", True)
            assert "will not help" not in str(refused.value)
            with pytest.raises(errors.StatementBlocked):
                await do(conn.cursor().executemany("SELECT %s", [(1,)]))
        assert not server.statements()[before:]
    async with connect(things, governor=governor, identity=HUMAN, autocommit=True) as other:
        for _ in range(3):
            await do(other.execute("SELECT 1"))
    rules = [r["may"]["rule"] for r in reader.statements(governor.trail.folder) if "may" in r]
    assert rules.count("budget.a") == 4


@flavours
async def test_the_rate_is_free_again_after_the_window(things, govern, name, monkeypatch):
    governor = govern("statements_per_minute = 1")
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        await do(conn.execute("SELECT 1"))
        with pytest.raises(errors.StatementBlocked):
            await do(conn.execute("SELECT 1"))
        monkeypatch.setattr(spending, "WINDOW", -1.0)
        await do(conn.execute("SELECT 1"))


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
async def test_rows_written_per_minute_cap_what_is_left(things, govern, name, autocommit):
    governor = govern("rows_written_per_minute = 10")
    write = "UPDATE things SET n = n + 1 WHERE id <= %s"
    connect = Flavour(name).connect
    async with connect(things, governor=governor, identity=HUMAN, autocommit=autocommit) as conn:
        assert (await do(conn.execute(write, (6,)))).rowcount == 6
        with pytest.raises(errors.ApprovalRequired) as capped:
            await do(conn.execute(write, (5,)))
        assert capped.value.rule == "budget.a"
        with pytest.raises(errors.ApprovalRequired):
            await do(conn.cursor().executemany(write, [(3,), (2,)]))
        assert (await do(conn.execute(write, (4,)))).rowcount == 4
        with pytest.raises(errors.StatementBlocked, match="only read run meanwhile") as spent:
            await do(conn.execute(write, (1,)))
        assert (spent.value.rule, spent.value.retryable) == ("budget.a", True)
        assert (await do((await do(conn.execute("SELECT count(*) FROM things"))).fetchone())) == (50,)
        check = governor.check if name == "sync" else governor.acheck
        assert (await do(check(write, (1,), identity=HUMAN, connection=conn))).rule == "budget.a"


@flavours
async def test_what_failed_or_was_rolled_back_to_the_cap_is_not_charged(things, govern, name):
    governor = govern("rows_written_per_minute = 10")
    async with Flavour(name).connect(things, governor=governor, identity=HUMAN, autocommit=True) as conn:
        with pytest.raises(errors.UniqueViolation):
            await do(conn.execute("INSERT INTO things VALUES (1, 1)"))
        with pytest.raises(errors.ApprovalRequired):
            await do(conn.execute("UPDATE things SET n = 0 WHERE id <= 11"))
        assert (await do(conn.execute("UPDATE things SET n = 0 WHERE id <= 10"))).rowcount == 10


@flavours
async def test_under_observe_no_budget_refuses(things, govern, name):
    governor = govern("statements_per_minute = 1\nrows_written_per_minute = 1", head="extends = 'observe'")
    async with Flavour(name).connect(things, governor=governor, identity=AGENT, autocommit=True) as conn:
        for _ in range(3):
            await do(conn.execute("UPDATE things SET n = n WHERE id < 9"))

"""People agree to the very rows: what is shown is what happens, or nothing does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import governed_db
from governed_db import Governor, Identity, errors
from tests.approvers import ANNA

CORPUS = Path(__file__).parent.parent / "corpus"
CASES = [json.loads(line) for line in (CORPUS / "approval_effects.jsonl").read_text().splitlines()]
BOT = Identity.agent("bot", on_behalf_of=Identity.human("u-1"))

POLICY = """extends = "standard"
[approvals]
poll_seconds = 0.05
[masking]
mode = "off"
[[rule]]
id = "rows"
when = { effects = ["insert", "update", "delete", "merge", "create", "function"] }
then = "approve"
binds = "effect"
because = "rows are agreed to"
"""


@pytest.fixture(scope="module")
def shop(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute((CORPUS / "approval_effects.sql").read_text())
    return dsn


@pytest.fixture(scope="module")
def governor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("effects")
    (folder / "policy.toml").write_text(POLICY + ANNA.as_toml())
    made = Governor.load(folder / "policy.toml", state_dir=folder / "state")
    yield made
    made.close()


@pytest.fixture(scope="module")
def conn(shop, governor):
    with governed_db.connect(shop, governor=governor, identity=BOT) as made:
        yield made


def asked(conn, sql, params=None):
    with pytest.raises(errors.ApprovalRequired) as waiting:
        conn.execute(sql, params)
    return conn.governor.approvals.get(waiting.value.request.id).request


@pytest.mark.parametrize("case", CASES, ids=[case["sql"][:60] for case in CASES])
def test_what_is_shown_is_what_happens(conn, case):
    sql, params = case["sql"], case.get("params")
    if "why" in case:
        with pytest.raises(errors.StatementBlocked) as refused:
            conn.execute(sql, params)
        assert refused.value.rule == "approval.effect"
        assert case["why"] in str(refused.value)
        conn.rollback()
        return
    request = asked(conn, sql, params)
    effect = request.effect
    assert (request.rows, request.ceiling, effect.rows) == (case["rows"],) * 3
    if "before" in case:
        assert [list(row.before) for row in effect.shown] == case["before"]
    if "after" in case:
        assert [[t and t.rstrip() for t in row.after] for row in effect.shown] == case["after"]
    conn.governor.approvals.approve(request.id, key=ANNA.key)
    if "differs" in case:
        with pytest.raises(errors.StatementBlocked, match=case["differs"]) as refused:
            conn.execute(sql, params)
        assert refused.value.rule == "approval.effect"
    elif "error" in case:
        with pytest.raises(getattr(psycopg.errors, case["error"])):
            conn.execute(sql, params)
    else:
        assert conn.execute(sql, params).rowcount == case["rows"]
    conn.rollback()


def test_asking_has_run_nothing_that_somebody_wrote(shop, conn):
    """After all of the above: the functions of its casts and checks count how often they run."""
    with psycopg.connect(shop, autocommit=True) as bare:
        before = bare.execute("SELECT last_value FROM steps").fetchone()
        for case in CASES:
            if any(word in case["sql"] for word in ("domained", "told", "pair")):
                with pytest.raises(errors.StatementBlocked):
                    conn.execute(case["sql"], case.get("params"))
                conn.rollback()
        assert bare.execute("SELECT last_value FROM steps").fetchone() == before


# -- any table, any change: what was shown is what a run without us makes

EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "id", "1", "-3", "%(p)s::int", "NULL::int"]),
    lambda inner: st.one_of(
        st.builds("({} + {})".format, inner, inner),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("CASE WHEN {} > {} THEN {} ELSE 7 END".format, inner, inner, inner),
        st.builds("(SELECT max(o.a) FROM others AS o WHERE o.id = {})".format, inner),
    ),
    max_leaves=4,
)
CONDITIONS = st.one_of(
    st.just("TRUE"),
    st.builds("{} > {}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("a IS DISTINCT FROM {} AND id <> {}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("id IN (SELECT o.id FROM others AS o WHERE o.a < {})".format, EXPRESSIONS),
)
ASSIGNMENTS = st.one_of(
    st.builds("a = {}".format, EXPRESSIONS),
    st.builds("b={}, a={}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("(a, b) = ROW({}, {})".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("(b, a) = (SELECT {}, o.a FROM others AS o WHERE o.id = things.id)".format, EXPRESSIONS),
    st.just("a = DEFAULT"),
)
STATEMENTS = st.one_of(
    st.builds("UPDATE things SET {} WHERE {}".format, ASSIGNMENTS, CONDITIONS),
    st.builds("DELETE FROM things WHERE {}".format, CONDITIONS),
)
NUMBERS = st.one_of(st.none(), st.integers(-5, 5))


@pytest.fixture(scope="module")
def small(shop):
    with psycopg.connect(shop, autocommit=True) as bare:
        bare.execute("CREATE TABLE things (id int PRIMARY KEY, a int DEFAULT 9, b int)")
        bare.execute("CREATE TABLE others (id int PRIMARY KEY, a int)")
        bare.execute("INSERT INTO others VALUES (1, 1), (2, NULL), (4, 3)")
        yield bare


@given(statement=STATEMENTS, rows=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5), number=NUMBERS)
@settings(max_examples=20)
def test_what_is_shown_is_what_a_run_without_us_makes(small, conn, statement, rows, number):
    small.execute("TRUNCATE things")
    for place, (a, b) in enumerate(rows, 1):
        small.execute("INSERT INTO things VALUES (%s, %s, %s)", (place, a, b))
    params = {"p": number} if "%(p)s" in statement else None
    request = asked(conn, statement, params)
    effect = request.effect
    conn.rollback()
    conn.governor.approvals.store.withdraw(request.id, now=datetime.now(UTC))
    before = {str(r[0]): r for r in small.execute("SELECT id, a, b FROM things").fetchall()}
    with small.transaction(force_rollback=True):
        count = small.execute(statement, params).rowcount
        after = {str(r[0]): r for r in small.execute("SELECT id, a, b FROM things").fetchall()}
    assert effect.rows == count
    columns = ["id", "a", "b"]
    for row in effect.shown:
        (key,) = row.key
        for side, there in ((row.before, before), (row.after, after)):
            if side:
                said = dict(zip(effect.columns, side, strict=True))
                assert said == {
                    c: None if v is None else str(v)
                    for c, v in zip(columns, there[key], strict=True)
                    if c in said
                }
        assert row.after or key not in after
    changed = {key for key in before if before[key] != after.get(key)}
    assert changed <= {row.key[0] for row in effect.shown}

"""What comes between an approval and its run: rows that change, and a store that lies about them."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, datetime

import psycopg
import pytest
from attrs import evolve

import governed_db
from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from tests.approvers import ANNA
from tests.flavours import Flavour, do, within

BOT = Identity.agent("bot", on_behalf_of=Identity.human("u-1"))
IDLE, INTRANS = psycopg.pq.TransactionStatus.IDLE, psycopg.pq.TransactionStatus.INTRANS

flavours = pytest.mark.parametrize("name", ["sync", "async"])
modes = pytest.mark.parametrize("mode", ["autocommit", "transaction", "block", "pipeline"])

SCHEMA = """
CREATE TABLE goods (id int PRIMARY KEY, label text, price int, note text);
CREATE TABLE pointer (at int PRIMARY KEY);
CREATE TABLE people (email text PRIMARY KEY, name text, remark text, score int);
CREATE TABLE tenants (id int PRIMARY KEY, owner text, n int);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tenants USING (owner = current_setting('governed_db.subject', true));
CREATE TABLE split (id int PRIMARY KEY, n int);
ALTER TABLE split ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON split FOR SELECT USING (true);
CREATE POLICY writers ON split FOR UPDATE USING (id = 1);
"""
FILL = """
TRUNCATE goods, pointer, people, tenants, split;
INSERT INTO goods SELECT n, 'l' || n, n, 'kept' FROM generate_series(1, 10) AS n;
INSERT INTO pointer VALUES (1);
INSERT INTO people VALUES ('secret1@example.org', 'Ada', 'hm', 1), ('secret2@example.org', 'Bob', NULL, 2);
INSERT INTO tenants SELECT n, CASE WHEN n % 3 = 0 THEN 'bot' ELSE 'else' END, n
    FROM generate_series(1, 12) AS n;
INSERT INTO split VALUES (1, 1), (2, 2);
"""
POLICY = """extends = "standard"
[approvals]
poll_seconds = 0.05
effect_rows = 8
probe_timeout_ms = 300
[masking.columns]
"public.people.email" = "EMAIL_ADDRESS"
"public.people.name" = false
"public.people.remark" = false
[[rule]]
id = "rows"
when = { effects = ["insert", "update", "delete"] }
then = "approve"
binds = "effect"
because = "rows are agreed to"
"""


@pytest.fixture(scope="module")
def shop(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA)
        conn.execute("DROP ROLE IF EXISTS effects_tenant, effects_reader")
        conn.execute("CREATE ROLE effects_tenant")
        conn.execute("GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO effects_tenant")
        conn.execute("CREATE ROLE effects_reader")
        conn.execute("GRANT SELECT, DELETE ON goods TO effects_reader")
    yield dsn
    with psycopg.connect(dsn, autocommit=True) as conn:
        for role in ("effects_tenant", "effects_reader"):
            conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture(scope="module")
def bare(shop):
    with psycopg.connect(shop, autocommit=True) as conn:
        yield conn


@pytest.fixture(autouse=True)
def _filled(bare):
    bare.execute(FILL)


def of(policy, folder):
    (folder / "policy.toml").write_text(policy + ANNA.as_toml())
    return Governor.load(folder / "policy.toml", state_dir=folder / "state")


@pytest.fixture(scope="module")
def effects(tmp_path_factory):
    made = of(POLICY, tmp_path_factory.mktemp("effects"))
    yield made
    made.close()


@pytest.fixture
def governor(effects):
    yield effects
    for request in effects.approvals.pending():  # nothing of one test is an answer to the next
        effects.approvals.store.withdraw(request.id, now=datetime.now(UTC))


async def send(conn, mode, sql, params=None):
    if mode == "pipeline":
        async with within(conn.pipeline()):
            cur = await do(conn.execute(sql, params))
        return cur
    return await do(conn.execute(sql, params))


async def asked(conn, mode, sql, params=None):
    with pytest.raises(errors.ApprovalRequired) as waiting:
        await send(conn, mode, sql, params)
    # The requester is not told what approvers are, nor what it would need to try values.
    assert (waiting.value.request.effect.shown, waiting.value.request.effect.salt) == ((), "")
    return (await kept(conn.governor, waiting.value.request.id)), waiting.value


async def kept(governor, request_id):
    return governor.approvals.get(request_id).request


def agree(governor, request):
    governor.approvals.approve(request.id, key=ANNA.key)


def values(bare, sql="SELECT id, label, price FROM goods ORDER BY id"):
    return bare.execute(sql).fetchall()


UPDATE = "UPDATE goods SET label = %s WHERE price < %s"
PARAMS = ("new", 3)

MEANWHILE = {
    "a shown column changes": "UPDATE goods SET label = 'other' WHERE id = 2",
    "another column changes": "UPDATE goods SET note = NULL WHERE id = 2",
    "a row comes": "INSERT INTO goods VALUES (11, 'l11', 1)",
    "a row comes by its value": "UPDATE goods SET price = 0 WHERE id = 9",
    "a row goes": "DELETE FROM goods WHERE id = 1",
    "a row goes by its value": "UPDATE goods SET price = 100 WHERE id = 1",
    "a row gets another key": "UPDATE goods SET id = 50 WHERE id = 1",
}


@flavours
@modes
async def test_what_was_agreed_to_runs_once(shop, bare, governor, name, mode):
    alone = mode == "autocommit"
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=alone) as conn:
        if mode == "block":
            await do(conn.execute("SELECT 1"))
        request, error = await asked(conn, mode, UPDATE, PARAMS)
        assert conn.info.transaction_status == (INTRANS if mode == "block" else IDLE)
        assert (request.rows, request.ceiling) == (2, 2)
        shown = request.effect.shown
        assert [(r.key, r.before, r.after) for r in shown] == [
            (("1",), ("l1",), ("new",)),
            (("2",), ("l2",), ("new",)),
        ]
        assert "l2" not in f"{error}{error.request!r}{request!r}"
        agree(governor, request)
        cur = await send(conn, mode, UPDATE, PARAMS)
        assert cur.rowcount == 2
        await do(conn.commit())
        assert values(bare)[:3] == [(1, "new", 1), (2, "new", 2), (3, "l3", 3)]
        again, _ = await asked(conn, mode, UPDATE, PARAMS)
        assert again.id != request.id


@flavours
@pytest.mark.parametrize(
    ("what", "mode"), [*zip(MEANWHILE, itertools.cycle(["autocommit", "block", "pipeline"]), strict=False)]
)
async def test_rows_that_changed_mean_a_new_request(shop, bare, governor, name, mode, what):
    alone = mode == "autocommit"
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=alone) as conn:
        if mode == "block":
            await do(conn.execute("SELECT 1"))
        request, _ = await asked(conn, mode, UPDATE, PARAMS)
        agree(governor, request)
        bare.execute(MEANWHILE[what])
        before = values(bare)
        again, error = await asked(conn, mode, UPDATE, PARAMS)
        assert "rows have changed, come or gone since" in str(error)
        assert error.retryable
        assert (again.id, again.effect.digest) != (request.id, request.effect.digest)
        assert conn.info.transaction_status == (INTRANS if mode == "block" else IDLE)
        bare.execute("SET lock_timeout = '1s'; UPDATE goods SET note = 'free'; RESET lock_timeout")
        assert values(bare) == before
        request, _ = await asked(conn, mode, UPDATE, PARAMS)
        assert request.id == again.id


async def test_the_salt_says_nothing_of_equal_effects(shop, bare, governor):
    digests = set()
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        for _ in range(2):
            request, _ = await asked(conn, "", UPDATE, PARAMS)
            digests.add(request.effect.digest)
            governor.approvals.store.withdraw(request.id, now=datetime.now(UTC))
    assert len(digests) == 2


def run_between(shop, governor, sql, between, params=None):
    """Approve and run ``sql``; when its rows are locked, and it is not yet sent, call ``between``."""
    outcome = []

    def run():
        try:
            outcome.append(conn.execute(sql, params).rowcount)
        except psycopg.Error as error:
            outcome.append(error)

    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute(sql, params)
        agree(governor, waiting.value.request)
        with psycopg.connect(shop) as other:
            # Row locks pass it, a write does not.
            other.execute("LOCK TABLE goods IN SHARE MODE")
            thread = threading.Thread(target=run)
            thread.start()
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'goods'::regclass"
            until = time.monotonic() + 20
            while not other.execute(waits).fetchone()[0]:
                assert time.monotonic() < until
                time.sleep(0.01)
            between(other)
        thread.join(20)
    return outcome[0]


def test_agreed_rows_are_locked_before_the_write_is_sent(shop, bare, governor):
    def between(_):
        with pytest.raises(psycopg.errors.LockNotAvailable):
            bare.execute("SELECT FROM goods WHERE id = 1 FOR NO KEY UPDATE NOWAIT")
        bare.execute("SELECT FROM goods WHERE id = 3 FOR NO KEY UPDATE NOWAIT")
        bare.execute("SELECT FROM goods WHERE id = 1 FOR KEY SHARE NOWAIT")

    assert run_between(shop, governor, UPDATE, between, PARAMS) == 2


def test_a_row_that_comes_behind_the_lock_is_counted(shop, bare, governor):
    def between(other):
        other.execute("INSERT INTO goods VALUES (11, 'l11', 0)")

    error = run_between(shop, governor, UPDATE, between, PARAMS)
    assert isinstance(error, errors.ApprovalRequired)
    assert error.request.effect.rows == 3
    assert values(bare)[0] == (1, "l1", 1)


def test_another_row_in_its_place_is_noticed(shop, bare, governor):
    """As many rows, the agreed one as it should be: but it is another that was written."""
    sql = "UPDATE goods SET note = 'kept' WHERE id = (SELECT at FROM pointer)"
    error = run_between(shop, governor, sql, lambda other: other.execute("UPDATE pointer SET at = 2"))
    assert isinstance(error, errors.ApprovalRequired)
    assert governor.approvals.get(error.request.id).request.effect.shown[0].key == ("2",)


def test_a_value_that_is_read_elsewhere_changes(shop, bare, governor):
    sql = "UPDATE goods SET price = (SELECT at FROM pointer) WHERE id = 5"
    error = run_between(shop, governor, sql, lambda other: other.execute("UPDATE pointer SET at = 2"))
    assert isinstance(error, errors.ApprovalRequired)
    assert governor.approvals.get(error.request.id).request.effect.shown[0].after == ("2",)
    assert values(bare)[4] == (5, "l5", 5)


def test_a_trigger_that_nobody_has_seen_yet(shop, bare, governor):
    """It comes when definitions have been compared: what is written beside is counted all the same."""

    def between(other):
        other.execute(
            "CREATE FUNCTION aside() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO pointer VALUES (NEW.id + 10); RETURN NULL; END $$;"
            "CREATE TRIGGER aside AFTER UPDATE ON goods FOR EACH ROW EXECUTE FUNCTION aside()"
        )

    try:
        error = run_between(shop, governor, UPDATE, between, PARAMS)
    finally:
        bare.execute("DROP FUNCTION aside() CASCADE")
    assert isinstance(error, errors.StatementBlocked)
    assert (error.rule, error.retryable) == ("approval.effect", False)
    assert "other rows were written as well" in str(error)
    assert values(bare)[0] == (1, "l1", 1)
    assert bare.execute("SELECT at FROM pointer").fetchall() == [(1,)]
    said = [e for e in reader.read(governor.trail.folder) if e.get("event") == "approval.refused"]
    assert said[-1]["details"]["reason"] == "other rows were written as well"
    happened = [e.get("happened", {}).get("status") for e in reader.statements(governor.trail.folder)]
    assert "refused" in happened


def test_a_snapshot_that_is_older_than_the_change(shop, bare, governor):
    with governed_db.connect(shop, governor=governor, identity=BOT) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute("SELECT 1")
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute(UPDATE, PARAMS)
        agree(governor, waiting.value.request)
        bare.execute("UPDATE goods SET label = 'other' WHERE id = 2")
        with pytest.raises(psycopg.errors.SerializationFailure):
            conn.execute(UPDATE, PARAMS)
    assert values(bare)[:2] == [(1, "l1", 1), (2, "other", 2)]


@flavours
async def test_a_call_that_waits_asks_again(shop, bare, governor, name):
    """The row changes while people think; they are shown it anew, and the call that waits runs then."""

    def answer():
        seen = set()
        until = time.monotonic() + 20
        while len(seen) < 2 and time.monotonic() < until:
            for request in governor.approvals.pending():
                if request.id not in seen:
                    seen.add(request.id)
                    if len(seen) == 1:
                        bare.execute("UPDATE goods SET note = 'moved' WHERE id = 1")
                    agree(governor, request)
            time.sleep(0.02)
        answered.append(len(seen))

    answered = []
    thread = threading.Thread(target=answer)
    thread.start()
    async with Flavour(name).connect(shop, governor=governor, identity=BOT) as conn:
        with governed_db.wait_for_approval(20):
            assert (await do(conn.execute(UPDATE, PARAMS))).rowcount == 2
        await do(conn.commit())
    thread.join()
    assert answered == [2]
    assert values(bare)[0] == (1, "new", 1)


# -- executemany


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
async def test_the_sets_of_an_executemany_are_one_effect(shop, bare, governor, name, autocommit):
    sql = "UPDATE goods SET label = %s WHERE id = %s"
    sets = [("a", 1), ("b", 2), ("none", 99)]
    connected = Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=autocommit)
    async with connected as conn, within(conn.cursor()) as cur:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            await do(cur.executemany(sql, sets))
        request = await kept(governor, waiting.value.request.id)
        assert [(r.key, r.after) for r in request.effect.shown] == [(("1",), ("a",)), (("2",), ("b",))]
        agree(governor, request)
        bare.execute("UPDATE goods SET note = 'x' WHERE id = 2")
        with pytest.raises(errors.ApprovalRequired) as waiting:
            await do(cur.executemany(sql, sets))
        agree(governor, waiting.value.request)
        await do(cur.executemany(sql, sets))
        await do(conn.commit())
        assert values(bare)[:2] == [(1, "a", 1), (2, "b", 2)]
        with pytest.raises(errors.StatementBlocked, match="two sets of parameters are about one row"):
            await do(cur.executemany(sql, [("a", 1), ("b", 1)]))
        with pytest.raises(errors.StatementBlocked, match="in several texts or types"):
            await do(cur.executemany(sql, [("a", 1), ("b", 2**40)]))


# -- a store that somebody can write to


@pytest.mark.parametrize("lie", ["rows", "nothing", "digest"])
def test_people_who_were_shown_something_else_have_not_agreed(shop, bare, tmp_path, lie):
    folder, governor = tmp_path, of(POLICY, tmp_path)
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute(UPDATE, PARAMS)
        store = governor.approvals.store
        request = store.get(waiting.value.request.id).request
        effect = request.effect
        altered = {
            "rows": evolve(effect, shown=(evolve(effect.shown[0], after=("harmless",)),)),
            "nothing": None,
            "digest": evolve(effect, digest="00" * 32),
        }[lie]
        now = datetime.now(UTC)
        store.withdraw(request.id, now=now)
        forged = evolve(
            request, id=f"apr_{len(lie):016x}", effect=altered, ceiling=3 if altered is None else 2
        )
        assert store.file(forged, now=now, most=10) == forged
        agree(governor, forged)
    # Another process runs it: one that has asked itself knows what it has asked.
    other = Governor.load(folder / "policy.toml", state_dir=folder / "state")
    with governed_db.connect(shop, governor=other, identity=BOT, autocommit=True) as conn:
        expected = errors.StatementBlocked if lie == "nothing" else errors.ApprovalRequired
        with pytest.raises(expected) as refused:
            conn.execute(UPDATE, PARAMS)
        if lie == "nothing":
            assert refused.value.rule == "approval.effect"
        else:
            again = other.approvals.get(refused.value.request.id).request
            assert again.effect.shown == effect.shown
    other.close()
    governor.close()
    assert values(bare)[0] == (1, "l1", 1)


# -- what approvers see, and nobody else


SECRET = "secret1@example.org"


def shown(conn, sql, params=None):
    with pytest.raises(errors.ApprovalRequired) as waiting:
        conn.execute(sql, params)
    return conn.governor.approvals.get(waiting.value.request.id).request.effect


@pytest.fixture(scope="module")
def clear(tmp_path_factory):
    """A governor whose callers see everything, and whose approvers do not."""
    seen = "[masking]\nunmasked = [{ kind = ['agent'] }]\n[masking.columns]"
    made = of(POLICY.replace("[masking.columns]", seen), tmp_path_factory.mktemp("clear"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("DELETE FROM people WHERE score = 1", (("<masked>",), ("<masked>", "Ada", "hm", "1"), ())),
        ("UPDATE people SET email = 'new@example.org' WHERE score = 1",
         (("<masked>",), ("<masked>",), ("<masked>",))),
        ("UPDATE people SET remark = 'plain' WHERE score = 1", (("<masked>",), ("hm",), ("plain",))),
        ("UPDATE people SET remark = email WHERE score = 1", (("<masked>",), ("hm",), ("<masked>",))),
        ("UPDATE people SET remark = left(email, 3), name = 'x' WHERE score = 1",
         (("<masked>",), ("Ada", "hm"), ("x", "<masked>"))),
        ("UPDATE people SET (remark) = (SELECT max(p.email) FROM people AS p) WHERE score = 1",
         (("<masked>",), ("hm",), ("<masked>",))),
        ("UPDATE people SET remark = o::text FROM people AS o WHERE people.score = 1 AND o.score = 2",
         (("<masked>",), ("hm",), ("<masked>",))),
        ("INSERT INTO people (email, name, remark) SELECT 'x' || email, name, email FROM people LIMIT 1",
         (("<masked>",), (), ("<masked>", "<masked>", "<masked>"))),
        ("INSERT INTO people (email, name, score) VALUES ('n@example.org', 'N', NULL)",
         (("<masked>",), (), ("<masked>", "N", None))),
    ],
)  # fmt: skip
def test_sensitive_values_are_masked_for_approvers(shop, clear, sql, row):
    with governed_db.connect(shop, governor=clear, identity=BOT, autocommit=True) as conn:
        first = shown(conn, sql).shown[0]
        assert (first.key, first.before, first.after) == row


def test_no_value_is_anywhere_but_in_the_request(shop, clear):
    sql = "UPDATE people SET remark = 'hidden' || name || %s WHERE email = %s"
    with governed_db.connect(shop, governor=clear, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute(sql, ("given", SECRET))
        request = clear.approvals.get(waiting.value.request.id).request
        assert request.effect.shown[0].after == ("hiddenAdagiven",)
        agree(clear, request)
        conn.execute(sql, ("given", SECRET))
    said = f"{waiting.value}{waiting.value.request!r}{request!r}{clear.approvals.listed(every=True)!r}"
    entries = list(reader.read(clear.trail.folder))
    ours = [e for e in entries if e.get("may", {}).get("rule") == "governed_db.effect"]
    assert {e["who"]["subject"] for e in ours} == {"governed_db"}
    assert len(ours) >= 5
    for text in (said, "".join(map(str, entries))):
        for value in ("Ada", "hidden", "given", "secret", SECRET.encode().hex()):
            assert value not in text


# -- what can be asked, and by whom


STYLES = {
    "extra_float_digits": ("-14", "SELECT 1414.21356::float8", "1414.21356"),
    "datestyle": ("SQL, DMY", "SELECT DATE '2024-02-01'", "2024-02-01"),
    "bytea_output": ("escape", "SELECT '\\x6162'::bytea", "\\x6162"),
}


@flavours
@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_session_does_not_say_how_people_read_values(shop, bare, governor, name, autocommit):
    """Callers may set these; a float of which one digit is shown is another for people."""
    bare.execute(
        "DROP TABLE IF EXISTS written; CREATE TABLE written (id int PRIMARY KEY, f float8, d date, b bytea)"
    )
    bare.execute("INSERT INTO written VALUES (1, 0, '2024-01-31', '')")
    sql = "UPDATE written SET f = 1414.21356, d = '01/02/2024', b = '\\x6162' WHERE id = 1"
    now = "SELECT " + ", ".join(f"current_setting('{style}')" for style in STYLES)
    async with Flavour(name).connect(shop, governor=governor, identity=BOT, autocommit=autocommit) as conn:
        for style, (value, _, _) in STYLES.items():
            await do(conn.execute(f"SET {style} = {value}"))
        request, _ = await asked(conn, "", sql)
        assert request.effect.shown[0].after == tuple(plain for _, _, plain in STYLES.values())
        agree(governor, request)
        assert (await do(conn.execute(sql))).rowcount == 1
        # What the caller has set is as it was.
        assert await do((await do(conn.execute(now))).fetchone()) == tuple(v for v, _, _ in STYLES.values())
        with pytest.raises(errors.StatementBlocked, match="how this session writes"):
            await do(conn.execute("UPDATE goods SET label = 1414.21356::float8::text WHERE id = 1"))
        await do(conn.rollback())


@pytest.mark.parametrize(
    "expression",
    [
        "1 / (SELECT score - {} FROM people WHERE name = 'Ada')",
        "(SELECT p.score FROM people AS p WHERE p.score < {} + 2)",
    ],
)
def test_whether_rows_can_be_shown_says_nothing_of_what_may_not_be_read(shop, bare, tmp_path, expression):
    """An error while people's rows are looked up would answer a question that nobody has agreed to."""
    governor = of(
        POLICY
        + """[[rule]]
id = "scores"
when = { effects = ["select"], relations = ["public.people"] }
then = "approve"
binds = "effect"
because = "scores are asked for"
""",
        tmp_path,
    )
    told = []
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        for number in (0, 1):
            sql = f"UPDATE goods SET price = {expression.format(number)} WHERE id = 1"
            with pytest.raises(errors.ApprovalRequired) as waiting:
                conn.execute(sql)
            request = waiting.value.request
            told.append((request.rows, request.ceiling, request.cost, request.effect))
        assert told == [(None, None, None, None)] * 2
        # The one that cannot be shown cannot run either.
        failed = next(
            r for r in governor.approvals.pending() if governor.approvals.get(r.id).request.effect is None
        )
        agree(governor, failed)
        with pytest.raises(errors.StatementBlocked, match="shows none"):
            conn.execute(f"UPDATE goods SET price = {expression.format(1)} WHERE id = 1")
        # Who may read it all is told what is wrong.
        with pytest.raises(errors.StatementBlocked, match="22012"):
            conn.execute("UPDATE goods SET price = 1 / (id - 1) WHERE id = 1")
    governor.close()


def test_no_more_rows_than_people_read(shop, governor):
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.StatementBlocked, match="more than 8 rows") as refused:
            conn.execute("DELETE FROM goods")
        assert (refused.value.rule, refused.value.retryable) == ("approval.effect", False)


def test_rows_that_are_found_many_times_hide_no_others(shop, governor):
    """Each of the first rows is found ten times over: the SELECT must not stop before the last."""
    sql = "DELETE FROM goods USING goods AS o WHERE goods.id < 9"
    with (
        governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn,
        pytest.raises(errors.StatementBlocked, match="more than 8 rows"),
    ):
        conn.execute(sql)


def test_a_question_that_takes_too_long(shop, bare, governor):
    with governed_db.connect(shop, governor=governor, identity=BOT) as conn:
        conn.execute("SELECT 1")
        with bare.transaction():
            bare.execute("LOCK TABLE goods IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(errors.StatementBlocked, match="not found within 300 ms") as refused:
                conn.execute(UPDATE, PARAMS)
        assert (refused.value.rule, refused.value.retryable) == ("approval.effect", True)
        assert conn.info.transaction_status == INTRANS
        assert conn.execute("SELECT count(*) FROM goods").fetchone() == (10,)


def test_rows_behind_row_level_security(shop, bare, governor):
    with governed_db.connect(
        shop, governor=governor, identity=BOT, autocommit=True, options="-c role=effects_tenant"
    ) as conn:
        effect = shown(conn, "UPDATE tenants SET n = 0")
        assert [row.key for row in effect.shown] == [("3",), ("6",), ("9",), ("12",)]
        (request,) = governor.approvals.pending()
        agree(governor, request)
        assert conn.execute("UPDATE tenants SET n = 0").rowcount == 4
        with pytest.raises(errors.StatementBlocked, match=r"row-level security of public\.split"):
            conn.execute("UPDATE split SET n = 0")


def test_a_role_that_cannot_lock_rows(shop, governor):
    with (
        governed_db.connect(
            shop, governor=governor, identity=BOT, autocommit=True, options="-c role=effects_reader"
        ) as conn,
        pytest.raises(errors.StatementBlocked, match=r"may not lock rows of public\.goods"),
    ):
        conn.execute("DELETE FROM goods WHERE id = 1")


def test_an_aborted_transaction_is_not_asked(shop, governor):
    with governed_db.connect(shop, governor=governor, identity=BOT) as conn:
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("SELECT 1/0")
        with pytest.raises(errors.StatementBlocked, match="transaction is aborted") as refused:
            conn.execute(UPDATE, PARAMS)
        assert refused.value.retryable
        conn.rollback()


def test_a_client_cursor(shop, bare, governor):
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        cur = governed_db.ClientCursor(conn)
        with pytest.raises(errors.ApprovalRequired) as waiting:
            cur.execute(UPDATE, PARAMS)
        agree(governor, waiting.value.request)
        assert cur.execute(UPDATE, PARAMS).rowcount == 2


def test_a_batch_of_what_is_no_write_is_agreed_to_set_by_set(shop, tmp_path):
    governor = of(
        'extends = "readonly"\n[[rule]]\nid = "looks"\nwhen = { effects = ["select"] }\n'
        'then = "approve"\nbecause = "reads"\n',
        tmp_path,
    )
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        cur = conn.cursor()
        with pytest.raises(errors.ApprovalRequired) as waiting:
            cur.executemany("SELECT label FROM goods WHERE id = %s", [(1,), (2,)], returning=True)
        agree(governor, waiting.value.request)
        with pytest.raises(errors.StatementBlocked) as refused:
            cur.executemany("SELECT label FROM goods WHERE id = %s", [(1,), (2,)], returning=True)
        assert refused.value.rule == "approval.batch"
    governor.close()


def test_people_agree_to_nothing_where_a_statement_only_reads(shop, tmp_path):
    policy = POLICY.replace('"delete"]', '"delete", "select"]')
    governor = of(policy, tmp_path)
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute("SELECT count(*) FROM goods")
        assert waiting.value.request.effect is None
        agree(governor, waiting.value.request)
        assert conn.execute("SELECT count(*) FROM goods").fetchone() == (10,)
    governor.close()


def test_a_cap_with_an_effect(shop, bare, tmp_path):
    """Up to its cap a write runs unasked; above, people agree to the rows, found before or after the run."""
    policy = POLICY.replace('then = "approve"', 'then = "allow"\nrows = 3')
    governor = of(policy, tmp_path)
    with governed_db.connect(shop, governor=governor, identity=BOT, autocommit=True) as conn:
        assert conn.execute(UPDATE, PARAMS).rowcount == 2
        effect = shown(conn, UPDATE, ("more", 6))
        assert effect.rows == 5
        (request,) = governor.approvals.pending()
        agree(governor, request)
        assert conn.execute(UPDATE, ("more", 6)).rowcount == 5
        with conn.cursor() as cur:
            one = "UPDATE goods SET label = %s WHERE price = %s"
            with pytest.raises(errors.ApprovalRequired):
                cur.executemany(one, [("m", n) for n in range(1, 6)])
    governor.close()
    assert values(bare)[4] == (5, "more", 5)


# -- approved by number: the ceiling


COUNTED = """extends = "standard"
[approvals]
poll_seconds = 0.05
headroom_percent = 20
probe_rows = 7
probe_timeout_ms = 300
[masking]
mode = "off"
[[rule]]
id = "asked"
when = { effects = ["insert", "update", "delete", "merge", "create"] }
then = "approve"
because = "people are asked"
"""


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    made = of(COUNTED, tmp_path_factory.mktemp("counted"))
    yield made
    made.close()


@pytest.fixture
def counted(counting):
    yield counting
    for request in counting.approvals.pending():
        counting.approvals.store.withdraw(request.id, now=datetime.now(UTC))


@flavours
@modes
async def test_rows_over_the_ceiling_are_rolled_back(shop, bare, counted, name, mode):
    sql, params = "UPDATE goods SET label = %s WHERE price <= %s", ("n", 5)
    alone = mode == "autocommit"
    async with Flavour(name).connect(shop, governor=counted, identity=BOT, autocommit=alone) as conn:
        if mode == "block":
            await do(conn.execute("SELECT 1"))
        for rows, came, over in ((5, 1, False), (6, 2, True)):
            with pytest.raises(errors.ApprovalRequired) as waiting:
                await send(conn, mode, sql, params)
            request = waiting.value.request
            assert (request.rows, request.ceiling, request.effect) == (rows, 6 if rows == 5 else 8, None)
            agree(counted, request)
            first = 100 + rows
            bare.execute(
                "INSERT INTO goods SELECT n, 'came', 0 FROM generate_series(%s::int, %s) AS n",
                (first, first + came - 1 + over),
            )
            if over:
                with pytest.raises(errors.ApprovalRequired, match="people have agreed to up to 8") as waiting:
                    await send(conn, mode, sql, params)
                assert waiting.value.request.id != request.id
                # More than are counted for people: so many at least, and no ceiling.
                again = waiting.value.request
                assert (again.rows, again.rows_more) in {(9, False), (7, True)}
                await do(conn.commit())
                assert bare.execute("SELECT count(*) FROM goods WHERE label = 'n'").fetchone() == (6,)
            else:
                assert (await send(conn, mode, sql, params)).rowcount == 6
                await do(conn.commit())
                if mode == "block":
                    await do(conn.execute("SELECT 1"))


@pytest.mark.parametrize(
    "sql",
    [
        "MERGE INTO goods USING pointer ON goods.id = pointer.at WHEN MATCHED THEN UPDATE SET label = 'm'",
        "WITH gone AS (DELETE FROM pointer RETURNING at) UPDATE goods SET label = 'x'"
        " WHERE id IN (SELECT at FROM gone)",
        "CREATE TABLE more (id int)",
        "DELETE FROM goods WHERE id > 0",
    ],
)
def test_what_no_select_counts_has_no_ceiling(shop, bare, counted, sql):
    with governed_db.connect(shop, governor=counted, identity=BOT) as conn:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute(sql)
        request = waiting.value.request
        many = sql.startswith("DELETE")
        assert (request.rows, request.rows_more, request.ceiling) == (7 if many else None, many, None)
        agree(counted, request)
        conn.execute(sql)
        conn.rollback()


def test_a_count_that_takes_too_long(shop, bare, counted):
    with governed_db.connect(shop, governor=counted, identity=BOT) as conn:
        conn.execute("SET statement_timeout = '30s'")
        with bare.transaction():
            bare.execute("LOCK TABLE goods IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(errors.ApprovalRequired) as waiting:
                conn.execute("UPDATE goods SET label = 'x' WHERE price < 3")
        assert (waiting.value.request.rows, waiting.value.request.ceiling) == (None, None)
        assert conn.info.transaction_status == INTRANS
        assert conn.execute("SHOW statement_timeout").fetchone() == ("30s",)


def test_an_aborted_transaction_is_not_counted_in(server, shop, counted):
    with governed_db.connect(shop, governor=counted, identity=BOT) as conn:
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("SELECT 1/0")
        before = len(server.statements())
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute("UPDATE goods SET label = 'x' WHERE price < 3")
        assert (waiting.value.request.rows, waiting.value.request.cost) == (None, None)
        assert not [s for s in server.statements()[before:] if "goods" in s]
        conn.rollback()


def test_rows_are_counted_as_the_caller_sees_them(shop, bare, counted):
    with governed_db.connect(
        shop, governor=counted, identity=BOT, autocommit=True, options="-c role=effects_tenant"
    ) as conn:
        with pytest.raises(errors.ApprovalRequired) as waiting:
            conn.execute("UPDATE tenants SET n = 0")
        assert (waiting.value.request.rows, waiting.value.request.ceiling) == (4, 5)
        agree(counted, waiting.value.request)
        assert conn.execute("UPDATE tenants SET n = 0").rowcount == 4

"""Ways around the driver that somebody tried: each must stay shut."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import pkgutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity, acting_as
from governed_db.audit import reader
from tests.approvers import Person
from tests.flavours import Flavour, do, each, within
from tests.layout import Layout

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("bot")
SHOP = Identity.service("shop")
BOSS = Identity.human("boss")
CHIEF, HIMSELF = Person("boss"), Person("bot")
SECRET = "alice.secret@example.com"
READ = "SELECT id, email FROM customers WHERE id = 1"
DERIVED = b"SELECT lower(email) FROM customers WHERE id = 1"

_SCHEMA = f"""
    DROP SCHEMA public CASCADE; CREATE SCHEMA public;
    CREATE TABLE customers (id int PRIMARY KEY, email text, city text, n int CHECK (n >= 0));
    INSERT INTO customers SELECT i, 'u' || i || '@example.com', 'c' || i, i FROM generate_series(2, 20) i;
    INSERT INTO customers VALUES (1, '{SECRET}', 'c1', 1);
    CREATE TABLE things (id int PRIMARY KEY, label text, grp int DEFAULT 1);
    INSERT INTO things SELECT i, 'l' || i FROM generate_series(1, 500) i;
    CREATE VIEW places AS SELECT id, city AS label FROM customers;
"""


@pytest.fixture(autouse=True)
def schema(layout: Layout) -> None:
    layout.lay(_SCHEMA)


@pytest.fixture
def more() -> str:
    """What the policy says besides."""
    return ""


@pytest.fixture
def governor(tmp_path: Path, more: str) -> Iterator[Governor]:
    policy = tmp_path / "policy.toml"
    people = CHIEF.as_toml() + HIMSELF.as_toml()
    policy.write_text('extends = "standard"\nservices = ["shop"]\n' + more + people)
    policy.chmod(0o600)
    made = Governor.load(policy, state_dir=tmp_path)
    yield made
    made.close()


@pytest.fixture
def trusting(tmp_path: Path) -> Iterator[Governor]:
    """A policy that lets triggers run whose code cannot be looked into."""
    policy = tmp_path / "trusting.toml"
    policy.write_text(
        'extends = "standard"\n[[rule]]\nid = "our-triggers"\nthen = "allow"\nbecause = "we wrote them"\n'
        'when = { effects = ["function"], notes = ["a trigger of the table runs *"] }\n'
    )
    policy.chmod(0o600)
    made = Governor.load(policy, state_dir=tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


@pytest.fixture
def conn(dsn: str, governor: Governor) -> Iterator[Any]:
    """A connection of the agent's own."""
    with governed_db.connect(dsn, governor=governor, identity=AGENT) as made:
        yield made
        made.rollback()


@pytest.fixture
def shared(dsn: str, governor: Governor) -> Iterator[Any]:
    """A connection of the service, on which an agent acts now and then."""
    with governed_db.connect(dsn, governor=governor, identity=SHOP) as made:
        yield made
        made.rollback()


def truth(dsn: str, query: str) -> Any:
    """Ask the database without us."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(query).fetchone()[0]  # type: ignore[index]


def hidden(*values: Any) -> bool:
    return all(SECRET not in repr(value) for value in values)


def raised(function: Any) -> str:
    """Return everything that an error of ``function`` says; "" if it raises none."""
    try:
        function()
    except psycopg.Error as error:
        return repr((error, error.diag.message_detail, error.__context__, error.__cause__))
    return ""


# -- BYPASS


class _Liar(bytes):
    """Bytes that the grammar is told something else about than the server."""

    def decode(self, *args: Any, **kwargs: Any) -> str:
        return "SELECT 1"


class _Impostor(bytes):
    """Bytes that are found in every cache where SELECT 1 is."""

    def __hash__(self) -> int:
        return hash(b"SELECT 1")

    def __eq__(self, other: object) -> bool:
        return other == b"SELECT 1"


class _Encodes(str):
    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        return _Liar(DERIVED)


class _Composes(psycopg.sql.SQL):
    def as_bytes(self, context: Any = None) -> bytes:
        return _Liar(DERIVED)


@pytest.mark.parametrize(
    "query",
    [_Liar(DERIVED), _Impostor(DERIVED), _Encodes("x"), _Composes("x")],
    ids=lambda q: type(q).__name__,
)
async def test_a_text_that_lies_about_itself_is_judged_as_what_is_sent(flavour, dsn, governor, query):
    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("SELECT 1"))
        with pytest.raises(governed_db.MaskedColumnRefused):
            await do(conn.execute(query))


async def test_a_text_that_lies_about_itself_destroys_nothing(flavour, dsn, governor):
    async with flavour.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(governed_db.StatementBlocked):
            await do(conn.execute(_Liar(b"DROP TABLE things")))
    assert truth(dsn, "SELECT to_regclass('things') IS NOT NULL")


@pytest.mark.parametrize("method", ["execute", "stream"])
@pytest.mark.parametrize(
    "text", ["COPY customers TO STDOUT", "COPY (SELECT id, email FROM customers) TO STDOUT"]
)
async def test_copy_sent_by_another_method_hands_nothing_to_a_copy_object(
    flavour, dsn, governor, method, text
):
    data: list[bytes] = []
    copy_class = psycopg.AsyncCopy if flavour.name == "async" else psycopg.Copy
    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        cursor = conn.cursor()
        with pytest.raises(psycopg.Error):  # noqa: PT012 - two flavours
            if method == "execute":
                await do(cursor.execute(text))
            else:
                async for _ in each(cursor.stream(text)):
                    pass
        try:
            copy = copy_class(cursor)
            while block := await do(copy.read()):
                data.append(bytes(block))
        except (psycopg.Error, AssertionError):
            pass
    assert hidden(data)


def test_no_module_under_our_name_exports_an_ungoverned_connection():
    ungoverned = set()
    for found in pkgutil.walk_packages(psycopg.__path__, "psycopg."):
        if found.name.rpartition(".")[2].startswith("_"):
            continue
        name = f"governed_db.{found.name.partition('.')[2]}"
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for key, value in vars(module).items():
            owner = getattr(value, "__self__", value) if key == "connect" else value
            if (
                isinstance(owner, type)
                and issubclass(owner, (psycopg.Connection, psycopg.AsyncConnection))
                and not issubclass(owner, (governed_db.Connection, governed_db.AsyncConnection))
            ):
                ungoverned.add(f"{name}.{key}")
    assert not ungoverned


def test_crdb_connections_are_governed_or_refused(dsn, governor):
    governed_db.configure(governor)
    try:
        with pytest.raises((governed_db.GovernanceError, ImportError, AttributeError, NotImplementedError)):  # noqa: PT012
            crdb = importlib.import_module("governed_db.crdb")
            with crdb.connect(dsn) as conn:
                conn.execute(DERIVED)
    finally:
        governed_db.configure(None)


async def test_a_subclass_of_psycopgs_cursor_with_a_generator_of_its_own_is_governed(flavour, dsn, governor):
    base = getattr(psycopg, flavour.Cursor.__name__)

    class Tracing(base):  # type: ignore[misc, valid-type]
        __slots__ = ()

        def _execute_gen(self, *args: Any, **kwargs: Any) -> Any:
            yield from super()._execute_gen(*args, **kwargs)

    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        with pytest.raises(governed_db.GovernanceError):
            await do(Tracing(conn).execute(DERIVED))


async def test_an_agent_does_not_commit_what_somebody_else_prepared(flavour, dsn, governor):
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        xid = conn.xid(1, "theirs", "b")
        await do(conn.tpc_begin(xid))
        await do(conn.execute("INSERT INTO things VALUES (9000, 'prepared')"))
        await do(conn.tpc_prepare())
    try:
        async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
            with pytest.raises(governed_db.GovernanceError):
                await do(conn.tpc_commit(xid))
    finally:
        with psycopg.connect(dsn, autocommit=True) as plain:
            for (gid,) in plain.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
                plain.execute(psycopg.sql.SQL("ROLLBACK PREPARED {}").format(gid))
    assert truth(dsn, "SELECT count(*) FROM things WHERE id = 9000") == 0


# -- LEAK: results


@pytest.mark.parametrize("method", ["execute", "stream"])
async def test_a_row_factory_never_sees_the_raw_result(flavour, dsn, governor, method):
    seen: list[Any] = []

    def factory(cursor: Any) -> Any:
        try:
            seen.append(bytes(cursor.pgresult.get_value(0, 1)))
        except governed_db.GovernanceError:
            seen.append("refused")
        return tuple

    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        cursor = conn.cursor(row_factory=factory)
        if method == "execute":
            await do(cursor.execute(READ))
        else:
            async for _ in each(cursor.stream(READ)):
                pass
    assert seen
    assert hidden(seen)


def test_a_row_factory_that_fetches_gets_masked_rows(conn):
    seen: list[Any] = []
    ready = False

    def factory(cursor: Any) -> Any:
        if ready:
            seen.append(cursor.fetchall())
        return tuple

    cursor = conn.cursor(row_factory=factory)
    cursor.execute("SELECT 1")
    ready = True
    cursor.execute(READ)
    assert seen
    assert hidden(seen)


def test_what_a_loader_of_the_application_makes_is_masked_too(conn):
    class Shouting(psycopg.adapt.Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode().upper()

    conn.adapters.register_loader("text", Shouting)
    rows = conn.execute(READ).fetchall()
    assert hidden(rows)
    assert "SECRET" not in str(rows)


def test_masks_outlive_a_loader_registered_after_execution(conn):
    loader = psycopg.types.string.TextLoader
    cursor = conn.execute(READ)
    cursor.adapters.register_loader("text", loader)
    assert hidden(cursor.fetchall())
    with conn.cursor("late") as named:
        named.execute(READ)
        named.adapters.register_loader("text", loader)
        assert hidden(named.fetchall())


# -- LEAK: server-side cursors


@pytest.mark.parametrize("how", ["text", "cursor", "commit"])
async def test_a_named_cursor_opened_anew_is_not_read_with_the_old_plan(flavour, dsn, governor, how):
    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        old = conn.cursor("c")
        await do(old.execute("SELECT id, city FROM customers ORDER BY id"))
        await do(conn.commit() if how == "commit" else conn.execute("CLOSE c"))
        new = conn.cursor("c")
        if how == "text":
            await do(conn.execute("DECLARE c CURSOR FOR SELECT id, email FROM customers ORDER BY id"))
        else:
            await do(new.execute("SELECT id, email FROM customers ORDER BY id"))
        rows: Any = ()
        with contextlib.suppress(psycopg.Error):
            rows = await do(old.fetchmany(2))
        assert hidden(rows)
        await do(conn.rollback())
        await do(old.close())
        await do(new.close())


@pytest.mark.parametrize("how", ["text", "steal"])
def test_a_declare_that_failed_does_not_replace_the_plan_of_the_cursor(conn, how):
    conn.execute("DECLARE c CURSOR FOR SELECT email FROM customers WHERE id = 1 UNION ALL SELECT 'z'")
    with pytest.raises(psycopg.errors.DuplicateCursor), conn.transaction():
        conn.execute("DECLARE c CURSOR FOR SELECT 'a'::text")
    rows: Any = ()
    try:
        if how == "text":
            rows = conn.execute("FETCH ALL FROM c").fetchall()
        else:
            with conn.cursor("c") as named:
                rows = named.fetchall()
    except psycopg.Error:
        pass
    assert hidden(rows)


@pytest.mark.parametrize("how", ["fetchone", "fetchmany", "fetchall", "next"])
async def test_an_agent_does_not_fetch_from_a_named_cursor_that_a_service_opened(flavour, dsn, governor, how):
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        named = conn.cursor("c")
        await do(named.execute("SELECT id, email FROM customers ORDER BY id"))
        rows: Any = ()
        with acting_as(AGENT):
            try:
                if how == "next":
                    rows = [row async for row in each(named)]
                else:
                    rows = await do(getattr(named, how)())
            except governed_db.GovernanceError:
                pass
        assert hidden(rows)
        await do(named.close())


# -- LEAK: who is asked for, and when


async def test_an_agent_does_not_fetch_what_a_service_executed(flavour, dsn, governor):
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        cursor = await do(conn.execute(READ))
        rows: Any = ()
        with acting_as(AGENT), contextlib.suppress(governed_db.GovernanceError):
            rows = await do(cursor.fetchall())
        assert hidden(rows)


@pytest.mark.parametrize("method", ["stream", "copy"])
async def test_a_stream_or_copy_belongs_to_whoever_asked_for_it(flavour, dsn, governor, method):
    rows: list[Any] = []
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        with acting_as(AGENT):
            cursor = conn.cursor()
            asked = cursor.stream(READ) if method == "stream" else cursor.copy("COPY customers TO STDOUT")
        try:
            if method == "stream":
                rows += [row async for row in each(asked)]
            else:
                async with within(asked) as copy:
                    rows += [bytes(block) async for block in each(copy)]
        except governed_db.GovernanceError:
            pass
    assert hidden(rows)


# -- LEAK: definitions that change


@pytest.mark.parametrize("more", ["[catalog]\nmax_age = 0.1\n"])
def test_a_view_replaced_elsewhere_is_noticed_inside_a_long_transaction(dsn, conn, governor):
    query = "SELECT label FROM places WHERE id = 1"
    conn.execute(query).fetchall()
    conn.commit()
    conn.execute("SELECT 1")  # a transaction that holds no lock on the view
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("CREATE OR REPLACE VIEW places AS SELECT id, email AS label FROM customers")
    time.sleep(governor.max_age + 0.1)
    assert hidden(conn.execute(query).fetchall())


# -- LEAK: what the server says on the side


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("where", ["id = 1", "id < 2"])
async def test_errors_of_writes_do_not_quote_masked_columns(flavour, dsn, governor, autocommit, where):
    async with flavour.connect(dsn, governor=governor, identity=AGENT, autocommit=autocommit) as conn:
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            await do(conn.execute(f"UPDATE customers SET n = -1 WHERE {where}"))
        error = caught.value
        assert hidden(error, error.diag.message_detail, error.__context__, error.__cause__)


def test_the_connections_last_error_does_not_quote_masked_columns(conn):
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("UPDATE customers SET n = -1 WHERE id = 1")
    assert hidden(conn.info.error_message)
    assert hidden(conn.pgconn.error_message)
    assert hidden(conn.pgconn.get_error_message())


def _trigger(dsn: str, trigger: str, level: str, when: str = "") -> None:
    with psycopg.connect(dsn, autocommit=True) as plain:
        plain.execute(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
            " $$DECLARE mail text; BEGIN EXECUTE 'SELECT max(email) FROM custom' || 'ers' INTO mail;"
            f" RAISE {level} 'row %', mail; RETURN NEW; END$$;"
            f"CREATE {trigger} UPDATE ON customers {when} FOR EACH ROW EXECUTE FUNCTION tell()"
        )


@pytest.mark.parametrize("where", ["id = 1", "id < 2"])
@pytest.mark.parametrize("how", ["execute", "executemany", "pipeline"])
def test_notices_do_not_quote_masked_columns(dsn, trusting, where, how):
    _trigger(dsn, "TRIGGER t BEFORE", "NOTICE")
    heard: list[Any] = []
    query = f"UPDATE customers SET n = 1 WHERE {where}"
    with governed_db.connect(dsn, governor=trusting, identity=AGENT, autocommit=True) as conn:
        conn.add_notice_handler(lambda diagnostic: heard.append(diagnostic.message_primary))
        if how == "execute":
            conn.execute(query)
        elif how == "executemany":
            conn.cursor().executemany(query.replace("1 WHERE", "%s WHERE"), [(1,), (2,)])
        else:
            with conn.pipeline():
                conn.execute(query)
    assert hidden(heard)


@pytest.mark.parametrize("where", ["id = 1", "id < 2"])
@pytest.mark.parametrize("how", ["commit", "autocommit", "transaction", "tpc", "pipeline"])
def test_deferred_errors_do_not_quote_masked_columns(dsn, trusting, where, how):
    _trigger(dsn, "CONSTRAINT TRIGGER t AFTER", "EXCEPTION", "DEFERRABLE INITIALLY DEFERRED")
    query = f"UPDATE customers SET n = 1 WHERE {where}"

    conn = governed_db.connect(dsn, governor=trusting, identity=AGENT, autocommit=how == "autocommit")

    def run() -> None:
        if how == "transaction":
            with conn.transaction():
                conn.execute(query)
        elif how == "tpc":
            conn.tpc_begin(conn.xid(1, "deferred", "b"))
            conn.execute(query)
            conn.tpc_prepare()
        elif how == "pipeline":
            with conn.pipeline():
                conn.execute(query)
            conn.commit()
        else:
            conn.execute(query)
            conn.commit()

    try:
        said = raised(run)
    finally:
        conn.close()
    assert said
    assert hidden(said)


def test_an_error_at_an_agents_commit_does_not_quote_what_a_service_wrote(dsn, shared):
    _trigger(dsn, "CONSTRAINT TRIGGER t AFTER", "EXCEPTION", "DEFERRABLE INITIALLY DEFERRED")
    shared.execute("UPDATE customers SET n = 1 WHERE id = 1")
    with acting_as(AGENT):
        said = raised(shared.commit)
    assert said
    assert hidden(said)


# -- CRASH


@pytest.mark.parametrize("name", ["Cursor", "ClientCursor", "RawCursor", "ServerCursor", "RawServerCursor"])
@pytest.mark.parametrize("subclass", [False, True])
async def test_psycopgs_own_cursor_classes_work_around_a_governed_connection(
    flavour, dsn, governor, name, subclass
):
    prefix = "Async" if flavour.name == "async" else ""
    cls = getattr(psycopg, prefix + name)
    if subclass:
        cls = type("Mine", (cls,), {})
    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        cursor = cls(conn, "c") if "Server" in name else cls(conn)
        await do(cursor.execute(READ))
        assert hidden(await do(cursor.fetchall()))
        await do(cursor.close())


@pytest.mark.parametrize("more", ["[catalog]\nmax_age = 0.1\n"])
async def test_a_cancelled_look_up_leaves_the_connection_open(dsn, governor):
    flavour = Flavour("async")
    async with flavour.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        await asyncio.sleep(governor.max_age + 0.1)
        with psycopg.connect(dsn) as other:
            other.execute("LOCK TABLE pg_catalog.pg_rewrite IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(conn.execute("SELECT 1"), 0.5)
            other.rollback()
        assert not conn.closed
        assert await (await conn.execute("SELECT 1")).fetchone() == (1,)


@pytest.mark.parametrize("identity", [AGENT, SHOP, BOSS], ids=str)
@pytest.mark.parametrize("query", [
    "INSERT INTO things VALUES (%s, 'many')",
    "UPDATE things SET label = 'many' WHERE id = %s",
    "UPDATE things SET label = 'many' WHERE id BETWEEN 1 AND %s - 9000",
])  # fmt: skip
@pytest.mark.parametrize("piped", [False, True])
async def test_executemany_opens_the_transaction_that_a_rollback_undoes(
    flavour, dsn, governor, identity, query, piped
):
    async with flavour.connect(dsn, governor=governor, identity=identity) as conn:
        sets = [(1,), (2,)] if "id = %s" in query else [(9001,), (9002,)]
        if piped:
            async with within(conn.pipeline()):
                await do(conn.cursor().executemany(query, sets))
        else:
            await do(conn.cursor().executemany(query, sets))
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        await do(conn.rollback())
    assert truth(dsn, "SELECT count(*) FROM things WHERE label = 'many'") == 0


@pytest.mark.parametrize("autocommit", [True, False])
async def test_refusals_leave_a_pipeline_usable(flavour, dsn, governor, autocommit):
    async with flavour.connect(dsn, governor=governor, identity=AGENT, autocommit=autocommit) as conn:
        async with within(conn.pipeline()):
            first = await do(conn.execute("SELECT 1"))
            for refused in ("DROP TABLE things", "UPDATE things SET label = 'q' WHERE id > 0"):
                with pytest.raises(governed_db.GovernanceError):
                    await do(conn.execute(refused))
            async with within(conn.pipeline()):
                changed = await do(conn.execute("UPDATE things SET label = 'q' WHERE id < 4"))
                assert changed.rowcount == 3
            assert await do(first.fetchone()) == (1,)
        await do(conn.commit())
    assert truth(dsn, "SELECT count(*) FROM things WHERE label = 'q'") == 3


# -- LOSE


async def test_a_copy_through_psycopgs_own_cursor_has_an_outcome(flavour, dsn, governor, tmp_path):
    async with flavour.connect(dsn, governor=governor, identity=AGENT) as conn:
        cursor = getattr(psycopg, flavour.Cursor.__name__)(conn)
        async with within(cursor.copy("COPY things TO STDOUT")) as copy:
            assert len([block async for block in each(copy)]) == 500
        await do(conn.commit())
    governor.close()
    (entry,) = (
        e
        for e in reader.statements(tmp_path / "journal")
        if e.get("what", {}).get("text", "").startswith("COPY")
    )
    assert entry["happened"]["status"] == "ok"


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_statements_of_a_pipeline_that_broke_have_an_outcome(dsn, governor, tmp_path, end):
    conn = governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True)
    with pytest.raises(psycopg.OperationalError), conn.pipeline():  # noqa: PT012 - whichever is first to notice
        conn.execute("SELECT 1")
        if end == "close":
            conn.close()
        else:
            with psycopg.connect(dsn, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
        conn.execute("SELECT 2")
        conn.execute("SELECT 3")
    conn.close()
    # Read before the writer is gone: afterwards a missing outcome reads "unknown" as well.
    statuses = [
        e["happened"]["status"]
        for e in reader.statements(tmp_path / "journal")
        if e["who"]["subject"] == "bot"
    ]
    assert statuses
    assert "running" not in statuses


def test_the_first_statement_of_a_transaction_is_recorded_within_it(conn, governor, tmp_path):
    conn.execute("SELECT 1")
    conn.execute("SELECT 2")
    conn.commit()
    governor.close()
    found = [
        e for e in reader.read(tmp_path / "journal") if e["kind"] == "intent" and e["who"]["subject"] == "bot"
    ]
    texts = [e["what"]["text"].partition(";")[0] for e in found]
    assert texts == ["BEGIN", "SELECT $1", "SELECT $1", "COMMIT"]
    transactions = [e.get("where", {}).get("transaction") or e.get("transaction") for e in found[1:]]
    assert transactions[0]
    assert len(set(transactions)) == 1


# -- FOOL


class _Flips(str):
    """Text that is one statement when it is judged, and another when it is sent."""

    reads = 0

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        self.reads += 1
        return b"UPDATE things SET label = 'z' WHERE id " + (b"=" if self.reads == 1 else b">") + b" %s"


class _Swaps(list[int]):
    """Parameters that are one value when they are counted, and another when they are sent."""

    reads = 0

    def __iter__(self) -> Iterator[int]:
        self.reads += 1
        return iter([1] if self.reads == 1 else [10**12])


@pytest.mark.parametrize(("query", "sets"), [
    (_Flips("x %s"), [(1,), (1,)]),
    ("UPDATE things SET label = 'z' WHERE id <= %s", [_Swaps([1])]),
    ("UPDATE things SET label = 'z' WHERE id <= %s", [(60,), (60,)]),
    ("UPDATE things SET label = 'z' WHERE id <= %s", ((n,) for n in (60, 60))),
    (
        "INSERT INTO things VALUES (%s, 'z') ON CONFLICT (id) DO UPDATE SET label = 'z'",
        [(n,) for n in range(200)],
    ),
    ("INSERT INTO things SELECT 1000 * %s + g, 'z' FROM generate_series(1, 60) g", [(1,), (2,)]),
], ids=["text", "params", "sum", "generator", "upsert", "insert-select"])  # fmt: skip
def test_executemany_does_not_outgrow_the_row_cap(dsn, governor, query, sets):
    with (
        governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn,
        contextlib.suppress(governed_db.GovernanceError),
    ):
        conn.cursor().executemany(query, sets)
    assert truth(dsn, "SELECT count(*) FROM things WHERE label = 'z'") <= 100


def _approve(governor: Governor, call: Any) -> None:
    with pytest.raises(governed_db.ApprovalRequired) as caught:
        call()
    governor.approvals.approve(caught.value.request.id, key=CHIEF.key)


def test_an_approval_of_one_execution_is_not_one_of_ten(dsn, governor):
    query = "UPDATE things SET grp = grp + 1"
    with governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        _approve(governor, lambda: conn.execute(query))
        with pytest.raises(governed_db.ApprovalRequired):
            conn.cursor().executemany(query, [()] * 10)
    assert truth(dsn, "SELECT max(grp) FROM things") == 1


def test_an_approval_holds_for_the_values_that_are_sent(dsn, governor):
    class Two:
        dumped = 0

    class Dumper(psycopg.adapt.Dumper):
        oid = psycopg.adapters.types["int4"].oid

        def dump(self, obj: Two) -> bytes:
            obj.dumped += 1
            return b"2" if obj.dumped % 2 else b"3"

    query = "UPDATE things SET grp = %s"
    with governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        conn.adapters.register_dumper(Two, Dumper)
        _approve(governor, lambda: conn.cursor().executemany(query, [(Two(),)]))
        with contextlib.suppress(governed_db.GovernanceError):
            conn.cursor().executemany(query, [(Two(),)])
    assert truth(dsn, "SELECT max(grp) FROM things") in (1, 2)


def test_a_batch_of_mixed_types_can_be_approved(dsn, governor):
    query, sets = "UPDATE things SET grp = %s WHERE id < %s", [(5, 400), (70_000, 500)]
    with governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        for _ in range(3):
            try:
                conn.cursor().executemany(query, sets)
                break
            except governed_db.ApprovalRequired as error:
                governor.approvals.approve(error.request.id, key=CHIEF.key)
        else:
            pytest.fail("asking again never ends: each try uses up the approval of the one before")
    assert truth(dsn, "SELECT max(grp) FROM things") == 70_000


def test_an_approval_holds_once_for_one_caller_and_one_call(governor, dsn):
    query = "UPDATE things SET grp = %s"
    with governed_db.connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(governed_db.ApprovalRequired) as caught:
            conn.execute(query, (5,))
        for key, unfit in (
            (CHIEF.key, AGENT),
            (CHIEF.key, Identity.human("other")),
            (CHIEF.key, Identity.service("boss")),
            (HIMSELF.key, None),
            (Person("boss").key, None),
        ):
            with pytest.raises(governed_db.GovernanceError):
                governor.approvals.approve(caught.value.request.id, key=key, by=unfit)
        governor.approvals.approve(caught.value.request.id, key=CHIEF.key)
        others = (
            lambda: conn.execute(query, (6,)),
            lambda: conn.execute(query, (500_000,)),
            lambda: conn.execute(query + " ", (5,)),
            lambda: conn.cursor().executemany(query, [(5,), (5,)]),
        )
        for other in others:
            with pytest.raises(governed_db.ApprovalRequired):
                other()
        with acting_as(Identity.agent("bot-2")), pytest.raises(governed_db.ApprovalRequired):
            conn.execute(query, (5,))
        assert conn.execute(query, (5,)).rowcount == 500
        with pytest.raises(governed_db.ApprovalRequired):
            conn.execute(query, (5,))

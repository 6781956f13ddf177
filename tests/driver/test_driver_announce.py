"""What the server is told of the caller: whose statement runs, on every way, and never by the text's word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from governed_db import Governor, Identity, acting_as
from governed_db.audit import reader
from governed_db.driver import announce, announcement
from governed_db.errors import ApprovalRequired, GovernanceError
from tests.flavours import Flavour, do, each, within

SHOP = Identity.service("shop")
ANNA = Identity.agent("copilot", on_behalf_of=Identity.human("anna"), session="s-1", groups=("b", "a"))
BEN = Identity.agent("copilot", on_behalf_of="ben", tool_call="c-1")

WHO = "SELECT current_setting('governed_db.kind', true), current_setting('governed_db.subject', true)," \
    " current_setting('governed_db.on_behalf_of', true)"  # fmt: skip
ALL = "SELECT " + ", ".join(f"current_setting('governed_db.{name}', true)" for name in announcement.SETTINGS)

_SCHEMA = """
    DROP SCHEMA public CASCADE; CREATE SCHEMA public;
    CREATE TABLE notes (id int PRIMARY KEY, owner text, label text);
    INSERT INTO notes SELECT n, 'anna', 'l' FROM generate_series(1, 40) n;
    CREATE TABLE log (id serial, who text);
    CREATE FUNCTION noted() RETURNS text LANGUAGE sql AS
        $$SELECT current_setting('governed_db.on_behalf_of')$$;
    CREATE FUNCTION noting() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN INSERT INTO public.log (who) VALUES (public.noted()); RETURN NEW; END$$;
    CREATE FUNCTION opened(c refcursor) RETURNS refcursor LANGUAGE plpgsql AS
        $$BEGIN OPEN c FOR SELECT public.noted() FROM public.notes; RETURN c; END$$;
    CREATE TRIGGER noted BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION noting();
"""


@pytest.fixture(scope="module", autouse=True)
def schema(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(_SCHEMA)


@pytest.fixture
def governed(tmp_path: Path) -> Iterator[Callable[[str], Governor]]:
    """Make a governor; statements are counted, so that a slow machine must not add a look at the catalog."""
    made = []

    def make(more: str = "", preset: str = "standard") -> Governor:
        path = tmp_path / f"policy{len(made)}.toml"
        path.write_text(f'extends = "{preset}"\nservices = ["shop"]\n[catalog]\nmax_age = 3600.0\n{more}')
        path.chmod(0o600)
        made.append(Governor.load(path, state_dir=tmp_path))
        return made[-1]

    yield make
    for governor in made:
        governor.close()


@pytest.fixture
def governor(governed: Callable[[str], Governor]) -> Governor:
    return governed("")


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


@pytest.fixture(params=[True, False], ids=["autocommit", "transactions"])
def autocommit(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def row(conn: Any, text: str = WHO, params: Any = None) -> Any:
    return await do((await do(conn.execute(text, params))).fetchone())


@contextmanager
def refused(rule: str) -> Iterator[None]:
    with pytest.raises(GovernanceError) as error:
        yield
    assert error.value.rule == rule


# -- what is said


async def test_everything_is_said_of_every_caller(dsn, governor, flavour, autocommit):
    tool = Identity.agent("search", on_behalf_of=ANNA)
    options = {"options": "-c governed_db.subject=admin -c governed_db.groups=dba"}
    async with flavour.connect(dsn, governor=governor, autocommit=autocommit, **options) as conn:
        assert await row(conn, ALL) == ("unknown", "", "", "false", "", "[]", "[]", "")
        with acting_as(ANNA):
            said = await row(conn, ALL)
        assert said == ("agent", "copilot", "", "false", "anna", '["human:anna"]', '["a", "b"]', "s-1")
        with acting_as(tool):
            said = await row(conn, ALL)
        assert said[4:6] == ("copilot", '["agent:copilot", "human:anna"]')
        assert await row(conn, ALL) == ("unknown", "", "", "false", "", "[]", "[]", "")


async def test_in_a_transaction_it_is_in_begins_own_message(server, dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=ANNA) as conn:
        before = len(server.statements())
        await row(conn)
        await row(conn)
        await do(conn.commit())
        async with within(conn.transaction()):
            await row(conn)
        sent = server.statements()[before:]
    assert len(sent) == 7
    for begin in (sent[0], sent[4]):
        assert begin.startswith("BEGIN; ")
        assert "; SET LOCAL governed_db.kind = 'agent'; SET LOCAL governed_db.subject = 'copilot'; " in begin
    with psycopg.connect(dsn) as other:
        assert other.execute(WHO).fetchone() == (None, None, None)


async def test_in_autocommit_it_is_said_when_the_caller_changes(server, dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True) as conn:
        before = len(server.statements())
        for _ in range(3):
            assert (await row(conn))[1] == "shop"
        assert len(server.statements()[before:]) == 4
        for call in range(3):
            with acting_as(Identity.agent("copilot", on_behalf_of="ben", tool_call=f"c-{call}")):
                assert (await row(conn))[2] == "ben"
        assert len(server.statements()[before:]) == 8
        await do(conn.execute(""))
        assert len(server.statements()[before:]) == 9


async def test_a_setting_that_the_policy_leaves_out_is_not_said(server, dsn, governed, flavour):
    async def names(governor: Governor) -> tuple[Any, ...]:
        async with flavour.connect(dsn, governor=governor, identity=ANNA, application_name="app") as conn:
            return await row(conn, "SELECT current_setting('governed_db.subject', true),"
                " current_setting('application_name')")  # fmt: skip

    assert await names(governed("", "observe")) == (None, "app")
    assert await names(governed("[callers]\nannounce = []\n")) == (None, "app")
    assert await names(governed('[callers]\nannounce = ["settings"]\n')) == ("copilot", "app")
    assert await names(governed('[callers]\nannounce = ["application_name"]\n')) == (
        None, "app: agent:copilot for anna"
    )  # fmt: skip


async def test_a_policy_that_stops_announcing_leaves_nothing_behind(dsn, tmp_path, flavour):
    path = tmp_path / "governed-db.toml"
    path.write_text('extends = "standard"\n')
    path.chmod(0o600)
    governor = Governor.load(path, state_dir=tmp_path)
    async with flavour.connect(dsn, governor=governor, autocommit=True, application_name="app") as conn:
        with acting_as(ANNA):
            assert (await row(conn))[1] == "copilot"
        path.write_text('extends = "standard"\n[callers]\nannounce = []\n')
        governor.reload()
        with acting_as(BEN):
            assert await row(conn, WHO + ", current_setting('application_name')") == ("", "", "", "app")
    governor.close()


# -- the application's own name


@pytest.mark.parametrize(
    ("caller", "base", "name"),
    [
        (ANNA, "", "agent:copilot for anna"),
        (ANNA, "shop", "shop: agent:copilot for anna"),
        (Identity(kind="unknown"), "shop", "shop: unknown"),
        (Identity.human("bärbel"), "", "human:b\\xc3\\xa4rbel"),
        (Identity.human("ä" * 20), "", "human:" + "\\xc3\\xa4" * 7),
        (ANNA, "b" * 80, "b" * 39 + ": agent:copilot for anna"),
        (Identity.agent("a" * 80), "base", "agent:" + "a" * 57),
        (Identity.agent("tool", on_behalf_of=ANNA), "", "agent:tool for copilot for anna"),
    ],
)
def test_the_application_name_is_63_printable_characters(caller, base, name):
    assert announcement.shown(caller, base) == name
    assert len(name) <= announcement.MAX_NAME


async def test_a_service_can_still_name_itself(dsn, governor, flavour, autocommit):
    name = "SELECT current_setting('application_name')"
    async with flavour.connect(
        dsn, governor=governor, identity=SHOP, autocommit=autocommit, application_name="web"
    ) as conn:
        assert await row(conn, name) == ("web: service:shop",)
        await do(conn.execute("SET application_name = 'worker'"))
        assert await row(conn, name) == ("worker: service:shop",)
        with acting_as(ANNA):
            assert await row(conn, name) == ("worker: agent:copilot for anna",)
        await do(conn.execute("RESET ALL"))
        assert await row(conn, name) == ("web: service:shop",)


# -- always whose statement runs


async def test_the_next_caller_in_a_transaction_is_said(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor) as conn:
        with acting_as(ANNA):
            assert (await row(conn))[2] == "anna"
            await do(conn.execute("SAVEPOINT one"))
        with acting_as(BEN):
            assert (await row(conn))[2] == "ben"
            await do(conn.execute("ROLLBACK TO one"))
            assert (await row(conn))[2] == "ben"
        with acting_as(ANNA):
            async with within(conn.transaction()):
                assert (await row(conn))[2] == "anna"
                with acting_as(BEN):
                    assert (await row(conn))[2] == "ben"
                raise psycopg.Rollback
            assert (await row(conn))[2] == "anna"
        await do(conn.rollback())
        assert await row(conn) == ("unknown", "", "")


async def test_switching_autocommit_loses_nobody(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
        for switched in (False, True, False, True):
            for caller in (ANNA, BEN):
                with acting_as(caller):
                    assert (await row(conn))[2] == caller.on_behalf_of.subject
            await do(conn.rollback())
            assert await row(conn) == ("unknown", "", "")
            await do(conn.rollback())
            await do(conn.set_autocommit(switched))


async def test_the_end_of_a_transaction_as_text_is_followed(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True) as conn:
        for end in ("COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"):
            with acting_as(SHOP):
                await do(conn.execute("BEGIN"))
                assert (await row(conn))[1] == "shop"
            with acting_as(BEN):
                assert (await row(conn))[2] == "ben"
            await do(conn.execute(end))
            assert await row(conn) == ("service", "shop", "")
            await do(conn.rollback())
        await do(conn.set_autocommit(False))
        with acting_as(BEN):
            assert (await row(conn))[2] == "ben"
        await do(conn.execute("COMMIT"))
        await do(conn.set_autocommit(True))
        with acting_as(ANNA):
            assert (await row(conn))[2] == "anna"


async def test_what_resets_the_session_is_followed(dsn, governor, flavour):
    options = {"options": "-c governed_db.on_behalf_of=admin"}
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True, **options) as conn:
        for text in ("RESET ALL", "DISCARD ALL"):
            await do(conn.execute(text))
            assert await row(conn) == ("service", "shop", "")
        await do(conn.execute("BEGIN"))
        await do(conn.execute("RESET ALL"))
        assert await row(conn) == ("service", "shop", "")
        await do(conn.execute("ROLLBACK"))
        assert await row(conn) == ("service", "shop", "")


async def test_a_body_that_nobody_read_is_followed(dsn, governed, flavour, autocommit):
    governor = governed("""
        [[rule]]
        id = "blocks"
        when = { effects = ["do", "function"], identity = { named_service = true } }
        then = "allow"
        because = "the test says so"

        [[rule]]
        id = "unread"
        when = { complete = false, identity = { named_service = true } }
        then = "allow"
        because = "the test says so"
    """)
    # The text that runs is put together by what no reader follows.
    turn = """DO $$ DECLARE r record; BEGIN
        FOR r IN SELECT lower('GOVERNED_DB.') || 'subject' AS n LOOP
            EXECUTE format('SELECT ' || 'set_' || 'config(%L, ''admin'', false)', r.n);
        END LOOP; END $$"""
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=autocommit) as conn:
        await row(conn)
        await do(conn.execute(turn))
        assert await row(conn) == ("service", "shop", "")
        await do(conn.commit())
        assert await row(conn) == ("service", "shop", "")


async def test_every_way_of_a_cursor_carries_it(dsn, governor, flavour, autocommit):
    seen = "SELECT current_setting('governed_db.on_behalf_of')"
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=autocommit) as conn:
        await row(conn)
        for caller in (ANNA, BEN):
            me = (caller.on_behalf_of.subject,)
            with acting_as(caller):
                cur = conn.cursor()
                await do(cur.executemany(seen + " WHERE %s::int > 0", [(1,), (2,)], returning=True))
                assert await do(cur.fetchall()) == [me]
                assert [r async for r in each(cur.stream(seen))] == [me]
                await row(conn, seen)  # or libpq hands out the pipeline's first result row by row as well
                async with within(conn.pipeline()) as pipe:
                    one = await do(conn.execute(seen))
                    two = await do(conn.execute(seen + " WHERE %s::int = 1", (1,)))
                    await do(pipe.sync())
                    assert (await do(one.fetchone()), await do(two.fetchone())) == (me, me)
                async with within(conn.pipeline()), within(conn.transaction()):
                    assert await row(conn, seen) == me
                async with within(conn.transaction()), within(conn.cursor("named")) as named:
                    await do(named.execute(seen))
                    assert await do(named.fetchone()) == me
                for factory in (flavour.ClientCursor, flavour.RawCursor):
                    assert await do((await do(factory(conn).execute(seen))).fetchone()) == me
                plain = getattr(psycopg, flavour.Cursor.__name__)(conn)
                assert await do((await do(plain.execute(seen))).fetchone()) == me
                for _ in range(7):
                    assert await do((await do(conn.execute(seen, prepare=True))).fetchone()) == me
            # COPY is not for callers that are masked by their text alone: the service runs it for them.
            serving = Identity.service("shop", on_behalf_of=me[0])
            with acting_as(serving):
                async with within(conn.cursor().copy(f"COPY ({seen}) TO STDOUT")) as copy:
                    assert b"".join([bytes(part) async for part in each(copy)]) == me[0].encode() + b"\n"


async def test_two_callers_share_a_pipeline(dsn, governor, flavour, autocommit):
    async with flavour.connect(dsn, governor=governor, autocommit=autocommit) as conn:
        asked = []
        async with within(conn.pipeline()):
            for caller in (ANNA, BEN, BEN, ANNA):
                with acting_as(caller):
                    asked.append((caller, await do(conn.execute(WHO))))
                if caller is BEN:
                    await do(conn.commit())
            for caller, cur in asked:
                with acting_as(caller):
                    assert (await do(cur.fetchone()))[2] == caller.on_behalf_of.subject


async def test_a_look_at_values_is_the_callers(server, dsn, governed, flavour, autocommit):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS odd; CREATE TABLE odd (id int PRIMARY KEY, q7 text)")
        conn.execute("INSERT INTO odd SELECT n, 'v' || n FROM generate_series(1, 300) n")
    before = len(server.statements())
    async with flavour.connect(dsn, governor=governed(""), identity=BEN, autocommit=autocommit) as conn:
        with acting_as(ANNA):
            await do(conn.execute("SELECT q7 FROM odd"))
    looks = [text for text in server.statements()[before:] if "set_config('transaction_read_only'" in text]
    assert looks
    assert all("governed_db.on_behalf_of = 'anna'" in text for text in looks)


async def test_people_are_told_of_the_rows_that_the_caller_may_see(
    server, dsn, governor, flavour, autocommit
):
    async with flavour.connect(dsn, governor=governor, identity=BEN, autocommit=autocommit) as conn:
        before = len(server.statements())
        with acting_as(ANNA), pytest.raises(ApprovalRequired):
            await do(conn.execute("DELETE FROM notes WHERE id > 0 OR id IS NULL"))
        sent = server.statements()[before:]
        counted = next(n for n, text in enumerate(sent) if text.startswith("SELECT") and "notes" in text)
        assert any("governed_db.on_behalf_of = 'anna'" in text for text in sent[:counted])


async def test_what_has_to_come_first_in_a_transaction_still_does(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        await do(conn.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        assert await row(conn, "SHOW transaction_isolation") == ("serializable",)
        assert (await row(conn))[1] == "shop"


async def test_two_phase_commit_carries_it(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor) as conn:
        with acting_as(ANNA):
            await do(conn.tpc_begin(conn.xid(1, "announced", flavour.name)))
            assert (await row(conn))[2] == "anna"
            await do(conn.tpc_prepare())
            await do(conn.tpc_rollback())
        with acting_as(BEN):
            assert (await row(conn))[2] == "ben"


async def test_guarded_writes_and_batches_carry_it(dsn, governor, flavour, autocommit):
    async with flavour.connect(dsn, governor=governor, autocommit=autocommit) as conn:
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("TRUNCATE log")
        for number, caller in enumerate((ANNA, BEN, ANNA)):
            with acting_as(caller):
                await do(conn.execute("UPDATE notes SET label = 'x' WHERE id < 3"))
                cur = conn.cursor()
                sets = [(100 + 10 * number + n, "o", "l") for n in range(2)]
                await do(cur.executemany("INSERT INTO notes VALUES (%s, %s, %s)", sets))
        await do(conn.commit())
    with psycopg.connect(dsn) as other:
        seen = [who for (who,) in other.execute("SELECT who FROM log ORDER BY id")]
        other.execute("DELETE FROM notes WHERE id >= 100")
    assert seen == ["anna"] * 4 + ["ben"] * 4 + ["anna"] * 4


async def test_a_write_over_its_cap_leaves_the_caller_as_it_was(dsn, governor, flavour, autocommit):
    async with flavour.connect(dsn, governor=governor, autocommit=autocommit) as conn:
        with acting_as(ANNA):
            await row(conn)
        with acting_as(BEN):
            with pytest.raises(ApprovalRequired):
                await do(conn.execute("UPDATE notes SET label = 'y' WHERE id > 0"))
            assert (await row(conn))[2] == "ben"
        with acting_as(ANNA):
            assert (await row(conn))[2] == "anna"


async def test_a_cancelled_or_failed_statement_leaves_nobody_behind(dsn, governor, flavour, autocommit):
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=autocommit) as conn:
        with acting_as(ANNA), pytest.raises(psycopg.errors.DivisionByZero):
            await row(conn, "SELECT 1 / 0")
        with acting_as(BEN):
            await do(conn.rollback())
            assert (await row(conn))[2] == "ben"

        async def break_a_pipeline() -> None:
            async with within(conn.pipeline()):
                with acting_as(ANNA):
                    await do(conn.execute("SELECT 1 / 0"))
                    async with within(conn.transaction()):
                        await do(conn.execute("SELECT 1"))

        with pytest.raises(psycopg.errors.Error):
            await break_a_pipeline()
        await do(conn.rollback())
        with acting_as(ANNA):
            assert (await row(conn))[2] == "anna"
        await do(conn.rollback())
        async with within(conn.pipeline()):
            with acting_as(ANNA), pytest.raises(psycopg.errors.Error):
                await do((await do(conn.execute("SELECT 1 / 0"))).fetchone())
            await do(conn.rollback())
            with acting_as(BEN):
                assert (await row(conn))[2] == "ben"


async def test_what_the_server_does_not_take_is_not_run(governor, flavour, autocommit, dsn, monkeypatch):
    # plpgsql reserves its prefix; so may any extension reserve ours.
    options = {"options": "-c session_preload_libraries=plpgsql"}
    said = announcement.announcement
    reserved = announcement.Announcement((("governed_db.kind", "agent"), ("plpgsql.nobody", "x")))
    monkeypatch.setattr(
        announce, "announcement", lambda who, *more: reserved if who is BEN else said(who, *more)
    )
    async with flavour.connect(
        dsn, governor=governor, identity=ANNA, autocommit=autocommit, **options
    ) as conn:
        await row(conn)
        await do(conn.rollback())
        with acting_as(BEN), refused("callers.unannounced"):
            await do(conn.execute("INSERT INTO notes VALUES (999, 'x', 'x')"))
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert (await row(conn))[2] == "anna"
        assert (await row(conn, "SELECT count(*) FROM notes WHERE id = 999")) == (0,)


# -- poolers that lend sessions for one transaction


async def test_behind_a_pooler_every_statement_has_a_transaction_of_its_own(server, dsn, governed, flavour):
    governor = governed('[callers]\nannounce_in = "transaction"\n')
    async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
        with acting_as(ANNA):
            before = len(server.statements())
            assert (await row(conn))[2] == "anna"
            assert len(server.statements()[before:]) == 3
            cur = conn.cursor()
            await do(cur.executemany(WHO + " WHERE %s::int > 0", [(1,), (2,)], returning=True))
            assert (await do(cur.fetchone()))[2] == "anna"
            async with within(conn.transaction()):
                assert (await row(conn))[2] == "anna"
            async with within(conn.pipeline()):
                assert (await row(conn))[2] == "anna"
            with pytest.raises(psycopg.errors.DivisionByZero):
                await row(conn, "SELECT 1 / 0")
            assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            with acting_as(SHOP):
                locked = await do(conn.execute("SELECT id, noted() FROM notes WHERE id = 1 FOR UPDATE"))
                assert await do(locked.fetchone()) == (1, "")
                assert await row(conn, "SHOW statement_timeout") == ("0",)
                assert (await row(conn, "SELECT current_setting('statement_timeout')")) == ("0",)
            # A stream is sent as it is: nobody is known there.
            async for said in each(conn.cursor().stream(WHO)):
                assert not any(said)
        left = [
            text for text in server.statements() if "SET SESSION governed_db" in text and "'anna'" in text
        ]
        assert not left[before:]
    with acting_as(SHOP):
        async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
            await do(conn.execute("VACUUM notes"))


# -- names that cannot be said


@pytest.mark.parametrize(
    "subject", ["o'neil", "back\\slash", "\\'", "'; SET ROLE x; --", "ä€😀", "a" * 2000, "E'\\''"]
)
async def test_any_name_arrives_as_it_is(dsn, governor, flavour, autocommit, subject):
    caller = Identity.agent("bot", on_behalf_of=subject, groups=(subject, 'ä"b'))
    async with flavour.connect(dsn, governor=governor, identity=caller, autocommit=autocommit) as conn:
        said = await row(conn, ALL)
        assert said[4] == subject
        assert json.loads(said[5]) == [f"unknown:{subject}"]
        assert json.loads(said[6]) == sorted(caller.groups)


async def test_strings_that_read_backslashes_hear_the_same_name(dsn):
    said = announcement.announcement(Identity.human("a\\'b"), frozenset({"settings"}))
    with psycopg.connect(dsn) as conn:
        for strings in ("on", "off"):
            conn.execute(f"SET standard_conforming_strings = {strings}")
            conn.execute(b"; ".join(announcement.commands(said, "utf-8", "utf-8", local=True)))
            assert conn.execute("SELECT current_setting('governed_db.subject')").fetchone() == ("a\\'b",)


@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40))
def test_a_name_is_one_literal(text):
    from governed_db.statement import read

    said = announcement.Announcement((("governed_db.subject", text),))
    (command,) = announcement.commands(said, "utf-8", "", local=True)
    statement = read(command.decode())
    assert statement.commands == 1
    node = statement.tree[0]["stmt"]["VariableSetStmt"]
    assert node["args"][0]["A_Const"].get("sval", {}).get("sval", "") == text


async def test_a_name_that_the_client_encoding_cannot_carry_is_refused(
    server, dsn, governor, flavour, autocommit
):
    async with flavour.connect(
        dsn, governor=governor, identity=SHOP, autocommit=autocommit, client_encoding="latin1"
    ) as conn:
        with acting_as(Identity.human("ä")):
            assert (await row(conn))[1] == "ä"
        await do(conn.rollback())
        before = len(server.statements())
        with acting_as(Identity.human("€")), refused("callers.encoding"):
            await row(conn)
        with acting_as(Identity.human("a", session="x\0y")), refused("callers.encoding"):
            await row(conn)
        with (
            acting_as(Identity.human("a", groups=[f"{n:0>2000}" for n in range(40)])),
            refused("callers.size"),
        ):
            await row(conn)
        assert server.statements()[before:] == []
        assert (await row(conn))[1] == "shop"


@pytest.fixture(scope="module")
def latin(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE announced_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    return make_conninfo(dsn, dbname="announced_latin")


async def test_a_name_that_the_database_cannot_hold_is_refused(latin, governor, flavour, autocommit):
    async with flavour.connect(
        latin, governor=governor, identity=SHOP, autocommit=autocommit, client_encoding="utf8"
    ) as conn:
        with acting_as(Identity.human("€")), refused("callers.encoding"):
            await row(conn)
        with acting_as(Identity.human("ä")):
            assert (await row(conn))[1] == "ä"


# -- the trail


async def test_it_is_on_record_without_a_name(server, dsn, governor, tmp_path, flavour, autocommit):
    caller = Identity.agent("copilot", on_behalf_of="secret-principal")
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=autocommit) as conn:
        await row(conn)
        with acting_as(caller):
            await row(conn)
        await do(conn.commit())
    governor.close()
    said = [
        e for e in reader.statements(tmp_path / "journal") if "governed_db.subject = $" in e["what"]["text"]
    ]
    assert [e["who"]["subject"] for e in said] == ["shop", "copilot"]
    assert all(e["may"]["rule"] == "driver.command" and e["happened"]["status"] == "ok" for e in said)
    assert all("secret-principal" not in json.dumps(e["what"]) for e in said)


# -- never by the text's word

FORGED = [
    "SET governed_db.subject = 'admin'",
    'SET LOCAL "Governed_DB"."SUBJECT" = \'admin\'',
    'SET "governed_db.subject" TO admin',
    "RESET governed_db.subject",
    "SET governed_db.on_behalf_of TO DEFAULT",
    "SELECT set_config('governed_db.subject', 'admin', true)",
    "SELECT pg_catalog.set_config(is_local => true, setting_name => 'GOVERNED_DB.subject', new_value => 'x')",
    "SELECT set_config('governed' || '_db.subject', 'admin', false)",
    "SELECT set_config(owner, 'admin', false) FROM notes",
    "EXPLAIN ANALYZE SELECT set_config('governed_db.subject', 'admin', true)",
    "PREPARE p AS SELECT set_config('governed_db.subject', 'admin', true)",
    "INSERT INTO notes VALUES (1, set_config('governed_db.subject', 'x', true), 'l')",
    "WITH a AS (SELECT set_config('governed_db.subject', 'x', true)) SELECT * FROM notes, a",
    "SELECT turned()",
    "SELECT turned_by_clause()",
    "SELECT turned_below()",
    "SELECT turned_to('a')",
    "SELECT turning('x', true)",
    "SELECT reset_all()",
    "INSERT INTO turning_notes VALUES (1)",
    "INSERT INTO defaulting (id) VALUES (1)",
    "SELECT * FROM turning_view",
    "UPDATE pg_settings SET setting = 'admin' WHERE name = 'governed_db.subject'",
    "ALTER ROLE shopkeeper SET governed_db.subject = 'admin'",
    "ALTER DATABASE postgres SET governed_db.subject = 'admin'",
    "ALTER FUNCTION turned() SET governed_db.subject = 'admin'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET governed_db.subject = 'x' AS 'SELECT 1'",
    "CREATE PROCEDURE f() LANGUAGE sql SET Governed_DB.subject FROM CURRENT AS 'SELECT 1'",
    "ALTER TABLE notes ALTER label SET DEFAULT set_config('governed_db.subject', 'x', true)",
    "DO $$ BEGIN PERFORM set_config('governed_db.subject', 'x', true); END $$",
    "RESET ALL; SELECT * FROM notes",
]

_FORGING = """
    CREATE FUNCTION turned() RETURNS text LANGUAGE sql AS
        $$SELECT set_config('governed_db.subject', 'admin', false)$$;
    CREATE FUNCTION turned_by_clause() RETURNS int LANGUAGE sql SET governed_db.subject = 'x' AS 'SELECT 1';
    CREATE FUNCTION turned_below() RETURNS int LANGUAGE sql AS 'SELECT turned_by_clause()';
    CREATE FUNCTION turned_to(name text) RETURNS text LANGUAGE sql AS $$SELECT set_config(name, 'x', true)$$;
    CREATE FUNCTION reset_all() RETURNS int LANGUAGE plpgsql AS 'BEGIN RESET ALL; RETURN 1; END';
    CREATE AGGREGATE turning(text, boolean) (
        sfunc = set_config, stype = text, initcond = 'governed_db.subject');
    CREATE TABLE turning_notes (id int);
    CREATE FUNCTION turns() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM set_config('governed_db.subject', 'admin', true); RETURN NEW; END$$;
    CREATE TRIGGER t BEFORE INSERT ON turning_notes FOR EACH ROW EXECUTE FUNCTION turns();
    CREATE TABLE defaulting (id int, said text DEFAULT set_config('governed_db.subject', 'admin', true));
    CREATE VIEW turning_view AS SELECT set_config('governed_db.subject', 'admin', true) AS said;
"""

EVERYTHING = """
[[rule]]
id = "everything"
when = { effects = [] }
then = "allow"
because = "the test says so"
"""


@pytest.fixture(scope="module")
def forging(dsn: str, schema: None) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(_FORGING)


@pytest.mark.parametrize("caller", [SHOP, Identity.human("anna"), ANNA], ids=lambda who: who.kind)
async def test_no_text_can_say_who_asks(dsn, governed, flavour, forging, caller):
    from governed_db.statement import EffectKind

    kinds = ", ".join(f'"{kind}"' for kind in EffectKind)
    # Even where every rule says yes.
    governor = governed(EVERYTHING.replace("[]", f"[{kinds}]"))
    async with flavour.connect(dsn, governor=governor, identity=caller, autocommit=True) as conn:
        assert governor.check(FORGED[0], identity=caller).rule == "callers.settings"
        for text in FORGED:
            with pytest.raises(GovernanceError) as error:
                await do(conn.execute(text))
            assert error.value.rule == "callers.settings", text
        with refused("callers.settings"):
            await do(conn.execute("SELECT set_config(%s, %s, false)", ("governed_db.subject", "admin")))
        assert (await row(conn))[1] == caller.subject


async def test_what_may_be_said_is_said(dsn, governor, flavour, forging):
    async with flavour.connect(dsn, governor=governor, identity=SHOP, autocommit=True) as conn:
        for text in (
            "SHOW governed_db.subject",
            "SELECT set_config('TimeZone', 'UTC', false)",
            "SET statement_timeout = '5s'",
            "RESET ALL",
            "DISCARD ALL",
            "SELECT 'SET governed_db.subject'",
        ):
            await do(conn.execute(text))


async def test_a_text_that_ends_its_transaction_does_not_go_on_without_a_caller(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        for text in ("COMMIT; SELECT 1", "ROLLBACK; SELECT 1", "SELECT 1; COMMIT; BEGIN; SELECT 2"):
            with refused("callers.transaction"):
                await do(conn.execute(text))
        await do(conn.execute("SELECT 1; SELECT 2"))
        await do(conn.execute("SELECT 1; COMMIT"))
        await do(conn.set_autocommit(True))
        await do(conn.execute("BEGIN; SELECT 1; COMMIT; SELECT 2"))
        assert (await row(conn))[1] == "shop"


# -- a cursor belongs to whoever opened it


async def test_rows_belong_to_whoever_asked_for_them(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor) as conn:
        with acting_as(ANNA):
            cur = await do(conn.execute("SELECT * FROM notes"))
            assert await do(cur.fetchone())
        with acting_as(BEN):
            for read in (cur.fetchone, cur.fetchall, lambda: cur.fetchmany(2), lambda: cur.scroll(1)):
                with refused("callers.cursor"):
                    await do(read())
            await do(cur.execute("SELECT 1"))
            assert await do(cur.fetchone()) == (1,)
        with acting_as(ANNA), refused("callers.cursor"):
            await do(cur.fetchall())
        with acting_as(ANNA):
            await do(cur.execute("SELECT * FROM notes"))
        with acting_as(ANNA.during(tool_call="c-9", session="s-9")):
            assert await do(cur.fetchone())  # the same caller, another call
        with acting_as(Identity.human("anna")):
            assert await do(cur.fetchone())  # for whom it was opened
        with acting_as(SHOP):
            assert await do(cur.fetchone())  # a service that the policy names
        assert await do(cur.fetchone())  # the code that opened it, behind the end of its block


async def test_server_side_cursors_belong_to_whoever_opened_them(dsn, governor, flavour):
    async with flavour.connect(dsn, governor=governor) as conn:
        with acting_as(ANNA):
            named = conn.cursor("mine", scrollable=True)
            await do(named.execute("SELECT id, current_setting('governed_db.on_behalf_of') FROM notes"))
            assert (await do(named.fetchone()))[1] == "anna"
        with acting_as(BEN):
            assert (await row(conn))[2] == "ben"
            for read in (named.fetchone, named.fetchall, lambda: named.scroll(1)):
                with refused("masking.cursor"):
                    await do(read())
        with acting_as(BEN), refused("callers.cursor"):
            await do(conn.execute("FETCH 1 FROM mine"))
        with acting_as(SHOP):
            assert (await row(conn))[1] == "shop"
            # What is evaluated as it is fetched is evaluated for whoever opened it.
            assert (await do(named.fetchone()))[1] == "anna"
        with acting_as(ANNA):
            assert (await do(named.fetchone()))[1] == "anna"
        await do(named.close())


async def test_a_cursor_by_any_name_belongs_to_whoever_opened_it(dsn, governed, flavour):
    async with flavour.connect(dsn, governor=governed("[masking]\nmode = 'off'\n")) as conn:
        with acting_as(ANNA):
            assert await row(conn, "SELECT opened('theirs')") == ("theirs",)
            assert await row(conn, "FETCH 1 FROM theirs") == ("anna",)
        with acting_as(BEN):
            for text in ("FETCH ALL FROM theirs", "MOVE 1 IN theirs"):
                with refused("callers.cursor"):
                    await do(conn.execute(text))
            async with within(conn.cursor("theirs")) as named:
                with refused("callers.cursor"):
                    await do(named.fetchall())
        await do(conn.rollback())
        with acting_as(BEN):
            await row(conn, "SELECT opened('theirs')")
            assert await row(conn, "FETCH 1 FROM theirs") == ("ben",)
        await do(conn.rollback())
        long = "n" * 80  # the server cuts it
        with acting_as(ANNA):
            named = conn.cursor(long, withhold=True)
            await do(named.execute("SELECT id FROM notes"))
            await do(conn.commit())
            assert await do(named.fetchone())
        with acting_as(BEN):
            async with within(conn.cursor(long)) as other:
                with refused("callers.cursor"):
                    await do(other.fetchone())
        await do(named.close())


async def test_a_cursor_with_hold_is_filled_for_whoever_opened_it(dsn, governed, flavour):
    seen = "SELECT current_setting('governed_db.on_behalf_of') FROM notes"
    async with flavour.connect(dsn, governor=governed("[masking]\nmode = 'off'\n")) as conn:
        for text in (False, True):
            held = conn.cursor("held", withhold=True)
            with acting_as(ANNA):
                if text:
                    await do(conn.execute(f"DECLARE held CURSOR WITH HOLD FOR {seen}"))
                else:
                    await do(held.execute(seen))
            with acting_as(BEN), refused("callers.cursor"):
                await row(conn)
            with acting_as(ANNA.during(tool_call="c-2")):
                await row(conn)
            await do(conn.commit())
            with acting_as(BEN):
                assert (await row(conn))[2] == "ben"
            with acting_as(ANNA):
                assert set(await do(held.fetchall())) == {("anna",)}
                await do(held.close())
            await do(conn.commit())
        with acting_as(ANNA):
            await do(conn.execute(f"DECLARE held CURSOR WITH HOLD FOR {seen}"))
            await do(conn.execute("CLOSE held"))
        with acting_as(BEN):
            assert (await row(conn))[2] == "ben"


async def test_a_failed_transaction_does_not_go_on_as_somebody_else(dsn, governor, flavour):
    serving = [Identity.service("shop", on_behalf_of=name) for name in ("anna", "ben")]
    async with flavour.connect(dsn, governor=governor) as conn:
        with acting_as(serving[0]):
            await do(conn.execute("SAVEPOINT one"))
            with pytest.raises(psycopg.errors.DivisionByZero):
                await row(conn, "SELECT 1 / 0")
        with acting_as(serving[1]):
            with refused("callers.transaction"):
                await do(conn.execute("ROLLBACK TO one; SELECT 1"))
            await do(conn.execute("ROLLBACK TO one"))
            assert (await row(conn))[2] == "ben"


async def test_behind_a_pooler_the_end_of_a_transaction_as_text_is_followed(dsn, governed, flavour):
    governor = governed('[callers]\nannounce_in = "transaction"\n')
    async with flavour.connect(dsn, governor=governor, identity=SHOP) as conn:
        await row(conn)
        await do(conn.execute("COMMIT"))
        await do(conn.set_autocommit(True))
        with acting_as(BEN):
            async with within(conn.pipeline()):
                assert (await row(conn))[2] == "ben"
                cur = conn.cursor()
                await do(cur.executemany(WHO + " WHERE %s::int > 0", [(1,)], returning=True))
                assert (await do(cur.fetchone()))[2] == "ben"


async def test_a_policy_for_a_pooler_leaves_nobody_in_the_session(dsn, tmp_path, flavour):
    path = tmp_path / "governed-db.toml"
    path.write_text('extends = "standard"\n')
    path.chmod(0o600)
    governor = Governor.load(path, state_dir=tmp_path)
    seen = "SELECT current_setting('governed_db.on_behalf_of', true)"
    async with flavour.connect(dsn, governor=governor, autocommit=True) as conn:
        with acting_as(ANNA):
            assert (await row(conn))[2] == "anna"
        path.write_text('extends = "standard"\n[callers]\nannounce_in = "transaction"\n')
        governor.reload()
        for _ in range(2):
            with acting_as(BEN):
                assert [r async for r in each(conn.cursor().stream(seen))] == [("",)]
                assert (await row(conn))[2] == "ben"
    governor.close()


async def test_streams_and_copies_belong_to_whoever_opened_them(dsn, governed, governor, flavour):
    async with flavour.connect(dsn, governor=governor) as conn:
        with acting_as(ANNA):
            rows = conn.cursor().stream("SELECT current_setting('governed_db.on_behalf_of') FROM notes")
        with acting_as(BEN), refused("callers.cursor"):
            async for _ in each(rows):
                pass
        await do(conn.rollback())
        for text in ("COPY (SELECT id FROM notes) TO STDOUT", "COPY notes FROM STDIN"):
            with refused("masking.cursor"):
                with acting_as(SHOP):
                    block = conn.cursor().copy(text)
                async with within(block) as copy:
                    with acting_as(BEN):
                        await do(copy.write_row((500, "x", "x")) if "STDIN" in text else copy.read())
            await do(conn.rollback())
    async with flavour.connect(dsn, governor=governed("[masking]\nmode = 'off'\n")) as conn:
        for text in ("COPY (SELECT id FROM notes) TO STDOUT", "COPY notes FROM STDIN"):
            with refused("callers.cursor"):
                with acting_as(SHOP):
                    block = conn.cursor().copy(text)
                async with within(block) as copy:
                    with acting_as(BEN):
                        await do(copy.write_row((501, "x", "x")) if "STDIN" in text else copy.read())
            await do(conn.rollback())
            with acting_as(SHOP):
                block = conn.cursor().copy(text)
            with pytest.raises(ZeroDivisionError):
                async with within(block):
                    raise ZeroDivisionError
            await do(conn.rollback())


# -- as a comment


@pytest.fixture
def commenting(governed):
    return governed('[callers]\nannounce = ["comment"]\n')


def logged(server, marker: str) -> list[str]:
    return [text for text in server.statements() if marker in text]


async def test_a_comment_says_who_asks_and_in_which_trace(server, dsn, commenting, flavour, tmp_path):
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("test")
    caller = Identity.agent("it's*/; DROP", on_behalf_of="ü", session="s 1", tool_call="c-1")
    async with flavour.connect(dsn, governor=commenting, identity=SHOP, autocommit=True) as conn:
        with acting_as(caller), tracer.start_as_current_span("asking") as span:
            cur = await do(conn.execute("SELECT 'm1', id FROM notes WHERE id = %s -- last", (1,)))
            assert await do(cur.fetchone()) == ("m1", 1)
        with acting_as(SHOP):
            await do(conn.execute("SELECT 'm1';"))
            async with within(conn.cursor().copy("COPY (SELECT 'm1') TO STDOUT")) as copy:
                assert b"".join([bytes(part) async for part in each(copy)]) == b"m1\n"
            async with within(conn.transaction()), within(conn.cursor("c")) as named:
                await do(named.execute("SELECT 'm1'"))
                assert await do(named.fetchone()) == ("m1",)
            async for _ in each(conn.cursor().stream("SELECT 'm1'")):
                pass
            await do(flavour.ClientCursor(conn).execute("SELECT 'm1', %s", ("%s",)))
            await do(conn.cursor().executemany("SELECT 'm1', %s::int", [(1,), (2,)]))
            await do(conn.execute("SELECT 'm1', %s::int", (1,), prepare=True))
    context = span.get_span_context()
    trace = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    found = [text for text in logged(server, "'m1'") if "/*" in text and trace in text]
    found += [text for text in logged(server, "'m1'")[-20:] if "subject='shop'" in text]
    assert found[0].endswith(
        "-- last\n/*governed_db_on_behalf_of='%C3%BC',governed_db_session='s%201',"
        f"governed_db_subject='it%27s%2A%2F%3B%20DROP',governed_db_tool_call='c-1',traceparent='{trace}'*/"
    )
    assert len(found) >= 9
    assert found[0].count("/*") == 1
    assert all(text.rstrip().endswith("governed_db_subject='shop'*/") for text in found[1:])
    commenting.close()
    for entry in reader.statements(tmp_path / "journal"):
        assert "/*" not in entry.get("what", {}).get("text", "")


async def test_the_last_comment_is_ours_for_nobody_too(server, dsn, commenting, flavour):
    async with flavour.connect(dsn, governor=commenting, autocommit=True) as conn:
        assert await row(conn, "SELECT 'm3' /*governed_db_subject='admin'*/") == ("m3",)
    assert logged(server, "'m3'")[-1].endswith("\n/*governed_db_subject=''*/")


async def test_a_comment_follows_a_text_that_is_masked(server, dsn, commenting, flavour):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS customers (id int PRIMARY KEY, email text)")
        conn.execute("INSERT INTO customers VALUES (1, 'a@example.com') ON CONFLICT DO NOTHING")
    async with flavour.connect(dsn, governor=commenting, identity=ANNA) as conn:
        cur = await do(conn.execute("SELECT 'm2', email FROM customers"))
        assert (await do(cur.fetchone()))[1] != "a@example.com"
    assert logged(server, "'m2'")[0].endswith("governed_db_subject='copilot'*/")

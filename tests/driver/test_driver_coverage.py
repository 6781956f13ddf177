"""Coverage seen from outside: the server's own log against our journal, over every path there is."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from governed_db import Governor, Identity, acting_as
from governed_db.audit import reader
from governed_db.statement import normalise
from tests.flavours import Flavour, do, each, within

APP = Identity.service("shop", session="s-1")


@pytest.fixture
def table(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS things")
        conn.execute("CREATE TABLE things (id int PRIMARY KEY, label text)")
    return "things"


def logged(server, marker: str) -> list[str]:
    """Return the statements the server logged between the two markers, normalised."""
    found: list[str] = []
    on = False
    for line in server.log_lines():
        for head in ("statement: ", "execute "):
            if head not in line:
                continue
            text = line.split(head, 1)[1]
            if head == "execute ":
                text = text.partition(": ")[2]  # other tests' statements may say "execute", too
            if f"begin {marker}" in text:
                on = True
            elif f"end {marker}" in text:
                on = False
            elif on:
                found.append(normalise(text))
            break
    return found


async def workload(flavour: Flavour, dsn: str, governor: Governor) -> None:
    """Use every path by which a caller can send SQL."""
    async with flavour.connect(dsn, governor=governor, identity=APP) as conn:
        await do(conn.execute("INSERT INTO things VALUES (1, 'one')"))
        await do(conn.execute("INSERT INTO things VALUES (%s, %s)", (2, "two")))
        await do(conn.commit())
        cur = conn.cursor()
        await do(cur.executemany("INSERT INTO things VALUES (%s, %s)", [(n, "m") for n in range(10, 15)]))
        await do(cur.executemany("SELECT %s::int", [(1,), (2,)], returning=True))
        for _ in range(3):
            await do(cur.execute("SELECT label FROM things WHERE id = %s", (1,), prepare=True))
        await do(conn.rollback())
        async for _ in each(cur.stream("SELECT * FROM things")):
            pass
        async with within(cur.copy("COPY things TO STDOUT")) as copy:
            async for _ in each(copy):
                pass
        async with within(cur.copy("COPY things FROM STDIN")) as copy:
            await do(copy.write_row((100, "copied")))
        await do(conn.commit())
        named = conn.cursor("named")
        await do(named.execute("SELECT * FROM things"))
        await do(named.fetchone())
        await do(named.fetchmany(2))
        await do(named.close())
        await do(conn.commit())
        async with within(conn.transaction()):
            await do(conn.execute("UPDATE things SET label = 'x' WHERE id = 1"))
            with pytest.raises(psycopg.errors.UniqueViolation):
                async with within(conn.transaction()):
                    await do(conn.execute("INSERT INTO things VALUES (1, 'again')"))
        async with within(conn.pipeline()) as pipe:
            await do(conn.execute("SELECT 1"))
            await do(conn.execute("SELECT 2 WHERE 1 = %s", (1,)))
            await do(pipe.sync())
        await do(conn.commit())
        for factory in (flavour.ClientCursor, flavour.RawCursor):
            conn.cursor_factory = factory
            await do(conn.execute("SELECT 3"))
        conn.cursor_factory = flavour.Cursor
        plain = getattr(psycopg, flavour.Cursor.__name__)(conn)
        await do(plain.execute("SELECT 4"))
        assert await do(plain.fetchone()) == (4,)
        await do(conn.rollback())
        await do(conn.tpc_begin(conn.xid(1, uuid.uuid4().hex, "b")))
        await do(conn.execute("SELECT 5"))
        await do(conn.tpc_prepare())
        await do(conn.tpc_rollback())
        await do(conn.tpc_recover())
        await do(conn.execute(""))
        await do(conn.execute("SELECT 6; SELECT 7"))
        await do(conn.execute("LISTEN chan"))
        await do(conn.execute("NOTIFY chan"))
        await do(conn.commit())
        async for _ in each(conn.notifies(timeout=0.1, stop_after=1)):
            pass
        with pytest.raises(psycopg.errors.UndefinedTable):
            await do(conn.execute("SELECT * FROM missing"))
        await do(conn.rollback())
        with acting_as(Identity.human("anna")):
            await do(conn.execute("SELECT 8"))
        await do(conn.commit())


@pytest.mark.parametrize("preset", ["observe", "standard"])
@pytest.mark.parametrize("name", ["sync", "async"])
async def test_every_statement_in_the_servers_log_is_in_the_journal(
    server, dsn, table, tmp_path, name, preset
):
    policy = tmp_path / "policy.toml"
    policy.write_text(f'extends = "{preset}"\nservices = ["shop"]\n')
    policy.chmod(0o600)
    governor = Governor.load(policy, state_dir=tmp_path)
    marker = uuid.uuid4().hex
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"SELECT 'begin {marker}'")
        await workload(Flavour(name), dsn, governor)
        conn.execute(f"SELECT 'end {marker}'")
    governor.close()

    entries = list(reader.statements(tmp_path / "journal"))
    sent = [e for e in entries if e["kind"] == "intent"]
    noted = [e["what"].get("text", "") for e in sent for _ in range(e["happened"].get("batch_size", 1))]
    assert noted == logged(server, marker)
    callers = {"shop", "anna"} | (set() if preset == "observe" else {"governed_db"})
    assert {e["who"]["subject"] for e in sent} == callers
    assert {e["happened"]["status"] for e in sent} <= {"ok", "error"}
    hers = [e["what"]["text"] for e in sent if e["who"]["subject"] == "anna"]
    assert [text.partition(";")[0] for text in hers] == ["BEGIN", "SELECT $1"]
    assert ("governed_db.subject" in hers[0]) is (preset == "standard")

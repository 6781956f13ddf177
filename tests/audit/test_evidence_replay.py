"""Replays: a session as it happened, and again on another database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity
from governed_db.audit import rerun
from governed_db.audit.reader import read, statements
from governed_db.audit.rerun import conninfo
from governed_db.audit.session import find, readable
from governed_db.cli import main

HUMAN = "human:rita"


def prepare(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS items CASCADE")
        conn.execute("DROP SCHEMA IF EXISTS aside CASCADE")
        conn.execute("CREATE TABLE items (id int PRIMARY KEY, kind text)")
        conn.execute("INSERT INTO items SELECT n, 'k' || n %% 3 FROM generate_series(1, %s) n", (rows,))
        conn.execute("CREATE SCHEMA aside CREATE TABLE things (id int)")
        conn.execute("ANALYZE")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a statement takes is the machine's affair, unless a test is about that."""
    monkeypatch.setattr(rerun, "LEAST", 10**12)


@pytest.fixture(scope="module")
def session(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of one session of a caller, over two connections."""
    state = tmp_path_factory.mktemp("session")
    prepare(dsn, 9)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE gone (id int)")
    governor = Governor.preset("standard", state_dir=state)
    agent = Identity.agent("bot", session="talk-9", purpose="count")
    with governed_db.connect(dsn, governor=governor, identity=agent, autocommit=True) as conn:
        conn.execute("SELECT kind, count(*) FROM items GROUP BY kind ORDER BY kind").fetchall()
        conn.execute("SELECT id FROM items").fetchall()
        conn.execute("SELECT id FROM items WHERE kind = %s", ("k1",)).fetchall()
        conn.execute("SELECT id FROM gone").fetchall()
        conn.execute("UPDATE items SET kind = kind || kind WHERE id = (SELECT min(id) FROM items)")
        with pytest.raises(governed_db.errors.StatementBlocked):
            conn.execute("DROP TABLE items")
    with governed_db.connect(
        dsn, governor=governor, identity=agent, autocommit=True, options="-c search_path=aside"
    ) as conn:
        conn.execute("SELECT count(*) FROM things").fetchall()
    governor.close()
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE gone")
    return governor.trail.folder


@pytest.fixture
def other(server, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"replay_{abs(hash(request.node.name)) % 10**8}"
    dsn = server.create_database(name)
    prepare(dsn, 9)
    yield dsn
    server.drop_database(name)


def again(
    session: Path, dsn: str, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, dict[str, dict]]:
    status = main(
        ["audit", "replay", "talk-9", "--dir", str(session), "--against", dsn, "--as", HUMAN, "--json", *more]
    )
    steps = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    return status, {step["text"]: step for step in steps}


def test_a_session_is_walked_through_in_the_order_of_its_beginnings(
    session: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = find(statements(session), "talk-9")
    assert [e["at"] for e in found.steps] == sorted(e["at"] for e in found.steps)
    assert not found.ambiguous
    assert main(["audit", "replay", "talk-9", "--dir", str(session)]) == 0
    printed = capsys.readouterr().out
    assert "agent:bot" in printed
    assert printed.index("GROUP BY kind") < printed.index("DROP TABLE items")
    assert "+0.000 s" in printed
    assert "blocked, refused, rule" in printed
    assert main(["audit", "replay", "talk-9", "--dir", str(session), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [orjson.loads(line)["id"] for line in lines] == [e["id"] for e in found.steps]


def test_a_connection_and_a_transaction_are_sessions_too(session: Path) -> None:
    first = find(statements(session), "talk-9").steps[0]
    place = first["where"]
    by_connection = find(statements(session), place["connection"])
    assert first["id"] in {e["id"] for e in by_connection.steps}
    assert find(statements(session), f"{first['journal']}/{place['connection']}").steps == by_connection.steps
    assert find(statements(session), "nothing").steps == []


def test_a_name_of_several_processes_is_not_guessed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import trail_records

    trail_records.write(tmp_path / "journal", 400, processes=2)
    names = {e["where"]["connection"] for e in statements(tmp_path / "journal") if "where" in e}
    shared = [n for n in names if find(statements(tmp_path / "journal"), n).ambiguous]
    assert shared
    assert main(["audit", "replay", shared[0], "--dir", str(tmp_path / "journal")]) == 1
    assert "several processes" in capsys.readouterr().err
    assert main(["audit", "replay", "nothing", "--dir", str(tmp_path / "journal")]) == 1


def test_reads_run_again_and_agree(session: Path, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, steps = again(session, other, capsys)
    counted = steps["SELECT kind, count(*) FROM items GROUP BY kind ORDER BY kind"]
    assert (counted["verdict"], counted["now"]["rows"], counted["then"]["rows"]) == ("same", 3, 3)
    assert steps["SELECT id FROM items"]["verdict"] == "same"
    needs = steps["SELECT id FROM items WHERE kind = $1"]
    assert (needs["verdict"], needs["now"]) == ("not run", None)
    assert "a value that the journal does not hold" in needs["because"]
    assert "refused now by rule unknown-names" in steps["SELECT id FROM gone"]["because"]
    (write,) = (s for t, s in steps.items() if t.startswith("UPDATE"))
    assert write["verdict"] == "not run"
    assert "--writes" in write["because"]
    assert "was not sent then either" in steps["DROP TABLE items"]["because"]
    assert status == 3


def test_another_number_of_rows_is_a_difference(
    session: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(other, autocommit=True) as conn:
        conn.execute("DELETE FROM items WHERE id > 5")
    _, steps = again(session, other, capsys)
    assert steps["SELECT id FROM items"]["because"] == "5 rows, 9 then"


def test_names_mean_what_they_meant(session: Path, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(other, autocommit=True) as conn:
        conn.execute("CREATE TABLE public.things (id int)")
        conn.execute("DROP TABLE aside.things")
    things = "SELECT count(*) FROM things"
    _, steps = again(session, other, capsys)
    assert "refused now" in steps[things]["because"]  # and not counted in the other schema
    with psycopg.connect(other, autocommit=True) as conn:
        conn.execute("ALTER TABLE public.things SET SCHEMA aside")
    _, steps = again(session, other, capsys)
    assert steps[things]["verdict"] == "same", steps[things]["because"]
    _, steps = again(session, other, capsys, "--writes")
    assert "another search_path" in steps[things]["because"]


def test_no_statement_takes_the_reading_away(other: str, tmp_path: Path) -> None:
    with psycopg.connect(other, autocommit=True) as conn:
        conn.execute("CREATE SEQUENCE counter")
    governor = Governor.preset("observe", state_dir=tmp_path)
    with governed_db.connect(
        conninfo(other, ["public"], writes=False), governor=governor, autocommit=True
    ) as conn:
        list(rerun.rerun(conn, [], writes=False))
        conn.execute("SELECT set_config('default_transaction_read_only', 'off', false)")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), conn.transaction():
            conn.execute("SELECT nextval('counter')")
    governor.close()


def test_writes_run_where_asked_and_are_rolled_back(
    session: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, steps = again(session, other, capsys, "--writes")
    (write,) = (s for t, s in steps.items() if t.startswith("UPDATE"))
    assert (write["verdict"], write["now"]["rows"]) == ("same", 1), write["because"]
    with psycopg.connect(other) as conn:
        assert conn.execute("SELECT count(*) FROM items WHERE length(kind) > 2").fetchone() == (0,)


def test_without_writes_the_server_itself_refuses_them(session: Path, other: str) -> None:
    with psycopg.connect(conninfo(other, ["pg_catalog", "public"], writes=False), autocommit=True) as conn:
        assert conn.execute("SHOW search_path").fetchone() == ('"public"',)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("DELETE FROM items")


@pytest.mark.parametrize("schema", ["a b", 'quo"te', "back\\slash", "comma,s", "ta\tb", "Größe"])
def test_any_search_path_reaches_the_server(other: str, schema: str) -> None:
    quoted = '"{}"'.format(schema.replace('"', '""'))
    with psycopg.connect(other, autocommit=True) as conn:
        conn.execute(f"CREATE SCHEMA {quoted}")
        with psycopg.connect(conninfo(other, ["pg_catalog", schema, "public"], writes=False)) as other_conn:
            assert other_conn.execute("SELECT current_schemas(false)").fetchone() == ([schema, "public"],)
        conn.execute(f"DROP SCHEMA {quoted}")


def test_a_replay_is_governed_and_on_record(
    session: Path, other: str, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = state_dir.parent / "none.toml"
    policy.write_text('extends = "readonly"\n')
    policy.chmod(0o600)
    again(session, other, capsys)
    made = [e for e in statements(state_dir / "journal") if e["who"].get("subject") == "rita"]
    assert {e["who"]["purpose"] for e in made} == {"replay of talk-9"}
    assert "SELECT id FROM items" in {e["what"]["text"] for e in made}
    _, steps = again(session, other, capsys, "--writes", "--policy", str(policy))
    (write,) = (s for t, s in steps.items() if t.startswith("UPDATE"))
    assert write["verdict"] == "differs"
    assert "refused now by rule" in write["because"]


@pytest.mark.parametrize(
    ("entry", "because"),
    [
        ({"what": {}}, "not on record"),
        ({"what": {"text": "SELECT 1"}, "truncated": 9}, "shortened"),
        ({"what": {"text": "SELECT 1"}, "happened": {"status": "refused"}}, "not sent then"),
        ({"what": {"text": "SELECT FROM FROM"}}, "cannot be read"),
        ({"what": {"text": "SELECT $1, $2"}}, "2 values"),
        ({"what": {"text": "SELECT now()"}}, ""),
    ],
)
def test_what_cannot_be_run_again_says_why(entry: dict, because: str) -> None:
    _, said = readable(entry)
    assert because in said
    assert bool(said) is bool(because)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["talk-9", "--writes"],
        ["talk-9", "--against", "host=/nowhere"],
        ["talk-9", "--against", "%%"],
        [],
    ],
)
def test_what_cannot_be_replayed_is_said(
    session: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "replay", *arguments, "--dir", str(session)]) == 1
    assert "governed-db audit replay" in capsys.readouterr().err


def test_values_that_are_on_record_encrypted_are_used_where_asked(
    dsn: str, other: str, tmp_path: Path, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(dsn, 9)
    policy = tmp_path / "sealed.toml"
    policy.write_text('extends = "standard"\n[audit]\nvalues = "encrypted"\n')
    policy.chmod(0o600)
    governor = Governor.load(policy, state_dir=state_dir)
    agent = Identity.agent("bot", session="talk-9")
    with governed_db.connect(dsn, governor=governor, identity=agent, autocommit=True) as conn:
        conn.execute("SELECT id FROM items WHERE kind = %s AND id > %s", ("k1", 2)).fetchall()
        conn.execute("SELECT id, 10 % 3 FROM items WHERE kind = 'k2'").fetchall()
        conn.execute("UPDATE items SET kind = %s WHERE id = %s", (None, 4))
        conn.cursor().executemany("UPDATE items SET kind = %s WHERE %s = id", [("a", 1), ("b", 2)])
    governor.close()
    folder = governor.trail.folder

    _, steps = again(folder, other, capsys)
    assert {s["verdict"] for s in steps.values()} == {"not run"}
    assert sum("--reveal" in s["because"] for s in steps.values()) >= 3
    status, steps = again(folder, other, capsys, "--reveal", "--writes")
    # Of a batch the journal does not hold every set.
    assert steps.pop("UPDATE items SET kind = $1 WHERE $2 = id")["verdict"] == "not run"
    ours = [t for t, s in steps.items() if "sent it by itself" in (s["because"] or "")]
    steps = {t: s for t, s in steps.items() if t not in ours}
    assert {t: s["because"] for t, s in steps.items() if s["because"]} == {}
    assert [s["now"]["rows"] for s in steps.values()] == [2, 3, 1]
    assert status == 0
    looks = [e for e in read(folder) if e.get("event") == "trail.read"]
    assert looks[-1]["details"]["revealed"] is True
    for key in (state_dir / "values").iterdir():
        key.unlink()
    _, steps = again(folder, other, capsys, "--reveal")
    assert any("destroyed" in s["because"] for s in steps.values())
    assert main(["audit", "replay", "talk-9", "--dir", str(folder), "--reveal"]) == 1

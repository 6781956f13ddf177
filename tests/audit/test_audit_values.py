"""What of values is on record: digests that answer a guess, or ciphertext whose key can be destroyed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import given, strategies

import governed_db
from governed_db import private
from governed_db.audit import read, value_keys
from governed_db.audit.values import MAX_SEALED, MAX_VALUES, as_text, constants, opened, seal
from governed_db.errors import AuditUnavailable, PolicyError
from governed_db.policy import load_bytes
from governed_db.statement import read as read_statement
from tests.flavours import Flavour, do

CANARY = "canary-7c1f"


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


def _governor(mode: str, more: str = "") -> governed_db.Governor:
    text = f'extends = "standard"\nservices = ["billing"]\n[audit]\nvalues = "{mode}"\n{more}'
    return governed_db.Governor(load_bytes(text.encode(), "p"))


async def _run(flavour: Flavour, dsn: str, governor: governed_db.Governor, *calls: Any) -> None:
    identity = governed_db.Identity.service("billing")
    async with flavour.connect(dsn, governor=governor, identity=identity, autocommit=True) as conn:
        for text, params in calls:
            await do(conn.execute(text, params))
    governor.close()


def _records(state_dir: Path) -> list[dict[str, Any]]:
    return [
        e
        for e in read(state_dir / "journal")
        if e["kind"] == "intent"
        and not e["may"]["rule"].startswith(("governed_db.", "driver."))
        and "billing" in str(e["who"])
    ]


async def test_equal_values_have_equal_digests_wherever_they_stand(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    await _run(
        flavour,
        dsn,
        _governor("digest"),
        ("SELECT %s, %s::text", (4711, CANARY)),
        (f"SELECT 4711, '{CANARY}'", None),
        ("SELECT %s::bigint, %s::text", (5_000_000_000, "4711")),
        ("SELECT %s::text", (None,)),
    )
    first, text, other, nothing = (r["values"] for r in _records(state_dir))
    assert first["parameters"] == text["constants"]
    assert other["parameters"][1] == first["parameters"][0]
    assert other["parameters"][0] not in first["parameters"]
    assert nothing["parameters"] == [None]
    assert len({r["key"] for r in (first, text, other)}) == 1
    # Whoever has the key can ask for a guess.
    assert value_keys.digests(state_dir).digest(CANARY.encode()) == first["parameters"][1]


@pytest.mark.parametrize("mode", ["none", "digest", "encrypted"])
async def test_no_value_is_in_the_journal(dsn: str, state_dir: Path, flavour: Flavour, mode: str) -> None:
    await _run(flavour, dsn, _governor(mode), ("SELECT %s::text", (CANARY,)), (f"SELECT '{CANARY}'", None))
    for path in (state_dir / "journal").iterdir():
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()
    assert all(("values" in r) == (mode != "none") for r in _records(state_dir))


async def test_what_is_encrypted_can_be_read_until_its_key_is_destroyed(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    await _run(flavour, dsn, _governor("encrypted"), ("SELECT %s::text, 'x'", (CANARY,)))
    (record,) = _records(state_dir)
    keys = value_keys.Keys(state_dir / value_keys.FOLDER)
    name = record["values"]["key"]
    secret = keys.named(name)
    assert secret is not None
    held = orjson.loads(opened(secret, name, record["values"]["sealed"]))
    assert held["text"] == "SELECT $1::text, 'x'"
    assert held["parameters"] == [CANARY]
    who = "service::billing"
    assert list(keys.destroy(who=who)) == [name]
    assert keys.named(name) is None
    # The record itself is as it was.
    assert _records(state_dir) == [record]


async def test_values_of_refused_statements_are_on_record(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    governor = _governor("digest")
    identity = governed_db.Identity.agent("mallory")
    async with flavour.connect(dsn, governor=governor, identity=identity, autocommit=True) as conn:
        with pytest.raises(governed_db.StatementBlocked):
            await do(conn.execute(f"SELECT pg_read_file('{CANARY}')"))
    governor.close()
    (refusal,) = [e for e in read(state_dir / "journal") if e["kind"] == "refusal"]
    assert refusal["values"]["constants"] == [value_keys.digests(state_dir).digest(CANARY.encode())]


async def test_without_a_key_nothing_runs(dsn: str, state_dir: Path, flavour: Flavour) -> None:
    state_dir.mkdir(mode=0o700)
    (state_dir / value_keys.DIGEST_FILE).write_bytes(b"")
    (state_dir / value_keys.DIGEST_FILE).chmod(0o600)
    with pytest.raises(AuditUnavailable, match="has not 32 bytes") as refused:
        await _run(flavour, dsn, _governor("digest"), ("SELECT %s::text", (CANARY,)))
    assert refused.value.rule == "audit.values"
    assert not _records(state_dir)


async def test_without_a_key_it_runs_where_the_policy_says_so_and_the_record_tells(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    state_dir.mkdir(mode=0o700)
    (state_dir / value_keys.DIGEST_FILE).write_bytes(b"x")
    (state_dir / value_keys.DIGEST_FILE).chmod(0o644)
    governor = _governor("digest", 'on_failure = "continue"\n')
    await _run(flavour, dsn, governor, ("SELECT %s::text", (CANARY,)))
    (record,) = _records(state_dir)
    assert record["values"] == {"unavailable": True}
    assert governor.stats()["unrecorded"] == 1


async def test_a_batch_has_its_first_values_and_says_how_many_more(
    dsn: str, state_dir: Path, flavour: Flavour
) -> None:
    governor = _governor("digest")
    with psycopg.connect(dsn, autocommit=True) as bare:
        bare.execute("CREATE TABLE IF NOT EXISTS batched (a int, b int)")
    sets = [(n, n) for n in range(MAX_VALUES)]
    identity = governed_db.Identity.agent("writer")
    async with flavour.connect(dsn, governor=governor, identity=identity, autocommit=True) as conn:
        with pytest.raises(governed_db.GovernanceError):
            await do(conn.cursor().executemany("INSERT INTO batched VALUES (%s, %s)", sets))
    governor.close()
    (refusal,) = [e for e in read(state_dir / "journal") if e["kind"] == "refusal"]
    assert len(refusal["values"]["parameters"]) == MAX_VALUES
    assert refusal["values"]["left_out"] == MAX_VALUES


async def test_what_is_too_long_is_left_out_and_said(dsn: str, state_dir: Path, flavour: Flavour) -> None:
    await _run(flavour, dsn, _governor("encrypted"), ("SELECT %s::text", ("x" * MAX_SEALED,)))
    (record,) = _records(state_dir)
    assert record["values"].keys() == {"key", "too_long"}


def test_many_processes_make_one_key(tmp_path: Path, process: Callable[..., Any]) -> None:
    script = (
        "import sys; from pathlib import Path; from governed_db.audit import value_keys\n"
        "print(value_keys.digests(Path(sys.argv[1])).digest(b'x'))"
    )
    started = [process(script, tmp_path / "state") for _ in range(6)]
    assert len({one.communicate(timeout=60)[0] for one in started}) == 1


def test_one_key_for_a_caller_and_a_month(tmp_path: Path) -> None:
    now = 1_800_000_000.0
    keys = value_keys.Keys(tmp_path / "values", clock=lambda: now)
    a, b = keys.current("human::anna"), keys.current("human::ben")
    assert keys.current("human::anna") == a
    assert a[0] != b[0]
    assert a[1] != b[1]
    now += 40 * 86_400
    assert keys.current("human::anna")[1] != a[1]
    assert "anna" not in " ".join(os.listdir(tmp_path / "values"))
    assert list(keys.destroy(month=a[0][:7])) == sorted([a[0], b[0]])
    with pytest.raises(ValueError, match="caller or a month"):
        list(keys.destroy())


def test_a_key_that_was_destroyed_is_not_used_again(tmp_path: Path) -> None:
    keys = value_keys.Keys(tmp_path / "values")
    name, secret = keys.current("human::anna")
    sealed = seal(secret, name, b"before")
    list(keys.destroy(who="human::anna"))
    again, other = keys.current("human::anna")
    assert again == name
    assert other != secret
    with pytest.raises(ValueError, match="not sealed with the key"):
        opened(other, name, sealed)


@pytest.mark.parametrize("name", ["../../etc/passwd", "2026-11-../x", "", "a/b"])
def test_a_name_from_a_record_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    assert value_keys.Keys(tmp_path).named(name) is None


def test_keys_show_nowhere(tmp_path: Path) -> None:
    digests = value_keys.digests(tmp_path)
    secret = private.read(tmp_path / value_keys.DIGEST_FILE, 100)
    keys = value_keys.Keys(tmp_path / "values")
    keys.current("human::anna")
    assert "_key" not in repr(digests)
    assert secret.decode().strip() not in repr(digests)
    assert "_held" not in repr(keys)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    value_keys.digests(tmp_path)
    (tmp_path / value_keys.DIGEST_FILE).chmod(mode)
    with pytest.raises(AuditUnavailable, match="Others than this user"):
        value_keys.digests(tmp_path)


def test_threads_share_a_key(tmp_path: Path) -> None:
    keys = value_keys.Keys(tmp_path / "values")
    found: list[tuple[str, bytes]] = []
    threads = [threading.Thread(target=lambda: found.append(keys.current("human::anna"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


@given(strategies.binary(max_size=200), strategies.binary(min_size=32, max_size=32))
def test_what_was_sealed_opens_and_nothing_else_does(plain: bytes, secret: bytes) -> None:
    sealed = seal(secret, "k", plain)
    assert opened(secret, "k", sealed) == plain
    with pytest.raises(ValueError, match="not sealed"):
        opened(secret, "other", sealed)
    with pytest.raises(ValueError, match="not sealed"):
        opened(secret, "k", sealed[:-8])


@pytest.mark.parametrize(
    ("oid", "data", "text"),
    [
        (21, b"\xff\xfe", b"-2"),
        (23, b"\x00\x00\x12\x67", b"4711"),
        (20, b"\x80" + bytes(7), b"-9223372036854775808"),
        (26, b"\xff\xff\xff\xff", b"4294967295"),
        (16, b"\x01", b"t"),
        (2950, bytes(16), b"00000000-0000-0000-0000-000000000000"),
        (17, b"\x00\xff", b"\x00\xff"),
    ],
)
def test_binary_values_are_read_as_postgresql_writes_them(oid: int, data: bytes, text: bytes) -> None:
    assert as_text(data, oid) == text


def test_constants_are_found_wherever_they_stand() -> None:
    found = constants(
        read_statement(
            "WITH w AS (SELECT 1 AS a) UPDATE t SET b = 'two', c = NULL, d = true FROM w"
            " WHERE e = 2.5 AND f IN (3, -4) AND g = B'101' AND h = E'\\n' AND i LIKE $1 AND j = 0 AND k = ''"
        )
    )
    assert list(found) == [b"1", b"two", None, b"t", b"2.5", b"3", b"-4", b"b101", b"\n", b"0", b""]


def test_a_word_that_is_none_is_an_error() -> None:
    with pytest.raises(PolicyError, match="unknown word 'raw'"):
        load_bytes(b'[audit]\nvalues = "raw"\n', "p")

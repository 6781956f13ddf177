"""The archive of catalogs: whole, exact, bounded, and in nobody's way."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import orjson
import psycopg
import pytest
from attrs import evolve

from governed_db import Governor, Identity
from governed_db.audit import archive as archive_module
from governed_db.audit import reader
from governed_db.audit.archive import Archive
from governed_db.audit.plain import pack, unpack
from governed_db.catalog.model import Catalog, Column, Function, Relation, Trigger
from governed_db.errors import PolicyError
from governed_db.policy import load_bytes
from governed_db.statement.facts import Access
from tests.flavours import Flavour, do

flavours = pytest.mark.parametrize("name", ["sync", "async"])
AGENT = Identity.agent("bot")


def catalog(version: str = "a1") -> Catalog:
    trigger = Trigger(name="t", function=7, events=frozenset({Access.UPDATE, Access.INSERT}), columns=(1, 2))
    relation = Relation(
        oid=5,
        schema="public",
        name="people",
        kind="r",
        columns=(Column(1, "id", 23, -1, True), Column(2, "mail", 25, -1, False, "an e-mail address")),
        keys=(frozenset({1}), frozenset({1, 2})),
        triggers=(trigger,),
    )
    function = Function(
        oid=7,
        schema="public",
        name="f",
        arguments=(23, 25),
        defaults=0,
        variadic=False,
        volatility="v",
        language="sql",
        kind="f",
        returns=16,
        returns_set=False,
        security_definer=False,
    )
    return Catalog(
        version=version,
        server_version=150004,
        relations={5: relation},
        functions={"f": (function,)},
        types={},
    )


def test_a_catalog_comes_back_as_it_was(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "catalogs")
    archive.keep(catalog())
    archive.close()
    assert archive.load("a1") == catalog()
    assert stat.S_IMODE(archive.folder.stat().st_mode) == 0o700
    (file,) = archive.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_fields_a_class_has_not_yet_or_no_more_are_no_matter() -> None:
    stored = orjson.loads(pack(catalog()))
    place = stored["fields"]["Relation"].index("triggers")
    stored["fields"]["Relation"][place] = "taken_away"
    stored["fields"]["Catalog"].append("added_later")
    stored["value"].append([1])
    read = unpack(Catalog, orjson.dumps(stored))
    assert read == evolve(catalog(), relations={5: evolve(catalog().relations[5], triggers=())})


@pytest.mark.parametrize(
    "packed",
    [
        b"{}",
        b"[]",
        b'"x"',
        b"",
        b'{"fields":{},"value":{}}',
        b'{"fields":{"Catalog":["version"]},"value":[3]}',
        b'{"fields":{"Catalog":["version","relations"]},"value":["v"]}',
        b'{"fields":{"Catalog":["version","relations"]},"value":["v",5]}',
    ],
)
def test_what_is_no_catalog_is_none(packed: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        unpack(Catalog, packed)


def test_what_has_no_plain_form_is_an_error() -> None:
    with pytest.raises(TypeError):
        pack(evolve(catalog(), types={5: object()}))


def test_only_so_many_stay_the_least_recently_used_go(tmp_path: Path) -> None:
    for number in range(5):
        archive = Archive(tmp_path)
        archive.keep(catalog(f"v{number}"), 3)
        archive.close()
        os.utime(tmp_path / f"v{number}.json.z", ns=(number * 10**9, number * 10**9))
    archive = Archive(tmp_path)
    archive.keep(catalog("v2"), 3)  # in use again
    archive.close()
    archive.keep(catalog("v9"), 3)
    archive.close()
    assert sorted(archive.versions()) == ["v2", "v4", "v9"]


def test_a_file_that_was_damaged_is_no_catalog(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.keep(catalog())
    archive.close()
    path = tmp_path / "a1.json.z"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-9], b"y" + whole[1:]):
        path.write_bytes(damaged)
        assert archive.load("a1") is None
    path.write_bytes(whole)
    path.rename(tmp_path / "b2.json.z")
    assert archive.load("b2") is None  # it is not what its name says
    assert archive.load("../../etc/passwd") is None


def test_what_cannot_be_written_is_counted_and_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "catalogs"
    folder.write_bytes(b"")
    archive = Archive(folder)
    archive.keep(catalog())
    archive.close()
    assert (archive.failures, archive.load("a1")) == (1, None)
    folder.unlink()
    archive.keep(catalog())
    archive.close()
    assert archive.load("a1") == catalog()


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    archive = Archive(tmp_path)
    archive.keep(catalog())
    archive.close()
    assert archive.failures == 1
    assert archive.versions() == []


def test_nobody_waits_for_the_disk_and_writers_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    settle = archive_module.settle
    monkeypatch.setattr(archive_module, "settle", lambda folder: gate.wait(20) and settle(folder))
    archive = Archive(tmp_path)
    for number in range(archive_module.MAX_WRITERS + 3):
        archive.keep(catalog(f"v{number}"))  # returns although nothing can be written
    gate.set()
    archive.close()
    assert len(archive.versions()) == archive_module.MAX_WRITERS
    archive.keep(catalog("v6"))
    archive.close()
    assert "v6" in archive.versions()


@flavours
async def test_the_catalog_that_a_record_names_is_on_file(dsn: str, tmp_path: Path, name: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS things")
        conn.execute("CREATE TABLE things (id int PRIMARY KEY)")
    governor = Governor.preset("standard", state_dir=tmp_path)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        await do(conn.execute("SELECT id FROM things"))
        first = conn._seat.catalog
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("ALTER TABLE things ADD COLUMN name text")
        conn._seat.catalog_stale = True
        await do(conn.execute("SELECT name FROM things"))
        second = conn._seat.catalog
    governor.close()
    named = [
        e["where"]["catalog"] for e in reader.statements(governor.trail.folder) if "FROM things" in str(e)
    ]
    assert named == [first.version, second.version]
    assert governor.trail.archive is not None
    assert governor.trail.archive.folder == tmp_path / "catalogs"
    assert governor.trail.archive.load(named[0]) == first
    assert governor.trail.archive.load(named[1]) == second


@flavours
@pytest.mark.parametrize("how", ["off", "observe"])
async def test_no_catalog_is_kept_where_nobody_wants_one(
    dsn: str, tmp_path: Path, name: str, how: str
) -> None:
    policy = load_bytes(b'extends = "standard"\n[audit]\ncatalogs = "off"\n', "p")
    governor = (
        Governor(policy, state_dir=tmp_path)
        if how == "off"
        else Governor.preset("observe", state_dir=tmp_path)
    )
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("SELECT 1"))
    governor.close()
    assert not (tmp_path / "catalogs").exists()
    (entry,) = [e for e in reader.statements(governor.trail.folder) if e["what"].get("text") == "SELECT $1"]
    assert ("catalog" in entry["where"]) is (how == "off")


@flavours
async def test_an_archive_that_fails_refuses_nothing(dsn: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "catalogs").write_bytes(b"")
    governor = Governor.preset("standard", state_dir=tmp_path)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        cur = await do(conn.execute("SELECT 1"))
        assert await do(cur.fetchone()) == (1,)
    governor.close()
    assert governor.trail.archive is not None
    assert governor.trail.archive.failures >= 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('catalogs = "maybe"', "unknown word 'maybe'"),
        ("catalogs_kept = 0", "from 1 to 10000"),
        ("catalogs_kept = 10001", "from 1 to 10000"),
        ("catalogs_kept = true", "takes a number"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(line: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        load_bytes(f"[audit]\n{line}\n".encode(), "p")

"""What a record holds so that its statement can be judged again, as real statements leave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from governed_db import Governor, Identity
from governed_db.audit import reader
from governed_db.policy import load_bytes
from governed_db.policy.simulate import judged
from tests.flavours import Flavour, do

flavours = pytest.mark.parametrize("name", ["sync", "async"])
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "journal.md"
CHIEF = Identity.human("chief", groups=("board",))
AGENT = Identity.agent("bot", on_behalf_of=Identity.human("anna", groups=("sales",), on_behalf_of=CHIEF))


@pytest.fixture(scope="module", autouse=True)
def schema(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE people (id int PRIMARY KEY, mail text, city text);"
            "CREATE VIEW cities AS SELECT id, upper(city) AS city FROM people;"
            "CREATE SCHEMA aside; CREATE TABLE aside.notes (id int PRIMARY KEY, note text)"
        )


async def records(
    dsn: str, folder: Path, name: str, *texts: str, preset: str = "standard", **kw: Any
) -> list[dict[str, Any]]:
    governor = Governor.preset(preset, state_dir=folder)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT, autocommit=True, **kw) as conn:
        for text in texts:
            try:
                await do(conn.execute(text))
            except psycopg.Error:
                assert preset == "standard"
    governor.close()
    ours = [dict(e) for e in judged(reader.statements(governor.trail.folder))]
    assert len(ours) == len(texts)
    return ours


@flavours
async def test_lineage_by_names(dsn: str, tmp_path: Path, name: str) -> None:
    plain, computed, view = await records(
        dsn,
        tmp_path,
        name,
        "SELECT mail, city FROM people WHERE id = 1",
        "SELECT lower(city) FROM people ORDER BY id",
        "SELECT city FROM cities",
    )
    assert plain["what"]["columns"] == ["public.people.city", "public.people.id", "public.people.mail"]
    assert plain["what"]["lineage"] == {"outputs": [[1, 2], [1, 0]], "uses": [["WHERE", 1, None, "equality"]]}
    assert sorted(plain["what"]["touched"]["read"]) == [0, 1, 2]
    assert computed["what"]["lineage"]["outputs"] == [[0, 0]]
    assert computed["what"]["functions"] == ["pg_catalog.lower"]
    assert ["ORDER BY", 1] in computed["what"]["lineage"]["uses"]
    assert view["what"]["columns"] == ["public.cities.city"]
    assert "public.people.city" in view["what"]["touched"]["read"]


@flavours
async def test_standing_catalog_and_identity(dsn: str, tmp_path: Path, name: str) -> None:
    (entry,) = await records(
        dsn, tmp_path, name, "SELECT note FROM notes", options="-c search_path=aside -c row_security=off"
    )
    place = entry["where"]
    assert place["search_path"] == ["pg_catalog", "aside"]
    assert place["settings"] == {"row_security": "off"}
    assert len(place["catalog"]) == 64
    assert entry["who"]["on_behalf_of"] == [
        {"kind": "human", "subject": "anna", "verified": False, "groups": ["sales"]},
        {"kind": "human", "subject": "chief", "verified": False, "groups": ["board"]},
    ]


@flavours
async def test_under_observe_there_is_what_the_text_says(dsn: str, tmp_path: Path, name: str) -> None:
    entry, uncertain = await records(
        dsn, tmp_path, name, "SELECT lower(city) FROM people", "SELECT p.city FROM people p", preset="observe"
    )
    assert "lineage" not in entry["what"]
    assert "catalog" not in entry["where"]
    assert entry["what"]["functions"] == ["lower"]
    assert uncertain["what"]["functions_or_columns"] == ["city"]


@flavours
async def test_writes_say_how_many_rows_are_proven(dsn: str, tmp_path: Path, name: str) -> None:
    one, many, cte = await records(
        dsn,
        tmp_path,
        name,
        "UPDATE people SET city = 'x' WHERE id = 1",
        "UPDATE people SET city = 'x' WHERE city = 'y'",
        "WITH gone AS (DELETE FROM people WHERE id > 3 RETURNING id) SELECT count(*) FROM gone",
    )
    assert one["what"]["rows"] == 1
    assert "rows" not in many["what"]
    assert set(one["what"]["touched"]) == {"read", "update"}
    assert [r["name"] for r in cte["what"]["relations"]] == ["public.people"]


@flavours
async def test_a_refused_batch_says_how_large_it_was(dsn: str, tmp_path: Path, name: str) -> None:
    governor = Governor.preset("standard", state_dir=tmp_path)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(psycopg.Error):
            await do(conn.cursor().executemany("DELETE FROM people WHERE mail = %s OR true", [("a",)] * 3))
    governor.close()
    (entry,) = [e for e in reader.statements(governor.trail.folder) if e["kind"] == "refusal"]
    assert entry["happened"]["batch_size"] == 3


@flavours
async def test_every_field_is_in_the_reference(dsn: str, tmp_path: Path, name: str) -> None:
    entries = await records(
        dsn,
        tmp_path,
        name,
        "SELECT mail, pg_catalog.lower(city) FROM people WHERE id = 1",
        "UPDATE people SET city = 'x' WHERE id = 1",
        "DROP TABLE people",
        "DELETE FROM people",
        "SELECT nobody FROM people",
        "SELEC 1",
    )
    page = PAGE.read_text()
    used = {key for entry in entries for key in _keys(entry)}
    assert used > {"lineage", "touched", "catalog", "search_path", "masked", "bytes"}
    assert sorted(key for key in used if f"`{key}`" not in page) == []


# What a name maps to is data, not a field; the reader's own fields are described in prose.
_DATA = frozenset({"settings"})


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            if key not in _DATA:
                yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


@flavours
async def test_a_name_written_otherwise_is_kept(dsn: str, tmp_path: Path, name: str) -> None:
    policy = load_bytes(b'extends = "standard"\nservices = ["owner"]\n', "p")
    governor = Governor(policy, state_dir=tmp_path)
    owner = Identity.service("owner")
    async with Flavour(name).connect(dsn, governor=governor, identity=owner, autocommit=True) as conn:
        await do(conn.execute("CREATE TEMP TABLE mine (a int)"))
        await do(conn.execute("SELECT a FROM pg_temp.mine"))
    governor.close()
    *_, last = judged(reader.statements(governor.trail.folder))
    (relation,) = last["what"]["relations"]
    assert relation["name"].startswith("pg_temp_")
    assert relation["written"] == "pg_temp.mine"

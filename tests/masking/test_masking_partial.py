"""Partial indexes that a row leaves, views that are locked, and what triggers take from views."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

import governed_db
from governed_db import Governor, Identity
from governed_db.errors import GovernanceError, MaskedColumnRefused
from tests.flavours import Flavour, do

SCHEMA = """
CREATE TABLE member (id int PRIMARY KEY, email text, alias text, deleted_at timestamptz,
  hidden boolean NOT NULL DEFAULT false, seen_at timestamptz);
CREATE UNIQUE INDEX member_live ON member (lower(email)) WHERE deleted_at IS NULL AND NOT hidden;
CREATE TABLE guest (id int PRIMARY KEY, email text, deleted_at timestamptz, seen_at timestamptz);
CREATE UNIQUE INDEX guest_live ON guest (email) WHERE deleted_at IS NULL;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.seen_at := now(); RETURN NEW; END $$;
CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.deleted_at := NULL; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON member FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER undo BEFORE UPDATE ON guest FOR EACH ROW EXECUTE FUNCTION undo();
CREATE TABLE pupil (id int PRIMARY KEY, email text, deleted_at timestamptz);
CREATE UNIQUE INDEX pupil_known ON pupil (email) WHERE deleted_at IS NOT NULL;
CREATE TABLE town (id int PRIMARY KEY, name text);
CREATE TABLE digest (id int, what text);
CREATE VIEW shown AS SELECT id, md5(email) AS what FROM member;
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.what := (SELECT s.what FROM shown s WHERE s.id = NEW.id); RETURN NEW; END $$;
CREATE TRIGGER fill BEFORE INSERT ON digest FOR EACH ROW EXECUTE FUNCTION fill();
INSERT INTO member (id, email) VALUES (1, 'one@example.org'), (2, 'two@example.org');
INSERT INTO town VALUES (1, 'Bonn');
INSERT INTO digest (id) VALUES (1);
"""


@pytest.fixture(scope="module")
def partial_dsn(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA)
    return dsn


@pytest.fixture
def governor() -> Iterator[Governor]:
    made = Governor.preset("standard")
    yield made
    made.close()


LEAVES = [
    "UPDATE member SET deleted_at = now() WHERE id = 1",
    "UPDATE member SET deleted_at = CURRENT_TIMESTAMP WHERE id = 1",
    "UPDATE member SET deleted_at = '2025-01-01' WHERE id = 1",
    "UPDATE member SET deleted_at = '2025-01-01'::timestamptz, hidden = false WHERE id = 1",
    "UPDATE member SET hidden = true WHERE id = 1",
    "UPDATE member SET hidden = 'yes' WHERE id = 1",
]
STAYS = [
    "UPDATE member SET deleted_at = NULL WHERE id = 1",
    "UPDATE member SET deleted_at = nullif(now(), now()) WHERE id = 1",
    "UPDATE member SET deleted_at = seen_at WHERE id = 1",
    "UPDATE member SET deleted_at = (SELECT max(deleted_at) FROM pupil) WHERE id = 1",
    "UPDATE member SET hidden = false WHERE id = 1",
    "UPDATE member SET hidden = NOT hidden WHERE id = 1",
    "WITH a AS (UPDATE member SET deleted_at = now() WHERE id = 1) "
    "UPDATE member SET deleted_at = NULL WHERE id = 2",
    "WITH a AS (UPDATE member SET deleted_at = now() WHERE id = 1) "
    "UPDATE member SET hidden = false WHERE id = 2",
    "UPDATE guest SET deleted_at = now() WHERE id = 1",  # its trigger takes that back
    "UPDATE pupil SET deleted_at = now() WHERE id = 1",
]


@pytest.mark.parametrize("sql", LEAVES)
def test_a_row_that_leaves_a_partial_index_is_held_against_nothing(
    partial_dsn: str, governor: Governor, sql: str
) -> None:
    with governed_db.connect(partial_dsn, governor=governor, identity=Identity.agent("a")) as conn:
        assert conn.execute(sql).rowcount == 1
        conn.rollback()


@pytest.mark.parametrize("sql", STAYS)
def test_a_row_that_may_be_in_a_partial_index_is_held_against_the_others(
    partial_dsn: str, governor: Governor, sql: str
) -> None:
    with (
        governed_db.connect(partial_dsn, governor=governor, identity=Identity.agent("a")) as conn,
        pytest.raises(MaskedColumnRefused, match="index"),
    ):
        conn.execute(sql)


def test_what_a_trigger_takes_from_a_view_is_as_sensitive_as_what_the_view_is_made_of(
    partial_dsn: str, governor: Governor
) -> None:
    with governed_db.connect(partial_dsn, governor=governor, identity=Identity.agent("a")) as conn:
        assert conn.execute("SELECT what FROM digest").fetchone() == ("[PII]",)


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_work_goes_on_beside_a_table_that_is_being_changed(
    partial_dsn: str, governor: Governor, name: str
) -> None:
    given = {"governor": governor, "identity": Identity.agent("a"), "autocommit": True}
    with psycopg.connect(partial_dsn) as migration:
        migration.execute("LOCK TABLE member IN ACCESS EXCLUSIVE MODE")
        async with Flavour(name).connect(partial_dsn, **given) as conn:
            cursor = await do(conn.execute("SELECT name FROM town"))
            assert await do(cursor.fetchone()) == ("Bonn",)
            # What the view is made of is not known now, and what a trigger took from it is not either.
            cursor = await do(conn.execute("SELECT what FROM digest"))
            assert await do(cursor.fetchone()) == ("[PII]",)
            with pytest.raises(GovernanceError, match="while another session holds what it reads"):
                await do(conn.execute("SELECT id FROM shown"))

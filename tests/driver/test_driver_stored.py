"""Values of masked columns that stay in the database: audit triggers and rows that are moved."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from governed_db import Governor, Identity, MaskedColumnRefused
from tests.flavours import Flavour, do

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot")
flavours = pytest.mark.parametrize("name", ["sync", "async"])
SECRET = "eve@example.org"

SCHEMA = """
CREATE TABLE people (id int PRIMARY KEY, email text, city text);
CREATE TABLE people_archive (id int PRIMARY KEY, email text, city text, phone text);
CREATE TABLE short (id int PRIMARY KEY, email varchar(3));
CREATE TABLE uniq (id int PRIMARY KEY, email text UNIQUE);
CREATE TABLE pointing (id int PRIMARY KEY, email text REFERENCES uniq (email));
CREATE TABLE busy (id int PRIMARY KEY, email text);
CREATE TABLE plain (id int, word text);
CREATE TABLE open (id int, word text);
CREATE TABLE changes (id bigserial PRIMARY KEY, tab text, was jsonb, became jsonb);
CREATE TABLE told (id bigserial PRIMARY KEY, word text UNIQUE);
CREATE FUNCTION log_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN INSERT INTO changes (tab, was) VALUES (TG_TABLE_NAME, to_jsonb(OLD)); RETURN OLD;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO changes (tab, was, became) VALUES (TG_TABLE_NAME, to_jsonb(OLD), row_to_json(NEW)::jsonb);
  ELSE INSERT INTO changes (tab, became) VALUES (TG_TABLE_NAME, to_jsonb(NEW)); END IF;
  RETURN NEW; END $$;
CREATE TRIGGER log_people AFTER INSERT OR UPDATE OR DELETE ON people
  FOR EACH ROW EXECUTE FUNCTION log_change();
CREATE TABLE leaky (id int PRIMARY KEY, email text);
CREATE FUNCTION keep(word text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO plain (word) VALUES (word); RETURN word; END $$;
CREATE FUNCTION leak() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO people_archive (id, email) VALUES (NEW.id, keep(OLD.email)); RETURN NEW; END $$;
CREATE TRIGGER leak AFTER UPDATE ON leaky FOR EACH ROW EXECUTE FUNCTION leak();
CREATE TABLE telling (id int PRIMARY KEY, email text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO told (word) VALUES (OLD.email); RETURN NEW; END $$;
CREATE TRIGGER tell AFTER UPDATE ON telling FOR EACH ROW EXECUTE FUNCTION tell();
CREATE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO plain (word) VALUES (NEW.email); RETURN NEW; END $$;
CREATE TRIGGER pass_on AFTER INSERT ON busy FOR EACH ROW EXECUTE FUNCTION pass_on();
CREATE TABLE jobs (id int PRIMARY KEY, queue text);
CREATE FUNCTION notify_job() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM pg_notify('jobs', NEW.id::text); RETURN NEW; END $$;
CREATE TRIGGER notify_job AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION notify_job();
INSERT INTO people SELECT g, 'eve@example.org', 'Oslo' FROM generate_series(1, 4) g;
INSERT INTO leaky VALUES (1, 'eve@example.org'), (2, 'x');
INSERT INTO telling VALUES (1, 'eve@example.org'), (2, 'x');
"""


@pytest.fixture(scope="module")
def there(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA)
    return dsn


@pytest.fixture
def governor(tmp_path) -> Iterator[Governor]:
    made = Governor.preset("standard", state_dir=tmp_path)
    yield made
    made.close()


async def run(name: str, there: str, governor: Governor, *steps: str) -> str:
    """Send ``steps`` in one transaction that is rolled back; return what came back."""
    seen = []
    async with Flavour(name).connect(there, governor=governor, identity=AGENT) as conn:
        try:
            for step in steps:
                cursor = await do(conn.execute(step))
                if cursor.description:
                    seen.append(repr(await do(cursor.fetchall())))
        finally:
            await do(conn.rollback())
    return "\n".join(seen)


@flavours
@pytest.mark.parametrize(
    "step",
    [
        "INSERT INTO people VALUES (9, 'new@example.org', 'Graz')",
        "UPDATE people SET city = 'Lyon' WHERE id = 1",
        "DELETE FROM people WHERE id = 2",
        "INSERT INTO people_archive SELECT * FROM people WHERE id < 3 RETURNING *",
        "WITH gone AS (DELETE FROM people WHERE id = 3 RETURNING *)"
        " INSERT INTO people_archive SELECT * FROM gone",
        "INSERT INTO jobs VALUES (1, 'mail')",
    ],
)
async def test_writes_that_keep_values_where_they_are_masked_run(name, there, governor, step):
    back = await run(
        name,
        there,
        governor,
        step,
        "SELECT * FROM changes",
        "SELECT was FROM changes",
        "TABLE people_archive",
    )
    assert SECRET not in back
    assert "new@example.org" not in back


@flavours
@pytest.mark.parametrize(
    "step",
    [
        "SELECT was ->> 'email' FROM changes",  # what the trigger puts there is masked, in part too
        "INSERT INTO open (id, word) SELECT id, email FROM people WHERE id = 1",  # not a masked column
        "INSERT INTO people_archive (id, email) SELECT id, email || '' FROM people WHERE id = 1",  # computed
        "INSERT INTO people_archive (id, city) SELECT id, email FROM people WHERE id = 1",
        "UPDATE people_archive SET phone = p.email FROM people p WHERE p.id = 1",  # of another kind
        "INSERT INTO short SELECT id, email FROM people WHERE id = 1",  # an error would tell its length
        "INSERT INTO uniq SELECT id, email FROM people WHERE id = 1",  # that another row has it
        "INSERT INTO pointing SELECT id, email FROM people WHERE id = 1",  # that another table has it
        "INSERT INTO busy SELECT id, email FROM people WHERE id = 1",  # a trigger passes it on
        "UPDATE leaky SET id = 5 WHERE id = 1",  # a function in the trigger passes it on
        "UPDATE telling SET id = 5 WHERE id = 1",  # kept where a duplicate is an error
    ],
)
async def test_values_go_nowhere_else(name, there, governor, step):
    with pytest.raises(MaskedColumnRefused):
        await run(name, there, governor, step)


async def test_a_refusal_for_a_trigger_says_that_no_other_text_helps(there, governor):
    with pytest.raises(MaskedColumnRefused, match=r"trigger tell .* No such write of this table passes"):
        await run("sync", there, governor, "UPDATE telling SET id = 5 WHERE id = 1")

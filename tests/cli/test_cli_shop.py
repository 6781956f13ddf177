"""The demo's shop: the same rows every time, sound, and full of what must be masked."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import psycopg
import pytest

from governed_db.cli import shop

DIGEST = """
import hashlib
from governed_db.cli import shop
# Jsonb prints its address.
rows = [[getattr(value, "obj", value) for value in row] for table in shop.rows().values() for row in table]
print(hashlib.sha256(repr(rows).encode()).hexdigest())
"""

FICTION = "|".join(
    [
        r"\+49 30 23125 \d{3}",
        r"\+44 7700 900\d{3}",
        r"\+33 6 39 98 \d\d \d\d",
        r"\+1 202 555 01\d\d",
        r"\+48 22 000 0\d \d\d",
    ]
)


@pytest.fixture(scope="module")
def tables() -> dict[str, list[shop.Row]]:
    return shop.rows()


def test_the_rows_are_the_same_every_time() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_there_are_some_ten_thousand(tables: dict[str, list[shop.Row]]) -> None:
    assert len(tables["customers"]) == 2500
    assert 9_000 < sum(map(len, tables.values())) < 13_000
    pending = [order for order in tables["orders"] if order[2] == "pending"]
    assert len(pending) > 100  # what the demo's agent may not change in one go


def test_nobody_in_it_can_be_reached(tables: dict[str, list[shop.Row]]) -> None:
    mails = [customer[2] for customer in tables["customers"]]
    assert len({*mails}) == len(mails)
    assert all(re.fullmatch(r"[a-z.]+\d+@example\.(com|org|net)", mail) for mail in mails)
    phones = [customer[3] for customer in tables["customers"] if customer[3]]
    assert all(re.fullmatch(FICTION, phone) for phone in phones)


def test_account_numbers_have_right_check_digits(tables: dict[str, list[shop.Row]]) -> None:
    lengths = {"DE": 22, "GB": 22, "FR": 27, "PL": 28}  # ISO 13616 registry
    for payment in tables["payments"]:
        iban = payment[3]
        assert len(iban) == lengths[iban[:2]]
        assert int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def test_free_text_holds_personal_data(tables: dict[str, list[shop.Row]]) -> None:
    noted = [c for c in tables["customers"] if c[10]]
    assert len(noted) > 500
    assert all("{" not in c[10] for c in noted)
    assert any(c[2] in c[10] for c in noted)
    people = {c[0]: c for c in tables["customers"]}
    bodies = [(people[t[1]], t[3]) for t in tables["support_tickets"]]
    assert sum(c[1].split()[0] in body or c[2] in body for c, body in bodies) > 600
    assert not [body for _, body in bodies if "{" in body or "None" in body]


def test_it_loads_in_one_transaction_and_keys_go_on(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        counts = shop.load(connection)
        assert counts == {table: len(content) for table, content in shop.rows().items()}
        with psycopg.connect(dsn) as other:
            assert other.execute("SELECT count(*) FROM customers").fetchone() == (2500,)
            created = other.execute(
                "INSERT INTO products (sku, title, category, price, stock)"
                " VALUES ('X', 'X', 'x', 1, 1) RETURNING id"
            ).fetchone()
            assert created == (shop.PRODUCTS + 1,)
            wrong = other.execute(
                "SELECT count(*) FROM orders o WHERE total <>"
                " (SELECT sum(quantity * unit_price) FROM order_items i WHERE i.order_id = o.id)"
            ).fetchone()
            assert wrong == (0,)
        # A second time: refused as a whole.
        with pytest.raises(psycopg.errors.DuplicateTable):
            shop.load(connection)

"""What each mask costs, as a ratio to bare psycopg: ``python -m benchmarks.masking``.

100,000 rows of five columns are executed and fetched, one column masked, by bare psycopg and through a
governed connection by turns on the same server. A figure is the median over rounds of the seconds of bare
psycopg divided by those of the governed connection in the same round: 1.0 is as fast, 0.5 takes twice as
long. The values of most masked columns are different in each row, the hardest case for what is remembered.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

import governed_db
from governed_db import Governor, Identity
from governed_db.masking.keys import Keyring, new_secret
from governed_db.testing import EmbeddedPostgres

ROWS = 100_000

TABLE = """
    CREATE TABLE customers (
        id bigint PRIMARY KEY, email text, full_name text, phone text, card varchar(20), birth_date date,
        national_id int, external_uuid uuid, city text, total numeric(10, 2), created_at timestamptz
    )
"""
ROW = """
    INSERT INTO customers SELECT
        n, substr(md5(n::text), 1, 12) || '@example' || n %% 50 || '.com',
        initcap(translate(substr(md5(n::text), 1, 7), '0123456789', 'ghijklmnop')) || ' '
            || initcap(translate(substr(md5('x' || n), 1, 9), '0123456789', 'ghijklmnop')),
        '+49 30 ' || 10000000 + n, '4111 1111 ' || 1000 + n / 10000 || ' ' || 1000 + n %% 9000,
        date '1940-01-01' + n %% 25000, n * 7, md5(n::text)::uuid, 'City ' || n %% 300, n / 7.0,
        timestamptz '2024-01-01' + n * interval '7 minutes'
    FROM generate_series(1, %s) n
"""
COLUMNS = {
    "email": "EMAIL_ADDRESS",
    "full_name": "PERSON_NAME",
    "phone": "PHONE_NUMBER",
    "card": "CREDIT_CARD_NUMBER",
    "birth_date": "DATE_OF_BIRTH",
    "national_id": "NATIONAL_ID",
    "external_uuid": "EXTERNAL_ID",
}
CASES = [
    ("redact", "email"),
    ("redact", "birth_date"),
    ("redact", "national_id"),
    ("nullify", "email"),
    ("partial", "email"),
    ("partial", "full_name"),
    ("partial", "phone"),
    ("partial", "card"),
    ("pseudonym", "email"),
    ("pseudonym", "card"),
    ("pseudonym", "national_id"),
    ("pseudonym", "external_uuid"),
    ("pseudonym", "birth_date"),
    ("token", "email"),
    ("date_shift", "birth_date"),
    ("generalise", "email"),
    ("generalise", "birth_date"),
    ("bucket", "national_id"),
    ("fake", "email"),
    ("format_preserving", "card"),
]
SLOW = frozenset({"fake", "format_preserving"})
"""Strategies that call a library of pure Python for each value: fewer rounds are enough to see it."""


def policy(folder: Path, strategy: str) -> Path:
    """Write a policy that masks every class by ``strategy``."""
    strategies = "".join(f'{label} = "{strategy}"\n' for label in COLUMNS.values())
    columns = "".join(f'"public.customers.{name}" = "{label}"\n' for name, label in COLUMNS.items())
    path = folder / f"{strategy}.toml"
    path.write_text(
        f'extends = "standard"\n[masking.columns]\n{columns}[masking.strategies]\n{strategies}', "utf-8"
    )
    return path


def fetch(conn: Any, query: str) -> float:
    """Return the seconds that it takes to have all rows."""
    before = time.perf_counter()
    rows = conn.cursor().execute(query).fetchall()
    seconds = time.perf_counter() - before
    assert len(rows) == ROWS
    return seconds


def measure(dsn: str, folder: Path, strategy: str, column: str, rounds: int) -> list[float]:
    """Return the ratio of each round."""
    query = f"SELECT id, {column}, city, total, created_at FROM customers"
    governor = Governor.load(
        policy(folder, strategy), state_dir=folder / strategy, keys=Keyring({1: new_secret()})
    )
    try:
        with (
            psycopg.connect(dsn, autocommit=True) as bare,
            governed_db.connect(
                dsn, autocommit=True, governor=governor, identity=Identity.agent("bench")
            ) as governed,
        ):
            for conn in (bare, governed):
                fetch(conn, query)
            ratios = []
            for turn in range(rounds):
                pair = [("bare", bare), ("governed", governed)]
                seconds = {name: fetch(conn, query) for name, conn in (pair if turn % 2 else pair[::-1])}
                ratios.append(seconds["bare"] / seconds["governed"])
            return ratios
    finally:
        governor.close()


def main() -> None:
    """Measure each strategy and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.masking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", help="one strategy")
    arguments = parser.parse_args()
    print(f"{'strategy':<18} {'column':<14} {'median':>7} {'least':>6} {'most':>6}")
    with EmbeddedPostgres() as server, tempfile.TemporaryDirectory() as folder:
        with psycopg.connect(server.conninfo(), autocommit=True) as conn:
            conn.execute(TABLE)
            conn.execute(ROW, (ROWS,))
            conn.execute("VACUUM ANALYZE")
        for strategy, column in CASES:
            if arguments.only in (None, strategy):
                rounds = min(arguments.rounds, 3) if strategy in SLOW else arguments.rounds
                ratios = measure(server.conninfo(), Path(folder), strategy, column, rounds)
                print(
                    f"{strategy:<18} {column:<14} {statistics.median(ratios):7.2f}"
                    f" {min(ratios):6.2f} {max(ratios):6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""What it costs to judge a statement: read, bound to a catalog, decided; seen first, and seen again."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

import governed_db
from governed_db import Governor, Identity
from governed_db.catalog.bind import bind
from governed_db.policy.model import Request
from governed_db.statement import read

SCHEMA = """
CREATE TABLE shops (id int PRIMARY KEY, city text NOT NULL, opened date);
CREATE TABLE items (id int PRIMARY KEY, shop_id int NOT NULL REFERENCES shops, label text, price numeric,
    stock int, tags text[], detail jsonb, made_at timestamptz DEFAULT now());
CREATE TABLE buyers (id int PRIMARY KEY, email text, phone text, city text);
CREATE TABLE sales (id bigserial PRIMARY KEY, item_id int REFERENCES items, buyer_id int REFERENCES buyers,
    amount int, sold_at timestamptz DEFAULT now());
CREATE VIEW turnover AS SELECT s.id, s.city, sum(v.amount * i.price) AS total
    FROM shops s JOIN items i ON i.shop_id = s.id JOIN sales v ON v.item_id = i.id GROUP BY s.id;
"""

# What agents and applications send; {n} makes each one distinct.
TEMPLATES = (
    "SELECT id, label, price FROM items WHERE id = {n}",
    "SELECT * FROM buyers WHERE id = {n}",
    "SELECT i.id, s.city FROM items i JOIN shops s ON s.id = i.shop_id WHERE i.price > {n}"
    " ORDER BY i.id LIMIT 20",
    "SELECT shop_id, count(*), avg(price) FROM items WHERE stock > {n} GROUP BY shop_id HAVING count(*) > 1",
    "WITH best AS (SELECT item_id, sum(amount) AS n FROM sales WHERE amount > {n} GROUP BY 1)"
    " SELECT i.label, best.n FROM best JOIN items i ON i.id = best.item_id ORDER BY best.n DESC LIMIT 10",
    "SELECT id, rank() OVER (PARTITION BY shop_id ORDER BY price DESC) FROM items WHERE id < {n}",
    "SELECT b.id, b.email, count(v.id) FROM buyers b LEFT JOIN sales v ON v.buyer_id = b.id"
    " WHERE b.id > {n} GROUP BY b.id",
    "SELECT city, total FROM turnover WHERE total > {n}",
    "SELECT id FROM items WHERE tags @> ARRAY['t{n}'] OR detail ->> 'k' = '{n}'",
    "SELECT date_trunc('month', sold_at), sum(amount) FROM sales WHERE item_id IN ({n}, 2, 3) GROUP BY 1",
    "INSERT INTO sales (item_id, buyer_id, amount) VALUES ({n}, 1, 2) RETURNING id",
    "INSERT INTO shops (id, city) VALUES ({n}, 'x') ON CONFLICT (id) DO UPDATE SET city = excluded.city",
    "UPDATE items SET stock = stock - 1, label = 'x' WHERE id = {n}",
    "UPDATE items SET price = 1 FROM shops s WHERE s.id = items.shop_id AND s.id = {n} AND items.id < 5",
    "DELETE FROM sales WHERE id IN ({n}, 1)",
    "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 't{n}'",
)
DISTINCT = 500


def distinct() -> list[str]:
    """Return that many different statements."""
    return [TEMPLATES[n % len(TEMPLATES)].format(n=n + 10) for n in range(DISTINCT)]


def timed(steps: list[Callable[[], Any]]) -> tuple[float, list[Any]]:
    """Return the median microseconds of a step, and what the steps returned."""
    times, answers = [], []
    for step in steps:
        before = time.perf_counter_ns()
        answers.append(step())
        times.append((time.perf_counter_ns() - before) / 1000)
    return statistics.median(times), answers


def analysis(dsn: str, state_dir: Path) -> Iterator[tuple[str, float]]:
    """Yield what is measured with its median in microseconds."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA)
    governor = Governor.preset("standard", state_dir=state_dir)
    agent = Identity.agent("bench")
    texts = distinct()
    with governed_db.connect(dsn, autocommit=True, governor=governor, identity=agent) as conn:
        conn.execute("SELECT 1")
        seat = conn._seat  # the benchmark measures the stages inside of it
        catalog, session = seat.catalog, seat.session
        assert catalog is not None
        assert session is not None
        bind(read("SELECT * FROM turnover"), catalog, session)
        us, statements = timed([lambda text=text: read(text) for text in texts])
        yield "read", us
        us, bounds = timed([lambda s=s: bind(s, catalog, session) for s in statements])
        yield "bind", us
        requests = [Request(statement=b.statement, identity=agent, bound=b) for b in bounds]
        us, _ = timed([lambda r=r: governor.decide(r) for r in requests])
        yield "decide", us
        ask = [lambda text=text: governor.check(text, identity=agent, connection=conn) for text in texts]
        us, _ = timed(ask)
        yield "all of it, first seen", us
        us, _ = timed(ask)
        yield "all of it, repeated", us
    governor.close()

"""What governing costs, as ratios to bare psycopg, measured in one run: ``python -m benchmarks``.

Contenders take turns round by round on connections to the same server, in an order that rotates, so
that drift of the machine hits all of them alike. Figures are medians over rounds; ratios are medians of
the ratio within each round (below 1: faster than bare psycopg).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

import governed_db
from benchmarks.analysis import DISTINCT, analysis
from governed_db import Governor, Identity
from governed_db.testing import EmbeddedPostgres

ROWS = 100_000
Contender = tuple[str, Any]


def prepare(dsn: str) -> None:
    """Create the table that all cases use."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE customers (id int PRIMARY KEY, email text, country text)")
        conn.execute(
            "INSERT INTO customers"
            " SELECT n, 'user' || n || '@example.com', 'DE' FROM generate_series(1, %s) n",
            (ROWS,),
        )
        conn.execute("CREATE TABLE sink (id int, label text)")
        conn.execute("ANALYZE")


@contextmanager
def contenders(dsn: str, folder: Path, names: list[str]) -> Iterator[list[Contender]]:
    """Yield an open connection per contender."""
    with ExitStack() as stack:
        made: list[Contender] = []
        for name in names:
            if name == "bare":
                conn: Any = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            elif name == "otel":
                conn = stack.enter_context(instrumented(dsn))
            else:
                preset, _, kind = name.partition("/")
                policy = folder / f"{preset}.toml"
                policy.write_text(f'extends = "{preset}"\nservices = ["bench"]\n')
                governor = Governor.load(policy, state_dir=folder / name, tracer_provider=provider())
                stack.callback(governor.close)
                identity = Identity(kind=kind, subject="bench")
                conn = stack.enter_context(
                    governed_db.connect(dsn, autocommit=True, governor=governor, identity=identity)
                )
            made.append((name, conn))
        yield made


def provider() -> Any:
    """Return a tracer provider that batches spans and throws them away."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    made = TracerProvider()
    made.add_span_processor(BatchSpanProcessor(Nowhere()))
    return made


def instrumented(dsn: str) -> Any:
    """Return a connection under opentelemetry-instrumentation-psycopg."""
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

    conn = psycopg.connect(dsn, autocommit=True)
    return PsycopgInstrumentor().instrument_connection(conn, tracer_provider=provider())


def point_query(conn: Any, times: int = 300) -> None:
    """Read one row by its key, again and again."""
    cur = conn.cursor()
    for n in range(times):
        cur.execute("SELECT id, country FROM customers WHERE id = %s", (n + 1,))
        cur.fetchone()


def fetch_open(conn: Any) -> None:
    """Fetch 100,000 rows, none of their columns masked."""
    conn.cursor().execute("SELECT id, country FROM customers").fetchall()


def fetch_masked(conn: Any) -> None:
    """Fetch 100,000 rows, one of their columns masked for agents."""
    conn.cursor().execute("SELECT id, email FROM customers").fetchall()


def executemany(conn: Any) -> None:
    """Insert 2,000 rows in one call."""
    conn.cursor().executemany("INSERT INTO sink VALUES (%s, %s)", [(n, "x") for n in range(2000)])


ALL = ["bare", "observe/service", "standard/service", "standard/agent", "otel"]
CASES: list[tuple[str, Callable[[Any], None], list[str], int]] = [
    ("point query", point_query, ALL, 30),
    ("fetch 100,000 rows, 0 masked", fetch_open, ALL, 15),
    ("fetch 100,000 rows, 1 masked", fetch_masked, ["bare", "standard/agent"], 15),
    ("executemany 2,000 rows", executemany, ["bare", "observe/service", "standard/service", "otel"], 15),
]


def measure(case: Callable[[Any], None], them: list[Contender], rounds: int) -> dict[str, list[float]]:
    """Return seconds per round for each contender."""
    for _, conn in them:
        case(conn)
    seconds: dict[str, list[float]] = {name: [] for name, _ in them}
    for turn in range(rounds):
        shift = turn % len(them)
        for name, conn in them[shift:] + them[:shift]:
            before = time.perf_counter()
            case(conn)
            seconds[name].append(time.perf_counter() - before)
    return seconds


def main() -> None:
    """Run all cases and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="rounds per case (default: the case's own)")
    parser.add_argument("--only-analysis", action="store_true", help="only what judging a statement costs")
    parser.add_argument("--without-otel", action="store_true", help="leave out OpenTelemetry's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres() as server:
        dsn = server.conninfo()
        prepare(dsn)
        print(f"{'case':32} {'contender':20} {'median ms':>10} {'ratio':>7}")
        for label, case, names, rounds in () if options.only_analysis else CASES:
            wanted = [n for n in names if not (n == "otel" and options.without_otel)]
            with contenders(dsn, Path(folder), wanted) as them:
                seconds = measure(case, them, options.rounds or rounds)
            for name, _ in them:
                pairs = zip(seconds[name], seconds["bare"], strict=True)
                ratio = statistics.median(mine / bare for mine, bare in pairs)
                print(f"{label:32} {name:20} {statistics.median(seconds[name]) * 1000:10.2f} {ratio:7.2f}")
        print(f"\n{f'judging {DISTINCT} distinct statements':40} {'median us':>10}")
        for label, microseconds in analysis(server.create_database("analysis"), Path(folder) / "analysis"):
            print(f"{label:40} {microseconds:10.1f}")


if __name__ == "__main__":
    main()

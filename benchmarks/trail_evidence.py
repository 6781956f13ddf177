"""What exports and reports of a long trail take, in time and memory: ``python -m benchmarks.trail_evidence``.

A trail of a million records, and one of a hundredth of it, are written by ``benchmarks.trail_records``. Each
command runs in a process of its own over both; peak memory is the process's, by the kernel's count, and
includes Python and every library. What grows with the trail shows against the last column.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = "import sys; from governed_db.cli import main; sys.exit(main(sys.argv[1:]))"
CASES = (
    ("read (show --json)", ["show", "--json", "--last", "1"], ""),
    ("export jsonl", ["export", "--format", "jsonl"], "jsonl"),
    ("export csv", ["export", "--format", "csv"], "csv"),
    ("export ocsf", ["export", "--format", "ocsf"], "ocsf"),
    ("export parquet", ["export", "--format", "parquet"], "parquet"),
    ("report", ["report", "--no-verify"], "html"),
    ("lineage (openlineage)", ["lineage", "--format", "openlineage"], "jsonl"),
    ("lineage (json)", ["lineage", "--format", "json"], "json"),
)


def run(arguments: list[str]) -> tuple[float, float]:
    """Run one command; return its seconds and its peak memory in MiB."""
    before = time.perf_counter()
    # wait4 gives the usage of this very child.
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "audit", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"audit {' '.join(arguments)} ended with {process.returncode}")
    # Linux counts in KiB, macOS in bytes.
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return time.perf_counter() - before, usage.ru_maxrss / scale


def main() -> None:
    """Write the trails, run every command over both, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.trail_evidence", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        place = Path(made)
        sizes = {"small": max(1000, options.records // 100), "large": options.records}
        for name, records in sizes.items():
            before = time.perf_counter()
            # Not in this process: what it held at its largest would count for every child.
            command = [
                sys.executable,
                "-m",
                "benchmarks.trail_records",
                str(place / name),
                "--records",
                str(records),
            ]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            print(f"{records:,} records written in {time.perf_counter() - before:.1f} s", flush=True)
        print(f"{'':24} {'seconds':>8} {'records/s':>10} {'MiB out':>8} {'peak MiB':>9} {'of 1/100':>9}")
        for label, arguments, suffix in CASES:
            out = place / f"out.{suffix}"
            found = {}
            for name in sizes:
                more = ["--out", str(out)] if suffix else []
                found[name] = run([*arguments, "--dir", str(place / name), *more])
            seconds, peak = found["large"]
            size = out.stat().st_size / (1 << 20) if suffix else 0.0
            print(
                f"{label:24} {seconds:8.1f} {options.records / seconds:10,.0f} {size:8.1f} {peak:9.0f}"
                f" {found['small'][1]:9.0f}",
                flush=True,
            )
            if suffix:
                out.unlink()


if __name__ == "__main__":
    main()

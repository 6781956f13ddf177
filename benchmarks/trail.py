"""A trail of a million records: ``python -m benchmarks.trail [--records N] [--keep FOLDER] [PART ...]``.

Each part runs in a process of its own, so that the peak of memory it prints is its own; "base" is what the
process had before the part began (Python, psycopg and the imports). A part is a function of the journal's
folder that returns what it wants to be printed; another one is another entry of :data:`PARTS`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.trail_records import write
from benchmarks.trail_ship import acknowledge, ship


def _signer() -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from governed_db.audit.signing import Signer

    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a benchmark's").digest())
    return Signer(key.public_key().public_bytes_raw(), key.sign)


def sequence(folder: Path) -> str:
    """Take up all records into a new log and sign them, a checkpoint for each 10,000 records."""
    from governed_db.audit.sequencer import Sequencer

    signer = _signer()
    keeper = Sequencer(folder, lambda: signer)  # type: ignore[return-value, arg-type]
    keeper.checkpoint(3600)
    return f"{keeper.log.state.known.size:,} leaves, {keeper.checkpoints} checkpoints"


def again(folder: Path) -> str:
    """Begin anew with a log that is there, and find nothing to do: what a short process pays at its end."""
    from governed_db.audit.sequencer import Sequencer

    signer = _signer()
    Sequencer(folder, lambda: signer).checkpoint(3600)  # type: ignore[return-value, arg-type]
    return ""


def verify(folder: Path) -> str:
    """Verify every record against every checkpoint."""
    from governed_db.audit import verify as module

    signer = _signer()
    origin = (folder / "log" / "origin").read_text().strip()
    report = module.verify(folder, [signer.named(origin)])  # type: ignore[attr-defined]
    assert report.valid, report
    return f"{report.records:,} records under {report.checkpoints} checkpoints"


def prove(folder: Path) -> str:
    """Find one record in the middle and prove that it is in the log."""
    import orjson

    from governed_db.audit.prove import prove as make
    from governed_db.audit.scan import Stored, names, scan

    listed = names(folder)
    one = next(s for s in scan(listed[len(listed) // 2].path) if isinstance(s, Stored))
    return f"{len(make(folder, orjson.loads(one.payload)['id']).hashes)} hashes"


PARTS: dict[str, Callable[[Path], str]] = {
    "sequence": sequence,
    "again": again,
    "verify": verify,
    "prove": prove,
    "ship": ship,
    "acknowledge": acknowledge,
}


def main() -> None:
    """Write a trail and run the parts that are named, by default all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a trail to use, or where to leave it")
    parser.add_argument("--one", metavar="PART", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _one(PARTS[arguments.one], arguments.keep)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary) / "journal"
        if not folder.exists():
            began = time.perf_counter()
            counts = write(folder, arguments.records)
            took = time.perf_counter() - began
            size = sum(p.stat().st_size for p in folder.glob("*.journal")) / 2**20
            print(f"{sum(counts.values()):,} records, {size:,.0f} MiB, written in {took:.1f} s", flush=True)
        for name in arguments.parts or PARTS:
            command = [sys.executable, "-m", "benchmarks.trail", "--one", name, "--keep", str(folder)]
            subprocess.run(command, check=True, env=os.environ)


def _one(part: Callable[[Path], str], folder: Path) -> None:
    import governed_db  # noqa: F401 - every process has it

    base = _peak()
    began = time.perf_counter()
    said = part(folder)
    took = time.perf_counter() - began
    print(
        f"{part.__name__:<10}{took:>9.2f} s  base {base:>5.0f} MiB  peak {_peak():>5.0f} MiB  {said}",
        flush=True,
    )


def _peak() -> float:
    if sys.platform == "linux":
        # ru_maxrss of a process begins with that of the one that started it.
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()

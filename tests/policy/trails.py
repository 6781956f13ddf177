"""Trails for tests: statements that really ran, through governed connections of several callers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from governed_db import Governor, Identity
from governed_db.audit import reader
from governed_db.audit.archive import Archive
from governed_db.catalog import Catalog
from governed_db.policy import Policy, load_bytes
from governed_db.policy.recorded import Shelf
from governed_db.policy.simulate import Simulation, simulate
from tests.flavours import Flavour, do

CORPUS = Path(__file__).parents[1] / "corpus"
AGENT = Identity.agent("bot", on_behalf_of=Identity.human("anna", groups=("sales",)), tool_call="call-1")
HUMAN = Identity.human("boss", groups=("dba",))
SERVICE = Identity.service("app")
CALLERS = (AGENT, HUMAN, SERVICE)
_unpacked: dict[tuple[bytes, ...], Catalog | None] = {}
POLICY = b'extends = "standard"\nservices = ["app"]\n'


def corpus(name: str) -> list[str]:
    """Return the statements of a corpus, those that belong together one after the other."""
    given = [json.loads(line)["sql"] for line in (CORPUS / f"{name}.jsonl").read_text().splitlines()]
    return [text for one in given for text in ([one] if isinstance(one, str) else one)]


def policy(text: str, base: bytes = POLICY) -> Policy:
    """Return the policy in force with ``text`` on top."""
    return load_bytes(base + text.encode(), "new.toml")


async def run(
    dsn: str, governor: Governor, who: Identity, statements: Iterable[str | tuple[str, Any]], flavour: Flavour
) -> None:
    """Send ``statements``, each in a transaction that is rolled back, whatever becomes of them."""
    left = list(statements)
    while left:  # some of them end the connection
        async with flavour.connect(dsn, governor=governor, identity=who) as conn:
            while left and not conn.closed:
                statement = left.pop(0)
                text, values = (statement, None) if isinstance(statement, str) else statement
                with suppress(psycopg.Error):  # refusals among them
                    cur = conn.cursor()
                    await do(cur.execute(text) if values is None else cur.executemany(text, values))
                try:
                    await do(conn.rollback())
                except psycopg.Error:
                    break


def entries(state: Path) -> Iterable[Mapping[str, Any]]:
    """Read the trail in a state folder."""
    return reader.statements(state / "journal")


def shelf(state: Path) -> Shelf:
    """Return the catalogs in a state folder."""
    archive = Archive(state / "catalogs")

    def load(version: str) -> Catalog | None:
        # To unpack one takes as long as a test; what is in the file says all of it.
        files = tuple(path.read_bytes() for path in sorted(archive.folder.glob(f"{version}*")))
        if files not in _unpacked:
            _unpacked[files] = archive.load(version)
        return _unpacked[files]

    return Shelf(load)


def simulated(state: Path, new: Policy, *then: Policy) -> Simulation:
    """Simulate ``new`` over the trail in a state folder."""
    return simulate(entries(state), new, shelf(state), then=then)

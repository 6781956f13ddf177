"""Attempts to see masked values, guesses at them, and honest work beside them, by an agent.

The lines are in ``tests/corpus/masking.jsonl``, how they are sent and looked at in
``tests/masked_values.py``.
Two databases hold the same plain values and different sensitive ones. Whatever an agent does, it must not see
a canary, must not leave one where it could be read, and must not be able to tell the two databases apart.
That every attempt does reveal something to whoever is not guarded is for ``tests/corpus/verify_masking.py``
to show.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import masked_values as mv
import pytest
from attrs import define, field
from corpus import verify_masking
from flavours import Flavour, do

import governed_db
from governed_db.errors import GovernanceError
from governed_db.testing import EmbeddedPostgres

EVERY_ASYNC = 8
"""One line in so many is sent by an asynchronous connection as well: one generator core serves both."""
EVERY_REDACTED = 3
"""One honest line in so many is sent where computing is redacted as well: most of them compute nothing."""
EVERY_SHOWN = 40
"""One attempt in so many is shown to reveal something to whoever is not guarded."""

_numbers = itertools.count(1)


def _params(kind: str, every: int = 1) -> list[Any]:
    """Return the lines of a kind. One with a "gap" is known to fail, and must until its gap is closed."""
    return [
        pytest.param(
            entry,
            id=f"{entry['id']}-{str(entry['sql'])[:50]}",
            marks=[pytest.mark.xfail(strict=True, reason=entry["gap"])] if "gap" in entry else [],
        )
        for entry in mv.lines(kind)[::every]
    ]


_WRITE = re.compile(r"\b(CREATE|ALTER|UPDATE|INSERT|DELETE|MERGE|INTO)\b")


def _writes(entry: dict[str, Any]) -> bool:
    return any(_WRITE.search(step["sql"]) for step in mv.steps(entry))


@define(eq=False)
class Side:
    """One of the two databases, seen by an agent and by somebody who sees everything."""

    dsn: str
    governor: Any
    bare: verify_masking.Bare
    heard: list[str] = field(factory=list)
    agent: Any = None

    async def run(self, flavour: Flavour, entry: dict[str, Any], guess: str = "") -> tuple[mv.Seen, Any]:
        """Send a line as an agent and undo it; return what it showed and what it left behind."""
        conn = self.agent if flavour.name == "sync" else None
        if conn is None or conn.closed:
            conn = await do(
                flavour.Connection.connect(
                    self.dsn, governor=self.governor, identity=governed_db.Identity.agent("mallory")
                )
            )
            mv.listen(conn, self.heard)
        if flavour.name == "sync":
            self.agent = conn
        try:
            seen = await mv.send(conn, flavour, entry, self.heard, guess)
            left = self.bare.plain.after(conn._pgconn)
        finally:
            if not conn.closed:
                await do(conn.rollback())
        if flavour.name == "async" or "PREPARE" in str(entry["sql"]):
            await do(conn.close())
        return seen, left

    def close(self) -> None:
        for conn in (self.agent, self.bare.conn):
            if conn is not None:
                conn.close()


@define(eq=False)
class Sides:
    """Both databases."""

    north: Side
    south: Side
    canaries: mv.Canaries
    policy: str


@pytest.fixture(scope="module")
def bare(server: EmbeddedPostgres) -> Iterator[list[verify_masking.Bare]]:
    name = f"masked_{next(_numbers)}"
    yield verify_masking.databases(server, name)
    for database in (name, *(f"{name}_{seed}" for seed in mv.SEEDS)):
        server.drop_database(database)


POLICIES = {
    "refuse": 'extends = "standard"\n[masking]\nderived = "refuse"\n',
    "redact": 'extends = "standard"\n[masking]\nderived = "redact"\n',
    # Where nothing but the masks is in the way of a write.
    "open": """
        extends = "standard"
        [[rule]]
        id = "free-hand"
        when = { effects = ["create", "alter", "update", "delete", "insert", "merge", "copy_from"] }
        then = "allow"
        because = "it may change what it likes"
    """,
}


@pytest.fixture(scope="module")
def under(
    bare: list[verify_masking.Bare], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Sides]]:
    """Both databases under a policy, by its name."""
    made: dict[str, Sides] = {}

    def get(policy: str) -> Sides:
        if policy not in made:
            folder = tmp_path_factory.mktemp("masked")
            file = folder / "policy.toml"
            file.write_text(POLICIES[policy], "utf-8")
            governor = governed_db.Governor.load(file, state_dir=folder / "state")
            north, south = (Side(each.dsn, governor, each) for each in bare)
            made[policy] = Sides(north, south, bare[0].canaries, policy)
        return made[policy]

    yield get
    for sides in made.values():
        sides.north.close()
        sides.south.close()
        sides.north.governor.close()


def _sides(under: Callable[[str], Sides], policy: str, entry: dict[str, Any]) -> Sides:
    sides = under(policy)
    if not sides.north.bare.has(entry):
        pytest.skip("this server does not have it")
    return sides


def _check_attempt(sides: Sides, entry: dict[str, Any], flavour: str) -> None:
    one, left = asyncio.run(sides.north.run(Flavour(flavour), entry))
    assert not sides.canaries.in_text(one.text()), one.text()
    assert left is None or not sides.canaries.in_text(left), "it was put where it can be read"
    if entry.get("expect") == "runs" or ("expect" in entry and sides.policy != "redact"):
        refused = isinstance(one.error, GovernanceError)
        assert refused == (entry["expect"] == "refused"), one.error or "it ran"
    other, left_there = asyncio.run(sides.south.run(Flavour(flavour), entry))
    assert mv.comparable(one.text()) == mv.comparable(other.text()), "the two databases can be told apart"
    assert left == left_there, "what it left tells the two databases apart"


def _check_pair(sides: Sides, entry: dict[str, Any], flavour: str) -> None:
    texts = []
    for guess in (sides.north.bare.ask(entry["true"]), entry["false"]):
        seen, left = asyncio.run(sides.north.run(Flavour(flavour), entry, guess))
        texts.append(mv.comparable(f"{seen.text()}\n{left}", guess))
    assert texts[0] == texts[1], "a true guess can be told from a false one"


def _check_honest(sides: Sides, entry: dict[str, Any], flavour: str) -> None:
    real, _ = sides.north.bare.run(entry)
    assert real.error is None, real.error
    seen, _ = asyncio.run(sides.north.run(Flavour(flavour), entry))
    assert seen.error is None, seen.error
    assert seen.columns == real.columns
    assert not mv.unfair(seen.rows, real.rows, entry)
    assert not sides.canaries.in_text(seen.text())


@pytest.mark.parametrize("policy", ["refuse", "redact"])
@pytest.mark.parametrize("entry", _params("attempt"))
def test_an_attempt_shows_nothing(under: Callable[[str], Sides], policy: str, entry: dict[str, Any]) -> None:
    _check_attempt(_sides(under, policy, entry), entry, "sync")


@pytest.mark.parametrize("entry", _params("attempt", EVERY_ASYNC))
def test_an_attempt_shows_nothing_async(under: Callable[[str], Sides], entry: dict[str, Any]) -> None:
    _check_attempt(_sides(under, "refuse", entry), entry, "async")


@pytest.mark.parametrize("entry", [p for p in _params("attempt") if _writes(p.values[0])])
def test_an_attempt_of_whoever_may_write_shows_nothing(
    under: Callable[[str], Sides], entry: dict[str, Any]
) -> None:
    _check_attempt(_sides(under, "open", entry), entry, "sync")


@pytest.mark.parametrize("policy", ["refuse", "redact"])
@pytest.mark.parametrize("entry", _params("pair"))
def test_a_true_guess_looks_like_a_false_one(
    under: Callable[[str], Sides], policy: str, entry: dict[str, Any]
) -> None:
    _check_pair(_sides(under, policy, entry), entry, "sync")


@pytest.mark.parametrize("entry", _params("pair", EVERY_ASYNC))
def test_a_true_guess_looks_like_a_false_one_async(
    under: Callable[[str], Sides], entry: dict[str, Any]
) -> None:
    _check_pair(_sides(under, "refuse", entry), entry, "async")


@pytest.mark.parametrize("entry", _params("honest"))
def test_honest_work_comes_back_right(under: Callable[[str], Sides], entry: dict[str, Any]) -> None:
    _check_honest(_sides(under, "refuse", entry), entry, "sync")


@pytest.mark.parametrize("entry", _params("honest", EVERY_REDACTED))
def test_honest_work_comes_back_right_redacted(under: Callable[[str], Sides], entry: dict[str, Any]) -> None:
    _check_honest(_sides(under, "redact", entry), entry, "sync")


@pytest.mark.parametrize("entry", _params("honest", EVERY_ASYNC))
def test_honest_work_comes_back_right_async(under: Callable[[str], Sides], entry: dict[str, Any]) -> None:
    _check_honest(_sides(under, "refuse", entry), entry, "async")


@pytest.mark.parametrize("entry", [*_params("attempt", EVERY_SHOWN), *_params("pair", EVERY_SHOWN)])
def test_unguarded_it_shows(under: Callable[[str], Sides], entry: dict[str, Any]) -> None:
    sides = _sides(under, "refuse", entry)
    assert verify_masking.reveals(entry, sides.north.bare, sides.south.bare)

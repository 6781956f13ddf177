from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from governed_db.audit import record
from governed_db.audit.template import Template
from governed_db.identity import Identity
from governed_db.policy.model import Decision, Shadowed, Verdict
from governed_db.statement.facts import (
    Access,
    Effect,
    EffectKind,
    FunctionRef,
    RelationName,
    RelationRef,
    Statement,
)

CANARY = "canary-4111111111111111"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def statement() -> Statement:
    orders = RelationName("public", "orders")
    return Statement(
        text=f"SELECT id FROM public.orders WHERE card = '{CANARY}' AND n = $1",
        tree=({"RawStmt": {"sval": CANARY}},),
        commands=1,
        tag="SELECT",
        effects=(Effect(kind=EffectKind.SELECT, target=orders),),
        relations=(RelationRef(orders, Access.READ, 15), RelationRef(orders, Access.READ, 40)),
        functions=(FunctionRef(None, "=", 2, "operator", 30),),
        parameters=1,
        complete=True,
        fingerprint="ab" * 8,
        normalised="SELECT id FROM public.orders WHERE card = $2 AND n = $1",
        summary="SELECT public.orders",
    )


@pytest.fixture
def agent() -> Identity:
    return Identity.agent(
        "assistant",
        on_behalf_of=Identity.human("anna", on_behalf_of="board"),
        groups=("support", "eu"),
        session="s-1",
        tool_call="call-7",
        purpose="answer a ticket",
    )


@pytest.fixture
def decision(statement: Statement) -> Decision:
    return Decision(
        verdict=Verdict.ALLOW,
        rule="agents.read",
        reason="agents may read",
        statement=statement,
        policy="p-1",
        shadowed=(Shadowed(rule="strict", verdict=Verdict.BLOCK),),
    )


@pytest.fixture
def template(statement: Statement, agent: Identity) -> Template:
    return Template(
        who=record.who(agent, "app", "10.1.2.3"),
        what=record.what(statement, parameter_types=(23,)),
        where=record.where(
            record.Where(host="db", port=5432, database="shop", backend_pid=4711, connection="c-1")
        ),
    )


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a Python process that runs a script with the arguments given."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        # From Python 3.12 a fork among threads warns; that it works here is what is tested.
        warnings = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")
        command = [sys.executable, *warnings, "-c", script, *map(str, arguments)]
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def canary() -> str:
    """A literal of the statement's text."""
    return CANARY

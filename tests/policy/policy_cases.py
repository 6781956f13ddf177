"""Statements made by hand, so that these tests need neither grammar nor database."""

from __future__ import annotations

from typing import Any

from governed_db.identity.model import NOBODY, Identity
from governed_db.policy import Policy, load_bytes
from governed_db.policy.model import Request
from governed_db.statement.facts import Access, Effect, EffectKind, RelationName, RelationRef, Statement

AGENT = Identity.agent("copilot")
HUMAN = Identity.human("u-1")
SERVICE = Identity.service("billing")

K = EffectKind


def relation(text: str) -> RelationName:
    schema, _, name = text.rpartition(".")
    return RelationName(schema or None, name)


def effect(kind: EffectKind, target: str = "", **more: Any) -> Effect:
    return Effect(kind=kind, target=relation(target) if target else None, **more)


def statement(*effects: Effect, reads: tuple[str, ...] = (), **more: Any) -> Statement:
    given: dict[str, Any] = {
        "text": "",
        "tree": (),
        "commands": 1,
        "tag": "",
        "effects": effects,
        "relations": tuple(RelationRef(relation(r), Access.READ, i) for i, r in enumerate(reads)),
        "functions": (),
        "parameters": 0,
        "complete": True,
    }
    return Statement(**(given | more))


def ask(*effects: Effect, identity: Identity = NOBODY, reads: tuple[str, ...] = (), **more: Any) -> Request:
    return Request(statement=statement(*effects, reads=reads, **more), identity=identity)


def policy_of(text: str) -> Policy:
    return load_bytes(text.encode(), "p.toml")

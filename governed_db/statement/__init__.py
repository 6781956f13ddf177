"""WHAT: facts from PostgreSQL's own grammar, without looking at any database."""

from governed_db.statement.facts import (
    WRITES,
    Access,
    Effect,
    EffectKind,
    FunctionRef,
    RelationName,
    RelationRef,
    Statement,
)
from governed_db.statement.limits import Limits, Unreadable
from governed_db.statement.normalise import normalise
from governed_db.statement.reader import read, reread, unread

__all__ = [
    "WRITES",
    "Access",
    "Effect",
    "EffectKind",
    "FunctionRef",
    "Limits",
    "RelationName",
    "RelationRef",
    "Statement",
    "Unreadable",
    "normalise",
    "read",
    "reread",
    "unread",
]

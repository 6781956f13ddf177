"""WHAT, continued: what this database says the names are."""

from governed_db.catalog.bind import bind
from governed_db.catalog.bound import Bound, FunctionUse, Output, RelationUse, Source, Use
from governed_db.catalog.model import (
    Cast,
    Catalog,
    Column,
    Constraint,
    ForeignKey,
    Function,
    Hidden,
    Operator,
    OperatorClass,
    Relation,
    Session,
    Trigger,
    Type,
)
from governed_db.catalog.queries import DIGEST, RECOVER, SESSION, SNAPSHOT, SNAPSHOT_IN_TRANSACTION, session
from governed_db.catalog.snapshot import TornSnapshot, build
from governed_db.catalog.vetting import unvetted, withheld

__all__ = [
    "DIGEST",
    "RECOVER",
    "SESSION",
    "SNAPSHOT",
    "SNAPSHOT_IN_TRANSACTION",
    "Bound",
    "Cast",
    "Catalog",
    "Column",
    "Constraint",
    "ForeignKey",
    "Function",
    "FunctionUse",
    "Hidden",
    "Operator",
    "OperatorClass",
    "Output",
    "Relation",
    "RelationUse",
    "Session",
    "Source",
    "TornSnapshot",
    "Trigger",
    "Type",
    "Use",
    "bind",
    "build",
    "session",
    "unvetted",
    "withheld",
]

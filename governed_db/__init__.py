"""A drop-in for psycopg 3 that attributes, judges, masks and records every statement.

>>> import governed_db as psycopg
"""

import sys as _sys
from importlib import import_module as _import_module
from importlib import metadata as _metadata
from types import ModuleType as _ModuleType
from typing import Any as _Any

import psycopg as _psycopg
from psycopg import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    AsyncCopy,
    AsyncPipeline,
    AsyncTransaction,
    BaseConnection,
    Binary,
    Capabilities,
    Column,
    ConnectionInfo,
    Copy,
    DatabaseError,
    DataError,
    Date,
    DateFromTicks,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    IsolationLevel,
    Notify,
    NotSupportedError,
    OperationalError,
    Pipeline,
    ProgrammingError,
    Rollback,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
    Transaction,
    Warning,
    Xid,
    adapters,
    apilevel,
    capabilities,
    paramstyle,
    pq,
    threadsafety,
)
from psycopg import __version__ as __version__  # SQLAlchemy reads psycopg's version here

from governed_db import errors
from governed_db.approval.waiting import wait_for_approval
from governed_db.driver.aliases import PsycopgAliases as _PsycopgAliases
from governed_db.driver.aliases import twins as _twins
from governed_db.driver.connection import AsyncConnection, Connection
from governed_db.driver.cursors import (
    AsyncClientCursor,
    AsyncCursor,
    AsyncRawCursor,
    AsyncRawServerCursor,
    AsyncServerCursor,
    ClientCursor,
    Cursor,
    RawCursor,
    RawServerCursor,
    ServerCursor,
)
from governed_db.errors import (
    ApprovalDenied,
    ApprovalRequired,
    ApprovalsUnavailable,
    AuditUnavailable,
    GovernanceError,
    IdentityRequired,
    KeysUnavailable,
    MaskedColumnRefused,
    PolicyError,
    ResultTruncated,
    StatementBlocked,
    TokenRefused,
)
from governed_db.governor import Governor, configure
from governed_db.identity import Identity, Issuer, Verifier, acting_as, carry
from governed_db.policy import Decision

connect = Connection.connect

try:
    __governed_version__ = _metadata.version("governed-db")
except _metadata.PackageNotFoundError:  # a checkout that is not installed
    __governed_version__ = "0+unknown"

_sys.meta_path.insert(0, _PsycopgAliases(_twins()))


def __getattr__(name: str) -> _Any:
    """Answer psycopg's other names, and its submodules that nobody has imported from here yet."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_psycopg, name)
    return _import_module(f"{__name__}.{name}") if isinstance(value, _ModuleType) else value


__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "ApprovalDenied",
    "ApprovalRequired",
    "ApprovalsUnavailable",
    "AsyncClientCursor",
    "AsyncConnection",
    "AsyncCopy",
    "AsyncCursor",
    "AsyncPipeline",
    "AsyncRawCursor",
    "AsyncRawServerCursor",
    "AsyncServerCursor",
    "AsyncTransaction",
    "AuditUnavailable",
    "BaseConnection",
    "Binary",
    "Capabilities",
    "ClientCursor",
    "Column",
    "Connection",
    "ConnectionInfo",
    "Copy",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Decision",
    "Error",
    "GovernanceError",
    "Governor",
    "Identity",
    "IdentityRequired",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "IsolationLevel",
    "Issuer",
    "KeysUnavailable",
    "MaskedColumnRefused",
    "NotSupportedError",
    "Notify",
    "OperationalError",
    "Pipeline",
    "PolicyError",
    "ProgrammingError",
    "RawCursor",
    "RawServerCursor",
    "ResultTruncated",
    "Rollback",
    "ServerCursor",
    "StatementBlocked",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TokenRefused",
    "Transaction",
    "Verifier",
    "Warning",
    "Xid",
    "acting_as",
    "adapters",
    "apilevel",
    "capabilities",
    "carry",
    "configure",
    "connect",
    "errors",
    "paramstyle",
    "pq",
    "threadsafety",
    "wait_for_approval",
]

"""A drop-in for psycopg 3 that attributes, judges, masks and records every statement.

>>> import governed_db as psycopg
"""

import sys
from importlib import import_module, metadata
from typing import Any

import psycopg as _psycopg
from psycopg import *  # noqa: F403 - a drop-in exports what psycopg exports
from psycopg import (  # noqa: F401 - public names that psycopg leaves out of __all__
    __version__,
    adapters,
    pq,
)

from governed_db import errors
from governed_db.driver import compat as _compat

_compat.check()  # before anything that would use a private name of psycopg that has changed

from governed_db.driver import aliases as _aliases
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
    AuditUnavailable,
    GovernanceError,
    IdentityRequired,
    MaskedColumnRefused,
    PolicyError,
    StatementBlocked,
)
from governed_db.governor import Governor, configure 
from governed_db.identity import Identity, acting_as, carry 
from governed_db.policy import Decision 

connect = Connection.connect

sys.meta_path.insert(0, _aliases.PsycopgAliases(_aliases.twins()))


def __getattr__(name: str) -> Any:
    """Answer psycopg's own names and submodules that nobody imported from here yet."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_psycopg, name)
    if isinstance(value, type(_psycopg)):
        return import_module(f"{__name__}.{name}")
    return value


try:
    __governed_version__ = metadata.version("governed-db")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __governed_version__ = "0+unknown"

__all__ = [  # noqa: PLE0604 - the head is psycopg's own list
    *_psycopg.__all__,
    "ApprovalDenied",
    "ApprovalRequired",
    "AuditUnavailable",
    "Decision",
    "GovernanceError",
    "Governor",
    "Identity",
    "IdentityRequired",
    "MaskedColumnRefused",
    "PolicyError",
    "StatementBlocked",
    "acting_as",
    "carry",
    "configure",
]

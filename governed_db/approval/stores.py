"""Which store the policy names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from governed_db import private
from governed_db.approval.sqlite import SQLiteStore
from governed_db.errors import PolicyError

if TYPE_CHECKING:
    from governed_db.approval.store import Store
    from governed_db.policy.settings import ApprovalSettings

DSN_VARIABLE: Final = "GOVERNED_DB_APPROVALS_DSN"

FILE: Final = "approvals.sqlite"
"""In the state folder."""

MAX_DSN: Final = 8192
"""Bytes of the file that holds the DSN; one has some hundred."""

_RULE = "approval.store"


def open_store(settings: ApprovalSettings, state: Path) -> Store:
    """Return the store of ``[approvals] store``. Nothing is made or connected to yet.

    Args:
        settings: of the policy.
        state: the state folder.

    Raises:
        PolicyError: it is in PostgreSQL, and nobody says where, or what is said cannot be read.
    """
    if settings.store == "sqlite":
        return SQLiteStore(state / FILE)
    # Loaded where it is needed; most applications keep approvals in a file.
    from governed_db.approval.postgres import PostgresStore  # noqa: PLC0415

    dsn = find_dsn(settings)
    try:
        return PostgresStore(dsn)
    except ValueError as error:
        raise PolicyError(
            f"{error} ({_source(settings)}) [rule {_RULE}]",
            rule=_RULE,
            remedy="write postgresql://user@host/database, or host=... dbname=...",
        ) from None


def find_dsn(settings: ApprovalSettings) -> str:
    """Return the DSN from the file that the policy names, else from :data:`DSN_VARIABLE`.

    Raises:
        PolicyError: there is none, or its file cannot be used.
    """
    if settings.dsn_file is None:
        dsn = os.environ.get(DSN_VARIABLE, "").strip()
    else:
        try:
            dsn = private.read(settings.dsn_file, MAX_DSN).decode().strip()
        except private.NotPrivate as error:
            raise PolicyError(
                f"the DSN of the approval store is not safe in its file: {error}", rule=_RULE
            ) from None
        except UnicodeDecodeError:
            raise PolicyError(f"{settings.dsn_file} holds no text", rule=_RULE) from None
        except OSError as error:
            raise PolicyError(
                f"{settings.dsn_file}, which has the DSN of the approval store, cannot be read:"
                f" {error.strerror}",
                rule=_RULE,
            ) from None
    if not dsn:
        raise PolicyError(
            f"approvals are kept in PostgreSQL, and {_source(settings)} does not say where [rule {_RULE}]",
            rule=_RULE,
            remedy=f"put a connection string into {DSN_VARIABLE}, or into a private file that"
            " '[approvals] dsn_file' names",
        )
    return dsn


def _source(settings: ApprovalSettings) -> str:
    return DSN_VARIABLE if settings.dsn_file is None else str(settings.dsn_file)

"""The tables of approvals, the same in SQLite and in PostgreSQL.

What ended is a row of its own, ``ends``, which is only ever added: the primary key is what gives an approval
out once, and a role that may insert there but not change or delete cannot make one unused again.

Times are microseconds since 1970 in UTC, as whole numbers: both databases compare them alike, and none has
values that Python cannot hold.
"""

from __future__ import annotations

from typing import Final

# Each migration leads from one version to the next, and is never changed once it was released. `bytea` is
# `blob` in SQLite.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE requesters (requester bytea PRIMARY KEY, filed int8 NOT NULL)",
        # open_digest is digest while the request may be open: UNIQUE keeps a second one out. NULLs do not
        # count for it.
        "CREATE TABLE requests ("
        " id text PRIMARY KEY, digest bytea NOT NULL, open_digest bytea UNIQUE, requester bytea NOT NULL,"
        " requested int8 NOT NULL, expires int8 NOT NULL, answers int8 NOT NULL DEFAULT 0,"
        " body bytea NOT NULL)",
        "CREATE INDEX requests_digest ON requests (digest)",
        "CREATE INDEX requests_requester ON requests (requester, expires)",
        "CREATE INDEX requests_expires ON requests (expires)",
        "CREATE INDEX requests_requested ON requests (requested, id)",
        "CREATE TABLE ends ("
        " request_id text PRIMARY KEY REFERENCES requests (id) ON DELETE CASCADE, how text NOT NULL,"
        " ended int8 NOT NULL, claimant text NOT NULL, token text NOT NULL)",
        "CREATE INDEX ends_ended ON ends (ended)",
        "CREATE TABLE answers ("
        " request_id text NOT NULL REFERENCES requests (id) ON DELETE CASCADE, id text NOT NULL,"
        " place int8 NOT NULL, note bytea NOT NULL, PRIMARY KEY (request_id, id))",
        "CREATE TABLE grants (id text PRIMARY KEY, note bytea NOT NULL, expires int8 NOT NULL)",
        "CREATE INDEX grants_expires ON grants (expires)",
        "CREATE TABLE notices ("
        " request_id text NOT NULL REFERENCES requests (id) ON DELETE CASCADE, notifier text NOT NULL,"
        " due int8 NOT NULL, attempts int8 NOT NULL DEFAULT 0, PRIMARY KEY (request_id, notifier))",
        "CREATE INDEX notices_due ON notices (due)",
    ),
)

VERSION: Final = len(MIGRATIONS)
"""Of the tables, as this release writes and reads them."""

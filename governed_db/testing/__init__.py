"""What tests and the demo need: a PostgreSQL server of their own, without preparing one."""

from governed_db.testing.binaries import ServerError
from governed_db.testing.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "ServerError"]

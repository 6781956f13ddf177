"""What tests and the demo need, without preparing it: a PostgreSQL server and an issuer of tokens."""

from governed_db.testing.binaries import ServerError
from governed_db.testing.issuer import TokenIssuer
from governed_db.testing.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "ServerError", "TokenIssuer"]

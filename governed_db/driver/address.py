"""From which address a connection comes: asked of the socket, never of the server."""

from __future__ import annotations

import os
import socket

from psycopg import OperationalError, pq


def client_address(pgconn: pq.abc.PGconn) -> str:
    """Return this end's address of a connection over TCP; "" over a local socket, or where it is broken.

    As this machine has it: behind a translator of addresses the server sees another.
    """
    try:
        # A descriptor of its own: the socket object closes what it was made of.
        with socket.socket(fileno=os.dup(pgconn.socket)) as end:
            if end.family not in (socket.AF_INET, socket.AF_INET6):
                return ""
            return str(end.getsockname()[0])
    except (OSError, OperationalError):
        return ""

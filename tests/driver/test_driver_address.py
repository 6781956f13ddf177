from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from governed_db.driver.address import client_address


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_connection_over_tcp_has_an_address(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip("this machine has no such addresses")
        server.listen()
        with socket.create_connection(server.getsockname()[:2]) as end:
            pgconn: Any = SimpleNamespace(socket=end.fileno())
            assert client_address(pgconn) == address
            # The connection's own descriptor is as it was.
            end.sendall(b"x")


def test_a_local_socket_and_a_closed_connection_have_none(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        assert client_address(conn.pgconn) == ""
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert client_address(conn.pgconn) == ""

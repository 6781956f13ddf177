"""HTTP over connections that end in time: the standard library's, with limits that it does not have.

TLS that is verified, the environment's proxies, and a limit in time for the whole of a request, so that a
server that answers a byte a second is a slow one.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import socket
import ssl
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass


class Proxied(HTTPConnection):
    """A connection to a proxy, which is asked for whole addresses."""


class Bounded:
    """A socket whose every read and write ends with ``deadline``."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self.deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: Any) -> None:
        """Send all of ``data``, or raise TimeoutError."""
        self.limit()
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what http.client reads answers from."""
        return io.BufferedReader(_Incoming(self, self._sock.makefile("rb", 0)))

    def limit(self) -> None:
        """Give the next operation the time that is left.

        Raises:
            TimeoutError: there is none.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)


class _Incoming(io.RawIOBase):
    def __init__(self, bounded: Bounded, raw: Any) -> None:
        self._bounded = bounded
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._bounded.limit()
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def connect(url: str, tls: ssl.SSLContext | None, deadline: float, *, proxied: bool = True) -> HTTPConnection:
    """Return an open connection to the host of ``url``, or to its proxy, whose socket is a :class:`Bounded`.

    ``deadline`` is of :func:`time.monotonic`; ``proxied``: whether the environment's proxies are honoured.

    Raises:
        OSError, HTTPException: there is none.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    proxies = getproxies() if proxied else {}
    proxy = proxies.get(parts.scheme, "")
    if proxy and proxy_bypass(f"{host}:{port}"):
        proxy = ""
    left = max(0.001, deadline - time.monotonic())
    connection: HTTPConnection
    if not proxy:
        connection = (
            HTTPSConnection(host, port, timeout=left, context=tls)
            if secure
            else HTTPConnection(host, port, timeout=left)
        )
    else:
        through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        via, via_port = through.hostname or "", through.port or 8080
        token = basic(through.username, through.password)
        said = {"proxy-authorization": token} if token else {}
        if secure:
            connection = HTTPSConnection(host, port, context=tls)
            connection.sock = _tunnel((via, via_port), f"{_bracketed(host)}:{port}", said, deadline)
            connection.sock.settimeout(max(0.001, deadline - time.monotonic()))
            context = tls or ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        else:
            connection = Proxied(via, via_port, timeout=left)
    if connection.sock is None:
        connection.connect()
    assert connection.sock is not None
    # One packet for headers and body would be nicer; not to wait for the first one's answer is enough.
    with contextlib.suppress(OSError):
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sock = Bounded(connection.sock, deadline)  # what http.client uses of one
    # A connection that was closed is replaced here, with limits of its own, never by http.client.
    connection.auto_open = 0
    return connection


def _tunnel(
    proxy: tuple[str, int], target: str, headers: Mapping[str, str], deadline: float
) -> socket.socket:
    """Return a connection to ``target`` through ``proxy``."""
    # Not http.client's own, which waits anew for each byte of a proxy's answer.
    sock = socket.create_connection(proxy, max(0.001, deadline - time.monotonic()))
    try:
        bounded = Bounded(sock, deadline)
        lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}", *(f"{k}: {v}" for k, v in headers.items())]
        bounded.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        said = b""
        # A byte at a time: what follows the empty line is TLS's.
        while not said.endswith((b"\r\n\r\n", b"\n\n")) and len(said) < _LARGEST_HEAD:
            bounded.limit()
            byte = sock.recv(1)
            if not byte:
                break
            said += byte
        words = said.partition(b"\n")[0].split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise _ProxyRefused("its proxy does not answer in HTTP")
        if not 200 <= int(words[1]) < 300:
            raise _ProxyRefused(f"its proxy answered {int(words[1])}")
        if not said.endswith(b"\n\n") and not said.endswith(b"\r\n\r\n"):
            raise _ProxyRefused("its proxy's answer does not end")
    except BaseException:
        sock.close()
        raise
    return sock


def basic(user: str | None, password: str | None) -> str:
    """Return the header of a user and a password, "" where there is none."""
    if user is None:
        return ""
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _ProxyRefused(HTTPException):
    """``str()`` says why, for people."""


_LARGEST_HEAD = 1 << 16


def of_network(error: Exception) -> str:
    """Say what became of a connection, in words that hold nothing of what was sent or received."""
    if isinstance(error, _ProxyRefused):
        return str(error)
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return {"RemoteDisconnected": "it closed the connection without an answer"}.get(
        type(error).__name__, f"the connection failed ({type(error).__name__})"
    )

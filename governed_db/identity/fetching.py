"""Where an issuer's keys come from: its discovery document and its address, or a file. All I/O of tokens."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from governed_db.identity import jwks
from governed_db.identity.compact import strict_json
from governed_db.identity.issuer import Issuer, unsafe_keys

if TYPE_CHECKING:
    import ssl

MAX_DOCUMENT: Final = 256 * 1024
"""Bytes of a discovery document. They have some 2,000 to 10,000."""

MAX_BEARER: Final = 16 * 1024
"""Bytes of a token to ask for the keys with: as long as those that are read."""

_OK, _REDIRECTED, _ABSENT = 200, 300, 404


class Unfetched(Exception):  # noqa: N818 - named for what has happened
    """The keys cannot be had. The message says why, and quotes nothing that was received."""


def fetch(issuer: Issuer) -> jwks.Keys:
    """Return the keys of ``issuer`` as they are now.

    Raises:
        Unfetched: they cannot be had in ``issuer.timeout`` seconds.
    """
    source = issuer.jwks
    try:
        if isinstance(source, Path):
            return jwks.read(_file(source, jwks.MAX_SET + 1), issuer.uses)
        deadline = time.monotonic() + issuer.timeout
        address = _discovered(issuer, deadline) if source is None else str(source)
        status, found = _get(address, issuer, deadline, jwks.MAX_SET)
        if status != _OK:
            raise Unfetched(_answered(status))
        return jwks.read(found, issuer.uses)
    except ValueError as error:
        raise Unfetched(str(error)) from None


def _discovered(issuer: Issuer, deadline: float) -> str:
    """Return where the issuer says that its keys are."""
    for address in _documents(issuer.url):
        status, found = _get(address, issuer, deadline, MAX_DOCUMENT)
        if status == _ABSENT:
            continue
        if status != _OK:
            raise Unfetched(_answered(status))
        try:
            document = strict_json(found)
        except ValueError as error:
            raise Unfetched(f"its discovery document {error}") from None
        if not isinstance(document, dict):
            raise Unfetched("its discovery document is no JSON object")
        # OpenID Connect Discovery, section 4.3; RFC 8414, section 3.3: else anybody's keys could be named.
        if document.get("issuer") != issuer.url:
            raise Unfetched(
                "its discovery document is of another issuer: 'issuer' in it differs from the 'url'"
            )
        keys = document.get("jwks_uri")
        if not isinstance(keys, str):
            raise Unfetched("its discovery document does not say where its keys are")
        if problem := unsafe_keys(keys, issuer.url):
            raise Unfetched(f"'jwks_uri' in its discovery document {problem}")
        return keys
    raise Unfetched("it has no discovery document; name its keys in 'jwks'")


def _documents(url: str) -> tuple[str, str]:
    """Return where the documents of OpenID Connect Discovery and of RFC 8414 are."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return (
        parts._replace(path=f"{path}/.well-known/openid-configuration").geturl(),
        parts._replace(path=f"/.well-known/oauth-authorization-server{path}").geturl(),
    )


def _answered(status: int) -> str:
    if _REDIRECTED <= status < 400:
        return f"it answered {status}: redirections are not followed, name the address that it leads to"
    return f"it answered {status}"


def _get(url: str, issuer: Issuer, deadline: float, most: int) -> tuple[int, bytes]:
    """Return the status and the body of one answer.

    Raises:
        Unfetched: there is none in time, or it is larger than ``most`` bytes.
    """
    # Loaded with the first token that needs them.
    from http.client import HTTPException  # noqa: PLC0415

    from governed_db.bounded_http import Proxied, connect, of_network  # noqa: PLC0415

    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "governed-db"}
    if issuer.bearer_file is not None and _may_have_bearer(url, issuer):
        token = _file(issuer.bearer_file, MAX_BEARER).strip()
        headers["authorization"] = "Bearer " + token.decode("ascii", "replace").replace("\ufffd", "?")
    try:
        parts = urlsplit(url)
        tls = _tls(issuer) if parts.scheme == "https" else None
        # http is fine on this machine alone: nobody may be in between.
        connection = connect(url, tls, deadline, proxied=parts.scheme == "https")
        try:
            query = f"?{parts.query}" if parts.query else ""
            target = url if isinstance(connection, Proxied) else f"{parts.path or '/'}{query}"
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            found = response.read(most + 1) if response.status == _OK else b""
            if len(found) > most:
                raise Unfetched(f"its answer is larger than {most} bytes")
            if response.status == _OK and response.length:
                raise Unfetched("its answer is cut off")
            return response.status, found
        finally:
            connection.close()
    except TimeoutError:
        raise Unfetched(f"it did not answer in {issuer.timeout:g} seconds") from None
    except (OSError, HTTPException, ValueError) as error:
        raise Unfetched(of_network(error)) from None


def _may_have_bearer(url: str, issuer: Issuer) -> bool:
    """Whether our own token is shown there: to whom the policy names, or its authority vouches for.

    The system's authorities vouch for anybody, and a discovery document could send it anywhere.
    """
    named = issuer.jwks if isinstance(issuer.jwks, str) else issuer.url
    return issuer.ca is not None or urlsplit(url)[:2] == urlsplit(named)[:2]


def _tls(issuer: Issuer) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - loaded with the first token that needs it

    return ssl.create_default_context(cafile=issuer.ca)


def _file(path: Path, most: int) -> bytes:
    # O_NONBLOCK: a FIFO at that place must not hang whoever waits for a statement.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise Unfetched(f"{path} cannot be read: {error.strerror}") from None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Unfetched(f"{path} is not a regular file")
        if os.name == "posix" and found.st_mode & stat.S_IWOTH:
            raise Unfetched(f"{path} can be written by everybody, who could become anybody (chmod o-w)")
        return file.read(most)

"""RFC 3161 time stamps of checkpoints: an authority's word for when a checkpoint, and all under it, existed.

A stamp is stored beside the checkpoints, ``log/timestamps/<size>-<hash>.tsr``, and is verified offline
against the authority's certificates. Whoever has the log's key can sign another history; not one with a
stamp from last year.

Needs the extra ``timestamp`` (rfc3161-client).
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from governed_db.audit import witness
from governed_db.audit.checkpoint import Checkpoint
from governed_db.audit.logfiles import FOLDER
from governed_db.audit.verdict import Finding, Kind, Report

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

STAMPS = "timestamps"
"""The folder of the stamps in the log's."""

INTERVAL = 3600.0
"""Seconds between two stamps: public authorities count requests, and a stamp covers everything before it."""

TIMEOUT = 10.0
"""Seconds in which the authority has to answer. The thread that asks has nothing else to do, and tries
again."""

MAX_ANSWER = 64 << 10
"""Bytes of an answer: a token with its certificates has some 6 KiB."""

_NAME = re.compile(r"(\d+)-([0-9a-f]{64})\.tsr")


class NoStamp(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """The authority gave no stamp that can be used."""


def stamper(url: str, *, interval: float = INTERVAL) -> Callable[[bytes, Path], None]:
    """Return what has a checkpoint stamped by the authority at ``url``, at most once in ``interval`` seconds.

    It is called with a note and the log's folder, and raises :class:`NoStamp` or :class:`OSError`.

    Raises:
        ValueError: the address is none of http or https.
        ImportError: the extra ``timestamp`` is not installed.
    """
    import rfc3161_client  # noqa: F401, PLC0415 - what is missing should show at start, not an hour later

    if not url.startswith(("https://", "http://")):
        raise ValueError("a time stamp authority has an address of https or http")
    following = 0.0

    def stamp(note: bytes, place: Path) -> None:
        nonlocal following
        now = time.monotonic()
        if now < following:
            return
        following = now + interval / 60  # after a failure; soon, and not with every checkpoint
        store(note, place, ask(note, url))
        following = now + interval

    return stamp


def ask(note: bytes, url: str) -> bytes:
    """Return the authority's answer for a note, in DER.

    Raises:
        NoStamp: it refused, or answered something else than it was asked for.
        OSError: it cannot be reached.
    """
    from rfc3161_client import (  # noqa: PLC0415 - an extra
        HashAlgorithm,
        TimestampRequestBuilder,
        decode_timestamp_response,
    )

    wanted = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).build()
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at when the address was configured
        url, data=wanted.as_bytes(), headers={"Content-Type": "application/timestamp-query"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - as above
        data: bytes = answer.read(MAX_ANSWER + 1)
    if len(data) > MAX_ANSWER:
        raise NoStamp("the authority's answer is too long")
    try:
        found = decode_timestamp_response(data)
    except ValueError:
        raise NoStamp("the authority's answer is no time stamp") from None
    if found.status != 0:
        raise NoStamp(f"the authority refused, with status {found.status}")
    if (
        found.tst_info.nonce != wanted.nonce
        or found.tst_info.message_imprint.message != sha256(note).digest()
    ):
        raise NoStamp("the authority stamped something else")
    return data


def store(note: bytes, place: Path, answer: bytes) -> None:
    """Write a stamp beside the checkpoint that it is of.

    Raises:
        OSError: it cannot be written.
    """
    size = int(note.split(b"\n", 2)[1])
    folder = place / STAMPS
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{size}-{sha256(note).hexdigest()}.tsr"
    making = path.with_name(f".{path.name}.new")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(answer)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)


def verify_stamps(folder: Path, certificates: Path, report: Report) -> None:
    """Verify every stamp of the log in ``folder``, and add to ``report`` what they say or what is wrong.

    Args:
        folder: the journal's.
        certificates: a file with the authority's certificates in PEM: its own, intermediate ones, its root
            last.
        report: of the same log.

    Raises:
        OSError: a file cannot be read.
        ValueError: there is no certificate in the file, or the extra ``timestamp`` is not installed.
    """
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415 - the command alone needs it

    try:
        import rfc3161_client  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ValueError(
            "time stamps are verified with rfc3161-client: pip install 'governed-db[timestamp]'"
        ) from None
    chain = load_pem_x509_certificates(certificates.read_bytes())
    place = folder / FOLDER
    stamps = {
        m[2]: (int(m[1]), p)
        for p in (place / STAMPS).glob("*.tsr")
        if (m := _NAME.fullmatch(p.name)) is not None
    }
    for _, note in witness.notes(place / "checkpoints") if stamps else ():
        if isinstance(note, str):
            continue
        data = note.dump()
        found = stamps.pop(sha256(data).hexdigest(), None)
        if found is not None:
            _one(found[1], data, Checkpoint.parse(note.text).size, chain, report)
    for size, path in stamps.values():
        text = f"{path.name} is of a checkpoint over {size} leaves that the log does not have"
        # What is left over is of a checkpoint that somebody took away.
        report.found(Finding(Kind.STAMP, text))


def _one(path: Path, data: bytes, size: int, chain: list[Certificate], report: Report) -> None:
    from rfc3161_client import (  # noqa: PLC0415 - an extra
        VerificationError,
        decode_timestamp_response,
    )

    try:
        found = decode_timestamp_response(path.read_bytes())
        _verify(found, data, chain)
    except (VerificationError, ValueError) as error:
        report.found(Finding(Kind.STAMP, f"{path.name}: {error}"))
        return
    at = found.tst_info.gen_time
    report.stamps.append(f"the checkpoint over {size} leaves existed at {at:%Y-%m-%dT%H:%M:%SZ}")


def _verify(found: TimeStampResponse, data: bytes, chain: list[Certificate]) -> None:
    from rfc3161_client import VerifierBuilder  # noqa: PLC0415 - an extra

    *others, root = chain
    builder = VerifierBuilder(roots=[root], intermediates=list(others[1:]))
    if others:
        builder = builder.tsa_certificate(others[0])
    builder.build().verify_message(found, data)

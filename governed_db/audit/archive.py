"""The archive of catalogs: what names meant when the statements of the trail ran.

A record names the version of the catalog that its statement was judged on. The archive holds that catalog,
one file per version, so that a trail can be judged again under another policy when the database has moved on:
``<state dir>/catalogs/<version>.json.z``, JSON compressed by zlib.

A file is written once, by a thread of its own: a connection never waits for it. What cannot be written is
counted and never keeps a statement from running; simulations then name the version they lack.

Catalogs hold names, types and comments, and definitions (views, function bodies, rules, defaults), in which
whoever wrote them may have put literal values. The folder has mode 0700, as the journal's.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
import zlib
from pathlib import Path

from governed_db.audit.folder import settle
from governed_db.audit.plain import pack, unpack
from governed_db.catalog.model import Catalog
from governed_db.errors import AuditUnavailable
from governed_db.policy.settings import CATALOGS_KEPT

LEVEL = 1
"""zlib's fastest: some 3 ms and 95 KB; the default of 6 takes five times as long for a fifth less."""

MAX_WRITERS = 4
"""Catalogs that are written at the same time. A session that makes one temporary table after another makes a
catalog with each; what comes while so many are being written is written the next time it is used."""

LAST_CATALOGS = 5.0
"""Seconds for which :meth:`Archive.close` waits for catalogs that are being written; one takes some 60 ms."""

_SUFFIX = ".json.z"
_VERSION = re.compile(r"[0-9A-Za-z_.-]{1,128}")


class Archive:
    """The catalogs of one folder. Safe with threads, processes and forks.

    Attributes:
        folder: where the files are; made with mode 0700 when the first is written.
        failures: catalogs that could not be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures = 0
        self._seen: set[str] = set()
        self._writers: list[threading.Thread] = []

    def keep(self, catalog: Catalog, kept: int = CATALOGS_KEPT) -> None:
        """See to it that ``catalog`` is on file, among ``kept`` at most; returns at once and never raises."""
        version = catalog.version
        if version in self._seen or not _VERSION.fullmatch(version):
            return
        self._writers = [writer for writer in self._writers if writer.is_alive()]
        if len(self._writers) >= MAX_WRITERS:
            return
        self._seen.add(version)
        # Not a daemon: a short script ends after its catalog is on file.
        writer = threading.Thread(target=self._write, args=(catalog, kept), name="governed_db archive")
        try:
            writer.start()
        except RuntimeError:  # no more threads: the interpreter is ending, or the system is at its limit
            self._write(catalog, kept)
        else:
            self._writers.append(writer)

    def load(self, version: str) -> Catalog | None:
        """Return the catalog of that version; ``None`` where there is none, or the file cannot be read."""
        if not _VERSION.fullmatch(version):
            return None
        try:
            catalog = unpack(Catalog, zlib.decompress(self._path(version).read_bytes()))
        except (OSError, zlib.error, ValueError, TypeError, KeyError, AttributeError):
            return None
        return catalog if catalog.version == version else None

    def versions(self) -> list[str]:
        """Return the versions on file, the most recently used first."""
        return [path.name.removesuffix(_SUFFIX) for path in self._files()]

    def close(self, timeout: float = LAST_CATALOGS) -> None:
        """Wait up to ``timeout`` seconds for what is being written."""
        end = time.monotonic() + timeout
        for writer in self._writers:
            writer.join(max(0.0, end - time.monotonic()))

    # -- parts

    def _path(self, version: str) -> Path:
        return self.folder / f"{version}{_SUFFIX}"

    def _write(self, catalog: Catalog, kept: int) -> None:
        path = self._path(catalog.version)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            settle(self.folder)
            if path.exists():
                os.utime(path)  # in use: the last to go
                return
            packed = zlib.compress(pack(catalog), LEVEL)
            # Whole or not at all, whoever else is writing the same one, and however this process ends.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(packed)
            temporary.replace(path)
            for old in self._files()[kept:]:
                with contextlib.suppress(OSError):
                    old.unlink()
        except (OSError, AuditUnavailable, TypeError):
            self.failures += 1
            self._seen.discard(catalog.version)
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _files(self) -> list[Path]:
        found = []
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f"*{_SUFFIX}"):
                with contextlib.suppress(OSError):  # another process has just retired it
                    if not path.name.startswith("."):
                        found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found, reverse=True)]

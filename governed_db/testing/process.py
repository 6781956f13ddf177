"""The operating system's side of the embedded server: its folder, its user, its processes, its end.

PostgreSQL refuses to run as root, so root starts it as :data:`NOBODY`. No user is created and no folder
but our own is changed::

    governed-db-xxxxxxxx/   ours; when we are root others may pass through it, but not list it
        log                 ours, the server inherits it open
        programs/           only where the server's user cannot enter the installation
        server/             the server's, mode 0700: data/ and the socket

What is in ``server`` belongs to another user than root: we never write to a name in there, nor believe a
process id read from there.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

from governed_db.testing import binaries
from governed_db.testing.binaries import ServerError

NOBODY = 65534
"""uid and gid of the server when we are root: the kernel's overflow id, which owns nothing by convention."""

SUPERUSER = "postgres"
"""The role that initdb creates, whatever our own name is."""

_STARTUP_SECONDS = 30.0
_STOP_SECONDS = 5.0  # for each of: fast shutdown, immediate shutdown
_POLL_SECONDS = 0.005

# A caretaker sees its standard input end when we do, by kill -9 too, and does what we no longer can. It reads
# the server's process id once there is one. The server's last act is to remove postmaster.pid; its process
# may stay a zombie after that where the machine's init is slow to collect. Where initdb is still writing, one
# removal is not enough.
_CARETAKER = r"""
read -r pid && read -r _
if [ -n "$pid" ]; then
    kill -INT "$pid"; n=0
    while kill -0 "$pid" && [ -e "$1/server/data/postmaster.pid" ] && [ $n -lt 100 ]; do
        sleep 0.05; n=$((n+1))
    done
    kill -QUIT "$pid"
fi 2>/dev/null
n=0
while [ -e "$1" ] && [ $n -lt 50 ]; do rm -rf -- "$1" || sleep 0.1; n=$((n+1)); done 2>/dev/null
"""


class ServerProcess:
    """A server, its folder and its caretaker. Holds no reference to anything else: finalizers hold it."""

    def __init__(self, folder: Path, caretaker: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.private = folder / "server"
        self._caretaker = caretaker
        self._pid = os.getpid()
        self._log: IO[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @classmethod
    def prepare(cls) -> Self:
        """Make the folder, and see to it that somebody removes it.

        Raises:
            ServerError: no temporary folder can be written.
        """
        folder = _make_folder()
        try:
            return cls(folder, _start_caretaker(folder))
        except BaseException:
            folder.rmdir()
            raise

    def start(self, programs: Path, settings: Mapping[str, str | int | bool]) -> None:
        """Create the data, start ``programs``' server on it, and return once it answers.

        Raises:
            ServerError: what the server, or initdb, said.
            OSError: a program cannot be run.
        """
        owner = _owner()
        if owner and not binaries.usable_by_anyone(programs):
            programs = binaries.copy(programs, self.folder / "programs")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND  # several processes write to it
        self._log = os.fdopen(os.open(self.folder / "log", flags, 0o600), "rb")
        self.private.mkdir(mode=0o700)
        if owner:
            os.chown(self.private, *owner)
            self.folder.chmod(0o711)
        options = _options(self.private, owner)
        # Locale C sorts the same on every system.
        command = [str(programs / "initdb"), "-D", str(self.private / "data"), "-U", SUPERUSER]
        command += ["--auth-local=trust", "--auth-host=reject", "--locale=C", "--encoding=UTF8"]
        command += ["--no-sync", "--no-instructions"]
        # S603 here and below: the programs were named by our caller or found installed on this machine.
        done = subprocess.run(command, stdout=self._log, stderr=self._log, check=False, **options)  # noqa: S603
        if done.returncode != 0:
            raise self._failure("initdb failed")
        command = [str(programs / "postgres"), "-D", str(self.private / "data"), "-k", str(self.private)]
        for name, value in settings.items():
            command += ["-c", f"{name}={('off', 'on')[value] if isinstance(value, bool) else value}"]
        self._server = subprocess.Popen(command, stdout=self._log, stderr=self._log, **options)  # noqa: S603
        if self._caretaker.stdin is not None:
            self._caretaker.stdin.write(b"%d\n" % self._server.pid)
            self._caretaker.stdin.flush()
        self._wait_until_ready(self._server)

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        # Line 8 of postmaster.pid is the server's state (LOCK_FILE_LINE_PM_STATUS in miscadmin.h), which
        # pg_ctl reads as well: no failed connection attempts in the log.
        deadline = time.monotonic() + _STARTUP_SECONDS
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise self._failure(f"the server ended with status {server.returncode}")
            with contextlib.suppress(FileNotFoundError):
                lines = (self.private / "data" / "postmaster.pid").read_text().splitlines()
                if len(lines) > 7 and lines[7].strip() == "ready":
                    return
            time.sleep(_POLL_SECONDS)
        raise self._failure(f"the server is not ready after {_STARTUP_SECONDS:.0f} s")

    def _failure(self, what: str) -> ServerError:
        return ServerError("\n".join([what, *self.log().decode(errors="replace").splitlines()[-10:]]))

    def log(self, start: int = 0) -> bytes:
        """Return what initdb and the server wrote so far, from the byte ``start`` on."""
        if self._log is None:
            return b""
        # pread leaves the file's position alone, which the server's processes share with us.
        descriptor = self._log.fileno()
        return os.pread(descriptor, max(os.fstat(descriptor).st_size - start, 0), start)

    def end(self) -> None:
        """Stop the server and remove its folder. In a forked child: nothing, they are the parent's."""
        if os.getpid() != self._pid:
            return
        if self._server is not None:
            _stop(self._server)
        if self._log is not None:
            self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(BrokenPipeError):  # somebody ended the caretaker
            if self._caretaker.stdin is not None:
                self._caretaker.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._caretaker.wait(_STOP_SECONDS)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, none
        server.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_SECONDS)
            return


def _owner() -> tuple[int, int] | None:
    """The uid and gid to run the server as, or ``None`` for our own."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwuid(NOBODY)
    except KeyError:
        # initdb wants a name for its user, and where 65534 has none (macOS) "nobody" has another number.
        entry = pwd.getpwnam("nobody")
        return entry.pw_uid, entry.pw_gid
    return NOBODY, NOBODY


def _make_folder() -> Path:
    # /tmp before the user's own TMPDIR: a socket's path may have 103 characters on macOS (sun_path), 107 on
    # Linux, and any user may enter /tmp.
    tried: list[str] = []
    for base in dict.fromkeys(("/tmp", "/var/tmp", tempfile.gettempdir())):  # noqa: S108 - mkdtemp makes it private
        try:
            return Path(tempfile.mkdtemp(prefix="governed-db-", dir=base))
        except OSError as error:
            tried.append(f"{base}: {error.strerror}")
    raise ServerError(f"no temporary folder for the server ({'; '.join(tried)})")


def _start_caretaker(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - a constant program
        ["/bin/sh", "-c", _CARETAKER, "governed-db-caretaker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C at the terminal is for us, not for it
        cwd="/",
    )


def _options(folder: Path, owner: tuple[int, int] | None) -> dict[str, Any]:
    """What both programs are run with."""
    # The server's user must not read our environment from /proc, and PG* would redirect initdb.
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    options: dict[str, Any] = {
        "cwd": folder,
        "env": {**environment, "LC_ALL": "C", "HOME": str(folder)},
        "stdin": subprocess.DEVNULL,
        "umask": 0o077,
        "start_new_session": True,
    }
    if owner:
        options |= {"user": owner[0], "group": owner[1], "extra_groups": []}
    return options

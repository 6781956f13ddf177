"""Every Python, TOML and console block of README and docs runs, page by page, top to bottom."""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import governed_db
from governed_db.cli import main
from governed_db.cli.shop import load

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(python|toml|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)

JUDGING = (
    "governed-db approvals",
    "governed-db grants add",
    "governed-db grants list",
    "governed-db audit approvals",
    "governed-db audit show",
    "governed-db audit export",
    "governed-db audit report",
    "governed-db audit replay",
    "governed-db audit lineage",
    "governed-db check",
    "governed-db audit checkpoint",
    "governed-db audit key",
    "governed-db audit verify",
    "governed-db classify",
    "governed-db keys",
    "governed-db policy test",
    "governed-db policy explain",
    "governed-db harden",
)

# Goes on until somebody ends it.
ENDLESS = ("governed-db approvals watch",)

# Written out, an id and a key look like what a reader sees; theirs are others, and so are this run's.
REQUEST = re.compile(r"\bapr_[0-9a-f]{16}\b")
KEYS = re.compile(r"^keys = .*$", re.MULTILINE)

_LIBPQ = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}


@pytest.fixture(scope="module")
def shop(server) -> str:
    dsn = server.create_database("shop")
    with psycopg.connect(dsn) as conn:
        load(conn)
    return dsn


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=lambda p: p.name)
def test_every_block_of_the_page_runs(page: Path, shop, monkeypatch, tmp_path, capsys):
    for key, value in conninfo_to_dict(shop).items():
        if key in _LIBPQ:
            monkeypatch.setenv(_LIBPQ[key], str(value))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOVERNED_DB_APPROVER_KEY", str(tmp_path / "approver.key"))
    governed_db.configure(None)
    namespace: dict[str, object] = {"__name__": "__example__"}
    try:
        for language, text in BLOCK.findall(page.read_text()):
            if language == "python":
                exec(compile(text, str(page), "exec"), namespace)
            elif language == "toml":
                policy = tmp_path / "governed-db.toml"
                policy.write_text(KEYS.sub(str(namespace.get("keys_line", r"\g<0>")), text))
                policy.chmod(0o600)
                namespace["policy_file"] = policy
                governed_db.Governor.load(policy).close()
            else:
                run_console(text, namespace, monkeypatch)
    finally:
        governed_db.configure(None)


def run_console(text: str, namespace: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    request = namespace.get("request")
    text = REQUEST.sub(str(getattr(request, "id", "")), text)
    for line in text.splitlines():
        command, _, file = line.removeprefix("$ ").partition(" > ")
        if command.startswith(ENDLESS):
            continue
        if command.startswith(JUDGING):
            out = io.StringIO()
            with redirect_stdout(out):
                assert main(shlex.split(command)[1:]) != 1
            if command.startswith("governed-db policy test"):
                assert " 0 do not" in out.getvalue()
            if command.startswith("governed-db approvals key"):
                namespace["keys_line"] = next(KEYS.finditer(out.getvalue()))[0]
            if file:
                Path(file).write_text(out.getvalue())
        elif command.startswith("export "):
            monkeypatch.setenv(*command.removeprefix("export ").split("=", 1))

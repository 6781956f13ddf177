"""Every Python, TOML and console block of README and docs runs, page by page, top to bottom."""

from __future__ import annotations

import io
import os
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
    governed_db.configure(None)
    namespace: dict[str, object] = {"__name__": "__example__"}
    try:
        for language, text in BLOCK.findall(page.read_text()):
            if language == "python":
                exec(compile(text, str(page), "exec"), namespace)
            elif language == "toml":
                policy = tmp_path / "governed-db.toml"
                policy.write_text(text)
                policy.chmod(0o600)
                namespace["policy_file"] = policy
                governed_db.Governor.load(policy).close()
            else:
                run_console(text)
    finally:
        governed_db.configure(None)


def run_console(text: str) -> None:
    for line in text.splitlines():
        command, _, file = line.removeprefix("$ ").partition(" > ")
        if command.startswith(JUDGING):
            out = io.StringIO()
            with redirect_stdout(out):
                assert main(shlex.split(command)[1:]) != 1
            if command.startswith("governed-db policy test"):
                assert " 0 do not" in out.getvalue()
            if file:
                Path(file).write_text(out.getvalue())
        elif command.startswith("export "):
            os.environ.update([command.removeprefix("export ").split("=", 1)])

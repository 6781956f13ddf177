"""What every test can ask for: a server, a database of its own, and folders that are nobody's."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from governed_db.testing import EmbeddedPostgres

# The same examples in every run, so that what passed passes; HYPOTHESIS_PROFILE=explore looks for new ones.
# A slow machine is no defect: nothing here is timed.
settings.register_profile(
    "repeat", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _no_database_of_the_environment() -> Iterator[None]:
    """libpq's variables would send a test to a database that somebody else prepared."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    """One server for the whole run; every statement it is sent can be read from its log."""
    with EmbeddedPostgres(log_statements=True, settings={"max_prepared_transactions": 10}) as running:
        yield running


@pytest.fixture(scope="module")
def dsn(server: EmbeddedPostgres) -> Iterator[str]:
    """The conninfo of an empty database that only this test module uses."""
    name = f"test_{next(_numbers)}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for journal, keys and approvals; autouse, so that no test writes to the user's own."""
    folder = tmp_path / "state"
    monkeypatch.setenv("GOVERNED_DB_STATE_DIR", str(folder))
    for name in ("GOVERNED_DB_CONFIG", "GOVERNED_DB_PRESET"):
        monkeypatch.delenv(name, raising=False)
    return folder

"""What every test can ask for: a server, a database of its own, and folders that are nobody's."""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from governed_db import Governor, statement
from governed_db.catalog import Catalog
from governed_db.driver.seat import Seat
from governed_db.testing import EmbeddedPostgres
from tests.layout import Layout

# The same examples in every run, so that what passed passes; HYPOTHESIS_PROFILE=explore looks for new ones.
# A slow machine is no defect: nothing here is timed.
settings.register_profile(
    "repeat", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

_numbers = itertools.count(1)

# The files that take longest, half a minute down to ten seconds each. They are handed out first, so that the
# workers end together: with a short file left, nobody waits for long.
_FIRST = (
    "test_masking_corpus.py",
    "test_audit_ship_processes.py",
    "test_compliance_guardrails.py",
    "test_audit_log.py",
    "test_statement_limits.py",
    "test_policy_learn.py",
    "test_testing_server.py",
    "test_compliance_attacks.py",
    "test_driver_sampling.py",
    "test_driver_session.py",
    "test_docs_examples.py",
    "test_cli_harden.py",
    "test_statement_properties.py",
    "test_driver_attacks.py",
    "test_policy_simulate.py",
    "test_audit_journal.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; the rest stays as it is."""
    places = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def _no_database_of_the_environment() -> Iterator[None]:
    """libpq's variables would send a test to a database that somebody else prepared."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _bytecode_is_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where none may be written beside the sources, every process that a test starts would compile them."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            own = tmp_path_factory.getbasetemp()
            shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(shared / "bytecode"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _texts_are_read_once() -> Iterator[None]:
    """Every governor reads the library's own long queries anew: of the same text, the same facts come out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "read", functools.lru_cache(maxsize=256)(statement.read))
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


@pytest.fixture(scope="module")
def layout(dsn: str) -> Iterator[Layout]:
    """Lays a schema into the module's database, for every test as new."""
    with closing(Layout.of(dsn)) as made:
        yield made


@pytest.fixture(scope="module")
def catalogs_shared() -> Iterator[None]:
    """The governors of a module know what another one has read of the catalog.

    Sound by itself: a catalog is believed where its version is what the server says now, and that names
    server, database and state. For modules whose subject begins after the catalog has been read.
    """
    known: dict[tuple[object, ...], Catalog] = {}
    share = Governor.share_catalog

    def share_catalog(self: Governor, seat: Seat, catalog: Catalog) -> None:
        share(self, seat, catalog)
        known[self.place(seat)] = catalog

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Governor, "share_catalog", share_catalog)
        patch.setattr(Governor, "catalog_of", lambda self, seat: known.get(self.place(seat)))
        yield


@pytest.fixture(scope="session")
def _states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.fixture(autouse=True)
def state_dir(request: pytest.FixtureRequest, _states: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for journal, keys and approvals; autouse, so that no test writes to the user's own."""
    # Ten thousand tests need no folder, and to make one takes as long as most of them.
    if "tmp_path" in request.fixturenames:
        folder: Path = request.getfixturevalue("tmp_path") / "state"
    else:
        folder = _states / str(next(_numbers))
    monkeypatch.setenv("GOVERNED_DB_STATE_DIR", str(folder))
    for name in ("GOVERNED_DB_CONFIG", "GOVERNED_DB_PRESET"):
        monkeypatch.delenv(name, raising=False)
    return folder

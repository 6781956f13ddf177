"""The DB-API 2.0 compliance suite: what passes on bare psycopg passes through us."""

from __future__ import annotations

import unittest
import warnings
from types import ModuleType

import dbapi20
import psycopg
import pytest

import governed_db
from governed_db import Governor

pytestmark = pytest.mark.usefixtures("catalogs_shared")

NAMES = unittest.TestLoader().getTestCaseNames(dbapi20.DatabaseAPI20Test)


def outcome(driver: ModuleType, dsn: str, name: str) -> str:
    """Run one test of the suite with ``driver``; return "passed", or how it ended."""

    class Suite(dbapi20.DatabaseAPI20Test):
        def test_setoutputsize(self):
            """PEP 249 lets it do nothing; the suite leaves it to be overridden."""

        test_nextset = test_setoutputsize

    Suite.driver = driver
    Suite.connect_args = (dsn,)
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite leaves connections open where it fails
        Suite(name).run(result)
    for kind in ("errors", "failures", "skipped"):
        for _, text in getattr(result, kind):
            return f"{kind}: {str(text).strip().splitlines()[-1]}"
    return "passed"


@pytest.fixture(params=["observe", "standard"])
def governor(request, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(f'extends = "{request.param}"\nidentity = "service:suite"\n')
    policy.chmod(0o600)
    made = Governor.load(policy, state_dir=tmp_path)
    governed_db.configure(made)
    yield made
    governed_db.configure(None)
    made.close()


@pytest.mark.parametrize("name", NAMES)
def test_the_suite_ends_as_it_does_on_bare_psycopg(dsn, governor, name):
    bare = outcome(psycopg, dsn, name)
    assert outcome(governed_db, dsn, name) == bare


def test_most_of_the_suite_passes_on_bare_psycopg(dsn):
    failing = {name for name in NAMES if outcome(psycopg, dsn, name) != "passed"}
    # psycopg lets a connection be closed twice, against the letter of PEP 249.
    assert failing == {"test_non_idempotent_close"}

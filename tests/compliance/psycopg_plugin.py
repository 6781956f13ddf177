"""Run psycopg's own test suite against governed_db.

psycopg's tests are in its repository, not in what PyPI has. With a checkout of it::

    cd psycopg
    GOVERNED_DB_PRESET=observe PYTHONPATH=/path/to/governed-db/tests/compliance \
        pytest -p psycopg_plugin -p no:asyncio --test-dsn "host=... dbname=test" tests

The plugin is loaded before the tests import psycopg. Every public connection and cursor class of psycopg
is replaced by its governed twin.
"""

from __future__ import annotations

import psycopg

import governed_db
from governed_db.driver.aliases import twins

for _plain, _governed in twins().items():
    setattr(psycopg, _plain.__name__, _governed)
psycopg.connect = governed_db.connect

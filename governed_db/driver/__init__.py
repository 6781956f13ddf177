"""RUN: psycopg, governed. The only package that knows psycopg's inside."""

from governed_db.driver.compat import check

check()  # before any module that would use a private name of psycopg that has changed

"""RUN: psycopg, governed. The only package that knows psycopg's inside."""

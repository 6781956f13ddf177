"""WHAT: facts from PostgreSQL's own grammar, without looking at any database."""

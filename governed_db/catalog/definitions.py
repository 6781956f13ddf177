# ruff: noqa: S608 - the text is put together from constants of this module and from numbers
"""The SQL that tells whether anything has changed of what a statement touches, and of what runs with it.

A snapshot holds what decisions need, which is less: not what a default inserts, what a check asks, which
rows a row security policy lets through, or the body of a trigger that was vetted. Who agrees to a statement
agrees to all of these. So the server is asked for the version (``xmin`` and ``ctid``, as for the snapshot's
own digest) of every row of its catalog that can be reached from what the statement touches: by pg_depend
from an object to what it is made of; from a table to its defaults, constraints, triggers, policies, rules,
indexes and partitions; from a function to every function whose name stands in its body, because the server
keeps no record of that one. It errs on the side of reaching more.

Names are qualified and operators written out, as in :mod:`governed_db.catalog.queries`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from governed_db.catalog.queries import FIRST_USER_OID

SETTINGS: Final = (
    "TimeZone",
    "timezone_abbreviations",
    "DateStyle",
    "IntervalStyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "extra_float_digits",
    "bytea_output",
    "xmlbinary",
    "xmloption",
    "array_nulls",
    "transform_null_equals",
    "default_text_search_config",
    "session_replication_role",
    "row_security",
)
"""Settings under which the same text, or the same value in text form, means another one (PostgreSQL's "Client
Connection Defaults" and "Version and Platform Compatibility"), beside those of a session's standing. Those
of extensions and languages, which have a dot in their names, count as well where somebody has set them."""

_FOLLOWED = (
    "pg_class",
    "pg_proc",
    "pg_type",
    "pg_operator",
    "pg_cast",
    "pg_constraint",
    "pg_attrdef",
    "pg_trigger",
    "pg_policy",
    "pg_rewrite",
    "pg_foreign_server",
    "pg_collation",
    "pg_opclass",
    "pg_opfamily",
)

# What belongs to a relation: the catalog it stands in, and the column that says whose it is.
_OWN = (
    ("pg_attrdef", "oid", "adrelid"),
    ("pg_constraint", "oid", "conrelid"),
    ("pg_trigger", "oid", "tgrelid"),
    ("pg_policy", "oid", "polrelid"),
    ("pg_rewrite", "oid", "ev_class"),
)
_VERSIONED = tuple(name for name in _FOLLOWED if name != "pg_class")
# Rows without an OID of their own, by the class they belong to.
_PARTS = (
    ("pg_attribute", "attrelid", "pg_class"),
    ("pg_index", "indrelid", "pg_class"),
    ("pg_foreign_table", "ftrelid", "pg_class"),
    ("pg_enum", "enumtypid", "pg_type"),
)


def _class(name: str) -> str:
    return f"'pg_catalog.{name}'::pg_catalog.regclass::pg_catalog.oid"


def _sql(text: str) -> str:
    for short in ("==", "<>", ">=", ">", "||"):
        text = text.replace(f" {short} ", f" OPERATOR(pg_catalog.{short.replace('==', '=')}) ")
    return " ".join(text.split())


def _any(column: str, names: Iterable[str]) -> str:
    return "(" + " OR ".join(f"{column} == {_class(name)}" for name in names) + ")"


_NEXT = " UNION ALL ".join(
    [
        # A foreign key is made of the table that it points at; what becomes of that one's rows is its own.
        f"""SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
        WHERE d.classid == t.class AND d.objid == t.object AND {_any("d.refclassid", _FOLLOWED)}
            AND NOT (t.class == {_class("pg_constraint")} AND d.refclassid == {_class("pg_class")})""",
        *(
            f"""SELECT {_class(table)}, o.{oid} FROM pg_catalog.{table} AS o
            WHERE t.class == {_class("pg_class")} AND o.{owner} == t.object"""
            for table, oid, owner in _OWN
        ),
        f"""SELECT {_class("pg_class")}, i.indexrelid FROM pg_catalog.pg_index AS i
        WHERE t.class == {_class("pg_class")} AND i.indrelid == t.object""",
        f"""SELECT {_class("pg_class")}, i.inhrelid FROM pg_catalog.pg_inherits AS i
        WHERE t.class == {_class("pg_class")} AND i.inhparent == t.object""",
        f"""SELECT {_class("pg_constraint")}, o.oid FROM pg_catalog.pg_constraint AS o
        WHERE t.class == {_class("pg_type")} AND o.contypid == t.object""",
        f"""SELECT {_class("pg_proc")}, g.oid FROM pg_catalog.pg_proc AS f
            CROSS JOIN pg_catalog.pg_proc AS g JOIN pg_catalog.pg_language AS l ON l.oid == f.prolang
        WHERE t.class == {_class("pg_proc")} AND f.oid == t.object
            AND g.oid >= {FIRST_USER_OID}::pg_catalog.oid
            AND l.lanname <> 'c'::pg_catalog.name AND l.lanname <> 'internal'::pg_catalog.name
            AND pg_catalog.strpos(
                pg_catalog.lower(f.prosrc), pg_catalog.lower(g.proname::pg_catalog.text)) > 0""",
    ]
)

_CLASS = """'class ' || ROW(c.oid, c.relname, c.relnamespace, c.relowner, c.relkind, c.relpersistence,
    c.relrowsecurity, c.relforcerowsecurity, c.relispartition, c.reloptions, c.relpartbound
    )::pg_catalog.text"""
"""A row of pg_class changes with every TRUNCATE, which changes no definition."""

_LINES = " UNION ALL ".join(
    [
        f"""SELECT {_CLASS} FROM touched AS t JOIN pg_catalog.pg_class AS c
        ON t.class == {_class("pg_class")} AND c.oid == t.object AND c.relkind <> 'i' AND c.relkind <> 'I'""",
        *(
            f"""SELECT '{table} ' || ROW(o.oid, o.xmin, o.ctid)::pg_catalog.text
            FROM touched AS t JOIN pg_catalog.{table} AS o
            ON t.class == {_class(table)} AND o.oid == t.object"""
            for table in _VERSIONED
        ),
        *(
            f"""SELECT '{table} ' || ROW(o.{owner}, o.xmin, o.ctid)::pg_catalog.text
            FROM touched AS t JOIN pg_catalog.{table} AS o
            ON t.class == {_class(of)} AND o.{owner} == t.object"""
            for table, owner, of in _PARTS
        ),
        f"""SELECT 'cast ' || ROW(o.oid, o.xmin, o.ctid)::pg_catalog.text FROM pg_catalog.pg_cast AS o
        WHERE o.oid >= {FIRST_USER_OID}::pg_catalog.oid""",
        """SELECT 'role ' || ROW(r.oid, r.rolsuper, r.rolbypassrls)::pg_catalog.text
        FROM pg_catalog.pg_roles AS r WHERE r.rolname == CURRENT_USER""",
        f"""SELECT 'setting ' || ROW(s.name, pg_catalog.current_setting(s.name, true))::pg_catalog.text
        FROM (VALUES {", ".join(f"('{name}'::pg_catalog.text)" for name in SETTINGS)}) AS s (name)""",
        """SELECT 'setting ' || ROW(s.name, s.setting)::pg_catalog.text FROM pg_catalog.pg_settings AS s
        WHERE pg_catalog.strpos(s.name, '.') > 0 AND s.source <> 'default'
            AND NOT pg_catalog.starts_with(s.name, 'governed_db.')""",
    ]
)

_QUERY = _sql(
    f"""WITH RECURSIVE touched (class, object) AS (
        SELECT s.class, s.object FROM (VALUES {{seeds}}) AS s (class, object)
        UNION SELECT n.class, n.object FROM touched AS t CROSS JOIN LATERAL ({_NEXT}) AS n (class, object)
        WHERE n.object >= {FIRST_USER_OID}::pg_catalog.oid
    ), lines (line) AS ({_LINES})
    SELECT pg_catalog.md5(pg_catalog.string_agg(l.line, '|' ORDER BY l.line COLLATE pg_catalog."C"))
    FROM lines AS l"""
)


def query(relations: Iterable[int], functions: Iterable[int], types: Iterable[int]) -> bytes:
    """Return the SQL for one row with one column: equal as long as nothing has changed of what is reached.

    Args:
        relations, functions, types: OIDs of what a statement touches by itself.
    """
    seeds = [
        f"({_class(name)}, {int(oid)}::pg_catalog.oid)"
        for name, oids in (("pg_class", relations), ("pg_proc", functions), ("pg_type", types))
        for oid in sorted({*oids})
    ]
    nothing = f"({_class('pg_class')}, 0::pg_catalog.oid)"
    return _QUERY.replace("{seeds}", ", ".join(seeds or [nothing])).encode()

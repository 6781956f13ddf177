# ruff: noqa: S608 - every text is put together from constants of this module, none from input
"""The SQL that asks a server what it holds. Nothing here is sent: the driver does that.

Every name is qualified and every operator is written ``OPERATOR(pg_catalog.x)``, so that no schema in a
search_path can answer in PostgreSQL's place. An ordinary role can run all of it, on PostgreSQL 13 to 18.

Three texts are to be sent by the simple query protocol, with results in text format:

:data:`SESSION`
    one row for :func:`session`: what names and quotes mean in this session.
:data:`DIGEST`
    one row, one column: equal as long as nothing that a snapshot holds has changed.
:data:`SNAPSHOT` or :data:`SNAPSHOT_IN_TRANSACTION`
    everything for :func:`governed_db.catalog.snapshot.build`, which takes the results of the whole
    message in order, those without rows as empty sequences.

``pg_get_viewdef`` leaves out the schema of whatever the search_path finds, and locks what a view reads. So
a snapshot is taken under an empty search_path and short timeouts, and :data:`LOCKED` stands for what could
not be read at once. While the connection is idle the message is one implicit transaction, and settings made
local to it end with it. Inside the caller's transaction a savepoint does the same: rolling back to it
restores the settings exactly as they were and lets go of the locks. Should the message fail there,
:data:`RECOVER` gives the caller the transaction back.

An empty search_path still finds ``pg_catalog`` and the session's own temporary schema, which comes first: an
unqualified relation in a view's definition is looked for there, and nowhere else.

A transaction that is REPEATABLE READ or SERIALIZABLE shows the catalog's tables as they were when it
began, while the server resolves names by what they are now: in such a transaction an unchanged digest says
nothing about the changes of others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from governed_db.catalog.model import Session

FIRST_USER_OID = 16384
"""Objects below came with the server (FirstNormalObjectId in src/include/access/transam.h)."""


def _sql(text: str) -> bytes:
    # IN, BETWEEN, IS DISTINCT FROM, NULLIF and CASE x WHEN look operators up by search_path, hence none of
    # them below.
    for short in ("==", "<>", ">="):
        text = text.replace(f" {short} ", f" OPERATOR(pg_catalog.{short.replace('==', '=')}) ")
    return " ".join(text.split()).encode()


# Temporary schemas of other sessions cannot be reached from this one, and come and go all the time.
_SCHEMAS = """(
    SELECT n.oid, n.nspname, n.xmin AS x, n.ctid AS c FROM pg_catalog.pg_namespace AS n
    WHERE n.oid == pg_catalog.pg_my_temp_schema()
        OR NOT (pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_temp_')
            OR pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_toast'))
)"""

SESSION = _sql(
    """
    SELECT pg_catalog.current_database(), current_user, session_user,
        pg_catalog.array_to_json(pg_catalog.current_schemas(true)),
        (SELECT n.nspname FROM pg_catalog.pg_namespace AS n WHERE n.oid == pg_catalog.pg_my_temp_schema()),
        (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname == current_user),
        pg_catalog.current_setting('standard_conforming_strings'),
        pg_catalog.current_setting('backslash_quote'),
        pg_catalog.current_setting('row_security'),
        pg_catalog.current_setting('client_encoding'),
        pg_catalog.current_setting('role'),
        pg_catalog.current_setting('session_replication_role'),
        pg_catalog.current_setting('statement_timeout'),
        pg_catalog.current_setting('lock_timeout'),
        pg_catalog.current_setting('idle_in_transaction_session_timeout'),
        pg_catalog.current_setting('track_counts')
    """
)
"""One row for :func:`session`."""


def session(row: Sequence[str | None]) -> Session:
    """Read the row of :data:`SESSION`.

    Raises:
        ValueError: the row is not one of that query.
    """
    if len(row) != 16 or None in (row[0], row[1], row[2], row[3]):
        raise ValueError("the server's answer to the session query has an unexpected shape")
    database, role, session_user, path, temp_schema, superuser, *settings = row
    strings, backslash_quote, row_security, client_encoding, role_setting, replication_role = settings[:6]
    *timeouts, track_counts = settings[6:]
    return Session(
        database=str(database),
        role=str(role),
        session_user=str(session_user),
        search_path=tuple(orjson.loads(str(path))),
        temp_schema=temp_schema,
        # A role that pg_roles does not show was dropped meanwhile: nothing is known about it.
        superuser=superuser != "f",
        standard_conforming_strings=strings == "on",
        backslash_quote=str(backslash_quote),
        row_security=row_security == "on",
        client_encoding=str(client_encoding),
        role_setting=str(role_setting),
        replication_role=str(replication_role),
        timeouts=tuple(_milliseconds(timeout) for timeout in timeouts),
        track_counts=track_counts == "on",
    )


def _milliseconds(text: str | None) -> int:
    # As current_setting() writes a time: a number and a unit, "0" for none.
    found = re.fullmatch(r"(\d+)(ms|s|min|h|d)?", text or "")
    if found is None:
        raise ValueError("the server's answer to the session query has a time of an unexpected shape")
    return int(found[1]) * _UNITS[found[2]]


_UNITS = {None: 1, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def _rows(source: str) -> str:
    # xmin tells every change by another transaction: each row it writes carries an id never seen before,
    # each row it deletes takes one away. ctid tells the second change to a row within our own. (cmin would
    # too, but a DROP that somebody has not committed shows in it.) VACUUM and ANALYZE update in place and
    # touch neither. A sum does not depend on the order rows are read in.
    return f"""(SELECT pg_catalog.concat(pg_catalog.count(*), '.', pg_catalog.sum(
        pg_catalog.hash_array_extended(ARRAY[pg_catalog.xidsend(r.x), pg_catalog.tidsend(r.c)], 0)))
        FROM {source} AS r)"""


_USER = f"t.oid >= {FIRST_USER_OID}::pg_catalog.oid"
_OF_RELATIONS = """(
    SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.{table} AS t JOIN relations ON relations.oid == t.{column}
)"""
_OF_SCHEMAS = """(
    SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.{table} AS t JOIN schemas ON schemas.oid == t.{column}
)"""
_DIGESTED = (
    "schemas",
    "relations",
    *(
        _OF_RELATIONS.format(table=table, column=column)
        for table, column in (
            ("pg_attribute", "attrelid"),
            ("pg_index", "indrelid"),
            ("pg_inherits", "inhrelid"),
            ("pg_rewrite", "ev_class"),
            ("pg_constraint", "conrelid"),
            ("pg_attrdef", "adrelid"),
            ("pg_policy", "polrelid"),
        )
    ),
    "(SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.pg_constraint AS t"
    " WHERE t.contypid <> 0::pg_catalog.oid)",
    f"(SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.pg_aggregate AS t"
    f" WHERE t.aggfnoid::pg_catalog.oid >= {FIRST_USER_OID}::pg_catalog.oid)",
    "(SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.pg_trigger AS t WHERE NOT t.tgisinternal)",
    "(SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.pg_description AS t"
    " WHERE t.classoid == 'pg_catalog.pg_class'::pg_catalog.regclass)",
    _OF_SCHEMAS.format(table="pg_proc", column="pronamespace"),
    _OF_SCHEMAS.format(table="pg_type", column="typnamespace"),
    *(
        f"(SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.{table} AS t WHERE {_USER})"
        for table in ("pg_operator", "pg_cast", "pg_opclass", "pg_amop", "pg_amproc")
    ),
    *(
        f"(SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.{table} AS t)"
        for table in ("pg_language", "pg_extension")
    ),
    "(SELECT t.xmin AS x, t.ctid AS c FROM pg_catalog.pg_depend AS t"
    " WHERE t.refclassid == 'pg_catalog.pg_extension'::pg_catalog.regclass)",
)

DIGEST = _sql(
    # Transaction ids of two servers can be the same by chance; when they started cannot.
    f"""
    WITH schemas AS MATERIALIZED {_SCHEMAS},
    relations AS MATERIALIZED (
        SELECT t.oid, t.xmin AS x, t.ctid AS c FROM pg_catalog.pg_class AS t
        JOIN schemas ON schemas.oid == t.relnamespace
    )
    SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(',',
        pg_catalog.current_database(), pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()),
        pg_catalog.pg_my_temp_schema(), {", ".join(map(_rows, _DIGESTED))}), 'UTF8')), 'hex')
    """
)
"""One row, one column: a text that changes with anything that a snapshot holds."""

_RELATIONS = f"""
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, d.description,
        q.partattrs
    FROM pg_catalog.pg_class AS c
    JOIN {_SCHEMAS} AS n ON n.oid == c.relnamespace
    LEFT JOIN pg_catalog.pg_description AS d ON d.objoid == c.oid
        AND d.classoid == 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid == 0
    LEFT JOIN pg_catalog.pg_partitioned_table AS q ON q.partrelid == c.oid
"""
_COLUMNS = """
    SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, d.description,
        CASE WHEN a.attgenerated <> '' THEN (
            SELECT pg_catalog.string_agg(g.refobjsubid::pg_catalog.text, ' ') FROM pg_catalog.pg_depend AS g
            WHERE (g.classid == 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND g.objid == a.attrelid AND g.objsubid == a.attnum
                OR g.classid == 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND g.objid == (
                    SELECT e.oid FROM pg_catalog.pg_attrdef AS e
                    WHERE e.adrelid == a.attrelid AND e.adnum == a.attnum))
                AND g.refclassid == 'pg_catalog.pg_class'::pg_catalog.regclass
                AND g.refobjid == a.attrelid AND g.refobjsubid >= 1 AND g.refobjsubid <> a.attnum
        ) END
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS c ON c.oid == a.attrelid
    LEFT JOIN pg_catalog.pg_description AS d ON d.objoid == a.attrelid
        AND d.classoid == 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid == a.attnum
    WHERE a.attnum >= 1 AND NOT a.attisdropped AND c.relkind <> 'i' AND c.relkind <> 'I' AND c.relkind <> 't'
    ORDER BY a.attrelid, a.attnum
"""
# A key proves "at most one row" only where the index compares as `=` on the column does: by the type's
# default operator class, and not by a collation that tells apart what the column's own calls equal.
_KEYS = """
    SELECT i.indrelid, i.indnkeyatts, i.indkey FROM pg_catalog.pg_index AS i
    WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_opclass AS o
            WHERE o.oid OPERATOR(pg_catalog.=) ANY (i.indclass::pg_catalog.oid[]) AND NOT o.opcdefault)
        AND NOT EXISTS (
            SELECT FROM ROWS FROM (
                pg_catalog.unnest(i.indkey::pg_catalog.int2[]),
                pg_catalog.unnest(i.indcollation::pg_catalog.oid[])
            ) AS k(number, collation_oid)
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid == i.indrelid AND a.attnum == k.number
            WHERE k.collation_oid <> 0::pg_catalog.oid AND k.collation_oid <> a.attcollation)
"""
LOCKED = "(locked by another session)"
"""Stands for a definition that PostgreSQL would wait for: no text that anything could read it as."""

# Writing a definition out takes a lock on each relation in it. Where somebody holds or waits for one that
# excludes reading (ALTER TABLE, in a migration that takes its time), a snapshot would wait as well, and
# nothing else could be judged either. Views are left out then, and conditions of triggers: what reads a view
# that is left out is refused, and its columns count as sensitive. What rules, functions and arguments of
# triggers make of values has to be known of every table, and is waited for.
_LOCKED = f"""OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT d.objid FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_depend AS d ON d.refobjid == l.relation
        AND d.refclassid == 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.classid == 'pg_catalog.{{table}}'::pg_catalog.regclass
    JOIN pg_catalog.pg_database AS b ON b.oid == l.database AND b.datname == pg_catalog.current_database()
    WHERE l.locktype == 'relation' AND l.mode == 'AccessExclusiveLock'
        AND (l.pid IS NULL OR l.pid <> pg_catalog.pg_backend_pid())))) THEN '{LOCKED}'"""
_PARENTS = "SELECT h.inhrelid, h.inhparent FROM pg_catalog.pg_inherits AS h ORDER BY h.inhrelid, h.inhseqno"
_TRIGGERS = f"""
    SELECT t.tgrelid, t.tgname, t.tgfoid, t.tgtype, t.tgattr, t.tgenabled, t.tgdeferrable,
        CASE WHEN t.tgqual IS NOT NULL AND t.tgnargs == 0::pg_catalog.int2
                AND (t.oid {_LOCKED.format(table="pg_trigger")}
            WHEN t.tgqual IS NOT NULL OR t.tgnargs >= 1::pg_catalog.int2
            THEN pg_catalog.pg_get_triggerdef(t.oid) END
    FROM pg_catalog.pg_trigger AS t WHERE NOT t.tgisinternal ORDER BY t.tgrelid, t.tgname
"""
# Unique indexes come beside the constraints: not all have one, and conkey knows neither the columns of
# expressions, for which it has a 0, nor those of a WHERE.
_CONSTRAINTS = """
    SELECT k.conrelid, k.conname, k.contype::pg_catalog.text, k.conkey::pg_catalog.text, NULL, (
        SELECT pg_catalog.array_agg(x.number)::pg_catalog.text FROM ROWS FROM (
            pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.conexclop)
        ) AS x(number, operator)
        JOIN pg_catalog.pg_operator AS o ON o.oid == x.operator WHERE o.oprname <> '='::pg_catalog.name)
    FROM pg_catalog.pg_constraint AS k
    WHERE k.conrelid <> 0::pg_catalog.oid
        AND k.contype OPERATOR(pg_catalog.=) ANY (ARRAY['p', 'u', 'x', 'c']::pg_catalog."char"[])
    UNION ALL
    SELECT i.indrelid, c.relname, 'i', pg_catalog.array_agg(DISTINCT d.refobjsubid)::pg_catalog.text,
        i.indpred::pg_catalog.text, NULL
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid == i.indexrelid
    JOIN pg_catalog.pg_depend AS d ON d.classid == 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.objid == i.indexrelid AND d.refclassid == 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjid == i.indrelid AND d.refobjsubid >= 1
    WHERE i.indisunique OR i.indisexclusion
    GROUP BY i.indrelid, c.relname, i.indpred::pg_catalog.text
    ORDER BY 1, 2
"""
_FOREIGN_KEYS = """
    SELECT k.conname, k.conrelid, k.conkey, k.confrelid, k.confkey, k.confdeltype, k.confupdtype
    FROM pg_catalog.pg_constraint AS k WHERE k.contype == 'f' ORDER BY k.oid
"""
_RULES = """
    SELECT r.ev_class, pg_catalog.pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite AS r
    WHERE r.rulename <> '_RETURN' ORDER BY r.ev_class, r.rulename
"""
# Expressions that run without any text naming them, as the server keeps them (pg_node_tree). That form
# gives functions and operators by OID, those of PostgreSQL included, which pg_depend leaves out.
# Columns: relation (a domain for D), column or 0, what it is, the expression.
_EXPRESSIONS = """
    SELECT d.adrelid, d.adnum,
        CASE WHEN a.attgenerated <> '' THEN a.attgenerated::pg_catalog.text ELSE 'd' END,
        d.adbin::pg_catalog.text
    FROM pg_catalog.pg_attrdef AS d
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid == d.adrelid AND a.attnum == d.adnum
    UNION ALL
    SELECT a.attrelid, a.attnum, 'd', t.typdefaultbin::pg_catalog.text
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid == a.atttypid
    WHERE t.typdefaultbin IS NOT NULL AND a.attnum >= 1::pg_catalog.int2 AND NOT a.atthasdef
    UNION ALL
    SELECT CASE WHEN k.conrelid <> 0::pg_catalog.oid THEN k.conrelid ELSE k.contypid END, 0,
        CASE WHEN k.conrelid <> 0::pg_catalog.oid THEN 'c' ELSE 'D' END, k.conbin::pg_catalog.text
    FROM pg_catalog.pg_constraint AS k WHERE k.conbin IS NOT NULL
    UNION ALL
    SELECT i.indrelid, 0, 'i', pg_catalog.concat(i.indexprs::pg_catalog.text, i.indpred::pg_catalog.text)
    FROM pg_catalog.pg_index AS i WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
    SELECT p.polrelid, 0, CASE WHEN p.polcmd == 'a' THEN 'a' ELSE 'p' END,
        pg_catalog.concat(p.polqual::pg_catalog.text, p.polwithcheck::pg_catalog.text)
    FROM pg_catalog.pg_policy AS p
    UNION ALL
    SELECT t.tgrelid, 0, 't', t.tgqual::pg_catalog.text FROM pg_catalog.pg_trigger AS t
    WHERE t.tgqual IS NOT NULL
    UNION ALL
    SELECT q.partrelid, 0, 'k', q.partexprs::pg_catalog.text FROM pg_catalog.pg_partitioned_table AS q
    WHERE q.partexprs IS NOT NULL
"""
# Operator classes that PostgreSQL did not bring, with what they call: support functions and operators of
# their family. One row for each function.
_OPERATOR_CLASSES = f"""
    SELECT o.oid, o.opcintype, m.amname, o.opcdefault, f.function
    FROM pg_catalog.pg_opclass AS o
    JOIN pg_catalog.pg_am AS m ON m.oid == o.opcmethod
    LEFT JOIN (
        SELECT s.amprocfamily AS family, s.amproc::pg_catalog.oid AS function FROM pg_catalog.pg_amproc AS s
        UNION
        SELECT a.amopfamily, p.oprcode::pg_catalog.oid FROM pg_catalog.pg_amop AS a
        JOIN pg_catalog.pg_operator AS p ON p.oid == a.amopopr
    ) AS f ON f.family == o.opcfamily
    WHERE o.oid >= {FIRST_USER_OID}::pg_catalog.oid
    ORDER BY o.oid, f.function
"""
# Indexes and partition keys that compare by one of those.
_COMPARED = f"""
    SELECT i.indrelid, u.class, 'x' FROM pg_catalog.pg_index AS i
    CROSS JOIN pg_catalog.unnest(i.indclass::pg_catalog.oid[]) AS u(class)
    WHERE u.class >= {FIRST_USER_OID}::pg_catalog.oid
    UNION
    SELECT q.partrelid, u.class, 'k' FROM pg_catalog.pg_partitioned_table AS q
    CROSS JOIN pg_catalog.unnest(q.partclass::pg_catalog.oid[]) AS u(class)
    WHERE u.class >= {FIRST_USER_OID}::pg_catalog.oid
"""
_VIEWS = f"""
    SELECT c.oid,
        CASE WHEN (r.oid {_LOCKED.format(table="pg_rewrite")} ELSE pg_catalog.pg_get_viewdef(c.oid) END
    FROM pg_catalog.pg_class AS c
    JOIN {_SCHEMAS} AS n ON n.oid == c.relnamespace
    LEFT JOIN pg_catalog.pg_rewrite AS r ON r.ev_class == c.oid AND r.rulename == '_RETURN'
    WHERE (c.relkind == 'v' OR c.relkind == 'm') AND c.oid >= {FIRST_USER_OID}::pg_catalog.oid
"""
_FUNCTIONS = f"""
    SELECT p.oid, n.nspname, p.proname, p.proargtypes, p.pronargdefaults, p.provariadic, p.provolatile,
        l.lanname, p.prokind, p.prorettype, p.proretset, p.prosecdef,
        p.proargmodes, CASE WHEN p.proargmodes IS NOT NULL THEN pg_catalog.array_to_json(p.proargnames) END
    FROM pg_catalog.pg_proc AS p
    JOIN {_SCHEMAS} AS n ON n.oid == p.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid == p.prolang
"""
_DEFINITIONS = f"""
    SELECT p.oid, CASE WHEN (l.lanname == 'sql' OR l.lanname == 'plpgsql')
            AND (p.prokind == 'f' OR p.prokind == 'p') THEN pg_catalog.pg_get_functiondef(p.oid) END,
        pg_catalog.array_to_json(p.proconfig)
    FROM pg_catalog.pg_proc AS p
    JOIN {_SCHEMAS} AS n ON n.oid == p.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid == p.prolang
    WHERE p.oid >= {FIRST_USER_OID}::pg_catalog.oid
"""
_AGGREGATES = f"""
    SELECT a.aggfnoid::pg_catalog.oid, u.part
    FROM pg_catalog.pg_aggregate AS a
    LEFT JOIN pg_catalog.pg_operator AS o ON o.oid == a.aggsortop
    CROSS JOIN pg_catalog.unnest(ARRAY[
        a.aggtransfn::pg_catalog.oid, a.aggfinalfn::pg_catalog.oid, a.aggcombinefn::pg_catalog.oid,
        a.aggserialfn::pg_catalog.oid, a.aggdeserialfn::pg_catalog.oid, a.aggmtransfn::pg_catalog.oid,
        a.aggminvtransfn::pg_catalog.oid, a.aggmfinalfn::pg_catalog.oid, o.oprcode::pg_catalog.oid
    ]) AS u(part)
    WHERE a.aggfnoid::pg_catalog.oid >= {FIRST_USER_OID}::pg_catalog.oid AND u.part <> 0::pg_catalog.oid
"""
_EXTENSIONS = """
    SELECT d.objid, e.extname FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_extension AS e ON e.oid == d.refobjid
    WHERE d.refclassid == 'pg_catalog.pg_extension'::pg_catalog.regclass
        AND d.classid == 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype == 'e'
"""
_TYPES = f"""
    SELECT t.oid, n.nspname, t.typname, t.typtype, t.typcategory, t.typbasetype, t.typelem, t.typrelid,
        t.typtypmod
    FROM pg_catalog.pg_type AS t JOIN {_SCHEMAS} AS n ON n.oid == t.typnamespace
"""
# Multiranges came with PostgreSQL 14, hence a column that may not be there.
_RANGES = f"""
    SELECT u.type, r.rngsubtype FROM pg_catalog.pg_range AS r
    CROSS JOIN pg_catalog.unnest(ARRAY[
        r.rngtypid::pg_catalog.text,
        pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) 'rngmultitypid'
    ]) AS u(type)
    WHERE r.rngtypid >= {FIRST_USER_OID}::pg_catalog.oid AND u.type IS NOT NULL
"""
_OPERATORS = f"""
    SELECT o.oid, n.nspname, o.oprname, o.oprleft, o.oprright, o.oprresult, o.oprcode::pg_catalog.oid
    FROM pg_catalog.pg_operator AS o JOIN {_SCHEMAS} AS n ON n.oid == o.oprnamespace
    WHERE o.oid >= {FIRST_USER_OID}::pg_catalog.oid
"""
_CASTS = f"""
    SELECT c.castsource, c.casttarget, c.castfunc, c.castmethod, c.castcontext FROM pg_catalog.pg_cast AS c
    WHERE c.oid >= {FIRST_USER_OID}::pg_catalog.oid
"""

PARTS = (
    *map(
        _sql,
        (
            _RELATIONS,
            _COLUMNS,
            _KEYS,
            _PARENTS,
            _TRIGGERS,
            _CONSTRAINTS,
            _FOREIGN_KEYS,
            _RULES,
            _EXPRESSIONS,
            _COMPARED,
            _VIEWS,
            _FUNCTIONS,
            _DEFINITIONS,
            _AGGREGATES,
            _EXTENSIONS,
            _TYPES,
            _RANGES,
            _OPERATORS,
            _CASTS,
            _OPERATOR_CLASSES,
        ),
    ),
    # Last, so that a change while the others ran shows.
    DIGEST,
)
"""The queries of a snapshot, in the order that ``build`` reads their results."""

# Waiting long for somebody's ALTER TABLE, or being cut off by the caller's own tight timeout, would both
# leave the caller with no catalog: 2 s and 30 s are far above what a snapshot takes, far below a hang.
_SETTINGS = _sql(
    """
    SELECT pg_catalog.set_config('search_path', '', true),
        pg_catalog.set_config('client_encoding', 'UTF8', true),
        pg_catalog.set_config('lock_timeout', '2s', true),
        pg_catalog.set_config('statement_timeout', '30s', true)
    """
)
_SAVEPOINT = b"governed_db_snapshot"
_BACK = (b"ROLLBACK TO SAVEPOINT " + _SAVEPOINT, b"RELEASE SAVEPOINT " + _SAVEPOINT)

SNAPSHOT = b"; ".join((_SETTINGS, *PARTS))
"""For an idle connection (no transaction, no pipeline)."""

SNAPSHOT_IN_TRANSACTION = b"; ".join((b"SAVEPOINT " + _SAVEPOINT, _SETTINGS, *PARTS, *_BACK))
"""For a connection inside a transaction that has not failed."""

RECOVER = b"; ".join(_BACK)
"""What to send when :data:`SNAPSHOT_IN_TRANSACTION` failed, to give the caller the transaction back."""

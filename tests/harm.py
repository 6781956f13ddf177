"""What a statement did: everything a session and its database show, before and after, part by part.

The parts are what ``tests/corpus/guardrails.jsonl`` names in ``harm``: "rows public.parcels",
"catalog pg_class", "setting search_path", "session locks", ...
"""

from __future__ import annotations

from typing import Any

import psycopg

_TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_(catalog|toast)' AND n.nspname <> 'information_schema'
      AND (c.relkind = 'r' OR c.relispopulated) AND NOT c.relrowsecurity
    ORDER BY 1
"""
# ctid: a rewrite that leaves every value as it was has changed every row all the same.
_ROWS = (
    "SELECT {0!r}, md5(coalesce(string_agg(ctid::text || t::text, '|' ORDER BY ctid), '')) FROM ONLY {0} t"
)

# Every catalog that commands write: a row that is new or was changed has a transaction of its own.
_CATALOGS = """
    pg_am pg_amop pg_amproc pg_aggregate pg_attrdef pg_attribute pg_auth_members pg_authid pg_cast
    pg_class pg_collation pg_constraint pg_conversion pg_database pg_db_role_setting pg_default_acl
    pg_depend pg_description pg_enum pg_event_trigger pg_extension pg_foreign_data_wrapper
    pg_foreign_server pg_foreign_table pg_index pg_inherits pg_language pg_largeobject
    pg_largeobject_metadata pg_namespace pg_opclass pg_operator pg_opfamily pg_policy pg_proc
    pg_publication pg_publication_namespace pg_publication_rel pg_range pg_replication_origin
    pg_rewrite pg_seclabel pg_sequence pg_shdescription pg_statistic pg_statistic_ext
    pg_subscription pg_tablespace pg_transform pg_trigger pg_ts_config pg_ts_config_map pg_ts_dict
    pg_ts_parser pg_ts_template pg_type pg_user_mapping
"""
_CATALOG = "SELECT {0!r}, count(*) || '/' || max(xmin::text::bigint) FROM {0}"
_VIEWS = """
    UNION ALL SELECT 'pg_prepared_xacts', (SELECT string_agg(gid, ',') FROM pg_prepared_xacts)
    UNION ALL SELECT 'pg_replication_slots', (SELECT string_agg(slot_name, ',') FROM pg_replication_slots)
    UNION ALL SELECT 'sequence ' || sequencename, last_value::text FROM pg_sequences
"""

_SESSION = """
    SELECT 'user', current_user::text || '/' || session_user
    UNION ALL SELECT 'path', current_schemas(true)::text
    UNION ALL SELECT 'channels', (SELECT string_agg(c, ',') FROM pg_listening_channels() c)
    UNION ALL SELECT 'prepared',
        (SELECT string_agg(name, ',') FROM pg_prepared_statements WHERE name !~ '^_pg3_')
    UNION ALL SELECT 'cursors', (SELECT string_agg(name, ',') FROM pg_cursors WHERE name <> '')
    UNION ALL SELECT 'locks',
        (SELECT string_agg(locktype || mode || coalesce(objid::text, ''), ',' ORDER BY 1) FROM pg_locks
        WHERE pid = pg_backend_pid() AND (locktype = 'advisory' OR mode ~ 'Exclusive|Share')
            AND locktype NOT IN ('virtualxid', 'transactionid')
            AND mode NOT IN ('AccessShareLock', 'RowExclusiveLock'))
"""
_SUPERUSER = "SELECT 1 FROM pg_roles WHERE rolname = current_user AND rolsuper"
# The server's own counters; what a session sees of itself that moves by itself.
_MOVING = ("transaction_isolation", "transaction_read_only", "transaction_deferrable", "in_hot_standby")


def state(conn: psycopg.Connection[Any], *, session: bool = True) -> dict[str, object]:
    """Return digests of the database ``conn`` is in, and unless ``session`` is false of its session."""
    seen: dict[str, object] = {}
    status = conn.info.transaction_status.name
    parts = " UNION ALL ".join(_CATALOG.format(name) for name in _CATALOGS.split()) + _VIEWS
    with psycopg.Cursor(conn) as cursor:
        if session:
            for name, value in cursor.execute("SELECT name, setting FROM pg_show_all_settings()").fetchall():
                if name not in _MOVING:
                    seen[f"setting {name}"] = value
            cursor.execute(_SESSION)
            seen |= {f"session {name}": value for name, value in cursor.fetchall()}
            seen["session transaction"] = status
            if not cursor.execute(_SUPERUSER).fetchone():
                return seen
        tables = [name for (name,) in cursor.execute(_TABLES).fetchall()]
        rows = " UNION ALL ".join(_ROWS.format(name) for name in tables)
        if rows:
            seen |= {f"rows {name}": digest for name, digest in cursor.execute(rows).fetchall()}
        seen |= {f"catalog {name}": digest for name, digest in cursor.execute(parts).fetchall()}
    return seen


def harm(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Return the parts that differ; who is no superuser any more sees only the session."""
    user = "session user"
    if before.get(user) != after.get(user):
        return [user]
    return sorted(part for part in before.keys() | after.keys() if before.get(part) != after.get(part))

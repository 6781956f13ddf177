"""Which functions may be called, and which system relations read, without anybody being asked.

The list of functions is made by rule, frozen, and read by people. :func:`by_rule` looks at one row of
pg_proc: PostgreSQL's own functions that are declared immutable or stable pass, less the groups below; of
the volatile ones those pass that are named here. ``functions.txt`` is what the rule let through on
real servers of each supported version (``tests/catalog/freeze_vetted.py`` writes it). :func:`unvetted`
wants both: a function that a newer server brings passes no rule that was written before it existed.
:mod:`governed_db.catalog.extensions` does the same for functions of extensions.

Some decisions that could have gone the other way:

- ``nextval`` is not vetted: it writes, no ROLLBACK takes that back, and a loop can use a sequence up. The
  defaults of columns call it all the same; who names it in a statement needs a policy that says so.
- ``current_setting`` is vetted, and ``pg_settings`` may be read: it is what SHOW shows, and PostgreSQL
  keeps the settings that hold secrets from ordinary roles. ``set_config`` is not vetted.
- Advisory locks are not vetted, ``pg_try_advisory_xact_lock`` neither: an application that relies on one
  stands still for as long as somebody else holds it.
- ``pg_input_is_valid`` is not vetted: it takes the name of a type at run time, and runs the checks of a
  domain.
- What a session shows of itself (its cursors, its prepared statements, its locks) is vetted; what it
  shows of others is not, save counters and which process waits for which.
- Definitions (``pg_get_viewdef``, ``pg_get_functiondef``, ...) and sizes are introspection, and vetted.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from governed_db.catalog import extensions
from governed_db.catalog.model import Function
from governed_db.catalog.queries import FIRST_USER_OID

SYSTEM_SCHEMAS = ("pg_catalog", "information_schema")
_SYSTEM_LANGUAGES = frozenset({"internal", "c", "sql"})

# Pseudo-types of src/include/catalog/pg_type.dat. Who takes or returns one of them is called by the server:
# a NULL of type internal can be written, and reaches C code that never expected SQL to call it.
_INTERNAL = 2281
_SERVERS_OWN_TYPES = frozenset({_INTERNAL, 2279, 3838, 2280, 325, 269, 3310, 3115, 32})

_NOT_FOR_SQL = "meant for the server's own use"
_FILES = "reads or writes files of the server"
_OTHERS = "reaches other sessions"
_REPLICATION = "works on replication or the write-ahead log"
_DISTRIBUTION = "changes or shows statistics"
_LARGE_OBJECTS = "works on large objects"
_SQL_TEXT = "runs SQL given as text, or reads relations named at run time"
_UPGRADE = "made for pg_upgrade"
_ADMINISTRATION = "administers the server"
_TYPE_AT_RUN_TIME = "makes values of a type named at run time, whose checks may run code"

# Stable functions among these would pass the rule without their group; volatile ones are here so
# that the refusal says what they do.
_GROUPS: dict[str, str] = {
    _SQL_TEXT: """
        query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema
        table_to_xml table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema
        schema_to_xml_and_xmlschema database_to_xml database_to_xmlschema database_to_xml_and_xmlschema
        ts_stat currtid currtid2
    """,
    _FILES: """
        pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_current_logfile pg_hba_file_rules
        pg_ident_file_mappings pg_show_all_file_settings pg_config pg_get_loaded_modules lo_import lo_export
    """,
    _LARGE_OBJECTS: """
        lo_close lo_creat lo_create lo_from_bytea lo_get lo_lseek lo_lseek64 lo_open lo_put lo_tell lo_tell64
        lo_truncate lo_truncate64 lo_unlink loread lowrite
    """,
    _OTHERS: """
        pg_cancel_backend pg_terminate_backend pg_stat_get_activity pg_stat_get_progress_info
        pg_log_backend_memory_contexts pg_export_snapshot pg_isolation_test_session_is_blocked pg_get_aios
    """,
    "sends notifications": "pg_notify",
    "changes session settings": "set_config",
    "changes a sequence": "nextval setval",
    "sleeps": "pg_sleep pg_sleep_for pg_sleep_until",
    # pg_mcv_list_items spells out the most common values that ANALYZE found in a column.
    "shows sampled data": "pg_mcv_list_items",
    _DISTRIBUTION: """
        pg_stat_force_next_flush pg_stat_clear_snapshot pg_clear_attribute_stats pg_clear_relation_stats
        pg_restore_attribute_stats pg_restore_relation_stats
    """,
    _REPLICATION: """
        pg_get_replication_slots pg_create_restore_point pg_switch_wal pg_wal_replay_pause
        pg_wal_replay_resume pg_wal_summary_contents pg_available_wal_summaries pg_get_wal_summarizer_state
        pg_log_standby_snapshot
        pg_promote pg_replication_slot_advance pg_drop_replication_slot pg_sync_replication_slots
        pg_create_physical_replication_slot pg_create_logical_replication_slot
        pg_copy_physical_replication_slot pg_copy_logical_replication_slot pg_stat_get_replication_slot
        pg_stat_get_subscription
        pg_stat_get_subscription_stats pg_stat_get_wal_senders pg_stat_get_wal_receiver
        pg_show_replication_origin_status pg_replication_origin_oid pg_start_backup pg_stop_backup
        pg_backup_start pg_backup_stop
    """,
    _ADMINISTRATION: """
        pg_reload_conf pg_rotate_logfile pg_rotate_logfile_old pg_import_system_collations
        pg_extension_config_dump pg_nextoid pg_stop_making_pinned_objects brin_summarize_new_values
        brin_summarize_range brin_desummarize_range gin_clean_pending_list
    """,
    _TYPE_AT_RUN_TIME: "pg_input_is_valid pg_input_error_info",
    # The first six read text as a type whose OID is an argument, and run the CHECKs of a domain on the way.
    # The validators look at functions (fmgr_c_validator loads a library), amvalidate and
    # satisfies_hash_partition call support functions of whatever they are pointed at.
    _NOT_FOR_SQL: """
        domain_in array_in record_in range_in multirange_in enum_in fmgr_internal_validator fmgr_c_validator
        fmgr_sql_validator plpgsql_validator amvalidate satisfies_hash_partition postgresql_fdw_validator
        pg_event_trigger_ddl_commands pg_event_trigger_dropped_objects pg_event_trigger_table_rewrite_oid
        pg_event_trigger_table_rewrite_reason
    """,
}
_WHY_NOT = {name: why for why, names in _GROUPS.items() for name in names.split()}

# Families that PostgreSQL adds to from one version to the next.
_FAMILIES = (
    ("binary_upgrade_", _UPGRADE),
    ("pg_advisory_", "takes or releases advisory locks"),
    ("pg_try_advisory_", "takes or releases advisory locks"),
    ("pg_ls_", _FILES),
    ("pg_logical_", _REPLICATION),
    ("pg_replication_origin_", _REPLICATION),
    ("pg_stat_reset", _DISTRIBUTION),
    # The text, client and standing of whatever another session runs just now.
    ("pg_stat_get_backend_", _OTHERS),
)

# Volatile because the answer changes from call to call; none of them changes anything outside of the
# session. setseed sets the seed of random() in this session, and that is all.
_HARMLESS_VOLATILE = """
    random random_normal setseed gen_random_uuid uuidv4 uuidv7 array_sample array_shuffle
    clock_timestamp timeofday timezone current_query currval lastval pg_sequence_last_value
    pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_database_size pg_tablespace_size
    pg_partition_tree pg_partition_ancestors pg_collation_actual_version pg_database_collation_actual_version
    pg_is_in_recovery pg_is_in_backup pg_is_wal_replay_paused pg_get_wal_replay_pause_state
    pg_current_wal_lsn pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_last_wal_receive_lsn
    pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_last_committed_xact pg_xact_commit_timestamp
    pg_xact_commit_timestamp_origin pg_xact_status txid_status
    pg_blocking_pids pg_safe_snapshot_blocking_pids pg_lock_status pg_prepared_xact
    pg_notification_queue_usage pg_jit_available pg_get_wait_events
    pg_stat_have_stats pg_stat_get_io pg_stat_get_recovery_prefetch
    pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls
    pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
    pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated
    pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated
    pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated
"""
_MAY_VARY = frozenset(_HARMLESS_VOLATILE.split())

# TABLESAMPLE's two methods take an internal argument; its grammar is the one way to reach them.
_SAMPLING_METHODS = frozenset({"bernoulli", "system"})


def by_rule(function: Function) -> str | None:
    """Return why ``function`` must not be called unasked, by the rule alone, or ``None``."""
    if function.extension is not None:
        return extensions.by_rule(function)
    if function.schema not in SYSTEM_SCHEMAS or function.oid >= FIRST_USER_OID:
        return "defined in this database by users"
    if function.language not in _SYSTEM_LANGUAGES:
        return "defined in this database by users"
    why = _WHY_NOT.get(function.name)
    if why is None:
        why = next((w for prefix, w in _FAMILIES if function.name.startswith(prefix)), None)
    if why is not None:
        return why
    if function.name in _SAMPLING_METHODS and function.arguments == (_INTERNAL,):
        return None
    if function.returns in _SERVERS_OWN_TYPES or not _SERVERS_OWN_TYPES.isdisjoint(function.arguments):
        return _NOT_FOR_SQL
    if function.kind == "p":
        return "a procedure"
    if function.volatility == "v":
        if function.name == "ts_rewrite":
            return _SQL_TEXT  # the one overload of three that takes a query
        return None if function.name in _MAY_VARY else "volatile and not vetted"
    return None


def unvetted(function: Function) -> str | None:
    """Return why ``function`` is not on the allowed list, in a few words, or ``None`` when it is."""
    if function.extension is not None:
        return extensions.unvetted(function)
    why = by_rule(function)
    if why is None and signature(function) not in vetted():
        return "not known to be harmless: newer than this library"
    return why


def signature(function: Function) -> str:
    """Return how ``functions.txt`` writes a function: volatility, qualified name, argument type OIDs."""
    # OIDs of built-in types are the same on every server (src/include/catalog/pg_type.dat).
    return (
        f"{function.volatility} {function.schema}.{function.name}({','.join(map(str, function.arguments))})"
    )


@cache
def vetted() -> frozenset[str]:
    """Return the allowed list: every line of ``functions.txt`` that is not a comment."""
    lines = Path(__file__).with_name("functions.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


_CREDENTIALS = "holds credentials"
_SAMPLED = "shows sampled data"
_SERVER = "shows the configuration files of the server"

WITHHELD = {
    "pg_catalog": {
        "pg_authid": _CREDENTIALS,
        "pg_shadow": _CREDENTIALS,
        "pg_user_mapping": _CREDENTIALS,
        "pg_user_mappings": _CREDENTIALS,
        "pg_foreign_server": _CREDENTIALS,
        "pg_subscription": _CREDENTIALS,
        "pg_stat_wal_receiver": _CREDENTIALS,
        "pg_statistic": _SAMPLED,
        "pg_statistic_ext_data": _SAMPLED,
        "pg_stats": _SAMPLED,
        "pg_stats_ext": _SAMPLED,
        "pg_stats_ext_exprs": _SAMPLED,
        "pg_largeobject": "holds the data of large objects",
        "pg_stat_activity": "shows statements of other sessions",
        "pg_stat_replication": "shows other sessions",
        "pg_aios": "shows other sessions",
        "pg_hba_file_rules": _SERVER,
        "pg_ident_file_mappings": _SERVER,
        "pg_file_settings": _SERVER,
        "pg_config": _SERVER,
    },
    "information_schema": {
        "user_mapping_options": _CREDENTIALS,
        "_pg_user_mappings": _CREDENTIALS,
        "foreign_server_options": _CREDENTIALS,
        "_pg_foreign_servers": _CREDENTIALS,
    },
}

SECRET_COLUMNS = {
    "pg_catalog.pg_foreign_server": frozenset({"srvoptions"}),
    "pg_catalog.pg_user_mappings": frozenset({"umoptions"}),
    "pg_catalog.pg_subscription": frozenset({"subconninfo"}),
    "pg_catalog.pg_stat_activity": frozenset({"query"}),
}
"""Withheld relations of which these columns alone are: psql's ``\\d`` of a foreign table reads the others.
Who is connected, and since when, is no secret; the text of their statements is."""

_STATEMENT_TEXTS = frozenset({"pg_stat_statements", "pg_stat_monitor"})


def withheld(schema: str, name: str) -> str | None:
    """Return why a relation is more than introspection, or ``None``.

    Only relations of PostgreSQL itself and the best-known extensions that record statements are looked
    at, the latter in any schema, since CREATE EXTENSION puts them where it is told.
    """
    if schema.startswith("pg_toast"):
        return "holds the raw values of other tables"
    if name in _STATEMENT_TEXTS:
        return "shows statements of other sessions"
    why = WITHHELD.get(schema, {}).get(name)
    if why is None and schema in SYSTEM_SCHEMAS and f"r {schema}.{name}" not in vetted():
        return "not known to be harmless: newer than this library"
    return why

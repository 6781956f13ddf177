"""Which functions of well-known extensions may be called without anybody being asked.

As for PostgreSQL's own (:mod:`governed_db.catalog.vetting`): a rule says what passes, ``extensions.txt`` is
what it let through on real servers with the extensions of PostgreSQL's contrib, pgvector and PostGIS
(``tests/catalog/freeze_vetted.py`` writes it), and a call wants both.

A function belongs to an extension only by CREATE EXTENSION or ALTER EXTENSION, by the extension's owner.
Extensions that are not listed in :data:`EXTENSIONS` have no vetted function: those that reach other servers
(dblink, postgres_fdw), files (adminpack, file_fdw, the rasters of PostGIS), raw pages or the rows of others
(pageinspect, pgrowlocks, pg_stat_statements, amcheck, ...), and those nobody has read.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from governed_db.catalog.model import Function
from governed_db.catalog.queries import FIRST_USER_OID

EXTENSIONS = frozenset(
    [
        "btree_gin",
        "btree_gist",
        "citext",
        "cube",
        "earthdistance",
        "fuzzystrmatch",
        "hstore",
        "intagg",
        "intarray",
        "isn",
        "ltree",
        "pg_trgm",
        "pgcrypto",
        "postgis",
        "postgis_sfcgal",
        "seg",
        "tablefunc",
        "tsm_system_rows",
        "tsm_system_time",
        "unaccent",
        "uuid-ossp",
        "vector",
        "xml2",
    ]
)
"""What is looked at: extensions whose functions compute from their arguments."""

NOT_LISTED = "from an extension"

# Those written in SQL here name everything by schema or are simple wrappers; they were read.
_LANGUAGES = frozenset({"c", "internal", "sql"})

# As in vetting: what takes or returns one of these is called by the server. TABLESAMPLE's methods aside.
_SERVERS_OWN_TYPES = frozenset({2281, 2279, 3838, 2280, 325, 269, 3310, 3115, 32})
_TEXT = 25
_SAMPLING_METHODS = frozenset({"system_rows", "system_time"})

_SQL_TEXT = "runs SQL given as text, or reads relations named at run time"
# By extension, because another may use the same name for something else.
_GROUPS: dict[str, dict[str, str]] = {
    "tablefunc": {_SQL_TEXT: "crosstab crosstab2 crosstab3 crosstab4 crosstabN crosstab_hash connectby"},
    "xml2": {_SQL_TEXT: "xpath_table", "may read files of the server": "xslt_process"},
    "pg_trgm": {"changes session settings": "set_limit"},
    "isn": {"changes session settings": "isn_weak"},
    "postgis": {
        _SQL_TEXT: """
            st_estimatedextent st_findextent find_srid _postgis_index_extent _postgis_stats
            _postgis_selectivity _postgis_join_selectivity
        """,
        "makes a table": "st_fromflatgeobuftotable",
        "may read files of the server": "postgis_transform_geometry st_transformpipeline",
    },
}
_WHY_NOT = {
    (extension, name): why
    for extension, groups in _GROUPS.items()
    for why, names in groups.items()
    for name in names.split()
}

# Volatile because the answer changes from call to call, or marked so without need.
_MAY_VARY = {
    "pgcrypto": """
        gen_random_uuid gen_random_bytes gen_salt pgp_sym_encrypt pgp_sym_encrypt_bytea pgp_pub_encrypt
        pgp_pub_encrypt_bytea fips_mode
    """,
    "uuid-ossp": "uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4",
    "tablefunc": "normal_rand",
    "postgis": "st_clusterkmeans st_generatepoints st_symmetricdifference",
}
_VARYING = {(extension, name) for extension, names in _MAY_VARY.items() for name in names.split()}

# PL/pgSQL that was read: no dynamic SQL, nothing but pg_catalog and PostGIS' own tables.
_READ = {("postgis", name) for name in ("get_proj4_from_srid", "postgis_full_version", "st_letters")}


def by_rule(function: Function) -> str | None:
    """Return why a function of an extension must not be called unasked, by the rule alone, or ``None``."""
    extension = function.extension or ""
    if extension not in EXTENSIONS or function.oid < FIRST_USER_OID:
        return NOT_LISTED
    key = extension, function.name
    why = _WHY_NOT.get(key)
    if why is not None:
        return f"{NOT_LISTED}, and {why}"
    if key == ("postgis", "st_transform") and _TEXT in function.arguments:
        # A projection that is written out can name a grid file; one by number is in spatial_ref_sys.
        return f"{NOT_LISTED}, and may read files of the server"
    if function.name in _SAMPLING_METHODS and function.arguments == (2281,):
        return None
    if function.returns in _SERVERS_OWN_TYPES or not _SERVERS_OWN_TYPES.isdisjoint(function.arguments):
        return f"{NOT_LISTED}, and meant for the server's own use"
    if function.security_definer or function.kind == "p":
        return NOT_LISTED
    if function.language not in _LANGUAGES and key not in _READ:
        return NOT_LISTED
    if function.volatility == "v" and key not in _VARYING:
        return f"{NOT_LISTED}, volatile and not vetted"
    return None


def unvetted(function: Function) -> str | None:
    """Return why a function of an extension is not on the allowed list, or ``None`` when it is."""
    why = by_rule(function)
    if why is None and signature(function) not in vetted():
        return f"{NOT_LISTED}, and not known to be harmless: newer than this library"
    return why


def supports(function: Function) -> bool:
    """Return whether ``function`` may compare and index values unasked, by an operator class of its type.

    The server calls such functions, with arguments that SQL cannot write. Who made the operator class or the
    extension may have compiled code run anyway.
    """
    if function.oid < FIRST_USER_OID:
        return True
    return function.extension is not None and function.language in ("c", "internal")


def signature(function: Function) -> str:
    """Return how ``extensions.txt`` writes a function: volatility, extension, name, argument types.

    Types of PostgreSQL's own stand there by OID, any other as ``~``: theirs differ from database to database.
    """
    arguments = ("~" if a >= FIRST_USER_OID else str(a) for a in function.arguments)
    return f"{function.volatility} {function.extension} {function.name}({','.join(arguments)})"


@cache
def vetted() -> frozenset[str]:
    """Return the allowed list: every line of ``extensions.txt`` that is not a comment."""
    lines = Path(__file__).with_name("extensions.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))

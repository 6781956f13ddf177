"""What the server has now: roles, and what PUBLIC may do. Read, never changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from attrs import field, frozen
from psycopg.rows import dict_row


@frozen(kw_only=True)
class Role:
    """A role to be hardened, as it is now.

    ``attributes`` are the words of ALTER ROLE that take away what it has (NOSUPERUSER ...); ``member_of``
    the roles it was granted, each with who granted it ("" before PostgreSQL 16, where it does not matter and
    can be a role that is gone); ``owns`` what in this database belongs to it, which no
    REVOKE takes away.
    """

    name: str
    exists: bool = False
    attributes: tuple[str, ...] = ()
    member_of: tuple[tuple[str, str], ...] = ()
    owns: tuple[str, ...] = ()


@frozen(kw_only=True)
class Routine:
    """A function, aggregate or procedure. ``signature`` is quoted, and names every schema."""

    oid: int
    schema: str
    name: str
    signature: str
    arguments: int
    kind: str  # pg_proc.prokind
    public: bool  # PUBLIC may execute it
    system: bool  # PostgreSQL brought it
    internal: bool  # takes or returns what only the server has


@frozen(kw_only=True)
class Handed:
    """A privilege that somebody granted who does not own the object; a REVOKE as its owner passes it over.

    ``what`` is the object as GRANT calls it, ``column`` quoted or "", ``grantee`` "" for PUBLIC.
    """

    what: str
    column: str
    privilege: str
    grantor: str
    grantee: str
    grantable: bool


@frozen(kw_only=True)
class Reach:
    """A privilege on a setting, a foreign server or a foreign-data wrapper, and who holds it ("": PUBLIC)."""

    kind: str  # PARAMETER, FOREIGN SERVER or FOREIGN DATA WRAPPER
    name: str
    privilege: str
    grantee: str


@frozen(kw_only=True)
class Facts:
    """Everything the script depends on that no catalog snapshot holds.

    Attributes:
        database: its name.
        roles: the roles to be hardened.
        others: every other role that is neither superuser nor PostgreSQL's own: what is taken from PUBLIC is
            given to them, so that nothing changes for them.
        schemas: schemas that are not PostgreSQL's own.
        owners: roles that own relations or routines in those.
        open_owners: roles whose new routines PUBLIC may execute.
        public_relations: by OID the privileges of PUBLIC on all of a relation.
        public_columns: by OID and privilege the columns that PUBLIC was granted by name.
        public_create: schemas in which PUBLIC may create.
        public_database: privileges of PUBLIC on the database.
        languages: trusted languages that DO can run.
        public_languages: languages that PUBLIC may use.
        system_grants: PostgreSQL's own relations on which a role to be hardened has a grant: (OID, role).
        routines: those that users or extensions brought, and PostgreSQL's own that PUBLIC may execute or a
            role to be hardened was granted.
        sequences_of: by the OID of a sequence the tables whose columns default to it.
        view_texts: by OID the definitions of PostgreSQL's own views.
        defaults: default privileges of a role to be hardened, and of PUBLIC ("") beyond PostgreSQL's own:
            (owner, schema or "", objects, role, privileges).
        handed: grants to a role to be hardened, by one, and to PUBLIC, that are not the owner's.
        reaches: what a role to be hardened, or PUBLIC, may do with settings and foreign servers.
    """

    database: str
    roles: tuple[Role, ...]
    others: tuple[str, ...]
    schemas: tuple[str, ...]
    owners: tuple[str, ...]
    open_owners: frozenset[str]
    public_relations: Mapping[int, frozenset[str]] = field(repr=False)
    public_columns: Mapping[int, Mapping[str, tuple[str, ...]]] = field(repr=False)
    public_create: tuple[str, ...]
    public_database: frozenset[str]
    languages: tuple[str, ...]
    public_languages: tuple[str, ...]
    system_grants: tuple[tuple[int, str], ...]
    routines: tuple[Routine, ...] = field(repr=False)
    sequences_of: Mapping[int, frozenset[int]] = field(repr=False)
    view_texts: Mapping[int, str] = field(repr=False)
    defaults: tuple[tuple[str, str, str, str, str], ...]
    handed: tuple[Handed, ...]
    reaches: tuple[Reach, ...]


_OWN = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

_BOOTSTRAP = 10  # pg_authid.dat, BOOTSTRAP_SUPERUSERID

_ATTRIBUTES = {
    "rolsuper": "NOSUPERUSER",
    "rolcreaterole": "NOCREATEROLE",
    "rolcreatedb": "NOCREATEDB",
    "rolreplication": "NOREPLICATION",
    "rolbypassrls": "NOBYPASSRLS",
}

_ROLES = """
SELECT r.*, ARRAY(SELECT ARRAY[g.rolname::text,
                                CASE WHEN current_setting('server_version_num')::int >= 160000
                                THEN pg_get_userbyid(m.grantor)::text ELSE '' END]
                  FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                  WHERE m.member = r.oid ORDER BY 1) AS member_of,
       ARRAY(SELECT format('%%I.%%I', n.nspname, c.relname)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relowner = r.oid AND c.relkind IN ('r','p','v','m','f','S')
             UNION ALL SELECT format('%%I.%%I()', n.nspname, p.proname)
             FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proowner = r.oid
             UNION ALL SELECT format('schema %%I', nspname) FROM pg_namespace WHERE nspowner = r.oid
             UNION ALL SELECT format('database %%I', datname) FROM pg_database
             WHERE datdba = r.oid AND datname = current_database()
             UNION ALL SELECT format('foreign server %%I', srvname) FROM pg_foreign_server
             WHERE srvowner = r.oid ORDER BY 1) AS owns
FROM pg_roles r WHERE r.rolname = ANY(%s)
"""
_OTHERS = r"""
SELECT rolname::text AS name FROM pg_roles
WHERE NOT rolsuper AND rolname !~ '^pg_' AND rolname <> ALL(%s) ORDER BY 1
"""
_PUBLIC_RELATIONS = """
SELECT c.oid, a.privilege_type AS privilege
FROM pg_class c, LATERAL aclexplode(c.relacl) a
WHERE a.grantee = 0 AND c.relkind IN ('r','p','v','m','f','S')
"""
_PUBLIC_COLUMNS = """
SELECT attrelid AS oid, a.privilege_type AS privilege, array_agg(attname::text ORDER BY attnum) AS columns
FROM pg_attribute, LATERAL aclexplode(attacl) a
WHERE attacl IS NOT NULL AND a.grantee = 0 AND NOT attisdropped GROUP BY 1, 2
"""
_ROUTINES = """
SELECT p.oid, n.nspname::text AS schema, p.proname::text AS name, p.pronargs::int AS arguments,
       p.prokind::text AS kind, p.oid < 16384 AS system,
       has_function_privilege('public', p.oid, 'EXECUTE') AS public,
       format('%%I.%%I(%%s)', n.nspname, p.proname,
              CASE WHEN p.prokind IN ('f', 'w') THEN oidvectortypes(p.proargtypes)
              ELSE pg_get_function_identity_arguments(p.oid) END) AS signature,
       EXISTS (SELECT FROM pg_type t
               WHERE t.oid = ANY(p.proargtypes::oid[] || p.prorettype) AND t.typtype = 'p'
               AND t.typname IN ('internal', 'trigger', 'event_trigger', 'language_handler', 'fdw_handler',
                                 'index_am_handler', 'table_am_handler', 'tsm_handler',
                                 'pg_ddl_command')) AS internal
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_(temp|toast)' AND (
    p.oid >= 16384 OR has_function_privilege('public', p.oid, 'EXECUTE')
    OR EXISTS (SELECT FROM aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
               WHERE r.rolname = ANY(%s)))
ORDER BY 2, 3, 8
"""
_SEQUENCES = """
SELECT d.refobjid AS sequence, array_agg(DISTINCT ad.adrelid) AS tables
FROM pg_depend d JOIN pg_attrdef ad ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
JOIN pg_class s ON d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid AND s.relkind = 'S'
GROUP BY 1
"""
_SYSTEM_GRANTS = """
SELECT DISTINCT c.oid, r.rolname::text AS role
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute t ON t.attrelid = c.oid AND t.attacl IS NOT NULL,
     LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(t.attacl)) a
JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname IN ('pg_catalog', 'information_schema') AND r.rolname = ANY(%s) ORDER BY 1, 2
"""
_VIEWS = """
SELECT c.oid, pg_get_viewdef(c.oid) AS text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'v' AND n.nspname IN ('pg_catalog', 'information_schema')
"""
_OPEN_OWNERS = """
SELECT r.rolname::text AS name FROM pg_roles r
WHERE NOT EXISTS (SELECT FROM pg_default_acl d WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0
                  AND d.defaclobjtype = 'f'
                  AND NOT EXISTS (SELECT FROM aclexplode(d.defaclacl) WHERE grantee = 0))
"""
_DEFAULTS = """
SELECT pg_get_userbyid(d.defaclrole)::text AS owner, coalesce(n.nspname::text, '') AS schema,
       CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' ELSE 'ROUTINES' END AS objects,
       coalesce(r.rolname::text, '') AS role,
       string_agg(DISTINCT a.privilege_type, ', ' ORDER BY a.privilege_type) AS privileges
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace,
     LATERAL aclexplode(d.defaclacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.defaclobjtype IN ('r', 'S', 'f')
  AND (r.rolname = ANY(%s) OR (a.grantee = 0 AND (d.defaclobjtype <> 'f' OR d.defaclnamespace <> 0)))
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
_HANDED = """
SELECT o.what, o.col AS column, a.privilege_type AS privilege, pg_get_userbyid(a.grantor)::text AS grantor,
       CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END AS grantee,
       a.is_grantable AS grantable
FROM (
    SELECT format('%%s %%I.%%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname,
                  c.relname) AS what, '' AS col, c.relowner AS owner, c.relacl AS acl
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    UNION ALL
    SELECT format('TABLE %%I.%%I', n.nspname, c.relname), format('%%I', t.attname), c.relowner, t.attacl
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.attisdropped
    UNION ALL
    SELECT format('ROUTINE %%I.%%I(%%s)', n.nspname, p.proname,
                  CASE WHEN p.prokind IN ('f', 'w') THEN oidvectortypes(p.proargtypes)
                  ELSE pg_get_function_identity_arguments(p.oid) END), '', p.proowner, p.proacl
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    UNION ALL SELECT format('SCHEMA %%I', nspname), '', nspowner, nspacl FROM pg_namespace
    UNION ALL SELECT format('DATABASE %%I', datname), '', datdba, datacl FROM pg_database
    WHERE datname = current_database()
    UNION ALL SELECT format('LANGUAGE %%I', lanname), '', lanowner, lanacl FROM pg_language
    UNION ALL SELECT format('FOREIGN DATA WRAPPER %%I', fdwname), '', fdwowner, fdwacl
    FROM pg_foreign_data_wrapper
    UNION ALL SELECT format('FOREIGN SERVER %%I', srvname), '', srvowner, srvacl FROM pg_foreign_server
) o, LATERAL aclexplode(o.acl) a
WHERE a.grantor <> o.owner AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) = ANY(%s)
                                OR pg_get_userbyid(a.grantor) = ANY(%s))
ORDER BY pg_get_userbyid(a.grantor) = ANY(%s) DESC, 1, 2, 3, 4, 5
"""
_FOREIGN = """
SELECT o.kind, o.name::text AS name, a.privilege_type AS privilege,
       CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END AS grantee
FROM (SELECT 'FOREIGN SERVER' AS kind, srvname AS name, srvacl AS acl FROM pg_foreign_server
      UNION ALL SELECT 'FOREIGN DATA WRAPPER', fdwname, fdwacl FROM pg_foreign_data_wrapper) o,
     LATERAL aclexplode(o.acl) a
WHERE a.grantee = 0 OR pg_get_userbyid(a.grantee) = ANY(%s) ORDER BY 1, 2, 3, 4
"""
_PARAMETERS = """
SELECT 'PARAMETER' AS kind, p.parname::text AS name, a.privilege_type AS privilege,
       CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END AS grantee
FROM pg_parameter_acl p, LATERAL aclexplode(p.paracl) a
WHERE a.grantee = 0 OR pg_get_userbyid(a.grantee) = ANY(%s) ORDER BY 1, 2, 3, 4
"""
_PARAMETER_ACL = 150000  # the version that brought GRANT ... ON PARAMETER


def read(dsn: str, names: Iterable[str]) -> Facts:
    """Read the facts about the roles ``names`` and everything else they depend on.

    Raises:
        psycopg.Error: the database cannot be reached or read.
    """
    wanted = list(names)
    with psycopg.connect(
        dsn, autocommit=True, client_encoding="UTF8", options="-c search_path= ", row_factory=dict_row
    ) as connection:

        def rows(query: str, values: Any = None) -> list[dict[str, Any]]:
            return connection.execute(query, values).fetchall()

        found = {row["rolname"]: row for row in rows(_ROLES, [wanted])}
        relations: dict[int, set[str]] = {}
        for row in rows(_PUBLIC_RELATIONS):
            relations.setdefault(row["oid"], set()).add(row["privilege"])
        columns: dict[int, dict[str, tuple[str, ...]]] = {}
        for row in rows(_PUBLIC_COLUMNS):
            columns.setdefault(row["oid"], {})[row["privilege"]] = tuple(row["columns"])
        schemas = rows(
            f"SELECT n.nspname::text AS name, has_schema_privilege('public', n.oid, 'CREATE') AS public"  # noqa: S608 - a constant
            f" FROM pg_namespace n WHERE {_OWN} ORDER BY 1"
        )
        return Facts(
            database=connection.info.dbname,
            roles=tuple(_role(name, found.get(name)) for name in wanted),
            others=tuple(row["name"] for row in rows(_OTHERS, [wanted])),
            schemas=tuple(row["name"] for row in schemas),
            open_owners=frozenset(row["name"] for row in rows(_OPEN_OWNERS)),
            owners=tuple(
                row["name"]
                for row in rows(
                    "SELECT DISTINCT pg_get_userbyid(o)::text AS name FROM ("  # noqa: S608 - a constant
                    "SELECT c.relowner AS o, c.relnamespace AS s FROM pg_class c UNION ALL"
                    " SELECT p.proowner, p.pronamespace FROM pg_proc p) x"
                    f" JOIN pg_namespace n ON n.oid = x.s WHERE {_OWN} ORDER BY 1"
                )
            ),
            public_relations={oid: frozenset(privileges) for oid, privileges in relations.items()},
            public_columns=columns,
            public_create=tuple(row["name"] for row in schemas if row["public"]),
            public_database=frozenset(
                word
                for word in ("CREATE", "TEMPORARY", "CONNECT")
                if rows("SELECT has_database_privilege('public', current_database(), %s) AS has", [word])[0][
                    "has"
                ]
            ),
            languages=tuple(
                row["name"]
                for row in rows(
                    "SELECT lanname::text AS name FROM pg_language WHERE laninline <> 0 AND lanpltrusted"
                    " ORDER BY 1"
                )
            ),
            public_languages=tuple(
                row["name"]
                for row in rows(
                    "SELECT lanname::text AS name FROM pg_language"
                    " WHERE has_language_privilege('public', oid, 'USAGE') ORDER BY 1"
                )
            ),
            system_grants=tuple((row["oid"], row["role"]) for row in rows(_SYSTEM_GRANTS, [wanted])),
            routines=tuple(Routine(**row) for row in rows(_ROUTINES, [wanted])),
            sequences_of={row["sequence"]: frozenset(row["tables"]) for row in rows(_SEQUENCES)},
            view_texts={row["oid"]: row["text"] for row in rows(_VIEWS)},
            defaults=tuple(
                (row["owner"], row["schema"], row["objects"], row["role"], row["privileges"])
                for row in rows(_DEFAULTS, [wanted])
            ),
            handed=tuple(Handed(**row) for row in rows(_HANDED, [wanted, wanted, wanted])),
            reaches=tuple(
                Reach(**row)
                for row in [
                    *rows(_FOREIGN, [wanted]),
                    *(
                        rows(_PARAMETERS, [wanted])
                        if connection.info.server_version >= _PARAMETER_ACL
                        else ()
                    ),
                ]
            ),
        )


def _role(name: str, row: Mapping[str, Any] | None) -> Role:
    # acl.c, check_rolespec_name, and IsReservedName of user.c
    if name in {"public", "none"} or name.startswith("pg_"):
        raise ValueError(f"{name!r} is a name that PostgreSQL keeps for itself; name a role of your own")
    if row is None:
        return Role(name=name)
    if row["oid"] == _BOOTSTRAP:
        raise ValueError(f"{name!r} is the superuser the server was made with; name a role of its own")
    return Role(
        name=name,
        exists=True,
        attributes=tuple(word for column, word in _ATTRIBUTES.items() if row[column]),
        member_of=tuple((parent, grantor) for parent, grantor in row["member_of"]),
        owns=tuple(row["owns"]),
    )

"""What utility commands do: definitions, privileges, settings, transactions, maintenance."""

from __future__ import annotations

from collections.abc import Iterable

from governed_db.statement.facts import DEPENDENTS, Access, EffectKind, RelationName
from governed_db.statement.names import Handler, below
from governed_db.statement.nodes import Body, strings
from governed_db.statement.reading import Reading, Scope, Work

_OBJECTS = {
    "OBJECT_ACCESS_METHOD": "ACCESS METHOD",
    "OBJECT_FDW": "FOREIGN DATA WRAPPER",
    "OBJECT_FOREIGN_SERVER": "SERVER",
    "OBJECT_LARGEOBJECT": "LARGE OBJECT",
    "OBJECT_MATVIEW": "MATERIALIZED VIEW",
    "OBJECT_OPCLASS": "OPERATOR CLASS",
    "OBJECT_OPFAMILY": "OPERATOR FAMILY",
    "OBJECT_STATISTIC_EXT": "STATISTICS",
    "OBJECT_TABCONSTRAINT": "CONSTRAINT",
    "OBJECT_DOMCONSTRAINT": "CONSTRAINT",
    "OBJECT_TSCONFIGURATION": "TEXT SEARCH CONFIGURATION",
    "OBJECT_TSDICTIONARY": "TEXT SEARCH DICTIONARY",
    "OBJECT_TSPARSER": "TEXT SEARCH PARSER",
    "OBJECT_TSTEMPLATE": "TEXT SEARCH TEMPLATE",
}
_RELATIONS = frozenset(
    f"OBJECT_{name}" for name in ("TABLE", "VIEW", "MATVIEW", "SEQUENCE", "INDEX", "FOREIGN_TABLE")
)
_ON_RELATIONS = frozenset(
    f"OBJECT_{name}" for name in ("COLUMN", "TABCONSTRAINT", "TRIGGER", "RULE", "POLICY")
)  # named by their relation and then themselves
_SECURITY = frozenset({"OBJECT_POLICY", "OBJECT_ROLE"})


def object_words(object_type: str) -> str:
    """Return how SQL calls an ObjectType ("OBJECT_MATVIEW": "MATERIALIZED VIEW")."""
    return _OBJECTS.get(object_type) or object_type.removeprefix("OBJECT_").replace("_", " ")


def _relation(parts: tuple[str, ...]) -> RelationName | None:
    return RelationName(parts[-2] if len(parts) > 1 else None, parts[-1]) if parts else None


def _named(object_type: str, node: Body) -> RelationName | None:
    """Return the relation that a dotted name of an object of this type lies in."""
    parts = strings(node.get("List", {}).get("items"))
    if object_type in _RELATIONS:
        return _relation(parts)
    if object_type in _ON_RELATIONS:
        return _relation(parts[:-1])
    return None


_DIRECT = frozenset({"relation", "sequence", "view", "typevar", "table", "base"})


def _define(
    kind: EffectKind, name: str, *, body_runs: bool = True, also: EffectKind | None = None, note: str = ""
) -> Handler:
    """Return the handler of a command that makes, changes or removes objects called ``name``."""

    def handler(reading: Reading, node_kind: str, body: Body, scope: Scope) -> list[Work]:
        target = next(
            (body[f] for f in ("relation", "sequence", "view", "typevar", "table") if f in body), None
        )
        said = note or ("or replace" if body.get("replace") else "")
        reading.effect(kind, scope, target=target, name=name, note=said)
        if also is not None:
            reading.effect(also, scope, target=target, name=name)
        if target is not None:
            reading.relation(target, Access.DEFINE, scope)
        # Defaults and USING expressions are evaluated by the command; bodies are only written down.
        return below(node_kind, body, scope if body_runs else scope.at_rest(), _DIRECT)

    return handler


def create_table(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """CREATE TABLE, and FOREIGN TABLE around it."""
    foreign = kind == "CreateForeignTableStmt"
    base = body.get("base", {}) if foreign else body
    target = base.get("relation", {})
    reading.effect(EffectKind.CREATE, scope, target=target, name="FOREIGN TABLE" if foreign else "TABLE")
    reading.relation(target, Access.DEFINE, scope)
    for parent in base.get("inhRelations", ()):
        if "RangeVar" in parent:  # a parent's rows grow by its child's
            reading.relation(parent["RangeVar"], Access.DEFINE, scope)
    work = below("CreateStmt", base, scope, frozenset({"relation", "inhRelations"}))
    return work + (below(kind, body, scope, _DIRECT) if foreign else [])


def alter_table(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """ALTER TABLE and its kin: owners and row security are privileges, dropped columns are dropped."""
    target = body.get("relation", {})
    reading.effect(EffectKind.ALTER, scope, target=target, name=object_words(body.get("objtype", "")))
    reading.relation(target, Access.DEFINE, scope)
    for node in body.get("cmds", ()):
        subtype = node.get("AlterTableCmd", {}).get("subtype", "")
        if subtype == "AT_ChangeOwner":
            reading.effect(EffectKind.PRIVILEGES, scope, target=target, name="OWNER")
        elif subtype.endswith("RowSecurity"):
            reading.effect(EffectKind.PRIVILEGES, scope, target=target, name="ROW LEVEL SECURITY")
        elif subtype == "AT_DropColumn":
            dropped = node.get("AlterTableCmd", {}).get("behavior") == "DROP_CASCADE"
            note = DEPENDENTS if dropped else ""
            reading.effect(EffectKind.DROP, scope, target=target, name="COLUMN", note=note)
    return below(kind, body, scope, _DIRECT)


def drop(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """DROP: one effect for each thing."""
    object_type = body.get("removeType", "")
    name = object_words(object_type)
    note = DEPENDENTS if body.get("behavior") == "DROP_CASCADE" else ""
    for node in body.get("objects", ()):
        target = _named(object_type, node)
        reading.effect(EffectKind.DROP, scope, target=target, name=name, note=note)
        if object_type in _SECURITY:
            reading.effect(EffectKind.PRIVILEGES, scope, target=target, name=name)
        if target is not None:
            reading.relation(target, Access.DEFINE, scope)
    return [w for w in below(kind, body, scope) if w[0] != "TypeName"]


def alter_object(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """COMMENT, SECURITY LABEL, RENAME, SET SCHEMA, OWNER TO, DEPENDS ON."""
    object_type = body.get("renameType") or body.get("objectType") or body.get("objtype") or ""
    target = body.get("relation") or _named(object_type, body.get("object", {}))
    name = object_words(object_type)
    if kind == "SecLabelStmt":
        reading.effect(EffectKind.PRIVILEGES, scope, target=target, name=name, note="by SECURITY LABEL")
    else:
        reading.effect(EffectKind.ALTER, scope, target=target, name=name, note=_HOW.get(kind, ""))
    if kind == "AlterOwnerStmt":
        reading.effect(EffectKind.PRIVILEGES, scope, target=target, name="OWNER")
    elif object_type in _SECURITY and kind != "CommentStmt":
        reading.effect(EffectKind.PRIVILEGES, scope, target=target, name=name)
    if target is not None:
        reading.relation(target, Access.DEFINE, scope)
    return [w for w in below(kind, body, scope, _DIRECT) if w[0] != "TypeName"]


_HOW = {"CommentStmt": "by COMMENT", "RenameStmt": "by RENAME", "AlterObjectSchemaStmt": "by SET SCHEMA"}


def _privileges(name: str) -> Handler:
    def handler(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
        words = name
        if kind in ("GrantStmt", "GrantRoleStmt"):
            words = "GRANT" if body.get("is_grant") else "REVOKE"
        found = 0
        for node in body.get("objects", ()):
            if "RangeVar" in node:
                found += 1
                reading.effect(EffectKind.PRIVILEGES, scope, target=node["RangeVar"], name=words)
                reading.relation(node["RangeVar"], Access.DEFINE, scope)
        if not found:
            reading.effect(EffectKind.PRIVILEGES, scope, target=body.get("table"), name=words)
        if "table" in body:
            reading.relation(body["table"], Access.DEFINE, scope)
        return below(kind, body, scope, frozenset({"objects", "table", "setstmt"}))

    return handler


def setting(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """SET and RESET; SET TRANSACTION is transaction control."""
    name = body.get("name", "all")
    if body.get("kind") == "VAR_SET_MULTI" and name.startswith("TRANSACTION"):
        reading.effect(EffectKind.TRANSACTION, scope, name=f"SET {name}")
    else:
        local = "for this transaction" if body.get("is_local") else ""
        note = "by RESET" if body.get("kind", "").startswith("VAR_RESET") else local
        reading.effect(EffectKind.SET, scope, name=name.lower(), note=note)
    return below(kind, body, scope)


def lasting_setting(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """ALTER SYSTEM, ALTER DATABASE, ALTER ROLE ... SET: settings of sessions to come."""
    what = {"AlterSystemStmt": "SYSTEM", "AlterDatabaseSetStmt": "DATABASE"}.get(kind, "ROLE")
    effect = EffectKind.PRIVILEGES if what == "ROLE" else EffectKind.ALTER
    reading.effect(effect, scope, name="ALTER ROLE" if what == "ROLE" else what)
    return setting(reading, "VariableSetStmt", body.get("setstmt", {}), scope.noting(f"by ALTER {what}"))


def discard(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """DISCARD: settings, plans, temporary tables of the session."""
    reading.effect(EffectKind.SET, scope, name=body.get("target", "DISCARD_ALL").replace("_", " ").lower())
    return []


_TRANSACTIONS = {
    "TRANS_STMT_BEGIN": (EffectKind.TRANSACTION, "BEGIN"),
    "TRANS_STMT_START": (EffectKind.TRANSACTION, "START TRANSACTION"),
    "TRANS_STMT_COMMIT": (EffectKind.TRANSACTION, "COMMIT"),
    "TRANS_STMT_ROLLBACK": (EffectKind.TRANSACTION, "ROLLBACK"),
    "TRANS_STMT_SAVEPOINT": (EffectKind.SAVEPOINT, "SAVEPOINT"),
    "TRANS_STMT_RELEASE": (EffectKind.SAVEPOINT, "RELEASE"),
    "TRANS_STMT_ROLLBACK_TO": (EffectKind.SAVEPOINT, "ROLLBACK TO"),
    "TRANS_STMT_PREPARE": (EffectKind.TRANSACTION, "PREPARE TRANSACTION"),
    "TRANS_STMT_COMMIT_PREPARED": (EffectKind.TRANSACTION, "COMMIT PREPARED"),
    "TRANS_STMT_ROLLBACK_PREPARED": (EffectKind.TRANSACTION, "ROLLBACK PREPARED"),
}


def transaction(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """BEGIN, COMMIT, ROLLBACK, savepoints, two-phase commit."""
    found = _TRANSACTIONS.get(body.get("kind", ""))
    effect, name = found or (EffectKind.UNKNOWN, "TransactionStmt")
    if found is None:
        reading.unknown["TransactionStmt"] = None
    reading.effect(effect, scope, name=name, note="and starts another" if body.get("chain") else "")
    return below(kind, body, scope)


def each_relation(kind: EffectKind, access: Access, name: str) -> Handler:
    """Return the handler of a command on a list of relations."""

    def handler(reading: Reading, node_kind: str, body: Body, scope: Scope) -> list[Work]:
        words = "ANALYZE" if node_kind == "VacuumStmt" and not body.get("is_vacuumcmd") else name
        targets = list(_listed(body))
        for target in targets:
            reading.effect(kind, scope, target=target, name=words)
            reading.relation(target, access, scope)
        if not targets:
            reading.effect(kind, scope, name=words)
        return below(node_kind, body, scope, frozenset({"relations", "rels", "relation"}))

    return handler


def _listed(body: Body) -> Iterable[Body]:
    for node in [*body.get("relations", ()), *body.get("rels", ())]:
        if "RangeVar" in node:
            yield node["RangeVar"]
        elif "relation" in node.get("VacuumRelation", {}):
            yield node["VacuumRelation"]["relation"]
    if "relation" in body:
        yield body["relation"]


def _plain(kind: EffectKind, name: str = "", field: str = "", note: str = "") -> Handler:
    def handler(reading: Reading, node_kind: str, body: Body, scope: Scope) -> list[Work]:
        reading.effect(kind, scope, name=body.get(field, name) if field else name, note=note)
        return below(node_kind, body, scope, _DIRECT)

    return handler


def drop_owned(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """DROP OWNED: objects and privileges."""
    reading.effect(EffectKind.DROP, scope, name="OWNED")
    reading.effect(EffectKind.PRIVILEGES, scope, name="DROP OWNED")
    return below(kind, body, scope)


def drop_role(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """DROP ROLE."""
    reading.effect(EffectKind.DROP, scope, name="ROLE")
    reading.effect(EffectKind.PRIVILEGES, scope, name="DROP ROLE")
    return below(kind, body, scope)


def function(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """CREATE FUNCTION and PROCEDURE; a body in a string is not read here."""
    name = "PROCEDURE" if body.get("is_procedure") else "FUNCTION"
    note = "or replace" if body.get("replace") else ""
    reading.effect(EffectKind.CREATE, scope, name=name, note=note)
    return below(kind, body, scope.at_rest())


def _defined(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    # CREATE AGGREGATE, OPERATOR, TYPE, ...: what looks like a type in them is a name, and calls nothing.
    note = "or replace" if body.get("replace") else ""
    reading.effect(EffectKind.CREATE, scope, name=object_words(body.get("kind", "")), note=note)
    return []


_CREATE, _ALTER, _DROP = EffectKind.CREATE, EffectKind.ALTER, EffectKind.DROP
_PRIVILEGES = EffectKind.PRIVILEGES

HANDLERS: dict[str, Handler] = {
    "AlterCollationStmt": _define(_ALTER, "COLLATION"),
    "AlterDatabaseRefreshCollStmt": _define(_ALTER, "DATABASE"),
    "AlterDatabaseSetStmt": lasting_setting,
    "AlterDatabaseStmt": _define(_ALTER, "DATABASE"),
    "AlterDefaultPrivilegesStmt": _privileges("ALTER DEFAULT PRIVILEGES"),
    "AlterDomainStmt": _define(_ALTER, "DOMAIN"),
    "AlterEnumStmt": _define(_ALTER, "TYPE"),
    "AlterEventTrigStmt": _define(_ALTER, "EVENT TRIGGER"),
    "AlterExtensionContentsStmt": _define(_ALTER, "EXTENSION"),
    "AlterExtensionStmt": _define(_ALTER, "EXTENSION"),
    "AlterFdwStmt": _define(_ALTER, "FOREIGN DATA WRAPPER"),
    "AlterForeignServerStmt": _define(_ALTER, "SERVER"),
    "AlterFunctionStmt": _define(_ALTER, "FUNCTION"),
    "AlterObjectDependsStmt": alter_object,
    "AlterObjectSchemaStmt": alter_object,
    "AlterOpFamilyStmt": _define(_ALTER, "OPERATOR FAMILY"),
    "AlterOperatorStmt": _define(_ALTER, "OPERATOR"),
    "AlterOwnerStmt": alter_object,
    "AlterPolicyStmt": _privileges("ALTER POLICY"),
    "AlterPublicationStmt": _define(_ALTER, "PUBLICATION"),
    "AlterRoleSetStmt": lasting_setting,
    "AlterRoleStmt": _privileges("ALTER ROLE"),
    "AlterSeqStmt": _define(_ALTER, "SEQUENCE"),
    "AlterStatsStmt": _define(_ALTER, "STATISTICS"),
    "AlterSubscriptionStmt": _define(_ALTER, "SUBSCRIPTION"),
    "AlterSystemStmt": lasting_setting,
    "AlterTSConfigurationStmt": _define(_ALTER, "TEXT SEARCH CONFIGURATION"),
    "AlterTSDictionaryStmt": _define(_ALTER, "TEXT SEARCH DICTIONARY"),
    "AlterTableMoveAllStmt": _define(_ALTER, "TABLE", note="every one of a tablespace"),
    "AlterTableSpaceOptionsStmt": _define(_ALTER, "TABLESPACE"),
    "AlterTableStmt": alter_table,
    "AlterTypeStmt": _define(_ALTER, "TYPE"),
    "AlterUserMappingStmt": _define(_ALTER, "USER MAPPING"),
    "CheckPointStmt": _plain(EffectKind.MAINTENANCE, "CHECKPOINT"),
    "ClosePortalStmt": _plain(EffectKind.CLOSE, "all", "portalname"),
    "ClusterStmt": each_relation(EffectKind.MAINTENANCE, Access.DEFINE, "CLUSTER"),
    "CommentStmt": alter_object,
    "CompositeTypeStmt": _define(_CREATE, "TYPE"),
    "ConstraintsSetStmt": _plain(EffectKind.TRANSACTION, "SET CONSTRAINTS"),
    "CreateAmStmt": _define(_CREATE, "ACCESS METHOD"),
    "CreateCastStmt": _define(_CREATE, "CAST"),
    "CreateConversionStmt": _define(_CREATE, "CONVERSION"),
    "CreateDomainStmt": _define(_CREATE, "DOMAIN"),
    "CreateEnumStmt": _define(_CREATE, "TYPE"),
    "CreateEventTrigStmt": _define(_CREATE, "EVENT TRIGGER"),
    "CreateExtensionStmt": _define(_CREATE, "EXTENSION"),
    "CreateFdwStmt": _define(_CREATE, "FOREIGN DATA WRAPPER"),
    "CreateForeignServerStmt": _define(_CREATE, "SERVER"),
    "CreateForeignTableStmt": create_table,
    "CreateFunctionStmt": function,
    "CreateOpClassStmt": _define(_CREATE, "OPERATOR CLASS"),
    "CreateOpFamilyStmt": _define(_CREATE, "OPERATOR FAMILY"),
    "CreatePLangStmt": _define(_CREATE, "LANGUAGE"),
    "CreatePolicyStmt": _privileges("CREATE POLICY"),
    "CreatePublicationStmt": _define(_CREATE, "PUBLICATION"),
    "CreateRangeStmt": _define(_CREATE, "TYPE"),
    "CreateRoleStmt": _privileges("CREATE ROLE"),
    "CreateSeqStmt": _define(_CREATE, "SEQUENCE"),
    "CreateStatsStmt": _define(_CREATE, "STATISTICS"),
    "CreateStmt": create_table,
    "CreateSubscriptionStmt": _define(_CREATE, "SUBSCRIPTION"),
    "CreateTableSpaceStmt": _define(_CREATE, "TABLESPACE"),
    "CreateTransformStmt": _define(_CREATE, "TRANSFORM"),
    "CreateTrigStmt": _define(_CREATE, "TRIGGER", body_runs=False),
    "CreateUserMappingStmt": _define(_CREATE, "USER MAPPING"),
    "CreatedbStmt": _define(_CREATE, "DATABASE"),
    "DeallocateStmt": _plain(EffectKind.DEALLOCATE, "all", "name"),
    "DefineStmt": _defined,
    "DiscardStmt": discard,
    "DropOwnedStmt": drop_owned,
    "DropRoleStmt": drop_role,
    "DropStmt": drop,
    "DropSubscriptionStmt": _define(_DROP, "SUBSCRIPTION"),
    "DropTableSpaceStmt": _define(_DROP, "TABLESPACE"),
    "DropUserMappingStmt": _define(_DROP, "USER MAPPING"),
    "DropdbStmt": _define(_DROP, "DATABASE"),
    "FetchStmt": _plain(EffectKind.FETCH, "", "portalname"),
    "GrantRoleStmt": _privileges("GRANT"),
    "GrantStmt": _privileges("GRANT"),
    "ImportForeignSchemaStmt": _define(_CREATE, "FOREIGN TABLE", note="by IMPORT FOREIGN SCHEMA"),
    "IndexStmt": _define(_CREATE, "INDEX"),
    "ListenStmt": _plain(EffectKind.LISTEN, "", "conditionname"),
    "LoadStmt": _plain(EffectKind.MAINTENANCE, "LOAD", note="a library of the server"),
    "LockStmt": each_relation(EffectKind.LOCK, Access.LOCK, "LOCK TABLE"),
    "NotifyStmt": _plain(EffectKind.NOTIFY, "", "conditionname"),
    "ReassignOwnedStmt": _privileges("REASSIGN OWNED"),
    "RefreshMatViewStmt": each_relation(EffectKind.MAINTENANCE, Access.DEFINE, "REFRESH MATERIALIZED VIEW"),
    "ReindexStmt": each_relation(EffectKind.MAINTENANCE, Access.DEFINE, "REINDEX"),
    "RenameStmt": alter_object,
    "RuleStmt": _define(_CREATE, "RULE", body_runs=False),
    "SecLabelStmt": alter_object,
    "TransactionStmt": transaction,
    "TruncateStmt": each_relation(EffectKind.TRUNCATE, Access.TRUNCATE, "TRUNCATE"),
    "UnlistenStmt": _plain(EffectKind.LISTEN, "*", "conditionname", "by UNLISTEN"),
    "VacuumStmt": each_relation(EffectKind.MAINTENANCE, Access.DEFINE, "VACUUM"),
    "VariableSetStmt": setting,
    "VariableShowStmt": _plain(EffectKind.SHOW, "", "name"),
    "ViewStmt": _define(_CREATE, "VIEW", body_runs=False),
}

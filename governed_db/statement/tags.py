"""PostgreSQL's command tags (``CreateCommandTag`` in utility.c) and OpenTelemetry's query summary."""

from __future__ import annotations

from governed_db.statement.facts import Access, EffectKind
from governed_db.statement.nodes import Body
from governed_db.statement.reading import Reading
from governed_db.statement.utility import object_words

SUMMARY_CHARS = 255
"""OpenTelemetry: ``db.query.summary`` SHOULD NOT be longer."""

_TAGS = {
    "AlterDatabaseRefreshCollStmt": "ALTER DATABASE",
    "AlterDatabaseSetStmt": "ALTER DATABASE",
    "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "AlterPolicyStmt": "ALTER POLICY",
    "AlterRoleSetStmt": "ALTER ROLE",
    "AlterRoleStmt": "ALTER ROLE",
    "AlterSystemStmt": "ALTER SYSTEM",
    "CallStmt": "CALL",
    "CheckPointStmt": "CHECKPOINT",
    "ClusterStmt": "CLUSTER",
    "CommentStmt": "COMMENT",
    "ConstraintsSetStmt": "SET CONSTRAINTS",
    "CopyStmt": "COPY",
    "CreatePolicyStmt": "CREATE POLICY",
    "CreateRoleStmt": "CREATE ROLE",
    "CreateSchemaStmt": "CREATE SCHEMA",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "DeleteStmt": "DELETE",
    "DoStmt": "DO",
    "DropOwnedStmt": "DROP OWNED",
    "DropRoleStmt": "DROP ROLE",
    "ExecuteStmt": "EXECUTE",
    "ExplainStmt": "EXPLAIN",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA",
    "InsertStmt": "INSERT",
    "ListenStmt": "LISTEN",
    "LoadStmt": "LOAD",
    "LockStmt": "LOCK TABLE",
    "MergeStmt": "MERGE",
    "NotifyStmt": "NOTIFY",
    "PrepareStmt": "PREPARE",
    "ReassignOwnedStmt": "REASSIGN OWNED",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "ReindexStmt": "REINDEX",
    "SecLabelStmt": "SECURITY LABEL",
    "SelectStmt": "SELECT",
    "TruncateStmt": "TRUNCATE TABLE",
    "UnlistenStmt": "UNLISTEN",
    "UpdateStmt": "UPDATE",
    "VariableShowStmt": "SHOW",
}
_VERBS = {EffectKind.CREATE: "CREATE", EffectKind.ALTER: "ALTER", EffectKind.DROP: "DROP"}


def tag(kind: str, body: Body, reading: Reading, first_effect: int) -> str:  # noqa: PLR0912 - a table with conditions
    """Return the command tag of a command whose effects start at ``first_effect``."""
    known = _TAGS.get(kind)
    if known is not None:
        return known
    if kind in ("GrantStmt", "GrantRoleStmt"):
        words = "GRANT" if body.get("is_grant") else "REVOKE"
        return words if kind == "GrantStmt" else f"{words} ROLE"
    if kind == "VariableSetStmt":
        return "RESET" if body.get("kind", "").startswith("VAR_RESET") else "SET"
    if kind == "CreateTableAsStmt":
        if body.get("objtype") == "OBJECT_MATVIEW":
            return "CREATE MATERIALIZED VIEW"
        return "SELECT INTO" if body.get("is_select_into") else "CREATE TABLE AS"
    if kind == "DiscardStmt":
        return str(body.get("target", "DISCARD_ALL")).replace("_", " ")
    if kind == "VacuumStmt":
        return "VACUUM" if body.get("is_vacuumcmd") else "ANALYZE"
    if kind == "ClosePortalStmt":
        return "CLOSE CURSOR" if "portalname" in body else "CLOSE CURSOR ALL"
    if kind == "DeallocateStmt":
        return "DEALLOCATE ALL" if body.get("isall") else "DEALLOCATE"
    if kind == "FetchStmt":
        return "MOVE" if body.get("ismove") else "FETCH"
    if kind == "RenameStmt":
        # A column belongs to something that has a tag; renaming it is altering that.
        part = body.get("renameType") in ("OBJECT_COLUMN", "OBJECT_ATTRIBUTE")
        words = object_words(body.get("relationType" if part else "renameType", ""))
        return f"ALTER {'TABLE' if words == 'CONSTRAINT' else words}"
    if len(reading.effects) <= first_effect:
        return ""
    effect = reading.effects[first_effect]
    if kind == "TransactionStmt":
        name = effect.name
        return "ROLLBACK" if name == "ROLLBACK TO" else name
    verb = _VERBS.get(effect.kind)
    return f"{verb} {effect.name}" if verb else effect.name


def summary(parts: list[tuple[str, int, int]], reading: Reading) -> str:
    """Return operations and their targets, of each command in turn.

    Args:
        parts: for each command its tag, and from which to which of ``reading.relations`` are its own.
        reading: what was found.
    """
    said = []
    for words, start, stop in parts:
        written: dict[str, None] = {}
        read: dict[str, None] = {}
        for ref in reading.relations[start:stop]:
            (read if ref.access is Access.READ else written)[str(ref.name)] = None
        if written and words in ("INSERT", "UPDATE", "DELETE", "MERGE"):
            names = [*written, *(["SELECT", *read] if read else [])]
        else:
            names = list({**written, **read})
        said.append(" ".join([words, *names]))
    whole = "; ".join(said)
    if len(whole) <= SUMMARY_CHARS:
        return whole
    cut = whole.rfind(" ", 0, SUMMARY_CHARS + 1)
    return whole[: cut if cut > 0 else SUMMARY_CHARS]

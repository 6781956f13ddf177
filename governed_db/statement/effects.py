"""What commands do: those that read and write rows, and those that carry another command."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from governed_db.statement.constrain import bounded_by, constrains
from governed_db.statement.facts import UPSERT, Access, EffectKind
from governed_db.statement.names import Handler, below
from governed_db.statement.nodes import Body, children, unwrap, words
from governed_db.statement.reading import Reading, Scope, Work, with_ctes
from governed_db.statement.sources import Target

_RELATION = frozenset({"relation", "withClause"})


def command(node: Body, scope: Scope, reading: Reading) -> list[Work]:
    """Return the work of a wrapped statement that stands as a command of its own.

    Here a SELECT is an effect; anywhere deeper it is a part of another statement.
    """
    kind, body = unwrap(node)
    if kind == "SelectStmt":
        targets = _sources(body, scope)
        reading.effect(EffectKind.SELECT, scope, target=targets[0] if len(targets) == 1 else None)
    return [(kind, body, scope)] if kind else []


def _sources(body: Body, scope: Scope) -> list[Body]:
    sources = [n["RangeVar"] for n in body.get("fromClause", ()) if "RangeVar" in n]
    if len(sources) != len(body.get("fromClause", ())):
        return []
    local = {c["CommonTableExpr"]["ctename"] for c in body.get("withClause", {}).get("ctes", ())}
    return [v for v in sources if v.get("schemaname") or v.get("relname") not in local | set(scope.ctes)]


def insert(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """INSERT; ON CONFLICT DO UPDATE is an UPDATE beside it."""
    inner, work = with_ctes(body, scope)
    relation = body["relation"]
    rows = _listed_rows(body.get("selectStmt"))
    reading.effect(EffectKind.INSERT, scope, target=relation, rows=rows)
    reading.relation(relation, Access.INSERT, scope)
    source = body.get("selectStmt")
    if source and not source.get("SelectStmt", {}).get("valuesLists"):
        work += command(source, inner.noting("by INSERT"), reading)
    elif source:
        work.append((*unwrap(source), inner))
    conflict = body.get("onConflictClause")
    if conflict and conflict.get("action") == "ONCONFLICT_UPDATE":
        # Each row changed is one whose key a new row has; new rows made from the table itself hit them all.
        held = source is None or bounded_by(source, Target.of(relation), inner.ctes, reading.columns)
        reading.effect(
            EffectKind.UPDATE,
            scope,
            target=relation,
            constrained=held,
            rows=rows,
            note=UPSERT,
        )
        reading.relation(relation, Access.UPDATE, scope)
    return work + below(kind, body, inner, _RELATION | {"selectStmt"})


def _listed_rows(source: Body | None) -> int | None:
    if source is None:
        return 1  # DEFAULT VALUES
    select = source.get("SelectStmt", {})
    lists = select.get("valuesLists")
    if not lists:
        return None
    # VALUES with a single tuple is planned like a SELECT list, where a function may return a set.
    if len(lists) == 1 and _may_return_set(lists[0]):
        return None
    return len(lists)


SCALAR_FUNCTIONS = words(
    """now clock_timestamp statement_timestamp transaction_timestamp timeofday random gen_random_uuid
    nextval currval lastval lower upper initcap length concat concat_ws format md5 sha256 digest
    encode decode to_char to_date to_timestamp to_number to_json to_jsonb to_tsvector
    jsonb_build_object json_build_object jsonb_build_array json_build_array make_date make_interval
    make_timestamp make_timestamptz date_trunc timezone abs round floor ceil trim btrim ltrim rtrim
    replace substring left right coalesce nullif array_append array_cat current_setting crypt gen_salt
    hashtext txid_current like_escape interval uuid_generate_v4 uuid_generate_v1 st_geomfromtext
    st_makepoint st_setsrid st_point"""
)
"""Names of functions that return one value (pg_proc.proretset is false for all of PostgreSQL's by them)."""


def _may_return_set(node: Body) -> bool:
    todo: list[tuple[str, Body]] = [unwrap(node)]
    while todo:
        kind, body = todo.pop()
        if kind == "FuncCall":
            names = [n["String"].get("sval") for n in body.get("funcname", ()) if "String" in n]
            if not names or names[-1] not in SCALAR_FUNCTIONS:
                return True
        if kind == "A_Indirection" or (kind == "ColumnRef" and len(body.get("fields", ())) > 1):
            return True  # may be a call in disguise
        if kind.startswith("Json"):
            return True  # may be a call on an older server
        if kind != "SubLink":  # a sub-select is one value, or an error
            todo.extend(children(kind, body))
    return False


def update(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """UPDATE."""
    return _change(reading, kind, body, scope, effect=EffectKind.UPDATE, access=Access.UPDATE)


def delete(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """DELETE."""
    return _change(reading, kind, body, scope, effect=EffectKind.DELETE, access=Access.DELETE)


def _change(
    reading: Reading, kind: str, body: Body, scope: Scope, *, effect: EffectKind, access: Access
) -> list[Work]:
    inner, work = with_ctes(body, scope)
    relation = body["relation"]
    held = constrains(body, inner.ctes, reading.columns) if scope.runs else None
    reading.effect(effect, scope, target=relation, constrained=held)
    reading.relation(relation, access, scope)
    return work + below(kind, body, inner, _RELATION)


_MERGE_ACTIONS = {
    "CMD_INSERT": (EffectKind.INSERT, Access.INSERT),
    "CMD_UPDATE": (EffectKind.UPDATE, Access.UPDATE),
    "CMD_DELETE": (EffectKind.DELETE, Access.DELETE),
}


def merge(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """MERGE, and beside it each sort of change it makes."""
    inner, work = with_ctes(body, scope)
    relation = body["relation"]
    reading.effect(EffectKind.MERGE, scope, target=relation)
    clauses = [n["MergeWhenClause"] for n in body.get("mergeWhenClauses", ()) if "MergeWhenClause" in n]
    # Rows of the target that no row of the source meets are beyond what the join can restrict.
    joined = {
        "relation": relation,
        "fromClause": [body.get("sourceRelation", {})],
        "whereClause": body.get("joinCondition", {}),
    }
    meets = all(c.get("matchKind") != "MERGE_WHEN_NOT_MATCHED_BY_SOURCE" for c in clauses)
    held = meets and constrains(joined, inner.ctes, reading.columns)
    seen = set()
    for clause in clauses:
        action = _MERGE_ACTIONS.get(clause.get("commandType", ""))
        if action is None or action in seen:
            continue  # DO NOTHING
        seen.add(action)
        effect, access = action
        constrained = None if effect is EffectKind.INSERT else held
        reading.effect(effect, scope, target=relation, constrained=constrained, note="by MERGE")
        reading.relation(relation, access, scope)
    if not seen:
        reading.relation(relation, Access.READ, scope)
    return work + below(kind, body, inner, _RELATION)


def copy(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """COPY, with what its query does."""
    relation = body.get("relation")
    into = body.get("is_from", False)
    direction = "FROM" if into else "TO"
    if body.get("is_program"):
        reading.effect(
            EffectKind.COPY_FILE, scope, target=relation, name=direction, note="a program of the server"
        )
    elif "filename" in body:
        reading.effect(
            EffectKind.COPY_FILE, scope, target=relation, name=direction, note="a file of the server"
        )
    else:
        reading.effect(EffectKind.COPY_FROM if into else EffectKind.COPY_TO, scope, target=relation)
    if relation:
        reading.relation(relation, Access.INSERT if into else Access.READ, scope)
    work = command(body["query"], scope.noting("by COPY"), reading) if "query" in body else []
    return work + below(kind, body, scope, frozenset({"relation", "query"}))


def explain(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """EXPLAIN; with ANALYZE what it explains runs, without it is only planned."""
    runs = _flag(body.get("options", ()), "analyze")
    # The planner evaluates immutable functions of constants, and stable ones to estimate.
    reading.effect(
        EffectKind.EXPLAIN, scope, note="" if runs else "planned, not run; planning can call functions"
    )
    inner = scope.noting("by EXPLAIN ANALYZE") if runs else scope.at_rest()
    work = below(kind, body, scope, frozenset({"query"}))
    return work + command(body.get("query", {}), inner, reading)


def _flag(options: Any, name: str) -> bool:
    """Return a boolean option as defGetBoolean reads it; the last of several counts, doubt means yes."""
    value = False
    for option in options:
        element = option.get("DefElem", {})
        if element.get("defname", "").lower() != name:
            continue
        kind, argument = unwrap(element.get("arg", {}))
        if kind == "Integer":
            value = argument.get("ival", 0) != 0
        else:
            value = kind != "String" or argument.get("sval", "").lower() not in ("false", "off")
    return value


def create_table_as(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
    materialized = body.get("objtype") == "OBJECT_MATVIEW"
    into = body.get("into", {})
    target = into.get("rel", {})
    name = "MATERIALIZED VIEW" if materialized else "TABLE"
    reading.effect(EffectKind.CREATE, scope, target=target, name=name)
    if scope.runs:  # a plain EXPLAIN does not even look for it
        reading.relation(target, Access.DEFINE, scope)
    work = command(body.get("query", {}), scope.noting(f"by CREATE {name} AS"), reading)
    return work + below("IntoClause", into, scope, frozenset({"rel"}))


def prepare(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """PREPARE: judged as if it ran, because EXECUTE does not show what it runs."""
    reading.effect(EffectKind.PREPARE, scope, name=body.get("name", ""))
    work = below(kind, body, scope, frozenset({"query"}))
    return work + command(body.get("query", {}), scope.noting("by PREPARE"), reading)


def execute(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """EXECUTE of what somebody prepared earlier."""
    reading.effect(EffectKind.EXECUTE, scope, name=body.get("name", ""))
    return below(kind, body, scope)


def declare(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """DECLARE CURSOR: its query runs when rows are fetched."""
    reading.effect(EffectKind.CURSOR, scope, name=body.get("portalname", ""))
    return command(body.get("query", {}), scope.noting("by DECLARE CURSOR"), reading)


def call(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """CALL of a procedure."""
    names = [
        n["String"].get("sval", "") for n in body.get("funccall", {}).get("funcname", ()) if "String" in n
    ]
    reading.effect(EffectKind.CALL, scope, name=".".join(names))
    return below(kind, body, scope)


def do(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """DO: a program in a string, which is not read here."""
    language = "plpgsql"
    for node in body.get("args", ()):
        element = node.get("DefElem", {})
        if element.get("defname") == "language":
            language = unwrap(element.get("arg", {}))[1].get("sval", language)
    reading.effect(EffectKind.DO, scope, name=language, note="its body is not read")
    return below(kind, body, scope)


def create_schema(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """CREATE SCHEMA, with the commands it can contain."""
    reading.effect(EffectKind.CREATE, scope, name="SCHEMA")
    if "authrole" in body:
        reading.effect(EffectKind.PRIVILEGES, scope, name="OWNER", note="by AUTHORIZATION")
    inner = evolve(scope).noting("by CREATE SCHEMA")
    return below(kind, body, inner)


HANDLERS: dict[str, Handler] = {
    "CallStmt": call,
    "CopyStmt": copy,
    "CreateSchemaStmt": create_schema,
    "CreateTableAsStmt": create_table_as,
    "DeclareCursorStmt": declare,
    "DeleteStmt": delete,
    "DoStmt": do,
    "ExecuteStmt": execute,
    "ExplainStmt": explain,
    "InsertStmt": insert,
    "MergeStmt": merge,
    "PrepareStmt": prepare,
    "UpdateStmt": update,
}

"""The shape of libpg_query's tree (PostgreSQL 17): which nodes there are, and how to get at their children.

A child is either wrapped, ``{"ColumnRef": {...}}``, where the C struct has a ``Node *``, or bare, ``{...}``,
where the struct itself says the type. Bare ones are named here by their field, after the structs in
``nodes/parsenodes.h`` and ``nodes/primnodes.h``; a bare child with no name here is an unknown node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]

_BARE = {
    "action": "GrantStmt",
    "alias": "Alias",
    "argType": "TypeName",
    "authrole": "RoleSpec",
    "base": "CreateStmt",
    "bound": "PartitionBoundSpec",
    "collClause": "CollateClause",
    "constrrel": "RangeVar",
    "constructor": "JsonAggConstructor",
    "context_item": "JsonValueExpr",
    "cycle_clause": "CTECycleClause",
    "datatype": "TypeName",
    "extname": "String",
    "format": "JsonFormat",
    "fromsql": "ObjectWithArgs",
    "func": "ObjectWithArgs",
    "funccall": "FuncCall",
    "grantor": "RoleSpec",
    "identitySequence": "RangeVar",
    "infer": "InferClause",
    "into": "IntoClause",
    "intoClause": "IntoClause",
    "join_using_alias": "Alias",
    "larg": "SelectStmt",
    "newowner": "RoleSpec",
    "newrole": "RoleSpec",
    "ofTypename": "TypeName",
    "onConflictClause": "OnConflictClause",
    "on_empty": "JsonBehavior",
    "on_error": "JsonBehavior",
    "opername": "ObjectWithArgs",
    "output": "JsonOutput",
    "over": "WindowDef",
    "owner": "RoleSpec",
    "partbound": "PartitionBoundSpec",
    "partspec": "PartitionSpec",
    "pathspec": "JsonTablePathSpec",
    "pktable": "RangeVar",
    "pubtable": "PublicationTable",
    "rarg": "SelectStmt",
    "rel": "RangeVar",
    "relation": "RangeVar",
    "returnType": "TypeName",
    "returning": "JsonReturning",
    "role": "RoleSpec",
    "search_clause": "CTESearchClause",
    "sequence": "RangeVar",
    "setstmt": "VariableSetStmt",
    "sourcetype": "TypeName",
    "storedtype": "TypeName",
    "table": "RangeVar",
    "targettype": "TypeName",
    "tosql": "ObjectWithArgs",
    "typeName": "TypeName",
    "type_name": "TypeName",
    "typevar": "RangeVar",
    "user": "RoleSpec",
    "value": "JsonValueExpr",
    "view": "RangeVar",
    "withClause": "WithClause",
}
_BARE_IN = {  # the fields whose name means different structs
    ("JsonObjectAgg", "arg"): "JsonKeyValue",
    ("JsonArrayAgg", "arg"): "JsonValueExpr",
    ("CreateOpClassItem", "name"): "ObjectWithArgs",
    ("PartitionCmd", "name"): "RangeVar",
    ("JsonArgument", "val"): "JsonValueExpr",
    ("JsonParseExpr", "expr"): "JsonValueExpr",
    ("JsonSerializeExpr", "expr"): "JsonValueExpr",
}


def words(text: str) -> frozenset[str]:
    """Return the words of a text: a set that reads as one."""
    return frozenset(text.split())


LEAVES = words(
    """A_Const A_Star Alias BitString Boolean CTESearchClause CurrentOfExpr Float Integer JsonFormat
    RoleSpec SetToDefault String TriggerTransition IntList OidList"""
)
"""Nodes below which nothing can do anything."""

PLAIN = words(
    """A_ArrayExpr A_Indices AccessPriv AlterTableCmd BoolExpr BooleanTest CTECycleClause CaseWhen
    CoalesceExpr CollateClause ColumnDef CommonTableExpr CreateOpClassItem DefElem FunctionParameter
    GroupingFunc GroupingSet IndexElem InferClause IntoClause JsonAggConstructor JsonArgument
    JsonBehavior JsonIsPredicate JsonKeyValue JsonOutput JsonReturning JsonTableColumn
    JsonTablePathSpec JsonValueExpr List MergeWhenClause MinMaxExpr MultiAssignRef NamedArgExpr
    NullTest OnConflictClause PartitionBoundSpec PartitionCmd PartitionElem PartitionRangeDatum
    PartitionSpec PublicationObjSpec PublicationTable RangeFunction RangeSubselect RangeTableFunc
    RangeTableFuncCol ResTarget ReturnStmt RowExpr StatsElem TableLikeClause TypeCast VacuumRelation
    WindowDef WithClause XmlExpr XmlSerialize ReplicaIdentityStmt JsonTable"""
)
"""Nodes that mean no more than what is below them."""


def unwrap(node: Body) -> tuple[str, Body]:
    """Return type and fields of a wrapped node; ``("", {})`` for the empty one (a NULL in a list)."""
    for kind, body in node.items():
        return kind, body
    return "", {}


def children(kind: str, body: Body, skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, Body]]:
    """Yield type and fields of every node directly below, in the order of the tree.

    A bare child whose type is not known comes with ``kind.field`` for a type.
    """
    for name, value in body.items():
        if name in skip:
            continue
        if type(value) is dict:
            yield _child(kind, name, value)
        elif type(value) is list:
            for item in value:
                if type(item) is dict and item:
                    yield _child(kind, name, item)


def _child(kind: str, name: str, value: Body) -> tuple[str, Body]:
    for first in value:
        if first[0].isupper():
            return first, value[first]
        break
    bare = _BARE_IN.get((kind, name)) or _BARE.get(name)
    if bare is not None:
        return bare, value
    # An empty one has nothing to say, and only then can a wrapped and a bare child not be told apart.
    return (f"{kind}.{name}", value) if value else ("String", value)


def strings(items: list[Body] | None) -> tuple[str, ...]:
    """Return the values of the String nodes of a list: the parts of a dotted name."""
    return tuple(i["String"].get("sval", "") for i in items or () if "String" in i)


def literal(node: Body | None) -> str | None:
    """Return the string a constant stands for, looking through casts; ``None`` if it is not one."""
    while node and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    sval = node["A_Const"].get("sval") if node and "A_Const" in node else None
    return None if sval is None else str(sval.get("sval", ""))


def everything(node: Body) -> Iterator[tuple[str, Body]]:
    """Yield a node and all nodes below it."""
    todo = [unwrap(node)]
    while todo:
        kind, body = todo.pop()
        yield kind, body
        todo.extend(children(kind, body))

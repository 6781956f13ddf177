"""The name PostgreSQL gives a result column that was given none: parse_target.c, FigureColnameInternal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNNAMED = "?column?"

_CONSTANT = {
    "A_ArrayExpr": "array",
    "RowExpr": "row",
    "CoalesceExpr": "coalesce",
    "GroupingFunc": "grouping",
    "MergeSupportFunc": "merge_action",
    "XmlSerialize": "xmlserialize",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "JsonObjectConstructor": "json_object",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonArrayAgg": "json_arrayagg",
}
_BY_OP = {
    "IS_GREATEST": "greatest",
    "IS_LEAST": "least",
    "IS_XMLCONCAT": "xmlconcat",
    "IS_XMLELEMENT": "xmlelement",
    "IS_XMLFOREST": "xmlforest",
    "IS_XMLPARSE": "xmlparse",
    "IS_XMLPI": "xmlpi",
    "IS_XMLROOT": "xmlroot",
    "JSON_EXISTS_OP": "json_exists",
    "JSON_QUERY_OP": "json_query",
    "JSON_VALUE_OP": "json_value",
}


def tagged(node: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the tag and the fields of a node, which is a mapping with the tag as its only key."""
    return next(iter(node.items()), ("", {}))


def figure(node: Mapping[str, Any], first: str = "") -> str:
    """Return the name of the column that ``node`` makes; ``first`` names a scalar subselect's own column."""
    return _figure(node, first)[0] or UNNAMED


def _figure(node: Mapping[str, Any], first: str) -> tuple[str, int]:
    # The number is how sure PostgreSQL is of the name: 2 a proper one, 1 a type's, 0 none.
    tag, value = tagged(node)
    if tag in ("ColumnRef", "A_Indirection", "FuncCall"):
        fields = value.get({"ColumnRef": "fields", "A_Indirection": "indirection"}.get(tag, "funcname"), ())
        names = [f["String"].get("sval", "") for f in fields if "String" in f]
        if names:
            return names[-1], 2
        return _figure(value["arg"], first) if tag == "A_Indirection" else ("", 0)
    if tag == "TypeCast":
        name, strength = _figure(value.get("arg", {}), first)
        types = value.get("typeName", {}).get("names", ())
        return (types[-1]["String"].get("sval", ""), 1) if strength <= 1 and types else (name, strength)
    if tag == "CollateClause":
        return _figure(value.get("arg", {}), first)
    if tag == "SubLink":
        kind = str(value.get("subLinkType"))
        return {
            "EXISTS_SUBLINK": ("exists", 2),
            "ARRAY_SUBLINK": ("array", 2),
            "EXPR_SUBLINK": (first, 2),
        }.get(kind, ("", 0))
    if tag == "CaseExpr":
        name, strength = _figure(value.get("defresult", {}), first)
        return (name, strength) if strength > 1 else ("case", 1)
    if tag == "A_Expr":
        return ("nullif", 2) if value.get("kind") == "AEXPR_NULLIF" else ("", 0)
    if tag == "SQLValueFunction":
        return _value_function(value.get("op", "")), 2
    if tag in _CONSTANT:
        return _CONSTANT[tag], 2
    name = _BY_OP.get(str(value.get("op", "")), "") if isinstance(value, Mapping) else ""
    return name, 2 if name else 0


def _value_function(op: str) -> str:
    # SVFOP_CURRENT_TIME_N and SVFOP_CURRENT_TIME are both named current_time.
    return op.removeprefix("SVFOP_").removesuffix("_N").lower()

"""Relations and functions, wherever an expression or a FROM names them.

A function is called without a FuncCall standing there by operators, casts, ``(x).f`` and ``x.f``,
TABLESAMPLE, and constructs that only newer grammars know.
"""

from __future__ import annotations

from collections.abc import Callable

from governed_db.statement.facts import Access, EffectKind, RelationName
from governed_db.statement.nodes import Body, children, literal, strings
from governed_db.statement.reading import Reading, Scope, Work, with_ctes

Handler = Callable[[Reading, str, Body, Scope], list[Work]]

_NOTHING: list[Work] = []


def below(kind: str, body: Body, scope: Scope, skip: frozenset[str] = frozenset()) -> list[Work]:
    """Return everything directly below a node, to be read in the same scope."""
    return [(k, b, scope) for k, b in children(kind, body, skip)]


def range_var(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note a relation that is read; a name without a schema may be a CTE's."""
    if body.get("schemaname") or body.get("catalogname") or body.get("relname") not in scope.ctes:
        reading.relation(body, Access.READ, scope)
    return _NOTHING


def select(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Read a SELECT, VALUES or TABLE at any depth; it creates a table INTO and locks rows FOR UPDATE."""
    inner, work = with_ctes(body, scope)
    into = body.get("intoClause")
    if into:
        target = into.get("rel", {})
        reading.effect(EffectKind.CREATE, scope, target=target, name="TABLE", note="by SELECT INTO")
        if scope.runs:  # a plain EXPLAIN does not even look for it
            reading.relation(target, Access.DEFINE, scope)
        work += below("IntoClause", into, inner, frozenset({"rel"}))
    for clause in body.get("lockingClause", ()):
        _lock_rows(reading, clause["LockingClause"], body, scope)
    return work + below(kind, body, inner, _SELECT_DONE)


_SELECT_DONE = frozenset({"withClause", "intoClause", "lockingClause"})
_STRENGTHS = {
    "LCS_FORKEYSHARE": "FOR KEY SHARE",
    "LCS_FORSHARE": "FOR SHARE",
    "LCS_FORNOKEYUPDATE": "FOR NO KEY UPDATE",
    "LCS_FORUPDATE": "FOR UPDATE",
}


def _lock_rows(reading: Reading, clause: Body, body: Body, scope: Scope) -> None:
    # OF names what the FROM calls its relations, so these RangeVars are aliases and not relations.
    listed = [v["RangeVar"].get("relname", "") for v in clause.get("lockedRels", ()) if "RangeVar" in v]
    sources = [n["RangeVar"] for n in body.get("fromClause", ()) if "RangeVar" in n]
    known = {v.get("alias", {}).get("aliasname", v.get("relname")): v for v in sources}
    if not listed and len(sources) == 1 and len(body.get("fromClause", ())) == 1:
        listed = list(known)
    name = _STRENGTHS.get(clause.get("strength", ""), "FOR UPDATE")
    for alias in listed or [None]:
        target = known.get(alias)
        if target is not None and not target.get("schemaname") and target.get("relname") in scope.ctes:
            target = None
        reading.effect(EffectKind.ROW_LOCK, scope, target=target, name=name)


def function_call(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note a call; set_config() also sets."""
    names = strings(body.get("funcname"))
    arguments = body.get("args", [])
    # EXTRACT, POSITION, AT TIME ZONE, ...: the grammar writes pg_catalog's name itself.
    how = "default" if body.get("funcformat") == "COERCE_SQL_SYNTAX" else "call"
    count = len(arguments) + (len(body.get("agg_order", ())) if body.get("agg_within_group") else 0)
    reading.function(names, count, how, body.get("location", -1))
    if names and names[-1] == "set_config" and (len(names) == 1 or names[-2] == "pg_catalog"):
        _set_config(reading, arguments, scope)
    return below(kind, body, scope)


def _set_config(reading: Reading, arguments: list[Body], scope: Scope) -> None:
    named = {
        n["NamedArgExpr"].get("name"): n["NamedArgExpr"].get("arg") for n in arguments if "NamedArgExpr" in n
    }
    setting = named.get("setting_name", arguments[0] if arguments else None)
    name = literal(setting)
    note = "by set_config()" if name else "by set_config(), whose first argument is not a literal"
    reading.effect(EffectKind.SET, scope, name=(name or "").lower(), note=note)


def column(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note that ``a.f`` is a call f(a) where the row ``a`` has no column f."""
    fields = body.get("fields", ())
    if len(fields) > 1 and "String" in fields[-1]:
        name = fields[-1]["String"].get("sval", "")
        reading.function((name,), 1, "call", body.get("location", -1), certain=False)
    return _NOTHING


def indirection(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note that ``(x).f`` is a call f(x) where ``x`` has no attribute f."""
    for name in strings(body.get("indirection")):
        reading.function((name,), 1, "call", _location(body), certain=False)
    return below(kind, body, scope)


def _location(body: Body) -> int:
    # A_Indirection has no location of its own; what it is applied to mostly has.
    for inner in (body.get("arg") or {}).values():
        return int(inner.get("location", -1))
    return -1


_BETWEEN = {
    "AEXPR_BETWEEN": (">=", "<="),
    "AEXPR_NOT_BETWEEN": ("<", ">"),
    "AEXPR_BETWEEN_SYM": (">=", "<="),
    "AEXPR_NOT_BETWEEN_SYM": ("<", ">"),
}


def expression(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note an operator; BETWEEN is two."""
    location = body.get("location", -1)
    pair = _BETWEEN.get(body.get("kind", ""))
    if pair:
        for sign in pair:
            reading.function((sign,), 2, "operator", location)
    else:
        count = 2 if "lexpr" in body else 1
        reading.function(strings(body.get("name")), count, "operator", location)
    return below(kind, body, scope, _NAME)


_NAME = frozenset({"name"})


def sublink(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note the operator of ``x op ANY (SELECT ...)``; IN is ``=``."""
    if body.get("subLinkType") in ("ANY_SUBLINK", "ALL_SUBLINK"):
        names = strings(body.get("operName")) or ("=",)
        reading.function(names, 2, "operator", body.get("location", -1))
    return below(kind, body, scope, frozenset({"operName"}))


def case(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note the ``=`` of ``CASE x WHEN y``."""
    if "arg" in body:
        reading.function(("=",), 2, "operator", body.get("location", -1))
    return below(kind, body, scope)


def join(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note the ``=`` of USING and NATURAL."""
    if body.get("usingClause") or body.get("isNatural"):
        reading.function(("=",), 2, "operator", -1)
    return below(kind, body, scope)


def sort(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note the operator of ORDER BY ... USING."""
    reading.function(strings(body.get("useOp")), 2, "operator", body.get("location", -1))
    return below(kind, body, scope, frozenset({"useOp"}))


def type_name(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note a type: casts to it, and values of it, run its functions. ``t.c%TYPE`` names a relation."""
    names = strings(body.get("names"))
    if body.get("pct_type"):
        if len(names) > 1:
            relation = RelationName(names[-3] if len(names) > 2 else None, names[-2])
            reading.relation(relation, Access.READ, scope)
    else:
        reading.function(names, 1, "cast", body.get("location", -1))
    return below(kind, body, scope, frozenset({"names"}))


def table_sample(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note the sampling method, which is a function."""
    names = strings(body.get("method"))
    reading.function(names, len(body.get("args", ())), "tablesample", body.get("location", -1))
    return below(kind, body, scope, frozenset({"method"}))


def value_function(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note CURRENT_USER and its kin, which cannot be anything but PostgreSQL's own."""
    name = body.get("op", "").removeprefix("SVFOP_").removesuffix("_N").lower()
    reading.function(("pg_catalog", name), 0, "default", body.get("location", -1))
    return _NOTHING


_JSON = {  # the grammar of 16 and 17 has nodes where older servers have plain function calls
    "JsonObjectConstructor": "json_object",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonArrayAgg": "json_arrayagg",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "JsonTable": "json_table",
    "JSON_EXISTS_OP": "json_exists",
    "JSON_QUERY_OP": "json_query",
    "JSON_VALUE_OP": "json_value",
    "JSON_TABLE_OP": "json_table",
    "MergeSupportFunc": "merge_action",
}


def json(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note a construct that is a call of a function of that name on a server that does not know it."""
    name = _JSON.get(body.get("op", "") if kind == "JsonFuncExpr" else kind)
    if name is None:
        reading.unknown[kind] = None
        return below(kind, body, scope)
    arguments = len(body.get("exprs", ())) if "Constructor" in kind else -1
    if kind in ("JsonParseExpr", "JsonScalarExpr", "JsonSerializeExpr"):
        arguments = 1
    elif kind == "MergeSupportFunc":
        arguments = 0
    reading.function((name,), arguments, "constructor", body.get("location", -1), certain=False)
    return below(kind, body, scope)


def constraint(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note the operators of an EXCLUDE constraint."""
    for pair in body.get("exclusions", ()):
        items = pair.get("List", {}).get("items", ())
        for operator in (i["List"] for i in items if "List" in i):
            reading.function(strings(operator.get("items")), 2, "operator", body.get("location", -1))
    return below(kind, body, scope)


def signature(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Pass over ``f(int)`` in DDL: it names a function, and calls neither it nor a cast."""
    return _NOTHING


def parameter(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note the highest ``$n``."""
    reading.parameters = max(reading.parameters, body.get("number", 0))
    return _NOTHING


def multiple_assignment(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Read the source of ``SET (a, b) = source`` once; the grammar has a copy of it in each column."""
    return below(kind, body, scope) if body.get("colno", 1) == 1 else _NOTHING


def partition(reading: Reading, kind: str, body: Body, scope: Scope) -> list[Work]:
    """Note the partition that is attached or detached."""
    if "name" in body:
        reading.relation(body["name"], Access.DEFINE, scope)
    return below(kind, body, scope, _NAME)


HANDLERS: dict[str, Handler] = {
    "A_Expr": expression,
    "A_Indirection": indirection,
    "CaseExpr": case,
    "ColumnRef": column,
    "Constraint": constraint,
    "FuncCall": function_call,
    "JoinExpr": join,
    "MultiAssignRef": multiple_assignment,
    "ObjectWithArgs": signature,
    "ParamRef": parameter,
    "PartitionCmd": partition,
    "RangeTableSample": table_sample,
    "RangeVar": range_var,
    "SQLValueFunction": value_function,
    "SelectStmt": select,
    "SortBy": sort,
    "SubLink": sublink,
    "TypeName": type_name,
    "JsonFuncExpr": json,
    **{kind: json for kind in _JSON if not kind.endswith("_OP")},
}

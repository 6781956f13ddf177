"""Partial indexes that a row is certain to leave: what they hold of other rows is then not asked.

``UPDATE ... SET deleted_at = now()`` compares nothing with a unique index on ``lower(email) WHERE deleted_at
IS NULL``: the new row is not in it, whatever its address. That has to be certain from the text, since coming
back into the index (``deleted_at = NULL``) does compare.
"""

from __future__ import annotations

import re

from governed_db.catalog.context import Context, Node
from governed_db.catalog.failing import split
from governed_db.catalog.model import Column, Constraint, Needed, Relation
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.statement.facts import Access

# As PostgreSQL writes a column by itself and three tests of it (nodes/outfuncs.c); 16 is boolean.
_VAR = r"\{VAR :varno 1 :varattno (\d+) :vartype %s [^{}]*\}"
_FORMS = (
    (re.compile(r"\{NULLTEST :arg " + _VAR % r"\d+" + r" :nulltesttype 0 :argisrow false[^{}]*\}"), "null"),
    (re.compile(_VAR % "16"), "true"),
    (re.compile(r"\{BOOLEXPR :boolop not :args \(" + _VAR % "16" + r"\)[^{}]*\}"), "false"),
)
_ALL_OF = "{BOOLEXPR :boolop and :args ("

_BOOLEAN = 16  # OID of the type, from pg_type.dat
# The usual ones of what boolin() reads (src/backend/utils/adt/bool.c).
_TRUE = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE = frozenset({"f", "false", "n", "no", "off", "0"})

# PostgreSQL's functions without arguments that say what time it is, and never NULL.
_CLOCKS = frozenset({"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp"})
# CURRENT_DATE and its kin; CURRENT_SCHEMA can be NULL.
_TIMES = re.compile(r"_(?:CURRENT_|LOCAL)(?:DATE|TIME)")
_NEW = re.compile(r"\bnew\b(?!\s*\.)")
_GIVEN_BACK = re.compile(r"\breturn\s+new\s*;")


def needs(predicate: str) -> tuple[Needed, ...]:
    """Return :attr:`Constraint.needs` of an index's WHERE, a pg_node_tree."""
    parts = [*split(predicate[len(_ALL_OF) :])] if predicate.startswith(_ALL_OF) else [predicate]
    return tuple(
        Needed(int(found[1]), what)
        for part in parts
        for form, what in _FORMS
        if (found := form.fullmatch(part))
    )


def certain(ctx: Context, column: Column, value: Node) -> str:
    """Return what a column that is set to ``value`` certainly is: "null", "true", "false", "value", or ""."""
    constant = value.get("A_Const")
    if constant is not None and constant.get("isnull"):
        return "null"
    if column.type_oid >= FIRST_USER_OID:
        return ""  # what the silent cast to a type of users makes of it is for them to say
    if constant is not None and "boolval" in constant:
        return "true" if constant["boolval"].get("boolval") else "false"
    cast = value.get("TypeCast")
    if cast is not None:
        inner = cast.get("arg", {}).get("A_Const", {})
        type_ = ctx.type(cast.get("typeName", {}))
        own = type_ is not None and type_.oid == column.type_oid
        return _written(column, inner) if own else ""
    if constant is not None:
        return _written(column, constant)
    if "SQLValueFunction" in value:
        return "value" if _TIMES.search(value["SQLValueFunction"].get("op", "")) else ""
    call = value.get("FuncCall")
    if call is not None and call.keys() <= {"funcname", "funcformat", "location"}:
        functions, name = ctx.candidates(call)
        known = name in _CLOCKS and functions and all(f.oid < FIRST_USER_OID for f in functions)
        return "value" if known else ""
    return ""


def _written(column: Column, constant: Node) -> str:
    if "sval" not in constant:
        return ""
    if column.type_oid != _BOOLEAN:
        return "value"
    spelled = constant["sval"].get("sval", "").strip().lower()
    return "true" if spelled in _TRUE else "false" if spelled in _FALSE else ""


def leaves(ctx: Context, relation: Relation, constraint: Constraint) -> bool:
    """Return whether no row that the statement updates in ``relation`` is in the index afterwards."""
    lists = [settled for oid, settled in ctx.settled if oid == relation.oid]
    if len(lists) != 1 or relation.has_rules or relation.parents or relation.oid in ctx.memo.children:
        return False
    return any(
        _against(lists[0].get(needed.column, ""), needed.state) and not _reset(ctx, relation, needed.column)
        for needed in constraint.needs
    )


def _against(settled: str, needed: str) -> bool:
    if needed == "null":
        return settled in ("value", "true", "false")
    return settled in {"true", "false", "null"} - {needed}


def _reset(ctx: Context, relation: Relation, number: int) -> bool:
    """Return whether a trigger may put something else into a column before the row is stored."""
    name = next((c.name for c in relation.columns if c.number == number), "")
    for trigger in relation.triggers:
        if trigger.timing != "before" or not trigger.each_row or Access.UPDATE not in trigger.events:
            continue
        function = ctx.catalog.function(trigger.function)
        if function is None or function.language != "plpgsql" or function.definition is None:
            return True
        body = _GIVEN_BACK.sub("", function.definition.lower())
        # Only ``new.other := ...`` is left: neither the column by its name, nor the row as a whole.
        if '"' in name or name.lower() in body or _NEW.search(body) or 'u&"' in body:
            return True
    return False

"""Whether the WHERE of an UPDATE or DELETE restricts the rows of its target: a proof, or no.

The rule. A condition *restricts* when it follows from its form alone that it says something about each
row of the target:

- a column of the target ``=`` something fixed, ``IN`` a list of fixed things, ``= ANY`` of a fixed array
  or of a sub-select, ``BETWEEN`` fixed bounds, ``LIKE`` a literal pattern that is more than wildcards,
  ``IS NULL``, ``IS NOT DISTINCT FROM`` something fixed, ``&&``, ``@>`` something that is not empty;
- a column ``<``, ``<=``, ``>``, ``>=`` something fixed: how much that leaves is for row caps to say;
- a boolean column by itself, negated, or ``IS TRUE``/``FALSE``/``UNKNOWN``;
- ``WHERE CURRENT OF``, ``WHERE false``; ``EXISTS`` of a sub-select whose own WHERE restricts the target;
- an AND of which one part restricts; an OR of which every part does and which does not take a column
  from both sides (``x < 5 OR x >= 5``, ``b OR NOT b``); a NOT of which, by De Morgan, the same is true.

*Column*: unqualified where the target is the only relation, else qualified by its name or alias; also
cast, ``date(c)``, ``date_trunc('...', c)``, ``c + 1``, ``coalesce(c, fixed)``, and for equality
``lower(c)``, ``c ->> 'key'`` and their kin. Never the whole row.

*Fixed*: constants, parameters, functions and operators of fixed things, a sub-select whose result
cannot be the row's own column, and a column of another relation, where that relation is not the same
table again (every row meets itself) unless limited or restricted itself.

Everything else is unproven: ``<>``, ``NOT IN``, ``IS NOT NULL``, ``NOT EXISTS``, ``ALL``, ``x = x``, regular
expressions, patterns in parameters, functions of columns, names that could mean another relation's
column. Given what columns relations have, names are told apart that the text alone leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import evolve, field, frozen

from governed_db.statement.facts import RelationName
from governed_db.statement.nodes import Body, children, literal, strings, unwrap

Columns = Callable[[RelationName], frozenset[str] | None]
"""Answers which columns a relation has; ``None`` where it is not known."""

Proof = frozenset[tuple[str, str]]
"""What a condition rests on: the sides ("<", ">", "true", "false") it takes of columns; empty if none."""

POINT: Proof = frozenset()

_DEPTH = 60  # conditions nested deeper than people write them are not proven
_BUDGET = 500_000  # nodes looked at; the costliest honest statement is a list of 150,000 constants
_OPPOSITE = {"<": ">", ">": "<", "true": "false", "false": "true"}


@frozen
class Target:
    """The relation a statement changes, and what the statement calls it."""

    name: RelationName
    alias: str

    @classmethod
    def of(cls, relation: Body) -> Target:
        """Return the target that a RangeVar names."""
        name = RelationName(relation.get("schemaname") or None, relation.get("relname", ""))
        return cls(name, relation.get("alias", {}).get("aliasname") or name.name)

    def is_table(self, var: Body) -> bool:
        """Say whether a RangeVar may be the same table."""
        schema = var.get("schemaname") or None
        same = schema is None or self.name.schema is None or schema == self.name.schema
        return same and var.get("relname") == self.name.name


def constrains(body: Body, ctes: Mapping[str, Body], columns: Columns | None = None) -> bool:
    """Say whether an UpdateStmt or DeleteStmt provably changes only some rows, by the module's rule.

    Args:
        body: the statement's fields; FROM or USING and WHERE are looked at.
        ctes: queries of the common table expressions it can see.
        columns: what relations have, where a catalog knows; without it, names that could belong to
            more than one relation prove nothing.
    """
    where = body.get("whereClause")
    if not where:
        return False
    sources = [*body.get("fromClause", ()), *body.get("usingClause", ())]
    found, conditions = _flatten(sources)
    place = _Place(
        target=Target.of(body["relation"]),
        sources=found,
        ctes=ctes,
        columns=columns,
        where=(where, *conditions),
    )
    return place.all_of(place.where, False, 0) is not None


def bounded_by(node: Body, target: Target, ctes: Mapping[str, Body], columns: Columns | None = None) -> bool:
    """Say whether a query's rows are provably not one for each row of ``target``."""
    return _Place(target=target, sources={}, ctes=ctes, columns=columns, where=()).bounded(node, 0)


class _Budget:
    def __init__(self) -> None:
        self.left = _BUDGET

    def spend(self, nodes: int = 1) -> bool:
        self.left -= nodes
        return self.left > 0


Sources = dict[str | None, tuple[str, Body]]


def _flatten(nodes: Iterable[Body]) -> tuple[Sources, list[Body]]:
    """Return the sources of a FROM by alias, and the conditions of its inner joins."""
    sources: Sources = {}
    conditions: list[Body] = []
    todo = list(nodes)
    while todo:
        kind, body = unwrap(todo.pop())
        if kind == "JoinExpr":
            todo += [body.get("larg", {}), body.get("rarg", {})]
            if body.get("jointype") == "JOIN_INNER" and "quals" in body:
                conditions.append(body["quals"])
            if "alias" in body:
                sources[body["alias"].get("aliasname")] = (kind, body)
            continue
        if kind == "RangeTableSample":
            todo.append(body.get("relation", {}))
            continue
        name = body.get("alias", {}).get("aliasname") or body.get("relname")
        # Without a name nothing can refer to it, but unqualified names may still mean its columns.
        sources[name if name not in sources else None] = (kind, body)
    return sources, conditions


_WHOLE_ROW_FUNCTIONS = frozenset(
    ["pg_typeof", "num_nulls", "num_nonnulls", "pg_column_size", "pg_column_compression", "pg_collation_for", "to_json", "to_jsonb", "row_to_json", "json_build_array", "jsonb_build_array", "json_agg", "jsonb_agg", "array_agg", "count", "concat", "quote_literal", "quote_nullable", "hash_record", "hashrecord", "record_out", "record_send", "format"]
)
"""``t.num_nonnulls`` is a call with the row: functions of pg_catalog that take any type or a record."""

_EQUAL_FUNCTIONS = frozenset(
    ["lower", "upper", "initcap", "length", "char_length", "octet_length", "md5", "abs", "btrim", "ltrim", "rtrim", "reverse", "date", "date_trunc", "date_part", "extract", "to_char", "timezone"]
)
"""Functions that are not constant whatever the column holds, so that ``f(c) = fixed`` says something."""

_ORDER_FUNCTIONS = frozenset({"date", "date_trunc", "date_part", "extract", "timezone"})
_FIXED_KINDS = frozenset(
    ["A_ArrayExpr", "A_Expr", "A_Indices", "A_Indirection", "BoolExpr", "CaseExpr", "CaseWhen", "CoalesceExpr", "CollateClause", "FuncCall", "List", "MinMaxExpr", "NamedArgExpr", "NullTest", "RowExpr", "TypeCast", "JsonObjectConstructor", "JsonArrayConstructor", "JsonValueExpr", "JsonKeyValue", "JsonOutput", "JsonReturning", "JsonScalarExpr", "JsonParseExpr"]
)
_FIXED_LEAVES = frozenset(
    {"A_Const", "ParamRef", "SQLValueFunction", "TypeName", "String", "JsonFormat", "WindowDef"}
    - {"WindowDef"}
)
_TRUTHS = {
    **dict.fromkeys(("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"), "true"),
    **dict.fromkeys(("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"), "false"),
}
_NEGATED = {"=": "<>", "<>": "=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


@frozen
class _Place:
    """One WHERE: whose rows it is to restrict, and what its names can mean."""

    target: Target
    sources: Sources
    ctes: Mapping[str, Body]
    columns: Columns | None
    where: tuple[Body, ...]
    nested: bool = False
    level: int = 0
    budget: _Budget = field(factory=_Budget)
    independence: dict[str | None, bool] = field(factory=dict)

    # -- conditions

    def prove(self, node: Body, negated: bool, depth: int) -> Proof | None:
        kind, body = unwrap(node)
        if depth > _DEPTH or not self.budget.spend():
            return None
        if kind == "BoolExpr":
            operator, arguments = body.get("boolop"), body.get("args", ())
            if operator == "NOT_EXPR":
                return self.prove(arguments[0], not negated, depth + 1)
            if (operator == "AND_EXPR") != negated:
                return self.all_of(arguments, negated, depth + 1)
            return self.any_of(arguments, negated, depth + 1)
        if kind == "A_Expr":
            return self.comparison(body, negated, depth)
        if kind == "ColumnRef":
            name = self.own(body)
            return frozenset({(name, "false" if negated else "true")}) if name else None
        if kind == "NullTest":
            wanted = "IS_NOT_NULL" if negated else "IS_NULL"
            plain = "ColumnRef" in body.get("arg", {}) and self.own(body["arg"]["ColumnRef"])
            return POINT if plain and body.get("nulltesttype") == wanted else None
        if kind == "BooleanTest":
            return self.truth(body, negated, depth)
        if kind == "A_Const":
            value = bool(body.get("boolval", {}).get("boolval", False))
            return POINT if body.get("isnull") or ("boolval" in body and value == negated) else None
        if kind == "CurrentOfExpr":
            return None if negated else POINT
        if kind == "SubLink" and not negated:
            return self.sublink(body, depth)
        return None

    def all_of(self, nodes: Iterable[Body], negated: bool, depth: int) -> Proof | None:
        proofs = [p for n in nodes if (p := self.prove(n, negated, depth)) is not None]
        if not proofs:
            return None
        sides = frozenset().union(*proofs)
        # Held from both sides, or at a point: nothing an OR could complete to everything.
        if POINT in proofs or any((c, _OPPOSITE[s]) in sides for c, s in sides):
            return POINT
        return sides

    def any_of(self, nodes: Iterable[Body], negated: bool, depth: int) -> Proof | None:
        sides: set[tuple[str, str]] = set()
        for node in nodes:
            proof = self.prove(node, negated, depth)
            if proof is None or any((c, _OPPOSITE[s]) in sides for c, s in proof):
                return None
            sides |= proof
        return frozenset(sides)

    def truth(self, body: Body, negated: bool, depth: int) -> Proof | None:
        test = body.get("booltesttype", "")
        if negated:
            test = test.replace("IS_NOT_", "IS_") if "NOT" in test else test.replace("IS_", "IS_NOT_")
        argument = body.get("arg", {})
        if test == "IS_TRUE":
            return self.prove(argument, False, depth + 1)
        if test == "IS_FALSE":
            return self.prove(argument, True, depth + 1)
        if test == "IS_UNKNOWN" and "ColumnRef" in argument:
            return POINT if self.own(argument["ColumnRef"]) else None
        return None

    def comparison(self, body: Body, negated: bool, depth: int) -> Proof | None:
        kind = body.get("kind", "")
        names = strings(body.get("name"))
        if len(names) != 1 and names[:-1] != ("pg_catalog",):
            return None
        left, right, sign = body.get("lexpr", {}), body.get("rexpr", {}), names[-1]
        if kind in ("AEXPR_LIKE", "AEXPR_ILIKE"):
            pattern = literal(right)
            holds = sign.startswith("!") == negated and pattern is not None and pattern.strip("%_")
            return POINT if holds and self.column(left, depth, ordered=True) else None
        if kind in ("AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN", "AEXPR_NOT_BETWEEN_SYM"):
            return self.between(left, right, depth) if ("NOT" in kind) == negated else None
        if kind in ("AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT"):
            return self.compare("=", left, right, depth) if (kind == "AEXPR_DISTINCT") == negated else None
        if negated and kind in ("AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY", "AEXPR_OP_ALL"):
            sign = _NEGATED.get(sign, "")
            kind = {"AEXPR_OP_ANY": "AEXPR_OP_ALL", "AEXPR_OP_ALL": "AEXPR_OP_ANY"}.get(kind, kind)
        if kind == "AEXPR_OP":
            return self.compare(sign, left, right, depth)
        if kind == "AEXPR_IN" and sign == "=":
            return self.member(left, right.get("List", {}).get("items", ()), depth)
        if kind == "AEXPR_OP_ANY":
            if sign == "=" and self.fixed(left, depth) and self.column(right, depth):
                return POINT
            if "A_ArrayExpr" in right and sign == "=":
                return self.member(left, right["A_ArrayExpr"].get("elements", ()), depth)
            return self.compare(sign, left, right, depth)
        if kind == "AEXPR_OP_ALL" and right.get("A_ArrayExpr", {}).get("elements"):
            return self.compare(sign, left, right, depth)  # of an empty array ALL is true
        return None

    def compare(self, sign: str, left: Body, right: Body, depth: int) -> Proof | None:
        if "RowExpr" in left and "RowExpr" in right:
            return self.rows(sign, left["RowExpr"].get("args", ()), right["RowExpr"].get("args", ()), depth)
        if sign in ("&&", "@>"):
            some = sign == "&&" or _is_something(right)
            return POINT if some and self.column(left, depth) and self.fixed(right, depth) else None
        if sign == "!=":
            sign = "<>"
        if sign not in _MIRRORED or sign == "<>":
            return (
                POINT
                if sign == "<>" and _integer(left) is not None and _integer(left) == _integer(right)
                else None
            )
        if sign == "=" and _integer(left) is not None and _integer(right) is not None:
            return None if _integer(left) == _integer(right) else POINT  # ORMs write 1 = 0 for "no rows"
        ordered = sign != "="
        for here, there, side in ((left, right, sign), (right, left, _MIRRORED[sign])):
            name = self.column(here, depth, ordered=ordered)
            if name and self.fixed(there, depth, frozenset({name})):
                truth = _truth(there) if side == "=" else None
                return frozenset({(name, truth or side[0])}) if truth or ordered else POINT
        return None

    def rows(self, sign: str, left: list[Body], right: list[Body], depth: int) -> Proof | None:
        pairs = list(zip(left, right, strict=False))
        if sign == "=" and len(left) == len(right):
            return self.best(self.compare("=", a, b, depth + 1) for a, b in pairs if "RowExpr" not in a)
        if sign in ("<", ">", "<=", ">=") and pairs and "RowExpr" not in pairs[0][0]:
            return self.compare(sign, *pairs[0], depth + 1)
        return None

    @staticmethod
    def best(proofs: Iterator[Proof | None]) -> Proof | None:
        known = [p for p in proofs if p is not None]
        return min(known, key=len, default=None)

    def between(self, left: Body, right: Body, depth: int) -> Proof | None:
        bounds = right.get("List", {}).get("items", ())
        if len(bounds) != 2:
            return None
        name = self.column(left, depth, ordered=True)
        if name:
            held = all(self.fixed(b, depth, frozenset({name})) for b in bounds)
            return POINT if held else None
        return self.best(self.compare(s, left, b, depth) for s, b in zip((">=", "<="), bounds, strict=True))

    def member(self, left: Body, items: Iterable[Body], depth: int) -> Proof | None:
        items = list(items)
        if not items:
            return None
        if "RowExpr" in left:
            parts = left["RowExpr"].get("args", ())
            listed = [i["RowExpr"].get("args", ()) for i in items if "RowExpr" in i]
            if len(listed) != len(items) or any(len(row) != len(parts) for row in listed):
                return None
            return self.best(
                self.member(p, [row[i] for row in listed], depth + 1) for i, p in enumerate(parts)
            )
        name = self.column(left, depth)
        if not name or not all(self.fixed(i, depth, frozenset({name})) for i in items):
            return None
        truths = {_truth(i) for i in items}
        if None in truths:
            return POINT
        return frozenset({(name, str(truths.pop()))}) if len(truths) == 1 else None

    # -- sub-selects

    def sublink(self, body: Body, depth: int) -> Proof | None:
        kind, select = body.get("subLinkType"), body.get("subselect", {})
        if kind == "EXISTS_SUBLINK":
            return self.exists(select, depth)
        if kind != "ANY_SUBLINK":
            return None
        names = strings(body.get("operName")) or ("=",)
        if len(names) != 1 and names[:-1] != ("pg_catalog",):
            return None
        test = body.get("testexpr", {})
        parts = test["RowExpr"].get("args", ()) if "RowExpr" in test else [test]
        ordered = names[-1] != "="
        tested = [n for p in parts if (n := self.column(p, depth, ordered=ordered))]
        if names[-1] not in ("=", "<", "<=", ">", ">=") or not tested or (ordered and len(parts) > 1):
            return None
        if not self.result_is_fixed(select, frozenset(tested), depth + 1, scalar=False):
            return None
        return frozenset({(tested[0], names[-1][0])}) if ordered else POINT

    def exists(self, node: Body, depth: int) -> Proof | None:
        kind, select = unwrap(node)
        if kind != "SelectStmt" or select.get("op") != "SETOP_NONE" or "whereClause" not in select:
            return None
        # An aggregate makes one row out of none, and then EXISTS is always true.
        if {"groupClause", "havingClause", "valuesLists", "windowClause"} & select.keys():
            return None
        for part in ("targetList", "sortClause", "distinctClause"):
            if any(not _is_simple(n) for n in select.get(part, ())):
                return None
        sources, conditions = _flatten(select.get("fromClause", ()))
        if self.target.alias in sources:
            return None
        inner = evolve(
            self,
            sources={**self.sources, **sources},
            ctes=_with(select, self.ctes),
            where=(select["whereClause"], *conditions),
            nested=True,
            independence={},
        )
        return inner.all_of(inner.where, False, depth + 1)

    def result_is_fixed(self, node: Body, tested: frozenset[str], depth: int, *, scalar: bool) -> bool:
        """Say whether what a sub-select returns cannot be, for each row, the row's own column."""
        kind, select = unwrap(node)
        if kind != "SelectStmt" or depth > _DEPTH or not self.budget.spend():
            return False
        if select.get("op") != "SETOP_NONE":
            inner = evolve(self, ctes=_with(select, self.ctes))
            arms = ({"SelectStmt": select.get("larg", {})}, {"SelectStmt": select.get("rarg", {})})
            return all(inner.result_is_fixed(a, tested, depth + 1, scalar=False) for a in arms)
        outputs = [i for n in select.get("valuesLists", ()) for i in n.get("List", {}).get("items", ())]
        outputs += [n["ResTarget"].get("val", {}) for n in select.get("targetList", ()) if "ResTarget" in n]
        if not select.get("fromClause"):
            return all(self.fixed(o, depth + 1, tested) for o in outputs)
        ctes = _with(select, self.ctes)
        sources, _ = _flatten(select["fromClause"])
        if not all(self.output_is_inner(c, sources, ctes, tested) for c in _column_refs(outputs)):
            return False
        if not _reads({"SelectStmt": select}, self.target, ctes, self.budget):
            return True
        if scalar:
            # One value; unless it is looked up again for each row by that row.
            return self.target.alias in sources or not _mentions(node, self.target.alias)
        return self.bounded(node, depth + 1)

    def output_is_inner(
        self, column: Body, sources: Sources, ctes: Mapping[str, Body], tested: frozenset[str]
    ) -> bool:
        fields = column.get("fields", ())
        names = strings(fields)
        if len(names) < len(fields):  # a star: of everything inside, or of one relation
            return not names or names[-1] in sources
        if len(names) > 1:
            return names[-2] in sources or self.owner(column) == "other"
        if not names or names[0] not in tested:
            return True
        # The name of the very column it is compared with: inner only if something inside has it.
        for kind, body in sources.values():
            if kind != "RangeVar" or (not body.get("schemaname") and body.get("relname") in ctes):
                continue
            if self.target.is_table(body) or names[0] in (self.columns_of(body) or ()):
                return True
        return False

    def bounded(self, node: Body, depth: int) -> bool:
        """Say whether a query either does not read the target's table, or provably not all of it."""
        kind, body = unwrap(node)
        if not _reads(node, self.target, self.ctes, self.budget):
            return True
        if depth > _DEPTH or self.budget.left <= 0:
            return False
        if kind in ("UpdateStmt", "DeleteStmt"):
            return constrains(body, _with(body, self.ctes), self.columns)
        if kind != "SelectStmt" or body.get("valuesLists"):
            return False
        inner = evolve(self, ctes=_with(body, self.ctes))
        if _limits(body.get("limitCount", {})):
            return True
        if body.get("op") != "SETOP_NONE":
            arms = [inner.bounded({"SelectStmt": body.get(side, {})}, depth + 1) for side in ("larg", "rarg")]
            return {"SETOP_INTERSECT": any(arms), "SETOP_EXCEPT": arms[0]}.get(body.get("op", ""), all(arms))
        sources, conditions = _flatten(body.get("fromClause", ()))
        where = tuple(w for w in (body.get("whereClause"), *conditions) if w)
        for alias in sources:
            others = {k: v for k, v in sources.items() if k != alias}
            place = evolve(
                inner, sources=others, where=where, nested=False, independence={}, level=self.level + 1
            )
            if not place.source_is_bounded(alias, sources[alias], depth + 1):
                return False
        return True

    def source_is_bounded(self, alias: str | None, source: tuple[str, Body], depth: int) -> bool:
        kind, body = source
        if kind == "RangeVar" and not self.is_cte(body):
            if not self.target.is_table(body):
                return True
            if alias is None:
                return False
            here = evolve(self, target=Target(self.target.name, alias))
            return here.all_of(here.where, False, depth) is not None
        if kind == "RangeVar":
            return self.cte_is_bounded(body, depth)
        if kind == "RangeSubselect":
            return self.bounded(body.get("subquery", {}), depth)
        return not _reads({kind: body}, self.target, self.ctes, self.budget)

    def cte_is_bounded(self, body: Body, depth: int) -> bool:
        name = body.get("relname", "")
        if not self.budget.spend(len(self.ctes)):
            return False
        without = {k: v for k, v in self.ctes.items() if k != name}
        return evolve(self, ctes=without).bounded(self.ctes[name], depth + 1)

    # -- names

    def is_cte(self, var: Body) -> bool:
        return not var.get("schemaname") and var.get("relname") in self.ctes

    def columns_of(self, var: Body) -> frozenset[str] | None:
        if self.columns is None:
            return None
        return self.columns(RelationName(var.get("schemaname") or None, var.get("relname", "")))

    def owner(self, column: Body) -> str:
        """Return whose a column is: "target", "other" (of this FROM), or "" where it cannot be told."""
        fields = column.get("fields", ())
        names = strings(fields)
        if not names or len(names) < len(fields):
            return ""
        if len(names) == 1:
            return self.unqualified(names[0])
        if names[-1] in _WHOLE_ROW_FUNCTIONS:
            return ""
        if len(names) == 2:
            if names[0] == self.target.alias:
                return "target"
            return "other" if names[0] in self.sources and self.independent(names[0]) else ""
        plain = self.target.alias == self.target.name.name and names[-2] == self.target.alias
        same = plain and self.target.name.schema in (None, names[-3])
        return "target" if same and names[-2] not in self.sources else ""

    def unqualified(self, name: str) -> str:
        if name == self.target.alias or name in self.sources:
            return ""  # the whole row
        if not self.sources and not self.nested:
            return "target"
        if self.columns is None:
            return ""
        mine = self.columns(self.target.name)
        found = "target" if mine is not None and name in mine else ""
        for alias, (kind, body) in self.sources.items():
            theirs = self.columns_of(body) if kind == "RangeVar" and not self.is_cte(body) else None
            if mine is None or theirs is None or (found and name in theirs):
                return ""
            if name in theirs:
                found = "other" if self.independent(alias) else ""
        return found

    def own(self, column: Body) -> str | None:
        if self.owner(column) != "target":
            return None
        return strings(column.get("fields"))[-1]

    def independent(self, alias: str | None) -> bool:
        """Say whether the rows of another source are not the target's own rows again."""
        known = self.independence.get(alias)
        if known is None:
            self.independence[alias] = False  # while it is being found out
            kind, body = self.sources[alias]
            if kind == "RangeVar" and not self.is_cte(body) and self.target.is_table(body):
                if alias is None or self.level > 0:
                    known = False
                else:
                    others = {k: v for k, v in self.sources.items() if k != alias}
                    there = evolve(
                        self,
                        target=Target(self.target.name, alias),
                        sources=others,
                        independence={},
                        level=1,
                        nested=True,
                    )
                    known = there.all_of(there.where, False, 0) is not None
            else:
                known = self.source_is_bounded(alias, (kind, body), 0)
            self.independence[alias] = known
        return known

    # -- expressions

    def column(self, node: Body, depth: int, *, ordered: bool = False) -> str | None:
        """Return the target's column an expression follows; ``ordered``: also in its order."""
        kind, body = unwrap(node)
        if depth > _DEPTH or not self.budget.spend():
            return None
        if kind == "ColumnRef":
            return self.own(body)
        if kind == "TypeCast":
            to = strings(body.get("typeName", {}).get("names"))
            if not to or to[-1] in ("bool", "boolean") or (len(to) > 1 and to[-2] != "pg_catalog"):
                return None  # many numbers are one truth
            return self.column(body.get("arg", {}), depth + 1, ordered=ordered)
        if kind == "CollateClause":
            return self.column(body.get("arg", {}), depth + 1, ordered=ordered)
        if kind == "CoalesceExpr":
            return self.among(body.get("args", ())[:1], body.get("args", ())[1:], depth, ordered)
        if kind == "A_Expr" and body.get("kind") == "AEXPR_OP":
            signs = ("+", "-") if ordered else ("+", "-", "->", "->>", "#>", "#>>")
            names = strings(body.get("name"))
            if names[-1] in signs and len(names) == 1:
                return self.among([body.get("lexpr", {})], [body.get("rexpr", {})], depth, ordered)
        if kind == "A_Indirection" and not ordered and not strings(body.get("indirection")):
            indexes = [n for i in body.get("indirection", ()) for n in _indexes(i)]
            return self.among([body.get("arg", {})], indexes, depth, ordered)
        if kind == "FuncCall":
            names = strings(body.get("funcname"))
            known = _ORDER_FUNCTIONS if ordered else _EQUAL_FUNCTIONS
            if names and names[-1] in known and names[:-1] in ((), ("pg_catalog",)):
                arguments = body.get("args", ())
                columns = [a for a in arguments if not self.fixed(a, depth + 1)]
                rest = [a for a in arguments if a not in columns] if len(columns) == 1 else []
                return self.among(columns, rest, depth, ordered) if len(columns) == 1 else None
        return None

    def among(self, columns: list[Body], fixed: Iterable[Body], depth: int, ordered: bool) -> str | None:
        name = self.column(columns[0], depth + 1, ordered=ordered) if columns and columns[0] else None
        return name if name and all(self.fixed(f, depth + 1) for f in fixed if f) else None

    def fixed(self, node: Body, depth: int, tested: frozenset[str] = frozenset()) -> bool:
        """Say whether an expression does not depend on the row of the target."""
        todo = [(unwrap(node), depth)]
        while todo:
            (kind, body), level = todo.pop()
            if level > _DEPTH or not self.budget.spend():
                return False
            if kind in _FIXED_LEAVES:
                continue
            if kind == "ColumnRef":
                if self.owner(body) != "other":
                    return False
            elif kind == "SubLink":
                scalar = body.get("subLinkType") == "EXPR_SUBLINK"
                if not scalar and body.get("subLinkType") != "ARRAY_SUBLINK":
                    return False
                select = body.get("subselect", {})
                if not self.result_is_fixed(select, tested or _EVERYTHING, level + 1, scalar=scalar):
                    return False
            elif kind in _FIXED_KINDS:
                todo += [(child, level + 1) for child in children(kind, body)]
            else:
                return False
        return True


class _Everything(frozenset[str]):
    """A set of names that has every name: the column under test is not known yet."""

    def __contains__(self, name: object) -> bool:
        return True


_EVERYTHING = _Everything()


def _with(body: Body, ctes: Mapping[str, Body]) -> Mapping[str, Body]:
    listed = body.get("withClause", {}).get("ctes", ())
    if not listed:
        return ctes
    own = {n["CommonTableExpr"]["ctename"]: n["CommonTableExpr"]["ctequery"] for n in listed}
    return {**ctes, **own}


def _walk(node: Body) -> Iterator[tuple[str, Body]]:
    todo = [unwrap(node)]
    while todo:
        kind, body = todo.pop()
        yield kind, body
        todo.extend(children(kind, body))


def _reads(node: Body, target: Target, ctes: Mapping[str, Body], budget: _Budget) -> bool:
    """Say whether the target's table is named anywhere in ``node`` or in the CTEs it names."""
    todo, seen = [node], set()
    while todo:
        for kind, body in _walk(todo.pop()):
            if not budget.spend():
                return True
            if kind != "RangeVar":
                continue
            name = body.get("relname", "")
            if target.is_table(body):
                return True
            if not body.get("schemaname") and name in ctes and name not in seen:
                seen.add(name)
                todo.append(ctes[name])
    return False


def _mentions(node: Body, alias: str) -> bool:
    return any(
        kind == "ColumnRef" and alias in strings(body.get("fields"))[:-1] for kind, body in _walk(node)
    ) or any(kind == "ColumnRef" and strings(body.get("fields")) == (alias,) for kind, body in _walk(node))


def _column_refs(nodes: Iterable[Body]) -> Iterator[Body]:
    for node in nodes:
        yield from (body for kind, body in _walk(node) if kind == "ColumnRef")


def _is_simple(node: Body) -> bool:
    """Say whether an output or sort key of an EXISTS can hold no aggregate."""
    kind, body = unwrap(node)
    while kind in ("ResTarget", "SortBy"):
        kind, body = unwrap(body.get("val") or body.get("node") or {})
    return kind in ("", "A_Const", "ParamRef") or (
        kind == "ColumnRef" and (len(body.get("fields", ())) == 1 or "A_Star" in body["fields"][-1])
    )


def _indexes(node: Body) -> list[Body]:
    body = node.get("A_Indices", {})
    return [body[k] for k in ("lidx", "uidx") if k in body]


def _limits(node: Body) -> bool:
    kind, body = unwrap(node)
    return kind == "ParamRef" or (kind == "A_Const" and not body.get("isnull"))


def _integer(node: Body) -> int | None:
    value = node["A_Const"].get("ival") if "A_Const" in node else None
    return None if value is None else int(value.get("ival", 0))


def _truth(node: Body) -> str | None:
    """Return "true" or "false" where a constant can be a boolean value, however it is written."""
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    constant = node.get("A_Const", {})
    if "boolval" in constant:
        return "true" if constant["boolval"].get("boolval") else "false"
    return _TRUTHS.get(constant["sval"].get("sval", "").strip().lower()) if "sval" in constant else None


def _is_something(node: Body) -> bool:
    """Say whether an array or document is certainly not empty, so that ``@>`` it says something."""
    text = literal(node)
    if text is not None:
        return bool(text.strip("{}[]() \t\r\n,"))
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg", {})
    return bool(node.get("A_ArrayExpr", {}).get("elements"))

"""Whether the WHERE of an UPDATE or DELETE restricts the rows of its target: a proof, or no.

The rule. A condition *restricts* when it follows from its form alone that it says something about each
row of the target:

- a column of the target ``=`` something fixed, ``IN`` a list of fixed things, ``= ANY`` of a fixed array
  or of a sub-select, ``BETWEEN`` fixed bounds, ``LIKE`` a literal pattern with a letter or digit in it,
  ``IS NULL``, ``IS NOT DISTINCT FROM`` something fixed, ``&&``, ``@>`` something that is not empty;
- a column ``<``, ``<=``, ``>``, ``>=`` something fixed that leaves something out (``ends.py``: not
  ``id > 0`` nor ``made_at < '9999-12-31'``); how much it leaves is for row caps to say;
- a boolean column by itself, negated, or ``IS TRUE``/``FALSE``/``UNKNOWN``;
- ``WHERE CURRENT OF``, ``WHERE false``; ``EXISTS`` of a sub-select whose own WHERE restricts the target;
- an AND of which one part restricts; an OR of which every part does and which does not take a column
  from both sides (``x < 5 OR x >= 5``, ``b OR NOT b``); a NOT of which, by De Morgan, the same is true.

*Column*: unqualified where the target is the only relation, else qualified by its name or alias; also
cast (not to a boolean), ``date(c)``, ``date_trunc('...', c)``, ``c + 1``, ``coalesce(c, fixed)``, and for
equality ``lower(c)``, ``c ->> 'key'`` and their kin. Never the whole row, nor tableoid, xmin and their kin.

*Fixed*: constants, parameters, functions and operators of fixed things, a sub-select whose result
cannot be the row's own column, and a column of another relation. The target's table can come up again
there, and every row meets itself: for ``=`` one value of it is fixed, and rows of it that are limited or
restricted themselves; for ``<`` and ``>`` nothing of it is (all of it is below its greatest).
A column that the target refers to by a foreign key holds every value there is, unless its rows are
restricted, too: a join with the whole parent, or ``IN`` all of its keys, leaves nothing out.

Everything else is unproven: ``<>``, ``NOT IN``, ``IS NOT NULL``, ``NOT EXISTS``, ``ALL``, ``x = x``, regular
expressions, patterns in parameters, functions of columns, names that could mean another relation's
column. Given what columns relations have, names are told apart that the text alone leaves open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from governed_db.statement.constants import (
    both_truths,
    calls,
    integer,
    is_array,
    is_end,
    is_something,
    lists_all,
    truth,
)
from governed_db.statement.ends import leaves_all, lists_span
from governed_db.statement.fixed import BOUND, DEPTH, MEMBERS, VALUE, Place, Proof
from governed_db.statement.nodes import Body, literal, strings, unwrap
from governed_db.statement.sources import Columns, CTEs, Target, flatten, is_simple, with_own

POINT: Proof = frozenset()

_OPPOSITE = {"<": ">", ">": "<", "true": "false", "false": "true"}
_NEGATED = {"=": "<>", "<>": "=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"=": "=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def constrains(body: Body, ctes: CTEs, columns: Columns | None = None) -> bool:
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
    sources, conditions = flatten([*body.get("fromClause", ()), *body.get("usingClause", ())])
    place = _Conditions(
        target=Target.of(body["relation"]),
        sources=sources,
        ctes=ctes,
        closed=ctes,
        columns=columns,
        where=(where, *conditions),
    )
    return place.all_of(place.where, False, 0) is not None


def bounded_by(node: Body, target: Target, ctes: CTEs, columns: Columns | None = None) -> bool:
    """Say whether a query's rows are provably not one for each row of ``target``."""
    place = _Conditions(target=target, sources={}, ctes=ctes, closed=ctes, columns=columns, where=())
    return place.bounded(node, 0)


@frozen
class _Conditions(Place):
    """Proofs of conditions; what they are about is in :class:`Place`."""

    def restricts(self, body: Body) -> bool:
        return constrains(body, with_own(body, self.ctes), self.columns)

    def prove(self, node: Body, negated: bool, depth: int) -> Proof | None:
        kind, body = unwrap(node)
        if depth > DEPTH or not self.budget.spend():
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
            return self.boolean(body, negated, depth)
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

    def boolean(self, body: Body, negated: bool, depth: int) -> Proof | None:
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
            # Every e-mail address has an @, every uuid a hyphen: a sign alone says nothing.
            says = pattern is not None and any(c.isalnum() for c in pattern)
            holds = says and sign.startswith("!") == negated
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
            if both_truths(right) or calls(right, "enum_range"):
                return None
            return self.compare(sign, left, right, depth, MEMBERS)
        if kind == "AEXPR_OP_ALL" and right.get("A_ArrayExpr", {}).get("elements"):
            return self.compare(sign, left, right, depth, MEMBERS)  # of an empty array ALL is true
        return None

    def compare(self, sign: str, left: Body, right: Body, depth: int, use: str = VALUE) -> Proof | None:
        """Prove ``left sign right``; ``use`` is what the fixed side of an equality is to the column."""
        if "RowExpr" in left and "RowExpr" in right:
            return self.rows(sign, left["RowExpr"].get("args", ()), right["RowExpr"].get("args", ()), depth)
        if sign in ("&&", "@>"):
            some = is_array(right) if sign == "&&" else is_something(right)
            return POINT if some and self.column(left, depth) and self.fixed(right, depth) else None
        numbers = integer(left), integer(right)
        if None not in numbers:  # ORMs write 1 = 0 for "no rows"
            false = {"=": numbers[0] != numbers[1], "<>": numbers[0] == numbers[1]}.get(sign, False)
            return POINT if false else None
        if sign not in _MIRRORED:
            return None
        ordered = sign != "="
        for here, there, side in ((left, right, sign), (right, left, _MIRRORED[sign])):
            name = self.column(here, depth, ordered=ordered)
            if not name or (ordered and (is_end(there) or leaves_all(side, name, here, there))):
                continue
            if not ordered and self.meets_all(name, there, depth):
                continue
            if self.fixed(there, depth, frozenset({name}), BOUND if ordered else use):
                said = None if ordered else truth(there)
                return frozenset({(name, said or side[0])}) if said or ordered else POINT
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
            held = all(self.fixed(b, depth, frozenset({name}), BOUND) for b in bounds)
            held = held and not any(is_end(b) for b in bounds)
            ends = zip((">=", "<="), bounds, strict=True)
            held = held and not all(leaves_all(sign, name, left, b) for sign, b in ends)
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
        if not name or not all(self.fixed(i, depth, frozenset({name}), VALUE) for i in items):
            return None
        if lists_span(left, items):
            return None
        truths = {truth(i) for i in items}
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
        if not self.result_is_fixed(select, frozenset(tested), depth + 1, BOUND if ordered else MEMBERS):
            return None
        if not ordered and (lists_all(select) or any(self.holds_all(n, select, depth) for n in tested)):
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
            if any(not is_simple(n) for n in select.get(part, ())):
                return None
        sources, conditions = flatten(select.get("fromClause", ()))
        if self.target.alias in sources:
            return None
        inner = evolve(
            self,
            sources={**self.sources, **sources},
            ctes=with_own(select, self.ctes),
            where=(select["whereClause"], *conditions),
            nested=True,
            standings={},
        )
        return inner.all_of(inner.where, False, depth + 1)

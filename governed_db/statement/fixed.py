"""Which column of the target an expression follows, and which expressions do not depend on it."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, field, frozen

from governed_db.statement.constants import integer
from governed_db.statement.facts import RelationName
from governed_db.statement.nodes import Body, children, everything, strings, unwrap, words
from governed_db.statement.sources import (
    Budget,
    Columns,
    CTEs,
    Sources,
    Target,
    column_refs,
    flatten,
    is_cte,
    limits,
    mentions,
    output_names,
    reads,
    with_own,
    without,
)

Proof = frozenset[tuple[str, str]]
"""What a condition rests on: the sides ("<", ">", "true", "false") it takes of columns; empty if none."""

DEPTH = 60
"""Conditions nested deeper than people write them are not proven."""

_LEVELS = 3
"""Joins through foreign keys of foreign keys that are followed; further ones are taken for whole tables."""

BUDGET = 500_000
"""Nodes looked at in one proof; the costliest honest statement is a list of 150,000 constants."""

# How a fixed thing is compared with the column. One value may come from the target's own table; a set of
# members may if it is limited or restricted; a bound may not: everything is below the greatest.
VALUE, MEMBERS, BOUND = "value", "members", "bound"

_WHOLE_ROW_FUNCTIONS = words(
    """pg_typeof num_nulls num_nonnulls pg_column_size pg_column_compression pg_collation_for to_json
    to_jsonb row_to_json json_build_array jsonb_build_array json_agg jsonb_agg array_agg count concat
    quote_literal quote_nullable hash_record hashrecord record_out record_send format"""
)
"""``t.num_nonnulls`` is a call with the row: functions of pg_catalog that take any type or a record."""

_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "xmax", "cmin", "cmax"})
"""These can be the same in all rows of a table."""

_EQUAL_FUNCTIONS = words(
    """lower upper initcap length char_length octet_length md5 abs reverse date date_trunc date_part
    extract timezone"""
)
"""Functions whose value differs with the column's, so that ``f(c) = fixed`` says something of c."""

_ORDER_FUNCTIONS = frozenset({"date", "date_trunc", "date_part", "extract", "timezone"})

_CASTS = words(
    """text varchar name citext int2 int4 int8 numeric float4 float8 date timestamp timestamptz time
    timetz uuid json jsonb inet"""
)
"""Types a column can be cast to without all of its values becoming one (a boolean, a char(1) do that)."""

_FIXED_KINDS = words(
    """A_ArrayExpr A_Expr A_Indices A_Indirection BoolExpr CaseExpr CaseWhen CoalesceExpr CollateClause
    FuncCall List MinMaxExpr NamedArgExpr NullTest RowExpr TypeCast JsonObjectConstructor
    JsonArrayConstructor JsonValueExpr JsonKeyValue JsonOutput JsonReturning JsonScalarExpr
    JsonParseExpr"""
)
_FIXED_LEAVES = frozenset({"A_Const", "ParamRef", "SQLValueFunction", "TypeName", "String", "JsonFormat"})


class _AnyName(frozenset[str]):
    """Every name: for places where the column under test is not known."""

    def __contains__(self, name: object) -> bool:
        return True


ANY_NAME = _AnyName()


@frozen
class Place:
    """One WHERE: whose rows it is to restrict, and what its names can mean.

    Attributes:
        target: whose rows.
        sources: the other relations whose columns can be named.
        ctes: queries of the CTEs visible here; those in ``closed`` stand at the statement's own level,
            where nothing can refer to the target's row.
        where: the AND-ed conditions that hold together.
        nested: whether this is a sub-select, where more relations than ``sources`` may be in reach.
        level: how many proofs about other uses of the target's table this one is part of.
    """

    target: Target
    sources: Sources
    ctes: CTEs
    closed: CTEs
    columns: Columns | None
    where: tuple[Body, ...]
    nested: bool = False
    level: int = 0
    budget: Budget = field(factory=lambda: Budget(BUDGET))
    standings: dict[str | None, str] = field(factory=dict)

    # What the conditions module adds: a proof of AND-ed conditions, of a whole UPDATE or DELETE.

    def all_of(self, nodes: Iterable[Body], negated: bool, depth: int) -> Proof | None:  # noqa: D102
        raise NotImplementedError

    def restricts(self, body: Body) -> bool:  # noqa: D102
        raise NotImplementedError

    # -- names

    def columns_of(self, var: Body) -> frozenset[str]:
        """Return what a relation is known to have."""
        name = RelationName(var.get("schemaname") or None, var.get("relname", ""))
        return (self.columns(name) if self.columns is not None else None) or frozenset()

    def target_columns(self) -> frozenset[str]:
        """Return what the target is known to have."""
        return (self.columns(self.target.name) if self.columns is not None else None) or frozenset()

    def owner(self, column: Body, use: str = VALUE) -> str:
        """Return whose a column is: "target", "other" (to be used so), or "" where it cannot be told."""
        fields = column.get("fields", ())
        names = strings(fields)
        if not names or len(names) < len(fields):
            return ""
        if len(names) == 1:
            return self.unqualified(names[0], use)
        if names[-1] in _WHOLE_ROW_FUNCTIONS:
            return ""
        if len(names) == 2:
            if names[0] == self.target.alias:
                return "target"
            return "other" if names[0] in self.sources and self.serves(names[0], use) else ""
        plain = self.target.alias == self.target.name.name and names[-2] == self.target.alias
        same = plain and self.target.name.schema in (None, names[-3])
        return "target" if same and names[-2] not in self.sources else ""

    def unqualified(self, name: str, use: str) -> str:
        """Return whose an unqualified column is."""
        if name == self.target.alias or name in self.sources:
            return ""  # the whole row
        if not self.sources and not self.nested:
            return "target"
        mine = self.columns(self.target.name) if self.columns is not None else None
        if mine is None:
            return ""
        found = "target" if name in mine else ""
        for alias, (kind, body) in self.sources.items():
            theirs = self.columns_of(body) if kind == "RangeVar" and not is_cte(body, self.ctes) else None
            if not theirs or (found and name in theirs):
                return ""
            if name in theirs:
                found = "other" if self.serves(alias, use) else ""
        return found

    def own(self, column: Body) -> str | None:
        """Return the name of a column of the target, or ``None``."""
        if self.owner(column) != "target":
            return None
        name = strings(column.get("fields"))[-1]
        return None if name in _SYSTEM_COLUMNS else name

    def serves(self, alias: str | None, use: str) -> bool:
        """Say whether columns of another source are fixed enough for a use."""
        standing = self.standings.get(alias)
        if standing is None:
            self.standings[alias] = "same"  # while it is being found out
            standing = self.standings[alias] = self.standing(alias)
        return standing == "apart" or (standing == "part" and use != BOUND)

    def standing(self, alias: str | None) -> str:
        """Return "same" if a source may be the target's rows again, "part" if some of them, or "apart"."""
        kind, body = self.sources[alias]
        if self.nested and not self.source_is_closed(kind, body, 0):
            return "same"
        if not reads({kind: body}, self.target, self.ctes, self.budget):
            return "apart"
        if kind != "RangeVar" or is_cte(body, self.ctes):
            return "part" if self.source_is_bounded(alias, (kind, body), 0) else "same"
        if alias is None or self.level > 0:
            return "same"
        there = evolve(
            self,
            target=Target(self.target.name, alias),
            sources={k: v for k, v in self.sources.items() if k != alias},
            standings={},
            level=1,
            nested=True,
        )
        return "part" if there.all_of(there.where, False, 0) is not None else "same"

    def meets_all(self, name: str, node: Body, depth: int) -> bool:
        """Say whether every row finds its own value of a foreign key in what ``node`` takes from its parent.

        A join with the whole table that a column refers to leaves out nothing but NULL.
        """
        kind, body = unwrap(node)
        if self.columns is None or kind not in ("ColumnRef", "SubLink"):
            return False
        if kind == "SubLink":
            array = body.get("subLinkType") == "ARRAY_SUBLINK"
            return array and self.holds_all(name, body.get("subselect", {}), depth)
        names = strings(body.get("fields"))
        for alias, (source_kind, source) in self.sources.items():
            qualified = len(names) > 1 and names[-2] == alias
            bare = len(names) == 1 and (source_kind != "RangeVar" or names[0] in self.columns_of(source))
            if (qualified or bare) and self.source_holds_all(name, names[-1], alias, depth):
                return True
        return False

    def source_holds_all(self, name: str, column: str, alias: str | None, depth: int) -> bool:
        """Say the same of one source."""
        kind, source = self.sources[alias]
        if kind != "RangeVar" or is_cte(source, self.ctes):
            return self.holds_all(name, {kind: source}, depth, alias)
        assert self.columns is not None
        for parent, key in self.columns.parents(self.target.name, name):
            if key != column or not Target(parent, parent.name).is_table(source):
                continue
            if alias is None or self.level >= _LEVELS:
                return True
            there = evolve(
                self,
                target=Target(parent, alias),
                sources={k: v for k, v in self.sources.items() if k != alias},
                standings={},
                level=self.level + 1,
                nested=True,
            )
            if there.all_of(there.where, False, depth) is None:
                return True
        return False

    def holds_all(self, name: str, node: Body, depth: int, alias: str | None = None) -> bool:
        """Say whether a query may return every value of what a column of the target refers to."""
        if self.columns is None:
            return False
        for parent, _ in self.columns.parents(self.target.name, name):
            there = evolve(self, target=Target(parent, parent.name), standings={}, level=self.level + 1)
            if not reads(node, there.target, self.ctes, self.budget):
                continue
            if self.level >= _LEVELS:
                return True
            held = (
                there.bounded(node, depth)
                if alias is None
                else there.source_is_bounded(alias, unwrap(node), depth)
            )
            if not held:
                return True
        return False

    # -- expressions

    def column(self, node: Body, depth: int, *, ordered: bool = False) -> str | None:
        """Return the target's column an expression follows; ``ordered``: also in its order."""
        kind, body = unwrap(node)
        if depth > DEPTH or not self.budget.spend():
            return None
        if kind == "ColumnRef":
            name = self.own(body)
            return None if ordered and name == "ctid" else name
        if kind == "TypeCast":
            wanted = body.get("typeName", {})
            names = strings(wanted.get("names"))
            plain = names and names[-1] in _CASTS and names[:-1] in ((), ("pg_catalog",), ("public",))
            if not plain or "typmods" in wanted or "arrayBounds" in wanted:
                return None
            return self.column(body.get("arg", {}), depth + 1, ordered=ordered)
        if kind == "CollateClause":
            return self.column(body.get("arg", {}), depth + 1, ordered=ordered)
        if kind == "CoalesceExpr":
            arguments = body.get("args", ())
            return self.among(arguments[:1], arguments[1:], depth, ordered)
        if kind == "A_Expr" and body.get("kind") == "AEXPR_OP":
            names, right = strings(body.get("name")), body.get("rexpr", {})
            # Adding infinity, or a number a float cannot tell from its sum, makes all values one.
            shifts = names in (("+",), ("-",)) and abs(integer(right) or 1 << 40) < 1 << 31
            if shifts or (not ordered and names in (("->",), ("->>",), ("#>",), ("#>>",))):
                return self.among([body.get("lexpr", {})], [right], depth, ordered)
        if kind == "A_Indirection" and not ordered and not strings(body.get("indirection")):
            slices = [i.get("A_Indices", {}) for i in body.get("indirection", ())]
            indexes = [s[k] for s in slices for k in ("lidx", "uidx") if k in s]
            return self.among([body.get("arg", {})], indexes, depth, ordered)
        if kind == "FuncCall":
            names = strings(body.get("funcname"))
            known = _ORDER_FUNCTIONS if ordered else _EQUAL_FUNCTIONS
            if names and names[-1] in known and names[:-1] in ((), ("pg_catalog",)):
                arguments = body.get("args", ())
                moving = [a for a in arguments if not self.fixed(a, depth + 1)]
                return self.among(moving, (), depth, ordered) if len(moving) == 1 else None
        return None

    def among(self, columns: list[Body], fixed: Iterable[Body], depth: int, ordered: bool) -> str | None:
        """Return the column that ``columns[0]`` follows, if ``fixed`` are all fixed."""
        name = self.column(columns[0], depth + 1, ordered=ordered) if columns and columns[0] else None
        return name if name and all(self.fixed(f, depth + 1) for f in fixed if f) else None

    def fixed(self, node: Body, depth: int, tested: frozenset[str] = ANY_NAME, use: str = MEMBERS) -> bool:
        """Say whether an expression does not depend on the row of the target.

        Args:
            node: the expression.
            depth: how deep this question is.
            tested: the columns it is compared with.
            use: what it is to them: VALUE, MEMBERS or BOUND.
        """
        todo = [(*unwrap(node), depth)]
        while todo:
            kind, body, level = todo.pop()
            if level > DEPTH or not self.budget.spend():
                return False
            if kind in _FIXED_LEAVES:
                continue
            if kind == "ColumnRef":
                if self.owner(body, use) != "other":
                    return False
            elif kind == "SubLink":
                scalar = body.get("subLinkType") == "EXPR_SUBLINK"
                if not scalar and body.get("subLinkType") != "ARRAY_SUBLINK":
                    return False
                inner_use = use if scalar or use == BOUND else MEMBERS
                if not self.result_is_fixed(body.get("subselect", {}), tested, level + 1, inner_use):
                    return False
            elif kind in _FIXED_KINDS:
                todo += [(k, b, level + 1) for k, b in children(kind, body)]
            else:
                return False
        return True

    # -- sub-selects

    def result_is_fixed(self, node: Body, tested: frozenset[str], depth: int, use: str) -> bool:
        """Say whether what a sub-select returns cannot be, for each row, the row's own column."""
        _, select = unwrap(node)
        if not self.is_closed(node, tested, depth):
            return False
        ctes = with_own(select, self.ctes)
        if not reads(node, self.target, ctes, self.budget):
            return True
        if use == BOUND:
            return False
        if use == VALUE and select.get("op") == "SETOP_NONE":
            # One value of the table; unless each row looks itself up. Where the FROM has the table itself
            # and nothing but tables, no unqualified name can reach out of it.
            sources, _ = flatten(select.get("fromClause", ()))
            tables = [b for k, b in sources.values() if k == "RangeVar" and not is_cte(b, ctes)]
            inner = len(tables) == len(sources) and any(self.target.is_table(b) for b in tables)
            if inner and (self.target.alias in sources or not mentions(node, self.target.alias)):
                return True
        return self.bounded(node, depth + 1)

    def is_closed(self, node: Body, tested: frozenset[str], depth: int) -> bool:
        """Say whether the columns of a sub-select come from inside of it."""
        kind, select = unwrap(node)
        if kind != "SelectStmt" or depth > DEPTH or not self.budget.spend():
            return False
        inner = evolve(self, ctes=with_own(select, self.ctes), standings={})
        if select.get("op") != "SETOP_NONE":
            arms = ({"SelectStmt": select.get("larg", {})}, {"SelectStmt": select.get("rarg", {})})
            return all(inner.is_closed(a, tested, depth + 1) for a in arms)
        outputs = [i for n in select.get("valuesLists", ()) for i in n.get("List", {}).get("items", ())]
        outputs += [n["ResTarget"].get("val", {}) for n in select.get("targetList", ()) if "ResTarget" in n]
        if not select.get("fromClause"):
            return all(inner.fixed(o, depth + 1, tested) for o in outputs)
        sources, _ = flatten(select["fromClause"])
        return all(inner.source_is_closed(k, b, depth + 1, tested) for k, b in sources.values()) and all(
            inner.output_is_inner(c, sources, tested) for c in column_refs(outputs)
        )

    def source_is_closed(self, kind: str, body: Body, depth: int, tested: frozenset[str] = ANY_NAME) -> bool:
        """Say whether a source of a sub-select holds nothing of the target's row: LATERAL is implicit."""
        if kind == "RangeVar":
            name = body.get("relname", "")
            if not is_cte(body, self.ctes) or self.ctes[name] is self.closed.get(name):
                return True
            if not self.budget.spend(len(self.ctes)):
                return False
            return evolve(self, ctes=without(name, self.ctes)).is_closed(self.ctes[name], tested, depth + 1)
        if kind == "RangeSubselect":
            return self.is_closed(body.get("subquery", {}), tested, depth + 1)
        if kind == "JoinExpr":
            return True  # its parts are looked at by themselves
        return not any(k in ("ColumnRef", "SubLink") for k, _ in everything({kind: body}))

    def output_is_inner(self, column: Body, sources: Sources, tested: frozenset[str]) -> bool:
        """Say whether a column in the outputs of a sub-select is one of its own FROM."""
        fields = column.get("fields", ())
        names = strings(fields)
        if len(names) < len(fields):  # a star: of everything inside, or of one relation
            return not names or names[-1] in sources
        if len(names) > 1:
            return names[-2] in sources or self.owner(column) == "other"
        if not names or names[0] in sources:
            return names[0] != self.target.alias if names else True
        if names[0] not in tested and names[0] not in self.target_columns():
            return names[0] != self.target.alias
        # A name that the target's row has as well: inner only if something inside has it.
        for kind, body in sources.values():
            if kind == "RangeVar" and is_cte(body, self.ctes):
                known = output_names(self.ctes[body["relname"]])
            elif kind == "RangeVar":
                known = frozenset(names) if self.target.is_table(body) else self.columns_of(body)
            elif kind == "RangeSubselect":
                known = output_names(body.get("subquery", {}), body.get("alias"))
            else:
                known = frozenset(strings(body.get("alias", {}).get("colnames")))
            if names[0] in known:
                return True
        return False

    def bounded(self, node: Body, depth: int) -> bool:
        """Say whether a query either does not read the target's table, or provably not all of it."""
        kind, body = unwrap(node)
        if not reads(node, self.target, self.ctes, self.budget):
            return True
        if depth > DEPTH or self.budget.left <= 0:
            return False
        if kind in ("UpdateStmt", "DeleteStmt"):
            return self.restricts(body)
        if kind != "SelectStmt" or body.get("valuesLists"):
            return False
        if limits(body.get("limitCount", {})):
            return True
        inner = evolve(self, ctes=with_own(body, self.ctes), standings={})
        if body.get("op") != "SETOP_NONE":
            arms = [inner.bounded({"SelectStmt": body.get(s, {})}, depth + 1) for s in ("larg", "rarg")]
            return {"SETOP_INTERSECT": any(arms), "SETOP_EXCEPT": arms[0]}.get(body.get("op", ""), all(arms))
        sources, conditions = flatten(body.get("fromClause", ()))
        where = tuple(w for w in (body.get("whereClause"), *conditions) if w)
        for alias, source in sources.items():
            others = {k: v for k, v in sources.items() if k != alias}
            place = evolve(
                inner, sources=others, where=where, nested=False, standings={}, level=self.level + 1
            )
            if not place.source_is_bounded(alias, source, depth + 1):
                return False
        return True

    def source_is_bounded(self, alias: str | None, source: tuple[str, Body], depth: int) -> bool:
        """Say the same of a source, under the conditions of this place."""
        kind, body = source
        if kind == "RangeVar" and is_cte(body, self.ctes):
            name = body.get("relname", "")
            if not self.budget.spend(len(self.ctes)):
                return False
            return evolve(self, ctes=without(name, self.ctes)).bounded(self.ctes[name], depth + 1)
        if kind == "RangeVar":
            if not self.target.is_table(body):
                return True
            here = evolve(self, target=Target(self.target.name, alias or ""), standings={})
            return alias is not None and here.all_of(here.where, False, depth) is not None
        if kind == "RangeSubselect":
            return self.bounded(body.get("subquery", {}), depth)
        return kind == "JoinExpr" or not reads({kind: body}, self.target, self.ctes, self.budget)

"""Looking at FROM clauses and expressions for :mod:`governed_db.statement.constrain`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import field, frozen

from governed_db.statement.facts import RelationName
from governed_db.statement.nodes import Body, everything, strings, unwrap

Key = tuple[RelationName, str]
"""A column of a relation."""


@frozen
class Columns:
    """What a catalog can tell of relations.

    Attributes:
        of: answers which columns a relation has; ``None`` where it is not known.
        parents: answers which columns of other relations hold every value of a column, because it is a
            foreign key to them.
    """

    of: Callable[[RelationName], frozenset[str] | None]
    parents: Callable[[RelationName, str], Iterable[Key]] = field(default=lambda _relation, _column: ())

    def __call__(self, name: RelationName) -> frozenset[str] | None:
        """Return the columns of a relation."""
        return self.of(name)


Sources = dict[str | None, tuple[str, Body]]
"""What a FROM joins, by the name it gives it; several without a name are kept as one."""

CTEs = Mapping[str, Body]


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
        return same and bool(var.get("relname") == self.name.name)


class Budget:
    """How many nodes may still be looked at; a proof that costs more is no proof."""

    def __init__(self, nodes: int) -> None:
        self.left = nodes

    def spend(self, nodes: int = 1) -> bool:
        """Take some, and say whether there was enough."""
        self.left -= nodes
        return self.left > 0


def flatten(nodes: Iterable[Body]) -> tuple[Sources, list[Body]]:
    """Return the sources of a FROM, and the conditions of its inner joins."""
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


def is_cte(var: Body, ctes: CTEs) -> bool:
    """Say whether a RangeVar names a CTE; a name with a schema never does."""
    return not var.get("schemaname") and var.get("relname") in ctes


def with_own(body: Body, ctes: CTEs) -> CTEs:
    """Return ``ctes`` with those of a statement's own WITH."""
    listed = body.get("withClause", {}).get("ctes", ())
    if not listed:
        return ctes
    own = {n["CommonTableExpr"]["ctename"]: n["CommonTableExpr"]["ctequery"] for n in listed}
    return {**ctes, **own}


def without(name: str, ctes: CTEs) -> CTEs:
    """Return ``ctes`` without one: what a CTE says of itself adds nothing."""
    return {k: v for k, v in ctes.items() if k != name}


def reads(node: Body, target: Target, ctes: CTEs, budget: Budget) -> bool:
    """Say whether the target's table is named anywhere in ``node``, or in the CTEs it names."""
    todo, seen = [node], set()
    while todo:
        for kind, body in everything(todo.pop()):
            if not budget.spend():
                return True
            if kind != "RangeVar":
                continue
            if target.is_table(body):
                return True
            name = body.get("relname", "")
            if is_cte(body, ctes) and name not in seen:
                seen.add(name)
                todo.append(ctes[name])
    return False


def mentions(node: Body, alias: str) -> bool:
    """Say whether a column, or the whole row, of ``alias`` is used anywhere in ``node``."""
    for body in column_refs([node]):
        names = strings(body.get("fields"))
        if (
            alias in names[:-1]
            or names == (alias,)
            or (names[-1:] == (alias,) and len(body["fields"]) > len(names))
        ):
            return True
    return False


def column_refs(nodes: Iterable[Body]) -> Iterator[Body]:
    """Yield every ColumnRef."""
    for node in nodes:
        yield from (body for kind, body in everything(node) if kind == "ColumnRef")


def output_names(node: Body, alias: Body | None = None) -> frozenset[str]:
    """Return the names of a query's columns as far as its text tells them."""
    kind, body = unwrap(node)
    while kind == "SelectStmt" and "larg" in body:
        body = body["larg"]
    listed = body.get("targetList" if kind == "SelectStmt" else "returningList", ())
    found = []
    for target in (n.get("ResTarget", {}) for n in listed):
        names = strings(target.get("val", {}).get("ColumnRef", {}).get("fields"))
        found.append(target.get("name") or (names[-1] if names else ""))
    renamed = strings((alias or {}).get("colnames"))
    return frozenset([*renamed, *found[len(renamed) :]]) - {""}


def is_simple(node: Body) -> bool:
    """Say whether an output or sort key of an EXISTS can hold no aggregate."""
    kind, body = unwrap(node)
    while kind in ("ResTarget", "SortBy"):
        kind, body = unwrap(body.get("val") or body.get("node") or {})
    if kind == "ColumnRef":
        return len(body.get("fields", ())) == 1 or "A_Star" in body["fields"][-1]
    return kind in ("", "A_Const", "ParamRef")


LIMIT = 1000
"""The largest LIMIT that says "some of them": the most rows a preset lets anybody write unasked."""


def limits(node: Body) -> bool:
    """Say whether a LIMIT is one; LIMIT ALL, LIMIT NULL and LIMIT 1000000 are not."""
    kind, body = unwrap(node)
    if kind == "A_Const" and "ival" in body:
        return int(body["ival"].get("ival", 0)) <= LIMIT
    return kind == "ParamRef"

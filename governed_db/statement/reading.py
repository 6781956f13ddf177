"""What is collected while a tree is read, and where in it the reader stands."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cached_property

from attrs import evolve, field, frozen

from governed_db.statement.facts import Access, Effect, EffectKind, FunctionRef, RelationName, RelationRef
from governed_db.statement.nodes import Body, unwrap
from governed_db.statement.sources import Columns


@frozen
class Scope:
    """What a place in the tree inherits from the places above it.

    Attributes:
        ctes: the common table expressions visible here, by name, with the query of each.
        runs: whether what stands here is executed by this statement; not so below a plain EXPLAIN and
            in the body of a view, rule or function that is being defined.
        note: how it comes to be executed, for :attr:`Effect.note`.
        location: of the nearest thing above that has one, in bytes.
    """

    ctes: Mapping[str, Body] = field(factory=dict)
    runs: bool = True
    note: str = ""
    location: int = -1

    def noting(self, note: str) -> Scope:
        """Return this scope with ``note`` before the one it has."""
        return evolve(self, note=f"{note}, {self.note}" if self.note else note)

    def at_rest(self) -> Scope:
        """Return this scope for things that do not run."""
        return evolve(self, runs=False)


Work = tuple[str, Body, Scope]


class Locations:
    """From libpg_query's offsets into UTF-8 to characters of the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._same = text.isascii()

    @cached_property
    def _starts(self) -> list[int]:
        return [i for i, byte in enumerate(self._text.encode()) if byte & 0xC0 != 0x80]

    def characters(self, offset: int) -> int:
        """Return the character that starts at byte ``offset``; -1 stays -1."""
        return offset if offset < 0 or self._same else bisect_left(self._starts, offset)


class Reading:
    """The facts found so far. Handlers add to it; nothing is ever taken away."""

    def __init__(self, text: str, columns: Columns | None = None) -> None:
        self.locations = Locations(text)
        self.columns = columns
        self.effects: list[Effect] = []
        self.relations: list[RelationRef] = []
        self.functions: list[FunctionRef] = []
        self.parameters = 0
        self.unknown: dict[str, None] = {}

    def effect(
        self,
        kind: EffectKind,
        scope: Scope,
        *,
        target: Body | RelationName | None = None,
        name: str = "",
        constrained: bool | None = None,
        rows: int | None = None,
        note: str = "",
    ) -> None:
        """Add an effect, if what ``scope`` covers is executed at all."""
        if not scope.runs:
            return
        location = scope.location
        if isinstance(target, dict):
            location = target.get("location", -1)
            target = relation_name(target)
        self.effects.append(
            Effect(
                kind=kind,
                target=target,
                name=name,
                constrained=constrained,
                rows=rows,
                note=", ".join(n for n in (note, scope.note) if n),
                location=self.locations.characters(location),
            )
        )

    def relation(self, var: Body | RelationName, access: Access, scope: Scope) -> None:
        """Add a use of a relation; what does not run is at most read."""
        location = var.get("location", -1) if isinstance(var, dict) else scope.location
        name = relation_name(var) if isinstance(var, dict) else var
        if not scope.runs and access is not Access.DEFINE:
            access = Access.READ
        self.relations.append(RelationRef(name, access, self.locations.characters(location)))

    def function(
        self, names: tuple[str, ...], arguments: int, how: str, location: int, *, certain: bool = True
    ) -> None:
        """Add a call of the function (operator, type) with this dotted name."""
        if not names:
            return
        schema = names[-2] if len(names) > 1 else None
        at = self.locations.characters(location)
        self.functions.append(FunctionRef(schema, names[-1], arguments, how, at, certain))


def relation_name(var: Body) -> RelationName:
    """Return the name a RangeVar holds."""
    return RelationName(var.get("schemaname") or None, var.get("relname", ""))


class _Earlier(Mapping[str, Body]):
    """The CTEs of one WITH up to one of them, without a copy for each."""

    def __init__(self, outer: Mapping[str, Body], own: dict[str, tuple[int, Body]], stop: int) -> None:
        self._outer, self._own, self._stop = outer, own, stop

    def __getitem__(self, name: str) -> Body:
        found = self._own.get(name)
        return found[1] if found is not None and found[0] < self._stop else self._outer[name]

    def __contains__(self, name: object) -> bool:
        found = self._own.get(name)  # type: ignore[call-overload]  # any object is as good as a missing name
        return (found is not None and found[0] < self._stop) or name in self._outer

    def __iter__(self) -> Iterator[str]:
        yield from {*self._outer, *(n for n, (at, _) in self._own.items() if at < self._stop)}

    def __len__(self) -> int:
        return sum(1 for _ in self)


def with_ctes(body: Body, scope: Scope) -> tuple[Scope, list[Work]]:
    """Return the scope of a statement below its WITH, and the WITH's queries to read before it.

    A query sees the ones before it, and with RECURSIVE all of them; the statement sees all.
    """
    clause = body.get("withClause")
    if not clause:
        return scope, []
    ctes = [node["CommonTableExpr"] for node in clause.get("ctes", ())]
    everything = {**scope.ctes, **{c["ctename"]: c["ctequery"] for c in ctes}}
    own = {c["ctename"]: (at, c["ctequery"]) for at, c in enumerate(ctes)}
    work: list[Work] = []
    for at, cte in enumerate(ctes):
        here = everything if clause.get("recursive") else _Earlier(scope.ctes, own, at)
        inner = evolve(scope, ctes=here, location=cte.get("location", -1))
        kind, query = unwrap(cte["ctequery"])
        work.append((kind, query, inner if kind == "SelectStmt" else inner.noting("in a CTE")))
        work.append(("CommonTableExpr", {k: v for k, v in cte.items() if k != "ctequery"}, inner))
    return evolve(scope, ctes=everything), work

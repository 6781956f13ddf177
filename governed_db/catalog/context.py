"""What one binding gathers on its way through a statement."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from governed_db.catalog.absent import Absent, relation_hint
from governed_db.catalog.bound import Operand, Source, Stored, Use
from governed_db.catalog.model import Catalog, Column, ForeignKey, Function, Relation, Session, Type
from governed_db.catalog.scope import NOTHING, Col, Item, Rows, Scope
from governed_db.statement.facts import Access, RelationName

if TYPE_CHECKING:
    from governed_db.catalog.views import ViewFacts

Node = Mapping[str, Any]

SELECT_LIST = "an expression in the select list"
WHOLE_ROW = "a whole-row reference"


class Memo:
    """What has been worked out once for one catalog: columns, children, views, type names."""

    def __init__(self, catalog: Catalog) -> None:
        self.columns: dict[int, tuple[Col, ...]] = {}
        self.views: dict[int, ViewFacts] = {}
        self.bodies: dict[Hashable, Any] = {}  # of bodies.py, by what runs and where
        self.types: dict[tuple[str, str], Type] = {(t.schema, t.name): t for t in catalog.types.values()}
        self.row_types = {t.relation: t.oid for t in catalog.types.values() if t.relation}
        self.strings = frozenset(t.oid for t in catalog.types.values() if t.category == "S")
        self.unvetted: dict[int, str | None] = {}
        self.children: dict[int, list[Relation]] = {}
        self.kin: dict[int, tuple[RelationName, ...]] = {}  # of kin.py
        # A catalog holds the temporary schema of its own session and of no other.
        self.temp = next(
            (r.schema for r in catalog.relations.values() if r.schema.startswith("pg_temp_")), None
        )
        for relation in catalog.relations.values():
            for parent in relation.parents:
                self.children.setdefault(parent, []).append(relation)
        self.referencing: dict[int, list[ForeignKey]] = {}  # by the relation that they point at
        for key in catalog.foreign_keys:
            self.referencing.setdefault(key.referenced, []).append(key)


_memos: dict[int, tuple[weakref.ref[Catalog], Memo]] = {}


def memo(catalog: Catalog) -> Memo:
    """Return the memo of ``catalog``; it goes when the catalog goes."""
    key = id(catalog)
    held = _memos.get(key)
    if held is not None and held[0]() is catalog:
        return held[1]
    fresh = Memo(catalog)
    _memos[key] = (weakref.ref(catalog, lambda _: _memos.pop(key, None)), fresh)
    return fresh


class Write:
    """One INSERT, UPDATE, DELETE or MERGE with the rows it is proven to touch at most."""

    __slots__ = ("access", "relation", "rows")

    def __init__(self, relation: Relation, access: Access, rows: int | None) -> None:
        self.relation = relation
        self.access = access
        self.rows = rows


ABSENT = "not in this database: "


class Context:
    """The accumulators of one binding. ``query`` binds a query node in a scope (it closes the recursion)."""

    def __init__(
        self,
        catalog: Catalog,
        session: Session,
        query: Callable[[Context, Node, Scope], Rows],
        *,
        lenient: bool = False,
        variables: frozenset[str] = frozenset(),
        around: Sequence[Item] = (),
    ) -> None:
        self.catalog = catalog
        self.session = session
        self.query = query
        self.lenient = lenient  # DDL may speak of columns that it makes itself
        self.variables = variables  # in a function's body: names that are none of a relation
        self.top = Scope(list(around))  # what every command sees beside its own: NEW and OLD
        self.walked = True  # every relation of the statement stood in a query that was bound
        self.memo = memo(catalog)
        self.uses: dict[Use, None] = {}
        self.relations: dict[tuple[int, Access, int], Relation] = {}
        self.writes: list[Write] = []
        self.columns_set: list[tuple[Relation, Column, Access]] = []  # columns that are set
        self.defaulted: set[Source] = set()  # columns that are set to their DEFAULT
        # What each UPDATE certainly sets columns to, as partial.certain() says; the relation's OID before it.
        self.settled: list[tuple[int, dict[int, str]]] = []
        self.stored: list[Stored] = []  # values of the caller that are written as they are
        self.unseen: dict[Source, bool] = {}  # of columns: whether nothing looks at what goes into them
        self.inflows: list[tuple[Source, frozenset[Source]]] = []  # what is written into which column
        self.unknown: dict[str, None] = {}
        self.absent: dict[str, Absent] = {}  # the same, with what they would be
        self.text: str | None = None  # the statement's, where a caller wrote it: places in it can be named
        self.gaps: list[str] = []
        self.counted: list[Node] = []  # subselects whose rows are only counted
        self.shown: Node | None = None  # the call in FROM whose columns are told one by one
        self.called: set[str] = set()  # fields that may be calls after all: alias.f, (x).f
        self.projected: set[str] = set()  # calls that may be fields after all: f(alias)
        # Types of values that are computed or compared with, and of values stored: the column's, the
        # value's. 0 where a type is not known.
        self.operands: set[int] = set()
        self.assigned: set[tuple[int, int]] = set()
        # The types left and right of the operator at a byte of the text; 0 where one is not known.
        self.compared: dict[int, tuple[int, ...]] = {}
        # The same of the arguments of the call there.
        self.passed: dict[int, tuple[int, ...]] = {}

    def use(
        self,
        sources: frozenset[Source],
        clause: str,
        location: int,
        sink: Source | None = None,
        *,
        nullness: bool = False,
        operands: tuple[Operand, ...] = (),
    ) -> None:
        """Note that ``sources`` are used otherwise than by being handed out; in ``sink`` alone, if at all.

        ``nullness`` and ``operands`` as of :class:`Use`.
        """
        uses = self.uses
        for source in sorted(sources):  # so that a refusal names the same column each time
            uses[Use(source, clause, location, sink, nullness, operands)] = None

    def operand(self, rows: Rows) -> None:
        """Note that the values of ``rows`` are compared with others."""
        for column in rows.columns:
            if column.row is None:
                self.operands.add(column.type_oid)
            else:
                self.operands.update(field.type_oid for field in column.row)
                own = {column.type_oid} - {0} or {s.relation for f in column.row for s in f.sources}
                self.operands.update(self.memo.row_types.get(oid, oid) for oid in own or {0})
        if rows.rest is not None:
            self.operands.add(0)

    def missing(
        self, name: str, what: str, location: int = -1, hint: Callable[[], str] | None = None
    ) -> None:
        """Note a name that this catalog does not have, at a byte of the text, with what may be meant."""
        if not self.lenient:
            self.unknown[name] = None
            self.absent.setdefault(f"{what} {name}", Absent(what, name, location, hint))

    @property
    def incomplete(self) -> str:
        """Why something was not understood, "" where all was.

        Where nothing but names is missing it says so in words of its own, which policies match: the
        server will say the same of the statement.
        """
        if not self.absent and not self.gaps:
            return ""
        absent = ABSENT + ", ".join(each.told(self.text) for each in [*self.absent.values()][:3])
        if not self.gaps:
            return absent if self.absent else ""
        return "; ".join([*self.gaps[:3], *([absent] if self.absent else [])])

    def gap(self, reason: str) -> None:
        """Note that something was not understood."""
        if not self.lenient and reason not in self.gaps:
            self.gaps.append(reason)

    @contextmanager
    def inner_uses(self) -> Iterator[dict[Use, None]]:
        """Gather the uses made inside the block apart, and with all others when it ends."""
        outside, inside = self.uses, {}  # type: dict[Use, None], dict[Use, None]
        self.uses = inside
        try:
            yield inside
        finally:
            outside.update(inside)
            self.uses = outside

    def relation(self, name: Node, access: Access) -> Relation | None:
        """Return the relation a RangeVar means and note that it is touched."""
        schema, relname = name.get("schemaname"), name.get("relname", "")
        written = f"{schema}.{relname}" if schema else relname
        database = name.get("catalogname")
        if database and database != self.session.database:
            self.missing(f"{database}.{written}", "relation")
            return None
        found = self.catalog.relation(schema, relname, self.session)
        if found is None:
            hint = partial(relation_hint, self, schema, relname)
            self.missing(written, "relation", name.get("location", 0), hint)
            return None
        self.relations[found.oid, access, name.get("location", 0)] = found
        return found

    def descendants(self, relation: Relation) -> Iterator[Relation]:
        """Yield the partitions and inheritance children of ``relation``, theirs included."""
        for child in self.memo.children.get(relation.oid, ()):
            yield child
            yield from self.descendants(child)

    def columns(self, relation: Relation) -> tuple[Col, ...]:
        """Return what ``SELECT *`` gives of ``relation``, each column being its own source."""
        known = self.memo.columns.get(relation.oid)
        if known is None:
            oid = relation.oid
            known = self.memo.columns[oid] = tuple(
                Col(
                    c.name,
                    (source := frozenset((Source(oid, c.number),))),
                    True,
                    c.type_oid,
                    self.fields(c.type_oid, source),
                )
                for c in relation.columns
            )
        return known

    def fields(
        self, type_oid: int, sources: frozenset[Source] = NOTHING, depth: int = 0
    ) -> tuple[Col, ...] | None:
        """Return the fields of a composite type as computed values, ``None`` for any other type."""
        type_ = self.catalog.types.get(type_oid)
        while type_ is not None and type_.kind == "d" and depth < 32:  # a domain over a domain over ...
            type_, depth = self.catalog.types.get(type_.base), depth + 1
        if type_ is None or not type_.relation or depth >= 32:
            return None
        relation = self.catalog.relations.get(type_.relation)
        if relation is None:
            return None
        return tuple(
            Col(c.name, sources, False, c.type_oid, self.fields(c.type_oid, sources, depth + 1))
            for c in relation.columns
        )

    def type(self, names: Node) -> Type | None:
        """Return the type a TypeName means, ``None`` where it is an array or not in the catalog."""
        words = [n["String"].get("sval", "") for n in names.get("names", ()) if "String" in n]
        if not words or names.get("arrayBounds") or names.get("setof") or names.get("pct_type"):
            return None
        schemas = self.session.schemas(words[-2] if len(words) > 1 else None)
        return next((t for s in schemas if (t := self.memo.types.get((s, words[-1])))), None)

    def candidates(self, name: Node) -> tuple[list[Function], str]:
        """Return the functions a FuncCall can reach, and its unqualified name."""
        words = [n["String"].get("sval", "") for n in name.get("funcname", ())]
        schema = words[-2] if len(words) > 1 else None
        found = list(self.catalog.candidates(schema, words[-1], self.session)) if words else []
        return found, words[-1] if words else ""

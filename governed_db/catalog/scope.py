"""Names in force at one place of a statement: PostgreSQL's parse_relation.c, over lineage.

Everything here is about looking names up. What stands in FROM is made in ``ranges.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from governed_db.catalog.bound import Source
from governed_db.catalog.model import Relation

NOTHING: frozenset[Source] = frozenset()

# sysattr.h: columns every table has without a row in `SELECT *`; heap.c: their types tid, xid, cid, oid.
SYSTEM_COLUMNS = {"ctid": -1, "xmin": -2, "cmin": -3, "xmax": -4, "cmax": -5, "tableoid": -6}
_SYSTEM_TYPES = {"ctid": 27, "xmin": 28, "cmin": 29, "xmax": 28, "cmax": 29, "tableoid": 26}


class Col(NamedTuple):
    """A value with where it comes from.

    ``row`` holds the fields of a composite value; a row that is not ``plain`` is a whole-row reference.
    ``type_oid`` is 0 where the type is not known.
    """

    name: str
    sources: frozenset[Source] = NOTHING
    plain: bool = False
    type_oid: int = 0
    row: tuple[Col, ...] | None = None


class Rows(NamedTuple):
    """The columns of a query. ``rest``: sources of further columns that could not be told, else ``None``."""

    columns: tuple[Col, ...]
    rest: frozenset[Source] | None = None

    def every(self) -> frozenset[Source]:
        """Return every source any column has."""
        return union(self.columns) | (self.rest or NOTHING)


class Ambiguous(LookupError):  # noqa: N818 - it says what the name is, and never leaves catalog/
    """A name means two things at once; the server raises an error for it as well."""


class Cte:
    """One WITH query. ``rows`` is known once it has been bound, or so far as a recursion has got."""

    __slots__ = ("busy", "names", "node", "rows", "scope")

    def __init__(self, node: Mapping[str, Any], names: tuple[str, ...]) -> None:
        self.node = node
        self.names = names
        self.rows: Rows | None = None
        self.scope: Scope | None = None
        self.busy = False


class Item:
    """One entry of FROM (parse_node.h, ParseNamespaceItem)."""

    __slots__ = ("_index", "by_column", "by_name", "columns", "name", "relation", "rest", "system")

    def __init__(
        self,
        name: str | None,
        columns: tuple[Col, ...],
        *,
        relation: Relation | None = None,
        system: int = 0,
        rest: frozenset[Source] | None = None,
        by_name: bool = True,
        by_column: bool = True,
    ) -> None:
        self.name = name
        self.columns = columns
        self.relation = relation  # set where schema.table can name it: no alias was given
        self.system = system  # the table's OID where system columns can be had, else 0
        self.rest = rest
        self.by_name = by_name
        self.by_column = by_column
        self._index: dict[str, Col | None] | None = None

    def find(self, name: str) -> Col | None:
        """Return the column of that name.

        Raises:
            Ambiguous: there are two.
        """
        index = self._index
        if index is None:
            index = {}
            for column in self.columns:
                index[column.name] = None if column.name in index else column
            self._index = index
        if name in index:
            found = index[name]
            if found is None:
                raise Ambiguous(name)
            return found
        if self.system and name in SYSTEM_COLUMNS:
            source = Source(self.system, SYSTEM_COLUMNS[name])
            return Col(name, frozenset((source,)), plain=True, type_oid=_SYSTEM_TYPES[name])
        return None

    def whole(self) -> Col:
        """Return the whole row as one value."""
        return Col(
            self.name or "",
            union(self.columns) | (self.rest or NOTHING),
            row=self.columns if self.rest is None else None,
        )


class Scope:
    """Names in force: the items of one query level, then those of the queries around it."""

    __slots__ = ("ctes", "items", "outer", "windows")

    def __init__(
        self,
        items: list[Item],
        outer: Scope | None = None,
        ctes: Mapping[str, Cte] | None = None,
    ) -> None:
        self.items = items
        self.outer = outer
        self.ctes: Mapping[str, Cte] = ctes if ctes is not None else (outer.ctes if outer is not None else {})
        self.windows: dict[str, frozenset[Source]] = {}

    def column(self, name: str) -> Col | None:
        """Return what ``name`` alone means: a column of the nearest level that has one."""
        level: Scope | None = self
        while level is not None:
            found, guesses = level.own_column(name)
            if found is not None:
                return found
            if guesses is not None:
                # It may be a column of something whose columns are not known, one of a query around, or
                # a whole row: it is taken for all of them.
                beyond = level.outer.column(name) if level.outer is not None else None
                whole = self.item(name)
                guesses |= beyond.sources if beyond is not None else NOTHING
                return Col(name, guesses | (whole.whole().sources if whole is not None else NOTHING))
            level = level.outer
        return None

    def own_column(self, name: str) -> tuple[Col | None, frozenset[Source] | None]:
        """Return the column of this level, else the sources of items here that might have it."""
        found: Col | None = None
        guesses: frozenset[Source] | None = None
        for item in self.items:
            if not item.by_column:
                continue
            hit = item.find(name)
            if hit is not None:
                if found is not None:
                    raise Ambiguous(name)
                found = hit
            elif item.rest is not None:
                guesses = (guesses or NOTHING) | item.rest
        return found, guesses

    def item(self, name: str) -> Item | None:
        """Return the entry that ``name.`` means, from the nearest level that has one."""
        level: Scope | None = self
        while level is not None:
            hits = [i for i in level.items if i.name == name and i.by_name]
            if len(hits) > 1:
                raise Ambiguous(name)
            if hits:
                return hits[0]
            level = level.outer
        return None

    def table(self, schemas: tuple[str, ...], name: str) -> Item | None:
        """Return the entry that ``schema.name.`` means: a table without an alias, in one of ``schemas``."""
        level: Scope | None = self
        while level is not None:
            for item in level.items:
                relation = item.relation
                if (
                    relation is not None
                    and item.by_name
                    and relation.name == name
                    and relation.schema in schemas
                ):
                    return item
            level = level.outer
        return None

    def window(self, name: str) -> frozenset[Source]:
        """Return what the named window of this level depends on."""
        return self.windows.get(name, NOTHING)


def union(columns: tuple[Col, ...] | list[Col]) -> frozenset[Source]:
    """Return every source of ``columns``."""
    if not columns:
        return NOTHING
    return frozenset().union(*[c.sources for c in columns])


def renamed(columns: tuple[Col, ...], names: tuple[str, ...]) -> tuple[Col, ...]:
    """Return ``columns`` with the first of them renamed, as a column alias list does."""
    if not names:
        return columns
    return tuple(c._replace(name=n) for c, n in zip(columns, names, strict=False)) + columns[len(names) :]

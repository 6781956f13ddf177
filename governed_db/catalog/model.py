"""What one database holds, as values: the part of its system catalog that decisions need.

Everything is by OID. Names are only ever looked up through :class:`Catalog` under a
:class:`Session`'s search_path, the way PostgreSQL itself would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen


@frozen
class Column:
    """A row of pg_attribute (attnum > 0, not dropped)."""

    number: int
    name: str
    type_oid: int
    type_modifier: int
    not_null: bool
    comment: str | None = None


@frozen(kw_only=True)
class Relation:
    """A row of pg_class with what hangs on it.

    ``kind`` is pg_class.relkind (r table, p partitioned, v view, m materialised view, f foreign table,
    S sequence, c composite, t toast, i/I index). ``definition`` is the SELECT behind a view, every name
    outside pg_catalog qualified; ``None`` for anything else and for views of PostgreSQL's own.
    """

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str = "p"
    columns: tuple[Column, ...] = ()
    definition: str | None = field(default=None, repr=False)
    keys: tuple[frozenset[int], ...] = ()  # column numbers of each valid, immediate unique index (no expressions, no predicate)
    has_rules: bool = False
    triggers: tuple[str, ...] = ()  # names of user triggers (not internal)
    parents: tuple[int, ...] = ()  # pg_inherits: partitions and inheritance
    row_security: bool = False
    comment: str | None = None

    def column(self, name: str) -> Column | None:
        """Return the column of that name, or ``None``."""
        return next((c for c in self.columns if c.name == name), None)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@frozen(kw_only=True)
class Function:
    """A row of pg_proc."""

    oid: int
    schema: str
    name: str
    arguments: tuple[int, ...]  # type OIDs of the input arguments
    defaults: int  # how many of the last arguments may be left out
    variadic: bool
    volatility: str  # i, s, v
    language: str
    kind: str  # f, p, a, w
    returns: int
    returns_set: bool
    security_definer: bool
    extension: str | None = None

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@frozen(kw_only=True)
class Type:
    """A row of pg_type."""

    oid: int
    schema: str
    name: str
    kind: str  # typtype: b, c, d, e, p, r, m
    category: str
    base: int = 0
    element: int = 0
    relation: int = 0


@frozen(kw_only=True)
class Session:
    """What the server makes of names in one session.

    ``search_path`` is the effective one (``current_schemas(true)``): implicit pg_catalog and the
    session's own temporary schema are in it where PostgreSQL would search them.
    """

    database: str
    role: str
    session_user: str
    search_path: tuple[str, ...]
    temp_schema: str | None = None
    superuser: bool = False


@frozen(kw_only=True)
class Catalog:
    """A snapshot. ``version`` changes whenever anything in it that decisions use does."""

    version: str
    server_version: int
    relations: Mapping[int, Relation] = field(repr=False)
    functions: Mapping[str, tuple[Function, ...]] = field(repr=False)  # by unqualified name
    types: Mapping[int, Type] = field(repr=False)
    _by_name: Mapping[tuple[str, str], Relation] = field(init=False, repr=False, eq=False)

    @_by_name.default
    def _index(self) -> dict[tuple[str, str], Relation]:
        return {(r.schema, r.name): r for r in self.relations.values()}

    def relation(self, schema: str | None, name: str, session: Session) -> Relation | None:
        """Return the relation that ``schema.name`` (or ``name`` alone) means in ``session``."""
        if schema == "pg_temp":
            schema = session.temp_schema
            return None if schema is None else self._by_name.get((schema, name))
        if schema is not None:
            return self._by_name.get((schema, name))
        return next((r for s in session.search_path if (r := self._by_name.get((s, name)))), None)

    def candidates(self, schema: str | None, name: str, session: Session) -> Iterator[Function]:
        """Yield every function a call of that name could reach in ``session``, in search order.

        PostgreSQL picks among them by argument types; who does not know the types must reckon with all.
        Temporary schemas are never searched for functions unless named.
        """
        schemas: Sequence[str] = session.search_path if schema is None else (schema,)
        for s in schemas:
            if schema is None and s == session.temp_schema:
                continue
            yield from (f for f in self.functions.get(name, ()) if f.schema == s)

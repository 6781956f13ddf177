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
    generated: tuple[int, ...] = ()  # for GENERATED ALWAYS AS (...): the columns it is computed from


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
    # Column numbers of each valid, immediate unique index (no expressions, no predicate). A table with
    # inheritance children has none: its indexes know nothing of the rows in those.
    keys: tuple[frozenset[int], ...] = ()
    has_rules: bool = False
    triggers: tuple[str, ...] = ()  # names of user triggers (not internal)
    parents: tuple[int, ...] = ()  # pg_inherits: partitions and inheritance
    row_security: bool = False
    comment: str | None = None
    # A foreign key elsewhere changes or deletes rows when rows here do (CASCADE, SET NULL, SET DEFAULT).
    cascades: bool = False

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
    outputs: tuple[str, ...] = ()  # names of the OUT, INOUT and TABLE columns, in order

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
    standard_conforming_strings: bool = True
    backslash_quote: str = "safe_encoding"
    row_security: bool = True
    client_encoding: str = "UTF8"
    role_setting: str = "none"  # what SET ROLE was given; "none" where nothing was
    replication_role: str = "origin"  # session_replication_role: "replica" silences triggers and rules


@frozen(kw_only=True)
class Operator:
    """A row of pg_operator that PostgreSQL did not bring: using it calls ``function``.

    ``left`` and ``right`` are type OIDs, 0 where the operator has no operand on that side.
    """

    oid: int
    schema: str
    name: str
    left: int
    right: int
    result: int
    function: int


@frozen(kw_only=True)
class Cast:
    """A row of pg_cast that PostgreSQL did not bring; ``function`` is 0 where none is called.

    ``method`` is castmethod (f function, i through text, b binary), ``context`` castcontext (e only when
    written, a also in assignments, i anywhere).
    """

    source: int
    target: int
    function: int
    method: str
    context: str


@frozen(kw_only=True)
class Catalog:
    """A snapshot. ``version`` changes whenever anything in it that decisions use does."""

    version: str
    server_version: int
    relations: Mapping[int, Relation] = field(repr=False)
    functions: Mapping[str, tuple[Function, ...]] = field(repr=False)  # by unqualified name
    types: Mapping[int, Type] = field(repr=False)
    # Operators by name and casts by target type; PostgreSQL's own are left out.
    operators: Mapping[str, tuple[Operator, ...]] = field(factory=dict, repr=False)
    casts: Mapping[int, tuple[Cast, ...]] = field(factory=dict, repr=False)
    _by_name: Mapping[tuple[str, str], Relation] = field(init=False, repr=False, eq=False)

    @_by_name.default
    def _index(self) -> dict[tuple[str, str], Relation]:
        return {(r.schema, r.name): r for r in self.relations.values()}

    _by_oid: Mapping[int, Function] = field(init=False, repr=False, eq=False)

    @_by_oid.default
    def _functions_by_oid(self) -> dict[int, Function]:
        return {f.oid: f for same_name in self.functions.values() for f in same_name}

    def function(self, oid: int) -> Function | None:
        """Return the function of that OID, or ``None``."""
        return self._by_oid.get(oid)

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

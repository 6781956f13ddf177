"""What one database holds, as values: the part of its system catalog that decisions need.

Everything is by OID. Names are only ever looked up through :class:`Catalog` under a
:class:`Session`'s search_path, the way PostgreSQL itself would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from governed_db.statement.facts import Access


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
class Trigger:
    """A row of pg_trigger that is not PostgreSQL's own.

    Attributes:
        function: OID of the function it calls.
        events: what sets it off: INSERT, UPDATE, DELETE, TRUNCATE.
        each_row: FOR EACH ROW; otherwise once for each statement.
        timing: "before", "after" or "instead".
        columns: for UPDATE OF, the numbers of the columns; empty: any column.
        enabled: pg_trigger.tgenabled: O origin, A always, R replica only, D disabled.
        deferrable: a constraint trigger that may wait for the COMMIT.
        definition: pg_get_triggerdef's text, for a trigger that has a WHEN or arguments.
    """

    name: str
    function: int
    events: frozenset[Access]
    each_row: bool = True
    timing: str = "after"
    columns: tuple[int, ...] = ()
    enabled: str = "O"
    deferrable: bool = False
    definition: str | None = field(default=None, repr=False)

    def fires(
        self, access: Access, columns: frozenset[int] | None = None, replication_role: str = "origin"
    ) -> bool:
        """Return whether a statement of kind ``access`` can set it off.

        Args:
            access: INSERT, UPDATE, DELETE or TRUNCATE.
            columns: for an UPDATE, what :meth:`Relation.changed` gives of the columns in SET; ``None``:
                any column. Other triggers that run before may change more, and do not count.
            replication_role: :attr:`Session.replication_role`.
        """
        if access not in self.events or self.enabled == "D":
            return False
        # Not the other way round: whoever may silence triggers by that setting may also set it back.
        if self.enabled == "R" and replication_role != "replica":
            return False
        return (
            access is not Access.UPDATE
            or columns is None
            or not self.columns
            or not columns.isdisjoint(self.columns)
        )

    def __str__(self) -> str:
        return self.name


@frozen
class Needed:
    """What an index with a WHERE asks of one column: that it is "null", "true" or "false"."""

    column: int
    state: str


@frozen(kw_only=True)
class Constraint:
    """A row of pg_constraint that belongs to a table, but for foreign keys: see :class:`ForeignKey`.

    ``kind`` is contype (p primary key, u unique, x exclusion, c check), or i for a unique index, with the
    columns of its expressions and its WHERE. Two kinds are no constraints but fail like one, by the values of
    several columns (:mod:`governed_db.catalog.failing`): g, a generated column, under its name; e, an
    expression in an index, without one. ``columns`` its columns' numbers, 0 for an expression.

    ``needs`` is what an index with a WHERE asks of a row before it holds it, as far as that is of a column by
    itself.

    ``ranges`` are the columns that an exclusion constraint compares otherwise than by ``=``, 0 for an
    expression: whether any row overlaps a range of the caller's choice is more than whether one equals it.
    """

    name: str
    kind: str
    columns: tuple[int, ...] = ()
    needs: tuple[Needed, ...] = ()
    ranges: tuple[int, ...] = ()


@frozen(kw_only=True)
class ForeignKey:
    """A foreign key: rows of ``relation`` point at rows of ``referenced``.

    ``on_delete`` and ``on_update`` are confdeltype and confupdtype: a NO ACTION, r RESTRICT, c CASCADE,
    n SET NULL, d SET DEFAULT. ``columns`` and ``referenced_columns`` are column numbers, pairwise.
    """

    name: str
    relation: int
    columns: tuple[int, ...]
    referenced: int
    referenced_columns: tuple[int, ...]
    on_delete: str = "a"
    on_update: str = "a"

    def cascades(self, access: Access, columns: frozenset[int] | None = None) -> bool:
        """Return whether it changes or deletes rows of ``relation`` when rows of ``referenced`` are written.

        ``access`` and ``columns`` as for :meth:`Trigger.fires`, of ``referenced``.
        """
        if access is Access.DELETE:
            return self.on_delete in _CHANGES
        return (
            access is Access.UPDATE
            and self.on_update in _CHANGES
            and (columns is None or not columns.isdisjoint(self.referenced_columns))
        )


# CASCADE, SET NULL, SET DEFAULT; NO ACTION and RESTRICT write nothing.
_CHANGES = frozenset("cnd")


@frozen(kw_only=True)
class Hidden:
    """A function that touching a relation runs although no text names it.

    Attributes:
        function: its OID. Only functions are listed that :mod:`governed_db.catalog.vetting` does not vet
            (of users, of PostgreSQL, of extensions), and of defaults not ``nextval``: numbering rows is
            what a serial column does.
        reads, writes: whether reading or writing rows runs it (a row security policy runs on both).
        where: "a column default", "a check constraint", "an index", "a row security policy",
            "a generated column", "a domain's check", "a trigger's condition", "a partition key".
        column: number of the column that it belongs to; 0 where it is the relation's.
    """

    function: int
    reads: bool
    writes: bool
    where: str
    column: int = 0


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
    rules: tuple[str, ...] = field(default=(), repr=False)  # CREATE RULE texts, every name qualified
    triggers: tuple[Trigger, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    parents: tuple[int, ...] = ()  # pg_inherits: partitions and inheritance
    partitioned_by: tuple[int, ...] = ()  # numbers of the columns of a partition key, 0 for an expression
    row_security: bool = False
    comment: str | None = None
    # A foreign key elsewhere changes or deletes rows when rows here do (CASCADE, SET NULL, SET DEFAULT).
    cascades: bool = False

    def column(self, name: str) -> Column | None:
        """Return the column of that name, or ``None``."""
        return next((c for c in self.columns if c.name == name), None)

    def changed(self, columns: frozenset[int]) -> frozenset[int]:
        """Return ``columns`` and the generated columns that are computed from them."""
        return columns.union(c.number for c in self.columns if not columns.isdisjoint(c.generated))

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
    # pg_get_functiondef's text, for functions in SQL and PL/pgSQL that PostgreSQL did not bring.
    definition: str | None = field(default=None, repr=False)
    # What it sets while it runs (pg_proc.proconfig): ("search_path=app, pg_temp", ...).
    settings: tuple[str, ...] = ()
    # For an aggregate: the functions it is made of (transition, final, combine, serial, moving ...).
    made_of: tuple[int, ...] = ()

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
    subtype: int = 0  # of a range or multirange that PostgreSQL did not bring
    modifier: int = -1  # typtypmod: what a domain says of its base type, such as the n of varchar(n)


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

    def schemas(self, schema: str | None) -> Sequence[str]:
        """Return where a name written with ``schema``, or without one, is looked for, in order."""
        if not schema:
            return self.search_path
        if schema == "pg_temp":
            return () if self.temp_schema is None else (self.temp_schema,)
        return (schema,)

    # statement_timeout, lock_timeout and idle_in_transaction_session_timeout in force, in milliseconds, 0
    # for none: nothing that is known of a statement depends on them. And whether rows written are counted.
    timeouts: tuple[int, ...] = field(default=(0, 0, 0), eq=False)
    track_counts: bool = True


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
class OperatorClass:
    """A row of pg_opclass that PostgreSQL did not bring: how values of ``type_oid`` are compared or hashed.

    Attributes:
        method: name of the index access method (btree, hash, gist, ...).
        default: whether ORDER BY, DISTINCT, GROUP BY, ``max()`` and indexes use it unasked.
        functions: OIDs of everything in its family: support functions, and those behind its operators.
    """

    oid: int
    type_oid: int
    method: str
    default: bool
    functions: tuple[int, ...] = ()


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
    foreign_keys: tuple[ForeignKey, ...] = field(default=(), repr=False)
    # By the type they compare; PostgreSQL's own are left out.
    operator_classes: Mapping[int, tuple[OperatorClass, ...]] = field(factory=dict, repr=False)
    # By the OID of a type: the functions, less the vetted ones, in the checks of the domains that a value of
    # it is made of. None: not known.
    checks: Mapping[int, tuple[int, ...]] | None = field(default=None, repr=False)
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
        for s in session.schemas(schema):
            if schema is None and s == session.temp_schema:
                continue
            yield from (f for f in self.functions.get(name, ()) if f.schema == s)

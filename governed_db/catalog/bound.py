"""WHAT, with names resolved: a statement against one catalog, down to the columns.

These values are the contract between ``catalog/`` and the stages that decide and mask.
"""

from __future__ import annotations

from attrs import frozen

from governed_db.catalog.model import Function, Relation
from governed_db.statement.facts import Access, Effect, FunctionRef, RelationName, Statement


@frozen(order=True)
class Source:
    """One column of one relation (a table, view, ... as named in the statement), by OID and number.

    ``column`` 0 is the whole row, where its columns could not be told apart.
    """

    relation: int
    column: int


@frozen(kw_only=True)
class Output:
    """One column of the rows the statement returns.

    Attributes:
        name: the column's name in the result.
        sources: every column its value can depend on by being computed from it.
        plain: whether the value is, unchanged, the value of its source (of one of them, for a UNION ALL);
            casts that keep the type's bytes do not count as plain.
    """

    name: str
    sources: frozenset[Source]
    plain: bool


@frozen
class Operand:
    """A value that the caller gives: parameter ``$n``, or a constant of the text (``parameter`` 0).

    ``location`` is where it stands in the text, in characters; -1: in the rows of a COPY. ``array``: it is an
    array, any element of which counts. ``exact``: it takes part whole, so that a parameter may stand in its
    place.
    """

    parameter: int
    location: int
    array: bool = False
    exact: bool = True


@frozen
class Stored:
    """A value that the caller gives, written into a column as it is.

    ``unseen``: nothing that the write sets off looks at the value.
    """

    sink: Source
    operand: Operand
    unseen: bool = False


@frozen
class Use:
    """A column used for something other than being handed out plainly.

    ``clause`` is how a person would call the place: "WHERE", "JOIN ... ON", "ORDER BY", "GROUP BY",
    "HAVING", "DISTINCT", "UNION", "an expression in the select list", "a whole-row reference", "count()",
    "SET email", ... ``sink`` is the column that its value is stored in, where nothing else becomes of it.
    ``nullness``: all that is told of the value is whether it is NULL. ``operands``: it is compared for
    equality with these alone.
    """

    source: Source
    clause: str
    location: int
    sink: Source | None = None
    nullness: bool = False
    operands: tuple[Operand, ...] = ()


@frozen
class ColumnUse:
    """A column the statement reads (READ), or sets in the rows it writes (INSERT, UPDATE), by name.

    Columns behind a view are listed beside the view's own, as far as the view's columns are made of them.
    """

    relation: RelationName
    column: str
    access: Access


@frozen(kw_only=True)
class RelationUse:
    """A relation the statement touches, as resolved; ``via`` names the view it was reached through."""

    relation: Relation
    access: Access
    location: int
    via: Relation | None = None
    within: str = ""  # the function, trigger or rule that touches it, as effects say it: "in function a.f"
    # Partitions and children, whose rows it holds, and what it is a partition or child of.
    kin: tuple[RelationName, ...] = ()


@frozen(kw_only=True)
class FunctionUse:
    """A call with everything it could reach.

    ``vetted``: every candidate is on the allowed list, or has a body that is understood and only computes.
    A call that stands in the body of another function has "body" for ``ref.how``, and is judged by what it
    does.
    """

    ref: FunctionRef
    candidates: tuple[Function, ...]
    vetted: bool
    note: str = ""  # why not, in a few words: "reads files of the server", "defined by users"
    # OIDs of functions that run without being the one called: a domain's checks.
    reaches: tuple[int, ...] = ()


@frozen(kw_only=True)
class Bound:
    """A statement whose names are resolved.

    Attributes:
        statement: the facts it was made from.
        effects: the statement's effects plus those that only the catalog shows (FUNCTION, effects of
            views and rules). Policies judge these.
        relations, functions: what the names mean.
        outputs: the columns of the result: ``()`` when it returns none, ``None`` when they cannot be told.
        uses: every column used otherwise than by handing it out.
        unknown: names this catalog does not have; a refresh may find them.
        complete / incomplete_because: as for :class:`Statement`, with the catalog's own gaps added.
        columns: the columns read and set; ``None`` where they cannot be told.
        writes_beside: rows are or may be written by something other than the command itself: a trigger, a
            rule, a function, a foreign key. The command tag does not count these.
        stored: values of the caller that are written as they are, and where; others may be written too.
        rows: an upper bound of the rows each write touches, proven by text and keys; ``None``: not bounded.
    """

    statement: Statement
    effects: tuple[Effect, ...]
    relations: tuple[RelationUse, ...]
    functions: tuple[FunctionUse, ...]
    outputs: tuple[Output, ...] | None
    uses: tuple[Use, ...]
    unknown: tuple[str, ...]
    complete: bool
    incomplete_because: str = ""
    rows: int | None = None
    catalog_version: str = ""
    columns: tuple[ColumnUse, ...] | None = None
    writes_beside: bool = False
    stored: tuple[Stored, ...] = ()

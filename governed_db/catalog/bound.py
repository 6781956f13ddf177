"""WHAT, with names resolved: a statement against one catalog, down to the columns.

These values are the contract between ``catalog/`` and the stages that decide and mask.
"""

from __future__ import annotations

from attrs import frozen

from governed_db.catalog.model import Function, Relation
from governed_db.statement.facts import Access, Effect, FunctionRef, Statement


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
class Use:
    """A column used for something other than being handed out plainly.

    ``clause`` is how a person would call the place: "WHERE", "JOIN ... ON", "ORDER BY", "GROUP BY",
    "HAVING", "DISTINCT", "UNION", "an expression in the select list", "a whole-row reference", "count()",
    "SET email", ...
    """

    source: Source
    clause: str
    location: int


@frozen(kw_only=True)
class RelationUse:
    """A relation the statement touches, as resolved; ``via`` names the view it was reached through."""

    relation: Relation
    access: Access
    location: int
    via: Relation | None = None


@frozen(kw_only=True)
class FunctionUse:
    """A call with everything it could reach. ``vetted``: every candidate is on the allowed list."""

    ref: FunctionRef
    candidates: tuple[Function, ...]
    vetted: bool
    note: str = ""  # why not, in a few words: "reads files of the server", "defined by users"


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

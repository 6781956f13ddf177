"""WHAT a statement would do, as far as its text alone can tell.

These values are the contract between the grammar (``statement/``) and everything after it. They hold
names as they were written; what the names mean in one database is for ``catalog/`` to say.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Any

from attrs import field, frozen


class EffectKind(StrEnum):
    """One thing that a statement does. The values are the words policies use."""

    EMPTY = "empty"  # nothing but white space, comments, semicolons
    SELECT = "select"  # rows are read
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MERGE = "merge"
    TRUNCATE = "truncate"
    COPY_TO = "copy_to"  # COPY ... TO STDOUT
    COPY_FROM = "copy_from"  # COPY ... FROM STDIN
    COPY_FILE = "copy_file"  # COPY from or to a file or program of the server
    ROW_LOCK = "row_lock"  # SELECT ... FOR UPDATE / SHARE
    LOCK = "lock"  # LOCK TABLE
    EXPLAIN = "explain"  # a plan is shown, nothing runs
    CREATE = "create"  # new objects, SELECT INTO and CREATE TABLE AS included
    ALTER = "alter"  # objects changed, COMMENT and RENAME included
    DROP = "drop"
    PRIVILEGES = "privileges"  # GRANT, REVOKE, roles, ownership, row security policies, security labels
    SET = "set"  # session settings, by SET, RESET, DISCARD or set_config()
    SHOW = "show"
    TRANSACTION = "transaction"  # BEGIN, COMMIT, ROLLBACK, PREPARE TRANSACTION, SET TRANSACTION
    SAVEPOINT = "savepoint"  # SAVEPOINT, RELEASE, ROLLBACK TO
    PREPARE = "prepare"  # PREPARE; what it prepares is judged beside it
    EXECUTE = "execute"  # EXECUTE of a prepared statement
    DEALLOCATE = "deallocate"
    CURSOR = "cursor"  # DECLARE; its query is judged beside it
    FETCH = "fetch"  # FETCH, MOVE
    CLOSE = "close"
    DO = "do"
    CALL = "call"  # CALL procedure
    LISTEN = "listen"  # LISTEN, UNLISTEN
    NOTIFY = "notify"
    MAINTENANCE = "maintenance"  # VACUUM, ANALYZE, CLUSTER, REINDEX, CHECKPOINT, REFRESH, LOAD
    FUNCTION = "function"  # a function outside the vetted list is called (added by catalog/)
    MULTIPLE = "multiple"  # more than one statement in one call
    UNKNOWN = "unknown"  # the grammar knows it, we do not


class Access(StrEnum):
    """How a statement touches a relation."""

    READ = "read"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"
    LOCK = "lock"
    DEFINE = "define"  # created, altered, dropped


@frozen
class RelationName:
    """A relation as written: ``schema`` is ``None`` where the search_path decides."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@frozen
class RelationRef:
    """One place in the text that names a relation. CTE names are not relations and do not appear."""

    name: RelationName
    access: Access
    location: int  # characters from the start of the text, -1 where the grammar does not say


@frozen
class FunctionRef:
    """One place in the text that calls a function by name, however the call is written.

    ``how``: "call" (also ``(x).f`` and ``alias.f`` candidates: then ``certain`` is False, the catalog
    decides what it is), "constructor" (SQL/JSON and MERGE_ACTION(), which are plain calls on servers older
    than the grammar, and never ``certain``), "operator", "cast" (``name`` is the type's), "tablesample",
    "default" for constructs that the grammar turns into calls (EXTRACT, AT TIME ZONE, CURRENT_USER, ...).
    """

    schema: str | None
    name: str
    arguments: int  # -1 where the number is not known
    how: str
    location: int
    certain: bool = True

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@frozen(kw_only=True)
class Effect:
    """One thing the statement does, with what it does it to.

    Attributes:
        kind: the sort of effect.
        target: the relation, where there is one.
        name: what else there is to name: a function, a setting, an object type, a cursor, a channel.
        constrained: for UPDATE and DELETE, whether the WHERE provably restricts the rows of the target
            (False also where there is no WHERE); ``None`` for effects that have none.
        rows: an upper bound of the rows written that the text itself proves (a VALUES list), or ``None``.
        note: how it does it, in a few words, for the error message ("in a CTE", "by EXPLAIN ANALYZE").
        location: characters from the start of the text, -1 where the grammar does not say.
    """

    kind: EffectKind
    target: RelationName | None = None
    name: str = ""
    constrained: bool | None = None
    rows: int | None = None
    note: str = ""
    location: int = -1

    def __str__(self) -> str:
        return f"{self.kind.value} {self.target or self.name}".strip()


@frozen(kw_only=True)
class Statement:
    """What the grammar says about one text.

    Attributes:
        text: the text that was read, exactly as it would be sent.
        tree: libpg_query's nodes, one ``RawStmt`` per command. Never changed after reading.
        commands: how many SQL commands the text holds.
        tag: PostgreSQL's command tag of the first command ("SELECT", "CREATE TABLE"), "" if none.
        effects: everything the text does, in the order of the text; never only the worst of it.
        relations, functions: every name used, with where.
        parameters: the highest ``$n``.
        complete: whether everything was understood.
        incomplete_because: why not, naming the part.
        fingerprint: libpg_query's fingerprint, hexadecimal; "" for texts it cannot read.
        normalised: the text with every literal replaced (``$n``), comments gone, bounded in length;
            safe to write down.
        summary: OpenTelemetry's ``db.query.summary``: the operation and its targets, low cardinality.
    """

    text: str = field(repr=False)
    tree: tuple[dict[str, Any], ...] = field(repr=False, eq=False, hash=False)
    commands: int
    tag: str
    effects: tuple[Effect, ...]
    relations: tuple[RelationRef, ...]
    functions: tuple[FunctionRef, ...]
    parameters: int
    complete: bool
    incomplete_because: str = ""
    fingerprint: str = ""
    normalised: str = ""
    summary: str = ""

    @cached_property
    def writes(self) -> bool:
        """Whether any effect changes rows."""
        return any(e.kind in WRITES for e in self.effects)

    @property
    def countable(self) -> bool:
        """Whether the command tag the server answers with counts every row written.

        A tag counts the rows of the statement it names: not those of data-modifying CTEs, of what
        EXPLAIN ANALYZE runs, or of a COPY's query.
        """
        # What a MERGE does is listed beside it, and counted by its tag.
        written = [e for e in self.effects if e.kind in WRITES and not e.note.startswith("by MERGE")]
        upsert = (
            len(written) == 2
            and {e.kind for e in written} == {EffectKind.INSERT, EffectKind.UPDATE}
            and written[0].target == written[1].target
            and any(e.note == UPSERT for e in written)
        )
        return self.commands == 1 and self.tag in _COUNTING_TAGS and (len(written) == 1 or upsert)

    @property
    def rows_listed(self) -> int | None:
        """An upper bound of the rows written that the text alone proves, or ``None``."""
        written = [e.rows for e in self.effects if e.kind in WRITES]
        known = [rows for rows in written if rows is not None]
        return sum(known) if written and len(known) == len(written) else None


WRITES = frozenset({EffectKind.INSERT, EffectKind.UPDATE, EffectKind.DELETE, EffectKind.MERGE})
"""Effects that change rows and that row caps therefore count."""

CAPPED = WRITES | {EffectKind.COPY_FROM}
"""Effects that a rule can cap: those, and rows that COPY brings in, which are counted as they are sent."""

UPSERT = "by ON CONFLICT DO UPDATE"

DEPENDENTS = "with what depends on it"
"""The note of a DROP ... CASCADE: what it reaches is for the catalog to say, and not for the text."""
"""The note of the UPDATE that an INSERT does beside itself, counted by its tag."""

_COUNTING_TAGS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})

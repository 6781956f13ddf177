"""The SELECT that shows what a write would do to which rows, and the one that shows what it has done.

They are put together from parts of the caller's own text, cut at its tokens, and quoted names of the catalog.
A value never leaves the server but as its SHA-256, over what the type's own send function writes (the same
under every setting of the session), and, for people, as text. Keys leave it whole: rows are found again by
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from attrs import field, frozen

from governed_db.catalog.bound import Bound
from governed_db.catalog.describable import MOMENTS, Describable, changing
from governed_db.catalog.model import Catalog, Column
from governed_db.statement.describing import PREFIX, Undescribed
from governed_db.statement.facts import Access, EffectKind
from governed_db.statement.probing import matching, quoted, target

MAX_PARAMETERS: Final = 65_535
"""Values of one message (an int16 in Bind, PostgreSQL's protocol): keys times rows that are read again."""

_VARCHAR = 1043


@frozen(kw_only=True)
class Detail:
    """What the catalog says of a column only when it is asked.

    Attributes:
        type: how its type is written, modifier included.
        sends: the function that writes a value as bytes, qualified and quoted; "" where there is none.
        default: the expression of its DEFAULT, "" where there is none.
        identity: its values are numbered by the server.
        near: its type's ``=`` is PostgreSQL's own.
    """

    type: str
    sends: str
    default: str = field(default="", repr=False)
    identity: bool = False
    near: bool = True


@frozen(kw_only=True)
class Details:
    """What has to be asked of a table. ``locks``: the role may lock its rows; ``differs``: row-level security
    has one word for reading and another for writing."""

    columns: Mapping[int, Detail]
    locks: bool = True
    differs: bool = False


DETAILS: Final = b"""
SELECT a.attnum::pg_catalog.text,
    pg_catalog.format_type(a.atttypid, a.atttypmod),
    CASE WHEN p.oid IS NOT NULL THEN pg_catalog.format('%I.%I', n.nspname, p.proname) END,
    coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.pg_get_expr(t.typdefaultbin, 0)),
    (a.attidentity OPERATOR(pg_catalog.<>) '')::pg_catalog.text,
    (pg_catalog.has_any_column_privilege(c.oid, 'UPDATE'))::pg_catalog.text,
    (c.relrowsecurity AND pg_catalog.row_security_active(c.oid) AND EXISTS (
        SELECT FROM pg_catalog.pg_policy AS y
        WHERE y.polrelid OPERATOR(pg_catalog.=) c.oid
        AND y.polcmd OPERATOR(pg_catalog.<>) '*'::pg_catalog."char"))::pg_catalog.text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
    AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
LEFT JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.typsend::pg_catalog.oid
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid OPERATOR(pg_catalog.=) c.oid
    AND d.adnum OPERATOR(pg_catalog.=) a.attnum
WHERE c.oid OPERATOR(pg_catalog.=) $1
"""
"""What :func:`details` reads, of the table whose OID is the parameter."""


def details(rows: Sequence[Sequence[str | None]], found: Describable, catalog: Catalog) -> Details:
    """Read the answer to :data:`DETAILS`.

    Raises:
        Undescribed: the rows of ``found`` cannot be shown, for what it says.
    """
    types = {c.number: c.type_oid for c in found.relation.columns}
    read: dict[int, Detail] = {}
    for number, type_, sends, default, identity, _, _ in rows:
        oid = types.get(int(number or 0), 0)
        read[int(number or 0)] = Detail(
            # Without its length: a cast would cut what an assignment refuses.
            type="pg_catalog.varchar" if oid == _VARCHAR else type_ or "",
            sends=sends or "",
            default=default or "",
            identity=identity == "true",
            near=_near(catalog, oid),
        )
    missing = [c.name for c in found.columns if c.number not in read or not read[c.number].sends]
    if missing:
        raise Undescribed(f"values of the column {missing[0]} cannot be written as bytes")
    locks, differs = rows[0][5] == "true", rows[0][6] == "true"
    if found.access is not Access.INSERT:
        if not locks:
            raise Undescribed(
                f"this role may not lock rows of {found.relation}, so that they could change under what"
                " people agreed to",
                "grant the role UPDATE on a column of the table",
            )
        if differs:
            raise Undescribed(
                f"the row-level security of {found.relation} is another for reading than for writing",
                "write its policies FOR ALL",
            )
    return Details(columns=read, locks=locks, differs=differs)


def defaults(found: Describable, known: Details) -> tuple[str, ...]:
    """Return the expressions of the DEFAULTs that an UPDATE sets: to be judged like what a caller writes.

    Raises:
        Undescribed: the server numbers the column's rows.
    """
    expressions = []
    for each in found.parts.assigned:
        column = found.relation.column(each.column)
        if each.text or column is None or column.generated:
            continue
        if known.columns[column.number].identity:
            raise changing(f"the DEFAULT of {each.column}")
        expressions.append(known.columns[column.number].default)
    return tuple(e for e in expressions if e)


def check_default(bound: Bound) -> None:
    """See that a DEFAULT, bound as ``SELECT`` of it, is the same whenever it is asked for.

    Raises:
        Undescribed: it may not be.
    """
    for use in bound.functions:
        timed = any(f.volatility == "s" and f.returns in MOMENTS for f in use.candidates)
        if timed or not use.vetted or any(f.volatility == "v" for f in use.candidates):
            raise changing(f"a DEFAULT ({use.ref})")
    if not bound.complete or any(e.kind is not EffectKind.SELECT for e in bound.effects):
        raise Undescribed("a DEFAULT does more than compute, or is not known to", "give the value itself")


def _near(catalog: Catalog, oid: int) -> bool:
    type_ = catalog.types.get(oid)
    while type_ is not None and type_.kind == "d":
        type_ = catalog.types.get(type_.base)
    return type_ is None or type_.schema == "pg_catalog" or type_.kind == "e"


@frozen(kw_only=True)
class Asking:
    """The SELECTs about the rows of one write: texts, and how the columns of their answers are made up.

    Attributes:
        found: the write.
        text: what it would do; :meth:`up_to` completes it.
        parameters: the numbers of the ``$n`` in it.
        rekeys: it sets columns of the key.
    """

    found: Describable
    text: str = field(repr=False)
    parameters: frozenset[int]
    rekeys: bool
    details: Details = field(repr=False)

    def up_to(self, rows: int, *, lock: bool = False) -> str:
        """Return the SELECT for so many rows, which it locks where asked to: until the transaction ends."""
        locks = ""
        if lock and self.found.access is not Access.INSERT:
            strength = "FOR NO KEY UPDATE" if self._keeps_keys() else "FOR UPDATE"
            locks = f"{strength} OF {quoted(self.found.parts.rows.name)}"
        return self.text.replace(_LIMIT, f"LIMIT {rows}\n{locks}")

    def _keeps_keys(self) -> bool:
        # What PostgreSQL itself locks: rows whose keys an UPDATE leaves alone may be pointed at meanwhile.
        if self.found.access is not Access.UPDATE:
            return False
        numbers = {c.number for c in self.found.assigned}
        return all(numbers.isdisjoint(key) for key in self.found.relation.keys)

    def again(self, rows: int) -> str:
        """Return the SELECT of the rows with so many keys, given as parameters in the binary format."""
        found = self.found
        width = len(found.key)
        lists = ", ".join(
            "(" + ", ".join(f"${row * width + n + 1}" for n in range(width)) + ")" for row in range(rows)
        )
        names = ", ".join(f"k{n}" for n in range(1, width + 1))
        equal = " AND ".join(
            f"{_compared(f't.{quoted(c.name)}', self.details.columns[c.number])}"
            f" OPERATOR(pg_catalog.=) {_compared(f'k.k{n}', self.details.columns[c.number])}"
            for n, c in enumerate(found.key, 1)
        )
        fields = [_PLACE.format("t"), *(_hex(self._sent(c, f"t.{quoted(c.name)}")) for c in found.key)]
        fields += [_hash(self._sent(c, f"t.{quoted(c.name)}")) for c in found.columns]
        name = quoted(found.relation.schema, found.relation.name)
        return (
            f"SELECT {', '.join(fields)}\nFROM {name} AS t\nJOIN (VALUES {lists}) AS k ({names})\nON {equal}"
        )

    def _sent(self, column: Column, value: str) -> str:
        return f"{self.details.columns[column.number].sends}({value})"


_LIMIT = f"LIMIT /*{PREFIX}*/ 0"
_PLACE = "({0}.tableoid::pg_catalog.text OPERATOR(pg_catalog.||) {0}.ctid::pg_catalog.text)"

SHOWN_CHARACTERS: Final = 200
"""Characters of a value that people are shown; of a longer one the digest covers the rest."""

MASKED: Final = "<masked>"
"""What stands for a value that approvers may not see."""


def asking(
    found: Describable, known: Details, hidden_before: Collection[int], hidden_after: Collection[int]
) -> Asking:
    """Put the SELECTs together.

    Args:
        found: what is asked about.
        known: what its table says.
        hidden_before, hidden_after: numbers of the columns whose values approvers do not see.
    """
    inner, fields = _inserted(found, known) if found.access is Access.INSERT else _changed(found, known)
    inserts = found.access is Access.INSERT
    outer = ["NULL" if inserts else "d.place"]
    side = "a" if inserts else "b"
    outer += [_hex(_send(known, c, f"d.{side}{c.number}")) for c in found.key]
    rekeys = bool(set(found.key) & set(found.assigned))
    if rekeys:
        outer += [_hex(_send(known, c, f"d.{_side(found, c)}{c.number}")) for c in found.key]
    if not inserts:
        outer += [_hash(_send(known, c, f"d.b{c.number}")) for c in found.columns]
    after = found.columns if inserts else found.assigned
    outer += [_hash(_send(known, c, f"d.a{c.number}")) for c in after]
    key_hidden = hidden_after if inserts else hidden_before
    outer += [_text(f"d.{side}{c.number}", c, key_hidden) for c in found.key]
    if not inserts:
        outer += [_text(f"d.b{c.number}", c, hidden_before) for c in found.shown]
    outer += [_text(f"d.a{c.number}", c, hidden_after) for c in after]
    ctes = found.parts.rows.ctes
    text = f"{ctes}\nSELECT {', '.join(outer)}\nFROM (SELECT {', '.join(fields)}\n{inner}\n{_LIMIT}) AS d"
    return Asking(
        found=found, text=text.lstrip(), parameters=found.parts.parameters, rekeys=rekeys, details=known
    )


def own_words(found: Describable) -> str:
    """Return the SELECT of what the statement itself reads, to be judged like one that a caller sends."""
    parts, relation = found.parts, found.relation
    if found.access is Access.INSERT:
        return f"{parts.rows.ctes}\nSELECT *\nFROM (\n{parts.rows.query}\n) AS q".lstrip()
    given = ", ".join(f"(\n{each.text}\n)" for each in parts.assigned if each.text)
    laterals = "\n".join(parts.laterals)
    rows = target(parts.rows, relation.schema, relation.name)
    return f"{parts.rows.ctes}\nSELECT {given}\nFROM {rows}\n{laterals}{matching(parts.rows)}".lstrip()


def _changed(found: Describable, known: Details) -> tuple[str, list[str]]:
    parts, relation = found.parts, found.relation
    name = quoted(parts.rows.name)
    fields = [f"{_PLACE.format(name)} AS place"]
    fields += [f"{name}.{quoted(c.name)} AS b{c.number}" for c in found.columns]
    by_name = {c.name: c for c in found.assigned}
    for each in parts.assigned:
        if each.column in by_name:
            column = by_name[each.column]
            detail = known.columns[column.number]
            fields.append(f"(\n{each.text or detail.default or 'NULL'}\n)::{detail.type} AS a{column.number}")
    order = ", ".join(f"{name}.{quoted(c.name)}" for c in found.key)
    laterals = "\n".join(parts.laterals)
    rows = target(parts.rows, relation.schema, relation.name)
    return f"FROM {rows}\n{laterals}{matching(parts.rows)}\nORDER BY {order}", fields


def _inserted(found: Describable, known: Details) -> tuple[str, list[str]]:
    names = [f"c{place}" for place in range(1, len(found.columns) + 1)]
    fields = [
        f"q.{name}::{known.columns[c.number].type} AS a{c.number}"
        for name, c in zip(names, found.columns, strict=True)
    ]
    query = found.parts.rows.query
    if found.parts.lists:
        types = [known.columns[c.number].type for c in found.columns]
        lists = (
            ", ".join(f"(\n{cell}\n)::{type_}" for cell, type_ in zip(cells, types, strict=True))
            for cells in found.parts.lists
        )
        query = "VALUES " + ", ".join(f"({cells})" for cells in lists)
    return f"FROM (\n{query}\n) AS q ({', '.join(names)})", fields


def _side(found: Describable, column: Column) -> str:
    return "a" if column in found.assigned else "b"


def _send(known: Details, column: Column, value: str) -> str:
    return f"{known.columns[column.number].sends}({value})"


def _hex(sent: str) -> str:
    return f"pg_catalog.encode({sent}, 'hex')"


def _hash(sent: str) -> str:
    return f"pg_catalog.encode(pg_catalog.sha256({sent}), 'hex')"


def _text(value: str, column: Column, hidden: Collection[int]) -> str:
    if column.number in hidden:
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE '{MASKED}' END"
    return f"pg_catalog.left({value}::pg_catalog.text, {SHOWN_CHARACTERS + 1})"


def _compared(value: str, detail: Detail) -> str:
    return value if detail.near else f"{value}::pg_catalog.text"

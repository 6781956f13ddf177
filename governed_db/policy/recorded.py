"""A statement of the trail, read back into the facts that it was judged by.

A record has no literals, and the grammar cannot read the text in it any more. It does not have to: the record
holds what decisions rest on, as it was found when the statement ran. The catalog, where the archive has it,
says what columns and relations were.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from governed_db.catalog.bound import (
    Bound,
    ColumnUse,
    FunctionUse,
    Operand,
    Output,
    RelationUse,
    Source,
    Use,
)
from governed_db.catalog.kin import kin
from governed_db.catalog.model import Catalog, Function, Relation
from governed_db.identity.model import Identity, Kind
from governed_db.statement.facts import (
    WRITES,
    Access,
    Effect,
    EffectKind,
    FunctionRef,
    RelationName,
    RelationRef,
    Statement,
)

MAX_HELD = 8
"""Catalogs in memory at a time, some 10 MB each; a trail goes through them in the order of time."""

TEXT_ONLY = "judged by its text alone, as under observe: which columns are masked is for a catalog to say"
ELSEWHERE = "what it hands out is what an earlier statement asked for"

_ELSEWHERE = frozenset({EffectKind.FETCH, EffectKind.EXECUTE})


class NotReplayable(Exception):  # noqa: N818 - it names what a record lacks, not a fault
    """A record does not hold what judging it again takes. Its text says why, in words without names."""


@frozen(kw_only=True)
class Recorded(Statement):
    """A statement as the trail has it. What its effects alone do not tell was put on record.

    ``told_writes`` and ``told_countable``: whether it writes rows, by itself or through what it sets off,
    and whether somebody can count them.
    """

    told_countable: bool = True
    told_writes: bool = False
    told_rows: int | None = None

    @property
    def writes(self) -> bool:
        """See :attr:`Statement.writes`."""
        return self.told_writes

    @property
    def rows_listed(self) -> int | None:
        """See :attr:`Statement.rows_listed`."""
        return self.told_rows


@frozen(kw_only=True)
class Facts:
    """What one record says, ready to be judged.

    Attributes:
        statement, bound, identity, database: as they were judged.
        environment: where the process said it ran.
        catalog: the catalog it ran on, where it is known and in the archive.
        masks_untold: why masks cannot be told, "" where they can.
        masked: the masks on record, each column with its strategy, in the order of the result.
        values: columns of which only their values had told that they are sensitive, with their labels.
    """

    statement: Recorded
    bound: Bound | None
    identity: Identity
    database: str
    environment: str
    catalog: Catalog | None
    masks_untold: str
    masked: tuple[tuple[str, str], ...]
    values: tuple[tuple[str, str], ...] = ()


class Shelf:
    """Catalogs out of the archive, with their relations by name. The last few stay at hand."""

    def __init__(self, load: Callable[[str], Catalog | None]) -> None:
        self._load = load
        self._held: OrderedDict[str, tuple[Catalog, dict[str, Relation]] | None] = OrderedDict()

    def get(self, version: str) -> tuple[Catalog, dict[str, Relation]] | None:
        """Return a catalog and its relations by ``schema.name``, ``None`` where it is not in the archive.

        Two relations whose names read the same (names can hold dots) are both left out.
        """
        if version not in self._held:
            catalog = self._load(version)
            held = None
            if catalog is not None:
                named: dict[str, Relation] = {}
                twice = set()
                for relation in catalog.relations.values():
                    if named.setdefault(str(relation), relation) is not relation:
                        twice.add(str(relation))
                held = (catalog, {n: r for n, r in named.items() if n not in twice})
            self._held[version] = held
            if len(self._held) > MAX_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(version)
        return self._held[version]


def facts(entry: Mapping[str, Any], shelf: Shelf) -> Facts:
    """Return what the record ``entry`` says.

    Args:
        entry: a statement as :func:`governed_db.audit.statements` yields it.
        shelf: the catalogs.

    Raises:
        NotReplayable: it does not say enough.
    """
    if "truncated" in entry:
        raise NotReplayable("its record was too long and was shortened")
    what, place = entry.get("what"), entry.get("where", {})
    if not what or "effects" not in what:
        raise NotReplayable("its text could not be read")
    try:
        identity = _identity(entry["who"])
        version = place.get("catalog", "")
        bound_then = "lineage" in what
        found = shelf.get(version) if version and bound_then else None
        catalog = found[0] if found is not None else None
        reading = _Reading(what, None if found is None else found[1], catalog)
        statement = reading.statement(bound_then)
        bound = None
        untold = TEXT_ONLY
        if bound_then and statement.commands:
            bound, untold = reading.bound(statement, version)
        elif not statement.commands:
            untold = ""
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise NotReplayable("its record was written by another version of governed_db") from None
    return Facts(
        statement=statement,
        bound=bound,
        identity=identity,
        database=place.get("database", ""),
        environment=place.get("environment", ""),
        catalog=catalog,
        masks_untold=untold,
        masked=tuple((m["column"], m["strategy"]) for m in what.get("masked", ())),
        values=tuple((m["column"], m["label"]) for m in what.get("masked", ()) if "basis" in m),
    )


class _Reading:
    """One record's ``what``, read into the values it was made of."""

    def __init__(
        self, what: Mapping[str, Any], index: Mapping[str, Relation] | None, catalog: Catalog | None
    ) -> None:
        self.what = what
        self.index = index
        self.catalog = catalog
        self.relations: dict[str, Relation] = {}
        self.spellings: dict[str, RelationName] = {}
        bound = "lineage" in what
        for entry in what.get("relations", ()):
            for name in filter(None, (entry["name"], entry.get("via"))):
                if bound and name not in self.relations:
                    self.relations[name] = self._relation(name)
            if not bound:
                continue
            relation = self.relations[entry["name"]]
            self.spellings[entry["name"]] = RelationName(relation.schema, relation.name)
            if "via" not in entry and "within" not in entry:
                self.spellings.setdefault(relation.name, RelationName(None, relation.name))
            if "written" in entry:
                self.spellings[entry["written"]] = _split(entry["written"])

    def _relation(self, name: str) -> Relation:
        found = None if self.index is None else self.index.get(name)
        if found is not None:
            return found
        parts = _split(name)
        # No number of PostgreSQL's is negative: a stand-in is mistaken for nothing.
        return Relation(oid=-1 - len(self.relations), schema=parts.schema or "", name=parts.name, kind="r")

    def _name(self, text: str) -> RelationName:
        return self.spellings.get(text) or _split(text)

    def effects(self) -> tuple[Effect, ...]:
        return tuple(
            Effect(
                kind=EffectKind(e["kind"]),
                target=self._name(e["target"]) if "target" in e else None,
                name=e.get("name", ""),
                constrained=e.get("constrained"),
                rows=e.get("rows"),
                note=e.get("note", ""),
            )
            for e in self.what["effects"]
        )

    def statement(self, bound: bool) -> Recorded:
        what = self.what
        effects = self.effects()
        multiple = next((int(e.name) for e in effects if e.kind is EffectKind.MULTIPLE), 1)
        empty = len(effects) == 1 and effects[0].kind is EffectKind.EMPTY
        because = "" if bound else what.get("incomplete_because", "")
        functions = [
            *(_call(n, certain=True) for n in what.get("functions", ()) if isinstance(n, str)),
            *(_call(n, certain=False) for n in what.get("functions_or_columns", ())),
        ]
        return Recorded(
            text="",
            tree=(),
            commands=0 if empty else multiple,
            tag=what.get("tag", ""),
            effects=effects,
            relations=tuple(
                RelationRef(
                    self._name(r.get("written", r["name"])) if bound else _split(r["name"]),
                    Access(r["access"]),
                    index,
                )
                for index, r in enumerate(what.get("relations", ()))
                if "via" not in r and "within" not in r
            ),
            functions=() if bound else tuple(functions),
            parameters=what.get("parameters", {}).get("count", 0),
            complete=not because,
            incomplete_because=because,
            fingerprint=what.get("fingerprint", ""),
            normalised=what.get("text", ""),
            summary=what.get("summary", ""),
            told_countable=what.get("countable", True),
            told_writes=what.get("writes", any(e.kind in WRITES for e in effects)),
            told_rows=what.get("rows"),
        )

    def bound(self, statement: Recorded, version: str) -> tuple[Bound, str]:
        """Return the bound statement, and why its masks cannot be told, "" where they can."""
        what, lineage = self.what, self.what["lineage"]
        because = what.get("incomplete_because", "")
        untold = ""
        sources: list[Source] = []
        if self.index is None:
            untold = "the catalog it ran on is not in the archive"
        elif any(r.oid < 0 for r in self.relations.values()):
            untold = "a relation of it cannot be told in the catalog it ran on"
        elif any(e.kind in _ELSEWHERE for e in statement.effects):
            untold = ELSEWHERE
        else:
            sources = [self._source(name) for name in what.get("columns", ())]
        outputs = None
        if "outputs" in lineage and not untold:
            outputs = tuple(
                Output(name=f"{n}", sources=frozenset(sources[i] for i in places), plain=plain == 1)
                for n, (plain, *places) in enumerate(lineage["outputs"], 1)
            )
        uses = (
            ()
            if untold
            else tuple(
                _use(clause, sources[i], sources, *more) for clause, i, *more in lineage.get("uses", ())
            )
        )
        bound = Bound(
            statement=statement,
            effects=statement.effects,
            relations=tuple(
                RelationUse(
                    relation=self.relations[r["name"]],
                    access=Access(r["access"]),
                    location=index,
                    via=self.relations[r["via"]] if "via" in r else None,
                    within=r.get("within", ""),
                    kin=self._kin(self.relations[r["name"]]),
                )
                for index, r in enumerate(what.get("relations", ()))
            ),
            functions=tuple(_function_use(meant) for meant in what.get("functions", ())),
            outputs=outputs,
            uses=uses,
            unknown=(),
            complete=not because,
            incomplete_because=because,
            rows=what.get("rows"),
            catalog_version=version,
            columns=self._touched(),
        )
        return bound, untold

    def _kin(self, relation: Relation) -> tuple[RelationName, ...]:
        return () if self.catalog is None or relation.oid < 0 else kin(self.catalog, relation)

    def _source(self, name: str) -> Source:
        relation_name, column = self._column(name)
        relation = self.relations.get(relation_name)
        if relation is None or relation.oid < 0:
            return Source(int(relation_name), int(column))
        if column == "*":
            return Source(relation.oid, 0)
        found = relation.column(column)
        return Source(relation.oid, found.number if found is not None else int(column))

    def _column(self, name: str) -> tuple[str, str]:
        """Split ``schema.relation.column``. Names can hold dots, so the relations on record come first."""
        owner = max((r for r in self.relations if name.startswith(f"{r}.")), key=len, default="")
        if not owner:
            owner, _, _ = name.rpartition(".")
        return owner, name[len(owner) + 1 :]

    def _touched(self) -> tuple[ColumnUse, ...] | None:
        touched = self.what.get("touched")
        if touched is None:
            return None
        columns = self.what.get("columns", ())
        found = []
        for access, names in touched.items():
            for name in names:
                owner, column = self._column(columns[name] if isinstance(name, int) else name)
                found.append(ColumnUse(self._name(owner), column, Access(access)))
        return tuple(found)


def _use(
    clause: str, source: Source, sources: list[Source], sink: int | None = None, little: str = ""
) -> Use:
    return Use(
        source,
        clause,
        -1,
        None if sink is None else sources[sink],
        little == "nullness",
        _COMPARED if little == "equality" else (),
    )


_COMPARED = (Operand(0, -1),)  # with what, no record says


def _identity(who: Mapping[str, Any]) -> Identity:
    principal = None
    for one in reversed([who, *who.get("on_behalf_of", ())]):
        principal = Identity(
            kind=Kind(one["kind"]),
            subject=one["subject"],
            issuer=one.get("issuer", ""),
            verified=one["verified"],
            groups=one.get("groups", ()),
            on_behalf_of=principal,
        )
    assert principal is not None
    return principal


def _split(text: str) -> RelationName:
    schema, _, name = text.rpartition(".") if text.count(".") == 1 else text.partition(".")
    return RelationName(schema, name) if name and schema else RelationName(None, schema or name)


def _call(name: str, *, certain: bool) -> FunctionRef:
    parts = _split(name)
    return FunctionRef(parts.schema, parts.name, -1, "call", -1, certain)


def _function_use(meant: str | list[str]) -> FunctionUse:
    names = [_split(name) for name in ([meant] if isinstance(meant, str) else meant)]
    first = FunctionRef(names[0].schema, names[0].name, -1, "call", -1)
    candidates = tuple(_function(n.schema, n.name) for n in names if n.schema is not None)
    # Whether it is vetted has been said by the effects already.
    return FunctionUse(ref=first, candidates=candidates, vetted=True)


def _function(schema: str, name: str) -> Function:
    """Return a function of which nothing but the name counts."""
    return Function(
        oid=-1,
        schema=schema,
        name=name,
        arguments=(),
        defaults=0,
        variadic=False,
        volatility="v",
        language="",
        kind="f",
        returns=0,
        returns_set=False,
        security_definer=False,
    )

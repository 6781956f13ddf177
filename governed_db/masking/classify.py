"""Which columns of a database are sensitive, told from its catalog alone: no row is read.

Evidence, strongest first: what the owner of the column wrote in a comment, its type (inet, a domain named
``email_address``), its name, then its name in the light of its table (``name`` of customers is a person's,
``name`` of products is not). A type that cannot hold the thing (a boolean ``email_verified``) overrules a
name. ``confidence`` says which of these spoke; it is an order, not a measured probability.

Cities, countries, user agents, time zones and surrogate keys are not sensitive by themselves here: hiding
them would cost most reports and hide nobody. A policy can say otherwise for a column by an override.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog, Relation
from governed_db.masking.lineage import SYSTEM, handed_on
from governed_db.masking.matching import of_relation
from governed_db.masking.model import Sensitivity
from governed_db.masking.phrases import LABELS

_RELKINDS: Final = frozenset("rpvmf")  # what can stand in FROM; sequences and indexes hold no data of people


def classify(
    catalog: Catalog,
    overrides: Mapping[str, str | None] | None = None,
    sampled: Mapping[Source, Sensitivity] | None = None,
) -> dict[Source, Sensitivity]:
    """Return the sensitive columns of ``catalog`` with why.

    Args:
        catalog: the snapshot to look at; PostgreSQL's own schemas are left out.
        overrides: by ``schema.table.column``, a label, or ``None`` for "not sensitive". They win. One that
            names no column is told of by :func:`stale`. Where its relation is there without the column, the
            column has another name by now, and nobody here knows which: every column of that relation has
            the label then, but for those that another override settles. All else works as before.
        sampled: what values say (:mod:`governed_db.masking.sampled`) where nothing else says anything.
    """
    found: dict[Source, Sensitivity] = {}
    for relation in catalog.relations.values():
        if relation.kind in _RELKINDS and not relation.schema.startswith(SYSTEM):
            found |= {Source(relation.oid, n): a for n, a in of_relation(relation, catalog).items()}
    for source, answer in (sampled or {}).items():
        found.setdefault(source, answer)
    columns = _columns(catalog) if overrides else {}
    given = {path: columns.get(path) for path in overrides or ()}
    for each in stale(catalog, overrides):
        if each.relation is None or each.label is None:
            continue
        for column in each.relation.columns:
            found[Source(each.relation.oid, column.number)] = Sensitivity(
                label=each.label,
                confidence=1.0,
                because=f"the policy says so of {each.path}, which is not there, so any column may be it",
                basis="policy",
            )
    for path, label in (overrides or {}).items():
        if (named := given[path]) is None:
            continue
        if label is None:
            found.pop(named, None)
        else:
            found[named] = Sensitivity(
                label=label, confidence=1.0, because="the policy says so", basis="policy"
            )
    cleared = {given[path] for path, label in (overrides or {}).items() if label is None}
    # What was inherited is handed on in its turn: a foreign key to a generated column, to a foreign key, ...
    while more := {
        source: answer
        for source, answer in handed_on(catalog, found)
        if source not in found and source not in cleared
    }:
        found.update(more)
    return found


@frozen(kw_only=True)
class Stale:
    """An override that names no column of a catalog.

    ``relation`` is the relation it names, where that is there; ``nearest`` the column whose name is most
    like the one it names, "" where there is none.
    """

    path: str
    label: str | None
    relation: Relation | None
    nearest: str

    def __str__(self) -> str:
        hint = f"; the nearest is {self.nearest}" if self.nearest else ""
        kept = self.relation is not None and self.label is not None
        closed = f". Every column of {self.relation} is masked until then" if kept else ""
        return f"the masking override '{self.path}' names no column of this database{hint}{closed}"


def stale(catalog: Catalog, overrides: Mapping[str, str | None] | None) -> tuple[Stale, ...]:
    """Return the overrides that name no column of ``catalog``."""
    found: list[Stale] = []
    if not overrides:
        return ()
    columns = _columns(catalog)
    for path, label in overrides.items():
        if path in columns:
            continue
        # Names may hold dots, so the path is compared, not taken apart.
        relation = next((r for r in catalog.relations.values() if path.startswith(f"{r}.")), None)
        nearest = difflib.get_close_matches(path, columns, n=1, cutoff=0.0)
        found.append(Stale(path=path, label=label, relation=relation, nearest="".join(nearest)))
    return tuple(found)


@frozen(kw_only=True)
class Unused:
    """A label that a policy names and no column can have; ``nearest`` is the label most like it, or ""."""

    label: str
    nearest: str

    def __str__(self) -> str:
        hint = f"; the nearest is {self.nearest}" if self.nearest else ""
        return (
            f"no column can have the label '{self.label}', so what the policy says of it does nothing{hint}"
        )


def unused(named: Iterable[str], given: Iterable[str | None]) -> tuple[Unused, ...]:
    """Return those of ``named``, the labels of a policy's settings, that neither we nor ``given`` give.

    ``given``: the labels that overrides give. A label that is known and that no column of one database has
    is no mistake: the policy may serve others.
    """
    known = {*LABELS, *(label for label in given if label is not None)}
    return tuple(
        Unused(label=label, nearest="".join(difflib.get_close_matches(label, sorted(known), n=1)))
        for label in sorted(set(named) - known)
    )


def _columns(catalog: Catalog) -> Mapping[str, Source]:
    return {
        f"{relation}.{column.name}": Source(relation.oid, column.number)
        for relation in catalog.relations.values()
        for column in relation.columns
    }

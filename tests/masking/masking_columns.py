"""Catalogs made from a labelled list of columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog, Column, Relation, Type

CORPUS = Path(__file__).parents[1] / "corpus"
OIDS = {
    "text": 25,
    "varchar": 1043,
    "bpchar": 1042,
    "text[]": 1009,
    "int2": 21,
    "int4": 23,
    "int8": 20,
    "numeric": 1700,
    "float8": 701,
    "bool": 16,
    "date": 1082,
    "timestamp": 1114,
    "timestamptz": 1184,
    "json": 114,
    "jsonb": 3802,
    "uuid": 2950,
    "bytea": 17,
    "inet": 869,
    "cidr": 650,
    "macaddr": 829,
    "point": 600,
    "citext": 90_000,
    "interval": 1186,
    "hstore": 90_001,
}


def load(name: str = "classify_columns.jsonl") -> list[dict[str, Any]]:
    with (CORPUS / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def catalog_of(rows: Sequence[dict[str, Any]]) -> tuple[Catalog, dict[Source, dict[str, Any]]]:
    """Return a catalog of the columns in ``rows`` and the row behind each of its columns."""
    types = {
        90_000: Type(oid=90_000, schema="public", name="citext", kind="b", category="S"),
        90_001: Type(oid=90_001, schema="public", name="hstore", kind="b", category="U"),
    }
    tables: dict[str, list[Column]] = {}
    comments: dict[str, str] = {}
    where: dict[Source, dict[str, Any]] = {}
    for row in rows:
        oid = OIDS.get(row["type"])
        if oid is None:  # domain:<name>:<base> or enum:<name>
            form, name, *base = row["type"].split(":")
            oid = 91_000 + len(types)
            types[oid] = Type(
                oid=oid, schema="public", name=name, kind=form[0], category="E" if form == "enum" else "S",
                base=OIDS[base[0]] if base else 0,
            )  # fmt: skip
        columns = tables.setdefault(row["table"], [])
        columns.append(Column(len(columns) + 1, row["column"], oid, -1, False, row.get("comment")))
        comments.setdefault(row["table"], row.get("table_comment"))
        where[Source(20_000 + list(tables).index(row["table"]), len(columns))] = row
    relations = {}
    for oid, (table, columns) in enumerate(tables.items(), 20_000):
        schema, name = table.split(".", 1)
        relations[oid] = Relation(
            oid=oid, schema=schema, name=name, kind="r", columns=tuple(columns), comment=comments[table]
        )
    return Catalog(version="1", server_version=160000, relations=relations, functions={}, types=types), where

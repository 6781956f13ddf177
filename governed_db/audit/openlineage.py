"""Statements as OpenLineage run events with column lineage, one a statement.

A statement is a run; its job is what a caller does with one text, ``caller/fingerprint``. Tables that it
touched are inputs and outputs, named as OpenLineage's rules have it for PostgreSQL (``postgres://host:port``
and ``database.schema.table``). What it returned is an output too, a data set of the caller's own, since that
is where the columns went; its ``columnLineage`` facet says which column of the result was made of what, and
whether it was masked.

Event schema 2-0-2, facets ``columnLineage`` 1-2-0 and ``sql`` 1-1-0, and one of our own for the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final
from uuid import UUID, uuid5

from governed_db.audit import flat, flows, view
from governed_db.audit.view import Entry, part, text

PRODUCER: Final = "urn:governed-db"
SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_COLUMNS: Final = (
    "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet"
)
_SQL: Final = "https://openlineage.io/spec/facets/1-1-0/SQLJobFacet.json#/$defs/SQLJobFacet"
_CUSTOM: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet"
_RUNS = UUID("6f1a7a32-6a4f-5b38-9a54-0d5b0a2f6a11")
"""The name space of our runs: a record's id makes the same UUID whenever it is exported."""

_EVENTS = {"ok": "COMPLETE", "error": "FAIL", "cancelled": "ABORT"}


def events(entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """Yield one event for each statement that was sent."""
    for entry in entries:
        if flows.went(entry):
            yield event(entry)


def event(entry: Entry) -> dict[str, Any]:
    """Return the event of one statement that was sent."""
    what = part(entry, "what")
    server, database = _server(entry), text(part(entry, "where"), "database") or "unknown"
    caller = (view.callers(entry) or ["unknown"])[0]
    name = text(what, "fingerprint") or text(what, "tag") or "unknown"
    inputs = {n: None for n, access in view.relations(entry) if access in ("read", "")}
    written = {n: None for n, access in view.relations(entry) if access not in ("read", "")}
    made: dict[str, Any] = {
        "eventType": _EVENTS.get(view.status(entry), "OTHER"),
        "eventTime": flat.ended(entry) or text(entry, "at"),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": str(uuid5(_RUNS, text(entry, "id"))), "facets": {"governed_db": _run(entry)}},
        "job": {"namespace": server, "name": f"{caller}/{name}", "facets": {}},
        "inputs": [_dataset(server, database, n) for n in inputs],
        "outputs": [_dataset(server, database, n) for n in written],
    }
    if query := text(what, "text"):
        made["job"]["facets"]["sql"] = {
            "_producer": PRODUCER,
            "_schemaURL": _SQL,
            "query": query,
            "dialect": "postgres",
        }
    if lineage := _lineage(entry, server, database):
        made["outputs"].append(
            {"namespace": server, "name": f"{caller}/{name}/result", "facets": {"columnLineage": lineage}}
        )
    return made


def _lineage(entry: Entry, server: str, database: str) -> dict[str, Any] | None:
    made = flows.outputs(entry)
    if made is None:
        return None
    masks = {view.short(column) for column, _, _ in view.masked(entry)}

    def source(column: str, kind: str, subtype: str) -> dict[str, Any]:
        relation, _, name = column.rpartition(".")
        masked = view.short(column) in masks
        if masked and subtype == "IDENTITY":
            subtype = "TRANSFORMATION"  # the mask is one
        return {
            **_dataset(server, database, relation or "unknown"),
            "field": name,
            "transformations": [{"type": kind, "subtype": subtype, "masking": masked}],
        }

    # A result's columns have no names in a record, since an alias could hold anything: they go by number.
    fields = {
        str(number): {
            "inputFields": [
                source(c, "DIRECT", "IDENTITY" if plain else "TRANSFORMATION") for c, plain in column
            ]
        }
        for number, column in enumerate(made, start=1)
        if column
    }
    used = [
        source(column, "INDIRECT", _subtype(clause)) for clause, column in dict.fromkeys(flows.uses(entry))
    ]
    if not fields and not used:
        return None
    return {"_producer": PRODUCER, "_schemaURL": _COLUMNS, "fields": fields} | (
        {"dataset": used} if used else {}
    )


def _subtype(clause: str) -> str:
    """Return OpenLineage's word for a clause; FILTER for those that decide on rows in any other way."""
    for ours, theirs in (("ORDER", "SORT"), ("GROUP", "GROUP_BY"), ("JOIN", "JOIN"), ("WINDOW", "WINDOW")):
        if ours in clause.upper():
            return theirs
    return "FILTER"


def _run(entry: Entry) -> dict[str, Any]:
    who, may = part(entry, "who"), part(entry, "may")
    caller, *behalf = view.callers(entry) or ["unknown"]
    made: dict[str, Any] = {
        "_producer": PRODUCER,
        "_schemaURL": _CUSTOM,
        "record": text(entry, "id"),
        "caller": caller,
        "status": view.status(entry),
        "masked": [{"column": c, "label": label, "strategy": s} for c, label, s in view.masked(entry)],
    }
    if behalf:
        made["onBehalfOf"] = behalf
    for name, section, key in (
        ("session", who, "session"),
        ("toolCall", who, "tool_call"),
        ("purpose", who, "purpose"),
        ("verdict", may, "verdict"),
        ("rule", may, "rule"),
        ("policy", may, "policy"),
    ):
        if value := text(section, key):
            made[name] = value
    return made


def _server(entry: Entry) -> str:
    where = part(entry, "where")
    host, port = text(where, "host"), view.number(where, "port")
    # The folder of a local server's socket is no host; its port still tells servers apart.
    host = "localhost" if not host or host.startswith("/") else f"[{host}]" if ":" in host else host
    return f"postgres://{host}:{port or 5432}"


def _dataset(server: str, database: str, relation: str) -> dict[str, Any]:
    return {"namespace": server, "name": f"{database}.{relation}"}

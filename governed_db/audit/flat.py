"""An entry of the trail as one row of a table: the columns that CSV and Parquet share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson
from attrs import frozen

from governed_db.audit import view
from governed_db.audit.view import Entry, part, text

Type = Literal["text", "integer", "boolean", "time", "texts"]


@frozen
class Column:
    """One column: its name, its type, and what it takes from an entry; ``None`` where there is nothing."""

    name: str
    type: Type
    take: Callable[[Entry], Any]


def row(entry: Entry) -> list[Any]:
    """Return ``entry`` as values of :data:`COLUMNS`."""
    return [column.take(entry) for column in COLUMNS]


def ended(entry: Entry) -> str:
    """Return when a statement ended, as records write times; "" where it did not, or nobody knows."""
    if said := text(part(entry, "happened"), "ended"):
        return said
    return text(entry, "at") if entry.get("kind") == "refusal" else ""


def time(stamp: str) -> datetime | None:
    """Return a record's time, ``None`` where it is none."""
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return found if found.utcoffset() == timedelta(0) else None


def _text(section: str, name: str) -> Callable[[Entry], str | None]:
    return lambda entry: text(part(entry, section), name) or None


def _integer(section: str, name: str) -> Callable[[Entry], int | None]:
    def take(entry: Entry) -> int | None:
        found = view.number(part(entry, section), name)
        # A forged record may hold what no column of 64 bits does.
        return found if found is not None and -(2**63) <= found < 2**63 else None

    return take


def _flag(section: str, name: str) -> Callable[[Entry], bool | None]:
    def take(entry: Entry) -> bool | None:
        found = part(entry, section).get(name)
        return found if isinstance(found, bool) else None

    return take


def _texts(section: str, name: str) -> Callable[[Entry], list[str] | None]:
    return lambda entry: view.strings(part(entry, section), name) or None


def _effects(entry: Entry) -> list[str] | None:
    found = view.objects(part(entry, "what"), "effects")
    said = [" ".join(filter(None, (text(e, "kind"), text(e, "target") or text(e, "name")))) for e in found]
    return said or None


def _details(entry: Entry) -> str | None:
    """What belongs to an event, and where damage is: as JSON, since each has fields of its own."""
    if entry.get("kind") == view.DAMAGE:
        found: Any = {
            k: v for k, v in entry.items() if k in ("because", "segment", "offset", "bytes", "first", "last")
        }
    else:
        found = part(entry, "details")
    return orjson.dumps(found).decode() if found else None


COLUMNS: tuple[Column, ...] = (
    Column("record_id", "text", lambda e: text(e, "id") or None),
    Column("kind", "text", lambda e: text(e, "kind") or None),
    Column("started_at", "time", lambda e: time(text(e, "at"))),
    Column("ended_at", "time", lambda e: time(ended(e))),
    Column("duration_us", "integer", _integer("happened", "duration_us")),
    Column("caller_kind", "text", _text("who", "kind")),
    Column("caller", "text", _text("who", "subject")),
    Column("issuer", "text", _text("who", "issuer")),
    Column("verified", "boolean", _flag("who", "verified")),
    Column("on_behalf_of", "texts", lambda e: view.callers(e)[1:] or None),
    Column("groups", "texts", _texts("who", "groups")),
    Column("session", "text", _text("who", "session")),
    Column("tool_call", "text", _text("who", "tool_call")),
    Column("purpose", "text", _text("who", "purpose")),
    Column("database_role", "text", _text("who", "role")),
    Column("client", "text", _text("who", "client")),
    Column("verdict", "text", _text("may", "verdict")),
    Column("rule", "text", _text("may", "rule")),
    Column("reason", "text", _text("may", "reason")),
    Column("policy", "text", _text("may", "policy")),
    Column("approval", "text", _text("may", "approval")),
    Column("grants", "texts", _texts("may", "grants")),
    Column("approvers", "texts", _texts("may", "approvers")),
    Column("status", "text", lambda e: view.status(e) or None),
    Column("sqlstate", "text", _text("happened", "sqlstate")),
    Column("error", "text", _text("happened", "error")),
    Column("rows_returned", "integer", _integer("happened", "rows_returned")),
    Column("rows_affected", "integer", _integer("happened", "rows_affected")),
    Column("batch_size", "integer", _integer("happened", "batch_size")),
    Column("bytes_copied", "integer", _integer("happened", "bytes_copied")),
    Column("summary", "text", lambda e: view.summary(e) or None),
    Column("text", "text", _text("what", "text")),
    Column("fingerprint", "text", _text("what", "fingerprint")),
    Column("effects", "texts", _effects),
    Column("relations", "texts", lambda e: list(dict.fromkeys(n for n, _ in view.relations(e))) or None),
    Column("columns_read", "texts", lambda e: view.columns(e, "read") or None),
    Column("columns_written", "texts", lambda e: view.columns(e, "insert", "update") or None),
    Column("masked", "texts", lambda e: [f"{c}={s}" for c, _, s in view.masked(e)] or None),
    Column("unmasked", "boolean", _flag("may", "unmasked")),
    Column("not_understood", "text", _text("what", "incomplete_because")),
    Column("host", "text", _text("where", "host")),
    Column("port", "integer", _integer("where", "port")),
    Column("database", "text", _text("where", "database")),
    Column("environment", "text", _text("where", "environment")),
    Column("connection", "text", _text("where", "connection")),
    Column("transaction", "text", _text("where", "transaction")),
    Column("trace_id", "text", _text("where", "trace_id")),
    Column("span_id", "text", _text("where", "span_id")),
    Column("details", "text", _details),
    Column("journal", "text", lambda e: text(e, "journal") or None),
    Column("sequence", "integer", lambda e: view.number(e, "sequence")),
)
"""Fields are added at the end; none is taken away, so that what reads them by name goes on working."""

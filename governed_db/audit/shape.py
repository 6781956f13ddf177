"""What a statement's record looks like as a span, for spans made in the process and shipped ones alike.

Names and meanings are those of OpenTelemetry's semantic conventions 1.44: the stable ones for databases and
PostgreSQL, those in development for ``user.*``, ``session.id``, ``gen_ai.*`` and ``mcp.*``; what they have no
word for is under ``governed_db.``. ``docs/reference/spans.md`` lists all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen

from governed_db.audit.record import Status, span_id

SCOPE = "governed_db"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

LONGEST_LIST = 100
"""Names in a list attribute. A statement over wide tables reads thousands of columns; backends cut or drop
attributes that long, and the record has all of them."""

OTHER = "_OTHER"
"""The conventions' word for an error without a name."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# In the effective search path without anybody having asked; the current schema is the first after them.
_IMPLICIT = ("pg_catalog", "pg_temp", "pg_toast_temp")


@frozen(kw_only=True)
class Shape:
    """One statement as a span.

    Attributes:
        name: the span's name, of low cardinality.
        kind: "client", always: the server is another process.
        failed: whether the span's status is an error.
        description: of that status: why a statement was not sent, in the policy's words. Never a server's
            message, which quotes values.
        trace_id, span_id: both follow from the record's id where the caller was in no span, so a span that
            is sent twice is recognised.
        parent_span_id: the caller's span; 0 outside of any.
        started, ended: nanoseconds since the Unix epoch, in whole microseconds. The same where nobody knows
            the end.
    """

    name: str
    kind: str = "client"
    failed: bool
    description: str
    attributes: dict[str, Any]
    trace_id: int
    span_id: int
    parent_span_id: int
    started: int
    ended: int


def shape(entry: Mapping[str, Any]) -> Shape:
    """Return the span of a statement, an object as :func:`governed_db.audit.statements` yields it.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is no record of this schema.
    """
    where = entry.get("where") or {}
    values = attributes(entry)
    started = nanoseconds(entry["at"])
    return Shape(
        name=name(values),
        failed="error.type" in values,
        description=_refused(values),
        attributes=values,
        trace_id=int(where.get("trace_id") or "0", 16) or trace_id(entry["id"]),
        span_id=span_id(entry["id"]),
        parent_span_id=int(where.get("parent_span_id") or "0", 16),
        started=started,
        ended=max(started, _ended(entry, started)),
    )


def name(values: Mapping[str, Any]) -> str:
    """Return the name of the span with these attributes, as the conventions rank what there may be."""
    summary: str = values.get("db.query.summary", "")
    if summary:
        return summary
    target = values.get("db.collection.name") or values.get("db.namespace") or _server(values)
    return " ".join(filter(None, (values.get("db.operation.name"), target))) or str(values["db.system.name"])


def attributes(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a statement's span: text, numbers, booleans and lists of text.

    No literal of the statement, value of a parameter or message of the server: the record has none.
    """
    who, what, may, where, happened = (
        entry.get(section) or {} for section in ("who", "what", "may", "where", "happened")
    )
    relations = list(dict.fromkeys(r["name"] for r in what.get("relations", ())))
    # Refusals carry the size of what was refused, and so does an empty executemany: 0 is a batch as well.
    batch = happened.get("batch_size", 1)
    prefix = "" if batch == 1 else "BATCH "
    # Of several commands in one text, none describes the call.
    single = all(e["kind"] != "multiple" for e in what.get("effects", ()))
    callers = [who, *who.get("on_behalf_of", ())]
    agent = next((c.get("subject") for c in callers if c.get("kind") == "agent"), None)
    masked = what.get("masked", ())
    values = {
        "db.system.name": "postgresql",
        "db.namespace": _namespace(where),
        "db.query.text": what.get("text"),
        "db.query.summary": _prefixed(prefix, what.get("summary")),
        "db.operation.name": _prefixed(prefix, what.get("tag")) if single else None,
        "db.operation.batch.size": None if batch == 1 else batch,
        "db.collection.name": relations[0] if single and len(relations) == 1 else None,
        "db.response.status_code": happened.get("sqlstate"),
        "server.address": where.get("host"),
        "server.port": where.get("port"),
        "client.address": who.get("client"),
        # Text that could not be read has no outcome of its own; under "observe" it is sent all the same.
        "error.type": _error_type(happened) if happened else may.get("rule", OTHER),
        "user.id": who.get("subject"),
        "user.roles": _some(who.get("groups", ())),
        "session.id": who.get("session"),
        "gen_ai.agent.id": agent,
        "gen_ai.agent.name": agent,
        "gen_ai.tool.call.id": who.get("tool_call"),
        "mcp.session.id": who.get("mcp_session"),
        "governed_db.record.id": entry["id"],
        "governed_db.outcome": happened.get("status"),
        "governed_db.identity.kind": who.get("kind"),
        "governed_db.identity.verified": who.get("verified"),
        "governed_db.identity.issuer": who.get("issuer"),
        "governed_db.on_behalf_of": _chain(who.get("on_behalf_of", ())),
        "governed_db.on_behalf_of.verified": _vouched(who.get("on_behalf_of", ())),
        "governed_db.purpose": who.get("purpose"),
        "governed_db.role": who.get("role"),
        "governed_db.decision": may.get("verdict"),
        "governed_db.rule": may.get("rule"),
        "governed_db.reason": may.get("reason"),
        "governed_db.policy": may.get("policy"),
        "governed_db.approval.id": may.get("approval"),
        "governed_db.grant.ids": _some(may.get("grants", ())),
        "governed_db.shadowed": _some(f"{s['rule']}: {s['verdict']}" for s in may.get("shadowed", ())),
        "governed_db.unmasked": may.get("unmasked"),
        "governed_db.effects": _some(dict.fromkeys(e["kind"] for e in what.get("effects", ()))),
        "governed_db.relations": _some(relations),
        "governed_db.columns.read": _some(_read(what)),
        "governed_db.columns.masked": _some(m["column"] for m in masked),
        "governed_db.fingerprint": what.get("fingerprint"),
        "governed_db.incomplete_because": what.get("incomplete_because"),
        "governed_db.rows.returned": happened.get("rows_returned"),
        "governed_db.rows.affected": happened.get("rows_affected"),
        "governed_db.bytes.copied": happened.get("bytes_copied"),
        "governed_db.truncated": happened.get("truncated"),
        "governed_db.connection": where.get("connection"),
        "governed_db.transaction": where.get("transaction"),
        "governed_db.environment": where.get("environment"),
    }
    return {key: value for key, value in values.items() if value is not None and value not in ("", [])}


def trace_id(record_id: str) -> int:
    """Return the trace id of a statement whose caller is in no span.

    All bits look drawn at random, as ratio samplers and the W3C's trace context expect them to be.
    """
    digest = hashlib.sha256(b"governed_db trace " + record_id.encode()).digest()
    return int.from_bytes(digest[:16]) or 1


def nanoseconds(at: str) -> int:
    """Return a record's time in nanoseconds since the Unix epoch.

    Raises:
        ValueError: it is no time.
    """
    return (datetime.fromisoformat(at) - _EPOCH) // _MICROSECOND * 1000


def _ended(entry: Mapping[str, Any], started: int) -> int:
    happened = entry.get("happened") or {}
    if "ended" in happened:
        return nanoseconds(happened["ended"])
    return started + int(happened.get("duration_us", 0)) * 1000


def _refused(values: Mapping[str, Any]) -> str:
    refused = values.get("governed_db.outcome", Status.REFUSED) == Status.REFUSED
    reason: str = values.get("governed_db.reason", "")
    return reason if refused and "error.type" in values else ""


def _namespace(where: Mapping[str, Any]) -> str:
    # "{database}|{schema}", of the search path's schemas the first; either alone where the other is unknown.
    path = where.get("search_path", ())
    schema = next((s for s in path if not s.startswith(_IMPLICIT)), "")
    return "|".join(filter(None, (where.get("database"), schema)))


def _server(values: Mapping[str, Any]) -> str:
    parts = (values.get("server.address"), values.get("server.port"))
    return ":".join(str(p) for p in parts if p)


def _prefixed(prefix: str, text: str | None) -> str | None:
    return prefix + text if text else None


def _error_type(happened: Mapping[str, Any]) -> str | None:
    if happened.get("status") == Status.OK:
        return None
    return happened.get("error") or happened.get("sqlstate") or OTHER


def _read(what: Mapping[str, Any]) -> Iterable[str]:
    columns: Sequence[str] = what.get("columns", ())
    places = what.get("touched", {}).get("read", ())
    # Names, or places in ``columns``.
    return (columns[p] if isinstance(p, int) else p for p in places)


def _some(names: Iterable[str]) -> list[str]:
    found = list(names)
    if len(found) <= LONGEST_LIST:
        return found
    return [*found[:LONGEST_LIST], f"... and {len(found) - LONGEST_LIST} more"]


def _vouched(principals: Sequence[Mapping[str, Any]]) -> bool | None:
    """Return whether an issuer's word was checked for all of them, ``None`` where there are none."""
    return all(p.get("verified") is True for p in principals) if principals else None


def _chain(principals: Iterable[Mapping[str, Any]]) -> str:
    return " for ".join(f"{p['kind']}:{p['subject']}" if p.get("subject") else p["kind"] for p in principals)

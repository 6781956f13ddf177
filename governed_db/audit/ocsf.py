"""Statements as events of the Open Cybersecurity Schema Framework: class 6005, Datastore Activity.

Written for version 1.8.0 (March 2026, the last stable one), with the profiles ``security_control`` (what was
decided) and ``data_classification`` (what kinds of data were masked). Numbers of the schema stand here with
the names that the schema gives them; ``tests/audit/ocsf_schema.py`` says where they come from.

What the schema has no attribute for goes to ``unmapped``, under the names of our own record: on whose behalf
an agent acted, its tool call and purpose, columns, masks. Times are milliseconds there; the exact ones are in
``metadata.original_time`` and ``unmapped``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from ipaddress import ip_address
from typing import Any, Final

from governed_db.audit import flat, view
from governed_db.audit.view import Entry, part, text

VERSION: Final = "1.8.0"
CLASS, CATEGORY = 6005, 6

# activity_id by command tag; whatever else a statement is, is "Other" under the tag's name.
_ACTIVITIES = {
    "SELECT": (4, "Query"),
    "INSERT": (6, "Create"),
    "MERGE": (5, "Write"),
    "UPDATE": (2, "Update"),
    "DELETE": (7, "Delete"),
    "TRUNCATE TABLE": (7, "Delete"),
}
_UNKNOWN, _OTHER = 0, 99
_STATUSES = {
    "ok": (1, "Success"),
    "error": (2, "Failure"),
    "cancelled": (2, "Failure"),
    "refused": (2, "Failure"),
}
_ALLOWED, _DENIED, _OBSERVED = (1, "Allowed"), (2, "Denied"), (3, "Observed")
_PASSED, _BLOCKED, _APPROVED, _LOGGED = (1, "Allowed"), (2, "Blocked"), (8, "Approved"), (17, "Logged")
_INFORMATIONAL, _LOW, _MEDIUM = (1, "Informational"), (2, "Low"), (3, "Medium")
_USERS = {"human": (1, "User"), "service": (4, "Service"), "unknown": (0, "Unknown")}

# category_id of data_classification by the parts of our labels; the rest is "Other".
_CATEGORIES = (
    (3, "Financial", ("CARD", "BANK", "IBAN", "ACCOUNT_NUMBER", "INCOME", "SALARY", "FINANC")),
    (2, "Governmental", ("NATIONAL", "PASSPORT", "TAX", "DRIVER", "SOCIAL_SECURITY", "LICENCE", "LICENSE")),
    (6, "Security", ("PASSWORD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "IP_ADDRESS", "PIN")),
    (1, "Personal", ("PERSON", "NAME", "EMAIL", "PHONE", "ADDRESS", "BIRTH", "HEALTH", "MEDICAL", "GENDER")),
)


class Mapper:
    """Maps the entries of one trail, in the order in which they are read.

    It remembers of each journal which host and process wrote it: that is where statements come from.
    """

    def __init__(self) -> None:
        self._writers: dict[str, Mapping[str, Any]] = {}

    def note(self, entry: Entry) -> None:
        """Remember who writes a journal, if ``entry`` tells."""
        if entry.get("kind") == "start":
            self._writers[text(entry, "journal")] = part(entry, "details")

    def event(self, entry: Entry) -> dict[str, Any] | None:
        """Return the event for a statement, ``None`` for what is none: this class has no place for it."""
        if not view.is_statement(entry):
            return None
        what, may = part(entry, "what"), part(entry, "may")
        activity, name = _activity(entry)
        started = flat.time(text(entry, "at"))
        start = 0 if started is None else _milliseconds(started.timestamp())
        writer = self._writers.get(text(entry, "journal"), {})
        made: dict[str, Any] = {
            "class_uid": CLASS,
            "class_name": "Datastore Activity",
            "category_uid": CATEGORY,
            "category_name": "Application Activity",
            "activity_id": activity,
            "activity_name": name,
            "type_uid": CLASS * 100 + activity,
            "type_name": f"Datastore Activity: {name}",
            "time": start,
            "start_time": start,
            "metadata": _metadata(entry),
            "actor": _actor(entry, writer),
            "database": _database(entry),
            "src_endpoint": _source(entry, writer),
            "message": view.summary(entry),
        }
        made |= _happened(entry) | _decided(entry)
        ended = flat.time(flat.ended(entry))
        if ended is not None:
            made["end_time"] = _milliseconds(ended.timestamp())
        if (target := _target(entry)) is not None:
            made["dst_endpoint"] = target
        if query := text(what, "text"):
            named = _known(name=text(what, "summary"), uid=text(what, "fingerprint"))
            made["query_info"] = {"query_string": query} | (named or {"name": "statement"})
        relation = next((n for n, _ in view.relations(entry)), "")
        if relation:
            made["table"] = {"name": relation}
        if may:
            version = text(may, "policy")
            made["policy"] = _known(name=text(may, "rule"), version=version, desc=text(may, "reason")) | {
                "uid": f"{version}/{text(may, 'rule')}",
                "is_applied": text(may, "verdict") != "",
            }
        made["unmapped"] = {"governed_db": dict(_unmapped(entry))}
        return made


def _activity(entry: Entry) -> tuple[int, str]:
    tag = text(part(entry, "what"), "tag")
    return _ACTIVITIES.get(tag) or ((_OTHER, tag) if tag else (_UNKNOWN, "Unknown"))


def _happened(entry: Entry) -> dict[str, Any]:
    happened, status = part(entry, "happened"), view.status(entry)
    uid, name = _STATUSES.get(status, (_OTHER, status) if status == "running" else (_UNKNOWN, "Unknown"))
    made: dict[str, Any] = {"status_id": uid, "status": name}
    if (duration := _whole(happened, "duration_us", 2**63 - 1)) is not None:
        made["duration"] = duration // 1000
    if state := text(happened, "sqlstate"):
        made["status_code"] = state
    detail = text(happened, "error")
    if status == "refused":
        detail = text(part(entry, "may"), "reason") or detail
    return made | _known(status_detail=detail)


def _decided(entry: Entry) -> dict[str, Any]:
    """Return what was done about it, and how grave that is."""
    may, verdict, status = part(entry, "may"), view.verdict(entry), view.status(entry)
    if status == "refused":
        # One that was allowed, measured, and rolled back did not happen either.
        action, disposition = _DENIED, _BLOCKED
        severity = _LOW if verdict == "needs_approval" else _MEDIUM
    elif verdict in ("", "allow"):
        action = _ALLOWED
        disposition = _APPROVED if text(may, "approval") else _PASSED
        severity = _INFORMATIONAL
    else:  # a policy that only observes
        action, disposition, severity = _OBSERVED, _LOGGED, _LOW
    made: dict[str, Any] = {
        "action_id": action[0],
        "action": action[1],
        "disposition_id": disposition[0],
        "disposition": disposition[1],
        "severity_id": severity[0],
        "severity": severity[1],
        "is_alert": status == "refused" and verdict != "needs_approval",
    }
    if verdict:
        policy = _known(name=text(may, "rule"), version=text(may, "policy"), desc=text(may, "reason"))
        made["authorizations"] = [{"decision": verdict, "policy": {"uid": text(may, "rule")} | policy}]
    return made


def _metadata(entry: Entry) -> dict[str, Any]:
    where = part(entry, "where")
    made: dict[str, Any] = {
        "version": VERSION,
        "profiles": ["security_control", "data_classification"],
        "product": {"name": "governed_db", "vendor_name": "governed_db", "version": _product()},
        "uid": text(entry, "id"),
        "log_name": text(entry, "journal"),
        "log_version": str(entry.get("v", "")),
        "original_time": text(entry, "at"),
        "event_code": text(entry, "kind"),
    }
    if (sequence := _whole(entry, "sequence")) is not None:
        made["sequence"] = sequence
    if (size := _whole(entry, "truncated")) is not None:
        made |= {"is_truncated": True, "untruncated_size": size}
    return made | _known(correlation_uid=text(where, "trace_id") or text(where, "transaction"))


def _actor(entry: Entry, writer: Entry) -> dict[str, Any]:
    who = part(entry, "who")
    uid, name = _USERS.get(text(who, "kind"), (_OTHER, text(who, "kind") or "Other"))
    subject = text(who, "subject") or "unknown"
    user: dict[str, Any] = {
        "name": subject,
        "uid": f"{text(who, 'issuer')}#{subject}" if text(who, "issuer") else view.principal(who) or subject,
        "type_id": uid,
        "type": name,
    }
    if groups := view.strings(who, "groups"):
        user["groups"] = [{"name": group} for group in groups]
    made: dict[str, Any] = {"user": user}
    if session := text(who, "session"):
        made["session"] = {"uid": session} | _known(issuer=text(who, "issuer"))
    if (pid := _whole(writer, "pid")) is not None:
        made["process"] = {"pid": pid, "name": "python"}
    return made


def _database(entry: Entry) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": text(part(entry, "where"), "database") or "unknown",
        "type_id": 1,
        "type": "Relational",
    }
    labels = {label for _, label, _ in view.masked(entry) if label}
    if classes := sorted({_class(label) for label in labels}):
        made["data_classifications"] = [{"category_id": uid, "category": name} for uid, name in classes]
    return made


def _class(label: str) -> tuple[int, str]:
    # The labels themselves are in "unmapped": a caption of the schema stands for its number.
    found = next(((uid, name) for uid, name, parts in _CATEGORIES if any(p in label for p in parts)), None)
    return found or (_OTHER, "Other")


def _source(entry: Entry, writer: Entry) -> dict[str, Any]:
    client = text(part(entry, "who"), "client")
    made = _endpoint(client) if client else {}
    host = text(writer, "host")
    made |= _known(hostname=host)
    return made or {"uid": text(entry, "journal") or "unknown"}


def _target(entry: Entry) -> dict[str, Any] | None:
    where = part(entry, "where")
    host, port = text(where, "host"), view.number(where, "port")
    if not host:
        return None
    made = _endpoint(host) | {"svc_name": "postgresql"}
    if port is not None and 0 <= port <= 65535:
        made["port"] = port
    return made


def _endpoint(host: str) -> dict[str, Any]:
    try:
        ip_address(host)
    except ValueError:
        # A folder is the socket of a local server.
        return {"name": host} if host.startswith("/") else {"hostname": host}
    return {"ip": host}


def _unmapped(entry: Entry) -> Iterator[tuple[str, Any]]:
    who, what, where, happened = (part(entry, name) for name in ("who", "what", "where", "happened"))
    if behalf := view.callers(entry)[1:]:
        yield "on_behalf_of", behalf
    for section, names in (
        (who, ("verified", "tool_call", "purpose", "role")),
        (part(entry, "may"), ("verdict", "approval", "grants", "approvers", "row_cap", "unmasked")),
        (what, ("effects", "masked", "rewritten", "parameters", "incomplete_because", "bytes")),
        (
            where,
            (
                "environment",
                "connection",
                "transaction",
                "backend_pid",
                "trace_id",
                "span_id",
                "parent_span_id",
            ),
        ),
        (happened, ("duration_us", "rows_returned", "rows_affected", "batch_size", "bytes_copied", "ended")),
    ):
        for name in names:
            if name in section:
                yield name, section[name]
    if relations := [{"name": n, "access": a} for n, a in view.relations(entry)]:
        yield "relations", relations
    if read := view.columns(entry, "read"):
        yield "columns_read", read
    if written := view.columns(entry, "insert", "update"):
        yield "columns_written", written


@cache
def _product() -> str:
    try:
        return metadata.version("governed-db")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def _known(**fields: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _whole(section: Entry, name: str, most: int = 2**31 - 1) -> int | None:
    """Return a number that OCSF's integers hold; ``None`` for what a forged record may have there."""
    found = view.number(section, name)
    return found if found is not None and 0 <= found <= most else None


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)

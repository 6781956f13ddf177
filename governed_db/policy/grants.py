"""GRANTs that match what ran: the server's own word for the least privilege."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from psycopg import sql

from governed_db.catalog.model import Catalog
from governed_db.policy.recorded import Shelf
from governed_db.policy.written import one_line

_PRIVILEGES = {
    "read": "SELECT",
    "insert": "INSERT",
    "update": "UPDATE",
    "delete": "DELETE",
    "truncate": "TRUNCATE",
}
_ORDER = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
_BY_COLUMN = frozenset({"SELECT", "INSERT", "UPDATE"})
_PUBLIC = ("pg_catalog.", "information_schema.", "pg_temp", "pg_toast")  # everybody's, or the session's own

Columns = set[str] | None  # None: the whole relation


def grants(entries: Iterable[Mapping[str, Any]], shelf: Shelf) -> str:
    """Return SQL that gives each database role what the statements of ``entries`` took.

    Columns are named where the trail tells them. What a GRANT cannot give (owning what is altered or
    dropped) stands in a comment.
    """
    roles: dict[str, dict[str, dict[str, Columns]]] = {}
    functions: dict[str, set[str]] = {}
    owned: dict[str, set[str]] = {}
    for entry in entries:
        role, what = entry["who"].get("role", ""), entry.get("what", {})
        taken = roles.setdefault(role, {})
        for relation in what.get("relations", ()):
            name, access = relation["name"], relation["access"]
            if "via" in relation or name.startswith(_PUBLIC):
                continue  # a view reads as its owner
            if access in _PRIVILEGES:
                privilege = _PRIVILEGES[access]
                columns = _columns(what, name, access) if privilege in _BY_COLUMN else None
                held = taken.setdefault(name, {})
                held[privilege] = _both(held.get(privilege, set()), columns)
            elif access == "define":
                owned.setdefault(role, set()).add(name)
        if "touched" in what:
            # A write reads what its WHERE, its SET and its RETURNING mention.
            for relation in what.get("relations", ()):
                name = relation["name"]
                read = _columns(what, name, "read")
                if "via" not in relation and read and not name.startswith(_PUBLIC):
                    held = taken.setdefault(name, {})
                    held["SELECT"] = _both(held.get("SELECT", set()), read)
        found = shelf.get(entry.get("where", {}).get("catalog", ""))
        for name in _called(what):
            signature = _signature(name, found[0]) if found is not None else ""
            if signature:
                functions.setdefault(role, set()).add(signature)
    lines: list[str] = []
    for role, taken in sorted(roles.items()):
        lines += _role(role, taken, functions.get(role, set()), owned.get(role, set()))
    return "\n".join(lines) + "\n" if lines else ""


def _role(
    role: str, taken: Mapping[str, Mapping[str, Columns]], functions: set[str], owned: set[str]
) -> list[str]:
    if not (taken or functions or owned):
        return []
    to = f"TO {_identifier(role)};"
    schemas = sorted({name.partition(".")[0] for name in taken if "." in name})
    lines = [f"GRANT USAGE ON SCHEMA {_identifier(schema)} {to}" for schema in schemas]
    for name, privileges in sorted(taken.items()):
        listed = ", ".join(_privilege(p, privileges[p]) for p in _ORDER if p in privileges)
        lines.append(f"GRANT {listed} ON {_qualified(name)} {to}")
    lines += [f"GRANT EXECUTE ON {signature} {to}" for signature in sorted(functions)]
    lines += [
        f"-- {one_line(_qualified(name))} was created, altered or dropped; that is for its owner"
        for name in sorted(owned)
    ]
    return lines


def _columns(what: Mapping[str, Any], relation: str, access: str) -> Columns:
    """Return the columns of ``relation`` that were read or set; ``None`` where they cannot be told."""
    listed = what.get("columns", [])
    if "touched" in what:
        names = [listed[n] if isinstance(n, int) else n for n in what["touched"].get(access, ())]
    elif access == "read":
        names = listed
    else:
        return None
    prefix = f"{relation}."
    found = {name[len(prefix) :] for name in names if name.startswith(prefix)}
    return None if not found or "*" in found else found


def _both(first: Columns, second: Columns) -> Columns:
    return None if first is None or second is None else first | second


def _privilege(privilege: str, columns: Columns) -> str:
    if columns is None:
        return privilege
    return f"{privilege} ({', '.join(_identifier(c) for c in sorted(columns))})"


def _called(what: Mapping[str, Any]) -> Iterator[str]:
    for meant in what.get("functions", ()):
        yield from [meant] if isinstance(meant, str) else meant
    for effect in what.get("effects", ()):
        if effect["kind"] == "call":
            yield effect.get("name", "")


def _signature(name: str, catalog: Catalog) -> str:
    """Return how GRANT calls the one function of that name that users made, "" where it is not one."""
    schema, _, bare = name.rpartition(".")
    found = [
        f
        for f in catalog.functions.get(bare, ())
        if f.schema == schema and not schema.startswith(("pg_catalog", "information_schema"))
    ]
    if len(found) != 1:
        return ""
    types = []
    for oid in found[0].arguments:
        type_ = catalog.types.get(oid)
        if type_ is None:
            return ""
        types.append(f"{_identifier(type_.schema)}.{_identifier(type_.name)}")
    word = "PROCEDURE" if found[0].kind == "p" else "FUNCTION"
    return f"{word} {_identifier(schema)}.{_identifier(bare)}({', '.join(types)})"


def _qualified(name: str) -> str:
    schema, _, bare = name.partition(".")
    return f"{_identifier(schema)}.{_identifier(bare)}" if bare else _identifier(schema)


def _identifier(name: str) -> str:
    return sql.Identifier(name).as_string()

"""From TOML tables to settings: the sections of a policy file that are not rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from attrs import evolve, fields_dict

from governed_db.identity.model import Identity, Kind
from governed_db.policy.patterns import split_column
from governed_db.policy.read_approvals import read_approvals
from governed_db.policy.read_callers import read_callers
from governed_db.policy.read_grants import read_grants
from governed_db.policy.read_issuers import read_issuers
from governed_db.policy.read_notify import read_notify
from governed_db.policy.read_rules import read_identity, string, strings, typed
from governed_db.policy.read_strategies import LABEL, read_strategies
from governed_db.policy.settings import AuditSettings, CatalogSettings, MaskingSettings, Settings
from governed_db.policy.source import Document
from governed_db.statement.limits import Limits

TOP_KEYS = frozenset(
    {
        "extends",
        "enforce",
        "identity",
        "services",
        "rule",
        "masking",
        "limits",
        "audit",
        "catalog",
        "example",
        "test",
        "budget",
        "environment",
        "issuer",
        "approvals",
        "approver",
        "authority",
        "notify",
        "callers",
        "grants",
    },
)


def read_settings(doc: Document, base: Settings) -> Settings:
    """Return ``base`` with what the file says on top of it.

    Raises:
        PolicyError: a key is unknown, of the wrong type, or asks for what is not there.
    """
    data = doc.data
    doc.known_keys((), data, TOP_KEYS)
    identity = _identity(doc, data["identity"]) if "identity" in data else base.identity
    services = base.services
    if "services" in data:
        services |= set(strings(doc, ("services",), data["services"]))
    if "identity" in data and identity is not None and identity.kind is Kind.SERVICE:
        services |= {identity.subject}
    enforce = base.enforce
    if "enforce" in data:
        enforce = typed(doc, ("enforce",), data["enforce"], bool, "true or false")
    environment = base.environment
    if "environment" in data:
        environment = string(doc, ("environment",), data["environment"])
    return Settings(
        enforce=enforce,
        environment=environment,
        identity=identity,
        services=services,
        issuers=read_issuers(doc, base.issuers),
        masking=_masking(doc, _section(doc, "masking"), base.masking),
        limits={**base.limits, **_limits(doc, _section(doc, "limits"))},
        audit=_audit(doc, _section(doc, "audit"), base.audit),
        catalog=_catalog(doc, _section(doc, "catalog"), base.catalog),
        callers=read_callers(doc, base.callers),
        approvals=read_approvals(doc, base.approvals),
        grants=read_grants(doc, base.grants),
        notify=read_notify(doc, base.notify),
    )


def _section(doc: Document, name: str) -> Mapping[str, Any]:
    return typed(doc, (name,), doc.data.get(name, {}), dict, f"a table: write [{name}]")


def _identity(doc: Document, value: Any) -> Identity:
    text = string(doc, ("identity",), value)
    try:
        return Identity.parse(text)
    except ValueError as error:
        doc.fail(("identity",), str(error))


def _one_of(doc: Document, section: str, key: str, value: Any, known: tuple[str, ...]) -> str:
    word = string(doc, (section, key), value)
    if word not in known:
        doc.fail((section, key), f"unknown word '{word}' for '{key}'; known here: {', '.join(known)}")
    return word


def _absolute(doc: Document, path: tuple[str, str], value: Any) -> FilePath:
    named = FilePath(string(doc, path, value)).expanduser()
    if not named.is_absolute():
        doc.fail(path, f"'{path[-1]}' has to be an absolute path: the working directory decides nothing here")
    return named


def _address(doc: Document, path: tuple[str, str], value: Any) -> str:
    address: str = string(doc, path, value)
    if address and not address.startswith(("https://", "http://")):
        doc.fail(path, f"'{path[-1]}' takes an address of https or http")
    return address


def _masking(doc: Document, table: Mapping[str, Any], base: MaskingSettings) -> MaskingSettings:
    known = frozenset({"mode", "derived", "unmasked", "columns", "strategies", "classification", "keys"})
    doc.known_keys(("masking",), table, known.union(_SAMPLING, _GIVEN))
    changes: dict[str, Any] = {}
    if "mode" in table:
        changes["on"] = _one_of(doc, "masking", "mode", table["mode"], ("on", "off")) == "on"
    if "derived" in table:
        changes["derived"] = _one_of(doc, "masking", "derived", table["derived"], ("refuse", "redact"))
    if "unmasked" in table:
        path = ("masking", "unmasked")
        items = typed(doc, path, table["unmasked"], list, "an array of identity tables")
        added = tuple(read_identity(doc, (*path, i), item) for i, item in enumerate(items))
        changes["unmasked"] = (*base.unmasked, *added)
    if "columns" in table:
        changes["columns"] = {**base.columns, **_columns(doc, table["columns"])}
    if "classification" in table:
        changes["classification"] = _absolute(doc, ("masking", "classification"), table["classification"])
    if "keys" in table:
        changes["keys"] = _absolute(doc, ("masking", "keys"), table["keys"])
    changes.update(_sampling(doc, table))
    changes.update(_given(doc, table, base))
    if "strategies" in table:
        changes["strategies"] = {**base.strategies, **read_strategies(doc, table["strategies"])}
    return evolve(base, **changes)


_GIVEN = ("equality", "lookups", "write")


def _given(doc: Document, table: Mapping[str, Any], base: MaskingSettings) -> dict[str, Any]:
    """Read what is said of values that callers give."""
    found: dict[str, Any] = {}
    if "equality" in table:
        labels = strings(doc, ("masking", "equality"), table["equality"])
        for place, label in enumerate(labels):
            if not LABEL.fullmatch(label):
                doc.fail(
                    ("masking", "equality", place), 'a label is written in capitals, such as "EMAIL_ADDRESS"'
                )
        found["equality"] = base.equality.union(labels)
    if "lookups" in table:
        path = ("masking", "lookups")
        items = typed(doc, path, table["lookups"], list, "an array of identity tables")
        added = tuple(read_identity(doc, (*path, i), item) for i, item in enumerate(items))
        found["lookups"] = (*base.lookups, *added)
    if "write" in table:
        found["write"] = _one_of(doc, "masking", "write", table["write"], ("allow", "refuse"))
    return found


_SAMPLING = ("sample", "sample_rows", "sample_timeout_ms", "sample_again")


def _sampling(doc: Document, table: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "sample" in table:
        found["sample"] = _one_of(doc, "masking", "sample", table["sample"], ("on", "off")) == "on"
    # Upper bounds keep a slip of units from reading half a table, or from waiting for minutes.
    for key, least, most in (("sample_rows", 10, 10_000), ("sample_timeout_ms", 10, 60_000)):
        if key in table:
            found[key] = typed(doc, ("masking", key), table[key], int, "a number")
            if not least <= found[key] <= most:
                doc.fail(("masking", key), f"'{key}' takes a number from {least} to {most}")
    if "sample_again" in table:
        value = table["sample_again"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:
            doc.fail(("masking", "sample_again"), "'sample_again' takes seconds from 0 to 86400")
        found["sample_again"] = float(value)
    return found


def _columns(doc: Document, value: Any) -> dict[str, str | None]:
    path = ("masking", "columns")
    columns: dict[str, str | None] = {}
    for key, label in typed(doc, path, value, dict, "a table of columns").items():
        here = (*path, key)
        if isinstance(label, dict):
            doc.fail(here, 'a column is one quoted key, such as "public.customers.email" = "EMAIL_ADDRESS"')
        try:
            column = ".".join(split_column(key))
        except ValueError as error:
            doc.fail(here, str(error))
        if label is False:
            columns[column] = None
        elif isinstance(label, str) and LABEL.fullmatch(label):
            columns[column] = label
        else:
            doc.fail(here, 'a column takes a label such as "EMAIL_ADDRESS", or false for "not sensitive"')
    return columns


def _limits(doc: Document, table: Mapping[str, Any]) -> dict[str, int]:
    doc.known_keys(("limits",), table, frozenset(fields_dict(Limits)))
    for key, value in table.items():
        try:
            Limits(**{key: value})
        except ValueError as error:
            doc.fail(("limits", key), str(error))
    return dict(table)


_AUDIT_WORDS = {
    "on_failure": ("refuse", "continue"),
    "durability": ("process", "group", "disk", "remote"),
    "values": ("none", "digest", "encrypted"),
    "catalogs": ("keep", "off"),
}
# From and to. Above a second "group" would promise less than the kernel's own habits; with more than an hour
# or a million records between two signatures there would be nothing to rely on; catalogs take some 60 KB
# each. 0 keeps records for ever, and a century is a slip.
_AUDIT_NUMBERS = {
    "group_window_ms": (1, 1000),
    "checkpoint_seconds": (1, 3600),
    "checkpoint_records": (1, 1_000_000),
    "keep_days": (0, 36_525),
    "keep_mb": (0, 2**31),
    "catalogs_kept": (1, 10_000),
}
_AUDIT_FILES = {"dir": "directory", "witness": "witness"}
_AUDIT_ADDRESSES = ("timestamp", "ship")


def _audit(doc: Document, table: Mapping[str, Any], base: AuditSettings) -> AuditSettings:
    known = (*_AUDIT_WORDS, *_AUDIT_NUMBERS, *_AUDIT_FILES, *_AUDIT_ADDRESSES)
    doc.known_keys(("audit",), table, frozenset(known))
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if key in _AUDIT_WORDS:
            changes[key] = _one_of(doc, "audit", key, value, _AUDIT_WORDS[key])
        elif key in _AUDIT_NUMBERS:
            least, most = _AUDIT_NUMBERS[key]
            number = typed(doc, ("audit", key), value, int, "a number")
            if not least <= number <= most:
                doc.fail(("audit", key), f"'{key}' takes a number from {least} to {most}")
            changes[key] = number
        elif key in _AUDIT_FILES:
            changes[_AUDIT_FILES[key]] = _absolute(doc, ("audit", key), value)
        else:
            changes[key] = _address(doc, ("audit", key), value)
    settings = evolve(base, **changes)
    if settings.durability == "remote" and not settings.ship:
        where = "durability" if "durability" in table else "ship"
        doc.fail(("audit", where), "durability = \"remote\" needs a collector: name its address in 'ship'")
    return settings


def _catalog(doc: Document, table: Mapping[str, Any], base: CatalogSettings) -> CatalogSettings:
    doc.known_keys(("catalog",), table, frozenset({"max_age"}))
    if "max_age" not in table:
        return base
    value = table["max_age"]
    # An upper bound of an hour keeps a slip of units (milliseconds) from turning the refresh off.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        doc.fail(("catalog", "max_age"), "'max_age' takes seconds from 0 to 3600")
    return evolve(base, max_age=float(value))

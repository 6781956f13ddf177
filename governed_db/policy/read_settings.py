"""From TOML tables to settings: the sections of a policy file that are not rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from attrs import evolve, fields_dict

from governed_db.identity.model import Identity, Kind
from governed_db.masking.model import Strategy, Treatment
from governed_db.policy.patterns import split_column
from governed_db.policy.read_rules import read_identity, string, strings, typed
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
    },
)

_LABEL = re.compile(r"[A-Z][A-Z0-9_]*")


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
        masking=_masking(doc, _section(doc, "masking"), base.masking),
        limits={**base.limits, **_limits(doc, _section(doc, "limits"))},
        audit=_audit(doc, _section(doc, "audit"), base.audit),
        catalog=_catalog(doc, _section(doc, "catalog"), base.catalog),
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


def _masking(doc: Document, table: Mapping[str, Any], base: MaskingSettings) -> MaskingSettings:
    known = frozenset({"mode", "derived", "unmasked", "columns", "strategies"})
    doc.known_keys(("masking",), table, known)
    changes: dict[str, Any] = {}
    if "mode" in table:
        changes["on"] = _one_of(doc, "masking", "mode", table["mode"], ("on", "off")) == "on"
    if "derived" in table:
        word = _one_of(doc, "masking", "derived", table["derived"], ("refuse", "redact"))
        if word == "redact":
            doc.fail(
                ("masking", "derived"),
                "derived = 'redact' is not available in this version",
                remedy="Use derived = 'refuse': statements that compute with a sensitive column are refused.",
            )
        changes["derived"] = word
    if "unmasked" in table:
        path = ("masking", "unmasked")
        items = typed(doc, path, table["unmasked"], list, "an array of identity tables")
        added = tuple(read_identity(doc, (*path, i), item) for i, item in enumerate(items))
        changes["unmasked"] = (*base.unmasked, *added)
    if "columns" in table:
        changes["columns"] = {**base.columns, **_columns(doc, table["columns"])}
    if "strategies" in table:
        changes["strategies"] = {**base.strategies, **_strategies(doc, table["strategies"])}
    return evolve(base, **changes)


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
        elif isinstance(label, str) and _LABEL.fullmatch(label):
            columns[column] = label
        else:
            doc.fail(here, 'a column takes a label such as "EMAIL_ADDRESS", or false for "not sensitive"')
    return columns


def _strategies(doc: Document, value: Any) -> dict[str, Treatment]:
    path = ("masking", "strategies")
    strategies = {}
    for label, word in typed(doc, path, value, dict, "a table of labels").items():
        if not _LABEL.fullmatch(label):
            doc.fail((*path, label), 'a label is written in capitals, such as "EMAIL_ADDRESS"')
        if not isinstance(word, str) or word not in {*Strategy}:
            doc.fail((*path, label), f"unknown strategy; known here: {', '.join(Strategy)}")
        strategies[label] = Treatment(strategy=Strategy(word))
    return strategies


def _limits(doc: Document, table: Mapping[str, Any]) -> dict[str, int]:
    doc.known_keys(("limits",), table, frozenset(fields_dict(Limits)))
    for key, value in table.items():
        try:
            Limits(**{key: value})
        except ValueError as error:
            doc.fail(("limits", key), str(error))
    return dict(table)


def _audit(doc: Document, table: Mapping[str, Any], base: AuditSettings) -> AuditSettings:
    doc.known_keys(("audit",), table, frozenset({"on_failure", "dir", "catalogs", "catalogs_kept"}))
    changes: dict[str, Any] = {}
    if "on_failure" in table:
        changes["on_failure"] = _one_of(
            doc, "audit", "on_failure", table["on_failure"], ("refuse", "continue")
        )
    if "dir" in table:
        directory = FilePath(string(doc, ("audit", "dir"), table["dir"])).expanduser()
        if not directory.is_absolute():
            doc.fail(
                ("audit", "dir"),
                "'dir' has to be an absolute path: the working directory decides nothing here",
            )
        changes["directory"] = directory
    if "catalogs" in table:
        changes["catalogs"] = _one_of(doc, "audit", "catalogs", table["catalogs"], ("keep", "off"))
    if "catalogs_kept" in table:
        kept = typed(doc, ("audit", "catalogs_kept"), table["catalogs_kept"], int, "a number")
        # Some 60 KB each: an upper bound keeps a slip from filling the disk.
        if not 1 <= kept <= 10_000:
            doc.fail(("audit", "catalogs_kept"), "'catalogs_kept' takes a number from 1 to 10000")
        changes["catalogs_kept"] = kept
    return evolve(base, **changes)


def _catalog(doc: Document, table: Mapping[str, Any], base: CatalogSettings) -> CatalogSettings:
    doc.known_keys(("catalog",), table, frozenset({"max_age"}))
    if "max_age" not in table:
        return base
    value = table["max_age"]
    # An upper bound of an hour keeps a slip of units (milliseconds) from turning the refresh off.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        doc.fail(("catalog", "max_age"), "'max_age' takes seconds from 0 to 3600")
    return evolve(base, max_age=float(value))

"""From files to policies. The presets are files like any other, inside the package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs

from governed_db.errors import PolicyError
from governed_db.masking.report import AUTO
from governed_db.policy import classification
from governed_db.policy.budgets import BudgetRule, read_budgets
from governed_db.policy.decide import Policy
from governed_db.policy.examples import read_suite
from governed_db.policy.read_grants import check_never
from governed_db.policy.read_notify import check_rules
from governed_db.policy.read_rules import read_rules, string
from governed_db.policy.read_settings import read_settings
from governed_db.policy.rules import Rule
from governed_db.policy.settings import Settings
from governed_db.policy.source import Document, parse

PRESETS = ("observe", "standard", "readonly")
"""The policies that come with the package."""


def load(path: str | Path) -> Policy:
    """Read a policy file, and the classification that it names.

    Raises:
        PolicyError: the file cannot be read, or anything in it is wrong; the message names the place.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise PolicyError(f"the policy {path} cannot be read: {error.strerror}", rule="policy") from error
    return load_bytes(raw, str(path))


def load_bytes(raw: bytes, name: str, *, companion: Callable[[Path], bytes] = Path.read_bytes) -> Policy:
    """Read a policy from the bytes of a file.

    Args:
        raw: the file.
        name: how errors call it.
        companion: reads the classification that it names, by an absolute path.

    Raises:
        PolicyError: anything in it is wrong; the message names the place.
    """
    doc = parse(_text(raw, name), name)
    policy = _policy(doc, name)
    path = policy.settings.masking.classification
    if path is None:
        return policy
    try:
        entries = classification.read(_text(companion(path), str(path)), str(path))
    except OSError as error:
        doc.fail(
            ("masking", "classification"),
            f"the classification {path} cannot be read: {error.strerror}",
            remedy=f"Make it with governed-db classify DSN --write {path}.",
        )
    reviewed = {name: entry for name, entry in entries.items() if entry.label or entry.decided != AUTO}
    settings = attrs.evolve(policy.settings, masking=attrs.evolve(policy.settings.masking, reviewed=reviewed))
    return attrs.evolve(policy, settings=settings, version=_version(policy.rules, settings, policy.budgets))


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise PolicyError(f"{name}:{line}:{column}: not UTF-8, as TOML has to be", rule="policy") from None


@cache
def preset(name: str) -> Policy:
    """Return one of :data:`PRESETS`.

    Raises:
        PolicyError: there is no preset of that name.
    """
    return _policy(_preset_document(name), name)


def _preset_document(name: str) -> Document:
    if name not in PRESETS:
        raise PolicyError(f"there is no preset '{name}'; there are {', '.join(PRESETS)}", rule="policy")
    resource = files(__package__) / "presets" / f"{name}.toml"
    return parse(resource.read_text(encoding="utf-8"), f"{name}.toml")


def _policy(doc: Document, name: str) -> Policy:
    base = _base(doc)
    inherited = base.rules if base else ()
    settings = read_settings(doc, base.settings if base else Settings())
    own = read_rules(doc, doc.data.get("rule", []), {rule.id: rule.origin for rule in inherited})
    rules = (*own, *inherited)
    check_never(doc, settings.grants, frozenset(rule.id for rule in rules))
    above = {budget.id: budget.origin for budget in base.budgets} if base else {}
    budgets = (*read_budgets(doc, doc.data.get("budget", []), above), *(base.budgets if base else ()))
    check_rules(doc, frozenset({*(rule.id for rule in rules), *(budget.id for budget in budgets)}))
    suite = read_suite(doc, frozenset(rule.id for rule in rules))
    return Policy(
        name=name,
        rules=rules,
        settings=settings,
        version=_version(rules, settings, budgets),
        budgets=budgets,
        suite=suite,
    )


def _base(doc: Document) -> Policy | None:
    if "extends" not in doc.data:
        return None
    name = string(doc, ("extends",), doc.data["extends"])
    if name not in PRESETS:
        doc.fail(("extends",), f"'extends' takes a preset, one of {', '.join(PRESETS)}")
    return preset(name)


def _version(rules: tuple[Rule, ...], settings: Settings, budgets: tuple[BudgetRule, ...]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over what the policy says, whatever its comments and layout."""
    content = {
        "rules": [_plain(rule) for rule in rules],
        "settings": _plain(settings),
        "budgets": [_plain(budget) for budget in budgets],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        return {a.name: _plain(getattr(value, a.name)) for a in attrs.fields(type(value)) if a.eq}
    if isinstance(value, Mapping):
        return sorted([_plain(key), _plain(item)] for key, item in value.items())
    if isinstance(value, frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)

"""The masking of the policy in force, carried over as text into a policy that is proposed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import fields_dict

from governed_db.policy.read_strategies import written
from governed_db.policy.rules import IdentityCondition
from governed_db.policy.settings import MaskingSettings
from governed_db.policy.written import column_key, value

_PLAIN = ("derived", "write", "sample_rows", "sample_timeout_ms", "sample_again")


def scalars(masking: MaskingSettings) -> Iterator[str]:
    """Yield the keys of ``[masking]`` that are not tables and not the default, one a line.

    ``mode`` and ``unmasked`` are left out: what a proposal says there comes from the trail.
    """
    for name in _PLAIN:
        said = getattr(masking, name)
        if said != fields_dict(MaskingSettings)[name].default:
            yield f"{name} = {value(said)}"
    if not masking.sample:
        yield 'sample = "off"'
    for name in ("keys", "classification"):
        path = getattr(masking, name)
        if path is not None:
            yield f"{name} = {value(str(path))}"
    if masking.equality:
        yield f"equality = {value(sorted(masking.equality))}"
    if masking.lookups:
        yield f"lookups = {value([condition(each) for each in masking.lookups])}"


def tables(masking: MaskingSettings) -> Iterator[str]:
    """Yield ``[masking.columns]`` and ``[masking.strategies]``, where they say anything."""
    if masking.columns:
        yield "\n[masking.columns]"
        for column, label in sorted(masking.columns.items()):
            yield f"{value(column_key(column))} = {value(label if label is not None else False)}"
    if masking.strategies:
        yield "\n[masking.strategies]"
        for label, treatment in sorted(masking.strategies.items()):
            yield f"{label} = {value(written(treatment))}"


def condition(said: IdentityCondition) -> dict[str, Any]:
    """Return an identity table as it stands in a policy."""
    table: dict[str, Any] = {}
    if said.kind is not None:
        table["kind"] = sorted(kind.value for kind in said.kind)
    for name in ("subject", "group", "issuer"):
        patterns = getattr(said, name)
        if patterns is not None:
            table[name] = list(patterns)
    for name in ("verified", "named_service"):
        if getattr(said, name) is not None:
            table[name] = getattr(said, name)
    if said.on_behalf_of is not None:
        table["on_behalf_of"] = condition(said.on_behalf_of)
    return table

"""MAY: rules in TOML, three presets, one decision."""

from governed_db.policy.decide import Policy
from governed_db.policy.load import PRESETS, load, load_bytes, preset
from governed_db.policy.model import (
    UNLIMITED,
    Budget,
    Decider,
    Decision,
    Estimate,
    Request,
    Shadowed,
    Verdict,
)

__all__ = [
    "PRESETS",
    "UNLIMITED",
    "Budget",
    "Decider",
    "Decision",
    "Estimate",
    "Policy",
    "Request",
    "Shadowed",
    "Verdict",
    "load",
    "load_bytes",
    "preset",
]

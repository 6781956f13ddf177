"""MAY: rules in TOML, three presets, one decision."""

from governed_db.policy.decide import Policy
from governed_db.policy.load import PRESETS, load, load_bytes, preset
from governed_db.policy.model import Decider, Decision, Request, Shadowed, Verdict

__all__ = [
    "PRESETS",
    "Decider",
    "Decision",
    "Policy",
    "Request",
    "Shadowed",
    "Verdict",
    "load",
    "load_bytes",
    "preset",
]

"""MASK: sensitive columns found, planned for and hidden as they load."""

from governed_db.masking.classify import Stale, Unused, classify, stale, unused
from governed_db.masking.model import (
    OPEN,
    ColumnMask,
    MaskPlan,
    Refusal,
    Sensitivity,
    Strategy,
    Terms,
    Treatment,
)
from governed_db.masking.plan import plan
from governed_db.masking.transforms import DEFAULT_STRATEGIES, default_strategy, mask_value

__all__ = [
    "DEFAULT_STRATEGIES",
    "OPEN",
    "ColumnMask",
    "MaskPlan",
    "Refusal",
    "Sensitivity",
    "Stale",
    "Strategy",
    "Terms",
    "Treatment",
    "Unused",
    "classify",
    "default_strategy",
    "mask_value",
    "plan",
    "stale",
    "unused",
]

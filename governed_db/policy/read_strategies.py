"""``[masking.strategies]``: what becomes of the values of each class."""

from __future__ import annotations

import re
from typing import Any, Final

from governed_db.errors import PolicyError
from governed_db.masking import fakes, preserving
from governed_db.masking.model import Strategy, Treatment
from governed_db.policy.read_rules import string, typed
from governed_db.policy.source import Document, Path

LABEL: Final = re.compile(r"[A-Z][A-Z0-9_]*")
"""What a class is called."""

# The least and the most of each option: an upper bound keeps a slip from showing, or losing, everything.
_NUMBERS: Final = {
    "days": (1, 3650),  # ten years: further away nothing of a date is kept that would be worth keeping
    "width": (2, 1_000_000_000),  # a width of 1 would show whole numbers as they are
    "keep": (1, 32),
}
_OPTION: Final = {
    Strategy.DATE_SHIFT: "days",
    Strategy.BUCKET: "width",
    Strategy.GENERALISE: "keep",
    Strategy.FAKE: "locale",
}


def read_strategies(doc: Document, value: Any) -> dict[str, Treatment]:
    """Return the treatments by label.

    Raises:
        PolicyError: a strategy is unknown, has an option that is not its own, or needs a library that is
            not installed.
    """
    path = ("masking", "strategies")
    return {
        label: _treatment(doc, (*path, label), label, said)
        for label, said in typed(doc, path, value, dict, "a table of labels").items()
    }


def written(treatment: Treatment) -> str | dict[str, Any]:
    """Return what :func:`read_strategies` reads as ``treatment``."""
    option = _OPTION.get(treatment.strategy)
    if option is None:
        return treatment.strategy.value
    return {"strategy": treatment.strategy.value, option: getattr(treatment, option)}


def _treatment(doc: Document, here: Path, label: str, said: Any) -> Treatment:
    if not LABEL.fullmatch(label):
        doc.fail(here, 'a label is written in capitals, such as "EMAIL_ADDRESS"')
    if not isinstance(said, dict):
        return _checked(doc, here, Treatment(strategy=_strategy(doc, here, said)))
    if "strategy" not in said:
        doc.fail(here, f'a strategy is missing: write {label} = {{ strategy = "date_shift", days = 30 }}')
    strategy = _strategy(doc, (*here, "strategy"), said["strategy"])
    option = _OPTION.get(strategy)
    options: dict[str, Any] = {}
    for key, given in said.items():
        if key in _OPTION.values() and key != option:
            own = f"its own is '{option}'" if option else "it has none"
            doc.fail((*here, key), f"'{key}' is no option of '{strategy}'; {own}")
        doc.known_keys(here, {key: given}, frozenset({"strategy", *filter(None, (option,))}))
        if key == "locale":
            options[key] = string(doc, (*here, key), given)
        elif key != "strategy":
            options[key] = _number(doc, (*here, key), given)
    return _checked(doc, here, Treatment(strategy=strategy, **options))


def _strategy(doc: Document, here: Path, word: Any) -> Strategy:
    if not isinstance(word, str) or word not in {*Strategy}:
        doc.fail(here, f"unknown strategy; known here: {', '.join(Strategy)}")
    return Strategy(word)


def _number(doc: Document, here: Path, given: Any) -> int:
    name = str(here[-1])
    least, most = _NUMBERS[name]
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        doc.fail(here, f"'{name}' takes a number from {least} to {most}")
    return given


def _checked(doc: Document, here: Path, treatment: Treatment) -> Treatment:
    try:
        if treatment.strategy is Strategy.FAKE:
            fakes.check(treatment)
        if treatment.strategy is Strategy.FORMAT_PRESERVING:
            preserving.check()
    except PolicyError as error:
        doc.fail(here, str(error), remedy=error.remedy)
    return treatment

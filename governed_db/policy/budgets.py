"""``[[budget]]``: what callers may spend, read from policy files and put together for one caller."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from governed_db.identity.model import Identity
from governed_db.policy.model import UNLIMITED, Budget
from governed_db.policy.read_rules import read_identity, string, typed
from governed_db.policy.rules import IdentityCondition
from governed_db.policy.source import Document, Path

TIMES = ("statement_timeout", "lock_timeout", "idle_timeout")
"""Limits that are spans of time, written with their unit: "30s"."""

COUNTS = ("rows_returned", "rows_returned_per_session", "statements_per_minute", "rows_written_per_minute")
"""Limits that are whole numbers."""

OVER = ("refuse", "truncate")
"""What can become of rows above ``rows_returned`` and ``rows_returned_per_session``."""

MAX_TIME = 2**31 - 1
"""Milliseconds: the largest value of PostgreSQL's timeouts (guc_tables.c), some 24 days."""

_KEYS = frozenset({"id", "who", "over", *TIMES, *COUNTS})
_SPAN = re.compile(r"(\d{1,10}) ?(ms|s|min|h|d)")
# guc.c, time_unit_conversion_table.
_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


@frozen(kw_only=True)
class BudgetRule:
    """One ``[[budget]]``.

    Attributes:
        id: its name.
        who: whom it is about; ``None``: everybody.
        limits: what it sets, by the names of :class:`~governed_db.policy.model.Budget`; ``None`` stands for
            "not limited", which ends the search for this limit like any other value.
        origin: file, line, column; for people.
    """

    id: str
    who: IdentityCondition | None
    limits: Mapping[str, int | str | None]
    origin: str = field(default="", eq=False)

    def about(self, identity: Identity, services: frozenset[str]) -> bool:
        """Return whether it limits ``identity``."""
        return self.who is None or self.who.holds(identity, services)


def allowance(rules: tuple[BudgetRule, ...], identity: Identity, services: frozenset[str]) -> Budget:
    """Return what ``identity`` may spend: each limit from the first of ``rules`` that sets it for it."""
    limits: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for rule in rules:
        if not rule.about(identity, services):
            continue
        for name, value in rule.limits.items():
            if name not in limits:
                limits[name] = value
                origins[name] = rule.id
    if all(value is None for value in limits.values()):
        return UNLIMITED
    limits["over"] = limits.get("over") or "refuse"
    first = next(rule for name, rule in origins.items() if limits[name] is not None)
    return Budget(id=first, **limits, origins=tuple(origins.items()))


def read_budgets(doc: Document, value: Any, taken: Mapping[str, str]) -> tuple[BudgetRule, ...]:
    """Return the budgets of one file.

    Args:
        doc: the file.
        value: what stands under ``budget``.
        taken: ids that cannot be used again, with where they are from.

    Raises:
        PolicyError: a budget is wrong, its id is taken, or earlier ones of the file leave it nothing.
    """
    tables = typed(doc, ("budget",), value, list, "an array of tables: write [[budget]]")
    budgets: list[BudgetRule] = []
    ids = dict(taken)
    for i, table in enumerate(tables):
        path: Path = ("budget", i)
        budget = _read_budget(doc, path, table)
        if budget.id in ids:
            doc.fail((*path, "id"), f"the id '{budget.id}' is taken by the budget at {ids[budget.id]}")
        ids[budget.id] = budget.origin
        for name in budget.limits:
            for earlier in budgets:
                if name in earlier.limits and _covers(earlier, budget):
                    doc.fail(
                        (*path, name),
                        f"'{name}' of budget '{budget.id}' can never hold: everybody it is about has"
                        f" that of budget '{earlier.id}' ({earlier.origin})",
                        remedy=f"Move '{budget.id}' above '{earlier.id}', or take one of the two out.",
                    )
        budgets.append(budget)
    return tuple(budgets)


def _covers(general: BudgetRule, special: BudgetRule) -> bool:
    if general.who is None:
        return True
    return special.who is not None and general.who.covers(special.who)


def _read_budget(doc: Document, path: Path, value: Any) -> BudgetRule:
    table = typed(doc, path, value, dict, "a table")
    doc.known_keys(path, table, _KEYS)
    if "id" not in table:
        doc.fail(path, "the budget has no 'id'")
    limits: dict[str, int | str | None] = {}
    for name, given in table.items():
        here = (*path, name)
        if given is False and name in {*TIMES, *COUNTS}:
            limits[name] = None
        elif name in TIMES:
            limits[name] = _time(doc, here, given)
        elif name in COUNTS:
            limits[name] = _count(doc, here, given)
        elif name == "over":
            limits[name] = string(doc, here, given)
            if given not in OVER:
                doc.fail(here, f"unknown word '{given}' for 'over'; known here: {', '.join(OVER)}")
    if not limits.keys() - {"over"}:
        doc.fail(path, f"the budget sets no limit; there are {', '.join((*TIMES, *COUNTS))}")
    if "over" in limits and not {"rows_returned", "rows_returned_per_session"} & limits.keys():
        doc.fail((*path, "over"), "'over' is about 'rows_returned' and 'rows_returned_per_session'")
    return BudgetRule(
        id=string(doc, (*path, "id"), table["id"]),
        who=read_identity(doc, (*path, "who"), table["who"]) if "who" in table else None,
        limits=limits,
        origin=doc.where(path),
    )


def _time(doc: Document, path: Path, value: Any) -> int:
    article = "a span of time with its unit such as '30s', or false for no limit"
    found = _SPAN.fullmatch(typed(doc, path, value, str, article).strip())
    if found is None:
        doc.fail(path, f"'{path[-1]}' takes {article}; units are {', '.join(_MILLISECONDS)}")
    milliseconds = int(found[1]) * _MILLISECONDS[found[2]]
    if not 1 <= milliseconds <= MAX_TIME:
        # PostgreSQL takes 0 for "no limit", which is written false here.
        doc.fail(path, f"'{path[-1]}' takes from 1 ms to {MAX_TIME} ms, or false for no limit")
    return milliseconds


def _count(doc: Document, path: Path, value: Any) -> int:
    article = "a whole number above 0, or false for no limit"
    number = typed(doc, path, value, int, article)
    if number < 1:
        doc.fail(path, f"'{path[-1]}' takes {article}")
    return number

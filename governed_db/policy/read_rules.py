"""From TOML tables to rules: everything that can be wrong with a rule is said here, with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import time
from math import inf
from string import Formatter
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from governed_db.identity.model import Kind
from governed_db.policy.parts import TIMEOUTS
from governed_db.policy.patterns import split_column_pattern, split_relation
from governed_db.policy.rules import IdentityCondition, Names, Rule, Then, TimeWindow, When
from governed_db.policy.source import Document, Path
from governed_db.statement.facts import CAPPED, EffectKind

T = TypeVar("T")

RESERVED = ("governed_db.", "driver.")
"""How the rules begin under which the trail has what the library sent by itself: readers leave it out of
lists and do not replay it, so no rule of a policy may look like one."""

TEMPLATE_FIELDS = frozenset({"effect", "target", "name", "note"})
"""What ``because`` and ``remedy`` can fill in; none of them ever holds a literal of the statement."""

_RULE_KEYS = frozenset(
    {"id", "when", "then", "because", "remedy", "retryable", "rows", "approvers", "count", "binds", "shadow"},
)
_WHEN_KEYS = frozenset(
    {
        "complete",
        "effects",
        "relations",
        "names",
        "notes",
        "constrained",
        "values",
        "up_to_ms",
        "identity",
        "time",
        "functions",
        "columns",
        "environment",
        "database",
        "cost_over",
        "rows_over",
    },
)
_IDENTITY_KEYS = frozenset(
    {"kind", "subject", "group", "issuer", "verified", "named_service", "on_behalf_of"},
)
_TIME_KEYS = frozenset({"days", "from", "to", "zone"})
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CONSTRAINABLE = frozenset({EffectKind.UPDATE, EffectKind.DELETE})
_CALLING = frozenset({EffectKind.FUNCTION, EffectKind.CALL})
_TOUCHING = frozenset(
    {
        EffectKind.SELECT,
        EffectKind.INSERT,
        EffectKind.UPDATE,
        EffectKind.MERGE,
        EffectKind.COPY_TO,
        EffectKind.COPY_FROM,
        EffectKind.ROW_LOCK,
    },
)


def typed(doc: Document, path: Path, value: Any, kind: type[T], article: str) -> T:
    """Return ``value`` if it is a ``kind`` (a bool is not an int here).

    Raises:
        PolicyError: it is not.
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        doc.fail(path, f"'{path[-1]}' takes {article}, not {_called(value)}")
    return value


def _called(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a float",
        str: "a string",
        list: "an array",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")


def string(doc: Document, path: Path, value: Any) -> str:
    """Return a string that is not empty.

    Raises:
        PolicyError: it is something else.
    """
    text = typed(doc, path, value, str, "a string")
    if not text.strip():
        doc.fail(path, f"'{path[-1]}' is empty")
    return text


def strings(doc: Document, path: Path, value: Any) -> tuple[str, ...]:
    """Return an array of strings that is not empty; an empty one could never match.

    Raises:
        PolicyError: it is something else.
    """
    items = typed(doc, path, value, list, "an array of strings")
    if not items:
        doc.fail(path, f"'{path[-1]}' is empty: nothing can ever match it")
    return tuple(string(doc, (*path, i), item) for i, item in enumerate(items))


def words(doc: Document, path: Path, value: Any, kind: Callable[[str], T], known: list[str]) -> frozenset[T]:
    """Return an array of words out of ``known``.

    Raises:
        PolicyError: one of them is not.
    """
    for i, word in enumerate(strings(doc, path, value)):
        if word not in known:
            doc.fail((*path, i), f"unknown word '{word}' in '{path[-1]}'; known here: {', '.join(known)}")
    return frozenset(kind(word) for word in value)


def patterns(doc: Document, path: Path, value: Any, split: Callable[[str], object]) -> Names:
    """Return patterns that ``split`` can take apart.

    Raises:
        PolicyError: it cannot take one of them apart; a relation without its schema, say.
    """
    found = strings(doc, path, value)
    for i, pattern in enumerate(found):
        try:
            split(pattern)
        except ValueError as error:
            doc.fail((*path, i), str(error))
    return found


def read_identity(doc: Document, path: Path, value: Any) -> IdentityCondition:
    """Return an identity condition.

    Raises:
        PolicyError: it is not one, or makes no condition at all.
    """
    table = typed(doc, path, value, dict, "a table such as { kind = ['human'] }")
    doc.known_keys(path, table, _IDENTITY_KEYS)
    if not table:
        doc.fail(path, "an identity without any condition fits everybody; leave the key out to say so")
    given: dict[str, Any] = {}
    for key, inner in table.items():
        here = (*path, key)
        if key == "kind":
            given[key] = words(doc, here, inner, Kind, [*Kind])
        elif key in {"verified", "named_service"}:
            given[key] = typed(doc, here, inner, bool, "true or false")
        elif key == "on_behalf_of":
            given[key] = read_identity(doc, here, inner)
        else:
            given[key] = strings(doc, here, inner)
    condition = IdentityCondition(**given)
    if condition.named_service and condition.kind is not None and Kind.SERVICE not in condition.kind:
        doc.fail((*path, "kind"), "a named service is of kind 'service': this can never match")
    return condition


def _read_window(doc: Document, path: Path, value: Any) -> TimeWindow:
    table = typed(
        doc, path, value, dict, "a table such as { days = ['mon'], from = 08:00:00, to = 18:00:00 }"
    )
    doc.known_keys(path, table, _TIME_KEYS)
    days = words(doc, (*path, "days"), table.get("days", list(_DAYS)), _DAYS.index, list(_DAYS))
    start = typed(doc, (*path, "from"), table.get("from", time(0)), time, "a time of day such as 08:00:00")
    end = typed(doc, (*path, "to"), table.get("to", time(0)), time, "a time of day such as 18:00:00")
    if not {"days", "from", "to"} & table.keys():
        doc.fail(path, "a time without any condition holds always; leave the key out to say so")
    zone = string(doc, (*path, "zone"), table.get("zone", "UTC"))
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        doc.fail((*path, "zone"), f"unknown time zone '{zone}'")
    return TimeWindow(days=days, start=start, end=end, zone=zone)


def _read_when(doc: Document, path: Path, value: Any) -> When:
    table = typed(doc, path, value, dict, "a table such as { effects = ['select'] }")
    doc.known_keys(path, table, _WHEN_KEYS)
    readers: dict[str, Callable[[Path, Any], Any]] = {
        "effects": lambda p, v: words(doc, p, v, EffectKind, [*EffectKind]),
        "relations": lambda p, v: patterns(doc, p, v, split_relation),
        "functions": lambda p, v: patterns(doc, p, v, _split_function),
        "columns": lambda p, v: patterns(doc, p, v, split_column_pattern),
        "environment": lambda p, v: strings(doc, p, v),
        "database": lambda p, v: strings(doc, p, v),
        "cost_over": lambda p, v: _number(doc, p, v),
        "rows_over": lambda p, v: _number(doc, p, v),
        "names": lambda p, v: strings(doc, p, v),
        "notes": lambda p, v: strings(doc, p, v),
        "constrained": lambda p, v: typed(doc, p, v, bool, "true or false"),
        "values": lambda p, v: strings(doc, p, v),
        "up_to_ms": lambda p, v: _positive(doc, p, v),
        "identity": lambda p, v: read_identity(doc, p, v),
    }
    given = {key: readers[key]((*path, key), inner) for key, inner in table.items() if key in readers}
    if "time" in table:
        given["window"] = _read_window(doc, (*path, "time"), table["time"])
    if "complete" in table:
        _check_complete(doc, path, table)
        given["incomplete"] = True
    effects = given.get("effects")
    if "constrained" in given and (effects is None or not effects <= _CONSTRAINABLE):
        doc.fail((*path, "constrained"), "'constrained' is about updates and deletes: name them in 'effects'")
    for key in ("values", "up_to_ms"):
        if key in given and effects != {EffectKind.SET}:
            doc.fail((*path, key), f"'{key}' is about settings: it needs effects = ['set']")
    if "up_to_ms" in given and not set(given.get("names") or ("*",)) <= TIMEOUTS:
        doc.fail((*path, "up_to_ms"), f"'up_to_ms' needs 'names' among {', '.join(sorted(TIMEOUTS))}")
    if "functions" in given and effects is not None and not effects <= _CALLING:
        doc.fail(
            (*path, "functions"), "'functions' is about calls: leave 'effects' out, or name 'function' in it"
        )
    for key in ("columns", "relations", "constrained", "values", "up_to_ms"):
        if "functions" in given and key in given:
            doc.fail((*path, key), f"a call has no '{key}': make it two rules")
    if "columns" in given and effects is not None and not effects <= _TOUCHING:
        known = ", ".join(sorted(_TOUCHING))
        doc.fail(
            (*path, "columns"), f"'columns' is about what reads or sets columns: 'effects' among {known}"
        )
    return When(**given)


def _split_function(pattern: str) -> tuple[str, str]:
    try:
        return split_relation(pattern)
    except ValueError:
        raise ValueError(
            "a function is written schema.name, such as 'pg_catalog.lower', 'app.*' or '*.refund';"
            f" got {pattern!r}"
        ) from None


def _check_complete(doc: Document, path: Path, table: Mapping[str, Any]) -> None:
    if typed(doc, (*path, "complete"), table["complete"], bool, "false"):
        doc.fail(
            (*path, "complete"),
            "only 'complete = false' can be asked for: the other rules are about the rest",
        )
    other = sorted(table.keys() - {"complete", "identity", "notes", "time", "environment", "database"})
    if other:
        doc.fail(
            (*path, other[0]),
            f"'complete = false' is about the statement as a whole and cannot be joined with '{other[0]}'",
        )


def _positive(doc: Document, path: Path, value: Any) -> int:
    number = typed(doc, path, value, int, "a whole number above 0")
    if number < 1:
        doc.fail(path, f"'{path[-1]}' takes a whole number above 0")
    return number


def _number(doc: Document, path: Path, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        doc.fail(path, f"'{path[-1]}' takes a number from 0")
    return float(value)


def _template(doc: Document, path: Path, value: Any) -> str:
    text = string(doc, path, value)
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        doc.fail(path, f"'{path[-1]}' is not a template: {error}; write '{{{{' for a brace")
    for _, name, specification, conversion in parts:
        if name is not None and (name not in TEMPLATE_FIELDS or specification or conversion):
            known = ", ".join(f"{{{field}}}" for field in sorted(TEMPLATE_FIELDS))
            doc.fail(path, f"'{path[-1]}' can fill in {known} and nothing else")
    return text


def read_rule(doc: Document, path: Path, value: Any) -> Rule:
    """Return one rule.

    Raises:
        PolicyError: a key is missing, unknown, of the wrong type, or contradicts another.
    """
    table = typed(doc, path, value, dict, "a table")
    doc.known_keys(path, table, _RULE_KEYS)
    for key in ("id", "when", "then", "because"):
        if key not in table:
            doc.fail(path, f"the rule has no '{key}'")
    then_word = string(doc, (*path, "then"), table["then"])
    if then_word not in {*Then}:
        doc.fail((*path, "then"), f"unknown answer '{then_word}'; known here: {', '.join(Then)}")
    then = Then(then_word)
    when = _read_when(doc, (*path, "when"), table["when"])
    rows = _positive(doc, (*path, "rows"), table["rows"]) if "rows" in table else None
    if rows is not None and then is not Then.ALLOW:
        doc.fail((*path, "rows"), "'rows' is a cap on what a rule allows: it needs then = 'allow'")
    if rows is not None and (when.effects is None or not when.effects <= CAPPED):
        doc.fail(
            (*path, "rows"), f"'rows' caps writes: 'effects' has to be among {', '.join(sorted(CAPPED))}"
        )
    # An 'allow' with a row cap turns into a request for approval, so it may say whose.
    if "approvers" in table and not (then is Then.APPROVE or rows is not None):
        doc.fail((*path, "approvers"), "'approvers' needs then = 'approve', or a cap in 'rows'")
    if "count" in table and not (then is Then.APPROVE or rows is not None):
        doc.fail((*path, "count"), "'count' needs then = 'approve', or a cap in 'rows'")
    binds = string(doc, (*path, "binds"), table.get("binds", "statement"))
    if binds not in ("statement", "effect"):
        doc.fail((*path, "binds"), "'binds' is one of statement, effect")
    if "binds" in table and not (then is Then.APPROVE or rows is not None):
        doc.fail((*path, "binds"), "'binds' needs then = 'approve', or a cap in 'rows'")
    return Rule(
        id=string(doc, (*path, "id"), table["id"]),
        when=when,
        then=then,
        because=_template(doc, (*path, "because"), table["because"]),
        remedy=_template(doc, (*path, "remedy"), table["remedy"]) if "remedy" in table else "",
        retryable=typed(doc, (*path, "retryable"), table["retryable"], bool, "true or false")
        if "retryable" in table
        else then is Then.APPROVE,
        rows=rows,
        approvers=strings(doc, (*path, "approvers"), table["approvers"]) if "approvers" in table else (),
        count=_positive(doc, (*path, "count"), table["count"]) if "count" in table else 1,
        binds=binds,
        shadow=typed(doc, (*path, "shadow"), table.get("shadow", False), bool, "true or false"),
        origin=doc.where(path),
    )


def read_rules(doc: Document, value: Any, taken: Mapping[str, str]) -> tuple[Rule, ...]:
    """Return the rules of one file.

    Args:
        doc: the file.
        value: what stands under ``rule``.
        taken: ids that cannot be used again, with where they are from.

    Raises:
        PolicyError: a rule is wrong, its id is taken, or an earlier rule of the file leaves it nothing.
    """
    tables = typed(doc, ("rule",), value, list, "an array of tables: write [[rule]]")
    rules: list[Rule] = []
    ids = dict(taken)
    for i, table in enumerate(tables):
        rule = read_rule(doc, ("rule", i), table)
        if rule.id in ids:
            doc.fail(("rule", i, "id"), f"the id '{rule.id}' is taken by the rule at {ids[rule.id]}")
        if rule.id.startswith(RESERVED):
            doc.fail(("rule", i, "id"), f"ids that begin with {' or '.join(RESERVED)} are the library's own")
        ids[rule.id] = rule.origin
        for earlier in rules:
            if not earlier.shadow and earlier.when.covers(rule.when):
                verb = "repeats" if earlier.then is rule.then else "contradicts"
                doc.fail(
                    ("rule", i, "when"),
                    f"rule '{rule.id}' can never match: everything it is about is taken by rule "
                    f"'{earlier.id}' ({earlier.origin}), which it {verb}",
                    remedy=f"Move '{rule.id}' above '{earlier.id}', or take one of them out.",
                )
        rules.append(rule)
    return tuple(rules)

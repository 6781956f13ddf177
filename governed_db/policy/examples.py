"""``[[example]]``: what a policy says about itself, for ``governed-db policy test`` to hold it to.

Examples change no decision and are no part of a policy's version. They are read with the rest of the file
all the same: an example with a slip in it would otherwise pass for one that holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from attrs import evolve, field, frozen

from governed_db.identity.model import Identity
from governed_db.policy.model import Verdict
from governed_db.policy.read_rules import string, strings, typed
from governed_db.policy.rules import Then
from governed_db.policy.source import Document, Path

EXAMPLE_KEYS = frozenset(
    {
        "sql",
        "params",
        "as",
        "on_behalf_of",
        "groups",
        "at",
        "environment",
        "expect",
        "rule",
        "masked",
        "because",
    },
)
TEST_KEYS = frozenset({"schema"})

SPOKEN_ELSEWHERE = ("masking.", "driver.", "statement.", "budget.", "catalog.")
"""How names begin that a decision can give beside the ids of rules and "default": the stages beside the
rules (``governed_db/refusals.py``)."""


@frozen(kw_only=True)
class Example:
    """One statement and the answer it is expected to get.

    Attributes:
        sql: the statement, as a caller would hand it to ``execute``.
        expect: the verdict.
        identity: who asks; ``None``: the caller that the policy takes where nobody says otherwise.
        params: values for its placeholders.
        at: when, for rules with a time window; ``None``: now.
        environment: where, for rules with an environment; ``None``: as the process says.
        rule: the id of the rule that has to speak; "" for any.
        masked: the columns that come back masked, as ``schema.relation.column`` or a part of it from the
            right; ``None`` where the example does not say. Only a database can tell.
        because: why, for whoever reads the failure.
        line: where in the file it stands, from 1.
    """

    sql: str = field(repr=False)
    expect: Verdict
    identity: Identity | None = None
    params: tuple[Any, ...] | Mapping[str, Any] | None = field(default=None, repr=False)
    at: datetime | None = None
    environment: str | None = None
    rule: str = ""
    masked: tuple[str, ...] | None = None
    because: str = ""
    line: int = 0


@frozen(kw_only=True)
class Suite:
    """A file's own examples. ``schema``: ``[test] schema``, an SQL file, relative to the policy's folder."""

    examples: tuple[Example, ...] = ()
    schema: str = ""


def read_suite(doc: Document, ids: frozenset[str]) -> Suite:
    """Return the examples of one file.

    Args:
        doc: the file.
        ids: the ids of all rules of the policy, those of the preset it extends included.

    Raises:
        PolicyError: a key is missing, unknown or of the wrong type, or names a rule that is not there.
    """
    tables = typed(
        doc, ("example",), doc.data.get("example", []), list, "an array of tables: write [[example]]"
    )
    examples = [e for i, table in enumerate(tables) for e in _read(doc, ("example", i), table, ids)]
    test = typed(doc, ("test",), doc.data.get("test", {}), dict, "a table: write [test]")
    doc.known_keys(("test",), test, TEST_KEYS)
    schema = string(doc, ("test", "schema"), test["schema"]) if "schema" in test else ""
    return Suite(examples=tuple(examples), schema=schema)


def _read(doc: Document, path: Path, value: Any, ids: frozenset[str]) -> list[Example]:
    table = typed(doc, path, value, dict, "a table")
    doc.known_keys(path, table, EXAMPLE_KEYS)
    for key in ("sql", "expect"):
        if key not in table:
            doc.fail(path, f"the example has no '{key}'")
    word = string(doc, (*path, "expect"), table["expect"])
    if word not in {*Then}:
        doc.fail((*path, "expect"), f"unknown answer '{word}'; known here: {', '.join(Then)}")
    masked = None
    if "masked" in table:
        columns = typed(doc, (*path, "masked"), table["masked"], list, "an array of column names")
        masked = tuple(string(doc, (*path, "masked", i), column) for i, column in enumerate(columns))
    example = Example(
        sql="",
        expect=Then(word).verdict,
        identity=_identity(doc, path, table),
        params=_params(doc, (*path, "params"), table["params"]) if "params" in table else None,
        at=_moment(doc, (*path, "at"), table["at"]) if "at" in table else None,
        environment=string(doc, (*path, "environment"), table["environment"])
        if "environment" in table
        else None,
        rule=_rule(doc, (*path, "rule"), table["rule"], ids) if "rule" in table else "",
        masked=masked,
        because=string(doc, (*path, "because"), table["because"]) if "because" in table else "",
    )
    return [_with(example, text, doc.place(where)[0]) for text, where in _texts(doc, path, table["sql"])]


def _with(example: Example, sql: str, line: int) -> Example:
    return evolve(example, sql=sql, line=line)


def _texts(doc: Document, path: Path, value: Any) -> list[tuple[str, Path]]:
    """Return each text with its place. An empty text is a statement too."""
    here = (*path, "sql")
    if isinstance(value, str):
        return [(value, here)]
    items = typed(doc, here, value, list, "a string, or an array of them")
    if not items:
        doc.fail(here, "'sql' is empty: nothing would be tested")
    return [(typed(doc, (*here, i), item, str, "strings"), (*here, i)) for i, item in enumerate(items)]


def _identity(doc: Document, path: Path, table: Mapping[str, Any]) -> Identity | None:
    if "as" not in table:
        for key in ("on_behalf_of", "groups"):
            if key in table:
                doc.fail((*path, key), f"'{key}' needs 'as', which says who asks")
        return None
    who = _parsed(doc, (*path, "as"), table["as"])
    principal = None
    if "on_behalf_of" in table:
        principal = _parsed(doc, (*path, "on_behalf_of"), table["on_behalf_of"])
    groups = strings(doc, (*path, "groups"), table["groups"]) if "groups" in table else ()
    return Identity(kind=who.kind, subject=who.subject, on_behalf_of=principal, groups=frozenset(groups))


def _parsed(doc: Document, path: Path, value: Any) -> Identity:
    text = string(doc, path, value)
    try:
        return Identity.parse(text)
    except ValueError as error:
        doc.fail(path, str(error))


def _params(doc: Document, path: Path, value: Any) -> tuple[Any, ...] | Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    return tuple(typed(doc, path, value, list, "an array of values, or a table for named placeholders"))


def _moment(doc: Document, path: Path, value: Any) -> datetime:
    moment = typed(doc, path, value, datetime, "a date and time such as 2026-03-02T22:00:00+01:00")
    if moment.tzinfo is None:
        doc.fail(path, "'at' needs its offset from UTC, such as 2026-03-02T22:00:00+01:00 (or Z)")
    return moment


def _rule(doc: Document, path: Path, value: Any, ids: frozenset[str]) -> str:
    name = string(doc, path, value)
    if name != "default" and name not in ids and not name.startswith(SPOKEN_ELSEWHERE):
        near = get_close_matches(name, ids, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        doc.fail(path, f"the policy has no rule '{name}'{hint}")
    return name

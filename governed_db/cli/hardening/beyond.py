"""What no privilege of PostgreSQL can express, of one policy and one caller."""

from __future__ import annotations

from collections.abc import Iterator

from governed_db.identity import Identity
from governed_db.policy import Policy, Request, Verdict
from governed_db.policy.rules import Then
from governed_db.statement import EffectKind, read

_FREE = {
    "SET and set_config of most settings": "SET search_path = public",
    "LISTEN": "LISTEN a",
    "NOTIFY": "NOTIFY a",
    "PREPARE": "PREPARE a AS SELECT 1",
    "EXECUTE": "EXECUTE a",
    "BEGIN and COMMIT as text": "COMMIT",
    "ALTER ROLE of oneself, password and settings included": "ALTER ROLE CURRENT_USER PASSWORD NULL",
    "several statements in one call": "SELECT 1; SELECT 2",
    "LOCK TABLE where rows may be written": "LOCK TABLE a",
    "SELECT FOR UPDATE where rows may be updated": "SELECT 1 FROM a FOR UPDATE",
}
"""Statements that PostgreSQL lets every role send, by what they are called here."""


def beyond(policy: Policy, identity: Identity) -> Iterator[str]:
    """Yield what the policy asks of ``identity`` and the server cannot."""
    for what, text in _FREE.items():
        decision = policy.decide(Request(statement=read(text), identity=identity))
        if decision.verdict is not Verdict.ALLOW:
            yield f"{what} ({decision.rule}): the server lets every role do it"
    services = policy.settings.services
    for rule in policy.rules:
        when = rule.when
        if rule.shadow or not (when.identity is None or when.identity.holds(identity, services)):
            continue
        if rule.rows is not None:
            yield f"{rule.id}: at most {rule.rows} rows in a statement"
        if when.constrained is False and rule.then is not Then.ALLOW:
            yield f"{rule.id}: a WHERE that provably restricts the rows"
        if rule.then is Then.APPROVE and when.effects != frozenset({EffectKind.FUNCTION}):
            yield f"{rule.id}: people who agree"
        if when.window is not None:
            yield f"{rule.id}: its time window"
    budget = policy.budget(identity)
    limits = {
        "rows returned by a statement": budget.rows_returned,
        "rows returned in a session": budget.rows_returned_per_session,
        "statements in a minute": budget.statements_per_minute,
        "rows written in a minute": budget.rows_written_per_minute,
    }
    for words, value in limits.items():
        if value is not None:
            yield f"budget.{budget.id}: {words} up to {value}"
    if budget.statement_timeout or budget.lock_timeout or budget.idle_timeout:
        yield f"budget.{budget.id}: the timeouts above are where a session starts; SET can raise them"
    if policy.masks(identity):
        yield "masking: a masked value instead of none at all"

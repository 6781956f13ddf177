"""Why a call does not go on, in words that its caller can act on.

Every refusal says which part of the statement, which rule, what would pass instead, and whether trying
again can help: agents read these, and correct themselves instead of looping.
"""

from __future__ import annotations

from governed_db.approval.request import ApprovalRequest
from governed_db.errors import GovernanceError
from governed_db.masking.given import Refused
from governed_db.masking.model import Refusal
from governed_db.policy.model import Decision, Verdict
from governed_db.policy.reasons import name_service
from governed_db.policy.rules import is_named_service
from governed_db.run import Call, Known
from governed_db.statement.describing import Undescribed


def sentence(decision: Decision, request: ApprovalRequest | None = None, *, named: bool = True) -> str:
    """One message: which part, which rule, what would pass, whether trying again can help.

    ``named``: whether the policy names anybody who answers requests.
    """
    parts = [f"{decision.reason.rstrip('.')} [rule {decision.rule}]."]
    if decision.remedy:
        parts.append(f"{decision.remedy[:1].upper()}{decision.remedy[1:].rstrip('.')}.")
    if request is not None:
        who = " or ".join(request.approvers)
        if request.needed > 1:
            who = f" by {request.needed} different people" + (f" of {who}" if who else "")
        elif who:
            who = f" by {who}"
        parts.append(f"Approval request {request.id} waits to be answered{who}.")
        if not named:
            parts.append(
                "The policy names nobody yet who could answer: have whoever keeps it add an [[approver]]."
            )
    if not decision.retryable:
        parts.append("Trying the same again will not help.")
    return " ".join(parts)


def nobody(decision: Decision, why: str) -> Decision:
    """Block: people would have to agree, and nobody could."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="approval.nobody",
        reason=f"{decision.reason.rstrip('.')} (rule {decision.rule}). People have to agree to it, but {why}",
        remedy="have whoever keeps the policy name somebody: [[approver]] subject, groups, keys",
        retryable=False,
    )


def undescribed(decision: Decision, why: Undescribed) -> Decision:
    """Block: people would have to agree to the very rows, and cannot be shown them."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="approval.effect",
        reason=f"{decision.reason.rstrip('.')} (rule {decision.rule}). People have to agree to the very rows"
        f" that it writes, but {why.reason}",
        remedy=why.remedy,
        retryable=why.retryable,
    )


def otherwise(decision: Decision, what: str) -> Decision:
    """Block: what ran was not what people have agreed to, and is undone."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="approval.effect",
        reason=f"it did something else than people have agreed to: {what}. It was rolled back",
        remedy="a trigger, a default or a rule of the table makes other rows than the statement says; let the"
        " statement say it, or have whoever keeps the policy let people agree to the statement instead"
        " (binds = 'statement' in its rule)",
        retryable=False,
    )


def uncountable(decision: Decision) -> Decision:
    """Block: people have agreed up to so many rows, and on this way nobody could count them first."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="approval.uncountable",
        reason="people have agreed to it up to so many rows, and stream() and copy() cannot count the rows a"
        " write touches before they are handed out",
        remedy="use execute(); what people have agreed to is not used up",
        retryable=False,
    )


def many(decision: Decision, error: GovernanceError) -> Decision:
    """Block: the caller has asked people about so much that nobody is asked more."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule=error.rule,
        reason=f"{decision.reason.rstrip('.')} (rule {decision.rule}). People have to agree to it, but"
        f" {error}",
        remedy=error.remedy,
        retryable=True,
    )


def unestimated(decision: Decision, why: str) -> Decision:
    """Say that a condition on cost or rows could not be told, where that is why it does not run."""
    if decision.verdict is Verdict.ALLOW:
        return decision
    return decision.replace(
        reason=f"{decision.reason.rstrip('.')}. What PostgreSQL's planner expects of it is not known ({why})",
        wants_estimate=False,
    )


def written(decision: Decision, seconds: int) -> Decision:
    """Block: the caller has written as many rows in this minute as its budget allows."""
    budget = decision.budget
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule=budget.rule("rows_written_per_minute"),
        reason=f"this caller may write {budget.rows_written_per_minute} rows in a minute, and has",
        remedy=f"try again in {seconds} seconds; statements that only read run meanwhile",
        retryable=True,
    )


def masked(decision: Decision, known: Known) -> Decision:
    """Block: a masked column is used where no mask can follow it."""
    first = known.plan.refusals[0]
    others = len(known.plan.refusals) - 1
    where = f" at character {first.location + 1}" if first.location >= 0 else ""
    more = f" (and {others} more)" if others else ""
    remedy = _unmasked(first)
    if known.plan.unredacted:
        more += f"; it cannot run over redacted values either: {known.plan.unredacted}"
    who = known.request.identity
    if is_named_service(who, frozenset({who.subject})):  # it would be one, if the policy named it
        remedy = name_service(f"{remedy}.", who.subject)
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="masking.derived",
        reason=f"{first.column} holds {first.label} and is masked for this caller, but {first.clause}"
        f" uses its value{where}{more}",
        remedy=remedy,
        retryable=False,
    )


def _unmasked(refusal: Refusal) -> str:
    name = refusal.column.rpartition(".")[2]
    if refusal.clause.startswith("the trigger "):
        return (
            "no such write of this table passes for this caller, however it is put; ask whoever keeps the"
            " policy to label the columns that the trigger writes to in [masking.columns], or have a service"
            " that the policy names do it"
        )
    if refusal.clause.startswith(("the foreign key ", "what the trigger ")):
        return f"leave {name} as it is; what becomes of the write would tell whether it had that value before"
    if refusal.clause.startswith("what the exclusion constraint "):
        return f"leave {name} out of what is written; whether it meets a stored value tells where that is"
    if refusal.clause.startswith("EXPLAIN, which "):
        return "run the statement itself, or EXPLAIN one that leaves the partitioned table out"
    if refusal.clause.startswith("naming the partition "):
        return "name the partitioned table instead; its rows come from all partitions"
    if refusal.clause.startswith(_HOLDING):
        return f"set {name} to a value as well, or leave alone what {refusal.clause} holds against it"
    if refusal.clause.startswith("a write of "):
        return (
            f"leave {name} out of what is written: who reads it masked may not write it, says the policy in"
            " [masking] write"
        )
    if refusal.clause.startswith("INSERT into "):
        return f"leave {name} out of what is copied, or give values of your own for it"
    if refusal.clause.startswith("SET "):
        return f"set {name} to a value instead of computing it from a masked one"
    said = _INSTEAD.get(refusal.clause)
    if said is not None:
        return said.format(name=name)
    return (
        f"select {name} itself (it comes back masked) and filter, join,"
        " group or compute with columns that are not masked, such as the key"
    )


_INSTEAD = {
    "ORDER BY": "order by columns that are not masked, such as the key; {name} itself can be selected, and"
    " comes back masked",
    "GROUP BY": "group by columns that are not masked; beside the whole primary key of its table {name} may"
    " stand in GROUP BY, and be selected",
    "DISTINCT": "leave {name} out of a DISTINCT, or select the whole primary key of its table with it and"
    " ORDER BY that key, and by every other column that the key does not determine",
    "UNION": "use UNION ALL, which compares nothing ({name} comes back masked), or leave {name} out",
    "ON CONFLICT": "use ON CONFLICT DO NOTHING, or make the conflict one of a key that is not masked, or"
    " UPDATE by that key",
    "a whole-row reference": "name the columns one by one in the select list ({name} comes back masked)"
    " instead of the row as one value",
    "CREATE TABLE AS": "leave {name} out of what is copied",
    "SELECT INTO": "leave {name} out of what is copied",
}
"""What would pass in the place of a clause, where more can be said than of any use."""


_HOLDING = (
    "the check constraint ", "the primary key ", "the unique constraint ", "the exclusion constraint ",
    "the index ",
)  # fmt: skip


def let_in(decision: Decision, refused: Refused) -> Decision:
    """Block: a value that the caller gives is not let in."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule=refused.rule,
        reason=refused.reason,
        remedy=refused.remedy,
        retryable=False,
    )


def forged(decision: Decision, what: str) -> Decision:
    """Block: it changes, or can change, what the server is told of its caller."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="callers.settings",
        reason=f"{what}; the settings governed_db.* say who asks, and row-level security believes them, so no"
        " statement may change them",
        remedy="leave governed_db.* alone: they follow the identity that the statement runs as; set_config()"
        " of other settings takes their name as a literal, and RESET ALL or DISCARD ALL stands alone",
        retryable=False,
    )


def not_copied(decision: Decision) -> Decision:
    """Block: COPY through a method that cannot follow its rows."""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="driver.copy",
        reason="COPY hands rows in and out beside the result, which execute() and stream() cannot follow",
        remedy="use cursor.copy()",
        retryable=False,
    )


def copied(decision: Decision, known: Known) -> Decision:
    """Block: COPY of a masked column."""
    names = ", ".join(m.name for m in known.plan.masks)
    why = f"; it cannot run over redacted values: {known.plan.unredacted}" if known.plan.unredacted else ""
    return decision.replace(
        verdict=Verdict.BLOCK,
        rule="masking.copy",
        reason=f"COPY hands out raw bytes, and {names} is masked for this caller{why}",
        remedy="read it with SELECT, which masks it, or COPY (SELECT ...) without the masked columns",
        retryable=False,
    )


def capped(decision: Decision, call: Call, known: Known) -> Decision:
    """Ask people where more rows are certain than the caller may write, or nobody could count them."""
    cap = decision.row_cap
    statement = known.statement
    rows = known.bound.rows if known.bound is not None else None
    proven = statement.rows_listed if rows is None else rows
    if cap is None or not known.writes:
        return decision
    if proven is None and known.beside and not known.counted:
        return decision.replace(
            verdict=Verdict.NEEDS_APPROVAL,
            reason=f"{statement.tag} writes in a place where the server does not report how many rows it"
            f" touches, and this caller may write {cap} without approval",
            remedy="write with one plain INSERT, UPDATE or DELETE per statement, or have the request"
            " approved and run it again",
            retryable=True,
        )
    if proven is None or proven * call.executions <= cap:
        return decision
    return decision.replace(
        verdict=Verdict.NEEDS_APPROVAL,
        reason=f"{known.statement.tag} writes up to {proven * call.executions} rows; this caller may write"
        f" {cap} without approval",
        remedy=f"write at most {cap} rows at a time, or have the request approved and run it again",
        retryable=True,
    )

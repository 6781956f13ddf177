"""Redacted instead of refused: a statement that computes with masked columns, run over redacted values.

What :mod:`governed_db.masking.splice` writes is trusted with nothing. It is read, bound and planned like any
text that a caller sends. It is sent only if that gives no refusal, and the columns that were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from governed_db.catalog.bind import bind, characters
from governed_db.catalog.bound import Bound, Source
from governed_db.catalog.model import Catalog, Session
from governed_db.masking.model import MaskPlan, Redacted, Sensitivity, Terms
from governed_db.masking.plan import Labels, labels, plan
from governed_db.masking.slots import Given
from governed_db.masking.splice import Unspliceable, splice
from governed_db.statement import Statement, Unreadable, read
from governed_db.statement.facts import Access
from governed_db.statement.limits import DEFAULT, Limits


@frozen(kw_only=True)
class Rewriting:
    """A statement that is sent in the place of another, as it was read again; ``plan`` is for its rows."""

    bound: Bound
    plan: MaskPlan

    @property
    def statement(self) -> Statement:
        """What the grammar says about the text that is sent."""
        return self.bound.statement


def copies(statement: Statement) -> bool:
    """Return whether its rows leave by COPY, beside the result, where no loader can mask them."""
    stmt = statement.tree[0].get("stmt", {}) if len(statement.tree) == 1 else {}
    return "CopyStmt" in stmt and not stmt["CopyStmt"].get("is_from")


def redact(
    bound: Bound,
    made: MaskPlan,
    catalog: Catalog,
    session: Session,
    sensitive: Mapping[Source, Sensitivity],
    terms: Terms,
    limits: Limits = DEFAULT,
) -> tuple[MaskPlan, Rewriting | None]:
    """Return the plan for ``bound`` and, where it is to run over redacted values, what is sent instead.

    That is so where the plan refuses and the terms say to redact, and for masked columns that leave by COPY,
    whatever the terms say: rows of a COPY are never loaded. Where it cannot be done, the plan that comes back
    says why.

    Args:
        bound: a statement against ``catalog``, bound in ``session``.
        made: its plan.
        catalog, session, sensitive, terms: what the plan was made with.
        limits: how large a text may be.
    """
    copied = copies(bound.statement)
    wanted = terms.redacts if made.refusals else copied and bool(made.masks)
    if not wanted:
        return made, None
    try:
        return made, _rewritten(bound, made, catalog, session, sensitive, terms, limits)
    except Unspliceable as why:
        return evolve(made, unredacted=str(why)), None


def _rewritten(
    bound: Bound,
    made: MaskPlan,
    catalog: Catalog,
    session: Session,
    sensitive: Mapping[Source, Sensitivity],
    terms: Terms,
    limits: Limits,
) -> Rewriting:
    if not bound.complete:
        raise Unspliceable("it is not understood")
    masked = labels(catalog, sensitive, terms)
    _check_sinks(bound, masked, sensitive)
    text = splice(bound, catalog, session, masked, characters(bound.statement.text))
    try:
        again = bind(read(text, limits), catalog, session)
    except Unreadable as unreadable:
        raise Unspliceable(f"its redacted form cannot be read ({unreadable.rule})") from None
    planned = plan(again, catalog, sensitive, terms)
    _check_again(bound, again, planned)
    if copies(again.statement) and planned.masks:
        raise Unspliceable(f"{planned.masks[0].name} would be copied out as it is")
    # The marks in the text are ours: what a caller gives is looked at in the caller's own text.
    done = evolve(planned, redacted=_told(made), scrub_errors=True, given=_given(made.given))
    return Rewriting(bound=again, plan=done)


def _check_sinks(bound: Bound, masked: Labels, sensitive: Mapping[Source, Sensitivity]) -> None:
    """See that no redacted value is written into a column that holds sensitive values."""
    targets = [u.relation for u in bound.relations if u.access is Access.INSERT and not u.within]
    guarded = {f"INSERT into {relation}" for relation in targets if masked(relation)}
    guarded |= {
        f"INSERT into {relation}.{column.name}"
        for relation in targets
        for column in relation.columns
        if column.number in masked(relation)
    }
    for use in bound.uses:
        if use.clause in guarded or (use.sink is not None and use.sink in sensitive):
            raise Unspliceable(f"{use.clause} would write redacted values where true ones are kept")


def _check_again(bound: Bound, again: Bound, planned: MaskPlan) -> None:
    """See that what is to be sent is as safe as any statement, and has the columns that were asked for."""
    if again.unknown:
        raise Unspliceable(f"its redacted form would name what is not there ({', '.join(again.unknown[:3])})")
    if planned.refusals:
        first = planned.refusals[0]
        raise Unspliceable(f"{first.column} would still be used as it is by {first.clause}")
    before = None if bound.outputs is None else [output.name for output in bound.outputs]
    after = None if again.outputs is None else [output.name for output in again.outputs]
    if before != after:
        raise Unspliceable("its redacted form would have other columns")


def _given(given: Given | None) -> Given | None:
    """Return what still matters of the caller's values: that no mask is written; no token is resolved."""
    if given is None or not given.written:
        return None
    why = "is not resolved in a statement that runs over redacted values"
    return evolve(given, slots=tuple(evolve(s, resolves=False, why=why) for s in given.slots if s.stored))


def _told(made: MaskPlan) -> tuple[Redacted, ...]:
    """Return the columns that a plan masks or refuses, once each."""
    found = [Redacted(name=mask.name, label=mask.label) for mask in made.masks]
    found += [Redacted(name=refusal.column, label=refusal.label) for refusal in made.refusals]
    return tuple(dict.fromkeys(found))

"""What commands share that judge statements without running them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from governed_db.driver import sampling
from governed_db.governor import Governor
from governed_db.identity import Identity
from governed_db.masking import OPEN
from governed_db.policy import Decision, Policy, Request

if TYPE_CHECKING:
    from pathlib import Path

    from governed_db.catalog import Catalog
    from governed_db.driver.connection import Connection
    from governed_db.masking.model import ColumnMask, MaskPlan, Redacted
    from governed_db.policy.demands import Unmet


def find_policy(named: str | None) -> Policy:
    """Return the policy of ``--policy``: a preset, a file, or the one in force.

    Raises:
        PolicyError: it cannot be used.
    """
    from governed_db import config, policy

    return policy.preset(named) if named in policy.PRESETS else config.find_policy(named)


class Rehearsal(Governor):
    """A governor for questions: it can be asked as if it were another time, and keeps the last request."""

    at: datetime | None = None
    asked: Request | None = None

    def _install_grants(self) -> None:
        # What is asked here is what the policy says; grants are gone tomorrow.
        super()._install_grants()
        self.register.possible = False

    def missing(self, caller: Identity) -> Unmet | None:
        """Return what is missing of ``caller``: who is named in a question is taken to be who it says."""
        return super().missing(_supposed(caller))

    def decide(self, request: Request) -> Decision:
        """Ask the policy, and remember what it was asked."""
        self.asked = evolve(request, now=self.at or datetime.now(UTC))
        return super().decide(self.asked)


def _supposed(caller: Identity) -> Identity:
    behind = caller.on_behalf_of
    return evolve(caller, verified=True, on_behalf_of=None if behind is None else _supposed(behind))


@frozen(kw_only=True)
class Judged:
    """One answer with what it rests on.

    Attributes:
        decision: the answer.
        caller: who was taken to ask.
        request: what the policy was asked last; ``None`` where the text could not be read.
        masks: the masked columns of the result; ``None``: not known without a database.
        redacted: the columns that it reads redacted, where it runs over redacted values.
    """

    decision: Decision
    caller: Identity
    request: Request | None
    masks: tuple[ColumnMask, ...] | None
    redacted: tuple[Redacted, ...] = ()


@frozen
class Judge:
    """Answers questions, over one connection if there is one."""

    governor: Rehearsal
    policy: Policy
    connection: Connection[Any] | None = None

    @property
    def catalog(self) -> Catalog | None:
        """The catalog that names are looked up in, as last read."""
        return None if self.connection is None else self.connection._seat.catalog

    def ask(
        self,
        sql: str | bytes,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        identity: Identity | None = None,
        at: datetime | None = None,
        environment: str | None = None,
    ) -> Judged:
        """Judge one statement.

        Args:
            sql: its text.
            params: values for its placeholders.
            identity: who asks; ``None``: the caller that the policy takes where nobody says otherwise.
            at: when; ``None``: now.
            environment: where; ``None``: as policy and process say.
        """
        caller = identity or self.governor.default_identity
        self.governor.at = at
        self.governor.asked = None
        self.governor.policy = self.policy if environment is None else _somewhere(self.policy, environment)
        decision = self.governor.check(sql, params, identity=caller, connection=self.connection)
        if decision.verdict != "block" and self._look(caller):
            decision = self.governor.check(sql, params, identity=caller, connection=self.connection)
        plan = self._plan(decision, caller)
        return Judged(
            decision=decision,
            caller=caller,
            request=self.governor.asked,
            masks=None if plan is None else plan.masks,
            redacted=() if plan is None else plan.redacted,
        )

    def survey(self) -> None:
        """Look at a few values of every relation, as statements of masked callers would."""
        if self.connection is not None and self.policy.masking.sample:
            self.connection.wait(sampling.survey(self.connection._seat))

    def _look(self, caller: Identity) -> bool:
        """Look at values that the statement would have looked at; return whether they told anything new."""
        request = self.governor.asked
        if self.connection is None or request is None or request.bound is None:
            return False
        if not self.governor.masks(caller):
            return False
        wanted, _ = sampling.due(self.connection._seat, request.bound)
        if not wanted:
            return False
        before = self.governor.samples.version
        self.connection.wait(sampling.sample(self.connection._seat, wanted))
        return self.governor.samples.version != before

    def _plan(self, decision: Decision, caller: Identity) -> MaskPlan | None:
        if self.connection is None:
            return None
        request, catalog, session = self.governor.asked, self.catalog, self.connection._seat.session
        if decision.verdict == "block" or not self.governor.masks(caller):
            return OPEN
        if request is None or request.bound is None or catalog is None or session is None:
            return OPEN
        plan = self.governor.plan(request.bound, catalog, caller)
        plan, rewriting = self.governor.redact(request.bound, plan, catalog, session, caller)
        return plan if rewriting is None else rewriting.plan


def _somewhere(policy: Policy, environment: str) -> Policy:
    return evolve(policy, settings=evolve(policy.settings, environment=environment))


@contextmanager
def judge(policy: Policy, dsn: str | None, *, state_dir: Path | str | None = None) -> Iterator[Judge]:
    """Open a judge for ``policy``, with a connection where there is a database to ask.

    Raises:
        psycopg.Error: the database cannot be reached.
    """
    from governed_db.driver.connection import Connection

    governor = Rehearsal(policy, state_dir=state_dir)
    try:
        if dsn is None:
            yield Judge(governor, governor.policy)
        else:
            # The bytes of the command line are UTF-8, whatever the database stores. Autocommit, so that
            # a question never leaves a transaction open beside the next one.
            with Connection.connect(
                dsn, governor=governor, client_encoding="UTF8", autocommit=True
            ) as connection:
                yield Judge(governor, governor.policy, connection)
    finally:
        governor.close()


def spending(decision: Decision) -> dict[str, int | str]:
    """Return what the decision's budget limits."""
    from attrs import asdict

    return {key: value for key, value in asdict(decision.budget).items() if value not in {None, ""}}


def spending_text(decision: Decision) -> str:
    """Return the same in words, "" where nothing is limited."""
    budget = decision.budget
    if not budget.id:
        return ""
    said = [
        f"{words} {value}{unit}"
        for words, value, unit in (
            ("statements run up to", budget.statement_timeout, " ms"),
            ("wait for locks up to", budget.lock_timeout, " ms"),
            ("idle in a transaction up to", budget.idle_timeout, " ms"),
            ("rows returned by a statement up to", budget.rows_returned, ""),
            ("rows returned in a session up to", budget.rows_returned_per_session, ""),
            ("statements in a minute up to", budget.statements_per_minute, ""),
            ("rows written in a minute up to", budget.rows_written_per_minute, ""),
        )
        if value is not None
    ]
    if budget.rows_returned is not None or budget.rows_returned_per_session is not None:
        said.append("rows above that are cut off" if budget.over == "truncate" else "more rows are refused")
    return f"{budget.id}: {'; '.join(said)}"


def estimate_text(request: Request | None, decision: Decision) -> str:
    """Return what is known of the planner's estimate, "" where no rule asked for it."""
    if request is not None and request.estimate is not None:
        return f"cost {request.estimate.cost:.0f}, rows {request.estimate.rows:.0f}, as the planner expects"
    if decision.wants_estimate:
        return "a rule asks for the planner's estimate, which only a database can give (--dsn)"
    return ""

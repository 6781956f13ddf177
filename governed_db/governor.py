"""Governor: what many connections share. One policy, one journal, one view of each database's catalog."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import evolve

from governed_db import checking, config, masking
from governed_db import policy as policies
from governed_db import statement as statements
from governed_db.approval import notifier
from governed_db.approval.courier import Courier
from governed_db.approval.desk import Desk
from governed_db.approval.notifier import Hook, Notifier, Notifiers
from governed_db.approval.people import Approver, Authority, People
from governed_db.approval.store import Store
from governed_db.approval.stores import open_store
from governed_db.audit import record
from governed_db.audit.archive import Archive
from governed_db.audit.trail import Trail
from governed_db.catalog import Bound, Catalog, Session, Source
from governed_db.catalog.bind import bind
from governed_db.driver import pauses
from governed_db.driver.pauses import Pause
from governed_db.errors import GovernanceError, PolicyError, TokenRefused
from governed_db.grants.clearing import without
from governed_db.grants.model import Granted
from governed_db.grants.office import Office
from governed_db.grants.register import Register
from governed_db.identity import NOBODY, Identity, Verified, Verifier
from governed_db.locks import lock
from governed_db.masking import reviewed
from governed_db.masking.keys import Keyring, KeySource, find
from governed_db.masking.model import KEYED, MaskPlan, Sensitivity
from governed_db.masking.redact import Rewriting, redact
from governed_db.masking.reviewed import Said
from governed_db.masking.sampled import Samples
from governed_db.policy import Decider, Decision, Policy, Request
from governed_db.policy.decider import TIMEOUT, Counsel
from governed_db.policy.demands import Unmet, unmet
from governed_db.spending import Spending
from governed_db.statement import Limits, Statement, Unreadable

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from psycopg.abc import Params, PQGen, Query

    from governed_db.driver.connection import AsyncConnection, Connection
    from governed_db.driver.seat import Seat

_log = logging.getLogger("governed_db")

MAX_READ = 4000
"""Texts whose facts a governor keeps; a few times the distinct statements of a large application."""

MAX_READ_BYTES = 32 * 1024
"""Longer texts are read anew each time: generated, hardly ever repeated, and large trees."""


class Governor:
    """Decides, masks and records for any number of connections. Safe with threads.

    Args:
        policy: the policy in force.
        state_dir: where the journal lives; by default :func:`governed_db.config.state_dir`.
        tracer_provider: who makes spans of the records; by default OpenTelemetry's global provider.
        meter_provider: who takes durations and counts of decisions; by default the global one as well.
        decider: an object with ``decide(request) -> Decision`` whose answer stands where the policy's rules
            stand (``governed_db.policy.decider``). Not asked where the policy does not enforce.
        decider_timeout: seconds it may take.
        keys: the keys for masks that need one, or what asks a key service for them, at the start and at each
            :meth:`reload`; by default the file that the policy names, else the environment
            (``governed_db.masking.keys``).
        approvers: those whose answers count besides the people whom the policy names.
        store: where requests and answers are kept; by default as the policy says.
        hooks: functions that are called with each request for people, each in a thread and again where it
            raises, and notifiers (``governed_db.approval.notifier``), besides those whom the policy names.

    Raises:
        PolicyError: the keys cannot be used, or a strategy of the policy needs one and there is none.
        TypeError, ValueError: ``decider`` cannot decide, or its time limit is none; two of ``approvers`` have
            the same key.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        state_dir: Path | str | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        decider: Decider | None = None,
        decider_timeout: float = TIMEOUT,
        source: Callable[[], Policy] | None = None,
        keys: Keyring | KeySource | None = None,
        approvers: Sequence[Approver | Authority] = (),
        store: Store | None = None,
        hooks: Sequence[Hook | Notifier] = (),
    ) -> None:
        self.counsel = None if decider is None else Counsel(decider, decider_timeout)
        self.spending = Spending()
        self._lock = lock(self)
        self._source = source
        self._keys_from = keys
        self._approvers = tuple(approvers)
        self._hooks = tuple(hooks)
        self._read: OrderedDict[bytes, Statement | Unreadable] = OrderedDict()
        self._catalogs: dict[tuple[object, ...], Catalog] = {}
        self._sensitive: dict[tuple[str, int], Mapping[Source, Sensitivity]] = {}
        self._cleared: dict[tuple[Any, ...], Mapping[Source, Sensitivity]] = {}
        self.samples = Samples()
        self.verifier = Verifier()
        self.withdrawn: frozenset[str] = frozenset()
        self._install(policy)
        state = Path(state_dir or config.state_dir()).absolute()
        folder = policy.settings.audit.directory or state / "journal"
        self.trail = Trail(
            folder,
            on_failure=policy.settings.audit.on_failure,
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            policy=policy,
            archive=Archive(state / "catalogs"),
            state=state,
        )
        self.approvals = Desk(
            store or open_store(self.policy.settings.approvals, state),
            self.policy.settings.approvals,
            self.trail.told,
        )
        self.register = Register(self.approvals, self.trail.told)
        self.grants = Office(self.approvals, self.trail.told)
        self._install_grants()
        self.notices = Courier(self.approvals)
        self._notify(notifier.find(self.policy.settings.notify, self._hooks))

    @classmethod
    def preset(cls, name: str, **kw: Any) -> Self:
        """Return a governor with one of the presets: "observe", "standard" or "readonly".

        Raises:
            PolicyError: there is no such preset.
        """
        return cls(policies.preset(name), **kw)

    @classmethod
    def load(cls, path: str | Path, **kw: Any) -> Self:
        """Return a governor with the policy of a TOML file.

        Raises:
            PolicyError: the file cannot be used; the message names the line.
        """
        return cls(config.find_policy(path), source=partial(config.find_policy, path), **kw)

    @classmethod
    def configured(cls, **kw: Any) -> Self:
        """Return a governor with the policy that environment and configuration name."""
        return cls(config.find_policy(), source=config.find_policy, **kw)

    def _install(self, policy: Policy) -> None:
        policy = self._with_approvers(policy.in_environment(config.environment()))
        settings = policy.settings
        limits = Limits(**settings.limits)
        # The verifier in force stays where its issuers do, with the keys it has.
        same = self.verifier.issuers == settings.issuers
        verifier = self.verifier if same else Verifier(*settings.issuers)
        keys = self._find_keys(policy)  # before anything is changed: it may refuse
        self.policy = policy
        named = {issuer.url for issuer in settings.issuers}
        # Identities that live on are of tokens that nobody would believe now.
        before = {issuer.url for issuer in self.verifier.issuers}
        self.withdrawn = (self.withdrawn | before) - named  # at once: statements look at it meanwhile
        self.verifier = verifier
        self.keys = keys
        self.rated = settings.enforce and policy.rated
        self.enforce = settings.enforce
        told = settings.callers.announce if settings.enforce else frozenset()
        self.announces = told - {"comment"}
        self.comments = "comment" in told
        self.announces_apart = settings.callers.announce_in == "transaction"
        self._momentary = policy.momentary
        self.max_age = settings.catalog.max_age
        self.default_identity = settings.identity or NOBODY
        self.limits = limits
        self._sensitive.clear()
        self._cleared.clear()
        self._told: set[str] = set()

    def _install_grants(self) -> None:
        settings = self.policy.settings
        people = settings.approvals.people
        self.register.install(people, settings.grants, enforce=settings.enforce)
        self.grants.people, self.grants.settings = people, settings.grants
        self.grants.rules = {rule.id: rule for rule in self.policy.rules}

    def _with_approvers(self, policy: Policy) -> Policy:
        if not self._approvers:
            return policy
        approvals = policy.settings.approvals
        people = People(
            approvers=(*approvals.people.approvers, *(a for a in self._approvers if isinstance(a, Approver))),
            authorities=(
                *approvals.people.authorities,
                *(a for a in self._approvers if isinstance(a, Authority)),
            ),
        )
        return evolve(policy, settings=evolve(policy.settings, approvals=evolve(approvals, people=people)))

    def _find_keys(self, policy: Policy) -> Keyring | None:
        masking = policy.settings.masking
        if not (policy.settings.enforce and masking.on):
            return None
        keys = find(self._keys_from, masking.keys)
        for label, treatment in sorted(masking.strategies.items()):
            if keys is None and treatment.strategy in KEYED:
                raise PolicyError(
                    f"{policy.name}: the strategy '{treatment.strategy}' of {label} needs a key,"
                    " and there is none",
                    rule="masking.keys",
                    remedy="make one with governed-db keys new FILE, and name it in the policy:"
                    ' [masking] keys = "FILE"',
                )
        return keys

    # -- what the pipeline asks

    def read(self, text: bytes, seat: Seat) -> Statement:
        """Return the facts of ``text``, as the server behind ``seat`` will read it.

        Raises:
            Unreadable: the text cannot be judged.
        """
        known = self._read.get(text)
        if known is None:
            try:
                known = statements.read(seat.decode(text), self.limits)
            except Unreadable as unreadable:
                if unreadable.rule.startswith(("statement.encoding", "statement.standard")):
                    raise  # true of this connection, not of the text
                known = unreadable
            if len(text) <= MAX_READ_BYTES:
                with self._lock:
                    self._read[text] = known
                    if len(self._read) > MAX_READ:
                        self._read.popitem(last=False)
        elif self.enforce and (b"\\" in text or not text.isascii()):
            seat.decode(text)  # what was read for one connection holds for this one as well
        if isinstance(known, Unreadable):
            raise known.with_traceback(None)
        return known

    def bind(self, statement: Statement, seat: Seat) -> Bound:
        """Resolve the names of ``statement`` on the database behind ``seat``."""
        assert seat.catalog is not None
        assert seat.session is not None
        return bind(statement, seat.catalog, seat.session)

    def decide(self, request: Request) -> Decision:
        """Ask the policy. A policy that fails has not allowed anything."""
        try:
            if self._momentary:
                request = evolve(request, now=request.now or datetime.now(UTC))
            return self.policy.decide(request)
        except GovernanceError:
            raise
        except Exception as error:
            raise GovernanceError(
                f"the policy failed with {type(error).__name__}, so nothing was sent",
                rule="policy.failed",
                remedy="repair the policy",
            ) from None

    def consult(self, request: Request, *, blocking: bool) -> PQGen[Decision]:
        """Ask the decider. On an async connection (not ``blocking``) the event loop goes on meanwhile."""
        counsel = self.counsel
        assert counsel is not None
        policy = self.policy
        request = evolve(request, now=datetime.now(UTC), policy=policy)
        future = counsel.ask(request)
        if blocking:
            wait([future], counsel.timeout)
        elif not future.done():
            yield Pause(future, counsel.timeout)  # type: ignore[misc]  # resumed by driver/pauses.py
        return counsel.settle(future, request, policy)

    def masks(self, caller: Identity) -> bool:
        """Whether ``caller`` sees sensitive columns masked."""
        return self.enforce and self.policy.masks(caller)

    def caps(self, caller: Identity) -> bool:
        """Whether the policy limits how many rows ``caller`` may write."""
        if not self.enforce:
            return False
        # A decider may cap any caller; and each set of parameters has costs of its own.
        if self.counsel is not None or self.policy.estimated or self.policy.caps(caller):
            return True
        return self.register.possible and self.register.concerns(caller)

    def sensitive(self, catalog: Catalog) -> Mapping[Source, Sensitivity]:
        """Return the sensitive columns of ``catalog``."""
        key = (catalog.version, self.samples.version)
        found = self._sensitive.get(key)
        if found is None:
            settings = self.policy.settings.masking
            overrides, said = reviewed.overrides(catalog, settings.columns, settings.reviewed)
            found = self._sensitive[key] = masking.classify(
                catalog, overrides, self.samples.sensitive(catalog)
            )
            self._tell_stale(catalog, said)
            while len(self._sensitive) > 16:  # a handful of databases, and their last versions
                self._sensitive.pop(next(iter(self._sensitive)))
        return found

    def _tell_stale(self, catalog: Catalog, said: Said) -> None:
        """Put on record and in the log, once for each policy, what it says of columns that have changed."""
        settings = self.policy.settings.masking
        told = {f"masking.columns.{s.path}": str(s) for s in masking.stale(catalog, settings.columns)}
        gone = masking.stale(catalog, {k: v for k, v in said.overrides.items() if k not in settings.columns})
        told |= {f"masking.classification.{s.path}": str(s) for s in gone}
        told |= {f"masking.classification.{path}": f"{path}: {why}; it is masked" for path, why in said.stale}
        for label in masking.unused(
            (*settings.strategies, *settings.equality), (*settings.columns.values(), *said.overrides.values())
        ):
            told[f"masking.{label.label}"] = str(label)
        for setting, reason in told.items():
            if setting not in self._told:
                self._told.add(setting)
                _log.warning("%s: %s", self.policy.name, reason)
                self.trail.event("policy.stale", setting=setting, reason=reason)

    def sensitive_to(self, catalog: Catalog, granted: tuple[Granted, ...]) -> Mapping[Source, Sensitivity]:
        """Return the sensitive columns of ``catalog`` without those that ``granted`` clears."""
        sensitive = self.sensitive(catalog)
        if not granted:
            return sensitive
        key = (catalog.version, self.samples.version, *(each.id for each in granted))
        found = self._cleared.get(key)
        if found is None:
            clear = [column for each in granted for column in each.grant.clear]
            found = without(catalog, sensitive, clear, self.policy.settings.grants.never_columns)
            self._cleared[key] = found
            while len(self._cleared) > 64:  # a handful of databases, and of callers with grants
                self._cleared.pop(next(iter(self._cleared)))
        return found

    def plan(
        self, bound: Bound, catalog: Catalog, caller: Identity, granted: tuple[Granted, ...] = ()
    ) -> MaskPlan:
        """Return what has to be masked in the rows of ``bound`` for ``caller``."""
        return masking.plan(bound, catalog, self.sensitive_to(catalog, granted), self.policy.terms(caller))

    def redact(
        self,
        bound: Bound,
        made: MaskPlan,
        catalog: Catalog,
        session: Session,
        caller: Identity,
        granted: tuple[Granted, ...] = (),
    ) -> tuple[MaskPlan, Rewriting | None]:
        """Return the plan of ``bound``, and what is sent instead where it runs over redacted values."""
        terms = self.policy.terms(caller)
        sensitive = self.sensitive_to(catalog, granted)
        return redact(bound, made, catalog, session, sensitive, terms, self.limits)

    # -- catalogs, shared by the connections to one database

    def catalog_of(self, seat: Seat) -> Catalog | None:
        """Return the newest snapshot of the database behind ``seat``."""
        return self._catalogs.get(_database(seat))

    def place(self, seat: Seat) -> tuple[object, ...]:
        """Return what tells the database behind ``seat`` from others."""
        return _database(seat)

    def share_catalog(self, seat: Seat, catalog: Catalog) -> None:
        """Let other connections to the same database use ``catalog``."""
        self._catalogs[_database(seat)] = catalog

    # -- what applications ask

    def check(
        self,
        sql: Query,
        params: Params | None = None,
        *,
        identity: Identity | None = None,
        connection: Connection[Any] | None = None,
    ) -> Decision:
        """Say what would be decided about ``sql``, without running it.

        With a ``connection`` its catalog is read and masked columns are known; without one only the
        grammar speaks.

        Raises:
            ValueError: the connection belongs to another governor.
        """
        _must_be_identity(identity)
        if connection is None:
            if self.register.stale():
                self.approvals.look()
            known = checking.by_text(self, sql, params, identity)
            if isinstance(known, Decision) or self.counsel is None or not self.enforce:
                return known if isinstance(known, Decision) else checking.decided(self, known)
            try:
                next(self.consult(known.request, blocking=True))
            except StopIteration as stop:
                return checking.decided(self, known, stop.value)
            raise AssertionError("a blocking consultation does not yield")
        with connection.lock:
            return connection.wait(checking.on_connection(self, sql, params, identity, connection))

    async def acheck(
        self,
        sql: Query,
        params: Params | None = None,
        *,
        identity: Identity | None = None,
        connection: AsyncConnection[Any] | None = None,
    ) -> Decision:
        """Do what :meth:`check` does, for async connections."""
        _must_be_identity(identity)
        if connection is None:
            if self.register.stale():
                await asyncio.to_thread(self.approvals.look)
            known = checking.by_text(self, sql, params, identity)
            if isinstance(known, Decision) or self.counsel is None or not self.enforce:
                return known if isinstance(known, Decision) else checking.decided(self, known)
            asked = self.consult(known.request, blocking=False)
            return checking.decided(self, known, await pauses.wait(checking.without_waiting, asked))
        async with connection.lock:
            return await connection.wait(checking.on_connection(self, sql, params, identity, connection))

    def missing(self, caller: Identity) -> Unmet | None:
        """Return what the policy demands to know of ``caller`` and does not; ``None``: nothing."""
        settings = self.policy.settings
        if not self.enforce:
            return None
        return unmet(caller, settings.callers, settings.services, self.withdrawn)

    def identify(self, token: str | bytes, **call: str | None) -> Identity:
        """Return the caller that a token of one of the policy's issuers names, verified.

        What becomes of it is on record (``identity.verified``, ``identity.refused``); the token is not.

        Args:
            token: the token alone, without "Bearer".
            call: what is known of the call, as ``Identity.during`` takes it.

        Raises:
            TokenRefused: it is not to be believed; ``rule`` says why.
            KeysUnavailable: the issuer's keys cannot be had now. Retryable.
            AuditUnavailable: the journal cannot take the record.
        """
        try:
            found = self.verifier.examine(token)
        except TokenRefused as error:
            raise self._not_believed(error) from None
        return self._identified(found, call)

    async def aidentify(self, token: str | bytes, **call: str | None) -> Identity:
        """Do what :meth:`identify` does; the event loop goes on while keys are fetched."""
        try:
            found = await self.verifier.aexamine(token)
        except TokenRefused as error:
            raise self._not_believed(error) from None
        return self._identified(found, call)

    def _identified(self, found: Verified, call: Mapping[str, str | None]) -> Identity:
        identity = found.identity.during(**call)
        said: dict[str, Any] = {"key": found.key_id, "token": found.token_id}
        told = {key: value for key, value in said.items() if value}
        self.trail.event("identity.verified", who=record.who(identity), **told)
        return identity

    def _not_believed(self, error: TokenRefused) -> TokenRefused:
        said: dict[str, Any] = {"issuer": error.issuer, "key": error.key_id}
        told = {key: value for key, value in said.items() if value}
        self.trail.event("identity.refused", rule=error.rule, **told)
        return error

    def _notify(self, notifiers: Notifiers) -> None:
        """Tell people of requests in these ways from now on."""
        self.notices.notifiers = notifiers
        self.approvals.notifiers = notifiers.names
        self.approvals.on_filed = self.notices.filed

    # -- life

    def reload(self) -> None:
        """Read the policy file and the keys again; what cannot be used leaves the old ones in force.

        Raises:
            PolicyError: the file or the keys cannot be used.
        """
        if self._source is not None:
            policy = self._source()
            notifiers = notifier.find(policy.settings.notify, self._hooks)  # before anything is changed
            self._install(policy)
            self._notify(notifiers)
            self.approvals.settings = self.policy.settings.approvals
            self._install_grants()
            self.trail.policy_changed(self.policy)

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait up to ``timeout`` seconds until every span is made; return whether that was long enough."""
        return self.trail.flush(timeout)

    def close(self) -> None:
        """Seal the journal. Statements after that open a new segment."""
        self.notices.close()  # it puts on record what it has delivered
        self.trail.close()
        self.approvals.close()

    def stats(self) -> dict[str, int]:
        """Return counters: records, spans, refusals, notices of requests, texts and catalogs held."""
        return {
            **self.trail.stats(),
            **self.notices.stats(),
            "statements": len(self._read),
            "catalogs": len(self._catalogs),
        }


def _must_be_identity(identity: object) -> None:
    if identity is not None and not isinstance(identity, Identity):
        raise TypeError(f"identity takes an Identity, got {type(identity).__name__}")


def _database(seat: Seat) -> tuple[object, ...]:
    pgconn = seat.pgconn
    return (pgconn.host, pgconn.hostaddr, pgconn.port, pgconn.db)


_default: Governor | None = None
_default_lock = lock(sys.modules[__name__], "_default_lock")


def configure(governor: Governor | None) -> None:
    """Make ``governor`` the process's own: the one ``connect()`` uses where none is given.

    ``None`` goes back to what environment and configuration say, read at the next connection.
    """
    global _default  # noqa: PLW0603 - the process has one default, as psycopg has one ``adapters``
    if governor is not None and not isinstance(governor, Governor):
        raise TypeError(f"configure() takes a Governor, got {type(governor).__name__}")
    with _default_lock:
        _default = governor


def default_governor() -> Governor:
    """Return the process's governor, made from environment and configuration when it is first needed.

    Raises:
        PolicyError: the configuration cannot be used. Nothing falls back to something weaker.
    """
    global _default  # noqa: PLW0603 - see configure()
    with _default_lock:
        if _default is None:
            _default = Governor.configured()
        return _default

"""One connection's place on the way: who it belongs to, what names mean on it, what is known there."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ReferenceType, ref

from attrs import define, evolve, field
from psycopg import AsyncConnection, pq
from psycopg._connection_base import BaseConnection
from psycopg._cursor_base import BaseCursor
from psycopg._queries import PostgresQuery
from psycopg.abc import PQGen

from governed_db import refusing
from governed_db.catalog import Catalog, Session, Source
from governed_db.catalog.bound import Bound
from governed_db.catalog.settings import READABLE_ENCODINGS, InForce
from governed_db.driver import defined, lookups, pauses, reckoning, sampling, settings
from governed_db.driver import estimate as estimates
from governed_db.driver.announce import Announced
from governed_db.driver.commands import holds
from governed_db.driver.estimate import Unknown
from governed_db.driver.reckoning import Reckoning
from governed_db.driver.timeouts import Timeouts
from governed_db.errors import ApprovalsUnavailable
from governed_db.identity import Identity, acting
from governed_db.identity import standing as standing_of
from governed_db.masking.model import OPEN, MaskPlan, Sensitivity
from governed_db.masking.sampled import Wanted
from governed_db.policy.forging import forges
from governed_db.policy.model import Budget, Decision, Estimate, Request
from governed_db.policy.rules import is_named_service, principals
from governed_db.run import Call, Known, Rewritten, Run
from governed_db.statement import EffectKind, Statement, Unreadable

if TYPE_CHECKING:
    from governed_db.governor import Governor
    from governed_db.grants.model import Granted
    from governed_db.policy import Policy

Answered = TypeVar("Answered")

MAX_KNOWN = 1000
"""Texts whose understanding one connection keeps, per caller: an application has some hundreds."""

MAX_CALLERS = 64
"""Callers one connection remembers understandings for: a pooled connection serves many in turn, and an
agent's identity differs with every tool call."""

MAX_KNOWN_BYTES = 32 * 1024
"""Longer texts are understood anew each time: they are generated, hardly ever repeated, and large trees."""

IDLE = pq.TransactionStatus.IDLE
INTRANS = pq.TransactionStatus.INTRANS
INERROR = pq.TransactionStatus.INERROR

_MOVES_NOTHING = frozenset(
    {EffectKind.SELECT, EffectKind.INSERT, EffectKind.UPDATE, EffectKind.DELETE, EffectKind.EMPTY}
)
_MOVES_SESSION = frozenset(
    {
        EffectKind.SET,
        EffectKind.DO,
        EffectKind.CALL,
        EffectKind.FUNCTION,
        EffectKind.EXECUTE,  # the text does not say what runs
        EffectKind.UNKNOWN,
    }
)
# What may bring back, or only now run, what an earlier statement of the transaction has set.
_MOVES_AGAIN = frozenset({EffectKind.TRANSACTION, EffectKind.SAVEPOINT, EffectKind.FETCH})
_RENAMES = frozenset({"application_name", "all", "discard all"})
_MOVES_CATALOG = frozenset(
    {EffectKind.CREATE, EffectKind.ALTER, EffectKind.DROP, EffectKind.DO, EffectKind.CALL}
)

# On whose behalf this task or thread sends what was called before, and on which connection. Not the seat's:
# while a statement waits to be judged, another task may call something on the same connection.
_opened_by: ContextVar[tuple[Seat, Identity] | None] = ContextVar("governed_db_opened_by", default=None)


@define(eq=False)
class CursorState:
    """What the driver remembers of one cursor."""

    pending: list[Run] = field(factory=list)  # sent, no result yet, in order
    plans: list[Run] = field(factory=list)  # by result
    current: Run | None = None
    cleared: tuple[bytes, Run] | None = None  # the only text that may be sent now
    asked: PostgresQuery | None = None  # what the caller asked, where something else is sent in its place
    batch: Any = None
    format: pq.Format | None = None  # of the result being selected, where the server does not say
    streams: bool = False
    copying: bool = False  # a COPY is open
    lazily: bool = False  # a copy() whose block is ours to end
    holding: list[tuple[Run, list[pq.abc.PGresult]]] | None = None  # of a guarded run, while it is judged
    held: int = 0  # results judged so far
    handed: int = 0  # rows handed out by this call
    over: bool = False  # it would have handed out more than it may: nothing of it is handed out
    truncated: bool = False  # there were more rows than were handed out
    cuts: dict[int, int] = field(factory=dict)  # rows to hand out of a result, by its number
    ahead: deque[pq.abc.PGresult] = field(factory=deque)  # of a stream: received, and not handed out yet
    opener: Identity | None = None  # who called stream() or copy(): both send later than they are called


@define(eq=False)
class Standing:
    """What is known for one caller under one policy; the seat drops it when names change their meaning."""

    policy: Policy
    known: OrderedDict[tuple[bytes, tuple[int, ...]], Known] = field(factory=OrderedDict)


Standpoint = tuple[Identity, tuple[str, ...]]
"""A caller, and the grants by which it sees columns unmasked: what is understood differs with both."""


@define(eq=False)
class Seat:
    """State of one governed connection. Only ever used under the connection's own lock."""

    governor: Governor
    pgconn: pq.abc.PGconn
    connection: ReferenceType[BaseConnection[Any]]
    own: Identity | None = None
    id: str = field(factory=lambda: secrets.token_hex(6))
    session: Session | None = None
    in_force: InForce = field(factory=InForce)
    catalog: Catalog | None = None
    session_stale: bool = True
    catalog_stale: bool = True
    settings_moved: bool = False  # in this transaction: a rollback may move them back
    catalog_private: bool = False  # read inside a transaction that changed it: nobody else's truth yet
    transaction: str = ""
    cursors: dict[int, tuple[ReferenceType[BaseCursor[Any, Any]], CursorState]] = field(factory=dict)
    declared: dict[str, Run] = field(factory=dict)  # server-side cursors by name
    withholding: bool = False  # this transaction touched masked columns: server text may quote them
    rewrote: bool = False  # this transaction sent a text of ours: places in it mean nothing to a caller
    foreign: bool = False  # this transaction has writes of callers who see everything
    used: bool = False  # this transaction has run a statement
    last: Run | None = None  # the statement that was sent last: the connection's last words are about it
    listeners: dict[str, Identity] = field(factory=dict)  # by channel: who has sent LISTEN
    beginning: str = ""  # "now": psycopg may send BEGIN; "later": it waits for the statement behind it
    open: dict[Run, None] = field(factory=dict)  # runs without an outcome, in order
    timeouts: Timeouts = field(factory=Timeouts)
    announced: Announced = field(factory=Announced)
    budget: Budget | None = None  # of the statement that the next BEGIN is sent for
    forms: dict[int, tuple[Any, ...]] = field(factory=dict)  # the trail's, of commands of ours
    _standings: OrderedDict[Standpoint, Standing] = field(factory=OrderedDict)

    # -- WHO

    def caller(self) -> Identity:
        """Return the identity in force: acting_as, else the connection's own, else the configured default."""
        return self._opener() or acting() or self.own or self.governor.default_identity

    def _opener(self) -> Identity | None:
        held = _opened_by.get()
        return held[1] if held is not None and held[0] is self else None

    @contextmanager
    def opened_by(self, opener: Identity | None) -> Iterator[None]:
        """Attribute what is cleared inside to ``opener``: a generator may start under another caller.

        For this task or thread alone: others that use the connection meanwhile stay who they are.
        """
        before = _opened_by.get()
        held = None if opener is None else (self, opener)
        _opened_by.set(held)
        try:
            yield
        finally:
            # Closed by somebody else, it leaves what is in force there as it is.
            if _opened_by.get() is held:
                _opened_by.set(before)

    def granted(self, caller: Identity) -> tuple[Granted, ...]:
        """Return the grants that hold for ``caller`` here at this moment."""
        register = self.governor.register
        return register.of(caller, self.database()) if register.possible else ()

    def _clearing(self, caller: Identity) -> tuple[Granted, ...]:
        granted = tuple(each for each in self.granted(caller) if each.grant.clear)
        return granted if granted and self.governor.masks(caller) else ()

    def still_cleared(self, run: Run | None, reader: Identity) -> bool:
        """Whether the grants by which ``run`` shows columns hold now, for who reads its rows."""
        cleared = () if run is None or run.known is None else run.known.cleared
        return not cleared or {*cleared} <= {each.id for each in self._clearing(reader)}

    # -- WHAT

    def decode(self, text: bytes) -> str:
        """Return ``text`` as the server will read it.

        Raises:
            Unreadable: it is not valid in the client encoding, or server and grammar would differ on it.
        """
        encoding = self.pgconn._encoding
        if self.governor.enforce:
            if encoding not in READABLE_ENCODINGS:
                raise Unreadable(
                    rule="statement.encoding",
                    reason=f"the client encoding {encoding} cannot be judged reliably",
                    remedy="connect with client_encoding=UTF8",
                )
            if b"\\" in text and self.pgconn.parameter_status(b"standard_conforming_strings") == b"off":
                raise Unreadable(
                    rule="statement.standard_conforming_strings",
                    reason="with standard_conforming_strings off, a backslash means something else to the"
                    " server than to the grammar",
                    remedy="turn standard_conforming_strings on, or write the text without backslashes",
                )
        try:
            return text.decode(encoding)
        except UnicodeDecodeError as error:
            raise Unreadable(
                rule="statement.encoding",
                reason=f"the text is not valid {encoding} at byte {error.start + 1}",
                remedy="send text in the client encoding",
                position=error.start,
            ) from None

    def recall(self, call: Call, caller: Identity) -> Known | None:
        """Answer from the cache."""
        clearing = tuple(g.id for g in self._clearing(caller)) if self.governor.register.possible else ()
        standing = self._standings.get((standing_of(caller), clearing))
        if standing is None or standing.policy is not self.governor.policy:
            return None
        known = standing.known.get((call.text, call.types))
        if known is None or (known.sampled >= 0 and known.sampled != self.governor.samples.version):
            return None
        if known.until != inf and time.monotonic() >= known.until:
            return None
        return known

    def bind(self, statement: Statement, caller: Identity) -> PQGen[Known]:
        """Resolve names; a name this catalog does not have makes it look again, once."""
        governor = self.governor
        if not statement.commands:
            return Known(
                statement=statement,
                bound=None,
                plan=OPEN,
                request=Request(statement=statement, identity=standing_of(caller)),
            )
        for effect in statement.effects:
            if effect.kind is EffectKind.FETCH:
                self.check_opener(self.declared.get(effect.name))
        settings.check(self, caller)
        bound = governor.bind(statement, self)
        if bound.unknown and not self._just_refreshed and self.pgconn.transaction_status != INERROR:
            self.catalog_stale = self.session_stale = True
            yield from self.refresh()
            bound = governor.bind(statement, self)
        request = Request(
            statement=statement, identity=standing_of(caller), bound=bound, database=self.database()
        )
        plan = OPEN
        rewritten: Rewritten | None = None
        version, until = -1, inf
        due: tuple[Wanted, ...] = ()
        sensitive: Mapping[Source, Sensitivity] = {}
        clearing: tuple[Granted, ...] = ()
        cleared: tuple[str, ...] = ()
        if governor.masks(caller):
            assert self.catalog is not None
            version = governor.samples.version
            clearing = self._clearing(caller)
            sensitive = governor.sensitive_to(self.catalog, clearing)
            plan, rewritten = self._planned(bound, caller, clearing)
            cleared = self._rests_on(bound, caller, clearing)
            if not plan.refusals or rewritten is not None:  # what is refused by name shows nothing
                due, until = sampling.due(self, bound)
        settled = all(effect.kind in _MOVES_NOTHING for effect in bound.effects)
        return Known(
            statement=statement,
            bound=bound,
            plan=plan,
            sensitive=sensitive,
            request=request,
            settled=settled,
            counts=self.session is None or self.session.track_counts,
            rewritten=rewritten,
            sampled=version,
            until=until,
            due=due,
            clearing=tuple(each.id for each in clearing),
            cleared=cleared,
            forged=forges(statement, bound) if "settings" in governor.announces else "",
        )

    def _rests_on(self, bound: Bound, caller: Identity, clearing: tuple[Granted, ...]) -> tuple[str, ...]:
        """Return which of ``clearing`` make a difference to what ``bound`` shows."""
        if not clearing:
            return ()
        opened = self._opened(bound.statement, caller)
        if opened is not None:
            return () if opened.known is None else opened.known.cleared
        assert self.catalog is not None
        plan = partial(self.governor.plan, bound, self.catalog, caller)
        shown, masked = plan(clearing), plan()
        if shown == masked:
            return ()
        # A column can have two tables behind it: each grant alone changes nothing then.
        resting = tuple(
            each
            for each in clearing
            if plan((each,)) != masked or plan(tuple(g for g in clearing if g is not each)) != shown
        )
        if plan(resting) != shown:
            resting = clearing  # nor does one of them make a difference where others give the same
        return tuple(each.id for each in resting)

    def _planned(
        self, bound: Bound, caller: Identity, clearing: tuple[Granted, ...] = ()
    ) -> tuple[MaskPlan, Rewritten | None]:
        """Return what becomes of the rows of ``bound``, and what is sent in its place, if anything is."""
        assert self.catalog is not None
        assert self.session is not None
        opened = self._opened(bound.statement, caller)
        if opened is not None:
            return opened.plan, None
        plan = self.governor.plan(bound, self.catalog, caller, clearing)
        plan, made = self.governor.redact(bound, plan, self.catalog, self.session, caller, clearing)
        if made is None:
            return plan, None
        try:
            text = made.statement.text.encode(self.pgconn._encoding)
        except UnicodeEncodeError:
            because = "the client encoding cannot write the names of the columns it reads"
            return evolve(plan, unredacted=because), None
        return plan, Rewritten(text=text, bound=made.bound, plan=made.plan)

    def look(self, call: Call, known: Known, caller: Identity) -> PQGen[Known]:
        """Look at values that names left undecided, before ``known`` is sent; return what is known then."""
        known.until = yield from sampling.sample(self, known.due)
        known.due = ()
        if known.sampled == self.governor.samples.version:
            return known
        known = yield from self.bind(known.statement, caller)
        known.due = ()  # what could not be looked at is tried again with a later statement
        self.keep(call, caller, known)
        return known

    def estimate(self, call: Call, statement: Statement) -> PQGen[Estimate | Unknown]:
        """Ask PostgreSQL's planner what ``call`` would cost; nothing of it runs."""
        connection: Any = self.connection()
        if connection is not None and (connection._autocommit or self.pgconn.transaction_status != IDLE):
            yield from connection._announce()  # row-level security is part of the plan
        return (yield from estimates.estimate(self, call, statement))

    def keep(self, call: Call, caller: Identity, known: Known) -> None:
        """Cache ``known``, unless it depends on more than the standing (cursors, prepared names)."""
        if len(call.text) > MAX_KNOWN_BYTES or any(
            e.kind in (EffectKind.FETCH, EffectKind.EXECUTE) for e in known.statement.effects
        ):
            return
        # As it was made, and not as grants are by now.
        standpoint = standing_of(caller), known.clearing
        standing = self._standings.get(standpoint)
        if standing is None or standing.policy is not self.governor.policy:
            standing = self._standings[standpoint] = Standing(self.governor.policy)
            if len(self._standings) > MAX_CALLERS:
                self._standings.popitem(last=False)
        standing.known[call.text, call.types] = known
        if len(standing.known) > MAX_KNOWN:
            standing.known.popitem(last=False)

    def standing(self) -> tuple[str, ...]:
        """Return what names and texts mean here: database, role, search path, and the settings of both."""
        session = self.session
        if session is None:
            return (self.database(),)
        return (
            session.database,
            session.role,
            session.session_user,
            session.client_encoding,
            session.backslash_quote,
            session.replication_role,
            f"{session.standard_conforming_strings} {session.row_security}",
            *session.search_path,
        )

    def server(self) -> str:
        """Return the server as people write it: host and port."""
        host = self.pgconn.host.decode(errors="replace")
        return f"{host}:{self.pgconn.port.decode(errors='replace')}"

    def blocking(self) -> bool:
        """Whether whoever calls waits in a thread of its own, and no event loop is held up."""
        return not isinstance(self.connection(), AsyncConnection)

    def elsewhere(self, question: Callable[[], Answered]) -> PQGen[Answered]:
        """Ask something else than the server: the store of approvals. An event loop goes on meanwhile.

        Raises:
            ApprovalsUnavailable: it has not answered in time.
        """
        try:
            return (yield from pauses.elsewhere(question, blocking=self.blocking()))
        except pauses.TookTooLong:
            raise ApprovalsUnavailable(
                f"the store of approvals has not answered within {pauses.SECONDS:g} s [rule approval.store]."
                " Try again when it can be reached.",
                rule="approval.store",
                remedy="try again when it can be reached",
                retryable=True,
            ) from None

    def reckon(self, call: Call, known: Known, decision: Decision) -> PQGen[Reckoning]:
        """Count what ``call`` would touch, for people to judge; nothing of it runs."""
        return (yield from reckoning.reckon(self, call, known, decision))

    def may_count(self, known: Known, *, shows: bool = False) -> bool:
        """Whether the caller of ``known`` may itself read what says how many rows it would touch."""
        return reckoning.may_count(self, known, shows=shows)

    def define(self, known: Iterable[Known]) -> PQGen[None]:
        """Note the definitions of what ``known`` touches as the server has them now."""
        return defined.define(self, known)

    def is_still(self) -> PQGen[bool]:
        """Look at session and catalog once more; return whether they are what a call was judged by."""
        return defined.is_still(self)

    # -- keeping up with the session and the catalog

    _just_refreshed: bool = field(default=False, init=False)

    def _due(self) -> bool:
        self._just_refreshed = False
        status = self.pgconn.transaction_status
        if status == INERROR:
            return False  # the server takes nothing but ROLLBACK now
        if self.session_stale or self.catalog_stale:
            return True
        # Before the first statement of a transaction nothing may be read: SET TRANSACTION could not follow.
        at_rest = status == IDLE or (status == INTRANS and self.used)
        return at_rest and time.monotonic() > self._checked + self.governor.max_age

    _checked: float = field(default=0.0, init=False)

    def fresh(self) -> bool:
        """Whether what is known of the session and the database can be believed for now."""
        return not self._due()

    def keep_up(self) -> PQGen[None]:
        """Refresh what is due: before a transaction opens, so that nothing has to be read inside of it."""
        if self._due():
            yield from self.refresh()

    def drain(self) -> PQGen[None]:
        """Have every result of an open pipeline before something is sent that must not be part of it."""
        connection = self.connection()
        if connection is not None and connection._pipeline:
            yield from connection._pipeline._sync_gen()
            if self.pgconn.transaction_status == IDLE:
                self.transaction = ""  # the text of a statement can have ended it

    def refresh(self) -> PQGen[None]:
        """Read the session anew, and the catalog where its digest has changed."""
        idle = self.pgconn.transaction_status == IDLE
        before = (self.session, self.catalog, self.in_force)
        self.session, self.in_force, digest = yield from lookups.session_and_digest(self)
        self.timeouts.observe(self.session.timeouts, in_transaction=not idle)
        shared = self.governor.catalog_of(self)
        if self.catalog is None or self.catalog.version != digest:
            if shared is not None and shared.version == digest:
                self.catalog = shared
            else:
                self.catalog = yield from lookups.snapshot(self, digest)
        self.catalog_private = not idle
        if idle:
            self.governor.share_catalog(self, self.catalog)
        if before[0] != self.session or before[1] is not self.catalog or before[2] != self.in_force:
            self._standings.clear()  # names may mean something else now
        self.session_stale = self.catalog_stale = False
        self._just_refreshed = True
        self._checked = time.monotonic()

    def inside(self) -> bool:
        """Return whether a transaction is open, or, in a pipeline, about to be."""
        if self.pgconn.transaction_status in (INTRANS, INERROR):
            return True
        return self.pgconn.pipeline_status != pq.PipelineStatus.OFF and bool(self.transaction)

    def new_statement(self) -> None:
        """Note that a caller starts something new: in no transaction, nothing of the last one counts."""
        if self.pgconn.transaction_status == IDLE:
            self.withholding = self.foreign = self.used = self.rewrote = False
            if self.timeouts.local or self.timeouts.own:
                self.timeouts.ended()  # by a COMMIT or ROLLBACK as text
            if self.pgconn.pipeline_status == pq.PipelineStatus.OFF:  # else a BEGIN can wait to be sent
                self.transaction = ""
                self.announced.ended()

    def follow(self, run: Run) -> None:
        """Note what the server could say about a statement that is about to be sent."""
        self.used = True
        self.last = run
        self.announced.callers.add(standing_of(run.identity))
        if run.plan.redacted:
            self.rewrote = True
        if run.plan.scrub_errors:
            self.withholding = True
        elif run.statement is not None and run.statement.writes and not run.sensitive:
            self.foreign = True

    def succeeded(self, run: Run) -> None:
        """Note the cursors that are opened and closed, and the channel of a LISTEN."""
        if run.statement is not None:
            for effect in run.statement.effects:
                if effect.kind is EffectKind.CURSOR:
                    self.declared[effect.name] = run
                    if holds(run.statement):
                        self.announced.held[effect.name] = run.identity
                elif effect.kind is EffectKind.CLOSE and effect.name != "all":
                    self.declared.pop(effect.name, None)  # the name may come to mean another one
                    self.announced.held.pop(effect.name, None)
                elif effect.kind is EffectKind.LISTEN:
                    self.listeners[effect.name] = standing_of(run.identity)

    def quotes(self) -> bool:
        """Whether the server's text may quote what the caller sees masked."""
        return self.withholding or (self.foreign and self.governor.masks(self.caller()))

    def mumbles(self) -> bool:
        """Whether the connection's last words, whoever caused them, may quote what the caller sees masked."""
        last = self.last
        if self.quotes():
            return True
        return last is not None and (
            last.plan.scrub_errors or (not last.sensitive and self.governor.masks(self.caller()))
        )

    def overhears(self, channel: str) -> bool:
        """Whether a notification is for somebody else than the caller, who sees columns masked."""
        caller = self.caller()
        return self.governor.masks(caller) and self.listeners.get(channel) != standing_of(caller)

    def check_reader(self, run: Run) -> None:
        """Refuse the caller rows that are somebody else's.

        Raises:
            StatementBlocked: a result belongs to whoever asked for it.
        """
        if not self.governor.enforce:
            return
        reader = self.caller()
        if reader is run.identity:
            return
        mine = standing_of(reader) == standing_of(run.identity)
        if not mine and self.governor.masks(reader) and not self.still_cleared(run, reader):
            raise refusing.refused(
                run.call,
                reader,
                self,
                "masking.cursor",
                f"these rows were read for {run.identity}, under a grant that is not for this caller",
                "execute the statement as yourself",
            )
        if not run.sensitive and self.governor.masks(reader) and not self.governor.masks(run.identity):
            raise refusing.refused(
                run.call,
                reader,
                self,
                "masking.cursor",
                f"these rows were read for {run.identity}, unmasked",
                "execute the statement as yourself",
            )
        self._check_owner(run, reader)

    def _check_owner(self, run: Run, reader: Identity) -> None:
        """Refuse what was opened by another caller, for whom the server may have filtered other rows.

        Whoever it was opened for may have it, and so may a service that the policy names. Where nobody says
        who reads, it is the code that opened it, behind the end of its block.
        """
        said = self._opener() or acting() or self.own
        owner = standing_of(run.identity)
        reading = standing_of(reader)
        if said is None or reading == owner or reading in principals(owner):
            return
        if is_named_service(reader, self.governor.policy.settings.services):
            return
        raise refusing.refused(
            run.call,
            reader,
            self,
            "callers.cursor",
            f"this cursor was opened by {run.identity}, and what it reads or writes is that caller's alone",
            "execute the statement as yourself, on a cursor of your own",
        )

    def check_opener(self, run: Run | None) -> None:
        """Refuse the caller to read on with a server-side cursor that somebody else has opened.

        Args:
            run: what has opened it; ``None``: not known, as where a function has.

        Raises:
            StatementBlocked: it belongs to whoever opened it.
        """
        reader = self.caller()
        if not self.governor.enforce:
            return
        if run is not None:
            if reader is not run.identity:
                self._check_owner(run, reader)
        elif self.announced.callers - {standing_of(reader)}:
            # It lives no longer than the transaction: with nobody else in that, it is the reader's own.
            raise refusing.refused(
                Call(b""),
                reader,
                self,
                "callers.cursor",
                "who has opened this cursor is not known, and somebody else has used this transaction",
                "execute the query as yourself, on a cursor of your own",
            )

    def opener_of(self, statement: Statement) -> Identity | None:
        """Return who opened the cursor that a FETCH reads from, ``None`` where that is not known."""
        for effect in statement.effects:
            if effect.kind is EffectKind.FETCH and effect.name in self.declared:
                return self.declared[effect.name].identity
        return None

    def abandon(self) -> None:
        """Close the records of everything that will never have an outcome: the connection is gone."""
        for run in list(self.open):
            run.finish("unknown")

    def ran(self, run: Run) -> None:
        """Note what a statement that was sent may have moved."""
        if run.settled:
            return
        statement = run.statement
        if statement is None:
            self.session_stale = self.catalog_stale = True
            self.announced.forget()
            return
        effects = statement.effects if run.bound is None else run.bound.effects
        for effect in effects:
            if effect.kind in _MOVES_SESSION:
                self.session_stale = self.settings_moved = True
                self.announced.forget()
                if effect.kind is EffectKind.SET and effect.name in _RENAMES:
                    self.announced.renamed = True
            if effect.kind in _MOVES_CATALOG:
                self.catalog_stale = True
            if effect.kind in _MOVES_AGAIN:
                if self.settings_moved or self.timeouts.moved:
                    self.session_stale = True
                back = effect.kind is EffectKind.TRANSACTION or (
                    self.announced.moved and effect.name == "ROLLBACK TO"
                )
                if back or self.settings_moved:
                    self.announced.doubt()

    def transaction_ended(self) -> None:
        """Note that BEGIN's block is over: what moved in it may have moved back."""
        if self.settings_moved or self.catalog_private:
            self.session_stale = self.catalog_stale = True
        self.settings_moved = self.catalog_private = False
        self.transaction = ""
        self.timeouts.ended()
        self.announced.ended()

    # -- cursors

    def of(self, cursor: BaseCursor[Any, Any]) -> CursorState:
        """Return the state of ``cursor``."""
        # By identity and not by equality: a subclass may define the latter, or have no hash.
        key = id(cursor)
        held = self.cursors.get(key)
        if held is not None and held[0]() is cursor:
            return held[1]
        state = CursorState()
        self.cursors[key] = (ref(cursor, lambda _: self.cursors.pop(key, None)), state)
        return state

    def _opened(self, statement: Statement, caller: Identity) -> Run | None:
        """Return what has opened the cursor that a FETCH as text reads from, where it is the caller's own."""
        for effect in statement.effects:
            if effect.kind is EffectKind.FETCH:
                opener = self.declared.get(effect.name)
                if (
                    opener is not None
                    and standing_of(opener.identity) == standing_of(caller)
                    and self.still_cleared(opener, caller)
                ):
                    return opener
        return None

    def database(self) -> str:
        """Return the database's name."""
        if self.session is not None:
            return self.session.database
        return self.pgconn.db.decode(errors="replace")

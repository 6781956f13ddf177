"""Where people give, revoke and look at grants: one store, the policy's people, and the trail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from attrs import define, field, frozen

from governed_db.approval.answer import ApproverKey
from governed_db.approval.desk import Desk
from governed_db.approval.people import CLOCKS, Approver, People, Person
from governed_db.approval.request import ApprovalRequest
from governed_db.approval.store import StoreUnavailable
from governed_db.errors import ApprovalsUnavailable, GovernanceError
from governed_db.grants.model import Grant, Grantee
from governed_db.grants.pattern import like
from governed_db.grants.register import told, weighed
from governed_db.grants.signing import Revocation, Signed, read_note, sign_grant
from governed_db.grants.weighing import EXPIRED, early, forbids, may_not_sign, signed_by
from governed_db.identity.model import Identity
from governed_db.note import BadNote
from governed_db.policy.rules import Rule, Then
from governed_db.policy.settings import GrantSettings

Answered = TypeVar("Answered")


@frozen(kw_only=True)
class Entry:
    """One grant as it stands.

    Attributes:
        id: its id.
        grant: what it says.
        by: who has signed it, "" where nobody has who may.
        standing: "in force", "to come", "over", "revoked", or "does not count".
        why: of the last two: by whom and why it was revoked, or why it does not count.
    """

    id: str
    grant: Grant
    by: str
    standing: str
    why: str = ""


@define(eq=False)
class Office:
    """Grants of one governor, as people see them.

    Attributes:
        desk: where they are kept.
        on_event: puts what happens here on record, before it counts.
        people, settings: of the policy.
        rules: of the policy, by id.
    """

    desk: Desk
    on_event: Callable[..., None]
    people: People = field(factory=People)
    settings: GrantSettings = field(factory=GrantSettings)
    rules: dict[str, Rule] = field(factory=dict, repr=False)

    def give(
        self,
        to: Grantee | str | None = None,
        *,
        key: ApproverKey,
        lasts: timedelta,
        because: str,
        by: Identity | None = None,
        starts: datetime | None = None,
        request: ApprovalRequest | None = None,
        **what: Any,
    ) -> Signed:
        """Sign a grant and put it into force; processes know of it within one poll of theirs.

        Args:
            to: to whom, as ``kind:subject`` or ``group:name``; by default the requester of ``request``.
            key: of an approver, or of an authority that signs for ``by``.
            lasts: how long it holds.
            because: why.
            by: who signs; by default the approver whose key it is.
            starts: from when; by default now.
            request: for statements like this one, which was asked for. What a store says of a request counts
                only as far as it was shown: the text of the pattern is what is signed.
            what: ``clear``, ``rules``, ``on``, ``rows``, ``fingerprint`` and ``database`` of
                :class:`~governed_db.grants.model.Grant`.

        Raises:
            GovernanceError: it cannot be given so; the rule says what is in the way.
            ApprovalsUnavailable: the store cannot be asked.
            AuditUnavailable: it cannot be put on record.
        """
        now = datetime.now(UTC)
        signer = self._signer(key, by)
        try:
            if request is not None:
                what = like(request) | {"rows": request.ceiling or 0} | what
                to = to or what["to"]
            what["to"] = Grantee.parse(to) if isinstance(to, str) else to
            if what["to"] is None:
                raise ValueError("it says not to whom")
            start = now if starts is None else starts
            signed = sign_grant(
                Grant(
                    starts=start, until=start + lasts, signed=now, because=because, by=signer.identity, **what
                ),
                key,
            )
        except (ValueError, TypeError, OverflowError, BadNote) as error:
            raise GovernanceError(
                f"this cannot be granted: {error}",
                rule="grant.bad",
                remedy="a grant names one caller, what it gives, and for how long",
            ) from None
        return self.hand_in(signed.note)

    def hand_in(self, note: bytes) -> Signed:
        """Take in a grant that was signed elsewhere.

        Raises:
            GovernanceError: it does not count (rule ``grant.*``); the refusal is on record.
            ApprovalsUnavailable: the store cannot be asked.
            AuditUnavailable: it cannot be put on record.
        """
        now = datetime.now(UTC)
        try:
            signed = read_note(note)
        except ValueError as error:
            raise self._refused("grant.bad", str(error), "sign it with governed-db grants add") from None
        grant = signed.said
        if not isinstance(grant, Grant):
            raise self._refused("grant.bad", "it is a revocation", "governed-db grants revoke ID")
        person = signed_by(signed, self.people, self.settings)
        if isinstance(person, str):
            raise self._refused("grant.signer", person, self._whom(), grant=signed.id)
        self._check(signed.id, grant, person, now)
        self.on_event(
            "grant.added",
            who=person.identity,
            grant=signed.id,
            key=f"{person.key.name}+{person.key.id.hex()}",
            via=person.via,
            note=signed.note.decode(),
            **told(grant),
        )
        kept = self._ask(lambda: self.desk.store.add_grant(signed.id, signed.note, expires=grant.until))
        if not kept:
            raise GovernanceError(
                f"the grant {signed.id} is there already",
                rule="grant.bad",
                remedy="governed-db grants list shows it; what was revoked has to be signed anew",
            )
        return signed

    def revoke(
        self, grant_id: str, *, key: ApproverKey, by: Identity | None = None, because: str = ""
    ) -> Signed:
        """Revoke a grant; processes know of it within one poll of theirs.

        Raises:
            GovernanceError: there is no such grant, or the key may not (rule ``grant.*``).
            ApprovalsUnavailable: the store cannot be asked.
            AuditUnavailable: it cannot be put on record.
        """
        now = datetime.now(UTC)
        signer = self._signer(key, by)
        found = next((each for each in self._notes() if each.id == grant_id), None)
        if found is None or not isinstance(found.said, Grant):
            raise GovernanceError(
                f"there is no grant {grant_id}",
                rule="grant.unknown",
                remedy="governed-db grants list shows those that hold; what is over needs no revocation",
            )
        grant = found.said
        try:
            signed = sign_grant(
                Revocation(grant=grant_id, until=grant.until, at=now, because=because, by=signer.identity),
                key,
            )
            read_note(signed.note)
        except (ValueError, BadNote) as error:
            raise GovernanceError(str(error), rule="grant.bad", remedy="shorten the reason") from None
        self.on_event(
            "grant.revoked",
            who=signer.identity,
            grant=grant_id,
            to=str(grant.to),
            because=because,
            note=signed.note.decode(),
        )
        # Until every clock agrees that the grant is over.
        self._ask(lambda: self.desk.store.add_grant(signed.id, signed.note, expires=grant.until + CLOCKS))
        return signed

    def listed(self) -> list[Entry]:
        """Return the grants that are kept, the first to end first.

        Raises:
            ApprovalsUnavailable: the store cannot be asked.
        """
        now = datetime.now(UTC)
        notes = self._notes()
        ends: dict[str, Signed] = {
            each.said.grant: each for each in notes if isinstance(each.said, Revocation)
        }
        # Once, however often somebody has put it there.
        grants = {each.id: each for each in notes if isinstance(each.said, Grant)}
        found = [self._entry(each, ends, now) for each in grants.values()]
        return sorted(found, key=lambda entry: (entry.grant.until, entry.id))

    def _entry(self, signed: Signed, ends: dict[str, Signed], now: datetime) -> Entry:
        grant = signed.said
        assert isinstance(grant, Grant)
        person = weighed(signed, self.people, self.settings)
        by = person.identity.subject if isinstance(person, Person) else ""
        end = ends.get(signed.id)
        standing, why = "in force", ""
        if isinstance(person, str):
            standing, why = "does not count", person
        elif end is not None:
            who = signed_by(end, self.people, self.settings)
            said = end.said.because
            name = who.identity.subject if isinstance(who, Person) else f"nobody known ({who})"
            standing, why = "revoked", f"by {name}" + (f": {said}" if said else "")
        elif grant.until <= now:
            standing = "over"
        elif grant.starts > now or early(grant, now):
            standing = "to come"
        return Entry(id=signed.id, grant=grant, by=by, standing=standing, why=why)

    # -- parts

    def _signer(self, key: ApproverKey, by: Identity | None) -> Person:
        people = self.people
        owner = people.owner(key.public)
        if owner is None:
            raise GovernanceError(
                f"the policy names nobody whose key {key.public.name}+{key.public.id.hex()} is",
                rule="grant.key",
                remedy="put the key into the policy: [[approver]] subject, groups, keys"
                " (governed-db approvals key prints it)",
            )
        if by is None:
            if not isinstance(owner, Approver):
                raise GovernanceError(
                    f"{key.public.name} signs for others: say for whom", rule="grant.key", remedy="give by="
                )
            by = owner.identity()
        person = people.speaking(key.public, by)
        why = person if isinstance(person, str) else may_not_sign(person, people, self.settings)
        if isinstance(person, str) or why:
            raise GovernanceError(f"{by} cannot sign grants: {why}", rule="grant.signer", remedy=self._whom())
        return person

    def _check(self, grant_id: str, grant: Grant, person: Person, now: datetime) -> None:
        """Refuse what would not count, or would give nothing."""
        say: dict[str, Any] = {"grant": grant_id}
        if why := forbids(grant, self.settings):
            raise self._refused("grant.forbidden", why, "ask for less, or for a change of the policy", **say)
        if grant.until <= now:
            raise self._refused("grant.expired", EXPIRED, "sign it anew", **say)
        if early(grant, now):
            raise self._refused("grant.early", "it was signed later than now", "set the clocks", **say)
        for name in grant.rules:
            rule = self.rules.get(name)
            if rule is None:
                raise self._refused(
                    "grant.rule", f"the policy has no rule {name}", "a refusal names the rule", **say
                )
            if rule.then is Then.ALLOW and grant.rows is None:
                why = f"the rule {name} allows already; what it may cap is raised by rows"
                raise self._refused("grant.rule", why, "say how many rows (--rows)", **say)
            groups = rule.approvers if rule.then is Then.APPROVE else ()
            if groups and person.identity.groups.isdisjoint(groups):
                why = f"the rule {name} asks for a member of {', '.join(groups)}"
                raise self._refused("grant.signer", why, "ask one of them to sign", **say)

    def _whom(self) -> str:
        groups = ", ".join(self.settings.signers)
        if groups and not any(a.groups & {*self.settings.signers} for a in self.people.approvers):
            return f"the policy names nobody in {groups}: give an [[approver]] that group"
        return f"ask a member of {groups}" if groups else "ask somebody whom the policy names as an approver"

    def _refused(self, rule: str, why: str, remedy: str, **details: Any) -> GovernanceError:
        self.on_event("grant.refused", rule=rule, reason=why, **details)
        return GovernanceError(f"the grant does not count: {why}", rule=rule, remedy=remedy)

    def _notes(self) -> list[Signed]:
        view = self._ask(lambda: self.desk.store.view(now=datetime.now(UTC)))
        found = []
        for note in view.grants:
            try:
                found.append(read_note(note))
            except ValueError:
                continue  # nothing that anybody could show
        return found

    def _ask(self, question: Callable[[], Answered]) -> Answered:
        try:
            return question()
        except StoreUnavailable as error:
            raise ApprovalsUnavailable(
                f"{error}; nothing is granted or revoked while nobody can be asked",
                rule="approval.store",
                remedy=error.remedy or "try again when the store of approvals can be reached",
                retryable=error.retryable,
            ) from None

"""Who may answer, by the policy: approvers with keys of their own, and authorities that vouch for people.

An approver signs with a key that the policy names. An authority (a portal, a Slack desk, what verified
somebody's token) signs for people whom it has identified itself. Whatever an answer says of its signer
otherwise counts for nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol

from attrs import evolve, field, frozen

from governed_db.approval.answer import SignedAnswer
from governed_db.identity.model import Identity, Kind
from governed_db.note import VerifierKey

CLOCKS: Final = timedelta(seconds=60)
"""How far the clocks of an approver and of a caller may be apart."""


@frozen(kw_only=True)
class Approver:
    """A person whom the policy names.

    Attributes:
        subject, issuer: who, as identities name them.
        groups: what the person is a member of, for rules that ask for it.
        keys: what they sign with.
        slack: their member id in Slack, where they answer there.
    """

    subject: str
    issuer: str = ""
    groups: frozenset[str] = frozenset()
    keys: tuple[VerifierKey, ...] = ()
    slack: str = ""

    def identity(self) -> Identity:
        """Return the person as an identity."""
        return Identity(kind=Kind.HUMAN, subject=self.subject, issuer=self.issuer, groups=self.groups)


@frozen(kw_only=True)
class Authority:
    """Something that identifies people itself and signs for them.

    ``issuer``: whose people it may vouch for beyond those whom the policy names as approvers; "": nobody's.
    """

    name: str
    keys: tuple[VerifierKey, ...]
    issuer: str = ""


class Asking(Protocol):
    """What has to be known of a request to weigh an answer to it: by the request, or by its record."""

    @property
    def id(self) -> str: ...  # noqa: D102 - as ApprovalRequest's
    @property
    def requester(self) -> Identity: ...  # noqa: D102
    @property
    def requested(self) -> datetime: ...  # noqa: D102
    @property
    def expires(self) -> datetime: ...  # noqa: D102
    @property
    def approvers(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def valid_seconds(self) -> int: ...  # noqa: D102

    def seal(self) -> str: ...  # noqa: D102


@frozen(kw_only=True)
class Person:
    """Who has answered, as far as the policy believes it. ``via``: the authority that says so, or ""."""

    identity: Identity
    key: VerifierKey
    via: str = ""


@frozen(kw_only=True)
class People:
    """Everybody whose answers count.

    Raises:
        ValueError: a key belongs to two of them.
    """

    approvers: tuple[Approver, ...] = ()
    authorities: tuple[Authority, ...] = ()
    _owners: dict[VerifierKey, Approver | Authority] = field(init=False, repr=False, eq=False)

    @_owners.default
    def _own(self) -> dict[VerifierKey, Approver | Authority]:
        owners: list[Approver | Authority] = [*self.approvers, *self.authorities]
        return {key: each for each in owners for key in each.keys}

    def __attrs_post_init__(self) -> None:
        names: dict[bytes, str] = {}
        owners: list[Approver | Authority] = [*self.approvers, *self.authorities]
        for each in owners:
            name = each.subject if isinstance(each, Approver) else each.name
            for key in each.keys:
                if names.setdefault(key.public, name) != name:
                    raise ValueError(
                        f"{names[key.public]} and {name} have the same key: an answer has to be one person's"
                    )

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """All keys that answers can be signed with."""
        return tuple(self._owners)

    def named(self, subject: str, issuer: str = "") -> Approver | None:
        """Return the approver of that name."""
        return next((a for a in self.approvers if a.subject == subject and a.issuer == issuer), None)

    def owner(self, key: VerifierKey) -> Approver | Authority | None:
        """Return whose key it is."""
        return self._owners.get(key)

    def person(self, signed: SignedAnswer) -> Person | str:
        """Return who has signed an answer, or why nobody has who could."""
        key = signed.signer(self.keys)
        if key is None:
            return "no key that the policy names has signed it"
        return self.speaking(key, signed.answer.by)

    def speaking(self, key: VerifierKey, by: Identity) -> Person | str:
        """Return whom ``key`` speaks for where it says that ``by`` answers, or why it may not."""
        owner = self._owners[key]
        if by.kind is not Kind.HUMAN:
            return "only people approve"
        if isinstance(owner, Approver):
            if (by.subject, by.issuer) != (owner.subject, owner.issuer):
                return f"the key of {owner.subject} signs for {owner.subject} alone"
            return Person(identity=owner.identity(), key=key)
        known = self.named(by.subject, by.issuer)
        if known is not None:
            # What the policy says of somebody counts, not what an authority adds.
            return Person(identity=evolve(known.identity(), verified=True), key=key, via=owner.name)
        if not owner.issuer or by.issuer != owner.issuer:
            return f"{owner.name} may not vouch for people whom the policy does not name"
        whom = Identity(
            kind=Kind.HUMAN, subject=by.subject, issuer=by.issuer, groups=by.groups, verified=True
        )
        return Person(identity=whom, key=key, via=owner.name)

    @property
    def named_any(self) -> bool:
        """Whether the policy names anybody who answers, or anything that signs for people."""
        return bool(self.approvers or self.authorities)

    def nobody(self, groups: Iterable[str], needed: int, requester: Identity) -> str:
        """Return why a question for members of ``groups`` can never be answered, "" where it can.

        A policy that names nobody at all says nothing of it: it can be told later. An authority with an
        issuer may know anybody.
        """
        if not self.named_any:
            return ""
        if any(authority.issuer for authority in self.authorities):
            return ""
        wanted = tuple(groups)
        fit = [a for a in self.approvers if not wanted or not a.groups.isdisjoint(wanted)]
        if not fit:
            return f"nobody whom the policy names is a member of {', '.join(wanted)}"
        able = {folded(a.subject) for a in fit} - set(_asking(requester))
        if len(able) < needed:
            people = "person" if needed == 1 else "different people"
            return (
                f"it asks for {needed} {people}, and the policy names {len(able)} who could answer"
                " (never the requester, nor whom it acts for)"
            )
        return ""


def may_not_answer(request: Asking, by: Identity) -> str:
    """Return why ``by`` may not answer ``request``, or ``""``: four eyes, people only, in the right group."""
    if by.kind is not Kind.HUMAN:
        return "only people approve"
    if not by.subject:
        return "it says not who"
    # Subjects compare across kinds: whom an agent acts for is often named without saying "human".
    if folded(by.subject) in _asking(request.requester):
        return "it is the requester, or whom the requester acts for"
    if request.approvers and by.groups.isdisjoint(request.approvers):
        return f"the rule asks for a member of {', '.join(request.approvers)}"
    return ""


def not_valid(
    signed: SignedAnswer, request: Asking, people: People, now: datetime
) -> tuple[Person | None, str]:
    """Return who has answered ``request``, or why the answer does not count.

    An answer whose time is over has no reason but "expired": it did count.
    """
    answer = signed.answer
    person = people.person(signed)
    if isinstance(person, str):
        return None, person
    if answer.request != request.id:
        return None, "it answers another request"
    if answer.seal != request.seal():
        return None, "it is about another text than the request has: one of them was altered"
    if why := may_not_answer(request, person.identity):
        return None, why
    if answer.answered > now + CLOCKS or answer.answered < request.requested - CLOCKS:
        return None, "it was not signed between the request and now"
    if answer.answered > request.expires + CLOCKS:
        return None, "the request had expired when it was signed"
    if answer.expires > answer.answered + timedelta(seconds=request.valid_seconds):
        return None, "it claims to hold for longer than the request allows"
    if answer.expires <= now:
        return None, EXPIRED
    return person, ""


EXPIRED: Final = "expired"


def same_person(one: Identity, other: Identity) -> bool:
    """Return whether two answers count as one person's: whoever they are to different issuers."""
    return folded(one.subject) == folded(other.subject)


def _asking(requester: Identity) -> tuple[str, ...]:
    found = []
    asking: Identity | None = requester
    while asking is not None:
        if asking.subject:
            found.append(folded(asking.subject))
        asking = asking.on_behalf_of
    return tuple(found)


def folded(subject: str) -> str:
    """Return a name as it is compared where one person must not pass for two.

    Mail addresses and account names are often written in either case, with composed characters or others of
    the same look (NFKC, Unicode Standard Annex 15); the stricter reading is that they are the same person.
    So is ``human:dana``, as messages write it, where somebody has given that for the name ``dana``.
    """
    plain = unicodedata.normalize("NFKC", subject).casefold()
    # Joiners and the like show nothing; case folding can leave what NFKC composes again.
    seen = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", seen).strip().removeprefix(f"{Kind.HUMAN}:").strip()

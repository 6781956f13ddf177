"""Whether a grant counts, and for whom. No I/O.

Who may sign is the policy's to say (``[grants]``); whom a grant is for is held against the caller at each
statement, because only then is it known for whom an agent acts: nobody grants anything to themself, nor to
what acts for them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from governed_db.approval.people import CLOCKS, People, Person, folded, same_person
from governed_db.grants.model import Grant, Grantee
from governed_db.grants.signing import Signed
from governed_db.identity.model import Identity, Kind
from governed_db.policy.patterns import covers, split_column_pattern
from governed_db.policy.rules import principals
from governed_db.policy.settings import GrantSettings

AHEAD: Final = timedelta(days=31)
"""How long before its start a grant can be signed. What is planned for later is forgotten until then."""

EXPIRED: Final = "its time is over"


def signed_by(signed: Signed, people: People, settings: GrantSettings) -> Person | str:
    """Return who has signed a grant or a revocation, or why nobody has who may."""
    key = signed.signer(people.keys)
    if key is None:
        return "no key that the policy names has signed it"
    person = people.speaking(key, signed.said.by)
    if isinstance(person, str):
        return person
    return may_not_sign(person, people, settings) or person


def may_not_sign(person: Person, people: People, settings: GrantSettings) -> str:
    """Return why ``person`` may not sign grants, "" where they may."""
    if not settings.enabled:
        return "the policy knows no grants ([grants] enabled = false)"
    who = person.identity
    if not settings.signers:
        named = people.named(who.subject, who.issuer) is not None
        return "" if named else "the policy does not name them"
    if who.groups.isdisjoint(settings.signers):
        return f"grants are for a member of {', '.join(settings.signers)} to sign"
    return ""


def forbids(grant: Grant, settings: GrantSettings) -> str:
    """Return why the policy forbids a grant, whoever signs it; "" where it does not."""
    longest = timedelta(seconds=settings.longest_seconds)
    if grant.until - grant.starts > longest:
        return f"it lasts for longer than a grant may ({settings.longest_seconds} seconds)"
    if grant.starts > grant.signed + AHEAD:
        return f"it starts more than {AHEAD.days} days after it was signed"
    for rule in grant.rules:
        if rule in settings.never:
            return f"no grant waives the rule {rule}"
    for column in grant.clear:
        if any(covers(never, column, split=split_column_pattern) for never in settings.never_columns):
            return f"no grant clears {column}"
    if self_granted(grant):
        return "it is for the signer, or for what acts for the signer"
    return ""


def self_granted(grant: Grant) -> bool:
    """Whether a grant says by itself that it is for its signer, or for what acts for the signer."""
    named = {grant.to.subject, _whom(grant.to)[1]} - {""}
    signer = folded(grant.by.subject)
    return any(folded(name) == signer for name in named)


def early(grant: Grant, now: datetime) -> bool:
    """Whether a grant claims to be signed later than now."""
    return grant.signed > now + CLOCKS


def about(grant: Grant, by: Identity, caller: Identity, database: str) -> bool:
    """Return whether a grant that ``by`` has signed is for ``caller``, in ``database``."""
    if grant.database and grant.database != database:
        return False
    if not _meant(grant.to, caller):
        return False
    # As with approvals, one name is one person, whatever kind and issuer it comes with.
    return not any(same_person(by, each) for each in (caller, *principals(caller)) if each.subject)


def _meant(to: Grantee, caller: Identity) -> bool:
    if to.group:
        if to.group not in caller.groups:
            return False
    elif (to.kind, to.subject) != (caller.kind, caller.subject):
        return False
    if to.issuer and not (caller.verified and caller.issuer == to.issuer):
        return False
    if not to.on_behalf_of:
        return True
    kind, subject = _whom(to)
    return any(p.subject == subject and kind in (None, p.kind) for p in principals(caller))


def _whom(to: Grantee) -> tuple[Kind | None, str]:
    """Return whom the grantee has to act for: the kind, where one was said, and the subject."""
    kind, colon, subject = to.on_behalf_of.partition(":")
    return (Kind(kind), subject) if colon and kind in {*Kind} else (None, to.on_behalf_of)

"""Whether statements that ran because people agreed did: the evidence of the trail, weighed once more.

What a process does before it runs such a statement is done again here, from records alone: each answer is a
signed note that stands in the record ``approval.verified``, about the seal that stands in
``approval.requested``. Only the public keys are needed, from wherever the reader trusts them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from attrs import define, field, frozen

from governed_db.approval.answer import read_answer
from governed_db.approval.people import People, Person, not_valid, same_person
from governed_db.approval.request import moment
from governed_db.audit import view
from governed_db.audit.record import RecordKind
from governed_db.audit.view import Entry
from governed_db.identity.model import Identity, Kind


@frozen(kw_only=True)
class Recorded:
    """A request as it was put on record."""

    id: str
    recorded_seal: str
    requester: Identity
    requested: datetime
    expires: datetime
    approvers: tuple[str, ...]
    needed: int
    valid_seconds: int
    statement: str

    def seal(self) -> str:
        """Return what answers are about."""
        return self.recorded_seal


@frozen(kw_only=True)
class Agreement:
    """One approval that statements ran under.

    Attributes:
        request: its id.
        asked_by: who asked, as people write it; "" where that is not on record.
        statement: what was asked, normalised.
        people: who had agreed, by the signatures that hold.
        at: when it was used.
        problems: why it does not bear the statement; empty where it does.
    """

    request: str
    asked_by: str
    statement: str
    people: tuple[str, ...]
    at: str
    problems: tuple[str, ...]


@define
class _Case:
    asked: Recorded | None = None
    evidence: list[list[str]] = field(factory=list)
    runs: list[tuple[datetime, str, str]] = field(factory=list)  # when, on which connection, which text


def agreements(entries: Iterable[Entry], people: People) -> list[Agreement]:
    """Return every approval that something ran under, in the order in which they were used first.

    Args:
        entries: of :func:`governed_db.audit.reader.read`, of all journals that could have a part in it.
        people: whose answers count.
    """
    cases: dict[str, _Case] = {}
    for entry in entries:
        name = view.text(entry, "event")
        details = view.part(entry, "details")
        if name == "approval.requested":
            cases.setdefault(view.text(details, "request"), _Case()).asked = _asked(entry)
        elif name == "approval.verified":
            case = cases.setdefault(view.text(details, "request"), _Case())
            case.evidence.append(view.strings(details, "answers"))
        elif entry.get("kind") == RecordKind.INTENT:
            request = view.text(view.part(entry, "may"), "approval")
            at = _time(entry)
            if request and at is not None:
                where, what = view.part(entry, "where"), view.part(entry, "what")
                place = f"{view.text(entry, 'journal')} {view.text(where, 'connection')}"
                run = (at, place, view.text(what, "text"))
                cases.setdefault(request, _Case()).runs.append(run)
    used = [(request, case) for request, case in cases.items() if case.runs]
    return [_weighed(request, case, people) for request, case in sorted(used, key=lambda c: min(c[1].runs))]


def _weighed(request: str, case: _Case, people: People) -> Agreement:
    at = min(case.runs)[0]
    problems: list[str] = []
    agreed: tuple[str, ...] = ()
    asked = case.asked
    if asked is None:
        problems.append("its request is not among these records")
    elif not case.evidence:
        problems.append("nobody's signature is on record for it")
    else:
        weighed = [_people(notes, asked, people, at) for notes in case.evidence]
        persons, problems = min(weighed, key=lambda found: len(found[1]))
        agreed = tuple(f"{person.identity}{f' ({person.via})' if person.via else ''}" for person in persons)
    if asked is not None and any(text != asked.statement for _, _, text in case.runs):
        problems.append("another statement ran than was asked about")
    if len({place for _, place, _ in case.runs}) > 1:
        problems.append("it was used more than once")
    return Agreement(
        request=request,
        asked_by="" if asked is None else str(asked.requester),
        statement="" if asked is None else asked.statement,
        people=agreed,
        at=at.isoformat(),
        problems=tuple(problems),
    )


def _people(
    notes: list[str], asked: Recorded, people: People, at: datetime
) -> tuple[list[Person], list[str]]:
    """Return who had agreed at that time, and what is missing."""
    agreed: list[Person] = []
    problems = []
    for note in notes:
        try:
            signed = read_answer(note.encode())
        except ValueError:
            problems.append("an answer cannot be read")
            continue
        person, why = not_valid(signed, asked, people, at)
        if person is None:
            problems.append(f"an answer of {signed.answer.by.subject} does not count: {why}")
        elif not signed.answer.granted:
            problems.append(f"{person.identity} said no")
        elif not any(same_person(person.identity, other.identity) for other in agreed):
            agreed.append(person)
    if len(agreed) < asked.needed:
        problems.append(f"{len(agreed)} of {asked.needed} people have agreed")
    return agreed, problems


def _asked(entry: Entry) -> Recorded | None:
    details = view.part(entry, "details")
    try:
        return Recorded(
            id=view.text(details, "request"),
            recorded_seal=view.text(details, "seal"),
            requester=_identity(view.part(entry, "who")),
            requested=moment(view.text(details, "requested")),
            expires=moment(view.text(details, "expires")),
            approvers=tuple(view.strings(details, "approvers")),
            needed=max(view.number(details, "needed") or 1, 1),
            valid_seconds=view.number(details, "valid_seconds") or 0,
            statement=view.text(details, "statement"),
        )
    except ValueError:
        return None


def _identity(who: Entry) -> Identity:
    """Return who asked.

    Raises:
        ValueError: it says no kind that there is.
    """
    principal: Identity | None = None
    chain: list[Any] = [who, *view.objects(who, "on_behalf_of")]
    for one in reversed(chain):
        principal = Identity(
            kind=Kind(view.text(one, "kind")),
            subject=view.text(one, "subject"),
            issuer=view.text(one, "issuer"),
            on_behalf_of=principal,
        )
    assert principal is not None
    return principal


def _time(entry: Entry) -> datetime | None:
    at = entry.get("at")
    if isinstance(at, int) and not isinstance(at, bool):
        return datetime.fromtimestamp(at / 1e9, UTC)
    try:
        return moment(at) if isinstance(at, str) else None
    except ValueError:
        return None

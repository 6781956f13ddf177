"""How a request stands: the answers that were handed in, weighed. A function of values."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from governed_db.approval.answer import SignedAnswer
from governed_db.approval.people import People, Person, not_valid, same_person
from governed_db.approval.request import ApprovalRequest
from governed_db.approval.store import Filed


@frozen(kw_only=True)
class Standing:
    """How a request stands.

    Attributes:
        request: what was asked.
        granted: those who have agreed, distinct, whose word holds now.
        denied: who has said no, if anybody has, with the reason in ``because``.
        expires: until when what was agreed to holds; ``None`` where nobody has answered.
        ignored: answers that do not count, and why not.
        answers: those that count.
    """

    request: ApprovalRequest
    granted: tuple[Person, ...] = ()
    denied: Person | None = None
    because: str = ""
    expires: datetime | None = None
    ignored: tuple[tuple[SignedAnswer, str], ...] = ()
    answers: tuple[SignedAnswer, ...] = ()

    @property
    def agreed(self) -> bool:
        """Whether as many people have agreed as have to, and nobody has said no."""
        return self.denied is None and len(self.granted) >= self.request.needed


def weigh(filed: Filed, people: People, now: datetime) -> Standing:
    """Weigh the answers to a request: who may give one, whose holds, and who has said no."""
    request = filed.request
    counted: list[tuple[SignedAnswer, Person]] = []
    ignored: list[tuple[SignedAnswer, str]] = []
    for signed in filed.answers:
        person, why = not_valid(signed, request, people, now)
        if person is None:
            ignored.append((signed, why))
        else:
            counted.append((signed, person))
    no = next(((s, p) for s, p in counted if not s.answer.granted), None)
    if no is not None:
        signed, person = no
        return Standing(
            request=request,
            denied=person,
            because=signed.answer.reason,
            expires=signed.answer.expires,
            ignored=tuple(ignored),
            answers=(signed,),
        )
    distinct: list[tuple[SignedAnswer, Person]] = []
    for signed, person in counted:
        if not any(same_person(person.identity, other.identity) for _, other in distinct):
            distinct.append((signed, person))
    return Standing(
        request=request,
        granted=tuple(person for _, person in distinct),
        expires=min((s.answer.expires for s, _ in distinct), default=None),
        ignored=tuple(ignored),
        answers=tuple(signed for signed, _ in distinct),
    )

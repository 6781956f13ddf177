"""The grants that a process knows, as its statements ask for them: verified once, weighed at each statement.

They come with each look at the store (:meth:`governed_db.approval.desk.Desk.look`). A note is read and
verified when it is first seen; who is meant, and whether it holds, is looked at each time it matters, by the
clock on the wall. What has ended in this process (by its time, or by a revocation) stays ended here, whatever
becomes of the store or of the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from attrs import define, evolve, field, frozen

from governed_db.approval.desk import Desk
from governed_db.approval.people import People, Person
from governed_db.approval.store import MOST_GRANTS
from governed_db.grants.model import Grant, Granted
from governed_db.grants.signing import Revocation, Signed, read_note
from governed_db.grants.weighing import EXPIRED, about, early, forbids, signed_by
from governed_db.identity.model import Identity
from governed_db.locks import lock
from governed_db.policy.settings import GrantSettings

MOST_NOTES: Final = MOST_GRANTS
"""Grants and revocations that a process reads: a second of verifying. With more of them none counts, because
a revocation may be among those that are not read."""

MOST_REFUSED: Final = 1000
"""Notes that a process puts on record because they count for nothing: who fills the store with rubbish must
not fill the journal as well."""


@frozen
class Held:
    """A grant whose signature holds, and who has signed it."""

    signed: Signed = field(repr=False)
    grant: Grant
    granted: Granted
    person: Person


@frozen
class _End:
    """A revocation, and who has signed it, or why nobody has who may."""

    said: Revocation
    note: bytes = field(repr=False)
    person: Person | str


@frozen
class _Known:
    """What follows from the notes of one look."""

    notes: tuple[bytes, ...] = ()
    by_subject: Mapping[str, tuple[Held, ...]] = field(factory=dict)
    by_group: Mapping[str, tuple[Held, ...]] = field(factory=dict)
    held: tuple[Held, ...] = ()


@define(eq=False)
class Register:
    """The grants of one governor. Safe with threads.

    Attributes:
        desk: whose looks at the store bring them.
        on_event: puts what happens here on record, before it counts: what it raises keeps it from counting.
        possible: whether there can be grants at all; nothing here is asked where not.
    """

    desk: Desk
    on_event: Callable[..., None]
    possible: bool = field(default=False, init=False)
    _people: People = field(factory=People, init=False)
    _settings: GrantSettings = field(factory=GrantSettings, init=False)
    _known: _Known = field(factory=_Known, init=False)
    _read: dict[bytes, Held | _End | None] = field(factory=dict, init=False)
    _ended: dict[str, str] = field(factory=dict, init=False)
    _used: dict[str, None] = field(factory=dict, init=False)
    _told: dict[str, None] = field(factory=dict, init=False)
    _lock: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lock = lock(self)

    def install(self, people: People, settings: GrantSettings, *, enforce: bool) -> None:
        """Weigh by another policy from now on."""
        with self._lock:
            self._people, self._settings = people, settings
            self._read.clear()
            self._known = _Known()
            self.possible = enforce and settings.enabled and bool(people.keys)

    def stale(self) -> bool:
        """Whether the store has to be looked at before the next statement is judged."""
        return self.possible and self.desk.stale()

    def look(self) -> None:
        """Look at the store, and read what is new there: here, and not on whoever asks next.

        Raises:
            AuditUnavailable: what counts for nothing cannot be put on record.
        """
        self.desk.look()
        self._looked_at()

    def of(self, caller: Identity, database: str) -> tuple[Granted, ...]:
        """Return the grants that hold for ``caller`` in ``database`` now, by their ids.

        Raises:
            AuditUnavailable: what they rest on cannot be put on record.
        """
        if not self.possible:
            return ()
        known = self._looked_at()
        if not known.held:
            return ()
        found = known.by_subject.get(caller.subject, ())
        if known.by_group:
            for group in caller.groups:
                found += known.by_group.get(group, ())
        if not found:
            return ()
        now = datetime.now(UTC)
        holding: dict[str, Granted] = {}
        for each in found:
            if about(each.grant, each.granted.by, caller, database) and self._holds(each, now):
                holding[each.granted.id] = each.granted
        return tuple(holding[key] for key in sorted(holding))

    def concerns(self, caller: Identity) -> bool:
        """Whether some grant may be for ``caller``."""
        known = self._looked_at()
        return caller.subject in known.by_subject or any(group in known.by_group for group in caller.groups)

    def _looked_at(self) -> _Known:
        known, notes = self._known, self.desk.view.grants
        return known if known.notes is notes else self._take_in(notes)

    def _holds(self, held: Held, now: datetime) -> bool:
        grant, key = held.grant, held.granted.id
        if key in self._ended:
            return False
        if grant.until <= now:
            self._end(held, EXPIRED)
            return False
        if grant.starts > now or early(grant, now):
            return False
        if key not in self._used:
            with self._lock:  # held while it is put on record: nobody else goes on before it is
                if key not in self._used:
                    self.on_event("grant.verified", who=held.person.identity, **evidence(held))
                    self._used[key] = None
        return True

    def _end(self, held: Held, why: str, **details: Any) -> None:
        """Let a grant never count again here; put it on record where it has counted."""
        key = held.granted.id
        with self._lock:
            self._ended.setdefault(key, why)
            if key in self._used:
                name = "grant.expired" if why == EXPIRED else "grant.revoked"
                self.on_event(name, grant=key, to=str(held.grant.to), **details)
                self._used.pop(key)

    def _take_in(self, notes: tuple[bytes, ...]) -> _Known:
        """Read the notes of another look; those that were read before are not verified again."""
        now = datetime.now(UTC)
        before, people = self._known, self._people
        if notes == before.notes:
            with self._lock:
                if self._known is before:
                    self._known = evolve(before, notes=notes)
            return self._known
        if len(notes) > MOST_NOTES:
            self._refuse(b"", f"there are more than {MOST_NOTES} grants and revocations, and none counts")
        read = {
            note: self._read[note] if note in self._read else self._verified(note, now)
            for note in (notes if len(notes) <= MOST_NOTES else ())
        }
        ends = [each for each in read.values() if isinstance(each, _End)]
        held = {each.granted.id: each for each in read.values() if isinstance(each, Held)}
        for gone in before.held:
            if gone.grant.until <= now:
                self._end(gone, EXPIRED)
        for end in ends:
            self._revoked(end, held.get(end.said.grant))
        counting = tuple(each for key, each in sorted(held.items()) if key not in self._ended)
        known = _Known(
            notes,
            _sorted(counting, lambda each: each.grant.to.subject),
            _sorted(counting, lambda each: each.grant.to.group),
            counting,
        )
        with self._lock:
            if self._people is people:
                self._read, self._known = read, known
            return self._known  # nothing, where another policy was installed meanwhile

    def _verified(self, note: bytes, now: datetime) -> Held | _End | None:
        """Return the grant of a note, a revocation as it is, or ``None``, on record, for what is neither."""
        try:
            signed = read_note(note)
        except ValueError as error:
            self._refuse(note, str(error))
            return None
        if isinstance(signed.said, Revocation):
            return _End(signed.said, note, signed_by(signed, self._people, self._settings))
        person = weighed(signed, self._people, self._settings)
        if isinstance(person, str) or signed.said.until <= now:
            self._refuse(note, person if isinstance(person, str) else EXPIRED, grant=signed.id)
            return None
        granted = Granted(id=signed.id, grant=signed.said, by=person.identity)
        return Held(signed, signed.said, granted, person)

    def _revoked(self, end: _End, held: Held | None) -> None:
        """End the grant of a revocation.

        One that nobody who may has signed ends it as well: whoever can put that into the store can take the
        grant out of it, and to believe too little is on the safe side.
        """
        said, person = end.said, end.person
        genuine = isinstance(person, Person)
        if not genuine:
            self._refuse(end.note, f"{person}; the grant counts no more all the same", grant=said.grant)
        if held is None:
            if genuine and said.grant not in self._ended:
                with self._lock:
                    self._ended[said.grant] = "revoked"
            return
        who = person.identity if isinstance(person, Person) else None
        self._end(held, "revoked", who=who, note=end.note.decode(), because=said.because)

    def _refuse(self, note: bytes, why: str, **details: Any) -> None:
        """Put a note that counts for nothing on record, once in this process."""
        key = sha256(note).hexdigest()[:16]
        with self._lock:
            if key not in self._told and len(self._told) < MOST_REFUSED:
                self.on_event("grant.refused", note_digest=key, reason=why, **details)
                self._told[key] = None


def weighed(signed: Signed, people: People, settings: GrantSettings) -> Person | str:
    """Return who has signed a grant, or why it counts for nothing, whenever it is."""
    assert isinstance(signed.said, Grant)
    person = signed_by(signed, people, settings)
    if isinstance(person, str):
        return person
    return forbids(signed.said, settings) or person


def evidence(held: Held) -> dict[str, Any]:
    """Return what an auditor needs to verify a grant, for the record."""
    grant = held.grant
    return {
        **told(grant),
        "grant": held.granted.id,
        "key": f"{held.person.key.name}+{held.person.key.id.hex()}",
        "via": held.person.via,
        "note": held.signed.note.decode(),
    }


def told(grant: Grant) -> dict[str, Any]:
    """Return what a grant says, for the record."""
    return {
        "to": str(grant.to),
        "clear": list(grant.clear),
        "rules": list(grant.rules),
        "on": list(grant.on),
        "rows": grant.rows,
        "fingerprint": grant.fingerprint,
        "database": grant.database,
        "starts": grant.starts.astimezone(UTC).isoformat(),
        "until": grant.until.astimezone(UTC).isoformat(),
        "because": grant.because,
    }


def _sorted(held: Sequence[Held], name: Callable[[Held], str]) -> dict[str, tuple[Held, ...]]:
    found: dict[str, tuple[Held, ...]] = {}
    for each in held:
        if key := name(each):
            found[key] = (*found.get(key, ()), each)
    return found

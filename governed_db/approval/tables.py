"""The contract of :mod:`governed_db.approval.store` in SQL that SQLite and PostgreSQL read alike.

How a transaction is made is for the store: :class:`TableStore` says what happens in it. Of PostgreSQL only
what CockroachDB and YugabyteDB have as well: no advisory locks, no LISTEN, no SKIP LOCKED.

Every transaction can be run again, the whole of it, also where nobody knows whether it was committed: the
second time it finds its own work.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from governed_db.approval.answer import SignedAnswer
from governed_db.approval.request import MAX_REQUEST, ApprovalRequest
from governed_db.approval.rows import (
    Again,
    Transaction,
    filed,
    microseconds,
    read_row,
    requester_digest,
    storable,
)
from governed_db.approval.store import MOST_GRANTS, Filed, Notice, View
from governed_db.note import MAX_NOTE

PAGE: Final = 200
"""Requests that a list reads at once. Most have a few KB; what one reader holds stays in the tens of MB where
every one has :data:`~governed_db.approval.request.MAX_REQUEST`."""

T = TypeVar("T")


_OPEN = "r.expires > ? AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.request_id = r.id)"
# S608: constants of this module are put together.
_COUNT = "SELECT count(*) FROM requests r"
_DIGESTS = f"SELECT r.digest FROM requests r WHERE {_OPEN}"  # noqa: S608
_DROP = (
    "DELETE FROM notices WHERE due <= ? AND request_id NOT IN"  # noqa: S608
    f" (SELECT r.id FROM requests r WHERE {_OPEN})"
)
_FILED = (
    "SELECT r.id, r.digest, r.requested, r.expires, r.body, e.how, e.ended"
    " FROM requests r LEFT JOIN ends e ON e.request_id = r.id"
)
_STILL = " e.request_id IS NULL AND r.expires > ?"
_END = (
    "INSERT INTO ends (request_id, how, ended, claimant, token)"
    " SELECT id, CAST(? AS text), CAST(? AS int8), CAST(? AS text), CAST(? AS text)"
    " FROM requests WHERE id = ? AND expires > ? ON CONFLICT DO NOTHING"
)


class TableStore(ABC):
    """A :class:`~governed_db.approval.store.Store` over tables."""

    @abstractmethod
    def _look(self, work: Callable[[Transaction], T], nothing: T) -> T:
        """Run ``work``, which only reads; return ``nothing`` where there is no store yet."""

    @abstractmethod
    def _change(self, work: Callable[[Transaction], T], nothing: T) -> T:
        """Run ``work``, which writes to what is there; return ``nothing`` where there is no store yet."""

    @abstractmethod
    def _keep(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work``, which adds something, in a store that is made if there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; the next call opens them again."""

    def file(
        self, request: ApprovalRequest, *, now: datetime, notifiers: Sequence[str] = (), most: int
    ) -> ApprovalRequest | None:
        """See :meth:`governed_db.approval.store.Store.file`.

        Raises:
            ValueError: the request is too large, or another one had its id before.
        """
        body = request.dump()
        if len(body) > MAX_REQUEST:
            raise ValueError(f"a request has at most {MAX_REQUEST} bytes")
        at, expires = microseconds(now), microseconds(request.expires)
        requester, digest = requester_digest(request.requester), request.digest

        def work(tx: Transaction) -> ApprovalRequest | None:
            # Locks the requester until the end: nobody else counts what it has open in the meantime.
            tx.change(
                "INSERT INTO requesters (requester, filed) VALUES (?, ?)"
                " ON CONFLICT (requester) DO UPDATE SET filed = excluded.filed",
                requester,
                at,
            )
            for row in tx.rows(f"{_FILED} WHERE r.digest = ? AND {_STILL} ORDER BY r.requested", digest, at):
                if (kept := read_row(row)) is not None:
                    return kept.request
                tx.change(_END, "unreadable", at, "", "", row[0], at)
            tx.change(
                "UPDATE requests SET open_digest = NULL WHERE open_digest = ?"
                " AND (expires <= ? OR digest <> open_digest OR id IN (SELECT request_id FROM ends))",
                digest,
                at,
            )
            ((waiting,),) = tx.rows(f"{_COUNT} WHERE r.requester = ? AND {_OPEN}", requester, at)
            if waiting >= most:
                return None
            if not tx.change(
                "INSERT INTO requests (id, digest, open_digest, requester, requested, expires, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                request.id,
                digest,
                digest,
                requester,
                microseconds(request.requested),
                expires,
                body,
            ):
                if tx.rows("SELECT 1 FROM requests WHERE id = ?", request.id):
                    raise ValueError("a request with this id was kept before; an id is used once")
                raise Again
            for notifier in dict.fromkeys(notifiers):
                tx.change(
                    "INSERT INTO notices (request_id, notifier, due) VALUES (?, ?, ?)",
                    request.id,
                    notifier,
                    at,
                )
            return request

        return self._keep(work)

    def find(self, digest: bytes, *, now: datetime) -> Filed | None:
        """Return the open request for ``digest`` with its answers."""

        def work(tx: Transaction) -> Filed | None:
            found = tx.rows(
                f"{_FILED} WHERE r.digest = ? AND {_STILL} ORDER BY r.requested", digest, microseconds(now)
            )
            return next(iter(filed(tx, found)), None)

        return self._look(work, None)

    def get(self, request_id: str) -> Filed | None:
        """Return a request, open or not."""
        if not storable(request_id):
            return None

        def work(tx: Transaction) -> Filed | None:
            return next(iter(filed(tx, tx.rows(f"{_FILED} WHERE r.id = ?", request_id))), None)

        return self._look(work, None)

    def listed(self, *, now: datetime, every: bool = False, limit: int = 1000) -> list[Filed]:
        """Return open requests, or ``every`` one that is still kept; oldest first, ``limit`` at most."""

        def work(tx: Transaction) -> list[Filed]:
            found: list[Filed] = []
            after: tuple[Any, ...] = ()
            while len(found) < limit:
                # Page by page, so that rows nobody can read take no place in the list.
                page = tx.rows(
                    f"{_FILED} WHERE {'1 = 1' if every else _STILL}"
                    f"{' AND (r.requested, r.id) > (?, ?)' if after else ''}"
                    " ORDER BY r.requested, r.id LIMIT ?",
                    *(() if every else (microseconds(now),)),
                    *after,
                    PAGE,
                )
                found += filed(tx, page)
                if len(page) < PAGE:
                    break
                after = (page[-1][2], page[-1][0])
            return found[:limit]

        return self._look(work, [])

    def answer(self, signed: SignedAnswer, *, most: int) -> bool:
        """Keep an answer beside those that are there; the same one twice is kept once.

        Returns whether it is kept now: not where the request is unknown, or has ``most`` answers.
        """
        request_id = signed.answer.request
        if not storable(request_id):
            return False

        def work(tx: Transaction) -> bool:
            if tx.rows("SELECT 1 FROM answers WHERE request_id = ? AND id = ?", request_id, signed.id):
                return True
            # Locks the request, too: two answers are not counted as one.
            if not tx.change(
                "UPDATE requests SET answers = answers + 1 WHERE id = ? AND answers < ?", request_id, most
            ):
                return False
            ((place,),) = tx.rows("SELECT answers FROM requests WHERE id = ?", request_id)
            if not tx.change(
                "INSERT INTO answers (request_id, id, place, note) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                request_id,
                signed.id,
                place,
                signed.note,
            ):
                raise Again
            return True

        return self._change(work, False)

    def claim(self, request_id: str, *, by: str, now: datetime) -> bool:
        """Take the approval: True for exactly one of all claimants there will ever be."""
        return self._end(request_id, "used", by, now)

    def withdraw(self, request_id: str, *, now: datetime) -> bool:
        """Close a request that is open, unanswered or not; nobody can use it then."""
        return self._end(request_id, "withdrawn", "", now)

    def _end(self, request_id: str, how: str, by: str, now: datetime) -> bool:
        if not storable(request_id):
            return False
        at = microseconds(now)
        claimant = by.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        # Whoever does not hear whether it was committed looks whose end it is; nobody else has this token.
        token = secrets.token_hex(16)

        def work(tx: Transaction) -> bool:
            if tx.change(_END, how, at, claimant, token, request_id, at):
                return True
            return bool(
                tx.doubtful
                and tx.rows("SELECT 1 FROM ends WHERE request_id = ? AND token = ?", request_id, token)
            )

        return self._change(work, False)

    def view(self, *, now: datetime) -> View:
        """Return the digests of open requests, and the grants that have not expired."""

        def work(tx: Transaction) -> View:
            at = microseconds(now)
            digests = tx.rows(_DIGESTS, at)
            # What is longer is no note. Whoever can write to the store must not fill everybody's memory.
            grants = tx.rows(
                "SELECT note FROM grants WHERE expires > ? AND length(note) <= ? ORDER BY id LIMIT ?",
                at,
                MAX_NOTE,
                MOST_GRANTS + 1,
            )
            return View(
                open=frozenset(digest for (digest,) in digests if isinstance(digest, bytes)),
                grants=tuple(note for (note,) in grants if isinstance(note, bytes)),
            )

        return self._look(work, View())

    def add_grant(self, grant_id: str, note: bytes, *, expires: datetime) -> bool:
        """Keep a signed grant, or the revocation of one; False where that id is kept already."""

        def work(tx: Transaction) -> bool:
            if tx.change(
                "INSERT INTO grants (id, note, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                grant_id,
                note,
                microseconds(expires),
            ):
                return True
            return tx.doubtful and tx.rows("SELECT note FROM grants WHERE id = ?", grant_id) == [(note,)]

        return self._keep(work)

    def due(
        self, *, now: datetime, lease: float, limit: int = 10, notifiers: Sequence[str] | None = None
    ) -> list[Notice]:
        """Take up to ``limit`` notices that are due, for ``lease`` seconds, so that nobody else does.

        Notices of requests that are no longer open are dropped. ``notifiers``: for these alone; the others
        stay for processes that have them.
        """
        if notifiers is not None and not notifiers:
            return []
        names = tuple(notifiers or ())
        ours = f" AND notifier IN ({', '.join('?' * len(names))})" if names else ""
        at = microseconds(now)
        until = microseconds(now + timedelta(seconds=lease))

        def work(tx: Transaction) -> list[Notice]:
            tx.change(_DROP, at, at)
            waiting = tx.rows(
                f"SELECT request_id, notifier, attempts FROM notices WHERE due <= ?{ours}"  # noqa: S608 - question marks
                " ORDER BY due, request_id, notifier LIMIT ?",
                at,
                *names,
                limit,
            )
            # Who comes second waits for the first, and then changes nothing: it is no longer due.
            return [
                Notice(request=request_id, notifier=notifier, attempts=attempts)
                for request_id, notifier, attempts in waiting
                if tx.change(
                    "UPDATE notices SET due = ? WHERE request_id = ? AND notifier = ? AND due <= ?",
                    until,
                    request_id,
                    notifier,
                    at,
                )
            ]

        # Most looks find nothing, and need no right to write.
        found = f"SELECT 1 FROM notices WHERE due <= ?{ours} LIMIT 1"  # noqa: S608 - question marks
        if not self._look(lambda tx: bool(tx.rows(found, at, *names)), False):
            return []
        return self._change(work, [])

    def told(self, notice: Notice) -> None:
        """Forget a notice that was delivered."""
        self._change(
            lambda tx: tx.change(
                "DELETE FROM notices WHERE request_id = ? AND notifier = ?", notice.request, notice.notifier
            ),
            0,
        )

    def again(self, notice: Notice, *, at: datetime) -> None:
        """Keep a notice that could not be delivered for another attempt, and count this one."""
        attempts = notice.attempts + 1
        self._change(
            lambda tx: tx.change(
                "UPDATE notices SET due = ?, attempts = CASE WHEN attempts < ? THEN ? ELSE attempts END"
                " WHERE request_id = ? AND notifier = ?",
                microseconds(at),
                attempts,
                attempts,
                notice.request,
                notice.notifier,
            ),
            0,
        )

    def purge(self, *, before: datetime) -> int:
        """Forget requests, answers and grants that ended before; return how many requests."""
        at = microseconds(before)

        def work(tx: Transaction) -> int:
            gone = tx.change(
                "DELETE FROM requests WHERE expires < ?"
                " OR id IN (SELECT request_id FROM ends WHERE ended < ?)",
                at,
                at,
            )
            tx.change("DELETE FROM grants WHERE expires < ?", at)
            tx.change(
                "DELETE FROM requesters WHERE filed < ?"
                " AND requester NOT IN (SELECT requester FROM requests)",
                at,
            )
            return gone

        return self._change(work, 0)

"""What rows of the tables are: transactions that find them, and how they become requests again.

A row that somebody has changed so that it is no request any more is not there: nothing here raises for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol

import orjson

from governed_db.approval.answer import SignedAnswer, read_answer
from governed_db.approval.request import ApprovalRequest
from governed_db.approval.store import Filed
from governed_db.identity.model import Identity

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Transaction(Protocol):
    """Statements that count together or not at all.

    Attributes:
        doubtful: an earlier attempt at the same work may have been committed.
    """

    doubtful: bool

    def rows(self, statement: str, *values: bytes | str | int) -> list[tuple[Any, ...]]:
        """Return what ``statement`` finds; ``?`` stands for values."""
        ...

    def change(self, statement: str, *values: bytes | str | int) -> int:
        """Return how many rows ``statement`` has changed."""
        ...


class Again(Exception):  # noqa: N818 - no failure: somebody was faster, and the work has to be looked at anew
    """The transaction must be run again from its beginning."""


def microseconds(moment: datetime) -> int:
    """Return ``moment`` as the tables have it.

    Raises:
        TypeError: it has no zone.
    """
    return (moment - _EPOCH) // _MICROSECOND


def requester_digest(who: Identity) -> bytes:
    """Return what stands for ``who`` in an index: it fits every encoding, whatever the subject."""
    return sha256(orjson.dumps([who.kind.value, who.issuer, who.subject])).digest()


def storable(text: str) -> bool:
    """Whether ``text``, which may come from anybody, can stand in a column at all."""
    return "\0" not in text and text.isprintable()


def filed(tx: Transaction, rows: Sequence[tuple[Any, ...]]) -> list[Filed]:
    """Return those of ``rows`` that can be read, with their answers."""
    ids = [row[0] for row in rows]
    if not ids:
        return []
    marks = ", ".join("?" * len(ids))
    notes: dict[str, list[SignedAnswer]] = {}
    for request_id, note in tx.rows(
        f"SELECT request_id, note FROM answers WHERE request_id IN ({marks}) ORDER BY place, id",  # noqa: S608 - question marks
        *ids,
    ):
        try:
            notes.setdefault(request_id, []).append(read_answer(note))
        except (ValueError, TypeError):
            continue  # somebody wrote to the table; no answer is lost that anybody gave
    return [one for row in rows if (one := read_row(row, tuple(notes.get(row[0], ())))) is not None]


def read_row(row: tuple[Any, ...], answers: tuple[SignedAnswer, ...] = ()) -> Filed | None:
    """Return a row as a request; ``None`` where somebody has changed it so that it is none any more."""
    request_id, digest, _, expires, body, how, ended = row
    try:
        request = ApprovalRequest.load(body)
        end = None if how is None else _EPOCH + ended * _MICROSECOND
    except (ValueError, TypeError, OverflowError):
        return None
    # What is looked up by the columns must be what people are shown.
    if (request.id, request.digest, microseconds(request.expires)) != (request_id, digest, expires):
        return None
    return Filed(
        request=request,
        answers=answers,
        used=end if how == "used" else None,
        withdrawn=end if how != "used" else None,
    )

"""What stays the same of a statement's records from run to run, encoded once.

``who``, ``what`` and ``where`` of one text, sent by one caller over one connection, are the bulk of an
intent and do not change. A :class:`Template` holds their bytes; a run adds an id, the time, the decision
and its place in transaction and trace, by joining bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governed_db.audit import record
from governed_db.audit.record import RecordKind, dump, instant, new_id
from governed_db.policy.model import Decision

_INTENT = b'{"v":%d,"kind":"intent",' % record.VERSION
_OUTCOME = RecordKind.OUTCOME.value
_REFUSAL = b'{"v":%d,"kind":"refusal",' % record.VERSION


class Template:
    """The unchanging part of the records of one statement by one caller on one connection.

    Attributes:
        who, what, where: the sections, as the functions of :mod:`governed_db.audit.record` make them.
    """

    __slots__ = ("_body", "_last", "fixed", "what", "where", "who")

    def __init__(
        self,
        *,
        who: Mapping[str, Any],
        what: Mapping[str, Any] | None,
        where: Mapping[str, Any],
    ) -> None:
        self.who = who
        self.what = what
        self.where = where
        sections = {"who": who} if what is None else {"who": who, "what": what}
        # Open at the end: inside of "where", the only section that grows with each run.
        place = dump(where)[:-1]
        self._body = dump(sections)[1:-1] + b',"where":' + place
        self._last: tuple[object, bytes] = (None, b"")
        # The trail's: who made it, and what is on record of the values in the text.
        self.fixed: tuple[object, list[str | None]] | None = None

    def intent(
        self,
        decision: Decision | None,
        *,
        approval: str = "",
        transaction: str = "",
        trace: tuple[int, int] | None = None,
        at: int | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> tuple[str, bytes]:
        """Return id and bytes of the record that precedes one run.

        Args:
            decision: what the policy said; ``None`` where nobody was asked.
            approval: the id of the approval that the decision rests on.
            transaction: our own id of the transaction it runs in.
            trace: the caller's trace id and span id; (0, 0) where tracing is on and the caller has no
                span; ``None`` where it is off.
            at: nanoseconds since the Unix epoch; by default now.
            values: what is on record of its values (:mod:`governed_db.audit.values`).
        """
        key = new_id()
        said = b"" if decision is None else self._may(decision, approval)
        place = self._grow(key, transaction, trace)
        tail = f'{place}}}{_valued(values)},"at":"{instant(at)}","id":"{key}"}}'
        return key, b"".join((_INTENT, said, self._body, tail.encode()))

    def refusal(
        self,
        decision: Decision,
        error: str,
        *,
        approval: str = "",
        transaction: str = "",
        trace: tuple[int, int] | None = None,
        at: int | None = None,
        batch_size: int = 1,
        values: Mapping[str, Any] | None = None,
    ) -> tuple[str, bytes]:
        """Return id and bytes of the only record of a statement that is not sent.

        ``error`` is the class of the error that the caller gets; ``approval`` names the request it can
        have answered; ``batch_size`` is the sets of parameters it came with. The rest is as for
        :meth:`intent`.
        """
        key = new_id()
        said: dict[str, Any] = {"status": "refused", "error": error}
        if batch_size != 1:
            said["batch_size"] = batch_size
        happened = dump(said).decode()
        place = self._grow(key, transaction, trace)
        tail = f'{place}}}{_valued(values)},"happened":{happened},"at":"{instant(at)}","id":"{key}"}}'
        return key, b"".join((_REFUSAL, self._may(decision, approval), self._body, tail.encode()))

    def _grow(self, key: str, transaction: str, trace: tuple[int, int] | None) -> str:
        more = f',"transaction":{dump(transaction).decode()}' if transaction else ""
        if trace is not None:
            more += f',"span_id":"{record.span_id(key):016x}"'
            if trace[0]:
                more += f',"trace_id":"{trace[0]:032x}","parent_span_id":"{trace[1]:016x}"'
        # The first field of an object has no comma before it.
        return more if self.where else more[1:]

    def _may(self, decision: Decision, approval: str) -> bytes:
        # Decisions are made anew on each call and nearly always say the same. Everything that is
        # written is compared; comparing whole decisions would compare statements as well.
        said = (
            decision.verdict,
            decision.rule,
            decision.policy,
            decision.reason,
            decision.row_cap,
            decision.approvers,
            decision.shadowed,
            decision.masked,
            decision.budget.id,
            decision.estimate,
            decision.grants,
            approval,
        )
        known, encoded = self._last
        if known != said:
            encoded = b'"may":' + dump(record.may(decision, approval)) + b","
            self._last = (said, encoded)
        return encoded


def _valued(values: Mapping[str, Any] | None) -> str:
    return "" if values is None else f',"values":{dump(values).decode()}'


def outcome(of: str, happened: Mapping[str, Any], *, at: int | None = None) -> bytes:
    """Return the record that says what became of the intent ``of``.

    ``happened`` is made by :func:`governed_db.audit.record.happened`; ``at`` is when the statement ended,
    in nanoseconds since the Unix epoch, by default now.
    """
    return dump(
        {
            "v": record.VERSION,
            "kind": _OUTCOME,
            "of": of,
            "happened": happened,
            "at": instant(at),
            "id": new_id(),
        }
    )

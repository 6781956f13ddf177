"""The least policy that would have allowed what ran, and how often it would refuse what is still to come.

What ran is what was sent and came to its end; what ran with somebody's approval is proposed to need it again.
What was refused teaches nothing.

How well the proposal holds is measured on statements it was not made from, in two ways:

- *by text*: a share of the distinct texts is held back, drawn by their fingerprints;
- *by time*: the last share of the statements is held back.

A held-back statement that the policy made from the others would not let run is a false refusal.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from attrs import frozen

from governed_db.policy.decide import Policy
from governed_db.policy.grants import grants
from governed_db.policy.load import load_bytes
from governed_db.policy.needs import Needs, gather, ran, text_of
from governed_db.policy.propose import propose
from governed_db.policy.recorded import Shelf
from governed_db.policy.simulate import simulate

HOLD_BACK = 0.2
"""The share that is held back by default: a fifth is what is commonly left out to test on."""

Z = 1.959964
"""The standard normal deviate of a two-sided interval of 95 %."""

Entries = Iterable[Mapping[str, Any]]


@frozen(kw_only=True)
class Evaluation:
    """How a policy made from one part did on the other.

    Attributes:
        split: "text" or "time".
        statements, texts: held back, and how many distinct texts they are.
        refused, refused_texts: those that would not run.
        low, high: the 95 % confidence interval (Wilson) of the share of texts that would not run. It is
            over texts, since the repetitions of one say nothing new.
    """

    split: str
    statements: int
    texts: int
    refused: int
    refused_texts: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """The share of held-back texts that would not run; 0 where nothing was held back."""
        return self.refused_texts / self.texts if self.texts else 0.0


@frozen(kw_only=True)
class Proposal:
    """A policy that was learned.

    Attributes:
        text: the policy file, TOML.
        policy: the same, loaded.
        grants: SQL for the database's own privileges.
        cautions: what in it could do harm, each with its rule.
        statements, texts, callers: what it was made from.
        text_only, not_replayed: as in :class:`~governed_db.policy.needs.Needs`.
        evaluations: how it would do on what is still to come.
    """

    text: str
    policy: Policy
    grants: str
    cautions: tuple[str, ...]
    statements: int
    texts: int
    callers: tuple[str, ...]
    text_only: int
    not_replayed: Mapping[str, int]
    evaluations: tuple[Evaluation, ...]


def learn(
    trail: Callable[[], Entries],
    shelf: Shelf,
    *,
    subject: str = "*",
    hold_back: float = HOLD_BACK,
    base: Policy | None = None,
) -> Proposal:
    """Propose a policy.

    Args:
        trail: starts reading the trail anew, as :func:`governed_db.audit.statements` does; it is read
            several times rather than held in memory.
        shelf: the catalogs of the trail.
        subject: a pattern for ``kind:subject`` or the subject of the callers to learn from.
        hold_back: the share to evaluate on, from 0 (no evaluation) to below 1.
        base: the policy in force, for what is no rule: the default identity, the sensitive columns.

    Raises:
        ValueError: ``hold_back`` is out of range, or nothing in the trail ran.
    """
    if not 0 <= hold_back < 1:
        raise ValueError("the share to hold back is from 0 to below 1")
    needs = gather(ran(trail(), subject), shelf, base)
    if not needs.by_caller:
        raise ValueError("the trail holds no statement that ran and can be learned from")
    text, cautions = propose(needs, base)
    evaluations: tuple[Evaluation, ...] = ()
    if hold_back:
        cut = needs.statements - round(needs.statements * hold_back)

        def by_text(entries: Entries, back: bool) -> Iterator[Mapping[str, Any]]:
            return (entry for entry in entries if _drawn(text_of(entry), hold_back) is back)

        def by_time(entries: Entries, back: bool) -> Iterator[Mapping[str, Any]]:
            return islice(iter(entries), cut if back else 0, None if back else cut)

        evaluations = tuple(
            _evaluate(split, partial(_part, part, trail, subject), shelf, base)
            for split, part in (("text", by_text), ("time", by_time))
        )
    return Proposal(
        text=text,
        policy=_load(text),
        grants=grants(needs.entries, shelf),
        cautions=tuple(cautions),
        statements=needs.statements,
        texts=len(needs.texts),
        callers=tuple(str(caller) for caller in sorted(needs.by_caller)),
        text_only=needs.text_only,
        not_replayed=needs.not_replayed,
        evaluations=evaluations,
    )


def _part(
    split: Callable[[Entries, bool], Entries], trail: Callable[[], Entries], subject: str, back: bool
) -> Entries:
    return split(ran(trail(), subject), back)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (E. B. Wilson, 1927); (0, 1) where nothing was counted."""
    if of == 0:
        return 0.0, 1.0
    share, square = hits / of, Z * Z
    centre = (share + square / (2 * of)) / (1 + square / of)
    half = Z * math.sqrt(share * (1 - share) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, centre - half), min(1.0, centre + half)


def _load(text: str) -> Policy:
    return load_bytes(text.encode(), "the proposed policy")


def _drawn(text: str, share: float) -> bool:
    """Return whether ``text`` is held back: always the same answer for the same text and share."""
    drawn = int.from_bytes(hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:8])
    return drawn < share * 2**64


def _evaluate(split: str, part: Callable[[bool], Entries], shelf: Shelf, base: Policy | None) -> Evaluation:
    made_from: Needs = gather(part(False), shelf, base)
    policy = _load(propose(made_from, base)[0])
    texts: set[str] = set()

    def back() -> Iterator[Mapping[str, Any]]:
        for entry in part(True):
            texts.add(text_of(entry))
            yield entry

    found = simulate(back(), policy, shelf, then=[] if base is None else [base])
    refused = [change for change in found.changes if change.becomes != "allow"]
    refused_texts = len({change.fingerprint or change.text for change in refused})
    low, high = wilson(refused_texts, len(texts))
    return Evaluation(
        split=split,
        statements=found.replayed,
        texts=len(texts),
        refused=sum(change.count for change in refused),
        refused_texts=refused_texts,
        low=low,
        high=high,
    )

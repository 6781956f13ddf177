"""Refusing to judge on a connection whose settings would make the judgement worthless.

What is in force is read with the session (:mod:`~.lookups`); :mod:`governed_db.catalog.settings` says which
values are dangerous and why. A value that nobody's statements can be judged under is refused when the
connection is made; every value is checked again whenever the session has been read anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from governed_db.errors import GovernanceError
from governed_db.statement import Unreadable

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat
    from governed_db.identity import Identity

SNAPSHOT_RULE = "session.snapshot"
"""The rule a refusal names where the catalog has moved on since a transaction's snapshot was taken."""


def check_connection(seat: Seat) -> None:
    """Refuse a connection on which nobody's statements can be judged.

    Raises:
        GovernanceError: a setting in force is dangerous; the message names it, its source and the remedy.
    """
    for danger in seat.in_force.dangers:
        if danger.everybody:
            remedy = danger.remedy
            raise GovernanceError(
                f"{danger.reason} [rule {danger.rule}]. {remedy[:1].upper()}{remedy[1:]}.",
                rule=danger.rule,
                remedy=remedy,
            )


def check(seat: Seat, caller: Identity) -> None:
    """Refuse to judge a statement of ``caller`` under the settings that are in force.

    Raises:
        Unreadable: under them the statement, or the catalog, means something else than it seems to.
    """
    found = seat.in_force
    if not found.dangers and not found.moved:
        return
    governor = seat.governor
    judged = governor.masks(caller) or governor.caps(caller)
    for danger in found.dangers:
        if danger.everybody or judged:
            raise Unreadable(danger.rule, danger.reason, danger.remedy)
    if found.moved and judged:
        raise Unreadable(
            SNAPSHOT_RULE,
            f"{found.moved} by another session after this transaction's snapshot was taken: names mean"
            " something else by now than this transaction can see",
            "roll the transaction back and begin it again",
            retryable=True,
        )

"""What a verification finds, as values."""

from __future__ import annotations

from enum import StrEnum

from attrs import define, field, frozen

MAX_FINDINGS = 1000
"""Findings that are kept; more are counted. Whoever changed a million records is found out by the first
thousand."""


class Kind(StrEnum):
    """What was done to the trail."""

    EDITED = "edited"
    """A record, or bytes that the log knows, are not what they were."""
    DELETED = "deleted"
    """Records that the log has are nowhere, and no retirement says why."""
    INSERTED = "inserted"
    """Records stand where the log knows that there were none."""
    REORDERED = "reordered"
    """Records are there, and not in the places they had."""
    FORGED = "forged"
    """The log or a checkpoint is not what the key signed."""
    STRIPPED = "stripped"
    """Signatures, or the checkpoints themselves, were taken away."""
    KEY = "key replaced"
    """The log is signed by a key that is not the one given, and that this one never announced."""
    SWAPPED = "swapped"
    """The log is another one than the key or the witness knows."""
    TRUNCATED = "truncated"
    """The log ends before what it has signed."""
    ROLLED_BACK = "rolled back"
    """The log ends before a checkpoint that was kept outside: it was put back to an earlier state."""
    FORKED = "forked"
    """A checkpoint that was kept outside is of the same log with other records."""
    STAMP = "time stamp"
    """A time stamp is not of the checkpoint that it belongs to, or not of the authority given."""


@frozen
class Finding:
    """One thing that is wrong. ``journal``, ``sequence``, ``record`` (an id) and ``segment`` say where."""

    kind: Kind
    text: str
    journal: str = ""
    sequence: int | None = None
    record: str = ""
    segment: str = ""


@define
class Report:
    """The answer of a verification.

    Attributes:
        origin: the log's name.
        size: leaves that a checkpoint proves; records: how many of them are records.
        checkpoints: the log's own that hold; outside: those that were kept outside and hold.
        newest_outside: the size of the largest of them, 0 if there is none.
        behind: records that no checkpoint is over yet, and bytes behind it that are no records.
        retired: records whose segments were taken away under retention, as the log itself says.
        lost: records that were missing, and stretches that were damaged, when the log came by. Not
            tampering that can be told from a power loss, and so no finding.
        findings, more: what is wrong; how many findings more there are.
        remarks: what a reader should know besides.
        signers: the verifier keys that the log names as its own, oldest first.
    """

    origin: str = ""
    size: int = 0
    records: int = 0
    checkpoints: int = 0
    outside: int = 0
    newest_outside: int = 0
    stamps: list[str] = field(factory=list)
    behind: int = 0
    behind_damaged: int = 0
    retired: int = 0
    lost_records: int = 0
    lost_places: int = 0
    findings: list[Finding] = field(factory=list)
    more: int = 0
    remarks: list[str] = field(factory=list)
    signers: list[str] = field(factory=list)

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong and something is proven."""
        return not self.findings and self.checkpoints + self.outside > 0

    def found(self, finding: Finding) -> None:
        """Add a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.more += 1

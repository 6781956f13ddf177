"""What checking the trail's proof says, in words for a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from governed_db.audit.verdict import Report

SHOWN = 50
"""Findings that are told one by one; the verifier's own command has all of them."""


@frozen(kw_only=True)
class Verification:
    """What was proven, in words.

    ``state``: "good" where all of it was, under a key that was given and against a checkpoint kept outside;
    "bad" where something was changed; else "wait".
    """

    state: Literal["good", "bad", "wait"]
    headline: str
    lines: tuple[str, ...]


def unverified(because: str) -> Verification:
    """Return the word for a trail that nobody checked."""
    return Verification(
        state="wait",
        headline=f"not verified: {because}",
        lines=(
            f"This report was made without checking the trail's proof: {because}.",
            "Its numbers are what the files say. Whoever can write to the journal's folder could have changed"
            " them.",
        ),
    )


def verified(report: Report, *, own_key: bool) -> Verification:
    """Return what the verifier found.

    ``own_key``: nobody gave a key, so the one of the machine itself was taken.
    """
    count = len(report.findings) + report.more
    lines = tuple(_lines(report, own_key))
    if count:
        kinds = Counter(finding.kind.value for finding in report.findings)
        said = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
        return Verification(state="bad", headline=f"FAILED: {count:,} findings ({said})", lines=lines)
    if not report.valid:
        return Verification(
            state="wait", headline="not verified: no checkpoint proves anything yet", lines=lines
        )
    headline = f"valid to record {report.records:,}"
    if report.behind:
        headline += f"; {report.behind:,} later records are not proven yet"
    if not report.newest_outside:
        headline += "; nothing here proves that it is the newest"
    whole = bool(report.newest_outside) and not report.behind and not own_key
    return Verification(state="good" if whole else "wait", headline=headline, lines=lines)


def _lines(report: Report, own_key: bool) -> Iterator[str]:
    yield (
        f"Log {report.origin or '(unnamed)'}: {report.records:,} records under {report.checkpoints:,} signed"
        f" checkpoints of its own and {report.outside:,} that were kept outside."
    )
    if own_key:
        yield (
            "The public key was this machine's own. That proves nothing against somebody who owns the"
            " machine: give a key that was kept elsewhere with --key."
        )
    for finding in report.findings[:SHOWN]:
        place = ", ".join(
            f"{name} {value}"
            for name, value in (
                ("journal", finding.journal),
                ("sequence", finding.sequence),
                ("record", finding.record),
            )
            if value
        )
        yield f"{finding.kind.value.upper()}: {finding.text}" + (f" ({place})" if place else "")
    hidden = len(report.findings) + report.more - SHOWN
    if hidden > 0:
        yield f"And {hidden:,} more findings."
    if report.valid and not report.newest_outside:
        yield (
            "A log that was put back to an earlier state verifies as well. Only a checkpoint that was kept"
            " outside shows that records are missing at the end: give one with --witness or --checkpoint."
        )
    if report.behind:
        yield f"{report.behind:,} records are behind the last checkpoint: nothing proves them yet."
    if report.retired:
        yield f"{report.retired:,} records were retired under retention, as the log itself says."
    yield from report.stamps
    yield from report.remarks

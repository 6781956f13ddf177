"""The report for an auditor: one page of HTML that needs nothing else, on a screen or on paper."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from attrs import frozen

from governed_db.audit import charts, view
from governed_db.audit.html import Markup, joined, tag
from governed_db.audit.page_style import STYLE
from governed_db.audit.page_tables import (
    access,
    answers,
    callers,
    changes,
    damages,
    errors,
    grants,
    incidents,
    journals,
    latest_refusals,
    looks,
    orphans,
    policies,
    rules,
    unanswered,
)
from governed_db.audit.proof import Verification
from governed_db.audit.summary import Summary, uncovered

TOP = 12
"""Callers in the chart."""


@frozen(kw_only=True)
class About:
    """What a report is of.

    Attributes:
        folder: the journal's.
        selected: what was selected, in words; empty for everything.
        made: when the report was made.
        version: governed_db's.
        verification: what checking the trail's proof said.
    """

    folder: Path
    selected: Sequence[str] = ()
    made: datetime
    version: str
    verification: Verification


def page(summary: Summary, about: About) -> Iterator[str]:
    """Yield the page in pieces. It loads nothing, runs nothing, and is told to let nothing run."""
    style_hash = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="referrer" content="no-referrer">\n<meta name="robots" content="noindex">\n'
    yield tag("title", f"Audit report {_day(summary.first)} to {_day(summary.last)}") + "\n"
    yield f"<style>{STYLE}</style>\n</head>\n<body>\n"
    sections = list(_sections(summary, about))
    yield _header(summary, about, [(key, title) for key, title, _ in sections]) + "\n<main>\n"
    for key, title, content in sections:
        yield tag("section", tag("h2", title), content, id=key) + "\n"
    yield "</main>\n" + _footer(about) + "\n</body>\n</html>\n"


def _header(summary: Summary, about: About, sections: Sequence[tuple[str, str]]) -> Markup:
    facts = [
        (
            "Period",
            f"{_moment(summary.first)} to {_moment(summary.last)} (UTC)" if summary.first else "no records",
        ),
        ("Selection", ", ".join(about.selected) or "everything in the journal"),
        ("Journal", str(about.folder)),
        ("Verification", about.verification.headline),
    ]
    links = [tag("li", tag("a", title, href=f"#{key}")) for key, title in sections]
    return tag(
        "header",
        tag("h1", "Audit report"),
        tag("p", "What was asked of the database, by whom, and what became of it.", class_="lede"),
        tag(
            "dl",
            *(part for name, said in facts for part in (tag("dt", name), tag("dd", said))),
            class_="facts",
        ),
        tag("nav", tag("ul", *links), aria_label="Sections"),
    )


def _sections(summary: Summary, about: About) -> Iterator[tuple[str, str, Markup]]:
    yield "findings", "At a glance", joined(_cards(summary), _findings(summary, about))
    drawn, size = charts.over_time(summary.hours.rows)
    if drawn:
        said = f"Each bar is {size}. Below, refused statements have a scale of their own."
        yield (
            "time",
            "Statements over time",
            joined(charts.legend(summary.verdicts), drawn, tag("p", said, class_="note")),
        )
    ordered = sorted(summary.callers.rows.items(), key=lambda row: (-row[1].verdicts.total(), row[0]))
    top = [(name, caller.verdicts) for name, caller in ordered[:TOP]]
    yield (
        "callers",
        "Callers",
        joined(charts.legend(summary.verdicts), charts.by_name(top), callers(summary)),
    )
    yield "access", "Who touched what", access(summary)
    yield (
        "refusals",
        "Refusals",
        joined(rules(summary), tag("h3", "One by one, the latest first"), latest_refusals(summary))
        if summary.refused
        else tag("p", "No statement was refused."),
    )
    yield "approvals", "Approvals", joined(answers(summary), unanswered(summary), grants(summary))
    yield "policies", "Policies in force", joined(policies(summary), tag("h3", "Changes"), changes(summary))
    yield "errors", "Errors and cancellations", errors(summary)
    yield (
        "coverage",
        "Coverage",
        joined(
            tag("p", *_coverage(summary, about)),
            tag("h3", "Journals"),
            tag("p", "Each process that sends statements writes a journal of its own.", class_="note"),
            journals(summary),
            tag("h3", "Records that are missing or cannot be read"),
            damages(summary),
            tag("h3", "What the journals say of themselves"),
            incidents(summary),
            tag("h3", "Who read the trail"),
            looks(summary),
            tag("h3", "Statements whose end is not on record"),
            orphans(summary),
        ),
    )
    yield "verification", "Verification", joined(*(tag("p", line) for line in about.verification.lines))
    yield "reading", "How to read this report", _explained()


def _cards(summary: Summary) -> Markup:
    shown = [
        (f"{summary.statements:,}", "statements"),
        (_count(len(summary.callers.rows), summary.callers.beyond), "callers"),
        (_count(len({r for _, r in summary.access.rows}), summary.access.beyond), "tables and views"),
        (f"{summary.verdicts['block']:,}", "blocked"),
        (f"{summary.verdicts['needs_approval']:,}", "stopped for approval"),
        (f"{summary.verdicts['approved']:,}", "ran approved"),
        (f"{summary.statuses['unknown']:,}", "without an outcome"),
    ]
    return tag(
        "ul", *(tag("li", tag("b", number), tag("span", what)) for number, what in shown), class_="cards"
    )


def _findings(summary: Summary, about: About) -> Markup:
    found: list[tuple[str, str, str]] = [
        (about.verification.state, "Verification.", about.verification.headline)
    ]
    if summary.lost or summary.missing or summary.damaged:
        found.append(("bad", "The trail is not whole.", _holes(summary)))
    else:
        found.append(("good", "No holes.", "No record is known to be missing, damaged or lost."))
    if tampered := summary.events["journal.tampered"]:
        found.append(
            (
                "bad",
                "Files were touched.",
                f"{_many(tampered, 'time')} somebody else changed a file of the journal.",
            )
        )
    if orphans_ := summary.statuses["unknown"]:
        found.append(
            (
                "wait",
                "Ends unknown.",
                f"{_many(orphans_, 'statement')} whose end is not on record: the process died, or lost its"
                " connection.",
            )
        )
    if observed := summary.verdicts["observed"]:
        found.append(
            (
                "wait",
                "Observed only.",
                f"{_many(observed, 'statement')} ran although the policy would not have let them.",
            )
        )
    plain = {c for pair in summary.access.rows.values() for c in uncovered(summary, pair)}
    if plain:
        named = _list(sorted(map(view.short, plain)), 6)
        said = f"{named}: masked for some callers, read as they are by others."
        found.append(("wait", "Sensitive columns unmasked.", said))
    if summary.not_understood:
        found.append(
            (
                "wait",
                "Not understood.",
                f"{_many(summary.not_understood, 'statement')} could not be understood in full.",
            )
        )
    if summary.verdicts["block"]:
        top = sorted(summary.refusals.rows.items(), key=lambda r: -r[1].count)
        blocked = [rule or "(no rule)" for (rule, said, _), _ in top if said != "needs_approval"]
        found.append(
            (
                "info",
                "Blocked.",
                f"{_many(summary.verdicts['block'], 'statement')}, most by the rules"
                f" {_list(list(dict.fromkeys(blocked)), 3)}.",
            )
        )
    return tag(
        "ul",
        *(tag("li", tag("b", title), said, class_=state) for state, title, said in found),
        class_="findings",
    )


def _holes(summary: Summary) -> str:
    said = []
    if summary.missing:
        said.append(f"{_many(summary.missing, 'record')} missing between others")
    if summary.damaged:
        said.append(f"{_many(summary.damaged, 'damaged place')} in files")
    if summary.lost:
        said.append(f"{_many(summary.lost, 'record')} could not be stored when due")
    return "; ".join(said) + "."


def _coverage(summary: Summary, about: About) -> Iterable[str]:
    seen = sum(bool(writer.first) for writer in summary.journals.rows.values())
    count = _count(seen, summary.journals.beyond)
    yield f"{count} journal{'' if count == '1' else 's'}. "
    if summary.lost or summary.missing or summary.damaged:
        yield _holes(summary)
    else:
        yield "Within each, records are numbered without gaps, and none is missing."
    if about.selected:
        yield (
            " Statements are those that were selected; journals, holes, approvals and policies are those of"
            " the whole time."
        )
    yield (
        " What never passed through governed_db (another driver, psql, a process that was not set up for it)"
        " is in no journal: compare with the server's own log or privileges."
    )


def _explained() -> Markup:
    terms = [
        (
            "Caller",
            "Who the application said was calling. “Verified” in a record says whether anybody checked that.",
        ),
        ("For", "The people on whose behalf an agent or a service acted, as the application said."),
        (
            "Allowed, blocked",
            "What the policy decided before the statement was sent. What is blocked never ran, or was"
            " measured, found too large, and rolled back.",
        ),
        (
            "Needed approval",
            "It was not sent; people were asked. When they agreed it ran as a statement of its own,"
            " “approved by people”.",
        ),
        (
            "Masked",
            "Values of the column were replaced before the caller got them, by the strategy that is named.",
        ),
        (
            "Not here",
            "Values: no record holds a literal, a parameter or a row, and this page has none either.",
        ),
    ]
    return tag(
        "dl", *(part for name, said in terms for part in (tag("dt", name), tag("dd", said))), class_="facts"
    )


def _footer(about: About) -> Markup:
    made = about.made.strftime("%Y-%m-%d %H:%M:%S")
    return tag(
        "footer", f"Made by governed_db {about.version} on {made} UTC, from the files of the journal alone."
    )


def _count(number: int, beyond: int) -> str:
    return f"{number:,}{'+' if beyond else ''}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _list(names: Sequence[str], most: int) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _moment(stamp: str) -> str:
    return f"{stamp[:10]} {stamp[11:19]}"


def _day(stamp: str) -> str:
    return stamp[:10] or "(empty)"

"""Approval requests as people read them, and as programs do. Whatever is shown is fit for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from governed_db.cli.common import clean

if TYPE_CHECKING:
    from governed_db.approval import ApprovalRequest
    from governed_db.approval.effect import ChangedRow, Effect
    from governed_db.approval.people import Person
    from governed_db.approval.standing import Standing
    from governed_db.approval.store import Filed
    from governed_db.identity import Identity

Section = tuple[str, list[str]]

WAITS: Final = "waits"
AGREED: Final = "approved"
DENIED: Final = "denied"


def state(filed: Filed, standing: Standing, now: datetime) -> str:
    """Return in a word how a request stands."""
    if over := filed.over(now):
        return over
    if standing.denied is not None:
        return DENIED
    return AGREED if standing.agreed else WAITS


def progress(word: str, standing: Standing) -> str:
    """Return the state with how many of several people have agreed."""
    needed = standing.request.needed
    if word == WAITS and needed > 1:
        return f"{word}, {len(standing.granted)} of {needed}"
    return word


def facts(filed: Filed, standing: Standing, word: str) -> Iterator[tuple[str, str]]:
    """Yield what a person needs first to judge a request, by label; what is empty is not known, or does not
    apply. What would run comes next (:func:`texts`), then the rest (:func:`details`)."""
    request, asked = filed.request, filed.request.question
    yield "request", f"{request.id}, {progress(word, standing)}"
    yield "asked by", caller(request.requester)
    yield "purpose", f"in its own words: {request.requester.purpose}" if request.requester.purpose else ""
    yield "wants to", asked.summary
    yield "because", f"{asked.reason.rstrip('.')} [rule {asked.rule}]"
    yield "rows", rows(request)


def details(filed: Filed, standing: Standing, word: str, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the rest, likewise: what it touches and where, who can answer, what an answer is about, and who
    has answered."""
    request, asked = filed.request, filed.request.question
    yield "touches", ", ".join(asked.relations)
    yield "columns", ", ".join(asked.columns)
    yield "cost", "" if request.cost is None else f"{request.cost:,.0f}, as PostgreSQL's planner expects"
    yield "database", f"{asked.database} at {asked.server}" if asked.server else asked.database
    yield "runs as", asked.role
    yield "path", ", ".join(asked.search_path)
    yield "policy", asked.policy
    yield "session", request.requester.session or ""
    yield "tool call", request.requester.tool_call or ""
    yield "asked at", when(request.requested)
    yield "answer by", f"{when(request.expires)} ({left(request.expires, now)})" if word == WAITS else ""
    yield "approvers", who_can(request)
    yield "bound to", bound(request)
    yield "holds", f"{duration(asked.valid_seconds)} after it was signed, once"
    for person, signed in zip(standing.granted, standing.answers, strict=False):
        reason = f": {signed.answer.reason}" if signed.answer.reason else ""
        until = f"{when(signed.answer.answered)}, until {when(signed.answer.expires)}"
        yield "agreed", f"{signer(person)}, {until}{reason}"
    if standing.denied is not None:
        because = f": {standing.because}" if standing.because else ""
        yield "denied", f"{signer(standing.denied)}{because}"
    for signed, why in standing.ignored:
        yield "ignored", f"an answer in the name of {signed.answer.by} does not count: {why}"
    if filed.used is not None:
        yield "used", when(filed.used)
    if filed.withdrawn is not None:
        yield "withdrawn", when(filed.withdrawn)


def texts(request: ApprovalRequest) -> Iterator[Section]:
    """Yield the statement, its values, and the rows it would change, each as lines under a title."""
    asked = request.question
    yield "statement", [clean(line) for line in asked.sql.split("\n")] if asked.sql else []
    yield "values", [in_line(value) for value in asked.values]
    if request.effect is not None:
        yield "rows", list(effect(request.effect))


def effect(found: Effect) -> Iterator[str]:
    """Yield a table of the rows: their keys, and of each value that is set, what it was and would be."""
    cells: list[tuple[str, ...]] = [("row", "column", "before", "after")]
    for row in found.shown:
        key = ", ".join(f"{in_line(n)} = {value(v)}" for n, v in zip(found.key, row.key, strict=False))
        for place, (name, before, after) in enumerate(changes(found.columns, row)):
            cells.append((key if not place else "", in_line(name), before, after))
    yield f"{in_line(found.relation)}: {found.rows:,} row{'s' * (found.rows != 1)}"
    yield from table(cells)
    more = found.rows - len(found.shown)
    if more > 0:
        yield f"and {more:,} more"


def changes(columns: tuple[str, ...], row: ChangedRow) -> Iterator[tuple[str, str, str]]:
    """Yield column, value before and value after.

    Where both look alike as well: two masked values can differ, and each row is one that people agree to.
    """
    for place, name in enumerate(columns):
        before = value(row.before[place]) if place < len(row.before) else ""
        after = value(row.after[place]) if place < len(row.after) else ""
        yield name, before, after


def value(text: str | None) -> str:
    """Return a value so that no text can be taken for a NULL, or for nothing."""
    if text is None:
        return "NULL"
    plain = text and text == text.strip() and text != "NULL" and not text.startswith("'")
    return in_line(text) if plain else in_line(f"'{text}'")


def table(cells: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield ``cells`` as lines, each column as wide as its widest cell."""
    from governed_db.cli.trail_lines import cells_of

    found = list(cells)
    widths = [max(map(cells_of, column)) for column in zip(*found, strict=True)]
    for row in found:
        padded = (c + " " * (w - cells_of(c)) for c, w in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def brief(filed: Filed, standing: Standing, word: str, now: datetime) -> tuple[str, ...]:
    """Return a request in one line of cells: id, state, time left, summary, rows, rule, who asks."""
    request = filed.request
    ends = request.expires
    if word in (AGREED, DENIED) and standing.expires is not None:
        ends = standing.expires
    return (
        in_line(request.id),
        progress(word, standing),
        left(ends, now) if word in (WAITS, AGREED, DENIED) else when(request.requested),
        in_line(request.summary),
        counted(request),
        in_line(request.rule),
        in_line(str(request.requester)),
    )


HEADINGS: Final = ("request", "state", "time", "wants to", "rows", "rule", "asked by")
"""Of what :func:`brief` returns."""


def rows(request: ApprovalRequest) -> str:
    """Return in words how many rows it would touch, and may."""
    if request.rows is None:
        found = "no SELECT can tell how many"
    elif request.rows_more:
        found = f"more than {request.rows:,}"
    else:
        found = f"{request.rows:,} counted by a SELECT; nothing was run"
    limit = "however many" if request.ceiling is None else f"rolled back beyond {request.ceiling:,}"
    beside = ", not counting what triggers, rules, functions and foreign keys write beside"
    uncounted = request.question.beside and request.effect is None
    return f"{found}; when it runs, {limit}{beside if uncounted else ''}"


def counted(request: ApprovalRequest) -> str:
    """Return the same in a cell."""
    if request.rows is None:
        return "?"
    return f">{request.rows:,}" if request.rows_more else f"{request.rows:,}"


def who_can(request: ApprovalRequest) -> str:
    """Return who has to agree."""
    whose = f"of {' or '.join(request.approvers)}" if request.approvers else "whom the policy names"
    people = "one person" if request.needed == 1 else f"{request.needed} different people"
    return f"{people} {whose}, never the requester or whom it acts for"


def bound(request: ApprovalRequest) -> str:
    """Return what an answer is about."""
    if request.question.binds == "effect" and request.effect is None:
        return "rows that cannot be shown here: where it writes, it is refused when it runs, whoever agrees"
    if request.question.binds == "effect":
        return "these very rows: where one has changed when it runs, it is rolled back and asked about anew"
    return "this text with these values, by this caller; the rows may be others when it runs"


def caller(who: Identity) -> str:
    """Return somebody with those they act for, and whether anybody has verified it."""
    found: list[str] = []
    each: Identity | None = who
    while each is not None:
        name = f"{each.kind}:{each.subject}" if each.subject else str(each.kind)
        by = f" by {each.issuer}" if each.issuer else ""
        found.append(f"{name} ({'verified' if each.verified else 'claimed'}{by})")
        each = each.on_behalf_of
    return " for ".join(found)


def signer(person: Person) -> str:
    """Return who has answered, and whose signature says so."""
    how = f"vouched for by {person.via}" if person.via else "by a key of their own"
    return f"{person.identity} ({how})"


def when(moment: datetime) -> str:
    """Return a time in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def left(moment: datetime, now: datetime) -> str:
    """Return how long it is until ``moment``."""
    seconds = (moment - now).total_seconds()
    return f"{duration(seconds)} left" if seconds > 0 else "over"


def duration(seconds: float) -> str:
    """Return so many seconds in the unit in which people think of them."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def in_line(text: str) -> str:
    """Return ``text`` on one line, fit for a terminal."""
    return clean(text.replace("\n", "\\n"))


def plain(filed: Filed, standing: Standing, word: str) -> dict[str, Any]:
    """Return a request as JSON holds it. ``seal``: what ``approve --seal`` takes."""
    import orjson

    from governed_db.approval.request import plain_identity

    request = filed.request
    return {
        "id": request.id,
        "state": word,
        "seal": request.seal(),
        "needed": request.needed,
        "agreed": [
            {
                "by": plain_identity(person.identity),
                "via": person.via,
                "reason": signed.answer.reason,
                "answered": signed.answer.answered.isoformat(),
                "expires": signed.answer.expires.isoformat(),
            }
            for person, signed in zip(standing.granted, standing.answers, strict=False)
        ],
        "denied": None
        if standing.denied is None
        else {"by": plain_identity(standing.denied.identity), "reason": standing.because},
        "ignored": [{"answer": signed.id, "why": why} for signed, why in standing.ignored],
        "used": None if filed.used is None else filed.used.isoformat(),
        "request": orjson.loads(request.dump()),
    }

"""Charts as inline SVG: drawn by the page's own style sheet, in light, dark and print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from governed_db.audit.html import Markup, joined, tag

BARS = 96
"""Bars that a chart over time has at most: each is then some 8 px wide on paper as on a screen."""

SERIES = (
    ("allow", "allowed"),
    ("approved", "approved by people"),
    ("observed", "observed only"),
    ("needs_approval", "needed approval"),
    ("block", "blocked"),
)
"""What was decided, from below to above in every chart."""

REFUSED = ("needs_approval", "block")
_WIDTH, _LEFT, _RIGHT = 960, 52, 8
_STEPS = (1, 2, 3, 6, 12, 24, 48, 168, 336, 672, 1344, 4032, 8760, 26_280, 87_600)  # hours in one bar


def over_time(hours: Mapping[str, Counter[str]]) -> tuple[Markup, str]:
    """Draw statements over time, all of them and the refused ones by themselves; say how long a bar is.

    ``hours``: counts by decision, by hour as ``2026-01-31T12``.
    """
    known = {hour: counts for text, counts in hours.items() if (hour := _hour(text)) is not None}
    if not known:
        return Markup(""), ""
    first, last = min(known), max(known)
    span = int((last - first).total_seconds()) // 3600 + 1
    step = next((s for s in _STEPS if span <= s * BARS), _STEPS[-1])
    # Bars of days begin at midnight.
    start = first if step < 24 else first.replace(hour=0)
    count = int((last - start).total_seconds()) // 3600 // step + 1
    bars = [Counter[str]() for _ in range(count)]
    for hour, counts in known.items():
        bars[int((hour - start).total_seconds()) // 3600 // step].update(counts)
    times = [start + timedelta(hours=n * step) for n in range(count)]
    form = "%Y-%m-%d" if step >= 24 else "%b %d %H:%M"
    labels = [t.strftime(form) for t in times]
    upper = _panel(bars, labels, [s for s, _ in SERIES], top=18, height=150, title="all statements")
    lower = _panel(bars, labels, REFUSED, top=206, height=64, title="refused")
    drawn = _scrolled(
        upper,
        lower,
        _axis(labels, top=206 + 64),
        viewBox=f"0 0 {_WIDTH} 296",
        role="img",
        aria_label=f"Statements from {labels[0]} to {labels[-1]} by decision",
    )
    size = (
        "one hour"
        if step == 1
        else f"{step} hours"
        if step < 24
        else "one day"
        if step == 24
        else f"{step // 24} days"
    )
    return drawn, size


def by_name(rows: Sequence[tuple[str, Counter[str]]]) -> Markup:
    """Draw one bar for each name, by decision."""
    if not rows:
        return Markup("")
    most = max(counts.total() for _, counts in rows)
    left, height, gap = 250, 18, 10
    parts = []
    for index, (name, counts) in enumerate(rows):
        y = index * (height + gap)
        x = float(left)
        parts.append(tag("text", _short(name), x=left - 10, y=y + 13.5, class_="name"))
        for series, title in SERIES:
            if counts[series]:
                width = max(1.5, (_WIDTH - left - 90) * counts[series] / most)
                said = tag("title", f"{name}: {counts[series]:,} {title}")
                parts.append(
                    tag("rect", said, x=round(x, 1), y=y, width=round(width, 1), height=height, class_=series)
                )
                x += width
        parts.append(tag("text", f"{counts.total():,}", x=round(x + 8, 1), y=y + 13.5, class_="value"))
    return _scrolled(
        *parts,
        viewBox=f"0 0 {_WIDTH} {len(rows) * (height + gap)}",
        role="img",
        aria_label="Callers with the most statements, by decision",
    )


def legend(present: Counter[str]) -> Markup:
    """Return what the colours mean, of those that occur."""
    items = [
        tag("li", tag("span", "", class_=f"swatch {series}"), title)
        for series, title in SERIES
        if present[series]
    ]
    return tag("ul", *items, class_="legend")


def _scrolled(*parts: Markup, **attributes: object) -> Markup:
    # On a telephone a chart is moved rather than made too small to read.
    return tag("div", tag("svg", *parts, **attributes), class_="scroll")


def _panel(
    bars: Sequence[Counter[str]],
    labels: Sequence[str],
    series: Sequence[str],
    *,
    top: int,
    height: int,
    title: str,
) -> Markup:
    ceiling = _ceiling(max((sum(bar[s] for s in series) for bar in bars), default=0))
    slot = (_WIDTH - _LEFT - _RIGHT) / len(bars)
    # A single hour is no reason for a bar as wide as the page.
    wide = min(max(1.0, slot - max(1.0, slot * 0.15)), 40.0)
    names = dict(SERIES)
    parts = [tag("text", title, x=_LEFT, y=top - 6, class_="panel")]
    for share in (0, 0.5, 1) if ceiling > 1 else (0, 1):
        y = round(top + height * (1 - share), 1)
        parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{ceiling * share:,.0f}", x=_LEFT - 8, y=y + 4, class_="value end"))
    for index, bar in enumerate(bars):
        y = float(top + height)
        x = _LEFT + slot * index + (slot - wide) / 2
        for one in series:
            if bar[one]:
                # Two refusals among ten thousand statements must be seen.
                tall = max(1.5, height * bar[one] / ceiling)
                y -= tall
                said = tag("title", f"{labels[index]}: {bar[one]:,} {names[one]}")
                parts.append(
                    tag(
                        "rect",
                        said,
                        x=round(x, 2),
                        y=round(max(y, top - 2), 2),
                        width=round(wide, 2),
                        height=round(tall, 2),
                        class_=one,
                    )
                )
    return joined(*parts)


def _axis(labels: Sequence[str], top: int) -> Markup:
    slot = (_WIDTH - _LEFT - _RIGHT) / len(labels)
    every = max(1, -(-len(labels) // 6))
    return joined(
        *(
            tag("text", label, x=round(_LEFT + slot * n + (0 if n else 2), 1), y=top + 18, class_="value")
            for n, label in enumerate(labels)
            if n % every == 0 and (n == 0 or _LEFT + slot * n < _WIDTH - 90)
        )
    )


def _ceiling(most: int) -> int:
    """Return a round number with a round half, the least that is not below ``most``."""
    power = 1
    while True:
        for factor in (1, 2, 4, 6, 8):
            if factor * power >= most:
                return factor * power
        power *= 10


def _hour(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError:
        return None


def _short(name: str) -> str:
    return name if len(name) <= 34 else name[:33] + "…"

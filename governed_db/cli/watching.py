"""The page of ``approvals watch``: what it shows, and what keys do. No input or output happens here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from governed_db.cli import requests

if TYPE_CHECKING:
    from governed_db.approval.standing import Standing
    from governed_db.approval.store import Filed

UP: Final = "\x1b[A"
DOWN: Final = "\x1b[B"
PAGE_UP: Final = "\x1b[5~"
PAGE_DOWN: Final = "\x1b[6~"
ENTER: Final = "\r"
ESCAPE: Final = "\x1b"
BACKSPACE: Final = "\x7f"

# What terminals send for keys that are no characters (ECMA-48, 5.4; `O` is DEC's application mode), else one
# character.
_KEYS = re.compile(r"\x1b\[[0-9;?]*[@-~]|\x1bO.|.", re.DOTALL)
_ALIKE = {"\n": ENTER, "\x08": BACKSPACE, "\x1bOA": UP, "\x1bOB": DOWN, "k": UP, "j": DOWN, " ": PAGE_DOWN}

MOST_TYPED: Final = 500
"""Characters of a reason that can be typed here."""

_STYLES = {requests.WAITS: "yellow", requests.AGREED: "green", requests.DENIED: "red"}


@frozen
class Entry:
    """One request as it stood at the last look."""

    filed: Filed
    standing: Standing
    word: str

    @property
    def id(self) -> str:
        """Names the request."""
        return self.filed.request.id

    @property
    def answerable(self) -> bool:
        """Whether an answer would change anything."""
        return self.word in (requests.WAITS, requests.AGREED)


@frozen
class Asked:
    """An answer that the person has given: to what they were shown, and to nothing else."""

    request: str
    seal: str
    granted: bool
    reason: str


@frozen(kw_only=True)
class Page:
    """What the person sees.

    Attributes:
        signer: in whose name answers are signed; "" where there is no key.
        hint: what is missing for that.
        entries: what is open, oldest first.
        chosen: the id of the request that the cursor is on.
        opened: the request that is shown whole, as it was when it was opened.
        scroll: lines of it that have gone off the top.
        granting: the answer that is about to be signed, ``None`` while there is none.
        typed: its reason.
        message: what has happened last.
        leaves: the person wants to go.
    """

    signer: str = ""
    hint: str = ""
    entries: tuple[Entry, ...] = ()
    chosen: str = ""
    opened: Entry | None = None
    scroll: int = 0
    granting: bool | None = None
    typed: str = ""
    message: str = ""
    leaves: bool = False


def keys(text: str) -> list[str]:
    """Return the keys that were pressed, from what the terminal has sent for them."""
    return _KEYS.findall(text)


def renewed(page: Page, entries: Sequence[Entry]) -> Page:
    """Return the page after another look at the store."""
    found = tuple(entries)
    ids = [entry.id for entry in found]
    page = evolve(page, entries=found)
    if page.chosen not in ids:
        page = evolve(page, chosen=ids[0] if ids else "")
    opened = page.opened
    if opened is None:
        return page
    now = next((entry for entry in found if entry.id == opened.id), None)
    if now is None:
        return _closed(page, f"{opened.id} is not open any more")
    if now.filed.request.seal() != opened.filed.request.seal():
        return _closed(page, f"{opened.id} was altered in the store: look at it again")
    return evolve(page, opened=now)


def pressed(page: Page, key: str) -> tuple[Page, Asked | None]:
    """Return the page after a key, and the answer that was given with it."""
    if page.granting is not None:
        return _typing(page, key)
    key = _ALIKE.get(key, key)
    if page.opened is not None:
        return _reading(page, key), None
    if key in ("q", ESCAPE):
        return evolve(page, leaves=True), None
    ids = [entry.id for entry in page.entries]
    if not ids:
        return page, None
    at = ids.index(page.chosen)
    if key in (UP, DOWN):
        at = min(max(at + (1 if key == DOWN else -1), 0), len(ids) - 1)
        return evolve(page, chosen=ids[at], message=""), None
    if key == ENTER:
        return evolve(page, opened=page.entries[at], scroll=0, message=""), None
    return page, None


def _reading(page: Page, key: str) -> Page:
    assert page.opened is not None
    if key in ("q", ESCAPE):
        return _closed(page, "")
    if key in (UP, DOWN, PAGE_UP, PAGE_DOWN):
        by = {UP: -1, DOWN: 1, PAGE_UP: -10, PAGE_DOWN: 10}[key]
        return evolve(page, scroll=max(page.scroll + by, 0))
    if key in ("y", "n"):
        if not page.signer:
            return evolve(page, message=page.hint)
        if not page.opened.answerable:
            return evolve(page, message=f"{page.opened.id} has its answer: {page.opened.word}")
        return evolve(page, granting=key == "y", typed="", message="")
    return page


def _typing(page: Page, key: str) -> tuple[Page, Asked | None]:
    assert page.opened is not None
    if key == ESCAPE:
        return evolve(page, granting=None, typed="", message="nothing was signed"), None
    if key in (ENTER, "\n"):
        reason = page.typed.strip()
        if not page.granting and not reason:
            return evolve(page, message="who asked is told why not: type a reason"), None
        asked = Asked(page.opened.id, page.opened.filed.request.seal(), bool(page.granting), reason)
        return evolve(page, granting=None, typed=""), asked
    if key in (BACKSPACE, "\x08"):
        return evolve(page, typed=page.typed[:-1]), None
    if key.isprintable() and len(page.typed) < MOST_TYPED:
        return evolve(page, typed=page.typed + key), None
    return page, None


def _closed(page: Page, message: str) -> Page:
    return evolve(page, opened=None, granting=None, typed="", scroll=0, message=message)


@frozen
class Drawn:
    """The page as rich draws it: as many lines as the terminal has."""

    page: Page
    now: datetime

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        height, width = options.size.height, options.max_width
        part = options.update(height=None)
        foot = console.render_lines(self._foot(), part, pad=False)
        room = max(height - len(foot) - 2, 1)
        body = console.render_lines(self._body(), part, pad=False)
        # The last lines stay in sight, however far somebody scrolls.
        top = min(self.page.scroll, max(len(body) - room, 0)) if self.page.opened else self._top(room)
        head = console.render_lines(self._head(width), part, pad=False)[:1]
        shown = body[top : top + room]
        below = len(body) - top - len(shown)
        more = Text(f"{below} more lines below" if below else "", style="bold yellow")
        foot = [*console.render_lines(more, part, pad=False)[:1], *foot]
        lines = [*head, *shown, *[[]] * (room - len(shown)), *foot]
        for place, line in enumerate(lines[:height]):
            if place:
                yield Segment.line()
            yield from line

    def _top(self, room: int) -> int:
        at = next((n for n, e in enumerate(self.page.entries) if e.id == self.page.chosen), 0)
        return max(at + 2 - room, 0)  # a line of headings, and the one that is chosen

    def _head(self, width: int) -> Text:
        count = sum(entry.word == requests.WAITS for entry in self.page.entries)
        text = f"governed-db approvals: {count} waiting, {requests.when(self.now)}"
        return Text(text.ljust(width)[:width], style="reverse", no_wrap=True)

    def _body(self) -> Table | Text:
        if self.page.opened is not None:
            return self._whole(self.page.opened)
        if not self.page.entries:
            return Text("\nNothing waits.", style="dim")
        table = Table.grid(padding=(0, 2, 0, 0))
        for heading in requests.HEADINGS:
            # Where room is short these give way: id, state, time and rows are what people choose by.
            table.add_column(heading, no_wrap=heading not in ("wants to", "rule", "asked by"))
        table.add_row(*(Text(heading, style="dim") for heading in requests.HEADINGS))
        for entry in self.page.entries:
            cells = requests.brief(entry.filed, entry.standing, entry.word, self.now)
            style = "reverse" if entry.id == self.page.chosen else ""
            told = [Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells]
            told[1].stylize(_STYLES.get(entry.word, ""))
            table.add_row(*told, style=style)
        return table

    def _whole(self, entry: Entry) -> Text:
        text = Text(overflow="fold")
        for label, said in requests.facts(entry.filed, entry.standing, entry.word):
            _say(text, label, said)
        for title, lines in requests.texts(entry.filed.request):
            if lines:
                text.append(f"\n{title}\n", style="dim")
                for line in lines:
                    text.append(f"  {line}\n", style="cyan" if title == "statement" else "")
        text.append("\n")
        for label, said in requests.details(entry.filed, entry.standing, entry.word, self.now):
            _say(text, label, said)
        text.rstrip()
        return text

    def _foot(self) -> Text:
        page = self.page
        text = Text(overflow="fold")
        if page.message:
            text.append(f"{requests.in_line(page.message)}\n", style="bold")
        if page.granting is not None:
            verb, what = ("Approve", "reason, if any") if page.granting else ("Deny", "reason")
            text.append(f"{verb} as {requests.in_line(page.signer)}? ", style="bold")
            text.append(f"Type a {what}; Enter signs, Esc goes back.\n> {requests.in_line(page.typed)}_")
        elif page.opened is not None:
            text.append("y approves, n denies, arrows scroll, q goes back", style="dim")
        else:
            text.append("arrows choose, Enter opens, q ends", style="dim")
        return text


def _say(text: Text, label: str, said: str) -> None:
    if said:
        text.append(f"{label:<11}", style="dim").append(f"{requests.in_line(said)}\n")

"""How the demo looks: everything that knows rich."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from governed_db.errors import GovernanceError

_MARGIN = 3
_WIDEST = 110  # longer lines are hard to read, however wide the terminal
_VERDICTS = {
    "allow": ("allowed", "green"),
    "block": ("blocked", "red"),
    "needs_approval": ("waits", "yellow"),
}


class Teller:
    """Prints the story. Colours and widths are rich's to decide, from what the output is."""

    def __init__(self) -> None:
        if hasattr(sys.stdout, "reconfigure"):
            # Names of customers have letters that not every terminal's encoding has.
            sys.stdout.reconfigure(errors="replace")
        console = Console(highlight=False)
        self._console = console if console.width <= _WIDEST else Console(highlight=False, width=_WIDEST)
        self._steps = 0

    def waiting(self, what: str) -> AbstractContextManager[Any]:
        """Show that something takes its time; in a terminal only."""
        return self._console.status(f"{what} ...")

    def opening(self, version: str, counts: Mapping[str, int], agent: str, approver: str) -> None:
        """Say what there is and who works on it."""
        self._console.print(Rule("governed-db demo", align="left"))
        rows = ", ".join(f"{count:,} {table.replace('_', ' ')}" for table, count in counts.items())
        self._facts(
            [
                ("database", f"{version} on a socket of its own, with a shop in it: {rows}"),
                ("caller", agent),
                ("policy", "standard, what runs when nobody configured anything"),
                ("approver", f"{approver}, who has a key of their own"),
            ]
        )

    def step(self, title: str) -> None:
        """Begin a step of the story."""
        self._steps += 1
        self._console.print()
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_row(Text(f"{self._steps:>2}", style="bold"), Text(title, style="bold"))
        self._console.print(grid)

    def says(self, query: str, values: Sequence[Any] | None = None) -> None:
        """Show what the agent sends."""
        text = Text(query, style="cyan")
        if values:
            text.append(f"   {list(values)!r}", style="dim")
        self._indent(text)

    def side_by_side(self, names: Sequence[str], stored: Any, seen: Any) -> None:
        """Show one row as it is stored and as the agent gets it."""
        table = _table("column", "in the table", "what the agent gets")
        for name, before, after in zip(names, stored, seen, strict=True):
            masked = before != after
            table.add_row(
                name, Text(_shorten(before)), Text(_shorten(after), style="yellow" if masked else "green")
            )
        self._indent(table)

    def answers(self, row: Any) -> None:
        """Show a row the agent gets."""
        self._indent(Text(f"-> {', '.join(map(str, row))}", style="green"))

    def done(self, rows: int) -> None:
        """Show that a write ran."""
        self._indent(Text(f"-> {rows} row{'s' * (rows != 1)} changed", style="green"))

    def error(self, error: GovernanceError) -> None:
        """Show the error as the agent gets it."""
        text = Text(f"{type(error).__name__}: ", style="bold red")
        self._indent(text.append(str(error), style="not bold red"))

    def asks(self, person: str, command: Sequence[str], seconds: int) -> None:
        """Ask the reader to answer, by a command for another terminal."""
        text = Text("Your turn: ", style="bold magenta")
        text.append(
            f"you are {person}. Open another terminal and look at the request; it asks before it signs."
            f" Who does not answer within {seconds} s is stood in for by a script.",
            style="not bold magenta",
        )
        self._indent(text)
        self._console.print()
        for line in command:  # as it is typed: not a character of it may be broken or cut off
            self._console.print(Text(f"    {line}", style="cyan"), soft_wrap=True)

    def approver(self, said: str) -> None:
        """Show what the approver's command has said."""
        self._indent(Text(said, style="magenta"))

    def trail(self, statements: Iterable[Mapping[str, Any]]) -> None:
        """Show the journal, in the order in which the statements began."""
        self.step("All of it is on record, written down before each statement was sent.")
        table = _table("time", "who, for whom; what", "decision, rule", "rows", "ms")
        for column in table.columns[-2:]:
            column.justify = "right"
        last, beside = "", 0
        for entry in sorted(statements, key=lambda entry: (str(entry.get("at")), str(entry.get("id")))):
            if _is_beside(entry):
                beside += 1
                continue
            if (caller := _caller(entry.get("who", {}))) != last:
                table.add_row("", Text(caller, style="bold magenta"), "", "", "")
                last = caller
            table.add_row(*_entry(entry))
        self._indent(table)
        self._indent(
            Text(
                f"and {beside} that governed_db and the driver sent by themselves, each on record",
                style="dim",
            )
        )

    def end(self, seconds: float) -> None:
        """Say goodbye."""
        self._console.print()
        text = f"{seconds:.1f} s, and nothing is left behind: server, shop and journal are gone."
        self._console.print(Text(text, style="dim"))

    def _facts(self, facts: Sequence[tuple[str, str]]) -> None:
        table = Table.grid(padding=(0, 2))
        for label, text in facts:
            table.add_row(Text(label, style="dim"), Text(text))
        self._console.print(table)

    def _indent(self, content: Any) -> None:
        self._console.print(Padding(content, (0, 0, 0, _MARGIN), expand=False))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.header_style = "dim"
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _shorten(value: object, width: int = 90) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _entry(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """One statement of the journal as a row: the names are those of the record's schema."""
    what, may, happened = (entry.get(section, {}) for section in ("what", "may", "happened"))
    word, style = _VERDICTS.get(may.get("verdict", ""), ("", ""))
    decision = Text(word, style=style)
    if happened.get("status") == "refused" and may.get("verdict") == "allow":
        decision.append(", rolled back", style="yellow")
    decision.append(f"\n{may.get('rule', '')}", style="dim")
    if may.get("approval"):
        decision.append(f"\n{may.get('reason')}", style="green")
    duration = happened.get("duration_us")
    return (
        str(entry.get("at", ""))[11:19],
        Text(_shorten(what.get("text", "")), style="cyan"),
        decision,
        str(happened.get("rows_affected") or happened.get("rows_returned") or ""),
        "" if duration is None else f"{duration / 1000:.1f}",
    )


def _is_beside(entry: Mapping[str, Any]) -> bool:
    """Whether nobody asked for it: transactions and timeouts, looks at the catalog, counts, estimates."""
    from governed_db.audit.view import is_look_up

    return is_look_up(entry) or entry.get("may", {}).get("rule") == "driver.command"


def _caller(who: Mapping[str, Any]) -> str:
    chain = [who, *who.get("on_behalf_of", ())]
    return " for ".join(f"{p.get('kind', '')}:{p.get('subject', '')}".rstrip(":") for p in chain)

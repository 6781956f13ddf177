"""The text and the values of a call, as people read them before they agree.

Comments are left out: the requester writes them, and could write there what it likes ("reviewed by ..."). A
value that meets a sensitive column, or may, is masked for approvers who see that column masked; only what
provably stays with plain columns is shown then.

What is shown reads as what is sent: a constant or a name keeps to its line, so that none of its lines can be
taken for a part of the statement; and a layout that would change a token is not used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from governed_db.audit.values import given
from governed_db.catalog.bound import Bound, Operand, Source
from governed_db.run import Call
from governed_db.statement import Statement
from governed_db.statement.facts import EffectKind
from governed_db.statement.lexer import DOLLAR_STRING, NUMBER, OTHER, PARAMETER, QUOTED_NAME, STRING, tokens

MASKED: Final = "'<masked>'"
"""What stands in the place of a constant that approvers may not see."""

MAX_SQL: Final = 20_000
"""Characters of a text that people are shown; some 400 lines. The digest covers all of it."""

MAX_VALUES: Final = 200
"""Values that are shown; an executemany can have thousands."""

MAX_VALUE: Final = 500
"""Characters of one value."""

MAX_LAID_OUT: Final = 20
"""Texts of a batch that are laid out, at a millisecond or more each; those after them stand on a line."""

SENT_LATER: Final = "the rows to copy in: the caller sends them when it runs, and nobody has seen them"
"""What stands for the rows of a COPY FROM among the values."""

_BODIES = frozenset({EffectKind.DO, EffectKind.CREATE})  # dollar-quoted text that is read line by line

_CONSTANTS = frozenset({NUMBER, STRING, DOLLAR_STRING, OTHER})


def shown(
    call: Call,
    statement: Statement,
    bound: Bound | None,
    sensitive: Collection[Source],
    *,
    clear: bool,
) -> tuple[str, tuple[str, ...]]:
    """Return the laid-out text of ``call``, and its values by number.

    Args:
        call: what would be sent.
        statement, bound: what is known of it.
        sensitive: the database's sensitive columns.
        clear: the approvers see these unmasked.
    """
    if call.parts:
        return _shown_together(call, sensitive, clear=clear)
    text, seen = _text(statement, bound, sensitive, clear=clear)
    values = list(_values(call, seen))
    if any(effect.kind is EffectKind.COPY_FROM for effect in statement.effects):
        values.append(SENT_LATER)
    return _laid_out(text), tuple(values)


def _shown_together(call: Call, sensitive: Collection[Source], *, clear: bool) -> tuple[str, tuple[str, ...]]:
    """Show a batch of calls that differ in their texts, as a client cursor's do, or in types of values."""
    texts: dict[str, None] = {}
    values: list[tuple[int, list[str]]] = []
    width = len(call.types) // len(call.parts)
    params = list(call.params or ()) if width else []
    places: list[list[int]] = [[] for _ in call.parts]
    for place, part in enumerate(call.order):
        places[part].append(place)
    start = 0
    for number, known in enumerate(call.parts):
        text, seen = _text(known.statement, known.bound, sensitive, clear=clear)
        texts[text] = None
        if not width:
            continue
        for place in places[number]:
            if place < MAX_VALUES // width + 1:
                types = call.types[number * width : (number + 1) * width]
                formats = None if call.formats is None else call.formats[start : start + width]
                one = Call(call.text, types, params[start : start + width], formats=formats)
                values.append((place, list(_values(one, seen))))
            start += width
    shown = [f"{place + 1}: {value}" for place, each in sorted(values) for value in each][:MAX_VALUES]
    if len(params) > len(shown):
        shown.append(f"and {len(params) - len(shown)} more")
    return _together(call, list(texts)), tuple(shown)


def _together(call: Call, texts: list[str]) -> str:
    if len(texts) == 1:
        return _laid_out(texts[0])
    order = " ".join(str(part + 1) for part in call.order[:MAX_VALUES])
    more = " ..." if len(call.order) > MAX_VALUES else ""
    lines = [f"-- {len(texts)} texts, which run in this order: {order}{more}"]
    room = MAX_SQL
    for number, text in enumerate(texts):
        if len(text) > room:
            lines.append(f"-- and {len(texts) - number} more texts")
            break
        room -= len(text)
        lines.append(f"-- {number + 1}\n{_laid_out(text) if number < MAX_LAID_OUT else text};")
    return "\n".join(lines)


def _text(
    statement: Statement, bound: Bound | None, sensitive: Collection[Source], *, clear: bool
) -> tuple[str, dict[int, bool] | None]:
    """Return the text on a line, and whose values are shown, by number; ``None``: everything is."""
    text = statement.text
    plain = None if clear else _plain_places(bound, sensitive)
    lines = _BODIES.intersection(effect.kind for effect in statement.effects)
    parts: list[str] = []
    end = 0
    seen: dict[int, bool] = {}
    for kind, start, stop in tokens(text):
        word = text[start:stop]
        shows = plain is None or start in plain
        if kind in _CONSTANTS and not shows:
            word = MASKED
        elif kind == PARAMETER and word[1:].isdigit():
            number = int(word[1:])
            seen[number] = seen.get(number, True) and shows
        elif kind in (STRING, QUOTED_NAME) or (kind == DOLLAR_STRING and not lines):
            word = in_line(word)
        if parts and start > end:
            parts.append(" ")
        parts.append(word)
        end = stop
    return visible("".join(parts)), None if plain is None else seen


def visible(text: str) -> str:
    """Return ``text`` with everything that a terminal or a browser would not show as itself written out."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)


def cell(text: str | None) -> str:
    """Return a value of a row so that no text can be taken for a NULL, for nothing, or for a line."""
    if text is None:
        return "NULL"
    plain = text and text == text.strip() and text != "NULL" and not text.startswith("'")
    return in_line(text) if plain else in_line(f"'{text}'")


def in_line(text: str) -> str:
    """Return the same on one line."""
    return visible(text).replace("\n", "\\u000a")


def _plain_places(bound: Bound | None, sensitive: Collection[Source]) -> frozenset[int] | None:
    """Return the places of values that only meet plain columns; ``None``: all of them do."""
    if bound is None:
        return None
    if not sensitive or not _touches(bound, sensitive):
        return None
    plain: set[int] = set()
    other: set[int] = set()
    for source, operands in _meetings(bound):
        for operand in operands:
            (other if source in sensitive else plain).add(operand.location)
    return frozenset(plain - other)


def _meetings(bound: Bound) -> Iterator[tuple[Source, tuple[Operand, ...]]]:
    for use in bound.uses:
        yield use.source, use.operands
    for stored in bound.stored:
        yield stored.sink, (stored.operand,)


def _touches(bound: Bound, sensitive: Collection[Source]) -> bool:
    """Return whether the statement reads or sets a sensitive column, or nobody can tell."""
    if not bound.complete or bound.columns is None or bound.outputs is None:
        return True
    if any(use.source in sensitive for use in bound.uses):
        return True
    if any(source in sensitive for output in bound.outputs for source in output.sources):
        return True
    names = {
        (relation.schema, relation.name, column.name)
        for relation in (use.relation for use in bound.relations)
        for column in relation.columns
        if Source(relation.oid, column.number) in sensitive
    }
    return any((c.relation.schema, c.relation.name, c.column) in names for c in bound.columns)


def _values(call: Call, seen: dict[int, bool] | None) -> Iterator[str]:
    width = len(call.types)
    if not width:
        return  # a client cursor has put the values into the text
    params = given(call, MAX_VALUES)
    for place, value in enumerate(params):
        number = place % width + 1
        if value is None:
            text = "NULL"
        elif seen is not None and not seen.get(number, False):
            text = MASKED
        else:
            text = _value(bytes(value))
        # The sets of an executemany follow one another.
        set_ = f"{place // width + 1}: " if len(call.params or ()) > width else ""
        yield f"{set_}${number} = {text}"
    left = len(call.params or ()) - len(params)
    if left > 0:
        yield f"and {left} more"


def _value(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\\x" + data[:MAX_VALUE].hex()
    if len(text) > MAX_VALUE:
        text = f"{text[:MAX_VALUE]} ... ({len(text)} characters)"
    return in_line(text)


def _laid_out(text: str) -> str:
    more = len(text) - MAX_SQL
    if more > 0:  # from the middle: how it begins and what it ends with say what it is
        return f"{text[: MAX_SQL // 2]}\n... {more} characters more ...\n{text[-MAX_SQL // 2 :]}"
    import sqlparse  # noqa: PLC0415 - 20 ms, for those who ask people only
    from sqlparse.exceptions import SQLParseError  # noqa: PLC0415

    try:
        laid_out = str(sqlparse.format(text, reindent=True)).strip()
    except (SQLParseError, RecursionError):  # it lays out, and decides nothing
        return text
    # It reads other dialects as well: a backslash before a quote can end a constant for it elsewhere.
    return laid_out if _words(laid_out) == _words(text) else text


def _words(text: str) -> list[str]:
    return [text[start:stop] for _, start, stop in tokens(text)]

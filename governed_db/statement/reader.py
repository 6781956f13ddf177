"""From a text to its facts: limits, grammar, then one walk over every node of the tree."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from governed_db.statement import effects, grammar, lexer, names, nodes, tags, utility
from governed_db.statement.facts import Effect, EffectKind, Statement
from governed_db.statement.lexer import Token
from governed_db.statement.limits import DEFAULT, Limits, Measured, measure, too_deep
from governed_db.statement.names import Handler, below
from governed_db.statement.normalise import MAX_CHARS, normalise
from governed_db.statement.reading import Reading, Scope, Work
from governed_db.statement.sources import Columns

HANDLERS: dict[str, Handler] = {**names.HANDLERS, **utility.HANDLERS, **effects.HANDLERS}


def read(text: str, limits: Limits = DEFAULT) -> Statement:
    """Return the facts about ``text``, exactly as it would be sent.

    The answer does not depend on the caller's stack: where that is too deep, or the tree may be, the
    work is done on a fresh one.

    Raises:
        Unreadable: the text is over a limit, is not PostgreSQL's SQL, or the grammar is not installed.
    """
    measured = measure(text, limits)
    if measured.depth <= grammar.INLINE_DEPTH:
        try:
            return _read(text, measured)
        except RecursionError:
            pass
    try:
        return grammar.on_fresh_stack(_read, text, measured)
    except RecursionError:
        raise too_deep(None, limits) from None


def unread(text: str | bytes, because: str = "the statement cannot be read") -> Statement:
    """Return what can be said of a text that :func:`read` refused, or that there is no time to read.

    It is incomplete, its one effect is unknown, and it can be written down.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    # Enough to fill the normalised text; what is cut in two is an unterminated literal to the lexer.
    start = text[: 4 * MAX_CHARS]
    return Statement(
        text=text,
        tree=(),
        commands=0,
        tag="",
        effects=(Effect(kind=EffectKind.UNKNOWN, name="unread"),),
        relations=(),
        functions=(),
        parameters=0,
        complete=False,
        incomplete_because=because,
        normalised=normalise(start.encode(errors="replace").decode()),
    )


def reread(statement: Statement, columns: Columns) -> tuple[Effect, ...]:
    """Return the effects of ``statement`` once more, now that it is known what columns relations have.

    Only :attr:`Effect.constrained` can differ: the text alone must take ``x IN (SELECT y FROM z)`` for
    what it would be if z had no y, and cannot tell whose an unqualified column is beside a USING.
    """
    if not any(e.kind in _CONSTRAINED for e in statement.effects):
        return statement.effects
    try:
        return _facts(statement.text, statement.tree, None, columns)[0]
    except RecursionError:
        return grammar.on_fresh_stack(_facts, statement.text, statement.tree, None, columns)[0]


_CONSTRAINED = frozenset({EffectKind.UPDATE, EffectKind.DELETE})


def _read(text: str, measured: Measured) -> Statement:
    tree = grammar.parse(text, measured.tokens)
    found, reading, parts = _facts(text, tree.commands, measured.tokens, None)
    return Statement(
        text=text,
        tree=tree.commands,
        commands=len(tree.commands),
        tag=parts[0][0] if parts else "",
        effects=found,
        relations=tuple(reading.relations),
        functions=tuple(reading.functions),
        parameters=reading.parameters,
        complete=not reading.unknown,
        incomplete_because=f"not understood: {', '.join(reading.unknown)}" if reading.unknown else "",
        fingerprint=tree.fingerprint,
        normalised=normalise(text, tokens=measured.tokens),
        summary=tags.summary(parts, reading),
    )


def _facts(
    text: str, commands: tuple[dict[str, Any], ...], tokens: list[Token] | None, columns: Columns | None
) -> tuple[tuple[Effect, ...], Reading, list[tuple[str, int, int]]]:
    reading = Reading(text, columns)
    parts: list[tuple[str, int, int]] = []
    if tokens is None:
        tokens = lexer.tokens(text) if text.isascii() else []
    for raw in commands:
        first_effect, first_relation = len(reading.effects), len(reading.relations)
        scope = Scope(location=_first_byte(raw, text, tokens))
        statement = raw.get("stmt") or {}
        _walk(reading, effects.command(statement, scope, reading))
        words = tags.tag(*nodes.unwrap(statement), reading, first_effect)
        # A statement is found before its WITH; the text has them the other way round.
        reading.effects[first_effect:] = sorted(reading.effects[first_effect:], key=_place)
        parts.append((words, first_relation, len(reading.relations)))
    found = reading.effects
    if not commands:
        found = [Effect(kind=EffectKind.EMPTY)]
    elif len(commands) > 1:
        found.append(Effect(kind=EffectKind.MULTIPLE, name=str(len(commands))))
    elif not found:
        reading.unknown[nodes.unwrap(commands[0].get("stmt") or {})[0] or "statement"] = None
    found.extend(Effect(kind=EffectKind.UNKNOWN, name=kind) for kind in reading.unknown)
    return tuple(found), reading, parts


def _place(effect: Effect) -> int:
    return effect.location


def _walk(reading: Reading, work: list[Work]) -> None:
    """Visit every node below ``work``, depth first, without recursion."""
    handlers, plain, leaves = HANDLERS, nodes.PLAIN, nodes.LEAVES
    stack = work[::-1]
    while stack:
        kind, body, scope = stack.pop()
        if kind in leaves:
            continue
        handler = handlers.get(kind)
        if handler is not None:
            found = handler(reading, kind, body, scope)
        else:
            if kind not in plain:
                reading.unknown[kind] = None
            found = below(kind, body, scope)
        if found:
            found.reverse()
            stack += found


def _first_byte(raw: dict[str, Any], text: str, tokens: list[Token]) -> int:
    """Return where a command starts, in bytes, past the white space and comments before it."""
    start = int(raw.get("stmt_location", 0))
    if not text.isascii():
        return start  # tokens count characters
    index = bisect_left(tokens, start, key=lambda token: token.start)
    return tokens[index].start if index < len(tokens) else start


def facts_of(statement: Statement, node: dict[str, Any]) -> Statement:
    """Return the facts about one command that stands inside of ``statement``, such as a rule's action."""
    command: tuple[dict[str, Any], ...] = ({"stmt": node},)
    found, reading, parts = _facts(statement.text, command, [], None)
    return Statement(
        text=statement.text,
        tree=command,
        commands=1,
        tag=parts[0][0] if parts else "",
        effects=found,
        relations=tuple(reading.relations),
        functions=tuple(reading.functions),
        parameters=reading.parameters,
        complete=not reading.unknown,
        incomplete_because=f"not understood: {', '.join(reading.unknown)}" if reading.unknown else "",
    )

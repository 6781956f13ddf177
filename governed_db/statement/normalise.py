"""The text of a statement with no literal left in it: safe to write down, to compare, to send to spans."""

from __future__ import annotations

from governed_db.statement import lexer
from governed_db.statement.lexer import DOLLAR_STRING, NUMBER, OTHER, PARAMETER, QUOTED_NAME, STRING, Token

MAX_CHARS = 4096  # enough to recognise any statement by; OpenTelemetry's SDKs cut attributes at less
_LARGEST_PARAMETER = 65535  # the protocol counts parameters in 16 bits
_ELLIPSIS = " ..."


def normalise(text: str, *, max_chars: int = MAX_CHARS, tokens: list[Token] | None = None) -> str:
    """Return ``text`` with placeholders for literals, one space for white space, and no comments.

    Parameters that the text has keep their number; literals get the numbers after the highest one.
    Works for any text. Where a quote is not closed, or a backslash makes it doubtful where a string
    ends, no later quote can be trusted: the rest becomes one placeholder, from the first string on
    in the first case.

    Args:
        text: any text.
        max_chars: upper bound of the result's length in characters.
        tokens: what :func:`governed_db.statement.lexer.tokens` made of the text, where that is known.
    """
    if tokens is None:
        tokens = lexer.tokens(text)
    stop = _trusted(text, tokens)
    number = 1 + max(
        (n for k, s, e in tokens if k == PARAMETER and (n := _parameter(text[s:e])) is not None), default=0
    )
    parts: list[str] = []
    length = end = 0
    was_literal = False
    for index, (kind, start, token_end) in enumerate(tokens):
        word = text[start:token_end]
        literal = index >= stop or kind in _LITERALS or (kind == PARAMETER and _parameter(word) is None)
        if literal:
            word = f"${number}"
            number += 1
        if parts and (
            start > end or (literal and _joins(parts[-1][-1])) or (was_literal and _joins(word[0]))
        ):
            word = " " + word
        length += len(word)
        if length > max_chars:
            room = max(0, max_chars - len(_ELLIPSIS))
            return "".join(parts)[:room] + _ELLIPSIS[:max_chars]
        parts.append(word)
        end = token_end
        was_literal = literal
        if index >= stop:
            break
    return "".join(parts)


_LITERALS = frozenset({NUMBER, STRING, DOLLAR_STRING, OTHER})


def _parameter(word: str) -> int | None:
    digits = word[1:]
    # Longer or larger ones are no parameters; a value may have been pasted there.
    if len(digits) > 5 or not (digits.isascii() and digits.isdigit()) or int(digits) > _LARGEST_PARAMETER:
        return None
    return int(digits)


def _joins(character: str) -> bool:
    """Say whether a placeholder right beside this character would be read as one word with it."""
    return character.isalnum() or character in "_$'\""


def _trusted(text: str, tokens: list[Token]) -> int:
    """Return the index of the first token that must not be shown; ``len(tokens)`` where all may be."""
    if not tokens:
        return 0
    last = tokens[-1]
    if last.kind in (STRING, DOLLAR_STRING, QUOTED_NAME) and not lexer.is_terminated(text, last):
        return next(i for i, t in enumerate(tokens) if t.kind in (STRING, DOLLAR_STRING, QUOTED_NAME))
    if "\\'" in text:
        # 'it\'s' ends in the middle here, and at its end for whoever wrote it.
        for index, (kind, start, end) in enumerate(tokens):
            if kind == STRING and text[start] not in "eE" and "\\'" in text[start:end]:
                return index
    return len(tokens)

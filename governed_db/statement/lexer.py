"""PostgreSQL's lexical rules (``scan.l``), without its grammar.

The grammar cannot be asked about every text: some kill the process that parses them, some do not
parse. This scanner can. It takes linear time, does not recurse, and has an answer for any text: what
PostgreSQL would call an error becomes a token too, so that nothing of the text gets lost.
It reads the way the server does with ``standard_conforming_strings = on``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NAME = 1
NUMBER = 2
PARAMETER = 3
STRING = 4
DOLLAR_STRING = 5
QUOTED_NAME = 7
COMMENT = 8
OPERATOR = 9
PUNCTUATION = 10
OTHER = 11
_END = 12  # matched so that no search ever goes on inside trailing white space

KIND_NAMES = {
    NAME: "a name",
    NUMBER: "a number",
    PARAMETER: "a parameter",
    STRING: "a string constant",
    DOLLAR_STRING: "a dollar-quoted string",
    QUOTED_NAME: "a quoted name",
    OPERATOR: "an operator",
    PUNCTUATION: "punctuation",
    OTHER: "a character that SQL does not use",
}

# scan.l takes every byte above 127 for a letter; so do we, by character.
_START = r"A-Za-z_\x80-\U0010ffff"
_CONT = rf"{_START}0-9$"
_SPACE = r" \t\n\r\f\v"

# Two constants with a line break between them are one (whitespace_with_newline in scan.l), and the
# second one is read by the rules of the first: E'a' \n 'b\'c' is a single string.
_AGAIN = rf"(?:[ \t\f\v]|--[^\n\r]*+)*[\n\r](?:[{_SPACE}]|--[^\n\r]*+[\n\r])*'"
_PLAIN = r"[^']*+(?:''[^']*+)*"
_ESCAPED = r"[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*"

_LAST = r"\\?+"  # a backslash that the text ends with

# Linear time: runs of single characters are possessive, and what repeats groups of them can be read in
# one way only, up to where something that always matches follows. (Groups that are possessive
# themselves, or atomic, match wrongly in CPython before 3.11.5: gh-106052.)
_TOKEN = re.compile(
    rf"""[{_SPACE}]*+(?:--[^\n\r]*+[{_SPACE}]*+)*(?:
      (?![eEbBxXnN]'|[uU]&['"])([{_START}][{_CONT}]*+)
    | ((?:0[xX](?:_?[0-9A-Fa-f])+ | 0[oO](?:_?[0-7])+ | 0[bB](?:_?[01])+
        | (?:[0-9](?:_?[0-9])*(?:\.(?!\.)(?:[0-9](?:_?[0-9])*)?)? | \.[0-9](?:_?[0-9])*)
          (?:[eE][+-]?+[0-9](?:_?[0-9])*)?
       )(?:[{_START}][{_START}0-9]*+)?)
    | (\$[0-9]++(?:[{_START}][{_CONT}]*+)?)
    | ((?:[eE]'{_ESCAPED}{_LAST}(?:'(?:{_AGAIN}{_ESCAPED}{_LAST}(?:'|\Z))*|\Z))
       | (?:(?:[bBxXnN]|[uU]&)?'{_PLAIN}(?:'(?:{_AGAIN}{_PLAIN}(?:'|\Z))*|\Z)))
    | ((\$(?:[{_START}][{_START}0-9]*+)?\$).*?(?:\6|\Z))
    | ((?:[uU]&)?"[^"]*+(?:""[^"]*+)*(?:"|\Z))
    | (/\*)
    | ((?:(?!--|/\*)[-+*/<>=~!@\#%^&|`?])+)
    | (::|:=|\.\.|[][(),.;:])
    | ([^{_SPACE}])
    | (\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Token(NamedTuple):
    """One token: its kind (a constant of this module) and where it stands, in characters."""

    kind: int
    start: int
    end: int


def tokens(text: str, limit: int | None = None) -> list[Token]:
    """Return the tokens of ``text``, without white space and comments.

    At most ``limit`` + 1 are returned: one more than allowed is enough to know.
    """
    found: list[Token] = []
    add = found.append
    new = tuple.__new__
    position = 0
    while True:
        for match in _TOKEN.finditer(text, position):
            kind = match.lastindex
            if kind == COMMENT:
                position = comment_end(text, match.end())
                break
            if kind == _END:
                return found
            assert kind is not None
            add(new(Token, (kind, *match.span(kind))))
            if limit is not None and len(found) > limit:
                return found
        else:  # pragma: no cover - the pattern matches everywhere
            return found


def comment_end(text: str, position: int) -> int:
    """Return where the block comment whose opening ends at ``position`` ends; comments nest."""
    depth = 1
    for match in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def is_terminated(text: str, token: Token) -> bool:
    """Say whether a string or quoted name has its closing quote."""
    body = text[token.start : token.end]
    if token.kind == DOLLAR_STRING:
        tag = body[: body.index("$", 1) + 1]
        return len(body) >= 2 * len(tag) and body.endswith(tag)
    if token.kind == QUOTED_NAME:
        return _CLOSED_NAME.fullmatch(body) is not None
    if token.kind == STRING:
        return _CLOSED_STRING.fullmatch(body) is not None
    return True


_CLOSED_NAME = re.compile(r'(?:[uU]&)?"[^"]*+(?:""[^"]*+)*"')
_CLOSED_STRING = re.compile(
    rf"[eE]'{_ESCAPED}'(?:{_AGAIN}{_ESCAPED}')*|(?:[bBxXnN]|[uU]&)?'{_PLAIN}'(?:{_AGAIN}{_PLAIN}')*",
    re.DOTALL,
)

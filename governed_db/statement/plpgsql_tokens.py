"""PL/pgSQL's text as tokens, and the pieces of SQL that are cut out of it (``pl_scanner.c``)."""

from __future__ import annotations

from attrs import field, frozen

from governed_db.statement import lexer
from governed_db.statement.lexer import Token


class NotUnderstood(Exception):  # noqa: N818 - it says what the text is
    """A block, or a part of it, cannot be told; the message says which, without a word of the text."""


@frozen
class Piece:
    """One SQL text in a body.

    Attributes:
        text: a statement of SQL; an expression comes as the SELECT that PL/pgSQL makes of it.
        what: the PL/pgSQL statement that it stands in ("IF", "RETURN", "RAISE", "assignment", "SQL" ...).
        target: the names of the variable that the value is assigned to: ``("new", "email")``.
        dynamic: the value of the text is itself run as SQL.
        into: the same names of each variable after an INTO.
    """

    text: str = field(repr=False)
    what: str
    target: tuple[str, ...] = ()
    dynamic: bool = False
    into: tuple[tuple[str, ...], ...] = ()


_OPENING, _CLOSING = frozenset("(["), frozenset(")]")


def bracket(word: str) -> int:
    """Return 1 for a token that opens a bracket, -1 for one that closes it, else 0."""
    return (word in _OPENING) - (word in _CLOSING)


def name_of(text: str) -> str:
    """Return what a name, quoted or not, is called."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()


def is_equals(word: str) -> bool:
    """Return whether a token is the ``=`` of an assignment."""
    # scan.l ends an operator at trailing + and -: in `x =-1` the assignment is the first character.
    return word[:1] == "=" and not word[1:].strip("+-")


class Tokens:
    """The tokens of one body, and the place that has been reached."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = lexer.tokens(text)
        self.at = 0
        for token in self.tokens:
            if token.kind == lexer.OTHER or not lexer.is_terminated(text, token):
                raise NotUnderstood("a character or a quotation mark that is out of place")

    def slice(self, token: Token) -> str:
        """Return the text of ``token``."""
        return self.text[token.start : token.end]

    def word(self, ahead: int = 0) -> str:
        """Return the token at hand as a keyword: unquoted, in lower case; "" at the end of the text."""
        place = self.at + ahead
        return self.slice(self.tokens[place]).lower() if place < len(self.tokens) else ""

    def is_(self, *wanted: str) -> bool:
        """Return whether the token at hand is one of ``wanted``."""
        return self.word() in wanted

    def take(self, *wanted: str) -> bool:
        """Go past the token at hand if it is one of ``wanted``; return whether it was."""
        if self.at < len(self.tokens) and self.word() in wanted:
            self.at += 1
            return True
        return False

    def need(self, *wanted: str) -> None:
        """Go past the token at hand, which has to be one of ``wanted``."""
        if not self.take(*wanted):
            raise NotUnderstood(f"no {wanted[0].upper()} where one belongs")

    def next(self) -> Token:
        """Go past the token at hand and return it."""
        if self.at >= len(self.tokens):
            raise NotUnderstood("the end of the text inside a statement")
        self.at += 1
        return self.tokens[self.at - 1]

    def name(self, what: str) -> str:
        """Go past a name and return what it is called."""
        token = self.next()
        if token.kind not in (lexer.NAME, lexer.QUOTED_NAME):
            raise NotUnderstood(f"no name where {what} belongs")
        text = self.slice(token)
        if text[:1] in "uU" and text[1:2] == "&":
            raise NotUnderstood("a name in Unicode escapes")
        return name_of(text)

    def until(self, *stops: str) -> tuple[str, str]:
        """Return the text up to the first of ``stops`` outside of brackets, and which it was."""
        start, brackets = self.at, 0
        while True:
            word = self.slice(self.next()).lower()
            if brackets == 0 and word in stops:
                return self.between(start, self.at - 1), word
            if word in _OPENING:
                brackets += 1
            elif word in _CLOSING:
                brackets -= 1
                if brackets < 0:
                    raise NotUnderstood("brackets that do not match")
            elif word == ";" and brackets == 0:
                raise NotUnderstood("a statement that ends too early")

    def between(self, start: int, end: int) -> str:
        """Return the text of the tokens from ``start`` to before ``end``."""
        return self.text[self.tokens[start].start : self.tokens[end - 1].end] if end > start else ""

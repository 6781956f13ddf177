"""TOML with places: where in the file each key stands, so that an error can name its line and column.

:mod:`tomllib` reads the values and is the only judge of what is TOML; it keeps no positions. The scanner
here walks the same text, which is known to be valid by then, and notes where each key and each element
of an array begins.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from attrs import field, frozen

from governed_db.errors import PolicyError

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# The longer delimiters come first; up to two quotation marks may stand right before a closing triple.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]*")
_TOMLLIB_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")


@frozen
class Document:
    """One TOML text: its values, and the offset of every key and array element."""

    name: str
    data: Mapping[str, Any] = field(repr=False)
    text: str = field(repr=False)
    offsets: Mapping[Path, int] = field(repr=False)

    def place(self, path: Path) -> tuple[int, int]:
        """Return line and column, both from 1, of ``path`` or of the nearest part of it that is written."""
        while path and path not in self.offsets:
            path = path[:-1]
        offset = self.offsets.get(path, 0)
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)

    def where(self, path: Path) -> str:
        """Return ``file:line:column`` of ``path``."""
        line, column = self.place(path)
        return f"{self.name}:{line}:{column}"

    def fail(self, path: Path, message: str, remedy: str = "") -> NoReturn:
        """Raise PolicyError for what stands at ``path``."""
        raise PolicyError(f"{self.where(path)}: {message}", rule="policy", remedy=remedy)

    def known_keys(self, path: Path, table: Mapping[str, Any], known: frozenset[str]) -> None:
        """Refuse the first key of ``table`` (which stands at ``path``) that nobody would look at.

        Raises:
            PolicyError: there is one. A key that is passed over in silence is a rule that is not there.
        """
        for key in table:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(sorted(known))}"
                self.fail((*path, key), f"unknown key '{key}'{hint}")


def parse(text: str, name: str) -> Document:
    """Read TOML.

    Args:
        text: the whole file.
        name: how errors call it.

    Raises:
        PolicyError: it is not TOML; the message names line and column.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _TOMLLIB_PLACE.search(message)
        last_line = text.count("\n") + 1
        line, column = found.groups() if found else (last_line, len(text) - text.rfind("\n"))
        said = _TOMLLIB_PLACE.sub("", message).strip()
        raise PolicyError(f"{name}:{line}:{column}: not valid TOML: {said}", rule="policy") from None
    return Document(name, data, text, _Scanner(text).offsets())


class _Scanner:
    """Walks text that tomllib has accepted; it would not notice mistakes by itself."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._offsets: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # elements so far of each [[array of tables]]

    def offsets(self) -> dict[Path, int]:
        prefix: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text[self._at] == "[":
                prefix = self._header()
            else:
                self._key_value(prefix)
        return self._offsets

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _note(self, path: Path, offset: int) -> None:
        self._offsets.setdefault(path, offset)

    def _header(self) -> Path:
        start = self._at
        array = self._text.startswith("[[", start)
        self._at += 2 if array else 1
        *outer, last = self._key()
        self._at += 2 if array else 1
        path: Path = ()
        for part in outer:
            path = self._latest((*path, part))
            self._note(path, start)
        path = (*path, last)
        if array:
            self._note(path, start)
            self._counts[path] = self._counts.get(path, 0) + 1
        path = self._latest(path)
        self._note(path, start)
        return path

    def _latest(self, path: Path) -> Path:
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            start = self._at
            if self._text[start] in "\"'":
                self._skip(_STRING)
                # tomllib knows the escapes; a key alone is one short document.
                parts.extend(tomllib.loads(f"{self._text[start : self._at]} = 0"))
            else:
                self._skip(_BARE_KEY)
                parts.append(self._text[start : self._at])
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _key_value(self, prefix: Path) -> None:
        start = self._at
        path = prefix
        for part in self._key():
            path = (*path, part)
            self._note(path, start)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        opening = self._text[self._at]
        if opening in "\"'":
            self._skip(_STRING)
        elif opening in "[{":
            closing = "]" if opening == "[" else "}"
            self._at += 1
            count = 0
            while self._text[self._skip(_BLANK)] != closing:
                if opening == "[":
                    self._note((*path, count), self._at)
                    self._value((*path, count))
                    count += 1
                else:
                    self._key_value(path)
                if self._text[self._skip(_BLANK)] == ",":
                    self._at += 1
            self._at += 1
        else:
            self._skip(_SCALAR)

"""Rows of COPY FROM as they go by: the fields of the text, csv and binary formats, read piece by piece.

Bytes are read as Latin-1: in all encodings that PostgreSQL takes from a client without being told, and that
are judged at all, ASCII characters are themselves, and masks consist of those.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping

Fields = list[str | None]
Feed = Callable[[bytes], Iterator[Fields]]
"""Takes the next bytes; yields each row that ends in them, and what there is of the next one."""

# copyfrom.c: an eleven byte signature, flags, and the length of an extension of the header.
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_LINE = re.compile(r"((?:[^\\\r\n]|\\.)*)(?:\r\n|\n|\r)", re.DOTALL)


def reader(options: Mapping[str, str]) -> Feed | None:
    """Return what reads rows written with ``options`` of COPY, ``None`` for a format that is not known."""
    format_ = options.get("format", "text")
    if format_ == "text":
        return _text(options.get("delimiter", "\t"))
    if format_ == "csv":
        quote = options.get("quote", '"')
        return _Csv(options.get("delimiter", ","), quote, options.get("escape", quote)).feed
    return _binary() if format_ == "binary" else None


def _text(delimiter: str) -> Feed:
    field = re.compile(rf"(?:[^\\{re.escape(delimiter)}]|\\.|\\$)*", re.DOTALL)
    held = ""

    def fields(line: str) -> Fields:
        found: Fields = []
        place = 0
        while True:
            match = field.match(line, place)
            assert match is not None
            found.append(_ESCAPED.sub(_unescaped, match[0]))
            place = match.end() + 1
            if place > len(line):
                return found

    def feed(data: bytes) -> Iterator[Fields]:
        nonlocal held
        held += data.decode("latin-1")
        place = 0
        while (line := _LINE.match(held, place)) is not None:
            yield fields(line[1])
            place = line.end()
        held = held[place:]
        if held:
            yield fields(held)

    return feed


def _unescaped(found: re.Match[str]) -> str:
    if found[1] is not None:
        return chr(int(found[1], 16))
    if found[2] is not None:
        return chr(int(found[2], 8) & 0xFF)
    return _ESCAPES.get(found[3], found[3])


class _Csv:
    """Reads csv as CopyReadAttributesCSV does: quotes may begin and end anywhere in a field."""

    def __init__(self, delimiter: str, quote: str, escape: str) -> None:
        self.delimiter = delimiter
        self.quote = quote
        self.escape = escape
        self.row: Fields = []
        self.field: list[str] = []
        self.quoted = self.escaping = False

    def feed(self, data: bytes) -> Iterator[Fields]:
        for character in data.decode("latin-1"):
            if self.escaping and self._escaped(character):
                continue
            if self.quoted:
                self._inside(character)
            elif character in "\r\n":
                yield self._so_far()
                self.row, self.field = [], []
            else:
                self._outside(character)
        if self.row or self.field:
            yield self._so_far()

    def _so_far(self) -> Fields:
        return [*self.row, "".join(self.field)]

    def _escaped(self, character: str) -> bool:
        self.escaping = False
        if character in (self.escape, self.quote):
            self.field.append(character)
            return True
        if self.escape == self.quote:
            self.quoted = False  # the quote before has ended it
        else:
            self.field.append(self.escape)
        return False

    def _inside(self, character: str) -> None:
        if character == self.escape:
            self.escaping = True
        elif character == self.quote:
            self.quoted = False
        else:
            self.field.append(character)

    def _outside(self, character: str) -> None:
        if character == self.quote:
            self.quoted = True
        elif character == self.delimiter:
            self.row.append("".join(self.field))
            self.field = []
        else:
            self.field.append(character)


def _binary() -> Feed:
    held = b""
    begun = False

    def feed(data: bytes) -> Iterator[Fields]:
        nonlocal held, begun
        held += data
        if not begun:
            if len(held) < len(_SIGNATURE) + 8:
                return
            (extension,) = struct.unpack_from("!I", held, len(_SIGNATURE) + 4)
            start = len(_SIGNATURE) + 8 + extension
            if len(held) < start:
                return
            held, begun = held[start:], True
        while (read := _tuple(held)) is not None:
            row, size = read
            yield row
            held = held[size:]

    return feed


def _tuple(data: bytes) -> tuple[Fields, int] | None:
    """Return the first row of ``data`` and its size in bytes, ``None`` where it has not ended yet."""
    if len(data) < 2:
        return None
    (count,) = struct.unpack_from("!h", data)
    place = 2
    row: Fields = []
    for _ in range(max(count, 0)):  # -1 is the trailer
        if len(data) < place + 4:
            return None
        (size,) = struct.unpack_from("!i", data, place)
        place += 4
        if size < 0:
            row.append(None)
            continue
        if len(data) < place + size:
            return None
        row.append(data[place : place + size].decode("latin-1"))
        place += size
    return row, place

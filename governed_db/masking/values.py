"""What a bound parameter says, and the same with another text in it: text and binary formats, arrays."""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

from psycopg.abc import Buffer

# pg_type.dat
_JSONB, _UUID, _UUIDS = 3802, 2950, 2951
_ELEMENT = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|((?:[^{}",\\]|\\.)+))\s*', re.DOTALL)
_HEADER = struct.Struct("!iiI")
_MAX_DIMENSIONS = 6  # MAXDIM of PostgreSQL's array.h

Replace = Callable[[str], str]


def text_of(value: Buffer, oid: int, binary: bool, encoding: str) -> str:
    """Return the text that a parameter holds: of binary values, their bytes read as text.

    Masks consist of ASCII alone, so that they are found whatever the rest is.
    """
    raw = bytes(memoryview(value))
    if oid == _UUID and binary and len(raw) == 16:
        return str(uuid.UUID(bytes=raw))
    if oid == _UUIDS and binary:
        return " ".join(map(uuid_text, elements(raw, True, "latin-1") or ()))
    if oid == _JSONB and binary:
        raw = raw[1:]  # the version of the format
    if not binary and raw.startswith(b"\\x"):
        with suppress(ValueError):
            raw = bytes.fromhex(raw[2:].decode("ascii"))  # bytea
    return raw.decode(encoding, "replace")


def uuid_text(raw: str) -> str:
    """Return the uuid whose 16 bytes ``raw`` holds, read as Latin-1, as PostgreSQL writes it; "" for none."""
    return str(uuid.UUID(bytes=raw.encode("latin-1"))) if len(raw) == 16 and max(raw) <= "\xff" else ""


def elements(value: Buffer, binary: bool, encoding: str) -> list[str] | None:
    """Return the elements of an array, NULL left out; ``None`` if it is no array that can be read."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    return found if rewritten(value, binary, encoding, note) is not None else None


def rewritten(value: Buffer, binary: bool, encoding: str, replace: Replace) -> bytes | None:
    """Return an array with ``replace`` over its elements, ``None`` if it is none that can be read."""
    raw = bytes(memoryview(value))
    if binary:
        return _binary(raw, encoding, replace)
    try:
        made = array_text(raw.decode(encoding), replace)
    except UnicodeDecodeError:
        return None
    return None if made is None else made.encode(encoding)


def array_text(text: str, replace: Replace) -> str | None:
    """Return an array in PostgreSQL's text format with ``replace`` over its elements, ``None`` if it is none.

    Bounds (``[2:3]={a,b}``) are not read.
    """
    if not text.strip().startswith("{"):
        return None
    made: list[str] = []
    place, depth, wants = len(text) - len(text.lstrip()), 0, True
    end = len(text.rstrip())
    while place < end:
        character = text[place]
        if character == "{" and wants:
            depth += 1
            made.append(character)
            place += 1
        elif character == "}" and depth:
            depth -= 1
            wants = False
            made.append(character)
            place += 1
        elif character == "," and depth and not wants:
            wants = True
            made.append(character)
            place += 1
        elif character.isspace():
            place += 1
        else:
            found = _ELEMENT.match(text, place, end)
            if found is None or not wants or not depth:
                return None
            made.append(_element(found, replace))
            place, wants = found.end(), False
        if not depth and place < end:
            return None
    return "".join(made) if not depth else None


def _element(found: re.Match[str], replace: Replace) -> str:
    quoted, bare = found[1], found[2]
    if quoted is None and bare.strip().upper() == "NULL":
        return "NULL"
    text = re.sub(r"\\(.)", r"\1", quoted if quoted is not None else bare.strip(), flags=re.DOTALL)
    changed = replace(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{changed}"'


def _binary(raw: bytes, encoding: str, replace: Replace) -> bytes | None:
    """Do it to array_send's format: dimensions, flags, element type, sizes and bounds, elements."""
    if len(raw) < _HEADER.size:
        return None
    dimensions, _, _ = _HEADER.unpack_from(raw)
    start = _HEADER.size + 8 * dimensions
    if not 0 <= dimensions <= _MAX_DIMENSIONS or len(raw) < start:
        return None
    made = [raw[:start]]
    try:
        for element in _binary_elements(raw, start):
            if element is None:
                made.append(b"\xff\xff\xff\xff")
                continue
            changed = replace(element.decode(encoding)).encode(encoding)
            made.append(struct.pack("!i", len(changed)) + changed)
    except (ValueError, struct.error):
        return None
    return b"".join(made)


def _binary_elements(raw: bytes, place: int) -> Iterator[bytes | None]:
    while place < len(raw):
        (length,) = struct.unpack_from("!i", raw, place)
        place += 4
        if length < 0:
            yield None
            continue
        if place + length > len(raw):
            raise ValueError("an element ends after its array")
        yield raw[place : place + length]
        place += length

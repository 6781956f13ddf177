"""HTML in which nothing that was recorded can be more than text."""

from __future__ import annotations

import re
from html import escape

LONGEST = 400
"""Characters of one recorded text that a page shows: names are short, texts of statements need not be."""

_BLANK = re.compile(r"\s")


class Markup(str):
    """Text that is HTML already. Only :func:`tag` and constants of this package make it."""

    __slots__ = ()


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """Return an element. Content that is no :class:`Markup` is text and is escaped.

    A trailing ``_`` of an attribute's name is dropped (``class_``), other underscores become dashes; an
    attribute that is ``None`` is left out. Names come from code, never from a record.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{quoted(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*content)}</{name}>")


def joined(*content: object) -> Markup:
    """Return ``content`` one after the other, escaped where it is no markup; ``None`` is nothing."""
    return Markup("".join(c if isinstance(c, Markup) else quoted(c) for c in content if c is not None))


def quoted(value: object) -> str:
    """Return ``value`` as text of HTML, fit for elements and quoted attributes, cut to :data:`LONGEST`."""
    return escape(shown(str(value)), quote=True)


def shown(text: str) -> str:
    """Return ``text`` without what a page should not hold: control characters, marks of direction."""
    cut = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return "".join(
        c if c.isprintable() else " " if _BLANK.match(c) else "\N{REPLACEMENT CHARACTER}" for c in cut
    )

"""Leaves of documents, told from the beginning of their text: json, hstore, XML; and attribute tables.

A document is sampled cut off, so it is not parsed but read token by token; what is read of a broken one is
still right. A leaf is judged by the key that it stands under, and with the other leaves under that key by its
value.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from attrs import evolve, frozen

from governed_db.masking import detect
from governed_db.masking.detect import MOST, Context, Verdict
from governed_db.masking.kinds import Kind
from governed_db.masking.matching import label_of
from governed_db.masking.model import ANYTHING
from governed_db.masking.names import tokens, words
from governed_db.masking.phrases import VETO_TAIL

DOCUMENT: Final = "JSON_PII"

MAX_LEAVES: Final = 200
"""Leaves of one document that are looked at: forms and profiles have fewer; lists of measurements more."""

_TOKEN: Final = re.compile(
    r'"(?P<text>(?:[^"\\]|\\.)*)(?P<end>"?)(?P<key>\s*(?::|=>))?|(?P<open>[\[{])|(?P<close>[\]}])'
    r"|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null|NULL)|(?P<comma>,)"
)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_XML: Final = re.compile(r"<([\w.:-]+)(?:\s[^<>]*)?>([^<>]+)")


@frozen
class Leaf:
    """A value in a document. ``key``: the nearest key above it, "" for none; ``value`` as text."""

    key: str
    value: str
    kind: Kind
    top: bool  # under a key of the outermost object


def leaves(text: str) -> Iterator[Leaf]:
    """Yield the leaves of a document in json or hstore, whole or cut off; NULL is none."""
    if text.lstrip().startswith("<"):
        for found in _XML.finditer(text):
            yield Leaf(found[1].rpartition(":")[2], found[2].strip(), Kind.TEXT, False)
        return
    keys = [""]
    for found in _TOKEN.finditer(text):
        if found["open"]:
            keys.append(keys[-1])
        elif found["close"]:
            if len(keys) > 1:
                keys.pop()
        elif found["key"]:
            keys[-1] = _unescape(found["text"])
        elif found["text"] is not None:
            yield Leaf(keys[-1], _unescape(found["text"]), Kind.TEXT, len(keys) <= 2)
        elif found["number"]:
            yield Leaf(keys[-1], found["number"], Kind.DECIMAL, len(keys) <= 2)
        elif found["word"] in ("true", "false"):
            yield Leaf(keys[-1], found["word"], Kind.BOOLEAN, len(keys) <= 2)


def keys(text: str) -> Iterator[str]:
    """Yield the keys of a document."""
    for found in _TOKEN.finditer(text):
        if found["key"]:
            yield _unescape(found["text"])


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 5 else _PLAIN.get(m[1], m[1]), text)


_PLAIN: Final[Mapping[str, str]] = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def looks_like(values: Sequence[str]) -> bool:
    """Return whether texts are documents: most of them open and name keys as one does."""
    return bool(values) and sum(map(_is_document, values)) >= MOST * len(values)


def _is_document(text: str) -> bool:
    text = text.lstrip()
    return re.match(r'[\[{]\s*["\[{\d\]}tfn-]|<(?:\?xml|[A-Za-z][\w.:-]*[\s>/])', text) is not None


def judge(values: Iterable[str], context: Context = detect.UNTOLD) -> Verdict | None:
    """Return what documents hold: one leaf that is somebody's, by its key or value, makes all of them so."""
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    named: Counter[str] = Counter()
    called: list[str] = []
    total = 0
    for text in values:
        total += 1
        hit = set()
        for number, leaf in enumerate(leaves(text)):
            if number >= MAX_LEAVES:
                break
            if not leaf.value.strip() or leaf.kind is Kind.BOOLEAN:
                continue
            by_key[leaf.key].append(leaf.value)
            if label := label_of(leaf.key, people=context.personal and leaf.top, kind=leaf.kind):
                hit.add(label)
        named.update(hit)
        called.extend(keys(text))
    if named:
        count = max(named.values())
        evidence = f"{count} of {total} sampled documents have a key that says {', '.join(sorted(named))}"
        return Verdict(label=DOCUMENT, confidence=0.85, evidence=evidence)
    found = {
        key: verdict
        for key, held in by_key.items()
        if (verdict := detect.judge(held, evolve(context, name=key)))
    }
    if (verdict := detect.judge(called, evolve(context, name="", personal=False))) is not None:
        found.setdefault("", verdict)
    if not found:
        return None
    best = max(found.values(), key=lambda v: v.confidence)
    return Verdict(
        label=DOCUMENT,
        confidence=best.confidence,
        evidence=f"of the leaves under {len(found)} of {len(by_key)} keys, {best.evidence}",
    )


# -- tables of attributes: a column of names beside a column of what they are called after

_NAMING: Final = frozenset(
    words(
        "attribute attr name key field property prop param parameter option setting type kind question"
        " label code variable meta tag metric item"
    )
)
_VALUED: Final = frozenset(
    words("value val data content answer text body info detail payload string response")
)
_PROSE: Final = frozenset(words("text body info detail content response payload"))
"""Those of them that stand beside any title as well: there, names of attributes are used again and again."""
_ENCLOSED: Final = frozenset(words("payload detail info body content response data"))
"""Those under which whole documents are kept, while the value of an attribute is called just that."""

MAX_ATTRIBUTES: Final = 200
"""Names of attributes that are read; a table with more distinct names in a sample has no attributes."""


def names_attributes(column: str) -> bool:
    """Return whether a column called so can hold names of attributes."""
    parts = tokens(column)
    return bool(parts) and (parts[-1] in _NAMING or parts[0] in _NAMING)


def holds_values(column: str) -> bool:
    """Return whether a column called so can hold what attributes are: ``content_type`` does not."""
    parts = tokens(column)
    return not _VALUED.isdisjoint(parts) and (VETO_TAIL - _VALUED).isdisjoint(parts[-1:])


def of_attributes(column: str, names: Sequence[str], values: Sequence[str] = ()) -> bool:
    """Return whether a column called so holds what ``names`` name.

    Prose under titles is none of it, and neither is what a kind of event (``login``) comes with: documents
    that have keys of their own, by which they are judged.
    """
    if not holds_values(column):
        return False
    if _ENCLOSED.issuperset(_VALUED.intersection(tokens(column))) and _have_keys(values):
        return False
    counts = Counter(name for name in names if name)
    return not _PROSE.issuperset(_VALUED.intersection(tokens(column))) or len(counts) * 2 <= counts.total()


def _have_keys(values: Sequence[str]) -> bool:
    objects = sum(re.match(r'\s*\{\s*["}]', value) is not None for value in values)
    return bool(values) and objects >= MOST * len(values)


def attributes(names: Sequence[str], *, people: bool = False) -> Verdict | None:
    """Return what the values beside ``names`` are, by those names."""
    counts = Counter(name for name in names if name)
    if not counts or len(counts) > MAX_ATTRIBUTES:
        return None
    found = {label for name in counts if len(name) <= 100 and (label := label_of(name, people=people))}
    if not found:
        return None
    label = next(iter(found)) if len(found) == 1 and len(counts) == 1 else ANYTHING
    evidence = f"the attributes named beside it say {', '.join(sorted(found))}"
    return Verdict(label=label, confidence=0.8, evidence=evidence)

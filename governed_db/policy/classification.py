"""The reviewed classification as a file: TOML that people edit and that differs by what has changed alone."""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve

from governed_db.masking.report import AUTO, CONFIRMED, DECISIONS, KINDS, REJECTED, Entries, Entry, Path
from governed_db.policy.patterns import split_column
from governed_db.policy.read_strategies import LABEL
from governed_db.policy.source import Document, parse
from governed_db.policy.written import one_line, quoted, value

FORMAT: Final = 1
"""The version of the file's form. Another one is refused: what it would un-mask is not known."""

DEFAULT_NAME: Final = "governed-db-classification.toml"

_TEXTS: Final = ("type", "of", "label", "basis", "because", "decided", "note")
_KEYS: Final = frozenset({*_TEXTS, "confidence"})

_HEADER: Final = """\
# Which columns of a database are sensitive, for people to review. Made by `governed-db classify DSN --write`;
# made again, it keeps what people decided and noted, and drops other comments.
#
# What to write for `decided`:
#   "auto"         nobody has looked at it yet: it is masked
#   "confirmed"    it is what `label` says: it stays masked under that label, whatever is found later
#   "rejected"     it is not sensitive: it is handed out as it is, until its type or its relation changes
#   "OTHER_LABEL"  it is sensitive, and this is its label, such as "PERSON_NAME"
# `note = "..."` is yours. To mask a column of [plain], write an entry for it, here or at the end of the file:
#   [column."schema.relation.column"]
#   decided = "PERSON_NAME"
#
# It counts once a policy names it by its absolute path:
#   [masking]
#   classification = "/absolute/path"
"""


def key(path: Path) -> str:
    """Return the name of a column as it is written in policies and in this file."""
    return ".".join(map(quoted, path))


def render(entries: Entries) -> str:
    """Return ``entries`` as the text of a file; :func:`read` gives them back."""
    ordered = sorted(entries.items())
    parts = [_HEADER, f"format = {FORMAT}\n"]
    parts += [_column(path, entry) for path, entry in ordered if not _is_plain(entry)]
    parts.append("[plain] # not found to be sensitive, with their types")
    parts += [_plain(path, entry) for path, entry in ordered if _is_plain(entry)]
    return "\n".join(parts) + "\n"


def _is_plain(entry: Entry) -> bool:
    return not entry.label and entry.decided == AUTO and not entry.note


def _column(path: Path, entry: Entry) -> str:
    lines = [f"[column.{value(key(path))}]"]
    for name in ("type", "of", "label"):
        if text := getattr(entry, name):
            lines.append(f"{name} = {value(text)}")
    if entry.confidence:
        lines.append(f"confidence = {value(entry.confidence)}")
    for name in ("basis", "because"):
        if text := getattr(entry, name):
            lines.append(f"{name} = {value(text)}")
    lines.append(f"decided = {value(entry.decided)}")
    if entry.note:
        lines.append(f"note = {value(entry.note)}")
    return "\n".join(lines) + "\n"


def _plain(path: Path, entry: Entry) -> str:
    aside = f" # {one_line(entry.because)}" if entry.because else ""
    of = "" if entry.of in ("", "table") else f" of a {entry.of}"
    return f"{value(key(path))} = {value(entry.type + of)}{aside}"


def read(text: str, name: str) -> dict[Path, Entry]:
    """Return the entries of a file, sorted.

    Args:
        text: the whole file.
        name: how errors call it.

    Raises:
        PolicyError: it is not such a file; the message names line and column.
    """
    doc = parse(text, name)
    doc.known_keys((), doc.data, frozenset({"format", "column", "plain"}))
    if doc.data.get("format") != FORMAT or isinstance(doc.data["format"], bool):
        doc.fail(
            ("format",),
            f"this is no classification that can be read here: it has no 'format = {FORMAT}'",
            remedy="Write it anew with governed-db classify DSN --write FILE.",
        )
    entries: dict[Path, Entry] = {}
    for name_, table in _table(doc, ("column",), doc.data.get("column", {})).items():
        here = ("column", name_)
        path = _path(doc, here, entries)
        entries[path] = _entry(doc, here, table)
    plain: dict[Path, Entry] = {}
    for name_, type_ in _table(doc, ("plain",), doc.data.get("plain", {})).items():
        here = ("plain", name_)
        if not isinstance(type_, str):
            doc.fail(here, "a column of [plain] takes its type, a string")
        named, _, of = type_.rpartition(" of a ")
        told = of in KINDS.values() and bool(named)
        path = _path(doc, here, plain)
        plain[path] = Entry(type=named, of=of) if told else Entry(type=type_, of="table")
    for path, known in plain.items():
        entry = entries.get(path, known)
        entries[path] = evolve(entry, type=entry.type or known.type, of=entry.of or known.of)
    return dict(sorted(entries.items()))


def _table(doc: Document, path: tuple[str, ...], held: Any) -> dict[str, Any]:
    if not isinstance(held, dict):
        doc.fail(path, f"'{path[-1]}' is a table")
    return held


def _path(doc: Document, here: tuple[str, str], entries: dict[Path, Entry]) -> Path:
    try:
        path = split_column(here[1])
    except ValueError as error:
        doc.fail(here, str(error), remedy='Quote the whole name, such as [column."public.customers.email"].')
    if path in entries:
        doc.fail(here, f"{here[1]} is in the file twice")
    return path


def _entry(doc: Document, here: tuple[str, str], held: Any) -> Entry:
    table = _table(doc, here, held)
    doc.known_keys(here, table, _KEYS)
    for name in _TEXTS:
        if not isinstance(table.get(name, ""), str):
            doc.fail((*here, name), f"'{name}' takes a string")
    confidence = table.get("confidence", 0.0)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        doc.fail((*here, "confidence"), "'confidence' takes a number from 0 to 1")
    entry = Entry(**{**table, "confidence": float(confidence)})
    if entry.label and not LABEL.fullmatch(entry.label):
        doc.fail((*here, "label"), 'a label is written in capitals, such as "EMAIL_ADDRESS"')
    if entry.decided not in DECISIONS and not LABEL.fullmatch(entry.decided):
        doc.fail(
            (*here, "decided"),
            f"unknown decision; known here: {', '.join(DECISIONS)}, and labels in capitals",
        )
    if entry.decided == CONFIRMED and not entry.label:
        doc.fail((*here, "decided"), "there is no 'label' to confirm", remedy="Write the label instead.")
    if entry.decided == REJECTED and not entry.type:
        doc.fail(
            (*here, "decided"),
            "a rejected column needs its 'type': it is masked again when the type is another",
        )
    return entry

"""Rules as the text of a policy file."""

from __future__ import annotations

import json
import re
from typing import Any

from attrs import define

_SIMPLE = re.compile(r"[a-z_][a-z0-9_$]*")


@define
class Written:
    """One rule as it will stand in the file; ``when`` holds what TOML has."""

    id: str
    when: dict[str, Any]
    then: str
    because: str
    comments: list[str]
    rows: int | None = None
    approvers: tuple[str, ...] = ()


def toml(rule: Written) -> str:
    """Return the rule as TOML, its comments above it."""
    lines = ["[[rule]]", *(f"# {one_line(comment)}" for comment in rule.comments)]
    lines.append(f"id = {value(rule.id)}")
    lines.append(f"when = {value(rule.when)}")
    lines.append(f"then = {value(rule.then)}")
    if rule.rows is not None:
        lines.append(f"rows = {rule.rows}")
    if rule.approvers:
        lines.append(f"approvers = {value(list(rule.approvers))}")
    lines.append(f"because = {value(rule.because)}")
    return "\n".join(lines) + "\n"


def value(held: Any) -> str:
    """Return a string, number, list or table as TOML."""
    match held:
        case bool():
            return "true" if held else "false"
        case str():
            return json.dumps(held, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return "[" + ", ".join(value(item) for item in held) + "]"
        case dict():
            return "{ " + ", ".join(f"{key} = {value(item)}" for key, item in held.items()) + " }"
        case _:
            return str(held)


def one_line(text: str) -> str:
    """Return ``text`` fit for a comment: a name with a line break in it must not begin a line of the file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def quoted(name: str) -> str:
    """Return one part of a relation's pattern: bare where that is the same name, else quoted as in SQL."""
    return name if _SIMPLE.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def literally(text: str) -> str:
    """Return a shell-style pattern that fits ``text`` and nothing else."""
    return re.sub(r"([*?[])", r"[\1]", text)


def column_key(column: str) -> str:
    """Return the key of ``schema.relation.column``."""
    return ".".join(quoted(part) for part in column.split("."))

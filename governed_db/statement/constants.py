"""What literals say, for :mod:`governed_db.statement.constrain`."""

from __future__ import annotations

from governed_db.statement.nodes import Body, literal

_TRUTHS = {  # parse_bool: unique prefixes in any case
    **dict.fromkeys(("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"), "true"),
    **dict.fromkeys(("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"), "false"),
}
_ENDS = frozenset({"", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity", "nan"})


def bare(node: Body) -> Body:
    """Return the A_Const below casts, or ``{}``."""
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg") or {}
    constant: Body = node.get("A_Const", {})
    return constant


def integer(node: Body) -> int | None:
    """Return the value of an integer constant."""
    value = node.get("A_Const", {}).get("ival")
    return None if value is None else int(value.get("ival", 0))


def truth(node: Body) -> str | None:
    """Return "true" or "false" where a constant can be a boolean, however it is written."""
    constant = bare(node)
    if "boolval" in constant:
        return "true" if constant["boolval"].get("boolval") else "false"
    if "sval" not in constant:
        return None
    return _TRUTHS.get(constant["sval"].get("sval", "").strip().lower())


def is_end(node: Body) -> bool:
    """Say whether a constant is the least or the greatest of its type: below and above it lies all."""
    if "boolval" in bare(node):
        return True
    text = literal(node)
    return text is not None and text.strip().lower() in _ENDS


def is_something(node: Body) -> bool:
    """Say whether an array or document is certainly not empty, so that ``@>`` it says something."""
    text = literal(node)
    if text is not None:
        return bool(text.strip("{}[]() \t\r\n,"))
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg") or {}
    return bool(node.get("A_ArrayExpr", {}).get("elements"))

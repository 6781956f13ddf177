"""What literals say, for :mod:`governed_db.statement.constrain`."""

from __future__ import annotations

from collections.abc import Iterator

from governed_db.statement.nodes import Body, everything, literal, strings

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
    if text is not None and text.strip().lower() in _ENDS:
        return True
    # Nothing that is computed from infinity is provably less than all there is.
    return any("inf" in str(body.get("sval", {}).get("sval", "")).lower() for body in _constants(node))


def _constants(node: Body) -> Iterator[Body]:
    for kind, body in everything(node):
        if kind == "A_Const":
            yield body


def is_array(node: Body) -> bool:
    """Say whether a constant is an array with something in it: a range could be all there is."""
    text = literal(node)
    return is_something(node) if text is None else text.lstrip().startswith("{") and is_something(node)


def both_truths(node: Body) -> bool:
    """Say whether an array constant names true as well as false: of a boolean column that is all."""
    text = literal(node)
    if text is None:
        return False
    words = {_TRUTHS.get(word.strip(' "').lower()) for word in text.strip("{} ").split(",")}
    return {"true", "false"} <= words


def calls(node: Body, name: str) -> bool:
    """Say whether a function of that name is called anywhere in ``node``."""
    return any(
        kind == "FuncCall" and strings(body.get("funcname"))[-1:] == (name,)
        for kind, body in everything(node)
    )


def lists_all(select: Body) -> bool:
    """Say whether a sub-select that reads no relation may list every value of a small type."""
    parts = list(everything(select))
    if any(kind == "RangeVar" for kind, _ in parts):
        return False
    truths = {truth({kind: body}) for kind, body in parts if kind == "A_Const"}
    listed = {"true", "false"} <= truths or any(both_truths({kind: body}) for kind, body in parts)
    return listed or calls(select, "enum_range")


def is_something(node: Body) -> bool:
    """Say whether an array or document is certainly not empty, so that ``@>`` it says something."""
    text = literal(node)
    if text is not None:
        return text.strip().lower() != "empty" and bool(text.strip("{}[]() \t\r\n,"))
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg") or {}
    return bool(node.get("A_ArrayExpr", {}).get("elements"))
